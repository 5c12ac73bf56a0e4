"""指标: the figures of governance, each with what it is made of and the cases behind it.

A page is a frame that answers at once; each group of figures comes as a part of its own, asked of
the same metrics as the API. A page of the past pins every part to one position of the log.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

from fastapi import Query
from fastapi.responses import Response
from pydantic import BeforeValidator, PlainValidator, model_validator

from api import metrics as api
from api.auth import CONSOLE
from api.console import maps
from api.console.pages import in_tree, page, percent
from api.console.session import AtConsole, Visitor, pages
from api.schemas import metrics as m
from api.schemas import words as s
from api.services import API
from domain.calendar import FIRST_YEAR, LAST_YEAR, OFFICE_TIME, office_time
from domain.case.commands import EscalationReason, Source
from domain.catalogue import Size
from domain.errors import Refused
from domain.metrics import Ratio, change, rounded
from domain.places import EVERYWHERE, Tier, within
from domain.reports import PERIODS, Period
from domain.roles import Reading, scope
from domain.territory import Node, Territory
from projections import figures as f
from projections.counting import By, Question
from projections.measures import REASONS, Part
from projections.metrics import METRICS
from projections.past import AsOf, Moment

router: Final = pages("/metrics")

Window = Literal["week", "month", "quarter", "year", "custom"]

WINDOWS: Final = {
    "week": ("本周", "This week"),
    "month": ("本月", "This month"),
    "quarter": ("本季", "This quarter"),
    "year": ("本年", "This year"),
    "custom": ("自定义", "Custom"),
}

_CALENDAR: Final[dict[Window, Period]] = {
    "week": Period.WEEKLY,
    "month": Period.MONTHLY,
    "quarter": Period.QUARTERLY,
    "year": Period.YEARLY,
}

TREND_MONTHS: Final = 12
TREND_WEEKS: Final = 26
"""How far back a trend goes from the end of the window."""

GRIDS_SHOWN: Final = 40
"""Bars of one chart; the table beside it has all grids."""

COMPARED: Final[tuple[tuple[m.MetricName, tuple[str, ...]], ...]] = (
    ("containment", ("grid_small", "community_big")),
    ("timeliness", ("on_time_rate", "closure_rate", "rework_rate")),
    ("response", ("response_rate", "dispatch_accuracy")),
    ("evaluation", ("solved_rate", "satisfied_rate", "callback_coverage", "reopen_rate")),
    ("quality", ("first_contact", "repeat_rate", "filing_accuracy")),
    ("flow", ("from_grid", "from_community", "return_rate")),
    ("backlog", ("overdue_share", "paused_share")),
)
"""Which figures two moments are compared by."""


def moment_of(text: Any) -> AsOf | None:
    """A moment as a page gives it: a day (its end), a time in office time, or as the API has it."""
    if not isinstance(text, str) or not text.strip():
        return None
    text = text.strip()
    try:
        if len(text) == 10 and "-" in text:
            return _sensible(midnight(date.fromisoformat(text) + timedelta(days=1)))
        if len(text) == 16 and "T" in text:
            return _sensible(datetime.fromisoformat(text).replace(tzinfo=OFFICE_TIME))
    except (ValueError, OverflowError) as error:
        raise ValueError("a day, a time or a position of the log") from error
    return s.read_as_of(text)


def _sensible(at: datetime) -> datetime:
    """A time of a year that the API takes too: half a year typed is the year 2, or 20."""
    if not FIRST_YEAR < at.year < LAST_YEAR:
        raise ValueError(at)
    return at


Then = Annotated[AsOf | None, PlainValidator(moment_of)]


class Filled(s.Query):
    """The query of a page's own form: what was left empty was not asked."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        return {k: v for k, v in given.items() if v != ""} if isinstance(given, Mapping) else given


Shade = Literal["open", "overdue", "grid_small", "on_time"]


class Asked(Filled):
    """What the figures cover. ``until`` is the last day; both days count only for ``custom``."""

    territory: s.Scope = ""
    window: Window = "month"
    since: s.Day | None = None
    until: s.Day | None = None
    category: s.Id | None = None
    size: Size | None = None
    source: Source | None = None
    as_of: Then = None
    against: Then = None
    step: Annotated[Literal["week", "month"], BeforeValidator(lambda v: v or "month")] = "month"
    shade: Shade = "open"


@dataclass(frozen=True, slots=True)
class Span:
    """A window in instants; without an end, or before it, it reaches to the moment asked about."""

    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One figure as a page shows it; ``links`` lead to the cases, by part."""

    metric: str
    name: str
    zh: str
    en: str
    value: float | None
    numerator: int
    denominator: int
    excluded: Sequence[tuple[str, str, str, int]]
    before: m.RatioAnswer | None
    links: Mapping[str, str]
    definition: m.Definition

    @property
    def change(self) -> Decimal | None:
        """Since the window before, in percentage points to one decimal."""
        return _points(self, self.before) if self.before else None


def _points(now: Shown, before: Shown | m.RatioAnswer) -> Decimal | None:
    """The change of a rate in percentage points, as it is shown."""
    moved = change(
        *(Ratio(numerator=r.numerator, denominator=r.denominator) for r in (now, before))
    )
    return None if moved is None else rounded(moved, 3) * 100


_DEFINITIONS: Final = {(each.metric, each.figure): each for each in api.DEFINITIONS}


class Board:
    """Answers one page's questions: what was asked, resolved to a moment and a territory."""

    def __init__(self, me: Visitor, asked: Asked) -> None:
        """Raises: Refused ``query.not_permitted``, ``request.position_ahead``."""
        seen = scope(me.desk.by, Reading.METRICS).territories
        if not seen:
            raise Refused("query.not_permitted", reading=Reading.METRICS.value)
        if EVERYWHERE not in seen:
            seen = tuple(node.path for node in in_tree(me.desk.office.territory, seen))
        self.me, self.asked, self.seen = me, asked, seen
        self.territory = asked.territory or _home(me, seen)
        if self.territory:
            me.desk.office.territory.node(self.territory)
            if not any(within(self.territory, path) for path in seen):
                raise Refused("query.not_permitted", reading=Reading.METRICS.value)
        self.then: Moment = me.desk.services.gateway.moment(asked.as_of, me.desk.at)

    def question(self, span: Span | None = None, then: Moment | None = None) -> Question:
        """What is asked of a metric, for the page's window or another."""
        then = then or self.then
        span = span or self.span(then)
        return Question(
            now=self.me.desk.at,
            as_of=then if then.position is not None else None,
            territory=self.territory,
            since=span.since,
            until=span.until,
            category=self.asked.category,
            size=self.asked.size,
            source=self.asked.source,
        )

    def span(self, then: Moment | None = None) -> Span:
        """The window as of a moment: a period of the calendar to its end, or what was chosen."""
        if self.asked.window == "custom":
            since, until = self.asked.since, self.asked.until
            end = midnight(until + timedelta(days=1)) if until else None
            return Span(midnight(since) if since else None, end)
        period = _CALENDAR[self.asked.window].around(self.day(then))
        return Span(period.since, period.until)

    def day(self, then: Moment | None = None) -> date:
        """The day of a moment: the one that it ends, if it is a midnight."""
        return office_time((then or self.then).at - timedelta(microseconds=1)).date()

    def answer(
        self, metric: str, over: By | None = None, span: Span | None = None
    ) -> m.MetricAnswer:
        """A metric, broken down or not."""
        found = self._figures.answer(
            self.me.desk.by, METRICS[metric], self.question(span), over, self._position
        )
        return api.metric_answer(found)

    def backlog(self) -> m.BacklogAnswer:
        """What is open, whenever it was filed."""
        everything = Span(None, None)
        found = self._figures.backlog(
            self.me.desk.by, self.question(everything), None, self._position
        )
        return api.backlog_answer(found)

    def caseload(self) -> m.CaseloadAnswer:
        """What each grid carries."""
        found = self._figures.caseload(self.me.desk.by, self.question(), None, self._position)
        return api.caseload_answer(found)

    @property
    def _figures(self) -> f.Figures:
        return self.me.desk.services.gateway.figures

    @property
    def _position(self) -> int:
        return self.me.seen if self.then.position is None else 0

    def address(self, **changed: Any) -> str:
        """This page with something else asked."""
        kept = self.query() | changed
        query = urlencode({k: v for k, v in kept.items() if v not in (None, "")})
        return f"{CONSOLE}/metrics?{query}" if query else f"{CONSOLE}/metrics"

    def query(self) -> dict[str, Any]:
        """What was asked, as a query string has it; the past by its pinned moment."""
        asked = self.asked
        return {
            "territory": asked.territory or None,
            "window": asked.window if asked.window != "month" else None,
            "since": asked.since and asked.since.isoformat(),
            "until": asked.until and asked.until.isoformat(),
            "category": asked.category,
            "size": asked.size and asked.size.value,
            "source": asked.source and asked.source.value,
            "as_of": pinned(self.then),
        }

    def part(self, name: str, **changed: Any) -> str:
        """Where a part of the page is; of the past at the very moment that the page shows."""
        kept = self.query() | {"territory": self.territory or None} | changed
        query = urlencode({k: v for k, v in kept.items() if v not in (None, "")})
        return f"{CONSOLE}/metrics/parts/{name}" + (f"?{query}" if query else "")


def pinned(then: Moment) -> str | None:
    """A moment of the past as addresses carry it; None for the present."""
    return None if then.position is None else f"{then.position}@{m.shown(then.at)}"


def shown(answer: m.MetricAnswer, name: str) -> Shown:
    """A figure of an answer with its words, its exclusions and its ways to the cases."""
    figure, definition = answer.figures[name], _DEFINITIONS[answer.metric, name]
    return Shown(
        metric=answer.metric,
        name=name,
        zh=definition.zh,
        en=definition.en,
        value=figure.value,
        numerator=figure.numerator,
        denominator=figure.denominator,
        excluded=[(why, *REASONS[why], count) for why, count in figure.excluded.items() if count],
        before=figure.before,
        links={part: path.replace(API, CONSOLE, 1) for part, path in figure.cases.items()},
        definition=definition,
    )


# --- pages ---


@router.get("")
def metrics(me: AtConsole, asked: Annotated[Asked, Query()]) -> Response:
    """The frame: what is asked, and where each part is."""
    at = Board(me, asked)
    head = me.desk.services.gateway.head()
    return page(
        me,
        "metrics.html",
        at=at,
        asked=asked,
        span=at.span(),
        windows=WINDOWS,
        places=_places_of(at),
        categories=_categories(me),
        sizes=list(Size),
        sources=list(Source),
        periods=PERIODS,
        report_places=_report_places(at),
        head=head,
        past=at.then.position is not None,
        today=at.day(),
        parts=_PARTS,
    )


@router.get("/parts/{part}")
def metrics_part(part: str, me: AtConsole, asked: Annotated[Asked, Query()]) -> Response:
    """One group of figures."""
    at = Board(me, asked)
    if part not in _PARTS:
        raise Refused("query.no_such_figure", metric="page", figure=part)
    return page(me, "metrics-parts.html", part=part, at=at, asked=asked, **_PARTS[part](at))


@router.get("/compare")
def metrics_compare(me: AtConsole, asked: Annotated[Asked, Query()]) -> Response:
    """Two moments beside each other: the same figures as they stood at each."""
    at = Board(me, asked)
    other = Board(me, asked.model_copy(update={"as_of": asked.against}))
    rows: list[tuple[Shown, Shown, Decimal | None]] = []
    for metric, names in COMPARED:
        ours, theirs = (
            side.backlog() if metric == "backlog" else side.answer(metric) for side in (at, other)
        )
        for name in names:
            one, another = shown(ours, name), shown(theirs, name)
            rows.append((one, another, _points(another, one)))
    return page(me, "metrics-compare.html", at=at, other=other, asked=asked, rows=rows)


@router.get("/{metric}/{figure}/cases")
def metrics_cases(
    metric: m.MetricName,
    figure: m.FigureName,
    me: AtConsole,
    wanted: Annotated[m.BehindQuery, Query()],
) -> Response:
    """Exactly the cases behind a figure, as many as it says."""
    found = api.behind(metric, figure, wanted, me.desk, me.seen)
    chosen = METRICS[metric].figure(figure)
    question = Question(
        now=me.desk.at,
        as_of=wanted.as_of,
        territory=wanted.territory,
        since=wanted.since,
        until=wanted.until,
        category=wanted.category,
        size=wanted.size,
        source=wanted.source,
    )
    answer = api.metric_answer(
        me.desk.services.gateway.figures.answer(
            me.desk.by, METRICS[metric], question, None, 0 if wanted.as_of else me.seen
        )
    )
    counted = answer.figures[figure]
    total = {
        Part.NUMERATOR: counted.numerator,
        Part.DENOMINATOR: counted.denominator,
        Part.EXCLUDED: counted.excluded[wanted.reason]
        if wanted.reason
        else sum(counted.excluded.values()),
    }[wanted.part]
    # Asked again with what this answer says of itself: the next page is of the same moment.
    query = {
        "part": wanted.part.value,
        "reason": wanted.reason,
        "territory": wanted.territory,
        "since": wanted.since and m.shown(wanted.since),
        "until": wanted.until and m.shown(wanted.until),
        "category": wanted.category,
        "size": wanted.size and wanted.size.value,
        "source": wanted.source and wanted.source.value,
        "as_of": answer.as_of,
        "limit": wanted.limit,
    }
    kept = {k: v for k, v in query.items() if v}
    address = f"{CONSOLE}/metrics/{metric}/{figure}/cases"
    return page(
        me,
        "metrics-cases.html",
        found=found,
        answer=answer,
        figure=shown(answer, figure),
        weighed=chosen.weight(wanted.part) != "1",
        wanted=wanted,
        total=total,
        reason=REASONS.get(wanted.reason or ""),
        categories=_categories(me),
        address=f"{address}?{urlencode(kept)}",
        switch={part.value: f"{address}?{urlencode(kept | {'part': part.value})}" for part in Part},
    )


# --- parts ---


def _containment(at: Board) -> dict[str, Any]:
    answer, flow = at.answer("containment"), at.answer("flow")
    filed = flow.figures["reached_grid"].denominator
    reached = [flow.figures[f"reached_{tier.word}"].numerator for tier in Tier]
    # How many came at least as far as each tier: what ended lower never went there.
    steps = [(tier, sum(reached[tier - 1 :])) for tier in Tier]
    return {
        "answer": answer,
        "figures": [shown(answer, name) for name in ("grid_small", "community_big")],
        "more": [shown(answer, name) for name in ("grid_all", "community_small", "community_all")],
        "filed": filed,
        "steps": [(tier, count, shown(flow, f"reached_{tier.word}")) for tier, count in steps],
    }


def _timeliness(at: Board) -> dict[str, Any]:
    answer = at.answer("timeliness")
    return {
        "answer": answer,
        "figures": [shown(answer, name) for name in ("on_time_rate", "closure_rate")],
    }


def _evaluation(at: Board) -> dict[str, Any]:
    answer, response = at.answer("evaluation"), at.answer("response")
    return {
        "answer": answer,
        "figures": [
            shown(response, "response_rate"),
            shown(answer, "solved_rate"),
            shown(answer, "satisfied_rate"),
            shown(answer, "callback_coverage"),
        ],
    }


def _quality(at: Board) -> dict[str, Any]:
    answer = at.answer("quality")
    late, ended, sent = at.answer("timeliness"), at.answer("evaluation"), at.answer("response")
    return {
        "answer": answer,
        "figures": [
            shown(answer, "first_contact"),
            shown(answer, "repeat_rate"),
            shown(late, "rework_rate"),
            shown(ended, "reopen_rate"),
            shown(answer, "filing_accuracy"),
            shown(sent, "dispatch_accuracy"),
        ],
    }


def _flow(at: Board) -> dict[str, Any]:
    answer = at.answer("flow")
    tiers = (Tier.GRID, Tier.COMMUNITY, Tier.SUBDISTRICT)
    ups = [(tier, shown(answer, f"from_{tier.word}")) for tier in tiers]
    reasons = [
        (reason, [shown(answer, f"from_{tier.word}_{reason.value}") for tier in tiers])
        for reason in EscalationReason
    ]
    return {
        "answer": answer,
        "ups": ups,
        "most": max(1, *(figure.numerator for _, figure in ups)),
        "reached": [(tier, shown(answer, f"reached_{tier.word}")) for tier in Tier],
        "returns": shown(answer, "return_rate"),
        "shares": [
            shown(answer, name) for name in ("escalated", "returned", "ping_pong", "reopened")
        ],
        "reasons": [row for row in reasons if any(each.numerator for each in row[1])],
        "tiers": tiers,
    }


def _backlog(at: Board) -> dict[str, Any]:
    answer = at.backlog()
    return {
        "answer": answer,
        "figures": [shown(answer, name) for name in ("overdue_share", "paused_share")],
        "calendar_definition": _DEFINITIONS["backlog", "calendar"],
        "running_definition": _DEFINITIONS["backlog", "running"],
    }


def _caseload(at: Board) -> dict[str, Any]:
    answer = at.caseload()
    tree, on = at.me.desk.office.territory, at.day()
    ranked = [
        grid.model_copy(update={"name": tree.node(grid.path).called(on)})
        for grid in sorted(answer.grids, key=lambda grid: (-(grid.load or 0), grid.path))
    ]
    return {
        "answer": answer,
        "figures": [shown(answer, "weight")],
        "grids": ranked,
        "bars": ranked[:GRIDS_SHOWN],
        "definitions": {
            name: _DEFINITIONS["caseload", name] for name in ("load", "gini", "variation")
        },
    }


TREND: Final[tuple[tuple[m.MetricName, str], ...]] = (
    ("timeliness", "on_time_rate"),
    ("containment", "grid_small"),
    ("containment", "community_big"),
    ("evaluation", "satisfied_rate"),
)
"""Which figures a trend shows."""


def _trend(at: Board) -> dict[str, Any]:
    end = min(at.span().until or at.then.at, at.then.at)
    last = office_time(end - timedelta(microseconds=1)).date()
    weekly = at.asked.step == "week"
    if weekly:
        monday = last - timedelta(days=last.weekday())
        starts = [monday - timedelta(days=7 * n) for n in reversed(range(TREND_WEEKS))]
    else:
        months = [last.year * 12 + last.month - 1 - n for n in reversed(range(TREND_MONTHS))]
        starts = [date(n // 12, n % 12 + 1, 1) for n in months]
    span = Span(midnight(starts[0]), at.span().until)
    answers = {metric: at.answer(metric, at.asked.step, span) for metric in dict(TREND)}
    found = {
        (metric, group.key): group.figures
        for metric, each in answers.items()
        for group in each.groups
    }
    names = {start: str(start) if weekly else f"{start:%Y-%m}" for start in starts}
    return {
        "answer": answers["timeliness"],
        "series": [_DEFINITIONS[key] for key in TREND],
        "rows": [
            (
                start,
                [found.get((metric, name), {}).get(figure) for metric, figure in TREND],
                _ended(start, weekly),
            )
            for start, name in names.items()
        ],
        "weekly": weekly,
    }


def _territories(at: Board) -> dict[str, Any]:
    columns = TREND
    answers = {metric: at.answer(metric, "territory") for metric in dict(columns)}
    known = {
        metric: {group.key: group.figures for group in answer.groups}
        for metric, answer in answers.items()
    }
    on, tree = at.day(), at.me.desk.office.territory
    # One who works in several places asks for all of them; what lies directly in each is no table.
    single = at.territory or (EVERYWHERE if EVERYWHERE in at.seen else None)
    below: dict[str, Node] = {}
    if single is not None:
        below = {node.path: node for node in tree.children(single, on)}
        # What was done in a grid that has ended since, or in the territory itself, is of it too.
        counted = {path for groups in known.values() for path in groups} - below.keys()
        below |= {path: tree.node(path) for path in sorted(counted)}
    return {
        "answer": answers["timeliness"],
        "columns": [_DEFINITIONS[key] for key in columns],
        "single": single,
        "rows": [
            (
                node.path,
                node.called(on),
                not node.in_force(on),
                [known[metric].get(path, {}).get(name) for metric, name in columns],
            )
            for path, node in below.items()
            if below.keys() - {single}
        ],
    }


SHADES: Final[dict[Shade, tuple[m.MetricName, str, Part, str, str]]] = {
    "open": ("backlog", "overdue_share", Part.DENOMINATOR, "未结案", "Open"),
    "overdue": ("backlog", "overdue_share", Part.NUMERATOR, "超期", "Overdue"),
    "grid_small": (
        "containment", "grid_small", Part.DENOMINATOR, "不出网格率", "Kept in the grid",
    ),
    "on_time": ("timeliness", "on_time_rate", Part.DENOMINATOR, "按期率", "On time"),
}  # fmt: skip
"""What the map of grids is shaded by: a part of a figure where it is a number of cases, or the rate
with the cases that it is counted over."""


def _grids(at: Board) -> dict[str, Any]:
    metric, name, part, zh, en = SHADES[at.asked.shade]
    whole, definition = metric == "backlog", _DEFINITIONS[metric, name]
    answer = at.answer(metric, "grid", Span(None, None) if whole else None)
    tree, on = at.me.desk.office.territory, office_time(at.then.at).date()
    ratios = {group.key: group.figures[name] for group in answer.groups}
    counts = {path: getattr(ratio, part.value) for path, ratio in ratios.items()}
    rates = {path: ratio.value for path, ratio in ratios.items() if ratio.value is not None}
    levels, classes = maps.counted(counts) if whole else (maps.rated(rates), [])
    said = {
        path: str(count) if whole else percent(rates[path], 0)
        for path, count in counts.items()
        if whole or path in rates
    }
    drawn = maps.of(
        tree, [at.territory] if at.territory else at.seen, on, levels=levels, notes=said
    )
    paths = [*counts, *(shape.path for shape in drawn.shapes if shape.path not in counts)]
    worst = sorted(paths, key=lambda path: (-counts.get(path, 0) if whole else 0, path))
    if not whole:
        worst.sort(key=lambda path: rates.get(path, 2.0))
    return {
        "answer": answer,
        "drawn": drawn,
        "said": said,
        "classes": classes,
        "ends": maps.RATES,
        "whole": whole,
        "title": (zh, en) if whole else (definition.zh, definition.en),
        "shades": SHADES,
        "defined": definition,
        "links": {path: _behind(answer, name, part, path) for path, n in counts.items() if n},
        "rows": [(path, tree.node(path).called(on), ratios.get(path)) for path in worst],
    }


def _behind(answer: m.MetricAnswer, name: str, part: Part, territory: str) -> str:
    """Where the cases of one territory behind a figure are listed."""
    path, query = answer.figures[name].cases[part.value].replace(API, CONSOLE, 1).split("?", 1)
    return f"{path}?{urlencode(dict(parse_qsl(query)) | {'territory': territory})}"


_PARTS: Final[dict[str, Callable[[Board], dict[str, Any]]]] = {
    "containment": _containment,
    "timeliness": _timeliness,
    "evaluation": _evaluation,
    "trend": _trend,
    "flow": _flow,
    "territories": _territories,
    "grids": _grids,
    "caseload": _caseload,
    "backlog": _backlog,
    "quality": _quality,
}


# --- what can be chosen ---


def _home(me: Visitor, seen: tuple[str, ...]) -> str:
    """Where somebody begins: the own territory, if it is one; of one district, that district."""
    if len(seen) == 1 and seen[0] != EVERYWHERE:
        return seen[0]
    districts = me.desk.office.territory.children(EVERYWHERE)
    return districts[0].path if seen == (EVERYWHERE,) and len(districts) == 1 else ""


def places(
    tree: Territory, seen: tuple[str, ...], here: str, at: datetime
) -> list[tuple[str, str, int]]:
    """What can be gone to from a territory: above as far as one may see, here, directly below.

    From nowhere in particular: what one may see, with what lies directly in it. Each with its path,
    its name and how deep it is.
    """
    on = office_time(at).date()
    if not here:
        tops = tree.children(EVERYWHERE, on) if EVERYWHERE in seen else in_tree(tree, seen)
        return [
            (node.path, node.called(on), level)
            for top in tops
            for level, nodes in enumerate(((top,), tree.children(top.path, on)))
            for node in nodes
        ]
    parts = here.rstrip("/").split("/")
    paths = ["/".join(parts[: n + 1]) + "/" for n in range(len(parts))]
    line = [p for p in paths if any(within(p, top) for top in seen)]
    found = [(path, tree.node(path).called(on), n) for n, path in enumerate(line)]
    return found + [(n.path, n.called(on), len(line)) for n in tree.children(here, on)]


def _places_of(at: Board) -> list[tuple[str, str, int]]:
    return places(at.me.desk.office.territory, at.seen, at.territory, at.then.at)


def _report_places(at: Board) -> list[tuple[str, str]]:
    """For which territories a report can be had here."""
    if at.territory:
        return [(at.territory, at.me.desk.office.territory.node(at.territory).called(at.day()))]
    return [(path, name) for path, name, level in _places_of(at) if level == 0]


def _categories(me: Visitor) -> dict[str, tuple[str, str]]:
    """What each category is called in both languages, by its code."""
    known = me.desk.office.catalogue.categories
    return {code: (category.name_zh, category.name_en) for code, category in known.items()}


def _ended(start: date, weekly: bool) -> date:
    """The last day of a week or month."""
    if weekly:
        return start + timedelta(days=6)
    return (start + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def midnight(day: date) -> datetime:
    """The instant that a day begins at."""
    return datetime.combine(day, time(), OFFICE_TIME)
