"""The worklist's past (历史工作台): what lists filter, sort and scope by, as of any position.

The facts are those of ``worklist``, by its own fold. A case has a row for each of its events, as
each moves ``updated_at``: the row holds from the event's position, *begun*, until that of the next
one, *ended*, which is None while it holds (as in ``spans``). Cards are not kept: those of a page
are folded from the log.

Rows are as many as events, and nobody asks for one by its key: the last of each case is looked up,
by an index that holds no others, and all of a case that a search has found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from domain.aggregates import CASE, case_stream
from domain.case.states import OPEN
from domain.history import Recorded
from projections import worklist
from projections.past import PASSING
from projections.projection import Projection
from projections.tables import Stepwise, Table, Texts, case_id

SCHEMA: Final = """
CREATE TABLE cases (
    "case"      text COLLATE "C" NOT NULL,
    begun       bigint      NOT NULL,
    ended       bigint,
    state       text        COLLATE "C" NOT NULL,
    territory   text        COLLATE "C" NOT NULL,
    tier        smallint    NOT NULL,
    holder      text        COLLATE "C" NOT NULL,
    unit        text        COLLATE "C",
    worker      text        COLLATE "C",
    handler     text        COLLATE "C",
    reporter    text        COLLATE "C",
    category    text        COLLATE "C",
    size        text        COLLATE "C",
    due         timestamptz,
    sent_back   text        COLLATE "C",
    asked       text,
    asked_by    text        COLLATE "C",
    parent      text        COLLATE "C",
    callback_days     integer,
    callback_attempts integer,
    callback_until    timestamptz,
    reported_at timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    called      text[]      COLLATE "C",
    awaited     text[]      COLLATE "C"
);
"""

_OPEN: Final = f"state IN ({', '.join(map(repr, OPEN))})"

INDEXES: Final = f"""
CREATE UNIQUE INDEX cases_last ON cases ("case") WHERE ended IS NULL;
CREATE INDEX cases_all ON cases ("case");
CREATE INDEX cases_open ON cases (begun) WHERE ended IS NULL AND {_OPEN};
CREATE INDEX cases_were_open ON cases (begun, ended)
    WHERE ended - begun <= {PASSING} AND {_OPEN};
CREATE INDEX cases_were_long_open ON cases (ended) WHERE ended - begun > {PASSING} AND {_OPEN};
CREATE INDEX cases_due ON cases (coalesce(due, 'infinity'), "case");
CREATE INDEX cases_parent ON cases (parent) WHERE parent IS NOT NULL;
"""
"""Few, for there are as many rows as events: most questions are for what was open."""


@dataclass(slots=True)
class Row:
    """A case from one of its events until the next.

    ``called`` and ``awaited`` are None where nobody is, as nearly always.
    """

    case: str
    begun: int
    ended: int | None
    state: str
    territory: str
    tier: int
    holder: str
    unit: str | None
    worker: str | None
    handler: str | None
    reporter: str | None
    category: str | None
    size: str | None
    due: datetime | None
    sent_back: str | None
    asked: str | None
    asked_by: str | None
    parent: str | None
    callback_days: int | None
    callback_attempts: int | None
    callback_until: datetime | None
    reported_at: datetime
    updated_at: datetime
    called: list[str] | None
    awaited: list[str] | None


CASES: Final = Table("cases", Row, key=("case", "begun"), copied=True, keyed=False, by_row=True)

_FACTS: Final = CASES.columns[3:-2]
_facts_of: Final = attrgetter(*_FACTS)

_UNKEPT: Final[dict[str, Any]] = {
    **dict.fromkeys(field.name for field in fields(worklist.CaseRow)),
    "version": 0,
    "highest": 0,
    "returns": 0,
    "episode": 0,
    "breached": False,
    "called_back": False,
    "updated_by": "",
}
"""What is not kept here, and decides nothing of what is."""

_LATEST: Final = (
    sql.SQL('SELECT {} FROM cases WHERE "case" = ANY(%s) AND ended IS NULL')
    .format(sql.SQL(", ").join(map(sql.Identifier, ("case", *CASES.columns[3:]))))
    .as_bytes(None)
)


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Fold a page into the table."""
    asked = None
    if not fresh:
        cases = Texts({case_id(recorded) for recorded in page})
        asked = connection.execute(_LATEST, (cases,), binary=True)
    yield
    now = {} if asked is None else _latest(asked)
    rows: list[tuple[Any, ...]] = []
    over: dict[str, int] = {}
    fold = worklist.fold
    for recorded in page:
        position, stream = recorded.position, recorded.stream
        known = now.get(stream)
        if known is None:
            if worklist.begins(recorded.event):
                now[stream] = (position, fold(None, recorded))
        else:
            begun, row = known
            if begun is None:
                over[row.case] = position
            else:
                rows.append(_values(row, begun, position))
            now[stream] = (position, fold(row, recorded))
    rows += [_values(row, begun, None) for begun, row in now.values() if begun is not None]
    if over:
        connection.execute(_END, (msgspec.json.encode(over).decode(), Texts(over)))
    if fresh:
        CASES.append_values(connection, rows)
    else:
        CASES.add_values(connection, rows)


def _values(row: worklist.CaseRow, begun: int, ended: int | None) -> tuple[Any, ...]:
    """The columns of the table."""
    facts = _facts_of(row)
    return row.case, begun, ended, *facts, row.called or None, row.awaited or None


_END: Final = b"""
    UPDATE cases SET ended = ((SELECT %s::jsonb) ->> "case")::bigint
    WHERE "case" = ANY(%s) AND ended IS NULL
"""
"""Without a join: made while the table was empty, its plan would read all last rows for each page
until PostgreSQL has looked at the table again. In a SELECT of its own the JSON is read once."""

_Latest = tuple[int | None, worklist.CaseRow]
"""What a case says, and since when: None where that stands in the table."""


def _latest(asked: psycopg.Cursor) -> dict[str, _Latest]:
    """The last rows of some cases, by stream."""
    found: dict[str, _Latest] = {}
    for case, *facts, called, awaited in asked.fetchall():
        given = (case, *facts, called or [], awaited or [], *_UNKEPT.values())
        found[case_stream(case)] = (None, worklist.CaseRow(*_in_order(given)))
    return found


_GIVEN: Final = ("case", *_FACTS, "called", "awaited", *_UNKEPT)
_in_order: Final = itemgetter(*map(_GIVEN.index, worklist.CASES.columns))
"""The columns of the worklist's row, kept or not, out of those that are given."""


PAST_CASES: Final = Projection(
    name="past_cases",
    version=6,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(CASES,),
    events=CASE.events,
    reads=worklist.READS,
    beside=("at", "actor"),
    apply=apply,
)
