"""Published years for tests, out of the same package that the office seeds its calendar from."""

from datetime import date, datetime
from functools import reduce

import chinese_calendar.constants as published

from domain import calendar
from domain.calendar import OFFICE_TIME, Calendar, Period, YearPublished

SUMMER = (Period(8 * 60 + 30, 12 * 60), Period(14 * 60 + 30, 18 * 60))
"""Hours of a summer: after a longer rest at noon, as long as the ordinary ones."""

SHORT = (Period(8 * 60 + 30, 12 * 60), Period(15 * 60, 17 * 60 + 30))
"""An hour less a day than the ordinary ones."""


def local(text: str) -> datetime:
    """An instant in office time: ``2026-02-14 08:30``, with seconds if need be."""
    return datetime.fromisoformat(text).replace(tzinfo=OFFICE_TIME)


def year(number: int) -> YearPublished:
    """What the State Council published for a year."""
    return YearPublished(
        at=local(f"{number - 1}-11-04 12:00"),
        year=number,
        holidays=_of(number, published.holidays),
        makeup_days=_of(number, published.workdays),
    )


def knowing(*years: int) -> Calendar:
    """A calendar that knows these years."""
    return reduce(calendar.evolve, map(year, years), calendar.initial)


def _of(number: int, days: dict[date, object]) -> tuple[date, ...]:
    return tuple(sorted(day for day in days if day.year == number))
