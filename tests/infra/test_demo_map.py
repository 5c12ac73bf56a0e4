"""The sample's map: grids that adjoin, and places that lie in theirs and in no other."""

from itertools import pairwise, product

from domain.territory import encloses
from infra import demo, demo_map

GRIDS = list(product(range(6), range(demo.GRIDS)))


def test_every_spot_lies_in_its_own_grid_alone() -> None:
    boundaries = {grid: demo_map.boundary(*grid, demo.GRIDS) for grid in GRIDS}
    for grid, u, v in product(GRIDS, (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)):
        spot = demo_map.spot(*grid, demo.GRIDS, u, v)
        assert [each for each, ring in boundaries.items() if encloses(ring, *spot)] == [grid]


def test_borders_meet_to_the_last_digit() -> None:
    sides: dict[frozenset[tuple[float, float]], int] = {}
    for grid in GRIDS:
        boundary = demo_map.boundary(*grid, demo.GRIDS)
        assert isinstance(boundary, tuple)
        (ring,) = boundary
        assert ring[0] == ring[-1]
        for here, there in pairwise(ring):
            side = frozenset((here, there))
            sides[side] = sides.get(side, 0) + 1
    assert set(sides.values()) == {1, 2}
    # Twelve grids by four, three pieces a side; only the outermost sides belong to one grid.
    assert list(sides.values()).count(1) == 3 * 2 * (12 + 4)
