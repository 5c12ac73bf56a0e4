"""Who asks: local accounts, short-lived tokens, and the one dependency of all routes.

A token says who signed in and when, nothing about rights: those are read from the register of staff
at every request, so a revoked role or a suspended account counts at once.
"""

import hashlib
import hmac
import ipaddress
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from api.desk import Desk, respond
from api.errors import Repeated, problems
from api.headers import header
from api.schemas.staff import SignIn, TokenAnswer
from api.schemas.words import Position
from api.services import API, Services
from api.uploads import is_upload
from domain.answers import Once
from domain.errors import Refused
from domain.roles import Actor
from domain.staff import User

SESSION: Final = timedelta(hours=12)
"""How long a sign-in can be renewed: a shift, after which the password is asked for again."""

KEY_PATTERN: Final = r"^[\x21-\x7e]{1,200}$"
"""What an ``Idempotency-Key`` looks like."""

_KEY: Final = re.compile(KEY_PATTERN)

_JSON: Final = "application/json"

ADD_USER: Final = f"{API}/staff/users"
"""The one command that is not done when it is stored: a password is to be set yet, which must not
stand in the log. Sent again under its key, it is seen to."""

CONSOLE: Final = "/console"
"""What every path of the web console begins with."""

COOKIE: Final = "wangge_session"
"""The cookie that holds the token of somebody who signed in at the console."""

FROM_CONSOLE: Final = b"x-wangge-console"
"""A header that the console's own script sends and no form or link of another site can."""

FOR_PERSON: Final = b"x-wangge-person"
"""A header in which a page of the console names the person it was opened for."""

PUBLIC: Final = frozenset(
    {
        ("POST", f"{API}/tokens"),
        ("GET", f"{API}/health"),
        ("GET", f"{API}/health/live"),
        ("GET", f"{CONSOLE}/sign-in"),
        ("POST", f"{CONSOLE}/session"),
        ("POST", f"{CONSOLE}/session/end"),
    }
)
"""The routes that ask for no sign-in, written out; every other one does."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. ``began`` is when the password came in, before any renewal."""

    person: str
    began: datetime
    expires: datetime


class Tokens:
    """Gives out and reads bearer tokens (JWT, HS256)."""

    def __init__(self, secret: bytes, minutes: int, clock: Callable[[], datetime]) -> None:
        # A key of their own: who learns one derived secret has not learned the others.
        key = hmac.new(secret, b"bearer tokens", hashlib.sha256).digest()
        self._key = OctKey.import_key(key)
        self._claims = lru_cache(4_096)(self._verified)
        self.digest_key = hmac.new(secret, b"digests of requests", hashlib.sha256).digest()
        self._life = timedelta(minutes=minutes)
        self._clock = clock

    def issue(self, person: str, began: datetime | None = None) -> TokenAnswer:
        """A token for somebody whose password came in just now, or at ``began``."""
        now = self._clock()
        began = began or now
        expires = min(now + self._life, began + SESSION)
        claims = {
            "iss": "wangge",
            "sub": person,
            "iat": now.timestamp(),
            "exp": expires.timestamp(),
            # Not whole seconds: a password changed in the same one must still tell the two apart.
            "auth_time": began.timestamp(),
        }
        token = jwt.encode({"alg": "HS256"}, claims, self._key, algorithms=["HS256"])
        seconds = max(int((expires - now).total_seconds()), 0)
        return TokenAnswer(access_token=token, token_type="bearer", expires_in=seconds)  # noqa: S106 - the name of the scheme, no password

    def read(self, text: str) -> Claims:
        """What a token says, if it is ours and has not expired.

        Raises:
            Refused: ``request.bad_token``, ``request.token_expired``.
        """
        claims = self._claims(text)
        if self._clock() >= claims.expires:
            raise Refused("request.token_expired")
        return claims

    def _verified(self, text: str) -> Claims:
        """What a token says, if it is ours."""
        try:
            claims = jwt.decode(text, self._key, algorithms=["HS256"]).claims
            person, issuer = claims["sub"], claims["iss"]
            expires, began = (_instant(claims[name]) for name in ("exp", "auth_time"))
        except (JoseError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise Refused("request.bad_token") from error
        if issuer != "wangge" or not isinstance(person, str):
            raise Refused("request.bad_token")
        return Claims(person, began, expires)


class Attempts:
    """How often signing in failed lately, by account and by address.

    Counted before the password is looked at and forgiven when it is right, so that many attempts
    at the same time count too.
    """

    WINDOW: Final = timedelta(minutes=5)
    PER_ACCOUNT: Final = 10
    PER_ADDRESS: Final = 50
    REMEMBERED: Final = 10_000

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, account: str, address: str, now: datetime) -> None:
        """Count an attempt.

        Raises:
            Refused: ``request.too_many_attempts``, with the seconds to wait.
        """
        limits = {f"account {account}": self.PER_ACCOUNT, f"address {address}": self.PER_ADDRESS}
        with self._lock:
            for key, limit in limits.items():
                failed = self._recent(key, now)
                if len(failed) >= limit:
                    wait = failed[0] + self.WINDOW - now
                    raise Refused("request.too_many_attempts", seconds=int(wait.seconds) + 1)
            for key in limits:
                self._recent(key, now).append(now)
            while len(self._failed) > self.REMEMBERED:
                self._failed.popitem(last=False)

    def forgive(self, account: str, address: str) -> None:
        """The password was right."""
        with self._lock:
            self._failed.pop(f"account {account}", None)
            if failed := self._failed.get(f"address {address}"):
                failed.pop()

    def _recent(self, key: str, now: datetime) -> deque[datetime]:
        failed = self._failed.setdefault(key, deque())
        self._failed.move_to_end(key)
        while failed and failed[0] <= now - self.WINDOW:
            failed.popleft()
        return failed


async def services_of(request: Request) -> Services:
    """What the application was made with."""
    services: Services = request.app.state.services
    return services


async def demand_person(request: Request) -> Desk | None:
    """Who asks; None on public routes only. Every route depends on this.

    One dependency that reads the request itself: each further one costs every request some 20 µs.

    Raises:
        Refused: nobody is signed in, or no longer is, or somebody else than on the page that asks;
            the body is no JSON; the caller's key is in use.
        Repeated: the same request was answered before under the caller's key.
    """
    if (request.method, request.scope["path"]) in PUBLIC:
        demand_json(request)
        return None
    request.scope["wangge.token"] = token = _token(request)
    demand_json(request)
    claims = request.app.state.tokens.read(token)
    if header(request.scope, FOR_PERSON) not in (None, claims.person):
        raise Refused("request.other_person")
    request.scope["wangge.claims"] = claims
    return await at_desk(request, await _once(request, claims.person))


async def at_desk(request: Request, once: Once | None) -> Desk:
    """Whoever is signed in with a request, by the rights and the clock of now.

    Raises:
        Refused: as ``demand_current``; the caller's key is in use.
        Repeated: the same request was answered before under the caller's key.
    """
    services: Services = request.app.state.services
    claims: Claims = request.scope["wangge.claims"]
    office, before = await services.commits.look(once)
    user = demand_current(office.staff.users.get(claims.person), claims)
    request.scope["wangge.person"] = user.id
    if before is not None and request.scope["path"] != ADD_USER:
        raise Repeated(respond(before))
    return Desk(
        services=services,
        office=office,
        by=Actor(user.id, user.grants, user.unit),
        at=services.clock(),
        request=request.scope.get("wangge.request", ""),
        once=once,
        before=before,
    )


def _token(request: Request) -> str:
    """The token of a request: a bearer's, or the one in the console's cookie.

    A browser sends the cookie along whoever asks it to, so what changes something must come from
    the console's own script as well.

    Raises:
        Refused: ``request.sign_in``, ``request.cross_site``.
    """
    scheme, _, token = (header(request.scope, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    kept = None if scheme else cookie(request, COOKIE)
    if not kept:
        raise Refused("request.sign_in")
    if request.method not in ("GET", "HEAD"):
        demand_own_site(request)
    return kept


def demand_own_site(request: Request) -> None:
    """What a browser sends comes from a page of ours.

    Raises:
        Refused: ``request.cross_site``.
    """
    site = header(request.scope, b"sec-fetch-site")
    if header(request.scope, FROM_CONSOLE) is None or site not in (None, "same-origin"):
        raise Refused("request.cross_site")


def cookie(request: Request, name: str) -> str | None:
    """A cookie of a request by its name; none of ours needs quoting."""
    for part in (header(request.scope, b"cookie") or "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def demand_json(request: Request) -> None:
    """A body comes as JSON, or not at all; a file comes as whatever its client thinks it is.

    Raises:
        Refused: ``request.media_type``.
    """
    if request.method != "POST" or is_upload(request.scope):
        return
    scope = request.scope
    length = header(scope, b"content-length")
    sent = length not in (None, "0") or header(scope, b"transfer-encoding") is not None
    media_type = header(scope, b"content-type") or ""
    if media_type != _JSON:
        media_type = media_type.partition(";")[0].strip().lower()
    if sent and media_type != _JSON:
        raise Refused("request.media_type")


async def _once(request: Request, person: str) -> Once | None:
    """The key that a command came with, and the digest of the request that it stands for.

    None for a file as well: only its route knows when all of it has come.
    """
    if is_upload(request.scope) or (keyed := begun(request)) is None:
        return None
    key, digest = keyed
    digest.update(await request.body())
    return Once(person, key, digest.digest())


def begun(request: Request) -> tuple[str, hmac.HMAC] | None:
    """The key that a command came with, and a digest of all of the request but its body.

    Raises:
        Refused: ``request.bad_key``.
    """
    key = header(request.scope, b"idempotency-key")
    if key is None or request.method != "POST":
        return None
    if not _KEY.fullmatch(key):
        raise Refused("request.bad_key")
    scope, tokens = request.scope, request.app.state.tokens
    # Under a key of ours: what is kept of a request must not let anybody guess a phone in it.
    digest = hmac.new(tokens.digest_key, digestmod=hashlib.sha256)
    digest.update(b"%s?%s\n" % (scope["path"].encode(), scope["query_string"]))
    digest.update((header(scope, b"if-match") or "").encode() + b"\n")
    return key, digest


def routes(prefix: str, tags: list[str | Enum]) -> APIRouter:
    """A router below ``API`` whose every route asks who is there (``PUBLIC`` ones let anybody)."""
    return APIRouter(prefix=API + prefix, tags=tags, dependencies=[Depends(demand_person)])


def asks_who(route: Any) -> bool:
    """Whether a route depends on who asks."""
    return any(each.dependency is demand_person for each in route.dependencies)


AtDesk = Annotated[Desk, Depends(demand_person)]
"""Who asks, on a route that is not public."""

Seen = Annotated[
    Position,
    Header(alias="X-Wangge-Position", description="The same as `position` in the query."),
]
"""The position of the caller's last write, so that it is read."""

router: Final = routes("", ["登录 Sign-in"])


@router.post("/tokens", summary="登录 · Sign in", responses=problems(401, 403, 429))
def sign_in(
    request: Request, body: SignIn, services: Annotated[Services, Depends(services_of)]
) -> TokenAnswer:
    """用户名和密码换取凭证。Exchange user name and password for a token of some minutes."""
    # Taken before the password is compared: one that changes meanwhile ends this sign-in too.
    began = services.clock()
    check_password(request, services, body.username, body.password, "request.bad_credentials")
    user = services.store.office().staff.users.get(body.username)
    if user is None:
        raise Refused("request.bad_credentials")
    if user.suspended:
        raise Refused("staff.suspended", user=user.id)
    token: TokenAnswer = request.app.state.tokens.issue(user.id, began)
    return token


@router.post("/tokens/renew", summary="续期 · Renew a token", responses=problems())
def renew(request: Request, desk: AtDesk) -> TokenAnswer:
    """凭证到期前换取新的，自登录起最长 12 小时。A new token before the old one expires; a sign-in
    can be renewed for 12 hours."""
    claims: Claims = request.scope["wangge.claims"]
    token: TokenAnswer = request.app.state.tokens.issue(desk.by.id, claims.began)
    return token


def check_password(
    request: Request, services: Services, person: str, password: str, otherwise: str
) -> None:
    """Count an attempt and compare the password.

    Raises:
        Refused: ``otherwise``, or ``request.too_many_attempts``.
    """
    attempts: Attempts = request.app.state.attempts
    address = _address(request)
    attempts.begin(person, address, services.clock())
    if not services.passwords.verify(person, password):
        raise Refused(otherwise)
    attempts.forgive(person, address)


def demand_current(user: User | None, claims: Claims) -> User:
    """The person a token is for, if it still is good.

    Raises:
        Refused: ``request.bad_token``, ``request.password_changed``, ``staff.suspended``.
    """
    if user is None:
        raise Refused("request.bad_token")
    if user.suspended:
        raise Refused("staff.suspended", user=user.id)
    if user.password_changed is not None and claims.began < user.password_changed:
        raise Refused("request.password_changed")
    return user


def _address(request: Request) -> str:
    """The caller's address without its port; of IPv6 the network, as one caller has all of it."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _instant(value: Any) -> datetime:
    return datetime.fromtimestamp(float(value), UTC)
