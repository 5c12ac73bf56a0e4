"""Building read models from nothing: whole streams at a time, by as many workers as there are.

The streams are divided into stretches of about a page each, written down in a table beside the
rows. A worker takes a stretch that nobody has, reads it once for all that are being built together,
folds it, adds the rows and marks it done, all in one transaction. So it does not matter how many
workers there are, in which order they come to the stretches, or when one of them is killed: what is
done is done, and the rest is still to be taken.

Reading by stream instead of by position means that every case is met once, and as a whole: nothing
is loaded back, and no row is written twice.
"""

import gc
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias

import psycopg
from psycopg import sql

from domain.history import LOG, Reading, Recorded, Unreadable, Wanted
from projections import schemas
from projections.projection import Log, Poison, Poisoned, Projection, Superseded

_PLAN: Final = """
CREATE TABLE bulk (upto bigint NOT NULL);
CREATE TABLE stretch (
    number integer PRIMARY KEY,
    after  text COLLATE "C" NOT NULL,
    until  text COLLATE "C",
    done   boolean NOT NULL DEFAULT false
);
"""


ADDED_TOGETHER: Final = 64
"""Pages that PostgreSQL adds to a table at a time, at most: rows come into them later."""


SORTED_IN: Final = "32MB"
"""What a key or an index is put in order in. It fits into the processor's own memory: an index over
ten million rows takes a quarter less time than in 256 MB, though its runs are merged afterwards."""


SUMMED_IN: Final = "64MB"
"""What sums are added up in: those of ten million events take a twentieth less than in 16 MB."""


PAUSE_SECONDS: Final = 0.5
"""How often somebody who is paused looks whether to go on."""


class Job(NamedTuple):
    """A read model that is built in a schema, out of what it wants."""

    projection: Projection
    schema: str
    wanted: Wanted


class Stretch(NamedTuple):
    """The streams in ``(after, until]`` with their events up to a position; None: to the last."""

    number: int
    after: str
    until: str | None
    upto: int


Stopped: TypeAlias = Poisoned | Superseded
"""Why one of several does not go on."""


def plan(
    connection: psycopg.Connection,
    projection: Projection,
    schema: str,
    source: Log,
    upto: int,
    each: int,
) -> int:
    """Make the empty tables and divide the work, unless a run before was stopped on the way.

    Returns the number of stretches that are still to be done.
    """
    schemas.create(connection, projection, schema, (LOG,), indexed=False)
    with connection.transaction():
        schemas.lock(connection, schema)
        schemas.use(connection, schema)
        if _is_planned(connection):
            row = connection.execute("SELECT count(*) FROM stretch WHERE NOT done").fetchone()
            return row[0] if row else 0
        if schemas.position_of(connection, schema):
            return 0
        connection.execute(_PLAN)
        connection.execute("INSERT INTO bulk VALUES (%s)", (upto,))
        bounds = source.bounds(upto, each)
        ends = zip(["", *bounds], [*bounds, None], strict=True)
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY stretch (number, after, until) FROM STDIN") as copy,
        ):
            for number, (after, until) in enumerate(ends):
                copy.write_row((number, after, until))
        connection.execute("GRANT SELECT ON bulk, stretch TO wangge_app")  # for health checks
    return len(bounds) + 1


def work(
    connection: psycopg.Connection,
    jobs: Iterable[Job],
    source: Log,
    goes_on: Callable[[psycopg.Connection], bool],
) -> dict[str, Stopped]:
    """Take stretches and fold them until none is left, or it is not to go on.

    A projection that is paused is left out meanwhile. ``goes_on`` is asked before each stretch.
    Returns those that cannot go on, by schema: their stretches are not done. ``Poisoned``: an event
    cannot be folded; ``Superseded``: another version of the program has taken the schema away.
    """
    # For the disk, for rows are marked once their commit is there (``Marks``); not for a replica,
    # for a stretch that is lost is folded again.
    connection.execute("SET synchronous_commit = local")
    stopped: dict[str, Stopped] = {}
    going, marks = list(jobs), Marks()
    while going and goes_on(connection):
        paused = schemas.paused(connection)
        ready = [job for job in going if job.projection.name not in paused]
        with _no_garbage(), connection.transaction():
            found = _take(connection, ready, stopped)
            if found is not None:
                marks.set(connection, found[1])
                _fold(connection, source, *found, stopped)
        if found is None and not stopped.keys() & {job.schema for job in going}:
            if len(ready) == len(going):
                break
            time.sleep(PAUSE_SECONDS)
        going = [job for job in going if job.schema not in stopped]
    return stopped


def keep_to_one_core(connection: psycopg.Connection, jobs: Sequence[Job]) -> None:
    """Let PostgreSQL do without helpers of its own, where each core has a worker: they would only
    take turns with them, and hand over what they have put in order. The keys and indexes of a
    single read model are made by one worker, beside which there is a core for them."""
    if len(jobs) < 2:
        return
    connection.execute("SET max_parallel_maintenance_workers = 0")
    connection.execute("SET max_parallel_workers_per_gather = 0")
    connection.execute(f"SET maintenance_work_mem = '{SORTED_IN}'".encode())
    connection.execute(f"SET work_mem = '{SUMMED_IN}'".encode())


class Marks:
    """Has the rows of a stretch marked as committed while their pages are still at hand.

    Whoever first meets a row after its transaction marks it, and with checksums PostgreSQL logs
    the whole page for that if a checkpoint has begun since the row was added. Left to the indexes,
    which come to it minutes later, that is most of what a build writes. A commit that does not wait
    for the disk is not marked before it is there, and 31 others that PostgreSQL keeps one place in
    the log for: so each stretch waits, and this goes over the pages that were there before the last
    one.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], tuple[int, int]] = {}

    def set(self, connection: psycopg.Connection, jobs: Iterable[Job]) -> int:
        """To be called before each stretch; returns how many rows it went over."""
        tables = [
            (job.schema, table.name)
            for job in jobs
            for table in job.projection.tables
            if table.copied
        ]
        if not tables:
            return 0
        looks = [self._look(sql.Identifier(*each), self._ends.get(each, (0, 0))) for each in tables]
        row = connection.execute(sql.SQL("SELECT ") + sql.SQL(", ").join(looks)).fetchone()
        assert row is not None
        for each, end in zip(tables, row[::2], strict=True):
            self._ends[each] = self._ends.get(each, (0, 0))[1], end
        return sum(row[1::2])

    @staticmethod
    def _look(table: sql.Identifier, pages: tuple[int, int]) -> sql.Composed:
        """The number of pages a table has, and of rows on those that were added in between."""
        begin, end = pages
        return sql.SQL(
            "pg_relation_size({}) / current_setting('block_size')::integer,"
            " (SELECT count(*) FROM {} WHERE ctid >= {} AND ctid < {})"
        ).format(
            sql.Literal(table.as_string()),
            table,
            sql.Literal(f"({max(begin - ADDED_TOGETHER, 0)},0)"),
            sql.Literal(f"({end},0)"),
        )


def _fold(
    connection: psycopg.Connection,
    source: Log,
    stretch: Stretch,
    jobs: Sequence[Job],
    stopped: dict[str, Stopped],
) -> None:
    read = source.streams(stretch.after, stretch.until, stretch.upto, [job.wanted for job in jobs])
    number = {"number": stretch.number}
    try:
        with connection.transaction():
            for job in jobs:
                schemas.use(connection, job.schema)
                job.projection.apply(connection, read(job.wanted), True)
            connection.execute(_done(*(job.schema for job in jobs)), number)
    except psycopg.OperationalError:
        raise
    except Exception:  # noqa: BLE001 - whose it is comes out when each is tried by itself
        _fold_each(connection, read, number, jobs, stopped)


def _fold_each(
    connection: psycopg.Connection,
    read: Reading,
    number: dict[str, int],
    jobs: Sequence[Job],
    stopped: dict[str, Stopped],
) -> None:
    for job in jobs:
        name, page = job.projection.name, None
        try:
            with connection.transaction():
                schemas.use(connection, job.schema)
                page = read(job.wanted)
                job.projection.apply(connection, page, True)
                connection.execute(_done(job.schema), number)
        except psycopg.OperationalError:
            raise
        except Unreadable as error:
            poison = Poison(error.position, error.name, error.stream, repr(error.__cause__))
            stopped[job.schema] = Poisoned(name, poison)
        except Exception as error:
            # Whatever the fold stumbles over, the event is at fault or the fold is: neither may be
            # skipped.
            if page is None:
                raise
            first = _first_bad(connection, job, page)
            poison = Poison(first.position, first.name, first.stream, repr(error))
            stopped[job.schema] = Poisoned(name, poison)


def finish_all(connection: psycopg.Connection, jobs: Collection[Job]) -> bool:
    """Finish several, each by whoever comes to it first. Whether all of them are finished.

    Those that take longest come first: whoever has the last of them has the others waiting.
    """
    rows = schemas.rows_added(connection, [job.schema for job in jobs])

    def labour(job: Job) -> int:
        made = job.projection.indexes
        # One over the words of a row takes as long as twenty over a column.
        return rows.get(job.schema, 0) * (4 + made.count(";") + 20 * made.count("USING gin"))

    left = sorted(jobs, key=labour, reverse=True)
    finished = True
    while left:
        busy = []
        for job in left:
            found = finish(connection, job, waits=False)
            if found is None:
                busy.append(job)
            else:
                finished &= found
        if len(busy) == len(left):  # nothing to do but to wait for one of them
            finished &= bool(finish(connection, busy.pop(0)))
        left = busy
    return finished


def finish(connection: psycopg.Connection, job: Job, *, waits: bool = True) -> bool | None:
    """When no stretch is left: what was put off until the rows are in. Whether it is finished;
    None, unless it ``waits``: somebody else is at it."""
    with connection.transaction():
        if waits:
            schemas.lock(connection, job.schema)
        elif not schemas.try_lock(connection, job.schema):
            return None
        schemas.use(connection, job.schema)
        if not _is_planned(connection):
            return True  # by somebody else, or by a run that was stopped afterwards
        if schemas.version_of(connection, job.schema) != job.projection.version:
            return False  # taken away by another version: ``work`` says so
        left = connection.execute("SELECT number FROM stretch WHERE NOT done LIMIT 1")
        if left.fetchone() is not None:
            return False
        schemas.complete(connection, job.projection)
        if job.projection.settle is not None:
            job.projection.settle(connection)
        schemas.index(connection, job.projection)
        row = connection.execute("SELECT upto FROM bulk").fetchone()
        assert row is not None
        connection.execute("DROP TABLE bulk, stretch")
        schemas.move(connection, LOG, row[0])
    schemas.tidy(connection, job.projection, job.schema)
    return True


def standing(connection: psycopg.Connection, schema: str) -> tuple[int, int] | None:
    """How many positions a build has behind it, and of how many; None where none is under way."""
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.stretch",)).fetchone()
    if row is None or row[0] is None:
        return None
    with connection.transaction():
        schemas.use(connection, schema)
        row = connection.execute(
            "SELECT upto * (SELECT count(*) FILTER (WHERE done) FROM stretch)"
            "   / (SELECT count(*) FROM stretch), upto FROM bulk"
        ).fetchone()
    return (row[0], row[1]) if row else None


@contextmanager
def _no_garbage() -> Iterator[None]:
    """A page is a million objects without a circle: looking for one takes as long as the fold."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_planned(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('bulk')").fetchone() != (None,)


def _take(
    connection: psycopg.Connection, jobs: Sequence[Job], stopped: dict[str, Stopped]
) -> tuple[Stretch, list[Job]] | None:
    """A stretch that is ours until the transaction ends, and whose it is; None: none is left."""
    # One that is being finished, which takes a minute, is left out meanwhile.
    free = schemas.lock_free(connection, [job.schema for job in jobs])
    versions = schemas.versions_of(connection, free)
    present = [job for job in jobs if job.schema in free]
    for job in present:
        if versions.get(job.schema) != job.projection.version:
            stopped[job.schema] = Superseded(job.projection.name)
    going = [job for job in present if job.schema not in stopped]
    planned = _planned(connection, [job.schema for job in going])
    going = [job for job in going if job.schema in planned]
    for nth, job in enumerate(going):
        row = connection.execute(_next(job.schema)).fetchone()
        if row is not None:
            stretch = Stretch(*row[1:])
            others = [other.schema for other in going[nth + 1 :]]
            given = {"number": stretch.number}
            rows = connection.execute(_same(*others), given).fetchall() if others else []
            # Of those that an earlier run has begun the stretches may be others.
            same = {schema for schema, *rest in rows if Stretch(*rest) == stretch}
            return stretch, [job, *(other for other in going[nth + 1 :] if other.schema in same)]
    return None


def _planned(connection: psycopg.Connection, names: Sequence[str]) -> set[str]:
    """Those of some schemas that are being built."""
    rows = connection.execute(
        "SELECT s FROM unnest(%s::text[]) s WHERE to_regclass(s || '.bulk') IS NOT NULL",
        (list(names),),
    )
    return {row[0] for row in rows}


_TAKING: Final = sql.SQL(
    "SELECT * FROM (SELECT {}, number, after, until, (SELECT upto FROM {}) FROM {}"
    " WHERE NOT done {} FOR UPDATE SKIP LOCKED) taken"
)
_DONE: Final = sql.SQL("UPDATE {} SET done = true WHERE number = %(number)s")


@cache
def _next(schema: str) -> bytes:
    """Takes the first stretch of a schema that nobody has."""
    return _taking(schema, "ORDER BY number LIMIT 1").as_bytes(None)


@cache
def _same(*names: str) -> bytes:
    """Takes the stretch of a number in some schemas, where nobody has it."""
    each = [_taking(name, "AND number = %(number)s") for name in names]
    return sql.SQL(" UNION ALL ").join(each).as_bytes(None)


def _taking(schema: str, which: LiteralString) -> sql.Composed:
    tables = [sql.Identifier(schema, table) for table in ("bulk", "stretch")]
    return _TAKING.format(sql.Literal(schema), *tables, sql.SQL(which))


@cache
def _done(*names: str) -> bytes:
    """Says of the stretch of a number in some schemas that it is done."""
    return schemas.all_of([_DONE.format(sql.Identifier(name, "stretch")) for name in names])


def _first_bad(
    connection: psycopg.Connection, job: Job, page: Sequence[Recorded[Any]]
) -> Recorded[Any]:
    """The event without which all before it can be folded: found by halving, leaving nothing."""
    good, bad = 0, len(page)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            with connection.transaction(force_rollback=True):
                schemas.use(connection, job.schema)
                job.projection.apply(connection, page[:middle], True)
            good = middle
        except psycopg.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - which half it is in is the question
            bad = middle
    return page[bad - 1]
