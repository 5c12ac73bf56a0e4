"""The keys of personal data: one for each person and one for each case's free text, kept apart.

A key seals in the log; the vault keeps it wrapped (AES-256-GCM, bound to its id) by the KEK, a key
of 32 bytes in a file (``KeyFile``). The log has no key, the vault no event, and neither the KEK:
whoever gets one or two of them reads nothing.

**Destroying.** A destroyed key leaves its row without the bytes, for ever. When ``destroy``
returns, no query gives the key back, and this process has dropped it; others drop it within
``CACHE_SECONDS``, the published term. What is left then is physical: the old row version until
VACUUM (run here on PostgreSQL 17 and later, before by autovacuum), bytes in the unused part of a
page, in write-ahead log not yet recycled, in replicas and in backups. All of these are keys wrapped
by the KEK of their epoch. To make them worthless too: ``add_epoch``, ``rotate``, ``drop_epochs``.
Then the KEK they are wrapped by is nowhere, except in copies of its file: replace these as well.

**Durability.** In the log's own database a new key is committed without waiting for the disk,
because the append that uses it comes after it in the same write-ahead log and waits. A server that
crashes in between loses such a key, so ``cached`` and ``provide`` hand it out again without asking
the database only after ``settle`` was told that an append with it is on the disk.
"""

import hmac
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from psycopg_pool import ConnectionPool

from infra.arrays import Blobs, Column, Integers, Texts
from infra.line import Query, integer, text
from infra.settings import SettingError, write_anew, write_once

CACHE_SECONDS: Final = 60.0
"""How long a process may go on using a key after another one has destroyed it."""

CACHE_KEYS: Final = 10_000
"""Keys one process keeps at hand, at most: some 10 MB."""

MANY_KEYS: Final = CACHE_KEYS // 8
"""From so many at once on, keys are not kept at hand."""

PAGE: Final = 1_000
"""Keys rewrapped in one transaction."""

_log = structlog.get_logger(__name__)

_KEY_LABEL: Final = b"wangge commitment to a key"
_SHA256: Final = SHA256()
_KEK_LABEL: Final = b"wangge commitment to a KEK"
_NONCE: Final = 12
_GENERATION: Final = re.compile(r"[1-9][0-9]{0,8}")


class Tampered(Exception):
    """What is stored is not what was written: the text says where."""


class WrongKeyFile(SettingError):
    """The file of the KEK does not belong to this vault, or cannot be used."""


@dataclass(slots=True)
class Key:
    """What seals the personal fields of one subject. ``commitment`` tells keys apart and tells
    nothing of the secret. Not frozen, for a build makes millions; nobody changes one."""

    id: str
    subject: str
    secret: bytes = field(repr=False)
    commitment: bytes = field(init=False, repr=False, compare=False)
    cipher: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.commitment = _commitment(self.secret, _KEY_LABEL)
        self.cipher = AESGCM(self.secret)


class Keys(dict[str, Key]):
    """Keys by their ids, and why others are absent.

    ``destroyed``: ids of keys that were destroyed, with their commitments. ``broken``: ids whose
    row was tampered with. An id in none of the three was never in this vault.
    """

    __slots__ = ("broken", "destroyed")

    def __init__(self, keys: Mapping[str, Key] | Iterable[tuple[str, Key]] = ()) -> None:
        super().__init__(keys)
        self.destroyed: dict[str, bytes] = {}
        self.broken: set[str] = set()


def key_id(subject: str, generation: int) -> str:
    """How the log names a key."""
    return f"{subject}#{generation}"


def subject_of(key: str) -> str | None:
    """Whose key an id names; None where the text is no id."""
    subject, _, generation = key.rpartition("#")
    return subject if subject and _number(generation) else None


@lru_cache(1_024)
def _number(generation: str) -> int:
    """The generation that an id ends with, nearly always 1; 0 where it ends with none."""
    return int(generation) if _GENERATION.fullmatch(generation) else 0


def _commitment(secret: bytes, label: bytes) -> bytes:
    # The standard library's takes a quarter longer, and a build makes millions.
    made = HMAC(secret, _SHA256)
    made.update(label)
    return made.finalize()[:16]


# --- the KEK ---


class KeyFile:
    """The file of the KEK: one line an epoch, its number and 64 hexadecimal digits.

    The newest wraps, the others unwrap what they wrapped. One file belongs to one vault.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> tuple[int, int, int] | None:
        """Another value once the file is another one; None while there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> dict[int, bytes]:
        """The KEK of every epoch; empty where there is no file.

        Raises:
            WrongKeyFile: it cannot be read, or holds something else.
        """
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        except UnicodeDecodeError:
            text = "?"
        found: dict[int, bytes] = {}
        for line in text.splitlines():
            match = re.fullmatch(r"([1-9][0-9]{0,8}) ([0-9a-f]{64})", line.strip())
            if match is None or int(match[1]) in found:
                found = {}
                break
            found[int(match[1])] = bytes.fromhex(match[2])
        if not found:
            raise WrongKeyFile(
                f"WANGGE_KEK: {self.path} 不是密钥文件（每行应为序号和 64 位十六进制数）。\n"
                f"{self.path} holds no keys (a line should be a number and 64 hex digits): set "
                "WANGGE_KEK to the right file, or put back a copy of it."
            )
        return found

    def make(self) -> None:
        """The file with a first epoch; one that is there already stays."""
        try:
            write_once(self.path, _lines({1: os.urandom(32)}))
        except OSError as error:
            raise self._unusable(error) from error

    def replace(self, keks: Mapping[int, bytes]) -> None:
        """Other epochs in place of those that were there."""
        try:
            write_anew(self.path, _lines(keks))
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> WrongKeyFile:
        return WrongKeyFile(
            f"WANGGE_KEK: 无法使用 {self.path}({error.strerror})。\n"
            f"{self.path} cannot be used ({error.strerror}): change its rights, or set WANGGE_KEK "
            "to a file that this user can read and write."
        )


def _lines(keks: Mapping[int, bytes]) -> str:
    return "".join(f"{epoch} {kek.hex()}\n" for epoch, kek in sorted(keks.items()))


# --- wrapping ---


def _bound_to(key: str, epoch: int) -> bytes:
    # A length first, so that no other id and epoch give the same bytes.
    return f"wangge key {epoch} {len(key.encode())} {key}".encode()


def _wrap(kek: AESGCM, secret: bytes, key: str, epoch: int) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + kek.encrypt(nonce, secret, _bound_to(key, epoch))


def _unwrap(kek: AESGCM, wrapped: bytes, key: str, epoch: int) -> bytes | None:
    """The secret; None where these bytes are not what was wrapped for this key."""
    try:
        return kek.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _bound_to(key, epoch))
    except (InvalidTag, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Keks:
    """The KEK as last read: all epochs, and which of them wraps."""

    stamp: tuple[int, int, int] | None
    newest: int
    ciphers: Mapping[int, AESGCM] = field(repr=False)


# --- what is kept at hand ---


@dataclass(slots=True)
class _Entry:
    key: Key
    until: float
    current: bool
    """Whether it is what new fields are sealed with, and not just one to open old ones."""
    settled: bool


class _Cache:
    """Keys by id for a limited time; the oldest makes room for the newest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._current: dict[str, str] = {}
        self._drops = 0

    def mark(self) -> int:
        """To be taken before the database is asked, and handed back with what it said."""
        return self._drops

    def put(self, keys: Iterable[Key], mark: int, *, current: bool, settled: bool) -> None:
        """Keep keys, unless some were dropped since the mark: it may have been these."""
        with self._lock:
            if mark != self._drops:
                return
            until = self._clock() + CACHE_SECONDS
            for key in keys:
                self._remove(key.id)  # so that the order is that of the ends
                self._entries[key.id] = _Entry(key, until, current, settled)
                if current:
                    self._current[key.subject] = key.id
            while len(self._entries) > CACHE_KEYS:
                self._remove(next(iter(self._entries)))

    def of(self, subjects: Iterable[str]) -> dict[str, Key]:
        """The keys to seal with, by subject, as far as they are here."""
        with self._lock:
            now = self._clock()
            found = {}
            for subject in subjects:
                entry = self._entries.get(self._current.get(subject, ""))
                if entry is not None and entry.settled and entry.until > now:
                    found[subject] = entry.key
            return found

    def named(self, ids: Iterable[str]) -> list[Key]:
        """Keys by their ids, as far as they are here."""
        with self._lock:
            now = self._clock()
            entries = (self._entries.get(each) for each in ids)
            return [entry.key for entry in entries if entry is not None and entry.until > now]

    def settle(self, keys: Iterable[Key]) -> None:
        """These survive a crash of the database from now on."""
        with self._lock:
            for key in keys:
                entry = self._entries.get(key.id)
                if entry is not None and entry.key is key:
                    entry.settled = True

    def drop(self, subjects: Collection[str]) -> None:
        """All keys of these subjects."""
        gone = set(subjects)
        with self._lock:
            self._drops += 1
            for key in [e.key.id for e in self._entries.values() if e.key.subject in gone]:
                self._remove(key)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None and self._current.get(entry.key.subject) == key:
            del self._current[entry.key.subject]


# --- the vault ---

OnRotated = Callable[[int, int], None]
"""Called with how many keys are done, and how many there are to do."""

_FIND: Final = (
    "SELECT subject, generation, epoch, wrapped, commitment"
    " FROM unnest(%s::text[], %s::int[]) AS wanted(subject, generation)"
    " JOIN vault.key USING (subject, generation)"
)
_PROVIDE: Final = (
    "SELECT p.* FROM vault.provide(%s::text[], %s::int[], %s::bytea[], %s::bytea[], %s) AS p"
)
_PROVIDE_LAZILY: Final = (
    "SELECT p.* FROM set_config('synchronous_commit', 'off', true) AS lazily,"
    " vault.provide(%s::text[], %s::int[], %s::bytea[], %s::bytea[], %s) AS p"
)
_READS: Final = (text, integer, integer, bytes, bytes)
_ASK: Final = Query(
    b"provide",
    "SELECT p.* FROM"
    " vault.provide($1::text[], $2::int[], $3::bytea[], $4::bytea[], ($5::int[])[1]) AS p",
    _READS,
)
_ASK_LAZILY: Final = Query(
    b"provide lazily",
    "SELECT p.* FROM set_config('synchronous_commit', 'off', true) AS lazily,"
    " vault.provide($1::text[], $2::int[], $3::bytea[], $4::bytea[], ($5::int[])[1]) AS p",
    _READS,
)
"""The same for an event loop, which asks by itself (``Vault.offer``)."""

_PAGE: Final = (
    "SELECT subject, generation, epoch, wrapped, commitment FROM vault.key"
    " WHERE epoch < %s AND (subject, generation) > (%s, %s) ORDER BY subject, generation LIMIT %s"
)


class Offer(NamedTuple):
    """New keys for those subjects whose key is not at hand, in case the vault has none either.

    ``query`` with ``columns`` is to be asked of the vault; its rows go to ``Vault.taken``.
    """

    found: dict[str, Key]
    mark: int
    query: Query
    columns: tuple[Column, ...]


class Vault:
    """Makes, finds and destroys keys. For any number of threads.

    Whatever asks the database may raise ``psycopg.OperationalError``, ``PoolTimeout`` (a subclass
    of it) or ``WrongKeyFile`` (another process has added an epoch that this file lacks).
    """

    def __init__(
        self,
        pool: ConnectionPool,
        file: KeyFile,
        *,
        apart: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fit the KEK to the vault; at the first start of all its file is made.

        ``pool`` hands out autocommit connections of the role ``wangge_vault``. ``apart``: they lead
        to a database server other than the log's, or to another database of it.

        Raises:
            WrongKeyFile: the file does not belong to this vault. Nothing is written then.
        """
        self._pool = pool
        self._file = file
        self._apart = apart
        self._cache = _Cache(clock)
        self._keks = self._fit()

    def provide(self, subjects: Collection[str]) -> dict[str, Key]:
        """The present key of each subject, by subject; made where there is none.

        One round trip for all, none where all are at hand.

        Raises:
            Tampered: a key in the vault is not what was put there.
        """
        found = self._cache.of(subjects)
        missing = sorted(set(subjects) - found.keys())
        if missing:
            mark = self._cache.mark()
            made = self._provided(missing)
            self._cache.put(made.values(), mark, current=True, settled=self._apart)
            found |= made
        return found

    def cached(self, subjects: Collection[str]) -> dict[str, Key] | None:
        """The same without asking the database; None where it would have to be asked."""
        found = self._cache.of(subjects)
        return found if len(found) == len(set(subjects)) else None

    @property
    def conninfo(self) -> str:
        """How to sign in to the vault's database as ``wangge_vault``."""
        conninfo = self._pool.conninfo
        assert isinstance(conninfo, str)
        return conninfo

    def offer(self, subjects: Collection[str]) -> Offer:
        """What ``provide`` asks of the vault, for who does not wait in a thread: see ``Offer``."""
        mark = self._cache.mark()
        found = self._cache.of(subjects)
        missing = sorted(set(subjects) - found.keys())
        wrapped, commitments = self._new(dict.fromkeys(missing, 1))
        columns = (
            Texts(missing),
            Integers([1] * len(missing)),
            Blobs(wrapped),
            Blobs(commitments),
            Integers([self._keks.newest]),
        )
        return Offer(found, mark, _ASK if self._apart else _ASK_LAZILY, columns)

    def taken(self, offer: Offer, rows: Sequence[tuple[Any, ...]]) -> dict[str, Key] | None:
        """What ``provide`` returns, out of the rows; None where it has to ask more than once: a key
        was destroyed, or the file of the KEK is another one."""
        keks = self._keks
        if self._file.stamp() != keks.stamp or any(row[2] not in keks.ciphers for row in rows):
            return None
        made: dict[str, Key] = {}
        for subject, generation, *rest in rows:
            made[subject] = _demand(keks, key_id(subject, generation), subject, *rest)
        self._cache.put(made.values(), offer.mark, current=True, settled=self._apart)
        return offer.found | made

    def settle(self, keys: Iterable[Key]) -> None:
        """An append that used these keys is on the disk: they may be used again unasked."""
        self._cache.settle(keys)

    def well(self) -> bool:
        """Whether new data can be sealed: the vault answers, and the file of its KEK is there."""
        with self._pool.connection() as connection:
            connection.execute("SELECT FROM vault.kek")
        try:
            if self._file.stamp() != self._keks.stamp:
                self._keks = self._fit()
        except WrongKeyFile as error:
            _log.error("vault.wrong_key_file", error=str(error))
            return False
        return True

    def find(self, ids: Collection[str]) -> Keys:
        """Keys by their ids, in one query; ``Keys`` says of the absent ones why."""
        found = Keys({key.id: key for key in self._cache.named(ids)})
        mark = self._cache.mark()
        asked = self._asked([id_ for id_ in ids if id_ not in found])
        read: list[Key] = []
        for id_ in asked.rows:
            with suppress(KeyError):
                read.append(asked[id_])
        if len(read) < MANY_KEYS:  # else they would drive out all that are used again
            self._cache.put(read, mark, current=False, settled=False)
        found.update({key.id: key for key in read})
        found.destroyed, found.broken = asked.destroyed, asked.broken
        return found

    def find_once(self, ids: Collection[str]) -> Keys:
        """The same for who asks for each key once. As soon as there are many, as in a build, a key
        is unwrapped whenever it is asked for by ``[]``, and kept nowhere."""
        return self.find(ids) if len(ids) < MANY_KEYS else self._asked(ids)

    def _asked(self, ids: Iterable[str]) -> "_Wrapped":
        """What the database has under some ids."""
        subjects, generations = list[str](), list[int]()
        for id_ in ids:
            subject, _, last = id_.rpartition("#")
            if subject and (generation := _number(last)) and "\0" not in subject:
                subjects.append(subject)
                generations.append(generation)
        rows: list[tuple[Any, ...]] = []
        if subjects:
            asked = Texts(subjects), Integers(generations)
            with self._pool.connection() as connection:
                rows = connection.execute(_FIND, asked, binary=True).fetchall()
        return _Wrapped(self._knowing({row[2] for row in rows}), rows)

    def destroy(self, subjects: Collection[str], *, made_until: datetime | None = None) -> int:
        """Destroy all keys that these subjects have; returns how many there were still.

        ``made_until``: only keys made until then by the database's clock, so that a destruction
        done again later spares the key of a person who has come back. See the module for what is
        left, and for how long.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT vault.destroy(%s::text[], %s::timestamptz)",
                (sorted(set(subjects)), made_until),
            ).fetchone()
            assert row is not None
            self._cache.drop(subjects)
            if row[0]:
                # Where this role may not, the server says so in a warning and does nothing.
                connection.execute("VACUUM vault.key")
        return int(row[0])

    # --- changing the KEK ---

    def add_epoch(self) -> int:
        """A further KEK in the file, which wraps from now on; returns its epoch.

        Other machines need a copy of the file before ``rotate``.
        """
        with self._alone() as connection:
            keks = self._file.read()
            newest = max(keks) + 1
            secret = os.urandom(32)
            # The file first: an epoch that the vault knows must never be without its KEK.
            self._file.replace(keks | {newest: secret})
            connection.execute(
                "SELECT vault.add_epoch(%s, %s)", (newest, _commitment(secret, _KEK_LABEL))
            )
        self._keks = self._fit()
        return newest

    def rotate(self, on_progress: OnRotated | None = None) -> int:
        """Wrap all keys by the newest epoch; returns how many were wrapped anew.

        Page by page, each a transaction: whoever is stopped goes on where it was. Keys stay the
        same, so readers and writers notice nothing.

        Raises:
            Tampered: a key is not what was put there; it and those after it are left as they are.
        """
        keks = self._keks = self._fit()
        with self._pool.connection() as connection:
            count = "SELECT count(*) FROM vault.key WHERE epoch < %s"
            row = connection.execute(count, (keks.newest,)).fetchone()
            assert row is not None
            total, seen, done = int(row[0]), 0, 0
            after = ("", 0)
            while rows := connection.execute(
                _PAGE, (keks.newest, *after, PAGE), binary=True
            ).fetchall():
                done += self._rewrap(connection, keks, rows)
                after = rows[-1][0], rows[-1][1]
                seen += len(rows)
                if on_progress is not None:
                    on_progress(min(seen, total), total)
        return done

    def drop_epochs(self) -> tuple[int, ...]:
        """Forget every KEK that wraps no key any more, here and in the file; returns the epochs."""
        with self._alone() as connection:
            connection.execute("SELECT vault.drop_epochs()")
            rows = connection.execute("SELECT epoch FROM vault.kek").fetchall()
            used = {row[0] for row in rows}
        # Now that no row can ask for them again; an end before this line is made good next time.
        with self._alone():
            keks = self._file.read()
            kept = {e: kek for e, kek in keks.items() if e in used or e > max(used)}
            if kept != keks:
                self._file.replace(kept)
        self._keks = self._fit()
        return tuple(sorted(keks.keys() - kept.keys()))

    # --- inside ---

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection]:
        """A transaction that waits for whoever else changes the file or looks whether it fits."""
        with self._pool.connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('wangge kek'))")
            yield connection

    def _fit(self) -> _Keks:
        """The file's KEKs, each of which is the one that the vault knows, or a newer one."""
        with self._alone() as connection:
            rows = connection.execute("SELECT epoch, commitment FROM vault.kek").fetchall()
            known: dict[int, bytes] = {epoch: bytes(commitment) for epoch, commitment in rows}
            if not known:
                self._file.make()
            stamp = self._file.stamp()
            keks = self._file.read()
            for epoch, commitment in known.items():
                if epoch not in keks or not hmac.compare_digest(
                    _commitment(keks[epoch], _KEK_LABEL), commitment
                ):
                    raise self._wrong(epoch)
            for epoch in sorted(keks):
                # An epoch older than the newest that the vault does not know was given up.
                if epoch > max(known, default=0):
                    connection.execute(
                        "SELECT vault.add_epoch(%s, %s)",
                        (epoch, _commitment(keks[epoch], _KEK_LABEL)),
                    )
        return _Keks(stamp, max(keks), {epoch: AESGCM(kek) for epoch, kek in keks.items()})

    def _wrong(self, epoch: int) -> WrongKeyFile:
        path = self._file.path
        return WrongKeyFile(
            f"WANGGE_KEK: {path} 中没有本密钥库第 {epoch} 期的主密钥。请从已在使用该库的机器复制此"
            "文件，或从备份恢复；缺少它，个人信息无法读取。\n"
            f"{path} does not have the key (epoch {epoch}) that wraps the keys of this vault. Copy "
            "the file from a machine that already uses it, or put back the backup of it, and set "
            "WANGGE_KEK to it; if WANGGE_VAULT_DSN or WANGGE_DSN names another database than "
            "before, it may be that one which is wrong. Without it no personal data can be read."
        )

    def _knowing(self, epochs: set[int | None]) -> _Keks:
        """The KEKs, read again where one of these epochs is not among them.

        Raises:
            WrongKeyFile: it is not there either: given up since the rows were read, or a change.
        """
        keks = self._keks
        if not epochs - {None} <= keks.ciphers.keys():
            keks = self._keks = self._fit()
        for epoch in epochs - keks.ciphers.keys():
            if epoch is not None:
                raise self._wrong(epoch)
        return keks

    def _provided(self, subjects: list[str]) -> dict[str, Key]:
        """The present keys of sorted subjects, as the database has them."""
        if self._file.stamp() != self._keks.stamp:
            self._keks = self._fit()
        found: dict[str, Key] = {}
        offered = dict.fromkeys(subjects, 1)
        # A second round where a key was destroyed; a third where that happens as we look.
        while offered:
            try:
                rows = self._offer(offered)
            except psycopg.errors.ForeignKeyViolation:
                self._keks = self._fit()  # our epoch was given up as we offered
                continue
            keks = self._knowing({row[2] for row in rows})
            again: dict[str, int] = {}
            for subject, generation, epoch, wrapped, commitment in rows:
                if wrapped is None:
                    again[subject] = generation + 1
                    continue
                id_ = key_id(subject, generation)
                found[subject] = _demand(keks, id_, subject, epoch, wrapped, commitment)
            assert found.keys() | again.keys() >= offered.keys()
            offered = again
        return found

    def _offer(self, generations: Mapping[str, int]) -> list[tuple[Any, ...]]:
        keks = self._keks
        wrapped, commitments = self._new(generations)
        query = _PROVIDE if self._apart else _PROVIDE_LAZILY
        offer = [*generations], [*generations.values()], wrapped, commitments, keks.newest
        with self._pool.connection() as connection:
            return connection.execute(query, offer, binary=True).fetchall()

    def _new(self, generations: Mapping[str, int]) -> tuple[list[bytes], list[bytes]]:
        """A new key for each subject, wrapped, and its commitment."""
        keks = self._keks
        kek = keks.ciphers[keks.newest]
        wrapped: list[bytes] = []
        commitments: list[bytes] = []
        for subject, generation in generations.items():
            secret = os.urandom(32)
            wrapped.append(_wrap(kek, secret, key_id(subject, generation), keks.newest))
            commitments.append(_commitment(secret, _KEY_LABEL))
        return wrapped, commitments

    @staticmethod
    def _rewrap(connection: psycopg.Connection, keks: _Keks, rows: list[tuple[Any, ...]]) -> int:
        wrapped: list[bytes] = []
        for subject, generation, *rest in rows:
            key = _demand(keks, key_id(subject, generation), subject, *rest)
            wrapped.append(_wrap(keks.ciphers[keks.newest], key.secret, key.id, keks.newest))
        row = connection.execute(
            "SELECT vault.rewrap(%s::text[], %s::int[], %s::int[], %s::bytea[], %s)",
            (
                [r[0] for r in rows],
                [r[1] for r in rows],
                [r[2] for r in rows],
                wrapped,
                keks.newest,
            ),
        ).fetchone()
        assert row is not None
        return int(row[0])


class _Wrapped(Keys):
    """Keys as the database has them, each unwrapped whenever it is asked for: only ``[]`` finds
    them, and ``broken`` is known of those that were asked for."""

    __slots__ = ("_keks", "rows")

    def __init__(self, keks: _Keks, rows: Iterable[tuple[Any, ...]]) -> None:
        super().__init__()
        self._keks = keks
        self.rows = {key_id(row[0], row[1]): row for row in rows}
        self.destroyed = {id_: row[4] for id_, row in self.rows.items() if row[3] is None}

    def __missing__(self, id_: str) -> Key:
        subject, _, epoch, wrapped, commitment = self.rows[id_]
        if wrapped is not None:
            key = _opened(self._keks, id_, subject, epoch, wrapped, commitment)
            if key is not None:
                return key
            self.broken.add(id_)
        raise KeyError(id_)


def _opened(
    keks: _Keks, id_: str, subject: str, epoch: int, wrapped: bytes, commitment: bytes
) -> Key | None:
    """The key of a row; None where the row is not what was put there."""
    secret = _unwrap(keks.ciphers[epoch], wrapped, id_, epoch)
    if secret is None or len(secret) != 32:
        return None
    key = Key(id_, subject, secret)
    return key if hmac.compare_digest(key.commitment, commitment) else None


def _demand(
    keks: _Keks, id_: str, subject: str, epoch: int, wrapped: bytes, commitment: bytes
) -> Key:
    """The key of a row.

    Raises:
        Tampered: the row is not what was put there.
    """
    key = _opened(keks, id_, subject, epoch, wrapped, commitment)
    if key is None:
        raise Tampered(
            f"密钥库中的密钥被改动。The key {id_} in the vault is not what was put there."
        )
    return key
