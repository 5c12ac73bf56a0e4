"""Making pages: templates, what they can say, and what is shown when a page cannot be.

A template says every text in both languages, one beside the other: ``{{ t('派遣', 'Dispatch') }}``.
What comes from people or from the office's own register is no text of ours; ``{{ data(x) }}`` marks
it, so that a page in English says which of its words are Chinese.

An answer to htmx is the block of the template that has the name of the element to be exchanged:
``hx-target="#list"`` gets the block ``list``, and everybody else the whole page.
"""

import gzip
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from pydantic import BaseModel, ValidationError

from api.auth import CONSOLE
from api.console import static
from api.console.session import Language, Visitor, keep, language_of, theme_of, unpacks
from api.errors import TITLES, Repeated, answer, described
from domain import words
from domain.calendar import Worked, office_time
from domain.errors import Refused
from domain.metrics import rounded
from domain.places import EVERYWHERE, Tier, depth
from domain.roles import Reading, Role
from domain.territory import Node, Territory

POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'"
)
"""Of every page: nothing from elsewhere, nothing inline. ``blob:`` shows a photo before it is
sent."""

SMALLEST: Final = 1_000
"""A page of fewer bytes is not compressed: it fits one packet as it is."""

_env: Final = Environment(
    loader=PackageLoader("api.console", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(visitor: Visitor, template: str, /, status: int = 200, **shown: Any) -> Response:
    """A page, or the part of it that was asked for."""
    content = _rendered(template, visitor.part, {"me": visitor, **_common(visitor), **shown})
    response = _html(content, status, visitor.unpacks)
    if visitor.renewed is not None:
        keep(response, visitor.renewed, visitor.secure)
    return response


def public(request: Request, template: str, /, status: int = 200, **shown: Any) -> Response:
    """A page for whoever has not signed in."""
    said = _words(language_of(request), theme_of(request), request.url.path)
    content = _rendered(template, None, {"me": None, **said, **shown})
    return _html(content, status, unpacks(request))


def failed(request: Request, error: Exception) -> Response:
    """Whatever was raised, told as a page to somebody in front of one, as a document to others."""
    if isinstance(error, Repeated) or not _wants_page(request):
        return answer(request, error)
    problem, headers = described(request, error)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    language = language_of(request)
    shown = {
        **_words(language, theme_of(request), _whence(request)),
        "me": None,
        "status": problem.status,
        "title": TITLES[problem.status][0 if language == "zh" else 1],
        "detail": problem.zh if language == "zh" else problem.en,
        "code": problem.code,
        "errors": [
            (each.field.partition(".")[2] or each.field, each.zh if language == "zh" else each.en)
            for each in problem.errors
        ],
        "request_id": request.scope.get("wangge.request", ""),
    }
    part = "problem" if request.headers.get("hx-request") else None
    response = _html(_rendered("problem.html", part, shown), problem.status, unpacks(request))
    if "Retry-After" in headers:
        response.headers["Retry-After"] = headers["Retry-After"]
    return response


Q = TypeVar("Q", bound=BaseModel)


def query(kind: type[Q], given: Mapping[str, Any]) -> Q:
    """The API's own query for what a page was asked; what that refuses is told as if the page's
    had.

    Raises:
        RequestValidationError: as a request that is not as it must be.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        errors = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors) from error


def _to_sign_in(request: Request) -> Response:
    """To the page for signing in, and from there back to where the visitor was."""
    way = f"{CONSOLE}/sign-in?{urlencode({'next': _whence(request)})}"
    if request.headers.get("hx-request") is None:
        return Response(status_code=303, headers={"Location": way})
    return Response(headers={"HX-Redirect": way})


def _whence(request: Request) -> str:
    """The page that somebody is on, with its query; where htmx asks for a part, the whole."""
    asked = urlsplit(str(request.url))
    if request.headers.get("hx-request") is not None:
        asked = urlsplit(request.headers.get("hx-current-url", ""))
    return asked.path + (f"?{asked.query}" if asked.query else "")


def _wants_page(request: Request) -> bool:
    """Whether a failure is to be shown as a page: in the console, to a browser."""
    if not request.url.path.startswith(f"{CONSOLE}/"):
        return False
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted or request.headers.get("hx-request") is not None


def _html(content: str, status: int, unpacked: bool) -> Response:
    """A page. Compressed it gives nothing away by its length: no token is in it."""
    body = content.encode()
    headers = {
        "Content-Security-Policy": POLICY,
        "Vary": "Accept-Encoding, Cookie, HX-Request, HX-Target",
    }
    if unpacked and len(body) >= SMALLEST:
        body = gzip.compress(body, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(body, status, headers=headers)


def _rendered(template: str, part: str | None, shown: dict[str, Any]) -> str:
    made = _env.get_template(template)
    block = part.replace("-", "_") if part else None
    if block and block in made.blocks:
        context = made.new_context(shown)
        # What a template imports and defines is there once the page has begun.
        next(made.root_render_func(context), "")
        return "".join(made.blocks[block](context))
    return made.render(shown)


# --- what templates can say -------------------------------------------------------------------


def _common(visitor: Visitor) -> dict[str, Any]:
    desk = visitor.desk
    me = desk.by.id
    # The name stands in the frame, which a part of a page does not have.
    names = visitor.names([me]) if visitor.part is None else {}
    return {
        **_words(visitor.language, visitor.theme, visitor.path),
        "my_name": names.get(me, me),
        "now": desk.at,
        "office": desk.office,
        "can": {reading.value: visitor.reads(reading) for reading in Reading},
        "Role": Role,
        "roles": [words.ROLES[role] for role in desk.by.roles],
    }


def _words(language: Language, theme: str, path: str) -> dict[str, Any]:
    return {"language": language, "theme": theme, "path": path}


def _say(language: str, zh: str, en: str) -> str:
    return zh if language == "zh" else en


@pass_context
def t(context: Context, zh: str, en: str, **facts: Any) -> str:
    """One text of ours in the language of the page, with facts filled in."""
    said = _say(context["language"], zh, en)
    return said.format(**facts) if facts else said


@pass_context
def word(context: Context, value: Any, table: str) -> str:
    """A value by its word in one of the tables of ``domain.words``; a tier may be its number."""
    if value is None:
        return "—"
    key = Tier(value).word if table == "TIERS" and isinstance(value, int) else str(value)
    said = getattr(words, table)[key]
    text: str = _say(context["language"], said.zh, said.en)
    return text if context["language"] == "zh" else text[:1].upper() + text[1:]


@pass_context
def data(context: Context, text: Any) -> str | Markup:
    """Words that are not ours, in Chinese as a rule."""
    if text is None or text == "":
        return "—"
    if context["language"] == "zh":
        return str(text)
    return Markup('<span lang="zh-CN">{}</span>').format(text)


@pass_context
def when(context: Context, at: datetime | None, seconds: bool = False) -> str | Markup:
    """An instant in office time: without its year while that is the present one."""
    if at is None:
        return "—"
    local, now = office_time(at), office_time(context["now"])
    clock = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    said = f"{_day(context['language'], local.date(), now.date())} {clock}"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(), said)


@pass_context
def day(context: Context, on: date | None) -> str | Markup:
    """A day, without its year while that is the present one."""
    if on is None:
        return "—"
    said = _day(context["language"], on, office_time(context["now"]).date())
    return Markup('<time datetime="{}">{}</time>').format(on.isoformat(), said)


def _day(language: str, on: date, today: date) -> str:
    if language == "zh":
        return (
            f"{on.month}月{on.day}日"
            if on.year == today.year
            else f"{on:%Y}年{on.month}月{on.day}日"
        )
    return f"{on.day} {on:%b}" if on.year == today.year else f"{on.day} {on:%b %Y}"


@pass_context
def span(context: Context, length: timedelta | float) -> str:
    """A length of time in its two largest units; a number is in seconds."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    minutes = int(abs(seconds) // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    units = (("天", "d"), ("小时", "h"), ("分", "min"))
    counted = [(n, u) for n, u in zip((days, hours, minutes), units, strict=True)]
    first = next((i for i, (n, _) in enumerate(counted) if n), 2)
    parts = [
        f"{n} {_say(context['language'], *unit)}"
        for n, unit in counted[first : first + 2]
        if n or counted[first][0] == 0
    ]
    return " ".join(parts[: 2 if first < 2 else 1])


@pass_context
def worked(context: Context, time: Worked) -> str:
    """So much working time, in working days of the office and hours."""
    hours, minutes = divmod(time.seconds // 60, 60)
    units = ((time.days, "个工作日", "wd"), (hours, "小时", "h"), (minutes, "分", "min"))
    said = [f"{n} {_say(context['language'], zh, en)}" for n, zh, en in units if n]
    return " ".join(said[:2]) or _say(context["language"], "不足 1 分", "under 1 min")


@pass_context
def ago(context: Context, at: datetime | None) -> str:
    """How long an instant is past, or how far ahead."""
    if at is None:
        return "—"
    length = context["now"] - at
    said = span(context, length)
    if length.total_seconds() < 0:
        return _say(context["language"], f"{said}后", f"in {said}")
    return _say(context["language"], f"{said}前", f"{said} ago")


@pass_context
def place(context: Context, path: str, levels: int = 2) -> str | Markup:
    """A territory by its name and, of ``levels`` in all, those above it; by its path where the
    tree has none: the log may name what somebody misspelt."""
    if path == EVERYWHERE:
        return t(context, "全部属地", "everywhere")
    territory = context["office"].territory
    parts = path.rstrip("/").split("/")
    steps = ["/".join(parts[: n + 1]) + "/" for n in range(len(parts))]
    nodes = in_tree(territory, steps)
    if len(nodes) < len(steps):
        return Markup("<code>{}</code>").format(path)
    today = office_time(context["now"]).date()
    return data(context, " / ".join(node.called(today) for node in nodes[-levels:]))


def in_tree(territory: Territory, paths: Iterable[str]) -> list[Node]:
    """The territories of some paths, without those that the tree does not have: a right may have
    been given for a misspelt one."""
    found = []
    for path in paths:
        with suppress(Refused):
            found.append(territory.node(path))
    return found


def icon(name: str, title: str = "") -> Markup:
    """A picture of the sprite; without a title it says nothing to those who cannot see it."""
    hidden = Markup(' aria-hidden="true"') if not title else Markup(' role="img" aria-label="{}"')
    return Markup('<svg class="icon" width="18" height="18"{}><use href="{}#{}"/></svg>').format(
        hidden.format(title) if title else hidden, static.address("icons.svg"), name
    )


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as per cent; a dash where there is none."""
    return "—" if share is None else f"{rounded(share, digits + 2) * 100:.{digits}f} %"


def fixed(value: float | None, digits: int) -> str:
    """A number to so many decimals; a dash where there is none."""
    return "—" if value is None else str(rounded(value, digits))


@pass_context
def number(_context: Context, value: float | None) -> str:
    """A number with its thousands apart."""
    return "—" if value is None else f"{value:,}"


def here(path: str, **changed: Any) -> str:
    """An address with its query, values left out that are None or empty; lists are repeated."""
    kept = {k: v for k, v in changed.items() if v not in (None, "", [], ())}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


_env.globals.update(
    t=t,
    word=word,
    data=data,
    when=when,
    day=day,
    span=span,
    worked=worked,
    ago=ago,
    place=place,
    icon=icon,
    percent=percent,
    fixed=fixed,
    number=number,
    here=here,
    static=static.address,
    CONSOLE=CONSOLE,
    escape=escape,
    quote=quote,
    depth=depth,
    timedelta=timedelta,
)
