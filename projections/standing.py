"""How far the read models are: what health checks, operators and Prometheus are told."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from projections import bulk
from projections.projection import Poison

_now: Final = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a read model is.

    ``lag`` is in positions, ``lag_seconds`` since when the oldest event that it does not know yet
    is in the log. ``error`` says why it stands still, ``poison`` at which event; both are None
    while it goes on. ``building`` is how many positions a rebuild beside it has behind it, and of
    how many; None where none is under way.
    """

    name: str
    position: int = 0
    lag: int = 0
    lag_seconds: float = 0.0
    error: str | None = None
    poison: Poison | None = None
    paused: bool = False
    building: tuple[int, int] | None = None

    @property
    def well(self) -> bool:
        """Whether it goes on."""
        return self.error is None and not self.paused


@dataclass(frozen=True, slots=True)
class Carried:
    """How far a topic has the log (``wangge relay``).

    ``lag`` is in positions, ``lag_seconds`` since when the oldest event it lacks is in the log.
    """

    topic: str
    position: int
    lag: int
    lag_seconds: float


def carried(connection: psycopg.Connection) -> list[Carried]:
    """How far the topics are that the log of this database was ever carried to."""
    rows = connection.execute(
        "SELECT t.topic, t.position, h.position - t.position,"
        " coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8"
        " FROM relay.topic t CROSS JOIN log.head h"
        " LEFT JOIN log.event e ON e.position = t.position + 1 ORDER BY t.topic"
    )
    return [Carried(topic, at, max(lag, 0), max(age, 0.0)) for topic, at, lag, age in rows]


def clock_ahead(connection: psycopg.Connection) -> float:
    """By how many seconds the clock of this machine is ahead of the database's, to about the time
    that a question takes; negative: behind."""
    asked = _now()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    ahead: float = (asked + _now()) / 2 - row[0]
    return ahead


def standings(connection: psycopg.Connection, names: Iterable[str]) -> list[Standing]:
    """How far read models are behind the log of the same database."""
    return [_standing(connection, name) for name in names]


def _standing(connection: psycopg.Connection, name: str) -> Standing:
    paused = _first(connection, "SELECT true FROM projector.paused WHERE projection = %s", (name,))
    row = None
    try:
        row = connection.execute(
            sql.SQL(
                "SELECT position, error, poison, poison_name, poison_stream FROM {}"
                " ORDER BY error IS NULL, position LIMIT 1"
            ).format(sql.Identifier(name, "checkpoint"))
        ).fetchone()
        building = bulk.standing(connection, f"{name}_rebuild")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        building = None  # not built yet, or just being put in place
    position, error, poison, poison_name, poison_stream = row or (0, None, None, "", "")
    # After the position: what is appended in between must not look like a read model ahead.
    head = _first(connection, "SELECT position FROM log.head") or 0
    waiting = _first(
        connection,
        "SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8 FROM log.event"
        " WHERE position = %s",
        (position + 1,),
    )
    return Standing(
        name=name,
        position=position,
        lag=max(head - position, 0),
        lag_seconds=max(waiting or 0.0, 0.0),
        error=error,
        poison=Poison(poison, poison_name, poison_stream, error or "") if poison else None,
        paused=bool(paused),
        building=building,
    )


def _first(
    connection: psycopg.Connection, query: str, values: tuple[object, ...] = ()
) -> float | None:
    row = connection.execute(query.encode(), values).fetchone()
    return row[0] if row else None
