"""The sample district as ``wangge demo`` serves it, and the browser it is looked at with."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Playwright

PASSWORD: Final = "wangge-demo"
READY_SECONDS: Final = 240.0
"""Loading the sample takes some 20 s, and much longer where other tests use every core."""

ARGUMENTS: Final = (
    "--no-sandbox",  # as root there is none to be had
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def served() -> Iterator[str]:
    """The address of a demonstration that runs until it is no longer needed.

    ``WANGGE_E2E`` names one that runs already, while stories are being written.
    """
    if running := os.environ.get("WANGGE_E2E"):
        yield running
        return
    data = Path(tempfile.mkdtemp(prefix="wangge-e2e-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANGGE_")}
    environment |= {"WANGGE_DATA": str(data), "WANGGE_PORT": str(port)}
    program = [sys.executable, "-c", "from infra.cli import main; main()", "demo"]
    with (data / "log").open("w") as log:
        server = subprocess.Popen(program, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(server, f"http://127.0.0.1:{port}/api/v1/health", data / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)
            shutil.rmtree(data, ignore_errors=True)


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                if b'"status":"ok"' in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready in {READY_SECONDS:g} s: {log.read_text()[-4000:]}")


def chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium, or the one that ``WANGGE_CHROMIUM`` names.

    Its headless shell is taken where it is installed: the same browser without the window around a
    page, so that opening a page costs half the work. Without any the tests are skipped by name on a
    visitor's machine, and fail where ``CI`` is set.
    """
    known = (shutil.which(name) for name in ("chromium-headless-shell", "chromium"))
    path = os.environ.get("WANGGE_CHROMIUM") or next(filter(None, known), None)
    if path is None:
        why = "needs Chromium: apt install chromium, or WANGGE_CHROMIUM=/path/to/it"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))


def does(address: str, person: str, path: str, /, **body: Any) -> Any:
    """A command of somebody over the API, and its answer."""
    return _sent(f"{address}/api/v1{path}", body, Authorization=f"Bearer {_token(address, person)}")


@cache
def _token(address: str, person: str) -> str:
    known = {"username": person, "password": PASSWORD}
    return str(_sent(f"{address}/api/v1/tokens", known)["access_token"])


def _sent(url: str, body: Any, **headers: str) -> Any:
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
