"""Signing in at the console, and what a session lets a browser do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.auth import CONSOLE, COOKIE
from api.console import static
from api.console.session import PERSON
from api.services import API, DemoAccount, Services
from tests.api.conftest import PASSWORD, Served, description

OURS = {"X-Wangge-Console": "1"}
BROWSER = {"Accept": "text/html"}


@pytest.fixture
def browser(served: Served) -> httpx.Client:
    """A browser in which Li has signed in."""
    client = served.client
    answer = client.post(
        f"{CONSOLE}/session", json={"username": "li", "password": PASSWORD}, headers=OURS
    )
    assert answer.status_code == 204
    return client


def test_the_cookie_cannot_be_read_by_scripts_or_sent_by_other_sites(served: Served) -> None:
    answer = served.client.post(
        f"{CONSOLE}/session", json={"username": "li", "password": PASSWORD}, headers=OURS
    )
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # on loopback there is no TLS


def test_a_wrong_password_opens_nothing(served: Served) -> None:
    answer = served.client.post(
        f"{CONSOLE}/session", json={"username": "li", "password": "wrong"}, headers=OURS
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "request.bad_credentials")
    assert COOKIE not in served.client.cookies


def test_without_a_session_a_page_leads_to_signing_in_and_back(served: Served) -> None:
    answer = served.client.get(
        f"{CONSOLE}/worklist?text=路灯", headers=BROWSER, follow_redirects=False
    )
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{CONSOLE}/sign-in?next=%2Fconsole%2Fworklist%3F")


def test_a_part_of_a_page_leads_the_whole_page_to_signing_in(served: Served) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{CONSOLE}/audit?actor=li"}
    answer = served.client.get(f"{CONSOLE}/worklist", headers=headers)
    assert (
        answer.headers["HX-Redirect"] == f"{CONSOLE}/sign-in?next=%2Fconsole%2Faudit%3Factor%3Dli"
    )


def test_the_cookie_signs_in_at_the_api_too(browser: httpx.Client) -> None:
    assert browser.get(f"{API}/staff/me").json()["id"] == "li"


def test_a_command_with_the_cookie_must_come_from_a_page_of_ours(
    served: Served, browser: httpx.Client
) -> None:
    case = served.report()
    note = f"{API}/cases/{case}/note"

    def sent(**headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return browser.post(note, json={"text": "已联系"}, headers=named)

    for refused in ({}, OURS | {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"}):
        answer = sent(**refused)
        assert (answer.status_code, answer.json()["code"]) == (403, "request.cross_site"), refused
    assert sent(**OURS).status_code == 200
    assert sent(**OURS, Sec_Fetch_Site="same-origin").status_code == 200


def test_a_page_does_nothing_once_somebody_else_has_signed_in(
    served: Served, browser: httpx.Client
) -> None:
    case = served.report()
    note = f"{API}/cases/{case}/note"
    other, own = OURS | {"X-Wangge-Person": "acceptor"}, OURS | {"X-Wangge-Person": "li"}
    answer = browser.post(note, json={"text": "已联系"}, headers=other)
    assert (answer.status_code, answer.json()["code"]) == (403, "request.other_person")
    answer = browser.post(f"{API}/cases/{case}/attachments", content=b"1", headers=other)
    assert (answer.status_code, answer.json()["code"]) == (403, "request.other_person")
    part = browser.get(f"{CONSOLE}/worklist", headers={"HX-Request": "true"} | other)
    assert (part.status_code, "请刷新页面" in part.text) == (403, True)
    assert browser.post(note, json={"text": "已联系"}, headers=own).status_code == 200


def test_a_page_can_tell_who_is_signed_in(browser: httpx.Client) -> None:
    assert browser.cookies[PERSON] == "li"
    browser.post(f"{CONSOLE}/session/end", headers=OURS)
    assert PERSON not in browser.cookies


def test_a_bearer_token_needs_no_page(served: Served, browser: httpx.Client) -> None:
    case = served.report()
    served.as_("li").post(f"/cases/{case}/note", {"text": "已联系"})


@pytest.mark.parametrize("path", ["session", "session/end"])
def test_no_other_site_signs_anybody_in_or_out(served: Served, path: str) -> None:
    body = {"username": "li", "password": PASSWORD}
    answer = served.client.post(f"{CONSOLE}/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "request.cross_site")


def test_signing_out_takes_the_cookie_away(browser: httpx.Client) -> None:
    browser.post(f"{CONSOLE}/session/end", headers=OURS)
    assert browser.get(f"{API}/staff/me").status_code == 401


def test_a_page_renews_a_session_that_is_half_over(served: Served, browser: httpx.Client) -> None:
    first = browser.cookies[COOKIE]
    browser.get(f"{CONSOLE}/worklist")
    assert browser.cookies[COOKIE] == first
    served.clock.pass_(minutes=16)
    assert browser.get(f"{CONSOLE}/worklist").status_code == 200
    second = browser.cookies[COOKIE]
    assert second != first
    served.clock.pass_(minutes=20)  # the first one would be over
    assert browser.get(f"{CONSOLE}/worklist").status_code == 200


def test_no_page_renews_a_session_beyond_a_shift(served: Served, browser: httpx.Client) -> None:
    began, step = served.clock.now, timedelta(minutes=16)
    while not browser.get(
        f"{CONSOLE}/worklist", headers=BROWSER, follow_redirects=False
    ).is_redirect:
        served.clock.now += step
    assert timedelta(hours=12) <= served.clock.now - began < timedelta(hours=12) + step
    answer = browser.get(f"{API}/staff/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "request.token_expired")


def test_a_position_of_another_installation_is_none(browser: httpx.Client) -> None:
    for value in ("999999999999", "x", "-1", "9" * 40):
        browser.cookies.set("wangge_position", value)
        assert browser.get(f"{CONSOLE}/worklist").status_code == 200, value


def test_who_wrote_reads_the_own_write(served: Served, browser: httpx.Client) -> None:
    answer = browser.post(
        f"{API}/cases",
        json={"territory": "d1/s1/c1/g1/", "description": "楼下堆着垃圾"},
        headers=OURS,
    )
    browser.cookies.set("wangge_position", answer.headers["X-Wangge-Position"])
    page = browser.get(f"{CONSOLE}/worklist", headers=BROWSER)
    # Nothing follows the log in this test: a page that knows less is not shown.
    assert (page.status_code, page.headers["Retry-After"]) == (503, "1")
    served.runner.catch_up()
    assert browser.get(f"{CONSOLE}/worklist", headers=BROWSER).status_code == 200


def test_an_error_is_told_as_a_page_in_the_language_chosen(browser: httpx.Client) -> None:
    path = f"{CONSOLE}/worklist?no_such=1"
    assert "内容不符合要求" in browser.get(path, headers=BROWSER).text
    browser.cookies.set("wangge_lang", "en")
    answer = browser.get(path, headers=BROWSER)
    assert answer.status_code == 422
    assert "Not like this" in answer.text
    assert "request.invalid" in answer.text
    assert "<li><code>no_such</code> Extra inputs are not permitted</li>" in answer.text
    part = browser.get(path, headers={"HX-Request": "true"})
    assert part.status_code == 422
    assert "<html" not in part.text
    assert "Not like this" in part.text


def test_trying_again_asks_the_same_page(served: Served, browser: httpx.Client) -> None:
    """With its query; where only a part of a page failed, the page that it is a part of."""
    path = f"{CONSOLE}/worklist?view=open&find=%E6%A5%BC"
    again = f'href="{path.replace("&", "&amp;")}"'
    case = served.report()  # nothing follows the log here
    position = served.store.history(f"case:{case}")[-1].position
    browser.cookies.set("wangge_position", str(position))
    answer = browser.get(path, headers=BROWSER)
    assert answer.status_code == 503
    assert again in answer.text
    part = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{path}"}
    assert again in browser.get(f"{CONSOLE}/worklist?view=due_soon", headers=part).text


def test_pages_forbid_what_is_not_ours(browser: httpx.Client) -> None:
    policy = browser.get(f"{CONSOLE}/worklist").headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy


def test_pages_and_files_come_compressed_to_who_can_unpack_them(browser: httpx.Client) -> None:
    for path in (f"{CONSOLE}/worklist", static.address("console.css")):
        packed = browser.get(path, headers={"Accept-Encoding": "gzip"})
        plain = browser.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert packed.content == plain.content


def test_a_file_is_kept_for_ever_and_an_old_address_of_it_is_not(served: Served) -> None:
    address = static.address("console.js")
    assert "immutable" in served.client.get(address).headers["Cache-Control"]
    old = f"{CONSOLE}/static/000000000000/console.js"
    assert served.client.get(old).headers["Cache-Control"] == "no-cache"
    for name in ("../pages.py", "nothing.css", "vendor/../../pages.py", "vendor"):
        assert served.client.get(f"{CONSOLE}/static/0/{name}").status_code == 404


def test_demo_accounts_are_offered_where_there_are_some(served: Served) -> None:
    services: Services = served.app.state.services
    account = DemoAccount("li", "a-demo-password", "网格员", "Grid worker")
    client = type(served.client)(create_app(replace(services, demo=(account,))))
    assert "a-demo-password" in client.get(f"{CONSOLE}/sign-in").text
    assert "data-account" not in served.client.get(f"{CONSOLE}/sign-in").text
    assert description().state.services.demo == ()
