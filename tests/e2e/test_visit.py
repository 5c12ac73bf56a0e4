"""The watch over a visit finds what it is there for: each fault is planted and must be told."""

import pytest
from playwright.sync_api import Browser

from tests.e2e.visit import Visit, begin

FAULTS = {
    "console error": "<script>console.error('broken')</script>",
    "Content Security Policy": "<style>p { color: red }</style><p>好</p>",
    "a request to": "<img src='http://example.com/x.png' alt=''>",
    "not translated": "<p>not in the language of this page</p>",
    "axe image-alt": "<img src='/console/static/0/logo.svg'>",
    "axe color-contrast": "<p style='color: #ccc; background: #fff'>看不清</p>",
    "wider than the window": "<div style='width: 3000px; height: 9px'></div>",
    "not reached by the tab key": "<a href='#x' onfocus='this.blur()'>甲</a><a href='#y'>乙</a>",
    "focus is not seen": "<a href='#x' style='outline: none'>甲</a>",
}


@pytest.fixture
def watched(browser: Browser, office: str) -> Visit:
    """A visit that nobody has signed in to."""
    return begin(browser, office, None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told(watched: Visit, fault: str) -> None:
    policy = "default-src 'self'" if "Policy" in fault else "default-src * 'unsafe-inline'"
    page = (
        "<!doctype html><html lang='zh-CN'><head><title>页</title></head>"
        f"<body><main><h1>页</h1>{FAULTS[fault]}</main></body></html>"
    )
    watched.page.route(
        "**/planted",
        lambda route: route.fulfill(
            body=page, content_type="text/html", headers={"Content-Security-Policy": policy}
        ),
    )
    watched.page.route("http://example.com/**", lambda route: route.abort())
    watched.page.goto(f"{watched.base}/planted")
    watched.inspect()
    watched.tab_through()
    watched.context.close()
    assert any(fault in said for said in watched.wrong), watched.wrong


DARK = (
    "<style>:root { color-scheme: light } :root[data-theme=dark] { color-scheme: dark } "
    "[data-theme=dark] body { background: #222; color: #333 }</style>"
)


def test_a_fault_of_the_dark_alone_is_told(watched: Visit) -> None:
    page = (
        f"<!doctype html><html lang='zh-CN' data-theme='light'><head><title>页</title>{DARK}"
        "</head><body><main><h1>页</h1><p style='background: #222; color: #eee'>看得清</p>"
        "<p>看不清</p></main></body></html>"
    )
    watched.page.route(
        "**/planted",
        lambda route: route.fulfill(body=page, content_type="text/html; charset=utf-8"),
    )
    watched.page.goto(f"{watched.base}/planted")
    watched.inspect()
    assert watched.wrong == []
    watched.in_the_dark()
    watched.inspect()
    watched.context.close()
    (told,) = watched.wrong
    assert "axe color-contrast" in told
    assert "看不清" in told
