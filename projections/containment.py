"""Containment (小事不出网格、大事不出社区): did a matter stay where it belongs.

A case's tier is the highest it ever reached. Reopening takes the old count back: the row says what
holds now, so a figure is restated, never overwritten.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.case import events as e
from domain.history import Recorded
from projections.runner import Projection
from projections.tables import Table, case_id, folding

SCHEMA: Final = """
CREATE TABLE cases (
    "case"     text COLLATE "C" PRIMARY KEY,
    territory  text        COLLATE "C" NOT NULL,
    category   text        COLLATE "C" NOT NULL,
    source     text        COLLATE "C" NOT NULL,
    size       text        COLLATE "C" NOT NULL,
    intake     smallint    NOT NULL,
    filed_at   timestamptz NOT NULL,
    tier       smallint    NOT NULL,
    highest    smallint    NOT NULL,
    ups        integer     NOT NULL,
    downs      integer     NOT NULL,
    reopened   integer     NOT NULL,
    mandated   boolean     NOT NULL,
    closed_at  timestamptz,
    outcome    text        COLLATE "C",
    dropped    text        COLLATE "C"
);
CREATE INDEX cases_closed ON cases (closed_at);
CREATE INDEX cases_territory ON cases (territory);
"""


@dataclass(slots=True)
class Row:
    """One filed case. ``size`` is that of first filing; ``dropped``: void or merged, so
    uncounted."""

    case: str
    territory: str
    category: str
    source: str
    size: str
    intake: int
    filed_at: datetime
    tier: int
    highest: int
    ups: int
    downs: int
    reopened: int
    mandated: bool
    closed_at: datetime | None
    outcome: str | None
    dropped: str | None


CASES: Final = Table("cases", Row, key=("case",))

EVENTS: Final = (
    e.CaseFiled,
    e.CaseReclassified,
    e.CaseEscalated,
    e.CaseReturned,
    e.CaseClosed,
    e.CaseReopened,
    e.CaseVoided,
    e.CaseMerged,
)


def fold(rows: dict[str, Row], recorded: Recorded[Any]) -> None:
    """Change the row of an event's case."""
    case, event = case_id(recorded), recorded.event
    if isinstance(event, e.CaseFiled):
        rows[case] = _filed(case, event)
        return
    row = rows.get(case)
    if row is None:
        return  # merged before it was filed: never counted
    match event:
        case e.CaseReclassified():
            row.category, row.mandated = event.terms.category, event.terms.mandated_up
        case e.CaseEscalated():
            row.ups += 1
            row.tier, row.highest = event.tier, max(row.highest, event.tier)
        case e.CaseReturned():
            row.downs += 1
            row.tier = event.tier
        case e.CaseClosed():
            row.closed_at, row.outcome = event.at, event.outcome
        case e.CaseReopened():
            row.reopened += 1
            row.closed_at, row.outcome = None, None
        case e.CaseVoided():
            row.dropped = "void"
        case e.CaseMerged():
            row.dropped = "merged"


CONTAINMENT: Final = Projection(
    name="containment",
    version=1,
    schema=SCHEMA,
    tables=(CASES,),
    events=EVENTS,
    apply=folding(CASES, fold),
)


def _filed(case: str, event: e.CaseFiled) -> Row:
    return Row(
        case=case,
        territory=event.territory,
        category=event.terms.category,
        source=event.source,
        size=event.terms.size,
        intake=event.intake,
        filed_at=event.at,
        tier=event.tier,
        highest=event.tier,
        ups=0,
        downs=0,
        reopened=0,
        mandated=event.terms.mandated_up,
        closed_at=None,
        outcome=None,
        dropped=None,
    )
