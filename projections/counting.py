"""How the figures of a metric are counted: row by row, or by sums of whole days and the rest so.

Rows are first counted by what the figures look at, then each figure adds up those that it means: a
dozen figures cost hardly more than one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache, lru_cache, partial
from typing import Final, Literal, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from domain.calendar import office_time
from domain.errors import Refused
from domain.places import EVERYWHERE, depth, within
from domain.reports import Period, compared
from projections import daily
from projections.daily import Window
from projections.measures import DROPPED, WAITED, Figure, Metric, Part, Rows
from projections.metrics import METRICS
from projections.past import AsOf, Moment, quoted

Sql: TypeAlias = sql.SQL | sql.Composed
By: TypeAlias = Literal["territory", "grid", "category", "size", "source", "day", "week", "month"]

PERIODS: Final[Mapping[By | None, tuple[Period, LiteralString]]] = {
    "day": (Period.DAILY, "YYYY-MM-DD"),
    "week": (Period.WEEKLY, "YYYY-MM-DD"),
    "month": (Period.MONTHLY, "YYYY-MM"),
}
"""Periods that figures are broken down by, with how these are called: weeks by their Monday."""

MOST_PERIODS: Final = 120
"""Into how many of them a window is broken down where each is judged at its own end."""

_SIMPLE_DIMENSIONS: Final = ("category", "size", "source")


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

    def end(self, moment_: Moment) -> datetime:
        """The instant at which the window ends: what is yet to come is not known, and not owed."""
        return min(self.until or moment_.at, moment_.at)

    def alone(self, over: By | None, moment_: Moment) -> dict[str, "Question"]:
        """The same of each period in the window, by its name; of one at least.

        Raises:
            Refused: ``query.too_many_periods``: a window without a beginning has no end of them.
        """
        (period, form), end = PERIODS[over], self.end(moment_)
        since, found = self.since, dict[str, Question]()
        while since is None or not found or since < end:
            if since is None or len(found) == MOST_PERIODS:
                raise Refused("query.too_many_periods", most=MOST_PERIODS)
            span = period.around(office_time(since).date())
            name = str(span.first)[: len(form)]
            found[name] = replace(
                self, since=since, until=min(span.until, self.until or span.until)
            )
            since = span.until
        return found

    def before(self, moment_: Moment) -> "Question | None":
        """The same of the window that this one is compared with, see there; None without one."""
        if self.since is None:
            return None
        earlier = compared(self.since, self.until or moment_.at, moment_.at)
        return earlier and replace(self, since=earlier[0], until=earlier[1])


@dataclass(frozen=True, slots=True)
class Sums:
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


@dataclass(frozen=True, slots=True)
class Counting:
    """One question to one metric, about the present or a past, in the territories ``paths``.

    ``sums`` are used where they come to the same; ``over`` is what is broken down by.
    """

    metric: Metric
    asked: Question
    then: Moment
    paths: tuple[str, ...]
    sums: Sums | None = None
    over: By | None = None

    def by(self, over: By) -> "Counting":
        """The same, broken down."""
        return replace(self, over=over)

    def count(self, connection: psycopg.Connection) -> list[tuple[str, dict[str, int]]]:
        """The sums of all figures, by what they are broken down by; in one group without it."""
        names, sums = added(self.metric.name)
        # By kind, all marks and what it is broken down by, which are the first columns.
        places = range(1, len(self.metric.marks) + len(self.metric.pairs) + 3)
        grouped = sql.SQL(", ").join(map(quoted, places))
        counted = [
            sql.SQL("{} GROUP BY {}").format(each, grouped)
            for rows in self.metric.rows
            for each in self._counted(rows)
        ]
        # Without a breakdown there is one row, also where nothing is counted.
        query = sql.SQL("SELECT {over}, {sums} FROM ({counted}) counted {by}").format(
            over=sql.SQL("over" if self.over else "''"),
            sums=sums,
            counted=sql.SQL(" UNION ALL ").join(counted),
            by=sql.SQL("GROUP BY over HAVING sum(n) <> 0 ORDER BY over" if self.over else ""),
        )
        return [
            (key, dict(zip(names, values, strict=True)))
            for key, *values in connection.execute(query).fetchall()
        ]

    def _counted(self, rows: Rows) -> list[Sql]:
        """The rows of one kind: one by one, or whole days of them from their sums and the rest
        so.

        What is owed at an end, or grids in force then, are those of the end of each period.
        """
        if self.over in PERIODS and self.metric.at_end(rows):
            return [
                replace(self, asked=asked).rows(rows, f"'{name}' AS over, count(*) AS n")
                for name, asked in self.asked.alone(self.over, self.then).items()
            ]
        window = self._window(rows)
        sums = self.sums
        if sums is None or rows.daily is None:
            return [self.rows(rows, _COUNTED)]
        one_by_one = partial(self._one_by_one, rows)
        days: list[tuple[Window, bool]] = []
        edges: list[Window] = []
        if self._has_sums(rows):
            for part, waited in self._by_waiting(rows, sums, window):
                whole = None if waited is None else daily.whole_days(part, rows)
                if waited is not None and whole is not None:
                    days.append((whole, waited))
                    edges += part.without(whole)
                else:
                    edges.append(part)
        if not days:
            return one_by_one([window])
        # What was filed in the territory itself lies in nothing below it.
        itself = self.paths[0] if self.over == "territory" and not rows.by_itself else ""
        whole_days = [each for each, _ in days]
        found = self._summed_up(rows, sums, days)
        found += self._since(rows, sums, whole_days, itself)
        # Edges of long periods are many rows, and each by itself lies in one index.
        together = [[edge] for edge in edges] if rows.by_itself else [edges] if edges else []
        for each in together:
            found += one_by_one(each)
        if itself:
            found += one_by_one(whole_days, exactly=True)
        return found

    def _one_by_one(
        self, rows: Rows, windows: Sequence[Window], *, exactly: bool = False
    ) -> list[Sql]:
        """The rows of some windows."""
        at = sql.Identifier("t", rows.at)
        which = sql.SQL("{} AND {}").format(
            self.then.holds("t"), _in_some(windows, lambda window: _between(at, *window))
        )
        covered = self._covered(exactly=exactly)
        return self._single_and_paired(rows, [which, *covered], "{n}")

    def _since(self, rows: Rows, sums: Sums, days: Sequence[Window], but: str) -> list[Sql]:
        """Of some days that are summed up, the rows that have begun since, and less those that
        have ended; none that lie in a territory itself."""
        at, begun, ended = sql.Identifier("t", rows.at), sums.since("begun"), sums.since("ended")
        # Days and territories are said so that the database does not look for all that is in them.
        day = _in_some(days, lambda window: _between(at, *window))
        conditions: list[Sql] = [
            sql.SQL("(({}) OR ({})) AND t.begun IS NOT NULL").format(begun, ended),
            *self._covered(found=False),
        ]
        if but:
            conditions.append(sql.SQL("t.territory <> {}").format(quoted(but)))
        steps = sql.SQL(
            "coalesce({{n}} FILTER (WHERE {begun} AND {day}), 0)"
            " - coalesce({{n}} FILTER (WHERE {ended} AND {day}), 0)"
        ).format(begun=begun, ended=ended, day=day)
        return self._single_and_paired(rows, conditions, steps.as_string())

    def _single_and_paired(self, rows: Rows, conditions: Sequence[Sql], steps: str) -> list[Sql]:
        """Rows counted as if none stood in pairs; and those that do once more, as what they are,
        less what they would be. ``steps`` says how often, each time ``{n}``."""
        counted = partial(self.rows, rows, which=sql.SQL(" AND ").join(conditions))
        columns = f"{{over}} AS over, {steps} AS n"
        single = dict.fromkeys(self.metric.pairs, "false")
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

    def _has_sums(self, rows: Rows) -> bool:
        """Sums are of higher territories, by category of the highest only; or of each by itself."""
        if rows.by_itself:
            return not (
                self.asked.category
                or self.asked.source
                or self.over in ("category", "source", *PERIODS)
            )
        if rows.daily is None or self.over == "grid":
            return False
        if not daily.covers(self.paths, below=self.over == "territory"):
            return False
        if self.asked.category is None and self.over != "category":
            return self.over != "territory" or len(self.paths) == 1
        return self.over != "territory" and all(
            depth(path) <= daily.BY_CATEGORY for path in self.paths
        )

    def _by_waiting(
        self, rows: Rows, sums: Sums, window: Window
    ) -> list[tuple[Window, bool | None]]:
        """A window in parts: all rows in it have waited long enough, none, or (None) some."""
        if rows.wait is None:
            return [(window, False)]
        waits = sums.waits.get(str(rows.daily))
        if waits is None:  # nothing is summed up yet
            return [(window, None)]
        # Whoever waits until this very moment has waited.
        least, most = (self.then.at - timedelta(days=n) + timedelta(microseconds=1) for n in waits)
        parts = ((None, most, True), (most, least, None), (least, None, False))
        found = [
            (window.within(since, until), waited)
            for since, until, waited in parts
            if since != until
        ]
        # A window that ends before it begins has no parts: its rows, none, are counted.
        return [(part, waited) for part, waited in found if part is not None] or [(window, None)]

    def _summed_up(self, rows: Rows, sums: Sums, days: Sequence[tuple[Window, bool]]) -> list[Sql]:
        """Whole days, of each whether they have waited, from sums; for the present from totals
        as far as there are any."""
        short, long = [window for window, _ in days], list[Window]()
        if self.then.position is None and self.over not in PERIODS:
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
        from_sums = partial(self._sums_of_days, rows, sums, waited)
        return [from_sums(w, totals=t) for w, t in ((long, True), (short, False)) if w]

    def _sums_of_days(
        self, rows: Rows, sums: Sums, waited: Sql, windows: Sequence[Window], *, totals: bool
    ) -> Sql:
        """What whole days come to, in the shape of counted rows."""
        conditions = [_days(windows, daily.long(rows) if totals else daily.period(rows))]
        if not totals:
            upto = sql.SQL("s.stretch < {}").format(quoted(sums.upto // sums.stretch))
            conditions.append(upto)
        if rows.by_itself:
            conditions += inside(sql.Identifier("s", "territory"), self.paths)
        elif self.over == "territory":
            (top,) = self.paths
            conditions.append(
                sql.SQL(
                    "s.territory ^@ {} AND cardinality(string_to_array(s.territory, '/')) = {}"
                ).format(quoted(top), quoted(depth(top) + 2))
            )
        else:
            tops = [
                path
                for path in self.paths
                if not any(within(path, p) for p in self.paths if p != path)
            ]
            conditions.append(sql.SQL("s.territory = ANY({})").format(quoted(tops)))
        if self.asked.category is not None:
            conditions.append(sql.SQL("s.category = {}").format(quoted(self.asked.category)))
        else:
            none = "s.category IS NOT NULL" if self.over == "category" else "s.category IS NULL"
            conditions.append(sql.SQL(none))
        kept = daily.marks(self.metric, rows)
        unsaid = {DROPPED: "NULL::text", WAITED: "d.waited"}
        unsaid |= dict.fromkeys(self.metric.pairs, "false")
        marks = [
            sql.SQL("k.{}").format(sql.Identifier(name))
            if name in kept
            else sql.SQL("{} AS {}").format(
                sql.SQL(unsaid.get(name) or self.metric.marks[name]).format(
                    **_known(self.asked, self.then)
                ),
                sql.Identifier(name),
            )
            for name in (*self.metric.marks, *self.metric.pairs)
        ]
        of_kind: list[Sql] = [sql.SQL("true")]
        of_kind += [
            sql.SQL("k.{} = {}").format(sql.Identifier(column), quoted(value))
            for column in ("size", "source")
            if (value := getattr(self.asked, column)) is not None
        ]
        midnight = sql.SQL("(s.day::timestamp AT TIME ZONE 'Asia/Shanghai')")
        of_kind_over = self.over in ("size", "source")
        return sql.SQL(
            "SELECT {kind} AS kind, {marks}, {over} AS over, sum(d.n) AS n FROM (SELECT s.kind,"
            " {over_day} AS over, {territory} AS territory, {waited} AS waited, sum(s.n) AS n"
            " FROM {sums} s WHERE {where} GROUP BY 1, 2, 3, 4) d"
            " JOIN {kinds} k ON k.kind = d.kind WHERE {of_kind}"
        ).format(
            kind=quoted(rows.kind),
            marks=sql.SQL(", ").join(marks),
            over=sql.Identifier("k", self.over or "")
            if of_kind_over
            else sql.Identifier("d", "over"),
            over_day=_over(None if of_kind_over else self.over, midnight, self.paths, "s"),
            waited=waited,
            territory=sql.SQL("s.territory" if rows.by_itself else "''::text"),
            sums=sql.Identifier(
                self.metric.model, f"{rows.daily}_totals" if totals else str(rows.daily)
            ),
            kinds=sql.Identifier(self.metric.model, f"{rows.daily}_kinds"),
            where=sql.SQL(" AND ").join(conditions),
            of_kind=sql.SQL(" AND ").join(of_kind),
        )

    def rows(
        self,
        rows: Rows,
        columns: str,
        *,
        which: Sql | None = None,
        table: str | None = None,
        joined: LiteralString = "",
        says: Mapping[str, str] | None = None,
    ) -> sql.Composed:
        """The rows of one kind with their marks, and what else is wanted of them: ``{at}`` is the
        time at which they count, ``{over}`` what they are broken down by.

        ``which`` says otherwise than moment and question which of them. Whether they stand in pairs
        is looked up for each, unless ``says`` says it, of another ``table`` and what is ``joined``.
        """
        known = _known(self.asked, self.then)
        at = sql.Identifier("t", rows.at)
        conditions: list[Sql] = [sql.SQL(rows.where).format(**known)]
        if rows.dropped is not None:
            conditions.append(sql.SQL(f"t.dropped IS {'NOT ' if rows.dropped else ''}NULL"))
        if which is not None:
            conditions.append(which)
        else:
            conditions += self._covered()
            conditions.append(self.then.holds("t", passing=rows.passing))
            if not rows.owed:
                conditions += _between(at, *self._window(rows))
        marks = dict(self.metric.marks)
        if rows.dropped is False and DROPPED in marks:
            marks[DROPPED] = "NULL::text"  # an index need not hold it
        listed = [
            sql.SQL("{} AS {}").format(sql.SQL(mark).format(**known), sql.Identifier(name))
            for name, mark in marks.items()
        ]
        for name, pairs in self.metric.pairs.items():
            mark: Sql = sql.SQL("false")
            if says is not None:
                mark = sql.SQL(says[name])
            elif name in rows.paired:
                mark = sql.SQL(
                    'EXISTS (SELECT FROM {} p WHERE p.{} = t."case" AND p.{} = t.nth AND {})'
                ).format(
                    sql.Identifier(self.metric.model, pairs.table),
                    sql.Identifier(pairs.case),
                    sql.Identifier(pairs.nth),
                    self.then.holds("p"),
                )
            listed.append(sql.SQL("{} AS {}").format(mark, sql.Identifier(name)))
        return sql.SQL(
            "SELECT {kind} AS kind, {marks}, {columns} FROM {table} t{joined} WHERE {where}"
        ).format(
            kind=quoted(rows.kind),
            marks=sql.SQL(", ").join(listed),
            columns=sql.SQL(columns).format(at=at, over=_over(self.over, at, self.paths)),
            table=sql.Identifier(self.metric.model, table or self.metric.table),
            joined=sql.SQL(joined),
            where=sql.SQL(" AND ").join(conditions),
        )

    def _window(self, rows: Rows) -> Window:
        """The instants between which rows count; what has to have passed ends now."""
        if rows.passed:
            return Window(self.asked.since, self.asked.end(self.then))
        return Window(self.asked.since, self.asked.until)

    def _covered(self, *, exactly: bool = False, found: bool = True) -> list[Sql]:
        """Conditions of where and what; ``exactly``: in the territories themselves, not below.

        Unless they are to be ``found`` by where they are, no index is asked for it.
        """
        conditions: list[Sql] = []
        if exactly:
            # Everywhere is all districts together.
            tops = [path for path in self.paths if path != EVERYWHERE]
            own: list[Sql] = [sql.SQL("t.territory = {}").format(quoted(path)) for path in tops]
            districts = sql.SQL("t.territory = split_part(t.territory, '/', 1) || '/'")
            conditions.append(sql.SQL("({})").format(sql.SQL(" OR ").join(own or [districts])))
        else:
            territory = sql.Identifier("t", "territory")
            conditions += inside(
                territory if found else sql.SQL("({} || '')").format(territory), self.paths
            )
        for column in _SIMPLE_DIMENSIONS:
            value = getattr(self.asked, column)
            if value is not None:
                conditions.append(
                    sql.SQL("t.{} = {}").format(sql.Identifier(column), quoted(value))
                )
        return conditions


_COUNTED: Final = "{over} AS over, count(*) AS n"


@cache
def added(metric: str) -> tuple[tuple[str, ...], Sql]:
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


def sums_for(connection: psycopg.Connection, metric: Metric, then: Moment) -> Sums | None:
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
    return Sums(upto, stretch, then.position, waits)


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


@lru_cache(64)
def _known(asked: Question, then: Moment) -> dict[str, Sql]:
    """What the entries of metrics may speak of."""
    return {
        "now": quoted(then.at),
        "end": quoted(asked.end(then)),
        "until": quoted(asked.until or "infinity"),
        "in_force": in_force(asked, then),
    }


def in_force(asked: Question, then: Moment) -> Sql:
    """Whether a grid ``g`` is in force on the last day of the window, in office time."""
    end = asked.end(then) - timedelta(microseconds=1)
    return sql.SQL(
        "{holds} AND g.valid_from <= {day} AND (g.valid_to IS NULL OR g.valid_to > {day})"
    ).format(holds=then.holds("g"), day=quoted(office_time(end).date()))


def inside(territory: sql.Composable, paths: tuple[str, ...]) -> list[Sql]:
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
        case "day" | "week" | "month":
            first, (_, form) = quoted(over), PERIODS[over]
            return sql.SQL("to_char(date_trunc({}, {} AT TIME ZONE 'Asia/Shanghai'), {})").format(
                first, at, quoted(form)
            )
        case _:
            return sql.SQL("{}").format(sql.Identifier(table, over))


def _child(paths: tuple[str, ...], table: str) -> Sql:
    """The territory directly below the one asked for that a row lies in, or that one itself."""
    top = paths[0] if len(paths) == 1 else EVERYWHERE
    return sql.SQL(
        "CASE WHEN {path} = {top} THEN {path} ELSE {top} || split_part({path}, '/', {nth}) || '/'"
        " END"
    ).format(path=sql.Identifier(table, "territory"), top=quoted(top), nth=quoted(depth(top) + 1))
