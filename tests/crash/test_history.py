"""The linearizability check itself: it accepts what can have been, and rejects planted wrongs."""

from dataclasses import replace
from math import inf
from random import Random
from typing import Any

import pytest

from tests.crash.history import READ, STEPS, UNKNOWN, Op, Outcome, after, violation

OK, REFUSED, MAYBE = Outcome.OK, Outcome.REFUSED, Outcome.MAYBE


def op(step: str, begin: float, end: float, version: int = 0, **given: Any) -> Op:
    """An acknowledged operation, unless told otherwise."""
    told = Op(1, "c", step, begin, completed=end, outcome=OK, version=version)
    return replace(told, **given)


def read(begin: float, end: float, version: int, state: str) -> Op:
    return op(READ, begin, end, version, state=state)


REPORTED = op("report", 0, 1, 2)
SENT = op("dispatch", 2, 3, 3)
TAKEN = op("accept", 4, 5, 4)
LIFE = [REPORTED, SENT, TAKEN]
LOST = op("note", 6, inf, outcome=MAYBE)


@pytest.mark.parametrize(
    "ops",
    [
        pytest.param([], id="nothing"),
        pytest.param(LIFE, id="one after another"),
        pytest.param([*LIFE, op("note", 6, 9, 6), op("note", 7, 8, 5)], id="two at a time"),
        pytest.param([*LIFE, read(6, 7, 4, "in_progress")], id="a read"),
        pytest.param([*LIFE, LOST, read(7, 8, 4, "in_progress")], id="lost, and never done"),
        pytest.param([*LIFE, LOST, read(7, 8, 5, "in_progress")], id="lost, but done"),
        pytest.param(
            [*LIFE, LOST, read(7, 8, 4, "in_progress"), read(9, 10, 5, "in_progress")],
            id="lost, and done later",
        ),
        pytest.param(
            [*LIFE, op("check", 6, 7, outcome=REFUSED, code="case.not_allowed")], id="refused"
        ),
        pytest.param(
            [
                *LIFE,
                op("note", 6, 9, 5, expected=4),
                op("note", 6, 9, outcome=REFUSED, expected=4, code="request.version_mismatch"),
            ],
            id="one of two who saw the same",
        ),
    ],
)
def test_it_accepts_what_can_have_been(ops: list[Op]) -> None:
    assert violation(ops) is None


@pytest.mark.parametrize(
    "ops",
    [
        pytest.param([*LIFE, op("note", 6, 8, 5), op("note", 7, 9, 5)], id="lost update"),
        pytest.param([*LIFE, op("note", 6, 7, 6)], id="applied twice"),
        pytest.param([*LIFE, op("note", 6, 7, 5), read(8, 9, 4, "in_progress")], id="stale read"),
        pytest.param([*LIFE, read(6, 7, 5, "in_progress")], id="phantom"),
        pytest.param([*LIFE, op("note", 6, 7, 6), op("note", 8, 9, 5)], id="out of real time"),
        pytest.param([*LIFE, op("note", 6, 7, 5, expected=3)], id="If-Match was not looked at"),
        pytest.param(
            [*LIFE, op("note", 6, 7, outcome=REFUSED, expected=4, code="request.version_mismatch")],
            id="If-Match was refused though it held",
        ),
        pytest.param([*LIFE, op("close", 6, 7, 5)], id="a step that the state does not allow"),
        pytest.param(
            [*LIFE, op("resolve", 6, 7, outcome=REFUSED, code="case.not_allowed")],
            id="refused from a state that was long past",
        ),
        pytest.param([*LIFE, op("note", 6, 7, 5), read(8, 9, 2, "filed")], id="acknowledged, lost"),
        pytest.param(
            [*LIFE, LOST, read(7, 8, 5, "in_progress"), read(9, 10, 4, "in_progress")],
            id="seen, and gone again",
        ),
        pytest.param(
            [*LIFE, LOST, read(7, 8, 6, "in_progress")], id="a lost answer that was done twice"
        ),
    ],
)
def test_it_rejects_what_cannot(ops: list[Op]) -> None:
    assert violation(ops) is not None


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_are_accepted_until_two_were_told_the_same(seed: int) -> None:
    rng = Random(seed)
    ops: list[Op] = []
    now, clock = UNKNOWN, 0.0
    while len(ops) < 40:
        step = rng.choice([name for name, each in STEPS.items() if now[1] in each.allowed])
        # Operations overlap: each takes effect at ``clock``, somewhere within its time.
        began = max(clock - rng.random() * 3, 0.0)
        made = Op(len(ops), "c", step, began, completed=clock + rng.random() * 3, outcome=MAYBE)
        then = after(now, made)
        assert then is not None
        if rng.random() < 0.85:
            made.outcome, made.version = OK, then[0]
        else:
            made.completed = inf
        ops.append(made)
        now, clock = then, clock + 1
    assert violation(ops) is None
    one, other = rng.sample([made for made in ops if made.outcome is OK], 2)
    one.version = other.version
    assert violation(ops) is not None
