"""Commands that wait together are stored together, each with a verdict of its own."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, OperationalError
from psycopg.pq.abc import PGresult

from domain.answers import Answer, Answered, Once, Receipt, Verdict
from domain.errors import Conflict, Overloaded, Refused, VersionMismatch
from domain.staff import AddUser, SuspendUser
from infra.arrays import Column
from infra.codec import UnknownEvent
from infra.event_store import Entry, EventStore
from infra.group_commit import AT_ONCE, HALVED, GroupCommit
from infra.line import Line, Query
from infra.migrations import role_dsn
from infra.vault import Vault
from tests import samples


class Held(Line):
    """A line whose appends wait for a sign, so that a test can let commands gather."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self.free = asyncio.Event()
        self.reached = asyncio.Event()
        self.appends: list[int] = []

    async def ask(self, query: Query, *columns: Column, only_on: object = None) -> Any:
        if "log.append" in query.statement:
            self.reached.set()
            await asyncio.wait_for(self.free.wait(), 30)
            self.appends.append(len(columns[0]))
        return await super().ask(query, *columns, only_on=only_on)


class Deaf(Line):
    """A line on which the answer to the first append is lost after it was stored."""

    lost = False

    async def ask(self, query: Query, *columns: Column, only_on: object = None) -> Any:
        rows = await super().ask(query, *columns, only_on=only_on)
        if "log.append" in query.statement and not self.lost:
            self.lost = True
            await self.close()
            raise OperationalError("the answer was lost")
        return rows


class Group:
    """A group commit whose first append waits until the test says so."""

    def __init__(self, commits: GroupCommit, held: Held) -> None:
        self.commits, self.held = commits, held

    async def gather(self) -> None:
        """Have one append wait, so that whatever is submitted next gathers behind it."""
        self.submit(samples.report(case="first"))
        await asyncio.wait_for(self.held.reached.wait(), 30)

    def submit(self, *commands: Any, **options: Any) -> "asyncio.Task[Receipt]":
        """Let commands wait."""
        return asyncio.create_task(self.commits.execute(*commands, **options))

    async def release(self, *tasks: "asyncio.Task[Any]") -> list[Any]:
        """Let all be stored; what became of each."""
        for _ in range(10):
            await asyncio.sleep(0)  # each task gets to where it waits
        self.held.free.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)


@pytest.fixture
def conninfo(database: str, secret: bytes) -> str:
    return role_dsn(database, secret, "wangge_app")


def run(story: Callable[[], Awaitable[None]]) -> None:
    """A story in an event loop of its own."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


def holding(
    store: EventStore, conninfo: str, story: Callable[[Group], Awaitable[None]], **options: Any
) -> None:
    """Run a story on a group commit that is held back."""

    async def bounded() -> None:
        async with asyncio.timeout(60), GroupCommit(store, conninfo, **options) as commits:
            held = Held(conninfo)
            commits._writing = held
            await story(Group(commits, held))
            held.free.set()

    asyncio.run(bounded())


def test_what_waits_together_is_one_append_with_dense_positions(
    store: EventStore, conninfo: str, database: str
) -> None:
    async def story(group: Group) -> None:
        await group.gather()
        tasks = [group.submit(samples.report(case=f"c{n}"), correlation=f"r{n}") for n in range(20)]
        receipts = await group.release(*tasks)
        assert group.held.appends == [1, 20]
        assert [receipt.position for receipt in receipts] == list(range(2, 22))
        assert {receipt.version for receipt in receipts} == {1}

    holding(store, conninfo, story)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT position, stream, correlation, xmin::text FROM log.event"
            " WHERE position > 1 ORDER BY 1"
        ).fetchall()
    assert [row[:3] for row in rows] == [(n + 2, f"case:c{n}", f"r{n}") for n in range(20)]
    assert len({row[3] for row in rows}) == 1, "one transaction"


@pytest.mark.parametrize("when", ["together", "on its way", "stored"])
def test_who_is_suspended_by_then_is_refused(store: EventStore, conninfo: str, when: str) -> None:
    """Whether the suspension is decided with what was sent before it, is on its way already, or is
    stored and nobody has looked since."""
    by: dict[str, Any] = {"by": samples.ADMINISTRATOR, "at": samples.NOW}
    li = samples.GRID_WORKER
    store.execute(AddUser(**by, id=li.id, name="李", grants=li.grants))
    store.execute(samples.report(), samples.file(), samples.dispatch())
    store.office()
    suspend = SuspendUser(**by, user=li.id, reason="离职")

    async def story(group: Group) -> None:
        if when == "together":
            await group.gather()
        before = group.submit(samples.note(by=li))
        suspended = group.submit(suspend)
        if when == "on its way":
            await asyncio.wait_for(group.held.reached.wait(), 30)
        elif when == "stored":
            await group.release(before, suspended)
        sent = [group.submit(samples.note(by=li)), group.submit(samples.report(case="x", by=li))]
        others = group.submit(samples.note(by=samples.DISPATCHER))
        _, receipt, *refused, noted = await group.release(before, suspended, *sent, others)
        assert isinstance(receipt, Receipt)
        assert isinstance(noted, Receipt)
        assert [(type(no), no.code) for no in refused] == [(Refused, "staff.suspended")] * 2

    holding(store, conninfo, story)


def test_each_has_a_verdict_of_its_own(store: EventStore, conninfo: str) -> None:
    async def story(group: Group) -> None:
        await group.gather()
        filed, refused, behind, unknown, dispatched, nothing = await group.release(
            group.submit(samples.report(case="a"), samples.file(case="a")),
            group.submit(samples.close(case="a")),
            group.submit(samples.dispatch(case="a"), expected=1),
            group.submit(samples.note(case="nowhere")),
            group.submit(samples.dispatch(case="a"), expected=2),
            group.submit(samples.recompute(case="a")),
        )
        assert (filed.position, filed.version) == (3, 2)
        assert (dispatched.position, dispatched.version) == (4, 3)
        assert nothing.position == 0
        assert isinstance(refused, Refused)
        assert isinstance(behind, VersionMismatch)
        assert isinstance(unknown, Refused)
        assert group.held.appends == [1, 3]

    holding(store, conninfo, story)


def test_when_another_process_was_faster_the_group_decides_anew(
    store: EventStore, conninfo: str
) -> None:
    store.execute(samples.report(case="a"))

    async def story(group: Group) -> None:
        filed = group.submit(samples.file(case="a"))
        await group.held.reached.wait()
        seen = group.submit(samples.note(case="a"), expected=1)
        await asyncio.to_thread(store.execute, samples.verify(case="a"))
        receipt, mismatch = await group.release(filed, seen)
        assert receipt.version == 3
        assert isinstance(mismatch, VersionMismatch), "no second try for who named a version"

    holding(EventStore(store.recorder, store.codec, store.vault), conninfo, story)
    names = [recorded.name for recorded in store.history("case:a")]
    assert names == ["case.reported", "case.verified", "case.filed"]


def test_more_than_may_wait_is_told_so_and_nothing_of_it_stored(
    store: EventStore, conninfo: str
) -> None:
    async def story(group: Group) -> None:
        await group.gather()
        tasks = [group.submit(samples.report(case=f"c{n}")) for n in range(50)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await group.commits.execute(samples.report(case="too much"))
        receipts = await group.release(*tasks)
        assert all(receipt.version == 1 for receipt in receipts)

    holding(store, conninfo, story, waiting=50)
    with pytest.raises(Refused):
        store.case("too much")


def test_ending_stores_what_waits(store: EventStore, conninfo: str) -> None:
    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            tasks = [
                asyncio.create_task(commits.execute(samples.report(case=f"c{n}")))
                for n in range(10)
            ]
            await asyncio.sleep(0)
        assert all([(await task).version == 1 for task in tasks])

    run(story)
    assert store.recorder.max_notification_id() == 10


def test_one_that_cannot_be_stored_fails_alone(
    store: EventStore, conninfo: str, database: str
) -> None:
    """A stream whose past this version cannot read, and text that PostgreSQL does not take."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "SELECT log.append('{case:odd}','{1}','{case.unheard_of}','{now}','{p}','{-}','{-}',"
            "'{-}','{-}','{x}')"
        )

    async def story(group: Group) -> None:
        await group.gather()
        *good, odd, nul, last = await group.release(
            *(group.submit(samples.report(case=f"c{n}")) for n in range(3)),
            group.submit(samples.note(case="odd")),
            group.submit(samples.report(case="a\0b")),
            group.submit(samples.report(case="d")),
        )
        assert [receipt.version for receipt in (*good, last)] == [1] * 4
        assert isinstance(odd, UnknownEvent)
        assert isinstance(nul, Exception)

    holding(store, conninfo, story)


def test_one_that_others_are_always_faster_than_fails_alone(
    store: EventStore, conninfo: str
) -> None:
    """Many at one case in several server processes; each loses only the own race."""
    store.execute(samples.report(case="wanted"))
    others = EventStore(store.recorder, store.codec, store.vault)

    class Slower(Line):
        async def ask(self, query: Query, *columns: Column, only_on: object = None) -> Any:
            if "log.append" in query.statement and "case:wanted" in columns[0]:
                await asyncio.to_thread(others.execute, samples.note(case="wanted"))
            return await super().ask(query, *columns, only_on=only_on)

    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            commits._writing = Slower(conninfo)
            beaten, *good = await asyncio.gather(
                commits.execute(samples.note(case="wanted")),
                *(commits.execute(samples.report(case=f"c{n}")) for n in range(5)),
                return_exceptions=True,
            )
        assert isinstance(beaten, Conflict)
        assert all(isinstance(receipt, Receipt) for receipt in good), good

    run(story)


def test_everybody_hears_of_a_database_that_is_away(store: EventStore, conninfo: str) -> None:
    gone = psycopg.conninfo.make_conninfo(conninfo, port="1")

    async def story() -> None:
        async with GroupCommit(store, gone) as commits:
            told = await asyncio.gather(
                *(commits.execute(samples.report(case=f"c{n}")) for n in range(5)),
                commits.look(),
                return_exceptions=True,
            )
        assert all(isinstance(error, OperationalError) for error in told), told

    run(story)


def test_an_answer_to_commit_that_was_lost_gives_no_false_conflict(
    store: EventStore, conninfo: str
) -> None:
    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            commits._writing = Deaf(conninfo)
            receipt = await commits.execute(samples.report(case="a"), samples.file(case="a"))
            assert (receipt.position, receipt.version) == (2, 2)
            assert (await commits.execute(samples.dispatch(case="a"))).position == 3

    run(story)
    assert store.recorder.max_notification_id() == 3


def test_an_append_that_never_arrived_is_no_success(store: EventStore, conninfo: str) -> None:
    class Broken(Line):
        async def ask(self, query: Query, *columns: Column, only_on: object = None) -> Any:
            if "log.append" in query.statement:
                raise OperationalError("cut before it was sent")
            return await super().ask(query, *columns, only_on=only_on)

    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            commits._writing = Broken(conninfo)
            with pytest.raises(OperationalError):
                await commits.execute(samples.report(case="a"))

    run(story)
    assert store.recorder.max_notification_id() is None


def test_nothing_is_appended_by_another_connection_than_there_was_before_the_keys(
    store: EventStore, conninfo: str, database: str
) -> None:
    """A new key may be lost with a crash of the database, and then the append must be too."""

    class Crashing(Vault):
        def taken(self, offer: Any, rows: Any) -> Any:
            keys = super().taken(offer, rows)
            with psycopg.connect(database, autocommit=True) as owner:
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'wangge_app' AND datname = current_database()"
                )
            return keys

    store.vault.__class__ = Crashing

    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            with pytest.raises(OperationalError):
                await commits.execute(samples.report(case="a"))
            store.vault.__class__ = Vault
            assert (await commits.execute(samples.report(case="b"))).position == 1

    run(story)


def worded(verdict: Verdict, state: Any) -> Answer:
    if isinstance(verdict, Receipt):
        return Answer(200, b'{"version":%d}' % verdict.version)
    assert isinstance(verdict, Refused)
    return Answer(verdict.status, verdict.code.encode())


def ask(commits: GroupCommit, once: Once, *commands: Any) -> Awaitable[Answered]:
    return commits.answer(*commands, correlation="r", expected=None, once=once, answering=worded)


def test_a_request_sent_again_is_answered_and_not_done_again(
    store: EventStore, conninfo: str
) -> None:
    key, other = Once("li", "k", b"digest"), Once("wang", "k", b"digest")

    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            first = await ask(commits, key, samples.report(case="a"), samples.file(case="a"))
            assert first == Answered(200, b'{"version":2}', 2)
            assert await ask(commits, key, samples.report(case="b")) == first
            assert (await commits.look(key))[1] == first
            assert (await commits.look(other))[1] is None, "a key is its caller's own"
            refused = await ask(commits, other, samples.close(case="a"))
            assert refused == Answered(409, b"case.not_allowed", 0)
            await commits.execute(samples.dispatch(case="a"))
            assert await ask(commits, other, samples.dispatch(case="a")) == refused
            for attempt in (
                ask(commits, key._replace(digest=b"another"), samples.note(case="a")),
                commits.look(key._replace(digest=b"another")),
            ):
                with pytest.raises(Refused) as reused:
                    await attempt
                assert reused.value.code == "request.key_reused"

    run(story)
    assert store.recorder.max_notification_id() == 3


def test_of_two_at_the_same_time_one_is_told_to_come_back(store: EventStore, conninfo: str) -> None:
    key = Once("li", "k", b"digest")

    async def story(group: Group) -> None:
        first = asyncio.ensure_future(ask(group.commits, key, samples.report(case="a")))
        await group.held.reached.wait()
        for attempt in (ask(group.commits, key, samples.report(case="b")), group.commits.look(key)):
            with pytest.raises(Refused) as told:
                await attempt
            assert told.value.code == "request.key_in_use"
        (answered,) = await group.release(first)
        assert (await group.commits.look(key))[1] == answered

    holding(store, conninfo, story)


def test_of_two_processes_with_one_key_both_answer_the_same(
    store: EventStore, conninfo: str
) -> None:
    key = Once("li", "k", b"digest")

    async def story(group: Group) -> None:
        slow = asyncio.ensure_future(ask(group.commits, key, samples.report(case="slow")))
        await group.held.reached.wait()
        async with GroupCommit(store, conninfo) as other:
            fast = await ask(other, key, samples.report(case="fast"))
        (answered,) = await group.release(slow)
        assert answered == fast

    holding(store, conninfo, story)
    assert store.recorder.max_notification_id() == 1


def test_answers_are_dropped_after_seven_days_and_not_before(
    store: EventStore, conninfo: str, database: str
) -> None:
    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            for n in range(3):
                await ask(commits, Once("li", f"k{n}", b"d"), samples.report(case=f"c{n}"))

    run(story)
    with psycopg.connect(database, autocommit=True) as owner:
        for days, number in ((6, 0), (8, 1), (80, 2)):
            owner.execute(
                "UPDATE log.request SET at = now() - %s WHERE key = %s",
                (timedelta(days=days), f"k{number}"),
            )
        with psycopg.connect(conninfo, autocommit=True) as app:
            # Whoever asks for more than that gets seven days all the same.
            dropped = app.execute("SELECT log.drop_answers(interval '0', 1)").fetchone()
            assert dropped == (1,)
            dropped = app.execute("SELECT log.drop_answers(interval '7 days', 10)").fetchone()
            assert dropped == (1,)
        assert owner.execute("SELECT key FROM log.request").fetchall() == [("k0",)]


def test_ready_events_share_an_append_too(store: EventStore, conninfo: str) -> None:
    versions = count(1)

    def entry() -> Entry:
        return Entry("bare", next(versions), "test.happened", data=b"{}")

    async def story(group: Group) -> None:
        first = asyncio.create_task(group.commits.append(entry()))
        await group.held.reached.wait()
        more = [asyncio.create_task(group.commits.append(entry())) for _ in range(9)]
        assert await group.release(first, *more) == list(range(1, 11))
        assert group.held.appends == [1, 9]
        with pytest.raises(IntegrityError):
            await group.commits.append(Entry("bare", 1, "test.happened", data=b"{}"))

    holding(store, conninfo, story)


@pytest.mark.parametrize(
    ("events", "appends"), [(HALVED - 1, [HALVED - 1]), (HALVED, [HALVED // 2] * 2)]
)
def test_many_ready_events_go_in_two_halves(
    store: EventStore, conninfo: str, events: int, appends: list[int]
) -> None:
    async def story(group: Group) -> None:
        written = [
            asyncio.create_task(group.commits.append(Entry("bare", n, "test.happened", data=b"{}")))
            for n in range(1, events + 1)
        ]
        assert await group.release(*written) == list(range(1, events + 1))
        assert group.held.appends == appends

    holding(store, conninfo, story)


class Cut(Line):
    """A line whose connection breaks after it has sent a ready event, if it is told to."""

    cuts = False

    def send(self, query: Query, *columns: Column) -> "asyncio.Future[PGresult] | None":
        answer = super().send(query, *columns)
        if answer is not None and self.cuts:
            self.cuts = False
            assert self._wire is not None
            fd = socket.socket(fileno=os.dup(self._wire._pg.socket))
            with fd:
                fd.shutdown(socket.SHUT_RD)  # what was sent arrives, and nothing comes back
        return answer


def test_ready_events_survive_whatever_becomes_of_their_connection(
    store: EventStore, conninfo: str, database: str
) -> None:
    def entry(version: int, data: bytes = b"{}", name: str = "test.happened") -> Entry:
        return Entry("bare", version, name, data=data)

    async def story() -> None:
        async with GroupCommit(store, conninfo) as commits:
            commits._writing = line = Cut(conninfo)
            assert await commits.append(entry(1)) == 1
            assert await asyncio.gather(*(commits.append(entry(n)) for n in (2, 3))) == [2, 3]
            # What cannot be sent is told, and stops nobody who comes later.
            for _ in range(AT_ONCE):
                with pytest.raises(psycopg.DataError):
                    await commits.append(entry(4, name="a\0b"))
                with pytest.raises(UnicodeEncodeError):
                    await commits.append(entry(4, name="\ud800"))
                with pytest.raises(struct.error):
                    await commits.append(entry(2**31))
            # The answer is lost: the log is asked by another connection.
            line.cuts = True
            assert await commits.append(entry(4)) == 4
            # The connection is ended while nobody uses it.
            with psycopg.connect(database, autocommit=True) as owner:
                owner.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND usename = 'wangge_app'"
                )
            await asyncio.sleep(0.1)
            assert await commits.append(entry(5)) == 5
            # What waits is stored before the end.
            last = [asyncio.create_task(commits.append(entry(n))) for n in (6, 7)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*last) == [6, 7]

    run(story)


def test_many_writers_on_few_cases_lose_nothing_in_two_processes(
    store: EventStore, conninfo: str
) -> None:
    """Two group commits, each with what it remembers, stand for two server processes."""
    for n in range(4):
        store.execute(*(replace(c, case=f"c{n}") for c in samples.PATHS["in_progress"]))
    stores = [EventStore(store.recorder, store.codec, store.vault) for _ in range(2)]

    async def write(commits: GroupCommit, n: int) -> str:
        try:
            await commits.execute(samples.note(case=f"c{n % 4}", text=f"note {n}"))
        except Conflict:
            return "conflict"
        return f"note {n}"

    async def story() -> None:
        async with AsyncExitStack() as stack:
            two = [
                await stack.enter_async_context(GroupCommit(each, conninfo, group=8))
                for each in stores
            ]
            said.extend(await asyncio.gather(*(write(two[n % 2], n // 2) for n in range(400))))

    said: list[str] = []
    run(story)
    stored = [
        recorded.event.text
        for n in range(4)
        for recorded in store.history(f"case:c{n}", opened=True)
        if recorded.name == "case.note_added"
    ]
    assert sorted(stored) == sorted(text for text in said if text != "conflict")
    assert store.recorder.statistics()["last_position"] == 16 + len(stored)
