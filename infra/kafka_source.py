"""Logs out of their topics, as the projection runner reads a source (汇聚).

Each partition of a topic is a part; what a checkpoint calls its position there is an offset. What
counts of a partition is decided by ``Turn`` from its beginning on, so the rule needs to know which
position was the last one before an offset. That is for ever the same: it is found by reading, and
written down now and then (``relay.mark``) so that little has to be read.

Several logs meet in one database. Each counts its positions by itself, so the number of its topic
stands in their upper bits: the first topic's positions are those of its log.

No keys are here, so personal fields read as sealed, in every read model: ``search`` shows ``***``
where it would show masks, and finds a case by its number, its place and its category.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError

from domain.history import Page, Recorded, Unreadable, Wanted
from infra.codec import Codec
from infra.kafka_topic import WAIT_SECONDS, Entry, NotOurs, Topic, Turn, received

GATHER: Final = 5_000
"""Records fetched at a time, at most: what a page of the log is to the runner."""

MARK_EVERY: Final = 2_000
"""After so many offsets it is written down which position was the last one."""

SHARE_SECONDS: Final = 1.0
"""How often a process looks whether others came or went."""

LOOK_SECONDS: Final = 0.5
"""How long to wait for something new before looking around."""

PAUSE_SECONDS: Final = 1.0
"""How long to wait after something went wrong."""

NUMBER_BITS: Final = 48
"""Where the number of a topic stands in a position."""

_MEMBERS: Final = ("kafka members",)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Stretch:
    """What counts of the offsets ``[start, end)`` of a part, and the rule as it stands at the end.

    Several read models fold the same stretch: whole events are decoded once.
    """

    start: int
    end: int
    turn: Turn
    entries: list[tuple[int, Entry]] = field(default_factory=list)
    events: dict[int, Any] = field(default_factory=dict)
    marked: int = 0


class KafkaSource:
    """The parts of some topics that this process keeps, as far as they were gathered."""

    def __init__(
        self, topics: Sequence[Topic], connect: Callable[[], psycopg.Connection], codec: Codec
    ) -> None:
        """``connect`` opens an autocommit connection of the role ``wangge_projector``."""
        self._topics = {topic.name: topic for topic in topics}
        self._connect = connect
        self._opened: psycopg.Connection | None = None
        self._codec = codec
        self._numbers = {name: self._number(name) for name in self._topics}
        self._logs: dict[str, str] = {}
        self._roots: dict[str, str] = {}
        self._kept: dict[str, _Stretch] = {}
        self._behind: dict[str, _Stretch] = {}
        self._consumer: Any = None
        self._every: list[str] = []

    def close(self) -> None:
        """Give connection and consumer back."""
        self._give_up()

    # --- what the runner asks ---

    def parts(self) -> Sequence[str]:
        """The parts with something gathered that is not folded yet."""
        return [part for part, kept in self._kept.items() if kept.end > kept.start]

    def head(self, part: str) -> int:
        """The offset up to which a part was gathered."""
        kept = self._kept.get(part)
        return kept.end if kept is not None else 0

    def read(self, part: str, after: int, upto: int, wanted: Wanted) -> Page:
        """The events wanted at offsets ``[after, upto)``, in order.

        Raises:
            Unreadable: an event cannot be read; it is named.
        """
        stretch = self._kept.get(part)
        if stretch is None or after < stretch.start:
            stretch = self._look_back(part, after, upto)
        names = frozenset(self._codec.names_of(wanted.events))
        end = min(upto, stretch.end)
        chosen = [
            (offset, entry)
            for offset, entry in stretch.entries
            if after <= offset < end
            and entry.name in names
            and entry.position not in wanted.skipped
        ]
        return Page([self._recorded(stretch, *each, wanted) for each in chosen], end)

    def skipped(self, projection: str) -> frozenset[int]:
        """The positions that a read model is to leave out: none are left out here."""
        return frozenset()

    # --- what the process does in between ---

    def every(self) -> list[str]:
        """All parts of the topics that are there by now; a topic never gets more of them.

        Raises:
            KafkaError: the cluster cannot be reached.
        """
        if len({_partition(part).topic for part in self._every}) < len(self._topics):
            self._every = [
                f"{name}/{number}"
                for name, topic in self._topics.items()
                for number in range(topic.count())
            ]
        return self._every

    def keeps(self, parts: Collection[str]) -> bool:
        """Whether these parts, and no others, are kept."""
        return self._kept.keys() == set(parts)

    @property
    def idle(self) -> bool:
        """Whether no part is kept."""
        return not self._kept

    def keep(self, begins: Mapping[str, int]) -> None:
        """Keep these parts from now on, those that are new from an offset on; no others.

        Raises:
            KafkaError: as in ``every``.
            NotOurs: a topic holds less than was read of it before.
        """
        self._kept = {part: kept for part, kept in self._kept.items() if part in begins}
        for part in begins.keys() - self._kept.keys():
            self._kept[part] = self._stretch(part, begins[part])
        consumer = self._reader()
        consumer.assign([_partition(part) for part in begins])
        ends = consumer.end_offsets([_partition(part) for part in begins])
        for part, kept in self._kept.items():
            if ends[_partition(part)] < kept.end:
                raise NotOurs(
                    f"主题 {part} 的记录少于此前读到的：主题已重建。请清空读模型后重新读取。"
                    f"{part} holds less than was read of it: the topic was made anew. Build the "
                    "read models anew, in an empty database."
                )
            consumer.seek(_partition(part), kept.end)

    def gather(self, seconds: float) -> bool:
        """Fetch what comes next, waiting so long for it; whether there was anything.

        Raises:
            KafkaError: the cluster cannot be reached.
            NotOurs: a record is no event, or of a log that does not belong here.
        """
        if not self._kept:
            return False
        found = self._reader().poll(timeout_ms=seconds * 1000, max_records=GATHER)
        for partition, records in found.items():
            self._take(self._kept[_part(partition)], _part(partition), records)
        return bool(found)

    def release(self) -> None:
        """What was gathered is folded: it may go."""
        for kept in self._kept.values():
            kept.start = kept.end
            kept.entries, kept.events = [], {}
        self._behind = {}

    def _give_up(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                consumer.close()

    @property
    def _connection(self) -> psycopg.Connection:
        """The connection, opened when it is needed and again after it was lost."""
        if self._opened is None:
            self._opened = self._connect()
        return self._opened

    def lose(self) -> None:
        """After an error: forget what was gathered, and connect anew, to both sides."""
        self._kept, self._behind = {}, {}
        self._give_up()

    def _reader(self) -> Any:
        if self._consumer is None:
            first = next(iter(self._topics.values()))
            self._consumer = first.consumer(fetch_max_bytes=8 * 2**20)
        return self._consumer

    # --- what counts ---

    def _take(self, stretch: _Stretch, part: str, records: Sequence[Any]) -> None:
        """Append records to a stretch, those that count."""
        for record in records:
            found = received(record)
            self._demand_known(record.topic, found.log, found.entry.territory)
            position = found.entry.position
            if stretch.turn.takes(position, found.previous):
                number = self._numbers[record.topic]
                entry = found.entry._replace(position=number << NUMBER_BITS | position)
                stretch.entries.append((record.offset, entry))
            elif position > stretch.turn.last:
                _log.warning(
                    "kafka.out_of_turn", part=part, offset=record.offset, position=position,
                    last=stretch.turn.last, names=found.previous,
                )  # fmt: skip
            stretch.end = record.offset + 1
        if stretch.end - stretch.marked >= MARK_EVERY:
            self._connection.execute(
                "INSERT INTO relay.mark VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (part, stretch.end, stretch.turn.last),
            )
            stretch.marked = stretch.end

    def _stretch(self, part: str, offset: int) -> _Stretch:
        """An empty stretch from an offset on, with the rule as it stands there."""
        row = self._connection.execute(
            "SELECT before_offset, position FROM relay.mark"
            " WHERE part = %s AND before_offset <= %s ORDER BY before_offset DESC LIMIT 1",
            (part, offset),
        ).fetchone()
        at, last = row or (0, 0)
        turn = Turn(last)
        for record in self._records(part, at, offset):
            found = received(record)
            turn.takes(found.entry.position, found.previous)
        return _Stretch(offset, offset, turn, marked=at)

    def _look_back(self, part: str, after: int, upto: int) -> _Stretch:
        """A stretch that a read model wants after the others have folded it."""
        stretch = self._behind.get(part)
        if stretch is None or not stretch.start <= after < upto <= stretch.end:
            stretch = self._stretch(part, after)
            self._take(stretch, part, list(self._records(part, after, upto)))
            stretch.end = upto
            self._behind[part] = stretch
        return stretch

    def _records(self, part: str, start: int, end: int) -> Iterator[Any]:
        """The records at offsets ``[start, end)``."""
        if start >= end:
            return
        partition = _partition(part)
        with closing(self._topics[partition.topic].consumer()) as consumer:
            consumer.assign([partition])
            consumer.seek(partition, start)
            silent = 0
            while consumer.position(partition) < end:
                records = consumer.poll(timeout_ms=1000).get(partition, ())
                silent = 0 if records else silent + 1
                if silent > WAIT_SECONDS:
                    raise KafkaError(f"no answer about {part} from offset {start} on")
                for record in records:
                    if record.offset >= end:
                        return
                    yield record

    def _recorded(
        self, stretch: _Stretch, offset: int, entry: Entry, wanted: Wanted
    ) -> Recorded[Any]:
        event = None if wanted.shapes else stretch.events.get(offset)
        try:
            if event is None:
                event = self._codec.decoders(wanted.shapes)[entry.name](entry.data)
                if not wanted.shapes:
                    stretch.events[offset] = event
            json = self._codec.plain(entry.name, entry.data) if wanted.json else ""
        except Exception as error:
            raise Unreadable(entry.position, entry.stream, entry.name) from error
        # An entry is an event with its bytes where the event will stand, and the rest in order.
        return Recorded._make((*entry[:3], event, *entry[4:], json))

    # --- whose is whose ---

    def _number(self, topic: str) -> int:
        """The number of a topic: 0 for the first one that this database reads."""
        with self._connection.transaction():
            self._connection.execute("LOCK relay.source IN EXCLUSIVE MODE")
            self._connection.execute(
                "INSERT INTO relay.source (topic, number)"
                " SELECT %s, count(*) FROM relay.source ON CONFLICT DO NOTHING",
                (topic,),
            )
            row = self._connection.execute(
                "SELECT number FROM relay.source WHERE topic = %s", (topic,)
            ).fetchone()
        assert row is not None
        number: int = row[0]
        return number

    def _demand_known(self, topic: str, log: str, territory: str) -> None:
        """A topic carries one log, and two logs do not speak of the same district.

        Raises:
            NotOurs: it is otherwise.
        """
        if self._logs.get(topic) != log:
            self._logs[topic] = self._settled(
                "UPDATE relay.source SET log = %s WHERE topic = %s AND log IS NULL",
                "SELECT log::text FROM relay.source WHERE topic = %s",
                topic,
                log,
            )
            if self._logs[topic] != log:
                raise NotOurs(
                    f"主题 {topic} 混有两个日志的事件：{self._logs[topic]}、{log}。"
                    f"The topic {topic} holds events of two logs: {self._logs[topic]} and {log}."
                )
        root = territory.partition("/")[0]
        if root and self._roots.get(root) != topic:
            self._roots[root] = self._settled(
                "INSERT INTO relay.root (topic, root) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                "SELECT topic FROM relay.root WHERE root = %s",
                root,
                topic,
            )
            if self._roots[root] != topic:
                raise NotOurs(
                    f"主题 {self._roots[root]} 与 {topic} 都有属地 {root}/,无法区分。"
                    f"Both {self._roots[root]} and {topic} speak of {root}/: each district needs "
                    "a territory of its own at the root."
                )

    def _settled(self, settle: str, ask: str, key: str, value: str) -> str:
        """What holds for a key, once it is settled; whoever comes first settles it."""
        with self._connection.transaction():
            self._connection.execute(settle.encode(), (value, key))
            row = self._connection.execute(ask.encode(), (key,)).fetchone()
        assert row is not None
        return str(row[0])


class Shares:
    """Which parts are this process's: a fair share, by locks of the database the rows go to.

    Not by Kafka's consumer groups: a lock is gone the moment its process is, and who may write is
    decided where it is written. Should two ever fold the same part, the checkpoint lets one of them
    through.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        """``connection`` is kept for the locks alone."""
        self._connection = connection
        self.mine: set[str] = set()
        connection.execute("SELECT pg_advisory_lock_shared(hashtext(%s), 0)", _MEMBERS)

    def settle(self, every: Collection[str]) -> set[str]:
        """Take and give back parts until the share is fair, as far as others have let go."""
        row = self._connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
            " AND classid::bigint = hashtext(%s)::bigint & 4294967295 AND objid = 0 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            _MEMBERS,
        ).fetchone()
        assert row is not None
        fair = -(-len(every) // max(row[0], 1))
        for part in sorted(self.mine)[fair:]:
            self._lock("pg_advisory_unlock", part)
            self.mine.discard(part)
        for part in sorted(set(every) - self.mine):
            if len(self.mine) < fair and self._lock("pg_try_advisory_lock", part):
                self.mine.add(part)
        return self.mine

    def _lock(self, function: str, part: str) -> bool:
        query = f"SELECT {function}(hashtextextended(%s, 0))"
        row = self._connection.execute(query.encode(), (f"kafka part {part}",)).fetchone()
        return row == (True,)


def follow(
    source: KafkaSource,
    connect: Callable[[], psycopg.Connection],
    begins: Callable[[Collection[str]], Mapping[str, int]],
    fold: Callable[[], None],
    stop: threading.Event,
) -> None:
    """Gather, fold, again, until told to stop, through failures of both sides.

    ``begins`` says from which offset on some parts are needed; ``fold`` brings the read models to
    the heads of the source.

    Raises:
        NotOurs: a topic is not what it should be.
    """
    waiting = ""
    while not stop.is_set():
        try:
            with connect() as connection:
                shares = Shares(connection)
                while not stop.is_set():
                    _keep_share(source, shares, begins)
                    waiting = ""
                    _fold_for(source, fold, stop)
        except (psycopg.Error, KafkaError) as error:
            said = f"{type(error).__name__}: {str(error).strip()}"
            if said != waiting:
                waiting = said
                _log.warning("projector.waits", error=said)
            source.lose()
            stop.wait(PAUSE_SECONDS)


def _fold_for(source: KafkaSource, fold: Callable[[], None], stop: threading.Event) -> None:
    """Until it is time to look at the shares again."""
    ends = time.monotonic() + SHARE_SECONDS
    while not stop.is_set() and (left := ends - time.monotonic()) > 0:
        if source.gather(min(left, LOOK_SECONDS)):
            fold()
            source.release()
        elif source.idle:
            stop.wait(left)


def _keep_share(
    source: KafkaSource,
    shares: Shares,
    begins: Callable[[Collection[str]], Mapping[str, int]],
) -> None:
    before = set(shares.mine)
    mine = shares.settle(source.every())
    if mine != before or not source.keeps(mine):
        _log.info("projector.keeps", parts=sorted(mine))
        source.keep(begins(mine))


def _partition(part: str) -> TopicPartition:
    topic, _, number = part.rpartition("/")
    return TopicPartition(topic, int(number))


def _part(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
