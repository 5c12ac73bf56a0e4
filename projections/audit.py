"""The audit trail (审计): who did what to which object when, over everything in the log.

What is done to a case is a step of its timeline (办理过程) too: its entry has the details. Personal
fields are sealed in them; those of a case whose person was forgotten say so, up to there.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from domain.aggregates import AGGREGATES, case_stream
from domain.history import Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from projections.projection import Projection
from projections.shapes import UNREAD
from projections.tables import Stepwise, Table, Texts

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
    causation   text        COLLATE "C" NOT NULL,
    details     text
);

CREATE TABLE forgotten (
    object   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
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


@dataclass(frozen=True, slots=True)
class Entry(AuditRow):
    """The same as it is stored: of an event of a case, with what only its timeline tells.

    ``details`` is the event itself as JSON, its personal fields sealed. Nothing in it is read, so
    that whatever it says, who did it stands here.
    """

    details: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a case, with the event itself as JSON, personal fields sealed."""

    case: str
    version: int
    position: int
    at: datetime
    recorded_at: datetime
    name: str
    actor: str
    roles: str
    details: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A case whose person was forgotten, or that named somebody who was, up to a position."""

    object: str
    position: int


ENTRIES: Final = Table("entries", Entry, key=("position",), copied=True, by_row=True)
FORGOTTEN_CASES: Final = Table("forgotten", Forgotten, key=("object",))

EVENTS: Final = tuple(event for decider in AGGREGATES for event in decider.events)

OF_A_CASE: Final = case_stream("")
"""How the streams of cases begin, and no others."""


def as_json(value: Any) -> str:
    """An event, or a text in one, as it is stored."""
    return msgspec.json.encode(value).decode()


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Add the entries of a page, and say of those before a forgetting that they were forgotten."""
    wipings = [recorded for recorded in page if type(recorded.event) is PersonForgotten]
    if fresh:
        yield
        ENTRIES.append_values(connection, _values(page))
        _remember(connection, wipings)
        return
    # A forgetting waits for the steps that others are adding, and they for it, so that one of the
    # two sees the other.
    connection.execute(
        "LOCK TABLE forgotten IN EXCLUSIVE MODE"
        if wipings
        else "LOCK TABLE forgotten IN ROW SHARE MODE"
    )
    cases = Texts({each.stream for each in page if each.stream.startswith(OF_A_CASE)})
    forgotten = connection.execute(_ARE_FORGOTTEN, (cases,))
    yield
    ENTRIES.save_values(connection, _values(page))
    named = _remember(connection, wipings)
    if wipings or forgotten.fetchall():
        _wipe(connection, {*cases, *named})


def settle(connection: psycopg.Connection) -> None:
    """Wipe the steps that are older than a forgetting, wherever they and it were found."""
    _wipe(connection, None)


def _values(page: Sequence[Recorded[Any]]) -> list[tuple[Any, ...]]:
    """The events of a page as the columns of ``entries``, without a call for each of them."""
    return [
        (
            position, at, recorded_at, actor, roles, name, stream, version, territory, correlation,
            causation, json,
        )
        if stream.startswith(OF_A_CASE)
        else (
            position, at, recorded_at, actor, roles, name, stream, version, territory, correlation,
            causation, None,
        )
        for position, stream, version, _, name, at, actor, roles, recorded_at, territory,
            correlation, causation, json in page
    ]  # fmt: skip


def _remember(
    connection: psycopg.Connection, wipings: Sequence[Recorded[PersonForgotten]]
) -> Collection[str]:
    """Up to where each case is forgotten; returns these cases."""
    last: dict[str, int] = {}
    for each in wipings:
        cases = map(case_stream, each.event.cases)
        last |= {case: max(each.position, last.get(case, 0)) for case in cases}
    if last:
        connection.execute(_REMEMBER, (list(last), list(last.values())))
    return last


_REMEMBER: Final = b"""
    INSERT INTO forgotten AS f
    SELECT * FROM unnest(%s::text[], %s::bigint[]) AS new(object, position) ORDER BY object
    ON CONFLICT (object) DO UPDATE SET position = greatest(f.position, excluded.position)
"""
"""In one order, so that no two wait for each other."""

_ARE_FORGOTTEN: Final = b"SELECT FROM forgotten WHERE object = ANY(%s)"

_WIPE: Final = b"""
    UPDATE entries e SET details = replace(e.details, %(sealed)s, %(gone)s)
    FROM forgotten f
    WHERE hashtextextended(e.object, 0) = hashtextextended(f.object, 0) AND e.object = f.object
    AND e.position < f.position AND strpos(e.details, %(sealed)s) > 0
"""
"""Of a few cases by ``entries_object``, an index of hashes; of all in one look at the entries."""


def _wipe(connection: psycopg.Connection, cases: Collection[str] | None) -> None:
    """Wipe the steps of some cases, or of all, as far as they are forgotten."""
    # Only whole JSON strings match.
    given: dict[str, Any] = {"sealed": as_json(SEALED), "gone": as_json(FORGOTTEN)}
    if cases is None:
        connection.execute(_WIPE, given)
    else:
        connection.execute(
            _WIPE + b"AND f.object = ANY(%(cases)s)", given | {"cases": Texts(cases)}
        )


AUDIT: Final = Projection(
    name="audit",
    version=7,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(ENTRIES, FORGOTTEN_CASES),
    events=EVENTS,
    reads={event: UNREAD for event in EVENTS if event is not PersonForgotten},
    json=True,
    apply=apply,
    settle=settle,
    instead_of=("timeline",),
)
