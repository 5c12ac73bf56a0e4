"""When a case is due: always reckoned as a whole, from the start of the episode.

Pauses and extensions are kept, never added to an earlier due, so that none can be forgotten or
counted twice when another one, the category or the working calendar changes.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from domain.calendar import Calendar, Reckoned
from domain.case.states import Assigned, Clock, Facts, InProgress, Known, clock_of, terms_of
from domain.catalogue import Terms
from domain.places import TOP
from domain.sla import Limit, Pause, reckon


def deadlines(
    terms: Terms, calendar: Calendar, start: datetime
) -> tuple[Reckoned | None, Reckoned | None]:
    """The due and the first-contact due of an episode that starts then; None: there is no limit."""
    limit, contact = terms.sla.limit, terms.sla.contact
    return (
        None if limit is None else reckon(calendar, start, limit),
        None if contact is None else reckon(calendar, start, contact),
    )


def due_of(
    clock: Clock,
    terms: Terms,
    calendar: Calendar,
    *,
    pause: Pause | None = None,
    more: Limit | None = None,
) -> Reckoned | None:
    """The due, with one more pause or extension if given; None: there is no limit."""
    pauses = clock.pauses if pause is None else (*clock.pauses, pause)
    extensions = clock.extensions if more is None else (*clock.extensions, more)
    if clock.dated is not None:
        return _from_date(clock.dated, calendar, pauses, extensions)
    if terms.sla.limit is None:
        return None
    return reckon(calendar, clock.started, terms.sla.limit, pauses, extensions)


def due_fields(due: Reckoned | None) -> dict[str, Any]:
    """A due as the fields ``due`` and ``provisional`` that several events have."""
    if due is None:
        return {"due": None, "provisional": False}
    return {"due": due.at, "provisional": due.provisional}


def halfway(started: datetime, due: datetime) -> datetime:
    """When half of an episode's time is gone, on the calendar clock."""
    return started + (due - started) / 2


def reminder_at(started: datetime, due: datetime, ahead: timedelta) -> datetime:
    """When a due is to be reminded of: so long ahead, but not before half of the time is gone."""
    return max(due - ahead, halfway(started, due))


def goes_up(case: Known) -> bool:
    """Whether the breach of its due takes a case up by itself: once an episode, if somebody has it.

    One that was late before anybody had it, or while it was checked, goes up once somebody has it.
    """
    return (
        isinstance(case, Assigned | InProgress)
        and case.facts.tier is not TOP
        and not clock_of(case.facts).escalated
    )


def reopening_until(facts: Facts) -> datetime:
    """The last instant at which a closed case may be reopened."""
    assert facts.closed_at is not None, "only a closed case has a window for reopening"
    return facts.closed_at + timedelta(days=terms_of(facts).policy.reopen_window_days)


def length(pauses: Iterable[Pause]) -> timedelta:
    """How long pauses last together, on the calendar clock."""
    return sum((pause.end - pause.start for pause in pauses), timedelta())


def _from_date(
    due: datetime, calendar: Calendar, pauses: tuple[Pause, ...], extensions: tuple[Limit, ...]
) -> Reckoned:
    """A due that an old system gave as a date: pauses move it on the calendar clock."""
    for pause in pauses:  # one after the other, as a case is parked
        if pause.start < due:
            due += pause.end - pause.start
    if not extensions:
        return Reckoned(due, False)
    return reckon(calendar, due, extensions[0], pauses, extensions[1:])
