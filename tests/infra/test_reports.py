"""One report in three forms: the same bytes every time, text that can be searched, no formulas."""

import csv
import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pypdf
import pytest
from python_calamine import CalamineWorkbook

from domain.calendar import OFFICE_TIME
from domain.errors import Overloaded, Refused
from domain.reports import Column, Definition, Period, Report, Shape, Table
from domain.words import Word
from infra.reports import FORMS, paper, render, shown
from tests.files import demand_printer

SINCE = datetime(2026, 10, 1, tzinfo=OFFICE_TIME)
FILED = SINCE + timedelta(hours=10, minutes=30)
FORMULA = '=HYPERLINK("http://example.com";"点我")'

REPORT = Report(
    period=Period.MONTHLY,
    territory="d1/s1/",
    names=("示范区", "春风街道"),
    since=SINCE,
    until=SINCE + timedelta(days=31),
    earlier=(SINCE - timedelta(days=30), SINCE),
    position=24_491,
    at=datetime(2026, 11, 2, 9, 5, 7, tzinfo=OFFICE_TIME),
    tables=(
        Table(
            word=Word("办理情况", "Work"),
            columns=(
                Column(Word("项目", "item")),
                Column(Word("本期", "this period"), Shape.COUNT),
                Column(Word("增减", "change"), Shape.CHANGE),
                Column(Word("比率", "rate"), Shape.RATE),
                Column(Word("百分点", "points"), Shape.POINTS),
                Column(Word("天数", "days"), Shape.NUMBER),
            ),
            rows=[
                (Word("结案", "Closed"), 911, -12, 911 / 972, -0.0123, 3.25),
                (FORMULA, 0, 0, None, None, 7),
                ("@某网格", 1, 3, 1.0, 0.01, None),
            ],
            note=Word("截至日志位置。", "As of the position."),
        ),
        Table(
            word=Word("超期未结", "Open and overdue"),
            columns=(
                Column(Word("事项编号", "case")),
                Column(Word("立案时间", "filed"), Shape.TIME),
            ),
            rows=[("20261123-T42IKREP", FILED), ("<b>&", FILED)],
        ),
        Table(word=Word("空表", "Empty"), columns=(Column(Word("项目", "item")),), rows=()),
    ),
    definitions=(
        Definition(
            Word("按期结案率", "On-time closure"),
            Word("按期结案 ÷ 应结案。", "Closed on time ÷ due."),
            (Word("已作废", "void"), Word("已并案", "merged")),
        ),
        Definition(Word("结案率", "Closure"), Word("结案 ÷ 应结案。", "Closed ÷ due."), ()),
    ),
)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_report_is_the_same_file(form: str) -> None:
    if form == "pdf":
        demand_printer()
    first = render(REPORT, form)
    assert render(REPORT, form) == first
    assert render(replace(REPORT, position=24_492), form) != first


def test_a_pdf_can_be_searched_in_chinese() -> None:
    demand_printer()
    document = pypdf.PdfReader(io.BytesIO(render(REPORT, "pdf")))
    text = "".join(page.extract_text() for page in document.pages)
    for words in (
        *("春风街道社区治理月报", "办理情况", "超期未结", "按期结案率", "按期结案 ÷ 应结案。"),
        *("日志位置", "24491", "93.72%", "20261123-T42IKREP", "2026-10-01 10:30", "<b>&"),
        *("不计入：已作废、已并案。", "Closed on time ÷ due.", FORMULA),
    ):
        assert words in text, words
    assert document.metadata is not None
    assert document.metadata.title == "春风街道社区治理月报"
    assert document.metadata.creation_date is None  # it would be another one every time
    pages: list[Any] = list(document.pages)
    fonts = {
        font.get_object()["/BaseFont"]
        for page in pages
        for font in page["/Resources"]["/Font"].values()
    }
    assert all("+" in font for font in fonts)  # each is embedded, as far as it is used


def test_csv_is_safe_to_open() -> None:
    content = render(REPORT, "csv")
    assert content.startswith(b"\xef\xbb\xbf")  # else spreadsheets take it for GBK
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert ["日志位置 Log position", "24491"] in rows
    assert ["结案 Closed", "911", "-12", "93.72%", "-1.23", "3.25"] in rows
    assert [f"'{FORMULA}", "0", "0", "–", "–", "7"] in rows
    assert ["'@某网格", "1", "+3", "100.00%", "+1.00", "–"] in rows
    assert ["20261123-T42IKREP", "2026-10-01 10:30"] in rows
    left_out = "不计入：已作废、已并案。"
    assert ["按期结案率", "按期结案 ÷ 应结案。", left_out] in rows
    assert ["Closure", "Closed ÷ due.", ""] in rows


def test_xlsx_holds_numbers_and_no_formulas() -> None:
    book = CalamineWorkbook.from_filelike(io.BytesIO(render(REPORT, "xlsx")))
    assert book.sheet_names == ["说明", "办理情况", "超期未结", "空表", "指标定义"]
    cover = book.get_sheet_by_name("说明").to_python()
    assert cover[0][0] == "春风街道社区治理月报"
    assert ["日志位置 Log position", "24491"] in [row[:2] for row in cover]
    work = book.get_sheet_by_name("办理情况").to_python()
    assert work[1] == ["结案 Closed", 911.0, -12.0, 911 / 972, -1.23, 3.25]
    assert work[2][0] == FORMULA
    assert work[2][3] == "–"
    overdue = book.get_sheet_by_name("超期未结").to_python()
    assert overdue[1] == ["20261123-T42IKREP", FILED.replace(tzinfo=None)]


def test_numbers_in_xlsx_read_as_on_paper() -> None:
    """With ``0.##`` Excel shows 7 as "7." and nothing else does."""
    made = zipfile.ZipFile(io.BytesIO(render(REPORT, "xlsx")))
    xml = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    styles = ElementTree.fromstring(made.read("xl/styles.xml"))
    own = {
        each.get("numFmtId"): each.get("formatCode") for each in styles.iterfind(".//s:numFmt", xml)
    }
    built_in = {"3": "#,##0", "4": "#,##0.00"}
    ids = [each.get("numFmtId") for each in styles.iterfind("s:cellXfs/s:xf", xml)]
    sheet = ElementTree.fromstring(made.read("xl/worksheets/sheet2.xml"))
    cells = {each.get("r"): int(each.get("s", 0)) for each in sheet.iterfind(".//s:c", xml)}
    formats = [(own | built_in).get(ids[cells[cell]]) for cell in ("B2", "F2", "F3")]
    assert formats == ["#,##0", "#,##0.00", "#,##0"]


def test_how_cells_read() -> None:
    assert shown(None, Shape.COUNT) == "–"
    assert shown(Word("网格", "网格"), Shape.TEXT) == "网格"
    assert shown(0.5, Shape.RATE) == "50.00%"
    # Halves up, as a spreadsheet shows the numbers of the XLSX.
    assert shown(0.00125, Shape.RATE) == "0.13%"
    assert shown(-0.00125, Shape.POINTS) == "-0.13"
    assert shown(0.125, Shape.NUMBER) == "0.13"
    assert shown(SINCE, Shape.TIME) == "2026-10-01 00:00"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    demand_printer()
    empty = folder / "fonts.conf"
    empty.write_text(f"<fontconfig><dir>{folder}</dir></fontconfig>")
    with monkeypatch.context() as without_fonts:
        without_fonts.setenv("FONTCONFIG_FILE", str(empty))
        with pytest.raises(Refused, match="fonts-noto-cjk") as refused:
            render(REPORT, "pdf")
        assert refused.value.code == "report.no_font"
    # As where Pango is not installed: WeasyPrint cannot even be imported.
    (folder / "weasyprint.py").write_text("raise OSError('cannot load library libpango-1.0')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with pytest.raises(Refused, match="libpango") as refused:
        render(REPORT, "pdf")
    assert refused.value.code == "report.no_pdf"


def test_no_more_wait_than_there_is_room_for() -> None:
    demand_printer()
    for _ in range(paper.WAITING):
        assert paper._room.acquire(blocking=False)
    try:
        with pytest.raises(Overloaded):
            render(REPORT, "pdf")
    finally:
        for _ in range(paper.WAITING):
            paper._room.release()
    assert render(REPORT, "pdf").startswith(b"%PDF")


def test_a_server_does_not_carry_what_writes_pdf() -> None:
    demand_printer()
    program = (
        "import sys; from infra.reports import render; from tests.infra.test_reports import REPORT;"
        "render(REPORT, 'pdf'); print('weasyprint' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
