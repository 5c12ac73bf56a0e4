"""Paths and tiers: where a matter is, and how two territories stand to each other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.places import (
    EVERYWHERE,
    TOP,
    Relation,
    Tier,
    at_tier,
    depth,
    id_of,
    is_id,
    parent_of,
    relation,
    tier_of,
    within,
)

GRID = "d1/s1/c1/g1/"

# Few ids, one the beginning of another, so that paths often meet and nearly meet.
ids = st.sampled_from(["a", "a1", "a10", "b"])
paths = st.lists(ids, max_size=4).map(lambda parts: "".join(f"{part}/" for part in parts))
territories = paths.filter(bool)


def test_tiers_go_up_from_the_grid_to_the_top() -> None:
    assert [tier.word for tier in sorted(Tier)] == ["grid", "community", "subdistrict", "district"]
    assert max(Tier) is TOP


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("g1", True),
        ("0", True),
        ("a_b-c", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("-a", False),
        ("_a", False),
        ("G1", False),
        ("g/1", False),
        ("g1\n", False),
        ("网格", False),
    ],
)
def test_an_id_is_short_and_safe_in_a_path(text: str, is_one: bool) -> None:
    assert is_id(text) is is_one


@pytest.mark.parametrize(
    ("path", "deep", "tier", "parent", "last"),
    [
        ("d1/", 1, Tier.DISTRICT, EVERYWHERE, "d1"),
        ("d1/s1/", 2, Tier.SUBDISTRICT, "d1/", "s1"),
        ("d1/s1/c1/", 3, Tier.COMMUNITY, "d1/s1/", "c1"),
        (GRID, 4, Tier.GRID, "d1/s1/c1/", "g1"),
    ],
)
def test_a_path_tells_its_tier_and_parent(
    path: str, deep: int, tier: Tier, parent: str, last: str
) -> None:
    assert (depth(path), tier_of(path), parent_of(path), id_of(path)) == (deep, tier, parent, last)


@pytest.mark.parametrize("path", [EVERYWHERE, "d1/s1/c1/g1/x1/"])
def test_what_is_no_territory_has_no_tier(path: str) -> None:
    with pytest.raises(AssertionError):
        tier_of(path)


@pytest.mark.parametrize("path", [EVERYWHERE, "d1"])
def test_what_is_no_territory_has_no_parent(path: str) -> None:
    with pytest.raises(AssertionError):
        parent_of(path)


@pytest.mark.parametrize(
    ("path", "tier", "expected"),
    [
        (GRID, Tier.GRID, GRID),
        (GRID, Tier.COMMUNITY, "d1/s1/c1/"),
        (GRID, Tier.SUBDISTRICT, "d1/s1/"),
        (GRID, Tier.DISTRICT, "d1/"),
        ("d1/s1/", Tier.SUBDISTRICT, "d1/s1/"),
        ("d1/s1/", Tier.COMMUNITY, None),
        (EVERYWHERE, Tier.DISTRICT, None),
    ],
)
def test_a_path_is_cut_at_a_tier(path: str, tier: Tier, expected: str | None) -> None:
    assert at_tier(path, tier) == expected


@pytest.mark.parametrize(
    ("own", "target", "expected"),
    [
        ("d1/s1/", "d1/s1/", Relation.OWN),
        ("d1/s1/", "d1/s1/c1/", Relation.BELOW),
        ("d1/s1/", GRID, Relation.BELOW),
        ("d1/s1/", "d1/", Relation.ABOVE),
        ("d1/s1/", EVERYWHERE, Relation.ABOVE),
        ("d1/s1/", "d1/s2/", Relation.ELSEWHERE),
        ("d1/s1/", "d1/s10/", Relation.ELSEWHERE),
        ("d1/s10/", "d1/s1/", Relation.ELSEWHERE),
        ("d1/s1/", "d2/s1/", Relation.ELSEWHERE),
        (EVERYWHERE, EVERYWHERE, Relation.OWN),
        (EVERYWHERE, "d1/", Relation.BELOW),
    ],
)
def test_how_a_territory_stands_to_ones_own(own: str, target: str, expected: Relation) -> None:
    assert relation(own, target) is expected


@settings(max_examples=60)
@given(territories, paths)
def test_to_lie_within_is_to_have_the_scope_on_the_way_up(path: str, scope: str) -> None:
    way = [path]
    while way[-1] != EVERYWHERE:
        way.append(parent_of(way[-1]))
    assert within(path, scope) == (scope in way)
    assert len(way) == depth(path) + 1


@settings(max_examples=60)
@given(paths, paths)
def test_a_relation_seen_from_the_other_side(one: str, other: str) -> None:
    turned = {Relation.ABOVE: Relation.BELOW, Relation.BELOW: Relation.ABOVE}
    seen = relation(one, other)
    assert relation(other, one) is turned.get(seen, seen)
    assert within(other, one) == (seen in {Relation.OWN, Relation.BELOW})


@settings(max_examples=60)
@given(territories, st.sampled_from(Tier))
def test_what_a_path_is_cut_to_is_of_that_tier_and_around_it(path: str, tier: Tier) -> None:
    cut = at_tier(path, tier)
    if cut is None:
        assert tier < tier_of(path)
    else:
        assert tier_of(cut) is tier
        assert within(path, cut)
