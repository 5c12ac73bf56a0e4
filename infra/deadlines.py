"""The deadline process: issues what happens to cases by itself, in batches, when it is due.

The read model ``deadlines`` says where to look, the case itself whether it is so, and ``decide``
has the last word (``domain.deadlines``). So nothing is lost or done twice, whatever the read model
lags behind, wherever the process is killed, and even if two of them run; one leads, by an advisory
lock, so that they do not do one another's work.

What fails does not hold up the rest: it is noted, with the reason, and tried again later and later.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import psycopg
import structlog
from eventsourcing.persistence import IntegrityError, OperationalError
from psycopg_pool import PoolTimeout

from domain.aggregates import CASE, Office, case_stream
from domain.deadlines import Automatic, Pending, command, is_stale, pending, recompute
from domain.errors import Conflict, Refused
from infra.event_store import ATTEMPTS, Batch, EventStore

EVERY_SECONDS: Final = 5.0
"""How often it is looked whether something is due."""

BEHIND_SECONDS: Final = 30.0
"""The same while the read model only tells what was done long ago: it lags, or stands still."""

PAGE: Final = 200
"""Cases in one transaction, at most."""

TELL_SECONDS: Final = 10.0
"""How often it says how far it is, while there is more to do than a page."""

RETRY_FIRST: Final = timedelta(seconds=30)
RETRY_LAST: Final = timedelta(hours=1)
"""How long to wait after a first failure, doubled each time, and at most."""

CORRELATION: Final = "deadlines"
"""What the events are to be found by in the audit trail."""

_AWAY: Final = (OperationalError, psycopg.Error, PoolTimeout)
"""Not the fault of a case."""

log = structlog.get_logger(__name__)


class Action(Protocol):
    """Something that is due, as the read model has it."""

    @property
    def at(self) -> datetime: ...
    @property
    def case(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def episode(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def retry_at(self) -> datetime | None: ...
    @property
    def place(self) -> Any: ...


class Backlog(Protocol):
    """What is due, as ``projections.deadlines.Backlog`` keeps it."""

    def page(
        self,
        now: datetime,
        ahead: timedelta,
        settled: Sequence[tuple[datetime, datetime]],
        after: Any,
        limit: int,
    ) -> Sequence[Action]:
        """What is due after a place in its order; ``settled`` as ``Calendar.settled`` tells it."""
        ...

    def failed(self, action: Any, error: str, retry_at: datetime) -> None:
        """Note that something could not be done."""
        ...

    def settle(self) -> None:
        """Forget the failures of what no longer waits."""
        ...


@dataclass(slots=True)
class Done:
    """What a round came to. ``gone``: it no longer was so when it was looked at; ``waiting``: it
    failed before and is not to be tried again yet."""

    issued: int = 0
    gone: int = 0
    failed: int = 0
    waiting: int = 0


class Deadlines:
    """Does what is due. One at a time does it, of all processes on the same database."""

    def __init__(
        self,
        store: EventStore,
        connect: Callable[[], psycopg.Connection],
        backlog: Callable[[psycopg.Connection], Backlog],
        clock: Callable[[], datetime],
    ) -> None:
        """``connect`` opens an autocommit connection of the role ``wangge_projector``."""
        self._store = store
        self._connect = connect
        self._backlog = backlog
        self._clock = clock

    def run(self) -> Done | None:
        """Do what is due now; None where another process is at it.

        Raises:
            psycopg.Error, OperationalError: the database is away; what is left is done next time.
        """
        with self._connect() as connection:
            if not _leads(connection):
                return None
            done = self.round(self._backlog(connection))
            # Whoever comes next need not wait until PostgreSQL has seen that we are gone.
            connection.execute("SELECT pg_advisory_unlock_all()")
            return done

    def follow(self, stop: threading.Event) -> None:
        """Do what is due as it comes, until told to stop, through lost connections."""
        while not stop.is_set():
            try:
                with self._connect() as connection:
                    self._lead(connection, stop)
            except Exception as error:  # whatever it is, nobody else would go on
                log.warning("deadlines.interrupted", exc_info=error)
                stop.wait(EVERY_SECONDS)

    def _lead(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        """Wait to be the leader, and be it as long as the connection lasts."""
        backlog = self._backlog(connection)
        leads = False
        while not stop.is_set():
            leads, pause = leads or _leads(connection), EVERY_SECONDS
            if leads:
                done = self.round(backlog, stop.wait)
                if done.gone and not done.issued:
                    pause = BEHIND_SECONDS
            stop.wait(pause)

    def round(
        self, backlog: Backlog, rest: Callable[[float], object] = lambda _seconds: None
    ) -> Done:
        """Do all that is due, page by page.

        After a full page it rests (``rest`` gets seconds) as long as it has worked: a burst, as of
        old cases brought in or after weeks of downtime, leaves room for people.
        """
        done, place, told = Done(), None, time.monotonic()
        while True:
            begun = time.monotonic()
            office = self._store.office()
            ahead, settled = office.catalogue.ahead, office.calendar.settled()
            page = backlog.page(self._clock(), ahead, settled, place, PAGE)
            if not page:
                break
            place = page[-1].place
            now = self._clock()
            ready = [each for each in page if each.retry_at is None or each.retry_at <= now]
            done.waiting += len(page) - len(ready)
            if ready:
                self._issue(backlog, ready, office, done)
            if len(page) < PAGE:
                continue
            if begun - told > TELL_SECONDS:
                told = begun
                log.info("deadlines.burst", issued=done.issued, due_since=page[-1].at.isoformat())
            rest(time.monotonic() - begun)
        backlog.settle()
        if done.issued or done.failed:
            log.info("deadlines.done", issued=done.issued, failed=done.failed)
        return done

    def _issue(
        self, backlog: Backlog, actions: Sequence[Action], office: Office, done: Done
    ) -> None:
        """Do some actions in one transaction; or one by one, where they cannot be done together."""
        now = self._clock()
        try:
            issued, refused = self._together(actions, office, now)
        except _AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a case stumbles over, others go on
            if len(actions) > 1:
                for each in actions:
                    self._issue(backlog, [each], office, done)
                return
            issued, refused = 0, [(actions[0], error)]
        done.issued += issued
        done.gone += max(len(actions) - issued - len(refused), 0)
        done.failed += len(refused)
        for action, why in refused:
            retry_at = now + min(RETRY_FIRST * 2 ** min(action.attempts, 20), RETRY_LAST)
            log.warning(
                "deadlines.failed",
                case=action.case,
                kind=action.kind,
                attempts=action.attempts + 1,
                error=repr(why),
            )
            backlog.failed(action, f"{type(why).__name__}: {why}", retry_at)

    def _together(
        self, actions: Sequence[Action], office: Office, now: datetime
    ) -> tuple[int, list[tuple[Action, Exception]]]:
        """How many were issued, and those that were refused with the reason.

        Raises:
            Conflict: people were faster every time.
        """
        for _ in range(ATTEMPTS):
            batch = Batch(self._store, CORRELATION)
            batch.load_streams({case_stream(each.case): CASE for each in actions})
            issued, refused = 0, list[tuple[Action, Exception]]()
            for action in actions:
                try:
                    # A due that is not certain is reckoned again before anything rests on it.
                    if is_stale(batch.streams[case_stream(action.case)].state, office.calendar):
                        again = recompute(action.case, now, office.calendar)
                        batch.decide(again, causation=Automatic.RECOMPUTE)
                        issued += 1
                    waiting = self._waiting(batch, action, office, now)
                    if waiting is None:
                        continue
                    batch.decide(
                        command(waiting, now, office.catalogue.ahead, office.calendar),
                        causation=action.kind,
                    )
                    issued += 1
                except Refused as no:
                    refused.append((action, no))
            try:
                batch.append()
            except IntegrityError:
                continue  # somebody has worked on one of the cases meanwhile
            return issued, refused
        raise Conflict

    def _waiting(
        self, batch: Batch, action: Action, office: Office, now: datetime
    ) -> Pending | None:
        """What the case itself says of an action: None where it is done, moot, or put off."""
        state = batch.streams[case_stream(action.case)].state
        for each in pending(state, office.catalogue.ahead):
            if each.kind == action.kind and each.episode == action.episode and each.is_due(now):
                return each
        return None


def _leads(connection: psycopg.Connection) -> bool:
    """Whether this connection is, or has just become, the one that does the work."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(hashtextextended('wangge deadlines', 0))"
    ).fetchone()
    return bool(row and row[0])
