"""Looking at personal data leaves an event each time; forgetting a person takes two."""

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from domain import privacy
from domain.places import EVERYWHERE
from domain.privacy import (
    EXPLAINED,
    Command,
    Event,
    ForgetAsked,
    ForgetDeclined,
    ForgetReason,
    PersonalField,
    PersonalShown,
    PersonForgotten,
    Privacy,
    Purpose,
    person_stream,
)
from domain.roles import Actor, Grant, Role
from tests import samples as s
from tests.specification import Specification

PRIVACY: Specification[Privacy, Command, Event] = Specification(
    privacy.decide, privacy.evolve, privacy.initial
)
given = PRIVACY.given

SHOWN = PersonalShown(
    at=s.NOW,
    territory=s.GRID,
    case=s.CASE,
    purpose=Purpose.CONTACT,
    fields=(PersonalField.REPORTER_PHONE,),
    reason="",
)
ASKED = ForgetAsked(
    at=s.NOW,
    territory=s.COMMUNITY,
    person=s.RESIDENT.id,
    by=s.SUPERVISOR.id,
    reason=ForgetReason.REQUEST,
    cases=(),
)


def asked(*cases: str) -> ForgetAsked:
    """Asked, with these cases named."""
    return ForgetAsked(
        at=s.NOW,
        territory=s.COMMUNITY,
        person=s.RESIDENT.id,
        by=s.SUPERVISOR.id,
        reason=ForgetReason.REQUEST,
        cases=cases,
    )


def forgotten(*cases: str) -> PersonForgotten:
    """Forgotten with the texts of these cases."""
    return PersonForgotten(
        at=s.NOW,
        territory=s.COMMUNITY,
        person=s.RESIDENT.id,
        asked_by=s.SUPERVISOR.id,
        reason=ForgetReason.REQUEST,
        cases=cases,
    )


DECLINED = ForgetDeclined(
    at=s.NOW, territory=s.COMMUNITY, person=s.RESIDENT.id, asked_by=s.SUPERVISOR.id
)

# looking


def test_a_look_is_on_record_with_what_was_seen_and_why() -> None:
    given().when(s.show()).then(SHOWN)


def test_the_same_look_again_is_another_look() -> None:
    given(SHOWN).when(s.show()).then(SHOWN)


@pytest.mark.parametrize("by", s.STAFF, ids=lambda by: by.id)
def test_all_staff_look_where_they_work(by: Actor) -> None:
    place = next(iter(by.grants)).territory
    assert given().when(s.show(by=by, place=place, holder=place)).events


@pytest.mark.parametrize(
    ("place", "holder", "code"),
    [
        (s.GRID, s.OTHER_COMMUNITY, None),
        (s.OTHER_GRID, s.COMMUNITY, None),
        (s.OTHER_GRID, s.OTHER_COMMUNITY, "role.not_permitted"),
    ],
)
def test_staff_look_at_what_lies_or_is_held_where_they_work(
    place: str, holder: str, code: str | None
) -> None:
    outcome = given().when(s.show(by=s.COORDINATOR, place=place, holder=holder))
    if code:
        outcome.refused(code)
    else:
        assert outcome.events[0].territory == place


def test_a_handler_called_from_elsewhere_looks_too() -> None:
    assert given().when(s.show(by=s.SUBDISTRICT_HANDLER, place=s.OTHER_DISTRICT)).events


def test_neither_the_system_nor_somebody_without_a_role_looks() -> None:
    given().when(s.show(by=s.SYSTEM)).refused("role.not_permitted")
    given().when(s.show(by=Actor("nobody", ()))).refused("role.not_permitted")


def test_a_resident_looks_at_the_own_report_only_and_says_so() -> None:
    own = s.show(by=s.RESIDENT, purpose=Purpose.OWN)
    assert given().when(own).events[0].territory == s.GRID
    assert given().when(s.show(by=s.RESIDENT, purpose=Purpose.OWN, place=s.OTHER_GRID)).events
    given().when(s.show(by=s.RESIDENT)).refused("privacy.own_only")
    given().when(s.show(by=s.NEIGHBOUR, purpose=Purpose.OWN)).refused("privacy.not_own")
    given().when(s.show(by=s.NEIGHBOUR)).refused("privacy.own_only")
    unknown = s.show(by=s.RESIDENT, purpose=Purpose.OWN, reporter=None)
    given().when(unknown).refused("privacy.not_own")


def test_a_role_elsewhere_makes_a_resident_no_staff_here() -> None:
    grants = (Grant(Role.RESIDENT, s.GRID), Grant(Role.COORDINATOR, s.OTHER_COMMUNITY))
    given().when(s.show(by=Actor("zhao", grants))).refused("privacy.own_only")
    here = (Grant(Role.RESIDENT, s.GRID), Grant(Role.COORDINATOR, s.COMMUNITY))
    given().when(s.show(by=Actor("zhao", here))).then(SHOWN)


def test_staff_do_not_pass_off_somebody_elses_data_as_their_own() -> None:
    given().when(s.show(purpose=Purpose.OWN)).refused("privacy.not_own")
    assert given().when(s.show(purpose=Purpose.OWN, reporter=s.GRID_WORKER.id)).events


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.OWN}))
def test_some_purposes_need_a_reason(purpose: Purpose) -> None:
    outcome = given().when(s.show(purpose=purpose, reason=" "))
    if purpose in EXPLAINED:
        outcome.refused("privacy.reason_missing")
    (shown,) = given().when(s.show(purpose=purpose, reason=" 居民投诉 ")).events
    assert isinstance(shown, PersonalShown)
    assert (shown.purpose, shown.reason) == (purpose, "居民投诉")


def test_what_was_seen_is_named_once_and_in_order() -> None:
    fields = (PersonalField.STEPS, PersonalField.DESCRIPTION, PersonalField.STEPS)
    (shown,) = given().when(s.show(fields=fields)).events
    assert isinstance(shown, PersonalShown)
    assert shown.fields == (PersonalField.DESCRIPTION, PersonalField.STEPS)
    given().when(s.show(fields=())).refused("privacy.no_fields")


# forgetting


def test_one_asks_and_another_approves() -> None:
    given().when(s.ask_forget()).then(ASKED)
    given(ASKED).when(s.approve_forget()).then(forgotten(s.CASE))


def test_the_cases_named_by_either_are_forgotten_each_once_and_in_order() -> None:
    (event,) = given().when(s.ask_forget(cases=("z", "a", "z"))).events
    assert event == asked("a", "z")
    given(event).when(s.approve_forget(cases=("m", "a"))).then(forgotten("a", "m", "z"))


def test_who_asked_cannot_approve_whatever_the_roles() -> None:
    both = s.together(s.SUPERVISOR, s.ADMINISTRATOR)
    given(ASKED).when(s.approve_forget(by=both)).refused("privacy.second_person")


def test_a_supervisor_of_the_office_approves_too() -> None:
    assert given(ASKED).when(s.approve_forget(by=s.OFFICE_SUPERVISOR)).events


@pytest.mark.parametrize(
    "by", [s.SUPERVISOR, s.SHIFT_LEAD, s.RESIDENT, s.SYSTEM], ids=lambda by: by.id
)
def test_approving_takes_a_right_over_the_whole_office(by: Actor) -> None:
    given(ASKED).when(s.approve_forget(by=by)).refused("role.not_permitted")


@pytest.mark.parametrize("by", [s.SHIFT_LEAD, s.COORDINATOR, s.RESIDENT], ids=lambda by: by.id)
def test_asking_takes_a_supervisor_or_an_administrator(by: Actor) -> None:
    given().when(s.ask_forget(by=by)).refused("role.not_permitted")
    given(ASKED).when(s.decline_forget(by=by)).refused("role.not_permitted")


def test_nobody_asks_beyond_the_own_territory() -> None:
    given().when(s.ask_forget(territory=s.OTHER_DISTRICT)).refused("role.not_permitted")
    given().when(s.ask_forget(territory=EVERYWHERE)).refused("role.not_permitted")


def test_declined_or_taken_back_it_may_be_asked_again() -> None:
    given(ASKED).when(s.decline_forget()).then(DECLINED)
    given(ASKED).when(s.decline_forget(by=s.SUPERVISOR)).then(DECLINED)
    given(ASKED, DECLINED).when(s.ask_forget()).then(ASKED)


def test_only_one_request_waits_at_a_time() -> None:
    given(ASKED).when(s.ask_forget(by=s.ADMINISTRATOR)).refused("privacy.already_asked")


def test_what_nobody_asked_is_neither_approved_nor_declined() -> None:
    for story in (given(), given(ASKED, DECLINED), given(ASKED, forgotten())):
        story.when(s.approve_forget()).refused("privacy.nothing_asked")
        story.when(s.decline_forget()).refused("privacy.nothing_asked")
        # Whether anything is asked is not told to who could not have decided it.
        story.when(s.decline_forget(by=s.SUPERVISOR)).refused("role.not_permitted")


def test_who_reported_nothing_can_be_forgotten_once() -> None:
    given(ASKED).when(s.approve_forget(cases=())).then(forgotten())
    again = given(ASKED, forgotten(), ASKED)
    again.when(s.approve_forget(cases=())).refused("privacy.nothing_new")


def test_who_came_back_is_forgotten_again_with_the_new_case() -> None:
    again = given(ASKED, forgotten("a"), ASKED)
    again.when(s.approve_forget(cases=("a",))).refused("privacy.nothing_new")
    again.when(s.approve_forget(cases=("a", "b"))).then(forgotten("a", "b"))


def test_a_forgotten_case_that_is_named_again_counts_as_new() -> None:
    """Something about the person may have been typed into it since."""
    given(ASKED, forgotten("a"), asked("a")).when(s.approve_forget(cases=("a",))).then(
        forgotten("a")
    )


def test_what_came_in_while_it_was_approved_is_named_by_the_system_once() -> None:
    known = given(ASKED, forgotten("a"))
    known.when(s.forget_missed("b", "a")).then(forgotten("b"))
    given(ASKED, forgotten("a"), forgotten("b")).when(s.forget_missed("b", "a")).then()
    given(ASKED, forgotten("a"), ASKED).when(s.forget_missed("b")).then(forgotten("b"))
    given(ASKED).when(s.forget_missed("b")).refused("privacy.nothing_asked")
    known.when(s.forget_missed("b", by=s.ADMINISTRATOR)).refused("role.not_permitted")


def test_all_that_was_ever_forgotten_is_remembered() -> None:
    state = given(ASKED, forgotten("a"), ASKED, forgotten("b")).state
    assert state.cases == frozenset({"a", "b"})
    assert state.asking is None


def test_every_person_has_a_stream_of_its_own() -> None:
    assert person_stream("wang") == "person:wang" == privacy.stream(s.ask_forget(person="wang"))


COMMANDS = st.one_of(
    st.builds(
        s.ask_forget,
        by=st.sampled_from([s.SUPERVISOR, s.ADMINISTRATOR]),
        cases=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    ),
    st.builds(
        s.approve_forget,
        by=st.sampled_from([s.ADMINISTRATOR, s.OFFICE_SUPERVISOR]),
        cases=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    ),
    st.builds(s.decline_forget),
    st.builds(s.show),
)


@drawn(st.lists(COMMANDS, max_size=20))
def test_whatever_is_sent_a_person_is_forgotten_by_two_and_each_request_ends_once(
    commands: list[Command],
) -> None:
    history: list[Event] = []
    for command in commands:
        outcome = given(*history).when(command)
        if not isinstance(outcome.result, tuple):
            continue
        for event in outcome.result:
            waiting = [e for e in history if not isinstance(e, PersonalShown)][-1:]
            match event:
                case PersonForgotten():
                    assert isinstance(waiting[0], ForgetAsked)
                    assert waiting[0].by == event.asked_by != command.by.id
                    assert set(waiting[0].cases) <= set(event.cases)
                    assert list(event.cases) == sorted(set(event.cases))
                case ForgetDeclined():
                    assert isinstance(waiting[0], ForgetAsked)
                case ForgetAsked():
                    assert not any(isinstance(e, ForgetAsked) for e in waiting)
                case PersonalShown():
                    pass
        history += outcome.result
