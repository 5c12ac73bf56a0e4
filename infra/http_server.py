"""The HTTP server's protocol: an answer leaves in one piece, and its head is looked at once.

uvicorn writes the head of an answer and its body one after the other, and each write is a system
call that wakes the client. It also looks through each name and each value of the head by itself,
two dozen regular expressions an answer.
"""

import asyncio
import re
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)


class _Gathering:
    """A transport that writes once what is written to it before the event loop comes round."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write soon."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Close once everything is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._transport.write(b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Cycle(RequestResponseCycle):
    """One request and its answer."""

    async def send(self, message: Any) -> None:
        """Send the head or a piece of the body."""
        if not self._began(message):
            await super().send(message)

    def _began(self, message: Any) -> bool:
        """Whether this was the head of an ordinary answer, whose length is known, and is sent."""
        if self.response_started or self.disconnected or self.flow.write_paused:
            return False
        headers = message.get("headers", ())
        known = dict(headers)
        length = known.get(b"content-length")
        if length is None or not self.keep_alive or not _SPECIAL.isdisjoint(known):
            return False
        lines = [*map(b": ".join, self.default_headers), *map(b": ".join, headers)]
        head = b"\r\n".join(lines)
        if len(head.translate(None, _CONTROLS)) != len(head) - 2 * (len(lines) - 1):
            return False  # a value has one too, perhaps to go on in a line of its own: uvicorn's no
        self.response_started, self.waiting_for_100_continue = True, False
        self.chunked_encoding, self.expected_content_length = False, int(length)
        self.transport.write(b"%b%b\r\n\r\n" % (STATUS_LINE[message["status"]], head))
        return True


_CONTROLS = bytes({*range(0x20), 0x7F} - {ord("\t")})

_SPECIAL = frozenset({b"connection", b"transfer-encoding"})
"""Headers by which uvicorn does more than to send them."""


_OFFER = re.compile(rb"\r\nupgrade:(?![ \t]*websocket)[^\r\n]*", re.IGNORECASE)
"""Another protocol to go on in, of those that nobody here speaks."""


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection."""

    def data_received(self, data: bytes) -> None:
        """Take some bytes. An offer to go on in another protocol is taken out of a head: httptools
        passes over the body of such a request, and Java's client makes one with its first."""
        if b"pgrade" in data or b"PGRADE" in data:
            at_a_head = not getattr(self.cycle, "more_body", False)  # there may be none yet
            head, end, rest = data.partition(b"\r\n\r\n")
            if at_a_head and end:
                data = _OFFER.sub(b"", head) + end + rest
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Take a request, which is answered once the event loop comes round."""
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = _Cycle  # uvicorn has no place to name one

    def on_message_complete(self) -> None:
        """Note that all of a request has come: nobody needs to watch how long it takes."""
        super().on_message_complete()
        self.scope["wangge.whole"] = True  # type: ignore[typeddict-unknown-key]

    # uvicorn narrows the parameter of asyncio.BaseProtocol to asyncio.Transport, and so must we.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        gathering = cast("asyncio.Transport", _Gathering(transport, self.loop))
        super().connection_made(gathering)
