"""A supervisor who must trust a figure: down to the cases behind it, and back in time."""

import csv
import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Download, Locator, ViewportSize, expect

from tests.e2e.casework import GRID, open_case, send, told
from tests.e2e.conftest import Begin
from tests.e2e.visit import PHONE, Visit


def number(text: str) -> int:
    """A number as it is shown."""
    return int(re.sub(r"\D", "", text))


def all_parts(visit: Visit) -> None:
    """Wait until every part of the metrics has come."""
    expect(visit.page.locator(".part .skeleton")).to_have_count(0)
    visit.settle()


def rows_behind(visit: Visit) -> int:
    """How many cases the pages of a figure show, to the last."""
    page, seen = visit.page, 0
    while True:
        seen += page.locator("#list tbody tr").count()
        following = page.locator("#list .more a[href*='after=']").last
        if "after=" in urlsplit(page.url).query:
            following = page.locator("#list .more a").nth(1)
        if not following.count():
            return seen
        following.click()
        visit.settle()


def fetched(visit: Visit, link: Locator) -> Path:
    """A file that a link downloads."""
    with visit.page.expect_download() as coming:
        link.click()
    got: Download = coming.value
    return Path(got.path())


def test_a_figure_and_the_cases_behind_it(visit: Begin, language: str, size: ViewportSize) -> None:
    supervisor = visit("supervisor", language, size)
    page, t = supervisor.page, supervisor.t
    supervisor.go(f"/metrics?territory={GRID}&window=year")
    all_parts(supervisor)
    supervisor.inspect()
    card = page.locator("#part-timeliness [data-figure]").first
    card.locator(".definition summary").click()
    expect(card.locator(".definition p")).to_be_visible()
    numerator = card.locator(".made a").first
    shown = number(numerator.inner_text())
    numerator.click()
    expect(page.locator("[data-total]")).to_have_attribute("data-total", str(shown))
    supervisor.inspect()
    assert rows_behind(supervisor) == shown

    # Back in time: by a date, by the slider, and two moments beside each other.
    supervisor.go(f"/metrics?territory={GRID}&window=year")
    page.locator("#as-of").fill("2026-11-01T08:00")
    page.locator("[data-travel] button").click()
    expect(page.locator(".banner.history")).to_contain_text(t("只读", "read-only"))
    all_parts(supervisor)
    past = card.locator(".made a").first
    then = number(past.inner_text())
    past.click()
    expect(page.locator("[data-total]")).to_have_attribute("data-total", str(then))
    assert rows_behind(supervisor) == then
    supervisor.go(f"/metrics?territory={GRID}&window=year")
    page.locator("#slider").focus()
    page.keyboard.press("PageDown")
    position = page.locator("#slider").input_value()
    expect(page.locator("#as-of")).to_have_attribute("type", "datetime-local")
    page.locator("[data-travel] button").click()
    expect(page.locator(".banner.history")).to_contain_text(f"{int(position):,}")
    all_parts(supervisor)
    page.locator("#first").fill("2026-09-01T08:00")
    page.locator("#second").fill("2026-11-01T08:00")
    page.locator("form[action$='/metrics/compare'] button").click()
    expect(page.locator("table.compare tbody tr").first).to_be_visible()
    supervisor.inspect()


def test_the_reports_are_taken_along(visit: Begin) -> None:
    supervisor = visit("supervisor")
    for form, begins in (("xlsx", b"PK"), ("pdf", b"%PDF")):
        supervisor.go("/metrics")
        supervisor.page.locator("details.menu summary").first.click()
        report = supervisor.page.locator(f"details.menu a[href*='format={form}']").first
        assert fetched(supervisor, report).read_bytes().startswith(begins)


def test_what_was_done_and_who_looked(visit: Begin, language: str, size: ViewportSize) -> None:
    worker, supervisor = visit("grid-worker", language, size), visit("supervisor", language, size)
    page, t = supervisor.page, supervisor.t
    report = {
        "territory": GRID,
        "description": "楼道堆物",
        "category": "corridor_clutter",
        "reporter": {"name": "王女士", "phone": "13800000000"},
    }
    case = send(worker, "/cases", report, [supervisor])["case"]
    send(worker, f"/cases/{case}/note", {"text": "备注"}, [supervisor])

    supervisor.go("/audit")
    page.locator("#object").fill(case)
    page.locator("#actor").fill("grid-worker")
    page.locator("form.asked .primary").click()
    rows = page.locator("table.trail tbody tr")
    expect(rows).to_have_count(3)
    supervisor.inspect()
    # The file says in its head what was asked for, and holds what the page shows and no more.
    written = fetched(supervisor, page.locator("[data-export=csv]")).read_text("utf-8-sig")
    lines = [line for line in csv.reader(written.splitlines()) if line and line[0].isdigit()]
    assert len(lines) == 3
    assert all(f"case:{case}" in line and "grid-worker" in line for line in lines)
    page.locator("#action").select_option("case.filed")
    page.locator("form.asked .primary").click()
    expect(rows).to_have_count(1)
    rows.locator("a").first.click()
    expect(page.locator("table.diff .changed").first).to_be_visible()
    expect(page.locator(".chain li")).to_have_count(2)
    page.locator("details.raw summary").click()
    expect(page.locator("details.raw pre")).to_contain_text("corridor_clutter")
    expect(page.locator("body")).not_to_contain_text("13800000000")
    supervisor.inspect()

    # The past of a case is read-only; two moments of it stand beside each other.
    open_case(supervisor, case)
    page.locator("#travel summary").click()
    page.locator("#travel-version").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#history-banner")).to_contain_text(t("只读", "read-only"))
    expect(page.locator("#case")).to_have_attribute("data-version", "2")
    expect(page.locator("[data-action], #composer")).to_have_count(0)
    supervisor.inspect()
    page.locator("#history-banner a[href*='with=']").click()
    expect(page.locator("#case-id, h1").first).to_be_visible()
    supervisor.inspect()

    # Personal data: for a purpose only, and the look is recorded.
    open_case(supervisor, case)
    expect(page.locator("[data-personal='reporter.phone']")).to_have_text("138****0000")
    page.locator("#show-personal").click()
    page.locator("#purpose input[value=audit]").check()
    page.locator("#f-purpose-reason").fill("例行抽查")
    supervisor.inspect()
    page.locator("#purpose .primary").click()
    expect(page.locator("[data-personal='reporter.phone']")).to_have_text("13800000000")
    supervisor.inspect()
    page.reload()
    expect(page.locator("#looks li")).to_have_count(1)
    expect(page.locator("[data-personal='reporter.phone']")).to_have_text("138****0000")
    supervisor.go(f"/audit/access?case={case}")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("supervisor")
    supervisor.inspect()


def test_no_permission_nothing_there_and_nobody_answers(visit: Begin, language: str) -> None:
    worker = visit("grid-worker", language, PHONE)
    page, t = worker.page, worker.t
    worker.expected += ["status of 4", "ERR_INTERNET_DISCONNECTED", "htmx:"]
    for path in ("/metrics", "/audit", "/cases/20260101-AAAAAAAA"):
        worker.go(path)
        expect(page.locator(".empty[role=alert]")).to_be_visible()
        worker.inspect()
    assert told(worker, "/cases", limit="1")["rows"]
    worker.go("/worklist")
    worker.context.set_offline(True)
    page.locator("[data-view=open]").click()
    expect(page.locator(".toast.bad")).to_contain_text(t("网络不通", "No connection"))
    worker.inspect()
