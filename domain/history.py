"""Events as the log holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E]):
    """One event with its place in the log and what is known about how it came there.

    ``position`` counts the whole log from 1 without a hole, in commit order; ``version`` counts
    the stream from 1. ``at`` is when it happened in the office's world (for imported history: in
    the old system); ``recorded_at`` is when the log took it. ``causation`` names the request, or
    the row of an old system, that the event comes from; events of one command share it.
    """

    position: int
    stream: str
    version: int
    name: str
    event: E
    at: datetime
    recorded_at: datetime
    actor: str
    roles: tuple[str, ...]
    territory: str
    correlation: str
    causation: str


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the log: the events asked for, up to and including position ``last``."""

    events: Sequence[Recorded[Any]]
    last: int
