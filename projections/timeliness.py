"""Timeliness (按期结案): what was owed by when, whether it came in time, how long it has waited.

The clock of a case is kept as its parts (start, pauses, the present pause), so that its age can be
reckoned at any moment; see ``domain.sla.elapsed``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, get_args

import msgspec
import psycopg

from domain import calendar
from domain.case import events as e
from domain.history import Recorded
from domain.sla import Unit
from projections import spans
from projections.containment import merged, voided
from projections.past import PASSING
from projections.projection import Projection
from projections.spans import Span, Spans
from projections.tables import Stepwise, Table

SCHEMA: Final = f"""
CREATE TABLE cases ({spans.COLUMNS}
    filed_at     timestamptz NOT NULL,
    started      timestamptz NOT NULL,
    works        boolean NOT NULL,
    dated        boolean NOT NULL,
    due          timestamptz,
    parked_at    timestamptz,
    parked_until timestamptz,
    pauses       timestamptz[] NOT NULL,
    failed       integer NOT NULL,
    closed_at    timestamptz,
    verdict      text COLLATE "C",
    dropped      text COLLATE "C",
    PRIMARY KEY ("case", nth)
);
CREATE TABLE calendars (
    begun    bigint PRIMARY KEY,
    calendar text NOT NULL
);
"""

LATE_BY: Final = "interval '30 days'"
"""Most of what is closed late is closed within so long after its due."""

INDEXES: Final = f"""
CREATE INDEX cases_closed ON cases (closed_at)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX cases_closed_in ON cases (territory, closed_at)
    INCLUDE (category, size, source, verdict, failed, begun, ended)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX cases_late ON cases (due, closed_at)
    WHERE closed_at >= due AND closed_at - due <= {LATE_BY} AND dropped IS NULL;
CREATE INDEX cases_very_late ON cases (closed_at)
    WHERE closed_at - due > {LATE_BY} AND dropped IS NULL;
CREATE INDEX cases_open ON cases (due)
    WHERE closed_at IS NULL AND dropped IS NULL AND ended IS NULL;
CREATE INDEX cases_open_filed ON cases (filed_at)
    WHERE closed_at IS NULL AND dropped IS NULL AND ended IS NULL;
CREATE INDEX cases_open_in ON cases (territory, filed_at)
    WHERE closed_at IS NULL AND dropped IS NULL AND ended IS NULL;
CREATE INDEX cases_was_open ON cases (begun, ended)
    WHERE closed_at IS NULL AND dropped IS NULL AND ended - begun <= {PASSING};
CREATE INDEX cases_was_long_open ON cases (ended)
    WHERE closed_at IS NULL AND dropped IS NULL AND ended - begun > {PASSING};
CREATE INDEX cases_dropped ON cases (filed_at) WHERE dropped IS NOT NULL;
"""

ON_TIME: Final = "on_time"
LATE: Final = "late"
NO_DEADLINE: Final = "no_deadline"


@dataclass(slots=True, kw_only=True)
class Row(Span):
    """One filed case. ``due`` is the adjusted one; ``parked_at`` and ``parked_until`` bound the
    present pause, which has not moved it yet.

    The clock of the present episode began at ``started``. It counts working time only if its limit
    does so (``works``) and ``due`` is not ``dated``, given by an old system. ``pauses`` are its
    earlier ones: start, end, start, end. ``verdict`` on a closed case is ``on_time``, ``late`` or
    ``no_deadline``.
    """

    filed_at: datetime
    started: datetime
    works: bool
    dated: bool
    due: datetime | None
    parked_at: datetime | None = None
    parked_until: datetime | None = None
    pauses: list[datetime] = field(default_factory=list)
    failed: int = 0
    closed_at: datetime | None = None
    verdict: str | None = None
    dropped: str | None = None


@dataclass(slots=True, kw_only=True)
class CalendarRow:
    """The working calendar from a position on, as JSON."""

    begun: int
    calendar: str


def _filed(case: str, event: Any) -> Row:
    return Row(
        case=case,
        territory=event.territory,
        category=event.terms.category,
        size=event.terms.size,
        source=event.source,
        filed_at=event.at,
        started=event.at,
        works=_works(event.terms),
        dated=event.dated,
        due=event.due,
    )


def _works(terms: Any) -> bool:
    limit = terms.sla.limit
    return limit is not None and limit.unit not in (Unit.HOUR, Unit.DAY)


def _reclassified(row: Row, event: Any) -> None:
    row.category, row.due, row.works = event.terms.category, event.due, _works(event.terms)


def _parked(row: Row, event: Any) -> None:
    row.parked_at, row.parked_until = event.at, event.until


def _resumed(row: Row, event: Any) -> None:
    row.parked_at, row.parked_until, row.due = None, None, event.due
    row.pauses = [*row.pauses, event.parked, event.counted_to]


def _due(row: Row, event: Any) -> None:
    row.due = event.due


def _check_failed(row: Row, _event: Any) -> None:
    row.failed += 1


def _closed(row: Row, event: Any) -> None:
    row.closed_at = event.at
    row.verdict = {True: ON_TIME, False: LATE, None: NO_DEADLINE}[event.on_time]


def _reopened(row: Row, event: Any) -> None:
    row.started, row.due, row.dated, row.pauses = event.at, event.due, False, []
    row.closed_at, row.verdict = None, None


_TERMS: Final = "terms.category terms.size terms.sla.limit.unit"

CASES: Final = Spans(
    name="cases",
    row=Row,
    opens={e.CaseFiled: _filed},
    turns={
        e.CaseReclassified: _reclassified,
        e.CaseParked: _parked,
        e.CaseResumed: _resumed,
        e.DeadlineExtended: _due,
        e.DueRecomputed: _due,
        e.CheckFailed: _check_failed,
        e.CaseClosed: _closed,
        e.CaseReopened: _reopened,
    },
    drops={e.CaseVoided: voided, e.CaseMerged: merged},
    reads={
        e.CaseFiled: f"at territory source due dated {_TERMS}",
        e.CaseReclassified: f"due {_TERMS}",
        e.CaseParked: "at until",
        e.CaseResumed: "parked counted_to due",
        e.DeadlineExtended: "due",
        e.DueRecomputed: "due",
        e.CheckFailed: "",
        e.CaseClosed: "at on_time",
        e.CaseReopened: "at due",
        e.CaseVoided: "",
        e.CaseMerged: "",
    },
)
CALENDARS: Final = Table("calendars", CalendarRow, key=("begun",))
CALENDAR_EVENTS: Final = get_args(calendar.Event)


class _Stored(msgspec.Struct):
    """The parts of a calendar that it is made of."""

    hours: tuple[calendar.Period, ...]
    changes: dict[str, tuple[calendar.Period, ...]]
    years: dict[int, calendar.Schedule]
    declared: dict[str, bool]


def stored(known: calendar.Calendar) -> str:
    """A calendar as text."""
    changes = {since.isoformat(): hours for since, hours in sorted(known.changes.items())}
    declared = {day.isoformat(): works for day, works in sorted(known.declared.items())}
    years = dict(sorted(known.years.items()))
    return msgspec.json.encode(_Stored(known.hours, changes, years, declared)).decode()


def restored(text: str) -> calendar.Calendar:
    """A calendar from its text."""
    parts = msgspec.json.decode(text, type=_Stored)
    changes = {date.fromisoformat(since): hours for since, hours in parts.changes.items()}
    declared = {date.fromisoformat(day): works for day, works in parts.declared.items()}
    return calendar.Calendar(
        hours=parts.hours, changes=changes, years=parts.years, declared=declared
    )


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Fold a page into the tables."""
    yield from CASES.steps(connection, page, fresh)
    changes = [recorded for recorded in page if isinstance(recorded.event, CALENDAR_EVENTS)]
    if not changes:
        return
    known = calendar.initial
    if not fresh:
        query = "SELECT calendar FROM calendars ORDER BY begun DESC LIMIT 1"
        row = connection.execute(query).fetchone()
        known = restored(row[0]) if row else known
    rows = []
    for recorded in changes:
        known = calendar.evolve(known, recorded.event)
        rows.append(CalendarRow(begun=recorded.position, calendar=stored(known)))
    CALENDARS.save(connection, rows)


TIMELINESS: Final = Projection(
    name="timeliness",
    version=10,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(CASES.table, CALENDARS),
    events=CASES.events + CALENDAR_EVENTS,
    apply=apply,
    reads=CASES.reads,
    beside=(),
)
