"""The district that the load is about, set up over the API as an office would do it."""

import json
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

API: Final = "/api/v1"
ADMINISTRATOR: Final = "chief"
PASSWORD: Final = "a password for crash tests"

GRID: Final = "d1/s1/c1/g1/"
CATEGORY: Final = "exposed_garbage"

_TREE: Final = (
    ("d1", "district", "", "示范区"),
    ("s1", "subdistrict", "d1/", "春风街道"),
    ("c1", "community", "d1/s1/", "和平社区"),
    ("g1", "grid", "d1/s1/c1/", "第一网格"),
)

_PEOPLE: Final = {
    "li": (("grid_worker", GRID),),
    "handler": tuple(("handler", path) for path in ("d1/s1/c1/", "d1/s1/", "d1/")),
    "coordinator": tuple(("coordinator", path) for path in ("d1/s1/c1/", "d1/s1/", "d1/")),
    "desk": tuple((role, "d1/") for role in ("dispatcher", "supervisor", "shift_lead")),
}
"""Few people with many roles: each sign-in costs a hash that is slow on purpose."""

READER: Final = "desk"

_BODIES: Final[dict[str, Any]] = {
    "escalate": {"reason": "resources", "note": "需要车辆"},
    "return": {"directive": "请网格协调清运"},
    "resolve": {"evidence": ["清理后照片"]},
    "check": {"passed": True},
    "rework": {"passed": False, "note": "仍有垃圾"},
    "close": {"outcome": "resolved"},
    "reopen": {"reason": "垃圾又堆上了"},
}

_OF_THE_DESK: Final = ("dispatch", "check", "rework", "close", "reopen", "note")

STEPS_WITH_ROUTES: Final = ("report", *_OF_THE_DESK, "accept", "escalate", "return", "resolve")


def body_of(step: str, text: str) -> Any:
    """What is sent with a step. ``text`` is told nowhere else, so that it can be found again."""
    match step:
        case "report":
            reporter = {"name": f"王女士 {text}", "phone": "13800000000"}
            return {
                "territory": GRID,
                "category": CATEGORY,
                "description": f"楼下堆着垃圾 {text}",
                "reporter": reporter,
            }
        case "note":
            return {"text": text}
        case _:
            return _BODIES.get(step, {})


def path_of(step: str, case: str) -> str:
    """Where a step is posted."""
    if step == "report":
        return f"{API}/cases"
    return f"{API}/cases/{case}/{'check' if step == 'rework' else step}"


def person_for(step: str, tier: int) -> str:
    """Who takes a step of a case that is believed to be at a tier (0 is the grid)."""
    if step == "return":
        return "coordinator"
    if step in _OF_THE_DESK:
        return "desk"
    return "li" if tier == 0 else "handler"


def set_up(port: int) -> dict[str, str]:
    """Create the district over the API; returns everybody's token."""
    admin = _sign_in(port, ADMINISTRATOR)
    post = _poster(port, admin)
    for id_, tier, parent, name in _TREE:
        post(
            "territory/create",
            {"id": id_, "tier": tier, "parent": parent, "name": name, "effective": "2025-01-01"},
        )
    for person, roles in _PEOPLE.items():
        grants = [{"role": role, "territory": territory} for role, territory in roles]
        post("staff/users", {"id": person, "name": person, "grants": grants, "password": PASSWORD})
    post("territory/assign", {"path": GRID, "worker": "li"})
    return {person: _sign_in(port, person) for person in _PEOPLE} | {ADMINISTRATOR: admin}


def _sign_in(port: int, person: str) -> str:
    token: str = call(port, "POST", "tokens", {"username": person, "password": PASSWORD})[1][
        "access_token"
    ]
    return token


def _poster(port: int, token: str) -> Callable[[str, Any], None]:
    def post(path: str, body: Any) -> None:
        status, answer = call(port, "POST", path, body, token)
        assert status in (200, 201), (path, status, answer)

    return post


def call(
    port: int, method: str, path: str, body: Any = None, token: str = "", seconds: float = 10
) -> tuple[int, Any]:
    """One request on a connection of its own: status and body. Raises OSError."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, f"{API}/{path}", content, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


__all__ = ["HTTPConnection", "HTTPException"]
