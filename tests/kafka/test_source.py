"""Read models out of a topic: the same bytes as out of the log, whoever builds them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from domain.history import Wanted
from infra.cli.composition import is_fed
from infra.cli.kafka import Folding, demand_not_of_the_own_log
from infra.codec import Codec
from infra.event_store import APPEND, EventStore, columns_of
from infra.event_store import Entry as Stored
from infra.kafka_relay import Relay
from infra.kafka_source import NUMBER_BITS, KafkaSource, Shares, follow
from infra.kafka_topic import Entry, NotOurs, Topic, Turn
from infra.migrations import role_dsn
from infra.settings import SettingError
from projections import schemas
from projections.runner import Projection, Runner
from tests.kafka.carried import held, logged
from tests.projections.test_runner import fill

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of kafka-python
]

Connect = Callable[[], psycopg.Connection]
Models = Collection[Projection]


def digests(connect: Connect, models: Models) -> dict[str, str]:
    """Of all read models as they stand."""
    found = {}
    with connect() as connection:
        for model in models:
            with schemas.snapshot(connection, model.name):
                found[model.name] = schemas.digest(connection, model)
    return found


def is_current(connect: Connect, models: Models, topic: Topic) -> bool:
    """Whether all read models have folded all that the topic holds."""
    with closing(topic.consumer()) as consumer:
        ends = consumer.end_offsets(topic.all(topic.count()))
    wanted = {f"{p.topic}/{p.partition}": end for p, end in ends.items() if end}
    with connect() as connection:
        return all(
            {p: at for p, at in schemas.positions_of(connection, model.name).items() if at}
            == wanted
            for model in models
        )


def until(true: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _ in range(1_000):
        if true():
            return
        wait.wait(0.1)
    raise AssertionError("it did not come to that")


@contextmanager
def following(
    topics: list[Topic], connect: Connect, models: Models, meanwhile: Any = None
) -> Iterator[KafkaSource]:
    """A projector of its own thread."""
    stop = threading.Event()
    failed: list[BaseException] = []
    with closing(KafkaSource(topics, connect, Codec())) as source:
        folding = Folding(source, connect, models)

        def run() -> None:
            try:
                follow(source, connect, folding.begins, folding.fold, stop)
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield source
        finally:
            stop.set()
            thread.join()
    if failed:
        raise failed[0]


def test_the_same_bytes_from_the_log_and_from_the_topic(
    store: EventStore,
    relay: Relay,
    topic: Topic,
    district: Runner,
    models: Models,
    in_city: Connect,
) -> None:
    fill(store, 30)
    relay.catch_up()
    with following([topic], in_city, models):
        until(lambda: is_current(in_city, models, topic))
        fill(store, 20, seed=2)
        relay.catch_up()
        until(lambda: is_current(in_city, models, topic))
    district.catch_up()
    live = digests(district.connect, models)
    assert digests(in_city, models) == live
    assert {m.name: district.rebuild(m, verify=True) for m in models} == live


def test_what_comes_twice_counts_once(
    store: EventStore,
    relay: Relay,
    topic: Topic,
    district: Runner,
    models: Models,
    in_city: Connect,
    database: str,
) -> None:
    fill(store, 30)
    for position in (0, 20, 5, 40):
        relay.catch_up()
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("UPDATE relay.topic SET position = %s", (position,))
    relay.catch_up()
    # In two goes, so that one begins among what was there before.
    for seed in (2, 3):
        with following([topic], in_city, models):
            until(lambda: is_current(in_city, models, topic))
        fill(store, 5, seed)
        relay.catch_up()
    with following([topic], in_city, models):
        until(lambda: is_current(in_city, models, topic))
    district.catch_up()
    assert digests(in_city, models) == digests(district.connect, models)


@pytest.mark.parametrize(
    ("records", "taken"),
    [
        ([(1, 0), (4, 1), (6, 4)], [1, 4, 6]),
        ([(1, 0), (4, 1), (1, 0), (4, 1), (6, 4)], [1, 4, 6]),
        ([(1, 0), (6, 4), (7, 6), (4, 1), (6, 4), (7, 6)], [1, 4, 6, 7]),  # 4 was lost, and came
        ([(1, 0), (4, 1), (4, 0), (6, 4)], [1, 4, 6]),  # a run that begins with what is there
        ([(1, 0), (4, 1), (1, 0), (6, 4), (4, 1), (6, 4)], [1, 4, 6]),  # two relays at once
        ([(4, 1)], []),
    ],
)
def test_a_record_counts_once_and_in_turn(records: list[tuple[int, int]], taken: list[int]) -> None:
    turn = Turn()
    assert [position for position, before in records if turn.takes(position, before)] == taken


def _like(log: list[Entry], dsn: str, secret: bytes, root: str) -> None:
    """A log like another, of other cases, at another root."""

    def other(text: str) -> str:
        for ours in ("case-", "duplicate-", "survivor-"):
            text = text.replace(ours, f"{ours}{root}-")
        return text.replace("d1/", f"{root}/")

    rows = [
        Stored(
            other(each.stream), each.version, each.name, each.at, each.actor, each.roles,
            other(each.territory), each.correlation, each.causation,
            other(each.data.decode()).encode(),
        )
        for each in log
    ]  # fmt: skip
    with psycopg.connect(role_dsn(dsn, secret, "wangge_app"), autocommit=True) as connection:
        connection.execute(APPEND, columns_of(rows))


def test_two_districts_in_one_city(
    store: EventStore,
    relay: Relay,
    as_relay: Connect,
    topic: Topic,
    models: Models,
    in_city: Connect,
    neighbour: str,
    secret: bytes,
) -> None:
    fill(store, 10)
    relay.catch_up()
    with as_relay() as connection:
        log = logged(connection)
    second = _neighbours(log, neighbour, secret, "d2", topic)
    with following([topic, second], in_city, models):
        until(lambda: sum(map(len, _audited(in_city).values())) == 2 * len(log))
    every = [entry.position for entry in log]
    assert _audited(in_city) == {0: every, 1: every}
    with in_city() as connection:
        rows = connection.execute(
            "SELECT left(territory, 3), count(*) FROM worklist.cases GROUP BY 1"
        ).fetchall()
    (first, count), (other, others) = sorted(rows)
    assert (first, other) == ("d1/", "d2/")
    assert count == others > 0


def test_two_districts_of_the_same_root_are_refused(
    store: EventStore,
    relay: Relay,
    as_relay: Connect,
    topic: Topic,
    in_city: Connect,
    neighbour: str,
    secret: bytes,
) -> None:
    fill(store, 5)
    relay.catch_up()
    with as_relay() as connection:
        second = _neighbours(logged(connection), neighbour, secret, "d1", topic)
    with closing(KafkaSource([topic, second], in_city, Codec())) as source:
        source.keep(dict.fromkeys(source.every(), 0))
        with pytest.raises(NotOurs, match="speak of d1/"):
            until(lambda: source.gather(0.1) and False)


def _neighbours(log: list[Entry], dsn: str, secret: bytes, root: str, topic: Topic) -> Topic:
    """The topic of another district, whose log is like another's."""
    _like(log, dsn, secret, root)
    second = Topic(f"{topic.name}-2", topic.options, 2)
    relaying = role_dsn(dsn, secret, "wangge_relay")
    Relay(lambda: psycopg.connect(relaying, autocommit=True), second).catch_up()
    return second


def _audited(connect: Connect) -> dict[int, list[int]]:
    """The positions that the audit trail knows, by the number of their topic."""
    found: dict[int, list[int]] = {}
    with connect() as connection:
        if schemas.version_of(connection, "audit") is None:
            return found
        for (position,) in connection.execute("SELECT position FROM audit.entries ORDER BY 1"):
            number, here = divmod(position, 1 << NUMBER_BITS)
            found.setdefault(number, []).append(here)
    return found


def test_a_read_model_that_is_behind_reads_what_the_others_have_folded(
    store: EventStore, relay: Relay, topic: Topic, models: Models, in_city: Connect
) -> None:
    fill(store, 20)
    relay.catch_up()
    with following([topic], in_city, models):
        until(lambda: is_current(in_city, models, topic))
    (audit,) = (model for model in models if model.name == "audit")
    with closing(KafkaSource([topic], in_city, Codec())) as source:
        for partition, records in held(topic).items():
            part = f"{topic.name}/{partition}"
            if len(records) < 6:
                continue
            page = source.read(part, 3, len(records) - 2, audit.wanted())
            assert [each.position for each in page.events] == [
                each.entry.position for each in records[3:-2]
            ]
            assert page.last == len(records) - 2
            assert source.read(part, 0, 1, Wanted(())).events == []


def test_after_the_database_has_gone_away_it_goes_on(
    store: EventStore, relay: Relay, topic: Topic, models: Models, in_city: Connect, city: str
) -> None:
    fill(store, 5)
    relay.catch_up()
    with following([topic], in_city, models):
        until(lambda: is_current(in_city, models, topic))
        with psycopg.connect(city) as owner:
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        fill(store, 5, seed=2)
        relay.catch_up()
        until(lambda: is_current(in_city, models, topic))


def test_parts_are_shared_fairly_and_pass_on_when_somebody_goes(in_city: Connect) -> None:
    every = [f"t/{n}" for n in range(8)]
    first, second, third = in_city(), in_city(), in_city()
    shares = [Shares(first)]
    assert shares[0].settle(every) == set(every)
    shares += [Shares(second), Shares(third)]
    for _ in range(2):
        for each in shares:
            each.settle(every)
    assert sorted(len(each.mine) for each in shares) == [2, 3, 3]
    assert set().union(*(each.mine for each in shares)) == set(every)
    second.close()
    for _ in range(2):
        shares[0].settle(every)
        shares[2].settle(every)
    assert shares[0].mine | shares[2].mine == set(every)
    assert len(shares[0].mine) == 4
    first.close()
    third.close()


def test_four_processes_one_of_them_killed_build_the_same(
    store: EventStore,
    relay: Relay,
    topic: Topic,
    district: Runner,
    models: Models,
    in_city: Connect,
    city: str,
    folder: Path,
    secret: bytes,
) -> None:
    fill(store, 60)
    relay.catch_up()
    environment = os.environ | {
        "WANGGE_DATA": str(folder / "city"),
        "WANGGE_DSN": city,
        "WANGGE_KAFKA": ",".join(topic.options["bootstrap_servers"]),
        "WANGGE_KAFKA_TOPIC": topic.name,
    }
    (folder / "city").mkdir()
    (folder / "city" / "secret").write_text(secret.decode())
    wangge = [sys.executable, "-c", "from infra.cli import main; main()"]
    processes = [
        subprocess.Popen([*wangge, "project", "--source", "kafka"], env=environment)
        for _ in range(4)
    ]
    try:
        until(lambda: _shared_by(in_city) == 4)
        fill(store, 40, seed=2)
        relay.catch_up()
        killed = processes.pop()
        killed.kill()
        killed.wait()
        fill(store, 40, seed=3)
        relay.catch_up()
        until(lambda: is_current(in_city, models, topic))
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in processes] == [0] * len(processes)
    district.catch_up()
    live, there = digests(district.connect, models), digests(in_city, models)
    # The city has a secret of its own, so nothing but the index of the search is another.
    assert {name for name in live if live[name] != there[name]} <= {"search"}


def _shared_by(connect: Connect) -> int:
    """How many processes hold parts."""
    with connect() as connection:
        row = connection.execute(
            "SELECT count(DISTINCT pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND objsubid = 2 AND objid = 0"
        ).fetchone()
    return row[0] if row else 0


def test_own_log_and_topics_do_not_mix(
    store: EventStore, district: Runner, models: Models, pool: ConnectionPool, topic: Topic
) -> None:
    fill(store, 2)
    district.catch_up()
    with pytest.raises(SettingError, match="own log"):
        demand_not_of_the_own_log(district.connect, models)
    assert not is_fed(pool)
    KafkaSource([topic], district.connect, Codec()).close()
    assert is_fed(pool)
