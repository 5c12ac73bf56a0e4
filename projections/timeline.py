"""The timeline of a case (办理过程): every step with its details, in order.

Personal fields are sealed in it; those of a case whose person was forgotten say so, up to there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from domain.aggregates import CASE
from domain.history import Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from projections.runner import Projection
from projections.tables import Table, case_id

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


STEPS: Final = Table("steps", Step, key=("case", "version"))

_encoder: Final = msgspec.json.Encoder()


def fold(recorded: Recorded[Any]) -> Step:
    """The step that an event is."""
    event = recorded.event
    return Step(
        case=case_id(recorded),
        version=recorded.version,
        position=recorded.position,
        at=recorded.at,
        recorded_at=recorded.recorded_at,
        name=recorded.name,
        actor=recorded.actor,
        roles=",".join(recorded.roles),
        tier=event.tier,
        episode=event.episode,
        details=_encoder.encode(event).decode(),
    )


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
    """Add the steps of a page, and say of those before a forgetting that they were forgotten."""
    STEPS.append(
        connection, (fold(each) for each in page if not isinstance(each.event, PersonForgotten))
    )
    forgotten = [
        (case, recorded.position)
        for recorded in page
        if isinstance(recorded.event, PersonForgotten)
        for case in recorded.event.cases
    ]
    if forgotten:
        # Only whole JSON strings match, and only in steps that were there: pages of any size agree.
        connection.execute(
            """
            UPDATE steps s SET details = replace(s.details, %s, %s)
            FROM (SELECT "case", max(position) AS position
                  FROM unnest(%s::text[], %s::bigint[]) AS f("case", position)
                  GROUP BY "case") f
            WHERE s."case" = f."case" AND s.position < f.position
            """,
            (
                _encoder.encode(SEALED).decode(),
                _encoder.encode(FORGOTTEN).decode(),
                [case for case, _ in forgotten],
                [position for _, position in forgotten],
            ),
        )


TIMELINE: Final = Projection(
    name="timeline",
    version=2,
    schema=SCHEMA,
    tables=(STEPS,),
    events=(*CASE.events, PersonForgotten),
    apply=apply,
)
