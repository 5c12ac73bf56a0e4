"""Who may do what: role × command × relation of territories, as one table.

``demand`` is the first line of every ``decide``, so no way into the system goes around it: not the
API, not the command line, not an import. What is not in the table is refused, but that everybody
may change the own password. Identity rules (the checker is not the handler, a void needs a second
person) depend on the case and stand with its other guards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.errors import Refused
from domain.places import EVERYWHERE, Relation, relation


class Role(StrEnum):
    """What a person is in the office (角色)."""

    RESIDENT = "resident"  # 居民
    GRID_WORKER = "grid_worker"  # 网格员
    HOTLINE = "hotline"  # 热线话务
    ACCEPTOR = "acceptor"  # 受理员
    DISPATCHER = "dispatcher"  # 派遣员
    HANDLER = "handler"  # 处置人员
    COORDINATOR = "coordinator"  # 社区、街道统筹
    SUPERVISOR = "supervisor"  # 督查核查
    SHIFT_LEAD = "shift_lead"  # 值班长
    CALLBACK_DESK = "callback_desk"  # 回访员
    ADMINISTRATOR = "administrator"  # 系统管理员
    IMPORTER = "importer"  # 历史数据迁移
    SYSTEM = "system"  # 系统自动


@dataclass(frozen=True, slots=True)
class Grant:
    """One role in one territory (and, where the table says so, below it)."""

    role: Role
    territory: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The person or process behind a command. Holds no name: names live with the staff register."""

    id: str
    grants: tuple[Grant, ...]
    unit: str | None = None

    def has(self, role: Role) -> bool:
        """Whether the actor holds a role anywhere."""
        return any(grant.role is role for grant in self.grants)

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of the roles held, in a fixed order."""
        return tuple(sorted({grant.role.value for grant in self.grants}))


def system(name: str) -> Actor:
    """A process of the system itself, for what happens by rule (deadlines, first set-up)."""
    return Actor(f"system:{name}", (Grant(Role.SYSTEM, EVERYWHERE),))


class Command(Protocol):
    """What every command carries: who acts, and when by the clock of the one who asks."""

    @property
    def by(self) -> Actor: ...
    @property
    def at(self) -> datetime: ...


class Measured(StrEnum):
    """Which territory of a case a permission is measured against."""

    PLACE = "place"  # where the matter is
    HOLDER = "holder"  # the territory responsible for it now
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may issue one command: for each role the relations its territory must stand in."""

    measured: Measured
    roles: Mapping[Role, frozenset[Relation]]


_OWN: Final = frozenset({Relation.OWN})
_BELOW: Final = frozenset({Relation.BELOW})
_DOWN: Final = frozenset({Relation.OWN, Relation.BELOW})
_ANY: Final = frozenset(Relation)


def _place(**roles: frozenset[Relation]) -> Permission:
    return _permission(Measured.PLACE, roles)


def _holder(**roles: frozenset[Relation]) -> Permission:
    return _permission(Measured.HOLDER, roles)


def _either(**roles: frozenset[Relation]) -> Permission:
    return _permission(Measured.EITHER, roles)


def _permission(measured: Measured, roles: dict[str, frozenset[Relation]]) -> Permission:
    # The importer replays another system's history through the same rules: it may issue them all.
    return Permission(measured, {Role(r): to for r, to in roles.items()} | {Role.IMPORTER: _DOWN})


_ADMINISTRATION: Final = _place(administrator=_DOWN, system=_DOWN)
_OFFICE_WIDE: Final = _place(administrator=_OWN, system=_OWN)
_FOLLOWS: Final = _place(**{role.value: _ANY for role in Role})
"""Issued by another command in the same transaction, never from outside: who may that, may this."""

PERMISSIONS: Final[dict[str, Permission]] = {
    # a case comes in
    "ReportCase": _place(
        resident=_DOWN, grid_worker=_OWN, hotline=_DOWN, acceptor=_DOWN, coordinator=_DOWN
    ),
    "VerifyCase": _place(acceptor=_DOWN),
    "RejectCase": _place(acceptor=_DOWN),
    "FileCase": _place(acceptor=_DOWN, shift_lead=_DOWN, grid_worker=_OWN),
    "ReclassifyCase": _place(acceptor=_DOWN, shift_lead=_DOWN),
    "AskVoid": _place(shift_lead=_DOWN),
    "ApproveVoid": _place(shift_lead=_DOWN, supervisor=_DOWN),
    # it is worked on
    "DispatchCase": _place(dispatcher=_DOWN),
    "TransferCase": _place(dispatcher=_DOWN),
    "AcceptCase": _holder(handler=_OWN, grid_worker=_OWN),
    "EscalateCase": _holder(handler=_OWN, grid_worker=_OWN, coordinator=_BELOW, system=_DOWN),
    "ReturnCase": _holder(handler=_OWN, coordinator=_OWN),
    "WhistleCase": _holder(coordinator=_DOWN),
    "ReportIn": _holder(handler=_ANY, coordinator=_DOWN),
    "MarkAbsent": _holder(coordinator=_DOWN),
    "SplitCase": _place(coordinator=_DOWN),
    "MergeCase": _place(coordinator=_DOWN, dispatcher=_DOWN),
    "AbsorbCase": _FOLLOWS,
    "NoteChildEnded": _FOLLOWS,
    "NoteChildReopened": _FOLLOWS,
    # its clock
    "AskPark": _holder(handler=_OWN, grid_worker=_OWN),
    "ApprovePark": _place(dispatcher=_DOWN),
    "ResumeCase": _either(handler=_OWN, grid_worker=_OWN, dispatcher=_DOWN, system=_DOWN),
    "AskExtension": _holder(handler=_OWN, grid_worker=_OWN),
    "ApproveExtension": _place(dispatcher=_DOWN),
    # a supervisor what a supervisor may approve, which is a void
    "DeclineRequest": _place(dispatcher=_DOWN, shift_lead=_DOWN, supervisor=_DOWN),
    "RemindDue": _place(system=_DOWN),
    "MarkBreach": _place(system=_DOWN),
    "RecomputeDue": _place(system=_DOWN, administrator=_DOWN),
    # it ends
    "ResolveCase": _holder(handler=_OWN, grid_worker=_OWN),
    "CheckCase": _place(supervisor=_DOWN),
    "CloseCase": _place(shift_lead=_DOWN),
    "RecordCallback": _place(callback_desk=_DOWN),
    "EvaluateCase": _place(callback_desk=_DOWN, resident=_DOWN),
    "ReopenCase": _place(resident=_DOWN, supervisor=_DOWN),
    "EndReopening": _place(system=_DOWN),
    # at any time; a handler from elsewhere where the own unit was called, which the case knows
    "AddNote": _either(**{r.value: _DOWN for r in Role} | {"handler": _ANY}),
    "AttachFile": _either(**{r.value: _DOWN for r in Role} | {"handler": _ANY}),
    # the territory tree; measured where the change happens
    "CreateTerritory": _ADMINISTRATION,
    "RenameTerritory": _ADMINISTRATION,
    "RedrawGrid": _ADMINISTRATION,
    "SplitGrid": _ADMINISTRATION,
    "MergeGrids": _ADMINISTRATION,
    "AssignWorker": _ADMINISTRATION,
    "ReleaseWorker": _ADMINISTRATION,
    "RecordHouseholds": _place(administrator=_DOWN, grid_worker=_OWN, coordinator=_DOWN),
    # people and units
    "AddUser": _ADMINISTRATION,
    "GrantRole": _ADMINISTRATION,
    "RevokeRole": _ADMINISTRATION,
    "SuspendUser": _ADMINISTRATION,
    "RestoreUser": _ADMINISTRATION,
    "MoveUser": _ADMINISTRATION,
    "NotePasswordChanged": _ADMINISTRATION,
    "AddUnit": _ADMINISTRATION,
    "CloseUnit": _ADMINISTRATION,
    # personal data. Staff look at what lies in their territory; a handler whose unit is called from
    # elsewhere and a resident look at single cases anywhere. The table cannot know which those are:
    # the caller has checked that the case is in the person's scope, and the rule itself lets a
    # resident see nothing but the own report. No process of the system looks.
    "ShowPersonal": _either(
        **{role.value: _DOWN for role in Role if role not in (Role.SYSTEM, Role.IMPORTER)}
        | {"resident": _ANY, "handler": _ANY}
    ),
    "AskForget": _place(administrator=_DOWN, supervisor=_DOWN),
    "ApproveForget": _place(administrator=_OWN, supervisor=_OWN),
    "DeclineForget": _place(administrator=_DOWN, supervisor=_DOWN),
    "ForgetMissed": _place(system=_DOWN),
    # read models
    "SkipEvent": _place(administrator=_OWN, supervisor=_OWN),
    # webhooks
    "AddReceiver": _ADMINISTRATION,
    "ChangeReceiver": _ADMINISTRATION,
    "RotateReceiverSecret": _ADMINISTRATION,
    "RemoveReceiver": _ADMINISTRATION,
    "ResendDeadLetters": _ADMINISTRATION,
    # the whole office
    "DefineCategory": _OFFICE_WIDE,
    "RetireCategory": _OFFICE_WIDE,
    "SetPolicy": _OFFICE_WIDE,
    "SetReminder": _OFFICE_WIDE,
    "PublishYear": _OFFICE_WIDE,
    "DeclareDay": _OFFICE_WIDE,
    "SetWorkingHours": _OFFICE_WIDE,
}


def permitted(by: Actor, command: str, place: str, holder: str | None = None) -> bool:
    """Whether the table lets this person issue a command on a territory.

    ``holder`` is the territory responsible for the case now, where that differs from its place.
    """
    permission = PERMISSIONS.get(command)
    if permission is None:
        return False
    targets = _targets(permission.measured, place, place if holder is None else holder)
    for grant in by.grants:
        allowed = permission.roles.get(grant.role)
        if allowed and any(relation(grant.territory, target) in allowed for target in targets):
            return True
    return False


def _targets(measured: Measured, place: str, holder: str) -> tuple[str, ...]:
    if measured is Measured.PLACE or place == holder:
        return (place,)
    return (holder,) if measured is Measured.HOLDER else (place, holder)


def demand(command: Command, place: str, holder: str | None = None) -> None:
    """Refuse a command whose actor has no permission for it on this territory.

    Raises:
        Refused: ``role.not_permitted``.
    """
    name = type(command).__name__
    if not permitted(command.by, name, place, holder):
        raise Refused("role.not_permitted", command=name)


class Reading(StrEnum):
    """What may be asked of the read models."""

    CASES = "cases"
    AUDIT = "audit"
    METRICS = "metrics"
    ADMINISTRATION = "administration"


_STAFF: Final = frozenset(Role) - {Role.RESIDENT}

READERS: Final[dict[Reading, frozenset[Role]]] = {
    Reading.CASES: _STAFF,
    Reading.AUDIT: frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR}),
    Reading.METRICS: frozenset(
        {Role.COORDINATOR, Role.SUPERVISOR, Role.SHIFT_LEAD, Role.ADMINISTRATOR}
    ),
    Reading.ADMINISTRATION: _STAFF,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What one person may read: all within these territories, and what is the person's own.

    A case counts as within when its place or its holder lies in one of the territories, and as own
    when the person reported, handles or is to handle it, or the person's unit does or was called.
    """

    territories: tuple[str, ...]
    person: str
    unit: str | None = None


def scope(by: Actor, reading: Reading) -> Scope:
    """The scope of a query; without any role for it, only what is the person's own."""
    readers = READERS[reading]
    paths = sorted({grant.territory for grant in by.grants if grant.role in readers})
    outermost = [p for p in paths if not any(p != q and p.startswith(q) for q in paths)]
    return Scope(tuple(outermost), by.id, by.unit)
