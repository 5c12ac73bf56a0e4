"""Bugs that are planted into the forked processes: the harness must catch every one of them.

They are wrapped around the program from outside and are no part of it.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import psycopg

ASGI = Callable[..., Any]

_NOTE: Final = re.compile(r"/cases/([^/]+)/note$")


def _around_the_app(wrap: Callable[[ASGI], ASGI]) -> None:
    import api.app

    create = api.app.create_app
    api.app.create_app = lambda services: wrap(create(services))  # type: ignore[assignment,return-value]  # that it fits no more is the plant


def _without_header(name: bytes) -> Callable[[], None]:
    """The program never hears of a header."""

    def wrap(app: ASGI) -> ASGI:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                headers = [each for each in scope["headers"] if each[0].lower() != name]
                scope = scope | {"headers": headers}
            await app(scope, receive, send)

        return wrapped

    return lambda: _around_the_app(wrap)


def _without_position() -> None:
    """A query that names the position it must know is answered with whatever is known."""

    def wrap(app: ASGI) -> ASGI:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope = scope | {"query_string": b""}
            await app(scope, receive, send)

        return wrapped

    _around_the_app(wrap)


class _Guess:
    """Answers notes before or instead of the truth, as the last true answer lets it expect."""

    def __init__(self, app: ASGI, *, first: bool) -> None:
        self.app = app
        self.first = first
        self.last: dict[str, dict[str, Any]] = {}
        self.position = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        note = _NOTE.search(scope.get("path", "")) if scope["type"] == "http" else None
        if note is None:
            await self.app(scope, receive, send)
        elif note[1] not in self.last:
            await self._whatever_comes(scope, receive, send, note[1])
        elif self.first:
            await self._too_early(scope, receive, send, note[1])
        else:
            await self._whatever_comes(scope, receive, send, note[1])

    async def _too_early(self, scope: Any, receive: Any, send: Any, case: str) -> None:
        """Answer at once, and store it a little later."""
        message = await receive()

        async def replay() -> Any:
            return message

        async def later() -> None:
            async with self.turn:
                await asyncio.sleep(0.1)
                await self.app(scope, replay, _nobody)

        task = asyncio.create_task(later())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        await self._say_yes(send, case)

    async def _whatever_comes(self, scope: Any, receive: Any, send: Any, case: str) -> None:
        """Pass on what the program answers, but success where it could not, if that is planted."""
        kept = []

        async def keep(message: Any) -> None:
            kept.append(message)

        await self.app(scope, receive, keep)
        if kept[0]["status"] >= 500 and not self.first and case in self.last:
            await self._say_yes(send, case)
            return
        if kept[0]["status"] == 200:
            self.last[case] = json.loads(b"".join(m.get("body", b"") for m in kept[1:]))
            self.position = self.last[case]["position"]
        for message in kept:
            await send(message)

    async def _say_yes(self, send: Any, case: str) -> None:
        self.position += 1
        version = self.last[case]["version"] + 1
        self.last[case] |= {"version": version, "position": self.position}
        body = json.dumps(self.last[case] | {"events": ["case.note_added"]}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _nobody(_message: Any) -> None:
    """To whom a late answer goes."""


def _checkpoint_first() -> None:
    """The projector says how far it is before it has written the rows."""
    from projections import schemas
    from projections.runner import Runner

    writing: dict[str, threading.Thread] = {}  # by schema: the rows that come after the checkpoint
    claim = schemas.claim

    def too_early(projection: Any) -> Any:
        def apply(connection: psycopg.Connection, events: Any, fresh: bool) -> None:
            row = connection.execute("SELECT current_schema()").fetchone()
            assert row is not None
            schema, info = row[0], connection.info

            def write() -> None:
                time.sleep(0.05)
                with psycopg.connect(info.dsn, password=info.password) as other:
                    schemas.use(other, schema)
                    projection.apply(other, events, fresh)

            writing[schema] = threading.Thread(target=write)
            writing[schema].start()

        return replace(projection, apply=apply)

    def after_the_rows(connection: psycopg.Connection, schema: str, version: int, part: str) -> int:
        if schema in writing:
            writing.pop(schema).join()
        return claim(connection, schema, version, part)

    begin = Runner.__init__

    def planted(self: Runner, source: Any, connect: Any, projections: Any, **given: Any) -> None:
        begin(self, source, connect, tuple(map(too_early, projections)), **given)

    Runner.__init__ = planted  # type: ignore[method-assign]  # a plant changes what it must
    schemas.claim = after_the_rows


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "answers before it stores": lambda: _around_the_app(lambda app: _Guess(app, first=True)),
    "takes an error for success": lambda: _around_the_app(lambda app: _Guess(app, first=False)),
    "forgets the key": _without_header(b"idempotency-key"),
    "forgets the position": _without_position,
    "forgets If-Match": _without_header(b"if-match"),
    "writes its checkpoint first": _checkpoint_first,
}
