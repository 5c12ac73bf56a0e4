"""The working calendar: what is published, what the office decided, and when a limit ends."""

from typing import Annotated, Final

from fastapi import Query, Response

from api.auth import AtDesk, routes
from api.errors import problems
from api.schemas import rules as s
from api.schemas.words import Done
from domain import calendar as c
from domain.sla import reckon

CHANGED: Final = problems(409, 413, 415)
"""What a change of the calendar may answer besides success."""

router: Final = routes("/calendar", ["工作日历 Calendar"])


@router.get("", summary="工作日历 · The calendar", responses=problems())
def calendar(desk: AtDesk) -> s.CalendarAnswer:
    """工作时段、已公布的年份和本单位的调整。Hours, published years, and the office's own days."""
    known = desk.office.calendar
    return s.CalendarAnswer(
        hours=_periods(known.hours_on(c.office_time(desk.at).date())),
        eras=[
            s.EraAnswer(since=since, periods=_periods(periods))
            for since, periods in ((None, known.hours), *sorted(known.changes.items()))
        ],
        years=[
            s.YearAnswer(
                year=year,
                holidays=list(schedule.holidays),
                makeup_days=list(schedule.makeup_days),
            )
            for year, schedule in sorted(known.years.items())
        ],
        declared=[
            s.DayAnswer(day=day, working=working) for day, working in sorted(known.declared.items())
        ],
    )


@router.get("/reckon", summary="推算时限 · Reckon a limit", responses=problems())
def reckoned(asked: Annotated[s.ReckonQuery, Query()], desk: AtDesk) -> s.ReckonAnswer:
    """某时刻起的时限何时到期。When a limit that begins at an instant ends."""
    found = reckon(desk.office.calendar, asked.start, asked.limit())
    return s.ReckonAnswer.model_validate(found)


@router.post(
    "/publish", summary="公布年度安排 · Publish a year", response_model=Done, responses=CHANGED
)
async def publish(body: s.PublishYear, desk: AtDesk) -> Response:
    """国务院公布的放假和调休安排。The holidays and make-up working days of a year, as published."""
    command = c.PublishYear(
        by=desk.by,
        at=desk.at,
        year=body.year,
        holidays=tuple(body.holidays),
        makeup_days=tuple(body.makeup_days),
    )
    return await desk.change(command)


@router.post("/declare", summary="临时调整 · Declare a day", response_model=Done, responses=CHANGED)
async def declare(body: s.DeclareDay, desk: AtDesk) -> Response:
    """本单位某日上班或不上班。The office works, or does not, on one day."""
    return await desk.change(c.DeclareDay(by=desk.by, at=desk.at, **body.model_dump()))


@router.post("/hours", summary="工作时段 · Set the hours", response_model=Done, responses=CHANGED)
async def hours(body: s.WorkingHours, desk: AtDesk) -> Response:
    """自某日起每个工作日的时段。The hours of every working day from a day on.

    已设定的以后各次调整保留。Later changes that are set already stay.
    """
    periods = tuple(period.period() for period in body.periods)
    return await desk.change(
        c.SetWorkingHours(by=desk.by, at=desk.at, periods=periods, since=body.since)
    )


def _periods(periods: tuple[c.Period, ...]) -> list[s.PeriodAnswer]:
    return [s.PeriodAnswer(start=s.clock(p.start), end=s.clock(p.end)) for p in periods]
