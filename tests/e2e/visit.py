"""Somebody in front of a browser, and what may never happen there.

Every visit watches itself: an error in the browser's console, a violation of the page's policy, a
request to anywhere else, a text that is not in the language of the page, something that the tab
key does not reach, and whatever axe finds, all are failures.
"""

from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from api.console.session import POSITION
from tests.e2e.office import PASSWORD

PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
DESK: Final[ViewportSize] = {"width": 1360, "height": 860}

expect.set_options(timeout=20_000)  # the machine may be busy with other tests

FOREIGN: Final = r"""(language) => {
  const chinese = /[\u3400-\u9fff]/, english = /[A-Za-z]{3,}[ ]+[A-Za-z]{3,}/;
  const wrong = (text, element) => {
    const said = (element.closest("[lang]")?.getAttribute("lang") ?? "").slice(0, 2);
    if (element.closest("code, pre, kbd, .mono, script, style, textarea")) return false;
    const foreign = language === "en" ? chinese : english;
    return said !== (language === "en" ? "zh" : "en") && foreign.test(text);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent.trim();
    if (text && wrong(text, node.parentElement)) found.push(text.slice(0, 80));
  }
  for (const element of document.querySelectorAll("[title], [aria-label], [placeholder], [alt]")) {
    for (const name of ["title", "aria-label", "placeholder", "alt"]) {
      const text = element.getAttribute(name) ?? "";
      if (wrong(text, element)) found.push(`${name}: ${text.slice(0, 80)}`);
    }
  }
  if (wrong(document.title, document.documentElement)) found.push(document.title);
  return [...new Set(found)];
}"""
"""Texts that are in neither the page's language nor marked as being in another."""

VIOLATIONS: Final = """async (options) => {
  const found = await axe.run({ ...options, resultTypes: ["violations"] });
  return found.violations.map(({ id, nodes }) => [
    id, nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)).join("; "),
  ]);
}"""
"""What axe finds, and no more: all that it looked at would be many times as long."""

SWITCH: Final = """(theme) => {
  const button = document.querySelector("[data-theme-switch]");
  if (button) button.click();
  else document.documentElement.dataset.theme = theme;
  return getComputedStyle(document.documentElement).colorScheme;
}"""
"""To the other colours; says which they are."""

TAB_WALK: Final = """() => {
  document.activeElement?.blur();
  scrollTo(0, 0);
  const wanted = "a[href], button:not([disabled]), input:not([type=hidden]):not([disabled]), "
    + "select:not([disabled]), textarea:not([disabled]), summary, [tabindex='0']";
  const left = new Set(), groups = new Set(), unseen = [];
  let stops = 0;
  const visible = (element) => element.checkVisibility({ visibilityProperty: true });
  for (const element of document.querySelectorAll(wanted)) {
    if (!visible(element) || element.tabIndex < 0) continue;
    if (element.closest("dialog:not([open]), [inert]")) continue;
    let stop = element;
    if (element.type === "radio") {
      const group = `${element.form?.id} ${element.name}`;
      if (groups.has(group)) continue;
      groups.add(group);
      const chosen = document.querySelector(`input[name="${CSS.escape(element.name)}"]:checked`);
      stop = chosen ?? element;
    }
    left.add(stop);
    stops += /^(date|time|month|week)/.test(element.type) ? 8 : 1;
  }
  const outlined = (at) => {
    const style = getComputedStyle(at);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  };
  const stopped = () => {
    const element = document.activeElement;
    if (!element || element === document.body) return;
    left.delete(element);
    // A row may show it for the link that stands for it.
    if (outlined(element) || outlined(element.closest("li, tr") ?? element)) return;
    unseen.push(element.outerHTML.slice(0, 120));
  };
  addEventListener("keyup", stopped, true);
  return {
    stops,
    left: () => left.size,
    unseen: () => unseen,
    missed: () => [...left].filter(visible).map((element) => element.outerHTML.slice(0, 160)),
    end: () => removeEventListener("keyup", stopped, true),
  };
}"""
"""Watches where the tab key stops: how many stops it should make (within a date one for each of
its parts), what is left to be reached, and where nobody saw the focus."""


@dataclass
class Visit:
    """A browser window of somebody who has signed in, and what was wrong in it so far."""

    context: BrowserContext
    page: Page
    base: str
    language: str
    wrong: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def t(self, zh: str, en: str) -> str:
        """A text in the language of this visit."""
        return zh if self.language == "zh" else en

    def go(self, path: str) -> None:
        """Open a page of the console and wait until nothing more is loaded."""
        self.page.goto(f"{self.base}/console{path}")
        self.settle()

    def knows(self, position: int) -> None:
        """Pages opened from now on know the log up to there, as after a write of one's own."""
        seen = {"name": POSITION, "value": str(position), "url": self.base}
        self.context.add_cookies([cast("Any", seen)])

    def settle(self) -> None:
        """Wait until the page has what it asked for; a live feed never ends, so it is not waited
        for."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_function(
            "() => !document.querySelector('.htmx-request, [aria-busy=true]')", timeout=30_000
        )

    def inspect(self, *, colours: bool = True, rules: bool = True) -> None:
        """What must hold on every page; without ``colours`` or ``rules`` axe looks at no contrast,
        or at nothing else."""
        where = f"{urlsplit(self.page.url).path} {self.language}"
        for text in self.page.evaluate(FOREIGN, self.language):
            self.wrong.append(f"{where}: not translated: {text}")
        options: dict[str, Any] = {}
        if not rules:
            options = {"runOnly": ["color-contrast"]}
        elif not colours:
            options = {"rules": {"color-contrast": {"enabled": False}}}
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        for rule, nodes in self.page.evaluate(VIOLATIONS, options):
            self.wrong.append(f"{where}: axe {rule}: {nodes}")
        wide = self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            self.wrong.append(f"{where}: {wide} px wider than the window")

    def in_the_dark(self) -> None:
        """The same page in dark colours, by its own switch where it has one, and light again."""
        self._switch("dark")
        self.inspect(rules=False)
        self._switch("light")

    def _switch(self, theme: str) -> None:
        shown = self.page.evaluate(SWITCH, theme)
        assert shown == theme, f"{self.page.url}: {shown}, not {theme}"

    def tab_through(self, most: int = 150) -> None:
        """Everything that can be used is reached by the tab key, and shows that it is."""
        walk = self.page.evaluate_handle(TAB_WALK)
        stops, left = walk.evaluate("(walk) => [walk.stops, walk.left()]")
        presses = min(stops, most) + 15  # what scrolls is a stop as well
        while presses and left:
            # As many are needed at least, so the page is asked only then.
            for _ in range(together := min(presses, left)):
                self.page.keyboard.press("Tab")
            presses -= together
            left = walk.evaluate("(walk) => walk.left()")
        for what in walk.evaluate("(walk) => { walk.end(); return walk.unseen(); }"):
            self.wrong.append(f"{self.page.url}: focus is not seen: {what}")
        if stops <= most:
            for what in walk.evaluate("(walk) => walk.missed()"):
                self.wrong.append(f"{self.page.url}: not reached by the tab key: {what}")


def begin(
    browser: Browser,
    base: str,
    person: str | None,
    language: str = "zh",
    size: ViewportSize | None = None,
    theme: str = "light",
) -> Visit:
    """A fresh window; ``person`` signs in as the page itself does."""
    context = browser.new_context(
        viewport=size or DESK,
        locale="zh-CN" if language == "zh" else "en-GB",
        timezone_id="Asia/Shanghai",
        reduced_motion="reduce",
        accept_downloads=True,
    )
    context.set_default_timeout(30_000)
    context.add_cookies(
        [
            {"name": "wangge_lang", "value": language, "url": base},
            {"name": "wangge_theme", "value": theme, "url": base},
        ]
    )
    visit = Visit(context, context.new_page(), base, language)
    _watch(visit)
    if person is not None:
        answer = context.request.post(
            f"{base}/console/session",
            headers={"X-Wangge-Console": "1"},
            data={"username": person, "password": PASSWORD},
        )
        assert answer.status == 204, answer.text()
    return visit


def _watch(visit: Visit) -> None:
    host = urlsplit(visit.base).netloc

    def said(message: Any) -> None:
        # A refusal that a story provokes is logged by the browser as well: it is told beforehand.
        if message.type in ("error", "warning") and not any(
            text in message.text for text in visit.expected
        ):
            visit.wrong.append(f"{visit.page.url}: console {message.type}: {message.text}")

    def asked(request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("blob", "data") and url.netloc != host:
            visit.wrong.append(f"{visit.page.url}: a request to {request.url}")

    visit.context.on("console", said)
    visit.context.on("weberror", lambda error: visit.wrong.append(f"script: {error.error}"))
    visit.context.on("request", asked)
