"""Sums beside a table of spans: a district's year without looking at a million rows, at any past.

Positions of the log are cut into stretches. For each stretch there is, by territory and day, how
many rows it began to count, less those that it ended: so what held as of a position are the sums of
all stretches before it and, of the stretch it lies in, the rows themselves. The present is no
different. A stretch is summed up once, when the log has left it behind; the sums follow from the
rows alone, and are kept like an index.

They are kept for everything, each district and each subdistrict; of the first two also by category.
Where it matters how much each grid has, they are kept of each territory by itself instead, by
periods of some days and longer stretches: else there would be as many sums as rows.
What is summed up is what the metrics say of their rows; a metric whose marks change needs a new
version of its read model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

import psycopg

from domain.calendar import OFFICE_TIME, office_time
from domain.history import Recorded
from domain.places import depth
from projections.measures import DROPPED, Metric, Rows
from projections.projection import Projection
from projections.tables import case_id

DEEPEST: Final = 2
"""Sums are kept of territories down to the subdistrict; below it there are few rows to count."""

BY_CATEGORY: Final = 1
"""Sums by category are kept of districts, and of everything."""

STRETCH: Final = 32_768
"""Positions in a stretch: more of them, and more rows are counted one by one; fewer, more sums."""

LONGER: Final = 8
"""So many times as long are stretches where territories are summed up by themselves."""

PERIOD: Final = 10
"""Days in a period of these sums, the first one begins with the year 1."""

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
CREATE INDEX {name}_by ON {name} (territory, category, day) INCLUDE (stretch, kind, n);
GRANT SELECT ON {name}, {name}_kinds TO wangge_app;
"""

_SUM_UP: Final = """
WITH moved AS MATERIALIZED (
    SELECT {place}, {day} AS day, (t.moved - 1) / {stretch} AS stretch,
           {marks}, sum(t.step)::integer AS n
    FROM (SELECT 1 AS step, begun AS moved, * FROM {table} WHERE {begun}
          UNION ALL
          SELECT -1, ended, * FROM {table} WHERE begun IS NOT NULL AND {ended}) t
    WHERE {where}
    GROUP BY {groups} HAVING sum(t.step) <> 0
), told AS MATERIALIZED (
    SELECT hashtextextended(ROW({names})::text, 0) AS kind, * FROM moved
), kinds AS (
    INSERT INTO {name}_kinds SELECT DISTINCT kind, {names} FROM told ON CONFLICT DO NOTHING
)
INSERT INTO {name} {sums}
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
_PERIOD: Final = f"({_DAY} - mod({_DAY} - DATE '0001-01-01', {PERIOD}))"


class _Sums(NamedTuple):
    """The sums of some rows, as statements to be filled in."""

    metric: Metric
    rows: Rows

    def statement(self, form: str, **given: Any) -> str:
        """A statement in which ``moved`` between two positions is still open."""
        said = marks(self.metric, self.rows)
        place, sums, day = (
            (_PLACE_BY_ITSELF, _SUMS_BY_ITSELF, _PERIOD)
            if self.rows.by_itself
            else (_PLACE, _SUMS, _DAY)
        )
        groups = (1 if self.rows.by_itself else 3) + len(("day", "stretch", *said))
        return form.format(
            name=self.rows.daily,
            table=self.metric.table,
            place=place,
            day=day.format(at=self.rows.at),
            marks=", ".join(f"{mark} AS {name}" for name, mark in said.items()),
            names=", ".join(said),
            groups=", ".join(str(column) for column in range(1, groups + 1)),
            where=f"({self.rows.where}) AND {holds(self.rows)}",
            sums=sums,
            **given,
        )

    def ddl(self, stretch: int) -> str:
        """The tables, filled with what is there: all stretches that are over."""
        over = f"<= (SELECT upto FROM {SUMMED})"  # noqa: S608 - a name of ours
        filled = self.statement(
            _SUM_UP, stretch=stretch, begun=f"begun {over}", ended=f"ended {over}"
        )
        return self.statement(_DDL, filled=filled)


SUMMED: Final = "summed"
"""The table that tells up to which position stretches of which length are summed up."""


def marks(metric: Metric, rows: Rows) -> dict[str, str]:
    """The marks that sums tell apart, in SQL: not what depends on the moment, or on other rows."""
    gone = {DROPPED} if rows.dropped is False else set()
    kept = {n: m for n, m in metric.marks.items() if "{" not in m and n not in gone}
    asked = ("size",) if rows.by_itself else ("size", "source")
    return {name: name for name in asked} | kept | ({WAIT: rows.wait} if rows.wait else {})


WAIT: Final = "wait_days"
"""The days to wait, where rows are to have waited."""


def holds(rows: Rows) -> str:
    """Whether rows are those that are dropped, or not, in SQL."""
    return {None: "true", True: "t.dropped IS NOT NULL", False: "t.dropped IS NULL"}[rows.dropped]


def summed(projection: Projection, metrics: Iterable[Metric], stretch: int = STRETCH) -> Projection:
    """A read model with the sums that metrics want of it."""
    wanted = [
        _Sums(metric, rows)
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

    def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool) -> None:
        if fresh or not page:
            projection.apply(connection, page, fresh)
            return
        upto = _follow(connection, wanted, stretch, page[0].position - 1)
        projection.apply(connection, page, fresh)
        late = [recorded for recorded in page if recorded.position <= upto]
        if late:
            _add(connection, wanted, stretch, late)

    ddl = "".join(each.ddl(stretch) for each in wanted)
    return replace(projection, indexes=projection.indexes + indexes + begin + ddl, apply=apply)


def _follow(
    connection: psycopg.Connection, wanted: Sequence[_Sums], stretch: int, before: int
) -> int:
    """Sum up the stretches that lie before a position; returns up to where that is done.

    Until the transaction ends nobody sums up what we are about to change.
    """
    look = f"SELECT upto FROM {SUMMED} FOR "  # noqa: S608 - a name of ours
    row = connection.execute((look + "SHARE").encode()).fetchone()
    assert row is not None
    upto: int = row[0]
    over = before // stretch * stretch
    if over <= upto:
        return upto
    if connection.execute((look + "UPDATE SKIP LOCKED").encode()).fetchone() is None:
        return upto  # somebody is in the middle of a page: another time will do
    between = {"after": upto, "over": over}
    for each in wanted:
        statement = each.statement(
            _SUM_UP,
            stretch=stretch,
            begun="begun > %(after)s AND begun <= %(over)s",
            ended="ended > %(after)s AND ended <= %(over)s",
        )
        connection.execute(statement.encode(), between)
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
        "cases": list({case_id(recorded) for recorded in late}),
        "late": [recorded.position for recorded in late],
    }
    for each in wanted:
        statement = each.statement(
            _SUM_UP,
            stretch=stretch,
            begun='"case" = ANY(%(cases)s) AND begun = ANY(%(late)s)',
            ended='"case" = ANY(%(cases)s) AND ended = ANY(%(late)s)',
        )
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


def whole_days(window: Window, rows: Rows) -> Window | None:
    """The whole days of a window, or periods, in office time; None where there is none."""
    days = PERIOD if rows.by_itself else 1
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
