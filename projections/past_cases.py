"""The worklist's past (历史工作台): what lists filter, sort and scope by, as of any position.

A case has a row for each of its events, as each moves ``updated_at``: the row holds from the
event's position, *begun*, until that of the next one, *ended*, which is None while it holds (as in
``spans``). Cards are not kept: those of a page are folded from the log.

Rows are as many as events, and nobody asks for one by its key: the last of each case is looked up,
by an index that holds no others, and all of a case that a search has found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import msgspec
import psycopg

from domain.case.states import OPEN
from projections.past import PASSING
from projections.tables import Table, Texts

SCHEMA: Final = """
CREATE TABLE past (
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
CREATE UNIQUE INDEX past_last ON past ("case") WHERE ended IS NULL;
CREATE INDEX past_all ON past ("case");
CREATE INDEX past_open ON past (begun) WHERE ended IS NULL AND {_OPEN};
CREATE INDEX past_were_open ON past (begun, ended) WHERE ended - begun <= {PASSING} AND {_OPEN};
CREATE INDEX past_were_long_open ON past (ended) WHERE ended - begun > {PASSING} AND {_OPEN};
CREATE INDEX past_due ON past (coalesce(due, 'infinity'), "case");
CREATE INDEX past_parent ON past (parent) WHERE parent IS NOT NULL;
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


PAST: Final = Table("past", Row, key=("case", "begun"), copied=True, keyed=False, by_row=True)

_facts_of: Final = attrgetter(*PAST.columns[3:-2])


def values(row: Any, begun: int, ended: int | None) -> tuple[Any, ...]:
    """The columns of the table, out of the row of a case as it stands (``worklist.CaseRow``)."""
    facts = _facts_of(row)
    return row.case, begun, ended, *facts, row.called or None, row.awaited or None


def end(connection: psycopg.Connection, over: Mapping[str, int]) -> None:
    """The last row of each of some cases holds no longer, from a position on."""
    connection.execute(_END, (msgspec.json.encode(over).decode(), Texts(over)))


_END: Final = b"""
    UPDATE past SET ended = ((SELECT %s::jsonb) ->> "case")::bigint
    WHERE "case" = ANY(%s) AND ended IS NULL
"""
"""Without a join: made while the table was empty, its plan would read all last rows for each page
until PostgreSQL has looked at the table again. In a SELECT of its own the JSON is read once."""
