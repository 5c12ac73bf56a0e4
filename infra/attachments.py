"""Files of cases: encrypted as they come in, stored under the SHA-256 of what is stored.

A store is a folder or a bucket of any S3-compatible service. Everything that touches a disk is
encrypted with a key made of the case's: destroy that one, and nobody reads its files again.

An object is a header (what it is, the key's id, a salt) and segments of 64 KiB, each sealed by
itself with its number and whether it is the last. So a file is read at any place without its whole
being in memory, nothing is handed out before it was verified, and no segment can be dropped, moved,
repeated or taken from another attachment.
"""

import codecs
import hashlib
import io
import os
import re
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

import obstore
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from domain.attachments import HEAD, TEXT, Form, Kind, is_plain_text, kind_of, office_kind
from domain.errors import Refused
from infra import thumbnail
from infra.settings import SettingError, is_http
from infra.vault import Key, Vault

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

log = structlog.get_logger(__name__)

SEGMENT: Final = 64 * 1024
"""Clear bytes sealed together."""

TRANSFERS: Final = 16
"""Files on their way in or out at a time; each costs a temporary file and some 300 KB."""

AT_WORK: Final = 2
"""Files that are looked into, stored or fetched at a time."""

WAIT_SECONDS: Final = 20
"""How long a file waits for that before its caller is told to come back."""

PART: Final = 5 * 2**20
"""Bytes sent to an S3 service at once, the fewest it takes; a larger object goes in parts."""

THUMBNAIL_SECONDS: Final = 20
"""How long a thumbnail may take, waiting for a processor included."""

LONGEST_CONTENTS: Final = 1_000_000
"""Bytes of an office document's table of contents, and of the directory of its ZIP."""

_MAGIC: Final = b"WGA1"
_TAG: Final = 16
_SALT: Final = 32
_LABEL: Final = b"wangge attachment 1"
_BUCKET: Final = re.compile(r"s3://[A-Za-z0-9._-]+(?:[/?]|$)")
_NAME: Final = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")


_MARKER: Final = "log"
"""The object beside the files that says which log they belong to."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A stored object that no event names. ``size`` is in bytes."""

    address: str
    size: int
    stored: datetime


class Attachments:
    """The files of all cases, in one place."""

    def __init__(self, place: str, vault: Vault, scratch: Path, log: Callable[[], str]) -> None:
        """``place`` is a folder or ``s3://bucket/prefix``; ``scratch`` is for temporary files,
        which are encrypted and have no name. ``log`` tells which log names the files.

        Raises:
            SettingError: the place cannot be used.
        """
        self.vault = vault
        self.scratch = scratch
        self._place, self._log = place, log
        self._is_own = False
        self._store, self._folder = _opened(place)
        self._transfers = threading.BoundedSemaphore(TRANSFERS)
        self._work = threading.BoundedSemaphore(AT_WORK)
        _make_folder(scratch)

    def incoming(self, case: str, attachment: str) -> "Incoming":
        """A file that is being sent; close it whatever happens.

        Raises:
            Refused: ``attachment.busy``, ``attachment.unavailable``.
        """
        self._begin_transfer()
        try:
            return Incoming(self, case, attachment)
        except BaseException:
            self.end_transfer()
            raise

    def outgoing(self, case: str, attachment: str, address: str) -> "Outgoing":
        """A stored file, fetched and found to be what was stored, still encrypted; close it.

        Raises:
            Refused: ``attachment.busy``, ``attachment.unavailable``, ``attachment.missing``,
                ``attachment.damaged``.
        """
        self._begin_transfer()
        try:
            return Outgoing(self, case, attachment, address)
        except BaseException:
            self.end_transfer()
            raise

    def put(self, file: IO[bytes], address: str) -> None:
        """Store an object; returns once it would survive a power cut. Again changes nothing.

        Raises:
            Refused: ``attachment.unavailable``.
            SettingError: the place belongs to another log, whose sweep would delete it.
        """
        self._demand_own()
        path = _path(address)
        try:
            file.seek(0)
            # What has this name has these bytes, so a second writer does no harm, and no service
            # needs to support conditional writes.
            part = PART if self._folder is None else 2**20
            obstore.put(self._store, path, file, chunk_size=part, max_concurrency=1)
            if self._folder is not None:
                for written in (self._folder / path, (self._folder / path).parent, self._folder):
                    _sync(written)
        except (BaseError, OSError) as error:
            _unavailable(error)

    def fetch(self, address: str, into: IO[bytes]) -> None:
        """Copy an object.

        Raises:
            Refused: ``attachment.unavailable``, ``attachment.missing``, ``attachment.damaged``.
        """
        digest = hashlib.sha256()
        try:
            for chunk in obstore.get(self._store, _path(address)).stream(min_chunk_size=SEGMENT):
                digest.update(chunk)
                into.write(chunk)
        except FileNotFoundError:
            log.error("attachment.missing", address=address)
            raise Refused("attachment.missing") from None
        except (BaseError, OSError) as error:
            _unavailable(error)
        if digest.hexdigest() != address:
            _damaged(address)

    def holds(self, address: str) -> bool:
        """Whether an object is there.

        Raises:
            Refused: ``attachment.unavailable``.
        """
        try:
            obstore.head(self._store, _path(address))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            _unavailable(error)
        return True

    def orphans(self, known: Collection[str], before: datetime) -> Iterator[Orphan]:
        """What no event names and was stored ``before``: an upload under way is no orphan yet.

        Raises:
            Refused: ``attachment.unavailable``.
            SettingError: the place belongs to another log, or may do so.
        """
        self._demand_own(known)
        for each in self._objects():
            if each.address not in known and each.stored < before:
                yield each

    def _objects(self) -> Iterator[Orphan]:
        try:
            for page in obstore.list(self._store):
                for each in page:
                    if name := _NAME.fullmatch(each["path"]):
                        yield Orphan(name[1], each["size"], each["last_modified"])
        except (BaseError, OSError) as error:
            _unavailable(error)

    def _demand_own(self, known: Collection[str] | None = None) -> None:
        """The place belongs to this log; one that belongs to none is this log's from now on.

        With ``known``, what its events name, only if that is among what is stored, if anything is.

        Raises:
            Refused: ``attachment.unavailable``.
            SettingError: it belongs to another log, or may do so.
        """
        if self._is_own:
            return
        log = self._log()
        found = self._marked()
        if found is None:
            stored = None if known is None else [each.address for each in self._objects()]
            if known is not None and stored and not set(known).intersection(stored):
                raise SettingError(
                    f"WANGGE_ATTACHMENTS: {self._place} 中的附件没有一个属于本库，可能是另一库的，"
                    "未作任何改动。\n"
                    f"This log names none of the files in {self._place}: they may be another's, "
                    "and nothing was changed. Set WANGGE_ATTACHMENTS to a place of this log's own."
                )
            try:
                obstore.put(self._store, _MARKER, log.encode())
            except (BaseError, OSError) as error:
                _unavailable(error)
            found = self._marked()  # of two logs at once the second one's is there
        if found != log:
            raise SettingError(
                f"WANGGE_ATTACHMENTS: {self._place} 存放的是另一日志（{found}）的附件。"
                f"请为本库另设位置；如确属本库，请删除其中名为 {_MARKER} 的对象。\n"
                f"{self._place} keeps the files of another log ({found}; this one is {log}): set "
                "WANGGE_ATTACHMENTS to a place of its own. Only if the files are this log's all "
                f"the same, delete the object named {_MARKER} in it."
            )
        self._is_own = True

    def _marked(self) -> str | None:
        """Which log the place belongs to."""
        try:
            marker = obstore.get(self._store, _MARKER).bytes()
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            _unavailable(error)
        return bytes(marker).decode(errors="replace")

    def remove(self, address: str) -> None:
        """Delete an object, if it is there.

        Raises:
            Refused: ``attachment.unavailable``.
        """
        try:
            obstore.delete(self._store, _path(address))
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            _unavailable(error)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """One of the few places where files are worked on.

        Raises:
            Refused: ``attachment.busy``.
        """
        if not self._work.acquire(timeout=WAIT_SECONDS):
            raise Refused("attachment.busy", seconds=5)
        try:
            yield
        finally:
            self._work.release()

    def _begin_transfer(self) -> None:
        if not self._transfers.acquire(blocking=False):
            raise Refused("attachment.busy", seconds=5)

    def end_transfer(self) -> None:
        """A file has come or gone, or failed to."""
        self._transfers.release()

    def temporary(self) -> IO[bytes]:
        """A file without a name, which is gone with its last user."""
        return tempfile.TemporaryFile(dir=self.scratch)


class Incoming:
    """A file that is being sent, on its way to the disk; no byte of it lies there in clear."""

    def __init__(self, files: Attachments, case: str, attachment: str) -> None:
        self._files = files
        self._subject = f"case:{case}"
        self._key = files.vault.provide({self._subject})[self._subject]
        self._context = _context(case, attachment)
        self._sealed = files.temporary()
        self._sealer = _Sealer(self._sealed, self._context, self._key)
        self._open = True

    @property
    def size(self) -> int:
        """Clear bytes so far."""
        return self._sealer.size

    def write(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            Refused: ``attachment.unavailable``: the disk is full, say.
        """
        try:
            self._sealer.write(data)
        except OSError as error:
            _unavailable(error)

    def finish(self) -> tuple[Kind, str]:
        """What it is, and its address, once it is stored for good.

        Raises:
            Refused: ``attachment.empty``, ``attachment.type``, ``attachment.broken``,
                ``attachment.pixels``, ``attachment.busy``, ``attachment.unavailable``.
        """
        if not self.size:
            raise Refused("attachment.empty")
        with self._files.at_work():
            try:
                self._sealer.finish()
            except OSError as error:
                _unavailable(error)
            address = self._sealer.address
            kind = _examined(_Clear(self._sealed, self._context, self._key, address))
            self._files.put(self._sealed, address)
        # A key that was just made may be lost if the database crashed meanwhile, and a case may
        # have been forgotten: nobody is told that a file is kept which cannot be read.
        if self._files.vault.provide({self._subject})[self._subject] != self._key:
            raise Refused("attachment.unavailable", seconds=1)
        return kind, address

    def close(self) -> None:
        """Let go of it, stored or not."""
        if self._open:
            self._open = False
            self._sealed.close()
            self._files.end_transfer()


class Outgoing:
    """A stored file that somebody wants; opened only once it is written down who and why."""

    def __init__(self, files: Attachments, case: str, attachment: str, address: str) -> None:
        self._files = files
        self._context, self._address = _context(case, attachment), address
        self._sealed = files.temporary()
        self._open = True
        try:
            with files.at_work():
                files.fetch(address, self._sealed)
        except BaseException:
            self._sealed.close()
            raise

    def content(self) -> Iterator[bytes]:
        """The file, in pieces, each verified before it is given.

        Raises:
            Refused: ``attachment.forgotten``, ``attachment.damaged``; the first piece is
                there when this returns.
        """
        clear = self._clear()
        first = clear.segment(0)
        return chain((first,), map(clear.segment, range(1, clear.segments)))

    def thumbnail(self) -> bytes:
        """A small JPEG of it, without any metadata.

        Raises:
            Refused: ``attachment.forgotten``, ``attachment.damaged``, ``attachment.busy``,
                ``attachment.no_thumbnail``.
        """
        clear = self._clear()
        with self._files.at_work():
            code, made = _shrunk(clear)
        if code:
            raise Refused("attachment.no_thumbnail")
        return made

    def _clear(self) -> "_Clear":
        key_id = _key_id(self._sealed, self._address)
        found = self._files.vault.find({key_id})
        if key_id in found.destroyed:
            raise Refused("attachment.forgotten")
        if key_id not in found:
            _damaged(self._address)
        return _Clear(self._sealed, self._context, found[key_id], self._address)

    def close(self) -> None:
        """Let go of it."""
        if self._open:
            self._open = False
            self._sealed.close()
            self._files.end_transfer()


# --- sealing ----------------------------------------------------------------------------------


class _Sealer:
    """Writes clear bytes as a sealed object."""

    def __init__(self, file: IO[bytes], context: tuple[str, ...], key: Key) -> None:
        self.size = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._number = 0
        salt, name = secrets.token_bytes(_SALT), key.id.encode()
        self._cipher, self._bound = _cipher(key, salt, context)
        self._emit(b"".join((_MAGIC, salt, len(name).to_bytes(2), name)))

    @property
    def address(self) -> str:
        """The SHA-256 of the object, once it is finished."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Seal what is known not to be the last."""
        self.size += len(data)
        self._buffer += data
        while len(self._buffer) > SEGMENT:
            self._seal(bytes(self._buffer[:SEGMENT]), last=False)
            del self._buffer[:SEGMENT]

    def finish(self) -> None:
        """Seal the last segment."""
        self._seal(bytes(self._buffer), last=True)
        self._file.flush()

    def _seal(self, data: bytes, *, last: bool) -> None:
        self._emit(self._cipher.encrypt(_nonce(self._number, last=last), data, self._bound))
        self._number += 1

    def _emit(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class _Clear:
    """Reads a sealed object anywhere in it, a segment at a time."""

    def __init__(self, file: IO[bytes], context: tuple[str, ...], key: Key, address: str) -> None:
        self._file, self._address = file, address
        self._start = len(_MAGIC) + _SALT + 2 + len(key.id.encode())
        body = file.seek(0, os.SEEK_END) - self._start
        self.segments = -(-body // (SEGMENT + _TAG))
        self.size = body - self.segments * _TAG
        file.seek(len(_MAGIC))
        self._cipher, self._bound = _cipher(key, file.read(_SALT), context)

    def segment(self, number: int) -> bytes:
        """The clear bytes of one segment.

        Raises:
            Refused: ``attachment.damaged``.
        """
        self._file.seek(self._start + number * (SEGMENT + _TAG))
        sealed = self._file.read(SEGMENT + _TAG)
        try:
            nonce = _nonce(number, last=number == self.segments - 1)
            return self._cipher.decrypt(nonce, sealed, self._bound)
        except InvalidTag:
            _damaged(self._address)

    def __iter__(self) -> Iterator[bytes]:
        return map(self.segment, range(self.segments))

    def file(self) -> io.BufferedReader:
        """The same as a file to be read."""
        return io.BufferedReader(_Raw(self), SEGMENT)


class _Raw(io.RawIOBase):
    def __init__(self, clear: _Clear) -> None:
        self._clear, self._at = clear, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._clear.size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        room = memoryview(buffer)
        if self._at >= self._clear.size:
            return 0
        number, offset = divmod(self._at, SEGMENT)
        data = self._clear.segment(number)[offset : offset + len(room)]
        room[: len(data)] = data
        self._at += len(data)
        return len(data)


def _key_id(file: IO[bytes], address: str) -> str:
    """The id of the key that an object is sealed with."""
    file.seek(0)
    head = file.read(len(_MAGIC) + _SALT + 2)
    name = file.read(int.from_bytes(head[-2:]))
    try:
        if not head.startswith(_MAGIC):
            raise ValueError("another format")
        return name.decode()
    except ValueError:
        _damaged(address)


def _context(case: str, attachment: str) -> tuple[str, ...]:
    return (case, attachment, "content")


def _cipher(key: Key, salt: bytes, context: tuple[str, ...]) -> tuple[AESGCM, bytes]:
    """A cipher for one object alone, and what every segment of it is bound to."""
    parts = [part.encode() for part in (*context, key.id)]
    bound = _LABEL + b"".join(len(part).to_bytes(4) + part for part in parts)
    # With a key of its own, an object may number its segments: no nonce is ever used twice.
    return AESGCM(HKDF(SHA256(), 32, salt, bound).derive(key.secret)), bound


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])


# --- what a file is ---------------------------------------------------------------------------


def _examined(clear: _Clear) -> Kind:
    """The kind of a file by all of its content.

    Raises:
        Refused: ``attachment.type``, ``attachment.broken``, ``attachment.pixels``.
    """
    match kind_of(clear.segment(0)[:HEAD]):
        case Kind(form=Form.IMAGE) as kind:
            code, _ = _shrunk(clear)
            if code:
                too_large = code == thumbnail.TOO_LARGE
                raise Refused("attachment.pixels" if too_large else "attachment.broken")
            return kind
        case Kind() as kind:
            return kind
        case Form.OFFICE if found := _office(clear):
            return found
        case Form.TEXT if _is_text(clear):
            return TEXT
    raise Refused("attachment.type")


def _is_text(clear: _Clear) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = ""
    try:
        for number, data in enumerate(clear):
            text = before + decoder.decode(data, final=number == clear.segments - 1)
            if not is_plain_text(text):
                return False
            before = text[-20:]
    except UnicodeDecodeError:
        return False
    return True


def _office(clear: _Clear) -> Kind | None:
    """Which office document a ZIP is, if it is one. Nothing in it is trusted to be small."""
    file = clear.file()
    file.seek(max(0, clear.size - _ZIP_END.size))
    end = file.read()
    if len(end) < _ZIP_END.size or not end.startswith(b"PK\5\6"):
        return None  # a comment, or something after the end
    _, parts, length, _, _ = _ZIP_END.unpack(end)
    if parts > 5_000 or length > LONGEST_CONTENTS:
        return None
    file.seek(max(0, clear.size - _ZIP_END.size - 20))
    if file.read(4) == b"PK\6\7":
        return None  # ZIP64, whose numbers would count instead
    try:
        with zipfile.ZipFile(file) as archive:
            contents = archive.getinfo("[Content_Types].xml")
            if contents.file_size > LONGEST_CONTENTS:
                return None
            with archive.open(contents) as listing:
                return office_kind(listing.read(LONGEST_CONTENTS), archive.namelist())
    except (
        zipfile.BadZipFile,
        KeyError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        zlib.error,
    ):
        return None


_ZIP_END: Final = struct.Struct("<8xHHLLH")


def _shrunk(clear: _Clear) -> tuple[int, bytes]:
    """What the program that makes thumbnails says: an exit code, and the thumbnail."""
    with subprocess.Popen(
        [sys.executable, "-I", thumbnail.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(THUMBNAIL_SECONDS, process.kill)
        timer.start()
        try:
            # It reads everything before it writes anything, so neither waits for the other.
            for data in clear:
                process.stdin.write(data)
            process.stdin.close()
            made = process.stdout.read()
        except BrokenPipeError:
            made = b""  # it has ended: its exit code says why
            with suppress(BrokenPipeError):
                process.stdin.close()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    code = process.returncode
    if code in (-signal.SIGKILL, -signal.SIGXCPU):
        code = thumbnail.TOO_LARGE  # it was stopped: too much of its time or memory was wanted
    return code, made


# --- where they are ---------------------------------------------------------------------------


def _path(address: str) -> str:
    return f"{address[:2]}/{address}"


def _opened(place: str) -> tuple[LocalStore | S3Store, Path | None]:
    """A store, with its folder if it is one."""
    if "://" not in place:
        folder = Path(place).absolute()
        _make_folder(folder)
        return LocalStore(folder), folder
    parts = urlsplit(place if _BUCKET.match(place) else "")
    options = dict(parse_qsl(parts.query))
    endpoint, region = options.pop("endpoint", None), options.pop("region", None)
    endpoint_is_one = endpoint is None or is_http(endpoint)
    if not parts.netloc or options or not endpoint_is_one:
        raise SettingError(
            # Not what it is: somebody may have put a key of the store into it.
            "WANGGE_ATTACHMENTS: 应为文件夹，或 s3://桶/前缀?endpoint=https://…&region=…。"
            "A folder, or s3://bucket/prefix?endpoint=https://…&region=… is expected."
        )
    clear_text = endpoint is not None and endpoint.startswith("http://")
    if clear_text and not _is_loopback(urlsplit(str(endpoint)).hostname):
        raise SettingError(
            f"WANGGE_ATTACHMENTS: {endpoint} — 非本机地址须用 https。"
            "Only an address of this machine may go without https."
        )
    # Deleting many at once is asked for in ways that not every service knows.
    given = {"endpoint": endpoint, "region": region, "disable_bulk_delete": "true"}
    # Its keys are those of a TypedDict, which nobody could tell of a URL.
    config: Any = {name: value for name, value in given.items() if value}
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,
        client_options={
            "allow_http": clear_text,
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=60),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    ), None


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(folder.parent)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingError(
            f"WANGGE_ATTACHMENTS: 无法写入 {folder}({error.strerror})。"
            f"{folder} cannot be written to ({error.strerror})."
        ) from error


def _sync(path: Path) -> None:
    """Returns once a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(error: Exception) -> NoReturn:
    log.warning("attachment.unavailable", error=repr(error))
    raise Refused("attachment.unavailable", seconds=5) from error


def _damaged(address: str) -> NoReturn:
    log.error("attachment.damaged", address=address)
    raise Refused("attachment.damaged") from None
