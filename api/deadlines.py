"""What will happen to cases by itself: reminders, breaches, ends of parkings and of reopening."""

from typing import Annotated, Final

from fastapi import Query

from api.auth import AtDesk, Seen, routes
from api.errors import problems
from api.schemas import operations as s
from api.schemas.words import tier_name
from domain import words
from projections.conditions import PendingFilter
from projections.deadlines import Action

router: Final = routes("/deadlines", ["事项 Cases"])


@router.get("", summary="待自动办理 · What will happen by itself", responses=problems())
def deadlines(
    wanted: Annotated[s.PendingQuery, Query()], desk: AtDesk, seen: Seen = 0
) -> s.PendingPage:
    """本人属地内将由系统自动办理的事项，先到期的在前。What the system will do by itself to the
    cases of one's territories, the earliest first; `attempts` and `error` say what failed."""
    found = desk.services.gateway.pending(
        desk.by,
        desk.office.catalogue.ahead,
        PendingFilter(territory=wanted.territory, kind=wanted.kind),
        wanted.after,
        wanted.limit,
        desk.known(wanted.position, seen),
        desk.office.calendar.settled(),
    )
    return s.PendingPage(rows=[_row(action) for action in found.rows], next=found.next)


def _row(action: Action) -> s.PendingAnswer:
    word = words.AUTOMATIC[action.kind]
    return s.PendingAnswer(
        case=action.case,
        kind=action.kind,
        zh=word.zh,
        en=word.en,
        at=action.at,
        until=action.until,
        territory=action.territory,
        tier=tier_name(action.tier),
        episode=action.episode,
        due=action.due,
        attempts=action.attempts,
        error=action.error,
        retry_at=action.retry_at,
    )
