"""Which days a report is about, and what it is called."""

from datetime import date, datetime

import pytest

from domain.calendar import OFFICE_TIME
from domain.reports import Period, Report, Span
from domain.words import Word


@pytest.mark.parametrize(
    ("period", "day", "first", "end", "before"),
    [
        ("daily", "2026-03-01", "2026-03-01", "2026-03-02", "2026-02-28"),
        ("weekly", "2026-03-02", "2026-03-02", "2026-03-09", "2026-02-23"),
        ("weekly", "2026-03-08", "2026-03-02", "2026-03-09", "2026-02-23"),
        ("weekly", "2027-01-01", "2026-12-28", "2027-01-04", "2026-12-21"),
        ("monthly", "2028-02-29", "2028-02-01", "2028-03-01", "2028-01-01"),
        ("monthly", "2026-12-31", "2026-12-01", "2027-01-01", "2026-11-01"),
        ("monthly", "2027-01-31", "2027-01-01", "2027-02-01", "2026-12-01"),
    ],
)
def test_the_period_around_a_day(period: str, day: str, first: str, end: str, before: str) -> None:
    on = date.fromisoformat(day)
    span = Period(period).around(on)
    assert span == Span(date.fromisoformat(first), date.fromisoformat(end))
    assert Period(period).before(on) == Span(date.fromisoformat(before), span.first)


def test_days_are_those_of_the_office() -> None:
    span = Period.DAILY.around(date(2026, 3, 2))
    assert span.since.isoformat() == "2026-03-02T00:00:00+08:00"
    assert span.until.isoformat() == "2026-03-03T00:00:00+08:00"


def test_a_report_is_called_after_its_territory() -> None:
    at = datetime(2026, 3, 3, tzinfo=OFFICE_TIME)
    report = Report(
        period=Period.WEEKLY,
        territory="d1/s1/",
        names=("示范区", "春风街道"),
        since=at,
        until=at,
        earlier=(at, at),
        position=7,
        at=at,
        tables=(),
        definitions=(),
    )
    assert report.title == Word("春风街道社区治理周报", "Weekly report of 春风街道")
