"""Events as the log holds them, and what a reader can ask of it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

E = TypeVar("E")

LOG: Final = "log"
"""The part that a log in one database is: its only one. A topic of Kafka has several."""

CLOCKS_APART: Final = 10.0
"""Seconds that the clocks of a machine and of its database may differ before they are ill: what
happens is stamped with the machine's, and one that is ahead puts it into the future."""

UNTOLD: Final = datetime(1, 1, 1, tzinfo=UTC)
"""A time that the reader did not ask for."""

BESIDE: Final = (
    "name",
    "at",
    "actor",
    "roles",
    "recorded_at",
    "territory",
    "correlation",
    "causation",
)
"""What the log knows of an event that the event does not say itself."""


class Recorded(NamedTuple, Generic[E]):
    """One event with its place in the log and what is known about how it came there.

    ``position`` counts the whole log from 1 without a hole, in commit order; ``version`` counts
    the stream from 1. ``at`` is when it happened in the office's world (for imported history: in
    the old system); ``recorded_at`` is when the log took it. ``causation`` names the request, or
    the row of an old system, that the event comes from; events of one command share it. ``roles``
    are those the actor had, with commas between. ``json`` is the event as text, its personal fields
    sealed. What nobody asked for may be left empty.

    A tuple, for millions are made when a read model is built anew.
    """

    position: int
    stream: str
    version: int
    event: E
    name: str = ""
    at: datetime = UNTOLD
    actor: str = ""
    roles: str = ""
    recorded_at: datetime = UNTOLD
    territory: str = ""
    correlation: str = ""
    causation: str = ""
    json: str = ""


class Wanted(NamedTuple):
    """What a reader wants of the log.

    ``events`` are the classes; ``shapes`` gives some of them a smaller one, with a subset of the
    fields under the same names, which then stands in ``Recorded.event``: ``NoneType`` where not
    even one is read. ``beside`` are those of
    ``BESIDE`` that are filled. ``opened``: personal fields in clear, or forgotten, instead of
    sealed. ``json``: the text too. ``skipped`` are positions to leave out. ``company`` are shapes
    that will do as well, and for the other readers that were given the very same ones: in them
    events may be made once for all of those.
    """

    events: tuple[type, ...]
    shapes: Mapping[type, type] = MappingProxyType({})
    beside: tuple[str, ...] = BESIDE
    opened: bool = False
    json: bool = False
    skipped: frozenset[int] = frozenset()
    company: Mapping[type, type] | None = None


class Page(NamedTuple):
    """A stretch of one part: the events asked for, up to and including ``last``.

    ``last`` is a position of the log where the part is the log, an offset where it is one of a
    topic's.
    """

    events: Sequence[Recorded[Any]]
    last: int


Reading: TypeAlias = Callable[[Wanted], Sequence[Recorded[Any]]]
"""A stretch that was read once, and is made into events for each of those it was read for.

Raises ``Unreadable``: an event cannot be read; it is named. ``KeysAway``: try again later.
"""


class KeysAway(Exception):
    """What is sealed cannot be opened for now, whatever it is: no event is at fault."""


class Unreadable(Exception):
    """What is stored at a position is no event that this version can read."""

    def __init__(self, position: int, stream: str, name: str) -> None:
        self.position, self.stream, self.name = position, stream, name
        super().__init__(f"position {position}, {name} of {stream}")
