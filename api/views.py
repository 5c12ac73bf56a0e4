"""The views of the worklist (工作台视图): the questions that everybody asks, by name."""

from datetime import datetime
from typing import Any, Final

from api.schemas import cases as s
from domain.aggregates import Office

SOON_SECONDS: Final = 8 * 3600
"""即将超期: due within so much working time, or overdue."""

_RUNNING: Final = ["filed", "assigned", "in_progress", "resolved", "checked"]
"""The states in which time runs out: until it is closed, and not while it is parked."""


def views(office: Office, at: datetime) -> dict[str, dict[str, Any]]:
    """What each view asks for at a moment, as fields of a ``CaseQuery``."""
    soon = office.calendar.add_working(at, SOON_SECONDS).at
    return {
        "todo": {"todo": True},
        "due_soon": {"state": _RUNNING, "due_before": soon},
        "to_check": {"state": ["resolved"]},
        "sent_back": {"sent_back": "any"},
        "open": {"open": True},
        "ended": {"open": False, "order": "updated"},
    }


def in_view(wanted: s.CaseQuery, fields: dict[str, Any]) -> s.CaseQuery:
    """A query within a view: what it asks for itself goes before what the view does."""
    given = wanted.model_fields_set
    return wanted.model_copy(update={k: v for k, v in fields.items() if k not in given})
