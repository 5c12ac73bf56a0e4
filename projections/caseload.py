"""Caseload (网格工作量): how much each grid carries, and how evenly.

Grids are kept as they are in force, with who worked there when; cases stay with the grid they were
filed in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import chain
from typing import Any, Final

import psycopg

from domain.case import events as e
from domain.history import Recorded
from domain.places import EVERYWHERE, Tier
from domain.staff import UserRestored, UserSuspended
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
from projections import spans
from projections.containment import merged, voided
from projections.projection import Projection
from projections.spans import Span, Spans
from projections.tables import Stepwise, Table

SCHEMA: Final = f"""
CREATE TABLE grids (
    path       text COLLATE "C" NOT NULL,
    nth        integer NOT NULL,
    begun      bigint  NOT NULL,
    ended      bigint,
    name       text    NOT NULL,
    valid_from date    NOT NULL,
    valid_to   date,
    households integer NOT NULL,
    residents  integer NOT NULL,
    PRIMARY KEY (path, nth)
);
CREATE TABLE workers (
    path   text COLLATE "C" NOT NULL,
    worker text COLLATE "C" NOT NULL,
    nth    integer     NOT NULL,
    begun  bigint      NOT NULL,
    ended  bigint,
    since  timestamptz NOT NULL,
    until  timestamptz,
    PRIMARY KEY (path, worker, nth)
);
CREATE TABLE cases ({spans.COLUMNS}
    filed_at timestamptz NOT NULL,
    dropped  text COLLATE "C",
    PRIMARY KEY ("case", nth)
);
"""

INDEXES: Final = """
CREATE INDEX cases_filed ON cases (filed_at);
CREATE INDEX cases_filed_in ON cases (territory, filed_at)
    INCLUDE (category, size, source, dropped, begun, ended);
"""


@dataclass(slots=True, kw_only=True)
class GridRow:
    """A grid from ``valid_from`` until, without it, ``valid_to``; ``nth`` counts what was said of
    it, ``begun`` and ``ended`` are positions of the log as in ``spans.Span``."""

    path: str
    nth: int
    begun: int
    ended: int | None = None
    name: str
    valid_from: date
    valid_to: date | None = None
    households: int = 0
    residents: int = 0


@dataclass(slots=True, kw_only=True)
class WorkerRow:
    """A worker is assigned to a grid, or (``EVERYWHERE``) suspended, from ``since`` until, without
    it, ``until``; ``nth``, ``begun`` and ``ended`` are as in ``GridRow``.

    Apart, for these are told by two streams, neither of which may wait for the other.
    """

    path: str
    worker: str
    nth: int
    begun: int
    ended: int | None = None
    since: datetime
    until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class CaseRow(Span):
    """A filed case. ``dropped``: void or merged, not counted."""

    filed_at: datetime
    dropped: str | None = None


def _filed(case: str, event: Any) -> CaseRow:
    return CaseRow(
        case=case,
        territory=event.territory,
        category=event.terms.category,
        size=event.terms.size,
        source=event.source,
        filed_at=event.at,
    )


def _reclassified(row: CaseRow, event: Any) -> None:
    row.category = event.terms.category


CASES: Final = Spans(
    name="cases",
    row=CaseRow,
    opens={e.CaseFiled: _filed},
    turns={e.CaseReclassified: _reclassified},
    drops={e.CaseVoided: voided, e.CaseMerged: merged},
    reads={
        e.CaseFiled: "at territory source terms.category terms.size",
        e.CaseReclassified: "terms.category",
        e.CaseVoided: "",
        e.CaseMerged: "",
    },
)
GRIDS: Final = Table("grids", GridRow, key=("path", "nth"))
WORKERS: Final = Table("workers", WorkerRow, key=("path", "worker", "nth"))

TREE_EVENTS: Final = (
    TerritoryCreated,
    TerritoryRenamed,
    GridRedrawn,
    GridSplit,
    GridsMerged,
    HouseholdsRecorded,
)
WORKER_EVENTS: Final = (WorkerAssigned, WorkerReleased, UserSuspended, UserRestored)


class _Grids:
    """The grids that a page speaks of, and all that is said of them."""

    def __init__(self, known: dict[str, GridRow]) -> None:
        self.now = known
        self.over: list[GridRow] = []

    def begin(self, position: int, grid: NewGrid, effective: date) -> None:
        """A grid that was not there before."""
        count = (grid.count.households, grid.count.residents) if grid.count else (0, 0)
        self.now[grid.territory] = GridRow(
            path=grid.territory,
            nth=1,
            begun=position,
            name=grid.name,
            valid_from=effective,
            households=count[0],
            residents=count[1],
        )

    def change(self, position: int, path: str, **changes: Any) -> None:
        """From here on something else is said of a grid."""
        was = self.now[path]
        self.over.append(replace(was, ended=position))
        self.now[path] = replace(was, nth=was.nth + 1, begun=position, **changes)


def fold_grids(grids: _Grids, position: int, event: Any) -> None:
    """Change the grids after an event of the territory tree."""
    match event:
        case TerritoryCreated(tier=Tier.GRID):
            new = NewGrid(territory=event.territory, name=event.name, boundary=None, count=None)
            grids.begin(position, new, event.effective)
        case TerritoryRenamed(tier=Tier.GRID):
            grids.change(position, event.territory, name=event.name)
        case GridSplit():
            grids.change(position, event.territory, valid_to=event.effective)
            for part in event.into:
                grids.begin(position, part, event.effective)
        case GridsMerged():
            for path in event.merged:
                grids.change(position, path, valid_to=event.effective)
            grids.begin(position, event.into, event.effective)
        case HouseholdsRecorded(territory=path, count=count) if path in grids.now:
            grids.change(position, path, households=count.households, residents=count.residents)


_Workers = dict[tuple[str, str], list[WorkerRow]]
"""What is said of each worker in each grid, the last at the end."""


def fold_workers(workers: _Workers, position: int, event: Any) -> None:
    """Change who works where after an event; what was left out before changes nothing."""
    match event:
        case WorkerAssigned(territory=path, worker=worker):
            _begin(workers.setdefault((path, worker), []), path, worker, position, event.at)
        case UserSuspended(user=worker):
            rows = workers.setdefault((EVERYWHERE, worker), [])
            _begin(rows, EVERYWHERE, worker, position, event.at)
        case WorkerReleased(territory=path, worker=worker):
            _end(workers.get((path, worker), []), position, event.at)
        case UserRestored(user=worker):
            _end(workers.get((EVERYWHERE, worker), []), position, event.at)


def _begin(rows: list[WorkerRow], path: str, worker: str, position: int, at: datetime) -> None:
    if not rows or rows[-1].until is not None:
        nth = rows[-1].nth + 1 if rows else 1
        rows.append(WorkerRow(path=path, worker=worker, nth=nth, begun=position, since=at))


def _end(rows: list[WorkerRow], position: int, at: datetime) -> None:
    if rows and rows[-1].until is None:
        was = rows[-1]
        rows[-1] = replace(was, ended=position)
        rows.append(replace(was, nth=was.nth + 1, begun=position, until=at))


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Fold a page into the tables."""
    yield from CASES.steps(connection, page, fresh)
    if tree := [recorded for recorded in page if isinstance(recorded.event, TREE_EVENTS)]:
        grids = _Grids({} if fresh else _known(connection))
        for recorded in tree:
            fold_grids(grids, recorded.position, recorded.event)
        GRIDS.save(connection, [*grids.over, *grids.now.values()])
    if moves := [recorded for recorded in page if isinstance(recorded.event, WORKER_EVENTS)]:
        workers = {} if fresh else _known_workers(connection)
        for recorded in moves:
            fold_workers(workers, recorded.position, recorded.event)
        WORKERS.save(connection, list(chain.from_iterable(workers.values())))


CASELOAD: Final = Projection(
    name="caseload",
    version=7,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(GRIDS, WORKERS, CASES.table),
    events=TREE_EVENTS + WORKER_EVENTS + CASES.events,
    apply=apply,
    reads=CASES.reads,
    beside=(),
)


def _known(connection: psycopg.Connection) -> dict[str, GridRow]:
    """All grids as they stand: they are few, and change rarely."""
    rows = connection.execute("SELECT * FROM grids WHERE ended IS NULL")
    return {values[0]: GridRow(**dict(zip(GRIDS.columns, values, strict=True))) for values in rows}


def _known_workers(connection: psycopg.Connection) -> _Workers:
    """The last that is said of each worker in each grid, which are few too."""
    rows = connection.execute(
        "SELECT DISTINCT ON (path, worker) * FROM workers WHERE ended IS NULL"
        " ORDER BY path, worker, nth DESC"
    )
    known = (WorkerRow(**dict(zip(WORKERS.columns, values, strict=True))) for values in rows)
    return {(row.path, row.worker): [row] for row in known}
