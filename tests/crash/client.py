"""A small HTTP/1.1 client that says exactly what it knows: an answer, or that none came."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

TIMEOUT: Final = 3.0


class Lost(Exception):
    """No whole answer came: the request may have been carried out, or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the members of the JSON body, and the headers that matter."""

    status: int
    body: Any
    etag: str = ""

    @property
    def code(self) -> str:
        """Of a problem document; empty on success."""
        return str(self.body.get("code", "")) if self.status >= 400 else ""

    @property
    def told(self) -> tuple[int, Any]:
        """What must be the same when the same request is sent again: all but the request's name."""
        return self.status, {k: v for k, v in self.body.items() if k != "instance"}


class Connection:
    """One connection, opened when it is needed and after it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT,
    ) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            Lost: the connection broke, what came was no answer, or nothing came in time.
        """
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: crash", f"Content-Length: {len(content)}"]
        if content:
            lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange("\r\n".join([*lines, "", ""]).encode() + content)
        except (OSError, EOFError, ValueError, IndexError, TimeoutError) as error:
            await self.close()
            raise Lost(repr(error)) from error

    async def _exchange(self, request: bytes) -> Answer:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        content = await self._reader.readexactly(int(fields["content-length"]))
        if fields.get("connection", "").lower() == "close":
            await self.close()
        return Answer(
            int(head[0].split()[1]), json.loads(content), fields.get("etag", "").strip('"')
        )

    async def close(self) -> None:
        """End the connection, if there is one."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
