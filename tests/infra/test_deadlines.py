"""The deadline process on a real log: what is due is done, once, whatever else fails."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain import calendar, catalogue
from domain.aggregates import CASE, case_stream
from domain.deadlines import Automatic, Pending, pending
from domain.places import Tier
from domain.sla import Limit, Unit
from infra import deadlines
from infra.deadlines import RETRY_FIRST, Deadlines, Done
from infra.event_store import EventStore
from infra.migrations import role_dsn
from projections.deadlines import Action, Backlog, actions
from projections.runner import Runner
from tests import samples as s
from tests.domain import schedules
from tests.domain.schedules import local

MOMENT = timedelta(seconds=1)
DAY = timedelta(days=1)


@dataclass
class Office:
    """An office with its log, its read models, and a clock that is set by hand."""

    store: EventStore
    runner: Runner
    connect: Callable[[], psycopg.Connection]
    now: datetime = s.START

    def process(self, store: EventStore | None = None) -> Deadlines:
        return Deadlines(store or self.store, self.connect, Backlog, lambda: self.now)

    def run(self, at: datetime, process: Deadlines | None = None) -> Done:
        """What is done at a time, the read models being up to date."""
        self.now = at
        self.runner.catch_up()
        done = (process or self.process()).run()
        assert done is not None
        return done

    def case(self, name: str = s.CASE, state: str = "in_progress", *more: Any) -> None:
        """A case of the samples, under another id."""
        commands = (*s.PATHS[state], *more)
        for command in commands:
            self.store.execute(replace(command, case=name))

    def happened(self, name: str = s.CASE) -> list[str]:
        return [each.name for each in self.store.history(case_stream(name))]

    def waits(self) -> list[Action]:
        """The pending work, as the read model has it."""
        self.runner.catch_up()
        with (
            self.connect() as connection,
            connection.cursor(row_factory=psycopg.rows.class_row(Action)) as cursor,
        ):
            settled = self.store.office().calendar.settled()
            return cursor.execute(actions(DAY, 1_000, settled=settled)).fetchall()

    def failing(self) -> list[Action]:
        """What of it failed."""
        return [each for each in self.waits() if each.attempts]


@pytest.fixture
def office(store: EventStore, runner: Runner, database: str, secret: bytes) -> Office:
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
    return Office(store, runner, lambda: psycopg.connect(dsn, autocommit=True))


def test_each_thing_is_done_when_it_is_due_and_once(office: Office) -> None:
    office.case("running")
    office.case("parked", "parked")
    office.case("closed", "closed")
    assert office.run(s.NEAR_DUE) == Done()
    assert office.run(s.NEAR_DUE + MOMENT) == Done(issued=1)
    assert office.run(s.DUE) == Done()
    assert office.run(s.DUE + MOMENT) == Done(issued=1)
    assert office.run(s.after(days=10) + MOMENT) == Done(issued=1)
    assert office.happened("running")[-3:] == [
        "case.due_reminded",
        "case.deadline_breached",
        "case.escalated",
    ]
    assert office.happened("parked")[-1] == "case.resumed"
    late = office.run(s.after(days=400))
    # The parked case is due again ten days later, and the closed one stays so.
    assert late == Done(issued=2)
    assert office.happened("parked")[-2:] == ["case.deadline_breached", "case.escalated"]
    assert office.happened("closed")[-1] == "case.reopening_ended"
    assert office.run(s.after(days=800)) == Done()
    by_whom = ("system:deadlines", "system", "deadlines")
    last = office.store.history(case_stream("closed"))[-1]
    assert (last.actor, last.roles, last.correlation) == by_whom
    assert last.causation == "reopening_end"
    assert last.at == s.after(days=400)


REWORK = (
    s.check(passed=False, note="没有清干净", at=s.after(days=1, hours=1)),
    s.resolve(at=s.after(days=1, hours=2)),
)


def test_what_was_late_before_anybody_had_it_goes_up_once_when_somebody_has(
    office: Office,
) -> None:
    office.case("filed", "filed")
    office.case("resolved", "resolved")
    assert office.run(s.after(days=1)) == Done(issued=2)
    assert office.run(s.after(days=1)) == Done()
    office.store.execute(s.dispatch(case="filed", at=s.after(days=1)))
    office.store.execute(replace(REWORK[0], case="resolved"))
    assert office.run(s.after(days=1, hours=1)) == Done(issued=2)
    for name in ("filed", "resolved"):
        assert office.happened(name)[-1] == "case.escalated"
    assert office.run(s.after(days=2)) == Done()


def test_a_read_model_that_lags_makes_nothing_happen_twice(office: Office) -> None:
    office.case()
    assert office.run(s.after(days=1)) == Done(issued=1)
    again = office.process().run()  # nobody has told the read model
    assert again == Done(gone=1)
    assert office.happened().count("case.deadline_breached") == 1


def test_a_reminder_that_comes_too_late_is_not_made_good(office: Office) -> None:
    office.case()
    assert office.run(s.after(days=1)) == Done(issued=1)
    assert "case.due_reminded" not in office.happened()


def test_the_office_says_how_long_ahead(office: Office) -> None:
    office.case()
    none = catalogue.SetReminder(by=s.SYSTEM, at=s.START, hours=0)
    office.store.execute(none)
    assert office.run(s.DUE - MOMENT) == Done()
    office.store.execute(replace(none, hours=1))
    assert office.run(s.DUE - timedelta(hours=1)) == Done()
    assert office.run(s.DUE - timedelta(minutes=59)) == Done(issued=1)


def test_a_clock_that_jumps_is_early_or_late_but_never_does_a_thing_twice(office: Office) -> None:
    office.case()
    hour = timedelta(hours=1)
    assert office.run(s.DUE + hour) == Done(issued=1)  # the clock is an hour fast
    assert office.run(s.DUE) == Done()  # and is set right
    assert office.run(s.DUE - hour) == Done()  # and an hour slow
    assert office.run(s.DUE + MOMENT) == Done()
    assert office.happened().count("case.deadline_breached") == 1


def test_a_case_that_fails_holds_up_nobody_and_is_tried_again(office: Office) -> None:
    office.case("good-1")
    office.case("bad")
    office.case("good-2")
    broken = Stumbling(office.store)
    process = office.process(broken)
    now = s.after(days=1)
    assert office.run(now, process) == Done(issued=2, failed=1)
    (left,) = office.failing()
    assert (left.case, left.attempts) == ("bad", 1)
    assert left.error == "RuntimeError: no way"
    assert left.retry_at == now + RETRY_FIRST
    assert office.run(now + RETRY_FIRST - MOMENT, process) == Done(waiting=1)
    assert office.run(now + RETRY_FIRST, process) == Done(failed=1)
    (left,) = office.failing()
    assert (left.attempts, left.retry_at) == (2, now + 3 * RETRY_FIRST)
    broken.stumbles = False
    assert office.run(now + 3 * RETRY_FIRST, process) == Done(issued=1)
    assert office.run(now + 4 * RETRY_FIRST, process) == Done()
    assert failures(office) == 0


def test_what_goes_wrong_once_is_not_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "EVERY_SECONDS", 0.01)
    stop, wrong = threading.Event(), [RuntimeError("whatever")]

    class Ending(Deadlines):
        def round(self, *_: Any) -> Done:
            if wrong:
                raise wrong.pop()
            stop.set()
            return Done()

    Ending(office.store, office.connect, Backlog, lambda: office.now).follow(stop)
    assert stop.is_set()


def test_a_refusal_is_noted_and_forgotten_when_the_case_moves_on(office: Office) -> None:
    """The clock was set back: what a case has seen already lies ahead."""
    office.case("ahead", "in_progress", s.note(at=s.after(days=2)))
    assert office.run(s.after(days=1)) == Done(failed=1)
    (left,) = office.failing()
    assert left.error is not None
    assert left.error.startswith("Refused:")
    for step in (s.resolve, s.check, s.close):
        office.store.execute(step(at=s.after(days=2), case="ahead"))
    office.run(s.after(days=2))
    assert failures(office) == 0


def test_one_leads_and_the_others_wait(office: Office) -> None:
    office.case()
    office.now = s.after(days=1)
    office.runner.catch_up()
    with office.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended('wangge deadlines', 0))")
        assert office.process().run() is None
    assert office.process().run() == Done(issued=1)


def test_two_at_once_do_it_once_all_the_same(office: Office) -> None:
    """The lock is a courtesy: one whose connection was lost may be at it a little longer."""
    office.case()
    office.now = s.after(days=1)
    office.runner.catch_up()
    with office.connect() as connection:
        outcomes = [office.process().round(Backlog(connection)) for _ in range(2)]
    assert outcomes == [Done(issued=1), Done(gone=1)]


def test_nothing_is_due_before_the_read_model_is_built(office: Office) -> None:
    assert office.process().run() == Done()


def test_what_waits_is_what_the_cases_say(office: Office) -> None:
    """The read model and the rules agree, for cases in every state."""
    for state in s.PATHS:
        if state not in ("unknown", "merged"):
            office.case(state, state)
    office.case("reminded", "filed", s.remind())
    office.case("breached", "in_progress", s.mark_breach())
    office.case("again", "closed", s.reopen(at=s.after(days=1)))
    office.case("over", "closed", s.end_reopening())
    office.case("other", "in_progress", s.reclassify())
    at = s.after(days=1)
    office.case("late", "filed", s.mark_breach(), s.dispatch(at=at))
    office.case("rework", "resolved", s.mark_breach(), s.check(passed=False, note="-", at=at))
    office.case("done-again", "resolved", s.mark_breach(), *REWORK)
    top = s.escalate(by=s.DISTRICT_COORDINATOR, at=at)
    late = (s.file(tier=Tier.SUBDISTRICT), s.mark_breach(), s.dispatch(at=at))
    office.case("top", "reported", *late, top)
    office.case("down", "reported", *late, top, s.send_back(by=s.DISTRICT_COORDINATOR, at=at))
    more = [
        "reminded",
        "breached",
        "again",
        "over",
        "other",
        "late",
        "rework",
        "done-again",
        "top",
        "down",
    ]
    expected: list[Pending] = []
    for stream in office.store.load(
        {case_stream(each): CASE for each in (*s.PATHS, *more)}
    ).values():
        expected += pending(stream.state, DAY)
    found = [
        Pending(each.case, Automatic(each.kind), each.at, each.episode, each.until)
        for each in office.waits()
    ]
    assert found == sorted(expected, key=lambda each: (each.at, each.case, each.kind))
    assert {each.kind for each in found} == set(Automatic) - {Automatic.RECOMPUTE}


def test_a_page_of_any_size_gives_the_same_list(office: Office) -> None:
    for n in range(7):
        office.case(f"case-{n}", ("in_progress", "parked", "closed")[n % 3])
    whole = office.waits()
    with office.connect() as connection:
        backlog = Backlog(connection)
        for size in (1, 2, 5):
            found: list[Action] = []
            while page := backlog.page(
                s.after(days=900), timedelta(), (), found[-1].place if found else None, size
            ):
                found += page
            assert found == [each for each in whole if each.kind != "reminder"]


def test_a_burst_leaves_room_for_people(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "PAGE", 2)
    for n in range(5):
        office.case(f"case-{n}")
    office.now = s.after(days=400)
    office.runner.catch_up()
    rests: list[float] = []
    with office.connect() as connection:
        done = office.process().round(Backlog(connection), rests.append)
    assert done == Done(issued=5)
    assert len(rests) == 2
    assert min(rests) > 0


# --- a year's schedule comes out ------------------------------------------------------------


FILED = local("2026-12-31 09:00")
LAST = local("2026-12-31 18:00")
NEW_YEAR = tuple(date(2027, 1, day) for day in range(1, 8))


def provisional(office: Office, *names: str) -> None:
    """Cases that are due on 4 January 2027, so far as anybody knows."""
    for name in names:
        given: dict[str, Any] = {"at": FILED, "case": name}
        office.store.execute(
            s.report(**given),
            s.file(**given, terms=s.terms("street_light"), calendar=s.CALENDAR),
            s.dispatch(**given),
            s.accept(**given),
        )


def publish(office: Office, at: datetime = LAST) -> None:
    office.store.execute(
        calendar.PublishYear(by=s.SYSTEM, at=at, year=2027, holidays=NEW_YEAR, makeup_days=())
    )


def dues(office: Office, name: str) -> list[tuple[str, datetime, bool]]:
    return [
        (each.name, each.event.due, each.event.provisional)
        for each in office.store.history(case_stream(name))
        if hasattr(each.event, "provisional")
    ]


def test_what_was_provisional_is_reckoned_again_when_its_year_is_published(office: Office) -> None:
    office.case("firm")
    provisional(office, "one", "two")
    assert office.run(s.NEAR_DUE - MOMENT) == Done()
    ((_, before, uncertain),) = dues(office, "one")
    assert uncertain
    assert before.year == 2027
    publish(office)
    waiting = [each.case for each in office.waits() if each.kind == "recompute"]
    assert waiting == ["one", "two"]
    assert office.run(s.NEAR_DUE - MOMENT) == Done()  # a clock that is months slow
    assert office.run(LAST + DAY) == Done(issued=3)  # and the breach of the third
    for name in ("one", "two"):
        filed, again = dues(office, name)
        assert again[0] == "case.due_recomputed"
        assert again[1] > filed[1]
        assert again[2] is False
    assert office.run(LAST + DAY) == Done()
    last = office.store.history(case_stream("one"))[-1]
    assert (last.actor, last.causation) == ("system:deadlines", "recompute")
    assert failures(office) == 0


def test_so_is_the_due_of_a_first_contact_that_is_to_come(office: Office) -> None:
    terms = s.terms("noise", contact=Limit(3, Unit.WORKING_DAY))  # itself due in seven days
    for name in ("untouched", "taken"):
        given: dict[str, Any] = {"at": FILED, "case": name}
        office.store.execute(s.report(**given), s.file(**given, terms=terms), s.dispatch(**given))
    office.store.execute(s.accept(at=FILED, case="taken"))
    assert office.run(LAST) == Done()
    publish(office)
    assert [each.case for each in office.waits() if each.kind == "recompute"] == ["untouched"]
    assert office.run(LAST) == Done(issued=1)
    assert office.happened("untouched")[-1] == "case.contact_due_reckoned"
    assert office.run(LAST) == Done()


def test_after_downtime_a_due_is_reckoned_again_before_it_is_said_to_have_passed(
    office: Office,
) -> None:
    """The first day of the year was a holiday, which the process learns of a day later; whatever
    the read model knows of it."""
    provisional(office, "one")
    ((_, due, _),) = dues(office, "one")
    office.runner.catch_up()
    publish(office)
    assert office.run(due + MOMENT) == Done(issued=1, gone=1)  # it was a breach as well
    assert office.happened("one")[-1] == "case.due_recomputed"
    ((_, _, _), (_, firm, _)) = dues(office, "one")
    assert office.run(firm + MOMENT) == Done(issued=1)
    assert office.happened("one")[-2:] == ["case.deadline_breached", "case.escalated"]


def test_the_last_moment_is_early_enough_to_reckon_again(office: Office) -> None:
    """Of a due that passes in the round that is the first to know the calendar."""
    provisional(office, "one")
    ((_, due, _),) = dues(office, "one")
    office.runner.catch_up()
    publish(office)
    office.now = due + MOMENT
    with office.connect() as connection:
        backlog = Backlog(connection)
        breach = backlog.page(office.now, DAY, (), None, 1)
        assert [each.kind for each in breach] == ["breach"]
        done = Done()
        office.process()._issue(backlog, breach, office.store.office(), done)
    assert done == Done(issued=1)
    assert office.happened("one")[-1] == "case.due_recomputed"


def test_a_year_far_away_makes_nothing_certain(office: Office) -> None:
    provisional(office, "one")
    office.store.execute(
        calendar.PublishYear(by=s.SYSTEM, at=LAST, year=2028, holidays=(), makeup_days=())
    )
    assert office.run(local("2027-01-03 12:00")) == Done(issued=1)
    assert office.happened("one")[-1] == "case.due_reminded"


def test_an_office_without_reminders_may_ask_for_its_reminders(office: Office) -> None:
    office.case()
    office.runner.catch_up()
    with office.connect() as connection:
        query = actions(timedelta(), 10, kinds=(Automatic.REMINDER,))
        assert connection.execute(query).fetchall() == []


class Stumbling(EventStore):
    """A store that cannot read one of the cases."""

    stumbles = True

    def __init__(self, store: EventStore) -> None:
        super().__init__(store.recorder, store.codec, store.vault)

    def load(self, wanted: Any) -> Any:
        if self.stumbles and case_stream("bad") in wanted:
            raise RuntimeError("no way")
        return super().load(wanted)


def failures(office: Office) -> int:
    with office.connect() as connection:
        row = connection.execute("SELECT count(*) FROM automatic.failure").fetchone()
    assert row is not None
    return int(row[0])
