"""Every page, in each of its states: in both languages, at both widths, with nothing wrong in it.

One window walks over all pages of one person, so that a page costs no window of its own; what was
wrong names the page by its address.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from playwright.sync_api import ViewportSize

from tests.e2e.casework import GRID
from tests.e2e.conftest import Begin
from tests.e2e.office import PASSWORD
from tests.e2e.visit import DESK, PHONE, Visit

HISTORY: Final = "2026-11-01T00:00"

PAGES: Final[dict[str | None, tuple[str, ...]]] = {
    None: ("/sign-in", "/sign-in?next=/console/metrics"),
    "resident": ("/report", "/more", "403 /audit"),
    "grid-worker": ("/worklist", "/report", "/cases/{in_progress}", "/cases/{reported}"),
    "dispatcher": (
        "/worklist",
        "/worklist?view=open",
        "/worklist?view=ended",
        "/worklist?find=没有这样的事项",
        "/cases/{filed}",
        "/cases/{assigned}",
        "/administration",
        "403 /operations",
    ),
    "supervisor": (
        "/worklist?view=open&as_of={day}",
        "/metrics",
        "/metrics?window=year&as_of={then}",
        "/metrics/compare?as_of={then}",
        "/metrics/timeliness/on_time_rate/cases?part=numerator&limit=20",
        "/metrics/backlog/overdue_share/cases?part=excluded",
        "/cases/{parked}",
        "/cases/{resolved}",
        "/cases/{closed}",
        "/cases/{merged}",
        "/cases/{closed}?version=3",
        "/cases/{closed}?at={then}",
        "/cases/{closed}?version=2&with=4",
        "/audit",
        "/audit?action=case.escalated",
        "/audit?correlation={correlation}",
        "/audit?object=nothing-like-it",
        "/audit/{entry}",
        "/audit/access",
    ),
    "administrator": (
        "/operations",
        "/operations/webhooks/{receiver}/dead",
        "/administration",
        "/administration?path={community}",
        "/administration?path={grid}",
        "/administration/catalogue",
        "/administration/calendar",
        "/administration/calendar?year=2027",
        "/administration/people",
        "/administration/people?user=dispatcher",
        "/administration/forgetting",
        "/administration/forgetting?person=p-nobody",
        "/more",
        "404 /nowhere",
        "404 /cases/no-such-case",
    ),
}
"""Who opens which pages, with the status that is no success before the address; each person sees
more of them than others do."""


class _Api:
    """The API, to find what the pages are of."""

    def __init__(self, base: str, person: str) -> None:
        self._base, self._headers = base, {"Content-Type": "application/json"}
        token = self.call("/tokens", {"username": person, "password": PASSWORD})["access_token"]
        self._headers["Authorization"] = f"Bearer {token}"

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}/api/v1{path}", data, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path}: {error.code} {error.read().decode()}")


@pytest.fixture(scope="session")
def known(office: str) -> Mapping[str, str]:
    """What pages are of: a case in each state, an entry of the audit, a place, a receiver."""
    supervisor, administrator = _Api(office, "supervisor"), _Api(office, "administrator")
    found = {"then": HISTORY, "day": f"{HISTORY}:00%2B08:00", "receiver": "e2e-pages"}
    asked = {
        "filed": "state=filed",
        "assigned": "state=assigned",
        "parked": "state=parked",
        "resolved": "state=resolved",
        "closed": "state=closed&tier=subdistrict",
        "merged": "state=merged",
    }
    for name, query in asked.items():
        found[name] = supervisor.call(f"/cases?{query}&limit=1")["rows"][0]["case"]
    # The grid worker's own, of which the sample may have none: he opens no other's.
    worker, matter = _Api(office, "grid-worker"), {"territory": GRID, "description": "楼道堆物"}
    found["reported"] = worker.call("/cases", matter)["case"]
    case = worker.call("/cases", matter | {"category": "corridor_clutter"})["case"]
    _Api(office, "dispatcher").call(f"/cases/{case}/dispatch", {"worker": "grid-worker"})
    accepted = worker.call(f"/cases/{case}/accept", {})
    found |= {"in_progress": case, "position": str(accepted["position"])}
    (entry,) = supervisor.call("/audit?action=case.escalated&limit=1")["rows"]
    found |= {"entry": str(entry["position"]), "correlation": entry["correlation"] or "deadlines"}
    found["grid"] = GRID
    found["community"] = "qinghe/liuyin/dongfeng/"
    receivers = administrator.call("/webhooks")["rows"]
    if found["receiver"] not in {row["id"] for row in receivers}:
        # Nobody listens there, and it is told of nothing but what never happens in a story.
        administrator.call(
            "/webhooks",
            {
                "id": found["receiver"],
                "url": "https://127.0.0.1:9/hook",
                "territory": found["community"],
                "events": ["case.child_reopened"],
            },
        )
    return found


def walk(visit: Visit, person: str | None, known: Mapping[str, str]) -> Iterator[None]:
    """Open each page of somebody, and stop there."""
    visit.knows(int(known["position"]))
    for page in PAGES[person]:
        status, path = page.split(" ") if " " in page else ("", page)
        # The browser itself says that a page was refused.
        visit.expected = [f"the server responded with a status of {status}"] if status else []
        visit.go(path.format(**known))
        yield


@pytest.mark.parametrize("person", PAGES, ids=str)
def test_nothing_is_wrong_on_any_page(
    visit: Begin,
    person: str | None,
    language: str,
    size: ViewportSize,
    known: Mapping[str, str],
) -> None:
    opened = visit(person, language, size)
    dark = PHONE if person in ("resident", "grid-worker") else DESK
    for _ in walk(opened, person, known):
        # Colours and the way of the tab key do not hang on the language.
        opened.inspect(colours=language == "zh")
        if language == "zh":
            if size == dark:
                opened.in_the_dark()
            opened.tab_through()
