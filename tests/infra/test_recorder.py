"""The log's recorder keeps the contract of the library it extends, and more."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, ProgrammingError, StoredEvent
from eventsourcing.tests.persistence import AggregateRecorderTestCase, ApplicationRecorderTestCase
from psycopg_pool import ConnectionPool

from infra.event_store import LogRecorder


class _OnOurLog:
    """Hands the library's test cases our recorder; streams are named by text here, not UUIDs."""

    @pytest.fixture(autouse=True)
    def _take(self, pool: ConnectionPool) -> None:
        self.pool = pool

    def create_recorder(self) -> LogRecorder:
        return LogRecorder(self.pool)

    def new_originator_id(self) -> str:
        return f"case:{uuid4()}"


class _WithoutPositions(LogRecorder):
    """As the library's recorders of aggregates answer: they know of no positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        super().insert_events(stored_events, **kwargs)


class TestLibraryAggregateRecorder(_OnOurLog, AggregateRecorderTestCase):
    """The library's test case for a recorder of aggregates."""

    def create_recorder(self) -> LogRecorder:
        return _WithoutPositions(self.pool)


class TestLibraryApplicationRecorder(_OnOurLog, ApplicationRecorderTestCase[LogRecorder]):
    """The library's test case for a recorder of an application."""


def event(stream: str, version: int) -> StoredEvent:
    return StoredEvent(stream, version, "test.happened", b"{}")


@pytest.fixture
def recorder(pool: ConnectionPool) -> LogRecorder:
    return LogRecorder(pool)


def test_a_rejected_append_burns_no_position(recorder: LogRecorder) -> None:
    assert recorder.insert_events([event("a", 1)]) == [1]
    with pytest.raises(IntegrityError):
        recorder.insert_events([event("b", 1), event("a", 1)])
    assert recorder.insert_events([event("b", 1)]) == [2]


def test_a_stream_never_gets_a_hole(recorder: LogRecorder) -> None:
    recorder.insert_events([event("a", 1)])
    with pytest.raises(ProgrammingError):
        recorder.insert_events([event("a", 3)])
    assert recorder.max_notification_id() == 1


def test_eight_writers_interleave_with_dense_positions(
    recorder: LogRecorder, database: str
) -> None:
    def write(stream: int) -> None:
        for version in range(1, 51):
            recorder.insert_events([event(f"case:{stream}", version)])

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(8)))
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT position, stream, recorded_at FROM log.event ORDER BY 1"
        ).fetchall()
    assert [position for position, *_ in rows] == list(range(1, 401))
    assert all(one[2] <= other[2] for one, other in pairwise(rows)), "times go with positions"
    changes = sum(one[1] != other[1] for one, other in pairwise(rows))
    assert changes > 8, "the writers took turns, so the test has seen them interleave"


def test_a_follower_misses_nothing(recorder: LogRecorder) -> None:
    """Whoever has read up to a position will never find a smaller one later."""
    seen: list[int] = []

    def write(stream: int) -> None:
        for version in range(1, 101):
            recorder.insert_events([event(f"case:{stream}", version)])

    with ThreadPoolExecutor(6) as writers:
        running = [writers.submit(write, stream) for stream in range(6)]
        while not all(one.done() for one in running) or len(seen) < 600:
            last = seen[-1] if seen else 0
            found = recorder.select_notifications(last, 50, inclusive_of_start=False)
            seen += [notification.id for notification in found]
    assert seen == list(range(1, 601))


def test_a_subscription_is_not_offered(recorder: LogRecorder) -> None:
    with pytest.raises(NotImplementedError):
        recorder.subscribe()
