"""Timeliness (按期结案): was a case closed by its adjusted due."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.case import events as e
from domain.history import Recorded
from projections.runner import Projection
from projections.tables import Table, case_id, folding

SCHEMA: Final = """
CREATE TABLE cases (
    "case"    text COLLATE "C" PRIMARY KEY,
    territory text        COLLATE "C" NOT NULL,
    category  text        COLLATE "C" NOT NULL,
    source    text        COLLATE "C" NOT NULL,
    size      text        COLLATE "C" NOT NULL,
    filed_at  timestamptz NOT NULL,
    due       timestamptz,
    parked_at    timestamptz,
    parked_until timestamptz,
    closed_at timestamptz,
    on_time   boolean,
    dropped   text        COLLATE "C"
);
CREATE INDEX cases_closed ON cases (closed_at);
CREATE INDEX cases_open ON cases (due) WHERE closed_at IS NULL;
"""


@dataclass(slots=True)
class Row:
    """One filed case. ``due`` is the adjusted one; ``parked_at`` and ``parked_until`` bound the
    present pause, which has not moved it yet."""

    case: str
    territory: str
    category: str
    source: str
    size: str
    filed_at: datetime
    due: datetime | None
    parked_at: datetime | None
    parked_until: datetime | None
    closed_at: datetime | None
    on_time: bool | None
    dropped: str | None


CASES: Final = Table("cases", Row, key=("case",))

EVENTS: Final = (
    e.CaseFiled,
    e.CaseReclassified,
    e.CaseParked,
    e.CaseResumed,
    e.DeadlineExtended,
    e.DueRecomputed,
    e.CaseClosed,
    e.CaseReopened,
    e.CaseVoided,
    e.CaseMerged,
)


def fold(rows: dict[str, Row], recorded: Recorded[Any]) -> None:
    """Change the row of an event's case."""
    case, event = case_id(recorded), recorded.event
    if isinstance(event, e.CaseFiled):
        rows[case] = Row(
            case=case,
            territory=event.territory,
            category=event.terms.category,
            source=event.source,
            size=event.terms.size,
            filed_at=event.at,
            due=event.due,
            parked_at=None,
            parked_until=None,
            closed_at=None,
            on_time=None,
            dropped=None,
        )
        return
    row = rows.get(case)
    if row is None:
        return  # merged before it was filed: never counted
    match event:
        case e.CaseReclassified():
            row.category, row.due = event.terms.category, event.due
        case e.CaseParked():
            row.parked_at, row.parked_until = event.at, event.until
        case e.CaseResumed():
            row.parked_at, row.parked_until, row.due = None, None, event.due
        case e.DeadlineExtended() | e.DueRecomputed():
            row.due = event.due
        case e.CaseClosed():
            row.closed_at, row.on_time = event.at, event.on_time
        case e.CaseReopened():
            row.due, row.closed_at, row.on_time = event.due, None, None
        case e.CaseVoided():
            row.dropped = "void"
        case e.CaseMerged():
            row.dropped = "merged"


TIMELINESS: Final = Projection(
    name="timeliness",
    version=1,
    schema=SCHEMA,
    tables=(CASES,),
    events=EVENTS,
    apply=folding(CASES, fold),
)
