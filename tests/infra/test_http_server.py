"""What leaves the server is, byte for byte, what uvicorn's own protocol would have sent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from infra.http_server import Protocol

PLAIN = [(b"content-length", b"5"), (b"content-type", b"text/plain"), (b"x-name", "李".encode())]

HEADS: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = {
    "plain": (200, PLAIN),
    "created": (201, [*PLAIN, (b"location", b"/cases/1")]),
    "two of a name": (200, [*PLAIN, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]),
    "no length": (200, PLAIN[1:]),
    "the last one": (200, [*PLAIN, (b"connection", b"close")]),
    "in chunks": (200, [(b"transfer-encoding", b"chunked")]),
    "a longer length": (200, [(b"content-length", b"6")]),
    "a shorter length": (200, [(b"content-length", b"4")]),
    "a line of its own": (200, [*PLAIN, (b"x-name", b"a\r\nset-cookie: b=2")]),
    "half a line": (200, [*PLAIN, (b"x-name", b"a\nset-cookie: b=2")]),
    "a zero": (200, [*PLAIN, (b"x-name", b"a\0b")]),
    "a tab": (200, [*PLAIN, (b"x-name", b"a\tb")]),
    "beyond ASCII": (200, [*PLAIN, (b"x-name", b"\xe6\x9d\x8e")]),
}

SPLITTING = ("a line of its own", "half a line", "a zero")
"""Heads that are not sent at all."""

ASKED = {
    "get": b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    "head": b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "post": b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "the last one": b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "an older one": b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
    "two at once": b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2,
}


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answered(
    protocol: Callable[..., Any], status: int, headers: list[tuple[bytes, bytes]], asked: bytes
) -> tuple[bytes, bool]:
    """What a protocol writes, and whether it closes the connection then."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    config = uvicorn.Config(app, log_config=None, access_log=False)
    config.load()
    state, wire = ServerState(), Wire()
    state.default_headers = [(b"date", b"today")]
    connection = protocol(config, state, {}, _loop=asyncio.get_running_loop())
    connection.connection_made(wire)
    connection.data_received(asked)
    while state.tasks:
        await asyncio.gather(*state.tasks)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    return wire.sent, wire.closed


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("head", HEADS)
def test_answers_are_what_uvicorn_sends(head: str, asked: str) -> None:
    async def story() -> None:
        given = (*HEADS[head], ASKED[asked])
        ours = await answered(Protocol, *given)
        assert ours == await answered(HttpToolsProtocol, *given)
        assert ours[0].startswith(b"HTTP/1.1 ") is (head not in SPLITTING)

    asyncio.run(story())


@pytest.mark.parametrize("head", SPLITTING)
def test_no_header_goes_on_in_another_line(head: str) -> None:
    assert asyncio.run(answered(Protocol, *HEADS[head], ASKED["get"])) == (b"", True)


HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"

CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"

WHOLE: dict[str, tuple[list[bytes], list[bool]]] = {
    "at once": ([HEAD % b"a" + b"ab"], [True]),
    "no body": ([ASKED["get"]], [True]),
    "the head first": ([HEAD % b"a", b"ab"], [False]),
    "in pieces": ([HEAD % b"a" + b"a", b"b"], [False, False]),
    "in chunks": ([CHUNKED, b"1\r\nb\r\n", b"0\r\n\r\n"], [False, False, False]),
    "chunks at once": ([CHUNKED + b"0\r\n\r\n"], [True]),
    "a slow one behind": ([HEAD % b"a" + b"ab" + HEAD % b"b" + b"a", b"b"], [True, False, False]),
    "half a head behind": (
        [HEAD % b"a" + b"ab" + (HEAD % b"b")[:9], (HEAD % b"b")[9:] + b"ab"],
        [True, True],
    ),
}
"""What comes, and for each piece that the application asks for whether all had come before."""


@pytest.mark.parametrize(("pieces", "whole"), WHOLE.values(), ids=WHOLE)
def test_a_request_is_whole_only_when_all_of_it_has_come(
    pieces: list[bytes], whole: list[bool]
) -> None:
    known = list[bool]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            known.append("wangge.whole" in scope)
            more = (await receive())["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        await send({"type": "http.response.body", "body": b"hello"})

    async def story() -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False)
        config.load()
        state = ServerState()
        connection = Protocol(config, state, {}, _loop=asyncio.get_running_loop())
        connection.connection_made(Wire())
        for piece in pieces:
            connection.data_received(piece)
            for _ in range(10):
                await asyncio.sleep(0)  # the application takes what there is
        await asyncio.gather(*state.tasks)
        connection.connection_lost(None)

    asyncio.run(story())
    assert known == whole


OFFERED = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 17\r\n"
    b"%b: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n\r\n\r\nUpgrade: h2c\r\n\r"
)
"""As Java's client sends a first request; its body is a line that looks like one of the head."""


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "in two"])
def test_an_offer_of_another_protocol_costs_nobody_the_body(name: bytes, cut: bool) -> None:
    bodies = list[bytes]()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        await send({"type": "http.response.body", "body": b"hello"})

    async def story() -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False)
        config.load()
        state, wire = ServerState(), Wire()
        connection = Protocol(config, state, {}, _loop=asyncio.get_running_loop())
        connection.connection_made(wire)
        asked = OFFERED % name
        within = asked.index(b"\r\n\r\n") + 7  # within the body
        pieces = [asked[:within], asked[within:]] if cut else [asked]
        for piece in (*pieces, HEAD % b"b" + b"ab"):
            connection.data_received(piece)
            for _ in range(10):
                await asyncio.sleep(0)
        await asyncio.gather(*state.tasks)
        assert wire.sent.count(b"HTTP/1.1 200") == 2
        connection.connection_lost(None)

    asyncio.run(story())
    assert bodies == [b"\r\nUpgrade: h2c\r\n\r", b"ab"]
