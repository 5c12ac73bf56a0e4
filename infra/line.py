"""One connection to the log for the server's event loop, as close to the wire as libpq goes.

A command's round trips are few and always the same, so they are prepared once, take their columns
as binary arrays (``infra.arrays``) and are sent and read by psycopg's own libpq binding. A cursor
costs 160 µs a call beside that, which is most of what an append of 8 events takes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import psycopg
from eventsourcing.persistence import IntegrityError, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from infra.arrays import Column

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
        # Plans are made once a connection, perhaps while the log is empty, when reading all of it
        # looks cheap. Every query here looks few rows up by their keys.
        by_index = " ".join(
            f"-c enable_{way}=off" for way in ("seqscan", "hashjoin", "mergejoin", "bitmapscan")
        )
        self._conninfo = make_conninfo(conninfo, options=by_index)
        self._lock = asyncio.Lock()
        self._wire: _Wire | None = None

    async def open(self) -> object:
        """What stands for the connection as long as it is the same one; opened if there is none.

        Raises:
            OperationalError: the database cannot be reached.
        """
        async with self._lock:
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
        async with self._lock:
            try:
                wire = await self._open()
                if only_on not in (None, wire):
                    raise psycopg.OperationalError("the connection was lost meanwhile")
                async with asyncio.timeout(PATIENCE):
                    return await wire.ask(query, parameters)
            except psycopg.errors.UniqueViolation as error:
                raise IntegrityError(error) from error
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
                await self.close()
                raise OperationalError(error) from error
            except asyncio.CancelledError:
                # An answer may still come: it must not be taken for that of the next query.
                await self.close()
                raise

    async def _open(self) -> "_Wire":
        if self._wire is None or self._wire.broken:
            await self.close()
            async with asyncio.timeout(CONNECT_SECONDS):
                self._wire = await _Wire.open(self._conninfo)
        return self._wire

    async def close(self) -> None:
        """Close the connection, if there is one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


class _Wire:
    """A connection that is open, with one query on its way at most."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._pg: PGconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._prepared: set[bytes] = set()
        self._waiter: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self.broken = False
        self._socket = self._pg.socket
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def open(cls, conninfo: str) -> "_Wire":
        """Sign in."""
        return cls(await psycopg.AsyncConnection.connect(conninfo, autocommit=True))

    async def ask(self, query: Query, parameters: list[bytes]) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        name = query.name
        if name not in self._prepared:
            statement = query.statement.encode()
            await self._exchange(lambda: self._pg.send_prepare(name, statement))
            self._prepared.add(name)
        formats = [_BINARY] * len(parameters)
        result = await self._exchange(
            lambda: self._pg.send_query_prepared(name, parameters, formats, _BINARY)
        )
        return [
            tuple(
                None if (value := result.get_value(row, column)) is None else read(value)
                for column, read in enumerate(query.reads)
            )
            for row in range(result.ntuples)
        ]

    async def close(self) -> None:
        """Leave."""
        self._give_up(psycopg.OperationalError("the connection was closed"))
        with suppress(Exception):
            await self._connection.close()

    async def _exchange(self, send: Callable[[], None]) -> PGresult:
        """Send something and wait for its result."""
        self._waiter = self._loop.create_future()
        send()
        while self._pg.flush():  # more than the socket takes at a time
            await self._writable()
        result = await self._waiter
        self._waiter = None
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
        return result

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            # Only while libpq has it at hand: to ask for more would stop the whole event loop.
            while self._waiter and not self._waiter.done() and not self._pg.is_busy():
                result = self._pg.get_result()
                if result is None:
                    self._end(self._waiter)
                elif self._result is None:
                    self._result = result
        except psycopg.Error as error:
            self._give_up(error)

    def _end(self, waiter: asyncio.Future[PGresult]) -> None:
        """The end of an answer, which is its first result."""
        result, self._result = self._result, None
        if result is None:
            self._give_up(psycopg.OperationalError("the server closed the connection"))
        else:
            waiter.set_result(result)

    def _give_up(self, error: Exception) -> None:
        if not self.broken:
            self.broken = True
            self._loop.remove_reader(self._socket)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def go_on() -> None:  # called again and again until it is removed
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(self._socket, go_on)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket)
