"""One connection, many queries on their way: each gets its own answer, or hears what went wrong."""

import asyncio
import os
import socket
import time

import psycopg
import pytest
from eventsourcing.persistence import OperationalError
from psycopg.pq import ExecStatus

from infra.arrays import Integers, Texts
from infra.line import Line, Query, connected, integer

ONE = Query(b"one", "SELECT 1", (integer,))
SLOW = Query(b"slow", "SELECT 1 FROM pg_sleep(60)", (integer,))
UNKNOWN = Query(b"unknown", "SELECT nothing_of_that_name", (integer,))
DIVIDES = Query(b"divides", "SELECT 1 / 0", (integer,))


def test_queries_that_fail_fail_alone(database: str) -> None:
    asked = [ONE, UNKNOWN, ONE, DIVIDES, ONE, DIVIDES, ONE]

    async def go() -> list[object]:
        line = Line(database)
        try:
            return list(await asyncio.gather(*map(line.ask, asked), return_exceptions=True))
        finally:
            await line.close()

    expected = {
        ONE: list,
        UNKNOWN: psycopg.errors.UndefinedColumn,
        DIVIDES: psycopg.errors.DivisionByZero,
    }
    assert [type(answer) for answer in asyncio.run(go())] == [expected[query] for query in asked]


def test_what_takes_arrays_is_not_planned_for_each_of_them(database: str) -> None:
    """Left to itself PostgreSQL finds a plan for so few of them the cheaper one, every time."""
    few = Query(
        b"few",
        "SELECT e.version FROM unnest($1::text[], $2::int[]) AS known(stream, version)"
        " JOIN log.event e ON e.stream = known.stream AND e.version > known.version",
        (integer,),
    )
    plans = Query(
        b"plans", "SELECT custom_plans FROM pg_prepared_statements WHERE name = 'few'", (integer,)
    )

    async def go() -> object:
        line = Line(database)
        try:
            for _ in range(10):
                await line.ask(few, Texts(["case:a"]), Integers([0]))
            return await line.ask(plans)
        finally:
            await line.close()

    assert asyncio.run(go()) == [(0,)]


def test_a_caller_that_leaves_does_not_take_the_answer_of_the_next(database: str) -> None:
    counting = Query(b"counting", "SELECT cardinality($1::int[])", (integer,))

    async def go() -> object:
        line = Line(database)
        await line.ask(ONE)
        gone = asyncio.create_task(line.ask(counting))
        await asyncio.sleep(0)
        gone.cancel()
        try:
            return await line.ask(ONE)
        finally:
            await line.close()

    assert asyncio.run(go()) == [(1,)]


def test_everybody_who_waits_hears_that_the_connection_is_lost(database: str) -> None:
    async def go() -> object:
        line = Line(database)
        await line.ask(ONE)
        waiting = [asyncio.create_task(line.ask(SLOW)) for _ in range(2)]
        await asyncio.sleep(0)  # both are sent
        assert line._wire is not None
        with socket.socket(fileno=os.dup(line._wire._socket)) as same:
            same.shutdown(socket.SHUT_RDWR)
        for each in waiting:
            with pytest.raises(OperationalError):
                await each
        try:
            return await line.ask(ONE)  # by a new one
        finally:
            await line.close()

    assert asyncio.run(go()) == [(1,)]


def test_a_query_that_is_never_answered_ends_the_connection_for_all_who_wait(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.line.PATIENCE", 2.0)

    async def go() -> object:
        line = Line(database)
        await line.ask(ONE)
        first = line._wire
        for each in [asyncio.create_task(line.ask(query)) for query in (ONE, SLOW, ONE)][1:]:
            with pytest.raises(OperationalError, match="no answer"):
                await each
        try:
            answer = await line.ask(ONE)  # by a new one
            assert line._wire is not first
            return answer
        finally:
            await line.close()

    assert asyncio.run(go()) == [(1,)]


def test_a_query_that_the_server_gives_up_costs_nobody_else_the_connection(database: str) -> None:
    async def go() -> object:
        line = Line(database)
        await line.ask(ONE)
        first = await line.open()
        given_up = asyncio.create_task(line.ask(SLOW))
        behind = asyncio.create_task(line.ask(ONE))
        await asyncio.sleep(0)  # both are sent
        async with await connected(database) as other:
            while not given_up.done():
                await other.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE '%pg_sleep%'"
                    " AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.01)
        with pytest.raises(OperationalError, match="canceling"):
            await given_up
        try:
            answer = await behind
            assert await line.open() is first
            return answer
        finally:
            await line.close()

    assert asyncio.run(go()) == [(1,)]


def test_a_connection_outlasts_the_patience_of_what_was_answered(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.line.PATIENCE", 2.0)
    pausing = Query(b"pausing", "SELECT 1 FROM pg_sleep(0.5)", (integer,))

    async def go() -> None:
        line = Line(database)
        await line.open()
        wire = line._wire
        for _ in range(5):
            assert await line.ask(pausing) == [(1,)]
        assert line._wire is wire
        await line.close()

    asyncio.run(go())


def test_what_libpq_says_itself_is_not_the_servers_word(database: str) -> None:
    """Without a code of PostgreSQL's nobody knows what became of the query: not a fault of ours."""

    async def go() -> None:
        line = Line(database)
        await line.open()
        wire = line._wire
        assert wire is not None
        answer = wire.send(SLOW, [])
        with pytest.raises(psycopg.OperationalError):
            wire._read(wire._pg.make_empty_result(ExecStatus.FATAL_ERROR))
        await line.close()
        with pytest.raises(psycopg.OperationalError):
            await answer

    asyncio.run(go())


def test_a_connection_that_nobody_waits_for_any_more_is_not_left_half_open(
    database: str,
) -> None:
    async def given_up(turns: int) -> asyncio.Task[psycopg.AsyncConnection]:
        making = asyncio.create_task(connected(database))
        for _ in range(turns):
            await asyncio.sleep(0)
        making.cancel()
        await asyncio.wait([making])
        return making

    async def several() -> list[asyncio.Task[psycopg.AsyncConnection]]:
        return [await given_up(turns) for turns in range(1, 9)]

    held = asyncio.run(several())
    assert all(making.cancelled() for making in held)
    with psycopg.connect(database, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'starting'"
        ends = time.monotonic() + 20
        while connection.execute(query).fetchone() != (0,):
            assert time.monotonic() < ends
