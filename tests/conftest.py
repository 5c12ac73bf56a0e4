"""What every test may ask for: one PostgreSQL a session, a database of its own a test."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from infra.postgres import EmbeddedPostgres

# A slow machine is no failure: speed is measured by `make bench`, never by a test.
settings.register_profile("wangge", deadline=None)
settings.load_profile("wangge")

_numbers = count(1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder below /tmp, as ``mktemp -d`` makes it: mode 0700, of the user who runs this.

    pytest's own ``tmp_path`` lies in a folder that a root's PostgreSQL cannot enter.
    """
    made = Path(tempfile.mkdtemp(prefix="wangge-test-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The one PostgreSQL of this session; without fsync, so it is not for tests of crashes."""
    made = Path(tempfile.mkdtemp(prefix="wangge-test-"))
    with EmbeddedPostgres(made, durable=False) as server:
        yield server
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def secret() -> bytes:
    """The installation's secret, from which the roles' passwords come (``role_password``)."""
    return b"a secret for tests only, 32 bytes"


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres, secret: bytes) -> str:
    """The name of a migrated database, which ``database`` copies."""
    from infra.migrations import migrate

    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE wangge_template")
    migrate(postgres.dsn("wangge_template"), secret)
    return "wangge_template"


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The conninfo (as superuser) of a fresh, migrated database; dropped after the test.

    FILE_COPY takes 18 to 34 ms here where WAL_LOG takes 32 to 50.
    """
    name = f"wangge_{next(_numbers)}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield postgres.dsn(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
