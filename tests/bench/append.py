"""Appends of one event each, durable: ours against plain INSERT and against the stock library.

All three write rows of the same size to the same PostgreSQL (fsync on), each stream ten events long
and its name random, so that the index on (stream, version) is met in random places:

- ours: asyncio writers that wait for each event through the server's group commit;
- plain INSERT: pgbench, prepared statements, one transaction an event, the columns of
  ``log.event``, a bigserial key and the same unique constraint;
- the library: ``eventsourcing.postgres`` as shipped, a thread for each writer.

Beside them the ceiling of this way of appending on this machine: pgbench calls ``log.append`` with
as many events as there are writers, on one connection, as fast as it can. It is what a client would
reach that costs nothing and never waits for a writer.

And its floor for a client like ours: as many asyncio tasks as writers, woken by each answer, and
between them nothing but the round trip of ``log.append`` by libpq, with parameters that were packed
before time counted. It is what is left of our way if everything of ours in between cost nothing.

And what a round of ours is made of, each part as the difference of two measurements: a round trip
with the same columns that does nothing, the append without its wait for the disk, the append, and
the round with the writers who wait for it. The peer is the time that plain INSERT takes for as many
events: where the append alone takes as long, no client can be faster.
"""

import asyncio
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn

from infra.event_store import Entry, columns_of
from infra.installation import Installation, opened
from infra.line import Line, Query, connected, integer
from infra.migrations import role_dsn
from infra.postgres import EmbeddedPostgres, find_binaries
from infra.settings import Settings
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

PAYLOAD: Final = b'{"at":"2026-11-23T08:00:00Z","by":"li","text":"' + b"a" * 180 + b'"}'
"""As large as events of cases are on average."""

STREAM_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    writers: tuple[int, ...] = (1, 8, 32)
    turns: int = 7
    seconds: float = 1.0


QUICK: Final = Size(writers=(8, 32), turns=3, seconds=0.5)
TINY: Final = Size(writers=(2,), turns=1, seconds=0.05)


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    with durable_postgres() as server, tempfile.TemporaryDirectory() as data:
        peers = create_database(server, "peers")
        settings = Settings(dsn=server.dsn(), data=Path(data))
        with opened(settings) as installation, _Library(peers) as library:
            dsn = role_dsn(installation.dsn, installation.secret, "wangge_app")
            plain = _Plain(peers)
            rows = []
            for writers in size.writers:
                found = alternate(
                    size.turns,
                    {
                        "ours": partial(ours, installation, server, writers, size.seconds),
                        "plain": partial(plain.turn, server, writers, size.seconds),
                        "library": partial(library.turn, server, writers, size.seconds),
                        "ceiling": partial(ceiling, server, dsn, writers, size.seconds),
                        "floor": partial(floor, installation, writers, size.seconds),
                        **{
                            name: partial(alone, installation, query, writers, size.seconds)
                            for name, query in PARTS.items()
                        },
                    },
                )
                rows += _rows(writers, found)
    return publish(
        "append",
        rows,
        notes=("PostgreSQL with fsync; CPU µs: client and group commit, an event.",),
    )


def _rows(writers: int, found: dict[str, Side]) -> list[Row]:
    what = f"append, {writers} writer{'s' if writers > 1 else ''}"
    return [
        compare(what, found["ours"], found["plain"], "plain INSERT (pgbench)"),
        compare(what, found["ours"], found["library"], "eventsourcing, as shipped"),
        compare(what, found["ours"], found["ceiling"], "ceiling (log.append by pgbench)"),
        compare(
            f"{what}: floor of an asyncio client",
            found["floor"],
            found["plain"],
            "plain INSERT (pgbench)",
        ),
        *_budget(writers, found),
    ]


def _budget(writers: int, found: dict[str, Side]) -> list[Row]:
    """What a round of as many events as writers is made of, in microseconds.

    A part is the difference of two measurements: one below their noise counts as a tenth of one.
    So do writers who cost nothing, as one half of them is served while the other is stored.
    """
    took = {name: writers / side.rate * 1e6 for name, side in found.items()}
    parts = {
        "round trip": took["trip"],
        "PostgreSQL": took["lazy"] - took["trip"],
        "the disk": took["durable"] - took["lazy"],
        "writers": took["ours"] - took["durable"],
        "all but writers": took["durable"],
    }
    return [
        Row(
            what=f"of {writers}: {part}",
            ours=max(round(microseconds, 1), 0.1),
            peer=round(took["plain"], 1),
            peer_name="plain INSERT, as many",
            ratio=round(max(microseconds, 0.0) / took["plain"], 2),
            unit="µs",
            runs=len(found["ours"].turns),
            p50_ms=0.0,
            p99_ms=0.0,
            rss_mb=0.0,
        )
        for part, microseconds in parts.items()
    ]


def ours(
    installation: Installation, server: EmbeddedPostgres, writers: int, seconds: float
) -> Turn:
    """Writers in one event loop, as the server's requests are."""
    commits = installation.commits
    waits: list[float] = []

    async def write(ends: float) -> None:
        stream, version = "", STREAM_LENGTH
        while (begun := time.perf_counter()) < ends:
            if version == STREAM_LENGTH:
                stream, version = f"case:{random.getrandbits(64):016x}", 0
            version += 1
            await commits.append(_entry(stream, version))
            waits.append(time.perf_counter() - begun)

    async def all_of_them() -> tuple[float, float, float]:
        async with commits:
            # The connections are opened and the statement is prepared before time counts.
            await write(time.perf_counter() + min(0.05, seconds))
            waits.clear()
            spent, database = time.process_time(), cpu_seconds(server.pid or 0)
            begun = time.perf_counter()
            await asyncio.gather(*(write(begun + seconds) for _ in range(writers)))
            took = time.perf_counter() - begun
            return took, time.process_time() - spent, cpu_seconds(server.pid or 0) - database

    took, spent, database = uvloop.run(all_of_them())
    return Turn(len(waits), took, waits, rss_mb(os.getpid()), spent, database)


_COLUMNS: Final = (
    "$1::text[], $2::int[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],"
    " $8::text[], $9::text[], $10::bytea[]"
)
PARTS: Final = {
    "trip": Query(b"trip", f"SELECT num_nonnulls({_COLUMNS})", (integer,)),
    "lazy": Query(
        b"lazy",
        "SELECT log.append("
        f"{_COLUMNS}) FROM set_config('synchronous_commit', 'off', true) AS lazily",
        (integer,),
    ),
    "durable": Query(b"durable", f"SELECT log.append({_COLUMNS})", (integer,)),
}
"""A round trip and no more; the append, told before it is on the disk; the append."""


def alone(installation: Installation, query: Query, events: int, seconds: float) -> Turn:
    """So many events again and again on one connection of ours, when nobody waits for them."""

    async def rounds() -> Turn:
        line = Line(role_dsn(installation.dsn, installation.secret, "wangge_app"))
        groups = _groups(events)
        done, took = 0, 0.0
        try:
            await line.ask(query, *columns_of([]))  # prepared before time counts
            while took < seconds:
                columns = columns_of(next(groups))
                begun = time.perf_counter()
                await line.ask(query, *columns)
                took += time.perf_counter() - begun
                done += events
        finally:
            await line.close()
        return Turn(done, took)

    return uvloop.run(rounds())


def floor(installation: Installation, events: int, seconds: float) -> Turn:
    """As many tasks as events, woken by each answer, and nothing else but the round trip."""

    async def rounds() -> Turn:
        connection = await connected(role_dsn(installation.dsn, installation.secret, "wangge_app"))
        bare = _Bare(connection.pgconn, events)
        groups = _groups(events)
        done, took = 0, 0.0
        try:
            while took < seconds:
                packed = [
                    [column.pack() for column in columns_of(next(groups))] for _ in range(100)
                ]
                begun = time.perf_counter()
                await bare.rounds(packed)
                took += time.perf_counter() - begun
                done += events * len(packed)
        finally:
            bare.close()
            await connection.close()
        return Turn(done, took)

    return uvloop.run(rounds())


def _groups(events: int) -> Iterator[list[Entry]]:
    """What as many writers append together, each to a stream of its own, again and again."""
    while True:
        streams = [f"case:{random.getrandbits(64):016x}" for _ in range(events)]
        for version in range(1, STREAM_LENGTH + 1):
            yield [_entry(stream, version) for stream in streams]


def _entry(stream: str, version: int) -> Entry:
    return Entry(
        stream=stream,
        version=version,
        name="case.note_added",
        at=datetime.now(UTC),
        actor="li",
        roles="grid_worker",
        territory="d1/s1/c1/g1/",
        correlation="5b1c6f3e5b1c6f3e",
        data=PAYLOAD,
    )


class _Bare:
    """The least that an asyncio client of libpq does: it sends when all its tasks wait, and wakes
    them all when the answer is there."""

    def __init__(self, pg: PGconn, tasks: int) -> None:
        self._pg = pg
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._packed: Iterator[list[bytes]] = iter(())
        self._waiting: list[asyncio.Future[None]] = []
        self._answer = pg.prepare(b"append", PARTS["durable"].statement.encode())
        self._loop.add_reader(pg.socket, self._readable)

    async def rounds(self, packed: list[list[bytes]]) -> None:
        """One after the other; each wakes every task once."""
        self._packed = iter(packed)
        await asyncio.gather(*(self._task(len(packed)) for _ in range(self._tasks)))
        if self._answer.status != ExecStatus.TUPLES_OK:
            raise RuntimeError(self._answer.error_message.decode())

    def close(self) -> None:
        """Let go of the connection."""
        self._loop.remove_reader(self._pg.socket)

    async def _task(self, rounds: int) -> None:
        for _ in range(rounds):
            future = self._loop.create_future()
            self._waiting.append(future)
            if len(self._waiting) == self._tasks:
                packed = next(self._packed)
                self._pg.send_query_prepared(
                    b"append", packed, _BINARY * len(packed), Format.BINARY
                )
                self._pg.flush()
            await future

    def _readable(self) -> None:
        self._pg.consume_input()
        while not self._pg.is_busy():
            result = self._pg.get_result()
            if result is not None:
                self._answer = result
                continue
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                future.set_result(None)
            return


_BINARY: Final = [Format.BINARY]


class _Plain:
    """pgbench with one INSERT."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._seeds = count(1)
        with psycopg.connect(dsn) as connection:
            connection.execute(
                'CREATE TABLE plain_event (position bigserial PRIMARY KEY, stream text COLLATE "C"'
                " NOT NULL, version integer NOT NULL, name text NOT NULL, at timestamptz NOT NULL,"
                " recorded_at timestamptz NOT NULL, actor text NOT NULL, roles text NOT NULL,"
                " territory text NOT NULL, correlation text NOT NULL, causation text NOT NULL,"
                " data bytea NOT NULL, UNIQUE (stream, version))"
            )
        self.script = (
            "\\set n :n + 1\n"
            f"\\set s hash(:client_id * 1000000007 + :seed + :n / {STREAM_LENGTH})\n"
            "INSERT INTO plain_event (stream, version, name, at, recorded_at, actor, roles,"
            " territory, correlation, causation, data) VALUES ('case:' || to_hex(:s::bigint),"
            f" (:n::bigint % {STREAM_LENGTH} + 1)::integer, 'case.note_added', now(), now(), 'li',"
            " 'grid_worker', 'd1/s1/c1/g1/', '5b1c6f3e5b1c6f3e', '',"
            f" convert_to('{PAYLOAD.decode()}', 'UTF8'));\n"
        )

    def turn(self, server: EmbeddedPostgres, writers: int, seconds: float) -> Turn:
        """As many connections as writers, two threads at most."""
        database = cpu_seconds(server.pid or 0)
        done, rate = _pgbench(
            self.dsn, self.script, writers, seconds,
            "--define", "n=0", "--define", f"seed={next(self._seeds) * 1_000_003_000}",
        )  # fmt: skip
        return Turn(done, done / rate, database_seconds=cpu_seconds(server.pid or 0) - database)


def ceiling(server: EmbeddedPostgres, dsn: str, events: int, seconds: float) -> Turn:
    """``log.append`` with so many events, again and again, by a client that costs nothing."""

    def array(value: str, type_: str) -> str:
        return f"array_fill({value}::{type_}, ARRAY[{events}])"

    columns = (
        (f":n % {STREAM_LENGTH} + 1", "integer"), ("'case.note_added'", "text"),
        ("now()", "timestamptz"),
        ("'li'", "text"), ("'grid_worker'", "text"), ("'d1/s1/c1/g1/'", "text"),
        ("'5b1c6f3e5b1c6f3e'", "text"), ("''", "text"),
        (f"convert_to('{PAYLOAD.decode()}', 'UTF8')", "bytea"),
    )  # fmt: skip
    names = ", ".join(f"'case:' || to_hex(:s{i}::bigint)" for i in range(events))
    streams = "".join(
        f"\\set s{i} hash({i * 1_000_000_007} + :seed + :n / {STREAM_LENGTH})\n"
        for i in range(events)
    )
    script = streams + (
        f"SELECT log.append(ARRAY[{names}], {', '.join(array(*each) for each in columns)});\n"
        "\\set n :n + 1\n"
    )
    database = cpu_seconds(server.pid or 0)
    done, rate = _pgbench(
        dsn, script, 1, seconds,
        "--define", "n=0", "--define", f"seed={random.getrandbits(32)}",
    )  # fmt: skip
    spent = cpu_seconds(server.pid or 0) - database
    return Turn(done * events, done / rate, database_seconds=spent)


def _pgbench(
    dsn: str, script: str, clients: int, seconds: float, *options: str
) -> tuple[int, float]:
    """How many transactions, and how many a second without the time to connect."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        ran = subprocess.run(
            [
                find_binaries().path / "pgbench", dsn, "--no-vacuum",
                "--file", file.name, "--protocol", "prepared",
                "--client", str(clients), "--jobs", str(min(clients, 2)),
                "--time", str(max(1, round(seconds))), *options,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"pgbench: {ran.stderr.strip()}")
    printed = ran.stdout
    done = re.search(r"actually processed: (\d+)", printed)
    rate = re.search(r"^tps = ([\d.]+)", printed, re.MULTILINE)
    assert done is not None, printed
    assert rate is not None, printed
    return int(done[1]), float(rate[1])


class _Library:
    """The recorder of ``eventsourcing`` as it is shipped."""

    def __init__(self, dsn: str) -> None:
        known = conninfo_to_dict(dsn)
        self._datastore = PostgresDatastore(
            dbname=str(known["dbname"]),
            host=str(known["host"]),
            port=str(known["port"]),
            user=str(known["user"]),
            password=str(known["password"]),
            pool_size=8,
            max_overflow=160,
        )
        self._recorder = PostgresApplicationRecorder(self._datastore)
        self._recorder.create_table()

    def __enter__(self) -> "_Library":
        return self

    def __exit__(self, *_: object) -> None:
        self._datastore.close()

    def turn(self, server: EmbeddedPostgres, writers: int, seconds: float) -> Turn:
        """A thread for each writer."""
        spent, database = time.process_time(), cpu_seconds(server.pid or 0)
        begun = time.perf_counter()
        ends = begun + seconds
        with ThreadPoolExecutor(writers) as threads:
            waits = [
                wait
                for one in threads.map(lambda _: self._write(ends), range(writers))
                for wait in one
            ]
        return Turn(
            len(waits),
            time.perf_counter() - begun,
            waits,
            rss_mb(os.getpid()),
            time.process_time() - spent,
            cpu_seconds(server.pid or 0) - database,
        )

    def _write(self, ends: float) -> list[float]:
        waits = []
        stream, version = uuid4(), 0
        while (begun := time.perf_counter()) < ends:
            if version == STREAM_LENGTH:
                stream, version = uuid4(), 0
            version += 1
            self._recorder.insert_events([StoredEvent(stream, version, "case.note_added", PAYLOAD)])
            waits.append(time.perf_counter() - begun)
        return waits
