"""The load of the HTTP benchmark: a small HTTP/1.1 client of its own process, for both sides.

Each connection is kept open, sends a request, waits for its answer and sends the next. Requests are
bytes made beforehand as far as possible, and of an answer only the status, the length and, where a
script asks for it, the body are looked at, so that the client costs little beside a server.

It reads one JSON object from standard input (see ``Order``) and writes one to standard output.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import uvloop

Script = Generator[bytes, bytes, None]
"""Gives requests and is handed the body of each answer."""

NOTES: Final = 5
"""Notes in the life of a case, beside its report, its dispatch and its acceptance."""

LIFE: Final = 3 + NOTES
"""Requests in the life of a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do: which script, where, on how many connections and for how long."""

    script: str
    host: str
    port: int
    connections: int
    seconds: float
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: when it began and ended, how long each request took, what was refused."""

    done: int
    seconds: float
    cpu_seconds: float
    waits: list[float]
    failures: list[str]


def request(order: Order, path: str, body: object, token: str = "") -> bytes:
    """The bytes of one POST."""
    sent = json.dumps(body, ensure_ascii=False).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {order.host}:{order.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(sent)}",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent


def casework(order: Order, place: int) -> Script:
    """Cases one after another: reported and filed, dispatched, accepted, and noted on.

    The first case of each connection has as many notes as its place says, in turn: else all of
    them would report at the same time, again and again, as no office does.
    """
    worker, dispatcher = order.facts["worker"], order.facts["dispatcher"]
    api = order.facts["api"]
    report = request(
        order,
        f"{api}/cases",
        {
            "territory": order.facts["territory"],
            "category": "exposed_garbage",
            "description": "3 号楼下垃圾桶满溢，污水流到路面，居民反映已有两天。",
        },
        worker,
    )
    marked = "CASE"
    dispatch = request(order, f"{api}/cases/{marked}/dispatch", {}, dispatcher)
    accept = request(order, f"{api}/cases/{marked}/accept", {}, worker)
    note = request(
        order, f"{api}/cases/{marked}/note", {"text": "已到现场查看，正在联系清运。"}, worker
    )
    notes = place % LIFE
    while True:
        answered = yield report
        case = answered.split(b'"case":"', 1)[1].split(b'"', 1)[0]
        for step in (dispatch, accept, *[note] * notes):
            yield step.replace(marked.encode(), case, 1)
        notes = NOTES


def inserts(order: Order, _place: int) -> Script:
    """What the minimal route takes."""
    sent = request(
        order,
        "/notes",
        {"case": "20261123-ABCDEFGH", "author": "li", "text": "已到现场查看，正在联系清运。"},
    )
    while True:
        yield sent


SCRIPTS: Final[dict[str, Callable[[Order, int], Script]]] = {
    "casework": casework,
    "inserts": inserts,
}
"""Made for each connection, with its place among all."""


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, script: Script, waits: list[float], failures: list[str]) -> None:
        self.script = script
        self.waits = waits
        self.failures = failures
        self.received = b""
        self.sent_at = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, transport: asyncio.Transport, ends: float) -> None:
        """Send the first request."""
        self.transport, self.ends = transport, ends
        self._send(next(self.script))

    def _send(self, sent: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.transport.write(sent)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        now = time.perf_counter()
        if head[9:10] != b"2":
            self.failures.append(self.received.decode(errors="replace"))
            self._end()
            return
        self.received = b""
        # What was still under way when time was up is not counted, and not waited for any longer.
        if now < self.ends:
            self.waits.append(now - self.sent_at)
            self._send(self.script.send(body))
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.failures.append(f"the connection ended: {exc}")
            self.over.set_result(None)

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self.transport.close()


async def carry_out(order: Order) -> Answer:
    """All connections are opened before the first request is sent."""
    waits: list[float] = []
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    callers = []
    for place in range(order.connections):
        script = SCRIPTS[order.script](order, place)
        made = await loop.create_connection(
            partial(Caller, script, waits, failures),
            order.host,
            order.port,
        )
        callers.append(made)
    spent, begun = time.process_time(), time.perf_counter()
    for transport, caller in callers:
        caller.begin(transport, begun + order.seconds)
    await asyncio.gather(*(caller.over for _, caller in callers))
    took = min(order.seconds, time.perf_counter() - begun)
    return Answer(len(waits), took, time.process_time() - spent, waits, failures[:3])


def main() -> None:
    """Do as standard input says."""
    given: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(uvloop.run(carry_out(Order(**given)))), sys.stdout)


if __name__ == "__main__":
    main()
