"""Deadlines (待自动办理): what will happen to a case by itself, and when.

One row a case says what its next deadlines rest on; what waits is read from it, one range of one
index for each kind of thing, so that it never matters how many cases there are. How long ahead the
office reminds is asked at that moment: it is the catalogue's, and may change.

Beside it, in ``automatic.failure``, stands what could not be done, and when it is tried again.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from domain.case import events as e
from domain.case.clock import halfway
from domain.case.commands import EscalationReason
from domain.deadlines import Automatic
from domain.history import Recorded
from domain.places import TOP
from projections.projection import Projection
from projections.shapes import ByEvent
from projections.tables import Table, case_id, folding

SCHEMA: Final = """
CREATE TABLE cases (
    "case"        text COLLATE "C" PRIMARY KEY,
    territory     text        COLLATE "C" NOT NULL,
    tier          smallint    NOT NULL,
    episode       integer     NOT NULL,
    phase         text        COLLATE "C" NOT NULL,
    started       timestamptz NOT NULL,
    halfway       timestamptz,
    due           timestamptz,
    provisional   boolean     NOT NULL,
    contact_due   timestamptz,
    contact_provisional boolean NOT NULL,
    reminded      boolean     NOT NULL,
    breached      boolean     NOT NULL,
    in_hand       boolean     NOT NULL,
    escalated     boolean     NOT NULL,
    parked_until  timestamptz,
    reopen_days   integer     NOT NULL,
    reopens_until timestamptz
);
"""

INDEXES: Final = """
CREATE INDEX cases_breach ON cases (due, "case")
    WHERE phase = 'running' AND (NOT breached OR in_hand AND NOT escalated) AND due IS NOT NULL;
CREATE INDEX cases_reminder ON cases (due, "case")
    WHERE phase = 'running' AND NOT breached AND NOT reminded AND due IS NOT NULL;
CREATE INDEX cases_halfway ON cases (halfway, "case")
    WHERE phase = 'running' AND NOT breached AND NOT reminded AND due IS NOT NULL;
CREATE INDEX cases_provisional ON cases (due, "case")
    WHERE (provisional OR contact_provisional) AND phase IN ('running', 'parked');
CREATE INDEX cases_parked ON cases (parked_until, "case") WHERE phase = 'parked';
CREATE INDEX cases_reopens ON cases (reopens_until, "case") WHERE phase = 'closed';
CREATE INDEX cases_running_in ON cases (territory)
    WHERE phase = 'running' AND (NOT breached OR in_hand AND NOT escalated) AND due IS NOT NULL;
CREATE INDEX cases_reopens_in ON cases (territory) WHERE phase = 'closed';
"""


@dataclass(slots=True)
class Row:
    """A filed case. ``phase`` is running, parked, closed or over: then nothing waits any more.

    ``due`` is the adjusted one, None where there is no deadline; ``provisional`` (暂定) where it
    crosses a year whose schedule was not published then, ``contact_provisional`` where the due of a
    first contact that is still to come does; ``halfway`` lies between it and the start
    of the episode. ``in_hand``: somebody has it, from whom the breach takes it up unless it is
    ``escalated`` already. ``reopen_days`` are those that the case was promised.
    """

    case: str
    territory: str
    tier: int
    episode: int
    phase: str
    started: datetime
    halfway: datetime | None
    due: datetime | None
    provisional: bool
    contact_due: datetime | None
    contact_provisional: bool
    reminded: bool
    breached: bool
    in_hand: bool
    escalated: bool
    parked_until: datetime | None
    reopen_days: int
    reopens_until: datetime | None


CASES: Final = Table("cases", Row, key=("case",), copied=True)


def _filed(case: str, event: Any) -> Row:
    row = Row(
        case=case,
        territory=event.territory,
        tier=event.tier,
        episode=event.episode,
        phase="running",
        started=event.at,
        halfway=None,
        due=None,
        provisional=False,
        contact_due=event.contact_due,
        contact_provisional=False,
        reminded=False,
        breached=False,
        in_hand=False,
        escalated=False,
        parked_until=None,
        reopen_days=event.terms.policy.reopen_window_days,
        reopens_until=None,
    )
    _due(row, event)
    return row


def _due(row: Row, event: Any) -> None:
    row.due, row.provisional = event.due, event.provisional
    row.halfway = None if event.due is None else halfway(row.started, event.due)


def _reclassified(row: Row, event: Any) -> None:
    row.reopen_days = event.terms.policy.reopen_window_days
    _due(row, event)


def _moved(row: Row, event: Any) -> None:
    row.tier, row.in_hand = event.tier, True


def _escalated(row: Row, event: Any) -> None:
    _moved(row, event)
    row.escalated = row.escalated or event.reason == EscalationReason.SLA_BREACH


def _contact_reckoned(row: Row, event: Any) -> None:
    row.contact_due, row.contact_provisional = event.contact_due, event.provisional


def _accepted(row: Row, event: Any) -> None:
    row.contact_provisional = row.contact_provisional and not event.first_contact


def _given(row: Row, _event: Any) -> None:
    row.in_hand = True


def _done(row: Row, _event: Any) -> None:
    row.in_hand = False


def _parked(row: Row, event: Any) -> None:
    row.phase, row.parked_until = "parked", event.until


def _resumed(row: Row, event: Any) -> None:
    row.phase, row.parked_until = "running", None
    _due(row, event)


def _reminded(row: Row, _event: Any) -> None:
    row.reminded = True


def _breached(row: Row, event: Any) -> None:
    row.breached = True
    row.escalated = row.escalated or event.tier == TOP


def _closed(row: Row, event: Any) -> None:
    row.phase = "closed"
    row.reopens_until = event.at + timedelta(days=row.reopen_days)


def _reopened(row: Row, event: Any) -> None:
    row.phase, row.episode, row.started = "running", event.episode, event.at
    row.reminded, row.breached, row.reopens_until = False, False, None
    row.in_hand, row.escalated = True, False
    row.contact_due, row.contact_provisional = event.contact_due, False
    _due(row, event)


def _over(row: Row, _event: Any) -> None:
    row.phase, row.parked_until = "over", None


_TURNS: Final[dict[type, Callable[[Row, Any], None]]] = {
    e.CaseReclassified: _reclassified,
    e.CaseDispatched: _given,
    e.CaseTransferred: _given,
    e.CaseAccepted: _accepted,
    e.ContactDueReckoned: _contact_reckoned,
    e.CaseEscalated: _escalated,
    e.CaseReturned: _moved,
    e.CaseParked: _parked,
    e.CaseResumed: _resumed,
    e.DeadlineExtended: _due,
    e.DueRecomputed: _due,
    e.DueReminded: _reminded,
    e.DeadlineBreached: _breached,
    e.CaseResolved: _done,
    e.CheckFailed: _given,
    e.CaseClosed: _closed,
    e.CaseReopened: _reopened,
    e.ReopeningEnded: _over,
    e.CaseVoided: _over,
    e.CaseMerged: _over,
}

_READS: Final[dict[type, str | None]] = {
    e.CaseFiled: "at territory tier episode due provisional contact_due"
    " terms.policy.reopen_window_days",
    e.CaseReclassified: "due provisional terms.policy.reopen_window_days",
    e.CaseDispatched: "",
    e.CaseTransferred: "",
    e.CaseAccepted: "first_contact",
    e.ContactDueReckoned: "contact_due provisional",
    e.CaseEscalated: "tier reason",
    e.CaseReturned: "tier",
    e.CaseParked: "until",
    e.CaseResumed: "due provisional",
    e.DeadlineExtended: "due provisional",
    e.DueRecomputed: "due provisional",
    e.DueReminded: "",
    e.DeadlineBreached: "tier",
    e.CaseResolved: "",
    e.CheckFailed: "",
    e.CaseClosed: "at",
    e.CaseReopened: "at episode due provisional contact_due",
    e.ReopeningEnded: "",
    e.CaseVoided: "",
    e.CaseMerged: "",
}
_TURN_OF: Final = ByEvent(_TURNS)


def fold(rows: dict[str, Row], recorded: Recorded[Any]) -> None:
    """Change the row of an event's case."""
    case, event = case_id(recorded), recorded.event
    turn = _TURN_OF[type(event)]
    if turn is None:
        rows[case] = _filed(case, event)
    elif case in rows:  # a case that was merged before it was filed never had a deadline
        turn(rows[case], event)


DEADLINES: Final = Projection(
    name="deadlines",
    version=4,
    schema=SCHEMA,
    indexes=INDEXES,
    tables=(CASES,),
    events=tuple(_READS),
    apply=folding(CASES, fold),
    reads=_READS,
    beside=(),
)


# --- what waits -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that will happen to a case after ``at``; moot after ``until``, if there is one.

    ``attempts`` counts how often it was tried in vain, ``error`` says why the last time, and
    ``retry_at`` when it is tried again.
    """

    at: datetime
    case: str
    kind: str
    until: datetime | None
    territory: str
    tier: int
    episode: int
    due: datetime | None
    attempts: int
    error: str | None
    retry_at: datetime | None

    @property
    def place(self) -> "Place":
        """Where it stands in the order of what waits."""
        return Place(self.at, self.case, self.kind)


class Place(NamedTuple):
    """A place in the order of what waits: by time, then by case and kind."""

    at: datetime
    case: str
    kind: str


class _Branch(NamedTuple):
    """One kind of action: which rows have it waiting, and the column that its time comes from.

    An action's time is ``column - shift``; bounds are moved to the column's side, where the index
    is. ``until`` is when it is moot. ``column`` may be an expression; then ``near`` says which rows
    can be due before a time at all, by a column that has an index.
    """

    kind: Automatic
    condition: str
    column: str
    shift: timedelta = timedelta()
    until: str = "NULL::timestamptz"
    near: str = "true"


_LATE: Final = (
    "phase = 'running' AND due IS NOT NULL"
    f" AND (NOT breached OR in_hand AND NOT escalated AND tier < {TOP:d})"
)
_REMINDED_OF: Final = "phase = 'running' AND NOT breached AND NOT reminded AND due IS NOT NULL"


Settled = Sequence[tuple[datetime, datetime]]
"""The spans within which no due is provisional any more, as ``Calendar.settled`` tells them."""

EVER: Final[Settled] = ((datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)),)


def _stale(settled: Settled) -> _Branch:
    """Provisional dues that are not so any more: of all years that they cross the schedule is
    published. Nothing is to be waited for, so their moment is as early as can be."""
    spans = sql.SQL(" OR ").join(
        sql.SQL(
            "(started >= {begin}"
            " AND (provisional AND due < {end} OR contact_provisional AND contact_due < {end}))"
        ).format(begin=sql.Literal(begin), end=sql.Literal(end))
        for begin, end in settled
    )
    uncertain = "(provisional OR contact_provisional) AND phase IN ('running', 'parked')"
    return _Branch(Automatic.RECOMPUTE, f"{uncertain} AND ({spans.as_string()})", "started")


def _branches(ahead: timedelta, settled: Settled, *, due_only: bool) -> list[_Branch]:
    found = [
        _Branch(Automatic.BREACH, _LATE, "due"),
        _Branch(Automatic.PARKING_END, "phase = 'parked'", "parked_until"),
        _Branch(Automatic.REOPENING_END, "phase = 'closed'", "reopens_until"),
    ]
    if settled:
        found.append(_stale(settled))
    if not ahead:
        return found
    if due_only:
        # Those whose due is so near are few, for most of them have been reminded.
        return [
            *found,
            _Branch(
                Automatic.REMINDER,
                _REMINDED_OF,
                "greatest(due - {ahead}, halfway)",
                until="due",
                near="due >= {before} AND due < {before} + {ahead}",
            ),
        ]
    # All of them: the later of the two moments, each by its own index.
    return [
        *found,
        _Branch(
            Automatic.REMINDER,
            f"{_REMINDED_OF} AND due - halfway >= {{ahead}}",
            "due",
            ahead,
            "due",
        ),
        _Branch(
            Automatic.REMINDER,
            f"{_REMINDED_OF} AND due - halfway < {{ahead}}",
            "halfway",
            until="due",
        ),
    ]


def actions(
    ahead: timedelta,
    limit: int,
    *,
    settled: Settled = (),
    after: Place | None = None,
    before: datetime | None = None,
    where: sql.SQL | sql.Composed | None = None,
    kinds: Collection[Automatic] = tuple(Automatic),
) -> sql.Composed:
    """The query for a page of what waits, in order of ``Place``.

    ``ahead`` is how long ahead the office reminds (nothing: never), ``settled`` what is published
    (nothing: it is not asked which dues are to be reckoned again), ``before`` asks only for what is
    due by then, ``where`` is a condition on the columns of the table.
    """
    branches = [
        branch
        for branch in _branches(ahead, settled, due_only=before is not None)
        if branch.kind in kinds
    ]
    if not branches:  # as reminders of an office that does without
        branches, where = _branches(ahead, (), due_only=True)[:1], sql.SQL("false")
    each = sql.SQL(" UNION ALL ").join(
        _page_of(branch, ahead, limit, after, before, where or sql.SQL("true"))
        for branch in branches
    )
    return sql.SQL(
        'SELECT p.at, p."case", p.kind, p.until, p.territory, p.tier, p.episode, p.due,'
        " coalesce(f.attempts, 0) AS attempts, f.error, f.retry_at FROM ({}) p"
        ' LEFT JOIN automatic.failure f USING ("case", kind, episode)'
        ' ORDER BY p.at, p."case", p.kind LIMIT {}'
    ).format(each, sql.Literal(limit))


def _page_of(
    branch: _Branch,
    ahead: timedelta,
    limit: int,
    after: Place | None,
    before: datetime | None,
    where: sql.SQL | sql.Composed,
) -> sql.Composed:
    given = {"ahead": sql.Literal(ahead), "before": sql.Literal(before)}
    column = sql.SQL(branch.column).format(**given)
    conditions: list[sql.SQL | sql.Composed] = [where, sql.SQL(branch.condition).format(**given)]
    if before is not None:
        conditions.append(sql.SQL("{} < {}").format(column, sql.Literal(before + branch.shift)))
        conditions.append(sql.SQL(branch.near).format(**given))
    if after is not None:
        conditions.append(
            sql.SQL('({}, "case") {} ({}, {})').format(
                column,
                sql.SQL(">=" if branch.kind.value > after.kind else ">"),
                sql.Literal(after.at + branch.shift),
                sql.Literal(after.case),
            )
        )
    return sql.SQL(
        '(SELECT {column} - {shift} AS at, "case", {kind} AS kind, {until} AS until,'
        " territory, tier, episode, due FROM deadlines.cases WHERE {where}"
        ' ORDER BY {column}, "case" LIMIT {limit})'
    ).format(
        column=column,
        shift=sql.Literal(branch.shift),
        kind=sql.Literal(branch.kind.value),
        until=sql.SQL(branch.until),
        where=sql.SQL(" AND ").join(conditions),
        limit=sql.Literal(limit),
    )


# --- for the process that does it -------------------------------------------------------------


class Backlog:
    """What is due, and what could not be done, on a connection of the role ``wangge_projector``."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def page(
        self,
        now: datetime,
        ahead: timedelta,
        settled: Settled,
        after: Place | None,
        limit: int,
    ) -> list[Action]:
        """What is due, in order; nothing while the read model is not there."""
        query = actions(ahead, limit, settled=settled, after=after, before=now)
        try:
            with self._connection.cursor(row_factory=class_row(Action)) as cursor:
                return cursor.execute(query).fetchall()
        except _NOT_THERE:
            return []

    def failed(self, action: Action, error: str, retry_at: datetime) -> None:
        """Note that something could not be done, once more."""
        self._connection.execute(
            'INSERT INTO automatic.failure ("case", kind, episode, attempts, error, retry_at)'
            " VALUES (%s, %s, %s, 1, %s, %s)"
            ' ON CONFLICT ("case", kind, episode) DO UPDATE SET attempts = failure.attempts + 1,'
            " error = excluded.error, retry_at = excluded.retry_at",
            (action.case, action.kind, action.episode, error[:1000], retry_at),
        )

    def settle(self) -> None:
        """Forget the failures of what no longer waits: it was done, or is not to be done."""
        waiting = sql.SQL(" OR ").join(
            sql.SQL("(f.kind = {} AND {})").format(
                sql.Literal(branch.kind.value),
                sql.SQL(branch.condition).format(ahead=sql.Literal(timedelta())),
            )
            for branch in _branches(timedelta(1), EVER, due_only=True)
        )
        query = sql.SQL(
            "DELETE FROM automatic.failure f WHERE NOT EXISTS (SELECT FROM deadlines.cases c"
            ' WHERE c."case" = f."case" AND c.episode = f.episode AND ({}))'
        ).format(waiting)
        with suppress(*_NOT_THERE):
            self._connection.execute(query)


_NOT_THERE: Final = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
"""The read model is not built yet, or just being put in place."""
