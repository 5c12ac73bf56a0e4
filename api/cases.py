"""Cases: reporting one, every step of its life, and reading it as it stands or once stood.

Each command is one line of ``STEPS``: where it is posted, what its body is, and how the body
becomes the command's fields. Times come from the server's clock, ids are made here, and what
belongs to an old system's history is never taken from a request.
"""

import base64
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import reduce
from itertools import takewhile
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from api.auth import AtDesk, Seen, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import case_commands as s
from api.schemas.cases import (
    CardQuery,
    CaseCounts,
    CaseDone,
    CasePage,
    CaseQuery,
    Related,
    StepAnswer,
    Timeline,
    TimelineQuery,
)
from api.schemas.cases import CaseCard as CardAnswer
from api.schemas.metrics import shown
from api.schemas.words import Body, CaseId, Known, Nothing, tier, tier_name
from api.views import in_view, views
from domain import words
from domain.aggregates import case_stream
from domain.answers import Answer, Receipt, Verdict
from domain.calendar import office_time
from domain.case import commands as c
from domain.case.guards import sources
from domain.case.states import ENDED, OPEN, Facts
from domain.errors import Refused
from domain.history import Recorded
from domain.places import within
from domain.roles import Actor, Reading, Role, permitted, scope
from projections import worklist
from projections.conditions import CaseFilter
from projections.gateway import CaseCard
from projections.paging import Listing
from projections.past import Moment
from projections.todo import ToDo

RELATED_SHOWN: Final = 10
"""Related cases of one case, at most."""

ISSUED: Final = problems(404, 409, 412, 413, 415)
"""What a command to a case may answer besides success."""

router: Final = routes("/cases", ["事项 Cases"])

# --- ids and versions -------------------------------------------------------------------------


def new_id(day: date) -> str:
    """A case's id that people can read out: the day and 8 random characters."""
    return f"{day:%Y%m%d}-{base64.b32encode(secrets.token_bytes(5)).decode()}"


async def expected_version(
    if_match: Annotated[
        str | None,
        Header(
            pattern=r'^("\d{1,9}"|\*)$',
            description="`ETag` of what was seen: the command is refused if it has changed since.",
            examples=['"3"'],
        ),
    ] = None,
) -> int | None:
    """The version that the caller has seen, if any was named."""
    return None if if_match in (None, "*") else int(str(if_match).strip('"'))


Expected = Annotated[int | None, Depends(expected_version)]

# --- the steps of a life ----------------------------------------------------------------------


def _as_given(_desk: Desk, body: Body) -> dict[str, Any]:
    """Fields of the same names, lists as tuples."""
    given = {name: getattr(body, name) for name in type(body).model_fields}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def _filing(desk: Desk, body: s.FileIn) -> dict[str, Any]:
    terms = desk.office.catalogue.terms(body.category)
    return {"terms": terms, "tier": body.tier and tier(body.tier)}


def _reclassifying(desk: Desk, body: s.Reclassify) -> dict[str, Any]:
    return {"terms": desk.office.catalogue.terms(body.category), "reason": body.reason}


def _assigning(desk: Desk, body: s.Assign) -> dict[str, Any]:
    staff = desk.office.staff
    unit, worker = body.unit and staff.unit(body.unit), body.worker and staff.actor(body.worker)
    return _as_given(desk, body) | {"unit": unit, "worker": worker}


def _whistling(desk: Desk, body: s.Whistle) -> dict[str, Any]:
    return _as_given(desk, body) | {"units": tuple(map(desk.office.staff.unit, body.units))}


def _splitting(desk: Desk, body: s.Split) -> dict[str, Any]:
    today = office_time(desk.at).date()
    return {
        "children": tuple(
            c.ChildReport(case=new_id(today), description=part.description, required=part.required)
            for part in body.children
        )
    }


def _merging(desk: Desk, body: s.Merge) -> dict[str, Any]:
    survivor, _ = desk.services.store.case(body.into)
    if not may_know(desk, survivor.facts):
        raise Refused("case.unknown", case=body.into)
    return {"into": body.into}


def _extending(_desk: Desk, body: s.AskExtension) -> dict[str, Any]:
    return {"more": body.more.limit(), "reason": body.reason}


@dataclass(frozen=True, slots=True)
class Step:
    """One command: ``POST /cases/{case}/{path}``. ``prepare`` makes its fields out of the body;
    ``reads`` says that it asks the database."""

    path: str
    command: type[Any]
    zh: str
    en: str
    body: type[Body] = Nothing
    prepare: Callable[[Desk, Any], dict[str, Any]] = _as_given
    reads: bool = False


STEPS: Final = (
    Step("verify", c.VerifyCase, "核实", "Verify the report", s.Noted),
    Step("reject", c.RejectCase, "不予立案", "Reject the report", s.Reasoned),
    Step("file", c.FileCase, "立案", "File", s.FileIn, _filing),
    Step("reclassify", c.ReclassifyCase, "改类", "Reclassify", s.Reclassify, _reclassifying),
    Step("ask-void", c.AskVoid, "申请作废", "Ask to void", s.Reasoned),
    Step("approve-void", c.ApproveVoid, "批准作废", "Void, as a second person"),
    Step("dispatch", c.DispatchCase, "派遣", "Dispatch", s.Assign, _assigning),
    Step("transfer", c.TransferCase, "转派", "Transfer", s.Transfer, _assigning),
    Step("accept", c.AcceptCase, "签收", "Accept"),
    Step("escalate", c.EscalateCase, "上报上级", "Escalate one tier", s.Escalate),
    Step("return", c.ReturnCase, "下派", "Return one tier down", s.SendBack),
    Step("whistle", c.WhistleCase, "吹哨", "Call units together", s.Whistle, _whistling),
    Step("report-in", c.ReportIn, "报到", "Report in", s.ForUnit),
    Step("mark-absent", c.MarkAbsent, "未报到", "Mark a unit absent", s.ForUnit),
    Step("split", c.SplitCase, "拆分", "Split into children", s.Split, _splitting),
    Step("merge", c.MergeCase, "并案", "Merge into another case", s.Merge, _merging, reads=True),
    Step("ask-park", c.AskPark, "申请挂账", "Ask to park", s.AskPark),
    Step("approve-park", c.ApprovePark, "批准挂账", "Park, as a second person"),
    Step("resume", c.ResumeCase, "恢复", "Resume"),
    Step("ask-extension", c.AskExtension, "申请延时", "Ask for time", s.AskExtension, _extending),
    Step("approve-extension", c.ApproveExtension, "批准延时", "Extend, as a second person"),
    Step("decline", c.DeclineRequest, "不同意", "Decline what was asked", s.Reasoned),
    Step("mark-breach", c.MarkBreach, "超期", "Record the breach of the due (system only)"),
    Step("recompute-due", c.RecomputeDue, "重算时限", "Reckon the due again"),
    Step("resolve", c.ResolveCase, "处置反馈", "Resolve", s.Resolve),
    Step("check", c.CheckCase, "核查", "Check", s.Check),
    Step("close", c.CloseCase, "结案", "Close", s.Close),
    Step("callback", c.RecordCallback, "回访", "Record a callback", s.Callback),
    Step("evaluate", c.EvaluateCase, "评价", "Evaluate", s.Evaluate),
    Step("reopen", c.ReopenCase, "重办", "Reopen", s.Reasoned),
    Step("note", c.AddNote, "备注", "Add a note", s.NoteIn),
)


def _endpoint(step: Step) -> Callable[..., Awaitable[Response]]:
    """What a step's route does; FastAPI reads the body's type from the annotation."""
    needs_calendar = any(field.name == "calendar" for field in fields(step.command))

    async def endpoint(*, case: CaseId, body: Any, desk: AtDesk, expected: Expected) -> Response:
        prepared = await _prepared(desk, step, case, body)
        if needs_calendar:
            prepared["calendar"] = desk.office.calendar
        command = step.command(case=case, by=desk.by, at=desk.at, **prepared)
        return await carry_out(desk, command, expected=expected)

    endpoint.__annotations__["body"] = step.body
    if step.body is Nothing:
        endpoint.__kwdefaults__ = {"body": Nothing()}
    return endpoint


ENDPOINTS: Final = {step.path: _endpoint(step) for step in STEPS}
"""By the last part of their paths."""

for _step in STEPS:
    router.add_api_route(
        f"/{{case}}/{_step.path}",
        ENDPOINTS[_step.path],
        methods=["POST"],
        summary=f"{_step.zh} · {_step.en}",
        description=_step.command.__doc__ or "",
        operation_id=f"case_{_step.path.replace('-', '_')}",
        response_model=CaseDone,
        responses=ISSUED,
    )


@router.post(
    "",
    status_code=201,
    summary="上报 · Report a case",
    response_model=CaseDone,
    responses=ISSUED,
)
async def report(body: s.Report, desk: AtDesk) -> Response:
    """上报一件事项；带 `category` 时一并立案。Report; with a `category` it is filed at once.

    居民只能以本人名义上报。A resident reports in the own name.
    """
    case = new_id(office_time(desk.at).date())
    commands: list[Any] = [_reporting(desk, body, case)]
    if body.category is not None:
        terms = desk.office.catalogue.terms(body.category)
        calendar = desk.office.calendar
        commands.append(
            c.FileCase(case=case, by=desk.by, at=desk.at, terms=terms, calendar=calendar)
        )
    return await carry_out(desk, *commands, status=201)


COUNTED: Final = 1_000
"""No more cases than these are counted for a view."""

# --- reading ----------------------------------------------------------------------------------


@router.get("", summary="工作台与搜索 · Worklist and search", responses=problems())
def worklist_page(wanted: Annotated[CaseQuery, Query()], desk: AtDesk, seen: Seen = 0) -> CasePage:
    """本人可见的事项，按条件筛选、分页，个人信息脱敏。The cases one may see, filtered, page by
    page, with masks of what is personal; with `as_of`, as they stood then."""
    then = desk.moment(wanted.as_of)
    found = listed(wanted, desk, then, seen)
    rows = [CardAnswer.model_validate(row) for row in found.rows]
    return CasePage(rows=rows, next=found.next, as_of=past(then))


def past(then: Moment) -> str | None:
    """A moment of the past as ``as_of`` takes it again; None for the present."""
    return None if then.position is None else f"{then.position}@{shown(then.at)}"


def listed(wanted: CaseQuery, desk: Desk, then: Moment, seen: int) -> Listing[CaseCard]:
    """A page of cases as of a moment, which is what ``as_of`` asks for."""
    gateway, known = desk.services.gateway, desk.known(wanted.position, seen)
    asked = case_filter(wanted, desk.by, then.at)
    if then.position is None:
        return gateway.worklist(desk.by, asked, wanted.after, wanted.limit, known)
    return gateway.worklist_as_of(
        desk.by,
        asked,
        then.position,
        desk.services.store.histories,
        wanted.after,
        wanted.limit,
        known,
    )


def case_filter(wanted: CaseQuery, by: Actor, at: datetime) -> CaseFilter:
    """What a query string asks for at a moment."""
    return CaseFilter(
        territory=wanted.territory,
        tier=wanted.tier and tier(wanted.tier),
        states=_states(wanted),
        person=wanted.person,
        unit=wanted.unit,
        called=wanted.called,
        asked=wanted.asked,
        category=wanted.category,
        size=wanted.size,
        due_before=wanted.due_before,
        parent=wanted.parent,
        sent_back=wanted.sent_back,
        todo=ToDo(by, at) if wanted.todo else None,
        text=wanted.text,
        phone=wanted.phone,
        order=wanted.order,
    )


def _states(wanted: CaseQuery) -> tuple[str, ...]:
    """The states asked for: those named, else by whether the case is still in hand."""
    if wanted.state:
        return tuple(wanted.state)
    everything = any(given is not None for given in (wanted.text, wanted.phone, wanted.parent))
    if wanted.open is None and (everything or wanted.todo):
        return ()
    return ENDED if wanted.open is False else OPEN


@router.get("/counts", summary="工作台计数 · Counts of the worklist", responses=problems())
def counts(wanted: Annotated[CaseQuery, Query()], desk: AtDesk, seen: Seen = 0) -> CaseCounts:
    """各视图中符合条件的事项数；1001 表示超过 1000。How many cases asked for are in each view;
    1,001 says more than 1,000. Order and page are of no consequence, and so is `as_of`."""
    kinds = {name: in_view(wanted, fields) for name, fields in views(desk.office, desk.at).items()}
    found = desk.services.gateway.counts(
        desk.by,
        [case_filter(each, desk.by, desk.at) for each in kinds.values()],
        COUNTED,
        desk.known(wanted.position, seen),
    )
    return CaseCounts.model_validate(dict(zip(kinds, found, strict=True)))


@router.get("/{case}", summary="事项卡片 · Case card", responses=problems(404))
def card(
    case: CaseId,
    desk: AtDesk,
    response: Response,
    wanted: Annotated[CardQuery, Query()],
    seen: Seen = 0,
) -> CardAnswer:
    """事项现状，或某一版本、某一时刻的状态，个人信息脱敏。A case as it stands, or once stood, with
    masks of what is personal: `POST …/personal` shows it."""
    row = desk.services.gateway.card(desk.by, case, desk.known(wanted.position, seen))
    if wanted.version is not None or wanted.at is not None or wanted.as_of is not None:
        upto = desk.moment(wanted.as_of).position
        row = row.with_facts(_as_of(desk, case, wanted.version, wanted.at, upto))
    response.headers["ETag"] = f'"{row.version}"'
    return CardAnswer.model_validate(row)


@router.get("/{case}/timeline", summary="办理过程 · Timeline", responses=problems(404))
def timeline(
    case: CaseId, wanted: Annotated[TimelineQuery, Query()], desk: AtDesk, seen: Seen = 0
) -> Timeline:
    """每一步的时间、人员和内容，个人信息隐去。Every step with its time, its person and its details;
    what is personal is hidden: `POST …/personal` shows it."""
    upto = desk.moment(wanted.as_of).position
    known = desk.known(wanted.position, seen, upto or 0)
    steps = desk.services.gateway.timeline(desk.by, case, known)
    return Timeline(
        case=case,
        steps=[
            StepAnswer(
                version=step.version,
                position=step.position,
                at=step.at,
                recorded_at=step.recorded_at,
                name=step.name,
                zh=words.EVENTS[step.name].zh,
                en=words.EVENTS[step.name].en,
                actor=step.actor,
                roles=step.roles.split(",") if step.roles else [],
                tier=tier_name(details["tier"]),
                episode=details["episode"],
                details=details,
            )
            for step in steps
            if upto is None or step.position <= upto
            for details in [json.loads(step.details)]
        ],
    )


@router.get("/{case}/related", summary="相关事项 · Related cases", responses=problems(404))
def related(
    case: CaseId, wanted: Annotated[Known, Query()], desk: AtDesk, seen: Seen = 0
) -> Related:
    """同类别、同网格或附近、前后三十天内上报的事项，新的在前，可能重复。Cases of the same category,
    in the same grid or near by, reported within thirty days: one may be the same matter."""
    rows = desk.services.gateway.related(
        desk.by, case, RELATED_SHOWN, desk.known(wanted.position, seen)
    )
    return Related(rows=[CardAnswer.model_validate(row) for row in rows])


def _as_of(
    desk: Desk, case: str, version: int | None, at: datetime | None, upto: int | None
) -> worklist.CaseRow:
    """The facts that the first events of a case give: the fold is the read model's own."""
    history = desk.services.store.history(case_stream(case))
    if upto is not None:
        history = [recorded for recorded in history if recorded.position <= upto]
    row = reduce(worklist.fold, known_by(history, case, version, at), None)
    assert row is not None
    return row


def known_by(
    history: list[Recorded[Any]], case: str, version: int | None, at: datetime | None
) -> list[Recorded[Any]]:
    """The first events of a case: up to a version, up to an instant, or all of them.

    Raises:
        Refused: ``request.no_such_version``.
    """
    known = list(takewhile(lambda recorded: at is None or recorded.at <= at, history))
    if not known or (version is not None and version > len(known)):
        raise Refused("request.no_such_version", case=case)
    return known[:version]


# --- commands ---------------------------------------------------------------------------------


async def carry_out(
    desk: Desk, *commands: Any, expected: int | None = None, status: int = 200
) -> Response:
    """Have commands to one case stored, and answer what became of them.

    Nothing is told of a case that the caller may not know of.
    """
    command = commands[0]

    def worded(verdict: Verdict, state: Any) -> Answer:
        # A report is refused for what the caller has said, before there is a case.
        told = isinstance(verdict, Receipt) or isinstance(command, c.ReportCase)
        if not told and (state.name == "unknown" or not may_know(desk, state.facts)):
            verdict = Refused("case.unknown", case=command.case)
        return desk.worded(
            verdict, status, case=command.case, state=state.name, created=_created(command)
        )

    return await desk.answer(*commands, answering=worded, expected=expected)


def _created(command: Any) -> list[str]:
    """The ids that a command made."""
    match command:
        case c.SplitCase():
            return [child.case for child in command.children]
        case c.AttachFile():
            return [command.attachment]
        case _:
            return []


async def _prepared(desk: Desk, step: Step, case: str, body: Body) -> dict[str, Any]:
    """A command's fields. Who may not issue it is not told whether what they name is known."""
    try:
        if step.reads:
            return await run_in_threadpool(step.prepare, desk, body)
        return step.prepare(desk, body)
    except Refused:
        state, _ = await run_in_threadpool(desk.services.store.case, case)
        facts, name = state.facts, step.command.__name__
        if not may_know(desk, facts):
            raise Refused("case.unknown", case=case) from None
        if not permitted(desk.by, name, facts.place.path, facts.holder):
            raise Refused("role.not_permitted", command=name) from None
        raise


def may_know(desk: Desk, facts: Facts) -> bool:
    """Whether a case is in one's scope, one's own, or one's unit was called to it."""
    by = desk.by
    return (
        any(
            within(path, seen)
            for seen in scope(by, Reading.CASES).territories
            for path in (facts.place.path, facts.holder)
        )
        or by.id in (facts.reporter, facts.handler, facts.worker)
        or (by.unit is not None and by.unit in (facts.unit, *(unit for unit, _ in facts.calls)))
    )


def _reporting(desk: Desk, body: s.Report, case: str) -> c.ReportCase:
    return c.ReportCase(
        case=case,
        by=desk.by,
        at=desk.at,
        place=desk.office.territory.resolve(body.territory, on=office_time(desk.at).date()),
        source=_source(desk, body),
        description=body.description,
        spot=c.Spot(**body.spot.model_dump()),
        reporter=_reporter(desk, body, case),
        occurred=body.occurred,
    )


def _source(desk: Desk, body: s.Report) -> c.Source:
    """Where a report comes from: when it does not say, as usual in the role it is made in."""
    return body.source or next(iter(sources(desk.by, body.territory)), c.Source.RESIDENT)


def _reporter(desk: Desk, body: s.Report, case: str) -> c.Reporter | None:
    """Who made it known: a resident always in person; for others somebody whose id says nothing."""
    given = body.reporter
    if _reporting_as(desk, body) == {Role.RESIDENT}:
        if given is not None and given.person not in (None, desk.by.id):
            raise Refused("request.resident_report")
        known = given.model_dump(exclude={"person"}) if given else {}
        return c.Reporter(person=desk.by.id, **known)
    if given is None:
        return None
    person = given.person or f"p-{case.lower()}"
    return c.Reporter(person=person, **given.model_dump(exclude={"person"}))


def _reporting_as(desk: Desk, body: s.Report) -> set[Role]:
    """The roles that let the caller report there."""
    return {
        grant.role
        for grant in desk.by.grants
        if permitted(Actor(desk.by.id, (grant,)), "ReportCase", body.territory)
    }
