"""Tiers and paths: where a matter is, and who stands above whom.

A path names a territory by the ids from the district down, each followed by a slash:
``"d1/s1/c2/g3/"`` is grid g3 of community c2. The closing slash makes "lies within" a plain prefix
test, in Python and in SQL (``territory ^@ scope``), that ``c1`` and ``c10`` cannot confuse.
"""

import re
from enum import IntEnum, StrEnum
from typing import Final

EVERYWHERE: Final = ""
"""The path above all districts: a prefix of every other path."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Tier(IntEnum):
    """Where a case is handled (层级), from the smallest up."""

    GRID = 1
    COMMUNITY = 2
    SUBDISTRICT = 3
    DISTRICT = 4

    @property
    def word(self) -> str:
        """The tier's name in requests and answers: ``grid`` … ``district``."""
        return self.name.lower()


TOP: Final = Tier.DISTRICT


class Relation(StrEnum):
    """How a territory stands to the one a person works in."""

    OWN = "own"
    BELOW = "below"
    ABOVE = "above"
    ELSEWHERE = "elsewhere"


def is_id(text: str) -> bool:
    """Whether a text can name a territory: lower-case letters, digits, ``_``, ``-``; at most 64."""
    return _ID.fullmatch(text) is not None


def depth(path: str) -> int:
    """How many territories deep a path is: 1 for a district, 4 for a grid, 0 for everywhere."""
    return path.count("/")


def tier_of(path: str) -> Tier:
    """The tier of the territory a path names; ``EVERYWHERE`` and longer paths name none."""
    assert 1 <= depth(path) <= 4, path
    return Tier(5 - depth(path))


def parent_of(path: str) -> str:
    """The territory directly above; that of a district is ``EVERYWHERE``."""
    assert path.endswith("/"), path
    return path[: path.rstrip("/").rfind("/") + 1]


def id_of(path: str) -> str:
    """The last id of a path: ``g3`` of ``d1/s1/c2/g3/``."""
    return path.rstrip("/").rpartition("/")[2]


def at_tier(path: str, tier: Tier) -> str | None:
    """The territory of a tier that a path lies in, or None where the path ends above that tier."""
    wanted = 5 - tier
    if depth(path) < wanted:
        return None
    return "".join(part + "/" for part in path.split("/")[:wanted])


def within(path: str, scope: str) -> bool:
    """Whether a territory is the scope's own or lies below it."""
    return path.startswith(scope)


def relation(own: str, target: str) -> Relation:
    """How ``target`` stands to somebody who works in ``own``."""
    if own == target:
        return Relation.OWN
    if target.startswith(own):
        return Relation.BELOW
    if own.startswith(target):
        return Relation.ABOVE
    return Relation.ELSEWHERE
