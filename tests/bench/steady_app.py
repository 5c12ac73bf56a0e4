"""The control of the HTTP benchmark: a server that does the same small work for each request.

A piece of arithmetic that takes ``MICROSECONDS`` of a processor which nothing disturbs, then a
fixed answer: no database, no disk, no garbage, no framework, one request after another. What is
slow here now and then is the machine, and whoever shares it.
"""

import asyncio
import sys
import time
from functools import partial
from typing import Final, cast

import uvloop

MICROSECONDS: Final = 300.0
"""Work a request: no more than ours does for a command, so that its answers are no later."""

_ANSWER: Final = b'HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{"id":1}'


def work(steps: int) -> int:
    """So many steps."""
    value = 1
    for _ in range(steps):
        value = value * 1_664_525 % 4_294_967_296
    return value


def calibrated() -> int:
    """The steps that take so long; by the fastest of many tries, the others were disturbed."""
    tries = []
    for _ in range(200):
        begun = time.perf_counter()
        work(1_000)
        tries.append(time.perf_counter() - begun)
    return round(1_000 * MICROSECONDS / 1e6 / min(tries))


class Steady(asyncio.Protocol):
    """One connection. Each request comes in one piece, as ``load`` sends it."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        work(self._steps)
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Steady, calibrated()), "127.0.0.1", port)
    print("Ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
