"""The bar of a case's time limit, on the limit's own clock."""

from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from typing import Any

import pytest

from api.console.clock import Bar, bar
from domain.history import Recorded
from domain.sla import Limit, Unit, reckon
from projections import worklist
from projections.worklist import CaseRow
from tests import samples
from tests.domain.schedules import SHORT, local

FOUR_HOURS = Limit(4, Unit.WORKING_HOUR)
SHORTENED = replace(samples.CALENDAR, changes={date(2026, 5, 1): SHORT})


def row(state: str = "filed", **changes: Any) -> CaseRow:
    """A case of four working hours that is due on the day of its report, 15:02."""
    events = [
        Recorded(n, f"case:{samples.CASE}", n, event, at=event.at, actor="li")
        for n, event in enumerate(samples.history(state), 1)
    ]
    made = reduce(worklist.fold, events, None)
    assert made is not None
    return replace(made, **changes)


def shown(row: CaseRow, limit: Limit | None = FOUR_HOURS, **after: float) -> Bar:
    """The bar so long after the start."""
    return bar(samples.CALENDAR, row, limit, samples.START + timedelta(**after))


def test_it_runs_on_working_time() -> None:
    at_noon = shown(row(), hours=3)  # 12:00: two hours and 58 minutes are gone
    after_noon = shown(row(), hours=5)  # 14:00
    assert (at_noon.standing, at_noon.left) == ("running", 3600 + 120)
    assert after_noon == at_noon
    assert at_noon.used == pytest.approx((4 * 3600 - 3720) / (4 * 3600))


def test_it_is_nearly_due_when_three_quarters_are_gone() -> None:
    assert shown(row(), hours=5, minutes=3).standing == "soon"


def test_late_is_counted_in_working_time_too() -> None:
    late = shown(row(), days=1)  # 9:00 of the next day: 2 h 28 min and half an hour
    assert (late.standing, late.left, late.used) == ("late", -(2 * 3600 + 58 * 60), 1.0)


def test_a_limit_of_hours_runs_through_the_night() -> None:
    by_hours = shown(row(), Limit(6, Unit.HOUR), days=1)
    assert (by_hours.left, by_hours.worked) == (-(17 * 3600 + 58 * 60), None)


def test_working_days_count_as_days_when_the_hours_change() -> None:
    """Three days are left, whether each has seven hours or six, and half of the limit is gone."""
    start = local("2026-04-28 08:30")
    limit = Limit(6, Unit.WORKING_DAY)
    due = reckon(SHORTENED, start, limit).at
    assert due == local("2026-05-08 17:30")
    case = row(due=due)

    def at(text: str) -> Bar:
        return bar(SHORTENED, case, limit, local(text))

    filed, half, late = at("2026-04-28 08:30"), at("2026-04-30 17:30"), at("2026-05-11 14:00")
    assert (filed.used, filed.worked, filed.left) == (0, (6, 0), (3 * 7 + 3 * 6) * 3600)
    assert (half.used, half.worked, half.left) == (0.5, (3, 0), 3 * 6 * 3600)
    # On Saturday 9, which is worked, and on Monday until the break.
    assert (late.used, late.worked, late.left) == (1, (1, 3.5 * 3600), -(6 + 3.5) * 3600)


def test_without_its_limit_the_share_is_not_told() -> None:
    assert shown(row(), None, hours=1).used is None


@pytest.mark.parametrize(
    ("state", "changes", "standing"),
    [
        ("reported", {}, "none"),
        ("parked", {}, "parked"),
        ("closed", {}, "kept"),
        ("closed", {"breached": True}, "broken"),
        ("void", {}, "none"),
        ("filed", {"breached": True}, "late"),
    ],
)
def test_where_the_clock_does_not_run(state: str, changes: Any, standing: str) -> None:
    assert shown(row(state, **changes), hours=1).standing == standing
