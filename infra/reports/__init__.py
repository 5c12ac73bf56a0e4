"""Reports on paper and in tables: the same report as PDF, XLSX or CSV, always the same bytes.

What stands on a report is decided before (``domain.reports``); here it only gets its form.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from domain.calendar import OFFICE_TIME
from domain.metrics import rounded
from domain.reports import Cell, Definition, Extract, Report, Shape
from domain.words import Word

NOTHING: Final = "–"
"""Where nothing was counted."""


def render(report: Report | Extract, form: str) -> bytes:
    """A report as one of ``FORMS``.

    Raises:
        Refused: ``report.no_pdf``, ``report.no_font``.
        Overloaded: too many PDFs are waited for.
    """
    return FORMS[form](report)


def shown(cell: Cell, shape: Shape) -> str:
    """A cell as people read it."""
    match shape, cell:
        case _, None:
            return NOTHING
        case _, Word(zh, en):
            return zh if zh == en else f"{zh} {en}"
        case _, datetime():
            return instant(cell)
        case Shape.RATE, float() | int():
            return f"{rounded(cell, 4):.2%}"
        case Shape.POINTS, float() | int():
            return f"{rounded(cell, 4) * 100:+.2f}"
        case Shape.CHANGE, int():
            return f"{cell:+d}" if cell else "0"
        case _, float():
            return f"{rounded(cell, 2):.2f}"
        case _:
            return str(cell)


def instant(at: datetime) -> str:
    """A time in the office's time zone, to the minute."""
    return f"{at.astimezone(OFFICE_TIME):%Y-%m-%d %H:%M}"


def about(report: Report | Extract) -> tuple[tuple[Word, str], ...]:
    """Where the figures come from: stands on every report, whatever its form."""
    if isinstance(report, Extract):
        return report.about
    since, until = report.earlier
    return (
        (Word("属地", "Territory"), f"{' / '.join(report.names)}（{report.territory}）"),
        (Word("本期", "Period"), f"{instant(report.since)} — {instant(report.until)}"),
        (Word("上期", "Before"), f"{instant(since)} — {instant(until)}"),
        (Word("日志位置", "Log position"), str(report.position)),
        (Word("截至", "As of"), instant(report.at)),
        (Word("时点", "Moment"), report.moment),
    )


def excluded(definition: Definition) -> Word | None:
    """What is left out of a figure, None where nothing is."""
    if not definition.excluded:
        return None
    zh, en = zip(*definition.excluded, strict=True)
    return Word(f"不计入：{'、'.join(zh)}。", f"Left out: {', '.join(en)}.")


def _csv(report: Report | Extract) -> bytes:
    from infra.reports.tables import csv

    return csv(report)


def _xlsx(report: Report | Extract) -> bytes:
    from infra.reports.tables import xlsx

    return xlsx(report)


def _pdf(report: Report | Extract) -> bytes:
    from infra.reports.paper import pdf

    assert isinstance(report, Report), "an extract is a table"
    return pdf(report)


FORMS: Final[dict[str, Callable[[Report | Extract], bytes]]] = {
    "xlsx": _xlsx,
    "csv": _csv,
    "pdf": _pdf,
}
"""By ending. What makes them is loaded when first asked for: a server that is not, stays small."""
