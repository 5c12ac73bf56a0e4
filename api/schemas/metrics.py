"""What questions about metrics and their answers look like."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    TypeAdapter,
)

from api.schemas.words import Answer, Cursor, Id, Instant, Known, Past, Scope, When
from domain.case.commands import Source
from domain.catalogue import Size
from projections.counting import By
from projections.measures import Part

MetricName = Literal[
    "containment", "flow", "timeliness", "response", "evaluation", "quality", "backlog", "caseload"
]
Rates = Literal["containment", "flow", "timeliness", "response", "evaluation", "quality"]
FigureName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,60}$", max_length=60)]


class MetricQuery(Known):
    """What a metric covers; the end of the window is not included."""

    territory: Scope = Field(default="", description="Left out: all that the asker may see.")
    since: Instant | None = None
    until: Instant | None = None
    category: Id | None = None
    size: Size | None = Field(default=None, description="As at first filing.")
    source: Source | None = None
    as_of: Past | None = None


class BrokenDown(MetricQuery):
    """What a metric covers, and what it is broken down by."""

    by: By | None = Field(
        default=None,
        description="`territory`: what lies directly in the one asked for; `grid`: the grid that a "
        "case lies in, or the territory itself where it lies in none; days, weeks (by their "
        "Monday) and months are the office's, each as if it were asked alone.",
    )


class BehindQuery(MetricQuery):
    """Which cases behind a figure."""

    part: Part = Part.NUMERATOR
    reason: FigureName | None = Field(
        default=None, description="Of what is excluded: for this reason only."
    )
    after: Cursor | None = Field(default=None, description="`next` of the page before.")
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class RatioAnswer(Answer):
    """A rate and what it is made of; `value` is null where nothing was counted."""

    numerator: int
    denominator: int
    value: float | None


class FigureAnswer(BaseModel):
    """One figure: what was counted against what, what was left out and why, and the same before.

    `cases` are the paths of the lists behind it, as they stood for this answer."""

    numerator: int = Field(examples=[737])
    denominator: int = Field(examples=[972])
    value: float | None = Field(examples=[0.7582])
    excluded: dict[str, int] = Field(examples=[{"void": 1, "merged": 0, "no_deadline": 3}])
    before: RatioAnswer | None
    cases: dict[str, str]


class WindowAnswer(Answer):
    """What a metric covered."""

    territory: str
    since: When | None
    until: When | None
    category: str | None
    size: str | None
    source: str | None


class SpanAnswer(Answer):
    """A stretch of time."""

    since: When
    until: When


class GroupAnswer(Answer):
    """The figures of one territory, grid, category, size, source, day, week or month."""

    key: str = Field(examples=["qinghe/liuyin/"])
    figures: dict[str, RatioAnswer]


class MetricAnswer(BaseModel):
    """A metric: its figures, and where in the log they were taken."""

    metric: MetricName
    zh: str
    en: str
    position: int = Field(description="The log was known up to here.")
    as_of: str = Field(
        description="Asked with it, the same is answered again, whatever has happened since.",
        examples=["24491@2026-11-23T09:00:00+08:00"],
    )
    at: When = Field(description="What counted as now.")
    window: WindowAnswer
    before: SpanAnswer | None = Field(
        description="What this window is compared with: of a week, month, quarter or year of the "
        "calendar the one before, with as much of it as there is of this one; else a window as "
        "long, just before."
    )
    figures: dict[str, FigureAnswer]
    groups: list[GroupAnswer]


class AgesAnswer(Answer):
    """How old open cases are, in seconds. `buckets` counts those younger than each of `days`, and
    at least as old as the one before; the last one all that are older."""

    count: int
    p50: int | None
    p90: int | None
    oldest: int | None
    buckets: list[int]


class BacklogAnswer(MetricAnswer):
    """积案: what is open, for how long since filing, and for how long on its SLA clock."""

    days: list[int]
    calendar: AgesAnswer
    running: AgesAnswer


class GridLoadAnswer(Answer):
    """One grid in force; `load` is weighted cases a worker, null where nobody works."""

    path: str
    name: str
    cases: int
    weighted: int
    workers: int
    households: int
    residents: int
    load: float | None
    residents_each: float | None


class BalanceAnswer(Answer):
    """How unequal the grids' shares are; null where all are zero."""

    gini: float | None
    variation: float | None


class CaseloadAnswer(MetricAnswer):
    """网格工作量: how much each grid carries, and how evenly."""

    grids: list[GridLoadAnswer]
    without_cases: int
    without_workers: int
    by_cases: BalanceAnswer
    by_residents: BalanceAnswer


class CountedAnswer(Answer):
    """A case behind a figure: when it counted, and how often."""

    case: str
    at: When
    territory: str
    category: str
    size: str
    source: str
    count: int


class CountedPage(BaseModel):
    """A page of the cases behind a figure."""

    rows: list[CountedAnswer]
    next: str | None


class Reason(BaseModel):
    """Why a case is left out."""

    reason: str
    zh: str
    en: str


class Definition(BaseModel):
    """What a figure is, in both languages."""

    metric: MetricName
    figure: str
    zh: str
    en: str
    formula_zh: str
    formula_en: str
    excluded: list[Reason]


class Definitions(BaseModel):
    """指标定义."""

    rows: list[Definition]


def shown(at: datetime) -> Any:
    """An instant as answers show it."""
    return _whens.dump_python(_whens.validate_python(at), mode="json")


_whens: Final = TypeAdapter(When)
