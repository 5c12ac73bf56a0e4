"""Read models that are given the same events: what one of them reads is no other's matter."""

import random
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import msgspec
import psycopg
import pytest

from domain.case import events as e
from domain.history import LOG
from infra.event_store import EventStore
from projections import schemas
from projections.projection import Poisoned, in_company
from projections.runner import Runner
from projections.shapes import shapes
from projections.standing import standings
from tests.projections.test_metrics import live
from tests.projections.test_rebuild import following, position_of, wait_for
from tests.projections.test_runner import fill

ALONE = "containment"
"""Nobody else reads whether the terms of a case have it handed up."""


@pytest.fixture
def broken(store: EventStore, runner: Runner, database: str) -> int:
    """The position of an event with one field that is not as it should be."""
    fill(store, 6)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE log.event DISABLE TRIGGER ALL")
        row = owner.execute(
            "UPDATE log.event SET data = convert_to(replace(convert_from(data, 'UTF8'),"
            """ '"mandated_up":false', '"mandated_up":0'), 'UTF8')"""
            " WHERE position = (SELECT min(position) FROM log.event WHERE name = 'case.filed')"
            " RETURNING position"
        ).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def stopped(runner: Runner) -> Mapping[str, int]:
    """Those that stand still, and at which position."""
    with runner.connect() as connection:
        every = standings(connection, [each.name for each in runner.projections])
    return {each.name: each.poison.position for each in every if each.poison is not None}


def test_a_bad_field_stops_who_reads_it_alone(runner: Runner, broken: int) -> None:
    with pytest.raises(Poisoned, match=rf"{ALONE} cannot fold position {broken} \(case\.filed of"):
        runner.catch_up()
    assert stopped(runner) == {ALONE: broken}


def test_a_bad_field_stops_who_reads_it_alone_in_a_build(runner: Runner, broken: int) -> None:
    with pytest.raises(Poisoned, match=rf"{ALONE} cannot fold position {broken} \(case\.filed of"):
        runner.rebuild_all(runner.projections)
    head = runner.source.head(LOG)
    others = [each.name for each in runner.projections if each.name != ALONE]
    assert {position_of(runner, name) for name in others} == {head}
    assert position_of(runner, ALONE) == 0


def test_the_audit_trail_stands_whatever_an_event_says(
    runner: Runner, broken: int, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE log.event DISABLE TRIGGER ALL")
        owner.execute("UPDATE log.event SET data = '[]' WHERE position = %s", (broken,))
    with pytest.raises(Poisoned):
        runner.catch_up()
    head = runner.source.head(LOG)
    assert stopped(runner)["worklist"] == broken
    assert "audit" not in stopped(runner)
    assert position_of(runner, "audit") == head
    with runner.connect() as connection:
        entry = connection.execute(
            "SELECT action, details FROM audit.entries WHERE position = %s", (broken,)
        ).fetchone()
    assert entry == ("case.filed", "[]")


def test_a_bad_field_stops_who_reads_it_alone_of_those_that_go_together(
    store: EventStore, runner: Runner, broken: int
) -> None:
    others = [each.name for each in runner.projections if each.name != ALONE]
    with following(runner, *runner.projections):
        wait_for(lambda: stopped(runner) == {ALONE: broken})
        fill(store, 2, seed=2)
        head = runner.source.head(LOG)
        wait_for(lambda: {position_of(runner, name) for name in others} == {head})
        assert stopped(runner) == {ALONE: broken}


def test_nobody_changes_what_others_are_given_too(store: EventStore, runner: Runner) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    for n in range(2):
        live(store, random.Random(seed + n), str(n))
    models = in_company(runner.projections)
    wanted = [each.wanted() for each in models]
    read = runner.source.between(0, runner.source.head(LOG), wanted)  # type: ignore[attr-defined]
    before = deepcopy([read(each) for each in wanted])
    with runner.connect() as connection:
        for model in models:
            for fresh in (True, False):
                schemas.create(connection, model, "made", (LOG,), indexed=True)
                with connection.transaction():
                    schemas.use(connection, "made")
                    page = read(model.wanted())
                    for events in (page,) if fresh else ([each] for each in page):
                        model.apply(connection, events, fresh)
                schemas.drop(connection, "made")
            assert [read(each) for each in wanted] == before, model.name


def test_who_reads_all_of_something_gets_it_whole_beside_who_reads_a_part() -> None:
    data = b'{"spot":{"longitude":1.5,"latitude":2.5,"address":"somewhere"}}'
    for fields in ("spot spot.longitude", "spot.longitude spot", "spot"):
        shape: Any = shapes({e.CaseReported: fields})[e.CaseReported]
        assert msgspec.json.decode(data, type=shape).spot.address == "somewhere", fields


def test_what_a_read_model_has_taken_in_goes_once_it_is_there(
    store: EventStore, runner: Runner
) -> None:
    """Also where a process of an older version made it again."""
    fill(store, 3)

    def made() -> set[str]:
        with runner.connect() as connection:
            rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
        return {row[0] for row in rows} & {"timeline", "timeline_retired", "past_cases_rebuild"}

    def make() -> None:
        with runner.connect() as connection:
            for name in ("timeline", "timeline_retired", "past_cases_rebuild"):
                connection.execute(f"CREATE SCHEMA {name}".encode())
        assert len(made()) == 3

    make()
    runner.catch_up()
    assert made() == set()
    make()
    with following(runner, *runner.projections):
        wait_for(lambda: made() == set())
