"""Pictures of the main pages, made from the sample district, for the README and the guides.

``make screens`` writes them into ``docs/screens``; otherwise they are made and thrown away, so that
a page which cannot be photographed is noticed.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.conftest import Begin
from tests.e2e.office import does
from tests.e2e.visit import DESK, PHONE, Visit

MOST_BYTES: Final = 400_000
WANTED: Final = os.environ.get("WANGGE_SCREENS")
FOLDER: Final = Path(__file__).parents[2] / "docs" / "screens"


def first_case(path: str) -> Callable[[Visit], None]:
    """Opens the first case of a list."""

    def opens(visit: Visit) -> None:
        visit.go(path)
        to = visit.page.locator("#cases a.open").first.get_attribute("href")
        visit.go((to or "").removeprefix("/console"))

    return opens


def to_accept(visit: Visit) -> None:
    """A matter of the first grid that waits for its grid worker."""
    case = does(
        visit.base,
        "grid-worker",
        "/cases",
        territory="qinghe/liuyin/dongfeng/g1/",
        category="street_light",
        source="grid_worker",
        spot={"address": "3 号楼东侧"},
        description="楼下路灯连续两晚不亮",
    )["case"]
    done = does(visit.base, "dispatcher", f"/cases/{case}/dispatch")
    visit.knows(done["position"])
    visit.go(f"/cases/{case}")


def a_step_back(visit: Visit) -> None:
    """A case as it was at its fourth step."""
    first_case("/worklist?view=ended&tier=subdistrict")(visit)
    visit.go(f"/cases/{visit.page.url.rsplit('/', 1)[-1]}?version=4")


def the_preview(visit: Visit) -> None:
    """The list with a case beside it, and two chosen."""
    visit.go("/worklist?view=open")
    visit.page.locator("#cases a.open").first.click()
    expect(visit.page.locator("#preview h2")).to_be_visible()
    for box in visit.page.locator("#cases .choose").all()[1:3]:
        box.check()


def the_form(visit: Visit) -> None:
    """The form for reporting, filled in."""
    visit.go("/report")
    page = visit.page
    page.locator("#report[data-ready]").wait_for()
    page.locator("#f-address").fill("3 号楼 2 单元门口")
    page.locator("#f-description").fill("楼道堆放旧家具，堵住消防通道")
    page.locator("#f-category").fill("lddw")


def without_network(visit: Visit) -> None:
    """The form where there is no network, with a report that waits."""
    visit.expected.append("ERR_INTERNET_DISCONNECTED")
    visit.go("/report")
    page = visit.page
    page.locator("#report[data-ready]").wait_for()
    visit.context.set_offline(True)
    page.locator("#f-description").fill("地下车库照明坏了三盏")
    page.locator("#send").click()
    expect(page.locator("#waiting-list li")).to_be_visible()
    expect(page.locator("#toasts > *")).to_have_count(0)
    page.evaluate("scrollTo(0, 0)")


def the_entry(visit: Visit) -> None:
    """One entry of the audit: what was before, and after."""
    visit.go("/audit?action=case.escalated")
    visit.page.locator("table.trail tbody a").first.click()
    visit.settle()


class Screen(NamedTuple):
    """A picture: its name, who sees it, where and how, and whether it shows the whole page."""

    name: str
    person: str | None
    opens: str | Callable[[Visit], None]
    window: str = "desk"
    theme: str = "light"
    whole: bool = False


SCREENS: Final = (
    Screen("sign-in", None, "/sign-in", "phone"),
    Screen("worklist", "handler", "/worklist", "phone"),
    Screen("report", "grid-worker", the_form, "phone"),
    Screen("report-offline", "grid-worker", without_network, "phone", "dark"),
    Screen("case", "grid-worker", to_accept, "phone"),
    Screen("worklist", "coordinator", the_preview),
    Screen("worklist", "dispatcher", "/worklist?view=due_soon", theme="dark"),
    Screen("case", "handler", first_case("/worklist?view=todo&state=in_progress")),
    Screen("case-history", "supervisor", a_step_back),
    Screen("metrics", "supervisor", "/metrics?window=year"),
    Screen("metrics", "supervisor", "/metrics?window=year", "phone", "dark"),
    Screen("metrics-compare", "supervisor", "/metrics/compare?window=year&as_of=16000"),
    Screen("audit", "supervisor", "/audit"),
    Screen("audit-entry", "supervisor", the_entry, theme="dark"),
    Screen("operations", "administrator", "/operations", theme="dark"),
    Screen("map", "administrator", "/administration?path=qinghe/liuyin/dongfeng/g2/"),
    Screen("catalogue", "administrator", "/administration/catalogue"),
    Screen("calendar", "administrator", "/administration/calendar"),
    Screen("people", "administrator", "/administration/people?user=handler"),
)


MADE: Final = [each for each in SCREENS if WANTED or callable(each.opens)]
"""Without a folder only those that need preparing: the other pages have tests of their own."""


@pytest.mark.parametrize("screen", MADE, ids=lambda each: _file(each).stem)
def test_a_picture(visit: Begin, tmp_path: Path, screen: Screen) -> None:
    size = PHONE if screen.window == "phone" else DESK
    opened = visit(screen.person, "zh", size, screen.theme)
    if callable(screen.opens):
        screen.opens(opened)
    else:
        opened.go(screen.opens)
    # The page comes in the colours that were chosen; elsewhere they are switched on the page.
    assert opened.page.locator("html").get_attribute("data-theme") == screen.theme
    folder = Path(WANTED or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _file(screen)
    picture(opened, file, screen.whole)
    assert 5_000 < file.stat().st_size < MOST_BYTES


def test_the_pictures_are_those_that_are_made() -> None:
    kept = list(FOLDER.glob("*"))
    assert {file.name for file in kept} == {_file(screen).name for screen in SCREENS}
    assert sum(file.stat().st_size for file in kept) < 3_000_000


def picture(visit: Visit, file: Path, whole: bool = False) -> None:
    """What the window shows, in 256 colours: a third of the size, and nobody sees it."""
    taken = visit.page.screenshot(caret="initial", animations="allow", full_page=whole)
    shown = Image.open(io.BytesIO(taken)).convert("RGB")
    shown.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def _file(screen: Screen) -> Path:
    return Path(f"{screen.name}-{screen.window}-{screen.theme}.png")
