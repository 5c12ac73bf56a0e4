"""The catalogue of categories and the office's calendar."""

from datetime import date
from typing import Annotated, Self

from pydantic import BaseModel, Field, StrictBool, StrictInt, StringConstraints, model_validator

from api.schemas.case_commands import LimitIn
from api.schemas.words import (
    Answer,
    Body,
    Day,
    Id,
    Instant,
    Name,
    Query,
    TierAnswer,
    TierName,
    When,
    Words,
    demand_sensible,
)
from domain import sla
from domain.calendar import FIRST_YEAR, LAST_YEAR, Period
from domain.catalogue import LONGEST_AHEAD, Policy, Size


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
    """The hours of every working day from a day on."""

    periods: list[PeriodIn] = Field(min_length=1, max_length=24)
    since: Day | None = Field(
        default=None,
        description="自该日起施行。不填：一直如此，取代全部时段，过去的时间也按它计算。"
        "The first day with these hours. Without it: always, in place of all hours; past time is "
        "reckoned by them as well.",
        examples=["2027-05-01"],
    )


class PeriodAnswer(BaseModel):
    """Working time within a day."""

    start: str
    end: str


class EraAnswer(BaseModel):
    """The hours of working days from a day on, until the next such day; null: from the first."""

    since: date | None
    periods: list[PeriodAnswer]


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

    hours: list[PeriodAnswer] = Field(description="今天的时段。Those of today.")
    eras: list[EraAnswer] = Field(description="历次时段。All hours, in order.")
    years: list[YearAnswer]
    declared: list[DayAnswer]


class ReckonQuery(Query):
    """When a limit that begins at an instant ends."""

    start: Instant
    amount: Annotated[int, Field(ge=1, le=sla.LONGEST)] = Field(examples=[2])
    unit: sla.Unit = Field(examples=["wd"])

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        demand_sensible(self.limit())
        return self

    def limit(self) -> sla.Limit:
        """As the domain has it."""
        return sla.Limit(self.amount, self.unit)


class ReckonAnswer(Answer):
    """An instant; `provisional` (暂定) if a year it needs is not published yet."""

    at: When
    provisional: bool


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def clock(minutes: int) -> str:
    """Hours and minutes of a minute of the day."""
    return f"{minutes // 60:02}:{minutes % 60:02}"
