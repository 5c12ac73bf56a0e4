"""What a metric is: which rows it counts, which of them each figure sets against which, in words.

The counts, the list of the cases behind them and the definition that people read come out of one
entry, so they cannot disagree. An entry speaks SQL over the columns of one table of spans; every
row it counts has a ``kind`` and a time at which it counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from domain.errors import Refused

DROPPED: Final = "dropped"
"""The mark that says why a row counts no more; null in rows that are not dropped."""

WAITED: Final = "waited"
"""The mark of rows that have waited long enough by now, see ``Rows.wait``."""


class Part(StrEnum):
    """Which cases of a figure are to be listed."""

    NUMERATOR = "numerator"
    DENOMINATOR = "denominator"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of the table: those that ``where`` says, counted at the time ``at``.

    In ``where`` (and the marks of a metric), ``{now}`` is the moment of the question and ``{end}``
    the end of the window, or that moment if it is not over; ``{until}`` is the end that the window
    has of itself, if any: what happened by a clock that was ahead lies between the two. Unless it
    is ``owed``, ``at`` must lie in the window; if it is ``passed``, before now too. ``dropped``
    (void, merged, rejected) are the rows that are, those that are not, or (None) both.

    ``passing`` rows are few at any time, and many in all: see ``Moment.holds``.

    ``daily`` names the table of their sums by day (see there), for which ``where`` and the marks
    may speak of neither moment; but rows may have to wait for so many days, an expression ``wait``,
    until they have the mark ``waited``. Where sums are kept of each territory ``by_itself``, not by
    source, a mark may also follow from the territory and a moment. ``paired`` are those of the
    metric's ``pairs`` that figures look at here.
    """

    kind: str
    at: str
    where: str
    owed: bool = False
    passed: bool = False
    passing: bool = False
    dropped: bool | None = False
    daily: str | None = None
    by_itself: bool = False
    wait: str | None = None
    paired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One rate: ``counts`` against ``of``, both among the rows that ``among`` says.

    ``excluded`` says by reason which of them are left out of both. A row counts once, unless
    ``times`` and ``of_times`` say how often.
    """

    name: str
    zh: str
    en: str
    formula_zh: str
    formula_en: str
    of: str
    counts: str
    among: str = "true"
    times: str = "1"
    of_times: str = "1"
    excluded: Mapping[str, str] = field(default_factory=dict)

    def condition(self, part: Part, reason: str | None = None) -> str:
        """What holds for the rows of a part, in SQL.

        Raises:
            Refused: ``query.no_such_reason``.
        """
        if reason is not None and reason not in self.excluded:
            raise Refused("query.no_such_reason", figure=self.name, reason=reason)
        said = " OR ".join(f"({each})" for each in self.excluded.values()) or "false"
        if part is Part.NUMERATOR:
            said = f"({self.counts}) AND ({self.times}) > 0"
        elif part is Part.DENOMINATOR:
            said = f"({self.of}) AND ({self.of_times}) > 0"
        elif reason is not None:
            said = self.excluded[reason]
        return f"({self.among}) AND ({said})"

    def weight(self, part: Part) -> str:
        """How often a row of a part counts, in SQL."""
        return {Part.NUMERATOR: self.times, Part.DENOMINATOR: self.of_times}.get(part, "1")


class Paired(NamedTuple):
    """A table of pairs of rows that has a span of its own, and the columns that say which row of a
    pair is meant, where that is and at which time it counts."""

    table: str
    case: str
    nth: str
    territory: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Figures over the rows of one table. ``marks`` are what the figures look at, each a column or
    an expression of its own. ``pairs`` are further marks: which rows stand in a table of pairs."""

    name: str
    zh: str
    en: str
    model: str
    table: str
    marks: Mapping[str, str]
    rows: tuple[Rows, ...]
    figures: tuple[Figure, ...]
    pairs: Mapping[str, Paired] = field(default_factory=dict)

    def at_end(self, rows: Rows) -> bool:
        """Whether it hangs on the window's end which of some rows count, or as what."""
        return rows.owed or any("{in_force}" in mark for mark in self.marks.values())

    def figure(self, name: str) -> Figure:
        """A figure by its name.

        Raises:
            Refused: ``query.no_such_figure``.
        """
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise Refused("query.no_such_figure", metric=self.name, figure=name)


REASONS: Final[dict[str, tuple[str, str]]] = {
    "void": ("已作废", "void"),
    "merged": ("已并案，由主案计数", "merged; the survivor counts"),
    "rejected": ("不予立案", "rejected"),
    "mandated_up": ("按规定须直接上报", "must by rule go up"),
    "no_deadline": ("没有时限", "no deadline"),
    "unreached": ("多次回访未联系上", "not reached in all attempts"),
    "waiting": ("尚未回访到", "not called back yet"),
    "anonymous": ("没有报告人", "no known reporter"),
    "follow_up": ("同一人的再次上报", "reported again by the same person"),
    "too_recent": ("观察期未满", "the days to wait are not over"),
    "no_place": ("没有坐标", "no coordinates"),
    "outside_grids": ("不在有效网格内", "not in a grid in force"),
}
"""Why a case is left out of a figure, in both languages."""
