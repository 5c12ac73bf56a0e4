"""The documentation page: Swagger UI out of this package, for offices have no internet."""

from collections.abc import Callable
from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

_STATIC: Final = resources.files("api") / "static"

FILES: Final = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": (
        "swagger-ui/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    "/docs/LICENSE": ("swagger-ui/LICENSE", "text/plain; charset=utf-8"),
}
"""Where each file is served, all of them public."""

_HEADERS: Final = {
    # Swagger UI styles its elements one by one and has its icons inside its style sheet.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cache-Control": "no-cache",
}


def serve(app: FastAPI) -> None:
    """Add the page, what it needs, and ``/openapi.json``."""

    async def openapi(_request: Request) -> Response:
        return JSONResponse(app.openapi(), headers={"Cache-Control": "no-cache"})

    app.router.add_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    for path, (name, media_type) in FILES.items():
        app.router.add_route(
            path, _file(name, media_type), methods=["GET"], include_in_schema=False
        )


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    # Read when asked for: the script is 1.7 MB, and most servers never show it.
    def file(_request: Request) -> Response:
        return Response(
            _STATIC.joinpath(name).read_bytes(), media_type=media_type, headers=_HEADERS
        )

    return file
