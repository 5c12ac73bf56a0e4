"""What has happened to a case.

Every event says when, where, at which tier and in which episode, so that no reader has to look
anything up. ``territory`` is the path of the place the case was filed in; ``holder`` the territory
responsible, which is the one of the case's tier that the place lies in.

Stored for ever: a shape is never edited, only followed by another name.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from domain.case.commands import EscalationReason, Outcome, Reporter, Source, Spot
from domain.catalogue import Size, Terms
from domain.personal import FreeText
from domain.places import Tier
from domain.sla import Limit
from domain.territory import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseEvent:
    at: datetime
    territory: str
    tier: Tier
    episode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReported(_CaseEvent):
    case: str
    place: Place
    source: Source
    intake: Tier
    description: FreeText
    spot: Spot
    reporter: Reporter | None
    occurred: datetime
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVerified(_CaseEvent):
    note: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRejected(_CaseEvent):
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFiled(_CaseEvent):
    """``due`` None: the category has no deadline. ``dated``: an old system gave it."""

    terms: Terms
    source: Source
    intake: Tier
    holder: str
    due: datetime | None
    provisional: bool
    dated: bool
    contact_due: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReclassified(_CaseEvent):
    terms: Terms
    was: str
    reason: FreeText
    due: datetime | None
    provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidAsked(_CaseEvent):
    by: str
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVoided(_CaseEvent):
    asked_by: str
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDispatched(_CaseEvent):
    holder: str
    unit: str | None
    worker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTransferred(_CaseEvent):
    holder: str
    unit: str | None
    worker: str | None
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAccepted(_CaseEvent):
    """``first_contact`` is true for the acceptance that stops the contact clock of the episode."""

    handler: str
    first_contact: bool
    contact_due: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEscalated(_CaseEvent):
    """``tier`` is the tier it went up to."""

    from_tier: Tier
    from_holder: str
    holder: str
    reason: EscalationReason
    note: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReturned(_CaseEvent):
    """``tier`` is the tier it went down to; ``returns`` counts the case's returns with this one."""

    from_tier: Tier
    from_holder: str
    holder: str
    directive: FreeText
    returns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWhistled(_CaseEvent):
    units: tuple[str, ...]
    purpose: FreeText
    reply_by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReportedIn(_CaseEvent):
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAbsent(_CaseEvent):
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPlanned:
    case: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSplit(_CaseEvent):
    children: tuple[ChildPlanned, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMerged(_CaseEvent):
    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAbsorbed(_CaseEvent):
    duplicate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded(_CaseEvent):
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReopened(_CaseEvent):
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkAsked(_CaseEvent):
    by: str
    until: datetime
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseParked(_CaseEvent):
    asked_by: str
    until: datetime
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResumed(_CaseEvent):
    """The pause counts from ``parked`` to ``counted_to``, the earlier of now and the dated end."""

    parked: datetime
    counted_to: datetime
    due: datetime | None
    provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionAsked(_CaseEvent):
    by: str
    more: Limit
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineExtended(_CaseEvent):
    asked_by: str
    more: Limit
    due: datetime
    provisional: bool
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDeclined(_CaseEvent):
    asked_by: str
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReminded(_CaseEvent):
    """The due is near. Who is meant: ``handler``, else ``worker`` or ``unit``, else ``holder``."""

    due: datetime
    holder: str
    unit: str | None
    worker: str | None
    handler: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineBreached(_CaseEvent):
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRecomputed(_CaseEvent):
    due: datetime
    provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDueReckoned(_CaseEvent):
    """The limit of the first contact is another one, or is provisional. None: there is no limit."""

    contact_due: datetime | None
    provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResolved(_CaseEvent):
    handler: str
    evidence: tuple[FreeText, ...]
    note: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPassed(_CaseEvent):
    note: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFailed(_CaseEvent):
    handler: str
    note: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseClosed(_CaseEvent):
    """All that the metrics group by. ``on_time`` is None where there was no deadline."""

    outcome: Outcome
    refused_by: FreeText | None
    category: str
    filed_size: Size
    intake: Tier
    highest: Tier
    mandated_up: bool
    due: datetime | None
    on_time: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMade(_CaseEvent):
    attempt: int
    reached: bool
    solved: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEvaluated(_CaseEvent):
    solved: bool
    satisfied: bool
    comment: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReopened(_CaseEvent):
    """``episode`` is the new one."""

    reason: FreeText
    holder: str
    closed_at: datetime
    due: datetime | None
    provisional: bool
    contact_due: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopeningEnded(_CaseEvent):
    """Nobody can have the case reopened any more."""

    closed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAdded(_CaseEvent):
    text: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAttached(_CaseEvent):
    attachment: str
    name: FreeText
    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleWaived(_CaseEvent):
    """The step that follows is imported history and did not keep this rule of ours."""

    rule: str
    system: str
    reference: str


Event: TypeAlias = (
    CaseReported
    | CaseVerified
    | CaseRejected
    | CaseFiled
    | CaseReclassified
    | VoidAsked
    | CaseVoided
    | CaseDispatched
    | CaseTransferred
    | CaseAccepted
    | CaseEscalated
    | CaseReturned
    | CaseWhistled
    | UnitReportedIn
    | UnitAbsent
    | CaseSplit
    | CaseMerged
    | CaseAbsorbed
    | ChildEnded
    | ChildReopened
    | ParkAsked
    | CaseParked
    | CaseResumed
    | ExtensionAsked
    | DeadlineExtended
    | RequestDeclined
    | DueReminded
    | DeadlineBreached
    | DueRecomputed
    | ContactDueReckoned
    | CaseResolved
    | CheckPassed
    | CheckFailed
    | CaseClosed
    | CallbackMade
    | CaseEvaluated
    | CaseReopened
    | ReopeningEnded
    | NoteAdded
    | FileAttached
    | RuleWaived
)
