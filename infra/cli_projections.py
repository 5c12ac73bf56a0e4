"""``wangge project status``, ``pause``, ``resume`` and ``skip``; more workers for a rebuild."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import psycopg
import typer
from psycopg_pool import ConnectionPool
from rich.console import Console
from rich.table import Table

from domain.operations import SkipEvent
from domain.roles import Actor
from infra.codec import Codec
from infra.installation import Installation
from infra.log_source import LogSource
from infra.migrations import role_dsn
from infra.vault import KeyFile, Vault
from projections import schemas
from projections.catalog import NAMES, read_models
from projections.crew import Bench, Crew
from projections.projection import Projection
from projections.search import index_key
from projections.standing import Standing, standings

out: Final = Console()


class Opened(Protocol):
    """What is needed of an opened installation."""

    @property
    def installation(self) -> Installation: ...
    @property
    def models(self) -> dict[str, Projection]: ...


Composed = Callable[[], AbstractContextManager[Opened]]
SignIn = Callable[..., Actor]


def _known(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"{name} ({', '.join(NAMES)})")
    return name


Name = Annotated[str, typer.Argument(parser=_known, metavar="NAME", help="读模型 · Read model.")]


def register(app: typer.Typer, composed: Composed, sign_in: SignIn) -> None:
    """Add the commands. ``sign_in(opened, user, from_stdin=…)`` asks for somebody's password."""

    @app.command()
    def status() -> None:
        """各读模型的进度、延迟与状况。How far each read model is, and whether it goes on."""
        with composed() as opened_, opened_.installation.pool.connection() as connection:
            out.print(_table(standings(connection, opened_.models)))

    @app.command()
    def pause(name: Name) -> None:
        """暂停一个读模型,重建也暂停。Let a read model stand still, a rebuild of it too."""
        with composed() as opened_, opened_.installation.connect_projector() as connection:
            schemas.pause(connection, name)
        out.print(f"已暂停 · Paused: {name}", highlight=False)

    @app.command()
    def resume(name: Name) -> None:
        """恢复一个读模型。Let a read model go on."""
        with composed() as opened_, opened_.installation.connect_projector() as connection:
            schemas.resume(connection, name)
        out.print(f"已恢复 · Resumed: {name}", highlight=False)

    @app.command()
    def skip(
        name: Name,
        position: Annotated[int, typer.Argument(help="日志位置 · Position in the log.")],
        by: Annotated[str, typer.Option(metavar="USER", help="操作人,须输入密码 · Who does it.")],
        reason: Annotated[str, typer.Option(help="原因 · Why.")],
        password_stdin: Annotated[
            bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
        ] = False,
    ) -> None:
        """跳过读模型无法处理的事件,记入日志。Leave out an event that a read model cannot fold.

        只影响该读模型;事件仍在日志中,也仍在其他读模型中。
        Only this read model leaves it out; it stays in the log, and in all other read models.
        """
        with composed() as opened_:
            installation = opened_.installation
            actor = sign_in(opened_, by, from_stdin=password_stdin)
            with installation.pool.connection() as connection:
                (at,) = standings(connection, (name,))
            command = SkipEvent(
                by=actor,
                at=datetime.now(UTC),
                projection=name,
                position=position,
                reason=reason,
                halted=at.poison.position if at.poison else None,
            )
            installation.store.execute(command, correlation="cli")
        out.print(f"已跳过 · Left out: {name} {position}", highlight=False)


def _table(known: list[Standing]) -> Table:
    table = Table("读模型 · Read model", "位置 · Position", "落后 · Lag", "秒 · s", "状况 · State")
    for at in known:
        table.add_row(
            at.name, f"{at.position:,}", f"{at.lag:,}", f"{at.lag_seconds:.1f}", _state(at)
        )
    return table


def _state(at: Standing) -> str:
    said = []
    if at.poison is not None:
        said.append(
            f"停在位置 {at.poison.position} · halted at {at.poison.position}: "
            f"{at.poison.name} ({at.poison.stream})\n{at.error}"
        )
    if at.paused:
        said.append("已暂停 · paused")
    if at.building is not None:
        done, of = at.building
        said.append(f"重建中 · rebuilding {done / max(of, 1):.0%}")
    return "\n".join(said) or "正常 · ok"


# --- more processes for a rebuild ---


def crew(installation: Installation, size: int) -> Crew:
    """Workers that open what they need by themselves."""
    settings = installation.settings
    return Crew(
        size,
        partial(
            bench,
            role_dsn(installation.dsn, installation.secret, "wangge_projector"),
            role_dsn(settings.vault_dsn or installation.dsn, installation.secret, "wangge_vault"),
            settings.kek_file,
            index_key(installation.secret),
        ),
    )


@contextmanager
def bench(dsn: str, vault_dsn: str, kek: Path, key: bytes) -> Iterator[Bench]:
    """What a worker works with, in a process of its own."""
    given: dict[str, Any] = {"kwargs": {"autocommit": True}, "min_size": 1, "open": False}
    with (
        ConnectionPool(dsn, max_size=2, **given) as pool,
        ConnectionPool(vault_dsn, max_size=2, **given) as keys,
    ):
        source = LogSource(pool, Codec(), Vault(keys, KeyFile(kek)))
        yield Bench(source, partial(psycopg.connect, dsn, autocommit=True), read_models(key))
