"""The read models: rebuilt, looked at, paused, and an event left out that one cannot fold."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg_pool import ConnectionPool
from rich.markup import escape
from rich.table import Table

from domain.operations import SkipEvent
from infra.cli.composition import composed
from infra.cli.frame import Show, Wrong, one_of, out, progress
from infra.cli.people import signed_in
from infra.codec import Codec
from infra.installation import Installation
from infra.log_source import LogSource
from infra.migrations import role_dsn
from infra.vault import KeyFile, Vault
from projections import schemas
from projections.blind_index import index_key
from projections.catalog import NAMES, read_models
from projections.crew import Bench, Crew
from projections.runner import Poisoned
from projections.runner import Progress as Advance
from projections.standing import Standing, standings


def _known(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"{name} ({', '.join(NAMES)})")
    return name


Name = Annotated[str, typer.Argument(parser=_known, metavar="NAME", help="读模型 · Read model.")]


def rebuild(
    name: Annotated[
        str | None,
        one_of(typer.Argument, NAMES, "读模型 · Which read model."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="全部 · All of them.")] = False,
    verify: Annotated[
        bool, typer.Option(help="与现有结果逐字节比对 · Compare with the live one, byte for byte.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="进程数 · How many processes; each core has one.")
    ] = os.cpu_count() or 1,
) -> None:
    """重建读模型，不影响查询；中断后再次运行即继续。Rebuild read models beside the live ones, and
    swap; interrupted, it goes on when run again."""
    if (name is None) is not every:
        raise Wrong("请给出一个名称或 --all。Give one name, or --all.")
    poisoned: Poisoned | None = None
    with composed() as opened_:
        if opened_.fed:
            raise Wrong(
                "读模型来自 Kafka，不能由本库日志重建。"
                "The read models here come from Kafka, not from this database's own log."
            )
        opened_.runner.crew = crew(opened_.installation, workers)
        if name is None and not verify:
            with progress("--all") as show_all:
                opened_.runner.rebuild_all(
                    tuple(opened_.models.values()),
                    on_progress=lambda at: show_all(at.position, at.head, f"{at.rate:,.0f}/s"),
                )
            for each in opened_.models:
                out.print(f"{each}: 完成 · done", highlight=False)
            return
        chosen = tuple(opened_.models.values()) if name is None else (opened_.models[name],)
        for projection in chosen:
            if verify:
                with suppress(Poisoned):  # compared as far as it got, and then built to the end
                    opened_.catch_up(projection)
            with progress(projection.name) as show:

                def advance(at: Advance, show: Show = show) -> None:
                    show(at.position, at.head, f"{at.rate:,.0f}/s")

                try:
                    digest = opened_.runner.rebuild(projection, verify=verify, on_progress=advance)
                except Poisoned as error:
                    poisoned = error
                    continue
            same = f"一致 · same {digest[:16]}" if verify else "完成 · done"
            out.print(f"{projection.name}: {same}", highlight=False)
    if poisoned is not None:
        raise poisoned


def status() -> None:
    """各读模型的进度、延迟与状况。How far each read model is, and whether it goes on."""
    with composed() as opened_, opened_.installation.pool.connection() as connection:
        out.print(_table(standings(connection, opened_.models)))


def pause(name: Name) -> None:
    """暂停一个读模型，重建也暂停。Let a read model stand still, a rebuild of it too."""
    with composed() as opened_, opened_.installation.connect_projector() as connection:
        schemas.pause(connection, name)
    out.print(f"已暂停 · Paused: {name}", highlight=False)


def resume(name: Name) -> None:
    """恢复一个读模型。Let a read model go on."""
    with composed() as opened_, opened_.installation.connect_projector() as connection:
        schemas.resume(connection, name)
    out.print(f"已恢复 · Resumed: {name}", highlight=False)


def skip(
    name: Name,
    position: Annotated[int, typer.Argument(help="日志位置 · Position in the log.")],
    by: Annotated[str, typer.Option(metavar="USER", help="操作人，须输入密码 · Who does it.")],
    reason: Annotated[str, typer.Option(help="原因 · Why.")],
    password_stdin: Annotated[
        bool, typer.Option(help="从标准输入读取密码 · Read the password from standard input.")
    ] = False,
) -> None:
    """跳过读模型无法处理的事件，记入日志。Leave out an event that a read model cannot fold.

    只影响该读模型；事件仍在日志中，也仍在其他读模型中。
    Only this read model leaves it out; it stays in the log, and in all other read models.
    """
    with composed() as opened_:
        installation = opened_.installation
        actor = signed_in(opened_, by, from_stdin=password_stdin)
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
            f"{at.poison.name} ({at.poison.stream})\n{escape(str(at.error))}"
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
