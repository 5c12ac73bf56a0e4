"""The live feed: what happens in one's territories, without gap or repeat, by the rights of now."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError

from api.feed import Open, Stream
from api.services import API
from domain import staff
from domain.errors import Overloaded
from domain.roles import Grant, Role
from infra.feed import Feed
from tests import samples as s
from tests.api.conftest import Served


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    id: int | None = None
    event: str = "message"
    data: Any = None


def parsed(block: str) -> Message:
    given = dict(
        line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")
    )
    return Message(
        id=int(given["id"]) if "id" in given else None,
        event=given.get("event", "message"),
        data=json.loads(given["data"]) if "data" in given else None,
    )


def told(served: Served, by: str, expect: int = 200, /, **query: Any) -> list[Message]:
    """All that somebody is told up to now; the position that it leads to is the last one's."""
    headers = {"Authorization": f"Bearer {served.token(by)}"}
    if "last_event_id" in query:
        headers["Last-Event-ID"] = str(query.pop("last_event_id"))
    response = served.client.get(
        f"{API}/feed", params={"follow": "false", "after": 0, **query}, headers=headers
    )
    assert response.status_code == expect, response.text
    if expect != 200:
        return [Message(data=response.json())]
    assert response.headers["Content-Type"].startswith("text/event-stream")
    return [parsed(block) for block in response.text.split("\n\n") if block]


def caught_up(served: Served, position: int) -> None:
    """The feed follows on its own; wait until it is as far as the log."""
    feed = served.app.state.services.feed
    portal = served.client.portal
    assert portal is not None
    while not portal.call(feed.wait, position - 1, 5.0):
        pass


def events(messages: list[Message]) -> list[Any]:
    return [each.data for each in messages if each.data is not None and each.event == "message"]


def head(served: Served) -> int:
    position: int = served.app.state.services.gateway.head()
    caught_up(served, position)
    return position


# --- what is told -----------------------------------------------------------------------------


def test_what_happens_to_a_case_is_told_in_order(served: Served) -> None:
    begun = head(served)
    case = served.in_hand()
    found = events(told(served, "coordinator", after=begun)) if head(served) else []
    assert [(each["position"], each["name"], each["state"]) for each in found] == [
        (begun + 1, "case.reported", "reported"),
        (begun + 2, "case.filed", "filed"),
        (begun + 3, "case.dispatched", "assigned"),
        (begun + 4, "case.accepted", "in_progress"),
    ]
    assert found[1] == {
        "position": begun + 2,
        "name": "case.filed",
        "zh": "立案",
        "en": "filed",
        "case": case,
        "territory": s.GRID,
        "tier": "grid",
        "episode": 1,
        "state": "filed",
        "state_zh": "待派遣",
        "state_en": "filed",
        "at": found[1]["at"],
    }


def test_nothing_personal_is_told(served: Served) -> None:
    begun = head(served)
    case = served.report(description="王女士家楼下", category="exposed_garbage")
    served.as_("li").post(f"/cases/{case}/note", {"text": "电话 13800000000"})
    head(served)
    text = json.dumps(events(told(served, "coordinator", after=begun)), ensure_ascii=False)
    assert "case.note_added" in text
    assert "王女士" not in text
    assert "13800000000" not in text


@pytest.mark.parametrize("size", [1, 2, 5])
def test_who_comes_back_misses_nothing_and_gets_nothing_twice(served: Served, size: int) -> None:
    """Broken off after so many messages, again and again."""
    begun = head(served)
    for _ in range(2):
        served.in_hand()
    served.report(s.OTHER_GRID, "other_worker", category="exposed_garbage")
    end = head(served)
    whole = events(told(served, "coordinator", after=begun))
    found: list[Any] = []
    last = begun
    while last < end:
        part = told(served, "coordinator", last_event_id=last)[: size + 1]
        found += events(part)
        last = part[-1].id or last
    assert found == whole
    assert len(whole) == 8  # nothing of the other community's


def test_a_position_moves_on_where_nothing_is_told(served: Served) -> None:
    begun = head(served)
    served.report(s.OTHER_GRID, "other_worker", category="exposed_garbage")
    end = head(served)
    messages = told(served, "coordinator", after=begun)
    assert events(messages) == []
    assert messages[-1].id == end == begun + 2


def test_only_what_was_asked_for(served: Served) -> None:
    begun = head(served)
    one = served.report(category="exposed_garbage")
    other = served.report(s.SIBLING_GRID, "acceptor", category="exposed_garbage")
    head(served)
    by_case = events(told(served, "coordinator", after=begun, case=one))
    assert {each["case"] for each in by_case} == {one}
    by_place = events(told(served, "coordinator", after=begun, territory=s.SIBLING_GRID))
    assert {each["case"] for each in by_place} == {other}
    wider = events(told(served, "coordinator", after=begun, territory=s.DISTRICT))
    assert {each["case"] for each in wider} == {one, other}


# --- who is told ------------------------------------------------------------------------------


def test_each_hears_of_the_own_territory_and_what_is_below(served: Served) -> None:
    """The matrix of own, child, sibling and parent, for somebody who coordinates each."""
    begun = head(served)
    grids = (s.GRID, s.SIBLING_GRID, s.OTHER_GRID)
    cases = {grid: served.report(grid, "acceptor", category="noise") for grid in grids}
    head(served)
    for name, heard in {
        "coordinator.own": {s.GRID, s.SIBLING_GRID},
        "coordinator.child": {s.GRID},
        "coordinator.parent": {s.GRID, s.SIBLING_GRID, s.OTHER_GRID},
        "coordinator.sibling": {s.OTHER_GRID},
    }.items():
        found = events(told(served, name, after=begun))
        assert {each["case"] for each in found} == {cases[grid] for grid in heard}, name


def test_who_may_read_nothing_there_is_refused(served: Served) -> None:
    (no,) = told(served, "wang", 403)
    assert no.data["code"] == "query.not_permitted"
    (no,) = told(served, "coordinator", 403, territory=s.OTHER_COMMUNITY)
    assert no.data["code"] == "query.not_permitted"
    (no,) = told(served, "coordinator", 422, after=10**9)
    assert no.data["code"] == "request.position_ahead"


# --- while it lasts ---------------------------------------------------------------------------


@dataclass
class Listening:
    """A client of a stream that is open, straight at the application."""

    messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Message:
        """The next message with data."""
        while True:
            message = await asyncio.wait_for(self.messages.get(), 10)
            if message.data is not None:
                return message


@asynccontextmanager
async def listening(
    served: Served, by: str, *, holding: bool = False, **query: Any
) -> AsyncIterator[Listening]:
    """A stream that is read in the application's own loop; ``gate`` closed: not read.

    ``holding``: it closes by itself with each message. ``held``: more was sent, and waits for it.
    """
    client = Listening()
    client.gate.set()
    buffer = ""

    async def receive() -> dict[str, Any]:
        await client.ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal buffer
        if not client.gate.is_set():
            client.held.set()
        await client.gate.wait()
        buffer += message.get("body", b"").decode()
        if holding and b"data:" in message.get("body", b""):
            client.gate.clear()
        *blocks, buffer = buffer.split("\n\n")
        for block in blocks:
            client.messages.put_nowait(parsed(block))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"{API}/feed",
        "raw_path": f"{API}/feed".encode(),
        "query_string": "&".join(f"{k}={v}" for k, v in query.items()).encode(),
        "headers": [(b"authorization", f"Bearer {served.token(by)}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
    }

    async def run() -> None:
        try:
            await served.app(scope, receive, send)
        finally:
            client.messages.put_nowait(Message(event="gone", data={}))

    task = asyncio.create_task(run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def in_loop(served: Served, story: Callable[[], Awaitable[None]]) -> None:
    """Tell a story in the loop that the application runs in."""
    portal = served.client.portal
    assert portal is not None
    portal.call(story)


async def does(what: Callable[[], Any]) -> Any:
    """Something of the test client's, which must not be called in the loop itself."""
    return await asyncio.to_thread(what)


def test_what_happens_is_told_as_it_happens(served: Served) -> None:
    async def story() -> None:
        async with listening(served, "coordinator") as client:
            await client.messages.get()
            case = await does(lambda: served.report(category="exposed_garbage"))
            first, second = await client.next(), await client.next()
            assert [each.data["name"] for each in (first, second)] == [
                "case.reported",
                "case.filed",
            ]
            assert {each.data["case"] for each in (first, second)} == {case}

    in_loop(served, story)


def test_a_revoked_role_ends_the_stream(served: Served) -> None:
    grant = {"role": "coordinator", "territory": s.COMMUNITY}

    async def story() -> None:
        async with listening(served, "coordinator") as client:
            await client.messages.get()
            await does(
                lambda: served.as_("administrator").post("/staff/users/coordinator/revoke", grant)
            )
            end = await client.next()
            assert (end.event, end.data["code"]) == ("end", "query.not_permitted")
            assert (await client.next()).event == "gone"

    in_loop(served, story)


def test_rights_are_those_before_the_event_itself(served: Served) -> None:
    """What follows a revocation in the log is told to nobody whose rights it took."""
    grant = Grant(Role.COORDINATOR, s.COMMUNITY)

    async def story() -> None:
        async with listening(served, "coordinator") as client:
            await client.messages.get()
            revoke = staff.RevokeRole(
                by=s.SYSTEM, at=served.clock(), user="coordinator", grant=grant
            )
            report = s.report(by=s.ACCEPTOR, at=served.clock(), case="case-x")
            await does(lambda: served.store.execute(revoke, report))
            assert (await client.next()).event == "end"

    in_loop(served, story)


def test_rights_are_looked_at_again_within_a_long_stretch(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads slowly is not told the rest of what was there when it had the right."""
    monkeypatch.setattr("api.feed.CHUNK", 1)
    begun = head(served)
    for _ in range(3):
        served.report(category="exposed_garbage")
    head(served)
    revoke = staff.RevokeRole(
        by=s.SYSTEM,
        at=served.clock(),
        user="coordinator",
        grant=Grant(Role.COORDINATOR, s.COMMUNITY),
    )

    async def story() -> None:
        async with listening(served, "coordinator", holding=True, after=begun) as client:
            assert (await client.next()).event == "message"
            await does(lambda: served.store.execute(revoke))
            await does(lambda: head(served))
            client.gate.set()
            assert (await client.next()).event == "message"  # was on its way
            client.gate.set()
            end = await client.next()
            assert (end.event, end.data["code"]) == ("end", "query.not_permitted")

    in_loop(served, story)


def test_a_stream_ends_with_its_token(served: Served) -> None:
    async def story() -> None:
        async with listening(served, "coordinator") as client:
            await client.messages.get()
            served.clock.pass_(minutes=31)
            await does(lambda: served.report(category="exposed_garbage"))
            end = await client.next()
            assert (end.event, end.data["code"]) == ("end", "request.token_expired")

    in_loop(served, story)


def test_who_does_not_read_is_told_to_come_back(served: Served) -> None:
    """Only so much is kept; whoever was following and is left behind has to begin again."""
    feed: Feed = served.app.state.services.feed
    feed._size = 3

    async def story() -> None:
        async with listening(served, "coordinator", holding=True) as client:
            await client.messages.get()
            case = await does(served.in_hand)

            async def note() -> None:
                await does(lambda: served.as_("li").post(f"/cases/{case}/note", {"text": "x"}))
                await does(lambda: head(served))

            while not client.held.is_set():
                await note()
            for _ in range(feed._size + 1):
                await note()
            while (message := await client.next()).event == "message":
                client.gate.set()
            assert (message.event, message.data["code"]) == ("end", "request.feed_slow")

    in_loop(served, story)


def test_the_log_is_followed_while_somebody_listens(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a time without listeners begins at the end that the log has by then."""
    monkeypatch.setattr("infra.feed.POLL_SECONDS", 0.01)
    feed: Feed = served.app.state.services.feed

    async def story() -> None:
        async with listening(served, "coordinator") as client:
            assert (await client.messages.get()).id == feed.position
        feed._until = 0.0  # a minute later
        while feed._begun.is_set():
            await asyncio.wait({feed._task}, timeout=0.01)
        left_at = feed.position
        await does(lambda: served.report(category="exposed_garbage"))
        assert feed.position == left_at
        async with listening(served, "coordinator") as client:
            assert (await client.messages.get()).id == left_at + 2
            await does(lambda: served.report(category="exposed_garbage"))
            told = [await client.next(), await client.next()]
            assert [each.id for each in told] == [left_at + 3, left_at + 4]

    in_loop(served, story)


def test_who_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.feed.SEND_SECONDS", 0.01)
    closed = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b": alive\n\n"
        finally:
            closed.set()

    async def never(_: Any = None) -> Any:
        await asyncio.Event().wait()

    async def story() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        await Stream(content())(scope, never, never)

    asyncio.run(story())


def test_there_is_an_end_to_streams() -> None:
    async def story() -> None:
        async def content() -> AsyncIterator[bytes]:
            yield b""

        streams = Open(1)
        one = streams.counted(content())
        streams.demand()
        await anext(one)
        with pytest.raises(Overloaded):
            streams.demand()
        with pytest.raises(StopAsyncIteration):
            await anext(one)
        streams.demand()

    asyncio.run(story())


def test_streams_end_when_the_server_stops(served: Served) -> None:
    async def story() -> None:
        async with listening(served, "coordinator") as client:
            await client.messages.get()
            served.app.state.services.feed.close()
            end = await client.next()
            assert (end.event, end.data["code"]) == ("end", "request.feed_closed")

    in_loop(served, story)


def test_what_goes_wrong_once_is_not_the_end_of_the_feed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The office is asked for on a connection of the pool, which may be lost, or have none left."""
    office = served.store.office
    wrong: list[Exception] = [OperationalError("connection lost"), RuntimeError("anything else")]

    def at_last() -> Any:
        if wrong:
            raise wrong.pop()
        return office()

    monkeypatch.setattr("infra.feed.AGAIN_SECONDS", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(served.store, "office", at_last)
        begun = head(served)
    assert not wrong
    served.report(category="exposed_garbage")
    head(served)
    assert len(events(told(served, "coordinator", after=begun))) == 2
    assert served.nobody.get("/health")["failing"] == []


def test_health_says_that_the_feed_has_ended(served: Served) -> None:
    feed = served.app.state.services.feed

    async def story() -> None:
        feed._task.cancel()
        await asyncio.wait([feed._task])

    in_loop(served, story)
    health = served.nobody.get("/health")
    assert (health["status"], health["failing"]) == ("degraded", ["feed"])
