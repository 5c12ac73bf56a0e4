"""A long log, quickly: whole lives of cases, interleaved as an office lives them.

The events are those that the rules decide for some scripts, spread over grids and days, sealed with
a key for each case as ever; only that they go into ``log.event`` by COPY instead of one by one.
"""

import base64
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg

from domain.calendar import office_time
from domain.case.commands import Reporter, Spot
from domain.catalogue import SEED
from domain.places import at_tier
from infra.codec import Codec
from infra.vault import Vault
from tests import samples as s

BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)
EVERY: Final = timedelta(minutes=1)
"""How often a case is reported."""

TOGETHER: Final = 2_000
"""How many cases are in hand at the same time."""

GRIDS: Final = [
    f"d1/s{street}/c{community}/g{grid}/"
    for street in range(8)
    for community in range(10)
    for grid in range(12)
]

RESIDENTS: Final = 50_000
"""How many people report: some of them again, and the same."""

CATEGORIES: Final = [category.code for category in SEED]
OFTEN: Final = (
    88, 84, 65, 56, 40, 35, 33, 28, 27, 27, 26, 26, 25, 19, 18, 18, 17, 16, 15, 15, 13, 13, 13,
)  # fmt: skip
"""How often the most frequent kinds of complaint came among a thousand (NYC Open Data, 311 service
requests of June 2018): with a single kind, each matter would seem to come back nearby."""

_COPY: Final = (
    "COPY log.event (position, stream, version, name, at, recorded_at, actor, roles, territory,"
    " correlation, causation, data) FROM STDIN (FORMAT binary)"
)
_TYPES: Final = (
    "int8", "text", "int4", "text", "timestamptz", "timestamptz", "text", "text", "text", "text",
    "text", "bytea",
)  # fmt: skip


class Step(NamedTuple):
    """An event as it is stored."""

    stream: str
    version: int
    name: str
    at: datetime
    territory: str
    data: bytes


def fill(dsn: str, codec: Codec, vault: Vault, events: int, seed: int = 1) -> int:
    """Append about so many events of cases to a log; returns its last position.

    ``dsn`` is the superuser's, for COPY is not among the rights of those who append.
    """
    chance = random.Random(seed)
    every = lives()
    cases = round(events * len(every) / sum(map(len, every)))
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT position FROM log.head").fetchone()
        assert row is not None
        position = int(row[0])
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for first in range(0, cases, TOGETHER):
                numbers = range(first, min(first + TOGETHER, cases))
                for step in steps(codec, vault, every, numbers, chance):
                    position += 1
                    copy.write_row(
                        (
                            position,
                            *step[:3],
                            step.at,
                            step.at,
                            "li",
                            "grid_worker",
                            step.territory,
                            f"{position:032x}",
                            f"{position:016x}",
                            step.data,
                        )
                    )
        connection.execute("UPDATE log.head SET position = %s", (position,))
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE log.event")
    return position


def steps(
    codec: Codec, vault: Vault, every: list[tuple[Any, ...]], numbers: range, chance: random.Random
) -> Iterator[Step]:
    """The steps of some cases, each with one of some lives, as an office could have taken them."""
    names = {number: _id(number, chance) for number in numbers}
    people = {number: f"p-{chance.randrange(RESIDENTS)}" for number in numbers}
    keys = vault.provide(
        {f"case:{name}" for name in names.values()}
        | {f"person:{person}" for person in people.values()}
    )
    found = []
    for number, case in names.items():
        life, shift = chance.choice(every), BEGIN + number * EVERY - s.NOW
        place, start = chance.randrange(len(GRIDS)), chance.random()
        grid, spot = GRIDS[place], _spot(place, chance)
        (category,) = chance.choices(CATEGORIES, OFTEN)
        for version, event in enumerate(life, 1):
            named = _named(event, case, grid, people[number], spot, category)
            # In UTC, as servers say when something was done.
            at = (event.at + shift).astimezone(UTC)
            moved = replace(event, at=at, territory=grid, **named)
            stream = f"case:{case}"
            name, data = codec.encode(moved, stream, version, keys)
            start += chance.random()
            found.append((start, Step(stream, version, name, moved.at, grid, data)))
    found.sort(key=lambda step: step[0])
    return (step for _, step in found)


def _id(number: int, chance: random.Random) -> str:
    """As the office gives them: streams lie in the log about in the order of their names."""
    day = office_time(BEGIN + number * EVERY).date()
    return f"{day:%Y%m%d}-{base64.b32encode(chance.randbytes(5)).decode()}"


def _spot(place: int, chance: random.Random) -> tuple[float, float]:
    """Somewhere in a grid, which is some 400 metres wide: longitude and latitude."""
    east, north = place % 32 + chance.random(), place // 32 + chance.random()
    return round(116.3 + 0.0047 * east, 6), round(39.8 + 0.0036 * north, 6)


def _named(
    event: Any, case: str, grid: str, person: str, spot: tuple[float, float], category: str
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if hasattr(event, "case"):
        changed = {
            "case": case,
            "place": replace(event.place, path=grid),
            "reporter": replace(event.reporter, person=person),
            "spot": replace(event.spot, longitude=spot[0], latitude=spot[1]),
        }
    if hasattr(event, "terms"):
        changed["terms"] = replace(event.terms, category=category)
    if hasattr(event, "holder"):
        changed["holder"] = at_tier(grid, event.tier)
    return changed


def note(minute: int) -> Any:
    """A note while the case is in hand."""
    return s.note(at=s.after(minutes=minute))


def lives() -> list[tuple[Any, ...]]:
    """What can become of a case: ten events on average."""
    report = s.report(
        by=s.ACCEPTOR,
        description="三号楼二单元楼道堆放旧家具，影响通行，希望尽快处理",
        spot=Spot(address="幸福路3号阳光小区3栋2单元", longitude=116.4, latitude=39.9),
        reporter=Reporter(person="p-1", name="王小明", phone="13812345678", address="幸福路3号"),
    )
    begin = (report, s.file(), s.dispatch(), s.accept(), note(5), note(6))
    end = (s.resolve(), s.check(), s.close(), s.call_back(at=s.after(minutes=13)))
    up = s.escalate(at=s.after(minutes=7))
    return [
        tuple(s.happened(commands))
        for commands in (
            (*begin, *end, s.evaluate()),
            (*begin, up, note(8), note(9)),
            (*begin, *end),
            (*begin, note(7), note(8), *end),
            begin,
        )
    ]
