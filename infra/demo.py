"""The sample district: a subdistrict with its people and a year of casework, from one seed.

Everything comes about by real commands through the real rules, in the order of time, so a year ends
where it happens to end: many cases are closed, some wait, some are late. All of it is stored in one
transaction: it is there as a whole or not at all.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any, Final

from psycopg_pool import ConnectionPool

from api.passwords import StoredPasswords
from api.services import DemoAccount
from domain import territory as t
from domain.aggregates import CALENDAR, CATALOGUE, STAFF, TERRITORY, case_stream
from domain.calendar import Calendar, office_time
from domain.case import commands as c
from domain.case.states import Assigned, Case, InProgress, Unknown
from domain.catalogue import Catalogue, Size
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, at_tier, parent_of
from domain.roles import Actor, Grant, Role, system
from domain.sla import Limit
from domain.sla import Unit as Measure
from domain.staff import AddUnit, AddUser, Unit
from infra import demo_map
from infra.demo_words import (
    COMMUNITIES,
    DESCRIPTIONS,
    GIVEN_NAMES,
    NUMERALS,
    ROADS,
    SURNAMES,
    UNITS,
)
from infra.event_store import Batch, EventStore

SEED: Final = 20_260_101
CAUSATION: Final = "demo"
"""What the log says of where the sample comes from."""

CASES: Final = 2_500
YEAR: Final = timedelta(days=365)
GRIDS: Final = 8  # in each community

DISTRICT: Final = "qinghe/"
SUBDISTRICT: Final = "qinghe/liuyin/"
FIRST_COMMUNITY: Final = "qinghe/liuyin/dongfeng/"
FIRST_GRID: Final = "qinghe/liuyin/dongfeng/g1/"

PASSWORD: Final = "wangge-demo"  # noqa: S105 - public on purpose, and good on loopback only

ACCOUNTS: Final = (
    ("administrator", Role.ADMINISTRATOR, EVERYWHERE, "系统管理员", "administrator"),
    ("resident", Role.RESIDENT, FIRST_COMMUNITY, "居民", "resident"),
    ("grid-worker", Role.GRID_WORKER, FIRST_GRID, "网格员", "grid worker"),
    ("hotline", Role.HOTLINE, SUBDISTRICT, "热线话务", "hotline"),
    ("acceptor", Role.ACCEPTOR, SUBDISTRICT, "受理员", "acceptor"),
    ("dispatcher", Role.DISPATCHER, SUBDISTRICT, "派遣员", "dispatcher"),
    ("handler", Role.HANDLER, FIRST_COMMUNITY, "处置人员", "handler"),
    ("coordinator", Role.COORDINATOR, SUBDISTRICT, "街道统筹", "coordinator"),
    ("supervisor", Role.SUPERVISOR, SUBDISTRICT, "督查核查", "supervisor"),
    ("shift-lead", Role.SHIFT_LEAD, SUBDISTRICT, "值班长", "shift lead"),
    ("callback-desk", Role.CALLBACK_DESK, SUBDISTRICT, "回访员", "callback desk"),
)
"""One account for each role of people: user name, role, territory, and what it is called."""


def is_loaded(store: EventStore) -> bool:
    """Whether the sample is there."""
    return DISTRICT.rstrip("/") in store.office().territory.districts


def let_in(pool: ConnectionPool) -> tuple[DemoAccount, ...]:
    """The accounts one signs in with; those without a password yet get theirs."""
    names = [name for name, *_ in ACCOUNTS]
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT person FROM access.credential WHERE person = ANY(%s)", (names,)
        ).fetchall()
        lacking = set(names) - {person for (person,) in rows}
        if lacking:
            # One hash serves all: it takes a while to make, and the password is public anyway.
            first = lacking.pop()
            StoredPasswords(pool).set(first, PASSWORD)
            connection.execute(
                "INSERT INTO access.credential (person, hash) SELECT unnest(%s::text[]), hash"
                " FROM access.credential WHERE person = %s",
                (sorted(lacking), first),
            )
    return tuple(DemoAccount(name, PASSWORD, zh, en) for name, _, _, zh, en in ACCOUNTS)


def load(
    store: EventStore,
    now: datetime,
    show: Callable[[int, int, str], None] = lambda *_: None,
    cases: int = CASES,
) -> int:
    """Make the sample up to ``now``; returns how many steps the rules refused.

    A refused step ends its case's script: on some days the calendar leaves no room for it.
    """
    sample = _Sample(store, now, cases)
    sample.set_up()
    sample.live(show)
    sample.batch.append()
    return sample.refused


Step = tuple[datetime, tuple[Any, ...]]
Script = Iterator[Step]


@dataclass
class _Sample:
    """The office being played: its people by territory, its cases by script."""

    store: EventStore
    now: datetime
    cases: int
    rng: Random = field(default_factory=lambda: Random(SEED))  # noqa: S311 - a sample, no secret
    refused: int = 0

    def __post_init__(self) -> None:
        self.batch = Batch(self.store, "demo")
        deciders = (TERRITORY, STAFF, CATALOGUE, CALENDAR)
        self.batch.load_streams({d.stream(None): d for d in deciders})
        self.start = self.now - YEAR
        self.workers: dict[str, Actor] = {}
        self.handlers: dict[str, list[Actor]] = {}
        self.members: dict[str, Actor] = {}
        self.coordinators: dict[str, Actor] = {}
        self.residents: dict[str, list[Actor]] = {}
        self.desk: dict[str, Actor] = {}
        self.names: dict[str, str] = {}
        self.grids: list[str] = []
        self.units: dict[str, Unit] = {}
        self.queue: list[tuple[datetime, int, tuple[Any, ...], Script]] = []
        self.pushed = 0
        self.recent: dict[tuple[str, str], str] = {}

    @property
    def catalogue(self) -> Catalogue:
        kept: Catalogue = self.batch.streams[CATALOGUE.name].state
        return kept

    @property
    def calendar(self) -> Calendar:
        kept: Calendar = self.batch.streams[CALENDAR.name].state
        return kept

    def case(self, case_id: str) -> Case:
        """A case as the steps so far have left it."""
        stream = self.batch.streams.get(case_stream(case_id))
        state: Case = stream.state if stream else Unknown()
        return state

    # --- the place and its people ---

    def set_up(self) -> None:
        """Territories, units, people, households."""
        self._territories()
        self._units()
        self._people()

    def _do(self, *commands: Any) -> None:
        self.batch.decide(*commands, causation=CAUSATION)

    def _territories(self) -> None:
        self._create(Tier.DISTRICT, EVERYWHERE, "qinghe", "清河区")
        self._create(Tier.SUBDISTRICT, DISTRICT, "liuyin", "柳荫街道")
        for place, (code, name) in enumerate(COMMUNITIES):
            community = f"{SUBDISTRICT}{code}/"
            self._create(Tier.COMMUNITY, SUBDISTRICT, code, f"{name}社区")
            for number in range(GRIDS):
                title = f"{name}第{NUMERALS[number]}网格"
                boundary = demo_map.boundary(place, number, GRIDS)
                self._create(Tier.GRID, community, f"g{number + 1}", title, boundary)
                self.grids.append(f"{community}g{number + 1}/")

    def _create(
        self, tier: Tier, parent: str, code: str, name: str, boundary: t.Boundary | None = None
    ) -> None:
        self._do(
            t.CreateTerritory(
                by=system("setup"),
                at=self.start,
                id=code,
                tier=tier,
                parent=parent,
                name=name,
                boundary=boundary,
                effective=office_time(self.start).date() - timedelta(days=30),
            )
        )

    def _units(self) -> None:
        for code, name, path, categories in UNITS:
            self._unit(code, name, path, categories)
        for code, name in COMMUNITIES:
            self._unit(f"{code}-service", f"{name}社区综合服务队", f"{SUBDISTRICT}{code}/", ())

    def _unit(self, code: str, name: str, path: str, categories: tuple[str, ...]) -> None:
        add = AddUnit(
            by=system("setup"),
            at=self.start,
            id=code,
            name=name,
            territory=path,
            categories=categories,
        )
        self._do(add)
        self.units[code] = self.batch.streams[STAFF.name].state.units[code]

    def _people(self) -> None:
        """The accounts first, so that what they are does not depend on chance; then the others."""
        for user, role, path, _, _ in ACCOUNTS:
            unit = "dongfeng-service" if role is Role.HANDLER else None
            self._settle(self._hire(user, role, path, unit), role, path)
        self._settle(self._hire("shift-lead-2", Role.SHIFT_LEAD, SUBDISTRICT), None, SUBDISTRICT)
        self.desk["second_lead"] = self._actor("shift-lead-2")
        for code, _ in COMMUNITIES:
            community = f"{SUBDISTRICT}{code}/"
            if code != "dongfeng":
                unit = f"{code}-service"
                hired = self._hire(f"handler.{code}", Role.HANDLER, community, unit)
                self._settle(hired, Role.HANDLER, community)
            hired = self._hire(f"coordinator.{code}", Role.COORDINATOR, community)
            self._settle(hired, Role.COORDINATOR, community)
        for code, _, path, _ in UNITS:
            self._settle(self._hire(f"{code}.1", Role.HANDLER, path, code), Role.HANDLER, path)
        for grid in self.grids:
            community, number = grid.split("/")[2:4]
            if grid != FIRST_GRID:
                hired = self._hire(f"grid.{community}.{number}", Role.GRID_WORKER, grid)
                self._settle(hired, Role.GRID_WORKER, grid)
            for each in range(1, 4):
                name = f"resident.{community}.{number}.{each}"
                hired = self._hire(name, Role.RESIDENT, parent_of(grid))
                self.residents.setdefault(grid, []).append(hired)

    def _hire(self, user: str, role: Role, path: str, unit: str | None = None) -> Actor:
        name = self.rng.choice(SURNAMES) + self.rng.choice(GIVEN_NAMES)
        self._do(
            AddUser(
                by=system("setup"),
                at=self.start,
                id=user,
                name=name,
                grants=(Grant(role, path),),
                unit=unit,
            )
        )
        self.names[user] = name
        return self._actor(user)

    def _actor(self, user: str) -> Actor:
        actor: Actor = self.batch.streams[STAFF.name].state.actor(user)
        return actor

    def _settle(self, actor: Actor, role: Role | None, path: str) -> None:
        """Where a person works."""
        match role:
            case Role.GRID_WORKER:
                self.workers[path] = actor
                households = self.rng.randint(180, 520)
                self._do(
                    t.AssignWorker(by=system("setup"), at=self.start, path=path, worker=actor.id),
                    t.RecordHouseholds(
                        by=actor,
                        at=self.start,
                        path=path,
                        households=households,
                        residents=int(households * self.rng.uniform(2.1, 2.9)),
                        as_of=office_time(self.start).date(),
                    ),
                )
            case Role.HANDLER:
                self.handlers.setdefault(path, []).append(actor)
                if actor.unit:
                    self.members[actor.unit] = actor
            case Role.COORDINATOR:
                self.coordinators[path] = actor
            case Role.RESIDENT:
                self.residents.setdefault(FIRST_GRID, []).append(actor)
            case None:
                pass
            case _:
                self.desk[role.value] = actor

    # --- a year of cases ---

    def live(self, show: Callable[[int, int, str], None]) -> None:
        """Play all scripts side by side, by the clock, until now."""
        for number in range(1, self.cases + 1):
            # Every tenth came in lately, so that each desk has something to do.
            lately = self.rng.random() < 0.1
            ago = YEAR * self.rng.random() * (0.01 if lately else 1)
            at = self._daytime(self.now - ago)
            self._push(self._life(f"qh-{at:%Y%m}-{number:05d}", at))
        self._leave_work()
        total, done = self.cases * 12, 0
        while self.queue:
            at, _, commands, script = heapq.heappop(self.queue)
            if at > self.now:
                break
            try:
                self._do(*commands)
            except Refused:
                self.refused += 1
                continue
            self._push(script)
            done += 1
            if done % 500 == 0:
                show(min(done, total), total, "")
        show(total, total, "")

    def _leave_work(self) -> None:
        """One case before each step, all of the first grid: by chance, and at night, some desks
        would have nothing to do. No chance is used up, so all else is what it would be."""
        for steps, name in enumerate(("reported", "filed", "assigned", "begun", "resolved"), 1):
            self._push(islice(self._straight(f"qh-{name}", steps), steps))
        self._push(self._straight("qh-parked", 6, parked=True))
        self._push(self._straight("qh-merged", 3, merged="qh-filed"))

    def _straight(
        self, case_id: str, steps: int, *, parked: bool = False, merged: str = ""
    ) -> Script:
        """A report of so many steps ago, ten minutes each, and what became of it since."""
        step, common = timedelta(minutes=10), _of(case_id)
        at = (self.now - step * (steps + 1)).replace(microsecond=0)
        acceptor, dispatcher = self.desk["acceptor"], self.desk["dispatcher"]
        longitude, latitude = demo_map.spot(0, 0, GRIDS, 0.5, 0.5)
        report = c.ReportCase(
            case=case_id,
            by=acceptor,
            at=at,
            place=self._place(FIRST_GRID, at),
            source=c.Source.WINDOW,
            description=DESCRIPTIONS["corridor_clutter"][0],
            spot=c.Spot(address=f"{ROADS[0]}1号1号楼", longitude=longitude, latitude=latitude),
        )
        yield at, (report,)
        at += step
        yield at, (self._file(case_id, acceptor, at, "corridor_clutter"),)
        at += step
        if merged:
            by = self.coordinators[FIRST_COMMUNITY]
            yield at, (c.MergeCase(by=by, at=at, into=merged, **common),)
            return
        yield at, (self._dispatch(case_id, at),)
        at += step
        yield at, (self._accept(case_id, at),)
        at += step
        if parked:
            by, until = self._handler(case_id), self.now + timedelta(days=5)
            yield at, (c.AskPark(by=by, at=at, until=until, reason="等待配件到货", **common),)
            at += step
            yield at, (c.ApprovePark(by=dispatcher, at=at, **common),)
            return
        by, evidence = self._handler(case_id), (f"{case_id}-after",)
        yield at, (c.ResolveCase(by=by, at=at, evidence=evidence, note="已整改到位", **common),)

    def _push(self, script: Script) -> None:
        step = next(script, None)
        if step is not None:
            self.pushed += 1
            heapq.heappush(self.queue, (step[0], self.pushed, step[1], script))

    def _daytime(self, at: datetime) -> datetime:
        """The same day between 7 and 21 o'clock, at whole seconds."""
        day = office_time(at).replace(hour=7, minute=0, second=0)
        return day + timedelta(seconds=self.rng.randrange(14 * 3600))

    def _life(self, case_id: str, at: datetime) -> Script:
        """One case from its report on."""
        rng = self.rng
        grid = rng.choice(self.grids)
        category = rng.choice(_LIKELY)
        small = self.catalogue.categories[category].size is Size.SMALL
        source = rng.choices(_SOURCES, (45, 33, 15, 7))[0]
        resident = rng.choice(self.residents[grid])
        worker = self.workers[grid]
        reporter = c.Reporter(
            person=resident.id,
            name=self.names[resident.id],
            phone=f"1{rng.choice('3578')}{rng.randrange(10**9):09d}",
        )
        by = {
            c.Source.RESIDENT: resident,
            c.Source.GRID_WORKER: worker,
            c.Source.HOTLINE: self.desk["hotline"],
            c.Source.WINDOW: self.desk["acceptor"],
        }[source]
        report = c.ReportCase(
            case=case_id,
            by=by,
            at=at,
            place=self._place(grid, at),
            source=source,
            description=rng.choice(DESCRIPTIONS[category]),
            spot=self._spot(grid),
            reporter=None if source is c.Source.GRID_WORKER else reporter,
        )
        if source is c.Source.GRID_WORKER and small and rng.random() < 0.6:
            yield at, (report, self._file(case_id, worker, at, category))
        else:
            yield at, (report,)
            at += self._minutes(5, 90)
            if rng.random() < 0.02:
                reason = "反映内容不属实，经现场核实无此情况"
                reject = c.RejectCase(case=case_id, by=self.desk["acceptor"], at=at, reason=reason)
                yield at, (reject,)
                return
            if rng.random() < 0.4:
                note = "已电话核实"
                verify = c.VerifyCase(case=case_id, by=self.desk["acceptor"], at=at, note=note)
                yield at, (verify,)
                at += self._minutes(1, 20)
            yield at, (self._file(case_id, self.desk["acceptor"], at, category),)
        yield from self._filed(case_id, at, resident, grid, category)

    def _filed(
        self, case_id: str, at: datetime, resident: Actor, grid: str, category: str
    ) -> Script:
        """From filing on: a few end here, the others are worked on."""
        rng, common = self.rng, _of(case_id)
        at += self._minutes(2, 40)
        if rng.random() < 0.012:
            lead, other = self.desk["shift_lead"], self.desk["second_lead"]
            yield at, (c.AskVoid(by=lead, at=at, reason="重复录入", **common),)
            at += self._minutes(10, 120)
            yield at, (c.ApproveVoid(by=other, at=at, **common),)
            return
        twin = self.recent.get((grid, category))
        self.recent[grid, category] = case_id
        if twin and rng.random() < 0.5 and self.case(twin).name in _MERGEABLE:
            by = self.coordinators[parent_of(grid)]
            yield at, (c.MergeCase(by=by, at=at, into=twin, **common),)
            return
        if rng.random() < 0.015:
            yield from self._reclassified(case_id, at, category)
        yield at, (self._dispatch(case_id, at),)
        yield from self._worked_on(case_id, at, resident, first=True)

    def _worked_on(self, case_id: str, at: datetime, resident: Actor, *, first: bool) -> Script:
        """One episode, from the assignment to the end, and perhaps another."""
        rng, common = self.rng, _of(case_id)
        due = self._facts(case_id).clock.due
        late = rng.random() < 0.1
        span = (due - at) if due and due > at else timedelta(days=rng.uniform(5, 40))
        span *= rng.uniform(1.05, 1.6) if late else rng.uniform(0.1, 0.7)
        finish = at + span
        if rng.random() < 0.04 and self._facts(case_id).tier is Tier.COMMUNITY:
            at += span * 0.05
            by, reason = self.desk["dispatcher"], "更换责任人员"
            yield at, (c.TransferCase(by=by, at=at, reason=reason, **common),)
        at += span * rng.uniform(0.02, 0.15)
        yield at, (self._accept(case_id, at),)
        for happens, chance in _HAPPENINGS:
            if first and rng.random() < chance:
                script = getattr(self, happens)
                for happened, commands in script(case_id, at + span * 0.05):
                    at = happened
                    yield at, commands
        at = max(at + self._minutes(5, 60), finish)
        if due and at > due:
            yield from self._breach(case_id, at)
            at += self._minutes(20, 300)
        if isinstance(self.case(case_id), Assigned):
            yield at, (self._accept(case_id, at),)
            at += self._minutes(30, 600)
        at = yield from self._ended(case_id, at, span)
        if first:
            yield from self._looked_back(case_id, at, resident)

    def _ended(self, case_id: str, at: datetime, span: timedelta) -> Any:
        """Resolved, checked, perhaps reworked, closed; returns when."""
        rng, common = self.rng, _of(case_id)
        while self._waits_for_children(case_id):
            at += timedelta(hours=12)
            note = "等待子事项办结"
            by = self.desk["dispatcher"]
            yield at, (c.AddNote(by=by, at=at, text=note, **common),)
        yield at, (self._resolve(case_id, at),)
        supervisor = self.desk["supervisor"]
        at += min(span * rng.uniform(0.02, 0.15), timedelta(hours=20))
        if rng.random() < 0.06:
            note = "现场仍有残留，退回返工"
            check = c.CheckCase(by=supervisor, at=at, passed=False, note=note, **common)
            yield at, (check,)
            at += self._minutes(60, 1400)
            yield at, (self._resolve(case_id, at),)
            at += self._minutes(30, 600)
        check = c.CheckCase(by=supervisor, at=at, passed=True, note="现场核查属实", **common)
        yield at, (check,)
        at += min(span * rng.uniform(0.01, 0.1), timedelta(hours=20))
        outcome = rng.choices(list(c.Outcome), (93, 3, 2, 2))[0]
        close = c.CloseCase(
            by=self.desk["shift_lead"],
            at=at,
            outcome=outcome,
            refused_by="区住建局" if outcome is c.Outcome.NOT_OURS else None,
            **common,
        )
        yield at, (close,)
        return at

    def _looked_back(self, case_id: str, at: datetime, resident: Actor) -> Script:
        """Callback, evaluation, and sometimes a reopening."""
        rng, common = self.rng, _of(case_id)
        desk, own = self.desk["callback_desk"], self._facts(case_id).reporter == resident.id
        if rng.random() < 0.04:
            at += timedelta(days=rng.uniform(1, 12))
            by = resident if own else self.desk["supervisor"]
            reason = "问题再次出现，要求重新处理"
            reopen = c.ReopenCase(by=by, at=at, reason=reason, calendar=self.calendar, **common)
            yield at, (reopen,)
            yield from self._worked_on(case_id, at, resident, first=False)
            return
        if rng.random() < 0.55:
            at += timedelta(days=rng.uniform(0.5, 5))
            reached = rng.random() < 0.85
            solved = rng.random() < 0.93 if reached else None
            yield at, (c.RecordCallback(by=desk, at=at, reached=reached, solved=solved, **common),)
            if reached and rng.random() < 0.7:
                at += self._minutes(1, 1400)
                satisfied = bool(solved) and rng.random() < 0.94
                evaluate = c.EvaluateCase(
                    by=resident if own else desk,
                    at=at,
                    solved=bool(solved),
                    satisfied=satisfied,
                    comment="处理及时，谢谢" if satisfied else "处理效果一般，希望改进",
                    **common,
                )
                yield at, (evaluate,)

    # --- what may happen on the way; the case is in progress before and after ---

    def _goes_up(self, case_id: str, at: datetime) -> Script:
        rng, common = self.rng, _of(case_id)
        facts = self._facts(case_id)
        if facts.tier >= Tier.SUBDISTRICT:
            return
        reason = rng.choice(_REASONS)
        by = self._handler(case_id)
        note = "本级无权限或力量不足，请上级协调"
        yield at, (c.EscalateCase(by=by, at=at, reason=reason, note=note, **common),)
        at += self._minutes(30, 400)
        yield at, (self._accept(case_id, at),)
        if rng.random() < 0.3:
            at += self._minutes(60, 900)
            directive = "由属地牵头处置，上级派员指导"
            back = c.ReturnCase(by=self._handler(case_id), at=at, directive=directive, **common)
            yield at, (back,)
            at += self._minutes(20, 300)
            yield at, (self._accept(case_id, at),)
            if rng.random() < 0.3 and self._facts(case_id).returns < 2:
                yield from self._goes_up(case_id, at + self._minutes(60, 900))

    def _is_parked(self, case_id: str, at: datetime) -> Script:
        rng, common = self.rng, _of(case_id)
        until = at + timedelta(days=rng.uniform(2, 20))
        reason = rng.choice(("等待配件到货", "需走招标流程", "当事人外出，约定返回后处理"))
        by, dispatcher = self._handler(case_id), self.desk["dispatcher"]
        yield at, (c.AskPark(by=by, at=at, until=until, reason=reason, **common),)
        at += self._minutes(10, 200)
        if rng.random() < 0.2:
            why = "理由不充分，请继续办理"
            yield at, (c.DeclineRequest(by=dispatcher, at=at, reason=why, **common),)
            return
        yield at, (c.ApprovePark(by=dispatcher, at=at, **common),)
        at = until
        yield at, (c.ResumeCase(by=by, at=at, calendar=self.calendar, **common),)

    def _is_extended(self, case_id: str, at: datetime) -> Script:
        common = _of(case_id)
        if self._facts(case_id).clock.due is None:
            return
        more = Limit(self.rng.randint(1, 5), Measure.DAY)
        by = self._handler(case_id)
        reason = "涉及多方协调，申请延时"
        yield at, (c.AskExtension(by=by, at=at, more=more, reason=reason, **common),)
        at += self._minutes(10, 200)
        approve = c.ApproveExtension(
            by=self.desk["dispatcher"], at=at, calendar=self.calendar, **common
        )
        yield at, (approve,)

    def _whistles(self, case_id: str, at: datetime) -> Script:
        common = _of(case_id)
        if self._facts(case_id).tier < Tier.COMMUNITY:
            return
        by = self.coordinators[SUBDISTRICT]
        called = self.rng.sample([self.units[code] for code, *_ in UNITS], 2)
        whistle = c.WhistleCase(
            by=by,
            at=at,
            units=tuple(called),
            purpose="现场联合处置",
            reply_by=at + timedelta(hours=8),
            **common,
        )
        yield at, (whistle,)
        for unit in called:
            at += self._minutes(20, 500)
            if self.rng.random() < 0.85:
                member = self.members[unit.id]
                yield at, (c.ReportIn(by=member, at=at, unit=unit.id, **common),)
            else:
                at = max(at, whistle.reply_by)
                yield at, (c.MarkAbsent(by=by, at=at, unit=unit.id, **common),)

    def _splits(self, case_id: str, at: datetime) -> Script:
        facts = self._facts(case_id)
        if facts.parent is not None:
            return
        children = tuple(
            c.ChildReport(case=f"{case_id}-{number}", description=part)
            for number, part in ((1, "先行现场处置"), (2, "后续整改"))
        )
        split = c.SplitCase(
            case=case_id, by=self.coordinators[SUBDISTRICT], at=at, children=children
        )
        yield at, (split,)
        for child in children:
            self._push(self._child(child.case, case_id, at))

    def _child(self, case_id: str, parent: str, at: datetime) -> Script:
        terms = self._facts(parent).terms
        resident = self.rng.choice(self.residents[self._facts(parent).place.path])
        at += self._minutes(10, 60)
        yield at, (self._file(case_id, self.desk["acceptor"], at, terms.category),)
        at += self._minutes(2, 30)
        yield at, (self._dispatch(case_id, at),)
        yield from self._worked_on(case_id, at, resident, first=False)

    def _is_noted(self, case_id: str, at: datetime) -> Script:
        by, rng = self._handler(case_id), self.rng
        if rng.random() < 0.5:
            text = rng.choice(("已联系反映人，约定上门时间", "已到现场查看", "已告知物业整改"))
            yield at, (c.AddNote(case=case_id, by=by, at=at, text=text),)
        else:
            attach = c.AttachFile(
                case=case_id,
                by=by,
                at=at,
                attachment=f"{case_id}-photo",
                name="现场照片.jpg",
                media_type="image/jpeg",
                sha256=f"{rng.getrandbits(256):064x}",
                size=rng.randint(80_000, 3_000_000),
            )
            yield at, (attach,)

    def _reclassified(self, case_id: str, at: datetime, category: str) -> Script:
        size = self.catalogue.categories[category].size
        others = [
            code
            for code, each in self.catalogue.categories.items()
            if each.size is size and code != category
        ]
        reclassify = c.ReclassifyCase(
            case=case_id,
            by=self.desk["acceptor"],
            at=at,
            terms=self.catalogue.terms(self.rng.choice(others)),
            calendar=self.calendar,
            reason="原分类有误",
        )
        yield at, (reclassify,)

    def _breach(self, case_id: str, at: datetime) -> Script:
        """What the deadline process does once the due has passed."""
        facts = self._facts(case_id)
        open_ = isinstance(self.case(case_id), Assigned | InProgress)
        if open_ and facts.clock.due and facts.clock.due < at and not facts.clock.breached:
            yield at, (c.MarkBreach(case=case_id, by=system("deadlines"), at=at),)

    # --- commands that look at the case first ---

    def _facts(self, case_id: str) -> Any:
        state = self.case(case_id)
        assert not isinstance(state, Unknown), case_id
        return state.facts

    def _place(self, grid: str, at: datetime) -> t.Place:
        tree: t.Territory = self.batch.streams[TERRITORY.name].state
        return tree.resolve(grid, office_time(at).date())

    def _spot(self, grid: str) -> c.Spot:
        rng, index = self.rng, self.grids.index(grid)
        address = f"{rng.choice(ROADS)}{rng.randint(1, 180)}号{rng.randint(1, 20)}号楼"
        longitude, latitude = demo_map.spot(
            index // GRIDS, index % GRIDS, GRIDS, rng.random(), rng.random()
        )
        return c.Spot(address=address, longitude=longitude, latitude=latitude)

    def _file(self, case_id: str, by: Actor, at: datetime, category: str) -> c.FileCase:
        terms = self.catalogue.terms(category)
        return c.FileCase(case=case_id, by=by, at=at, terms=terms, calendar=self.calendar)

    def _dispatch(self, case_id: str, at: datetime) -> c.DispatchCase:
        facts, by = self._facts(case_id), self.desk["dispatcher"]
        if facts.tier is Tier.GRID:
            worker = self.workers[facts.place.path]
            return c.DispatchCase(case=case_id, by=by, at=at, worker=worker)
        code = facts.place.path.split("/")[2]
        return c.DispatchCase(case=case_id, by=by, at=at, unit=self.units[f"{code}-service"])

    def _accept(self, case_id: str, at: datetime) -> c.AcceptCase:
        return c.AcceptCase(case=case_id, by=self._next_handler(case_id), at=at)

    def _next_handler(self, case_id: str) -> Actor:
        """Who is to take the case: its worker, somebody of its unit, or of the territory."""
        facts = self._facts(case_id)
        if facts.unit:
            return self.members[facts.unit]
        if facts.tier is Tier.GRID:
            return self.workers[facts.place.path]
        return self.rng.choice(self.handlers[at_tier(facts.place.path, facts.tier) or ""])

    def _handler(self, case_id: str) -> Actor:
        """Who has the case in hand."""
        return self._actor(self._facts(case_id).handler)

    def _resolve(self, case_id: str, at: datetime) -> c.ResolveCase:
        return c.ResolveCase(
            case=case_id,
            by=self._handler(case_id),
            at=at,
            evidence=(f"{case_id}-after",),
            note=self.rng.choice(("已现场处置完毕", "已协调解决", "已整改到位，当事人认可")),
        )

    def _waits_for_children(self, case_id: str) -> bool:
        return any(child.required and not child.ended for child in self._facts(case_id).children)

    def _minutes(self, least: int, most: int) -> timedelta:
        return timedelta(seconds=self.rng.randrange(least * 60, most * 60))


_SOURCES: Final = (c.Source.RESIDENT, c.Source.GRID_WORKER, c.Source.HOTLINE, c.Source.WINDOW)
_MERGEABLE: Final = ("filed", "assigned", "in_progress", "parked")
_REASONS: Final = tuple(
    reason for reason in c.EscalationReason if reason is not c.EscalationReason.SLA_BREACH
)
_LIKELY: Final = tuple(
    code for code, texts in DESCRIPTIONS.items() for _ in range(1 if len(texts) < 3 else 3)
)
_HAPPENINGS: Final = (
    ("_is_noted", 0.3),
    ("_goes_up", 0.13),
    ("_is_parked", 0.05),
    ("_is_extended", 0.04),
    ("_whistles", 0.12),
    ("_splits", 0.012),
)


def _of(case_id: str) -> dict[str, Any]:
    """The field that all steps of a case share."""
    return {"case": case_id}
