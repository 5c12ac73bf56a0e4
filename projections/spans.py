"""Rows with their past: each says what it said from one position of the log until another.

A row is *begun* by the event that made it true and *ended* by the one that changed it; ``ended`` is
None while it holds. What held as of a position P are the rows with ``begun`` up to P that had not
ended by then, so the past is asked with the same question as the present, and answers what it would
have answered then.

A case may have several rows that hold at once: one for each of its closures, for instance. The last
one is the one that goes on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, Final, Generic, TypeAlias, TypeVar

import psycopg
from psycopg import sql

from domain.history import Recorded
from projections.projection import Projection
from projections.shapes import ByEvent, together
from projections.tables import Stepwise, Table, Texts

COLUMNS: Final = """
    "case"     text COLLATE "C" NOT NULL,
    nth        integer NOT NULL,
    begun      bigint,
    ended      bigint,
    territory  text COLLATE "C" NOT NULL,
    category   text COLLATE "C" NOT NULL,
    size       text COLLATE "C" NOT NULL,
    source     text COLLATE "C" NOT NULL,
"""
"""What every table of spans begins with: the columns of ``Span``, in SQL."""


@dataclass(slots=True, kw_only=True)
class Span:
    """A row of a case while it said the same. ``nth`` counts the rows of the case from 1.

    ``begun`` and ``ended`` are positions of the log. A draft is not begun: it remembers what a fact
    to come is made of. ``size`` is that of first filing; before it, size and category are empty.
    """

    case: str
    nth: int = 1
    begun: int | None = None
    ended: int | None = None
    territory: str
    category: str = ""
    size: str = ""
    source: str


S = TypeVar("S", bound=Span)
Values: TypeAlias = tuple[Any, ...]

Open: TypeAlias = Callable[[str, Any], S]
"""The first row of a case, out of its id and an event."""

Change: TypeAlias = Callable[[S, Any], bool | None]
"""Changes a row after an event; False: nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Spans(Generic[S]):
    """How the rows of one table follow from the events of each case, one event class at a time.

    ``drafts`` and ``opens`` make a case's first row, as a draft or as a fact. ``turns`` change the
    last row, which from there on says something else. ``adds`` change a copy of the last row and
    leave that standing beside it. ``drops`` change every row that holds. ``notes`` write into the
    last row what a later event will need: no figure counts it, so it is no new span.
    """

    name: str
    row: type[S]
    drafts: Mapping[type, Open[S]] = field(default_factory=dict)
    opens: Mapping[type, Open[S]] = field(default_factory=dict)
    turns: Mapping[type, Change[S]] = field(default_factory=dict)
    adds: Mapping[type, Change[S]] = field(default_factory=dict)
    drops: Mapping[type, Change[S]] = field(default_factory=dict)
    notes: Mapping[type, Change[S]] = field(default_factory=dict)
    reads: Mapping[type, str] = field(default_factory=dict)
    table: Table[S] = field(init=False)
    _ways: ByEvent[tuple[str, Any]] = field(init=False, repr=False, compare=False)
    _values: Callable[[S], Values] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ways = ByEvent(
            {
                event: (way, change)
                for way in ("drafts", "opens", "turns", "adds", "drops", "notes")
                for event, change in getattr(self, way).items()
            }
        )
        table = Table(self.name, self.row, key=("case", "nth"), copied=True)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "_ways", ways)
        object.__setattr__(self, "_values", table.values)

    @property
    def events(self) -> tuple[type, ...]:
        """The classes of events that say anything about these rows."""
        ways = (self.drafts, self.opens, self.turns, self.adds, self.drops, self.notes)
        return tuple(chain.from_iterable(ways))

    def changed_by(self, recorded: Recorded[Any]) -> bool:
        """Whether an event may change what a row says."""
        way = self._ways[type(recorded.event)]
        return way is not None and way[0] != "notes"

    def steps(
        self, connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> Iterator[None]:
        """Fold a page into the table; see ``tables.Stepwise``."""
        asked = None
        if not fresh:
            ways = self._ways
            mine = {each.stream for each in page if ways[type(each.event)] is not None}
            asked = self._ask(connection, mine)
        yield
        holding = {} if asked is None else self._asked(asked)
        over = self.fold(holding, page)
        rows = chain(over, map(self._values, chain.from_iterable(holding.values())))
        if fresh:
            self.table.append_values(connection, rows)
        else:
            self.table.save_values(connection, rows)

    def fold(self, holding: dict[str, list[S]], page: Iterable[Recorded[Any]]) -> list[Values]:
        """Change the rows that hold, by stream; returns those that no longer do."""
        over: list[Values] = []
        ways, values_of = self._ways, self._values
        for recorded in page:
            event = recorded.event
            found = ways[type(event)]
            if found is None:
                continue
            way, change = found
            stream = recorded.stream
            rows = holding.get(stream)
            if rows is None:
                if way in ("drafts", "opens"):
                    row = change(stream.removeprefix("case:"), event)
                    row.begun = recorded.position if way == "opens" else None
                    holding[stream] = [row]
                # Else it ended before it was filed: it is in no figure.
                continue
            for row in rows[:] if way == "drops" else (rows[-1],):
                # Of a draft nobody has said anything yet, and a note says nothing.
                before = None if row.begun is None or way == "notes" else values_of(row)
                if change(row, event) is False or way == "notes":
                    continue
                position = recorded.position
                if before is not None:
                    if way == "adds":
                        rows.insert(-1, _row(self.row, before))
                    else:
                        over.append((*before[:3], position, *before[4:]))
                    row.nth = 1 + (row.nth if len(rows) == 1 else max(each.nth for each in rows))
                row.begun = position
        return over

    @cached_property
    def _held(self) -> bytes:
        query = 'SELECT {} FROM {} WHERE "case" = ANY(%s) AND ended IS NULL ORDER BY "case", nth'
        columns = sql.SQL(", ").join(map(sql.Identifier, self.table.columns))
        return sql.SQL(query).format(columns, sql.Identifier(self.name)).as_bytes(None)

    def _ask(self, connection: psycopg.Connection, streams: Iterable[str]) -> psycopg.Cursor:
        cases = Texts(stream.removeprefix("case:") for stream in streams)
        return connection.execute(self._held, (cases,), binary=True)

    def _asked(self, asked: psycopg.Cursor) -> dict[str, list[S]]:
        """The rows that hold, by stream."""
        found: dict[str, list[S]] = {}
        for values in asked.fetchall():
            found.setdefault(f"case:{values[0]}", []).append(_row(self.row, values))
        return found


def projection(
    name: str, version: int, schema: str, indexes: str, *tables: Spans[Any]
) -> Projection:
    """A read model of nothing but spans."""

    @Stepwise
    def apply(
        connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> Iterator[None]:
        for _ in zip_longest(*(each.steps(connection, page, fresh) for each in tables)):
            yield

    return Projection(
        name=name,
        version=version,
        schema=schema,
        indexes=indexes,
        tables=tuple(each.table for each in tables),
        events=tuple(dict.fromkeys(chain.from_iterable(each.events for each in tables))),
        apply=apply,
        reads=together(each.reads for each in tables),
        beside=(),
    )


def _row(row: type[S], values: Values) -> S:
    return row(**dict(zip(_names(row), values, strict=True)))


def _names(row: type[Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = tuple(row.__dataclass_fields__)
    return names
