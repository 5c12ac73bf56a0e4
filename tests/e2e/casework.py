"""What the people of the stories do: steps on a case, by the page's own buttons or beside it."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from playwright.sync_api import Locator, expect

from tests.e2e.visit import Visit

GRID: Final = "qinghe/liuyin/dongfeng/g1/"
"""The grid of the sample's grid worker."""


def send(
    visit: Visit, path: str, body: Any = None, seen_by: Iterable[Visit] = (), **headers: str
) -> dict[str, Any]:
    """Send a command as the visitor's program would, without the page; ``seen_by`` will see it.

    Answers what the API answers.
    """
    answer = visit.context.request.post(
        f"{visit.base}/api/v1{path}", data=body or {}, headers={"X-Wangge-Console": "1", **headers}
    )
    assert answer.ok, answer.text()
    done: dict[str, Any] = answer.json()
    for each in (visit, *seen_by):
        each.context.add_cookies(
            [{"name": "wangge_position", "value": str(done["position"]), "url": visit.base}]
        )
    return done


def told(visit: Visit, path: str, **asked: str) -> dict[str, Any]:
    """What the API answers to the visitor."""
    answer = visit.context.request.get(f"{visit.base}/api/v1{path}", params=urlencode(asked))
    assert answer.ok, answer.text()
    said: dict[str, Any] = answer.json()
    return said


def cases(visit: Visit) -> set[str]:
    """The cases of the worker's grid that came in last."""
    rows = told(visit, "/cases", territory=GRID, order="reported", limit="50")["rows"]
    return {row["case"] for row in rows}


def version(visit: Visit) -> int:
    """The version that the page of a case shows."""
    return int(visit.page.locator("#case").get_attribute("data-version") or 0)


def open_case(visit: Visit, case: str, query: str = "") -> None:
    """Open the page of a case."""
    visit.go(f"/cases/{case}{query}")
    expect(visit.page.locator("#case-id")).to_have_text(case)


def begin_step(visit: Visit, step: str, **typed: str) -> Locator:
    """Open the form of a step and fill it in; answers its window."""
    visit.page.locator(f"[data-action={step}]").click()
    window = visit.page.locator(f"#do-{step}")
    expect(window).to_be_visible()
    for name, value in typed.items():
        entry = window.locator(f"[name='{name}']").first
        if entry.get_attribute("type") in ("radio", "checkbox"):
            window.locator(f"[name='{name}'][value='{value}']").check()
        elif entry.evaluate("(element) => element.tagName") == "SELECT":
            entry.select_option(value)
        else:
            entry.fill(value)
    return window


def finish_step(visit: Visit, window: Locator) -> None:
    """Send a form that is filled in; the page then shows the case one step further."""
    before = version(visit)
    window.locator(".foot .primary").click()
    expect(visit.page.locator("#case")).not_to_have_attribute("data-version", str(before))
    visit.settle()


def do_step(visit: Visit, step: str, **typed: str) -> None:
    """A whole step by the page's own button and form."""
    finish_step(visit, begin_step(visit, step, **typed))


def tab_to(visit: Visit, selector: str, most: int = 120) -> None:
    """Press the tab key until the focus is where it is wanted."""
    for _ in range(most):
        if visit.page.evaluate("(at) => document.activeElement?.matches(at)", selector):
            return
        visit.page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not reach {selector}")
