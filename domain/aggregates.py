"""The aggregates, each as one decider: what a stream is called and which rules govern it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_args

from domain import calendar, case, catalogue, operations, privacy, staff, territory, webhooks
from domain.case import commands as case_commands
from domain.case import events as case_events


def _nothing_alongside(_state: Any, _command: Any) -> list[Any]:
    return []


@dataclass(frozen=True, slots=True, eq=False)
class Decider:
    """The rules of one kind of stream.

    ``stream`` names the stream a command is for. ``alongside`` gives the commands to other streams
    that must be stored together with this one, or none of them. ``single`` marks the configuration
    of the office: one stream each, read by almost every command. ``begins`` are the commands that a
    stream begins with: it is not there before.
    """

    name: str
    commands: tuple[type, ...]
    events: tuple[type, ...]
    initial: Any
    decide: Callable[[Any, Any], list[Any]]
    evolve: Callable[[Any, Any], Any]
    stream: Callable[[Any], str]
    single: bool = True
    alongside: Callable[[Any, Any], list[Any]] = _nothing_alongside
    begins: tuple[type, ...] = ()


def case_stream(case_id: str) -> str:
    """The stream of a case."""
    return f"case:{case_id}"


CASE: Final = Decider(
    name="case",
    commands=get_args(case_commands.Command),
    events=get_args(case_events.Event),
    initial=case.initial,
    decide=case.decide,
    evolve=case.evolve,
    stream=lambda command: case_stream(command.case),
    single=False,
    alongside=case.alongside,
    begins=(case_commands.ReportCase,),
)
TERRITORY: Final = Decider(
    name="territory",
    commands=get_args(territory.Command),
    events=get_args(territory.Event),
    initial=territory.initial,
    decide=territory.decide,
    evolve=territory.evolve,
    stream=lambda _: territory.STREAM,
)
STAFF: Final = Decider(
    name="staff",
    commands=get_args(staff.Command),
    events=get_args(staff.Event),
    initial=staff.initial,
    decide=staff.decide,
    evolve=staff.evolve,
    stream=lambda _: staff.STREAM,
)
CATALOGUE: Final = Decider(
    name="catalogue",
    commands=get_args(catalogue.Command),
    events=get_args(catalogue.Event),
    initial=catalogue.initial,
    decide=catalogue.decide,
    evolve=catalogue.evolve,
    stream=lambda _: catalogue.STREAM,
)
CALENDAR: Final = Decider(
    name="calendar",
    commands=get_args(calendar.Command),
    events=get_args(calendar.Event),
    initial=calendar.initial,
    decide=calendar.decide,
    evolve=calendar.evolve,
    stream=lambda _: calendar.STREAM,
)
PRIVACY: Final = Decider(
    name="privacy",
    commands=get_args(privacy.Command),
    events=get_args(privacy.Event),
    initial=privacy.initial,
    decide=privacy.decide,
    evolve=privacy.evolve,
    stream=privacy.stream,
    single=False,
)
OPERATIONS: Final = Decider(
    name="operations",
    commands=(operations.SkipEvent,),
    events=(operations.EventSkipped,),
    initial=operations.initial,
    decide=operations.decide,
    evolve=operations.evolve,
    stream=lambda command: operations.stream(command.projection),
    single=False,
)
WEBHOOKS: Final = Decider(
    name="webhooks",
    commands=get_args(webhooks.Command),
    events=get_args(webhooks.Event),
    initial=webhooks.initial,
    decide=webhooks.decide,
    evolve=webhooks.evolve,
    stream=lambda _: webhooks.STREAM,
    single=False,
)

AGGREGATES: Final = (CASE, TERRITORY, STAFF, PRIVACY, CATALOGUE, CALENDAR, WEBHOOKS, OPERATIONS)

_BY_COMMAND: Final = {command: decider for decider in AGGREGATES for command in decider.commands}


def decider_of(command: Any) -> Decider:
    """The decider that a command is for."""
    return _BY_COMMAND[type(command)]


@dataclass(frozen=True, slots=True)
class Office:
    """The configuration of the office as one moment knows it: what commands are prepared with."""

    territory: territory.Territory
    staff: staff.Staff
    catalogue: catalogue.Catalogue
    calendar: calendar.Calendar
