"""When a case is due, told as stories: pauses, extensions, breaches."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from domain.calendar import Schedule
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import (
    clock_of,
)
from domain.places import Tier
from domain.sla import Limit, Pause, Unit
from tests import samples as s
from tests.domain.schedules import knowing, local
from tests.domain.stories import GRID_STAMP, TWICE, allowed, facts, given_state, given_steps

# --- the clock --------------------------------------------------------------------------------


def test_the_clock_gives_back_only_the_working_time_that_was_lost() -> None:
    # Two working days from Friday 13 February 2026, 16:30; the Spring Festival is from the 15th to
    # the 23rd, and Saturday the 14th is a working day.
    start = local("2026-02-13 16:30")
    light = s.terms("street_light")
    path = (
        s.report(at=start),
        s.file(at=start, terms=light),
        s.dispatch(at=start),
        s.accept(at=start),
    )
    filed = given_steps(*path)
    assert clock_of(facts(filed)).due == local("2026-02-24 16:30")
    # Parked from Saturday, an hour before closing, into the first hour after the festival.
    parked = given_steps(
        *path,
        s.ask_park(at=local("2026-02-14 16:00"), until=local("2026-03-01 08:30")),
        s.approve_park(at=local("2026-02-14 16:30")),
    )
    parked.when(s.resume(at=local("2026-02-24 09:30"))).then(
        e.CaseResumed(
            at=local("2026-02-24 09:30"),
            **GRID_STAMP,
            parked=local("2026-02-14 16:30"),
            counted_to=local("2026-02-24 09:30"),
            due=local("2026-02-25 09:30"),  # an hour on Saturday and one on Tuesday
            provisional=False,
        )
    )


def test_a_pause_over_the_holidays_alone_buys_nothing() -> None:
    start = local("2026-02-14 17:00")
    path = (s.report(at=start), s.file(at=start), s.dispatch(at=start), s.accept(at=start))
    closing = local("2026-02-14 17:30")
    parked = given_steps(
        *path, s.ask_park(at=start, until=local("2026-02-24 08:30")), s.approve_park(at=closing)
    )
    due = clock_of(facts(parked)).due
    (resumed,) = parked.when(s.resume(at=local("2026-02-24 08:30"))).events
    assert isinstance(resumed, e.CaseResumed)
    assert resumed.due == due == local("2026-02-24 12:00")


def test_a_forgotten_resume_buys_no_time() -> None:
    parked = given_state("parked")
    (in_time,) = parked.when(s.resume(at=s.after(days=10))).events
    (forgotten,) = parked.when(s.resume(at=s.after(days=40), by=s.SYSTEM)).events
    assert isinstance(in_time, e.CaseResumed)
    assert isinstance(forgotten, e.CaseResumed)
    assert forgotten.counted_to == in_time.counted_to == s.after(days=10)
    assert forgotten.due == in_time.due


def test_a_pause_after_the_due_moves_nothing() -> None:
    late = s.after(days=2)
    parked = given_state(
        "in_progress", s.ask_park(at=late), s.approve_park(at=late), s.resume(at=s.after(days=3))
    )
    assert clock_of(facts(parked)).due == s.DUE
    allowed(parked.when(s.mark_breach(at=s.after(days=3))))


def test_parking_is_capped_over_the_whole_episode() -> None:
    in_hand = given_state("in_progress")
    in_hand.when(s.ask_park(until=s.after(days=91))).refused("case.park_cap")
    again = given_state("parked", s.resume(at=s.after(days=10)))
    at = s.after(days=11)
    again.when(s.ask_park(at=at, until=at + timedelta(days=81))).refused("case.park_cap")
    allowed(again.when(s.ask_park(at=at, until=at + timedelta(days=80))))


def test_a_park_takes_two_persons_and_a_date_that_still_lies_ahead() -> None:
    asked = given_state("in_progress", s.ask_park())
    asked.when(s.approve_park(by=replace(s.DISPATCHER, id="li"))).refused("case.second_person")
    asked.when(s.approve_park(at=s.after(days=10))).refused("case.park_in_past")
    asked.when(s.approve_extension()).refused("case.nothing_asked")
    asked.when(s.ask_extension()).refused("case.already_asked")
    asked.when(s.approve_park()).then(
        e.CaseParked(
            at=s.after(minutes=6),
            **GRID_STAMP,
            asked_by="li",
            until=s.after(days=10),
            reason="",
        )
    )


def test_only_the_handler_or_a_dispatcher_resumes() -> None:
    parked = given_state("parked")
    parked.when(s.resume(by=s.GRID_HANDLER)).refused("case.not_handler")
    allowed(parked.when(s.resume(by=s.DISPATCHER)))


def test_an_extension_moves_the_due() -> None:
    asked = given_state("in_progress", s.ask_extension())
    asked.when(s.approve_extension(by=replace(s.DISPATCHER, id="li"))).refused("case.second_person")
    asked.when(s.approve_extension()).then(
        e.DeadlineExtended(
            at=s.NOW,
            **GRID_STAMP,
            asked_by="li",
            more=Limit(1, Unit.WORKING_DAY),
            due=local("2026-03-03 15:02"),
            provisional=False,
            reason="",
        )
    )


def test_extensions_are_counted() -> None:
    given_state("in_progress", *TWICE).when(s.ask_extension()).refused("case.extension_limit")


@pytest.mark.parametrize(
    "more", [Limit(0, Unit.DAY), Limit(10**9, Unit.DAY), Limit(2, Unit.SAME_DAY)]
)
def test_an_extension_is_of_a_sensible_length(more: Limit) -> None:
    given_state("in_progress").when(s.ask_extension(more=more)).refused("case.bad_extension")


def test_an_extension_asked_for_while_parked_outlives_the_resumption() -> None:
    story = given_state("parked", s.ask_extension(), s.resume())
    (extended,) = story.when(s.approve_extension()).events
    assert isinstance(extended, e.DeadlineExtended)
    # A day more, and the 24 minutes from parking to resuming.
    assert extended.due == local("2026-03-03 15:26")


def test_an_extension_while_parked_and_the_pause_both_count() -> None:
    story = given_state(
        "parked", s.ask_extension(), s.approve_extension(), s.resume(at=s.after(days=1))
    )
    assert clock_of(facts(story)).due == local("2026-03-04 14:56")


def test_a_request_that_was_declined_may_be_made_again() -> None:
    given_state("in_progress", s.ask_park()).when(s.decline()).then(
        e.RequestDeclined(at=s.NOW, **GRID_STAMP, asked_by="li", reason="理由不足")
    )
    declined = given_state("in_progress", s.ask_park(), s.decline())
    allowed(declined.when(s.ask_park(at=s.NOW)))
    declined.when(s.decline()).refused("case.nothing_asked")


def test_a_new_schedule_moves_the_due_and_loses_no_pause() -> None:
    nothing_known = knowing()
    start = local("2026-02-13 09:00")
    path = (
        s.report(at=start),
        s.file(at=start, terms=s.terms("street_light"), calendar=nothing_known),
        s.dispatch(at=start),
        s.accept(at=start),
        s.ask_park(at=start, until=local("2026-02-14 12:00")),
        s.approve_park(at=local("2026-02-13 16:30")),
    )
    parked = given_steps(*path)
    assert clock_of(facts(parked)).provisional
    parked.when(s.recompute(at=local("2026-02-14 09:00"))).then(
        e.DueRecomputed(
            at=local("2026-02-14 09:00"),
            **GRID_STAMP,
            due=local("2026-02-24 09:00"),
            provisional=False,
        )
    )
    resumed = given_steps(
        *path, s.recompute(at=local("2026-02-14 09:00")), s.resume(at=local("2026-02-14 09:30"))
    )
    clock = clock_of(facts(resumed))
    assert clock.pauses == (Pause(local("2026-02-13 16:30"), local("2026-02-14 09:30")),)
    assert clock.due == local("2026-02-24 11:00")
    resumed.when(s.recompute(at=local("2026-02-14 09:30"))).then()


# --- the first contact ------------------------------------------------------------------------


CONTACT = s.terms("street_light", contact=Limit(3, Unit.WORKING_DAY))
YEAR_ENDS = local("2026-12-30 09:00")
UNCERTAIN = (s.report(at=YEAR_ENDS), s.file(at=YEAR_ENDS, terms=CONTACT))
KNOWN = replace(s.CALENDAR, years={**s.CALENDAR.years, 2027: Schedule((date(2027, 1, 1),), ())})


def test_the_due_of_the_first_contact_is_provisional_until_its_years_are_published() -> None:
    filed, provisional = given_steps(UNCERTAIN[0]).when(UNCERTAIN[1]).events
    assert isinstance(filed, e.CaseFiled)
    assert provisional == e.ContactDueReckoned(
        at=YEAR_ENDS, **GRID_STAMP, contact_due=local("2027-01-04 09:00"), provisional=True
    )
    assert filed.contact_due == provisional.contact_due
    story = given_steps(*UNCERTAIN)
    assert clock_of(facts(story)).contact_provisional
    later = YEAR_ENDS + timedelta(hours=1)
    story.when(s.recompute(at=later)).then()
    due, contact = story.when(s.recompute(at=later, calendar=KNOWN)).events
    assert isinstance(due, e.DueRecomputed)
    assert contact == e.ContactDueReckoned(
        at=later, **GRID_STAMP, contact_due=local("2027-01-05 09:00"), provisional=False
    )
    again = given_steps(*UNCERTAIN, s.recompute(at=later, calendar=KNOWN))
    assert not clock_of(facts(again)).contact_provisional
    again.when(s.recompute(at=later, calendar=KNOWN)).then()


def test_who_has_been_in_touch_is_not_measured_anew() -> None:
    taken = given_steps(*UNCERTAIN, s.dispatch(at=YEAR_ENDS), s.accept(at=YEAR_ENDS))
    (due,) = taken.when(s.recompute(at=YEAR_ENDS, calendar=KNOWN)).events
    assert isinstance(due, e.DueRecomputed)
    (other,) = taken.when(s.reclassify(at=YEAR_ENDS)).events
    assert isinstance(other, e.CaseReclassified)


def test_another_category_has_its_own_limit_of_the_first_contact() -> None:
    urgent = s.reclassify(terms=s.terms("missing_manhole_cover"))
    reclassified, contact = given_state("filed").when(urgent).events
    assert isinstance(reclassified, e.CaseReclassified)
    assert contact == e.ContactDueReckoned(
        at=s.NOW,
        **GRID_STAMP,
        contact_due=s.FILED_AT + timedelta(hours=2),
        provisional=False,
    )
    none = replace(s.BIG, sla=replace(s.BIG.sla, contact=None))
    _, no_limit = given_state("filed").when(s.reclassify(terms=none)).events
    assert isinstance(no_limit, e.ContactDueReckoned)
    assert no_limit.contact_due is None


def test_a_new_episode_may_have_a_provisional_due_of_its_first_contact() -> None:
    light = [s.file(terms=CONTACT) if step == s.file() else step for step in s.PATHS["closed"]]
    reopened, contact = (
        given_steps(*light).when(s.reopen(at=YEAR_ENDS, imported=s.OLD_SYSTEM, by=s.IMPORTER))
    ).events[1:]
    assert isinstance(reopened, e.CaseReopened)
    assert isinstance(contact, e.ContactDueReckoned)
    assert (contact.episode, contact.contact_due) == (2, reopened.contact_due)
    assert contact.provisional


# --- the breach -------------------------------------------------------------------------------


def test_a_breach_is_recorded_once_and_takes_the_case_up() -> None:
    story = given_state("in_progress")
    story.when(s.mark_breach(at=s.DUE)).refused("case.not_due")
    story.when(s.mark_breach()).then(
        e.DeadlineBreached(at=s.NEXT_DAY, **GRID_STAMP, due=s.DUE),
        e.CaseEscalated(
            at=s.NEXT_DAY,
            territory=s.GRID,
            tier=Tier.COMMUNITY,
            episode=1,
            from_tier=Tier.GRID,
            from_holder=s.GRID,
            holder=s.COMMUNITY,
            reason=c.EscalationReason.SLA_BREACH,
            note="",
        ),
    )
    given_state("in_progress", s.mark_breach()).when(s.mark_breach()).refused(
        "case.breach_recorded"
    )


@pytest.mark.parametrize("state", ["filed", "resolved", "checked"])
def test_a_breach_moves_only_what_somebody_works_on(state: str) -> None:
    given_state(state).when(s.mark_breach()).then(
        e.DeadlineBreached(at=s.NEXT_DAY, **GRID_STAMP, due=s.DUE)
    )


LATER = s.after(days=1, hours=1)


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        ("filed", (s.dispatch(at=LATER),)),
        ("filed", (s.dispatch(at=LATER), s.accept(at=LATER))),
        ("resolved", (s.check(at=LATER, passed=False, note="没有清干净"),)),
    ],
)
def test_what_was_late_before_anybody_had_it_goes_up_once_somebody_has(
    state: str, steps: tuple[c.Command, ...]
) -> None:
    given_state(state, s.mark_breach()).when(s.mark_breach(at=LATER)).refused(
        "case.breach_recorded"
    )
    late = given_state(state, s.mark_breach(), *steps)
    (escalated,) = late.when(s.mark_breach(at=LATER)).events
    assert isinstance(escalated, e.CaseEscalated)
    assert escalated.reason is c.EscalationReason.SLA_BREACH
    over = given_state(state, s.mark_breach(), *steps, s.mark_breach(at=LATER))
    over.when(s.mark_breach(at=LATER)).refused("case.breach_recorded")


def test_what_has_gone_up_for_its_breach_comes_down_for_good() -> None:
    back = given_state("in_progress", s.mark_breach(), s.send_back(at=LATER))
    back.when(s.mark_breach(at=LATER)).refused("case.breach_recorded")


def test_a_breach_at_the_top_goes_nowhere() -> None:
    top = given_steps(s.report(), s.file(tier=Tier.DISTRICT), s.dispatch())
    (breach,) = top.when(s.mark_breach()).events
    assert isinstance(breach, e.DeadlineBreached)
    back = s.send_back(by=s.DISTRICT_COORDINATOR, at=LATER)
    down = given_steps(s.report(), s.file(tier=Tier.DISTRICT), s.dispatch(), s.mark_breach(), back)
    down.when(s.mark_breach(at=LATER)).refused("case.breach_recorded")


def test_what_was_late_before_anybody_had_it_may_reach_the_top_first() -> None:
    steps = (
        s.file(tier=Tier.SUBDISTRICT),
        s.mark_breach(),
        s.dispatch(at=LATER),
        s.escalate(by=s.DISTRICT_COORDINATOR, at=LATER),
    )
    given_steps(s.report(), *steps).when(s.mark_breach(at=LATER)).refused("case.breach_recorded")


def test_a_late_closing_records_the_breach_that_nobody_marked() -> None:
    breached, closed = given_state("checked").when(s.close(at=s.NEXT_DAY)).events
    assert isinstance(breached, e.DeadlineBreached)
    assert isinstance(closed, e.CaseClosed)
    assert closed.on_time is False
    marked = given_state("checked", s.mark_breach())
    (closed,) = marked.when(s.close(at=s.NEXT_DAY)).events
    assert isinstance(closed, e.CaseClosed)


def test_each_episode_has_a_breach_of_its_own() -> None:
    story = given_state("checked", s.close(at=s.NEXT_DAY), s.reopen(at=s.after(days=2)))
    story.when(s.mark_breach(at=s.after(days=2))).refused("case.not_due")
    breach, escalated = story.when(s.mark_breach(at=s.after(days=9))).events
    assert isinstance(escalated, e.CaseEscalated)
    assert breach.episode == 2
