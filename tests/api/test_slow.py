"""Whoever sends slowly is not waited for, and has the rights of when all of it has come."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import pytest

from api.services import API
from tests import samples
from tests.api.conftest import Served

NOTE: Final = json.dumps({"text": "晚到的备注"}).encode()


def held(
    served: Served, path: str, pieces: list[Any], by: str = "li", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send a body in pieces, doing meanwhile what stands among them; status, body and headers of
    the answer. What stands last for ever lets the server wait."""
    given = {
        "authorization": f"Bearer {served.token(by)}",
        "content-type": "application/json",
        "content-length": str(sum(len(each) for each in pieces if isinstance(each, bytes))),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": API + path,
        "raw_path": (API + path).encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    left, answered = list(pieces), list[Any]()

    async def receive() -> Any:
        while left and not isinstance(left[0], bytes):
            await asyncio.to_thread(left.pop(0))
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def answer(message: Any) -> None:
        answered.append(message)

    assert served.client.portal is not None
    served.client.portal.call(served.app, scope, receive, answer)
    said = {name.decode(): value.decode() for name, value in answered[0]["headers"]}
    return answered[0]["status"], json.loads(answered[1]["body"]), said


def suspending(served: Served, user: str = "li") -> Callable[[], None]:
    def suspend() -> None:
        served.clock.pass_(minutes=1)
        served.as_("administrator").post(f"/staff/users/{user}/suspend", {"reason": "离职"})

    return suspend


COMMANDS: Final = {
    "the short way": ("/cases", {"territory": samples.GRID, "description": "停用之后发出"}, "li"),
    "the long way": (
        "/people/p-1/forget/ask",
        {"territory": samples.COMMUNITY, "reason": "request"},
        "supervisor",
    ),
}


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}], ids=["no key", "with a key"])
@pytest.mark.parametrize(("path", "body", "by"), COMMANDS.values(), ids=COMMANDS)
def test_the_rights_are_those_of_when_all_of_it_has_come(
    served: Served, path: str, body: Any, by: str, key: dict[str, str]
) -> None:
    sent = json.dumps(body).encode()
    pieces = [sent[:1], suspending(served, by), sent[1:]]
    status, answered, _ = held(served, path, pieces, by, **key)
    assert (status, answered["code"]) == (403, "staff.suspended")


def test_the_clock_is_that_of_when_all_of_it_has_come(served: Served) -> None:
    case = served.in_hand()
    path, later = f"/cases/{case}/note", lambda: served.clock.pass_(minutes=1)
    assert held(served, path, [NOTE[:1], later, NOTE[1:]])[0] == 200
    assert served.store.history(f"case:{case}")[-1].at == served.clock.now


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}], ids=["no key", "with a key"])
@pytest.mark.parametrize(("path", "body", "by"), COMMANDS.values(), ids=COMMANDS)
def test_a_body_that_does_not_come_is_not_waited_for(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: Any,
    by: str,
    key: dict[str, str],
) -> None:
    monkeypatch.setattr("api.edge.BODY_SECONDS", 0.05)
    pieces: list[Any] = [b"{", lambda: None]
    status, answered, headers = held(served, path, pieces, by, content_length="100", **key)
    assert (status, answered["code"]) == (408, "request.too_slow")
    assert headers["connection"] == "close"


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}], ids=["no key", "with a key"])
def test_a_file_that_takes_its_time_is_attached_when_it_is_whole(
    served: Served, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    """Longer than other bodies may take, and though somebody did something in between."""
    case = served.in_hand()
    monkeypatch.setattr("api.edge.BODY_SECONDS", -1)
    came: list[datetime] = []

    def meanwhile() -> None:
        served.clock.pass_(minutes=4)
        served.store.execute(samples.note(samples.DISPATCHER, served.clock.now, case))
        served.clock.pass_(seconds=30)
        came.append(served.clock.now)

    path = f"/cases/{case}/attachments?name=a.txt"
    status, answered, _ = held(served, path, [b"hello ", meanwhile, b"there"], **key)
    assert (status, answered.get("events")) == (200, ["case.file_attached"])
    assert [served.store.history(f"case:{case}")[-1].at] == came


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}], ids=["no key", "with a key"])
def test_a_file_of_somebody_who_was_suspended_meanwhile_is_not_attached(
    served: Served, key: dict[str, str]
) -> None:
    path = f"/cases/{served.in_hand()}/attachments?name=a.txt"
    status, answered, _ = held(served, path, [b"hello ", suspending(served), b"there"], **key)
    assert (status, answered["code"]) == (403, "staff.suspended")
