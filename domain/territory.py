"""The tree of territories (属地): districts, subdistricts, communities, grids, all effective-dated.

A territory has versions. A change names the day from which it holds, which may lie ahead; what was
in force on an earlier day stays known, so an old case keeps the version of the grid it was filed
in. A grid that is split or merged ends on such a day and names its successors; its path is never
used again. Only grids end.

Days are those of the office, and an end is the first day on which something holds no longer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Final, assert_never

from domain.calendar import office_time
from domain.errors import Refused
from domain.places import EVERYWHERE, TOP, Tier, at_tier, depth, id_of, is_id, parent_of, tier_of
from domain.roles import Actor, demand
from domain.staff import is_user_id

STREAM: Final = "territory"

LONGEST_NAME: Final = 100
"""Characters in the name of a territory."""

Ring = tuple[tuple[float, float], ...]
"""A closed line of (longitude, latitude) in WGS-84 degrees; the last point is the first again."""

Boundary = tuple[Ring, ...] | str
"""The outer ring and its holes, or the reference of a map kept elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Who lives in a grid, as counted on a day."""

    households: int
    residents: int
    as_of: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the grids that a split makes, with its share of those who live there."""

    id: str
    name: str
    boundary: Boundary | None = None
    households: int
    residents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _TerritoryCommand:
    by: Actor
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTerritory(_TerritoryCommand):
    """设立. The parent of a district is ``EVERYWHERE``; only a grid has a boundary."""

    id: str
    tier: Tier
    parent: str
    name: str
    effective: date
    boundary: Boundary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameTerritory(_TerritoryCommand):
    """更名."""

    path: str
    name: str
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrawGrid(_TerritoryCommand):
    """调整边界. A boundary of None says that it is not known."""

    path: str
    boundary: Boundary | None
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitGrid(_TerritoryCommand):
    """网格拆分: the grid ends and new siblings begin."""

    path: str
    into: tuple[Part, ...]
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeGrids(_TerritoryCommand):
    """网格合并: grids of one community end and a new sibling begins."""

    paths: tuple[str, ...]
    id: str
    name: str
    boundary: Boundary | None = None
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignWorker(_TerritoryCommand):
    """A grid worker (网格员) takes up a grid, which may be one that is yet to begin."""

    path: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseWorker(_TerritoryCommand):
    """A grid worker leaves a grid."""

    path: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHouseholds(_TerritoryCommand):
    """入户登记 of one grid; what is larger is the sum of its grids, so that nobody types it."""

    path: str
    households: int
    residents: int
    as_of: date


Command = (
    CreateTerritory
    | RenameTerritory
    | RedrawGrid
    | SplitGrid
    | MergeGrids
    | AssignWorker
    | ReleaseWorker
    | RecordHouseholds
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TerritoryEvent:
    """``territory`` is the path of what changed; for a merge, of the community it happened in."""

    at: datetime
    territory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TerritoryCreated(_TerritoryEvent):
    """The first version of a territory holds from a day on."""

    tier: Tier
    name: str
    boundary: Boundary | None
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class TerritoryRenamed(_TerritoryEvent):
    """A version with another name holds from a day on."""

    tier: Tier
    version: int
    name: str
    former: str
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRedrawn(_TerritoryEvent):
    """A version with another boundary holds from a day on."""

    version: int
    name: str
    boundary: Boundary | None
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrid:
    """A grid that takes the place of others; ``count`` is None where one of them has none."""

    territory: str
    name: str
    boundary: Boundary | None
    count: Count | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSplit(_TerritoryEvent):
    """A grid ends on a day and others begin."""

    name: str
    into: tuple[NewGrid, ...]
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class GridsMerged(_TerritoryEvent):
    """Grids of one community end on a day and another begins."""

    merged: tuple[str, ...]
    into: NewGrid
    effective: date


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAssigned(_TerritoryEvent):
    """A worker is responsible for a grid."""

    name: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReleased(_TerritoryEvent):
    """A worker is no longer responsible for a grid."""

    name: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdsRecorded(_TerritoryEvent):
    """So many lived in a grid on a day."""

    name: str
    count: Count


Event = (
    TerritoryCreated
    | TerritoryRenamed
    | GridRedrawn
    | GridSplit
    | GridsMerged
    | WorkerAssigned
    | WorkerReleased
    | HouseholdsRecorded
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case is filed: the path, and which version of it was in force under which name."""

    path: str
    version: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a territory is from one day on, until ``valid_to`` (None: for the time being).

    A version that another one replaces on its first day holds on no day, but keeps its number: a
    case may have been filed in it before the change was made.
    """

    number: int
    valid_from: date
    valid_to: date | None = None
    name: str
    boundary: Boundary | None

    def in_force(self, on: date) -> bool:
        """Whether this is what the territory is on a day."""
        return self.valid_from <= on and (self.valid_to is None or on < self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One territory with all its versions, the last one last, and all that ever lay directly in it.

    ``successors`` are the paths of the grids that take its place, once it is split or merged.
    """

    path: str
    versions: tuple[Version, ...]
    children: Mapping[str, "Node"] = field(default_factory=dict)
    successors: tuple[str, ...] = ()
    workers: frozenset[str] = frozenset()
    count: Count | None = None

    @property
    def tier(self) -> Tier:
        """Which tier it is of."""
        return tier_of(self.path)

    @property
    def last(self) -> Version:
        """The newest version, which may hold only from a day ahead."""
        return self.versions[-1]

    @property
    def name(self) -> str:
        """The newest name, which may hold only from a day ahead."""
        return self.last.name

    def called(self, on: date) -> str:
        """Its name on a day; on one that it is not in force on, the newest."""
        return (self.version(on) or self.last).name

    def version(self, on: date) -> Version | None:
        """What it is on a day, if it is in force then."""
        return next((v for v in reversed(self.versions) if v.in_force(on)), None)

    def in_force(self, on: date) -> bool:
        """Whether it exists on a day."""
        return self.version(on) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Territory:
    """All territories that ever were, as a forest of districts.

    The mappings are replaced, never changed. A change copies only the siblings on the way from the
    district down to it, so a city's tree costs no more per event than a small one.
    """

    districts: Mapping[str, Node] = field(default_factory=dict)

    def node(self, path: str) -> Node:
        """A territory, whether it is in force or not.

        Raises:
            Refused: ``territory.unknown``.
        """
        *ids, end = path.split("/")
        node, below = None, self.districts
        for each in ids:
            node = below.get(each)
            below = node.children if node else {}
        if node is None or end:
            raise Refused("territory.unknown", path=path)
        return node

    def resolve(self, path: str, on: date) -> Place:
        """The place that a case of a day is filed at; any tier may be one.

        Raises:
            Refused: ``territory.unknown``; ``territory.not_in_force``, which names the successors
                of a grid that was split or merged.
        """
        version = _standing(self.node(path), on)
        return Place(path, version.number, version.name)

    def below(self, path: str) -> Mapping[str, Node]:
        """By id, all that ever lay directly in a territory (``EVERYWHERE``: the districts).

        Raises:
            Refused: ``territory.unknown``.
        """
        return self.districts if path == EVERYWHERE else self.node(path).children

    def children(self, path: str, on: date | None = None) -> tuple[Node, ...]:
        """What lies directly in a territory on a day, or ever lay.

        Raises:
            Refused: ``territory.unknown``.
        """
        nodes = self.below(path).values()
        return tuple(node for node in nodes if on is None or node.in_force(on))

    def subtree(self, path: str, on: date | None = None) -> tuple[Node, ...]:
        """A territory and all within it on a day, or ever; each comes before what lies in it.

        Raises:
            Refused: ``territory.unknown``.
        """
        tops = self.districts.values() if path == EVERYWHERE else (self.node(path),)
        return tuple(node for top in tops for node in _walk(top, on))

    def grids(self, scope: str, on: date) -> tuple[Node, ...]:
        """The grids within a territory (or itself) that are in force on a day.

        Raises:
            Refused: ``territory.unknown``.
        """
        return tuple(node for node in self.subtree(scope, on) if node.tier is Tier.GRID)

    def around(self, longitude: float, latitude: float, scope: str, on: date) -> tuple[Node, ...]:
        """The grids of a territory on a day within whose boundary a point lies.

        None is found where no boundary is known; several are where boundaries overlap.

        Raises:
            Refused: ``territory.unknown``.
        """
        return tuple(
            grid
            for grid in self.grids(scope, on)
            if (version := grid.version(on)) and encloses(version.boundary, longitude, latitude)
        )

    def workers(self, path: str, on: date) -> frozenset[str]:
        """Who works in those grids within a territory (or in itself) that are in force on a day.

        Assignments are those of now: the day says which grids count, not who was there.

        Raises:
            Refused: ``territory.unknown``.
        """
        return frozenset[str]().union(*(grid.workers for grid in self.grids(path, on)))

    def names(self, path: str, on: date) -> tuple[str, ...]:
        """The names from the district down, as on a day.

        Raises:
            Refused: ``territory.unknown``.
        """
        nodes = [self.node(path)]
        while (above := parent_of(nodes[-1].path)) != EVERYWHERE:
            nodes.append(self.node(above))
        return tuple(node.called(on) for node in reversed(nodes))


initial: Final = Territory()


def encloses(boundary: Boundary | None, longitude: float, latitude: float) -> bool:
    """Whether a point lies within the outer ring and in none of its holes.

    A point on a border counts for one of the two grids that share it, never for both. A map kept
    elsewhere encloses nothing here.
    """
    if not isinstance(boundary, tuple):
        return False
    # A ray to the east crosses what encloses the point an odd number of times, holes and all.
    crossed = 0
    for ring in boundary:
        for (ax, ay), (bx, by) in pairwise(ring):
            if (ay > latitude) is not (by > latitude):
                crossed += longitude < ax + (latitude - ay) / (by - ay) * (bx - ax)
    return crossed % 2 == 1


def decide(territory: Territory, command: Command) -> list[Event]:
    """What happens next. What is so already happens not again.

    Raises:
        Refused: ``role.not_permitted``, or a ``territory.*`` code that names the rule.
    """
    demand(command, _ground(command))
    match command:
        case CreateTerritory():
            return [_create(territory, command)]
        case RenameTerritory():
            return _rename(territory, command)
        case RedrawGrid():
            return _redraw(territory, command)
        case SplitGrid():
            return [_split(territory, command)]
        case MergeGrids():
            return [_merge(territory, command)]
        case AssignWorker():
            return _assign(territory, command)
        case ReleaseWorker():
            return [_release(territory, command)]
        case RecordHouseholds():
            return _record(territory, command)
        case _:
            assert_never(command)


def evolve(territory: Territory, event: Event) -> Territory:
    """The territories after an event."""
    match event:
        case TerritoryCreated():
            return _put(territory, _begun(event, event.effective))
        case TerritoryRenamed(version=number, name=name, effective=day):
            node = territory.node(event.territory)
            newer = replace(node.last, number=number, valid_from=day, name=name)
            return _put(territory, _renewed(node, newer))
        case GridRedrawn(version=number, boundary=boundary, effective=day):
            node = territory.node(event.territory)
            newer = replace(node.last, number=number, valid_from=day, boundary=boundary)
            return _put(territory, _renewed(node, newer))
        case GridSplit(into=into, effective=day):
            return _replaced(territory, (event.territory,), into, day)
        case GridsMerged(merged=merged, into=grid, effective=day):
            return _replaced(territory, merged, (grid,), day)
        case WorkerAssigned(worker=worker):
            node = territory.node(event.territory)
            return _put(territory, replace(node, workers=node.workers | {worker}))
        case WorkerReleased(worker=worker):
            node = territory.node(event.territory)
            return _put(territory, replace(node, workers=node.workers - {worker}))
        case HouseholdsRecorded(count=count):
            return _put(territory, replace(territory.node(event.territory), count=count))
        case _:
            assert_never(event)


def _ground(command: Command) -> str:
    """The territory that a command changes: what begins or ends, changes the territory above it."""
    match command:
        case CreateTerritory(parent=parent):
            return parent
        case SplitGrid(path=path):
            return at_tier(path, Tier.COMMUNITY) or EVERYWHERE
        case MergeGrids(paths=paths):
            return (at_tier(paths[0], Tier.COMMUNITY) if paths else None) or EVERYWHERE
        case _:
            return command.path


def _create(territory: Territory, command: CreateTerritory) -> TerritoryCreated:
    parent, tier, effective = command.parent, command.tier, command.effective
    if parent != EVERYWHERE:
        _standing(territory.node(parent), effective)
    if tier != TOP - depth(parent):
        raise Refused("territory.wrong_tier", tier=tier.word, parent=parent)
    if command.boundary is not None and tier is not Tier.GRID:
        raise Refused("territory.not_a_grid", path=parent + command.id + "/")
    return TerritoryCreated(
        at=command.at,
        territory=_new_path(territory, parent, command.id),
        tier=tier,
        name=_name(command.name),
        boundary=_boundary(command.boundary),
        effective=effective,
    )


def _rename(territory: Territory, command: RenameTerritory) -> list[Event]:
    node = _changeable(territory, command.path, command.effective)
    name = _name(command.name)
    if name == node.name:
        return []
    return [
        TerritoryRenamed(
            at=command.at,
            territory=node.path,
            tier=node.tier,
            version=node.last.number + 1,
            name=name,
            former=node.name,
            effective=command.effective,
        )
    ]


def _redraw(territory: Territory, command: RedrawGrid) -> list[Event]:
    grid = _demand_grid(_changeable(territory, command.path, command.effective))
    boundary = _boundary(command.boundary)
    if boundary == grid.last.boundary:
        return []
    return [
        GridRedrawn(
            at=command.at,
            territory=grid.path,
            version=grid.last.number + 1,
            name=grid.name,
            boundary=boundary,
            effective=command.effective,
        )
    ]


def _split(territory: Territory, command: SplitGrid) -> GridSplit:
    grid = _demand_grid(_changeable(territory, command.path, command.effective))
    parts = command.into
    if len(parts) < 2 or len({part.id for part in parts}) < len(parts):
        raise Refused("territory.too_few_parts", path=grid.path)
    into = tuple(
        NewGrid(
            territory=_new_path(territory, parent_of(grid.path), part.id),
            name=_name(part.name),
            boundary=_boundary(part.boundary),
            count=_count(part.households, part.residents, command.effective),
        )
        for part in parts
    )
    households, residents = sum(p.households for p in parts), sum(p.residents for p in parts)
    known = grid.count
    if known is not None and (known.households, known.residents) != (households, residents):
        raise Refused(
            "territory.shares_differ",
            path=grid.path,
            households=known.households,
            residents=known.residents,
        )
    return GridSplit(
        at=command.at,
        territory=grid.path,
        name=grid.name,
        into=into,
        effective=command.effective,
    )


def _merge(territory: Territory, command: MergeGrids) -> GridsMerged:
    grids = [
        _demand_grid(_changeable(territory, path, command.effective)) for path in command.paths
    ]
    communities = {parent_of(grid.path) for grid in grids}
    if len(communities) != 1 or len(grids) < 2 or len(set(command.paths)) < len(grids):
        raise Refused("territory.not_siblings")
    community = communities.pop()
    return GridsMerged(
        at=command.at,
        territory=community,
        merged=command.paths,
        into=NewGrid(
            territory=_new_path(territory, community, command.id),
            name=_name(command.name),
            boundary=_boundary(command.boundary),
            count=_sum([grid.count for grid in grids]),
        ),
        effective=command.effective,
    )


def _assign(territory: Territory, command: AssignWorker) -> list[Event]:
    grid = _demand_grid(territory.node(command.path))
    if not is_user_id(command.worker):
        raise Refused("staff.bad_id", id=command.worker)
    today = office_time(command.at).date()
    if grid.last.valid_to is not None and grid.last.valid_to <= today:
        raise _not_in_force(grid, today)
    if command.worker in grid.workers:
        return []
    return [
        WorkerAssigned(at=command.at, territory=grid.path, name=grid.name, worker=command.worker)
    ]


def _release(territory: Territory, command: ReleaseWorker) -> WorkerReleased:
    node = territory.node(command.path)
    if command.worker not in node.workers:
        raise Refused("territory.not_assigned", path=node.path, worker=command.worker)
    return WorkerReleased(at=command.at, territory=node.path, name=node.name, worker=command.worker)


def _record(territory: Territory, command: RecordHouseholds) -> list[Event]:
    grid = _demand_grid(territory.node(command.path))
    _standing(grid, command.as_of)
    count = _count(command.households, command.residents, command.as_of)
    if count.as_of > office_time(command.at).date():
        # A mistyped year would keep out every count until then.
        raise Refused("territory.count_ahead", path=grid.path, as_of=count.as_of)
    if grid.count is not None and count.as_of < grid.count.as_of:
        raise Refused("territory.outdated_count", path=grid.path, since=grid.count.as_of)
    if count == grid.count:
        return []
    return [HouseholdsRecorded(at=command.at, territory=grid.path, name=grid.name, count=count)]


def _walk(node: Node, on: date | None) -> Iterator[Node]:
    """A node and all below it; where it is not in force nothing below is, for only grids end."""
    if on is None or node.in_force(on):
        yield node
        for child in node.children.values():
            yield from _walk(child, on)


def _standing(node: Node, on: date) -> Version:
    """The version in force on a day, or a refusal."""
    version = node.version(on)
    if version is None:
        raise _not_in_force(node, on)
    return version


def _not_in_force(node: Node, on: date) -> Refused:
    successors = ", ".join(node.successors) or "–"
    return Refused("territory.not_in_force", path=node.path, on=on, successors=successors)


def _changeable(territory: Territory, path: str, effective: date) -> Node:
    """A territory whose newest version may be followed by another from a day on.

    Once its end is decided, nothing changes in it any more, also while that day lies ahead: the
    grids that take its place were made from what it was.
    """
    node = territory.node(path)
    if node.successors:
        raise _not_in_force(node, effective)
    if effective < node.last.valid_from:
        raise Refused("territory.too_early", path=path, since=node.last.valid_from)
    return node


def _demand_grid(node: Node) -> Node:
    if node.tier is not Tier.GRID:
        raise Refused("territory.not_a_grid", path=node.path)
    return node


def _new_path(territory: Territory, parent: str, new: str) -> str:
    """The path of a new territory, whose id no sibling has or ever had."""
    if not is_id(new):
        raise Refused("territory.bad_id", id=new)
    path = f"{parent}{new}/"
    if new in territory.below(parent):
        raise Refused("territory.exists", path=path)
    return path


def _name(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise Refused("territory.bad_name", longest=LONGEST_NAME)
    return name


def _boundary(boundary: Boundary | None) -> Boundary | None:
    """A boundary that can be drawn; whether rings cross is a matter for the map."""
    if boundary is None:
        return None
    if isinstance(boundary, str):
        sound = bool(boundary.strip())
    else:
        sound = bool(boundary) and all(_is_ring(ring) for ring in boundary)
    if not sound:
        raise Refused("territory.bad_boundary")
    return boundary


def _is_ring(ring: Ring) -> bool:
    # A triangle is the least that encloses anything, and its first point comes twice.
    return (
        len(ring) >= 4
        and ring[0] == ring[-1]
        and all(-180 <= lon <= 180 and -90 <= lat <= 90 for lon, lat in ring)
    )


def _count(households: int, residents: int, as_of: date) -> Count:
    if households < 0 or residents < 0:
        raise Refused("territory.bad_count")
    return Count(households=households, residents=residents, as_of=as_of)


def _sum(counts: list[Count | None]) -> Count | None:
    """The count of several grids together: as old as the oldest, unknown where one is unknown."""
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    return Count(
        households=sum(count.households for count in known),
        residents=sum(count.residents for count in known),
        as_of=min(count.as_of for count in known),
    )


def _begun(begun: TerritoryCreated | NewGrid, effective: date) -> Node:
    first = Version(number=1, valid_from=effective, name=begun.name, boundary=begun.boundary)
    count = begun.count if isinstance(begun, NewGrid) else None
    return Node(path=begun.territory, versions=(first,), count=count)


def _renewed(node: Node, newer: Version) -> Node:
    """The node with one more version; the last one so far ends the day that one begins."""
    former = replace(node.last, valid_to=newer.valid_from)
    return replace(node, versions=(*node.versions[:-1], former, newer))


def _replaced(
    territory: Territory, ended: tuple[str, ...], begun: tuple[NewGrid, ...], effective: date
) -> Territory:
    successors = tuple(grid.territory for grid in begun)
    for path in ended:
        node = territory.node(path)
        last = replace(node.last, valid_to=effective)
        versions = (*node.versions[:-1], last)
        territory = _put(territory, replace(node, versions=versions, successors=successors))
    for grid in begun:
        territory = _put(territory, _begun(grid, effective))
    return territory


def _put(territory: Territory, node: Node) -> Territory:
    """The territories with a node that is new or takes the place of its former self."""
    above = parent_of(node.path)
    if above == EVERYWHERE:
        return Territory(districts={**territory.districts, id_of(node.path): node})
    parent = territory.node(above)
    children = {**parent.children, id_of(node.path): node}
    return _put(territory, replace(parent, children=children))
