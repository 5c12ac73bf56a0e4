"""What is asked of the data: figures, a case, the log, what is due; and old cases brought in."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer
from pydantic import BaseModel, ValidationError
from rich.markup import escape
from rich.table import Column, Table

from domain.calendar import told_time
from domain.case.commands import Source
from domain.catalogue import Size
from domain.errors import Refused
from domain.words import AUTOMATIC
from infra import logging
from infra.cli.composition import OPERATOR, composed, deadlines_of
from infra.cli.frame import (
    AsJson,
    Wrong,
    err,
    instant,
    one_of,
    out,
    past,
    print_values,
    progress,
    progress_if_long,
)
from infra.importers import BadFile, OldSystem, Summary, import_file
from infra.importers.bpic2013 import Bpic2013
from infra.importers.nyc311 import Nyc311
from infra.settings import Settings
from projections import worklist
from projections.conditions import PendingFilter
from projections.counting import By, Question
from projections.metrics import METRICS

SYSTEMS: Final[dict[str, type[OldSystem[Any]]]] = {"bpic2013": Bpic2013, "nyc311": Nyc311}


def metrics(
    name: Annotated[str, one_of(typer.Argument, METRICS, "指标 · Which metric.")],
    as_json: AsJson = False,
    territory: Annotated[str, typer.Option(help="属地路径 · Path, such as d1/s1/.")] = "",
    since: Annotated[
        str | None, typer.Option("--from", help="起（含）· From: a day or a time.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="止（不含）· Until, without it.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="类别 · Category.")] = None,
    size: Annotated[str | None, one_of(typer.Option, Size, "大小 · Size.")] = None,
    source: Annotated[str | None, one_of(typer.Option, Source, "来源 · Source.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="当时的数字：位置或时间 · As of a position or a time.")
    ] = None,
    over: Annotated[Any, one_of(typer.Option, get_args(By), "分组 · Broken down by.")] = None,
) -> None:
    """计算指标。Answer a metric, with what it is made of."""
    from api import metrics as answers

    asked = Question(
        now=datetime.now(UTC),
        as_of=past(as_of),
        territory=territory,
        since=instant(since),
        until=instant(until),
        category=category,
        size=size,
        source=source,
    )
    answer: BaseModel
    with composed() as opened_:
        if territory:
            opened_.installation.store.office().territory.node(territory)
        with progress_if_long(name) as advance:
            opened_.bring_up(opened_.models[METRICS[name].model], on_progress=advance)
        figures = opened_.gateway.figures
        match name:
            case "backlog":
                answer = answers.backlog_answer(figures.backlog(OPERATOR, asked, over))
            case "caseload":
                answer = answers.caseload_answer(figures.caseload(OPERATOR, asked, over))
            case _:
                found = figures.answer(OPERATOR, METRICS[name], asked, over)
                answer = answers.metric_answer(found)
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        print_values(answer.model_dump(mode="json"))


def import_(
    which: Annotated[
        str,
        one_of(typer.Argument, SYSTEMS, "原系统 · The old system."),
    ],
    file: Annotated[Path, typer.Argument(help="导出文件 · The exported file.")],
    report: Annotated[
        Path | None, typer.Option(help="未导入行的报告 · Where bad rows are named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """导入历史事项；可中断、可重复。Import old cases; may be interrupted and repeated."""
    if not file.is_file():
        raise BadFile("import.no_file", path=file, why="没有这个文件 no such file")
    old: OldSystem[Any] = SYSTEMS[which]()
    report = report or Path(f"import-{which}-report.csv")
    with composed() as opened_, progress(f"导入 · Import {which}") as show:

        def advance(done: Summary) -> None:
            show(done.read, done.size, f"{done.events / max(done.seconds, 1e-6):,.0f} events/s")

        installation = opened_.installation
        done = import_file(
            old,
            file,
            report,
            installation.store,
            installation.pool,
            datetime.now(UTC),
            advance,
        )
    figures = {
        "cases": done.cases,
        "added": done.added,
        "events": done.events,
        "bad": done.bad,
        "seconds": round(done.seconds, 1),
        "report": str(report),
    }
    if as_json:
        out.print_json(data=figures)
    else:
        print_values(figures)


def log_stat(as_json: AsJson = False) -> None:
    """事件数、流数、最后位置。Events, streams and last position of the log."""
    with composed() as opened_:
        figures = opened_.installation.store.recorder.statistics()
    if as_json:
        out.print_json(data=figures)
    else:
        print_values(figures)


def case_show(
    case_id: Annotated[str, typer.Argument(metavar="ID", help="事项编号 · The case.")],
    as_of: Annotated[
        str | None, typer.Option(help="某时刻或某版本 · At a time, or a version number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """事项现状或历史状态。A case as it stands, or as of a time or version."""
    import msgspec

    version = int(as_of) if as_of is not None and as_of.isdecimal() and len(as_of) < 8 else None
    at = instant(as_of) if version is None else None
    with composed() as opened_:
        history = opened_.installation.store.history(f"case:{case_id}")
    row, steps = None, []
    for recorded in history:
        if (at and recorded.at > at) or (version is not None and recorded.version > version):
            break
        row = worklist.fold(row, recorded)
        steps.append((recorded.version, recorded.at, recorded.name, recorded.actor))
    if row is None or (version is not None and row.version < version):
        raise (
            Refused("case.unknown", case=case_id)
            if not history
            else Wrong(f"--as-of {as_of}: 当时没有此事项或此版本。The case was not there then.")
        )
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(row)).decode() + "\n")
        return
    facts = msgspec.to_builtins(row, builtin_types=(datetime,))
    print_values({n: told_time(v) if isinstance(v, datetime) else v for n, v in facts.items()})
    table = Table("#", "时间 · At", "事件 · Event", "人员 · By")
    for number, when, name, actor in steps:
        table.add_row(str(number), told_time(when), name, actor)
    out.print(table)


def deadlines_list(
    due_only: Annotated[
        bool, typer.Option("--due", help="只列已到期的 · Only what is due.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="最多几条 · At most.")] = 100,
) -> None:
    """列出将自动办理的事项，先到期的在前。List what will happen to cases by itself, and when."""
    now = datetime.now(UTC)
    with composed() as opened_:
        with progress_if_long("deadlines") as advance:
            opened_.bring_up(opened_.models["deadlines"], on_progress=advance)
        office = opened_.installation.store.office()
        found = opened_.gateway.pending(
            OPERATOR,
            office.catalogue.ahead,
            PendingFilter(),
            limit=limit,
            settled=office.calendar.settled(),
        )
    # Neither a case nor a territory is cut off where lines are short: they are what is asked for.
    table = Table(
        "时间 · At",
        "类型 · Kind",
        Column("事项 · Case", no_wrap=True),
        Column("属地 · Territory", overflow="fold"),
        Column("失败 · Failed", overflow="fold"),
    )
    more = found.next is not None
    for each in found.rows:
        if due_only and each.at >= now:
            more = False
            break
        failed = escape(f"{each.attempts}: {each.error}") if each.attempts else ""
        kind = AUTOMATIC[each.kind].zh
        table.add_row(told_time(each.at), kind, each.case, each.territory, failed)
    out.print(table)
    if more:
        err.print(
            f"只列出最先的 {limit} 条，后面还有：--limit。Only the first {limit}; there are more: "
            "--limit.",
            highlight=False,
            soft_wrap=True,
        )


def deadlines_run() -> None:
    """办理一次已到期的。Do what is due now, once; a server does it by itself every few seconds."""
    with composed() as opened_:
        with progress_if_long("deadlines") as advance:
            opened_.bring_up(opened_.models["deadlines"], on_progress=advance)
        done = deadlines_of(opened_).run()
    if done is None:
        out.print("另一进程正在办理。Another process is at it.", highlight=False)
    else:
        out.print(f"已办 · done {done.issued}，失败 · failed {done.failed}", highlight=False)


def doctor() -> None:
    """检查运行条件，指出问题与办法。Check everything needed; say what is wrong and what to do."""
    from infra import doctor as checks

    try:
        settings = Settings()
    except ValidationError:
        out.print("✗ settings", markup=False)
        raise
    logging.set_up(settings.model_copy(update={"log_level": "error"}))
    well = True
    for finding in checks.examine(settings, composed):
        well &= finding.well
        mark = "✓" if finding.well else "✗"
        out.print(f"{mark} {finding.what}: {finding.found}", markup=False, soft_wrap=True)
        if not finding.well:
            out.print(f"    {finding.zh}\n    {finding.en}", markup=False, soft_wrap=True)
    if not well:
        raise SystemExit(1)
