"""Reports for spreadsheets: CSV, and XLSX with numbers that can be reckoned with."""

import io
from csv import writer
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from domain.calendar import OFFICE_TIME
from domain.reports import Cell, Extract, Report, Shape, Table
from domain.words import Word
from infra.reports import NOTHING, about, excluded, shown

DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula, at its beginning."""


def csv(report: Report | Extract) -> bytes:
    """One table after another, in UTF-8 with the mark that spreadsheets look for."""
    out = io.StringIO(newline="")
    rows = writer(out)

    def write(*cells: str) -> None:
        rows.writerow([harmless(cell) for cell in cells])

    write(*report.title)
    for word, value in about(report):
        write(_both(word), value)
    for table in report.tables:
        write()
        write(_both(table.word))
        write(*(_both(column.word) for column in table.columns))
        for row in table.rows:
            # A number is a number, also where it begins with a minus.
            rows.writerow(
                [
                    shown(cell, column.shape)
                    if isinstance(cell, int | float)
                    else harmless(shown(cell, column.shape))
                    for cell, column in zip(row, table.columns, strict=True)
                ]
            )
        if table.note:
            write(*table.note)
    if report.definitions:
        write()
        write("指标定义 Definitions")
    for definition in report.definitions:
        left_out = excluded(definition)
        for language in (0, 1):
            write(
                definition.word[language],
                definition.formula[language],
                left_out[language] if left_out else "",
            )
    return ("\ufeff" + out.getvalue()).encode()


def harmless(text: str) -> str:
    """A text that no spreadsheet runs as a formula: an apostrophe goes before what could be one."""
    return f"'{text}" if text.startswith(DANGEROUS) else text


def _both(word: Word) -> str:
    return shown(word, Shape.TEXT)


_NUMBER_FORMATS: Final = {
    Shape.TEXT: "@",
    Shape.COUNT: "#,##0",
    Shape.CHANGE: "+#,##0;-#,##0;0",
    Shape.RATE: "0.00%",
    Shape.POINTS: "+0.00;-0.00;0.00",
    Shape.NUMBER: "#,##0.00",
    Shape.TIME: "yyyy-mm-dd hh:mm",
}


def xlsx(report: Report | Extract) -> bytes:
    """A sheet for each table, before them what they are about, behind them the definitions."""
    out = io.BytesIO()
    safe = {"strings_to_formulas": False, "strings_to_urls": False}
    # A long list is written row by row, and not held.
    safe |= {"constant_memory" if isinstance(report, Extract) else "in_memory": True}
    with Workbook(out, safe | {"default_date_format": _NUMBER_FORMATS[Shape.TIME]}) as book:
        # The time of the log, not of the clock: asked again, the same file.
        created = report.at.astimezone(OFFICE_TIME).replace(tzinfo=None, microsecond=0)
        book.set_properties({"title": report.title.zh, "author": "Wangge", "created": created})
        paper = _Paper(book)
        paper.cover(report)
        for table in report.tables:
            paper.table(table)
        if report.definitions:
            paper.definitions(report)
    return out.getvalue()


class _Paper:
    """The sheets of a workbook, and how their cells look."""

    def __init__(self, book: Workbook) -> None:
        self._book = book
        base = {"font_name": "Microsoft YaHei", "font_size": 10, "valign": "vcenter"}
        self._plain = book.add_format(base)
        self._wrapped = book.add_format(base | {"text_wrap": True, "valign": "top"})
        self._quiet = book.add_format(base | {"font_color": "#666666", "text_wrap": True})
        self._title = book.add_format(base | {"bold": True, "font_size": 16})
        self._head = book.add_format(
            base | {"bold": True, "bg_color": "#EEF2F4", "bottom": 1, "text_wrap": True}
        )
        self._shapes = {
            shape: book.add_format(base | {"num_format": form})
            for shape, form in _NUMBER_FORMATS.items()
        }

    def cover(self, report: Report | Extract) -> None:
        """What the report is about."""
        sheet = self._sheet("说明", (18, 72))
        sheet.write_string(0, 0, report.title.zh, self._title)
        sheet.write_string(1, 0, report.title.en, self._plain)
        for number, (word, value) in enumerate(about(report), 3):
            sheet.write_string(number, 0, _both(word), self._head)
            sheet.write_string(number, 1, value, self._plain)

    def table(self, table: Table) -> None:
        """A table on a sheet of its own, its heading always in sight."""
        widths = [30 if column.shape is Shape.TEXT else 14 for column in table.columns]
        sheet = self._sheet(table.word.zh, widths)
        for number, column in enumerate(table.columns):
            sheet.write_string(0, number, _both(column.word), self._head)
        line = 0
        for line, row in enumerate(table.rows, 1):
            for number, (cell, column) in enumerate(zip(row, table.columns, strict=True)):
                self._cell(sheet, line, number, cell, column.shape)
        if table.note:
            below = line + 2
            sheet.write_string(below, 0, table.note.zh, self._quiet)
            sheet.write_string(below + 1, 0, table.note.en, self._quiet)
        sheet.freeze_panes(1, 1)

    def definitions(self, report: Report | Extract) -> None:
        """What the figures mean."""
        sheet = self._sheet("指标定义", (28, 80, 40))
        for number, word in enumerate(("指标 Figure", "算法 Formula", "不计入 Left out")):
            sheet.write_string(0, number, word, self._head)
        line = 1
        for definition in report.definitions:
            left_out = excluded(definition)
            for language in (0, 1):
                sheet.write_string(line, 0, definition.word[language], self._wrapped)
                sheet.write_string(line, 1, definition.formula[language], self._wrapped)
                sheet.write_string(line, 2, left_out[language] if left_out else "", self._wrapped)
                line += 1

    def _sheet(self, name: str, widths: Any) -> Worksheet:
        sheet = self._book.add_worksheet(name)
        for number, width in enumerate(widths):
            sheet.set_column(number, number, width)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        return sheet

    def _cell(self, sheet: Worksheet, row: int, column: int, cell: Cell, shape: Shape) -> None:
        form: Format = self._shapes[shape]
        match cell:
            case None:
                sheet.write_string(row, column, NOTHING, self._plain)
            case Word() | str():
                sheet.write_string(row, column, shown(cell, shape), self._plain)
            case datetime():
                local = cell.astimezone(OFFICE_TIME).replace(tzinfo=None)
                sheet.write_datetime(row, column, local, form)
            case _:
                if shape is Shape.NUMBER and isinstance(cell, int):
                    form = self._shapes[Shape.COUNT]  # whole, without a point at its end
                value = float(Decimal(repr(cell)) * 100) if shape is Shape.POINTS else cell
                sheet.write_number(row, column, value, form)
