"""Rebuilding read models: ours, the library's ``ProjectionRunner``, and COPY out as the limit.

One log, all three on the same PostgreSQL (fsync on). Rates are positions of the log a second: a
read model that needs few kinds of events passes over the rest, and that is its merit.

- ours: ``wangge rebuild`` with one worker and with one for each core;
- the library: its runner over its own recorder's table with the same events, the same fold and the
  same tables, a transaction an event; over the first events only, for it takes minutes for what
  ours does in seconds;
- the limit: ``COPY (SELECT …) TO STDOUT`` of what the read model reads, thrown away.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import (
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresTrackingRecorder,
)
from eventsourcing.projection import Projection as LibraryProjection
from eventsourcing.projection import ProjectionRunner
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from domain.history import LOG, Recorded
from infra.cli.models import crew
from infra.codec import Codec
from infra.installation import Installation, opened
from infra.postgres import EmbeddedPostgres
from infra.settings import Settings
from projections import schemas
from projections.blind_index import index_key
from projections.catalog import NAMES, read_models
from projections.projection import Projection
from projections.runner import Runner
from tests.bench import biglog
from tests.bench.measure import (
    Row,
    Side,
    Turn,
    alternate,
    compare,
    cpu_seconds,
    create_database,
    durable_postgres,
    publish,
    rss_mb,
)

CODEC: Final = Codec()


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; ``models``: which of them alone, ``everything``: all together too."""

    events: int = 1_000_000
    peer_events: int = 3_000
    turns: int = 3
    models: tuple[str, ...] = NAMES
    everything: bool = True


QUICK: Final = Size(events=100_000, peer_events=1_000, turns=3)
COUNTING: Final = ("containment", "timeliness", "caseload")

TINY: Final = Size(events=200, peer_events=20, turns=1, models=("containment",), everything=False)


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    with (
        durable_postgres() as server,
        tempfile.TemporaryDirectory() as data,
        opened(Settings(dsn=server.dsn(), data=Path(data))) as installation,
    ):
        head = biglog.fill(server.dsn(), CODEC, installation.vault, size.events)
        models = read_models(index_key(installation.secret))
        library = _Library(server, installation, min(size.peer_events, head))
        rows: list[Row] = []
        for name in size.models:
            rows += _compared(size, server, installation, models[name], library, head)
        if size.everything:
            rows.append(_everything(server, installation, models, head))
    cores = os.cpu_count() or 1
    return publish(
        "rebuild",
        rows,
        notes=(
            f"{head:,} positions; workers: 1, and {cores} where it says all cores.",
            "CPU µs a position: ours in Python; MB: ours, with its workers.",
        ),
    )


def _compared(
    size: Size,
    server: EmbeddedPostgres,
    installation: Installation,
    model: Projection,
    library: "_Library",
    head: int,
) -> list[Row]:
    found = alternate(
        size.turns,
        {
            "ours": partial(ours, server, installation, [model], head, 1),
            "all cores": partial(ours, server, installation, [model], head, os.cpu_count() or 1),
            "library": partial(library.turn, model),
            "limit": partial(copied, server, installation, model, head),
        },
    )
    what = f"rebuild {model.name}"
    return [
        compare(what, found["ours"], found["library"], "library's ProjectionRunner"),
        compare(what, found["ours"], found["limit"], "COPY out (the limit)"),
        compare(f"{what}, all cores", found["all cores"], found["library"], "ProjectionRunner"),
        compare(f"{what}, a core", _of_a_core(found["ours"]), _goal(model.name), "goal"),
    ]


def _of_a_core(side: Side) -> Side:
    """The same by the worker's processor time, which does not ask how busy the machine is."""
    return Side([replace(turn, seconds=max(turn.cpu_seconds, 1e-6)) for turn in side.turns])


def _goal(name: str) -> Side:
    return Side([Turn(500_000 if name in COUNTING else 150_000, 1.0)])


def _everything(
    server: EmbeddedPostgres, installation: Installation, models: dict[str, Projection], head: int
) -> Row:
    """All read models together with all cores, against what five minutes for ten million
    would be."""
    turn = ours(server, installation, list(models.values()), head, os.cpu_count() or 1)
    goal = Side([Turn(10_000_000, 300.0)])
    return compare(f"rebuild all {len(models)}", Side([turn]), goal, "10 million in 5 minutes")


def ours(
    server: EmbeddedPostgres,
    installation: Installation,
    models: Sequence[Projection],
    head: int,
    workers: int,
) -> Turn:
    """Build read models from nothing and put them in place of the live ones."""
    runner = Runner(installation.source, installation.connect_projector, models)
    runner.crew = crew(installation, workers) if workers > 1 else None
    most, looking = 0.0, 0.0

    def look(_: Any) -> None:
        # What the look takes, some milliseconds for each stretch, is no part of the build.
        nonlocal most, looking
        begun = time.process_time()
        most = max(most, rss_mb(os.getpid(), without=server.pid or 0))
        looking += time.process_time() - begun

    python, database = time.process_time(), cpu_seconds(server.pid or 0)
    begun = time.perf_counter()
    runner.rebuild_all(models, on_progress=look)
    took = time.perf_counter() - begun
    spent = time.process_time() - python - looking
    return Turn(head, took, (), most, spent, cpu_seconds(server.pid or 0) - database)


def copied(
    server: EmbeddedPostgres, installation: Installation, model: Projection, head: int
) -> Turn:
    """The columns that a read model reads, out of the database and thrown away."""
    statement = sql.SQL(
        "COPY (SELECT position, stream, version, name, data, at, actor FROM log.event"
        " WHERE name = ANY({}) ORDER BY stream, version) TO STDOUT (FORMAT binary)"
    ).format(sql.Literal(CODEC.names_of(model.events)))
    begun = time.perf_counter()
    with (
        installation.connect_projector() as connection,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for _ in copy:
            pass
    return Turn(head, time.perf_counter() - begun)


# --- the library ---


class _Events(Mapper[Any]):
    """Stored events as ours are read, instead of by the library's topics."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        version, name = stored_event.originator_version, stored_event.topic
        event = CODEC.decode(name, stored_event.state)
        json = CODEC.plain(name, stored_event.state)
        return Recorded(
            getattr(stored_event, "id", 0),
            str(stored_event.originator_id),
            version,
            event,
            name,
            biglog.BEGIN,
            "li",
            "grid_worker",
            biglog.BEGIN,
            json=json,
        )


class _Office(Application[str]):
    def construct_mapper(self) -> Mapper[str]:
        return _Events(super().construct_mapper().transcoder)


class _View(PostgresTrackingRecorder):
    """The tables of a read model beside the library's tracking."""

    model: Projection

    def fold(self, recorded: Recorded[Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            if isinstance(recorded.event, self.model.events):
                connection: Any = cursor.connection
                # The library's own queries, on the same connection, want rows as they were.
                rows = connection.row_factory
                connection.row_factory = tuple_row
                try:
                    schemas.use(connection, self.model.name)
                    self.model.apply(connection, [recorded], False)
                finally:
                    connection.row_factory = rows


class _Folding(LibraryProjection[_View]):
    name = "folding"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.fold(domain_event, tracking)


class _Library:
    """The library's runner over the first events of the log, in databases of its own."""

    def __init__(self, server: EmbeddedPostgres, installation: Installation, events: int) -> None:
        self._server, self._events = server, events
        self._numbers = count(1)
        dsn = create_database(server, "peers")
        with installation.connect_projector() as connection:
            rows = connection.execute(
                "SELECT stream, version, name, data FROM log.event WHERE position <= %s"
                " ORDER BY position",
                (events,),
            ).fetchall()
        with _datastore(dsn) as datastore:
            recorder = PostgresApplicationRecorder(datastore, events_table_name="_office_events")
            recorder.create_table()
            recorder.insert_events([StoredEvent(*row) for row in rows])

    def turn(self, model: Projection) -> Turn:
        """Catch up from nothing."""
        name = f"peers_{next(self._numbers)}"
        with psycopg.connect(self._server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE peers".encode())
        dsn = self._server.dsn(name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            schemas.create(connection, model, model.name, (LOG,), indexed=True)
        view = type("View", (_View,), {"model": model})
        begun = time.perf_counter()
        with ProjectionRunner(
            application_class=_Office,
            projection_class=_Folding,
            view_class=view,
            env=_environment(dsn),
        ) as runner:
            runner.wait(self._events, timeout=600)
        return Turn(self._events, time.perf_counter() - begun)


def _environment(dsn: str) -> dict[str, str]:
    known = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(known["dbname"]),
        "POSTGRES_HOST": str(known["host"]),
        "POSTGRES_PORT": str(known["port"]),
        "POSTGRES_USER": str(known["user"]),
        "POSTGRES_PASSWORD": str(known["password"]),
        "POSTGRES_ORIGINATOR_ID_TYPE": "text",
        "ORIGINATOR_ID_TYPE": "text",
    }


@contextmanager
def _datastore(dsn: str) -> Iterator[PostgresDatastore]:
    known = conninfo_to_dict(dsn)
    datastore = PostgresDatastore(
        dbname=str(known["dbname"]),
        host=str(known["host"]),
        port=str(known["port"]),
        user=str(known["user"]),
        password=str(known["password"]),
        originator_id_type="text",
    )
    try:
        yield datastore
    finally:
        datastore.close()
