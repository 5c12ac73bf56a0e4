"""Reports put together from the figures (日报、周报、月报): one function asks, the others lay out.

Everything is asked as of one moment, a position of the log and a time, so a report made again as of
the same moment says the same, whatever has happened since.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial, reduce
from itertools import pairwise
from typing import Any, Final

from domain.aggregates import CATALOGUE, TERRITORY, Decider
from domain.calendar import office_time
from domain.catalogue import Catalogue
from domain.errors import Refused
from domain.history import Recorded
from domain.metrics import Ratio, change, rounded
from domain.places import depth
from domain.reports import (
    Cell,
    Column,
    Definition,
    Period,
    Report,
    Shape,
    Table,
)
from domain.roles import Actor
from domain.territory import Node, Territory
from domain.words import SIZES, SOURCES, Word
from projections.ages import AGE_DAYS, Ages
from projections.counting import By, Question
from projections.figures import Answer, Caseload, Counted, Figures, Group
from projections.measures import REASONS, Figure, Metric, Part
from projections.metrics import (
    BACKLOG,
    CONTAINMENT,
    EVALUATION,
    FLOW,
    QUALITY,
    RESPONSE,
    TIMELINESS,
)
from projections.past import AsOf, Moment

MODELS: Final = ("containment", "timeliness", "evaluation", "quality", "caseload")
"""The read models that a report is made of."""

LISTED: Final = 500
"""How many overdue cases a report names, those filed first; how many there are it always says."""

SHOWN: Final = (
    (CONTAINMENT, ("grid_small", "grid_all", "community_big", "community_all")),
    (TIMELINESS, ("on_time_rate", "closure_rate", "rework_rate")),
    (RESPONSE, ("response_rate", "dispatch_accuracy")),
    (EVALUATION, ("solved_rate", "satisfied_rate", "callback_coverage", "reopen_rate")),
    (QUALITY, ("first_contact", "repeat_rate", "filing_accuracy")),
    (FLOW, ("from_grid", "from_community", "return_rate", "ping_pong")),
)
"""The rates on a report, by metric."""

Events = Callable[[str], Sequence[Recorded[Any]]]
"""Gives all events of a stream, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which report: of the period that ``day`` lies in, or of the last one that was over, as of a
    moment; ``now`` is the present one.

    Limits pass and ages grow without an event: the present has a position of the log and a time.
    """

    period: Period
    territory: str
    day: date | None
    as_of: AsOf
    now: datetime


def report(figures: Figures, by: Actor, asked: Asked, events: Events) -> Report:
    """A report, for who may read the metrics of its territory.

    Raises:
        Refused: ``query.not_permitted``, ``territory.unknown``, ``request.position_ahead``,
            ``report.not_begun``.
        Behind: the read models do not know the position in time.
    """
    everything = Question(now=asked.now, as_of=asked.as_of, territory=asked.territory)
    backlog = figures.backlog(by, everything)
    position, at = backlog.answer.position, office_time(backlog.answer.moment.at)
    then, names = Moment(at, position), _Names.known(events, position, at.date())
    above = names.above(asked.territory)
    span = asked.period.around(asked.day) if asked.day else asked.period.before(at.date())
    window = replace(everything, as_of=then, since=span.since, until=span.until)
    earlier = window.before(then)
    if earlier is None:
        raise Refused("report.not_begun", first=str(span.first))
    assert earlier.since is not None
    ask = _Asking(figures, by, window, earlier)

    pairs = {metric.name: ask.both(metric) for metric, _ in SHOWN}
    overdue = backlog.answer.figures["overdue_share"].rate
    paused = backlog.answer.figures["paused_share"].rate
    caseload = figures.caseload(by, window)
    late = figures.cases(
        by,
        BACKLOG,
        BACKLOG.figure("overdue_share"),
        Part.NUMERATOR,
        None,
        replace(everything, as_of=then),
        limit=LISTED,
    )
    return Report(
        period=asked.period,
        territory=asked.territory,
        names=above,
        since=span.since,
        until=window.end(then),
        earlier=(earlier.since, earlier.end(then)),
        position=position,
        at=at,
        tables=(
            _work(pairs, backlog.calendar.count, overdue.numerator, paused.numerator),
            _rates(pairs),
            _intake("来源", "Source", ask.groups(FLOW, "source"), partial(_said, SOURCES)),
            _intake("大小", "Size", ask.groups(FLOW, "size"), partial(_said, SIZES)),
            _intake("类别", "Category", ask.groups(FLOW, "category"), names.category),
            _backlog(backlog.calendar, backlog.running),
            *_below(ask, names, office_time(window.end(then) - timedelta(microseconds=1)).date()),
            _grids(caseload, names, asked.territory),
            _overdue(late, overdue.numerator, names, asked.territory, at),
        ),
        definitions=tuple(_definitions()),
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks the figures for the window and for the one before, as of one moment."""

    figures: Figures
    by: Actor
    window: Question
    earlier: Question

    def both(self, metric: Metric) -> tuple[Answer, Answer]:
        """A metric in the window, and in the one before."""
        return (
            self.figures.answer(self.by, metric, self.window),
            self.figures.answer(self.by, metric, self.earlier),
        )

    def groups(self, metric: Metric, over: By) -> tuple[list[Group], list[Group]]:
        """A metric broken down, in the window and in the one before."""
        return (
            self.figures.answer(self.by, metric, self.window, over).groups,
            self.figures.answer(self.by, metric, self.earlier, over).groups,
        )


# --- names ---


@dataclass(frozen=True, slots=True)
class _Names:
    """What territories and categories were called as of the position, on the day of the report."""

    territories: Territory
    catalogue: Catalogue
    on: date

    @classmethod
    def known(cls, events: Events, position: int, on: date) -> "_Names":
        return cls(_as_of(events, TERRITORY, position), _as_of(events, CATALOGUE, position), on)

    def above(self, path: str) -> tuple[str, ...]:
        """The names from the district down to a territory."""
        return self.territories.names(path, self.on)

    def territory(self, path: str) -> str:
        node = self._node(path)
        return node.called(self.on) if node else path

    def inside(self, path: str, top: str) -> str:
        """The names from below a territory down to one in it: many communities have a grid of the
        same name."""
        names = self.above(path) if self._node(path) else (path,)
        return " / ".join(names[depth(top) :] or names[-1:])

    def ended(self, path: str, on: date) -> bool:
        """Whether a territory was split or merged by a day."""
        node = self._node(path)
        end = node.last.valid_to if node else None
        return end is not None and end <= on

    def _node(self, path: str) -> Node | None:
        try:
            return self.territories.node(path)
        except Refused:
            return None

    def category(self, code: str) -> Word:
        known = self.catalogue.categories.get(code)
        return Word(known.name_zh, known.name_en) if known else Word(code, code)


def _as_of(events: Events, decider: Decider, position: int) -> Any:
    held = (each.event for each in events(decider.name) if each.position <= position)
    return reduce(decider.evolve, held, decider.initial)


def _said(words: Mapping[str, Word], key: str) -> Word:
    return words.get(key, Word(key, key))


# --- tables ---

_NOW: Final = Column(Word("本期", "this period"), Shape.COUNT)
_THEN: Final = Column(Word("上期", "before"), Shape.COUNT)
_MORE: Final = Column(Word("增减", "change"), Shape.CHANGE)


def _work(
    pairs: Mapping[str, tuple[Answer, Answer]], open_: int, overdue: int, paused: int
) -> Table:
    """What came in, what was done, what is left."""

    def counts(of: Callable[[Answer], int], metric: str) -> tuple[int, int]:
        now, before = pairs[metric]
        return of(now), of(before)

    def part(figure: str, name: str) -> Callable[[Answer], int]:
        return lambda answer: int(getattr(answer.figures[figure].rate, name))

    def closed(answer: Answer) -> int:
        rate = answer.figures["closure_rate"]
        return _closed(rate.rate, rate.excluded)

    rows: list[tuple[Cell, ...]] = []
    for zh, en, (now, before) in (
        ("立案", "Filed", counts(part("escalated", "denominator"), "flow")),
        ("结案", "Closed", counts(closed, "timeliness")),
        ("按期结案", "Closed on time", counts(part("on_time_rate", "numerator"), "timeliness")),
        ("上报上级（件）", "Went up", counts(part("escalated", "numerator"), "flow")),
        ("退回下级（件）", "Were returned", counts(part("returned", "numerator"), "flow")),
        ("重办", "Reopened", counts(part("reopened", "numerator"), "flow")),
    ):
        rows.append((Word(zh, en), now, before, now - before))
    rows += (
        (Word("在办", "Open"), open_, None, None),
        (Word("其中超期", "of them overdue"), overdue, None, None),
        (Word("其中挂账", "of them parked"), paused, None, None),
    )
    return Table(
        word=Word("办理情况", "Work"),
        columns=(Column(Word("项目", "item")), _NOW, _THEN, _MORE),
        rows=rows,
        note=Word(
            "上报、退回和重办按期内立案的事项计；在办、超期和挂账为截至本报告时点的数。",
            "Moves and reopenings are those of the cases filed in the period; what is open, "
            "overdue and parked is as of the moment of this report.",
        ),
    )


def _closed(rate: Ratio, excluded: Mapping[str, int]) -> int:
    """All that was closed, also what had no deadline to be judged by."""
    return rate.numerator + excluded["no_deadline"]


def _rates(pairs: Mapping[str, tuple[Answer, Answer]]) -> Table:
    """All rates with what they are made of."""
    rows: list[tuple[Cell, ...]] = []
    for metric, names in SHOWN:
        now, before = pairs[metric.name]
        for name in names:
            figure, rate = metric.figure(name), now.figures[name].rate
            was = before.figures[name].rate
            rows.append(
                (
                    Word(figure.zh, figure.en),
                    rate.numerator,
                    rate.denominator,
                    rate.value,
                    was.value,
                    change(rate, was),
                    _left_out(now.figures[name].excluded),
                )
            )
    return Table(
        word=Word("指标", "Figures"),
        columns=(
            Column(Word("指标", "figure")),
            Column(Word("分子", "of"), Shape.COUNT),
            Column(Word("分母", "among"), Shape.COUNT),
            Column(Word("本期", "this period"), Shape.RATE),
            Column(Word("上期", "before"), Shape.RATE),
            Column(Word("百分点", "points"), Shape.POINTS),
            Column(Word("未计入", "left out")),
        ),
        rows=rows,
    )


def _left_out(excluded: Mapping[str, int]) -> str:
    return "、".join(f"{REASONS[reason][0]} {n}" for reason, n in excluded.items() if n)


def _intake(
    zh: str, en: str, groups: tuple[list[Group], list[Group]], said: Callable[[str], Word]
) -> Table:
    """Cases filed, by one of their marks; the most frequent first."""
    now, before = (
        {group.key: group.figures["escalated"].denominator for group in each} for each in groups
    )
    keys = sorted(now.keys() | before.keys(), key=lambda key: (-now.get(key, 0), key))
    rows = [
        (said(key), now.get(key, 0), before.get(key, 0), now.get(key, 0) - before.get(key, 0))
        for key in keys
        if now.get(key, 0) or before.get(key, 0)
    ]
    return Table(
        word=Word(f"立案{zh}", f"Filed by {en.lower()}"),
        columns=(Column(Word(zh, en.lower())), _NOW, _THEN, _MORE),
        rows=rows,
    )


def _backlog(calendar: Ages, running: Ages) -> Table:
    """How old what is open is."""
    names = [
        *(
            Word(f"{low}–{high} 天", f"{low} to {high} days")
            for low, high in pairwise((0, *AGE_DAYS))
        ),
        Word(f"{AGE_DAYS[-1]} 天以上", f"{AGE_DAYS[-1]} days and more"),
    ]
    rows: list[tuple[Cell, ...]] = [
        *zip(names, calendar.buckets, running.buckets, strict=True),
        (Word("中位数（天）", "median, days"), _days(calendar.p50), _days(running.p50)),
        (Word("九成以内（天）", "90 %, days"), _days(calendar.p90), _days(running.p90)),
        (Word("最久（天）", "oldest, days"), _days(calendar.oldest), _days(running.oldest)),
    ]
    return Table(
        word=Word("在办时长", "Age of what is open"),
        columns=(
            Column(Word("时长", "age")),
            Column(Word("自立案起", "since filing"), Shape.NUMBER),
            Column(Word("时限计时", "by its clock"), Shape.NUMBER),
        ),
        rows=rows,
        note=Word(
            "时限计时只计各事项时限所计的时间（工作时间或自然时间，挂账除外），折合成天。",
            "By its clock: only time that counts for a case's limit (working or calendar time, "
            "without pauses), in days.",
        ),
    )


def _days(seconds: int | None) -> float | None:
    return None if seconds is None else seconds / 86_400


def _below(ask: _Asking, names: _Names, last: date) -> list[Table]:
    """The territories directly below as of the last day, side by side; none for a grid."""
    kept, _ = ask.groups(CONTAINMENT, "territory")
    done, _ = ask.groups(TIMELINESS, "territory")
    flow, _ = ask.groups(FLOW, "territory")
    by_path: dict[str, dict[str, Ratio]] = {}
    for group in (*flow, *kept, *done):
        by_path.setdefault(group.key, {}).update(group.figures)
    closed = {g.key: _closed(g.figures["closure_rate"], g.excluded["closure_rate"]) for g in done}
    if set(by_path) <= {ask.window.territory}:
        return []
    nothing = Ratio(numerator=0, denominator=0)
    rows: list[tuple[Cell, ...]] = []
    for path, found in sorted(by_path.items()):
        name = names.territory(path)
        said: Cell = name
        if path == ask.window.territory:
            said = Word(f"{name}（本级）", f"{name} itself")
        elif names.ended(path, last):
            said = Word(f"{name}（已撤并）", f"{name}, ended")
        rows.append(
            (
                said,
                found.get("escalated", nothing).denominator,
                closed.get(path, 0),
                found.get("on_time_rate", nothing).value,
                found.get("grid_small", nothing).value,
                found.get("community_all", nothing).value,
                found.get("escalated", nothing).numerator,
            )
        )
    return [
        Table(
            word=Word("下级属地", "Territories below"),
            columns=(
                Column(Word("属地", "territory")),
                Column(Word("立案", "filed"), Shape.COUNT),
                Column(Word("结案", "closed"), Shape.COUNT),
                Column(Word("按期结案率", "on time"), Shape.RATE),
                Column(Word("小事不出网格率", "kept in the grid"), Shape.RATE),
                Column(Word("不出社区率", "kept in the community"), Shape.RATE),
                Column(Word("上报上级", "went up"), Shape.COUNT),
            ),
            rows=rows,
        )
    ]


def _grids(caseload: Caseload, names: _Names, top: str) -> Table:
    """How much each grid within a territory carries."""
    zh = f"没有事项的网格 {caseload.without_cases} 个，没有网格员的 {caseload.without_workers} 个。"
    en = (
        f"Grids without cases: {caseload.without_cases}, without workers: "
        f"{caseload.without_workers}."
    )
    if caseload.by_cases.gini is not None and caseload.by_cases.variation is not None:
        gini, cv = rounded(caseload.by_cases.gini, 3), rounded(caseload.by_cases.variation, 3)
        zh += f"基尼系数 {gini}，变异系数 {cv}。"
        en += f" Gini {gini}, CV {cv}."
    return Table(
        word=Word("网格工作量", "Workload by grid"),
        columns=(
            Column(Word("网格", "grid")),
            Column(Word("立案", "filed"), Shape.COUNT),
            Column(Word("加权件数", "weighted"), Shape.COUNT),
            Column(Word("网格员", "workers"), Shape.COUNT),
            Column(Word("人均加权", "weighted each"), Shape.NUMBER),
            Column(Word("户数", "households"), Shape.COUNT),
            Column(Word("人数", "residents"), Shape.COUNT),
        ),
        rows=[
            (
                names.inside(grid.path, top),
                grid.cases,
                grid.weighted,
                grid.workers,
                grid.load,
                grid.households,
                grid.residents,
            )
            for grid in caseload.grids
        ],
        note=Word(zh, en),
    )


def _overdue(late: Sequence[Counted], in_all: int, names: _Names, top: str, at: datetime) -> Table:
    """What is open in a territory although it was due: by its id, without a word of what it is
    about."""
    note = None
    if in_all > len(late):
        note = Word(
            f"共 {in_all} 件，列出立案最早的 {len(late)} 件。",
            f"{in_all} in all; listed are the {len(late)} filed first.",
        )
    return Table(
        word=Word("超期未结", "Open and overdue"),
        columns=(
            Column(Word("事项编号", "case")),
            Column(Word("属地", "territory")),
            Column(Word("类别", "category")),
            Column(Word("大小", "size")),
            Column(Word("来源", "source")),
            Column(Word("立案时间", "filed"), Shape.TIME),
            Column(Word("已历天数", "days since"), Shape.NUMBER),
        ),
        rows=[
            (
                case.case,
                names.inside(case.territory, top),
                names.category(case.category),
                _said(SIZES, case.size),
                _said(SOURCES, case.source),
                case.at,
                _days(int((at - case.at).total_seconds())),
            )
            for case in late
        ],
        note=note,
    )


def _definitions() -> Sequence[Definition]:
    found: list[Definition] = []
    for metric, shown in SHOWN:
        found += (_definition(metric.figure(name)) for name in shown)
    return found


def _definition(figure: Figure) -> Definition:
    return Definition(
        Word(figure.zh, figure.en),
        Word(figure.formula_zh, figure.formula_en),
        tuple(Word(*REASONS[reason]) for reason in figure.excluded),
    )
