"""What is known of a case: its state, and the facts every state shares.

The four regions of the life cycle stand side by side: the state is the class; the tier, the clock,
and the co-handlers and children are facts.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, NamedTuple, TypeAlias

from domain.case.commands import Outcome, Source
from domain.catalogue import Size, Terms
from domain.places import Tier, at_tier
from domain.sla import Limit, Pause
from domain.territory import Place


class Running(StrEnum):
    """Whether an SLA clock counts."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Clock(NamedTuple):
    """The SLA clock of the current episode.

    It keeps what the due was reckoned from (start, pauses, extensions), so that the due can always
    be reckoned again as a whole. ``dated`` is the due that an old system gave: it takes the place
    of the limit. ``escalated``: the breach has taken the case up by itself, or found it at the top.
    """

    running: Running
    started: datetime
    due: datetime | None
    provisional: bool
    dated: datetime | None
    contact_due: datetime | None
    contact_provisional: bool = False
    contacted: datetime | None = None
    pauses: tuple[Pause, ...] = ()
    paused_since: datetime | None = None
    paused_until: datetime | None = None
    extensions: tuple[Limit, ...] = ()
    reminded: bool = False
    breached: bool = False
    escalated: bool = False


class Asked(StrEnum):
    """What waits for a second person."""

    VOID = "void"
    PARK = "park"
    EXTENSION = "extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One open request. ``until`` belongs to a park, ``more`` to an extension.

    Not the words it was asked in: states hold nothing personal, for they are folded from sealed
    events. The approval leaves its ``reason`` empty; the request in the log has it.
    """

    what: Asked
    by: str
    until: datetime | None = None
    more: Limit | None = None


class Call(StrEnum):
    """How a unit answered a whistle."""

    WAITING = "waiting"
    REPORTED_IN = "reported_in"
    ABSENT = "absent"


class Child(NamedTuple):
    """One part of a split case."""

    case: str
    required: bool
    ended: bool = False


class Facts(NamedTuple):
    """All that is known of a case whatever its state.

    A tuple, as the clock is: every event changes one or two of its fields, and a tuple is made
    anew in a third of the time of a frozen dataclass.

    ``handler`` is who has it in hand or had it last, None while it waits for somebody to accept it.
    ``transfers`` counts those of the episode, ``callbacks`` those since it was last closed.
    ``reply_by`` is until when each unit was called to report in.
    """

    id: str
    place: Place
    source: Source
    intake: Tier
    reporter: str | None
    reported_at: datetime
    last_at: datetime
    tier: Tier
    highest: Tier
    holder: str
    parent: str | None = None
    episode: int = 0
    terms: Terms | None = None
    filed_size: Size | None = None
    filed_at: datetime | None = None
    unit: str | None = None
    worker: str | None = None
    handler: str | None = None
    returns: int = 0
    transfers: int = 0
    clock: Clock | None = None
    request: Request | None = None
    calls: tuple[tuple[str, Call], ...] = ()
    reply_by: tuple[tuple[str, datetime], ...] = ()
    children: tuple[Child, ...] = ()
    duplicates: tuple[str, ...] = ()
    survivor: str | None = None
    outcome: Outcome | None = None
    closed_at: datetime | None = None
    reopening_ended: bool = False
    callbacks: int = 0


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing has been reported under this id."""

    name: ClassVar[str] = "unknown"


@dataclass(frozen=True, slots=True)
class Reported:
    """已上报."""

    facts: Facts
    name: ClassVar[str] = "reported"


@dataclass(frozen=True, slots=True)
class Rejected:
    """不予立案."""

    facts: Facts
    name: ClassVar[str] = "rejected"


@dataclass(frozen=True, slots=True)
class Filed:
    """已立案."""

    facts: Facts
    name: ClassVar[str] = "filed"


@dataclass(frozen=True, slots=True)
class Assigned:
    """待签收."""

    facts: Facts
    name: ClassVar[str] = "assigned"


@dataclass(frozen=True, slots=True)
class InProgress:
    """处置中."""

    facts: Facts
    name: ClassVar[str] = "in_progress"


@dataclass(frozen=True, slots=True)
class Parked:
    """挂账."""

    facts: Facts
    name: ClassVar[str] = "parked"


@dataclass(frozen=True, slots=True)
class Resolved:
    """待核查."""

    facts: Facts
    name: ClassVar[str] = "resolved"


@dataclass(frozen=True, slots=True)
class Checked:
    """待结案."""

    facts: Facts
    name: ClassVar[str] = "checked"


@dataclass(frozen=True, slots=True)
class Closed:
    """已结案."""

    facts: Facts
    name: ClassVar[str] = "closed"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """已评价."""

    facts: Facts
    name: ClassVar[str] = "evaluated"


@dataclass(frozen=True, slots=True)
class Merged:
    """已并案."""

    facts: Facts
    name: ClassVar[str] = "merged"


@dataclass(frozen=True, slots=True)
class Voided:
    """已作废."""

    facts: Facts
    name: ClassVar[str] = "void"


Known: TypeAlias = (
    Reported
    | Rejected
    | Filed
    | Assigned
    | InProgress
    | Parked
    | Resolved
    | Checked
    | Closed
    | Evaluated
    | Merged
    | Voided
)
Case: TypeAlias = Unknown | Known

NOT_REPORTED = Unknown()
STATES: tuple[type[Known], ...] = (
    Reported,
    Rejected,
    Filed,
    Assigned,
    InProgress,
    Parked,
    Resolved,
    Checked,
    Closed,
    Evaluated,
    Merged,
    Voided,
)
OPEN: tuple[str, ...] = tuple(
    state.name for state in (Reported, Filed, Assigned, InProgress, Parked, Resolved, Checked)
)
"""The names of the states in which a case still needs work."""
ENDED: tuple[str, ...] = tuple(
    state.name for state in (Rejected, Closed, Evaluated, Merged, Voided)
)
"""The names of the states in which nobody has to do anything more."""


def terms_of(facts: Facts) -> Terms:
    """The rules that a filed case keeps."""
    assert facts.terms is not None, "only a filed case has terms"
    return facts.terms


def clock_of(facts: Facts) -> Clock:
    """The clock of a filed case."""
    assert facts.clock is not None, "only a filed case has a clock"
    return facts.clock


def holder_at(path: str, tier: Tier) -> str:
    """The territory that is responsible at a tier for what is filed at a place."""
    holder = at_tier(path, tier)
    assert holder is not None, "a case never goes below its place"
    return holder
