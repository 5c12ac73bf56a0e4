"""Smaller shapes of events: what a read model does not read is not decoded."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec


def shapes(wanted: Mapping[type, str]) -> dict[type, type]:
    """A shape for each class of events, with the fields named: ``"at terms.category"``.

    Words of a closed list read as plain text, tiers as numbers: nothing is made that is only to be
    put in a row. Each class has a shape of its own, by which its events are told.
    """
    return {event: _shape(event, fields.split()) for event, fields in wanted.items()}


def _shape(whole: type, paths: list[str]) -> type:
    hints = get_type_hints(whole)
    within: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        within.setdefault(name, []).extend([rest] if rest else [])
    fields = [(name, _type(hints[name], below)) for name, below in within.items()]
    return msgspec.defstruct(whole.__name__, fields, gc=False)


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
