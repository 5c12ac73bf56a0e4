"""Questions to a city's read models: metrics, now and as of a past, and pages of the worklist.

The rows are those that the read models' own folds make out of a year of cases, some ten events
each, which are made here and not decided: nothing but the reading is measured. Beyond ``FOLDED``
cases they are copies of these rows, each copy a little earlier and elsewhere, by other people, for
a million is wanted in minutes. Questions are drawn from a mix that is printed with the results;
each is asked through the gateway, with the comparison with the window before.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from domain.calendar import YearPublished
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import OPEN
from domain.history import LOG, Recorded
from domain.places import Tier
from domain.roles import Actor, Grant, Role
from domain.territory import Place, TerritoryCreated
from infra.migrations import migrate, role_dsn
from projections import schemas
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.conditions import CaseFilter, Order, PendingFilter
from projections.counting import Question
from projections.gateway import Gateway
from projections.metrics import METRICS
from projections.past import Moment
from projections.projection import Projection
from projections.quality import CELL_DEGREES, ROW
from projections.tables import AnyTable
from tests import samples
from tests.bench.measure import Row, console, create_database, durable_postgres, percentile, publish
from tests.domain.schedules import local

SECRET: Final = b"a secret for benchmarks, 32 bytes"
BEGIN: Final = local("2026-01-01 00:00")
YEAR: Final = timedelta(days=365)
NOW: Final = BEGIN + YEAR
BATCH: Final = 2_000
"""Cases folded and written together."""

FOLDED: Final = 50_000
"""So many cases are folded at most; more of them are copies."""

EVERY: Final = YEAR / 10_000_000
"""How often the log grows: ten events for each of a million cases in a year."""

EARLIER: Final = 12 * EVERY
"""How much earlier each copy lies than the one before it."""

ASKED: Final = (
    "containment", "timeliness", "caseload", "evaluation", "quality", "worklist", "search",
    "deadlines",
)  # fmt: skip
"""The read models that the questions are about."""

STREETS, COMMUNITIES, GRIDS = 10, 10, 10
"""Subdistricts in the district, communities in each, grids in each of those."""

LIMITS: Final = {"now": 50.0, "as of": 500.0, "page": 20.0}
"""What 95 of 100 answers are to take at most, in milliseconds."""

MIX: Final = (
    "a metric drawn evenly; of a grid 10 %, a community 40 %, a subdistrict 35 %, the district"
    " 15 %; of a month 50 %, a quarter 25 %, the year 25 %; one of size, source, category in 30 %"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: cases in the read models, questions of each kind."""

    cases: int = 1_000_000
    questions: int = 300
    pages: int = 300
    alike: int = 20


QUICK: Final = Size(cases=50_000, questions=100, pages=100, alike=5)
TINY: Final = Size(cases=300, questions=5, pages=5, alike=1)

WIDEST: Final = (("a district's year", 1, 365), ("a grid's month", 4, 30))
"""Questions that are asked of each metric: what, how deep the territory lies, how many days."""


def run(size: Size) -> Path:
    """Measure, print and leave the results; returns their file."""
    with durable_postgres() as server:
        dsn = create_database(server, "queries")
        migrate(dsn, SECRET)
        _fill(role_dsn(dsn, SECRET, "wangge_projector"), size.cases)
        with psycopg.connect(dsn, autocommit=True) as connection:
            past = _vacuumed(connection)
        with _gateway(role_dsn(dsn, SECRET, "wangge_app")) as gateway:
            rows = list(_all_measured(gateway, past, size))
    notes = (f"the mix: {MIX}", "peer: what 95 of 100 are to take at most; a ratio above 1: less")
    return publish("query", rows, notes=notes)


def _all_measured(gateway: Gateway, past: Moment, size: Size) -> Iterator[Row]:
    for kind, then in (("now", None), ("as of", past)):
        yield _measured(
            kind, f"metrics {kind}, the mix", size.questions, partial(_ask, gateway, then)
        )
        for name in METRICS:
            for what, depth, days in WIDEST:
                asked = partial(_ask_alike, gateway, then, name, depth, days)
                yield _measured(kind, f"{name} {kind}, {what}", size.alike, asked)
    yield _measured("page", "worklist, a page", size.pages, _Pages(gateway))
    yield _measured("page", "worklist, counts of six views", size.alike, partial(_views, gateway))
    yield _measured("page", "deadlines, a page", size.alike, partial(_pending, gateway))


def _measured(kind: str, what: str, times: int, ask: Callable[[random.Random], str]) -> Row:
    chance, waits = random.Random(1), list[tuple[float, str]]()
    for _ in range(times):
        begun = time.perf_counter()
        asked = ask(chance)
        waits.append((time.perf_counter() - begun, asked))
    took = [wait for wait, _ in waits]
    slowest = ", ".join(f"{asked} {wait * 1000:.0f} ms" for wait, asked in sorted(waits)[-3:])
    console.print(f"{what}: slowest {slowest}", highlight=False)
    p95 = percentile(took, 0.95) * 1000
    return Row(
        what=what,
        ours=round(p95, 2),
        peer=LIMITS[kind],
        peer_name="the limit",
        ratio=round(LIMITS[kind] / p95, 2),
        unit="ms, p95",
        runs=times,
        p50_ms=round(percentile(took, 0.5) * 1000, 2),
        p99_ms=round(percentile(took, 0.99) * 1000, 2),
        rss_mb=0.0,
    )


@contextmanager
def _gateway(dsn: str) -> Iterator[Gateway]:
    with ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=2) as pool:
        yield Gateway(pool, index_key(SECRET))


# --- questions ---

_CHIEF: Final = Actor("chief", (Grant(Role.SUPERVISOR, ""),))


def _ask(gateway: Gateway, past: Moment | None, chance: random.Random) -> str:
    return _answered(gateway, chance.choice(tuple(METRICS)), _question(chance, past))


def _answered(gateway: Gateway, name: str, asked: Question) -> str:
    match name:
        case "backlog":
            gateway.figures.backlog(_CHIEF, asked)
        case "caseload":
            gateway.figures.caseload(_CHIEF, asked)
        case _:
            gateway.figures.answer(_CHIEF, METRICS[name], asked)
    assert asked.since is not None
    return f"{name} of {asked.territory}, {((asked.until or NOW) - asked.since).days} days"


def _question(chance: random.Random, past: Moment | None) -> Question:
    end = past.at if past else NOW
    depth = chance.choices((1, 2, 3, 4), (15, 35, 40, 10))[0]
    length = timedelta(days=chance.choices((30, 91, 365), (50, 25, 25))[0])
    since = end - length
    if length < YEAR:
        since -= timedelta(days=chance.randrange(60))
    path = _above(chance, depth)
    asked = Question(now=end, as_of=past, territory=path, since=since, until=since + length)
    if chance.random() < 0.3:
        narrowed: dict[str, Any] = chance.choice(
            ({"size": "small"}, {"source": "hotline"}, {"category": "noise"})
        )
        asked = replace(asked, **narrowed)
    return asked


def _ask_alike(
    gateway: Gateway, past: Moment | None, name: str, depth: int, days: int, chance: random.Random
) -> str:
    end = (past.at if past else NOW) - _HOUR * chance.random() * 48
    asked = Question(
        now=past.at if past else NOW,
        as_of=past,
        territory=_above(chance, depth),
        since=end - timedelta(days=days),
        until=end,
    )
    return _answered(gateway, name, asked)


def _views(gateway: Gateway, chance: random.Random) -> str:
    by = Actor("chief", (Grant(Role.SUPERVISOR, _above(chance, chance.choice((1, 2, 3)))),))
    views = (
        CaseFilter(states=OPEN),
        CaseFilter(states=("reported", "filed")),
        CaseFilter(states=OPEN, due_before=NOW),
        CaseFilter(states=OPEN, person="li"),
        CaseFilter(asked="park"),
        CaseFilter(),
    )
    return f"{gateway.counts(by, views)} of {by.grants[0].territory}"


def _pending(gateway: Gateway, chance: random.Random) -> str:
    by = Actor("chief", (Grant(Role.SUPERVISOR, _above(chance, chance.choice((1, 2, 3, 4)))),))
    gateway.pending(by, timedelta(days=1), PendingFilter())
    return f"of {by.grants[0].territory}"


def _above(chance: random.Random, depth: int) -> str:
    """The territory of a depth above some grid."""
    return "".join(part + "/" for part in _grid(chance).split("/")[:depth])


class _Pages:
    """Pages of worklists, each time the next one or the first one of another list."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._wanted, self._by = CaseFilter(), _CHIEF
        self._after: str | None = None

    def __call__(self, chance: random.Random) -> str:
        if self._after is None or chance.random() < 0.1:
            order: Order = chance.choice(("due", "updated", "reported"))
            path = _above(chance, chance.choice((1, 2, 3)))
            self._by = Actor("chief", (Grant(Role.SUPERVISOR, path),))
            states = chance.choice(((), ("filed", "assigned", "in_progress")))
            self._wanted, self._after = CaseFilter(order=order, states=states), None
        page = self._gateway.worklist(self._by, self._wanted, self._after)
        self._after = page.next
        return f"{self._wanted.order} of {self._by.grants[0].territory}"


# --- a year of cases ---


def _grid(chance: random.Random) -> str:
    return (
        f"d1/s{chance.randrange(STREETS)}/c{chance.randrange(COMMUNITIES)}"
        f"/g{chance.randrange(GRIDS)}/"
    )


def _fill(dsn: str, cases: int) -> None:
    """Make the rows of all read models that are asked, as a rebuild would."""
    known = read_models(index_key(SECRET))
    models = [known[name] for name in ASKED]
    copies = -(-cases // FOLDED)
    folded = cases // copies
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeRemainingColumn(),
    )
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        for model in models:
            schemas.create(connection, model, model.name, (LOG,), indexed=False)
        task = progress.add_task("cases", total=folded)
        chance = random.Random(7)
        for first in range(0, folded, BATCH):
            lives = [_life(chance, n, folded) for n in range(first, min(first + BATCH, folded))]
            page = [recorded for life in lives for recorded in life]
            for model in models:
                _apply(connection, model, page)
            progress.update(task, completed=first + len(lives))
        for model in models:
            begun = time.monotonic()
            _apply(connection, model, [*_grids_made(), _published()])
            with connection.transaction():
                schemas.use(connection, model.name)
                for table in model.tables:
                    if "case" in table.columns:
                        _copy(connection, table, copies)
            made = time.monotonic()
            with connection.transaction():
                schemas.use(connection, model.name)
                schemas.complete(connection, model)
                schemas.index(connection, model)
                schemas.move(connection, LOG, _position(NOW))
            console.print(
                f"{model.name}: rows {made - begun:.1f} s, indexes {time.monotonic() - made:.1f} s",
                highlight=False,
            )


def _apply(
    connection: psycopg.Connection, model: Projection, page: Sequence[Recorded[Any]]
) -> None:
    wanted = [recorded for recorded in page if isinstance(recorded.event, model.events)]
    if wanted:
        with connection.transaction():
            schemas.use(connection, model.name)
            model.apply(connection, wanted, True)


def _copy(connection: psycopg.Connection, table: AnyTable, copies: int) -> None:
    """More cases like those that are there: other numbers, other people, earlier and elsewhere."""
    described = connection.execute(
        sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(table.name)), prepare=False
    )
    types = {column.name: column.type_display for column in described.description or ()}
    moved = sql.SQL(", ").join(
        sql.SQL(_copied(name, kind)).format(
            sql.Identifier(name),
            by=sql.Literal(EARLIER),
            positions=sql.Literal(EARLIER // EVERY),
            cells=sql.Literal(CELLS * ROW),
            degrees=sql.Literal(CELLS * CELL_DEGREES[1]),
        )
        for name, kind in types.items()
    )
    connection.execute(
        sql.SQL("INSERT INTO {0} SELECT {1} FROM {0}, generate_series(1, {2}) copy").format(
            sql.Identifier(table.name), moved, sql.Literal(copies - 1)
        )
    )


CELLS: Final = 20
"""How many cells further north each copy lies."""


def _copied(name: str, kind: str) -> LiteralString:
    """What becomes of a column in a copy."""
    match name, kind:
        case (("case" | "again" | "reporter" | "parent"), _):
            return "{} || '-' || copy"
        case (("begun" | "ended" | "position"), _):
            return "{} - copy * {positions}"
        case "latitude", _:
            return "{} + copy * {degrees}"
        case "cell", _:
            return "{} + copy * {cells}"
        case _, "timestamptz":
            return "{} - copy * {by}"
        case _, "timestamptz[]":
            return "ARRAY(SELECT edge - copy * {by} FROM unnest({}) edge)"
        case _:
            return "{}"


def _vacuumed(connection: psycopg.Connection) -> Moment:
    """What autovacuum does within minutes; and a past, with its place in the log."""
    connection.execute("VACUUM (ANALYZE)")
    then = BEGIN + timedelta(days=320)
    connection.execute(
        "INSERT INTO log.event VALUES"
        " (%(n)s, 'past', 1, 'case.note_added', %(at)s, %(at)s, '', '', '', '', '', '')",
        {"n": _position(then), "at": then},
    )
    connection.execute("UPDATE log.head SET position = %s", (_position(NOW),))
    for (name,) in connection.execute(
        "SELECT nspname FROM pg_namespace WHERE to_regclass(nspname || '.checkpoint') IS NOT NULL"
    ).fetchall():
        size = sql.SQL("SELECT pg_size_pretty(sum(pg_total_relation_size(oid))) FROM pg_class"
                       " WHERE relnamespace = {}::regnamespace AND relkind = 'r'").format(
            sql.Literal(name)
        )  # fmt: skip
        console.print(name, *(connection.execute(size).fetchone() or ()), highlight=False)
    return Moment(then, _position(then))


def _position(at: datetime) -> int:
    """Where the log was at a time; it grows evenly, and what happened together shares a place."""
    return int((at - BEGIN) / EVERY) + 1


_PUBLISHED: Final = samples.CALENDAR.years[2026]


def _grids_made() -> list[Recorded[Any]]:
    paths = [
        f"d1/s{street}/c{community}/g{grid}/"
        for street in range(STREETS)
        for community in range(COMMUNITIES)
        for grid in range(GRIDS)
    ]
    return [
        Recorded(
            1, f"territory:{path}", 1,
            TerritoryCreated(
                at=BEGIN, territory=path, tier=Tier.GRID, name="网格", boundary=None,
                effective=BEGIN.date(),
            ),
        )
        for path in paths
    ]  # fmt: skip


def _published() -> Recorded[Any]:
    event = YearPublished(
        at=BEGIN, year=2026, holidays=_PUBLISHED.holidays, makeup_days=_PUBLISHED.makeup_days
    )
    return Recorded(1, "calendar", 1, event)


_TERMS: Final = tuple(samples.terms(code) for code in samples.CATEGORIES)
_SOURCES: Final = tuple(c.Source)
_HOUR: Final = timedelta(hours=1)


def _life(chance: random.Random, number: int, cases: int) -> list[Recorded[Any]]:
    """What happened to one case, with how often it happens in an office."""
    case = f"2026{number:07d}"
    at = BEGIN + YEAR * ((number + chance.random()) / cases)
    grid, terms = _grid(chance), chance.choice(_TERMS)
    source = chance.choices(_SOURCES, (40, 30, 10, 15, 5))[0]
    tier, episode = Tier.GRID, 0
    found: list[Recorded[Any]] = []

    def happens(kind: type[Any], hours: float = 1.0, **what: Any) -> None:
        nonlocal at
        at += _HOUR * hours * chance.random() * 2
        if at < NOW:
            event = kind(at=at, territory=grid, tier=tier, episode=episode, **what)
            found.append(
                Recorded(_position(at), f"case:{case}", len(found) + 1, event, at=at, actor="li")
            )

    known = chance.random() < 0.8
    happens(
        e.CaseReported, 0, case=case, place=Place(grid, 1, "第一网格"), source=source,
        intake=source.intake, description="楼下堆着垃圾", parent=None, occurred=at,
        spot=c.Spot(longitude=116 + chance.random() / 3, latitude=39.8 + chance.random() / 3)
        if known else c.Spot(),
        reporter=c.Reporter(person=f"p{chance.randrange(cases // 3 + 1)}"),
    )  # fmt: skip
    episode = 1
    due = at + timedelta(days=chance.choice((1, 3, 15)))
    happens(
        e.CaseFiled, 1, terms=terms, source=source, intake=source.intake, holder=grid, due=due,
        provisional=False, dated=False, contact_due=at + timedelta(days=1),
    )  # fmt: skip
    happens(e.CaseDispatched, 1, holder=grid, unit=None, worker=None)
    happens(e.CaseAccepted, 6, handler="li", first_contact=True, contact_due=None)
    if chance.random() < 0.15:
        tier = Tier.COMMUNITY
        happens(
            e.CaseEscalated, 12, from_tier=Tier.GRID, from_holder=grid, holder=grid,
            reason=chance.choice(tuple(c.EscalationReason)), note="",
        )  # fmt: skip
        if chance.random() < 0.3:
            tier = Tier.GRID
            happens(
                e.CaseReturned, 12, from_tier=Tier.COMMUNITY, from_holder=grid, holder=grid,
                directive="", returns=1,
            )  # fmt: skip
        happens(e.CaseAccepted, 6, handler="wu", first_contact=False, contact_due=None)
    if chance.random() < 0.05:
        parked = at + _HOUR
        happens(e.CaseParked, 2, asked_by="li", until=parked + timedelta(days=9), reason="")
        due += timedelta(days=5)
        happens(
            e.CaseResumed, 100, parked=parked, counted_to=parked + timedelta(days=5), due=due,
            provisional=False,
        )  # fmt: skip
    happens(e.NoteAdded, 6, text="已到现场")
    happens(e.CaseResolved, 20, handler="li", evidence=("照片",), note="")
    if chance.random() < 0.05:
        happens(e.CheckFailed, 3, handler="li", note="")
        happens(e.CaseResolved, 10, handler="li", evidence=("照片",), note="")
    happens(e.CheckPassed, 3, note="")
    while True:
        happens(
            e.CaseClosed, 2, outcome=chance.choices(tuple(c.Outcome), (92, 4, 2, 2))[0],
            refused_by=None, category=terms.category, filed_size=terms.size, intake=source.intake,
            highest=tier, mandated_up=terms.mandated_up, due=due, on_time=at <= due,
        )  # fmt: skip
        if chance.random() < 0.5:
            reached = chance.random() < 0.8
            solved = chance.random() < 0.9 if reached else None
            happens(e.CallbackMade, 24, attempt=1, reached=reached, solved=solved)
        if chance.random() > 0.03:
            return found
        episode += 1
        happens(
            e.CaseReopened, 100, reason="", holder=grid, closed_at=at, due=at + timedelta(days=3),
            provisional=False, contact_due=at + timedelta(days=1),
        )  # fmt: skip
        happens(e.CaseAccepted, 6, handler="li", first_contact=True, contact_due=None)
