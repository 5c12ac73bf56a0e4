"""Settings, and the secret that an installation makes for itself."""

import os
import secrets
import signal
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import ValidationError

from infra.cli import main
from infra.kafka_topic import topics_of
from infra.settings import SettingError, Settings, write_anew, write_once


def test_the_secret_is_made_once_and_is_its_owners_alone(folder: Path) -> None:
    data = folder / "data"
    first = Settings(data=data).secret()
    assert len(first) == 64
    assert Settings(data=data).secret() == first
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert [path.name for path in data.iterdir()] == ["secret"]


def test_a_start_that_dies_before_the_secret_is_written_leaves_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def die(_: int) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        patched.setattr(Path, "unlink", lambda _: None)  # whoever is killed tidies nothing up
        with pytest.raises(KilledError):
            Settings(data=folder).secret()
    assert not (folder / "secret").exists()
    assert len(Settings(data=folder).secret()) == 64


def test_first_starts_at_the_same_time_agree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(4)
    make = secrets.token_hex

    def made(size: int) -> str:
        together.wait(10)  # all have seen that there is none
        return make(size)

    monkeypatch.setattr(secrets, "token_hex", made)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: Settings(data=folder).secret(), range(4)))
    assert len(set(found)) == 1
    assert found[0].decode() == (folder / "secret").read_text()


def test_a_file_is_written_anew_as_a_whole_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "kek"
    write_once(file, "first")
    write_once(file, "second")
    assert file.read_text() == "first"
    write_anew(file, "third")
    assert file.read_text() == "third"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_anew(file, "fourth")
    assert file.read_text() == "third"
    assert [path.name for path in folder.iterdir()] == ["kek"]


def test_an_empty_secret_is_no_secret(folder: Path) -> None:
    (folder / "secret").touch()
    with pytest.raises(SettingError, match="no secret"):
        Settings(data=folder).secret()


@pytest.mark.parametrize("below", ["", "data"])
def test_a_data_folder_that_cannot_be_used_is_named(folder: Path, below: str) -> None:
    (folder / "file").touch()
    data = folder / "file" / below
    with pytest.raises(SettingError, match=rf"(?s)WANGGE_DATA.*{data}.*set WANGGE_DATA"):
        Settings(data=data).secret()


def test_a_secret_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "secret").mkdir()
    with pytest.raises(SettingError, match=rf"WANGGE_DATA.*{folder}/secret"):
        Settings(data=folder).secret()


def test_the_data_folder_is_a_place_wherever_one_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANGGE_DATA", "data")
    assert Settings().data == folder / "data"
    monkeypatch.setenv("WANGGE_KEK", "keys/kek")
    assert Settings().kek_file == folder / "keys" / "kek"
    monkeypatch.setenv("WANGGE_KEK", " ")
    with pytest.raises(ValidationError, match="Empty"):
        Settings()
    monkeypatch.delenv("WANGGE_KEK")
    assert Settings().kek_file == folder / "data" / "kek"
    monkeypatch.setenv("WANGGE_DATA", "")
    with pytest.raises(ValidationError, match="Empty"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DSN", ""),
        ("DSN", "hunter2"),
        ("DSN", "postgresql://u:hunter2@[h/db"),
        ("VAULT_DSN", " "),
        ("TRACES", "collector"),
        ("TRACES", "collector:4318"),
        ("TRACES", "http://"),
        ("TRACES", "http://collector:port"),
    ],
)
def test_a_bad_value_is_named_and_no_password_is_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"WANGGE_{name}", value)
    monkeypatch.setattr(sys, "argv", ["wangge", "log", "stat"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"WANGGE_{name}: " in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "value",
    [
        "k:port",
        "k:99999",
        "k:9092,",
        "http://k:9092",
        "k:9092?security_protocol=FOO",
        "k:9092?security_protocol=SASL_SSL&sasl_mechanism=BAR",
        "k:9092?security_protocol=SSL&ssl_cafile=/nope",
        "k:9092?linger_ms=5",
        "",
    ],
)
def test_a_cluster_that_cannot_be_is_named(value: str) -> None:
    with pytest.raises(SettingError, match="WANGGE_KAFKA: "):
        topics_of(Settings(kafka=value))


@pytest.mark.parametrize(
    "value",
    [
        "k:9092",
        "a:9092,10.0.0.1:9093,[::1]:9094,plain",
        "k:9092?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&ssl_cafile=/etc/hostname",
    ],
)
def test_a_cluster_that_can_be(value: str) -> None:
    (topic,) = topics_of(Settings(kafka=value))
    assert topic.options["bootstrap_servers"] == value.partition("?")[0].split(",")
