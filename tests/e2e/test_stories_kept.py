"""What somebody typed stays theirs: through the end of a session, a lost network, a second tab, and
another person on the same device."""

from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.e2e.casework import GRID, cases, open_case, send, told
from tests.e2e.conftest import Begin
from tests.e2e.office import PASSWORD
from tests.e2e.visit import PHONE, Visit

MATTER = {"territory": GRID, "description": "楼道堆物", "category": "corridor_clutter"}


def in_hand(worker: Visit, dispatcher: Visit) -> str:
    """A case that the worker has in hand, opened."""
    case: str = send(worker, "/cases", MATTER, [dispatcher])["case"]
    send(dispatcher, f"/cases/{case}/dispatch", {"worker": "grid-worker"}, [worker])
    send(worker, f"/cases/{case}/accept")
    open_case(worker, case)
    return case


def sign_in(page: Page, person: str) -> None:
    """Sign in on the page for it."""
    page.locator("#username").fill(person)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)


def comes_another(visit: Visit, person: str) -> None:
    """Somebody else signs in on the same device, in another tab."""
    page = visit.context.new_page()
    page.goto(f"{visit.base}/console/sign-in")
    sign_in(page, person)
    page.close()


def form(visit: Visit, words: str) -> Page:
    """The report form, in a tab of its own, with a description."""
    page = visit.context.new_page()
    page.goto(f"{visit.base}/console/report")
    expect(page.locator("#report[data-ready=yes]")).to_be_visible()
    if words:
        page.locator("#f-description").fill(words)
    return page


def actors(visit: Visit, case: str) -> list[tuple[str, str]]:
    """Who did what to a case."""
    return [
        (step["name"], step["actor"]) for step in told(visit, f"/cases/{case}/timeline")["steps"]
    ]


def test_a_page_acts_for_nobody_but_whom_it_was_opened_for(visit: Begin) -> None:
    worker, dispatcher = visit("grid-worker", "zh", PHONE), visit("dispatcher")
    worker.expected += ["status of 403", "ERR_CONNECTION_RESET", "ERR_INTERNET_DISCONNECTED"]
    case = in_hand(worker, dispatcher)
    worker.page.locator("#f-note").fill("我是网格员")
    before = cases(worker)
    tab = form(worker, "甲的待发上报")
    tab.evaluate("() => navigator.serviceWorker.ready")
    answers: list[Any] = []

    def lose(route: Route) -> None:
        answers.append(route.fetch().json())
        route.abort("connectionreset")

    tab.route("**/api/v1/cases", lose, times=1)
    tab.locator("#send").click()
    expect(tab.locator("#waiting-list")).to_contain_text("等待网络")
    comes_another(worker, "coordinator")

    worker.page.locator("#composer .primary").click()
    expect(worker.page.locator("#composer [data-problem]")).to_contain_text("其他人登录")
    tab.locator("#send-all").click()
    expect(tab.locator("#waiting-list")).to_contain_text("其他人登录")
    assert ("case.note_added", "coordinator") not in actors(worker, case)
    worker.page.locator("#composer [data-problem] button").click()
    expect(worker.page.locator("#f-note")).to_have_value("")

    # What the device keeps for the time without a network is hers now, and a rest of his is closed.
    worker.context.set_offline(True)
    tab.reload()
    assert tab.evaluate("() => document.body.dataset.person") == "coordinator"
    expect(tab.locator("#report[data-ready=yes]")).to_be_visible()
    expect(tab.locator("#waiting")).to_be_hidden()
    tab.locator("[data-sign-out]").dispatch_event("click")
    expect(tab.locator(".toast.bad")).to_contain_text("未能退出")
    worker.context.add_cookies([{"name": "wangge_person", "value": "hotline", "url": worker.base}])
    tab.reload()
    expect(tab.locator("#another")).to_be_visible()
    expect(tab.locator("#report")).to_have_count(0)
    worker.context.set_offline(False)

    comes_another(worker, "grid-worker")
    tab.reload()
    expect(tab.locator("#sent-text")).to_contain_text(answers[0]["case"])
    assert actors(worker, answers[0]["case"])[0] == ("case.reported", "grid-worker")
    assert cases(worker) - before == {answers[0]["case"]}
