"""The log: the library's recorder over one append function, and the way of a command through it.

``LogRecorder`` is an ``ApplicationRecorder`` of ``eventsourcing`` (it passes the library's own test
cases) whose appends are one round trip to ``log.append``: positions without holes, in commit order,
under a role that may append and read but never change. ``EventStore`` loads, decides and appends.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
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
from domain.errors import Conflict, Refused, VersionMismatch
from domain.history import Page, Recorded
from infra.codec import Codec

ATTEMPTS: Final = 5
"""How often a command is decided anew after another writer was faster."""


@dataclass(frozen=True)
class Entry(StoredEvent):
    """A stored event with what stands beside its bytes. ``at`` None means: when the log takes
    it."""

    at: datetime | None = None
    actor: str = ""
    roles: str = ""
    territory: str = ""
    correlation: str = ""
    causation: str = ""


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
        entries = [e if isinstance(e, Entry) else Entry(**vars(e)) for e in stored_events]
        with self._connection() as connection:
            row = connection.execute(
                "SELECT log.append(%s::text[], %s::int[], %s::text[], %s::timestamptz[],"
                " %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[])",
                (
                    [str(e.originator_id) for e in entries],
                    [e.originator_version for e in entries],
                    [e.topic for e in entries],
                    [e.at for e in entries],
                    [e.actor for e in entries],
                    [e.roles for e in entries],
                    [e.territory for e in entries],
                    [e.correlation for e in entries],
                    [e.causation for e in entries],
                    [e.state for e in entries],
                ),
            ).fetchone()
        assert row is not None
        return list(range(row[0], row[0] + len(entries)))

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
            return connection.execute(
                "SELECT e.stream, e.version, e.name, e.data"
                " FROM unnest(%s::text[], %s::int[]) AS known(stream, version)"
                " JOIN log.event e ON e.stream = known.stream AND e.version > known.version"
                " ORDER BY e.position",
                (list(known), list(known.values())),
            ).fetchall()

    def read_history(self, stream: str) -> list[tuple[Any, ...]]:
        """One stream with everything that stands beside the bytes (see ``_recorded``)."""
        with self._connection() as connection:
            return connection.execute(
                sql.SQL("{} WHERE stream = %s ORDER BY version").format(_SELECT), (stream,)
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
    "SELECT position, stream, version, name, data, at, recorded_at, actor, roles, territory,"
    " correlation, causation FROM log.event"
)


def _recorded(codec: Codec, row: tuple[Any, ...]) -> Recorded[Any]:
    position, stream, version, name, data, at, recorded_at, actor, roles, *rest = row
    territory, correlation, causation = rest
    return Recorded(
        position=position,
        stream=stream,
        version=version,
        name=name,
        event=codec.decode(name, data),
        at=at,
        recorded_at=recorded_at,
        actor=actor,
        roles=tuple(roles.split(",")) if roles else (),
        territory=territory,
        correlation=correlation,
        causation=causation,
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a command: the events, the last position, and the version of its stream.

    Without events (nothing needed to change) ``position`` is 0.
    """

    events: tuple[Any, ...]
    position: int
    version: int


@dataclass(slots=True)
class _Stream:
    decider: Decider
    state: Any
    version: int = 0


@dataclass
class Batch:
    """Commands decided one after another on loaded streams, to be appended together."""

    store: "EventStore"
    correlation: str = ""
    streams: dict[str, _Stream] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def load(self, commands: Iterable[Any]) -> None:
        """Bring the streams of some commands here, in one query; those already here stay."""
        wanted = {decider_of(c).stream(c): decider_of(c) for c in commands}
        self.load_streams({s: d for s, d in wanted.items() if s not in self.streams})

    def load_streams(self, wanted: dict[str, Decider]) -> None:
        """Bring streams here by name, in one query."""
        if wanted:
            self.streams |= self.store.load(wanted)

    def decide(
        self, *commands: Any, causation: str = "", correlation: str | None = None
    ) -> list[Any]:
        """Decide commands, and whatever must be stored alongside; all of them, or none.

        ``correlation`` is the batch's own unless another is given.

        Raises:
            Refused: a rule says no. The batch is as it was before the call.
        """
        before: dict[str, _Stream] = {}
        entries: list[Entry] = []
        events: list[Any] = []
        queue = deque(commands)
        try:
            while queue:
                command = queue.popleft()
                self.load([command])
                name = decider_of(command).stream(command)
                stream = self.streams[name]
                before.setdefault(name, replace(stream))
                queue.extendleft(reversed(stream.decider.alongside(stream.state, command)))
                for event in stream.decider.decide(stream.state, command):
                    stream.state = stream.decider.evolve(stream.state, event)
                    stream.version += 1
                    entries.append(
                        self._entry(name, stream.version, event, command, causation, correlation)
                    )
                    events.append(event)
        except BaseException:
            self.streams |= before
            raise
        self.entries += entries
        return events

    def append(self) -> int:
        """Store what was decided and forget it here; returns the last position, 0 for nothing.

        Raises:
            IntegrityError: another writer was faster. Nothing is stored.
        """
        positions = self.store.recorder.insert_events(self.entries)
        self.entries = []
        return positions[-1] if positions else 0

    def _entry(
        self,
        stream: str,
        version: int,
        event: Any,
        command: Any,
        causation: str,
        correlation: str | None,
    ) -> Entry:
        name, data = self.store.codec.encode(event)
        return Entry(
            originator_id=stream,
            originator_version=version,
            topic=name,
            state=data,
            at=event.at,
            actor=command.by.id,
            roles=",".join(command.by.roles),
            territory=getattr(event, "territory", ""),
            correlation=self.correlation if correlation is None else correlation,
            causation=causation,
        )


class EventStore:
    """Executes commands and answers what a stream is, now or at some past version."""

    def __init__(self, recorder: LogRecorder, codec: Codec) -> None:
        self.recorder = recorder
        self.codec = codec
        # The office's configuration is read by almost every command and changes rarely: it is kept
        # folded here and only what is new is read. Guarded, because requests run in threads.
        self._kept: dict[str, _Stream] = {}
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

    def load(self, wanted: dict[str, Decider]) -> dict[str, _Stream]:
        """The present state of streams, in one query."""
        with self._lock:
            found = {
                name: replace(self._kept.get(name) or _Stream(decider, decider.initial))
                for name, decider in wanted.items()
            }
        rows = self.recorder.read_streams({name: s.version for name, s in found.items()})
        for name, version, event_name, data in rows:
            stream = found[name]
            event = self.codec.decode(event_name, data)
            stream.state, stream.version = stream.decider.evolve(stream.state, event), version
        with self._lock:
            for name, stream in found.items():
                kept = self._kept.get(name)
                if stream.decider.single and (kept is None or kept.version < stream.version):
                    self._kept[name] = replace(stream)
        return found

    def office(self) -> Office:
        """The configuration of the office as of now."""
        deciders = {d.stream(None): d for d in (TERRITORY, STAFF, CATALOGUE, CALENDAR)}
        found = self.load(deciders)
        return Office(**{d.name: found[name].state for name, d in deciders.items()})

    def history(self, stream: str) -> list[Recorded[Any]]:
        """All events of one stream with their metadata, oldest first; empty when there is none."""
        return [_recorded(self.codec, row) for row in self.recorder.read_history(stream)]

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


class LogSource:
    """The log as the projection runner reads it."""

    def __init__(self, pool: ConnectionPool, codec: Codec) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_projector``."""
        self._pool = pool
        self._codec = codec

    def head(self) -> int:
        """The last position there is; 0 while the log is empty."""
        with self._pool.connection() as connection:
            row = connection.execute("SELECT position FROM log.head").fetchone()
        return row[0] if row else 0

    def read(self, after: int, upto: int, events: tuple[type, ...]) -> Page:
        """The events of these classes with a position in ``(after, upto]``, in order."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                sql.SQL(
                    "{} WHERE position > %s AND position <= %s AND name = ANY(%s) ORDER BY position"
                ).format(_SELECT),
                (after, upto, self._codec.names_of(events)),
                binary=True,
            ).fetchall()
        return Page([_recorded(self._codec, row) for row in rows], upto)
