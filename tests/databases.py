"""A database of its own for whoever asks: a copy, which takes less than making one."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from infra.migrations import admit
from infra.postgres import EmbeddedPostgres


@contextmanager
def copied(postgres: EmbeddedPostgres, template: str, name: str) -> Iterator[str]:
    """The conninfo (as superuser) of a copy of a database, which is dropped in the end.

    FILE_COPY takes 18 to 34 ms here where WAL_LOG takes 32 to 50.
    """
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        copy_database(connection, template, name)
        yield postgres.dsn(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def copy_database(connection: psycopg.Connection, template: str, name: str) -> None:
    """``template`` has been migrated in the same cluster, and nobody is connected to it."""
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )
    # The rights on a database as a whole are not copied with it.
    admit(connection, name)
