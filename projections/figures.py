"""Answers to metrics: counted from spans, now or as of any past, with the cases behind them.

A question is composed from the entries of ``metrics``, and counted as ``counting`` has it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from domain.errors import Refused
from domain.metrics import Ratio, gini, variation
from domain.places import EVERYWHERE, within
from domain.roles import Actor, Reading, scope
from projections import ages
from projections.ages import Ages
from projections.counting import (
    By,
    Counting,
    Question,
    Sql,
    Sums,
    added,
    in_force,
    inside,
    sums_for,
)
from projections.measures import Figure, Metric, Part
from projections.metrics import BACKLOG, CASELOAD
from projections.past import Moment, moment, quoted

Ready: TypeAlias = Callable[..., AbstractContextManager[psycopg.Connection]]
"""Hands out a connection on which some read models know the log up to a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure. ``excluded`` counts by reason what is in neither part."""

    rate: Ratio
    excluded: dict[str, int]
    before: Ratio | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of one territory, grid, category, size, source, day, week or month; by figure and
    reason what is in neither part."""

    key: str
    figures: dict[str, Ratio]
    excluded: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A metric as it stood at ``moment``, answered from the log up to ``position``."""

    metric: Metric
    position: int
    moment: Moment
    question: Question
    before: Question | None
    figures: dict[str, Measured]
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class Counted:
    """A case behind a figure: when it counts, and how often."""

    case: str
    nth: int
    at: datetime
    territory: str
    category: str
    size: str
    source: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Metric 10. ``calendar`` ages are since filing, ``running`` ones what the clock of the present
    episode has counted: working time or all time, by its limit, without its pauses."""

    answer: Answer
    calendar: Ages
    running: Ages


@dataclass(frozen=True, slots=True)
class GridLoad:
    """One grid in force. ``load`` is weighted cases a worker, ``residents_each`` residents a
    worker; None where nobody works. ``workers`` are those who are not suspended."""

    path: str
    name: str
    cases: int
    weighted: int
    workers: int
    households: int
    residents: int
    load: float | None
    residents_each: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How evenly something is shared; see ``domain.metrics``."""

    gini: float | None
    variation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caseload:
    """Metric 11 over the grids in force at the window's end, by who worked there then."""

    answer: Answer
    grids: list[GridLoad]
    without_cases: int
    without_workers: int
    by_cases: Balance
    by_residents: Balance


class Figures:
    """Answers metrics. Every question names who asks, and is answered within their scope."""

    def __init__(self, ready: Ready, *, by_rows: bool = False) -> None:
        """``ready(position, *read_models)`` hands out connections; ``by_rows``: count every row,
        and use no sums, which come to the same."""
        self.ready = ready
        self._by_rows = by_rows

    def answer(
        self, by: Actor, metric: Metric, asked: Question, over: By | None = None, position: int = 0
    ) -> Answer:
        """The figures of a metric; ``over`` breaks them down.

        Raises:
            Refused: ``query.not_permitted``, ``request.position_ahead``,
                ``query.too_many_periods``.
            Behind: not known up to ``position`` in time.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        with self._at(then, metric, position) as connection:
            sums = self._sums(connection, metric, then)
            return _answer(connection, Counting(metric, asked, then, paths, sums), over)

    def cases(
        self,
        by: Actor,
        metric: Metric,
        figure: Figure,
        part: Part,
        reason: str | None,
        asked: Question,
        after: tuple[str, str, int] | None = None,
        limit: int = 50,
        position: int = 0,
    ) -> list[Counted]:
        """The cases behind a part of a figure, by the time at which they count; at most ``limit``.

        ``after`` is the time (ISO), case and number of the last one that was seen.

        Raises:
            Refused: ``query.not_permitted``, ``query.no_such_reason``, ``request.position_ahead``.
            Behind: not known up to ``position`` in time.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        columns = (
            't."case", t.nth, {at} AS at, t.territory, t.category, t.size AS filed_size, t.source'
        )
        conditions: list[Sql] = [sql.SQL(figure.condition(part, reason))]
        if after is not None:
            conditions.append(
                sql.SQL('(at, "case", nth) > ({}::timestamptz, {}, {})').format(
                    *map(sql.Literal, after)
                )
            )
        query = sql.SQL(
            'SELECT "case", nth, at, territory, category, filed_size AS size, source,'
            " ({weight})::bigint AS count FROM ({rows}) counted WHERE {where}"
            ' ORDER BY at, "case", nth LIMIT {limit}'
        ).format(
            weight=sql.SQL(figure.weight(part)),
            rows=sql.SQL(" UNION ALL ").join(
                Counting(metric, asked, then, paths).rows(rows, columns) for rows in metric.rows
            ),
            where=sql.SQL(" AND ").join(conditions),
            limit=quoted(limit),
        )
        with (
            self._at(then, metric, position) as connection,
            connection.cursor(row_factory=class_row(Counted)) as cursor,
        ):
            return cursor.execute(query).fetchall()

    def backlog(
        self, by: Actor, asked: Question, over: By | None = None, position: int = 0
    ) -> Backlog:
        """Metric 10: what is open, and for how long. The window says when it was filed.

        Raises:
            Refused, Behind: as ``answer``.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        with self._at(then, BACKLOG, position) as connection:
            counting = Counting(BACKLOG, asked, then, paths)
            answer = _answer(connection, counting, over)
            (rows,) = BACKLOG.rows
            clocks = counting.rows(rows, ages.CLOCK)
            calendar, running = ages.reckoned(connection, clocks, then)
        return Backlog(answer=answer, calendar=calendar, running=running)

    def caseload(
        self, by: Actor, asked: Question, over: By | None = None, position: int = 0
    ) -> Caseload:
        """Metric 11; cases count by when they were filed, grids as in force at the window's end.

        Raises:
            Refused, Behind: as ``answer``.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        with self._at(then, CASELOAD, position) as connection:
            sums = self._sums(connection, CASELOAD, then)
            counting = Counting(CASELOAD, asked, then, paths, sums)
            each = dict(counting.by("grid").count(connection))
            now = {
                name: sum(counts[name] for counts in each.values())
                for name in added(CASELOAD.name)[0]
            }
            answer = _answer(connection, counting, over, now)
            rows = connection.execute(_grids(asked, then, paths)).fetchall()
        grids = [_load(each.get(row[0]), *row) for row in rows]
        loads = [grid.load for grid in grids if grid.load is not None]
        residents = [g.residents_each for g in grids if g.residents_each is not None]
        return Caseload(
            answer=answer,
            grids=grids,
            without_cases=sum(grid.cases == 0 for grid in grids),
            without_workers=sum(grid.workers == 0 for grid in grids),
            by_cases=Balance(gini=gini(loads), variation=variation(loads)),
            by_residents=Balance(gini=gini(residents), variation=variation(residents)),
        )

    def _moment(self, by: Actor, asked: Question) -> Moment:
        _within_scope(by, asked)  # before anything is looked up for somebody who may not ask
        with self.ready(0) as connection:
            return moment(connection, asked.as_of, asked.now)

    def _sums(self, connection: psycopg.Connection, metric: Metric, then: Moment) -> Sums | None:
        return None if self._by_rows else sums_for(connection, metric, then)

    def _at(
        self, then: Moment, metric: Metric, position: int
    ) -> AbstractContextManager[psycopg.Connection]:
        return self.ready(max(position, then.position or 0), metric.model, snapshot=True)


def _within_scope(by: Actor, asked: Question) -> tuple[str, ...]:
    """The territories that are asked for; none named means all that the asker may see.

    Raises:
        Refused: ``query.not_permitted``.
    """
    seen = scope(by, Reading.METRICS).territories
    if not seen or (asked.territory and not any(within(asked.territory, p) for p in seen)):
        raise Refused("query.not_permitted", reading=Reading.METRICS.value)
    return (asked.territory,) if asked.territory else seen


# --- answers ---


def _answer(
    connection: psycopg.Connection,
    counting: Counting,
    over: By | None,
    now: dict[str, int] | None = None,
) -> Answer:
    """The figures of a metric; ``now`` is given where they were counted already."""
    metric, asked, then = counting.metric, counting.asked, counting.then
    earlier = asked.before(then)
    if now is None:
        ((_, now),) = counting.count(connection)
    before: dict[str, int] | None = None
    if earlier is not None:
        ((_, before),) = replace(counting, asked=earlier).count(connection)
    groups = counting.by(over).count(connection) if over else []
    checkpoint = sql.SQL("SELECT min(position) FROM {}").format(
        sql.Identifier(metric.model, "checkpoint")
    )
    row = connection.execute(checkpoint).fetchone()
    assert row is not None
    return Answer(
        metric=metric,
        position=row[0] if then.position is None else then.position,
        moment=then,
        question=asked,
        before=earlier,
        figures={
            figure.name: Measured(
                rate=_rate(now, figure),
                excluded=_excluded(now, figure),
                before=_rate(before, figure) if before else None,
            )
            for figure in metric.figures
        },
        groups=[
            Group(
                key=key,
                figures={f.name: _rate(counts, f) for f in metric.figures},
                excluded={f.name: _excluded(counts, f) for f in metric.figures},
            )
            for key, counts in groups
        ],
    )


def _rate(counts: Mapping[str, int], figure: Figure) -> Ratio:
    return Ratio(numerator=counts[f"{figure.name}"], denominator=counts[f"{figure.name} of"])


def _excluded(counts: Mapping[str, int], figure: Figure) -> dict[str, int]:
    return {reason: counts[f"{figure.name}: {reason}"] for reason in figure.excluded}


# --- grids ---


def _grids(asked: Question, then: Moment, paths: tuple[str, ...]) -> Sql:
    """The grids in force: path, name, workers who are active at the end, households, residents."""
    last = asked.until - timedelta(microseconds=1) if asked.until else then.at
    conditions = [in_force(asked, then), *inside(sql.Identifier("g", "path"), paths)]
    return sql.SQL(
        "SELECT g.path, g.name, (SELECT count(*) FROM caseload.workers w"
        " WHERE w.path = g.path AND {assigned} AND NOT EXISTS (SELECT FROM caseload.workers s"
        " WHERE s.path = {everywhere} AND s.worker = w.worker AND {suspended})),"
        " g.households, g.residents FROM caseload.grids g WHERE {grids} ORDER BY g.path"
    ).format(
        assigned=_lasts("w", then, last),
        everywhere=quoted(EVERYWHERE),
        suspended=_lasts("s", then, last),
        grids=sql.SQL(" AND ").join(conditions),
    )


def _lasts(row: str, then: Moment, at: datetime) -> Sql:
    """Whether what a row of workers says is so at an instant."""
    since, until = sql.Identifier(row, "since"), sql.Identifier(row, "until")
    return sql.SQL("{} AND {} <= {at} AND ({until} IS NULL OR {until} > {at})").format(
        then.holds(row), since, at=quoted(at), until=until
    )


def _load(
    counts: Mapping[str, int] | None,
    path: str,
    name: str,
    workers: int,
    households: int,
    residents: int,
) -> GridLoad:
    (weight,) = CASELOAD.figures
    cases = _rate(counts, weight) if counts else Ratio(numerator=0, denominator=0)
    return GridLoad(
        path=path,
        name=name,
        cases=cases.denominator,
        weighted=cases.numerator,
        workers=workers,
        households=households,
        residents=residents,
        load=cases.numerator / workers if workers else None,
        residents_each=residents / workers if workers else None,
    )
