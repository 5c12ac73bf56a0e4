"""``wangge up``, ``serve``, ``project`` and ``demo``: what runs until it is told to stop."""

import atexit
import os
import shlex
import signal
import socket
import tempfile
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.table import Table

from infra.cli import kafka
from infra.cli.composition import Opened, composed, deadlines_of, read_settings
from infra.cli.frame import Wrong, err, one_of, progress
from infra.feed import Feed
from infra.forgetting import Forgetting
from infra.garbage import spare_what_is_loaded
from infra.installation import beside, demo_settings
from infra.migrations import role_dsn
from infra.outbound import Outbound
from infra.settings import Settings
from infra.webhooks import Deliveries, Receivers, secret_of
from projections.catalog import NAMES as READ_MODELS
from projections.runner import Poisoned


def up() -> None:
    """启动全部服务：数据库、接口、投影。Start everything: database, API and projector."""
    settings = read_settings()
    _listen(settings).close()  # known before a database is started
    with composed(settings, lasting=True, alone=True) as opened_:
        _serve(opened_, project=True)


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


def project(
    context: typer.Context,
    source: Annotated[
        str,
        one_of(
            typer.Option,
            ("log", "kafka"),
            "事件来源：本库日志，"
            "或 Kafka 主题（WANGGE_KAFKA）· This database's own log, or topics.",
        ),
    ] = "log",
) -> None:
    """只启动投影。Start the projector only."""
    if context.invoked_subcommand is not None:
        return
    if source == "kafka":
        kafka.project()
        return
    # It answers nobody: commands of the clock go one after another.
    few = read_settings().model_copy(update={"connections": 2})
    with composed(few, lasting=True) as opened_:
        stop = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        err.print(f"投影运行中 · Projecting {len(READ_MODELS)} read models", markup=False)
        spare_what_is_loaded()
        with beside("deadlines", deadlines_of(opened_).follow):
            opened_.runner.follow(stop)


def demo() -> None:
    """启动示例街道，仅限本机访问。Start with a sample subdistrict, on this machine only."""
    from infra import demo as sample

    settings = read_settings()
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise Wrong(
            f"WANGGE_HOST: {settings.host} — 示例账号密码公开，只能在本机（127.0.0.1）运行。"
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
    chosen = {"WANGGE_DATA": str(settings.data)}
    if settings.dsn is not None:
        known = conninfo_to_dict(settings.dsn)
        shown = make_conninfo(settings.dsn, **({"password": "…"} if "password" in known else {}))
        chosen = {"WANGGE_DSN": shown}
    if settings.kek is not None:
        chosen["WANGGE_KEK"] = str(settings.kek)
    if settings.attachments:
        chosen["WANGGE_ATTACHMENTS"] = settings.attachments
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in chosen.items())


def _application(opened_: Opened, stack: ExitStack, demo: tuple[Any, ...] = ()) -> Any:
    """The API over an installation. Until ``stack`` is closed, what is left to do for those
    forgotten is done as well."""
    from api.app import create_app
    from api.passwords import StoredPasswords
    from api.services import Services
    from infra.codec import NAMES
    from infra.reports import render

    spare_what_is_loaded()
    installation = opened_.installation
    settings = installation.settings
    passwords = StoredPasswords(installation.pool)
    forgetting = Forgetting(
        installation.store, installation.source, installation.vault, passwords.drop
    )
    stack.enter_context(beside("forgetting", forgetting.follow))
    stack.enter_context(beside("deadlines", deadlines_of(opened_).follow))
    stack.enter_context(beside("webhooks", _deliveries(opened_).follow))
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
            vault=installation.vault,
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
        config = uvicorn.Config(
            "infra.cli.servers:worker", factory=True, workers=workers, **UVICORN
        )
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

    stack = ExitStack()
    application = _application(opened_, stack, demo)
    server = Server(uvicorn.Config(application, **UVICORN))
    if project:
        stack.enter_context(beside("projector", opened_.runner.follow))
    try:
        # uvicorn raises the signal again once it has stopped: SystemExit or KeyboardInterrupt.
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    finally:
        stack.close()
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
