"""The web console (控制台): pages over the same commands and queries as the API.

Pages are read here and nothing else: whatever changes something is sent by ``static/console.js`` to
the API itself, with the cookie of the session. So there is one way in for commands, and one table
of who may what. ``session`` says who looks at a page, ``pages`` makes it, and each other module is
one noun's pages with the templates of its name.
"""

from typing import Final

from fastapi import FastAPI

from api.auth import asks_who
from api.console import (
    account,
    administration,
    audit,
    case,
    metrics,
    operations,
    report,
    signin,
    static,
    worklist,
)

ROUTERS: Final = (
    signin.router,
    report.router,
    administration.router,
    worklist.router,
    case.router,
    account.router,
    metrics.router,
    audit.router,
    operations.router,
)


def serve(app: FastAPI) -> None:
    """Add the pages, their files, and the way from the bare address to them."""
    for router in ROUTERS:
        assert all(map(asks_who, router.routes)), "routes are made by session.pages"
        app.router.routes.extend(router.routes)
    static.serve(app)
    app.router.add_route("/", signin.home, methods=["GET"], include_in_schema=False)
