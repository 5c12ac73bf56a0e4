"""The vault: keys that are made once, found again, wrapped anew, and destroyed for good."""

import hmac
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg_pool import ConnectionPool

from infra.migrations import role_dsn
from infra.settings import SettingError, Settings
from infra.vault import (
    CACHE_KEYS,
    CACHE_SECONDS,
    MANY_KEYS,
    Key,
    KeyFile,
    Tampered,
    Vault,
    WrongKeyFile,
    _unwrap,
)

PEOPLE = [f"person:p-{n:02}" for n in range(32)]


class Clock:
    """A monotonic clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """One database, and any number of processes on it, each with a vault of its own."""

    def __init__(self, dsn: str, secret: bytes, folder: Path) -> None:
        self.dsn, self.secret, self.folder = dsn, secret, folder
        self.clock = Clock()
        self.pool = ConnectionPool(
            role_dsn(dsn, secret, "wangge_vault"),
            kwargs={"autocommit": True},
            min_size=1,
            max_size=4,
            open=False,
        )

    def vault(self, file: str = "kek", *, apart: bool = True) -> Vault:
        return Vault(self.pool, KeyFile(self.folder / file), apart=apart, clock=self.clock)

    def sql(self, query: Any, *values: Any) -> list[tuple[Any, ...]]:
        """As the superuser."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def epochs(self) -> set[int]:
        return {row[0] for row in self.sql("SELECT epoch FROM vault.key WHERE epoch IS NOT NULL")}

    def kek(self, file: str = "kek") -> str:
        return (self.folder / file).read_text()


@pytest.fixture
def place(database: str, secret: bytes, folder: Path) -> Iterator[Place]:
    made = Place(database, secret, folder)
    with made.pool:
        yield made


# --- providing and finding ---


def test_a_key_is_made_once_and_found_again(place: Place) -> None:
    vault = place.vault()
    keys = vault.provide(PEOPLE)
    assert keys.keys() == set(PEOPLE)
    assert len({key.secret for key in keys.values()}) == len(PEOPLE)
    assert keys["person:p-00"].id == "person:p-00#1"
    assert {len(key.secret) for key in keys.values()} == {32}

    other = place.vault()  # without anything at hand
    assert other.provide([*PEOPLE, *PEOPLE]) == keys
    assert other.find([key.id for key in keys.values()]) == {k.id: k for k in keys.values()}
    assert vault.provide([]) == {}
    assert vault.find([]) == {}


def offered(vault: Vault, subjects: list[str]) -> dict[str, Key] | None:
    """What ``provide`` gives, by who asks the database by itself."""
    offer = vault.offer(subjects)
    with psycopg.connect(vault.conninfo, autocommit=True) as connection:
        cursor = psycopg.RawCursor(connection)
        rows = cursor.execute(offer.query.statement, offer.columns, binary=True).fetchall()
    return vault.taken(offer, rows)


def test_who_asks_the_database_by_itself_gets_the_same_keys(place: Place) -> None:
    vault, other = place.vault(apart=False), place.vault()
    keys = offered(vault, PEOPLE)
    assert keys is not None
    assert other.provide(PEOPLE) == keys
    assert vault.cached(PEOPLE) is None, "nothing says yet that they are on the disk"
    vault.settle(keys.values())
    assert vault.cached(PEOPLE) == keys
    assert offered(vault, [PEOPLE[0], "person:new"]) == other.provide([PEOPLE[0], "person:new"])


def test_what_needs_a_second_look_is_left_to_provide(place: Place) -> None:
    vault, other = place.vault(), place.vault()
    vault.provide(["person:a"])
    vault.destroy(["person:a"])
    assert offered(vault, ["person:a", "person:b"]) is None
    assert vault.provide(["person:a"])["person:a"].id == "person:a#2"
    other.add_epoch()
    assert offered(vault, ["person:c"]) is None, "it is no longer the KEK that wraps"
    assert vault.provide(["person:c"])["person:c"].id == "person:c#1"


def test_a_key_that_was_tampered_with_is_noticed_by_who_asks_by_itself(place: Place) -> None:
    place.vault().provide(["person:a"])
    place.sql("ALTER TABLE vault.key DISABLE TRIGGER destroyed_for_ever")
    place.sql("UPDATE vault.key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)")
    with pytest.raises(Tampered):
        offered(place.vault(), ["person:a"])


def test_processes_that_make_the_same_key_at_once_get_the_same(place: Place) -> None:
    processes = 4
    vaults = [place.vault() for _ in range(processes)]
    together = Barrier(processes)

    def provide(vault: Vault, subjects: list[str]) -> dict[str, Key]:
        together.wait(10)
        return vault.provide(subjects)

    with ThreadPoolExecutor(processes) as threads:
        for n in range(10):
            subjects = [f"case:{n}-{i}" for i in range(20)]
            orders = [subjects if i % 2 else subjects[::-1] for i in range(processes)]
            first, *others = threads.map(provide, vaults, orders)
            assert all(other == first for other in others)
    assert place.sql("SELECT count(*) FROM vault.key WHERE generation > 1") == [(0,)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    subject=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
)
def test_any_subject_has_a_key(place: Place, subject: str) -> None:
    vault = place.vault()
    key = vault.provide([subject])[subject]
    assert place.vault().find([key.id]) == {key.id: key}


@pytest.mark.parametrize(
    "id_", ["", "person:a", "person:a#", "person:a#0", "person:a#01", "person:a#9999999999",
            "person:a#-1", "person:\0a#1", "person:a#1 ", "person:nobody#1", "person:a#2"]
)  # fmt: skip
def test_an_id_that_is_no_key_is_neither_found_nor_destroyed(place: Place, id_: str) -> None:
    vault = place.vault()
    vault.provide(["person:a"])
    found = vault.find([id_])
    assert (dict(found), found.destroyed, found.broken) == ({}, {}, set())


@pytest.mark.parametrize("many", [1, MANY_KEYS])
def test_keys_that_are_asked_for_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Many are unwrapped one by one and not kept; who asks finds the same."""
    monkeypatch.setattr("infra.vault.MANY_KEYS", many)
    vault = place.vault()
    made = vault.provide(PEOPLE[:4])
    vault.destroy(PEOPLE[:1])
    place.sql("ALTER TABLE vault.key DISABLE TRIGGER destroyed_for_ever")
    place.sql(
        "UPDATE vault.key SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))"
        f" WHERE subject = '{PEOPLE[1]}'"
    )
    gone, broken, *well = (made[person].id for person in PEOPLE[:4])
    other = place.vault()
    found = other.find_once([gone, broken, *well, "person:nobody#1", "no id"])
    assert [found[id_] for id_ in well] == [made[person] for person in PEOPLE[2:4]]
    for id_ in (gone, broken, "person:nobody#1", "no id"):
        with pytest.raises(KeyError):
            found[id_]
    assert found.destroyed == {gone: made[PEOPLE[0]].commitment}
    assert found.broken == {broken}
    assert len(other._cache._entries) == (0 if many == 1 else len(well))


def test_a_kek_that_was_given_up_meanwhile_is_no_lost_key(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows were read of an epoch that is gone by the time the file is read again."""
    other = place.vault()
    key = other.provide(["person:a"])["person:a"]
    reader = place.vault()
    other.add_epoch()
    other.rotate()
    fit = reader._fit

    def late() -> Any:
        other.add_epoch()
        other.rotate()
        other.drop_epochs()
        return fit()

    monkeypatch.setattr(reader, "_fit", late)
    with pytest.raises(WrongKeyFile):
        reader.find([key.id])
    monkeypatch.undo()
    assert reader.find([key.id]) == {key.id: key}


def test_a_commitment_is_what_it_has_always_been() -> None:
    """It stands in every sealed event: HMAC-SHA256, its first half."""
    key = Key("person:a#1", "person:a", bytes(range(32)))
    whole = hmac.digest(bytes(range(32)), b"wangge commitment to a key", "sha256")
    assert key.commitment == whole[:16]


# --- at hand ---


def test_keys_are_at_hand_for_a_minute(place: Place) -> None:
    vault = place.vault()
    assert vault.cached(["person:a"]) is None
    keys = vault.provide(["person:a", "person:b"])
    assert vault.cached(["person:a", "person:b", "person:a"]) == keys
    assert vault.cached(["person:a", "person:c"]) is None
    assert vault.cached([]) == {}
    place.clock.now += CACHE_SECONDS - 1
    assert vault.provide(["person:a"]) == {"person:a": keys["person:a"]}  # does not prolong it
    assert vault.cached(["person:a"]) is not None
    place.clock.now += 1
    assert vault.cached(["person:a"]) is None


def test_the_database_is_not_asked_for_what_is_at_hand(place: Place) -> None:
    vault = place.vault()
    keys = vault.provide(PEOPLE)
    place.sql("ALTER TABLE vault.key RENAME TO hidden")
    assert vault.provide(PEOPLE) == keys
    assert len(vault.find([key.id for key in keys.values()])) == len(PEOPLE)
    with pytest.raises(psycopg.errors.UndefinedTable):
        vault.provide(["person:another"])
    place.clock.now += CACHE_SECONDS
    with pytest.raises(psycopg.errors.UndefinedTable):
        vault.find([keys["person:p-00"].id])


def test_what_is_at_hand_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.vault.CACHE_KEYS", 10)
    assert CACHE_KEYS == 10_000
    vault = place.vault()
    vault.provide(PEOPLE)
    assert vault.cached(PEOPLE[-10:]) is not None
    assert all(vault.cached([person]) is None for person in PEOPLE[:-10])
    assert len(vault._cache._entries) == len(vault._cache._current) == 10


def test_in_the_logs_database_a_key_is_at_hand_once_an_append_has_settled_it(place: Place) -> None:
    vault = place.vault(apart=False)
    keys = vault.provide(PEOPLE)
    assert vault.cached(PEOPLE) is None
    # It can be opened with, and asking for it again is no other key.
    assert len(vault.find([key.id for key in keys.values()])) == len(PEOPLE)
    assert vault.provide(PEOPLE) == keys
    vault.settle(keys.values())  # those of the first call: the second made them anew here
    assert vault.cached(PEOPLE) is None
    vault.settle(vault.provide(PEOPLE).values())
    assert vault.cached(PEOPLE) == keys


def test_a_key_that_a_crash_took_is_not_used_again(place: Place) -> None:
    """The negative control: settled although no append was on the disk, it would be."""
    vault = place.vault(apart=False)
    lost = vault.provide(["person:a"])["person:a"]
    _forget_everything(place)  # as a crash may, before the WAL is on the disk
    again = vault.provide(["person:a"])["person:a"]
    assert again.secret != lost.secret
    vault.settle([again])
    _forget_everything(place)
    assert vault.provide(["person:a"])["person:a"].secret == again.secret


def _forget_everything(place: Place) -> None:
    with psycopg.connect(place.dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM vault.key")


@pytest.mark.parametrize(("apart", "waits"), [(True, "on"), (False, "off")])
def test_only_beside_the_log_is_a_key_committed_without_waiting(
    place: Place, apart: bool, waits: str
) -> None:
    place.sql(
        "CREATE TABLE public.seen AS SELECT ''::text AS waits LIMIT 0;"
        "GRANT INSERT ON public.seen TO wangge_vault_owner;"
        "GRANT USAGE ON SCHEMA public TO wangge_vault_owner;"
        "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.seen SELECT current_setting('synchronous_commit');"
        " RETURN NULL; END$$;"
        "CREATE TRIGGER see AFTER INSERT OR UPDATE ON vault.key"
        " FOR EACH STATEMENT EXECUTE FUNCTION public.see()"
    )
    dsn = role_dsn(place.dsn, place.secret, "wangge_vault")
    kwargs = {"autocommit": True, "options": "-c synchronous_commit=on"}
    with ConnectionPool(dsn, kwargs=kwargs, min_size=1, open=False) as pool:
        vault = Vault(pool, KeyFile(place.folder / "kek"), apart=apart)
        vault.provide(["person:a"])
        vault.destroy(["person:a"])
    assert place.sql("SELECT waits FROM public.seen") == [(waits,), ("on",)]


# --- destroying ---


def test_a_destroyed_key_is_gone_and_its_row_stays_as_proof(place: Place) -> None:
    vault = place.vault()
    keys = vault.provide(["person:a", "person:b"])
    assert vault.destroy(["person:a", "person:never"]) == 1
    assert vault.destroy(["person:a"]) == 0
    assert vault.cached(["person:a"]) is None
    assert vault.cached(["person:b"]) is not None
    for each in (vault, place.vault()):
        found = each.find(["person:a#1", "person:b#1"])
        assert dict(found) == {"person:b#1": keys["person:b"]}
        assert found.destroyed == {"person:a#1": keys["person:a"].commitment}
    rows = place.sql(
        "SELECT wrapped, epoch, destroyed_at >= created_at FROM vault.key"
        " WHERE subject = 'person:a'"
    )
    assert rows == [(None, None, True)]


def test_who_comes_back_gets_the_next_generation(place: Place) -> None:
    vault, other = place.vault(), place.vault()
    seen = set()
    for generation in range(1, 4):
        key = vault.provide(["person:a", "person:b"])["person:a"]
        assert key.id == f"person:a#{generation}"
        seen.add(key.secret)
        place.clock.now += CACHE_SECONDS
        assert other.provide(["person:a"])["person:a"] == key
        vault.destroy(["person:a"])
    assert len(seen) == 3
    assert vault.find([f"person:a#{n}" for n in range(1, 5)]).destroyed.keys() == {
        "person:a#1",
        "person:a#2",
        "person:a#3",
    }


def test_another_process_stops_using_a_destroyed_key_within_a_minute(place: Place) -> None:
    vault, other = place.vault(), place.vault()
    key = vault.provide(["person:a"])["person:a"]
    assert other.provide(["person:a"])["person:a"] == key
    vault.destroy(["person:a"])
    place.clock.now += CACHE_SECONDS
    assert dict(other.find([key.id])) == {}
    assert other.provide(["person:a"])["person:a"].id == "person:a#2"


def test_a_destruction_done_again_spares_the_key_of_who_came_back(place: Place) -> None:
    vault = place.vault()
    vault.provide(["person:a"])
    ((forgotten,),) = place.sql("SELECT clock_timestamp()")
    assert vault.destroy(["person:a"], made_until=forgotten - timedelta(minutes=1)) == 0
    assert vault.destroy(["person:a"], made_until=forgotten) == 1
    back = vault.provide(["person:a"])["person:a"]
    assert vault.destroy(["person:a"], made_until=forgotten) == 0
    assert vault.find([back.id]) == {back.id: back}


def test_a_key_read_before_its_destruction_is_not_kept_after_it(place: Place) -> None:
    vault = place.vault()
    mark = vault._cache.mark()
    key = vault.provide(["person:a"])["person:a"]
    vault.destroy(["person:a"])
    vault._cache.put([key], mark, current=True, settled=True)  # by a thread that was slow
    vault.settle([key])
    assert vault.cached(["person:a"]) is None


def test_after_a_destruction_no_old_row_is_left_in_the_table(place: Place) -> None:
    version = place.sql("SELECT current_setting('server_version_num')::int")[0][0]
    vault = place.vault()
    vault.provide(PEOPLE)
    vault.destroy(PEOPLE)
    place.sql("CREATE EXTENSION pageinspect")
    ((left,),) = place.sql(
        "SELECT count(*) FROM heap_page_items(get_raw_page('vault.key', 0)) WHERE lp_len > 0"
    )
    assert left == len(PEOPLE) * (1 if version >= 170_000 else 2)


# --- tampering ---


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vault.key a SET wrapped = b.wrapped FROM vault.key b"
        " WHERE a.subject = 'person:p-00' AND b.subject = 'person:p-01'",
        "UPDATE vault.key SET subject = 'person:p-00' || CASE subject WHEN 'person:p-00' THEN"
        " 'x' ELSE '' END WHERE subject IN ('person:p-00', 'person:p-01')",
        "UPDATE vault.key a SET commitment = b.commitment FROM vault.key b"
        " WHERE a.subject = 'person:p-00' AND b.subject = 'person:p-01'",
        "UPDATE vault.key SET wrapped = '' WHERE subject = 'person:p-00'",
        "UPDATE vault.key SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))"
        " WHERE subject = 'person:p-00'",
        "UPDATE vault.key SET epoch = 2 WHERE subject = 'person:p-00'",
    ],
)
def test_a_row_that_was_changed_is_an_error_and_no_destroyed_key(place: Place, change: Any) -> None:
    vault = place.vault()
    vault.provide(PEOPLE)
    vault.add_epoch()
    with psycopg.connect(place.dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(change)
    other = place.vault()
    found = other.find(["person:p-00#1"])
    assert (dict(found), found.destroyed, found.broken) == ({}, {}, {"person:p-00#1"})
    with pytest.raises(Tampered, match="person:p-00#1"):
        other.provide(["person:p-00"])
    if "epoch" not in change:
        with pytest.raises(Tampered, match="person:p-0"):
            other.rotate()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vault.key SET wrapped = 'x', epoch = 1, destroyed_at = NULL",
        "UPDATE vault.key SET destroyed_at = NULL",
        "UPDATE vault.key SET generation = 7",
        "DELETE FROM vault.key",
        "TRUNCATE vault.key",
    ],
)
def test_not_even_the_owner_brings_a_key_back_by_accident(place: Place, statement: Any) -> None:
    vault = place.vault()
    vault.provide(["person:a"])
    vault.destroy(["person:a"])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nothing else"):
        place.sql(statement)


@pytest.mark.parametrize("generation", [1, 3])
def test_a_generation_is_neither_used_twice_nor_left_out(place: Place, generation: int) -> None:
    vault = place.vault()
    vault.provide(["person:a"])
    vault.destroy(["person:a"])
    offered = (
        "SELECT generation, wrapped FROM vault.provide("
        "ARRAY['person:a'], ARRAY[%s], ARRAY['\\x01'::bytea], ARRAY['\\x02'::bytea], 1)"
    )
    assert place.sql(offered, generation) == [(1, None)]


# --- the KEK ---


def test_the_file_is_made_once_and_is_its_owners_alone(place: Place) -> None:
    place.vault()
    first = place.kek()
    place.vault()
    assert place.kek() == first
    assert first.startswith("1 ")
    assert len(first.split()[1]) == 64
    assert stat.S_IMODE((place.folder / "kek").stat().st_mode) == 0o600


def test_first_starts_at_the_same_time_agree(place: Place) -> None:
    with ThreadPoolExecutor(4) as threads:
        vaults = list(threads.map(lambda _: place.vault(), range(4)))
    keys = [vault.provide(["person:a"]) for vault in vaults]
    assert all(each == keys[0] for each in keys)


@pytest.mark.parametrize("file", ["another", "kek"])
def test_a_file_of_another_vault_is_told_at_the_start(place: Place, file: str) -> None:
    place.vault().provide(["person:a"])
    KeyFile(place.folder / "new").make()
    (place.folder / "new").replace(place.folder / file)
    before = place.sql("TABLE vault.kek"), place.kek(file)
    with pytest.raises(WrongKeyFile, match=r"(?s)WANGGE_KEK: .*第 1 期.*Copy the file") as caught:
        place.vault(file)
    assert isinstance(caught.value, SettingError)
    assert (place.sql("TABLE vault.kek"), place.kek(file)) == before


def test_a_lost_file_is_not_made_anew(place: Place) -> None:
    place.vault()
    with pytest.raises(WrongKeyFile, match="WANGGE_KEK"):
        place.vault("lost")
    assert not (place.folder / "lost").exists()


@pytest.mark.parametrize(
    "text", ["", "\n", "1", "1 " + "0" * 63, "0 " + "0" * 64, "1 " + "g" * 64, "密钥",
             f"1 {'0' * 64}\n1 {'1' * 64}\n", f"1 {'0' * 64}\n\n"]
)  # fmt: skip
def test_a_file_with_something_else_is_named(place: Place, text: str) -> None:
    (place.folder / "kek").write_text(text)
    with pytest.raises(WrongKeyFile, match=r"(?s)WANGGE_KEK: .*不是密钥文件.*holds no keys"):
        place.vault()
    assert place.sql("SELECT FROM vault.kek") == []
    assert place.kek() == text


@pytest.mark.parametrize("file", ["", "no/folder"])
def test_a_file_that_cannot_be_used_is_named(place: Place, file: str) -> None:
    with pytest.raises(WrongKeyFile, match=rf"WANGGE_KEK: 无法使用 {place.folder}"):
        place.vault(file)


def test_keys_are_rewrapped_page_by_page_and_stay_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.vault.PAGE", 10)
    vault = place.vault()
    keys = vault.provide(PEOPLE)
    vault.destroy([PEOPLE[0]])
    assert vault.rotate() == 0
    assert vault.add_epoch() == 2
    assert vault.provide(["person:new"])["person:new"].id == "person:new#1"
    assert place.epochs() == {1, 2}
    assert vault.drop_epochs() == ()  # keys rest on the first one

    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vault.rotate(stop)
    assert told == [(10, 31), (20, 31)]
    assert place.epochs() == {1, 2}
    told.clear()
    assert vault.rotate(lambda done, total: told.append((done, total))) == 11
    assert told == [(10, 11), (11, 11)]
    assert place.epochs() == {2}
    assert vault.drop_epochs() == (1,)
    assert vault.drop_epochs() == ()
    assert place.kek().startswith("2 ")
    assert len(place.kek().splitlines()) == 1
    assert stat.S_IMODE((place.folder / "kek").stat().st_mode) == 0o600

    found = place.vault().find([key.id for key in keys.values()])
    assert found == {k.id: k for k in keys.values() if k.subject != PEOPLE[0]}
    assert found.destroyed.keys() == {f"{PEOPLE[0]}#1"}


def test_other_processes_go_along_with_a_rotation(place: Place) -> None:
    other, vault = place.vault(), place.vault()
    key = other.provide(["person:a"])["person:a"]
    vault.add_epoch()
    other.provide(["person:b"])
    assert {row[0] for row in place.sql("SELECT epoch FROM vault.key")} == {1, 2}
    vault.rotate()
    vault.drop_epochs()
    place.clock.now += CACHE_SECONDS
    assert other.find([key.id]) == {key.id: key}
    assert other.provide(["person:c"])["person:c"].id == "person:c#1"


def test_an_epoch_given_up_as_a_key_is_offered_wraps_nothing(place: Place) -> None:
    other, vault = place.vault(), place.vault()
    old = other._keks
    vault.add_epoch()
    vault.drop_epochs()
    assert other._file.stamp() != old.stamp
    other._keks = type(old)(other._file.stamp(), old.newest, old.ciphers)  # looked just before
    key = other.provide(["person:a"])["person:a"]
    assert place.epochs() == {2}
    assert vault.find([key.id]) == {key.id: key}


def test_a_machine_that_lacks_the_new_epoch_says_so(place: Place) -> None:
    vault = place.vault()
    key = vault.provide(["person:a"])["person:a"]
    (place.folder / "copy").write_text(place.kek())
    elsewhere = place.vault("copy")
    vault.add_epoch()
    elsewhere.provide(["person:b"])  # the old one still wraps
    vault.rotate()
    with pytest.raises(WrongKeyFile, match=r"第 2 期"):
        elsewhere.find([key.id])
    (place.folder / "copy").write_text(place.kek())
    assert elsewhere.find([key.id]) == {key.id: key}


@pytest.mark.parametrize("step", ["add", "drop"])
def test_what_a_crash_leaves_between_file_and_vault_is_made_good(place: Place, step: str) -> None:
    vault = place.vault()
    key = vault.provide(["person:a"])["person:a"]
    if step == "add":  # the line was written, the vault did not hear of it
        (place.folder / "kek").write_text(place.kek() + f"2 {os.urandom(32).hex()}\n")
        again = place.vault()
    else:  # the vault has given the epoch up, the line is still there
        vault.add_epoch()
        vault.rotate()
        whole = place.kek()
        vault.drop_epochs()
        (place.folder / "kek").write_text(whole)
        again = place.vault()
        assert again.drop_epochs() == (1,)
    assert place.sql("SELECT max(epoch) FROM vault.kek") == [(2,)]
    again.rotate()
    assert place.epochs() == {2}
    assert again.find([key.id]) == {key.id: key}


def test_remnants_of_a_destroyed_key_are_worthless_without_their_epoch(place: Place) -> None:
    vault = place.vault()
    vault.provide(["person:a"])
    ((remnant,),) = place.sql("SELECT wrapped FROM vault.key")
    vault.destroy(["person:a"])
    vault.add_epoch()
    vault.rotate()
    assert vault.drop_epochs() == (1,)
    (kek,) = KeyFile(place.folder / "kek").read().values()
    assert _unwrap(AESGCM(kek), remnant, "person:a#1", 1) is None


def test_an_embedded_installation_keeps_the_file_in_its_data_folder(folder: Path) -> None:
    assert Settings(data=folder).kek_file == folder / "kek"
    assert Settings(data=folder, kek=Path("/keys/kek")).kek_file == Path("/keys/kek")


# --- any order of steps ---


class Steps(RuleBasedStateMachine):
    """Two processes and a clock; the model knows every key that was ever made."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.place.sql("SET session_replication_role = replica; DELETE FROM vault.key")
        self.vaults = [self.place.vault(), self.place.vault(apart=False)]
        self.keys: dict[str, Key] = {}
        self.alive: dict[str, str] = {}
        self.stale_until = 0.0

    @rule(which=st.integers(0, 1), who=st.sampled_from("abc"))
    def provide(self, which: int, who: str) -> None:
        subject = f"person:{who}"
        key = self.vaults[which].provide([subject])[subject]
        assert self.keys.setdefault(key.id, key) == key
        if self.place.clock.now >= self.stale_until:
            assert self.alive.setdefault(subject, key.id) == key.id
        elif key.id not in self.alive.values():
            made_now = self.place.sql(
                "SELECT wrapped IS NOT NULL FROM vault.key WHERE subject || '#' || generation = %s",
                key.id,
            )
            if made_now == [(True,)]:
                self.alive[subject] = key.id

    @rule(which=st.integers(0, 1), who=st.sampled_from("abc"))
    def destroy(self, which: int, who: str) -> None:
        subject = f"person:{who}"
        assert self.vaults[which].destroy([subject]) == (subject in self.alive)
        self.alive.pop(subject, None)
        self.stale_until = self.place.clock.now + CACHE_SECONDS
        assert self.vaults[which].cached([subject]) is None

    @rule(seconds=st.sampled_from([1.0, CACHE_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.place.clock.now += seconds

    @rule(which=st.integers(0, 1))
    def rotate(self, which: int) -> None:
        vault = self.vaults[which]
        vault.add_epoch()
        vault.rotate()
        vault.drop_epochs()
        assert len(self.place.kek().splitlines()) == 1

    @invariant()
    def what_lives_is_found_and_nothing_else(self) -> None:
        found = self.place.vault().find(list(self.keys))
        assert found == {id_: self.keys[id_] for id_ in self.alive.values()}
        assert found.destroyed.keys() == self.keys.keys() - set(self.alive.values())
        assert not found.broken


def test_any_order_of_steps(place: Place) -> None:
    machine = type("PlacedSteps", (Steps,), {"place": place})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=15, deadline=None)
    )
