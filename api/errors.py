"""Every way a request can fail, as a problem document (RFC 9457): here and nowhere else.

The code is what programs go by and never changes; the words are for people, in both languages.
"""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

import psycopg
import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from api.field_words import in_chinese
from domain.errors import Conflict, Overloaded, Refused, Unusable, VersionMismatch
from projections.gateway import Behind
from projections.paging import BadCursor

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"

TITLES: Final = {
    400: ("请求无法读取", "The request cannot be read"),
    401: ("需要登录", "Sign in"),
    403: ("无权操作", "Not permitted"),
    404: ("未找到", "Not found"),
    405: ("不支持的方法", "Method not allowed"),
    408: ("请求超时", "Took too long"),
    409: ("现在不能执行", "Not possible now"),
    410: ("已删除", "Erased"),
    412: ("内容已更新", "Changed meanwhile"),
    413: ("内容过大", "Too large"),
    415: ("不支持的格式", "Unsupported media type"),
    422: ("内容不符合要求", "Not like this"),
    429: ("尝试过于频繁", "Too many attempts"),
    500: ("系统错误", "Unexpected error"),
    503: ("暂时不可用", "Not available right now"),
}
"""The kinds of problems by status, in both languages."""

_RETRY_SECONDS: Final = {
    "request.conflict": 1,
    "request.behind": 1,
    "request.overloaded": 1,
    "request.unavailable": 5,
}


class TooLarge(HTTPException):
    """The body is larger than the limit. An HTTPException, for FastAPI lets no other through."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(413)


class TooSlow(HTTPException):
    """The body did not come in time. The rest of it is not waited for either."""

    def __init__(self) -> None:
        super().__init__(408, headers={"Connection": "close"})


class Declined(Exception):
    """A refusal that was put into words when it was decided, perhaps at an earlier request."""

    def __init__(self, status: int, code: str, zh: str, en: str) -> None:
        self.status, self.code, self.zh, self.en = status, code, zh, en
        self.facts: dict[str, Any] = {}
        super().__init__(code)


class Repeated(Exception):
    """Not a failure: the request was answered before, and is answered the same."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__("answered before")


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(
        description="Where: `body.description`, `query.limit`.", examples=["body.description"]
    )
    code: str = Field(description="Which rule of the schema.", examples=["string_too_long"])
    detail: str = Field(description="What the rule says, in the language asked for.")
    zh: str = Field(description="What the rule says, in Chinese.")
    en: str = Field(description="What the rule says, in English.")


class Problem(BaseModel):
    """Why a request failed (RFC 9457). Programs go by `code`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:wangge:problem:case.unknown",
                    "title": "未找到",
                    "status": 404,
                    "detail": "没有这个事项：20261122-7K2QX9MA。",
                    "instance": "urn:wangge:request:5f0c2b6e9d1a4c37",
                    "code": "case.unknown",
                    "zh": "没有这个事项：20261122-7K2QX9MA。",
                    "en": "There is no such case: 20261122-7K2QX9MA.",
                    "errors": [],
                }
            ]
        }
    )

    type: str = Field(description="An absolute URI made of the code.")
    title: str = Field(description="The kind of problem, in the language asked for.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, in the language asked for.")
    instance: str = Field(description="The request, as it stands in the logs.")
    code: str = Field(description="A stable name of the reason.")
    zh: str = Field(description="What happened, in Chinese.")
    en: str = Field(description="What happened, in English.")
    errors: list[FieldProblem] = Field(description="Which fields are wrong, if any are.")


def answer(request: Request, error: Exception) -> Response:
    """The problem document for whatever was raised while a request was handled."""
    if isinstance(error, Repeated):
        return error.response
    problem, headers = described(request, error)
    return JSONResponse(
        problem.model_dump(), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def described(request: Request, error: Exception) -> tuple[Problem, dict[str, str]]:
    """The problem that something raised is, and the headers that go with it."""
    chinese = _prefers_chinese(request.headers.get("accept-language", ""))
    refused, errors = _refusal(request, error, chinese=chinese)
    zh, en = refused.zh, refused.en
    title_zh, title_en = TITLES[refused.status]
    problem = Problem(
        type=f"urn:wangge:problem:{refused.code}",
        title=title_zh if chinese else title_en,
        status=refused.status,
        detail=zh if chinese else en,
        instance=f"urn:wangge:request:{request.scope.get('wangge.request', '')}",
        code=refused.code,
        zh=zh,
        en=en,
        errors=errors,
    )
    headers = {"Content-Language": "zh" if chinese else "en", "Vary": "Accept-Language"}
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
    if refused.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="wangge"'
    retry = refused.facts.get("seconds") or _RETRY_SECONDS.get(refused.code)
    if retry:
        headers["Retry-After"] = str(retry)
    return problem, headers


def refusal(error: Refused | VersionMismatch) -> Refused:
    """A verdict of no, as a refusal with its words."""
    if isinstance(error, VersionMismatch):
        return Refused("request.version_mismatch", expected=error.expected, actual=error.actual)
    return error


def _refusal(
    request: Request, error: Exception, *, chinese: bool
) -> tuple[Refused | Declined, list[FieldProblem]]:
    match error:
        case Declined():
            return error, []
        case Refused() | VersionMismatch():
            return refusal(error), []
        case Conflict():
            return Refused("request.conflict"), []
        case Overloaded():
            return Refused("request.overloaded"), []
        case Behind():
            return Refused("request.behind"), []
        case BadCursor():
            return Refused("request.bad_cursor"), []
        case RequestValidationError():
            return _invalid(error.errors(), chinese=chinese)
        case TooLarge(limit=limit):
            return Refused("request.too_large", limit=limit), []
        case TooSlow():
            return Refused("request.too_slow"), []
        case HTTPException(status_code=status):
            return Refused(_of_http(status, error.__cause__)), []
        case psycopg.DataError():
            # What the schemas let through and PostgreSQL does not: a NUL in a cursor.
            return Refused("request.bad_characters"), []
    if isinstance(error, Unusable):
        log.error("request.unusable", error=str(error))
        return Refused("request.unavailable"), []
    if any(_is_unavailable(cause) for cause in _causes(error)):
        log.warning("request.database_unavailable", error=repr(error))
        return Refused("request.unavailable"), []
    log.error("request.unexpected", exc_info=error)
    return Refused("request.unexpected", id=request.scope.get("wangge.request", "")), []


def _invalid(errors: Sequence[Any], *, chinese: bool) -> tuple[Refused, list[FieldProblem]]:
    """What a schema did not let through. The input itself is not repeated: it may be a password."""
    kinds = {error["type"] for error in errors}
    found = [_field_problem(error, chinese=chinese) for error in errors[:100]]
    if "json_invalid" in kinds:
        return Refused("request.malformed_json"), found
    if kinds & {"bad_characters", "string_unicode"}:
        return Refused("request.bad_characters"), found
    return Refused("request.invalid"), found


def _field_problem(error: Any, *, chinese: bool) -> FieldProblem:
    field = ".".join(str(part) for part in error["loc"]).encode("utf-8", "replace").decode()[:200]
    zh, en = in_chinese(error["type"], error.get("ctx", {})), error["msg"]
    return FieldProblem(field=field, code=error["type"], detail=zh if chinese else en, zh=zh, en=en)


def _of_http(status: int, cause: BaseException | None) -> str:
    """The code for what the framework itself refuses."""
    match status:
        case HTTPStatus.BAD_REQUEST if isinstance(cause, UnicodeDecodeError):
            return "request.bad_encoding"
        case HTTPStatus.BAD_REQUEST:
            return "request.malformed_json"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return "request.bad_method"
        case _:
            return "request.unknown_path"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_unavailable(error: BaseException) -> bool:
    away = psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout | OSError
    return isinstance(error, away)


def _prefers_chinese(accepted: str) -> bool:
    """Chinese, unless English is asked for before it."""
    weights = {"zh": 0.0, "en": 0.0}
    for part in accepted.split(","):
        language, _, parameters = part.strip().partition(";")
        primary = language.strip().lower().partition("-")[0]
        if primary in weights:
            weights[primary] = max(weights[primary], _weight(parameters))
    return weights["zh"] >= weights["en"]


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents that a route answers, for its OpenAPI description."""
    every = {400, 401, 403, 422, 503, *statuses}
    return {
        status: {
            "description": " · ".join(TITLES[status]),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(every)
    }
