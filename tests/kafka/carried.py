"""What a topic holds, held against the log it carries (invariant I4)."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Final

import psycopg

from infra.kafka_relay import _page
from infra.kafka_topic import Entry, Received, Topic, Turn, received

Held = Mapping[int, Sequence[Received]]
"""What each partition holds, in order."""

ENOUGH: Final = 5
"""So many violations of a kind are named."""


def held(topic: Topic) -> Held:
    """Everything that a topic holds."""
    found: dict[int, list[Received]] = {}
    count = topic.count()
    with closing(topic.consumer()) as consumer:
        parts = topic.all(count)
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        consumer.seek_to_beginning(*parts)
        while any(consumer.position(part) < ends[part] for part in parts):
            for part, records in consumer.poll(timeout_ms=1_000, max_records=10_000).items():
                found.setdefault(part.partition, []).extend(map(received, records))
    return found


def logged(connection: psycopg.Connection) -> list[Entry]:
    """The whole log."""
    entries: list[Entry] = []
    while page := _page(connection, entries[-1].position if entries else 0, 10_000):
        entries += page
    return entries


def violations(log: Sequence[Entry], topic: Held) -> list[str]:
    """Where a topic is not what the log says: nothing if it holds every event, nothing else, each
    case in order, and if whoever follows the rule of ``Turn`` reads just the log."""
    every = [received.entry for records in topic.values() for received in records]
    wrong = [f"the log's {e.position} is lost" for e in _first(set(log) - set(every))]
    wrong += [f"{e.position} is not the log's" for e in _first(set(every) - set(log))]
    wrong += _disorder(topic)
    taken: list[Entry] = []
    for records in topic.values():
        turn = Turn()
        taken += [r.entry for r in records if turn.takes(r.entry.position, r.previous)]
    if sorted(taken) != sorted(log):
        wrong.append(f"a reader takes {len(taken)} events of {len(log)}")
    return wrong


def _disorder(topic: Held) -> list[str]:
    wrong = []
    last: dict[str, tuple[int, int]] = {}
    for partition, records in topic.items():
        for _, _, entry in records:
            before, where = last.get(entry.stream, (0, partition))
            if where != partition:
                wrong.append(f"{entry.stream} is in partitions {where} and {partition}")
            elif entry.version > before + 1:
                wrong.append(f"{entry.stream} comes to {entry.version} after {before}")
            last[entry.stream] = max(before, entry.version), partition
    return wrong[:ENOUGH]


def _first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries)[:ENOUGH]
