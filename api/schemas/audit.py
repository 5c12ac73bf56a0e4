"""Who did what: the trail of the log."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.words import Instant, Paged, Scope, When


class AuditQuery(Paged):
    """Which entries; `since` and `until` bound when it happened, the end not included."""

    actor: (
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9._:-]{1,80}$", max_length=80)] | None
    ) = None
    object: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,120}$", max_length=120)]
        | None
    ) = Field(default=None, examples=["case:20261122-7K2QX9MA"])
    action: Annotated[str, StringConstraints(pattern=r"^[a-z_.]{1,60}$", max_length=60)] | None = (
        Field(default=None, examples=["case.escalated"])
    )
    correlation: (
        Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$", max_length=200)] | None
    ) = Field(default=None, description="What all entries of one request have in common.")
    territory: Scope | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class AuditExport(AuditQuery):
    """Which entries, as a file."""

    format: Literal["csv", "xlsx"] = "csv"


class AuditAnswer(BaseModel):
    """Who did what to which object when."""

    position: int
    at: When
    recorded_at: When
    actor: str
    roles: list[str]
    action: str = Field(examples=["case.escalated"])
    zh: str = Field(description="The action in Chinese.", examples=["上报上级"])
    en: str = Field(description="The action in English.", examples=["escalated"])
    object: str
    version: int
    territory: str
    correlation: str
    causation: str


class AuditedEvent(AuditAnswer):
    """An entry with its event, personal fields sealed.

    `before` and `after` are the facts of the case that changed by it; of other objects there is
    only the event."""

    event: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(BaseModel):
    """A page of the audit trail, latest first."""

    rows: list[AuditAnswer]
    next: str | None
