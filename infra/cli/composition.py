"""Everything put together: an installation with its log, its read models and its queries."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from psycopg_pool import ConnectionPool

from domain.roles import Actor, Grant, Role
from infra import logging
from infra.cli.frame import err
from infra.deadlines import Deadlines
from infra.installation import Installation, opened
from infra.settings import Settings
from projections import schemas
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.deadlines import Backlog
from projections.gateway import Gateway
from projections.runner import OnProgress, Projection, Runner

OPERATOR: Final = Actor("system:cli", (Grant(Role.ADMINISTRATOR, ""),))
"""Who asks on the command line: whoever can start it owns the data, and sees all of it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything a command may need, put together."""

    installation: Installation
    models: dict[str, Projection]
    runner: Runner
    gateway: Gateway
    fed: bool = False
    """Whether the read models here are built from Kafka, not from this database's own log."""

    def catch_up(self, *needed: Projection, on_progress: OnProgress | None = None) -> None:
        """Bring these read models, and no others, to the end of the log.

        Raises:
            Poisoned: one of them cannot go on. The others of them are up to date.
        """
        if self.fed:
            return
        Runner(self.runner.source, self.runner.connect, needed).catch_up(on_progress)

    def bring_up(self, *needed: Projection, on_progress: OnProgress | None = None) -> None:
        """The same for who only asks: what somebody has paused stays where it is, and that is said.

        Raises:
            Poisoned: as in ``catch_up``.
        """
        with self.installation.pool.connection() as connection:
            paused = schemas.paused(connection)
        for name in sorted({each.name for each in needed} & paused):
            err.print(
                f"{name} 已暂停，只到它停下的位置；恢复：wangge project resume {name}。\n"
                f"{name} is paused, and stays where it is: wangge project resume {name}.",
                highlight=False,
                soft_wrap=True,
            )
        going = [each for each in needed if each.name not in paused]
        self.catch_up(*going, on_progress=on_progress)


@contextmanager
def composed(
    settings: Settings | None = None, *, lasting: bool = False, alone: bool = False
) -> Iterator[Opened]:
    """One installation with its log, its projector and its queries."""
    settings = settings or read_settings(passing=not lasting)
    with opened(settings, lasting=lasting, alone=alone) as installation:
        key = index_key(installation.secret)
        models = read_models(key)
        fed = is_fed(installation.pool)
        own = () if fed else tuple(models.values())
        yield Opened(
            installation,
            models,
            Runner(
                installation.source,
                installation.connect_projector,
                own,
                spans=installation.spans,
            ),
            Gateway(installation.pool, key),
            fed,
        )


def is_fed(pool: ConnectionPool) -> bool:
    """Whether the read models of a database are built from topics."""
    with pool.connection() as connection:
        row = connection.execute("SELECT EXISTS (SELECT FROM relay.source)").fetchone()
    return row == (True,)


def read_settings(*, passing: bool = False) -> Settings:
    """The settings of the environment; from here on there are log lines.

    A ``passing`` command has an answer to give, so its log speaks up only if something is wrong.
    """
    settings = Settings()
    quiet = passing and settings.log_level == "info"
    chosen = settings.model_copy(update={"log_level": "warning"}) if quiet else settings
    logging.set_up(chosen, lasting=not passing)
    return settings


def deadlines_of(opened_: Opened) -> Deadlines:
    """What happens to cases by itself; any number of processes may have one."""
    installation = opened_.installation
    return Deadlines(
        installation.store, installation.connect_projector, Backlog, lambda: datetime.now(UTC)
    )
