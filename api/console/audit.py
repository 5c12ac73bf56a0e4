"""审计: who did what to which object when, and who looked at whose data."""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query
from fastapi.responses import Response
from pydantic import BeforeValidator, Field, StringConstraints

from api import audit as api
from api import privacy
from api.auth import CONSOLE
from api.console.metrics import Filled, midnight, places
from api.console.pages import page, query
from api.console.session import AtConsole, Visitor, pages
from api.schemas import words as s
from api.schemas.audit import AuditAnswer, AuditedEvent, AuditQuery
from api.schemas.personal import AccessQuery
from api.services import API
from domain import words
from domain.errors import Refused
from domain.privacy import Purpose
from domain.roles import Reading, scope

router: Final = pages("/audit")

Position = Annotated[int, Field(ge=1, le=2**53)]
_CASE: Final = re.compile(r"(case:)?\d{8}-[a-z2-7]{8}", re.IGNORECASE)
"""A number that we gave a case; those that come from elsewhere may have small letters."""


def _as_given(typed: Any) -> Any:
    """A case by its number as we gave it, in whatever letters that is typed."""
    typed = typed.strip() if isinstance(typed, str) else typed
    return typed[-17:].upper() if isinstance(typed, str) and _CASE.fullmatch(typed) else typed


_TYPED: Final = StringConstraints(
    strip_whitespace=True, pattern=r"^[A-Za-z0-9._:-]{1,80}$", max_length=80
)
Typed = Annotated[str, _TYPED, BeforeValidator(_as_given)]
"""An id as people type or paste it: of an object, a case, a request."""

Account = Annotated[Typed, StringConstraints(to_lower=True)]
"""An account has no capitals, though a phone's keyboard begins with one."""

KINDS: Final = {
    "case": ("事项", "Cases"),
    "territory": ("属地", "Territories"),
    "staff": ("人员与单位", "People and units"),
    "privacy": ("个人信息", "Personal data"),
    "webhook": ("消息推送", "Webhooks"),
    "projection": ("投影运维", "Read models"),
    "catalogue": ("事项目录", "Catalogue"),
    "calendar": ("工作日历", "Calendar"),
}
"""What things happen to, by how the names of events begin."""

CHAIN: Final = 100
"""Entries of one request that are shown beside an entry."""


class Asked(Filled):
    """Which entries; the days are whole, both included."""

    actor: Account | None = None
    object: Typed | None = None
    action: s.EventName | None = None
    correlation: Typed | None = None
    territory: s.Scope | None = None
    since: s.Day | None = None
    until: s.Day | None = None
    after: s.Cursor | None = None


class AskedAccess(Filled):
    """Which looks at personal data."""

    actor: Account | None = None
    case: Typed | None = None
    purpose: Purpose | None = None
    territory: s.Scope | None = None
    since: s.Day | None = None
    until: s.Day | None = None
    after: s.Cursor | None = None


@router.get("")
def audit(me: AtConsole, asked: Annotated[Asked, Query()]) -> Response:
    """The trail, latest first."""
    wanted = _wanted(asked)
    found = api.audit(
        query(AuditQuery, wanted | _kept(after=asked.after, limit=50)), me.desk, me.seen
    )
    return page(
        me,
        "audit.html",
        asked=asked,
        found=found,
        query=wanted,
        names=me.names(row.actor for row in found.rows),
        actions=_actions(),
        kinds={kind: me.t(*said) for kind, said in KINDS.items()},
        places=_places(me),
        files={
            form: _address(f"{API}/audit/export", wanted | {"format": form})
            for form in ("csv", "xlsx")
        },
        following=found.next
        and _address(f"{CONSOLE}/audit", _typed(asked) | {"after": found.next}),
        first=asked.after and _address(f"{CONSOLE}/audit", _typed(asked)),
    )


@router.get("/access")
def audit_access(me: AtConsole, asked: Annotated[AskedAccess, Query()]) -> Response:
    """Who looked at whose personal data, and why."""
    if not me.reads(Reading.AUDIT):
        raise Refused("query.not_permitted", reading=Reading.AUDIT.value)
    wanted = query(
        AccessQuery,
        _kept(
            actor=asked.actor,
            case=asked.case,
            purpose=asked.purpose,
            territory=asked.territory,
            **_window(asked),
            after=asked.after,
            limit=50,
        ),
    )
    found = privacy.access(wanted, me.desk, me.seen)
    return page(
        me,
        "audit-access.html",
        asked=asked,
        found=found,
        names=me.names(row.actor for row in found.rows),
        purposes=list(Purpose),
        places=_places(me),
        following=found.next
        and _address(f"{CONSOLE}/audit/access", _typed(asked) | {"after": found.next}),
        first=asked.after and _address(f"{CONSOLE}/audit/access", _typed(asked)),
    )


@router.get("/{entry}")
def audit_entry(entry: Position, me: AtConsole) -> Response:
    """One entry: before and after, the event as it is stored, and what belongs to it."""
    found = api.audited(entry, s.Known(), me.desk, me.seen)
    chain = _chain(me, found) if found.correlation else []
    return page(
        me,
        "audit-entry.html",
        found=found,
        changes=changes(found.before, found.after),
        raw=json.dumps(found.event, ensure_ascii=False, indent=2),
        fields=_flat(found.event),
        chain=chain,
        most=CHAIN,
        names=me.names([found.actor, *(row.actor for row in chain)]),
    )


def _chain(me: Visitor, found: AuditedEvent) -> list[AuditAnswer]:
    """What has the same correlation, in order. A process of the system gives all it does the same
    one: of so many only what concerns the same object."""
    wanted = AuditQuery(correlation=found.correlation, limit=CHAIN)
    rows = api.audit(wanted, me.desk, me.seen).rows
    if len(rows) == CHAIN:
        wanted = wanted.model_copy(update={"object": found.object})
        rows = api.audit(wanted, me.desk, me.seen).rows
    return rows[::-1]


FACTS: Final = {
    "state": ("状态", "State"),
    "territory": ("属地", "Territory"),
    "place_name": ("地点", "Place"),
    "place_version": ("属地版本", "Version of the place"),
    "tier": ("层级", "Tier"),
    "highest": ("最高层级", "Highest tier"),
    "holder": ("责任属地", "Holder"),
    "unit": ("责任单位", "Unit"),
    "worker": ("网格员", "Grid worker"),
    "handler": ("处置人", "Handler"),
    "reporter": ("上报人编号", "Reporter's id"),
    "source": ("来源", "Source"),
    "intake": ("受理层级", "Taken in at"),
    "category": ("类别代码", "Category code"),
    "category_zh": ("类别", "Category in Chinese"),
    "category_en": ("类别英文名", "Category"),
    "size": ("大小", "Size"),
    "filed_size": ("立案时大小", "Size when filed"),
    "longitude": ("经度", "Longitude"),
    "latitude": ("纬度", "Latitude"),
    "occurred_at": ("发现时间", "Seen at"),
    "reported_at": ("上报时间", "Reported at"),
    "filed_at": ("立案时间", "Filed at"),
    "due": ("时限", "Due"),
    "provisional": ("时限暂定", "Provisional due"),
    "limit_amount": ("时限长度", "Length of the limit"),
    "limit_unit": ("时限单位", "Unit of the limit"),
    "contact_due": ("首次联系时限", "First contact due"),
    "contacted_at": ("首次联系", "First contact"),
    "parked_until": ("挂账至", "Parked until"),
    "breached": ("已超期", "Breached"),
    "episode": ("办理轮次", "Episode"),
    "returns": ("下派次数", "Returns"),
    "sent_back": ("退回原因", "Why it is at hand again"),
    "asked": ("待批申请", "Request that waits"),
    "asked_by": ("申请人", "Asked by"),
    "called": ("吹哨单位", "Units called"),
    "awaited": ("待报到单位", "Units awaited"),
    "parent": ("上级事项", "Parent"),
    "survivor": ("主事项", "Survivor"),
    "outcome": ("结果", "Outcome"),
    "closed_at": ("结案时间", "Closed at"),
    "called_back": ("已回访", "Called back"),
    "callback_days": ("回访期限天数", "Days for callbacks"),
    "callback_attempts": ("回访次数上限", "Callbacks at most"),
    "callback_until": ("回访截止", "Call back until"),
}
"""What a case's facts are called; its version and last change stand above."""

_WORDS: Final = {
    "state": words.STATES,
    "source": words.SOURCES,
    "size": words.SIZES,
    "filed_size": words.SIZES,
    "asked": words.ASKED,
    "limit_unit": words.LIMIT_UNITS,
    "sent_back": words.SENT_BACK,
    "outcome": words.OUTCOMES,
}
_TIERED: Final = ("tier", "highest", "intake")


def changes(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> list[tuple[tuple[str, str], tuple[str, Any], tuple[str, Any], bool]]:
    """Each fact of a case before and after, and whether it changed; what was never there is not
    told. A value comes with how it reads: as a word, an instant, a tier or as it is."""
    if after is None:
        return []
    rows = []
    for name, said in FACTS.items():
        was, now = (before or {}).get(name), after.get(name)
        if was in (None, []) and now in (None, []):
            continue
        rows.append((said, _read(name, was), _read(name, now), was != now))
    return rows


def _read(name: str, value: Any) -> tuple[str, Any]:
    if value in (None, []):
        return "none", None
    if isinstance(value, datetime):
        return "when", value
    if name in _TIERED:
        return "tier", value
    if name in _WORDS and value in _WORDS[name]:
        return "word", _WORDS[name][value]
    if isinstance(value, bool):
        return "bool", value
    if name.endswith("_en"):
        return "english", value
    return "text", ", ".join(value) if isinstance(value, list) else value


def _flat(event: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The fields of an event one by one, those inside others with their whole name."""
    if isinstance(event, dict) and event:
        return [
            found
            for name, value in event.items()
            for found in _flat(value, f"{prefix}.{name}" if prefix else str(name))
        ]
    if isinstance(event, list):
        return [(prefix, ", ".join(map(str, event)))]
    return [(prefix, event)]


# --- what was asked ---


def _wanted(asked: Asked) -> dict[str, Any]:
    """What the list and the file are asked for alike."""
    named = asked.object
    if named and ":" not in named and not named.isalpha():
        named = f"case:{named}"  # a case by its number, as people write it
    return _kept(
        actor=asked.actor,
        object=named,
        action=asked.action,
        correlation=asked.correlation,
        territory=asked.territory,
        **_window(asked),
    )


def _window(asked: Asked | AskedAccess) -> dict[str, Any]:
    until = asked.until and asked.until + timedelta(days=1)
    return {
        "since": asked.since and midnight(asked.since).isoformat(),
        "until": until and midnight(until).isoformat(),
    }


def _typed(asked: Asked | AskedAccess) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_none=True, exclude={"after"})


def _kept(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _address(path: str, query: dict[str, Any]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _actions() -> list[tuple[str, Sequence[tuple[str, words.Word]]]]:
    """All that can happen, by the kind of object."""
    kinds: dict[str, list[tuple[str, words.Word]]] = {}
    for name, word in words.EVENTS.items():
        kinds.setdefault(name.partition(".")[0], []).append((name, word))
    return list(kinds.items())


def _places(me: Visitor) -> list[tuple[str, str, int]]:
    """The territories one may read the trail of, and what lies directly in them."""
    seen = scope(me.desk.by, Reading.AUDIT).territories
    return places(me.desk.office.territory, seen, "", me.desk.at)
