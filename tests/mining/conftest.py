"""pm4py in a virtual environment of its own, in a folder that git ignores.

It is under the AGPL, so it is never a dependency: it runs as a program that reads our files. Where
it cannot be fetched its tests are skipped by name on a visitor's machine, and fail where ``CI`` is
set.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

VERSION: Final = "2.7.23.11"
FOLDER: Final = Path(__file__).parents[2] / ".cache" / f"pm4py-{VERSION}"
SCRIPT: Final = Path(__file__).with_name("figures.py")

Mining = Callable[[str, Path], Callable[[], Any]]


@pytest.fixture(scope="session")
def mining() -> Mining:
    """Lets pm4py look into a file of some form, ``original``, ``xes`` or ``ocel``, while we do
    something else: what it gives back waits for the figures."""
    python = FOLDER / "bin" / "python"
    if not (FOLDER / "complete").exists():
        _install(python)

    def start(form: str, path: Path) -> Callable[[], Any]:
        process = subprocess.Popen(
            [python, SCRIPT, form, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def found() -> Any:
            told, errors = process.communicate(timeout=900)
            assert process.returncode == 0, errors[-2_000:]
            # It greets whoever uses it; the figures are the last line.
            return json.loads(told.splitlines()[-1])

        return found

    return start


def _install(python: Path) -> None:
    venv.create(FOLDER, clear=True)
    # By the pip that is here, and no bytecode of what is never imported: half of the time.
    fetch = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        "install",
        "--quiet",
    ]
    done = subprocess.run(
        [sys.executable, *fetch, "--no-compile", "--only-binary", ":all:", f"pm4py=={VERSION}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        what = f"pm4py {VERSION} cannot be fetched: {done.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)
    (FOLDER / "complete").touch()
