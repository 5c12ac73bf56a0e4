"""What every test may ask for: one PostgreSQL a session, a database of its own a test."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import pytest
from hypothesis import settings
from psycopg_pool import ConnectionPool

from infra.codec import Codec
from infra.event_store import EventStore, LogRecorder
from infra.log_source import LogSource
from infra.migrations import migrate, role_dsn
from infra.postgres import EmbeddedPostgres
from infra.vault import KeyFile, Vault
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.gateway import Gateway
from projections.runner import Runner
from tests.databases import copied
from tests.forked import Nursery

# A slow machine is no failure: speed is measured by `make bench`, never by a test.
settings.register_profile("wangge", deadline=None)
settings.load_profile("wangge")

MEMORY: Final = Path("/dev/shm")
ROOM: Final = 8 * 2**30
"""Bytes that the servers of all workers together stay far below."""

# Each test has a database of its own: three hundred files made and deleted, 7 us each in memory.
# On a disk it was up to 390 us (ext4 does not give out again at once what was just deleted), two
# thirds of all the time of short tests. That what is stored stays stored is shown on disks, by
# tests/crash.
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    tempfile.tempdir = str(MEMORY)

LONGEST: Final = (
    "tests/mining/",
    "tests/api/test_openapi.py",
    "tests/infra/test_forgetting.py",
    "tests/kafka/test_faults.py",
    "tests/crash/",
    "tests/infra/test_cli.py",
    "tests/bench/",
    "tests/simulation/",
    "tests/infra/test_importers.py",
    "tests/kafka/",
    "tests/api/test_reports.py",
    "tests/infra/test_workers.py",
    "tests/infra/test_attachments.py",
    "tests/projections/test_runner.py",
    "tests/projections/test_rebuild.py",
    "tests/projections/test_metrics.py",
)
"""What takes longest, the longest first: begun last, it would keep one core waiting for another."""

_numbers = count(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In random order, but for what takes longest; no two of one name.

    Of several tests with one name pytest-xdist runs the first, and says nothing of the others.
    """
    names = Counter(item.nodeid for item in items)
    if twice := [name for name, times in names.items() if times > 1]:
        raise pytest.UsageError(f"only one of these would run: {twice}")

    def rank(item: pytest.Item) -> int:
        found = (n for n, name in enumerate(LONGEST) if item.nodeid.startswith(name))
        return next(found, len(LONGEST))

    items.sort(key=rank)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder as ``mktemp -d`` makes it: mode 0700, of the user who runs this.

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
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE wangge_template")
    migrate(postgres.dsn("wangge_template"), secret)
    return "wangge_template"


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The conninfo (as superuser) of a fresh, migrated database; dropped after the test."""
    with copied(postgres, template, f"wangge_{next(_numbers)}") as dsn:
        yield dsn


@pytest.fixture
def pool(database: str, secret: bytes) -> Iterator[ConnectionPool]:
    """Connections as the server has them: role ``wangge_app``, autocommit."""
    with _pool(role_dsn(database, secret, "wangge_app")) as made:
        yield made


@pytest.fixture
def vault(database: str, secret: bytes, folder: Path) -> Iterator[Vault]:
    """The keys of personal data, in the log's own database; their key where a process looks for it
    whose data folder is ``folder / "data"``."""
    (folder / "data").mkdir(exist_ok=True)
    with _pool(role_dsn(database, secret, "wangge_vault")) as made:
        yield Vault(made, KeyFile(folder / "data" / "kek"))


@pytest.fixture
def store(pool: ConnectionPool, vault: Vault) -> EventStore:
    """The event store on a log that is empty."""
    return EventStore(LogRecorder(pool), Codec(), vault)


@pytest.fixture
def runner(database: str, secret: bytes, vault: Vault) -> Iterator[Runner]:
    """The projector of all read models, which starts only when asked to."""
    dsn = role_dsn(database, secret, "wangge_projector")
    with _pool(dsn) as made:
        yield Runner(
            LogSource(made, Codec(), vault),
            lambda: psycopg.connect(dsn, autocommit=True),
            tuple(read_models(index_key(secret)).values()),
        )


@pytest.fixture
def gateway(pool: ConnectionPool, secret: bytes) -> Gateway:
    """The queries of the read models; waits half a second for a position at most."""
    return Gateway(pool, index_key(secret), wait_seconds=0.5)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Runs the command line in processes of its own, which need not import everything anew."""
    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


def _pool(dsn: str) -> ConnectionPool:
    return ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=8, open=False)
