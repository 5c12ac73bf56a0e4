"""Forgetting forgets: nothing is left of a person in any byte of the data folder, or a log line.

One installation of its own, as an operator has it: an embedded, durable PostgreSQL, `wangge up` in
a process, everything through HTTP and the command line. First it is shown that the sweep finds.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from eventsourcing.persistence import OperationalError
from psycopg import sql
from psycopg_pool import ConnectionPool

from api.passwords import StoredPasswords
from domain import staff
from domain.privacy import AskForget, ForgetReason
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from infra.forgetting import Forgetting, wipe
from infra.log_source import LogSource
from infra.migrations import role_dsn
from infra.vault import CACHE_SECONDS, MANY_KEYS, KeyFile, Vault
from projections.catalog import NAMES
from projections.runner import Runner
from tests import samples
from tests.forked import Nursery

PROGRAM: Final = [sys.executable, "-c", "from infra.cli import main; main()"]
PASSWORD: Final = "correct horse battery"

COLLEAGUE: Final = "令狐暗号甲"
NAME: Final = "诸葛暗号乙丙"
PHONE: Final = "13987650143"
HOME: Final = "暗号丁家园九百零七栋四千零三室"
SPOT: Final = "暗号戊地块西北角变压器旁"
TEXT: Final = "暗号己庚辛壬癸子丑寅卯辰巳午未申酉戌亥，楼道堆物"
NOTE: Final = "暗号天地玄黄宇宙洪荒"
WHY: Final = "暗号日月盈昃来电"
PLANTED: Final = {
    "colleague": COLLEAGUE,
    "name": NAME,
    "phone": PHONE,
    "home": HOME,
    "spot": SPOT,
    "text": TEXT,
    "snippet": TEXT[:6],  # what the mask of the text keeps
    "note": NOTE,
    "why": WHY,
}

# --- the sweep ----------------------------------------------------------------------------------


def ways_to_write(text: str) -> dict[str, bytes]:
    """A text as bytes, in every notation that programs use for what they keep."""
    plain = text.encode()
    written = {
        "UTF-8": plain,
        "UTF-16 LE": text.encode("utf-16-le"),
        "UTF-16 BE": text.encode("utf-16-be"),
        "JSON": json.dumps(text)[1:-1].encode(),
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
        "percent": "".join(f"%{byte:02X}" for byte in plain).encode(),
    }
    for shift in range(3):
        # As part of something longer: without the characters that depend on what stands around it.
        coded = base64.b64encode(b"\0" * shift + plain + b"\0" * 3).rstrip(b"=")
        first = -(-shift * 8 // 6)
        whole = (shift + len(plain)) * 8 // 6
        written[f"Base64 +{shift}"] = coded[first:whole]
    return written


NEEDLES: Final = {
    (what, how): needle
    for what, text in PLANTED.items()
    for how, needle in ways_to_write(text).items()
    if how == "UTF-8" or len(needle) > 8
}


_swept: Final[dict[bytes, set[tuple[str, str]]]] = {}


def sweep(data: bytes) -> set[tuple[str, str]]:
    """What of the planted is in some bytes, and how it is written there.

    The same bytes are looked through once: most files of a database never change.
    """
    known = hashlib.sha256(data).digest()
    if known not in _swept:
        _swept[known] = {names for names, needle in NEEDLES.items() if needle in data}
    return _swept[known]


def sweep_files(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """The same of every file below a data folder, those of a running server too.

    But not of PostgreSQL's own programs, of which root has a copy there.
    """
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("binaries-"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # gone as we came
            if hits := sweep(data):
                found[name] = hits
    return found


def sweep_tables(dsn: str) -> dict[str, set[tuple[str, str]]]:
    """The same of every table as text, for on the disk a long value may be compressed.

    Also of what bytes (the log's payloads, kept answers) are as text.
    """
    found = {}
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname <> 'information_schema'"
        ).fetchall()
        for table in tables:
            query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(*table))
            with connection.cursor().copy(query) as copy:
                data = b"".join(bytes(block) for block in copy)
            if hits := sweep(data):
                found[".".join(table)] = hits
    return found


def payloads(dsn: str) -> bytes:
    """All that the log holds, which is all that anybody is ever sent of it."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT data FROM log.event ORDER BY position").fetchall()
    return b"\n".join(bytes(row[0]) for row in rows)


@pytest.mark.parametrize("around", ["", "x", "xy", "电话"])
@pytest.mark.parametrize("text", [NAME, PHONE])
def test_the_sweep_finds_a_text_however_it_is_written(text: str, around: str) -> None:
    (what,) = (name for name, planted in PLANTED.items() if planted == text)
    longer = f"{around}{text}{around}"
    for how, data in {
        "UTF-8": longer.encode(),
        "UTF-16 LE": longer.encode("utf-16-le"),
        "UTF-16 BE": longer.encode("utf-16-be"),
        "JSON": json.dumps(longer).encode(),
        "hex": longer.encode().hex().encode(),
        "Base64": base64.b64encode(longer.encode()),
    }.items():
        hits = sweep(b"\xff\x00" + data + b"\x00\xff")
        assert what in {name for name, _ in hits}, how
    assert sweep(b"nobody " * 1000) == set()


# --- an installation ----------------------------------------------------------------------------


@dataclass
class Office:
    """A server that runs, and whoever works with it."""

    folder: Path
    address: str
    environment: dict[str, str]
    lines: Path
    program: Nursery
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        """The superuser's conninfo, from where the embedded server keeps it."""
        pid_file = (self.folder / "postgres" / "data" / "postmaster.pid").read_text()
        password = (self.folder / "postgres" / "password").read_text().strip()
        port = pid_file.splitlines()[3]
        return f"host=127.0.0.1 port={port} user=postgres dbname=wangge password={password}"

    def wangge(self, *words: str, given: str = PASSWORD + "\n") -> str:
        """Run a command; what it printed."""
        done = self.program.run(
            *words, environment=self.environment, folder=self.folder, given=given
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, person: str, path: str, body: Any = None, **headers: str) -> bytes:
        """The answer to somebody who is signed in, with what was written before."""
        if person not in self.tokens and person:
            signed = self.send("", "/tokens", {"username": person, "password": PASSWORD})
            self.tokens[person] = json.loads(signed)["access_token"]
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": f"Bearer {self.tokens[person]}"} if person else {}
        request = urllib.request.Request(
            self.address + "/api/v1" + path,
            None if body is None else json.dumps(body).encode(),
            headers,
        )
        said = ""
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    answered: bytes = response.read()
                    return answered
            except urllib.error.HTTPError as error:
                said = error.read().decode()
                if error.code != 503:  # the read models are still on their way
                    break
        raise AssertionError(said)

    def ask(self, person: str, path: str, body: Any = None, **headers: str) -> Any:
        """The same as JSON; a GET knows all that is in the log."""
        if body is None:
            head = json.loads(self.send("", "/health"))["position"]
            headers |= {"X-Wangge-Position": str(head)}
        return json.loads(self.send(person, path, body, **headers))

    def figures(self) -> str:
        """All metrics, to the byte but for how much of the log they know."""
        names = ("containment", "flow", "timeliness", "response", "evaluation", "quality")
        until = "until=2027-06-01T00:00:00Z"
        answers = [self.ask("chief", f"/metrics/{name}?{until}") for name in (*names, "caseload")]
        for answer in answers:  # but for when it was asked, and where it can be asked again
            assert all(answer.pop(name) for name in ("position", "as_of", "at"))
            assert all(figure.pop("cases") for figure in answer["figures"].values())
        return json.dumps(answers, ensure_ascii=False)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, program: Nursery) -> Iterator[Office]:
    """`wangge up` on a folder of its own, with its log lines in a file beside it."""
    folder = Path(tempfile.mkdtemp(prefix="wangge-test-"))
    lines = tmp_path_factory.mktemp("lines") / "lines"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANGGE_")}
    environment |= {"WANGGE_DATA": str(folder), "WANGGE_PORT": "0", "WANGGE_LOG_LEVEL": "debug"}
    with lines.open("w") as file:
        process = subprocess.Popen([*PROGRAM, "up"], env=environment, stderr=file)
    try:
        deadline = time.monotonic() + 90
        while not (ready := re.search(r"Ready: (\S+)", lines.read_text())):
            assert process.poll() is None, lines.read_text()
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
        yield Office(folder, ready[1], environment, lines, program)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(folder)


def set_up(office: Office) -> None:
    """A grid, and people with a password each."""
    people = (
        ("chief", "administrator", "主任"),
        ("second", "administrator", "副主任"),
        ("acceptor", "acceptor", "受理员"),
        ("worker", "grid_worker", COLLEAGUE),
    )
    for user, role, name in people:
        words = ("--role", role, "--name", name, "--password-stdin")
        ground = ("--territory", "d/s/c/g/") if role == "grid_worker" else ()
        if ground:
            for tier, (parent, each) in {
                "district": ("", "d"),
                "subdistrict": ("d/", "s"),
                "community": ("d/s/", "c"),
                "grid": ("d/s/c/", "g"),
            }.items():
                body = {"id": each, "tier": tier, "parent": parent, "name": each}
                office.ask("chief", "/territory/create", body | {"effective": "2026-01-01"})
        office.wangge("user", "add", user, *words, *ground)


def report(office: Office) -> str:
    """A case with all that is planted in it, looked at by somebody; returns its id."""
    body = {
        "territory": "d/s/c/g/",
        "description": TEXT,
        "spot": {"address": SPOT},
        "reporter": {"person": "p-1", "name": NAME, "phone": PHONE, "address": HOME},
        "category": "corridor_clutter",
    }
    case: str = office.ask("acceptor", "/cases", body, **{"Idempotency-Key": "k"})["case"]
    office.ask("acceptor", f"/cases/{case}/note", {"text": NOTE})
    office.ask("acceptor", f"/cases?phone={PHONE}")
    return case


@pytest.mark.e2e
def test_nothing_is_left_of_who_was_forgotten(office: Office) -> None:
    set_up(office)
    case = report(office)
    other = office.ask("acceptor", "/cases", {"territory": "d/s/c/g/", "description": "路灯不亮"})
    office.ask("acceptor", f"/cases/{case}")  # the read models know of it
    look = {"purpose": "complaint", "reason": WHY}
    shown = office.ask("acceptor", f"/cases/{case}/personal", look)
    assert (shown["description"], shown["address"]) == (TEXT, SPOT)
    assert shown["reporter"] == {"person": "p-1", "name": NAME, "phone": PHONE, "address": HOME}
    assert shown["steps"][-1]["details"]["text"] == NOTE
    assert office.ask("worker", "/staff/me")["name"] == COLLEAGUE

    # The controls. What stands in clear is found: a colleague's name, and what a mask keeps.
    with psycopg.connect(office.dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")
    tables = sweep_tables(office.dsn)
    assert {"search.cases", "search.staff_names"} <= tables.keys()
    assert ("colleague", "UTF-8") in tables["search.staff_names"]
    assert {what for hits in tables.values() for what, _ in hits} == {"colleague", "snippet"}
    files = sweep_files(office.folder)
    assert any("base/" in name for name in files)
    assert any("pg_wal/" in name for name in files)
    assert {what for hits in files.values() for what, _ in hits} == {"colleague", "snippet"}
    # What is planted in a table is found as well, however it is written, also if it is compressed.
    with psycopg.connect(office.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE planted (text text, data bytea)")
        for needle in ways_to_write(PHONE).values():
            connection.execute("INSERT INTO planted (data) VALUES (%s)", (needle,))
        connection.execute("INSERT INTO planted (text) VALUES (%s)", ((NAME + "、") * 9_000,))
        connection.execute("CHECKPOINT")
        hits = {hit for found in sweep_files(office.folder).values() for hit in found}
        assert {("phone", how) for how in ways_to_write(PHONE)} <= hits
        assert ("name", "UTF-8") in sweep_tables(office.dsn)["public.planted"]
        connection.execute("DROP TABLE planted")

    # No payload and no log line ever had anything.
    assert sweep(payloads(office.dsn)) == set()
    assert sweep(office.lines.read_bytes()) == set()

    before = office.figures()
    for person in ("p-1", "worker"):
        asked = office.wangge("forget", person, "--as", "chief", "--password-stdin")
        assert "--approve" in asked
    office.wangge("forget", "p-1", "--as", "second", "--approve", "--yes", "--password-stdin")
    # One over HTTP, and the disk afterwards, which until then still has a byte or two.
    done = office.ask("second", "/people/worker/forget/approve", {})
    assert done["events"] == ["privacy.person_forgotten", "staff.user_suspended"]
    assert sweep_files(office.folder)
    said = office.wangge("forget", "--wipe")
    assert "the disk is wiped" in said

    assert sweep_tables(office.dsn) == {}
    assert sweep_files(office.folder) == {}
    assert sweep(payloads(office.dsn)) == set()
    assert sweep(office.lines.read_bytes()) == set()

    assert office.figures() == before
    assert office.wangge("rebuild", "--all", "--verify").count("same") == len(NAMES)
    assert office.figures() == before
    assert sweep_files(office.folder) == {}

    card = office.ask("acceptor", f"/cases/{case}")
    assert {card[name] for name in card if name.startswith("reporter_")} == {"已删除"}
    assert (card["description"], card["reporter"]) == ("已删除", "p-1")
    steps = office.ask("acceptor", f"/cases/{case}/timeline")["steps"]
    assert steps[0]["details"]["reporter"]["name"] == "已删除"
    assert steps[-1]["details"]["text"] == "已删除"
    shown = office.ask("acceptor", f"/cases/{case}/personal", {"purpose": "handling"})
    assert {shown["description"], shown["reporter"]["phone"]} == {"已删除"}
    kept = office.ask("acceptor", f"/cases/{other['case']}/personal", {"purpose": "handling"})
    assert kept["description"] == "路灯不亮"
    (look,) = (
        row
        for row in office.ask("chief", "/access?person=p-1")["rows"]
        if row["purpose"] == "complaint"
    )
    assert look["actor"] == "acceptor"


# --- what is to be destroyed, and when ----------------------------------------------------------


@pytest.fixture
def forgetting(
    store: EventStore, runner: Runner, vault: Vault, pool: ConnectionPool
) -> Callable[[], Forgetting]:
    """A process that begins: it knows of nothing that was done before."""
    assert isinstance(runner.source, LogSource)
    source = runner.source
    return lambda: Forgetting(store, source, vault, StoredPasswords(pool).drop)


def forget_wang(store: EventStore) -> None:
    store.execute(samples.report(), samples.note(text="已看"))
    store.execute(samples.ask_forget(), samples.approve_forget())


WANGS: Final = {f"person:{samples.RESIDENT.id}#1", f"case:{samples.CASE}#1"}


def test_a_crash_before_the_destruction_is_made_good(
    store: EventStore, vault: Vault, forgetting: Callable[[], Forgetting]
) -> None:
    forget_wang(store)
    assert vault.find(WANGS).keys() == WANGS
    assert forgetting().finish() == 2
    assert vault.find(WANGS).destroyed.keys() == WANGS
    assert forgetting().finish() == 0


def test_who_has_come_back_is_spared(
    store: EventStore, vault: Vault, forgetting: Callable[[], Forgetting]
) -> None:
    forget_wang(store)
    first = forgetting()
    assert first.finish() == 2
    store.execute(samples.report(case="another"))
    assert first.finish() == 0
    assert forgetting().finish() == 0
    second = f"person:{samples.RESIDENT.id}#2"
    assert vault.find([second]).keys() == {second}


@pytest.mark.parametrize(("step", "many_keys"), [(1, 1), (2_000, MANY_KEYS)])
def test_what_is_reported_while_it_is_approved_is_forgotten_too(
    store: EventStore,
    vault: Vault,
    runner: Runner,
    forgetting: Callable[[], Forgetting],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    many_keys: int,
) -> None:
    """Also after a crash, and to the same rows however a read model is built."""
    monkeypatch.setattr("infra.forgetting.STEP", step)
    monkeypatch.setattr("infra.vault.MANY_KEYS", many_keys)
    store.execute(samples.report(), samples.ask_forget())
    store.execute(samples.report(case="late"), samples.report(case="of-another", reporter=None))
    store.execute(samples.file(case="late"), samples.split(case="late"))
    store.execute(samples.approve_forget())
    store.execute(samples.report(case="back"))
    runner.catch_up()
    forgetting().finish()
    events = [each.event for each in store.history(f"person:{samples.RESIDENT.id}")[1:]]
    assert [event.cases for event in events] == [
        (samples.CASE,),
        ("child-1", "child-2", "late"),
    ]
    gone = [f"case:{case}#1" for case in (samples.CASE, "late", "child-1", "child-2")]
    kept = [f"case:{case}#1" for case in ("of-another", "back")]
    assert vault.find([*gone, *kept]).destroyed.keys() == set(gone)
    assert forgetting().finish() == 0
    assert store.history(f"person:{samples.RESIDENT.id}")[-1].event == events[-1]

    runner.catch_up()
    for name in ("search", "audit"):
        runner.rebuild(next(each for each in runner.projections if each.name == name), verify=True)
    with runner.connect() as connection:
        rows = connection.execute("SELECT description FROM search.cases").fetchall()
    assert [row[0] for row in rows].count("已删除") == len(gone)


def test_what_is_new_is_found_page_by_page(
    store: EventStore,
    vault: Vault,
    forgetting: Callable[[], Forgetting],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.forgetting.PAGE", 1)
    running = forgetting()
    assert running.finish() == 0
    forget_wang(store)
    assert running.finish() == 2


@pytest.mark.parametrize(
    "error", [psycopg.OperationalError("the database is away"), OperationalError("the log is away")]
)
def test_it_goes_on_after_the_database_was_away(
    store: EventStore,
    vault: Vault,
    forgetting: Callable[[], Forgetting],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    forget_wang(store)
    done, stop, running = threading.Event(), threading.Event(), forgetting()
    finish, tries = running.finish, [0]

    def once_away() -> int:
        tries[0] += 1
        if tries[0] == 1:
            raise error
        destroyed = finish()
        done.set()
        return destroyed

    monkeypatch.setattr("infra.forgetting.EVERY_SECONDS", 0.01)
    monkeypatch.setattr(running, "finish", once_away)
    thread = threading.Thread(target=running.follow, args=(stop,))
    thread.start()
    assert done.wait(60)
    stop.set()
    thread.join()
    assert vault.find(WANGS).destroyed.keys() == WANGS


def test_another_server_soon_seals_no_more_with_a_key_that_was_destroyed(
    store: EventStore,
    runner: Runner,
    vault: Vault,
    pool: ConnectionPool,
    forgetting: Callable[[], Forgetting],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is typed there into a case that goes on was lost for a minute."""
    subjects = {f"person:{samples.RESIDENT.id}", f"case:{samples.CASE}"}
    there = Vault(vault._pool, KeyFile(folder / "data" / "kek"))
    forget_wang(store)
    there.settle(there.provide(subjects).values())
    assert isinstance(runner.source, LogSource)
    other = Forgetting(store, runner.source, there, StoredPasswords(pool).drop)
    finish, looked = other.finish, threading.Event()

    def noticed() -> int:
        destroyed = finish()
        looked.set()
        return destroyed

    monkeypatch.setattr(other, "finish", noticed)
    stop = threading.Event()
    thread = threading.Thread(target=other.follow, args=(stop,))
    thread.start()
    try:
        assert looked.wait(60)
        there.settle(there.provide(subjects).values())
        store.execute(samples.ask_forget(cases=(samples.CASE,)), samples.approve_forget())
        forgetting().finish()
        begun = time.monotonic()
        while there.cached(subjects) is not None:
            assert time.monotonic() < begun + CACHE_SECONDS / 3
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()


def test_what_the_rights_do_not_reach_is_said(
    store: EventStore, runner: Runner, database: str, secret: bytes
) -> None:
    runner.catch_up()
    vault_dsn = role_dsn(database, secret, "wangge_vault")
    left = wipe(runner.connect, role_dsn(database, secret, "wangge_app"), vault_dsn)
    assert any("pg_statistic" in each for each in left)
    assert any(each.startswith("CHECKPOINT") for each in left)
    assert not any("search" in each for each in left)
    assert wipe(runner.connect, database, database) == []


def test_a_colleague_s_password_is_void(
    store: EventStore, pool: ConnectionPool, forgetting: Callable[[], Forgetting]
) -> None:
    by = Actor("chief", (Grant(Role.ADMINISTRATOR, ""),))
    store.execute(
        staff.AddUser(
            by=by,
            at=samples.NOW,
            id="zhou",
            name="周",
            grants=(Grant(Role.HOTLINE, ""),),
            unit=None,
        )
    )
    passwords = StoredPasswords(pool)
    passwords.set("zhou", PASSWORD)
    store.execute(
        AskForget(by=by, at=samples.NOW, person="zhou", territory="", reason=ForgetReason.RETENTION)
    )
    store.execute(samples.approve_forget(person="zhou", cases=()))
    forgetting().finish()
    assert not passwords.verify("zhou", PASSWORD)
