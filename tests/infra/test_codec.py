"""Stored shapes are for ever: every event has a golden file, and reads and writes it unchanged.

Those with personal fields have more: how they are stored (``case.resolved.together.json``), how
they were stored while each text was sealed by itself (``case.resolved.json``), and that before one
of the fields was marked (``case.resolved.before.json``).
``python -m tests.infra.test_codec`` writes what is missing of these.
"""

import base64
import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import staff
from domain.aggregates import AGGREGATES
from domain.case.events import CaseReported, NoteAdded
from domain.personal import FORGOTTEN, OF_PERSON, SEALED, FreeText, Personal
from domain.places import Tier
from domain.staff import UnitClosed, UserAdded
from infra.codec import NAMES, UPCASTS, Codec, NoSubject, UnknownEvent, Upcast
from infra.vault import Key, Keys, Tampered, key_id
from projections.shapes import class_of, shapes

GOLDEN = Path(__file__).parent.parent / "golden"
SEALED_GOLDEN = GOLDEN / "sealed"

CODEC = Codec()
VERSION = 3


def golden(name: str) -> bytes:
    return msgspec.json.format((GOLDEN / f"{name}.json").read_bytes(), indent=0)


def stream_of(name: str) -> str:
    """A stream such as events of this name stand in."""
    family = name.partition(".")[0]
    return f"{family}:20260302-7K2QX9MA" if family in ("case", "privacy") else family


def key(subject: str, generation: int = 1) -> Key:
    """A key that is the same in every run."""
    id_ = key_id(subject, generation)
    return Key(id_, subject, hashlib.sha256(id_.encode()).digest())


def keys_for(event: Any, stream: str) -> dict[str, Key]:
    return {subject: key(subject) for subject in CODEC.subjects_of(event, stream)}


def found(data: bytes) -> Keys:
    """What a vault that has all keys would find."""
    return Keys((id_, key(id_.rpartition("#")[0])) for id_ in CODEC.keys_in(data))


def sealed(name: str) -> bytes:
    """A golden event as it would be stored now."""
    event, stream = CODEC.decode(name, golden(name)), stream_of(name)
    return CODEC.encode(event, stream, VERSION, keys_for(event, stream))[1]


def first_sealed(name: str) -> bytes:
    """The same as it was stored while each text was sealed by itself."""
    return (SEALED_GOLDEN / f"{name}.json").read_bytes()


def opened(name: str, data: bytes, keys: Keys | None = None) -> Any:
    return CODEC.open(name, data, stream_of(name), VERSION, found(data) if keys is None else keys)


PERSONAL = [
    name for name in NAMES if CODEC.subjects_of(CODEC.decode(name, golden(name)), stream_of(name))
]


# --- names and shapes ---


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_event_is_read_and_written_back_unchanged(name: str) -> None:
    event = CODEC.decode(name, golden(name))
    assert type(event) is NAMES[name]
    stored_as, data = CODEC.encode(event, stream_of(name), 1, keys_for(event, stream_of(name)))
    assert stored_as == name
    assert msgspec.json.format(msgspec.json.encode(event), indent=0) == golden(name)
    assert opened(name, golden(name)) == event  # stored in clear, and read as it is
    assert name in PERSONAL or msgspec.json.format(data, indent=0) == golden(name)


def test_every_name_has_its_golden_file_and_every_file_its_name() -> None:
    files = {path.name.removesuffix(".json") for path in GOLDEN.glob("*.json")}
    assert files == NAMES.keys() | UPCASTS.keys()
    files = {path.name.removesuffix(".json") for path in SEALED_GOLDEN.glob("*.json")}
    assert files >= set(PERSONAL) | {f"{name}.together" for name in PERSONAL}


def test_every_event_of_every_aggregate_has_a_name() -> None:
    assert set(NAMES.values()) == {event for decider in AGGREGATES for event in decider.events}


def test_an_old_shape_is_read_as_the_new_one() -> None:
    """Twice removed: a name was changed, and later a field was added."""

    def with_name(old: dict[str, Any]) -> dict[str, Any]:
        return {"at": old["at"], "territory": old["where"], "unit": old["unit"]}

    def with_title(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"name": "unnamed"}

    codec = Codec(
        upcasts={
            "staff.unit_ended": Upcast("staff.unit_ended_2", with_name),
            "staff.unit_ended_2": Upcast("staff.unit_closed", with_title),
        }
    )
    event = codec.decode(
        "staff.unit_ended", b'{"at":"2026-03-02T01:30:00Z","where":"d1/","unit":"works"}'
    )
    assert isinstance(event, UnitClosed)
    assert (event.territory, event.unit, event.name) == ("d1/", "works", "unnamed")
    assert codec.names_of((UnitClosed,)) == [
        "staff.unit_closed",
        "staff.unit_ended",
        "staff.unit_ended_2",
    ]
    assert codec.encode(event, "staff", 1, {})[0] == "staff.unit_closed"


def test_an_unknown_name_is_never_guessed() -> None:
    with pytest.raises(UnknownEvent, match="unknown to this version"):
        CODEC.decode("os.system", b"{}")
    data = sealed("case.note_added")
    with pytest.raises(UnknownEvent, match="unknown to this version"):
        CODEC.open("os.system", data, STREAM, VERSION, found(data))


def test_bytes_of_another_shape_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        CODEC.decode("case.merged", golden("case.filed"))


def test_tiers_are_stored_as_numbers_from_the_grid_up() -> None:
    assert [tier.value for tier in Tier] == [1, 2, 3, 4]


# --- which fields are personal, and whose ---


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("case.note_added", {"text": "case:20260302-7K2QX9MA#1"}),
        ("case.file_attached", {"name": "case:20260302-7K2QX9MA#1"}),
        (
            "case.resolved",
            {"evidence.0": "case:20260302-7K2QX9MA#1", "note": "case:20260302-7K2QX9MA#1"},
        ),
        ("case.closed", {"refused_by": "case:20260302-7K2QX9MA#1"}),
        ("staff.user_added", {"name": "person:w.zhang#1"}),
        ("staff.user_suspended", {"reason": "person:w.zhang#1"}),
        ("privacy.personal_shown", {"reason": "case:20260302-7K2QX9MA#1"}),
        (
            "case.reported",
            {
                "description": "case:20260302-7K2QX9MA#1",
                "spot.address": "case:20260302-7K2QX9MA#1",
                "reporter.name": "person:p-81c2#1",
                "reporter.phone": "person:p-81c2#1",
                "reporter.address": "person:p-81c2#1",
            },
        ),
    ],
)
def test_a_field_is_sealed_by_the_key_of_whoever_it_belongs_to(
    name: str, paths: dict[str, str]
) -> None:
    stored = msgspec.json.decode(sealed(name))["sealed"]["texts"]
    assert {path: id_ for id_, (sealed_, _) in stored.items() for path in sealed_} == paths


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(PERSONAL)))
def test_an_event_without_personal_text_needs_no_key(name: str) -> None:
    assert b"sealed" not in sealed(name)
    assert CODEC.keys_in(sealed(name)) == ()


def test_empty_texts_and_absent_people_are_not_sealed() -> None:
    raw = msgspec.json.decode(golden("case.reported"))
    raw |= {"description": "", "reporter": None, "spot": {"address": ""}}
    event = CODEC.decode("case.reported", msgspec.json.encode(raw))
    assert CODEC.subjects_of(event, "case:1") == ()
    assert CODEC.encode(event, "case:1", 1, {})[1] == msgspec.json.encode(event)


@dataclass(frozen=True)
class Witness:
    person: str
    name: Personal


@dataclass(frozen=True)
class Heard:
    witnesses: tuple[Witness, ...]
    words: tuple[FreeText, ...]
    aside: FreeText | None = None
    other: Witness | None = None


def test_marks_are_found_in_lists_and_optional_fields_too() -> None:
    codec = Codec({"case.heard": Heard})
    event = Heard(
        (Witness("a", "甲"), Witness("b", "")), ("一", "", "三"), "旁", Witness("c", "丙")
    )
    subjects = codec.subjects_of(event, "case:1")
    assert sorted(subjects) == ["case:1", "person:a", "person:c"]
    _, data = codec.encode(event, "case:1", 1, {each: key(each) for each in subjects})
    stored = msgspec.json.decode(data)["sealed"]["texts"]
    assert sorted((id_, sorted(paths)) for id_, (paths, _) in stored.items()) == [
        ("case:1#1", ["aside", "words.0", "words.2"]),
        ("person:a#1", ["witnesses.0.name"]),
        ("person:c#1", ["other.name"]),
    ]
    assert codec.decode("case.heard", data).words == (SEALED, "", SEALED)
    assert codec.open("case.heard", data, "case:1", 1, found(data)) == event


@dataclass(frozen=True)
class Nobody:
    name: Personal


@dataclass(frozen=True)
class Two:
    person: str
    user: str
    name: Personal


@dataclass(frozen=True)
class MaybeNobody:
    person: str | None
    name: Personal


@dataclass(frozen=True)
class InMapping:
    names: dict[str, FreeText]


@dataclass(frozen=True)
class InPair:
    names: tuple[int, FreeText]


@dataclass(frozen=True)
class Number:
    person: str
    phone: Annotated[int, OF_PERSON]


@dataclass(frozen=True)
class Deep:
    heard: dict[str, Witness]


@dataclass(frozen=True)
class Either:
    name: int | str | FreeText | Annotated[bytes, OF_PERSON]


@pytest.mark.parametrize(
    "shape", [Nobody, Two, MaybeNobody, InMapping, InPair, Number, Deep, Either]
)
def test_a_mark_that_cannot_be_followed_is_an_error_at_once(shape: type) -> None:
    with pytest.raises(NoSubject, match=shape.__name__):
        Codec({"staff.odd": shape})


@pytest.mark.parametrize("stream", ["staff", "person:p-1", "case", "case:", "cases:1"])
def test_free_text_in_a_stream_of_no_case_is_an_error(stream: str) -> None:
    event = CODEC.decode("case.note_added", golden("case.note_added"))
    with pytest.raises(NoSubject, match="free text"):
        CODEC.subjects_of(event, stream)
    with pytest.raises(NoSubject, match="free text"):
        CODEC.encode(event, stream, 1, {})


def test_a_key_that_was_not_given_is_an_error() -> None:
    event = CODEC.decode("case.note_added", golden("case.note_added"))
    with pytest.raises(KeyError):
        CODEC.encode(event, "case:1", 1, {"case:2": key("case:2")})


# --- sealed and opened ---

Stored = Callable[[str], bytes]


def texts(event: Any) -> list[str]:
    """All texts anywhere in an event."""
    raw = msgspec.json.decode(msgspec.json.encode(event))

    def inside(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for each in value.values() for text in inside(each)]
        if isinstance(value, list):
            return [text for each in value for text in inside(each)]
        return [value] if isinstance(value, str) else []

    return inside(raw)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a field of this type can hold in JSON."""
    arguments = get_args(hint)
    if hint in VALUES:
        return VALUES[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return st.builds(hint, **{each.name: values(hints[each.name]) for each in fields(hint)})
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(values, arguments))
    if get_origin(hint) is tuple and arguments[1:] == (Ellipsis,):
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if get_origin(hint) is tuple:
        return st.tuples(*map(values, arguments))
    strategy: st.SearchStrategy[Any] = st.from_type(hint)
    return strategy


@st.composite
def events(draw: st.DrawFn) -> tuple[str, Any]:
    """An event of any class, with its name."""
    name = draw(st.sampled_from(sorted(NAMES)))
    return name, draw(values(NAMES[name]))


class _Who(msgspec.Struct):
    person: str
    phone: str


class _ReportedBy(msgspec.Struct):
    case: str
    reporter: _Who | None


_TEXTS: Any = shapes(
    {
        CaseReported: "case description spot.address reporter.person reporter.name reporter.phone"
        " reporter.address"
    }
)[CaseReported]


class _ReportedAt(msgspec.Struct):
    case: str
    tier: int


@pytest.mark.parametrize("stored", [sealed, first_sealed])
def test_a_smaller_shape_is_opened_too(stored: Stored) -> None:
    name, data = "case.reported", stored("case.reported")
    whole, stream = opened(name, data), stream_of(name)
    assert isinstance(whole, CaseReported)
    assert whole.reporter is not None
    expected = _ReportedBy(whole.case, _Who(whole.reporter.person, whole.reporter.phone))
    assert CODEC.open(name, data, stream, VERSION, found(data), _ReportedBy) == expected
    clear = golden(name)
    assert CODEC.open(name, clear, stream, VERSION, Keys(), _ReportedBy) == expected
    with pytest.raises(Tampered):
        CODEC.open(name, data, stream, VERSION + 1, found(data), _ReportedBy)
    assert CODEC.has_personal(CaseReported, _ReportedBy)
    assert not CODEC.has_personal(CaseReported, _ReportedAt)
    assert not CODEC.has_personal(CaseReported, type(None))
    assert CODEC.has_personal(CaseReported, CaseReported)


@pytest.mark.parametrize("stored", [sealed, first_sealed])
def test_a_shape_with_all_personal_texts_is_opened_at_once(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by way of dictionaries, unless a key is gone or something is not as it was written."""
    name, data = "case.reported", stored("case.reported")
    codec, stream, keys = Codec(), stream_of(name), found(data)
    whole = msgspec.convert(msgspec.to_builtins(opened(name, data)), _TEXTS)
    monkeypatch.setattr(codec, "_demand_whole", lambda *_: pytest.fail("the long way"))
    assert _plain(codec.open(name, data, stream, VERSION, keys, _TEXTS)) == _plain(whole)
    half = codec.half_open(name, data, _TEXTS)
    assert half.sealed.keys.keys() == keys.keys()
    assert half.description == half.reporter.name == SEALED
    opened_ = codec.open(name, data, stream, VERSION, keys, _TEXTS, half)
    assert _plain(opened_) == _plain(whole)
    assert class_of(type(opened_)) is CaseReported
    monkeypatch.undo()
    gone = found(data)
    lost = gone.pop("person:p-81c2#1")
    gone.destroyed[lost.id] = lost.commitment
    forgotten = codec.open(name, data, stream, VERSION, gone, _TEXTS)
    assert (forgotten.reporter.name, forgotten.description) == (FORGOTTEN, whole.description)


def _plain(event: Any) -> Any:
    """An event in a shape as dictionaries, without the place that its ciphertexts had."""
    raw = msgspec.to_builtins(event)
    assert raw.pop("sealed", None) is None
    return raw


def test_a_text_that_reads_like_a_sealed_one_is_opened() -> None:
    event = replace(CODEC.decode(NAME, golden(NAME)), description=SEALED)
    _, data = CODEC.encode(event, STREAM, VERSION, keys_for(event, STREAM))
    read = CODEC.open(NAME, data, STREAM, VERSION, found(data), _TEXTS)
    assert (read.description, read.reporter.name) == (SEALED, event.reporter.name)


@settings(max_examples=300)
@given(events(), st.integers(1, 2**31 - 1))
def test_what_was_sealed_is_opened(each: tuple[str, Any], version: int) -> None:
    name, event = each
    stream = stream_of(name)
    stored_as, data = CODEC.encode(event, stream, version, keys_for(event, stream))
    assert stored_as == name
    assert CODEC.open(name, data, stream, version, found(data)) == event
    closed = CODEC.decode(name, data)
    # Bytes without the member are those of the closed event, and nothing else was changed.
    raw = msgspec.json.decode(data)
    raw.pop("sealed", None)
    assert msgspec.json.encode(raw) == msgspec.json.encode(closed)


@pytest.mark.parametrize("name", PERSONAL)
def test_no_personal_text_stands_in_the_stored_bytes(name: str) -> None:
    event = CODEC.decode(name, golden(name))
    closed = CODEC.decode(name, sealed(name))
    for before, after in zip(texts(event), texts(closed), strict=True):
        if before != after:
            assert after == SEALED
    stored = msgspec.json.decode(sealed(name))["sealed"]["texts"].values()
    assert texts(closed).count(SEALED) == sum(len(paths) for paths, _ in stored) > 0


@pytest.mark.parametrize("stored", sorted(path.stem for path in SEALED_GOLDEN.glob("*.json")))
def test_a_golden_sealed_event_is_opened_as_its_clear_form(stored: str) -> None:
    name = stored.removesuffix(".before").removesuffix(".together")
    data = (SEALED_GOLDEN / f"{stored}.json").read_bytes()
    assert opened(name, data) == CODEC.decode(name, golden(name))


def by_itself(data: bytes, keys: Keys, stream: str, version: int, share: int = 1) -> bytes:
    """The same event in the first form, each text by itself: of all keys, or of every second."""
    raw = msgspec.json.decode(data)
    if "sealed" not in raw:
        return data
    together, fields_ = raw["sealed"]["texts"], {}
    for id_ in list(together)[::share]:
        paths, stored = together.pop(id_)
        clear = _unsealed(keys[id_], stored, [stream, version, paths, id_])
        for path, text in zip(paths, msgspec.json.decode(clear), strict=True):
            nonce, bound = os.urandom(12), msgspec.json.encode([stream, version, path, id_])
            ciphertext = nonce + keys[id_].cipher.encrypt(nonce, text.encode(), bound)
            fields_[path] = [id_, base64.b64encode(ciphertext).decode()]
    raw["sealed"]["fields"] = fields_
    return msgspec.json.encode(raw)


def _unsealed(key_: Key, stored: str, bound: list[Any]) -> bytes:
    raw = base64.b64decode(stored)
    return key_.cipher.decrypt(raw[:12], raw[12:], msgspec.json.encode(bound))


@pytest.mark.parametrize("shape", [None, _TEXTS])
@pytest.mark.parametrize("first", ["三号楼楼道堆物", SEALED])
def test_a_text_that_is_sealed_twice_is_noticed(first: str, shape: type | None) -> None:
    """Also where both ciphertexts are good ones, and the first reads like what is not opened."""
    event = replace(CODEC.decode(NAME, golden(NAME)), description=first)
    _, data = CODEC.encode(event, STREAM, VERSION, keys_for(event, STREAM))
    other = replace(event, description="another")
    _, also = CODEC.encode(other, STREAM, VERSION, keys_for(other, STREAM))
    raw = msgspec.json.decode(data)
    first_form = msgspec.json.decode(by_itself(also, found(also), STREAM, VERSION))
    raw["sealed"]["fields"] = {"description": first_form["sealed"]["fields"]["description"]}
    with pytest.raises(Tampered, match="field description: it is sealed twice"):
        CODEC.open(NAME, msgspec.json.encode(raw), STREAM, VERSION, found(data), shape)


@settings(max_examples=300)
@given(events(), st.integers(1, 2**31 - 1), st.sampled_from([1, 2]), st.randoms())
def test_what_was_sealed_by_itself_is_opened_as_ever(
    each: tuple[str, Any], version: int, share: int, chance: random.Random
) -> None:
    name, event = each
    stream = stream_of(name)
    _, data = CODEC.encode(event, stream, version, keys_for(event, stream))
    keys, first = found(data), by_itself(data, found(data), stream, version, share)
    assert CODEC.keys_in(first) == CODEC.keys_in(data)
    assert CODEC.open(name, first, stream, version, keys) == event
    for id_ in [id_ for id_ in keys if chance.random() < 0.5]:
        keys.destroyed[id_] = keys.pop(id_).commitment
    together = CODEC.open(name, data, stream, version, keys)
    assert CODEC.open(name, first, stream, version, keys) == together
    assert texts(together).count(FORGOTTEN) >= len(keys.destroyed)


def test_nonces_are_not_used_twice() -> None:
    assert len({sealed("case.note_added") for _ in range(100)}) == 100


def test_what_somebody_types_is_sealed_whatever_it_looks_like() -> None:
    raw = msgspec.json.decode(golden("case.note_added"))
    for text in (SEALED, FORGOTTEN, '"sealed":{"keys":{}}', "\0", "😀", " "):
        event = CODEC.decode("case.note_added", msgspec.json.encode(raw | {"text": text}))
        assert isinstance(event, NoteAdded)
        _, data = CODEC.encode(event, "case:1", 1, {"case:1": key("case:1")})
        assert CODEC.open("case.note_added", data, "case:1", 1, found(data)) == event
        clear = msgspec.json.encode(event)
        assert CODEC.keys_in(clear) == ()
        assert CODEC.open("case.note_added", clear, "case:1", 1, Keys()) == event


@pytest.mark.parametrize("stored", [sealed, first_sealed])
def test_fields_of_a_destroyed_key_are_forgotten_and_others_are_not(stored: Stored) -> None:
    data = stored("case.reported")
    keys = found(data)
    keys.destroyed["person:p-81c2#1"] = keys.pop("person:p-81c2#1").commitment
    event = opened("case.reported", data, keys)
    assert isinstance(event, CaseReported)
    assert event.reporter is not None
    assert {event.reporter.name, event.reporter.phone, event.reporter.address} == {FORGOTTEN}
    assert event.description == "三号楼楼道堆物"


def test_an_old_shape_is_opened_before_it_is_changed() -> None:
    """A field was renamed: the paths in the log are those of its old place."""

    def renamed(old: dict[str, Any]) -> dict[str, Any]:
        new = {name: value for name, value in old.items() if name not in ("who", "title")}
        return new | {"user": old["who"]["person"], "name": old["title"] + old["who"]["name"]}

    @dataclass(frozen=True, kw_only=True)
    class OldUserAdded(staff._StaffEvent):
        title: FreeText
        who: Witness
        grants: tuple[Any, ...] = ()
        unit: str | None = None

    at = CODEC.decode("staff.user_added", golden("staff.user_added")).at
    old = OldUserAdded(at=at, territory="d1/", title="主任", who=Witness("w.li", "李梅"))
    keys = {"person:w.li": key("person:w.li"), "case:1": key("case:1")}
    _, data = Codec({"staff.user_joined": OldUserAdded}).encode(old, "case:1", 1, keys)
    now = Codec(upcasts={"staff.user_joined": Upcast("staff.user_added", renamed)})

    for stored in (data, by_itself(data, found(data), "case:1", 1)):
        event = now.open("staff.user_joined", stored, "case:1", 1, found(stored))
        assert isinstance(event, UserAdded)
        assert (event.user, event.name) == ("w.li", "主任李梅")
        assert now.decode("staff.user_joined", stored).name == SEALED * 2
        with pytest.raises(Tampered, match=r"case:1, version 2, field (title|who\.name)"):
            now.open("staff.user_joined", stored, "case:1", 2, found(stored))


# --- tampered with ---

NAME, STREAM = "case.reported", stream_of("case.reported")
Change = Callable[[dict[str, Any]], Any]


def _change_ciphertext(raw: dict[str, Any]) -> None:
    entry = raw["sealed"]["fields"]["reporter.phone"]
    entry[1] = entry[1][:20] + ("A" if entry[1][20] != "A" else "B") + entry[1][21:]


def _swap_fields(raw: dict[str, Any]) -> None:
    stored = raw["sealed"]["fields"]
    stored["reporter.phone"], stored["reporter.name"] = (
        stored["reporter.name"],
        stored["reporter.phone"],
    )


def _name(id_: str, commitment: str | None = None) -> Change:
    """Another key id for the phone, and what the log says of that key."""

    def change(raw: dict[str, Any]) -> None:
        raw["sealed"]["fields"]["reporter.phone"][0] = id_
        if commitment is not None:
            raw["sealed"]["keys"][id_] = commitment

    return change


def _forget_a_place(raw: dict[str, Any]) -> None:
    """What is not personal is passed off as forgotten."""
    raw["territory"] = SEALED
    raw["sealed"]["fields"]["territory"] = ["person:gone#1", "AAAA"]
    raw["sealed"]["keys"]["person:gone#1"] = base64.b64encode(
        key("person:gone").commitment
    ).decode()


def _set(*path: str, to: Any) -> Change:
    def change(raw: dict[str, Any]) -> None:
        for step in path[:-1]:
            raw = raw[step]
        raw[path[-1]] = to

    return change


def _put(id_: str, paths: list[str], stored: str | None = None) -> Change:
    """Other paths for what a key has sealed, or another ciphertext too."""

    def change(raw: dict[str, Any]) -> None:
        _, ciphertext = raw["sealed"]["texts"].get(id_, (None, "AAAA"))
        raw["sealed"]["texts"][id_] = [paths, ciphertext if stored is None else stored]

    return change


def _change_together(raw: dict[str, Any]) -> None:
    entry = raw["sealed"]["texts"][MINE]
    entry[1] = entry[1][:20] + ("A" if entry[1][20] != "A" else "B") + entry[1][21:]


def _rename(new: str, commitment: str | None = None) -> Change:
    """Another key id for what the reporter's has sealed, and what the log says of that key."""

    def change(raw: dict[str, Any]) -> None:
        raw["sealed"]["texts"][new] = raw["sealed"]["texts"].pop(MINE)
        if commitment is not None:
            raw["sealed"]["keys"][new] = commitment

    return change


def _swap_together(raw: dict[str, Any]) -> None:
    texts_ = raw["sealed"]["texts"]
    texts_[MINE][1], texts_[CASE_KEY][1] = texts_[CASE_KEY][1], texts_[MINE][1]


def _forget_a_place_together(raw: dict[str, Any]) -> None:
    raw["territory"] = SEALED
    raw["sealed"]["texts"]["person:gone#1"] = [["territory"], "AAAA"]
    raw["sealed"]["keys"]["person:gone#1"] = base64.b64encode(
        key("person:gone").commitment
    ).decode()


def _committed(id_: str) -> str:
    stored: str = msgspec.json.decode(sealed(NAME))["sealed"]["keys"][id_]
    return stored


MINE = "person:p-81c2#1"
CASE_KEY = "case:20260302-7K2QX9MA#1"

EITHER: dict[str, tuple[Change, str]] = {
    "the person": (_set("reporter", "person", to="p-0000"), "reporter"),
    "another commitment": (_set("sealed", "keys", MINE, to="AAAAAAAAAAAAAAAAAAAAAA=="), "reporter"),
    "no commitment": (_set("sealed", "keys", to={}), "description"),
    "clear text in its place": (_set("reporter", "phone", to="110"), "reporter.phone"),
    "nothing in its place": (_set("reporter", "phone", to=""), "reporter.phone"),
    "no reporter": (_set("reporter", to=None), "reporter"),
    "a reporter of another shape": (_set("reporter", to="***"), "sealed"),
    "a list for a text": (_set("description", to=["***"]), "description"),
    "something else": (_set("sealed", to=[1]), "sealed"),
}
"""Whatever the form."""

TAMPERED: dict[str, tuple[Change, str]] = EITHER | {
    "ciphertext": (_change_ciphertext, "reporter.phone"),
    "a ciphertext that is too short": (
        _set("sealed", "fields", "reporter.phone", to=[MINE, "AAAA"]),
        "reporter.phone",
    ),
    "no Base64": (_set("sealed", "fields", "reporter.phone", to=[MINE, "号"]), "reporter.phone"),
    "two fields swapped": (_swap_fields, "reporter.name|reporter.phone"),
    "the key of the case": (_name(CASE_KEY), "reporter.phone"),
    "a key that never was": (_name("person:p-81c2#2"), "reporter.phone"),
    "a key that never was, committed to": (
        _name("person:p-81c2#2", _committed(MINE)),
        "reporter.phone",
    ),
    "a key that never was, no commitment to it": (
        _set("sealed", "keys", to={CASE_KEY: _committed(CASE_KEY)}),
        "reporter",
    ),
    "no key id": (_name("x"), "reporter.phone"),
    "another person's destroyed key": (
        _name("person:gone#1", base64.b64encode(key("person:gone").commitment).decode()),
        "reporter.phone",
    ),
    "an older, destroyed key": (_name("person:p-81c2#9", _committed(MINE)), "reporter.phone"),
    "a field less": (lambda raw: raw["sealed"]["fields"].pop("description"), "description"),
    "one of several fields less": (
        lambda raw: raw["sealed"]["fields"].pop("reporter.name"),
        "reporter.name",
    ),
    "a field more": (
        _set("sealed", "fields", "territory", to=[CASE_KEY, "AAAA"]),
        "territory",
    ),
    "a field that is not personal": (_forget_a_place, "territory"),
    "a field that is not there": (_set("sealed", "fields", "a.b", to=[CASE_KEY, "AAAA"]), "a.b"),
    "no fields": (lambda raw: raw["sealed"].pop("fields"), "description"),
    "sealed together as well": (
        lambda raw: raw["sealed"].update(texts={MINE: [["reporter.phone"], "AAAA"]}),
        "reporter.phone",
    ),
}

HIS = ["reporter.name", "reporter.phone", "reporter.address"]
TOGETHER: dict[str, tuple[Change, str]] = EITHER | {
    "ciphertext": (_change_together, "reporter.name"),
    "a ciphertext that is too short": (_put(MINE, HIS, "AAAA"), "reporter.name"),
    "no Base64": (_put(MINE, HIS, "号"), "reporter.name"),
    "the order of the fields": (_put(MINE, HIS[::-1]), "reporter.address"),
    "a field less": (_put(MINE, HIS[:2]), "reporter"),
    "a field more": (_put(MINE, [*HIS, "description"]), "description"),
    "a field twice": (_put(MINE, [*HIS, "reporter.name"]), "reporter.name"),
    "a field that is not personal": (_put(MINE, [*HIS, "territory"]), "territory"),
    "a field that is not there": (_put(MINE, [*HIS, "a.b"]), "a.b"),
    "a field of another key": (_put(CASE_KEY, ["description", "reporter.name"]), "reporter.name"),
    "two ciphertexts swapped": (_swap_together, "description|reporter.name"),
    "a key that never was": (_rename("person:p-81c2#2"), "reporter.name"),
    "a key that never was, committed to": (
        _rename("person:p-81c2#2", _committed(MINE)),
        "reporter.name",
    ),
    "no key id": (_rename("x"), "reporter.name"),
    "another person's destroyed key": (
        _rename("person:gone#1", base64.b64encode(key("person:gone").commitment).decode()),
        "reporter.name",
    ),
    "an older, destroyed key": (_rename("person:p-81c2#9", _committed(MINE)), "reporter.name"),
    "a place passed off as forgotten": (_forget_a_place_together, "territory"),
    "nothing of a key": (lambda raw: raw["sealed"]["texts"].pop(MINE), "reporter.name"),
    "no texts": (lambda raw: raw["sealed"].pop("texts"), "description"),
    "sealed by itself as well": (
        _set("sealed", "fields", to={"reporter.phone": [MINE, "AAAA"]}),
        "reporter.phone",
    ),
}


@pytest.mark.parametrize("shape", [None, _TEXTS], ids=["whole", "texts"])
@pytest.mark.parametrize(
    ("stored", "change", "field"),
    [
        pytest.param(stored, *each, id=f"{name}{form}")
        for stored, form, table in ((first_sealed, " by itself", TAMPERED), (sealed, "", TOGETHER))
        for name, each in table.items()
    ],
)
def test_tampering_is_an_error_that_names_event_and_field(
    stored: Stored, change: Change, field: str, shape: type | None
) -> None:
    raw = msgspec.json.decode(stored(NAME))
    keys = found(stored(NAME))
    keys.destroyed["person:gone#1"] = key("person:gone").commitment
    keys.destroyed["person:p-81c2#9"] = key("person:p-81c2", 9).commitment
    change(raw)
    data = msgspec.json.encode(raw)
    with pytest.raises(Tampered, match=rf"{STREAM}, version {VERSION}, field ({field})"):
        CODEC.open(NAME, data, STREAM, VERSION, keys, shape)


@pytest.mark.parametrize(
    ("stream", "version"), [("case:20260302-7K2QX9MB", VERSION), (STREAM, VERSION + 1)]
)
@pytest.mark.parametrize("name", ["case.reported", "staff.user_added"])
def test_an_event_opens_only_where_it_was_written(name: str, stream: str, version: int) -> None:
    with pytest.raises(Tampered, match=rf"{stream}, version {version}"):
        CODEC.open(name, sealed(name), stream, version, found(sealed(name)))


def test_an_event_of_the_same_stream_cannot_take_the_place_of_another() -> None:
    """The negative control of the version in what a ciphertext is bound to."""
    data = sealed("case.note_added")
    assert CODEC.open("case.note_added", data, STREAM, VERSION, found(data))
    for version in (VERSION - 1, VERSION + 1):
        with pytest.raises(Tampered, match="changed or moved"):
            CODEC.open("case.note_added", data, STREAM, version, found(data))


def test_a_key_swapped_in_the_vault_is_noticed() -> None:
    data = sealed(NAME)
    swapped = found(data)
    swapped[MINE] = Key(MINE, "person:p-81c2", b"another secret of the same size.")
    for shape in (None, _TEXTS):
        with pytest.raises(Tampered, match=r"reporter\.name: .* not the key it was sealed with"):
            CODEC.open(NAME, data, STREAM, VERSION, swapped, shape)
    broken = found(data)
    del broken[MINE]
    broken.broken.add(MINE)
    with pytest.raises(Tampered, match=r"reporter\.name: the key .* in the vault"):
        CODEC.open(NAME, data, STREAM, VERSION, broken)


def test_an_absent_key_is_not_taken_for_a_destroyed_one() -> None:
    data = sealed(NAME)
    for shape in (None, _TEXTS):
        with pytest.raises(Tampered, match="the vault has never had a key"):
            CODEC.open(NAME, data, STREAM, VERSION, Keys(), shape)


def test_bytes_of_a_sealed_event_in_a_list_are_of_another_shape() -> None:
    data = b"[" + sealed(NAME) + b"]"
    assert CODEC.keys_in(data) == ()
    with pytest.raises(msgspec.ValidationError):
        CODEC.open(NAME, data, STREAM, VERSION, Keys())


def test_a_key_shows_no_secret() -> None:
    assert repr(key("person:a")) == "Key(id='person:a#1', subject='person:a')"


if __name__ == "__main__":
    SEALED_GOLDEN.mkdir(exist_ok=True)
    for _name_ in PERSONAL:
        _path = SEALED_GOLDEN / f"{_name_}.together.json"
        if not _path.exists():
            _path.write_bytes(msgspec.json.format(sealed(_name_), indent=2) + b"\n")
