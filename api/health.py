"""Whether the system can serve, for those who watch it: no sign-in, no names."""

from typing import Annotated, Final

from fastapi import Depends

from api import schemas as s
from api.auth import routes, services_of
from api.errors import problems
from api.services import Services

router: Final = routes("/health", ["运行状况 Health"])


@router.get("/live", summary="存活 · Live")
def live() -> s.Alive:
    """进程在运行。The process answers; nothing is asked of the database."""
    return s.Alive(status="ok")


@router.get("", summary="就绪 · Ready", responses=problems())
def ready(services: Annotated[Services, Depends(services_of)]) -> s.Health:
    """数据库可用,各读模型的进度。The database answers, and how far each read model is."""
    standings = services.gateway.standings()
    # After the standings: what is appended in between must not look like a read model ahead.
    head = services.gateway.head()
    known = [
        s.ProjectionHealth(
            name=standing.name,
            position=standing.position,
            lag=head - standing.position,
            halted=standing.error is not None,
        )
        for standing in standings
    ]
    halted = any(projection.halted for projection in known)
    return s.Health(status="degraded" if halted else "ok", position=head, projections=known)
