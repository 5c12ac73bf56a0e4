"""What a command is answered, so that the same request sent again can be answered the same.

The words that those who store an answer and those who speak it have in common; no rule reads them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from domain.errors import Refused, VersionMismatch


class Receipt(NamedTuple):
    """What became of a command: the events, the last position, and the version of its stream.

    Without events (nothing needed to change) ``position`` is 0.
    """

    events: tuple[Any, ...]
    position: int
    version: int


class Once(NamedTuple):
    """A caller's key: the same request under it, told by its ``digest``, is done once."""

    actor: str
    key: str
    digest: bytes


class Answer(NamedTuple):
    """What a command is answered: an HTTP status, and JSON without the position."""

    status: int
    body: bytes


class Answered(NamedTuple):
    """An answer with the position of the command's last event, 0 without events."""

    status: int
    body: bytes
    position: int


Verdict: TypeAlias = Receipt | Refused | VersionMismatch
"""What became of a command. The position of a receipt is not known before it is stored."""

Answering: TypeAlias = Callable[[Verdict, Any], Answer]
"""Puts a verdict into words, given the state of the command's first stream."""
