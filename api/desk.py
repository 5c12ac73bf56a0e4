"""What a route works with: who asks, when, and what the office is like."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Response

from api.schemas import Done
from api.services import Receipt, Services
from domain.aggregates import Office
from domain.errors import Refused
from domain.roles import Actor


@dataclass(frozen=True, slots=True)
class Desk:
    """One request of somebody who is signed in: who asks, when, and what the office is like."""

    services: Services
    office: Office
    by: Actor
    at: datetime
    request: str

    def execute(self, *commands: Any, expected: int | None = None) -> Receipt:
        """Have commands decided and stored, all or none."""
        return self.services.store.execute(*commands, correlation=self.request, expected=expected)

    def known(self, *positions: int) -> int:
        """The position that an answer must know, of those that a request names.

        Raises:
            Refused: ``request.position_ahead``: waiting for it would hold a connection for nothing.
        """
        position = max(positions)
        if position > 0 and position > self.services.gateway.head():
            raise Refused("request.position_ahead", position=position)
        return position

    def change(self, response: Response, *commands: Any) -> Done:
        """Execute commands that change the office's configuration."""
        receipt = self.execute(*commands)
        response.headers["X-Wangge-Position"] = str(receipt.position)
        names = [self.services.names[type(event)] for event in receipt.events]
        return Done(version=receipt.version, position=receipt.position, events=names)
