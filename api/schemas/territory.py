"""The tree of territories: how it is changed and shown."""

from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.schemas.words import (
    Answer,
    Body,
    Count,
    Day,
    Degrees90,
    Degrees180,
    Id,
    Name,
    Path,
    PersonId,
    Query,
    Scope,
    TierName,
)
from domain.territory import Boundary, Part

Point = tuple[Degrees180, Degrees90]
BoundaryIn = (
    Annotated[
        list[Annotated[list[Point], Field(min_length=4, max_length=2_000)]],
        Field(min_length=1, max_length=100),
    ]
    | Name
)


def boundary(given: Any) -> Boundary | None:
    """A boundary as the domain has it."""
    if given is None or isinstance(given, str):
        return given
    return tuple(tuple((lon, lat) for lon, lat in ring) for ring in given)


class CreateTerritory(Body):
    """设立. The parent of a district is empty; only a grid has a boundary."""

    id: Id = Field(examples=["g4"])
    tier: TierName = Field(examples=["grid"])
    parent: Scope = Field(examples=["d1/s1/c1/"])
    name: Name = Field(examples=["第四网格"])
    effective: Day
    boundary: BoundaryIn | None = None


class RenameTerritory(Body):
    """更名."""

    path: Path
    name: Name = Field(examples=["和平第一网格"])
    effective: Day


class RedrawGrid(Body):
    """调整边界; null: it is not known."""

    path: Path
    boundary: BoundaryIn | None
    effective: Day


class PartIn(Body):
    """One of the grids that a split makes."""

    id: Id
    name: Name
    boundary: BoundaryIn | None = None
    households: Count
    residents: Count

    def part(self) -> Part:
        """As the domain has it."""
        return Part(
            id=self.id,
            name=self.name,
            boundary=boundary(self.boundary),
            households=self.households,
            residents=self.residents,
        )


class SplitGrid(Body):
    """网格拆分."""

    path: Path
    into: list[PartIn] = Field(min_length=2, max_length=50)
    effective: Day


class MergeGrids(Body):
    """网格合并."""

    paths: list[Path] = Field(min_length=2, max_length=50)
    id: Id
    name: Name
    boundary: BoundaryIn | None = None
    effective: Day


class GridWorker(Body):
    """A grid and somebody who works in it."""

    path: Path
    worker: PersonId = Field(examples=["li"])


class RecordHouseholds(Body):
    """入户登记."""

    path: Path
    households: Count
    residents: Count
    as_of: Day


class TreeQuery(Query):
    """Which part of the tree, on which day."""

    path: Scope = ""
    on: Day | None = Field(default=None, description="On this day; left out: today.")
    ever: bool = Field(default=False, description="Also what is not in force on that day.")
    levels: int = Field(default=4, ge=0, le=4, description="How many tiers below.")


class PointQuery(Query):
    """A point; WGS-84 degrees. What a map gives in GCJ-02 is converted before it is sent."""

    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False, examples=[121.4737])
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False, examples=[31.2304])


class PathQuery(Query):
    """Which territory."""

    path: Path


class TerritoryNode(BaseModel):
    """A territory as on a day; `name` and `version` are null where it is not in force then,
    `workers`, `households` and `residents` where it lies outside one's own scope."""

    path: str
    tier: TierName
    name: str | None
    version: int | None
    workers: list[str] | None
    households: int | None
    residents: int | None
    successors: list[str]


class TerritoryTree(BaseModel):
    """A territory with what lies in it, each before what lies in that."""

    on: date
    nodes: list[TerritoryNode]


class GridAnswer(BaseModel):
    """A grid as it is today."""

    path: str
    version: int
    names: list[str] = Field(
        description="From the district down.", examples=[["示范区", "春风街道", "第一网格"]]
    )


class GridsAt(BaseModel):
    """The grids in which a point lies: one as a rule, none where no boundary is known, several
    where boundaries overlap."""

    on: date
    grids: list[GridAnswer]


class TerritoryVersion(Answer):
    """What a territory is from `valid_from` until, without it, `valid_to`."""

    number: int
    valid_from: date
    valid_to: date | None
    name: str
    boundary: Any


class TerritoryHistory(BaseModel):
    """A territory with all its versions; `workers` is null outside one's own scope."""

    path: str
    tier: TierName
    versions: list[TerritoryVersion]
    children: list[str]
    successors: list[str]
    workers: list[str] | None
