"""What somebody can do with a case now: state × role as a table, and why not for the rest.

The table is kept by hand beside the rules: ``options`` has none of its own, so what stands here is
what the rules of ``decide`` come to for each person in the usual case.
"""

from dataclasses import replace
from typing import Final

import pytest

from domain import case, catalogue
from domain.case import commands as c
from domain.case.options import Forms, not_now, options, possible
from domain.case.states import ENDED, OPEN, STATES, Case, Known, Unknown
from domain.places import Tier
from domain.roles import PERMISSIONS, Actor, permitted
from domain.staff import Staff
from tests import samples
from tests.domain.test_case_matrix import COMMANDS

UNITS: Final = (samples.PROPERTY, samples.CLEANING, samples.CLOSED_UNIT)
FORMS: Final = Forms(
    catalogue=catalogue.Catalogue(categories=samples.CATEGORIES),
    calendar=samples.CALENDAR,
    staff=Staff(units={unit.id: unit for unit in UNITS}),
)

PEOPLE: Final = {
    person.id: person
    for person in (
        samples.RESIDENT,
        samples.GRID_WORKER,
        samples.HOTLINE,
        samples.ACCEPTOR,
        samples.DISPATCHER,
        samples.GRID_HANDLER,
        samples.COORDINATOR,
        samples.SUPERVISOR,
        samples.SHIFT_LEAD,
        samples.CALLBACK_DESK,
        samples.ADMINISTRATOR,
    )
}

TABLE: Final = """
wang          closed       EvaluateCase ReopenCase
wang          evaluated    ReopenCase
li            reported     FileCase
li            assigned     AcceptCase EscalateCase
li            in_progress  EscalateCase AskPark AskExtension ResolveCase
li            parked       ResumeCase AskExtension
acceptor      reported     VerifyCase RejectCase FileCase
acceptor      filed        ReclassifyCase
acceptor      assigned     ReclassifyCase
acceptor      in_progress  ReclassifyCase
dispatcher    reported     MergeCase
dispatcher    filed        DispatchCase MergeCase
dispatcher    assigned     DispatchCase TransferCase MergeCase
dispatcher    in_progress  MergeCase
dispatcher    parked       MergeCase ResumeCase
dispatcher    resolved     MergeCase
dispatcher    checked      MergeCase
grid_handler  assigned     AcceptCase EscalateCase
grid_handler  in_progress  AcceptCase
coordinator   reported     MergeCase
coordinator   filed        WhistleCase SplitCase MergeCase
coordinator   assigned     EscalateCase WhistleCase SplitCase MergeCase
coordinator   in_progress  EscalateCase WhistleCase SplitCase MergeCase
coordinator   parked       WhistleCase SplitCase MergeCase
coordinator   resolved     WhistleCase SplitCase MergeCase
coordinator   checked      WhistleCase SplitCase MergeCase
supervisor    resolved     CheckCase
supervisor    closed       ReopenCase
supervisor    evaluated    ReopenCase
shift_lead    reported     FileCase
shift_lead    filed        ReclassifyCase AskVoid
shift_lead    assigned     ReclassifyCase
shift_lead    in_progress  ReclassifyCase
shift_lead    checked      CloseCase
callback_desk closed       RecordCallback EvaluateCase
administrator filed        RecomputeDue
administrator assigned     RecomputeDue
administrator in_progress  RecomputeDue
administrator parked       RecomputeDue
administrator resolved     RecomputeDue
administrator checked      RecomputeDue
"""
"""Who can do what in which state, one day after a case went there the usual way, besides notes and
files. Where nothing stands the person can do nothing."""

AT_ANY_TIME: Final = {"AddNote", "AttachFile"}


def asked(now: Known, by: Actor) -> dict[str, str | None]:
    """For each command the code of its refusal."""
    answers = options(now, by, samples.NEXT_DAY, FORMS)
    return {name: refused.code if refused else None for name, refused in answers.items()}


def can(now: Known, by: Actor) -> set[str]:
    """What is possible."""
    return set(possible(options(now, by, samples.NEXT_DAY, FORMS)))


def after(*commands: c.Command, state: str = "in_progress") -> Known:
    """A case in a state, and some steps more."""
    now: Case = samples.state(state)
    for command in commands:
        for event in case.decide(now, command):
            now = case.evolve(now, event)
    assert not isinstance(now, Unknown)
    return now


def _rows() -> dict[tuple[str, str], set[str]]:
    lines = [line.split() for line in TABLE.strip().splitlines()]
    return {(person, state): set(commands) for person, state, *commands in lines}


ROWS: Final = _rows()


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("state", [state.name for state in STATES])
def test_each_can_do_what_the_table_says(person: str, state: str) -> None:
    found = can(samples.state(state), PEOPLE[person])
    assert found - AT_ANY_TIME == ROWS.get((person, state), set())
    assert found & AT_ANY_TIME == (AT_ANY_TIME if state in OPEN else set())


def test_the_table_names_nobody_unknown() -> None:
    assert {person for person, _ in ROWS} == set(PEOPLE) - {"hotline"}
    assert {state for _, state in ROWS} <= {*OPEN, *ENDED}


def test_every_command_that_people_give_is_asked_about() -> None:
    people = {"system", "importer"}
    theirs = {
        name
        for name in COMMANDS
        if {role.value for role in PERMISSIONS[name].roles} - people and name != "ReportCase"
    }
    follow = {"AbsorbCase", "NoteChildEnded", "NoteChildReopened"}
    assert set(asked(samples.state("filed"), samples.ACCEPTOR)) == theirs - follow


@pytest.mark.parametrize("state", [state.name for state in STATES])
@pytest.mark.parametrize("by", samples.STAFF, ids=lambda by: by.id)
def test_what_the_role_never_may_is_told_apart_from_what_cannot_be_now(
    state: str, by: Actor
) -> None:
    now = samples.state(state)
    for name, code in asked(now, by).items():
        may = permitted(by, name, now.facts.place.path, now.facts.holder)
        assert (code == "role.not_permitted") is not may, name
    assert "role.not_permitted" not in {
        refused.code for refused in not_now(options(now, by, samples.NEXT_DAY, FORMS)).values()
    }


def test_nobody_approves_the_own_request() -> None:
    dispatcher = samples.together(samples.GRID_WORKER, samples.DISPATCHER)
    parked = after(samples.ask_park())
    assert asked(parked, dispatcher)["ApprovePark"] == "case.second_person"
    assert asked(parked, samples.DISPATCHER)["ApprovePark"] is None
    assert asked(parked, samples.DISPATCHER)["ApproveExtension"] == "case.nothing_asked"
    assert asked(parked, samples.GRID_WORKER)["AskExtension"] == "case.already_asked"


def test_who_was_called_can_report_in_and_others_are_told_whose_it_is() -> None:
    called = after(samples.whistle(at=samples.NOW, units=(samples.PROPERTY,)))
    assert asked(called, samples.COMMUNITY_HANDLER)["ReportIn"] is None
    assert asked(called, samples.COORDINATOR)["MarkAbsent"] is None
    assert asked(called, samples.SUBDISTRICT_HANDLER)["ReportIn"] == "case.not_called"
    assert asked(samples.state("filed"), samples.COORDINATOR)["MarkAbsent"] == "case.not_called"


@pytest.mark.parametrize("state", ["resolved", "checked"])
def test_who_was_called_is_not_forgotten_when_the_work_is_done(state: str) -> None:
    called = samples.state(state, samples.whistle())
    assert asked(called, samples.COMMUNITY_HANDLER)["ReportIn"] is None
    assert asked(called, samples.COORDINATOR)["MarkAbsent"] is None


def test_units_that_wait_already_are_not_called_again() -> None:
    both = after(samples.whistle(at=samples.NOW))
    assert asked(both, samples.COORDINATOR)["WhistleCase"] == "case.nobody_called"


def test_the_grid_worker_files_what_is_small_if_there_is_anything_small() -> None:
    reported = samples.state("reported")
    assert asked(reported, samples.GRID_WORKER)["FileCase"] is None
    big = {code: each for code, each in samples.CATEGORIES.items() if each.size == "big"}
    only_big = replace(FORMS, catalogue=catalogue.Catalogue(categories=big))
    answers = options(reported, samples.GRID_WORKER, samples.NEXT_DAY, only_big)
    assert answers["FileCase"] is not None
    assert answers["FileCase"].code == "case.only_small"
    none = replace(FORMS, catalogue=catalogue.Catalogue())
    answers = options(reported, samples.ACCEPTOR, samples.NEXT_DAY, none)
    assert answers["FileCase"] is not None
    assert answers["FileCase"].code == "catalogue.unknown_category"


def test_at_the_top_nothing_goes_further_up_and_at_the_bottom_nothing_down() -> None:
    assigned = samples.state("assigned")
    facts = assigned.facts._replace(tier=Tier.DISTRICT, holder=samples.DISTRICT)
    top = replace(assigned, facts=facts)
    handler = replace(samples.DISTRICT_HANDLER, unit=None)
    assert asked(top, handler)["EscalateCase"] == "case.top_tier"
    assert asked(top, handler)["ReturnCase"] is None
    assert asked(assigned, samples.GRID_HANDLER)["ReturnCase"] == "case.bottom_tier"
