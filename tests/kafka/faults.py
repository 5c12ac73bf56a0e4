"""A district, its relay, a cluster of three and a city, and what can go wrong between them.

``wangge relay`` and ``wangge project --source kafka`` run as processes of their own, which are
killed; so are brokers. Events go into the log all the while. In the end the topic is held against
the log, and the city's read models against those that the district builds from nothing.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg
from kafka.errors import KafkaError
from psycopg import sql
from psycopg_pool import ConnectionPool

from infra.codec import Codec
from infra.event_store import APPEND, Entry, EventStore, LogRecorder, columns_of
from infra.kafka_topic import Topic
from infra.log_source import LogSource
from infra.migrations import migrate, role_dsn
from infra.postgres import EmbeddedPostgres
from infra.vault import KeyFile, Vault
from projections import schemas
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.runner import Projection, Runner
from projections.standing import carried
from tests.kafka.broker import Kafka, kafka
from tests.kafka.carried import held, logged, violations
from tests.projections.test_runner import fill

SECRET: Final = b"a secret for tests only, 32 bytes"
TOPIC: Final = "wangge.log"
PATIENCE: Final = 300
"""Seconds until everything that is well must have come about."""
TELL_SECONDS: Final = 10
"""A wait that is longer is told at once: the logs of that moment say why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. ``rate`` is events a second all the while."""

    relay_kills: int = 100
    projector_kills: int = 100
    leader_kills: int = 10
    waiting: int = 100_000
    outage_seconds: float = 600
    rate: int = 200


SMALL: Final = Plan(2, 2, 1, 2_000, 2, 60)


@dataclass
class World:
    """Everything that takes part, in a folder of its own."""

    folder: Path
    rng: Random
    postgres: EmbeddedPostgres
    cluster: Kafka
    district: str
    city: str
    nursery: subprocess.Popen[str] | None
    count: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    templates: list[list[Entry]] = field(default_factory=list)
    cases: int = 0
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def topic(self) -> Topic:
        """The topic of the district's log."""
        return Topic(TOPIC, {"bootstrap_servers": self.cluster.servers.split(",")}, 6, 3)

    def connect(self, dsn: str, role: str) -> psycopg.Connection:
        """An autocommit connection of a role."""
        return psycopg.connect(role_dsn(dsn, SECRET, role), autocommit=True)

    # --- processes of the program ---

    def start(self, name: str) -> None:
        """Start ``relay``, or the projector of another name."""
        relay = name == "relay"
        arguments = ["relay"] if relay else ["project", "--source", "kafka"]
        self.pids[name] = self._ask(
            arguments=arguments,
            environment={
                "WANGGE_DATA": str(self.folder / "data"),
                "WANGGE_DSN": self.district if relay else self.city,
                "WANGGE_KAFKA": self.cluster.servers,
                "WANGGE_KAFKA_TOPIC": TOPIC,
                "WANGGE_KAFKA_PARTITIONS": "6",
                "WANGGE_KAFKA_REPLICAS": "3",
            },
            log=str(self.folder / f"{name}.log"), given="", plant="",
        )["pid"]  # fmt: skip

    def stop(self, name: str, sign: int = 9) -> None:
        """Send a process a signal and wait for its end."""
        pid = self.pids.pop(name)
        os.kill(pid, sign)
        assert self._ask(pid=pid, seconds=60)["status"] is not None

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self.nursery is not None
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(json.dumps(request) + "\n")
        self.nursery.stdin.flush()
        answer: dict[str, Any] = json.loads(self.nursery.stdout.readline())
        return answer

    # --- the log ---

    def learn(self) -> None:
        """Some cases as the rules make them; all others are such as these, under other numbers."""
        with (
            _pool(role_dsn(self.district, SECRET, "wangge_app")) as pool,
            _pool(role_dsn(self.district, SECRET, "wangge_vault")) as keys,
        ):
            vault = Vault(keys, KeyFile(self.folder / "data" / "kek"))
            fill(EventStore(LogRecorder(pool), Codec(), vault), 60)
        by_stream: dict[str, list[Entry]] = {}
        with self.connect(self.district, "wangge_relay") as connection:
            for each in logged(connection):
                entry = Entry(
                    each.stream, each.version, each.name, each.at, each.actor, each.roles,
                    each.territory, each.correlation, each.causation, each.data,
                )  # fmt: skip
                by_stream.setdefault(each.stream, []).append(entry)
        self.templates = [
            found for name, found in by_stream.items() if name.startswith("case:case")
        ]

    def append(self, connection: psycopg.Connection, events: int) -> int:
        """At least so many events of new cases, in turns; returns how many."""
        ways = []
        left = events
        while left > 0:
            way = self.rng.choice(self.templates)
            self.cases += 1
            old, new = way[0].stream[5:], f"case-{self.cases:08}"
            ways.append([_renamed(entry, old, new) for entry in way])
            left -= len(way)
        turns = [entry for n in range(max(map(len, ways))) for w in ways for entry in w[n : n + 1]]
        for n in range(0, len(turns), 1_000):
            connection.execute(APPEND, columns_of(turns[n : n + 1_000]))
        return len(turns)

    @contextmanager
    def load(self, rate: int) -> Iterator[None]:
        """So many events a second, until the end of the block."""
        done = threading.Event()

        def work() -> None:
            with self.connect(self.district, "wangge_app") as connection:
                while not done.wait(0.1):
                    self.count["events"] += self.append(connection, max(rate // 10, 1))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    # --- where things stand ---

    def position(self) -> int:
        """How far the topic has the log."""
        with self.connect(self.district, "wangge_app") as connection:
            return next((each.position for each in carried(connection)), 0)

    def all_carried(self) -> bool:
        """Whether the topic has all of the log."""
        with self.connect(self.district, "wangge_app") as connection:
            return [each.lag for each in carried(connection)] == [0]

    def folded(self) -> int:
        """How many offsets the read models of the city have behind them."""
        with self.connect(self.city, "wangge_projector") as connection:
            return sum(
                sum(schemas.positions_of(connection, model.name).values()) for model in MODELS
            )

    def current(self) -> bool:
        """Whether the read models of the city have folded all that the topic holds."""
        with closing(self.topic.consumer()) as consumer:
            ends: int = sum(consumer.end_offsets(self.topic.all(6)).values())
        return self.folded() == ends * len(MODELS)

    def until(self, what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait for something, and remember how long the longest wait for it was."""
        begun = time.monotonic()
        while not true():
            if time.monotonic() - begun > patience:
                raise AssertionError(f"{what}: not within {patience} s\n{self.said()}")
            time.sleep(0.05)
        took = time.monotonic() - begun
        self.slowest[what] = round(max(took, self.slowest.get(what, 0)), 2)
        if took > TELL_SECONDS:
            print(f"{datetime.now(UTC):%H:%M:%S} {what}: {took:.1f} s", flush=True)

    def said(self) -> str:
        """What each process does and logged last: the folder is gone when somebody reads of it."""
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)  # each writes down where it is
        time.sleep(1)
        logs = [(each, each.read_text()[-6_000:]) for each in sorted(self.folder.glob("*.log"))]
        nodes = {node.id: node.process and node.process.poll() for node in self.cluster.nodes}
        return "\n".join(
            [
                f"processes {self.pids}, brokers {nodes}, position {self.position()}",
                *(f"{each.name}:\n{said}" for each, said in logs),
                self.cluster.said(),
            ]
        )

    # --- what goes wrong ---

    def kill_relay(self) -> None:
        """Wherever it is; another one goes on."""
        time.sleep(self.rng.random())
        self.stop("relay")
        before = self.position()
        self.start("relay")
        self.count["relay kills"] += 1
        self.until("relay goes on", lambda: self.position() > before)

    def kill_projector(self) -> None:
        """One of them, wherever it is; the others take its share until there is another one."""
        name = self.rng.choice([name for name in self.pids if name != "relay"])
        time.sleep(self.rng.random())
        self.stop(name)
        before = self.folded()
        if self.rng.random() < 0.5:
            self.until("the others go on", lambda: self.folded() > before)
        self.start(name)
        self.count["projector kills"] += 1
        self.until("projectors go on", lambda: self.folded() > before)

    def kill_leader(self) -> None:
        """The node that leads a partition; later it comes back and catches up."""
        # Of three that have everything one may go; of one that others lag behind nothing was said.
        self.until("three replicas", self._replicated)
        node = self.cluster.leader(TOPIC, self.rng.randrange(6))
        node.kill()
        before = self.position()
        self.count["leader kills"] += 1
        self.until("relay goes on without a leader", lambda: self.position() > before)
        node.start()
        self.until("three replicas again", self._replicated)

    def _replicated(self) -> bool:
        try:
            with closing(self.cluster.administration()) as administration:
                (found,) = administration.describe_topics([TOPIC])
        except KafkaError:  # it asked a node that does not listen yet
            return False
        return all(len(each["isr_nodes"]) == 3 for each in found["partitions"])

    def rebalance(self) -> None:
        """One projector more, and one less again."""
        self.start("third")
        before = self.folded()
        self.until("three projectors go on", lambda: self.folded() > before)
        self.stop("third", 15)
        self.count["rebalances"] += 1

    def outage(self, seconds: float, waiting: int) -> None:
        """All brokers away, while events wait."""
        for node in self.cluster.nodes:
            node.kill()
        begun = time.monotonic()
        with self.connect(self.district, "wangge_app") as connection:
            self.count["events waiting"] = self.append(connection, waiting)
        time.sleep(max(seconds - (time.monotonic() - begun), 0))
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_ready()
        self.until("everything carried after the outage", self.all_carried, 1_800)
        self.until("everything folded after the outage", self.current, 1_800)
        self.count["outages"] += 1

    # --- what must hold ---

    def wrong(self) -> list[str]:
        """What does not hold once everything has come to rest."""
        self.until("everything carried", self.all_carried)
        self.until("everything folded", self.current)
        with self.connect(self.district, "wangge_relay") as connection:
            log = logged(connection)
        topic = held(self.topic)
        self.count["log"], self.count["topic"] = len(log), sum(map(len, topic.values()))
        found = violations(log, topic)
        with (
            _pool(role_dsn(self.district, SECRET, "wangge_projector")) as pool,
            _pool(role_dsn(self.district, SECRET, "wangge_vault")) as keys,
        ):
            source = LogSource(pool, Codec(), Vault(keys, KeyFile(self.folder / "data" / "kek")))
            ours, theirs = (
                partial(self.connect, dsn, "wangge_projector") for dsn in (self.district, self.city)
            )
            Runner(source, ours, MODELS).catch_up()
            for model in MODELS:
                if _digest(ours(), model) != _digest(theirs(), model):
                    found.append(f"{model.name} of the city is not that of the log")
        return found


MODELS: Final = tuple(
    replace(model, opens=False) for model in read_models(index_key(SECRET)).values()
)


@contextmanager
def world(folder: Path, seed: str) -> Iterator[World]:
    """Everything started: the relay, two projectors, three brokers."""
    (folder / "data").mkdir()
    (folder / "data" / "secret").write_text(SECRET.decode())
    folder.chmod(0o755)
    with (
        EmbeddedPostgres(folder, durable=False) as postgres,
        kafka(folder / "kafka", nodes=3) as cluster,
        _nursery() as nursery,
    ):
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            for name in ("district", "city"):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                migrate(postgres.dsn(name), SECRET)
        made = World(
            folder, Random(seed), postgres, cluster, postgres.dsn("district"),
            postgres.dsn("city"), nursery,
        )  # fmt: skip
        made.learn()
        for name in ("relay", "first", "second"):
            made.start(name)
        made.until("the first events folded", lambda: made.folded() > 0)
        yield made


def carry_out(made: World, plan: Plan) -> None:
    """Everything of a plan, in random order but for the outage, which comes last."""
    faults = (
        [made.kill_relay] * plan.relay_kills
        + [made.kill_projector] * plan.projector_kills
        + [made.kill_leader] * plan.leader_kills
        + [made.rebalance] * max(plan.projector_kills // 10, 1)
    )
    made.rng.shuffle(faults)
    with made.load(plan.rate):
        for n, fault in enumerate(faults, 1):
            fault()
            if n % 20 == 0:
                print(f"{n}/{len(faults)} {dict(made.count)}", flush=True)
    made.outage(plan.outage_seconds, plan.waiting)


@contextmanager
def _nursery() -> Iterator[subprocess.Popen[str]]:
    nursery = Path(__file__).parents[1] / "crash" / "nursery.py"
    with subprocess.Popen(
        [sys.executable, nursery], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # and its children with it


def _renamed(entry: Entry, old: str, new: str) -> Entry:
    return entry._replace(
        stream=f"case:{new}",
        data=entry.data.replace(f'"{old}"'.encode(), f'"{new}"'.encode()),
    )


def _digest(connection: psycopg.Connection, model: Projection) -> str:
    with connection, schemas.snapshot(connection, model.name):
        return schemas.digest(connection, model)


def _pool(dsn: str) -> ConnectionPool:
    return ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=4, open=False)
