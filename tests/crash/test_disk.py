"""A disk that is full, or whose fsync fails; each with a planted bug that must be caught."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash.faults import Faults
from tests.crash.invariants import Findings, check
from tests.crash.load import Manner
from tests.crash.world import Office, Plants, World

pytestmark = pytest.mark.crash

SIZE = "400m"


@pytest.fixture(scope="module")
def world(seed: str) -> Iterator[World]:
    """As usual, but on a small disk in memory, where that may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="wangge-crash-"))
    mounted = _mount(folder)
    try:
        with World(folder, seed) as made:
            made.small = mounted
            yield made
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _mount(folder: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    options = f"size={SIZE},mode=711"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "wangge-crash", folder],
        check=False, capture_output=True,
    )  # fmt: skip
    return made.returncode == 0


def _may_trace() -> bool:
    """Whether strace is there and may look into other processes."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"],
        check=False, capture_output=True,
    )  # fmt: skip
    return tried.returncode == 0


def broken(office: Office, seed: str, fault: Callable[[Faults], None]) -> Findings:
    """Let one fault of the disk happen under load, and check."""
    faults = Faults(office, Random(seed))
    with office.running():
        office.begin_load()
        office.wait_for_work(30)
        fault(faults)
        if not faults.wrong:
            office.wait_ready()
            office.wait_for_work(10)
        office.end_load()
        found = check(office)
    found.wrong += faults.wrong
    return found


def test_a_full_disk_loses_nothing(world: World, seed: str) -> None:
    if not world.small:
        pytest.skip("no small disk: mounting a tmpfs is not allowed here")
    found = broken(world.office(), seed, Faults.full_disk)
    assert not found, f"SEED={seed}\n{found}"


def test_a_server_that_takes_an_error_for_success(world: World, seed: str) -> None:
    if not world.small:
        pytest.skip("no small disk: mounting a tmpfs is not allowed here")
    manner = Manner(clients=1, cases=1, pause=0.0, only_notes=True, checks=False)
    office = world.office(manner, plants=Plants(server="takes an error for success"))
    assert broken(office, seed, Faults.full_disk).lost


@pytest.mark.skipif(not _may_trace(), reason="strace is not here, or may not trace")
def test_a_failed_fsync_loses_nothing(world: World, seed: str) -> None:
    found = broken(world.office(), seed, Faults.fsync_error)
    assert not found, f"SEED={seed}\n{found}"


@pytest.mark.skipif(not _may_trace(), reason="strace is not here, or may not trace")
def test_a_database_that_does_not_wait_for_its_disk(world: World, seed: str) -> None:
    world.restart(durable=False)
    try:
        found = broken(world.office(), seed, lambda faults: faults.fsync_error(seconds=3))
    finally:
        world.restart(durable=True)
    assert "I1: an fsync failed, and PostgreSQL went on" in found.wrong
