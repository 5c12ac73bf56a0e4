"""Formulas of the figures (domain words: 指标), apart from where their numbers are counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import sqrt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A rate that shows what it was made of; ``value`` is None where nothing was counted."""

    numerator: int
    denominator: int

    @property
    def value(self) -> float | None:
        """Numerator over denominator, 0 to 1."""
        return self.numerator / self.denominator if self.denominator else None


def change(now: Ratio, before: Ratio) -> float | None:
    """By how much a rate has changed, of one; None where either counted nothing.

    It is reckoned exactly: a difference of two rounded rates need not round as it should.
    """
    if not (now.denominator and before.denominator):
        return None
    rates = (Fraction(each.numerator, each.denominator) for each in (now, before))
    return float(next(rates) - next(rates))


def rounded(value: float, digits: int) -> Decimal:
    """A number to so many decimals, halves away from zero, as spreadsheets and browsers have it.

    It is taken as the decimal that it is written as: 0.145 is a half, whatever its bits say.
    """
    step = Decimal(1).scaleb(-digits)
    return Decimal(repr(value)).quantize(step, ROUND_HALF_UP) + 0  # there is no −0


def gini(values: Sequence[float]) -> float | None:
    """How unequal a load is: 0 for equal shares, towards 1 for all on one. None when all is zero.

    Σ(2i − n − 1)·x₍ᵢ₎ / (n·Σx), the values in ascending order, i from 1.
    """
    total, n = sum(values), len(values)
    if total == 0:
        return None
    ordered = sorted(values)
    return sum((2 * i - n - 1) * x for i, x in enumerate(ordered, 1)) / (n * total)


def variation(values: Sequence[float]) -> float | None:
    """Coefficient of variation: population standard deviation over mean. None when all is zero."""
    total, n = sum(values), len(values)
    if total == 0:
        return None
    mean = total / n
    return sqrt(sum((x - mean) ** 2 for x in values) / n) / mean
