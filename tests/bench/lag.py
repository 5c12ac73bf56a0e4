"""From a command to the rows that readers see, in every read model, at a steady 1,000 a second.

Lives of cases are appended one event at a time through the server's group commit, on time however
long the answers take. The projector follows in a process of its own, as ``wangge project`` does. A
third party asks all checkpoints every few milliseconds; an event counts as visible in a read model
when an answer says so, so the figures hold the time between two questions as well.
"""

import asyncio
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random
from typing import Final

import uvloop
from psycopg import sql

from infra.cli.models import crew
from infra.codec import Codec
from infra.event_store import Entry
from infra.garbage import spare_what_is_loaded
from infra.installation import Installation, opened
from infra.settings import Settings
from projections.catalog import NAMES
from projections.crew import Crew
from projections.runner import Runner
from tests.bench import biglog
from tests.bench.measure import Row, durable_postgres, percentile, publish, rss_mb

GOAL_MS: Final = 100.0
EVERY: Final = 0.01
"""How often the checkpoints are asked, in seconds."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. ``before``: seconds of the same in advance, told apart: the projector's
    connection is new then, and so are all its plans."""

    rate: int = 1_000
    seconds: float = 20.0
    before: float = 3.0


QUICK: Final = Size(seconds=5.0)
TINY: Final = Size(rate=50, seconds=0.5, before=0.2)


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    with (
        durable_postgres() as server,
        tempfile.TemporaryDirectory() as data,
        opened(Settings(dsn=server.dsn(), data=Path(data))) as installation,
    ):
        entries = _entries(installation, round(size.rate * (size.before + size.seconds)))
        early = round(size.rate * size.before)
        first = installation.source.head() + 1
        spare_what_is_loaded()  # as the server does
        with _projecting(installation), _watching(installation, first - 1) as seen:
            sent, took = uvloop.run(_append(installation, entries, size.rate))
            seen.until(first - 1 + len(sent))
        lags = {name: seen.lags(name, first, sent) for name in NAMES}
        rows = [_row(name, size, each[early:]) for name, each in lags.items()]
        begun = max(percentile(each[:early], 0.99) for each in lags.values())
    return publish(
        "lag",
        rows,
        notes=(
            f"Milliseconds from a command to its rows, {len(sent) - early:,} commands; asked every "
            f"{EVERY * 1000:.0f} ms.",
            f"Of the first {size.before:g} s, which are not counted above, p99 was up to "
            f"{begun * 1000:,.0f} ms.",
            f"Appended at {len(sent) / took:,.0f} a second where {size.rate:,} were wanted.",
        ),
    )


def _row(name: str, size: Size, lags: list[float]) -> Row:
    p99 = percentile(lags, 0.99) * 1000
    return Row(
        what=f"lag of {name} at {size.rate:,}/s",
        ours=round(p99, 2),
        peer=GOAL_MS,
        peer_name="goal, p99",
        ratio=round(p99 / GOAL_MS, 2),
        unit="ms",
        runs=1,
        p50_ms=round(percentile(lags, 0.5) * 1000, 3),
        p99_ms=round(p99, 3),
        rss_mb=round(rss_mb(os.getpid()), 1),
    )


def _entries(installation: Installation, events: int) -> list[Entry]:
    """So many events of cases that live side by side, ready to be appended."""
    chance, lives = Random(1), biglog.lives()
    cases = range(1 + events * len(lives) // sum(map(len, lives)) * 2)
    steps = biglog.steps(Codec(), installation.vault, lives, cases, chance)
    return [
        Entry(
            stream=step.stream,
            version=step.version,
            name=step.name,
            at=step.at,
            actor="li",
            roles="grid_worker",
            territory=step.territory,
            data=step.data,
        )
        for step in list(steps)[:events]
    ]


async def _append(
    installation: Installation, entries: list[Entry], rate: int
) -> tuple[list[float], float]:
    """When each was sent, in order of position, and how long all of it took."""
    commits = installation.commits
    sent: dict[int, float] = {}

    async def one(entry: Entry) -> None:
        at = time.monotonic()
        sent[await commits.append(entry)] = at

    async with commits:
        begun = time.monotonic()
        tasks = []
        for number, entry in enumerate(entries):
            ahead = begun + number / rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.append(asyncio.create_task(one(entry)))
        await asyncio.gather(*tasks)
        took = time.monotonic() - begun
    return [at for _, at in sorted(sent.items())], took


# --- the projector ---


@contextmanager
def _projecting(installation: Installation) -> Iterator[None]:
    """All read models followed in another process."""
    context = multiprocessing.get_context("spawn")
    stop, ready = context.Event(), context.Event()
    process = context.Process(target=_project, args=(crew(installation, 1), ready, stop))
    process.start()
    ready.wait(60)
    try:
        yield
    finally:
        stop.set()
        process.join()


def _project(crew_: Crew, ready: Event, stop: Event) -> None:
    with crew_.open() as bench:
        runner = Runner(bench.source, bench.connect, tuple(bench.models.values()))
        runner.catch_up()
        spare_what_is_loaded()
        told = threading.Event()
        follower = threading.Thread(target=runner.follow, args=(told,))
        follower.start()
        ready.set()
        stop.wait()
        told.set()
        follower.join()


# --- the third party ---


class _Seen:
    """What the checkpoints said when."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._said: list[tuple[float, tuple[int, ...]]] = []

    def note(self, at: float, positions: tuple[int, ...]) -> None:
        """An answer that came at a time."""
        self._said.append((at, positions))

    def until(self, position: int) -> None:
        """Wait for all read models to be there."""
        deadline = time.monotonic() + 120
        while not self._said or min(self._said[-1][1]) < position:
            assert time.monotonic() < deadline, "a read model does not follow"
            time.sleep(0.01)

    def lags(self, name: str, first: int, sent: list[float]) -> list[float]:
        """For each event the seconds until it was visible in a read model."""
        column, known, lags = NAMES.index(name), self._begin, []
        for at, positions in self._said:
            while known < positions[column] and known - first + 1 < len(sent):
                lags.append(at - sent[known - first + 1])
                known += 1
        return lags


@contextmanager
def _watching(installation: Installation, begin: int) -> Iterator[_Seen]:
    seen, stop = _Seen(begin), threading.Event()
    asked = sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(
            sql.SQL("(SELECT position FROM {})").format(sql.Identifier(name, "checkpoint"))
            for name in NAMES
        )
    )

    def ask() -> None:
        with installation.connect_projector() as connection:
            connection.prepare_threshold = 0
            while not stop.wait(EVERY):
                row = connection.execute(asked).fetchone()
                assert row is not None
                seen.note(time.monotonic(), row)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
