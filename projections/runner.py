"""Follows a source part by part: fold in memory, write rows and checkpoint in one transaction.

Each projection lives in a schema of its own name, with its checkpoints inside, so a rebuild beside
it can take its place by renaming two schemas in one transaction: readers see the old or the new,
never half of one. The same fold serves catching up and rebuilding.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeAlias

import psycopg
import structlog

from domain.history import LOG, KeysAway, Recorded, Unreadable, Wanted
from domain.traces import Spans
from projections import bulk, schemas
from projections.crew import Crew
from projections.projection import (
    Log,
    NotTheSame,
    OnProgress,
    Poison,
    Poisoned,
    Progress,
    Projection,
    Source,
    Superseded,
    in_company,
)
from projections.tables import steps_of

__all__ = [
    "NotTheSame",
    "OnProgress",
    "Poison",
    "Poisoned",
    "Progress",
    "Projection",
    "Runner",
    "Source",
    "Superseded",
    "reached",
]

PAGE: Final = 5_000
"""Positions read at a time: enough to make the transaction cheap, little enough to hold in
memory."""

STRETCH: Final = 30_000
"""About how many positions a worker builds at a time: some 75 MB while it does."""

WORTH_HELP: Final = 4
"""From how many stretches on a projection that is missing is built by stream, and with helpers."""

TRACED: Final = 100
"""From a page with the events of more requests no spans are told: that is no request's own way."""

POLL_SECONDS: Final = 2.0
"""How long to wait for a notification before looking anyway: one may be lost with its
connection."""

BREATH_SECONDS: Final = 0.03
"""Between two looks at what is new there is so long at least: what comes meanwhile is cheaper
together."""

log = structlog.get_logger()


class Runner:
    """Keeps projections up to date with a source, and rebuilds them.

    ``connect`` opens an autocommit connection of the role that owns the projections; each method
    opens its own and closes it.
    """

    def __init__(
        self,
        source: Source,
        connect: Callable[[], psycopg.Connection],
        projections: Sequence[Projection],
        *,
        page: int = PAGE,
        stretch: int = STRETCH,
        crew: Crew | None = None,
        spans: Spans | None = None,
    ) -> None:
        """``page`` and ``stretch`` are in positions; ``crew`` are more processes for a rebuild.

        ``spans`` is where the way of a request into each read model is told, if it is asked for.
        """
        self.source = source
        self.connect = connect
        self.projections = tuple(in_company(projections))
        self.page = page
        self.stretch = stretch
        self.crew = crew
        self.spans = spans

    def catch_up(self, on_progress: OnProgress | None = None) -> None:
        """Bring every projection to the head of the log; a changed one is rebuilt.

        Raises:
            Poisoned, Superseded, KeysAway: a projection cannot go on. The others are up to date.
        """
        stopped: Poisoned | Superseded | KeysAway | None = None
        with self.connect() as connection:
            for projection in self.projections:
                try:
                    self._prepare(connection, projection, on_progress)
                    self._advance(connection, projection, projection.name, on_progress)
                except (Poisoned, Superseded, KeysAway) as error:
                    stopped = error
        if stopped is not None:
            raise stopped

    def follow(self, stop: threading.Event) -> None:
        """Keep up with the log until told to stop, through lost connections.

        Those that are about at its end go together, on one connection: what is new is read once,
        and folded into all of them in one transaction. Where that fails each is tried for itself,
        one after another. Whoever stumbles then, is paused or is far behind goes alone, in a thread
        with a connection of its own, so that none waits for another, and comes back once it is at
        the end. One that is poisoned is reported and stands still until somebody has the event
        skipped; one that a newer version keeps, until the next start; one that is paused, until it
        is resumed.
        """
        bell, threads, company = _Bell(stop), list[threading.Thread](), _Company()

        def start(work: Callable[[], None], name: str) -> None:
            threads[:] = [each for each in threads if each.is_alive()]
            threads.append(threading.Thread(target=work, name=f"projector {name}"))
            threads[-1].start()

        start(partial(self._listen, bell), "ear")
        coming = list(self.projections)
        while not stop.is_set():
            for each in self._follow_together(bell, company, coming):
                start(partial(self._follow_alone, each, bell), each.name)
        bell.ring(bell.head)
        for thread in threads:
            thread.join()

    def _listen(self, bell: "_Bell") -> None:
        while not bell.stop.is_set():
            try:
                with self.connect() as connection:
                    # Before the first look: a notification between the two would be lost.
                    connection.execute("LISTEN log")
                    while not bell.stop.is_set():
                        bell.ring(self.source.head(LOG))
                        deadline = time.monotonic() + POLL_SECONDS
                        while not bell.stop.is_set() and time.monotonic() < deadline:
                            # Of several that have come meanwhile the last says it all.
                            for told in connection.notifies(timeout=0.2, stop_after=1):
                                bell.ring(int(told.payload))
            except Exception as error:  # whatever it is, nobody else would listen
                log.warning("projector.deaf", exc_info=error)
                bell.stop.wait(0.5)

    def _follow_together(
        self, bell: "_Bell", company: "_Company", coming: list[Projection]
    ) -> list[Projection]:
        """Keep the company up, and those that join it, until some must go on alone: those.

        ``coming`` are tried first, one by one. A company that has lost its connection stays one.
        """
        try:
            with self.connect() as connection:
                _as_a_follower(connection)
                if leaving := self._try_each(connection, company, coming):
                    return leaving
                connection.prepare_threshold, connection.prepared_max = 1, None
                known, looked = 0, -math.inf
                while not bell.stop.is_set():
                    begun = time.monotonic()
                    if begun - looked > bulk.PAUSE_SECONDS:
                        looked = begun
                        if paused := schemas.paused(connection) & company.keys():
                            return [company.pop(name)[0] for name in paused]
                    known = bell.wait(known, bulk.PAUSE_SECONDS, company)
                    while company and self._advance_together(connection, company, known):
                        pass
                    bell.stop.wait(begun + BREATH_SECONDS - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whose it is comes out when each is tried
            said = str(error).strip()
            if _is_lost(error):
                log.warning("projector.interrupted", projection="*", error=said)
                bell.stop.wait(bulk.PAUSE_SECONDS)
            else:
                log.info("projector.apart", error=said)
                coming += [each for each, _ in company.values()]
                company.clear()
        return []

    def _try_each(
        self, connection: psycopg.Connection, company: "_Company", coming: list[Projection]
    ) -> list[Projection]:
        """Bring each to the end of the log, and into the company; returns those that must go alone.

        Nobody is left in ``coming``, unless the connection is lost.
        """
        leaving = []
        while coming:
            projection = coming[0]
            try:
                wanted = self._brought_up(connection, projection)
            except Exception as error:
                if _is_lost(error):
                    raise
                wanted = None  # alone it stumbles once more, and says so
            if wanted is None:
                leaving.append(projection)
            else:
                company[projection.name] = projection, wanted
            del coming[0]
        return leaving

    def _brought_up(self, connection: psycopg.Connection, projection: Projection) -> Wanted | None:
        """Fold what is new into one by itself; returns what it wants of the log. None: it is
        paused, or so much is to be done that others cannot wait for it."""
        name, head = projection.name, self.source.head(LOG)
        if schemas.is_paused(connection, name):
            return None
        version = schemas.version_of(connection, name)
        if version is None and head <= self.page:
            self._prepare(connection, projection, None)
        elif version != projection.version:
            return None
        else:
            _drop_gone(connection, projection)
        if head - (schemas.position_of(connection, name) or 0) > self.page:
            return None
        skipped = self.source.skipped(name)
        self._advance_part(connection, projection, name, LOG, head, None, skipped)
        return self._wanted(projection, skipped)

    def _advance_together(
        self, connection: psycopg.Connection, company: "_Company", head: int
    ) -> bool:
        """Fold the next page into all of them at once; whether there is more before the head."""
        assert isinstance(self.source, Log)
        begun, told = time.time_ns(), []
        # What has no answer to wait for goes off with the next question.
        with connection.pipeline(), connection.transaction():
            versions = {name: company[name][0].version for name in sorted(company)}
            places = schemas.claim_all(connection, versions, LOG)
            behind = {name: at for name, at in zip(versions, places, strict=True) if at < head}
            if not behind:
                return False
            after = min(behind.values())
            last = min(head, after + self.page)
            going = {name: at for name, at in behind.items() if at < last}
            read = self.source.between(after, last, [company[name][1] for name in going])
            folding = []
            for name, at in going.items():
                projection, wanted = company[name]
                events = [each for each in read(wanted) if each.position > at]
                if events:
                    told.append((name, events))
                    folding.append((name, steps_of(projection.apply, connection, events, False)))
            while folding:  # all of them ask before the first one waits for its answers
                folding = [each for each in folding if _goes_on(connection, *each)]
            schemas.move_all(connection, going, LOG, last)
        if self.spans is not None:
            for name, events in told:
                _tell_of(self.spans, name, begun, events)
        return last < head

    def _follow_alone(self, projection: Projection, bell: "_Bell") -> None:
        """Bring one to the end of the log, whatever it takes, where it joins the others."""
        name = projection.name
        poison: Poison | None = None
        while not bell.stop.is_set():
            try:
                with self.connect() as connection:
                    _as_a_follower(connection)
                    skipped = self.source.skipped(name)
                    if poison is not None and poison.position not in skipped:
                        bell.stop.wait(POLL_SECONDS)
                        continue
                    poison = None
                    if schemas.is_paused(connection, name):
                        bell.stop.wait(bulk.PAUSE_SECONDS)
                        continue
                    self._prepare(connection, projection, None)
                    for _ in range(2):  # the second time there is little left
                        head = self.source.head(LOG)
                        self._advance_part(connection, projection, name, LOG, head, None, skipped)
                    bell.join(projection, self._wanted(projection, skipped))
                    return
            except Poisoned as error:
                poison = error.poison
                log.error("projector.halted", projection=name, **asdict(poison))
            except Superseded:
                log.error("projector.superseded", projection=name)
                return
            except (psycopg.Error, KeysAway) as error:
                log.warning("projector.interrupted", projection=name, error=str(error).strip())
                bell.stop.wait(0.5)
            except Exception as error:  # whatever it is, nobody else would go on
                log.warning("projector.interrupted", projection=name, exc_info=error)
                bell.stop.wait(POLL_SECONDS)

    def _wanted(self, projection: Projection, skipped: frozenset[int]) -> Wanted:
        wanted = projection.wanted(skipped)
        if self.spans is not None:
            wanted = wanted._replace(beside=(*wanted.beside, "correlation"))
        return wanted

    def positions(self) -> dict[str, int]:
        """How far each projection is; 0 for one that was never built."""
        with self.connect() as connection:
            return {p.name: schemas.position_of(connection, p.name) or 0 for p in self.projections}

    def rebuild(
        self,
        projection: Projection,
        *,
        verify: bool = False,
        on_progress: OnProgress | None = None,
    ) -> str:
        """Build a projection anew beside the live one and put it in its place.

        A rebuild that was killed goes on where it stood. With ``verify`` the two are compared at
        the same position first; returns the SHA-256 of the rebuilt tables, hex.

        Raises:
            NotTheSame: they differ, and the live one stays.
            Poisoned: an event cannot be folded.
            Superseded: the live one belongs to a newer version.
        """
        (digest,) = self._rebuild([projection], on_progress, verify=verify)
        return digest

    def rebuild_all(
        self, projections: Sequence[Projection], *, on_progress: OnProgress | None = None
    ) -> None:
        """Build several anew, going through the log once.

        Raises:
            Poisoned, Superseded: one of them cannot go on. The others are in place.
        """
        self._rebuild(projections, on_progress)

    def _rebuild(
        self,
        projections: Sequence[Projection],
        on_progress: OnProgress | None,
        *,
        verify: bool = False,
        again: bool = True,
    ) -> list[str]:
        """As ``rebuild``; without ``again`` only what nobody else has rebuilt meanwhile."""
        stopped: dict[str, bulk.Stopped] = {}
        digests = []
        with self.connect() as connection:
            chosen = []
            for each in sorted(projections, key=attrgetter("name")):
                # One rebuild at a time; closing the connection, or its loss, gives the lock back.
                connection.execute(
                    "SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"rebuild {each.name}",)
                )
                version = schemas.version_of(connection, each.name) or 0
                if version > each.version:
                    stopped[_beside(each)] = Superseded(each.name)
                elif version < each.version or again:
                    chosen.append(each)
            live = {}
            if verify:
                for each in chosen:
                    # Compared from the first event on: what an earlier run left proves nothing.
                    schemas.drop(connection, _beside(each))
                    # One snapshot for checkpoint and rows, while the live projection moves on.
                    with schemas.snapshot(connection, each.name):
                        at = schemas.position_of(connection, each.name) or 0
                        live[each.name] = at, schemas.digest(connection, each)
            upto = min((at for at, _ in live.values()), default=None)
            stopped |= self._build(connection, chosen, on_progress, upto)
            for each in chosen:
                if (beside := _beside(each)) in stopped:
                    continue
                digest = ""
                if verify:
                    with schemas.snapshot(connection, beside):
                        digest = schemas.digest(connection, each)
                    at, expected = live[each.name]
                    if digest != expected:
                        schemas.drop(connection, beside)
                        raise NotTheSame(f"{each.name} at position {at}: {digest} ≠ {expected}")
                self._advance(connection, each, beside, on_progress)
                self._swap(connection, each, beside)
                digests.append(digest)
        for error in stopped.values():
            raise error
        return digests

    def _build(
        self,
        connection: psycopg.Connection,
        projections: Sequence[Projection],
        on_progress: OnProgress | None,
        upto: int | None = None,
    ) -> dict[str, bulk.Stopped]:
        """The rows up to a position, or to where the source is now, in schemas of their own.

        Returns those that cannot go on, by schema.
        """
        source = self.source
        if not isinstance(source, Log):
            for each in projections:
                schemas.create(connection, each, _beside(each), source.parts(), indexed=True)
                self._advance(connection, each, _beside(each), on_progress, upto)
                schemas.tidy(connection, each, _beside(each))
            return {}
        head = source.head(LOG) if upto is None else upto
        stretches, jobs = 0, []
        for each in in_company(projections):
            left = bulk.plan(connection, each, _beside(each), source, head, self.stretch)
            stretches = max(stretches, left)
            wanted = each.wanted(source.skipped(each.name))
            jobs.append(bulk.Job(each, _beside(each), wanted))
        tell = _Telling(jobs, on_progress)
        stopped: dict[str, bulk.Stopped] = {}

        def work() -> bool:
            going = [job for job in jobs if job.schema not in stopped]
            stopped.update(bulk.work(connection, going, source, tell))
            return bulk.finish_all(connection, [j for j in going if j.schema not in stopped])

        with ExitStack() as stack:
            if self.crew is not None and stretches >= WORTH_HELP:
                bulk.keep_to_one_core(connection, jobs)
                stack.enter_context(self.crew.helping(jobs))
            work()
        while not work():  # what a helper took and did not finish
            pass
        return stopped

    def _prepare(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        on_progress: OnProgress | None,
    ) -> None:
        """Make a projection that is missing; rebuild one that an older version made."""
        name, source = projection.name, self.source
        version = schemas.version_of(connection, name)
        if version is None and not (
            isinstance(source, Log) and source.head(LOG) > WORTH_HELP * self.stretch
        ):
            schemas.create(connection, projection, name, source.parts(), indexed=True)
        elif version is None or version < projection.version:
            log.info("projector.rebuilds", projection=name, version=projection.version)
            try:
                self._rebuild([projection], on_progress, again=False)
            except Poisoned as error:
                # The live one stands still from here on, and health checks look there.
                if version is None:
                    schemas.create(connection, projection, name, source.parts(), indexed=True)
                schemas.note(connection, name, LOG, error.poison)
                raise
        _drop_gone(connection, projection)

    def _advance(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        schema: str,
        on_progress: OnProgress | None,
        upto: int | None = None,
    ) -> None:
        """Fold page after page into a schema until the head (or ``upto``) of each part."""
        for part in self.source.parts():
            head = self.source.head(part) if upto is None else upto
            skipped = self.source.skipped(projection.name)
            self._advance_part(connection, projection, schema, part, head, on_progress, skipped)

    def _advance_part(
        self,
        connection: psycopg.Connection,
        projection: Projection,
        schema: str,
        part: str,
        head: int,
        on_progress: OnProgress | None,
        skipped: frozenset[int],
    ) -> None:
        started, begun_at = time.monotonic(), None
        wanted, page = self._wanted(projection, skipped), self.page
        while True:
            after = last = 0
            event = None
            begun = time.time_ns()
            try:
                with connection.transaction():
                    after = last = schemas.claim(connection, schema, projection.version, part)
                    begun_at = after if begun_at is None else begun_at
                    if after >= head:
                        return
                    last = min(after + page, head)
                    read = self.source.read(part, after, last, wanted)
                    if read.events:
                        event = read.events[0]
                        projection.apply(connection, read.events, False)
                    last = read.last
                    schemas.move(connection, part, last)
                if self.spans is not None:
                    _tell_of(self.spans, projection.name, begun, read.events)
                page = min(2 * page, self.page)
            except (psycopg.OperationalError, Superseded, KeysAway):
                raise
            except Exception as error:
                # Whatever the fold stumbles over, the event is at fault or the fold is: neither may
                # be skipped. Smaller pages go up to the event itself.
                if last - after > 1:
                    page = (last - after) // 2
                    continue
                if isinstance(error, Unreadable):
                    poison = Poison(error.position, error.name, error.stream, repr(error.__cause__))
                elif event is not None:
                    poison = Poison(event.position, event.name, event.stream, repr(error))
                else:
                    raise
                schemas.note(connection, schema, part, poison)
                raise Poisoned(projection.name, poison) from error
            if on_progress is not None:
                rate = (last - begun_at) / max(time.monotonic() - started, 1e-6)
                on_progress(Progress(projection.name, last, head, rate, (head - last) / rate))
            if last >= head:
                return

    def _swap(self, connection: psycopg.Connection, projection: Projection, beside: str) -> None:
        """Put the rebuilt schema in the live one's place, not behind where readers already are."""
        retired = f"{projection.name}_retired"
        schemas.drop(connection, retired)
        wanted = projection.wanted(self.source.skipped(projection.name))
        with connection.transaction():
            schemas.lock(connection, projection.name)
            live = schemas.positions_of(connection, projection.name)
            for part, upto in live.items():
                while (after := schemas.claim(connection, beside, projection.version, part)) < upto:
                    page = self.source.read(part, after, min(after + self.page, upto), wanted)
                    if page.events:
                        projection.apply(connection, page.events, False)
                    schemas.move(connection, part, page.last)
            if live:
                schemas.rename(connection, projection.name, retired)
            schemas.rename(connection, beside, projection.name)
        # Later, by itself: dropping needs locks that running queries hold, and with those of the
        # swap in hand the two could wait for each other.
        schemas.drop(connection, retired)


def _drop_gone(connection: psycopg.Connection, projection: Projection) -> None:
    """Drop what is in a read model now instead; a process of an older version may have made it
    again since."""
    for gone in projection.instead_of:
        for schema in (gone, f"{gone}_rebuild", f"{gone}_retired"):
            with suppress(psycopg.errors.LockNotAvailable):  # still read: at the next start
                schemas.drop(connection, schema)


def _as_a_follower(connection: psycopg.Connection) -> None:
    """How a connection is set that follows the log.

    What a crash of the database takes back is folded again, for its checkpoint goes with it. A page
    touches few rows; but a plan is kept that was made while the table was small enough to be read
    from end to end. What a GIN index puts off is done in small parts, a few milliseconds each.
    """
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET gin_pending_list_limit = '256kB'")


def _goes_on(connection: psycopg.Connection, schema: str, steps: Iterator[None]) -> bool:
    """Take one step of a fold into a schema; whether there may be another."""
    schemas.use(connection, schema)
    return next(steps, steps) is not steps


def _tell_of(spans: Spans, projection: str, begun: int, events: Sequence[Recorded[Any]]) -> None:
    """A span for each request whose events were folded; of a long page nobody follows the many."""
    requests = {each.correlation for each in events} - {""}
    if len(requests) <= TRACED:
        facts: dict[str, str | int] = {
            "wangge.read_model": projection,
            "wangge.events": len(events),
        }
        for request in requests:
            spans.record(f"project {projection}", request, begun, time.time_ns(), facts)


def reached(connection: psycopg.Connection, projection: str, position: int) -> bool:
    """Whether a projection knows the log up to a position."""
    return (schemas.position_of(connection, projection) or 0) >= position


def _is_lost(error: Exception) -> bool:
    """Whether the database or the way to it is to blame, and no read model: SQLSTATE 08, 40, 53 and
    57 are lost connections, conflicts, scarcity and intervention."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate[:2] in ("08", "40", "53", "57")
    )


_Company: TypeAlias = dict[str, tuple[Projection, Wanted]]
"""Those that go together, by name, with what each wants of the log."""


class _Bell:
    """Rung when something was appended, or somebody joins. ``head`` is how far the log is."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.head = 0
        self._joining: _Company = {}
        self._rung = threading.Condition()

    def ring(self, head: int) -> None:
        """Say how far the log is."""
        with self._rung:
            self.head = max(self.head, head)
            self._rung.notify_all()

    def join(self, projection: Projection, wanted: Wanted) -> None:
        """Somebody is at the end of the log."""
        with self._rung:
            self._joining[projection.name] = projection, wanted
            self._rung.notify_all()

    def wait(self, known: int, seconds: float, company: _Company) -> int:
        """Wait for the log to be further than somebody knows, so long at most; returns the head.
        Who joins meanwhile is added to the company."""
        with self._rung:
            self._rung.wait_for(
                lambda: self.head > known or self._joining or self.stop.is_set(), seconds
            )
            company.update(self._joining)
            self._joining.clear()
            return self.head


class _Telling:
    """Tells how far a build is, before each stretch: of several that go together, the first."""

    def __init__(self, jobs: Sequence[bulk.Job], on_progress: OnProgress | None) -> None:
        self._jobs, self._on_progress = jobs, on_progress
        self._begun: tuple[float, int] | None = None

    def __call__(self, connection: psycopg.Connection) -> bool:
        if self._on_progress is None or not self._jobs:
            return True
        first = self._jobs[0]
        at = bulk.standing(connection, first.schema)
        if at is not None:
            now, (done, of) = time.monotonic(), at
            self._begun = self._begun or (now, done)
            rate = (done - self._begun[1]) / max(now - self._begun[0], 1e-6)
            left = (of - done) / rate if rate else math.inf
            self._on_progress(Progress(first.projection.name, done, of, rate, left))
        return True


def _beside(projection: Projection) -> str:
    """The schema in which a read model is built anew."""
    return f"{projection.name}_rebuild"
