"""Many callers, few transactions: the asynchronous way of a command through the log.

Whoever waits together goes together. Commands that wait are loaded in one query, decided one after
another, and appended in one round trip and one fsync. Each caller gets a verdict of its own: what
one is refused never fails another. Within a process no race can be lost this way; only another
process on the same database can be faster, and then the whole group decides anew.

A command may carry the caller's key. What it was answered is then kept in the transaction of its
events, and the same request sent again is answered with it and not done again.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import psycopg
import structlog
from eventsourcing.persistence import IntegrityError, OperationalError
from psycopg.pq.abc import PGresult

from domain.aggregates import STAFF, Office, decider_of
from domain.answers import Answer, Answered, Answering, Once, Receipt, Verdict
from domain.errors import Conflict, Overloaded, Refused, VersionMismatch
from domain.staff import STREAM
from domain.traces import Spans
from infra.arrays import Blobs, Column, Integers, Texts
from infra.event_store import (
    ATTEMPTS,
    OFFICE,
    Batch,
    Entry,
    EventStore,
    Missing,
    Stream,
    columns_of,
    known_of,
    office_of,
)
from infra.line import PATIENCE, Line, Query, integer, rows_of, text
from infra.vault import Key

AT_ONCE: Final = 2
"""Groups under way together: one is on its way to the disk while the next is decided and sent. A
third would only wait, and its commands go along with the second instead."""

GROUP: Final = 128
"""Commands in one transaction, at most: beyond it the wait grows and the fsync is well shared."""

WAITING: Final = 2_000
"""Commands that may wait, at most: a client is told to come back sooner than to wait in vain."""

HALVED: Final = 16
"""Ready events, at least, that go in two halves: one half is packed, and the writers of the other
are told, while PostgreSQL is at work. For fewer a second fsync costs more than that saves."""

KEPT_DAYS: Final = 7
"""How long the answer to a command with a key is kept."""

TIDY_SECONDS: Final = 3600.0
"""How often answers that are older are dropped."""

TIDY_ROWS: Final = 5_000
"""Answers dropped in one transaction, at most."""

Item = TypeVar("Item")
T = TypeVar("T")

_log = structlog.get_logger(__name__)


_ARRAYS: Final = (
    "$1::text[], $2::int[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],"
    " $8::text[], $9::text[], $10::bytea[]"
)

_APPEND: Final = Query(b"append", f"SELECT log.append({_ARRAYS})", (integer,))

_APPEND_ANSWERED: Final = Query(
    b"append answered",
    f"SELECT log.append({_ARRAYS}, $11::text[], $12::text[], $13::bytea[], $14::int[], $15::int[],"
    " $16::bytea[])",
    (integer,),
)

_NEWS: Final = Query(
    b"news",
    "SELECT e.stream, e.version, e.name, e.data, NULL::bytea AS digest, e.position"
    " FROM unnest($1::text[], $2::int[]) AS known(stream, version)"
    " JOIN log.event e ON e.stream = known.stream AND e.version > known.version"
    " UNION ALL"
    " SELECT r.actor, r.status, r.key, r.answer, r.digest, r.position"
    " FROM unnest($3::text[], $4::text[]) AS asked(actor, key)"
    " JOIN log.request r USING (actor, key)"
    " ORDER BY position",
    (text, integer, text, bytes, bytes, integer),
)
"""In one round trip: the events of streams after the versions already known, in order of position,
and the answers kept to some keys, which have a digest."""

_SETTLED: Final = Query(
    b"settled",
    "SELECT log.settled(($1::text[])[1], ($2::int[])[1], ($3::text[])[1], ($4::bytea[])[1])",
    (integer,),
)

_STAFF: Final = {STREAM: STAFF}

_DROP_ANSWERS: Final = Query(
    b"drop answers", f"SELECT log.drop_answers('{KEPT_DAYS} days', {TIDY_ROWS})", (integer,)
)


Kept: TypeAlias = dict[tuple[str, str], tuple[bytes, Answered]]
"""Answers that were kept, by actor and key, with the digest of their request."""


@dataclass(slots=True, eq=False)
class _Request:
    """A command that waits, and what it comes to."""

    commands: Sequence[Any]
    correlation: str
    causation: str
    expected: int | None
    once: Once | None
    answering: Answering | None
    future: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    verdict: Verdict | None = None
    answer: Answer | None = None
    end: int = 0

    def settle(self, first: int) -> None:
        """Tell the caller, now that it is stored. ``first`` is the position of the group's first
        event."""
        position = first + self.end - 1 if self.end else 0
        if self.answer is not None:
            self._tell(Answered(*self.answer, position))
        elif isinstance(self.verdict, Receipt):
            self._tell(Receipt(self.verdict.events, position, self.verdict.version))
        elif self.verdict is not None:
            self.fail(self.verdict)

    def repeat(self, kept: tuple[bytes, Answered]) -> None:
        """Tell the caller what the same request was answered before."""
        digest, answered = kept
        if self.once is None or digest != self.once.digest:
            self.fail(Refused("request.key_reused"))
        else:
            self._tell(answered)

    def fail(self, error: Exception) -> None:
        """Tell the caller that it came to nothing."""
        if not self.future.done():
            self.future.set_exception(error)

    def _tell(self, answer: Receipt | Answered) -> None:
        # The caller may be gone: what was decided is stored all the same.
        if not self.future.done():
            self.future.set_result(answer)


@dataclass(slots=True, eq=False)
class _Look:
    """A request that asks how the office stands, and whether its key was answered."""

    once: Once | None
    future: asyncio.Future[tuple[Office, Answered | None]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


_Append: TypeAlias = tuple[Entry, asyncio.Future[int]]
"""A ready event that waits, and what tells its position."""


class _Decided(NamedTuple):
    """A group whose verdicts are known, to be stored before anybody is told."""

    batch: Batch
    pending: list[_Request]


class Rounds(Generic[Item]):
    """Lets items wait while rounds of work are under way, and takes them all into the next."""

    def __init__(
        self,
        work: Callable[[], asyncio.Future[Any]],
        size: int,
        waiting: int,
        at_once: int = 1,
        halved: int | None = None,
    ) -> None:
        """``work`` begins a round, which takes its items (``take``), at most ``size``, tells each
        its outcome, and never fails. What it answers is done when the round is.

        ``at_once`` rounds may be under way together. When none is, ``halved`` items or more go in
        two halves, so that one is prepared while the other is on its way.
        """
        self._work = work
        self._size = size
        self._waiting = waiting
        self._at_once = at_once
        self._halved = halved or sys.maxsize
        self._items: list[Item] = []
        self._under_way = 0
        self._gathering = False
        self._rounds: set[asyncio.Future[Any]] = set()
        self._loop = asyncio.get_running_loop()

    def add(self, item: Item) -> None:
        """Let an item wait for the next round, which begins at once if none is under way.

        Raises:
            Overloaded: too many wait already.
        """
        if len(self._items) >= self._waiting:
            raise Overloaded
        self._items.append(item)
        self._begin()

    def take(self) -> list[Item]:
        """What goes in the round that began last; with what is left another may begin."""
        count = min(len(self._items), self._size)
        if count >= self._halved and self._under_way == 1:
            count = (count + 1) // 2
        items, self._items = self._items[:count], self._items[count:]
        self._gathering = False
        if self._items:
            self._begin()
        return items

    def enter(self, round_: asyncio.Future[Any]) -> None:
        """What is still to be done for items that were taken counts as a round, too."""
        self._under_way += 1
        self._follow(round_)

    async def finish(self) -> None:
        """Wait until nothing waits any more."""
        while self._under_way or self._gathering:
            await (asyncio.wait(self._rounds) if self._rounds else asyncio.sleep(0))

    def _begin(self) -> None:
        """Begin a round behind whatever the event loop does first: whoever is about to come goes
        along."""
        if not self._gathering and self._under_way < self._at_once:
            self._gathering = True
            self._loop.call_soon(self._round)

    def _round(self) -> None:
        if self._items:
            self._under_way += 1
            self._follow(self._work())
        else:
            self._gathering = False

    def _follow(self, round_: asyncio.Future[Any]) -> None:
        self._rounds.add(round_)
        round_.add_done_callback(self._ended)

    def _ended(self, round_: asyncio.Future[Any]) -> None:
        self._rounds.discard(round_)
        self._under_way -= 1
        # Also when nobody waits: those who were told just now may come again before this begins.
        self._begin()


class GroupCommit:
    """The log for many callers at a time. Use as an asynchronous context manager, in one loop."""

    def __init__(
        self,
        store: EventStore,
        conninfo: str,
        *,
        group: int = GROUP,
        waiting: int = WAITING,
        spans: Spans | None = None,
    ) -> None:
        """``conninfo`` signs in as ``wangge_app``; two connections are held, and one to the
        vault."""
        self.store = store
        self._conninfo = conninfo
        self._group = group
        self._waiting = waiting
        self._spans = spans
        self.noting: Callable[[int], None] = lambda _size: None

    async def __aenter__(self) -> "GroupCommit":
        self._loop = asyncio.get_running_loop()
        self._writing, self._reading = Line(self._conninfo), Line(self._conninfo)
        self._keys = Line(self.store.vault.conninfo)
        self._commits: Rounds[_Request] = Rounds(
            lambda: self._loop.create_task(self._round()), self._group, self._waiting, AT_ONCE
        )
        self._looks: Rounds[_Look] = Rounds(
            lambda: self._loop.create_task(self._look()), self._waiting, self._waiting
        )
        self._appends: Rounds[_Append] = Rounds(
            self._append_all, self._group, self._waiting, AT_ONCE, HALVED
        )
        self._deciding = asyncio.Lock()
        self._sent: dict[asyncio.Event, set[str]] = {}
        self._staff_version = 0
        self._in_flight: set[tuple[str, str]] = set()
        self._tidying = asyncio.create_task(self._tidy())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Store what waits already, then end."""
        self._tidying.cancel()
        await asyncio.wait([self._tidying])
        for rounds in (self._commits, self._looks, self._appends):
            await rounds.finish()
        for line in (self._writing, self._reading, self._keys):
            await line.close()

    async def execute(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Receipt:
        """Decide and append, all or nothing.

        Raises:
            Refused, VersionMismatch, Conflict: as ``EventStore.execute``.
            Overloaded: too many wait already. Nothing of this is stored.
            OperationalError: the database is away. It may have been stored.
        """
        request = _Request(commands, correlation, causation, expected, None, None)
        self._commits.add(request)
        receipt: Receipt = await request.future
        return receipt

    async def answer(
        self,
        *commands: Any,
        correlation: str,
        expected: int | None,
        once: Once | None,
        answering: Answering,
    ) -> Answered:
        """Decide and append, and say what became of it; with a key, keep that as well.

        Raises:
            Refused: ``request.key_reused``, ``request.key_in_use``: the key came with another
                request before, or with one that is not answered yet.
            Conflict, Overloaded, OperationalError: as ``execute``; no answer is kept.
        """
        request = _Request(commands, correlation, "", expected, once, answering)
        if once is None:
            return await self._answered(request)
        if once[:2] in self._in_flight:
            raise Refused("request.key_in_use")
        self._in_flight.add(once[:2])
        try:
            return await self._answered(request)
        finally:
            self._in_flight.discard(once[:2])

    async def _answered(self, request: _Request) -> Answered:
        self._commits.add(request)
        answered: Answered = await request.future
        return answered

    async def look(self, once: Once | None = None) -> tuple[Office, Answered | None]:
        """The office as of now, and what a request was answered before, if it was.

        Raises:
            Refused: ``request.key_reused``, ``request.key_in_use``: as ``answer``.
            Overloaded, OperationalError: as ``execute``.
        """
        if once and once[:2] in self._in_flight:
            raise Refused("request.key_in_use")
        look = _Look(once)
        self._looks.add(look)
        return await look.future

    async def append(self, entry: Entry) -> int:
        """Store one ready event and answer its position; only for what no rule decides.

        Raises:
            IntegrityError: one of the group's versions is taken; nothing of the group is stored.
            Overloaded, OperationalError: as ``execute``.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self._appends.add((entry, future))
        return await future

    # --- looking ---

    async def _look(self) -> None:
        looks = self._looks.take()
        try:
            streams = self.store.kept(OFFICE)
            rows, kept = await _news(
                self._reading, streams, [look.once for look in looks if look.once]
            )
            office = office_of(self.store.advanced(streams, rows))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of anything
            for look in looks:
                if not look.future.done():
                    look.future.set_exception(error)
            return
        for look in looks:
            if look.future.done():
                continue
            before = look.once and kept.get(look.once[:2])
            if before and look.once and before[0] != look.once.digest:
                look.future.set_exception(Refused("request.key_reused"))
            else:
                look.future.set_result((office, before[1] if before else None))

    # --- committing ---

    async def _round(self) -> None:
        group = self._commits.take()
        self.noting(len(group))
        await self._commit(group)

    async def _commit(self, group: list[_Request]) -> None:
        """Give every request of a group its verdict, whatever happens."""
        try:
            for attempt in range(ATTEMPTS):
                if await self._attempt(group, again=attempt > 0):
                    return
            error: Exception = Conflict()
        except OperationalError as away:
            for request in group:
                request.fail(away)
            return
        except Exception as unexpected:  # noqa: BLE001 - whoever waits must hear of anything
            error = unexpected
        if len(group) == 1:
            group[0].fail(error)
            return
        # One of them cannot be decided or stored, or is for a stream that others write to all the
        # time: the rest shall not pay for it.
        for request in group:
            await self._commit([request])

    async def _attempt(self, group: list[_Request], *, again: bool) -> bool:
        """Decide and append a group once; False when another process was faster.

        One group is decided at a time; while it is stored the next is decided. That one takes
        nothing for true that may still come to nothing (``_wait_for``).
        """
        async with self._deciding:
            decided = await self._decide_all(group, again=again)
            if decided is None:
                return False
            sent = asyncio.Event()
            self._sent[sent] = {each.stream for each in decided.batch.decided}
        answers = [request for request in decided.pending if request.once and request.answer]
        begun = time.time_ns()
        try:
            # A new key is not on the disk before the append that uses it, which a crash in between
            # must therefore break: it goes by the connection that there was before.
            connection = await self._writing.open()
            keys = await self._keys_for(decided.batch)
            entries = self.store.sealed(decided.batch.decided, keys)
            first = await self._append(entries, answers, connection) if entries or answers else 1
            self.store.vault.settle(keys.values())
            # What was decided here is not sealed, as it is in the log: names stay out of what is
            # kept.
            streams = decided.batch.streams
            self.store.keep({n: s for n, s in streams.items() if not s.decider.single})
            self._staff_version = max(self._staff_version, streams[STREAM].version)
        except IntegrityError:
            return False
        finally:
            del self._sent[sent]
            sent.set()
        # Only now is anything true: also a refusal may rest on an event of the same group.
        for request in decided.pending:
            request.settle(first)
        if self._spans is not None and entries:
            facts = {"wangge.events": len(entries), "wangge.position": first}
            for correlation in {each.correlation for each in entries}:
                self._spans.record("append", correlation, begun, time.time_ns(), facts)
        return True

    async def _decide_all(self, group: list[_Request], *, again: bool) -> "_Decided | None":
        """Decide a group, and tell those whose key has been answered; None to decide it again.

        At first streams are taken as they are remembered here: an append succeeds only if that was
        all there is of them. Whatever rests on a stream that gets no event is decided ``again``, on
        what the log has.
        """
        batch = Batch(self.store)
        commands = [command for request in group for command in request.commands]
        wanted = batch.missing(commands)
        if STREAM not in wanted:
            batch.streams |= await self._staff(again=again)
        await self._wait_for(wanted)
        asked = [request.once for request in group if request.once] if again else []
        taken: dict[str, Stream] = {}
        if not again:
            begun = {decider_of(c).stream(c) for c in commands if type(c) in decider_of(c).begins}
            remembered = self.store.kept(wanted)
            taken = {n: s for n, s in remembered.items() if s.version or n in begun}
            batch.streams |= taken
            wanted = {n: d for n, d in wanted.items() if n not in taken}
        kept = await self._load(batch, wanted, asked) if wanted or asked else {}
        pending = []
        for request in group:
            if request.once and (before := kept.get(request.once[:2])):
                request.repeat(before)
            elif not request.future.done():
                await self._decide(batch, request)
                pending.append(request)
        if taken.keys() - {each.stream for each in batch.decided}:
            return None
        return _Decided(batch, pending)

    async def _staff(self, *, again: bool) -> dict[str, Stream]:
        """The staff as every request has just looked it up, or as a group since has left it."""
        kept = self.store.kept(_STAFF)
        on_its_way = any(STREAM in written for written in self._sent.values())
        if not again and not on_its_way and kept[STREAM].version >= self._staff_version:
            return kept
        await self._wait_for(_STAFF)
        found = Batch(self.store)
        await self._load(found, _STAFF, [])
        return found.streams

    async def _wait_for(self, streams: Collection[str]) -> None:
        """Until nothing is on its way to any of these streams: how they stand is known then."""
        for sent, written in list(self._sent.items()):
            if not written.isdisjoint(streams):
                await sent.wait()

    async def _load(self, batch: Batch, wanted: dict[str, Any], keys: list[Once]) -> Kept:
        """Bring streams here, and what was answered to these keys meanwhile."""
        streams = self.store.kept(wanted)
        rows, kept = await _news(self._writing, streams, keys)
        batch.streams |= self.store.advanced(streams, rows)
        return kept

    async def _decide(self, batch: Batch, request: _Request) -> None:
        """Decide one request on the batch as the requests before it have left it."""
        first = decider_of(request.commands[0]).stream(request.commands[0])
        while True:
            version = batch.streams[first].version
            try:
                batch.streams[STREAM].state.demand_active(request.commands[0].by.id)
                if request.expected not in (None, version):
                    raise VersionMismatch(int(request.expected or 0), version)
                events = batch.decide_loaded(
                    *request.commands,
                    correlation=request.correlation,
                    causation=request.causation,
                )
            except Missing as missing:
                await self._wait_for(missing.wanted)
                await self._load(batch, missing.wanted, [])
                continue
            except (Refused, VersionMismatch) as no:
                request.verdict, request.end = no, 0
            else:
                stored = batch.streams[first].version
                request.verdict = Receipt(tuple(events), 0, stored)
                request.end = len(batch.decided) if events else 0
            break
        if request.answering is not None:
            request.answer = request.answering(request.verdict, batch.streams[first].state)

    async def _keys_for(self, batch: Batch) -> dict[str, Key]:
        """What a batch is to be sealed with. New keys are in the vault before they are used."""
        subjects = self.store.subjects_of(batch.decided)
        keys = self.store.vault.cached(subjects)
        if keys is None:
            keys = await self._new_keys_for(subjects)
        return keys

    async def _new_keys_for(self, subjects: set[str]) -> dict[str, Key]:
        vault = self.store.vault
        # Not in a thread: next to an event loop that is busy each of its steps waits for its turn.
        offer = vault.offer(subjects)
        try:
            keys = vault.taken(offer, await self._keys.ask(offer.query, *offer.columns))
        except psycopg.errors.ForeignKeyViolation:
            keys = None  # the KEK that wrapped them was given up meanwhile
        if keys is None:
            try:
                async with asyncio.timeout(PATIENCE):
                    keys = await asyncio.to_thread(vault.provide, subjects)
            except (psycopg.OperationalError, TimeoutError) as error:
                raise OperationalError(error) from error
        return keys

    async def _append(
        self, entries: list[Entry], answers: list[_Request], connection: object = None
    ) -> int:
        """Store entries and the answers that are to be kept; the position of the first entry.

        Raises:
            IntegrityError: another process was faster, or has answered one of the keys.
            OperationalError: the database is away, and whether it was stored could not be learnt.
        """
        columns = columns_of(entries)
        append = _APPEND
        if answers:
            columns += _columns_of_answers(answers)
            append = _APPEND_ANSWERED
        return await self._stored(entries, self._writing.ask(append, *columns, only_on=connection))

    async def _stored(self, entries: list[Entry], told: Awaitable[list[tuple[Any, ...]]]) -> int:
        """The position of the first of entries that were sent; raises as ``_append``."""
        try:
            ((position,),) = await told
        except OperationalError as error:
            first = await self._settled(entries)
            if first is None:
                raise
            _log.warning("log.answer_lost", error=str(error), position=first)
            return first
        return int(position)

    async def _settled(self, entries: list[Entry]) -> int | None:
        """After the answer to an append was lost: the first position, if it has been stored.

        An append is all or nothing, and no two have the same bytes, correlation and version, so
        looking for its first event is enough. If it is not there now, its callers are told that
        nobody knows: it may still be on its way to the database.
        """
        if not entries:
            return None
        one = entries[0]
        try:
            ((position,),) = await self._writing.ask(
                _SETTLED,
                Texts([one.stream]),
                Integers([one.version]),
                Texts([one.correlation]),
                Blobs([one.data]),
            )
        except OperationalError:
            return None
        return None if position is None else int(position)

    # --- ready events ---

    def _append_all(self) -> asyncio.Future[Any]:
        """Send what waits, and tell the positions when they are known.

        By callbacks, as long as all goes well: a task and the steps of its coroutines would take
        longer than to pack the events.
        """
        waiting = self._appends.take()
        try:
            answer = self._writing.send(_APPEND, *columns_of([entry for entry, _ in waiting]))
        except Exception:  # noqa: BLE001 - whatever it is: the slow way comes to it, and tells
            answer = None
        if answer is None:
            return self._loop.create_task(self._append_slowly(waiting))
        answer.add_done_callback(partial(self._appended, waiting))
        return answer

    def _appended(self, waiting: list[_Append], answer: asyncio.Future[PGresult]) -> None:
        if answer.exception() is None:
            ((position,),) = rows_of(_APPEND, answer.result())
            _tell_positions(waiting, position)
        else:
            self._appends.enter(self._loop.create_task(self._append_slowly(waiting, answer)))

    async def _append_slowly(
        self, waiting: list[_Append], answer: asyncio.Future[PGresult] | None = None
    ) -> None:
        """Open the connection first, or find out what became of events when the answer failed."""
        entries = [entry for entry, _ in waiting]
        try:
            if answer is None:
                position = await self._append(entries, [])
            else:
                position = await self._stored(entries, self._writing.told(_APPEND, answer))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of anything
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
        else:
            _tell_positions(waiting, position)

    async def _tidy(self) -> None:
        """Now and then drop the answers that nobody will ask for any more."""
        while True:
            try:
                while (await self._reading.ask(_DROP_ANSWERS))[0][0] == TIDY_ROWS:
                    pass
            except Exception as error:  # noqa: BLE001 - a later try may do better
                _log.warning("log.tidying_later", error=str(error))
            await asyncio.sleep(TIDY_SECONDS)


def _tell_positions(waiting: list[_Append], first: int) -> None:
    """Tell whoever waits for a ready event where it stands; the first stands at ``first``."""
    for position, (_, future) in enumerate(waiting, first):
        if not future.done():
            future.set_result(position)


async def _news(
    line: Line, streams: dict[str, Stream], keys: list[Once]
) -> tuple[list[tuple[str, int, str, bytes]], Kept]:
    """What the log has of streams beyond what is known, and the answers to these keys."""
    rows = await line.ask(
        _NEWS,
        *known_of({name: stream.version for name, stream in streams.items()}),
        Texts([key.actor for key in keys]),
        Texts([key.key for key in keys]),
    )
    events: list[tuple[str, int, str, bytes]] = []
    kept: Kept = {}
    for name, number, word, data, digest, position in rows:
        if digest is None:
            events.append((name, number, word, data))
        else:
            kept[name, word] = digest, Answered(number, data, position)
    return events, kept


def _columns_of_answers(requests: list[_Request]) -> tuple[Column, ...]:
    """Answers as ``log.append`` takes them: an array for each column."""
    kept = [(r.once, r.answer, r.end) for r in requests if r.once and r.answer]
    return (
        Texts([once.actor for once, _, _ in kept]),
        Texts([once.key for once, _, _ in kept]),
        Blobs([once.digest for once, _, _ in kept]),
        Integers([answer.status for _, answer, _ in kept]),
        Integers([end for _, _, end in kept]),
        Blobs([answer.body for _, answer, _ in kept]),
    )
