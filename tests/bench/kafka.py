"""Out to Kafka and in again: the relay, and read models built from the topic.

The relay's peer is kafka-python's producer alone, with the same bytes, headers and compression, and
everything at hand in memory: what is left of it is reading the log, and waiting for each round. The
read models' peer is the same runner over the log itself, so the ratio says what Kafka in between
costs. One broker on loopback, of the tests' own.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from infra.cli.kafka import Folding
from infra.codec import Codec
from infra.kafka_relay import PAGE, Relay, _page, _partition, _producer
from infra.kafka_source import KafkaSource
from infra.kafka_topic import Topic, headers
from infra.log_source import LogSource
from infra.migrations import migrate, role_dsn
from infra.postgres import EmbeddedPostgres
from infra.vault import KeyFile, Vault
from projections.runner import Projection, Runner
from tests.bench.measure import (
    Turn,
    alternate,
    compare,
    cpu_seconds,
    create_database,
    durable_postgres,
    publish,
)
from tests.kafka.broker import Kafka, kafka
from tests.kafka.faults import MODELS, SECRET, World

PARTITIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: events in the log, and how often each side has its turn."""

    events: int = 100_000
    turns: int = 3


QUICK: Final = Size(20_000, 3)
TINY: Final = Size(400, 1)


class _Bench:
    """A log, a broker, and a fresh topic or database for every turn."""

    def __init__(self, server: EmbeddedPostgres, cluster: Kafka, folder: Path) -> None:
        self.server = server
        self.cluster = cluster
        self.folder = folder
        self.log = create_database(server, "district")
        migrate(self.log, SECRET)
        self.numbers = count(1)
        self.carried: Topic | None = None

    def topic(self) -> Topic:
        """One that nobody has made yet."""
        servers = self.cluster.servers.split(",")
        return Topic(f"bench-{next(self.numbers)}", {"bootstrap_servers": servers}, PARTITIONS)

    def connect(self, dsn: str, role: str) -> psycopg.Connection:
        """An autocommit connection of a role."""
        return psycopg.connect(role_dsn(dsn, SECRET, role), autocommit=True)

    def relay(self) -> Turn:
        """The relay, over all of the log."""
        self.carried = topic = self.topic()
        relay = Relay(lambda: self.connect(self.log, "wangge_relay"), topic)
        with self.connect(self.log, "wangge_projector") as reader, _turn(self.server) as turn:
            row = reader.execute("SELECT position FROM log.head").fetchone()
            turn.done = relay.catch_up()
            assert row == (turn.done,)
        return turn.over()

    def producer(self) -> Turn:
        """kafka-python alone, rounds as large, nothing written down."""
        topic = self.topic()
        topic.make()
        with self.connect(self.log, "wangge_relay") as connection:
            pages, position = [], 0
            while page := _page(connection, position, PAGE):
                position = page[-1].position
                pages.append(page)
        with _turn(self.server) as turn, _producer(topic) as producer:
            for page in pages:
                sent = [
                    producer.send(
                        topic.name,
                        entry.data,
                        entry.stream.encode(),
                        headers("5a1f7a34-0000-4000-8000-000000000000", entry, entry.position - 1),
                        _partition(entry.stream, PARTITIONS),
                        0,
                    )
                    for entry in page
                ]
                producer.flush(timeout=60)
                turn.done += sum(future.succeeded() for future in sent)
        return turn.over()

    def from_kafka(self, models: Sequence[Projection]) -> Turn:
        """Read models in an empty database, from the last topic, by one process."""
        assert self.carried is not None
        city = self._empty()
        with (
            closing(
                KafkaSource([self.carried], lambda: self.connect(city, "wangge_projector"), Codec())
            ) as source,
            _turn(self.server) as turn,
        ):
            folding = Folding(source, lambda: self.connect(city, "wangge_projector"), models)
            parts = source.every()
            source.keep(folding.begins(parts))
            with closing(self.carried.consumer()) as consumer:
                ends = consumer.end_offsets(self.carried.all(PARTITIONS))
            while any(source.head(f"{p.topic}/{p.partition}") < end for p, end in ends.items()):
                if source.gather(1):
                    folding.fold()
                    source.release()
            turn.done = sum(ends.values())
        return turn.over()

    def from_log(self, models: Sequence[Projection]) -> Turn:
        """The same read models from the log, following it page by page in a database beside."""
        beside = self._empty()
        with (
            _pool(role_dsn(self.log, SECRET, "wangge_projector")) as pool,
            _pool(role_dsn(self.log, SECRET, "wangge_vault")) as keys,
            _turn(self.server) as turn,
        ):
            vault = Vault(keys, KeyFile(self.folder / "data" / "kek"))
            source = LogSource(pool, Codec(), vault)
            Runner(source, lambda: self.connect(beside, "wangge_projector"), models).catch_up()
            turn.done = source.head()
        return turn.over()

    def _empty(self) -> str:
        dsn = create_database(self.server, f"beside_{next(self.numbers)}")
        migrate(dsn, SECRET)
        return dsn

    def drop(self) -> None:
        """Give back the databases of the turns."""
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'beside%'"
            ).fetchall():
                connection.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )


class _Clock:
    """What a turn is measured by."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self.done = 0
        self._begun = time.perf_counter()
        self._spent, self._database = time.process_time(), cpu_seconds(server.pid or 0)

    def stop(self) -> None:
        """The end of it."""
        self._seconds = time.perf_counter() - self._begun
        self._spent = time.process_time() - self._spent
        self._database = cpu_seconds(self._server.pid or 0) - self._database

    def over(self) -> Turn:
        """What it came to."""
        return Turn(
            self.done, self._seconds, rss_mb=_own_rss(), cpu_seconds=self._spent,
            database_seconds=self._database,
        )  # fmt: skip


@contextmanager
def _turn(server: EmbeddedPostgres) -> Iterator[_Clock]:
    clock = _Clock(server)
    try:
        yield clock
    finally:
        clock.stop()


def _pool(dsn: str) -> ConnectionPool:
    return ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=2, open=False)


def _own_rss() -> float:
    """Of this process alone: PostgreSQL and the broker are its children."""
    rollup = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:") / 1024


def run(size: Size) -> Path:
    """Measure, show and keep; returns the file of results."""
    folder = Path(tempfile.mkdtemp(prefix="wangge-bench-"))
    try:
        with durable_postgres() as server, kafka(folder / "kafka") as cluster:
            (folder / "data").mkdir()
            bench = _Bench(server, cluster, folder)
            _fill(bench, size.events)
            out = alternate(size.turns, {"ours": bench.relay, "peer": bench.producer})
            rows = [
                compare("log to topic", out["ours"], out["peer"], "kafka-python alone, same bytes")
            ]
            one = tuple(model for model in MODELS if model.name == "worklist")
            for what, models in (("worklist", one), ("all read models", MODELS)):
                sides = alternate(
                    size.turns,
                    {
                        "ours": partial(bench.from_kafka, models),
                        "peer": partial(bench.from_log, models),
                    },
                )
                bench.drop()
                rows.append(
                    compare(f"{what} from the topic", sides["ours"], sides["peer"], "from the log")
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return publish("kafka", rows, notes=[f"{size.events:,} events, {PARTITIONS} partitions."])


def _fill(bench: _Bench, events: int) -> None:
    """Cases as the rules make them, interleaved some hundred at a time."""
    world = World(
        bench.folder, Random(1), bench.server, bench.cluster, bench.log, "", nursery=None
    )  # fmt: skip
    world.learn()
    with bench.connect(bench.log, "wangge_app") as connection:
        left = events
        while left > 0:
            left -= world.append(connection, min(left, 2_000))
