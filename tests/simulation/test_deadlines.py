"""A year of the deadline process, and the bugs that such a year must find.

``WANGGE_SEED=…`` plays the same year again; a failure says which it was.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from domain import calendar
from domain.aggregates import CASE, Decider, decider_of
from domain.case import commands as c
from domain.deadlines import Automatic, Pending
from infra import event_store
from infra.deadlines import Deadlines, Done
from infra.event_store import EventStore
from infra.migrations import role_dsn
from infra.vault import Vault
from projections.deadlines import DEADLINES, Action, Place, Settled
from projections.runner import Runner
from tests import samples as s
from tests.domain import schedules
from tests.domain.schedules import local
from tests.simulation.deadlines import Office, Year


@pytest.fixture
def office(
    store: EventStore,
    pool: ConnectionPool,
    vault: Vault,
    runner: Runner,
    database: str,
    secret: bytes,
) -> Office:
    for year in map(schedules.year, (2025, 2026)):
        store.execute(
            calendar.PublishYear(
                by=s.SYSTEM,
                at=s.START,
                year=year.year,
                holidays=year.holidays,
                makeup_days=year.makeup_days,
            )
        )
    dsn = role_dsn(database, secret, "wangge_projector")
    return Office(
        pool,
        vault,
        lambda: psycopg.connect(dsn, autocommit=True),
        Runner(runner.source, runner.connect, (DEADLINES,)),
    )


def seed() -> int:
    given = os.environ.get("WANGGE_SEED")
    return random.SystemRandom().randrange(10**6) if given is None else int(given)


def test_a_year_with_kills_and_a_wrong_clock(office: Office) -> None:
    year = Year(office, seed(), cases=60)
    print(f"seed {year.seed}")
    year.play()
    print(dict(sorted(year.figures.items())))
    assert year.figures["kills"] > 20
    assert year.figures["jumps"] > 20
    for name in (
        "case.due_reminded",
        "case.deadline_breached",
        "case.escalated",
        "case.resumed",
        "case.reopening_ended",
        "case.due_recomputed",
    ):
        assert year.figures[name], name


# --- planted bugs -----------------------------------------------------------------------------


class DoneFirst(Deadlines):
    """Notes that something is done, and then does it."""

    def __init__(self, *given: Any, noted: set[tuple[str, str, int]]) -> None:
        super().__init__(*given)
        self._noted = noted

    def _issue(self, backlog: Any, actions: Sequence[Any], office: Any, done: Done) -> None:
        fresh = [a for a in actions if (a.case, a.kind, a.episode) not in self._noted]
        self._noted |= {(a.case, a.kind, a.episode) for a in fresh}
        if fresh:
            super()._issue(backlog, fresh, office, done)


@dataclass
class Since:
    """What became due since some time."""

    backlog: Any
    looked: datetime

    def page(
        self, now: datetime, ahead: timedelta, settled: Settled, after: Any, limit: int
    ) -> list[Action]:
        since = after or Place(self.looked, "", "")
        page: list[Action] = self.backlog.page(now, ahead, settled, since, limit)
        return page

    def failed(self, action: Any, error: str, retry_at: datetime) -> None:
        self.backlog.failed(action, error, retry_at)

    def settle(self) -> None:
        self.backlog.settle()


class ByTheClock(Deadlines):
    """Looks only for what became due since it looked last, by a clock that it believes."""

    def __init__(self, *given: Any, looked: list[datetime]) -> None:
        super().__init__(*given)
        self._looked = looked

    def round(self, backlog: Any, *rest: Any) -> Done:
        done = super().round(Since(backlog, self._looked[-1]), *rest)
        self._looked.append(self._clock())
        return done


class Believing(Deadlines):
    """Believes the read model, and not the case."""

    def _waiting(self, batch: Any, action: Any, office: Any, now: datetime) -> Pending | None:
        return Pending(action.case, Automatic(action.kind), now, action.episode)


class Unmoved(Deadlines):
    """Does not look at the calendar."""

    def _together(self, actions: Any, office: Any, now: datetime) -> Any:
        unpublished = replace(office.calendar, years={2026: office.calendar.years[2026]})
        return super()._together(actions, replace(office, calendar=unpublished), now)


def forgetful(command: Any) -> Decider:
    """The rules without the one that a breach is recorded once."""
    decider = decider_of(command)
    if not isinstance(command, c.MarkBreach):
        return decider

    def decide(state: Any, command: Any) -> list[Any]:
        again = state.facts.clock._replace(breached=False)
        return CASE.decide(type(state)(state.facts._replace(clock=again)), command)

    return replace(decider, decide=decide)


def planted(office: Office, make: Callable[..., Deadlines]) -> None:
    Year(office, 1, cases=30, make=make, length=timedelta(days=120)).play()


def test_marking_done_before_doing_is_found(office: Office) -> None:
    noted: set[tuple[str, str, int]] = set()
    with pytest.raises(AssertionError, match="left over"):
        planted(office, partial(DoneFirst, noted=noted))


def test_a_clock_that_is_believed_is_found(office: Office) -> None:
    looked = [s.START]
    with pytest.raises(AssertionError, match="left over"):
        planted(office, partial(ByTheClock, looked=looked))


def test_doing_a_thing_twice_is_found(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "decider_of", forgetful)
    with pytest.raises(AssertionError, match=r"case\.deadline_breached"):
        planted(office, Believing)


def test_a_due_that_stays_provisional_is_found(office: Office) -> None:
    year = Year(
        office, 1, cases=10, make=Unmoved, length=timedelta(days=60), now=local("2026-11-20 09:00")
    )
    with pytest.raises(AssertionError, match="left over"):
        year.play()
