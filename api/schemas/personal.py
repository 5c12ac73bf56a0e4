"""Personal data: what is shown in clear and to whom, and forgetting it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.words import (
    Answer,
    Body,
    CaseId,
    Instant,
    Line,
    Paged,
    PersonId,
    Scope,
    Version,
    When,
)
from domain.privacy import ForgetReason, PersonalField, Purpose


class Show(Body):
    """查看个人信息: why, and if not as the case stands, up to which version or time of it."""

    purpose: Purpose = Field(description="查看用途 · What for.", examples=["contact"])
    reason: Line = Field(
        default="",
        description="投诉、审计须说明原因 · Where no step of the case explains it.",
        examples=["居民来电投诉"],
    )
    version: Version | None = Field(default=None, description="Steps up to this version.")
    at: Instant | None = Field(default=None, description="Steps up to this time.")


class ReporterAnswer(Answer):
    """Who made a matter known."""

    person: str = Field(examples=["p-7k2qx9ma"])
    name: str = Field(examples=["王女士"])
    phone: str = Field(examples=["13800000000"])
    address: str


class ShownStep(BaseModel):
    """One step, its personal details in clear."""

    version: int
    name: str = Field(examples=["case.note_added"])
    details: dict[str, Any]


class PersonalAnswer(BaseModel):
    """Personal data of a case in clear; 已删除 where it was forgotten. `position` is where the log
    has this look."""

    case: str
    position: int
    description: str = Field(examples=["楼下垃圾桶满溢，污水流到路面。"])
    address: str = Field(examples=["和平路 12 号楼下"])
    reporter: ReporterAnswer | None
    steps: list[ShownStep]


class AskForget(Body):
    """申请删除个人信息: of a person, and of the cases that name the person without being reported
    by the person."""

    territory: Scope = Field(description="Where the person is known; empty: everywhere.")
    reason: ForgetReason
    cases: list[CaseId] = Field(default=[], max_length=200)


class ForgetQuery(Paged):
    """A page of requests to forget somebody."""

    person: PersonId | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class ForgetAnswer(BaseModel):
    """A request that a person be forgotten, and what became of it. `cases` are those that were
    named: they mention the person, who did not report them. `version` is what `If-Match` names when
    it is approved or declined."""

    position: int
    version: int
    person: str = Field(examples=["p-7k2qx9ma"])
    territory: str
    reason: ForgetReason
    cases: list[str]
    at: When
    by: str
    outcome: Literal["waiting", "declined", "forgotten"]
    decided_at: When | None = None
    decided_by: str | None = None


class ForgetPage(BaseModel):
    """Requests, latest first."""

    rows: list[ForgetAnswer]
    next: str | None


class AccessQuery(Paged):
    """Which looks; `since` and `until` bound when it happened, the end not included."""

    actor: (
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9._:-]{1,80}$", max_length=80)] | None
    ) = Field(default=None, description="Who looked.")
    case: CaseId | None = None
    person: PersonId | None = Field(
        default=None, description="Whose data: who reported the case.", examples=["p-7k2qx9ma"]
    )
    purpose: Purpose | None = None
    territory: Scope | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class LookAnswer(BaseModel):
    """Somebody was shown these fields of a case. A reason that was typed is in the log alone."""

    position: int
    at: When
    actor: str
    roles: list[str]
    case: str
    territory: str
    purpose: Purpose
    fields: list[PersonalField]


class AccessPage(BaseModel):
    """A page of looks, latest first."""

    rows: list[LookAnswer]
    next: str | None
