"""Every page: in both languages, at both widths, with nothing wrong in it."""

import pytest
from playwright.sync_api import ViewportSize

from tests.e2e.conftest import Begin

PAGES = [
    (None, "/sign-in"),
    ("dispatcher", "/worklist"),
    ("supervisor", "/metrics"),
    ("supervisor", "/metrics?window=year&as_of=2026-11-01T00:00"),
    ("supervisor", "/metrics/compare?as_of=2026-11-01T00:00"),
]
"""Who opens which page; each shows more to this person than to others."""


@pytest.mark.parametrize(("person", "path"), PAGES, ids=str)
def test_nothing_is_wrong_on_it(
    visit: Begin, person: str | None, path: str, language: str, size: ViewportSize
) -> None:
    opened = visit(person, language, size)
    opened.go(path)
    opened.inspect()
    opened.tab_through()


@pytest.mark.parametrize(("person", "path"), PAGES, ids=str)
def test_nothing_is_wrong_in_the_dark(visit: Begin, person: str | None, path: str) -> None:
    opened = visit(person, theme="dark")
    opened.go(path)
    opened.inspect()
