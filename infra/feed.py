"""The live feed: one follower of the log in each server process, whatever the number of clients.

The last events are kept in memory once for all of them, and each client has a place in the log and
no buffer of its own: so one that is slow costs nothing, and when what it has not read is gone from
memory it is told to come back. Who comes back, with the last position it has seen, is read to from
the log until it has caught up. While nobody listens the log is not followed: to be woken by every
commit and to read it would take a lone command's own time once more.

Rights change by events of the same log: what is handed out together with a position has been read
after the register of staff was brought up to that position.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Final

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from domain.news import News
from domain.staff import Staff
from infra.event_store import EventStore
from infra.line import connected
from infra.news import QUERY, told

KEPT: Final = 5_000
"""Events kept in memory, at most: some 2 MB."""

PAGE: Final = 1_000
"""Positions read at a time."""

CATCHING_UP: Final = 2
"""Clients that are read to from the log at the same time: they share the server's connections."""

POLL_SECONDS: Final = 2.0
"""How long to wait for a notification before looking anyway."""

AGAIN_SECONDS: Final = 0.5
"""How long to wait after something went wrong."""

LINGER_SECONDS: Final = 60.0
"""How long to follow on after somebody listened: longer than any client goes without waiting."""

log = structlog.get_logger(__name__)


class Feed:
    """Follows the log for many clients. Use as an asynchronous context manager, in one loop."""

    def __init__(
        self, store: EventStore, pool: ConnectionPool, conninfo: str, *, kept: int = KEPT
    ) -> None:
        """``pool`` and ``conninfo`` sign in as ``wangge_app``; one connection is held as long as
        somebody listens."""
        self._store = store
        self._pool = pool
        self._conninfo = conninfo
        self._size = kept
        self._kept: deque[News] = deque()
        self._gone = 0
        self._closed = False
        self.position = 0
        self.staff = Staff()

    async def __aenter__(self) -> "Feed":
        self._begun, self._changed = asyncio.Event(), asyncio.Event()
        self._wanted, self._until = asyncio.Event(), 0.0
        self._reading = asyncio.Semaphore(CATCHING_UP)
        self._closed = False
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def close(self) -> None:
        """Let the streams end. From the loop's own thread."""
        self._closed = True
        self._changed.set()

    @property
    def closed(self) -> bool:
        """Whether streams are to end, for the server stops."""
        return self._closed

    @property
    def alive(self) -> bool:
        """Whether the log is followed, or would be for who listens."""
        return not self._task.done()

    async def ready(self, seconds: float) -> bool:
        """Whether the log is followed by now; waits for that. To be asked before all else."""
        self._listened()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()
        return self._begun.is_set()

    def since(self, after: int) -> list[News] | None:
        """What is new after a position; None where some of it is no longer kept."""
        if after < self._gone:
            return None
        found: list[News] = []
        for each in reversed(self._kept):
            if each.position <= after:
                break
            found.append(each)
        found.reverse()
        return found

    async def page(self, after: int) -> tuple[list[News], int]:
        """What is new after a position, from the log; up to which position that is."""
        upto = min(after + PAGE, self.position)
        async with self._reading:
            rows = await asyncio.to_thread(self._read, after, upto)
        return told(rows).news, upto

    async def wait(self, after: int, seconds: float) -> bool:
        """Wait until there is something after a position; whether there is."""
        self._listened()
        if self.position <= after and not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        return self.position > after

    def _listened(self) -> None:
        self._until = asyncio.get_running_loop().time() + LINGER_SECONDS
        self._wanted.set()

    def _read(self, after: int, upto: int) -> list[tuple[Any, ...]]:
        with self._pool.connection() as connection:
            return connection.execute(QUERY, (after, upto), binary=True).fetchall()

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                async with await connected(self._conninfo) as connection:
                    await self._follow_by(connection)
            except Exception as error:  # whatever it is, nobody else would go on
                log.warning("feed.interrupted", exc_info=error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _follow_by(self, connection: psycopg.AsyncConnection) -> None:
        # Before the first read: a notification between reading and listening is lost.
        await connection.execute("LISTEN log")
        if not self._begun.is_set():
            await self._begin(connection)
        while asyncio.get_running_loop().time() < self._until:
            while await self._advance(connection):
                pass
            async for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                pass
        # Whoever listens next begins at what will be the end of the log then.
        self._begun.clear()
        self._wanted.clear()

    async def _begin(self, connection: psycopg.AsyncConnection) -> None:
        """Stand at the end of the log; what came before is read from it, by who asks."""
        cursor = await connection.execute("SELECT position FROM log.head")
        row = await cursor.fetchone()
        self._gone = row[0] if row else 0
        self.staff = await self._present()
        self._kept.clear()
        self._publish([], self._gone)
        self._begun.set()

    async def _advance(self, connection: psycopg.AsyncConnection) -> bool:
        """Take in what is new, a page at most; whether there may be more."""
        # Positions have no holes: the end of the log need not be asked for.
        reach = self.position + PAGE
        cursor = await connection.execute(QUERY, (self.position, reach), binary=True)
        rows = await cursor.fetchall()
        if not rows:
            return False
        found = told(rows)
        if found.staff:
            self.staff = await self._present()
        self._publish(found.news, rows[-1][0])
        return self.position == reach

    async def _present(self) -> Staff:
        return (await asyncio.to_thread(self._store.office)).staff

    def _publish(self, news: list[News], position: int) -> None:
        """Show what is new, and wake who waits."""
        self._kept.extend(news)
        while len(self._kept) > self._size:
            self._gone = self._kept.popleft().position
        self.position = position
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
