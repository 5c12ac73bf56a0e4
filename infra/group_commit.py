"""Many callers, few transactions: commands that wait together are stored together.

A single thread takes whatever waits, loads all its streams in one query, decides one command after
another on them, and appends all events in one round trip and one fsync. Each caller gets a verdict
of its own: what one is refused never fails another. Within a process no race can be lost this way;
only another process on the same database can be faster, and then the whole group decides anew.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from eventsourcing.persistence import IntegrityError, OperationalError

from domain.aggregates import decider_of
from domain.errors import Conflict, Overloaded, Refused, VersionMismatch
from infra.codec import Codec
from infra.event_store import ATTEMPTS, Batch, EventStore, LogRecorder, Receipt

GROUP: Final = 128
"""Commands in one transaction, at most: beyond it the wait grows and the fsync is well shared."""

WAITING: Final = 2_000
"""Commands that may wait, at most: a client is told to come back sooner than to wait in vain."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Request:
    commands: Sequence[Any]
    correlation: str
    causation: str
    expected: int | None
    answer: Future[Receipt] = field(default_factory=Future)


class GroupCommit(EventStore):
    """An event store for many callers at a time. Use as a context manager."""

    def __init__(
        self,
        recorder: LogRecorder,
        codec: Codec,
        *,
        group: int = GROUP,
        waiting: int = WAITING,
    ) -> None:
        super().__init__(recorder, codec)
        self._group = group
        self._queue: queue.Queue[_Request | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def __enter__(self) -> "GroupCommit":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Store what waits already, then end."""
        self._queue.put(None)
        self._thread.join()

    def submit(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Future[Receipt]:
        """Let commands wait for the next transaction; the future answers as ``execute`` does.

        Raises:
            Overloaded: too many wait already. Nothing of this is stored.
        """
        request = _Request(commands, correlation, causation, expected)
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise Overloaded from None
        return request.answer

    def execute(
        self,
        *commands: Any,
        correlation: str = "",
        causation: str = "",
        expected: int | None = None,
    ) -> Receipt:
        """Decide and append, all or nothing, and wait for it.

        Raises:
            Refused, VersionMismatch, Conflict, Overloaded: as ``EventStore.execute``, ``submit``.
        """
        return self.submit(
            *commands, correlation=correlation, causation=causation, expected=expected
        ).result()

    def _run(self) -> None:
        while (request := self._queue.get()) is not None:
            group = [request]
            ending = False
            while len(group) < self._group:
                try:
                    another = self._queue.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    ending = True
                    break
                group.append(another)
            self._commit(group)
            if ending:
                return

    def _commit(self, group: list[_Request]) -> None:
        """Give every request of a group its verdict, whatever happens."""
        try:
            for _ in range(ATTEMPTS):
                if self._attempt(group):
                    return
            error: Exception = Conflict()
        except OperationalError as away:
            error = away
        except Exception as unexpected:  # noqa: BLE001 - whoever waits must hear of anything
            if len(group) > 1:
                # One of them cannot be decided or stored: the others shall not pay for it.
                for request in group:
                    self._commit([request])
                return
            error = unexpected
        for request in group:
            if not request.answer.done():
                request.answer.set_exception(error)

    def _attempt(self, group: list[_Request]) -> bool:
        """Decide and append a group once; False when another process was faster."""
        batch = Batch(self)
        batch.load([command for request in group for command in request.commands])
        verdicts: list[Receipt | Exception] = []
        for request in group:
            first = decider_of(request.commands[0]).stream(request.commands[0])
            version = batch.streams[first].version
            try:
                if request.expected not in (None, version):
                    raise VersionMismatch(int(request.expected or 0), version)
                events = batch.decide(
                    *request.commands,
                    correlation=request.correlation,
                    causation=request.causation,
                )
            except (Refused, VersionMismatch) as no:
                verdicts.append(no)
            else:
                verdicts.append(
                    Receipt(tuple(events), len(batch.entries), batch.streams[first].version)
                )
        count = len(batch.entries)
        try:
            last = batch.append()
        except IntegrityError:
            return False
        # Only now is anything true: also a refusal may rest on an event of the same group.
        for request, verdict in zip(group, verdicts, strict=True):
            if isinstance(verdict, Receipt):
                position = last - count + verdict.position if verdict.events else 0
                request.answer.set_result(Receipt(verdict.events, position, verdict.version))
            else:
                request.answer.set_exception(verdict)
        return True
