"""Evaluation (监督评价): what was dispatched and contacted, what was closed and what residents say.

A case has a row of ``dispatches`` and a row of ``closures`` for each of its episodes, which stand
beside one another: a case that was reopened was closed all the same.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.case import events as e
from projections import spans
from projections.containment import merged, voided
from projections.projection import Projection
from projections.spans import Span, Spans

SCHEMA: Final = f"""
CREATE TABLE dispatches ({spans.COLUMNS}
    episode       integer NOT NULL,
    dispatched_at timestamptz,
    contact_due   timestamptz,
    contacted_at  timestamptz,
    failed        integer NOT NULL,
    dropped       text COLLATE "C",
    PRIMARY KEY ("case", nth)
);
CREATE TABLE closures ({spans.COLUMNS}
    episode     integer NOT NULL,
    closed_at   timestamptz,
    reopen_days integer,
    reopened_at timestamptz,
    attempts    integer NOT NULL,
    at_most     integer,
    reached     boolean NOT NULL,
    solved      boolean,
    satisfied   boolean,
    dropped     text COLLATE "C",
    next_reopen_days integer NOT NULL,
    next_at_most     integer NOT NULL,
    PRIMARY KEY ("case", nth)
);
"""

INDEXES: Final = """
CREATE INDEX dispatches_at ON dispatches (dispatched_at)
    WHERE dispatched_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX dispatches_in ON dispatches (territory, dispatched_at)
    INCLUDE (category, size, source, contact_due, contacted_at, failed, episode, begun, ended)
    WHERE dispatched_at IS NOT NULL AND dropped IS NULL;
CREATE INDEX contacts_due ON dispatches (contact_due)
    WHERE contact_due IS NOT NULL AND dropped IS NULL;
CREATE INDEX contacts_due_in ON dispatches (territory, contact_due)
    INCLUDE (category, size, source, dispatched_at, contacted_at, failed, episode, begun, ended)
    WHERE contact_due IS NOT NULL AND dropped IS NULL;
CREATE INDEX dispatches_dropped ON dispatches (dispatched_at) WHERE dropped IS NOT NULL;
CREATE INDEX contacts_dropped ON dispatches (contact_due) WHERE dropped IS NOT NULL;
CREATE INDEX closures_at ON closures (closed_at)
    WHERE closed_at IS NOT NULL;
CREATE INDEX closures_in ON closures (territory, closed_at)
    INCLUDE (category, size, source, reopen_days, reopened_at, attempts, at_most, reached, solved,
             satisfied, dropped, begun, ended)
    WHERE closed_at IS NOT NULL;
"""


@dataclass(slots=True, kw_only=True)
class Dispatch(Span):
    """One episode from its dispatch on. ``failed`` counts the checks that were not passed."""

    episode: int
    dispatched_at: datetime | None = None
    contact_due: datetime | None
    contacted_at: datetime | None = None
    failed: int = 0
    dropped: str | None = None


@dataclass(slots=True, kw_only=True)
class Closure(Span):
    """One closing of a case. ``attempts`` to call back, of ``at_most``, have ``reached`` the
    resident or not, who last said whether it is ``solved``, and is ``satisfied``. It may be
    reopened within ``reopen_days``. The rules that the case has now, which hold for its next
    closing, are noted in ``next_reopen_days`` and ``next_at_most``."""

    episode: int = 0
    closed_at: datetime | None = None
    reopen_days: int | None = None
    reopened_at: datetime | None = None
    attempts: int = 0
    at_most: int | None = None
    reached: bool = False
    solved: bool | None = None
    satisfied: bool | None = None
    dropped: str | None = None
    next_reopen_days: int
    next_at_most: int


def _to_dispatch(case: str, event: Any) -> Dispatch:
    return Dispatch(**_filed(case, event), episode=event.episode, contact_due=event.contact_due)


def _filed(case: str, event: Any) -> dict[str, Any]:
    return {
        "case": case,
        "territory": event.territory,
        "category": event.terms.category,
        "size": event.terms.size,
        "source": event.source,
    }


def _dispatched(row: Dispatch, event: Any) -> bool:
    if row.dispatched_at is not None:
        return False
    row.dispatched_at = event.at
    return True


def _reclassified(row: Dispatch, event: Any) -> None:
    row.category = event.terms.category


def _accepted(row: Dispatch, event: Any) -> bool:
    if event.first_contact:
        row.contacted_at = event.at
    return bool(event.first_contact)


def _contact_reckoned(row: Dispatch, event: Any) -> None:
    row.contact_due = event.contact_due


def _check_failed(row: Dispatch, _event: Any) -> None:
    row.failed += 1


def _again(row: Dispatch, event: Any) -> None:
    row.episode, row.dispatched_at = event.episode, event.at
    row.contact_due, row.contacted_at, row.failed = event.contact_due, None, 0


def _to_close(case: str, event: Any) -> Closure:
    policy = event.terms.policy
    return Closure(
        **_filed(case, event),
        next_reopen_days=policy.reopen_window_days,
        next_at_most=policy.callback_attempts,
    )


def _other_terms(row: Closure, event: Any) -> None:
    """What the case was closed under stays, also where it was reopened since."""
    policy = event.terms.policy
    row.next_reopen_days, row.next_at_most = policy.reopen_window_days, policy.callback_attempts


def _closed(row: Closure, event: Any) -> None:
    row.episode, row.closed_at, row.category = event.episode, event.at, event.category
    row.reopen_days, row.at_most = row.next_reopen_days, row.next_at_most
    row.reopened_at, row.attempts = None, 0
    row.reached, row.solved, row.satisfied = False, None, None


def _called(row: Closure, event: Any) -> None:
    row.attempts = event.attempt
    if event.reached:
        row.reached, row.solved = True, event.solved


def _evaluated(row: Closure, event: Any) -> None:
    row.reached, row.solved, row.satisfied = True, event.solved, event.satisfied


def _reopened(row: Closure, event: Any) -> None:
    row.reopened_at = event.at


_READS: Final = {
    e.CaseFiled: "at territory episode source contact_due terms.category terms.size"
    " terms.policy.reopen_window_days terms.policy.callback_attempts",
    e.CaseReclassified: "terms.category terms.policy.reopen_window_days"
    " terms.policy.callback_attempts",
    e.CaseDispatched: "at",
    e.CaseEscalated: "at",
    e.CaseAccepted: "at first_contact",
    e.ContactDueReckoned: "contact_due",
    e.CheckFailed: "",
    e.CaseClosed: "at episode category",
    e.CallbackMade: "attempt reached solved",
    e.CaseEvaluated: "solved satisfied",
    e.CaseReopened: "at episode contact_due",
    e.CaseVoided: "",
    e.CaseMerged: "",
}

DISPATCHES: Final = Spans(
    name="dispatches",
    row=Dispatch,
    drafts={e.CaseFiled: _to_dispatch},
    turns={
        e.CaseReclassified: _reclassified,
        e.CaseDispatched: _dispatched,
        e.CaseEscalated: _dispatched,  # a case that nobody was given goes up by itself when late
        e.CaseAccepted: _accepted,
        e.ContactDueReckoned: _contact_reckoned,
        e.CheckFailed: _check_failed,
    },
    adds={e.CaseReopened: _again},
    drops={e.CaseVoided: voided, e.CaseMerged: merged},
    reads=_READS,
)
CLOSURES: Final = Spans(
    name="closures",
    row=Closure,
    drafts={e.CaseFiled: _to_close},
    turns={
        e.CallbackMade: _called,
        e.CaseEvaluated: _evaluated,
        e.CaseReopened: _reopened,
    },
    notes={e.CaseReclassified: _other_terms},
    adds={e.CaseClosed: _closed},
    drops={e.CaseVoided: voided, e.CaseMerged: merged},
    reads=_READS,
)
EVALUATION: Final[Projection] = spans.projection(
    "evaluation", 5, SCHEMA, INDEXES, DISPATCHES, CLOSURES
)
