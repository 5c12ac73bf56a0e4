"""Keeping the system running (运维): what people decide about the read models.

A read model that meets an event it cannot fold stands still, and stays so until somebody answers
for leaving that event out of it. The event itself stays in the log, and in all other read models.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from domain.errors import Refused
from domain.places import EVERYWHERE
from domain.roles import Actor, demand


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipEvent:
    """跳过事件. Leave the event at a position of the log out of a read model, from now on.

    ``halted`` is where the read model stands still, None while it goes on.
    """

    by: Actor
    at: datetime
    projection: str
    position: int
    halted: int | None
    reason: str


Command: TypeAlias = SkipEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSkipped:
    """``reason`` is about the program, not about people: it stands in clear."""

    at: datetime
    projection: str
    position: int
    reason: str


Event: TypeAlias = EventSkipped


@dataclass(frozen=True, slots=True)
class Operations:
    """One read model: the positions that it leaves out."""

    skipped: AbstractSet[int] = frozenset()


initial: Final = Operations()


def stream(projection: str) -> str:
    """The stream of a read model."""
    return f"projection:{projection}"


def decide(operations: Operations, command: Command) -> list[Event]:
    """What a command leads to.

    Raises:
        Refused: the role does not permit it, or it is without reason, done already, or of no use.
    """
    # A read model holds every territory, so the right must reach everywhere.
    demand(command, EVERYWHERE)
    if not command.reason.strip():
        raise Refused("projection.reason_missing")
    if command.position in operations.skipped:
        raise Refused("projection.skipped_already", position=command.position)
    if command.position != command.halted:
        # What was folded cannot be left out any more: a rebuild would come to other rows.
        raise Refused(
            "projection.not_halted", projection=command.projection, position=command.position
        )
    return [
        EventSkipped(
            at=command.at,
            projection=command.projection,
            position=command.position,
            reason=command.reason.strip(),
        )
    ]


def evolve(operations: Operations, event: Event) -> Operations:
    """The read model after an event."""
    return Operations(operations.skipped | {event.position})
