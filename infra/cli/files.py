"""The commands that write files: event logs for process mining, and reports."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from domain.reports import PERIODS, Period
from infra.cli.composition import OPERATOR, composed
from infra.cli.frame import Wrong, calendar_day, instant, out, past, progress, progress_if_long

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="写到哪里；.gz 则压缩 · Where to; .gz packs it.")
]
InTerritory = Annotated[
    str, typer.Option("--territory", help="属地路径 · Path, such as d1/s1/.", metavar="PATH")
]
Since = Annotated[
    str | None,
    typer.Option(help="此时及以后上报的事项 · Cases reported from then on.", metavar="TIME"),
]
Until = Annotated[
    str | None, typer.Option(help="此前上报的事项 · Cases reported before.", metavar="TIME")
]
AtPosition = Annotated[
    int | None,
    typer.Option(
        "--position", min=0, help="日志位置，默认最新 · Position of the log, else the last."
    ),
]


def export_xes(
    file: File,
    territory: InTerritory = "",
    since: Since = None,
    until: Until = None,
    position: AtPosition = None,
) -> None:
    """导出 XES：一事项一轨迹。XES: each case is a trace, with all its events."""
    _export("xes", file, territory, since, until, position)


def export_ocel(
    file: File,
    territory: InTerritory = "",
    since: Since = None,
    until: Until = None,
    position: AtPosition = None,
) -> None:
    """导出 OCEL 2.0（JSON）：事项、属地、人员、单位、类别。OCEL 2.0: events and their objects."""
    _export("ocel", file, territory, since, until, position)


def _export(
    form: str,
    file: Path,
    territory: str,
    since: str | None,
    until: str | None,
    position: int | None,
) -> None:
    from infra.log_export import FORMS, Chosen, Done, export

    first, last = instant(since), instant(until)
    with composed() as opened_, progress(f"导出 · Export {form}") as show:
        source = opened_.installation.source
        if territory:
            opened_.installation.store.office().territory.node(territory)
        chosen = Chosen(
            position=_known_position(source.head(), position),
            territory=territory,
            since=first,
            until=last,
        )

        def advance(done: Done) -> None:
            show(done.stretches, done.of, f"{done.events / max(done.seconds, 1e-6):,.0f} events/s")

        done = export(FORMS[form], file, source, chosen, advance)
    out.print(
        f"{file}: {done.cases} 件事项、{done.events} 个事件，截至日志位置 {chosen.position}。\n"
        f"{done.cases} cases, {done.events} events, as of position {chosen.position} of the log.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _known_position(head: int, asked: int | None) -> int:
    """The position to answer at: the one asked for, if the log is that long."""
    if asked is not None and asked > head:
        raise Wrong(f"--position {asked}: 日志只到 {head}。The log ends at {head}.")
    return head if asked is None else asked


def report(
    period: Annotated[
        str, typer.Argument(metavar="daily|weekly|monthly", help="日报、周报或月报 · Which.")
    ],
    territory: Annotated[str, typer.Argument(metavar="PATH", help="属地路径 · Territory.")],
    day: Annotated[
        str | None,
        typer.Option(
            help="期内任一天，默认上一期 · Any day of the period, else the last one over."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="xlsx|csv|pdf", help="格式 · Form.")
    ] = "xlsx",
    position: Annotated[
        str | None,
        typer.Option(
            help="日志位置、时间或报表上的时点，默认现在 · Position, time, or moment of a report.",
            metavar="MOMENT",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="写到哪里 · Where to.")
    ] = None,
) -> None:
    """生成日报、周报、月报。A report of a territory, made of the log."""
    from infra.log_export import whole
    from infra.reports import FORMS, render
    from projections import reports
    from projections.past import Moment

    if period not in PERIODS or form not in FORMS:
        raise Wrong(f"{period} {form}: {', '.join(PERIODS)}; {', '.join(FORMS)}")
    now = datetime.now(UTC)
    on = calendar_day(day)
    as_of = past(position)
    with composed() as opened_:
        installation = opened_.installation
        asked = reports.Asked(
            period=Period(period),
            territory=territory,
            day=on,
            as_of=Moment(now, installation.source.head()) if as_of is None else as_of,
            now=now,
        )
        with progress_if_long("read models") as advance:
            needed = (opened_.models[name] for name in reports.MODELS)
            opened_.bring_up(*needed, on_progress=advance)
        figures, history = opened_.gateway.figures, installation.store.history
        made = reports.report(figures, OPERATOR, asked, history)
    path = to or Path(f"{made.title.zh}{made.since:%Y-%m-%d}.{form}")
    content = render(made, form)
    with whole(path) as file:
        file.write(content)
    said = f"{path}（时点 · moment {made.moment}）"
    out.print(said, markup=False, highlight=False, soft_wrap=True)
