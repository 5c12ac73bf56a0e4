"""What is written when something is wrong: where it went wrong, and no value of any variable."""

import json
import logging
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from infra.logging import set_up
from infra.settings import Settings


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root, before = logging.getLogger(), structlog.get_config()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    yield
    structlog.configure(**before)


def _fail(password: str) -> None:
    raise RuntimeError("something is broken")


def _log_failures() -> None:
    """One by structlog, one by the standard library's logging, as a library would."""
    try:
        _fail("".join(["open", " ", "sesame"]))
    except RuntimeError as error:
        structlog.get_logger().error("ours", exc_info=error)
        logging.getLogger("library").exception("theirs")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_error_is_written_without_the_values_of_variables(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(Settings(log_json=as_json))
    _log_failures()
    written = capsys.readouterr().err
    assert written.count("RuntimeError: something is broken") == 2
    assert written.count("_fail") >= 2, "it says where"
    assert "open sesame" not in written
    assert len(written) < 3_000


@pytest.mark.parametrize(
    ("error", "told"),
    [(psycopg.OperationalError("the database is away"), False), (RuntimeError("a mistake"), True)],
)
def test_where_it_went_wrong_is_told_unless_the_database_is_away(
    error: Exception, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(Settings())
    try:
        raise error
    except (psycopg.OperationalError, RuntimeError) as raised:
        structlog.get_logger().warning("feed.interrupted", exc_info=raised)
    first, *rest = capsys.readouterr().err.splitlines()
    assert str(error) in first
    assert bool(rest) is told


def test_json_has_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings(log_json=True))
    _log_failures()
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], theirs["event"]) == ("ours", "theirs")
    assert ours["exception"].startswith("Traceback")
    assert theirs["level"] == "error"


def test_a_line_stays_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings())
    structlog.get_logger().info("request", path='/a b\nlevel=error event="forged"', status=200)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        ' level=info event=request path="/a b\\nlevel=error event=\\"forged\\"" status=200'
    )
    assert line.startswith("timestamp=")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("李", "李"),
        (1.5, "1.5"),
        (None, "None"),
        ("", '""'),
        (" ", '" "'),
        ("end ", '"end "'),
        (" begin", '" begin"'),
        ("two  blanks", '"two  blanks"'),
        ("a=b", '"a=b"'),
        ("=", '"="'),
        ('"', '"\\""'),
        ("line\n", '"line\\n"'),
        ("tab\t", '"tab\\t"'),
        ("\x1b[2Jgone", '"\\u001b[2Jgone"'),
        ("\x00\x07\x7f", '"\\u0000\\u0007\\u007f"'),
        ("\x9b2J", '"\\u009b2J"'),
        ("next\x85line\u2028", '"next\\u0085line\\u2028"'),
        ("no\u00a0break", '"no\u00a0break"'),
        ("ideographic\u3000blank", '"ideographic\u3000blank"'),
    ],
)
def test_a_value_with_blanks_or_signs_is_quoted(
    capsys: pytest.CaptureFixture[str], value: object, written: str
) -> None:
    set_up(Settings())
    structlog.get_logger().info("request", first=value, last=value)
    said = capsys.readouterr().err
    assert said.endswith(f" level=info event=request first={written} last={written}\n")


@pytest.mark.parametrize(
    ("event", "args", "values"),
    [
        ("request", (), {"path": "/api/v1/cases", "status": 200, "person": "", "ms": 1.5}),
        ("request", (), {"path": "/a b", "request": "its own"}),
        ("%s of %d", ("one", 2), {}),
        ("two words", (), {"level_": None}),
        ("failed", (), {"exc_info": RuntimeError("no"), "n": 1}),
    ],
)
def test_a_line_that_goes_straight_to_the_file_is_the_same(
    event: str, args: tuple[object, ...], values: dict[str, object],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("infra.logging._now", lambda: "now")
    set_up(Settings())
    usual = structlog.make_filtering_bound_logger(logging.INFO)
    with structlog.contextvars.bound_contextvars(request="5b1c6f3e", place="g 1"):
        structlog.get_logger().info(event, *args, **values)
        straight = capsys.readouterr().err
        structlog.configure(wrapper_class=usual)
        structlog.get_logger().info(event, *args, **values)
    assert straight == capsys.readouterr().err != ""


def test_what_is_bound_to_a_logger_is_in_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(Settings())
    structlog.get_logger().bind(bound="yes").info("said", n=1)
    assert capsys.readouterr().err.rstrip().endswith("event=said bound=yes n=1")


@pytest.mark.parametrize("form", ["text", "json", "terminal"])
def test_no_control_character_is_written(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: form == "terminal")
    monkeypatch.setenv("NO_COLOR", "1")
    set_up(Settings(log_json=form == "json"))
    structlog.get_logger().info("request", path="/\x1b]0;owned\x07\x9b2J\x7f")
    logging.getLogger("library").warning("an address: %s", "/\x1b[2J")
    written = capsys.readouterr().err
    assert "owned" in written
    found = {each for each in written if not each.isprintable()} - {"\n"}
    assert found <= ({"\x1b"} if form == "terminal" else set())
    assert not any(each in written for each in ("\x1b]", "\x1b[2J", "\x9b"))
