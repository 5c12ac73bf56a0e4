"""``python -m tests.bench``: measures speed against peers, side by side on this machine."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra import logging
from infra.settings import Settings
from tests.bench import append, http, kafka, lag, query, rebuild, size
from tests.bench import console as pages
from tests.bench.measure import console

BENCHMARKS: Final[dict[str, tuple[Callable[[], Path], Callable[[], Path]]]] = {
    "append": (lambda: append.run(append.Size()), lambda: append.run(append.QUICK)),
    "console": (lambda: pages.run(pages.Size()), lambda: pages.run(pages.QUICK)),
    "http": (lambda: http.run(http.Size()), lambda: http.run(http.QUICK)),
    "kafka": (lambda: kafka.run(kafka.Size()), lambda: kafka.run(kafka.QUICK)),
    "lag": (lambda: lag.run(lag.Size()), lambda: lag.run(lag.QUICK)),
    "rebuild": (lambda: rebuild.run(rebuild.Size()), lambda: rebuild.run(rebuild.QUICK)),
    "query": (lambda: query.run(query.Size()), lambda: query.run(query.QUICK)),
    "size": (lambda: size.run(size.Size()), lambda: size.run(size.QUICK)),
}
"""By name: in full, and quick."""


def main() -> None:
    """Run those asked for, one after another: nothing else should be busy on the machine."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHMARKS), metavar="NAME[,NAME]")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument(
        "--events",
        type=int,
        metavar="N",
        help="rebuild: all read models together, of a log of so many events, and nothing else",
    )
    chosen = parser.parse_args()
    names = [name.strip() for name in chosen.only.split(",")]
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    logging.set_up(Settings(log_level="warning"))
    for name in names:
        full, quick = BENCHMARKS[name]
        if name == "rebuild" and chosen.events:
            file = rebuild.run(rebuild.Size(chosen.events, peer_events=0, models=()))
        else:
            file = quick() if chosen.quick else full()
        console.print(f"→ {file}", highlight=False)


if __name__ == "__main__":
    main()
