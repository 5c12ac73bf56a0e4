"""The command line, as a process: what it prints, and how it says no."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import OperationalError
from psycopg_pool import ConnectionPool

from api.passwords import StoredPasswords
from domain.deadlines import Automatic
from domain.operations import stream
from domain.personal import SEALED
from domain.roles import Grant, Role
from infra import cli, demo
from infra.cli import frame, servers
from infra.event_store import EventStore
from infra.installation import published_years
from infra.settings import Settings
from projections.catalog import NAMES as READ_MODELS
from projections.metrics import METRICS
from projections.runner import Progress
from tests import samples
from tests.forked import Nursery
from tests.infra.test_importers import HEADER, request, trace, xes

PROGRAM = [sys.executable, "-c", "from infra.cli import main; main()"]

Wangge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(database: str, secret: bytes, folder: Path) -> dict[str, str]:
    """An installation on the test's own database."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "secret").write_bytes(secret)
    (data / "secret").chmod(0o600)
    here = {"WANGGE_DSN": database, "WANGGE_DATA": str(data), "WANGGE_PORT": "0"}
    return {k: v for k, v in os.environ.items() if not k.startswith("WANGGE_")} | here


@pytest.fixture
def wangge(environment: dict[str, str], folder: Path, program: Nursery) -> Wangge:
    """Runs a command to its end."""

    def run(*words: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        here = environment | settings
        return program.run(*words, environment=here, folder=folder, given=given)

    return run


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a command printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_log_begins_with_the_catalogue_and_the_calendar(wangge: Wangge) -> None:
    figures = answer(wangge("log", "stat", "--json"))
    assert figures["streams"] == 2
    assert figures["events"] == figures["last_position"] == 23 + len(published_years())
    assert answer(wangge("log", "stat", "--json")) == figures  # seeded once
    assert "last_position" in wangge("log", "stat").stdout


def test_import_metrics_and_a_look_into_the_past(wangge: Wangge, folder: Path) -> None:
    (folder / "log.xes").write_bytes(
        xes(trace("Ana A1 Accepted/In Progress", "Bo 2nd Queued/Awaiting Assignment"))
    )
    (folder / "requests.csv").write_text(
        HEADER + request("1") + request("2", closed="06/26/2018 09:00:00 AM")
    )
    done = answer(wangge("import", "bpic2013", "log.xes", "--json"))
    assert (done["cases"], done["added"], done["bad"]) == (1, 1, 0)
    done = answer(wangge("import", "nyc311", "requests.csv", "--report", "bad.csv", "--json"))
    assert (done["added"], done["bad"], done["report"]) == (1, 1, "bad.csv")
    assert "case.time_order" in (folder / "bad.csv").read_text(encoding="utf-8-sig")

    flow = answer(wangge("metrics", "flow", "--json"))["figures"]
    assert (flow["escalated"]["denominator"], flow["return_rate"]["denominator"]) == (2, 1)
    found = answer(wangge("metrics", "containment", "--json"))
    assert found["figures"]["community_all"]["value"] == 1.0
    one = answer(wangge("metrics", "flow", "--json", "--territory", "bpic2013/"))
    assert one["figures"]["escalated"]["denominator"] == 1
    assert one["window"]["territory"] == "bpic2013/"
    none = answer(wangge("metrics", "timeliness", "--json", "--to", "2018-06-26"))
    assert none["figures"]["on_time_rate"]["value"] is None
    again = answer(wangge("metrics", "containment", "--json", "--as-of", found["as_of"]))
    assert again == found
    before = answer(wangge("metrics", "containment", "--json", "--as-of", "2020-01-01"))
    assert before["figures"]["community_all"]["denominator"] == 0
    by_source = answer(wangge("metrics", "flow", "--json", "--over", "source"))["groups"]
    assert len(by_source) == 2
    assert len(answer(wangge("metrics", "caseload", "--json"))["grids"]) == 2
    assert "1 ÷ 1 = 100.00%" in wangge("metrics", "timeliness").stdout

    assert answer(wangge("case", "show", "nyc311-1", "--json"))["state"] == "closed"
    third = answer(wangge("case", "show", "nyc311-1", "--json", "--as-of", "3"))
    assert (third["version"], third["state"]) == (3, "assigned")
    then = wangge("case", "show", "nyc311-1", "--json", "--as-of", "2018-06-26T10:30:00-04:00")
    assert answer(then)["state"] == "assigned"
    shown = wangge("case", "show", "nyc311-1").stdout
    assert "case.closed" in shown
    # Like everything that people are told, in office time.
    assert re.search(r"reported_at\W+2018-06-2\d \d\d:\d\d:\d\d", shown), shown
    assert not re.search(r"\dT\d", shown), shown


def test_rebuilt_read_models_are_the_same(wangge: Wangge, folder: Path) -> None:
    (folder / "requests.csv").write_text(HEADER + request("1"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    done = wangge("rebuild", "--all", "--verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("same") == len(READ_MODELS)
    assert wangge("rebuild", "worklist").returncode == 0


def test_a_poisoned_read_model_stops_no_other_and_can_be_rebuilt(
    wangge: Wangge, folder: Path, database: str
) -> None:
    (folder / "requests.csv").write_text(HEADER + request("1"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    assert wangge("rebuild", "--all").returncode == 0
    with psycopg.connect(database) as connection:
        connection.execute("DROP TABLE timeliness.cases")
    more = request("2", kind="Rodent")
    (folder / "requests.csv").write_text(HEADER + more)
    answer(wangge("import", "nyc311", "requests.csv", "--json"))

    flow = answer(wangge("metrics", "flow", "--json"))["figures"]
    assert flow["escalated"]["denominator"] == 2
    stuck = wangge("metrics", "timeliness")
    assert stuck.returncode == 1
    assert "读模型 timeliness 停在位置" in stuck.stderr
    assert "The read model timeliness stands still" in stuck.stderr
    assert wangge("rebuild", "worklist").returncode == 0
    done = wangge("rebuild", "timeliness")
    assert done.returncode == 0, done.stderr
    figures = answer(wangge("metrics", "timeliness", "--json"))["figures"]
    assert figures["on_time_rate"]["denominator"] == 2


def test_people(wangge: Wangge, store: EventStore, pool: ConnectionPool) -> None:
    words = ("user", "add", "wang.fang", "--name", "王芳", "--role", "administrator")
    done = wangge(*words, "--password-stdin", given="correct horse\n")
    assert done.returncode == 0, done.stderr
    user = store.office().staff.user("wang.fang")
    assert (user.name, user.grants) == (SEALED, (Grant(Role.ADMINISTRATOR, ""),))
    assert StoredPasswords(pool).verify("wang.fang", "correct horse")
    # Somebody who is there keeps the password.
    again = wangge(*words, "--password-stdin", given="battery staple\n")
    assert again.returncode == 2
    assert "wang.fang" in again.stderr
    assert StoredPasswords(pool).verify("wang.fang", "correct horse")


def chiefs(wangge: Wangge) -> None:
    for user in ("chief", "second"):
        words = ("user", "add", user, "--role", "administrator", "--password-stdin")
        assert wangge(*words, given=f"password of {user}\n").returncode == 0


def test_a_person_is_forgotten_by_two_who_have_signed_in(
    wangge: Wangge, store: EventStore, folder: Path, environment: dict[str, str]
) -> None:
    chiefs(wangge)
    (folder / "requests.csv").write_text(HEADER + request("1"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))

    def forget(by: str, *words: str, password: str = "") -> subprocess.CompletedProcess[str]:
        given = (password or f"password of {by}") + "\n"
        return wangge("forget", "p-1", "--as", by, "--password-stdin", *words, given=given)

    assert forget("chief", password="a wrong one").returncode == 2
    unknown = forget("chief", "--case", "nowhere")
    assert (unknown.returncode, "nowhere" in unknown.stderr) == (2, True)
    assert store.history("person:p-1") == []
    asked = forget("chief", "--case", "nyc311-1", "--reason", "mistake")
    assert asked.returncode == 0, asked.stderr
    assert "--approve" in asked.stdout
    alone = forget("chief", "--approve", "--yes")
    assert (alone.returncode, "another person" in alone.stderr) == (2, True)
    assert forget("second", "--decline").returncode == 0
    assert forget("chief", "--case", "nyc311-1").returncode == 0
    # Who approves sees what was asked, and nothing happens without an answer.
    before = store.history("person:p-1")
    unsure = forget("second", "--approve")
    assert unsure.returncode != 0
    assert "Asked by: chief" in unsure.stdout
    assert "本人要求" in unsure.stdout
    assert "nyc311-1" in unsure.stdout
    assert store.history("person:p-1") == before
    # Nor is another request approved than the one that was shown.
    slow = subprocess.Popen(
        [Path(sys.executable).with_name("wangge"), "forget", "p-1", "--as", "second", "--approve",
         "--password-stdin"],
        env=environment | {"PYTHONUNBUFFERED": "1"}, cwd=folder, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert slow.stdin is not None
    assert slow.stdout is not None
    slow.stdin.write("password of second\n")
    slow.stdin.flush()
    while "nyc311-1" not in slow.stdout.readline():
        assert slow.poll() is None
    assert forget("chief", "--decline").returncode == 0
    assert forget("chief", "--case", "nyc311-1", "--reason", "mistake").returncode == 0
    _, said = slow.communicate("y\n", timeout=60)
    assert (slow.returncode, "has changed" in said) == (2, True)
    assert [r.name for r in store.history("person:p-1")][-1] == "privacy.forget_asked"
    done = forget("second", "--approve", password="password of second\ny")
    assert done.returncode == 0, done.stderr
    # An outside database's write-ahead log is its operator's.
    assert "Keys destroyed now: 1" in done.stdout
    assert "60" in done.stdout
    names = [recorded.name for recorded in store.history("person:p-1")]
    assert names[-1] == "privacy.person_forgotten"
    assert store.history("case:nyc311-1", opened=True)[0].event.description == "已删除"
    assert "60" in wangge("forget", "--wipe").stdout


def test_keys_are_wrapped_anew_and_a_rotation_that_was_stopped_goes_on(
    wangge: Wangge, folder: Path, environment: dict[str, str]
) -> None:
    kek = Path(environment["WANGGE_DATA"]) / "kek"
    (folder / "requests.csv").write_text(HEADER + request("1"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    first = kek.read_text()
    assert first.startswith("1 ")
    assert wangge("rotate-keys", "--add-only").returncode == 0
    assert len(kek.read_text().splitlines()) == 2
    done = wangge("rotate-keys")
    assert done.returncode == 0, done.stderr
    assert "epochs given up: 1." in done.stdout
    assert kek.read_text().startswith("2 ")
    shown = wangge("case", "show", "nyc311-1", "--json")
    assert answer(shown)["state"]
    lost = wangge("case", "show", "nyc311-1", WANGGE_KEK=str(folder / "old"))
    assert lost.returncode == 2
    (folder / "old").write_text(first)
    assert "WANGGE_KEK" in wangge("log", "stat", WANGGE_KEK=str(folder / "old")).stderr


def test_a_connection_that_is_lost_meanwhile_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a password is awaited, for instance: the store says it in the library's words."""

    def lost() -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(cli, "app", lost)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "wangge doctor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("log", "stat"), {"WANGGE_PORT": "99999"}, "WANGGE_PORT"),
        (("log", "stat"), {"WANGGE_LOG_LEVEL": "loud"}, "WANGGE_LOG_LEVEL"),
        (("log", "stat"), {"WANGGE_DATA": ""}, "WANGGE_DATA: 为空"),
        (("log", "stat"), {"WANGGE_DATA": "/etc/passwd"}, "set WANGGE_DATA"),
        (("up",), {"WANGGE_DATA": "/proc/x"}, "set WANGGE_DATA"),
        (("demo",), {"WANGGE_HOST": "0.0.0.0"}, "WANGGE_HOST"),
        (("up",), {"WANGGE_HOST": ""}, "WANGGE_HOST: 至少 1 个字符"),
        (("up",), {"WANGGE_PORT": "70000"}, "WANGGE_PORT: 不应大于 65535"),
        (("up",), {"WANGGE_PORT": "70000"}, "less than or equal to 65535"),
        (("import", "nyc311", "/nowhere.csv"), {}, "/nowhere.csv"),
        (("import", "bpic2013", "/etc/passwd"), {}, "/etc/passwd"),
        (("import", "jira", "/etc/passwd"), {}, "jira"),
        (("metrics", "containment", "--from", "soon"), {}, "soon"),
        (("metrics", "containment", "--territory", "none/"), {}, "none/"),
        (("metrics", "containment", "--from", "0001-01-01"), {}, "1950"),
        (("metrics", "containment", "--as-of", "9999-12-31"), {}, "2998"),
        (("export", "xes", "log.xes", "--since", "0001-01-01"), {}, "1950"),
        (("export", "ocel", "log.json", "--until", "9999-12-31"), {}, "2998"),
        (("report", "daily", "d1/", "--day", "0001-01-01"), {}, "1950"),
        (("report", "monthly", "d1/", "--day", "9999-12-31"), {}, "2998"),
        (("metrics", "luck"), {}, "luck"),
        (("rebuild",), {}, "--all"),
        (("case", "show", "none"), {}, "none"),
        (("forget",), {}, "--wipe"),
        (("forget", "p-1"), {}, "--as"),
        (("forget", "P 1", "--as", "chief"), {}, "P 1"),
        (("forget", "p-1", "--wipe"), {}, "--wipe"),
        (("forget", "p-1", "--as", "chief", "--approve", "--decline"), {}, "--approve"),
        (("forget", "p-1", "--as", "chief", "--reason", "whim"), {}, "whim"),
        (("forget", "p-1", "--as", "nobody", "--password-stdin"), {}, "用户名"),
        (("rotate-keys",), {"WANGGE_KEK": "/etc/passwd"}, "WANGGE_KEK"),
        (("user", "add", "X y", "--role", "handler", "--password-stdin"), {}, "X y"),
        (("user", "add", "x", "--role", "king", "--password-stdin"), {}, "king"),
        (
            ("user", "add", "x", "--role", "handler", "--territory", "no/", "--password-stdin"),
            {},
            "no/",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    wangge: Wangge, words: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    done = wangge(*words, given="long enough\n", **settings)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_short_password_is_refused_before_anything_is_stored(
    wangge: Wangge, store: EventStore
) -> None:
    done = wangge("user", "add", "x", "--role", "handler", "--password-stdin", given="short\n")
    assert done.returncode == 2
    assert store.office().staff.users == {}


def test_a_password_is_one_that_can_be_typed_at_the_sign_in(
    wangge: Wangge, store: EventStore, pool: ConnectionPool
) -> None:
    def add(given: str, *words: str) -> subprocess.CompletedProcess[str]:
        person = ("user", "add", "x", "--role", "administrator", "--password-stdin")
        return wangge(*person, *words, given=given)

    for given, words, said in (
        ("a bell\a rings\n", (), "控制字符"),
        ("no \udcff text\n", (), "UTF-8"),
        ("long enough\n", ("--name", "two\nlines"), "--name"),
        ("long enough\n", ("--name", "x" * 101), "--name"),
    ):
        done = add(given, *words)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert said in done.stderr
        assert store.office().staff.users == {}
    # As a file from Windows ends its line.
    assert add("correct horse\r\n").returncode == 0
    assert StoredPasswords(pool).verify("x", "correct horse")


def test_an_output_without_the_signs_or_without_errors_says_the_rest(
    environment: dict[str, str],
) -> None:
    def said(words: str, **settings: str) -> str:
        return subprocess.run(
            ["/bin/sh", "-c", f'"$@" {words}', "sh", *PROGRAM],
            env=environment | settings,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    assert "streams: 2" in said("log stat 2>&-")
    assert "worklist" in said("project status", PYTHONIOENCODING="ascii")
    figures = json.loads(said("metrics flow --json", PYTHONIOENCODING="ascii"))
    assert figures == figures | {"zh": METRICS["flow"].zh}


def test_what_only_an_operator_meets_is_said_in_both_languages(
    wangge: Wangge, environment: dict[str, str], database: str
) -> None:
    assert wangge("project", "status").returncode == 0
    with psycopg.connect(database) as owner:
        owner.execute("INSERT INTO public.migration VALUES (999, '999_later.sql', '-')")
    later = wangge("log", "stat")
    assert (later.returncode, "Traceback" in later.stderr) == (1, False)
    assert "请用较新的版本" in later.stderr
    assert "Use the newer version" in later.stderr
    (Path(environment["WANGGE_DATA"]) / "secret").write_text("short")
    short = wangge("log", "stat")
    assert short.returncode == 2
    assert "请从备份或其他机器恢复" in short.stderr
    assert "holds no secret" in short.stderr


def test_a_database_that_is_not_there(wangge: Wangge) -> None:
    dsn = "postgresql://postgres@127.0.0.1:1/none"
    done = wangge("log", "stat", WANGGE_DSN=dsn)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    checked = wangge("doctor", WANGGE_DSN=dsn)
    assert checked.returncode == 1
    assert "✗ database" in checked.stdout


def test_the_doctor_finds_nothing_and_then_something(
    wangge: Wangge, environment: dict[str, str], database: str
) -> None:
    done = wangge("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert "clock" in done.stdout
    (Path(environment["WANGGE_DATA"]) / "secret").chmod(0o644)
    with psycopg.connect(database) as connection:
        connection.execute("GRANT DELETE ON log.event TO wangge_app")
    ill = wangge("doctor")
    assert ill.returncode == 1
    assert "✗ secret: 0644" in ill.stdout
    assert "✗ role wangge_app" in ill.stdout
    assert "chmod 600" in ill.stdout


def test_the_doctor_finds_a_vault_and_files_that_do_not_go_with_the_log(
    wangge: Wangge, store: EventStore, database: str
) -> None:
    store.execute(samples.report(case="a"), samples.attach(case="a"))
    whole = wangge("doctor")
    assert "✓ keys: 2 / 2" in whole.stdout
    assert "✗ attachments: 0 / 1" in whole.stdout
    with psycopg.connect(database) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE log.event SET causation = %s", (demo.CAUSATION,))
    assert "✓ attachments: 0 / 0" in wangge("doctor").stdout  # the sample's were never there
    with psycopg.connect(database) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM vault.key")
    ill = wangge("doctor")
    assert ill.returncode == 1
    assert "✗ keys: 0 / 2" in ill.stdout


@pytest.mark.parametrize("data", ["/etc/passwd", "/etc/passwd/x", "/proc/x"])
def test_the_doctor_looks_on_where_there_can_be_no_data(wangge: Wangge, data: str) -> None:
    done = wangge("doctor", WANGGE_DATA=data)
    assert done.returncode == 1
    assert f"✗ data: {data} (" in done.stdout
    assert "✗ database: WANGGE_DATA" in done.stdout
    assert "Traceback" not in done.stderr


def test_read_models_that_nobody_projects_are_found_once_the_log_is_used(
    wangge: Wangge, folder: Path
) -> None:
    assert wangge("doctor").returncode == 0  # what every log begins with may wait
    (folder / "requests.csv").write_text(HEADER + request("1"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    behind = wangge("doctor")
    assert behind.returncode == 1
    assert "✗ projection worklist: 0 /" in behind.stdout
    assert "wangge up" in behind.stdout
    assert wangge("rebuild", "--all").returncode == 0
    assert wangge("doctor").returncode == 0


@pytest.mark.parametrize("command", ["up", "serve", "demo"])
def test_a_port_that_is_taken_is_found_before_anything_is_started(
    wangge: Wangge, folder: Path, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = wangge(command, WANGGE_PORT=port, WANGGE_DATA=str(folder / "new"))
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert not (folder / "new").exists()


def test_the_bar_of_a_metric_is_shown_only_when_it_takes_a_while(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with frame.progress_if_long("timeliness") as advance:
        advance(Progress("timeliness", 40, 40, 1.0, 0.0))
    assert capfd.readouterr().err == ""
    with frame.progress_if_long("timeliness") as advance:
        advance(Progress("timeliness", 5_000, 7_000, 1.0, 0.0))
        advance(Progress("timeliness", 7_000, 7_000, 1.0, 0.0))
    said = capfd.readouterr()
    assert "timeliness" in said.err
    assert said.out == ""


def test_a_password_is_not_shown_with_what_to_set(folder: Path) -> None:
    data = Settings(data=folder / "a b")
    assert servers._chosen(data) == f"WANGGE_DATA='{folder}/a b'"
    apart = Settings(data=folder, kek=folder / "k", attachments="s3://b/p?region=x")
    assert servers._chosen(apart) == (
        f"WANGGE_DATA={folder} WANGGE_KEK={folder}/k WANGGE_ATTACHMENTS='s3://b/p?region=x'"
    )
    outside = servers._chosen(Settings(dsn="postgresql://u:hush@db.example/wangge_demo"))
    assert "dbname=wangge_demo" in outside
    assert "hush" not in outside


@pytest.mark.e2e
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_up_serves_beside_other_commands_and_stops_cleanly(
    folder: Path, sign: signal.Signals
) -> None:
    process, errors, environment = _up(folder)
    try:
        address = _address(process, errors)
        with urllib.request.urlopen(f"{address}/api/v1/health", timeout=10) as response:
            assert json.load(response)["status"] == "ok"
        beside = subprocess.run(
            [*PROGRAM, "log", "stat", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert answer(beside)["streams"] == 2
        second = subprocess.run(
            [*PROGRAM, "up"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert str(process.pid) in second.stderr
    finally:
        process.send_signal(sign)
        returned = process.wait(60)
    assert returned == 0, errors.read_text()
    assert "Traceback" not in errors.read_text()
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.e2e
def test_up_outlives_its_database(folder: Path) -> None:
    process, errors, _ = _up(folder)
    try:
        address = _address(process, errors)
        pid = (folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while not _is_well(address):
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        returned = process.wait(60)
    assert returned == 0, errors.read_text()


def _up(folder: Path) -> tuple[subprocess.Popen[bytes], Path, dict[str, str]]:
    """`wangge up` on a folder, the file of what it says, and its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANGGE_")}
    environment |= {"WANGGE_DATA": str(folder), "WANGGE_PORT": "0"}
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen([*PROGRAM, "up"], env=environment, stderr=file)
    return process, errors, environment


def _is_well(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/v1/health", timeout=30) as response:
            return bool(json.load(response)["status"] == "ok")
    except OSError:  # 503 too
        return False


def _address(process: subprocess.Popen[bytes], errors: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"Ready: (\S+)", errors.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(errors.read_text())


def test_files_that_no_case_names_are_found_and_deleted_after_a_day(
    wangge: Wangge, folder: Path
) -> None:
    assert wangge("sweep").returncode == 0
    store = folder / "data" / "attachments"
    orphan, fresh = "ab" + "0" * 62, "cd" + "1" * 62
    for name in (orphan, fresh):
        (store / name[:2]).mkdir(parents=True, exist_ok=True)
        (store / name[:2] / name).write_bytes(b"left behind")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(store / orphan[:2] / orphan, (two_days_ago, two_days_ago))
    assert wangge("sweep").stdout.split() == [orphan, "11"]
    assert wangge("sweep", "--remove").stdout.split() == [orphan, "11"]
    assert wangge("sweep").stdout == ""
    assert (store / fresh[:2] / fresh).exists()


def test_what_happens_by_itself_is_listed_and_done(
    wangge: Wangge, folder: Path, database: str
) -> None:
    rows = request("1", closed="", status="Open") + request("2", kind="Rodent")
    (folder / "requests.csv").write_text(HEADER + rows)
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    listed = wangge("deadlines", "list")
    assert listed.returncode == 0, listed.stderr
    late = wangge("deadlines", "list", "--due").stdout
    assert "超期上报" in late
    assert "nyc311-1" in late
    first = wangge("deadlines", "list", "--limit", "1")
    assert len(first.stdout.splitlines()) < len(listed.stdout.splitlines())
    assert "there are more" in first.stderr
    assert listed.stderr == wangge("deadlines", "list", "--due", "--limit", "9").stderr == ""
    # All of a case is there, however long the other words are, and whatever they are.
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO automatic.failure SELECT 'nyc311-1', kind, 1, 3, %s, now()"
            " FROM unnest(%s::text[]) kind",
            ("[/" + "x" * 60 + "]", [kind.value for kind in Automatic]),
        )
    failing = wangge("deadlines", "list")
    assert failing.returncode == 0, failing.stderr
    assert "nyc311-1 " in failing.stdout
    assert failing.stdout.count("x") >= 60
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM automatic.failure")
    done = wangge("deadlines", "run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"done [1-9]\d*，失败 · failed 0", done.stdout)
    shown = wangge("case", "show", "nyc311-1").stdout
    assert shown.count("case.deadline_breached") == 1
    assert "done 0，" in wangge("deadlines", "run").stdout
    assert "nyc311-1" not in wangge("deadlines", "list", "--due").stdout


def test_an_event_is_left_out_by_a_named_person_with_a_reason(
    wangge: Wangge, folder: Path, database: str, store: EventStore
) -> None:
    chiefs(wangge)
    (folder / "requests.csv").write_text(HEADER + request("1") + request("2", kind="Rodent"))
    answer(wangge("import", "nyc311", "requests.csv", "--json"))
    with psycopg.connect(database) as connection:  # as no role of ours could
        connection.execute("ALTER TABLE log.event DISABLE TRIGGER ALL")
        found = connection.execute(
            "UPDATE log.event SET data = 'broken' WHERE name = 'case.filed'"
            " AND stream = 'case:nyc311-1' RETURNING position"
        ).fetchone()
        connection.execute("ALTER TABLE log.event ENABLE TRIGGER ALL")
    assert found is not None
    position = str(found[0])
    halted = wangge("deadlines", "list")
    assert halted.returncode == 1
    assert position in halted.stderr
    assert f"halted at {position}" in re.sub(r"\s+", " ", wangge("project", "status").stdout)

    def skip(at: str, *more: str, by: str = "chief") -> subprocess.CompletedProcess[str]:
        words = ("project", "skip", "deadlines", at, "--by", by, "--password-stdin")
        return wangge(*words, *more, given=f"password of {by}\n")

    assert skip(position).returncode == 2  # why?
    assert skip(position, "--reason", "x", by="nobody").returncode == 2
    other = skip("1", "--reason", "坏事件")
    assert (other.returncode, "Traceback" in other.stderr) == (2, False)
    assert store.history(stream("deadlines")) == []
    done = skip(position, "--reason", "坏事件")
    assert done.returncode == 0, done.stderr
    (skipped,) = store.history(stream("deadlines"))
    assert (skipped.actor, skipped.event.position) == ("chief", int(position))
    listed = wangge("deadlines", "list")
    assert listed.returncode == 0, listed.stderr
    assert "nyc311-2" in listed.stdout
    assert wangge("project", "pause", "deadlines").returncode == 0
    assert "已暂停" in wangge("project", "status").stdout

    # What somebody has paused does not go on because somebody else asks.
    def stands_at() -> int:
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT position FROM deadlines.checkpoint").fetchone()
        assert row is not None
        return int(row[0])

    def head() -> int:
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT position FROM log.head").fetchone()
        assert row is not None
        return int(row[0])

    paused_at = stands_at()
    (folder / "more.csv").write_text(HEADER + request("3"))
    answer(wangge("import", "nyc311", "more.csv", "--json"))
    for asking in (("deadlines", "list"), ("deadlines", "run")):
        asked = wangge(*asking)
        assert (asked.returncode, "deadlines 已暂停" in asked.stderr) == (0, True), asked.stderr
    assert stands_at() == paused_at < head()
    assert wangge("project", "resume", "deadlines").returncode == 0
    assert "已暂停" not in wangge("deadlines", "list").stderr
    assert stands_at() == head()
    assert wangge("project", "skip", "no-such", "1", "--by", "x", "--reason", "y").returncode == 2
