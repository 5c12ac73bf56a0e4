"""Events as bytes: permanent names, JSON, and upcasts from shapes that are no longer written.

``NAMES`` is the closed list of what the log may hold. A stored name is never taken away or given to
another shape. When a shape must change: give the new class a new name here, and add an ``Upcast``
from the old name, with the golden JSON of both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from domain import calendar, catalogue, staff, territory
from domain.case import events as case

NAMES: Final[dict[str, type]] = {
    "case.reported": case.CaseReported,
    "case.verified": case.CaseVerified,
    "case.rejected": case.CaseRejected,
    "case.filed": case.CaseFiled,
    "case.reclassified": case.CaseReclassified,
    "case.void_asked": case.VoidAsked,
    "case.voided": case.CaseVoided,
    "case.dispatched": case.CaseDispatched,
    "case.transferred": case.CaseTransferred,
    "case.accepted": case.CaseAccepted,
    "case.escalated": case.CaseEscalated,
    "case.returned": case.CaseReturned,
    "case.whistled": case.CaseWhistled,
    "case.unit_reported_in": case.UnitReportedIn,
    "case.unit_absent": case.UnitAbsent,
    "case.split": case.CaseSplit,
    "case.merged": case.CaseMerged,
    "case.absorbed": case.CaseAbsorbed,
    "case.child_ended": case.ChildEnded,
    "case.child_reopened": case.ChildReopened,
    "case.park_asked": case.ParkAsked,
    "case.parked": case.CaseParked,
    "case.resumed": case.CaseResumed,
    "case.extension_asked": case.ExtensionAsked,
    "case.deadline_extended": case.DeadlineExtended,
    "case.request_declined": case.RequestDeclined,
    "case.deadline_breached": case.DeadlineBreached,
    "case.due_recomputed": case.DueRecomputed,
    "case.resolved": case.CaseResolved,
    "case.check_passed": case.CheckPassed,
    "case.check_failed": case.CheckFailed,
    "case.closed": case.CaseClosed,
    "case.callback_made": case.CallbackMade,
    "case.evaluated": case.CaseEvaluated,
    "case.reopened": case.CaseReopened,
    "case.note_added": case.NoteAdded,
    "case.file_attached": case.FileAttached,
    "case.rule_waived": case.RuleWaived,
    "territory.created": territory.TerritoryCreated,
    "territory.renamed": territory.TerritoryRenamed,
    "territory.grid_redrawn": territory.GridRedrawn,
    "territory.grid_split": territory.GridSplit,
    "territory.grids_merged": territory.GridsMerged,
    "territory.worker_assigned": territory.WorkerAssigned,
    "territory.worker_released": territory.WorkerReleased,
    "territory.households_recorded": territory.HouseholdsRecorded,
    "staff.user_added": staff.UserAdded,
    "staff.role_granted": staff.RoleGranted,
    "staff.role_revoked": staff.RoleRevoked,
    "staff.user_suspended": staff.UserSuspended,
    "staff.user_restored": staff.UserRestored,
    "staff.password_changed": staff.PasswordChanged,
    "staff.unit_added": staff.UnitAdded,
    "staff.unit_closed": staff.UnitClosed,
    "catalogue.category_defined": catalogue.CategoryDefined,
    "catalogue.category_retired": catalogue.CategoryRetired,
    "catalogue.policy_set": catalogue.PolicySet,
    "calendar.year_published": calendar.YearPublished,
    "calendar.day_declared": calendar.DayDeclared,
    "calendar.working_hours_set": calendar.WorkingHoursSet,
}


@dataclass(frozen=True, slots=True)
class Upcast:
    """How an old shape is read: ``name`` is what it is called now, ``change`` maps its fields."""

    name: str
    change: Callable[[dict[str, Any]], dict[str, Any]]


UPCASTS: Final[dict[str, Upcast]] = {}
"""By old name. Empty while every shape is the first of its kind."""


class UnknownEvent(Exception):
    """The log holds a name that this version does not know: never guessed, never skipped."""


class Codec:
    """Writes events under their names and reads them back, old shapes too."""

    def __init__(
        self, names: Mapping[str, type] = NAMES, upcasts: Mapping[str, Upcast] = UPCASTS
    ) -> None:
        """``upcasts`` may lead to another old name, but not round in a circle."""
        self._names = {event: name for name, event in names.items()}
        self._encoder = msgspec.json.Encoder()
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(event) for name, event in names.items()
        }
        self._upcasts = dict(upcasts)

    def encode(self, event: Any) -> tuple[str, bytes]:
        """The stored name and the bytes of an event."""
        return self._names[type(event)], self._encoder.encode(event)

    def decode(self, name: str, data: bytes) -> Any:
        """The event that was stored.

        Raises:
            UnknownEvent: no shape has this name.
            msgspec.ValidationError: the bytes do not have the shape of the name.
        """
        if upcast := self._upcasts.get(name):
            changed = upcast.change(msgspec.json.decode(data))
            return self.decode(upcast.name, self._encoder.encode(changed))
        decoder = self._decoders.get(name)
        if decoder is None:
            raise UnknownEvent(f"The log holds an event named {name!r}, unknown to this version.")
        return decoder.decode(data)

    def names_of(self, events: tuple[type, ...]) -> list[str]:
        """All names, old ones too, under which events of these classes may be stored."""
        current = {self._names[event] for event in events}
        old = {name for name in self._upcasts if self._newest(name) in current}
        return sorted(current | old)

    def _newest(self, name: str) -> str:
        while upcast := self._upcasts.get(name):
            name = upcast.name
        return name
