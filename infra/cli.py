"""The command line: here, and only here, everything is put together.

Every command starts or reaches its database itself. What can be expected to go wrong is said in a
sentence: exit code 2 for a setting, a file or an argument, 1 for everything else.
"""

import atexit
import gc
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, get_args

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ValidationError
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
from domain.case.commands import Source
from domain.case.events import FileAttached
from domain.catalogue import Size
from domain.errors import Conflict, Refused
from domain.history import LOG, Wanted
from domain.privacy import AskForget, DeclineForget, ForgetReason
from domain.roles import Actor, Grant, Role, permitted, system
from domain.staff import AddUser, is_user_id
from domain.words import AUTOMATIC
from infra import cli_kafka, cli_projections, cli_reports, logging
from infra.deadlines import Deadlines
from infra.feed import Feed
from infra.forgetting import EVERY_SECONDS, Forgetting, wipe
from infra.importers import BadFile, OldSystem, Summary, import_file
from infra.importers.bpic2013 import Bpic2013
from infra.importers.nyc311 import Nyc311
from infra.installation import AlreadyRunning, Installation, demo_settings, opened
from infra.migrations import MigrationError, role_dsn
from infra.outbound import Outbound
from infra.postgres import PostgresUnavailable
from infra.settings import SettingError, Settings
from infra.vault import KeyFile, Tampered
from infra.webhooks import Deliveries, Receivers, secret_of
from projections import worklist
from projections.catalog import NAMES as READ_MODELS
from projections.catalog import read_models
from projections.deadlines import Backlog
from projections.figures import By, Question
from projections.gateway import Gateway, PendingFilter
from projections.metrics import METRICS
from projections.past import AsOf
from projections.runner import NotTheSame, OnProgress, Poisoned, Projection, Runner, Superseded
from projections.runner import Progress as Advance
from projections.search import index_key

SYSTEMS: Final[dict[str, type[OldSystem[Any]]]] = {"bpic2013": Bpic2013, "nyc311": Nyc311}

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
project_app: Final = typer.Typer()
log_app: Final = typer.Typer(help="事件日志 · The log.", no_args_is_help=True)
case_app: Final = typer.Typer(help="事项 · Cases.", no_args_is_help=True)
deadlines_app: Final = typer.Typer(
    help="到期自动办理 · What happens to cases by itself.", no_args_is_help=True
)
user_app: Final = typer.Typer(help="人员 · People.", no_args_is_help=True)
app.add_typer(log_app, name="log")
app.add_typer(project_app, name="project")
app.add_typer(case_app, name="case")
app.add_typer(deadlines_app, name="deadlines")
app.add_typer(user_app, name="user")
app.add_typer(cli_reports.export_app, name="export")
app.command("report")(cli_reports.report)

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
    models: dict[str, Projection]
    runner: Runner
    gateway: Gateway
    fed: bool = False
    """Whether the read models here are built from Kafka, not from this database's own log."""

    def catch_up(self, *needed: Projection, on_progress: OnProgress | None = None) -> None:
        """Bring these read models, and no others, to the end of the log.

        Raises:
            Poisoned: one of them cannot go on. The others of them are up to date.
        """
        if self.fed:
            return
        Runner(self.runner.source, self.runner.connect, needed).catch_up(on_progress)


@contextmanager
def composed(
    settings: Settings | None = None, *, lasting: bool = False, alone: bool = False
) -> Iterator[Opened]:
    """One installation with its log, its projector and its queries."""
    settings = settings or read_settings(passing=not lasting)
    with opened(settings, lasting=lasting, alone=alone) as installation:
        key = index_key(installation.secret)
        models = read_models(key)
        fed = cli_kafka.is_fed(installation.pool)
        own = () if fed else tuple(models.values())
        yield Opened(
            installation,
            models,
            Runner(
                installation.source,
                installation.connect_projector,
                own,
                spans=installation.spans,
            ),
            Gateway(installation.pool, key),
            fed,
        )


def read_settings(*, passing: bool = False) -> Settings:
    """The settings of the environment; from here on there are log lines.

    A ``passing`` command has an answer to give, so its log speaks up only if something is wrong.
    """
    settings = Settings()
    quiet = passing and settings.log_level == "info"
    chosen = settings.model_copy(update={"log_level": "warning"}) if quiet else settings
    logging.set_up(chosen, lasting=not passing)
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
    except (MigrationError, NotTheSame, Poisoned, Tampered) as error:
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
def serve(
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="服务进程数 · How many server processes.")
    ] = 1,
) -> None:
    """只启动接口。Start the API only."""
    settings = read_settings()
    _listen(settings).close()
    with composed(settings, lasting=True) as opened_:
        if workers == 1:
            _serve(opened_, project=False)
        else:
            _serve_by(workers, settings)


@project_app.callback(invoke_without_command=True)
def project(
    context: typer.Context,
    source: Annotated[
        str,
        _one_of(
            typer.Option,
            ("log", "kafka"),
            "事件来源:本库日志,或 Kafka 主题(WANGGE_KAFKA)· This database's own log, or topics.",
        ),
    ] = "log",
) -> None:
    """只启动投影。Start the projector only."""
    if context.invoked_subcommand is not None:
        return
    if source == "kafka":
        cli_kafka.project(composed)
        return
    with composed(lasting=True) as opened_:
        stop = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        err.print(f"投影运行中 · Projecting {len(READ_MODELS)} read models", markup=False)
        with _following("deadlines", _deadlines(opened_).follow):
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
            with progress("示例数据 · Sample data") as show:
                sample.load(installation.store, datetime.now(UTC), show)
        accounts = sample.let_in(installation.pool)
        try:
            opened_.catch_up(*opened_.models.values())
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


def _application(opened_: Opened, beside: ExitStack, demo: tuple[Any, ...] = ()) -> Any:
    """The API over an installation. Until ``beside`` is closed, what is left to do for those
    forgotten is done as well."""
    from api.app import create_app
    from api.passwords import StoredPasswords
    from api.services import Services
    from infra.codec import NAMES
    from infra.reports import render

    # What is loaded by now stays for good: looking through all of it again and again for garbage
    # takes some 100 ms each time, in which nobody is served.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    installation = opened_.installation
    settings = installation.settings
    passwords = StoredPasswords(installation.pool)
    forgetting = Forgetting(installation.source, installation.vault, passwords.drop)
    beside.enter_context(_following("forgetting", forgetting.follow))
    beside.enter_context(_following("deadlines", _deadlines(opened_).follow))
    beside.enter_context(_following("webhooks", _deliveries(opened_).follow))
    return create_app(
        Services(
            store=installation.store,
            commits=installation.commits,
            feed=Feed(
                installation.store,
                installation.pool,
                role_dsn(installation.dsn, installation.secret, "wangge_app"),
            ),
            gateway=opened_.gateway,
            passwords=passwords,
            receivers=Receivers(installation.store, installation.pool),
            webhook_secret=partial(secret_of, installation.secret),
            attachments=installation.attachments,
            forget=forgetting.finish,
            render=render,
            names={event: name for name, event in NAMES.items()},
            secret=installation.secret,
            clock=lambda: datetime.now(UTC),
            token_minutes=settings.token_minutes,
            body_limit=settings.body_limit,
            attachment_limit=settings.attachment_limit,
            webhooks_private=settings.webhooks_private,
            demo=demo,
            spans=installation.spans,
            lag_seconds=settings.lag_seconds,
            metrics_token=settings.metrics_token.get_secret_value(),
        )
    )


def _deadlines(opened_: Opened) -> Deadlines:
    """What happens to cases by itself; any number of processes may have one."""
    installation = opened_.installation
    return Deadlines(
        installation.store, installation.connect_projector, Backlog, lambda: datetime.now(UTC)
    )


def _deliveries(opened_: Opened) -> Deliveries:
    """What receivers outside are told; any number of processes may have one."""
    installation = opened_.installation
    return Deliveries(
        installation.store,
        installation.connect_projector,
        Outbound(private=installation.settings.webhooks_private).post,
        installation.secret,
        lambda: datetime.now(UTC),
    )


@contextmanager
def _following(name: str, follow: Callable[[threading.Event], None]) -> Iterator[None]:
    """A thread that follows the log beside the server, until it is told to stop."""
    stop = threading.Event()
    # A daemon: a worker closes this when it exits, which comes after waiting for other threads.
    thread = threading.Thread(target=follow, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def worker() -> Any:
    """The API in one of several server processes: what uvicorn calls in each of them."""
    settings = read_settings()
    staying = ExitStack()
    atexit.register(staying.close)
    return _application(staying.enter_context(composed(settings, lasting=True)), staying)


UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "timeout_graceful_shutdown": 5,
    "server_header": False,
    "http": "infra.http_server:Protocol",
}


def _serve_by(workers: int, settings: Settings) -> None:
    """Several server processes behind one socket; one that dies is started again."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    with _listen(settings) as listening:
        err.print(f"网格已就绪 · Ready: {_address(listening)}", markup=False, highlight=False)
        config = uvicorn.Config("infra.cli:worker", factory=True, workers=workers, **UVICORN)
        with tempfile.TemporaryDirectory(prefix="wangge-metrics-") as counted:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counted  # for the workers, which share it
            Multiprocess(config, sockets=[listening]).run()


def _serve(opened_: Opened, *, project: bool, demo: tuple[Any, ...] = ()) -> None:
    """The API until SIGINT or SIGTERM, with the projector beside it if wanted."""
    import uvicorn

    settings = opened_.installation.settings
    listening = _listen(settings)
    address = _address(listening)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            err.print(f"网格已就绪 · Ready: {address}", markup=False, highlight=False)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            application.state.services.feed.close()  # else its streams would be waited for
            await super().shutdown(sockets)

    beside = ExitStack()
    application = _application(opened_, beside, demo)
    server = Server(uvicorn.Config(application, **UVICORN))
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
        beside.close()
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
        _one_of(typer.Argument, READ_MODELS, "读模型 · Which read model."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="全部 · All of them.")] = False,
    verify: Annotated[
        bool, typer.Option(help="与现有结果逐字节比对 · Compare with the live one, byte for byte.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="进程数 · How many processes; each core has one.")
    ] = os.cpu_count() or 1,
) -> None:
    """重建读模型,不影响查询;中断后再次运行即继续。Rebuild read models beside the live ones, and
    swap; interrupted, it goes on when run again."""
    if (name is None) is not every:
        raise Wrong("请给出一个名称或 --all。Give one name, or --all.")
    poisoned: Poisoned | None = None
    with composed() as opened_:
        if opened_.fed:
            raise Wrong(
                "读模型来自 Kafka,不能由本库日志重建。"
                "The read models here come from Kafka, not from this database's own log."
            )
        opened_.runner.crew = cli_projections.crew(opened_.installation, workers)
        if name is None and not verify:
            with progress("--all") as show_all:
                opened_.runner.rebuild_all(
                    tuple(opened_.models.values()),
                    on_progress=lambda at: show_all(at.position, at.head, f"{at.rate:,.0f}/s"),
                )
            for each in opened_.models:
                out.print(f"{each}: 完成 · done", highlight=False)
            return
        chosen = tuple(opened_.models.values()) if name is None else (opened_.models[name],)
        for projection in chosen:
            if verify:
                with suppress(Poisoned):  # compared as far as it got, and then built to the end
                    opened_.catch_up(projection)
            with progress(projection.name) as show:

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
    category: Annotated[str | None, typer.Option(help="类别 · Category.")] = None,
    size: Annotated[str | None, _one_of(typer.Option, Size, "大小 · Size.")] = None,
    source: Annotated[str | None, _one_of(typer.Option, Source, "来源 · Source.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="当时的数字:位置或时间 · As of a position or a time.")
    ] = None,
    over: Annotated[Any, _one_of(typer.Option, get_args(By), "分组 · Broken down by.")] = None,
) -> None:
    """计算指标。Answer a metric, with what it is made of."""
    from api import metrics as answers
    from api.schemas import read_as_of as parsed

    asked = Question(
        now=datetime.now(UTC),
        as_of=_past(as_of, parsed),
        territory=territory,
        since=instant(since),
        until=instant(until),
        category=category,
        size=size,
        source=source,
    )
    answer: BaseModel
    with composed() as opened_:
        if territory:
            opened_.installation.store.office().territory.node(territory)
        with progress_if_long(name) as advance:
            opened_.catch_up(opened_.models[METRICS[name].model], on_progress=advance)
        figures = opened_.gateway.figures
        match name:
            case "backlog":
                answer = answers.backlog_answer(figures.backlog(OPERATOR, asked, over))
            case "caseload":
                answer = answers.caseload_answer(figures.caseload(OPERATOR, asked, over))
            case _:
                found = figures.answer(OPERATOR, METRICS[name], asked, over)
                answer = answers.metric_answer(found)
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        _print_values(answer.model_dump(mode="json"))


def _past(text: str | None, parsed: Callable[[str], AsOf]) -> AsOf | None:
    """A position, a day or a time."""
    if text is None or text.isdecimal() or "@" in text:
        return None if text is None else parsed(text)
    return instant(text)


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
    with composed() as opened_, progress(f"导入 · Import {which}") as show:

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
    at = instant(as_of) if version is None else None
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


# --- what happens to cases by itself ---


@deadlines_app.command("list")
def deadlines_list(
    due_only: Annotated[
        bool, typer.Option("--due", help="只列已到期的 · Only what is due.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="最多几条 · At most.")] = 100,
) -> None:
    """列出将自动办理的事项,先到期的在前。List what will happen to cases by itself, and when."""
    now = datetime.now(UTC)
    with composed() as opened_:
        with progress_if_long("deadlines") as advance:
            opened_.catch_up(opened_.models["deadlines"], on_progress=advance)
        office = opened_.installation.store.office()
        found = opened_.gateway.pending(
            OPERATOR,
            office.catalogue.ahead,
            PendingFilter(),
            limit=limit,
            settled=office.calendar.settled(),
        )
    table = Table("时间 · At", "类型 · Kind", "事项 · Case", "属地 · Territory", "失败 · Failed")
    for each in found.rows:
        if due_only and each.at >= now:
            break
        failed = f"{each.attempts}: {each.error}" if each.attempts else ""
        at = f"{each.at.astimezone(OFFICE_TIME):%F %T}"
        table.add_row(at, AUTOMATIC[each.kind].zh, each.case, each.territory, failed)
    out.print(table)


@deadlines_app.command("run")
def deadlines_run() -> None:
    """办理一次已到期的。Do what is due now, once; a server does it by itself every few seconds."""
    with composed() as opened_:
        with progress_if_long("deadlines") as advance:
            opened_.catch_up(opened_.models["deadlines"], on_progress=advance)
        done = _deadlines(opened_).run()
    if done is None:
        out.print("另一进程正在办理。Another process is at it.", highlight=False)
    else:
        out.print(f"已办 · done {done.issued},失败 · failed {done.failed}", highlight=False)


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


# --- personal data ---

REASONS: Final = tuple(each.value for each in ForgetReason)


@app.command()
def forget(
    person: Annotated[
        str | None, typer.Argument(metavar="PERSON", help="人员编号 · Id of the person.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="USER",
            help="操作人,须输入其密码 · Who does it; a password is asked for.",
        ),
    ] = None,
    reason: Annotated[
        str,
        _one_of(typer.Option, REASONS, "原因:本人要求、期限届满、误录 · Why."),
    ] = ForgetReason.REQUEST.value,
    case: Annotated[
        list[str] | None,
        typer.Option(help="另外提到此人的事项,可多次 · Another case that names the person."),
    ] = None,
    territory: Annotated[
        str | None,
        typer.Option(
            help="此人所在属地;默认操作人的属地 · Where the person is known; else USER's."
        ),
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="批准:须另一人 · Approve, as a second person.")
    ] = False,
    decline: Annotated[
        bool, typer.Option("--decline", help="不同意或撤回 · Decline, or take back.")
    ] = False,
    wipe_only: Annotated[
        bool,
        typer.Option(
            "--wipe",
            help="仅清除磁盘残留(在接口批准之后)· Only wipe the disk, after approvals over HTTP.",
        ),
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
    ] = False,
) -> None:
    """删除一个人的个人信息:一人申请,另一人批准。Forget a person: one asks, another approves.

    批准后密钥立即销毁,其他进程 60 秒内不再持有;随后清除磁盘残留(备份和外部数据库的预写日志除外)。
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
        actor = _signed_in(opened_, by, from_stdin=password_stdin)
        if approve:
            _approve(opened_, actor, person)
        elif decline:
            no = DeclineForget(by=actor, at=datetime.now(UTC), person=person)
            opened_.installation.store.execute(no, correlation="cli")
            out.print(f"未予删除 · Declined: {person}", markup=False, highlight=False)
        else:
            _ask(opened_, actor, person, ForgetReason(reason), tuple(case or ()), territory)


def _signed_in(opened_: Opened, user: str, *, from_stdin: bool) -> Actor:
    """Somebody of the staff who knows the own password.

    Raises:
        Refused: ``request.bad_credentials``, ``staff.suspended``.
    """
    from api.passwords import StoredPasswords

    installation = opened_.installation
    if from_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt(f"{user} 的密码 · Password of {user}", hide_input=True, err=True)
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
        f"已申请删除 {person},须由另一人批准:wangge forget {person} --as … --approve\n"
        f"Asked to forget {person}; now another person approves.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _approve(opened_: Opened, by: Actor, person: str) -> None:
    from api.privacy import approving

    installation = opened_.installation
    with progress_if_long("worklist") as advance:
        opened_.catch_up(opened_.models["worklist"], on_progress=advance)
    staff = installation.store.office().staff
    commands = approving(opened_.gateway, staff, by, datetime.now(UTC), person)
    installation.store.execute(*commands, correlation="cli")
    out.print(f"已批准删除 · Forgotten: {person}", markup=False, highlight=False)
    _finish_forgetting(opened_)


def _finish_forgetting(opened_: Opened) -> None:
    """Make true what is promised of those forgotten, and say what is left."""
    from api.passwords import StoredPasswords

    installation = opened_.installation
    drop = StoredPasswords(installation.pool).drop
    keys = Forgetting(installation.source, installation.vault, drop).finish()
    with progress_if_long("read models") as advance:
        opened_.catch_up(*opened_.models.values(), on_progress=advance)
    settings = installation.settings
    left = wipe(
        installation.connect_projector, installation.dsn, settings.vault_dsn or installation.dsn
    )
    out.print(
        f"本次销毁密钥 {keys} 个;其他进程最迟 {EVERY_SECONDS:.0f} 秒后不再持有。\n"
        f"Keys destroyed now: {keys}. Other processes have none of them in "
        f"{EVERY_SECONDS:.0f} seconds.",
        "查询数据已更新,磁盘残留已清除。Read models are up to date and the disk is wiped."
        if not left
        else "查询数据已更新;磁盘上尚有残留 · Read models are up to date; left on the disk:",
        *(f"  {each}" for each in left),
        "备份、副本中的旧数据须另行处理(密钥轮换:wangge rotate-keys)。"
        "Backups and replicas keep what they had; `wangge rotate-keys` makes the keys in them "
        "worthless.",
        sep="\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
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


@app.command("rotate-keys")
def rotate_keys(
    add_only: Annotated[
        bool,
        typer.Option(
            "--add-only",
            help="只生成新主密钥,以便先复制到其他机器 · Only make the new one, to be copied first.",
        ),
    ] = False,
) -> None:
    """更换主密钥,重新包裹全部密钥;可中断,再次运行即继续。Change the key that wraps all keys of
    personal data; may be interrupted, and goes on when run again.

    多台机器共用时:先 --add-only,复制密钥文件(WANGGE_KEK),再运行。旧密钥文件的副本请一并销毁。
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
        f"重新包裹 {done} 个,作废第 {gone} 期。Wrapped {done} keys; epochs given up: {gone}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


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
def progress(title: str) -> Iterator[Show]:
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
def progress_if_long(title: str) -> Iterator[OnProgress]:
    """The bar, from when a read model has a page behind it and more to go."""
    with ExitStack() as stack:
        show: Show | None = None

        def advance(at: Advance) -> None:
            nonlocal show
            if show is None and at.position < at.head:
                show = stack.enter_context(progress(title))
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


def instant(text: str | None) -> datetime | None:
    """A day (its beginning, in office time) or a time; without a zone it is office time."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Wrong(f"不是日期或时间 · Neither a day nor a time: {text}") from None
    return at if at.tzinfo else at.replace(tzinfo=OFFICE_TIME)


cli_kafka.register(app, composed)
cli_projections.register(project_app, composed, _signed_in)
