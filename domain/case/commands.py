"""What may be asked of a case. Every command names its case, who acts, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias, assert_never

from domain.calendar import Calendar
from domain.catalogue import Terms
from domain.personal import FreeText, Personal
from domain.places import Tier
from domain.roles import Actor
from domain.sla import Limit
from domain.staff import Unit
from domain.territory import Place


class Source(StrEnum):
    """How a matter became known (来源)."""

    RESIDENT = "resident"  # 居民上报
    GRID_WORKER = "grid_worker"  # 网格员巡查
    WINDOW = "window"  # 社区窗口
    HOTLINE = "hotline"  # 12345 热线
    DEPARTMENT = "department"  # 部门交办

    @property
    def intake(self) -> Tier:
        """The tier a matter of this source comes in at."""
        match self:
            case Source.RESIDENT | Source.GRID_WORKER:
                return Tier.GRID
            case Source.WINDOW:
                return Tier.COMMUNITY
            case Source.HOTLINE | Source.DEPARTMENT:
                return Tier.DISTRICT
            case _:
                assert_never(self)


class EscalationReason(StrEnum):
    """Why a case goes up (上报原因)."""

    BEYOND_AUTHORITY = "beyond_authority"
    RESOURCES = "resources"
    CROSS_GRID = "cross_grid"
    CROSS_DEPARTMENT = "cross_department"
    SAFETY = "safety"
    SLA_BREACH = "sla_breach"
    RESIDENT_APPEAL = "resident_appeal"
    REPEAT = "repeat"


class Outcome(StrEnum):
    """How a case ended (结案结果)."""

    RESOLVED = "resolved"
    NOT_RESOLVABLE = "not_resolvable"
    NOT_OURS = "not_ours"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who made the matter known. ``person`` is an id that says nothing of the person by itself."""

    person: str
    name: Personal = ""
    phone: Personal = ""
    address: Personal = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where exactly: words, and WGS-84 degrees where they are known."""

    address: FreeText = ""
    longitude: float | None = None
    latitude: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Evidence that a step happened in an old system: which, and where it stands there.

    A step that our guards would refuse may still be history. With this evidence it is recorded, and
    beside it a ``RuleWaived`` event names the rule it did not keep.
    """

    system: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseCommand:
    case: str
    by: Actor
    at: datetime
    imported: Imported | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCase(_CaseCommand):
    """上报. ``occurred`` is when the matter was seen, if that was earlier than ``at``.

    ``parent`` is set by a split alone; no request from outside may name one.
    """

    place: Place
    source: Source
    description: FreeText
    spot: Spot = Spot()
    reporter: Reporter | None = None
    occurred: datetime | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyCase(_CaseCommand):
    """核实: the acceptor confirms that the report is real."""

    note: FreeText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCase(_CaseCommand):
    """不予立案."""

    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCase(_CaseCommand):
    """立案. ``terms`` are the catalogue's as of now; the case keeps them for good.

    ``tier`` overrides where handling begins. ``due`` is an old system's own deadline and needs
    evidence of import.
    """

    terms: Terms
    calendar: Calendar
    tier: Tier | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclassifyCase(_CaseCommand):
    """改类: other terms from here on; what the case was filed as stays on record."""

    terms: Terms
    calendar: Calendar
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class AskVoid(_CaseCommand):
    """申请作废."""

    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveVoid(_CaseCommand):
    """批准作废, by somebody other than who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchCase(_CaseCommand):
    """派遣 to a unit, a worker, or (neither named) to the territory that holds the case."""

    unit: Unit | None = None
    worker: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferCase(_CaseCommand):
    """转派: another unit or worker of the same tier."""

    reason: FreeText
    unit: Unit | None = None
    worker: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptCase(_CaseCommand):
    """签收; while the case is in progress, a colleague takes it over (接手)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalateCase(_CaseCommand):
    """上报上级: one tier up. ``to`` is for history whose moves jumped a tier."""

    reason: EscalationReason
    note: FreeText = ""
    to: Tier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnCase(_CaseCommand):
    """下派: one tier down, with a directive. ``to`` is for history whose moves jumped a tier."""

    directive: FreeText
    to: Tier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhistleCase(_CaseCommand):
    """吹哨: call units together, to report in before ``reply_by``."""

    units: tuple[Unit, ...]
    purpose: FreeText
    reply_by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportIn(_CaseCommand):
    """报到."""

    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkAbsent(_CaseCommand):
    """未报到: a unit that was called did not come, and its time to do so is over."""

    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReport:
    """One part of a split case. The parent waits for a required child."""

    case: str
    description: FreeText
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCase(_CaseCommand):
    """拆分 into children, each a case of its own, reported in the same transaction."""

    children: tuple[ChildReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCase(_CaseCommand):
    """并案: this case is a duplicate and points at the survivor."""

    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsorbCase(_CaseCommand):
    """The survivor's side of a merge."""

    duplicate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteChildEnded(_CaseCommand):
    """The parent's side of a child's end; ``into`` is the survivor where the child was merged."""

    child: str
    into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteChildReopened(_CaseCommand):
    """The parent's side of a child's reopening."""

    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPark(_CaseCommand):
    """申请挂账 until a date."""

    until: datetime
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovePark(_CaseCommand):
    """批准挂账, by somebody other than who asked: the clock stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeCase(_CaseCommand):
    """恢复: the clock runs again and the due moves by the time it lost."""

    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class AskExtension(_CaseCommand):
    """申请延时."""

    more: Limit
    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveExtension(_CaseCommand):
    """批准延时, by somebody other than who asked."""

    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineRequest(_CaseCommand):
    """不同意 what was asked (void, park, extension)."""

    reason: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class RemindDue(_CaseCommand):
    """催办: the due is near. Once an episode, ``ahead`` of the due, as the office has set it."""

    ahead: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkBreach(_CaseCommand):
    """The due has passed: recorded once an episode, and once the case goes up by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecomputeDue(_CaseCommand):
    """The working calendar has changed: reckon the due again, pauses and extensions kept."""

    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveCase(_CaseCommand):
    """处置反馈 with evidence (ids of attachments, or words that can be checked)."""

    evidence: tuple[FreeText, ...]
    note: FreeText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCase(_CaseCommand):
    """核查: passed, or back to the handler (返工)."""

    passed: bool
    note: FreeText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase(_CaseCommand):
    """结案. ``refused_by`` names who said that a matter is not ours."""

    outcome: Outcome
    refused_by: FreeText | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCallback(_CaseCommand):
    """回访: was the resident reached, and does the resident say it is solved."""

    reached: bool
    solved: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateCase(_CaseCommand):
    """评价."""

    solved: bool
    satisfied: bool
    comment: FreeText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenCase(_CaseCommand):
    """重办: a new episode with a clock of its own."""

    reason: FreeText
    calendar: Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class EndReopening(_CaseCommand):
    """重办期满: what was closed stays closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNote(_CaseCommand):
    """备注."""

    text: FreeText


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachFile(_CaseCommand):
    """附件: the content is stored elsewhere under its SHA-256 (hex)."""

    attachment: str
    name: FreeText
    media_type: str
    sha256: str
    size: int


Command: TypeAlias = (
    ReportCase
    | VerifyCase
    | RejectCase
    | FileCase
    | ReclassifyCase
    | AskVoid
    | ApproveVoid
    | DispatchCase
    | TransferCase
    | AcceptCase
    | EscalateCase
    | ReturnCase
    | WhistleCase
    | ReportIn
    | MarkAbsent
    | SplitCase
    | MergeCase
    | AbsorbCase
    | NoteChildEnded
    | NoteChildReopened
    | AskPark
    | ApprovePark
    | ResumeCase
    | AskExtension
    | ApproveExtension
    | DeclineRequest
    | RemindDue
    | MarkBreach
    | RecomputeDue
    | ResolveCase
    | CheckCase
    | CloseCase
    | RecordCallback
    | EvaluateCase
    | ReopenCase
    | EndReopening
    | AddNote
    | AttachFile
)
