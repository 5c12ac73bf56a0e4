"""What all commands share: how they speak, ask, show progress and say what is wrong."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic_core import ErrorDetails, PydanticCustomError
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from domain.calendar import FIRST_YEAR, LAST_YEAR, OFFICE_TIME
from domain.metrics import rounded
from projections.past import AsOf
from projections.runner import OnProgress
from projections.runner import Progress as Advance

out: Final = Console()
err: Final = Console(stderr=True)

Show = Callable[[int, int, str], None]


Day = TypeVar("Day", bound=date)
"""A day, or a time, which Python takes for one as well."""


class Wrong(Exception):
    """An argument that cannot be; the text says which and why."""


def in_both(problem: ErrorDetails) -> str:
    """What is wrong with a setting, in both languages."""
    from api.field_words import ZH, in_chinese

    kind, said = problem["type"], problem["msg"]
    # What is not among pydantic's kinds is our own, and says both.
    return f"{in_chinese(kind, problem.get('ctx', {}))}。{said}" if kind in ZH else said


def one_of(parameter: Callable[..., Any], choices: Iterable[str], help_: str) -> Any:
    """An argument or option that is one of some words."""
    known = tuple(choices)

    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text} ({', '.join(known)})")
        return text

    return parameter(help=help_, metavar="|".join(known), parser=parse)


AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON · Print JSON.")]


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """A bar on standard error with rate and time left; ``show(done, of, rate)`` moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(title, total=None, rate="")

        def show(done: int, of: int, rate: str) -> None:
            bar.update(task, completed=done, total=of, rate=rate)

        yield show


@contextmanager
def progress_if_long(title: str) -> Iterator[OnProgress]:
    """The bar, from when a read model has a page behind it and more to go."""
    with ExitStack() as stack:
        show: Show | None = None

        def advance(at: Advance) -> None:
            nonlocal show
            if show is None and at.position < at.head:
                show = stack.enter_context(progress(title))
            if show is not None:
                show(at.position, at.head, f"{at.rate:,.0f}/s")

        yield advance


def print_values(values: dict[str, Any], indent: str = "") -> None:
    for name, value in values.items():
        match value:
            case {"numerator": above, "denominator": below, "value": rate}:
                shown = "–" if rate is None else f"{rounded(rate, 4):.2%}"
                out.print(f"{indent}{name}: {above:,} ÷ {below:,} = {shown}", highlight=False)
            case dict():
                out.print(f"{indent}{name}:", highlight=False)
                print_values(value, indent + "  ")
            case list():
                out.print(f"{indent}{name}:", highlight=False)
                for each in value:
                    if isinstance(each, dict):
                        print_values({str(each.pop("path", "-")): each}, indent + "  ")
                    else:
                        out.print(f"{indent}  {each}", highlight=False, markup=False)
            case _:
                shown = "–" if value is None else str(value)
                out.print(f"{indent}{name}: {shown}", highlight=False, markup=False)


def instant(text: str | None) -> datetime | None:
    """A day (its beginning, in office time) or a time; without a zone it is office time."""
    at = _read(text, datetime.fromisoformat, "不是日期或时间 · Neither a day nor a time")
    return at if at is None or at.tzinfo else at.replace(tzinfo=OFFICE_TIME)


def calendar_day(text: str | None) -> date | None:
    """A day."""
    return _read(text, date.fromisoformat, "不是日期 · Not a day")


def _read(text: str | None, read: Callable[[str], Day], otherwise: str) -> Day | None:
    """A day or a time of a year that the API takes too: what comes before or after one must be one
    as well."""
    if text is None:
        return None
    try:
        day = read(text)
    except ValueError:
        raise Wrong(f"{otherwise}: {text}") from None
    if not FIRST_YEAR < day.year < LAST_YEAR:
        raise Wrong(
            f"年份须在 {FIRST_YEAR + 1} 至 {LAST_YEAR - 1} 之间："
            f"{text}。A year from {FIRST_YEAR + 1} to {LAST_YEAR - 1} is expected."
        )
    return day


def past(text: str | None) -> AsOf | None:
    """A position of the log, a day or a time as ``instant`` has it, or both as answers say them."""
    if text is None or not (text.isdecimal() or "@" in text):
        return instant(text)
    from api.schemas.words import read_as_of

    try:
        return read_as_of(text)
    except PydanticCustomError:
        raise Wrong(f"不是日志位置或时点 · Neither a position nor a moment: {text}") from None
