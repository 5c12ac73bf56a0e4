"""The short way of commands to cases, which are most of what a busy server does.

FastAPI finds a route by trying one after another, solves its dependencies and validates in general;
for these commands that takes three times what the command itself does. What is plain, a well-formed
POST to a known step, goes straight to the same endpoint here. Everything else, also whatever is not
as it must be, takes the long way through FastAPI, which alone decides what is answered to it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import demand_person
from api.headers import header
from api.services import API

_CASES: Final = f"{API}/cases"
_CASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_VERSION: Final = re.compile(r'"(\d{1,9})"')


class Stop(NamedTuple):
    """A command's endpoint and what its body is; ``empty`` stands for a body that is not there."""

    endpoint: Callable[..., Awaitable[Response]]
    body: type[BaseModel]
    empty: BaseModel | None


class Lane:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, report: Stop, steps: Mapping[str, Stop]) -> None:
        """``steps`` by the last part of their paths; their endpoints take ``case`` and ``expected``
        as well."""
        self.app = app
        self._report = report
        self._steps = steps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, the short way if it can be."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        given: dict[str, Any] = {}
        stop = self._stop(scope["path"], given)
        if stop is None:
            await self.app(scope, receive, send)
            return
        try:
            sent = await _whole(receive)
        except ClientDisconnect:
            return  # nobody is there to be answered
        # Only now: the rights and the clock are those of when all of it has come.
        request = Request(scope, _again(sent))
        desk = await demand_person(request)
        body, plain = stop.empty, False
        try:
            body = stop.body.model_validate_json(sent) if sent else stop.empty
            plain = body is not None and _expected(request, given)
        except ValidationError:
            pass  # FastAPI says what is wrong
        if not plain:
            await self.app(scope, _again(sent), send)
            return
        response = await stop.endpoint(body=body, desk=desk, **given)
        await response(scope, receive, send)

    def _stop(self, path: str, given: dict[str, Any]) -> Stop | None:
        if not path.startswith(_CASES):
            return None
        if len(path) == len(_CASES):
            return self._report
        if path[len(_CASES)] != "/":
            return None
        case, _, step = path[len(_CASES) + 1 :].partition("/")
        found = self._steps.get(step)
        if found is not None and _CASE.fullmatch(case):
            given["case"] = case
            return found
        return None


def _expected(request: Request, given: dict[str, Any]) -> bool:
    """Note the version that the caller has seen; whether that was said as it must be."""
    if "case" not in given:
        return True
    given["expected"] = None
    if_match = header(request.scope, b"if-match")
    if if_match in (None, "*"):
        return True
    match = _VERSION.fullmatch(str(if_match))
    given["expected"] = match and int(match[1])
    return match is not None


async def _whole(receive: Receive) -> bytes:
    """A body, nearly always in one piece.

    Raises:
        ClientDisconnect: it will never be whole.
    """
    message = await receive()
    pieces = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return b"".join(pieces)


def _again(body: bytes) -> Receive:
    """What was received, to be received once more."""
    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": body, "more_body": False},
    ]

    async def receive() -> Message:
        return messages.pop() if len(messages) > 1 else messages[0]

    return receive
