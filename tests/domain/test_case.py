"""The life of a case, told as stories."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from domain import case
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import (
    Assigned,
    Call,
    Case,
    Closed,
    InProgress,
    Running,
    clock_of,
)
from domain.catalogue import Size
from domain.places import Tier
from domain.roles import Actor, Role
from tests import samples as s
from tests.domain.schedules import local
from tests.domain.stories import (
    CASES,
    GRID_STAMP,
    IN_HAND,
    allowed,
    facts,
    given,
    given_state,
    given_steps,
)
from tests.specification import Given

# --- the main path ----------------------------------------------------------------------------


def test_a_report_is_kept_as_it_came_in() -> None:
    given().when(s.report()).then(
        e.CaseReported(
            at=s.START,
            territory=s.GRID,
            tier=Tier.GRID,
            episode=0,
            case=s.CASE,
            place=s.place(),
            source=c.Source.RESIDENT,
            intake=Tier.GRID,
            description="楼下堆着垃圾",
            spot=c.Spot(),
            reporter=s.REPORTER,
            occurred=s.START,
            parent=None,
        )
    )


@pytest.mark.parametrize(
    ("source", "path", "tier", "holder"),
    [
        (c.Source.RESIDENT, s.GRID, Tier.GRID, s.GRID),
        (c.Source.GRID_WORKER, s.GRID, Tier.GRID, s.GRID),
        (c.Source.WINDOW, s.GRID, Tier.COMMUNITY, s.COMMUNITY),
        (c.Source.HOTLINE, s.GRID, Tier.DISTRICT, s.DISTRICT),
        (c.Source.DEPARTMENT, s.GRID, Tier.DISTRICT, s.DISTRICT),
        (c.Source.RESIDENT, s.SUBDISTRICT, Tier.SUBDISTRICT, s.SUBDISTRICT),
    ],
)
def test_a_report_comes_in_at_the_tier_of_its_source(
    source: c.Source, path: str, tier: Tier, holder: str
) -> None:
    story = given_steps(s.report(by=s.IMPORTER, source=source, place=s.place(path)))
    assert (facts(story).intake, facts(story).tier) == (tier, tier)
    assert facts(story).holder == holder


ONLY: Final = {
    s.RESIDENT: {c.Source.RESIDENT},
    s.GRID_WORKER: {c.Source.GRID_WORKER, c.Source.RESIDENT},
    s.HOTLINE: {c.Source.HOTLINE},
    s.ACCEPTOR: {c.Source.WINDOW, c.Source.DEPARTMENT},
    s.COORDINATOR: {c.Source.WINDOW, c.Source.DEPARTMENT},
    # A role elsewhere changes nothing, one more does.
    s.together(s.GRID_WORKER, s.actor(Role.HOTLINE, s.OTHER_DISTRICT)): {
        c.Source.GRID_WORKER,
        c.Source.RESIDENT,
    },
    s.together(s.RESIDENT, s.HOTLINE): {c.Source.RESIDENT, c.Source.HOTLINE},
    s.IMPORTER: set(c.Source),
}


@pytest.mark.parametrize("by", ONLY, ids=str)
@pytest.mark.parametrize("source", c.Source)
def test_a_report_comes_from_where_the_role_of_its_maker_knows(by: Actor, source: c.Source) -> None:
    made = given().when(s.report(by=by, source=source))
    if source in ONLY[by]:
        allowed(made)
    else:
        made.refused("case.source_not_yours")


def test_a_child_comes_from_where_its_parent_did() -> None:
    by_hotline = s.report(by=s.COORDINATOR, source=c.Source.HOTLINE, parent="parent-1")
    allowed(given().when(by_hotline))


def test_a_matter_may_have_been_seen_before_it_is_reported() -> None:
    seen = s.START - timedelta(hours=3)
    (reported,) = given().when(s.report(occurred=seen, reporter=None)).events
    assert isinstance(reported, e.CaseReported)
    assert (reported.occurred, reported.reporter) == (seen, None)


def test_an_acceptor_verifies_or_rejects_a_report() -> None:
    given_state("reported").when(s.verify()).then(
        e.CaseVerified(
            at=s.after(minutes=1), territory=s.GRID, tier=Tier.GRID, episode=0, note="属实"
        )
    )
    given_state("reported", s.verify()).when(s.reject()).then(
        e.CaseRejected(at=s.NOW, territory=s.GRID, tier=Tier.GRID, episode=0, reason="内容不实")
    )


def test_filing_freezes_the_rules_and_starts_the_clock() -> None:
    given_state("reported").when(s.file()).then(
        e.CaseFiled(
            at=s.FILED_AT,
            **GRID_STAMP,
            terms=s.SMALL,
            source=c.Source.RESIDENT,
            intake=Tier.GRID,
            holder=s.GRID,
            due=s.DUE,
            provisional=False,
            dated=False,
            contact_due=s.FILED_AT + timedelta(days=7),
        )
    )


def test_a_big_matter_starts_at_the_community_and_a_tier_may_be_chosen() -> None:
    assert facts(given_steps(s.report(), s.file(terms=s.BIG))).holder == s.COMMUNITY
    chosen = given_steps(s.report(), s.file(tier=Tier.SUBDISTRICT))
    assert (facts(chosen).tier, facts(chosen).highest) == (Tier.SUBDISTRICT, Tier.SUBDISTRICT)
    # Nothing is handled below its place.
    community = s.report(by=s.ACCEPTOR, place=s.place(s.COMMUNITY))
    assert facts(given_steps(community, s.file(tier=Tier.GRID))).holder == s.COMMUNITY


def test_a_case_goes_from_report_to_evaluation() -> None:
    assert [type(event) for event in s.history("evaluated")] == [
        e.CaseReported,
        e.CaseFiled,
        e.CaseDispatched,
        e.CaseAccepted,
        e.CaseResolved,
        e.CheckPassed,
        e.CaseClosed,
        e.CaseEvaluated,
    ]


def test_closing_says_all_that_metrics_group_by() -> None:
    given_state("checked").when(s.close()).then(
        e.CaseClosed(
            at=s.after(minutes=12),
            **GRID_STAMP,
            outcome=c.Outcome.RESOLVED,
            refused_by=None,
            category="exposed_garbage",
            filed_size=Size.SMALL,
            intake=Tier.GRID,
            highest=Tier.GRID,
            mandated_up=False,
            due=s.DUE,
            on_time=True,
        )
    )
    closed = given_state("closed").state
    assert isinstance(closed, Closed)
    assert clock_of(closed.facts).running is Running.STOPPED


def test_a_case_is_on_time_up_to_its_due() -> None:
    (closed,) = given_state("checked").when(s.close(at=s.DUE)).events
    assert isinstance(closed, e.CaseClosed)
    assert closed.on_time is True


def test_a_case_without_a_deadline_is_neither_on_time_nor_late() -> None:
    story = given_steps(
        s.report(), s.file(terms=s.ENDLESS, tier=Tier.GRID), *IN_HAND[2:], s.resolve(), s.check()
    )
    (closed,) = story.when(s.close(at=s.after(days=900))).events
    assert isinstance(closed, e.CaseClosed)
    assert (closed.due, closed.on_time) == (None, None)
    assert clock_of(facts(story)).contact_due is not None
    no_contact = replace(s.ENDLESS, sla=replace(s.ENDLESS.sla, contact=None))
    assert clock_of(facts(given_steps(s.report(), s.file(terms=no_contact)))).contact_due is None


def test_not_ours_names_who_said_so() -> None:
    ours = s.close(outcome=c.Outcome.NOT_OURS)
    given_state("checked").when(ours).refused("case.refuser_unnamed")
    given_state("checked").when(replace(ours, refused_by=" ")).refused("case.refuser_unnamed")
    (closed,) = given_state("checked").when(replace(ours, refused_by="区城管局")).events
    assert isinstance(closed, e.CaseClosed)
    assert closed.refused_by == "区城管局"


def test_a_unit_that_was_called_from_elsewhere_says_what_it_did() -> None:
    called = given_state("in_progress", early=[s.whistle(units=(s.WORKS,))])
    elsewhere = s.actor(Role.HANDLER, s.OTHER_COMMUNITY, "wu", "works")
    other_unit = s.actor(Role.HANDLER, s.OTHER_COMMUNITY, "wu", "property")
    for add in (s.note, s.attach):
        allowed(called.when(add(by=elsewhere)))
        called.when(add(by=other_unit)).refused("role.not_permitted")
        given_state("in_progress").when(add(by=elsewhere)).refused("role.not_permitted")
        both = s.together(other_unit, s.actor(Role.HANDLER, s.COMMUNITY))
        allowed(called.when(add(by=both)))


def test_notes_and_files_may_be_added_while_a_case_is_open() -> None:
    given_state("resolved").when(s.note()).then(
        e.NoteAdded(at=s.NOW, **GRID_STAMP, text="已联系物业")
    )
    given_state("assigned").when(s.attach()).then(
        e.FileAttached(
            at=s.NOW,
            **GRID_STAMP,
            attachment="photo-1",
            name="现场.jpg",
            media_type="image/jpeg",
            sha256="0" * 64,
            size=1024,
        )
    )
    given_state("resolved").when(s.note(by=s.RESIDENT)).then(
        e.NoteAdded(at=s.NOW, **GRID_STAMP, text="已联系物业")
    )
    given_state("resolved").when(s.note(by=s.NEIGHBOUR)).refused("case.not_reporter")
    given_state("resolved").when(s.attach(by=s.NEIGHBOUR)).refused("case.not_reporter")


# --- a grid worker reports and files ----------------------------------------------------------


def test_a_grid_worker_reports_and_files_a_small_matter_of_the_own_grid() -> None:
    seen = s.report(by=s.GRID_WORKER, source=c.Source.GRID_WORKER, reporter=None)
    allowed(given_steps(seen).when(s.file(by=s.GRID_WORKER, at=s.START)))
    given_steps(seen).when(s.file(by=s.GRID_WORKER, terms=s.BIG)).refused("case.only_small")


def test_a_grid_worker_files_nothing_of_another_grid() -> None:
    beside = s.report(by=s.ACCEPTOR, place=s.place(s.SIBLING_GRID))
    given_steps(beside).when(s.file(by=s.GRID_WORKER)).refused("role.not_permitted")


def test_being_an_acceptor_elsewhere_does_not_help() -> None:
    acceptor_elsewhere = s.actor(Role.ACCEPTOR, s.OTHER_COMMUNITY)
    both = s.together(s.GRID_WORKER, acceptor_elsewhere)
    given_state("reported").when(s.file(by=both, terms=s.BIG)).refused("case.only_small")
    here = s.together(s.GRID_WORKER, s.ACCEPTOR)
    allowed(given_state("reported").when(s.file(by=here, terms=s.BIG)))


# --- reclassification -------------------------------------------------------------------------


def test_a_reclassification_changes_the_rules_and_relabels_nothing() -> None:
    story = given_state("in_progress")
    reckoned = local("2026-03-23 09:02")  # 15 working days from the filing
    story.when(s.reclassify()).then(
        e.CaseReclassified(
            at=s.NOW,
            **GRID_STAMP,
            terms=s.BIG,
            was="exposed_garbage",
            reason="实为违建",
            due=reckoned,
            provisional=False,
        )
    )
    after = given_state("in_progress", s.reclassify())
    assert facts(after).filed_size is Size.SMALL
    assert clock_of(facts(after)).due == reckoned
    assert isinstance(after.state, InProgress)


def test_a_category_without_a_limit_ends_the_deadline_and_moots_an_extension() -> None:
    story = given_state("in_progress", s.ask_extension(), s.reclassify(terms=s.ENDLESS))
    assert clock_of(facts(story)).due is None
    story.when(s.approve_extension()).refused("case.no_deadline")
    story.when(s.mark_breach()).refused("case.no_deadline")
    story.when(s.recompute()).then()
    allowed(story.when(s.decline()))


def test_a_reclassification_keeps_pauses_and_extensions() -> None:
    story = given_state(
        "parked",
        s.resume(at=s.after(days=1)),
        s.ask_extension(at=s.after(days=1)),
        s.approve_extension(at=s.after(days=1)),
    )
    street_light = s.terms("street_light")  # 2 working days
    (changed,) = story.when(s.reclassify(at=s.after(days=1), terms=street_light)).events
    assert isinstance(changed, e.CaseReclassified)
    # 2 working days from Monday 9:02, parked from 9:06 to Tuesday 9:00, a working day more.
    assert changed.due == local("2026-03-06 08:56")


# --- void -------------------------------------------------------------------------------------


def test_a_void_takes_two_persons() -> None:
    asked = given_state("filed", s.ask_void())
    asked.when(s.approve_void(by=s.SHIFT_LEAD)).refused("case.second_person")
    asked.when(s.approve_void()).then(
        e.CaseVoided(at=s.NOW, **GRID_STAMP, asked_by="shift_lead", reason="")
    )
    assert clock_of(facts(given_state("void"))).running is Running.STOPPED
    allowed(asked.when(s.decline(by=s.SUPERVISOR)))  # who may approve may decline
    for ask in (s.ask_park(), s.ask_extension()):
        given_state("in_progress", ask).when(s.decline(by=s.SUPERVISOR)).refused(
            "role.not_permitted"
        )
    declined = given_state("filed", s.ask_void(), s.decline())
    declined.when(s.approve_void()).refused("case.nothing_asked")


def test_a_dispatch_moots_the_void_that_was_asked_for() -> None:
    story = given_state("filed", s.ask_void(), s.dispatch(at=s.NOW))
    assert facts(story).request is None


def test_no_case_with_open_children_becomes_void() -> None:
    story = given_state("filed", s.ask_void(), early=[s.split()])
    story.when(s.approve_void()).refused("case.open_children")


# --- dispatch and acceptance ------------------------------------------------------------------


def test_a_unit_must_be_competent_and_of_the_tier() -> None:
    at_community = given_steps(s.report(), s.file(tier=Tier.COMMUNITY))
    at_community.when(s.dispatch(unit=s.PROPERTY)).then(
        e.CaseDispatched(
            at=s.after(minutes=3),
            territory=s.GRID,
            tier=Tier.COMMUNITY,
            episode=1,
            holder=s.COMMUNITY,
            unit="property",
            worker=None,
        )
    )
    at_community.when(s.dispatch(unit=s.CLEANING)).refused("case.unit_wrong_tier")
    at_community.when(s.dispatch(unit=s.CLOSED_UNIT)).refused("case.unit_not_competent")
    wrong_category = replace(s.PROPERTY, categories=("noise",))
    at_community.when(s.dispatch(unit=wrong_category)).refused("case.unit_not_competent")
    elsewhere = replace(s.PROPERTY, territory=s.OTHER_COMMUNITY)
    at_community.when(s.dispatch(unit=elsewhere)).refused("case.unit_not_competent")


def test_only_the_unit_it_was_dispatched_to_accepts_or_takes_over() -> None:
    story = given_steps(s.report(), s.file(tier=Tier.COMMUNITY), s.dispatch(unit=s.PROPERTY))
    stranger = s.actor(Role.HANDLER, s.COMMUNITY, "chen", "committee")
    colleague = s.actor(Role.HANDLER, s.COMMUNITY, "lin", "property")
    story.when(s.accept(by=stranger)).refused("case.not_your_unit")
    accept = s.accept(by=s.COMMUNITY_HANDLER)
    (accepted,) = story.when(accept).events
    in_hand = given(*s.happened([accept], tuple(_of(story))))
    in_hand.when(s.accept(by=stranger)).refused("case.not_your_unit")
    in_hand.when(accept).refused("case.already_yours")
    (taken,) = in_hand.when(s.accept(by=colleague)).events
    assert isinstance(accepted, e.CaseAccepted)
    assert isinstance(taken, e.CaseAccepted)
    assert (accepted.first_contact, taken.first_contact) == (True, False)
    assert taken.handler == "lin"


def _of(story: Given[Case, c.Command, e.Event]) -> list[e.Event]:
    return s.happened([s.report(), s.file(tier=Tier.COMMUNITY), s.dispatch(unit=s.PROPERTY)])


def test_only_the_named_worker_accepts() -> None:
    story = given_steps(s.report(), s.file(), s.dispatch(worker=s.GRID_HANDLER))
    story.when(s.accept()).refused("case.not_yours")
    allowed(story.when(s.accept(by=s.GRID_HANDLER)))


@pytest.mark.parametrize(
    "named",
    [
        s.COMMUNITY_HANDLER,
        s.RESIDENT,
        s.actor(Role.GRID_WORKER, s.OTHER_GRID),
        s.actor(Role.GRID_WORKER, s.COMMUNITY),
    ],
)
def test_nobody_is_named_who_could_not_accept(named: Actor) -> None:
    """It would wait for that person alone, and nobody else could take it."""
    given_state("filed").when(s.dispatch(worker=named)).refused("case.worker_cannot_accept")
    given_state("assigned").when(s.transfer(worker=named)).refused("case.worker_cannot_accept")


def test_at_a_higher_tier_the_grid_worker_is_not_named_and_somebody_of_the_unit_is() -> None:
    up = given_steps(s.report(), s.file(tier=Tier.COMMUNITY))
    up.when(s.dispatch(worker=s.GRID_WORKER)).refused("case.worker_cannot_accept")
    stranger = s.actor(Role.HANDLER, s.COMMUNITY, "lin")
    up.when(s.dispatch(unit=s.PROPERTY, worker=stranger)).refused("case.worker_cannot_accept")
    named = s.dispatch(unit=s.PROPERTY, worker=s.COMMUNITY_HANDLER)
    allowed(up.when(named))
    story = given_steps(s.report(), s.file(tier=Tier.COMMUNITY), named)
    allowed(story.when(s.accept(by=s.COMMUNITY_HANDLER)))


def test_a_takeover_moots_what_the_earlier_handler_asked_for() -> None:
    story = given_state("in_progress", s.ask_extension(), s.accept(by=s.GRID_HANDLER, at=s.NOW))
    assert facts(story).request is None
    assert facts(story).handler == s.GRID_HANDLER.id


def test_what_is_dispatched_to_somebody_is_transferred_not_dispatched_again() -> None:
    story = given_steps(s.report(), s.file(), s.dispatch(worker=s.GRID_WORKER))
    story.when(s.dispatch(worker=s.GRID_HANDLER)).refused("case.already_dispatched")
    allowed(given_state("assigned").when(s.dispatch(worker=s.GRID_WORKER)))


def test_transfers_end_somewhere() -> None:
    five = [s.transfer()] * 5
    given_state("assigned", *five).when(s.transfer()).refused("case.transfer_limit")
    given_state("assigned").when(s.transfer()).then(
        e.CaseTransferred(
            at=s.NOW,
            **GRID_STAMP,
            holder=s.GRID,
            unit=None,
            worker="grid_handler",
            reason="人手不足",
        )
    )
    at_community = given_steps(s.report(), s.file(tier=Tier.COMMUNITY), s.dispatch())
    (to_unit,) = at_community.when(s.transfer(unit=s.PROPERTY, worker=None)).events
    assert isinstance(to_unit, e.CaseTransferred)
    assert to_unit.unit == "property"


# --- up and down ------------------------------------------------------------------------------


def test_an_escalation_goes_one_tier_up_and_has_to_be_accepted_there() -> None:
    given_state("in_progress").when(s.escalate()).then(
        e.CaseEscalated(
            at=s.NOW,
            territory=s.GRID,
            tier=Tier.COMMUNITY,
            episode=1,
            from_tier=Tier.GRID,
            from_holder=s.GRID,
            holder=s.COMMUNITY,
            reason=c.EscalationReason.RESOURCES,
            note="",
        )
    )
    story = given_state("in_progress", s.escalate())
    assert isinstance(story.state, Assigned)
    assert facts(story).handler is None
    assert facts(story).worker is None
    story.when(s.accept(at=s.NOW)).refused("role.not_permitted")
    allowed(story.when(s.accept(by=s.COMMUNITY_HANDLER, at=s.NOW)))


def test_nobody_escalates_past_the_district() -> None:
    top = given_steps(s.report(), s.file(tier=Tier.DISTRICT), s.dispatch())
    top.when(s.escalate(by=s.DISTRICT_HANDLER)).refused("case.top_tier")


def test_a_breach_is_no_reason_that_a_person_may_give() -> None:
    breach = s.escalate(reason=c.EscalationReason.SLA_BREACH)
    given_state("in_progress").when(breach).refused("case.automatic_reason")


def test_only_the_handler_or_the_tier_above_moves_a_case() -> None:
    in_hand = given_state("in_progress")
    in_hand.when(s.escalate(by=s.GRID_HANDLER)).refused("case.not_handler")
    allowed(in_hand.when(s.escalate(by=s.COORDINATOR)))
    named = given_steps(s.report(), s.file(), s.dispatch(worker=s.GRID_WORKER))
    named.when(s.escalate(by=s.GRID_HANDLER)).refused("case.not_yours")
    allowed(named.when(s.escalate()))


def test_after_two_returns_the_upper_tier_keeps_the_case() -> None:
    up = s.escalate(by=s.COORDINATOR)
    once = given_state("in_progress", s.escalate(), s.send_back(), up)
    once.when(s.send_back()).then(
        e.CaseReturned(
            at=s.NOW,
            **GRID_STAMP,
            from_tier=Tier.COMMUNITY,
            from_holder=s.COMMUNITY,
            holder=s.GRID,
            directive="请网格协调清运",
            returns=2,
        )
    )
    twice = given_state("in_progress", s.escalate(), s.send_back(), up, s.send_back(), up)
    twice.when(s.send_back()).refused("case.return_limit")
    # What was up once is not contained any more.
    back = given_state("in_progress", s.escalate(), s.send_back())
    assert (facts(back).tier, facts(back).highest) == (Tier.GRID, Tier.COMMUNITY)
    to_the_street = s.escalate(by=s.SUBDISTRICT_COORDINATOR)
    from_there = s.send_back(by=s.SUBDISTRICT_COORDINATOR)
    again = given_state(
        "in_progress", s.escalate(), to_the_street, from_there, s.send_back(), s.escalate()
    )
    assert (facts(again).tier, facts(again).highest) == (Tier.COMMUNITY, Tier.SUBDISTRICT)


def test_a_return_goes_one_tier_and_never_below_the_place() -> None:
    given_state("assigned").when(s.send_back(by=s.GRID_HANDLER)).refused("case.bottom_tier")
    up = given_state("in_progress", s.escalate())
    up.when(s.send_back(to=Tier.COMMUNITY)).refused("case.not_down")
    up.when(s.send_back(directive=" ")).refused("case.text_missing")
    place = s.report(by=s.ACCEPTOR, place=s.place(s.COMMUNITY))
    high = given_steps(place, s.file(tier=Tier.DISTRICT), s.dispatch())
    high.when(s.importing(s.send_back(to=Tier.GRID))).refused("case.bottom_tier")


# --- units are called together ----------------------------------------------------------------


def test_called_units_report_in_or_are_absent() -> None:
    given_state("filed").when(s.whistle()).then(
        e.CaseWhistled(
            at=s.after(minutes=3),
            **GRID_STAMP,
            units=("property", "cleaning"),
            purpose="联合清理",
            reply_by=s.after(days=1),
        )
    )
    called = given_state("in_progress", early=[s.whistle()])
    called.when(s.report_in()).then(e.UnitReportedIn(at=s.NOW, **GRID_STAMP, unit="property"))
    called.when(s.report_in(by=s.SUBDISTRICT_HANDLER)).refused("case.not_your_unit")
    allowed(called.when(s.report_in(by=s.COORDINATOR)))
    called.when(s.mark_absent(unit="works")).refused("case.not_called")
    story = given_state(
        "in_progress", s.report_in(), s.mark_absent(unit="cleaning"), early=[s.whistle()]
    )
    assert facts(story).calls == (("property", Call.REPORTED_IN), ("cleaning", Call.ABSENT))
    story.when(s.report_in(at=s.NEXT_DAY)).refused("case.not_called")
    # Who has answered may be called again.
    again = s.whistle(at=s.NEXT_DAY, units=(s.CLEANING,), reply_by=s.after(days=2))
    recalled = given_state(
        "in_progress", s.mark_absent(unit="cleaning"), again, early=[s.whistle()]
    )
    assert dict(facts(recalled).calls) == {"property": Call.WAITING, "cleaning": Call.WAITING}
    recalled.when(s.mark_absent(unit="cleaning")).refused("case.too_early")
    allowed(recalled.when(s.mark_absent(unit="property")))
    allowed(recalled.when(s.mark_absent(unit="cleaning", at=s.after(days=2))))


def test_no_unit_is_absent_while_it_has_time_to_report_in() -> None:
    called = given_state("in_progress", early=[s.whistle()])
    called.when(s.mark_absent(at=s.after(days=1, minutes=-1))).refused("case.too_early")
    allowed(called.when(s.mark_absent(at=s.NEXT_DAY)))


def test_a_coordinator_of_another_place_reports_in_for_the_own_unit_only() -> None:
    called = given_state("in_progress", early=[s.whistle()])
    elsewhere = s.actor(Role.COORDINATOR, s.OTHER_COMMUNITY)
    both = s.together(s.actor(Role.HANDLER, s.OTHER_COMMUNITY, "wu", "works"), elsewhere)
    called.when(s.report_in(by=both)).refused("case.not_your_unit")


def test_calls_wait_on_when_the_case_moves_up() -> None:
    story = given_state("in_progress", s.escalate(), early=[s.whistle()])
    (reported_in,) = story.when(s.report_in()).events
    assert reported_in.tier is Tier.COMMUNITY


# --- parts and duplicates ---------------------------------------------------------------------


def test_a_split_reports_its_children_alongside() -> None:
    now = s.state("filed")
    CASES.given(*s.history("filed")).when(s.split()).then(
        e.CaseSplit(
            at=s.after(minutes=3),
            **GRID_STAMP,
            children=(
                e.ChildPlanned(case="child-1", required=True),
                e.ChildPlanned(case="child-2", required=False),
            ),
        )
    )
    children = case.alongside(now, s.split())
    assert children == [
        s.report(
            s.COORDINATOR,
            s.after(minutes=3),
            name,
            description=description,
            source=c.Source.RESIDENT,
            reporter=None,
            parent=s.CASE,
        )
        for name, description in [("child-1", "清运垃圾"), ("child-2", "加装垃圾桶")]
    ]
    for child in children:
        allowed(given().when(child))


def test_a_parent_closes_after_its_required_children() -> None:
    split = given_state("checked", early=[s.split()])
    split.when(s.close()).refused("case.open_children")
    ended = given_state("checked", s.note_child_ended(), early=[s.split()])
    allowed(ended.when(s.close(at=s.NOW)))
    again = given_state("checked", s.note_child_ended(), s.note_child_reopened(), early=[s.split()])
    again.when(s.close(at=s.NOW)).refused("case.open_children")


def _child(*commands: c.Command) -> Case:
    events = s.happened([s.report(parent="parent-1"), *commands])
    return given(*events).state


@pytest.mark.parametrize(
    ("child", "command"),
    [
        (_child(), s.reject()),
        (_child(s.file(), s.ask_void()), s.approve_void()),
        (_child(*s.PATHS["checked"][1:]), s.close()),
    ],
)
def test_the_end_of_a_child_is_told_to_its_parent(child: Case, command: c.Command) -> None:
    assert case.alongside(child, command) == [
        s.note_child_ended(command.by, command.at, "parent-1", child=s.CASE)
    ]


def test_a_child_that_is_merged_tells_the_survivor_and_the_parent() -> None:
    assert case.alongside(_child(), s.merge()) == [
        s.absorb(s.DISPATCHER, s.NOW, "case-2", duplicate=s.CASE),
        s.note_child_ended(s.DISPATCHER, s.NOW, "parent-1", child=s.CASE, into="case-2"),
    ]


SPLIT_IN_THREE = s.split(
    children=(
        *s.split().children,
        c.ChildReport(case="child-3", description="修垃圾桶"),
    )
)


def test_what_a_parent_waits_for_is_merged_only_into_what_it_waits_for() -> None:
    parent = given_state("in_progress", early=[SPLIT_IN_THREE])
    for elsewhere in ("case-2", "child-2"):  # child-2 is not required
        parent.when(s.note_child_ended(into=elsewhere)).refused("case.child_awaited")
    allowed(parent.when(s.note_child_ended(into="child-3")))
    allowed(parent.when(s.note_child_ended(into=s.CASE)))
    allowed(parent.when(s.note_child_ended(child="child-2", into="case-2")))
    fewer = given_state("in_progress", s.note_child_ended(child="child-3"), early=[SPLIT_IN_THREE])
    fewer.when(s.note_child_ended(into="child-3")).refused("case.child_awaited")
    closed = given_state(
        "closed",
        s.note_child_reopened(at=s.after(hours=1)),
        early=[s.split(), s.note_child_ended(at=s.after(minutes=3))],
    )
    allowed(closed.when(s.note_child_ended(at=s.after(hours=1), into="case-2")))


def test_the_reopening_of_a_child_is_told_to_its_parent() -> None:
    closed = _child(*s.PATHS["closed"][1:])
    assert case.alongside(closed, s.reopen()) == [
        s.note_child_reopened(s.RESIDENT, s.NOW, "parent-1", child=s.CASE)
    ]


def test_most_steps_concern_no_other_case() -> None:
    assert case.alongside(case.initial, s.report()) == []
    assert case.alongside(s.state("filed"), s.dispatch()) == []
    assert case.alongside(_child(), s.file()) == []


def test_a_duplicate_points_at_its_survivor() -> None:
    given_state("in_progress").when(s.merge()).then(
        e.CaseMerged(at=s.NOW, **GRID_STAMP, into="case-2")
    )
    story = given_state("parked", s.merge())
    assert facts(story).survivor == "case-2"
    assert clock_of(facts(story)).running is Running.STOPPED
    assert facts(given_state("reported", s.merge())).clock is None
    assert facts(given_state("checked", s.absorb())).duplicates == ("case-2",)


def test_no_case_with_open_children_is_merged() -> None:
    given_state("filed", early=[s.split()]).when(s.merge()).refused("case.open_children")


# --- ending -----------------------------------------------------------------------------------


def test_a_resolution_needs_the_handler_and_evidence() -> None:
    story = given_state("in_progress")
    story.when(s.resolve(by=s.GRID_HANDLER)).refused("case.not_handler")
    story.when(s.resolve(evidence=())).refused("case.no_evidence")
    story.when(s.resolve(evidence=(" ",))).refused("case.no_evidence")
    story.when(s.resolve(note="已清")).then(
        e.CaseResolved(
            at=s.after(minutes=10), **GRID_STAMP, handler="li", evidence=("photo-1",), note="已清"
        )
    )


def test_the_handler_does_not_check_the_own_case() -> None:
    both = s.together(s.GRID_WORKER, s.SUPERVISOR)
    given_state("resolved").when(s.check(by=both)).refused("case.checker_is_handler")


def test_a_failed_check_is_rework_of_the_same_handler() -> None:
    story = given_state("resolved")
    story.when(s.check(passed=False)).refused("case.text_missing")
    failed = s.check(passed=False, note="仍有残留")
    story.when(failed).then(
        e.CheckFailed(at=s.after(minutes=11), **GRID_STAMP, handler="li", note="仍有残留")
    )
    rework = given_state("resolved", failed)
    assert isinstance(rework.state, InProgress)
    allowed(rework.when(s.resolve(at=s.NOW)))


def test_callbacks_are_counted_since_closing() -> None:
    missed = s.call_back(reached=False, solved=None)
    given_state("closed", missed).when(s.call_back()).then(
        e.CallbackMade(at=s.NOW, **GRID_STAMP, attempt=2, reached=True, solved=True)
    )
    given_state("closed", missed, missed, missed).when(missed).refused("case.callback_limit")
    again = given_state("closed", missed, s.reopen(), *_done_again())
    (made,) = again.when(s.call_back(at=s.after(hours=2))).events
    assert isinstance(made, e.CallbackMade)
    assert made.attempt == 1


def _done_again(hours: float = 1) -> list[c.Command]:
    at = s.after(hours=hours)
    return [s.accept(at=at), s.resolve(at=at), s.check(at=at), s.close(at=at)]


def test_a_callback_says_solved_or_not_only_when_the_resident_was_reached() -> None:
    story = given_state("closed")
    story.when(s.call_back(solved=None)).refused("case.callback_answer")
    story.when(s.call_back(reached=False)).refused("case.callback_answer")


def test_callbacks_and_evaluations_come_from_others_and_soon() -> None:
    handler = s.together(s.GRID_WORKER, s.CALLBACK_DESK)
    late = s.after(days=31)
    story = given_state("closed")
    story.when(s.call_back(by=handler)).refused("case.caller_is_handler")
    story.when(s.evaluate(by=handler)).refused("case.caller_is_handler")
    story.when(s.call_back(at=late)).refused("case.callback_window")
    story.when(s.evaluate(at=late)).refused("case.callback_window")


def test_a_resident_evaluates_the_own_report_only() -> None:
    story = given_state("closed")
    story.when(s.evaluate(by=s.NEIGHBOUR)).refused("case.not_reporter")
    both = s.together(s.NEIGHBOUR, s.actor(Role.CALLBACK_DESK, s.OTHER_COMMUNITY))
    story.when(s.evaluate(by=both)).refused("case.not_reporter")
    story.when(s.evaluate(by=s.RESIDENT, comment="好")).then(
        e.CaseEvaluated(
            at=s.after(minutes=20), **GRID_STAMP, solved=True, satisfied=True, comment="好"
        )
    )


def test_an_evaluated_case_has_one_evaluation() -> None:
    given_state("evaluated").when(s.evaluate(at=s.NOW)).refused("case.not_allowed")


# --- reopening --------------------------------------------------------------------------------


def test_reopening_is_a_new_episode_with_a_clock_of_its_own() -> None:
    given_state("closed").when(s.reopen()).then(
        e.CaseReopened(
            at=s.NOW,
            **(GRID_STAMP | {"episode": 2}),
            reason="垃圾又堆上了",
            holder=s.GRID,
            closed_at=s.after(minutes=12),
            due=local("2026-03-02 15:30"),
            provisional=False,
            contact_due=s.NOW + timedelta(days=7),
        )
    )
    more = (s.ask_extension(at=s.after(minutes=5)), s.approve_extension(at=s.after(minutes=5)))
    rounds = s.happened(
        [*IN_HAND, *more, s.resolve(), s.check(), s.close(), s.call_back(), s.reopen()]
    )
    story = given(*rounds)
    assert isinstance(story.state, Assigned)
    known = facts(story)
    assert (known.unit, known.worker, known.handler, known.outcome) == (None, None, None, None)
    assert (known.closed_at, known.transfers, known.request) == (None, 0, None)
    clock = clock_of(known)
    assert (clock.extensions, clock.pauses, clock.breached, clock.contacted) == (
        (),
        (),
        False,
        None,
    )
    (accepted,) = story.when(s.accept(at=s.NOW)).events
    assert isinstance(accepted, e.CaseAccepted)
    assert accepted.first_contact


def test_reopening_stays_at_the_tier_that_closed_it_and_keeps_the_returns() -> None:
    up: list[c.Command] = [s.escalate(), s.accept(by=s.COMMUNITY_HANDLER, at=s.NOW)]
    done: list[c.Command] = [
        s.resolve(by=s.COMMUNITY_HANDLER, at=s.NOW),
        s.check(at=s.NOW),
        s.close(at=s.NOW),
        s.reopen(),
    ]
    story = given_state("in_progress", *up, *done)
    assert (facts(story).tier, facts(story).holder) == (Tier.COMMUNITY, s.COMMUNITY)
    returned = given_state("in_progress", *up, *done, s.send_back())
    assert facts(returned).returns == 1


def test_the_window_for_reopening_counts_from_closing_alone() -> None:
    closed_at = s.after(minutes=12)
    last = closed_at + timedelta(days=30)
    late = last + timedelta(seconds=1)
    for story in (given_state("closed"), given_state("closed", s.evaluate(at=s.after(days=20)))):
        allowed(story.when(s.reopen(at=last)))
        story.when(s.reopen(at=late)).refused("case.reopen_window")
    again = given_state("closed", s.reopen(), *_done_again(hours=24 * 20))
    allowed(again.when(s.reopen(at=s.after(days=50))))


def test_a_resident_reopens_the_own_report_only() -> None:
    given_state("closed").when(s.reopen(by=s.NEIGHBOUR)).refused("case.not_reporter")
    allowed(given_state("closed").when(s.reopen(by=s.SUPERVISOR)))


def test_every_closing_of_an_episode_may_be_evaluated() -> None:
    story = given_state("evaluated", s.reopen(), *_done_again())
    allowed(story.when(s.evaluate(at=s.after(hours=2))))
