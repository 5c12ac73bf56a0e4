"""我的账号: everybody's own, and the form that changes the password."""

import pytest

from api.auth import CONSOLE, COOKIE
from domain import words
from tests import samples
from tests.api.conftest import PASSWORD, Served


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("person", ["li", "administrator", samples.RESIDENT.id])
def test_everybody_has_an_account(served: Served, person: str, language: str) -> None:
    served.client.cookies.set(COOKIE, served.token(person))
    served.client.cookies.set("wangge_lang", language)
    page = served.client.get(f"{CONSOLE}/more")
    assert page.status_code == 200
    me = served.as_(person).get("/staff/me")
    for grant in me["grants"]:
        said = getattr(words.ROLES[grant["role"]], language)
        assert said in page.text.lower()
    assert (f'href="{CONSOLE}/audit"' in page.text) is (person == "administrator")


def test_every_page_names_who_is_signed_in(served: Served) -> None:
    grant = {"role": "supervisor", "territory": samples.DISTRICT}
    body = {"id": "ge", "name": "葛清 <b>", "grants": [grant]}
    served.as_("administrator").post("/staff/users", body, 201)
    served.client.cookies.set(COOKIE, served.token("ge"))
    assert "<strong>ge</strong>" in served.client.get(f"{CONSOLE}/worklist").text
    served.follow()
    assert "<strong>葛清 &lt;b&gt;</strong>" in served.client.get(f"{CONSOLE}/worklist").text


def test_the_form_is_the_one_that_the_api_takes(served: Served) -> None:
    """Its address and its fields change the password; the session ends with it."""
    served.client.cookies.set(COOKIE, served.token("li"))
    page = served.client.get(f"{CONSOLE}/more").text
    assert 'data-command="/api/v1/staff/me/password"' in page
    body = {"current": PASSWORD, "password": "another password"}
    for name in body:
        assert f'name="{name}"' in page
    served.clock.pass_(minutes=1)
    answer = served.client.post(
        "/api/v1/staff/me/password", json=body, headers={"X-Wangge-Console": "1"}
    )
    assert answer.status_code == 200, answer.text
    gone = served.client.get(
        f"{CONSOLE}/more", headers={"Accept": "text/html"}, follow_redirects=False
    )
    assert gone.status_code == 303
