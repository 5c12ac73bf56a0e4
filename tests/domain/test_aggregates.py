"""Each command belongs to one decider, each decider to its streams."""

from itertools import chain

from domain.aggregates import AGGREGATES, CASE, CATALOGUE, case_stream, decider_of
from domain.catalogue import RetireCategory
from domain.errors import VersionMismatch
from tests import samples


def test_a_case_has_a_stream_of_its_own() -> None:
    assert decider_of(samples.file()) is CASE
    assert CASE.stream(samples.file(case="a")) == case_stream("a") == "case:a"


def test_the_configuration_of_the_office_is_one_stream_each() -> None:
    command = RetireCategory(by=samples.ADMINISTRATOR, at=samples.NOW, code="noise")
    assert decider_of(command) is CATALOGUE
    assert [d.stream(None) for d in AGGREGATES if d.single] == [
        "territory",
        "staff",
        "catalogue",
        "calendar",
    ]
    assert CATALOGUE.alongside(CATALOGUE.initial, command) == []


def test_no_command_and_no_event_belongs_to_two() -> None:
    commands = list(chain.from_iterable(decider.commands for decider in AGGREGATES))
    events = list(chain.from_iterable(decider.events for decider in AGGREGATES))
    assert len(commands) == len(set(commands))
    assert len(events) == len(set(events))


def test_a_version_mismatch_says_what_was_found() -> None:
    mismatch = VersionMismatch(3, 5)
    assert (mismatch.expected, mismatch.actual) == (3, 5)
    assert "3" in str(mismatch)
