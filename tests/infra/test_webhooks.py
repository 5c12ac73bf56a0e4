"""Webhooks on a real log and a real receiver: in order, at least once, signed, and never given up
in silence."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from standardwebhooks import Webhook

from domain.webhooks import (
    AddReceiver,
    ChangeReceiver,
    RemoveReceiver,
    ResendDeadLetters,
    RotateReceiverSecret,
)
from infra.event_store import EventStore
from infra.migrations import role_dsn
from infra.outbound import Outbound
from infra.webhooks import (
    OVERLAP,
    PATIENCE,
    RETRY_FIRST,
    RETRY_LAST,
    TRIES,
    Deliveries,
    Receivers,
    Standing,
    secret_of,
)
from tests import samples as s

NAMES = ["case.reported", "case.filed", "case.dispatched", "case.accepted"]


@dataclass
class Hook:
    """A receiver: what it got, and what it answers; a script of statuses, then 204."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    script: list[int] = field(default_factory=list)
    come: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def ids(self) -> list[int]:
        return [int(headers["webhook-id"].removeprefix("event-")) for headers, _ in self.got]

    @property
    def names(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.got]


@contextmanager
def hook() -> Iterator[Hook]:
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.got.append((headers, body))
            self.send_response(made.script.pop(0) if made.script else 204)
            self.send_header("Location", made.url)
            self.end_headers()
            made.come.release()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Office:
    """An office whose deliveries are made by hand."""

    store: EventStore
    receivers: Receivers
    dsn: str
    secret: bytes
    now: datetime = s.START

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True)

    def deliveries(self, post: Any = None) -> Deliveries:
        outbound = Outbound(private=True)
        return Deliveries(
            self.store, self.connect, post or outbound.post, self.secret, lambda: self.now
        )

    def add(self, url: str, receiver: str = "city", **fields: Any) -> None:
        given = {"territory": s.DISTRICT, "url": url} | fields
        self.store.execute(AddReceiver(by=s.ADMINISTRATOR, at=self.now, receiver=receiver, **given))

    def does(self, command: Any, receiver: str = "city", **fields: Any) -> None:
        self.store.execute(command(by=s.ADMINISTRATOR, at=self.now, receiver=receiver, **fields))

    def case(self, name: str = s.CASE, place: str = s.GRID) -> None:
        """Four events of a case, whoever may do what."""
        for step in s.PATHS["in_progress"]:
            anybody = replace(step.by, grants=s.IMPORTER.grants)
            there: dict[str, Any] = (
                {"place": s.place(place)} if step is s.PATHS["reported"][0] else {}
            )
            command = replace(step, case=name, by=anybody, **there)
            self.store.execute(replace(command, imported=s.OLD_SYSTEM))

    def standing(self, receiver: str = "city") -> Standing:
        return self.receivers.standings()[receiver]

    def dead(self, receiver: str = "city") -> list[int]:
        return [each.position for each in self.receivers.dead(receiver, 0, 100)]


@pytest.fixture
def office(store: EventStore, pool: ConnectionPool, database: str, secret: bytes) -> Office:
    dsn = role_dsn(database, secret, "wangge_projector")
    return Office(store, Receivers(store, pool), dsn, secret)


def test_what_happens_from_then_on_is_told_in_order(office: Office) -> None:
    office.case("before")
    with hook() as city:
        office.add(city.url)
        office.case("after")
        office.deliveries().run()
        office.deliveries().run()
        assert city.ids == [6, 7, 8, 9]
        assert city.names == NAMES
        headers, body = city.got[1]
        assert json.loads(body) == {
            "type": "case.filed",
            "timestamp": json.loads(body)["timestamp"],
            "data": {
                "position": 7,
                "case": "after",
                "territory": s.GRID,
                "tier": "grid",
                "episode": 1,
                "state": "filed",
            },
        }
        assert headers["content-type"] == "application/json"
    standing = office.standing()
    assert (standing.position, standing.delivered, standing.error) == (9, 4, None)


def test_a_message_is_signed_as_standard_webhooks_has_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as city:
        office.add(city.url)
        office.case()
        office.deliveries().run()
        headers, body = city.got[0]
    assert headers["webhook-timestamp"] == str(int(s.START.timestamp()))
    receiver = Webhook(secret_of(office.secret, "city", 1))
    expected = receiver.sign(headers["webhook-id"], s.START.astimezone(UTC), body.decode())
    assert headers["webhook-signature"] == expected
    assert secret_of(office.secret, "city", 1) != secret_of(office.secret, "city", 2)
    assert secret_of(office.secret, "city", 1) != secret_of(office.secret, "town", 1)
    assert secret_of(b"another installation's secret...", "city", 1) != secret_of(
        office.secret, "city", 1
    )


def test_an_old_secret_is_good_for_a_day(office: Office) -> None:
    with hook() as city:
        office.add(city.url)
        office.does(RotateReceiverSecret)
        office.case("one")
        office.deliveries().run()
        office.now += OVERLAP
        office.case("two")
        office.deliveries().run()
        signatures = [len(headers["webhook-signature"].split()) for headers, _ in city.got]
    assert signatures == [2] * 4 + [1] * 4


def test_only_what_was_asked_for_and_of_the_own_territory(office: Office) -> None:
    with hook() as city:
        office.add(city.url, territory=s.COMMUNITY, events=("case.filed",))
        office.case("here")
        office.case("there", s.OTHER_GRID)
        office.deliveries().run()
        assert [json.loads(body)["data"]["case"] for _, body in city.got] == ["here"]
        assert office.standing().position == 9


def test_a_failure_is_tried_again_later_and_nothing_overtakes_it(office: Office) -> None:
    with hook() as city:
        city.script = [204, 500, 500]
        office.add(city.url)
        office.case()
        office.deliveries().run()
        assert city.ids == [2, 3]
        standing = office.standing()
        assert (standing.position, standing.attempts) == (2, 1)
        assert standing.error == "answered 500"
        assert standing.retry_at is not None
        assert 0.8 * RETRY_FIRST <= standing.retry_at - office.now <= 1.2 * RETRY_FIRST
        office.deliveries().run()
        assert city.ids == [2, 3]  # its time has not come
        office.now += 1.2 * RETRY_FIRST
        office.deliveries().run()
        second = office.standing()
        assert second.retry_at is not None
        assert second.retry_at - office.now > 2 * RETRY_FIRST
        office.now += RETRY_LAST
        office.deliveries().run()
        assert city.ids == [2, 3, 3, 3, 4, 5]
        assert office.standing().error is None


class Killed(BaseException):
    """The process is gone."""


def test_noting_a_message_before_it_is_sent_is_found(office: Office) -> None:
    """A planted bug, so that the test below is known to see it."""

    class NotedFirst(Deliveries):
        def _send(self, receiver: Any, news: Any) -> None:
            with office.connect() as connection:
                connection.execute("UPDATE webhooks.delivery SET position = %s", (news.position,))
            super()._send(receiver, news)

    with hook() as city:
        outbound = Outbound(private=True)

        def mortal(url: str, body: bytes, headers: Any) -> None:
            if b'"position":4' in body:
                raise Killed
            outbound.post(url, body, headers)

        office.add(city.url)
        office.case()
        given = (office.store, office.connect)
        with pytest.raises(Killed):
            NotedFirst(*given, mortal, office.secret, lambda: office.now).run()
        office.deliveries().run()
        assert city.ids == [2, 3, 5]  # one is lost


def test_who_is_killed_before_noting_it_sends_it_again_under_the_same_id(office: Office) -> None:
    with hook() as city:
        outbound = Outbound(private=True)
        left = [3]

        def mortal(url: str, body: bytes, headers: Any) -> None:
            outbound.post(url, body, headers)
            left[0] -= 1
            if not left[0]:
                raise Killed

        office.add(city.url)
        office.case()
        with pytest.raises(Killed):
            office.deliveries(mortal).run()
        office.deliveries().run()
        assert city.ids == [2, 3, 4, 4, 5]
        assert city.got[2][1] == city.got[3][1]


def test_who_says_no_to_one_message_is_told_the_next_ones(office: Office) -> None:
    with hook() as city:
        office.add(city.url)
        office.case()
        city.script = [204, *[400] * TRIES]
        for _ in range(TRIES):
            office.deliveries().run()
            office.now += RETRY_LAST * 1.2
        assert office.dead() == [3]
        assert city.ids == [2, *[3] * TRIES, 4, 5]
        (letter,) = office.receivers.dead("city", 0, 10)
        assert (letter.attempts, letter.error, letter.again) == (TRIES, "answered 400", False)


def test_who_cannot_be_reached_is_waited_for(office: Office) -> None:
    with hook() as gone:
        url = gone.url
    office.add(url)
    office.case()
    begun = office.now
    while office.now < begun + PATIENCE - RETRY_LAST * 1.2:
        office.deliveries().run()
        office.now += RETRY_LAST * 1.2
    assert office.dead() == []
    assert office.standing().attempts > TRIES
    office.now = begun + PATIENCE
    office.deliveries().run()
    assert office.dead() == [2]
    with hook() as back:
        office.does(ChangeReceiver, url=back.url)
        office.deliveries().run()
        assert back.ids == [3, 4, 5]
    assert office.standing().failing_since is None


def test_who_comes_back_and_says_no_has_all_tries_for_that(office: Office) -> None:
    with hook() as gone:
        url = gone.url
    office.add(url)
    office.case()

    def round_() -> None:
        office.deliveries().run()
        office.now += RETRY_LAST * 1.2

    for _ in range(2 * TRIES):
        round_()
    with hook() as back:
        office.does(ChangeReceiver, url=back.url)
        back.script = [503] * (TRIES - 1)
        for _ in range(TRIES):
            round_()
        assert office.dead() == []
        assert back.ids == [2] * TRIES + [3, 4, 5]
        # What it had said no to before counts for no other message.
        office.case("next")
        back.script = [503] * TRIES
        for _ in range(TRIES - 1):
            round_()
        assert office.dead() == []
        round_()
        assert office.dead() == [7]


def test_dead_letters_are_sent_again_when_somebody_says_so(office: Office) -> None:
    with hook() as city:
        city.script = [400] * 4 * TRIES
        office.add(city.url)
        office.case()
        for _ in range(4 * TRIES):
            office.deliveries().run()
            office.now += RETRY_LAST * 1.2
        assert office.dead() == [2, 3, 4, 5]
        city.got.clear()
        office.does(ResendDeadLetters, positions=(3, 5))
        city.script = [503]
        office.deliveries().run()
        assert city.ids == [3, 5]
        assert office.dead() == [2, 3, 4]
        assert [each.error for each in office.receivers.dead("city", 2, 1)] == ["answered 503"]
        office.does(ResendDeadLetters)
        office.deliveries().run()
        assert office.dead() == []
        office.deliveries().run()
        assert city.ids == [3, 5, 2, 3, 4]


def test_what_waits_is_tried_at_once_too_when_somebody_sends_again(office: Office) -> None:
    with hook() as city:
        city.script = [400] * TRIES + [503]
        office.add(city.url)
        office.case()
        for _ in range(TRIES):
            office.deliveries().run()
            office.now += RETRY_LAST * 1.2
        assert office.dead() == [2]
        office.now -= RETRY_LAST * 1.2
        retry_at = office.standing().retry_at
        assert retry_at is not None
        assert retry_at > office.now
        office.does(ResendDeadLetters)
        office.deliveries().run()
        assert office.dead() == []
        assert city.ids[-4:] == [2, 3, 4, 5]


def test_dead_letters_that_are_sent_again_hold_up_neither_others_nor_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as city:
        city.script = [400] * 4 * TRIES
        office.add(city.url)
        office.case()
        for _ in range(4 * TRIES):
            office.deliveries().run()
            office.now += RETRY_LAST * 1.2
        city.got.clear()
        office.does(ResendDeadLetters)
        stop = threading.Event()

        def post(url: str, body: bytes, headers: Any) -> None:
            stop.set()
            Outbound(private=True).post(url, body, headers)

        office.deliveries(post).follow(stop)
        assert city.ids == [2]
        monkeypatch.setattr("infra.webhooks.TURN_SECONDS", 0.0)
        office.deliveries().run()
        assert city.ids == [2]
        assert office.dead() == [3, 4, 5]


def test_what_goes_wrong_once_is_not_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.webhooks.EVERY_SECONDS", 0.01)
    stop, wrong = threading.Event(), [RuntimeError("whatever")]

    def connect() -> psycopg.Connection:
        if wrong:
            raise wrong.pop()
        stop.set()
        return office.connect()

    deliveries = Deliveries(office.store, connect, print, office.secret, lambda: office.now)
    deliveries.follow(stop)
    assert stop.is_set()


def test_who_is_removed_is_told_nothing_more(office: Office) -> None:
    with hook() as city:
        office.add(city.url)
        office.case()
        office.does(RemoveReceiver)
        office.deliveries().run()
        assert city.got == []
    assert office.receivers.standings() == {}


def test_a_redirect_is_no_success(office: Office) -> None:
    with hook() as city:
        city.script = [302]
        office.add(city.url)
        office.case()
        office.deliveries().run()
        assert len(city.got) == 1
        assert office.standing().error == "answered 302"


def test_one_that_hangs_holds_up_nobody_else(office: Office) -> None:
    """Told as it happens, by threads of its own."""
    hanging, let_go = threading.Event(), threading.Event()
    with hook() as city:
        outbound = Outbound(private=True)

        def post(url: str, body: bytes, headers: Any) -> None:
            if url.endswith("/slow"):
                hanging.set()
                let_go.wait(30)
            outbound.post(url, body, headers)

        office.add(f"{city.url}/slow", "slow")
        office.add(city.url, "quick")
        office.case()
        stop = threading.Event()
        following = threading.Thread(target=office.deliveries(post).follow, args=(stop,))
        following.start()
        try:
            for _ in range(4):
                assert city.come.acquire(timeout=20)
            assert hanging.wait(20)
            assert office.standing("slow").delivered == 0
        finally:
            let_go.set()
            stop.set()
            following.join()


def test_a_connection_that_is_lost_while_there_is_nothing_to_tell_is_made_anew(
    office: Office, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``idle_session_timeout`` does to it; the other one is asked every second."""
    monkeypatch.setattr("infra.webhooks.EVERY_SECONDS", 0.01)
    with hook() as city:
        office.add(city.url)
        office.case("before")
        stop = threading.Event()
        following = threading.Thread(target=office.deliveries().follow, args=(stop,))
        following.start()
        try:
            for _ in range(4):
                assert city.come.acquire(timeout=20)
            with psycopg.connect(database, autocommit=True) as owner:
                ended = owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'wangge_projector' AND datname = current_database()"
                    " AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
                ).fetchall()
            assert ended == [(True,)]
            office.case("after")
            for _ in range(4):
                assert city.come.acquire(timeout=20)
        finally:
            stop.set()
            following.join()
    assert {json.loads(body)["data"]["case"] for _, body in city.got} == {"before", "after"}


def test_a_long_log_is_told_page_by_page(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.webhooks.PAGE", 3)
    monkeypatch.setattr("infra.webhooks.AT_A_TIME", 5)
    with hook() as city:
        office.add(city.url)
        for n in range(3):
            office.case(f"case-{n}")
        for _ in range(4):
            office.deliveries().run()
        assert city.ids == list(range(2, 14))
