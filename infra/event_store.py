"""The log: the library's recorder over one append function, and the way of a command through it.

``LogRecorder`` is an ``ApplicationRecorder`` of ``eventsourcing`` (it passes the library's own test
cases) whose appends are one round trip to ``log.append``: positions without holes, in commit order,
under a role that may append and read but never change. ``EventStore`` loads, decides and appends.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Notification,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.aggregates import (
    CALENDAR,
    CASE,
    CATALOGUE,
    STAFF,
    TERRITORY,
    Decider,
    Office,
    decider_of,
)
from domain.answers import Receipt
from domain.errors import Conflict, Refused, VersionMismatch
from domain.history import Recorded
from domain.roles import Actor
from infra.arrays import Blobs, Column, Instants, Integers, Texts
from infra.codec import Codec
from infra.vault import Key, Keys, Vault

ATTEMPTS: Final = 5
"""How often a command is decided anew after another writer was faster."""

RECENT: Final = 4_096
"""Cases kept folded in memory, at most: some 3 KB each."""

OFFICE: Final = {d.stream(None): d for d in (TERRITORY, STAFF, CATALOGUE, CALENDAR)}
"""The streams of the office's configuration."""


class Entry(NamedTuple):
    """A row to be appended: a stored event with what stands beside its bytes. ``at`` None means:
    when the log takes it.

    A tuple, in the order of ``log.append``: it is made in a fifth of the time of the library's
    frozen dataclass, and many are turned into columns as one.
    """

    stream: str
    version: int
    name: str
    at: datetime | None = None
    actor: str = ""
    roles: str = ""
    territory: str = ""
    correlation: str = ""
    causation: str = ""
    data: bytes = b""


APPEND: Final = "SELECT log.append(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
"""Appends ``columns_of`` some entries; answers the position of the first."""

STREAMS: Final = (
    "SELECT e.stream, e.version, e.name, e.data"
    " FROM unnest(%s, %s) AS known(stream, version)"
    " JOIN log.event e ON e.stream = known.stream AND e.version > known.version"
    " ORDER BY e.position"
)
"""The events of several streams after the versions already known, in order of position."""


_COLUMNS: Final = (Texts, Integers, Texts, Instants, Texts, Texts, Texts, Texts, Texts, Blobs)
"""What the fields of an ``Entry`` are."""


def columns_of(entries: Sequence[Entry]) -> tuple[Column, ...]:
    """Entries as ``log.append`` takes them: an array for each column."""
    columns = zip(*entries, strict=True) if entries else repeat(())
    return tuple([kind(values) for kind, values in zip(_COLUMNS, columns, strict=False)])


def known_of(streams: Mapping[str, int]) -> tuple[Column, ...]:
    """Streams with the versions already known, as ``STREAMS`` takes them."""
    return Texts(list(streams)), Integers(list(streams.values()))


class LogRecorder(ApplicationRecorder):
    """Appends to and reads the log of one database."""

    def __init__(self, pool: ConnectionPool) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_app``."""
        self._pool = pool

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_kwargs: Any
    ) -> Sequence[int] | None:
        """Append all events or none, in one round trip; returns their positions.

        Raises:
            IntegrityError: another writer has taken one of the versions.
            ProgrammingError: a version would leave a hole in its stream.
            OperationalError: the database cannot be reached.
        """
        if not stored_events:
            return None
        first = self.append(
            [
                Entry(str(e.originator_id), e.originator_version, e.topic, data=e.state)
                for e in stored_events
            ]
        )
        return list(range(first, first + len(stored_events)))

    def append(self, entries: Sequence[Entry]) -> int:
        """The same of rows as they are; returns the position of the first."""
        with self.appending() as append:
            return append(entries)

    @contextmanager
    def appending(self) -> Iterator[Callable[[Sequence[Entry]], int]]:
        """``append``, by a connection that is there from here on."""

        def append(entries: Sequence[Entry]) -> int:
            row = connection.execute(APPEND, columns_of(entries)).fetchone()
            assert row is not None
            return int(row[0])

        with self._connection() as connection:
            yield append

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream by version."""
        order = sql.SQL("DESC" if desc else "ASC")
        with self._connection() as connection:
            rows = connection.execute(
                sql.SQL(
                    "SELECT version, name, data FROM log.event"
                    " WHERE stream = %s AND version > coalesce(%s, -1)"
                    "   AND version <= coalesce(%s, 2147483647)"
                    " ORDER BY version {} LIMIT %s"
                ).format(order),
                (str(originator_id), gt, lte, limit),
            ).fetchall()
        return [StoredEvent(originator_id, *row) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Events of the whole log in order of position."""
        first = (start or 0) + (0 if inclusive_of_start else 1)
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT stream, version, name, data, position FROM log.event"
                " WHERE position >= %s AND position <= coalesce(%s, 9223372036854775807)"
                "   AND (%s::text[] IS NULL OR name = ANY(%s::text[]))"
                " ORDER BY position LIMIT %s",
                (first, stop, list(topics) or None, list(topics) or None, limit),
            ).fetchall()
        return [Notification(*row) for row in rows]

    def max_notification_id(self) -> int | None:
        """The last position, or None while the log is empty."""
        with self._connection() as connection:
            row = connection.execute("SELECT position FROM log.head").fetchone()
        return row[0] or None if row else None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Not offered: the projection runner follows the log, with time-outs and reconnects.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("follow the log with projections.runner")

    def read_streams(self, known: dict[str, int]) -> list[tuple[str, int, str, bytes]]:
        """The events of several streams after the versions already known, in one query.

        Rows of (stream, version, name, data) in order of position.
        """
        with self._connection() as connection:
            return connection.execute(STREAMS, known_of(known)).fetchall()

    def read_history(self, stream: str) -> list[tuple[Any, ...]]:
        """One stream with everything that stands beside the bytes (see ``_recorded``)."""
        with self._connection() as connection:
            return connection.execute(
                sql.SQL("{} WHERE stream = %s ORDER BY version").format(_SELECT), (stream,)
            ).fetchall()

    def read_event(self, position: int) -> tuple[Any, ...] | None:
        """One event with everything that stands beside the bytes."""
        with self._connection() as connection:
            return connection.execute(
                sql.SQL("{} WHERE position = %s").format(_SELECT), (position,)
            ).fetchone()

    def read_histories(self, streams: Collection[str], upto: int) -> list[tuple[Any, ...]]:
        """The same of several streams up to a position, stream by stream."""
        with self._connection() as connection:
            return connection.execute(
                sql.SQL(
                    "{} WHERE stream = ANY(%s) AND position <= %s ORDER BY stream, version"
                ).format(_SELECT),
                (list(streams), upto),
            ).fetchall()

    def statistics(self) -> dict[str, int]:
        """How much the log holds: events, streams, last position."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT count(*), count(DISTINCT stream), (SELECT position FROM log.head)"
                " FROM log.event"
            ).fetchone()
        assert row is not None
        return {"events": row[0], "streams": row[1], "last_position": row[2]}

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """A connection, with the driver's errors in the library's words."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.errors.UniqueViolation as error:
            raise IntegrityError(error) from error
        except psycopg.errors.CheckViolation as error:
            raise ProgrammingError(error) from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise OperationalError(error) from error


_SELECT: Final = sql.SQL(
    "SELECT position, stream, version, data, name, at, actor, roles, recorded_at, territory,"
    " correlation, causation FROM log.event"
)


@dataclass(slots=True)
class Stream:
    """One stream as it stands: its rules, its folded state and its version, 0 before the first."""

    decider: Decider
    state: Any
    version: int = 0

    def copy(self) -> "Stream":
        """The same, to go on from."""
        return Stream(self.decider, self.state, self.version)


class Decided(NamedTuple):
    """An event that was decided and is not stored yet."""

    stream: str
    version: int
    event: Any
    by: Actor
    correlation: str
    causation: str


class Missing(Exception):
    """A decision needs streams that are not loaded: load them and decide again."""

    def __init__(self, wanted: dict[str, Decider]) -> None:
        self.wanted = wanted
        super().__init__(f"needs {', '.join(wanted)}")


@dataclass
class Batch:
    """Commands decided one after another on loaded streams, to be appended together."""

    store: "EventStore"
    correlation: str = ""
    streams: dict[str, Stream] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)

    def load(self, commands: Iterable[Any]) -> None:
        """Bring the streams of some commands here, in one query; those already here stay."""
        self.load_streams(self.missing(commands))

    def load_streams(self, wanted: dict[str, Decider]) -> None:
        """Bring streams here by name, in one query."""
        if wanted:
            self.streams |= self.store.load(wanted)

    def missing(self, commands: Iterable[Any]) -> dict[str, Decider]:
        """The streams of some commands that are not here."""
        wanted = {decider_of(c).stream(c): decider_of(c) for c in commands}
        return {s: d for s, d in wanted.items() if s not in self.streams}

    def decide(
        self, *commands: Any, causation: str = "", correlation: str | None = None
    ) -> list[Any]:
        """Decide commands as ``decide_loaded``, loading what they need meanwhile."""
        while True:
            try:
                return self.decide_loaded(*commands, causation=causation, correlation=correlation)
            except Missing as missing:
                self.load_streams(missing.wanted)

    def decide_loaded(
        self, *commands: Any, causation: str = "", correlation: str | None = None
    ) -> list[Any]:
        """Decide commands, and whatever must be stored alongside; all of them, or none.

        ``correlation`` is the batch's own unless another is given.

        Raises:
            Refused: a rule says no.
            Missing: a stream is not loaded. In both cases the batch is as it was before the call.
        """
        before: dict[str, Stream] = {}
        decided: list[Decided] = []
        queue = deque(commands)
        tag = self.correlation if correlation is None else correlation
        try:
            while queue:
                command = queue.popleft()
                decider = decider_of(command)
                name = decider.stream(command)
                stream = self.streams.get(name)
                if stream is None:
                    raise Missing(self.missing([command, *queue]))
                before.setdefault(name, stream.copy())
                queue.extendleft(reversed(decider.alongside(stream.state, command)))
                for event in decider.decide(stream.state, command):
                    stream.state = decider.evolve(stream.state, event)
                    stream.version += 1
                    decided.append(Decided(name, stream.version, event, command.by, tag, causation))
        except BaseException:
            self.streams |= before
            raise
        self.decided += decided
        return [each.event for each in decided]

    def append(self) -> int:
        """Store what was decided and forget it here; returns the last position, 0 for nothing.

        Raises:
            IntegrityError: another writer was faster. Nothing is stored.
            OperationalError: the database is away. It may have been stored.
        """
        if not self.decided:
            return 0
        # A new key is not on the disk before the append that uses it, which a crash in between
        # must therefore break: it goes by a connection that there was before.
        with self.store.recorder.appending() as append:
            keys = self.store.vault.provide(self.store.subjects_of(self.decided))
            entries = self.store.sealed(self.decided, keys)
            last = append(entries) + len(entries) - 1
        self.store.vault.settle(keys.values())
        self.decided = []
        return last


class EventStore:
    """Commands in, events out; and the two reads that commands and auditors need."""

    def __init__(self, recorder: LogRecorder, codec: Codec, vault: Vault) -> None:
        self.recorder = recorder
        self.codec = codec
        self.vault = vault
        # The office's configuration is read by almost every command, and a case that is worked on
        # will be worked on: both are kept folded here, and only what is new is read. Guarded,
        # because requests run in threads.
        self._office: dict[str, Stream] = {}
        self._recent: OrderedDict[str, Stream] = OrderedDict()
        self._lock = threading.Lock()

    def execute(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Receipt:
        """Load, decide and append, all or nothing; again when another writer was faster.

        ``expected`` is the version of the first command's stream that the caller has seen.

        Raises:
            Refused: a rule says no.
            VersionMismatch: the stream is not at ``expected``.
            Conflict: the race was lost ``ATTEMPTS`` times.
        """
        first = decider_of(commands[0]).stream(commands[0])
        for _ in range(ATTEMPTS):
            batch = Batch(self, correlation)
            batch.load(commands)
            if expected is not None and batch.streams[first].version != expected:
                raise VersionMismatch(expected, batch.streams[first].version)
            events = batch.decide(*commands, causation=causation)
            try:
                position = batch.append()
            except IntegrityError:
                continue
            return Receipt(tuple(events), position, batch.streams[first].version)
        raise Conflict

    def load(self, wanted: dict[str, Decider]) -> dict[str, Stream]:
        """The present state of streams, in one query."""
        found = self.kept(wanted)
        rows = self.recorder.read_streams({name: s.version for name, s in found.items()})
        return self.advanced(found, rows)

    def kept(self, wanted: dict[str, Decider]) -> dict[str, Stream]:
        """The streams as far as they are known here, perhaps not at all."""
        with self._lock:
            return {
                name: (
                    self._office.get(name)
                    or self._recent.get(name)
                    or Stream(decider, decider.initial)
                ).copy()
                for name, decider in wanted.items()
            }

    def advanced(
        self, found: dict[str, Stream], rows: Iterable[tuple[str, int, str, bytes]]
    ) -> dict[str, Stream]:
        """Streams with what is new in the log, as ``STREAMS`` gives it."""
        for name, version, event_name, data in rows:
            stream = found[name]
            event = self.codec.decode(event_name, data)
            stream.state, stream.version = stream.decider.evolve(stream.state, event), version
        self.keep(found)
        return found

    def keep(self, streams: dict[str, Stream]) -> None:
        """Remember how streams stand in the log."""
        with self._lock:
            for name, stream in streams.items():
                kept = self._office if stream.decider.single else self._recent
                known = kept.get(name)
                if known is None or known.version < stream.version:
                    kept[name] = stream.copy()
                if kept is self._recent and stream.version:
                    self._recent.move_to_end(name)
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)

    def office(self) -> Office:
        """The configuration of the office as of now."""
        return office_of(self.load(OFFICE))

    def subjects_of(self, decided: Iterable[Decided]) -> set[str]:
        """Whose keys the personal fields of some events are to be sealed with."""
        return {
            subject
            for each in decided
            for subject in self.codec.subjects_of(each.event, each.stream)
        }

    def sealed(self, decided: Sequence[Decided], keys: Mapping[str, Key]) -> list[Entry]:
        """Events as the log stores them, personal fields under ``keys`` (by subject)."""
        entries = []
        for each in decided:
            name, data = self.codec.encode(each.event, each.stream, each.version, keys)
            entries.append(
                Entry(  # by place: by name it takes twice as long
                    each.stream,
                    each.version,
                    name,
                    each.event.at,
                    each.by.id,
                    ",".join(each.by.roles),
                    getattr(each.event, "territory", ""),
                    each.correlation,
                    each.causation,
                    data,
                )
            )
        return entries

    def history(self, stream: str, *, opened: bool = False) -> list[Recorded[Any]]:
        """All events of one stream with their metadata, oldest first; empty when there is none.

        ``opened``: with personal fields in clear, as far as their keys are there. Whoever shows
        them to somebody records that first.
        """
        rows = self.recorder.read_history(stream)
        return recorded(self.codec, rows, self.vault if opened else None)

    def event(self, position: int) -> Recorded[Any] | None:
        """The event at a position, personal fields sealed; None beyond the end of the log."""
        row = self.recorder.read_event(position)
        return None if row is None else recorded(self.codec, [row], None)[0]

    def histories(self, streams: Collection[str], upto: int) -> dict[str, list[Recorded[Any]]]:
        """The events of several streams up to a position, by stream, oldest first."""
        found: dict[str, list[Recorded[Any]]] = {}
        for each in recorded(self.codec, self.recorder.read_histories(streams, upto), None):
            found.setdefault(each.stream, []).append(each)
        return found

    def case(self, case_id: str) -> tuple[Any, int]:
        """A case's present state and version.

        Raises:
            Refused: ``case.unknown``.
        """
        name = f"case:{case_id}"
        stream = self.load({name: CASE})[name]
        if stream.version == 0:
            raise Refused("case.unknown", case=case_id)
        return stream.state, stream.version


def office_of(streams: Mapping[str, Stream]) -> Office:
    """The office out of the streams of ``OFFICE``."""
    return Office(**{d.name: streams[name].state for name, d in OFFICE.items()})


def recorded(
    codec: Codec, rows: Sequence[tuple[Any, ...]], vault: Vault | None
) -> list[Recorded[Any]]:
    """Rows of ``_SELECT`` as events; with a vault, personal fields in clear."""
    keys = Keys()
    if vault is not None:
        keys = vault.find({key for row in rows for key in codec.keys_in(row[3])})
    return [
        Recorded(
            position,
            stream,
            version,
            codec.decode(name, data)
            if vault is None
            else codec.open(name, data, stream, version, keys),
            name,
            *beside,
        )
        for position, stream, version, data, name, *beside in rows
    ]
