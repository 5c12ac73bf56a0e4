"""待我处理: what somebody can do next, as a condition on the rows of cases.

For each role the step that waits for it, measured on the territory that the same step is measured
on in ``domain.roles``. It is told by what lists know: who tries may still be refused by a rule of
the case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import sql

from domain.case.states import OPEN
from domain.roles import Actor, Role

_AT_HAND: Final = (
    "state = 'assigned' AND holder = {at} AND (worker IS NULL OR worker = {me})"
    " AND (unit IS NULL OR unit = {unit})",
    "state = 'in_progress' AND handler = {me}",
    "awaited @> {units}",
)

_OPEN: Final = {
    Role.GRID_WORKER: (*_AT_HAND, "state = 'reported' AND territory = {at}"),
    Role.HANDLER: _AT_HAND,
    Role.ACCEPTOR: ("state = 'reported' AND territory ^@ {at}",),
    Role.DISPATCHER: (
        "state = 'filed' AND territory ^@ {at}",
        "asked IN ('park', 'extension') AND territory ^@ {at}",
    ),
    Role.COORDINATOR: (
        "state = 'assigned' AND holder = {at}",
        "awaited <> '{{}}' AND holder ^@ {at}",
    ),
    Role.SUPERVISOR: (
        "state = 'resolved' AND territory ^@ {at} AND handler IS DISTINCT FROM {me}",
        "asked = 'void' AND asked_by <> {me} AND territory ^@ {at}",
    ),
    Role.SHIFT_LEAD: (
        "state = 'checked' AND territory ^@ {at}",
        "asked = 'void' AND asked_by <> {me} AND territory ^@ {at}",
    ),
}
"""What waits for a role in the territory ``at``, among the cases that are open."""

_CLOSED: Final = {
    Role.CALLBACK_DESK: (
        "callback_until >= {now} AND territory ^@ {at} AND c.reporter IS NOT NULL",
    ),
}
"""The same, among those that are not."""


@dataclass(frozen=True, slots=True)
class ToDo:
    """What ``by`` can do next at the moment ``at``."""

    by: Actor
    at: datetime

    def condition(self) -> sql.Composed:
        """Whether a case ``c`` waits for a step of this person; none does for who has no role."""
        parts = []
        if open_ := self._any(_OPEN):
            # Said apart, so that an index of the open ones alone is enough for most people.
            parts.append(sql.SQL("state = ANY({}) AND {}").format(sql.Literal(list(OPEN)), open_))
        if closed := self._any(_CLOSED):
            parts.append(closed)
        return _either(parts) if parts else sql.SQL("{}").format(sql.SQL("false"))

    def _any(self, steps: Mapping[Role, tuple[str, ...]]) -> sql.Composed | None:
        """Whether one of these steps waits."""
        facts = {
            "me": sql.Literal(self.by.id),
            "unit": sql.Literal(self.by.unit),
            "units": sql.Literal([] if self.by.unit is None else [self.by.unit]),
            "now": sql.Literal(self.at),
        }
        parts = [
            sql.SQL(step).format(at=sql.Literal(grant.territory), **facts)
            for grant in self.by.grants
            for step in steps.get(grant.role, ())
            if self.by.unit is not None or "{units}" not in step
        ]
        return _either(parts) if parts else None


def _either(parts: list[sql.Composed]) -> sql.Composed:
    return sql.SQL("({})").format(
        sql.SQL(" OR ").join(sql.SQL("({})").format(part) for part in parts)
    )
