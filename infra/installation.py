"""One installation, opened: its database brought up to date, its log, and what it begins with."""

import fcntl
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from domain import catalogue
from domain.calendar import PublishYear
from domain.roles import system
from domain.traces import Spans
from infra.attachments import Attachments
from infra.codec import Codec
from infra.event_store import EventStore, LogRecorder
from infra.group_commit import GroupCommit
from infra.log_source import LogSource, identity
from infra.migrations import Part, migrate, role_dsn
from infra.postgres import EmbeddedPostgres
from infra.settings import SettingError, Settings
from infra.vault import KeyFile, Vault

CONNECT_SECONDS: Final = 10
"""How long to wait for an outside database."""

_log = structlog.get_logger(__name__)


class AlreadyRunning(Exception):
    """Another ``wangge up``, ``serve`` or ``project`` has this data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What commands work with. ``dsn`` is the superuser's; the pools sign in as their roles."""

    settings: Settings
    secret: bytes = field(repr=False)
    dsn: str = field(repr=False)
    pool: ConnectionPool
    store: EventStore
    commits: GroupCommit
    spans: Spans | None
    vault: Vault
    source: LogSource
    attachments: Attachments
    server: EmbeddedPostgres | None

    def connect_projector(self) -> psycopg.Connection:
        """An autocommit connection of the role that owns the read models."""
        dsn = role_dsn(self.dsn, self.secret, "wangge_projector")
        return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS)


def _migrate(dsn: str, secret: bytes, *parts: Part) -> None:
    for name in migrate(dsn, secret, parts):
        _log.info("database.migrated", file=name)


@contextmanager
def opened(
    settings: Settings, *, lasting: bool = False, alone: bool = False
) -> Iterator[Installation]:
    """Start or reach the database, bring it up to date, and close everything in the end.

    ``lasting`` is for a process that others may come and go beside: an embedded server is then its
    own, or that of another lasting one (which ``alone`` does not allow).

    Raises:
        AlreadyRunning, SettingError, PostgresUnavailable, MigrationError, psycopg.Error: says what.
    """
    secret = settings.secret()
    with ExitStack() as stack:
        server = None
        dsn = settings.dsn
        if dsn is None:
            server = stack.enter_context(_embedded(settings.data, lasting=lasting, alone=alone))
            dsn = server.dsn()
        dsn = make_conninfo(dsn, connect_timeout=CONNECT_SECONDS)
        apart = settings.vault_dsn is not None
        vault_dsn = make_conninfo(settings.vault_dsn or dsn, connect_timeout=CONNECT_SECONDS)
        parts: tuple[Part, ...] = ("log",) if apart else ("log", "vault")
        _migrate(dsn, secret, *parts)
        pool = stack.enter_context(pooled(dsn, secret, "wangge_app", settings.connections))
        if apart:
            # In this order: somebody else may be making the first of both.
            if _is_used(pool) and not _has_vault(vault_dsn):
                raise _vault_is_empty()
            _migrate(vault_dsn, secret, "vault")
        reading = stack.enter_context(pooled(dsn, secret, "wangge_projector", 6))
        # One beside that of the group commit, so that neither waits for the other.
        keys = stack.enter_context(pooled(vault_dsn, secret, "wangge_vault", 1))
        _demand_vault(pool, keys)
        vault = Vault(keys, KeyFile(settings.kek_file), apart=vault_dsn != dsn)
        codec = Codec()
        store = EventStore(LogRecorder(pool), codec, vault)
        spans = _spans(settings)
        seed(store, datetime.now(UTC))
        yield Installation(
            settings=settings,
            secret=secret,
            dsn=dsn,
            pool=pool,
            store=store,
            commits=GroupCommit(store, role_dsn(dsn, secret, "wangge_app"), spans=spans),
            spans=spans,
            vault=vault,
            source=LogSource(reading, codec, vault),
            attachments=Attachments(
                settings.attachments_place,
                vault,
                settings.data / "scratch",
                partial(_identity, role_dsn(dsn, secret, "wangge_relay")),
            ),
            server=server,
        )


def _has_vault(dsn: str) -> bool:
    """Whether there is one, be it empty: asked before one is made, which a backup of a vault could
    not be restored beside."""
    with psycopg.connect(dsn) as connection:
        there = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'vault')"
        return connection.execute(there).fetchone() == (True,)


def _is_used(log: ConnectionPool) -> bool:
    with log.connection() as connection:
        return connection.execute("SELECT position > 0 FROM log.head").fetchone() == (True,)


def _demand_vault(log: ConnectionPool, vault: ConnectionPool) -> None:
    """A vault without any key belongs to a log without any event.

    Raises:
        SettingError: it is another one. Nothing is written to either then.
    """
    # In this order: somebody else may be making the first of both.
    if not _is_used(log):
        return
    with vault.connection() as connection:
        known = connection.execute("SELECT EXISTS (SELECT FROM vault.kek)").fetchone()
    if known != (True,):
        raise _vault_is_empty()


def _vault_is_empty() -> SettingError:
    return SettingError(
        "WANGGE_VAULT_DSN: 日志中已有事件，而密钥库是空的：个人信息将无法读取。请改回原来的设置"
        "（原先未设置则取消），或先把密钥库恢复到此数据库。\n"
        "WANGGE_VAULT_DSN: the log has events and the vault is empty, no personal data could "
        "be read. Set it to what it was (or unset it, if it was not set), or first restore "
        "the vault into this database (README, Restoring)."
    )


def _identity(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return identity(connection)


def _spans(settings: Settings) -> Spans | None:
    if not settings.traces:
        return None
    # Only where it is wanted: it takes a while to load, and memory.
    from infra.tracing import tracing

    return tracing(settings.traces)


def seed(store: EventStore, now: datetime) -> None:
    """What a new office begins with: the catalogue, and the working calendar as far as published.

    A catalogue that is there is the office's own and stays; a year that is there too.
    """
    office = store.office()
    by = system("setup")
    commands: list[Any] = []
    if not office.catalogue.categories:
        commands += catalogue.set_up(by, now)
    commands += [
        PublishYear(by=by, at=now, year=year, holidays=holidays, makeup_days=makeup_days)
        for year, (holidays, makeup_days) in published_years().items()
        if year not in office.calendar.years
    ]
    if commands:
        store.execute(*commands, correlation="setup")


def published_years() -> dict[int, tuple[tuple[date, ...], tuple[date, ...]]]:
    """Holidays on weekdays and make-up working days on weekends, by year, as published so far."""
    from chinese_calendar import constants

    holidays = [day for day in constants.holidays if day.weekday() < 5]
    makeup_days = [day for day in constants.workdays if day.weekday() >= 5]
    years = sorted({day.year for day in holidays})
    return {
        year: (
            tuple(day for day in holidays if day.year == year),
            tuple(day for day in makeup_days if day.year == year),
        )
        for year in years
    }


def demo_settings(settings: Settings) -> Settings:
    """Where the demonstration lives: a folder of its own, or on an outside server a database.

    Never beside the real vault: giving up an epoch of one would take the other's key away. Nor
    beside the real attachments: to a sweep each would be full of what no case names.
    """
    apart: dict[str, Any] = {"vault_dsn": None}
    if settings.dsn is None:
        # Root's server runs as somebody else, who must get through our folder to the one in it.
        data = settings.make_folder()
        if os.geteuid() == 0:
            data.chmod(data.stat().st_mode | 0o001)
        own = data / "demo"
        apart["kek"] = own / "kek" if settings.kek else None
        apart["attachments"] = str(own / "attachments") if settings.attachments else ""
        return settings.model_copy(update=apart | {"data": own})
    name = f"{conninfo_to_dict(settings.dsn).get('dbname') or 'wangge'}_demo"
    with psycopg.connect(
        settings.dsn, autocommit=True, connect_timeout=CONNECT_SECONDS
    ) as connection:
        known = "SELECT FROM pg_database WHERE datname = %s"
        if connection.execute(known, (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    data = settings.make_folder()
    apart["kek"], apart["attachments"] = data / "demo-kek", str(data / "demo-attachments")
    dsn = make_conninfo(settings.dsn, dbname=name)
    return settings.model_copy(update=apart | {"dsn": dsn})


def pooled(dsn: str, secret: bytes, role: str, size: int) -> ConnectionPool:
    """Autocommit connections of a role, at most so many.

    One that the server has ended meanwhile, as by a restart, is not handed out, nor are the others
    that went with it: that something was said while nobody asked is seen without a round trip.
    """

    def check(connection: psycopg.Connection) -> None:
        said = select.poll()
        said.register(connection.fileno(), select.POLLIN)
        if said.poll(0):
            try:
                connection.execute("")
            except psycopg.Error:
                pool.check()
                raise

    pool = ConnectionPool(
        role_dsn(dsn, secret, role),
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        timeout=CONNECT_SECONDS,
        check=check,
        open=False,
    )
    return pool


# --- the embedded server among several processes ---
#
# It stops with the process that started it. So a lasting process has one of its own, and a passing
# one that started the server stays until nobody else is using it.


@contextmanager
def _embedded(data: Path, *, lasting: bool, alone: bool) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data)
    with ExitStack() as stack:
        if lasting:
            _start_lasting(server, stack, alone)
        else:
            server.start()
        try:
            # Should it end by itself, it is started again: nobody else would.
            ours = lasting and not server.attached
            with beside("postgres", server.keep_up) if ours else nullcontext():
                yield server
            if not lasting and not server.attached:
                _wait_for_others(server)
        finally:
            server.stop()


@contextmanager
def beside(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    """A thread that does something meanwhile, until it is told to stop."""
    stop = threading.Event()
    # A daemon: a worker closes this when it exits, which comes after waiting for other threads.
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _start_lasting(server: EmbeddedPostgres, stack: ExitStack, alone: bool) -> None:
    server.folder.mkdir(parents=True, exist_ok=True)
    lock: IO[str] = stack.enter_context((server.folder / "running").open("a+"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if alone:
            lock.seek(0)
            raise AlreadyRunning(lock.read().strip()) from None
        server.start()
        return
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    server.start()
    if server.attached:
        _log.info("postgres.waiting", for_="another wangge command that is still at work")
    while server.attached:
        time.sleep(0.2)
        server.start()


def _wait_for_others(server: EmbeddedPostgres) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        told = False
        while (row := connection.execute(query).fetchone()) and row[0]:
            if not told:
                _log.info("postgres.waiting", for_="another wangge command that uses this server")
                told = True
            time.sleep(0.1)
