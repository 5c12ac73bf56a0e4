"""``python -m tests.kafka``: three brokers, a relay, projectors, and everything that goes wrong.

    make kafka-faults SEED=1

The last line is one JSON object; the exit status is 1 when anything did not hold.
"""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog

from tests.kafka.faults import Plan, carry_out, world

DEFAULT: Final = Plan()


def main() -> int:
    """Run, and say in the end how it went."""
    parser = argparse.ArgumentParser(prog="tests.kafka", description=__doc__)
    parser.add_argument("--relay-kills", type=int, default=DEFAULT.relay_kills)
    parser.add_argument("--projector-kills", type=int, default=DEFAULT.projector_kills)
    parser.add_argument("--leader-kills", type=int, default=DEFAULT.leader_kills)
    parser.add_argument("--waiting", type=int, default=DEFAULT.waiting)
    parser.add_argument("--outage-seconds", type=float, default=DEFAULT.outage_seconds)
    parser.add_argument("--rate", type=int, default=DEFAULT.rate)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    given = vars(parser.parse_args())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    seed = given.pop("seed")
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="wangge-kafka-"))
    with world(folder, seed) as made:
        carry_out(made, Plan(**given))
        wrong = made.wrong()
    line = {
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "wrong": wrong,
        "counts": dict(sorted(made.count.items())),
        "slowest_seconds": dict(sorted(made.slowest.items())),
    }
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
