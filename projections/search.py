"""Search, and the masks that lists show (检索与脱敏): the only read model that reads opened events.

It keeps no clear text of a case: masks, and a blind index. A token is eight bytes of a keyed hash,
of two neighbouring characters or of a whole phone number: who has the key finds. Who has stolen the
table without it sees which cases share characters, and could guess the commonest by counting.
Names of staff stand in clear, for colleagues are named.

Who is forgotten is wiped here by the event. A rebuild after the keys are gone reads ``FORGOTTEN``
where they protected something and comes to the same bytes: what the event wipes is just what those
keys protected up to there, and what was empty stays empty.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import psycopg

from domain.case import events as e
from domain.history import Recorded
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from domain.staff import UserAdded
from projections import masking
from projections.runner import Projection
from projections.tables import Table, case_id

NAME: Final = "search"

SCHEMA: Final = """
CREATE TABLE cases (
    "case"           text COLLATE "C" PRIMARY KEY,
    reporter         text     COLLATE "C",
    place_name       text     NOT NULL,
    description      text     NOT NULL,
    address          text     NOT NULL,
    reporter_name    text     NOT NULL,
    reporter_phone   text     NOT NULL,
    reporter_address text     NOT NULL,
    tokens           bigint[] NOT NULL,
    personal         bigint[] NOT NULL,
    phone            bigint
);
CREATE INDEX cases_tokens ON cases USING gin ((tokens || personal));
CREATE INDEX cases_phone ON cases (phone) WHERE phone IS NOT NULL;
CREATE INDEX cases_reporter ON cases (reporter) WHERE reporter IS NOT NULL;

CREATE TABLE staff_names (
    "user" text COLLATE "C" PRIMARY KEY,
    name   text NOT NULL
);
"""


@dataclass(slots=True)
class SearchRow:
    """What lists show of a case, masked, and what it is found by.

    ``tokens`` are of what is not personal and outlive the person; ``personal`` are of the
    description and the address; ``phone`` is of the reporter's whole number.
    """

    case: str
    reporter: str | None
    place_name: str
    description: str
    address: str
    reporter_name: str
    reporter_phone: str
    reporter_address: str
    tokens: list[int]
    personal: list[int]
    phone: int | None


@dataclass(slots=True)
class NameRow:
    """What somebody of the staff is called."""

    user: str
    name: str


CASES: Final = Table("cases", SearchRow, key=("case",))
STAFF_NAMES: Final = Table("staff_names", NameRow, key=("user",))


class Index:
    """Makes tokens out of words: the same words give the same tokens under the same key only."""

    def __init__(self, key: bytes) -> None:
        """``key`` of 16 to 64 bytes, see ``index_key``."""
        if not 16 <= len(key) <= 64:
            raise ValueError("the key of the search index is of 16 to 64 bytes")
        self._key = key
        # A district's words are made of some thousand characters: most pairs are known already.
        self._pair = lru_cache(maxsize=65_536)(partial(self._token, b"pair:"))

    def words(self, *texts: str | None) -> list[int]:
        """The tokens of some texts, sorted, each once."""
        return sorted({self._pair(pair) for text in texts if text for pair in pairs(text.lower())})

    def phone(self, text: str) -> int | None:
        """The token of a whole phone number, however it is written; None where there is none."""
        digits = masking.normal_phone(text)
        return self._token(b"phone:", digits) if digits else None

    def _token(self, kind: bytes, text: str) -> int:
        digest = hashlib.blake2b(kind + text.encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, signed=True)


def index_key(secret: bytes) -> bytes:
    """The key of the index, out of the installation's secret: who learns one knows no other.

    With another secret nothing is found any more until the read model is rebuilt.
    """
    return hmac.new(secret, b"search index", hashlib.sha256).digest()


def pairs(text: str) -> set[str]:
    """The different pairs of neighbouring characters, without those across a space."""
    return {
        text[i : i + 2] for i in range(len(text) - 1) if not any(map(str.isspace, text[i : i + 2]))
    }


def projection(key: bytes) -> Projection:
    """The read model under a key (``index_key``)."""
    return Projection(
        name=NAME,
        version=1,
        schema=SCHEMA,
        tables=(CASES, STAFF_NAMES),
        events=(e.CaseReported, e.CaseFiled, e.CaseReclassified, UserAdded, PersonForgotten),
        apply=_applying(Index(key)),
        opens=True,
    )


def _applying(
    index: Index,
) -> Callable[[psycopg.Connection, Sequence[Recorded[Any]]], None]:
    def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
        forgotten = [r.event for r in page if isinstance(r.event, PersonForgotten)]
        rows = _cases_of(connection, page, forgotten)
        names = STAFF_NAMES.load(connection, {event.person for event in forgotten})
        for recorded in page:
            match recorded.event:
                case e.CaseReported() as event:
                    rows[event.case] = _reported(index, event)
                case e.CaseFiled(terms=terms) | e.CaseReclassified(terms=terms):
                    row = rows[case_id(recorded)]
                    row.tokens = index.words(row.case, row.place_name, terms.name_zh, terms.name_en)
                case UserAdded(user=user, name=name):
                    names[user] = NameRow(user, name)
                case PersonForgotten() as event:
                    _forget(rows.values(), names, event)
        CASES.save(connection, list(rows.values()))
        STAFF_NAMES.save(connection, list(names.values()))

    return apply


def _cases_of(
    connection: psycopg.Connection,
    page: Sequence[Recorded[Any]],
    forgotten: Sequence[PersonForgotten],
) -> dict[str, SearchRow]:
    """The rows that a page touches: of its cases, and of all cases of those it forgets."""
    wanted = {case_id(r) for r in page if r.stream.startswith("case:")}
    wanted |= {case for event in forgotten for case in event.cases}
    if forgotten:
        reported = connection.execute(
            'SELECT "case" FROM cases WHERE reporter = ANY(%s)', ([f.person for f in forgotten],)
        )
        wanted |= {row[0] for row in reported}
    return CASES.load(connection, wanted)


def _reported(index: Index, event: e.CaseReported) -> SearchRow:
    who, where = event.reporter, event.spot.address
    return SearchRow(
        case=event.case,
        reporter=who.person if who else None,
        place_name=event.place.name,
        description=masking.snippet(event.description),
        address=masking.address(where),
        reporter_name=masking.name(who.name) if who else "",
        reporter_phone=masking.phone(who.phone) if who else "",
        reporter_address=masking.address(who.address) if who else "",
        tokens=index.words(event.case, event.place.name),
        personal=index.words(*filter(_readable, (event.description, where))),
        phone=index.phone(who.phone) if who and _readable(who.phone) else None,
    )


def _readable(text: str) -> bool:
    return text not in (SEALED, FORGOTTEN)


def _forget(rows: Iterable[SearchRow], names: dict[str, NameRow], event: PersonForgotten) -> None:
    cases = set(event.cases)
    for row in rows:
        if row.case in cases:
            row.description, row.address = _gone(row.description), _gone(row.address)
            row.personal = []
        if row.reporter == event.person:
            row.reporter_name = _gone(row.reporter_name)
            row.reporter_phone = _gone(row.reporter_phone)
            row.reporter_address = _gone(row.reporter_address)
            row.phone = None
    if event.person in names:
        names[event.person].name = _gone(names[event.person].name)


def _gone(mask: str) -> str:
    """What is left of a mask. What was empty had no key, so a rebuild finds it empty too."""
    return mask and FORGOTTEN
