"""What is refused for its own sake, whatever else is right."""

import pytest

from domain.case import commands as c
from domain.case.states import (
    Parked,
    Running,
    clock_of,
)
from domain.catalogue import Policy
from domain.places import Tier
from domain.roles import Actor, Role
from tests import samples as s
from tests.domain.stories import facts, given, given_state, given_steps

LIMITED = s.terms(policy=Policy(returns_per_case=0))
CHILD = s.happened([s.report(parent="parent-1"), s.file()])


@pytest.mark.parametrize(
    ("history", "command", "code"),
    [
        ("reported", s.reject(reason="\n"), "case.text_missing"),
        ("unknown", s.report(description=""), "case.text_missing"),
        ("unknown", s.report(occurred=s.after(days=1)), "case.in_future"),
        ("unknown", s.report(by=s.actor(Role.RESIDENT, s.OTHER_GRID)), "role.not_permitted"),
        ("filed", s.reclassify(terms=s.SMALL), "case.same_category"),
        ("filed", s.reclassify(reason=""), "case.text_missing"),
        ("filed", s.ask_void(reason=""), "case.text_missing"),
        ("assigned", s.transfer(reason=""), "case.text_missing"),
        ("filed", s.whistle(units=()), "case.nobody_called"),
        ("filed", s.whistle(purpose=""), "case.text_missing"),
        ("filed", s.whistle(reply_by=s.START), "case.in_past"),
        ("filed", s.whistle(units=(s.PROPERTY, s.PROPERTY)), "case.already_called"),
        ("filed", s.whistle(units=(s.CLOSED_UNIT,)), "staff.unit_closed"),
        ("filed", s.split(children=()), "case.split_in_two"),
        ("filed", s.merge(into=s.CASE), "case.into_itself"),
        ("filed", s.note_child_ended(), "case.not_a_child"),
        ("in_progress", s.ask_park(by=s.GRID_HANDLER), "case.not_handler"),
        ("in_progress", s.ask_park(until=s.START), "case.park_in_past"),
        ("in_progress", s.ask_park(reason=""), "case.text_missing"),
        ("in_progress", s.ask_extension(reason=""), "case.text_missing"),
        ("in_progress", s.ask_extension(by=s.GRID_HANDLER), "case.not_handler"),
        ("filed", s.decline(reason=""), "case.text_missing"),
        ("filed", s.note(text=""), "case.text_missing"),
        ("closed", s.reopen(reason=""), "case.text_missing"),
    ],
)
def test_a_command_is_refused_for_its_own_sake(history: str, command: c.Command, code: str) -> None:
    given_state(history).when(command).refused(code)


def test_a_child_is_not_split_again() -> None:
    given(*CHILD).when(s.split()).refused("case.child_cannot_split")


def test_a_case_is_split_into_new_cases() -> None:
    once = given_state("filed", early=[s.split()])
    once.when(s.split()).refused("case.split_in_two")
    same = (c.ChildReport(case="x", description="甲"), c.ChildReport(case="x", description="乙"))
    given_state("filed").when(s.split(children=same)).refused("case.split_in_two")
    itself = (c.ChildReport(case="x", description="甲"), c.ChildReport(case=s.CASE, description=""))
    given_state("filed").when(s.split(children=itself)).refused("case.split_in_two")


def test_who_waits_is_not_called_twice() -> None:
    called = given_state("filed", early=[s.whistle()])
    called.when(s.whistle()).refused("case.already_called")


def test_an_extension_needs_a_deadline() -> None:
    endless = given_steps(
        s.report(), s.file(terms=s.ENDLESS, tier=Tier.GRID), s.dispatch(), s.accept()
    )
    endless.when(s.ask_extension()).refused("case.no_deadline")


def test_the_office_sets_the_limits() -> None:
    story = given_steps(s.report(), s.file(terms=LIMITED, tier=Tier.COMMUNITY), s.dispatch())
    story.when(s.send_back()).refused("case.return_limit")


def test_a_parked_case_does_nothing_but_wait() -> None:
    story = given_state("parked")
    assert isinstance(story.state, Parked)
    assert clock_of(facts(story)).running is Running.PAUSED
    story.when(s.mark_breach()).refused("case.not_allowed")


@pytest.mark.parametrize("who", [s.NEIGHBOUR, s.HOTLINE, s.ADMINISTRATOR])
def test_roles_come_first(who: Actor) -> None:
    given_state("filed").when(s.dispatch(by=who)).refused("role.not_permitted")
