"""Every route × every role × own, child, sibling and parent territory.

``ROUTES`` says of each route what decides who may use it. A route that is not in it fails the test,
and so does one that answers otherwise than its class says.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.auth import CONSOLE
from api.cases import STEPS
from api.console import static
from api.docs import FILES
from api.services import API
from domain.calendar import office_time
from domain.errors import Refused
from domain.places import EVERYWHERE, within
from domain.roles import Actor, Reading, Role, permitted, scope
from domain.territory import RedrawGrid
from domain.webhooks import AddReceiver, RemoveReceiver
from tests import samples
from tests.api.conftest import MATRIX, Served, description
from tests.api.test_feed import events, head, told
from tests.files import picture

PLACE: Final = samples.COMMUNITY
FAR: Final = "2990-01-01"
HOOK: Final = {"url": "https://example.com/hook"}

STEP_BODIES: Final[dict[str, Any]] = {
    "verify": {},
    "dispatch": {},
    "reject": {"reason": "x"},
    "file": {"category": "exposed_garbage"},
    "reclassify": {"category": "dirty_road", "reason": "x"},
    "ask-void": {"reason": "x"},
    "transfer": {"reason": "x"},
    "escalate": {"reason": "safety"},
    "return": {"directive": "x"},
    "whistle": {"units": ["property"], "purpose": "x", "reply_by": "2026-12-31T00:00:00Z"},
    "report-in": {"unit": "property"},
    "mark-absent": {"unit": "property"},
    "split": {"children": [{"description": "x"}, {"description": "y"}]},
    "ask-park": {"until": "2026-12-31T00:00:00Z", "reason": "x"},
    "ask-extension": {"more": {"amount": 1, "unit": "wd"}, "reason": "x"},
    "decline": {"reason": "x"},
    "resolve": {"evidence": ["x"]},
    "check": {"passed": True},
    "close": {"outcome": "resolved"},
    "callback": {"reached": False},
    "evaluate": {"solved": True, "satisfied": True},
    "reopen": {"reason": "x"},
    "note": {"text": "x"},
}
"""What is sent with a command to a case; the others need nothing, and ``merge`` another case."""

Check = Callable[[Served, Actor, "Cases"], None]


class Cases:
    """Two cases in the place that the matrix is about."""

    def __init__(self, served: Served) -> None:
        self.case, self.other = (served.report(PLACE, "acceptor") for _ in range(2))
        for case in (self.case, self.other):
            served.as_("acceptor").post(f"/cases/{case}/file", {"category": "exposed_garbage"})
        (self.attachment,) = served.as_("acceptor").send(
            "POST", f"/cases/{self.case}/attachments?name=x.png", 200, content=picture("PNG")
        )["created"]
        served.follow()


def grant_of(by: Actor) -> tuple[Role, str]:
    """The only role that somebody of the matrix has, and where."""
    (grant,) = by.grants
    return grant.role, grant.territory


def anybody(method: str, path: str, body: Any = None, /, **query: Any) -> Check:
    """Open to whoever is signed in."""

    def check(served: Served, by: Actor, _cases: Cases) -> None:
        code = _code(served, by, method, path, body, query)
        assert code not in ("role.not_permitted", "query.not_permitted"), code

    return check


def command(name: str, ground: str, path: str, body: Any = None) -> Check:
    """As the table of permissions says for the territory that is changed."""

    def check(served: Served, by: Actor, _cases: Cases) -> None:
        code = _code(served, by, "POST", path, body)
        assert (code == "role.not_permitted") is not permitted(by, name, ground), code

    return check


def step(path: str, name: str) -> Check:
    """As the table says for the case, and a 404 for whoever cannot even see it."""

    def check(served: Served, by: Actor, cases: Cases) -> None:
        state, _ = served.store.case(cases.case)
        place, holder = state.facts.place.path, state.facts.holder
        body = {"into": cases.other} if path == "merge" else STEP_BODIES.get(path)
        code = _code(served, by, "POST", f"/cases/{cases.case}/{path}", body)
        if permitted(by, name, place, holder):
            assert code != "role.not_permitted"
        elif _sees(by, place, holder):
            assert code == "role.not_permitted"
        else:
            assert code == "case.unknown"

    return check


def reading(path: str) -> Check:
    """One case: to those who have it in their scope."""

    def check(served: Served, by: Actor, cases: Cases) -> None:
        state, _ = served.store.case(cases.case)
        served.follow()
        code = _code(served, by, "GET", f"/cases/{cases.case}{path}")
        sees = _sees(by, state.facts.place.path, state.facts.holder)
        assert code == ("" if sees else "case.unknown")

    return check


def upload(served: Served, by: Actor, cases: Cases) -> None:
    """As with the other commands to a case; what is sent is text."""
    state, _ = served.store.case(cases.case)
    place, holder = state.facts.place.path, state.facts.holder
    code = _code(served, by, "POST", f"/cases/{cases.case}/attachments", "x", {"name": "x.txt"})
    if permitted(by, "AttachFile", place, holder):
        assert code != "role.not_permitted"
    else:
        assert code == ("role.not_permitted" if _sees(by, place, holder) else "case.unknown")


def file(tail: str) -> Check:
    """To people who have the case in their scope, for a purpose."""

    def check(served: Served, by: Actor, cases: Cases) -> None:
        state, _ = served.store.case(cases.case)
        place, holder = state.facts.place.path, state.facts.holder
        served.follow()
        path = f"/cases/{cases.case}/attachments/{cases.attachment}{tail}"
        code = _code(served, by, "GET", path, None, {"purpose": "handling"})
        if not _sees(by, place, holder):
            assert code == "case.unknown"
        else:
            shown = permitted(by, "ShowPersonal", place, holder)
            assert code == ("" if shown else "role.not_permitted")

    return check


def personal(served: Served, by: Actor, cases: Cases) -> None:
    """To people who have the case in their scope, for a purpose; to residents only the own."""
    state, _ = served.store.case(cases.case)
    place, holder = state.facts.place.path, state.facts.holder
    served.follow()
    code = _code(served, by, "POST", f"/cases/{cases.case}/personal", {"purpose": "handling"})
    if not _sees(by, place, holder):
        assert code == "case.unknown"
    else:
        assert code == (
            "" if permitted(by, "ShowPersonal", place, holder) else "role.not_permitted"
        )


def access(served: Served, by: Actor, cases: Cases) -> None:
    """Supervisors and administrators, within their territory; others see no look at this case."""
    role, territory = grant_of(by)
    look = {"purpose": "check"}
    done = served.as_("acceptor").post(f"/cases/{cases.case}/personal", look)
    served.follow()
    rows = served.as_(by).get("/access", case=cases.case, position=done["position"])["rows"]
    told = role in (Role.SUPERVISOR, Role.ADMINISTRATOR) and within(PLACE, territory)
    assert bool(rows) is told


def forgetting(served: Served, by: Actor, _cases: Cases) -> None:
    """As the audit trail: supervisors and administrators, within their territory."""
    role, territory = grant_of(by)
    person = f"p-{by.id}".replace("_", "-")
    asked = {"territory": PLACE, "reason": "request"}
    done = served.as_("administrator").post(f"/people/{person}/forget/ask", asked)
    served.follow()
    query = {"person": person, "position": done["position"]}
    if role not in (Role.SUPERVISOR, Role.ADMINISTRATOR):
        assert served.as_(by).get("/people/forget", 403, **query)["code"] == "query.not_permitted"
        return
    rows = served.as_(by).get("/people/forget", **query)["rows"]
    assert bool(rows) is within(PLACE, territory)


def worklist(served: Served, by: Actor, cases: Cases) -> None:
    """Everybody has one; in it is what one may see."""
    served.follow()
    state, _ = served.store.case(cases.case)
    sees = _sees(by, state.facts.place.path, state.facts.holder)
    by_id = served.as_(by).get("/cases", territory=PLACE, text=cases.case)["rows"]
    assert [row["case"] for row in by_id] == ([cases.case] if sees else [])
    then = served.store.history(f"case:{cases.case}")[-1].position
    past = served.as_(by).get("/cases", territory=PLACE, text=cases.case, as_of=then)["rows"]
    assert past == by_id
    # The other tests of this module have reported a good many more, which fill some pages.
    for as_of in ({}, {"as_of": then}):
        for row in served.as_(by).get("/cases", text="垃圾", limit=200, **as_of)["rows"]:
            assert _sees(by, row["territory"], row["holder"]) or by.id in (
                row["reporter"],
                row["handler"],
            )


def deadlines(served: Served, by: Actor, _cases: Cases) -> None:
    """Everybody has a list; in it are the cases of the own territories."""
    served.follow()
    everything = served.as_("administrator").get("/deadlines", limit=500)["rows"]
    assert everything
    own = {row["case"] for row in served.as_(by).get("/deadlines", limit=500)["rows"]}
    for row in everything:
        assert (row["case"] in own) is _sees(by, row["territory"], row["territory"])


def feed(served: Served, by: Actor, cases: Cases) -> None:
    """Those who have cases to read, of the own territories."""
    role, _ = grant_of(by)
    if role is Role.RESIDENT:
        assert told(served, by.id, 403)[0].data["code"] == "query.not_permitted"
        return
    state, _ = served.store.case(cases.case)
    head(served)
    news = events(told(served, by.id))
    sees = _sees(by, state.facts.place.path, state.facts.holder)
    assert (cases.case in {each["case"] for each in news}) is sees
    for each in news:
        assert _sees(by, each["territory"], each["territory"])


_receivers = count(1)


@contextmanager
def a_receiver(served: Served) -> Iterator[str]:
    """Somebody outside who is told of the place of the matrix, for a while."""
    common: dict[str, Any] = {
        "by": samples.SYSTEM,
        "at": served.clock(),
        "receiver": f"r{next(_receivers)}",
    }
    served.store.execute(AddReceiver(**common, territory=PLACE, url=HOOK["url"]))
    yield str(common["receiver"])
    with suppress(Refused):
        served.store.execute(RemoveReceiver(**common))


def receiver(name: str, path: str, body: Any = None) -> Check:
    """Administrators, of the receiver's territory."""

    def check(served: Served, by: Actor, _cases: Cases) -> None:
        with a_receiver(served) as known:
            sent = body
            if not path:
                sent = {"id": known, "territory": PLACE, "url": HOOK["url"]}
            code = _code(
                served, by, "POST", f"/webhooks/{known}{path}" if path else "/webhooks", sent
            )
        allowed = permitted(by, name, PLACE)
        assert (code == "role.not_permitted") is not allowed, code
        assert code in ("", "webhook.exists", "role.not_permitted")

    return check


def webhooks(served: Served, by: Actor, _cases: Cases) -> None:
    """To administrators, those of the own territories."""
    with a_receiver(served) as known:
        rows = served.as_(by).get("/webhooks")["rows"]
    assert (known in {row["id"] for row in rows}) is permitted(by, "AddReceiver", PLACE)


def dead_letters(served: Served, by: Actor, _cases: Cases) -> None:
    """As with the receivers themselves."""
    with a_receiver(served) as known:
        code = _code(served, by, "GET", f"/webhooks/{known}/dead")
    assert code == ("" if permitted(by, "AddReceiver", PLACE) else "webhook.unknown")


def audit(served: Served, by: Actor, cases: Cases) -> None:
    """Supervisors and administrators, within their territory."""
    role, territory = grant_of(by)
    code = _code(served, by, "GET", "/audit")
    if role not in (Role.SUPERVISOR, Role.ADMINISTRATOR):
        assert code == "query.not_permitted"
        return
    rows = served.as_(by).get("/audit", object=f"case:{cases.case}")["rows"]
    assert bool(rows) is within(PLACE, territory)


def audit_file(served: Served, by: Actor, cases: Cases) -> None:
    """As the trail: a file of what one may see, and no file for others."""
    role, territory = grant_of(by)
    headers = {"Authorization": f"Bearer {served.token(by.id)}"}
    served.follow()  # it waits for all that the log has
    response = served.client.get(
        f"{API}/audit/export", params={"object": f"case:{cases.case}"}, headers=headers
    )
    if role not in (Role.SUPERVISOR, Role.ADMINISTRATOR):
        assert response.json()["code"] == "query.not_permitted"
        return
    assert (f",case:{cases.case}," in response.text) is within(PLACE, territory)


def audited(served: Served, by: Actor, _cases: Cases) -> None:
    """An entry of the trail: who may not see it is not told that it exists."""
    role, territory = grant_of(by)
    served.follow()
    last = served.app.state.services.gateway.head()
    entry = served.store.event(last)
    assert entry is not None
    code = _code(served, by, "GET", f"/audit/{last}")
    if role not in (Role.SUPERVISOR, Role.ADMINISTRATOR):
        assert code == "query.not_permitted"
    else:
        assert code == ("" if within(entry.territory, territory) else "audit.unknown")


def read_models(served: Served, by: Actor, _cases: Cases) -> None:
    """As the trail."""
    role, _ = grant_of(by)
    allowed = role in (Role.SUPERVISOR, Role.ADMINISTRATOR)
    assert _code(served, by, "GET", "/projections") == ("" if allowed else "query.not_permitted")


def metric(path: str) -> Check:
    """Those who answer for a territory, for all within it."""
    readers = {Role.COORDINATOR, Role.SUPERVISOR, Role.SHIFT_LEAD, Role.ADMINISTRATOR}

    def check(served: Served, by: Actor, _cases: Cases) -> None:
        role, territory = grant_of(by)
        code = _code(served, by, "GET", f"/metrics/{path}", None, {"territory": PLACE})
        allowed = role in readers and within(PLACE, territory)
        assert code == ("" if allowed else "query.not_permitted")
        if allowed:
            # Without a territory it is the own one; nothing is counted or listed beyond it.
            listed = {"part": "denominator"} if path.endswith("/cases") else {}
            for row in served.as_(by).get(f"/metrics/{path}", **listed).get("rows", []):
                assert within(row["territory"], territory)

    return check


def reporting(served: Served, by: Actor, _cases: Cases) -> None:
    """As with the metrics that it is made of."""
    readers = {Role.COORDINATOR, Role.SUPERVISOR, Role.SHIFT_LEAD, Role.ADMINISTRATOR}
    role, territory = grant_of(by)
    headers = {"Authorization": f"Bearer {served.token(by.id)}"}
    served.follow()
    response = served.client.get(f"{API}/reports/daily/{PLACE}?format=csv", headers=headers)
    allowed = role in readers and within(PLACE, territory)
    assert (response.status_code == 200) is allowed, response.text
    assert allowed or response.json()["code"] == "query.not_permitted"


def people(served: Served, by: Actor, _cases: Cases) -> None:
    """The staff of one's own scope, and oneself."""
    role, territory = grant_of(by)
    seen = {row["id"] for row in served.as_(by).get("/staff/users")["rows"]}
    assert by.id in seen
    assert ("coordinator" in seen) is (role is not Role.RESIDENT and within(PLACE, territory))
    if role is Role.RESIDENT:
        assert seen == {by.id}


def territory(served: Served, by: Actor, _cases: Cases) -> None:
    """The names are everybody's; who works and how many live there is for those of the scope."""
    role, own = grant_of(by)
    nodes = served.as_(by).get("/territory", path=samples.SUBDISTRICT)["nodes"]
    assert {samples.GRID, samples.OTHER_GRID} <= {node["path"] for node in nodes}
    for node in nodes:
        told = role is not Role.RESIDENT and within(node["path"], own)
        assert node["name"]
        assert (node["workers"] is not None) is told
        if node["path"] == samples.GRID:
            assert (node["households"] is not None, node["residents"] is not None) == (told, told)


def at(served: Served, by: Actor, _cases: Cases) -> None:
    """In the own territories alone; what lies elsewhere is as if it were nowhere."""
    _, own = grant_of(by)
    served.store.execute(
        RedrawGrid(
            by=samples.SYSTEM,
            at=served.clock(),
            path=samples.OTHER_GRID,
            boundary=(((121.0, 31.0), (121.1, 31.0), (121.1, 31.1), (121.0, 31.0)),),
            effective=office_time(served.clock()).date(),
        )
    )
    grids = served.as_(by).get("/territory/at", longitude=121.08, latitude=31.02)["grids"]
    assert [grid["path"] for grid in grids] == (
        [samples.OTHER_GRID] if within(samples.OTHER_GRID, own) else []
    )


def versions(served: Served, by: Actor, _cases: Cases) -> None:
    """As with the tree."""
    role, own = grant_of(by)
    for path in (samples.GRID, samples.OTHER_GRID):
        node = served.as_(by).get("/territory/versions", path=path)
        assert node["versions"]
        told = role is not Role.RESIDENT and within(path, own)
        assert (node["workers"] is not None) is told


def counts(served: Served, by: Actor, cases: Cases) -> None:
    """Nobody counts what is not in the own scope."""
    served.follow()
    state, _ = served.store.case(cases.case)
    sees = _sees(by, state.facts.place.path, state.facts.holder)
    found = served.as_(by).get("/cases/counts", text=cases.case)
    assert found["open"] + found["ended"] == sees


def console(path: str, reading: Reading | None = None, /, **query: Any) -> Check:
    """A page of the console: to whoever is signed in, or may read something anywhere."""

    def check(served: Served, by: Actor, cases: Cases) -> None:
        code = _code(served, by, "GET", path.format(case=cases.case), None, query, CONSOLE)
        allowed = reading is None or bool(scope(by, reading).territories)
        assert (code in ("role.not_permitted", "query.not_permitted")) is not allowed, code

    return check


def console_case(path: str) -> Check:
    """A page of one case: to those who have it in their scope."""

    def check(served: Served, by: Actor, cases: Cases) -> None:
        state, _ = served.store.case(cases.case)
        served.follow()
        code = _code(served, by, "GET", path.format(case=cases.case), None, None, CONSOLE)
        sees = _sees(by, state.facts.place.path, state.facts.holder)
        assert code == ("" if sees else "case.unknown")

    return check


def console_entry(served: Served, by: Actor, _cases: Cases) -> None:
    """The page of an entry of the trail, which is of the office as a whole."""
    role, _ = grant_of(by)
    code = _code(served, by, "GET", "/audit/1", None, None, CONSOLE)
    readers = (Role.SUPERVISOR, Role.ADMINISTRATOR)
    assert code == ("audit.unknown" if role in readers else "query.not_permitted")


def public(method: str, path: str, body: Any = None) -> Check:
    """Open to whoever comes."""

    def check(served: Served, _by: Actor, _cases: Cases) -> None:
        headers = {"X-Wangge-Console": "1"}
        response = served.client.request(
            method, path, json=body, headers=headers, follow_redirects=False
        )
        if response.is_redirect:
            assert response.headers["Location"] == f"{CONSOLE}/worklist"
            return
        assert response.is_success or response.json()["code"] in (
            "request.bad_credentials",
            "request.too_many_attempts",
        )

    return check


def not_from_here(path: str) -> Check:
    """For this machine alone, whoever asks; see ``test_prometheus``."""

    def check(served: Served, by: Actor, _cases: Cases) -> None:
        for headers in ({}, {"Authorization": f"Bearer {served.token(by.id)}"}):
            response = served.client.get(path, headers=headers)
            assert (response.status_code, response.content) == (403, b"")

    return check


GRANT: Final = {"role": "hotline", "territory": PLACE}
PART: Final = {"name": "x", "households": 0, "residents": 0}
POLICY: Final = {
    "returns_per_case": 2,
    "transfers_per_episode": 5,
    "park_cap_days": 90,
    "extensions": 2,
    "reopen_window_days": 30,
    "callback_window_days": 30,
    "callback_attempts": 3,
}

ROUTES: Final[dict[tuple[str, str], Check]] = {
    **{("GET", path): public("GET", path) for path in (*FILES, "/openapi.json")},
    ("GET", "/metrics"): not_from_here("/metrics"),
    ("GET", f"{API}/health"): public("GET", f"{API}/health"),
    ("GET", f"{API}/health/live"): public("GET", f"{API}/health/live"),
    ("POST", f"{API}/tokens"): public(
        "POST", f"{API}/tokens", {"username": "hotline", "password": "wrong"}
    ),
    ("POST", f"{API}/tokens/renew"): anybody("POST", "/tokens/renew"),
    # the console
    ("GET", "/"): public("GET", "/"),
    ("GET", static.PATH): public("GET", static.address("console.css")),
    **{
        ("GET", f"{CONSOLE}/administration{tab}"): console(
            f"/administration{tab}", Reading.ADMINISTRATION
        )
        for tab in ("", "/catalogue", "/calendar", "/people")
    },
    ("GET", f"{CONSOLE}/administration/forgetting"): console(
        "/administration/forgetting", Reading.AUDIT
    ),
    ("GET", static.WORKER): public("GET", static.WORKER),
    ("GET", f"{CONSOLE}/report"): console("/report"),
    ("GET", f"{CONSOLE}/sign-in"): public("GET", f"{CONSOLE}/sign-in"),
    ("POST", f"{CONSOLE}/session"): public(
        "POST", f"{CONSOLE}/session", {"username": "hotline", "password": "wrong"}
    ),
    ("POST", f"{CONSOLE}/session/end"): public("POST", f"{CONSOLE}/session/end"),
    ("GET", f"{CONSOLE}/more"): console("/more"),
    ("GET", f"{CONSOLE}/worklist"): console("/worklist"),
    ("GET", f"{CONSOLE}/worklist/places"): console("/worklist/places"),
    ("GET", f"{CONSOLE}/worklist/{{case}}/preview"): console_case("/worklist/{case}/preview"),
    ("GET", f"{CONSOLE}/audit"): console("/audit", Reading.AUDIT),
    ("GET", f"{CONSOLE}/audit/access"): console("/audit/access", Reading.AUDIT),
    ("GET", f"{CONSOLE}/audit/{{entry}}"): console_entry,
    ("GET", f"{CONSOLE}/cases/{{case}}"): console_case("/cases/{case}"),
    ("GET", f"{CONSOLE}/operations"): console("/operations", Reading.AUDIT),
    ("GET", f"{CONSOLE}/operations/webhooks/{{receiver}}/dead"): console(
        "/operations/webhooks/x/dead", Reading.AUDIT
    ),
    ("GET", f"{CONSOLE}/metrics"): console("/metrics", Reading.METRICS),
    ("GET", f"{CONSOLE}/metrics/parts/{{part}}"): console("/metrics/parts/flow", Reading.METRICS),
    ("GET", f"{CONSOLE}/metrics/compare"): console("/metrics/compare", Reading.METRICS),
    ("GET", f"{CONSOLE}/metrics/{{metric}}/{{figure}}/cases"): console(
        "/metrics/flow/from_grid/cases", Reading.METRICS
    ),
    # cases
    ("POST", f"{API}/cases"): command(
        "ReportCase", PLACE, "/cases", {"territory": PLACE, "description": "垃圾"}
    ),
    ("GET", f"{API}/cases"): worklist,
    ("GET", f"{API}/cases/counts"): counts,
    ("GET", f"{API}/cases/{{case}}"): reading(""),
    ("GET", f"{API}/cases/{{case}}/timeline"): reading("/timeline"),
    ("GET", f"{API}/cases/{{case}}/related"): reading("/related"),
    **{("POST", f"{API}/cases/{{case}}/{s.path}"): step(s.path, s.command.__name__) for s in STEPS},
    ("POST", f"{API}/cases/{{case}}/attachments"): upload,
    ("GET", f"{API}/cases/{{case}}/attachments/{{attachment}}"): file(""),
    ("GET", f"{API}/cases/{{case}}/attachments/{{attachment}}/thumbnail"): file("/thumbnail"),
    ("GET", f"{API}/deadlines"): deadlines,
    # personal data
    ("POST", f"{API}/cases/{{case}}/personal"): personal,
    ("GET", f"{API}/access"): access,
    ("GET", f"{API}/people/forget"): forgetting,
    ("POST", f"{API}/people/{{person}}/forget/ask"): command(
        "AskForget",
        PLACE,
        "/people/p-nobody/forget/ask",
        {"territory": PLACE, "reason": "request"},
    ),
    ("POST", f"{API}/people/{{person}}/forget/approve"): command(
        "ApproveForget", EVERYWHERE, "/people/p-nobody/forget/approve"
    ),
    ("POST", f"{API}/people/{{person}}/forget/decline"): command(
        "DeclineForget", EVERYWHERE, "/people/p-nobody-else/forget/decline"
    ),
    # territory
    ("GET", f"{API}/territory"): territory,
    ("GET", f"{API}/territory/at"): at,
    ("GET", f"{API}/territory/versions"): versions,
    ("POST", f"{API}/territory/create"): command(
        "CreateTerritory",
        PLACE,
        "/territory/create",
        {"id": "new", "tier": "grid", "parent": PLACE, "name": "x", "effective": FAR},
    ),
    ("POST", f"{API}/territory/rename"): command(
        "RenameTerritory",
        PLACE,
        "/territory/rename",
        {"path": PLACE, "name": "x", "effective": FAR},
    ),
    ("POST", f"{API}/territory/redraw"): command(
        "RedrawGrid",
        samples.GRID,
        "/territory/redraw",
        {"path": samples.GRID, "boundary": "map 1", "effective": FAR},
    ),
    ("POST", f"{API}/territory/split"): command(
        "SplitGrid",
        PLACE,
        "/territory/split",
        {
            "path": samples.SIBLING_GRID,
            "into": [{"id": "a", **PART}, {"id": "b", **PART}],
            "effective": FAR,
        },
    ),
    ("POST", f"{API}/territory/merge"): command(
        "MergeGrids",
        PLACE,
        "/territory/merge",
        {
            "paths": [samples.GRID, samples.SIBLING_GRID],
            "id": "c",
            "name": "x",
            "effective": FAR,
        },
    ),
    ("POST", f"{API}/territory/assign"): command(
        "AssignWorker",
        samples.GRID,
        "/territory/assign",
        {"path": samples.GRID, "worker": "grid_handler"},
    ),
    ("POST", f"{API}/territory/release"): command(
        "ReleaseWorker",
        samples.GRID,
        "/territory/release",
        {"path": samples.GRID, "worker": "grid_handler"},
    ),
    ("POST", f"{API}/territory/households"): command(
        "RecordHouseholds",
        samples.GRID,
        "/territory/households",
        {"path": samples.GRID, "households": 1, "residents": 1, "as_of": "2026-01-01"},
    ),
    # catalogue and calendar
    ("GET", f"{API}/catalogue"): anybody("GET", "/catalogue"),
    ("POST", f"{API}/catalogue/define"): command(
        "DefineCategory",
        EVERYWHERE,
        "/catalogue/define",
        {
            "code": "x",
            "name_zh": "甲",
            "name_en": "A",
            "size": "small",
            "limit": None,
            "contact": None,
        },
    ),
    ("POST", f"{API}/catalogue/retire"): command(
        "RetireCategory", EVERYWHERE, "/catalogue/retire", {"code": "muck"}
    ),
    ("POST", f"{API}/catalogue/policy"): command(
        "SetPolicy", EVERYWHERE, "/catalogue/policy", POLICY
    ),
    ("POST", f"{API}/catalogue/reminder"): command(
        "SetReminder", EVERYWHERE, "/catalogue/reminder", {"hours": 48}
    ),
    ("GET", f"{API}/calendar"): anybody("GET", "/calendar"),
    ("GET", f"{API}/calendar/reckon"): anybody(
        "GET", "/calendar/reckon", start="2026-03-02T09:00:00Z", amount=1, unit="wd"
    ),
    ("POST", f"{API}/calendar/publish"): command(
        "PublishYear",
        EVERYWHERE,
        "/calendar/publish",
        {"year": 2027, "holidays": [], "makeup_days": []},
    ),
    ("POST", f"{API}/calendar/declare"): command(
        "DeclareDay",
        EVERYWHERE,
        "/calendar/declare",
        {"day": FAR, "working": False, "reason": "x"},
    ),
    ("POST", f"{API}/calendar/hours"): command(
        "SetWorkingHours",
        EVERYWHERE,
        "/calendar/hours",
        {"periods": [{"start": "08:30", "end": "12:00"}]},
    ),
    # staff
    ("GET", f"{API}/staff/me"): anybody("GET", "/staff/me"),
    ("POST", f"{API}/staff/me/password"): anybody(
        "POST", "/staff/me/password", {"current": "wrong", "password": "long enough"}
    ),
    ("GET", f"{API}/staff/users"): people,
    ("POST", f"{API}/staff/users"): command(
        "AddUser", PLACE, "/staff/users", {"id": "somebody", "name": "某人", "grants": [GRANT]}
    ),
    ("POST", f"{API}/staff/users/{{user}}/grant"): command(
        "GrantRole", PLACE, "/staff/users/li/grant", GRANT
    ),
    ("POST", f"{API}/staff/users/{{user}}/revoke"): command(
        "RevokeRole", PLACE, "/staff/users/li/revoke", GRANT
    ),
    ("POST", f"{API}/staff/users/{{user}}/suspend"): command(
        "SuspendUser", samples.GRID, "/staff/users/grid_handler/suspend", {"reason": "x"}
    ),
    ("POST", f"{API}/staff/users/{{user}}/restore"): command(
        "RestoreUser", samples.GRID, "/staff/users/grid_handler/restore"
    ),
    ("POST", f"{API}/staff/users/{{user}}/unit"): command(
        "MoveUser", samples.GRID, "/staff/users/grid_handler/unit", {"unit": None}
    ),
    ("POST", f"{API}/staff/users/{{user}}/password"): command(
        "NotePasswordChanged",
        samples.GRID,
        "/staff/users/grid_handler/password",
        {"password": "long enough"},
    ),
    ("GET", f"{API}/staff/units"): anybody("GET", "/staff/units"),
    ("POST", f"{API}/staff/units"): command(
        "AddUnit", PLACE, "/staff/units", {"id": "some", "name": "某单位", "territory": PLACE}
    ),
    ("POST", f"{API}/staff/units/{{unit}}/close"): command(
        "CloseUnit", PLACE, "/staff/units/committee/close"
    ),
    # the live feed and webhooks
    ("GET", f"{API}/feed"): feed,
    ("GET", f"{API}/webhooks"): webhooks,
    ("POST", f"{API}/webhooks"): receiver("AddReceiver", ""),
    ("POST", f"{API}/webhooks/{{receiver}}/change"): receiver("ChangeReceiver", "/change", HOOK),
    ("POST", f"{API}/webhooks/{{receiver}}/rotate"): receiver("RotateReceiverSecret", "/rotate"),
    ("POST", f"{API}/webhooks/{{receiver}}/remove"): receiver("RemoveReceiver", "/remove"),
    ("GET", f"{API}/webhooks/{{receiver}}/dead"): dead_letters,
    ("POST", f"{API}/webhooks/{{receiver}}/resend"): receiver("ResendDeadLetters", "/resend", {}),
    # reports
    ("GET", f"{API}/audit"): audit,
    ("GET", f"{API}/audit/export"): audit_file,
    ("GET", f"{API}/audit/{{entry}}"): audited,
    ("GET", f"{API}/projections"): read_models,
    ("POST", f"{API}/projections/{{name}}/pause"): command(
        "SkipEvent", EVERYWHERE, "/projections/quality/pause"
    ),
    ("POST", f"{API}/projections/{{name}}/resume"): command(
        "SkipEvent", EVERYWHERE, "/projections/quality/resume"
    ),
    ("POST", f"{API}/projections/{{name}}/skip"): command(
        "SkipEvent", EVERYWHERE, "/projections/quality/skip", {"position": 1, "reason": "x"}
    ),
    ("GET", f"{API}/reports/{{period}}/{{territory:path}}"): reporting,
    ("GET", f"{API}/metrics"): anybody("GET", "/metrics"),
    ("GET", f"{API}/metrics/{{metric}}"): metric("containment"),
    ("GET", f"{API}/metrics/backlog"): metric("backlog"),
    ("GET", f"{API}/metrics/caseload"): metric("caseload"),
    ("GET", f"{API}/metrics/{{metric}}/{{figure}}/cases"): metric("backlog/paused_share/cases"),
}


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Each method of each path; what is mounted counts as a route too."""
    for route in iter_route_contexts(app.routes):
        for method in sorted((route.methods or {"*"}) - {"HEAD"}):
            yield method, str(route.path)


def test_every_route_is_classified() -> None:
    served = set(routes_of(description()))
    assert served - set(ROUTES) == set(), "who may use these?"
    assert set(ROUTES) - served == set(), "these are gone"


@pytest.fixture(scope="module")
def cases(shared: Served) -> Cases:
    """The cases that are asked for."""
    return Cases(shared)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_who_may_use_it(shared: Served, cases: Cases, route: tuple[str, str]) -> None:
    for by in MATRIX:
        try:
            ROUTES[route](shared, by, cases)
        except AssertionError as error:
            raise AssertionError(f"{route} by {by.id}: {error}") from error


@pytest.mark.parametrize("path", ["/cases/{case}/dispatch", "/territory/assign"])
def test_who_may_not_assign_learns_nothing_of_who_is_known(
    shared: Served, cases: Cases, path: str
) -> None:
    path = path.format(case=cases.case)
    ground = {} if "cases" in path else {"path": samples.GRID}
    for by in MATRIX:
        if by.grants[0].role in (Role.DISPATCHER, Role.ADMINISTRATOR, Role.IMPORTER, Role.SYSTEM):
            continue
        known, unknown = (
            _code(shared, by, "POST", path, {**ground, "worker": worker})
            for worker in ("li", "no_such_person")
        )
        assert known == unknown, by.id
        assert known in ("role.not_permitted", "case.unknown"), by.id


@pytest.mark.parametrize(
    "route",
    [r for r in ROUTES if ROUTES[r].__qualname__.split(".")[0] not in ("public", "not_from_here")],
    ids=" ".join,
)
def test_nobody_comes_in_without_a_token(shared: Served, route: tuple[str, str]) -> None:
    method, path = route
    response = shared.client.request(method, path, json={} if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (401, "request.sign_in")


def _code(
    served: Served,
    by: Actor,
    method: str,
    path: str,
    body: Any = None,
    query: dict[str, Any] | None = None,
    below: str = API,
) -> str:
    """The code of the problem that is answered, empty for success."""
    response = served.client.request(
        method,
        below + path,
        json=body,
        params=query,
        headers={"Authorization": f"Bearer {served.token(by.id)}"},
    )
    code: str = response.json()["code"] if response.is_error else ""
    assert code not in ("request.invalid", "request.unknown_path", "request.sign_in"), response.text
    assert response.status_code < 500, response.text
    return code


def _sees(by: Actor, place: str, holder: str) -> bool:
    """Whether a case is in the scope of somebody with one role."""
    role, territory = grant_of(by)
    return role is not Role.RESIDENT and (within(place, territory) or within(holder, territory))
