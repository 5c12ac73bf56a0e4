"""The database's roles, tried: nobody who runs in production can change or forge history."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.line import Line, Query, integer
from infra.migrations import LOGIN_ROLES, role_dsn

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
        "SELECT * FROM vault.key",
        "SELECT * FROM vault.kek",
        "SELECT vault.destroy('{person:a}', NULL)",
        "SELECT * FROM vault.provide('{person:a}', '{1}', '{x}', '{x}', 1)",
        "SET ROLE wangge_vault",
        "SET ROLE wangge_vault_owner",
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
        "SELECT * FROM vault.key",
        "SELECT vault.destroy('{person:a}', NULL)",
        "SET ROLE wangge_vault_owner",
    ],
    "wangge_relay": [
        "UPDATE log.event SET actor = 'somebody else'",
        "DELETE FROM log.event",
        INSERT,
        "SELECT log.append('{a}','{1}','{n}','{now}','{a}','{-}','{-}','{-}','{-}','{x}')",
        "UPDATE log.head SET position = 0",
        "UPDATE relay.log SET id = gen_random_uuid()",
        "DELETE FROM relay.topic",
        "SELECT * FROM log.request",
        "SELECT * FROM access.credential",
        "SELECT * FROM vault.key",
        "SET ROLE wangge_owner",
        "CREATE SCHEMA mine",
        "CREATE TABLE relay.mine ()",
    ],
    "wangge_vault": [
        "SELECT * FROM log.event",
        "SELECT * FROM log.head",
        "SELECT log.append('{a}','{1}','{n}','{now}','{a}','{-}','{-}','{-}','{-}','{x}')",
        "SELECT * FROM access.credential",
        "INSERT INTO vault.key SELECT 'person:b', generation, epoch, wrapped, commitment FROM"
        " vault.key",
        "UPDATE vault.key SET wrapped = 'x', epoch = 1, destroyed_at = NULL",
        "UPDATE vault.key SET commitment = 'x'",
        "DELETE FROM vault.key",
        "TRUNCATE vault.key",
        "INSERT INTO vault.kek VALUES (2, 'x')",
        "UPDATE vault.kek SET commitment = 'x'",
        "DELETE FROM vault.kek",
        "ALTER TABLE vault.key DISABLE TRIGGER ALL",
        "DROP TRIGGER destroyed_for_ever ON vault.key",
        "CREATE OR REPLACE FUNCTION vault.refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
        "SET ROLE wangge_vault_owner",
        "SET ROLE wangge_owner",
        "CREATE TABLE vault.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
    ],
}


@pytest.fixture
def connect(database: str, secret: bytes) -> Callable[[str], psycopg.Connection]:
    with psycopg.connect(database) as owner:
        owner.execute(
            "SELECT log.append('{a}','{1}','{n}','{now}','{p}','{-}','{-}','{-}','{-}','{x}')"
        )
        owner.execute("SELECT vault.add_epoch(1, 'x')")
        owner.execute("SELECT vault.provide('{person:a}', '{1}', '{x}', '{x}', 1)")
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


@pytest.mark.parametrize(
    ("schema", "used_by"),
    [("log", {"wangge_app", "wangge_projector", "wangge_relay"}), ("vault", {"wangge_vault"})],
)
def test_who_gets_into_a_schema(database: str, schema: str, used_by: set[str]) -> None:
    with psycopg.connect(database) as owner:
        rows = owner.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'wangge%%' AND rolcanlogin"
            " AND has_schema_privilege(rolname, %s, 'USAGE')",
            (schema,),
        ).fetchall()
    assert {row[0] for row in rows} == used_by


def test_a_role_of_another_secret_is_not_let_in(database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(role_dsn(database, b"another secret of the same length", "wangge_app"))


def test_sessions_are_in_utc_whatever_the_servers_zone(database: str, secret: bytes) -> None:
    """Where clocks change, thirty days are an hour shorter in spring."""
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(name))
    month = (
        "SELECT extract(epoch FROM timestamptz '2026-04-01 00:00Z'"
        " - (timestamptz '2026-04-01 00:00Z' - interval '30 days'))::integer"
    )
    for role in LOGIN_ROLES:
        with psycopg.connect(role_dsn(database, secret, role)) as connection:
            assert connection.execute(month).fetchone() == (30 * 86_400,)

    async def asked() -> object:
        # What an operator has set stays beside it, on our own kind of connection too.
        given = make_conninfo(database, options="-c work_mem=5MB")
        line = Line(role_dsn(given, secret, "wangge_app"))
        zone, memory = (f"current_setting('{name}')" for name in ("TimeZone", "work_mem"))
        try:
            asked = f"SELECT 1 WHERE {zone} = 'UTC' AND {memory} = '5MB'"
            return await line.ask(Query(b"zone", asked, (integer,)))
        finally:
            await line.close()

    assert asyncio.run(asked()) == [(1,)]
