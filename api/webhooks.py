"""Webhooks (消息推送): receivers outside who are told what happens, for administrators."""

from typing import Annotated, Final

import msgspec
from fastapi import Query, Response
from fastapi.concurrency import run_in_threadpool

from api.auth import AtDesk, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import outbound as s
from api.schemas.words import Done, Id
from api.services import ReceiverStanding
from domain import webhooks as w
from domain.errors import Refused
from domain.roles import permitted

CHANGED: Final = problems(404, 409, 413, 415)
"""What a change of the receivers may answer besides success."""

router: Final = routes("/webhooks", ["消息推送 Webhooks"])


@router.get("", summary="接收方 · Receivers", responses=problems())
def receivers(desk: AtDesk) -> s.ReceiverList:
    """本人管理属地内的接收方及推送情况。The receivers of the territories that one administers, and
    how their deliveries go."""
    services = desk.services
    standings, head = services.receivers.standings(), services.gateway.head()
    return s.ReceiverList(
        rows=[
            _row(each, standings.get(each.id), head)
            for each in services.receivers.known().active
            if _administers(desk, each)
        ]
    )


@router.post(
    "",
    status_code=201,
    summary="新增接收方 · Add a receiver",
    response_model=s.SecretDone,
    responses=CHANGED,
)
async def add(body: s.ReceiverIn, desk: AtDesk) -> Response:
    """此后发生的事推送给它；密钥只显示这一次。It is told what happens from now on, signed as
    Standard Webhooks has it; its secret is shown this once."""
    _demand_secure(desk, body.url)
    desk.demand_territory(body.territory)
    command = w.AddReceiver(
        by=desk.by,
        at=desk.at,
        receiver=body.id,
        territory=body.territory,
        url=body.url,
        events=tuple(body.events),
    )
    return await _with_secret(desk, await desk.change(command, status=201), body.id)


@router.post("/{receiver}/change", summary="修改 · Change", response_model=Done, responses=CHANGED)
async def change(receiver: Id, body: s.ReceiverChange, desk: AtDesk) -> Response:
    """改地址或事件种类。Another address, other kinds of events."""
    _demand_secure(desk, body.url)
    command = w.ChangeReceiver(
        by=desk.by, at=desk.at, receiver=receiver, url=body.url, events=tuple(body.events)
    )
    return await desk.change(command)


@router.post(
    "/{receiver}/rotate",
    summary="更换密钥 · Rotate the secret",
    response_model=s.SecretDone,
    responses=CHANGED,
)
async def rotate(receiver: Id, desk: AtDesk) -> Response:
    """新密钥只显示这一次；24 小时内同时用旧密钥签名。The new secret is shown this once; for 24
    hours messages are signed with the old one too."""
    command = w.RotateReceiverSecret(by=desk.by, at=desk.at, receiver=receiver)
    return await _with_secret(desk, await desk.change(command), receiver)


@router.post("/{receiver}/remove", summary="删除 · Remove", response_model=Done, responses=CHANGED)
async def remove(receiver: Id, desk: AtDesk) -> Response:
    """不再推送，未送达的一并放弃。It is told nothing more; its dead letters go too."""
    return await desk.change(w.RemoveReceiver(by=desk.by, at=desk.at, receiver=receiver))


@router.get("/{receiver}/dead", summary="未送达 · Dead letters", responses=problems(404))
def dead(receiver: Id, wanted: Annotated[s.DeadQuery, Query()], desk: AtDesk) -> s.DeadPage:
    """多次推送失败而放弃的消息。What was given up after many tries."""
    known = desk.services.receivers.known().receiver(receiver)
    if not _administers(desk, known):
        raise Refused("webhook.unknown", receiver=receiver)
    rows = desk.services.receivers.dead(receiver, wanted.after, wanted.limit + 1)
    kept = rows[: wanted.limit]
    return s.DeadPage(
        rows=[s.DeadAnswer.model_validate(each) for each in kept],
        next=kept[-1].position if len(rows) > wanted.limit else None,
    )


@router.post(
    "/{receiver}/resend",
    summary="重发 · Send dead letters again",
    response_model=Done,
    responses=CHANGED,
)
async def resend(receiver: Id, body: s.Resend, desk: AtDesk) -> Response:
    """各再推送一次。Each is sent once more, out of the order of the rest."""
    command = w.ResendDeadLetters(
        by=desk.by, at=desk.at, receiver=receiver, positions=tuple(body.positions)
    )
    return await desk.change(command)


def _administers(desk: Desk, receiver: w.Receiver) -> bool:
    return permitted(desk.by, w.AddReceiver.__name__, receiver.territory)


def _demand_secure(desk: Desk, url: str) -> None:
    if not url.startswith("https://") and not desk.services.webhooks_private:
        raise Refused("request.https_only")


async def _with_secret(desk: Desk, done: Response, receiver: str) -> Response:
    """An answer with the secret beside it: added here, for what is kept of an answer has none."""
    known = await run_in_threadpool(desk.services.receivers.known)
    generation = known.receiver(receiver).generation
    secret = desk.services.webhook_secret(receiver, generation)
    body = msgspec.json.decode(done.body) | {"secret": secret}
    headers = {k: v for k, v in done.headers.items() if k.lower() != "content-length"}
    return Response(msgspec.json.encode(body), done.status_code, headers=headers)


def _row(receiver: w.Receiver, standing: ReceiverStanding | None, head: int) -> s.ReceiverAnswer:
    return s.ReceiverAnswer(
        id=receiver.id,
        territory=receiver.territory,
        url=receiver.url,
        events=list(receiver.events),
        by=receiver.by,
        since=receiver.since,
        generation=receiver.generation,
        position=standing.position if standing else head,
        lag=max(head - standing.position, 0) if standing else 0,
        delivered=standing.delivered if standing else 0,
        attempts=standing.attempts if standing else 0,
        failing_since=standing.failing_since if standing else None,
        retry_at=standing.retry_at if standing else None,
        error=standing.error if standing else None,
        dead=standing.dead if standing else 0,
    )
