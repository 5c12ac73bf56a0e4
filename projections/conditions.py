"""Which rows a query is about, and how SQL says so."""

from dataclasses import dataclass
from datetime import datetime
from math import cos, radians
from typing import Any, Final, Literal, TypeAlias

from psycopg import sql

from domain.deadlines import Automatic
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, at_tier
from domain.privacy import Purpose
from domain.roles import Scope
from projections.blind_index import Index
from projections.todo import ToDo
from projections.worklist import CaseRow

Sql: TypeAlias = sql.SQL | sql.Composed

Order = Literal["due", "updated", "reported"]

RELATED_DAYS: Final = 30
RELATED_METRES: Final = 300.0
"""What is so near in time and place may have to do with a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFilter:
    """Which cases, in which order. ``person`` handles or is to; ``sent_back`` may be ``any``.

    ``text`` is words of two characters and more, ``phone`` the reporter's whole number in any
    notation. ``due`` sorts by the adjusted due, cases without one last; the other orders by the
    latest first.
    """

    territory: str | None = None
    tier: Tier | None = None
    states: tuple[str, ...] = ()
    person: str | None = None
    unit: str | None = None
    called: str | None = None
    asked: str | None = None
    category: str | None = None
    size: str | None = None
    due_before: datetime | None = None
    parent: str | None = None
    sent_back: str | None = None
    todo: ToDo | None = None
    text: str | None = None
    phone: str | None = None
    order: Order = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries; ``since`` and ``until`` bound when it happened, the end not included.

    ``correlation`` is what the entries of one request have in common."""

    actor: str | None = None
    object: str | None = None
    action: str | None = None
    correlation: str | None = None
    territory: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingFilter:
    """Which of what will happen to cases by itself."""

    territory: str | None = None
    kind: Automatic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFilter:
    """Which looks at personal data; ``person`` reported the case that was looked at."""

    actor: str | None = None
    case: str | None = None
    person: str | None = None
    purpose: Purpose | None = None
    territory: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def in_scope(seen: Scope) -> Sql:
    """Cases in a scope: by place or holder, or the person's or the person's unit's own."""
    if "" in seen.territories:
        return sql.SQL("true")
    person = sql.Literal(seen.person)
    parts: list[Sql] = [sql.SQL("c.reporter = {0} OR handler = {0} OR worker = {0}").format(person)]
    if seen.unit is not None:
        parts.append(
            sql.SQL("unit = {} OR called @> {}").format(
                sql.Literal(seen.unit), sql.Literal([seen.unit])
            )
        )
    for path in seen.territories:
        parts += [any_within("territory", (path,)), any_within("holder", (path,))]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(parts))


def in_scope_today(seen: Scope) -> Sql:
    """Whether a case of the past is in scope as it stands now."""
    if EVERYWHERE in seen.territories:
        return sql.SQL("true")
    return sql.SQL('c."case" IN (SELECT c."case" FROM worklist.cases c WHERE {})').format(
        in_scope(seen)
    )


def any_within(column: str, paths: tuple[str, ...]) -> Sql:
    """Whether a path lies in one of some territories; in none of none."""
    if "" in paths:
        return sql.SQL("true")
    if not paths:
        return sql.SQL("false")
    name = sql.Identifier(*column.split("."))
    return sql.SQL("({})").format(
        sql.SQL(" OR ").join(sql.SQL("{} ^@ {}").format(name, sql.Literal(p)) for p in paths)
    )


def equals(column: str, value: Any) -> Sql:
    return sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value))


def equals_hashed(column: str, value: str) -> Sql:
    """The same, found by an index of hashes."""
    return sql.SQL("hashtextextended({0}, 0) = hashtextextended({1}, 0) AND {0} = {1}").format(
        sql.Identifier(column), sql.Literal(value)
    )


def within_window(column: str, since: datetime | None, until: datetime | None) -> list[Sql]:
    name = sql.Identifier(*column.split("."))
    bounds: list[Sql] = []
    if since is not None:
        bounds.append(sql.SQL("{} >= {}").format(name, sql.Literal(since)))
    if until is not None:
        bounds.append(sql.SQL("{} < {}").format(name, sql.Literal(until)))
    return bounds


def of_cases(wanted: CaseFilter) -> list[Sql]:
    conditions: list[Sql] = []
    if wanted.todo is not None:
        conditions.append(wanted.todo.condition())
    if wanted.sent_back == "any":
        conditions.append(sql.SQL("sent_back IS NOT NULL"))
    elif wanted.sent_back is not None:
        conditions.append(equals("sent_back", wanted.sent_back))
    if wanted.territory is not None:
        conditions.append(any_within("territory", (wanted.territory,)))
    if wanted.tier is not None:
        conditions.append(equals("tier", int(wanted.tier)))
    if wanted.states:
        conditions.append(sql.SQL("state = ANY({})").format(sql.Literal(list(wanted.states))))
    if wanted.person is not None:
        conditions.append(
            sql.SQL("(handler = {0} OR worker = {0})").format(sql.Literal(wanted.person))
        )
    if wanted.called is not None:
        conditions.append(sql.SQL("called @> {}").format(sql.Literal([wanted.called])))
    for column in ("unit", "asked", "category", "size", "parent"):
        value = getattr(wanted, column)
        if value is not None:
            conditions.append(equals(column, value))
    if wanted.due_before is not None:
        conditions.append(sql.SQL("due < {}").format(sql.Literal(wanted.due_before)))
    return conditions


def matching(index: Index, wanted: CaseFilter) -> list[Sql]:
    """Every pair of characters of every word stands in the case's words; the number is its own.

    Pairs that stand apart are found too: without the words themselves that cannot be told. Who
    types the whole number of a case means that case, not those of like digits.
    """
    conditions: list[Sql] = []
    if wanted.text is not None:
        words = wanted.text.split()
        if not words or any(len(word) < 2 for word in words):
            raise Refused("query.text_short")
        conditions.append(
            sql.SQL("(s.pairs || s.personal_pairs) @> {}::integer[]").format(
                sql.Literal(index.words(*words))
            )
        )
        conditions.append(_NUMBERED.format(sql.Literal([*words, *map(str.upper, words)])))
    if wanted.phone is not None:
        token = index.phone(wanted.phone)
        if token is None:
            raise Refused("query.bad_phone")
        conditions.append(sql.SQL("s.phone = {}").format(sql.Literal(token)))
    return conditions


_NUMBERED: Final = sql.SQL(
    'COALESCE(s."case" = '
    '(SELECT min("case") FROM search.cases WHERE "case" = ANY ({}::text[])), true)'
)
"""The case whose number stands among the words; all where none does."""


def near(card: CaseRow) -> Sql:
    """In the same place; or, of the same community, in a square about the same spot."""
    here = equals("territory", card.territory)
    community = at_tier(card.territory, Tier.COMMUNITY)
    if card.longitude is None or card.latitude is None or community is None:
        return here
    # A degree of longitude is shorter by the cosine of the latitude.
    north = RELATED_METRES / 111_320
    east = north / max(cos(radians(card.latitude)), 0.01)
    return sql.SQL(
        "({} OR (longitude BETWEEN {} AND {} AND latitude BETWEEN {} AND {})) AND {}"
    ).format(
        here,
        *map(sql.Literal, (card.longitude - east, card.longitude + east)),
        *map(sql.Literal, (card.latitude - north, card.latitude + north)),
        any_within("territory", (community,)),
    )


def reported_by(person: str) -> Sql:
    """Whether a look was at a case that somebody reported."""
    return sql.SQL(
        '"case" IN (SELECT c."case" FROM worklist.cases c WHERE c.reporter = {})'
    ).format(sql.Literal(person))
