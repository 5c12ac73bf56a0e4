"""What somebody typed stays theirs: through the end of a session, a lost network, a second tab, and
another person on the same device."""

import json
from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, Route, expect

from api.console import static
from tests.e2e.casework import GRID, begin_step, cases, open_case, send, told
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


def hold(where: Page | BrowserContext, pattern: str, times: int | None = None) -> list[Route]:
    """Hold requests back, to be answered later."""
    held: list[Route] = []

    def wait(route: Route) -> None:
        held.append(route)

    where.route(pattern, wait, times=times)
    return held


def actors(visit: Visit, case: str) -> list[tuple[str, str]]:
    """Who did what to a case."""
    return [
        (step["name"], step["actor"]) for step in told(visit, f"/cases/{case}/timeline")["steps"]
    ]


# What only HTTPS and localhost have.
PLAIN_HTTP = (
    "delete Crypto.prototype.randomUUID; delete Window.prototype.caches; delete window.caches;"
)
PLAIN_HTTP += "delete Navigator.prototype.clipboard;"


def test_what_is_typed_stays_until_it_is_done(visit: Begin) -> None:
    worker, dispatcher = visit("grid-worker"), visit("dispatcher")
    page = worker.page
    page.add_init_script(PLAIN_HTTP)
    worker.expected += ["status of 401", "status of 412", "ERR_FAILED", "status of 422"]
    case = in_hand(worker, dispatcher)
    page.locator("#f-note").fill("已联系住户")
    window = begin_step(worker, "resolve", evidence="楼道已清空")

    # The session ends, and what was typed is there after signing in.
    worker.context.clear_cookies(name="wangge_session")
    window.locator(".foot .primary").click()
    page.wait_for_url("**/sign-in?**")
    sign_in(page, "grid-worker")
    expect(window).to_be_visible()
    expect(window.locator("[name=evidence]")).to_have_value("楼道已清空")
    expect(page.locator("#f-note")).to_have_value("已联系住户")

    # The action is no longer there: the words are, to be copied.
    send(worker, f"/cases/{case}/escalate", {"reason": "safety"}, [dispatcher])
    window.locator(".foot .primary").click()
    window.locator("[data-problem] button").click()
    lost = page.locator("#main > .banner textarea")
    expect(lost).to_have_value("楼道已清空")
    expect(page.locator("#f-note")).to_have_value("已联系住户")
    worker.inspect()
    page.locator("#main > .banner button").click()
    expect(lost).to_be_hidden()

    # An answer is lost: the next press says so instead of doing it twice.
    def lose(route: Route) -> None:
        assert route.fetch().ok
        route.abort()

    page.route("**/note", lose, times=1)
    note = page.locator("#composer form")
    note.locator(".primary").click()
    expect(note.locator("[data-problem]")).to_contain_text("网络不通")
    page.locator("#f-note").fill("已联系住户两次")
    note.locator(".primary").click()
    expect(note.locator("[data-problem]")).to_contain_text("上一次提交可能已成功")
    note.locator("[data-problem] button").click()
    expect(page.locator(".case-note_added")).to_have_count(1)
    expect(page.locator("#f-note")).to_have_value("已联系住户两次")
    page.locator("[data-language]").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#f-note")).to_have_value("已联系住户两次")
    note.locator(".primary").click()
    expect(page.locator(".case-note_added")).to_have_count(2)
    expect(page.locator("#f-note")).to_have_value("")
    page.locator("[data-copy]").click()
    expect(page.locator(".toast.bad")).to_contain_text("copy")
    page.locator("[data-sign-out]").click()
    page.wait_for_url("**/sign-in")


def test_the_parts_of_a_case_come_back(visit: Begin) -> None:
    worker, coordinator = visit("grid-worker"), visit("coordinator")
    case: str = send(worker, "/cases", MATTER, [coordinator])["case"]
    open_case(coordinator, case)
    page = coordinator.page
    page.locator("[data-action=split]").click()
    page.locator("[data-part-add]").click()
    for n in (1, 2, 3):
        page.locator(f"#f-split-{n}").fill(f"第 {n} 部分")
    page.reload()
    for n in (1, 2, 3):
        expect(page.locator(f"#f-split-{n}")).to_have_value(f"第 {n} 部分")
    kept = json.loads(page.locator("#do-split [name=children]").input_value())
    assert [part["description"] for part in kept] == ["第 1 部分", "第 2 部分", "第 3 部分"]


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


def photo(name: str) -> FilePayload:
    """A small photo, each another."""
    made = BytesIO()
    Image.new("RGB", (8, 8), f"#{abs(hash(name)) % 0xFFFFFF:06x}").save(made, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": made.getvalue()}


def test_one_photo_is_refused_and_the_server_is_busy_once(visit: Begin) -> None:
    worker = visit("grid-worker", "zh", PHONE)
    worker.expected += ["status of 503", "status of 415", "status of 422"]
    page = form(worker, "照片被拒")
    drawing: FilePayload = {
        "name": "a.svg",
        "mimeType": "image/svg+xml",
        "buffer": b"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>",
    }
    page.locator("#album").set_input_files([drawing, photo("one.png"), photo("two.png")])
    expect(page.locator("#previews img")).to_have_count(3)
    asked = hold(page, "**/api/v1/cases", times=1)
    page.locator("#send").click()
    page.wait_for_function("() => document.querySelector('#f-description').closest('[inert]')")
    while not asked:
        page.wait_for_timeout(20)
    asked[0].fulfill(
        status=503, json={"code": "request.overloaded", "zh": "系统繁忙", "en": "busy"}
    )
    expect(page.locator("#waiting-list")).to_contain_text("系统繁忙")
    # Nobody presses anything: what waits is tried again.
    expect(page.locator("#sent-text")).to_contain_text("照片 2 张 · 1 张照片未收：不支持此类文件")
    expect(page.locator("#waiting-list")).to_contain_text("1 张照片未收：不支持此类文件")
    page.locator("#waiting-list button").click()
    expect(page.locator("#waiting")).to_be_hidden()


AGED = """() => new Promise((done) => {
  indexedDB.open("wangge-reports").onsuccess = ({ target }) => {
    const store = target.result.transaction("reports", "readwrite").objectStore("reports");
    store.getAll().onsuccess = (all) => {
      for (const report of all.target.result) {
        store.put({ ...report, tried: report.tried - 8 * 864e5 });
      }
      store.transaction.oncomplete = () => { target.result.close(); done(); };
    };
  };
})"""
"""What waits was tried for the first time eight days ago."""


def test_one_draft_in_two_tabs(visit: Begin) -> None:
    worker = visit("grid-worker", "zh", PHONE)
    worker.expected.append("ERR_INTERNET_DISCONNECTED")
    first = form(worker, "两个标签")
    expect(first.locator("#kept")).to_have_text("草稿已存")
    second = form(worker, "")
    expect(second.locator("#f-description")).to_have_value("两个标签")
    worker.context.set_offline(True)
    first.locator("#send").click()
    expect(first.locator("#waiting-list li")).to_have_count(1)
    # What is typed in the other tab is a report of its own, even at once before the page goes.
    second.locator("#f-address").fill("3 号楼")
    expect(second.locator("#kept")).to_have_text("草稿已存")
    second.locator("#clear").click()
    worker.context.set_offline(False)
    second.locator("#f-description").fill("刚输入就刷新")
    second.reload()
    expect(second.locator("#f-description")).to_have_value("刚输入就刷新")
    expect(first.locator("#waiting")).to_be_hidden()

    worker.context.set_offline(True)
    second.locator("#send").click()
    expect(second.locator("#waiting-list li")).to_have_count(1)
    second.evaluate(AGED)
    worker.context.set_offline(False)
    second.reload()
    expect(second.locator("#waiting-list")).to_contain_text("等待已久")
    second.locator("#waiting-list button").click()
    expect(second.locator("#waiting")).to_be_hidden()


KEEPS_NOTHING = """IDBFactory.prototype.open = () => {
  const request = { error: new DOMException("full", "QuotaExceededError") };
  setTimeout(() => request.onerror());
  return request;
};"""


def test_a_device_that_keeps_nothing_sends_all_the_same(visit: Begin) -> None:
    worker = visit("grid-worker", "zh", PHONE)
    worker.context.add_init_script(KEEPS_NOTHING)
    page = form(worker, "无法保存")
    page.locator("#clear").click()
    expect(page.locator("#f-description")).to_have_value("")
    page.locator("#f-description").fill("无法保存")
    page.locator("#send").click()
    expect(page.locator("#sent")).to_be_visible()
    expect(page.locator("#kept")).to_contain_text("已直接上报")


def banner(page: Page) -> Locator:
    """What an idle page says when its session is over."""
    return page.locator("#ended")


def test_an_idle_page_says_that_its_session_is_over(visit: Begin) -> None:
    worker, dispatcher = visit("grid-worker"), visit("dispatcher")
    worker.expected += ["status of 401", "aborted the connection"]
    feeds = hold(worker.context, "**/api/v1/feed**")
    worker.page.clock.install()
    case = in_hand(worker, dispatcher)
    # The server stops, and the page listens again.
    with worker.page.expect_response("**/console/more"):
        feeds[0].fulfill(content_type="text/event-stream", body="event: end\ndata: {}\n\n")
    with worker.page.expect_request("**/api/v1/feed?**"):
        worker.page.wait_for_timeout(100)
        worker.page.clock.fast_forward(10_000)
    lists = worker.context.new_page()
    lists.goto(f"{worker.base}/console/worklist")
    lists.wait_for_function("() => document.querySelector('#bulk')")
    lists.wait_for_timeout(200)
    worker.context.clear_cookies(name="wangge_session")
    for feed in feeds[1:]:
        feed.fulfill(status=401)
    worker.context.unroute("**/api/v1/feed**")
    for page in (worker.page, lists):
        expect(banner(page)).to_contain_text("登录已到期")
    worker.page.locator("#f-note").fill("已联系住户")
    banner(worker.page).locator("a").click()
    sign_in(worker.page, "grid-worker")
    expect(worker.page.locator("#case-id")).to_have_text(case)
    expect(worker.page.locator("#f-note")).to_have_value("已联系住户")

    # Two presses are one look, and a link from a chat finds who is signed in.
    looks = hold(worker.page, "**/personal")
    worker.page.locator("#show-personal").click()
    worker.page.locator("#purpose .foot .primary").dblclick()
    worker.page.wait_for_timeout(200)
    assert len(looks) == 1
    looks[0].continue_()
    expect(worker.page.locator("#purpose")).to_be_hidden()
    worker.page.goto(f"data:text/html,<a href={worker.base}/console/cases/{case}>here</a>")
    worker.page.locator("a").click()
    expect(worker.page.locator("#case-id")).to_have_text(case)


def test_the_kept_form_is_shown_where_nobody_is_behind_the_proxy(visit: Begin) -> None:
    page = visit(None).page
    page.goto("about:blank")
    said = page.evaluate(
        """async ([code, status]) => {
          const told = {};
          const self = { addEventListener: (kind, answer) => { told[kind] = answer; } };
          const caches = { match: async () => new Response("the form") };
          const fetch = async () => new Response("the proxy", { status });
          const location = { origin: "http://w" };
          new Function("self", "caches", "fetch", "location", code)(self, caches, fetch, location);
          const request = { method: "GET", mode: "navigate", url: "http://w/console/report" };
          let answer;
          told.fetch({ request, respondWith: (given) => { answer = given; } });
          return (await answer).text();
        }""",
        ['const VERSION = "", FILES = [];' + static.file("sw.js").content.decode(), 502],
    )
    assert said == "the form"
