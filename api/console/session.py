"""Who looks at a page, in which language, and how the session is kept.

The session is the API's own token in a cookie that scripts cannot read and other sites cannot send.
It is renewed by every page once half of its life is over, for as long as a sign-in lasts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from api import auth
from api.auth import CONSOLE, COOKIE, Claims, cookie, demand_person
from api.desk import Desk
from domain.roles import Reading, Role, scope

Language = Literal["zh", "en"]

LANGUAGE: Final = "wangge_lang"
THEME: Final = "wangge_theme"
POSITION: Final = "wangge_position"
"""Cookies that the pages' script sets: how somebody likes it, and the last write, to read it."""

PERSON: Final = "wangge_person"
"""A cookie that scripts can read: who is signed in on this device, so that a form that is kept for
the time without a network is not taken for somebody else's."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who looks at a page. ``part`` is the element that is to be exchanged, if not the
    whole page; ``seen`` the position of the visitor's last write; ``renewed`` a fresh token;
    ``unpacks`` says that pages may come compressed."""

    desk: Desk
    language: Language
    theme: str
    part: str | None
    path: str
    seen: int
    renewed: str | None
    secure: bool
    unpacks: bool

    def t(self, zh: str, en: str) -> str:
        """One text in the visitor's language."""
        return zh if self.language == "zh" else en

    def has(self, *roles: Role) -> bool:
        """Whether the visitor holds one of these roles anywhere."""
        return any(self.desk.by.has(role) for role in roles)

    def reads(self, reading: Reading) -> bool:
        """Whether the visitor may ask for something anywhere."""
        return bool(scope(self.desk.by, reading).territories)

    def names(self, people: Iterable[str | None]) -> Mapping[str, str]:
        """What people are called, by their ids, as far as the visitor may know; one query."""
        wanted = sorted({person for person in people if person})
        return self.desk.services.gateway.names(self.desk.by, wanted) if wanted else {}


def demand_visitor(request: Request, desk: Annotated[Desk, Depends(demand_person)]) -> Visitor:
    """Who looks at a page. Every page depends on this."""
    seen = cookie(request, POSITION) or ""
    known = int(seen) if seen.isdecimal() and len(seen) < 16 else 0
    # A position of another installation is none here, and no reason to refuse a page.
    known = min(known, desk.services.gateway.head()) if known else 0
    headers = request.headers
    whole = headers.get("hx-request") is None or headers.get("hx-history-restore-request")
    return Visitor(
        desk=desk,
        language=language_of(request),
        theme=theme_of(request),
        part=None if whole else headers.get("hx-target"),
        path=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        seen=known,
        renewed=_renewed(request, desk),
        secure=request.url.scheme == "https",
        unpacks=unpacks(request),
    )


AtConsole = Annotated[Visitor, Depends(demand_visitor)]
"""Who looks, on every page but the one for signing in."""


def pages(prefix: str) -> APIRouter:
    """A router of pages below ``CONSOLE``; each asks who looks."""
    return APIRouter(
        prefix=CONSOLE + prefix,
        dependencies=[Depends(demand_person)],
        include_in_schema=False,
        default_response_class=HTMLResponse,
    )


def language_of(request: Request) -> Language:
    """Chinese, unless English was chosen."""
    return "en" if cookie(request, LANGUAGE) == "en" else "zh"


def theme_of(request: Request) -> str:
    """``light``, ``dark``, or empty: as the device is."""
    chosen = cookie(request, THEME)
    return chosen if chosen in ("light", "dark") else ""


def unpacks(request: Request) -> bool:
    """Whether a browser takes what is compressed."""
    return "gzip" in request.headers.get("accept-encoding", "")


def keep(response: Response, token: str, secure: bool) -> None:
    """Give a browser the cookie of its session."""
    response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=secure)


def _renewed(request: Request, desk: Desk) -> str | None:
    """A new token, when half of the present one's life is over and it came in the cookie."""
    claims: Claims = request.scope["wangge.claims"]
    if cookie(request, COOKIE) != request.scope["wangge.token"]:
        return None
    half = timedelta(minutes=desk.services.token_minutes) / 2
    if claims.expires - desk.at > half or claims.expires >= claims.began + auth.SESSION:
        return None
    token: str = request.app.state.tokens.issue(desk.by.id, claims.began).access_token
    return token
