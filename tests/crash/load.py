"""Clients that work on many cases at a time over HTTP, and the journal of what they were told.

They run in a thread of their own with its own event loop, so that the thread that breaks things
never waits for them. Whatever was not answered is sent again with the same key until the answer
is known, or it is recorded that it never was.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, TypeVar

import psycopg

from tests.crash.client import Answer, Connection, Lost
from tests.crash.district import API, READER, body_of, path_of, person_for
from tests.crash.history import READ, STEPS, Op, Outcome, decoded

PATIENCE: Final = 30.0
"""Seconds after which an operation that was never answered is given up."""

T = TypeVar("T")


class Background:
    """A thread with an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
        """Run something there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(slots=True)
class _Known:
    """A case as the clients believe it to be; others may have been faster."""

    case: str
    version: int
    state: str
    tier: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How clients behave. The wrong ones are what the harness must catch."""

    clients: int = 8
    cases: int = 6
    pause: float = 0.02
    patience: float = PATIENCE
    reads: bool = True
    checks: bool = True
    only_notes: bool = False
    forgets_keys: bool = False  # wrong: sends again under a new key
    reuses_keys: bool = False  # wrong: the same key for two commands


class Load:
    """The clients, their journal, and what they saw that must not be."""

    def __init__(
        self, port: int, tokens: dict[str, str], honoured: frozenset[str], seed: str, manner: Manner
    ) -> None:
        """``honoured`` are the steps whose Idempotency-Key the API takes."""
        self.ops: list[Op] = []
        self.wrong: list[str] = []
        self.count: Counter[str] = Counter()
        self.manner = manner
        self.honoured = honoured
        self._seed = seed
        self._port = port
        self._tokens = tokens
        self._known: list[_Known] = []
        self._numbers = count(1)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Let the clients begin."""
        self._stopping = False
        self._tasks = [
            asyncio.create_task(_Client(self, number).live())
            for number in range(self.manner.clients)
        ]

    async def stop(self) -> None:
        """Let every client finish what it has begun."""
        self._stopping = True
        for done in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(done, BaseException):
                self.wrong.append(f"a client broke: {done!r}")
        self._tasks = []

    async def abandon(self) -> None:
        """Let every client drop what it is doing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def acknowledged(self) -> int:
        """Commands that were answered with success so far."""
        return self.count["acknowledged"]


class _Client:
    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.rng = Random(f"{load._seed} client {number}")
        self.connection = Connection(load._port)
        self.last_key = ""

    async def live(self) -> None:
        try:
            while not self.load._stopping:
                await self._work()
                await asyncio.sleep(self.rng.random() * self.load.manner.pause)
        finally:
            await self.connection.close()

    async def _work(self) -> None:
        load, rng = self.load, self.rng
        if len(load._known) < load.manner.cases:
            await self._do("report", None)
            return
        known = rng.choice(load._known)
        if load.manner.reads and rng.random() < 0.12:
            await self._read(known)
        elif load.manner.only_notes:
            await self._do("note", known)
        else:
            fitting = [name for name, step in STEPS.items() if known.state in step.allowed]
            steps = [name for name in STEPS if name != "report"]
            await self._do(rng.choice(fitting if rng.random() < 0.75 and fitting else steps), known)

    # --- commands ---

    async def _do(self, step: str, known: _Known | None) -> None:
        load, rng = self.load, self.rng
        person = person_for(step, known.tier if known and step != "report" else 0)
        op = Op(self.number, known.case if known else "", step, time.monotonic())
        op.key = f"{load._seed}-{self.number}-{next(load._numbers)}"
        body = body_of(step, op.key)
        if known and not load.manner.only_notes and rng.random() < 0.25:
            op.expected = known.version
        if load.manner.reuses_keys and self.last_key and rng.random() < 0.2:
            op.key, body = self.last_key, body_of(step, self.last_key)
        if step == "note":
            self.last_key = op.key
        load.ops.append(op)
        send = self._sender(op, person, body)
        twins = load.manner.checks and step in load.honoured and rng.random() < 0.03
        if not (twins and await self._twins(op, send)):
            await self._settle(op, send)
        self._learn(op, known)
        if op.outcome is not Outcome.MAYBE and load.manner.checks and step in load.honoured:
            await self._ask_again(op, person, body)

    def _sender(self, op: Op, person: str, body: Any) -> Callable[[Connection], Any]:
        async def send(connection: Connection) -> Answer:
            request = f"{op.key}.{len(op.requests)}"
            op.requests.append(request)
            forgets = self.load.manner.forgets_keys
            headers = {
                "Authorization": f"Bearer {self.load._tokens[person]}",
                "X-Request-Id": request,
                "Idempotency-Key": request if forgets else op.key,
            }
            if op.expected is not None:
                headers["If-Match"] = f'"{op.expected}"'
            path = path_of(op.step, op.case)
            self.load.count["requests"] += 1
            return await connection.request("POST", path, body, headers)

        return send

    async def _settle(self, op: Op, send: Callable[[Connection], Any]) -> None:
        """Send until the answer is known, or it is too late."""
        again = op.step in self.load.honoured or self.load.manner.forgets_keys
        deadline = op.invoked + self.load.manner.patience
        while True:
            try:
                if self._take(op, await send(self.connection)):
                    return
            except Lost:
                self.load.count["lost answers"] += 1
            await asyncio.sleep(0.05 + self.rng.random() * 0.1)
            if not again or time.monotonic() > deadline:
                self.load.count["unknown"] += 1
                return

    def _take(self, op: Op, answer: Answer) -> bool:
        """Note an answer; False if it leaves open what became of the command."""
        load = self.load
        if answer.status >= 500:
            load.count[f"status {answer.status}"] += 1
            if answer.status != 503:
                load.wrong.append(f"{answer.status} for {op}: {answer.body}")
            return False
        if answer.code in ("request.key_in_use", "request.conflict") and op.step in load.honoured:
            load.count[answer.code] += 1
            return False
        op.completed = time.monotonic()
        op.status, op.code = answer.status, answer.code
        if answer.status < 300:
            op.outcome = Outcome.OK
            op.case = answer.body["case"]
            for name, value in decoded(answer.body).items():
                setattr(op, name, value)
            load.count["acknowledged"] += 1
            if answer.etag and answer.etag != str(op.version):
                load.wrong.append(f"ETag {answer.etag} of {op}")
        else:
            op.outcome = Outcome.REFUSED
            load.count["refused"] += 1
            if answer.status in (400, 401, 422):
                load.wrong.append(f"{answer.status} for {op}: {answer.body}")
        return True

    def _learn(self, op: Op, known: _Known | None) -> None:
        if op.outcome is not Outcome.OK:
            return
        if known is None:
            self.load._known.append(_Known(op.case, op.version, op.state))
            return
        known.steps += 1
        if op.version > known.version:
            known.version, known.state = op.version, op.state
        known.tier = min(
            max(known.tier + ("case.escalated" in op.events) - ("case.returned" in op.events), 0), 3
        )
        tired = known.steps > 40 or (op.step == "close" and self.rng.random() < 0.6)
        if tired and known in self.load._known and not self.load.manner.only_notes:
            self.load._known.remove(known)

    # --- I6: the same key ---

    async def _ask_again(self, op: Op, person: str, body: Any) -> None:
        """What is answered stays answered; and a key is for one request."""
        chance = self.rng.random()
        if chance > 0.08:
            return
        other = chance < 0.03
        send = self._sender(op, person, _changed(body) if other else body)
        try:
            answer = await send(self.connection)
        except Lost:
            return
        if answer.status >= 500 or answer.code in ("request.key_in_use", "request.conflict"):
            return
        self.load.count["asked again"] += 1
        if other and answer.status != 422:
            self.load.wrong.append(f"I6: another body under the key of {op}: {answer}")
        if not other and (answer.status, answer.code) != (op.status, op.code):
            self.load.wrong.append(f"I6: sent again, {op} was answered {answer}")
        if not other and answer.status < 300:
            now = decoded(answer.body)
            if any(getattr(op, name) != value for name, value in now.items()):
                self.load.wrong.append(f"I6: sent again, {op} was answered {answer.body}")

    async def _twins(self, op: Op, send: Callable[[Connection], Any]) -> bool:
        """The same request twice at once; whether the answer is known."""
        second = Connection(self.load._port)
        answers = await asyncio.gather(send(self.connection), send(second), return_exceptions=True)
        await second.close()
        told = []
        for answer in answers:
            if isinstance(answer, Answer):
                if answer.status < 500 and answer.code not in (
                    "request.key_in_use",
                    "request.conflict",
                ):
                    told.append(answer)
            elif not isinstance(answer, Lost):
                raise answer
        if len(told) == 2:
            self.load.count["twins"] += 1
            if told[0].told != told[1].told:
                self.load.wrong.append(f"I6: at the same time: {told[0]} and {told[1]}")
        return bool(told) and self._take(op, told[0])

    # --- reading ---

    async def _read(self, known: _Known) -> None:
        """The case as of the log's present end: what has been answered before must be in it."""
        op = Op(self.number, known.case, READ, time.monotonic())
        headers = {"Authorization": f"Bearer {self.load._tokens[READER]}"}
        try:
            health = await self.connection.request("GET", f"{API}/health")
            if health.status != 200:
                return
            position = health.body["position"]
            path = f"{API}/cases/{known.case}?position={position}"
            answer = await self.connection.request("GET", path, headers=headers)
        except Lost:
            return
        if answer.status >= 500:
            return
        if answer.status != 200:
            self.load.wrong.append(f"a read of {known.case} at {position}: {answer}")
            return
        op.completed, op.outcome, op.status = time.monotonic(), Outcome.OK, 200
        op.version, op.state = answer.body["version"], answer.body["state"]
        self.load.ops.append(op)
        self.load.count["reads"] += 1
        if op.version > known.version:
            known.version, known.state = op.version, op.state


def _changed(body: Any) -> Any:
    """Another body that is valid too, where there is a text; else one that is not."""
    for name in ("text", "description", "note", "directive", "reason"):
        if isinstance(body.get(name), str) and name in body and name != "reason":
            return body | {name: body[name] + "。"}
    return body | {"unknown": 1}


@dataclass
class Follower:
    """Somebody who reads the log as it grows: it must never have to look back.

    ``seen`` are the events by position; ``wrong`` is where a position came late or was missing.
    """

    dsn: Callable[[], str]
    seen: dict[int, tuple[str, int, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End it."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        last = 0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self.dsn(), autocommit=True, connect_timeout=3
                ) as connection:
                    while True:
                        last = await self._page(connection, last)
                        await asyncio.sleep(0.03)
            except psycopg.Error:
                await asyncio.sleep(0.05)

    async def _page(self, connection: psycopg.AsyncConnection, last: int) -> int:
        rows = await (
            await connection.execute(
                "SELECT position, stream, version, correlation FROM log.event"
                " WHERE position > %s ORDER BY position LIMIT 5000",
                (last,),
            )
        ).fetchall()
        for position, *event in rows:
            if position != last + 1:
                self.wrong.append(f"I2: after position {last} a reader was shown {position}")
            self.seen[position] = tuple(event)
            last = position
        return last
