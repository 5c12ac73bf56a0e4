"""What a route works with: who asks, when, and what the office is like."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import Response

from api.errors import Declined, refusal
from api.services import API, Services
from domain.aggregates import Office
from domain.answers import Answer, Answered, Answering, Once, Receipt, Verdict
from domain.errors import Refused
from domain.places import EVERYWHERE
from domain.roles import Actor
from projections.past import AsOf, Moment

_encode: Final = msgspec.json.Encoder().encode


class Desk(NamedTuple):
    """One request of somebody who is signed in: who asks, when, and what the office is like.

    ``once`` is the key that the caller gave a command, ``before`` what it was answered under it,
    where the route sees to the rest of what it did then.
    """

    services: Services
    office: Office
    by: Actor
    at: datetime
    request: str
    once: Once | None = None
    before: Answered | None = None

    async def execute(self, *commands: Any) -> Receipt:
        """Have commands decided and stored, all or none, whatever the caller's key."""
        return await self.services.commits.execute(*commands, correlation=self.request)

    async def answer(
        self, *commands: Any, answering: Answering, expected: int | None = None
    ) -> Response:
        """Have commands decided and stored, all or none, and answer what became of them."""
        answered = await self.services.commits.answer(
            *commands,
            correlation=self.request,
            expected=expected,
            once=self.once,
            answering=answering,
        )
        return respond(answered)

    async def change(
        self, *commands: Any, status: int = 200, expected: int | None = None
    ) -> Response:
        """Have commands that change the office's configuration stored, and answer."""
        return await self.answer(
            *commands,
            answering=lambda verdict, _: self.worded(verdict, status),
            expected=expected,
        )

    def worded(self, verdict: Verdict, status: int, **more: Any) -> Answer:
        """A verdict as it is answered and kept; ``more`` stands beside what every success says."""
        if isinstance(verdict, Receipt):
            names = [self.services.names[type(event)] for event in verdict.events]
            done = {"version": verdict.version, "events": names, **more}
            return Answer(status, _encode(done))
        return declined(refusal(verdict))

    def known(self, *positions: int) -> int:
        """The position that an answer must know, of those that a request names.

        Raises:
            Refused: ``request.position_ahead``: waiting for it would hold a connection for nothing.
        """
        position = max(positions)
        if position > 0 and position > self.services.gateway.head():
            raise Refused("request.position_ahead", position=position)
        return position

    def demand_territory(self, path: str) -> None:
        """Whatever is given to a territory is given to one that there is: a misspelt one would
        stay in the log for good, seen by nobody below everywhere.

        Raises:
            Refused: ``territory.unknown``.
        """
        if path != EVERYWHERE:
            self.office.territory.node(path)

    def moment(self, as_of: AsOf | None) -> Moment:
        """The moment that a question is about: without ``as_of``, the present one.

        Raises:
            Refused: ``request.position_ahead``.
        """
        return Moment(self.at) if as_of is None else self.services.gateway.moment(as_of, self.at)


def declined(refused: Refused) -> Answer:
    """A refusal as it is answered and kept."""
    said = {"code": refused.code, "zh": refused.zh, "en": refused.en}
    return Answer(refused.status, _encode(said))


def respond(answered: Answered) -> Response:
    """The response that an answer is, said for the first time or again.

    Raises:
        Declined: the answer is a refusal.
    """
    status, body, position = answered
    if status >= 400:
        raise Declined(status, **msgspec.json.decode(body))
    done = _decode(body)
    response = _Plain(b'{"position":%d,%s' % (position, body[1:]), status)
    headers = response.raw_headers
    headers += (b"etag", b'"%d"' % done.version), (b"x-wangge-position", b"%d" % position)
    if status == 201 and done.case:
        headers.append((b"location", f"{API}/cases/{done.case}".encode("latin-1")))
    return response


class _Plain(Response):
    """JSON that is written already, and a head that is made without looking through it."""

    def __init__(self, body: bytes, status: int) -> None:
        self.body, self.status_code, self.background = body, status, None
        length = b"%d" % len(body)
        self.raw_headers = [(b"content-length", length), (b"content-type", b"application/json")]


class _Done(msgspec.Struct):
    """What the headers of a success are made of."""

    version: int
    case: str = ""


_decode: Final = msgspec.json.Decoder(_Done).decode
