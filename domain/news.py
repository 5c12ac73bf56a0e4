"""What is told of a case's events to whoever may know of the case: nothing personal, no text.

The live feed and the webhooks say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.case import events as e
from domain.places import Tier


@dataclass(frozen=True, slots=True)
class News:
    """One event of a case. ``state`` is the one that it brings the case to, None where it changes
    none; ``territory`` is the path of the case's place, which its holder always lies around."""

    position: int
    name: str
    case: str
    territory: str
    tier: Tier
    episode: int
    state: str | None
    at: datetime


STATE_AFTER: Final[Mapping[type, str]] = {
    e.CaseReported: "reported",
    e.CaseRejected: "rejected",
    e.CaseFiled: "filed",
    e.CaseVoided: "void",
    e.CaseDispatched: "assigned",
    e.CaseTransferred: "assigned",
    e.CaseAccepted: "in_progress",
    e.CaseEscalated: "assigned",
    e.CaseReturned: "assigned",
    e.CaseMerged: "merged",
    e.CaseParked: "parked",
    e.CaseResumed: "in_progress",
    e.CaseResolved: "resolved",
    e.CheckPassed: "checked",
    e.CheckFailed: "in_progress",
    e.CaseClosed: "closed",
    e.CaseEvaluated: "evaluated",
    e.CaseReopened: "assigned",
}
"""The state that an event brings its case to; the others leave it as it is."""
