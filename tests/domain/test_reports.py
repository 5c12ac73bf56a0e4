"""Which days a report is about, and what it is called."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from domain.calendar import OFFICE_TIME, office_time
from domain.reports import Period, Report, Span, compared
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
        ("quarterly", "2026-03-31", "2026-01-01", "2026-04-01", "2025-10-01"),
        ("quarterly", "2026-07-01", "2026-07-01", "2026-10-01", "2026-04-01"),
        ("quarterly", "2026-12-31", "2026-10-01", "2027-01-01", "2026-07-01"),
        ("yearly", "2028-02-29", "2028-01-01", "2029-01-01", "2027-01-01"),
        ("yearly", "2026-12-31", "2026-01-01", "2027-01-01", "2025-01-01"),
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


@pytest.mark.parametrize(
    ("since", "until", "at", "before"),
    [
        # A period that is over is compared with all of the one before, however long each is.
        ("2026-04-01", "2026-05-01", "2026-06-10", ("2026-03-01", "2026-04-01")),
        ("2026-03-01", "2026-04-01", "2026-04-01", ("2026-02-01", "2026-03-01")),
        ("2026-01-01", "2027-01-01", "2027-01-05", ("2025-01-01", "2026-01-01")),
        ("2026-04-01", "2026-07-01", "2026-07-01", ("2026-01-01", "2026-04-01")),
        ("2026-03-02", "2026-03-09", "2026-03-09", ("2026-02-23", "2026-03-02")),
        ("2026-03-02", "2026-03-03", "2026-03-09", ("2026-03-01", "2026-03-02")),
        # One that is not over, with as much as there is of it, and no more than there was before.
        ("2026-03-01", "2026-04-01", "2026-03-11", ("2026-02-01", "2026-02-11")),
        ("2026-03-01", "2026-04-01", "2026-03-31", ("2026-02-01", "2026-03-01")),
        ("2026-03-02", "2026-03-09", "2026-03-05", ("2026-02-23", "2026-02-26")),
        ("2026-01-01", "2027-01-01", "2026-01-03", ("2025-01-01", "2025-01-03")),
        # Anything else, with what is as long and just before.
        ("2026-03-01", "2026-03-11", "2026-06-10", ("2026-02-19", "2026-03-01")),
        ("2026-03-01", "2026-03-31", "2026-03-11", ("2026-02-19", "2026-03-01")),
        ("2026-03-03", "2026-03-10", "2026-06-10", ("2026-02-24", "2026-03-03")),
        # What has not begun is compared with nothing.
        ("2026-03-01", "2026-04-01", "2026-03-01", None),
        ("2026-03-01", "2026-04-01", "2026-02-01", None),
        ("2026-03-02", "2026-03-01", "2026-06-10", None),
    ],
)
def test_what_a_window_is_compared_with(
    since: str, until: str, at: str, before: tuple[str, str] | None
) -> None:
    first, end, now = (
        datetime.fromisoformat(day).replace(tzinfo=OFFICE_TIME).astimezone(UTC)
        for day in (since, until, at)
    )
    found = compared(first, end, now)
    assert (found and tuple(str(office_time(each).date()) for each in found)) == before


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
    assert replace(report, at=at.astimezone(UTC)).moment == "7@2026-03-03T00:00:00+08:00"
