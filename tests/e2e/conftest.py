"""One sample district and one browser for all stories; a window of its own for each visit."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.e2e.office import chromium, served
from tests.e2e.visit import DESK, PHONE, Visit, begin

Begin = Callable[..., Visit]


@pytest.fixture(scope="session")
def office() -> Iterator[str]:
    """The address of the sample district."""
    with served() as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser."""
    with sync_playwright() as playwright:
        made = chromium(playwright)
        yield made
        made.close()


@pytest.fixture
def visit(browser: Browser, office: str) -> Iterator[Begin]:
    """Opens a window; in the end nothing may have been wrong in any of them."""
    visits: list[Visit] = []

    def opened(
        person: str | None,
        language: str = "zh",
        size: ViewportSize | None = None,
        theme: str = "light",
    ) -> Visit:
        visits.append(begin(browser, office, person, language, size, theme))
        return visits[-1]

    yield opened
    wrong = [each for made in visits for each in made.wrong]
    for made in visits:
        made.context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(params=["zh", "en"])
def language(request: pytest.FixtureRequest) -> str:
    """The language of a visit."""
    chosen: str = request.param
    return chosen


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desk"])
def size(request: pytest.FixtureRequest) -> ViewportSize:
    """The window of a visit."""
    chosen: ViewportSize = request.param
    return chosen
