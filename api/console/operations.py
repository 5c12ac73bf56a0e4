"""投影运维: read models, what waits to happen by itself, and who outside is told."""

from typing import Annotated, Final

from fastapi import Query
from fastapi.responses import Response

from api import deadlines, projections, webhooks
from api.console.pages import page
from api.console.session import AtConsole, pages
from api.schemas import words as s
from api.schemas.operations import PendingQuery
from api.schemas.outbound import DeadQuery
from domain.errors import Refused
from domain.places import EVERYWHERE
from domain.roles import Reading, permitted
from domain.webhooks import AddReceiver

router: Final = pages("/operations")


@router.get("")
def operations(me: AtConsole) -> Response:
    """How everything runs. The read models are asked again every two seconds while one looks."""
    known = projections.projections(me.desk)
    waiting = receivers = None
    if me.part != "standings":
        waiting = deadlines.deadlines(PendingQuery(limit=20), me.desk, me.seen)
        receivers = webhooks.receivers(me.desk)
    return page(
        me,
        "operations.html",
        known=known,
        names=NAMES,
        deciding=projections.may_decide(me.desk),
        waiting=waiting,
        receivers=receivers,
        adding=any(
            permitted(me.desk.by, AddReceiver.__name__, grant.territory)
            for grant in me.desk.by.grants
        ),
        topics=me.desk.services.gateway.carried(),
        everywhere=EVERYWHERE,
    )


@router.get("/webhooks/{receiver}/dead")
def operations_dead(
    receiver: s.Id, me: AtConsole, wanted: Annotated[DeadQuery, Query()]
) -> Response:
    """What a receiver was not told."""
    if not me.reads(Reading.AUDIT):
        raise Refused("query.not_permitted", reading=Reading.AUDIT.value)
    found = webhooks.dead(receiver, wanted, me.desk)
    return page(me, "operations-dead.html", receiver=receiver, found=found)


NAMES: Final = {
    "worklist": ("工作台", "Worklist"),
    "audit": ("审计与办理过程", "Audit trail and timelines"),
    "looks": ("个人信息查看", "Looks at personal data"),
    "search": ("检索", "Search"),
    "deadlines": ("自动办理", "What happens by itself"),
    "containment": ("层级留存", "Containment"),
    "timeliness": ("按期结案", "Timeliness"),
    "evaluation": ("回访评价", "Evaluation"),
    "quality": ("办理质量", "Quality"),
    "caseload": ("网格工作量", "Caseload"),
}
"""What read models are called; one that is not here goes by its name."""
