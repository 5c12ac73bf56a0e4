"""Whether the system can serve, for those who watch it: no sign-in, no names."""

from typing import Annotated, Final, Literal

from fastapi import Depends

from api.auth import routes, services_of
from api.errors import problems
from api.schemas import operations as s
from api.services import Services
from domain.history import CLOCKS_APART
from projections.standing import Standing

router: Final = routes("/health", ["运行状况 Health"])


@router.get("/live", summary="存活 · Live")
def live() -> s.Alive:
    """进程在运行。The process answers; nothing is asked of the database."""
    return s.Alive(status="ok")


@router.get("", summary="就绪 · Ready", responses=problems())
def ready(services: Annotated[Services, Depends(services_of)]) -> s.Health:
    """数据库可用，各读模型的进度；有停滞、暂停、落后过多、时钟不准，主密钥文件不可用或动态推送
    中止的则为 degraded。The database answers, and how far each read model is; degraded where one
    stands still, is paused or too far behind, where the clocks of server and database are apart,
    the file of the KEK is gone, or the live feed has ended."""
    standings = services.gateway.standings()
    head = services.gateway.head()
    well = all(at.well and at.lag_seconds <= services.lag_seconds for at in standings)
    late = services.gateway.lateness(services.store.office().catalogue.ahead, services.clock())
    ahead = services.gateway.clock_ahead()
    failing: list[Literal["feed", "keys"]] = []
    if not services.feed.alive:
        failing.append("feed")
    if not services.vault.well():
        failing.append("keys")
    well = well and not failing
    well = well and late.seconds <= services.lag_seconds and abs(ahead) <= CLOCKS_APART
    return s.Health(
        status="ok" if well else "degraded",
        position=head,
        projections=[_projection(at) for at in standings],
        deadlines=s.DeadlineHealth(late=round(late.seconds, 3), failing=late.failing),
        clock_ahead=round(ahead, 3),
        failing=failing,
        relays=[
            s.RelayHealth(
                topic=at.topic,
                position=at.position,
                lag=at.lag,
                lag_seconds=round(at.lag_seconds, 3),
            )
            for at in services.gateway.carried()
        ],
    )


def _projection(at: Standing) -> s.ProjectionHealth:
    # Not the stream of a poison event: it may name a person, and nobody has signed in here.
    return s.ProjectionHealth(
        name=at.name,
        position=at.position,
        lag=at.lag,
        lag_seconds=round(at.lag_seconds, 3),
        halted=at.error is not None,
        halted_at=at.poison.position if at.poison else None,
        halted_by=at.poison.name if at.poison else None,
        paused=at.paused,
        rebuilt=at.building[0] / max(at.building[1], 1) if at.building else None,
    )
