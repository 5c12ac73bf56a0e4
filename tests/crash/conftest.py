"""What the tests of crashes share: a world, with the seed that repeats what it does."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.world import World


@pytest.fixture(scope="session")
def seed() -> str:
    """Of everything that is left to chance; ``SEED=…`` repeats a run."""
    chosen = os.environ.get("SEED") or secrets.token_hex(4)
    print(f"SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
def world(seed: str) -> Iterator[World]:
    """A durable PostgreSQL of its own, on a disk: this one is meant to be killed."""
    folder = Path(tempfile.mkdtemp(prefix="wangge-crash-", dir="/var/tmp"))
    try:
        with World(folder, seed) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
