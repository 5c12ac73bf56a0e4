"""The formulas, checked against figures worked out by hand."""

import pytest

from domain.metrics import Ratio, gini, variation


def test_a_ratio_shows_what_it_was_made_of() -> None:
    assert Ratio(numerator=911, denominator=972).value == pytest.approx(0.9372, abs=5e-5)
    assert Ratio(numerator=0, denominator=0).value is None


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([1, 1, 1, 1], 0.0),
        ([0, 0, 0, 4], 0.75),
        ([1, 2, 3, 4], 0.25),
        ([4, 3, 2, 1], 0.25),
        ([5], 0.0),
        ([0, 0], None),
        ([], None),
    ],
)
def test_gini(loads: list[float], expected: float | None) -> None:
    assert gini(loads) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("loads", "expected"),
    [([2, 2], 0.0), ([0, 2], 1.0), ([2, 4, 4, 4, 5, 5, 7, 9], 0.4), ([0], None), ([], None)],
)
def test_variation(loads: list[float], expected: float | None) -> None:
    assert variation(loads) == (None if expected is None else pytest.approx(expected))
