"""Pages of the console: how long the first answer takes under load, and how much is sent.

Visitors of several roles open pages of the sample district, each after some thought, as people do;
all of them together and the server share this machine. A page's time ends with its last byte, as
its own parts that come later are pages too. The peer is the limit that a page must keep.
"""

import random
import re
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx

from tests.bench.measure import Row, percentile, publish
from tests.e2e.office import PASSWORD, served

LIMIT_MS: Final = 100.0
FIRST_KB: Final = 600.0
AFTER_KB: Final = 50.0

PAGES: Final = (
    ("dispatcher", "/worklist"),
    ("handler", "/worklist"),
    ("handler", "/cases/{case}"),
    ("grid-worker", "/report"),
    ("supervisor", "/metrics"),
    ("supervisor", "/audit"),
    ("supervisor", "/operations"),
    ("administrator", "/administration"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: visitors, seconds of each's thought on average, seconds in all."""

    visitors: int = 24
    thought: float = 1.5
    seconds: float = 60.0


QUICK: Final = Size(seconds=15.0)
TINY: Final = Size(visitors=2, thought=0.1, seconds=2.0)


@dataclass(slots=True)
class Seen:
    """What came of one page: seconds each, and the bytes that were sent."""

    waits: list[float] = field(default_factory=list)
    first: int = 0
    after: int = 0


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    found = {page: Seen() for page in PAGES}
    with served() as base, ExitStack() as leaving:

        def sign_in(who: str) -> httpx.Client:
            client = _signed_in(base, who)
            leaving.callback(client.close)
            return client

        case = sign_in("handler").get("/api/v1/cases?limit=1").json()["rows"][0]["case"]
        addresses = {(who, path): f"/console{path.format(case=case)}" for who, path in PAGES}
        for (who, path), seen in found.items():
            seen.first, seen.after = _weigh(sign_in(who), addresses[who, path])
        roles = [PAGES[number % len(PAGES)][0] for number in range(size.visitors)]
        visitors = [(sign_in(who), who) for who in roles]
        end = time.monotonic() + size.seconds
        threads = [
            threading.Thread(target=_visit, args=(*each, addresses, found, size, end))
            for each in visitors
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = [row for (who, path), seen in found.items() for row in _rows(f"{path}, {who}", seen)]
    asked = sum(len(seen.waits) for seen in found.values())
    return publish(
        "console",
        rows,
        notes=(f"{size.visitors} visitors, {asked / size.seconds:.1f} pages/s, on the demo data.",),
    )


def _rows(what: str, seen: Seen) -> list[Row]:
    waits = [wait * 1000 for wait in seen.waits]
    p95 = percentile(waits, 0.95)
    if not waits:
        return []
    time_of = _row(f"{what}: p95", p95, LIMIT_MS, "ms", len(waits), waits)
    first = _row(f"{what}: first visit", seen.first / 1000, FIRST_KB, "kB", 1, [])
    after = _row(f"{what}: after it", seen.after / 1000, AFTER_KB, "kB", 1, [])
    return [time_of, first, after]


def _row(what: str, ours: float, limit: float, unit: str, runs: int, waits: list[float]) -> Row:
    return Row(
        what=what,
        ours=round(ours, 2),
        peer=limit,
        peer_name="the limit",
        ratio=round(ours / limit, 3),
        unit=unit,
        runs=runs,
        p50_ms=round(percentile(waits, 0.5), 2),
        p99_ms=round(percentile(waits, 0.99), 2),
        rss_mb=0.0,
    )


def _signed_in(base: str, who: str) -> httpx.Client:
    client = httpx.Client(base_url=base, timeout=60, headers={"Accept": "text/html"})
    body = {"username": who, "password": PASSWORD}
    client.post("/console/session", json=body, headers={"X-Wangge-Console": "1"}).raise_for_status()
    return client


def _weigh(client: httpx.Client, path: str) -> tuple[int, int]:
    """Bytes of a first visit with all that the page names, and of the page alone; as they are sent,
    compressed."""
    page, alone = _fetch(client, path)
    named = {*re.findall(r'(?:src|href)="([^"#]+)', page)}
    files = [name for name in named if "/static/" in name]
    return alone + sum(_fetch(client, urljoin(path, name))[1] for name in files), alone


def _fetch(client: httpx.Client, path: str) -> tuple[str, int]:
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        answer.raise_for_status()
        text = answer.read().decode()
        return text, answer.num_bytes_downloaded


def _visit(
    client: httpx.Client,
    who: str,
    addresses: dict[tuple[str, str], str],
    found: dict[tuple[str, str], Seen],
    size: Size,
    end: float,
) -> None:
    mine = [each for each in PAGES if each[0] == who]
    while time.monotonic() < end:
        time.sleep(random.expovariate(1 / size.thought))
        page = random.choice(mine)
        begun = time.perf_counter()
        client.get(addresses[page]).raise_for_status()
        found[page].waits.append(time.perf_counter() - begun)
