"""The database's own history: numbered SQL files, each applied once, in order."""

import hashlib
import hmac
from importlib import resources
from typing import Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

LOGIN_ROLES: Final = {
    "wangge_app": "CONNECT",
    "wangge_projector": "CONNECT, CREATE, TEMPORARY",
}
"""The roles that sign in, with what they may do with the database as a whole."""


class Migration(NamedTuple):
    """One file of ``infra/sql``: ``002_log.sql`` is number 2."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hex: an applied file is never edited."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class MigrationError(Exception):
    """The database and the files of this version do not belong together."""


def migrations() -> list[Migration]:
    """All files in order of their numbers."""
    files = resources.files("infra").joinpath("sql").iterdir()
    found = [
        Migration(int(file.name[:3]), file.name, file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def role_password(secret: bytes, role: str) -> str:
    """The password of a database role, derived from the installation's secret, kept nowhere."""
    return hmac.new(secret, f"database role {role}".encode(), hashlib.sha256).hexdigest()


def role_dsn(dsn: str, secret: bytes, role: str) -> str:
    """The conninfo by which a role signs in to the database of another conninfo."""
    return make_conninfo(dsn, user=role, password=role_password(secret, role))


def migrate(dsn: str, secret: bytes) -> list[str]:
    """Bring a database up to date and let its roles sign in; returns the files applied.

    ``dsn`` belongs to a user who may create roles and schemas. Processes that start together wait
    for one another. Raises ``MigrationError`` when an applied file was changed or is newer than
    this version, ``psycopg.Error`` when the database refuses.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('wangge migrations'))")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS public.migration (number integer PRIMARY KEY,"
            " name text NOT NULL, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = connection.execute("SELECT number, name, digest FROM public.migration").fetchall()
        done = {number: (name, digest) for number, name, digest in rows}
        known = migrations()
        _demand_same(known, done)
        fresh = [migration for migration in known if migration.number not in done]
        for migration in fresh:
            connection.execute(migration.text.encode())
            connection.execute("RESET ROLE")
            connection.execute(
                "INSERT INTO public.migration (number, name, digest) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.digest),
            )
        _let_in(connection, secret)
    return [migration.name for migration in fresh]


def _demand_same(known: list[Migration], done: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, digest) in sorted(done.items()):
        migration = by_number.get(number)
        if migration is None:
            raise MigrationError(
                f"The database has migration {name}, which this version of wangge does not know. "
                "Use the newer version that wrote it."
            )
        if migration.digest != digest:
            raise MigrationError(f"The file {migration.name} was changed after it was applied.")


def _let_in(connection: psycopg.Connection, secret: bytes) -> None:
    """Let the app and the projector sign in to this database, and nobody else."""
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for role, rights in LOGIN_ROLES.items():
        connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                sql.SQL(rights), database, sql.Identifier(role)
            )
        )
        connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(role_password(secret, role))
            )
        )
