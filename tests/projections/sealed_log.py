"""A log in memory, with keys that can be destroyed: what the read models' source promises, no more.

Personal fields read as ``SEALED``; opened, they read in clear, or as ``FORGOTTEN`` where the key is
gone. Each subject has one key after another: what comes after a forgetting is sealed with the next.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import NoneType
from typing import Any, get_type_hints

import msgspec

from domain.aggregates import decider_of
from domain.errors import Refused
from domain.history import LOG, Page, Reading, Recorded, Wanted
from domain.personal import FORGOTTEN, SEALED, PersonalMark
from domain.privacy import PersonForgotten
from infra.codec import NAMES

_NAMES = {event: name for name, event in NAMES.items()}


class SealedLog:
    """Decides commands, keeps the events in clear, and reads them as a sealed log would."""

    def __init__(self) -> None:
        self.events: list[Recorded[Any]] = []
        self._states: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._generation: dict[str, int] = {}
        self._sealed_with: list[dict[str, int]] = []
        self._destroyed: dict[str, int] = {}

    def execute(self, *commands: Any) -> None:
        """Decide commands one after another; one that is refused leaves nothing."""
        for command in commands:
            decider = decider_of(command)
            stream = decider.stream(command)
            state = self._states.get(stream, decider.initial)
            for event in decider.decide(state, command):
                state = decider.evolve(state, event)
                self._append(stream, event, command)
            self._states[stream] = state

    def attempt(self, command: Any) -> None:
        """Execute a command that may be refused."""
        try:
            self.execute(command)
        except Refused:
            return

    def destroy_keys(self) -> None:
        """Destroy all keys that were to be destroyed so far."""
        for recorded in self.events:
            if isinstance(recorded.event, PersonForgotten):
                for subject in _subjects(recorded.event):
                    self._destroyed[subject] = self._generation[subject] - 1

    def parts(self) -> Sequence[str]:
        return (LOG,)

    def head(self, part: str = LOG) -> int:
        return len(self.events)

    def read(self, part: str, after: int, upto: int, wanted: Wanted) -> Page:
        return Page(self._chosen(self.events[after:upto], wanted), upto)

    def bounds(self, upto: int, each: int) -> list[str]:
        return sorted({recorded.stream for recorded in self.events[:upto]})[each - 1 :: each]

    def between(self, after: int, upto: int, wanted: Collection[Wanted]) -> Reading:
        return partial(self._chosen, self.events[after:upto])

    def streams(
        self, after: str, until: str | None, upto: int, wanted: Collection[Wanted]
    ) -> Reading:
        within = [
            recorded
            for recorded in self.events[:upto]
            if after < recorded.stream and (until is None or recorded.stream <= until)
        ]
        within.sort(key=lambda recorded: (recorded.stream, recorded.version))
        return partial(self._chosen, within)

    def skipped(self, projection: str) -> frozenset[int]:
        return frozenset()

    def _chosen(self, events: Sequence[Recorded[Any]], wanted: Wanted) -> list[Recorded[Any]]:
        return [
            recorded._replace(
                event=_shaped(self._read(recorded, wanted.opened), wanted),
                json=msgspec.json.encode(self._read(recorded, False)).decode(),
            )
            for recorded in events
            if isinstance(recorded.event, wanted.events)
        ]

    def _append(self, stream: str, event: Any, command: Any) -> None:
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        self.events.append(
            Recorded(
                position=len(self.events) + 1,
                stream=stream,
                version=version,
                name=_NAMES[type(event)],
                event=event,
                at=event.at,
                recorded_at=event.at,
                actor=command.by.id,
                roles=",".join(command.by.roles),
                territory=getattr(event, "territory", ""),
                correlation="",
                causation="",
            )
        )
        self._sealed_with.append(dict(self._generation))
        if isinstance(event, PersonForgotten):
            for subject in _subjects(event):
                self._generation[subject] = self._generation.get(subject, 0) + 1

    def _read(self, recorded: Recorded[Any], opened: bool) -> Any:
        sealed_with = self._sealed_with[recorded.position - 1]

        def read(subject: str, text: str) -> str:
            if not text:
                return text
            if not opened:
                return SEALED
            gone = sealed_with.get(subject, 0) <= self._destroyed.get(subject, -1)
            return FORGOTTEN if gone else text

        case = "case:" + recorded.stream.partition(":")[2]
        return _with_personal(recorded.event, case, read)


class Paged:
    """The same as a source that knows pages only, as a topic does."""

    def __init__(self, log: SealedLog) -> None:
        self.parts, self.head, self.read, self.skipped = log.parts, log.head, log.read, log.skipped


def _shaped(event: Any, wanted: Wanted) -> Any:
    """An event in the shape that the reader wants of it, as a source decodes it."""
    shape = wanted.shapes.get(type(event))
    if shape is None:
        return event
    return (
        None if shape is NoneType else msgspec.json.decode(msgspec.json.encode(event), type=shape)
    )


def personal_texts(events: Sequence[Recorded[Any]]) -> set[str]:
    """All clear personal texts of some events."""
    found: set[str] = set()

    def note(_subject: str, text: str) -> str:
        found.add(text)
        return text

    for recorded in events:
        _with_personal(recorded.event, "", note)
    return found - {""}


def _subjects(event: PersonForgotten) -> list[str]:
    return [f"person:{event.person}", *(f"case:{case}" for case in event.cases)]


def _with_personal(shape: Any, case: str, read: Callable[[str, str], str]) -> Any:
    changed: dict[str, Any] = {}
    for name, mark in _marks(type(shape)):
        value = getattr(shape, name)
        if mark is None:
            if is_dataclass(value):
                changed[name] = _with_personal(value, case, read)
        elif mark.of == "case":
            changed[name] = read(case, value)
        else:
            person = getattr(shape, "person", None) or shape.user
            changed[name] = read(f"person:{person}", value)
    return replace(shape, **changed) if changed else shape


_known: dict[type[Any], list[tuple[str, PersonalMark | None]]] = {}


def _marks(shape: type[Any]) -> list[tuple[str, PersonalMark | None]]:
    """The fields of a shape, each with its mark; read from the hints once, which takes its time."""
    if shape not in _known:
        hints = get_type_hints(shape, include_extras=True)
        names = [field.name for field in fields(shape)]
        _known[shape] = [(name, _mark(hints[name])) for name in names]
    return _known[shape]


def _mark(hint: Any) -> PersonalMark | None:
    found = (m for m in getattr(hint, "__metadata__", ()) if isinstance(m, PersonalMark))
    return next(found, None)
