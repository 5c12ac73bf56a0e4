"""Several server processes behind one socket."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.infra.test_cli import PROGRAM, _address, environment

__all__ = ["environment"]


def children(pid: int) -> set[int]:
    """The processes that serve."""
    serving = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended meanwhile
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                serving.add(int(child))
    return serving


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    """What a condition gives once it holds."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def told(address: str) -> int:
    """How many requests were answered, as Prometheus is told."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as response:
        text = response.read().decode()
    found = re.search(r'wangge_requests_total{.*route="/api/v1/health/live".*} (\d+)', text)
    assert found is not None, text
    return int(found[1])


def test_a_worker_that_dies_is_replaced_and_all_end_together(
    environment: dict[str, str], folder: Path
) -> None:
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--workers", "2"], env=environment, stderr=file
        )
    try:
        address = _address(process, errors)

        def live() -> bool:
            with urllib.request.urlopen(f"{address}/api/v1/health/live", timeout=60) as response:
                return bool(json.load(response))

        for _ in range(20):
            assert live()
        # Whichever of them is asked, it tells of both.
        asked = [told(address) for _ in range(5)]
        assert asked == [20] * 5
        first = wait_for(lambda: (found := children(process.pid)) and len(found) == 2 and found)
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        second = wait_for(
            lambda: (found := children(process.pid)) and len(found - first) == 1 and found
        )
        assert victim not in second
        assert live()
    finally:
        process.send_signal(signal.SIGTERM)
        returned = process.wait(60)
    assert returned == 0, errors.read_text()
    assert "Traceback" not in errors.read_text()
    for child in first | second:
        assert not Path(f"/proc/{child}").exists()
