"""What is told of an event: the state that it brings about, as the rules have it."""

from functools import reduce

from hypothesis import given as for_all
from hypothesis import settings

from domain import case
from domain.case.states import Case, Unknown
from domain.news import STATE_AFTER
from tests.domain.test_case_properties import SCRIPTS, World, steps_of


@settings(max_examples=30)
@for_all(SCRIPTS)
def test_the_state_after_an_event_is_the_one_that_the_rules_give(script: bytes) -> None:
    world = World()
    for step in steps_of(script):
        before = dict(world.states)
        for name, events in world.execute(world.command(step)).items():
            state: Case = before[name]
            for event in events:
                was, state = state, case.evolve(state, event)
                assert not isinstance(state, Unknown)
                assert state.name == STATE_AFTER.get(type(event), was.name), event
            assert state == reduce(case.evolve, events, before[name])
