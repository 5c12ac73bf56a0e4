"""``python -m tests.crash``: many kills under load, in rounds, and what must hold after each.

    make crash KILLS=1000 SEED=1

A round is some kills on a fresh copy of the district, with network faults in between; after it the
journal is held against the log. The last line is one JSON object. Ctrl-C ends the round at once and
prints what is known by then. The exit status is 1 when anything was lost, doubled or otherwise
wrong.
"""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import structlog

from tests.crash.faults import Faults
from tests.crash.invariants import Findings, check
from tests.crash.load import Manner
from tests.crash.world import Office, World
from tests.forked import NotReady

ROUND: Final = 50
"""Kills on one district, before everything is checked and a fresh one is taken."""

NETWORK_SHARE: Final = 0.2
"""How many of the faults are the network's."""


class Report:
    """What a run has come to so far."""

    def __init__(self, seed: str, kills: int) -> None:
        self.seed = seed
        self.wanted = kills
        self.begun = time.monotonic()
        self.count: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.kills = 0
        self.recoveries = 0
        self.void = 0
        self.acknowledged = 0
        self.found = Findings()
        self.back: dict[str, list[float]] = {}  # by fault: seconds until a command was stored
        self.most_bytes = 0
        self.most_connections = 0

    def add(self, faults: Faults, office: Office, found: Findings) -> None:
        """One more round."""
        self.count += faults.count
        self.told += office.load.count
        self.kills += faults.kills
        self.recoveries += faults.recoveries
        self.void += faults.void
        self.acknowledged += office.load.acknowledged
        self.found += found
        self.most_bytes = max([self.most_bytes, *office.sizes])
        held = (sum(each.values()) for each in office.connected)
        self.most_connections = max([self.most_connections, *held])

    def line(self) -> str:
        """Everything as one JSON object."""
        return json.dumps(self.members(), ensure_ascii=False)

    def members(self) -> dict[str, Any]:
        """What the JSON object says."""
        return {
            "kills": self.kills,
            "acknowledged": self.acknowledged,
            "lost": len(self.found.lost),
            "doubled": len(self.found.doubled),
            "recoveries": self.recoveries,
            "seconds": round(time.monotonic() - self.begun, 1),
            "seed": self.seed,
            "wrong": len(self.found.wrong),
            "void": self.void,
            "unknown": self.found.unknown,
            "events": self.found.events,
            "cases": self.found.cases,
            "operations": self.found.operations,
            "faults": dict(sorted(self.count.items())),
            "back_after": {
                name: {"median": round(median(each), 2), "most": round(max(each), 2)}
                for name, each in sorted(self.back.items())
            },
            "answers": dict(sorted(self.told.items())),
            "most_bytes": self.most_bytes,
            "most_connections": self.most_connections,
        }


def round_(world: World, report: Report, kills: int, rng: Random) -> None:
    """Some kills on a fresh district, and the check."""
    office = world.office(Manner(clients=8, cases=6))
    faults = Faults(office, rng)
    found = Findings()
    try:
        with office.running():
            office.begin_load()
            _break(report, faults, kills)
            office.wait_ready()
            office.end_load()
            found = check(office)
    finally:
        found.wrong += faults.wrong
        report.add(faults, office, found)
        if found:
            print(found, flush=True)


def _break(report: Report, faults: Faults, kills: int) -> None:
    office, rng, said = faults.office, faults.rng, time.monotonic()
    faults.outage()
    while faults.kills < kills:
        _let_them_work(office, rng)
        begun, before = time.monotonic(), Counter(faults.count)
        if rng.random() < NETWORK_SHARE:
            faults.some_network()
        else:
            faults.some_kill()
            office.wait_ready()
        office.wait_for_work(1)
        for name in faults.count - before:
            report.back.setdefault(name, []).append(time.monotonic() - begun)
        if rng.random() < 0.1:
            office.count_connections()
        if time.monotonic() - said > 10:
            said = time.monotonic()
            _progress(report, faults.kills)


def _let_them_work(office: Office, rng: Random) -> None:
    """Some commands more, so that each fault hits work, and some chance within it."""
    office.wait_for_work(rng.randint(1, 40))
    time.sleep(rng.random() * 0.1)


def _progress(report: Report, now: int) -> None:
    done = report.kills + now
    seconds = time.monotonic() - report.begun
    left = (report.wanted - done) * seconds / max(done, 1)
    print(
        f"{done}/{report.wanted} kills, {seconds / max(done, 1):.2f} s each, {left:.0f} s left,"
        f" lost {len(report.found.lost)}, doubled {len(report.found.doubled)}",
        flush=True,
    )


def main() -> int:
    """Run, and say in the end how it went."""
    parser = argparse.ArgumentParser(prog="tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    print(f"seed {given.seed}", flush=True)
    report, rng = Report(given.seed, given.kills), Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="wangge-crash-"))
    failed = False
    try:
        with World(folder, given.seed) as world:
            while report.kills < given.kills:
                round_(world, report, min(ROUND, given.kills - report.kills), rng)
                _progress(report, 0)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        failed = True
    except NotReady as error:
        print(f"not ready: {error}", flush=True)
        failed = True
    finally:
        if given.keep or failed or report.found:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        print(report.line(), flush=True)
    return 1 if failed or report.found else 0


if __name__ == "__main__":
    sys.exit(main())
