"""How long open cases have waited: since filing, and on the clock of their limit.

The arithmetic is that of ``domain.sla.elapsed`` and ``domain.calendar``, in SQL, so that the cases
need not be fetched.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, TypeAlias

import psycopg
from psycopg import sql

from domain.calendar import Calendar, Period, initial
from projections.past import Moment, quoted
from projections.timeliness import restored

Sql: TypeAlias = sql.SQL | sql.Composed

AGE_DAYS: Final = (1, 3, 7, 15, 30, 90)
"""Ages are counted up to so many days each."""

CLOCK: Final = "t.filed_at, t.started, t.works, t.dated, t.pauses, t.parked_at, t.parked_until"
"""What is asked of each row of ``timeliness.cases``."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How old open cases are, in seconds: the median, the 90th percentile, the oldest; None where
    there is none. ``buckets`` counts them by ``AGE_DAYS``, the last one holding all older."""

    count: int
    p50: int | None
    p90: int | None
    oldest: int | None
    buckets: list[int]


def reckoned(connection: psycopg.Connection, rows: Sql, then: Moment) -> tuple[Ages, Ages]:
    """The ages of some rows, each with ``CLOCK``: since filing, and of the running clock."""
    known = _calendar(connection, then)
    now = quoted(then.at)

    def clock(at: Sql) -> Sql:
        """Seconds before an instant on the clock of a case."""
        return sql.SQL("CASE WHEN works AND NOT dated THEN {} ELSE {} END").format(
            _worked_before(at, known), _second(at)
        )

    # The present pause is like the others, but that it may end later than now.
    paused = sql.SQL(
        "coalesce((SELECT sum(({at}) * CASE n % 2 WHEN 0 THEN 1 ELSE -1 END) FROM unnest("
        "CASE WHEN parked_at IS NULL THEN pauses ELSE pauses || ARRAY[parked_at, parked_until] END)"
        " WITH ORDINALITY pause (edge, n)), 0)"
    ).format(at=clock(sql.SQL("least(edge, {})").format(now)))
    query = sql.SQL(
        "SELECT {calendar}, {running} FROM ("
        "SELECT greatest({now} - {filed}, 0) AS calendar, greatest(({clock}) - ({started})"
        " - CASE WHEN parked_at IS NULL AND pauses = '{{}}' THEN 0 ELSE {paused} END, 0) AS running"
        " FROM ({rows}) open OFFSET 0) aged"
    ).format(
        calendar=_distribution("calendar"),
        running=_distribution("running"),
        now=_second(now),
        filed=_second(sql.SQL("filed_at")),
        clock=clock(now),
        started=clock(sql.SQL("started")),
        paused=paused,
        rows=rows,
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return _ages(*row[:4]), _ages(*row[4:])


def _calendar(connection: psycopg.Connection, then: Moment) -> Calendar:
    """The working calendar as it was known."""
    upto: Sql = sql.SQL("true")
    if then.position is not None:
        upto = sql.SQL("begun <= {}").format(quoted(then.position))
    query = sql.SQL(
        "SELECT calendar FROM timeliness.calendars WHERE {} ORDER BY begun DESC LIMIT 1"
    ).format(upto)
    row = connection.execute(query).fetchone()
    return restored(row[0]) if row else initial


def _distribution(name: str) -> Sql:
    column = sql.Identifier(name)
    younger = (
        sql.SQL("count(*) FILTER (WHERE {} < {})").format(column, quoted(days * 86_400))
        for days in AGE_DAYS
    )
    return sql.SQL(
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY {column})::bigint,"
        " percentile_disc(0.9) WITHIN GROUP (ORDER BY {column})::bigint,"
        " max({column})::bigint, ARRAY[{younger}, count(*)]"
    ).format(column=column, younger=sql.SQL(", ").join(younger))


def _ages(p50: int | None, p90: int | None, oldest: int | None, younger: list[int]) -> Ages:
    buckets = [n - fewer for n, fewer in zip(younger, [0, *younger], strict=False)]
    return Ages(younger[-1], p50, p90, oldest, buckets)


def _second(at: Sql) -> Sql:
    """Whole seconds of an instant, on the calendar clock."""
    return sql.SQL("floor(extract(epoch FROM {}))::bigint").format(at)


def _worked_before(at: Sql, known: Calendar) -> Sql:
    """Working seconds before an instant since the beginning of time, as the calendar counts them:
    Monday to Friday by division, corrected by the days that differ, with the hours of each era."""
    local = sql.SQL("({} AT TIME ZONE 'Asia/Shanghai')").format(at)
    # Day 1 is 1 January of the year 1, a Monday, as Python counts.
    day = sql.SQL("({}::date - DATE '0001-01-01' + 1)").format(local)
    second = sql.SQL("floor(extract(epoch FROM {}::time))::bigint").format(local)
    off, on = (quoted(list(days)) for days in known.exceptions)

    def days_before(ordinal: Sql) -> Sql:
        return sql.SQL(
            "(5 * (({n} - 1) / 7) + least(({n} - 1) % 7, 5)"
            " - width_bucket({n} - 1, {off}::integer[]) + width_bucket({n} - 1, {on}::integer[]))"
        ).format(n=ordinal, off=off, on=on)

    firsts = quoted([era.first for era in known.eras[1:]])

    def of_era(values: list[int]) -> Sql:
        """One of some numbers, each of an era: that of the day."""
        if len(set(values)) == 1:
            return sql.SQL("{}::bigint").format(quoted(values[0]))
        return sql.SQL("({}::bigint[])[1 + width_bucket({}, {}::integer[])]").format(
            quoted(values), day, firsts
        )

    # An era that has fewer periods than another has empty ones after them.
    periods = zip_longest(*(era.periods for era in known.eras), fillvalue=Period(0, 0))
    today = sql.SQL(" + ").join(
        sql.SQL("least(greatest({} - {}, 0), {})").format(
            second,
            of_era([period.start * 60 for period in each]),
            of_era([period.seconds for period in each]),
        )
        for each in periods
    )
    # As if each era had lasted from the beginning of time, and what is too much or too little.
    amiss = [era.seconds_before - era.days_before * era.day_seconds for era in known.eras]
    return sql.SQL("({amiss} + {before} * {whole} + ({after} - {before}) * ({today}))").format(
        amiss=of_era(amiss),
        before=days_before(day),
        after=days_before(sql.SQL("({} + 1)").format(day)),
        whole=of_era([era.day_seconds for era in known.eras]),
        today=today,
    )
