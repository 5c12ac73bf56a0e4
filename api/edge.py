"""The outermost layer: request ids, the request log, security headers, the limit of bodies.

Plain ASGI, because what wraps every request must neither buffer it nor cost a task of its own; and
one layer, because each costs every request some 10 µs.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TooLarge, TooSlow
from api.headers import header
from api.uploads import is_upload
from domain.traces import Spans, Trace, caller_in, correlation_within

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

BODY_SECONDS: Final = 30.0
"""How long the body of a command may take to come, all of it. A file has a bound of its own."""

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Set on every answer that does not set them itself."""


_SECURITY: Final = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
_NAMES: Final = frozenset(name for name, _ in _SECURITY)

Noting: TypeAlias = Callable[[Scope, int, float], None]
"""Told of every request: its status, 0 without an answer, and how many seconds it took."""


class Edge:
    """Wraps the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        body_limit: int,
        file_limit: int,
        answer: Callable[[Request, Exception], Response],
        spans: Spans | None = None,
        noting: Noting | None = None,
    ) -> None:
        """``body_limit`` is in bytes, and so is ``file_limit``, which is for files; ``answer``
        tells a caller of whatever was raised."""
        self.app = app
        self.answer = answer
        self.body_limit = body_limit
        self.file_limit = file_limit
        self.spans = spans
        self.noting = noting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; whatever is raised within is told to the caller."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, caller = _request_id(scope)
        scope["wangge.request"] = request_id
        # For all lines of this request: it is a task of its own, with a context of its own.
        structlog.contextvars.bind_contextvars(request=request_id)
        started, status, begun = time.perf_counter_ns(), 0, False
        is_file = is_upload(scope)
        limit = self.file_limit if is_file else self.body_limit
        left, whole, until = limit, is_file, 0.0

        async def receive_within_limits() -> Message:
            # Counted as it comes: a Content-Length may be missing, or lie.
            nonlocal left, whole, until
            if whole or "wangge.whole" in scope:  # our server has all of it already
                message = await receive()
            else:
                until = until or asyncio.get_running_loop().time() + BODY_SECONDS
                try:
                    async with asyncio.timeout_at(until):
                        message = await receive()
                except TimeoutError:
                    raise TooSlow from None
                whole = not message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLarge(limit)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun, status = True, message["status"]
                headers = message["headers"] = list(message["headers"])
                own = _NAMES.intersection([name for name, _ in headers])
                headers.append((b"x-request-id", request_id.encode()))
                headers += [pair for pair in _SECURITY if pair[0] not in own] if own else _SECURITY
            await send(message)

        try:
            await self.app(scope, receive_within_limits, send_with_headers)
        except Exception as error:
            if begun:
                raise
            response = self.answer(Request(scope), error)
            await response(scope, receive, send_with_headers)
        finally:
            # Neither the query string nor a body: both may name people.
            took = time.perf_counter_ns() - started
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                person=scope.get("wangge.person", ""),
                ms=round(took / 1e6, 1),
            )
            if self.noting is not None:
                self.noting(scope, status, took / 1e9)
            if self.spans is not None:
                ended, facts = time.time_ns(), {"http.request.method": scope["method"]}
                facts |= {"url.path": scope["path"], "http.response.status_code": status}
                self.spans.record("request", request_id, ended - took, ended, facts, caller)


def _request_id(scope: Scope) -> tuple[str, Trace | None]:
    """What a request is called, by its client or by us, and the span it was sent from, if any."""
    given = header(scope, b"x-request-id") or ""
    sent_from = header(scope, b"traceparent")
    caller = caller_in(sent_from) if sent_from else None
    if _REQUEST_ID.fullmatch(given):
        return given, None
    own = secrets.token_hex(8)
    return (own if caller is None else correlation_within(caller, own)), caller
