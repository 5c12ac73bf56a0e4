"""Signing in and out at the console: the cookies of a session are given and taken here."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response

from api import auth
from api.auth import CONSOLE, COOKIE, demand_own_site, services_of
from api.console.pages import public
from api.console.session import PERSON, keep, pages
from api.schemas import staff as s
from api.services import Services

router: Final = pages("")


@router.post("/session")
def sign_in(
    request: Request, body: s.SignIn, services: Annotated[Services, Depends(services_of)]
) -> Response:
    """Exchange user name and password for the cookie of a session."""
    demand_own_site(request)
    token = auth.sign_in(request, body, services)
    response = Response(status_code=204)
    secure = request.url.scheme == "https"
    keep(response, token.access_token, secure)
    response.set_cookie(PERSON, body.username, path="/", samesite="strict", secure=secure)
    return response


@router.post("/session/end")
def sign_out(request: Request) -> Response:
    """Take the cookie away again."""
    demand_own_site(request)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    response.delete_cookie(PERSON, path="/", samesite="strict")
    return response


@router.get("/sign-in")
def sign_in_page(request: Request, services: Annotated[Services, Depends(services_of)]) -> Response:
    """登录. The accounts of a demonstration are shown, for it is on loopback only."""
    return public(request, "sign-in.html", demo=services.demo)


async def home(_request: Any) -> Response:
    """From the bare address to the console."""
    return RedirectResponse(f"{CONSOLE}/worklist", 303)
