"""Built by stream, by any number of workers, stopped anywhere: the same bytes as followed live."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.history import LOG, Unreadable
from domain.operations import SkipEvent
from infra import log_source
from infra.cli.models import bench
from infra.event_store import EventStore
from infra.log_source import LogSource
from infra.migrations import role_dsn
from projections import bulk, schemas
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.crew import Crew
from projections.projection import NotTheSame, Poisoned, Projection, Superseded
from projections.runner import Runner
from projections.standing import standings
from tests import samples
from tests.projections.test_runner import fill

BY_NAME = read_models(index_key(b"a secret for tests only, 32 bytes"))


@pytest.fixture
def crew(database: str, secret: bytes, folder: Path) -> Crew:
    """Three at work: this process and two of their own."""
    dsn, vault = (role_dsn(database, secret, f"wangge_{r}") for r in ("projector", "vault"))
    return Crew(3, partial(bench, dsn, vault, folder / "data" / "kek", index_key(secret)))


def poisoned(model: Projection, position: int) -> Projection:
    """A read model that cannot fold the event at a position."""

    def apply(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        for recorded in page:
            if recorded.position == position:
                raise ValueError("poison")
        model.apply(connection, page, fresh)

    return replace(model, apply=apply)


@pytest.mark.parametrize("name", ["worklist", "search", "deadlines", "audit"])
def test_several_processes_build_the_same(
    store: EventStore, runner: Runner, crew: Crew, name: str
) -> None:
    fill(store, 8)
    runner.projections = (BY_NAME[name],)
    runner.catch_up()
    runner.stretch = 10
    alone = runner.rebuild(BY_NAME[name], verify=True)
    runner.crew = crew
    assert runner.rebuild(BY_NAME[name], verify=True) == alone


def test_all_of_them_are_built_together(store: EventStore, runner: Runner, crew: Crew) -> None:
    fill(store, 6)
    runner.catch_up()
    runner.stretch, runner.crew = 10, crew
    before = made(runner)
    runner.rebuild_all(runner.projections)
    assert before.keys() == made(runner).keys()
    assert set(before.items()).isdisjoint(made(runner).items())
    runner.crew = None
    for model in runner.projections:
        runner.rebuild(model, verify=True)


def test_what_another_finishes_is_not_waited_for(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    jobs = [
        bulk.Job(BY_NAME[name], f"{name}_rebuild", BY_NAME[name].wanted(frozenset()))
        for name in ("audit", "worklist")
    ]
    with runner.connect() as connection, runner.connect() as other:
        assert isinstance(runner.source, LogSource)
        for job in jobs:
            bulk.plan(connection, job.projection, job.schema, runner.source, 20, 10)
        connection.execute("SET lock_timeout = '2s'")
        with other.transaction():
            schemas.lock(other, "audit_rebuild")
            assert bulk.work(connection, jobs, runner.source, lambda _: True) == {}
        assert bulk.finish(connection, jobs[1])
        assert not bulk.finish(connection, jobs[0])
        bulk.work(connection, jobs, runner.source, lambda _: True)
        assert bulk.finish(connection, jobs[0])


@pytest.mark.parametrize("together", [1, 3, 500])
def test_what_one_reads_of_streams_is_made_as_it_comes_in(
    store: EventStore, runner: Runner, database: str, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(log_source, "TOGETHER", together)
    fill(store, 6)
    assert isinstance(runner.source, LogSource)
    head, wanted = runner.source.head(), BY_NAME["worklist"].wanted(frozenset())

    def read() -> list[tuple[Any, ...]]:
        assert isinstance(runner.source, LogSource)
        return list(runner.source.streams("", None, head, (wanted,))(wanted))

    by_position = runner.source.between(0, head, (wanted,))(wanted)
    assert read() == sorted(by_position, key=lambda each: (each.stream, each.version))
    bad = read()[4]
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE log.event DISABLE TRIGGER ALL")
        owner.execute("UPDATE log.event SET data = '{' WHERE position = %s", (bad[0],))
    for _ in range(8):  # as often as there are connections: each is of use again
        with pytest.raises(Unreadable) as found:
            read()
        assert (found.value.position, found.value.stream) == bad[:2]
    assert runner.source.head() == head


def test_what_another_version_has_taken_is_not_finished(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    model = BY_NAME["audit"]
    job = bulk.Job(model, "audit_rebuild", model.wanted(frozenset()))
    newer = job._replace(projection=replace(model, version=model.version + 1))
    with runner.connect() as connection:
        assert isinstance(runner.source, LogSource)
        bulk.plan(connection, newer.projection, job.schema, runner.source, 20, 10)
        assert bulk.work(connection, [newer], runner.source, lambda _: True) == {}
        assert not bulk.finish(connection, job)
        assert not bulk.finish_all(connection, [job])
        stopped = bulk.work(connection, [job], runner.source, lambda _: True)
        assert isinstance(stopped[job.schema], Superseded)
        assert bulk.finish(connection, newer)


@contextmanager
def _nobody_writes_the_log_meanwhile(owner: psycopg.Connection) -> Iterator[None]:
    """Commits that do not wait for the disk are not there before ten seconds have passed."""
    owner.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    owner.execute("SELECT pg_reload_conf()")
    time.sleep(0.5)  # until it has woken up once more
    try:
        yield
    finally:
        owner.execute("ALTER SYSTEM RESET wal_writer_delay")
        owner.execute("SELECT pg_reload_conf()")


def test_rows_are_marked_before_the_indexes_come_to_them(
    store: EventStore, runner: Runner, database: str
) -> None:
    fill(store, 200)  # a stretch fills some pages, to which nothing is added later
    model, schema, head = BY_NAME["audit"], "audit_rebuild", runner.source.head("log")
    job = bulk.Job(model, schema, model.wanted(frozenset()))
    assert isinstance(runner.source, LogSource)
    with runner.connect() as connection, psycopg.connect(database, autocommit=True) as owner:
        owner.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
        stretches = bulk.plan(connection, model, schema, runner.source, head, head // 10)
        assert stretches > 5
        with _nobody_writes_the_log_meanwhile(owner):
            bulk.work(connection, [job], runner.source, lambda _: True)
        pages = (
            "SELECT t_infomask & 256 <> 0 FROM generate_series(0, pg_relation_size(%s) / 8192 - 1)"
            " AS page, heap_page_items(get_raw_page(%s, page::integer)) WHERE t_data IS NOT NULL"
        )
        marked = [row[0] for row in owner.execute(pages, ["audit_rebuild.entries"] * 2)]
    assert len(marked) == head
    # All but those of the last stretches, after which there was none to look at them.
    assert 0 < marked.count(False) <= head * 3 / stretches
    assert not any(marked[marked.index(False) :])


def test_what_a_helper_took_and_did_not_finish_is_done(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    runner.catch_up()
    runner.stretch, head = 10, runner.source.head("log")
    begun, go_on = threading.Event(), threading.Event()

    def apply(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        begun.set()
        go_on.wait()
        BY_NAME["audit"].apply(connection, page, fresh)

    model = replace(BY_NAME["audit"], apply=apply)
    building = threading.Thread(target=runner.rebuild, args=(model,))
    building.start()
    begun.wait()
    with runner.connect() as helper, runner.connect() as connection:
        with helper.transaction(force_rollback=True):  # as if it were killed
            schemas.lock(helper, "audit_rebuild", shared=True)
            schemas.use(helper, "audit_rebuild")
            helper.execute("SELECT FROM stretch WHERE number = 1 FOR UPDATE")
            go_on.set()
            left = "SELECT count(*) FROM audit_rebuild.stretch WHERE NOT done"
            wait_for(lambda: connection.execute(left).fetchone() == (1,))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_for(lambda: connection.execute(waiting).fetchone() == (1,))
        building.join()
        assert connection.execute("SELECT count(*) FROM audit.entries").fetchone() == (head,)


def test_of_several_one_that_stumbles_is_left_as_it_is(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    runner.catch_up()
    runner.stretch = 10
    before = made(runner)
    every = [poisoned(BY_NAME["audit"], 17), BY_NAME["worklist"], BY_NAME["looks"]]
    with pytest.raises(Poisoned, match="audit cannot fold position 17"):
        runner.rebuild_all(every)
    after = made(runner)
    assert {name for name in before if before[name] != after[name]} == {"worklist", "looks"}
    runner.rebuild(BY_NAME["worklist"], verify=True)


def made(runner: Runner) -> dict[str, int]:
    """Which schema each read model stands in."""
    with runner.connect() as connection:
        rows = connection.execute("SELECT nspname, oid FROM pg_namespace").fetchall()
    return {name: oid for name, oid in rows if name in BY_NAME}


def test_what_rests_on_the_order_of_streams_is_found_out(store: EventStore, runner: Runner) -> None:
    """The negative control: rows numbered as their events come differ from way to way."""
    fill(store, 6)
    numbers = count(1)

    def apply(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        numbered = [each._replace(version=next(numbers)) for each in page]
        BY_NAME["audit"].apply(connection, numbered, fresh)

    hasty = replace(BY_NAME["audit"], apply=apply)
    runner.projections = (hasty,)
    runner.catch_up()
    numbers = count(1)
    with pytest.raises(NotTheSame, match="audit"):
        runner.rebuild(hasty, verify=True)


def test_what_was_done_before_a_stop_is_not_done_again(store: EventStore, runner: Runner) -> None:
    fill(store, 8)
    runner.stretch = 5
    model = BY_NAME["audit"]
    seen: list[int] = []

    def apply(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        if len(seen) > 15:
            raise KeyboardInterrupt
        model.apply(connection, page, fresh)
        seen.extend(each.position for each in page)

    with pytest.raises(KeyboardInterrupt):
        runner.rebuild(replace(model, apply=apply))
    done = set(seen)

    def again(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        assert done.isdisjoint(each.position for each in page)
        model.apply(connection, page, fresh)

    runner.rebuild(replace(model, apply=again))
    runner.projections = (model,)
    runner.rebuild(model, verify=True)


@pytest.fixture
def halted(store: EventStore, runner: Runner) -> Projection:
    """A read model that was whole, and whose next version cannot fold position 17."""
    fill(store, 6)
    runner.projections = (BY_NAME["worklist"],)
    runner.catch_up()
    return replace(poisoned(BY_NAME["worklist"], 17), version=99)


def test_an_event_that_cannot_be_folded_is_named_and_the_live_rows_stay(
    store: EventStore, runner: Runner, halted: Projection
) -> None:
    runner.projections = (halted,)
    with pytest.raises(Poisoned, match=r"worklist cannot fold position 17 \(case\.\w+ of case:"):
        runner.catch_up()
    with runner.connect() as connection:
        (at,) = standings(connection, ("worklist",))
        rows = connection.execute("SELECT count(*) > 0 FROM worklist.cases").fetchone()
    assert at.poison is not None
    assert (at.poison.position, at.well) == (17, False)
    assert rows == (True,)


@pytest.mark.parametrize("rebuilt", [True, False])
def test_what_is_skipped_is_left_out_and_nothing_else(
    store: EventStore, runner: Runner, rebuilt: bool
) -> None:
    fill(store, 6)
    model = poisoned(BY_NAME["audit"], 17)
    runner.projections = (model,)
    go: Callable[[], object] = partial(runner.rebuild, model) if rebuilt else runner.catch_up
    with pytest.raises(Poisoned):
        go()
    skip(store, 17)
    go()
    runner.rebuild(model, verify=True)
    with runner.connect() as connection:
        missing = connection.execute(
            "SELECT position FROM log.event e WHERE NOT EXISTS"
            " (SELECT FROM audit.entries a WHERE a.position = e.position)"
        ).fetchall()
    assert missing == [(17,)]


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_left_out_of_a_case_does_not_stop_at_what_follows(
    store: EventStore, runner: Runner, name: str
) -> None:
    """Or else somebody would have to leave out all later events of the case, one after another."""
    for command in (
        *samples.PATHS["closed"],
        samples.call_back(at=samples.after(minutes=18)),
        samples.evaluate(),
    ):
        store.execute(command)
    store.execute(samples.reopen())
    model, head = BY_NAME[name], runner.source.head(LOG)
    with runner.connect() as connection:
        for skipped in range(1, head + 1):
            page = runner.source.read(LOG, 0, head, model.wanted(frozenset({skipped}))).events
            made = []
            for fresh in (False, True):
                schemas.create(connection, model, "made", (LOG,), indexed=True)
                with connection.transaction():
                    schemas.use(connection, "made")
                    for events in (page,) if fresh else ([each] for each in page):
                        model.apply(connection, events, fresh)
                    made.append(schemas.digest(connection, model))
                schemas.drop(connection, "made")
            assert made[0] == made[1], skipped


def test_a_follower_goes_on_once_the_event_is_skipped(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    model = poisoned(BY_NAME["audit"], 17)
    with following(runner, model):
        wait_for(lambda: position_of(runner, "audit") == 16)
        position = skip(store, 17)
        wait_for(lambda: position_of(runner, "audit") == position)
    runner.rebuild(model, verify=True)


def test_of_those_that_follow_together_one_stumbles_alone_and_comes_back(
    store: EventStore, runner: Runner
) -> None:
    models = [poisoned(BY_NAME["audit"], 17), BY_NAME["worklist"], BY_NAME["deadlines"]]
    with following(runner, *models):
        fill(store, 6)
        head = store.recorder.max_notification_id() or 0
        wait_for(
            lambda: position_of(runner, "worklist") == position_of(runner, "deadlines") == head
        )
        wait_for(lambda: position_of(runner, "audit") == 16)
        position = skip(store, 17)
        wait_for(lambda: all(position_of(runner, each.name) == position for each in models))
        late = store.execute(samples.report(case="late")).position
        wait_for(lambda: all(position_of(runner, each.name) == late for each in models))
    for model in models:
        runner.rebuild(model, verify=True)


def test_a_pause_holds_a_follower_and_a_rebuild(store: EventStore, runner: Runner) -> None:
    fill(store, 4)
    model = BY_NAME["audit"]
    runner.projections = (model,)
    runner.catch_up()
    before = position_of(runner, "audit")
    with runner.connect() as connection:
        schemas.pause(connection, "audit")
        schemas.pause(connection, "audit")  # once more changes nothing
        receipt = store.execute(samples.report(case="late"))
        rebuild = threading.Thread(target=runner.rebuild, args=(model,))
        rebuild.start()
        with following(runner, model):
            wait_for(lambda: bulk.standing(connection, "audit_rebuild") is not None)
            assert standings(connection, ("audit",))[0].paused
            assert rebuild.is_alive()
            assert position_of(runner, "audit") == before
            schemas.resume(connection, "audit")
            rebuild.join()
            wait_for(lambda: position_of(runner, "audit") == receipt.position)
        (at,) = standings(connection, ("audit",))
    assert (at.well, at.lag, at.building) == (True, 0, None)


def skip(store: EventStore, position: int) -> int:
    command = SkipEvent(
        by=samples.ADMINISTRATOR,
        at=samples.NOW,
        projection="audit",
        position=position,
        reason="a test",
        halted=position,
    )
    return store.execute(command).position


def position_of(runner: Runner, name: str) -> int:
    with runner.connect() as connection:
        return schemas.position_of(connection, name) or 0


class following:  # noqa: N801 - reads as a word
    """A follower of some read models, for as long as the block lasts."""

    def __init__(self, runner: Runner, *models: Projection) -> None:
        self.stop = threading.Event()
        one = Runner(runner.source, runner.connect, models)
        self.thread = threading.Thread(target=one.follow, args=(self.stop,))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def wait_for(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "waited for in vain"
        time.sleep(0.02)
