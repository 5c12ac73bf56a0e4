"""The timeline of a case (办理过程): every step with its details, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from domain.aggregates import CASE
from domain.history import Recorded
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
    """One event of a case. ``details`` is the event itself as JSON."""

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
    """Add the steps of a page."""
    STEPS.append(connection, map(fold, page))


TIMELINE: Final = Projection(
    name="timeline",
    version=1,
    schema=SCHEMA,
    tables=(STEPS,),
    events=CASE.events,
    apply=apply,
)
