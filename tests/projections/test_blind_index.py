"""Words are found by numbers that are nothing without the key, however many are made at once."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from projections import blind_index
from projections.blind_index import Index, index_key

KEY = index_key(b"a secret for tests only, 32 bytes")

_WORDS = st.text(
    st.one_of(
        st.sampled_from("王东风路破损Aa1Σσς İı😀\u3000\n\t\x1c\x85"), st.characters(codec="utf-8")
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(st.lists(_WORDS, max_size=4), st.data())
def test_a_text_is_found_by_what_two_neighbours_in_it_are(
    texts: list[str], data: st.DataObject
) -> None:
    """Whatever is kept at hand: each pair has one token, and a space is between two words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blind_index, "KNOWN_PAIRS", data.draw(st.sampled_from([0, 5, 65_536])))
        index = Index(KEY)
        for _ in range(2):
            pairs = {
                word[at : at + 2]
                for text in texts
                for word in text.lower().split()
                for at in range(len(word) - 1)
            }
            expected = sorted(t for pair in pairs for t in Index(KEY).words(pair))
            assert index.words(*texts) == expected
            assert len(set(expected)) == len(pairs)


_PAGES = st.lists(st.one_of(st.just(""), _WORDS, st.text(max_size=40)), max_size=12)


@settings(max_examples=200)
@given(st.lists(_PAGES, min_size=1, max_size=3), st.sampled_from([1, 3, 18]))
def test_many_texts_at_once_give_what_each_gives(pages: list[list[str]], places: int) -> None:
    """Also where pairs drive each other out of the few places there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blind_index, "PLACE_BITS", places)
        index = Index(KEY)
        for texts in [*pages, *pages]:
            expected = [Index(KEY).words(text) for text in texts]
            assert list(map(_unpacked, index.packed(texts))) == expected


@pytest.mark.parametrize("token", [-(1 << 29), -1, 0, (1 << 29) - 1])
def test_any_token_may_come_first(token: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "_token", lambda *_: token << 64 - blind_index.PAIR_BITS)
    _demand_the_same(["ab", "", "ab", "abc"])
    _demand_the_same(["", "a", "ab"])
    _demand_the_same(["a b"])


@pytest.mark.parametrize("texts", [["İİİ", "路灯坏了"], ["\0\0", "a\0\0"]])
def test_letters_that_grow_and_numbers_that_are_zero(texts: list[str]) -> None:
    _demand_the_same(texts)


@pytest.mark.parametrize("together", [1, 2, 7, 1 << 18])
def test_no_more_is_worked_on_together_than_there_is_room_for(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blind_index, "TOGETHER", together)
    _demand_the_same(["楼道堆物", "", "路灯坏了", "a", "路灯", "楼道里堆物"])
    _demand_the_same([])


def _demand_the_same(texts: list[str]) -> None:
    assert list(map(_unpacked, Index(KEY).packed(texts))) == [Index(KEY).words(t) for t in texts]


def test_what_only_asks_or_follows_loads_no_numpy() -> None:
    """It would be 16 MB more of each server, and a tenth of a second of its start."""
    script = (
        "import sys, infra.cli, infra.cli.servers, api.app\n"
        "from projections.blind_index import Index\n"
        "Index(bytes(32)).words('楼道堆物')\n"
        "assert 'numpy' not in sys.modules\n"
        "Index(bytes(32)).packed(['楼道堆物'])\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_only_so_many_tokens_are_kept_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_index, "KNOWN_PAIRS", 5)
    index = Index(KEY)
    index.words("abcdefghijklmnopqrstuvwxyz")
    assert len(index._known) <= 5


def _unpacked(sent: bytes) -> list[int]:
    """The integers of an array as PostgreSQL takes it."""
    return list(Transformer().get_loader(1007, Format.BINARY).load(sent))


def test_the_index_is_nothing_without_its_key() -> None:
    ours, theirs = Index(KEY), Index(index_key(b"another secret of 32 bytes ...."))
    assert ours.words("楼道堆物") == ours.words("楼道堆物", "堆物")
    assert not set(ours.words("楼道堆物")) & set(theirs.words("楼道堆物"))
    assert ours.phone("138 1234 5678") == ours.phone("+8613812345678")
    assert ours.phone("13812345678") != theirs.phone("13812345678")
    # A number is no pair of characters, though both may be written the same.
    assert ours.phone("12") not in ours.words("12")
    with pytest.raises(ValueError, match="16 to 64"):
        Index(b"")
