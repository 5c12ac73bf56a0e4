"""Caseload (网格工作量): how much each grid carries, and how evenly.

Grids are kept as they are in force, with their people; cases stay with the grid they were filed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg

from domain.case import events as e
from domain.history import Recorded
from domain.places import Tier
from domain.territory import (
    GridRedrawn,
    GridsMerged,
    GridSplit,
    HouseholdsRecorded,
    NewGrid,
    TerritoryCreated,
    TerritoryRenamed,
    WorkerAssigned,
    WorkerReleased,
)
from projections.runner import Projection
from projections.tables import Table, case_id

SCHEMA: Final = """
CREATE TABLE grids (
    path       text COLLATE "C" PRIMARY KEY,
    name       text    NOT NULL,
    valid_from date    NOT NULL,
    valid_to   date,
    workers    text[]  COLLATE "C" NOT NULL,
    households integer NOT NULL,
    residents  integer NOT NULL
);

CREATE TABLE cases (
    "case"    text COLLATE "C" PRIMARY KEY,
    territory text        COLLATE "C" NOT NULL,
    size      text        COLLATE "C" NOT NULL,
    filed_at  timestamptz NOT NULL,
    dropped   text        COLLATE "C"
);
CREATE INDEX cases_territory ON cases (territory, filed_at);
"""


@dataclass(slots=True)
class GridRow:
    """A grid from ``valid_from`` until, without it, ``valid_to``, with the workers it has now."""

    path: str
    name: str
    valid_from: date
    valid_to: date | None
    workers: list[str]
    households: int
    residents: int


@dataclass(slots=True)
class CaseRow:
    """A filed case. ``dropped``: void or merged, not counted."""

    case: str
    territory: str
    size: str
    filed_at: datetime
    dropped: str | None


GRIDS: Final = Table("grids", GridRow, key=("path",))
CASES: Final = Table("cases", CaseRow, key=("case",))

TREE_EVENTS: Final = (
    TerritoryCreated,
    TerritoryRenamed,
    GridRedrawn,
    GridSplit,
    GridsMerged,
    WorkerAssigned,
    WorkerReleased,
    HouseholdsRecorded,
)
CASE_EVENTS: Final = (e.CaseFiled, e.CaseVoided, e.CaseMerged)


def fold_grid(grids: dict[str, GridRow], event: Any) -> None:
    """Change the grids after an event of the territory tree."""
    match event:
        case TerritoryCreated(tier=Tier.GRID):
            grids[event.territory] = GridRow(
                event.territory, event.name, event.effective, None, [], 0, 0
            )
        case TerritoryRenamed(tier=Tier.GRID):
            grids[event.territory].name = event.name
        case GridSplit():
            grids[event.territory].valid_to = event.effective
            for part in event.into:
                _begin(grids, part, event.effective)
        case GridsMerged():
            for path in event.merged:
                grids[path].valid_to = event.effective
            _begin(grids, event.into, event.effective)
        case WorkerAssigned():
            grid = grids[event.territory]
            grid.workers = sorted({*grid.workers, event.worker})
        case WorkerReleased():
            grid = grids[event.territory]
            grid.workers = [worker for worker in grid.workers if worker != event.worker]
        case HouseholdsRecorded() if event.territory in grids:
            grid = grids[event.territory]
            grid.households, grid.residents = event.count.households, event.count.residents


def fold_case(cases: dict[str, CaseRow], recorded: Recorded[Any]) -> None:
    """Change the row of an event's case."""
    case, event = case_id(recorded), recorded.event
    match event:
        case e.CaseFiled():
            cases[case] = CaseRow(case, event.territory, event.terms.size, event.at, None)
        case e.CaseVoided():
            cases[case].dropped = "void"
        case e.CaseMerged() if case in cases:
            cases[case].dropped = "merged"


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
    """Fold a page into the tables."""
    tree = [recorded.event for recorded in page if isinstance(recorded.event, TREE_EVENTS)]
    if tree:
        grids = GRIDS.load(connection, _touched(tree))
        for event in tree:
            fold_grid(grids, event)
        GRIDS.save(connection, list(grids.values()))
    filed = [recorded for recorded in page if isinstance(recorded.event, CASE_EVENTS)]
    if filed:
        cases = CASES.load(connection, {case_id(recorded) for recorded in filed})
        for recorded in filed:
            fold_case(cases, recorded)
        CASES.save(connection, list(cases.values()))


CASELOAD: Final = Projection(
    name="caseload",
    version=1,
    schema=SCHEMA,
    tables=(GRIDS, CASES),
    events=TREE_EVENTS + CASE_EVENTS,
    apply=apply,
)


def _touched(tree: list[Any]) -> set[str]:
    paths = {event.territory for event in tree}
    for event in tree:
        if isinstance(event, GridsMerged):
            paths |= set(event.merged)
    return paths


def _begin(grids: dict[str, GridRow], grid: NewGrid, effective: date) -> None:
    households, residents = (grid.count.households, grid.count.residents) if grid.count else (0, 0)
    grids[grid.territory] = GridRow(
        grid.territory, grid.name, effective, None, [], households, residents
    )
