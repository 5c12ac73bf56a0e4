"""Given some history, when a command comes, then these events happen, or it is refused.

A test module names its decider once and then reads as sentences::

    given = Specification(calendar.decide, calendar.evolve, calendar.initial).given

    given(published(2026)).when(publish(2026)).then()
    given().when(set_hours()).refused("calendar.no_hours")
"""

import difflib
import pprint
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

from domain.errors import Refused

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")


@dataclass(frozen=True)
class Specification(Generic[S, C, E]):
    """One decider: ``decide(state, command) -> events``, ``evolve(state, event) -> state``."""

    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    initial: S

    def given(self, *events: E) -> "Given[S, C, E]":
        """The state after these events, from the beginning."""
        return Given(self, reduce(self.evolve, events, self.initial))


@dataclass(frozen=True)
class Given(Generic[S, C, E]):
    """A state with its history. ``state`` may be asked directly where a test is about it."""

    specification: Specification[S, C, E]
    state: S

    def when(self, command: C) -> "Outcome[E]":
        """What the command leads to. Whatever it leads to must be events that can be applied."""
        try:
            events = tuple(self.specification.decide(self.state, command))
        except Refused as refused:
            return Outcome(command, refused)
        reduce(self.specification.evolve, events, self.state)
        return Outcome(command, events)


@dataclass(frozen=True)
class Outcome(Generic[E]):
    """The events of a command, or its refusal."""

    command: Any
    result: tuple[E, ...] | Refused

    def then(self, *events: E) -> None:
        """Exactly these events happened, in this order; without any: nothing happened."""
        __tracebackhide__ = True
        if self.result != events:
            raise AssertionError(self._unlike(_lines(events)))

    def refused(self, code: str) -> None:
        """The command was refused with this code, whose texts can be read in both languages."""
        __tracebackhide__ = True
        if not isinstance(self.result, Refused) or self.result.code != code:
            raise AssertionError(self._unlike([f"refused: {code}"]))
        assert self.result.zh
        assert self.result.en

    @property
    def events(self) -> tuple[E, ...]:
        """The events themselves, for a test that goes on with them; a refusal is raised."""
        if isinstance(self.result, Refused):
            raise self.result
        return self.result

    def _unlike(self, expected: list[str]) -> str:
        if isinstance(self.result, Refused):
            actual = [f"refused: {self.result.code}", *self.result.en.splitlines()]
        else:
            actual = _lines(self.result)
        compared = difflib.ndiff(expected, actual)
        return "\n".join(
            [
                f"when {self.command!r}",
                "- expected, + happened",
                *(line.rstrip() for line in compared),
            ]
        )


def _lines(events: Iterable[Any]) -> list[str]:
    # One field a line, so that the comparison points at the field that differs.
    lines = [line for event in events for line in pprint.pformat(event, width=1).splitlines()]
    return lines or ["nothing"]
