"""The first event and the ten-millionth cost the same: appends and commands on logs of three sizes.

Each log is a database of its own, measured in alternating turns. It is filled with copies of cases
that real commands made, in the form they were stored in, by the database itself; nothing but the
benchmark writes like that. Three things are measured: an append; reading a whole case, any of them;
and a command, which asks for what is new in a case, decides and appends a note (whose text is
sealed). The cases of the commands lie all over the log and are as many in each, so that as many are
in memory.
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from domain.aggregates import case_stream
from domain.calendar import office_time
from domain.case import commands as c
from domain.roles import Actor
from infra import demo
from infra.installation import Installation, opened
from infra.postgres import EmbeddedPostgres
from infra.settings import Settings
from tests.bench import append
from tests.bench.measure import (
    Row,
    Turn,
    alternate,
    compare,
    console,
    cpu_seconds,
    create_database,
    durable_postgres,
    publish,
    rss_mb,
)

CASES: Final = 25
NOTES: Final = 5
WRITERS: Final = 8
SLICE: Final = 200_000
"""Events copied in one transaction, about."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    events: tuple[int, ...] = (1_000, 100_000, 10_000_000)
    turns: int = 7
    seconds: float = 1.5


QUICK: Final = Size(events=(1_000, 1_000_000), turns=5, seconds=0.7)
TINY: Final = Size(events=(500, 1_500), turns=1, seconds=0.05)


@dataclass(frozen=True, slots=True)
class Log:
    """A filled log: its installation, who writes notes, and in which cases."""

    installation: Installation
    worker: Actor
    cases: Sequence[str]
    events: int

    @property
    def some(self) -> Sequence[str]:
        """As many cases in every log, evenly spread."""
        return self.cases[:: max(1, len(self.cases) // CASES)][:CASES]


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    rows: list[Row] = []
    with durable_postgres() as server, ExitStack() as stack:
        # One folder for all, since the roles of one PostgreSQL have one secret.
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logs = [_filled(server, events, data, stack) for events in size.events]
        for what, measure in (
            ("append", _append),
            ("read a whole case", _read),  # before the commands make some of them longer
            ("load, decide, append", _execute),
        ):
            found = alternate(
                size.turns,
                {str(log.events): partial(measure, log, server, size.seconds) for log in logs},
            )
            first, *others = (found[str(log.events)] for log in logs)
            rows += [
                compare(
                    f"{what}, log of {log.events:,}",
                    side,
                    first,
                    f"log of {logs[0].events:,}",
                    unit="1/s",
                )
                for log, side in zip(logs[1:], others, strict=True)
            ]
    return publish("size", rows, notes=(f"{WRITERS} writers; a ratio of 1: the cost is the same.",))


# --- filling ---


def _filled(server: EmbeddedPostgres, events: int, data: Path, stack: ExitStack) -> Log:
    dsn = create_database(server, f"log_{events}")
    installation = stack.enter_context(opened(Settings(dsn=dsn, data=data)))
    # An office with its people, and as few sample cases as there can be.
    demo.load(installation.store, datetime.now(UTC), cases=1)
    worker, cases = uvloop.run(_live(installation))
    with psycopg.connect(dsn, autocommit=True) as connection:
        copies, stored = _copy(connection, cases, events)
    all_of_them = [f"{case}-{copy}" for copy in range(1, copies + 1) for case in cases]
    return Log(installation, worker, all_of_them, stored)


async def _live(installation: Installation) -> tuple[Actor, list[str]]:
    """Some cases by real commands; returns who works on them, and their ids."""
    office = installation.store.office()
    worker = office.staff.actor("grid-worker")
    dispatcher = office.staff.actor("dispatcher")
    place = office.territory.resolve(demo.FIRST_GRID, on=office_time(datetime.now(UTC)).date())
    made = [f"20260101-{number:08d}" for number in range(CASES)]
    now = datetime.now(UTC)
    async with installation.commits as commits:
        for case in made:
            on: dict[str, Any] = {"case": case, "at": now}
            commands = (
                c.ReportCase(
                    **on,
                    by=worker,
                    place=place,
                    source=c.Source.GRID_WORKER,
                    description="3 号楼下垃圾桶满溢，污水流到路面。",
                ),
                c.FileCase(
                    **on,
                    by=worker,
                    terms=office.catalogue.terms("exposed_garbage"),
                    calendar=office.calendar,
                ),
                c.DispatchCase(**on, by=dispatcher),
                c.AcceptCase(**on, by=worker),
                *(c.AddNote(**on, by=worker, text="已到现场查看。") for _ in range(NOTES)),
            )
            await commits.execute(*commands)
    return worker, made


def _copy(connection: psycopg.Connection, cases: Sequence[str], events: int) -> tuple[int, int]:
    """Fill the log with copies of the cases; how many of each there are, and the last position.

    The two indexes are made once everything is there, which sorts instead of inserting.
    """
    streams = [case_stream(case) for case in cases]
    connection.execute(
        "CREATE TEMPORARY TABLE sample AS SELECT *, row_number() OVER (ORDER BY position) AS place"
        " FROM log.event WHERE stream = ANY(%s)",
        (streams,),
    )
    (each, head) = connection.execute(
        "SELECT (SELECT count(*) FROM sample), (SELECT position FROM log.head)"
    ).fetchone() or (0, 0)
    copies = max(1, (events - head) // each)
    connection.execute("ALTER TABLE log.event DROP CONSTRAINT event_stream_version")
    connection.execute("ALTER TABLE log.event DROP CONSTRAINT event_pkey")
    at_once = max(1, SLICE // each)
    columns = (
        TextColumn(f"log of {events:,} events"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=copies * each, rate="")
        begun = time.monotonic()
        for first in range(1, copies + 1, at_once):
            last = min(first + at_once - 1, copies)
            done = connection.execute(
                "INSERT INTO log.event"
                " SELECT %(head)s + (copy - 1) * %(each)s + place, stream || '-' || copy, version,"
                " name, at, recorded_at, actor, roles, territory, correlation, causation, data"
                " FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS copy, sample"
                " ORDER BY 1",
                {"head": head, "each": each, "first": first, "last": last},
            ).rowcount
            rate = last * each / max(time.monotonic() - begun, 0.001)
            progress.update(task, advance=done, rate=f"at {rate:,.0f}/s")
    connection.execute("UPDATE log.head SET position = %s", (head + copies * each,))
    connection.execute("ALTER TABLE log.event ADD PRIMARY KEY (position)")
    connection.execute(
        "ALTER TABLE log.event ADD CONSTRAINT event_stream_version UNIQUE (stream, version)"
    )
    connection.execute("VACUUM (ANALYZE) log.event")
    connection.execute("CHECKPOINT")
    return copies, head + copies * each


# --- measuring ---


def _append(log: Log, server: EmbeddedPostgres, seconds: float) -> Turn:
    return append.ours(log.installation, server, WRITERS, seconds)


def _execute(log: Log, server: EmbeddedPostgres, seconds: float) -> Turn:
    waits: list[float] = []
    some = log.some

    async def write(ends: float) -> None:
        while (begun := time.perf_counter()) < ends:
            note = c.AddNote(
                case=random.choice(some), by=log.worker, at=datetime.now(UTC), text="已联系清运。"
            )
            await log.installation.commits.execute(note)
            waits.append(time.perf_counter() - begun)

    async def all_of_them() -> tuple[float, float, float]:
        async with log.installation.commits:
            await write(time.perf_counter() + min(0.05, seconds))
            waits.clear()
            spent, database = time.process_time(), cpu_seconds(server.pid or 0)
            begun = time.perf_counter()
            await asyncio.gather(*(write(begun + seconds) for _ in range(WRITERS)))
            took = time.perf_counter() - begun
            return took, time.process_time() - spent, cpu_seconds(server.pid or 0) - database

    took, spent, database = uvloop.run(all_of_them())
    return Turn(len(waits), took, waits, rss_mb(os.getpid()), spent, database)


def _read(log: Log, server: EmbeddedPostgres, seconds: float) -> Turn:
    waits: list[float] = []
    spent, database = time.process_time(), cpu_seconds(server.pid or 0)
    begun = time.perf_counter()
    while (since := time.perf_counter()) < begun + seconds:
        assert log.installation.store.history(case_stream(random.choice(log.cases)))
        waits.append(time.perf_counter() - since)
    took = time.perf_counter() - begun
    spent, database = time.process_time() - spent, cpu_seconds(server.pid or 0) - database
    return Turn(len(waits), took, waits, rss_mb(os.getpid()), spent, database)
