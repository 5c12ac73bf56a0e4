"""The timeline of a case (办理过程): every step with its details, in order.

Personal fields are sealed in it; those of a case whose person was forgotten say so, up to there.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from domain.aggregates import CASE
from domain.history import Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from projections.projection import Projection
from projections.tables import Stepwise, Table, Texts, case_id

SCHEMA: Final = """
CREATE TABLE steps (
    "case"      text COLLATE "C" NOT NULL,
    version     integer     NOT NULL,
    position    bigint      NOT NULL,
    at          timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    name        text        COLLATE "C" NOT NULL,
    actor       text        COLLATE "C" NOT NULL,
    roles       text        COLLATE "C" NOT NULL,
    tier        smallint    NOT NULL,
    episode     integer     NOT NULL,
    details     text        NOT NULL,
    PRIMARY KEY ("case", version)
);

CREATE TABLE forgotten (
    "case"   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a case. ``details`` is the event itself as JSON, its personal fields sealed."""

    case: str
    version: int
    position: int
    at: datetime
    recorded_at: datetime
    name: str
    actor: str
    roles: str
    tier: int
    episode: int
    details: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A case whose person was forgotten, or that named somebody who was, up to a position."""

    case: str
    position: int


STEPS: Final = Table("steps", Step, key=("case", "version"), copied=True, by_row=True)
FORGOTTEN_CASES: Final = Table("forgotten", Forgotten, key=("case",))


def as_json(value: Any) -> str:
    """An event, or a text in one, as it is stored."""
    return msgspec.json.encode(value).decode()


def fold(recorded: Recorded[Any]) -> tuple[Any, ...]:
    """The columns of the step that an event is."""
    position, _, version, event, name, at, actor, roles, recorded_at, *_, json = recorded
    case, tier, episode = case_id(recorded), event.tier, event.episode
    return case, version, position, at, recorded_at, name, actor, roles, tier, episode, json


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Add the steps of a page, and say of those before a forgetting that they were forgotten."""
    wipings = [recorded for recorded in page if type(recorded.event) is PersonForgotten]
    if not fresh:
        # A forgetting waits for the steps that others are adding, and they for it, so that one of
        # the two sees the other.
        connection.execute(
            "LOCK TABLE forgotten IN EXCLUSIVE MODE"
            if wipings
            else "LOCK TABLE forgotten IN ROW SHARE MODE"
        )
    steps = [fold(each) for each in page if type(each.event) is not PersonForgotten]
    cases = Texts(() if fresh else {step[0] for step in steps})
    forgotten = None if fresh else connection.execute(_ARE_FORGOTTEN, (cases,))
    yield
    if fresh:
        STEPS.append_values(connection, steps)
    else:
        STEPS.save_values(connection, steps)
    if wipings:
        _remember(connection, wipings)
    if forgotten is not None and (wipings or forgotten.fetchall()):
        _wipe(connection, {*cases, *(case for each in wipings for case in each.event.cases)})


def settle(connection: psycopg.Connection) -> None:
    """Wipe the steps that are older than a forgetting, wherever they and it were found."""
    _wipe(connection, None)


def _remember(connection: psycopg.Connection, wipings: Sequence[Recorded[PersonForgotten]]) -> None:
    """Up to where each case is forgotten. In one order, so that no two wait for each other."""
    last: dict[str, int] = {}
    for each in wipings:
        last |= {case: max(each.position, last.get(case, 0)) for case in each.event.cases}
    connection.execute(
        """
        INSERT INTO forgotten AS f
        SELECT * FROM unnest(%s::text[], %s::bigint[]) AS new("case", position) ORDER BY "case"
        ON CONFLICT ("case") DO UPDATE SET position = greatest(f.position, excluded.position)
        """,
        (list(last), list(last.values())),
    )


_ARE_FORGOTTEN: Final = b'SELECT FROM forgotten WHERE "case" = ANY(%s)'

_WIPE: Final = b"""
    UPDATE steps s SET details = replace(s.details, %(sealed)s, %(gone)s)
    FROM forgotten f
    WHERE s."case" = f."case" AND s.position < f.position AND strpos(s.details, %(sealed)s) > 0
"""


def _wipe(connection: psycopg.Connection, cases: Collection[str] | None) -> None:
    """Wipe the steps of some cases, or of all, as far as they are forgotten."""
    # Only whole JSON strings match.
    given: dict[str, Any] = {"sealed": as_json(SEALED), "gone": as_json(FORGOTTEN)}
    if cases is None:
        connection.execute(_WIPE, given)
    else:
        connection.execute(
            _WIPE + b'AND s."case" = ANY(%(cases)s)', given | {"cases": Texts(cases)}
        )


TIMELINE: Final = Projection(
    name="timeline",
    version=3,
    schema=SCHEMA,
    tables=(STEPS, FORGOTTEN_CASES),
    events=(*CASE.events, PersonForgotten),
    reads=dict.fromkeys(CASE.events, "tier episode"),
    json=True,
    apply=apply,
    settle=settle,
)
