"""A record with some of its fields changed is what ``dataclasses.replace`` makes of it."""

from dataclasses import FrozenInstanceError, replace

import pytest

from domain.changes import changed
from domain.sla import Pause
from tests import samples as s


@pytest.mark.parametrize("name", [name for name in s.PATHS if name != "unknown"])
def test_all_else_is_as_it_was(name: str) -> None:
    facts = s.state(name).facts
    after = changed(facts, callbacks=3, survivor="another")
    assert after == replace(facts, callbacks=3, survivor="another")
    assert (facts.callbacks, facts.survivor) != (3, "another")
    assert changed(facts) == facts


def test_what_is_made_is_frozen_too() -> None:
    after = changed(s.state("filed").facts, callbacks=1)
    with pytest.raises(FrozenInstanceError):
        after.callbacks = 2  # type: ignore[misc]


def test_no_field_is_made_up() -> None:
    with pytest.raises(KeyError):
        changed(s.state("filed").facts, colour="red")  # type: ignore[call-arg]


def test_a_record_that_checks_itself_is_not_changed_unchecked() -> None:
    pause = Pause(s.START, s.NOW)
    with pytest.raises(AssertionError):
        changed(pause, start=s.NOW, end=s.START)
