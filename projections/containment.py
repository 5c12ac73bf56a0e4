"""Containment (小事不出网格、大事不出社区): how far up each matter went, and how it ended.

A case's tier is the highest it ever reached. Reopening takes the old count back: the span in which
the case was closed has ended, and the figures of before remain what they were.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.case import events as e
from domain.case.commands import EscalationReason
from projections import spans
from projections.spans import Span, Spans

SCHEMA: Final = f"""
CREATE TABLE cases ({spans.COLUMNS}
    filed_at  timestamptz NOT NULL,
    intake    smallint NOT NULL,
    mandated  boolean  NOT NULL,
    highest   smallint NOT NULL,
    entered   smallint NOT NULL,
    went_up   bigint   NOT NULL,
    ups       integer  NOT NULL,
    downs     integer  NOT NULL,
    reopened  integer  NOT NULL,
    closed_at timestamptz,
    outcome   text COLLATE "C",
    dropped   text COLLATE "C",
    PRIMARY KEY ("case", nth)
);
"""

INDEXES: Final = """
CREATE INDEX cases_closed ON cases (closed_at)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX cases_closed_in ON cases (territory, closed_at)
    INCLUDE (category, size, source, intake, mandated, highest, outcome, begun, ended)
    WHERE closed_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX cases_filed ON cases (filed_at)
    WHERE dropped IS NULL;
CREATE INDEX cases_filed_in ON cases (territory, filed_at)
    INCLUDE (category, size, source, highest, entered, went_up, ups, downs, reopened, begun, ended)
    WHERE dropped IS NULL;
CREATE INDEX cases_dropped ON cases (filed_at) WHERE dropped IS NOT NULL;
"""

REASON_BITS: Final = 16
"""So many reasons to go up can be told apart at each tier."""

_REASONS: Final = {reason.value: bit for bit, reason in enumerate(EscalationReason)}


@dataclass(slots=True, kw_only=True)
class Row(Span):
    """One filed case. ``entered`` has a bit for each tier it was at, the grid's the lowest;
    ``went_up`` one for each tier and reason it went up from and for (``bits``). ``dropped``: void
    or merged, so uncounted."""

    filed_at: datetime
    intake: int
    mandated: bool
    highest: int
    entered: int
    went_up: int = 0
    ups: int = 0
    downs: int = 0
    reopened: int = 0
    closed_at: datetime | None = None
    outcome: str | None = None
    dropped: str | None = None


def bits(tier: int, reason: str | None = None) -> int:
    """The bits of ``went_up`` that say: from this tier, for this reason or any."""
    reasons = 1 << _REASONS[reason] if reason else (1 << REASON_BITS) - 1
    return reasons << ((tier - 1) * REASON_BITS)


def _filed(case: str, event: Any) -> Row:
    return Row(
        case=case,
        territory=event.territory,
        category=event.terms.category,
        size=event.terms.size,
        source=event.source,
        filed_at=event.at,
        intake=event.intake,
        mandated=event.terms.mandated_up,
        highest=event.tier,
        entered=1 << (event.tier - 1),
    )


def _reclassified(row: Row, event: Any) -> None:
    row.category, row.mandated = event.terms.category, event.terms.mandated_up


def _escalated(row: Row, event: Any) -> None:
    row.ups += 1
    row.went_up |= bits(event.from_tier, event.reason)
    row.highest = max(row.highest, event.tier)
    row.entered |= 1 << (event.tier - 1)


def _returned(row: Row, event: Any) -> None:
    row.downs += 1
    row.entered |= 1 << (event.tier - 1)


def _closed(row: Row, event: Any) -> None:
    row.closed_at, row.outcome = event.at, event.outcome


def _reopened(row: Row, _event: Any) -> None:
    row.reopened += 1
    row.closed_at, row.outcome = None, None


def voided(row: Any, _event: Any) -> None:
    """What is void counts in no figure."""
    row.dropped = "void"


def merged(row: Any, _event: Any) -> None:
    """The survivor counts instead."""
    row.dropped = "merged"


CASES: Final = Spans(
    name="cases",
    row=Row,
    opens={e.CaseFiled: _filed},
    turns={
        e.CaseReclassified: _reclassified,
        e.CaseEscalated: _escalated,
        e.CaseReturned: _returned,
        e.CaseClosed: _closed,
        e.CaseReopened: _reopened,
    },
    drops={e.CaseVoided: voided, e.CaseMerged: merged},
    reads={
        e.CaseFiled: "at territory tier source intake terms.category terms.size terms.mandated_up",
        e.CaseReclassified: "terms.category terms.mandated_up",
        e.CaseEscalated: "tier from_tier reason",
        e.CaseReturned: "tier",
        e.CaseClosed: "at outcome",
        e.CaseReopened: "",
        e.CaseVoided: "",
        e.CaseMerged: "",
    },
)

CONTAINMENT: Final = spans.projection("containment", 6, SCHEMA, INDEXES, CASES)
