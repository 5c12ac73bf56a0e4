"""Carries the log out to a topic (转发): every event, in order, as often as it takes.

Round by round: read what comes next, send it, wait until all of it is acknowledged, write down how
far that was. In a round each partition gets one batch, and the next round begins when all are
there: behind a batch that is lost nothing can arrive, so a case never changes its order, whatever
the producer does. Whatever goes wrong, producer and connection are given up, and new ones go on
from what was written down last: then a stretch comes twice, and readers know (``Turn``).

What was acknowledged can be lost all the same, when somebody deletes the topic or a cluster elects
a leader that lags. A relay that begins looks whether the last records are where they were put, and
otherwise sends everything again: nothing of it is kept anywhere else.
"""

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import psycopg
import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.partitioner.default import murmur2

from infra.kafka_topic import (
    LARGEST,
    WAIT_SECONDS,
    Entry,
    NotOurs,
    Received,
    Topic,
    at_offsets,
    client,
    headers,
)
from infra.kafka_topic import received as read
from infra.log_source import identity

PAGE: Final = 2_000
"""Events in a round, at most."""

PAGE_BYTES: Final = 4 * 2**20
"""Bytes of events in a round, at most, but for one that is larger: so its batch is never split."""

DELIVERY_SECONDS: Final = 20
"""How long kafka-python goes on trying to deliver a batch."""

DEADLINE_SECONDS: Final = 30
"""How long a round may take; by then kafka-python has said something, or never will."""

POLL_SECONDS: Final = 2.0
"""How long to wait for a notification of the log before looking anyway."""

PAUSE_SECONDS: Final = 1.0
"""How long to wait after something went wrong, and for another relay to be gone."""

STUCK_SECONDS: Final = 120.0
"""How long nothing need be heard of a relay at work: all it does has an end long before that."""

STOP_SECONDS: Final = DEADLINE_SECONDS + 10.0
"""The same of a relay that was told to stop: its round ends before that."""

TELL_SECONDS: Final = 10.0
"""How often a relay that has work says how it is doing."""

_log = structlog.get_logger(__name__)


class Elsewhere(Exception):
    """Another relay carries this log to this topic."""


class Stuck(Exception):
    """Nothing was heard of a relay for too long."""


@dataclass(slots=True)
class _Attempt:
    """What others know of one: when it last got on, with which connection, whether it has carried
    anything, whether it was given up, and what went wrong in the end."""

    heard: float = field(default_factory=time.monotonic)
    connection: psycopg.Connection | None = None
    carries: bool = False
    given_up: bool = False
    error: Exception | None = None

    def gets_on(self) -> None:
        """It is not stuck."""
        self.heard = time.monotonic()

    def connected(self, connection: psycopg.Connection) -> None:
        """It has its connection, too late perhaps.

        Raises:
            Stuck: it was given up meanwhile, and nobody watches it any more.
        """
        self.connection = connection
        if self.given_up:
            raise Stuck("given up while it connected")

    def give_up(self) -> None:
        """Without its connection it takes nothing up any more, and another may begin."""
        self.given_up = True
        if self.connection is not None:
            _cut(self.connection)


@dataclass(slots=True)
class _Run:
    """From the start of a producer to its end. ``sent`` is the last position by partition."""

    attempt: _Attempt
    connection: psycopg.Connection
    producer: Any
    log: str
    position: int
    positions: list[int]
    offsets: list[int]
    sent: dict[int, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    carried: int = 0
    told: float = field(default_factory=time.monotonic)


class Relay:
    """Carries one log to one topic, which it makes if need be. One relay works at a time."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        topic: Topic,
        *,
        page: int = PAGE,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        """``connect`` opens an autocommit connection of the role ``wangge_relay``."""
        self._connect = connect
        self._topic = topic
        self._page = page
        self._stuck_seconds = stuck_seconds

    def follow(self, stop: threading.Event) -> None:
        """Carry what there is and what comes until told to stop, through failures of both sides.

        Raises:
            NotOurs: the topic is that of another log, or its partitions have changed in number.
        """
        waiting = ""
        while not stop.is_set():
            attempt = self._attempt(stop)
            error = attempt.error
            if isinstance(error, NotOurs):
                raise error
            if error is None:
                continue
            said = f"{type(error).__name__}: {str(error).strip()}"
            if said != waiting or attempt.carries:
                waiting = said  # hours without a broker are one line, not thousands
                expected = isinstance(error, psycopg.Error | KafkaError | Elsewhere | Stuck)
                where = None if expected else error
                _log.warning("relay.waits", topic=self._topic.name, error=said, exc_info=where)
            stop.wait(PAUSE_SECONDS)

    def _attempt(self, stop: threading.Event) -> _Attempt:
        """Carry, in a thread of its own, until told to stop or something is wrong."""
        attempt = _Attempt()
        thread = threading.Thread(target=self._carry_on, args=(attempt, stop), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(PAUSE_SECONDS)
            patience = min(self._stuck_seconds, STOP_SECONDS if stop.is_set() else math.inf)
            if thread.is_alive() and time.monotonic() - attempt.heard > patience:
                attempt.give_up()
                attempt.error = Stuck(f"nothing was heard for {patience:.0f} s")
                break
        return attempt

    def _carry_on(self, attempt: _Attempt, stop: threading.Event) -> None:
        try:
            with self._run(attempt) as run:
                while not stop.is_set():
                    self._catch_up(run, stop)
                    _wait(run.connection, stop)
                    attempt.gets_on()
        except Exception as error:  # noqa: BLE001 - the client raises more than it tells of
            attempt.error = error

    def catch_up(self) -> int:
        """Carry what there is now; returns the position reached.

        Raises:
            Elsewhere: another relay is at work.
            KafkaError, psycopg.Error: one of the sides failed; what is left is for the next time.
            NotOurs: as in ``follow``.
        """
        with self._run(_Attempt()) as run:
            self._catch_up(run, threading.Event())
            return run.position

    @contextmanager
    def _run(self, attempt: _Attempt) -> Iterator[_Run]:
        with self._connect() as connection:
            attempt.connected(connection)
            taken = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))",
                (f"relay {self._topic.name}",),
            ).fetchone()
            if taken != (True,):
                raise Elsewhere(f"another relay carries the log to {self._topic.name}")
            connection.execute("LISTEN log")
            # Should the database forget a round's end, the round comes twice: no reason to wait.
            connection.execute("SET synchronous_commit = off")
            log = identity(connection)
            count = self._topic.make()
            attempt.gets_on()
            positions, offsets, position = self._resume(connection, log, count)
            attempt.gets_on()
            with _producer(self._topic) as producer:
                run = _Run(attempt, connection, producer, log, position, positions, offsets)
                _log.info("relay.begins", topic=self._topic.name, position=position)
                yield run

    def _resume(
        self, connection: psycopg.Connection, log: str, count: int
    ) -> tuple[list[int], list[int], int]:
        """Where to go on: positions and offsets by partition, and the position of all."""
        name = self._topic.name
        row = connection.execute(
            "SELECT positions, offsets, position FROM relay.topic WHERE topic = %s", (name,)
        ).fetchone()
        if row is not None and len(row[0]) != count:
            raise NotOurs(
                f"主题 {name} 的分区数由 {len(row[0])} 变为 {count}，同一事项会落入不同分区。"
                "请换用新主题。"
                f"The topic {name} had {len(row[0])} partitions and has {count}: cases would move "
                "between them. Use a new topic (WANGGE_KAFKA_TOPIC)."
            )
        nothing = [0] * count, [-1] * count, 0
        known = row[:2] if row else nothing[:2]
        held = self._holds(connection, log, *known)
        if row is None:
            connection.execute(
                "INSERT INTO relay.topic (topic, positions, offsets, position)"
                " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (name, *nothing),
            )
            return nothing
        if not held:
            _log.error("relay.topic_lost_events", topic=name, sends_again_from=1, position=row[2])
            connection.execute(
                "UPDATE relay.topic SET positions = %s, offsets = %s, position = %s"
                " WHERE topic = %s",
                (*nothing, name),
            )
            return nothing
        return row

    def _holds(
        self,
        connection: psycopg.Connection,
        log: str,
        positions: Sequence[int],
        offsets: Sequence[int],
    ) -> bool:
        """Whether the topic still has the last record that each partition was given.

        Raises:
            NotOurs: it has records of something else, or events that the log does not have.
        """
        everything = self._topic.all(len(offsets))
        with closing(self._topic.consumer()) as consumer:
            begins = consumer.beginning_offsets(everything)
            ends = consumer.end_offsets(everything)
            last = {p: ends[p] - 1 for p in everything if ends[p] > begins[p]}
            for record in at_offsets(consumer, last):
                self._demand_ours(connection, log, read(record))
            known = dict(zip(everything, offsets, strict=True))
            if any(ends[p] <= offset for p, offset in known.items()):
                return False
            looks = {p: offset for p, offset in known.items() if begins[p] <= offset}
            for record in at_offsets(consumer, looks):
                found = read(record)
                self._demand_ours(connection, log, found)
                if found.entry.position != positions[record.partition]:
                    return False
        return True

    def _demand_ours(self, connection: psycopg.Connection, log: str, found: Received) -> None:
        """A topic has nothing but events of this log as it is.

        Raises:
            NotOurs: this one is not.
        """
        name = self._topic.name
        if found.log != log:
            raise NotOurs(
                f"主题 {name} 已存有另一日志（{found.log}）的事件，请换用其他主题。"
                f"The topic {name} holds another log's events ({found.log}): use a topic of its "
                "own (WANGGE_KAFKA_TOPIC)."
            )
        entry = found.entry
        same = "SELECT FROM log.event WHERE position = %s AND stream = %s AND data = %s"
        if connection.execute(same, (entry.position, entry.stream, entry.data)).rowcount != 1:
            raise NotOurs(
                f"主题 {name} 存有本日志没有的事件（位置 {entry.position}），"
                "日志可能是从备份恢复的：请换用新主题，读取方须在空库中重建。"
                f"The topic {name} holds events that this log does not have (position "
                f"{entry.position}), as after restoring a backup: use a new topic "
                "(WANGGE_KAFKA_TOPIC), from which readers build anew, in an empty database."
            )

    def _catch_up(self, run: _Run, stop: threading.Event) -> None:
        while not stop.is_set():
            page = _page(run.connection, run.position, self._page)
            if not page:
                return
            self._carry(run, page)
            run.attempt.carries = True
            run.attempt.gets_on()
            self._tell(run)

    def _carry(self, run: _Run, page: Sequence[Entry]) -> None:
        """One round: all of a page acknowledged, and written down.

        Raises:
            KafkaError: some of it is not; the producer is of no use any more.
            Elsewhere: another relay has written something down.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        futures = []
        for entry in page:
            partition = _partition(entry.stream, len(run.offsets))
            futures.append(
                run.producer.send(
                    self._topic.name,
                    entry.data,
                    entry.stream.encode(),
                    headers(run.log, entry, run.sent.get(partition, 0)),
                    partition,
                    int(entry.recorded_at.timestamp() * 1000),
                )
            )
            run.sent[partition] = entry.position
        # Until here nothing has left: batches go when they are full, which ours never are, or now.
        run.producer.flush(timeout=DEADLINE_SECONDS)
        for entry, future in zip(page, futures, strict=True):
            stored = future.get(timeout=max(deadline - time.monotonic(), 0))
            run.positions[stored.partition] = entry.position
            run.offsets[stored.partition] = stored.offset
        before, run.position = run.position, page[-1].position
        moved = run.connection.execute(
            "UPDATE relay.topic SET position = %s, positions = %s, offsets = %s,"
            " at = clock_timestamp() WHERE topic = %s AND position = %s",
            (run.position, run.positions, run.offsets, self._topic.name, before),
        )
        if moved.rowcount != 1:
            raise Elsewhere(f"another relay has moved {self._topic.name} on from {before}")
        run.carried += len(page)

    def _tell(self, run: _Run) -> None:
        now = time.monotonic()
        if now - run.told < TELL_SECONDS:
            return
        row = run.connection.execute("SELECT position FROM log.head").fetchone()
        _log.info(
            "relay.moves",
            topic=self._topic.name,
            position=run.position,
            behind=max(row[0] - run.position, 0) if row else 0,
            rate=round(run.carried / (now - run.began)),
        )
        run.told = now


def _page(connection: psycopg.Connection, after: int, most: int) -> list[Entry]:
    """The events that come next, as many as a round may have."""
    rows = connection.execute(
        "SELECT position, stream, version, data, name, at, actor, roles, recorded_at, territory,"
        " correlation, causation FROM ("
        "   SELECT *, sum(octet_length(data)) OVER (ORDER BY position) - octet_length(data)"
        "   AS bytes FROM log.event WHERE position > %s AND position <= %s"
        " ) page WHERE bytes <= %s ORDER BY position",
        (after, after + most, PAGE_BYTES),
        binary=True,
    )
    return [Entry._make(row) for row in rows]


@lru_cache(maxsize=65_536)
def _partition(stream: str, count: int) -> int:
    """Where a stream belongs: as every client of Kafka reckons it from the key."""
    hashed: int = murmur2(stream.encode())
    return (hashed & 0x7FFFFFFF) % count


@contextmanager
def _producer(topic: Topic) -> Iterator[Any]:
    """A producer that sends a batch when told to, and is really gone in the end."""
    producer = client(
        KafkaProducer,
        **topic.options,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",  # a sixth of the bytes, and of kafka-python's checksums over them
        batch_size=LARGEST // 2,
        max_request_size=LARGEST,
        linger_ms=(DELIVERY_SECONDS - WAIT_SECONDS) * 1000,
        request_timeout_ms=WAIT_SECONDS * 1000,
        delivery_timeout_ms=DELIVERY_SECONDS * 1000,
        max_block_ms=WAIT_SECONDS * 1000,
        bootstrap_timeout_ms=WAIT_SECONDS * 1000,
        reconnect_backoff_max_ms=1000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    try:
        yield producer
    finally:
        # close() would first wait for what was sent; a batch that has run out of time while it was
        # being sent is never done with, and its thread would go on for ever.
        producer._sender.force_close()
        with contextlib.suppress(KafkaTimeoutError):
            producer.close(timeout=WAIT_SECONDS)


def _cut(connection: psycopg.Connection) -> None:
    """End a connection that another thread may be waiting on: to both ends it is lost.

    ``close()`` would free what that thread goes on reading, and the number of its socket, so that
    it takes the answers of the connection that gets them next.
    """
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)


def _wait(connection: psycopg.Connection, stop: threading.Event) -> None:
    """Until something is appended, at most ``POLL_SECONDS``; stopping is seen within 0.2 s."""
    deadline = time.monotonic() + POLL_SECONDS
    while not stop.is_set() and time.monotonic() < deadline:
        for _ in connection.notifies(timeout=0.2, stop_after=1):
            return
