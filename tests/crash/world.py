"""Everything that can be killed: PostgreSQL, servers and projectors, each a process of its own.

``World`` is one durable PostgreSQL, whose parent this process is, with a district set up in a
template database. ``Office`` is a copy of that database with a server, a projector and the proxies
between them. All of it is driven from the main thread.
"""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, LiteralString, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.postgres import EmbeddedPostgres
from tests.crash import district
from tests.crash.load import Background, Follower, Load, Manner
from tests.crash.proxy import Proxy
from tests.forked import READY_SECONDS, NotReady, Nursery

CONNECTIONS: Final = 6

_RECOVERED: Final = re.compile(r"not properly shut down; automatic recovery in progress")
_READY: Final = re.compile(r"database system is ready to accept connections")


def wait_for(what: str, holds: Callable[[], object], seconds: float = READY_SECONDS) -> None:
    """Wait until something holds.

    Raises:
        NotReady: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise NotReady(what)
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class World:
    """One PostgreSQL that keeps its word, and a district to copy."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder = folder
        self.seed = seed
        self.small = False  # on a disk that can be filled
        self.tokens: dict[str, str] = {}
        self.honoured: frozenset[str] = frozenset()
        folder.chmod(0o711)  # root's PostgreSQL runs as somebody else, who must get through
        self.postgres = EmbeddedPostgres(folder / "postgres", durable=True)
        self._numbers = count(1)
        self._log_at = 0
        self.nursery = Nursery(folder)
        self.background = Background()

    def __enter__(self) -> Self:
        try:
            self.postgres.start()
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self.nursery.close()
        self.background.close()
        self.postgres.stop()

    def restart(self, *, durable: bool) -> None:
        """Start PostgreSQL anew; one that is not durable is a planted bug."""
        self.postgres.stop()
        self.postgres = EmbeddedPostgres(self.folder / "postgres", durable=durable)
        self.postgres.start()

    @property
    def log_file(self) -> Path:
        """What PostgreSQL says."""
        return self.postgres.log_file

    def recoveries(self) -> int:
        """How often PostgreSQL has recovered and was ready since this was last asked."""
        size = self.log_file.stat().st_size
        start = self._log_at if self._log_at <= size else 0
        with self.log_file.open("rb") as log:
            log.seek(start)
            text = log.read(size - start).decode(errors="replace")
        found = 0
        for ready in _READY.finditer(text):
            # One that has begun and is not ready yet is left for the next time.
            found += len(_RECOVERED.findall(text[: ready.start()])) - found
            self._log_at = start + len(text[: ready.end()].encode())
        return found

    def said(self, words: str, since: int) -> bool:
        """Whether PostgreSQL's log has some words after an offset."""
        with self.log_file.open("rb") as log:
            log.seek(since)
            return words.encode() in log.read()

    def superuser(self, database: str = "postgres") -> psycopg.Connection:
        """A connection that may do anything, past the proxy. Raises psycopg.OperationalError."""
        return psycopg.connect(self.postgres.dsn(database), autocommit=True, connect_timeout=5)

    def _prepare(self) -> None:
        """The district in the database ``wangge``, which is then copied and no more used."""
        office = Office(self, "wangge", Manner(), name="setup")
        with office.running(project=False):
            added = self.nursery.start(
                "user", "add", district.ADMINISTRATOR, "--role", "administrator",
                "--password-stdin", log=self.folder / "setup.log",
                environment=office.environment, given=district.PASSWORD + "\n",
            )  # fmt: skip
            assert self.nursery.wait(added) == 0, (self.folder / "setup.log").read_text()
            self.tokens = district.set_up(office.port)
            self.honoured = _honoured(office.port)

    def office(self, manner: Manner | None = None, *, plants: "Plants | None" = None) -> "Office":
        """A new copy of the district, not running yet."""
        name = f"office_{next(self._numbers)}"
        with self.superuser() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE wangge STRATEGY file_copy").format(
                    sql.Identifier(name)
                )
            )
        return Office(self, name, manner or Manner(), plants=plants or Plants(), name=name)


def _honoured(port: int) -> frozenset[str]:
    """The steps whose routes say that they take an Idempotency-Key."""
    connection = district.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/openapi.json")
        paths = json.loads(connection.getresponse().read())["paths"]
    finally:
        connection.close()
    found = set()
    for step in (*district.STEPS_WITH_ROUTES,):
        route = paths[district.path_of(step, "{case}")]["post"]
        names = {each["name"].lower() for each in route.get("parameters", ())}
        if "idempotency-key" in names:
            found.add(step)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Plants:
    """Bugs to plant (``plants.py``), by process."""

    server: str = ""
    projector: str = ""


class Office:
    """One database with its server and projector, proxies, clients and a follower."""

    def __init__(
        self,
        world: World,
        database: str,
        manner: Manner,
        *,
        name: str,
        plants: Plants | None = None,
    ) -> None:
        self.world = world
        self.database = database
        self.plants = plants or Plants()
        self.log = world.folder / f"{name}.log"
        self.rng = Random(f"{world.seed} {name}")
        self.port = free_port()
        self.between = Proxy(lambda: world.postgres.port, self.rng)
        self.before = Proxy(lambda: self.port, self.rng)
        self.server = 0
        self.projector = 0
        self.sizes: list[int] = []  # bytes a server held when it ended
        self.connected: list[dict[str, int]] = []  # whose connections there were now and then
        call = world.background.call
        call(self.between.start())
        call(self.before.start())
        self.load = Load(
            self.before.port, world.tokens, world.honoured, f"{world.seed}-{name}", manner
        )
        self.follower = Follower(lambda: world.postgres.dsn(database))

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the processes; PostgreSQL is reached through the proxy."""
        dsn = make_conninfo(
            self.world.postgres.dsn(self.database), port=self.between.port, host="127.0.0.1"
        )
        return {
            "WANGGE_DATA": str(self.world.folder / "wangge"),
            "WANGGE_DSN": dsn,
            "WANGGE_PORT": str(self.port),
            "WANGGE_CONNECTIONS": str(CONNECTIONS),
            "WANGGE_TOKEN_MINUTES": "1440",
            "WANGGE_LOG_LEVEL": "warning",
        }

    def running(self, *, project: bool = True) -> "_Running":
        """Have server and projector up for a while."""
        return _Running(self, project)

    def execute(self, statement: LiteralString) -> None:
        """Do something to the database as its superuser, to plant a bug."""
        with self.world.superuser(self.database) as connection:
            connection.execute(statement)

    def wangge(self, *arguments: str, seconds: float = 120) -> tuple[int, str]:
        """Run a command to its end; its exit status and what it said."""
        log = self.log.with_suffix(f".{arguments[0]}.log")
        log.unlink(missing_ok=True)
        pid = self.world.nursery.start(*arguments, log=log, environment=self.environment)
        return self.world.nursery.wait(pid, seconds), log.read_text()

    def start_server(self) -> None:
        """Start the API, without waiting for it."""
        self.server = self.world.nursery.start(
            "serve", log=self.log, environment=self.environment, plant=self.plants.server
        )

    def start_projector(self) -> None:
        """Start the projector, without waiting for it."""
        self.projector = self.world.nursery.start(
            "project", log=self.log, environment=self.environment, plant=self.plants.projector
        )

    def kill_server(self) -> None:
        """SIGKILL."""
        self.sizes.append(resident_bytes(self.server))
        self.server = self._end(self.server, signal.SIGKILL)

    def kill_projector(self) -> None:
        """SIGKILL."""
        self.projector = self._end(self.projector, signal.SIGKILL)

    def _end(self, pid: int, sign: signal.Signals) -> int:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
            self.world.nursery.wait(pid)
        return 0

    def stop(self) -> None:
        """End both processes as an operator does."""
        if self.server:
            self.sizes.append(resident_bytes(self.server))
        self.server = self._end(self.server, signal.SIGTERM)
        self.projector = self._end(self.projector, signal.SIGTERM)

    def count_connections(self) -> None:
        """Note how many connections the processes have, as what and at which kind of statement."""
        with suppress(psycopg.OperationalError), self.world.superuser(self.database) as connection:
            rows = connection.execute(
                "SELECT concat_ws(' ', usename, state, left(query, 40)), count(*)"
                " FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename LIKE 'wangge%' GROUP BY 1"
            ).fetchall()
            self.connected.append(dict(rows))

    def health(self, path: str = "health", seconds: float = 15) -> int:
        """The status of a health route; 0 where nobody answers."""
        try:
            return district.call(self.port, "GET", path, seconds=seconds)[0]
        except (OSError, ValueError, district.HTTPException):
            return 0

    def wait_ready(self, path: str = "health") -> None:
        """Until the API says that it is ready, or (``health/live``) that it is there.

        Raises:
            NotReady: it does not in time; the end of its log is told.
        """
        try:
            wait_for("the server", lambda: self.health(path) == 200 or self._has_ended())
            if self._has_ended():
                raise NotReady
        except NotReady:
            tail = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
            raise NotReady(f"the server is not ready; its log ends:\n{tail}") from None

    def begin_load(self) -> None:
        """Let the clients and the follower begin."""
        self.world.background.call(self.follower.start())
        self.world.background.call(self.load.start())

    def _has_ended(self) -> bool:
        """Whether the server gave up by itself: what is left of it holds no memory."""
        return resident_bytes(self.server) == 0

    def wait_for_work(self, commands: int) -> None:
        """Until so many commands more have been acknowledged."""
        wanted = self.load.acknowledged + commands
        wait_for("the clients to get on", lambda: self.load.acknowledged >= wanted)

    def end_load(self) -> None:
        """Let the clients finish what they have begun."""
        self.world.background.call(self.load.stop(), seconds=180)
        self.world.background.call(self.follower.stop())

    def close(self) -> None:
        """End everything that belongs to this office."""
        for pid in (self.server, self.projector):
            self._end(pid, signal.SIGKILL)
        self.server = self.projector = 0
        self.world.background.call(self.load.abandon())
        self.world.background.call(self.follower.stop())
        self.world.background.call(self.before.stop())
        self.world.background.call(self.between.stop())


class _Running:
    def __init__(self, office: Office, project: bool) -> None:
        self._office = office
        self._project = project

    def __enter__(self) -> Office:
        office = self._office
        try:
            office.start_server()
            office.wait_ready("health/live")
            if self._project:
                office.start_projector()
                office.wait_ready()
        except BaseException:
            office.close()
            raise
        return office

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._office.stop()
        finally:
            self._office.close()


def resident_bytes(pid: int) -> int:
    """What a process holds in memory; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(each) for each in task.read_text().split()]
    return found
