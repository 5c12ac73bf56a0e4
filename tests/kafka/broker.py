"""A real Apache Kafka on loopback, of one node or several, in KRaft mode: no ZooKeeper, no Docker.

Its jars come from Maven Central once, into ``.cache``, which git ignores. Without Java and Maven
the tests that need it are skipped by name on a visitor's machine, and fail where ``CI`` is set.
``WANGGE_KAFKA`` (brokers, with commas) takes the place of the single node.
"""

import ctypes
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from infra.kafka_topic import client

ROOT: Final = Path(__file__).parents[2]
POM: Final = Path(__file__).with_name("pom.xml")
CLUSTER: Final = "d2FuZ2dlLWluLXRlc3RzIQ"
"""Any 16 bytes in Base64, the same for all nodes."""

START_SECONDS: Final = 180

JAVA: Final = (
    "-Xms64m",
    "-Xmx320m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts in half the time; what it costs at full load is no test's
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

SETTINGS: Final = """\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{quorum_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={insync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=2
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync}
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=false
# The default of 128 MB does not fit into a small heap.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=2
# A node that has died is noticed within seconds.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
"""

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Node:
    """One broker, which is a controller of the quorum as well."""

    id: int
    folder: Path
    classpath: str
    port: int = field(default_factory=_free_port)
    quorum_port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.port}"

    def format(self, nodes: Sequence["Node"]) -> None:
        """Write its settings and its empty storage."""
        self.folder.mkdir(parents=True)
        replicas = len(nodes)
        self._settings.write_text(
            SETTINGS.format(
                id=self.id,
                port=self.port,
                quorum_port=self.quorum_port,
                voters=",".join(f"{n.id}@127.0.0.1:{n.quorum_port}" for n in nodes),
                data=self.folder / "data",
                replicas=replicas,
                insync=max(replicas - 1, 1),
            )
        )
        storage = ("kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config")
        subprocess.run(
            ["java", *JAVA, "-cp", self.classpath, *storage, self._settings],
            check=True, capture_output=True, timeout=START_SECONDS,
        )  # fmt: skip

    def start(self) -> None:
        """Start it; ``Kafka.wait_ready`` says when it answers."""
        assert self.process is None
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                ["java", *JAVA, "-cp", self.classpath, "kafka.Kafka", self._settings],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only makes one system call
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let it stand still with all connections open, until ``thaw``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"


@dataclass
class Kafka:
    """A cluster: its nodes (none where it is somebody else's) and where clients reach it."""

    servers: str
    nodes: list[Node]

    def wait_ready(self, nodes: int | None = None) -> None:
        """Until so many nodes (all of them) answer to be there."""
        wanted = len(self.nodes) if nodes is None else nodes
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self._listening() >= wanted and len(self._brokers()) >= wanted:
                    return
            except KafkaError:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"no {wanted} nodes within {START_SECONDS} s:\n{self.said()}")
            time.sleep(0.1)  # between two looks at another program

    def leader(self, topic: str, partition: int) -> Node:
        """The node that leads a partition."""
        with closing(self.administration()) as administration:
            (found,) = administration.describe_topics([topic])
        leader = next(
            each["leader_id"] for each in found["partitions"]
            if each["partition_index"] == partition
        )  # fmt: skip
        return next(node for node in self.nodes if node.id == leader)

    def administration(self) -> Any:
        """A client that manages topics."""
        return client(
            KafkaAdminClient,
            bootstrap_servers=self.servers.split(","),
            bootstrap_timeout_ms=START_SECONDS * 1000,
        )

    def said(self) -> str:
        """The end of what the nodes logged."""
        return "\n".join((node.folder / "out").read_text()[-2_000:] for node in self.nodes)

    def _listening(self) -> int:
        """How many nodes take connections: kafka-python has much to say where none does."""
        found = 0
        for node in self.nodes:
            with (
                suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", node.port), timeout=1),
            ):
                found += 1
        return found

    def _brokers(self) -> list[object]:
        with closing(self.administration()) as administration:
            found: list[object] = administration.describe_cluster()["brokers"]
        return found


@contextmanager
def kafka(folder: Path, nodes: int = 1) -> Iterator[Kafka]:
    """A cluster that is empty, until the end of the block."""
    for program in ("java", "mvn"):
        _needed(program)
    classpath = f"{_jars()}/*"
    made = [Node(n, folder / f"node{n}", classpath) for n in range(1, nodes + 1)]
    with ExitStack() as stack:
        for node in made:
            node.format(made)
            stack.callback(node.kill)
        for node in made:
            node.start()
        cluster = Kafka(",".join(node.address for node in made), made)
        cluster.wait_ready()
        yield cluster


def _jars() -> Path:
    """The folder with Kafka's jars; a changed pom gets another one."""
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".cache" / f"kafka-{version}"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}-{os.getpid()}")
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        subprocess.run(
            [
                "mvn", "-B", "-ntp", "-q", "-f", POM, goal,
                "-DincludeScope=runtime", f"-DoutputDirectory={unfinished}",
            ],
            check=True,
            timeout=600,
        )  # fmt: skip
        try:
            unfinished.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(unfinished)
    return folder


def _needed(program: str) -> None:
    if shutil.which(program) is None:
        reason = f"a Kafka broker needs {program}, or WANGGE_KAFKA"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
