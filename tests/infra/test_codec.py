"""Stored shapes are for ever: every event has a golden file, and reads and writes it unchanged."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.aggregates import AGGREGATES
from domain.places import Tier
from domain.staff import UnitClosed
from infra.codec import NAMES, UPCASTS, Codec, UnknownEvent, Upcast

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name: str) -> bytes:
    return msgspec.json.format((GOLDEN / f"{name}.json").read_bytes(), indent=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_event_is_read_and_written_back_unchanged(name: str) -> None:
    codec = Codec()
    event = codec.decode(name, golden(name))
    assert type(event) is NAMES[name]
    stored_as, data = codec.encode(event)
    assert stored_as == name
    assert msgspec.json.format(data, indent=0) == golden(name)


def test_every_name_has_its_golden_file_and_every_file_its_name() -> None:
    files = {path.name.removesuffix(".json") for path in GOLDEN.glob("*.json")}
    assert files == NAMES.keys() | UPCASTS.keys()


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
    assert codec.encode(event)[0] == "staff.unit_closed"


def test_an_unknown_name_is_never_guessed() -> None:
    with pytest.raises(UnknownEvent, match="unknown to this version"):
        Codec().decode("os.system", b"{}")


def test_bytes_of_another_shape_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Codec().decode("case.merged", golden("case.filed"))


def test_tiers_are_stored_as_numbers_from_the_grid_up() -> None:
    assert [tier.value for tier in Tier] == [1, 2, 3, 4]
