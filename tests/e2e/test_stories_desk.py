"""A caseworker with eighty matters: much at once, by keyboard, and never alone on a case."""

import re
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from playwright.sync_api import Route, ViewportSize, expect

from domain.calendar import OFFICE_TIME
from tests.e2e.casework import (
    GRID,
    begin_step,
    do_step,
    finish_step,
    open_case,
    send,
    tab_to,
    told,
    version,
)
from tests.e2e.conftest import Begin
from tests.e2e.visit import DESK, PHONE, Visit

SERVICE = "dongfeng-service"
"""The unit of the sample's handler."""


def in_hand(worker: Visit, dispatcher: Visit, *others: Visit) -> str:
    """A case that the grid worker has in hand."""
    people = (worker, dispatcher, *others)
    report = {"territory": GRID, "description": "楼道堆物", "category": "corridor_clutter"}
    case: str = send(worker, "/cases", report, people)["case"]
    send(dispatcher, f"/cases/{case}/dispatch", {"worker": "grid-worker"}, people)
    send(worker, f"/cases/{case}/accept", seen_by=people)
    return case


def to_accept(acceptor: Visit, dispatcher: Visit, handler: Visit) -> str:
    """A case that waits for the handler to accept it."""
    people = (acceptor, dispatcher, handler)
    report = {"territory": GRID, "description": "物业费", "category": "property_dispute"}
    case: str = send(acceptor, "/cases", report, people)["case"]
    send(dispatcher, f"/cases/{case}/dispatch", {"unit": SERVICE}, people)
    return case


def later(days: int) -> str:
    """A moment some days ahead, as a field for date and time has it."""
    return f"{datetime.now(OFFICE_TIME) + timedelta(days=days):%Y-%m-%dT10:00}"


def test_eighty_matters(visit: Begin, language: str, size: ViewportSize) -> None:
    handler, acceptor, dispatcher = (
        visit(who, language, size) for who in ("handler", "acceptor", "dispatcher")
    )
    page, t = handler.page, handler.t
    chosen = [to_accept(acceptor, dispatcher, handler) for _ in range(2)]
    handler.go("/worklist")
    todo = page.locator("[data-view=todo]")
    expect(todo).to_have_attribute("aria-current", "page")
    waiting = int(re.sub(r"\D", "", todo.inner_text()))
    cases = page.locator(".case")
    expect(cases).to_have_count(min(waiting, 40))
    handler.inspect()

    page.locator("[data-view=open]").click()
    expect(page.locator("[data-view=open]")).to_have_attribute("aria-current", "page")
    page.locator(".more-filters summary").first.click()
    page.locator("#f-category").select_option("property_dispute")
    expect(page).to_have_url(re.compile("category=property_dispute"))
    handler.settle()
    for kind in page.locator(".case .kind").all_inner_texts():
        assert kind == t("物业/业委会纠纷", "Dispute with property management")
    page.locator("#f-state").select_option("assigned")
    expect(page).to_have_url(re.compile("state=assigned"))
    handler.settle()
    handler.inspect()
    for state in page.locator(".case").evaluate_all(
        "(rows) => rows.map((row) => row.dataset.state)"
    ):
        assert state == "assigned"

    # Several at once: what was done is said, and what was refused stays until it was read.
    for case in chosen:
        page.locator(f".case[data-case='{case}'] .choose").check()
    page.locator("[data-bulk=note]").click()
    page.locator("#note-text").fill("已电话联系" if language == "zh" else "called")
    handler.inspect()
    page.locator("#bulk-note .primary").click()
    expect(page.locator(".toast")).to_have_text(t("2 件已办理", "2 done"))
    expect(page.locator("#bulk")).to_be_hidden()
    handler.settle()
    for case in chosen:
        page.locator(f".case[data-case='{case}'] .choose").check()
    send(handler, f"/cases/{chosen[0]}/accept")
    handler.expected.append("status of 4")
    page.locator("[data-bulk=accept]").click()
    expect(page.locator("#bulk-done")).to_be_visible()
    expect(page.locator("#bulk-refused li")).to_have_count(1)
    expect(page.locator("#bulk-refused")).to_contain_text(chosen[0])
    handler.inspect()
    page.locator("#bulk-done").click()
    expect(page.locator("#bulk")).to_be_hidden()

    page.locator("#find").fill("没有这样的字")
    expect(page.locator("#work .list .empty")).to_be_visible()
    handler.settle()
    handler.inspect()


def test_a_whole_life_by_keyboard(visit: Begin, language: str) -> None:
    people = ("acceptor", "dispatcher", "handler", "supervisor", "shift-lead")
    visits = {name: visit(name, language, DESK) for name in people}
    words = f"物业费 {uuid4().hex[:8]}"
    report = {"territory": GRID, "description": words, "category": "property_dispute"}
    case: str = send(visits["acceptor"], "/cases", report, visits.values())["case"]

    dispatcher = visits["dispatcher"]
    page, press = dispatcher.page, dispatcher.page.keyboard.press
    dispatcher.go("/worklist?view=open")
    press("j")
    press("j")
    press("k")
    press("j")
    second = page.locator(".case").nth(1)
    expect(page.locator("#preview")).to_contain_text(second.get_attribute("data-case") or "")
    press("x")
    expect(second.locator(".choose")).to_be_checked()
    press("Escape")
    expect(second.locator(".choose")).not_to_be_checked()
    press("?")
    expect(page.locator("#keys")).to_be_visible()
    dispatcher.inspect()
    press("Escape")
    press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type(words)
    expect(page.locator(".case")).to_have_count(1)
    dispatcher.settle()
    press("Escape")
    press("j")
    press("e")
    expect(page.locator("#case-id")).to_have_text(case)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # over the navigation, straight to the page
    step(dispatcher, "dispatch", "ArrowDown")
    expect(page.locator("[data-fact=unit]")).not_to_be_empty()

    handler = visits["handler"]
    handler.go("/worklist")
    handler.page.keyboard.press("Control+k")
    expect(handler.page.locator("#palette")).to_be_visible()
    handler.page.keyboard.type(words)
    expect(handler.page.locator("#palette-list li")).to_have_count(1)
    handler.inspect()
    handler.page.keyboard.press("Enter")
    expect(handler.page.locator("#case-id")).to_have_text(case)
    step(handler, "accept")
    step(handler, "resolve", "已与物业协商" if language == "zh" else "agreed")

    supervisor = visits["supervisor"]
    supervisor.go("/worklist")
    supervisor.page.keyboard.press("Control+k")
    supervisor.page.keyboard.type(supervisor.t("待核查", "To check"))
    supervisor.page.keyboard.press("Enter")
    expect(supervisor.page.locator("[data-view=to_check]")).to_have_attribute(
        "aria-current", "page"
    )
    supervisor.page.keyboard.press("/")
    supervisor.page.keyboard.type(words)
    expect(supervisor.page.locator(".case")).to_have_count(1)
    supervisor.page.keyboard.press("Tab")
    tab_to(supervisor, ".case .open")
    supervisor.page.keyboard.press("Enter")
    expect(supervisor.page.locator("#case-id")).to_have_text(case)
    step(supervisor, "check", "Space")

    lead = visits["shift-lead"]
    open_case(lead, case)
    step(lead, "close")
    expect(lead.page.locator(".case-line .chip.green")).to_be_visible()
    lead.inspect()


def test_the_focus_stays_while_the_list_is_exchanged(visit: Begin) -> None:
    supervisor = visit("supervisor")
    page = supervisor.page
    supervisor.go("/worklist?view=open")
    case = page.locator(".case").first.get_attribute("data-case") or ""
    page.locator("#find").fill(case)
    expect(page).to_have_url(re.compile(case))
    expect(page.locator(".case")).to_have_count(1)
    supervisor.settle()

    # The field that is left asks once more, and the answer comes when somebody is in the list.
    lists, held = "**/console/worklist?*", list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route(lists, hold)
    with page.expect_request(lists):
        page.keyboard.press("Tab")
    tab_to(supervisor, ".case .open")
    link = page.locator(".case .open").element_handle()
    with page.expect_response(lists):
        held[0].continue_()
    page.wait_for_function("(link) => !link.isConnected", arg=link)
    expect(page.locator(".case .open")).to_be_focused()


def test_the_keyboard_goes_on_where_it_was(visit: Begin) -> None:
    supervisor = visit("supervisor")
    page, press = supervisor.page, supervisor.page.keyboard.press
    supervisor.go("/worklist?view=open")
    for view in ("due_soon", "open"):
        page.locator(f"[data-view={view}]").focus()
        press("Enter")
        expect(page.locator(f"[data-view={view}]")).to_have_attribute("aria-current", "page")
        expect(page.locator(f"[data-view={view}]")).to_be_focused()
        expect(page.locator("#clear")).to_have_attribute("href", re.compile(f"[?]view={view}$"))
    page.locator("#more button").focus()
    press("Enter")
    expect(page.locator(".case")).to_have_count(80)
    expect(page.locator(".case .open").nth(40)).to_be_focused()

    # An input method takes the key that chooses its word.
    press("Control+k")
    page.locator("#palette input").dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    expect(page.locator("#palette")).to_be_visible()

    supervisor.go("/metrics")
    page.locator("#by-week").focus()
    press("Enter")
    expect(page.locator("#by-week")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#by-week")).to_be_focused()


def test_a_list_that_cannot_be_had_leaves_the_one_that_is_there(visit: Begin) -> None:
    supervisor = visit("supervisor")
    page = supervisor.page
    supervisor.expected += ["status of ", "Response Status Error"]
    page.route("**/api/v1/feed*", lambda route: route.fulfill(status=401))
    page.route("**/api/v1/staff/me", lambda route: route.fulfill(status=401))
    supervisor.go("/worklist?view=open")
    # Nobody is told why a feed was refused; it is found out beside it, for the list stands still.
    signed_out = page.locator("#signed-out")
    expect(signed_out).to_contain_text("登录已到期")
    expect(signed_out).to_have_attribute("href", re.compile("next=%2Fconsole%2Fworklist%3Fview"))

    said = '<div role="alert"><h1>暂时不可用</h1><p>请稍后再来。</p></div>'
    lists = "**/console/worklist?*"
    page.route(lists, lambda route: route.fulfill(status=503, body=said))
    page.locator("[data-view=due_soon]").click()
    expect(page.locator(".toast.bad")).to_have_text("请稍后再来。")
    page.unroute(lists)
    page.locator("[data-view=due_soon]").click()
    expect(page.locator("[data-view=due_soon]")).to_have_attribute("aria-current", "page")


def step(visit: Visit, name: str, typed: str = "") -> None:
    """A step by the keyboard alone: its button, the first field of its form, and sent."""
    before = version(visit)
    press = visit.page.keyboard.press
    tab_to(visit, f"[data-action={name}]")
    press("Enter")
    expect(visit.page.locator(f"#do-{name}")).to_be_visible()
    if typed in ("ArrowDown", "Space"):
        press(typed)
    elif typed:
        visit.page.keyboard.type(typed)
    tab_to(visit, f"#do-{name} .foot .primary")
    press("Enter")
    expect(visit.page.locator("#case")).not_to_have_attribute("data-version", str(before))
    visit.settle()


def test_two_people_at_one_case(visit: Begin, language: str, size: ViewportSize) -> None:
    worker, dispatcher = (visit(who, language, size) for who in ("grid-worker", "dispatcher"))
    page, t = worker.page, worker.t
    case = in_hand(worker, dispatcher)
    open_case(worker, case)
    worker.expected.append("status of 4")
    page.locator("#cannot summary").click()
    expect(page.locator("[data-cannot=AcceptCase] dd")).not_to_be_empty()

    # Refused: what was typed stays, and it is said what to do.
    window = begin_step(worker, "ask-park", until=later(400), reason="等配件")
    window.locator(".foot .primary").click()
    problem = window.locator("[data-problem]")
    expect(problem).to_be_visible()
    expect(window.locator("[name=reason]")).to_have_value("等配件")
    worker.inspect()
    window.locator("[name=until]").fill(until := later(2))

    # Stale: somebody else changed the case meanwhile; the newer state is offered, nothing is lost.
    note = {"text": "请注意" if language == "zh" else "mind"}
    send(dispatcher, f"/cases/{case}/note", note, [worker])
    expect(page.locator("#newer")).to_be_visible()
    window.locator(".foot .primary").click()
    newer = problem.get_by_role("button", name=t("查看最新内容", "Show what is new"))
    expect(newer).to_be_visible()
    worker.inspect()
    newer.click()
    expect(page.locator(".case-note_added")).to_have_count(1)
    window = page.locator("#do-ask-park")
    expect(window).to_be_visible()
    expect(window.locator("[name=until]")).to_have_value(until)
    expect(window.locator("[name=reason]")).to_have_value("等配件")
    finish_step(worker, window)

    # Approved by another; the clock stands and runs again.
    dispatcher.go("/worklist?view=open&asked=park")
    row = dispatcher.page.locator(f".case[data-case='{case}']")
    expect(row).to_be_visible()
    row.locator(".open").dblclick()
    expect(dispatcher.page.locator("#case-id")).to_have_text(case)
    do_step(dispatcher, "approve-park")
    dispatcher.inspect()
    expect(page.locator("#newer")).to_be_visible()
    page.locator("#newer a").click()
    expect(page.locator("#sla")).to_contain_text(t("挂账", "arked"))
    do_step(worker, "resume")
    due = told(worker, f"/cases/{case}")["due"]
    do_step(worker, "ask-extension", **{"more.amount": "3", "more.unit": "wd", "reason": "大雨"})
    worker.inspect()
    open_case(dispatcher, case)
    do_step(dispatcher, "approve-extension")
    worker.page.reload()
    expect(page.locator(".case-deadline_extended")).to_have_count(1)
    assert told(worker, f"/cases/{case}")["due"] > due


@pytest.mark.parametrize(("language", "size"), [("zh", PHONE), ("en", DESK)], ids=str)
def test_up_and_down_the_tiers(visit: Begin, language: str, size: ViewportSize) -> None:
    names = ("grid-worker", "dispatcher", "coordinator", "handler", "supervisor", "shift-lead")
    visits = {name: visit(name, language, size) for name in names}
    worker, handler, supervisor = (visits[n] for n in ("grid-worker", "handler", "supervisor"))
    coordinator = visits["coordinator"]
    everybody = visits.values()
    case = in_hand(worker, visits["dispatcher"], *everybody)

    # The whistle: units are called together, and report in.
    open_case(coordinator, case)
    do_step(coordinator, "whistle", units=SERVICE, purpose="联合清理", reply_by=later(1))
    coordinator.inspect()
    open_case(handler, case)
    window = begin_step(handler, "report-in")
    expect(window.locator("[name=unit]")).to_have_value(SERVICE)
    finish_step(handler, window)
    expect(handler.page.locator(".case-unit_reported_in")).to_have_count(1)

    # Up by the worker, down again with a directive; it waits for the worker as sent back.
    send(worker, f"/cases/{case}/escalate", {"reason": "resources"}, everybody)
    open_case(handler, case)
    do_step(handler, "accept")
    do_step(handler, "return", directive="请网格清理并拍照")
    handler.inspect()
    worker.go("/worklist?view=sent_back")
    row = worker.page.locator(f".case[data-case='{case}']")
    expect(row.locator(".chip.amber")).to_be_visible()
    worker.inspect()

    # Checked by somebody else, who may send it back; closed; and opened again by appeal.
    send(worker, f"/cases/{case}/accept", seen_by=everybody)
    send(worker, f"/cases/{case}/resolve", {"evidence": ["照片"]}, everybody)
    open_case(supervisor, case)
    do_step(supervisor, "check", passed="false", note="还有纸箱")
    supervisor.inspect()
    send(worker, f"/cases/{case}/resolve", {"evidence": ["照片二"]}, everybody)
    send(supervisor, f"/cases/{case}/check", {"passed": True}, everybody)
    send(visits["shift-lead"], f"/cases/{case}/close", {"outcome": "resolved"}, everybody)
    open_case(supervisor, case)
    do_step(supervisor, "reopen", reason="又堆满了")
    expect(supervisor.page.locator(".episode")).to_have_count(3)
    supervisor.inspect()


def test_news_come_by_themselves(visit: Begin) -> None:
    supervisor, worker = visit("supervisor"), visit("grid-worker")
    supervisor.go("/worklist?view=open&order=reported")
    report = {"territory": GRID, "description": "楼道灯不亮"}
    case = send(worker, "/cases", report)["case"]
    expect(supervisor.page.locator(f".case[data-case='{case}']")).to_be_visible()
