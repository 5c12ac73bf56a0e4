"""The catalogue of matters with its rules, and the policy of the office."""

from typing import Final

from fastapi import Response

from api.auth import AtDesk, routes
from api.errors import problems
from api.schemas import rules as s
from api.schemas.words import Done, tier
from domain import catalogue as c

CHANGED: Final = problems(404, 409, 413, 415)
"""What a change of the catalogue may answer besides success."""

router: Final = routes("/catalogue", ["事项清单 Catalogue"])


@router.get("", summary="事项清单 · All categories", responses=problems())
def catalogue(desk: AtDesk) -> s.CatalogueAnswer:
    """全部类别（含停用）与办理规则。All categories, retired ones too, and the policy in force."""
    known = desk.office.catalogue
    return s.CatalogueAnswer(
        categories=[s.CategoryAnswer.model_validate(each) for each in known.categories.values()],
        policy=s.PolicyAnswer.model_validate(known.policy),
        reminder_hours=known.reminder_hours,
    )


@router.post(
    "/define", summary="定义类别 · Define a category", response_model=Done, responses=CHANGED
)
async def define(body: s.DefineCategory, desk: AtDesk) -> Response:
    """新增类别或修改规则，只影响此后立案的事项。Add a category or change its rules, for cases filed
    from now on."""
    command = c.DefineCategory(
        by=desk.by,
        at=desk.at,
        code=body.code,
        name_zh=body.name_zh,
        name_en=body.name_en,
        size=body.size,
        limit=body.limit.limit() if body.limit else None,
        contact=body.contact.limit() if body.contact else None,
        urgent=body.urgent,
        mandated_up=body.mandated_up,
        start_tier=body.start_tier and tier(body.start_tier),
    )
    return await desk.change(command)


@router.post(
    "/retire", summary="停用类别 · Retire a category", response_model=Done, responses=CHANGED
)
async def retire(body: s.CategoryCode, desk: AtDesk) -> Response:
    """此后不再按该类别立案。No new case is filed in it any more."""
    return await desk.change(c.RetireCategory(by=desk.by, at=desk.at, code=body.code))


@router.post("/policy", summary="办理规则 · Set the policy", response_model=Done, responses=CHANGED)
async def policy(body: s.PolicyIn, desk: AtDesk) -> Response:
    """全局办理规则。The limits of the whole office, all at once."""
    return await desk.change(c.SetPolicy(by=desk.by, at=desk.at, policy=body.policy()))


@router.post(
    "/reminder", summary="催办提前量 · When to remind", response_model=Done, responses=CHANGED
)
async def reminder(body: s.ReminderIn, desk: AtDesk) -> Response:
    """到期前多少小时催办，对在办事项立即生效；时间不足的，过半时催办。How many hours ahead of its
    due a case is reminded of, open cases too; one with little time when half of it is gone."""
    return await desk.change(c.SetReminder(by=desk.by, at=desk.at, hours=body.hours))
