"""Old cases come in through the rules: mapped as documented, once, and with nothing lost."""

import csv
import gzip
import hashlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from domain import calendar, case, catalogue
from domain.case import commands as c
from domain.case import events as e
from domain.errors import Refused
from domain.metrics import Ratio
from domain.places import Tier
from domain.roles import Actor, Grant, Role, system
from domain.territory import Place
from infra.event_store import EventStore
from infra.importers import (
    BadFile,
    BadRow,
    Desk,
    OldCase,
    OldSystem,
    Summary,
    import_file,
    slug,
)
from infra.importers.bpic2013 import Bpic2013, Trace
from infra.importers.nyc311 import Nyc311
from infra.installation import seed
from projections.counting import Question
from projections.gateway import Gateway
from projections.metrics import METRICS
from projections.runner import Runner
from tests.files import real

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2012, 5, 1, 8, tzinfo=UTC)
READER = Actor("reader", (Grant(Role.SUPERVISOR, ""),))


# --- rows become commands, commands become events ---


def trace(*rows: str, old_id: str = "1-1", impact: str = "Medium") -> bytes:
    """A trace of rows like ``"Ana 2nd Accepted/In Progress"``, an hour apart."""
    events = []
    for number, row in enumerate(rows):
        who, group, step = row.split(" ", 2)
        name, _, status = step.partition("/")
        at = (START + timedelta(hours=number)).isoformat()
        values = {
            "org:resource": who,
            "org:group": group,
            "concept:name": name,
            "lifecycle:transition": status,
            "time:timestamp": at,
            "organization involved": "Org line A2",
            "organization country": "fr",
            "product": "PROD582",
            "impact": impact,
        }
        fields = "".join(f'<string key="{k}" value="{v}"/>' for k, v in values.items())
        events.append(f"<event>{fields}</event>")
    name = f'<string key="concept:name" value="{old_id}"/>'
    return f"<trace>{name}{''.join(events)}</trace>".encode()


def xes(*traces: bytes) -> bytes:
    """A log of traces."""
    return b'<?xml version="1.0"?>\n<log>' + b"\n".join(traces) + b"</log>"


def read(old: OldSystem[Any], content: bytes) -> list[Any]:
    """What a file of this content holds."""
    return list(old.read(io.BytesIO(content), Path("old")))


@dataclass
class Replay:
    """The commands and events of one old case, by row."""

    commands: list[tuple[int, c.Command]]
    events: list[tuple[int, e.Event]]
    state: Any

    @property
    def short(self) -> list[str]:
        """Every event as ``"row name"``, with the rule or tier where it has one."""
        return [f"{row} {_short(event)}" for row, event in self.events]


def _short(event: Any) -> str:
    name = type(event).__name__
    match event:
        case e.RuleWaived(rule=rule):
            return f"{name} {rule}"
        case e.CaseEscalated(tier=tier) | e.CaseReturned(tier=tier) | e.CaseFiled(tier=tier):
            return f"{name} {tier.word}"
        case e.CaseClosed(outcome=outcome):
            return f"{name} {outcome}"
        case _:
            return name


def replay(
    old: OldSystem[Any], found: OldCase, *, state: Any = case.initial, held: int = 0
) -> Replay:
    """Decide an old case as the import does, without a database."""
    kind = old.kind(found)
    define = catalogue.DefineCategory(
        by=system("test"),
        at=NOW,
        code=kind.code,
        name_zh=kind.name_zh,
        name_en=kind.name_en,
        size=kind.size,
        limit=None,
        contact=None,
    )
    (defined,) = catalogue.decide(catalogue.initial, define)
    path = "".join(f"{name.id}/" for name in old.place(found))
    done = Replay([], [], state)
    for number in range(held + 1, len(found.rows) + 1):
        desk = Desk(
            common={
                "case": "x",
                "at": found.rows[number - 1].at,
                "imported": c.Imported(system=old.name, reference=old.reference(found.id, number)),
            },
            place=Place(path, 1, "grid"),
            terms=catalogue.evolve(catalogue.initial, defined).terms(kind.code),
            calendar=calendar.initial,
        )
        for command in old.steps(found, number, desk, lambda: done.state):
            done.commands.append((number, command))
            for event in case.decide(done.state, command):
                done.events.append((number, event))
                done.state = case.evolve(done.state, event)
    return done


def bpic(*rows: str) -> Replay:
    """The replay of one trace."""
    (found,) = read(Bpic2013(), xes(trace(*rows)))
    assert isinstance(found, Trace), found
    return replay(Bpic2013(), found)


def test_a_plain_incident() -> None:
    done = bpic(
        "Ana A1 Accepted/In Progress", "Ana A1 Completed/Resolved", "Siebel A1 Completed/Closed"
    )
    assert done.short == [
        "1 CaseReported",
        "1 CaseFiled grid",
        "1 CaseDispatched",
        "1 CaseAccepted",
        "2 CaseResolved",
        "3 CheckPassed",
        "3 CaseClosed resolved",
    ]
    by = [command.by.id for _, command in done.commands]
    assert by == [
        "bpic2013:Ana",
        "bpic2013:import",
        "bpic2013:import",
        "bpic2013:Ana",
        "bpic2013:Ana",
        "bpic2013:import",
        "bpic2013:import",
    ]
    closed = done.events[-1][1]
    assert isinstance(closed, e.CaseClosed)
    assert (closed.at, closed.intake, closed.highest) == (
        START + timedelta(hours=2),
        Tier.GRID,
        Tier.GRID,
    )


def test_a_case_is_filed_at_the_tier_of_its_first_row() -> None:
    done = bpic("Ana 2nd Queued/Awaiting Assignment")
    assert done.short == ["1 CaseReported", "1 CaseFiled community", "1 CaseDispatched"]


def test_a_change_of_tier_is_one_move() -> None:
    done = bpic(
        "Ana A1 Accepted/In Progress",
        "Ana 3rd Queued/Awaiting Assignment",
        "Bo 3rd Accepted/In Progress",
        "Bo A1 Queued/Awaiting Assignment",
    )
    assert done.short[4:] == [
        "2 RuleWaived case.tier_step",
        "2 CaseEscalated subdistrict",
        "3 CaseAccepted",
        "4 RuleWaived case.tier_step",
        "4 CaseReturned grid",
    ]


def test_taking_over_and_saying_it_again() -> None:
    done = bpic(
        "Ana A1 Accepted/In Progress",
        "Ana A1 Accepted/Assigned",
        "Bo A1 Accepted/In Progress",
        "Bo A1 Queued/Awaiting Assignment",
        "Cy A1 Queued/Awaiting Assignment",
    )
    assert done.short[3:] == [
        "1 CaseAccepted",
        "2 NoteAdded",
        "3 CaseAccepted",
        "4 RuleWaived case.not_allowed",
        "4 CaseTransferred",
        "5 CaseTransferred",
    ]


def test_waiting_parks_until_the_next_row() -> None:
    done = bpic(
        "Ana A1 Accepted/Wait - User",
        "Bo A1 Accepted/Wait",
        "Bo A1 Accepted/In Progress",
    )
    assert done.short[3:] == [
        "1 CaseAccepted",
        "1 ParkAsked",
        "1 CaseParked",
        "2 CaseResumed",
        "2 CaseAccepted",
        "2 ParkAsked",
        "2 CaseParked",
        "3 CaseResumed",
    ]
    parked = next(event for _, event in done.events if isinstance(event, e.CaseParked))
    assert parked.until == START + timedelta(hours=1)


def test_the_last_wait_is_parked_for_a_day() -> None:
    done = bpic("Ana A1 Accepted/Wait")
    parked = done.events[-1][1]
    assert isinstance(parked, e.CaseParked)
    assert parked.until == START + timedelta(days=1)


def test_work_after_a_completion_is_a_reopening() -> None:
    done = bpic(
        "Ana A1 Accepted/In Progress",
        "Ana A1 Completed/Resolved",
        "Bo 2nd Accepted/In Progress",
        "Bo 2nd Completed/Closed",
    )
    assert done.short[4:] == [
        "2 CaseResolved",
        "2 CheckPassed",
        "2 CaseClosed resolved",
        "3 CaseReopened",
        "3 CaseEscalated community",
        "3 CaseAccepted",
        "4 CaseResolved",
        "4 CheckPassed",
        "4 CaseClosed resolved",
    ]


@pytest.mark.parametrize(
    ("rows", "noted"),
    [
        (("Ana A1 Completed/In Call",), []),
        (("Ana A1 Completed/Resolved", "Ana A1 Unmatched/Unmatched"), ["3 NoteAdded"]),
    ],
)
def test_a_completion_that_did_not_hold_is_sent_back(
    rows: tuple[str, ...], noted: list[str]
) -> None:
    done = bpic("Ana A1 Accepted/In Progress", *rows, "Bo A1 Accepted/In Progress")
    last = len(rows) + 2
    assert done.short[4:] == [
        "2 CaseResolved",
        *noted,
        f"{last} CheckFailed",
        f"{last} CaseAccepted",
    ]


def test_a_first_row_that_says_nothing_still_has_somebody_dispatched() -> None:
    done = bpic("Ana 2nd Unmatched/Unmatched", "Bo A1 Accepted/In Progress")
    assert done.short[2:] == [
        "1 NoteAdded",
        "2 CaseDispatched",
        "2 CaseReturned grid",
        "2 CaseAccepted",
    ]


def test_a_call_that_settles_the_matter_closes_it() -> None:
    done = bpic("Ana A1 Accepted/In Progress", "Ana A1 Completed/In Call")
    assert done.short[-1] == "2 CaseClosed resolved"


def test_completion_at_another_tier_moves_first() -> None:
    done = bpic(
        "Ana A1 Accepted/In Progress",
        "Ana A1 Completed/Resolved",
        "Bo A1 Completed/Resolved",
        "Bo 2nd Completed/Cancelled",
    )
    assert done.short[4:] == [
        "2 CaseResolved",
        "3 NoteAdded",
        "4 RuleWaived case.not_allowed",
        "4 CaseEscalated community",
        "4 CaseAccepted",
        "4 CaseResolved",
        "4 CheckPassed",
        "4 CaseClosed withdrawn",
    ]


def test_a_newer_export_goes_on_where_the_older_ended() -> None:
    rows = ("Ana A1 Accepted/In Progress", "Ana A1 Completed/Resolved")
    older = bpic(*rows)
    (newer,) = read(
        Bpic2013(),
        xes(trace(*rows, "Siebel A1 Completed/Closed", "Bo A1 Accepted/In Progress")),
    )
    done = replay(Bpic2013(), newer, state=older.state, held=2)
    assert done.short == [
        "3 RuleWaived case.not_allowed",
        "3 NoteAdded",
        "4 CaseReopened",
        "4 CaseAccepted",
    ]


# --- files that are not as they should be ---


def test_what_is_wrong_with_a_trace_is_named() -> None:
    good = trace("Ana A1 Accepted/In Progress", old_id="good")
    unknown = trace("Ana A1 Accepted/In Progress", "Ana A1 Gone/Fishing", old_id="odd")
    timeless = good.replace(START.isoformat().encode(), b"yesterday").replace(b"good", b"when")
    zoneless = good.replace(b"+00:00", b"").replace(b"good", b"zone")
    first = b"0001-01-01T00:00:00+14:00"
    ancient = good.replace(START.isoformat().encode(), first).replace(b"good", b"old")
    last = b"9999-12-31T23:59:59-12:00"
    distant = good.replace(START.isoformat().encode(), last).replace(b"good", b"far")
    nobody = good.replace(b'key="org:resource"', b'key="other"').replace(b"good", b"who")
    nowhere = good.replace(b'"organization country"', b'"other"').replace(b"good", b"where")
    empty = trace(old_id="empty")
    nameless = good.replace(b'"good"', b'""')
    content = xes(
        unknown, timeless, zoneless, ancient, distant, nobody, nowhere, empty, nameless, good
    )
    *bad, kept = read(Bpic2013(), content)
    assert [(row.id, row.code) for row in bad] == [
        ("odd", "import.unknown_step"),
        ("when", "import.bad_time"),
        ("zone", "import.bad_time"),
        ("old", "import.bad_time"),
        ("far", "import.bad_time"),
        ("who", "import.missing"),
        ("where", "import.missing"),
        ("empty", "import.missing"),
        ("", "import.missing"),
    ]
    assert [row.line for row in bad] == list(range(2, 11))
    assert kept.id == "good"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "import.not_this"),
        (b"Unique Key,Created Date\n", "import.not_this"),
        (b"<html><log/></html>", "import.not_this"),
        # Without the time: it would be part of the test's name, which all workers must agree on.
        (gzip.compress(b"no xml", mtime=0), "import.not_this"),
        (b'<!DOCTYPE log [<!ENTITY a "aa">]><log/>', "import.doctype"),
        (xes(trace("Ana A1 Accepted/In Progress"))[:-40], "import.broken"),
        (
            gzip.compress(xes(*[trace("Ana A1 Accepted/In Progress")] * 500), mtime=0)[:-9],
            "import.broken",
        ),
    ],
)
def test_a_file_that_is_no_log_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(BadFile) as refused:
        read(Bpic2013(), content)
    assert refused.value.code == code


HEADER = (
    "Unique Key,Created Date,Closed Date,Agency,Complaint Type,Descriptor,Incident Zip,"
    "Incident Address,Status,Due Date,Resolution Description,Resolution Action Updated Date,"
    "Community Board,Borough,Open Data Channel Type,Latitude,Longitude\n"
)


def request(old_id: str = "1", **changes: str) -> str:
    """One line of a 311 file."""
    values = {
        "key": old_id,
        "created": "06/26/2018 10:00:00 AM",
        "closed": "06/26/2018 12:00:00 PM",
        "agency": "NYPD",
        "kind": "Noise - Street",
        "text": '"Loud, very"',
        "zip": "11421",
        "address": "91 STREET",
        "status": "Closed",
        "due": "06/26/2018 06:00:00 PM",
        "resolution": "Done.",
        "updated": "",
        "board": "09 QUEENS",
        "borough": "QUEENS",
        "channel": "PHONE",
        "latitude": "40.69",
        "longitude": "-73.84",
    } | changes
    return ",".join(values.values()) + "\n"


def nyc(*lines: str) -> list[Any]:
    """What a 311 file of these lines holds."""
    return read(Nyc311(), (HEADER + "".join(lines)).encode())


def test_a_closed_request() -> None:
    (found,) = nyc(request())
    done = replay(Nyc311(), found)
    assert done.short == [
        "1 CaseReported",
        "1 CaseFiled grid",
        "1 CaseDispatched",
        "2 CaseAccepted",
        "3 CaseResolved",
        "3 CheckPassed",
        "3 CaseClosed resolved",
    ]
    reported, filed, closed = done.events[0][1], done.events[1][1], done.events[-1][1]
    assert isinstance(reported, e.CaseReported)
    assert reported.territory == "nyc311/queens/09-queens/11421/"
    assert reported.source is c.Source.HOTLINE
    assert reported.description == "Noise - Street: Loud, very"
    assert reported.at == datetime(2018, 6, 26, 14, tzinfo=UTC)
    assert isinstance(filed, e.CaseFiled)
    assert (filed.dated, filed.due) == (True, datetime(2018, 6, 26, 22, tzinfo=UTC))
    assert isinstance(closed, e.CaseClosed)
    assert closed.on_time is True


def test_requests_that_are_not_closed() -> None:
    waiting, worked_on = nyc(
        request("1", closed="", status="Open", due="", channel="MOBILE", zip="", borough=""),
        request(
            "2", closed="", status="In Progress", updated="06/27/2018 10:00:00 AM", channel="X"
        ),
    )
    first, second = replay(Nyc311(), waiting), replay(Nyc311(), worked_on)
    assert (first.state.name, second.state.name) == ("assigned", "in_progress")
    assert first.state.facts.clock.due is None
    assert first.state.facts.place.path == "nyc311/unspecified/09-queens/unspecified/"
    assert (first.state.facts.source, second.state.facts.source) == (
        c.Source.RESIDENT,
        c.Source.WINDOW,
    )
    assert second.state.facts.last_at == datetime(2018, 6, 27, 14, tzinfo=UTC)


def test_a_request_closed_before_it_was_created_is_refused() -> None:
    (found,) = nyc(request(closed="06/26/2018 09:59:59 AM"))
    with pytest.raises(Refused) as refused:
        replay(Nyc311(), found)
    assert refused.value.code == "case.time_order"


def test_what_is_wrong_with_a_line_is_named() -> None:
    content = (HEADER + request("1", created="soon") + request("2", agency="")).encode()
    content += request("3").encode() + b"4,too,few\n" + request("5", text="a\0b").encode()
    content += request("6", text="caf\xe9").encode("latin-1")
    found = read(Nyc311(), content)
    assert [(row.line, row.id, row.code) for row in found if isinstance(row, BadRow)] == [
        (2, "1", "import.bad_time"),
        (3, "2", "import.missing"),
        (5, "4", "import.bad_columns"),
        (6, "5", "import.bad_text"),
        (7, "6", "import.bad_text"),
    ]
    assert [row.id for row in found if not isinstance(row, BadRow)] == ["3"]


def test_a_file_of_other_columns_is_refused() -> None:
    content = HEADER.replace("Borough,", "").encode()
    with pytest.raises(BadFile, match="Borough"):
        read(Nyc311(), content)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Org line A2", "org-line-a2"),
        ("Kåre", "kare"),
        ("09 QUEENS", "09-queens"),
        ("Paint/Plaster", "paint-plaster"),
    ],
)
def test_names_become_ids(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_names_without_letters_of_ours_stay_apart() -> None:
    assert slug("东风") != slug("向阳")
    assert len(slug("x" * 100)) <= 64
    assert slug("x" * 100) != slug("x" * 101)


@pytest.mark.parametrize("due", ["01/01/0001 12:00:00 AM", "12/31/9999 11:59:59 PM"])
def test_a_year_that_nobody_meant_is_no_time(due: str) -> None:
    (found,) = read(Nyc311(), (HEADER + request(due=due)).encode())
    assert (found.id, found.code) == ("1", "import.bad_time")


def test_cases_are_named_apart_and_clean_ids_are_kept() -> None:
    old = Bpic2013()
    assert old.case_id("1-364285768") == "bpic2013-1-364285768"
    ids = ("a-1", "A-1", "A_1", "a 1", "å-1", "案件1", "案件 1", "-", "x" * 100, "x" * 101)
    made = [old.case_id(each) for each in ids]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"bpic2013-[a-z0-9][a-z0-9-]{0,63}", each) for each in made)


# --- into the log ---


@pytest.fixture
def office(store: EventStore) -> EventStore:
    """A log with the catalogue and the calendar."""
    seed(store, NOW)
    return store


def run(
    old: OldSystem[Any], path: Path, store: EventStore, pool: ConnectionPool
) -> tuple[Summary, list[dict[str, str]]]:
    """An import, and the rows of its report."""
    report = path.with_suffix(".report.csv")
    done = import_file(old, path, report, store, pool, NOW)
    with report.open(encoding="utf-8-sig", newline="") as rows:
        return done, list(csv.DictReader(rows))


def contents(dsn: str) -> str:
    """A digest of what the log holds of cases, whatever the order of the cases."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT stream, version, name, at, actor, causation, data FROM log.event"
            " WHERE stream LIKE 'case:%' ORDER BY stream, version"
        ).fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def test_every_event_names_its_old_row(
    office: EventStore, pool: ConnectionPool, folder: Path
) -> None:
    path = folder / "log.xes"
    path.write_bytes(xes(trace("Ana A1 Accepted/In Progress", "Ana A1 Completed/Closed")))
    done, bad = run(Bpic2013(), path, office, pool)
    assert (done.cases, done.added, done.bad, bad) == (1, 1, 0, [])
    history = office.history("case:bpic2013-1-1")
    assert [recorded.causation for recorded in history] == [
        *["bpic2013:1-1#1"] * 4,
        *["bpic2013:1-1#2"] * 3,
    ]
    assert {recorded.roles for recorded in history} == {"importer"}
    territory, day = office.office().territory, history[0].at.date()
    assert territory.names("bpic2013/org-line-a2/fr/grid/", day)[:2] == (
        "BPI Challenge 2013",
        "Org line A2",
    )


def test_a_second_run_adds_nothing_and_a_newer_file_the_rest(
    office: EventStore, pool: ConnectionPool, folder: Path
) -> None:
    path = folder / "log.xes"
    first = trace("Ana A1 Accepted/In Progress")
    path.write_bytes(xes(first))
    run(Bpic2013(), path, office, pool)
    again, _ = run(Bpic2013(), path, office, pool)
    assert (again.cases, again.added, again.events) == (1, 0, 0)
    longer = trace("Ana A1 Accepted/In Progress", "Bo A1 Accepted/In Progress")
    path.write_bytes(xes(longer, trace("Cy A1 Accepted/In Progress", old_id="1-2")))
    more, _ = run(Bpic2013(), path, office, pool)
    assert (more.added, more.events) == (2, 1 + 4)


def test_bad_rows_stop_nothing_and_are_all_named(
    office: EventStore, pool: ConnectionPool, folder: Path
) -> None:
    path = folder / "requests.csv"
    late = request("2", closed="06/26/2018 09:00:00 AM")
    future = request("3", created="01/02/2026 09:00:00 AM", closed="", due="")
    overdue = request("4", due="06/25/2018 09:00:00 AM")
    lines = (request("1"), late, future, overdue, request("1"), "6,x\n", request("7"))
    path.write_text(HEADER + "".join(lines))
    done, bad = run(Nyc311(), path, office, pool)
    assert (done.added, done.bad) == (2, 5)
    assert sorted((row["line"], row["id"], row["code"]) for row in bad) == [
        ("3", "2", "case.time_order"),
        ("4", "3", "case.in_future"),
        ("5", "4", "case.due_before_filing"),
        ("6", "1", "import.duplicate"),
        ("7", "6", "import.bad_columns"),
    ]
    assert all(row["reason_zh"] and row["reason_en"] for row in bad)
    assert office.history("case:nyc311-2") == []  # whole or not at all


def test_what_came_before_the_break_is_kept(
    office: EventStore, pool: ConnectionPool, folder: Path
) -> None:
    path = folder / "log.xes"
    path.write_bytes(xes(trace("Ana A1 Accepted/In Progress"))[:-6] + b"<trace>")
    with pytest.raises(BadFile, match=r"broken"):
        run(Bpic2013(), path, office, pool)
    assert len(office.history("case:bpic2013-1-1")) == 4


# --- killed at any point ---


def _synthetic(traces: int) -> Iterator[bytes]:
    """Incidents of all kinds of lives, from one seed."""
    rng = random.Random(7)
    steps = (
        *("Accepted/In Progress", "Accepted/Assigned", "Accepted/Wait - User"),
        *("Queued/Awaiting Assignment", "Completed/Resolved", "Completed/In Call"),
        *("Completed/Closed", "Unmatched/Unmatched"),
    )
    for number in range(traces):
        rows = [
            f"{rng.choice(('Ana', 'Bo', 'Cy'))} {rng.choice(('A1', 'A1', '2nd', '3rd'))} "
            f"{rng.choice(steps)}"
            for _ in range(rng.randint(1, 14))
        ]
        yield trace(*rows, old_id=f"1-{number}")


@pytest.mark.crash
def test_killed_and_run_again_it_is_as_if_it_had_run_once(
    database: str, secret: bytes, office: EventStore, pool: ConnectionPool, folder: Path
) -> None:
    path = folder / "log.xes.gz"
    path.write_bytes(gzip.compress(xes(*_synthetic(1_000))))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "secret").write_bytes(secret)
    command = [sys.executable, "-c", "from infra.cli import main; main()"]
    command += ["import", "bpic2013", str(path), "--report", str(folder / "report.csv")]
    environment = os.environ | {"WANGGE_DSN": database, "WANGGE_DATA": str(folder / "data")}
    # Which points these are is up to the machine; that it makes no difference is the point.
    rng = random.Random()
    kills = 0
    with psycopg.connect(database, autocommit=True) as watching:
        while True:
            enough = _case_events(watching) + rng.randrange(4_000)
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and (kills == 3 or _case_events(watching) < enough):
                time.sleep(0.02)
            if process.poll() is not None:
                break
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        added = _case_events(watching)
    assert process.returncode == 0
    assert kills > 0
    killed = contents(database)

    # Once more, in peace: by the rules alone, without a database.
    expected = 0
    for found in read(Bpic2013(), path.read_bytes()):
        expected += len(replay(Bpic2013(), found).events)
    assert added == expected
    again, _ = run(Bpic2013(), path, office, pool)
    assert (again.cases, again.events) == (1_000, 0)
    assert contents(database) == killed


def _case_events(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM log.event WHERE stream LIKE 'case:%'").fetchone()
    assert row is not None
    return int(row[0])


# --- the real files ---


def test_a_report_does_not_take_the_place_of_the_file(
    folder: Path, office: EventStore, pool: ConnectionPool
) -> None:
    path = folder / "export.csv"
    path.write_text(HEADER)
    (folder / "same.csv").symlink_to(path)
    with pytest.raises(BadFile, match=r"same\.csv"):
        import_file(Nyc311(), path, folder / "same.csv", office, pool, NOW)
    assert path.read_text() == HEADER


def test_ci_cannot_do_without_the_real_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no-such\.csv is missing"):
        real("no-such.csv")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=r"no-such\.csv"):
        real("no-such.csv")


def rates(gateway: Gateway, metric: str) -> dict[str, Ratio]:
    """The figures of a metric over everything."""
    answer = gateway.figures.answer(READER, METRICS[metric], Question(now=datetime.now(UTC)))
    return {name: measured.rate for name, measured in answer.figures.items()}


def test_the_figures_of_nyc311(
    office: EventStore, pool: ConnectionPool, runner: Runner, gateway: Gateway, folder: Path
) -> None:
    """NYC Open Data, 311 service requests, June 2018."""
    path = real("nyc311_sample.csv")
    report = folder / "report.csv"
    done = import_file(Nyc311(), path, report, office, pool, NOW)
    assert (done.cases, done.added, done.bad) == (1_000, 990, 10)
    with report.open(encoding="utf-8-sig", newline="") as rows:
        bad = list(csv.DictReader(rows))
    assert {row["code"] for row in bad} == {"case.time_order"}
    assert len({row["id"] for row in bad}) == 10
    runner.catch_up()
    found = rates(gateway, "timeliness")
    assert found["on_time_rate"] == Ratio(numerator=427, denominator=427 + 52 + 7)
    assert found["closure_rate"] == Ratio(numerator=427 + 52, denominator=427 + 52 + 7)
