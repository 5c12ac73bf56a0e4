"""A year of an office, in which the deadline process is killed and its clock is wrong.

People work on cases as people do: in time, late, or never. The process runs every few minutes, or
not for weeks; its clock is right, an hour fast or an hour slow; the read model is up to date or
lags behind; and it is killed at any step that reaches the database. Around New Year the schedule
of the next year is published, while dues that cross it wait to be reckoned for good. Time is
simulated, the log and the read model are real. One seed gives one year.
"""

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count, pairwise
from typing import Any, Final

import psycopg
from psycopg_pool import ConnectionPool

from domain.aggregates import CASE, case_stream
from domain.calendar import PublishYear
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import Known
from domain.catalogue import Policy
from domain.deadlines import PROCESS, Automatic, is_stale, pending
from domain.errors import Refused
from domain.history import Recorded
from domain.places import tier_of
from domain.roles import Actor
from domain.sla import Limit, Unit
from infra.codec import Codec
from infra.deadlines import Deadlines
from infra.event_store import Entry, EventStore, LogRecorder
from infra.vault import Vault
from projections.deadlines import Action, Backlog, Place, Settled
from projections.runner import Runner
from tests import samples as s
from tests.domain.schedules import local

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
YEAR: Final = timedelta(days=365)

TERMS: Final = tuple(
    s.terms(code, Policy(reopen_window_days=days))
    for code, days in [
        ("exposed_garbage", 10),  # 4 working hours
        ("missing_manhole_cover", 30),  # 2 hours
        ("noise", 0),  # a day
        ("neighbour_dispute", 10),  # 7 days
        ("illegal_construction", 30),  # 15 working days
        ("petition_backlog", 10),  # no deadline
    ]
)
SLOW: Final = TERMS[4]
PUBLISHED: Final = local("2026-12-21 10:00")
"""The schedule of 2027 comes within 20 days of it."""
HOLIDAYS: Final = tuple(date(2027, 1, day) for day in (1, 2, 3))
HANDLERS: Final = {
    tier_of(territory): handler
    for territory, handler in [
        (s.GRID, s.GRID_HANDLER),
        (s.COMMUNITY, s.COMMUNITY_HANDLER),
        (s.SUBDISTRICT, s.SUBDISTRICT_HANDLER),
        (s.DISTRICT, s.DISTRICT_HANDLER),
    ]
}
PAUSES: Final = (timedelta(minutes=10), 5 * HOUR, 2 * DAY, 12 * DAY)
"""How long people take until the next step."""


class Killed(BaseException):
    """The process is gone, in the middle of whatever it did."""


@dataclass
class Life:
    """Lets a process die after so many steps; never, while there is no number."""

    left: int | None = None

    def step(self) -> None:
        """One more step towards the end."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


class MortalRecorder(LogRecorder):
    """A log whose process may die before an append, or after it and before it hears of it."""

    def __init__(self, pool: ConnectionPool, life: Life) -> None:
        super().__init__(pool)
        self._life = life

    def append(self, entries: Sequence[Entry]) -> int:
        self._life.step()
        first = super().append(entries)
        self._life.step()
        return first


class MortalBacklog(Backlog):
    """A list of what is due whose process may die as it looks."""

    def __init__(self, connection: psycopg.Connection, life: Life) -> None:
        super().__init__(connection)
        self._life = life

    def page(
        self,
        now: datetime,
        ahead: timedelta,
        settled: Settled,
        after: Place | None,
        limit: int,
    ) -> list[Action]:
        self._life.step()
        return super().page(now, ahead, settled, after, limit)

    def failed(self, action: Action, error: str, retry_at: datetime) -> None:
        self._life.step()
        super().failed(action, error, retry_at)


@dataclass
class Office:
    """What a year is played on."""

    pool: ConnectionPool
    vault: Vault
    connect: Callable[[], psycopg.Connection]
    runner: Runner
    """Of the read model ``deadlines`` alone."""


@dataclass
class Year:
    """One year of so many cases. ``make`` makes the process, which may have a planted bug; then a
    shorter one will do."""

    office: Office
    seed: int
    cases: int
    make: Callable[..., Deadlines] = Deadlines
    length: timedelta = YEAR
    now: datetime = s.START
    offset: timedelta = timedelta()
    figures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.life = Life()
        self.end = self.now + self.length
        self.names = [f"case-{n}" for n in range(self.cases)]
        self.late = set(self.names[-self.cases // 5 :])
        self.people = self._store(LogRecorder(self.office.pool))
        self._agenda: list[tuple[datetime, int, Callable[[], timedelta | None]]] = []
        self._order = count()
        self._restart()

    def play(self) -> None:
        """Live through the year, and hold what happened against the rules."""
        published = PUBLISHED + timedelta(days=20 * self.chance.random())
        self._plan(published, self._publish)
        for name in self.names:
            # Some come when their due is sure to be provisional.
            begins = self.now + self.length * self.chance.random() * 0.8
            if name in self.late and published < self.end:
                begins = published - timedelta(days=19 * self.chance.random())
            self._plan(begins, self._somebody(name))
        self._plan(self.now, self._process)
        self._plan(self.now, self._clock_jumps)
        while self._agenda[0][0] < self.end:
            self.now, _, what = heapq.heappop(self._agenda)
            again = what()
            if again is not None:
                self._plan(self.now + again, what)
        self._close_the_year()
        for name in self.names:
            self._judge(name)

    def _plan(self, at: datetime, what: Callable[[], timedelta | None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), what))

    # --- people ---

    def _somebody(self, name: str) -> Callable[[], timedelta | None]:
        return lambda: self._work_on(name)

    def _work_on(self, name: str) -> timedelta | None:
        """One step on a case, and when somebody looks at it again."""
        state = self.people.load({case_stream(name): CASE})[case_stream(name)].state
        commands = self._next(name, state)
        if commands is None:
            return None
        try:
            if commands:
                self.people.execute(*commands)
                self.figures["steps"] += len(commands)
        except Refused as no:
            self.figures[f"refused {no.code}"] += 1
        pause = self.chance.choice(PAUSES)
        return pause * (0.5 + self.chance.random())

    def _next(self, name: str, state: Any) -> list[Any] | None:
        """The commands of the next step; none: not today. None: nobody comes back."""
        given: dict[str, Any] = {"at": self.now, "case": name}
        known: dict[str, Any] = {"calendar": self.people.office().calendar}
        luck = self.chance.random()
        if state.name in ("closed", "evaluated"):
            return [s.reopen(by=s.SUPERVISOR, **known, **given)] if luck < 0.25 else None
        if luck < 0.03:
            return None  # forgotten for good
        if luck < 0.25:
            return []
        match state.name:
            case "unknown":
                terms = SLOW if name in self.late else self.chance.choice(TERMS)
                return [
                    s.report(**given),
                    s.file(terms=terms, tier=tier_of(s.GRID), **known, **given),
                ]
            case "filed":
                return [s.dispatch(**given)]
            case "assigned":
                return [s.accept(by=HANDLERS[state.facts.tier], **given)]
            case "in_progress":
                return self._handle(state, luck, given, known)
            case "parked":
                return [s.resume(by=s.DISPATCHER, **known, **given)] if luck < 0.5 else []
            case "resolved":
                return [s.check(passed=luck < 0.85, note="看过", **given)]
            case "checked":
                return [s.close(**given)]
            case _:
                raise AssertionError(state.name)

    def _handle(
        self, state: Known, luck: float, given: dict[str, Any], known: dict[str, Any]
    ) -> list[Any]:
        by = self._handler(state)
        if luck < 0.5:
            until = self.now + self.chance.choice((10 * HOUR / 60, HOUR, DAY, 20 * DAY))
            return [s.ask_park(by=by, until=until, **given), s.approve_park(**given)]
        if luck < 0.6:
            more = Limit(1, self.chance.choice((Unit.HOUR, Unit.WORKING_DAY)))
            return [
                s.ask_extension(by=by, more=more, **given),
                s.approve_extension(**known, **given),
            ]
        return [s.resolve(by=by, **given)]

    def _handler(self, state: Known) -> Actor:
        (by,) = (each for each in HANDLERS.values() if each.id == state.facts.handler)
        return by

    def _publish(self) -> None:
        self.people.execute(
            PublishYear(by=s.SYSTEM, at=self.now, year=2027, holidays=HOLIDAYS, makeup_days=())
        )

    # --- the process ---

    def _restart(self) -> None:
        """A new process: it knows nothing but what is in the database."""
        store = self._store(MortalRecorder(self.office.pool, self.life))
        self.process = self.make(
            store,
            self.office.connect,
            lambda connection: MortalBacklog(connection, self.life),
            lambda: self.now + self.offset,
        )

    def _store(self, recorder: LogRecorder) -> EventStore:
        return EventStore(recorder, Codec(), self.office.vault)

    def _process(self) -> timedelta:
        """One round, perhaps the last of this process; then a while until the next."""
        current = self.chance.random() < 0.8
        if current:
            self.office.runner.catch_up()
        self.life.left = self.chance.randrange(6) if self.chance.random() < 0.4 else None
        try:
            self._round()
            if current and self.life.left is None:
                self._go_on()
                self._nothing_is_left_over()
        except Killed:
            self.figures["kills"] += 1
            self._restart()
        self.life.left = None
        pauses = (2 * HOUR / 60, HOUR, 12 * HOUR, 2 * DAY, 15 * DAY)
        (pause,) = self.chance.choices(pauses, weights=(10, 20, 30, 40, 1))
        return pause * (0.5 + self.chance.random())

    def _round(self) -> int:
        """One round of the process; how much it did."""
        # Whoever was killed leads until PostgreSQL has noticed.
        ends = time.monotonic() + 30
        while (done := self.process.run()) is None:
            assert time.monotonic() < ends, "a dead process still leads"
        self.figures["rounds"] += 1
        self.figures["issued"] += done.issued
        self.figures["failed"] += done.failed
        return done.issued

    def _go_on(self) -> None:
        """Until nothing is due: the end of a parking may be past the due, which is a breach."""
        self.office.runner.catch_up()
        while self._round():
            self.office.runner.catch_up()

    def _clock_jumps(self) -> timedelta:
        self.offset = self.chance.choice((timedelta(), HOUR, -HOUR))
        self.figures["jumps"] += 1
        return self.chance.choice((HOUR / 2, 5 * HOUR, 2 * DAY, 5 * DAY))

    def _close_the_year(self) -> None:
        """The clock is right and the process runs until nothing has to be tried again."""
        self.now, self.offset, self.life.left = self.end, timedelta(), None
        for _ in range(3):
            self.now += 2 * HOUR
            self._go_on()
        assert self._failing() == set(), self._said("something fails for good")
        self._nothing_is_left_over()

    # --- the rules ---

    def _nothing_is_left_over(self) -> None:
        """After a round that nothing disturbed all that was due is done, but for what failed."""
        now = self.now + self.offset
        states = self.people.load({case_stream(name): CASE for name in self.names})
        calendar = self.people.office().calendar
        left = {
            (each.case, each.kind)
            for stream in states.values()
            for each in pending(stream.state, DAY)
            if each.is_due(now)
        } | {
            (stream.state.facts.id, Automatic.RECOMPUTE)
            for stream in states.values()
            if is_stale(stream.state, calendar)
        }
        assert left <= self._failing(), self._said(f"left over: {left}")

    def _failing(self) -> set[tuple[str, Automatic]]:
        with self.office.connect() as connection:
            rows = connection.execute('SELECT "case", kind FROM automatic.failure').fetchall()
        return {(case, Automatic(kind)) for case, kind in rows}

    def _judge(self, name: str) -> None:
        """Each thing once an episode (a parking has its end once), and none before its time."""
        history = self.people.history(case_stream(name))
        once: Counter[tuple[str, int]] = Counter()
        for recorded in history:
            event = recorded.event
            if isinstance(event, e.DueReminded | e.DeadlineBreached | e.ReopeningEnded):
                once[recorded.name, event.episode] += 1
            if isinstance(event, e.CaseEscalated):
                assert event.reason is c.EscalationReason.SLA_BREACH, "nobody else escalates here"
                once[recorded.name, event.episode] += 1
            if isinstance(event, e.DueRecomputed):  # the calendar changes once
                once[recorded.name, 0] += 1
        assert set(once.values()) <= {1}, self._said(f"{name}: {once}")
        self._each_in_its_time(name, history)
        self.figures.update(recorded.name for recorded in history if recorded.actor == PROCESS.id)

    def _each_in_its_time(self, name: str, history: list[Recorded[Any]]) -> None:
        state = CASE.initial
        for recorded, after in pairwise([*history, None]):
            assert recorded is not None
            event = recorded.event
            if recorded.actor == PROCESS.id and not isinstance(
                event, e.CaseEscalated | e.DueRecomputed | e.ContactDueReckoned
            ):
                due = [each.kind for each in pending(state, DAY) if each.at <= event.at]
                assert due, self._said(f"{name}: {recorded.name} at {event.at} is early")
            if isinstance(event, e.DeadlineBreached) and recorded.actor == PROCESS.id:
                moves = state.name in ("assigned", "in_progress") and state.facts.tier < 4
                told = after is not None and isinstance(after.event, e.CaseEscalated)
                assert told is moves, self._said(f"{name}: breached and not taken up")
            state = CASE.evolve(state, event)

    def _said(self, what: str) -> str:
        return f"seed {self.seed}, {self.now:%F %T} ({self.offset}): {what}"
