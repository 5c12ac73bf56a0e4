"""People and units: who hands out which rights, and to whom they can be taken from."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final

import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from domain import staff
from domain.errors import Refused
from domain.places import EVERYWHERE, within
from domain.roles import Actor, Grant, Role, system
from domain.staff import (
    AddUnit,
    AddUser,
    CloseUnit,
    Command,
    Event,
    GrantRole,
    MoveUser,
    NotePasswordChanged,
    PasswordChanged,
    RestoreUser,
    RevokeRole,
    RoleGranted,
    RoleRevoked,
    Staff,
    SuspendUser,
    Unit,
    UnitAdded,
    UnitClosed,
    UserAdded,
    UserMoved,
    UserRestored,
    UserSuspended,
    is_user_id,
)
from tests.specification import Specification

given = Specification(staff.decide, staff.evolve, staff.initial).given

NOW: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
C1: Final = "d1/s1/c1/"
KEYS: Final = Grant(Role.ADMINISTRATOR, EVERYWHERE)
CHIEF: Final = Actor("chief", (KEYS,))
SETUP: Final = system("setup")
HANDLER: Final = Grant(Role.HANDLER, C1)
SUPERVISOR: Final = Grant(Role.SUPERVISOR, "d1/s1/")


def administrator(path: str) -> Actor:
    return Actor("u1", (Grant(Role.ADMINISTRATOR, path),))


# what happened


def user_added(
    user: str, *grants: Grant, unit: str | None = None, territory: str = C1
) -> UserAdded:
    return UserAdded(
        at=NOW, territory=territory, user=user, name=f"name of {user}", grants=grants, unit=unit
    )


def granted(user: str, grant: Grant) -> RoleGranted:
    return RoleGranted(at=NOW, territory=grant.territory, user=user, grant=grant)


def revoked(user: str, grant: Grant) -> RoleRevoked:
    return RoleRevoked(at=NOW, territory=grant.territory, user=user, grant=grant)


def suspended(user: str, territory: str = C1) -> UserSuspended:
    return UserSuspended(at=NOW, territory=territory, user=user, reason="left")


def restored(user: str, territory: str = C1) -> UserRestored:
    return UserRestored(at=NOW, territory=territory, user=user)


def moved(user: str, unit: str | None, former: str | None = None, territory: str = C1) -> UserMoved:
    return UserMoved(at=NOW, territory=territory, user=user, unit=unit, former=former)


def password_changed(user: str, territory: str = C1) -> PasswordChanged:
    return PasswordChanged(at=NOW, territory=territory, user=user)


def unit_added(unit: str, *categories: str, territory: str = C1) -> UnitAdded:
    return UnitAdded(
        at=NOW, territory=territory, unit=unit, name=f"name of {unit}", categories=categories
    )


def unit_closed(unit: str) -> UnitClosed:
    return UnitClosed(at=NOW, territory=C1, unit=unit, name=f"name of {unit}")


OFFICE: Final[tuple[Event, ...]] = (
    user_added("chief", KEYS, territory=EVERYWHERE),
    unit_added("repairs"),
    user_added("li.wei", HANDLER),
)


# what is asked


def add_user(
    user: str, *grants: Grant, unit: str | None = None, name: str | None = None, by: Actor = CHIEF
) -> AddUser:
    name = f"name of {user}" if name is None else name
    return AddUser(by=by, at=NOW, id=user, name=name, grants=grants, unit=unit)


def grant_role(user: str, grant: Grant, by: Actor = CHIEF) -> GrantRole:
    return GrantRole(by=by, at=NOW, user=user, grant=grant)


def revoke_role(user: str, grant: Grant, by: Actor = CHIEF) -> RevokeRole:
    return RevokeRole(by=by, at=NOW, user=user, grant=grant)


def suspend(user: str, reason: str = "left", by: Actor = CHIEF) -> SuspendUser:
    return SuspendUser(by=by, at=NOW, user=user, reason=reason)


def restore(user: str, by: Actor = CHIEF) -> RestoreUser:
    return RestoreUser(by=by, at=NOW, user=user)


def move(user: str, unit: str | None, by: Actor = CHIEF) -> MoveUser:
    return MoveUser(by=by, at=NOW, user=user, unit=unit)


def note_password(user: str, by: Actor = CHIEF) -> NotePasswordChanged:
    return NotePasswordChanged(by=by, at=NOW, user=user)


def add_unit(
    unit: str, *categories: str, territory: str = C1, name: str | None = None, by: Actor = CHIEF
) -> AddUnit:
    name = f"name of {unit}" if name is None else name
    return AddUnit(by=by, at=NOW, id=unit, name=name, territory=territory, categories=categories)


def close_unit(unit: str, by: Actor = CHIEF) -> CloseUnit:
    return CloseUnit(by=by, at=NOW, id=unit)


# people come


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("li.wei", True),
        ("oidc:9f-3_a", True),
        ("u" * 64, True),
        ("u" * 65, False),
        ("", False),
        ("Li", False),
        ("li wei", False),
        ("li/wei", False),
        ("li\n", False),
        ("李伟", False),
        ("system:deadlines", False),
        ("system", True),
    ],
)
def test_a_persons_id_is_short_and_not_that_of_a_process(text: str, is_one: bool) -> None:
    assert is_user_id(text) is is_one


def test_a_person_is_added_with_roles_and_a_unit() -> None:
    given(*OFFICE).when(add_user("wang.fang", HANDLER, SUPERVISOR, unit="repairs")).then(
        user_added("wang.fang", HANDLER, SUPERVISOR, unit="repairs", territory="d1/s1/")
    )


def test_a_person_may_have_no_role_yet() -> None:
    given(*OFFICE).when(add_user("wang.fang")).then(user_added("wang.fang", territory=EVERYWHERE))
    given(*OFFICE).when(add_user("wang.fang", unit="repairs")).then(
        user_added("wang.fang", unit="repairs")
    )


def test_a_role_named_twice_is_held_once() -> None:
    given(*OFFICE).when(add_user("wang.fang", HANDLER, HANDLER)).then(
        user_added("wang.fang", HANDLER)
    )


def test_roles_in_two_districts_concern_everywhere() -> None:
    elsewhere = Grant(Role.HANDLER, "d2/s1/c1/")
    given(*OFFICE).when(add_user("wang.fang", HANDLER, elsewhere)).then(
        user_added("wang.fang", HANDLER, elsewhere, territory=EVERYWHERE)
    )


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (add_user("Wang Fang", HANDLER), "staff.bad_id"),
        (add_user("system:wang", HANDLER), "staff.bad_id"),
        (add_user("li.wei", HANDLER), "staff.user_exists"),
        (add_user("wang.fang", HANDLER, name=" "), "staff.name_missing"),
        (add_user("wang.fang", HANDLER, unit="lifts"), "staff.unknown_unit"),
        (add_user("wang.fang", HANDLER, unit="closed"), "staff.unit_closed"),
        (add_user("wang.fang", Grant(Role.SYSTEM, C1)), "staff.role_reserved"),
        (add_user("wang.fang", Grant(Role.IMPORTER, C1)), "staff.role_reserved"),
        (add_user("wang.fang", Grant(Role.HANDLER, "d1")), "staff.bad_territory"),
    ],
)
def test_a_person_that_does_not_fit_is_refused(asked: AddUser, code: str) -> None:
    given(*OFFICE, unit_added("closed"), unit_closed("closed")).when(asked).refused(code)


# roles


def test_a_role_is_granted_and_revoked() -> None:
    given(*OFFICE).when(grant_role("li.wei", SUPERVISOR)).then(granted("li.wei", SUPERVISOR))
    given(*OFFICE, granted("li.wei", SUPERVISOR)).when(revoke_role("li.wei", HANDLER)).then(
        revoked("li.wei", HANDLER)
    )
    state = given(*OFFICE, granted("li.wei", SUPERVISOR), revoked("li.wei", HANDLER)).state
    assert state.actor("li.wei") == Actor("li.wei", (SUPERVISOR,))


def test_a_role_that_is_held_is_not_granted_again() -> None:
    given(*OFFICE).when(grant_role("li.wei", HANDLER)).then()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (grant_role("nobody", HANDLER), "staff.unknown_user"),
        (revoke_role("nobody", HANDLER), "staff.unknown_user"),
        (revoke_role("li.wei", SUPERVISOR), "staff.role_not_held"),
        (revoke_role("li.wei", Grant(Role.HANDLER, "d1/s1/")), "staff.role_not_held"),
        (grant_role("li.wei", Grant(Role.IMPORTER, EVERYWHERE)), "staff.role_reserved"),
        (grant_role("li.wei", Grant(Role.SYSTEM, EVERYWHERE)), "staff.role_reserved"),
        (grant_role("li.wei", Grant(Role.HANDLER, "d1/s1")), "staff.bad_territory"),
        (grant_role("li.wei", Grant(Role.HANDLER, "d1//")), "staff.bad_territory"),
        (grant_role("li.wei", Grant(Role.HANDLER, "/")), "staff.bad_territory"),
        (grant_role("li.wei", Grant(Role.HANDLER, "D1/")), "staff.bad_territory"),
        (grant_role("li.wei", Grant(Role.HANDLER, "a/b/c/d/e/")), "staff.bad_territory"),
    ],
)
def test_a_role_that_does_not_fit_is_refused(asked: Command, code: str) -> None:
    given(*OFFICE).when(asked).refused(code)


@pytest.mark.parametrize("role", [Role.IMPORTER, Role.SYSTEM])
def test_the_roles_of_processes_are_handed_out_by_the_system_and_taken_by_any_administrator(
    role: Role,
) -> None:
    grant = Grant(role, EVERYWHERE)
    given(*OFFICE).when(grant_role("li.wei", grant, by=SETUP)).then(granted("li.wei", grant))
    given(*OFFICE).when(add_user("old.system", grant, by=SETUP)).then(
        user_added("old.system", grant, territory=EVERYWHERE)
    )
    given(*OFFICE, granted("li.wei", grant)).when(revoke_role("li.wei", grant)).then(
        revoked("li.wei", grant)
    )


def test_an_importer_hands_out_no_reserved_role() -> None:
    importer = Actor("old.system", (Grant(Role.IMPORTER, EVERYWHERE),))
    grant = Grant(Role.IMPORTER, EVERYWHERE)
    given(*OFFICE).when(grant_role("li.wei", grant, by=importer)).refused("staff.role_reserved")


# people go and come back


def test_a_suspended_person_may_nothing_until_restored() -> None:
    given(*OFFICE).when(suspend("li.wei")).then(suspended("li.wei"))
    gone = given(*OFFICE, suspended("li.wei"))
    with pytest.raises(Refused) as refused:
        gone.state.actor("li.wei")
    assert refused.value.code == "staff.suspended"
    assert refused.value.status == 403
    gone.when(restore("li.wei")).then(restored("li.wei"))
    back = given(*OFFICE, suspended("li.wei"), restored("li.wei"))
    assert back.state.actor("li.wei") == Actor("li.wei", (HANDLER,))


def test_what_is_so_already_happens_not_again() -> None:
    given(*OFFICE, suspended("li.wei")).when(suspend("li.wei")).then()
    given(*OFFICE).when(restore("li.wei")).then()


def test_a_suspension_has_a_reason() -> None:
    given(*OFFICE).when(suspend("li.wei", " ")).refused("staff.reason_missing")


def test_a_person_moves_from_unit_to_unit_and_keeps_the_roles() -> None:
    office = (*OFFICE, unit_added("lifts"))
    given(*office).when(move("li.wei", "repairs")).then(moved("li.wei", "repairs"))
    first = (*office, moved("li.wei", "repairs"))
    given(*first).when(move("li.wei", "repairs")).then()
    given(*first).when(move("li.wei", "lifts")).then(moved("li.wei", "lifts", "repairs"))
    second = (*first, moved("li.wei", "lifts", "repairs"))
    assert given(*second).state.actor("li.wei") == Actor("li.wei", (HANDLER,), "lifts")
    given(*second).when(move("li.wei", None)).then(moved("li.wei", None, "lifts"))
    given(*second, suspended("li.wei")).when(move("li.wei", "repairs")).then(
        moved("li.wei", "repairs", "lifts")
    )
    given(*second).when(move("li.wei", "nowhere")).refused("staff.unknown_unit")
    given(*second, unit_closed("repairs")).when(move("li.wei", "repairs")).refused(
        "staff.unit_closed"
    )


@pytest.mark.parametrize(
    "asked",
    [suspend("nobody"), restore("nobody"), move("nobody", None), note_password("nobody")],
)
def test_who_is_not_known_cannot_be_changed(asked: Command) -> None:
    given(*OFFICE).when(asked).refused("staff.unknown_user")


def test_a_change_of_password_is_known_by_its_time_and_nothing_else() -> None:
    given(*OFFICE).when(note_password("li.wei", by=SETUP)).then(password_changed("li.wei"))
    state = given(*OFFICE, password_changed("li.wei")).state
    assert state.user("li.wei").password_changed == NOW
    assert state.user("chief").password_changed is None


def test_everybody_may_change_the_own_password_and_nobody_elses() -> None:
    oneself = Actor("li.wei", (HANDLER,))
    given(*OFFICE).when(note_password("li.wei", by=oneself)).then(password_changed("li.wei"))
    given(*OFFICE).when(note_password("chief", by=oneself)).refused("role.not_permitted")


# the last administrator


def test_the_last_administrator_of_everywhere_stays_one() -> None:
    alone = given(*OFFICE)
    for by in (CHIEF, SETUP):
        alone.when(suspend("chief", by=by)).refused("staff.last_administrator")
        alone.when(revoke_role("chief", KEYS, by=by)).refused("staff.last_administrator")


def test_another_administrator_counts_only_if_active_and_of_everywhere() -> None:
    deputy = user_added("deputy", KEYS, territory=EVERYWHERE)
    two = given(*OFFICE, deputy)
    two.when(suspend("chief")).then(suspended("chief", EVERYWHERE))
    two.when(revoke_role("chief", KEYS)).then(revoked("chief", KEYS))
    asleep = given(*OFFICE, deputy, suspended("deputy", EVERYWHERE))
    asleep.when(suspend("chief")).refused("staff.last_administrator")
    asleep.when(revoke_role("chief", KEYS)).refused("staff.last_administrator")
    asleep.when(revoke_role("deputy", KEYS)).then(revoked("deputy", KEYS))
    local = given(*OFFICE, granted("li.wei", Grant(Role.ADMINISTRATOR, "d1/")))
    local.when(suspend("chief")).refused("staff.last_administrator")


def test_the_last_administrator_may_lose_other_roles() -> None:
    given(*OFFICE, granted("chief", HANDLER)).when(revoke_role("chief", HANDLER)).then(
        revoked("chief", HANDLER)
    )


# units


def test_a_unit_is_added_and_closed() -> None:
    given(*OFFICE).when(add_unit("lifts", "lift_renewal", "lift_renewal")).then(
        unit_added("lifts", "lift_renewal")
    )
    given(*OFFICE).when(close_unit("repairs")).then(unit_closed("repairs"))
    given(*OFFICE, unit_closed("repairs")).when(close_unit("repairs")).then()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (add_unit("Lifts"), "staff.bad_unit_id"),
        (add_unit("repairs"), "staff.unit_exists"),
        (add_unit("lifts", name=""), "staff.name_missing"),
        (add_unit("lifts", territory=EVERYWHERE), "staff.bad_territory"),
        (add_unit("lifts", territory="d1"), "staff.bad_territory"),
        (add_unit("lifts", territory="d1//"), "staff.bad_territory"),
        (close_unit("lifts"), "staff.unknown_unit"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(asked: Command, code: str) -> None:
    given(*OFFICE).when(asked).refused(code)


@pytest.mark.parametrize(
    ("place", "category", "closed", "competent"),
    [
        (C1, "noise", False, True),
        (f"{C1}g1/", "noise", False, True),
        ("d1/s1/", "noise", False, False),
        ("d1/s1/c10/", "noise", False, False),
        (C1, "lifts", False, False),
        (C1, "noise", True, False),
    ],
)
def test_a_unit_is_competent_for_its_categories_within_its_territory(
    place: str, category: str, closed: bool, competent: bool
) -> None:
    unit = Unit(id="repairs", name="物业", territory=C1, categories=("noise",), closed=closed)
    assert unit.competent(place, category) is competent


def test_a_unit_without_categories_is_competent_for_all() -> None:
    state = given(*OFFICE).state
    assert state.unit("repairs").competent(C1, "anything")
    assert not given(*OFFICE, unit_closed("repairs")).state.unit("repairs").competent(C1, "any")


def test_who_is_not_known_cannot_be_asked_for() -> None:
    state = given(*OFFICE, user_added("wang.fang", HANDLER, unit="repairs")).state
    assert state.actor("wang.fang") == Actor("wang.fang", (HANDLER,), "repairs")
    for ask, code in (
        (state.user, "staff.unknown_user"),
        (state.actor, "staff.unknown_user"),
        (state.unit, "staff.unknown_unit"),
    ):
        with pytest.raises(Refused) as refused:
            ask("nobody")
        assert refused.value.code == code
        assert refused.value.status == 404


# who may


SUPERVISED: Final[tuple[Event, ...]] = (
    *OFFICE,
    user_added("wang.fang", HANDLER, SUPERVISOR, territory="d1/s1/"),
    user_added("zhao.min", HANDLER, unit="district", territory="d1/"),
    user_added("new"),
    unit_added("district", territory="d1/"),
    suspended("zhao.min", "d1/"),
)

ASKED: Final[dict[str, tuple[Command, str]]] = {
    "a person with a role": (add_user("sun.li", HANDLER), C1),
    "a person with two roles": (add_user("sun.li", HANDLER, SUPERVISOR), "d1/s1/"),
    "a person of a unit": (add_user("sun.li", HANDLER, unit="district"), "d1/"),
    "a person without a role": (add_user("sun.li"), EVERYWHERE),
    "an administrator": (add_user("sun.li", KEYS), EVERYWHERE),
    "grant": (grant_role("wang.fang", Grant(Role.ACCEPTOR, C1)), C1),
    "grant above": (grant_role("li.wei", SUPERVISOR), "d1/s1/"),
    "grant an administrator": (grant_role("li.wei", Grant(Role.ADMINISTRATOR, "d1/")), "d1/"),
    "revoke": (revoke_role("wang.fang", HANDLER), C1),
    "revoke above": (revoke_role("wang.fang", SUPERVISOR), "d1/s1/"),
    "suspend": (suspend("li.wei"), C1),
    "suspend who has a role above": (suspend("wang.fang"), "d1/s1/"),
    "suspend who has no role": (suspend("new"), EVERYWHERE),
    "restore who belongs to a unit above": (restore("zhao.min"), "d1/"),
    "move": (move("li.wei", "repairs"), C1),
    "move into a unit above": (move("li.wei", "district"), "d1/"),
    "move out of a unit above": (move("zhao.min", "repairs"), "d1/"),
    "move who has no role": (move("new", "repairs"), EVERYWHERE),
    "password": (note_password("li.wei"), C1),
    "password of who has a role above": (note_password("wang.fang"), "d1/s1/"),
    "add a unit": (add_unit("lifts"), C1),
    "close a unit": (close_unit("repairs"), C1),
    "close a unit above": (close_unit("district"), "d1/"),
}


@pytest.mark.parametrize(("command", "ground"), ASKED.values(), ids=ASKED.keys())
def test_nobody_reaches_further_than_the_own_territory(command: Command, ground: str) -> None:
    start = given(*SUPERVISED)
    for path in (EVERYWHERE, "d1/", "d1/s1/", C1, f"{C1}g1/", "d1/s1/c10/", "d2/"):
        outcome = start.when(replace(command, by=administrator(path)))
        if within(ground, path):
            assert [event.territory for event in outcome.events] == [ground]
        else:
            outcome.refused("role.not_permitted")
    start.when(replace(command, by=Actor("u2", (Grant(Role.HANDLER, ground),)))).refused(
        "role.not_permitted"
    )


def test_an_administrator_of_two_communities_manages_who_works_in_both() -> None:
    grants = tuple(Grant(Role.ADMINISTRATOR, path) for path in (C1, "d1/s1/c2/"))
    both = (HANDLER, Grant(Role.HANDLER, "d1/s1/c2/"))
    given(*OFFICE).when(add_user("sun.li", *both, by=Actor("u1", grants))).then(
        user_added("sun.li", *both, territory="d1/s1/")
    )
    given(*OFFICE).when(add_user("sun.li", *both, by=administrator(C1))).refused(
        "role.not_permitted"
    )


# random scripts

people = st.sampled_from(["chief", "deputy", "li.wei", "wang.fang", "?"])
units = st.sampled_from(["repairs", "lifts", "?"])
paths = st.sampled_from([EVERYWHERE, "d1/", "d1/s1/", C1, "d2/", "d2"])
grants = st.one_of(st.just(KEYS), st.builds(Grant, st.sampled_from(Role), paths))
actors = st.one_of(
    st.sampled_from([CHIEF, SETUP]),
    st.builds(Actor, people, st.lists(grants, max_size=2).map(tuple)),
)
commons: Final[dict[str, Any]] = {"by": actors, "at": st.just(NOW)}
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        AddUser,
        **commons,
        id=people,
        name=st.sampled_from(["a", ""]),
        grants=st.lists(grants, max_size=3).map(tuple),
        unit=st.none() | units,
    ),
    st.builds(GrantRole, **commons, user=people, grant=grants),
    st.builds(RevokeRole, **commons, user=people, grant=grants),
    st.builds(SuspendUser, **commons, user=people, reason=st.sampled_from(["left", ""])),
    st.builds(RestoreUser, **commons, user=people),
    st.builds(MoveUser, **commons, user=people, unit=st.none() | units),
    st.builds(NotePasswordChanged, **commons, user=people),
    st.builds(
        AddUnit,
        **commons,
        id=units,
        name=st.sampled_from(["a", ""]),
        territory=paths,
        categories=st.lists(st.sampled_from(["noise", "lifts"])).map(tuple),
    ),
    st.builds(CloseUnit, **commons, id=units),
)


@settings(max_examples=60)
@forall(st.lists(commands, max_size=25))
def test_the_office_survives_whatever_is_asked(script: list[Command]) -> None:
    history = list(OFFICE)
    state = reduce(staff.evolve, history, staff.initial)
    for command in script:
        before = (dict(state.users), dict(state.units))
        try:
            events = staff.decide(state, command)
        except Refused:
            continue
        earlier, state = state, reduce(staff.evolve, events, state)
        history += events
        assert (earlier.users, earlier.units) == before, "an old state has changed"
        assert earlier.users.keys() <= state.users.keys()
        assert earlier.units.keys() <= state.units.keys()
        _assert_sound(state)
        if not command.by.has(Role.SYSTEM):
            assert _reserved(state) <= _reserved(earlier)
        for ground in {grant.territory for grant in _handed_out(earlier, state)}:
            assert any(within(ground, grant.territory) for grant in command.by.grants)
    assert reduce(staff.evolve, history, staff.initial) == state


def _assert_sound(state: Staff) -> None:
    assert any(KEYS in user.grants and not user.suspended for user in state.users.values())
    for id_, user in state.users.items():
        assert id_ == user.id
        assert is_user_id(id_)
        assert user.name
        assert len(set(user.grants)) == len(user.grants)
        assert user.unit is None or user.unit in state.units
    for id_, unit in state.units.items():
        assert id_ == unit.id
        assert unit.territory.endswith("/")


def _held(state: Staff) -> set[tuple[str, Grant]]:
    return {(user.id, grant) for user in state.users.values() for grant in user.grants}


def _reserved(state: Staff) -> set[tuple[str, Grant]]:
    return {held for held in _held(state) if held[1].role in {Role.SYSTEM, Role.IMPORTER}}


def _handed_out(before: Staff, after: Staff) -> set[Grant]:
    return {grant for _, grant in _held(after) - _held(before)}
