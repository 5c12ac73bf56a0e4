"""Every fault once, in an order of chance, on one district under load. ``make crash`` does more."""

from random import Random

import pytest

from tests.crash.faults import KILLS, NETWORK, Faults
from tests.crash.invariants import check
from tests.crash.load import Manner
from tests.crash.world import World

pytestmark = pytest.mark.crash


def test_whatever_is_killed_nothing_acknowledged_is_lost_or_doubled(
    world: World, seed: str
) -> None:
    rng = Random(seed)
    office = world.office(Manner(clients=6, cases=5))
    faults = Faults(office, rng)
    todo = [*KILLS, *NETWORK]
    rng.shuffle(todo)
    with office.running():
        office.begin_load()
        for name in todo:
            office.wait_for_work(rng.randint(1, 15))
            if name in KILLS:
                faults.kill(name)
            else:
                faults.network(name)
        office.wait_ready()
        office.count_connections()
        office.end_load()
        found = check(office)
    assert not found, f"SEED={seed} {todo}\n{found}"
    assert not faults.wrong
    assert found.acknowledged > len(todo)
    assert found.sealed
    assert faults.void == 0
    assert faults.recoveries == 3


def test_health_tells_the_truth_while_the_database_is_away(world: World, seed: str) -> None:
    office = world.office()
    faults = Faults(office, Random(seed))
    with office.running():
        faults.outage()
    assert not faults.wrong
    assert faults.recoveries == 1
