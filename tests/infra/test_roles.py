"""The database's roles, tried: nobody who runs in production can change or forge history."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from infra.migrations import role_dsn

INSERT = (
    "INSERT INTO log.event SELECT 99, stream, 99, name, at, recorded_at, actor, roles, territory,"
    " correlation, causation, data FROM log.event"
)

FORBIDDEN = {
    "wangge_app": [
        "UPDATE log.event SET actor = 'somebody else'",
        "DELETE FROM log.event",
        "TRUNCATE log.event",
        INSERT,
        "UPDATE log.head SET position = 0",
        "ALTER TABLE log.event DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON log.event",
        "CREATE OR REPLACE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "SET ROLE wangge_owner",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine ()",
        "DELETE FROM access.credential",
        "SELECT * FROM pg_authid",
        "SET session_replication_role = replica",
    ],
    "wangge_projector": [
        "UPDATE log.event SET actor = 'somebody else'",
        "DELETE FROM log.event",
        "TRUNCATE log.event",
        INSERT,
        "SELECT log.append('{a}','{1}','{n}','{now}','{a}','{-}','{-}','{-}','{-}','{x}')",
        "ALTER TABLE log.event DISABLE TRIGGER ALL",
        "SELECT * FROM access.credential",
        "SET ROLE wangge_owner",
    ],
}


@pytest.fixture
def connect(database: str, secret: bytes) -> Callable[[str], psycopg.Connection]:
    with psycopg.connect(database) as owner:
        owner.execute(
            "SELECT log.append('{a}','{1}','{n}','{now}','{p}','{-}','{-}','{-}','{-}','{x}')"
        )
    return lambda role: psycopg.connect(role_dsn(database, secret, role), autocommit=True)


@pytest.mark.parametrize(
    ("role", "statement"), [(role, s) for role, found in FORBIDDEN.items() for s in found]
)
def test_a_role_cannot(
    connect: Callable[[str], psycopg.Connection], role: str, statement: str
) -> None:
    with (
        connect(role) as connection,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)),
    ):
        connection.execute(sql.SQL(statement))


@pytest.mark.parametrize("statement", ["UPDATE log.event SET actor = ''", "DELETE FROM log.event"])
def test_not_even_the_owner_changes_history_by_accident(database: str, statement: str) -> None:
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute(sql.SQL(statement))


def test_a_role_of_another_secret_is_not_let_in(database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(role_dsn(database, b"another secret of the same length", "wangge_app"))
