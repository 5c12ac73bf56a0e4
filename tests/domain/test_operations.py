"""A read model leaves an event out only where somebody answers for it."""

from typing import Any

import pytest

from domain import operations
from domain.operations import EventSkipped, SkipEvent
from domain.roles import Actor
from tests import samples
from tests.specification import Specification

given = Specification(operations.decide, operations.evolve, operations.initial).given


def skip(
    by: Actor = samples.ADMINISTRATOR,
    position: int = 7,
    reason: str = " 旧数据缺时限 ",
    **changes: Any,
) -> SkipEvent:
    given: dict[str, Any] = {"projection": "timeliness", "position": position, "halted": position}
    return SkipEvent(by=by, at=samples.NOW, reason=reason, **(given | changes))


def skipped(position: int = 7) -> EventSkipped:
    return EventSkipped(
        at=samples.NOW, projection="timeliness", position=position, reason="旧数据缺时限"
    )


@pytest.mark.parametrize("by", [samples.ADMINISTRATOR, samples.OFFICE_SUPERVISOR])
def test_who_answers_for_everything_may_leave_an_event_out(by: Actor) -> None:
    given().when(skip(by)).then(skipped())


@pytest.mark.parametrize("by", [samples.SUPERVISOR, samples.SHIFT_LEAD, samples.SYSTEM])
def test_who_answers_for_a_part_may_not(by: Actor) -> None:
    given().when(skip(by)).refused("role.not_permitted")


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_nothing_is_left_out_without_a_reason(reason: str) -> None:
    given().when(skip(reason=reason)).refused("projection.reason_missing")


def test_each_position_is_left_out_once() -> None:
    given(skipped()).when(skip()).refused("projection.skipped_already")
    given(skipped()).when(skip(position=8)).then(skipped(position=8))


@pytest.mark.parametrize("halted", [None, 6])
def test_what_it_does_not_stumble_over_is_not_left_out(halted: int | None) -> None:
    given().when(skip(halted=halted)).refused("projection.not_halted")


def test_each_read_model_has_a_stream_of_its_own() -> None:
    assert operations.stream("timeliness") == "projection:timeliness"
