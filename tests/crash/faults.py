"""What is done to the processes, the network and the disk. Each returns the kills that count."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import psycopg

from tests.crash.world import Office, World, children_of, wait_for

T = TypeVar("T")

KILLS: Final = {
    "server": 4,
    "projector": 3,
    "postgres": 3,
    "postgres immediately": 2,
    "backend": 2,
}
"""What is killed, and how often one in comparison with another."""

NETWORK: Final = (
    "between reset",
    "between dropped",
    "between half closed",
    "between delayed",
    "answer to COMMIT lost",
    "cut after COMMIT",
    "before reset",
    "before dropped",
    "before half closed",
    "before delayed",
)
"""Between the server and PostgreSQL, or before the server."""


class Faults:
    """Breaks one office, and counts."""

    def __init__(self, office: Office, rng: Random) -> None:
        self.office = office
        self.world: World = office.world
        self.rng = rng
        self.count: Counter[str] = Counter()
        self.recoveries = 0
        self.void = 0
        self.wrong: list[str] = []

    @property
    def kills(self) -> int:
        """Kills that count so far."""
        return sum(self.count[name] for name in KILLS)

    def some_kill(self) -> None:
        """Kill something, chosen by chance."""
        self.kill(self.rng.choices(list(KILLS), list(KILLS.values()))[0])

    def kill(self, name: str) -> None:
        """Kill one process and start it again; one of PostgreSQL counts with its recovery only."""
        match name:
            case "server":
                self.office.kill_server()
                self.office.start_server()
            case "projector":
                self.office.kill_projector()
                self.office.start_projector()
            case _:
                how = {
                    "postgres": self._kill_postgres,
                    "postgres immediately": self._stop_immediately,
                    "backend": self._kill_backend,
                }[name]
                self.world.recoveries()
                how()
                recovered = self.world.recoveries()
                if not recovered:
                    self.void += 1
                    return
                self.recoveries += recovered
        self.count[name] += 1

    def _kill_postgres(self) -> None:
        """The postmaster and all its children at once, as a power cut would."""
        postmaster = self.world.postgres.pid
        assert postmaster is not None
        children = children_of(postmaster)
        for pid in (postmaster, *children):
            _kill(pid, signal.SIGKILL)
        self._postgres_again()

    def _stop_immediately(self) -> None:
        """``pg_ctl -m immediate``."""
        postmaster = self.world.postgres.pid
        assert postmaster is not None
        _kill(postmaster, signal.SIGQUIT)
        self._postgres_again()

    def _kill_backend(self) -> None:
        """One connection's process: PostgreSQL throws all others out and recovers by itself."""
        try:
            with self.world.superuser(self.office.database) as connection:
                rows = connection.execute(
                    "SELECT pid FROM pg_stat_activity"
                    " WHERE datname = current_database() AND usename LIKE 'wangge%' ORDER BY pid"
                ).fetchall()
        except psycopg.OperationalError:
            return
        if not rows:
            return
        begun = self.world.log_file.stat().st_size
        _kill(self.rng.choice(rows)[0], signal.SIGKILL)
        wait_for(
            "PostgreSQL to recover",
            lambda: self.world.said("ready to accept connections", begun),
        )

    def _postgres_again(self) -> None:
        wait_for("PostgreSQL to be gone", lambda: self.world.postgres.pid is None)
        self.world.postgres.stop()
        self.world.postgres.start()

    def outage(self) -> None:
        """PostgreSQL is away for a moment, and health says so (I11)."""
        self.world.recoveries()
        postmaster = self.world.postgres.pid
        assert postmaster is not None
        for pid in (postmaster, *children_of(postmaster)):
            _kill(pid, signal.SIGKILL)
        if self.office.health(seconds=20) == 200:
            self.wrong.append("I11: ready without PostgreSQL")
        if self.office.health("health/live") != 200:
            self.wrong.append("I11: not alive without PostgreSQL")
        self._postgres_again()
        recovered = self.world.recoveries()
        self.recoveries += recovered
        self.count["postgres" if recovered else "void"] += 1
        self.office.wait_ready()

    # --- the network ---

    def some_network(self) -> None:
        """Do something to connections, chosen by chance."""
        self.network(self.rng.choice(NETWORK))

    def network(self, name: str) -> None:
        """Do something to connections for a moment."""
        proxy = self.office.before if name.startswith("before") else self.office.between
        do = self._in_loop
        share = self.rng.choice((0.3, 1.0))
        match name.rsplit(maxsplit=1)[-1]:
            case "reset":
                do(lambda: proxy.reset(share))
            case "dropped":
                end = do(lambda: proxy.drop(share))
                self._meanwhile()
                do(end)
            case "closed":
                do(lambda: proxy.half_close(share))
            case "delayed":
                proxy.delay = 0.4
                self._meanwhile()
                proxy.delay = 0.0
            case "lost" | "COMMIT":
                fired = proxy.fired
                arm = proxy.lose_answers if name.endswith("lost") else proxy.cut_after_sending
                do(lambda: arm(self.rng.randint(1, 3)))
                wait_for("an append", lambda: proxy.fired > fired)
                do(lambda: arm(0))
        self.count[name] += 1

    def _meanwhile(self) -> None:
        time.sleep(0.2 + self.rng.random() * 0.5)

    def _in_loop(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return self.world.background.call(run())

    # --- the disk ---

    def fsync_error(self, seconds: float = 10) -> None:
        """Every fsync of the running processes fails: PostgreSQL must give up, and recover.

        Those that PostgreSQL starts afterwards find the disk well again.
        """
        postmaster = self.world.postgres.pid
        assert postmaster is not None
        self.world.recoveries()
        traced = [word for pid in children_of(postmaster) for word in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
             "-e", "inject=fsync,fdatasync:error=EIO", *traced],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for("PostgreSQL to give up", self._has_recovered, seconds)
        except TimeoutError:
            self.wrong.append("I1: an fsync failed, and PostgreSQL went on")
        finally:
            tracer.terminate()
            tracer.wait()
        self.count["fsync error"] += 1

    def _has_recovered(self) -> bool:
        recovered = self.world.recoveries()
        self.recoveries += recovered
        return recovered > 0

    def full_disk(self) -> None:
        """Nothing can be written any more, until somebody makes room."""
        ballast = self.world.folder / "ballast"
        load = self.office.load
        try:
            _fill(ballast)
            wait_for("the disk to matter", self._has_no_room)
            sent = load.count["requests"]
            wait_for("the clients to notice", lambda: load.count["requests"] > sent + 5)
        finally:
            ballast.unlink()
        if self.world.postgres.pid is None or not self._answers():
            self.world.postgres.stop()
            self.world.postgres.start()
        self.count["full disk"] += 1

    def _has_no_room(self) -> bool:
        """Whether a megabyte more of write-ahead log is too much for the disk."""
        try:
            with self.world.superuser() as connection:
                connection.execute(
                    "SELECT pg_logical_emit_message(true, 'crash', repeat('x', 1000000))"
                )
        except psycopg.Error:
            return True
        return False

    def _answers(self) -> bool:
        try:
            wait_for("PostgreSQL", self._takes_us, seconds=5)
        except TimeoutError:
            return False
        return True

    def _takes_us(self) -> bool:
        try:
            self.world.superuser().close()
        except psycopg.OperationalError:
            return False
        return True


def _fill(ballast: Path) -> None:
    """A file that takes all the room there is."""
    with ballast.open("wb") as file:
        size = 0
        for step in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step


def _kill(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)
