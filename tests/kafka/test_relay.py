"""The relay: what the topic holds is the log, whatever happened on the way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import psycopg
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from kafka import KafkaProducer
from kafka.errors import KafkaError

from domain.traces import traceparent
from infra import kafka_relay
from infra.event_store import EventStore
from infra.kafka_relay import Elsewhere, Relay
from infra.kafka_topic import Entry, NotOurs, Topic
from projections.standing import Carried, carried
from tests import samples
from tests.kafka.broker import Kafka, Node
from tests.kafka.carried import held, logged, violations
from tests.projections.test_runner import fill

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of kafka-python
]

Connect = Callable[[], psycopg.Connection]


def check(as_relay: Connect, topic: Topic) -> None:
    with as_relay() as connection:
        assert violations(logged(connection), held(topic)) == []


def test_the_topic_holds_the_log(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic
) -> None:
    fill(store, 40)
    head = relay.catch_up()
    assert head == store.recorder.max_notification_id()
    check(as_relay, topic)
    fill(store, 10, seed=2)
    assert relay.catch_up() > head
    check(as_relay, topic)
    assert relay.catch_up() == store.recorder.max_notification_id()
    assert sum(map(len, held(topic).values())) == store.recorder.max_notification_id()


def test_a_record_is_a_cloud_event(store: EventStore, relay: Relay, topic: Topic) -> None:
    store.execute(samples.report(), correlation="5b1c6f3e5b1c6f3e")
    relay.catch_up()
    (part,) = (topic[n] for n, found in held(topic).items() if found[0].entry.position == 1)
    consumer = topic.consumer()
    consumer.assign([part])
    consumer.seek_to_beginning(part)
    (record,) = consumer.poll(timeout_ms=10_000, max_records=1)[part]
    consumer.close()
    message = KafkaMessage(dict(record.headers), record.key, record.value)
    event = from_binary(message, JSONFormat(), CloudEvent)
    (first,) = (r.entry for found in held(topic).values() for r in found if r.entry.position == 1)
    assert event.get_id().endswith(":1")
    assert event.get_source().startswith("urn:wangge:log:")
    assert event.get_type() == first.name == "case.reported"
    assert event.get_time() == first.at
    assert event.get_subject() == first.stream == record.key.decode()
    assert event.get_extension("actor") == first.actor
    assert dict(record.headers)["traceparent"] == traceparent(first.correlation).encode()


def test_personal_fields_stay_sealed(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic
) -> None:
    fill(store, 3)
    relay.catch_up()
    with as_relay() as connection:
        stored = {entry.position: entry.data for entry in logged(connection)}
    for records in held(topic).values():
        for received in records:
            assert received.entry.data == stored[received.entry.position]
    assert any(b'"sealed":' in data for data in stored.values())


def test_a_round_whose_end_was_forgotten_comes_twice_and_counts_once(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic, database: str
) -> None:
    fill(store, 40)
    relay.catch_up()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("UPDATE relay.topic SET position = 30")
    relay.catch_up()
    log = store.recorder.max_notification_id() or 0
    assert sum(map(len, held(topic).values())) == log + log - 30
    check(as_relay, topic)


@pytest.mark.parametrize("how", ["deleted", "another's"])
def test_a_topic_that_has_lost_events_gets_all_again(
    how: str, store: EventStore, relay: Relay, as_relay: Connect, topic: Topic, database: str
) -> None:
    fill(store, 20)
    relay.catch_up()
    if how == "deleted":
        administration = topic._administration()
        administration.delete_topics([topic.name])
        administration.close()
    else:
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("UPDATE relay.topic SET positions[1] = positions[1] + 1")
    relay.catch_up()
    check(as_relay, topic)


def test_a_topic_of_another_log_is_not_written_to(
    store: EventStore, relay: Relay, database: str, topic: Topic
) -> None:
    fill(store, 5)
    relay.catch_up()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("UPDATE relay.log SET id = gen_random_uuid()")
    with pytest.raises(NotOurs, match="another log"):
        relay.catch_up()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("DELETE FROM relay.topic")
    with pytest.raises(NotOurs, match="another log"):
        relay.catch_up()


def test_a_topic_that_knows_more_than_a_restored_log_is_not_written_to(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic, database: str
) -> None:
    """Its positions come again, with other events, which readers would take for those they know."""
    fill(store, 5)
    kept = relay.catch_up()
    with as_relay() as connection:
        row = connection.execute("SELECT positions, offsets FROM relay.topic").fetchone()
    assert row is not None
    fill(store, 5, seed=2)
    relay.catch_up()
    before = held(topic)
    with psycopg.connect(database) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM log.event WHERE position > %s", (kept,))
        owner.execute("UPDATE log.head SET position = %s", (kept,))
        owner.execute(
            "UPDATE relay.topic SET position = %s, positions = %s, offsets = %s", (kept, *row)
        )
    with pytest.raises(NotOurs, match="restoring a backup"):
        relay.catch_up()
    # Other events have their positions by now.
    fill(EventStore(store.recorder, store.codec, store.vault), 20, seed=3)
    with pytest.raises(NotOurs, match="restoring a backup"):
        relay.catch_up()
    assert held(topic) == before


def test_a_topic_of_something_else_is_not_written_to(
    store: EventStore, relay: Relay, topic: Topic
) -> None:
    topic.make()
    producer = KafkaProducer(**topic.options)
    producer.send(topic.name, b"{}", b"case:1").get(timeout=10)
    producer.close()
    with pytest.raises(NotOurs, match="no event of a log"):
        relay.catch_up()


def test_partitions_that_became_more_are_refused(
    store: EventStore, relay: Relay, topic: Topic
) -> None:
    relay.catch_up()
    administration = topic._administration()
    administration.create_partitions({topic.name: 6})
    administration.close()
    with pytest.raises(NotOurs, match="had 4 partitions and has 6"):
        relay.catch_up()


def test_one_relay_at_a_time(relay: Relay, as_relay: Connect, topic: Topic) -> None:
    with as_relay() as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"relay {topic.name}",))
        with pytest.raises(Elsewhere):
            relay.catch_up()
    relay.catch_up()


def test_the_lag_is_told(store: EventStore, relay: Relay, as_relay: Connect, topic: Topic) -> None:
    fill(store, 5)
    last = relay.catch_up()
    with as_relay() as connection:
        assert carried(connection) == [Carried(topic.name, last, 0, 0)]
        fill(store, 2, seed=2)
        (lag,) = carried(connection)
    assert lag.lag == (store.recorder.max_notification_id() or 0) - last
    assert lag.lag_seconds > 0


def test_a_relay_follows_the_log(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic
) -> None:
    stop = threading.Event()
    following = threading.Thread(target=relay.follow, args=(stop,))
    following.start()
    try:
        fill(store, 10)
        with as_relay() as connection:
            _until(lambda: [each.lag for each in carried(connection)] == [0])
    finally:
        stop.set()
        following.join()
    check(as_relay, topic)


@pytest.mark.parametrize("how", ["says nothing any more", "says what nobody expects"])
def test_a_client_that_is_lost_is_replaced(
    how: str,
    store: EventStore,
    as_relay: Connect,
    topic: Topic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(store, 10)
    stop, over, flush = threading.Event(), threading.Event(), KafkaProducer.flush
    lost: list[Any] = []

    def flushed(producer: Any, timeout: float | None = None) -> None:
        if not lost:
            lost.append(producer)
            if how == "says nothing any more":
                over.wait()
            raise RuntimeError("something inside")
        flush(producer, timeout)

    monkeypatch.setattr(KafkaProducer, "flush", flushed)
    before = threading.active_count()
    relay = Relay(as_relay, topic, stuck_seconds=3)
    following = threading.Thread(target=relay.follow, args=(stop,))
    following.start()
    try:
        with as_relay() as connection:
            _until(lambda: [each.lag for each in carried(connection)] == [0])
    finally:
        stop.set()
        following.join()
        over.set()
    _until(lambda: threading.active_count() <= before)
    assert lost
    check(as_relay, topic)


def test_a_relay_that_was_given_up_while_it_connected_carries_nothing(
    store: EventStore, as_relay: Connect, topic: Topic
) -> None:
    fill(store, 5)
    stop, late, reachable = threading.Event(), threading.Event(), threading.Event()
    tries, made = count(), list[psycopg.Connection]()

    def connect() -> psycopg.Connection:
        if next(tries) == 0:
            late.wait()
            made.append(as_relay())
            return made[0]
        if not reachable.is_set():
            raise psycopg.OperationalError("away")
        return as_relay()

    relay = Relay(connect, topic, stuck_seconds=2)
    following = threading.Thread(target=relay.follow, args=(stop,))
    following.start()
    try:
        stop.wait(4)  # by now it is given up
        late.set()
        _until(lambda: bool(made) and made[0].closed)
        with as_relay() as connection:
            assert not carried(connection)
            reachable.set()
            _until(lambda: [each.lag for each in carried(connection)] == [0])
    finally:
        late.set()
        stop.set()
        following.join()
    check(as_relay, topic)


def test_a_relay_is_replaced_whose_database_does_not_answer(
    store: EventStore,
    relay: Relay,
    as_relay: Connect,
    topic: Topic,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(store, 5)
    relay.catch_up()
    fill(store, 5, seed=2)
    stop, mine = threading.Event(), list[psycopg.Connection]()
    users, closers = dict[int, int](), dict[int, int]()
    close = psycopg.Connection.close

    def connect() -> psycopg.Connection:
        mine.append(as_relay())
        users[id(mine[-1])] = threading.get_ident()
        return mine[-1]

    def closed(connection: psycopg.Connection) -> None:
        closers.setdefault(id(connection), threading.get_ident())
        close(connection)

    monkeypatch.setattr(psycopg.Connection, "close", closed)
    following = threading.Thread(target=Relay(connect, topic, stuck_seconds=3).follow, args=(stop,))
    with psycopg.connect(database) as holder:
        holder.execute("SELECT FROM relay.topic FOR UPDATE")
        following.start()
        try:
            _until(lambda: len(mine) > 2)  # the first was given up, and others try
            _until(lambda: mine[0].closed)  # whoever waited on it knows
            assert closers.get(id(mine[0])) in (None, users[id(mine[0])])
            holder.rollback()
            with as_relay() as connection:
                _until(lambda: [each.lag for each in carried(connection)] == [0])
        finally:
            stop.set()
            following.join()
    check(as_relay, topic)


def _is_carried(relay: Relay) -> bool:
    """Once PostgreSQL has seen that the one before is gone."""
    try:
        relay.catch_up()
    except Elsewhere:
        return False
    return True


def _until(true: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _ in range(3_000):
        if true():
            return
        wait.wait(0.01)
    raise AssertionError("it did not come to that")


# --- planted mistakes: what the checks above are worth ---


class Reordering(Relay):
    """Sends two events of a case the wrong way round."""

    def _carry(self, run: Any, page: Sequence[Entry]) -> None:
        first = next(e for e in page if any(_follows(o, e) for o in page))
        second = next(e for e in page if _follows(e, first))
        changed = {first: second, second: first}
        super()._carry(run, [changed.get(entry, entry) for entry in page])


def _follows(entry: Entry, other: Entry) -> bool:
    return entry.stream == other.stream and entry.version == other.version + 1


class Losing(Relay):
    """Leaves an event out of each round."""

    def _carry(self, run: Any, page: Sequence[Entry]) -> None:
        super()._carry(run, [*page[: len(page) // 2], *page[len(page) // 2 + 1 :]])


class Scattering(Relay):
    """Takes no care which partition a case is in."""

    def _carry(self, run: Any, page: Sequence[Entry]) -> None:
        last = page[-1].position
        super()._carry(run, [*page[:-1], page[-1]._replace(stream=f"{page[-1].stream}-{last}")])


class Changing(Relay):
    """Does not carry the bytes as they are."""

    def _carry(self, run: Any, page: Sequence[Entry]) -> None:
        super()._carry(run, [page[0]._replace(data=page[0].data + b" "), *page[1:]])


@pytest.mark.parametrize("planted", [Reordering, Losing, Scattering, Changing])
def test_a_relay_with_a_mistake_is_caught(
    planted: type[Relay], store: EventStore, as_relay: Connect, topic: Topic
) -> None:
    fill(store, 20)
    planted(as_relay, topic, page=1_000).catch_up()
    with as_relay() as connection:
        assert violations(logged(connection), held(topic))


def test_what_was_lost_on_the_way_makes_readers_wait(
    store: EventStore, as_relay: Connect, topic: Topic, database: str
) -> None:
    """A batch that is lost while later ones arrive, as no relay of ours would let it come to."""
    fill(store, 40)

    class Overtaking(Relay):
        lost = False

        def _carry(self, run: Any, page: Sequence[Entry]) -> None:
            if not Overtaking.lost and run.carried:
                Overtaking.lost = True
                run.sent = dict.fromkeys(range(4), 10**9)  # sent, and nobody knows that in vain
                run.position = page[-1].position
                return
            super()._carry(run, page)

    with pytest.raises(Elsewhere):
        Overtaking(as_relay, topic, page=50).catch_up()
    with as_relay() as connection:
        log, before = logged(connection), held(topic)
        assert violations(log, before)
        Relay(as_relay, topic, page=50).catch_up()
        after = held(topic)
    for partition, records in before.items():
        assert list(after[partition][: len(records)]) == list(records)
    # Whoever keeps to the rule reads the log in spite of it; whoever only drops what is twice, not.
    found = violations(log, after)
    assert found
    assert not any("a reader takes" in each for each in found)


# --- trouble with the broker (one that is ours to trouble) ---


# --- trouble with the broker ---


def test_where_no_broker_is_nothing_is_left_behind(as_relay: Connect) -> None:
    nowhere = Topic("t", {"bootstrap_servers": ["127.0.0.1:1"]})
    before = threading.active_count()
    for ask in (nowhere.count, nowhere.consumer):
        with pytest.raises(KafkaError):
            ask()
    assert threading.active_count() == before


@pytest.fixture
def node(broker: Kafka) -> Iterator[Node]:
    """The broker, if it is ours to trouble; in the end it is well again."""
    if not broker.nodes:
        pytest.skip("WANGGE_KAFKA is somebody else's broker")
    (node,) = broker.nodes
    yield node
    if node.process is None:
        node.start()
    node.thaw()
    broker.wait_ready()


def test_a_broker_that_stands_still_is_given_up_and_tried_again(
    store: EventStore,
    relay: Relay,
    as_relay: Connect,
    topic: Topic,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch exceeds the time it has while it is being sent: kafka-python never says so."""
    for name, seconds in {"WAIT": 1, "DELIVERY": 2, "DEADLINE": 4}.items():
        monkeypatch.setattr(kafka_relay, f"{name}_SECONDS", seconds)
    fill(store, 10)
    relay.catch_up()
    fill(store, 10, seed=2)

    class Freezing(Relay):
        def _carry(self, run: Any, page: Sequence[Entry]) -> None:
            node.freeze()
            super()._carry(run, page)

    before = threading.active_count()
    with pytest.raises(KafkaError):
        Freezing(as_relay, topic, page=50).catch_up()
    node.thaw()
    _until(lambda: threading.active_count() <= before)
    _until(lambda: _is_carried(relay))
    check(as_relay, topic)


def test_a_broker_that_is_away_for_a_while_is_waited_for(
    store: EventStore, relay: Relay, as_relay: Connect, topic: Topic, node: Node, broker: Kafka
) -> None:
    fill(store, 10)
    stop = threading.Event()
    following = threading.Thread(target=relay.follow, args=(stop,))
    following.start()
    try:
        with as_relay() as connection:
            _until(lambda: [each.lag for each in carried(connection)] == [0])
            node.kill()
            fill(store, 30, seed=2)
            node.start()
            broker.wait_ready()
            _until(lambda: [each.lag for each in carried(connection)] == [0])
    finally:
        stop.set()
        following.join()
    check(as_relay, topic)
