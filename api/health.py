"""Whether the system can serve, for those who watch it: no sign-in, no names."""

from typing import Annotated, Final

import psycopg
from fastapi import APIRouter, Depends
from psycopg import sql

from api import schemas as s
from api.auth import services_of
from api.errors import problems
from api.services import Services
from projections.catalog import ALL

router: Final = APIRouter(prefix="/health", tags=["运行状况 Health"])


@router.get("/live", summary="存活 · Live")
def live() -> s.Alive:
    """进程在运行。The process answers; nothing is asked of the database."""
    return s.Alive(status="ok")


@router.get("", summary="就绪 · Ready", responses=problems())
def ready(services: Annotated[Services, Depends(services_of)]) -> s.Health:
    """数据库可用,各读模型的进度。The database answers, and how far each read model is."""
    with services.pool.connection() as connection:
        row = connection.execute("SELECT position FROM log.head").fetchone()
        head = row[0] if row else 0
        known = [_projection(connection, projection.name, head) for projection in ALL]
    halted = any(projection.halted for projection in known)
    return s.Health(status="degraded" if halted else "ok", position=head, projections=known)


def _projection(connection: psycopg.Connection, name: str, head: int) -> s.ProjectionHealth:
    query = sql.SQL("SELECT position, error FROM {}").format(sql.Identifier(name, "checkpoint"))
    try:
        row = connection.execute(query).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        row = None  # not built yet, or just being put in place
    position, error = row or (0, None)
    return s.ProjectionHealth(
        name=name, position=position, lag=max(head - position, 0), halted=error is not None
    )
