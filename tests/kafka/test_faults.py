"""The faults of three nodes, in short: ``make kafka-faults`` is the long form."""

import os
import secrets
from pathlib import Path

import pytest

from tests.kafka.faults import SMALL, carry_out, world

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.crash,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of kafka-python
]


def test_nothing_is_lost_doubled_or_reordered(folder: Path) -> None:
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    print(f"SEED={seed}")
    with world(folder, seed) as made:
        carry_out(made, SMALL)
        assert made.wrong() == []
