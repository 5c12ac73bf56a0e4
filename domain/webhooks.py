"""Webhooks (消息推送): who outside is told what happens to cases, of which territory and kind.

A receiver is told only what the live feed tells: that something happened, where, and which state it
brought about. Its secret is not here, nor anywhere: it is derived from the installation's own, from
the receiver's id and the ``generation`` of the secret. So an id is never used again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv6Address
from typing import Any, Final, assert_never

from domain import words
from domain.errors import Refused
from domain.places import is_id
from domain.roles import Actor, demand

STREAM: Final = "webhooks"

MOST: Final = 50
"""Receivers at the same time."""

LONGEST_URL: Final = 500

KINDS: Final = frozenset(name for name in words.EVENTS if name.startswith("case."))
"""What a receiver may be told of, by stored names."""

_URL: Final = re.compile(
    r"https?://(?:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)|\[(?P<six>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][!$-;=?-Z_a-z~%]*)?"
)
"""A host that is a name or an address, and no user, password or fragment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _WebhookCommand:
    by: Actor
    at: datetime
    receiver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReceiver(_WebhookCommand):
    """新增接收方. It is told what happens from now on; no ``events``: of all kinds."""

    territory: str
    url: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReceiver(_WebhookCommand):
    """修改接收方: another address, other kinds of events."""

    url: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateReceiverSecret(_WebhookCommand):
    """更换密钥: messages are signed with the old one too for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveReceiver(_WebhookCommand):
    """删除接收方: it is told nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendDeadLetters(_WebhookCommand):
    """重发: what was given up is tried again. ``positions`` names some; none: all of it."""

    positions: tuple[int, ...] = ()


Command = AddReceiver | ChangeReceiver | RotateReceiverSecret | RemoveReceiver | ResendDeadLetters


@dataclass(frozen=True, slots=True, kw_only=True)
class _WebhookEvent:
    at: datetime
    territory: str
    receiver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverAdded(_WebhookEvent):
    """A receiver is told what happens in its territory from here on."""

    url: str
    events: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverChanged(_WebhookEvent):
    """A receiver has this address and is told of these kinds."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverSecretRotated(_WebhookEvent):
    """Messages are signed with the secret of this generation."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverRemoved(_WebhookEvent):
    """A receiver is told nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersResent(_WebhookEvent):
    """What was given up is tried again; no positions: all of it."""

    positions: tuple[int, ...]


Event = (
    ReceiverAdded | ReceiverChanged | ReceiverSecretRotated | ReceiverRemoved | DeadLettersResent
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Somebody outside. ``rotated_at`` is when the present secret took the place of another."""

    id: str
    territory: str
    url: str
    events: tuple[str, ...]
    by: str
    since: datetime
    generation: int = 1
    rotated_at: datetime | None = None
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """All receivers there ever were."""

    receivers: Mapping[str, Receiver] = field(default_factory=dict)

    @property
    def active(self) -> list[Receiver]:
        """Those that are told."""
        return [each for each in self.receivers.values() if not each.removed]

    def receiver(self, receiver_id: str) -> Receiver:
        """One that is told.

        Raises:
            Refused: ``webhook.unknown``.
        """
        receiver = self.receivers.get(receiver_id)
        if receiver is None or receiver.removed:
            raise Refused("webhook.unknown", receiver=receiver_id)
        return receiver


initial: Final = Webhooks()


def decide(webhooks: Webhooks, command: Command) -> list[Event]:
    """What happens next. What is so already happens not again.

    Raises:
        Refused: ``role.not_permitted``, or a ``webhook.*`` code that names the rule.
    """
    if isinstance(command, AddReceiver):
        return [_add(webhooks, command)]
    receiver = webhooks.receiver(command.receiver)
    demand(command, receiver.territory)
    stamp: dict[str, Any] = {
        "at": command.at,
        "territory": receiver.territory,
        "receiver": receiver.id,
    }
    match command:
        case ChangeReceiver(url=url, events=events):
            _demand_sensible(url, events)
            if (url, events) == (receiver.url, receiver.events):
                return []
            return [ReceiverChanged(**stamp, url=url, events=events)]
        case RotateReceiverSecret():
            return [ReceiverSecretRotated(**stamp, generation=receiver.generation + 1)]
        case RemoveReceiver():
            return [ReceiverRemoved(**stamp)]
        case ResendDeadLetters(positions=positions):
            return [DeadLettersResent(**stamp, positions=tuple(sorted(set(positions))))]
        case _:
            assert_never(command)


def evolve(webhooks: Webhooks, event: Event) -> Webhooks:
    """The receivers after an event."""
    match event:
        case ReceiverAdded():
            added = Receiver(
                id=event.receiver,
                territory=event.territory,
                url=event.url,
                events=event.events,
                by=event.by,
                since=event.at,
            )
            return _with(webhooks, added)
        case ReceiverChanged():
            receiver = webhooks.receivers[event.receiver]
            return _with(webhooks, replace(receiver, url=event.url, events=event.events))
        case ReceiverSecretRotated():
            receiver = webhooks.receivers[event.receiver]
            rotated = replace(receiver, generation=event.generation, rotated_at=event.at)
            return _with(webhooks, rotated)
        case ReceiverRemoved():
            return _with(webhooks, replace(webhooks.receivers[event.receiver], removed=True))
        case DeadLettersResent():
            return webhooks
        case _:
            assert_never(event)


def _add(webhooks: Webhooks, command: AddReceiver) -> ReceiverAdded:
    demand(command, command.territory)
    if not is_id(command.receiver):
        raise Refused("webhook.bad_id", id=command.receiver)
    if command.receiver in webhooks.receivers:
        raise Refused("webhook.exists", receiver=command.receiver)
    if len(webhooks.active) >= MOST:
        raise Refused("webhook.too_many", most=MOST)
    _demand_sensible(command.url, command.events)
    return ReceiverAdded(
        at=command.at,
        territory=command.territory,
        receiver=command.receiver,
        url=command.url,
        events=command.events,
        by=command.by.id,
    )


def _demand_sensible(url: str, events: tuple[str, ...]) -> None:
    if len(url) > LONGEST_URL or not _leads_somewhere(url):
        raise Refused("webhook.bad_url", longest=LONGEST_URL)
    for event in events:
        if event not in KINDS:
            raise Refused("webhook.unknown_event", event=event)


def _leads_somewhere(url: str) -> bool:
    """Whether it is an address whose port can be, and whose host is an address of IPv6, or a name
    of parts that are neither empty nor too long: anything else would be tried for days."""
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found["port"] or 443) < 2**16:
        return False
    if found["six"] is not None:
        try:
            IPv6Address(found["six"])
        except ValueError:
            return False
        return True
    return all(0 < len(part) < 64 for part in found["name"].split("."))


def _with(webhooks: Webhooks, receiver: Receiver) -> Webhooks:
    return replace(webhooks, receivers={**webhooks.receivers, receiver.id: receiver})
