"""The forms of operations and administration, each clicked once as its office would."""

import re
from urllib.parse import urlsplit
from uuid import uuid4

from playwright.sync_api import Locator, expect

from tests.e2e import casework
from tests.e2e.conftest import Begin
from tests.e2e.visit import DESK, PHONE, Visit

GRID = "qinghe/liuyin/wenchang/g8/"


def send(visit: Visit, dialog: str) -> None:
    """Send the form of a dialog, and wait until the page is there again without it."""
    form = visit.page.locator(f"dialog#{dialog}[open] form")
    with visit.page.expect_response(lambda answer: answer.request.method == "POST") as sent:
        form.locator("button.primary, button.danger").click()
    assert sent.value.ok, sent.value.text()
    expect(visit.page.locator(f"dialog#{dialog}[open]")).to_have_count(0)
    visit.settle()


def opened(visit: Visit, dialog: str) -> Locator:
    """Open a dialog by the button that opens it."""
    visit.page.locator(f"[data-dialog={dialog}]").first.click()
    found = visit.page.locator(f"dialog#{dialog}")
    expect(found).to_be_visible()
    return found


def test_a_form_pressed_before_its_script_puts_nothing_into_an_address(visit: Begin) -> None:
    somebody = visit(None, "zh", DESK)
    page = somebody.page
    page.route("**/console.js*", lambda route: route.abort())
    somebody.expected = ["ERR_FAILED"]
    somebody.go("/sign-in")
    page.locator("[name=username]").fill("dispatcher")
    page.locator("[name=password]").fill("not for an address")
    page.get_by_role("button", name="登录", exact=True).click()
    page.wait_for_timeout(300)
    assert urlsplit(page.url).query == ""
    expect(page.locator("[name=password]")).to_have_value("not for an address")


def test_a_read_model_is_paused_and_resumed(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    administrator.go("/operations")
    row = administrator.page.locator("[data-projection=quality]")
    row.get_by_role("button", name="暂停").click()
    expect(row).to_contain_text("已暂停")
    row.get_by_role("button", name="恢复").click()
    expect(row).to_contain_text("跟进中")

    # Without a connection that is said once, not at every look.
    page = administrator.page
    administrator.expected += ["ERR_INTERNET_DISCONNECTED", "htmx:"]
    administrator.context.set_offline(True)
    for _ in range(3):
        with page.expect_event("requestfailed"):
            page.evaluate("() => htmx.trigger('#standings', 'tick')")
    expect(page.locator(".toast.bad")).to_have_count(1)


def test_a_receiver_is_added_changed_and_removed(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    page = administrator.page
    administrator.go("/operations")
    form = opened(administrator, "add-receiver")
    form.locator("[name=id]").fill("e2e-forms")
    form.locator("[name=url]").fill("https://127.0.0.1:9/hook")
    form.locator("[name=events]").fill("case.child_reopened")
    form.locator("button.primary").click()
    secret = page.locator("dialog#secret")
    expect(secret.locator("[data-shown]")).to_have_text(re.compile("^whsec_"))
    administrator.inspect()
    secret.locator("a.primary").click()
    administrator.settle()
    row = page.locator("tr").filter(has=page.locator("code", has_text="e2e-forms"))
    form = opened(administrator, "change-e2e-forms")
    form.locator("[name=url]").fill("https://127.0.0.1:9/other")
    send(administrator, "change-e2e-forms")
    expect(row).to_contain_text("https://127.0.0.1:9/other")
    opened(administrator, "remove-e2e-forms")
    send(administrator, "remove-e2e-forms")
    expect(row).to_have_count(0)


def test_a_grid_is_drawn_anew(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    page = administrator.page
    administrator.go(f"/administration?path={GRID}")
    text = page.locator("#coordinates")
    before = text.input_value()
    corner = page.locator("#corners .corner").first
    corner.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Insert")
    assert len(text.input_value().splitlines()) == len(before.splitlines()) + 1
    page.locator("#editor-undo").click()
    page.locator("#editor-undo").click()
    assert text.input_value() == before
    page.locator("#corners .between").first.click(force=True)
    with page.expect_response("**/territory/redraw") as sent:
        page.locator("#redraw button.primary").click()
    assert sent.value.ok, sent.value.text()
    administrator.settle()
    corners = len(before.splitlines()) + 1
    expect(page.locator("#history tbody tr").first).to_contain_text(f"{corners} 个顶点")
    administrator.inspect()


def test_a_year_of_the_calendar_is_published(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    administrator.go("/administration/calendar?year=2028")
    form = opened(administrator, "publish")
    form.locator("#publish-holidays").fill("2028-01-03，2028-05-01；")
    form.locator("#publish-makeup_days").fill("2028-04-29")
    administrator.inspect()
    send(administrator, "publish")
    administrator.go("/administration/calendar?year=2028")
    expect(administrator.page.locator("td.holiday")).to_have_count(2)
    expect(administrator.page.locator("td.makeup")).to_have_count(1)


def test_somebody_is_added_and_gets_a_role(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    page = administrator.page
    administrator.go("/administration/people")
    form = opened(administrator, "add")
    form.locator("[name=id]").fill("e2e.forms")
    form.locator("[name=name]").fill("试用人员")
    form.locator("[name=password]").fill("a-long-password")
    administrator.inspect()
    send(administrator, "add")
    administrator.go("/administration/people?user=e2e.forms")
    form = opened(administrator, "grant")
    form.locator("[name=role]").select_option("dispatcher")
    send(administrator, "grant")
    administrator.go("/administration/people?user=e2e.forms")
    expect(page.locator("main")).to_contain_text("派遣员")


def test_a_person_is_forgotten_by_two(visit: Begin) -> None:
    supervisor = visit("supervisor", "zh", DESK)
    supervisor.go("/administration/forgetting?person=p-e2e-forms")
    form = opened(supervisor, "ask")
    assert form.locator("[name=person]").input_value() == "p-e2e-forms"
    supervisor.expected.append("422")
    form.locator("[name=cases]").fill("no such id")
    form.locator("button.danger").click()
    expect(form.locator("[data-field=cases] .error")).to_have_text("格式不符。")
    supervisor.inspect()
    form.locator("[name=cases]").fill("")
    send(supervisor, "ask")
    row = supervisor.page.locator("tr").filter(has_text="p-e2e-forms")
    expect(row).to_contain_text("待批准")
    expect(row.get_by_role("button")).to_have_text(["撤回 p-e2e-forms"])
    administrator = visit("administrator", "zh", DESK)
    administrator.go("/administration/forgetting?person=p-e2e-forms")
    administrator.page.on("dialog", lambda confirm: confirm.accept())
    row = administrator.page.locator("tr").filter(has_text="p-e2e-forms")
    row.get_by_role("button", name="批准删除").click()
    expect(row).to_contain_text("已删除")


def test_a_rule_of_a_category_is_changed(visit: Begin) -> None:
    administrator = visit("administrator", "zh", DESK)
    page = administrator.page
    administrator.go("/administration/catalogue")
    row = page.locator("#categories tr").filter(has_text="petition_backlog")
    row.get_by_role("button", name="修改").click()
    form = page.locator("dialog#define")
    expect(form).to_be_visible()
    limit = form.locator("[data-field=contact]")
    limit.locator("[data-key=amount]").fill("20")
    limit.locator("[data-key=unit]").select_option("d")
    administrator.inspect()
    send(administrator, "define")
    expect(row).to_contain_text("20 天")
    row.get_by_role("button", name="修改").click()
    limit.locator("[data-key=amount]").fill("")
    limit.locator("[data-key=unit]").select_option("same_day")
    send(administrator, "define")
    expect(row).to_contain_text("当日")


def test_a_long_name_fits_a_phone(visit: Begin) -> None:
    administrator = visit("administrator", "zh", PHONE)
    path = "qinghe/liuyin/wenchang/"
    name = f"long{uuid4().hex[:8]}"
    grid = {"tier": "grid", "parent": path, "id": name, "name": "W" * 100}
    grid["effective"] = "2026-01-01"
    casework.send(administrator, "/territory/create", grid)
    nodes = [f"/administration?path={each}" for each in (path, f"{path}{name}/")]
    for page in (*nodes, f"/metrics?territory={path}", "/metrics"):
        administrator.go(page)
        administrator.inspect()


def test_a_category_is_filtered_by_its_letters(visit: Begin) -> None:
    worker = visit("grid-worker", "zh", DESK)
    dispatcher = visit("dispatcher", "zh", DESK)
    page = dispatcher.page
    for category in ("noise", "corridor_clutter"):
        report = {"territory": casework.GRID, "category": category, "description": "晚上"}
        casework.send(worker, "/cases", report, [dispatcher])
    dispatcher.go("/worklist?view=open")
    kinds = page.locator(".case .kind")
    expect(kinds.filter(has_not_text="噪音")).not_to_have_count(0)
    page.locator(".more-filters summary").first.click()
    page.locator("#find-category").press_sequentially("zy")
    expect(page).to_have_url(re.compile("category=noise"))
    expect(kinds.filter(has_not_text="噪音")).to_have_count(0)
    expect(kinds.filter(has_text="噪音")).not_to_have_count(0)
    page.locator("#find-category").fill("")
    expect(page).not_to_have_url(re.compile("category=noise"))


def test_what_is_wrong_in_a_part_of_a_form_is_said_there(visit: Begin) -> None:
    """Nobody is referred to a list of errors that no page shows."""
    administrator = visit("administrator", "zh", DESK)
    administrator.expected += ["422", "409"]
    page = administrator.page
    administrator.go("/administration/people")
    form = opened(administrator, "add")
    form.locator("[name=id]").fill("handler")  # there is one already
    form.locator("[name=name]").fill("新人")
    territory = page.locator("#add-territory")
    territory.fill("没有的社区")
    form.locator("button.primary").click()
    expect(form.locator(".field", has=territory).locator(".error")).to_have_text("格式不符。")
    territory.fill("东风社区")
    form.locator("button.primary").click()
    expect(territory).to_have_value("qinghe/liuyin/dongfeng/")
    expect(form.locator("[data-problem]")).to_contain_text("handler")
    expect(form.locator(".error:not([data-problem])")).to_have_count(0)

    administrator.go(f"/administration?path={GRID}")
    form = opened(administrator, "split")
    for nth in (1, 2):
        for name, value in (("id", "新格" * nth), ("name", "格"), ("households", "1")):
            form.locator(f"#split-{name}-{nth}").fill(value)
        form.locator(f"#split-residents-{nth}").fill("1")
    form.locator("button.danger").click()
    second = form.locator(".field", has=page.locator("#split-id-2"))
    expect(second.locator(".error")).to_have_text("格式不符。")

    administrator.go("/administration/calendar")
    form = page.locator("#reckon")
    for amount, wrong in (("99999", 1), ("2", 0)):
        form.locator("[name=amount]").fill(amount)
        form.get_by_role("button", name="推算").click()
        expect(form.locator("[data-field=amount] .error")).to_have_count(wrong)
    expect(form.locator("#reckoned")).not_to_be_empty()

    administrator.go("/administration/catalogue")
    page.locator("[data-define]").first.click()
    form = page.locator("dialog#define")
    for name in ("code", "name_zh", "name_en"):
        form.locator(f"[name={name}]").fill("new")
    form.locator("[data-field=limit] [data-key=amount]").fill("99999")
    form.locator("button.primary").click()
    limit = form.locator("[data-field=limit] .error")
    expect(limit).to_have_text("不应大于 10000。")
