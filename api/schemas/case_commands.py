"""What the commands to a case take."""

from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from api.schemas.words import (
    Body,
    CaseId,
    Degrees90,
    Degrees180,
    Id,
    Instant,
    Line,
    Path,
    PersonId,
    Text,
    TierName,
    Words,
    demand_sensible,
)
from domain import sla
from domain.case import commands as c


class ReporterIn(Body):
    """Who made the matter known, if that is not who reports it."""

    person: PersonId | None = Field(
        default=None, description="Id of the person, where one is known.", examples=["p-7k2qx9ma"]
    )
    name: Line = Field(default="", examples=["王女士"])
    phone: Line = Field(default="", examples=["13800000000"])
    address: Line = Field(default="", examples=["和平路 12 号 3 单元 502"])


class SpotIn(Body):
    """Where exactly; WGS-84 degrees."""

    address: Line = Field(default="", examples=["和平路 12 号楼下"])
    longitude: Degrees180 | None = Field(default=None, examples=[121.4737])
    latitude: Degrees90 | None = Field(default=None, examples=[31.2304])


class Report(Body):
    """上报 · What has been seen, and where. With a category it is filed in one go."""

    territory: Path
    description: Words = Field(examples=["楼下垃圾桶满溢，污水流到路面。"])
    source: c.Source | None = Field(
        default=None, description="来源; left out: what the reporter's role says."
    )
    spot: SpotIn = Field(default=SpotIn())
    reporter: ReporterIn | None = None
    occurred: Instant | None = Field(default=None, description="When it was seen, if earlier.")
    category: Id | None = Field(
        default=None,
        description="File it in this category at once (立案).",
        examples=["exposed_garbage"],
    )


class Noted(Body):
    """Words, if there are any."""

    note: Text = Field(default="", examples=["现场情况属实。"])


class Reasoned(Body):
    """Why."""

    reason: Words = Field(examples=["与另一事项重复。"])


class FileIn(Body):
    """立案."""

    category: Id = Field(examples=["exposed_garbage"])
    tier: TierName | None = Field(
        default=None, description="Where handling begins, if not where the category says."
    )


class Reclassify(Body):
    """改类."""

    category: Id = Field(examples=["dirty_road"])
    reason: Words = Field(examples=["现场核实为道路不洁。"])


class Assign(Body):
    """派遣: to a unit, a worker, or neither: the territory that holds the case."""

    unit: Id | None = Field(default=None, examples=["cleaning"])
    worker: PersonId | None = Field(
        default=None, description="Somebody who can accept it, and of the unit if one is named."
    )


class Transfer(Assign):
    """转派."""

    reason: Words = Field(examples=["由物业处置更快。"])


class Escalate(Body):
    """上报上级."""

    reason: c.EscalationReason
    note: Text = Field(default="", examples=["需要街道协调车辆。"])


class SendBack(Body):
    """下派."""

    directive: Words = Field(examples=["请网格先行清理，街道派车配合。"])


class Whistle(Body):
    """吹哨."""

    units: list[Id] = Field(min_length=1, max_length=50, examples=[["cleaning", "property"]])
    purpose: Words = Field(examples=["联合清理后巷。"])
    reply_by: Instant


class ForUnit(Body):
    """A unit that was called."""

    unit: Id = Field(examples=["cleaning"])


class ChildIn(Body):
    """One part of a split case. The parent waits for a required one."""

    description: Words = Field(examples=["清运建筑垃圾。"])
    required: StrictBool = True


class Split(Body):
    """拆分."""

    children: list[ChildIn] = Field(min_length=2, max_length=50)


class Merge(Body):
    """并案: into the case that survives."""

    into: CaseId


class AskPark(Body):
    """申请挂账."""

    until: Instant
    reason: Words = Field(examples=["等待配件到货。"])


class LimitIn(Body):
    """How long: working hours, working days, hours, days, or to the close of the working day."""

    amount: Annotated[StrictInt, Field(ge=1, le=sla.LONGEST)] = Field(examples=[2])
    unit: sla.Unit = Field(examples=["wd"])

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        demand_sensible(self.limit())
        return self

    def limit(self) -> sla.Limit:
        """As the domain has it."""
        return sla.Limit(self.amount, self.unit)


class AskExtension(Body):
    """申请延时."""

    more: LimitIn
    reason: Words = Field(examples=["连日大雨。"])


class Resolve(Body):
    """处置反馈."""

    evidence: list[Line] = Field(min_length=1, max_length=50, examples=[["清理后照片已上传"]])
    note: Text = ""


class Check(Body):
    """核查: passed, or back to the handler with what is missing."""

    passed: StrictBool
    note: Text = Field(default="", examples=["现场已清理干净。"])


class Close(Body):
    """结案."""

    outcome: c.Outcome
    refused_by: Line | None = Field(
        default=None, description="Who said that the matter is not ours."
    )


class Callback(Body):
    """回访."""

    reached: StrictBool
    solved: StrictBool | None = None


class Evaluate(Body):
    """评价."""

    solved: StrictBool
    satisfied: StrictBool
    comment: Text = ""


class NoteIn(Body):
    """备注."""

    text: Words = Field(examples=["已电话告知居民。"])
