"""Personal data: shown for a purpose, who was shown what, and how a person is forgotten.

Looking is a POST: what it does is write down who looks and why, before anything is decrypted. A GET
could be set off by a link or a picture of another site, and its answer kept by what lies between.
One look is one event, and a look that is sent again is another one: its answer is never kept, not
even with an ``Idempotency-Key``.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import psycopg
import structlog
from fastapi import Path, Query, Response
from fastapi.concurrency import run_in_threadpool

from api.auth import AtDesk, Seen, routes
from api.cases import Expected, known_by
from api.desk import Desk
from api.errors import problems
from api.schemas import personal as s
from api.schemas.words import CaseId, Done, PersonId
from domain.aggregates import case_stream
from domain.case.events import CaseReported, NoteAdded
from domain.history import Recorded
from domain.places import EVERYWHERE
from domain.privacy import (
    ApproveForget,
    AskForget,
    DeclineForget,
    ForgetAsked,
    ForgetDeclined,
    PersonalField,
    PersonForgotten,
    Purpose,
    ShowPersonal,
    person_stream,
)
from domain.roles import Actor, demand, system
from domain.staff import Staff, SuspendUser
from projections.audit import as_json
from projections.conditions import AccessFilter, AuditFilter
from projections.gateway import Gateway
from projections.looks import LookRow
from projections.worklist import CaseRow

CHANGED: Final = problems(404, 409, 413, 415)
"""What asking may answer besides success."""

DECIDED: Final = problems(404, 409, 412, 413, 415)
"""What approving and declining may."""

OF_REPORTER: Final = (
    PersonalField.REPORTER_NAME,
    PersonalField.REPORTER_PHONE,
    PersonalField.REPORTER_ADDRESS,
)

_SUSPENDING: Final = system("forgetting")

log = structlog.get_logger()

router: Final = routes("", ["个人信息 Personal data"])

Person = Annotated[PersonId, Path(examples=["p-7k2qx9ma"])]

# --- looking ----------------------------------------------------------------------------------


@router.post(
    "/cases/{case}/personal",
    summary="查看个人信息 · Show personal data",
    responses=problems(404, 409, 413, 415),
)
async def show(case: CaseId, body: s.Show, desk: AtDesk, seen: Seen = 0) -> s.PersonalAnswer:
    """先记录查看人和用途，再解密。It is written down who looks and why before anything is opened.

    居民只能以 `own` 查看本人上报的事项，看不到工作人员的备注。A resident looks at the own report
    only, as `own`, and at no note of the staff.
    """
    card = await run_in_threadpool(_card, desk, case, body, seen)
    looked = await desk.execute(
        ShowPersonal(
            by=desk.by,
            at=desk.at,
            case=case,
            place=card.territory,
            holder=card.holder,
            purpose=body.purpose,
            fields=_fields(card),
            reason=body.reason,
            reporter=card.reporter,
        )
    )
    known = await run_in_threadpool(_known, desk, case, body, opened=True)
    if body.purpose is Purpose.OWN:
        known = [each for each in known if not _among_colleagues(each, desk.by.id)]
    return _shown(case, looked.position, known)


def _card(desk: Desk, case: str, body: s.Show, seen: int) -> CaseRow:
    """A case in scope that was there at the version or time asked for."""
    card = desk.services.gateway.card(desk.by, case, desk.known(seen))
    if body.version is not None or body.at is not None:
        _known(desk, case, body, opened=False)
    return card


def _known(desk: Desk, case: str, body: s.Show, *, opened: bool) -> Sequence[Recorded[Any]]:
    history = desk.services.store.history(case_stream(case), opened=opened)
    return known_by(history, case, body.version, body.at)


def _among_colleagues(step: Recorded[Any], reporter: str) -> bool:
    """Whether a step is what the staff tell one another: who reported the case reads on what
    became of it, and no note but the own."""
    return isinstance(step.event, NoteAdded) and step.actor != reporter


def _fields(card: CaseRow) -> tuple[PersonalField, ...]:
    """All there is to see of a case but its files, each of which is a look of its own."""
    hidden = {PersonalField.ATTACHMENTS, *(() if card.reporter else OF_REPORTER)}
    return tuple(field for field in PersonalField if field not in hidden)


def _shown(case: str, position: int, known: Sequence[Recorded[Any]]) -> s.PersonalAnswer:
    reported = known[0].event
    assert isinstance(reported, CaseReported), "every case begins with its report"
    who = reported.reporter
    return s.PersonalAnswer(
        case=case,
        position=position,
        description=reported.description,
        address=reported.spot.address,
        reporter=who and s.ReporterAnswer.model_validate(who),
        steps=[
            s.ShownStep(
                version=each.version,
                name=each.name,
                details=json.loads(as_json(each.event)),
            )
            for each in known
        ],
    )


@router.get("/access", summary="查看留痕 · Who looked at personal data", responses=problems())
def access(wanted: Annotated[s.AccessQuery, Query()], desk: AtDesk, seen: Seen = 0) -> s.AccessPage:
    """谁在何时因何看过谁的个人信息，新的在前。Who was shown whose personal data and what for.

    督查和管理员看本属地的，其他人只看本人上报事项的。Supervisors and administrators see the looks
    of their territories, everybody else those at the own reports.
    """
    found = desk.services.gateway.access(
        desk.by,
        AccessFilter(
            actor=wanted.actor,
            case=wanted.case,
            person=wanted.person,
            purpose=wanted.purpose,
            territory=wanted.territory,
            since=wanted.since,
            until=wanted.until,
        ),
        wanted.after,
        wanted.limit,
        desk.known(wanted.position, seen),
    )
    return s.AccessPage(rows=[_look(row) for row in found.rows], next=found.next)


def _look(row: LookRow) -> s.LookAnswer:
    return s.LookAnswer(
        position=row.position,
        at=row.at,
        actor=row.actor,
        roles=row.roles.split(",") if row.roles else [],
        case=row.case,
        territory=row.territory,
        purpose=Purpose(row.purpose),
        fields=[PersonalField(field) for field in row.fields],
    )


# --- forgetting -------------------------------------------------------------------------------


@router.get("/people/forget", summary="删除申请 · Requests to forget", responses=problems())
def forgetting(
    wanted: Annotated[s.ForgetQuery, Query()], desk: AtDesk, seen: Seen = 0
) -> s.ForgetPage:
    """谁申请删除谁的个人信息，另一人如何决定，新的在前。Who asked that whom be forgotten, and what
    another person decided."""
    gateway, known = desk.services.gateway, desk.known(wanted.position, seen)
    asked = AuditFilter(
        action=desk.services.names[ForgetAsked],
        object=person_stream(wanted.person) if wanted.person else None,
    )
    found = gateway.audit(desk.by, asked, wanted.after, wanted.limit, known)
    histories = desk.services.store.histories({row.object for row in found.rows}, gateway.head())
    requests = {
        each.position: each for history in histories.values() for each in _requests(history)
    }
    return s.ForgetPage(rows=[requests[row.position] for row in found.rows], next=found.next)


def _requests(history: list[Recorded[Any]]) -> list[s.ForgetAnswer]:
    """All that was ever asked of a person's stream, latest first, with what became of it."""
    found: list[s.ForgetAnswer] = []
    became: dict[str, Any] = {"outcome": "waiting"}
    for each in reversed(history):
        match each.event:
            case ForgetAsked() as asked:
                found.append(
                    s.ForgetAnswer(
                        position=each.position,
                        version=each.version,
                        person=asked.person,
                        territory=asked.territory,
                        reason=asked.reason,
                        cases=list(asked.cases),
                        at=each.at,
                        by=asked.by,
                        **became,
                    )
                )
            case ForgetDeclined():
                became = {"outcome": "declined", "decided_at": each.at, "decided_by": each.actor}
            case PersonForgotten():
                became = {"outcome": "forgotten", "decided_at": each.at, "decided_by": each.actor}
    return found


@router.post(
    "/people/{person}/forget/ask",
    summary="申请删除个人信息 · Ask to forget a person",
    response_model=Done,
    responses=CHANGED,
)
async def ask_forget(person: Person, body: s.AskForget, desk: AtDesk, seen: Seen = 0) -> Response:
    """须由另一人批准；此人上报的事项无须列出。Another person approves; what the person reported
    need not be named, only other cases that name the person."""
    command = AskForget(
        by=desk.by,
        at=desk.at,
        person=person,
        territory=body.territory,
        reason=body.reason,
        cases=tuple(body.cases),
    )
    demand(command, body.territory)  # first: whether a case is known is for those who may ask
    desk.demand_territory(body.territory)
    await run_in_threadpool(demand_in_scope, desk.services.gateway, command, desk.known(seen))
    return await desk.change(command)


@router.post(
    "/people/{person}/forget/approve",
    summary="批准删除个人信息 · Forget a person",
    response_model=Done,
    responses=DECIDED,
)
async def approve_forget(person: Person, desk: AtDesk, expected: Expected) -> Response:
    """不可恢复：此人和相关事项的密钥被销毁，账号停用。For good: the keys of the person and of the
    cases are destroyed, and an account is suspended. `If-Match` holds the `version` of the request
    that was seen: another one may have taken its place."""
    commands = await run_in_threadpool(
        approving, desk.services.gateway, desk.office.staff, desk.by, desk.at, person
    )
    done = await desk.change(*commands, expected=expected)
    await run_in_threadpool(_destroy, desk)
    return done


@router.post(
    "/people/{person}/forget/decline",
    summary="不同意删除 · Decline to forget a person",
    response_model=Done,
    responses=DECIDED,
)
async def decline_forget(person: Person, desk: AtDesk, expected: Expected) -> Response:
    """不同意，或由申请人撤回。Declined, or taken back by the one who asked."""
    command = DeclineForget(by=desk.by, at=desk.at, person=person)
    return await desk.change(command, expected=expected)


def demand_in_scope(gateway: Gateway, command: AskForget, position: int = 0) -> None:
    """Every case that is named is one that the asker may see.

    Raises:
        Refused: ``case.unknown``. Behind: not known up to ``position`` in time.
    """
    for case in command.cases:
        gateway.card(command.by, case, position)


def approving(gateway: Gateway, staff: Staff, by: Actor, at: datetime, person: str) -> list[Any]:
    """The commands by which a person is forgotten, with all cases that the log has by now.

    That an account is suspended follows from the approval, whatever the approver may do with
    accounts.

    Raises:
        Refused: ``role.not_permitted``.
        Behind: what the person has reported is not known up to now in time.
    """
    demand(ApproveForget(by=by, at=at, person=person, cases=()), EVERYWHERE)
    cases = gateway.cases_of(by, person, gateway.head())
    commands: list[Any] = [ApproveForget(by=by, at=at, person=person, cases=tuple(cases))]
    user = staff.users.get(person)
    if user is not None and not user.suspended:
        commands.append(SuspendUser(by=_SUSPENDING, at=at, user=person, reason="删除个人信息"))
    return commands


def _destroy(desk: Desk) -> None:
    """Destroy the keys now; where the vault is away, the server does it within a minute."""
    try:
        desk.services.forget()
    except psycopg.Error as error:
        log.warning("privacy.destroyed_later", error=str(error))
