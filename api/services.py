"""What the API is handed by whoever composes it: the API itself knows no infrastructure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from domain.aggregates import Office
from domain.history import Recorded
from projections.gateway import Gateway

API: Final = "/api/v1"
"""What every path of the API begins with; a change that breaks a client gets another one."""


class Receipt(Protocol):
    """What became of a command; ``position`` is 0 where nothing needed to change."""

    @property
    def events(self) -> tuple[Any, ...]: ...
    @property
    def position(self) -> int: ...
    @property
    def version(self) -> int: ...


class Store(Protocol):
    """The log, as ``infra.event_store.EventStore`` offers it."""

    def execute(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Receipt:
        """Load, decide and append, all or nothing."""
        ...

    def office(self) -> Office:
        """The configuration of the office as of now."""
        ...

    def case(self, case_id: str) -> tuple[Any, int]:
        """A case's present state and version, or a refusal."""
        ...

    def history(self, stream: str) -> list[Recorded[Any]]:
        """All events of one stream, oldest first."""
        ...


class Passwords(Protocol):
    """Where the hashes of local accounts are."""

    def verify(self, person: str, password: str) -> bool:
        """Whether this is the person's password; takes as long where there is no such person."""
        ...

    def set(self, person: str, password: str) -> None:
        """Give a person a password."""
        ...


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """An account of the sample district, shown where one signs in."""

    username: str
    password: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that the API works with.

    ``names`` are the stored names of event classes; ``secret`` is the installation's;
    ``body_limit`` is in bytes. ``demo`` is empty but for a demonstration on loopback.
    """

    store: Store
    gateway: Gateway
    passwords: Passwords
    names: Mapping[type, str]
    secret: bytes = field(repr=False)
    clock: Callable[[], datetime]
    token_minutes: int = 30
    body_limit: int = 1_000_000
    demo: tuple[DemoAccount, ...] = ()
    version: str = "0.1.0"
