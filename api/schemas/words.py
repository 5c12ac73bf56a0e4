"""What requests and answers look like. Nothing is let in that is not described here.

Texts are bounded and hold no control characters; instants carry their offset; unknown fields are
refused, so that a misspelt one is not lost in silence.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictFloat,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from domain import sla
from domain.calendar import FIRST_YEAR, LAST_YEAR, OFFICE_TIME
from domain.places import Tier
from projections.past import AsOf, Moment

LONGEST_TEXT: Final = 4_000
"""Characters in any text somebody types: two pages."""

LARGEST: Final = 10_000_000
"""No count (households, residents) is larger: a whole city's."""


# By patterns: to ask of each character of a text what it is took 20 µs of every report.
_UNCLEAN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BREAKS: Final = re.compile("[\t\n\r\u2028\u2029]")


def clean(text: str) -> str:
    """Line breaks and tabs are text; other control characters never are."""
    if _UNCLEAN.search(text):
        raise PydanticCustomError("bad_characters", "no control characters or lone surrogates")
    return text


def one_line(text: str) -> str:
    if _BREAKS.search(text):
        raise PydanticCustomError("bad_characters", "no line breaks or tabs")
    return text


TEXT_PATTERN: Final = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
LINE_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"


def text_type(longest: int, shortest: int, pattern: str) -> Any:
    return Field(min_length=shortest, max_length=longest, json_schema_extra={"pattern": pattern})


Text = Annotated[str, text_type(LONGEST_TEXT, 0, TEXT_PATTERN), AfterValidator(clean)]
"""Words of any length up to two pages; may be empty."""

Words = Annotated[str, text_type(LONGEST_TEXT, 1, TEXT_PATTERN), AfterValidator(clean)]
"""Words that must be there."""

Line = Annotated[
    str, text_type(200, 0, LINE_PATTERN), AfterValidator(clean), AfterValidator(one_line)
]
"""One line, such as an address; may be empty."""

Name = Annotated[
    str, text_type(100, 1, LINE_PATTERN), AfterValidator(clean), AfterValidator(one_line)
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
    AfterValidator(clean),
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


def demand_sensible(limit: sla.Limit) -> None:
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


class Done(BaseModel):
    """What a command led to. Without events nothing needed to change, and `position` is 0."""

    version: int = Field(description="Version of what was changed, also in `ETag`.")
    position: int = Field(description="Position in the log: give it to a query to read your write.")
    events: list[str] = Field(description="What happened.", examples=[["case.escalated"]])


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


class Paged(Known):
    """The query string of a list."""

    after: Cursor | None = Field(default=None, description="`next` of the page before.")
