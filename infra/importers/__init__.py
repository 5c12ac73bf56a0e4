"""Old cases from other systems, through the same rules as live commands (历史数据迁移).

One loop serves every old system: cases are read one after another, their steps become commands with
the times of the old system, and a few hundred cases at a time are stored in one transaction. Every
event names the old row it comes from as its causation (``"bpic2013:1-364285768#7"``), so a second
run sees what is there and adds what is missing, also after a SIGKILL and for a newer export.

A case comes in whole or not at all. What does not come in is named in a report with the reason.
"""

import csv
import hashlib
import io
import re
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, ClassVar, Final, Generic, Protocol, TypeVar

from eventsourcing.persistence import IntegrityError
from psycopg_pool import ConnectionPool

from domain.aggregates import CALENDAR, CASE, CATALOGUE, TERRITORY, case_stream
from domain.calendar import Calendar, office_time
from domain.case.commands import Command, Imported
from domain.case.states import Case
from domain.catalogue import Catalogue, DefineCategory, Size, Terms
from domain.errors import Conflict, Refused
from domain.places import EVERYWHERE, TOP, Tier
from domain.roles import Actor, Grant, Role
from domain.territory import CreateTerritory, Place, Territory
from infra.event_store import ATTEMPTS, Batch, EventStore

BATCH: Final = 300
"""Cases in one transaction: a few thousand events make it cheap, and losing it costs a second."""

SINCE: Final = date(1970, 1, 1)
"""Old territories hold from here on: the old systems do not say since when there were any."""

YEARS: Final = range(1900, 2201)
"""Years that a row may name. Others are mistakes, and at either end other zones have no date."""

REASONS: Final[dict[str, tuple[str, str]]] = {
    "import.no_file": ("无法读取文件 {path}:{why}", "The file {path} cannot be read: {why}"),
    "import.broken": (
        "文件 {path} 在第 {line} 行附近损坏：{why}；此前的事项均已导入。",
        "The file {path} is broken near line {line}: {why}. What came before is imported.",
    ),
    "import.not_this": ("文件 {path} 不是 {what}。", "The file {path} is not {what}."),
    "import.doctype": (
        "文件 {path} 含有 DTD 声明，出于安全考虑不予读取。",
        "The file {path} declares a document type, which is refused for safety.",
    ),
    "import.no_report": ("无法写入报告 {path}:{why}", "The report {path} cannot be written: {why}"),
    "import.duplicate": (
        "文件中此编号出现不止一次，只导入了第一次出现的。",
        "This id stands in the file more than once; only the first was imported.",
    ),
    "import.missing": ("缺少“{field}”。", "{field} is missing."),
    "import.bad_time": ("“{field}”不是有效时间：{value}。", "{field} is not a time: {value}."),
    "import.bad_text": (
        "含有无效字符（非 UTF-8 或 NUL）。",
        "There are characters that are not text (not UTF-8, or NUL).",
    ),
    "import.bad_columns": (
        "列数与表头不符。",
        "This row has not as many columns as the header.",
    ),
    "import.unknown_step": (
        "不认识的步骤：{step}。",
        "A step that this import does not know: {step}.",
    ),
}
"""Why a file or a row cannot be read. What rules refuse stands in ``domain.errors``."""


class BadFile(Exception):
    """A file cannot be imported; ``zh`` and ``en`` say which and why."""

    def __init__(self, code: str, **facts: Any) -> None:
        zh, en = REASONS[code]
        self.code, self.zh, self.en = code, zh.format(**facts), en.format(**facts)
        super().__init__(self.en)


@dataclass(frozen=True, slots=True)
class BadRow:
    """What stays out, and why. ``line`` counts from 1 in the file, or in what is packed in it."""

    line: int
    id: str
    code: str
    zh: str
    en: str


def bad_row(line: int, old_id: str, code: str, **facts: Any) -> BadRow:
    """A row that cannot be read, with a code of ``REASONS``."""
    zh, en = REASONS[code]
    return BadRow(line, old_id, code, zh.format(**facts), en.format(**facts))


def demand_likely(at: datetime) -> datetime:
    """A time of an old row, as it is; raises ``ValueError`` where its year cannot be meant."""
    if at.year not in YEARS:
        raise ValueError(f"{at.year} is not in {YEARS.start}-{YEARS.stop - 1}")
    return at


class OldRow(Protocol):
    """One row of an old case: where it stands in the file, and when it happened (aware)."""

    @property
    def line(self) -> int: ...
    @property
    def at(self) -> datetime: ...


class OldCase(Protocol):
    """One case of an old system with its rows in order of time."""

    @property
    def id(self) -> str: ...
    @property
    def rows(self) -> Sequence[OldRow]: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A territory of an old system: its id here, made from its name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A category of an old system, without limits of ours."""

    code: str
    name_zh: str
    name_en: str
    size: Size


@dataclass(frozen=True, slots=True)
class Desk:
    """What the steps of one old row need: the fields all commands share, and the office's rules."""

    common: dict[str, Any]
    place: Place
    terms: Terms
    calendar: Calendar


C = TypeVar("C", bound=OldCase)


class OldSystem(ABC, Generic[C]):
    """How one old system is read and what its rows mean here."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, file: BinaryIO, path: Path) -> Iterator[C | BadRow]:
        """The cases of a file, one after another, with what is not readable in between.

        Raises:
            BadFile: the file is something else, or is broken from here on.
        """

    @abstractmethod
    def place(self, case: C) -> tuple[Named, ...]:
        """District, subdistrict, community and grid of a case."""

    @abstractmethod
    def kind(self, case: C) -> Kind:
        """The category of a case."""

    @abstractmethod
    def steps(
        self, case: C, number: int, desk: Desk, current: Callable[[], Case]
    ) -> Iterator[Command]:
        """The commands of row ``number`` (from 1). ``current`` is the case after those before."""

    def actor(self, name: str = "import") -> Actor:
        """Somebody of the old system; ``import`` stands for steps that it did not have."""
        return Actor(f"{self.name}:{name}", (Grant(Role.IMPORTER, EVERYWHERE),))

    def case_id(self, old_id: str) -> str:
        """The id that an old case has here, now and at every later run; no two share one."""
        short = slug(old_id)
        if short != old_id:
            digest = hashlib.sha256(old_id.encode(errors="surrogatepass")).hexdigest()
            short = f"{short[:51]}-{digest[:12]}"
        return f"{self.name}-{short}"

    def reference(self, old_id: str, number: int) -> str:
        """What names an old row for good."""
        return f"{self.name}:{old_id}#{number}"


@dataclass(slots=True)
class Summary:
    """What an import did so far. ``read`` of ``size`` bytes of the file are behind it."""

    cases: int = 0
    added: int = 0
    events: int = 0
    bad: int = 0
    read: int = 0
    size: int = 0
    seconds: float = 0.0


def import_file(
    system: OldSystem[C],
    path: Path,
    report: Path,
    store: EventStore,
    pool: ConnectionPool,
    now: datetime,
    on_progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Take in a file; ``report`` is written anew and names all that stays out.

    ``pool`` hands out autocommit connections of the role ``wangge_app``; ``now`` is when
    territories and categories are made, and no row may lie after it.

    Raises:
        BadFile: the file cannot be read or the report cannot be written.
        Conflict: somebody else wrote to the same cases all the time.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadFile("import.no_file", path=path, why=error.strerror) from error
    with file:
        if report.exists() and report.samefile(path):
            why = "这就是要导入的文件 it is the file to be imported"
            raise BadFile("import.no_report", path=report, why=why)
        try:
            rows = report.open("w", encoding="utf-8-sig", newline="")
        except OSError as error:
            raise BadFile("import.no_report", path=report, why=error.strerror) from error
        with rows:
            return _Import(system, store, pool, now, on_progress, rows).run(file, path)


@dataclass
class _Import(Generic[C]):
    system: OldSystem[C]
    store: EventStore
    pool: ConnectionPool
    now: datetime
    on_progress: Callable[[Summary], None]
    report: io.TextIOBase
    summary: Summary = field(default_factory=Summary)

    def run(self, file: BinaryIO, path: Path) -> Summary:
        """Read, decide and store, a batch after another."""
        started = monotonic()
        self.correlation = f"import:{path.name}"
        self.rows = csv.writer(self.report)
        self.rows.writerow(("line", "id", "code", "reason_zh", "reason_en"))
        self.summary.size = path.stat().st_size
        for cases in self._batches(self.system.read(file, path)):
            self._take(cases)
            self.report.flush()
            self.summary.read = file.tell()
            self.summary.seconds = monotonic() - started
            self.on_progress(self.summary)
        return self.summary

    def _batches(self, found: Iterable[C | BadRow]) -> Iterator[list[C]]:
        """Cases by the batch. When the file breaks off, what came before it is a batch too."""
        seen: set[str] = set()
        batch: list[C] = []
        try:
            for each in found:
                if isinstance(each, BadRow):
                    self._refuse(each)
                    continue
                self.summary.cases += 1
                case_id = self.system.case_id(each.id)
                if case_id in seen:
                    self._refuse(bad_row(each.rows[0].line, each.id, "import.duplicate"))
                    continue
                seen.add(case_id)
                batch.append(each)
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        except BadFile:
            yield batch
            raise
        yield batch

    def _refuse(self, bad: BadRow) -> None:
        self.summary.bad += 1
        self.rows.writerow((bad.line, bad.id, bad.code, bad.zh, bad.en))

    def _take(self, cases: list[C]) -> None:
        """Store what is missing of some cases, all in one transaction."""
        for _ in range(ATTEMPTS):
            held = self._held(cases)
            missing = [case for case in cases if len(case.rows) > held.get(case.id, 0)]
            batch = Batch(self.store, self.correlation)
            streams = {case_stream(self.system.case_id(case.id)): CASE for case in missing}
            single = {decider.name: decider for decider in (TERRITORY, CATALOGUE, CALENDAR)}
            batch.load_streams(single | streams)
            refused = [self._add(batch, case, held.get(case.id, 0)) for case in missing]
            events = len(batch.decided)
            try:
                batch.append()
            except IntegrityError:
                continue  # somebody else wrote to one of them: look again
            for bad in filter(None, refused):
                self._refuse(bad)
            self.summary.added += refused.count(None)
            self.summary.events += events
            return
        raise Conflict

    def _held(self, cases: list[C]) -> dict[str, int]:
        """By old id, the last row that an earlier run has stored."""
        ids = {case_stream(self.system.case_id(case.id)): case.id for case in cases}
        with self.pool.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT stream, causation FROM log.event WHERE stream = ANY(%s)",
                (list(ids),),
            ).fetchall()
        held: dict[str, int] = {}
        for stream, causation in rows:
            old_id = ids[stream]
            prefix, _, number = causation.rpartition("#")
            if prefix == f"{self.system.name}:{old_id}" and number.isdecimal():
                held[old_id] = max(held.get(old_id, 0), int(number))
        return held

    def _add(self, batch: Batch, case: C, held: int) -> BadRow | None:
        """Decide the rows of a case after those that are held; all of them, or none."""
        stream = case_stream(self.system.case_id(case.id))
        line = case.rows[held].line
        mark, before = len(batch.decided), replace(batch.streams[stream])
        try:
            desk = self._prepare(batch, case)
            mark = len(batch.decided)  # what was prepared stays: other cases need it as well
            for number in range(held + 1, len(case.rows) + 1):
                row = case.rows[number - 1]
                line = row.line
                if row.at > self.now:
                    raise Refused("case.in_future", field="at")
                reference = self.system.reference(case.id, number)
                imported = Imported(system=self.system.name, reference=reference)
                desk.common.update(at=row.at, imported=imported)
                for command in self.system.steps(
                    case, number, desk, lambda: batch.streams[stream].state
                ):
                    batch.decide(command, causation=reference)
        except Refused as refused:
            del batch.decided[mark:]
            batch.streams[stream] = before
            return BadRow(line, case.id, refused.code, refused.zh, refused.en)
        return None

    def _prepare(self, batch: Batch, case: C) -> Desk:
        """The place and the rules of a case; what of them is new here is made first."""
        kind, names = self.system.kind(case), self.system.place(case)
        by = self.system.actor()
        territory: Territory = batch.streams[TERRITORY.name].state
        catalogue: Catalogue = batch.streams[CATALOGUE.name].state
        commands: list[Any] = list(_new_territories(territory, names, by, self.now))
        if kind.code not in catalogue.categories:
            commands.append(
                DefineCategory(
                    by=by,
                    at=self.now,
                    code=kind.code,
                    name_zh=kind.name_zh,
                    name_en=kind.name_en,
                    size=kind.size,
                    limit=None,
                    contact=None,
                )
            )
        batch.decide(*commands, causation=self.correlation)
        territory = batch.streams[TERRITORY.name].state
        path = "".join(f"{name.id}/" for name in names)
        return Desk(
            common={"case": self.system.case_id(case.id)},
            place=territory.resolve(path, office_time(case.rows[0].at).date()),
            terms=batch.streams[CATALOGUE.name].state.terms(kind.code),
            calendar=batch.streams[CALENDAR.name].state,
        )


def _new_territories(
    territory: Territory, names: tuple[Named, ...], by: Actor, now: datetime
) -> Iterator[CreateTerritory]:
    """What is not there yet on the way from the district down to the grid."""
    parent, known = EVERYWHERE, True
    for down, name in enumerate(names):
        known = known and name.id in territory.below(parent)
        if not known:
            yield CreateTerritory(
                by=by,
                at=now,
                id=name.id,
                tier=Tier(TOP - down),
                parent=parent,
                name=name.name,
                effective=SINCE,
            )
        parent = f"{parent}{name.id}/"


def slug(text: str) -> str:
    """A name as an id: lower-case letters, digits and hyphens, at most 64.

    Where that loses more than accents, case and punctuation, a checksum keeps names apart.
    """
    plain = unicodedata.normalize("NFKD", text)
    ascii_only = "".join(c for c in plain if c.isascii() or not unicodedata.combining(c))
    short = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")
    if short and ascii_only.isascii() and len(short) <= 64:
        return short
    checksum = f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
    return f"{short[:55]}-{checksum}".strip("-")
