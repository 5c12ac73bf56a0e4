"""Reports of a territory (日报、周报、月报): made of the log when asked for, never typed."""

import hashlib
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
from fastapi import Header, Query, Response
from pydantic import Field

from api.auth import AtDesk, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import words as s
from domain.reports import Period, Report
from projections.past import Moment
from projections.reports import Asked, report

router: Final = routes("/reports", ["报表 Reports"])

MEDIA_TYPES: Final = {
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
}


class ReportQuery(s.Query):
    """Which report, and in which form."""

    day: s.Day | None = Field(
        default=None,
        description="Any day of the period; left out: of the last one that is over.",
        examples=["2026-11-22"],
    )
    format: Literal["xlsx", "csv", "pdf"] = "xlsx"
    position: s.Past | None = Field(
        default=None,
        description="What it is made as of: a position of the log (and the time at which the log "
        "took it), a time, or the moment that a report says of itself, which gives that report "
        "again, byte for byte; left out: now.",
        examples=["24491@2026-11-23T09:00:00+08:00"],
    )


@router.get(
    "/{period}/{territory:path}",
    summary="日报、周报、月报 · A report",
    response_class=Response,
    responses=problems(404)
    | {
        200: {
            "description": "报表文件 · The report.",
            "content": {
                name.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
                for name in MEDIA_TYPES.values()
            },
        },
        304: {"description": "未变 · The caller has it already."},
    },
)
def periodic(
    period: Literal[Period.DAILY, Period.WEEKLY, Period.MONTHLY],
    territory: s.Path,
    asked: Annotated[ReportQuery, Query()],
    desk: AtDesk,
    held: Annotated[
        str | None,
        Header(alias="If-None-Match", max_length=400, description="`ETag` of an earlier answer."),
    ] = None,
) -> Response:
    """由日志生成：同一时点，同一文件。Made of the log: as of the same moment, the same file."""
    made = _report(desk, period, territory, asked)
    headers = {
        "ETag": _tag(made, asked.format, desk.services.version),
        "Cache-Control": "private, no-cache",
        "X-Wangge-Position": str(made.position),
        "X-Wangge-As-Of": made.moment,
    }
    if held is not None and headers["ETag"] in held:
        return Response(status_code=304, headers=headers)
    name = f"{made.title.zh}{made.since:%Y-%m-%d}.{asked.format}"
    plain = f"{period}-{territory.strip('/').replace('/', '-')}-{made.since:%Y-%m-%d}"
    headers["Content-Disposition"] = (
        f"attachment; filename=\"{plain}.{asked.format}\"; filename*=UTF-8''{quote(name, safe='')}"
    )
    content = desk.services.render(made, asked.format)
    return Response(content, media_type=MEDIA_TYPES[asked.format], headers=headers)


def _report(desk: Desk, period: Period, territory: str, asked: ReportQuery) -> Report:
    gateway, store = desk.services.gateway, desk.services.store
    now = Moment(desk.at, gateway.head())
    return report(
        gateway.figures,
        desk.by,
        Asked(
            period=period,
            territory=territory,
            day=asked.day,
            as_of=now if asked.position is None else asked.position,
            now=desk.at,
        ),
        store.history,
    )


def _tag(made: Report, form: str, version: str) -> str:
    """What stands on it, in which form, made by which version: known before it is made."""
    digest = hashlib.sha256(msgspec.json.encode((made, form, version))).hexdigest()
    return f'"{made.position}-{digest[:24]}"'
