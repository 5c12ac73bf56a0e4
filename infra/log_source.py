"""The log as the projection runner reads it: by position to follow, by stream to build anew."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import compress, islice
from types import NoneType
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from domain import operations
from domain.history import (
    BESIDE,
    LOG,
    KeysAway,
    Page,
    Reading,
    Recorded,
    Unreadable,
    Wanted,
)
from infra.codec import Codec
from infra.vault import Vault, WrongKeyFile

SAMPLES: Final = 16
"""How many streams are looked at for each stretch that a build is divided into."""

TOGETHER: Final = 500
"""Rows made into events together, while they are in the processor's own memory."""


def identity(connection: psycopg.Connection) -> str:
    """Which log this is, among those of all districts; made when it is first asked for.

    ``connection`` signs in as ``wangge_relay``.
    """
    connection.execute("INSERT INTO relay.log DEFAULT VALUES ON CONFLICT DO NOTHING")
    row = connection.execute("SELECT id::text FROM relay.log").fetchone()
    assert row is not None
    return str(row[0])


class LogSource:
    """The log of one database: one part, which can be read by stream as well."""

    def __init__(self, pool: ConnectionPool, codec: Codec, vault: Vault) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_projector``."""
        self._pool = pool
        self._codec = codec
        self._vault = vault

    def parts(self) -> Sequence[str]:
        """The log itself."""
        return (LOG,)

    def head(self, part: str = LOG) -> int:
        """The last position there is; 0 while the log is empty."""
        assert part == LOG
        with self._pool.connection() as connection:
            row = connection.execute("SELECT position FROM log.head").fetchone()
        return row[0] if row else 0

    def read(self, part: str, after: int, upto: int, wanted: Wanted) -> Page:
        """The events wanted with a position in ``(after, upto]``, in order.

        Raises:
            Unreadable: an event cannot be read; it is named.
            KeysAway: none that holds something to be opened can be for now.
        """
        assert part == LOG
        return Page(self.between(after, upto, (wanted,))(wanted), upto)

    def between(self, after: int, upto: int, wanted: Collection[Wanted]) -> Reading:
        """The events with a position in ``(after, upto]``, in order, read once for several."""
        where = "position > %s AND position <= %s"
        return self._reading(wanted, where, (after, upto), "position")

    def bounds(self, upto: int, each: int) -> list[str]:
        """Names of streams that divide all those up to a position into stretches of about ``each``
        events, ascending.

        Out of a sample of the log itself, evenly over positions: names may begin alike, as those of
        imported cases do.
        """
        step = max(each // SAMPLES, 1)
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT stream FROM log.event"
                " WHERE position IN (SELECT generate_series(%s::bigint, %s::bigint, %s::bigint))"
                " ORDER BY stream",
                (step, upto, step),
            ).fetchall()
        every = max(each // step, 1)
        return sorted({row[0] for row in rows[every - 1 :: every]})

    def streams(
        self, after: str, until: str | None, upto: int, wanted: Collection[Wanted]
    ) -> Reading:
        """The events of the streams in ``(after, until]`` up to a position, stream by stream in
        order of version, read once for several; None: to the last one."""
        where = "stream > %s AND position <= %s AND stream <= %s"
        values: tuple[Any, ...] = (after, upto, until)
        if until is None:
            where, values = "stream > %s AND position <= %s", (after, upto)
        only, *others = wanted
        if others or only.opened:
            return self._reading(wanted, where, values, "stream, version")
        return self._made_at_once(only, where, values, "stream, version")

    def skipped(self, projection: str) -> frozenset[int]:
        """The positions that a read model is to leave out, as somebody has decided."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT name, data FROM log.event WHERE stream = %s",
                (operations.stream(projection),),
                binary=True,
            ).fetchall()
        return frozenset(self._codec.decode(*row).position for row in rows)

    def _reading(
        self,
        wanted: Collection[Wanted],
        where: LiteralString,
        values: tuple[Any, ...],
        order: LiteralString,
    ) -> Reading:
        names = {name for each in wanted for name in self._codec.names_of(each.events)}
        with self._pool.connection() as connection:
            rows = connection.execute(
                _asking(wanted, where, order), (*values, sorted(names)), binary=True
            ).fetchall()
        known, unread = {name: name for name in names}, _unread(wanted)
        made: dict[int, tuple[list[Recorded[Any]], list[str]]] = {}

        def read(each: Wanted) -> list[Recorded[Any]]:
            company = [other for other in wanted if _together(other, each)]
            if len(company) > 1 and not unread:
                with suppress(Unreadable):  # whose it is comes out below, by what each reads
                    alike = id(each.company)
                    if alike not in made:
                        events = self._made(rows, names, _all_of(company))
                        # Each row has its own copy of its name: one for all is always at hand.
                        made[alike] = events, [known[event[4]] for event in events]
                    return self._those(*made[alike], each)
            return self._made(rows, names, each)

        return read

    def _made_at_once(
        self, wanted: Wanted, where: LiteralString, values: tuple[Any, ...], order: LiteralString
    ) -> Reading:
        """What ``_reading`` gives, for a single one, made as the rows come in: where none waits
        for the others, a build takes a fifth less time."""
        made: list[Recorded[Any]] = []
        unreadable: Unreadable | None = None
        names = sorted(self._codec.names_of(wanted.events))
        with self._pool.connection() as connection, connection.cursor() as cursor:
            query = _asking((wanted,), where, order)
            rows = cursor.stream(query, (*values, names), binary=True, size=TOGETHER)
            try:
                while some := list(islice(rows, TOGETHER)):
                    made += self._made(some, names, wanted)
            except Unreadable as error:
                unreadable = error
                deque(rows, maxlen=0)  # else the connection would still be at it

        def read(_: Wanted) -> list[Recorded[Any]]:
            if unreadable is not None:
                raise unreadable
            return made

        return read

    def _those(
        self, made: list[Recorded[Any]], names: list[str], wanted: Wanted
    ) -> list[Recorded[Any]]:
        """Those of some events, whose names are given, that somebody wants."""
        mine, there = frozenset(self._codec.names_of(wanted.events)), set(names)
        if wanted.skipped:
            made = [each for each in made if each.position not in wanted.skipped]
            names = [each[4] for each in made]
        if there <= mine:
            return made
        # Ten read models choose out of millions: without a loop of ours.
        return list(compress(made, map(mine.__contains__, names)))

    def _made(
        self, rows: Sequence[Any], names: Collection[str], wanted: Wanted
    ) -> list[Recorded[Any]]:
        """Those of some rows that somebody wants, as events."""
        mine = frozenset(self._codec.names_of(wanted.events))
        if len(mine) < len(names):
            rows = list(compress(rows, map(mine.__contains__, [row[4] for row in rows])))
        if wanted.skipped:
            rows = [row for row in rows if row[0] not in wanted.skipped]
        made = self._opened if wanted.opened else self._sealed
        try:
            return made(rows, wanted)
        except KeysAway:
            raise
        except Exception:
            for row in rows:
                try:
                    made([row], wanted)
                except Exception as error:
                    raise Unreadable(row[0], row[1], row[4]) from error
            raise

    def _sealed(self, rows: Sequence[Any], wanted: Wanted) -> list[Recorded[Any]]:
        """Rows as events whose personal fields nobody has opened."""
        decode, plain = self._codec.decoders(wanted.shapes), self._codec.plain
        new = tuple.__new__  # a third quicker than by way of the class, and there are millions
        if wanted.json:
            return [
                new(
                    Recorded,
                    (position, stream, version, decode[name](data), name, at, actor, roles,
                     recorded_at, territory, correlation, causation, plain(name, data)),
                )
                for position, stream, version, data, name, at, actor, roles, recorded_at,
                territory, correlation, causation in rows
            ]  # fmt: skip
        rest = _DEFAULTS[len(rows[0]) :] if rows else ()
        return [
            new(Recorded, (position, stream, version, decode[name](data), name, *beside, *rest))
            for position, stream, version, data, name, *beside in rows
        ]

    def _opened(self, rows: Sequence[Any], wanted: Wanted) -> list[Recorded[Any]]:
        """Rows as events, personal fields in clear as far as their keys are there."""
        codec, decode, shapes = self._codec, self._codec.decoders(wanted.shapes), wanted.shapes
        # What holds nothing personal, or nothing that is wanted, has nothing to be opened.
        sealed = {
            name: shapes.get(event)
            for event in wanted.events
            if codec.has_personal(event, shapes.get(event, event))
            for name in codec.names_of((event,))
        }
        halves = [
            codec.half_open(row[4], row[3], sealed[row[4]]) if row[4] in sealed else None
            for row in rows
        ]
        ids = {
            key
            for row, half in zip(rows, halves, strict=True)
            if row[4] in sealed
            for key in (codec.keys_in(row[3]) if half is None else half.sealed.keys)
        }
        try:
            keys = self._vault.find_once(ids)
        except (psycopg.OperationalError, WrongKeyFile) as error:
            raise KeysAway(str(error).strip()) from error
        new, rest = tuple.__new__, _DEFAULTS[len(rows[0]) :] if rows else ()
        return [
            new(
                Recorded,
                (
                    position,
                    stream,
                    version,
                    codec.open(name, data, stream, version, keys, sealed[name], half)
                    if name in sealed
                    else decode[name](data),
                    name,
                    *beside,
                    *rest,
                ),
            )
            for half, (position, stream, version, data, name, *beside) in zip(
                halves, rows, strict=True
            )
        ]


def _unread(wanted: Iterable[Wanted]) -> bool:
    """Whether none of them reads a field of any event."""
    return all(
        not each.json and all(each.shapes.get(event) is NoneType for event in each.events)
        for each in wanted
    )


def _asking(wanted: Collection[Wanted], where: LiteralString, order: LiteralString) -> bytes:
    """The query for what any of them reads."""
    last = max((BESIDE.index(name) for each in wanted for name in each.beside), default=0)
    beside = BESIDE if any(each.json for each in wanted) else BESIDE[: last + 1]
    return _query(beside, _unread(wanted), where, order)


def _together(one: Wanted, other: Wanted) -> bool:
    """Whether what was made once is for both: what is opened is never for another."""
    same = one.company is not None and one.company is other.company
    return same and not one.opened and not other.opened


def _all_of(company: Collection[Wanted]) -> Wanted:
    """What several want together."""
    events = dict.fromkeys(event for each in company for event in each.events)
    shapes = next(iter(company)).company or {}
    return Wanted(tuple(events), shapes, json=any(each.json for each in company))


_DEFAULTS: Final = (0, "", 0, None, *Recorded._field_defaults.values())
"""What stands in the place of what nobody wants."""


@cache
def _query(
    beside: tuple[str, ...], unread: bool, where: LiteralString, order: LiteralString
) -> bytes:
    """The columns of a ``Recorded``: what is beside the event from the left on, as a tuple is
    filled, the name at least. Put together once, for it takes as long as asking it."""
    query = sql.SQL(
        "SELECT position, stream, version, {}, {} FROM log.event"
        " WHERE {} AND name = ANY(%s) ORDER BY {}"
    ).format(
        sql.SQL("NULL" if unread else "data"),
        sql.SQL(", ").join(map(sql.Identifier, beside)),
        sql.SQL(where),
        sql.SQL(order),
    )
    return query.as_bytes(None)
