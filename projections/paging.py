"""Pages of a list: where one ends and the next begins (keyset, never offset)."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from psycopg import sql

from domain.deadlines import Automatic
from projections.conditions import Order, Sql
from projections.deadlines import Place
from projections.worklist import CaseRow

Row = TypeVar("Row")


class BadCursor(Exception):
    """A cursor that this query did not give out."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """A page of rows. ``next`` is the cursor of the following page, None on the last."""

    rows: list[Row]
    next: str | None


ORDERS: Final[dict[Order, tuple[Sql, bool]]] = {
    "due": (sql.SQL("coalesce(due, 'infinity')"), False),
    "updated": (sql.SQL("updated_at"), True),
    "reported": (sql.SQL("reported_at"), True),
}
"""What cases are sorted by, and whether the latest come first."""


def _sort_value(row: CaseRow, order: Order) -> str:
    match order:
        case "due":
            return row.due.isoformat() if row.due else "infinity"
        case "updated":
            return row.updated_at.isoformat()
        case "reported":
            return row.reported_at.isoformat()


def case_cursor(row: CaseRow, order: Order) -> str:
    """The cursor of the cases after this one."""
    return cursor_of(order, _sort_value(row, order), row.case)


def beyond(key: Sql, descending: bool, cursor: tuple[str, str]) -> Sql:
    """Cases that come after a cursor in the order of ``key``."""
    value, case = cursor
    return sql.SQL('({}, c."case") {} ({}::timestamptz, {})').format(
        key, sql.SQL("<" if descending else ">"), sql.Literal(value), sql.Literal(case)
    )


def earlier(cursor: tuple[str, str]) -> Sql:
    """Entries of the log before a cursor's."""
    return sql.SQL("position < {}").format(sql.Literal(int(cursor[0])))


def cursor_of(order: str, value: str, case: str) -> str:
    """What a client gives back to have the next page."""
    return base64.urlsafe_b64encode(json.dumps([order, value, case]).encode()).decode()


def read_cursor(cursor: str, order: str) -> tuple[str, str]:
    """The value and the case that a cursor stands for.

    Raises:
        BadCursor: it was not given out by a list of this order.
    """
    try:
        made_for, value, case = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if made_for != order or not isinstance(value, str) or not isinstance(case, str):
            raise BadCursor
        case.encode()
        if order in ("audit", "looks"):
            if not (value.isdecimal() and value.isascii() and len(value) < 19):
                raise BadCursor
        elif value != "infinity":
            datetime.fromisoformat(value)
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise BadCursor from error
    return value, case


def read_place(cursor: str) -> Place:
    """A place in the order of what waits.

    Raises:
        BadCursor: it was not given out by the list of what waits.
    """
    value, rest = read_cursor(cursor, "deadlines")
    kind, _, case = rest.partition(" ")
    try:
        at = datetime.fromisoformat(value)
        return Place(at if at.tzinfo else at.replace(tzinfo=UTC), case, Automatic(kind).value)
    except ValueError as error:
        raise BadCursor from error


def page_of(rows: list[Row], limit: int, cursor: Callable[[Row], str]) -> Listing[Row]:
    """A page of rows, of which one more than ``limit`` was asked for."""
    more = len(rows) > limit
    kept = rows[:limit]
    return Listing(kept, cursor(kept[-1]) if more else None)
