"""A projection equals the fold from scratch, for any page size and any point of a crash."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from domain.history import KeysAway, Recorded
from infra.event_store import EventStore
from infra.migrations import role_dsn
from infra.vault import WrongKeyFile
from projections.blind_index import index_key
from projections.catalog import NAMES, read_models
from projections.runner import (
    NotTheSame,
    Poisoned,
    Progress,
    Projection,
    Runner,
    Superseded,
    reached,
)
from projections.standing import standings
from tests import samples

BY_NAME = read_models(index_key(b"a secret for tests only, 32 bytes"))
ALL = tuple(BY_NAME.values())

ALONE = [name for name in samples.PATHS if name not in ("unknown", "merged")]
"""The ways a case goes without another."""


def fill(store: EventStore, cases: int, seed: int = 1) -> None:
    """Some cases, each stopped somewhere on the way, interleaved, and one that was a duplicate."""
    choice = random.Random(seed)
    steps = [
        (choice.random() + number, replace(command, case=f"case-{seed}-{n}"))
        for n in range(cases)
        for number, command in enumerate(samples.PATHS[choice.choice(ALONE)])
    ]
    for _, command in sorted(steps, key=lambda step: step[0]):
        store.execute(command)
    duplicate = f"duplicate-{seed}"
    store.execute(samples.report(case=duplicate), samples.report(case=f"survivor-{seed}"))
    store.execute(samples.merge(case=duplicate, into=f"survivor-{seed}"))


def digests(runner: Runner) -> dict[str, str]:
    """Of every projection as it stands, each compared with a rebuild from the first event."""
    return {p.name: runner.rebuild(p, verify=True) for p in runner.projections}


def test_rebuilt_is_equal_to_caught_up_for_any_page_size(store: EventStore, runner: Runner) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    choice = random.Random(seed)
    found = []
    for round_ in range(4):
        fill(store, choice.randint(1, 6), seed=seed + round_)
        runner.page = choice.choice((1, 2, 3, 7, 50, 5000))
        runner.catch_up()
    for page in (1, choice.randint(2, 20), 5000):
        runner.page = runner.stretch = page
        found.append(digests(runner))
    assert found[0] == found[1] == found[2]
    assert set(runner.positions().values()) == {store.recorder.max_notification_id()}


KILLED = """
import sys, psycopg
from psycopg_pool import ConnectionPool
from infra.codec import Codec
from infra.log_source import LogSource
from infra.vault import KeyFile, Vault
from pathlib import Path
from projections.catalog import read_models
from projections.runner import Runner
from projections.blind_index import index_key
dsn, what, vault_dsn, kek, secret = sys.argv[1:]
ALL = tuple(read_models(index_key(bytes.fromhex(secret))).values())
with (
    ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=2) as pool,
    ConnectionPool(vault_dsn, kwargs={"autocommit": True}, min_size=1, max_size=2) as keys,
):
    source = LogSource(pool, Codec(), Vault(keys, KeyFile(Path(kek))))
    runner = Runner(source, lambda: psycopg.connect(dsn, autocommit=True), ALL, page=1, stretch=1)
    print("ready", flush=True)
    if what == "rebuild":
        for projection in ALL:
            runner.rebuild(projection)
    runner.catch_up()
print("done", flush=True)
"""


@pytest.mark.parametrize("what", ["catch_up", "rebuild"])
def test_killed_at_a_random_point_it_goes_on_to_the_same_bytes(
    store: EventStore, runner: Runner, database: str, secret: bytes, folder: Path, what: str
) -> None:
    fill(store, 12)
    if what == "rebuild":
        runner.catch_up()
    dsn, vault = (role_dsn(database, secret, f"wangge_{r}") for r in ("projector", "vault"))
    kek = str(folder / "data" / "kek")
    killed = 0
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, dsn, what, vault, kek, secret.hex()],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.random() * 0.3 * (attempt + 1) / 6)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert killed, "at least one run was killed on the way"
    runner.catch_up()
    digests(runner)
    assert set(runner.positions().values()) == {store.recorder.max_notification_id()}


def test_a_row_changed_by_hand_is_found(store: EventStore, runner: Runner, database: str) -> None:
    """The negative control: the comparison can fail."""
    fill(store, 3)
    runner.catch_up()
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE audit.entries SET version = version + 1")
    with pytest.raises(NotTheSame, match="audit"):
        runner.rebuild(BY_NAME["audit"], verify=True)
    runner.rebuild(BY_NAME["audit"])
    runner.rebuild(BY_NAME["audit"], verify=True)


def test_readers_see_the_old_table_until_the_new_one_is_whole(
    store: EventStore, runner: Runner, pool: Any
) -> None:
    fill(store, 10)
    runner.catch_up()
    runner.page = runner.stretch = 1
    expected = _count(pool)
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(_count(pool))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        runner.rebuild(BY_NAME["worklist"])
    stop.set()
    reader.join()
    assert seen == {expected}


def _count(pool: Any) -> int:
    with pool.connection() as connection:
        row = connection.execute("SELECT count(*) FROM worklist.cases").fetchone()
    return int(row[0])


def test_a_poison_event_halts_its_projection_alone(store: EventStore, runner: Runner) -> None:
    fill(store, 3)

    def poisoned(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        recorded: Recorded[Any]
        for recorded in page:
            if recorded.position == 5:
                raise ValueError("position 5 is poison")
        BY_NAME["audit"].apply(connection, page, fresh)

    bad = replace(BY_NAME["audit"], apply=poisoned)
    runner.projections = (bad, *(p for p in ALL if p.name != "audit"))
    with pytest.raises(Poisoned, match=r"audit.* position 5 \(case\.\w+ of case:case-1-\d\)"):
        runner.catch_up()
    positions = runner.positions()
    head = store.recorder.max_notification_id()
    assert positions.pop("audit") == 4, "everything before it is known, for any size of page"
    assert set(positions.values()) == {head}
    with runner.connect() as connection:
        row = connection.execute("SELECT error, poison FROM audit.checkpoint").fetchone()
    assert row is not None
    assert "poison" in row[0]
    assert row[1] == 5


def test_a_changed_version_is_rebuilt_by_itself(store: EventStore, runner: Runner) -> None:
    fill(store, 3)
    runner.catch_up()
    old = BY_NAME["containment"]
    newer = replace(
        old, version=old.version + 1, schema=old.schema + "CREATE TABLE extra (n integer);"
    )
    runner.projections = (newer,)
    runner.catch_up()
    with runner.connect() as connection:
        assert connection.execute("SELECT count(*) FROM containment.extra").fetchone() == (0,)
    runner.rebuild(newer, verify=True)


def test_following_sees_new_events_soon_and_survives_a_lost_connection(
    store: EventStore, runner: Runner, database: str, pool: Any
) -> None:
    stop = threading.Event()
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        receipt = store.execute(samples.report(case="a"))
        assert _reached(pool, receipt.position)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'wangge_projector' AND datname = current_database()"
            )
        receipt = store.execute(samples.note(case="a"))
        assert _reached(pool, receipt.position)
    finally:
        stop.set()
        follower.join()


def test_following_goes_on_after_any_error_of_who_listens(
    store: EventStore, runner: Runner, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, failed = runner.source.head, threading.Event()

    def once_wrong(part: str) -> int:
        if threading.current_thread().name == "projector ear" and not failed.is_set():
            failed.set()
            raise RuntimeError("of no kind that anybody thought of")
        return head(part)

    monkeypatch.setattr(runner.source, "head", once_wrong)
    stop = threading.Event()
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        assert failed.wait(60)
        assert _reached(pool, store.execute(samples.report(case="a")).position)
    finally:
        stop.set()
        follower.join()


def test_followers_stay_together_through_a_lost_connection(
    store: EventStore, runner: Runner, database: str, pool: Any
) -> None:
    """I11: one connection for all of them and one to listen, at the start and after a crash."""
    held, stop = _counted(runner), threading.Event()
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        for count in range(1, 4):
            receipt = store.execute(samples.report(case=f"case {count}"))
            assert _reached(pool, receipt.position)
            assert max(held) == 2
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'wangge_projector' AND datname = current_database()"
                )
    finally:
        stop.set()
        follower.join()


def _counted(runner: Runner) -> list[int]:
    """How many connections a runner has at once, each time it has opened one."""
    made, held = list[psycopg.Connection](), list[int]()
    connect = runner.connect

    def counted() -> psycopg.Connection:
        made.append(connect())
        held.append(sum(not each.closed for each in made))
        return made[-1]

    runner.connect = counted
    return held


def test_only_who_stumbles_leaves_the_others(store: EventStore, runner: Runner, pool: Any) -> None:
    runner.catch_up()

    def poisoned(connection: psycopg.Connection, page: Any, fresh: bool) -> None:
        raise ValueError("poison")

    held, stop = _counted(runner), threading.Event()
    bad = replace(BY_NAME["audit"], apply=poisoned)
    runner.projections = tuple(bad if p.name == bad.name else p for p in ALL)
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        for case in "ab":
            receipt = store.execute(samples.report(case=case))
            others = [p for p in ALL if p is not BY_NAME["audit"]]
            assert _reached(pool, receipt.position, others)
    finally:
        stop.set()
        follower.join()
    assert max(held) == 3


@pytest.mark.parametrize(
    "error",
    [psycopg.OperationalError("no route to host"), WrongKeyFile("an epoch that the file lacks")],
    ids=["the vault is away", "another machine has rotated the keys"],
)
def test_keys_out_of_reach_are_no_event_s_fault(
    store: EventStore, runner: Runner, pool: Any, error: Exception
) -> None:
    """Or else search would stand still until somebody has left out an event that is well."""
    source: Any = runner.source
    away, vault, stop = threading.Event(), source._vault, threading.Event()

    def find(ids: Any) -> Any:
        if away.is_set():
            raise error
        return vault.find(ids)

    source._vault = SimpleNamespace(find_once=find)
    follower = threading.Thread(target=runner.follow, args=(stop,))
    follower.start()
    try:
        assert _reached(pool, store.execute(samples.report(case="a")).position)
        away.set()
        last = store.execute(samples.report(case="b"), samples.report(case="c")).position
        others = [p for p in ALL if p.name != "search"]
        assert _reached(pool, last, others)
        with pytest.raises(KeysAway):
            runner.catch_up()
        with runner.connect() as connection:
            (at,) = standings(connection, ("search",))
        assert (at.lag, at.error, at.poison) == (2, None, None)
        away.clear()
        assert _reached(pool, last)
    finally:
        stop.set()
        follower.join()


def _reached(pool: Any, position: int, of: Sequence[Projection] = ALL) -> bool:
    deadline = time.monotonic() + 20
    with pool.connection() as connection:
        while not all(reached(connection, p.name, position) for p in of):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def test_two_followers_do_each_event_once(store: EventStore, runner: Runner) -> None:
    fill(store, 8)
    runner.page = 1
    runners = [
        threading.Thread(target=Runner(runner.source, runner.connect, ALL, page=1).catch_up)
        for _ in range(3)
    ]
    runner.catch_up()  # the tables are there: the race is about positions
    fill_more = [samples.note(case=f"case-1-{n}") for n in range(8)]
    for command in fill_more:
        _try(lambda command=command: store.execute(command))  # type: ignore[misc]
    for thread in runners:
        thread.start()
    for thread in runners:
        thread.join()
    digests(runner)


def _try(action: Callable[[], Any]) -> None:
    from domain.errors import Refused

    try:
        action()
    except Refused:
        return


def test_followers_that_start_together_build_each_projection_once(
    store: EventStore, runner: Runner
) -> None:
    fill(store, 4)
    failed: list[BaseException] = []

    def catch_up() -> None:
        try:
            Runner(runner.source, runner.connect, ALL, page=3).catch_up()
        except BaseException as error:  # noqa: BLE001 - the test is about whether there is any
            failed.append(error)

    together = [threading.Thread(target=catch_up) for _ in range(4)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert not failed
    digests(runner)


def test_rebuilding_while_others_follow_and_rebuild(store: EventStore, runner: Runner) -> None:
    fill(store, 6)
    runner.catch_up()
    stop = threading.Event()
    failed: list[BaseException] = []

    def rebuild() -> None:
        try:
            for _ in range(4):
                Runner(runner.source, runner.connect, ALL, page=2, stretch=2).rebuild(
                    BY_NAME["containment"]
                )
        except BaseException as error:  # noqa: BLE001 - the test is about whether there is any
            failed.append(error)

    others = [threading.Thread(target=runner.follow, args=(stop,))]
    others += [threading.Thread(target=rebuild) for _ in range(2)]
    for thread in others:
        thread.start()
    for n in range(30):
        store.execute(samples.report(case=f"late-{n}"), samples.file(case=f"late-{n}"))
    for thread in others[1:]:
        thread.join()
    stop.set()
    others[0].join()
    assert not failed
    runner.catch_up()
    digests(runner)


def test_an_older_program_stands_aside(store: EventStore, runner: Runner) -> None:
    fill(store, 3)
    old = BY_NAME["containment"]
    newer = replace(old, version=old.version + 1)
    Runner(runner.source, runner.connect, (newer,)).catch_up()
    store.execute(samples.report(case="late"))
    with pytest.raises(Superseded):
        Runner(runner.source, runner.connect, (old,)).catch_up()
    with pytest.raises(Superseded):
        runner.rebuild(old)
    again = Runner(runner.source, runner.connect, (newer,))
    assert again.positions()["containment"] < (store.recorder.max_notification_id() or 0)
    again.catch_up()
    again.rebuild(newer, verify=True)


def test_progress_tells_rate_and_time_left(store: EventStore, runner: Runner) -> None:
    fill(store, 3)
    runner.page = 2
    told: list[Progress] = []
    runner.catch_up(told.append)
    of_audit = [progress for progress in told if progress.projection == "audit"]
    assert [progress.position for progress in of_audit][-1] == of_audit[-1].head
    assert all(progress.rate > 0 for progress in of_audit)
    assert of_audit[-1].left == 0


def test_every_projection_has_a_name_of_its_own() -> None:
    assert [projection.name for projection in ALL] == list(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    assert all(isinstance(projection, Projection) for projection in ALL)
