"""Reports (日报、周报、月报): which days they are about, what these are compared with, and what
stands on them.

Nobody types a report, and none is kept (减台账): it is made of the log as of a moment, and made
again as of the same moment it is the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, assert_never

from domain.calendar import OFFICE_TIME, office_time
from domain.words import Word


class Span(NamedTuple):
    """Whole days in the office's time zone, the last one not included."""

    first: date
    end: date

    @property
    def since(self) -> datetime:
        """The instant it begins at."""
        return datetime.combine(self.first, time(), OFFICE_TIME)

    @property
    def until(self) -> datetime:
        """The instant it ends before."""
        return datetime.combine(self.end, time(), OFFICE_TIME)


class Period(StrEnum):
    """A stretch of the calendar that figures are counted by."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"

    def around(self, day: date) -> Span:
        """The period that a day lies in; weeks begin on Monday."""
        match self:
            case Period.DAILY:
                return Span(day, day + timedelta(days=1))
            case Period.WEEKLY:
                monday = day - timedelta(days=day.weekday())
                return Span(monday, monday + timedelta(days=7))
            case Period.MONTHLY:
                return _months(day.replace(day=1), 1)
            case Period.QUARTERLY:
                return _months(day.replace(month=day.month - (day.month - 1) % 3, day=1), 3)
            case Period.YEARLY:
                return _months(day.replace(month=1, day=1), 12)
            case _:
                assert_never(self)

    def before(self, day: date) -> Span:
        """The period before the one that a day lies in: today's is the last one that is over."""
        return self.around(self.around(day).first - timedelta(days=1))


def _months(first: date, count: int) -> Span:
    """So many months from a first of the month on."""
    # The 31st day after the first of a month lies in the next one, and so on for a year at least.
    return Span(first, (first + timedelta(days=31 * count)).replace(day=1))


def compared(since: datetime, until: datetime, at: datetime) -> tuple[datetime, datetime] | None:
    """What a window is compared with, at an instant; None if it has not begun by then.

    A period of the calendar is compared with the one before: once it is over with all of it, until
    then with as much as there is of this one. Any other window is compared with one as long, just
    before.
    """
    length = min(until, at) - since
    if length <= timedelta(0):
        return None
    day = office_time(since).date()
    for period in Period:
        span = period.around(day)
        if (span.since, span.until) == (since, until):
            before = period.before(day)
            as_far = before.until if until <= at else before.since + length
            return before.since, min(before.until, as_far)
    return since - length, since


PERIODS: Final = {
    Period.DAILY: Word("日报", "Daily report"),
    Period.WEEKLY: Word("周报", "Weekly report"),
    Period.MONTHLY: Word("月报", "Monthly report"),
}
"""What reports are made of, and what these are called."""


class Shape(StrEnum):
    """How the cells of a column read."""

    TEXT = "text"
    COUNT = "count"
    CHANGE = "change"  # of a count, with its sign
    RATE = "rate"  # 0 to 1, shown in per cent
    POINTS = "points"  # the change of a rate, in percentage points
    NUMBER = "number"  # whole, or to two decimals
    TIME = "time"  # in the office's time zone


Cell: TypeAlias = Word | str | int | float | datetime | None
"""None: there is nothing to say, as where nothing was counted."""


class Column(NamedTuple):
    """What stands under a heading."""

    word: Word
    shape: Shape = Shape.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a report; every row has a cell for each column."""

    word: Word
    columns: tuple[Column, ...]
    rows: Iterable[tuple[Cell, ...]]
    note: Word | None = None


class Definition(NamedTuple):
    """What a figure means, and what is left out of it."""

    word: Word
    formula: Word
    excluded: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """One list of what somebody asked for: ``about`` says what that was and as of which position.

    ``at`` is when it was asked; its one table may read its rows while they are written.
    """

    title: Word
    about: tuple[tuple[Word, str], ...]
    at: datetime
    tables: tuple[Table, ...]
    definitions: tuple[Definition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report as it stood ``at`` a time, of the log up to a position.

    ``names`` are those of the territory and of all above it, from the district down. What is
    counted lies between ``since`` and ``until``, ``earlier`` is what it is compared with.
    """

    period: Period
    territory: str
    names: tuple[str, ...]
    since: datetime
    until: datetime
    earlier: tuple[datetime, datetime]
    position: int
    at: datetime
    tables: tuple[Table, ...]
    definitions: tuple[Definition, ...]

    @property
    def moment(self) -> str:
        """What it was made as of: asked as of this again, it is the same."""
        return f"{self.position}@{office_time(self.at).isoformat()}"

    @property
    def title(self) -> Word:
        """What stands above it."""
        zh, en = PERIODS[self.period]
        return Word(f"{self.names[-1]}社区治理{zh}", f"{en} of {self.names[-1]}")
