"""The live feed (实时动态): what happens to the cases of one's territories, as it happens.

Server-sent events. A message's id is its position in the log: who comes back with the last one it
has seen misses nothing and gets nothing twice. Rights are looked at again before anything is told,
so a role that was revoked counts at once, and the stream ends with the token that it was asked for
with.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import structlog
from fastapi import Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.auth import AtDesk, Claims, demand_current, routes
from api.errors import problems
from api.schemas import outbound as s
from api.schemas.words import tier_name
from api.services import Feed
from domain import words
from domain.errors import Overloaded, Refused
from domain.news import News
from domain.places import within
from domain.roles import Actor, Reading, scope
from domain.staff import Staff

STREAMS: Final = 1_000
"""Streams of one server process, at most."""

HEARTBEAT_SECONDS: Final = 15.0
"""How often a stream says that it is alive, when nothing happens."""

SEND_SECONDS: Final = 10.0
"""How long a client may take to receive what is sent before it is dropped."""

START_SECONDS: Final = 5.0
"""How long a client may have to wait while the server begins to follow the log."""

RETRY_MS: Final = 3_000
"""When a client is to come back after its stream has ended, in milliseconds."""

CHUNK: Final = 100
"""Messages sent together, at most: some 30 KB."""

_log = structlog.get_logger()

router: Final = routes("/feed", ["实时动态 Feed"])


@dataclass(slots=True)
class _Listener:
    """Somebody who listens: what is wanted, and whether it still may be told."""

    feed: Feed
    person: str
    wanted: s.FeedQuery
    claims: Callable[[], Claims]

    def sees(self) -> Callable[[News], bool]:
        """Whether something is to be told, by the rights of now.

        Raises:
            Refused: nobody is signed in any more, or may read none of what is wanted.
        """
        territories = readable(self.feed.staff, self.person, self.claims(), self.wanted.territory)
        case = self.wanted.case
        return lambda news: (
            (case is None or news.case == case)
            and any(within(news.territory, path) for path in territories)
        )


def readable(staff: Staff, person: str, claims: Claims, territory: str | None) -> tuple[str, ...]:
    """The territories whose cases somebody may hear of, within the one that is asked for.

    Raises:
        Refused: as ``demand_current``; ``query.not_permitted`` where there are none.
    """
    user = demand_current(staff.users.get(person), claims)
    own = scope(Actor(user.id, user.grants, user.unit), Reading.CASES).territories
    if territory is None:
        seen = own
    elif any(within(territory, path) for path in own):
        seen = (territory,)
    else:
        seen = tuple(path for path in own if within(path, territory))
    if not seen:
        raise Refused("query.not_permitted", reading=Reading.CASES.value)
    return seen


class Stream(StreamingResponse):
    """A stream that does not wait for a client which does not read.

    Not the framework's ``EventSourceResponse``: that puts a queue of its own between each client
    and what is told, and makes every message anew for each of them.
    """

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client takes too long."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except (TimeoutError, ClientDisconnect):  # a time-out is taken for the other by the base
            _log.info("feed.dropped", person=scope.get("wangge.person", ""))


class Open:
    """How many streams are open in this process."""

    def __init__(self, most: int = STREAMS) -> None:
        self._most = most
        self.now = 0

    async def counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream, counted from its first message to its end."""
        self.now += 1
        try:
            async for chunk in stream:
                yield chunk
        finally:
            self.now -= 1

    def demand(self) -> None:
        """Refuse one more where there are too many.

        Raises:
            Overloaded: always when full.
        """
        if self.now >= self._most:
            raise Overloaded


@router.get(
    "",
    summary="实时动态 · Live feed",
    response_class=Stream,
    responses={
        200: {
            "description": "Messages: `id` is the position, `data` a FeedEvent. A message without "
            "`data` moves the position on. `event: end` says why the stream ends.",
            "model": s.FeedEvent,
        },
        **problems(),
    },
)
async def feed(
    request: Request,
    desk: AtDesk,
    wanted: Annotated[s.FeedQuery, Query()],
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**53, description="The last position that was seen.")
    ] = None,
) -> Response:
    """本人属地内事项的动态，实时推送；断线后凭 Last-Event-ID 续传，不漏不重。What happens to the
    cases of one's territories, as it happens; goes on from `Last-Event-ID` without gap or
    repeat."""
    following = desk.services.feed
    opened: Open = request.app.state.streams
    opened.demand()
    if not await following.ready(START_SECONDS):
        raise Overloaded
    after = wanted.after if last_event_id is None else last_event_id
    if after is None:
        after = following.position
    elif after > following.position:
        await run_in_threadpool(desk.known, after)
    token, tokens = request.scope["wangge.token"], request.app.state.tokens
    listener = _Listener(following, desk.by.id, wanted, lambda: tokens.read(token))
    listener.sees()  # refused at once, with a status of its own
    # No proxy is to hold messages back.
    return Stream(opened.counted(_messages(listener, after)), headers={"X-Accel-Buffering": "no"})


async def _messages(listener: _Listener, after: int) -> AsyncIterator[bytes]:
    yield format_sse_event(id=str(after), retry=RETRY_MS)
    try:
        async for news, position in _batches(listener, after):
            sees = listener.sees()
            for part in _parts(news):
                sees = listener.sees()  # the one before may have taken a while to send
                if chunk := b"".join(_message(each) for each in part if sees(each)):
                    yield chunk
            if not news or not sees(news[-1]):
                yield _beat(position)
    except Refused as no:
        why = _Why(code=no.code, zh=no.zh, en=no.en)
        yield format_sse_event(event="end", data_str=why.model_dump_json())


async def _batches(listener: _Listener, after: int) -> AsyncIterator[tuple[list[News], int]]:
    """What is new, in order, each with the position up to which it goes; also when nothing is.

    Raises:
        Refused: ``request.feed_slow``, ``request.feed_closed``.
    """
    following, caught_up = listener.feed, False
    while not following.closed:
        news, position = following.since(after), following.position
        if news is None:
            if caught_up:
                raise Refused("request.feed_slow")
            news, position = await following.page(after)
        else:
            caught_up = True
        if position > after:
            after = position
            yield news, position
        elif not listener.wanted.follow:
            return
        elif not await following.wait(after, HEARTBEAT_SECONDS):
            yield [], after
    raise Refused("request.feed_closed")


def _parts(news: list[News]) -> Iterator[list[News]]:
    for first in range(0, len(news), CHUNK):
        yield news[first : first + CHUNK]


@lru_cache(maxsize=10_000)
def _message(news: News) -> bytes:
    """One message: made once for all clients."""
    said = words.EVENTS[news.name]
    state = None if news.state is None else words.STATES[news.state]
    data = s.FeedEvent(
        position=news.position,
        name=news.name,
        zh=said.zh,
        en=said.en,
        case=news.case,
        territory=news.territory,
        tier=tier_name(news.tier),
        episode=news.episode,
        state=news.state,
        state_zh=state and state.zh,
        state_en=state and state.en,
        at=news.at,
    )
    return format_sse_event(data_str=data.model_dump_json(), id=str(news.position))


def _beat(position: int) -> bytes:
    """That the stream is alive, and how far it is: a client that is told little comes back to
    here."""
    return format_sse_event(comment="alive", id=str(position))


class _Why(BaseModel):
    """Why a stream ends."""

    code: str
    zh: str
    en: str
