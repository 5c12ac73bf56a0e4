"""Bad input: a problem document with a stable code each, never a 500."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs

from api.field_words import OTHERWISE, in_chinese
from api.services import API
from domain.errors import Conflict, VersionMismatch
from tests import samples
from tests.api.conftest import Served

REPORT = {"territory": samples.GRID, "description": "垃圾"}


def send(served: Served, content: Any, path: str = "/cases", **headers: str) -> tuple[int, str]:
    """A body as bytes; the status and the code of the answer."""
    given = {
        "Authorization": f"Bearer {served.token('li')}",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    response = served.client.post(API + path, content=content, headers=given)
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


BODIES: Final[tuple[tuple[bytes, tuple[int, str]], ...]] = (
    (b"{", (400, "request.malformed_json")),
    (b"{'a': 1}", (400, "request.malformed_json")),
    (b"[" * 100_00 + b"]" * 100_00, (400, "request.malformed_json")),
    (b'{"a": ' * 3000 + b"1" + b"}" * 3000, (413, "request.too_large")),
    (b'{"n": ' + b"9" * 5000 + b"}", (400, "request.malformed_json")),
    (b'"\xff\xfe\xfd"', (400, "request.bad_encoding")),
    (b'{"description": "\xe5\x9e"}', (400, "request.bad_encoding")),
    (b"", (422, "request.invalid")),
    (b"null", (422, "request.invalid")),
    (b"[]", (422, "request.invalid")),
    (b'"text"', (422, "request.invalid")),
    (b"NaN", (422, "request.invalid")),
)


def test_a_body_that_cannot_be_read(served: Served, subtests: pytest.Subtests) -> None:
    for body, expected in BODIES:
        with subtests.test(body=body[:40]):
            assert send(served, body) == expected


FIELDS: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"description": "有\0空"}, "request.bad_characters"),
    ({"description": "\x1b[2J"}, "request.bad_characters"),
    ({"description": "半个\ud83d字符"}, "request.bad_characters"),
    ({"spot": {"address": "两\n行"}}, "request.bad_characters"),
    ({"reporter": {"name": "\0"}}, "request.bad_characters"),
    ({"description": ""}, "request.invalid"),
    ({"description": "长" * 4001}, "request.invalid"),
    ({"description": 5}, "request.invalid"),
    ({"description": None}, "request.invalid"),
    ({"description": ["垃圾"]}, "request.invalid"),
    ({"description": " \n "}, "case.text_missing"),
    ({"territory": "D1/"}, "request.invalid"),
    ({"territory": "d1"}, "request.invalid"),
    ({"territory": ""}, "request.invalid"),
    ({"territory": "d1/../d1/"}, "request.invalid"),
    ({"category": "No Such"}, "request.invalid"),
    ({"source": "carrier pigeon"}, "request.invalid"),
    ({"occurred": "2026-03-02T09:00:00"}, "request.invalid"),
    ({"occurred": 1772413200}, "request.invalid"),
    ({"occurred": "1772413200"}, "request.invalid"),
    ({"occurred": "0001-01-01T00:00:00+23:59"}, "request.invalid"),
    ({"occurred": "9999-12-31T23:59:59-23:59"}, "request.invalid"),
    ({"occurred": "2026-02-30T09:00:00Z"}, "request.invalid"),
    ({"occurred": "2026-03-02T09:00:01+08:00"}, "case.in_future"),
    ({"spot": {"longitude": 181}}, "request.invalid"),
    ({"spot": {"latitude": "31"}}, "request.invalid"),
    ({"spot": {"latitude": True}}, "request.invalid"),
    ({"due": "2026-03-02T09:00:00Z"}, "request.invalid"),
    ({"imported": {"system": "a", "reference": "b"}}, "request.invalid"),
    ({"parent": "x"}, "request.invalid"),
    ({"by": "administrator"}, "request.invalid"),
    ({"at": "2020-01-01T00:00:00Z"}, "request.invalid"),
)


def test_a_field_that_cannot_be(served: Served, subtests: pytest.Subtests) -> None:
    for fields, code in FIELDS:
        with subtests.test(fields=ascii(fields)[:40]):
            body = json.dumps(REPORT | fields, ensure_ascii=code == "request.bad_characters")
            assert send(served, body.encode()) == (422, code)


def test_numbers_that_are_none(served: Served) -> None:
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        body = b'{"territory": "d1/s1/c1/g1/", "description": "x", "spot": {"latitude": %s}}'
        assert send(served, body % number) == (422, "request.invalid")


def test_a_problem_names_the_field_and_not_what_was_in_it(served: Served) -> None:
    body = {"username": "li", "password": "secret" * 100}
    problem = served.nobody.post("/tokens", body, 422)
    assert problem["errors"] == [
        {
            "field": "body.password",
            "code": "string_too_long",
            "detail": "最多 200 个字符",
            "zh": "最多 200 个字符",
            "en": "String should have at most 200 characters",
        }
    ]


def test_what_is_wrong_with_a_field_is_told_in_both_languages(
    served: Served, subtests: pytest.Subtests
) -> None:
    headers = {"Authorization": f"Bearer {served.token('li')}"}
    queries = ("limit=x", "limit=0", "limit=1000", "as_of=now", "open=maybe", "no_such=1")
    told = [
        served.client.post(
            f"{API}/cases",
            headers=headers | {"Content-Type": "application/json"},
            content=json.dumps(REPORT | fields),
        ).json()
        for fields, _ in FIELDS
    ]
    told += [served.client.get(f"{API}/cases?{query}", headers=headers).json() for query in queries]
    for each in [each for problem in told for each in problem["errors"]]:
        with subtests.test(**each):
            assert each["zh"] != OTHERWISE
            assert any("\u4e00" <= letter <= "\u9fff" for letter in each["zh"])
            assert each["detail"] == each["zh"]
            assert each["en"].isascii()
    assert all(problem["errors"] for problem in told[-len(queries) :])


def test_a_rule_that_is_not_listed_is_told_as_well() -> None:
    assert in_chinese("no_such_rule", {}) == OTHERWISE
    assert in_chinese("string_too_long", {}) == OTHERWISE


def test_a_problem_speaks_the_language_asked_for(served: Served) -> None:
    def detail(language: str) -> tuple[str, str]:
        response = served.client.get(
            API + "/cases/x",
            headers={
                "Authorization": f"Bearer {served.token('li')}",
                "Accept-Language": language,
            },
        )
        return response.json()["detail"], response.headers["Content-Language"]

    chinese, english = ("没有这个事项：x。", "zh"), ("There is no such case: x.", "en")
    for language in ("", "zh-CN,en;q=0.8", "fr", "en;q=0.1, zh;q=0.9", "en;q=x", ",;,"):
        assert detail(language) == chinese, language
    for language in ("en", "en-GB,en;q=0.9,zh;q=0.5", "fr, en;q=0.4"):
        assert detail(language) == english, language


def test_a_body_of_another_kind(served: Served) -> None:
    for media_type in ("text/plain", "application/xml", "application/jsonx", ""):
        answered = send(served, json.dumps(REPORT).encode(), Content_Type=media_type)
        assert answered == (415, "request.media_type"), media_type
    form = "application/x-www-form-urlencoded"
    assert send(served, b"a=b", Content_Type=form) == (415, "request.media_type")
    problem = served.as_("li").send(
        "POST",
        "/cases",
        201,
        content=json.dumps(REPORT).encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert problem["version"] == 1


def test_a_body_that_is_too_large_is_not_read_to_its_end(served: Served) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b" " * 10_000

    # In pieces, without a length: what counts is what comes.
    assert send(served, endless()) == (413, "request.too_large")
    assert send(served, b" " * 30_000, Content_Length="10") == (413, "request.too_large")
    exactly = json.dumps(REPORT).encode().ljust(20_000)
    served.as_("li").send(
        "POST", "/cases", 201, content=exactly, headers={"Content-Type": "application/json"}
    )


def test_what_is_not_there(served: Served) -> None:
    li = served.as_("li")
    assert li.get("/nothing", 404)["code"] == "request.unknown_path"
    assert li.get("/cases/", 404)["code"] == "request.unknown_path"
    assert served.nobody.get("/nothing", 404)["code"] == "request.unknown_path"
    assert li.send("DELETE", "/cases/x", 405)["code"] == "request.bad_method"
    assert li.send("PUT", "/cases", 405)["code"] == "request.bad_method"
    assert li.get("/cases/20260302-AAAAAAAA", 404)["code"] == "case.unknown"
    assert li.post("/cases/20260302-AAAAAAAA/accept", expect=404)["code"] == "case.unknown"
    assert li.post("/cases/x/note", {"text": "x"}, 404, If_Match='"3"')["code"] == "case.unknown"
    assert li.get("/cases/%00", 422)["code"] == "request.invalid"
    assert li.get("/cases/" + "x" * 200, 422)["code"] == "request.invalid"
    assert li.get("/territory", 404, path="d9/")["code"] == "territory.unknown"
    assert li.get("/territory/versions", 404, path="d9/")["code"] == "territory.unknown"
    case = served.report(category="exposed_garbage")
    dispatcher = served.as_("dispatcher")
    for body, code in (
        ({"unit": "nobody"}, "staff.unknown_unit"),
        ({"worker": "nobody"}, "staff.unknown_user"),
    ):
        assert dispatcher.post(f"/cases/{case}/dispatch", body, 404)["code"] == code
    unknown = served.as_("li").post("/cases", REPORT | {"category": "unheard_of"}, 404)
    assert unknown["code"] == "catalogue.unknown_category"
    merged = dispatcher.post(f"/cases/{case}/merge", {"into": "20260302-AAAAAAAA"}, 404)
    assert merged["code"] == "case.unknown"


def test_queries_that_cannot_be(served: Served) -> None:
    li = served.as_("li")
    wrong: list[dict[str, Any]] = [
        {"limit": 0},
        {"limit": 1000},
        {"limit": "many"},
        {"order": "random"},
        {"state": "lost"},
        {"tier": 1},
        {"due_before": "yesterday"},
        {"unheard_of": 1},
        {"after": "%%%"},
        {"position": -1},
        {"position": 10**30},
    ]
    for query in wrong:
        assert li.get("/cases", 422, **query)["code"] == "request.invalid", query
    assert li.get("/cases", 422, text="\0\0\0")["code"] == "request.bad_characters"
    assert li.get("/cases", 422, position=10**9)["code"] == "request.position_ahead"
    assert li.get("/cases/x", 422, version=0)["code"] == "request.invalid"


def test_times_that_cannot_be(served: Served) -> None:
    case = served.in_hand()
    past = (served.clock.now - timedelta(minutes=1)).isoformat()
    park = served.as_("li").post(f"/cases/{case}/ask-park", {"until": past, "reason": "x"}, 422)
    assert park["code"] in ("case.park_in_past", "case.in_past")
    whistle = {"units": ["property"], "purpose": "x", "reply_by": past}
    assert served.as_("coordinator").post(f"/cases/{case}/whistle", whistle, 422)["code"] == (
        "case.in_past"
    )
    far = {"until": "2998-12-31T23:59:59Z", "reason": "x"}
    assert served.as_("li").post(f"/cases/{case}/ask-park", far, 409)["code"] == "case.park_cap"


def test_a_case_of_another_territory_is_as_good_as_unknown(served: Served) -> None:
    case = served.in_hand(samples.OTHER_GRID, "other_worker")
    served.runner.catch_up()
    li = served.as_("li")
    for path in ("", "/timeline"):
        theirs = li.get(f"/cases/{case}{path}", 404)
        none = li.get(f"/cases/20260302-AAAAAAAA{path}", 404)
        for field in ("type", "title", "status", "code", "errors"):
            assert theirs[field] == none[field]
        assert theirs["en"].replace(case, "") == none["en"].replace("20260302-AAAAAAAA", "")
    for path, body in (
        ("accept", None),
        ("escalate", {"reason": "safety"}),
        ("resolve", {"evidence": ["x"]}),
        ("close", {"outcome": "resolved"}),
        ("note", {"text": "x"}),
    ):
        assert li.post(f"/cases/{case}/{path}", body, 404)["code"] == "case.unknown"
        unseen = li.post(f"/cases/{case}/{path}", body, 404, If_Match='"1"')
        assert unseen["code"] == "case.unknown"
    mine = served.report(category="exposed_garbage")
    merge = served.as_("coordinator").post(f"/cases/{mine}/merge", {"into": case}, 404)
    assert merge["code"] == "case.unknown"
    for query in ({"text": "垃圾"}, {"territory": samples.OTHER_GRID}, {"person": "other_worker"}):
        assert case not in {row["case"] for row in li.get("/cases", **query)["rows"]}


def test_a_resident_knows_of_the_own_case_only(served: Served) -> None:
    own, other = served.report(by="wang"), served.report(by="zhao")
    served.runner.catch_up()
    wang = served.as_("wang")
    assert [row["case"] for row in wang.get("/cases")["rows"]] == [own]
    wang.get(f"/cases/{own}/timeline")
    assert wang.get(f"/cases/{other}", 404)["code"] == "case.unknown"
    evaluation = {"solved": False, "satisfied": False}
    for case, code in ((own, "case.not_allowed"), (other, "case.unknown")):
        status = 404 if code == "case.unknown" else 409
        assert wang.post(f"/cases/{case}/evaluate", evaluation, status)["code"] == code


# --- what fails behind the API ---


def test_without_the_database_it_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_args: Any, **_kwargs: Any) -> Any:
        try:
            raise psycopg.OperationalError("the connection is lost")
        except psycopg.OperationalError as error:
            raise RuntimeError("as the event store raises it") from error

    monkeypatch.setattr(served.app.state.services.commits, "look", lost)
    response = served.client.get(
        API + "/cases", headers={"Authorization": f"Bearer {served.token('li')}"}
    )
    assert (response.status_code, response.json()["code"]) == (503, "request.unavailable")
    assert response.headers["Retry-After"] == "5"
    gateway = served.app.state.services.gateway
    monkeypatch.setattr(gateway, "standings", _raise(PoolTimeout("full")))
    assert served.nobody.get("/health", 503)["code"] == "request.unavailable"
    served.nobody.get("/health/live")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Conflict(), 409, "request.conflict"),
        (VersionMismatch(1, 2), 412, "request.version_mismatch"),
        (RuntimeError("an internal detail"), 500, "request.unexpected"),
        (psycopg.errors.NumericValueOutOfRange("x"), 422, "request.bad_characters"),
    ],
)
def test_what_is_raised_is_told_without_internals(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr(served.app.state.services.commits, "answer", _raise(error))
    with capture_logs() as logs:
        problem = served.as_("li").post("/cases", REPORT, status, X_Request_Id="r-1")
    assert problem["code"] == code
    assert problem["instance"] == "urn:wangge:request:r-1"
    assert "internal detail" not in json.dumps(problem)
    unexpected = [entry for entry in logs if entry["event"] == "request.unexpected"]
    assert len(unexpected) == (status == 500)
    if status == 500:
        assert "r-1" in problem["en"]


def test_a_request_has_an_id(served: Served) -> None:
    def answered(given: str) -> str:
        response = served.client.get(API + "/health/live", headers={"X-Request-Id": given})
        return str(response.headers["X-Request-Id"])

    assert answered("from-the-gateway.1") == "from-the-gateway.1"
    for wrong in ("", "two words", "x" * 65, "<script>"):
        assert len(answered(wrong)) == 16
        assert answered(wrong) != answered(wrong)


def _raise(error: Exception) -> Any:
    def raising(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return raising


@pytest.mark.parametrize(
    "path", ["casesX{}/note", "cases%3F{}/note", "cases{}/note", "cases//{}/note"]
)
def test_an_address_that_only_begins_like_one_is_none(served: Served, path: str) -> None:
    case = served.in_hand()
    problem = served.as_("li").post("/" + path.format(case), {"text": "x"}, 404)
    assert problem["code"] == "request.unknown_path"
