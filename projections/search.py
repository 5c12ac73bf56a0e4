"""Search, and the masks that lists show (检索与脱敏): the only read model that reads opened events.

It keeps no clear text of a case: masks, and a blind index (``blind_index``). Names of staff stand
in clear, for colleagues are named.

Who is forgotten is wiped here by the event: what stands at an earlier position, wherever the two
are met first. A rebuild after the keys are gone reads ``FORGOTTEN`` where they protected something
and comes to the same bytes: what the event wipes is just what those keys protected up to there, and
what was empty stays empty.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import psycopg
from psycopg import sql

from domain.case import events as e
from domain.history import Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from domain.staff import UserAdded
from projections import masking
from projections.blind_index import Index
from projections.projection import Projection
from projections.shapes import class_of
from projections.tables import Apply, Packed, Stepwise, Table, Texts, case_id

NAME: Final = "search"

SCHEMA: Final = """
CREATE TABLE cases (
    "case"           text COLLATE "C" PRIMARY KEY,
    position         bigint   NOT NULL,
    reporter         text     COLLATE "C",
    place_name       text     NOT NULL,
    description      text     NOT NULL,
    address          text     NOT NULL,
    reporter_name    text     NOT NULL,
    reporter_phone   text     NOT NULL,
    reporter_address text     NOT NULL,
    pairs            integer[] NOT NULL,
    personal_pairs   integer[] NOT NULL,
    phone            bigint
);

CREATE TABLE staff_names (
    "user"   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    name     text   NOT NULL
);

CREATE TABLE forgotten (
    subject  text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);
"""

INDEXES: Final = """
CREATE INDEX cases_pairs ON cases USING gin ((pairs || personal_pairs));
CREATE INDEX cases_phone ON cases (phone) WHERE phone IS NOT NULL;
CREATE INDEX cases_reporter ON cases (reporter) WHERE reporter IS NOT NULL;
"""


@dataclass(slots=True)
class SearchRow:
    """What lists show of a case, masked, and what it is found by.

    ``position`` is where it was reported. ``pairs`` are of what is not personal and outlive the
    person; ``personal_pairs`` of the description and the address; ``phone`` is of the reporter's
    whole number. Lists of pairs are packed in a row that is copied.
    """

    case: str
    position: int
    reporter: str | None
    place_name: str
    description: str
    address: str
    reporter_name: str
    reporter_phone: str
    reporter_address: str
    pairs: list[int] | Packed
    personal_pairs: list[int] | Packed
    phone: int | None


@dataclass(slots=True)
class NameRow:
    """What somebody of the staff is called, and where that was said."""

    user: str
    position: int
    name: str


@dataclass(slots=True)
class Forgotten:
    """``person:`` with an id or ``case:`` with one, forgotten up to a position."""

    subject: str
    position: int


CASES: Final = Table("cases", SearchRow, key=("case",), copied=True, by_row=True)
STAFF_NAMES: Final = Table("staff_names", NameRow, key=("user",))
FORGOTTEN_SUBJECTS: Final = Table("forgotten", Forgotten, key=("subject",))


_READS: Final = {
    e.CaseReported: "case place.name description spot.address reporter.person reporter.name"
    " reporter.phone reporter.address",
    e.CaseFiled: "terms.name_zh terms.name_en",
    e.CaseReclassified: "terms.name_zh terms.name_en",
}


def projection(key: bytes) -> Projection:
    """The read model under a key (``index_key``)."""
    return Projection(
        name=NAME,
        version=3,
        schema=SCHEMA,
        indexes=INDEXES,
        tables=(CASES, STAFF_NAMES, FORGOTTEN_SUBJECTS),
        events=(e.CaseReported, e.CaseFiled, e.CaseReclassified, UserAdded, PersonForgotten),
        apply=_applying(Index(key)),
        settle=settle,
        reads=_READS,
        beside=(),
        opens=True,
    )


def _applying(index: Index) -> Apply:
    @Stepwise
    def apply(
        connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
    ) -> Iterator[None]:
        asked = known = None
        subjects = set[str]()
        if not fresh:
            # A forgetting waits for the rows that others are adding, and they for it, so that one
            # of the two sees the other.
            forgetting = any(isinstance(recorded.event, PersonForgotten) for recorded in page)
            connection.execute(
                "LOCK TABLE forgotten IN EXCLUSIVE MODE"
                if forgetting
                else "LOCK TABLE forgotten IN ROW SHARE MODE"
            )
            cases = {case_id(each) for each in page if each.stream.startswith("case:")}
            subjects = _subjects(page, cases)
            asked = CASES.ask(connection, cases)
            known = connection.execute(_ARE_FORGOTTEN, (Texts(subjects),))
        yield
        rows = {} if asked is None else CASES.asked(asked)
        names: dict[str, NameRow] = {}
        forgotten: dict[str, int] = {}
        said: dict[str, str] = {}
        category: dict[str, tuple[str, ...]] = {}
        for recorded in page:
            event: Any = recorded.event
            kind = class_of(type(event))
            if kind is e.CaseReported:
                rows[event.case] = _reported(index, recorded.position, event)
                said[event.case] = _said(event)
                category[event.case] = ()
            elif kind is UserAdded:
                names[event.user] = NameRow(event.user, recorded.position, event.name)
            elif kind is PersonForgotten:
                for subject in (f"person:{event.person}", *map("case:{}".format, event.cases)):
                    forgotten[subject] = max(recorded.position, forgotten.get(subject, 0))
            else:
                category[case_id(recorded)] = event.terms.name_zh, event.terms.name_en
        named = {
            case: "\n".join((case, row.place_name, *called))
            for case, called in category.items()
            if (row := rows.get(case)) is not None  # else its report was left out
        }
        for case, pairs in _pairs(index, named, fresh):
            rows[case].pairs = pairs
        for case, pairs in _pairs(index, said, fresh):
            rows[case].personal_pairs = pairs
        put = Table.append if fresh else Table.save
        put(CASES, connection, rows.values())
        put(STAFF_NAMES, connection, names.values())
        if forgotten:
            connection.execute(_FORGET, (list(forgotten), list(forgotten.values())))
        # What was there before is wiped already.
        if known is not None and (forgotten or known.fetchall()):
            _wipe(connection, subjects.union(forgotten))

    return apply


def _subjects(page: Sequence[Recorded[Any]], cases: Collection[str]) -> set[str]:
    """Whom a page says anything of."""
    subjects = {f"case:{case}" for case in cases}
    for recorded in page:
        event: Any = recorded.event
        kind = class_of(type(event))
        if kind is e.CaseReported and event.reporter:
            subjects.add(f"person:{event.reporter.person}")
        elif kind is UserAdded:
            subjects.add(f"person:{event.user}")
    return subjects


def settle(connection: psycopg.Connection) -> None:
    """Wipe what is older than a forgetting, wherever it and the forgetting were found."""
    _wipe(connection, None)


_ARE_FORGOTTEN: Final = b"SELECT FROM forgotten WHERE subject = ANY(%s)"

_FORGET: Final = """
    INSERT INTO forgotten AS f
    SELECT * FROM unnest(%s::text[], %s::bigint[]) AS new(subject, position) ORDER BY subject
    ON CONFLICT (subject) DO UPDATE SET position = greatest(f.position, excluded.position)
"""
"""In one order, so that no two wait for each other."""

_WIPE: Final = (
    """
    UPDATE cases t SET description = {description}, address = {address},
      personal_pairs = '{{}}'
    FROM forgotten f
    WHERE f.subject = 'case:' || t."case" AND t.position < f.position AND {which}
    """,
    """
    UPDATE cases t SET reporter_name = {reporter_name}, reporter_phone = {reporter_phone},
      reporter_address = {reporter_address}, phone = NULL
    FROM forgotten f
    WHERE f.subject = 'person:' || t.reporter AND t.position < f.position AND {which}
    """,
    """
    UPDATE staff_names t SET name = {name}
    FROM forgotten f
    WHERE f.subject = 'person:' || t."user" AND t.position < f.position AND {which}
    """,
)


def _wipe(connection: psycopg.Connection, subjects: Collection[str] | None) -> None:
    """Wipe what belongs to some subjects, or to all, as far as they are forgotten."""
    for statement in _wiping(everything=subjects is None):
        connection.execute(statement, None if subjects is None else (Texts(subjects),))


@cache
def _wiping(*, everything: bool) -> list[bytes]:
    which = sql.SQL("true") if everything else sql.SQL("f.subject = ANY(%s)")
    # What was empty had no key, so a rebuild finds it empty too.
    gone = sql.SQL("CASE t.{0} WHEN '' THEN '' ELSE {1} END")
    masks = {
        name: gone.format(sql.Identifier(name), sql.Literal(FORGOTTEN))
        for name in (
            "description", "address", "reporter_name", "reporter_phone", "reporter_address", "name",
        )
    }  # fmt: skip
    return [sql.SQL(each).format(which=which, **masks).as_bytes(None) for each in _WIPE]


def _said(event: Any) -> str:
    """What a report says, as far as it can be read."""
    texts = event.description, event.spot.address
    return "\n".join([text for text in texts if text not in _UNREADABLE])


def _pairs(
    index: Index, texts: Mapping[str, str], fresh: bool
) -> Iterator[tuple[str, list[int] | Packed]]:
    """The tokens of the text of each case."""
    found = index.packed(texts.values()) if fresh else map(index.words, texts.values())
    return zip(texts, found, strict=True)


def _reported(index: Index, position: int, event: Any) -> SearchRow:
    """The row of a case as it was reported, still without its pairs."""
    who, where, what = event.reporter, event.spot.address, event.description
    return SearchRow(
        case=event.case,
        position=position,
        reporter=who.person if who else None,
        place_name=event.place.name,
        description=masking.snippet(what),
        address=masking.address(where),
        reporter_name=masking.name(who.name) if who else "",
        reporter_phone=masking.phone(who.phone) if who else "",
        reporter_address=masking.address(who.address) if who else "",
        pairs=[],
        personal_pairs=[],
        phone=index.phone(who.phone) if who and who.phone not in _UNREADABLE else None,
    )


_UNREADABLE: Final = (SEALED, FORGOTTEN)
