"""Files of a case over HTTP: in as raw bytes, out as nothing that a browser would run."""

import asyncio
import hashlib
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pytest
from httpx import Response
from PIL import Image

from api import attachments
from api.services import API
from domain.attachments import KINDS
from domain.case.events import FileAttached
from domain.privacy import PersonalShown, Purpose
from infra.attachments import TRANSFERS
from tests import samples
from tests.api.conftest import Served
from tests.files import ALLOWED, REFUSED, exif, picture

LIMIT: Final = 2_000_000
"""Bytes that ``serving`` lets a file have; other bodies have 20,000."""

WORDS: Final = "楼道已清空，联系人某某。\n".encode()


def send(
    served: Served, by: str, path: str, expect: int, content: Any = WORDS, **headers: str
) -> dict[str, Any]:
    """Send a file; returns the answer's body, which is JSON whatever happens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body: dict[str, Any] = served.as_(by).send("POST", path, expect, content=content, headers=given)
    return body


def attach(
    served: Served, case: str, content: Any = WORDS, name: str = "说明.txt", by: str = "li"
) -> str:
    """Attach a file; returns its id."""
    answered = send(served, by, f"/cases/{case}/attachments?name={name}", 200, content)
    assert answered["events"] == ["case.file_attached"]
    served.runner.catch_up()
    (made,) = answered["created"]
    return str(made)


def fetch(
    served: Served, case: str, attachment: str, by: str = "li", tail: str = "", **query: str
) -> Response:
    """Ask for a file."""
    answer: Response = served.client.get(
        f"{API}/cases/{case}/attachments/{attachment}{tail}",
        params={"purpose": "handling"} | query,
        headers={"Authorization": f"Bearer {served.token(by)}"},
    )
    return answer


def events(served: Served, stream: str) -> list[Any]:
    """What happened in a stream."""
    return [each.event for each in served.store.history(stream)]


def stored(served: Served) -> list[str]:
    """The addresses of what is stored."""
    return sorted(path.name for path in paths(served))


def paths(served: Served) -> list[Path]:
    """What is stored, but for the marker of whose it is."""
    return [path for path in served.files.rglob("*") if path.is_file() and path.name != "log"]


# --- in and out -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALLOWED)
def test_a_file_comes_out_as_it_went_in(shared: Served, name: str) -> None:
    data, media_type = ALLOWED[name]
    case = shared.in_hand()
    answer = fetch(shared, case, attach(shared, case, data))
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_log_has_the_address_of_what_is_stored_and_the_size_of_what_was_sent(
    served: Served,
) -> None:
    case = served.in_hand()
    attachment = attach(served, case, "words\n" * 50_000)
    event = events(served, f"case:{case}")[-1]
    assert isinstance(event, FileAttached)
    assert (event.attachment, event.media_type, event.size) == (attachment, "text/plain", 300_000)
    (path,) = paths(served)
    assert event.sha256 == path.name == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("清理后.txt", "清理后.txt"),
        ("a%22%3B%20filename%3D%22b.html", 'a"; filename="b.html.txt'),
        ("100%25%20%27%E7%85%A7%27.TXT", "100% '照'.txt"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd.txt"),
        ("setup.exe", "setup.exe.txt"),
    ],
)
def test_a_name_says_what_it_is_and_nothing_else(shared: Served, given: str, shown: str) -> None:
    case = shared.in_hand()
    attachment = attach(shared, case, name=given)
    disposition = fetch(shared, case, attachment).headers["Content-Disposition"]
    plain, _, extended = disposition.partition("; filename*=UTF-8''")
    assert plain == f'attachment; filename="{attachment}.txt"'
    assert unquote(extended) == shown
    assert not set(extended) & set("\"'();, \\/")


def test_a_name_with_a_line_break_is_refused(shared: Served) -> None:
    case = shared.in_hand()
    path = f"/cases/{case}/attachments?name=a.txt%0D%0ASet-Cookie:%20x"
    assert send(shared, "li", path, 422)["code"] == "request.bad_characters"


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("claimed", ["image/jpeg", "text/html"])
def test_what_it_claims_to_be_counts_for_nothing(shared: Served, name: str, claimed: str) -> None:
    data, code = REFUSED[name]
    case = shared.in_hand()
    before = len(events(shared, f"case:{case}"))
    path = f"/cases/{case}/attachments?name=photo.jpg"
    status = 415 if code == "attachment.type" else 422
    assert send(shared, "li", path, status, data, Content_Type=claimed)["code"] == code
    assert len(events(shared, f"case:{case}")) == before


def test_a_picture_with_a_page_inside_is_a_picture(shared: Served) -> None:
    page = b"<html><script>alert(1)</script></html>"
    data = picture("JPEG", comment=page) + page
    case = shared.in_hand()
    attachment = attach(shared, case, data, name="page.html")
    answer = fetch(shared, case, attachment)
    assert answer.content == data, "the original is evidence"
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert "page.html.jpg" in answer.headers["Content-Disposition"]
    small = fetch(shared, case, attachment, tail="/thumbnail")
    assert b"script" not in small.content


def test_a_thumbnail_is_small_and_tells_no_place(shared: Served) -> None:
    case = shared.in_hand()
    data = picture("JPEG", exif=exif(6))
    attachment = attach(shared, case, data, name="现场.jpg")
    assert b"SECRETPHONE" in fetch(shared, case, attachment).content
    answer = fetch(shared, case, attachment, tail="/thumbnail")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Content-Disposition"] == "inline"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert b"SECRET" not in answer.content
    assert b"Exif" not in answer.content
    assert Image.open(BytesIO(answer.content)).size == (320, 480)


def test_what_is_no_picture_has_no_thumbnail_and_nothing_is_written_down(shared: Served) -> None:
    case = shared.in_hand()
    answer = fetch(shared, case, attach(shared, case), tail="/thumbnail")
    assert (answer.status_code, answer.json()["code"]) == (404, "attachment.no_thumbnail")
    assert events(shared, f"privacy:{case}") == []


# --- how large --------------------------------------------------------------------------------


def test_a_file_of_the_limit_comes_in_and_a_byte_more_does_not(served: Served) -> None:
    case = served.in_hand()
    path = f"/cases/{case}/attachments?name=a.txt"
    attach(served, case, b"a" * LIMIT)
    assert send(served, "li", path, 413, b"a" * (LIMIT + 1))["code"] == "request.too_large"

    def unannounced() -> Iterator[bytes]:
        yield from [b"a" * 100_000] * (LIMIT // 100_000)
        yield b"a"

    assert send(served, "li", path, 413, unannounced())["code"] == "request.too_large"
    assert len(stored(served)) == 1


def test_other_bodies_stay_small(served: Served) -> None:
    case = served.in_hand()
    note = {"text": "a" * 3_000, "more": "b" * 50_000}
    assert served.as_("li").post(f"/cases/{case}/note", note, 413)["code"] == "request.too_large"
    for path in (f"/cases/{case}/attachments/", f"/cases/{case}/attachments/a-1"):
        answered = send(served, "li", path, 404 if path[-1] == "/" else 405, b"a" * 50_000)
        assert answered["code"] in ("request.unknown_path", "request.bad_method")


def test_who_may_not_is_told_before_the_file_is_read(served: Served) -> None:
    case = served.in_hand()
    ended = served.report(by="acceptor")
    served.as_("acceptor").post(f"/cases/{ended}/reject", {"reason": "重复"})
    length = str(LIMIT + 1)
    for by, of, code, headers in (
        ("other_worker", case, b"case.unknown", {}),
        ("li", case, b"request.version_mismatch", {"if-match": '"1"'}),
        ("acceptor", ended, b"case.not_allowed", {}),
        ("li", case, b"request.too_large", {"content-length": length}),
        ("li", case, b"request.too_large", {"content-length": length, "idempotency-key": "k"}),
    ):
        # Reading would fail: nothing comes.
        _, body = raw(served, by, of, [], **headers)
        assert b'"code":"%s"' % code in body
    assert stored(served) == []


def raw(
    served: Served, by: str, case: str, messages: list[Any], **headers: str
) -> tuple[int, bytes]:
    """Send a file message by message; returns status and body of the answer."""
    path = f"{API}/cases/{case}/attachments"
    given = {"authorization": f"Bearer {served.token(by)}"} | headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"name=a.txt",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    answered: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def answer(message: Any) -> None:
        answered.append(message)

    assert served.client.portal is not None
    served.client.portal.call(served.app, scope, receive, answer)
    return answered[0]["status"], answered[1]["body"]


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    case = served.in_hand()
    before = events(served, f"case:{case}")
    messages = [
        {"type": "http.request", "body": b"a" * 300_000, "more_body": True},
        {"type": "http.disconnect"},
    ]
    status, body = raw(served, "li", case, messages)
    assert status == 400
    assert b"attachment.interrupted" in body
    assert events(served, f"case:{case}") == before
    assert stored(served) == []


def test_who_no_longer_reads_a_file_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "SEND_SECONDS", 0.01)
    closed = list[int]()

    class File:
        def close(self) -> None:
            closed.append(1)

    async def never(_: Any = None) -> Any:
        await asyncio.Event().wait()

    async def story() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        file: Any = File()
        await attachments._Sending(file, iter([b"a"] * 3), KINDS["text/plain"], {})(
            scope, never, never
        )

    asyncio.run(asyncio.wait_for(story(), 30))
    assert closed == [1]


def test_an_upload_that_takes_too_long_leaves_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = served.in_hand()
    monkeypatch.setattr(attachments, "UPLOAD_SECONDS", -1)
    path = f"/cases/{case}/attachments?name=a.txt"
    assert send(served, "li", path, 408)["code"] == "attachment.slow"
    assert stored(served) == []


def test_whatever_becomes_of_files_others_can_follow(shared: Served) -> None:
    """More of each kind of failure than there are places."""
    case = shared.in_hand()
    attachment = attach(shared, case)
    path = f"/cases/{case}/attachments?name=a.txt"
    for _ in range(TRANSFERS + 1):
        send(shared, "li", path, 415, b"<html>")
        assert fetch(shared, case, attachment).status_code == 200
        assert fetch(shared, case, attachment, purpose="own").status_code == 403
        assert fetch(shared, case, attachment, tail="/thumbnail").status_code == 404
    attach(shared, case)


# --- once -------------------------------------------------------------------------------------


def test_the_same_file_sent_again_with_its_key_is_attached_once(served: Served) -> None:
    case = served.in_hand()
    path = f"/cases/{case}/attachments?name=a.txt"
    data = b"a" * 100_000  # more than other bodies may have
    first = send(served, "li", path, 200, data, Idempotency_Key="k-1")
    assert send(served, "li", path, 200, data, Idempotency_Key="k-1") == first
    assert len(stored(served)) == 1
    for changed, content in (
        (path, data + b"b"),
        (path.replace("a.txt", "b.txt"), data),
    ):
        again = send(served, "li", changed, 422, content, Idempotency_Key="k-1")
        assert again["code"] == "request.key_reused"
    assert len(stored(served)) == 1
    other = send(served, "li", path, 200, data, Idempotency_Key="k-2")
    assert other["created"] != first["created"]
    assert send(served, "li", path, 422, data, Idempotency_Key="k 3")["code"] == "request.bad_key"
    # What was answered is answered, whatever became of the case.
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["x"]})
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    served.as_("shift_lead").post(f"/cases/{case}/close", {"outcome": "resolved"})
    assert send(served, "li", path, 200, data, Idempotency_Key="k-1") == first


# --- who looks --------------------------------------------------------------------------------


def test_nothing_is_opened_before_it_is_written_down(served: Served) -> None:
    case = served.in_hand()
    attachment = attach(served, case, picture("PNG"), "现场.png")
    assert fetch(served, case, attachment, purpose="check").status_code == 200
    assert fetch(served, case, attachment, tail="/thumbnail").status_code == 200
    looks = served.store.history(f"privacy:{case}")
    assert [look.actor for look in looks] == ["li", "li"]
    shown = [look.event for look in looks]
    assert all(isinstance(event, PersonalShown) for event in shown)
    assert [event.purpose for event in shown] == [Purpose.CHECK, Purpose.HANDLING]
    assert [event.fields for event in shown] == [("attachments",)] * 2


@pytest.mark.parametrize("tail", ["", "/thumbnail"])
def test_no_key_is_asked_for_before_that(
    served: Served, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    case = served.in_hand()
    attachment = attach(served, case, picture("PNG"), "现场.png")
    written: list[int] = []
    find = served.vault.find

    def watched(ids: Collection[str]) -> Any:
        written.append(len(events(served, f"privacy:{case}")))
        return find(ids)

    monkeypatch.setattr(served.vault, "find", watched)
    assert fetch(served, case, attachment, tail=tail, purpose="own").status_code == 403
    assert written == []
    assert fetch(served, case, attachment, tail=tail).status_code == 200
    assert set(written) == {1}


@pytest.mark.parametrize(
    ("by", "query", "status", "code"),
    [
        ("li", {"purpose": "own"}, 403, "privacy.not_own"),
        ("li", {"purpose": "audit"}, 422, "privacy.reason_missing"),
        ("li", {"purpose": "curiosity"}, 422, "request.invalid"),
        ("li", {"purpose": ""}, 422, "request.invalid"),
        ("other_worker", {}, 404, "case.unknown"),
        ("wang", {}, 404, "case.unknown"),
    ],
)
@pytest.mark.parametrize("tail", ["", "/thumbnail"])
def test_without_a_right_or_a_purpose_nothing_is_shown(
    shared: Served, by: str, query: dict[str, str], status: int, code: str, tail: str
) -> None:
    case = shared.in_hand()
    attachment = attach(shared, case, picture())
    answer = fetch(shared, case, attachment, by, tail, **query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert events(shared, f"privacy:{case}") == []


def test_a_case_out_of_scope_is_as_unknown_as_one_that_never_was(shared: Served) -> None:
    case = shared.in_hand()
    attachment = attach(shared, case)
    there = fetch(shared, case, attachment, "other_worker").json()
    never = fetch(shared, "20260101-NEVERWAS", attachment, "other_worker").json()
    for answer in (there, never):
        del answer["instance"]
    assert there["code"] == "case.unknown"
    assert str(there).replace(case, "x") == str(never).replace("20260101-NEVERWAS", "x")


def test_a_resident_sees_the_files_of_the_own_report(shared: Served) -> None:
    case = shared.report(by="wang")
    attachment = attach(shared, case, by="wang")
    assert fetch(shared, case, attachment, "wang", purpose="own").content == WORDS
    assert fetch(shared, case, attachment, samples.NEIGHBOUR.id).status_code == 404


# --- what is gone -----------------------------------------------------------------------------


def problem(answer: Response) -> tuple[int, str]:
    """How something failed."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_once_its_key_is_destroyed_a_file_is_gone_for_everybody(served: Served) -> None:
    case = served.in_hand()
    attachment = attach(served, case, picture())
    assert fetch(served, case, attachment).status_code == 200
    served.vault.destroy({f"case:{case}"})
    for tail in ("", "/thumbnail"):
        answer = fetch(served, case, attachment, tail=tail)
        assert problem(answer) == (410, "attachment.forgotten")
    later = attach(served, case)
    assert fetch(served, case, later).content == WORDS


def test_an_attachment_that_never_was(shared: Served) -> None:
    case = shared.in_hand()
    shared.runner.catch_up()
    assert problem(fetch(shared, case, "a-0")) == (404, "attachment.unknown")


def test_what_is_damaged_or_lost_is_said_to_be(served: Served) -> None:
    case = served.in_hand()
    attachment = attach(served, case)
    (path,) = paths(served)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert problem(fetch(served, case, attachment)) == (500, "attachment.damaged")
    path.unlink()
    assert problem(fetch(served, case, attachment)) == (404, "attachment.missing")
    path.write_bytes(data)
    assert fetch(served, case, attachment).content == WORDS


def test_a_store_that_is_away_is_said_to_be_and_nothing_is_attached(served: Served) -> None:
    case = served.in_hand()
    attachment = attach(served, case)
    before = events(served, f"case:{case}")
    away = served.files.rename(served.files.with_name("elsewhere"))
    served.files.write_text("no folder")
    answer = fetch(served, case, attachment)
    assert problem(answer) == (503, "attachment.unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    path = f"/cases/{case}/attachments?name=a.txt"
    assert send(served, "li", path, 503)["code"] == "attachment.unavailable"
    assert events(served, f"case:{case}") == before
    served.files.unlink()
    away.rename(served.files)
    assert fetch(served, case, attachment).content == WORDS
