"""Smaller shapes of events: what no read model reads is not decoded."""

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from functools import cache, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T")

UNREAD: Final = None
"""Instead of fields: not even one is read."""


def shapes(wanted: Mapping[type, str | None]) -> dict[type, type]:
    """A shape for each class of events, with the fields named: ``"at terms.category"``.

    Words of a closed list read as plain text, tiers as numbers: nothing is made that is only to be
    put in a row. Which class a shape is of, ``class_of`` says.
    """
    return {event: _shape_of(event, fields) for event, fields in wanted.items()}


def together(wanted: Iterable[Mapping[type, str | None]]) -> dict[type, str | None]:
    """The fields that any of several read."""
    found: dict[type, str | None] = {}
    for each in wanted:
        for event, fields in each.items():
            known = found.get(event, UNREAD)
            words = f"{known or ''} {fields or ''}".split()
            unread = known is UNREAD and fields is UNREAD
            found[event] = UNREAD if unread else " ".join(dict.fromkeys(words))
    return found


def class_of(shape: type) -> type:
    """The class of events that a shape is of; that of an event which is whole is its own."""
    found: type = getattr(shape, "EVENT", shape)
    return found


class ByEvent(dict[type, T | None]):
    """Something for some classes of events, found by a shape of theirs too; None for all others."""

    def __missing__(self, shape: type) -> T | None:
        found = self[shape] = self.get(class_of(shape))
        return found


@cache
def _shape_of(event: type, fields: str | None) -> type:
    """Made once: it is asked for again at each rebuild, and decoders are kept for it."""
    return NoneType if fields is UNREAD else _shape(event, fields.split(), EVENT=event)


def _shape(whole: type, paths: list[str], **known: Any) -> type:
    hints = get_type_hints(whole)
    within: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        within.setdefault(name, []).append(rest)
    fields = [  # who reads all of something is given all, beside whoever reads a part
        (name, _type(hints[name], [] if "" in below else below)) for name, below in within.items()
    ]
    return msgspec.defstruct(whole.__name__, fields, namespace=known, gc=False)


def _type(hint: Any, below: list[str]) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, (_type(each, below) for each in get_args(hint)))
    if below and hint is not type(None):
        return _shape(hint, below)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return str
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return int
    return hint
