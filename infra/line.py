"""One connection to the log for the server's event loop, as close to the wire as libpq goes.

A command's round trips are few and always the same, so they are prepared once, take their columns
as binary arrays (``infra.arrays``) and are sent and read by psycopg's own libpq binding. A cursor
costs 160 µs a call beside that, which is most of what an append of 8 events takes.

Queries do not wait for one another's answers: they are sent as they come, each a transaction of its
own, and answered in order. While the disk confirms one append the next is already on its way.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import psycopg
from eventsourcing.persistence import IntegrityError, OperationalError
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from infra.arrays import Column
from infra.migrations import with_options

PATIENCE: Final = 5.0
"""Seconds that the database may take for a round trip before it counts as away."""

CONNECT_SECONDS: Final = 3.0
"""Seconds that a new connection may take: everybody waits behind it."""

_BINARY: Final = Format.BINARY


def text(value: bytes) -> str:
    """A text column."""
    return value.decode()


def integer(value: bytes) -> int:
    """A column of integers of any width."""
    return int.from_bytes(value, "big", signed=True)


class Query(NamedTuple):
    """A statement with its name in the connection, and how its columns are read."""

    name: bytes
    statement: str
    reads: tuple[Callable[[bytes], Any], ...]


class Line:
    """Opened when it is needed, and again after it broke. In one event loop."""

    def __init__(self, conninfo: str) -> None:
        # Plans are made once a connection, and kept: left to itself PostgreSQL may plan every call
        # anew, which takes longer than the call. Perhaps the log is still empty, when reading all
        # of it looks cheap. Every query here looks few rows up by their keys.
        ways = ("seqscan", "hashjoin", "mergejoin", "bitmapscan")
        by_index = [f"-c enable_{way}=off" for way in ways]
        kept = "-c plan_cache_mode=force_generic_plan"
        self._conninfo = with_options(conninfo, *by_index, kept)
        self._opening = asyncio.Lock()
        self._wire: _Wire | None = None

    async def open(self) -> "_Wire":
        """The connection, which is the same one as long as it is whole; opened if there is none.

        Raises:
            OperationalError: the database cannot be reached.
        """
        try:
            return await self._open()
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            raise OperationalError(error) from error

    async def ask(
        self, query: Query, *columns: Column, only_on: object = None
    ) -> list[tuple[Any, ...]]:
        """The rows of a query, committed by itself; if wanted, only on the connection that
        ``open`` gave: nothing is sent on another one.

        Raises:
            IntegrityError: a row was there already.
            OperationalError: the database cannot be reached, or takes too long. What was asked
                may have been done.
            psycopg.Error: the database refuses for another reason; nothing was done.
        """
        parameters = [column.pack() for column in columns]
        wire = await self.open()
        if only_on is not None and only_on is not wire:
            raise OperationalError("the connection was lost meanwhile")
        return await self.told(query, wire.send(query, parameters))

    def send(self, query: Query, *columns: Column) -> asyncio.Future[PGresult] | None:
        """Send a query by the connection that is open, for ``told`` to read; None if there is none.

        Raises:
            psycopg.DataError: the database takes no such value; nothing was sent.
        """
        if self._wire is None or self._wire.broken:
            return None
        return self._wire.send(query, [column.pack() for column in columns])

    async def told(self, query: Query, answer: asyncio.Future[PGresult]) -> list[tuple[Any, ...]]:
        """The rows of a query that was sent; raises as ``ask``."""
        try:
            return rows_of(query, await answer)
        except psycopg.errors.UniqueViolation as error:
            raise IntegrityError(error) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            raise OperationalError(error) from error

    async def _open(self) -> "_Wire":
        if self._wire is not None and not self._wire.broken:
            return self._wire
        async with self._opening:
            if self._wire is None or self._wire.broken:
                await self.close()
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._wire = await _Wire.open(self._conninfo)
            return self._wire

    async def close(self) -> None:
        """Close the connection, if there is one; whoever waits for an answer hears of it."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


async def connected(conninfo: str) -> psycopg.AsyncConnection:
    """A new connection, autocommit.

    Whoever is cancelled meanwhile leaves nothing open: psycopg would let go of it only as garbage,
    and until then the server waits a minute for it to sign in, and nobody can drop the database.
    """
    making = asyncio.ensure_future(
        psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=round(CONNECT_SECONDS)
        )
    )
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait([making])
        if not making.cancelled() and making.exception() is None:
            await making.result().close()
        raise


def rows_of(query: Query, result: PGresult) -> list[tuple[Any, ...]]:
    """The rows of an answer."""
    value_of = result.get_value
    return [
        tuple(
            [
                None if (value := value_of(row, column)) is None else read(value)
                for column, read in enumerate(query.reads)
            ]
        )
        for row in range(result.ntuples)
    ]


class _Asked:
    """A query on its way, and when it was sent."""

    __slots__ = ("answer", "at", "preparing", "result")

    def __init__(self, answer: asyncio.Future[PGresult], at: float) -> None:
        self.answer = answer
        self.at = at
        self.preparing: bytes | None = None
        self.result: PGresult | None = None


class _Wire:
    """A connection that is open."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._pg: PGconn = connection.pgconn
        self._pg.enter_pipeline_mode()
        self._loop = asyncio.get_running_loop()
        self._prepared: set[bytes] = set()
        self._asked: deque[_Asked] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self.broken = False
        self._socket = self._pg.socket
        self._writing = False
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def open(cls, conninfo: str) -> "_Wire":
        """Sign in."""
        return cls(await connected(conninfo))

    async def close(self) -> None:
        """Leave."""
        self._give_up(psycopg.OperationalError("the connection was closed"))
        with suppress(Exception):
            await self._connection.close()

    def send(self, query: Query, parameters: list[bytes]) -> asyncio.Future[PGresult]:
        """Send a query and whatever it needs, all at once: nothing of another comes in between."""
        asked = _Asked(self._loop.create_future(), self._loop.time())
        self._asked.append(asked)
        try:
            if self.broken:
                raise psycopg.OperationalError("the connection is lost")
            if query.name not in self._prepared:
                asked.preparing = query.name
                self._pg.send_prepare(query.name, query.statement.encode())
                self._prepared.add(query.name)
            formats = [_BINARY] * len(parameters)
            self._pg.send_query_prepared(query.name, parameters, formats, _BINARY)
            self._pg.pipeline_sync()
        except psycopg.Error as error:
            self._give_up(error)
            return asked.answer
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._look)
        self._flush()
        return asked.answer

    def _look(self) -> None:
        """Whether the first query has waited too long: one look at times, not a timer for each."""
        self._watch = None
        if not self._asked:
            return
        left = self._asked[0].at + PATIENCE - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._give_up(psycopg.OperationalError(f"no answer within {PATIENCE:.0f} seconds"))

    def _flush(self) -> None:
        """Write what the socket takes, and the rest when it takes more."""
        try:
            more = bool(self._pg.flush())
        except psycopg.Error as error:
            self._give_up(error)
            return
        if more and not self._writing:
            self._loop.add_writer(self._socket, self._flush)
        elif self._writing and not more:
            self._loop.remove_writer(self._socket)
        self._writing = more

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            # Only while libpq has it at hand: to ask for more would stop the whole event loop.
            while self._asked and not self._pg.is_busy():
                self._read(self._pg.get_result())
        except psycopg.Error as error:
            self._give_up(error)

    def _read(self, result: PGresult | None) -> None:
        """One more piece of the answer to the first query that waits."""
        asked = self._asked[0]
        if result is None:
            if self._pg.status != ConnStatus.OK:
                raise psycopg.OperationalError("the server closed the connection")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            self._asked.popleft()
            if not asked.answer.done():  # the caller may be gone
                _tell(asked)
        elif result.status == ExecStatus.FATAL_ERROR:
            if result.error_field(DiagnosticField.SQLSTATE) is None:
                # Not the server's word but libpq's own: what became of the query is not known.
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
            if asked.preparing is not None:
                self._prepared.discard(asked.preparing)
            asked.result = result
        elif result.status == ExecStatus.COMMAND_OK:
            asked.preparing = None  # done
        elif result.status == ExecStatus.TUPLES_OK:
            asked.result = result

    def _give_up(self, error: Exception) -> None:
        if not self.broken:
            self.broken = True
            if self._watch is not None:
                self._watch.cancel()
            self._loop.remove_reader(self._socket)
            if self._writing:
                self._loop.remove_writer(self._socket)
        for asked in self._asked:
            if not asked.answer.done():
                asked.answer.set_exception(error)
        self._asked.clear()


def _tell(asked: _Asked) -> None:
    """Hand the answer over."""
    if asked.result is None:
        asked.answer.set_exception(psycopg.InternalError("a query without rows or error"))
    elif asked.result.status == ExecStatus.TUPLES_OK:
        asked.answer.set_result(asked.result)
    else:
        asked.answer.set_exception(psycopg.errors.error_from_result(asked.result))
