"""The map of the sample district: grids that adjoin without gaps, made up from the seed.

Six communities lie in two rows of three, each with its grids in two rows. Corners and the bends of
the streets between them are shared by the grids on both sides, so borders meet to the last digit.
"""

import math
from functools import cache
from random import Random
from typing import Final

from domain.territory import Boundary

CENTRE: Final = (118.21, 39.61)
"""Longitude and latitude in WGS-84 degrees of a place that is not meant."""

_ACROSS: Final = 0.0046  # degrees of longitude between the corners of a grid, some 400 m
_DOWN: Final = 0.0038  # degrees of latitude, some 420 m
_COMMUNITIES_IN_ROW: Final = 3
_ROWS_IN_COMMUNITY: Final = 2
_TURNED: Final = math.radians(9)

Point = tuple[float, float]


def boundary(community: int, number: int, grids: int) -> Boundary:
    """The boundary of a grid, the ``number``-th (from 0) of ``grids`` in a community."""
    column, row = _cell(community, number, grids)
    corners = ((column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1))
    ring: list[Point] = []
    for here, there in zip(corners, (*corners[1:], corners[0]), strict=True):
        ring += [_corner(*here), *_bends(here, there)]
    return ((*ring, ring[0]),)


def spot(community: int, number: int, grids: int, u: float, v: float) -> Point:
    """A place within a grid, for ``u`` and ``v`` from 0 to 1; it keeps away from the borders."""
    column, row = _cell(community, number, grids)
    u, v = 0.2 + 0.6 * u, 0.2 + 0.6 * v
    upper = _between(_corner(column, row), _corner(column + 1, row), u)
    lower = _between(_corner(column, row + 1), _corner(column + 1, row + 1), u)
    longitude, latitude = _between(upper, lower, v)
    return round(longitude, 6), round(latitude, 6)


def _cell(community: int, number: int, grids: int) -> tuple[int, int]:
    columns = math.ceil(grids / _ROWS_IN_COMMUNITY)
    return (
        community % _COMMUNITIES_IN_ROW * columns + number % columns,
        community // _COMMUNITIES_IN_ROW * _ROWS_IN_COMMUNITY + number // columns,
    )


@cache
def _corner(column: int, row: int) -> Point:
    """Where four grids meet: a corner of the lattice, shifted, and the whole turned a little."""
    chance = Random(column * 1000 + row)  # noqa: S311 - a sample, no secret
    x = column - 6 + chance.uniform(-0.17, 0.17) + 0.25 * math.sin(row * 1.3)
    y = row - 2 + chance.uniform(-0.17, 0.17) + 0.22 * math.sin(column * 0.55)
    return _degrees(x, y)


def _bends(here: tuple[int, int], there: tuple[int, int]) -> list[Point]:
    """The points between two corners, the same from either side."""
    if here > there:
        return _bends(there, here)[::-1]
    (ax, ay), (bx, by) = _corner(*here), _corner(*there)
    chance = Random(hash((*here, *there)))  # noqa: S311 - of numbers, so the same at any time
    bent = []
    for share in (0.34, 0.67):
        aside = chance.uniform(-0.05, 0.05)
        longitude = ax + (bx - ax) * share - (by - ay) * aside
        latitude = ay + (by - ay) * share + (bx - ax) * aside
        bent.append((round(longitude, 6), round(latitude, 6)))
    return bent


def _degrees(x: float, y: float) -> Point:
    east = x * math.cos(_TURNED) - y * math.sin(_TURNED)
    south = x * math.sin(_TURNED) + y * math.cos(_TURNED)
    return round(CENTRE[0] + east * _ACROSS, 6), round(CENTRE[1] - south * _DOWN, 6)


def _between(here: Point, there: Point, share: float) -> Point:
    return here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share
