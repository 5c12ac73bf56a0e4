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
from domain.calendar import office_time
from domain.reports import Period, Report
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
        description="Any day of the period; left out: of the last period that is over.",
        examples=["2026-11-22"],
    )
    format: Literal["xlsx", "csv", "pdf"] = "xlsx"
    position: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None,
        description="The position of the log that it is made of; left out: the last one. Asked "
        "again for the same position, it is the same file.",
        examples=[24491],
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
    """由日志生成：同一日志位置，同一文件。Made of the log: for the same position, the same file."""
    made = _report(desk, period, territory, asked)
    headers = {
        "ETag": _tag(made, asked.format, desk.services.version),
        "Cache-Control": "private, no-cache",
        "X-Wangge-Position": str(made.position),
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
    head = gateway.head()
    return report(
        gateway.figures,
        desk.by,
        Asked(
            period=period,
            territory=territory,
            day=asked.day or period.before(office_time(desk.at).date()).first,
            position=desk.known(asked.position or head),
            now=desk.at,
        ),
        store.history,
    )


def _tag(made: Report, form: str, version: str) -> str:
    """What stands on it, in which form, made by which version: known before it is made."""
    digest = hashlib.sha256(msgspec.json.encode((made, form, version))).hexdigest()
    return f'"{made.position}-{digest[:24]}"'
