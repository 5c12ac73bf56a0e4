"""Attachments: photos and files of a case, in as raw bytes and out as nothing a browser would run.

What a file is, is decided by its content. Nobody is shown one before it is written down who asked
and for what purpose, and outside their scope its case is as unknown as one that never was.
"""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import quote

import anyio
from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.auth import AtDesk, Seen, at_desk, begun, routes
from api.cases import Expected, carry_out, may_know
from api.desk import Desk
from api.errors import TooLarge, problems
from api.schemas import words as s
from api.schemas.cases import CaseDone
from api.services import Incoming, Outgoing
from domain.aggregates import case_stream
from domain.answers import Once
from domain.attachments import KINDS, Form, Kind, file_name
from domain.case import commands as c
from domain.case import decide
from domain.case.events import FileAttached
from domain.errors import Refused, VersionMismatch
from domain.privacy import PersonalField, Purpose, ShowPersonal
from projections.worklist import CaseRow

UPLOAD_SECONDS: Final = 300
"""How long a file may take to come."""

SEND_SECONDS: Final = 30.0
"""How long a client may take to receive a piece of a file, some 64 KiB, before it is dropped: there
is room for few files at a time."""

CHUNK: Final = 256 * 1024
"""Bytes gathered before a thread is asked to write them."""

SANDBOX: Final = {"Content-Security-Policy": "sandbox; default-src 'none'"}
"""Whatever a browser makes of a file, it runs nothing, loads nothing and belongs to no origin."""

router: Final = routes("/cases", ["附件 Attachments"])

AttachmentId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$",
        max_length=100,
        examples=["a-5f0c2b6e9d1a4c37"],
    ),
]


class UploadQuery(s.Query):
    """What the file is called."""

    name: s.Name = Field(examples=["清理后.jpg"], description="文件名 · The file's name.")


class ShowQuery(s.Known):
    """Why somebody wants to see a file: it is written down beside who and when."""

    purpose: Purpose = Field(description="查看用途 · What for.", examples=["handling"])
    reason: s.Line = Field(default="", description="投诉、审计须说明原因 · Where none is evident.")


@router.post(
    "/{case}/attachments",
    summary="上传附件 · Attach a file",
    response_model=CaseDone,
    responses=problems(404, 408, 409, 412, 413, 415),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "文件本身 · The file itself, whatever its Content-Type says.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def upload(
    request: Request,
    case: s.CaseId,
    asked: Annotated[UploadQuery, Query()],
    desk: AtDesk,
    expected: Expected,
) -> Response:
    """照片、pdf、音视频、office 文档（不含宏）或纯文本，类型以内容为准；原件加密保存。

    Pictures, pdf, sound, video, office documents without macros, plain text: the content decides.
    The original is kept, encrypted, with its metadata; thumbnails have none.
    """
    keyed = begun(request)
    attachment = f"a-{secrets.token_hex(8)}"
    draft = c.AttachFile(
        case=case,
        by=desk.by,
        at=desk.at,
        attachment=attachment,
        name=asked.name,
        media_type="",
        sha256="",
        size=0,
    )
    if keyed is None:
        # Told before the file is sent, and not after. With a key, the answer may be an old one.
        await _demand_possible(desk, draft, expected)
    else:
        await _demand_known(desk, case)
    _demand_small(request, desk.services.attachment_limit)
    incoming = await run_in_threadpool(desk.services.attachments.incoming, case, attachment)
    try:
        await _receive(request, incoming, keyed and keyed[1])
        # It may have taken minutes: what counts are the rights and the clock of now.
        once = keyed and Once(desk.by.id, keyed[0], keyed[1].digest())
        desk = await at_desk(request, once)
        draft = replace(draft, by=desk.by, at=desk.at)
        if keyed is not None:
            await _demand_possible(desk, draft, expected)
        kind, address = await run_in_threadpool(incoming.finish)
    finally:
        incoming.close()
    command = replace(draft, media_type=kind.media_type, sha256=address, size=incoming.size)
    return await carry_out(desk, command, expected=expected)


def _demand_small(request: Request, limit: int) -> None:
    """What says that it is too large is not waited for; what does not say so is counted."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(limit)


async def _demand_known(desk: Desk, case: str) -> tuple[Any, int]:
    """A case that there is and that the caller may know of: no key is made for any other.

    Raises:
        Refused: ``case.unknown``.
    """
    state, version = await run_in_threadpool(desk.services.store.case, case)
    if not may_know(desk, state.facts):
        raise Refused("case.unknown", case=case)
    return state, version


async def _demand_possible(desk: Desk, draft: c.AttachFile, expected: int | None) -> None:
    """Refuse what the rules will refuse, while it costs nothing.

    Raises:
        Refused: as the command itself will be.
        VersionMismatch: it has changed since it was seen.
    """
    state, version = await _demand_known(desk, draft.case)
    if expected not in (None, version):
        raise VersionMismatch(expected, version)
    decide(state, draft)


async def _receive(request: Request, incoming: Incoming, digest: Any) -> None:
    """Take a file as it comes.

    Raises:
        Refused: ``attachment.interrupted``, ``attachment.slow``, and what ``write`` raises.
        TooLarge: it is.
    """
    gathered = bytearray()
    try:
        with anyio.fail_after(UPLOAD_SECONDS):
            async for chunk in request.stream():
                if digest is not None:
                    digest.update(chunk)
                gathered += chunk
                if len(gathered) >= CHUNK:
                    await run_in_threadpool(incoming.write, bytes(gathered))
                    gathered.clear()
            await run_in_threadpool(incoming.write, bytes(gathered))
    except ClientDisconnect:
        raise Refused("attachment.interrupted") from None
    except TimeoutError:
        raise Refused("attachment.slow") from None


@router.get(
    "/{case}/attachments/{attachment}",
    summary="下载附件 · Download a file",
    response_class=Response,
    responses=problems(404, 410)
    | {
        200: {
            "description": "文件 · The file.",
            "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in KINDS},
        }
    },
)
async def download(
    case: s.CaseId,
    attachment: AttachmentId,
    asked: Annotated[ShowQuery, Query()],
    desk: AtDesk,
    seen: Seen = 0,
) -> Response:
    """先记录查看人和用途，再解密。It is written down who looks and why before it is opened."""
    found = await _found(desk, case, attachment, asked, seen)
    try:
        await record_access(desk, found.card, asked)
        content = await run_in_threadpool(found.file.content)
        name = await run_in_threadpool(_name_of, desk, case, attachment)
    except BaseException:
        found.file.close()
        raise
    shown = file_name(name, found.kind)
    headers = {
        "Content-Disposition": f'attachment; filename="{attachment}.{found.kind.extensions[0]}"; '
        f"filename*=UTF-8''{quote(shown, safe='')}",
        "Content-Length": str(found.size),
    }
    return _Sending(found.file, content, found.kind, headers | SANDBOX)


@router.get(
    "/{case}/attachments/{attachment}/thumbnail",
    summary="缩略图 · Thumbnail",
    response_class=Response,
    responses=problems(404, 410)
    | {
        200: {
            "description": "缩略图 · At most 480 pixels wide and high, without any metadata.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def thumbnail(
    case: s.CaseId,
    attachment: AttachmentId,
    asked: Annotated[ShowQuery, Query()],
    desk: AtDesk,
    seen: Seen = 0,
) -> Response:
    """图片的缩略图，不含拍摄地点等元数据。A picture's pixels, small, and nothing else of it."""
    found = await _found(desk, case, attachment, asked, seen, form=Form.IMAGE)
    try:
        await record_access(desk, found.card, asked)
        made = await run_in_threadpool(found.file.thumbnail)
    finally:
        found.file.close()
    return Response(
        made, media_type="image/jpeg", headers={"Content-Disposition": "inline"} | SANDBOX
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A file that somebody may see. ``size`` is in bytes."""

    card: CaseRow
    kind: Kind
    size: int
    file: Outgoing


async def _found(
    desk: Desk, case: str, attachment: str, asked: ShowQuery, seen: int, form: Form | None = None
) -> _Found:
    """The file, fetched and still encrypted; of a certain form if one is named.

    Raises:
        Refused: ``case.unknown`` as for the card of the case; ``attachment.…``.
    """
    return await run_in_threadpool(_find, desk, case, attachment, asked, seen, form)


def _find(
    desk: Desk, case: str, attachment: str, asked: ShowQuery, seen: int, form: Form | None
) -> _Found:
    card = desk.services.gateway.card(desk.by, case, desk.known(asked.position, seen))
    event = _attached(desk, case, attachment, opened=False)
    kind = KINDS.get(event.media_type)
    if kind is None:
        raise Refused("attachment.missing")
    if form not in (None, kind.form):
        raise Refused("attachment.no_thumbnail")
    file = desk.services.attachments.outgoing(case, attachment, event.sha256)
    return _Found(card, kind, event.size, file)


def _attached(desk: Desk, case: str, attachment: str, *, opened: bool) -> FileAttached:
    for recorded in desk.services.store.history(case_stream(case), opened=opened):
        event = recorded.event
        if isinstance(event, FileAttached) and event.attachment == attachment:
            return event
    raise Refused("attachment.unknown")


def _name_of(desk: Desk, case: str, attachment: str) -> str:
    """The name it was sent under: personal too, and read after that was written down."""
    return _attached(desk, case, attachment, opened=True).name


async def record_access(desk: Desk, card: CaseRow, asked: ShowQuery) -> None:
    """Write down that somebody is shown a file of a case, and what for.

    Raises:
        Refused: ``role.not_permitted``, ``privacy.…``: it is not to be shown.
    """
    await desk.execute(
        ShowPersonal(
            by=desk.by,
            at=desk.at,
            case=card.case,
            place=card.territory,
            holder=card.holder,
            purpose=asked.purpose,
            fields=(PersonalField.ATTACHMENTS,),
            reason=asked.reason,
            reporter=card.reporter,
        )
    )


class _Sending(StreamingResponse):
    """A file on its way to whoever asked."""

    def __init__(
        self, file: Outgoing, content: Iterator[bytes], kind: Kind, headers: dict[str, str]
    ) -> None:
        self._file = file
        super().__init__(content, headers=headers, media_type=kind.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        # Also when the client is gone, or no longer reads, before the last piece, or the first.
        try:
            with suppress(TimeoutError, ClientDisconnect):
                await super().__call__(scope, receive, send_in_time)
        finally:
            self._file.close()
