"""Reads what is told of cases' events out of the log, without opening or decoding the rest."""

from typing import Any, Final, NamedTuple

import msgspec

from domain.news import STATE_AFTER, News
from domain.places import Tier
from domain.staff import STREAM as STAFF
from infra.codec import NAMES

CASES: Final = "case:"
"""How the streams of cases begin."""

QUERY: Final = (
    "SELECT position, stream, name, at, territory, CASE WHEN stream ^@ 'case:' THEN data END"
    " FROM log.event WHERE position > %s AND position <= %s ORDER BY position"
)
"""All events after a position up to another; only those of cases with their bytes."""

_STATES: Final = {name: STATE_AFTER.get(event) for name, event in NAMES.items()}


class _Where(msgspec.Struct, gc=False):
    """What is read of a case's event."""

    tier: int
    episode: int


_where: Final = msgspec.json.Decoder(_Where).decode


class Told(NamedTuple):
    """A stretch of the log. ``staff``: somebody's rights may have changed in it."""

    news: list[News]
    staff: bool


def told(rows: list[tuple[Any, ...]]) -> Told:
    """What the rows of ``QUERY`` say."""
    news, staff = [], False
    for position, stream, name, at, territory, data in rows:
        if data is None:
            staff = staff or stream == STAFF
            continue
        where = _where(data)
        news.append(
            News(
                position=position,
                name=name,
                case=stream.removeprefix(CASES),
                territory=territory,
                tier=Tier(where.tier),
                episode=where.episode,
                state=_STATES.get(name),
                at=at,
            )
        )
    return Told(news, staff)
