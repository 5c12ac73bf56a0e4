"""Search, and the masks that lists show (检索与脱敏): the only read model that reads opened events.

It keeps no clear text of a case: masks, and a blind index. A token is 30 bits of a keyed hash of
two neighbouring characters, or 64 of that of a whole phone number: who has the key finds. Who has
stolen the table without it sees which cases share characters, and could guess the commonest by
counting. Names of staff stand in clear, for colleagues are named.

Who is forgotten is wiped here by the event: what stands at an earlier position, wherever the two
are met first. A rebuild after the keys are gone reads ``FORGOTTEN`` where they protected something
and comes to the same bytes: what the event wipes is just what those keys protected up to there, and
what was empty stays empty.
"""

import hashlib
import hmac
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
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
from projections.projection import Projection
from projections.shapes import class_of
from projections.tables import Apply, Stepwise, Table, Texts, case_id

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
    whole number.
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
    pairs: list[int]
    personal_pairs: list[int]
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


PAIR_BITS: Final = 30
"""What is kept of 64 bits for a pair of characters. Two pairs share a token once in a thousand
million, so a pair shares that of any of a hundred thousand others once in ten thousand: nothing
beside what else is found by pairs, a case that has all of them but in no such word. Python puts
numbers of so many bits in order in two thirds of the time, and PostgreSQL keeps them in half the
room. Of a phone number, found alone among millions, all bits are kept.
"""


KNOWN_PAIRS: Final = 65_536
"""How many tokens are kept at hand: a district's words are made of some thousand characters."""


KNOWN_NAMES: Final = 8_192
"""The same of a place and a category together: some 10 MB."""


_UTF_32: Final = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"

_ACROSS: Final = 1 << PAIR_BITS
"""In the place of the token of a pair with a space in it: it is no token."""


class _Pairs(dict[int, int]):
    """The token of each pair of characters, which is eight bytes of a text as a number."""

    def __init__(self, token: Callable[[bytes, str], int]) -> None:
        super().__init__()
        self._token = token

    def __missing__(self, pair: int) -> int:
        text = pair.to_bytes(8, sys.byteorder).decode(_UTF_32, "surrogatepass")
        across = any(map(str.isspace, text))
        token = _ACROSS if across else self._token(b"pair:", text) >> 64 - PAIR_BITS
        self[pair] = token
        return token


class Index:
    """Makes tokens out of words: the same words give the same tokens under the same key only."""

    def __init__(self, key: bytes) -> None:
        """``key`` of 16 to 64 bytes, see ``index_key``."""
        if not 16 <= len(key) <= 64:
            raise ValueError("the key of the search index is of 16 to 64 bytes")
        self._hash = hashlib.blake2b(key=key, digest_size=8)
        self._pairs = _Pairs(self._token)
        self._named: dict[tuple[str, ...], tuple[frozenset[int], list[int]]] = {}

    def names(self, case: str, *texts: str) -> list[int]:
        """As ``words`` of the number of a case and of names, which come together again and again:
        what they give is kept at hand, in order."""
        known = self._named.get(texts)
        if known is None:
            if len(self._named) >= KNOWN_NAMES:
                self._named.clear()
            tokens = self._tokens(*texts)
            known = self._named[texts] = frozenset(tokens), sorted(tokens)
        found = known[1].copy()
        found += self._tokens(case).difference(known[0])
        found.sort()
        return found

    def words(self, *texts: str | None) -> list[int]:
        """The tokens of some texts, each once, sorted: in the order of the text they would tell
        whoever has stolen the table much more of it."""
        return sorted(self._tokens(*filter(None, texts)))

    def _tokens(self, *texts: str) -> set[int]:
        """The tokens of all pairs of neighbouring characters, without those across a space."""
        if len(self._pairs) > KNOWN_PAIRS:
            self._pairs.clear()
        # Each eight bytes are a pair: those from the first character on, and from the second.
        units = memoryview("\n".join(texts).lower().encode(_UTF_32, "surrogatepass"))
        even, odd = len(units) // 8 * 8, (len(units) - 4) // 8 * 8 + 4
        found = set(map(self._pairs.__getitem__, units[:even].cast("Q")))
        found.update(map(self._pairs.__getitem__, units[4:odd].cast("Q")))
        found.discard(_ACROSS)
        return found

    def phone(self, text: str) -> int | None:
        """The token of a whole phone number, however it is written; None where there is none."""
        digits = masking.normal_phone(text)
        return self._token(b"phone:", digits) if digits else None

    def _token(self, kind: bytes, text: str) -> int:
        made = self._hash.copy()  # which has taken in the key: half of what it takes
        made.update(kind + text.encode())
        return int.from_bytes(made.digest(), signed=True)


def index_key(secret: bytes) -> bytes:
    """The key of the index, out of the installation's secret: who learns one knows no other.

    With another secret nothing is found any more until the read model is rebuilt.
    """
    return hmac.new(secret, b"search index", hashlib.sha256).digest()


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
        named: dict[str, tuple[str, ...]] = {}
        for recorded in page:
            event: Any = recorded.event
            kind = class_of(type(event))
            if kind is e.CaseReported:
                rows[event.case] = _reported(index, recorded.position, event)
                named[event.case] = ()
            elif kind is UserAdded:
                names[event.user] = NameRow(event.user, recorded.position, event.name)
            elif kind is PersonForgotten:
                for subject in (f"person:{event.person}", *map("case:{}".format, event.cases)):
                    forgotten[subject] = max(recorded.position, forgotten.get(subject, 0))
            else:
                named[case_id(recorded)] = event.terms.name_zh, event.terms.name_en
        for case, category in named.items():
            if (row := rows.get(case)) is not None:  # else its report was left out
                row.pairs = index.names(case, row.place_name, *category)
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


def _reported(index: Index, position: int, event: Any) -> SearchRow:
    who, where, what = event.reporter, event.spot.address, event.description
    words = [text for text in (what, where) if text not in _UNREADABLE]
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
        pairs=[],  # once it is known what the page says of it
        personal_pairs=index.words(*words),
        phone=index.phone(who.phone) if who and who.phone not in _UNREADABLE else None,
    )


_UNREADABLE: Final = (SEALED, FORGOTTEN)
