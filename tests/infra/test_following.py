"""The whole program, with what follows the log beside it: deadlines, the live feed, webhooks."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg_pool import ConnectionPool

from api.passwords import StoredPasswords
from domain import staff, territory
from domain.places import EVERYWHERE, id_of, parent_of, tier_of
from domain.roles import Grant, Role
from infra.event_store import EventStore
from tests import samples as s
from tests.infra.test_webhooks import hook

PASSWORD = "a password for tests"
PROGRAM = [sys.executable, "-c", "from infra.cli import main; main()"]


@contextmanager
def up(database: str, secret: bytes, folder: Path) -> Iterator[tuple[str, Any]]:
    """The program on a database of the tests: its address, and its process."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "secret").write_bytes(secret)
    (data / "secret").chmod(0o600)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANGGE_")} | {
        "WANGGE_DSN": database,
        "WANGGE_DATA": str(data),
        "WANGGE_PORT": "0",
        "WANGGE_WEBHOOKS_PRIVATE": "true",
    }
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen([*PROGRAM, "up"], env=environment, stderr=file)
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"Ready: (\S+)", errors.read_text())):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.05)
        yield found[1], process
        assert process.wait(60) == 0, errors.read_text()
        assert "Traceback" not in errors.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class Api:
    """Somebody who may do everything here."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.token = ""
        signed_in = self.post("/tokens", {"username": "chief", "password": PASSWORD})
        self.token = signed_in["access_token"]

    def post(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(
            f"{self.address}/api/v1{path}", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """The messages of a stream as they come."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        with closing(connection):
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request("GET", f"/api/v1{path}", headers=headers)
            with connection.getresponse() as response:
                assert response.status == 200
                yield messages(response)


def messages(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The messages of a stream that have data, with what they are called."""
    event = "message"
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


@pytest.fixture
def office(store: EventStore, pool: ConnectionPool) -> None:
    """A place, somebody who may do everything there, and a case that is long overdue."""
    given: dict[str, Any] = {"by": s.SYSTEM, "at": s.START}
    grants = (Grant(Role.ADMINISTRATOR, EVERYWHERE), Grant(Role.ACCEPTOR, s.DISTRICT))
    store.execute(
        *(
            territory.CreateTerritory(
                **given,
                id=id_of(path),
                tier=tier_of(path),
                parent=parent_of(path),
                name=s.NAMES[path],
                effective=date(2026, 1, 1),
            )
            for path in (s.DISTRICT, s.SUBDISTRICT, s.COMMUNITY, s.GRID)
        ),
        staff.AddUser(**given, id="chief", name="主任", grants=grants),
        *s.PATHS["in_progress"],
    )
    StoredPasswords(pool).set("chief", PASSWORD)


@pytest.mark.e2e
def test_what_is_overdue_goes_up_by_itself_and_everybody_hears_of_it(
    office: None, database: str, secret: bytes, folder: Path
) -> None:
    with hook() as city, up(database, secret, folder) as (address, process):
        api = Api(address)
        with api.stream("/feed?after=0") as heard:
            names = [next(heard)[1]["name"] for _ in range(6)]
            assert names == [
                "case.reported",
                "case.filed",
                "case.dispatched",
                "case.accepted",
                "case.deadline_breached",
                "case.escalated",
            ]
            receiver = {"id": "city", "territory": s.DISTRICT, "url": city.url}
            assert api.post("/webhooks", receiver)["secret"].startswith("whsec_")
            report = {"territory": s.GRID, "description": "楼下堆着垃圾", "category": "noise"}
            api.post("/cases", report)
            assert [next(heard)[1]["name"] for _ in range(2)] == ["case.reported", "case.filed"]
            for _ in range(2):
                assert city.come.acquire(timeout=60)
            assert city.names == ["case.reported", "case.filed"]
            process.send_signal(signal.SIGTERM)
            event, why = next(heard)
            assert (event, why["code"]) == ("end", "request.feed_closed")
