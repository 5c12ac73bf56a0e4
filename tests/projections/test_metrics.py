"""Metrics: each edge by a small case of its own, and all of them as of any past."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise, product
from typing import Any

import psycopg
import pytest

from domain import staff, territory
from domain.calendar import Period, PublishYear, SetWorkingHours, office_time
from domain.case import commands as c
from domain.catalogue import Policy
from domain.errors import Refused
from domain.history import LOG, Recorded
from domain.metrics import Ratio
from domain.places import Tier, at_tier, id_of, parent_of
from domain.roles import Actor, Grant, Role
from domain.sla import Limit, Pause, Unit, elapsed
from infra.event_store import Batch, EventStore
from infra.migrations import role_dsn
from projections import schemas
from projections.catalog import FIGURES
from projections.counting import PERIODS, Question
from projections.daily import summed
from projections.figures import Figures
from projections.gateway import Gateway
from projections.measures import Figure, Metric, Part
from projections.metrics import METRICS
from projections.past import Moment
from projections.projection import Projection
from projections.quality import QUALITY
from projections.runner import Runner
from tests import samples
from tests.domain.schedules import SHORT, SUMMER, local
from tests.domain.test_case_properties import CASES, STEP, World, steps_of

LATER = samples.after(days=200)
"""Long after every sample: whatever waits has waited long enough."""


STRETCH = 20
"""So few positions are summed up together that a short history has several of them."""


@pytest.fixture
def runner(runner: Runner) -> Runner:
    """Of the read models that metrics ask, and no others."""
    runner.projections = tuple(summed(each, METRICS.values(), STRETCH) for each in FIGURES)
    return runner


SEASONS = {
    date(2026, 3, 4): SHORT,
    date(2026, 3, 6): (Period(0, 60), Period(600, 720), Period(900, 1440)),
    date(2026, 3, 10): SUMMER,
    date(2026, 3, 13): SHORT[:1],
}
"""Changes of hours while the samples are worked on: more periods, fewer, shorter and longer."""


def supervisor(path: str = "") -> Actor:
    return Actor("watcher", (Grant(Role.SUPERVISOR, path),))


def ask(gateway: Gateway, metric: str, by: Actor | None = None, **asked: Any) -> dict[str, Any]:
    """The figures of a metric, by name."""
    question = Question(**({"now": LATER} | asked))
    return gateway.figures.answer(by or supervisor(), METRICS[metric], question).figures


def pair(found: dict[str, Any], figure: str) -> tuple[int, int]:
    rate: Ratio = found[figure].rate
    return rate.numerator, rate.denominator


def does(store: EventStore, case: str, *commands: Any) -> None:
    for command in commands:
        store.execute(replace(command, case=case))


def carry(store: EventStore, to: str, case: str, **report: Any) -> None:
    """A case brought to a state; ``report`` changes how it came in."""
    first, *others = samples.PATHS[to]
    does(store, case, replace(first, **report), *others)


def by_size(store: EventStore, case: str, size: str, *moves: c.Command, close: bool = True) -> None:
    """A case of a size that is worked on, moved, and (unless left open) closed as resolved."""
    terms = samples.SMALL if size == "small" else samples.BIG
    store.execute(samples.report(case=case), replace(samples.file(case=case), terms=terms))
    store.execute(samples.dispatch(case=case))
    does(store, case, *moves)
    if close:
        finish(store, case, samples.after(days=1))


def finish(store: EventStore, case: str, at: datetime, **how: Any) -> None:
    """Take a case that is assigned, and bring it to its end."""
    holder = store.case(case)[0].facts.holder
    by = Actor("anybody", (Grant(Role.HANDLER, holder),))
    does(
        store,
        case,
        samples.accept(by=by, at=at),
        samples.resolve(by=by, at=at),
        samples.check(at=at),
        samples.close(at=at, **how),
    )


def up(at: datetime, frm: str) -> c.EscalateCase:
    by = Actor("mover", (Grant(Role.HANDLER, frm),))
    return c.EscalateCase(case="", by=by, at=at, reason=c.EscalationReason.RESOURCES)


def down(at: datetime, frm: str) -> c.ReturnCase:
    by = Actor("mover", (Grant(Role.HANDLER, frm),))
    return c.ReturnCase(case="", by=by, at=at, directive="请网格办理")


def at(hours: float, command: Any) -> Any:
    return replace(command, at=samples.after(hours=hours))


# --- 1, 2: containment ---


def test_containment_counts_the_highest_tier_ever_reached(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    one, two = samples.after(hours=1), samples.after(hours=2)
    by_size(store, "kept", "small")
    by_size(store, "open", "small", close=False)
    by_size(store, "up", "small", up(one, samples.GRID))
    # Escalated, then returned: it did not stay in the grid.
    by_size(store, "back", "small", up(one, samples.GRID), down(two, samples.COMMUNITY))
    by_size(store, "big", "big")
    by_size(store, "big up", "big", up(one, samples.COMMUNITY))
    runner.catch_up()
    found = ask(gateway, "containment")
    assert pair(found, "grid_small") == (1, 3)
    assert pair(found, "grid_all") == (1, 5)
    assert pair(found, "community_small") == (3, 3)
    assert pair(found, "community_big") == (1, 2)
    assert pair(found, "community_all") == (4, 5)
    flow = ask(gateway, "flow")
    assert pair(flow, "escalated") == (3, 6)
    assert pair(flow, "from_grid") == (2, 4)
    assert pair(flow, "from_grid_resources") == (2, 4)
    assert pair(flow, "from_grid_safety") == (0, 4)
    assert pair(flow, "from_community") == (1, 4)
    assert pair(flow, "return_rate") == (1, 3)
    assert [pair(flow, f"reached_{tier.word}")[0] for tier in Tier] == [2, 3, 1, 0]


@pytest.mark.parametrize(
    ("how", "grid_small", "excluded"),
    [
        ("resolved", (1, 1), {}),
        ("not_resolvable", (0, 1), {}),
        ("reopened", (0, 0), {}),
        ("reopened and closed again", (1, 1), {}),
        ("void", (0, 0), {"void": 1}),
        ("merged", (0, 0), {"merged": 1}),
        ("rejected", (0, 0), {}),
        ("must go up", (0, 0), {"mandated_up": 1}),
        ("taken in at the community", (0, 0), {}),
        ("returned", (0, 1), {}),
    ],
)
def test_the_edges_of_containment(
    store: EventStore,
    runner: Runner,
    gateway: Gateway,
    how: str,
    grid_small: tuple[int, int],
    excluded: dict[str, int],
) -> None:
    one, two = samples.after(hours=1), samples.after(hours=2)
    match how:
        case "resolved":
            carry(store, "closed", "a")
        case "not_resolvable":
            by_size(store, "a", "small", close=False)
            finish(store, "a", one, outcome=c.Outcome.NOT_RESOLVABLE)
        case "reopened":
            carry(store, "closed", "a")
            does(store, "a", samples.reopen())
        case "reopened and closed again":
            carry(store, "closed", "a")
            does(store, "a", samples.reopen())
            finish(store, "a", samples.after(days=5))
        case "void":
            carry(store, "void", "a")
        case "merged":
            carry(store, "filed", "a")
            carry(store, "filed", "b")
            does(store, "a", samples.merge(into="b"))
        case "rejected":
            carry(store, "rejected", "a")
        case "must go up":
            terms = replace(samples.SMALL, mandated_up=True)
            store.execute(samples.report(case="a"), replace(samples.file(case="a"), terms=terms))
            does(store, "a", *samples.PATHS["closed"][2:])
        case "taken in at the community":
            carry(store, "closed", "a", source=c.Source.WINDOW, by=samples.ACCEPTOR)
        case "returned":
            by_size(store, "a", "small", up(one, samples.GRID), down(two, samples.COMMUNITY))
    runner.catch_up()
    found = ask(gateway, "containment")
    assert pair(found, "grid_small") == grid_small
    assert {k: v for k, v in found["grid_small"].excluded.items() if v} == excluded


# --- 3: timeliness ---


def test_the_golden_figures_of_timeliness(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """972 due, 911 closed = 93.72 %, 737 of them on time = 75.82 %."""
    batch = Batch(store)
    steps: list[Any] = []
    for n in range(972):
        case = f"case-{n:03}"
        steps += [samples.report(case=case), samples.file(case=case), samples.dispatch(case=case)]
        if n < 911:
            moment = samples.after(hours=5 if n < 737 else 30)
            ending = (samples.accept, samples.resolve, samples.check, samples.close)
            steps += [step(case=case, at=moment) for step in ending]
    batch.load(steps)
    batch.decide(*steps)
    batch.append()
    runner.catch_up()
    found = ask(gateway, "timeliness", until=samples.after(days=3))
    on_time, closed = found["on_time_rate"].rate, found["closure_rate"].rate
    assert (closed.numerator, closed.denominator) == (911, 972)
    assert (on_time.numerator, on_time.denominator) == (737, 972)
    assert round(closed.value * 100, 2) == 93.72
    assert round(on_time.value * 100, 2) == 75.82


def test_timeliness_counts_the_closed_and_the_overdue(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "in time")
    by_size(store, "late", "small")  # 4 working hours, closed after a day
    by_size(store, "overdue", "small", close=False)
    carry(store, "parked", "parked")  # its clock stands still until the dated end
    store.execute(
        samples.report(case="endless"), replace(samples.file(case="endless"), terms=samples.ENDLESS)
    )
    runner.catch_up()
    found = ask(gateway, "timeliness", until=samples.after(days=2))
    assert pair(found, "on_time_rate") == (1, 3)
    assert pair(found, "closure_rate") == (2, 3)
    before_due = ask(gateway, "timeliness", until=samples.FILED_AT)
    assert pair(before_due, "on_time_rate") == (0, 0)
    # What was overdue at a window's end stays so, though it was closed afterwards.
    then = ask(gateway, "timeliness", until=samples.after(hours=10))
    assert pair(then, "closure_rate") == (1, 3)


def test_what_is_due_at_the_very_end_of_a_window_is_owed_and_the_words_say_so(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "a", "small", close=False)
    runner.catch_up()
    clock = store.case("a")[0].facts.clock
    assert clock is not None
    assert clock.due is not None
    for until, owed in ((clock.due, 1), (clock.due - timedelta(microseconds=1), 0)):
        assert pair(ask(gateway, "timeliness", until=until), "closure_rate") == (0, owed)
    said = METRICS["timeliness"].figure("closure_rate")
    assert "不晚于期末" in said.formula_zh
    assert "at or before it" in said.formula_en


def test_what_was_closed_late_by_a_clock_that_is_ahead_is_owed_once(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "a", "small", close=False)
    closed = samples.after(days=2)
    finish(store, "a", closed)
    by_size(store, "b", "small", close=False)
    runner.catch_up()
    moment = closed - timedelta(seconds=5)
    for until in (None, samples.after(days=30)):
        asked: dict[str, Any] = {"now": moment, "since": samples.START, "until": until}
        assert pair(ask(gateway, "timeliness", **asked), "closure_rate") == (1, 2)
        question = Question(**asked)
        for over in ("day", "month"):
            answer = gateway.figures.answer(supervisor(), METRICS["timeliness"], question, over)
            rate = answer.groups[-1].figures["closure_rate"]
            assert (rate.numerator, rate.denominator) == (1, 2)


def test_a_window_that_ends_in_the_future_is_judged_at_the_present(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "a", "small", close=False)  # due after some 6 hours
    runner.catch_up()
    head = store.recorder.max_notification_id()
    for until in (samples.after(days=31), None):
        for hours, owed in ((1, 0), (10, 1)):
            now = samples.after(hours=hours)
            for as_of in (None, Moment(now, head)):
                found = ask(gateway, "timeliness", now=now, until=until, as_of=as_of)
                assert pair(found, "closure_rate") == (0, owed), (until, hours, as_of)


def test_a_pause_moves_the_due_and_one_after_it_does_not(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    for case, hours in (("before", 1), ("after", 30)):  # due after some 6 hours
        does(store, case, *samples.PATHS["in_progress"])
        does(store, case, at(hours, samples.ask_park(until=samples.after(days=10))))
        does(store, case, at(hours + 1, samples.approve_park()))
    runner.catch_up()

    def overdue(**moment: float) -> Any:
        found = ask(gateway, "timeliness", until=samples.after(**moment))
        return pair(found, "on_time_rate")[1]

    assert overdue(hours=5) == 0
    assert overdue(days=1) == 1, "the pause of the other began before its due"
    assert overdue(days=5) == 1, "parking what is late does not make it punctual"
    assert overdue(days=10) == 1
    assert overdue(days=11) == 2, "the dated end is past, and the time it gave back too"


NEW_YEAR = {
    # 2027-01-01 to 03 are off, Sunday 2027-01-10 is worked instead: see the schedule below.
    "closed on the make-up day": (local("2027-01-10 10:00"), (1, 1)),
    "closed after it": (local("2027-01-11 18:00"), (0, 1)),
}


@pytest.mark.parametrize("when", NEW_YEAR)
def test_paused_over_the_make_up_days_of_new_year(
    store: EventStore, runner: Runner, gateway: Gateway, when: str
) -> None:
    """Two working days from Wednesday 30 December, parked over the holiday: of the pause only the
    working time is given back, so the due falls on the make-up day."""
    closed_at, expected = NEW_YEAR[when]
    publish = PublishYear(
        by=samples.ADMINISTRATOR,
        at=samples.START,
        year=2027,
        holidays=(date(2027, 1, 1), date(2027, 1, 2), date(2027, 1, 3)),
        makeup_days=(date(2027, 1, 10),),
    )
    store.execute(publish)
    calendar = store.office().calendar
    terms = samples.terms("street_light")  # 2 working days
    filed, worker = local("2026-12-30 08:30"), samples.GRID_WORKER
    does(
        store,
        "a",
        samples.report(at=filed),
        samples.file(at=filed, terms=terms, calendar=calendar),
        samples.dispatch(at=filed),
        samples.accept(at=filed),
        samples.ask_park(at=local("2026-12-30 17:30"), until=local("2027-01-08 17:30")),
        samples.approve_park(at=local("2026-12-30 17:30")),
        samples.resume(at=local("2027-01-08 17:30"), calendar=calendar),
        samples.resolve(by=worker, at=closed_at),
        samples.check(at=closed_at),
        samples.close(at=closed_at),
    )
    assert store.case("a")[0].facts.clock.due == local("2027-01-10 17:30")
    runner.catch_up()
    assert pair(ask(gateway, "timeliness", now=samples.after(days=400)), "on_time_rate") == expected


def test_rework_is_counted_against_what_is_due_and_what_was_dispatched(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "right")
    carry(store, "resolved", "wrong")
    does(store, "wrong", samples.check(passed=False, note="未清理", at=samples.after(hours=3)))
    carry(store, "in_progress", "open")
    runner.catch_up()
    assert pair(ask(gateway, "timeliness"), "rework_rate") == (1, 3)
    assert pair(ask(gateway, "response"), "dispatch_accuracy") == (2, 3)


# --- 4, 6: response, callbacks, reopening ---


def test_response_is_judged_when_the_limit_has_passed(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    terms = samples.SMALL
    assert terms.sla.contact is not None
    for case in ("prompt", "late", "waiting", "undispatched"):
        store.execute(samples.report(case=case), samples.file(case=case))
        if case != "undispatched":
            store.execute(samples.dispatch(case=case))
    due = store.case("late")[0].facts.clock.contact_due
    does(store, "prompt", samples.accept())
    does(store, "late", samples.accept(at=due + timedelta(hours=1)))
    runner.catch_up()
    assert pair(ask(gateway, "response", now=due), "response_rate") == (0, 0)
    assert pair(ask(gateway, "response"), "response_rate") == (1, 3)


def test_another_category_is_answered_within_its_own_limit(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    urgent = samples.reclassify(terms=samples.terms("missing_manhole_cover"))  # within two hours
    for case, hours in (("prompt", 1), ("late", 3)):
        carry(store, "assigned", case)
        does(store, case, urgent, samples.accept(at=samples.after(hours=hours)))
    runner.catch_up()
    assert pair(ask(gateway, "response"), "response_rate") == (1, 2)


@pytest.mark.parametrize(
    ("after_closing", "solved", "satisfied", "coverage", "excluded"),
    [
        ((), (0, 0), (0, 0), (0, 1), {"waiting": 1}),
        (("missed",), (0, 0), (0, 0), (0, 1), {"waiting": 1}),
        (("missed", "missed", "missed"), (0, 0), (0, 0), (0, 1), {"unreached": 1}),
        (("missed", "solved"), (1, 1), (0, 1), (1, 1), {}),
        (("unsolved",), (0, 1), (0, 1), (1, 1), {}),
        (("unsolved", "evaluated"), (1, 1), (1, 1), (1, 1), {}),
        (("evaluated",), (1, 1), (1, 1), (1, 1), {}),
        (("unsolved", "reopened"), (0, 0), (0, 0), (0, 0), {}),
    ],
)
def test_the_edges_of_callbacks(
    store: EventStore,
    runner: Runner,
    gateway: Gateway,
    after_closing: tuple[str, ...],
    solved: tuple[int, int],
    satisfied: tuple[int, int],
    coverage: tuple[int, int],
    excluded: dict[str, int],
) -> None:
    says = {
        "missed": samples.call_back(reached=False, solved=None),
        "solved": samples.call_back(reached=True, solved=True),
        "unsolved": samples.call_back(reached=True, solved=False),
        "evaluated": samples.evaluate(solved=True, satisfied=True),
        "reopened": samples.reopen(),
    }
    carry(store, "closed", "a")
    for step, name in enumerate(after_closing):
        does(store, "a", replace(says[name], at=samples.after(days=2, hours=step)))
    runner.catch_up()
    found = ask(gateway, "evaluation")
    assert pair(found, "solved_rate") == solved
    assert pair(found, "satisfied_rate") == satisfied
    assert pair(found, "callback_coverage") == coverage
    assert {k: v for k, v in found["solved_rate"].excluded.items() if v} == excluded


@pytest.mark.parametrize(
    ("reopened_after", "now_after", "expected"),
    [(None, 40, (0, 1)), (None, 20, (0, 0)), (10, 40, (1, 1)), (10, 20, (0, 0)), (31, 40, (0, 1))],
)
def test_reopening_counts_within_its_days_and_not_after(
    store: EventStore,
    runner: Runner,
    gateway: Gateway,
    reopened_after: int | None,
    now_after: int,
    expected: tuple[int, int],
) -> None:
    carry(store, "closed", "a")
    closed_at = store.case("a")[0].facts.closed_at
    if reopened_after is not None:  # after the window only an old system can have done so
        does(
            store,
            "a",
            samples.reopen(
                at=closed_at + timedelta(days=reopened_after),
                by=samples.IMPORTER,
                imported=samples.OLD_SYSTEM,
            ),
        )
    runner.catch_up()
    found = ask(gateway, "evaluation", now=closed_at + timedelta(days=now_after))
    assert pair(found, "reopen_rate") == expected


def test_each_closing_keeps_the_rules_that_the_case_had_then(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """Reopened, reclassified and closed again: ten days to reopen and one call instead of 30, 3."""
    carry(store, "closed", "a")
    days = samples.after
    other = samples.terms("dirty_road", Policy(reopen_window_days=10, callback_attempts=1))
    does(
        store,
        "a",
        samples.reopen(at=days(days=1)),
        samples.accept(at=days(days=1, hours=1)),
        samples.reclassify(at=days(days=1, hours=2), terms=other),
        samples.resolve(at=days(days=1, hours=3)),
        samples.check(at=days(days=1, hours=3)),
        samples.close(at=days(days=1, hours=3)),
        samples.call_back(at=days(days=2), reached=False, solved=None),
    )
    again = samples.call_back(at=days(days=3), reached=False, solved=None)
    with pytest.raises(Refused) as refused:
        does(store, "a", again)
    assert refused.value.code == "case.callback_limit"
    runner.catch_up()
    found = ask(gateway, "evaluation", now=days(days=13))
    assert found["solved_rate"].excluded["unreached"] == 1
    assert pair(found, "reopen_rate") == (0, 1), "the first closing has its 30 days yet to wait"
    assert pair(ask(gateway, "evaluation", now=days(days=40)), "reopen_rate") == (1, 2)


# --- 5, 9, 12: quality ---

HERE = c.Spot(longitude=116.4, latitude=39.9)
NEARBY = c.Spot(longitude=116.4004, latitude=39.9002)  # 41 m
FAR = c.Spot(longitude=116.401, latitude=39.9)  # 85 m
SOMEBODY_ELSE = c.Reporter(person="zhao")


@pytest.mark.parametrize(
    ("second", "first_contact", "follow_ups", "repeats"),
    [
        ({}, (0, 1), 1, (1, 2)),
        ({"spot": NEARBY}, (0, 1), 1, (1, 2)),
        ({"spot": FAR}, (2, 2), 0, (0, 2)),
        ({"spot": c.Spot()}, (0, 1), 1, (0, 1)),
        ({"reporter": SOMEBODY_ELSE}, (2, 2), 0, (1, 2)),
        ({"reporter": None}, (1, 1), 0, (1, 2)),
        ({"days": 29}, (0, 1), 1, (1, 2)),
        ({"days": 31}, (2, 2), 0, (0, 2)),
        ({"category": "dirty_road"}, (2, 2), 0, (0, 2)),
        ({"end": "void"}, (1, 1), 0, (0, 1)),
        ({"end": "rejected"}, (1, 1), 0, (0, 1)),
        ({"end": "merged"}, (0, 1), 0, (1, 1)),
    ],
)
def test_the_same_again(
    store: EventStore,
    runner: Runner,
    gateway: Gateway,
    second: dict[str, Any],
    first_contact: tuple[int, int],
    follow_ups: int,
    repeats: tuple[int, int],
) -> None:
    """A case that was settled, and a second one some days later."""
    shift = timedelta(days=second.get("days", 5))
    end = second.get("end", "closed")
    reporter = second.get("reporter", samples.REPORTER)
    report = {"spot": second.get("spot", HERE), "reporter": reporter}
    terms = samples.terms(second.get("category", "exposed_garbage"))
    carry(store, "closed", "first", spot=HERE)
    path = samples.PATHS["filed" if end == "merged" else end]
    for command in path:
        moved = replace(command, case="second", at=command.at + shift)
        match moved:
            case c.ReportCase():
                moved = replace(moved, **report)
            case c.FileCase():
                moved = replace(moved, terms=terms)
        store.execute(moved)
    if end == "merged":
        store.execute(samples.report(case="third", at=samples.START + shift, spot=FAR))
        at_ = samples.START + shift + timedelta(hours=1)
        store.execute(samples.merge(case="second", into="third", at=at_))
    runner.page = 3  # the two become known at different times
    runner.catch_up()
    found = ask(gateway, "quality")
    assert pair(found, "first_contact") == first_contact
    assert found["first_contact"].excluded["follow_up"] == follow_ups
    assert pair(found, "repeat_rate") == repeats


@pytest.mark.parametrize("void", ["first", "second"])
def test_a_void_report_neither_follows_nor_is_followed(
    store: EventStore, runner: Runner, gateway: Gateway, void: str
) -> None:
    """Of two reports of the same one is voided, which were a pair until then."""
    for case, days in (("first", 0), ("second", 2)):
        for command in samples.PATHS["filed" if case == void else "closed"]:
            store.execute(replace(command, case=case, at=command.at + timedelta(days=days)))
    runner.catch_up()
    paired = store.recorder.max_notification_id() or 0
    then = (0, 1)
    assert pair(ask(gateway, "quality"), "first_contact") == then
    at_ = samples.after(days=3)
    does(store, void, samples.ask_void(at=at_), samples.approve_void(at=at_))
    runner.catch_up()

    def is_right() -> None:
        now = ask(gateway, "quality")["first_contact"]
        assert (now.rate.numerator, now.rate.denominator) == (1, 1)
        assert (now.excluded["void"], now.excluded["follow_up"]) == (1, 0)
        was = ask(gateway, "quality", as_of=Moment(LATER, paired))["first_contact"]
        assert (was.rate.numerator, was.rate.denominator) == then
        assert (was.excluded["void"], was.excluded["follow_up"]) == (0, 1)

    is_right()
    (quality,) = (each for each in runner.projections if each.name == QUALITY.name)
    runner.rebuild(quality, verify=True)
    is_right()


def test_first_contact_needs_the_first_handler_and_its_days(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "one")
    carry(store, "in_progress", "two", reporter=SOMEBODY_ELSE)
    colleague = samples.actor(Role.GRID_WORKER, samples.GRID, "colleague")
    hour = samples.after(hours=1)
    does(
        store,
        "two",
        samples.accept(by=colleague, at=hour),
        samples.resolve(by=colleague, at=hour),
        samples.check(at=hour),
        samples.close(at=hour),
    )
    runner.catch_up()
    assert pair(ask(gateway, "quality"), "first_contact") == (1, 2)
    early = ask(gateway, "quality", now=samples.after(days=29))
    assert pair(early, "first_contact") == (0, 0)
    assert early["first_contact"].excluded["too_recent"] == 2


def test_filing_is_accurate_but_for_what_was_voided(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    for state in ("filed", "void", "rejected"):
        carry(store, state, state)
    runner.catch_up()
    found = ask(gateway, "quality")["filing_accuracy"]
    assert found.rate == Ratio(numerator=1, denominator=2)
    assert found.excluded == {"merged": 0, "rejected": 1}


# --- 10: backlog ---


@pytest.mark.parametrize("seasons", [{}, SEASONS], ids=["one set of hours", "hours that change"])
def test_the_backlog_is_as_old_as_the_rules_say(
    store: EventStore, runner: Runner, gateway: Gateway, seasons: dict[date, tuple[Period, ...]]
) -> None:
    """Calendar ages are since filing; running ones are what ``sla.elapsed`` says."""
    calendar = _calendar(store, seasons)
    carry(store, "closed", "closed")
    carry(store, "in_progress", "working")
    carry(store, "parked", "parked")
    does(store, "resumed", *samples.PATHS["parked"])
    does(store, "resumed", samples.resume(at=samples.after(days=3), calendar=calendar))
    noise = samples.terms("noise")  # on the calendar clock
    store.execute(samples.report(case="noise"), samples.file(case="noise", terms=noise))
    runner.catch_up()
    parked = Pause(samples.after(minutes=6), samples.after(days=10))
    known = {
        "working": (samples.SMALL, ()),
        "parked": (samples.SMALL, (parked,)),
        "resumed": (samples.SMALL, (Pause(parked.start, samples.after(days=3)),)),
        "noise": (noise, ()),
    }
    for now in (
        samples.after(hours=2),
        samples.after(days=2),
        *(samples.after(days=days, hours=5) for days in range(2, 13)),
        samples.after(days=13, hours=4),
    ):
        found = gateway.figures.backlog(supervisor(), Question(now=now))
        running = sorted(
            elapsed(calendar, samples.FILED_AT, now, terms.sla.limit, pauses)
            for terms, pauses in known.values()
        )
        assert found.running.count == 4
        assert (found.running.p50, found.running.oldest) == (running[1], running[-1])
        assert found.running.p90 == running[3]
        assert found.calendar.p50 == (now - samples.FILED_AT).total_seconds()
        assert sum(found.running.buckets) == sum(found.calendar.buckets) == 4


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("reclassified", [False, True])
def test_a_due_that_was_given_as_a_date_is_aged_by_the_calendar_until_it_is_reopened(
    store: EventStore, runner: Runner, gateway: Gateway, reopened: bool, reclassified: bool
) -> None:
    calendar = _calendar(store)
    old: dict[str, Any] = {"by": samples.IMPORTER, "imported": samples.OLD_SYSTEM}
    first, filed, *others = samples.PATHS["closed" if reopened else "in_progress"]
    assert isinstance(filed, c.FileCase)
    due = samples.after(days=3)
    does(store, "a", replace(first, **old), replace(filed, due=due, **old), *others)
    friday, monday = local("2026-03-06 16:30"), local("2026-03-09 09:30")
    if reopened:
        does(store, "a", samples.reopen(at=friday), samples.accept(at=friday))
    if reclassified:
        does(store, "a", samples.reclassify(at=friday, calendar=calendar))
    runner.catch_up()
    found = gateway.figures.backlog(supervisor(), Question(now=monday))
    facts = store.case("a")[0].facts
    assert (facts.clock.dated is None) is reopened
    limit = facts.terms.sla.limit if reopened else Limit(1, Unit.DAY)
    assert found.running.oldest == elapsed(calendar, facts.clock.started, monday, limit)


def test_a_change_of_hours_leaves_the_ages_before_it_as_they_were(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    calendar = _calendar(store)
    filed, before, after = samples.FILED_AT, samples.after(days=1), samples.after(days=8)
    carry(store, "in_progress", "a")
    does(store, "a", samples.reclassify(terms=samples.terms("muck")))  # two working days

    def running(now: datetime, as_of: int | None = None) -> int | None:
        runner.catch_up()
        moment = None if as_of is None else Moment(now, as_of)
        question = Question(now=now, as_of=moment)
        return gateway.figures.backlog(supervisor(), question).running.oldest

    def worked(calendar: Any, now: datetime) -> int:
        known: int = calendar.working_seconds(filed, now)
        return known

    then, was = store.recorder.max_notification_id(), worked(calendar, after)
    assert (running(before), running(after)) == (worked(calendar, before), was)
    new = _calendar(store, SEASONS)
    assert running(before) == worked(calendar, before)
    assert running(after) == worked(new, after) != was
    assert running(after, as_of=then) == was


def _calendar(store: EventStore, seasons: dict[date, tuple[Period, ...]] | None = None) -> Any:
    """The office knows the years that the samples know, and the changes of its hours."""
    for year, schedule in samples.CALENDAR.years.items():
        publish = PublishYear(
            by=samples.ADMINISTRATOR,
            at=samples.START,
            year=year,
            holidays=schedule.holidays,
            makeup_days=schedule.makeup_days,
        )
        store.execute(publish)
    for since, periods in (seasons or {}).items():
        by, at_ = samples.ADMINISTRATOR, samples.START
        store.execute(SetWorkingHours(by=by, at=at_, since=since, periods=periods))
    return store.office().calendar


# --- 11: caseload ---


def test_caseload_of_the_grids_in_force(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by, moment = samples.ADMINISTRATOR, samples.START
    new_year = date(2026, 1, 1)
    for tier, path, parent in (
        (Tier.DISTRICT, "d1", ""),
        (Tier.SUBDISTRICT, "s1", "d1/"),
        (Tier.COMMUNITY, "c1", "d1/s1/"),
        (Tier.GRID, "g1", samples.COMMUNITY),
        (Tier.GRID, "g2", samples.COMMUNITY),
        (Tier.GRID, "g4", samples.COMMUNITY),
    ):
        store.execute(
            territory.CreateTerritory(
                by=by, at=moment, id=path, tier=tier, parent=parent, name=path, effective=new_year
            )
        )
    for path, worker in ((samples.GRID, "a"), (samples.GRID, "b"), (samples.SIBLING_GRID, "c")):
        store.execute(territory.AssignWorker(by=by, at=moment, path=path, worker=worker))
    store.execute(
        territory.RecordHouseholds(
            by=by, at=moment, path=samples.GRID, households=100, residents=280, as_of=new_year
        )
    )
    by_size(store, "s", "small")
    by_size(store, "b", "big", close=False)
    runner.catch_up()

    def caseload(**asked: Any) -> Any:
        return gateway.figures.caseload(supervisor("d1/"), Question(**({"now": LATER} | asked)))

    found = caseload(until=samples.after(days=2))
    loads = {g.path: (g.cases, g.weighted, g.workers, g.load) for g in found.grids}
    assert loads == {
        samples.GRID: (2, 4, 2, 2.0),
        samples.SIBLING_GRID: (0, 0, 1, 0.0),
        "d1/s1/c1/g4/": (0, 0, 0, None),
    }
    assert (found.without_cases, found.without_workers) == (2, 1)
    assert (found.by_cases.gini, found.by_cases.variation) == (0.5, 1.0)
    assert (found.by_residents.gini, found.by_residents.variation) == (0.5, 1.0)
    assert caseload(until=samples.after(days=2), size="big").grids[0].weighted == 3
    before = store.recorder.max_notification_id()
    # A grid that is split or merged within the window: what is in force at its end counts.
    store.execute(
        territory.MergeGrids(
            by=by,
            at=moment,
            paths=(samples.GRID, samples.SIBLING_GRID),
            id="g9",
            name="g9",
            effective=date(2026, 3, 4),
        )
    )
    runner.catch_up()
    later = caseload(until=samples.after(days=5))
    assert [grid.path for grid in later.grids] == ["d1/s1/c1/g4/", "d1/s1/c1/g9/"]
    running = caseload(until=samples.after(days=5), now=samples.after(days=1))
    assert [grid.path for grid in running.grids] == list(loads), "it is not merged yet"
    assert later.answer.figures["weight"].excluded["outside_grids"] == 2
    assert later.by_cases.gini is None
    assert [g.path for g in caseload(until=samples.after(days=1)).grids] == list(loads)
    as_it_was = caseload(until=samples.after(days=5), as_of=before)
    assert {g.path for g in as_it_was.grids} == set(loads)


def test_a_load_is_shared_by_who_was_active_at_the_end(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by, days = samples.ADMINISTRATOR, samples.after
    common: dict[str, Any] = {"by": by, "at": samples.START}
    for tier in (Tier.DISTRICT, Tier.SUBDISTRICT, Tier.COMMUNITY, Tier.GRID):
        path = at_tier(samples.GRID, tier) or ""
        begun: dict[str, Any] = {
            "id": id_of(path),
            "parent": parent_of(path),
            "effective": date(2026, 1, 1),
        }
        store.execute(territory.CreateTerritory(**common, **begun, tier=tier, name=path))
    grants = (Grant(Role.GRID_WORKER, samples.GRID),)
    for worker in ("a", "b"):
        store.execute(staff.AddUser(**common, id=worker, name=worker, grants=grants, unit=None))
    steps: list[Any] = [
        territory.AssignWorker(**common, path=samples.GRID, worker="a"),
        territory.AssignWorker(by=by, at=days(days=10), path=samples.GRID, worker="b"),
        staff.SuspendUser(by=by, at=days(days=20), user="a", reason="离岗"),
        territory.ReleaseWorker(by=by, at=days(days=30), path=samples.GRID, worker="b"),
        staff.RestoreUser(by=by, at=days(days=40), user="a"),
        territory.AssignWorker(by=by, at=days(days=50), path=samples.GRID, worker="b"),
    ]
    ends = [days(days=n) for n in (1, 11, 21, 31, 41, 51)]

    def workers(**asked: Any) -> int:
        (grid,) = gateway.figures.caseload(by_, Question(**({"now": LATER} | asked))).grids
        count: int = grid.workers
        return count

    by_ = supervisor()
    known = []
    for n, step in enumerate(steps):
        known.append(store.execute(step).position)
        runner.catch_up()
        assert workers(now=ends[n]) == (1, 2, 1, 0, 1, 2)[n]

    def is_as_it_was() -> None:
        assert [workers(until=end) for end in ends] == [1, 2, 1, 0, 1, 2]
        assert [workers(as_of=Moment(LATER, position)) for position in known] == [1, 2, 1, 0, 1, 2]
        assert workers(until=ends[2], as_of=known[1]) == 2, "it was not known yet"

    is_as_it_was()
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)
    is_as_it_was()


# --- scope, windows, breakdowns ---


def test_a_metric_of_a_territory_out_of_scope_is_refused(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "a")
    runner.catch_up()
    figures, metric = gateway.figures, METRICS["containment"]
    figure = metric.figure("grid_small")
    asks: list[Callable[[Actor, Question], Any]] = [
        lambda by, asked: figures.answer(by, metric, asked),
        lambda by, asked: figures.cases(by, metric, figure, Part.NUMERATOR, None, asked),
        figures.backlog,
        figures.caseload,
    ]
    for ask_ in asks:
        ask_(supervisor(samples.COMMUNITY), Question(now=LATER, territory=samples.GRID))
        for by, path in (
            (supervisor(samples.COMMUNITY), samples.OTHER_GRID),
            (supervisor(samples.COMMUNITY), samples.SUBDISTRICT),
            (samples.RESIDENT, ""),
            (samples.GRID_WORKER, samples.GRID),
        ):
            with pytest.raises(Refused) as refused:
                ask_(by, Question(now=LATER, territory=path))
            assert refused.value.code == "query.not_permitted"
    for path, sees in (("d1/", 1), (samples.GRID, 1), (samples.SIBLING_GRID, 0), ("d2/", 0)):
        found = ask(gateway, "containment", by=supervisor(path))
        assert pair(found, "grid_all") == (sees, sees), path


def test_a_window_counts_what_was_closed_in_it_beside_the_one_before(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "a", "small")
    runner.catch_up()
    closed_at, day = samples.after(days=1), timedelta(days=1)
    found = ask(gateway, "containment", since=closed_at, until=closed_at + day)["grid_all"]
    assert (found.rate.denominator, found.before.denominator) == (1, 0)
    found = ask(gateway, "containment", since=closed_at + day, until=closed_at + 2 * day)
    assert (found["grid_all"].rate.denominator, found["grid_all"].before.denominator) == (0, 1)
    assert ask(gateway, "containment", until=closed_at)["grid_all"].rate.denominator == 0
    assert ask(gateway, "containment", until=closed_at)["grid_all"].before is None


@pytest.mark.parametrize(
    ("over", "keys"),
    [
        ("territory", ["d1/"]),
        ("category", ["exposed_garbage", "illegal_construction"]),
        ("size", ["big", "small"]),
        ("source", ["resident"]),
        ("day", ["2026-03-03"]),
        ("week", ["2026-03-02"]),
        ("month", ["2026-03"]),
    ],
)
def test_a_breakdown_adds_up(
    store: EventStore, runner: Runner, gateway: Gateway, over: Any, keys: list[str]
) -> None:
    for n, size in enumerate(("small", "small", "big")):
        by_size(store, f"case-{n}", size)
    runner.catch_up()
    asked = Question(now=LATER)
    found = gateway.figures.answer(supervisor(), METRICS["containment"], asked, over)
    assert [group.key for group in found.groups] == keys
    whole = found.figures["community_all"].rate
    assert sum(g.figures["community_all"].denominator for g in found.groups) == whole.denominator
    assert whole.denominator == 3


def test_a_breakdown_by_territory_goes_one_tier_down(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "a")
    runner.catch_up()
    for path, key in (("d1/", "d1/s1/"), (samples.COMMUNITY, samples.GRID)):
        asked = Question(now=LATER, territory=path)
        found = gateway.figures.answer(supervisor(), METRICS["containment"], asked, "territory")
        assert [group.key for group in found.groups] == [key]
    asked = Question(now=LATER, territory=samples.GRID)
    found = gateway.figures.answer(supervisor(), METRICS["containment"], asked, "territory")
    assert [group.key for group in found.groups] == [samples.GRID]


def test_a_month_of_a_trend_is_what_it_was_alone(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """Each is judged at its own end, not at the end of all."""
    march = local("2026-03-20 09:00")
    store.execute(
        samples.report(case="late", at=march),
        samples.file(case="late", at=march),
        samples.dispatch(case="late", at=march),
    )
    finish(store, "late", local("2026-04-20 10:00"))
    february = local("2026-02-10 09:00")
    store.execute(samples.report(case="open", at=february), samples.file(case="open", at=february))
    runner.catch_up()
    months = [local(f"2026-0{n}-01 00:00") for n in (2, 3, 4, 5, 6)]
    asked = Question(now=local("2026-05-15 12:00"), since=months[0], until=months[-1])
    found = gateway.figures.answer(supervisor(), METRICS["timeliness"], asked, "month")
    closure = {group.key: group.figures["closure_rate"] for group in found.groups}
    assert {key: (rate.numerator, rate.denominator) for key, rate in closure.items()} == {
        "2026-02": (0, 1),
        "2026-03": (0, 2),
        "2026-04": (1, 2),
        "2026-05": (0, 1),
    }
    for since, until in pairwise(months):
        alone = ask(gateway, "timeliness", now=asked.now, since=since, until=until)
        assert closure[f"{since:%Y-%m}"] == alone["closure_rate"].rate


@pytest.mark.parametrize(
    ("over", "since"),
    [("month", None), ("day", samples.after(days=-121)), ("week", samples.after(days=-900))],
)
def test_what_is_judged_at_each_end_is_broken_down_into_so_many_periods(
    store: EventStore, runner: Runner, gateway: Gateway, over: Any, since: datetime | None
) -> None:
    runner.catch_up()
    asked = Question(now=samples.START, since=since)
    for metric in METRICS.values():
        if metric.name not in ("timeliness", "caseload"):
            assert gateway.figures.answer(supervisor(), metric, asked, over).groups == []
            continue
        with pytest.raises(Refused) as refused:
            gateway.figures.answer(supervisor(), metric, asked, over)
        assert refused.value.code == "query.too_many_periods"


@pytest.mark.parametrize("over", ["day", "week", "month"])
def test_each_period_of_a_breakdown_is_what_is_answered_of_it_alone(
    store: EventStore, runner: Runner, gateway: Gateway, over: Any
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for n in range(5):  # of two, one in a hundred has nothing that counts
        live(store, chance, str(n))
    runner.catch_up()
    head, figures = store.recorder.max_notification_id() or 0, gateway.figures
    compared = 0
    for days, past in product((5, 30), (False, True)):
        now = samples.after(days=days, hours=3)
        asked = Question(
            now=now,
            as_of=Moment(now, chance.randrange(head // 2, head)) if past else None,
            # Of everything from the first day on in the present there is always something.
            since=samples.after(days=chance.randrange(-2, 3) if past else -2, hours=5),
            # The histories go on after that: nothing is known of the future but here.
            until=chance.choice((now, samples.after(days=4))),
            territory=chance.choice(("", "d1/s1/")) if past else "",
        )
        whole = asked.until or now
        for metric in METRICS.values():
            groups = {
                group.key: group.figures
                for group in figures.answer(supervisor(), metric, asked, over).groups
            }
            since = asked.since
            while since is not None and since < whole:
                period, form = PERIODS[over]
                span = period.around(office_time(since).date())
                alone = replace(asked, since=since, until=min(span.until, whole))
                answer = figures.answer(supervisor(), metric, alone)
                nothing = dict.fromkeys(answer.figures, Ratio(numerator=0, denominator=0))
                assert groups.pop(str(span.first)[: len(form)], nothing) == {
                    name: each.rate for name, each in answer.figures.items()
                }, (seed, metric.name, since)
                compared += sum(each.rate.denominator for each in answer.figures.values())
                since = span.until
            assert not groups, (seed, metric.name)
    assert compared


# --- any past ---

MOMENTS = (samples.after(days=1), samples.after(days=60), samples.after(days=700))
SPOTS = (HERE, NEARBY, FAR, c.Spot())


class Until:
    """A source that ends at a position: a system that stopped there."""

    def __init__(self, source: Any, position: int) -> None:
        self._source, self._position = source, position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def head(self, part: str) -> int:
        head: int = self._source.head(part)
        return min(self._position, head)


def live(store: EventStore, chance: random.Random, name: str) -> None:
    """A random history of five cases, their ids marked by a name."""
    world = World()
    for step in steps_of(chance.randbytes(STEP.size * 70)):
        command = world.command(step)
        if isinstance(command, c.ReportCase):
            command = replace(command, spot=chance.choice(SPOTS))
        if world.execute(command):
            try:
                store.execute(_marked(command, name))
            except Refused:  # nothing new, or a rule of the office
                continue


def _marked(command: Any, name: str) -> Any:
    changes: dict[str, Any] = {"case": f"{name}-{command.case}"}
    for field in ("into", "parent"):
        if getattr(command, field, None) in CASES:
            changes[field] = f"{name}-{getattr(command, field)}"
    if isinstance(command, c.SplitCase):
        changes["children"] = tuple(
            replace(child, case=f"{name}-{child.case}") for child in command.children
        )
    return replace(command, **changes)


def questions(chance: random.Random) -> list[Question]:
    """Windows, territories and kinds, at some moment."""
    days = sorted(chance.sample(range(-1, 90), 2))
    return [
        Question(now=chance.choice(MOMENTS)),
        Question(
            now=chance.choice(MOMENTS),
            since=samples.after(days=days[0]),
            until=chance.choice((None, samples.after(days=days[1]))),
            territory=chance.choice(("", "d1/s1/", samples.GRID)),
            size=chance.choice((None, "small", "big")),
            source=chance.choice((None, "resident", "window")),
            category=chance.choice((None, None, "exposed_garbage")),
        ),
    ]


def everything(figures: Figures, asked: Question) -> dict[str, Any]:
    """All that can be answered, without where it was answered from."""
    by = supervisor()
    found: dict[str, Any] = {}
    for name, metric in METRICS.items():
        answer = figures.answer(by, metric, asked, "size")
        found[name] = (answer.figures, answer.groups)
    backlog, caseload = figures.backlog(by, asked), figures.caseload(by, asked)
    found["ages"] = (backlog.calendar, backlog.running)
    found["loads"] = (caseload.grids, caseload.by_cases)
    return found


def test_as_of_any_past_it_answers_what_it_would_have_answered_then(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for n in range(3):
        live(store, chance, str(n))
    head, source = store.recorder.max_notification_id(), runner.source
    assert head is not None
    stops = sorted(chance.sample(range(head // 4, head), 4))
    then: list[tuple[int, Question, dict[str, Any]]] = []
    runner.page = chance.choice((1, 7, 5000))
    for stop in stops:
        runner.source = Until(source, stop)
        runner.catch_up()
        then += [(stop, asked, everything(gateway.figures, asked)) for asked in questions(chance)]
    runner.source = source
    runner.catch_up()

    def is_as_it_was() -> None:
        for stop, asked, answered in then:
            again = replace(asked, as_of=Moment(asked.now, stop), now=LATER)
            assert everything(gateway.figures, again) == answered, (seed, stop, asked)

    is_as_it_was()
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)
    is_as_it_was()
    # And the present is not the past, or all of this would prove nothing.
    assert any(everything(gateway.figures, asked) != answered for _, asked, answered in then)


def listed(
    figures: Figures,
    metric: Metric,
    figure: Figure,
    part: Part,
    reason: str | None,
    asked: Question,
) -> int:
    """How often the cases of a part count, page by page."""
    count, after = 0, None
    while True:
        rows = figures.cases(supervisor(), metric, figure, part, reason, asked, after, limit=3)
        count += sum(row.count for row in rows)
        if len(rows) < 3:
            return count
        after = (rows[-1].at.isoformat(), rows[-1].case, rows[-1].nth)


def test_the_lists_hold_exactly_the_cases_that_were_counted(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for n in range(3):
        live(store, chance, str(n))
    runner.catch_up()
    head = store.recorder.max_notification_id() or 0
    figures, compared = gateway.figures, 0
    for asked in questions(chance):
        for past in (None, Moment(asked.now, head // 2)):
            question = replace(asked, as_of=past)
            for metric in METRICS.values():
                answer = figures.answer(supervisor(), metric, question)
                for figure in metric.figures:
                    found = answer.figures[figure.name]
                    parts = {
                        (Part.NUMERATOR, None): found.rate.numerator,
                        (Part.DENOMINATOR, None): found.rate.denominator,
                        (Part.EXCLUDED, None): sum(found.excluded.values()),
                    } | {(Part.EXCLUDED, why): n for why, n in found.excluded.items()}
                    for (part, reason), count in parts.items():
                        again = listed(figures, metric, figure, part, reason, question)
                        assert again == count, (seed, metric.name, figure.name, part, reason)
                        compared += count
    assert compared > 100


def test_a_time_and_its_position_say_the_same(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    for n in range(9):
        carry(store, "closed", str(n))
    runner.catch_up()
    history = store.history("case:4")
    recorded = history[-1]
    now = recorded.recorded_at + timedelta(days=1)
    for as_of in (recorded.position, recorded.recorded_at):
        answer = gateway.figures.answer(
            supervisor(), METRICS["containment"], Question(now=now, as_of=as_of)
        )
        assert answer.position == recorded.position
        assert answer.moment.at == recorded.recorded_at
        assert answer.figures["grid_all"].rate.denominator == 5
    before = Question(now=now, as_of=history[0].recorded_at - timedelta(days=1))
    answer = gateway.figures.answer(supervisor(), METRICS["containment"], before)
    assert (answer.position, answer.figures["grid_all"].rate.denominator) == (0, 0)
    with pytest.raises(Refused) as refused:
        ask(gateway, "containment", as_of=10**6)
    assert refused.value.code == "request.position_ahead"


def test_sums_by_day_are_what_the_rows_come_to(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """Whatever way they came about: followed in pages of any size, or filled by a rebuild."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    runner.page = chance.choice((1, 5, 50))
    for n in range(3):
        live(store, chance, str(n))
        runner.catch_up()
    head = store.recorder.max_notification_id() or 0
    by_rows = Figures(gateway.figures.ready, by_rows=True)
    windows = [(None, None), *(sorted(chance.sample(MIDNIGHTS, 2)) for _ in range(3))]

    def add_up() -> None:
        for name, metric in METRICS.items():
            for since, until in windows:
                for over, path in BROKEN_DOWN:
                    asked = Question(
                        now=MOMENTS[1],
                        as_of=chance.choice((None, Moment(MOMENTS[1], chance.randrange(head)))),
                        since=since,
                        until=until,
                        territory=path,
                        category=chance.choice((None, None, "exposed_garbage")),
                    )
                    # What is judged at the end of each period needs to know the first of them.
                    endless = since is None and any(map(metric.at_end, metric.rows))
                    by = None if endless and over in PERIODS else over
                    found = [
                        figures.answer(supervisor(), metric, asked, by)
                        for figures in (gateway.figures, by_rows)
                    ]
                    assert found[0].figures == found[1].figures, (seed, name, asked)
                    assert found[0].groups == found[1].groups, (seed, name, over, asked)

    add_up()
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)
    add_up()


def test_what_comes_late_is_added_to_sums_that_are_done(
    database: str, secret: bytes, store: EventStore, gateway: Gateway
) -> None:
    """As when a topic's partitions, or several logs, do not keep step with one another."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for n in range(2):
        live(store, chance, str(n))
    streams = [f"case:{n}-{case}" for n in range(2) for case in CASES]
    chance.shuffle(streams)
    by_rows = Figures(gateway.figures.ready, by_rows=True)
    dsn = role_dsn(database, secret, "wangge_projector")
    for each in FIGURES:
        fold(dsn, summed(each, METRICS.values(), STRETCH), map(store.history, streams))
    counted = 0
    for metric in METRICS.values():
        for territory_ in ("", "d1/"):
            asked = Question(now=LATER, territory=territory_)
            one, other = (
                figures.answer(supervisor(), metric, asked, "size")
                for figures in (gateway.figures, by_rows)
            )
            assert one.figures == other.figures, (seed, metric.name)
            assert one.groups == other.groups, (seed, metric.name)
            counted += sum(figure.rate.denominator for figure in one.figures.values())
    assert counted > 100


def test_pairs_that_come_late_are_put_right_in_sums_that_are_done(
    database: str, secret: bytes, store: EventStore, gateway: Gateway
) -> None:
    """One that nobody knew of yet changes what was summed up of those that were known."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    ends = ("closed", "void", "closed", "closed", "filed")
    for n, end in enumerate(ends):
        for command in samples.PATHS[end]:
            at_ = command.at + timedelta(days=9 * n)
            moved = replace(command, case=f"c{n}", at=at_)
            if isinstance(moved, c.ReportCase):
                moved = replace(moved, spot=chance.choice((HERE, NEARBY)))
            store.execute(moved)
    pages: list[tuple[float, Sequence[Recorded[Any]]]] = []
    for n in range(len(ends)):  # the parts of one stream stay in order
        history = store.history(f"case:c{n}")
        half = chance.randrange(1, len(history))
        turns = sorted(chance.random() for _ in range(2))
        pages += zip(turns, (history[:half], history[half:]), strict=True)
    order = [page for _, page in sorted(pages, key=lambda page: page[0])]
    by_rows = Figures(gateway.figures.ready, by_rows=True)
    dsn = role_dsn(database, secret, "wangge_projector")
    fold(dsn, summed(QUALITY, METRICS.values(), stretch=3), order)
    head = store.recorder.max_notification_id() or 0
    for position in (None, *range(2, head, 3)):
        past = position and Moment(LATER, position)
        for since in (None, samples.after(days=5), samples.after(days=12)):
            asked = Question(now=LATER, as_of=past, since=since)
            one, other = (
                figures.answer(supervisor(), METRICS["quality"], asked, "day")
                for figures in (gateway.figures, by_rows)
            )
            assert one.figures == other.figures, (seed, position, since)
            assert one.groups == other.groups, (seed, position, since)
            if not position and not since:
                assert one.figures["first_contact"].excluded["follow_up"] == 3
                assert pair(one.figures, "repeat_rate") == (3, 3)


def fold(dsn: str, model: Projection, histories: Iterable[Sequence[Recorded[Any]]]) -> None:
    """Let a read model take one page after another, in whatever order."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        schemas.create(connection, model, model.name, (LOG,), indexed=True)
        for history in histories:
            page = [recorded for recorded in history if isinstance(recorded.event, model.events)]
            with connection.transaction():
                schemas.use(connection, model.name)
                model.apply(connection, page, False)
                known = schemas.claim(connection, model.name, model.version, LOG)
                last = max([known, *(recorded.position for recorded in history)])
                schemas.move(connection, LOG, last)


BROKEN_DOWN: tuple[Any, ...] = (
    *((over, "") for over in (None, "territory", "day", "size", "category")),
    *((over, path) for over in (None, "territory") for path in ("d1/", "d1/s1/")),
)
MIDNIGHTS = [
    local("2026-03-01 00:00") + timedelta(hours=hours) for hours in (0, 24, 30, 48, 200, 240, 2400)
]
