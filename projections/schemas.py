"""The schemas that read models live in: made, locked, renamed, compared and dropped.

Each has a table ``checkpoint`` with a row for each part of its source, so that rows and place move
in one transaction.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

import psycopg
from psycopg import sql

from projections.projection import Poison, Projection, Superseded

DROP_ATTEMPTS: Final = 60
"""How often dropping what was replaced is tried, half a second each, while it is still read."""

_CHECKPOINT: Final = """
CREATE TABLE checkpoint (
    part          text    COLLATE "C" PRIMARY KEY,
    version       integer NOT NULL,
    position      bigint  NOT NULL,
    error         text,
    poison        bigint,
    poison_name   text,
    poison_stream text
)
"""


def create(
    connection: psycopg.Connection,
    projection: Projection,
    schema: str,
    parts: Iterable[str],
    *,
    indexed: bool,
) -> None:
    """Make the empty tables of a read model, unless they are there in its present version."""
    with connection.transaction():
        lock(connection, schema)
        if version_of(connection, schema) == projection.version:
            return
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        use(connection, schema)
        connection.execute(_CHECKPOINT)
        for part in parts:
            connection.execute(
                "INSERT INTO checkpoint (part, version, position) VALUES (%s, %s, 0)",
                (part, projection.version),
            )
        connection.execute(projection.schema.encode())
        if indexed:
            index(connection, projection)
        else:
            _make_ready(connection, projection)
        connection.execute(
            sql.SQL(
                "GRANT USAGE ON SCHEMA {0} TO wangge_app;"
                "GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO wangge_app"
            ).format(name)
        )


def _make_ready(connection: psycopg.Connection, projection: Projection) -> None:
    """Let the tables take many rows: what is done to them all at the end is not done on the way.

    A key costs less after its rows, and a table that grows is vacuumed and analyzed again and again
    by PostgreSQL, which took as long as a sixth of what the build took it.
    """
    for table in projection.tables:
        name = sql.Identifier(table.name)
        connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(name))
        if table.copied and table.keyed:
            key = sql.Identifier(f"{table.name}_pkey")
            connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, key))


def complete(connection: psycopg.Connection, projection: Projection) -> None:
    """Make the keys of a read model in the schema that is used, once all rows are in."""
    for table in projection.tables:
        name = sql.Identifier(table.name)
        connection.execute(sql.SQL("ALTER TABLE {} RESET (autovacuum_enabled)").format(name))
        if table.copied and table.keyed:
            columns = sql.SQL(", ").join(map(sql.Identifier, table.key))
            key = sql.Identifier(f"{table.name}_pkey")
            connection.execute(
                # It may be there, from a build that another version of the program began.
                sql.SQL(
                    "ALTER TABLE {0} DROP CONSTRAINT IF EXISTS {1}, ADD CONSTRAINT {1}"
                    " PRIMARY KEY ({2})"
                ).format(name, key, columns)
            )


def index(connection: psycopg.Connection, projection: Projection) -> None:
    """Make the indexes of a read model in the schema that is used."""
    if projection.indexes:
        connection.execute(projection.indexes.encode())


def tidy(connection: psycopg.Connection, projection: Projection, schema: str) -> None:
    """After many rows came in: what lets the database answer from an index alone, and plan well."""
    for table in projection.tables:
        name = sql.Identifier(schema, table.name)
        how = "ANALYZE {}" if table.by_row else "VACUUM (ANALYZE) {}"
        connection.execute(sql.SQL(how).format(name))


def use(connection: psycopg.Connection, schema: str) -> None:
    """Until the transaction ends, names without a schema are of this one."""
    connection.execute(_using(schema))


@cache
def _using(schema: str) -> bytes:
    return sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)).as_bytes(None)


def lock(connection: psycopg.Connection, *schemas: str, shared: bool = False) -> None:
    """Have schemas to ourselves until the transaction ends, taken in the order given; ``shared``:
    keep them where they are.

    An advisory lock, for whoever waits for it holds no lock on a table: a schema can be put in
    another's place meanwhile, and is looked up anew afterwards.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended(s, 0)) FROM unnest(%s::text[]) s"
        if shared
        else "SELECT pg_advisory_xact_lock(hashtextextended(s, 0)) FROM unnest(%s::text[]) s",
        (list(schemas),),
    )
    connection.execute(_LOOK_ANEW)


def try_lock(connection: psycopg.Connection, schema: str) -> bool:
    """As ``lock`` of one schema, unless somebody else has it: whether we do."""
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (schema,)
    ).fetchone()
    connection.execute(_LOOK_ANEW)
    return row == (True,)


def lock_free(connection: psycopg.Connection, schemas: Iterable[str]) -> list[str]:
    """As ``lock``, shared, of those that nobody has to itself: these."""
    rows = connection.execute(
        "SELECT s FROM unnest(%s::text[]) s"
        " WHERE pg_try_advisory_xact_lock_shared(hashtextextended(s, 0))",
        (list(schemas),),
    ).fetchall()
    connection.execute(_LOOK_ANEW)
    return [row[0] for row in rows]


def rows_added(connection: psycopg.Connection, schemas: Iterable[str]) -> dict[str, int]:
    """About how many rows some schemas were given: as it is reckoned, without any lock."""
    rows = connection.execute(
        "SELECT nspname, sum(pg_stat_get_tuples_inserted(c.oid))::bigint"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = ANY(%s) AND relkind = 'r' GROUP BY nspname",
        (list(schemas),),
    )
    return dict(rows.fetchall())


_LOOK_ANEW: Final = "SELECT FROM pg_namespace LIMIT 0"
"""Names may have changed hands while we waited. PostgreSQL hears of it when it locks a relation,
not an advisory lock: without this it may still believe that a schema does not exist."""


def claim(connection: psycopg.Connection, schema: str, version: int, part: str) -> int:
    """Where a schema is in a part, which is ours until the transaction ends: one leader each.

    Raises:
        Superseded: the schema is of another version.
    """
    with connection.pipeline():  # one round trip, and each statement still after the one before
        lock(connection, schema, shared=True)
        use(connection, schema)
        row = connection.execute(
            "SELECT version, position FROM checkpoint WHERE part = %s FOR UPDATE", (part,)
        ).fetchone()
    if row is None:  # a part that was not there when the schema was made
        connection.execute(
            "INSERT INTO checkpoint (part, version, position)"
            " SELECT %s, min(version), 0 FROM checkpoint HAVING count(*) > 0"
            " ON CONFLICT DO NOTHING",
            (part,),
        )
        return claim(connection, schema, version, part)
    if row[0] != version:
        raise Superseded(schema)
    position: int = row[1]
    return position


def claim_all(connection: psycopg.Connection, versions: Mapping[str, int], part: str) -> list[int]:
    """As ``claim`` of several schemas in the order given, in one round trip; uses none of them.

    Raises:
        Superseded: one of them is of another version, or does not know the part yet.
    """
    with connection.pipeline():
        lock(connection, *versions, shared=True)
        found = connection.execute(_claiming(*versions), {"part": part})
    known = {row[0]: (row[1], row[2]) for row in found}
    for schema, version in versions.items():
        if schema not in known or known[schema][0] != version:
            raise Superseded(schema)
    return [known[schema][1] for schema in versions]


def move_all(
    connection: psycopg.Connection, schemas: Iterable[str], part: str, position: int
) -> None:
    """As ``move`` of several schemas."""
    connection.execute(_moving_all(*schemas), {"position": position, "part": part})


@cache
def _claiming(*schemas: str) -> bytes:
    """One statement for all: of a small page, statements are what costs most."""
    each = sql.SQL(
        "SELECT * FROM (SELECT {} AS schema, version, position FROM {} WHERE part = %(part)s"
        " FOR UPDATE) claimed"
    )
    return (
        sql.SQL(" UNION ALL ")
        .join(
            each.format(sql.Literal(name), sql.Identifier(name, "checkpoint")) for name in schemas
        )
        .as_bytes(None)
    )


_MOVE: Final = sql.SQL(
    "UPDATE {} SET position = %(position)s, error = NULL, poison = NULL, poison_name = NULL,"
    " poison_stream = NULL WHERE part = %(part)s"
)


@cache
def _moving_all(*schemas: str) -> bytes:
    return all_of([_MOVE.format(sql.Identifier(name, "checkpoint")) for name in schemas])


def all_of(changes: Sequence[sql.Composed]) -> bytes:
    """Several changes as one statement."""
    others = sql.SQL(", ").join(
        sql.SQL("{} AS ({})").format(sql.Identifier(f"change_{number}"), change)
        for number, change in enumerate(changes[1:])
    )
    whole = sql.SQL("WITH {} {}").format(others, changes[0]) if changes[1:] else changes[0]
    return whole.as_bytes(None)


_MOVING: Final = _MOVE.format(sql.Identifier("checkpoint")).as_bytes(None)


def move(connection: psycopg.Connection, part: str, position: int) -> None:
    """Say how far the schema that is used has come in a part."""
    connection.execute(_MOVING, {"position": position, "part": part})


def note(connection: psycopg.Connection, schema: str, part: str, poison: Poison) -> None:
    """Keep why a read model stands still, where health checks look."""
    with connection.transaction():
        use(connection, schema)
        connection.execute(
            "UPDATE checkpoint SET error = %s, poison = %s, poison_name = %s, poison_stream = %s"
            " WHERE part = %s",
            (poison.why[:1000], poison.position, poison.name, poison.stream, part),
        )


def versions_of(connection: psycopg.Connection, schemas: Iterable[str]) -> dict[str, int]:
    """As ``version_of`` of several; those that are not there are left out."""
    rows = connection.execute(
        "SELECT s FROM unnest(%s::text[]) s WHERE to_regclass(s || '.checkpoint') IS NOT NULL",
        (list(schemas),),
    ).fetchall()
    if not rows:
        return {}
    return dict(connection.execute(_versions(*(row[0] for row in rows))).fetchall())


@cache
def _versions(*schemas: str) -> bytes:
    each = sql.SQL("SELECT {}, min(version) FROM {}")
    return (
        sql.SQL(" UNION ALL ")
        .join(
            each.format(sql.Literal(name), sql.Identifier(name, "checkpoint")) for name in schemas
        )
        .as_bytes(None)
    )


def version_of(connection: psycopg.Connection, schema: str) -> int | None:
    """The version that a schema was made by; None where there is none."""
    return _checkpoint(connection, schema, "version")


def position_of(connection: psycopg.Connection, schema: str) -> int | None:
    """How far a schema is, in the part that is least far; None where there is none."""
    return _checkpoint(connection, schema, "position")


def positions_of(connection: psycopg.Connection, schema: str) -> dict[str, int]:
    """How far a schema is in each part; empty where there is none."""
    if version_of(connection, schema) is None:
        return {}
    rows = connection.execute(
        sql.SQL("SELECT part, position FROM {} ORDER BY part").format(
            sql.Identifier(schema, "checkpoint")
        )
    )
    return dict(rows.fetchall())


def _checkpoint(connection: psycopg.Connection, schema: str, column: str) -> int | None:
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.checkpoint",)).fetchone()
    if row is None or row[0] is None:
        return None
    row = connection.execute(
        sql.SQL("SELECT min({}) FROM {}").format(
            sql.Identifier(column), sql.Identifier(schema, "checkpoint")
        )
    ).fetchone()
    return row[0] if row else None


def is_paused(connection: psycopg.Connection, name: str) -> bool:
    """Whether somebody has said that a read model is to stand still."""
    row = connection.execute("SELECT FROM projector.paused WHERE projection = %s", (name,))
    return row.fetchone() is not None


def paused(connection: psycopg.Connection) -> set[str]:
    """All that are to stand still."""
    return {row[0] for row in connection.execute("SELECT projection FROM projector.paused")}


def pause(connection: psycopg.Connection, name: str) -> None:
    """Let a read model stand still, a build of it too, until it is resumed."""
    connection.execute(
        "INSERT INTO projector.paused (projection) VALUES (%s) ON CONFLICT DO NOTHING", (name,)
    )


def resume(connection: psycopg.Connection, name: str) -> None:
    """Let it go on."""
    connection.execute("DELETE FROM projector.paused WHERE projection = %s", (name,))


def rename(connection: psycopg.Connection, schema: str, to: str) -> None:
    """Give a schema another name."""
    connection.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), sql.Identifier(to))
    )


def drop(connection: psycopg.Connection, schema: str) -> None:
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
def snapshot(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    """One moment of a schema, for as long as it takes to read it."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        use(connection, schema)
        yield


def digest(connection: psycopg.Connection, projection: Projection) -> str:
    """SHA-256 over the text of all rows of the schema that is used, ordered by key; hex."""
    found = hashlib.sha256()
    for table in projection.tables:
        statement = sql.SQL("COPY (SELECT * FROM {} ORDER BY {}) TO STDOUT").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.key))
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for block in copy:
                found.update(block)
        found.update(table.name.encode())
    return found.hexdigest()
