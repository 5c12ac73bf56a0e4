"""Who outside is told: added and changed by administrators, where their own rights reach."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain import webhooks
from domain.roles import Actor, Grant, Role, system
from domain.webhooks import (
    LONGEST_URL,
    MOST,
    AddReceiver,
    ChangeReceiver,
    DeadLettersResent,
    ReceiverAdded,
    ReceiverChanged,
    ReceiverRemoved,
    ReceiverSecretRotated,
    RemoveReceiver,
    ResendDeadLetters,
    RotateReceiverSecret,
)
from tests.domain.schedules import local
from tests.specification import Specification

given = Specification(webhooks.decide, webhooks.evolve, webhooks.initial).given

AT = local("2026-01-05 09:00")
URL = "https://example.com/hooks/wangge?of=d1"
BY = Actor("chief", (Grant(Role.ADMINISTRATOR, "d1/"),))
COMMON: dict[str, Any] = {"by": BY, "at": AT, "receiver": "city"}
STAMP: dict[str, Any] = {"at": AT, "territory": "d1/s1/", "receiver": "city"}
ADD = AddReceiver(**COMMON, territory="d1/s1/", url=URL, events=("case.filed",))
ADDED = ReceiverAdded(**STAMP, url=URL, events=("case.filed",), by="chief")
REMOVED = ReceiverRemoved(**STAMP)


def test_a_receiver_is_added_and_removed_and_its_id_is_never_used_again() -> None:
    given().when(ADD).then(ADDED)
    given(ADDED).when(RemoveReceiver(**COMMON)).then(REMOVED)
    assert [each.id for each in given(ADDED).state.active] == ["city"]
    assert given(ADDED, REMOVED).state.active == []
    given(ADDED).when(ADD).refused("webhook.exists")
    given(ADDED, REMOVED).when(ADD).refused("webhook.exists")


def test_a_receiver_is_changed_only_when_something_changes() -> None:
    change = ChangeReceiver(**COMMON, url="https://example.org/", events=())
    given(ADDED).when(change).then(ReceiverChanged(**STAMP, url=change.url, events=()))
    same = ChangeReceiver(**COMMON, url=URL, events=("case.filed",))
    given(ADDED).when(same).then()
    changed = given(ADDED, *given(ADDED).when(change).events).state.receiver("city")
    assert (changed.url, changed.events) == (change.url, ())


def test_a_secret_gets_another_generation() -> None:
    at = AT + timedelta(days=1)
    rotate = RotateReceiverSecret(**(COMMON | {"at": at}))
    second = ReceiverSecretRotated(**(STAMP | {"at": at}), generation=2)
    given(ADDED).when(rotate).then(second)
    receiver = given(ADDED, second).state.receiver("city")
    assert (receiver.generation, receiver.rotated_at) == (2, at)
    given(ADDED, second).when(rotate).then(replace(second, generation=3))


def test_dead_letters_are_sent_again_some_or_all() -> None:
    some = ResendDeadLetters(**COMMON, positions=(11, 7, 11))
    given(ADDED).when(some).then(DeadLettersResent(**STAMP, positions=(7, 11)))
    every = DeadLettersResent(**STAMP, positions=())
    given(ADDED).when(ResendDeadLetters(**COMMON)).then(every)
    assert given(ADDED, every).state == given(ADDED).state


@pytest.mark.parametrize(
    "command", [ChangeReceiver(**COMMON, url=URL), RemoveReceiver(**COMMON)], ids=repr
)
def test_who_is_not_there_cannot_be_changed(command: webhooks.Command) -> None:
    given().when(command).refused("webhook.unknown")
    given(ADDED, REMOVED).when(command).refused("webhook.unknown")


@pytest.mark.parametrize(
    "command",
    [
        ADD,
        ChangeReceiver(**COMMON, url="https://example.org/"),
        RotateReceiverSecret(**COMMON),
        RemoveReceiver(**COMMON),
        ResendDeadLetters(**COMMON),
    ],
    ids=lambda command: type(command).__name__,
)
def test_only_administrators_of_the_territory_may(command: webhooks.Command) -> None:
    story = given() if command is ADD else given(ADDED)
    for by in (
        Actor("a", (Grant(Role.ADMINISTRATOR, "d1/s1/c1/"),)),
        Actor("b", (Grant(Role.ADMINISTRATOR, "d1/s2/"), Grant(Role.SUPERVISOR, ""))),
    ):
        story.when(replace(command, by=by)).refused("role.not_permitted")
    assert story.when(replace(command, by=system("setup"))).events


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"receiver": "City"}, "webhook.bad_id"),
        ({"receiver": ""}, "webhook.bad_id"),
        ({"events": ("case.eaten",)}, "webhook.unknown_event"),
        ({"events": ("staff.user_added",)}, "webhook.unknown_event"),
        ({"url": "ftp://example.com/"}, "webhook.bad_url"),
        ({"url": "https://"}, "webhook.bad_url"),
        ({"url": "https://user:secret@example.com/"}, "webhook.bad_url"),
        ({"url": "https://example.com/#there"}, "webhook.bad_url"),
        ({"url": "https://example.com/a b"}, "webhook.bad_url"),
        ({"url": "https://example.com\\@127.0.0.1/"}, "webhook.bad_url"),
        ({"url": "https://example.com/\r\nHost: x"}, "webhook.bad_url"),
        ({"url": "https://example.com:123456/"}, "webhook.bad_url"),
        ({"url": "https://example.com:99999/"}, "webhook.bad_url"),
        ({"url": "https://example.com:0/"}, "webhook.bad_url"),
        ({"url": "https://[:::]/"}, "webhook.bad_url"),
        ({"url": "https://a..b/"}, "webhook.bad_url"),
        ({"url": f"https://{'a' * 64}.com/"}, "webhook.bad_url"),
        ({"url": "https://example.com/" + "a" * LONGEST_URL}, "webhook.bad_url"),
    ],
)
def test_what_cannot_be_a_receiver_is_refused(change: dict[str, Any], code: str) -> None:
    given().when(replace(ADD, **change)).refused(code)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com?x=1",
        "https://a-b.example.com:8443/x/y?z=1&w=%20",
        "http://127.0.0.1:9000/",
        "https://[2001:db8::1]:443/x",
        f"https://{'a' * 63}.com/",
    ],
)
def test_what_can_be_an_address(url: str) -> None:
    assert given().when(replace(ADD, url=url)).events


def test_there_is_an_end_to_receivers() -> None:
    many = [replace(ADDED, receiver=f"r{n}") for n in range(MOST)]
    given(*many).when(ADD).refused("webhook.too_many")
    assert given(*many, replace(REMOVED, receiver="r1")).when(ADD).events


ids = st.sampled_from(["a", "b"])
commands = st.one_of(
    st.builds(lambda i: replace(ADD, receiver=i), ids),
    st.builds(
        lambda i, url: ChangeReceiver(**(COMMON | {"receiver": i}), url=url),
        ids,
        st.sampled_from([URL, "https://example.org/", "nothing"]),
    ),
    st.builds(lambda i: RotateReceiverSecret(**(COMMON | {"receiver": i})), ids),
    st.builds(lambda i: RemoveReceiver(**(COMMON | {"receiver": i})), ids),
    st.builds(lambda i: ResendDeadLetters(**(COMMON | {"receiver": i})), ids),
)


@settings(max_examples=60)
@for_all(st.lists(commands, max_size=20))
def test_no_secret_ever_comes_back(script: list[webhooks.Command]) -> None:
    """Whatever is done, an id and a generation stand for one secret of one receiver."""
    history: list[webhooks.Event] = []
    for command in script:
        result = given(*history).when(command).result
        history += result if isinstance(result, tuple) else ()
    begun = [
        (event.receiver, getattr(event, "generation", 1))
        for event in history
        if isinstance(event, ReceiverAdded | ReceiverSecretRotated)
    ]
    assert len(begun) == len(set(begun))
