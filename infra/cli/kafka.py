"""``wangge relay`` and ``wangge project --source kafka``: Kafka on the command line."""

import logging
import signal
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import structlog

from domain.history import LOG
from infra.cli.composition import composed
from infra.cli.frame import err
from infra.codec import Codec
from infra.installation import CONNECT_SECONDS
from infra.migrations import role_dsn
from infra.settings import SettingError
from projections import schemas
from projections.projection import Poisoned, Projection, Superseded
from projections.runner import Runner

_log = structlog.get_logger(__name__)


def relay() -> None:
    """把事件日志转发到 Kafka。Carry the log out to Kafka."""
    from infra.kafka_relay import Relay
    from infra.kafka_topic import topics_of

    with composed(lasting=True) as opened_:
        installation = opened_.installation
        topic, *others = topics_of(installation.settings)
        if others:
            raise SettingError(
                "WANGGE_KAFKA_TOPIC: 转发只写一个主题。One log is carried to one topic."
            )
        stop = _until_told()
        dsn = role_dsn(installation.dsn, installation.secret, "wangge_relay")
        connect = partial(psycopg.connect, dsn, autocommit=True, connect_timeout=CONNECT_SECONDS)
        err.print(f"转发运行中 · Relaying to {topic.name}", markup=False, highlight=False)
        _told_wrong(lambda: Relay(connect, topic).follow(stop))


def project() -> None:
    """Build the read models from topics, until told to stop; several processes share the work.

    Raises:
        SettingError: no cluster, a topic that is not what it should be, or read models here that
            are of this database's own log.
    """
    from infra.kafka_source import KafkaSource, follow
    from infra.kafka_topic import topics_of

    with composed(lasting=True) as opened_:
        installation = opened_.installation
        topics = topics_of(installation.settings)
        models = tuple(opened_.models.values())
        connect = installation.connect_projector
        demand_not_of_the_own_log(connect, models)
        stop = _until_told()
        names = ", ".join(topic.name for topic in topics)
        err.print(f"投影运行中 · Projecting from {names}", markup=False, highlight=False)
        with closing(KafkaSource(topics, connect, Codec())) as source:
            folding = Folding(source, connect, models)
            _told_wrong(lambda: follow(source, connect, folding.begins, folding.fold, stop))


class Folding:
    """The read models of a source that gathers: where they stand, and on to its heads.

    One that cannot go on is reported and left alone until the next start; the others go on.
    """

    def __init__(
        self,
        source: Any,
        connect: Callable[[], psycopg.Connection],
        models: Collection[Projection],
    ) -> None:
        self._source = source
        self._connect = connect
        self._models = list(models)

    def begins(self, parts: Collection[str]) -> Mapping[str, int]:
        """For each part the offset that some read model has not gone beyond."""
        with self._connect() as connection:
            standing = [schemas.positions_of(connection, each.name) for each in self._models]
        return {part: min((s.get(part, 0) for s in standing), default=0) for part in parts}

    def fold(self) -> None:
        """Bring every read model as far as the source has gathered."""
        try:
            Runner(self._source, self._connect, self._models).catch_up()
        except (Poisoned, Superseded) as error:
            name = error.projection if isinstance(error, Poisoned) else str(error)
            self._models = [each for each in self._models if each.name != name]
            _log.error("projector.halted", projection=name, error=repr(error))


def demand_not_of_the_own_log(
    connect: Callable[[], psycopg.Connection], models: Collection[Projection]
) -> None:
    """Raises ``SettingError`` where read models know something of their database's own log."""
    with connect() as connection:
        for model in models:
            if schemas.positions_of(connection, model.name).get(LOG):
                raise SettingError(
                    f"读模型 {model.name} 来自本库自己的日志，不能再并入 Kafka 的事件。"
                    "请使用另一数据库（WANGGE_DSN 或 WANGGE_DATA）。\n"
                    f"The read model {model.name} is of this database's own log, and takes in "
                    "nothing from Kafka. Use another database (WANGGE_DSN or WANGGE_DATA)."
                )


def _told_wrong(work: Callable[[], None]) -> None:
    """Do something; what is wrong with a topic is said like what is wrong with a setting."""
    from infra.kafka_topic import NotOurs

    # Of a broker that is away the library has a line for every attempt; we have one of our own.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        work()
    except NotOurs as error:
        raise SettingError(str(error)) from error


def _until_told() -> threading.Event:
    """Set by SIGINT or SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
