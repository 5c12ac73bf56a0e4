"""Commands that wait together are stored together, each with a verdict of its own."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import OperationalError
from psycopg_pool import ConnectionPool

from domain.errors import Conflict, Overloaded, Refused, VersionMismatch
from infra.codec import Codec, UnknownEvent
from infra.event_store import EventStore, LogRecorder
from infra.group_commit import GroupCommit
from tests import samples


class Held(LogRecorder):
    """A recorder whose appends wait for a sign, so that a test can let commands gather."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(pool)
        self.free = threading.Event()
        self.reached = threading.Event()
        self.appends: list[int] = []

    def insert_events(self, stored_events: Any, **kwargs: Any) -> Any:
        self.reached.set()
        assert self.free.wait(30)
        self.appends.append(len(stored_events))
        return super().insert_events(stored_events, **kwargs)


@pytest.fixture
def held(pool: ConnectionPool) -> Held:
    return Held(pool)


@pytest.fixture
def together(held: Held) -> Iterator[GroupCommit]:
    with GroupCommit(held, Codec(), waiting=50) as made:
        yield made
        held.free.set()


def gather(together: GroupCommit, held: Held) -> None:
    """Have one append wait, so that whatever is submitted next gathers behind it."""
    together.submit(samples.report(case="first"))
    assert held.reached.wait(30)


def test_what_waits_together_is_one_append_with_dense_positions(
    together: GroupCommit, held: Held, database: str
) -> None:
    gather(together, held)
    answers = [
        together.submit(samples.report(case=f"c{n}"), correlation=f"r{n}") for n in range(20)
    ]
    held.free.set()
    receipts = [answer.result(30) for answer in answers]
    assert held.appends == [1, 20]
    assert [receipt.position for receipt in receipts] == list(range(2, 22))
    assert {receipt.version for receipt in receipts} == {1}
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT position, stream, correlation, xmin::text FROM log.event"
            " WHERE position > 1 ORDER BY 1"
        ).fetchall()
    assert [row[:3] for row in rows] == [(n + 2, f"case:c{n}", f"r{n}") for n in range(20)]
    assert len({row[3] for row in rows}) == 1, "one transaction"


def test_each_has_a_verdict_of_its_own(together: GroupCommit, held: Held) -> None:
    gather(together, held)
    filed = together.submit(samples.report(case="a"), samples.file(case="a"))
    refused = together.submit(samples.close(case="a"))
    behind = together.submit(samples.dispatch(case="a"), expected=1)
    unknown = together.submit(samples.note(case="nowhere"))
    dispatched = together.submit(samples.dispatch(case="a"), expected=2)
    nothing = together.submit(*(), samples.recompute(case="a"))
    held.free.set()
    assert (filed.result(30).position, filed.result().version) == (3, 2)
    assert (dispatched.result(30).position, dispatched.result().version) == (4, 3)
    assert nothing.result(30).position == 0
    for answer, error in ((refused, Refused), (behind, VersionMismatch), (unknown, Refused)):
        assert isinstance(answer.exception(30), error)
    assert held.appends == [1, 3]


def test_when_another_process_was_faster_the_group_decides_anew(
    together: GroupCommit, held: Held, pool: ConnectionPool
) -> None:
    other = EventStore(LogRecorder(pool), Codec())
    other.execute(samples.report(case="a"))
    together.submit(samples.file(case="a"))
    assert held.reached.wait(30)
    assert not held.appends
    other.execute(samples.verify(case="a"))
    held.free.set()
    wait([together.submit(samples.report(case="b"))], timeout=30)
    versions = [recorded.version for recorded in together.history("case:a")]
    names = [recorded.name for recorded in together.history("case:a")]
    assert versions == [1, 2, 3]
    assert names == ["case.reported", "case.verified", "case.filed"]


def test_more_than_may_wait_is_told_so_and_nothing_of_it_stored(
    together: GroupCommit, held: Held
) -> None:
    gather(together, held)
    answers = [together.submit(samples.report(case=f"c{n}")) for n in range(50)]
    with pytest.raises(Overloaded):
        together.submit(samples.report(case="too much"))
    held.free.set()
    assert all(answer.result(30).version == 1 for answer in answers)
    with pytest.raises(Refused):
        together.case("too much")


def test_ending_stores_what_waits(held: Held, pool: ConnectionPool) -> None:
    with GroupCommit(held, Codec()) as made:
        answers = [made.submit(samples.report(case=f"c{n}")) for n in range(10)]
        held.free.set()
    assert all(answer.done() for answer in answers)
    assert held.max_notification_id() == 10


def test_one_that_cannot_be_stored_fails_alone(
    together: GroupCommit, held: Held, database: str
) -> None:
    """A stream whose past this version cannot read, and text that PostgreSQL does not take."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "SELECT log.append('{case:odd}','{1}','{case.unheard_of}','{now}','{p}','{-}','{-}',"
            "'{-}','{-}','{x}')"
        )
    gather(together, held)
    good = [together.submit(samples.report(case=f"c{n}")) for n in range(3)]
    odd = together.submit(samples.note(case="odd"))
    nul = together.submit(samples.report(case="a\0b"))
    more = [together.submit(samples.report(case=f"d{n}")) for n in range(3)]
    held.free.set()
    assert [answer.result(30).version for answer in (*good, *more)] == [1] * 6
    assert isinstance(odd.exception(30), UnknownEvent)
    assert isinstance(nul.exception(30), Exception)


def test_everybody_hears_of_a_database_that_is_away(database: str) -> None:
    gone = psycopg.conninfo.make_conninfo(database, port="1")
    with (
        ConnectionPool(gone, min_size=0, max_size=1, timeout=0.2, open=True) as pool,
        GroupCommit(LogRecorder(pool), Codec()) as made,
    ):
        answers = [made.submit(samples.report(case=f"c{n}")) for n in range(5)]
        assert all(isinstance(answer.exception(30), OperationalError) for answer in answers)


def test_many_writers_on_few_cases_lose_nothing_in_two_processes(
    pool: ConnectionPool, store: EventStore
) -> None:
    """Two group commits stand for two server processes on one database."""
    for n in range(4):
        store.execute(*(replace(c, case=f"c{n}") for c in samples.PATHS["in_progress"]))

    def write(job: tuple[GroupCommit, int]) -> str:
        made, n = job
        try:
            made.execute(samples.note(case=f"c{n % 4}", text=f"note {n}"))
        except Conflict:
            return "conflict"
        return f"note {n}"

    with (
        GroupCommit(LogRecorder(pool), Codec()) as one,
        GroupCommit(LogRecorder(pool), Codec()) as two,
        ThreadPoolExecutor(16) as writers,
    ):
        jobs = [(made, n) for n in range(200) for made in (one, two)]
        said = list(writers.map(write, jobs))
    stored = [
        recorded.event.text
        for n in range(4)
        for recorded in store.history(f"case:c{n}")
        if recorded.name == "case.note_added"
    ]
    assert sorted(stored) == sorted(text for text in said if text != "conflict")
    assert store.recorder.statistics()["last_position"] == 16 + len(stored)
