"""Migrations among several databases and installations on one cluster."""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.installation import Installation
from infra.migrations import (
    LOGIN_ROLES,
    PARTS,
    MigrationError,
    Part,
    migrate,
    migrations,
    role_dsn,
    role_password,
)
from infra.postgres import EmbeddedPostgres, find_binaries
from infra.settings import Settings

OTHER = b"the secret of another installation"

_numbers = count(1)


@pytest.fixture
def empty(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The conninfo of a database without anything, where the roles are there already."""
    name = f"wangge_empty_{next(_numbers)}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield postgres.dsn(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def locked_out(postgres: EmbeddedPostgres, template: str, secret: bytes) -> Iterator[None]:
    """Roles that cannot sign in, as after a first ``CREATE ROLE``; put right in the end."""
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        for role in LOGIN_ROLES:
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
        yield
        for role in LOGIN_ROLES:
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
    migrate(postgres.dsn(template), secret)


def sign_in(dsn: str, secret: bytes, *parts: Part) -> None:
    """Raises where one of the roles cannot."""
    for role in (role for part in parts or PARTS for role in PARTS[part]):
        psycopg.connect(role_dsn(dsn, secret, role)).close()


def test_a_fresh_database_beside_others_of_the_same_secret(empty: str, secret: bytes) -> None:
    assert migrate(empty, secret)[0] == "001_roles.sql"
    assert migrate(empty, secret) == []
    sign_in(empty, secret)


def test_a_vault_of_its_own_has_no_log_and_the_log_no_vault(
    postgres: EmbeddedPostgres, empty: str, secret: bytes
) -> None:
    vault = [file.name for file in migrations() if file.part == "vault"]
    assert vault == ["005_vault.sql"]
    assert migrate(empty, secret, ["vault"]) == vault
    assert migrate(empty, secret, ["vault"]) == []
    sign_in(empty, secret, "vault")
    with psycopg.connect(empty) as connection:
        assert schemas(connection) == {"vault"}
        rows = connection.execute("SELECT name FROM public.migration").fetchall()
        assert rows == [(name,) for name in vault]
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        sign_in(empty, secret, "log")

    # The log may move in later; what one part has brought stays for the other.
    assert migrate(empty, secret, ["log"]) == [
        file.name for file in migrations() if file.part == "log"
    ]
    with psycopg.connect(empty) as connection:
        assert {"log", "vault"} <= schemas(connection)
    assert migrate(empty, secret) == []


def test_a_log_beside_a_vault_elsewhere_has_no_keys(empty: str, secret: bytes) -> None:
    assert "005_vault.sql" not in migrate(empty, secret, ["log"])
    sign_in(empty, secret, "log")
    with psycopg.connect(empty) as connection:
        assert "vault" not in schemas(connection)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        sign_in(empty, secret, "vault")


def schemas(connection: psycopg.Connection) -> set[str]:
    """What the database holds, but for what every database does."""
    rows = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'"
        " AND nspname NOT IN ('public', 'information_schema')"
    ).fetchall()
    return {row[0] for row in rows}


def test_another_secret_is_refused_and_resets_no_password(
    database: str, empty: str, secret: bytes
) -> None:
    for dsn in (database, empty):
        with pytest.raises(MigrationError, match=r"(?s)secret.*Copy the file.*rebuild search"):
            migrate(dsn, OTHER)
        sign_in(dsn, secret)


def test_a_lost_secret_is_replaced_once_the_roles_are_locked_out(
    database: str, locked_out: None
) -> None:
    assert migrate(database, OTHER) == []
    sign_in(database, OTHER)


def test_migrations_wait_for_those_of_another_database(
    postgres: EmbeddedPostgres, empty: str, secret: bytes, locked_out: None
) -> None:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with (
        psycopg.connect(postgres.dsn("postgres")) as other,
        psycopg.connect(postgres.dsn("postgres"), autocommit=True) as watching,
        ThreadPoolExecutor(1) as thread,
    ):
        for role in LOGIN_ROLES:
            password = sql.Literal(role_password(secret, role))
            change = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            other.execute(change.format(sql.Identifier(role), password))
        migrated = thread.submit(migrate, empty, secret)
        deadline = time.monotonic() + 30
        name = conninfo_to_dict(empty)["dbname"]
        while watching.execute(waiting, (name,)).fetchone() is None:
            assert time.monotonic() < deadline
            assert not migrated.done()
            time.sleep(0.01)
        other.commit()
        assert migrated.result(30)
    sign_in(empty, secret)


def test_no_password_stands_in_a_server_log(
    postgres: EmbeddedPostgres, database: str, secret: bytes, locked_out: None
) -> None:
    migrate(make_conninfo(database, options="-c log_statement=all"), secret)
    said = postgres.log_file.read_text(errors="replace")
    assert 'ALTER ROLE "wangge_app" LOGIN' in said
    for role in LOGIN_ROLES:
        assert role_password(secret, role) not in said


def test_a_log_from_before_keeps_its_times_of_recording_in_order(
    empty: str, secret: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = [each for each in migrations() if each.number < 12]
    with monkeypatch.context() as before:
        before.setattr("infra.migrations.migrations", lambda: earlier)
        migrate(empty, secret)
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO log.event SELECT 1, 'case:a', 1, 'case.reported', t, t,"
            " '', '', '', '', '', '' FROM (SELECT now() + interval '1 hour' AS t)"
        )
        connection.execute("UPDATE log.head SET position = 1")
    migrate(empty, secret)
    with psycopg.connect(role_dsn(empty, secret, "wangge_app")) as connection:
        columns = (["case:a"], [2], ["case.filed"], [None], *[[""]] * 5, [b""])
        connection.execute(
            "SELECT log.append(%s,%s,%s,%s::timestamptz[],%s,%s,%s,%s,%s,%s)", columns
        )
        first, second = connection.execute(
            "SELECT recorded_at FROM log.event ORDER BY position"
        ).fetchall()
    assert first == second


def test_who_may_create_roles_and_has_a_database_needs_no_more(folder: Path, secret: bytes) -> None:
    """As README has it of ``WANGGE_DSN``: a superuser is nowhere asked for."""
    with EmbeddedPostgres(folder, durable=False) as server:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as superuser:
            superuser.execute("CREATE ROLE chief LOGIN CREATEROLE PASSWORD 'of chief'")
            superuser.execute("CREATE DATABASE office OWNER chief")
        chief = make_conninfo(server.dsn("office"), user="chief", password="of chief")
        assert migrate(chief, secret) == [file.name for file in migrations()]
        assert migrate(chief, secret) == []
        sign_in(chief, secret)


def test_an_installation_shows_no_secret(folder: Path) -> None:
    anything: dict[str, Any] = dict.fromkeys(each.name for each in fields(Installation))
    secrets = {"secret": b"hidden-secret", "dsn": "password=hidden-too"}
    shown = repr(Installation(**anything | secrets | {"settings": Settings(data=folder)}))
    assert "hidden" not in shown


def test_a_dump_is_restored_as_readme_has_it_and_without_the_roles_it_is_said(
    postgres: EmbeddedPostgres, database: str, secret: bytes, folder: Path
) -> None:
    programs = find_binaries().path

    def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs / program), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)

    assert run("pg_dump", "-Fc", "-d", database, "-f", "wangge.dump").returncode == 0
    everything = run("pg_dumpall", "--globals-only", "-d", database).stdout.splitlines(True)
    (folder / "roles.sql").write_text("".join(line for line in everything if "wangge_" in line))
    folder.chmod(0o755)
    with EmbeddedPostgres(folder, durable=False) as server:
        dsn = server.dsn("restored")

        def created() -> None:
            with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
                connection.execute("DROP DATABASE IF EXISTS restored")
                connection.execute("CREATE DATABASE restored")

        created()
        run("pg_restore", "-d", dsn, "wangge.dump")
        with pytest.raises(MigrationError, match=r"roles are missing: wangge_owner.*Restoring"):
            migrate(dsn, secret)
        created()
        for program, *words in (
            ("psql", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", "roles.sql"),
            ("pg_restore", "--exit-on-error", "-d", dsn, "wangge.dump"),
        ):
            done = run(program, *words)
            assert (done.returncode, done.stderr) == (0, "")
        assert migrate(dsn, secret) == []
        sign_in(dsn, secret)
        app = role_dsn(dsn, secret, "wangge_app")
        with psycopg.connect(app) as connection:
            assert connection.execute("SELECT position FROM log.head").fetchone() == (0,)
