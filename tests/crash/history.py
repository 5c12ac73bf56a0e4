"""What clients did and were told, and whether a case could have lived through it in some order.

The check is Wing and Gong's: a history is linearizable when every operation can be given one moment
between its invocation and its completion so that all answers are those of a case that is used by
one client at a time. Cases are independent, so each is checked by itself. An operation whose answer
was lost *may* have taken effect at any moment after its invocation, or never.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Final

from domain.case.states import OPEN

LIMIT: Final = 200_000
"""Moments tried for one case, at most; some thousand are usual."""


class Outcome(Enum):
    """What the client knows in the end."""

    OK = "ok"
    REFUSED = "refused"
    MAYBE = "maybe"


@dataclass(slots=True)
class Op:
    """One operation of one client. Times are seconds of one clock; ``requests`` are all its tries.

    ``version``, ``position`` and ``state`` are what it was answered; a read has no events.
    """

    client: int
    case: str
    step: str
    invoked: float
    key: str = ""
    expected: int | None = None
    completed: float = inf
    outcome: Outcome = Outcome.MAYBE
    status: int = 0
    code: str = ""
    version: int = 0
    position: int = 0
    state: str = ""
    events: tuple[str, ...] = ()
    requests: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"v{self.version} {self.state}" if self.outcome is Outcome.OK else self.code
        seen = "" if self.expected is None else f" if v{self.expected}"
        return (
            f"[{self.invoked:.3f}-{self.completed:.3f}] client {self.client}: {self.step}{seen}"
            f" -> {self.outcome.value} {told}".rstrip()
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What a command does to a case as this check sees it: version and state, nothing else."""

    allowed: frozenset[str]
    to: str | None
    events: tuple[str, ...]


def _step(allowed: Iterable[str], to: str | None, *events: str) -> Step:
    return Step(frozenset(allowed), to, tuple(f"case.{event}" for event in events))


STEPS: Final = {
    "report": _step({"unknown"}, "filed", "reported", "filed"),
    "dispatch": _step({"filed", "assigned"}, "assigned", "dispatched"),
    "accept": _step({"assigned", "in_progress"}, "in_progress", "accepted"),
    "escalate": _step({"assigned", "in_progress"}, "assigned", "escalated"),
    "return": _step({"assigned", "in_progress"}, "assigned", "returned"),
    "resolve": _step({"in_progress"}, "resolved", "resolved"),
    "check": _step({"resolved"}, "checked", "check_passed"),
    "rework": _step({"resolved"}, "in_progress", "check_failed"),
    "close": _step({"checked"}, "closed", "closed"),
    "reopen": _step({"closed"}, "assigned", "reopened"),
    "note": _step(OPEN, None, "note_added"),
}
READ: Final = "read"

State = tuple[int, str]
"""A case's version and the name of its state."""

UNKNOWN: Final[State] = (0, "unknown")


def after(now: State, op: Op) -> State | None:
    """The case after an operation at this moment; None if it would have been answered otherwise."""
    version, state = now
    if op.step == READ:
        return now if op.outcome is Outcome.MAYBE or now == (op.version, op.state) else None
    step, seen = STEPS[op.step], op.expected in (None, version)
    possible = seen and state in step.allowed
    done = (version + len(step.events), step.to or state)
    match op.outcome:
        case Outcome.OK:
            return done if possible and done[0] == op.version else None
        case Outcome.MAYBE:
            return done if possible else None
        case Outcome.REFUSED if op.code == "request.version_mismatch":
            return None if seen else now
        case Outcome.REFUSED if op.code == "case.not_allowed":
            return now if seen and state not in step.allowed else None
        case Outcome.REFUSED:  # by a rule that two words of state do not tell
            return now if seen else None


def violation(ops: Sequence[Op]) -> str | None:
    """Why the history of one case is not linearizable; None if it is.

    Depth first over the orders that real time allows; a set of operations that led to the same
    state before is not tried again.
    """
    ops = sorted(ops, key=lambda op: op.invoked)
    needed = sum(1 << i for i, op in enumerate(ops) if op.outcome is not Outcome.MAYBE)
    tried: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, UNKNOWN)]
    furthest, stuck, explained = -1, UNKNOWN, 0
    while stack:
        done, now = stack.pop()
        if done & needed == needed:
            return None
        if (done, now) in tried:
            continue
        tried.add((done, now))
        if len(tried) > LIMIT:
            return f"undecided after {LIMIT} moments"
        if (count := (done & needed).bit_count()) > furthest:
            furthest, stuck, explained = count, now, done
        for i, op in reversed(_next(ops, done)):
            if (then := after(now, op)) is not None:
                stack.append((done | 1 << i, then))
    # What is in the way comes soon after the first answer that is not explained.
    left = needed & ~explained
    first = (left & -left).bit_length() - 1
    lines = "\n".join(
        f"  {'' if explained >> i & 1 else '? '}{op}"
        for i, op in enumerate(ops)
        if first - 30 <= i < first + 30
    )
    return f"no order explains the answers; the best ends at v{stuck[0]} {stuck[1]}:\n{lines}"


def _next(ops: Sequence[Op], done: int) -> list[tuple[int, Op]]:
    """What may come next: nothing that was asked after another one had been answered."""
    left = []
    first_answer = inf
    for i in range((~done & (done + 1)).bit_length() - 1, len(ops)):
        op = ops[i]
        if op.invoked > first_answer:
            break
        if not done >> i & 1:
            left.append((i, op))
            first_answer = min(first_answer, op.completed)
    return [(i, op) for i, op in left if op.invoked <= first_answer]


def violations(ops: Iterable[Op]) -> dict[str, str]:
    """The cases whose histories are not linearizable, each with the reason."""
    cases: dict[str, list[Op]] = {}
    for op in ops:
        if op.case:
            cases.setdefault(op.case, []).append(op)
    found = {case: violation(each) for case, each in cases.items()}
    return {case: why for case, why in found.items() if why is not None}


def final_reads(standing: dict[str, tuple[int, str]], at: float) -> list[Op]:
    """What the log itself says of each case in the end, as one more client's reads."""
    return [
        Op(-1, case, READ, at, completed=at, outcome=Outcome.OK, version=version, state=state)
        for case, (version, state) in standing.items()
    ]


def decoded(answer: Any) -> dict[str, Any]:
    """The members of an answer that an operation keeps."""
    return {
        "version": answer["version"],
        "position": answer["position"],
        "state": answer["state"],
        "events": tuple(answer["events"]),
    }
