"""What must hold after everything that was done to the processes (reliability.md, I1 to I11).

Nothing here asks the program what it believes, but for the read models, which it compares itself:
the tables of the log are read as they are, and held against the clients' journal.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import psycopg

from tests.crash.history import STEPS, Op, Outcome, final_reads, violations
from tests.crash.world import CONNECTIONS, Office

MEMORY: Final = 400_000_000
"""Bytes a server may hold under this load; it is some 150 MB."""

CONNECTED: Final = (CONNECTIONS + 14) + 12
"""Connections of one server and one projector, at most, as the README says of each (settings). The
read models go together on one connection, after a restart too."""


class Event(NamedTuple):
    """A row of the log, without its bytes."""

    position: int
    stream: str
    version: int
    name: str
    request: str


@dataclass
class Findings:
    """What was found. ``lost`` and ``doubled`` are commands; ``wrong`` is all else."""

    acknowledged: int = 0
    unknown: int = 0
    events: int = 0
    cases: int = 0
    operations: int = 0
    sealed: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything is not as it must be."""
        return bool(self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        named = [("lost", self.lost), ("doubled", self.doubled), ("wrong", self.wrong)]
        return "\n".join(
            f"{name}: {len(each)}\n" + "\n".join(f"  {line}" for line in each[:10])
            for name, each in named
            if each
        )

    def __iadd__(self, other: "Findings") -> "Findings":
        for name, mine in vars(self).items():
            setattr(self, name, mine + getattr(other, name))
        return self


def check(office: Office, *, rebuild: bool = True) -> Findings:
    """Hold everything against the journal, once the clients have stopped."""
    load = office.load
    with office.world.superuser(office.database) as connection:
        log = read_log(connection)
        head = connection.execute("SELECT position FROM log.head").fetchone()
        found = check_journal(load.ops, log)
        found.wrong += check_positions(log, head[0] if head else 0)
        found.sealed, lost_keys = check_keys(connection)
        found.wrong += lost_keys
    found.wrong += check_follower(office.follower.seen, log)
    found.wrong += [*load.wrong, *office.follower.wrong]
    found.wrong += [
        f"I5: case {case}: {why}"
        for case, why in violations(
            [*load.ops, *final_reads(standing(log), time.monotonic())]
        ).items()
    ]
    found.wrong += check_bounds(office)
    if rebuild:
        status, said = office.wangge("rebuild", "--all", "--verify")
        if status:
            found.wrong.append(f"I3: rebuild --verify answered {status}: {said[-1500:]}")
    return found


def read_log(connection: psycopg.Connection) -> list[Event]:
    """The whole log in order of position."""
    rows = connection.execute(
        "SELECT position, stream, version, name, correlation FROM log.event ORDER BY position"
    )
    return [Event(*row) for row in rows]


def check_journal(ops: Sequence[Op], log: Sequence[Event]) -> Findings:
    """I1: acknowledged events are there exactly once, of other commands all or none."""
    by_request: dict[str, list[Event]] = {}
    for event in log:
        by_request.setdefault(event.request, []).append(event)
    found = Findings(events=len(log))
    for op in ops:
        found.operations += 1
        if op.step not in STEPS:
            continue
        wanted = STEPS[op.step].events
        stored = [event for request in op.requests for event in by_request.pop(request, ())]
        names = tuple(event.name for event in stored)
        match op.outcome:
            case Outcome.OK:
                found.acknowledged += 1
                if not stored:
                    found.lost.append(f"I1: {op}, nothing of it is stored")
                elif len(stored) > len(wanted):
                    found.doubled.append(f"I1: {op}, stored: {stored}")
                elif not _as_answered(op, stored):
                    found.wrong.append(f"I1: {op} was answered {op.position}, stored: {stored}")
            case Outcome.REFUSED if stored:
                found.wrong.append(f"I1: refused, but stored: {op}: {stored}")
            case Outcome.MAYBE:
                found.unknown += 1
                if len(names) > len(wanted):
                    found.doubled.append(f"I1: never answered: {op}, stored: {stored}")
                elif stored and names != wanted:
                    found.wrong.append(f"I1: half of {op} is stored: {stored}")
                if stored and not op.case:
                    op.case = stored[0].stream.partition(":")[2]
    phantoms = [
        event
        for events in by_request.values()
        for event in events
        if event.stream.startswith("case:")
    ]
    found.wrong += [f"I1: nobody asked for {event}" for event in phantoms]
    found.cases = len(standing(log))
    return found


def _as_answered(op: Op, stored: Sequence[Event]) -> bool:
    """Whether events stand where and as their command was told."""
    count = len(op.events)
    expected = [
        Event(
            op.position - count + i, f"case:{op.case}", op.version - count + i, name, event.request
        )
        for i, (name, event) in enumerate(zip(op.events, stored, strict=False), 1)
    ]
    return list(stored) == expected and op.events == STEPS[op.step].events


def check_keys(connection: psycopg.Connection) -> tuple[int, list[str]]:
    """I1: what is sealed can be opened: the vault has each key, and it is the one that sealed.

    Returns how many pairs of an event and a key there are.
    """
    rows = connection.execute(
        "SELECT e.position, sealed.key, k.wrapped IS NOT NULL,"
        "       encode(k.commitment, 'base64') = sealed.value"
        " FROM log.event e"
        " CROSS JOIN jsonb_each_text(convert_from(e.data, 'UTF8')::jsonb #> '{sealed,keys}') sealed"
        " LEFT JOIN vault.key k ON k.subject || '#' || k.generation = sealed.key"
    ).fetchall()
    wrong = [
        f"I1: the key {key} of position {position} is {'another one' if there else 'lost'}"
        for position, key, there, same in rows
        if not (there and same)
    ]
    return len(rows), wrong


def check_positions(log: Sequence[Event], head: int) -> list[str]:
    """I2: positions are dense, versions have no hole."""
    wrong = []
    if [event.position for event in log] != list(range(1, head + 1)):
        wrong.append(f"I2: positions are not 1 to {head}: {len(log)} events")
    versions: dict[str, int] = {}
    for event in log:
        if event.version != versions.get(event.stream, 0) + 1:
            wrong.append(f"I2: a hole before {event}")
        versions[event.stream] = event.version
    return wrong


def check_follower(seen: dict[int, tuple[str, int, str]], log: Sequence[Event]) -> list[str]:
    """I2: what a reader was once shown is what the log holds."""
    holds = {event.position: (event.stream, event.version, event.request) for event in log}
    return [
        f"I2: at position {position} a reader saw {event}, the log holds {holds.get(position)}"
        for position, event in seen.items()
        if holds.get(position) != event
    ][:20]


def standing(log: Iterable[Event]) -> dict[str, tuple[int, str]]:
    """Version and state of every case, by the names of its events alone."""
    states = {event: step.to for step in STEPS.values() for event in step.events}
    found: dict[str, tuple[int, str]] = {}
    for event in log:
        kind, _, case = event.stream.partition(":")
        if kind == "case":
            before = found.get(case, (0, "unknown"))[1]
            found[case] = (event.version, states.get(event.name) or before)
    return found


def check_bounds(office: Office) -> list[str]:
    """I11: memory and connections stay within bounds."""
    wrong: list[Any] = []
    if (most := max(office.sizes, default=0)) > MEMORY:
        wrong.append(f"I11: a server held {most:,} bytes")
    most_held = max(office.connected, key=lambda held: sum(held.values()), default={})
    if (count := sum(most_held.values())) > CONNECTED:
        wrong.append(f"I11: {count} connections: {most_held}")
    return wrong
