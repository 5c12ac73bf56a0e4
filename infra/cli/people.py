"""People: who signs in, who is to be forgotten, and the keys of what is known of them."""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from domain.aggregates import PRIVACY
from domain.case.events import FileAttached
from domain.errors import Refused, VersionMismatch
from domain.history import LOG, Wanted
from domain.privacy import AskForget, DeclineForget, ForgetReason, person_stream
from domain.roles import Actor, Grant, Role, permitted, system
from domain.staff import AddUser, is_user_id
from domain.words import FORGET_REASONS
from infra.cli.composition import Opened, composed
from infra.cli.frame import Wrong, err, one_of, out, progress, progress_if_long
from infra.forgetting import Forgetting, wipe
from infra.vault import CACHE_SECONDS, KeyFile

ROLES: Final = tuple(role.value for role in Role if role not in (Role.SYSTEM, Role.IMPORTER))
"""The roles of people; the others are those of processes."""


REASONS: Final = tuple(each.value for each in ForgetReason)


def user_add(
    user: Annotated[str, typer.Argument(metavar="NAME", help="登录名 · Name to sign in with.")],
    role: Annotated[
        list[str],
        one_of(typer.Option, ROLES, "角色，可多次 · Role; may be repeated."),
    ],
    territory: Annotated[
        str, typer.Option(help="属地路径，空为全部 · Path; empty means everywhere.")
    ] = "",
    full_name: Annotated[str | None, typer.Option("--name", help="姓名 · Full name.")] = None,
    unit: Annotated[str | None, typer.Option(help="责任单位 · Unit of a handler.")] = None,
    password_stdin: Annotated[
        bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
    ] = False,
) -> None:
    """新增人员（含首位管理员）。Add a person, the first administrator too."""
    from api.passwords import StoredPasswords

    _demand_name(full_name or user)
    with composed() as opened_:
        installation = opened_.installation
        if territory:
            installation.store.office().territory.node(territory)
        add = AddUser(
            by=system("cli"),
            at=datetime.now(UTC),
            id=user,
            name=full_name or user,
            grants=tuple(Grant(Role(each), territory) for each in role),
            unit=unit,
        )
        password = _password("密码 · Password", from_stdin=password_stdin, twice=True)
        if not 8 <= len(password) <= 200:
            raise Wrong("密码须为 8 至 200 位。A password has 8 to 200 characters.")
        installation.store.execute(add, correlation="cli")
        # Only after the rules have agreed: never the password of somebody who is there already.
        StoredPasswords(installation.pool).set(user, password)
    out.print(f"已新增 · Added: {user}", markup=False, highlight=False)


def _demand_name(name: str) -> None:
    """What somebody is called has to be what the API takes for it: it is stored for ever."""
    from api.schemas.words import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise Wrong(
            "--name: 姓名须为一行文字，1 至 100 个字，不含控制字符。"
            "A name is one line of 1 to 100 characters, none of them a control character."
        ) from None


def _password(question: str, *, from_stdin: bool, twice: bool = False) -> str:
    """A password as it can be typed at a sign-in, where no control character is taken.

    Raises:
        Wrong: it has one of them, or is no text.
    """
    from api.schemas.words import clean

    try:
        if from_stdin:
            # A file written on Windows ends its lines with two characters.
            return clean(sys.stdin.readline().rstrip("\r\n"))
        return clean(typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True))
    except (PydanticCustomError, UnicodeDecodeError):
        raise Wrong(
            "密码须为 UTF-8 文字，不含控制字符。"
            "A password is text in UTF-8 without control characters."
        ) from None


def forget(
    person: Annotated[
        str | None, typer.Argument(metavar="PERSON", help="人员编号 · Id of the person.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="USER",
            help="操作人，须输入其密码 · Who does it; a password is asked for.",
        ),
    ] = None,
    reason: Annotated[
        str,
        one_of(typer.Option, REASONS, "原因：本人要求、期限届满、误录 · Why."),
    ] = ForgetReason.REQUEST.value,
    case: Annotated[
        list[str] | None,
        typer.Option(help="另外提到此人的事项，可多次 · Another case that names the person."),
    ] = None,
    territory: Annotated[
        str | None,
        typer.Option(
            help="此人所在属地；默认操作人的属地 · Where the person is known; else USER's."
        ),
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="批准：须另一人 · Approve, as a second person.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="批准时不再询问 · Approve without being asked again.")
    ] = False,
    decline: Annotated[
        bool, typer.Option("--decline", help="不同意或撤回 · Decline, or take back.")
    ] = False,
    wipe_only: Annotated[
        bool,
        typer.Option(
            "--wipe",
            help="仅清除磁盘残留（在接口批准之后）· Only wipe the disk, after approvals over HTTP.",
        ),
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
    ] = False,
) -> None:
    """删除一个人的个人信息：一人申请，另一人批准。Forget a person: one asks, another approves.

    批准后密钥即销毁，其他进程 60 秒内不再持有；随后清除磁盘残留（备份和外部数据库的预写日志除外）。
    Once approved the keys are destroyed, other processes drop them within 60 seconds, and what is
    left on the disk is wiped; backups, and the write-ahead log of an outside database, are not.
    """
    if approve + decline + wipe_only > 1:
        raise Wrong("--approve、--decline、--wipe 只能选一个。Give one of them.")
    if wipe_only is not (person is None):
        raise Wrong("请给出 PERSON 或 --wipe。Give a PERSON, or --wipe.")
    with composed() as opened_:
        if person is None:
            _finish_forgetting(opened_)
            return
        if by is None or not is_user_id(person):
            raise Wrong(
                f"请以 --as 给出操作人。Give --as USER: {person}"
                if by is None
                else f"不是人员编号 · Not the id of a person: {person}"
            )
        actor = signed_in(opened_, by, from_stdin=password_stdin)
        if approve:
            _approve(opened_, actor, person, yes=yes)
        elif decline:
            no = DeclineForget(by=actor, at=datetime.now(UTC), person=person)
            opened_.installation.store.execute(no, correlation="cli")
            out.print(f"未予删除 · Declined: {person}", markup=False, highlight=False)
        else:
            _ask(opened_, actor, person, ForgetReason(reason), tuple(case or ()), territory)


def signed_in(opened_: Opened, user: str, *, from_stdin: bool) -> Actor:
    """Somebody of the staff who knows the own password.

    Raises:
        Refused: ``request.bad_credentials``, ``staff.suspended``.
    """
    from api.passwords import StoredPasswords

    installation = opened_.installation
    password = _password(f"{user} 的密码 · Password of {user}", from_stdin=from_stdin)
    if not StoredPasswords(installation.pool).verify(user, password):
        raise Refused("request.bad_credentials")
    known = installation.store.office().staff.users.get(user)
    if known is None:
        raise Refused("request.bad_credentials")
    if known.suspended:
        raise Refused("staff.suspended", user=user)
    return Actor(known.id, known.grants, known.unit)


def _ask(
    opened_: Opened,
    by: Actor,
    person: str,
    reason: ForgetReason,
    cases: tuple[str, ...],
    territory: str | None,
) -> None:
    from api.privacy import demand_in_scope

    if territory is None:
        mine = (each.territory for each in by.grants)
        territory = next((t for t in mine if permitted(by, AskForget.__name__, t)), "")
    if territory:
        opened_.installation.store.office().territory.node(territory)
    command = AskForget(
        by=by,
        at=datetime.now(UTC),
        person=person,
        territory=territory,
        reason=reason,
        cases=cases,
    )
    if cases:
        with progress_if_long("worklist") as advance:
            opened_.catch_up(
                opened_.models["worklist"], opened_.models["search"], on_progress=advance
            )
        demand_in_scope(opened_.gateway, command)
    opened_.installation.store.execute(command, correlation="cli")
    out.print(
        f"已申请删除 {person}，须由另一人批准：wangge forget {person} --as … --approve\n"
        f"Asked to forget {person}; now another person approves.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _approve(opened_: Opened, by: Actor, person: str, *, yes: bool) -> None:
    """Show what was asked, and have just that approved: another request may come meanwhile."""
    from api.privacy import approving

    installation = opened_.installation
    name = person_stream(person)
    asked = installation.store.load({name: PRIVACY})[name]
    if (asking := asked.state.asking) is not None:
        why = FORGET_REASONS[asking.reason]
        out.print(
            f"删除 · Forget: {person}",
            f"申请人 · Asked by: {asking.by}",
            f"属地 · Territory: {asking.territory or '全部 · everywhere'}",
            f"原因 · Why: {why.zh} · {why.en}",
            f"另提到此人的事项 · Other cases that name them: {', '.join(asking.cases) or '—'}",
            sep="\n",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        sure = "密钥销毁后不可恢复，确定批准？ This cannot be undone. Approve?"
        if not yes and not typer.confirm(sure, err=True):
            raise Wrong("未批准。Not approved.")
    with progress_if_long("worklist") as advance:
        opened_.catch_up(opened_.models["worklist"], on_progress=advance)
    staff = installation.store.office().staff
    commands = approving(opened_.gateway, staff, by, datetime.now(UTC), person)
    try:
        installation.store.execute(*commands, correlation="cli", expected=asked.version)
    except VersionMismatch:
        raise Wrong(
            "申请刚刚变了，请重新查看。The request has changed meanwhile: look again."
        ) from None
    out.print(f"已批准删除 · Forgotten: {person}", markup=False, highlight=False)
    _finish_forgetting(opened_)


def _finish_forgetting(opened_: Opened) -> None:
    """Make true what is promised of those forgotten, and say what is left."""
    from api.passwords import StoredPasswords

    installation = opened_.installation
    drop = StoredPasswords(installation.pool).drop
    keys = Forgetting(installation.store, installation.source, installation.vault, drop).finish()
    with progress_if_long("read models") as advance:
        opened_.catch_up(*opened_.models.values(), on_progress=advance)
    settings = installation.settings
    left = wipe(
        installation.connect_projector, installation.dsn, settings.vault_dsn or installation.dsn
    )
    out.print(
        f"本次销毁密钥 {keys} 个；其他进程最迟 {CACHE_SECONDS:.0f} 秒后不再持有。\n"
        f"Keys destroyed now: {keys}. Other processes have none of them in "
        f"{CACHE_SECONDS:.0f} seconds.",
        "查询数据已更新，磁盘残留已清除。Read models are up to date and the disk is wiped."
        if not left
        else "查询数据已更新；磁盘上尚有残留 · Read models are up to date; left on the disk:",
        *(f"  {each}" for each in left),
        "备份、副本中的旧数据须另行处理（密钥轮换：wangge rotate-keys）。"
        "Backups and replicas keep what they had; `wangge rotate-keys` makes the keys in them "
        "worthless.",
        sep="\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def sweep(
    remove: Annotated[
        bool, typer.Option("--remove", help="删除它们 · Delete them, not only list.")
    ] = False,
) -> None:
    """找出没有事项引用、存入已满一天的附件。Find files that no case names, a day old at least.

    上传后命令被拒绝时会留下。They are left where an upload's command was refused in the end.
    """
    with composed() as opened_:
        installation = opened_.installation
        page = installation.source.read(LOG, 0, installation.source.head(), Wanted((FileAttached,)))
        named = {recorded.event.sha256 for recorded in page.events}
        yesterday = datetime.now(UTC) - timedelta(days=1)
        found = list(installation.attachments.orphans(named, yesterday))
        for orphan in found:
            if remove:
                installation.attachments.remove(orphan.address)
            out.print(f"{orphan.address} {orphan.size}", markup=False, highlight=False)
    said = "已删除 · deleted" if remove else "未引用 · not named by any case"
    err.print(f"{len(found)} {said}", markup=False, highlight=False)


def rotate_keys(
    add_only: Annotated[
        bool,
        typer.Option(
            "--add-only",
            help="只生成新主密钥，"
            "以便先复制到其他机器 · Only make the new one, to be copied first.",
        ),
    ] = False,
) -> None:
    """更换主密钥，重新包裹全部密钥；可中断，再次运行即继续。Change the key that wraps all keys of
    personal data; may be interrupted, and goes on when run again.

    多台机器共用时：先 --add-only，复制密钥文件（WANGGE_KEK），再运行。旧密钥文件的副本请一并销毁。
    Where machines share a vault: --add-only, copy the file (WANGGE_KEK), then run it. Destroy the
    old copies of the file as well.
    """
    with composed() as opened_:
        vault = opened_.installation.vault
        # Two epochs in the file: a rotation was begun, and is gone on with.
        epochs = KeyFile(opened_.installation.settings.kek_file).read()
        newest = vault.add_epoch() if len(epochs) == 1 else max(epochs)
        out.print(f"主密钥第 {newest} 期 · Epoch {newest}", markup=False, highlight=False)
        if add_only:
            return
        began = time.monotonic()
        with progress("包裹 · Wrapping") as show:
            done = vault.rotate(
                lambda n, of: show(n, of, f"{n / max(time.monotonic() - began, 1e-6):,.0f}/s")
            )
        dropped = vault.drop_epochs()
    gone = ", ".join(map(str, dropped)) or "–"
    out.print(
        f"重新包裹 {done} 个，作废第 {gone} 期。Wrapped {done} keys; epochs given up: {gone}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
