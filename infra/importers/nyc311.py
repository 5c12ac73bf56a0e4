"""Service requests of New York City's 311, from NYC Open Data, as CSV.

What the mapping assumes:

- A request is reported, filed and dispatched when it was created, taken in hand when its status
  says so, and resolved, checked and closed at its closing time; there are no steps in between.
- District nyc311 > borough > community board > zip code; what is empty is "unspecified".
- A complaint type is a category; all count as small, since the file knows no sizes. The due date
  is the case's deadline; without one there is none.
- PHONE comes in through the hotline, ONLINE and MOBILE from residents, all else over the counter.
- Times without a zone are those of New York; an hour that comes twice in autumn is its first.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar, Final
from zoneinfo import ZoneInfo

from domain.case import commands as c
from domain.case.states import Case
from domain.catalogue import Size
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

NEW_YORK: Final = ZoneInfo("America/New_York")
UNSPECIFIED: Final = "unspecified"

_TIME: Final = "%m/%d/%Y %I:%M:%S %p"
_COLUMNS: Final = (
    "Unique Key",
    "Created Date",
    "Closed Date",
    "Agency",
    "Complaint Type",
    "Descriptor",
    "Incident Zip",
    "Incident Address",
    "Status",
    "Due Date",
    "Resolution Description",
    "Resolution Action Updated Date",
    "Community Board",
    "Borough",
    "Open Data Channel Type",
    "Latitude",
    "Longitude",
)
_SOURCES: Final = {
    "PHONE": c.Source.HOTLINE,
    "ONLINE": c.Source.RESIDENT,
    "MOBILE": c.Source.RESIDENT,
}
_WORKED_ON: Final = ("In Progress", "Pending", "Email Sent")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time of a request that something happened at: created, taken in hand, closed."""

    line: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of the file, with its moments in order."""

    id: str
    rows: tuple[Moment, ...]
    agency: str
    kind: str
    description: str
    resolution: str
    due: datetime | None
    channel: str
    borough: str
    board: str
    zip: str
    address: str
    longitude: float | None
    latitude: float | None


class Nyc311(OldSystem[Request]):
    """Service requests as cases."""

    name: ClassVar[str] = "nyc311"

    def read(self, file: BinaryIO, path: Path) -> Iterator[Request | BadRow]:
        """The requests of a file, a line in memory at a time."""
        # A line that is not UTF-8 is a bad row, not the end of the file.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        lines = csv.reader(text)
        try:
            header = next(lines, [])
            lacking = [column for column in _COLUMNS if column not in header]
            if lacking:
                what = f"NYC 311 (CSV; {', '.join(lacking)}?)"
                raise BadFile("import.not_this", path=path, what=what)
            while True:
                begins = lines.line_num + 1
                try:
                    cells = next(lines)
                except StopIteration:
                    return
                if cells:
                    yield _request(begins, header, cells)
        except csv.Error as error:
            raise BadFile("import.broken", path=path, line=lines.line_num, why=error) from error
        finally:
            text.detach()

    def place(self, case: Request) -> tuple[Named, ...]:
        """District nyc311 > borough > community board > zip."""
        return (
            Named(self.name, "NYC 311"),
            Named(slug(case.borough), case.borough),
            Named(slug(case.board), case.board),
            Named(slug(case.zip), case.zip),
        )

    def kind(self, case: Request) -> Kind:
        """The complaint type."""
        return Kind(f"nyc311-{slug(case.kind)}"[:64], case.kind, case.kind, Size.SMALL)

    def steps(
        self, case: Request, number: int, desk: Desk, current: Callable[[], Case]
    ) -> Iterator[c.Command]:
        """What happened at a moment: 1 created, 2 taken in hand, 3 closed."""
        agency, importer, common = self.actor(case.agency), self.actor(), desk.common
        if number == 1:
            yield c.ReportCase(
                by=importer,
                place=desk.place,
                source=_SOURCES.get(case.channel, c.Source.WINDOW),
                description=case.description,
                spot=c.Spot(address=case.address, longitude=case.longitude, latitude=case.latitude),
                **common,
            )
            yield c.FileCase(
                by=importer, terms=desk.terms, calendar=desk.calendar, due=case.due, **common
            )
            yield c.DispatchCase(by=importer, **common)
        elif number == 2:
            yield c.AcceptCase(by=agency, **common)
        else:
            evidence = (common["imported"].reference,)
            yield c.ResolveCase(by=agency, evidence=evidence, note=case.resolution, **common)
            yield c.CheckCase(by=importer, passed=True, **common)
            yield c.CloseCase(by=importer, outcome=c.Outcome.RESOLVED, **common)


def _request(line: int, header: list[str], cells: list[str]) -> Request | BadRow:
    """A request from its cells, or what is wrong with them."""
    row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    old_id = row.get("Unique Key", "")
    if any("\0" in cell or not _is_text(cell) for cell in cells):
        readable = old_id.encode(errors="replace").decode().replace("\0", "?")
        return bad_row(line, readable, "import.bad_text")
    if len(cells) != len(header):
        return bad_row(line, old_id, "import.bad_columns")
    for field in ("Unique Key", "Created Date", "Agency", "Complaint Type"):
        if not row[field]:
            return bad_row(line, old_id, "import.missing", field=field)
    times: dict[str, datetime | None] = {}
    for field in ("Created Date", "Closed Date", "Due Date", "Resolution Action Updated Date"):
        try:
            times[field] = _time(row[field])
        except ValueError:
            return bad_row(line, old_id, "import.bad_time", field=field, value=row[field])
    created, closed = times["Created Date"], times["Closed Date"]
    assert created is not None, "it is not empty"
    moments = [created]
    if closed is not None:
        moments += [closed, closed]
    elif row["Status"] in _WORKED_ON:
        moments.append(max(created, times["Resolution Action Updated Date"] or created))
    described = (row["Complaint Type"], row["Descriptor"])
    return Request(
        id=old_id,
        rows=tuple(Moment(line, at) for at in moments),
        agency=row["Agency"],
        kind=row["Complaint Type"],
        description=": ".join(part for part in described if part),
        resolution=row["Resolution Description"],
        due=times["Due Date"],
        channel=row["Open Data Channel Type"],
        borough=row["Borough"] or UNSPECIFIED,
        board=row["Community Board"] or UNSPECIFIED,
        zip=row["Incident Zip"] or UNSPECIFIED,
        address=row["Incident Address"],
        longitude=_degrees(row["Longitude"]),
        latitude=_degrees(row["Latitude"]),
    )


def _time(text: str) -> datetime | None:
    if not text:
        return None
    return demand_likely(datetime.strptime(text, _TIME).replace(tzinfo=NEW_YORK))


def _degrees(text: str) -> float | None:
    """A coordinate; what is none leaves the spot to its address."""
    try:
        degrees = float(text)
    except ValueError:
        return None
    return degrees if -180 <= degrees <= 180 else None


def _is_text(cell: str) -> bool:
    """False where a byte was not UTF-8."""
    return not any("\udc80" <= character <= "\udcff" for character in cell)
