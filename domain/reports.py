"""Reports (日报、周报、月报): which days they are about, and what stands on them.

Nobody types a report, and none is kept (减台账): it is made of the log as of a position, and made
of the same position again it is the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, assert_never

from domain.calendar import OFFICE_TIME
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
    """How often a report is made."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def word(self) -> Word:
        """What its report is called."""
        return PERIODS[self]

    def around(self, day: date) -> Span:
        """The period that a day lies in; weeks begin on Monday."""
        match self:
            case Period.DAILY:
                return Span(day, day + timedelta(days=1))
            case Period.WEEKLY:
                monday = day - timedelta(days=day.weekday())
                return Span(monday, monday + timedelta(days=7))
            case Period.MONTHLY:
                first = day.replace(day=1)
                return Span(first, (first + timedelta(days=31)).replace(day=1))
            case _:
                assert_never(self)

    def before(self, day: date) -> Span:
        """The period before the one that a day lies in: today's is the last one that is over."""
        return self.around(self.around(day).first - timedelta(days=1))


PERIODS: Final = {
    Period.DAILY: Word("日报", "Daily report"),
    Period.WEEKLY: Word("周报", "Weekly report"),
    Period.MONTHLY: Word("月报", "Monthly report"),
}


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
    """A report as it stood at a position of the log, which the log took ``at``.

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
    def title(self) -> Word:
        """What stands above it."""
        zh, en = self.period.word
        return Word(f"{self.names[-1]}社区治理{zh}", f"{en} of {self.names[-1]}")
