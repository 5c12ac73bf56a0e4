"""工作台: what somebody has to do, in views with their counts, page by page.

A view is what the API's ``api.views`` say it is; filters narrow it. The list is a part of its page
that filters, views and news exchange; a further page of rows takes the place of the button for it.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import Query
from fastapi.responses import Response
from pydantic import model_validator

from api import cases
from api.console import pinyin
from api.console.clock import Bar, bar
from api.console.pages import in_tree, page
from api.console.session import AtConsole, Visitor, pages
from api.schemas import words as s
from api.schemas.cases import CaseQuery, TimelineQuery
from api.views import in_view, views
from domain.calendar import office_time
from domain.roles import PERMISSIONS, Reading, scope
from domain.sla import Limit, Unit
from projections.gateway import CaseCard

router: Final = pages("/worklist")

ROWS: Final = 40
"""Cases of a page of the list."""

View = Literal["todo", "due_soon", "to_check", "sent_back", "open", "ended"]

VIEWS: Final[dict[View, tuple[str, str]]] = {
    "todo": ("待我处理", "For me"),
    "due_soon": ("即将超期", "Nearly due"),
    "to_check": ("待核查", "To check"),
    "sent_back": ("退回", "Sent back"),
    "open": ("全部在办", "In hand"),
    "ended": ("已办", "Ended"),
}

BULK: Final = {
    "accept": "AcceptCase",
    "dispatch": "DispatchCase",
    "check": "CheckCase",
    "close": "CloseCase",
    "note": "AddNote",
}
"""What can be done with many cases at once, by the last part of its path."""

_NUMBER: Final = re.compile(r"\+?(?:[\s()-]*\d){7,15}[\s()-]*")
"""What may be a telephone's number, and as well a part of a case's, or a house's."""

_PHONE: Final = 11
"""So many digits, or a +, are rather a telephone's than anything else's."""


class Wanted(CaseQuery):
    """The query string of the worklist: a view, narrowed; ``find`` is an id, a number or words."""

    view: View | None = None
    find: Annotated[str, Query(max_length=100)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Fields of a form that were left empty ask for nothing."""
        kept = ((k, [x for x in v if x] if isinstance(v, list) else v) for k, v in given.items())
        return {k: v for k, v in kept if v not in ("", [])}


class Line(NamedTuple):
    """A case and how it stands with its time limit."""

    case: CaseCard
    bar: Bar


@router.get("")
def worklist(me: AtConsole, wanted: Annotated[Wanted, Query()]) -> Response:
    """The cases one may see, filtered, page by page."""
    view = wanted.view or _first(me)
    asked, *others = _meant(wanted)
    then = me.desk.moment(asked.as_of)
    fields = views(me.desk.office, then.at)[view]
    found, as_of = cases.listed(in_view(asked, fields), me.desk, then, me.seen), cases.past(then)
    if others and not found.rows:
        asked = others[0]
        found = cases.listed(in_view(asked, fields), me.desk, then, me.seen)
    counts = None
    if me.part in (None, "work") and as_of is None:
        counts = cases.counts(_narrowing(asked), me.desk, me.seen).model_dump()
    shown = {name: getattr(wanted, name) for name in wanted.model_fields_set - {"after"}}
    shown |= {"view": view, "as_of": as_of}
    return page(
        me,
        "worklist.html",
        lines=[Line(row, _bar(me, row, then.at)) for row in found.rows],
        names=me.names(row.handler or row.worker for row in found.rows),
        units=me.desk.office.staff.units,
        next=found.next,
        as_of=as_of,
        view=view,
        views=VIEWS,
        counts=counts,
        most=cases.COUNTED,
        shown=shown,
        wanted=wanted,
        syllables=pinyin.syllables,
        categories=sorted(me.desk.office.catalogue.categories.values(), key=lambda each: each.code),
        bulk=[path for path, command in BULK.items() if _may_somewhere(me, command)],
    )


@router.get("/places")
def places(me: AtConsole, under: s.Scope | None = None) -> Response:
    """The territories directly below one, or those that one's scope begins with."""
    territory = me.desk.office.territory
    own = scope(me.desk.by, Reading.CASES).territories
    if under is not None:
        below = list(territory.node(under).children.values())
    elif "" in own:
        below = list(territory.districts.values())
    else:
        below = in_tree(territory, own)
    today = office_time(me.desk.at).date()
    nodes = [node for node in below if node.in_force(today)]
    return page(me, "worklist-places.html", nodes=nodes, today=today, leaf=4)


@router.get("/{case}/preview")
def preview(me: AtConsole, case: s.CaseId) -> Response:
    """A case beside the list: its facts and its last steps."""
    row = me.desk.services.gateway.card(me.desk.by, case, me.seen)
    steps = cases.timeline(case, TimelineQuery(), me.desk, me.seen).steps[-8:][::-1]
    people = [row.handler, row.worker, *(step.actor for step in steps)]
    return page(
        me,
        "worklist-preview.html",
        line=Line(row, _bar(me, row, me.desk.at)),
        steps=steps,
        names=me.names(people),
        units=me.desk.office.staff.units,
    )


def _first(me: Visitor) -> View:
    """The view that somebody begins with: what there is to do, for whoever has something to do."""
    does = any(_may_somewhere(me, command) for command in PERMISSIONS if command in _WORK)
    return "todo" if does else "open"


_WORK: Final = (
    "AcceptCase",
    "VerifyCase",
    "DispatchCase",
    "CheckCase",
    "CloseCase",
    "WhistleCase",
    "RecordCallback",
)


def _may_somewhere(me: Visitor, command: str) -> bool:
    """Whether one of the visitor's roles may do something at all."""
    return any(grant.role in PERMISSIONS[command].roles for grant in me.desk.by.grants)


def _narrowing(asked: CaseQuery) -> CaseQuery:
    """What narrows every view: what was asked for, without what makes the view and the page."""
    own = asked.model_fields_set - {"state", "order", "after", "limit", "open", "todo", "as_of"}
    fields = {name: getattr(asked, name) for name in own & set(CaseQuery.model_fields)}
    return CaseQuery.model_construct(**fields)


def _meant(wanted: Wanted) -> list[CaseQuery]:
    """The API's query for what was asked for, whatever the view; of digits that may be words or a
    telephone's the likelier first: it is the other one where that finds nothing."""
    found = (wanted.find or "").strip()
    fields: dict[str, Any] = {} if "limit" in wanted.model_fields_set else {"limit": ROWS}
    kinds = ["text"] if len(found) >= 2 else []
    if _NUMBER.fullmatch(found):
        likely = found.startswith("+") or sum(map(str.isdigit, found)) >= _PHONE
        kinds.insert(0 if likely else 1, "phone")
    asked = [{kind: found} for kind in kinds] or [{}]
    return [wanted.model_copy(update=fields | each) for each in asked]


def _bar(me: Visitor, row: CaseCard, at: datetime) -> Bar:
    """How a case stands, at a moment, with the limit that it was filed with."""
    limit = None
    if row.limit_amount is not None and row.limit_unit is not None:
        limit = Limit(row.limit_amount, Unit(row.limit_unit))
    return bar(me.desk.office.calendar, row, limit, at)
