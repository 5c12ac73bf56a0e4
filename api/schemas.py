"""What requests and answers look like. Nothing is let in that is not described here.

Texts are bounded and hold no control characters; instants carry their offset; unknown fields are
refused, so that a misspelt one is not lost in silence.
"""

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from domain import sla
from domain.calendar import FIRST_YEAR, LAST_YEAR, OFFICE_TIME, Period
from domain.case import commands as c
from domain.catalogue import LONGEST_AHEAD, Policy, Size
from domain.deadlines import Automatic
from domain.places import Tier
from domain.privacy import ForgetReason, PersonalField, Purpose
from domain.roles import Grant, Role
from domain.territory import Boundary, Part
from domain.webhooks import LONGEST_URL
from projections.gateway import Order
from projections.past import AsOf, Moment

LONGEST_TEXT: Final = 4_000
"""Characters in any text somebody types: two pages."""

LARGEST: Final = 10_000_000
"""No count (households, residents) is larger: a whole city's."""

# --- words and numbers ------------------------------------------------------------------------


def _clean(text: str) -> str:
    """Line breaks and tabs are text; other control characters never are."""
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r" for char in text):
        raise PydanticCustomError("bad_characters", "no control characters or lone surrogates")
    return text


def _one_line(text: str) -> str:
    if any(char in "\t\n\r\u2028\u2029" for char in text):
        raise PydanticCustomError("bad_characters", "no line breaks or tabs")
    return text


_TEXT_PATTERN: Final = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
_LINE_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"


def _text(longest: int, shortest: int, pattern: str) -> Any:
    return Field(min_length=shortest, max_length=longest, json_schema_extra={"pattern": pattern})


Text = Annotated[str, _text(LONGEST_TEXT, 0, _TEXT_PATTERN), AfterValidator(_clean)]
"""Words of any length up to two pages; may be empty."""

Words = Annotated[str, _text(LONGEST_TEXT, 1, _TEXT_PATTERN), AfterValidator(_clean)]
"""Words that must be there."""

Line = Annotated[
    str, _text(200, 0, _LINE_PATTERN), AfterValidator(_clean), AfterValidator(_one_line)
]
"""One line, such as an address; may be empty."""

Name = Annotated[
    str, _text(100, 1, _LINE_PATTERN), AfterValidator(_clean), AfterValidator(_one_line)
]
"""What something or somebody is called."""

CaseId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$", max_length=100),
    Field(examples=["20261122-7K2QX9MA"]),
]
PersonId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._:-]{1,64}$", max_length=64)]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", max_length=64)]
Path = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9][a-z0-9_-]{0,63}/){1,4}$", max_length=260),
    Field(examples=["d1/s1/c1/g1/"], description="Ids from the district down, each with a slash."),
]
Scope = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9][a-z0-9_-]{0,63}/){0,4}$", max_length=260),
    Field(examples=["d1/s1/"], description="Path of a territory; empty for everywhere."),
]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]+$", max_length=400)]
EventName = Annotated[str, StringConstraints(pattern=r"^[a-z_.]{1,60}$", max_length=60)]
Position = Annotated[
    int,
    Field(ge=0, le=2**53, description="Position of the log that the answer must know at least."),
]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
Count = Annotated[StrictInt, Field(ge=0, le=LARGEST)]
Degrees180 = Annotated[StrictFloat, Field(ge=-180, le=180, allow_inf_nan=False)]
Degrees90 = Annotated[StrictFloat, Field(ge=-90, le=90, allow_inf_nan=False)]
Password = Annotated[
    str,
    Field(min_length=8, max_length=200, json_schema_extra={"format": "password"}),
    AfterValidator(_clean),
]

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def _instant_text(value: Any) -> Any:
    # pydantic would also take numbers and times without offset, and guess what they mean.
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise PydanticCustomError(
            "instant", "an instant with its offset: 2026-11-22T09:00:00+08:00"
        )
    return value


def _instant(value: datetime) -> datetime:
    if not FIRST_YEAR < value.year < LAST_YEAR:
        raise PydanticCustomError("instant_range", "a year from 1950 to 2998")
    return value.astimezone(UTC)


def _day_text(value: Any) -> Any:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise PydanticCustomError("day", "a day: 2026-11-22")
    return value


def _day(value: date) -> date:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise PydanticCustomError("day_range", "a year from 1949 to 2999")
    return value


def _demand_sensible(limit: sla.Limit) -> None:
    if not limit.is_sensible:
        raise PydanticCustomError("limit", "the same day comes once: its amount is 1")


Instant = Annotated[
    datetime,
    AfterValidator(_instant),
    BeforeValidator(_instant_text),
    Field(examples=["2026-11-22T09:00:00+08:00"]),
]
"""An instant with its offset, RFC 3339."""

When = Annotated[datetime, AfterValidator(lambda at: at.astimezone(OFFICE_TIME))]
"""An instant in an answer: in the office's own time, with its offset."""

Day = Annotated[
    date, AfterValidator(_day), BeforeValidator(_day_text), Field(examples=["2026-11-22"])
]

TierName = Literal["grid", "community", "subdistrict", "district"]


def tier_name(tier: Any) -> Any:
    """The name of a tier of the read models (1 to 4); a name stays what it is."""
    return Tier(tier).word if isinstance(tier, int) else tier


TierAnswer = Annotated[TierName, BeforeValidator(tier_name)]
"""A tier of the read models (1 to 4) by its name."""


def tier(name: TierName) -> Tier:
    """The tier of a name."""
    return Tier[name.upper()]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """An answer's body, out of a dataclass of the domain or of a read model."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Nothing(Body):
    """An empty object, which may be left out."""


# --- signing in -------------------------------------------------------------------------------


class SignIn(Body):
    """User name and password of a local account."""

    username: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_clean)] = Field(
        examples=["li"]
    )
    password: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_clean)]


class TokenAnswer(BaseModel):
    """A bearer token. ``expires_in`` is in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int


# --- answers to commands ----------------------------------------------------------------------


class Done(BaseModel):
    """What a command led to. Without events nothing needed to change, and `position` is 0."""

    version: int = Field(description="Version of what was changed, also in `ETag`.")
    position: int = Field(description="Position in the log: give it to a query to read your write.")
    events: list[str] = Field(description="What happened.", examples=[["case.escalated"]])


class CaseDone(Done):
    """What a command to a case led to."""

    case: str = Field(examples=["20261122-7K2QX9MA"])
    state: str = Field(description="The case's state.", examples=["assigned"])
    created: list[str] = Field(
        default=[], description="Ids that were made: of split-off cases, of an attachment."
    )


# --- cases: requests --------------------------------------------------------------------------


class ReporterIn(Body):
    """Who made the matter known, if that is not who reports it."""

    person: PersonId | None = Field(
        default=None, description="Id of the person, where one is known.", examples=["p-7k2qx9ma"]
    )
    name: Line = Field(default="", examples=["王女士"])
    phone: Line = Field(default="", examples=["13800000000"])
    address: Line = Field(default="", examples=["和平路 12 号 3 单元 502"])


class SpotIn(Body):
    """Where exactly; WGS-84 degrees."""

    address: Line = Field(default="", examples=["和平路 12 号楼下"])
    longitude: Degrees180 | None = Field(default=None, examples=[121.4737])
    latitude: Degrees90 | None = Field(default=None, examples=[31.2304])


class Report(Body):
    """上报 · What has been seen, and where. With a category it is filed in one go."""

    territory: Path
    description: Words = Field(examples=["楼下垃圾桶满溢，污水流到路面。"])
    source: c.Source | None = Field(
        default=None, description="来源; left out: what the reporter's role says."
    )
    spot: SpotIn = Field(default=SpotIn())
    reporter: ReporterIn | None = None
    occurred: Instant | None = Field(default=None, description="When it was seen, if earlier.")
    category: Id | None = Field(
        default=None,
        description="File it in this category at once (立案).",
        examples=["exposed_garbage"],
    )


class Noted(Body):
    """Words, if there are any."""

    note: Text = Field(default="", examples=["现场情况属实。"])


class Reasoned(Body):
    """Why."""

    reason: Words = Field(examples=["与另一事项重复。"])


class FileIn(Body):
    """立案."""

    category: Id = Field(examples=["exposed_garbage"])
    tier: TierName | None = Field(
        default=None, description="Where handling begins, if not where the category says."
    )


class Reclassify(Body):
    """改类."""

    category: Id = Field(examples=["dirty_road"])
    reason: Words = Field(examples=["现场核实为道路不洁。"])


class Assign(Body):
    """派遣: to a unit, a worker, or neither: the territory that holds the case."""

    unit: Id | None = Field(default=None, examples=["cleaning"])
    worker: PersonId | None = None


class Transfer(Assign):
    """转派."""

    reason: Words = Field(examples=["由物业处置更快。"])


class Escalate(Body):
    """上报上级."""

    reason: c.EscalationReason
    note: Text = Field(default="", examples=["需要街道协调车辆。"])


class SendBack(Body):
    """下派."""

    directive: Words = Field(examples=["请网格先行清理，街道派车配合。"])


class Whistle(Body):
    """吹哨."""

    units: list[Id] = Field(min_length=1, max_length=50, examples=[["cleaning", "property"]])
    purpose: Words = Field(examples=["联合清理后巷。"])
    reply_by: Instant


class ForUnit(Body):
    """A unit that was called."""

    unit: Id = Field(examples=["cleaning"])


class ChildIn(Body):
    """One part of a split case. The parent waits for a required one."""

    description: Words = Field(examples=["清运建筑垃圾。"])
    required: StrictBool = True


class Split(Body):
    """拆分."""

    children: list[ChildIn] = Field(min_length=2, max_length=50)


class Merge(Body):
    """并案: into the case that survives."""

    into: CaseId


class AskPark(Body):
    """申请挂账."""

    until: Instant
    reason: Words = Field(examples=["等待配件到货。"])


class LimitIn(Body):
    """How long: working hours, working days, hours, days, or to the close of the working day."""

    amount: Annotated[StrictInt, Field(ge=1, le=sla.LONGEST)] = Field(examples=[2])
    unit: sla.Unit = Field(examples=["wd"])

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        _demand_sensible(self.limit())
        return self

    def limit(self) -> sla.Limit:
        """As the domain has it."""
        return sla.Limit(self.amount, self.unit)


class AskExtension(Body):
    """申请延时."""

    more: LimitIn
    reason: Words = Field(examples=["连日大雨。"])


class Resolve(Body):
    """处置反馈."""

    evidence: list[Line] = Field(min_length=1, max_length=50, examples=[["清理后照片已上传"]])
    note: Text = ""


class Check(Body):
    """核查: passed, or back to the handler with what is missing."""

    passed: StrictBool
    note: Text = Field(default="", examples=["现场已清理干净。"])


class Close(Body):
    """结案."""

    outcome: c.Outcome
    refused_by: Line | None = Field(
        default=None, description="Who said that the matter is not ours."
    )


class Callback(Body):
    """回访."""

    reached: StrictBool
    solved: StrictBool | None = None


class Evaluate(Body):
    """评价."""

    solved: StrictBool
    satisfied: StrictBool
    comment: Text = ""


class NoteIn(Body):
    """备注."""

    text: Words = Field(examples=["已电话告知居民。"])


# --- cases: queries ---------------------------------------------------------------------------

State = Literal[
    "reported",
    "rejected",
    "filed",
    "assigned",
    "in_progress",
    "parked",
    "resolved",
    "checked",
    "closed",
    "evaluated",
    "merged",
    "void",
]

SentBack = Literal["returned", "failed", "reopened"]


class Query(BaseModel):
    """A query string; one that is misspelt is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_AS_OF: Final = (
    r"^(\d{1,15}|(\d{1,15}@)?\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d))$"
)
_instants: Final = TypeAdapter(Instant)


def read_as_of(text: str) -> AsOf:
    """A position, a time, or both as answers give them: ``24491@2026-11-23T09:00:00+08:00``."""
    position, at, time = text.rpartition("@")
    try:
        if not re.match(_AS_OF, text, re.ASCII):
            raise ValueError
        if text.isdecimal():
            return int(text)
        instant = _instants.validate_python(time)
    except ValueError:  # pydantic's own is one
        raise PydanticCustomError("as_of", "a position of the log, or a time") from None
    return Moment(instant, int(position)) if at else instant


Past = Annotated[
    AsOf,
    PlainValidator(read_as_of, json_schema_input_type=str),
    WithJsonSchema({"type": "string", "pattern": _AS_OF, "maxLength": 60}),
    Field(
        description="Answer what would have been answered then: a position of the log, a time, or "
        "`as_of` of an earlier answer, which gives that answer again.",
        examples=["24491", "2026-11-01T00:00:00+08:00"],
    ),
]


class Known(Query):
    """The query string of what is read from a read model."""

    position: Position = 0


class CardQuery(Known):
    """A case as it stands, or once stood."""

    version: Version | None = Field(default=None, description="As it was at this version.")
    at: Instant | None = Field(default=None, description="As it was at this time.")
    as_of: Past | None = None


class TimelineQuery(Known):
    """The steps of a case, or those that were known."""

    as_of: Past | None = None


class Paged(Known):
    """The query string of a list."""

    after: Cursor | None = Field(default=None, description="`next` of the page before.")


class CaseQuery(Paged):
    """Which cases, in which order."""

    text: (
        Annotated[
            str, _text(100, 2, _LINE_PATTERN), AfterValidator(_clean), AfterValidator(_one_line)
        ]
        | None
    ) = Field(
        default=None,
        description="搜索: every word, of two characters or more, stands in the case.",
        examples=["垃圾"],
    )
    phone: Annotated[Line, Field(min_length=5, max_length=40)] | None = Field(
        default=None,
        description="上报人电话: the whole number, however it is written.",
        examples=["13800000000"],
    )
    territory: Scope | None = None
    tier: TierName | None = None
    state: list[State] = Field(default=[], max_length=12)
    open: bool | None = Field(
        default=None,
        description="在办 true, 已办 false. Left out, the cases still in hand are listed, unless "
        "the query searches, or names states or a parent.",
    )
    person: PersonId | None = Field(default=None, description="Who handles the case, or is to.")
    unit: Id | None = Field(default=None, description="责任单位: the unit it was dispatched to.")
    called: Id | None = Field(default=None, description="被吹哨单位: a unit that was called.")
    asked: Literal["void", "park", "extension"] | None = Field(
        default=None, description="待批: what waits for a second person."
    )
    category: Id | None = None
    size: Size | None = None
    due_before: Instant | None = None
    sent_back: SentBack | Literal["any"] | None = Field(
        default=None,
        description="退回: at hand once more as a tier above returned it, its check failed, or it "
        "was reopened; `any` of these.",
    )
    todo: bool = Field(
        default=False,
        description="待我处理: only what the caller's roles let the caller do next.",
    )
    parent: CaseId | None = Field(default=None, description="The parts of this split case.")
    as_of: Past | None = Field(
        default=None,
        description="Answer what would have been answered then: a position of the log, a time, or "
        "`as_of` of an earlier answer; the pages that follow are asked with `as_of` of the first. "
        "What is personal is as of today, also what `text` and `phone` find; a case that one may "
        "not see today is left out.",
        examples=["24491", "2026-11-01T00:00:00+08:00"],
    )
    order: Order = "due"
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class CaseCard(Answer):
    """A case. `due` is the adjusted one of the present episode, `provisional` while it may yet
    move; `asked` names the request that waits for a second person. Description, address and what is
    known of the reporter are masks (脱敏), or 已删除 once forgotten."""

    case: str = Field(examples=["20261122-7K2QX9MA"])
    version: int
    state: State
    territory: str = Field(examples=["d1/s1/c1/g1/"])
    place_version: int = Field(description="The version of the territory it was filed in.")
    place_name: str = Field(examples=["第一网格"])
    tier: TierAnswer
    highest: TierAnswer
    holder: str = Field(description="The territory that is responsible now.")
    unit: str | None
    worker: str | None
    handler: str | None
    reporter: str | None
    source: c.Source
    intake: TierAnswer
    category: str | None
    category_zh: str | None
    category_en: str | None
    size: Size | None
    description: str = Field(examples=["楼下垃圾桶…"])
    address: str = Field(examples=["和平路****"])
    reporter_name: str = Field(examples=["王**"])
    reporter_phone: str = Field(examples=["138****0000"])
    reporter_address: str = Field(examples=["和平路****"])
    longitude: float | None
    latitude: float | None
    occurred_at: When
    reported_at: When
    filed_at: When | None
    due: When | None
    provisional: bool
    limit_amount: int | None = Field(description="The limit that was frozen at filing.")
    limit_unit: sla.Unit | None
    contact_due: When | None
    contacted_at: When | None
    parked_until: When | None
    breached: bool
    episode: int
    returns: int
    sent_back: SentBack | None = Field(description="退回: why it is at hand once more.")
    asked: Literal["void", "park", "extension"] | None
    asked_by: str | None
    called: list[str]
    parent: str | None
    survivor: str | None
    outcome: c.Outcome | None
    closed_at: When | None
    called_back: bool = Field(description="The resident was reached since it was closed.")
    updated_at: When
    updated_by: str


class CasePage(BaseModel):
    """A page of cases. `next` is the cursor of the following page, null on the last."""

    rows: list[CaseCard]
    next: str | None
    as_of: str | None = Field(
        default=None,
        description="The position and the time of the past that was asked for.",
        examples=["24491@2026-11-01T00:00:00+08:00"],
    )


class CaseCounts(BaseModel):
    """How many cases are in each view of the worklist; 1,001 says more than 1,000."""

    todo: int = Field(description="待我处理: what the caller can do next.")
    due_soon: int = Field(description="即将超期: due within 8 hours of working time, or overdue.")
    to_check: int = Field(description="待核查.")
    sent_back: int = Field(description="退回: at hand once more.")
    open: int = Field(description="全部在办.")
    ended: int = Field(description="已办.")


class Related(BaseModel):
    """Cases that one may have to do with."""

    rows: list[CaseCard]


class StepAnswer(BaseModel):
    """One step of a case, with its details; what is personal among them reads `***`, or 已删除
    once forgotten."""

    version: int
    position: int
    at: When = Field(description="When it happened.")
    recorded_at: When = Field(description="When the log took it.")
    name: str = Field(examples=["case.escalated"])
    zh: str = Field(description="The name in Chinese.", examples=["上报上级"])
    en: str = Field(description="The name in English.", examples=["escalated"])
    actor: str
    roles: list[str]
    tier: TierAnswer
    episode: int
    details: dict[str, Any]


class Timeline(BaseModel):
    """办理过程: every step of a case, in order."""

    case: str
    steps: list[StepAnswer]


# --- personal data ----------------------------------------------------------------------------


class Show(Body):
    """查看个人信息: why, and if not as the case stands, up to which version or time of it."""

    purpose: Purpose = Field(description="查看用途 · What for.", examples=["contact"])
    reason: Line = Field(
        default="",
        description="投诉、审计须说明原因 · Where no step of the case explains it.",
        examples=["居民来电投诉"],
    )
    version: Version | None = Field(default=None, description="Steps up to this version.")
    at: Instant | None = Field(default=None, description="Steps up to this time.")


class ReporterAnswer(Answer):
    """Who made a matter known."""

    person: str = Field(examples=["p-7k2qx9ma"])
    name: str = Field(examples=["王女士"])
    phone: str = Field(examples=["13800000000"])
    address: str


class ShownStep(BaseModel):
    """One step, its personal details in clear."""

    version: int
    name: str = Field(examples=["case.note_added"])
    details: dict[str, Any]


class PersonalAnswer(BaseModel):
    """Personal data of a case in clear; 已删除 where it was forgotten. `position` is where the log
    has this look."""

    case: str
    position: int
    description: str = Field(examples=["楼下垃圾桶满溢，污水流到路面。"])
    address: str = Field(examples=["和平路 12 号楼下"])
    reporter: ReporterAnswer | None
    steps: list[ShownStep]


class AskForget(Body):
    """申请删除个人信息: of a person, and of the cases that name the person without being reported
    by the person."""

    territory: Scope = Field(description="Where the person is known; empty: everywhere.")
    reason: ForgetReason
    cases: list[CaseId] = Field(default=[], max_length=200)


class AccessQuery(Paged):
    """Which looks; `since` and `until` bound when it happened, the end not included."""

    actor: (
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9._:-]{1,80}$", max_length=80)] | None
    ) = Field(default=None, description="Who looked.")
    case: CaseId | None = None
    person: PersonId | None = Field(
        default=None, description="Whose data: who reported the case.", examples=["p-7k2qx9ma"]
    )
    purpose: Purpose | None = None
    territory: Scope | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class LookAnswer(BaseModel):
    """Somebody was shown these fields of a case. A reason that was typed is in the log alone."""

    position: int
    at: When
    actor: str
    roles: list[str]
    case: str
    territory: str
    purpose: Purpose
    fields: list[PersonalField]


class AccessPage(BaseModel):
    """A page of looks, latest first."""

    rows: list[LookAnswer]
    next: str | None


# --- territory --------------------------------------------------------------------------------

Point = tuple[Degrees180, Degrees90]
BoundaryIn = (
    Annotated[
        list[Annotated[list[Point], Field(min_length=4, max_length=2_000)]],
        Field(min_length=1, max_length=100),
    ]
    | Name
)


def boundary(given: Any) -> Boundary | None:
    """A boundary as the domain has it."""
    if given is None or isinstance(given, str):
        return given
    return tuple(tuple((lon, lat) for lon, lat in ring) for ring in given)


class CreateTerritory(Body):
    """设立. The parent of a district is empty; only a grid has a boundary."""

    id: Id = Field(examples=["g4"])
    tier: TierName = Field(examples=["grid"])
    parent: Scope = Field(examples=["d1/s1/c1/"])
    name: Name = Field(examples=["第四网格"])
    effective: Day
    boundary: BoundaryIn | None = None


class RenameTerritory(Body):
    """更名."""

    path: Path
    name: Name = Field(examples=["和平第一网格"])
    effective: Day


class RedrawGrid(Body):
    """调整边界; null: it is not known."""

    path: Path
    boundary: BoundaryIn | None
    effective: Day


class PartIn(Body):
    """One of the grids that a split makes."""

    id: Id
    name: Name
    boundary: BoundaryIn | None = None
    households: Count
    residents: Count

    def part(self) -> Part:
        """As the domain has it."""
        return Part(
            id=self.id,
            name=self.name,
            boundary=boundary(self.boundary),
            households=self.households,
            residents=self.residents,
        )


class SplitGrid(Body):
    """网格拆分."""

    path: Path
    into: list[PartIn] = Field(min_length=2, max_length=50)
    effective: Day


class MergeGrids(Body):
    """网格合并."""

    paths: list[Path] = Field(min_length=2, max_length=50)
    id: Id
    name: Name
    boundary: BoundaryIn | None = None
    effective: Day


class GridWorker(Body):
    """A grid and somebody who works in it."""

    path: Path
    worker: PersonId = Field(examples=["li"])


class RecordHouseholds(Body):
    """入户登记."""

    path: Path
    households: Count
    residents: Count
    as_of: Day


class TreeQuery(Query):
    """Which part of the tree, on which day."""

    path: Scope = ""
    on: Day | None = Field(default=None, description="On this day; left out: today.")
    ever: bool = Field(default=False, description="Also what is not in force on that day.")
    levels: int = Field(default=4, ge=0, le=4, description="How many tiers below.")


class PointQuery(Query):
    """A point; WGS-84 degrees. What a map gives in GCJ-02 is converted before it is sent."""

    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False, examples=[121.4737])
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False, examples=[31.2304])


class PathQuery(Query):
    """Which territory."""

    path: Path


class TerritoryNode(BaseModel):
    """A territory as on a day; `name` and `version` are null where it is not in force then,
    `workers`, `households` and `residents` where it lies outside one's own scope."""

    path: str
    tier: TierName
    name: str | None
    version: int | None
    workers: list[str] | None
    households: int | None
    residents: int | None
    successors: list[str]


class TerritoryTree(BaseModel):
    """A territory with what lies in it, each before what lies in that."""

    on: date
    nodes: list[TerritoryNode]


class GridAnswer(BaseModel):
    """A grid as it is today."""

    path: str
    version: int
    names: list[str] = Field(
        description="From the district down.", examples=[["示范区", "春风街道", "第一网格"]]
    )


class GridsAt(BaseModel):
    """The grids in which a point lies: one as a rule, none where no boundary is known, several
    where boundaries overlap."""

    on: date
    grids: list[GridAnswer]


class TerritoryVersion(Answer):
    """What a territory is from `valid_from` until, without it, `valid_to`."""

    number: int
    valid_from: date
    valid_to: date | None
    name: str
    boundary: Any


class TerritoryHistory(BaseModel):
    """A territory with all its versions; `workers` is null outside one's own scope."""

    path: str
    tier: TierName
    versions: list[TerritoryVersion]
    children: list[str]
    successors: list[str]
    workers: list[str] | None


# --- catalogue and calendar -------------------------------------------------------------------


class LimitAnswer(Answer):
    """A time limit."""

    amount: int
    unit: sla.Unit


class CategoryAnswer(Answer):
    """One kind of matter with its rules."""

    code: str
    name_zh: str
    name_en: str
    size: Size
    limit: LimitAnswer | None
    contact: LimitAnswer | None
    urgent: bool
    mandated_up: bool
    start_tier: TierAnswer
    version: int
    active: bool


class PolicyAnswer(Answer):
    """Limits of the whole office, for cases filed from now on."""

    returns_per_case: int
    transfers_per_episode: int
    park_cap_days: int
    extensions: int
    reopen_window_days: int
    callback_window_days: int
    callback_attempts: int


class CatalogueAnswer(BaseModel):
    """事项清单."""

    categories: list[CategoryAnswer]
    policy: PolicyAnswer
    reminder_hours: int = Field(description="Hours ahead of its due a case is reminded of; 0: no.")


class DefineCategory(Body):
    """Add a category, change its rules, or bring a retired one back."""

    code: Id = Field(examples=["exposed_garbage"])
    name_zh: Name = Field(examples=["暴露垃圾"])
    name_en: Name = Field(examples=["Exposed garbage"])
    size: Size
    limit: LimitIn | None = Field(description="null: no deadline.")
    contact: LimitIn | None = Field(description="Until the first contact; null: no limit.")
    urgent: StrictBool = False
    mandated_up: StrictBool = False
    start_tier: TierName | None = None


class CategoryCode(Body):
    """Which category."""

    code: Id


_Few = Annotated[StrictInt, Field(ge=0, le=10_000)]


class PolicyIn(Body):
    """Limits of the whole office, all at once."""

    returns_per_case: _Few = Field(examples=[2])
    transfers_per_episode: _Few = Field(examples=[5])
    park_cap_days: _Few = Field(examples=[90])
    extensions: _Few = Field(examples=[2])
    reopen_window_days: _Few = Field(examples=[30])
    callback_window_days: _Few = Field(examples=[30])
    callback_attempts: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(examples=[3])

    def policy(self) -> Policy:
        """As the domain has it."""
        return Policy(**self.model_dump())


class ReminderIn(Body):
    """How long ahead of its due a case is reminded of."""

    hours: Annotated[StrictInt, Field(ge=0, le=LONGEST_AHEAD)] = Field(
        description="0: never.", examples=[24]
    )


_Year = Annotated[int, Field(ge=FIRST_YEAR, le=LAST_YEAR)]


class PublishYear(Body):
    """The schedule of a year, as the State Council publishes it."""

    year: Annotated[StrictInt, Field(ge=FIRST_YEAR, le=LAST_YEAR)] = Field(examples=[2027])
    holidays: list[Day] = Field(max_length=366)
    makeup_days: list[Day] = Field(max_length=366)


class DeclareDay(Body):
    """One day works, or does not, by the office's own decision."""

    day: Day
    working: StrictBool
    reason: Words = Field(examples=["台风停工。"])


_TIME = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]


class PeriodIn(Body):
    """Working time within a day, hours and minutes."""

    start: _TIME = Field(examples=["08:30"])
    end: _TIME = Field(examples=["12:00"])

    def period(self) -> Period:
        """As the domain has it."""
        return Period(_minutes(self.start), _minutes(self.end))


class WorkingHours(Body):
    """The hours of every working day."""

    periods: list[PeriodIn] = Field(min_length=1, max_length=24)


class PeriodAnswer(BaseModel):
    """Working time within a day."""

    start: str
    end: str


class YearAnswer(BaseModel):
    """What is published for a year."""

    year: int
    holidays: list[date]
    makeup_days: list[date]


class DayAnswer(BaseModel):
    """A day that the office decided itself."""

    day: date
    working: bool


class CalendarAnswer(BaseModel):
    """工作日历."""

    hours: list[PeriodAnswer]
    years: list[YearAnswer]
    declared: list[DayAnswer]


class ReckonQuery(Query):
    """When a limit that begins at an instant ends."""

    start: Instant
    amount: Annotated[int, Field(ge=1, le=sla.LONGEST)] = Field(examples=[2])
    unit: sla.Unit = Field(examples=["wd"])

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        _demand_sensible(self.limit())
        return self

    def limit(self) -> sla.Limit:
        """As the domain has it."""
        return sla.Limit(self.amount, self.unit)


class ReckonAnswer(Answer):
    """An instant; `provisional` (暂定) if a year it needs is not published yet."""

    at: When
    provisional: bool


# --- staff ------------------------------------------------------------------------------------


class GrantIn(Body):
    """One role in one territory."""

    role: Role
    territory: Scope

    def grant(self) -> Grant:
        """As the domain has it."""
        return Grant(self.role, self.territory)


class AddUser(Body):
    """新增人员."""

    id: PersonId = Field(examples=["li"])
    name: Name = Field(examples=["李敏"])
    grants: list[GrantIn] = Field(default=[], max_length=50)
    unit: Id | None = None
    password: Password | None = Field(default=None, description="Without one nobody can sign in.")


class PasswordIn(Body):
    """A new password."""

    password: Password


class OwnPassword(Body):
    """The present password and the new one."""

    current: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_clean)]
    password: Password


class AddUnit(Body):
    """新增责任单位. No categories means competent for all."""

    id: Id = Field(examples=["cleaning"])
    name: Name = Field(examples=["环卫所"])
    territory: Path
    categories: list[Id] = Field(default=[], max_length=200)


class GrantAnswer(Answer):
    """One role in one territory."""

    role: Role
    territory: str


class UserAnswer(Answer):
    """One person. The name reads 已删除 once the person was forgotten."""

    id: str
    name: str
    grants: list[GrantAnswer]
    unit: str | None
    suspended: bool
    password_changed: When | None


class Users(BaseModel):
    """人员."""

    rows: list[UserAnswer]


class UnitAnswer(Answer):
    """One unit that cases can be dispatched to."""

    id: str
    name: str
    territory: str
    categories: list[str]
    closed: bool


class Units(BaseModel):
    """责任单位."""

    rows: list[UnitAnswer]


# --- what happens by itself -------------------------------------------------------------------


class PendingQuery(Paged):
    """Which of what will happen to cases by itself."""

    territory: Scope | None = None
    kind: Automatic | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class PendingAnswer(BaseModel):
    """One thing that will happen to a case by itself."""

    case: str = Field(examples=["20261122-7K2QX9MA"])
    kind: Automatic
    zh: str = Field(description="The kind in Chinese.", examples=["超期上报"])
    en: str = Field(description="The kind in English.", examples=["breach of the due"])
    at: When = Field(description="After this it is done.")
    until: When | None = Field(description="After this it is moot (a reminder, once it is due).")
    territory: str
    tier: TierAnswer
    episode: int
    due: When | None
    attempts: int = Field(description="How often it was tried in vain.")
    error: str | None = Field(description="Why it failed the last time.")
    retry_at: When | None = Field(description="When it is tried again.")


class PendingPage(BaseModel):
    """A page of what will happen by itself, the earliest first."""

    rows: list[PendingAnswer]
    next: str | None


# --- the live feed ----------------------------------------------------------------------------


class FeedQuery(Query):
    """Which events; only those of one's own territories are told."""

    territory: Scope | None = None
    case: CaseId | None = None
    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="Position to go on from, where there is no `Last-Event-ID`. Neither: from now.",
    )
    follow: bool = Field(default=True, description="false: end when all there is has been told.")


class FeedEvent(BaseModel):
    """The `data` of one message; its `id` is the position."""

    position: int
    name: str = Field(examples=["case.escalated"])
    zh: str = Field(description="What happened, in Chinese.", examples=["上报上级"])
    en: str = Field(description="What happened, in English.", examples=["escalated"])
    case: str = Field(examples=["20261122-7K2QX9MA"])
    territory: str = Field(description="Path of the place of the case.", examples=["d1/s1/c1/g1/"])
    tier: TierAnswer
    episode: int
    state: State | None = Field(description="The state it brings the case to; null: as it was.")
    state_zh: str | None
    state_en: str | None
    at: When


# --- webhooks ---------------------------------------------------------------------------------

_Url = Annotated[str, StringConstraints(pattern=r"^https?://", max_length=LONGEST_URL)]
_Kinds = Annotated[list[EventName], Field(max_length=100)]


class ReceiverIn(Body):
    """Somebody outside who is told what happens."""

    id: Id = Field(examples=["city-platform"])
    territory: Scope = Field(description="Where it is told of; empty: everywhere.")
    url: _Url = Field(examples=["https://example.com/hooks/wangge"])
    events: _Kinds = Field(
        default=[], description="Of which events of cases; none named: of all.", examples=[[]]
    )


class ReceiverChange(Body):
    """Another address, other kinds of events."""

    url: _Url = Field(examples=["https://example.com/hooks/wangge"])
    events: _Kinds = []


class Resend(Body):
    """Which dead letters are sent again."""

    positions: Annotated[list[Annotated[int, Field(ge=1, le=2**53)]], Field(max_length=1_000)] = (
        Field(default=[], description="None named: all of them.")
    )


class SecretDone(Done):
    """A command that made a secret: shown here, and never again."""

    secret: str = Field(
        description="What the receiver checks signatures by (Standard Webhooks). A request that is "
        "sent again is answered without it.",
        default="",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    )


class ReceiverAnswer(BaseModel):
    """A receiver, and how its deliveries go."""

    id: str
    territory: str
    url: str
    events: list[str]
    by: str = Field(description="Who added it.")
    since: When
    generation: int = Field(description="Of its secret.")
    position: int = Field(description="Told up to there.")
    lag: int = Field(description="Positions of the log after that.")
    delivered: int
    attempts: int = Field(description="Tries of the message that waits.")
    failing_since: When | None
    retry_at: When | None
    error: str | None = Field(description="Why the last try failed.")
    dead: int = Field(description="Messages that were given up.")


class ReceiverList(BaseModel):
    """The receivers of the territories that one administers."""

    rows: list[ReceiverAnswer]


class DeadQuery(Query):
    """A page of dead letters."""

    after: Annotated[int, Field(ge=0, le=2**53)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class DeadAnswer(Answer):
    """A message that was given up."""

    position: int = Field(description="Of the event; the message's `webhook-id` is made of it.")
    attempts: int
    error: str
    died_at: When
    again: bool = Field(description="It is about to be sent once more.")


class DeadPage(BaseModel):
    """Dead letters, in the order of the log."""

    rows: list[DeadAnswer]
    next: int | None


# --- audit ------------------------------------------------------------------------------------


class AuditQuery(Paged):
    """Which entries; `since` and `until` bound when it happened, the end not included."""

    actor: (
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9._:-]{1,80}$", max_length=80)] | None
    ) = None
    object: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,120}$", max_length=120)]
        | None
    ) = Field(default=None, examples=["case:20261122-7K2QX9MA"])
    action: Annotated[str, StringConstraints(pattern=r"^[a-z_.]{1,60}$", max_length=60)] | None = (
        Field(default=None, examples=["case.escalated"])
    )
    correlation: (
        Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$", max_length=200)] | None
    ) = Field(default=None, description="What all entries of one request have in common.")
    territory: Scope | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class AuditExport(AuditQuery):
    """Which entries, as a file."""

    format: Literal["csv", "xlsx"] = "csv"


class AuditAnswer(BaseModel):
    """Who did what to which object when."""

    position: int
    at: When
    recorded_at: When
    actor: str
    roles: list[str]
    action: str = Field(examples=["case.escalated"])
    zh: str = Field(description="The action in Chinese.", examples=["上报上级"])
    en: str = Field(description="The action in English.", examples=["escalated"])
    object: str
    version: int
    territory: str
    correlation: str
    causation: str


class AuditedEvent(AuditAnswer):
    """An entry with its event, personal fields sealed.

    `before` and `after` are the facts of the case that changed by it; of other objects there is
    only the event."""

    event: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(BaseModel):
    """A page of the audit trail, latest first."""

    rows: list[AuditAnswer]
    next: str | None


# --- read models ------------------------------------------------------------------------------


class ProjectionAnswer(BaseModel):
    """How far a read model is. `built` of `of` positions of a rebuild beside it are done."""

    name: str
    position: int
    lag: int = Field(description="Positions behind the log.")
    lag_seconds: float
    paused: bool
    error: str | None = Field(description="Why it stands still.")
    halted_at: int | None = Field(description="The position of the event it cannot fold.")
    halted_by: str | None
    stream: str | None
    built: int | None
    of: int | None


class ProjectionList(BaseModel):
    """The read models, and how far the log is."""

    position: int
    rows: list[ProjectionAnswer]


class ProjectionSwitched(BaseModel):
    """A read model was told to stand still or to go on."""

    name: str
    paused: bool


class SkipIn(Body):
    """Which event is left out of a read model, and why."""

    position: Annotated[int, Field(ge=1, le=2**53)]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        description="About the program, not about people: it stands in clear."
    )


# --- health -----------------------------------------------------------------------------------


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ProjectionHealth(BaseModel):
    """How far a read model is behind the log."""

    name: str
    position: int
    lag: int = Field(description="Positions behind the log.")
    lag_seconds: float = Field(description="Age of the oldest event that it does not know yet.")
    halted: bool = Field(description="It met an event that it cannot fold, and stands still.")
    halted_at: int | None = Field(description="The position of that event.")
    halted_by: str | None = Field(description="The name of that event.")
    paused: bool = Field(description="Somebody has told it to stand still.")
    rebuilt: float | None = Field(description="The share of a rebuild under way that is done.")


class DeadlineHealth(BaseModel):
    """Whether what happens to cases by itself happens in time."""

    late: float = Field(description="Seconds that the oldest thing that is due has waited.")
    failing: int = Field(description="How many things could not be done and are tried again.")


class RelayHealth(BaseModel):
    """How far a topic of Kafka has the log."""

    topic: str
    position: int
    lag: int = Field(description="Positions that it does not have yet.")
    lag_seconds: float = Field(description="Age of the oldest event that it does not have yet.")


class Health(BaseModel):
    """Whether requests can be served."""

    status: Literal["ok", "degraded"]
    position: int
    projections: list[ProjectionHealth]
    deadlines: DeadlineHealth
    clock_ahead: float = Field(
        description="Seconds that the server's clock is ahead of the database's; ten and it is ill."
    )
    relays: list[RelayHealth] = Field(
        description="Topics that this log is carried to; their lag does not change the status."
    )


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def clock(minutes: int) -> str:
    """Hours and minutes of a minute of the day."""
    return f"{minutes // 60:02}:{minutes % 60:02}"
