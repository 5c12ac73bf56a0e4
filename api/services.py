"""What the API is handed by whoever composes it: the API itself knows no infrastructure."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from domain.aggregates import Office
from domain.answers import Answered, Answering, Once, Receipt
from domain.attachments import Kind
from domain.history import Recorded
from domain.news import News
from domain.reports import Extract, Report
from domain.staff import Staff
from domain.traces import Spans
from domain.webhooks import Webhooks
from projections.gateway import Gateway

API: Final = "/api/v1"
"""What every path of the API begins with; a change that breaks a client gets another one."""


class Store(Protocol):
    """The log, as ``infra.event_store.EventStore`` offers it to who reads: each call waits."""

    def office(self) -> Office:
        """The configuration of the office as of now."""
        ...

    def case(self, case_id: str) -> tuple[Any, int]:
        """A case's present state and version, or a refusal."""
        ...

    def history(self, stream: str, *, opened: bool = False) -> list[Recorded[Any]]:
        """All events of one stream, oldest first; ``opened``: with personal fields in clear."""
        ...

    def event(self, position: int) -> Recorded[Any] | None:
        """The event at a position, personal fields sealed; None beyond the end of the log."""
        ...

    def histories(self, streams: Collection[str], upto: int) -> dict[str, list[Recorded[Any]]]:
        """The events of several streams up to a position, by stream, oldest first."""
        ...


class Commits(Protocol):
    """The way of commands into the log, as ``infra.group_commit.GroupCommit`` offers it.

    ``noting`` hears how many commands go together.
    """

    noting: Callable[[int], None]

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *error: object) -> None: ...

    async def execute(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Receipt:
        """Load, decide and append, all or nothing."""
        ...

    async def answer(
        self,
        *commands: Any,
        correlation: str,
        expected: int | None,
        once: Once | None,
        answering: Answering,
    ) -> Answered:
        """The same, giving what became of it in words; they are kept with the caller's key."""
        ...

    async def look(self, once: Once | None = None) -> tuple[Office, Answered | None]:
        """The office as of now, and what a request was answered before, if it was."""
        ...


class Feed(Protocol):
    """The log as it grows, as ``infra.feed.Feed`` follows it, once for all clients."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *error: object) -> None: ...

    @property
    def position(self) -> int:
        """How far it is."""
        ...

    @property
    def staff(self) -> Staff:
        """Who may what, as of that position at least."""
        ...

    @property
    def closed(self) -> bool:
        """Whether streams are to end."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the log is followed, or would be for who listens."""
        ...

    async def ready(self, seconds: float) -> bool:
        """Whether the log is followed by now; waits for that."""
        ...

    def since(self, after: int) -> list[News] | None:
        """What is new after a position; None where some of it is no longer kept."""
        ...

    async def page(self, after: int) -> tuple[list[News], int]:
        """A stretch of what is new after a position, from the log, and where it ends."""
        ...

    async def wait(self, after: int, seconds: float) -> bool:
        """Wait until there is something after a position; whether there is."""
        ...


class Vault(Protocol):
    """The keys of personal data, as ``infra.vault.Vault`` has them."""

    def well(self) -> bool:
        """Whether new data can be sealed; waits."""
        ...


class ReceiverStanding(Protocol):
    """How a receiver's deliveries go."""

    @property
    def position(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def failing_since(self) -> datetime | None: ...
    @property
    def retry_at(self) -> datetime | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def dead(self) -> int: ...


class Receivers(Protocol):
    """Who outside is told, as ``infra.webhooks.Receivers`` knows it; each call waits."""

    def known(self) -> Webhooks:
        """All receivers, as of now."""
        ...

    def standings(self) -> Mapping[str, ReceiverStanding]:
        """How each one's deliveries go, by its id."""
        ...

    def dead(self, receiver: str, after: int, limit: int) -> Sequence[Any]:
        """Dead letters after a position, in order."""
        ...


class Passwords(Protocol):
    """Where the hashes of local accounts are."""

    def verify(self, person: str, password: str) -> bool:
        """Whether this is the person's password; takes as long where there is no such person."""
        ...

    def set(self, person: str, password: str) -> None:
        """Give a person a password."""
        ...

    def set_first(self, person: str, password: str) -> None:
        """Give a person a password, unless one was given ever."""
        ...

    def drop(self, person: str, until: datetime) -> None:
        """Let nobody sign in with a password that a person was given until then."""
        ...


class Incoming(Protocol):
    """A file that is being sent; every call waits for a disk."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def write(self, data: bytes, /) -> None:
        """Take what has come."""
        ...

    def finish(self) -> tuple[Kind, str]:
        """What it is, by its content, and its address, once it is stored for good."""
        ...

    def close(self) -> None:
        """Let go of it, stored or not."""
        ...


class Outgoing(Protocol):
    """A stored file, fetched but not opened."""

    def content(self) -> Iterator[bytes]:
        """The file in clear, in pieces; or a refusal before the first."""
        ...

    def thumbnail(self) -> bytes:
        """A small JPEG of it, or a refusal."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Attachments(Protocol):
    """The files of cases, as ``infra.attachments.Attachments`` keeps them."""

    def incoming(self, case: str, attachment: str) -> Incoming:
        """A file that begins to come in, or a refusal."""
        ...

    def outgoing(self, case: str, attachment: str, address: str) -> Outgoing:
        """A file, fetched from where it is stored, or a refusal."""
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
    ``body_limit`` is in bytes, and so is ``attachment_limit``. ``forget`` does what the log says
    is to be done for those forgotten: destroys keys, lets nobody sign in. ``demo`` is empty but for
    a demonstration on loopback; ``spans`` is None where nobody asks for traces. From
    ``lag_seconds`` on a read model is behind; ``metrics_token`` opens ``/metrics`` to who has it.
    """

    store: Store
    commits: Commits
    feed: Feed
    gateway: Gateway
    passwords: Passwords
    receivers: Receivers
    vault: Vault
    webhook_secret: Callable[[str, int], str]
    attachments: Attachments
    forget: Callable[[], object]
    render: Callable[[Report | Extract, str], bytes]
    names: Mapping[type, str]
    secret: bytes = field(repr=False)
    clock: Callable[[], datetime]
    token_minutes: int = 30
    body_limit: int = 1_000_000
    attachment_limit: int = 20_000_000
    webhooks_private: bool = False
    demo: tuple[DemoAccount, ...] = ()
    version: str = "0.1.0"
    spans: Spans | None = None
    lag_seconds: float = 60.0
    metrics_token: str = ""
