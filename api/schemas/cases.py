"""Cases as they are asked for and shown."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from api.schemas.words import (
    LINE_PATTERN,
    Answer,
    CaseId,
    Done,
    Id,
    Instant,
    Known,
    Line,
    Paged,
    Past,
    PersonId,
    Scope,
    TierAnswer,
    TierName,
    Version,
    When,
    clean,
    one_line,
    text_type,
)
from domain import sla
from domain.case import commands as c
from domain.catalogue import Size
from projections.conditions import Order


class CaseDone(Done):
    """What a command to a case led to."""

    case: str = Field(examples=["20261122-7K2QX9MA"])
    state: str = Field(description="The case's state.", examples=["assigned"])
    created: list[str] = Field(
        default=[], description="Ids that were made: of split-off cases, of an attachment."
    )


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


class CardQuery(Known):
    """A case as it stands, or once stood."""

    version: Version | None = Field(default=None, description="As it was at this version.")
    at: Instant | None = Field(default=None, description="As it was at this time.")
    as_of: Past | None = None


class TimelineQuery(Known):
    """The steps of a case, or those that were known."""

    as_of: Past | None = None


class CaseQuery(Paged):
    """Which cases, in which order."""

    text: (
        Annotated[
            str, text_type(100, 2, LINE_PATTERN), AfterValidator(clean), AfterValidator(one_line)
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
    filed_size: Size | None = Field(description="立案时大小: at first filing, as metrics count it.")
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
    awaited: list[str] = Field(description="待报到单位: called, and not answered yet.")
    parent: str | None
    survivor: str | None
    outcome: c.Outcome | None
    closed_at: When | None
    called_back: bool = Field(description="The resident was reached since it was closed.")
    callback_until: When | None = Field(
        description="回访截止: until when a callback is still owed."
    )
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
