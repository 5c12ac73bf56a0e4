"""The trace (W3C Trace Context) that an event belongs to, told by its correlation.

A request's id, which its events carry as their correlation, is all that is stored: from it every
process tells the same ids, so that a trace is whole without anything handed along.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_WITHIN: Final = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})")
_OWN: Final = re.compile(r"[0-9a-f]{16}")


class Trace(NamedTuple):
    """The ids of a trace (32 hexadecimal digits) and of one span in it (16)."""

    trace: str
    span: str

    def part(self, name: str) -> "Trace":
        """A span of the same trace that is part of this one, by its name."""
        return Trace(self.trace, sha256(f"{self.span} {name}".encode()).hexdigest()[:16])


class Spans(Protocol):
    """Where spans go."""

    def record(
        self,
        name: str,
        correlation: str,
        begun: int,
        ended: int,
        facts: Mapping[str, str | int],
        caller: Trace | None = None,
    ) -> None:
        """One that is over; ``begun`` and ``ended`` are nanoseconds since 1970.

        ``request`` is the span that the correlation names; every other is a part of it.
        ``caller`` is the span that the request was sent from.
        """
        ...


def trace_of(correlation: str) -> Trace:
    """The span of the request that a correlation names, or of whatever else it names."""
    if within := _WITHIN.fullmatch(correlation):
        return Trace(within[1], within[2])
    if _OWN.fullmatch(correlation):
        return Trace(correlation.zfill(32), correlation)
    digest = sha256(correlation.encode()).hexdigest()
    return Trace(digest[:32], digest[32:48])


def correlation_within(caller: Trace, span: str) -> str:
    """The id of a request that is part of its caller's trace; ``span`` is the request's own."""
    return f"{caller.trace}-{span}"


def traceparent(correlation: str) -> str:
    """What tells the next system of the trace, by the header of this name."""
    trace, span = trace_of(correlation)
    return f"00-{trace}-{span}-01"


def caller_in(traceparent: str) -> Trace | None:
    """The span of a caller, out of its header; None if it is not as it must be."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or traceparent.startswith("ff") or not found[1].strip("0"):
        return None
    return Trace(found[1], found[2]) if found[2].strip("0") else None
