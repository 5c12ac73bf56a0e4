"""Follows the log page by page: fold in memory, write rows and checkpoint in one transaction.

Each projection lives in a schema of its own name, with its checkpoint inside, so a rebuild beside
it can take its place by renaming two schemas in one transaction: readers see the old or the new,
never half of one. The same fold serves catching up and rebuilding.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import psycopg
import structlog
from psycopg import sql

from domain.history import Page, Recorded
from projections.tables import AnyTable

PAGE: Final = 5_000
"""Positions read at a time: enough to make the transaction cheap, little enough to hold in
memory."""

POLL_SECONDS: Final = 2.0
"""How long to wait for a notification before looking anyway: one may be lost with its
connection."""

log = structlog.get_logger()


class Source(Protocol):
    """Where events come from."""

    def head(self) -> int:
        """The last position there is."""
        ...

    def read(self, after: int, upto: int, events: tuple[type, ...]) -> Page:
        """The events of these classes with a position in ``(after, upto]``, in order."""
        ...


@dataclass(frozen=True)
class Projection:
    """One read model. ``apply`` folds a page into the tables of the current search path.

    ``version`` is part of its identity: a changed schema or fold gets a higher one, and is rebuilt.
    """

    name: str
    version: int
    schema: str
    tables: tuple[AnyTable, ...]
    events: tuple[type, ...]
    apply: Callable[[psycopg.Connection, Sequence[Recorded[Any]]], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is. ``rate`` is positions a second, ``left`` seconds."""

    projection: str
    position: int
    head: int
    rate: float
    left: float


class Poisoned(Exception):
    """A projection met an event that it cannot fold. It stays where it is; the others go on."""

    def __init__(self, projection: str, after: int, upto: int) -> None:
        self.projection = projection
        super().__init__(
            f"projection {projection} cannot fold an event in positions {after + 1}-{upto}"
        )


class NotTheSame(Exception):
    """A rebuilt projection differs from the live one."""


OnProgress = Callable[[Progress], None]


class Runner:
    """Keeps projections up to date with a source, and rebuilds them.

    ``connect`` opens an autocommit connection of the role that owns the projections; each method
    opens its own and closes it.
    """

    def __init__(
        self,
        source: Source,
        connect: Callable[[], psycopg.Connection],
        projections: Sequence[Projection],
        *,
        page: int = PAGE,
    ) -> None:
        self.source = source
        self.connect = connect
        self.projections = tuple(projections)
        self.page = page

    def catch_up(self, on_progress: OnProgress | None = None) -> None:
        """Bring every projection to the head of the log; a changed one is rebuilt.

        Raises:
            Poisoned: a projection cannot go on. The others are up to date.
        """
        poisoned: Poisoned | None = None
        with self.connect() as connection:
            for projection in self.projections:
                try:
                    self._prepare(connection, projection, on_progress)
                    self._advance(connection, projection, projection.name, on_progress)
                except Poisoned as error:
                    poisoned = error
        if poisoned is not None:
            raise poisoned

    def follow(self, stop: threading.Event) -> None:
        """Keep up with the log until told to stop, through lost connections.

        A poisoned projection is reported and left alone until the next start; the others go on.
        """
        halted: set[str] = set()
        while not stop.is_set():
            try:
                with self.connect() as connection:
                    # Before the first read: a notification between reading and listening is lost.
                    connection.execute("LISTEN log")
                    while not stop.is_set():
                        self._round(connection, halted)
                        _wait(connection, stop)
            except psycopg.OperationalError as error:
                log.warning("projector.connection_lost", error=str(error).strip())
                stop.wait(0.5)

    def positions(self) -> dict[str, int]:
        """How far each projection is; 0 for one that was never built."""
        with self.connect() as connection:
            return {p.name: _position(connection, p.name) or 0 for p in self.projections}

    def rebuild(
        self,
        projection: Projection,
        *,
        verify: bool = False,
        on_progress: OnProgress | None = None,
    ) -> str:
        """Build a projection anew beside the live one and put it in its place.

        A rebuild that was killed goes on where it stood. With ``verify`` the two are compared at
        the same position first; returns the SHA-256 of the rebuilt tables, hex.

        Raises:
            NotTheSame: they differ, and the live one stays.
            Poisoned: an event cannot be folded.
        """
        beside = f"{projection.name}_rebuild"
        with self.connect() as connection:
            if verify:
                # Compared from the first event on: what an earlier run left behind proves nothing.
                _drop(connection, beside)
            self._create(connection, projection, beside)
            digest = ""
            if verify:
                # One snapshot for checkpoint and rows, while the live projection moves on.
                with _snapshot(connection, projection.name):
                    live_at = _position(connection, projection.name) or 0
                    live = _digest(connection, projection)
                self._advance(connection, projection, beside, on_progress, upto=live_at)
                with _snapshot(connection, beside):
                    digest = _digest(connection, projection)
                if digest != live:
                    _drop(connection, beside)
                    raise NotTheSame(f"{projection.name} at position {live_at}: {digest} ≠ {live}")
            self._advance(connection, projection, beside, on_progress)
            self._swap(connection, projection, beside)
        return digest

    def _round(self, connection: psycopg.Connection, halted: set[str]) -> None:
        for projection in self.projections:
            if projection.name in halted:
                continue
            try:
                self._prepare(connection, projection, None)
                self._advance(connection, projection, projection.name, None)
            except Poisoned as error:
                halted.add(projection.name)
                log.error("projector.poisoned", projection=projection.name, error=str(error))

    def _prepare(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        on_progress: OnProgress | None,
    ) -> None:
        """Make a projection that is missing; rebuild one whose version has changed."""
        version = _version(connection, projection.name)
        if version is None:
            self._create(connection, projection, projection.name)
        elif version != projection.version:
            log.info("projector.changed", projection=projection.name, version=projection.version)
            self.rebuild(projection, on_progress=on_progress)

    def _create(self, connection: psycopg.Connection, projection: Projection, schema: str) -> None:
        if _version(connection, schema) == projection.version:
            return
        _drop(connection, schema)
        with connection.transaction():
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            _within(connection, schema)
            connection.execute(
                "CREATE TABLE checkpoint (version integer NOT NULL, position bigint NOT NULL,"
                " error text)"
            )
            connection.execute("INSERT INTO checkpoint VALUES (%s, 0)", (projection.version,))
            connection.execute(projection.schema.encode())
            connection.execute(
                sql.SQL(
                    "GRANT USAGE ON SCHEMA {0} TO wangge_app;"
                    "GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO wangge_app"
                ).format(sql.Identifier(schema))
            )

    def _advance(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        schema: str,
        on_progress: OnProgress | None,
        upto: int | None = None,
    ) -> None:
        """Fold page after page into a schema until the head (or ``upto``) is reached."""
        head = self.source.head() if upto is None else upto
        started, begun_at = time.monotonic(), None
        while True:
            try:
                with connection.transaction():
                    _within(connection, schema)
                    after = _claim(connection)
                    begun_at = after if begun_at is None else begun_at
                    if after >= head:
                        return
                    last = min(after + self.page, head)
                    self._fold(connection, projection, after, last)
                    connection.execute("UPDATE checkpoint SET position = %s, error = NULL", (last,))
            except Poisoned as error:
                self._note(connection, schema, repr(error.__cause__))
                raise
            if on_progress is not None:
                rate = (last - begun_at) / max(time.monotonic() - started, 1e-6)
                on_progress(Progress(projection.name, last, head, rate, (head - last) / rate))

    def _fold(
        self, connection: psycopg.Connection, projection: Projection, after: int, upto: int
    ) -> None:
        try:
            page = self.source.read(after, upto, projection.events)
            if page.events:
                projection.apply(connection, page.events)
        except psycopg.OperationalError:
            raise
        except Exception as error:
            # Whatever the fold stumbles over, the event is at fault or the fold is: neither may be
            # skipped.
            raise Poisoned(projection.name, after, upto) from error

    def _note(self, connection: psycopg.Connection, schema: str, error: str) -> None:
        """Keep why a projection stands still, where health checks look."""
        with connection.transaction():
            _within(connection, schema)
            connection.execute("UPDATE checkpoint SET error = %s", (error[:1000],))

    def _swap(self, connection: psycopg.Connection, projection: Projection, beside: str) -> None:
        """Put the rebuilt schema in the live one's place, not behind where readers already are."""
        retired = f"{projection.name}_retired"
        with connection.transaction():
            live_at = 0
            if _version(connection, projection.name) is not None:
                _within(connection, projection.name)
                live_at = _claim(connection)
            _within(connection, beside)
            after = _claim(connection)
            while after < live_at:
                last = min(after + self.page, live_at)
                self._fold(connection, projection, after, last)
                connection.execute("UPDATE checkpoint SET position = %s", (last,))
                after = last
            names = {
                "live": sql.Identifier(projection.name),
                "beside": sql.Identifier(beside),
                "retired": sql.Identifier(retired),
            }
            if _version(connection, projection.name) is not None:
                connection.execute(
                    sql.SQL("ALTER SCHEMA {live} RENAME TO {retired}").format(**names)
                )
            connection.execute(sql.SQL("ALTER SCHEMA {beside} RENAME TO {live}").format(**names))
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {retired} CASCADE").format(**names))


def waited_for(
    connection: psycopg.Connection, projection: str, position: int, timeout: float
) -> bool:
    """Wait until a projection has reached a position; False when ``timeout`` seconds were not
    enough.

    The connection must be in autocommit mode: every look needs a snapshot of its own.
    """
    deadline = time.monotonic() + timeout
    while (_position(connection, projection) or 0) < position:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _wait(connection: psycopg.Connection, stop: threading.Event) -> None:
    """Until something is appended, at most ``POLL_SECONDS``; stopping is seen within 0.2 s."""
    deadline = time.monotonic() + POLL_SECONDS
    while not stop.is_set() and time.monotonic() < deadline:
        for _ in connection.notifies(timeout=0.2, stop_after=1):
            return


def _within(connection: psycopg.Connection, schema: str) -> None:
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))


def _claim(connection: psycopg.Connection) -> int:
    """The position of the current schema, whose row is ours until the transaction ends.

    The lock is what makes one leader a projection: whoever else follows it waits here, and then
    starts from where we stopped.
    """
    row = connection.execute("SELECT position FROM checkpoint FOR UPDATE").fetchone()
    assert row is not None
    position: int = row[0]
    return position


def _version(connection: psycopg.Connection, schema: str) -> int | None:
    return _checkpoint(connection, schema, "version")


def _position(connection: psycopg.Connection, schema: str) -> int | None:
    return _checkpoint(connection, schema, "position")


def _checkpoint(connection: psycopg.Connection, schema: str, column: str) -> int | None:
    table = f"{schema}.checkpoint"
    row = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute(
        sql.SQL("SELECT {} FROM {}").format(
            sql.Identifier(column), sql.Identifier(schema, "checkpoint")
        )
    ).fetchone()
    return row[0] if row else None


def _drop(connection: psycopg.Connection, schema: str) -> None:
    with connection.transaction():
        connection.execute(
            sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
        )


@contextmanager
def _snapshot(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _within(connection, schema)
        yield


def _digest(connection: psycopg.Connection, projection: Projection) -> str:
    """SHA-256 over the text of all rows, ordered by key."""
    digest = hashlib.sha256()
    for table in projection.tables:
        statement = sql.SQL("COPY (SELECT * FROM {} ORDER BY {}) TO STDOUT").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.key))
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for block in copy:
                digest.update(block)
        digest.update(table.name.encode())
    return digest.hexdigest()
