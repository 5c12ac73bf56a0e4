"""The audit trail (审计): who did what to which object when, over everything in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from domain.aggregates import AGGREGATES
from domain.history import Recorded
from projections.runner import Projection
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
CREATE INDEX entries_actor ON entries (actor, position);
CREATE INDEX entries_object ON entries (object, position);
CREATE INDEX entries_action ON entries (action, position);
CREATE INDEX entries_territory ON entries (territory, position);
CREATE INDEX entries_at ON entries (at);
CREATE INDEX entries_correlation ON entries (correlation) WHERE correlation <> '';
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


ENTRIES: Final = Table("entries", AuditRow, key=("position",))


def fold(recorded: Recorded[Any]) -> AuditRow:
    """The entry that an event leaves."""
    return AuditRow(
        position=recorded.position,
        at=recorded.at,
        recorded_at=recorded.recorded_at,
        actor=recorded.actor,
        roles=",".join(recorded.roles),
        action=recorded.name,
        object=recorded.stream,
        version=recorded.version,
        territory=recorded.territory,
        correlation=recorded.correlation,
        causation=recorded.causation,
    )


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
    """Add the entries of a page."""
    ENTRIES.append(connection, map(fold, page))


AUDIT: Final = Projection(
    name="audit",
    version=2,
    schema=SCHEMA,
    tables=(ENTRIES,),
    events=tuple(event for decider in AGGREGATES for event in decider.events),
    apply=apply,
)
