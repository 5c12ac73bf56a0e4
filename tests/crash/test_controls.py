"""Planted bugs, one for each kind of fault: a harness that misses one of them proves nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest

from tests.crash.district import call
from tests.crash.faults import Faults
from tests.crash.invariants import Findings, check
from tests.crash.load import Manner
from tests.crash.world import Office, Plants, World, wait_for

pytestmark = pytest.mark.crash

ROUNDS = 6

NOTES = Manner(
    clients=1, cases=1, pause=0.04, reads=False, only_notes=True, checks=False, patience=1
)
BUSY = Manner(clients=6, cases=2, pause=0.0, reads=False, checks=False, patience=1)


def caught(
    world: World,
    seed: str,
    as_: Callable[[Findings], object],
    fault: Callable[[Faults], object],
    *,
    manner: Manner = BUSY,
    plants: Plants | None = None,
    plant: Callable[[Office], object] = lambda _: None,
    project: bool = False,
) -> None:
    """Plant, break and check, a few times over: the bug must be found, and as what it is."""
    found = Findings()
    for attempt in range(ROUNDS):
        office = world.office(manner, plants=plants)
        plant(office)
        with office.running(project=project):
            office.begin_load()
            office.wait_for_work(30)
            faults = Faults(office, Random(f"{seed} {attempt}"))
            fault(faults)
            office.end_load()
            found = check(office, rebuild=project)
            found.wrong += faults.wrong
        if as_(found):
            return
    pytest.fail(f"SEED={seed}: the planted bug was not caught; found: {found}")


def lost(found: Findings) -> object:
    return found.lost


def doubled(found: Findings) -> object:
    return found.doubled


def named(invariant: str) -> Callable[[Findings], object]:
    return lambda found: any(line.startswith(invariant) for line in found.wrong)


def kill(name: str) -> Callable[[Faults], object]:
    return lambda faults: faults.kill(name)


def network(name: str, times: int = 1) -> Callable[[Faults], object]:
    def fault(faults: Faults) -> None:
        for _ in range(times):
            faults.network(name)
            faults.office.wait_for_work(5)

    return fault


@contextmanager
def setting(world: World, name: str, value: str) -> Iterator[None]:
    """PostgreSQL with another setting for a while."""
    for text in (f"ALTER SYSTEM SET {name} = '{value}'", f"ALTER SYSTEM RESET {name}"):
        with world.superuser() as connection:
            connection.execute(text.encode())
            connection.execute("SELECT pg_reload_conf()")
        if "SET" in text.split()[:3]:
            yield


def test_a_server_that_answers_before_it_stores(world: World, seed: str) -> None:
    plants = Plants(server="answers before it stores")
    caught(world, seed, lost, kill("server"), manner=NOTES, plants=plants)


def test_a_projector_that_writes_its_checkpoint_first(world: World, seed: str) -> None:
    def fault(faults: Faults) -> None:
        for _ in range(2):
            wait_for("the projector", gets_on(faults.office))
            faults.kill("projector")

    plants = Plants(projector="writes its checkpoint first")
    caught(world, seed, named("I3"), fault, plants=plants, project=True)


def gets_on(office: Office) -> Callable[[], bool]:
    """Whether any read model is further than all are now."""

    def furthest() -> int:
        _, health = call(office.port, "GET", "health")
        return max(int(each["position"]) for each in health["projections"])

    before = furthest()
    return lambda: furthest() > before


@pytest.mark.parametrize("victim", ["postgres", "backend"])
def test_a_database_that_answers_before_its_disk_does(world: World, seed: str, victim: str) -> None:
    def plant(office: Office) -> None:
        with world.superuser() as connection:
            name = office.database
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())

    with setting(world, "wal_writer_delay", "10s"):
        caught(world, seed, lost, kill(victim), plant=plant)


def test_a_log_that_no_crash_may_meet(world: World, seed: str) -> None:
    def plant(office: Office) -> None:
        office.execute("ALTER TABLE log.event SET UNLOGGED")

    caught(world, seed, lost, kill("postgres immediately"), plant=plant)


def test_a_vault_that_no_crash_may_meet(world: World, seed: str) -> None:
    def plant(office: Office) -> None:
        office.execute("ALTER TABLE vault.key SET UNLOGGED")

    caught(world, seed, named("I1: the key"), kill("postgres"), plant=plant)


@pytest.mark.parametrize("fault", ["answer to COMMIT lost", "cut after COMMIT", "before reset"])
def test_a_client_that_sends_again_without_the_key(world: World, seed: str, fault: str) -> None:
    def plant(office: Office) -> None:
        # A server that does not ask what became of an append: this one would have noticed.
        office.execute(
            "CREATE OR REPLACE FUNCTION log.settled(of_stream text, of_version integer,"
            " of_correlation text, of_data bytea) RETURNS bigint"
            " LANGUAGE sql AS 'SELECT NULL::bigint'"
        )

    manner = replace(BUSY, forgets_keys=True, patience=10)
    caught(world, seed, doubled, network(fault, 6), manner=manner, plant=plant)


def test_a_server_that_does_not_look_at_keys(world: World, seed: str) -> None:
    manner = replace(BUSY, checks=True, patience=10)
    plants = Plants(server="forgets the key")
    caught(world, seed, named("I6"), network("before reset", 2), manner=manner, plants=plants)


def test_a_client_that_uses_a_key_twice(world: World, seed: str) -> None:
    manner = replace(NOTES, clients=2, reuses_keys=True)
    caught(world, seed, lost, lambda _: None, manner=manner)


def test_a_server_that_does_not_look_at_if_match(world: World, seed: str) -> None:
    plants = Plants(server="forgets If-Match")
    caught(world, seed, named("I5"), lambda _: None, plants=plants)


def test_a_server_that_reads_what_was(world: World, seed: str) -> None:
    def fault(faults: Faults) -> None:
        load = faults.office.load
        wait_for("some reads", lambda: load.count["reads"] >= 5)
        faults.office.kill_projector()
        read = load.count["reads"]
        wait_for("some reads", lambda: load.count["reads"] >= read + 5)

    manner = Manner(clients=4, cases=2, pause=0.0, only_notes=True, checks=False)
    plants = Plants(server="forgets the position")
    caught(world, seed, named("I5"), fault, manner=manner, plants=plants, project=True)
