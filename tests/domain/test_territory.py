"""The tree of territories: what may change, from which day, and what stays known for ever."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from domain import territory
from domain.calendar import office_time
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, is_id, parent_of, tier_of
from domain.roles import Actor, Grant, Role, system
from domain.territory import (
    AssignWorker,
    Boundary,
    Command,
    Count,
    CreateTerritory,
    Event,
    GridRedrawn,
    GridsMerged,
    GridSplit,
    HouseholdsRecorded,
    MergeGrids,
    NewGrid,
    Node,
    Part,
    Place,
    RecordHouseholds,
    RedrawGrid,
    ReleaseWorker,
    RenameTerritory,
    SplitGrid,
    TerritoryCreated,
    TerritoryRenamed,
    Version,
    WorkerAssigned,
    WorkerReleased,
)
from tests.specification import Specification

given = Specification(territory.decide, territory.evolve, territory.initial).given

START: Final = date(2026, 1, 1)
MAY: Final = date(2026, 5, 1)
JUNE: Final = date(2026, 6, 1)
NOW: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY: Final = timedelta(days=1)

C1: Final = "d1/s1/c1/"
G1: Final = "d1/s1/c1/g1/"
G2: Final = "d1/s1/c1/g2/"

CHIEF: Final = Actor("chief", (Grant(Role.ADMINISTRATOR, EVERYWHERE),))
MAP: Final = "map:g1-2026"
SQUARE: Final = (((113.0, 28.0), (113.1, 28.0), (113.1, 28.1), (113.0, 28.1), (113.0, 28.0)),)


def administrator(path: str) -> Actor:
    return Actor("u1", (Grant(Role.ADMINISTRATOR, path),))


# what happened


def created(path: str, *, on: date = START, boundary: Boundary | None = None) -> TerritoryCreated:
    return TerritoryCreated(
        at=NOW,
        territory=path,
        tier=tier_of(path),
        name=f"name of {path}",
        boundary=boundary,
        effective=on,
    )


TREE: Final = tuple(created(path) for path in ("d1/", "d1/s1/", C1, G1, G2))


def renamed(path: str, name: str, *, on: date, version: int = 2) -> TerritoryRenamed:
    return TerritoryRenamed(
        at=NOW,
        territory=path,
        tier=tier_of(path),
        version=version,
        name=name,
        former=f"name of {path}",
        effective=on,
    )


def counted(path: str, households: int, residents: int, *, on: date = START) -> HouseholdsRecorded:
    count = Count(households=households, residents=residents, as_of=on)
    return HouseholdsRecorded(at=NOW, territory=path, name=f"name of {path}", count=count)


def new(path: str, count: Count | None = None) -> NewGrid:
    return NewGrid(territory=path, name=f"name of {path}", boundary=None, count=count)


def was_split(*, on: date) -> GridSplit:
    return GridSplit(
        at=NOW,
        territory=G1,
        name=f"name of {G1}",
        into=(
            new(f"{C1}g3/", Count(households=30, residents=70, as_of=on)),
            new(f"{C1}g4/", Count(households=20, residents=40, as_of=on)),
        ),
        effective=on,
    )


def were_merged(*, on: date, count: Count | None = None) -> GridsMerged:
    return GridsMerged(
        at=NOW, territory=C1, merged=(G1, G2), into=new(f"{C1}g9/", count), effective=on
    )


def assigned(path: str, worker: str) -> WorkerAssigned:
    return WorkerAssigned(at=NOW, territory=path, name=f"name of {path}", worker=worker)


def released(path: str, worker: str) -> WorkerReleased:
    return WorkerReleased(at=NOW, territory=path, name=f"name of {path}", worker=worker)


# what is asked


def create(path: str, **other: Any) -> CreateTerritory:
    asked = CreateTerritory(
        by=CHIEF,
        at=NOW,
        id=path.split("/")[-2],
        tier=tier_of(path),
        parent=parent_of(path),
        name=f"name of {path}",
        effective=START,
    )
    return replace(asked, **other)


def rename(path: str, name: str, *, on: date = MAY, by: Actor = CHIEF) -> RenameTerritory:
    return RenameTerritory(by=by, at=NOW, path=path, name=name, effective=on)


def redraw(
    path: str, boundary: Boundary | None, *, on: date = MAY, by: Actor = CHIEF
) -> RedrawGrid:
    return RedrawGrid(by=by, at=NOW, path=path, boundary=boundary, effective=on)


def part(id_: str, households: int, residents: int, boundary: Boundary | None = None) -> Part:
    return Part(
        id=id_,
        name=f"name of {C1}{id_}/",
        boundary=boundary,
        households=households,
        residents=residents,
    )


PARTS: Final = (part("g3", 30, 70), part("g4", 20, 40))


def split(
    path: str = G1, into: tuple[Part, ...] = PARTS, *, on: date = MAY, by: Actor = CHIEF
) -> SplitGrid:
    return SplitGrid(by=by, at=NOW, path=path, into=into, effective=on)


def merge(*paths: str, into: str = "g9", on: date = MAY, by: Actor = CHIEF) -> MergeGrids:
    name = f"name of {C1}{into}/"
    return MergeGrids(by=by, at=NOW, paths=paths, id=into, name=name, effective=on)


def assign(
    path: str, worker: str = "li.wei", *, at: datetime = NOW, by: Actor = CHIEF
) -> AssignWorker:
    return AssignWorker(by=by, at=at, path=path, worker=worker)


def release(path: str, worker: str = "li.wei", *, by: Actor = CHIEF) -> ReleaseWorker:
    return ReleaseWorker(by=by, at=NOW, path=path, worker=worker)


def count(
    path: str, households: int, residents: int, *, on: date = START, by: Actor = CHIEF
) -> RecordHouseholds:
    return RecordHouseholds(
        by=by, at=NOW, path=path, households=households, residents=residents, as_of=on
    )


# creating


@pytest.mark.parametrize("path", ["d2/", "d1/s2/", "d1/s1/c2/", "d1/s1/c1/g3/"])
def test_a_territory_is_created_one_tier_below_its_parent(path: str) -> None:
    given(*TREE).when(create(path)).then(created(path))


def test_a_territory_may_begin_on_a_day_ahead() -> None:
    given(*TREE).when(create(f"{C1}g3/", effective=JUNE)).then(created(f"{C1}g3/", on=JUNE))


@pytest.mark.parametrize("boundary", [MAP, SQUARE])
def test_a_grid_may_be_created_with_its_boundary(boundary: Boundary) -> None:
    path = f"{C1}g3/"
    given(*TREE).when(create(path, boundary=boundary)).then(created(path, boundary=boundary))


def test_a_name_is_kept_without_the_spaces_around_it() -> None:
    outcome = given().when(create("d1/", name="  雨花区 "))
    assert [event.name for event in outcome.events if isinstance(event, TerritoryCreated)] == [
        "雨花区"
    ]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (create(f"{C1}g3/", id="G 3"), "territory.bad_id"),
        (create(f"{C1}g3/", id=""), "territory.bad_id"),
        (create(f"{C1}g3/", name="  "), "territory.bad_name"),
        (create(f"{C1}g3/", name="名" * 101), "territory.bad_name"),
        (create(f"{C1}g3/", tier=Tier.COMMUNITY), "territory.wrong_tier"),
        (create(f"{C1}g3/", parent="d1/s1/"), "territory.wrong_tier"),
        (create(f"{C1}g3/", parent=G1), "territory.wrong_tier"),
        (create(f"{C1}g3/", parent=EVERYWHERE), "territory.wrong_tier"),
        (create(f"{C1}g3/", parent="d1/s1/c7/"), "territory.unknown"),
        (create(f"{C1}g3/", parent="d1/s1/c1"), "territory.unknown"),
        (create(f"{C1}g3/", effective=START - DAY), "territory.not_in_force"),
        (create("d1/s1/c2/", boundary=MAP), "territory.not_a_grid"),
        (create("d1/"), "territory.exists"),
        (create(G1), "territory.exists"),
    ],
)
def test_a_territory_that_does_not_fit_is_refused(asked: CreateTerritory, code: str) -> None:
    given(*TREE).when(asked).refused(code)


@pytest.mark.parametrize(
    "boundary",
    [
        "",
        " ",
        (),
        ((),),
        (((113.0, 28.0), (113.1, 28.0), (113.0, 28.0)),),
        (((113.0, 28.0), (113.1, 28.0), (113.1, 28.1), (113.0, 28.1)),),
        (((28.0, 113.0), (28.0, 113.1), (28.1, 113.1), (28.0, 113.0)),),
        (((181.0, 28.0), (113.1, 28.0), (113.1, 28.1), (181.0, 28.0)),),
        (((113.0, float("nan")), (113.1, 28.0), (113.1, 28.1), (113.0, 28.0)),),
        (SQUARE[0], ()),
    ],
)
def test_a_boundary_that_encloses_nothing_is_refused(boundary: Boundary) -> None:
    given(*TREE).when(create(f"{C1}g3/", boundary=boundary)).refused("territory.bad_boundary")
    given(*TREE).when(redraw(G1, boundary)).refused("territory.bad_boundary")


def test_an_id_is_never_used_again_after_its_grid_has_ended() -> None:
    given(*TREE, was_split(on=MAY)).when(create(G1, effective=JUNE)).refused("territory.exists")


# renaming


@pytest.mark.parametrize("path", ["d1/", "d1/s1/", C1, G1])
def test_every_tier_can_be_renamed_from_a_day_on(path: str) -> None:
    given(*TREE).when(rename(path, "new")).then(renamed(path, "new", on=MAY))


def test_the_version_before_a_change_stays_known() -> None:
    state = given(*TREE, renamed(G1, "new", on=MAY)).state
    assert state.resolve(G1, MAY - DAY) == Place(G1, 1, f"name of {G1}")
    assert state.resolve(G1, MAY) == Place(G1, 2, "new")
    assert state.node(G1).name == "new"


def test_a_change_on_the_first_day_of_a_version_leaves_it_no_day_but_its_number() -> None:
    state = given(*TREE, renamed(G1, "new", on=MAY), renamed(G1, "newer", on=MAY, version=3)).state
    assert [version.number for version in state.node(G1).versions] == [1, 2, 3]
    assert state.resolve(G1, MAY) == Place(G1, 3, "newer")
    assert state.resolve(G1, MAY - DAY).version == 1


def test_the_same_name_again_changes_nothing() -> None:
    given(*TREE).when(rename(G1, f" name of {G1}")).then()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (rename(f"{C1}g7/", "new"), "territory.unknown"),
        (rename(EVERYWHERE, "new"), "territory.unknown"),
        (rename("d1/s1//", "new"), "territory.unknown"),
        (rename(f"{G1}x/", "new"), "territory.unknown"),
        (rename(G1, ""), "territory.bad_name"),
        (rename(G1, "new", on=START - DAY), "territory.too_early"),
    ],
)
def test_a_renaming_that_does_not_fit_is_refused(asked: RenameTerritory, code: str) -> None:
    given(*TREE).when(asked).refused(code)


def test_no_change_can_hold_from_before_the_newest_version() -> None:
    history: tuple[Event, ...] = (*TREE, renamed(G1, "new", on=JUNE))
    given(*history).when(rename(G1, "newer", on=MAY)).refused("territory.too_early")
    given(*history).when(redraw(G1, MAP, on=MAY)).refused("territory.too_early")
    given(*history).when(split(on=MAY)).refused("territory.too_early")
    given(*history).when(merge(G1, G2, on=MAY)).refused("territory.too_early")


# redrawing


HOLED: Final = (*SQUARE, tuple((x / 10 + 101.745, y / 10 + 25.245) for x, y in SQUARE[0]))
"""A square with a small one cut out around its middle, (113.05, 28.05)."""


@pytest.mark.parametrize(
    ("boundary", "longitude", "latitude", "inside"),
    [
        (SQUARE, 113.05, 28.05, True),
        (SQUARE, 113.11, 28.05, False),
        (SQUARE, 112.99, 28.05, False),
        (SQUARE, 113.05, 28.11, False),
        (HOLED, 113.05, 28.05, False),
        (HOLED, 113.02, 28.05, True),
        (MAP, 113.05, 28.05, False),
        (None, 113.05, 28.05, False),
    ],
)
def test_a_boundary_encloses_what_is_in_its_ring_and_in_no_hole(
    boundary: Boundary | None, longitude: float, latitude: float, inside: bool
) -> None:
    assert territory.encloses(boundary, longitude, latitude) is inside


def test_a_point_on_a_shared_border_lies_in_one_grid() -> None:
    east = (((113.1, 28.0), (113.2, 28.0), (113.2, 28.1), (113.1, 28.1), (113.1, 28.0)),)
    assert sum(territory.encloses(grid, 113.1, 28.05) for grid in (SQUARE, east)) == 1


def test_the_grid_at_a_point_is_the_one_of_that_day() -> None:
    drawn = GridRedrawn(at=NOW, territory=G2, version=2, name="g2", boundary=SQUARE, effective=MAY)
    tree = territory.evolve(reduce(territory.evolve, TREE, territory.initial), drawn)
    point = (113.05, 28.05)
    assert [node.path for node in tree.around(*point, "d1/", MAY)] == [G2]
    assert tree.around(*point, "d1/", MAY - DAY) == ()
    assert tree.around(*point, G1, MAY) == ()
    assert tree.around(113.5, 28.05, "d1/", MAY) == ()


@pytest.mark.parametrize("boundary", [MAP, SQUARE])
def test_a_grid_is_redrawn_from_a_day_on(boundary: Boundary) -> None:
    given(*TREE).when(redraw(G1, boundary)).then(
        GridRedrawn(
            at=NOW,
            territory=G1,
            version=2,
            name=f"name of {G1}",
            boundary=boundary,
            effective=MAY,
        )
    )


def test_a_redrawn_grid_has_another_version_of_the_same_name() -> None:
    start = given(*TREE)
    state = reduce(territory.evolve, start.when(redraw(G1, MAP)).events, start.state)
    assert state.node(G1).versions == (
        Version(number=1, valid_from=START, valid_to=MAY, name=f"name of {G1}", boundary=None),
        Version(number=2, valid_from=MAY, name=f"name of {G1}", boundary=MAP),
    )


def test_the_same_boundary_again_changes_nothing() -> None:
    given(*TREE).when(redraw(G1, None)).then()


def test_a_boundary_may_become_unknown_again() -> None:
    bounded = created(f"{C1}g3/", boundary=MAP)
    outcome = given(*TREE, bounded).when(redraw(f"{C1}g3/", None))
    assert [event.boundary for event in outcome.events if isinstance(event, GridRedrawn)] == [None]


def test_only_a_known_grid_can_be_redrawn() -> None:
    given(*TREE).when(redraw(C1, MAP)).refused("territory.not_a_grid")
    given(*TREE).when(redraw(f"{C1}g7/", MAP)).refused("territory.unknown")
    given(*TREE).when(redraw(G1, MAP, on=START - DAY)).refused("territory.too_early")


# splitting


def test_a_grid_is_split_from_a_day_on() -> None:
    given(*TREE).when(split()).then(was_split(on=MAY))
    given(*TREE, counted(G1, 50, 110)).when(split()).then(was_split(on=MAY))


def test_before_the_day_of_a_split_the_old_grid_counts_and_then_the_new_ones() -> None:
    state = given(*TREE, was_split(on=MAY)).state
    assert state.resolve(G1, MAY - DAY) == Place(G1, 1, f"name of {G1}")
    assert state.resolve(f"{C1}g3/", MAY) == Place(f"{C1}g3/", 1, f"name of {C1}g3/")
    assert [grid.path for grid in state.grids(C1, MAY - DAY)] == [G1, G2]
    assert [grid.path for grid in state.grids(C1, MAY)] == [G2, f"{C1}g3/", f"{C1}g4/"]
    assert state.node(f"{C1}g3/").count == Count(households=30, residents=70, as_of=MAY)


def test_a_case_in_a_split_grid_is_told_where_to_go() -> None:
    state = given(*TREE, was_split(on=MAY)).state
    with pytest.raises(Refused) as refused:
        state.resolve(G1, MAY)
    assert refused.value.code == "territory.not_in_force"
    assert f"{C1}g3/, {C1}g4/" in refused.value.en
    assert f"{C1}g3/, {C1}g4/" in refused.value.zh


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (split(into=()), "territory.too_few_parts"),
        (split(into=PARTS[:1]), "territory.too_few_parts"),
        (split(into=(PARTS[0], PARTS[0])), "territory.too_few_parts"),
        (split(into=(PARTS[0], part("g2", 20, 40))), "territory.exists"),
        (split(into=(PARTS[0], part("g1", 20, 40))), "territory.exists"),
        (split(into=(PARTS[0], part("G4", 20, 40))), "territory.bad_id"),
        (split(into=(PARTS[0], part("g4", -1, 40))), "territory.bad_count"),
        (split(into=(PARTS[0], part("g4", 20, -1))), "territory.bad_count"),
        (split(into=(PARTS[0], part("g4", 21, 40))), "territory.shares_differ"),
        (split(into=(PARTS[0], part("g4", 20, 41))), "territory.shares_differ"),
        (split(into=(PARTS[0], part("g4", 20, 40, ""))), "territory.bad_boundary"),
        (split(C1), "territory.not_a_grid"),
        (split(f"{C1}g7/"), "territory.unknown"),
        (split("g1"), "territory.unknown"),
        (split(on=START - DAY), "territory.too_early"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(asked: SplitGrid, code: str) -> None:
    given(*TREE, counted(G1, 50, 110)).when(asked).refused(code)


def test_a_part_needs_a_name() -> None:
    nameless = Part(id="g4", name="", households=20, residents=40)
    given(*TREE).when(split(into=(PARTS[0], nameless))).refused("territory.bad_name")


# merging


def test_grids_are_merged_from_a_day_on() -> None:
    given(*TREE).when(merge(G1, G2)).then(were_merged(on=MAY))


def test_a_merged_grid_has_the_sum_of_the_counts_as_old_as_the_oldest() -> None:
    total = Count(households=80, residents=200, as_of=START)
    given(*TREE, counted(G1, 50, 110), counted(G2, 30, 90, on=START + DAY)).when(
        merge(G1, G2)
    ).then(were_merged(on=MAY, count=total))


def test_where_one_grid_was_not_counted_the_merged_one_is_not() -> None:
    given(*TREE, counted(G1, 50, 110)).when(merge(G1, G2)).then(were_merged(on=MAY))


def test_merged_grids_point_at_the_one_that_takes_their_place() -> None:
    state = given(*TREE, were_merged(on=MAY)).state
    assert [state.node(path).successors for path in (G1, G2)] == [(f"{C1}g9/",)] * 2
    assert [grid.path for grid in state.grids(EVERYWHERE, MAY)] == [f"{C1}g9/"]
    assert [grid.path for grid in state.grids(EVERYWHERE, MAY - DAY)] == [G1, G2]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (merge(), "territory.not_siblings"),
        (merge(G1), "territory.not_siblings"),
        (merge(G1, G1), "territory.not_siblings"),
        (merge(G1, G2, G1), "territory.not_siblings"),
        (merge(G1, "d1/s1/c2/g1/"), "territory.not_siblings"),
        (merge(C1, "d1/s1/c2/"), "territory.not_a_grid"),
        (merge(G1, f"{C1}g7/"), "territory.unknown"),
        (merge(G1, G2, into="g2"), "territory.exists"),
        (merge(G1, G2, into="g.9"), "territory.bad_id"),
        (merge(G1, G2, on=START - DAY), "territory.too_early"),
    ],
)
def test_a_merge_that_does_not_fit_is_refused(asked: MergeGrids, code: str) -> None:
    history = (*TREE, created("d1/s1/c2/"), created("d1/s1/c2/g1/"))
    given(*history).when(asked).refused(code)


@pytest.mark.parametrize(
    "asked",
    [
        rename(G1, "new", on=JUNE),
        redraw(G1, MAP, on=JUNE),
        redraw(G1, MAP, on=START),
        split(into=(part("g5", 0, 0), part("g6", 0, 0)), on=JUNE),
        merge(G1, G2, on=JUNE),
    ],
)
@pytest.mark.parametrize("end", [were_merged(on=MAY), was_split(on=MAY)], ids=["merge", "split"])
def test_nothing_changes_in_a_grid_whose_end_is_decided(asked: Command, end: Event) -> None:
    given(*TREE, end).when(asked).refused("territory.not_in_force")


# workers


def test_a_worker_takes_up_a_grid_and_leaves_it() -> None:
    given(*TREE).when(assign(G1)).then(assigned(G1, "li.wei"))
    given(*TREE, assigned(G1, "li.wei")).when(release(G1)).then(released(G1, "li.wei"))


def test_who_works_there_already_is_not_assigned_twice() -> None:
    given(*TREE, assigned(G1, "li.wei")).when(assign(G1)).then()


def test_who_does_not_work_there_cannot_be_released() -> None:
    given(*TREE, assigned(G1, "li.wei"), released(G1, "li.wei")).when(release(G1)).refused(
        "territory.not_assigned"
    )
    given(*TREE).when(release(f"{C1}g7/")).refused("territory.unknown")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (assign(C1), "territory.not_a_grid"),
        (assign(f"{C1}g7/"), "territory.unknown"),
        (assign(G1, "Li Wei"), "staff.bad_id"),
    ],
)
def test_an_assignment_that_does_not_fit_is_refused(asked: AssignWorker, code: str) -> None:
    given(*TREE).when(asked).refused(code)


def test_the_last_day_of_a_grid_is_reckoned_in_the_offices_time() -> None:
    ending = given(*TREE, was_split(on=MAY))
    midnight = datetime(2026, 4, 30, 16, tzinfo=UTC)  # 1 May, 0:00 in Shanghai
    before = midnight - timedelta(seconds=1)
    assert ending.when(assign(G1, at=before)).events
    ending.when(assign(G1, at=midnight)).refused("territory.not_in_force")


def test_a_worker_can_be_assigned_before_a_grid_begins_and_released_after_it_has_ended() -> None:
    split_grid: tuple[Event, ...] = (*TREE, assigned(G1, "li.wei"), was_split(on=MAY))
    given(*split_grid).when(assign(f"{C1}g3/")).then(assigned(f"{C1}g3/", "li.wei"))
    given(*split_grid).when(release(G1)).then(released(G1, "li.wei"))


def test_the_workers_of_a_territory_are_those_of_its_grids_in_force() -> None:
    state = given(
        *TREE,
        assigned(G1, "li.wei"),
        assigned(G2, "wang.fang"),
        assigned(G2, "li.wei"),
        was_split(on=MAY),
        assigned(f"{C1}g3/", "zhao.min"),
    ).state
    assert state.workers(G1, MAY - DAY) == {"li.wei"}
    assert state.workers(G1, MAY) == set()
    assert state.workers("d1/", MAY - DAY) == {"li.wei", "wang.fang"}
    assert state.workers("d1/", MAY) == {"li.wei", "wang.fang", "zhao.min"}


# households


def test_the_households_of_a_grid_are_recorded_as_of_a_day() -> None:
    given(*TREE).when(count(G1, 50, 110)).then(counted(G1, 50, 110))
    given(*TREE, counted(G1, 50, 110)).when(count(G1, 51, 0, on=START + DAY)).then(
        counted(G1, 51, 0, on=START + DAY)
    )


def test_a_count_of_the_same_day_corrects_and_the_same_count_changes_nothing() -> None:
    given(*TREE, counted(G1, 50, 110)).when(count(G1, 50, 111)).then(counted(G1, 50, 111))
    given(*TREE, counted(G1, 50, 110)).when(count(G1, 50, 110)).then()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (count(G1, -1, 110, on=START + DAY), "territory.bad_count"),
        (count(G1, 50, -1, on=START + DAY), "territory.bad_count"),
        (count(G1, 50, 110, on=START), "territory.outdated_count"),
        (count(G1, 50, 110, on=office_time(NOW).date() + DAY), "territory.count_ahead"),
        (count(G1, 50, 110, on=START - DAY), "territory.not_in_force"),
        (count(C1, 50, 110), "territory.not_a_grid"),
        (count(f"{C1}g7/", 50, 110), "territory.unknown"),
    ],
)
def test_a_count_that_does_not_fit_is_refused(asked: RecordHouseholds, code: str) -> None:
    given(*TREE, counted(G1, 49, 108, on=START + DAY)).when(asked).refused(code)


def test_nobody_is_counted_in_a_grid_that_has_ended() -> None:
    given(*TREE, was_split(on=START + DAY)).when(count(G1, 50, 110, on=START + DAY)).refused(
        "territory.not_in_force"
    )


# who may


ASKED: Final = {
    "create a district": (create("d2/"), EVERYWHERE),
    "create a community": (create("d1/s1/c2/"), "d1/s1/"),
    "create a grid": (create(f"{C1}g3/"), C1),
    "rename": (rename(C1, "new"), C1),
    "redraw": (redraw(G1, MAP), G1),
    "split": (split(), C1),
    "merge": (merge(G1, G2), C1),
    "assign": (assign(G1), G1),
    "release": (release(G2, "wang.fang"), G2),
    "count": (count(G1, 50, 110), G1),
}


@pytest.mark.parametrize(("command", "ground"), ASKED.values(), ids=ASKED.keys())
def test_a_change_takes_an_administrator_of_the_territory_it_happens_in(
    command: Command, ground: str
) -> None:
    start = given(*TREE, assigned(G2, "wang.fang"))
    assert start.when(replace(command, by=administrator(ground))).events
    if ground != EVERYWHERE:
        assert start.when(replace(command, by=administrator(parent_of(ground)))).events
        below_or_beside = [f"{ground}x/", f"{parent_of(ground)}x/"]
    else:
        below_or_beside = ["d1/", "d2/"]
    for path in below_or_beside:
        start.when(replace(command, by=administrator(path))).refused("role.not_permitted")
    worker = Actor("u2", (Grant(Role.HANDLER, ground),))
    start.when(replace(command, by=worker)).refused("role.not_permitted")


def test_the_system_sets_up_the_tree_and_a_grid_worker_counts_the_own_grid() -> None:
    given().when(replace(create("d1/"), by=system("setup"))).then(created("d1/"))
    own = Actor("li.wei", (Grant(Role.GRID_WORKER, G1),))
    given(*TREE).when(count(G1, 50, 110, by=own)).then(counted(G1, 50, 110))
    given(*TREE).when(count(G2, 50, 110, by=own)).refused("role.not_permitted")


# what is known


def test_a_place_must_be_known_and_in_force() -> None:
    state = given(*TREE).state
    assert state.resolve("d1/", START) == Place("d1/", 1, "name of d1/")
    for path in (EVERYWHERE, "d2/", "d1", f"{G1}x/", "/", "d1//"):
        with pytest.raises(Refused) as refused:
            state.resolve(path, START)
        assert refused.value.code == "territory.unknown"
        assert refused.value.status == 404
    with pytest.raises(Refused) as refused:
        state.resolve(G1, START - DAY)
    assert refused.value.code == "territory.not_in_force"


def test_children_and_subtrees_are_asked_for_a_day_or_for_ever() -> None:
    state = given(*TREE, was_split(on=MAY), created("d2/", on=JUNE)).state
    ids = ["g1", "g2", "g3", "g4"]
    assert _paths(state.children(EVERYWHERE)) == ["d1/", "d2/"]
    assert _paths(state.children(EVERYWHERE, MAY)) == ["d1/"]
    assert _paths(state.children(C1)) == [f"{C1}{each}/" for each in ids]
    assert _paths(state.children(C1, MAY)) == [f"{C1}{each}/" for each in ids[1:]]
    assert _paths(state.children(G1)) == []
    assert _paths(state.subtree("d1/s1/", MAY - DAY)) == ["d1/s1/", C1, G1, G2]
    assert _paths(state.subtree(G1, MAY)) == []
    assert _paths(state.subtree(G1)) == [G1]
    assert _paths(state.subtree(EVERYWHERE, START - DAY)) == []
    assert len(state.subtree(EVERYWHERE)) == 8
    for ask in (state.children, state.subtree):
        with pytest.raises(Refused):
            ask("d7/")


def _paths(nodes: tuple[Node, ...]) -> list[str]:
    return [node.path for node in nodes]


def test_names_go_from_the_district_down_as_they_were_on_a_day() -> None:
    state = given(*TREE, renamed("d1/", "new", on=MAY), was_split(on=JUNE)).state
    below = ("name of d1/s1/", f"name of {C1}", f"name of {G1}")
    assert state.names(G1, MAY - DAY) == ("name of d1/", *below)
    assert state.names(G1, MAY) == ("new", *below)
    assert state.names(G1, JUNE) == ("new", *below)  # it has ended
    assert state.names("d1/", START - DAY) == ("new",)  # it is yet to begin
    for path in ("d1", EVERYWHERE):
        with pytest.raises(Refused):
            state.names(path, MAY)


# random scripts

commons: Final[dict[str, Any]] = {"by": st.just(CHIEF), "at": st.just(NOW)}
days = st.integers(0, 40).map(lambda days: START + days * DAY)
grid_ids = st.sampled_from(["g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "X"])
communities = st.sampled_from([C1, "d1/s1/c2/"])
grids = st.builds("{}{}/".format, communities, grid_ids)
paths = st.one_of(grids, st.sampled_from([EVERYWHERE, "d1/", "d1/s1/", C1, "d1/s1/c2/", "d1"]))
names = st.sampled_from(["a", "b", "c", ""])
boundaries = st.sampled_from([None, MAP, SQUARE, ""])
few = st.integers(-1, 3)
workers = st.sampled_from(["li.wei", "wang.fang", "?"])
parts = st.builds(Part, id=grid_ids, name=names, boundary=boundaries, households=few, residents=few)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        CreateTerritory,
        **commons,
        id=grid_ids,
        tier=st.sampled_from(Tier),
        parent=paths,
        name=names,
        effective=days,
        boundary=boundaries,
    ),
    st.builds(RenameTerritory, **commons, path=paths, name=names, effective=days),
    st.builds(RedrawGrid, **commons, path=paths, boundary=boundaries, effective=days),
    st.builds(
        SplitGrid,
        **commons,
        path=grids,
        into=st.lists(parts, max_size=3).map(tuple),
        effective=days,
    ),
    st.builds(
        MergeGrids,
        **commons,
        paths=st.lists(grids, max_size=3).map(tuple),
        id=grid_ids,
        name=names,
        boundary=boundaries,
        effective=days,
    ),
    st.builds(AssignWorker, **commons, path=paths, worker=workers),
    st.builds(ReleaseWorker, **commons, path=paths, worker=workers),
    st.builds(RecordHouseholds, **commons, path=paths, households=few, residents=few, as_of=days),
)


@settings(max_examples=60)
@forall(st.lists(commands, max_size=25))
def test_the_tree_survives_whatever_is_asked(script: list[Command]) -> None:
    history: list[Event] = [*TREE, created("d1/s1/c2/"), created("d1/s1/c2/g1/")]
    state = reduce(territory.evolve, history, territory.initial)
    for command in script:
        before = state.subtree(EVERYWHERE)
        try:
            events = territory.decide(state, command)
        except Refused:
            continue
        earlier, state = state, reduce(territory.evolve, events, state)
        history += events
        assert earlier.subtree(EVERYWHERE) == before, "an old state has changed"
        assert {node.path for node in before} <= {node.path for node in state.subtree(EVERYWHERE)}
        for node in state.subtree(EVERYWHERE):
            _assert_sound(state, node)
    assert reduce(territory.evolve, history, territory.initial) == state


def _assert_sound(state: territory.Territory, node: Node) -> None:
    assert state.node(node.path) is node
    assert all(is_id(each) for each in node.path.split("/")[:-1])
    versions = node.versions
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    for earlier, later in pairwise(versions):
        assert earlier.valid_from <= later.valid_from == earlier.valid_to
    assert (node.last.valid_to is None) == (not node.successors)
    assert all(version.name for version in versions)
    if node.tier is not Tier.GRID:
        of_grids = (node.successors, node.workers, node.count, node.last.boundary)
        assert not any(of_grids)
    else:
        assert not node.children
    for path in node.successors:
        assert state.node(path).versions[0].valid_from == node.last.valid_to
        assert parent_of(path) == parent_of(node.path)
    above = parent_of(node.path)
    if above != EVERYWHERE:
        # Whatever stands, stands in something that does.
        assert state.node(above).versions[0].valid_from <= versions[0].valid_from
        assert state.node(above).last.valid_to is None
