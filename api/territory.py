"""The tree of territories: what lies where on which day, and every change to it."""

from datetime import date
from typing import Annotated, Final

from fastapi import Query, Response

from api.auth import AtDesk, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import territory as s
from api.schemas.words import Done, tier, tier_name
from domain import territory as t
from domain.calendar import office_time
from domain.places import EVERYWHERE, depth, within
from domain.roles import Reading, demand, scope

CHANGED: Final = problems(404, 409, 413, 415)
"""What a change of the tree may answer besides success."""

router: Final = routes("/territory", ["属地 Territory"])


@router.get("", summary="属地树 · The tree", responses=problems(404))
def tree(asked: Annotated[s.TreeQuery, Query()], desk: AtDesk) -> s.TerritoryTree:
    """某日的属地及其下级。A territory and what lies in it on a day, from the top down."""
    day = asked.on or office_time(desk.at).date()
    nodes = desk.office.territory.subtree(asked.path, None if asked.ever else day)
    deepest = depth(asked.path) + asked.levels
    near = [_node(desk, node, day) for node in nodes if depth(node.path) <= deepest]
    return s.TerritoryTree(on=day, nodes=near)


@router.get("/at", summary="所在网格 · The grid at a point", responses=problems())
def at(asked: Annotated[s.PointQuery, Query()], desk: AtDesk) -> s.GridsAt:
    """按经纬度查找今日所在网格，限本人属地。One's own grids around a point today."""
    day = office_time(desk.at).date()
    tree = desk.office.territory
    grounds = [grant.territory for grant in desk.by.grants]
    around = tree.around(asked.longitude, asked.latitude, EVERYWHERE, day)
    found = [
        tree.resolve(node.path, day)
        for node in around
        if any(within(node.path, ground) for ground in grounds)
    ]
    return s.GridsAt(
        on=day,
        grids=[
            s.GridAnswer(
                path=place.path, version=place.version, names=list(tree.names(place.path, day))
            )
            for place in found
        ],
    )


@router.get("/versions", summary="属地沿革 · History of a territory", responses=problems(404))
def versions(asked: Annotated[s.PathQuery, Query()], desk: AtDesk) -> s.TerritoryHistory:
    """一个属地的全部版本。All versions of one territory, with their boundaries."""
    node = desk.office.territory.node(asked.path)
    return s.TerritoryHistory(
        path=node.path,
        tier=tier_name(node.tier),
        versions=[s.TerritoryVersion.model_validate(version) for version in node.versions],
        children=[child.path for child in node.children.values()],
        successors=list(node.successors),
        workers=sorted(node.workers) if _in_scope(desk, node) else None,
    )


@router.post("/create", summary="设立 · Create", response_model=Done, responses=CHANGED)
async def create(body: s.CreateTerritory, desk: AtDesk) -> Response:
    """设立区县、街道、社区或网格。A district, subdistrict, community or grid begins on a day."""
    command = t.CreateTerritory(
        by=desk.by,
        at=desk.at,
        id=body.id,
        tier=tier(body.tier),
        parent=body.parent,
        name=body.name,
        effective=body.effective,
        boundary=s.boundary(body.boundary),
    )
    return await desk.change(command)


@router.post("/rename", summary="更名 · Rename", response_model=Done, responses=CHANGED)
async def rename(body: s.RenameTerritory, desk: AtDesk) -> Response:
    """自某日起更名。Another name from a day on."""
    return await desk.change(t.RenameTerritory(by=desk.by, at=desk.at, **body.model_dump()))


@router.post("/redraw", summary="调整边界 · Redraw a grid", response_model=Done, responses=CHANGED)
async def redraw(body: s.RedrawGrid, desk: AtDesk) -> Response:
    """自某日起调整网格边界。Another boundary from a day on."""
    command = t.RedrawGrid(
        by=desk.by,
        at=desk.at,
        path=body.path,
        boundary=s.boundary(body.boundary),
        effective=body.effective,
    )
    return await desk.change(command)


@router.post("/split", summary="网格拆分 · Split a grid", response_model=Done, responses=CHANGED)
async def split(body: s.SplitGrid, desk: AtDesk) -> Response:
    """一个网格于某日拆分为多个。A grid ends on a day and others begin."""
    parts = tuple(part.part() for part in body.into)
    command = t.SplitGrid(
        by=desk.by, at=desk.at, path=body.path, into=parts, effective=body.effective
    )
    return await desk.change(command)


@router.post("/merge", summary="网格合并 · Merge grids", response_model=Done, responses=CHANGED)
async def merge(body: s.MergeGrids, desk: AtDesk) -> Response:
    """同一社区的多个网格于某日合并。Grids of one community end on a day and another begins."""
    command = t.MergeGrids(
        by=desk.by,
        at=desk.at,
        paths=tuple(body.paths),
        id=body.id,
        name=body.name,
        boundary=s.boundary(body.boundary),
        effective=body.effective,
    )
    return await desk.change(command)


@router.post(
    "/assign", summary="指定网格员 · Assign a worker", response_model=Done, responses=CHANGED
)
async def assign(body: s.GridWorker, desk: AtDesk) -> Response:
    """指定网格员。Somebody takes up a grid."""
    command = t.AssignWorker(by=desk.by, at=desk.at, **body.model_dump())
    demand(command, body.path)  # first, or anybody could find out who is known
    desk.office.staff.user(body.worker)
    return await desk.change(command)


@router.post(
    "/release", summary="撤下网格员 · Release a worker", response_model=Done, responses=CHANGED
)
async def release(body: s.GridWorker, desk: AtDesk) -> Response:
    """网格员离开网格。Somebody leaves a grid."""
    return await desk.change(t.ReleaseWorker(by=desk.by, at=desk.at, **body.model_dump()))


@router.post(
    "/households", summary="入户登记 · Record households", response_model=Done, responses=CHANGED
)
async def households(body: s.RecordHouseholds, desk: AtDesk) -> Response:
    """登记某日的户数和人数。So many live in a grid as counted on a day."""
    return await desk.change(t.RecordHouseholds(by=desk.by, at=desk.at, **body.model_dump()))


def _node(desk: Desk, node: t.Node, on: date) -> s.TerritoryNode:
    version = node.version(on)
    count = node.count if _in_scope(desk, node) else None
    return s.TerritoryNode(
        path=node.path,
        tier=tier_name(node.tier),
        name=version and version.name,
        version=version and version.number,
        workers=sorted(node.workers) if _in_scope(desk, node) else None,
        households=count and count.households,
        residents=count and count.residents,
        successors=list(node.successors),
    )


def _in_scope(desk: Desk, node: t.Node) -> bool:
    """Whether the caller is told who works in a territory, and how many live there."""
    seen = scope(desk.by, Reading.ADMINISTRATION).territories
    return any(within(node.path, each) for each in seen)
