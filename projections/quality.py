"""Quality (办理质量): was it settled at once and for good, or does the same come back.

Two reports belong together when somebody reports the same again (``follow_ups``), a closure and a
report when the same trouble is back at the same place (``repeats``). What is void belongs to none.
These pairs follow from the rows of ``cases`` alone, so they are kept like an index: made after the
first rows are in, and changed with every row that changes.

The same place is at most ``NEAR_METRES`` away. Where somebody gave no coordinates, a follow-up
counts within the same territory; a repeat cannot be told, and the closure is left out. Addresses
are sealed, and a trace of them here would outlive the forgetting of who lives there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Any, Final

import psycopg
from psycopg import sql

from domain.case import events as e
from domain.history import Recorded
from projections import spans
from projections.containment import merged, voided
from projections.projection import Projection
from projections.spans import Span, Spans
from projections.tables import Stepwise, Table, Texts, case_id

FOLLOW_UP_DAYS: Final = 30
"""Whoever reports the same within so many days was not helped the first time."""

REPEAT_DAYS: Final = 30
"""Trouble that is back within so many days after closing has come back."""

NEAR_METRES: Final = 50

CELL_DEGREES: Final = (0.0009, 0.00045)
"""Places are sorted into cells, so many degrees east and north, of 50 metres at least (up to 60
degrees of latitude): what is near lies in the same cell or beside it."""

ROW: Final = 2**20
"""From a cell to the one north of it; to the one east of it, it is 1."""

_AROUND: Final = ", ".join(
    f"{{0}}.cell + ({north * ROW + east})" for north in (-1, 0, 1) for east in (-1, 0, 1)
)

SCHEMA: Final = f"""
CREATE TABLE cases ({spans.COLUMNS}
    reporter       text COLLATE "C",
    longitude      double precision,
    latitude       double precision,
    cell           bigint,
    reported_at    timestamptz NOT NULL,
    filed_at       timestamptz,
    first_handler  text COLLATE "C",
    handler        text COLLATE "C",
    reopened       boolean NOT NULL,
    closed_at      timestamptz,
    settled        boolean NOT NULL,
    dropped        text COLLATE "C",
    PRIMARY KEY ("case", nth)
);

CREATE FUNCTION near(x double precision, y double precision, u double precision, v double precision)
RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT (x - u) * (x - u) * cos(radians(y)) * cos(radians(y)) + (y - v) * (y - v)
        <= {(NEAR_METRES / 111_320) ** 2}
$$;

CREATE TABLE follow_ups (
    "case"    text COLLATE "C" NOT NULL,
    nth       integer NOT NULL,
    again     text COLLATE "C" NOT NULL,
    again_nth integer NOT NULL,
    begun     bigint NOT NULL,
    ended     bigint,
    territory text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    again_territory text COLLATE "C" NOT NULL,
    again_at  timestamptz NOT NULL
);
CREATE TABLE repeats (LIKE follow_ups);

CREATE VIEW following AS
    SELECT c."case", c.nth, r."case" AS again, r.nth AS again_nth,
           greatest(c.begun, r.begun) AS begun, least(c.ended, r.ended) AS ended,
           c.territory, c.reported_at AS at, r.territory AS again_territory,
           r.reported_at AS again_at
    FROM cases c JOIN cases r ON r.reporter = c.reporter AND r.category = c.category
     AND r.reported_at > c.reported_at
     AND r.reported_at <= c.reported_at + interval '{FOLLOW_UP_DAYS} days'
     AND c.reported_at >= r.reported_at - interval '{FOLLOW_UP_DAYS} days'
     AND CASE WHEN c.cell IS NULL OR r.cell IS NULL THEN r.territory = c.territory
              ELSE near(c.longitude, c.latitude, r.longitude, r.latitude) END
    WHERE c.filed_at IS NOT NULL AND c.dropped IS DISTINCT FROM 'void'
      AND r.filed_at IS NOT NULL AND r.dropped IS DISTINCT FROM 'void'
      AND (least(c.ended, r.ended) IS NULL OR greatest(c.begun, r.begun) < least(c.ended, r.ended));

-- Some conditions stand twice, so that either side may be looked for from the other.
CREATE VIEW repeating AS
    SELECT c."case", c.nth, r."case" AS again, r.nth AS again_nth,
           greatest(c.begun, r.begun) AS begun, least(c.ended, r.ended) AS ended,
           c.territory, c.closed_at AS at, r.territory AS again_territory,
           r.reported_at AS again_at
    FROM cases c JOIN cases r ON r.category = c.category
     AND r.cell = ANY (ARRAY[{_AROUND.format("c")}])
     AND c.cell = ANY (ARRAY[{_AROUND.format("r")}])
     AND r.reported_at > c.closed_at
     AND r.reported_at <= c.closed_at + interval '{REPEAT_DAYS} days'
     AND c.closed_at >= r.reported_at - interval '{REPEAT_DAYS} days'
     AND near(c.longitude, c.latitude, r.longitude, r.latitude)
    WHERE c.closed_at IS NOT NULL AND c.dropped IS NULL
      AND r.filed_at IS NOT NULL AND r.dropped IS DISTINCT FROM 'void'
      AND (least(c.ended, r.ended) IS NULL OR greatest(c.begun, r.begun) < least(c.ended, r.ended));
"""  # noqa: S608 - filled with numbers of ours

INDEXES: Final = """
CREATE INDEX cases_by ON cases (reporter, category, reported_at)
    WHERE reporter IS NOT NULL AND filed_at IS NOT NULL;
CREATE INDEX cases_near ON cases (category, cell, reported_at)
    WHERE cell IS NOT NULL AND filed_at IS NOT NULL;
CREATE INDEX cases_were_near ON cases (category, cell, closed_at)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
ANALYZE cases;
INSERT INTO follow_ups SELECT * FROM following;
INSERT INTO repeats SELECT * FROM repeating;
ALTER TABLE follow_ups ADD PRIMARY KEY ("case", nth, again, again_nth);
ALTER TABLE repeats ADD PRIMARY KEY ("case", nth, again, again_nth);
CREATE INDEX follow_ups_again ON follow_ups (again, again_nth);
CREATE INDEX repeats_again ON repeats (again, again_nth);
CREATE INDEX follow_ups_in ON follow_ups (territory, at);
CREATE INDEX follow_ups_again_in ON follow_ups (again_territory, again_at);
CREATE INDEX repeats_in ON repeats (territory, at);
CREATE INDEX cases_reported ON cases (reported_at);
CREATE INDEX cases_reported_in ON cases (territory, reported_at)
    INCLUDE (category, size, source, reporter, cell, filed_at, closed_at, settled,
             dropped, "case", nth, begun, ended);
CREATE INDEX cases_closed ON cases (closed_at)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX cases_closed_in ON cases (territory, closed_at)
    INCLUDE (category, size, source, reporter, cell, reported_at, filed_at, settled,
             dropped, "case", nth, begun, ended)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
"""


@dataclass(slots=True, kw_only=True)
class Row(Span):
    """One report, a draft until it is filed or rejected. ``settled``: closed as resolved by who
    first accepted it, and never reopened. ``first_handler`` and ``handler`` are notes for that."""

    reporter: str | None
    longitude: float | None
    latitude: float | None
    cell: int | None
    reported_at: datetime
    filed_at: datetime | None = None
    first_handler: str | None = None
    handler: str | None = None
    reopened: bool = False
    closed_at: datetime | None = None
    settled: bool = False
    dropped: str | None = None


@dataclass(slots=True, kw_only=True)
class Pair:
    """Two rows of ``cases`` that belong together, from ``begun`` until ``ended``: while both say
    so. ``again`` came after ``case``. Of each stands where and when it counts, so that a question
    need not look at the rows of pairs that it is not about."""

    case: str
    nth: int
    again: str
    again_nth: int
    begun: int
    ended: int | None
    territory: str
    at: datetime
    again_territory: str
    again_at: datetime


def _reported(case: str, event: Any) -> Row:
    longitude, latitude = event.spot.longitude, event.spot.latitude
    known = longitude is not None and latitude is not None
    return Row(
        case=case,
        territory=event.territory,
        source=event.source,
        reporter=event.reporter.person if event.reporter else None,
        longitude=longitude if known else None,
        latitude=latitude if known else None,
        cell=_cell(longitude, latitude) if known else None,
        reported_at=event.at,
    )


def _cell(longitude: float, latitude: float) -> int:
    east, north = CELL_DEGREES
    return floor(latitude / north) * ROW + floor(longitude / east)


def _filed(row: Row, event: Any) -> None:
    row.filed_at, row.category, row.size = event.at, event.terms.category, event.terms.size


def _reclassified(row: Row, event: Any) -> None:
    row.category = event.terms.category


def _rejected(row: Row, _event: Any) -> None:
    row.dropped = "rejected"


def _accepted(row: Row, event: Any) -> None:
    row.first_handler = row.first_handler or event.handler


def _resolved(row: Row, event: Any) -> None:
    row.handler = event.handler


def _closed(row: Row, event: Any) -> None:
    row.closed_at = event.at
    by_the_first = row.handler is not None and row.handler == row.first_handler
    row.settled = event.outcome == "resolved" and by_the_first and not row.reopened


def _reopened(row: Row, _event: Any) -> None:
    row.reopened, row.closed_at, row.settled = True, None, False


CASES: Final = Spans(
    name="cases",
    row=Row,
    drafts={e.CaseReported: _reported},
    turns={
        e.CaseFiled: _filed,
        e.CaseReclassified: _reclassified,
        e.CaseClosed: _closed,
        e.CaseReopened: _reopened,
    },
    drops={e.CaseRejected: _rejected, e.CaseVoided: voided, e.CaseMerged: merged},
    notes={e.CaseAccepted: _accepted, e.CaseResolved: _resolved},
    reads={
        e.CaseReported: "at territory source spot.longitude spot.latitude reporter.person",
        e.CaseFiled: "at terms.category terms.size",
        e.CaseReclassified: "terms.category",
        e.CaseRejected: "",
        e.CaseAccepted: "handler",
        e.CaseResolved: "handler",
        e.CaseClosed: "at outcome",
        e.CaseReopened: "",
        e.CaseVoided: "",
        e.CaseMerged: "",
    },
)

FOLLOW_UPS: Final = Table("follow_ups", Pair, key=("case", "nth", "again", "again_nth"))
REPEATS: Final = Table("repeats", Pair, key=("case", "nth", "again", "again_nth"))

_PAIRS: Final = {"follow_ups": "following", "repeats": "repeating"}
"""The tables of pairs, with the views that say what they are to hold."""

_PAIRING: Final = [
    sql.SQL(statement).format(pairs=sql.Identifier(pairs), view=sql.Identifier(view)).as_bytes(None)
    for pairs, view in _PAIRS.items()
    for statement in (
        'DELETE FROM {pairs} WHERE "case" = ANY(%(cases)s) OR again = ANY(%(cases)s)',
        'INSERT INTO {pairs} SELECT * FROM {view} WHERE "case" = ANY(%(cases)s)'
        " UNION SELECT * FROM {view} WHERE again = ANY(%(cases)s)",
    )
]
"""Put together once, for there are many small pages."""


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Fold a page into the rows, and pair those that have changed anew.

    With fresh rows the others may not be there yet: all are paired together when they are.
    """
    yield from CASES.steps(connection, page, fresh)
    if fresh:
        return
    cases = Texts({case_id(recorded) for recorded in page if CASES.changed_by(recorded)})
    if not cases:
        return
    # Two processes that each add one of a pair must not miss one another.
    connection.execute("LOCK TABLE follow_ups, repeats IN SHARE ROW EXCLUSIVE MODE")
    for statement in _PAIRING:
        connection.execute(statement, {"cases": cases})


QUALITY: Final = Projection(
    name="quality",
    version=7,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(CASES.table, FOLLOW_UPS, REPEATS),
    events=CASES.events,
    apply=apply,
    reads=CASES.reads,
    beside=(),
)
