"""The bar of a case's time limit, on the limit's own clock."""

from dataclasses import replace
from datetime import timedelta
from functools import reduce
from typing import Any

import pytest

from api.console.clock import Bar, bar
from domain.history import Recorded
from domain.sla import Limit, Unit
from projections import worklist
from projections.worklist import CaseRow
from tests import samples

FOUR_HOURS = Limit(4, Unit.WORKING_HOUR)


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
    assert (by_hours.left, by_hours.working) == (-(17 * 3600 + 58 * 60), False)


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
