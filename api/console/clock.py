"""The bar that says how a case stands with its time limit (时限), on the limit's own clock.

Most limits run in working time, so a bar that ran through nights would frighten on a Saturday and
lull on a Monday. A limit of hours or days runs through the night, and so does its bar.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from domain.calendar import Calendar, Worked, office_time
from domain.sla import Limit, Unit

SOON: Final = 0.75
"""The share of a limit from which on a case is called nearly due."""


class Timed(Protocol):
    """What a bar is made of: a row of the read model, or the API's answer."""

    @property
    def state(self) -> str: ...
    @property
    def due(self) -> datetime | None: ...
    @property
    def provisional(self) -> bool: ...
    @property
    def breached(self) -> bool: ...
    @property
    def parked_until(self) -> datetime | None: ...
    @property
    def closed_at(self) -> datetime | None: ...


Standing = Literal["none", "running", "soon", "late", "parked", "kept", "broken"]
"""``none``: no due; ``late``: open and overdue; ``kept`` and ``broken``: over, in time or not."""


@dataclass(frozen=True, slots=True)
class Bar:
    """How a case stands with its limit.

    ``used`` is the share of the limit that is gone, 1 at most, None where that cannot be told;
    ``left`` are the seconds until the due on the limit's clock, negative once it has passed;
    where they are of working time, ``worked`` says how much that is either way. ``due`` is
    ``provisional`` (暂定) while a year that it needs is not published; ``until`` is the end of a
    parking.
    """

    standing: Standing
    used: float | None
    left: int
    worked: Worked | None
    due: datetime | None
    provisional: bool
    until: datetime | None


def bar(calendar: Calendar, row: Timed, limit: Limit | None, now: datetime) -> Bar:
    """The bar of a case as of ``now``; ``limit`` is the one it was filed with, None if unknown."""
    working = limit is None or limit.unit not in (Unit.HOUR, Unit.DAY)
    ended = row.closed_at is not None or row.state in ("rejected", "merged", "void")
    at = min(now, row.closed_at or now)
    left = _left(calendar, row.due, at, working) if row.due else 0
    used = None if row.due is None else _used(calendar, limit, left, at, row.due)
    return Bar(
        standing=_standing(row, ended, left, used),
        used=used,
        left=left,
        worked=calendar.worked(*sorted((at, row.due or at))) if working else None,
        due=row.due,
        provisional=row.provisional,
        until=row.parked_until,
    )


def _standing(row: Timed, ended: bool, left: int, used: float | None) -> Standing:
    if row.due is None or (ended and row.closed_at is None):
        return "none"
    if ended:
        return "broken" if row.breached else "kept"
    if row.state == "parked":
        return "parked"
    if row.breached or left < 0:
        return "late"
    return "soon" if used is not None and used >= SOON else "running"


def _left(calendar: Calendar, due: datetime, at: datetime, working: bool) -> int:
    """Seconds until a due; at night or on a holiday, past a due, never less than one over it."""
    if at <= due:
        return between(calendar, at, due, working)
    return -max(between(calendar, due, at, working), 1)


def between(calendar: Calendar, start: datetime, end: datetime, working: bool = True) -> int:
    """Seconds from one instant to a later one, of working time or of all."""
    if working:
        return calendar.working_seconds(start, end)
    return int((office_time(end) - office_time(start)) / timedelta(seconds=1))


def _used(
    calendar: Calendar, limit: Limit | None, left: int, at: datetime, due: datetime
) -> float | None:
    if left < 0:
        return 1.0
    match limit:
        case None:
            return None
        case Limit(unit=Unit.WORKING_HOUR | Unit.HOUR):
            rest = left / (limit.amount * 3600)
        case Limit(unit=Unit.DAY):
            rest = left / (limit.amount * 24 * 3600)
        case _:  # working days, or at most one of them
            rest = float(calendar.days_worked(at, due) / limit.amount)
    return min(max(1 - rest, 0.0), 1.0)
