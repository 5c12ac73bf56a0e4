"""What an operator can set or call stands in the README, what the log may hold in docs/events.md.

``python -m tests.test_docs`` writes the list of events again.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from domain import words
from domain.personal import PersonalMark
from infra.cli import app
from infra.codec import NAMES, UPCASTS
from infra.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_documented_with_its_own_description(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `WANGGE_{name.upper()}`"))
    assert field.description in row


def test_every_command_is_documented() -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command)
    for name in command.list_commands(context):  # type: ignore[attr-defined]
        assert f"`wangge {name}" in README, name


def test_the_readme_has_no_place_left_to_fill() -> None:
    assert "@@" not in README
    assert "TODO" not in README


PAGES = sorted((*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for to in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", to):
            continue
        name, _, part = to.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), to
        if part:
            assert part in _anchors(target.read_text(encoding="utf-8")), to


def _anchors(text: str) -> set[str]:
    """What headings are called in addresses: their words in lower case, with hyphens between."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


QUOTED = re.compile(r"「([^」]+)」")
SAID = "".join(
    each.read_text(encoding="utf-8")
    for folder in ("api/console", "domain", "projections", "infra")
    for each in ROOT.glob(f"{folder}/**/*.*")
    if each.suffix in {".html", ".js", ".py"} and "vendor" not in each.parts
)


@pytest.mark.parametrize("guide", sorted(ROOT.glob("docs/guide/*.md")), ids=lambda each: each.stem)
def test_what_a_guide_quotes_is_said_by_the_console(guide: Path) -> None:
    """The steps are done by a test in a browser; this one knows the rest of the guide as well."""
    quoted = set(QUOTED.findall(guide.read_text(encoding="utf-8")))
    assert not {each for each in quoted if each not in SAID and each not in COMPOSED}


COMPOSED = {"导出 CSV", "XLSX", "柳荫街道城管中队", "东风社区综合服务队", "东风社区"}
"""What the console puts together, and names in the sample district."""


EVENTS = ROOT / "docs" / "events.md"


def test_every_event_is_documented_with_its_fields() -> None:
    assert EVENTS.read_text(encoding="utf-8") == event_reference()


def test_every_stored_name_has_its_words() -> None:
    assert words.EVENTS.keys() == NAMES.keys() | UPCASTS.keys()


def event_reference() -> str:
    """All events by their stored names: what they are called, and what they carry."""
    rows = "".join(
        f"| `{name}` | {words.EVENTS[name].zh} | {words.EVENTS[name].en} | {_fields(event)} |\n"
        for name, event in NAMES.items()
    )
    return (
        "# What the log may hold\n\n"
        "Every event by its stored name. Names and shapes are permanent; the JSON of each is in\n"
        "`tests/golden/`. Beside its bytes each has a position, its stream and version, `at` (when"
        " it\nhappened), `recorded_at`, the actor with the roles then held, the territory, the"
        " request it belongs\nto (`correlation`) and the old row it comes from (`causation`)."
        " Fields in *italics* are personal:\nencrypted in the bytes, shown for a purpose, gone with"
        " their key. `evidence` and `refused_by` have been\nso since they were marked; what was"
        " stored before stands in clear, is read as it is and not forgotten.\n`reason` of a day, of"
        " a skipped event and of `case.escalated`, and the names of territories, units and\n"
        "categories, speak of no person and stand in clear.\n\n"
        "| name | 中文 | English | fields |\n| --- | --- | --- | --- |\n" + rows
    )


def _fields(event: type) -> str:
    hints = get_type_hints(event, include_extras=True)
    names = [field.name for field in dataclasses.fields(event)]
    return ", ".join(f"*{name}*" if _personal(hints[name]) else f"`{name}`" for name in names)


def _personal(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    return any(isinstance(mark, PersonalMark) for mark in marks) or any(
        _personal(each) for each in get_args(hint)
    )


if __name__ == "__main__":
    EVENTS.parent.mkdir(exist_ok=True)
    EVENTS.write_text(event_reference(), encoding="utf-8")
