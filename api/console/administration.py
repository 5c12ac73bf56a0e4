"""管理: territories, the catalogue, the calendar, people and units, as far as one may see them.

Whoever may change something gets its forms; everybody else of the staff reads the same pages.
"""

import calendar as weeks
from datetime import date, timedelta
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Query
from fastapi.responses import Response

from api import catalogue as catalogue_api
from api import privacy
from api import staff as staff_api
from api import territory as territory_api
from api.console import maps
from api.console.metrics import Filled
from api.console.pages import in_tree, page
from api.console.session import AtConsole, Visitor, pages
from api.schemas import words as s
from api.schemas.personal import ForgetQuery
from api.schemas.rules import clock
from api.schemas.staff import UserAnswer
from api.schemas.territory import PathQuery
from domain import calendar as c
from domain import territory as t
from domain.calendar import office_time
from domain.catalogue import Size
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, parent_of
from domain.privacy import ForgetReason
from domain.roles import Reading, Role, permitted, scope
from domain.sla import Unit

router: Final = pages("/administration")

PEOPLE_SHOWN: Final = 40
"""People on a page: who looks for one types a part of the name."""

GIVEN: Final = tuple(role for role in Role if role not in (Role.SYSTEM, Role.IMPORTER))
"""The roles that are given to people."""


class PlaceQuery(s.Query):
    """Which territory is looked at."""

    path: s.Scope = ""


class YearQuery(s.Query):
    """Which year is looked at."""

    year: Annotated[int, Query(ge=c.FIRST_YEAR, le=c.LAST_YEAR)] | None = None


class PeopleQuery(Filled):
    """Which people are looked for, and who is looked at."""

    text: s.Line = ""
    role: Role | None = None
    user: s.PersonId | None = None


class Day(NamedTuple):
    """One day of the year view; ``kind`` says why the office works or does not."""

    day: date
    works: bool
    kind: str


@router.get("")
def territory(me: AtConsole, asked: Annotated[PlaceQuery, Query()]) -> Response:
    """属地: the tree, one node of it with its history, and the map."""
    _demand_staff(me)
    desk, tree = me.desk, me.desk.office.territory
    today = office_time(desk.at).date()
    own = in_tree(tree, scope(desk.by, Reading.ADMINISTRATION).territories)
    path = asked.path or next((node.path for node in own), EVERYWHERE)
    if path == EVERYWHERE:
        path = next((node.path for node in tree.children(EVERYWHERE)), EVERYWHERE)
    node = tree.node(path) if path else None
    shown: dict[str, Any] = {
        "writes": me.has(Role.ADMINISTRATOR),
        "node": node,
        "today": today,
    }
    if node is not None:
        # In a grid the whole community is drawn, so that it is seen where borders meet.
        is_grid = node.tier is Tier.GRID
        around = parent_of(path) if is_grid else path
        siblings = [each for each in tree.children(around, today) if is_grid]
        history = territory_api.versions(PathQuery(path=path), desk)
        drawn = maps.of(tree, [around], today, here=path)
        shown |= {
            "tier_below": None if is_grid else Tier(node.tier - 1),
            "history": history,
            "siblings": siblings,
            "count": node.count if history.workers is not None else None,
            "drawn": drawn,
            "links": {each.path: f"?path={each.path}" for each in drawn.shapes},
            "rings": _rings(node),
            "workers": _workers(me) if is_grid and _may(me, "AssignWorker", path) else [],
            "names": me.names(history.workers or ()),
            "unable": [each for each in history.workers or () if not _able(me, each, path)],
            "children": _children(node),
            "households": {
                child.path: _households(tree, child, today) for child in node.children.values()
            },
        }
    return page(
        me,
        "administration-territory.html",
        tree=tree,
        open=_above(path),
        may=lambda command, ground: _may(me, command, ground),
        EVERYWHERE=EVERYWHERE,
        Tier=Tier,
        parent_of=parent_of,
        **shown,
    )


@router.get("/catalogue")
def catalogue(me: AtConsole) -> Response:
    """事项类别与时限: the categories with their rules, the policy, the reminder."""
    _demand_staff(me)
    return page(
        me,
        "administration-catalogue.html",
        writes=_may(me, "DefineCategory", EVERYWHERE),
        known=catalogue_api.catalogue(me.desk),
        may=lambda command: _may(me, command, EVERYWHERE),
        units=[unit.value for unit in Unit],
        sizes=[size.value for size in Size],
        tiers=[tier.word for tier in Tier],
    )


@router.get("/calendar")
def calendar(me: AtConsole, asked: Annotated[YearQuery, Query()]) -> Response:
    """日历: a year at a glance, and what it was made of."""
    _demand_staff(me)
    known = me.desk.office.calendar
    now = office_time(me.desk.at)
    year = asked.year or now.year
    schedule = known.years.get(year)
    return page(
        me,
        "administration-calendar.html",
        writes=_may(me, "DeclareDay", EVERYWHERE),
        known=known,
        year=year,
        published=schedule,
        months=[_month(known, year, month) for month in range(1, 13)],
        today=now.date(),
        local=f"{now:%Y-%m-%dT%H:%M}",
        hours=_clocks(known.hours_on(now.date())),
        eras=_eras(known, year),
        units=[unit.value for unit in Unit],
        may=lambda command: _may(me, command, EVERYWHERE),
        first=c.FIRST_YEAR,
        last=c.LAST_YEAR,
    )


@router.get("/people")
def people(me: AtConsole, asked: Annotated[PeopleQuery, Query()]) -> Response:
    """人员与角色: who is there, with which rights, in which unit."""
    _demand_staff(me)
    rows = staff_api.users(me.desk).rows
    chosen = next((row for row in rows if row.id == asked.user), None)
    text = asked.text.strip().lower()
    found = [
        row
        for row in rows
        if (text in row.id.lower() or text in row.name.lower())
        and (asked.role is None or any(grant.role is asked.role for grant in row.grants))
    ]
    units = me.desk.office.staff.units
    return page(
        me,
        "administration-people.html",
        writes=me.has(Role.ADMINISTRATOR),
        rows=found[:PEOPLE_SHOWN],
        more=max(len(found) - PEOPLE_SHOWN, 0),
        asked=asked,
        chosen=chosen,
        units=units,
        grounds=_grounds(me, "GrantRole"),
        given=GIVEN,
        may=lambda command, ground: _may(me, command, ground),
        may_user=lambda command, user: _may_user(me, command, user),
        may_anywhere=me.has(Role.ADMINISTRATOR),
    )


@router.get("/forgetting")
def forgetting(me: AtConsole, asked: Annotated[ForgetQuery, Query()]) -> Response:
    """删除个人信息: who is asked to be forgotten, and what another person has decided."""
    if not me.reads(Reading.AUDIT):
        raise Refused("query.not_permitted", reading=Reading.AUDIT.value)
    found = privacy.forgetting(asked, me.desk, me.seen)
    grounds = _grounds(me, "AskForget")
    return page(
        me,
        "administration-forgetting.html",
        writes=bool(grounds),
        found=found,
        asked=asked,
        grounds=grounds,
        everywhere=_may(me, "AskForget", EVERYWHERE),
        reasons=list(ForgetReason),
        names=me.names(who for row in found.rows for who in (row.by, row.decided_by)),
        may=lambda command, ground: _may(me, command, ground),
    )


# --- what the pages show ----------------------------------------------------------------------


def _demand_staff(me: Visitor) -> None:
    if not me.reads(Reading.ADMINISTRATION):
        raise Refused("query.not_permitted", reading=Reading.ADMINISTRATION.value)


def _may(me: Visitor, command: str, ground: str) -> bool:
    return permitted(me.desk.by, command, ground)


def _may_user(me: Visitor, command: str, user: UserAnswer) -> bool:
    """As the register itself asks: for every territory in which the person has a right."""
    units = me.desk.office.staff.units
    grounds = [grant.territory for grant in user.grants]
    if user.unit is not None and user.unit in units:
        grounds.append(units[user.unit].territory)
    return all(_may(me, command, ground) for ground in grounds or [EVERYWHERE])


def _above(path: str) -> set[str]:
    """A territory and all above it: what is unfolded in the tree."""
    parts = path.split("/")[:-1]
    return {"/".join(parts[: n + 1]) + "/" for n in range(len(parts))}


def _children(node: t.Node) -> list[t.Node]:
    return sorted(node.children.values(), key=lambda child: (bool(child.successors), child.path))


def _households(tree: t.Territory, node: t.Node, on: date) -> int | None:
    """How many live in a territory: the sum of its grids, as far as they are counted."""
    counts = [grid.count.households for grid in tree.grids(node.path, on) if grid.count]
    return sum(counts) if counts else None


def _rings(node: t.Node) -> list[list[list[float]]]:
    """The newest boundary for the editor; without the repeated last points."""
    boundary = node.last.boundary
    if not isinstance(boundary, tuple):
        return []
    return [[[lon, lat] for lon, lat in ring[:-1]] for ring in boundary]


def _workers(me: Visitor) -> list[UserAnswer]:
    """Who can be assigned: the grid workers that the visitor administers."""
    return [
        user
        for user in staff_api.users(me.desk).rows
        if not user.suspended and any(grant.role is Role.GRID_WORKER for grant in user.grants)
    ]


def _able(me: Visitor, worker: str, grid: str) -> bool:
    """Whether the roles of a worker of a grid let the person accept its cases: to be assigned gives
    none."""
    try:
        return permitted(me.desk.office.staff.actor(worker), "AcceptCase", grid)
    except Refused:  # suspended, or known to the tree alone
        return False


def _grounds(me: Visitor, command: str) -> list[tuple[str, str]]:
    """Path and full name of each territory in which the visitor may do something."""
    tree, today = me.desk.office.territory, office_time(me.desk.at).date()
    return [
        (node.path, " / ".join(tree.names(node.path, today)))
        for node in tree.subtree(EVERYWHERE, today)
        if _may(me, command, node.path)
    ]


def _clocks(periods: tuple[c.Period, ...]) -> list[tuple[str, str]]:
    return [(clock(p.start), clock(p.end)) for p in periods]


def _eras(known: c.Calendar, year: int) -> list[tuple[date | None, list[tuple[str, str]]]]:
    """The hours of a year: those it begins with, and those that begin in it, with their day."""
    first, last = date(year, 1, 1), date(year, 12, 31)
    changes = sorted(since for since in known.changes if first < since <= last)
    return [(since, _clocks(known.hours_on(since or first))) for since in (None, *changes)]


def _month(known: c.Calendar, year: int, month: int) -> list[list[Day | None]]:
    return [
        [_day(known, day) if day.month == month else None for day in week]
        for week in weeks.Calendar().monthdatescalendar(year, month)
    ]


def _day(known: c.Calendar, day: date) -> Day:
    works = known.working_days(day, day + timedelta(days=1)) == 1
    # The notice for a year also moves days of the December before.
    schedules = [known.years[y] for y in (day.year, day.year + 1) if y in known.years]
    if day in known.declared:
        return Day(day, works, "declared")
    if any(day in schedule.makeup_days for schedule in schedules):
        return Day(day, works, "makeup")
    if any(day in schedule.holidays for schedule in schedules):
        return Day(day, works, "holiday")
    return Day(day, works, "weekend" if day.isoweekday() > 5 else "")
