"""Whatever somebody types stays text: markup goes into every text field of every command, and no
page of the console makes an element, an attribute or a script of it."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final

import pytest
from fastapi.routing import iter_route_contexts

from api.auth import CONSOLE
from api.schemas.words import LINE_PATTERN, TEXT_PATTERN
from api.services import API
from tests import samples
from tests.api.conftest import Served, description

MARKUP: Final = "<img src=planted onerror=alert(1)>\"'><script>planted()</script>{{7*7}}&lt;b&gt;"
"""In a text, in an attribute with either quote, as a script, as a template, escaped already."""

FAR: Final = "2027-12-01"
UNTIL: Final = "2026-03-20T09:00:00+08:00"
PART: Final = {"name": MARKUP, "boundary": MARKUP, "households": 1, "residents": 1}

Sent = tuple[str, str, Any]


def _report(**more: Any) -> dict[str, Any]:
    reporter = {"name": MARKUP, "phone": MARKUP, "address": MARKUP}
    spot = {"address": MARKUP, "longitude": 121.47, "latitude": 31.23}
    return {
        "territory": samples.GRID,
        "description": MARKUP,
        "reporter": reporter,
        "spot": spot,
        **more,
    }


OFFICE: Final[tuple[Sent, ...]] = (
    (
        "administrator",
        "/territory/create",
        {
            "id": "new",
            "tier": "grid",
            "parent": samples.COMMUNITY,
            "name": MARKUP,
            "boundary": MARKUP,
            "effective": "2026-01-05",
        },
    ),
    (
        "administrator",
        "/territory/rename",
        {"path": samples.COMMUNITY, "name": MARKUP, "effective": "2026-01-05"},
    ),
    (
        "administrator",
        "/territory/redraw",
        {"path": samples.GRID, "boundary": MARKUP, "effective": "2026-01-05"},
    ),
    (
        "administrator",
        "/territory/split",
        {
            "path": samples.OTHER_GRID,
            "into": [{"id": "a", **PART}, {"id": "b", **PART}],
            "effective": FAR,
        },
    ),
    (
        "administrator",
        "/territory/merge",
        {
            "paths": [samples.SIBLING_GRID, f"{samples.COMMUNITY}new/"],
            "id": "c",
            "name": MARKUP,
            "boundary": MARKUP,
            "effective": FAR,
        },
    ),
    (
        "administrator",
        "/catalogue/define",
        {
            "code": "planted",
            "name_zh": MARKUP,
            "name_en": MARKUP,
            "size": "small",
            "limit": {"amount": 4, "unit": "wh"},
            "contact": None,
        },
    ),
    (
        "administrator",
        "/calendar/declare",
        {"day": "2026-03-10", "working": False, "reason": MARKUP},
    ),
    (
        "administrator",
        "/staff/units",
        {"id": "planted", "name": MARKUP, "territory": samples.COMMUNITY},
    ),
    (
        "administrator",
        "/staff/users",
        {
            "id": "planted",
            "name": MARKUP,
            "grants": [{"role": "hotline", "territory": samples.GRID}],
        },
    ),
    ("administrator", "/staff/users/planted/suspend", {"reason": MARKUP}),
)
"""What changes the office, in order."""

LIFE: Final[tuple[Sent, ...]] = (
    ("acceptor", "verify", {"note": MARKUP}),
    ("acceptor", "file", {"category": "planted"}),
    ("acceptor", "reclassify", {"category": "exposed_garbage", "reason": MARKUP}),
    ("dispatcher", "dispatch", {}),
    ("dispatcher", "transfer", {"reason": MARKUP}),
    ("li", "accept", {}),
    ("li", "ask-extension", {"more": {"amount": 1, "unit": "wd"}, "reason": MARKUP}),
    ("dispatcher", "decline", {"reason": MARKUP}),
    ("li", "ask-park", {"until": UNTIL, "reason": MARKUP}),
    ("dispatcher", "approve-park", {}),
    ("li", "resume", {}),
    ("li", "escalate", {"reason": "safety", "note": MARKUP}),
    ("coordinator", "whistle", {"units": ["cleaning"], "purpose": MARKUP, "reply_by": UNTIL}),
    ("community_handler", "accept", {}),
    ("community_handler", "return", {"directive": MARKUP}),
    ("li", "accept", {}),
    ("li", "note", {"text": MARKUP}),
    ("coordinator", "split", {"children": [{"description": MARKUP, "required": False}] * 2}),
    ("li", "resolve", {"evidence": [MARKUP], "note": MARKUP}),
    ("supervisor", "check", {"passed": True, "note": MARKUP}),
    ("shift_lead", "close", {"outcome": "not_ours", "refused_by": MARKUP}),
    ("callback_desk", "callback", {"reached": True, "solved": True}),
    ("callback_desk", "evaluate", {"solved": True, "satisfied": True, "comment": MARKUP}),
    ("supervisor", "reopen", {"reason": MARKUP}),
)
"""What happens to the first case, in order."""

LOOK: Final[Sent] = ("supervisor", "personal", {"purpose": "audit", "reason": MARKUP})
"""Somebody looks at what is personal in it."""

ENDS: Final[tuple[Sent, ...]] = (
    ("acceptor", "reject", {"reason": MARKUP}),
    ("shift_lead", "ask-void", {"reason": MARKUP}),
)
"""How the second and the third case end, or are to."""


@pytest.fixture(scope="module")
def cases(shared: Served) -> list[str]:
    """The cases to which all of it has happened."""
    for person, path, body in OFFICE:
        _send(shared, person, path, body)
    made = [_send(shared, "hotline", "/cases", _report())["case"] for _ in range(2)]
    made.append(_send(shared, "hotline", "/cases", _report())["case"])
    _send(shared, "acceptor", f"/cases/{made[2]}/file", {"category": "exposed_garbage"})
    for person, step, body in LIFE:
        _send(shared, person, f"/cases/{made[0]}/{step}", body)
    for case, (person, step, body) in zip(made[1:], ENDS, strict=True):
        _send(shared, person, f"/cases/{case}/{step}", body)
    shared.as_("li").send(
        "POST", f"/cases/{made[0]}/attachments", 200, params={"name": MARKUP}, content="words"
    )
    shared.runner.catch_up()
    _send(shared, LOOK[0], f"/cases/{made[0]}/{LOOK[1]}", LOOK[2])
    shared.runner.catch_up()
    return made


def _send(served: Served, person: str, path: str, body: Any) -> Any:
    created = 201 if path in ("/cases", "/staff/users", "/staff/units") else 200
    served.clock.pass_(minutes=1)
    return served.as_(person).post(path, body, created)


def test_everytext_type_field_of_every_command_is_planted() -> None:
    sent = {
        (f"{API}{path}".replace("/planted/", "/{user}/"), field)
        for _, path, body in (
            *OFFICE,
            ("hotline", "/cases", _report()),
            *(
                (person, f"/cases/{{case}}/{step}", body)
                for person, step, body in (*LIFE, *ENDS, LOOK)
            ),
        )
        for field in _planted(body, "")
    }
    assert text_type_fields() - sent == set()


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if said.get("src") == "planted" or any(name.startswith("on") for name in said):
            self.wrong.append(str(self.get_starttag_text()))
        if tag == "script" and "src" not in said and said.get("type") != "application/json":
            self.wrong.append(str(self.get_starttag_text()))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


PEOPLE: Final = ("administrator", "supervisor", "li", "dispatcher", "acceptor")


def test_no_page_makes_anything_of_it(shared: Served, cases: list[str]) -> None:
    seen = 0
    for path in _pages(cases):
        for person in PEOPLE:
            for language in ("zh", "en"):
                answer = shared.client.get(
                    path,
                    headers={
                        "Authorization": f"Bearer {shared.token(person)}",
                        "Accept": "text/html",
                        "Cookie": f"wangge_lang={language}",
                    },
                )
                if not answer.headers["Content-Type"].startswith("text/html"):
                    continue
                assert answer.status_code in (200, 403, 404, 422), (path, person, answer.text)
                page = Elements()
                page.feed(answer.text)
                assert not page.wrong, (path, person, page.wrong)
                text = "".join(page.texts)
                assert text.count("{{7*7}}") == text.count("onerror=alert(1)")
                seen += text.count("onerror=alert(1)")
    # It is shown, as the text it is: a page that hides everything would prove nothing.
    assert seen > 0


def test_the_parser_sees_what_is_planted() -> None:
    for markup in (MARKUP, f'<p title="{MARKUP}">', "<script>planted()</script>"):
        page = Elements()
        page.feed(markup)
        assert page.wrong, markup


def _pages(cases: list[str]) -> Iterator[str]:
    """Every page there is, of every case that was made."""
    for route in iter_route_contexts(description().routes):
        path = str(route.path)
        if not path.startswith(f"{CONSOLE}/") or "GET" not in (route.methods or ()):
            continue
        if "{case}" in path:
            yield from (path.replace("{case}", case) for case in cases)
        elif "{" not in path:
            yield path


def _planted(body: Any, path: str) -> Iterator[str]:
    if body == MARKUP:
        yield path
    elif isinstance(body, dict):
        for name, value in body.items():
            yield from _planted(value, f"{path}.{name}")
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _planted(value, f"{path}[]")


def text_type_fields() -> set[tuple[str, str]]:
    """Each field of a command that takes any words, by the command's path."""
    made = description().openapi()
    known = made["components"]["schemas"]

    def fields(schema: dict[str, Any], path: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = known[schema["$ref"].rpartition("/")[2]]
        for kind in ("anyOf", "allOf", "oneOf"):
            for each in schema.get(kind, ()):
                yield from fields(each, path)
        if schema.get("type") == "array" and "items" in schema:
            yield from fields(schema["items"], f"{path}[]")
        if schema.get("pattern") in (TEXT_PATTERN, LINE_PATTERN):
            yield path
        for name, each in schema.get("properties", {}).items():
            yield from fields(each, f"{path}.{name}")

    return {
        (path, field)
        for path, methods in made["paths"].items()
        for body in methods.get("post", {}).get("requestBody", {}).get("content", {}).values()
        for field in fields(body.get("schema", {}), "")
    }
