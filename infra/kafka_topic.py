"""The topic that carries a log: how it is reached and made, and what one of its records says.

A record is a CloudEvent in binary mode: the key is the stream, the value the bytes as the log
stores them (personal fields stay sealed), and the headers tell the rest. They are written by hand:
ours are bytes from one end to the other, where the ``cloudevents`` package takes an object and some
dictionaries an event. It reads them back in the tests.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient

from domain.traces import traceparent
from infra.settings import SettingError, Settings

WAIT_SECONDS: Final = 10
"""How long a broker may take to answer one request."""

LARGEST: Final = 16 * 2**20
"""Bytes of the largest batch that a topic takes."""

_OPTIONS: Final = (
    "security_protocol",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "sasl_mechanism",
    "sasl_plain_username",
)
"""What ``WANGGE_KAFKA`` may say of a connection after ``?``, in the words of kafka-python."""

_CHOICES: Final = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl_mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"),
}
"""What some of them may be."""


class Entry(NamedTuple):
    """One event as the log stores it, with what stands beside its bytes."""

    position: int
    stream: str
    version: int
    data: bytes
    name: str
    at: datetime
    actor: str
    roles: str
    recorded_at: datetime
    territory: str
    correlation: str
    causation: str


class Received(NamedTuple):
    """An event out of a topic: which log it is of, and what came before it in its partition.

    ``previous`` is the position of the record that whoever sent this one had sent before it, 0
    where it was the first of a run: then all that comes before is there already.
    """

    log: str
    previous: int
    entry: Entry


class NotOurs(Exception):
    """A topic holds something else than the log that was expected of it; the text says what."""


@dataclass(slots=True)
class Turn:
    """Which records of a partition count: each event once, and after the one before it.

    A relay that is not sure what has arrived sends it again, so a partition may hold a stretch
    twice. And were a record ever lost on the way while later ones arrive, it must not be missed: so
    a record counts if what it names as its predecessor has counted, and itself has not. Whoever
    follows this rule has, at any offset, just the beginning of the partition's part of the log.
    """

    last: int = 0

    def takes(self, position: int, previous: int) -> bool:
        """Whether the next record counts; then it is the last one that did."""
        if previous <= self.last < position:
            self.last = position
            return True
        return False


_SPECIFICATION: Final = ("ce_specversion", b"1.0")
_JSON: Final = ("content-type", b"application/json")
_SOURCE: Final = "urn:wangge:log:"


def headers(log: str, entry: Entry, previous: int) -> list[tuple[str, bytes]]:
    """The headers of an event's record. ``previous`` is as in ``Received``.

    An attribute of a CloudEvent is never empty: what there is not has no header.
    """
    found = [
        _SPECIFICATION,
        _JSON,
        ("ce_id", f"{log}:{entry.position}".encode()),
        ("ce_source", f"{_SOURCE}{log}".encode()),
        ("ce_type", entry.name.encode()),
        ("ce_time", _time(entry.at)),
        ("ce_subject", entry.stream.encode()),
        ("ce_position", b"%d" % entry.position),
        ("ce_version", b"%d" % entry.version),
        ("ce_recordedat", _time(entry.recorded_at)),
    ]
    if previous:
        found.append(("ce_previous", b"%d" % previous))
    for name, text in (
        ("ce_actor", entry.actor),
        ("ce_roles", entry.roles),
        ("ce_territory", entry.territory),
        ("ce_correlation", entry.correlation),
        ("ce_causation", entry.causation),
    ):
        if text:
            found.append((name, text.encode()))
    if entry.correlation:
        found.append(("traceparent", traceparent(entry.correlation).encode()))
    return found


def received(record: Any) -> Received:
    """The event that a record of the topic (a ``ConsumerRecord``) carries.

    Raises:
        NotOurs: it is no event of a log.
    """
    said: dict[str, bytes] = dict(record.headers)
    try:
        entry = Entry(
            position=int(said["ce_position"]),
            stream=record.key.decode(),
            version=int(said["ce_version"]),
            data=record.value,
            name=said["ce_type"].decode(),
            at=datetime.fromisoformat(said["ce_time"].decode()),
            actor=said.get("ce_actor", b"").decode(),
            roles=said.get("ce_roles", b"").decode(),
            recorded_at=datetime.fromisoformat(said["ce_recordedat"].decode()),
            territory=said.get("ce_territory", b"").decode(),
            correlation=said.get("ce_correlation", b"").decode(),
            causation=said.get("ce_causation", b"").decode(),
        )
        log = said["ce_source"].decode().removeprefix(_SOURCE)
        return Received(str(UUID(log)), int(said.get("ce_previous", 0)), entry)
    except (AttributeError, KeyError, ValueError) as error:
        where = f"{record.topic}/{record.partition} at offset {record.offset}"
        raise NotOurs(
            f"{where} 不是事件记录。The record there is no event of a log ({error!r})."
        ) from error


def _time(at: datetime) -> bytes:
    return at.astimezone(UTC).isoformat().encode()


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a Kafka cluster. ``partitions`` and ``replicas`` count when it is made."""

    name: str
    options: Mapping[str, Any] = field(repr=False)
    partitions: int = 8
    replicas: int = 1

    def make(self) -> int:
        """Make the topic if it is not there; returns how many partitions it has.

        Raises:
            KafkaError: the cluster cannot be reached, or refuses.
        """
        with closing(self._administration()) as administration:
            (found,) = administration.describe_topics([self.name])
            if not found["partitions"]:
                with suppress(TopicAlreadyExistsError):  # made by somebody else, just now
                    administration.create_topics(
                        {self.name: self._wish()},
                        timeout_ms=WAIT_SECONDS * 1000,
                        wait_for_metadata=True,
                    )
                (found,) = administration.describe_topics([self.name])
        if not found["partitions"]:
            raise KafkaError(f"topic {self.name} was not made")
        return len(found["partitions"])

    def count(self) -> int:
        """How many partitions the topic has; 0 while it is not there."""
        with closing(self._administration()) as administration:
            (found,) = administration.describe_topics([self.name])
        return len(found["partitions"])

    def consumer(self, **options: Any) -> Any:
        """A reader of its own that belongs to no group and commits nothing."""
        return client(
            KafkaConsumer,
            **self.options,
            **{
                "enable_auto_commit": False,
                "auto_offset_reset": "none",
                "allow_auto_create_topics": False,
                "request_timeout_ms": WAIT_SECONDS * 1000,
                "bootstrap_timeout_ms": WAIT_SECONDS * 1000,
                "reconnect_backoff_max_ms": 1000,
                "fetch_max_wait_ms": 200,
                "metrics_enabled": False,
                **options,
            },
        )

    def __getitem__(self, partition: int) -> TopicPartition:
        return TopicPartition(self.name, partition)

    def all(self, count: int) -> list[TopicPartition]:
        """Its partitions, if it has so many."""
        return [self[each] for each in range(count)]

    def _administration(self) -> Any:
        return client(
            KafkaAdminClient,
            **self.options,
            request_timeout_ms=WAIT_SECONDS * 1000,
            bootstrap_timeout_ms=WAIT_SECONDS * 1000,
        )

    def _wish(self) -> dict[str, Any]:
        return {
            "num_partitions": self.partitions,
            "replication_factor": self.replicas,
            "configs": {
                # A log is kept for ever, and an event counts as stored when all but one have it.
                "retention.ms": "-1",
                "retention.bytes": "-1",
                "cleanup.policy": "delete",
                "min.insync.replicas": str(max(self.replicas - 1, 1)),
                "max.message.bytes": str(LARGEST),
            },
        }


def topics_of(settings: Settings) -> list[Topic]:
    """The topics that the settings name.

    Raises:
        SettingError: there is no cluster, or something is said of it that cannot be.
    """
    options = _options(settings)
    names = [name.strip() for name in settings.kafka_topic.split(",")]
    return [
        Topic(name, options, settings.kafka_partitions, settings.kafka_replicas) for name in names
    ]


def _options(settings: Settings) -> dict[str, Any]:
    servers, _, query = settings.kafka.partition("?")
    if not servers:
        raise SettingError(
            "WANGGE_KAFKA: 未设置，请给出 Kafka 地址，如 broker1:9092,broker2:9092。\n"
            "WANGGE_KAFKA is not set: name the brokers, such as broker1:9092,broker2:9092."
        )
    said = dict(parse_qsl(query))
    if unknown := said.keys() - set(_OPTIONS):
        raise SettingError(
            f"WANGGE_KAFKA: 不支持 {', '.join(sorted(unknown))}。Not known; it takes "
            f"{', '.join(_OPTIONS)}."
        )
    for name, known in _CHOICES.items():
        if name in said and said[name] not in known:
            raise SettingError(
                f"WANGGE_KAFKA: {name}={said[name]} — 应为其一 · It is one of: {', '.join(known)}."
            )
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if name in said and not os.access(said[name], os.R_OK):
            raise SettingError(
                f"WANGGE_KAFKA: {name}={said[name]} — 无法读取此文件 · This file cannot be read."
            )
    for server in servers.split(","):
        if not _is_broker(server):
            raise SettingError(
                f"WANGGE_KAFKA: {server} — 应为 主机:端口 · host:port is expected, such as "
                "broker1:9092."
            )
    options: dict[str, Any] = {"bootstrap_servers": servers.split(","), **said}
    if settings.kafka_password is not None:
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


def _is_broker(server: str) -> bool:
    """Whether a text is a host with a port, or without: then kafka-python takes 9092."""
    try:
        parts = urlsplit(f"//{server}")
        return bool(parts.hostname) and parts.netloc == server and parts.port != 0
    except ValueError:
        return False


def client(kind: Callable[..., Any], **options: Any) -> Any:
    """A client of kafka-python that leaves nothing behind where no broker answers.

    By itself it leaves a thread and some sockets each time: after an hour of trying, all there are.
    """
    begun: list[KafkaNetClient] = []

    def begin(**configuration: Any) -> KafkaNetClient:
        begun.append(KafkaNetClient(**configuration))
        return begun[-1]

    try:
        return kind(**options, kafka_client=begin)
    except BaseException:
        for each in begun:
            each.close()
            each._manager._net.stop()
        raise


def at_offsets(consumer: Any, wanted: Mapping[TopicPartition, int]) -> Iterable[Any]:
    """The records at some offsets, one of each partition.

    Raises:
        KafkaError: they do not come in time.
    """
    consumer.assign(list(wanted))
    for partition, offset in wanted.items():
        consumer.seek(partition, offset)
        consumer.resume(partition)
    left = dict(wanted)
    for _ in range(10):
        if not left:
            return
        for partition, records in consumer.poll(timeout_ms=WAIT_SECONDS * 100).items():
            if left.pop(partition, None) is not None:
                consumer.pause(partition)
                yield records[0]
    if left:
        raise KafkaError(f"no answer about {', '.join(f'{p.topic}/{p.partition}' for p in left)}")
