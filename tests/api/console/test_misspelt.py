"""What was once given to a misspelt territory is in the log for good, and hides no page."""

from typing import Any, Final

import pytest

from domain.places import EVERYWHERE
from domain.privacy import AskForget, ForgetReason
from domain.roles import Grant, Role
from domain.staff import AddUnit, AddUser
from tests import samples
from tests.api.conftest import Served
from tests.api.console.test_metrics import page
from tests.api.console.test_worklist import WORKLIST, get

MISSPELT: Final = f"{samples.SUBDISTRICT}nowhere/"

PAGES: Final = (
    "/worklist",
    "/worklist/places",
    "/report",
    "/more",
    "/metrics",
    "/metrics/parts/territories",
    "/metrics/parts/grids",
    "/metrics/parts/caseload",
    "/audit",
    "/audit/access",
    "/operations",
    "/administration",
    "/administration/people?user=lost",
    "/administration/forgetting",
)


def lost(served: Served, role: Role) -> None:
    """Somebody whose right, unit and request to be forgotten are of a territory that is not."""
    by: dict[str, Any] = {"by": samples.SYSTEM, "at": served.clock()}
    served.store.execute(
        AddUnit(**by, id="lost", name="失地单位", territory=MISSPELT, categories=()),
    )
    served.store.execute(
        AddUser(**by, id="lost", name="失地", grants=(Grant(role, MISSPELT),), unit="lost")
    )
    asked: dict[str, Any] = {"person": "p-ou", "reason": ForgetReason.REQUEST, "cases": ()}
    by["by"] = samples.ADMINISTRATOR
    served.store.execute(AskForget(**by, **asked, territory=MISSPELT))
    served.runner.catch_up()


def test_everybody_above_a_misspelt_territory_sees_every_page(served: Served) -> None:
    lost(served, Role.HANDLER)
    for path in PAGES:
        answer = page(served, "administrator", path)
        assert answer.status_code == 200, (path, answer.text)
        if path in ("/audit", "/administration/people?user=lost", "/administration/forgetting"):
            assert f"<code>{MISSPELT}</code>" in answer.text


@pytest.mark.parametrize("role", [Role.HANDLER, Role.SUPERVISOR, Role.ADMINISTRATOR])
def test_whoever_has_a_right_in_a_misspelt_territory_sees_pages_without_it(
    served: Served, role: Role
) -> None:
    lost(served, role)
    for path in PAGES:
        answer = page(served, "lost", path)
        known = (200, 403) if role is Role.HANDLER else (200,)
        assert answer.status_code in known, (path, answer.text)
    assert MISSPELT not in get(served, "lost", f"{WORKLIST}/places").text


def test_a_right_a_unit_and_a_request_are_for_a_territory_that_there_is(served: Served) -> None:
    administrator = served.as_("administrator")
    grant = {"role": "handler", "territory": MISSPELT}
    asked = {"territory": MISSPELT, "reason": "request"}
    for path, body in (
        ("/staff/users", {"id": "lost", "name": "失地", "grants": [grant]}),
        ("/staff/users/li/grant", grant),
        ("/staff/units", {"id": "lost", "name": "失地", "territory": MISSPELT}),
        ("/people/p-ou/forget/ask", asked),
    ):
        problem = administrator.post(path, body, 404)
        assert problem["code"] == "territory.unknown"
        assert MISSPELT in problem["zh"]
    # Everywhere is no territory of the tree, and is right.
    administrator.post("/staff/users/li/grant", grant | {"territory": EVERYWHERE})
