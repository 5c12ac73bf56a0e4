"""The cases of the log as process-mining tools read them: XES and OCEL 2.0 (流程挖掘导出).

A case is a trace, an event of the log an event there, in order of version; personal fields stay
sealed and are left out, and so is whatever was typed. Cases are read a stretch of streams at a
time, so memory stays bounded however long the log is; the file appears under its name when it is
whole. The log up to a position never changes, so the same question gives the same bytes.

- **XES** (IEEE 1849): ``concept:name`` is the stored name, ``label`` says it in Chinese,
  ``org:resource`` is the actor's id, ``org:group`` the unit or else the territory that has the case
  after the event. Every event is one finished act, so all of ``lifecycle:transition`` is
  ``complete``; what a case waits for is ``state``.
- **OCEL 2.0** (JSON): objects are cases, territories, persons (by id), units and categories. A
  case's ``state`` and ``tier`` change over time.
- ``causation`` names the request, or the row of an old system, that an event comes from: events of
  one row share it, and the last of them has the tier of the row.
"""

import gzip
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache, reduce
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple
from xml.sax.saxutils import quoteattr

import msgspec

from domain import words
from domain.aggregates import CASE, STAFF, TERRITORY, Decider
from domain.case.commands import EscalationReason
from domain.case.events import CaseReported
from domain.case.states import Facts, Known
from domain.errors import Refused
from domain.history import Recorded, Wanted
from domain.places import EVERYWHERE, Tier, parent_of, tier_of, within
from domain.staff import Staff
from domain.territory import Territory
from infra.log_source import LogSource

STRETCH: Final = 10_000
"""About how many events of the log are in memory at once."""

FIRST: Final = "case:"
BEYOND: Final = "case;"
"""All streams of cases lie between these two, for a semicolon follows the colon."""

DETAILS: Final = (
    "due",
    "first_contact",
    "outcome",
    "on_time",
    "attempt",
    "reached",
    "solved",
    "satisfied",
    "returns",
    "rule",
    "until",
    "reply_by",
)
"""What is told of an event besides what all have in common, if it says so. Nothing that somebody
typed is among it, marked as personal or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which cases: of a territory with all below it, reported within two instants (the end not
    included); each with all its events up to a position of the log."""

    position: int
    territory: str = EVERYWHERE
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, first: Recorded[Any]) -> bool:
        """Whether the case that begins with this event is one of them."""
        return (
            isinstance(first.event, CaseReported)
            and within(first.event.territory, self.territory)
            and (self.since is None or first.at >= self.since)
            and (self.until is None or first.at < self.until)
        )


class Step(NamedTuple):
    """An event, and what the case was after it."""

    recorded: Recorded[Any]
    state: Known


@dataclass(slots=True)
class Done:
    """How far an export is: of ``of`` stretches of the log, ``stretches`` are behind it."""

    cases: int = 0
    events: int = 0
    stretches: int = 0
    of: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Names:
    """What territories and units were called as of the position."""

    territory: Territory
    staff: Staff

    @classmethod
    def known(cls, source: LogSource, position: int) -> "Names":
        """Those of the log up to a position."""
        return cls(_single(source, TERRITORY, position), _single(source, STAFF, position))

    def of_territory(self, path: str) -> str:
        """A territory's name; its path where none is known."""
        try:
            return self.territory.node(path).name
        except Refused:
            return path

    def of_unit(self, unit: str) -> str:
        """A unit's name; its id where none is known."""
        known = self.staff.units.get(unit)
        return known.name if known else unit


def _single(source: LogSource, decider: Decider, position: int) -> Any:
    """The state of a stream that there is once, as of a position."""
    wanted = Wanted(decider.events)
    events = source.streams(decider.name[:-1], decider.name, position, (wanted,))(wanted)
    return reduce(decider.evolve, (recorded.event for recorded in events), decider.initial)


def export(
    form: "type[Form]",
    path: Path,
    source: LogSource,
    chosen: Chosen,
    on_progress: Callable[[Done], None] = lambda _: None,
    stretch: int = STRETCH,
) -> Done:
    """Write the cases chosen to a file, packed if its name ends in ``.gz``.

    About ``stretch`` events are in memory at once.

    Raises:
        OSError: it cannot be written; what stood under the name still does.
        Unreadable: an event cannot be read; it is named.
    """
    done, started = Done(), time.monotonic()
    names = Names.known(source, chosen.position)
    with whole(path) as file, closing(form(file, names)) as written:
        written.begin(chosen)
        for found in _stretches(source, chosen, stretch):
            for case in found.cases:
                written.case(case)
                done.cases += 1
                done.events += len(case)
            done.stretches, done.of = found.number, found.of
            done.seconds = time.monotonic() - started
            on_progress(done)
        written.end()
    done.seconds = time.monotonic() - started
    return done


class _Stretch(NamedTuple):
    """Some of the cases chosen: those of stretch ``number``, from 1, of all that there are."""

    number: int
    of: int
    cases: Iterator[list[Step]]


def _stretches(source: LogSource, chosen: Chosen, each: int) -> Iterator[_Stretch]:
    """The cases chosen, by stream."""
    wanted = Wanted(CASE.events)
    bounds = [name for name in source.bounds(chosen.position, each) if FIRST < name < BEYOND]
    for number, (after, until) in enumerate(pairwise((FIRST, *bounds, BEYOND)), 1):
        found = source.streams(after, until, chosen.position, (wanted,))(wanted)
        histories = (tuple(events) for _, events in groupby(found, key=attrgetter("stream")))
        cases = (_steps(history) for history in histories if chosen.holds(history[0]))
        yield _Stretch(number, len(bounds) + 1, cases)


def _steps(history: Iterable[Recorded[Any]]) -> list[Step]:
    steps, state = [], CASE.initial
    for recorded in history:
        state = CASE.evolve(state, recorded.event)
        steps.append(Step(recorded, state))
    return steps


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when all of it is on the disk, and leaves nothing otherwise.

    A link stays one, to the new file. What is no regular file (a pipe, /dev/stdout) is written to.
    """
    packed = path.suffix == ".gz"
    if path.exists() and not path.is_file():
        with path.open("wb") as file, _perhaps_packed(file, packed) as written:
            yield written
        return
    path = path.resolve()
    made = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with made.open("wb") as file:
            with _perhaps_packed(file, packed) as written:
                yield written
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


@contextmanager
def _perhaps_packed(file: BinaryIO, packed: bool) -> Iterator[BinaryIO]:
    if packed:
        # No name and no time inside: the same log gives the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packer:
            yield packer  # type: ignore[misc]  # it reads and writes as files do
    else:
        yield file


# --- what is told ---


def _of_case(steps: Sequence[Step]) -> dict[str, Any]:
    """What is told of a case as a whole, as it stood after its last event."""
    facts, state = steps[-1].state.facts, steps[-1].state
    return {
        "territory": facts.place.path,
        "source": facts.source,
        "intake": facts.intake,
        "category": facts.terms and facts.terms.category,
        "category_name": facts.terms and facts.terms.name_zh,
        "size": facts.filed_size,
        "highest_tier": facts.highest,
        "state": state.name,
        "outcome": facts.outcome,
        "episodes": facts.episode,
        "parent": facts.parent,
        "merged_into": facts.survivor,
    }


def _of_event(step: Step) -> dict[str, Any]:
    """What is told of an event besides its name, its time and who did it."""
    recorded, event = step.recorded, step.recorded.event
    told = {
        "tier": event.tier,
        "state": step.state.name,
        "episode": event.episode,
        "position": recorded.position,
        "version": recorded.version,
        "causation": recorded.causation,
    }
    for name in DETAILS:
        told[name] = getattr(event, name, None)
    # Elsewhere a reason is free text, and sealed.
    reason = getattr(event, "reason", None)
    told["reason"] = reason if isinstance(reason, EscalationReason) else None
    return {name: value for name, value in told.items() if value is not None and value != ""}


def _group(facts: Facts) -> str:
    """Who has the case: the unit, or else the territory."""
    return facts.unit or facts.holder


def _instant(at: datetime) -> str:
    """A time as all tools read it: OpenXES takes what follows the seconds for milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


class Form(ABC):
    """A form that cases can be written in, one after another."""

    def __init__(self, file: BinaryIO, names: Names) -> None:
        self._file = file
        self._names = names

    @abstractmethod
    def begin(self, chosen: Chosen) -> None:
        """Write what comes before all cases."""

    @abstractmethod
    def case(self, steps: Sequence[Step]) -> None:
        """Write a case."""

    @abstractmethod
    def end(self) -> None:
        """Write what comes after them."""

    def close(self) -> None:  # noqa: B027 — most forms have nothing else
        """Let go of what is not the file itself, whether all is written or not."""


# --- XES ---

_XES_EXTENSIONS: Final = (
    ("Concept", "concept"),
    ("Time", "time"),
    ("Organizational", "org"),
    ("Lifecycle", "lifecycle"),
)

_NO_XML: Final = dict.fromkeys(
    {*range(32), 0xFFFE, 0xFFFF} - {ord("\t"), ord("\n"), ord("\r")}, "\ufffd"
)
"""What XML cannot hold, not even escaped."""


class Xes(Form):
    """XES 1.0, a trace a case."""

    def begin(self, chosen: Chosen) -> None:
        """The head of the log, with what was asked for."""
        self._write(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<log xes.version="1.0" xes.features="" xmlns="http://www.xes-standard.org/">\n'
        )
        for name, prefix in _XES_EXTENSIONS:
            uri = f"http://www.xes-standard.org/{prefix}.xesext"
            self._write(f'<extension name="{name}" prefix="{prefix}" uri="{uri}"/>\n')
        self._write(
            '<global scope="trace"><string key="concept:name" value=""/></global>\n'
            '<global scope="event"><string key="concept:name" value=""/>'
            '<date key="time:timestamp" value="1970-01-01T00:00:00.000+00:00"/>'
            '<string key="lifecycle:transition" value="complete"/>'
            '<string key="tier" value=""/></global>\n'
            '<classifier name="Activity" keys="concept:name"/>\n'
            '<classifier name="Activity and tier" keys="concept:name tier"/>\n'
            '<classifier name="Resource" keys="org:resource"/>\n'
        )
        asked = {
            "concept:name": "wangge",
            "position": chosen.position,
            "territory": chosen.territory or None,
            "since": chosen.since,
            "until": chosen.until,
        }
        self._write(_xes(asked) + "\n")

    def case(self, steps: Sequence[Step]) -> None:
        """A trace with its events."""
        about = _of_case(steps)
        names = {"territory_name": self._names.of_territory(about["territory"])}
        id_ = steps[-1].state.facts.id
        parts = ["<trace>\n", _xes({"concept:name": id_, **about, **names}), "\n"]
        for step in steps:
            recorded = step.recorded
            own = {
                "concept:name": recorded.name,
                "label": words.EVENTS[recorded.name].zh,
                "time:timestamp": recorded.at,
                "lifecycle:transition": "complete",
                "org:resource": recorded.actor,
                "org:role": recorded.roles or None,
                "org:group": _group(step.state.facts),
            }
            parts += ("<event>", _xes(own), _xes(_of_event(step)), "</event>\n")
        parts.append("</trace>\n")
        self._write("".join(parts))

    def end(self) -> None:
        """The end of the log."""
        self._write("</log>\n")

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


def _xes(attributes: dict[str, Any]) -> str:
    return "".join(
        _xes_attribute(key, value) for key, value in attributes.items() if value is not None
    )


def _xes_attribute(key: str, value: Any) -> str:
    match value:
        case bool():
            kind, text = "boolean", "true" if value else "false"
        case Tier():
            return _xes_text(key, value.word)
        case int():
            kind, text = "int", str(value)
        case datetime():
            kind, text = "date", _instant(value)
        case _:
            return _xes_text(key, str(value))
    return f'<{kind} key="{key}" value="{text}"/>'


@lru_cache(maxsize=1 << 16)
def _xes_text(key: str, text: str) -> str:
    """A text as an attribute: the same few are said again and again."""
    return f'<string key="{key}" value={quoteattr(text.translate(_NO_XML))}/>'


# --- OCEL 2.0 ---


class Kind(StrEnum):
    """The types of objects."""

    CASE = "case"
    TERRITORY = "territory"
    PERSON = "person"
    UNIT = "unit"
    CATEGORY = "category"


_OBJECT_ATTRIBUTES: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.CASE: (
        "source",
        "intake",
        "size",
        "highest_tier",
        "outcome",
        "episodes",
        "parent",
        "merged_into",
        "state",
        "tier",
    ),
    Kind.TERRITORY: ("name", "tier"),
    Kind.PERSON: (),
    Kind.UNIT: ("name",),
    Kind.CATEGORY: ("name",),
}
_CHANGING: Final = ("state", "tier")
_FROM_THE_START: Final = "1970-01-01T00:00:00.000+00:00"
"""The time that OCEL gives to what never changes."""


@dataclass(slots=True)
class _Seen:
    """Who and what the cases have to do with: bounded by the office, not by its log."""

    territories: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    categories: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)


class Ocel(Form):
    """OCEL 2.0 in JSON. The objects wait in a file of their own until all events are written."""

    def __init__(self, file: BinaryIO, names: Names) -> None:
        super().__init__(file, names)
        self._encode = msgspec.json.Encoder().encode
        self._seen = _Seen()
        self._events = self._objects = 0
        self._later: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — see ``close``

    def begin(self, chosen: Chosen) -> None:
        """Nothing but the bracket: OCEL has no place for what was asked."""
        self._file.write(b'{"events":[')

    def case(self, steps: Sequence[Step]) -> None:
        """The events of a case, and the case for later."""
        for step in steps:
            self._file.write((b",\n" if self._events else b"\n") + self._encode(self._event(step)))
            self._events += 1
        self._object(self._case(steps))

    def end(self) -> None:
        """The objects, and what types there are."""
        for object_ in self._others():
            self._object(object_)
        self._file.write(b'\n],\n"objects":[')
        self._later.seek(0)
        while chunk := self._later.read(1 << 20):
            self._file.write(chunk)
        types = {
            "objectTypes": [
                {"name": kind, "attributes": [_declared(name, "string") for name in names]}
                for kind, names in _OBJECT_ATTRIBUTES.items()
            ],
            "eventTypes": [
                {"name": name, "attributes": [_declared(*each) for each in sorted(kinds.items())]}
                for name, kinds in sorted(self._seen.attributes.items())
            ],
        }
        self._file.write(b"\n],\n" + self._encode(types)[1:] + b"\n")

    def close(self) -> None:
        """Drop the objects that wait."""
        self._later.close()

    def _event(self, step: Step) -> dict[str, Any]:
        recorded, facts = step.recorded, step.state.facts
        told = {"label": words.EVENTS[recorded.name].zh, "role": recorded.roles, **_of_event(step)}
        kinds = self._seen.attributes.setdefault(recorded.name, {})
        for name, value in told.items():
            kinds.setdefault(name, _ocel_type(value))
        related = [
            _relation(Kind.CASE, facts.id, "case"),
            _relation(Kind.PERSON, recorded.actor, "by"),
            _relation(Kind.TERRITORY, facts.holder, "held by"),
        ]
        self._seen.persons.add(recorded.actor)
        self._seen.territories.add(facts.holder)
        if facts.unit:
            related.append(_relation(Kind.UNIT, facts.unit, "held by"))
            self._seen.units.add(facts.unit)
        if facts.terms:
            related.append(_relation(Kind.CATEGORY, facts.terms.category, "of"))
            self._seen.categories[facts.terms.category] = facts.terms.name_zh
        return {
            "id": str(recorded.position),
            "type": recorded.name,
            "time": _instant(recorded.at),
            "attributes": [
                {"name": name, "value": _ocel_value(value)} for name, value in told.items()
            ],
            "relationships": related,
        }

    def _case(self, steps: Sequence[Step]) -> dict[str, Any]:
        facts, about = steps[-1].state.facts, _of_case(steps)
        attributes = [
            {"name": name, "time": _FROM_THE_START, "value": str(_ocel_value(about[name]))}
            for name in _OBJECT_ATTRIBUTES[Kind.CASE]
            if name not in _CHANGING and about[name] is not None
        ]
        for name in _CHANGING:
            was = None
            for step in steps:
                now = {"state": step.state.name, "tier": step.recorded.event.tier.word}[name]
                if now != was:
                    at = _instant(step.recorded.at)
                    attributes.append({"name": name, "time": at, "value": now})
                was = now
        related = [_relation(Kind.TERRITORY, facts.place.path, "in")]
        self._seen.territories.add(facts.place.path)
        if facts.terms:
            related.append(_relation(Kind.CATEGORY, facts.terms.category, "of"))
        return _ocel_object(Kind.CASE, facts.id, attributes, related)

    def _others(self) -> Iterator[dict[str, Any]]:
        """All objects but the cases; of territories those above them too."""
        paths = self._seen.territories
        for path in tuple(paths):
            while (path := parent_of(path)) != EVERYWHERE:
                paths.add(path)
        for path in sorted(paths):
            above = parent_of(path)
            yield _ocel_object(
                Kind.TERRITORY,
                path,
                [
                    _always("name", self._names.of_territory(path)),
                    _always("tier", tier_of(path).word),
                ],
                [_relation(Kind.TERRITORY, above, "in")] if above else [],
            )
        for person in sorted(self._seen.persons):
            yield _ocel_object(Kind.PERSON, person, [], [])
        for unit in sorted(self._seen.units):
            named = [_always("name", self._names.of_unit(unit))]
            yield _ocel_object(Kind.UNIT, unit, named, [])
        for code, name in sorted(self._seen.categories.items()):
            yield _ocel_object(Kind.CATEGORY, code, [_always("name", name)], [])

    def _object(self, object_: dict[str, Any]) -> None:
        self._later.write((b",\n" if self._objects else b"\n") + self._encode(object_))
        self._objects += 1


def _id(kind: Kind, name: str) -> str:
    """An object's id: those of all types share one space."""
    return f"{kind}:{name}"


def _relation(kind: Kind, name: str, qualifier: str) -> dict[str, str]:
    return {"objectId": _id(kind, name), "qualifier": qualifier}


def _ocel_object(
    kind: Kind, name: str, attributes: list[dict[str, str]], related: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "id": _id(kind, name),
        "type": kind,
        "attributes": attributes,
        "relationships": related,
    }


def _always(name: str, value: str) -> dict[str, str]:
    return {"name": name, "time": _FROM_THE_START, "value": value}


def _declared(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "type": kind}


def _ocel_value(value: Any) -> Any:
    match value:
        case Tier():
            return value.word
        case datetime():
            return _instant(value)
        case _:
            return value


def _ocel_type(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() if not isinstance(value, Tier):
            return "integer"
        case datetime():
            return "time"
        case _:
            return "string"


FORMS: Final[dict[str, type[Form]]] = {"xes": Xes, "ocel": Ocel}
"""By the name that one asks for."""
