"""Rules decide on sealed history: what they decide never carries the seal's own marker."""

from typing import Any

import pytest

from domain import case
from domain.personal import SEALED
from infra.codec import Codec
from infra.vault import Key
from tests import samples

ROUNDS = {
    "void": (samples.ask_void(), samples.approve_void()),
    "park": (samples.ask_park(), samples.approve_park()),
    "extension": (samples.ask_extension(), samples.approve_extension()),
}
BEGINNINGS = {"void": "filed", "park": "in_progress", "extension": "in_progress"}


class AnyKeys(dict[str, Key]):
    """A key for whoever is asked for."""

    def __missing__(self, subject: str) -> Key:
        self[subject] = made = Key(f"{subject}#1", subject, b"k" * 32)
        return made


def through_the_log(codec: Codec, event: Any) -> Any:
    """An event as the rules read it back."""
    return codec.decode(*codec.encode(event, f"case:{samples.CASE}", 1, AnyKeys()))


@pytest.mark.parametrize("path", [*samples.PATHS, *ROUNDS])
def test_no_decision_copies_what_is_sealed(path: str) -> None:
    codec, state = Codec(), case.initial
    commands: tuple[Any, ...]
    if path in ROUNDS:
        commands = (*samples.PATHS[BEGINNINGS[path]], *ROUNDS[path])
    else:
        commands = samples.PATHS[path]
    for command in commands:
        for event in case.decide(state, command):
            assert SEALED not in repr(event), event
            state = case.evolve(state, through_the_log(codec, event))
    assert "王女士" not in repr(state)
