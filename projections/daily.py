"""Sums by day beside a table of spans: a district's year without looking at a million rows.

They hold of the present only, by district and by subdistrict, and follow from the table alone. So
they are kept like an index: filled when the rows are in, and moved by triggers with every row that
comes or changes. What is summed up is what the metrics say of their rows; a metric whose marks
change needs a new version of its read model.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple

from domain.calendar import OFFICE_TIME, office_time
from domain.places import depth
from projections.measures import Metric, Rows
from projections.projection import Projection

DEEPEST: Final = 2
"""Sums are kept of territories down to the subdistrict; below it there are few rows to count."""

UNSUMMED: Final = "dropped"
"""The mark that is null in all rows that are summed up."""

_DDL: Final = """
CREATE TABLE {name} AS
    SELECT t.territory, current_date AS day, {groups}, 0::bigint AS n FROM {table} t, {nodes}
    WITH NO DATA;
ALTER TABLE {name} ADD PRIMARY KEY (territory, day, {names});
GRANT SELECT ON {name} TO wangge_app;
INSERT INTO {name}
    SELECT node, {day}, {groups}, count(*) FROM {table} t, {nodes}
    WHERE {holds} GROUP BY {places};

CREATE FUNCTION move_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever else adds to the same sums waits here, holding none of them.
    LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO {name} AS d
            SELECT node, {day}, {groups}, sum(step)
            FROM (SELECT 1 AS step, * FROM added UNION ALL SELECT -1, * FROM taken) t, {nodes}
            WHERE {holds} GROUP BY {places} HAVING sum(step) <> 0
        ON CONFLICT (territory, day, {names}) DO UPDATE SET n = d.n + excluded.n;
    ELSE
        INSERT INTO {name} AS d
            SELECT node, {day}, {groups}, count(*) FROM added t, {nodes}
            WHERE {holds} GROUP BY {places}
        ON CONFLICT (territory, day, {names}) DO UPDATE SET n = d.n + excluded.n;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER {name}_added AFTER INSERT ON {table} REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION move_{name}();
CREATE TRIGGER {name}_changed AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS taken NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION move_{name}();
"""

_NODES: Final = """LATERAL (
        SELECT split_part(t.territory, '/', 1) || '/' COLLATE "C" AS node
        UNION ALL
        SELECT split_part(t.territory, '/', 1) || '/' || split_part(t.territory, '/', 2) || '/'
        WHERE split_part(t.territory, '/', 2) <> ''
    ) nodes"""


def summed(projection: Projection, metrics: Iterable[Metric]) -> Projection:
    """A read model with the sums that metrics want of it."""
    wanted = (
        _ddl(metric, rows)
        for metric in metrics
        if metric.model == projection.name
        for rows in metric.rows
        if rows.daily
    )
    return replace(projection, indexes=projection.indexes + "".join(wanted))


def _ddl(metric: Metric, rows: Rows) -> str:
    marks = {name: mark for name, mark in metric.marks.items() if name != UNSUMMED}
    groups = {"size": "size", "source": "source"} | marks
    return _DDL.format(
        name=rows.daily,
        table=metric.table,
        day=f"({rows.at} AT TIME ZONE 'Asia/Shanghai')::date",
        groups=", ".join(f"{mark} AS {name}" for name, mark in groups.items()),
        names=", ".join(groups),
        places=", ".join(str(place) for place in range(1, len(groups) + 3)),
        holds=f"ended IS NULL AND begun IS NOT NULL AND dropped IS NULL AND {rows.where}",
        nodes=_NODES,
    )


class Days(NamedTuple):
    """A window cut at midnights: whole days from ``first`` until, without it, ``last`` (None: on
    and on), and the instants at which they begin and end."""

    first: datetime | None
    last: datetime | None


def whole_days(since: datetime | None, until: datetime | None) -> Days | None:
    """The whole days of a window, in office time; None where there is none."""
    first = None if since is None else _midnight(since, up=True)
    last = None if until is None else _midnight(until, up=False)
    if first is not None and last is not None and first >= last:
        return None
    return Days(first, last)


def _midnight(at: datetime, *, up: bool) -> datetime:
    local = office_time(at)
    midnight = datetime.combine(local.date(), time(), OFFICE_TIME)
    return midnight + timedelta(days=1) if up and midnight < at else midnight


def covers(paths: Iterable[str], *, below: bool) -> bool:
    """Whether sums are kept of these territories, or of what lies directly in them."""
    return all(depth(path) + below <= DEEPEST for path in paths)
