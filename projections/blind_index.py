"""The blind index (盲索引) of search: words as numbers, which say nothing without the key.

A token is 30 bits of a keyed hash of two neighbouring characters, or 64 of that of a whole phone
number: who has the key finds. Who has stolen the table without it sees which cases share
characters, and could guess the commonest by counting.
"""

import hashlib
import hmac
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from projections import masking
from projections.tables import Packed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAIR_BITS: Final = 30
"""What is kept of 64 bits for a pair of characters. Two pairs share a token once in a thousand
million, so a pair shares that of any of a hundred thousand others once in ten thousand: nothing
beside what else is found by pairs, a case that has all of them but in no such word. PostgreSQL
keeps them in half the room. Of a phone number, found alone among millions, all bits are kept.
"""

KNOWN_PAIRS: Final = 65_536
"""How many tokens are kept at hand: a district's words are made of some thousand characters."""

PLACE_BITS: Final = 18
"""There are two to the power of it places for tokens, four for each of ``KNOWN_PAIRS``: 3 MB."""

TOGETHER: Final = 1 << 18
"""How many characters are worked on together: some 20 MB while they are, however many come."""

_UTF_32: Final = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"

_ACROSS: Final = 1 << PAIR_BITS
"""In the place of the token of a pair with a space in it: it is no token."""


class Index:
    """Makes tokens out of words: the same words give the same tokens under the same key only."""

    def __init__(self, key: bytes) -> None:
        """``key`` of 16 to 64 bytes, see ``index_key``."""
        if not 16 <= len(key) <= 64:
            raise ValueError("the key of the search index is of 16 to 64 bytes")
        self._hash = hashlib.blake2b(key=key, digest_size=8)
        self._known = _Pairs(self._token)

    def words(self, *texts: str) -> list[int]:
        """The tokens of all pairs of neighbouring characters in some texts, without those across a
        space, each once, sorted: in the order of the text they would tell whoever has stolen the
        table much more of it."""
        # Each eight bytes are a pair: those from the first character on, and from the second.
        units = memoryview("\n".join(texts).lower().encode(_UTF_32, "surrogatepass"))
        even, odd = len(units) // 8 * 8, (len(units) - 4) // 8 * 8 + 4
        found = set(map(self._known.__getitem__, units[:even].cast("Q")))
        found.update(map(self._known.__getitem__, units[4:odd].cast("Q")))
        found.discard(_ACROSS)
        return sorted(found)

    def packed(self, texts: Iterable[str]) -> list[Packed]:
        """The ``words`` of each of many texts, ready for COPY: in less than a third of the time.

        For builds, not for a page now and then: the first call takes a tenth of a second and 20 MB.
        Not for several threads at once.
        """
        found: list[Packed] = []
        some: list[str] = []
        length = 0
        for text in texts:
            some.append(text)
            length += len(text)
            if length >= TOGETHER:
                found += self._packed(some)
                some, length = [], 0
        return found + self._packed(some)

    def _packed(self, texts: list[str]) -> list[Packed]:
        import numpy as np

        lowered = [text.lower() for text in texts]
        units = "\n".join(lowered).encode(_UTF_32, "surrogatepass")
        # Each eight bytes are a pair, and the next one begins four later.
        pairs = np.ndarray(max(len(units) // 4 - 1, 0), np.uint64, units, strides=(4,)).copy()
        tokens = self._places.tokens(pairs)
        lengths = np.fromiter(map(len, lowered), np.int64, len(lowered)) + 1
        owners = np.repeat(np.arange(len(lowered), dtype=np.int64), lengths)[: len(pairs)]
        # Put in order by whose they are and then by the token, which is less than 31 bits of them.
        keys = ((owners << 32) + tokens)[tokens != _ACROSS]
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1 << 32) != 0]
        ends = np.searchsorted(keys, (np.arange(1, len(lowered) + 1) << 32) - (1 << 31)) * 8
        elements = np.empty((len(keys), 2), ">i4")
        elements[:, 0] = 4
        elements[:, 1] = keys.astype(np.int32)
        sent = elements.tobytes()
        return [Packed.integers(sent[start:end]) for start, end in pairwise([0, *ends.tolist()])]

    def phone(self, text: str) -> int | None:
        """The token of a whole phone number, however it is written; None where there is none."""
        digits = masking.normal_phone(text)
        return self._token(b"phone:", digits) if digits else None

    def _token(self, kind: bytes, text: str) -> int:
        made = self._hash.copy()  # which has taken in the key: half of what it takes
        made.update(kind + text.encode())
        return int.from_bytes(made.digest(), signed=True)

    @cached_property
    def _places(self) -> "_Places":
        return _Places(self._known)


class _Pairs(dict[int, int]):
    """The token of each pair of characters, which is eight bytes of a text as a number."""

    def __init__(self, token: Callable[[bytes, str], int]) -> None:
        super().__init__()
        self._token = token

    def __missing__(self, pair: int) -> int:
        if len(self) >= KNOWN_PAIRS:
            self.clear()
        text = pair.to_bytes(8, sys.byteorder).decode(_UTF_32, "surrogatepass")
        across = any(map(str.isspace, text))
        token = _ACROSS if across else self._token(b"pair:", text) >> 64 - PAIR_BITS
        self[pair] = token
        return token


class _Places:
    """The same for many pairs at once: the token of a pair has one place, which its number says,
    and is asked for again where another pair has taken it."""

    def __init__(self, known: _Pairs) -> None:
        import numpy as np

        self._known = known
        self._pairs = np.full(1 << PLACE_BITS, -1, np.int64).view(np.uint64)  # -1 is no pair
        self._tokens = np.zeros(1 << PLACE_BITS, np.int32)

    def tokens(self, pairs: "NDArray[np.uint64]") -> "NDArray[np.int32]":
        """The token of each pair, or ``_ACROSS``."""
        import numpy as np

        places = _place(pairs)
        found = self._tokens[places]
        missing = np.flatnonzero(self._pairs[places] != pairs)
        if len(missing):
            new, which = np.unique(pairs[missing], return_inverse=True)
            made = np.array([self._known[pair] for pair in new.tolist()], np.int32)
            found[missing] = made[which]
            # Of several with one place the last has it, in both.
            places = _place(new)
            self._pairs[places], self._tokens[places] = new, made
        return found


def _place(pairs: "NDArray[np.uint64]") -> "NDArray[np.intp]":
    """The uppermost bits of a product that each bit of the number has its part in."""
    import numpy as np

    return (pairs * 0x9E3779B97F4A7C15 >> 64 - PLACE_BITS).astype(np.intp)


def index_key(secret: bytes) -> bytes:
    """The key of the index, out of the installation's secret: who learns one knows no other.

    With another secret nothing is found any more until the read model is rebuilt.
    """
    return hmac.new(secret, b"search index", hashlib.sha256).digest()
