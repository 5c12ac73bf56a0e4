"""Commands over HTTP: ours, with sign-in and rules, against a minimal route with one INSERT.

Both servers are one process each (uvicorn with uvloop and httptools, no access log) beside the same
durable PostgreSQL, and both get their load from ``tests.bench.load``. Ours is ``wangge serve`` on a
sample district. The commands are the life of cases as it lasts: each is reported and filed by its
grid worker, dispatched, accepted, and noted on five times; then comes the next. Every eighth
request makes a new case with a key of its own; all texts are sealed.

Beside them a control, under the same load: a server that does nothing but the same small piece of
arithmetic for each request (``tests.bench.steady_app``). What is late there is late because the
machine was slow, not for a lock, a disk or a pause of anybody's program.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

from infra import demo
from infra.installation import opened
from infra.postgres import EmbeddedPostgres
from infra.settings import Settings
from tests.bench.load import Answer, Order
from tests.bench.measure import (
    Row,
    Side,
    Turn,
    alternate,
    compare,
    cpu_seconds,
    create_database,
    durable_postgres,
    publish,
    rss_mb,
)
from tests.bench.steady_app import MICROSECONDS

API: Final = "/api/v1"
PEER: Final = "FastAPI, one INSERT"
CONTROL: Final = f"{MICROSECONDS:.0f} µs of work, nothing else"
READY_SECONDS: Final = 60.0
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    connections: tuple[int, ...] = (1, 8, 32, 128)
    turns: int = 5
    seconds: float = 3.0
    cases: int = 200
    controlled: int = 32
    """So many connections the control gets too."""


QUICK: Final = Size(connections=(8, 32), turns=3, seconds=1.5, cases=50)
TINY: Final = Size(connections=(2,), turns=1, seconds=0.5, cases=1, controlled=2)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs, and what is asked of it."""

    pid: int
    host: str
    port: int
    script: str
    facts: dict[str, str]


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    rows: list[Row] = []
    with durable_postgres() as database, ExitStack() as stack:
        sides = {"peer": stack.enter_context(_peer(create_database(database, "peer")))}
        _prepare(create_database(database, "ours"), stack, sides, size)
        control = stack.enter_context(_control())
        for served in sides.values():
            _turn(database, served, 8, min(1.0, size.seconds))  # warm: caches, prepared statements
        for connections in size.connections:
            here = sides | ({"control": control} if connections == size.controlled else {})
            found = alternate(
                size.turns,
                {
                    name: partial(_turn, database, served, connections, size.seconds)
                    for name, served in here.items()
                },
            )
            rows += _rows(connections, found)
    return publish(
        "http",
        rows,
        notes=(
            "Mix: 1/8 report and file, 1/8 dispatch, 1/8 accept, 5/8 note.",
            "CPU µs: the server, a request; MB: the server without PostgreSQL.",
            f"{CONTROL}: a server without any database; its p99 is the machine's own.",
        ),
    )


def _rows(connections: int, found: dict[str, Side]) -> list[Row]:
    peer, control = found.pop("peer"), found.pop("control", None)
    what = f"command, {connections} connection{'s' if connections > 1 else ''}"
    rows = [compare(what + name, side, peer, PEER, unit="req/s") for name, side in found.items()]
    if control is not None:
        rows.insert(1, compare(what, found[""], control, CONTROL, unit="req/s"))
    return rows


def _prepare(dsn: str, stack: ExitStack, sides: dict[str, Served], size: Size) -> None:
    """A sample district, and our server on it; with two workers too, where it can have them."""
    data = stack.enter_context(tempfile.TemporaryDirectory())
    with opened(Settings(dsn=dsn, data=Path(data))) as installation:
        demo.load(installation.store, datetime.now(UTC), cases=size.cases)
        demo.let_in(installation.pool)
    environment = {"WANGGE_DSN": dsn, "WANGGE_DATA": data, "WANGGE_PORT": "0"}
    sides[""] = stack.enter_context(_ours(environment))
    if "--workers" in _said("serve", "--help"):
        sides[", two workers"] = stack.enter_context(_ours(environment, "--workers", "2"))


def _turn(database: EmbeddedPostgres, served: Served, connections: int, seconds: float) -> Turn:
    order = Order(
        script=served.script,
        host=served.host,
        port=served.port,
        connections=connections,
        seconds=seconds,
        facts=served.facts,
    )
    spent, databases = cpu_seconds(served.pid), cpu_seconds(database.pid or 0)
    printed = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(order)), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    answer = Answer(**json.loads(printed))
    if answer.failures:
        raise RuntimeError(f"refused under load: {answer.failures[0]}")
    return Turn(
        answer.done,
        answer.seconds,
        answer.waits,
        rss_mb(served.pid),
        cpu_seconds(served.pid) - spent,
        cpu_seconds(database.pid or 0) - databases,
    )


# --- servers ---


def _wangge() -> str:
    return str(Path(sys.executable).with_name("wangge"))


def _said(*words: str) -> str:
    return subprocess.run([_wangge(), *words], capture_output=True, text=True, check=True).stdout


@contextmanager
def _ours(environment: dict[str, str], *options: str) -> Iterator[Served]:
    """``wangge serve``, and two people who have signed in."""
    with _process([_wangge(), "serve", *options], environment) as (process, printed):
        said = _wait_for(process, printed, r"Ready: http://([\d.]+):(\d+)")
        host, port = said[1], int(said[2])
        facts = {
            "api": API,
            "territory": demo.FIRST_GRID,
            "worker": _sign_in(host, port, "grid-worker"),
            "dispatcher": _sign_in(host, port, "dispatcher"),
        }
        yield Served(process.pid, host, port, "casework", facts)


@contextmanager
def _peer(dsn: str) -> Iterator[Served]:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            'CREATE TABLE note (id bigserial PRIMARY KEY, "case" text NOT NULL,'
            " author text NOT NULL, text text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
        )
    port = _free_port()
    command = [
        sys.executable, "-m", "uvicorn", "tests.bench.peer_app:app", "--port", str(port),
        "--no-access-log", "--loop", "uvloop", "--http", "httptools",
    ]  # fmt: skip
    with _process(command, {"PEER_DSN": dsn}) as (process, printed):
        _wait_for(process, printed, "Uvicorn running")
        yield Served(process.pid, "127.0.0.1", port, "inserts", {})


@contextmanager
def _control() -> Iterator[Served]:
    port = _free_port()
    command = [sys.executable, "-m", "tests.bench.steady_app", str(port)]
    with _process(command, {}) as (process, printed):
        _wait_for(process, printed, "Ready")
        yield Served(process.pid, "127.0.0.1", port, "inserts", {})


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _process(
    command: list[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server and the file of what it prints; ended afterwards."""
    with tempfile.NamedTemporaryFile() as printed:
        process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, stdout=printed, stderr=printed
        )
        try:
            yield process, Path(printed.name)
        finally:
            process.terminate()
            process.wait(READY_SECONDS)


def _wait_for(process: subprocess.Popen[bytes], printed: Path, pattern: str) -> re.Match[str]:
    """What a server says once it answers."""
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        if found := re.search(pattern, printed.read_text()):
            return found
        time.sleep(0.02)
    raise RuntimeError(f"it did not start: {printed.read_text()}")


def _sign_in(host: str, port: int, name: str) -> str:
    sent = json.dumps({"username": name, "password": demo.PASSWORD}).encode()
    asked = urllib.request.Request(
        f"http://{host}:{port}{API}/tokens", sent, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answered:
        token: str = json.load(answered)["access_token"]
    return token
