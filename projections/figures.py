"""Answers to metrics: counted from spans, now or as of any past, with the cases behind them.

A question is composed from the entries of ``metrics``. Rows are first counted by what the figures
look at, then each figure adds up those that it means: a dozen figures cost hardly more than one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache, lru_cache, partial
from typing import Final, Literal, LiteralString, TypeAlias

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
from projections.daily import Window
from projections.measures import DROPPED, WAITED, Figure, Metric, Part, Rows
from projections.metrics import BACKLOG, CASELOAD, METRICS
from projections.past import AsOf, Moment, moment, quoted

Sql: TypeAlias = sql.SQL | sql.Composed
By: TypeAlias = Literal["territory", "grid", "category", "size", "source", "day", "month"]
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
    """The figures of one territory, grid, category, size, source, day or month."""

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
            Refused: ``query.not_permitted``, ``request.position_ahead``.
            Behind: not known up to ``position`` in time.
        """
        then, paths = self._moment(by, asked), _within_scope(by, asked)
        with self._at(then, metric, position) as connection:
            sums = self._sums(connection, metric, then)
            return _answer(connection, metric, asked, then, paths, over, sums)

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
            answer = _answer(connection, BACKLOG, asked, then, paths, over, None)
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
            sums = self._sums(connection, CASELOAD, then)
            each = dict(_count(connection, CASELOAD, asked, then, paths, sums, "grid"))
            now = {
                name: sum(counts[name] for counts in each.values())
                for name in _added(CASELOAD.name)[0]
            }
            answer = _answer(connection, CASELOAD, asked, then, paths, over, sums, now)
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

    def _sums(self, connection: psycopg.Connection, metric: Metric, then: Moment) -> "_Sums | None":
        return None if self._by_rows else _sums_for(connection, metric, then)

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


# --- counting ---


@dataclass(frozen=True, slots=True)
class _Sums:
    """The sums that answer a question: of all stretches up to the position ``upto``; the rest up to
    ``last``, or (None) all there is, is counted. ``waits`` are the least and most days that rows
    have to wait, by the name of their sums."""

    upto: int
    stretch: int
    last: int | None
    waits: Mapping[str, tuple[int, int]]

    def since(self, edge: str) -> Sql:
        """Whether a row began or ended after what is summed up, in SQL."""
        bounds: list[Sql] = [sql.SQL("t.{} > {}").format(sql.Identifier(edge), quoted(self.upto))]
        if self.last is not None:
            bounds.append(sql.SQL("t.{} <= {}").format(sql.Identifier(edge), quoted(self.last)))
        return sql.SQL(" AND ").join(bounds)


def _answer(
    connection: psycopg.Connection,
    metric: Metric,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    sums: _Sums | None,
    now: dict[str, int] | None = None,
) -> Answer:
    """The figures of a metric; ``now`` is given where they were counted already."""
    earlier = asked.before(then)
    if now is None:
        ((_, now),) = _count(connection, metric, asked, then, paths, sums)
    before = _count(connection, metric, earlier, then, paths, sums)[0][1] if earlier else None
    groups = _count(connection, metric, asked, then, paths, sums, over) if over else []
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
    sums: _Sums | None,
    over: By | None = None,
) -> list[tuple[str, dict[str, int]]]:
    """The sums of all figures, by what they are broken down by; in one group without it."""
    names, added = _added(metric.name)
    # By kind, all marks and what it is broken down by, which are the first columns.
    places = range(1, len(metric.marks) + len(metric.pairs) + 3)
    grouped = sql.SQL(", ").join(map(quoted, places))
    counted = [
        sql.SQL("{} GROUP BY {}").format(each, grouped)
        for rows in metric.rows
        for each in _counted(metric, rows, asked, then, paths, over, sums)
    ]
    # Without a breakdown there is one row, also where nothing is counted.
    query = sql.SQL("SELECT {over}, {sums} FROM ({counted}) counted {by}").format(
        over=sql.SQL("over" if over else "''"),
        sums=added,
        counted=sql.SQL(" UNION ALL ").join(counted),
        by=sql.SQL("GROUP BY over HAVING sum(n) <> 0 ORDER BY over" if over else ""),
    )
    return [
        (key, dict(zip(names, values, strict=True)))
        for key, *values in connection.execute(query).fetchall()
    ]


@cache
def _added(metric: str) -> tuple[tuple[str, ...], Sql]:
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
    sums: _Sums | None,
) -> list[Sql]:
    """The rows of one kind: one by one, or whole days of them from their sums and the rest so."""
    window = _window(rows, asked, then)
    if sums is None or rows.daily is None:
        return [_rows(metric, rows, asked, then, paths, _COUNTED, over)]
    one_by_one = partial(_one_by_one, metric, rows, asked, then, paths, over)
    days: list[tuple[Window, bool]] = []
    edges: list[Window] = []
    if _has_sums(rows, asked, paths, over):
        for part, waited in _by_waiting(rows, window, then, sums):
            whole = None if waited is None else daily.whole_days(part, rows)
            if waited is not None and whole is not None:
                days.append((whole, waited))
                edges += part.without(whole)
            else:
                edges.append(part)
    if not days:
        return one_by_one([window])
    # What was filed in the territory itself lies in nothing below it.
    itself = paths[0] if over == "territory" and not rows.by_itself else ""
    whole_days = [each for each, _ in days]
    found = _summed_up(metric, rows, asked, then, paths, over, sums, days)
    found += _since(metric, rows, asked, then, paths, over, sums, whole_days, itself)
    # Edges of long periods are many rows, and each by itself lies in one index.
    together = [[edge] for edge in edges] if rows.by_itself else [edges] if edges else []
    for each in together:
        found += one_by_one(each)
    if itself:
        found += one_by_one(whole_days, exactly=True)
    return found


def _one_by_one(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    windows: Sequence[Window],
    *,
    exactly: bool = False,
) -> list[Sql]:
    """The rows of some windows."""
    at = sql.Identifier("t", rows.at)
    which = sql.SQL("{} AND {}").format(
        then.holds("t"), _in_some(windows, lambda window: _between(at, *window))
    )
    covered = _covered(asked, paths, exactly=exactly)
    return _single_and_paired(metric, rows, asked, then, paths, over, [which, *covered], "{n}")


def _since(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    sums: _Sums,
    days: Sequence[Window],
    but: str,
) -> list[Sql]:
    """Of some days that are summed up, the rows that have begun since, and less those that have
    ended; none that lie in a territory itself."""
    at, begun, ended = sql.Identifier("t", rows.at), sums.since("begun"), sums.since("ended")
    # Days and territories are said so that the database does not look for all that is in them.
    day = _in_some(days, lambda window: _between(at, *window))
    conditions: list[Sql] = [
        sql.SQL("(({}) OR ({})) AND t.begun IS NOT NULL").format(begun, ended),
        *_covered(asked, paths, found=False),
    ]
    if but:
        conditions.append(sql.SQL("t.territory <> {}").format(quoted(but)))
    steps = sql.SQL(
        "coalesce({{n}} FILTER (WHERE {begun} AND {day}), 0)"
        " - coalesce({{n}} FILTER (WHERE {ended} AND {day}), 0)"
    ).format(begun=begun, ended=ended, day=day)
    return _single_and_paired(metric, rows, asked, then, paths, over, conditions, steps.as_string())


def _single_and_paired(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    conditions: Sequence[Sql],
    steps: str,
) -> list[Sql]:
    """Rows counted as if none stood in pairs; and those that do once more, as what they are, less
    what they would be. ``steps`` says how often, each time ``{n}``."""
    counted = partial(
        _rows, metric, rows, asked, then, paths, over=over, which=sql.SQL(" AND ").join(conditions)
    )
    columns = f"{{over}} AS over, {steps} AS n"
    single = dict.fromkeys(metric.pairs, "false")
    found: list[Sql] = [counted(columns.replace("{n}", "count(*)"), says=single)]
    if rows.paired:
        paired = single | {name: f"(v.says AND t.{name})" for name in rows.paired}
        found.append(
            counted(
                columns.replace("{n}", "sum(v.step)"),
                says=paired,
                table=daily.paired_table(rows),
                joined=" CROSS JOIN (VALUES (1, true), (-1, false)) v (step, says)",
            )
        )
    return found


_COUNTED: Final = "{over} AS over, count(*) AS n"


def _sums_for(connection: psycopg.Connection, metric: Metric, then: Moment) -> _Sums | None:
    """How far the sums of a metric go for a moment; None if it has none."""
    if not any(rows.daily for rows in metric.rows):
        return None
    summed = sql.SQL("SELECT upto, stretch FROM {}").format(
        sql.Identifier(metric.model, daily.SUMMED)
    )
    row = connection.execute(summed).fetchone()
    assert row is not None
    upto, stretch = row
    if then.position is not None:
        upto = min(upto, then.position // stretch * stretch)
    waits = {}
    for rows in metric.rows:
        if rows.daily and rows.wait:
            query = sql.SQL("SELECT min({0}), max({0}) FROM {1}").format(
                sql.Identifier(daily.WAIT), sql.Identifier(metric.model, f"{rows.daily}_kinds")
            )
            least, most = connection.execute(query).fetchone() or (None, None)
            if least is not None:
                waits[rows.daily] = (least, most)
    return _Sums(upto, stretch, then.position, waits)


def _has_sums(rows: Rows, asked: Question, paths: tuple[str, ...], over: By | None) -> bool:
    """Sums are of higher territories, by category of the highest only; or of each by itself."""
    if rows.by_itself:
        return not (
            asked.category or asked.source or over in ("category", "source", "day", "month")
        )
    if rows.daily is None or over == "grid":
        return False
    if not daily.covers(paths, below=over == "territory"):
        return False
    if asked.category is None and over != "category":
        return over != "territory" or len(paths) == 1
    return over != "territory" and all(depth(path) <= daily.BY_CATEGORY for path in paths)


def _by_waiting(
    rows: Rows, window: Window, then: Moment, sums: _Sums
) -> list[tuple[Window, bool | None]]:
    """A window in parts: all rows in it have waited long enough, none, or (None) some."""
    if rows.wait is None:
        return [(window, False)]
    waits = sums.waits.get(str(rows.daily))
    if waits is None:  # nothing is summed up yet
        return [(window, None)]
    # Whoever waits until this very moment has waited.
    least, most = (then.at - timedelta(days=n) + timedelta(microseconds=1) for n in waits)
    parts = ((None, most, True), (most, least, None), (least, None, False))
    found = [
        (window.within(since, until), waited) for since, until, waited in parts if since != until
    ]
    # A window that ends before it begins has no parts: its rows, none, are counted.
    return [(part, waited) for part, waited in found if part is not None] or [(window, None)]


def _summed_up(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    sums: _Sums,
    days: Sequence[tuple[Window, bool]],
) -> list[Sql]:
    """Whole days, of each whether they have waited, from sums; for the present from totals as far
    as there are any."""
    short, long = [window for window, _ in days], list[Window]()
    if then.position is None and over not in ("day", "month"):
        pairs = [(window, daily.whole_long(window, rows)) for window in short]
        long = [whole for _, whole in pairs if whole]
        short = [
            each
            for window, whole in pairs
            for each in (window.without(whole) if whole else [window])
        ]
    have_waited = [window for window, waited in days if waited]
    waited: Sql = sql.SQL("true" if have_waited else "false")
    if have_waited and len(have_waited) < len(days):
        last = have_waited[-1].until
        assert last is not None
        waited = sql.SQL("s.day < {}").format(quoted(last.date()))
    from_sums = partial(_sums_of_days, metric, rows, asked, then, paths, over, sums, waited)
    return [from_sums(w, totals=t) for w, t in ((long, True), (short, False)) if w]


def _sums_of_days(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    over: By | None,
    sums: _Sums,
    waited: Sql,
    windows: Sequence[Window],
    *,
    totals: bool,
) -> Sql:
    """What whole days come to, in the shape of counted rows."""
    conditions = [_days(windows, daily.long(rows) if totals else daily.period(rows))]
    if not totals:
        upto = sql.SQL("s.stretch < {}").format(quoted(sums.upto // sums.stretch))
        conditions.append(upto)
    if rows.by_itself:
        conditions += _inside(sql.Identifier("s", "territory"), paths)
    elif over == "territory":
        (top,) = paths
        conditions.append(
            sql.SQL(
                "s.territory ^@ {} AND cardinality(string_to_array(s.territory, '/')) = {}"
            ).format(quoted(top), quoted(depth(top) + 2))
        )
    else:
        tops = [path for path in paths if not any(within(path, p) for p in paths if p != path)]
        conditions.append(sql.SQL("s.territory = ANY({})").format(quoted(tops)))
    if asked.category is not None:
        conditions.append(sql.SQL("s.category = {}").format(quoted(asked.category)))
    else:
        none = "s.category IS NOT NULL" if over == "category" else "s.category IS NULL"
        conditions.append(sql.SQL(none))
    kept = daily.marks(metric, rows)
    unsaid = {DROPPED: "NULL::text", WAITED: "d.waited"}
    unsaid |= dict.fromkeys(metric.pairs, "false")
    marks = [
        sql.SQL("k.{}").format(sql.Identifier(name))
        if name in kept
        else sql.SQL("{} AS {}").format(
            sql.SQL(unsaid.get(name) or metric.marks[name]).format(**_known(asked, then)),
            sql.Identifier(name),
        )
        for name in (*metric.marks, *metric.pairs)
    ]
    of_kind: list[Sql] = [sql.SQL("true")]
    of_kind += [
        sql.SQL("k.{} = {}").format(sql.Identifier(column), quoted(value))
        for column in ("size", "source")
        if (value := getattr(asked, column)) is not None
    ]
    midnight = sql.SQL("(s.day::timestamp AT TIME ZONE 'Asia/Shanghai')")
    of_kind_over = over in ("size", "source")
    return sql.SQL(
        "SELECT {kind} AS kind, {marks}, {over} AS over, sum(d.n) AS n FROM (SELECT s.kind,"
        " {over_day} AS over, {territory} AS territory, {waited} AS waited, sum(s.n) AS n"
        " FROM {sums} s WHERE {where} GROUP BY 1, 2, 3, 4) d"
        " JOIN {kinds} k ON k.kind = d.kind WHERE {of_kind}"
    ).format(
        kind=quoted(rows.kind),
        marks=sql.SQL(", ").join(marks),
        over=sql.Identifier("k", over or "") if of_kind_over else sql.Identifier("d", "over"),
        over_day=_over(None if of_kind_over else over, midnight, paths, "s"),
        waited=waited,
        territory=sql.SQL("s.territory" if rows.by_itself else "''::text"),
        sums=sql.Identifier(metric.model, f"{rows.daily}_totals" if totals else str(rows.daily)),
        kinds=sql.Identifier(metric.model, f"{rows.daily}_kinds"),
        where=sql.SQL(" AND ").join(conditions),
        of_kind=sql.SQL(" AND ").join(of_kind),
    )


def _days(windows: Sequence[Window], period: int) -> Sql:
    """Whether a sum is one of some windows; by name where they are several, as there are few."""
    if len(windows) == 1 or any(None in window for window in windows):
        day = sql.Identifier("s", "day")
        return _in_some(
            windows, lambda w: _between(day, w.since and w.since.date(), w.until and w.until.date())
        )
    days = [
        since.date() + timedelta(days=n)
        for since, until in windows
        if since and until
        for n in range(0, (until - since).days, period)
    ]
    return sql.SQL("s.day = ANY({})").format(quoted(days))


def _window(rows: Rows, asked: Question, then: Moment) -> Window:
    """The instants between which rows count; what has to have passed ends now."""
    if rows.passed:
        return Window(asked.since, min(asked.until or then.at, then.at))
    return Window(asked.since, asked.until)


def _rows(
    metric: Metric,
    rows: Rows,
    asked: Question,
    then: Moment,
    paths: tuple[str, ...],
    columns: str,
    over: By | None = None,
    *,
    which: Sql | None = None,
    table: str | None = None,
    joined: LiteralString = "",
    says: Mapping[str, str] | None = None,
) -> sql.Composed:
    """The rows of one kind with their marks, and what else is wanted of them: ``{at}`` is the time
    at which they count, ``{over}`` what they are broken down by.

    ``which`` says otherwise than moment and question which of them. Whether they stand in pairs is
    looked up for each, unless ``says`` says it, of another ``table`` and what is ``joined``.
    """
    known = _known(asked, then)
    at = sql.Identifier("t", rows.at)
    conditions: list[Sql] = [sql.SQL(rows.where).format(**known)]
    if rows.dropped is not None:
        conditions.append(sql.SQL(f"t.dropped IS {'NOT ' if rows.dropped else ''}NULL"))
    if which is not None:
        conditions.append(which)
    else:
        conditions += _covered(asked, paths)
        conditions.append(then.holds("t", passing=rows.passing))
        if not rows.owed:
            conditions += _between(at, *_window(rows, asked, then))
    marks = dict(metric.marks)
    if rows.dropped is False and DROPPED in marks:
        marks[DROPPED] = "NULL::text"  # an index need not hold it
    listed = [
        sql.SQL("{} AS {}").format(sql.SQL(mark).format(**known), sql.Identifier(name))
        for name, mark in marks.items()
    ]
    for name, pairs in metric.pairs.items():
        mark: Sql = sql.SQL("false")
        if says is not None:
            mark = sql.SQL(says[name])
        elif name in rows.paired:
            mark = sql.SQL(
                'EXISTS (SELECT FROM {} p WHERE p.{} = t."case" AND p.{} = t.nth AND {})'
            ).format(
                sql.Identifier(metric.model, pairs.table),
                sql.Identifier(pairs.case),
                sql.Identifier(pairs.nth),
                then.holds("p"),
            )
        listed.append(sql.SQL("{} AS {}").format(mark, sql.Identifier(name)))
    return sql.SQL(
        "SELECT {kind} AS kind, {marks}, {columns} FROM {table} t{joined} WHERE {where}"
    ).format(
        kind=quoted(rows.kind),
        marks=sql.SQL(", ").join(listed),
        columns=sql.SQL(columns).format(at=at, over=_over(over, at, paths)),
        table=sql.Identifier(metric.model, table or metric.table),
        joined=sql.SQL(joined),
        where=sql.SQL(" AND ").join(conditions),
    )


@lru_cache(64)
def _known(asked: Question, then: Moment) -> dict[str, Sql]:
    """What the entries of metrics may speak of."""
    return {
        "now": quoted(then.at),
        "end": quoted(asked.until or then.at),
        "in_force": _in_force(asked, then),
    }


def _in_force(asked: Question, then: Moment) -> Sql:
    """Whether a grid ``g`` is in force on the last day of the window, in office time."""
    end = (asked.until or then.at) - timedelta(microseconds=1)
    return sql.SQL(
        "{holds} AND g.valid_from <= {day} AND (g.valid_to IS NULL OR g.valid_to > {day})"
    ).format(holds=then.holds("g"), day=quoted(office_time(end).date()))


def _covered(
    asked: Question, paths: tuple[str, ...], *, exactly: bool = False, found: bool = True
) -> list[Sql]:
    """Conditions of where and what; ``exactly``: in the territories themselves, not below.

    Unless they are to be ``found`` by where they are, no index is asked for it.
    """
    conditions: list[Sql] = []
    if exactly:
        # Everywhere is all districts together.
        tops = [path for path in paths if path != EVERYWHERE]
        own: list[Sql] = [sql.SQL("t.territory = {}").format(quoted(path)) for path in tops]
        districts = sql.SQL("t.territory = split_part(t.territory, '/', 1) || '/'")
        conditions.append(sql.SQL("({})").format(sql.SQL(" OR ").join(own or [districts])))
    else:
        territory = sql.Identifier("t", "territory")
        conditions += _inside(
            territory if found else sql.SQL("({} || '')").format(territory), paths
        )
    for column in _SIMPLE_DIMENSIONS:
        value = getattr(asked, column)
        if value is not None:
            conditions.append(sql.SQL("t.{} = {}").format(sql.Identifier(column), quoted(value)))
    return conditions


def _inside(territory: sql.Composable, paths: tuple[str, ...]) -> list[Sql]:
    """Whether a territory lies in one of some others."""
    if EVERYWHERE in paths:
        return []
    each = (sql.SQL("{} ^@ {}").format(territory, quoted(path)) for path in paths)
    return [sql.SQL("({})").format(sql.SQL(" OR ").join(each))]


def _in_some(windows: Sequence[Window], inside: Callable[[Window], list[Sql]]) -> Sql:
    """Whether some time lies in one of some windows, in SQL."""
    each: list[Sql] = [
        sql.SQL(" AND ").join(inside(window) or [sql.SQL("true")]) for window in windows
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(each or [sql.SQL("false")]))


def _between(at: sql.Composable, since: date | None, until: date | None) -> list[Sql]:
    bounds: list[Sql] = []
    if since is not None:
        bounds.append(sql.SQL("{} >= {}").format(at, quoted(since)))
    if until is not None:
        bounds.append(sql.SQL("{} < {}").format(at, quoted(until)))
    return bounds


def _over(over: By | None, at: sql.Composable, paths: tuple[str, ...], table: str = "t") -> Sql:
    """What rows are broken down by."""
    match over:
        case None:
            return sql.SQL("''::text")
        case "territory":
            return _child(paths, table)
        case "grid":
            return sql.SQL("{}").format(sql.Identifier(table, "territory"))
        case "day":
            return sql.SQL("to_char({} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD')").format(at)
        case "month":
            return sql.SQL("to_char({} AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM')").format(at)
        case _:
            return sql.SQL("{}").format(sql.Identifier(table, over))


def _child(paths: tuple[str, ...], table: str) -> Sql:
    """The territory directly below the one asked for that a row lies in, or that one itself."""
    top = paths[0] if len(paths) == 1 else EVERYWHERE
    return sql.SQL(
        "CASE WHEN {path} = {top} THEN {path} ELSE {top} || split_part({path}, '/', {nth}) || '/'"
        " END"
    ).format(path=sql.Identifier(table, "territory"), top=quoted(top), nth=quoted(depth(top) + 1))


# --- grids ---


def _grids(asked: Question, then: Moment, paths: tuple[str, ...]) -> Sql:
    """The grids in force: path, name, workers, households, residents."""
    conditions = [_in_force(asked, then), *_inside(sql.Identifier("g", "path"), paths)]
    return sql.SQL(
        "SELECT g.path, g.name, cardinality(g.workers), g.households, g.residents"
        " FROM caseload.grids g WHERE {} ORDER BY g.path"
    ).format(sql.SQL(" AND ").join(conditions))


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
