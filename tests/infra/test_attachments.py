"""Files are kept encrypted in a folder or a bucket, and read by nobody once their key is gone."""

import hashlib
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from domain.attachments import KINDS
from domain.errors import Refused
from infra import attachments, thumbnail
from infra.attachments import PART, SEGMENT, TRANSFERS, Attachments
from infra.settings import SettingError
from infra.vault import Vault
from tests.files import ALLOWED, REFUSED, exif, picture
from tests.object_store import CREDENTIALS, ObjectStore, object_store

LATER = datetime.now(UTC) + timedelta(days=1)
LOG = "a log"


def of_the_log() -> str:
    return LOG


@pytest.fixture(scope="session")
def bucket() -> Iterator[ObjectStore]:
    """An S3-compatible server."""
    with tempfile.TemporaryDirectory(prefix="wangge-test-") as made, object_store(Path(made)) as it:
        yield it


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials where an operator puts them."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, folder: Path, vault: Vault) -> tuple[Attachments, Path]:
    """Attachments of each kind of store, with the folder in which their objects can be found."""
    if request.param == "folder":
        return Attachments(
            str(folder / "store"), vault, folder / "scratch", of_the_log
        ), folder / "store"
    request.getfixturevalue("signed_in")
    server: ObjectStore = request.getfixturevalue("bucket")
    prefix = folder.name
    made = Attachments(server.place(f"some/{prefix}"), vault, folder / "scratch", of_the_log)
    return made, server.bucket / "some" / prefix


@pytest.fixture
def files(folder: Path, vault: Vault) -> Attachments:
    """Attachments in a folder."""
    return Attachments(str(folder / "store"), vault, folder / "scratch", of_the_log)


def put(files: Attachments, data: bytes, case: str = "c1", attachment: str = "a1") -> str:
    """Send a file; returns its address."""
    incoming = files.incoming(case, attachment)
    try:
        for at in range(0, len(data), 100_000):
            incoming.write(data[at : at + 100_000])
        assert incoming.size == len(data)
        _, address = incoming.finish()
    finally:
        incoming.close()
    return address


def get(files: Attachments, address: str, case: str = "c1", attachment: str = "a1") -> bytes:
    """Fetch a file."""
    outgoing = files.outgoing(case, attachment, address)
    try:
        return b"".join(outgoing.content())
    finally:
        outgoing.close()


def objects(store: Path) -> list[Path]:
    """What is stored, but for the marker of whose it is."""
    return [path for path in store.rglob("*") if path.is_file() and path.name != "log"]


def refusal(act: Callable[..., object], *given: object) -> str:
    """The code of a refusal."""
    with pytest.raises(Refused) as refused:
        act(*given)
    return refused.value.code


# --- in and out -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, PART - 999, PART + 999]
)
def test_a_file_comes_out_as_it_went_in(kept: tuple[Attachments, Path], size: int) -> None:
    files, store = kept
    data = (b"words of somebody\n" * (size // 18 + 1))[:size]
    address = put(files, data)
    (stored,) = objects(store)
    assert stored.name == address == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert get(files, address) == data


def test_nothing_lies_anywhere_in_clear(files: Attachments, folder: Path) -> None:
    data = "某人的名字 Jane Doe\n".encode() * 9_000
    incoming = files.incoming("c1", "a1")
    incoming.write(data)
    # The temporary file has no name, but this process has it open.
    opened = list(Path("/proc/self/fd").iterdir())
    scratch = [path for path in opened if str(folder / "scratch") in str(path.resolve())]
    assert scratch
    incoming.finish()
    for path in (*scratch, *objects(folder)):
        assert b"Jane" not in path.read_bytes()
    incoming.close()
    assert not objects(folder / "scratch")


def test_the_same_file_twice_is_two_objects_that_tell_nothing(files: Attachments) -> None:
    assert put(files, b"same", attachment="a1") != put(files, b"same", attachment="a2")


def test_storing_an_object_again_changes_nothing(kept: tuple[Attachments, Path]) -> None:
    files, store = kept
    address = put(files, b"words")
    (stored,) = objects(store)
    before = stored.read_bytes()
    files.put(BytesIO(before), address)
    assert [path.read_bytes() for path in objects(store)] == [before]


def test_an_object_of_a_folder_is_on_the_disk_before_anybody_is_told(
    files: Attachments, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        address = put(files, b"words")
    store = folder / "store"
    path = store / address[:2] / address
    assert synced == [str(path), str(path.parent), str(store)]


# --- what is not what it was ------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 10, 40, 60, 100, SEGMENT + 200, -1])
def test_a_byte_that_was_changed_shows(kept: tuple[Attachments, Path], at: int) -> None:
    files, store = kept
    address = put(files, b"words " * SEGMENT)
    (stored,) = objects(store)
    data = bytearray(stored.read_bytes())
    data[at] ^= 1
    stored.write_bytes(data)
    assert refusal(get, files, address) == "attachment.damaged"


def test_who_changes_the_address_too_does_not_get_further(files: Attachments, folder: Path) -> None:
    """As one would who may write to the log and to the store, but has no key."""
    address = put(files, b"words " * SEGMENT)
    (stored,) = objects(folder / "store")
    data = stored.read_bytes()
    sealed = SEGMENT + 16
    start = len(data) - 6 * sealed
    assert 0 < start < 100
    segments = [data[at : at + sealed] for at in range(start, len(data), sealed)]
    head = data[:start]
    for forged in (
        data[: start - 1],
        head[:20],
        b"",
        head,
        b"WGA9" + data[4:],
        data[:-1],
        data[:-sealed],
        head + b"".join(reversed(segments)),
        head + segments[0] + b"".join(segments),
        head + b"".join(segments[1:]),
    ):
        forged_address = hashlib.sha256(forged).hexdigest()
        files.put(BytesIO(forged), forged_address)
        assert refusal(get, files, forged_address) == "attachment.damaged"
    assert get(files, address) == b"words " * SEGMENT


def test_an_object_belongs_to_one_attachment_of_one_case(files: Attachments) -> None:
    address = put(files, b"words", "c1", "a1")
    put(files, b"others", "c2", "a1")
    for case, attachment in (("c1", "a2"), ("c2", "a1"), ("c", "1a1")):
        assert refusal(get, files, address, case, attachment) == "attachment.damaged"


def test_what_is_not_there_is_said_to_be_missing(kept: tuple[Attachments, Path]) -> None:
    files, store = kept
    address = put(files, b"words")
    objects(store)[0].unlink()
    assert refusal(get, files, address) == "attachment.missing"
    files.remove(address)


# --- keys -------------------------------------------------------------------------------------


def test_without_its_key_a_file_is_gone_and_later_ones_are_not(
    files: Attachments, vault: Vault
) -> None:
    before = put(files, picture())
    vault.destroy({"case:c1"})
    assert refusal(get, files, before) == "attachment.forgotten"
    outgoing = files.outgoing("c1", "a1", before)
    assert refusal(outgoing.thumbnail) == "attachment.forgotten"
    outgoing.close()
    after = put(files, b"later", attachment="a2")
    assert get(files, after, attachment="a2") == b"later"


def test_a_file_whose_key_was_destroyed_while_it_came_is_not_kept_in_vain(
    files: Attachments, vault: Vault
) -> None:
    incoming = files.incoming("c1", "a1")
    incoming.write(b"words")
    vault.destroy({"case:c1"})
    assert refusal(incoming.finish) == "attachment.unavailable"
    incoming.close()


def test_a_key_that_was_never_in_the_vault_is_not_said_to_be_destroyed(
    files: Attachments, folder: Path
) -> None:
    """As when the object comes from another installation."""
    put(files, b"words", "c1")
    (stored,) = objects(folder / "store")
    forged = stored.read_bytes().replace(b"case:c1#1", b"case:c1#7")
    address = hashlib.sha256(forged).hexdigest()
    files.put(BytesIO(forged), address)
    assert refusal(get, files, address) == "attachment.damaged"


def test_a_wrong_key_opens_nothing(files: Attachments, folder: Path) -> None:
    put(files, b"words", "c1")
    (stored,) = objects(folder / "store")
    put(files, b"words", "c2")
    forged = stored.read_bytes().replace(b"case:c1#1", b"case:c2#1")
    address = hashlib.sha256(forged).hexdigest()
    files.put(BytesIO(forged), address)
    assert refusal(get, files, address) == "attachment.damaged"


# --- what a file is ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALLOWED)
def test_what_may_be_attached_is_known_by_its_content(files: Attachments, name: str) -> None:
    data, media_type = ALLOWED[name]
    incoming = files.incoming("c1", "a1")
    incoming.write(data)
    kind, address = incoming.finish()
    incoming.close()
    assert kind.media_type == media_type
    assert get(files, address) == data


def test_every_kind_has_an_example() -> None:
    assert {media_type for _, media_type in ALLOWED.values()} == set(KINDS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_is_refused_and_not_kept(files: Attachments, folder: Path, name: str) -> None:
    data, code = REFUSED[name]
    assert refusal(put, files, data) == code
    assert not objects(folder / "store")


# --- thumbnails -------------------------------------------------------------------------------


def small(files: Attachments, data: bytes) -> Image.Image:
    """The thumbnail of a picture."""
    outgoing = files.outgoing("c1", "a1", put(files, data))
    try:
        made = outgoing.thumbnail()
    finally:
        outgoing.close()
    for secret in (b"Exif", b"SECRET", b"ICC_PROFILE", b"http"):
        assert secret not in made
    return Image.open(BytesIO(made))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_thumbnail_is_small_turned_and_knows_nothing_but_pixels(
    files: Attachments, form: str
) -> None:
    options: dict[str, Any] = {"comment": b"SECRET"} if form == "JPEG" else {}
    data = picture(form, exif=exif(6), icc_profile=b"SECRET profile" * 20, **options)
    assert b"SECRETPHONE" in data
    made = small(files, data)
    assert (made.format, made.size) == ("JPEG", (320, 480))
    assert not made.getexif()
    assert not {"icc_profile", "comment", "exif", "xmp"} & made.info.keys()
    red, blue = made.getpixel((160, 60)), made.getpixel((160, 420))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 200 > 60 > red[2], "what was left is above"
    assert blue[2] > 200 > 60 > blue[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_pictures_of_every_mode_have_one(files: Attachments, mode: str) -> None:
    out = BytesIO()
    Image.new(mode, (50, 40)).save(out, "JPEG" if mode == "CMYK" else "PNG")
    assert small(files, out.getvalue()).size == (50, 40)


def test_only_pictures_have_one(files: Attachments) -> None:
    outgoing = files.outgoing("c1", "a1", put(files, b"words"))
    assert refusal(outgoing.thumbnail) == "attachment.no_thumbnail"
    outgoing.close()


def test_a_picture_that_wants_too_much_memory_is_refused(
    files: Attachments, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """The ceiling itself, with all limits on pixels lifted."""
    source = Path(thumbnail.__file__).read_text()
    lifted = folder / "thumbnail.py"
    lifted.write_text(source.replace("PIXELS: Final = 25_000_000", "PIXELS: Final = 10**12"))
    monkeypatch.setattr(thumbnail, "__file__", str(lifted))
    monkeypatch.setattr(attachments, "THUMBNAIL_SECONDS", 60)
    assert refusal(put, files, REFUSED["bomb"][0]) == "attachment.pixels"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(4)", "attachment.broken"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "attachment.broken"),
        ("while True: pass", "attachment.pixels"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_takes_nothing_with_it(
    files: Attachments, folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: str
) -> None:
    broken = folder / "thumbnail.py"
    broken.write_text(program)
    monkeypatch.setattr(thumbnail, "__file__", str(broken))
    monkeypatch.setattr(attachments, "THUMBNAIL_SECONDS", 0.5)
    # More than a pipe holds, so that whoever writes it notices.
    assert refusal(put, files, picture() + bytes(1_000_000)) == code


# --- stores that fail -------------------------------------------------------------------------


def test_a_disk_that_is_full_keeps_nothing_half(files: Attachments, folder: Path) -> None:
    data = b"words " * 100_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    incoming = files.incoming("c1", "a1")
    incoming.write(data)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        assert refusal(incoming.write, data) == "attachment.unavailable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        incoming.close()
    incoming = files.incoming("c1", "a2")
    incoming.write(data)
    try:
        # Room for what is left of the temporary file, but not for the object.
        incoming._sealed.flush()
        incoming._sealer.finish()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        sealed, address = incoming._sealed, incoming._sealer.address
        assert refusal(files.put, sealed, address) == "attachment.unavailable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        incoming.close()
    assert list(files.orphans((), LATER)) == []
    assert put(files, data)


def test_a_folder_that_is_away_is_said_to_be(files: Attachments, folder: Path) -> None:
    address = put(files, b"words")
    (folder / "store").rename(folder / "elsewhere")
    (folder / "store").write_text("no folder")
    assert refusal(put, files, b"words") == "attachment.unavailable"
    assert refusal(get, files, address) == "attachment.unavailable"
    (folder / "store").unlink()
    (folder / "elsewhere").rename(folder / "store")
    assert get(files, address) == b"words"


@pytest.mark.usefixtures("signed_in")
def test_a_service_that_is_away_is_said_to_be(vault: Vault, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        place = f"s3://b/p?endpoint=http://127.0.0.1:{taken.getsockname()[1]}&region=x"
        files = Attachments(place, vault, folder / "scratch", of_the_log)
        assert refusal(put, files, b"words") == "attachment.unavailable"
        assert refusal(get, files, "0" * 64) == "attachment.unavailable"
        assert refusal(lambda: list(files.orphans((), LATER))) == "attachment.unavailable"


def test_wrong_credentials_keep_and_tell_nothing(
    bucket: ObjectStore, vault: Vault, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    files = Attachments(bucket.place("private"), vault, folder / "scratch", of_the_log)
    assert refusal(put, files, b"words") == "attachment.unavailable"
    assert refusal(get, files, "0" * 64) == "attachment.unavailable"
    assert not (bucket.bucket / "private").exists()


# --- bounds -----------------------------------------------------------------------------------


def test_so_many_at_a_time_and_no_more(files: Attachments) -> None:
    coming = [files.incoming("c1", f"a{number}") for number in range(TRANSFERS)]
    assert refusal(files.incoming, "c1", "b") == "attachment.busy"
    assert refusal(files.outgoing, "c1", "b", "0" * 64) == "attachment.busy"
    for each in coming:
        each.close()
        each.close()  # twice is once
    for _ in range(2 * TRANSFERS):
        assert refusal(files.outgoing, "c1", "b", "0" * 64) == "attachment.missing"
    files.incoming("c1", "b").close()


def test_who_waits_too_long_for_a_turn_is_told_to_come_back(
    files: Attachments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "WAIT_SECONDS", 0)
    with files.at_work(), files.at_work():
        assert refusal(put, files, b"words") == "attachment.busy"
    assert put(files, b"words")


# --- orphans ----------------------------------------------------------------------------------


def test_what_no_event_names_is_found_and_removed(kept: tuple[Attachments, Path]) -> None:
    files, store = kept
    named, orphan = put(files, b"named"), put(files, b"orphan", attachment="a2")
    (store / "readme.txt").write_text("somebody else's")
    (found,) = files.orphans({named}, LATER)
    assert (found.address, found.size) == (orphan, (store / orphan[:2] / orphan).stat().st_size)
    assert list(files.orphans({named}, datetime.now(UTC) - timedelta(days=1))) == []
    files.remove(orphan)
    assert list(files.orphans({named}, LATER)) == []
    assert get(files, named) == b"named"


def test_a_place_belongs_to_one_log(
    kept: tuple[Attachments, Path], vault: Vault, folder: Path
) -> None:
    """A sweep of the demonstration deleted all files of the real installation, which no case of
    its own named."""
    files, store = kept
    address = put(files, b"words")
    assert (store / "log").read_text() == LOG
    other = Attachments(files._place, vault, folder / "scratch", lambda: "another log")
    with pytest.raises(SettingError, match=r"another log \(a log; this one is another log\)"):
        list(other.orphans((), LATER))
    with pytest.raises(SettingError, match="another log"):
        put(other, b"words", attachment="a2")
    assert get(files, address) == b"words"
    again = Attachments(files._place, vault, folder / "scratch", of_the_log)
    assert [each.address for each in again.orphans((), LATER)] == [address]


def test_a_place_from_before_is_not_swept_by_a_log_that_names_nothing_in_it(
    kept: tuple[Attachments, Path], vault: Vault, folder: Path
) -> None:
    files, store = kept
    named, orphan = put(files, b"named"), put(files, b"orphan", attachment="a2")
    (store / "log").unlink()
    other = Attachments(files._place, vault, folder / "scratch", lambda: "another log")
    with pytest.raises(SettingError, match="names none of the files"):
        list(other.orphans({"0" * 64}, LATER))
    assert not (store / "log").exists()
    own = Attachments(files._place, vault, folder / "scratch", of_the_log)
    assert [each.address for each in own.orphans({named}, LATER)] == [orphan]
    assert (store / "log").read_text() == LOG


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "s3://",
        "s3://b/p?endpoint=http://example.org",
        "s3://b/p?endpoint=http://127.0.0.1.example.org:9000",
        "s3://b/p?endpoint=http://",
        "s3://b/p?secret=hunter2",
        "s3://key:hunter2@b/p",
        "s3://b/p?endpoint=foo",
        "s3://b/p?endpoint=https://[",
        "s3://[",
        "http://minio:9000/b",
        "file:///srv/files",
    ],
)
def test_a_place_that_cannot_be_is_named(vault: Vault, folder: Path, place: str) -> None:
    with pytest.raises(SettingError, match="WANGGE_ATTACHMENTS") as told:
        Attachments(place, vault, folder / "scratch", of_the_log)
    assert "hunter2" not in str(told.value)


def test_a_folder_that_cannot_be_made_is_named(vault: Vault, folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(SettingError, match="WANGGE_ATTACHMENTS"):
        Attachments(str(folder / "file" / "store"), vault, folder / "scratch", of_the_log)


@pytest.mark.usefixtures("signed_in")
def test_the_environment_cannot_switch_encryption_off(
    vault: Vault, folder: Path, monkeypatch: pytest.MonkeyPatch, bucket: ObjectStore
) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT", bucket.endpoint)
    files = Attachments("s3://bucket/private", vault, folder / "scratch", of_the_log)
    assert refusal(put, files, b"words") == "attachment.unavailable"
    assert not (bucket.bucket / "private").exists()


def test_a_store_can_be_moved_by_copying_it(files: Attachments, folder: Path, vault: Vault) -> None:
    address = put(files, b"words")
    shutil.copytree(folder / "store", folder / "copy")
    moved = Attachments(str(folder / "copy"), vault, folder / "scratch", of_the_log)
    assert get(moved, address) == b"words"
