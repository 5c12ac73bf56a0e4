"""An answer knows the position that was asked for, though a crash takes the read models back.

The projector does not wait for the disk: what recovery takes back it folds again. In between a
read model knows less than somebody may have seen it know.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from domain.roles import Actor, Grant, Role
from infra.installation import Installation, opened
from infra.settings import Settings
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.gateway import Behind, Gateway
from projections.runner import Runner, reached
from tests import samples
from tests.crash.faults import Faults
from tests.crash.world import Office, World
from tests.projections.test_gateway import carry

pytestmark = pytest.mark.crash

WATCHER = Actor("watcher", (Grant(Role.SUPERVISOR, "d1/"),))


class Breaking(ConnectionPool):
    """Does something to the database before it hands out the next connection but so many."""

    def let(self, work: Callable[[], None], *, after: int) -> None:
        self.work, self.left = work, after

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[psycopg.Connection]:
        if self.left == 0:
            self.work()
            self.check()  # those that are broken are found out before anybody gets them
        self.left -= 1
        with super().connection(timeout) as connection:
            yield connection


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    """A district without processes; its database is found again after a crash."""
    made = world.office()
    yield made
    made.close()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_a_crash_takes_back_is_not_answered(office: Office, seed: str, after: int) -> None:
    settings = Settings(data=office.world.folder / "wangge", dsn=office.environment["WANGGE_DSN"])
    with opened(settings) as installation:
        carry(installation.store, "in_progress", "a")
        _catch_up(installation, "on")
        before = installation.store.case("a")[1]
        with _wal_writer_stopped(office.world):
            position = installation.store.execute(samples.note(case="a")).position
            _catch_up(installation, "off")

            def crash() -> None:
                Faults(office, Random(seed)).kill("postgres")
                with installation.connect_projector() as connection:
                    assert not reached(connection, "worklist", position), "nothing was taken back"

            with Breaking(
                installation.pool.conninfo, kwargs={"autocommit": True}, min_size=1, max_size=2
            ) as pool:
                pool.let(crash, after=after)
                gateway = Gateway(pool, index_key(installation.secret), wait_seconds=0.2)
                try:
                    answered = gateway.card(WATCHER, "a", position).version
                except Behind:
                    return
            assert answered == before + 1


def _catch_up(installation: Installation, synchronous_commit: str) -> None:
    def connect() -> psycopg.Connection:
        connection = installation.connect_projector()
        connection.execute(
            "SELECT set_config('synchronous_commit', %s, false)", (synchronous_commit,)
        )
        return connection

    models = read_models(index_key(installation.secret))
    Runner(installation.source, connect, [models["search"], models["worklist"]]).catch_up()


@contextmanager
def _wal_writer_stopped(world: World) -> Iterator[None]:
    """What does not wait for the disk does not reach it either, meanwhile."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
    with world.superuser() as connection:
        ((pid,),) = connection.execute(query).fetchall()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # Stopped it would outlive its server, which tells it to end before it kills it.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
