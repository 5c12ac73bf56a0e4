"""How the system stands: what happens by itself, read models, health."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.words import Body, Paged, Scope, TierAnswer, When
from domain.deadlines import Automatic


class PendingQuery(Paged):
    """Which of what will happen to cases by itself."""

    territory: Scope | None = None
    kind: Automatic | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class PendingAnswer(BaseModel):
    """One thing that will happen to a case by itself."""

    case: str = Field(examples=["20261122-7K2QX9MA"])
    kind: Automatic
    zh: str = Field(description="The kind in Chinese.", examples=["超期上报"])
    en: str = Field(description="The kind in English.", examples=["breach of the due"])
    at: When = Field(description="After this it is done.")
    until: When | None = Field(description="After this it is moot (a reminder, once it is due).")
    territory: str
    tier: TierAnswer
    episode: int
    due: When | None
    attempts: int = Field(description="How often it was tried in vain.")
    error: str | None = Field(description="Why it failed the last time.")
    retry_at: When | None = Field(description="When it is tried again.")


class PendingPage(BaseModel):
    """A page of what will happen by itself, the earliest first."""

    rows: list[PendingAnswer]
    next: str | None


class ProjectionAnswer(BaseModel):
    """How far a read model is. `built` of `of` positions of a rebuild beside it are done."""

    name: str
    position: int
    lag: int = Field(description="Positions behind the log.")
    lag_seconds: float
    paused: bool
    error: str | None = Field(description="Why it stands still.")
    halted_at: int | None = Field(description="The position of the event it cannot fold.")
    halted_by: str | None
    stream: str | None
    built: int | None
    of: int | None


class ProjectionList(BaseModel):
    """The read models, and how far the log is."""

    position: int
    rows: list[ProjectionAnswer]


class ProjectionSwitched(BaseModel):
    """A read model was told to stand still or to go on."""

    name: str
    paused: bool


class SkipIn(Body):
    """Which event is left out of a read model, and why."""

    position: Annotated[int, Field(ge=1, le=2**53)]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        description="About the program, not about people: it stands in clear."
    )


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ProjectionHealth(BaseModel):
    """How far a read model is behind the log."""

    name: str
    position: int
    lag: int = Field(description="Positions behind the log.")
    lag_seconds: float = Field(description="Age of the oldest event that it does not know yet.")
    halted: bool = Field(description="It met an event that it cannot fold, and stands still.")
    halted_at: int | None = Field(description="The position of that event.")
    halted_by: str | None = Field(description="The name of that event.")
    paused: bool = Field(description="Somebody has told it to stand still.")
    rebuilt: float | None = Field(description="The share of a rebuild under way that is done.")


class DeadlineHealth(BaseModel):
    """Whether what happens to cases by itself happens in time."""

    late: float = Field(description="Seconds that the oldest thing that is due has waited.")
    failing: int = Field(description="How many things could not be done and are tried again.")


class RelayHealth(BaseModel):
    """How far a topic of Kafka has the log."""

    topic: str
    position: int
    lag: int = Field(description="Positions that it does not have yet.")
    lag_seconds: float = Field(description="Age of the oldest event that it does not have yet.")


class Health(BaseModel):
    """Whether requests can be served."""

    status: Literal["ok", "degraded"]
    position: int
    projections: list[ProjectionHealth]
    deadlines: DeadlineHealth
    clock_ahead: float = Field(
        description="Seconds that the server's clock is ahead of the database's; ten and it is ill."
    )
    failing: list[Literal["feed", "keys"]] = Field(
        description="What does not work in this process: the live feed, which has ended; the keys "
        "of personal data, whose file (`WANGGE_KEK`) is gone or another one: nothing can be "
        "reported."
    )
    relays: list[RelayHealth] = Field(
        description="Topics that this log is carried to; their lag does not change the status."
    )
