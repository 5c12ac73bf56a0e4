"""The figures of governance, each with what it is made of and the log position it was taken at."""

from typing import Annotated, Final

from fastapi import Query

from api import schemas as s
from api.auth import AtDesk, Seen, routes
from api.errors import problems
from projections.gateway import BIG_WEIGHT, Window

router: Final = routes("/metrics", ["指标 Metrics"])

Asked = Annotated[s.MetricQuery, Query()]


@router.get("", summary="指标定义 · Definitions", responses=problems())
def definitions(desk: AtDesk) -> s.Definitions:
    """每个数字的含义和算法。What every figure means and how it is reckoned."""
    return s.Definitions(rows=list(DEFINITIONS))


@router.get("/containment", summary="小事不出网格 · Containment", responses=problems())
def containment(asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.ContainmentAnswer:
    """小事不出网格率、大事不出社区率。Did a matter stay where it belongs."""
    known = desk.known(asked.position, seen)
    found = desk.services.gateway.containment(desk.by, _window(asked), known)
    return s.ContainmentAnswer.model_validate(found)


@router.get("/timeliness", summary="按期结案 · Timeliness", responses=problems())
def timeliness(asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.TimelinessAnswer:
    """按期结案率、结案率。Was a case closed by its adjusted due."""
    known = desk.known(asked.position, seen)
    found = desk.services.gateway.timeliness(desk.by, _window(asked), known)
    return s.TimelinessAnswer.model_validate(found)


@router.get("/caseload", summary="网格工作量 · Caseload", responses=problems())
def caseload(asked: Asked, desk: AtDesk, seen: Seen = 0) -> s.CaseloadAnswer:
    """各网格的工作量和均衡程度。How much each grid carries, and how evenly."""
    known = desk.known(asked.position, seen)
    found = desk.services.gateway.caseload(desk.by, _window(asked), known)
    return s.CaseloadAnswer.model_validate(found)


def _window(asked: s.MetricQuery) -> Window:
    return Window(territory=asked.territory, since=asked.since, until=asked.until)


DEFINITIONS: Final = (
    s.Definition(
        metric="containment",
        figure="grid_small",
        zh="小事不出网格率",
        en="Grid containment of small matters",
        formula_zh="期内结案、结果为已解决、最高层级为网格的网格受理小事 ÷ 期内结案的网格受理小事;"
        "作废、不予立案、并案和按规定须直接上报的事项除外。",
        formula_en="Small cases taken in at the grid that were closed as resolved in the window "
        "and never went above the grid ÷ all such cases closed in the window; void, rejected, "
        "merged and those that must by rule go up are left out.",
    ),
    s.Definition(
        metric="containment",
        figure="grid_all",
        zh="不出网格率(全部)",
        en="Grid containment of all sizes",
        formula_zh="同小事不出网格率,不分大小。",
        formula_en="As grid containment of small matters, for all sizes.",
    ),
    s.Definition(
        metric="containment",
        figure="community_big",
        zh="大事不出社区率",
        en="Community containment of big matters",
        formula_zh="期内结案、结果为已解决、最高层级不高于社区的大事 ÷ 期内结案的大事;"
        "按规定须直接上报的事项除外。",
        formula_en="Big cases closed as resolved in the window that never went above the community "
        "÷ big cases closed in the window; those that must by rule go up are left out.",
    ),
    s.Definition(
        metric="containment",
        figure="community_small",
        zh="小事不出社区率",
        en="Community containment of small matters",
        formula_zh="同大事不出社区率,按小事计算。",
        formula_en="As community containment of big matters, for small ones.",
    ),
    s.Definition(
        metric="containment",
        figure="community_all",
        zh="不出社区率(全部)",
        en="Community containment of all sizes",
        formula_zh="同大事不出社区率,不分大小。",
        formula_en="As community containment of big matters, for all sizes.",
    ),
    s.Definition(
        metric="timeliness",
        figure="on_time_rate",
        zh="按期结案率",
        en="On-time closure",
        formula_zh="按期结案 ÷ 应结案;应结案 = 期内结案 + 期末前到期仍未结案。",
        formula_en="Closed on time ÷ due; due is what was closed in the window and what was open "
        "although its adjusted due lay before the window's end.",
    ),
    s.Definition(
        metric="timeliness",
        figure="closure_rate",
        zh="结案率",
        en="Closure rate",
        formula_zh="期内结案 ÷ 应结案。",
        formula_en="Closed in the window ÷ due.",
    ),
    s.Definition(
        metric="caseload",
        figure="load",
        zh="人均工作量",
        en="Load per worker",
        formula_zh=f"期内立案的加权件数(大事计 {BIG_WEIGHT},小事计 1)÷ 网格员人数。",
        formula_en=f"Weighted cases filed in the window (a big one counts {BIG_WEIGHT}, a small "
        "one 1) ÷ workers of the grid.",
    ),
    s.Definition(
        metric="caseload",
        figure="gini",
        zh="基尼系数",
        en="Gini coefficient",
        formula_zh="各网格人均工作量 x 升序排列:Σ(2i−n−1)xᵢ ÷ (nΣx);全为零时不计算。",
        formula_en="Of the loads x, ascending: Σ(2i−n−1)xᵢ ÷ (nΣx); null where all are zero.",
    ),
    s.Definition(
        metric="caseload",
        figure="variation",
        zh="变异系数",
        en="Coefficient of variation",
        formula_zh="人均工作量的总体标准差 ÷ 平均值;全为零时不计算。",
        formula_en="Population standard deviation of the loads ÷ their mean; null if all are zero.",
    ),
)
