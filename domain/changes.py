"""A record with some of its fields changed."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["changed"]

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:
    T = TypeVar("T")

    def changed(record: T, **changes: Any) -> T:
        """As ``dataclasses.replace``, in a third of its time.

        For frozen dataclasses with slots and more than one field that check nothing when they are
        made: their slots are copied one by one, where ``replace`` has all fields checked and set
        anew. A state of a case has thirty, and every event changes one or two.
        """
        read, write = _slots(type(record))
        made = object.__new__(type(record))
        for put, value in zip(write.values(), read(record), strict=True):
            put(made, value)
        for name, value in changes.items():
            write[name](made, value)
        return made


@cache
def _slots(shape: type) -> tuple[Callable[[Any], Any], dict[str, Callable[[Any, Any], None]]]:
    """What reads all fields of a record at once, and what writes each."""
    names = [field.name for field in fields(shape)]
    assert not hasattr(shape, "__post_init__"), "it would go unchecked"
    return attrgetter(*names), {name: getattr(shape, name).__set__ for name in names}
