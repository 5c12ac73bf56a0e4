"""History of another system, which kept other rules."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.case import commands as c
from domain.case import events as e
from domain.case.states import (
    Case,
    Resolved,
    clock_of,
)
from domain.places import Tier
from domain.roles import Role
from domain.sla import Limit, Pause, Unit
from tests import samples as s
from tests.domain.stories import GRID_STAMP, TWICE, allowed, facts, given, given_state, given_steps
from tests.specification import Given


def _waived(rule: str, at: Any = s.NOW, **stamp: Any) -> e.RuleWaived:
    return e.RuleWaived(at=at, **(GRID_STAMP | stamp), rule=rule, system="old", reference="row 7")


def test_only_an_importer_of_the_place_carries_evidence_of_an_old_system() -> None:
    evidence = replace(s.note(), imported=s.OLD_SYSTEM)
    given_state("filed").when(evidence).refused("case.import_only")
    given().when(replace(s.report(), imported=s.OLD_SYSTEM)).refused("case.import_only")
    elsewhere = s.actor(Role.IMPORTER, s.OTHER_DISTRICT)
    both = s.together(s.GRID_WORKER, elsewhere)
    given_state("filed").when(replace(evidence, by=both)).refused("case.import_only")
    allowed(given().when(s.importing(s.report())))


def test_an_old_deadline_needs_an_import_and_a_sensible_date() -> None:
    story = given_state("reported")
    story.when(s.file(due=s.after(days=3))).refused("case.import_only")
    story.when(s.importing(s.file(due=s.START))).refused("case.due_before_filing")
    (filed,) = story.when(s.importing(s.file(due=s.after(days=3)))).events
    assert isinstance(filed, e.CaseFiled)
    assert (filed.due, filed.dated, filed.provisional) == (s.after(days=3), True, False)


def test_an_old_deadline_moves_by_pauses_and_extensions_and_never_twice() -> None:
    path = (s.report(), s.importing(s.file(due=s.after(days=3))), s.dispatch(), s.accept())
    parked = (
        s.ask_park(),
        s.approve_park(at=s.after(days=1)),
        s.ask_extension(at=s.after(days=1), more=Limit(2, Unit.DAY)),
        s.approve_extension(at=s.after(days=1)),
        s.resume(at=s.after(days=2)),
    )
    story = given_steps(*path, *parked)
    assert clock_of(facts(story)).due == s.after(days=3 + 2 + 1)
    story.when(s.recompute(at=s.after(days=2))).then()
    renamed = s.reclassify(at=s.after(days=2))
    assert clock_of(facts(given_steps(*path, *parked, renamed))).due == s.after(days=6)
    late = (
        s.ask_park(at=s.after(days=4)),
        s.approve_park(at=s.after(days=4)),
        s.resume(at=s.after(days=5)),
    )
    assert clock_of(facts(given_steps(*path, *late))).due == s.after(days=3)


def test_imported_moves_may_jump_tiers() -> None:
    jump = s.escalate(to=Tier.DISTRICT)
    story = given_state("in_progress")
    story.when(jump).refused("case.tier_step")
    story.when(s.escalate(to=Tier.GRID)).refused("case.not_up")
    waiver, up = story.when(s.importing(jump)).events
    assert waiver == _waived("case.tier_step")
    assert up.tier is Tier.DISTRICT
    down = s.send_back(by=s.DISTRICT_COORDINATOR, to=Tier.GRID)
    high = given_state("in_progress", s.importing(jump))
    high.when(down).refused("case.tier_step")
    waiver, returned = high.when(s.importing(down)).events
    assert waiver == _waived("case.tier_step", tier=Tier.DISTRICT)
    assert isinstance(returned, e.CaseReturned)


def test_what_an_old_system_took_up_again_for_its_breach_says_so() -> None:
    up = s.escalate(reason=c.EscalationReason.SLA_BREACH)
    (escalated,) = given_state("in_progress").when(s.importing(up)).events
    assert isinstance(escalated, e.CaseEscalated)
    again = (s.mark_breach(), s.send_back(at=s.NEXT_DAY), s.accept(at=s.NEXT_DAY))
    story = given_state("in_progress", *again)
    waiver, _ = story.when(s.importing(replace(up, at=s.NEXT_DAY))).events
    assert waiver == _waived("case.breach_recorded", at=s.NEXT_DAY)


@pytest.mark.parametrize(
    ("story", "command", "rule"),
    [
        (given_state("in_progress"), s.transfer(), "case.not_allowed"),
        (given_state("resolved"), s.escalate(), "case.not_allowed"),
        (given_state("closed"), s.note(), "case.not_allowed"),
        (given_state("closed"), s.attach(), "case.not_allowed"),
        (given_state("assigned", *[s.transfer()] * 5), s.transfer(), "case.transfer_limit"),
        (
            given_state("assigned", s.transfer()),
            s.dispatch(at=s.NOW, worker=s.GRID_WORKER),
            "case.already_dispatched",
        ),
        (
            given_state("filed"),
            s.dispatch(at=s.NOW, worker=s.COMMUNITY_HANDLER),
            "case.worker_cannot_accept",
        ),
        (given_state("filed", s.ask_void()), s.approve_void(by=s.SHIFT_LEAD), "case.second_person"),
        (
            given_state("in_progress"),
            s.ask_park(at=s.NOW, until=s.after(days=200)),
            "case.park_cap",
        ),
        (
            given_state("in_progress", *TWICE),
            s.ask_extension(),
            "case.extension_limit",
        ),
        (given_state("in_progress"), s.resolve(at=s.NOW, evidence=()), "case.no_evidence"),
        (given_state("resolved"), s.check(at=s.NOW, by=s.GRID_WORKER), "case.checker_is_handler"),
        (given_state("closed"), s.call_back(by=s.GRID_WORKER), "case.caller_is_handler"),
        (given_state("closed"), s.call_back(at=s.after(days=31)), "case.callback_window"),
        (given_state("closed"), s.reopen(at=s.after(days=31)), "case.reopen_window"),
    ],
)
def test_history_that_kept_no_rule_of_ours_says_which(
    story: Given[Case, c.Command, e.Event], command: c.Command, rule: str
) -> None:
    waiver, *then = story.when(s.importing(command)).events
    assert waiver == _waived(rule, at=command.at)
    assert len(then) == 1


def test_an_imported_return_from_a_resolved_case_is_waived() -> None:
    resolved = given_state(
        "in_progress",
        s.escalate(),
        s.accept(by=s.COMMUNITY_HANDLER, at=s.NOW),
        s.resolve(by=s.COMMUNITY_HANDLER, at=s.NOW),
    )
    assert isinstance(resolved.state, Resolved)
    resolved.when(s.send_back()).refused("case.not_allowed")
    waiver, returned = resolved.when(s.importing(s.send_back())).events
    assert waiver == _waived("case.not_allowed", tier=Tier.COMMUNITY)
    assert isinstance(returned, e.CaseReturned)


def test_imported_history_keeps_its_order_to_the_second() -> None:
    before = s.after(minutes=4) - timedelta(seconds=1)
    given_state("in_progress").when(s.importing(s.note(at=before))).refused("case.time_order")
    # Two servers' clocks may stand apart a little.
    allowed(given_state("in_progress").when(s.note(at=before)))
    long_before = s.after(minutes=1)
    given_state("in_progress").when(s.note(at=long_before)).refused("case.time_order")


def test_a_step_by_a_slow_clock_turns_no_time_back() -> None:
    slow = s.after(minutes=5)
    story = given_state("parked", s.resume(at=slow))
    assert clock_of(facts(story)).pauses == (Pause(s.after(minutes=6), s.after(minutes=6)),)
    assert facts(story).last_at == s.after(minutes=6)
