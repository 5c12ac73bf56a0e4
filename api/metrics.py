"""The figures of governance, each with what it is made of and the log position it was taken at."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query

from api.auth import AtDesk, Seen, routes
from api.desk import Desk
from api.errors import problems
from api.schemas import metrics as s
from api.services import API
from projections import figures as f
from projections.ages import AGE_DAYS
from projections.counting import Question
from projections.measures import REASONS, Part
from projections.metrics import BIG_WEIGHT, METRICS
from projections.paging import BadCursor

router: Final = routes("/metrics", ["指标 Metrics"])

Asked = Annotated[s.BrokenDown, Query()]


@router.get("", summary="指标定义 · Definitions", responses=problems())
def definitions(desk: AtDesk) -> s.Definitions:
    """每个数字的含义和算法。What every figure means and how it is reckoned."""
    return s.Definitions(rows=list(DEFINITIONS))


@router.get("/backlog", summary="积案 · Backlog", responses=problems())
def backlog(asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.BacklogAnswer:
    """未结案事项有多少、已多久。What is open and for how long, of what was filed in the window."""
    known = desk.known(asked.position, seen)
    return backlog_answer(
        desk.services.gateway.figures.backlog(desk.by, _question(asked, desk), asked.by, known)
    )


@router.get("/caseload", summary="网格工作量 · Caseload", responses=problems())
def caseload(asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.CaseloadAnswer:
    """各网格的工作量和均衡程度。How much each grid carries, and how evenly."""
    known = desk.known(asked.position, seen)
    return caseload_answer(
        desk.services.gateway.figures.caseload(desk.by, _question(asked, desk), asked.by, known)
    )


@router.get("/{metric}", summary="指标 · A metric", responses=problems())
def rates(metric: s.Rates, asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.MetricAnswer:
    """一项指标的各个数字，含分子、分母、除外情形和上期对比。The figures of a metric, each with what
    it is made of, what is left out and why, and the same of the window before."""
    known = desk.known(asked.position, seen)
    return metric_answer(
        desk.services.gateway.figures.answer(
            desk.by, METRICS[metric], _question(asked, desk), asked.by, known
        )
    )


@router.get(
    "/{metric}/{figure}/cases", summary="指标下钻 · Cases behind a figure", responses=problems(404)
)
def behind(
    metric: s.MetricName,
    figure: s.FigureName,
    wanted: Annotated[s.BehindQuery, Query()],
    desk: AtDesk,
    seen: Seen = 0,
) -> s.CountedPage:
    """一个数字由哪些事项构成。Exactly the cases that a figure counted, or left out."""
    chosen = METRICS[metric].figure(figure)
    found = desk.services.gateway.figures.cases(
        desk.by,
        METRICS[metric],
        chosen,
        wanted.part,
        wanted.reason,
        _question(wanted, desk),
        _read_cursor(wanted.after),
        wanted.limit + 1,
        desk.known(wanted.position, seen),
    )
    rows = found[: wanted.limit]
    more = len(found) > len(rows)
    return s.CountedPage(
        rows=[s.CountedAnswer.model_validate(row) for row in rows],
        next=_cursor(rows[-1]) if more else None,
    )


def _question(asked: s.MetricQuery, desk: Desk) -> Question:
    return Question(
        now=desk.at,
        as_of=asked.as_of,
        territory=asked.territory,
        since=asked.since,
        until=asked.until,
        category=asked.category,
        size=asked.size,
        source=asked.source,
    )


# --- answers ---


def metric_answer(answer: f.Answer) -> s.MetricAnswer:
    """A metric as it is answered."""
    return s.MetricAnswer(**_common(answer))


def backlog_answer(found: f.Backlog) -> s.BacklogAnswer:
    """The backlog as it is answered."""
    return s.BacklogAnswer(
        **_common(found.answer),
        days=list(AGE_DAYS),
        calendar=s.AgesAnswer.model_validate(found.calendar),
        running=s.AgesAnswer.model_validate(found.running),
    )


def caseload_answer(found: f.Caseload) -> s.CaseloadAnswer:
    """The caseload as it is answered."""
    return s.CaseloadAnswer(
        **_common(found.answer),
        grids=[s.GridLoadAnswer.model_validate(grid) for grid in found.grids],
        without_cases=found.without_cases,
        without_workers=found.without_workers,
        by_cases=s.BalanceAnswer.model_validate(found.by_cases),
        by_residents=s.BalanceAnswer.model_validate(found.by_residents),
    )


def _common(answer: f.Answer) -> dict[str, Any]:
    metric, as_of = answer.metric, f"{answer.position}@{s.shown(answer.moment.at)}"
    return {
        "metric": metric.name,
        "zh": metric.zh,
        "en": metric.en,
        "position": answer.position,
        "as_of": as_of,
        "at": answer.moment.at,
        "window": s.WindowAnswer.model_validate(answer.question),
        "before": answer.before and s.SpanAnswer.model_validate(answer.before),
        "figures": {
            name: s.FigureAnswer(
                numerator=measured.rate.numerator,
                denominator=measured.rate.denominator,
                value=measured.rate.value,
                excluded=measured.excluded,
                before=measured.before and s.RatioAnswer.model_validate(measured.before),
                cases=_lists(metric.name, name, answer.question, as_of),
            )
            for name, measured in answer.figures.items()
        },
        "groups": [s.GroupAnswer.model_validate(group) for group in answer.groups],
    }


def _lists(metric: str, figure: str, asked: Question, as_of: str) -> dict[str, str]:
    """Where the cases behind a figure are listed, by part."""
    covered = {
        "territory": asked.territory,
        "since": asked.since and s.shown(asked.since),
        "until": asked.until and s.shown(asked.until),
        "category": asked.category,
        "size": asked.size,
        "source": asked.source,
        "as_of": as_of,
    }
    query = {name: value for name, value in covered.items() if value}
    path = f"{API}/metrics/{metric}/{figure}/cases"
    return {part.value: f"{path}?{urlencode({'part': part.value, **query})}" for part in Part}


# --- cursors ---


def _cursor(row: f.Counted) -> str:
    place = [row.at.isoformat(), row.case, row.nth]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read_cursor(cursor: str | None) -> tuple[str, str, int] | None:
    """The place of the last case that was seen.

    Raises:
        BadCursor: it is none that this list gave out.
    """
    if cursor is None:
        return None
    try:
        at, case, nth = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(case, str) or type(nth) is not int or not 0 < nth < 2**31:
            raise BadCursor
        case.encode()
        return datetime.fromisoformat(at).isoformat(), case, nth
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise BadCursor from error


# --- definitions ---

_LOADS: Final = (
    s.Definition(
        metric="caseload",
        figure="load",
        zh="人均工作量",
        en="Load per worker",
        formula_zh=f"期内立案的加权件数（大事计 {BIG_WEIGHT}，小事计 1）÷ "
        "期末在岗（未停用）的网格员人数。",
        formula_en=f"Weighted cases filed in the window (a big one counts {BIG_WEIGHT}, a small "
        "one 1) ÷ the grid's workers at its end, without those who are suspended.",
        excluded=[],
    ),
    s.Definition(
        metric="caseload",
        figure="gini",
        zh="基尼系数",
        en="Gini coefficient",
        formula_zh="各网格人均工作量（或人均居民数）x 升序排列："
        "Σ(2i−n−1)xᵢ ÷ (nΣx)；全为零时不计算。",
        formula_en="Of the loads (or residents) a worker x, ascending: Σ(2i−n−1)xᵢ ÷ (nΣx); null "
        "where all are zero.",
        excluded=[],
    ),
    s.Definition(
        metric="caseload",
        figure="variation",
        zh="变异系数",
        en="Coefficient of variation",
        formula_zh="人均工作量（或人均居民数）的总体标准差 ÷ 平均值；全为零时不计算。",
        formula_en="Population standard deviation of the loads (or residents) a worker ÷ their "
        "mean; null if all are zero.",
        excluded=[],
    ),
    s.Definition(
        metric="backlog",
        figure="calendar",
        zh="积案时长（日历）",
        en="Age of the backlog, calendar",
        formula_zh="当前时刻 − 立案时间，按未结案事项。",
        formula_en="Now − filing, of open cases.",
        excluded=[],
    ),
    s.Definition(
        metric="backlog",
        figure="running",
        zh="积案时长（时限钟）",
        en="Age of the backlog, SLA-running",
        formula_zh="本次办理的时限钟已走的时间：按时限单位计工作时间或全部时间，扣除挂账。",
        formula_en="What the clock of the present episode has counted: working time or all time, "
        "by the unit of its limit, without its pauses.",
        excluded=[],
    ),
)

DEFINITIONS: Final = (
    *(
        s.Definition(
            metric=metric.name,
            figure=figure.name,
            zh=figure.zh,
            en=figure.en,
            formula_zh=figure.formula_zh,
            formula_en=figure.formula_en,
            excluded=[
                s.Reason(reason=reason, zh=REASONS[reason][0], en=REASONS[reason][1])
                for reason in figure.excluded
            ],
        )
        for metric in METRICS.values()
        for figure in metric.figures
    ),
    *_LOADS,
)
