"""Maps of grids (网格图): boundaries as the paths of one SVG, to scale, from the register alone.

No tiles and no service from elsewhere: offices have no internet. The projection is equirectangular
about the middle of what is shown, which is off by less than a thousandth over a city.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from domain.errors import Refused
from domain.territory import Boundary, Node, Ring, Territory

SIZE: Final = 1000.0
"""Units of the drawing along the longer side of what is shown, without the margin."""

MARGIN: Final = 24.0
LEVELS: Final = 5
"""Classes of shading, 1 to this; 0 is no shading. As many are in ``console.css``."""

_LEAST: Final = 0.0005
"""Degrees that are shown at least, about 50 m: the map of one spot is no point."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How degrees become units of the drawing: ``x = (longitude - west) * across``, and
    ``y = (north - latitude) * down``."""

    west: float
    north: float
    across: float
    down: float
    width: float
    height: float

    def x(self, longitude: float) -> float:
        """From the left edge of what is shown."""
        return round((longitude - self.west) * self.across, 1)

    def y(self, latitude: float) -> float:
        """From the upper edge of what is shown."""
        return round((self.north - latitude) * self.down, 1)

    @property
    def view_box(self) -> str:
        """What the SVG shows."""
        side = 2 * MARGIN
        return f"{-MARGIN:g} {-MARGIN:g} {self.width + side:.0f} {self.height + side:.0f}"


@dataclass(frozen=True, slots=True)
class Shape:
    """One grid: its outline, the middle of it for a label, and its class of shading."""

    path: str
    name: str
    d: str
    x: float
    y: float
    level: int
    note: str
    here: bool


@dataclass(frozen=True, slots=True)
class Map:
    """What is drawn. ``missing`` are the asked for whose boundary is not known, by their names."""

    frame: Frame
    shapes: tuple[Shape, ...]
    spot: tuple[float, float] | None
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.shapes) or self.spot is not None


def of(
    territory: Territory,
    paths: Iterable[str],
    on: date,
    spot: tuple[float, float] | None = None,
    levels: Mapping[str, int] | None = None,
    notes: Mapping[str, str] | None = None,
    here: str | None = None,
) -> Map:
    """The map of all grids within some territories as they are on a day.

    ``spot`` is (longitude, latitude) in WGS-84 degrees. ``levels`` shades grids by their paths,
    from 0 to ``LEVELS``, and ``notes`` is what their titles say after the name; ``here`` is the
    path of the one that stands out. Unknown paths and those not in force are left out.
    """
    found = {}
    for path in paths:
        for node in _grids(territory, path, on):
            found[node.path] = node
    drawn, missing = [], []
    for node in found.values():
        version = node.version(on)
        assert version is not None, node.path
        if _rings(version.boundary):
            drawn.append((node.path, version.name, _rings(version.boundary)))
        else:
            missing.append(version.name)
    points = [point for _, _, rings in drawn for point in rings[0]]
    frame = frame_of([*points, *([spot] if spot else [])])
    shapes = tuple(
        Shape(
            path=path,
            name=name,
            d=outline(frame, rings),
            x=frame.x(middle[0]),
            y=frame.y(middle[1]),
            level=min(max((levels or {}).get(path, 0), 0), LEVELS),
            note=(notes or {}).get(path, ""),
            here=path == here,
        )
        for path, name, rings in drawn
        for middle in (_middle(rings[0]),)
    )
    marker = (frame.x(spot[0]), frame.y(spot[1])) if spot else None
    return Map(frame, shapes, marker, tuple(missing))


def counted(values: Mapping[str, int]) -> tuple[dict[str, int], list[tuple[int, int, int]]]:
    """Classes of counts: of equal width up to the largest, none for 0.

    Returns the class of each path, and of each class its number, its least and its most.
    """
    width = max(1, math.ceil(max(values.values(), default=0) / LEVELS))
    levels = {path: math.ceil(value / width) for path, value in values.items()}
    most = max(levels.values(), default=0)
    return levels, [(n, (n - 1) * width + 1, n * width) for n in range(1, most + 1)]


RATES: Final = (0.6, 0.7, 0.8, 0.9)
"""Where classes of rates end: always the same, so that maps of two months can be compared."""


def rated(values: Mapping[str, float]) -> dict[str, int]:
    """Classes of rates from 0 to 1; a rate of exactly 0.6 is in the second."""
    return {path: 1 + sum(value >= end for end in RATES) for path, value in values.items()}


def outline(frame: Frame, rings: tuple[Ring, ...]) -> str:
    """The data of an SVG path; holes are left out by the rule ``evenodd``."""
    return "".join(
        "M" + "L".join(f"{frame.x(lon):g} {frame.y(lat):g}" for lon, lat in ring[:-1]) + "Z"
        for ring in rings
    )


def frame_of(points: list[tuple[float, float]]) -> Frame:
    """The frame in which all points lie, and the longer side of which is ``SIZE``."""
    if not points:
        return Frame(0.0, 0.0, 1.0, 1.0, SIZE, SIZE)
    west, east = _stretched(min(x for x, _ in points), max(x for x, _ in points))
    south, north = _stretched(min(y for _, y in points), max(y for _, y in points))
    narrower = max(math.cos(math.radians((south + north) / 2)), 0.01)
    down = SIZE / max((east - west) * narrower, north - south)
    across = down * narrower
    return Frame(west, north, across, down, (east - west) * across, (north - south) * down)


def _stretched(least: float, most: float) -> tuple[float, float]:
    short = max(_LEAST - (most - least), 0.0) / 2
    return least - short, most + short


def _grids(territory: Territory, path: str, on: date) -> Iterable[Node]:
    try:
        return territory.grids(path, on)
    except Refused:
        return ()


def _rings(boundary: Boundary | None) -> tuple[Ring, ...]:
    """What can be drawn; a map kept elsewhere cannot."""
    return boundary if isinstance(boundary, tuple) else ()


def _middle(ring: Ring) -> tuple[float, float]:
    """The centre of gravity of what a ring encloses; that of its points where that is nothing."""
    west, south = ring[0]
    area = x = y = 0.0
    # About a corner of its own, or the small differences drown in large numbers.
    near = [(lon - west, lat - south) for lon, lat in ring]
    for (ax, ay), (bx, by) in pairwise(near):
        cross = ax * by - bx * ay
        area, x, y = area + cross, x + (ax + bx) * cross, y + (ay + by) * cross
    if abs(area) < 1e-15:
        return (sum(p[0] for p in ring) / len(ring), sum(p[1] for p in ring) / len(ring))
    return west + x / (3 * area), south + y / (3 * area)
