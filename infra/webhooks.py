"""Webhooks: tells receivers outside what happens to cases, signed as Standard Webhooks has it.

**Order.** Each receiver is told in the order of the log: the next message is sent when the one
before was taken, or given up. Several receivers are told at the same time.

**At least once.** A receiver's place in the log is moved after a message was taken. Who is killed
in between sends it again, under the same ``webhook-id``, which is made of the event's position: by
it a receiver tells what it has had.

**Giving up.** Retries come later and later, up to an hour apart. A receiver that answers, but with
no success, has ``TRIES`` tries a message; one that cannot be reached is waited for ``PATIENCE``
from its last success on. What was given up is a dead letter, which can be sent again.

There is no queue: what a receiver has yet to be told is the log after its place. Secrets are kept
nowhere: they are derived from the installation's own.
"""

import base64
import hashlib
import hmac
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
import structlog
from eventsourcing.persistence import OperationalError
from psycopg import sql
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool, PoolTimeout
from standardwebhooks import Webhook

from domain.aggregates import WEBHOOKS
from domain.news import News
from domain.places import within
from domain.webhooks import (
    STREAM,
    DeadLettersResent,
    Receiver,
    ReceiverAdded,
    ReceiverRemoved,
    Webhooks,
)
from infra.event_store import EventStore
from infra.news import QUERY, told
from infra.outbound import Post, Undelivered

EVERY_SECONDS: Final = 1.0
"""How often it is looked whether somebody is to be told something."""

SENDERS: Final = 8
"""Receivers that are told at the same time."""

PAGE: Final = 500
"""Positions of the log read at a time."""

AT_A_TIME: Final = 200
TURN_SECONDS: Final = 20.0
"""Messages to one receiver, and how long they may take, before others have their turn."""

TRIES: Final = 8
PATIENCE: Final = timedelta(days=3)
RETRY_FIRST: Final = timedelta(seconds=5)
RETRY_LAST: Final = timedelta(hours=1)

OVERLAP: Final = timedelta(hours=24)
"""How long messages are signed with the secret before the present one as well."""

_AWAY: Final = (OperationalError, psycopg.Error, PoolTimeout)

log = structlog.get_logger(__name__)


def secret_of(secret: bytes, receiver: str, generation: int) -> str:
    """What a receiver checks signatures by, as its own libraries take it; ``secret`` is the
    installation's."""
    key = hmac.new(secret, f"webhook {receiver} {generation}".encode(), hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a receiver's deliveries go. ``position``: told up to there; ``attempts`` and ``error``
    are those of the message that is waiting."""

    receiver: str
    position: int
    delivered: int
    attempts: int
    failing_since: datetime | None
    retry_at: datetime | None
    error: str | None
    dead: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up. ``again``: it is about to be sent once more."""

    position: int
    attempts: int
    error: str
    died_at: datetime
    again: bool


class Receivers:
    """Who is told, and how that goes: what administrators see."""

    def __init__(self, store: EventStore, pool: ConnectionPool) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_app``."""
        self._store = store
        self._pool = pool

    def known(self) -> Webhooks:
        """All receivers, as of now."""
        state: Webhooks = self._store.load({STREAM: WEBHOOKS})[STREAM].state
        return state

    def standings(self) -> dict[str, Standing]:
        """How each one's deliveries go, by its id; one that was just added has none yet."""
        query = (
            "SELECT d.receiver, d.position, d.delivered, d.attempts, d.failing_since, d.retry_at,"
            " d.error, (SELECT count(*) FROM webhooks.dead x WHERE x.receiver = d.receiver) AS dead"
            " FROM webhooks.delivery d"
        )
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(Standing)) as cursor,
        ):
            return {each.receiver: each for each in cursor.execute(query)}

    def dead(self, receiver: str, after: int, limit: int) -> list[DeadLetter]:
        """Dead letters after a position, in order."""
        query = (
            "SELECT position, attempts, error, died_at, again FROM webhooks.dead"
            " WHERE receiver = %s AND position > %s ORDER BY position LIMIT %s"
        )
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(DeadLetter)) as cursor,
        ):
            return cursor.execute(query, (receiver, after, limit)).fetchall()


@dataclass(slots=True)
class _Turn:
    """One receiver's turn: where it stands. Of the ``attempts`` so many were ``answered``."""

    receiver: Receiver
    position: int
    attempts: int
    answered: int
    failing_since: datetime | None


class Deliveries:
    """Tells receivers. One process does it at a time, of all on the same database."""

    def __init__(
        self,
        store: EventStore,
        connect: Callable[[], psycopg.Connection],
        post: Post,
        secret: bytes,
        clock: Callable[[], datetime],
    ) -> None:
        """``connect`` opens an autocommit connection of the role ``wangge_projector``; ``secret``
        is the installation's."""
        self._store = store
        self._connect = connect
        self._post = post
        self._secret = secret
        self._clock = clock
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Tell everybody what there is to be told now, one after another; what fails waits for its
        time.

        Raises:
            psycopg.Error, OperationalError: the database is away; what is left is done next time.
        """
        with self._connect() as connection:
            self._act(connection)
            for turn in self._turns(connection):
                self._tell(connection, turn)

    def follow(self, stop: threading.Event) -> None:
        """Tell what happens as it happens, until told to stop, through lost connections."""
        while not stop.is_set():
            try:
                # The work has a connection of its own, which its threads share.
                with self._connect() as leading, self._connect() as working:
                    self._lead(leading, working, stop)
            except Exception as error:  # whatever it is, nobody else would go on
                log.warning("webhooks.interrupted", exc_info=error)
                stop.wait(EVERY_SECONDS)

    def _lead(
        self, leading: psycopg.Connection, working: psycopg.Connection, stop: threading.Event
    ) -> None:
        leads = False
        with ThreadPoolExecutor(SENDERS, "webhooks") as senders:
            # Losing the other one fails no question of ours, only the turns: then both are new.
            while not stop.is_set() and not working.closed:
                leads = leads or _leads(leading)
                if leads:
                    self._act(leading)
                    for turn in self._idle(leading):
                        senders.submit(self._take_turn, working, turn, stop)
                stop.wait(EVERY_SECONDS)

    def _idle(self, connection: psycopg.Connection) -> list[_Turn]:
        """The turns of those who are not being told already."""
        with self._lock:
            busy = set(self._busy)  # before looking: who is done meanwhile stands elsewhere by now
        turns = [turn for turn in self._turns(connection) if turn.receiver.id not in busy]
        with self._lock:
            self._busy |= {turn.receiver.id for turn in turns}
        return turns

    def _take_turn(
        self, connection: psycopg.Connection, turn: _Turn, stop: threading.Event
    ) -> None:
        try:
            self._tell(connection, turn, stop)
        except _AWAY as error:
            log.warning("webhooks.interrupted", error=str(error).strip())
        except Exception as error:  # one receiver's trouble is not the others'
            log.error("webhooks.failed", receiver=turn.receiver.id, exc_info=error)
            self._failed(connection, turn, None, Undelivered(repr(error)))
        finally:
            with self._lock:
                self._busy.discard(turn.receiver.id)

    # --- receivers ---

    def _act(self, connection: psycopg.Connection) -> None:
        """Do what is new in the receivers' own stream, once."""
        with connection.transaction():
            row = connection.execute("SELECT version FROM webhooks.control").fetchone()
            assert row is not None
            rows = connection.execute(
                "SELECT position, version, name, data FROM log.event"
                " WHERE stream = %s AND version > %s ORDER BY version",
                (STREAM, row[0]),
            ).fetchall()
            for position, version, name, data in rows:
                self._act_on(connection, position, self._store.codec.decode(name, data))
                connection.execute("UPDATE webhooks.control SET version = %s", (version,))

    def _act_on(self, connection: psycopg.Connection, position: int, event: Any) -> None:
        match event:
            case ReceiverAdded(receiver=receiver):
                connection.execute(
                    "INSERT INTO webhooks.delivery (receiver, position) VALUES (%s, %s)"
                    " ON CONFLICT DO NOTHING",
                    (receiver, position),
                )
            case ReceiverRemoved(receiver=receiver):
                for table in ("delivery", "dead"):
                    connection.execute(
                        sql.SQL("DELETE FROM {} WHERE receiver = %s").format(
                            sql.Identifier("webhooks", table)
                        ),
                        (receiver,),
                    )
            case DeadLettersResent(receiver=receiver, positions=positions):
                connection.execute(
                    "UPDATE webhooks.dead SET again = true"
                    " WHERE receiver = %s AND (%s OR position = ANY(%s))",
                    (receiver, not positions, list(positions)),
                )
                self._at_once(connection, receiver)
            case _:  # another address or secret: counts from the next message on
                self._at_once(connection, event.receiver)

    def _at_once(self, connection: psycopg.Connection, receiver: str) -> None:
        """What waits for its next try waits no longer: somebody says that the receiver is well."""
        connection.execute(
            "UPDATE webhooks.delivery SET retry_at = NULL WHERE receiver = %s", (receiver,)
        )

    def _turns(self, connection: psycopg.Connection) -> list[_Turn]:
        """Those who have something to be told, and are not to be left alone for now."""
        rows = connection.execute(
            "SELECT d.receiver, d.position, d.attempts, d.answered, d.failing_since"
            " FROM webhooks.delivery d"
            " WHERE (d.retry_at IS NULL OR d.retry_at <= %s)"
            " AND (d.position < (SELECT position FROM log.head) OR EXISTS"
            "  (SELECT FROM webhooks.dead x WHERE x.receiver = d.receiver AND x.again))",
            (self._clock(),),
        ).fetchall()
        if not rows:
            return []
        known: Webhooks = self._store.load({STREAM: WEBHOOKS})[STREAM].state
        active = {each.id: each for each in known.active}
        return [_Turn(active[name], *rest) for name, *rest in rows if name in active]

    # --- telling ---

    def _tell(
        self, connection: psycopg.Connection, turn: _Turn, stop: threading.Event | None = None
    ) -> None:
        """Tell one receiver what is new, in order, until something fails or others have their
        turn."""
        until = time.monotonic() + TURN_SECONDS

        def over() -> bool:
            return time.monotonic() > until or (stop is not None and stop.is_set())

        self._tell_again(connection, turn.receiver, over)
        sent = 0
        while sent < AT_A_TIME:
            upto, news = _news(connection, turn)
            if upto == turn.position:
                return
            for each in news:
                if over():
                    return
                try:
                    self._send(turn.receiver, each)
                except Undelivered as no:
                    if not self._failed(connection, turn, each, no):
                        return
                    continue
                sent += 1
                self._moved(connection, turn, each.position, delivered=1)
            self._moved(connection, turn, upto)

    def _tell_again(
        self, connection: psycopg.Connection, receiver: Receiver, over: Callable[[], bool]
    ) -> None:
        """Send the dead letters that somebody wants sent again, each once, until it is over."""
        rows = connection.execute(
            "SELECT position FROM webhooks.dead WHERE receiver = %s AND again"
            " ORDER BY position LIMIT %s",
            (receiver.id, AT_A_TIME),
        ).fetchall()
        for (position,) in rows:
            if over():
                return
            found = connection.execute(QUERY, (position - 1, position), binary=True).fetchall()
            (each,) = told(found).news
            try:
                self._send(receiver, each)
            except Undelivered as no:
                connection.execute(
                    "UPDATE webhooks.dead SET again = false, attempts = attempts + 1, error = %s,"
                    " died_at = %s WHERE receiver = %s AND position = %s",
                    (str(no)[:1000], self._clock(), receiver.id, position),
                )
            else:
                connection.execute(
                    "DELETE FROM webhooks.dead WHERE receiver = %s AND position = %s",
                    (receiver.id, position),
                )

    def _send(self, receiver: Receiver, news: News) -> None:
        """One message.

        Raises:
            Undelivered: it was not taken.
        """
        # The library takes the time for UTC, whatever its zone.
        now = self._clock().astimezone(UTC)
        name, body = f"event-{news.position}", message(news)
        signatures = [
            Webhook(secret_of(self._secret, receiver.id, generation)).sign(name, now, body.decode())
            for generation in _generations(receiver, now)
        ]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "wangge",
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        self._post(receiver.url, body, headers)

    def _moved(
        self, connection: psycopg.Connection, turn: _Turn, position: int, delivered: int = 0
    ) -> None:
        """A receiver was told up to a position. Only a message that was taken says that it is
        well."""
        if delivered:
            turn.attempts, turn.answered, turn.failing_since = 0, 0, None
        turn.position = position
        connection.execute(
            "UPDATE webhooks.delivery SET position = %s, delivered = delivered + %s, attempts = %s,"
            " answered = %s, failing_since = %s, retry_at = NULL,"
            " error = CASE WHEN %s THEN NULL ELSE error END WHERE receiver = %s",
            (
                position,
                delivered,
                turn.attempts,
                turn.answered,
                turn.failing_since,
                delivered > 0,
                turn.receiver.id,
            ),
        )

    def _failed(
        self, connection: psycopg.Connection, turn: _Turn, news: News | None, why: Undelivered
    ) -> bool:
        """Note a failure; whether the message was given up and the next may be tried at once."""
        now = self._clock()
        turn.attempts += 1
        turn.answered += why.answered
        turn.failing_since = turn.failing_since or now
        pause = min(RETRY_FIRST * 3 ** min(turn.attempts - 1, 10), RETRY_LAST)
        # S311: not for secrets; so that receivers that went away together do not come back so.
        retry_at = now + pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        # Whoever is just back after an hour, and says no once, has not said so ``TRIES`` times.
        spent = turn.answered >= TRIES if why.answered else now - turn.failing_since >= PATIENCE
        given_up = news is not None and spent
        log.warning(
            "webhooks.undelivered",
            receiver=turn.receiver.id,
            position=news and news.position,
            attempts=turn.attempts,
            given_up=given_up,
            error=str(why),
        )
        if given_up and news is not None:
            connection.execute(
                "INSERT INTO webhooks.dead (receiver, position, attempts, error, died_at)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (receiver, position) DO NOTHING",
                (turn.receiver.id, news.position, turn.attempts, str(why)[:1000], now),
            )
            turn.position, turn.answered = news.position, 0
            if why.answered:  # it is there, and may like the next one better
                turn.attempts, turn.failing_since, retry_at = 0, None, now
        connection.execute(
            "UPDATE webhooks.delivery SET position = %s, attempts = %s, answered = %s,"
            " failing_since = %s, retry_at = %s, error = %s WHERE receiver = %s",
            (
                turn.position,
                turn.attempts,
                turn.answered,
                turn.failing_since,
                retry_at,
                str(why)[:1000],
                turn.receiver.id,
            ),
        )
        return given_up and why.answered


def message(news: News) -> bytes:
    """What a receiver is told of an event, as JSON: nothing personal, no text."""
    return msgspec.json.encode(
        {
            "type": news.name,
            "timestamp": news.at,
            "data": {
                "position": news.position,
                "case": news.case,
                "territory": news.territory,
                "tier": news.tier.word,
                "episode": news.episode,
                "state": news.state,
            },
        }
    )


def _generations(receiver: Receiver, now: datetime) -> Iterable[int]:
    """The secrets that a message is signed with, the present one first."""
    yield receiver.generation
    if receiver.rotated_at is not None and now < receiver.rotated_at + OVERLAP:
        yield receiver.generation - 1


def _news(connection: psycopg.Connection, turn: _Turn) -> tuple[int, list[News]]:
    """What a receiver is to be told of the next stretch of the log, and where that ends."""
    row = connection.execute("SELECT position FROM log.head").fetchone()
    upto = min(turn.position + PAGE, row[0] if row else 0)
    rows = connection.execute(QUERY, (turn.position, upto), binary=True).fetchall()
    receiver = turn.receiver
    return max(upto, turn.position), [
        each
        for each in told(rows).news
        if within(each.territory, receiver.territory)
        and (not receiver.events or each.name in receiver.events)
    ]


def _leads(connection: psycopg.Connection) -> bool:
    """Whether this connection is, or has just become, the one that does the work."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(hashtextextended('wangge webhooks', 0))"
    ).fetchone()
    return bool(row and row[0])
