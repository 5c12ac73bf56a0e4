"""Several processes at one build: each takes stretches of its own, see ``bulk``."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, TypeAlias

import psycopg

from projections import bulk
from projections.projection import Log, Projection, Source, in_company


class Bench(NamedTuple):
    """What a worker works with."""

    source: Source
    connect: Callable[[], psycopg.Connection]
    models: Mapping[str, Projection]


Open: TypeAlias = Callable[[], AbstractContextManager[Bench]]
"""Makes a worker's own connections. It is pickled: a function of a module, or a ``partial``."""


class Crew(NamedTuple):
    """How many work at a build, the process that asked for it included."""

    size: int
    open: Open

    @contextmanager
    def helping(self, jobs: Sequence[bulk.Job]) -> Iterator[None]:
        """All but one of them at work, until they find nothing left or the block is left early.

        What becomes of them does not matter: a stretch that one of them has not finished is still
        to be taken.
        """
        # Spawned, not forked: a fork would have a copy of the connections.
        context = multiprocessing.get_context("spawn")
        schemas = {job.projection.name: job.schema for job in jobs}
        arguments = self.open, schemas, os.getpid()
        helpers = [
            context.Process(target=_help, args=arguments, daemon=True) for _ in range(self.size - 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            yield
            for helper in helpers:
                helper.join()
        finally:
            for helper in helpers:
                helper.terminate()
                helper.join()


def _help(open_: Open, schemas: Mapping[str, str], parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends us
    with open_() as bench, bench.connect() as connection:
        source = bench.source
        assert isinstance(source, Log)
        jobs = [
            bulk.Job(each, schemas[each.name], each.wanted(source.skipped(each.name)))
            for each in in_company([bench.models[name] for name in schemas])
        ]
        bulk.keep_to_one_core(connection, jobs)
        # Whoever cannot go on is left to the parent, which comes to it too, and says so.
        stopped = bulk.work(connection, jobs, source, lambda _: os.getppid() == parent)
        if os.getppid() == parent:
            bulk.finish_all(connection, [job for job in jobs if job.schema not in stopped])
