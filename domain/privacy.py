"""Personal data: who was shown it and why (查看留痕), and forgetting a person (删除个人信息).

Two families of streams. ``privacy:<case>`` holds every look at the personal data of a case, which
is on record before anything is opened. ``person:<person>`` holds how a person came to be forgotten:
one asks, another approves. The event names the person and the cases whose keys are destroyed then;
a second one names those that came in while it was approved.

Looking needs no state: the same look again is another look, and leaves another event.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never

from domain.errors import Refused
from domain.personal import FreeText
from domain.places import EVERYWHERE
from domain.roles import Actor, Role, demand, permitted


class Purpose(StrEnum):
    """Why somebody looks at personal data (查看用途)."""

    HANDLING = "handling"  # 办理
    CONTACT = "contact"  # 联系当事人
    CHECK = "check"  # 核查
    CALLBACK = "callback"  # 回访
    COMPLAINT = "complaint"  # 投诉处理
    AUDIT = "audit"  # 审计
    OWN = "own"  # 本人查看


EXPLAINED: Final = frozenset({Purpose.COMPLAINT, Purpose.AUDIT})
"""Purposes that no step of the case explains, so that a reason must."""


class PersonalField(StrEnum):
    """What can be shown. A closed list: the names of what was seen say nothing of the person."""

    DESCRIPTION = "description"
    ADDRESS = "address"
    REPORTER_NAME = "reporter_name"
    REPORTER_PHONE = "reporter_phone"
    REPORTER_ADDRESS = "reporter_address"
    STEPS = "steps"  # what was typed in the steps of the case
    ATTACHMENTS = "attachments"  # a file, or its thumbnail


class ForgetReason(StrEnum):
    """Why a person is forgotten (删除原因). No free text: it would name whom it is about."""

    REQUEST = "request"  # 本人要求
    RETENTION = "retention"  # 期限届满
    MISTAKE = "mistake"  # 误录


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPersonal:
    """查看个人信息. ``place`` and ``holder`` are the case's paths, ``reporter`` who reported it.

    That the case is in the scope of the one who looks is for the caller to have checked.
    """

    by: Actor
    at: datetime
    case: str
    place: str
    holder: str
    purpose: Purpose
    fields: tuple[PersonalField, ...]
    reason: FreeText = ""
    reporter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForget:
    """申请删除. ``territory`` is where the person is known; ``cases`` are others that name it."""

    by: Actor
    at: datetime
    person: str
    territory: str
    reason: ForgetReason
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveForget:
    """批准删除, by another person. ``cases`` are all that the person reported, in any territory."""

    by: Actor
    at: datetime
    person: str
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineForget:
    """不同意删除, or taken back by the one who asked."""

    by: Actor
    at: datetime
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetMissed:
    """补充删除, by the system: ``cases`` that the log had when the person was forgotten, and that
    whoever approved did not know of yet."""

    by: Actor
    at: datetime
    person: str
    cases: tuple[str, ...]


Command = ShowPersonal | AskForget | ApproveForget | DeclineForget | ForgetMissed


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalShown:
    """Somebody was shown these fields of a case. ``territory`` is the place of the case."""

    at: datetime
    territory: str
    case: str
    purpose: Purpose
    fields: tuple[PersonalField, ...]
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class _PersonEvent:
    """``territory`` is the one that was asked for."""

    at: datetime
    territory: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetAsked(_PersonEvent):
    """Somebody asks that a person be forgotten, and that the texts of these cases be too."""

    by: str
    reason: ForgetReason
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetDeclined(_PersonEvent):
    """The person is not forgotten."""

    asked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonForgotten(_PersonEvent):
    """From here on the keys of the person and of these cases, sorted, are to be destroyed."""

    asked_by: str
    reason: ForgetReason
    cases: tuple[str, ...]


Event = PersonalShown | ForgetAsked | ForgetDeclined | PersonForgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request that waits for a second person."""

    by: str
    territory: str
    reason: ForgetReason
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What a stream of either family is. ``cases`` are those forgotten, None before the first time;
    ``last`` is the event that named the latest of them.

    A person may come back after being forgotten, and be asked to be forgotten again.
    """

    asking: Asking | None = None
    cases: frozenset[str] | None = None
    last: PersonForgotten | None = None


initial: Final = Privacy()


def stream(command: Command) -> str:
    """The stream a command is for."""
    if isinstance(command, ShowPersonal):
        return f"privacy:{command.case}"
    return person_stream(command.person)


def person_stream(person: str) -> str:
    """The stream of a person; a person known to nobody has one too, without events."""
    return f"person:{person}"


def decide(privacy: Privacy, command: Command) -> list[Event]:
    """What happens next.

    Raises:
        Refused: ``role.not_permitted``, or a ``privacy.*`` code that names the rule.
    """
    match command:
        case ShowPersonal():
            demand(command, command.place, command.holder)
            return [_show(command)]
        case AskForget():
            demand(command, command.territory)
            return [_ask(privacy, command)]
        case ApproveForget():
            # What the person reported may lie anywhere, so the right must reach everywhere.
            demand(command, EVERYWHERE)
            return [_approve(privacy, command)]
        case DeclineForget():
            # While nothing is asked there is no territory to measure: only who may everywhere
            # is told that.
            demand(command, privacy.asking.territory if privacy.asking else EVERYWHERE)
            asking = _waiting(privacy)
            return [
                ForgetDeclined(
                    at=command.at,
                    territory=asking.territory,
                    person=command.person,
                    asked_by=asking.by,
                )
            ]
        case ForgetMissed():
            demand(command, EVERYWHERE)
            return _forget_missed(privacy, command)
        case _:
            assert_never(command)


def evolve(privacy: Privacy, event: Event) -> Privacy:
    """What a stream is after an event."""
    match event:
        case PersonalShown():
            return privacy
        case ForgetAsked(by=by, territory=territory, reason=reason, cases=cases):
            asking = Asking(by=by, territory=territory, reason=reason, cases=cases)
            return replace(privacy, asking=asking)
        case ForgetDeclined():
            return replace(privacy, asking=None)
        case PersonForgotten(cases=cases):
            return Privacy(cases=(privacy.cases or frozenset()) | set(cases), last=event)
        case _:
            assert_never(event)


def _show(command: ShowPersonal) -> PersonalShown:
    own = command.reporter == command.by.id
    if command.purpose is Purpose.OWN and not own:
        raise Refused("privacy.not_own")
    # The table cannot know whose report it is, so it lets residents pass everywhere; who is no more
    # than a resident there stops here, unless the report is the own one.
    if command.purpose is not Purpose.OWN and _only_resident(command):
        raise Refused("privacy.own_only")
    if command.purpose in EXPLAINED and not command.reason.strip():
        raise Refused("privacy.reason_missing")
    if not command.fields:
        raise Refused("privacy.no_fields")
    return PersonalShown(
        at=command.at,
        territory=command.place,
        case=command.case,
        purpose=command.purpose,
        fields=tuple(each for each in PersonalField if each in command.fields),
        reason=command.reason.strip(),
    )


def _only_resident(command: ShowPersonal) -> bool:
    """Whether nothing but a resident's role lets the person look."""
    others = tuple(grant for grant in command.by.grants if grant.role is not Role.RESIDENT)
    by = replace(command.by, grants=others)
    return not permitted(by, type(command).__name__, command.place, command.holder)


def _ask(privacy: Privacy, command: AskForget) -> ForgetAsked:
    if privacy.asking is not None:
        raise Refused("privacy.already_asked")
    return ForgetAsked(
        at=command.at,
        territory=command.territory,
        person=command.person,
        by=command.by.id,
        reason=command.reason,
        cases=tuple(sorted(set(command.cases))),
    )


def _approve(privacy: Privacy, command: ApproveForget) -> PersonForgotten:
    asking = _waiting(privacy)
    if asking.by == command.by.id:
        raise Refused("privacy.second_person")
    # Cases named by the one who asked count as new: something may have been typed into them since.
    if privacy.cases is not None and not asking.cases and privacy.cases >= set(command.cases):
        raise Refused("privacy.nothing_new")
    return PersonForgotten(
        at=command.at,
        territory=asking.territory,
        person=command.person,
        asked_by=asking.by,
        reason=asking.reason,
        cases=tuple(sorted({*asking.cases, *command.cases})),
    )


def _forget_missed(privacy: Privacy, command: ForgetMissed) -> list[Event]:
    last = privacy.last
    if last is None:
        raise Refused("privacy.nothing_asked")
    missed = set(command.cases) - (privacy.cases or frozenset())
    return [replace(last, at=command.at, cases=tuple(sorted(missed)))] if missed else []


def _waiting(privacy: Privacy) -> Asking:
    if privacy.asking is None:
        raise Refused("privacy.nothing_asked")
    return privacy.asking
