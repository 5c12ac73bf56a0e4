"""The application: all routes, and what surrounds them."""

from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from api import audit, auth, calendar, cases, catalogue, docs, health, metrics, staff, territory
from api.auth import PUBLIC, Attempts, Tokens, demand_person
from api.edge import Edge
from api.errors import FieldProblem, Problem, answer
from api.services import API, Services
from domain.errors import Refused

ROUTERS: Final = (
    auth.router,
    cases.router,
    territory.router,
    catalogue.router,
    calendar.router,
    staff.router,
    audit.router,
    metrics.router,
    health.router,
)


def create_app(services: Services) -> FastAPI:
    """The API over what it is handed."""
    app = FastAPI(
        title="网格 Wangge",
        version=services.version,
        description=_description(services),
        openapi_url=None,  # served below, with all else that the docs page needs
        redirect_slashes=False,
        dependencies=[Depends(demand_person), Depends(demand_json)],
    )
    app.state.services = services
    app.state.tokens = Tokens(services.secret, services.token_minutes, services.clock)
    app.state.attempts = Attempts()
    app.add_middleware(Edge, body_limit=services.body_limit)
    app.add_exception_handler(HTTPException, _answer_framework)
    app.add_exception_handler(RequestValidationError, answer)
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    docs.serve(app)
    # The framework's own way to change what it generates, though its types do not know of it.
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _answer_framework(request: Request, error: Exception) -> Response:
    """What the framework itself refuses; with 405, all methods that the address takes."""
    response = answer(request, error)
    if response.status_code == 405:
        # Each method is a route of its own, and the framework names those of the first one only.
        routes = iter_route_contexts(request.app.routes)
        here = [r for r in routes if r.path_regex.match(request.scope["path"])]
        allowed = sorted({method for route in here for method in route.methods or ()})
        response.headers["Allow"] = ", ".join(allowed)
    return response


async def demand_json(request: Request) -> None:
    """A body comes as JSON, or not at all.

    Raises:
        Refused: ``request.media_type``.
    """
    sent = request.headers.get("content-length", "0") != "0" or (
        "transfer-encoding" in request.headers
    )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent and request.method == "POST" and media_type != "application/json":
        raise Refused("request.media_type")


def _description(services: Services) -> str:
    text = (
        "社区治理事项办理。Case handling for neighbourhoods.\n\n"
        f"登录:`POST {API}/tokens`,此后每个请求带上 `Authorization: Bearer …`。"
        f"Sign in by `POST {API}/tokens`, then send `Authorization: Bearer …` "
        "with every request.\n\n"
        "每个命令都回答日志位置 `position`;查询带上它即可读到自己的写入。"
        "Every command answers its `position` in the log; a query that names it "
        "(`?position=` or `X-Wangge-Position`) reads your write.\n\n"
        "出错时回答 `application/problem+json`,程序以 `code` 为准。"
        "Errors are `application/problem+json`; programs go by `code`."
    )
    if services.demo:
        rows = "\n".join(
            f"| `{d.username}` | `{d.password}` | {d.zh} {d.en} |" for d in services.demo
        )
        text += f"\n\n演示账号 Demo accounts:\n\n| 用户名 | 密码 | |\n| --- | --- | --- |\n{rows}"
    return text


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        made["components"]["schemas"] |= {
            model.__name__: model.model_json_schema(ref_template="#/components/schemas/{model}")
            for model in (FieldProblem, Problem)
        }
        made["components"]["schemas"]["Problem"].pop("$defs", None)
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                if (method.upper(), path) in PUBLIC:
                    operation["security"] = []
        app.openapi_schema = made
    return app.openapi_schema
