"""What an installation needs, looked at one thing after another."""

import http.client
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from domain.case.events import FileAttached
from domain.errors import Refused
from domain.history import CLOCKS_APART
from domain.roles import system
from infra.demo import CAUSATION
from infra.installation import AlreadyRunning, Installation
from infra.migrations import MigrationError, migrations
from infra.postgres import PostgresUnavailable, find_binaries
from infra.settings import SettingError, Settings

FREE_BYTES: Final = 1 << 30
"""Less room than this, and the log may soon have nowhere to go."""

RECENT: Final = 1_000
"""So many of the last positions are asked for their keys: in a vault that was restored from a
moment before that of the log, those are what is missing."""

FILES: Final = 20
AMONG: Final = 100_000
"""So many of the last files, of those among so many positions, are looked for where attachments are
kept."""

LAG: Final = 10_000
"""Positions a read model may be behind while it is catching up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``zh`` and ``en`` say what to do when it is not well."""

    what: str
    well: bool
    found: str
    zh: str = ""
    en: str = ""


def examine(
    settings: Settings, composed: Callable[[Settings], AbstractContextManager[Any]]
) -> Iterator[Finding]:
    """All findings; ``composed`` opens the installation with its runner."""
    yield _python()
    if settings.dsn is None:
        yield _binaries()
    yield _folder(settings.data)
    yield _room(settings.data)
    yield _secret("secret", settings.data / "secret")
    yield _secret("kek", settings.kek_file)
    yield _port(settings)
    try:
        with composed(settings) as opened:
            yield Finding("database", True, _version(opened.installation))
            yield _migrated(opened.installation)
            yield _clock(opened)
            yield from _rights(opened.installation)
            yield _keys(opened.installation)
            yield _files(opened.installation)
            yield from _lag(opened)
    except PostgresUnavailable as error:
        yield Finding("database", False, error.code, error.zh, error.en)
    except (
        psycopg.Error, PoolTimeout, MigrationError, SettingError, AlreadyRunning, OSError
    ) as error:  # fmt: skip
        yield Finding(
            "database",
            False,
            " ".join(str(error).split()),
            "请检查 WANGGE_DSN、WANGGE_VAULT_DSN、"
            "WANGGE_KEK 或 WANGGE_DATA，以及数据库是否在运行。",
            "Look at WANGGE_DSN, WANGGE_VAULT_DSN, WANGGE_KEK or WANGGE_DATA, and whether the "
            "database runs.",
        )


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "python",
        sys.version_info >= (3, 11),
        version,
        "需要 Python 3.11 或更高版本。",
        "Python 3.11 or later is needed.",
    )


def _binaries() -> Finding:
    try:
        found = find_binaries()
    except PostgresUnavailable as error:
        return Finding("postgres", False, error.code, error.zh, error.en)
    return Finding("postgres", True, f"{found.version} ({found.path})")


def _folder(data: Path) -> Finding:
    """The data folder, or where it would be made, can be written to."""
    there = _nearest(data)
    found = str(data)
    try:
        # Tried, not asked for: to root every right seems given, also below /proc.
        tempfile.TemporaryFile(dir=there).close()
        well = True
    except OSError as error:
        well = False
        found += f" ({error.strerror})"
    return Finding(
        "data",
        well,
        found,
        f"当前用户无法写入 {there}；请改权限，或把 WANGGE_DATA 设到别处。",
        f"This user cannot write to {there}: change its rights, or set WANGGE_DATA elsewhere.",
    )


def _nearest(data: Path) -> Path:
    """The data folder, or what is there of the way to it and may be looked at."""
    return next(path for path in (data, *data.parents) if os.path.exists(path))  # noqa: PTH110 - Path.exists raises where it may not enter; this says no


def _room(data: Path) -> Finding:
    free = shutil.disk_usage(_nearest(data)).free
    return Finding(
        "disk",
        free >= FREE_BYTES,
        f"{free / (1 << 30):.1f} GiB",
        "磁盘剩余不足 1 GiB，请清理或扩容。",
        "Less than 1 GiB is free: make room.",
    )


def _secret(what: str, path: Path) -> Finding:
    """A file that only its owner may read; it is made at the first start."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(what, True, "–")
    except OSError as error:
        return Finding(
            what, False, str(error.strerror), f"无法读取 {path}。", f"{path} cannot be read."
        )
    return Finding(
        what,
        mode & 0o077 == 0,
        f"{mode:04o}",
        f"他人可读取密钥，请执行：chmod 600 {path}",
        f"Others can read the secret. Run: chmod 600 {path}",
    )


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        if _answers(settings):
            return Finding("port", True, f"{where} (wangge)")
        return Finding(
            "port",
            False,
            f"{where} {error.strerror}",
            "无法使用此端口，请设置 WANGGE_PORT 或 WANGGE_HOST。",
            "This port cannot be had: set WANGGE_PORT or WANGGE_HOST.",
        )
    return Finding("port", True, where)


def _answers(settings: Settings) -> bool:
    """Whether it is our own API that has the port."""
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
    try:
        connection.request("GET", "/api/v1/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _version(installation: Installation) -> str:
    with installation.pool.connection() as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return str(row[0])


def _migrated(installation: Installation) -> Finding:
    """The files meant for the log's database are in it; a vault elsewhere has had its own."""
    apart = installation.settings.vault_dsn is not None
    numbers = [each.number for each in migrations() if each.part == "log" or not apart]
    with psycopg.connect(installation.dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM public.migration WHERE number = ANY(%s)", (numbers,)
        ).fetchone()
    assert row is not None
    return Finding("migrations", row[0] == len(numbers), f"{row[0]} / {len(numbers)}")


def _clock(opened: Any) -> Finding:
    """What happens is stamped with this machine's clock; so is what is due."""
    ahead = opened.gateway.clock_ahead()
    return Finding(
        "clock",
        abs(ahead) <= CLOCKS_APART,
        f"{ahead:+.1f} s",
        "本机时钟与数据库相差过大，请在两处启用时间同步（NTP）。",
        "This machine's clock and the database's are apart: let both be set by NTP.",
    )


def _rights(installation: Installation) -> Iterator[Finding]:
    """The roles may do their work, and neither may change what is in the log."""
    app, projector = installation.pool.connection, installation.connect_projector
    for role, connect in (("wangge_app", app), ("wangge_projector", projector)):
        with connect() as connection:
            row = connection.execute(
                "SELECT has_table_privilege('log.event', 'SELECT'),"
                " has_table_privilege('log.event', 'INSERT, UPDATE, DELETE, TRUNCATE'),"
                " rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        assert row is not None
        reads, changes, superuser = row
        yield Finding(
            f"role {role}",
            reads and not changes and not superuser,
            "SELECT" if reads and not changes else f"SELECT {reads}, change {changes}",
            f"角色 {role} 的权限不对，请恢复 infra/sql 中的授权。",
            f"The rights of {role} were changed: restore those of infra/sql.",
        )


def _keys(installation: Installation) -> Finding:
    """The vault has the keys of what is newest in the log, or has had them."""
    store = installation.store
    with installation.pool.connection() as connection:
        rows = connection.execute(
            "SELECT data FROM log.event WHERE position > (SELECT position - %s FROM log.head)",
            (RECENT,),
        ).fetchall()
    named = {key for (data,) in rows for key in store.codec.keys_in(data)}
    found = installation.vault.find(named)
    lost = named - found.keys() - found.destroyed.keys() - found.broken
    return Finding(
        "keys",
        not lost,
        f"{len(named) - len(lost)} / {len(named)}",
        "密钥库缺少日志中的密钥，相应的个人信息无法读取：它可能是从早于日志的备份恢复的。"
        "请恢复较新的备份。",
        "The vault lacks keys that the log names, and what they sealed cannot be read: it may have "
        "been restored from a moment before that of the log. Restore a later one.",
    )


def _files(installation: Installation) -> Finding:
    """The newest files that the log names are where attachments are kept; the sample has none."""
    store = installation.store
    with installation.pool.connection() as connection:
        rows = connection.execute(
            "SELECT name, data FROM log.event WHERE name = ANY(%s)"
            " AND causation <> %s AND position > (SELECT position - %s FROM log.head)"
            " ORDER BY position DESC LIMIT %s",
            (store.codec.names_of((FileAttached,)), CAUSATION, AMONG, FILES),
        ).fetchall()
    named = {store.codec.decode(*row).sha256 for row in rows}
    try:
        held = sum(map(installation.attachments.holds, named))
    except Refused as away:
        return Finding("attachments", False, away.code, away.zh, away.en)
    return Finding(
        "attachments",
        held == len(named),
        f"{held} / {len(named)}",
        "附件存放处缺少事项中的文件：请检查 WANGGE_ATTACHMENTS，或把附件恢复到那里。",
        "Files of cases are not where attachments are kept: look at WANGGE_ATTACHMENTS, or restore "
        "the files there.",
    )


def _lag(opened: Any) -> Iterator[Finding]:
    """How far the read models are behind the log, and whether one stands still."""
    head = opened.installation.source.head()
    used = _used(opened.installation)
    for at in opened.gateway.standings():
        what = f"projection {at.name}"
        found = f"{at.position} / {head}" + (f" {at.error}" if at.error else "")
        if at.position == 0 and at.error is None:
            yield Finding(
                what,
                not used,
                found,
                "尚未开始投影，请运行 wangge up 或 wangge project。",
                "Not started: run `wangge up` or `wangge project`.",
            )
            continue
        yield Finding(
            what,
            at.error is None and head - at.position <= LAG,
            found,
            f"投影落后或出错，请运行 wangge project；仍出错则 wangge rebuild {at.name}。",
            f"Behind, or stuck: run `wangge project`; if it stays, `wangge rebuild {at.name}`.",
        )


def _used(installation: Installation) -> bool:
    """Whether the log holds more than what every installation begins with."""
    with installation.pool.connection() as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM log.event WHERE actor <> %s)", (system("setup").id,)
        ).fetchone()
    assert row is not None
    return bool(row[0])
