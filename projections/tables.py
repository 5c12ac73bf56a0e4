"""Rows in and out of a read model's tables, a page at a time.

A read model names its tables by ``Table``: the dataclass of a row (its fields are the columns, in
order) and the columns of its key. Names are unqualified: the runner sets the search path to the
live schema or to one that is being rebuilt beside it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg
from psycopg import sql

from domain.history import Recorded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


@dataclass(frozen=True)
class Table(Generic[Row]):
    """One table of a read model. ``key`` columns come first in ``row``."""

    name: str
    row: type[Row]
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in order."""
        return tuple(field.name for field in fields(self.row))

    def load(self, connection: psycopg.Connection, keys: Collection[str]) -> dict[str, Row]:
        """The rows of some keys, for a table whose key is one text column."""
        (key,) = self.key
        rows = connection.execute(
            sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
                _list(self.columns), sql.Identifier(self.name), sql.Identifier(key)
            ),
            (list(keys),),
        )
        return {values[0]: self.row(*values) for values in rows}

    def append(self, connection: psycopg.Connection, rows: Iterable[Row]) -> None:
        """Add rows that are new."""
        self._copy(connection, self.name, rows)

    def save(self, connection: psycopg.Connection, rows: Collection[Row]) -> None:
        """Add rows, or replace those with the same key. A key stands in ``rows`` once."""
        if not rows:
            return
        incoming = f"incoming_{self.name}"
        names = {
            "table": sql.Identifier(self.name),
            "incoming": sql.Identifier("pg_temp", incoming),
            "short": sql.Identifier(incoming),
            "columns": _list(self.columns),
            "key": _list(self.key),
            "changes": sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column))
                for column in self.columns
                if column not in self.key
            ),
        }
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE {short} ON COMMIT DROP AS SELECT {columns} FROM {table}"
                " WITH NO DATA"
            ).format(**names)
        )
        self._copy(connection, incoming, rows)
        connection.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {incoming}"
                " ON CONFLICT ({key}) DO UPDATE SET {changes}"
            ).format(**names)
        )
        connection.execute(sql.SQL("DROP TABLE {incoming}").format(**names))

    def _copy(self, connection: psycopg.Connection, table: str, rows: Iterable[Row]) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), _list(self.columns)
        )
        columns = self.columns
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([getattr(row, column) for column in columns])


def _list(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


AnyTable = Table[Any]


def folding(
    table: Table[Row], fold: Callable[[dict[str, Row], Recorded[Any]], None]
) -> Callable[[psycopg.Connection, Sequence[Recorded[Any]]], None]:
    """How a read model of one row a case takes a page: load the rows it touches, fold, save."""

    def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
        rows = table.load(connection, {case_id(recorded) for recorded in page})
        for recorded in page:
            fold(rows, recorded)
        table.save(connection, list(rows.values()))

    return apply


def case_id(recorded: Recorded[Any]) -> str:
    """The case that an event of a case's stream belongs to."""
    return recorded.stream.removeprefix("case:")
