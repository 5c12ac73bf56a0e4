"""Reports as PDF.

WeasyPrint takes its time and its memory, so it works in a process of its own, one at a time, that
ends with the file: what a server needs does not grow. That process is this module run as a program:
HTML comes in on standard input, the PDF goes out on standard output, nothing is fetched.
"""

import ctypes
import subprocess
import sys
import threading
from html import escape
from typing import Any, Final

from domain.errors import Overloaded, Refused
from domain.reports import Cell, Column, Report, Shape, Table
from domain.words import Word
from infra.reports import about, excluded, shown

SECONDS: Final = 120
"""How long one report may take."""

WAITING: Final = 4
"""How many may wait for the one at work, or be at work."""

NO_PANGO, NO_FONT = 3, 4
"""How the program ends when it cannot write, by reason."""

FONTS: Final = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
)
"""The first of these that the machine has; without any of them, whatever knows Chinese."""

_room: Final = threading.BoundedSemaphore(WAITING)
_one: Final = threading.Lock()


def pdf(report: Report) -> bytes:
    """The report on A4.

    Raises:
        Refused: ``report.no_pdf``, ``report.no_font``: something is to be installed.
        Overloaded: too many are waited for.
    """
    if not _room.acquire(blocking=False):
        raise Overloaded
    try:
        with _one:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "infra.reports.paper"],
                input=html(report).encode(),
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise Overloaded from error
    finally:
        _room.release()
    match done.returncode:
        case 0:
            return done.stdout
        case code if code in (NO_PANGO, NO_FONT):
            raise Refused("report.no_pdf" if code == NO_PANGO else "report.no_font")
        case code:
            said = done.stderr.decode(errors="replace")[-2_000:]
            raise RuntimeError(f"WeasyPrint ended with {code}: {said}")


# --- the page ---

_STYLE: Final = """
@page { size: A4; margin: 18mm 15mm 16mm;
  @bottom-left { content: string(where); font-size: 7.5pt; color: #667; }
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 7.5pt; color: #667; } }
html { font-family: %s, sans-serif; font-size: 9pt; line-height: 1.45; color: #1c2328; }
h1 { font-size: 19pt; margin: 0; letter-spacing: .04em; }
h1 + p { margin: 1mm 0 5mm; color: #556; }
h2 { font-size: 12pt; margin: 7mm 0 2mm; break-after: avoid; }
small { color: #667; font-size: 85%%; font-weight: normal; }
p.where { string-set: where content(); position: absolute; visibility: hidden; }
table { width: 100%%; border-collapse: collapse; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { padding: 1.1mm 1.6mm; text-align: left; vertical-align: top; }
th { border-bottom: 1pt solid #1c6e7d; font-weight: bold; }
td { border-bottom: .4pt solid #d5dbde; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th small { display: block; }
table.about th { width: 34mm; border: 0; padding-left: 0; color: #556; font-weight: normal; }
table.about td { border: 0; }
table.about th small { display: inline; }
p.note { color: #556; margin: 1.5mm 0 0; }
dt { font-weight: bold; margin-top: 2.2mm; break-after: avoid; }
dd { margin: 0; } dd.en { color: #556; font-size: 90%%; }
"""


def html(report: Report) -> str:
    """The report as a page; all that comes from outside is escaped."""
    title = escape(report.title.zh)
    where = f"{title} · 日志位置 Log position {report.position} · 网格 Wangge"
    style = _STYLE % ", ".join(f'"{font}"' for font in FONTS)
    parts = [
        f'<!DOCTYPE html><html lang="zh-CN"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="author" content="网格 Wangge"><style>{style}</style></head><body>',
        f'<p class="where">{where}</p>',
        f"<h1>{title}</h1><p>{escape(report.title.en)}</p>",
        '<table class="about">',
        *(
            f"<tr><th>{_word(word)}</th><td>{escape(value)}</td></tr>"
            for word, value in about(report)
        ),
        "</table>",
        *map(_table, report.tables),
        f"<h2>{_word(Word('指标定义', 'Definitions'))}</h2><dl>",
    ]
    for definition in report.definitions:
        left_out = excluded(definition) or Word("", "")
        parts += (
            f"<dt>{_word(definition.word)}</dt>",
            f"<dd>{escape(definition.formula.zh)}{escape(left_out.zh)}</dd>",
            f'<dd class="en">{escape(definition.formula.en)} {escape(left_out.en)}</dd>',
        )
    parts.append("</dl></body></html>")
    return "\n".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th{_side(c.shape)}>{_word(c.word)}</th>" for c in table.columns)
    rows = "\n".join(_row(row, table.columns) for row in table.rows)
    if not table.rows:
        rows = f'<tr><td colspan="{len(table.columns)}">无 <small>none</small></td></tr>'
    note = ""
    if table.note:
        note = f'<p class="note">{escape(table.note.zh)}<br>{escape(table.note.en)}</p>'
    return (
        f"<h2>{_word(table.word)}</h2>\n<table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table>{note}"
    )


def _row(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> str:
    cells = "".join(
        f"<td{_side(column.shape)}>{_cell(cell, column.shape)}</td>"
        for cell, column in zip(row, columns, strict=True)
    )
    return f"<tr>{cells}</tr>"


def _cell(cell: Cell, shape: Shape) -> str:
    return _word(cell) if isinstance(cell, Word) else escape(shown(cell, shape))


def _side(shape: Shape) -> str:
    return "" if shape in (Shape.TEXT, Shape.TIME) else ' class="n"'


def _word(word: Word) -> str:
    if word.zh == word.en:
        return escape(word.zh)
    return f"{escape(word.zh)} <small>{escape(word.en)}</small>"


# --- the program ---


def knows_chinese() -> bool:
    """Whether fontconfig knows a font with Chinese characters."""
    fontconfig = ctypes.CDLL("libfontconfig.so.1")
    fontconfig.FcNameParse.restype = ctypes.c_void_p
    fontconfig.FcObjectSetCreate.restype = ctypes.c_void_p
    fontconfig.FcFontList.restype = ctypes.POINTER(ctypes.c_int)
    fontconfig.FcFontList.argtypes = [ctypes.c_void_p] * 3
    pattern = fontconfig.FcNameParse(b":lang=zh-cn")
    found = fontconfig.FcFontList(None, pattern, fontconfig.FcObjectSetCreate())
    # The set begins with how many fonts there are in it.
    return bool(found) and found[0] > 0


def _print() -> int:
    """Write what comes in as a PDF."""
    try:
        import weasyprint
    except OSError:  # it looks for its libraries when it is imported
        return NO_PANGO
    if not knows_chinese():
        return NO_FONT

    def nothing(url: str, *_: Any, **__: Any) -> Any:
        raise ValueError(f"a report fetches nothing: {url}")

    page = sys.stdin.buffer.read().decode()
    made = weasyprint.HTML(string=page, url_fetcher=nothing).write_pdf()
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(_print())
