"""What is asked of the audit trail is found by its indexes, in their order, and says no more."""

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import psycopg
import pytest
from psycopg import sql

from domain.aggregates import case_stream
from domain.history import LOG, Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from projections import schemas
from projections.audit import AUDIT, AuditRow, as_json
from projections.conditions import AuditFilter, equals_hashed
from projections.gateway import Gateway
from projections.runner import Runner
from tests import samples
from tests.projections.sealed_log import SealedLog

SUPERVISOR = Actor("watcher", (Grant(Role.SUPERVISOR, ""),))

MADE = (
    "INSERT INTO entries SELECT n, now(), now(), 'of ' || n % 20, '', 'of ' || n % 20,"
    """ 'case:' || n / 10, n % 10, 'd1/', '', '', '{"description":"***"}'"""
    " FROM generate_series(1, 20000) n"
)
"""Some 2,000 cases of ten events each."""


@pytest.fixture
def filled(runner: Runner) -> Iterator[psycopg.Connection]:
    """A connection that uses an audit trail with many entries."""
    with runner.connect() as connection:
        schemas.create(connection, AUDIT, "made", (LOG,), indexed=True)
        with connection.transaction():
            schemas.use(connection, "made")
            connection.execute(MADE)
            connection.execute("ANALYZE entries")
            yield connection


def plan_of(connection: psycopg.Connection, query: sql.Composed) -> str:
    explained = connection.execute(sql.SQL("EXPLAIN {}").format(query))
    return "\n".join(row[0] for row in explained.fetchall())


@pytest.mark.parametrize("column", ["actor", "action"])
def test_that_somebody_has_many_entries_is_known_to_the_database(
    filled: psycopg.Connection, column: str
) -> None:
    """Or it fetches them all, and puts them in order, for the latest few."""
    query = sql.SQL("SELECT * FROM entries WHERE {} ORDER BY position DESC LIMIT 50").format(
        equals_hashed(column, "of 7")
    )
    plan = plan_of(filled, query)
    assert f"Index Scan Backward using entries_{column}" in plan, plan


def test_the_steps_of_a_case_are_found_by_its_index(filled: psycopg.Connection) -> None:
    query = sql.SQL("SELECT * FROM entries WHERE {} ORDER BY version").format(
        equals_hashed("object", "case:77")
    )
    plan = plan_of(filled, query)
    assert "entries_object" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_a_forgetting_wipes_the_steps_of_its_cases_by_their_index(
    filled: psycopg.Connection,
) -> None:
    head = filled.execute("SELECT max(position) FROM entries").fetchone()
    assert head is not None
    before = rows_read(filled)
    AUDIT.apply(filled, forgetting("77", "1234", after=head[0]), False)
    assert rows_read(filled) - before == 20, "ten steps of each case, and nothing else"
    wiped = filled.execute(
        "SELECT object, count(*) FROM entries WHERE strpos(details, %s) > 0 GROUP BY 1 ORDER BY 1",
        (FORGOTTEN,),
    ).fetchall()
    assert wiped == [("case:1234", 10), ("case:77", 10)]


def forgetting(*cases: str, after: int) -> list[Recorded[Any]]:
    """The event by which a person with some cases is forgotten, as the next of a log."""
    log = SealedLog()
    log.execute(samples.ask_forget(), samples.approve_forget(cases=cases))
    return [log.events[-1]._replace(position=after + 1)]


def rows_read(connection: psycopg.Connection) -> int:
    """How many entries this transaction has looked at, in whatever way."""
    row = connection.execute(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
        " WHERE relid = 'entries'::regclass"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_of_what_is_said_of_people_an_entry_tells_nothing_and_a_step_all_but_them(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    told = [field.name for field in fields(AuditRow)]
    for command in samples.PATHS["closed"]:
        store.execute(command)
    store.execute(samples.show(by=samples.ACCEPTOR))
    runner.catch_up()
    rows = gateway.audit(SUPERVISOR, AuditFilter()).rows
    history = store.history(case_stream(samples.CASE))
    assert len(rows) == len(history) + 1
    for row in (*rows, gateway.audited(SUPERVISOR, 1)):
        assert type(row) is AuditRow
        assert SEALED not in repr(row)
    assert "details" not in told

    steps = gateway.timeline(SUPERVISOR, samples.CASE)
    assert [(s.case, s.position, s.version, s.name, s.at, s.recorded_at) for s in steps] == [
        (samples.CASE, e.position, e.version, e.name, e.at, e.recorded_at) for e in history
    ]
    assert [(s.actor, s.roles) for s in steps] == [(e.actor, e.roles) for e in history]
    assert SEALED in steps[0].details
    for step, recorded in zip(steps, history, strict=True):
        assert json.loads(step.details).keys() == json.loads(as_json(recorded.event)).keys()
    with runner.connect() as connection:
        bare = connection.execute(
            "SELECT object FROM audit.entries WHERE details IS NULL"
        ).fetchall()
    assert bare == [(f"privacy:{samples.CASE}",)]
