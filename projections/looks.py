"""Who looked at whose personal data, and why (查看留痕): one row a look.

The reason that was typed is not here: it is sealed, and shown from the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from domain.history import Recorded
from domain.privacy import PersonalShown
from projections.projection import Projection
from projections.tables import Table

SCHEMA: Final = """
CREATE TABLE entries (
    position  bigint      PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text        COLLATE "C" NOT NULL,
    roles     text        COLLATE "C" NOT NULL,
    "case"    text        COLLATE "C" NOT NULL,
    territory text        COLLATE "C" NOT NULL,
    purpose   text        COLLATE "C" NOT NULL,
    fields    text[]      COLLATE "C" NOT NULL
);
"""

INDEXES: Final = """
CREATE INDEX entries_actor ON entries (actor, position);
CREATE INDEX entries_case ON entries ("case", position);
CREATE INDEX entries_territory ON entries (territory, position);
CREATE INDEX entries_at ON entries (at);
"""


@dataclass(frozen=True, slots=True)
class LookRow:
    """Somebody was shown ``fields`` of a case. ``territory`` is the place of the case."""

    position: int
    at: datetime
    actor: str
    roles: str
    case: str
    territory: str
    purpose: str
    fields: list[str]


ENTRIES: Final = Table("entries", LookRow, key=("position",))


def fold(recorded: Recorded[Any]) -> LookRow:
    """The row that a look leaves."""
    event: PersonalShown = recorded.event
    return LookRow(
        position=recorded.position,
        at=recorded.at,
        actor=recorded.actor,
        roles=recorded.roles,
        case=event.case,
        territory=event.territory,
        purpose=event.purpose.value,
        fields=[each.value for each in event.fields],
    )


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool) -> None:
    """Add the looks of a page."""
    put = Table.append if fresh else Table.save
    put(ENTRIES, connection, list(map(fold, page)))


LOOKS: Final = Projection(
    name="looks",
    version=2,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(ENTRIES,),
    events=(PersonalShown,),
    apply=apply,
)
