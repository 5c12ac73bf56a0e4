"""The way of a command: load, decide, append, all or nothing, whoever else is writing."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import OperationalError
from psycopg_pool import ConnectionPool

from domain import catalogue
from domain.case import commands as c
from domain.case.states import Closed, InProgress
from domain.errors import Conflict, Refused, VersionMismatch
from infra.codec import Codec
from infra.event_store import Batch, EventStore, LogRecorder
from infra.installation import pooled
from infra.vault import Key, Vault
from projections.past import moment
from tests import samples


def path(to: str, case: str) -> list[c.Command]:
    return [replace(command, case=case) for command in samples.PATHS[to]]


def test_a_receipt_says_where_the_events_are(store: EventStore) -> None:
    receipt = store.execute(*path("in_progress", "a"), correlation="r1")
    assert (receipt.position, receipt.version) == (4, 4)
    assert isinstance(store.case("a")[0], InProgress)


def test_metadata_stands_beside_the_event(store: EventStore) -> None:
    store.execute(samples.report(case="a"), correlation="request-7", causation="row-3")
    (recorded,) = store.history("case:a")
    assert recorded.name == "case.reported"
    assert recorded.at == samples.report().at
    assert recorded.actor == samples.report().by.id
    assert recorded.roles == ",".join(samples.report().by.roles)
    assert recorded.territory == samples.GRID
    assert (recorded.correlation, recorded.causation) == ("request-7", "row-3")


def test_times_of_recording_never_go_back_when_the_clock_does(
    store: EventStore, database: str
) -> None:
    store.execute(samples.report(case="a"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.event DISABLE TRIGGER append_only")
        connection.execute("UPDATE log.event SET recorded_at = recorded_at + interval '1 hour'")
        connection.execute("ALTER TABLE log.event ENABLE TRIGGER append_only")
        connection.execute("UPDATE log.head SET recorded_at = recorded_at + interval '1 hour'")
        ahead = store.history("case:a")[0].recorded_at
        tomorrow = ahead + timedelta(days=1)

        def positions() -> list[int | None]:
            times = (ahead - timedelta(minutes=30), ahead)
            return [moment(connection, time, tomorrow).position for time in times]

        assert positions() == [0, 1]
        store.execute(*path("filed", "b"))
        store.execute(samples.report(case="c"))
        assert [each.recorded_at for each in store.history("case:b")] == [ahead, ahead]
        assert store.history("case:c")[0].recorded_at == ahead
        assert positions() == [0, 4]


def test_commands_sent_together_are_stored_together_or_not_at_all(store: EventStore) -> None:
    with pytest.raises(Refused, match=r"in.progress"):
        store.execute(*path("in_progress", "a"), samples.close(case="a"))
    assert store.recorder.statistics()["events"] == 0


def test_what_stands_alongside_is_stored_with_it(store: EventStore) -> None:
    store.execute(*path("filed", "a"))
    store.execute(*path("filed", "b"))
    before = store.recorder.max_notification_id()
    receipt = store.execute(samples.merge(case="a", into="b"))
    assert [type(event).__name__ for event in receipt.events] == ["CaseMerged", "CaseAbsorbed"]
    assert receipt.position == (before or 0) + 2
    with pytest.raises(Refused):
        store.execute(samples.merge(case="b", into="a"))


def test_no_child_is_merged_away_from_under_a_parent_that_waits_for_it(store: EventStore) -> None:
    store.execute(*path("filed", "a"), *path("filed", "b"))
    store.execute(samples.split(case="a"))
    away = samples.merge(case="child-1", into="b")
    with pytest.raises(Refused) as refused:
        store.execute(away)
    assert refused.value.code == "case.child_awaited"
    store.execute(replace(away, into="a"))


def test_an_expected_version_that_is_wrong_stops_the_command(store: EventStore) -> None:
    store.execute(*path("filed", "a"))
    with pytest.raises(VersionMismatch) as mismatch:
        store.execute(samples.dispatch(case="a"), expected=1)
    assert (mismatch.value.expected, mismatch.value.actual) == (1, 2)
    assert store.execute(samples.dispatch(case="a"), expected=2).version == 3


def test_of_two_writers_one_wins_and_the_other_decides_again(
    store: EventStore, pool: ConnectionPool, vault: Vault
) -> None:
    store.execute(*path("in_progress", "a"))
    other = EventStore(LogRecorder(pool), Codec(), vault)
    notes = [samples.note(case="a", text=f"note {n}") for n in range(40)]
    with ThreadPoolExecutor(8) as writers:
        results = list(writers.map(_outcome, [(s, n) for n in notes for s in (store, other)]))
    stored = [result for result in results if result == "stored"]
    assert set(results) <= {"stored", "conflict"}
    assert store.case("a")[1] == 4 + len(stored)
    versions = [recorded.version for recorded in store.history("case:a")]
    assert versions == list(range(1, 5 + len(stored)))


def _outcome(what: tuple[EventStore, Any]) -> str:
    store, command = what
    try:
        store.execute(command)
    except Conflict:
        return "conflict"
    return "stored"


def test_a_lost_race_means_that_nothing_was_stored(store: EventStore) -> None:
    store.execute(*path("in_progress", "a"))
    batch = Batch(store, "")
    batch.decide(samples.note(case="a"))
    store.execute(samples.note(case="a"))
    with pytest.raises(Exception, match="event_stream_version"):
        batch.append()
    assert store.case("a")[1] == 5


def test_nothing_is_appended_by_another_connection_than_there_was_before_the_keys(
    vault: Vault, database: str, secret: bytes
) -> None:
    """A new key may be lost with a crash of the database, and then the append must be too."""

    class Crashing(Vault):
        def provide(self, subjects: Collection[str]) -> dict[str, Key]:
            keys = super().provide(subjects)
            with psycopg.connect(database, autocommit=True) as owner:
                owner.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                    " WHERE usename = 'wangge_app' AND datname = current_database()"
                )
            return keys

    with pooled(database, secret, "wangge_app", 2) as pool:
        store = EventStore(LogRecorder(pool), Codec(), vault)
        vault.__class__ = Crashing
        with pytest.raises(OperationalError):
            store.execute(samples.report(case="a"))
        vault.__class__ = Vault
        assert store.execute(samples.report(case="b")).position == 1


def test_a_refused_command_leaves_a_batch_as_it_was(store: EventStore) -> None:
    batch = Batch(store, "")
    batch.decide(*path("filed", "a"))
    with pytest.raises(Refused):
        batch.decide(samples.dispatch(case="a"), samples.close(case="a"))
    batch.decide(*path("closed", "a")[2:])
    assert batch.append() == len(samples.PATHS["closed"])
    assert isinstance(store.case("a")[0], Closed)


def test_the_office_is_always_the_newest(
    store: EventStore, pool: ConnectionPool, vault: Vault
) -> None:
    """Another process changed the catalogue: nothing kept here may hide that."""
    assert not store.office().catalogue.categories
    other = EventStore(LogRecorder(pool), Codec(), vault)
    other.execute(*catalogue.set_up(samples.SYSTEM, samples.NOW))
    assert len(store.office().catalogue.categories) == len(catalogue.SEED)


def test_an_unknown_case_is_refused(store: EventStore) -> None:
    with pytest.raises(Refused) as refused:
        store.case("nowhere")
    assert refused.value.code == "case.unknown"
    assert store.history("case:nowhere") == []


def test_a_database_that_is_away_is_no_refusal(database: str, vault: Vault) -> None:
    gone = psycopg.conninfo.make_conninfo(database, port="1")
    with (
        ConnectionPool(gone, min_size=0, max_size=1, timeout=0.2, open=True) as pool,
        pytest.raises(OperationalError),
    ):
        EventStore(LogRecorder(pool), Codec(), vault).office()
