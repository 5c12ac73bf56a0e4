"""The application: all routes, and what surrounds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api import (
    attachments,
    audit,
    auth,
    calendar,
    cases,
    catalogue,
    deadlines,
    docs,
    feed,
    health,
    metrics,
    privacy,
    projections,
    prometheus,
    reports,
    staff,
    territory,
    webhooks,
)
from api.auth import KEY_PATTERN, PUBLIC, Attempts, Tokens, asks_who, demand_person
from api.console import serve as serve_console
from api.console.pages import failed
from api.edge import Edge
from api.errors import FieldProblem, Problem, problems
from api.lane import Lane, Stop
from api.schemas import words as s
from api.schemas.case_commands import Report
from api.services import API, Services

ROUTERS: Final = (
    auth.router,
    cases.router,
    attachments.router,
    privacy.router,
    deadlines.router,
    territory.router,
    catalogue.router,
    calendar.router,
    staff.router,
    feed.router,
    audit.router,
    projections.router,
    webhooks.router,
    metrics.router,
    reports.router,
    health.router,
)


IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": "自选的标识：同一请求以同一标识重发，只办理一次，回答相同（保留 7 天）。"
    "Any text of the client's own: the same request sent again with it within 7 days is done once "
    "and answered the same; another request with it is refused (422), and so is one that comes "
    "while the first is being handled (409). Kept is what the rules said to it, yes or no; what "
    "does not come to the rules, being malformed or naming something unknown, is looked at anew.",
    "example": "5b1c6f3e",
}
"""Taken by every command; read where the caller is known, in ``auth``."""


TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": f"登录后取得的凭证，见 POST {API}/tokens。The token that POST {API}/tokens "
    "answers.",
}
"""What every other request carries; read in ``auth``."""


SHOW: Final = f"{API}/cases/{{case}}/personal"
"""A POST that is no command: its answer, personal data in clear, is never kept."""


class Application(FastAPI):
    """FastAPI within layers of our own, which answer, count and log what it would."""

    layers: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the start and end of the server."""
        scope["app"] = self
        await self.layers(scope, receive, send)

    def routed(self) -> ASGIApp:
        """What finds the route and handles its errors. Not the layers that FastAPI puts around it:
        they cost every request some 30 µs, and would answer before we do."""
        assert not self.user_middleware, "what surrounds all routes is put around in create_app"
        handlers: Any = self.exception_handlers
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers)


def create_app(services: Services) -> Application:
    """The API over what it is handed."""
    app = Application(
        title="网格 Wangge",
        version=services.version,
        description=_description(services),
        openapi_url=None,  # served below, with all else that the docs page needs
        redirect_slashes=False,
        lifespan=_running,
        dependencies=[Depends(demand_person)],
        # Asking at every request whether anybody listens takes as long as the request's own work.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.services = services
    app.state.tokens = Tokens(services.secret, services.token_minutes, services.clock)
    app.state.attempts = Attempts()
    app.state.streams = feed.Open()
    app.add_exception_handler(HTTPException, _answer_framework)
    app.add_exception_handler(RequestValidationError, failed)
    for router in ROUTERS:
        # Not by ``include_router``, which matches every path twice, some 100 µs a request.
        assert all(map(asks_who, router.routes)), "routes are made by auth.routes"
        app.router.routes.extend(router.routes)
    serve_console(app)
    docs.serve(app)
    measures = prometheus.Measures(services.gateway)
    prometheus.serve(app, services, measures)
    app.state.measures = measures
    app.layers = Edge(
        Lane(
            app.routed(),
            report=Stop(cases.report, Report, None),
            steps={step.path: _stop(step) for step in cases.STEPS},
        ),
        body_limit=services.body_limit,
        file_limit=services.attachment_limit,
        answer=failed,
        spans=services.spans,
        noting=measures.note,
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to do it
    return app


def _stop(step: cases.Step) -> Stop:
    empty = s.Nothing() if step.body is s.Nothing else None
    return Stop(cases.ENDPOINTS[step.path], step.body, empty)


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    """Commands can be stored and the log be followed while the application runs; what waits in the
    end is stored too."""
    services: Services = app.state.services
    services.commits.noting = app.state.measures.groups.observe
    async with services.commits, services.feed:
        yield


def _answer_framework(request: Request, error: Exception) -> Response:
    """What the framework itself refuses; with 405, all methods that the address takes."""
    response = failed(request, error)
    if response.status_code == 405:
        # Each method is a route of its own, and the framework names those of the first one only.
        routes = iter_route_contexts(request.app.routes)
        here = [r for r in routes if r.path_regex.match(request.scope["path"])]
        allowed = sorted({method for route in here for method in route.methods or ()})
        response.headers["Allow"] = ", ".join(allowed)
    return response


def _description(services: Services) -> str:
    text = (
        "社区治理事项办理。Case handling for neighbourhoods.\n\n"
        f"登录：`POST {API}/tokens`,此后每个请求带上 `Authorization: Bearer …`。"
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
        made["components"]["securitySchemes"] = {"token": TOKEN}
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                if "requestBody" in operation:
                    operation["responses"].setdefault("408", problems(408)[408])
                if (method.upper(), path) in PUBLIC:
                    operation["security"] = []
                    continue
                operation["security"] = [{"token": []}]
                if method == "post" and not path.startswith(f"{API}/tokens") and path != SHOW:
                    operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        app.openapi_schema = made
    return app.openapi_schema
