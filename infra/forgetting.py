"""Forgetting, after the event: keys destroyed, credentials void, and the bytes that are left wiped.

The log says first that a person is forgotten; only then are keys destroyed. A process that ends in
between leaves keys that should not be there: the next start destroys them, and every server looks
every few seconds, also for what another process has approved.

Whoever approves looks first which cases are the person's. One that is reported between that look
and the event is at an earlier position as well, and not named: it is found here, and named by a
second event, so that read models wipe it wherever they are built.

**The term.** Once a key is destroyed nothing sealed with it can be read from the vault; a process
that had it at hand drops it when it looks, and anyhow after a minute (``vault.CACHE_SECONDS``).
What was clear text before (names of staff, masks) is gone from the read models as soon as they have
followed the log. ``wipe`` takes its bytes off the disk: pages, statistics, write-ahead log.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from eventsourcing.persistence import OperationalError
from psycopg import sql

from domain.case.events import CaseReported
from domain.errors import Conflict
from domain.history import LOG, Recorded, Wanted
from domain.privacy import ForgetMissed, PersonForgotten, person_stream
from domain.roles import system
from infra.event_store import EventStore
from infra.log_source import LogSource
from infra.vault import Vault

EVERY_SECONDS: Final = 5.0
"""How often a server looks whether somebody was forgotten. Until then it seals with the keys that
it has at hand, and what somebody types into a case that goes on is lost with them."""

PAGE: Final = 20_000
"""Positions looked through at a time."""

WHILE_APPROVED: Final = timedelta(minutes=10)
"""Longer than it takes from looking which cases are the person's to the event, by the clock of the
database."""

STEP: Final = 2_000
"""Positions looked through at a time for what was reported meanwhile."""

LOCK_TIMEOUT: Final = "5s"
"""How long a table may be waited for: whoever asks for it meanwhile waits behind us."""

_PERSONS: Final = (person_stream(""), person_stream("")[:-1] + ";")
"""Their streams begin with the first, and the second is what comes behind them all."""

_BY: Final = system("forgetting")

log = structlog.get_logger(__name__)


class Forgetting:
    """Does what the log says is to be done for those forgotten. For any number of threads."""

    def __init__(
        self,
        store: EventStore,
        source: LogSource,
        vault: Vault,
        drop: Callable[[str, datetime], None],
    ) -> None:
        """``drop`` makes void what a person was given to sign in with until a time."""
        self._store = store
        self._source = source
        self._vault = vault
        self._drop = drop
        self._done = 0
        self._lock = threading.Lock()

    def finish(self) -> int:
        """Destroy the keys that the log says are to be, and that are still there; how many.

        Looks at what is new since the last time, at first at all streams of persons. A key that was
        made after the forgetting belongs to somebody who has come back, and stays.

        Raises:
            psycopg.Error: what is left is done the next time.
        """
        destroyed, wanted = 0, Wanted((PersonForgotten,))
        with self._lock:
            while self._done < (head := self._source.head()):
                if self._done:
                    upto = min(self._done + PAGE, head)
                    events = self._source.read(LOG, self._done, upto, wanted).events
                else:  # a few of millions of events: found by the names of their streams
                    upto = head
                    events = self._source.streams(*_PERSONS, upto, (wanted,))(wanted)
                for recorded in events:
                    destroyed += self._forget(recorded.event, recorded.recorded_at)
                    self._complete(recorded)
                self._done = upto
        return destroyed

    def follow(self, stop: threading.Event) -> None:
        """Finish now and every few seconds, until told to stop, whatever comes in between."""
        while not stop.is_set():
            try:
                self.finish()
            except Exception as error:  # whatever it is, nobody else would go on
                log.warning("forgetting.interrupted", exc_info=error)
            stop.wait(EVERY_SECONDS)

    def _forget(self, event: PersonForgotten, recorded_at: datetime) -> int:
        subjects = {f"person:{event.person}", *(f"case:{case}" for case in event.cases)}
        destroyed = self._vault.destroy(subjects, made_until=recorded_at)
        self._drop(event.person, recorded_at)
        if destroyed:
            log.info("forgetting.keys_destroyed", keys=destroyed)
        return destroyed

    def _complete(self, forgotten: Recorded[PersonForgotten]) -> None:
        """Have those cases named too that the log has before the event and that it does not name.

        Such an event of ours needs no other: what is later than the first belongs to somebody who
        has come back.
        """
        event = forgotten.event
        if forgotten.actor == _BY.id:
            return
        try:
            missed = self._reported_meanwhile(forgotten) - set(event.cases)
            if missed:
                named = tuple(sorted(missed))
                command = ForgetMissed(by=_BY, at=event.at, person=event.person, cases=named)
                self._store.execute(command, correlation=forgotten.correlation)
        except (OperationalError, Conflict) as error:
            raise psycopg.OperationalError(str(error)) from error

    def _reported_meanwhile(self, forgotten: Recorded[PersonForgotten]) -> set[str]:
        """The cases of the person that were reported shortly before the event."""
        since, upto = forgotten.recorded_at - WHILE_APPROVED, forgotten.position
        found: set[str] = set()
        while upto > 0:
            after = max(upto - STEP, 0)
            reports = self._source.read(LOG, after, upto, Wanted((CaseReported,))).events
            for each in reports:
                if each.recorded_at >= since and self._whose(each.event) == forgotten.event.person:
                    found.add(each.event.case)
            if reports and reports[0].recorded_at < since:
                break
            upto = after
        return found

    def _whose(self, event: CaseReported) -> str | None:
        """Who reported a case, or the one that it was split from."""
        if event.parent is not None:
            reporter: str | None = self._store.case(event.parent)[0].facts.reporter
            return reporter
        return event.reporter.person if event.reporter else None


# --- what is left on the disk -------------------------------------------------------------------


def wipe(
    connect_projector: Callable[[], psycopg.Connection], dsn: str, vault_dsn: str
) -> list[str]:
    """Take the bytes of what was forgotten off the disk; returns what could not be done, and why.

    For when the read models have followed the log and the keys are gone. Tables are written anew
    (VACUUM FULL), because a plain VACUUM leaves the bytes of old rows in the unused part of a page.
    Each is locked as long as that takes. The conninfos are those of the installation: as far as
    their user's rights go.
    """
    left: list[str] = []
    with connect_projector() as connection:
        _try(connection, left, *(_anew(table) for table in _tables_of(connection, "search")))
    with psycopg.connect(vault_dsn, autocommit=True) as connection:
        _try(connection, left, _anew(("vault", "key")))
    with psycopg.connect(dsn, autocommit=True) as connection:
        # The statistics of a column hold its commonest values in clear.
        tables = (("access", "credential"), ("pg_catalog", "pg_statistic"))
        _try(connection, left, *map(_anew, tables), sql.SQL("VACUUM"))
        # What came before the switch is in older files, which the checkpoint gives up.
        _try(
            connection,
            left,
            sql.SQL("CHECKPOINT"),
            sql.SQL("SELECT pg_switch_wal()"),
            sql.SQL("CHECKPOINT"),
        )
        row = connection.execute("SHOW wal_recycle").fetchone()
        if row is None or row[0] != "off":
            left.append("WAL: wal_recycle is on")
    return left


def _tables_of(connection: psycopg.Connection, schema: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = %s ORDER BY tablename",
        (schema,),
    ).fetchall()


def _anew(table: tuple[Any, ...]) -> sql.Composed:
    return sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(*table))


def _try(
    connection: psycopg.Connection, left: list[str], *statements: sql.SQL | sql.Composed
) -> None:
    """Run statements one by one, and note what the server refuses or says that it did not do."""

    def note(said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            left.append(said.message_primary or "")

    connection.add_notice_handler(note)
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
    for statement in statements:
        try:
            connection.execute(statement)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable) as error:
            left.append(f"{statement.as_string(connection)}: {str(error).splitlines()[0]}")
