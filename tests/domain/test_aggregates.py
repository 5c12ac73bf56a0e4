"""Each command belongs to one decider, each decider to its streams."""

from itertools import chain

from domain.aggregates import AGGREGATES, CASE, CATALOGUE, PRIVACY, case_stream, decider_of
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


def test_looks_stand_with_their_case_and_forgetting_with_its_person() -> None:
    assert decider_of(samples.show()) is decider_of(samples.ask_forget()) is PRIVACY
    assert PRIVACY.stream(samples.show(case="a")) == "privacy:a"
    for command in (samples.ask_forget(), samples.approve_forget(), samples.decline_forget()):
        assert PRIVACY.stream(command) == f"person:{samples.RESIDENT.id}"


def test_no_command_and_no_event_belongs_to_two() -> None:
    commands = list(chain.from_iterable(decider.commands for decider in AGGREGATES))
    events = list(chain.from_iterable(decider.events for decider in AGGREGATES))
    assert len(commands) == len(set(commands))
    assert len(events) == len(set(events))


def test_a_version_mismatch_says_what_was_found() -> None:
    mismatch = VersionMismatch(3, 5)
    assert (mismatch.expected, mismatch.actual) == (3, 5)
    assert "3" in str(mismatch)
