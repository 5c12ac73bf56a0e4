"""Any past: which position of the log a question is about, and what held as of it."""

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from domain.errors import Refused


def quoted(value: Any) -> sql.SQL:
    """A value as SQL, put into words once however often it is used."""
    return _quoted(value) if isinstance(value, Hashable) else _quoted.__wrapped__(value)


@lru_cache(1024, typed=True)
def _quoted(value: Any) -> sql.SQL:
    return sql.SQL(sql.Literal(value).as_string())


@dataclass(frozen=True, slots=True)
class Moment:
    """What a question calls now. ``position`` None: the present, as far as it is known."""

    at: datetime
    position: int | None = None

    def holds(self, table: str, *, passing: bool = False) -> sql.Composed:
        """Whether a span held, in SQL; see ``held``."""
        if self.position is not None:
            return held(table, self.position, passing=passing)
        begun, ended = sql.Identifier(table, "begun"), sql.Identifier(table, "ended")
        return sql.SQL("({} IS NULL AND {} IS NOT NULL)").format(ended, begun)


def held(table: str, position: int, *, passing: bool = False) -> sql.Composed:
    """Whether a span held as of a position, in SQL; ``table`` is what the question calls its table.

    ``passing``: said so that those that held are found among many more that did not, most of which
    held for fewer than ``PASSING`` positions, by indexes that tell these from the others.
    """
    begun, ended = sql.Identifier(table, "begun"), sql.Identifier(table, "ended")
    asked = _PASSING if passing else _HELD
    return sql.SQL(asked).format(begun, ended, quoted(position), quoted(PASSING))


PASSING: Final = 262_144
"""Positions: an open case of an office with 10 million events a year is over, or has changed,
within a week or so."""

_HELD: Final = "({0} <= {2} AND ({1} IS NULL OR {1} > {2}))"
_PASSING: Final = (
    "({0} <= {2} AND ({1} IS NULL"
    " OR ({1} - {0} <= {3} AND {0} > {2} - {3} AND {0} <= {2} AND {1} > {2})"
    " OR ({1} - {0} > {3} AND {1} > {2})))"
)


AsOf: TypeAlias = datetime | int | Moment
"""A time, a position of the log, or both, as an answer has given them."""

_LAST_BY: Final = """
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, position FROM log.head
    UNION ALL
    SELECT CASE WHEN e.recorded_at <= %(at)s THEN e.position ELSE s.low END,
           CASE WHEN e.recorded_at <= %(at)s THEN s.high ELSE e.position - 1 END
    FROM search s JOIN log.event e ON e.position = (s.low + s.high + 1) / 2
    WHERE s.low < s.high
)
SELECT low FROM search WHERE low = high
"""
"""Halving, since positions and times of recording go together; no index on the times is needed."""


def moment(connection: psycopg.Connection, as_of: AsOf | None, now: datetime) -> Moment:
    """The moment that a question is about; ``now`` is the present one.

    As of a position, it is the time at which the log took that position. What is yet to come has
    no answer: nothing is later than now.

    Raises:
        Refused: ``request.position_ahead``.
    """
    if as_of is None:
        return Moment(now)
    if isinstance(as_of, datetime):
        at = min(as_of, now)
        row = connection.execute(_LAST_BY, {"at": at}).fetchone()
        return Moment(at, row[0] if row else 0)
    position = as_of if isinstance(as_of, int) else as_of.position or 0
    query = "SELECT recorded_at FROM log.event WHERE position = %s"
    row = connection.execute(query, (position,)).fetchone() if position else (now,)
    if row is None:
        raise Refused("request.position_ahead", position=position)
    return Moment(row[0], position) if isinstance(as_of, int) else as_of
