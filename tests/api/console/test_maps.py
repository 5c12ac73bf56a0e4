"""Maps of grids: to scale, in the frame, and honest about what is not known."""

import re
from datetime import date

import pytest

from api.console import maps
from domain import territory as t
from domain.places import EVERYWHERE, Tier
from domain.roles import system
from tests.domain.schedules import local

DAY = date(2026, 3, 2)
SQUARE: t.Boundary = (
    ((121.0, 31.0), (121.01, 31.0), (121.01, 31.01), (121.0, 31.01), (121.0, 31.0)),
)
BESIDE: t.Boundary = (((121.01, 31.0), (121.02, 31.0), (121.02, 31.01), (121.01, 31.0)),)


def created(tier: Tier, parent: str, code: str, boundary: t.Boundary | None = None) -> t.Command:
    at = local("2026-03-01 08:00")
    return t.CreateTerritory(
        by=system("setup"), at=at, id=code, tier=tier, parent=parent, name=f"名{code}",
        effective=DAY, boundary=boundary,
    )  # fmt: skip


@pytest.fixture
def tree() -> t.Territory:
    """One community with four grids: two drawn, one by reference, one without a boundary."""
    state = t.initial
    for command in (
        created(Tier.DISTRICT, EVERYWHERE, "d"),
        created(Tier.SUBDISTRICT, "d/", "s"),
        created(Tier.COMMUNITY, "d/s/", "c"),
        created(Tier.GRID, "d/s/c/", "g1", SQUARE),
        created(Tier.GRID, "d/s/c/", "g2", BESIDE),
        created(Tier.GRID, "d/s/c/", "g3", "map-7"),
        created(Tier.GRID, "d/s/c/", "g4"),
    ):
        for event in t.decide(state, command):
            state = t.evolve(state, event)
    return state


def test_grids_are_drawn_to_scale_and_within_the_frame(tree: t.Territory) -> None:
    drawn = maps.of(tree, ["d/s/"], DAY)
    assert [shape.path for shape in drawn.shapes] == ["d/s/c/g1/", "d/s/c/g2/"]
    numbers = [float(n) for shape in drawn.shapes for n in re.findall(r"[\d.]+", shape.d)]
    assert min(numbers) == 0
    assert max(numbers) == maps.SIZE
    # 0.02° of longitude at 31° north are as long as 0.0171° of latitude: 0.01° high.
    assert drawn.frame.height / drawn.frame.width == pytest.approx(0.01 / (0.02 * 0.8571), rel=1e-3)
    assert drawn.shapes[0].x == pytest.approx(maps.SIZE / 4)
    assert drawn.missing == ("名g3", "名g4")


def test_a_map_has_levels_a_spot_and_one_that_stands_out(tree: t.Territory) -> None:
    drawn = maps.of(
        tree,
        ["d/s/c/"],
        DAY,
        spot=(121.005, 31.005),
        levels={"d/s/c/g1/": 9, "d/s/c/g2/": 2},
        notes={"d/s/c/g2/": "12 件"},
        here="d/s/c/g1/",
    )
    assert [(s.level, s.note, s.here) for s in drawn.shapes] == [(5, "", True), (2, "12 件", False)]
    assert drawn.spot == (drawn.shapes[0].x, drawn.shapes[0].y)


def test_nothing_known_is_no_map_and_no_failure(tree: t.Territory) -> None:
    assert not maps.of(tree, ["d/s/c/g4/"], DAY)
    assert not maps.of(tree, ["elsewhere/"], DAY)
    assert not maps.of(tree, ["d/s/"], date(2026, 3, 1))
    assert maps.of(tree, ["d/s/c/g4/"], DAY, spot=(121.0, 31.0))
