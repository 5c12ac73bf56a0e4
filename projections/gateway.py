"""The one way to the read models: every query names who asks, and sees only that person's scope."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import reduce
from operator import attrgetter
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from domain.aggregates import case_stream
from domain.deadlines import Automatic
from domain.errors import Refused
from domain.history import Recorded
from domain.personal import SEALED
from domain.places import EVERYWHERE
from domain.roles import Actor, Reading, Scope, scope
from projections import worklist
from projections.audit import AuditRow, Step
from projections.blind_index import Index
from projections.catalog import NAMES
from projections.conditions import (
    RELATED_DAYS,
    AccessFilter,
    AuditFilter,
    CaseFilter,
    PendingFilter,
    Sql,
    any_within,
    equals,
    equals_hashed,
    in_scope,
    in_scope_today,
    matching,
    near,
    of_cases,
    reported_by,
    within_window,
)
from projections.deadlines import Action, Settled, actions
from projections.figures import Figures
from projections.looks import LookRow
from projections.paging import (
    ORDERS,
    BadCursor,
    Listing,
    Row,
    beyond,
    case_cursor,
    cursor_of,
    earlier,
    page_of,
    read_cursor,
    read_place,
)
from projections.past import AsOf, Moment, held, moment
from projections.past_cases import PAST
from projections.runner import reached
from projections.standing import Carried, Standing, carried, clock_ahead, standings
from projections.worklist import CaseRow


class Behind(Exception):
    """A read model has not reached the position that the query needs: ask again soon."""


@dataclass(slots=True)
class CaseCard(CaseRow):
    """A case with masks of what is personal: enough to tell cases apart in a list."""

    description: str
    address: str
    reporter_name: str
    reporter_phone: str
    reporter_address: str

    def with_facts(self, row: CaseRow) -> "CaseCard":
        """This card as another row says the case once stood; what was reported is the same."""
        facts = {name: getattr(row, name) for name in worklist.CASES.columns}
        return CaseCard(**facts, **{name: getattr(self, name) for name in MASKS})


MASKS: Final = (
    "description",
    "address",
    "reporter_name",
    "reporter_phone",
    "reporter_address",
)


Histories: TypeAlias = Callable[[Collection[str], int], Mapping[str, Sequence[Recorded[Any]]]]
"""The events of some streams up to a position of the log, by stream, oldest first."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """How long the oldest thing that is due has waited, in seconds, and how many could not be
    done."""

    seconds: float
    failing: int


class Gateway:
    """Answers queries from the read models. ``position`` is what an answer must at least know."""

    def __init__(self, pool: ConnectionPool, search_key: bytes, wait_seconds: float = 5.0) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_app``.

        ``search_key`` is the one that the read model ``search`` is built with.
        """
        self._pool = pool
        self._index = Index(search_key)
        self._wait_seconds = wait_seconds
        self.figures = Figures(self._ready)

    def head(self) -> int:
        """The last position of the log: nothing can be known beyond it."""
        with self._pool.connection() as connection:
            row = connection.execute("SELECT position FROM log.head").fetchone()
        return row[0] if row else 0

    def moment(self, as_of: AsOf | None, now: datetime) -> Moment:
        """The moment that a question is about.

        Raises:
            Refused: ``request.position_ahead``.
        """
        with self._ready(0) as connection:
            return moment(connection, as_of, now)

    def standings(self) -> list[Standing]:
        """How far every read model is; for watching the system, so nobody needs to ask."""
        with self._pool.connection() as connection:
            return standings(connection, NAMES)

    def carried(self) -> list[Carried]:
        """How far the log was carried out to topics; for watching the system."""
        with self._pool.connection() as connection:
            return carried(connection)

    def clock_ahead(self) -> float:
        """By how many seconds this machine's clock is ahead of the database's."""
        with self._pool.connection() as connection:
            return clock_ahead(connection)

    def hold(self, by: Actor, name: str, *, paused: bool) -> None:
        """Let a read model stand still, or go on; who may decide that was asked before."""
        with self._pool.connection() as connection:
            if paused:
                connection.execute("SELECT projector.pause(%s, %s)", (name, by.id))
            else:
                connection.execute("SELECT projector.resume(%s)", (name,))

    def worklist(
        self,
        by: Actor,
        wanted: CaseFilter,
        after: str | None = None,
        limit: int = 50,
        position: int = 0,
    ) -> Listing[CaseCard]:
        """Cases in scope, a page.

        Raises:
            BadCursor: ``after`` is not a cursor of this order.
            Refused: ``query.text_short``, a search of fewer than two characters, or
                ``query.bad_phone``, one without digits.
            Behind: not known up to ``position`` in time.
        """
        conditions = [in_scope(scope(by, Reading.CASES))]
        query = self._cases_query(_CARDS, _FOUND_CARDS, conditions, wanted, after, limit)
        with self._ready(position, "worklist", "search") as connection:
            rows = _fetch(connection, CaseCard, query)
        return page_of(rows, limit, lambda row: case_cursor(row, wanted.order))

    def worklist_as_of(
        self,
        by: Actor,
        wanted: CaseFilter,
        upto: int,
        histories: Histories,
        after: str | None = None,
        limit: int = 50,
        position: int = 0,
    ) -> Listing[CaseCard]:
        """The page that ``worklist`` would have given as of the position ``upto``.

        In scope is what was and still is: who may not see a case now sees nothing of its past.
        Personal data are those of today: masks hide what has been forgotten since, and ``text`` and
        ``phone`` are looked up in what can be found today. ``histories`` gives what the cards were.

        Raises:
            BadCursor: ``after`` is not a cursor of this order.
            Refused: ``query.text_short``, ``query.bad_phone``.
            Behind: not known up to ``upto`` and ``position`` in time.
        """
        seen = scope(by, Reading.CASES)
        conditions = [held("c", upto, passing=True), in_scope(seen), in_scope_today(seen)]
        query = self._cases_query(_PAST_MASKS, _FOUND_PAST_MASKS, conditions, wanted, after, limit)
        with self._ready(max(position, upto), "worklist", "search") as connection:
            found = connection.execute(query).fetchall()
        events = histories([case_stream(case) for case, *_ in found], upto)
        rows = []
        for case, *masks in found:
            facts = reduce(worklist.fold, events[case_stream(case)], None)
            rows.append(CaseCard(*_facts_of(facts), *masks))
        return page_of(rows, limit, lambda row: case_cursor(row, wanted.order))

    def counts(
        self, by: Actor, wanted: Sequence[CaseFilter], most: int = 1_000, position: int = 0
    ) -> list[int]:
        """How many cases in scope there are of each filter, in one round trip.

        Nobody counts a million to be told that there are many: from ``most + 1`` on they are not
        counted any further.

        Raises:
            Refused: ``query.text_short``, ``query.bad_phone``.
            Behind: not known up to ``position`` in time.
        """
        seen = in_scope(scope(by, Reading.CASES))
        counted = [
            sql.SQL("(SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) few)").format(
                _SEARCHED if matches else _KNOWN,
                sql.SQL(" AND ").join([seen, *of_cases(each), *matches]),
                sql.Literal(most + 1),
            )
            for each in wanted
            for matches in [matching(self._index, each)]
        ]
        query = sql.SQL("SELECT {}").format(sql.SQL(", ").join(counted))
        with self._ready(position, "worklist", "search") as connection:
            row = connection.execute(query).fetchone()
        return list(row or ())

    def _cases_query(
        self,
        rows: Sql,
        found_rows: Sql,
        conditions: list[Sql],
        wanted: CaseFilter,
        after: str | None,
        limit: int,
    ) -> Sql:
        """A page of cases and one more; ``found_rows`` is to be read where something is sought."""
        matches = matching(self._index, wanted)
        conditions = [*conditions, *of_cases(wanted), *matches]
        key, descending = ORDERS[wanted.order]
        if after is not None:
            conditions.append(beyond(key, descending, read_cursor(after, wanted.order)))
        return sql.SQL(
            '{rows} WHERE {where} ORDER BY {key} {direction}, c."case" {direction} LIMIT {limit}'
        ).format(
            rows=found_rows if matches else rows,
            where=sql.SQL(" AND ").join(conditions),
            key=key,
            direction=sql.SQL("DESC" if descending else "ASC"),
            limit=sql.Literal(limit + 1),
        )

    def card(self, by: Actor, case_id: str, position: int = 0) -> CaseCard:
        """One case in scope as it stands.

        Raises:
            Refused: ``case.unknown``, also for a case out of scope: its existence is not told.
            Behind: not known up to ``position`` in time.
        """
        query = sql.SQL('{} WHERE c."case" = {} AND {}').format(
            _CARDS, sql.Literal(case_id), in_scope(scope(by, Reading.CASES))
        )
        with self._ready(position, "worklist", "search") as connection:
            rows = _fetch(connection, CaseCard, query)
        if not rows:
            raise Refused("case.unknown", case=case_id)
        return rows[0]

    def related(self, by: Actor, case_id: str, limit: int, position: int = 0) -> list[CaseCard]:
        """Cases in scope that one may have to do with, latest first: of its category once it has
        one, within ``RELATED_DAYS`` of its report, in its grid or within some ``RELATED_METRES``.

        Raises:
            Refused: ``case.unknown``. Behind: not known up to ``position`` in time.
        """
        card = self.card(by, case_id, position)
        span = timedelta(days=RELATED_DAYS)
        conditions = [
            in_scope(scope(by, Reading.CASES)),
            sql.SQL('c."case" <> {}').format(sql.Literal(case_id)),
            *within_window("reported_at", card.reported_at - span, card.reported_at + span),
            near(card),
        ]
        if card.category is not None:
            conditions.append(equals("category", card.category))
        query = sql.SQL('{} WHERE {} ORDER BY reported_at DESC, c."case" DESC LIMIT {}').format(
            _CARDS, sql.SQL(" AND ").join(conditions), sql.Literal(limit)
        )
        with self._ready(position, "worklist", "search") as connection:
            return _fetch(connection, CaseCard, query)

    def timeline(self, by: Actor, case_id: str, position: int = 0) -> list[Step]:
        """The steps of a case in scope.

        Raises:
            Refused: ``case.unknown``. Behind: not known up to ``position`` in time.
        """
        self.card(by, case_id, position)
        query = sql.SQL("{} WHERE {} ORDER BY version").format(
            _STEPS, equals_hashed("object", case_stream(case_id))
        )
        with self._ready(position, "audit") as connection:
            rows = connection.execute(query).fetchall()
        return [Step(case_id, *row) for row in rows]

    def audit(
        self,
        by: Actor,
        wanted: AuditFilter,
        after: str | None = None,
        limit: int = 100,
        position: int = 0,
    ) -> Listing[AuditRow]:
        """Who did what, latest first, a page.

        What concerns no territory (catalogue, calendar) is seen by those whose scope is everywhere.

        Raises:
            BadCursor, Behind, Refused: ``query.not_permitted``.
        """
        seen = _demand_reader(by, Reading.AUDIT)
        conditions = [any_within("territory", seen.territories)]
        for column in ("actor", "object", "action", "correlation"):
            value = getattr(wanted, column)
            if value is not None:
                conditions.append(equals_hashed(column, value))
        conditions += within_window("at", wanted.since, wanted.until)
        if wanted.territory is not None:
            conditions.append(any_within("territory", (wanted.territory,)))
        if after is not None:
            conditions.append(earlier(read_cursor(after, "audit")))
        query = sql.SQL("{} WHERE {} ORDER BY position DESC LIMIT {}").format(
            _ENTRIES, sql.SQL(" AND ").join(conditions), sql.Literal(limit + 1)
        )
        with self._ready(position, "audit") as connection:
            rows = _fetch(connection, AuditRow, query)
        return page_of(rows, limit, lambda row: cursor_of("audit", str(row.position), ""))

    def audited(self, by: Actor, entry: int, position: int = 0) -> AuditRow:
        """One entry, by its position in the log.

        Raises:
            Refused: ``query.not_permitted``, or ``audit.unknown``, also for one out of scope.
            Behind: not known up to ``position`` in time.
        """
        seen = _demand_reader(by, Reading.AUDIT)
        query = sql.SQL("{} WHERE position = {} AND {}").format(
            _ENTRIES, sql.Literal(entry), any_within("territory", seen.territories)
        )
        with self._ready(position, "audit") as connection:
            rows = _fetch(connection, AuditRow, query)
        if not rows:
            raise Refused("audit.unknown", position=entry)
        return rows[0]

    def pending(
        self,
        by: Actor,
        ahead: timedelta,
        wanted: PendingFilter,
        after: str | None = None,
        limit: int = 100,
        position: int = 0,
        settled: Settled = (),
    ) -> Listing[Action]:
        """What will happen by itself to the cases in scope, by its time, a page.

        ``ahead`` is how long ahead the office reminds, ``settled`` what its calendar has published.

        Raises:
            BadCursor: ``after`` is not a cursor of this list.
            Behind: not known up to ``position`` in time.
        """
        conditions = [any_within("territory", scope(by, Reading.CASES).territories)]
        if wanted.territory is not None:
            conditions.append(any_within("territory", (wanted.territory,)))
        query = _pending_query(
            ahead,
            settled=settled,
            limit=limit + 1,
            after=None if after is None else read_place(after),
            where=sql.SQL(" AND ").join(conditions),
            kinds=tuple(Automatic) if wanted.kind is None else (wanted.kind,),
        )
        with self._ready(position, "deadlines") as connection:
            rows = _fetch(connection, Action, query)
        return page_of(
            rows,
            limit,
            lambda row: cursor_of("deadlines", row.at.isoformat(), f"{row.kind} {row.case}"),
        )

    def lateness(self, ahead: timedelta, now: datetime) -> Lateness:
        """How late the deadline process is; for watching the system, so nobody needs to ask."""
        failing = "SELECT count(*) FROM automatic.failure"
        with self._pool.connection() as connection:
            try:
                first = _fetch(connection, Action, actions(ahead, 1, before=now))
            except _BEING_REPLACED:
                first = []
            row = connection.execute(failing).fetchone()
        late = (now - first[0].at).total_seconds() if first else 0.0
        return Lateness(seconds=max(late, 0.0), failing=row[0] if row else 0)

    def access(
        self,
        by: Actor,
        wanted: AccessFilter,
        after: str | None = None,
        limit: int = 100,
        position: int = 0,
    ) -> Listing[LookRow]:
        """Who looked at whose personal data and why, latest first, a page.

        Who may read the audit trail sees the looks of its territories, everybody else only those at
        cases that the asker reported.

        Raises:
            BadCursor, Behind.
        """
        seen = scope(by, Reading.AUDIT)
        conditions: list[Sql] = [
            sql.SQL("({} OR {})").format(
                any_within("territory", seen.territories), reported_by(by.id)
            )
        ]
        for column in ("actor", "case"):
            value = getattr(wanted, column)
            if value is not None:
                conditions.append(equals(column, value))
        if wanted.person is not None:
            conditions.append(reported_by(wanted.person))
        if wanted.purpose is not None:
            conditions.append(equals("purpose", wanted.purpose.value))
        if wanted.territory is not None:
            conditions.append(any_within("territory", (wanted.territory,)))
        conditions += within_window("at", wanted.since, wanted.until)
        if after is not None:
            conditions.append(earlier(read_cursor(after, "looks")))
        query = sql.SQL(
            "SELECT * FROM looks.entries WHERE {} ORDER BY position DESC LIMIT {}"
        ).format(sql.SQL(" AND ").join(conditions), sql.Literal(limit + 1))
        with self._ready(position, "looks", "worklist") as connection:
            rows = _fetch(connection, LookRow, query)
        return page_of(rows, limit, lambda row: cursor_of("looks", str(row.position), ""))

    def names(self, by: Actor, users: Collection[str], position: int = 0) -> dict[str, str]:
        """What these of the staff are called, by id; nobody unknown stands in it.

        Colleagues are named to the staff; others learn no name but the own.

        Raises:
            Behind: not known up to ``position`` in time.
        """
        colleague = bool(scope(by, Reading.ADMINISTRATION).territories)
        wanted = [user for user in users if colleague or user == by.id]
        with self._ready(position, "search") as connection:
            return dict(
                connection.execute(
                    'SELECT "user", name FROM search.staff_names WHERE "user" = ANY(%s)', (wanted,)
                ).fetchall()
            )

    def cases_of(self, by: Actor, person: str, position: int = 0) -> list[str]:
        """All cases that a person reported or that were split from them, in order of their ids.

        For approving that the person be forgotten: the texts of all of these go too.

        Raises:
            Refused: ``query.not_permitted``: they may lie anywhere, so the right must reach there.
            Behind: not known up to ``position`` in time.
        """
        if EVERYWHERE not in scope(by, Reading.AUDIT).territories:
            raise Refused("query.not_permitted", reading=Reading.AUDIT.value)
        with self._ready(position, "worklist") as connection:
            rows = connection.execute(
                'SELECT "case" FROM worklist.cases WHERE reporter = %(person)s'
                ' UNION SELECT part."case" FROM worklist.cases part'
                ' JOIN worklist.cases whole ON whole."case" = part.parent'
                ' WHERE whole.reporter = %(person)s ORDER BY "case"',
                {"person": person},
            ).fetchall()
        return [row[0] for row in rows]

    @contextmanager
    def _ready(
        self, position: int, *read_models: str, snapshot: bool = False
    ) -> Iterator[psycopg.Connection]:
        """A connection on which these read models know the log up to a position; ``snapshot``: all
        that is asked on it is answered from one moment."""
        # Looked up where the answer is read, on one connection, which ends with the database: what
        # a crash takes back of a read model, another connection may have seen before.
        deadline = time.monotonic() + self._wait_seconds
        while True:
            with self._pool.connection() as connection:
                behind = _behind(connection, read_models, position)
                if behind is None:
                    try:
                        with _snapshot(connection) if snapshot else nullcontext():
                            yield connection
                    except _BEING_REPLACED as error:
                        raise Behind(", ".join(read_models)) from error
                    return
            # With no connection in hand: others have work for it.
            if time.monotonic() >= deadline:
                raise Behind(behind)
            time.sleep(0.01)


@contextmanager
def _snapshot(connection: psycopg.Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _behind(connection: psycopg.Connection, names: Iterable[str], position: int) -> str | None:
    """The first of some read models that does not know the log up to a position."""
    if position <= 0:
        return None
    return next((name for name in names if not reached(connection, name, position)), None)


_BEING_REPLACED: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)
"""A read model that is not built yet, or that a newer version of the program is building anew."""


def _demand_reader(by: Actor, reading: Reading) -> Scope:
    seen = scope(by, reading)
    if not seen.territories:
        raise Refused("query.not_permitted", reading=reading.value)
    return seen


def _pending_query(ahead: timedelta, **wanted: Any) -> sql.Composed:
    """The query for what waits; a forged cursor may name a time that no calendar reaches."""
    try:
        return actions(ahead, **wanted)
    except OverflowError as error:
        raise BadCursor from error


def _cards(table: str, columns: Sequence[str], join: str) -> sql.Composed:
    """Cases of a table of the worklist with their masks.

    A case that ``search`` does not know yet is a case all the same: by a LEFT JOIN it is there, and
    its masks hide everything. Only a JOIN lets PostgreSQL begin with what a search has found.
    """
    masks = [
        sql.SQL("coalesce({0}, {1}) AS {2}").format(
            sql.Identifier("s", name), sql.Literal(SEALED), sql.Identifier(name)
        )
        for name in MASKS
    ]
    return sql.SQL('SELECT {} FROM {} c {} search.cases s ON s."case" = c."case"').format(
        sql.SQL(", ").join([sql.Identifier("c", n) for n in columns] + masks),
        sql.Identifier("worklist", table),
        sql.SQL(join),
    )


_CARDS: Final = _cards(worklist.CASES.name, worklist.CASES.columns, "LEFT JOIN")


_FOUND_CARDS: Final = _cards(worklist.CASES.name, worklist.CASES.columns, "JOIN")


_PAST_MASKS: Final = _cards(PAST.name, ("case",), "LEFT JOIN")


_FOUND_PAST_MASKS: Final = _cards(PAST.name, ("case",), "JOIN")


_KNOWN: Final = sql.SQL("worklist.cases c")


_SEARCHED: Final = sql.SQL('worklist.cases c JOIN search.cases s ON s."case" = c."case"')


_ENTRIES: Final = sql.SQL("SELECT {} FROM audit.entries").format(
    sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(AuditRow))
)
"""Without what entries say of people: that is for the timeline of a case."""


_STEPS: Final = sql.SQL(
    "SELECT version, position, at, recorded_at, action, actor, roles, details FROM audit.entries"
)
"""The entries of a case, as the fields of a ``Step`` that come after it."""


_facts_of: Final = attrgetter(*worklist.CASES.columns)


def _fetch(connection: psycopg.Connection, row: type[Row], query: Sql) -> list[Row]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(query).fetchall()
