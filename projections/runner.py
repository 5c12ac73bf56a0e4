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

DROP_ATTEMPTS: Final = 60
"""How often dropping what was replaced is tried, half a second each, while it is still read."""

log = structlog.get_logger()


class Source(Protocol):
    """Where events come from."""

    def head(self) -> int:
        """The last position there is."""
        ...

    def read(self, after: int, upto: int, events: tuple[type, ...], opened: bool) -> Page:
        """The events of these classes with a position in ``(after, upto]``, in order.

        ``opened``: personal fields read in clear, or forgotten; otherwise all of them are sealed.
        """
        ...


@dataclass(frozen=True)
class Projection:
    """One read model. ``apply`` folds a page into the tables of the current search path.

    ``version`` is part of its identity: a changed schema or fold gets a higher one, and is rebuilt.
    ``opens`` lets it read personal fields: then it answers for what its tables keep of them.
    """

    name: str
    version: int
    schema: str
    tables: tuple[AnyTable, ...]
    events: tuple[type, ...]
    apply: Callable[[psycopg.Connection, Sequence[Recorded[Any]]], None]
    opens: bool = False


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


class Superseded(Exception):
    """A newer version of the program keeps this projection now: this one stands aside."""


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
            Poisoned, Superseded: a projection cannot go on. The others are up to date.
        """
        stopped: Poisoned | Superseded | None = None
        with self.connect() as connection:
            for projection in self.projections:
                try:
                    self._prepare(connection, projection, on_progress)
                    self._advance(connection, projection, projection.name, on_progress)
                except (Poisoned, Superseded) as error:
                    stopped = error
        if stopped is not None:
            raise stopped

    def follow(self, stop: threading.Event) -> None:
        """Keep up with the log until told to stop, through lost connections.

        A projection that is poisoned, or that a newer version keeps, is reported and left alone
        until the next start; the others go on.
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
            except psycopg.Error as error:
                log.warning("projector.interrupted", error=str(error).strip())
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
            Superseded: the live one belongs to a newer version.
        """
        beside = f"{projection.name}_rebuild"
        with self.connect() as connection:
            # One rebuild at a time; closing the connection, or its loss, gives the lock back.
            connection.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"rebuild {projection.name}",)
            )
            if (_version(connection, projection.name) or 0) > projection.version:
                raise Superseded(projection.name)
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
            except (Poisoned, Superseded) as error:
                halted.add(projection.name)
                log.error("projector.halted", projection=projection.name, error=repr(error))

    def _prepare(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        on_progress: OnProgress | None,
    ) -> None:
        """Make a projection that is missing; rebuild one that an older version made."""
        version = _version(connection, projection.name)
        if version is None:
            self._create(connection, projection, projection.name)
        elif version < projection.version:
            log.info("projector.changed", projection=projection.name, version=projection.version)
            try:
                self.rebuild(projection, on_progress=on_progress)
            except Poisoned as error:
                # The live one stands still from here on, and health checks look there.
                self._note(connection, projection.name, repr(error.__cause__))
                raise

    def _create(self, connection: psycopg.Connection, projection: Projection, schema: str) -> None:
        with connection.transaction():
            _lock(connection, schema)
            if _version(connection, schema) == projection.version:
                return
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
            )
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
                    after = _claim(connection, schema, projection.version)
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
            page = self.source.read(after, upto, projection.events, projection.opens)
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
        _drop(connection, retired)
        with connection.transaction():
            _lock(connection, projection.name)
            live_at = _position(connection, projection.name)
            after = _claim(connection, beside, projection.version)
            while after < (live_at or 0):
                last = min(after + self.page, live_at or 0)
                self._fold(connection, projection, after, last)
                connection.execute("UPDATE checkpoint SET position = %s", (last,))
                after = last
            if live_at is not None:
                _rename(connection, projection.name, retired)
            _rename(connection, beside, projection.name)
        # Later, by itself: dropping needs locks that running queries hold, and with those of the
        # swap in hand the two could wait for each other.
        _drop(connection, retired)


def reached(connection: psycopg.Connection, projection: str, position: int) -> bool:
    """Whether a projection knows the log up to a position."""
    return (_position(connection, projection) or 0) >= position


def _wait(connection: psycopg.Connection, stop: threading.Event) -> None:
    """Until something is appended, at most ``POLL_SECONDS``; stopping is seen within 0.2 s."""
    deadline = time.monotonic() + POLL_SECONDS
    while not stop.is_set() and time.monotonic() < deadline:
        for _ in connection.notifies(timeout=0.2, stop_after=1):
            return


def _within(connection: psycopg.Connection, schema: str) -> None:
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))


def _lock(connection: psycopg.Connection, schema: str) -> None:
    """Have a schema to ourselves until the transaction ends.

    An advisory lock, for whoever waits for it holds no lock on a table: a schema can be put in
    another's place meanwhile, and is looked up anew afterwards.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
    # Names may have changed hands while we waited. PostgreSQL hears of it when it locks a relation,
    # not an advisory lock: without this it may still believe that a schema does not exist.
    connection.execute("SELECT FROM pg_namespace LIMIT 0")


def _claim(connection: psycopg.Connection, schema: str, version: int) -> int:
    """The position of a schema, which is ours until the transaction ends: one leader each."""
    _lock(connection, schema)
    _within(connection, schema)
    row = connection.execute("SELECT version, position FROM checkpoint").fetchone()
    assert row is not None
    if row[0] != version:
        raise Superseded(schema)
    position: int = row[1]
    return position


def _rename(connection: psycopg.Connection, schema: str, to: str) -> None:
    connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), sql.Identifier(to))
    )


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
    """Drop a schema that nobody asks for any more, without making a running query wait for us.

    Half a second is less than it takes PostgreSQL to look for a deadlock and to end somebody.
    """
    for attempt in range(DROP_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '500ms'")
                connection.execute(
                    sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
                )
            return
        except psycopg.errors.LockNotAvailable:
            if attempt == DROP_ATTEMPTS - 1:
                raise


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
