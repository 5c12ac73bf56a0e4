"""The audit trail (审计): who did what to which object when, over everything in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import psycopg

from domain.aggregates import AGGREGATES
from domain.history import Recorded
from projections.projection import Projection
from projections.shapes import UNREAD
from projections.tables import Table

SCHEMA: Final = """
CREATE TABLE entries (
    position    bigint      PRIMARY KEY,
    at          timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor       text        COLLATE "C" NOT NULL,
    roles       text        COLLATE "C" NOT NULL,
    action      text        COLLATE "C" NOT NULL,
    object      text        COLLATE "C" NOT NULL,
    version     integer     NOT NULL,
    territory   text        COLLATE "C" NOT NULL,
    correlation text        COLLATE "C" NOT NULL,
    causation   text        COLLATE "C" NOT NULL
);
"""

INDEXES: Final = """
CREATE INDEX entries_actor ON entries (hashtextextended(actor, 0), position);
CREATE INDEX entries_action ON entries (hashtextextended(action, 0), position);
CREATE INDEX entries_object ON entries (hashtextextended(object, 0));
CREATE INDEX entries_correlation ON entries (hashtextextended(correlation, 0))
    WHERE correlation <> '';
CREATE INDEX entries_territory ON entries (territory);
CREATE INDEX entries_at ON entries (at);
CREATE STATISTICS entries_actors (dependencies)
    ON actor, (hashtextextended(actor, 0)) FROM entries;
CREATE STATISTICS entries_actions (dependencies)
    ON action, (hashtextextended(action, 0)) FROM entries;
"""
"""By a hash where nobody asks for a part of a text: numbers are put in order in half the time, and
take half the room. An object, a request and a territory have few entries, which are put in order
when they are asked for: their indexes are smaller without positions. A text and its hash say the
same: else PostgreSQL takes those that have both for few, and puts them all in order for one page.
"""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event, without what it says of people. ``object`` is its stream, ``action`` its name."""

    position: int
    at: datetime
    recorded_at: datetime
    actor: str
    roles: str
    action: str
    object: str
    version: int
    territory: str
    correlation: str
    causation: str


ENTRIES: Final = Table("entries", AuditRow, key=("position",), copied=True, by_row=True)


_VALUES: Final = attrgetter(
    "position",
    "at",
    "recorded_at",
    "actor",
    "roles",
    "name",
    "stream",
    "version",
    "territory",
    "correlation",
    "causation",
)
"""An event as the columns of ``entries``."""

EVENTS: Final = tuple(event for decider in AGGREGATES for event in decider.events)


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool) -> None:
    """Add the entries of a page."""
    if fresh:
        ENTRIES.append_values(connection, map(_VALUES, page))
    else:
        ENTRIES.save_values(connection, map(_VALUES, page))


AUDIT: Final = Projection(
    name="audit",
    version=6,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(ENTRIES,),
    events=EVENTS,
    reads=dict.fromkeys(EVENTS, UNREAD),
    apply=apply,
)
