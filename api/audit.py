"""The audit trail: who did what to which object when."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from functools import reduce
from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Query, Response

from api.auth import AtDesk, Seen, routes
from api.desk import Desk
from api.errors import problems
from api.reports import MEDIA_TYPES
from api.schemas import audit as s
from api.schemas.words import Known
from domain import words
from domain.aggregates import CASE, case_stream
from domain.calendar import office_time, told_time
from domain.reports import Cell, Column, Extract, Shape, Table
from domain.words import Word
from projections import worklist
from projections.audit import AuditRow
from projections.conditions import AuditFilter

router: Final = routes("/audit", ["审计 Audit"])

MOST: Final = 50_000
"""Entries of one file, at most: who needs more asks for shorter times."""

PAGE: Final = 1_000
"""Entries that are read at a time for a file."""


@router.get("", summary="审计 · Audit trail", responses=problems())
def audit(wanted: Annotated[s.AuditQuery, Query()], desk: AtDesk, seen: Seen = 0) -> s.AuditPage:
    """谁在何时对何对象做了什么，新的在前。Who did what to which object when, latest first."""
    found = desk.services.gateway.audit(
        desk.by,
        _filter(wanted),
        wanted.after,
        wanted.limit,
        desk.known(wanted.position, seen),
    )
    return s.AuditPage(rows=[_entry(row) for row in found.rows], next=found.next)


@router.get(
    "/export",
    summary="导出审计 · The audit trail as a file",
    response_class=Response,
    responses=problems()
    | {
        200: {
            "description": "审计文件 · The file.",
            "content": {
                MEDIA_TYPES[form].partition(";")[0]: {
                    "schema": {"type": "string", "format": "binary"}
                }
                for form in ("csv", "xlsx")
            },
        }
    },
)
def export(wanted: Annotated[s.AuditExport, Query()], desk: AtDesk, seen: Seen = 0) -> Response:
    """筛选与列表相同，条件和日志位置写在文件中，最多五万条。The same filter as the list; filter
    and position stand in the file, which has 50,000 entries at most."""
    gateway = desk.services.gateway
    # First of all: nothing is counted for somebody who may not ask.
    gateway.audit(desk.by, _filter(wanted), limit=1)
    head = desk.known(wanted.position, seen, gateway.head())
    about = [
        (Word("导出人", "Asked by"), desk.by.id),
        (Word("导出时间", "Asked at"), told_time(desk.at)),
        (Word("日志位置", "Log position"), str(head)),
        (Word("最多条数", "At most"), str(MOST)),
    ]
    about += [(word, str(value)) for word, value in _said(wanted)]
    table = Table(
        word=Word("审计", "Audit trail"),
        columns=_COLUMNS,
        rows=_rows(desk, wanted, head),
        note=None,
    )
    extract = Extract(
        title=Word("审计记录", "Audit trail"), about=tuple(about), at=desk.at, tables=(table,)
    )
    content = desk.services.render(extract, wanted.format)
    return Response(
        content,
        media_type=MEDIA_TYPES[wanted.format],
        headers={
            "Content-Disposition": f'attachment; filename="audit-{head}.{wanted.format}"',
            "Cache-Control": "private, no-store",
            "X-Wangge-Position": str(head),
        },
    )


@router.get("/{entry}", summary="审计记录 · An entry", responses=problems(404))
def audited(
    entry: Annotated[int, Path(ge=1, le=2**53)],
    wanted: Annotated[Known, Query()],
    desk: AtDesk,
    seen: Seen = 0,
) -> s.AuditedEvent:
    """事件原文（个人信息密封），及事项在此前后的要素。The event, personal fields sealed; of a case
    its facts before and after."""
    services = desk.services
    row = services.gateway.audited(desk.by, entry, desk.known(wanted.position, seen))
    recorded = services.store.event(entry)
    assert recorded is not None, "the trail has what the log has"
    before = after = None
    if row.object.startswith(f"{CASE.name}:"):
        history = services.store.history(case_stream(row.object.partition(":")[2]))
        before = _facts(history[: row.version - 1])
        after = _facts(history[: row.version])
    return s.AuditedEvent(
        **_entry(row).model_dump(),
        event=msgspec.to_builtins(recorded.event),
        before=before,
        after=after,
    )


def _facts(history: list[Any]) -> dict[str, Any] | None:
    """What a case is after some of its events, as the worklist has it."""
    row = reduce(worklist.fold, history, None)
    if row is None:
        return None
    facts = asdict(row).items()
    return {k: office_time(v) if isinstance(v, datetime) else v for k, v in facts}


def _filter(wanted: s.AuditQuery) -> AuditFilter:
    return AuditFilter(
        actor=wanted.actor,
        object=wanted.object,
        action=wanted.action,
        correlation=wanted.correlation,
        territory=wanted.territory,
        since=wanted.since,
        until=wanted.until,
    )


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


# --- files ---

_COLUMNS: Final = (
    Column(Word("日志位置", "Log position"), Shape.NUMBER),
    Column(Word("发生时间", "Happened at")),
    Column(Word("记录时间", "Recorded at")),
    Column(Word("操作人", "Actor")),
    Column(Word("角色", "Roles")),
    Column(Word("操作", "Action")),
    Column(Word("事件名", "Event")),
    Column(Word("对象", "Object")),
    Column(Word("版本", "Version"), Shape.NUMBER),
    Column(Word("属地", "Territory")),
    Column(Word("关联号", "Correlation")),
    Column(Word("起因", "Causation")),
)


def _rows(desk: Desk, wanted: s.AuditQuery, head: int) -> Iterator[tuple[Cell, ...]]:
    """The entries up to a position, page by page, the latest first."""
    after, left = wanted.after, MOST
    while left > 0:
        found = desk.services.gateway.audit(desk.by, _filter(wanted), after, min(PAGE, left), head)
        for row in found.rows:
            # What was added since the file was begun is not of its position.
            if row.position <= head:
                yield _cells(row)
        after, left = found.next, left - len(found.rows)
        if after is None:
            return


def _cells(row: AuditRow) -> tuple[Cell, ...]:
    return (
        row.position,
        told_time(row.at),
        told_time(row.recorded_at),
        row.actor,
        row.roles,
        words.EVENTS[row.action],
        row.action,
        row.object,
        row.version,
        row.territory,
        row.correlation,
        row.causation,
    )


def _said(wanted: s.AuditQuery) -> Iterator[tuple[Word, Any]]:
    """What was asked for, in words."""
    action = words.EVENTS.get(wanted.action or "")
    for word, value in (
        (Word("操作人", "Actor"), wanted.actor),
        (Word("对象", "Object"), wanted.object),
        (Word("操作", "Action"), f"{action.zh} {action.en}" if action else wanted.action),
        (Word("属地", "Territory"), wanted.territory),
        (Word("自", "Since"), wanted.since and told_time(wanted.since)),
        (Word("至", "Until"), wanted.until and told_time(wanted.until)),
        (Word("关联号", "Correlation"), wanted.correlation),
    ):
        if value:
            yield word, value
