"""The command line: here, and only here, everything is put together.

Every command starts or reaches its database itself. What can be expected to go wrong is said in a
sentence: exit code 2 for a setting, a file or an argument, 1 for everything else.
"""

import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from domain.calendar import OFFICE_TIME
from domain.errors import Conflict, Refused
from domain.roles import Actor, Grant, Role, system
from domain.staff import AddUser
from infra import logging
from infra.importers import BadFile, OldSystem, Summary, import_file
from infra.importers.bpic2013 import Bpic2013
from infra.importers.nyc311 import Nyc311
from infra.installation import AlreadyRunning, Installation, demo_settings, opened
from infra.migrations import MigrationError
from infra.postgres import PostgresUnavailable
from infra.settings import SettingError, Settings
from projections import worklist
from projections.catalog import ALL, BY_NAME
from projections.gateway import Gateway, Window
from projections.runner import NotTheSame, OnProgress, Poisoned, Projection, Runner, Superseded
from projections.runner import Progress as Advance

SYSTEMS: Final[dict[str, type[OldSystem[Any]]]] = {"bpic2013": Bpic2013, "nyc311": Nyc311}

METRICS: Final = ("containment", "timeliness", "caseload")
ROLES: Final = tuple(role.value for role in Role if role not in (Role.SYSTEM, Role.IMPORTER))
"""The roles of people; the others are those of processes."""

OPERATOR: Final = Actor("system:cli", (Grant(Role.ADMINISTRATOR, ""),))
"""Who asks on the command line: whoever can start it owns the data, and sees all of it."""

app: Final = typer.Typer(
    name="wangge",
    help="网格:社区事项办理,一事一链,全程留痕。Community casework on one append-only log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
log_app: Final = typer.Typer(help="事件日志 · The log.", no_args_is_help=True)
case_app: Final = typer.Typer(help="事项 · Cases.", no_args_is_help=True)
user_app: Final = typer.Typer(help="人员 · People.", no_args_is_help=True)
app.add_typer(log_app, name="log")
app.add_typer(case_app, name="case")
app.add_typer(user_app, name="user")

out: Final = Console()
err: Final = Console(stderr=True)


def _one_of(parameter: Callable[..., Any], choices: Iterable[str], help_: str) -> Any:
    """An argument or option that is one of some words."""
    known = tuple(choices)

    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text} ({', '.join(known)})")
        return text

    return parameter(help=help_, metavar="|".join(known), parser=parse)


AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON · Print JSON.")]


# --- composition ---


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything a command may need, put together."""

    installation: Installation
    runner: Runner
    gateway: Gateway

    def catch_up(self, *needed: Projection, on_progress: OnProgress | None = None) -> None:
        """Bring these read models, and no others, to the end of the log.

        Raises:
            Poisoned: one of them cannot go on. The others of them are up to date.
        """
        Runner(self.runner.source, self.runner.connect, needed).catch_up(on_progress)


@contextmanager
def composed(
    settings: Settings | None = None, *, lasting: bool = False, alone: bool = False
) -> Iterator[Opened]:
    """One installation with its log, its projector and its queries."""
    settings = settings or read_settings(passing=not lasting)
    with opened(settings, lasting=lasting, alone=alone) as installation:
        yield Opened(
            installation,
            Runner(installation.source, installation.connect_projector, ALL),
            Gateway(installation.pool),
        )


def read_settings(*, passing: bool = False) -> Settings:
    """The settings of the environment; from here on there are log lines.

    A ``passing`` command has an answer to give, so its log speaks up only if something is wrong.
    """
    settings = Settings()
    quiet = passing and settings.log_level == "info"
    logging.set_up(settings.model_copy(update={"log_level": "warning"}) if quiet else settings)
    return settings


def main() -> None:
    """The entry point: runs a command and says in a sentence what was wrong."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            err.print(f"WANGGE_{name}: {problem['msg']} ({problem['input']!r})", markup=False)
        sys.exit(2)
    except (BadFile, PostgresUnavailable, Refused) as error:
        # Both languages: who operates a machine abroad may read only one of them.
        err.print(error.zh, error.en, sep="\n", markup=False, soft_wrap=True)
        sys.exit(2)
    except (SettingError, Wrong) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(2)
    except AlreadyRunning as error:
        _fail(
            f"已有 wangge 在此数据文件夹运行(进程 {error})。", f"Process {error} runs here already."
        )
    except Conflict:
        _fail("其他进程正在改动同一数据,请重试。", "Other writers were faster; run it again.")
    except (psycopg.Error, PoolTimeout) as error:
        _fail(f"数据库出错:{error}", "The database has a problem; `wangge doctor` looks into it.")
    except (MigrationError, NotTheSame, Poisoned) as error:
        _fail(str(error), "")
    except Superseded as error:
        _fail(
            f"读模型 {error} 由更新版本的程序维护,请使用该版本。",
            f"A newer version of wangge keeps the read model {error}: use that one.",
        )
    except OSError as error:
        _fail(f"系统出错:{error}", "The system refused that; `wangge doctor` looks into it.")
    except KeyboardInterrupt:
        sys.exit(130)


class Wrong(Exception):
    """An argument that cannot be; the text says which and why."""


def _fail(zh: str, en: str) -> NoReturn:
    err.print(zh, en, sep="\n", markup=False, soft_wrap=True)
    sys.exit(1)


def _leave(*_: object) -> NoReturn:
    """On SIGTERM: unwind, so that everything is closed in order."""
    raise SystemExit(0)


# --- servers ---


@app.command()
def up() -> None:
    """启动全部服务:数据库、接口、投影。Start everything: database, API and projector."""
    settings = read_settings()
    _listen(settings).close()  # known before a database is started
    with composed(settings, lasting=True, alone=True) as opened_:
        _serve(opened_, project=True)


@app.command()
def serve() -> None:
    """只启动接口。Start the API only."""
    settings = read_settings()
    _listen(settings).close()
    with composed(settings, lasting=True) as opened_:
        _serve(opened_, project=False)


@app.command()
def project() -> None:
    """只启动投影。Start the projector only."""
    with composed(lasting=True) as opened_:
        stop = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        err.print(f"投影运行中 · Projecting {len(ALL)} read models", markup=False)
        opened_.runner.follow(stop)


@app.command()
def demo() -> None:
    """启动示例街道,仅限本机访问。Start with a sample subdistrict, on this machine only."""
    from infra import demo as sample

    settings = read_settings()
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise Wrong(
            f"WANGGE_HOST: {settings.host} — 示例账号密码公开,只能在本机(127.0.0.1)运行。"
            "The demo's passwords are public: it listens on loopback only."
        )
    _listen(settings).close()
    with composed(demo_settings(settings), lasting=True, alone=True) as opened_:
        installation = opened_.installation
        if not sample.is_loaded(installation.store):
            with _progress("示例数据 · Sample data") as show:
                sample.load(installation.store, datetime.now(UTC), show)
        accounts = sample.let_in(installation.pool)
        try:
            opened_.catch_up(*ALL)
        except Poisoned as error:
            err.print(f"读模型出错 · A read model stands still: {error}", markup=False)
        table = Table(
            "账号 · User",
            "角色 · Role",
            "属地、单位 · Territory, unit",
            title=f"示例账号 · Demo accounts(密码 · Password: {sample.PASSWORD})",
        )
        staff = installation.store.office().staff
        for account in accounts:
            user = staff.user(account.username)
            places = [grant.territory or "全部 · everywhere" for grant in user.grants]
            table.add_row(
                account.username,
                f"{account.zh} {account.en}",
                "\n".join((*places, user.unit) if user.unit else places),
            )
        err.print(table)
        err.print(
            f"命令行 · CLI on this data: {_chosen(installation.settings)} wangge …",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        _serve(opened_, project=True, demo=accounts)


def _chosen(settings: Settings) -> str:
    """What to set so that a command works on this data; a password is not shown."""
    if settings.dsn is None:
        return f"WANGGE_DATA={shlex.quote(str(settings.data))}"
    known = conninfo_to_dict(settings.dsn)
    shown = make_conninfo(settings.dsn, **({"password": "…"} if "password" in known else {}))
    return f"WANGGE_DSN={shlex.quote(shown)}"


def _serve(opened_: Opened, *, project: bool, demo: tuple[Any, ...] = ()) -> None:
    """The API until SIGINT or SIGTERM, with the projector beside it if wanted."""
    import uvicorn

    from api.app import create_app
    from api.passwords import StoredPasswords
    from api.services import Services
    from infra.codec import NAMES

    installation = opened_.installation
    settings = installation.settings
    services = Services(
        store=installation.store,
        gateway=opened_.gateway,
        passwords=StoredPasswords(installation.pool),
        names={event: name for name, event in NAMES.items()},
        secret=installation.secret,
        clock=lambda: datetime.now(UTC),
        token_minutes=settings.token_minutes,
        body_limit=settings.body_limit,
        demo=demo,
    )
    listening = _listen(settings)
    address = _address(listening)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            err.print(f"网格已就绪 · Ready: {address}", markup=False, highlight=False)

    server = Server(
        uvicorn.Config(
            create_app(services),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
    )
    stop = threading.Event()
    projector = threading.Thread(target=opened_.runner.follow, args=(stop,), name="projector")
    if project:
        projector.start()
    try:
        # uvicorn raises the signal again once it has stopped: SystemExit or KeyboardInterrupt.
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    finally:
        stop.set()
        if project:
            projector.join()
        listening.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise Wrong(
            f"WANGGE_HOST, WANGGE_PORT: 无法监听 {settings.host}:{settings.port}"
            f"({error.strerror})。Cannot listen there: does wangge run already? "
            "Another port: WANGGE_PORT=8801."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# --- read models ---


@app.command()
def rebuild(
    name: Annotated[
        str | None,
        _one_of(typer.Argument, BY_NAME, "读模型 · Which read model."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="全部 · All of them.")] = False,
    verify: Annotated[
        bool, typer.Option(help="与现有结果逐字节比对 · Compare with the live one, byte for byte.")
    ] = False,
) -> None:
    """重建读模型,不影响查询。Rebuild read models beside the live ones, and swap."""
    if (name is None) is not every:
        raise Wrong("请给出一个名称或 --all。Give one name, or --all.")
    chosen = ALL if name is None else (BY_NAME[name],)
    poisoned: Poisoned | None = None
    with composed() as opened_:
        for projection in chosen:
            if verify:
                with suppress(Poisoned):  # compared as far as it got, and then built to the end
                    opened_.catch_up(projection)
            with _progress(projection.name) as show:

                def advance(at: Advance, show: Show = show) -> None:
                    show(at.position, at.head, f"{at.rate:,.0f}/s")

                try:
                    digest = opened_.runner.rebuild(projection, verify=verify, on_progress=advance)
                except Poisoned as error:
                    poisoned = error
                    continue
            same = f"一致 · same {digest[:16]}" if verify else "完成 · done"
            out.print(f"{projection.name}: {same}", highlight=False)
    if poisoned is not None:
        raise poisoned


@app.command()
def metrics(
    name: Annotated[str, _one_of(typer.Argument, METRICS, "指标 · Which metric.")],
    as_json: AsJson = False,
    territory: Annotated[str, typer.Option(help="属地路径 · Path, such as d1/s1/.")] = "",
    since: Annotated[
        str | None, typer.Option("--from", help="起(含)· From: a day or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="止(不含)· Until, without it.")] = None,
) -> None:
    """计算指标。Answer a metric, with what it is made of."""
    from api import schemas

    answers: dict[str, Any] = {
        "containment": schemas.ContainmentAnswer,
        "timeliness": schemas.TimelinessAnswer,
        "caseload": schemas.CaseloadAnswer,
    }
    window = Window(territory=territory, since=_instant(since), until=_instant(until))
    with composed() as opened_:
        if territory:
            opened_.installation.store.office().territory.node(territory)
        with _progress_if_long(name) as advance:
            opened_.catch_up(BY_NAME[name], on_progress=advance)
        query = getattr(opened_.gateway, name)
        answer = answers[name].model_validate(query(OPERATOR, window), from_attributes=True)
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        _print_values(answer.model_dump(mode="json"))


# --- import ---


@app.command("import")
def import_(
    which: Annotated[
        str,
        _one_of(typer.Argument, SYSTEMS, "原系统 · The old system."),
    ],
    file: Annotated[Path, typer.Argument(help="导出文件 · The exported file.")],
    report: Annotated[
        Path | None, typer.Option(help="未导入行的报告 · Where bad rows are named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """导入历史事项;可中断、可重复。Import old cases; may be interrupted and repeated."""
    if not file.is_file():
        raise BadFile("import.no_file", path=file, why="没有这个文件 no such file")
    old: OldSystem[Any] = SYSTEMS[which]()
    report = report or Path(f"import-{which}-report.csv")
    with composed() as opened_, _progress(f"导入 · Import {which}") as show:

        def advance(done: Summary) -> None:
            show(done.read, done.size, f"{done.events / max(done.seconds, 1e-6):,.0f} events/s")

        installation = opened_.installation
        done = import_file(
            old,
            file,
            report,
            installation.store,
            installation.pool,
            datetime.now(UTC),
            advance,
        )
    figures = {
        "cases": done.cases,
        "added": done.added,
        "events": done.events,
        "bad": done.bad,
        "seconds": round(done.seconds, 1),
        "report": str(report),
    }
    if as_json:
        out.print_json(data=figures)
    else:
        _print_values(figures)


# --- the log ---


@log_app.command("stat")
def log_stat(as_json: AsJson = False) -> None:
    """事件数、流数、最后位置。Events, streams and last position of the log."""
    with composed() as opened_:
        figures = opened_.installation.store.recorder.statistics()
    if as_json:
        out.print_json(data=figures)
    else:
        _print_values(figures)


@case_app.command("show")
def case_show(
    case_id: Annotated[str, typer.Argument(metavar="ID", help="事项编号 · The case.")],
    as_of: Annotated[
        str | None, typer.Option(help="某时刻或某版本 · At a time, or a version number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """事项现状或历史状态。A case as it stands, or as of a time or version."""
    import msgspec

    version = int(as_of) if as_of is not None and as_of.isdecimal() and len(as_of) < 8 else None
    at = _instant(as_of) if version is None else None
    with composed() as opened_:
        history = opened_.installation.store.history(f"case:{case_id}")
    row, steps = None, []
    for recorded in history:
        if (at and recorded.at > at) or (version is not None and recorded.version > version):
            break
        row = worklist.fold(row, recorded)
        steps.append((recorded.version, recorded.at, recorded.name, recorded.actor))
    if row is None or (version is not None and row.version < version):
        raise (
            Refused("case.unknown", case=case_id)
            if not history
            else Wrong(f"--as-of {as_of}: 当时没有此事项或此版本。The case was not there then.")
        )
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(row)).decode() + "\n")
        return
    _print_values(msgspec.to_builtins(row))
    table = Table("#", "时间 · At", "事件 · Event", "人员 · By")
    for number, when, name, actor in steps:
        table.add_row(str(number), f"{when.astimezone(OFFICE_TIME):%F %T}", name, actor)
    out.print(table)


# --- people ---


@user_app.command("add")
def user_add(
    user: Annotated[str, typer.Argument(metavar="NAME", help="登录名 · Name to sign in with.")],
    role: Annotated[
        list[str],
        _one_of(typer.Option, ROLES, "角色,可多次 · Role; may be repeated."),
    ],
    territory: Annotated[
        str, typer.Option(help="属地路径,空为全部 · Path; empty means everywhere.")
    ] = "",
    full_name: Annotated[str | None, typer.Option("--name", help="姓名 · Full name.")] = None,
    unit: Annotated[str | None, typer.Option(help="责任单位 · Unit of a handler.")] = None,
    password_stdin: Annotated[
        bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
    ] = False,
) -> None:
    """新增人员(含首位管理员)。Add a person, the first administrator too."""
    from api.passwords import StoredPasswords

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
        if password_stdin:
            password = sys.stdin.readline().rstrip("\n")
        else:
            password = typer.prompt(
                "密码 · Password", hide_input=True, confirmation_prompt=True, err=True
            )
        if not 8 <= len(password) <= 200:
            raise Wrong("密码须为 8 至 200 位。A password has 8 to 200 characters.")
        installation.store.execute(add, correlation="cli")
        # Only after the rules have agreed: never the password of somebody who is there already.
        StoredPasswords(installation.pool).set(user, password)
    out.print(f"已新增 · Added: {user}", markup=False, highlight=False)


@app.command()
def doctor() -> None:
    """检查运行条件,指出问题与办法。Check everything needed; say what is wrong and what to do."""
    from infra import doctor as checks

    try:
        settings = Settings()
    except ValidationError:
        out.print("✗ settings", markup=False)
        raise
    logging.set_up(settings.model_copy(update={"log_level": "error"}))
    well = True
    for finding in checks.examine(settings, composed):
        well &= finding.well
        mark = "✓" if finding.well else "✗"
        out.print(f"{mark} {finding.what}: {finding.found}", markup=False, soft_wrap=True)
        if not finding.well:
            out.print(f"    {finding.zh}\n    {finding.en}", markup=False, soft_wrap=True)
    if not well:
        raise SystemExit(1)


# --- words in and out ---

Show = Callable[[int, int, str], None]


@contextmanager
def _progress(title: str) -> Iterator[Show]:
    """A bar on standard error with rate and time left; ``show(done, of, rate)`` moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(title, total=None, rate="")

        def show(done: int, of: int, rate: str) -> None:
            bar.update(task, completed=done, total=of, rate=rate)

        yield show


@contextmanager
def _progress_if_long(title: str) -> Iterator[OnProgress]:
    """The bar, from when a read model has a page behind it and more to go."""
    with ExitStack() as stack:
        show: Show | None = None

        def advance(at: Advance) -> None:
            nonlocal show
            if show is None and at.position < at.head:
                show = stack.enter_context(_progress(title))
            if show is not None:
                show(at.position, at.head, f"{at.rate:,.0f}/s")

        yield advance


def _print_values(values: dict[str, Any], indent: str = "") -> None:
    for name, value in values.items():
        match value:
            case {"numerator": above, "denominator": below, "value": rate}:
                shown = "–" if rate is None else f"{rate:.2%}"
                out.print(f"{indent}{name}: {above:,} ÷ {below:,} = {shown}", highlight=False)
            case dict():
                out.print(f"{indent}{name}:", highlight=False)
                _print_values(value, indent + "  ")
            case list():
                out.print(f"{indent}{name}:", highlight=False)
                for each in value:
                    if isinstance(each, dict):
                        _print_values({str(each.pop("path", "-")): each}, indent + "  ")
                    else:
                        out.print(f"{indent}  {each}", highlight=False, markup=False)
            case _:
                shown = "–" if value is None else str(value)
                out.print(f"{indent}{name}: {shown}", highlight=False, markup=False)


def _instant(text: str | None) -> datetime | None:
    """A day (its beginning, in office time) or a time; without a zone it is office time."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Wrong(f"不是日期或时间 · Neither a day nor a time: {text}") from None
    return at if at.tzinfo else at.replace(tzinfo=OFFICE_TIME)
