"""Time limits (时限): when a case is due, with its pauses and extensions.

A due is always reckoned anew from the start, out of the limit, all pauses and all extensions.
Nothing is added to an earlier due, so nothing can be forgotten or counted twice when any of them,
or the calendar, changes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final, assert_never

from domain.calendar import Calendar, Reckoned, office_time

LONGEST: Final = 10_000
"""No limit has a larger amount, whatever its unit: 10,000 working days are some 40 years."""


class Unit(StrEnum):
    """What a limit counts: ``wh``, ``wd``, ``same_day`` working time, ``h``, ``d`` all time."""

    WORKING_HOUR = "wh"
    WORKING_DAY = "wd"  # full working days, each as long as its own hours
    HOUR = "h"
    DAY = "d"  # 24 hours
    SAME_DAY = "same_day"  # to the close of the working day; its amount is 1


@dataclass(frozen=True, slots=True)
class Limit:
    """How long something may take."""

    amount: int
    unit: Unit

    @property
    def is_sensible(self) -> bool:
        """Whether rules may take it: at least 1, at most ``LONGEST``; 1 for the same day."""
        return 1 <= self.amount <= (1 if self.unit is Unit.SAME_DAY else LONGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """The rule version a case is held to, frozen at filing.

    ``version`` is the version of the category's rules. ``limit`` None: no deadline (a project sets
    its own); ``contact`` None: no limit for the first contact. ``park_cap_days`` is how many
    calendar days all pauses of an episode may last together, ``extensions`` how often its due may
    be moved.
    """

    version: int
    limit: Limit | None
    contact: Limit | None
    park_cap_days: int
    extensions: int


@dataclass(frozen=True, slots=True)
class Pause:
    """The clock stands from ``start`` to ``end``, both aware: the planned end, later the real."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        assert self.start <= self.end, self


def reckon(
    calendar: Calendar,
    start: datetime,
    limit: Limit,
    pauses: tuple[Pause, ...] = (),
    extensions: tuple[Limit, ...] = (),
) -> Reckoned:
    """When a limit that begins at ``start`` ends: the first instant by which all its time has run.

    Pauses move it by exactly the time they take from its own clock: a night or holiday within a
    pause takes nothing from the working clock, and where pauses overlap the time is taken once. A
    pause that begins when the time is up moves nothing.

    Working days are counted in days and shares of a day: where the office changes its hours, a day
    after the change counts as much as one before it, however long each is.

    Extensions follow one after another: each begins where the time before it ended and runs on the
    clock of its own unit, through the pauses that are still to come. Two working days, then one
    day, end 24 hours after the second working day's worth of time.

    A same-day limit is the working time left until the close of the working day. A pause moves it
    by the working time lost, like any other, and so possibly into the next working day: by the
    close of whatever day the pause ends on, a minute's pause across the close would buy a whole
    day, and a pause of an hour in the morning nothing.
    """
    at, provisional = start, False
    for each in (limit, *extensions):
        reckoned = _run(calendar, at, each, pauses)
        at, provisional = reckoned.at, provisional or reckoned.provisional
    return Reckoned(at, provisional)


def elapsed(
    calendar: Calendar,
    start: datetime,
    until: datetime,
    limit: Limit | None,
    pauses: tuple[Pause, ...] = (),
) -> int:
    """Seconds that the clock of a limit has run from ``start`` to ``until``, without its pauses:
    of working time, also for working days, or of all.

    Without a limit it is the calendar clock that runs. 0 when ``until`` is not later.
    """
    works = limit is not None and _works(limit.unit)
    run, at = 0, start
    for pause in _in_order(pauses):
        run += _seconds(calendar, works, at, min(pause.start, until))
        at = max(at, pause.end)
    return run + _seconds(calendar, works, at, until)


def _run(calendar: Calendar, start: datetime, limit: Limit, pauses: tuple[Pause, ...]) -> Reckoned:
    """One limit on its own clock."""
    left, at = _amount(calendar, start, limit), start
    end = _later(calendar, limit.unit, at, left)
    for pause in _in_order(pauses):
        if end <= pause.start:
            break
        left -= _between(calendar, limit.unit, at, pause.start)
        at = max(at, pause.end)
        end = _later(calendar, limit.unit, at, left)
    return Reckoned(end, _works(limit.unit) and calendar.is_provisional(start, end))


def _amount(calendar: Calendar, start: datetime, limit: Limit) -> Fraction:
    """What a limit amounts to on its clock: working days, of all other clocks seconds."""
    match limit.unit:
        case Unit.WORKING_DAY:
            return Fraction(limit.amount)
        case Unit.WORKING_HOUR | Unit.HOUR:
            return Fraction(limit.amount * 3600)
        case Unit.DAY:
            return Fraction(limit.amount * 24 * 3600)
        case Unit.SAME_DAY:
            close = calendar.end_of_working_day(start).at
            return Fraction(calendar.working_seconds(start, close))
        case _:
            assert_never(limit.unit)


def _works(unit: Unit) -> bool:
    return unit not in (Unit.HOUR, Unit.DAY)


def _between(calendar: Calendar, unit: Unit, start: datetime, end: datetime) -> Fraction:
    """How long a clock runs from one instant to another; 0 when the other is not later."""
    if unit is Unit.WORKING_DAY:
        return calendar.days_worked(start, end)
    return Fraction(_seconds(calendar, _works(unit), start, end))


def _seconds(calendar: Calendar, works: bool, start: datetime, end: datetime) -> int:
    """Seconds from one instant to another, of working time or of all."""
    if works:
        return calendar.working_seconds(start, end)
    return max(int((office_time(end) - office_time(start)).total_seconds()), 0)


def _later(calendar: Calendar, unit: Unit, start: datetime, amount: Fraction) -> datetime:
    """The first instant by which a clock has run that long."""
    if unit is Unit.WORKING_DAY:
        return calendar.add_days_worked(start, amount).at
    if _works(unit):
        return calendar.add_working(start, int(amount)).at
    return office_time(start) + timedelta(seconds=int(amount))


def _in_order(pauses: tuple[Pause, ...]) -> list[Pause]:
    return sorted(pauses, key=lambda pause: pause.start)
