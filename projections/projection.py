"""What a read model is to the runner, and what the runner asks of a source of events."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeAlias, runtime_checkable

import psycopg

from domain.history import BESIDE, Page, Reading, Wanted
from projections.shapes import shapes, together
from projections.tables import AnyTable, Apply


@dataclass(frozen=True)
class Projection:
    """One read model.

    ``apply(connection, page, fresh)`` folds a page into the tables of the current search path.
    ``fresh``: the page holds whole streams from their first event on, and the tables hold nothing
    of them yet, so nothing needs to be loaded, and rows go in by COPY, once. Only what happened
    earlier in the same stream may matter: the order across streams differs between following,
    rebuilding and reading from Kafka, and the tables must come out the same.

    ``version`` is part of its identity: a changed schema or fold gets a higher one, and is rebuilt.
    ``schema`` creates the tables with their primary keys, ``indexes`` the rest, which is quicker
    after the rows than before. ``settle``, where one stream speaks of the rows of others, says
    after a rebuild's rows are in what ``apply`` says page by page otherwise.

    ``reads`` names the fields that it reads of an event class (``shapes.shapes``): what nobody
    reads is not decoded. Of a class that is not named there it gets the whole event. ``beside`` and
    ``json`` are as in ``Wanted``. ``opens`` lets it read personal fields: then it answers for what
    its tables keep of them. ``company`` are shapes that it may get instead, see ``in_company``.
    ``instead_of`` names read models of earlier versions that it has taken in: they go once it is
    there.
    """

    name: str
    version: int
    schema: str
    tables: tuple[AnyTable, ...]
    events: tuple[type, ...]
    apply: Apply
    indexes: str = ""
    settle: Callable[[psycopg.Connection], None] | None = None
    reads: Mapping[type, str | None] = field(default_factory=dict)
    beside: tuple[str, ...] = BESIDE
    json: bool = False
    opens: bool = False
    company: Mapping[type, type] | None = None
    instead_of: tuple[str, ...] = ()

    @cached_property
    def _shapes(self) -> Mapping[type, type]:
        return shapes(self.reads)

    def wanted(self, skipped: frozenset[int] = frozenset()) -> Wanted:
        """What it reads of the log; ``skipped`` are the positions that it is to leave out."""
        return Wanted(
            self.events, self._shapes, self.beside, self.opens, self.json, skipped, self.company
        )


def in_company(projections: Sequence[Projection]) -> list[Projection]:
    """Read models that may get what any of them reads of an event, so that it is made once for all.

    By itself each gets what it reads, and so it does of an event that cannot be made for all: what
    is wrong with a field stops those that read it, and nobody else. Whoever opens personal fields
    stays for itself: what it gets, the others may not see.
    """
    sealed = [each for each in projections if not each.opens]
    whole = {event for each in sealed for event in each.events if event not in each.reads}
    read = together(each.reads for each in sealed)
    company = shapes({event: fields for event, fields in read.items() if event not in whole})
    return [each if each.opens else replace(each, company=company) for each in projections]


class Source(Protocol):
    """Where events come from: parts that are each read in their own order, and in parallel."""

    def parts(self) -> Sequence[str]:
        """The parts there are; never fewer than before."""
        ...

    def head(self, part: str) -> int:
        """The last position or offset of a part; 0 while it is empty."""
        ...

    def read(self, part: str, after: int, upto: int, wanted: Wanted) -> Page:
        """The events wanted with a position or offset in ``(after, upto]`` of a part, in order.

        Raises:
            Unreadable: an event cannot be read; it is named.
            KeysAway: none that holds something to be opened can be for now.
        """
        ...

    def skipped(self, projection: str) -> frozenset[int]:
        """The positions that a read model is to leave out, as somebody has decided."""
        ...


@runtime_checkable
class Log(Protocol):
    """A source that is the log itself: what several want is read once, and whole streams together,
    as a rebuild wants them."""

    def between(self, after: int, upto: int, wanted: Collection[Wanted]) -> Reading:
        """The events with a position in ``(after, upto]``, in order."""
        ...

    def bounds(self, upto: int, each: int) -> list[str]:
        """Names of streams that divide all those up to a position into stretches of about ``each``
        events, ascending."""
        ...

    def streams(
        self, after: str, until: str | None, upto: int, wanted: Collection[Wanted]
    ) -> Reading:
        """The events of the streams in ``(after, until]`` up to a position, stream by stream in
        order of version; None: to the last one."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is. ``rate`` is positions a second, ``left`` seconds."""

    projection: str
    position: int
    head: int
    rate: float
    left: float


OnProgress: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Poison:
    """An event that a read model cannot fold, and why."""

    position: int
    name: str
    stream: str
    why: str


class Poisoned(Exception):
    """A projection met an event that it cannot fold. It stays where it is; the others go on."""

    def __init__(self, projection: str, poison: Poison) -> None:
        self.projection = projection
        self.poison = poison
        super().__init__(
            f"projection {projection} cannot fold position {poison.position} "
            f"({poison.name} of {poison.stream}): {poison.why}"
        )


class Superseded(Exception):
    """A newer version of the program keeps this projection now: this one stands aside."""


class NotTheSame(Exception):
    """A rebuilt projection differs from the live one."""
