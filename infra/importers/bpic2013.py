"""The incidents of the BPI Challenge 2013: a support organisation with three lines, as casework.

Source: W. Steeman, BPI Challenge 2013, incidents, 4TU.ResearchData,
DOI 10.4121/uuid:500573e6-accc-4b0c-9576-aa5468b10cee, an XES log.

What the mapping assumes (a row is one event of a trace):

- The tier of a row is 2 (community) where its group holds "2nd", 3 (subdistrict) where it holds
  "3rd", else 1 (grid); all cases come in at the grid. A change of tier from one row to the next is
  one move, even over two tiers, after completion, or more often than our limits allow: those
  are recorded with a waiver beside them.
- Queued assigns: the first time a dispatch, then a transfer. Accepted takes the case in hand or
  over; again by the same person it is a note. Accepted/Wait* parks it until the next row.
- Completed resolves. The last Completed row of a run also checks and closes, if the trace ends
  there or if work is taken up again, which then is a reopening. Two exceptions: where work goes on
  after a completion *In Call*, the call did not settle the matter, and after a row *Unmatched* the
  completion was lost. Neither is a closing: the check sends the case back (返工).
- Impact Low and Medium are small, High and Major big. Filing, dispatching, approving and checking
  were no steps there: ``bpic2013:import`` does them, at the time of the row that implies them.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final
from xml.parsers import expat

from domain.case import commands as c
from domain.case.states import (
    Assigned,
    Case,
    Closed,
    Evaluated,
    Facts,
    Filed,
    InProgress,
    Parked,
    Resolved,
    Unknown,
)
from domain.catalogue import Size
from domain.places import Tier
from domain.roles import Actor
from infra.importers import (
    BadFile,
    BadRow,
    Desk,
    Kind,
    Named,
    OldSystem,
    bad_row,
    demand_likely,
    slug,
)

_CHUNK: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"


class Step(Enum):
    """What a row does to its case."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    WAITING = "waiting"
    COMPLETED = "completed"
    UNMATCHED = "unmatched"


_STEPS: Final = {
    ("Queued", "Awaiting Assignment"): Step.QUEUED,
    ("Accepted", "In Progress"): Step.ACCEPTED,
    ("Accepted", "Assigned"): Step.ACCEPTED,
    ("Accepted", "Wait"): Step.WAITING,
    ("Accepted", "Wait - User"): Step.WAITING,
    ("Accepted", "Wait - Vendor"): Step.WAITING,
    ("Accepted", "Wait - Customer"): Step.WAITING,
    ("Accepted", "Wait - Implementation"): Step.WAITING,
    ("Completed", "Resolved"): Step.COMPLETED,
    ("Completed", "In Call"): Step.COMPLETED,
    ("Completed", "Closed"): Step.COMPLETED,
    ("Completed", "Cancelled"): Step.COMPLETED,
    ("Unmatched", "Unmatched"): Step.UNMATCHED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event of a trace. ``status`` is its lifecycle transition, in the old system's words."""

    line: int
    at: datetime
    step: Step
    status: str
    group: str
    resource: str

    @property
    def tier(self) -> Tier:
        """The line of support, as a tier."""
        if "2nd" in self.group:
            return Tier.COMMUNITY
        return Tier.SUBDISTRICT if "3rd" in self.group else Tier.GRID


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One incident."""

    id: str
    organization: str
    country: str
    product: str
    impact: str
    rows: tuple[Row, ...]


class Bpic2013(OldSystem[Trace]):
    """Incidents as cases."""

    name: ClassVar[str] = "bpic2013"

    def read(self, file: BinaryIO, path: Path) -> Iterator[Trace | BadRow]:
        """The traces of an XES log, packed with gzip or not, a chunk in memory at a time."""
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        log = gzip.GzipFile(fileobj=file) if packed else file
        parser = _Parser(path)
        try:
            while chunk := log.read(_CHUNK):
                yield from parser.feed(chunk)
            yield from parser.feed(b"", last=True)
        except (EOFError, gzip.BadGzipFile, zlib.error, expat.ExpatError) as error:
            if not parser.is_log:
                raise BadFile("import.not_this", path=path, what="XES(.gz)") from error
            raise BadFile("import.broken", path=path, line=parser.line, why=error) from error

    def place(self, case: Trace) -> tuple[Named, ...]:
        """District bpic2013 > organisation > country within it > one grid."""
        organization, country = case.organization, case.country
        return (
            Named(self.name, "BPI Challenge 2013"),
            Named(slug(organization), organization),
            Named(slug(country), f"{organization} {country}"),
            Named("grid", f"{organization} {country} 网格"),
        )

    def kind(self, case: Trace) -> Kind:
        """Small or big, by impact."""
        if case.impact in ("Low", "Medium"):
            return Kind("incident_small", "一般事件", "Incident", Size.SMALL)
        return Kind("incident_big", "重大事件", "Major incident", Size.BIG)

    def steps(
        self, case: Trace, number: int, desk: Desk, current: Callable[[], Case]
    ) -> Iterator[c.Command]:
        """What a row did, and what it implies."""
        row = case.rows[number - 1]
        after = case.rows[number] if number < len(case.rows) else None
        me, importer, common = self.actor(row.resource), self.actor(), desk.common
        if number == 1:
            yield c.ReportCase(
                by=me,
                place=desk.place,
                source=c.Source.GRID_WORKER,
                description=f"{case.product} (impact {case.impact})",
                **common,
            )
            yield c.FileCase(
                by=importer,
                terms=desk.terms,
                calendar=desk.calendar,
                tier=row.tier,
                **common,
            )
        if _only_noted(row, after, current(), me):
            yield c.AddNote(by=me, text=row.status, **common)
            return

        moved = False
        match current():
            case Closed() | Evaluated():
                reason = f"{row.status} after completion"
                yield c.ReopenCase(by=me, reason=reason, calendar=desk.calendar, **common)
                moved = True
            case Parked():
                yield c.ResumeCase(by=me, calendar=desk.calendar, **common)
            case Resolved() if row.step is not Step.COMPLETED:
                note = f"{row.status} after completion"
                yield c.CheckCase(by=importer, passed=False, note=note, **common)
        tier = _facts(current()).tier
        if row.tier is not tier and isinstance(current(), Filed):
            yield c.DispatchCase(by=importer, **common)
        if row.tier > tier:
            reason = c.EscalationReason.BEYOND_AUTHORITY
            yield c.EscalateCase(by=me, reason=reason, note=row.group, to=row.tier, **common)
            moved = True
        elif row.tier < tier:
            yield c.ReturnCase(by=me, directive=row.group, to=row.tier, **common)
            moved = True

        match row.step:
            case Step.QUEUED:
                if isinstance(current(), Filed):
                    yield c.DispatchCase(by=importer, **common)
                elif not moved:
                    yield c.TransferCase(by=me, reason=row.group, **common)
            case Step.ACCEPTED:
                yield from self._take(me, importer, common, current())
            case Step.WAITING:
                yield from self._take(me, importer, common, current())
                until = after.at if after and after.at > row.at else row.at + timedelta(days=1)
                yield c.AskPark(by=me, until=until, reason=row.status, **common)
                yield c.ApprovePark(by=importer, **common)
            case Step.COMPLETED:
                if not isinstance(current(), Resolved):
                    yield from self._take(me, importer, common, current())
                    evidence = (common["imported"].reference,)
                    yield c.ResolveCase(by=me, evidence=evidence, note=row.status, **common)
                if _closes(row, after):
                    withdrawn = row.status == "Cancelled"
                    outcome = c.Outcome.WITHDRAWN if withdrawn else c.Outcome.RESOLVED
                    yield c.CheckCase(by=importer, passed=True, **common)
                    yield c.CloseCase(by=importer, outcome=outcome, **common)

    def _take(
        self, me: Actor, importer: Actor, common: dict[str, Any], state: Case
    ) -> Iterator[c.Command]:
        """Bring the case into this person's hands."""
        if isinstance(state, Filed):
            yield c.DispatchCase(by=importer, **common)
        if isinstance(state, Filed | Assigned) or _facts(state).handler != me.id:
            yield c.AcceptCase(by=me, **common)


def _only_noted(row: Row, after: Row | None, state: Case, me: Actor) -> bool:
    """Whether a row changes nothing that we keep, but is history all the same."""
    if row.tier is not _facts(state).tier:
        return False
    match row.step:
        case Step.UNMATCHED:
            return True
        case Step.ACCEPTED:
            return isinstance(state, InProgress) and state.facts.handler == me.id
        case Step.COMPLETED:
            over = isinstance(state, Closed | Evaluated)
            return over or (isinstance(state, Resolved) and not _closes(row, after))
        case _:
            return False


def _closes(row: Row, after: Row | None) -> bool:
    """Whether a completion was the end of the case, at least for a time."""
    if after is None:
        return True
    taken_up = after.step in (Step.QUEUED, Step.ACCEPTED, Step.WAITING)
    return taken_up and row.status != "In Call"


def _facts(state: Case) -> Facts:
    assert not isinstance(state, Unknown), "the first row has reported it"
    return state.facts


class _Parser:
    """Turns the bytes of an XES log into traces. It forbids what could make a small file large."""

    def __init__(self, path: Path) -> None:
        self.is_log = False
        self._path = path
        self._expat = expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._ready: list[Trace | BadRow] = []
        self._trace: dict[str, str] | None = None
        self._event: dict[str, str] | None = None
        self._events: list[tuple[int, dict[str, str]]] = []
        self._begun = 0
        self._depth = 0

    @property
    def line(self) -> int:
        """How far it is in the unpacked file."""
        return self._expat.CurrentLineNumber

    def feed(self, chunk: bytes, *, last: bool = False) -> list[Trace | BadRow]:
        """The traces that a chunk has completed."""
        self._expat.Parse(chunk, last)
        ready, self._ready = self._ready, []
        return ready

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            self.is_log = tag == "log"
            if not self.is_log:
                raise BadFile("import.not_this", path=self._path, what="XES")
        elif tag == "trace":
            self._trace, self._events, self._begun = {}, [], self.line
        elif tag == "event" and self._trace is not None:
            self._event = {}
            self._events.append((self.line, self._event))
        elif "key" in attributes and "value" in attributes:
            about = self._trace if self._event is None else self._event
            if about is not None:
                about.setdefault(attributes["key"], attributes["value"])

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "event":
            self._event = None
        elif tag == "trace" and self._trace is not None:
            self._ready.append(_trace(self._trace, self._begun, self._events))
            self._trace = None

    def _refuse_doctype(self, *_: object) -> None:
        raise BadFile("import.doctype", path=self._path)


def _trace(
    about: dict[str, str], line: int, events: list[tuple[int, dict[str, str]]]
) -> Trace | BadRow:
    """A trace from its attributes, or what is wrong with it."""
    old_id = about.get("concept:name", "")
    if not old_id:
        return bad_row(line, old_id, "import.missing", field="concept:name")
    if not events:
        return bad_row(line, old_id, "import.missing", field="event")
    rows = []
    for at_line, event in events:
        row = _row(at_line, old_id, event)
        if isinstance(row, BadRow):
            return row
        rows.append(row)
    first_line, first = events[0]
    for field in ("organization involved", "organization country", "product", "impact"):
        if not first.get(field):
            return bad_row(first_line, old_id, "import.missing", field=field)
    return Trace(
        id=old_id,
        organization=first["organization involved"],
        country=first["organization country"],
        product=first["product"],
        impact=first["impact"],
        rows=tuple(rows),
    )


def _row(line: int, old_id: str, event: dict[str, str]) -> Row | BadRow:
    for field in ("time:timestamp", "org:group", "org:resource"):
        if not event.get(field):
            return bad_row(line, old_id, "import.missing", field=field)
    time = event["time:timestamp"]
    try:
        at = demand_likely(datetime.fromisoformat(time))
    except ValueError:
        return bad_row(line, old_id, "import.bad_time", field="time:timestamp", value=time)
    if at.tzinfo is None:
        return bad_row(line, old_id, "import.bad_time", field="time:timestamp", value=time)
    name, status = event.get("concept:name", ""), event.get("lifecycle:transition", "")
    step = _STEPS.get((name, status))
    if step is None:
        return bad_row(line, old_id, "import.unknown_step", step=f"{name}/{status}")
    return Row(
        line=line,
        at=at,
        step=step,
        status=status,
        group=event["org:group"],
        resource=event["org:resource"],
    )
