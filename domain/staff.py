"""People and units (人员与责任单位): who may act, and which units may be made responsible.

An administrator hands out rights only where the own ones reach: a command is measured on every
territory that it gives or takes rights in, or that the person concerned has rights in. The hash of
a password is kept outside the log, for a log is for ever.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, assert_never

from domain.errors import Refused
from domain.personal import Personal
from domain.places import EVERYWHERE, Tier, at_tier, is_id, within
from domain.roles import Actor, Grant, Role, demand

STREAM: Final = "staff"

_USER_ID = re.compile(r"[a-z0-9._:-]{1,64}")

_SYSTEM_PREFIX: Final = "system:"
"""How the ids of the system's own processes begin: nobody's id may look like one in the log."""

_RESERVED: Final = frozenset({Role.SYSTEM, Role.IMPORTER})
"""Roles of processes, not of people: only the system itself hands them out."""

_KEYS: Final = Grant(Role.ADMINISTRATOR, EVERYWHERE)
"""What at least one active person must keep, or nobody could hand out anything any more."""


def is_user_id(text: str) -> bool:
    """Whether a text can name a person: 1 to 64 of ``a-z0-9._:-``."""
    return _USER_ID.fullmatch(text) is not None and not text.startswith(_SYSTEM_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StaffCommand:
    by: Actor
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AddUser(_StaffCommand):
    """新增人员. ``unit`` is the one whose cases the person handles, if any."""

    id: str
    name: Personal
    grants: tuple[Grant, ...] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRole(_StaffCommand):
    """授权: one more role in one territory."""

    user: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeRole(_StaffCommand):
    """撤销授权."""

    user: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendUser(_StaffCommand):
    """停用: the person keeps the roles and can do nothing with them."""

    user: str
    reason: Personal


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreUser(_StaffCommand):
    """恢复启用."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveUser(_StaffCommand):
    """人员调动: ``unit`` is the one whose cases the person handles from now on, if any. What is in
    the person's hands stays there until it is handed on."""

    user: str
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePasswordChanged(_StaffCommand):
    """修改密码, so that sessions from before it can be told. Everybody may change the own."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddUnit(_StaffCommand):
    """新增责任单位. No categories means competent for all."""

    id: str
    name: str
    territory: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseUnit(_StaffCommand):
    """撤销责任单位: it gets no more cases."""

    id: str


Command = (
    AddUser
    | GrantRole
    | RevokeRole
    | SuspendUser
    | RestoreUser
    | MoveUser
    | NotePasswordChanged
    | AddUnit
    | CloseUnit
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StaffEvent:
    """``territory`` is the smallest that holds all the command was measured on."""

    at: datetime
    territory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAdded(_StaffEvent):
    """A person is known and has these roles."""

    user: str
    name: Personal
    grants: tuple[Grant, ...]
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGranted(_StaffEvent):
    """A person has one more role."""

    user: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRevoked(_StaffEvent):
    """A person has one role less."""

    user: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSuspended(_StaffEvent):
    """A person may do nothing until restored. The reason is about the person, so it is personal."""

    user: str
    reason: Personal


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRestored(_StaffEvent):
    """A person may act again."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMoved(_StaffEvent):
    """A person handles the cases of another unit, or of none."""

    user: str
    unit: str | None
    former: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChanged(_StaffEvent):
    """A person has another password from now on."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAdded(_StaffEvent):
    """A unit may be made responsible within its territory."""

    unit: str
    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitClosed(_StaffEvent):
    """A unit gets no more cases."""

    unit: str
    name: str


Event = (
    UserAdded
    | RoleGranted
    | RoleRevoked
    | UserSuspended
    | UserRestored
    | UserMoved
    | PasswordChanged
    | UnitAdded
    | UnitClosed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One person. Sessions begun before ``password_changed`` are no longer good."""

    id: str
    name: Personal
    grants: tuple[Grant, ...]
    unit: str | None
    suspended: bool = False
    password_changed: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit that cases can be dispatched to (责任单位)."""

    id: str
    name: str
    territory: str
    categories: tuple[str, ...] = ()
    closed: bool = False

    def competent(self, place: str, category: str) -> bool:
        """Whether it may be made responsible for a category at a place, given as a path."""
        return (
            not self.closed
            and within(place, self.territory)
            and (not self.categories or category in self.categories)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """All people and units, suspended and closed ones too."""

    users: Mapping[str, User] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)

    def user(self, user_id: str) -> User:
        """A person, suspended or not.

        Raises:
            Refused: ``staff.unknown_user``.
        """
        user = self.users.get(user_id)
        if user is None:
            raise Refused("staff.unknown_user", user=user_id)
        return user

    def demand_active(self, actor: str) -> None:
        """Refuse what somebody who is suspended sent before; a process is nobody of the staff.

        Raises:
            Refused: ``staff.suspended``.
        """
        user = self.users.get(actor)
        if user is not None and user.suspended:
            raise Refused("staff.suspended", user=actor)

    def actor(self, user_id: str) -> Actor:
        """A person as one who acts.

        Raises:
            Refused: ``staff.unknown_user``, ``staff.suspended``.
        """
        user = self.user(user_id)
        self.demand_active(user_id)
        return Actor(user.id, user.grants, user.unit)

    def unit(self, unit_id: str) -> Unit:
        """A unit, closed or not: a closed one is competent for nothing.

        Raises:
            Refused: ``staff.unknown_unit``.
        """
        unit = self.units.get(unit_id)
        if unit is None:
            raise Refused("staff.unknown_unit", unit=unit_id)
        return unit


initial: Final = Staff()


def decide(staff: Staff, command: Command) -> list[Event]:
    """What happens next. What is so already happens not again.

    Raises:
        Refused: ``role.not_permitted``, or a ``staff.*`` code that names the rule.
    """
    grounds = _grounds(staff, command)
    if not _is_own_password(command):
        for ground in grounds:
            demand(command, ground)
    at, territory = command.at, _smallest_around(grounds)
    match command:
        case AddUser():
            return [_add_user(staff, command, territory)]
        case GrantRole(grant=grant):
            user = staff.user(command.user)
            _demand_grantable(command.by, grant)
            if grant in user.grants:
                return []
            return [RoleGranted(at=at, territory=territory, user=user.id, grant=grant)]
        case RevokeRole(grant=grant):
            user = staff.user(command.user)
            if grant not in user.grants:
                raise Refused("staff.role_not_held", user=user.id, role=grant.role.value)
            if grant == _KEYS:
                _demand_another_administrator(staff, user)
            return [RoleRevoked(at=at, territory=territory, user=user.id, grant=grant)]
        case SuspendUser(reason=reason):
            user = staff.user(command.user)
            if not reason.strip():
                raise Refused("staff.reason_missing")
            if user.suspended:
                return []
            _demand_another_administrator(staff, user)
            return [UserSuspended(at=at, territory=territory, user=user.id, reason=reason)]
        case RestoreUser():
            user = staff.user(command.user)
            if not user.suspended:
                return []
            return [UserRestored(at=at, territory=territory, user=user.id)]
        case MoveUser(unit=to):
            user = staff.user(command.user)
            if to == user.unit:
                return []
            _demand_open_unit(staff, to)
            return [UserMoved(at=at, territory=territory, user=user.id, unit=to, former=user.unit)]
        case NotePasswordChanged():
            user = staff.user(command.user)
            return [PasswordChanged(at=at, territory=territory, user=user.id)]
        case AddUnit():
            return [_add_unit(staff, command)]
        case CloseUnit():
            unit = staff.unit(command.id)
            if unit.closed:
                return []
            return [UnitClosed(at=at, territory=territory, unit=unit.id, name=unit.name)]
        case _:
            assert_never(command)


def evolve(staff: Staff, event: Event) -> Staff:
    """The staff after an event."""
    match event:
        case UserAdded(name=name, grants=grants, unit=unit):
            return _with_user(staff, User(id=event.user, name=name, grants=grants, unit=unit))
        case RoleGranted(grant=grant):
            user = staff.users[event.user]
            return _with_user(staff, replace(user, grants=(*user.grants, grant)))
        case RoleRevoked(grant=grant):
            user = staff.users[event.user]
            kept = tuple(held for held in user.grants if held != grant)
            return _with_user(staff, replace(user, grants=kept))
        case UserSuspended():
            return _with_user(staff, replace(staff.users[event.user], suspended=True))
        case UserRestored():
            return _with_user(staff, replace(staff.users[event.user], suspended=False))
        case UserMoved(unit=to):
            return _with_user(staff, replace(staff.users[event.user], unit=to))
        case PasswordChanged(at=at):
            return _with_user(staff, replace(staff.users[event.user], password_changed=at))
        case UnitAdded(name=name, territory=territory, categories=categories):
            added = Unit(id=event.unit, name=name, territory=territory, categories=categories)
            return _with_unit(staff, added)
        case UnitClosed():
            return _with_unit(staff, replace(staff.units[event.unit], closed=True))
        case _:
            assert_never(event)


def _is_own_password(command: Command) -> bool:
    """Whether it is everybody's to issue: the only command that needs no role."""
    return isinstance(command, NotePasswordChanged) and command.user == command.by.id


def _grounds(staff: Staff, command: Command) -> tuple[str, ...]:
    """The territories that a command is measured on, each of them.

    Who has no rights anywhere, or is not known, is everybody's: that takes rights everywhere.
    """
    match command:
        case AddUser(grants=grants, unit=unit):
            return _reach(staff, grants, unit)
        case GrantRole(grant=grant) | RevokeRole(grant=grant):
            return (grant.territory,)
        case AddUnit(territory=territory):
            return (territory,)
        case CloseUnit(id=unit):
            return _reach(staff, (), unit)
        case SuspendUser() | RestoreUser() | MoveUser() | NotePasswordChanged():
            user = staff.users.get(command.user)
            if user is None:
                return (EVERYWHERE,)
            reach = _reach(staff, user.grants, user.unit)
            if isinstance(command, MoveUser):
                reach += _reach(staff, user.grants, command.unit)
            return tuple(dict.fromkeys(reach))
        case _:
            assert_never(command)


def _reach(staff: Staff, grants: tuple[Grant, ...], unit: str | None) -> tuple[str, ...]:
    """The territories of some roles and a unit; everywhere, where there are none."""
    territories = [grant.territory for grant in grants]
    if unit is not None and unit in staff.units:
        territories.append(staff.units[unit].territory)
    return tuple(dict.fromkeys(territories)) or (EVERYWHERE,)


def _smallest_around(paths: tuple[str, ...]) -> str:
    """The smallest territory that several lie in."""
    for tier in Tier:
        around = at_tier(paths[0], tier)
        if around is not None and all(within(path, around) for path in paths):
            return around
    return EVERYWHERE


def _add_user(staff: Staff, command: AddUser, territory: str) -> UserAdded:
    if not is_user_id(command.id):
        raise Refused("staff.bad_id", id=command.id)
    if command.id in staff.users:
        raise Refused("staff.user_exists", user=command.id)
    if not command.name.strip():
        raise Refused("staff.name_missing")
    for grant in command.grants:
        _demand_grantable(command.by, grant)
    _demand_open_unit(staff, command.unit)
    return UserAdded(
        at=command.at,
        territory=territory,
        user=command.id,
        name=command.name.strip(),
        grants=tuple(dict.fromkeys(command.grants)),
        unit=command.unit,
    )


def _add_unit(staff: Staff, command: AddUnit) -> UnitAdded:
    if not is_id(command.id):
        raise Refused("staff.bad_unit_id", id=command.id)
    if command.id in staff.units:
        raise Refused("staff.unit_exists", unit=command.id)
    if not command.name.strip():
        raise Refused("staff.name_missing")
    # A unit answers at the tier of its territory, and everywhere is none.
    if command.territory == EVERYWHERE or not _is_path(command.territory):
        raise Refused("staff.bad_territory", territory=command.territory)
    return UnitAdded(
        at=command.at,
        territory=command.territory,
        unit=command.id,
        name=command.name.strip(),
        categories=tuple(dict.fromkeys(command.categories)),
    )


def _demand_open_unit(staff: Staff, unit: str | None) -> None:
    if unit is not None and staff.unit(unit).closed:
        raise Refused("staff.unit_closed", unit=unit)


def _demand_grantable(by: Actor, grant: Grant) -> None:
    if not _is_path(grant.territory):
        raise Refused("staff.bad_territory", territory=grant.territory)
    if grant.role in _RESERVED and not by.has(Role.SYSTEM):
        raise Refused("staff.role_reserved", role=grant.role.value)


def _demand_another_administrator(staff: Staff, user: User) -> None:
    """Refuse to take the keys from the last active person who has them."""
    holders = {u.id for u in staff.users.values() if _KEYS in u.grants and not u.suspended}
    if holders == {user.id}:
        raise Refused("staff.last_administrator", user=user.id)


def _is_path(text: str) -> bool:
    """Whether a text is written like the path of a territory; whether it exists, the tree knows."""
    *ids, end = text.split("/")
    return end == "" and len(ids) <= len(Tier) and all(map(is_id, ids))


def _with_user(staff: Staff, user: User) -> Staff:
    return replace(staff, users={**staff.users, user.id: user})


def _with_unit(staff: Staff, unit: Unit) -> Staff:
    return replace(staff, units={**staff.units, unit.id: unit})
