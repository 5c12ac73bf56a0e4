"""The formulas, checked against figures worked out by hand."""

import pytest

from domain.metrics import Ratio, change, gini, rounded, variation


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


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        # Exact halves go away from zero: Python's own formats make 6.2, 0.12, -0.12 and 2 of these.
        (6.25, 1, "6.3"),
        (0.125, 2, "0.13"),
        (-0.125, 2, "-0.13"),
        (2.5, 0, "3"),
        # Halves as they are written, though not as they are stored.
        (0.145, 2, "0.15"),
        (1.005, 2, "1.01"),
        (0.144, 2, "0.14"),
        (-0.001, 2, "0.00"),
        (1e-9, 2, "0.00"),
        (7, 1, "7.0"),
        (123456789.5, 0, "123456790"),
    ],
)
def test_halves_are_rounded_up(value: float, digits: int, shown: str) -> None:
    assert str(rounded(value, digits)) == shown


def test_a_change_is_reckoned_exactly() -> None:
    def of(n: int, d: int) -> Ratio:
        return Ratio(numerator=n, denominator=d)

    assert change(of(27, 200), of(1, 10)) == 0.035  # 0.135 - 0.1 is 0.03500000000000001
    assert change(of(1, 3), of(1, 3)) == 0
    assert change(of(0, 0), of(1, 3)) is None
    assert change(of(1, 3), of(0, 0)) is None
