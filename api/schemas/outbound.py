"""What leaves the office: the live feed and webhooks."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.cases import State
from api.schemas.words import (
    Answer,
    Body,
    CaseId,
    Done,
    EventName,
    Id,
    Query,
    Scope,
    TierAnswer,
    When,
)
from domain.webhooks import LONGEST_URL


class FeedQuery(Query):
    """Which events; only those of one's own territories are told."""

    territory: Scope | None = None
    case: CaseId | None = None
    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="Position to go on from, where there is no `Last-Event-ID`. Neither: from now.",
    )
    follow: bool = Field(default=True, description="false: end when all there is has been told.")


class FeedEvent(BaseModel):
    """The `data` of one message; its `id` is the position."""

    position: int
    name: str = Field(examples=["case.escalated"])
    zh: str = Field(description="What happened, in Chinese.", examples=["上报上级"])
    en: str = Field(description="What happened, in English.", examples=["escalated"])
    case: str = Field(examples=["20261122-7K2QX9MA"])
    territory: str = Field(description="Path of the place of the case.", examples=["d1/s1/c1/g1/"])
    tier: TierAnswer
    episode: int
    state: State | None = Field(description="The state it brings the case to; null: as it was.")
    state_zh: str | None
    state_en: str | None
    at: When


_Url = Annotated[str, StringConstraints(pattern=r"^https?://", max_length=LONGEST_URL)]
_Kinds = Annotated[list[EventName], Field(max_length=100)]


class ReceiverIn(Body):
    """Somebody outside who is told what happens."""

    id: Id = Field(examples=["city-platform"])
    territory: Scope = Field(description="Where it is told of; empty: everywhere.")
    url: _Url = Field(examples=["https://example.com/hooks/wangge"])
    events: _Kinds = Field(
        default=[], description="Of which events of cases; none named: of all.", examples=[[]]
    )


class ReceiverChange(Body):
    """Another address, other kinds of events."""

    url: _Url = Field(examples=["https://example.com/hooks/wangge"])
    events: _Kinds = Field(default=[])


class Resend(Body):
    """Which dead letters are sent again."""

    positions: Annotated[list[Annotated[int, Field(ge=1, le=2**53)]], Field(max_length=1_000)] = (
        Field(default=[], description="None named: all of them.")
    )


class SecretDone(Done):
    """A command that made a secret: shown here, and never again."""

    secret: str = Field(
        description="What the receiver checks signatures by (Standard Webhooks). A request that is "
        "sent again is answered without it.",
        default="",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    )


class ReceiverAnswer(BaseModel):
    """A receiver, and how its deliveries go."""

    id: str
    territory: str
    url: str
    events: list[str]
    by: str = Field(description="Who added it.")
    since: When
    generation: int = Field(description="Of its secret.")
    position: int = Field(description="Told up to there.")
    lag: int = Field(description="Positions of the log after that.")
    delivered: int
    attempts: int = Field(description="Tries of the message that waits.")
    failing_since: When | None
    retry_at: When | None
    error: str | None = Field(description="Why the last try failed.")
    dead: int = Field(description="Messages that were given up.")


class ReceiverList(BaseModel):
    """The receivers of the territories that one administers."""

    rows: list[ReceiverAnswer]


class DeadQuery(Query):
    """A page of dead letters."""

    after: Annotated[int, Field(ge=0, le=2**53)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class DeadAnswer(Answer):
    """A message that was given up."""

    position: int = Field(description="Of the event; the message's `webhook-id` is made of it.")
    attempts: int
    error: str
    died_at: When
    again: bool = Field(description="It is about to be sent once more.")


class DeadPage(BaseModel):
    """Dead letters, in the order of the log."""

    rows: list[DeadAnswer]
    next: int | None
