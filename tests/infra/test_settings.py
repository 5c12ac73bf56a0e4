"""Settings, and the secret that an installation makes for itself."""

import os
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import ValidationError

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
