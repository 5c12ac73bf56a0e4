"""What happens to a case by itself, and when: the pending work of the deadline process.

- **reminder** (临期催办): so long ahead of the due as the office has set, once half of the time is
  gone; once an episode. Where the due passes first it is not made good: the breach says more.
- **breach** (超期上报): the due has passed. It is recorded whatever the case waits for, but a case
  that is parked: its clock stands, and what is late then is late when it is resumed. Who has the
  case loses it to the tier above, once an episode; one that nobody works on (to be dispatched, to
  be checked, to be closed) goes up once somebody has it. At the top it stays where it is.
- **parking end** (挂账到期恢复): the clock runs again, and counts from the dated end.
- **reopening end** (重办期满): what was closed stays closed.
- **recompute** (时限重算): a due that was provisional (暂定), because it crosses a year whose
  schedule was not published, is reckoned again once it is; before anything rests on it.

Nothing here is done: ``decide`` refuses each of them before its moment and a second time, so the
process may come late, be killed at any point, or be two. The clock that counts is the one of who
issues the command, and it stands in the event: one that is an hour fast is an hour early, never
twice; one that is an hour slow is late.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from domain.calendar import Calendar
from domain.case import commands as c
from domain.case.clock import goes_up, reminder_at, reopening_until
from domain.case.states import (
    Assigned,
    Case,
    Checked,
    Closed,
    Evaluated,
    Filed,
    InProgress,
    Parked,
    Resolved,
    clock_of,
)
from domain.roles import Actor, system

PROCESS: Final[Actor] = system("deadlines")
"""Who issues what happens by itself."""


class Automatic(StrEnum):
    """What happens to a case by itself."""

    BREACH = "breach"
    PARKING_END = "parking_end"
    REMINDER = "reminder"
    REOPENING_END = "reopening_end"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True)
class Pending:
    """One thing that will happen to a case after ``at``; moot after ``until``, if that is given."""

    case: str
    kind: Automatic
    at: datetime
    episode: int
    until: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether its moment has come."""
        return self.at < now and (self.until is None or now <= self.until)


def pending(case: Case, ahead: timedelta) -> list[Pending]:
    """What will happen to a case if nobody does anything. ``ahead`` nothing: no reminders."""
    match case:
        case Filed() | Assigned() | InProgress() | Resolved() | Checked():
            return _running(case, ahead)
        case Parked(facts=facts):
            until = clock_of(facts).paused_until
            assert until is not None, "a parking has a dated end"
            return [Pending(facts.id, Automatic.PARKING_END, until, facts.episode)]
        case Closed(facts=facts) | Evaluated(facts=facts) if not facts.reopening_ended:
            until = reopening_until(facts)
            return [Pending(facts.id, Automatic.REOPENING_END, until, facts.episode)]
        case _:
            return []


def is_stale(case: Case, calendar: Calendar) -> bool:
    """Whether an open case has a provisional due, of its end or of the first contact, that the
    calendar now knows all years of."""
    match case:
        case Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked():
            clock = clock_of(case.facts)
            uncertain = [clock.due] if clock.provisional else []
            if clock.contact_provisional and clock.contacted is None:
                uncertain.append(clock.contact_due)
            return any(
                due is not None and not calendar.is_provisional(clock.started, due)
                for due in uncertain
            )
        case _:
            return False


def recompute(case: str, at: datetime, calendar: Calendar) -> c.Command:
    """The command that reckons the due of a case again."""
    return c.RecomputeDue(case=case, by=PROCESS, at=at, calendar=calendar)


def command(of: Pending, at: datetime, ahead: timedelta, calendar: Calendar) -> c.Command:
    """The command that makes it happen now."""
    match of.kind:
        case Automatic.REMINDER:
            return c.RemindDue(case=of.case, by=PROCESS, at=at, ahead=ahead)
        case Automatic.BREACH:
            return c.MarkBreach(case=of.case, by=PROCESS, at=at)
        case Automatic.PARKING_END:
            return c.ResumeCase(case=of.case, by=PROCESS, at=at, calendar=calendar)
        case Automatic.REOPENING_END:
            return c.EndReopening(case=of.case, by=PROCESS, at=at)
        case Automatic.RECOMPUTE:
            return recompute(of.case, at, calendar)
        case _:
            assert_never(of.kind)


def _running(
    case: Filed | Assigned | InProgress | Resolved | Checked, ahead: timedelta
) -> list[Pending]:
    facts, clock = case.facts, clock_of(case.facts)
    if clock.due is None:
        return []
    found = []
    if not clock.breached or goes_up(case):
        found.append(Pending(facts.id, Automatic.BREACH, clock.due, facts.episode))
    if ahead and not clock.breached and not clock.reminded:
        at = reminder_at(clock.started, clock.due, ahead)
        found.append(Pending(facts.id, Automatic.REMINDER, at, facts.episode, clock.due))
    return found
