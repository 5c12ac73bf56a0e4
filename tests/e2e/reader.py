"""Somebody who does what a guide says, step by step, and finds on the page each word it quotes.

A guide is a Markdown file: parts with a heading, in them numbered steps, and in the steps words of
the page in 「」. The test that follows it names the same parts, steps and words in the same order,
so neither the guide nor the page can change without the other.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, cast

from playwright.sync_api import Locator, expect

from tests.e2e.office import does
from tests.e2e.visit import Visit
from tests.files import picture

FOLDER: Final = Path(__file__).parents[2] / "docs" / "guide"

QUOTED: Final = re.compile(r"「([^」]+)」|`([^`]+)`")

PRESSED: Final = ("button", "link", "option", "radio", "checkbox")


class Step(NamedTuple):
    """One numbered step: where it stands, what it says, and the words of the page in it."""

    part: str
    number: int
    text: str
    quoted: tuple[str, ...]


def steps(guide: str) -> list[Step]:
    """The numbered steps of a guide, in order; a line that is indented goes on with its step."""
    part, texts = "", list[tuple[str, int, str]]()
    for line in (FOLDER / guide).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            part = line.removeprefix("## ")
        elif begun := re.match(r"(\d+)\. ", line):
            texts.append((part, int(begun[1]), line))
        elif texts and line.startswith("   "):
            texts[-1] = (*texts[-1][:2], texts[-1][2] + line.strip())
    return [Step(*text, tuple(a or b for a, b in QUOTED.findall(text[2]))) for text in texts]


class Reader:
    """A reader of one guide in front of a browser.

    Each method takes the next quoted word of the step, which must be the one the test expects, and
    does with what it names on the page what the guide says.
    """

    def __init__(self, guide: str, visit: Visit) -> None:
        self.left = steps(guide)
        self.now = Step("", 0, guide, ())
        self.words: list[str] = []
        self.heading = ""
        self.position = 0
        self.begin(visit)

    def begin(self, visit: Visit) -> None:
        """Go on in another window, as somebody else."""
        self.visit, self.page = visit, visit.page
        # Who knows the way goes on before all parts of a page are there.
        visit.expected += ["htmx:sendAbort", "htmx:afterRequest"]
        self.visit.knows(self.position)

    def go(self, path: str) -> None:
        """Open a page otherwise than a step says."""
        self.visit.go(path)

    def meanwhile(self, person: str, path: str, **body: Any) -> Any:
        """A command of somebody else over the API; pages opened later know of it."""
        answer = does(self.visit.base, person, path, **body)
        self.position = max(self.position, answer["position"])
        self.visit.knows(self.position)
        return answer

    def part(self, heading: str) -> Self:
        """The next steps stand under this heading."""
        self.heading = heading
        return self

    def step(self, number: int) -> Self:
        """The next step must be this one; of the one before no word may be left."""
        self._nothing_left()
        assert self.left, f"the guide ends after {self.now.part} {self.now.number}"
        self.now = self.left.pop(0)
        assert (self.now.part, self.now.number) == (self.heading, number), self.now
        self.words = list(self.now.quoted)
        return self

    def end(self) -> None:
        """The guide has no more steps."""
        self._nothing_left()
        assert not self.left, self.left

    def press(self, word: str, within: str | None = None) -> Self:
        """Click it; ``within`` is a row or section that holds this text, where there are many."""
        self._found(self._next(word), *PRESSED, within=within).click()
        self.visit.settle()
        return self

    def send(self, word: str) -> Self:
        """Click what sends the form that is open; it must be taken, and the form goes away."""
        self._found(self._next(word), "button").click()
        refused = self.page.locator("dialog[open] [data-problem]:visible")
        closed = self.page.locator("body:not(:has(dialog[open]))")
        expect(refused.or_(closed).first).to_be_visible()
        assert not refused.count(), f"{self.now}: {refused.inner_text()}"
        self.visit.settle()
        return self

    def type(self, word: str, text: str) -> Self:
        """Fill in the field of this label."""
        self._field(self._next(word)).fill(text)
        return self

    def choose(self, word: str, option: str, quoted: bool = True) -> Self:
        """Choose in the list of this label; the option may be quoted as well."""
        field = self._field(self._next(word))
        field.select_option(label=self._next(option) if quoted else option)
        return self

    def attach(self, word: str) -> Self:
        """Choose a photo with the button of this name."""
        self._next(word)
        field = self._near().locator("label", has_text=word).filter(visible=True)
        photo = {"name": "现场.png", "mimeType": "image/png", "buffer": picture("PNG")}
        field.locator("input[type=file]").set_input_files(cast("Any", photo))
        self.visit.settle()
        return self

    def download(self, word: str) -> Self:
        """Click it and get a file."""
        with self.page.expect_download() as got:
            self._found(self._next(word), "link").click()
        assert got.value.path().stat().st_size > 100
        return self

    def strike(self, *keys: str) -> Self:
        """Press these keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(self._next(key))
            self.visit.settle()
        return self

    def see(self, *words: str) -> Self:
        """Each of these stands on the page."""
        for word in words:
            self._found(self._next(word), *PRESSED, "heading", "tab", "columnheader", text=True)
        return self

    def open_case(self, case: str) -> Self:
        """Open a case from the list; where there is room the first click shows it beside."""
        link = self.page.locator(f"[data-case='{case}'] a.open")
        link.click()
        if "/worklist" in self.page.url:
            link.click()
        self.page.wait_for_url(f"**/cases/{case}")
        self.visit.settle()
        return self

    def _next(self, word: str) -> str:
        assert self.words, f"no word is left, 「{word}」 is expected: {self.now}"
        assert (found := self.words.pop(0)) == word, f"「{found}」, not 「{word}」: {self.now}"
        return word

    def _nothing_left(self) -> None:
        assert not self.words, f"nothing is done with {self.words}: {self.now}"

    def _near(self) -> Locator:
        """What can be used now: the dialog that is open, or the page."""
        dialog = self.page.locator("dialog[open]")
        return dialog if dialog.count() else self.page.locator("body")

    def _field(self, word: str) -> Locator:
        return self._first(word, [self._near().get_by_label(name) for name in _names(word)])

    def _found(
        self, word: str, *roles: str, within: str | None = None, text: bool = False
    ) -> Locator:
        near = self._near()
        if within:
            near = near.locator("tr, li, section, fieldset", has_text=within).last
        known: list[Locator] = []
        for name in _names(word):
            known += [near.get_by_role(cast("Any", role), name=name) for role in roles]
            known += [near.locator("summary").filter(has_text=name)]
            known += [near.get_by_label(name)]
            known += [near.get_by_text(name)] if text else []
        return self._first(word, known)

    def _first(self, word: str, known: Sequence[Locator]) -> Locator:
        known = [each.filter(visible=True) for each in known]
        if found := next((each for each in known if each.count()), None):
            return found.first
        together = known[0]
        for each in known[1:]:
            together = together.or_(each)
        expect(together.first, f"「{word}」 is not on the page: {self.now}").to_be_visible()
        return next(each.first for each in known if each.count())


def _names(word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Exactly this, or else with what a page adds: a count, 选填, what a button of a row is for."""
    exact = re.escape(word)
    return re.compile(rf"^\s*{exact}\s*$"), re.compile(rf"^\s*{exact}(\s.*)?\s*$", re.DOTALL)
