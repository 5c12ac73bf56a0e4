"""Read models (读模型): how far each is, and what people decide about them."""

from typing import Annotated, Final

import structlog
from fastapi import Path, Response
from fastapi.concurrency import run_in_threadpool

from api.auth import AtDesk, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import operations as s
from api.schemas.words import Done
from domain.errors import Refused
from domain.operations import SkipEvent
from domain.places import EVERYWHERE
from domain.roles import Reading, permitted, scope
from projections.catalog import NAMES
from projections.standing import Standing

router: Final = routes("/projections", ["投影运维 Projections"])

log = structlog.get_logger()

Name = Annotated[str, Path(pattern=r"^[a-z_]{1,40}$", max_length=40, examples=["worklist"])]


@router.get("", summary="读模型 · Read models", responses=problems())
def projections(desk: AtDesk) -> s.ProjectionList:
    """各读模型的进度、延迟和状况。How far each read model is, and whether it goes on."""
    if not scope(desk.by, Reading.AUDIT).territories:
        raise Refused("query.not_permitted", reading=Reading.AUDIT.value)
    gateway = desk.services.gateway
    return s.ProjectionList(
        position=gateway.head(), rows=[_row(each) for each in gateway.standings()]
    )


@router.post("/{name}/pause", summary="暂停 · Pause", responses=problems(404))
def pause(name: Name, desk: AtDesk) -> s.ProjectionSwitched:
    """停在当前位置，重建也暂停。It stands still, a rebuild of it too, until it is resumed."""
    return _switch(desk, name, paused=True)


@router.post("/{name}/resume", summary="恢复 · Resume", responses=problems(404))
def resume(name: Name, desk: AtDesk) -> s.ProjectionSwitched:
    """继续跟进日志。It goes on."""
    return _switch(desk, name, paused=False)


@router.post(
    "/{name}/skip",
    summary="跳过事件 · Leave an event out",
    response_model=Done,
    responses=problems(404, 409, 413, 415),
)
async def skip(name: Name, body: s.SkipIn, desk: AtDesk) -> Response:
    """只影响该读模型；事件仍在日志中。Only this read model leaves it out; it stays in the log."""
    _demand_known(name)
    known = await run_in_threadpool(desk.services.gateway.standings)
    (at,) = (each for each in known if each.name == name)
    command = SkipEvent(
        by=desk.by,
        at=desk.at,
        projection=name,
        position=body.position,
        reason=body.reason,
        halted=at.poison.position if at.poison else None,
    )
    return await desk.change(command)


def may_decide(desk: Desk) -> bool:
    """Whether somebody may decide about read models: they hold every territory."""
    return permitted(desk.by, SkipEvent.__name__, EVERYWHERE)


def _switch(desk: Desk, name: str, *, paused: bool) -> s.ProjectionSwitched:
    if not may_decide(desk):
        raise Refused("role.not_permitted", command=SkipEvent.__name__)
    _demand_known(name)
    desk.services.gateway.hold(desk.by, name, paused=paused)
    log.info("projector.switched", projection=name, paused=paused, person=desk.by.id)
    return s.ProjectionSwitched(name=name, paused=paused)


def _demand_known(name: str) -> None:
    if name not in NAMES:
        raise Refused("request.unknown_projection", projection=name)


def _row(at: Standing) -> s.ProjectionAnswer:
    return s.ProjectionAnswer(
        name=at.name,
        position=at.position,
        lag=at.lag,
        lag_seconds=round(at.lag_seconds, 3),
        paused=at.paused,
        error=at.error,
        halted_at=at.poison.position if at.poison else None,
        halted_by=at.poison.name if at.poison else None,
        stream=at.poison.stream if at.poison else None,
        built=at.building[0] if at.building else None,
        of=at.building[1] if at.building else None,
    )
