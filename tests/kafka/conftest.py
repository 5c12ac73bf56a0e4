"""What the tests of Kafka share: one broker a session, a topic of its own a test."""

import gc
import logging
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from infra.kafka_relay import Relay
from infra.kafka_topic import Topic
from infra.migrations import role_dsn
from infra.postgres import EmbeddedPostgres
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.runner import Projection, Runner
from tests.databases import copied
from tests.kafka.broker import Kafka, kafka


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """kafka-python leaves the sockets of a client that found no broker to the garbage collector,
    and its log lines, which pytest keeps, would keep them from it."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    yield
    _collect()


@pytest.fixture(scope="session")
def broker() -> Iterator[Kafka]:
    """A cluster of one node, or the one that ``WANGGE_KAFKA`` names."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    given = os.environ.get("WANGGE_KAFKA")
    if given:
        yield Kafka(given, [])
        return
    folder = Path(tempfile.mkdtemp(prefix="wangge-kafka-"))
    try:
        with kafka(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _collect()


@pytest.fixture
def topic(broker: Kafka) -> Topic:
    """A topic that nobody has made yet."""
    return Topic(
        f"test-{secrets.token_hex(6)}", {"bootstrap_servers": broker.servers.split(",")}, 4
    )


@pytest.fixture
def as_relay(database: str, secret: bytes) -> Callable[[], psycopg.Connection]:
    """Connects as ``wangge relay`` does."""
    dsn = role_dsn(database, secret, "wangge_relay")
    return lambda: psycopg.connect(dsn, autocommit=True)


@pytest.fixture
def relay(as_relay: Callable[[], psycopg.Connection], topic: Topic) -> Relay:
    """A relay of this test's log, in rounds that are small."""
    return Relay(as_relay, topic, page=50)


def _collect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# --- a city: another database, whose read models come from topics ---


@pytest.fixture
def city(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The database of the city."""
    with copied(postgres, template, f"wangge_beside_{secrets.token_hex(4)}") as dsn:
        yield dsn


@pytest.fixture
def neighbour(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The database of another district."""
    with copied(postgres, template, f"wangge_beside_{secrets.token_hex(4)}") as dsn:
        yield dsn


@pytest.fixture
def in_city(city: str, secret: bytes) -> Callable[[], psycopg.Connection]:
    """Connects as the projector of the city."""
    dsn = role_dsn(city, secret, "wangge_projector")
    return lambda: psycopg.connect(dsn, autocommit=True)


@pytest.fixture(scope="session")
def models(secret: bytes) -> tuple[Projection, ...]:
    """All read models, as whoever has no keys builds them."""
    made = read_models(index_key(secret)).values()
    return tuple(replace(model, opens=False) for model in made)


@pytest.fixture
def district(runner: Runner, models: tuple[Projection, ...]) -> Runner:
    """The projector of the district's own log, without keys."""
    return Runner(runner.source, runner.connect, models)
