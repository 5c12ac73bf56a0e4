"""People and units: who may act, which units may be made responsible, and the passwords."""

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.auth import AtDesk, check_password, routes
from api.desk import Desk, respond
from api.errors import problems
from api.schemas import staff as s
from api.schemas.case_commands import Reasoned
from api.schemas.words import Done, Id, PersonId
from domain import staff as st
from domain.answers import Answered
from domain.errors import Refused
from domain.personal import SEALED
from domain.places import EVERYWHERE, within
from domain.roles import Reading, scope

CHANGED: Final = problems(404, 409, 413, 415)
"""What a change of the staff may answer besides success."""

router: Final = routes("/staff", ["人员与单位 Staff"])

User = Annotated[PersonId, Path(examples=["li"])]
Unit = Annotated[Id, Path(examples=["cleaning"])]


@router.get("/me", summary="本人 · Oneself", responses=problems())
def me(desk: AtDesk) -> s.UserAnswer:
    """本人的角色、属地和单位。One's own roles, territories and unit."""
    return _answers(desk, [desk.office.staff.user(desk.by.id)])[0]


@router.post(
    "/me/password",
    summary="修改本人密码 · Change one's password",
    response_model=Done,
    responses=problems(409, 413, 415, 429),
)
async def own_password(body: s.OwnPassword, request: Request, desk: AtDesk) -> Response:
    """修改后须重新登录。All tokens given before are void afterwards."""
    await run_in_threadpool(
        check_password,
        request,
        desk.services,
        desk.by.id,
        body.current,
        "request.wrong_password",
    )
    return await _set_password(desk, desk.by.id, body.password)


@router.get("/users", summary="人员 · People", responses=problems())
def users(desk: AtDesk) -> s.Users:
    """本人属地范围内的人员。The people whose rights or unit lie in one's own scope, and oneself."""
    staff = desk.office.staff
    seen = scope(desk.by, Reading.ADMINISTRATION).territories
    known = [
        user
        for user in staff.users.values()
        if user.id == desk.by.id or _in_scope(staff, user, seen)
    ]
    return s.Users(rows=_answers(desk, known))


@router.post(
    "/users",
    status_code=201,
    summary="新增人员 · Add a person",
    response_model=Done,
    responses=CHANGED,
)
async def add_user(body: s.AddUser, desk: AtDesk) -> Response:
    """没有密码的人员不能登录。Somebody without a password cannot sign in."""
    if desk.before is not None:
        return await _added_before(desk, desk.before, body)
    for each in body.grants:
        desk.demand_territory(each.territory)
    command = st.AddUser(
        by=desk.by,
        at=desk.at,
        id=body.id,
        name=body.name,
        grants=tuple(each.grant() for each in body.grants),
        unit=body.unit,
    )
    done = await desk.change(command, status=201)
    if body.password is not None:
        await run_in_threadpool(desk.services.passwords.set, body.id, body.password)
    return done


async def _added_before(desk: Desk, before: Answered, body: s.AddUser) -> Response:
    """The answer of before; the password too, if it could not be set then and nobody has set one
    since."""
    done = respond(before)
    if body.password is not None:
        command = st.NotePasswordChanged(by=desk.by, at=desk.at, user=body.id)
        with suppress(Refused):  # the rights for it are gone: only the answer is the same
            st.decide(desk.office.staff, command)
            await run_in_threadpool(desk.services.passwords.set_first, body.id, body.password)
    return done


@router.post(
    "/users/{user}/grant", summary="授权 · Grant a role", response_model=Done, responses=CHANGED
)
async def grant(user: User, body: s.GrantIn, desk: AtDesk) -> Response:
    """在某属地增加一个角色。One more role in one territory."""
    desk.demand_territory(body.territory)
    given = body.grant()
    return await desk.change(st.GrantRole(by=desk.by, at=desk.at, user=user, grant=given))


@router.post(
    "/users/{user}/revoke",
    summary="撤销授权 · Revoke a role",
    response_model=Done,
    responses=CHANGED,
)
async def revoke(user: User, body: s.GrantIn, desk: AtDesk) -> Response:
    """撤销某属地的一个角色。One role less."""
    given = body.grant()
    return await desk.change(st.RevokeRole(by=desk.by, at=desk.at, user=user, grant=given))


@router.post(
    "/users/{user}/suspend", summary="停用 · Suspend", response_model=Done, responses=CHANGED
)
async def suspend(user: User, body: Reasoned, desk: AtDesk) -> Response:
    """立即停用账号。The person can do nothing from the next request on."""
    command = st.SuspendUser(by=desk.by, at=desk.at, user=user, reason=body.reason)
    return await desk.change(command)


@router.post(
    "/users/{user}/restore", summary="恢复启用 · Restore", response_model=Done, responses=CHANGED
)
async def restore(user: User, desk: AtDesk) -> Response:
    """恢复启用账号。The person may act again."""
    return await desk.change(st.RestoreUser(by=desk.by, at=desk.at, user=user))


@router.post(
    "/users/{user}/unit",
    summary="人员调动 · Move to a unit",
    response_model=Done,
    responses=CHANGED,
)
async def move(user: User, body: s.MoveIn, desk: AtDesk) -> Response:
    """调入另一责任单位，或不再属于任何单位；角色不变，在办事项仍在本人名下。To another unit, or to
    none. The roles stay, and what is in hand stays until it is handed on."""
    return await desk.change(st.MoveUser(by=desk.by, at=desk.at, user=user, unit=body.unit))


@router.post(
    "/users/{user}/password",
    summary="重设密码 · Set a password",
    response_model=Done,
    responses=CHANGED,
)
async def password(user: User, body: s.PasswordIn, desk: AtDesk) -> Response:
    """由管理员重设，此前的凭证全部失效。All tokens given before are void afterwards."""
    return await _set_password(desk, user, body.password)


@router.get("/units", summary="责任单位 · Units", responses=problems())
def units(desk: AtDesk) -> s.Units:
    """全部责任单位。All units, for a case may be sent or a whistle blown across territories."""
    known = desk.office.staff.units.values()
    return s.Units(rows=[s.UnitAnswer.model_validate(unit) for unit in known])


@router.post(
    "/units",
    status_code=201,
    summary="新增单位 · Add a unit",
    response_model=Done,
    responses=CHANGED,
)
async def add_unit(body: s.AddUnit, desk: AtDesk) -> Response:
    """未填类别即可办理全部类别。Without categories it is competent for all."""
    desk.demand_territory(body.territory)
    command = st.AddUnit(
        by=desk.by,
        at=desk.at,
        id=body.id,
        name=body.name,
        territory=body.territory,
        categories=tuple(body.categories),
    )
    return await desk.change(command, status=201)


@router.post(
    "/units/{unit}/close",
    summary="撤销单位 · Close a unit",
    response_model=Done,
    responses=CHANGED,
)
async def close_unit(unit: Unit, desk: AtDesk) -> Response:
    """此后不再派遣给该单位。It gets no more cases."""
    return await desk.change(st.CloseUnit(by=desk.by, at=desk.at, id=unit))


async def _set_password(desk: Desk, user: str, new: str) -> Response:
    command = st.NotePasswordChanged(by=desk.by, at=desk.services.clock(), user=user)
    # No password changes without an event. If setting it fails after this one, the person keeps
    # the old password and only has to sign in again; the same request, sent again, does it all.
    await desk.execute(command)
    await run_in_threadpool(desk.services.passwords.set, user, new)
    # Once more, so that no sign-in with the old password comes between and outlives the change.
    return await desk.change(replace(command, at=desk.services.clock()))


def _answers(desk: Desk, users: list[st.User]) -> list[s.UserAnswer]:
    """People with their names, which the register itself has sealed."""
    names = desk.services.gateway.names(desk.by, [user.id for user in users])
    return [
        s.UserAnswer.model_validate(replace(user, name=names.get(user.id, SEALED)))
        for user in users
    ]


def _in_scope(staff: st.Staff, user: st.User, seen: tuple[str, ...]) -> bool:
    """Whether some territory of a person is seen; who has neither rights nor unit is everywhere."""
    grounds = [grant.territory for grant in user.grants]
    if user.unit is not None and user.unit in staff.units:
        grounds.append(staff.units[user.unit].territory)
    return any(within(ground, each) for ground in grounds or [EVERYWHERE] for each in seen)
