"""Processes of ``wangge`` that are forked out of one that has imported everything."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
READY_SECONDS: Final = 40.0


class NotReady(TimeoutError):
    """Something did not come up in time."""


class Nursery:
    """The process that forks servers and projectors (``nursery.py``)."""

    def __init__(self, folder: Path) -> None:
        with (folder / "nursery.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.nursery"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"},
                text=True, start_new_session=True,
            )  # fmt: skip

    def start(
        self, *arguments: str, log: Path, environment: dict[str, str], given: str = "",
        plant: str = "",
    ) -> int:  # fmt: skip
        """Fork a ``wangge`` with these arguments; returns its process id."""
        answer = self._ask(
            {
                "arguments": arguments, "environment": environment, "log": str(log),
                "given": given, "plant": plant,
            }
        )  # fmt: skip
        return int(answer["pid"])

    def wait(self, pid: int, seconds: float = READY_SECONDS) -> int:
        """The exit status of a process that ends.

        Raises:
            NotReady: it did not end.
        """
        status = self._ask({"pid": pid, "seconds": seconds})["status"]
        if status is None:
            raise NotReady(f"process {pid} does not end")
        return int(status)

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise NotReady("the nursery has ended; see nursery.log")
        return json.loads(answer)

    def run(
        self, *words: str, environment: dict[str, str], folder: Path, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command to its end, in a folder and with nothing but this environment."""
        with tempfile.TemporaryDirectory(prefix="wangge-test-") as made:
            out, errors = Path(made) / "out", Path(made) / "errors"
            pid = self._ask(
                {
                    "arguments": words, "environment": environment, "log": str(out),
                    "given": given, "plant": "", "errors": str(errors), "folder": str(folder),
                }
            )["pid"]  # fmt: skip
            try:
                status = self.wait(pid, 120)
            except NotReady:
                os.kill(pid, signal.SIGKILL)
                raise
            return subprocess.CompletedProcess(words, status, out.read_text(), errors.read_text())

    def close(self) -> None:
        """End it and all it has started."""
        self._process.communicate()
