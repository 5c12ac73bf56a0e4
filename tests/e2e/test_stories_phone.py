"""A grid worker with a phone on the stairs: reports with a photo, with a network or without."""

import re
from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import FilePayload, Locator, Route, ViewportSize, expect

from infra.demo_map import spot
from tests.e2e.casework import (
    GRID,
    begin_step,
    cases,
    do_step,
    finish_step,
    open_case,
    send,
    told,
)
from tests.e2e.conftest import Begin
from tests.e2e.visit import PHONE, Visit

HERE = spot(0, 0, 8, 0.5, 0.5)
"""Longitude and latitude of a place in the worker's grid."""


def photo() -> FilePayload:
    """A small photo as a phone takes it."""
    made = BytesIO()
    Image.linear_gradient("L").resize((320, 240)).save(made, "JPEG")
    return {"name": "IMG_0001.jpg", "mimeType": "image/jpeg", "buffer": made.getvalue()}


def arrive(visit: Visit) -> None:
    """The worker opens the form where the phone knows the place."""
    visit.context.grant_permissions(["geolocation"])
    visit.context.set_geolocation({"longitude": HERE[0], "latitude": HERE[1], "accuracy": 12})
    visit.go("/report")
    expect(visit.page.locator("#report[data-ready=yes]")).to_be_visible()


def reported(visit: Visit) -> str:
    """The case that the form says it has sent."""
    return visit.page.locator("#sent-text").inner_text().split(" · ")[0]


def pick(box: Locator, typed: str, name: str) -> None:
    """Look a category up, see it offered first, and take it by the keyboard."""
    box.fill("")
    box.press_sequentially(typed)
    expect(box.page.locator("#categories [role=option]").first).to_contain_text(name)
    box.press("Enter")
    expect(box).to_have_value(name)


def test_a_matter_on_the_stairs(visit: Begin, language: str, size: ViewportSize) -> None:
    worker, dispatcher = visit(None, language, size), visit("dispatcher", language, size)
    page, t = worker.page, worker.t
    worker.go("/report")
    expect(page).to_have_url(re.compile("/console/sign-in"))
    page.locator("[data-account=grid-worker]").click()
    page.get_by_role("button", name=t("登录", "Sign in"), exact=True).click()
    expect(page).to_have_url(re.compile("/console/report$"))

    arrive(worker)
    before = cases(worker)
    page.locator("#f-territory").select_option("")
    page.locator("#locate").click()
    expect(page.locator("#f-territory")).to_have_value(GRID)
    expect(page.locator("#located")).to_contain_text("12")
    page.locator("#camera").set_input_files(photo())
    expect(page.locator("#previews img")).to_have_count(1)
    page.locator("#f-description").fill(words := f"二楼楼道堆满纸箱 {language} {size['width']}")
    category = page.locator("#f-category")
    pick(category, t("垃圾", "garbage"), t("暴露垃圾", "Exposed garbage"))
    page.locator("#no-category").click()
    pick(
        category,
        "ldd" if language == "zh" else "loudaodui",
        t("楼道堆物", "Clutter in the stairwell"),
    )
    worker.inspect()
    page.locator("#send").click()
    expect(page.locator("#sent")).to_be_visible()
    worker.inspect()
    case = reported(worker)
    assert cases(worker) - before == {case}

    page.locator("#sent-case").click()
    expect(page.locator("#case-id")).to_have_text(case)
    expect(page.locator("[data-personal=description]")).not_to_contain_text(words)
    page.locator("[data-file]").click()
    expect(page.locator("#purpose")).to_be_visible()
    worker.inspect()
    page.locator("#purpose .primary").click()
    picture = page.locator("#viewer-picture img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("(shown) => shown.naturalWidth") > 0
    worker.inspect()
    page.locator("#viewer [data-close]").click()
    expect(page.locator("[data-personal=description]")).to_have_text(words)

    send(dispatcher, f"/cases/{case}/dispatch", {"worker": "grid-worker"}, seen_by=[worker])
    worker.go("/worklist")
    expect(page.locator(f".case[data-case='{case}']")).to_be_visible()
    page.locator(f".case[data-case='{case}'] .open").dblclick()
    expect(page.locator("#case-id")).to_have_text(case)
    do_step(worker, "accept")
    page.locator("#f-note").fill("已联系住户" if language == "zh" else "called the household")
    page.locator("#composer .primary").click()
    expect(page.locator(".case-note_added")).to_have_count(1)
    page.locator("[data-upload]").last.set_input_files(photo())
    expect(page.locator("[data-file]")).to_have_count(2)
    do_step(worker, "escalate", reason="beyond_authority")
    here = page.locator(".rungs [aria-current=step]")
    expect(here).to_contain_text(t("社区", "Community"))
    expect(page.locator(".case-escalated")).to_be_visible()
    worker.inspect()


def test_what_is_typed_during_an_upload_stays(visit: Begin) -> None:
    worker, dispatcher = visit("grid-worker", "zh", PHONE), visit("dispatcher", "zh")
    page = worker.page
    report = {"territory": GRID, "description": "楼道堆物", "category": "corridor_clutter"}
    case: str = send(worker, "/cases", report, [dispatcher])["case"]
    send(dispatcher, f"/cases/{case}/dispatch", {"worker": "grid-worker"}, [worker])
    send(worker, f"/cases/{case}/accept")
    open_case(worker, case)
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/attachments?*", hold)
    page.locator("[data-upload]").last.set_input_files(photo())
    expect(page.locator("#uploads li")).to_have_count(1)
    page.locator("#f-note").fill("已联系住户")
    window = begin_step(worker, "escalate", reason="beyond_authority", note="楼上已搬空")
    waiting[0].continue_()
    expect(page.locator("[data-file]")).to_have_count(1)
    expect(window).to_be_visible()
    expect(window.locator("[name=note]")).to_have_value("楼上已搬空")
    expect(page.locator("#f-note")).to_have_value("已联系住户")
    finish_step(worker, window)
    expect(page.locator(".case-escalated")).to_be_visible()


SLOW_STORE = """() => {
  const open = IDBFactory.prototype.open;
  const woken = new Promise((wake) => { window.wake = wake; });
  IDBFactory.prototype.open = function (...asked) {
    const request = open.apply(this, asked);
    const slow = { get result() { return request.result; } };
    request.onupgradeneeded = () => slow.onupgradeneeded();
    request.onsuccess = () => woken.then(() => slow.onsuccess());
    return slow;
  };
}"""
"""A device that gives what it has kept only after a while."""


def test_what_is_typed_before_the_draft_is_there_stays(visit: Begin) -> None:
    worker = visit("grid-worker", "zh", PHONE)
    page = worker.page
    arrive(worker)
    page.locator("#f-address").fill("3 号楼 2 单元")
    page.locator("#f-description").fill("楼道堆物")
    expect(page.locator("#kept")).to_have_text("草稿已存")
    page.add_init_script(f"({SLOW_STORE})()")
    page.reload()
    page.locator("#f-description").fill("楼道堆满纸箱")
    page.locator("#f-category").focus()
    page.locator("#f-category").blur()
    page.locator("#send").click()
    page.wait_for_timeout(500)  # longer than it takes until what is typed is kept
    page.evaluate("wake()")
    expect(page.locator("#kept")).to_have_text("草稿已存")
    for _ in range(2):
        expect(page.locator("#report[data-ready=yes]")).to_be_visible()
        expect(page.locator("#f-address")).to_have_value("3 号楼 2 单元")
        expect(page.locator("#f-description")).to_have_value("楼道堆满纸箱")
        page.reload()
        page.evaluate("wake()")


def test_without_a_network(visit: Begin, language: str) -> None:
    worker = visit("grid-worker", language, PHONE)
    page, t = worker.page, worker.t
    worker.expected.append("ERR_INTERNET_DISCONNECTED")
    arrive(worker)
    before = cases(worker)
    page.evaluate("() => navigator.serviceWorker.ready")
    worker.context.set_offline(True)
    page.reload()
    expect(page.locator("#report[data-ready=yes]")).to_be_visible()
    expect(page.locator("#offline")).to_be_visible()
    page.locator("#f-description").fill(words := f"井盖松动 {language}")
    page.locator("#camera").set_input_files(photo())
    page.locator("#locate").click()
    expect(page.locator("#located")).to_contain_text(t("无网络", "No network"))
    for chosen in ("", GRID):  # as the page asks, and the position stays with it
        page.locator("#f-territory").select_option(chosen)
    expect(page.locator("#kept")).to_have_text(t("草稿已存", "Draft kept"))
    worker.inspect()

    page.reload()
    expect(page.locator("#kept")).to_have_text(t("已恢复草稿", "Draft restored"))
    expect(page.locator("#f-description")).to_have_value(words)
    expect(page.locator("#previews img")).to_have_count(1)
    page.locator("#send").click()
    expect(page.locator("#waiting-list li")).to_have_count(1)
    expect(page.locator("#waiting-list")).to_contain_text(t("等待网络", "Waits for the network"))
    worker.inspect()
    page.locator("#send-all").click()
    expect(page.locator(".toast.bad")).to_be_visible()

    # The first answer is lost on its way back: the same key asks again, and nothing is done twice.
    keys: list[str] = []

    def lost(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        sent: dict[str, Any] = route.request.post_data_json or {}
        assert sent["spot"]["latitude"] == HERE[1]
        if len(keys) == 1:
            assert route.fetch().status == 201
            route.abort("connectionreset")
        else:
            route.continue_()

    worker.expected.append("ERR_CONNECTION_RESET")
    page.route("**/api/v1/cases", lost)
    worker.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#waiting-list")).to_contain_text(words)
    page.wait_for_function("() => !document.querySelector('#waiting').hidden")
    page.locator("#send-all").click()
    expect(page.locator("#sent")).to_be_visible()
    expect(page.locator("#waiting")).to_be_hidden()
    assert len(keys) == 2
    assert keys[0] == keys[1]
    case = reported(worker)
    assert cases(worker) - before == {case}
    files = told(worker, f"/cases/{case}/timeline")["steps"]
    assert [step["name"] for step in files].count("case.file_attached") == 1
