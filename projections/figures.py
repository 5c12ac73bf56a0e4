"""Answers to metrics: counted from spans, now or as of any past, with the cases behind them.

A question is composed from the entries of ``metrics``. Rows are first counted by what the figures
look at, then each figure adds up those that it means: a dozen figures cost hardly more than one.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final, Literal, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from domain.calendar import office_time
from domain.errors import Refused
from domain.metrics import Ratio, gini, variation
from domain.places import EVERYWHERE, depth, within
from domain.roles import Actor, Reading, scope
from projections import ages, daily
from projections.ages import Ages
from projections.measures import Figure, Metric, Part, Rows
from projections.metrics import BACKLOG, BIG_WEIGHT, CASELOAD, METRICS
from projections.past import AsOf, Moment, moment, quoted

Sql: TypeAlias = sql.SQL | sql.Composed
By: TypeAlias = Literal["territory", "category", "size", "source", "day", "month"]
Ready: TypeAlias = Callable[..., AbstractContextManager[psycopg.Connection]]
"""Hands out a connection on which some read models know the log up to a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a metric covers: a territory with all below it, instants (the end not included), a
    category, a size at first filing, a source. ``now`` is the present moment."""

    now: datetime
    as_of: AsOf | None = None
    territory: str = ""
    since: datetime | None = None
    until: datetime | None = None
    category: str | None = None
    size: str | None = None
    source: str | None = None

    def before(self, moment_: Moment) -> "Question | None":
        """The same of the window of the same length that ended when this one begins."""
        if self.since is None:
            return None
        length = (self.until or moment_.at) - self.since
        return replace(self, since=self.since - length, until=self.since) if length else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure. ``excluded`` counts by reason what is in neither part."""

    rate: Ratio
    excluded: dict[str, int]
    before: Ratio | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of one territory, category, size, source, day or month."""

    key: str
    figures: dict[str, Ratio]


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
    worker; None where nobody works."""

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
    """Metric 11 over the grids in force at the window's end."""

    answer: Answer
    grids: list[GridLoad]
    without_cases: int
    without_workers: int
    by_cases: Balance
    by_residents: Balance


_SIMPLE_DIMENSIONS: Final = ("category", "size", "source")


class Figures:
    """Answers metrics. Every question names who asks, and is answered within their scope."""

    def __init__(self, ready: Ready) -> None:
        """``ready(position, *read_models)`` hands out connections."""
        self._ready = ready

    def answer(
        self, by: Actor, metric: Metric, asked: Question, over: By | None = None, position: int = 0
    ) -> Answer:
        """The figures of a metric; ``over`` breaks them down.

        Raises:
            Refused: ``query.not_permitted``, ``request.position_ahead``.
            Behind: not known up to ``position`` in time.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        with self._at(then, metric, position) as connection:
            return _answer(connection, metric, asked, then, paths, over)

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
                _rows(metric, rows, asked, then, paths, columns) for rows in metric.rows
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
            answer = _answer(connection, BACKLOG, asked, then, paths, over)
            (rows,) = BACKLOG.rows
            clocks = _rows(BACKLOG, rows, asked, then, paths, ages.CLOCK)
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
            answer = _answer(connection, CASELOAD, asked, then, paths, over)
            with connection.cursor(row_factory=class_row(GridLoad)) as cursor:
                grids = cursor.execute(_grid_loads(asked, then, paths)).fetchall()
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
        with self._ready(0) as connection:
            return moment(connection, asked.as_of, asked.now)

    def _at(
        self, then: Moment, metric: Metric, position: int
    ) -> AbstractContextManager[psycopg.Connection]:
        return self._ready(max(position, then.position or 0), metric.model, snapshot=True)


def _within_scope(by: Actor, asked: Question) -> tuple[str, ...]:
    """The territories that are asked for; none named means all that the asker may see.

    Raises:
        Refused: ``query.not_permitted``.
    """
    seen = scope(by, Reading.METRICS).territories
    if not seen or (asked.territory and not any(within(asked.territory, p) for p in seen)):
        raise Refused("query.not_permitted", reading=Reading.METRICS.value)
    return (asked.territory,) if asked.territory else seen


# --- counting ---


def _answer(
    connection: psycopg.Connection,
    metric: Metric,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
) -> Answer:
    earlier = asked.before(then)
    ((_, now),) = _count(connection, metric, asked, then, paths)
    before = _count(connection, metric, earlier, then, paths)[0][1] if earlier else None
    groups = _count(connection, metric, asked, then, paths, over) if over else []
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
                excluded={reason: now[f"{figure.name}: {reason}"] for reason in figure.excluded},
                before=_rate(before, figure) if before else None,
            )
            for figure in metric.figures
        },
        groups=[
            Group(key=key, figures={f.name: _rate(counts, f) for f in metric.figures})
            for key, counts in groups
        ],
    )


def _rate(counts: Mapping[str, int], figure: Figure) -> Ratio:
    return Ratio(numerator=counts[f"{figure.name}"], denominator=counts[f"{figure.name} of"])


def _count(
    connection: psycopg.Connection,
    metric: Metric,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None = None,
) -> list[tuple[str, dict[str, int]]]:
    """The sums of all figures, by what they are broken down by; in one group without it."""
    names, sums = _sums(metric.name)
    # By kind, all marks and what it is broken down by, which are the first columns.
    places = [quoted(place) for place in range(1, len(metric.marks) + 3)]
    counted = [
        sql.SQL("{} GROUP BY {}").format(each, sql.SQL(", ").join(places))
        for rows in metric.rows
        for each in _counted(metric, rows, asked, then, paths, over)
    ]
    # Without a breakdown there is one row, also where nothing is counted.
    query = sql.SQL("SELECT {over}, {sums} FROM ({counted}) counted {by}").format(
        over=sql.SQL("over" if over else "''"),
        sums=sums,
        counted=sql.SQL(" UNION ALL ").join(counted),
        by=sql.SQL("GROUP BY over ORDER BY over" if over else ""),
    )
    return [
        (key, dict(zip(names, values, strict=True)))
        for key, *values in connection.execute(query).fetchall()
    ]


@cache
def _sums(metric: str) -> tuple[tuple[str, ...], Sql]:
    """What is added up for the figures of a metric, and under which names."""
    sums: dict[str, Sql] = {}
    for figure in METRICS[metric].figures:
        sums[figure.name] = _sum(figure, Part.NUMERATOR)
        sums[f"{figure.name} of"] = _sum(figure, Part.DENOMINATOR)
        for reason in figure.excluded:
            sums[f"{figure.name}: {reason}"] = _sum(figure, Part.EXCLUDED, reason)
    return tuple(sums), sql.SQL(sql.SQL(", ").join(sums.values()).as_string())


def _sum(figure: Figure, part: Part, reason: str | None = None) -> Sql:
    return sql.SQL("coalesce(sum(n * ({})) FILTER (WHERE {}), 0)::bigint").format(
        sql.SQL(figure.weight(part)), sql.SQL(figure.condition(part, reason))
    )


def _counted(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
) -> list[Sql]:
    """The rows of one kind: one by one, or whole days of them from their sums and the rest so."""
    columns = "{over} AS over, count(*) AS n"
    window = _window(rows, asked, then)
    days = daily.whole_days(*window) if _has_sums(rows, asked, then, paths, over) else None
    if days is None:
        return [_rows(metric, rows, asked, then, paths, columns, over)]
    since, until = window
    edges = [edge for edge in ((since, days.first), (days.last, until)) if edge[0] != edge[1]]
    found: list[Sql] = [_sums_of_days(metric, rows, asked, then, paths, over, days)]
    found += [_rows(metric, rows, asked, then, paths, columns, over, edge) for edge in edges]
    if over == "territory" and EVERYWHERE not in paths:
        # What was filed in the territory itself lies in nothing below it.
        found.append(_rows(metric, rows, asked, then, paths, columns, over, days, exactly=True))
    return found


def _has_sums(
    rows: Rows, asked: Question, then: Moment, paths: tuple[str, ...], over: By | None
) -> bool:
    """Sums are of the present, of higher territories, and of all categories together."""
    return (
        rows.daily is not None
        and then.position is None
        and asked.category is None
        and over != "category"
        and daily.covers(paths, below=over == "territory")
        and (over != "territory" or len(paths) == 1)
    )


def _sums_of_days(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    days: daily.Days,
) -> Sql:
    """What whole days come to, in the shape of counted rows."""
    conditions = [
        sql.SQL("t.n <> 0"),  # what was taken back leaves an empty sum
        *_covered(asked, paths, exactly=over != "territory"),
    ]
    if over == "territory":
        parts = quoted(depth(paths[0]) + 2)
        conditions.append(
            sql.SQL("cardinality(string_to_array(t.territory, '/')) = {}").format(parts)
        )
    conditions += [
        sql.SQL("t.day {} {}").format(sql.SQL(sign), quoted(edge.date()))
        for sign, edge in ((">=", days.first), ("<", days.last))
        if edge is not None
    ]
    marks = (
        sql.SQL("NULL::text AS {0}" if name == daily.UNSUMMED else "t.{0}").format(
            sql.Identifier(name)
        )
        for name in metric.marks
    )
    midnight = sql.SQL("(t.day::timestamp AT TIME ZONE 'Asia/Shanghai')")
    return sql.SQL(
        "SELECT {kind} AS kind, {marks}, {over} AS over, sum(n) AS n FROM {table} t WHERE {where}"
    ).format(
        kind=quoted(rows.kind),
        marks=sql.SQL(", ").join(marks),
        over=_over(over, midnight, paths),
        table=sql.Identifier(metric.model, str(rows.daily)),
        where=sql.SQL(" AND ").join(conditions),
    )


def _window(rows: Rows, asked: Question, then: Moment) -> tuple[datetime | None, datetime | None]:
    """The instants between which rows count; what has to have passed ends now."""
    if rows.passed:
        return asked.since, min(asked.until or then.at, then.at)
    return asked.since, asked.until


def _rows(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    columns: str,
    over: By | None = None,
    window: tuple[datetime | None, datetime | None] | None = None,
    *,
    exactly: bool = False,
) -> sql.Composed:
    """The rows of one kind with their marks, and what else is wanted of them: ``{at}`` is the time
    at which they count, ``{over}`` what they are broken down by."""
    known = _known(asked, then)
    at = sql.Identifier("t", rows.at)
    conditions: list[Sql] = [then.holds("t"), sql.SQL(rows.where).format(**known)]
    if rows.dropped is not None:
        conditions.append(sql.SQL(f"t.dropped IS {'NOT ' if rows.dropped else ''}NULL"))
    conditions += _covered(asked, paths, exactly=exactly)
    if not rows.owed:
        conditions += _between(at, *(window or _window(rows, asked, then)))
    marks = metric.marks
    if rows.dropped is False and daily.UNSUMMED in marks:
        marks = {**marks, daily.UNSUMMED: "NULL::text"}  # an index need not hold it
    listed = [
        sql.SQL("{} AS {}").format(sql.SQL(mark).format(**known), sql.Identifier(name))
        for name, mark in marks.items()
    ]
    return sql.SQL("SELECT {kind} AS kind, {marks}, {columns} FROM {table} t WHERE {where}").format(
        kind=quoted(rows.kind),
        marks=sql.SQL(", ").join(listed),
        columns=sql.SQL(columns).format(at=at, over=_over(over, at, paths)),
        table=sql.Identifier(metric.model, metric.table),
        where=sql.SQL(" AND ").join(conditions),
    )


def _known(asked: Question, then: Moment) -> dict[str, Sql]:
    """What the entries of metrics may speak of."""
    return {
        "now": quoted(then.at),
        "end": quoted(asked.until or then.at),
        "pair_holds": then.holds("p"),
        "in_force": _in_force(asked, then),
    }


def _in_force(asked: Question, then: Moment) -> Sql:
    """Whether a grid ``g`` is in force on the last day of the window, in office time."""
    end = (asked.until or then.at) - timedelta(microseconds=1)
    return sql.SQL(
        "{holds} AND g.valid_from <= {day} AND (g.valid_to IS NULL OR g.valid_to > {day})"
    ).format(holds=then.holds("g"), day=quoted(office_time(end).date()))


def _covered(asked: Question, paths: tuple[str, ...], *, exactly: bool = False) -> list[Sql]:
    """Conditions of where and what; ``exactly``: in the territories themselves, not below."""
    conditions: list[Sql] = []
    if exactly:
        # Everywhere is all districts together.
        tops = [path for path in paths if path != EVERYWHERE]
        own: list[Sql] = [sql.SQL("t.territory = {}").format(quoted(path)) for path in tops]
        districts = sql.SQL("t.territory = split_part(t.territory, '/', 1) || '/'")
        conditions.append(sql.SQL("({})").format(sql.SQL(" OR ").join(own or [districts])))
    elif EVERYWHERE not in paths:
        within_ = (sql.SQL("t.territory ^@ {}").format(quoted(path)) for path in paths)
        conditions.append(sql.SQL("({})").format(sql.SQL(" OR ").join(within_)))
    for column in _SIMPLE_DIMENSIONS:
        value = getattr(asked, column)
        if value is not None:
            conditions.append(sql.SQL("t.{} = {}").format(sql.Identifier(column), quoted(value)))
    return conditions


def _between(at: sql.Composable, since: datetime | None, until: datetime | None) -> list[Sql]:
    bounds: list[Sql] = []
    if since is not None:
        bounds.append(sql.SQL("{} >= {}").format(at, quoted(since)))
    if until is not None:
        bounds.append(sql.SQL("{} < {}").format(at, quoted(until)))
    return bounds


def _over(over: By | None, at: sql.Composable, paths: tuple[str, ...]) -> Sql:
    """What rows are broken down by."""
    match over:
        case None:
            return sql.SQL("''::text")
        case "territory":
            return _child(paths)
        case "day":
            return sql.SQL("to_char({} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD')").format(at)
        case "month":
            return sql.SQL("to_char({} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM')").format(at)
        case _:
            return sql.SQL("t.{}").format(sql.Identifier(over))


def _child(paths: tuple[str, ...]) -> Sql:
    """The territory directly below the one asked for that a row lies in, or that one itself."""
    top = paths[0] if len(paths) == 1 else EVERYWHERE
    return sql.SQL(
        "CASE WHEN t.territory = {top} THEN t.territory"
        " ELSE {top} || split_part(t.territory, '/', {nth}) || '/' END"
    ).format(top=quoted(top), nth=quoted(depth(top) + 1))


# --- grids ---


def _grid_loads(asked: Question, then: Moment, paths: tuple[str, ...]) -> Sql:
    conditions: list[Sql] = [
        then.holds("t"),
        sql.SQL("t.dropped IS NULL"),
        *_covered(asked, paths),
        *_between(sql.Identifier("t", "filed_at"), asked.since, asked.until),
    ]
    grids: list[Sql] = [_in_force(asked, then)]
    if EVERYWHERE not in paths:
        grids.append(
            sql.SQL("({})").format(
                sql.SQL(" OR ").join(sql.SQL("g.path ^@ {}").format(quoted(path)) for path in paths)
            )
        )
    return sql.SQL(
        """
        SELECT g.path, g.name, coalesce(c.cases, 0) AS cases, coalesce(c.weighted, 0) AS weighted,
               cardinality(g.workers) AS workers, g.households, g.residents,
               coalesce(c.weighted, 0)::float8 / nullif(cardinality(g.workers), 0) AS load,
               g.residents::float8 / nullif(cardinality(g.workers), 0) AS residents_each
        FROM caseload.grids g
        LEFT JOIN (SELECT territory, count(*) AS cases,
                          sum(CASE size WHEN 'big' THEN {big} ELSE 1 END)::bigint AS weighted
                   FROM caseload.cases t WHERE {cases} GROUP BY territory) c
          ON c.territory = g.path
        WHERE {grids} ORDER BY g.path
        """
    ).format(
        big=quoted(BIG_WEIGHT),
        cases=sql.SQL(" AND ").join(conditions),
        grids=sql.SQL(" AND ").join(grids),
    )
