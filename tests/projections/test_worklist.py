"""The worklist's row of a case says what the domain knows of it."""

from typing import Any

from hypothesis import given, settings

from domain import case
from domain.case import events as e
from domain.case.states import Call, Case, Known, Unknown
from domain.history import Recorded
from projections import worklist
from projections.worklist import CaseRow
from tests import samples
from tests.domain.test_case_properties import SCRIPTS, World, steps_of


@settings(max_examples=40)
@given(SCRIPTS)
def test_the_row_says_what_the_domain_knows(script: bytes) -> None:
    world = World()
    for step in steps_of(script):
        world.execute(world.command(step))
    for history in world.histories.values():
        now: Case = case.initial
        row: CaseRow | None = None
        for version, event in enumerate(history, 1):
            now = case.evolve(now, event)
            row = worklist.fold(row, recorded(version, event))
            assert not isinstance(now, Unknown)
            told = known(now)
            assert {name: getattr(row, name) for name in told} == told, (version, event)
            assert (row.callback_until is not None) == owed(now, history[:version]), (
                version,
                event,
            )


def recorded(version: int, event: e.Event) -> Recorded[Any]:
    return Recorded(version, f"case:{samples.CASE}", version, event, at=event.at, actor="li")


def known(now: Known) -> dict[str, Any]:
    """What the domain says of all that the row says too."""
    facts, clock, terms = now.facts, now.facts.clock, now.facts.terms
    return {
        "state": now.name,
        "territory": facts.place.path,
        "tier": facts.tier,
        "highest": facts.highest,
        "holder": facts.holder,
        "unit": facts.unit,
        "worker": facts.worker,
        "handler": facts.handler,
        "reporter": facts.reporter,
        "intake": facts.intake,
        "category": terms and terms.category,
        "size": terms and terms.size,
        "filed_size": facts.filed_size,
        "filed_at": facts.filed_at,
        "due": clock and clock.due,
        "provisional": bool(clock and clock.provisional),
        "contact_due": clock and clock.contact_due,
        "contacted_at": clock and clock.contacted,
        "parked_until": clock and clock.paused_until,
        "breached": bool(clock and clock.breached),
        "episode": facts.episode,
        "returns": facts.returns,
        "asked": facts.request and facts.request.what,
        "asked_by": facts.request and facts.request.by,
        "called": sorted(unit for unit, _ in facts.calls),
        "awaited": sorted(unit for unit, call in facts.calls if call is Call.WAITING),
        "parent": facts.parent,
        "survivor": facts.survivor,
        "outcome": facts.outcome,
        "closed_at": facts.closed_at,
    }


def owed(now: Known, history: list[e.Event]) -> bool:
    """Whether somebody is still to call back: nobody was reached, and one more attempt may be."""
    if now.name != "closed":
        return False
    assert now.facts.terms is not None
    reached = False
    for event in history:
        if isinstance(event, e.CaseClosed | e.CallbackMade):
            reached = isinstance(event, e.CallbackMade) and (reached or event.reached)
    return not reached and now.facts.callbacks < now.facts.terms.policy.callback_attempts
