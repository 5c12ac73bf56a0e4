"""What happens to a case by itself: each thing in its time, once, and nothing else."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings

from domain import case
from domain.case import commands as c
from domain.case import events as e
from domain.case.guards import SKEW
from domain.case.states import Case, Unknown, clock_of
from domain.deadlines import PROCESS, Automatic, Pending, command, is_stale, pending, recompute
from domain.errors import Refused
from domain.sla import Limit, Unit
from tests import samples as s
from tests.domain.schedules import knowing, local
from tests.domain.stories import GRID_STAMP, facts, given_state, given_steps
from tests.domain.test_case_properties import SCRIPTS, World, steps_of

DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)

ALL_RUNNING = {Automatic.BREACH: s.DUE, Automatic.REMINDER: s.NEAR_DUE}


def waits(state: Case, ahead: timedelta = DAY) -> dict[Automatic, datetime]:
    return {each.kind: each.at for each in pending(state, ahead)}


# --- what waits -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", s.PATHS)
def test_what_waits_in_each_state(name: str) -> None:
    state = case.initial if name == "unknown" else s.state(name)
    closed_at = s.after(minutes=12)
    expected = {
        "parked": {Automatic.PARKING_END: s.after(days=10)},
        "closed": {Automatic.REOPENING_END: closed_at + timedelta(days=30)},
        "evaluated": {Automatic.REOPENING_END: closed_at + timedelta(days=30)},
        **dict.fromkeys(("filed", "assigned", "in_progress", "resolved", "checked"), ALL_RUNNING),
    }
    assert waits(state) == expected.get(name, {})


def test_a_matter_without_a_deadline_waits_for_nothing() -> None:
    assert waits(given_steps(s.report(), s.file(terms=s.ENDLESS)).state) == {}


def test_what_is_done_waits_no_more() -> None:
    assert waits(given_state("in_progress", s.remind()).state) == {Automatic.BREACH: s.DUE}
    assert waits(given_state("in_progress", s.mark_breach()).state) == {}
    assert waits(given_state("closed", s.end_reopening()).state) == {}


def test_an_office_may_do_without_reminders() -> None:
    assert waits(s.state("filed"), timedelta()) == {Automatic.BREACH: s.DUE}


def test_a_new_episode_begins_anew() -> None:
    closed = given_state("checked", s.remind(), s.close(at=s.NEXT_DAY))
    assert set(waits(closed.state)) == {Automatic.REOPENING_END}
    again = given_state("checked", s.remind(), s.close(at=s.NEXT_DAY), s.reopen(at=s.after(days=2)))
    assert set(waits(again.state)) == {Automatic.BREACH, Automatic.REMINDER}
    assert {each.episode for each in pending(again.state, DAY)} == {2}


def test_what_is_moot_is_not_due() -> None:
    reminder = Pending(s.CASE, Automatic.REMINDER, s.NEAR_DUE, 1, s.DUE)
    assert not reminder.is_due(s.NEAR_DUE)
    assert reminder.is_due(s.NEAR_DUE + MOMENT)
    assert reminder.is_due(s.DUE)
    assert not reminder.is_due(s.DUE + MOMENT)
    assert Pending(s.CASE, Automatic.BREACH, s.DUE, 1).is_due(s.after(days=400))


# --- the reminder -----------------------------------------------------------------------------


def test_a_reminder_says_who_is_meant() -> None:
    given_state("in_progress").when(s.remind()).then(
        e.DueReminded(
            at=s.NEAR_DUE,
            **GRID_STAMP,
            due=s.DUE,
            holder=s.GRID,
            unit=None,
            worker=None,
            handler="li",
        )
    )


def test_a_reminder_comes_once_half_of_the_time_is_gone() -> None:
    story = given_state("filed")
    story.when(s.remind(at=s.NEAR_DUE - MOMENT)).refused("case.too_early")
    hour = timedelta(hours=1)
    story.when(s.remind(ahead=hour)).refused("case.too_early")
    assert story.when(s.remind(ahead=hour, at=s.DUE - hour)).events
    assert waits(story.state, hour)[Automatic.REMINDER] == s.DUE - hour


def test_a_reminder_comes_once_and_never_after_the_due() -> None:
    given_state("filed", s.remind()).when(s.remind()).refused("case.reminded")
    given_state("filed").when(s.remind(at=s.DUE + MOMENT)).refused("case.due_passed")
    given_state("filed", s.mark_breach()).when(s.remind(at=s.NEXT_DAY)).refused("case.due_passed")
    endless = given_steps(s.report(), s.file(terms=s.ENDLESS))
    endless.when(s.remind()).refused("case.no_deadline")


# --- the end of a parking ---------------------------------------------------------------------


def test_only_people_end_a_parking_before_its_date() -> None:
    parked = given_state("parked")
    end = s.after(days=10)
    parked.when(s.resume(by=s.SYSTEM, at=end - MOMENT)).refused("case.too_early")
    assert parked.when(s.resume(by=s.SYSTEM, at=end)).events
    assert parked.when(s.resume(by=s.DISPATCHER, at=end - MOMENT)).events


# --- the end of the time for reopening --------------------------------------------------------


def test_the_time_for_reopening_ends_once() -> None:
    story = given_state("closed")
    ends = s.after(days=30, minutes=12)
    story.when(s.end_reopening(at=ends)).refused("case.too_early")
    at = ends + MOMENT
    story.when(s.end_reopening(at=at)).then(
        e.ReopeningEnded(at=at, **GRID_STAMP, closed_at=s.after(minutes=12))
    )
    over = given_state("closed", s.end_reopening(at=at))
    over.when(s.end_reopening(at=at)).refused("case.reopening_ended")
    over.when(s.reopen(at=at)).refused("case.reopen_window")


def test_what_is_over_stays_over_when_a_clock_is_set_back() -> None:
    over = given_state("closed", s.end_reopening(at=s.after(days=30, minutes=13)))
    over.when(s.reopen(at=s.after(days=30, minutes=12))).refused("case.reopen_window")


def test_imported_history_may_have_reopened_all_the_same() -> None:
    over = given_state("closed", s.end_reopening())
    reopened = over.when(s.importing(s.reopen(at=s.after(days=41)))).events
    again = given_state("closed", s.end_reopening(), s.importing(s.reopen(at=s.after(days=41))))
    assert isinstance(reopened[0], e.RuleWaived)
    assert not facts(again).reopening_ended


# --- a due that was provisional ---------------------------------------------------------------


def test_a_provisional_due_is_stale_once_all_of_its_years_are_published() -> None:
    start, end = local("2026-02-13 09:00"), local("2026-02-13 10:00")
    given: dict[str, Any] = {"at": start, "terms": s.terms("street_light"), "calendar": knowing()}
    steps = (s.report(at=start), s.file(**given))
    filed = given_steps(*steps).state
    assert clock_of(facts(given_steps(*steps))).provisional
    assert not is_stale(filed, knowing(2025))
    assert is_stale(filed, knowing(2026))
    firm = given_steps(*steps, recompute(s.CASE, end, knowing(2026))).state
    assert not is_stale(firm, knowing(2026))
    assert not is_stale(
        given_steps(*steps, s.ask_void(at=end), s.approve_void(at=end)).state, knowing(2026)
    )
    assert not is_stale(case.initial, knowing(2026))
    waits = Pending(s.CASE, Automatic.RECOMPUTE, start, 1)
    assert command(waits, end, DAY, knowing(2026)) == recompute(s.CASE, end, knowing(2026))


def test_so_is_one_of_the_first_contact_while_it_is_to_come() -> None:
    contact = s.terms("noise", contact=Limit(3, Unit.WORKING_DAY))
    start = local("2026-02-13 09:00")
    filing = s.file(at=start, terms=contact, calendar=knowing())
    filed = given_steps(s.report(at=start), filing)
    assert not clock_of(facts(filed)).provisional  # seven days on the calendar
    assert not is_stale(filed.state, knowing(2025))
    assert is_stale(filed.state, knowing(2026))
    steps = (s.report(at=start), filing, s.dispatch(at=start), s.accept(at=start))
    assert not is_stale(given_steps(*steps).state, knowing(2026))


# --- whatever anybody tries -------------------------------------------------------------------


def test_the_process_is_nobody_else() -> None:
    assert PROCESS == s.SYSTEM


@settings(max_examples=60)
@for_all(SCRIPTS)
def test_what_is_due_happens_then_and_once_and_never_before(script: bytes) -> None:
    world = World()
    for step in steps_of(script):
        world.execute(world.command(step))
        for state in world.states.values():
            for each in pending(state, DAY):
                _happens_in_time(state, each, world)


def _happens_in_time(state: Case, each: Pending, world: World) -> None:
    assert not isinstance(state, Unknown)
    earliest = state.facts.last_at - SKEW
    before = each.at - MOMENT
    if before >= earliest:
        with pytest.raises(Refused):
            case.decide(state, _command(each, before, world))
    now = max(each.at + MOMENT, earliest)
    if not each.is_due(now):
        return
    issued = _command(each, now, world)
    after = _after(state, case.decide(state, issued))
    assert all(left.kind is not each.kind for left in pending(after, DAY) if left.is_due(now))
    with pytest.raises(Refused):
        case.decide(after, issued)


def _command(each: Pending, at: datetime, world: World) -> c.Command:
    return command(each, at, DAY, world.calendar)


def _after(state: Case, events: Iterable[e.Event]) -> Case:
    for event in events:
        state = case.evolve(state, event)
    return state
