"""Sums beside a table of spans: a district's year without looking at a million rows, at any past.

Positions of the log are cut into stretches. For each stretch there is, by territory and day, how
many rows it began to count, less those that it ended: so what held as of a position are the sums of
all stretches before it and, of the stretch it lies in, the rows themselves. The present is no
different. A stretch is summed up once, when the log has left it behind; the sums follow from the
rows alone, and are kept like an index.

They are kept for everything, each district and each subdistrict; of the first two also by category.
Where it matters how much each grid has, they are kept of each territory by itself instead, by
periods of some days and longer stretches: else there would be as many sums as rows.

For the present there are totals besides: what all stretches that are summed up come to, by longer
periods, of which a year has few.

A row that stands in pairs is summed up as if it did not. While it does, it is kept once more with
what that says of it, summed up as that, and taken back as the other.
What is summed up is what the metrics say of their rows; a metric whose marks change needs a new
version of its read model.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

import psycopg

from domain.calendar import OFFICE_TIME, office_time
from domain.history import Recorded
from domain.places import depth
from projections.measures import DROPPED, Metric, Paired, Rows
from projections.projection import Projection
from projections.tables import Stepwise, Texts, case_id, steps_of

DEEPEST: Final = 2
"""Sums are kept of territories down to the subdistrict; below it there are few rows to count."""

BY_CATEGORY: Final = 1
"""Sums by category are kept of districts, and of everything."""

STRETCH: Final = 32_768
"""Positions in a stretch: more of them, and more rows are counted one by one; fewer, more sums."""

LONGER: Final = 8
"""So many times as long are stretches where territories are summed up by themselves."""

PERIOD: Final = 5
"""Days in a period of these sums, the first one begins with the year 1."""

LONG: Final = 16
"""Days in a period of totals."""

LONG_BY_ITSELF: Final = 40
"""The same where territories are summed up by themselves: whole periods of theirs."""

_DDL: Final = """
CREATE TABLE {name}_kinds AS
    SELECT 0::bigint AS kind, {marks} FROM {table} t WITH NO DATA;
ALTER TABLE {name}_kinds ADD PRIMARY KEY (kind);
CREATE TABLE {name} (
    territory text COLLATE "C" NOT NULL,
    category  text COLLATE "C",
    day       date    NOT NULL,
    stretch   bigint  NOT NULL,
    kind      bigint  NOT NULL,
    n         integer NOT NULL
);
{filled};
CREATE TABLE {name}_totals AS
    SELECT territory, category, {period} AS day, kind, sum(n)::integer AS n
    FROM {name} GROUP BY 1, 2, 3, 4;
CREATE UNIQUE INDEX {name}_totals_by ON {name}_totals ({key}, kind) INCLUDE (n) NULLS NOT DISTINCT;
CREATE INDEX {name}_by ON {name} ({key}) INCLUDE (stretch, kind, n);
GRANT SELECT ON {name}, {name}_kinds, {name}_totals TO wangge_app;
"""

_TOLD: Final = """
WITH moved AS MATERIALIZED (
    SELECT {place}, {day} AS day, (t.moved - 1) / {stretch} AS stretch,
           {marks}, sum(t.step)::integer AS n
    FROM ({moved}) t
    WHERE {where}
    GROUP BY {groups} HAVING sum(t.step) <> 0
), told AS MATERIALIZED (
    SELECT hashtextextended(ROW({names})::text, 0) AS kind, * FROM moved
), kinds AS (
    INSERT INTO {name}_kinds SELECT DISTINCT kind, {names} FROM told ON CONFLICT DO NOTHING
)"""
_FILL: Final = "\nINSERT INTO {name} {sums}"
_ADD: Final = """, added AS (
    INSERT INTO {name} {sums} RETURNING territory, category, day, kind, n
)
INSERT INTO {name}_totals AS total
    SELECT territory, category, {period}, kind, sum(n)
    FROM added GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (territory, category, day, kind) DO UPDATE SET n = total.n + excluded.n
"""

_PAIRED_DDL: Final = """
CREATE TABLE {name}_paired AS SELECT *, {flags} FROM {table} WITH NO DATA;
{filled};
CREATE INDEX {name}_paired_rows ON {name}_paired ("case", nth);
CREATE INDEX {name}_paired_begun ON {name}_paired (begun);
CREATE INDEX {name}_paired_ended ON {name}_paired (ended) WHERE ended IS NOT NULL;
CREATE INDEX {name}_paired_at ON {name}_paired ({at});
CREATE INDEX {name}_paired_in ON {name}_paired (territory, {at});
GRANT SELECT ON {name}_paired TO wangge_app;
"""

_PAIR: Final = """
WITH sides AS ({sides}), turns AS (
    SELECT "case", nth, begun AS at, mark, 1 AS step FROM sides
    UNION ALL
    SELECT "case", nth, ended, mark, -1 FROM sides WHERE ended IS NOT NULL
), stands AS (
    SELECT DISTINCT "case", nth, at, {stands} FROM turns
    WINDOW upto AS (PARTITION BY "case", nth ORDER BY at)
), pieces AS (
    SELECT *, lead(at) OVER (PARTITION BY "case", nth ORDER BY at) AS until FROM stands
)
INSERT INTO {name}_paired
    SELECT {columns}, {flags}
    FROM pieces p JOIN {table} t ON t."case" = p."case" AND t.nth = p.nth
    WHERE {any}
"""

_PLACE: Final = """
    split_part(t.territory, '/', 1) || '/' COLLATE "C" AS district,
    split_part(t.territory, '/', 2) AS street, t.category"""
_SUMS: Final = """
    SELECT CASE WHEN grouping(district) = 1 THEN '' WHEN grouping(street) = 1 THEN district
                ELSE district || street || '/' END,
           category, day, stretch, kind, sum(n)
    FROM told
    GROUP BY GROUPING SETS (
        (day, stretch, kind), (category, day, stretch, kind),
        (district, day, stretch, kind), (district, category, day, stretch, kind),
        (district, street, day, stretch, kind)
    )
    HAVING sum(n) <> 0 AND (grouping(street) = 1 OR street <> '')
"""
_DAY: Final = "({at} AT TIME ZONE 'Asia/Shanghai')::date"

_PLACE_BY_ITSELF: Final = "t.territory"
_SUMS_BY_ITSELF: Final = "SELECT territory, NULL, day, stretch, kind, n FROM told"
_FIRST: Final = "({day} - mod({day} - DATE '0001-01-01', {days}))"
_PERIOD: Final = _FIRST.format(day=_DAY, days=PERIOD)
"""The first day of a period."""


class _Sums(NamedTuple):
    """The sums of some rows of a table with some columns, as statements."""

    metric: Metric
    rows: Rows
    columns: tuple[str, ...]

    def sum_up(self, stretch: int, moved: str, then: str = _ADD) -> str:
        """Sum up what has ``moved``: rows that begun, and rows that ended."""
        said = marks(self.metric, self.rows)
        itself = self.rows.by_itself
        return (_TOLD + then).format(
            name=self.rows.daily,
            moved=moved,
            stretch=stretch,
            place=_PLACE_BY_ITSELF if itself else _PLACE,
            day=(_PERIOD if itself else _DAY).format(at=self.rows.at),
            marks=_listed(said),
            names=", ".join(said),
            groups=", ".join(
                str(column + 1) for column in range((1 if itself else 3) + 2 + len(said))
            ),
            where=f"({self.rows.where}) AND {holds(self.rows)}",
            sums=_SUMS_BY_ITSELF if itself else _SUMS,
            period=self._period(),
        )

    def moved(self, begun: str, ended: str) -> str:
        """The rows that begun, and those that ended, as conditions say; as if none were paired."""
        single = [f"false AS {name}" for name in self.rows.paired]
        columns = ", ".join([*map(_quoted, self.columns), *single])
        table = self.metric.table
        return (
            f"SELECT 1 AS step, begun AS moved, {columns} FROM {table} WHERE {begun}"  # noqa: S608
            f" UNION ALL SELECT -1, ended, {columns} FROM {table}"
            f" WHERE begun IS NOT NULL AND {ended}"
        )

    def paired(self, begun: str, ended: str, *, back: bool = False) -> str:
        """What pairs change in this: rows that are paired, as such, less the same as if they were
        not; or all this taken ``back``."""
        says = {name: f"v.says AND {name}" for name in self.rows.paired}
        columns = ", ".join([*map(_quoted, self.columns), _listed(says)])
        paired = f"{paired_table(self.rows)}, (VALUES (1, true), (-1, false)) v (step, says)"
        one, other = ("-v.step", "v.step") if back else ("v.step", "-v.step")
        return (
            f"SELECT {one} AS step, begun AS moved, {columns} FROM {paired} WHERE {begun}"  # noqa: S608
            f" UNION ALL SELECT {other}, ended, {columns} FROM {paired} WHERE {ended}"
        )

    def both(self, begun: str, ended: str) -> str:
        """All that moved, paired or not."""
        moved = self.moved(begun, ended)
        return f"{moved} UNION ALL {self.paired(begun, ended)}" if self.rows.paired else moved

    def pair(self, rows: str = "true") -> str:
        """Keep the rows that stand in pairs, all or some of them."""
        sides = " UNION ALL ".join(
            f"SELECT \"case\", nth, begun, ended, '{name}' AS mark FROM"  # noqa: S608
            f' (SELECT "{pairs.case}" AS "case", {pairs.nth} AS nth, begun, ended'
            f" FROM {pairs.table}) side WHERE {rows}"
            for name, pairs in self._pairs()
        )
        whole = {"begun": "p.at", "ended": "p.until"}
        return _PAIR.format(
            name=self.rows.daily,
            table=self.metric.table,
            sides=sides,
            stands=_listed(
                {
                    name: f"coalesce(sum(step) FILTER (WHERE mark = '{name}') OVER upto, 0) > 0"
                    for name in self.rows.paired
                }
            ),
            columns=", ".join(whole.get(name, f"t.{_quoted(name)}") for name in self.columns),
            flags=", ".join(f"p.{name}" for name in self.rows.paired),
            any=" OR ".join(f"p.{name}" for name in self.rows.paired),
        )

    def in_pairs(self) -> str:
        """The rows that stand in pairs with rows of some cases, and theirs that do."""
        return " UNION ".join(
            f'SELECT "{pairs.case}", {pairs.nth} FROM {pairs.table}'  # noqa: S608
            ' WHERE "case" = ANY(%(cases)s) OR again = ANY(%(cases)s)'
            for _, pairs in self._pairs()
        )

    def tables(self) -> set[str]:
        """The tables of the pairs."""
        return {pairs.table for _, pairs in self._pairs()}

    def ddl(self, stretch: int) -> str:
        """The tables, filled with what is there: all stretches that are over."""
        over = f"<= (SELECT upto FROM {SUMMED})"  # noqa: S608 - a name of ours
        name, at, paired = self.rows.daily, self.rows.at, bool(self.rows.paired)
        tables = _DDL.format(
            name=name,
            marks=_listed(marks(self.metric, self.rows)),
            key="day, territory, category" if self.rows.by_itself else "territory, category, day",
            table=paired_table(self.rows) if paired else self.metric.table,
            filled=self.sum_up(stretch, self.both(f"begun {over}", f"ended {over}"), _FILL),
            period=self._period(),
        )
        if not paired:
            return tables
        flags = _listed(dict.fromkeys(self.rows.paired, "false"))
        table = self.metric.table
        return (
            _PAIRED_DDL.format(name=name, flags=flags, table=table, at=at, filled=self.pair())
            + tables
        )

    def _period(self) -> str:
        """The first day of the period of totals that the day of a sum lies in."""
        return _FIRST.format(day="day", days=long(self.rows))

    def _pairs(self) -> list[tuple[str, Paired]]:
        return [(name, self.metric.pairs[name]) for name in self.rows.paired]


def paired_table(rows: Rows) -> str:
    """The table of the rows that stand in pairs, while they do, with what that says of them."""
    return f"{rows.daily}_paired"


def period(rows: Rows) -> int:
    """Days in a period of the sums of some rows."""
    return PERIOD if rows.by_itself else 1


def long(rows: Rows) -> int:
    """Days in a period of the totals of some rows."""
    return LONG_BY_ITSELF if rows.by_itself else LONG


def _listed(said: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in said.items())


def _quoted(column: str) -> str:
    return f'"{column}"'


SUMMED: Final = "summed"
"""The table that tells up to which position stretches of which length are summed up."""


def marks(metric: Metric, rows: Rows) -> dict[str, str]:
    """The marks that sums tell apart, in SQL: not what depends on the moment."""
    gone = {DROPPED} if rows.dropped is False else set()
    kept = {n: m for n, m in metric.marks.items() if "{" not in m and n not in gone}
    asked = ("size",) if rows.by_itself else ("size", "source")
    plain = {name: name for name in (*asked, *rows.paired)}
    return plain | kept | ({WAIT: rows.wait} if rows.wait else {})


WAIT: Final = "wait_days"
"""The days to wait, where rows are to have waited."""


def holds(rows: Rows) -> str:
    """Whether rows are those that are dropped, or not, in SQL."""
    return {None: "true", True: "t.dropped IS NOT NULL", False: "t.dropped IS NULL"}[rows.dropped]


def summed(projection: Projection, metrics: Iterable[Metric], stretch: int = STRETCH) -> Projection:
    """A read model with the sums that metrics want of it."""
    columns = {table.name: table.columns for table in projection.tables}
    wanted = [
        _Sums(metric, rows, columns[metric.table])
        for metric in metrics
        if metric.model == projection.name
        for rows in metric.rows
        if rows.daily
    ]
    if not wanted:
        return projection
    if any(each.rows.by_itself for each in wanted):
        stretch *= LONGER
    tables = sorted({each.metric.table for each in wanted})
    last = " UNION ALL ".join(
        f"SELECT max(greatest(begun, ended)) AS last FROM {table}"  # noqa: S608 - names of ours
        for table in tables
    )
    indexes = "".join(
        f"CREATE INDEX {table}_begun ON {table} (begun);"
        f"CREATE INDEX {table}_ended ON {table} (ended) WHERE ended IS NOT NULL;"
        for table in tables
    )
    begin = f"""
CREATE TABLE {SUMMED} AS
    SELECT coalesce(max(last), 0) / {stretch} * {stretch} AS upto, {stretch} AS stretch
    FROM ({last}) every;
GRANT SELECT ON {SUMMED} TO wangge_app;
"""  # noqa: S608 - names of ours

    paired = [each for each in wanted if each.rows.paired]

    @Stepwise
    def apply(
        connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> Iterator[None]:
        steps = steps_of(projection.apply, connection, page, fresh)
        if fresh or not page:
            yield from steps
            return
        # Until the transaction ends nobody sums up what we are about to change.
        summed_up = connection.execute(_SUMMED_UP + b"SHARE")
        # Pairs are kept by one process at a time: until it is done they are what we find now.
        if paired:
            connection.execute(_locking(*sorted(set().union(*(each.tables() for each in paired)))))
        cases = {"cases": Texts({case_id(recorded) for recorded in page})}
        before = [connection.execute(each.in_pairs().encode(), cases) for each in paired]
        next(steps, None)
        yield
        upto = _follow(connection, wanted, stretch, summed_up, page[0].position - 1)
        late = [recorded for recorded in page if recorded.position <= upto]
        stood = [set(each.fetchall()) for each in before]
        yield from steps
        after = [connection.execute(each.in_pairs().encode(), cases) for each in paired]
        if after:
            yield
        for sums, rows, asked in zip(paired, stood, after, strict=True):
            rows.update(asked.fetchall())
            if rows:
                _pair_anew(connection, sums, stretch, rows, upto if late else None)
        if late:
            _add(connection, wanted, stretch, late)

    ddl = "".join(each.ddl(stretch) for each in wanted)
    return replace(projection, indexes=projection.indexes + indexes + begin + ddl, apply=apply)


_SUMMED_UP: Final = f"SELECT upto FROM {SUMMED} FOR ".encode()  # noqa: S608 - a name of ours


@cache
def _locking(*tables: str) -> bytes:
    return f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE".encode()


def _follow(
    connection: psycopg.Connection,
    wanted: Sequence[_Sums],
    stretch: int,
    summed_up: psycopg.Cursor,
    before: int,
) -> int:
    """Sum up the stretches that lie before a position; returns up to where that is done."""
    row = summed_up.fetchone()
    assert row is not None
    upto: int = row[0]
    over = before // stretch * stretch
    if over <= upto:
        return upto
    if connection.execute(_SUMMED_UP + b"UPDATE SKIP LOCKED").fetchone() is None:
        return upto  # somebody is in the middle of a page: another time will do
    between = {"after": upto, "over": over}
    for each in wanted:
        moved = each.both(
            "begun > %(after)s AND begun <= %(over)s", "ended > %(after)s AND ended <= %(over)s"
        )
        connection.execute(each.sum_up(stretch, moved).encode(), between)
    connection.execute(f"UPDATE {SUMMED} SET upto = %(over)s".encode(), between)  # noqa: S608
    return over


def _add(
    connection: psycopg.Connection,
    wanted: Sequence[_Sums],
    stretch: int,
    late: Sequence[Recorded[Any]],
) -> None:
    """Add what has come late to stretches that are summed up: logs of several topics do not keep
    step with one another."""
    given = {
        "cases": Texts({case_id(recorded) for recorded in late}),
        "late": [recorded.position for recorded in late],
    }
    for each in wanted:
        moved = each.moved(
            '"case" = ANY(%(cases)s) AND begun = ANY(%(late)s)',
            '"case" = ANY(%(cases)s) AND ended = ANY(%(late)s)',
        )
        connection.execute(each.sum_up(stretch, moved).encode(), given)


def _pair_anew(
    connection: psycopg.Connection,
    sums: _Sums,
    stretch: int,
    rows: Collection[tuple[Any, ...]],
    upto: int | None,
) -> None:
    """Keep anew some rows, as far as they stand in pairs."""
    given = {"cases": Texts(row[0] for row in rows), "nths": [row[1] for row in rows], "upto": upto}
    these = '("case", nth) IN (SELECT * FROM unnest(%(cases)s::text[], %(nths)s::integer[]))'
    edges = f"{these} AND begun <= %(upto)s", f"{these} AND ended <= %(upto)s"
    statements = [
        f"DELETE FROM {paired_table(sums.rows)} WHERE {these}",  # noqa: S608 - names of ours
        sums.pair(these),
    ]
    if upto is not None:
        before, after = (sums.sum_up(stretch, sums.paired(*edges, back=b)) for b in (True, False))
        statements = [before, *statements, after]
    for statement in statements:
        connection.execute(statement.encode(), given)


class Window(NamedTuple):
    """A stretch of time; None: without a beginning or an end."""

    since: datetime | None
    until: datetime | None

    def within(self, since: datetime | None, until: datetime | None) -> "Window | None":
        """What lies in another one too; None where nothing does."""
        begins = [each for each in (self.since, since) if each is not None]
        ends = [each for each in (self.until, until) if each is not None]
        found = Window(max(begins, default=None), min(ends, default=None))
        empty = found.since is not None and found.until is not None and found.since >= found.until
        return None if empty else found

    def without(self, inner: "Window") -> "list[Window]":
        """What is left of it before and after another one that lies in it."""
        edges = Window(self.since, inner.since), Window(inner.until, self.until)
        return [edge for edge in edges if edge.since != edge.until]


def whole_days(window: Window, rows: Rows) -> Window | None:
    """The whole days of a window, or periods, in office time; None where there is none."""
    return _whole(window, period(rows))


def whole_long(window: Window, rows: Rows) -> Window | None:
    """The whole periods of totals in a window; None where there is none."""
    return _whole(window, long(rows))


def _whole(window: Window, days: int) -> Window | None:
    first = None if window.since is None else _midnight(window.since, days, up=True)
    last = None if window.until is None else _midnight(window.until, days, up=False)
    return Window(None, None).within(first, last)


def _midnight(at: datetime, days: int, *, up: bool) -> datetime:
    day = office_time(at).date()
    day -= timedelta(days=(day - date.min).days % days)
    midnight = datetime.combine(day, time(), OFFICE_TIME)
    return midnight + timedelta(days=days) if up and midnight < at else midnight


def covers(paths: Iterable[str], *, below: bool) -> bool:
    """Whether sums are kept of these territories, or of what lies directly in them."""
    return all(depth(path) + below <= DEEPEST for path in paths)
