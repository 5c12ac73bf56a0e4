"""What several rules of a case ask: who acts, in which order, and what is filled in.

A ``demand`` refuses. A ``soft`` rule refuses too, but imported history need not have kept it: there
it is waived, and the waiver is an event.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from domain.calendar import told_time
from domain.case import commands as c
from domain.case import events as e
from domain.case.states import OPEN, Asked, Call, Facts, Known, Request, terms_of
from domain.errors import Refused
from domain.places import tier_of, within
from domain.roles import Actor, Role, permitted
from domain.staff import Unit

SKEW: Final = timedelta(minutes=2)
"""How far the clocks of two servers may stand apart before a command counts as out of order."""

DAY: Final = timedelta(days=1)


SOURCES: Final[dict[Role, tuple[c.Source, ...]]] = {
    Role.HOTLINE: (c.Source.HOTLINE,),
    Role.ACCEPTOR: (c.Source.WINDOW, c.Source.DEPARTMENT),
    Role.COORDINATOR: (c.Source.WINDOW, c.Source.DEPARTMENT),
    Role.GRID_WORKER: (c.Source.GRID_WORKER, c.Source.RESIDENT),
    Role.RESIDENT: (c.Source.RESIDENT,),
    Role.IMPORTER: tuple(c.Source),
}
"""Where a report may come from that somebody makes in a role, the usual first. Figures count by it:
nobody may say that a matter of the own grid came by the hotline."""


def sources(by: Actor, place: str) -> list[c.Source]:
    """Where a report of this person at a place may come from, the likeliest first."""
    held = {
        grant.role for grant in by.grants if permitted(Actor(by.id, (grant,)), "ReportCase", place)
    }
    return [source for role, own in SOURCES.items() if role in held for source in own]


def stamp(facts: Facts, command: c.Command) -> dict[str, Any]:
    """The fields that every event carries."""
    return {
        "at": command.at,
        "territory": facts.place.path,
        "tier": facts.tier,
        "episode": facts.episode,
    }


def soft(kept: bool, facts: Facts, command: c.Command, rule: str, /, **why: Any) -> list[e.Event]:
    """Nothing, if a rule was kept; if not, a waiver for imported history, and else a refusal."""
    if kept:
        return []
    if command.imported is None:
        raise Refused(rule, **why)
    return [
        e.RuleWaived(
            **stamp(facts, command),
            rule=rule,
            system=command.imported.system,
            reference=command.imported.reference,
        )
    ]


def soft_state(kept: bool, case: Known, command: c.Command) -> list[e.Event]:
    """A step in a state that only imported history may take it in."""
    why = {"state": case.name, "command": type(command).__name__}
    return soft(kept, case.facts, command, "case.not_allowed", **why)


def soft_open(case: Known, command: c.Command) -> list[e.Event]:
    """Nothing is added to a case that needs no more work."""
    return soft_state(case.name in OPEN, case, command)


def soft_other_caller(facts: Facts, command: c.Command) -> list[e.Event]:
    """Who handled a case does not ask whether it is solved."""
    return soft(command.by.id != facts.handler, facts, command, "case.caller_is_handler")


def soft_callback_window(facts: Facts, command: c.Command) -> list[e.Event]:
    """Callbacks and evaluations come soon after closing."""
    assert facts.closed_at is not None
    days = terms_of(facts).policy.callback_window_days
    kept = (command.at - facts.closed_at) / DAY <= days
    return soft(kept, facts, command, "case.callback_window", days=days)


def soft_second_person(facts: Facts, command: c.Command, asked: Request) -> list[e.Event]:
    """Nobody approves the own request."""
    return soft(command.by.id != asked.by, facts, command, "case.second_person")


def soft_able_worker(facts: Facts, command: c.DispatchCase | c.TransferCase) -> list[e.Event]:
    """Who is named is who alone may accept, so it is somebody who can."""
    worker, unit = command.worker, command.unit
    if worker is None:
        return []
    kept = able_to_accept(facts, worker) and (unit is None or worker.unit == unit.id)
    return soft(kept, facts, command, "case.worker_cannot_accept", worker=worker.id)


def able_to_accept(facts: Facts, worker: Actor) -> bool:
    """Whether somebody's roles let the person accept a case where it is now."""
    return permitted(worker, c.AcceptCase.__name__, facts.place.path, facts.holder)


def demand_import(command: c.Command, place: str) -> None:
    """Only an import of this place may carry an old system's evidence."""
    if command.imported is None:
        return
    grants = command.by.grants
    if not any(g.role is Role.IMPORTER and within(place, g.territory) for g in grants):
        raise Refused("case.import_only")


def demand_source(command: c.ReportCase) -> None:
    """Who reports says no more than the own role knows; a child comes from where its parent did."""
    known = command.parent is not None or command.source in sources(command.by, command.place.path)
    if not known:
        raise Refused("case.source_not_yours", source=command.source.value)


def demand_order(facts: Facts, command: c.Command) -> None:
    """Time does not run backwards, but for the clocks of two servers."""
    slack = SKEW if command.imported is None else timedelta()
    if command.at < facts.last_at - slack:
        raise Refused("case.time_order", last=told_time(facts.last_at))


def demand_text(text: str, field: str) -> None:
    """A field of words is filled in."""
    if not text.strip():
        raise Refused("case.text_missing", field=field)


def demand_later(then: datetime, command: c.Command, field: str) -> None:
    """A date lies ahead."""
    if then <= command.at:
        raise Refused("case.in_past", field=field)


def demand_no_request(facts: Facts) -> None:
    """One request at a time."""
    if facts.request is not None:
        raise Refused("case.already_asked", what=facts.request.what.value)


def demand_request(facts: Facts, what: Asked) -> Request:
    """The request that is to be approved."""
    if facts.request is None or facts.request.what is not what:
        raise Refused("case.nothing_asked")
    return facts.request


def demand_competent(facts: Facts, unit: Unit | None) -> None:
    """A unit is responsible for the place and the category, at the tier of the case."""
    if unit is None:
        return
    if not unit.competent(facts.place.path, terms_of(facts).category):
        raise Refused("case.unit_not_competent", unit=unit.id)
    if tier_of(unit.territory) is not facts.tier:
        raise Refused("case.unit_wrong_tier", unit=unit.id, tier=facts.tier.word)


def demand_handler(facts: Facts, command: c.Command) -> None:
    """The person who has the case in hand."""
    if facts.handler != command.by.id:
        raise Refused("case.not_handler")


def demand_unit(facts: Facts, command: c.Command) -> None:
    """Somebody of the unit that the case was dispatched to, if it was."""
    if facts.unit is not None and facts.unit != command.by.unit:
        raise Refused("case.not_your_unit", unit=facts.unit)


def demand_assignee(facts: Facts, command: c.Command) -> None:
    """The worker, or somebody of the unit, that the case was dispatched to."""
    if facts.worker is not None and facts.worker != command.by.id:
        raise Refused("case.not_yours", worker=facts.worker)
    demand_unit(facts, command)


def demand_own_case(facts: Facts, command: c.Command) -> None:
    """Who works on cases moves the own ones only; who coordinates or dispatches, any."""
    if not only_as(facts, command, Role.HANDLER, Role.GRID_WORKER):
        return
    if facts.handler is None:
        demand_assignee(facts, command)
    else:
        demand_handler(facts, command)


def demand_own_report(facts: Facts, command: c.Command) -> None:
    """A resident speaks for the own report only; staff speak for anybody's."""
    if only_as(facts, command, Role.RESIDENT) and facts.reporter != command.by.id:
        raise Refused("case.not_reporter")


def demand_joined(facts: Facts, command: c.Command) -> None:
    """A handler from elsewhere joins in where the own unit was called, and nowhere else."""
    by, name = command.by, type(command).__name__
    if any(unit == by.unit for unit, _ in facts.calls):
        return
    grounds = (facts.place.path, facts.holder)
    near = tuple(
        grant
        for grant in by.grants
        if grant.role is not Role.HANDLER or any(within(path, grant.territory) for path in grounds)
    )
    if not permitted(Actor(by.id, near), name, *grounds):
        raise Refused("role.not_permitted", command=name)


def demand_called(facts: Facts, unit: str) -> None:
    """A unit has been called and has not answered."""
    if (unit, Call.WAITING) not in facts.calls:
        raise Refused("case.not_called", unit=unit)


def demand_child(facts: Facts, child: str) -> None:
    """A case is a child of this one."""
    if all(known.case != child for known in facts.children):
        raise Refused("case.not_a_child", child=child)


def demand_awaited(case: Known, command: c.NoteChildEnded) -> None:
    """What an open parent waits for is merged only into what it waits for as well: or into itself,
    or else it would close before the work is done."""
    children = case.facts.children
    awaited = [child.case for child in children if child.required and not child.ended]
    if command.into is None or case.name not in OPEN or command.child not in awaited:
        return
    if command.into not in (case.facts.id, *awaited):
        raise Refused("case.child_awaited", parent=case.facts.id)


def demand_children_ended(facts: Facts, *, required_only: bool) -> None:
    """Nothing is left behind that somebody still waits for."""
    if any(not child.ended and (child.required or not required_only) for child in facts.children):
        raise Refused("case.open_children")


def only_as(facts: Facts, command: c.Command, *roles: Role) -> bool:
    """Whether nothing but these roles permits the command here, so that their own rules apply.

    A role held elsewhere changes nothing: who is a coordinator in one community is none in another.
    """
    others = tuple([grant for grant in command.by.grants if grant.role not in roles])
    if len(others) == len(command.by.grants):
        return False  # then it is permitted by others: that was demanded before
    without = Actor(command.by.id, others)
    return not permitted(without, type(command).__name__, facts.place.path, facts.holder)
