"""A TCP proxy of our own that does to connections what networks do to them.

It stands between the server and PostgreSQL, or between clients and the server. Faults hold for the
connections that are open at that moment; those opened later work, so that a fault ends by itself.
"""

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final

_APPEND: Final = re.compile(rb"P.{4}([^\0]*)\0[^\0]*(?:log\.append\(|COMMIT)", re.DOTALL)
"""The Parse message of a statement that stores events: its group is the statement's name."""

_READY: Final = b"Z\0\0\0\x05I"
"""ReadyForQuery outside a transaction: whatever was sent before it is committed or failed."""

_RESET: Final = struct.pack("ii", 1, 0)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self.client = client
        self.server = server
        self.silent = False  # drops whatever is sent, in both directions
        self.statements: set[bytes] = set()  # prepared ones that store events
        self.storing = False  # such a statement has been sent, its answer has not come yet

    def stores(self, data: bytes) -> bool:
        """Whether some bytes of a PostgreSQL client ask to store events."""
        if named := _APPEND.findall(data):
            self.statements.update(name for name in named if name)
            return True
        # Sent again, a prepared statement is only named: portal, then statement.
        return any(b"\0" + name + b"\0" in data for name in self.statements)

    def reset(self) -> None:
        """End it with RST on both sides, as a peer that has vanished does."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        for writer in (self.client, self.server):
            writer.close()


class Proxy:
    """Listens on a port of its own and hands on to whatever ``upstream`` names at that moment."""

    def __init__(self, upstream: Callable[[], int], rng: Random) -> None:
        self.port = 0
        self.delay = 0.0
        self.refuse = False
        self.fired = 0
        self._upstream = upstream
        self._rng = rng
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lose = 0
        self._cut = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End everything."""
        if self._server:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- faults ---

    def reset(self, share: float = 1.0) -> int:
        """Reset a share of the connections; returns how many."""
        chosen = self._choose(share)
        for link in chosen:
            link.reset()
        return len(chosen)

    def drop(self, share: float = 1.0) -> Callable[[], int]:
        """Swallow what is sent over a share of the connections; the result called resets them."""
        chosen = self._choose(share)
        for link in chosen:
            link.silent = True

        def end() -> int:
            for link in chosen:
                link.reset()
            return len(chosen)

        return end

    def half_close(self, share: float = 1.0) -> int:
        """End one direction of a share of the connections; the other one stays open."""
        chosen = self._choose(share)
        for link in chosen:
            with suppress(OSError, RuntimeError):
                self._rng.choice((link.client, link.server)).write_eof()
        return len(chosen)

    def lose_answers(self, count: int) -> None:
        """Of the next stored appends, lose the answer: PostgreSQL has committed, nobody hears."""
        self._lose = count

    def cut_after_sending(self, count: int) -> None:
        """Cut the next appends off as soon as they are sent: nobody knows what became of them."""
        self._cut = count

    def _choose(self, share: float) -> list[_Link]:
        links = list(self._links)
        if share >= 1 or not links:
            return links
        return self._rng.sample(links, max(1, round(len(links) * share)))

    # --- handing on ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self.refuse:
                raise ConnectionRefusedError
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream())
        except OSError:
            writer.close()
            return
        link = _Link(writer, back)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._outward(link, reader))
                both.create_task(self._inward(link, there))
        except asyncio.CancelledError:
            pass  # by ``stop``; asyncio.streams would complain of it
        finally:
            self._links.discard(link)
            link.close()

    async def _outward(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """From the client to the server."""
        try:
            while data := await reader.read(65536):
                await self._wait()
                if link.silent:
                    continue
                stores = link.stores(data)
                link.storing = link.storing or stores
                link.server.write(data)
                await link.server.drain()
                if stores and self._cut > 0:
                    self._cut -= 1
                    self.fired += 1
                    link.reset()
            link.server.write_eof()
        except (OSError, RuntimeError):
            link.reset()

    async def _inward(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """From the server to the client."""
        try:
            while data := await reader.read(65536):
                await self._wait()
                if link.silent:
                    continue
                if link.storing and data.endswith(_READY):
                    link.storing = False
                    if self._lose > 0:
                        self._lose -= 1
                        self.fired += 1
                        link.reset()
                        return
                link.client.write(data)
                await link.client.drain()
            link.client.write_eof()
        except (OSError, RuntimeError):
            link.reset()

    async def _wait(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay * self._rng.random())
