"""The audit trail: who did what to which object when."""

from typing import Annotated, Final

from fastapi import Query

from api import schemas as s
from api.auth import AtDesk, Seen, routes
from api.errors import problems
from domain import words
from projections.audit import AuditRow
from projections.gateway import AuditFilter

router: Final = routes("/audit", ["审计 Audit"])


@router.get("", summary="审计 · Audit trail", responses=problems())
def audit(wanted: Annotated[s.AuditQuery, Query()], desk: AtDesk, seen: Seen = 0) -> s.AuditPage:
    """谁在何时对何对象做了什么,新的在前。Who did what to which object when, latest first."""
    found = desk.services.gateway.audit(
        desk.by,
        AuditFilter(
            actor=wanted.actor,
            object=wanted.object,
            action=wanted.action,
            territory=wanted.territory,
            since=wanted.since,
            until=wanted.until,
        ),
        wanted.after,
        wanted.limit,
        desk.known(wanted.position, seen),
    )
    return s.AuditPage(rows=[_entry(row) for row in found.rows], next=found.next)


def _entry(row: AuditRow) -> s.AuditAnswer:
    return s.AuditAnswer(
        position=row.position,
        at=row.at,
        recorded_at=row.recorded_at,
        actor=row.actor,
        roles=row.roles.split(",") if row.roles else [],
        action=row.action,
        zh=words.EVENTS[row.action].zh,
        en=words.EVENTS[row.action].en,
        object=row.object,
        version=row.version,
        territory=row.territory,
        correlation=row.correlation,
        causation=row.causation,
    )
