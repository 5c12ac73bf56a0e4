"""Rows in and out of a read model's tables, a page at a time.

A read model names its tables by ``Table``: the dataclass of a row (its fields are the columns, in
order) and the columns of its key. Names are unqualified: the runner sets the search path to the
live schema or to one that is being rebuilt beside it.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, LiteralString, TypeAlias, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from domain.history import Recorded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


@dataclass(frozen=True)
class Table(Generic[Row]):
    """One table of a read model. ``key`` columns come first in ``row``.

    ``copied``: a build only adds rows to it by COPY, each once, so its key can wait for them all.
    ``keyed``: PostgreSQL keeps the key; else it only puts the rows in order to compare them.
    ``by_row``: no question is answered from an index alone, so a build leaves it to PostgreSQL's
    own VACUUM, which comes within minutes and takes as long as a third of the build.
    """

    name: str
    row: type[Row]
    key: tuple[str, ...]
    copied: bool = False
    keyed: bool = True
    by_row: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in order."""
        return tuple(field.name for field in fields(self.row))

    def ask(self, connection: psycopg.Connection, keys: Iterable[str]) -> psycopg.Cursor:
        """Ask for the rows of some keys, for a table whose key is one text column."""
        return connection.execute(self._select, (Texts(keys),), binary=True)

    def asked(self, asked: psycopg.Cursor) -> dict[str, Row]:
        """The rows that were asked for, by their key."""
        return {values[0]: self.row(*values) for values in asked.fetchall()}

    def append(self, connection: psycopg.Connection, rows: Iterable[Row]) -> None:
        """Add rows that are new, by COPY."""
        self.append_values(connection, map(self.values, rows))

    def append_values(self, connection: psycopg.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """The same of rows that are given as their columns; binary, for times as text are what
        costs most."""
        with connection.cursor() as cursor:
            types = self._types(cursor)
            with cursor.copy(self._copy) as copy:
                copy.set_types(types)
                write = copy.write_row
                for values in rows:
                    write(values)

    def _types(self, cursor: psycopg.Cursor) -> list[int]:
        """What its columns are in PostgreSQL: asked once, for they do not change."""
        known: dict[str, list[int]] = self.__dict__
        if "types" not in known:
            cursor.execute(_statement("SELECT {} FROM {} LIMIT 0", *self._columns_of))
            known["types"] = [column.type_code for column in cursor.description or ()]
        return known["types"]

    def save(self, connection: psycopg.Connection, rows: Collection[Row]) -> None:
        """Add rows, or replace those with the same key. A key stands in ``rows`` once.

        One statement however many they are, so that what watches over the table is woken once; and
        without an answer to wait for.
        """
        self._save(connection, list(rows))

    def save_values(self, connection: psycopg.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """The same of rows that are given as their columns."""
        self._save(connection, self._named(rows))

    def _save(self, connection: psycopg.Connection, rows: list[Any]) -> None:
        if rows:
            connection.execute(self._upsert, (msgspec.json.encode(rows).decode(),))

    def add_values(self, connection: psycopg.Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows that are new, given as their columns, in one statement without an answer."""
        if given := self._named(rows):
            connection.execute(self._insert, (msgspec.json.encode(given).decode(),))

    def _named(self, rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, values, strict=True)) for values in rows]

    @cached_property
    def values(self) -> Callable[[Row], tuple[Any, ...]]:
        """The columns of a row."""
        return attrgetter(*self.columns)

    # Statements are put together once: again for each page, that was half of what a page cost.

    @property
    def _columns_of(self) -> tuple[sql.Composable, sql.Composable]:
        return _list(self.columns), sql.Identifier(self.name)

    @cached_property
    def _copy(self) -> bytes:
        return _statement("COPY {1} ({0}) FROM STDIN (FORMAT binary)", *self._columns_of)

    @cached_property
    def _select(self) -> bytes:
        return _statement(
            "SELECT {} FROM {} WHERE {} = ANY(%s) ORDER BY {}",
            _list(self.columns),
            sql.Identifier(self.name),
            sql.Identifier(self.key[0]),
            _list(self.key),
        )

    @cached_property
    def _upsert(self) -> bytes:
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column))
            for column in self.columns
            if column not in self.key
        )
        return self._insert + _statement(
            " ON CONFLICT ({}) DO UPDATE SET {}", _list(self.key), changes
        )

    @cached_property
    def _insert(self) -> bytes:
        return _statement(
            "INSERT INTO {0} ({1}) SELECT {1} FROM json_populate_recordset(NULL::{0}, %s::json)",
            sql.Identifier(self.name),
            _list(self.columns),
        )


class Packed(bytes):
    """The value of an integer[] as COPY sends it."""

    __slots__ = ()

    @classmethod
    def integers(cls, elements: bytes) -> "Packed":
        """Of its elements, 32 bits in network order with their length, 4, before each."""
        count = len(elements) // 8
        return cls(_ARRAY(1, 0, 23, count, 1) + elements if count else _NO_INTEGERS)


_ARRAY: Final = struct.Struct("!iiiii").pack
_NO_INTEGERS: Final = struct.pack("!iii", 0, 0, 23)


class _Integers(Dumper):
    """integer[] for COPY, whose values come packed: one by one they cost more than all else."""

    format = Format.BINARY
    oid = 1007

    def dump(self, obj: Packed) -> bytes:
        """The array as it is sent."""
        return obj


class Texts(list[str]):
    """A list of texts as a parameter: psycopg would look at each one to see what it is."""


class _Texts(Dumper):
    """The same for text[], of texts and never NULL; most are empty."""

    format = Format.BINARY
    oid = 1009

    def dump(self, obj: list[str]) -> bytes:
        """The array as it is sent."""
        if not obj:
            return _NO_TEXTS
        texts = [text.encode() for text in obj]
        return struct.pack("!iiiii", 1, 0, 25, len(texts), 1) + b"".join(
            struct.pack("!i", len(text)) + text for text in texts
        )


_NO_TEXTS: Final = struct.pack("!iii", 0, 0, 25)

psycopg.adapters.register_dumper(None, _Integers)
psycopg.adapters.register_dumper(None, _Texts)
psycopg.adapters.register_dumper(Texts, _Texts)


def _statement(text: LiteralString, *parts: sql.Composable) -> bytes:
    return sql.SQL(text).format(*parts).as_bytes(None)


def _list(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


AnyTable: TypeAlias = Table[Any]
Apply: TypeAlias = Callable[[psycopg.Connection, Sequence[Recorded[Any]], bool], None]
"""``apply(connection, page, fresh)``, see ``Projection``."""


class Stepwise:
    """An ``apply`` that stops once it has asked what it needs, before it takes the answers: so
    questions of several read models go off together. Called, it does not stop."""

    def __init__(
        self,
        steps: Callable[[psycopg.Connection, Sequence[Recorded[Any]], bool], Iterator[None]],
    ) -> None:
        self.steps = steps

    def __call__(
        self, connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> None:
        for _ in self.steps(connection, page, fresh):
            pass


def steps_of(
    apply: Apply, connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """The steps of any ``apply``; one that does not stop is a single one."""
    if isinstance(apply, Stepwise):
        yield from apply.steps(connection, page, fresh)
    else:
        apply(connection, page, fresh)


def folding(table: Table[Row], fold: Callable[[dict[str, Row], Recorded[Any]], None]) -> Apply:
    """How a read model of one row a case takes a page: load the rows it touches, fold, save.

    ``fold(rows, recorded)`` changes ``rows``, which are by case.
    """

    @Stepwise
    def apply(
        connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> Iterator[None]:
        asked = None if fresh else table.ask(connection, {case_id(each) for each in page})
        yield
        rows = {} if asked is None else table.asked(asked)
        for recorded in page:
            fold(rows, recorded)
        (table.append if fresh else table.save)(connection, rows.values())

    return apply


def case_id(recorded: Recorded[Any]) -> str:
    """The case that an event of a case's stream belongs to."""
    return recorded.stream.removeprefix("case:")
