"""People, places, rules and ready-made cases that all tests share.

One small district: ``d1`` with a subdistrict, two communities and three grids, some units, and one
actor for each role. A command builder names only what a test is about; all else has a sensible
default. A case goes the usual way in the steps of ``PATHS``::

    samples.state("in_progress")             # the state itself
    samples.history("closed")                # its events
    samples.history("filed", whistle())      # with a whistle right after filing
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Final

from domain import case, catalogue
from domain.calendar import Calendar
from domain.case import commands as c
from domain.case import events as e
from domain.case.guards import sources
from domain.case.states import Case, Known, Unknown
from domain.catalogue import Category, Policy, Terms
from domain.places import EVERYWHERE
from domain.privacy import (
    ApproveForget,
    AskForget,
    DeclineForget,
    ForgetMissed,
    ForgetReason,
    PersonalField,
    Purpose,
    ShowPersonal,
)
from domain.roles import Actor, Grant, Role, system
from domain.sla import Limit
from domain.sla import Unit as Clocked
from domain.staff import Unit
from domain.territory import Place
from tests.domain.schedules import knowing, local

# --- places -----------------------------------------------------------------------------------

DISTRICT: Final = "d1/"
SUBDISTRICT: Final = "d1/s1/"
COMMUNITY: Final = "d1/s1/c1/"
GRID: Final = "d1/s1/c1/g1/"
SIBLING_GRID: Final = "d1/s1/c1/g2/"
OTHER_COMMUNITY: Final = "d1/s1/c2/"
OTHER_GRID: Final = "d1/s1/c2/g3/"
OTHER_DISTRICT: Final = "d2/"

NAMES: Final = {
    DISTRICT: "示范区",
    SUBDISTRICT: "春风街道",
    COMMUNITY: "和平社区",
    GRID: "第一网格",
    SIBLING_GRID: "第二网格",
    OTHER_COMMUNITY: "幸福社区",
    OTHER_GRID: "第三网格",
}


def place(path: str = GRID) -> Place:
    """A place in its first version."""
    return Place(path, 1, NAMES[path])


# --- people and units -------------------------------------------------------------------------


def actor(role: Role, territory: str, name: str = "", unit: str | None = None) -> Actor:
    """Somebody with one role."""
    return Actor(name or role.value, (Grant(role, territory),), unit)


RESIDENT: Final = actor(Role.RESIDENT, GRID, "wang")
NEIGHBOUR: Final = actor(Role.RESIDENT, GRID, "zhao")
GRID_WORKER: Final = actor(Role.GRID_WORKER, GRID, "li")
HOTLINE: Final = actor(Role.HOTLINE, DISTRICT)
ACCEPTOR: Final = actor(Role.ACCEPTOR, DISTRICT)
DISPATCHER: Final = actor(Role.DISPATCHER, DISTRICT)
SUPERVISOR: Final = actor(Role.SUPERVISOR, DISTRICT)
SHIFT_LEAD: Final = actor(Role.SHIFT_LEAD, DISTRICT)
OTHER_SHIFT_LEAD: Final = actor(Role.SHIFT_LEAD, DISTRICT, "shift_lead_2")
CALLBACK_DESK: Final = actor(Role.CALLBACK_DESK, DISTRICT)
ADMINISTRATOR: Final = actor(Role.ADMINISTRATOR, EVERYWHERE)
OFFICE_SUPERVISOR: Final = actor(Role.SUPERVISOR, EVERYWHERE, "office_supervisor")
IMPORTER: Final = actor(Role.IMPORTER, EVERYWHERE)
SYSTEM: Final = system("deadlines")

# Who coordinates and who handles, at each tier.
COORDINATOR: Final = actor(Role.COORDINATOR, COMMUNITY)
SUBDISTRICT_COORDINATOR: Final = actor(Role.COORDINATOR, SUBDISTRICT, "subdistrict_coordinator")
DISTRICT_COORDINATOR: Final = actor(Role.COORDINATOR, DISTRICT, "district_coordinator")
GRID_HANDLER: Final = actor(Role.HANDLER, GRID, "grid_handler")
COMMUNITY_HANDLER: Final = actor(Role.HANDLER, COMMUNITY, "community_handler", "property")
SUBDISTRICT_HANDLER: Final = actor(Role.HANDLER, SUBDISTRICT, "subdistrict_handler", "cleaning")
DISTRICT_HANDLER: Final = actor(Role.HANDLER, DISTRICT, "district_handler", "works")

STAFF: Final = (
    GRID_WORKER, HOTLINE, ACCEPTOR, DISPATCHER, SUPERVISOR, SHIFT_LEAD, CALLBACK_DESK, COORDINATOR,
    SUBDISTRICT_COORDINATOR, DISTRICT_COORDINATOR, GRID_HANDLER, COMMUNITY_HANDLER,
    SUBDISTRICT_HANDLER, DISTRICT_HANDLER, ADMINISTRATOR,
)  # fmt: skip

PROPERTY: Final = Unit(id="property", name="和平物业", territory=COMMUNITY)
RESIDENTS_COMMITTEE: Final = Unit(id="committee", name="和平居委会", territory=COMMUNITY)
CLEANING: Final = Unit(
    id="cleaning", name="环卫所", territory=SUBDISTRICT, categories=("exposed_garbage",)
)
WORKS: Final = Unit(id="works", name="市政工程处", territory=DISTRICT)
CLOSED_UNIT: Final = Unit(id="old", name="原房管所", territory=COMMUNITY, closed=True)


def together(*people: Actor) -> Actor:
    """One person with the roles of several."""
    return replace(people[0], grants=tuple(g for person in people for g in person.grants))


# --- rules ------------------------------------------------------------------------------------

CALENDAR: Final = knowing(2025, 2026)
POLICY: Final = Policy()
CATEGORIES: Final = {category.code: category for category in catalogue.SEED}


def terms(code: str = "exposed_garbage", policy: Policy = POLICY, **changes: Any) -> Terms:
    """The rules of a seeded category; ``changes`` are to the category."""
    category: Category = replace(CATEGORIES[code], **changes)
    return catalogue.Catalogue(categories={code: category}, policy=policy).terms(code)


SMALL: Final = terms("exposed_garbage")  # 4 working hours
BIG: Final = terms("illegal_construction")  # 15 working days, starts at the community
ENDLESS: Final = terms("petition_backlog")  # no deadline

# --- times ------------------------------------------------------------------------------------

START: Final = local("2026-03-02 09:00")
"""When a sample case is reported: a Monday in a week without holidays, half an hour into work."""


def after(days: float = 0, hours: float = 0, minutes: float = 0) -> datetime:
    """So long after the start."""
    return START + timedelta(days=days, hours=hours, minutes=minutes)


FILED_AT: Final = after(minutes=2)
DUE: Final = local("2026-03-02 15:02")
"""When the sample case is due: 4 working hours from its filing, over the noon break."""
NEAR_DUE: Final = local("2026-03-02 12:02")
"""When it is reminded of: half of its time is gone."""

# --- commands ---------------------------------------------------------------------------------

CASE: Final = "case-1"
REPORTER: Final = c.Reporter(person=RESIDENT.id, name="王女士", phone="13800000000")
OLD_SYSTEM: Final = c.Imported(system="old", reference="row 7")
NOW: Final = after(minutes=30)
NEXT_DAY: Final = after(days=1)
_MINUTE: Final = [after(minutes=n) for n in range(60)]
REOPENING_OVER: Final = after(days=40)


def report(
    by: Actor = RESIDENT, at: datetime = START, case: str = CASE, **changes: Any
) -> c.ReportCase:
    """上报."""
    given: dict[str, Any] = {
        "place": place(),
        "description": "楼下堆着垃圾",
        "reporter": REPORTER,
    } | changes
    given.setdefault("source", next(iter(sources(by, given["place"].path)), c.Source.RESIDENT))
    return c.ReportCase(case=case, by=by, at=at, **given)


def verify(by: Actor = ACCEPTOR, at: datetime = _MINUTE[1], case: str = CASE) -> c.VerifyCase:
    """核实."""
    return c.VerifyCase(case=case, by=by, at=at, note="属实")


def reject(
    by: Actor = ACCEPTOR, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.RejectCase:
    """不予立案."""
    return c.RejectCase(case=case, by=by, at=at, **({"reason": "内容不实"} | changes))


def file(
    by: Actor = ACCEPTOR, at: datetime = FILED_AT, case: str = CASE, **changes: Any
) -> c.FileCase:
    """立案."""
    given: dict[str, Any] = {"terms": SMALL, "calendar": CALENDAR}
    return c.FileCase(case=case, by=by, at=at, **(given | changes))


def reclassify(
    by: Actor = ACCEPTOR, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ReclassifyCase:
    """改类."""
    given: dict[str, Any] = {"terms": BIG, "calendar": CALENDAR, "reason": "实为违建"}
    return c.ReclassifyCase(case=case, by=by, at=at, **(given | changes))


def ask_void(
    by: Actor = SHIFT_LEAD, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.AskVoid:
    """申请作废."""
    return c.AskVoid(case=case, by=by, at=at, **({"reason": "误立"} | changes))


def approve_void(
    by: Actor = OTHER_SHIFT_LEAD, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ApproveVoid:
    """批准作废."""
    return c.ApproveVoid(case=case, by=by, at=at, **changes)


def dispatch(
    by: Actor = DISPATCHER, at: datetime = _MINUTE[3], case: str = CASE, **changes: Any
) -> c.DispatchCase:
    """派遣, to the territory that holds the case."""
    return c.DispatchCase(case=case, by=by, at=at, **changes)


def transfer(
    by: Actor = DISPATCHER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.TransferCase:
    """转派, to another worker of the territory."""
    given: dict[str, Any] = {"reason": "人手不足", "worker": GRID_HANDLER}
    return c.TransferCase(case=case, by=by, at=at, **(given | changes))


def accept(
    by: Actor = GRID_WORKER, at: datetime = _MINUTE[4], case: str = CASE, **changes: Any
) -> c.AcceptCase:
    """签收."""
    return c.AcceptCase(case=case, by=by, at=at, **changes)


def escalate(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.EscalateCase:
    """上报上级."""
    given: dict[str, Any] = {"reason": c.EscalationReason.RESOURCES}
    return c.EscalateCase(case=case, by=by, at=at, **(given | changes))


def send_back(
    by: Actor = COORDINATOR, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ReturnCase:
    """下派."""
    return c.ReturnCase(case=case, by=by, at=at, **({"directive": "请网格协调清运"} | changes))


def whistle(
    by: Actor = COORDINATOR, at: datetime = _MINUTE[3], case: str = CASE, **changes: Any
) -> c.WhistleCase:
    """吹哨."""
    given: dict[str, Any] = {
        "units": (PROPERTY, CLEANING),
        "purpose": "联合清理",
        "reply_by": after(days=1),
    }
    return c.WhistleCase(case=case, by=by, at=at, **(given | changes))


def report_in(
    by: Actor = COMMUNITY_HANDLER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ReportIn:
    """报到."""
    return c.ReportIn(case=case, by=by, at=at, **({"unit": PROPERTY.id} | changes))


def mark_absent(
    by: Actor = COORDINATOR, at: datetime = NEXT_DAY, case: str = CASE, **changes: Any
) -> c.MarkAbsent:
    """未报到."""
    return c.MarkAbsent(case=case, by=by, at=at, **({"unit": PROPERTY.id} | changes))


def split(
    by: Actor = COORDINATOR, at: datetime = _MINUTE[3], case: str = CASE, **changes: Any
) -> c.SplitCase:
    """拆分 into one required and one optional child."""
    children = (
        c.ChildReport(case="child-1", description="清运垃圾"),
        c.ChildReport(case="child-2", description="加装垃圾桶", required=False),
    )
    return c.SplitCase(case=case, by=by, at=at, **({"children": children} | changes))


def merge(
    by: Actor = DISPATCHER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.MergeCase:
    """并案."""
    return c.MergeCase(case=case, by=by, at=at, **({"into": "case-2"} | changes))


def absorb(
    by: Actor = DISPATCHER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.AbsorbCase:
    """The survivor's side of a merge."""
    return c.AbsorbCase(case=case, by=by, at=at, **({"duplicate": "case-2"} | changes))


def note_child_ended(
    by: Actor = SHIFT_LEAD, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.NoteChildEnded:
    """The parent's side of a child's end."""
    return c.NoteChildEnded(case=case, by=by, at=at, **({"child": "child-1"} | changes))


def note_child_reopened(
    by: Actor = SUPERVISOR, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.NoteChildReopened:
    """The parent's side of a child's reopening."""
    return c.NoteChildReopened(case=case, by=by, at=at, **({"child": "child-1"} | changes))


def ask_park(
    by: Actor = GRID_WORKER, at: datetime = _MINUTE[5], case: str = CASE, **changes: Any
) -> c.AskPark:
    """申请挂账."""
    given: dict[str, Any] = {"until": after(days=10), "reason": "待物业进场"}
    return c.AskPark(case=case, by=by, at=at, **(given | changes))


def approve_park(
    by: Actor = DISPATCHER, at: datetime = _MINUTE[6], case: str = CASE, **changes: Any
) -> c.ApprovePark:
    """批准挂账."""
    return c.ApprovePark(case=case, by=by, at=at, **changes)


def resume(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ResumeCase:
    """恢复."""
    return c.ResumeCase(case=case, by=by, at=at, **({"calendar": CALENDAR} | changes))


def ask_extension(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.AskExtension:
    """申请延时."""
    given: dict[str, Any] = {"more": Limit(1, Clocked.WORKING_DAY), "reason": "需多部门协调"}
    return c.AskExtension(case=case, by=by, at=at, **(given | changes))


def approve_extension(
    by: Actor = DISPATCHER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ApproveExtension:
    """批准延时."""
    return c.ApproveExtension(case=case, by=by, at=at, **({"calendar": CALENDAR} | changes))


def decline(
    by: Actor = DISPATCHER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.DeclineRequest:
    """不同意."""
    return c.DeclineRequest(case=case, by=by, at=at, **({"reason": "理由不足"} | changes))


def remind(
    by: Actor = SYSTEM, at: datetime = NEAR_DUE, case: str = CASE, **changes: Any
) -> c.RemindDue:
    """催办, a day ahead."""
    return c.RemindDue(case=case, by=by, at=at, **({"ahead": timedelta(days=1)} | changes))


def mark_breach(
    by: Actor = SYSTEM, at: datetime = NEXT_DAY, case: str = CASE, **changes: Any
) -> c.MarkBreach:
    """记录超期."""
    return c.MarkBreach(case=case, by=by, at=at, **changes)


def recompute(
    by: Actor = SYSTEM, at: datetime = NOW, case: str = CASE, calendar: Calendar = CALENDAR
) -> c.RecomputeDue:
    """重算时限."""
    return c.RecomputeDue(case=case, by=by, at=at, calendar=calendar)


def resolve(
    by: Actor = GRID_WORKER, at: datetime = _MINUTE[10], case: str = CASE, **changes: Any
) -> c.ResolveCase:
    """处置反馈."""
    return c.ResolveCase(case=case, by=by, at=at, **({"evidence": ("photo-1",)} | changes))


def check(
    by: Actor = SUPERVISOR, at: datetime = _MINUTE[11], case: str = CASE, **changes: Any
) -> c.CheckCase:
    """核查."""
    return c.CheckCase(case=case, by=by, at=at, **({"passed": True} | changes))


def close(
    by: Actor = SHIFT_LEAD, at: datetime = _MINUTE[12], case: str = CASE, **changes: Any
) -> c.CloseCase:
    """结案."""
    return c.CloseCase(case=case, by=by, at=at, **({"outcome": c.Outcome.RESOLVED} | changes))


def call_back(
    by: Actor = CALLBACK_DESK, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.RecordCallback:
    """回访."""
    given: dict[str, Any] = {"reached": True, "solved": True}
    return c.RecordCallback(case=case, by=by, at=at, **(given | changes))


def evaluate(
    by: Actor = CALLBACK_DESK, at: datetime = _MINUTE[20], case: str = CASE, **changes: Any
) -> c.EvaluateCase:
    """评价."""
    given: dict[str, Any] = {"solved": True, "satisfied": True}
    return c.EvaluateCase(case=case, by=by, at=at, **(given | changes))


def reopen(
    by: Actor = RESIDENT, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.ReopenCase:
    """重办."""
    given: dict[str, Any] = {"reason": "垃圾又堆上了", "calendar": CALENDAR}
    return c.ReopenCase(case=case, by=by, at=at, **(given | changes))


def end_reopening(
    by: Actor = SYSTEM, at: datetime = REOPENING_OVER, case: str = CASE, **changes: Any
) -> c.EndReopening:
    """重办期满."""
    return c.EndReopening(case=case, by=by, at=at, **changes)


def note(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.AddNote:
    """备注."""
    return c.AddNote(case=case, by=by, at=at, **({"text": "已联系物业"} | changes))


def attach(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> c.AttachFile:
    """附件."""
    given: dict[str, Any] = {
        "attachment": "photo-1",
        "name": "现场.jpg",
        "media_type": "image/jpeg",
        "sha256": "0" * 64,
        "size": 1024,
    }
    return c.AttachFile(case=case, by=by, at=at, **(given | changes))


def show(
    by: Actor = GRID_WORKER, at: datetime = NOW, case: str = CASE, **changes: Any
) -> ShowPersonal:
    """查看个人信息."""
    given: dict[str, Any] = {
        "place": GRID,
        "holder": GRID,
        "purpose": Purpose.CONTACT,
        "fields": (PersonalField.REPORTER_PHONE,),
        "reporter": RESIDENT.id,
    }
    return ShowPersonal(case=case, by=by, at=at, **(given | changes))


def ask_forget(
    by: Actor = SUPERVISOR, at: datetime = NOW, person: str = RESIDENT.id, **changes: Any
) -> AskForget:
    """申请删除个人信息."""
    given: dict[str, Any] = {"territory": COMMUNITY, "reason": ForgetReason.REQUEST}
    return AskForget(person=person, by=by, at=at, **(given | changes))


def approve_forget(
    by: Actor = ADMINISTRATOR,
    at: datetime = NOW,
    person: str = RESIDENT.id,
    cases: tuple[str, ...] = (CASE,),
) -> ApproveForget:
    """批准删除个人信息."""
    return ApproveForget(person=person, by=by, at=at, cases=cases)


def decline_forget(
    by: Actor = ADMINISTRATOR, at: datetime = NOW, person: str = RESIDENT.id
) -> DeclineForget:
    """不同意删除个人信息."""
    return DeclineForget(person=person, by=by, at=at)


def forget_missed(
    *cases: str, by: Actor = SYSTEM, at: datetime = NOW, person: str = RESIDENT.id
) -> ForgetMissed:
    """补充删除个人信息."""
    return ForgetMissed(person=person, by=by, at=at, cases=cases)


def importing(command: Any) -> Any:
    """The same step as the importer brings it in, with an old system's evidence."""
    return replace(command, imported=OLD_SYSTEM, by=replace(IMPORTER, id=command.by.id))


# --- ready-made cases -------------------------------------------------------------------------

_IN_HAND: Final = (report(), file(), dispatch(), accept())
_DONE: Final = (*_IN_HAND, resolve(), check(), close())

PATHS: Final[dict[str, tuple[c.Command, ...]]] = {
    "unknown": (),
    "reported": _IN_HAND[:1],
    "rejected": (report(), reject()),
    "filed": _IN_HAND[:2],
    "assigned": _IN_HAND[:3],
    "in_progress": _IN_HAND,
    "parked": (*_IN_HAND, ask_park(), approve_park()),
    "resolved": _DONE[:5],
    "checked": _DONE[:6],
    "closed": _DONE,
    "evaluated": (*_DONE, evaluate()),
    "merged": (report(), file(), merge()),
    "void": (report(), file(), ask_void(), approve_void()),
}
"""The usual way into each state, by its name."""


def happened(commands: Iterable[c.Command], events: tuple[e.Event, ...] = ()) -> list[e.Event]:
    """All events of one case after some commands more; one that is refused fails the test."""
    history = list(events)
    now: Case = reduce(case.evolve, history, case.initial)
    for command in commands:
        new = case.decide(now, command)
        now = reduce(case.evolve, new, now)
        history += new
    return history


def history(name: str, *early: c.Command) -> tuple[e.Event, ...]:
    """The events of a case in a state; ``early`` commands come right after its filing."""
    path = PATHS[name]
    return tuple(happened((*path[:2], *early, *path[2:])))


def state(name: str, *early: c.Command) -> Known:
    """A case in a state."""
    now: Case = reduce(case.evolve, history(name, *early), case.initial)
    assert not isinstance(now, Unknown)
    assert now.name == name
    return now
