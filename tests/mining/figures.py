"""What pm4py finds in event logs: a script for its own virtual environment, never imported by ours.

``python figures.py original FILE | xes FILE | ocel FILE`` prints as JSON how many cases and steps
there are, and how often each sequence of tiers (grid 1, community 2, subdistrict 3) is one case's.
"""

import json
import sys
from typing import Any

import pm4py  # type: ignore[import-not-found]  # lives in a virtual environment of its own

TIERS = {"grid": "1", "community": "2", "subdistrict": "3"}


def original(path: str) -> Any:
    """The steps of the old file, each at the line of support that its group names."""
    # Each tag of that file is on a line of its own: a third of the time.
    steps = pm4py.read_xes(path, variant="line_by_line", show_progress_bar=False)
    steps["line"] = [
        "2" if "2nd" in group else "3" if "3rd" in group else "1" for group in steps["org:group"]
    ]
    return steps


def xes(path: str) -> Any:
    """Of all events that come from one row of the old file, the last: it stands for the row."""
    return rows_of(pm4py.read_xes(path, show_progress_bar=False), "causation", "tier")


def ocel(path: str) -> Any:
    """The same, of the log as its cases see it; of events at the same time, by position."""
    events = pm4py.ocel_flattening(pm4py.read_ocel2_json(path), "case")
    return rows_of(events.sort_values("position", kind="stable"), "causation", "tier")


def rows_of(events: Any, causation: str, tier: str) -> Any:
    """One step for each row of the old file."""
    assert events[causation].notna().all(), "an event of imported history names no row"
    steps = events.drop_duplicates([causation], keep="last").copy()
    steps["line"] = steps[tier].map(TIERS)
    assert steps["line"].notna().all()
    return steps


def figures(steps: Any) -> dict[str, Any]:
    """What is compared."""
    found = pm4py.get_variants(steps, activity_key="line")
    variants = {
        "".join(sequence): cases if isinstance(cases, int) else len(cases)
        for sequence, cases in found.items()
    }
    assert sum(variants.values()) == steps["case:concept:name"].nunique()
    return {
        "cases": int(steps["case:concept:name"].nunique()),
        "steps": len(steps),
        "variants": variants,
    }


if __name__ == "__main__":
    reader = {"original": original, "xes": xes, "ocel": ocel}[sys.argv[1]]
    json.dump(figures(reader(sys.argv[2])), sys.stdout)
