"""The worklist as of any past: what a copy that stopped there shows, and to nobody else."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from psycopg import sql

from domain.history import LOG
from domain.personal import FORGOTTEN
from domain.places import Tier
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from projections import schemas
from projections.conditions import CaseFilter
from projections.gateway import CaseCard, Gateway
from projections.paging import BadCursor, Listing
from projections.runner import Runner
from projections.todo import ToDo
from projections.worklist import WORKLIST
from tests import samples
from tests.projections.test_gateway import supervisor
from tests.projections.test_metrics import Until, live

EVERYWHERE = supervisor("")

READERS = (
    EVERYWHERE,
    supervisor("d1/"),
    supervisor(samples.COMMUNITY),
    samples.GRID_WORKER,
    samples.RESIDENT,
    Actor("of the works", (Grant(Role.HANDLER, samples.OTHER_DISTRICT),), unit=samples.WORKS.id),
)


@pytest.fixture
def runner(runner: Runner) -> Runner:
    """Of the read models that lists ask, and no others."""
    models = ("worklist", "search")
    runner.projections = tuple(each for each in runner.projections if each.name in models)
    return runner


def lists(chance: random.Random) -> Iterator[CaseFilter]:
    """Every order, and every filter at least once among a few."""
    filters: tuple[dict[str, Any], ...] = (
        {},
        {"territory": chance.choice(("d1/s1/", samples.GRID, samples.OTHER_GRID))},
        {"tier": chance.choice(tuple(Tier))},
        {"states": ("filed", "assigned", "in_progress", "parked")},
        {"states": ("closed", "evaluated", "void", "merged")},
        {"person": samples.GRID_WORKER.id},
        {"unit": chance.choice(("property", samples.WORKS.id))},
        {"called": chance.choice(("property", samples.WORKS.id))},
        {"asked": chance.choice(("void", "park", "extension"))},
        {"category": "exposed_garbage"},
        {"size": chance.choice(("small", "big"))},
        {"due_before": samples.after(days=chance.choice((1, 20)))},
        {"parent": f"{chance.randrange(3)}-a"},
        {"todo": ToDo(samples.CALLBACK_DESK, samples.after(days=chance.choice((0, 20, 60))))},
    )
    for each in filters:
        yield CaseFilter(**each, order=chance.choice(("due", "updated", "reported")))
    for order in ("due", "updated", "reported"):
        yield CaseFilter(order=order)


def pages(ask: Any, limit: int) -> list[CaseCard]:
    """All rows, page by page; no page but the last is short."""
    found: list[CaseCard] = []
    cursor: str | None = None
    while True:
        page: Listing[CaseCard] = ask(after=cursor, limit=limit)
        found += page.rows
        cursor = page.next
        if cursor is None:
            return found
        assert len(page.rows) == limit


def test_as_of_any_past_a_list_holds_what_it_would_have_held_then(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for n in range(3):
        live(store, chance, str(n))
    head, source = store.recorder.max_notification_id(), runner.source
    assert head is not None
    stops = sorted(chance.sample(range(head // 4, head), 4))
    then: list[tuple[int, int, CaseFilter, list[CaseCard]]] = []
    runner.page = chance.choice((1, 7, 5000))
    for stop in stops:
        runner.source = Until(source, stop)
        runner.catch_up()
        for reader in (0, *chance.sample(range(1, len(READERS)), 2)):
            for wanted in lists(chance):
                rows = gateway.worklist(READERS[reader], wanted, limit=100).rows
                then.append((stop, reader, wanted, rows))
    runner.source = source
    runner.catch_up()

    def is_as_it_was() -> None:
        today = [gateway.worklist(by, CaseFilter(), limit=100).rows for by in READERS]
        for stop, reader, wanted, rows in then:
            ask = partial(gateway.worklist_as_of, READERS[reader], wanted, stop, store.histories)
            seen = {row.case for row in today[reader]}
            expected = [row for row in rows if row.case in seen]
            assert pages(ask, chance.choice((1, 3, 100))) == expected, (seed, stop, reader, wanted)

    is_as_it_was()
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)
    is_as_it_was()
    # And the present is not the past, and the lists not empty, or all of this would prove nothing.
    present = [
        gateway.worklist(READERS[reader], wanted, limit=100).rows for _, reader, wanted, _ in then
    ]
    assert any(rows != now for (*_, rows), now in zip(then, present, strict=True))
    assert sum(len(rows) for *_, rows in then) > 100


def was(store: EventStore, gateway: Gateway, by: Actor, upto: int, **wanted: Any) -> list[CaseCard]:
    return gateway.worklist_as_of(by, CaseFilter(**wanted), upto, store.histories).rows


def test_nobody_reads_the_past_across_territories(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """Own, parents, children and siblings, of the past as of the present."""
    path_to = [replace(command, case="a") for command in samples.PATHS["in_progress"]]
    then = store.execute(*path_to).position
    store.execute(samples.escalate(case="a"))
    runner.catch_up()
    for path, sees in (
        ("d1/", True),
        (samples.COMMUNITY, True),
        (samples.GRID, True),
        (f"{samples.GRID}b1/", False),
        (samples.SIBLING_GRID, False),
        (samples.OTHER_COMMUNITY, False),
        (samples.OTHER_DISTRICT, False),
    ):
        for wanted in ({}, {"text": "垃圾"}, {"territory": samples.GRID}):
            rows = was(store, gateway, supervisor(path), then, **wanted)
            assert [row.state for row in rows] == ["in_progress"] * sees, (path, wanted)


def test_who_may_not_see_a_case_now_sees_nothing_of_its_past(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    store.execute(*(replace(each, case="a") for each in samples.PATHS["filed"]))
    worker = samples.actor(Role.HANDLER, samples.GRID, "far")
    then = store.execute(samples.dispatch(case="a", worker=worker)).position
    store.execute(samples.accept(case="a", by=worker))
    far = Actor("far", (Grant(Role.HANDLER, samples.OTHER_DISTRICT),))
    runner.catch_up()
    assert [row.state for row in was(store, gateway, far, then)] == ["assigned"]
    moved = store.execute(samples.escalate(case="a", by=worker)).position
    runner.catch_up()
    assert not was(store, gateway, far, then)
    assert not was(store, gateway, far, moved)
    assert len(was(store, gateway, EVERYWHERE, then)) == 1


def test_who_is_forgotten_today_is_forgotten_in_the_past(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    then = store.execute(samples.report(case="a")).position
    runner.catch_up()
    (before,) = was(store, gateway, EVERYWHERE, then, text="垃圾")
    assert FORGOTTEN not in (before.description, before.reporter_name)
    store.execute(samples.ask_forget(), samples.approve_forget(cases=("a",)))
    runner.catch_up()
    (after,) = was(store, gateway, EVERYWHERE, then)
    assert (after.description, after.reporter_name) == (FORGOTTEN, FORGOTTEN)
    assert (after.state, after.version) == (before.state, before.version)


def test_a_cursor_of_another_order_is_refused(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    store.execute(samples.report(case="a"))
    head = store.execute(samples.report(case="b")).position
    runner.catch_up()
    page = gateway.worklist_as_of(EVERYWHERE, CaseFilter(), head, store.histories, limit=1)
    with pytest.raises(BadCursor):
        gateway.worklist_as_of(
            EVERYWHERE, CaseFilter(order="updated"), head, store.histories, page.next
        )


def test_the_last_row_of_a_case_is_found_by_its_number_however_early_the_plan_was_made(
    store: EventStore, runner: Runner
) -> None:
    """A follower keeps the plans of its first pages, when there was next to nothing to read."""
    store.execute(samples.report(case="a"), samples.file(case="a"))
    with runner.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET plan_cache_mode = force_generic_plan")
        schemas.create(connection, WORKLIST, "made", (LOG,), indexed=True)
        connection.prepare_threshold = 0
        with connection.transaction():
            schemas.use(connection, "made")
            for n in range(2):
                page = runner.source.read(LOG, n, n + 1, WORKLIST.wanted()).events
                WORKLIST.apply(connection, page, False)
            (name,) = connection.execute(
                "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%UPDATE past%'",
                prepare=False,
            ).fetchone() or ("",)
            explain = sql.SQL("EXPLAIN EXECUTE {}(NULL, NULL)").format(sql.Identifier(name))
            plan = "".join(row[0] for row in connection.execute(explain).fetchall())
    assert "past_last" in plan
    assert 'Index Cond: ("case" = ANY (' in plan, plan
