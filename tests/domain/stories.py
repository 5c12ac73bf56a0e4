"""How the stories of cases are told: what was given, and what a test asks of it."""

from collections.abc import Iterable
from typing import Any

from domain import case
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import Case, Unknown
from domain.places import Tier
from tests import samples as s
from tests.specification import Given, Outcome, Specification

CASES: Specification[Case, c.Command, e.Event] = Specification(
    case.decide, case.evolve, case.initial
)
given = CASES.given

GRID_STAMP: dict[str, Any] = {"territory": s.GRID, "tier": Tier.GRID, "episode": 1}
IN_HAND = s.PATHS["in_progress"]
TWICE: list[c.Command] = [s.ask_extension(), s.approve_extension()] * 2
"""All the extensions that the office's policy allows."""


def given_steps(*commands: c.Command) -> Given[Case, c.Command, e.Event]:
    """A case after these commands."""
    return given(*s.happened(commands))


def given_state(
    name: str, *more: c.Command, early: Iterable[c.Command] = ()
) -> Given[Case, c.Command, e.Event]:
    """A sample case in a state, after some commands more; ``early`` ones come after its filing."""
    return given(*s.happened(more, s.history(name, *early)))


def allowed(outcome: Outcome[e.Event]) -> None:
    """Something happened, whatever it was."""
    assert outcome.events


def facts(story: Given[Case, c.Command, e.Event]) -> Any:
    """The facts of a case, to be asked for one of them."""
    assert not isinstance(story.state, Unknown)
    return story.state.facts
