"""Queries: each person's scope and nothing more, whole pages, and figures that are right."""

import base64
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from domain import staff, territory
from domain.case import commands as c
from domain.case.states import Unknown
from domain.errors import Refused
from domain.places import Tier
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from projections.gateway import (
    AuditFilter,
    BadCursor,
    Behind,
    CaseFilter,
    Gateway,
    Order,
    Window,
)
from projections.runner import Runner
from projections.worklist import CaseRow
from tests import samples
from tests.domain.schedules import local

ALONE = [name for name in samples.PATHS if name not in ("unknown", "merged")]


def carry(store: EventStore, to: str, case: str, **report: Any) -> None:
    """A case brought to a state; ``report`` changes how it came in."""
    first, *others = samples.PATHS[to]
    store.execute(replace(first, case=case, **report))
    for command in others:
        store.execute(replace(command, case=case))


def supervisor(territory_path: str) -> Actor:
    return Actor("watcher", (Grant(Role.SUPERVISOR, territory_path),))


@pytest.mark.parametrize("state", ALONE)
def test_the_card_says_what_the_rules_say(
    store: EventStore, runner: Runner, gateway: Gateway, state: str
) -> None:
    carry(store, state, "a")
    runner.catch_up()
    _same(gateway.card(supervisor("d1/"), "a"), *store.case("a"))


def _same(card: CaseRow, case: Any, version: int) -> None:
    assert not isinstance(case, Unknown)
    facts, clock = case.facts, case.facts.clock
    assert (card.state, card.version) == (case.name, version)
    assert (card.tier, card.highest, card.holder) == (facts.tier, facts.highest, facts.holder)
    assert (card.handler, card.unit, card.worker) == (facts.handler, facts.unit, facts.worker)
    assert (card.episode, card.returns) == (facts.episode, facts.returns)
    assert card.asked == (facts.request and facts.request.what)
    assert card.outcome == facts.outcome
    assert card.category == (facts.terms and facts.terms.category)
    if clock is not None:
        assert (card.due, card.provisional) == (clock.due, clock.provisional)
        assert (card.breached, card.contacted_at) == (clock.breached, clock.contacted)
        assert card.parked_until == clock.paused_until


def _at(hours: float, command: Any) -> Any:
    return replace(command, at=samples.after(hours=hours))


COMMUNITY_WORKER = samples.actor(Role.HANDLER, samples.COMMUNITY, "somebody")

MOVES: dict[str, tuple[Any, ...]] = {
    "escalated": (samples.escalate(),),
    "returned": (
        _at(1, samples.escalate()),
        _at(2, samples.accept(by=COMMUNITY_WORKER)),
        _at(3, samples.send_back(by=COMMUNITY_WORKER)),
    ),
    "reopened": (
        _at(1, samples.resolve()),
        _at(2, samples.check()),
        _at(3, samples.close()),
        _at(4, samples.reopen()),
    ),
    "declined": (_at(1, samples.ask_park()), _at(2, samples.decline())),
    "resumed": (
        _at(1, samples.ask_park(until=samples.after(days=3))),
        _at(2, samples.approve_park()),
        _at(30, samples.resume()),
    ),
    "reworked": (_at(1, samples.resolve()), _at(2, samples.check(passed=False, note="未清理"))),
}


@pytest.mark.parametrize("name", MOVES)
def test_the_card_follows_a_case_that_was_in_hand(
    store: EventStore, runner: Runner, gateway: Gateway, name: str
) -> None:
    store.execute(*(replace(c, case="a") for c in samples.PATHS["in_progress"]))
    for command in MOVES[name]:
        store.execute(replace(command, case="a"))
    runner.catch_up()
    _same(gateway.card(supervisor("d1/"), "a"), *store.case("a"))


def test_nobody_reads_across_territories(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "in_progress", "a")
    runner.catch_up()
    for path, sees in (
        ("d1/", True),
        (samples.COMMUNITY, True),
        (samples.GRID, True),
        (samples.SIBLING_GRID, False),
        (samples.OTHER_COMMUNITY, False),
        (samples.OTHER_DISTRICT, False),
    ):
        by = supervisor(path)
        assert bool(gateway.worklist(by, CaseFilter()).rows) is sees, path
        assert bool(gateway.worklist(by, CaseFilter(text="垃圾")).rows) is sees, path
        assert bool(gateway.audit(by, AuditFilter()).rows) is sees, path
        assert gateway.containment(by, Window()).cases == int(sees), path
        if sees:
            assert gateway.timeline(by, "a")
        else:
            for ask in (gateway.card, gateway.timeline):
                with pytest.raises(Refused) as refused:
                    ask(by, "a")
                assert refused.value.code == "case.unknown"


def test_who_is_to_act_on_a_case_reads_it_wherever_it_is(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """The assigned worker, the assigned unit and a unit that was whistled for."""
    for case, command in (
        ("worker", samples.dispatch(worker="far")),
        ("unit", samples.dispatch(unit=samples.WORKS)),
        ("called", samples.whistle(by=samples.DISTRICT_COORDINATOR, units=(samples.WORKS,))),
    ):
        big = replace(samples.file(case=case), terms=samples.BIG, tier=Tier.DISTRICT)
        store.execute(samples.report(case=case), big)
        store.execute(replace(command, case=case))
    runner.catch_up()
    grants = (Grant(Role.HANDLER, samples.OTHER_DISTRICT),)
    for by, expected in (
        (Actor("far", grants), {"worker"}),
        (Actor("of the unit", grants, unit=samples.WORKS.id), {"unit", "called"}),
        (Actor("nobody", grants, unit="another"), set()),
    ):
        assert {row.case for row in gateway.worklist(by, CaseFilter()).rows} == expected
        for case in expected:
            assert gateway.card(by, case).case == case


def test_a_metric_of_a_territory_out_of_scope_is_refused(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    runner.catch_up()
    by = supervisor(samples.COMMUNITY)
    for ask in (gateway.containment, gateway.timeliness, gateway.caseload):
        ask(by, Window(territory=samples.GRID))
        for path in (samples.OTHER_GRID, samples.SUBDISTRICT):
            with pytest.raises(Refused) as refused:
                ask(by, Window(territory=path))
            assert refused.value.code == "query.not_permitted"


def test_who_has_no_reading_role_sees_the_own_reports_only(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "filed", "mine", reporter=samples.REPORTER)
    carry(store, "filed", "others", reporter=None)
    runner.catch_up()
    assert [row.case for row in gateway.worklist(samples.RESIDENT, CaseFilter()).rows] == ["mine"]
    assert not gateway.worklist(samples.NEIGHBOUR, CaseFilter()).rows
    for ask in (gateway.containment, gateway.timeliness, gateway.caseload):
        with pytest.raises(Refused):
            ask(samples.RESIDENT, Window())
    with pytest.raises(Refused):
        gateway.audit(samples.RESIDENT, AuditFilter())


FILTERS: dict[str, tuple[CaseFilter, set[str]]] = {
    "state": (CaseFilter(states=("closed", "filed")), {"closed", "filed"}),
    "person": (CaseFilter(person=samples.GRID_WORKER.id), {"in_progress", "closed"}),
    "tier": (CaseFilter(tier=Tier.COMMUNITY), set()),
    "territory": (CaseFilter(territory=samples.GRID), {"filed", "in_progress", "closed"}),
    "elsewhere": (CaseFilter(territory=samples.OTHER_GRID), set()),
    "category": (CaseFilter(category="exposed_garbage"), {"filed", "in_progress", "closed"}),
    "size": (CaseFilter(size="big"), set()),
    "due": (CaseFilter(due_before=samples.DUE), set()),
    "unit": (CaseFilter(unit="property"), set()),
    "called": (CaseFilter(called="property"), set()),
    "asked": (CaseFilter(asked="void"), {"asked"}),
    "due soon": (
        CaseFilter(due_before=samples.after(days=30)),
        {"filed", "in_progress", "closed"},
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_the_worklist_filters(
    store: EventStore, runner: Runner, gateway: Gateway, name: str
) -> None:
    for state in ("filed", "in_progress", "closed"):
        carry(store, state, state)
    if name == "asked":
        carry(store, "filed", "asked")
        store.execute(samples.ask_void(case="asked"))
    runner.catch_up()
    wanted, expected = FILTERS[name]
    handler = store.case("closed")[0].facts.handler
    if name == "person" and handler != samples.GRID_WORKER.id:
        wanted = replace(wanted, person=handler)
    assert {row.case for row in gateway.worklist(supervisor(""), wanted).rows} == expected


@pytest.mark.parametrize("order", ["due", "updated", "reported"])
def test_pages_hold_every_case_once_while_cases_move(
    store: EventStore, runner: Runner, gateway: Gateway, order: Order
) -> None:
    for n in range(23):
        carry(store, ALONE[n % len(ALONE)], f"case-{n:02}")
    runner.catch_up()
    wanted = CaseFilter(order=order)
    whole = [row.case for row in gateway.worklist(supervisor(""), wanted, limit=100).rows]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = gateway.worklist(supervisor(""), wanted, after=cursor, limit=4)
        seen += [row.case for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
        store.execute(samples.report(case=f"zz-{len(seen)}"))
    assert seen == whole
    assert len(set(seen)) == 23


def _as_cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "bm9uc2Vuc2U=",
        "WzEsMiwzXQ==",
        "é",
        _as_cursor('["due", "infinity", "\\ud800"]'),
        _as_cursor('["audit", Infinity, ""]'),
        _as_cursor('["audit", "99999999999999999999", ""]'),
        _as_cursor('["audit", "²", ""]'),
        _as_cursor('["due", NaN, "a"]'),
        _as_cursor('["due", "9999-99-99", "a"]'),
        _as_cursor("[" * 1000),
    ],
)
def test_a_cursor_that_was_not_given_out_is_named(
    runner: Runner, gateway: Gateway, cursor: str
) -> None:
    runner.catch_up()
    with pytest.raises(BadCursor):
        gateway.worklist(supervisor(""), CaseFilter(), after=cursor)
    with pytest.raises(BadCursor):
        gateway.audit(supervisor(""), AuditFilter(), after=cursor)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("楼道", True),
        ("楼道堆物", True),
        ("堆物 楼道", True),
        ("NO 7", None),
        ("no.7", True),
        ("道楼", False),
        ("三号楼堆物", False),
        ("100%", True),
        ("'; DROP", False),
        ("垃", None),
        (" ", None),
    ],
)
def test_search_finds_two_characters_and_more(
    store: EventStore, runner: Runner, gateway: Gateway, text: str, found: bool | None
) -> None:
    carry(store, "filed", "a", description="三号楼No.7楼道堆物,堵了100%")
    runner.catch_up()
    if found is None:
        with pytest.raises(Refused) as refused:
            gateway.worklist(supervisor(""), CaseFilter(text=text))
        assert refused.value.code == "query.text_short"
    else:
        rows = gateway.worklist(supervisor(""), CaseFilter(text=text)).rows
        assert bool(rows) is found


def test_the_audit_trail_filters_and_pages(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "a")
    carry(store, "filed", "b")
    runner.catch_up()
    by = supervisor("")
    everything = gateway.audit(by, AuditFilter()).rows
    assert [row.position for row in everything] == list(range(9, 0, -1))
    assert {row.object for row in gateway.audit(by, AuditFilter(object="case:b")).rows} == {
        "case:b"
    }
    (closed,) = gateway.audit(by, AuditFilter(action="case.closed")).rows
    assert closed.actor == samples.SHIFT_LEAD.id
    assert gateway.audit(by, AuditFilter(actor=samples.SHIFT_LEAD.id)).rows == [closed]
    assert not gateway.audit(by, AuditFilter(territory=samples.OTHER_GRID)).rows
    assert closed in gateway.audit(by, AuditFilter(since=closed.at)).rows
    assert closed not in gateway.audit(by, AuditFilter(until=closed.at)).rows
    seen, cursor = [], None
    while True:
        page = gateway.audit(by, AuditFilter(), after=cursor, limit=2)
        seen += page.rows
        cursor = page.next
        if cursor is None:
            break
    assert seen == everything


def test_a_query_waits_for_the_position_it_needs_but_not_for_ever(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    receipt = store.execute(samples.report(case="a"))
    with pytest.raises(Behind):
        gateway.card(supervisor(""), "a", position=receipt.position)
    runner.catch_up()
    assert gateway.card(supervisor(""), "a", position=receipt.position).state == "reported"
    with pytest.raises(Behind):
        gateway.card(supervisor(""), "a", position=receipt.position + 1)


def test_before_the_first_projection_a_query_says_so(gateway: Gateway) -> None:
    with pytest.raises(Behind):
        gateway.worklist(supervisor(""), CaseFilter())


# --- figures ---


def by_size(store: EventStore, case: str, size: str, *moves: c.Command, close: bool = True) -> None:
    """A case of a size that is worked on, moved, and (unless left open) closed as resolved."""
    first = samples.report(case=case)
    terms = samples.SMALL if size == "small" else samples.BIG
    store.execute(first, replace(samples.file(case=case), terms=terms))
    store.execute(samples.dispatch(case=case))
    for move in moves:
        store.execute(replace(move, case=case))
    if close:
        at = samples.after(days=1)
        handler = _handler_of(store, case)
        store.execute(samples.accept(case=case, by=handler, at=at))
        store.execute(samples.resolve(case=case, by=handler, at=at))
        store.execute(samples.check(case=case, at=at))
        store.execute(samples.close(case=case, at=at))


def _handler_of(store: EventStore, case: str) -> Actor:
    holder = store.case(case)[0].facts.holder
    return Actor("anybody", (Grant(Role.HANDLER, holder),))


def up(at: datetime, frm: str) -> c.EscalateCase:
    by = Actor("mover", (Grant(Role.HANDLER, frm),))
    return c.EscalateCase(case="", by=by, at=at, reason=c.EscalationReason.RESOURCES)


def down(at: datetime, frm: str) -> c.ReturnCase:
    by = Actor("mover", (Grant(Role.HANDLER, frm),))
    return c.ReturnCase(case="", by=by, at=at, directive="请网格办理")


def test_containment_counts_the_highest_tier_ever_reached(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    one, two = samples.after(hours=1), samples.after(hours=2)
    by_size(store, "kept", "small")
    by_size(store, "open", "small", close=False)
    by_size(store, "up", "small", up(one, samples.GRID))
    # Escalated, then returned: it did not stay in the grid.
    by_size(store, "back", "small", up(one, samples.GRID), down(two, samples.COMMUNITY))
    by_size(store, "big", "big")
    by_size(store, "big up", "big", up(one, samples.COMMUNITY))
    runner.catch_up()
    found = gateway.containment(supervisor("d1/"), Window())
    assert (found.cases, found.closed) == (6, 5)
    assert found.highest == {"grid": 2, "community": 3, "subdistrict": 1, "district": 0}
    assert (found.escalated_cases, found.escalations) == (3, 3)
    assert (found.returned_cases, found.returns) == (1, 1)
    assert (found.grid_small.numerator, found.grid_small.denominator) == (1, 3)
    assert (found.grid_all.numerator, found.grid_all.denominator) == (1, 5)
    assert (found.community_small.numerator, found.community_small.denominator) == (3, 3)
    assert (found.community_big.numerator, found.community_big.denominator) == (1, 2)
    assert (found.community_all.numerator, found.community_all.denominator) == (4, 5)
    assert found.position == store.recorder.max_notification_id()


def test_reopening_takes_the_old_count_back(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "a")
    runner.catch_up()
    by = supervisor("")
    assert gateway.containment(by, Window()).closed == 1
    assert gateway.timeliness(by, Window()).on_time == 1
    store.execute(samples.reopen(case="a"))
    runner.catch_up()
    found = gateway.containment(by, Window())
    assert (found.closed, found.reopened, found.grid_small.denominator) == (0, 1, 0)
    assert gateway.timeliness(by, Window()).on_time == 0


def test_void_and_merged_cases_are_excluded_and_named(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "void", "void")
    carry(store, "filed", "survivor")
    carry(store, "filed", "duplicate")
    store.execute(samples.merge(case="duplicate", into="survivor"))
    runner.catch_up()
    by = supervisor("")
    containment = gateway.containment(by, Window())
    assert containment.cases == 1
    assert containment.excluded == {"void": 1, "merged": 1, "mandated_up": 0}
    timeliness = gateway.timeliness(by, Window(until=samples.after(days=30)))
    assert timeliness.open == 1
    assert timeliness.excluded == {"no_deadline": 0, "void": 1, "merged": 1}


def test_what_must_go_up_is_not_held_against_the_grid(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "kept", "small")
    terms = replace(samples.SMALL, mandated_up=True)
    store.execute(samples.report(case="m"), replace(samples.file(case="m"), terms=terms))
    for command in samples.PATHS["closed"][2:]:
        store.execute(replace(command, case="m"))
    runner.catch_up()
    found = gateway.containment(supervisor(""), Window())
    assert (found.grid_small.numerator, found.grid_small.denominator) == (1, 1)
    assert found.excluded["mandated_up"] == 1


def test_a_window_counts_what_was_closed_in_it(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by_size(store, "a", "small")
    runner.catch_up()
    by, closed_at = supervisor(""), samples.after(days=1)
    assert gateway.containment(by, Window(since=closed_at)).closed == 1
    assert gateway.containment(by, Window(until=closed_at)).closed == 0
    assert gateway.containment(by, Window(until=samples.after(days=2))).closed == 1


def test_timeliness_counts_the_closed_and_the_overdue(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "closed", "in time")
    by_size(store, "late", "small")  # 4 working hours, closed after a day
    by_size(store, "overdue", "small", close=False)
    carry(store, "parked", "parked")  # its clock stands still until the dated end
    store.execute(
        samples.report(case="endless"), replace(samples.file(case="endless"), terms=samples.ENDLESS)
    )
    runner.catch_up()
    found = gateway.timeliness(supervisor(""), Window(until=samples.after(days=2)))
    assert (found.on_time, found.late, found.open) == (1, 1, 1)
    assert (found.on_time_rate.numerator, found.on_time_rate.denominator) == (1, 3)
    assert (found.closure_rate.numerator, found.closure_rate.denominator) == (2, 3)
    before_due = gateway.timeliness(supervisor(""), Window(until=samples.FILED_AT))
    assert (before_due.on_time, before_due.late, before_due.open) == (0, 0, 0)


def test_a_pause_moves_the_due_and_one_after_it_does_not(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    for case, hours in (("before", 1), ("after", 30)):  # due after some 6 hours
        store.execute(*(replace(c, case=case) for c in samples.PATHS["in_progress"]))
        ask = samples.ask_park(case=case, until=samples.after(days=10))
        store.execute(_at(hours, ask))
        store.execute(_at(hours + 1, samples.approve_park(case=case)))
    runner.catch_up()

    def overdue(**moment: float) -> int:
        window = Window(until=samples.after(**moment))
        return gateway.timeliness(supervisor(""), window).open

    assert overdue(hours=5) == 0
    assert overdue(days=1) == 1, "the pause of the other began before its due"
    assert overdue(days=5) == 1, "parking what is late does not make it punctual"
    assert overdue(days=10) == 1
    assert overdue(days=11) == 2, "the dated end is past, and the time it gave back too"


def test_caseload_of_the_grids_in_force(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    by, at = samples.ADMINISTRATOR, samples.START
    new_year = date(2026, 1, 1)
    for tier, path, parent in (
        (Tier.DISTRICT, "d1", ""),
        (Tier.SUBDISTRICT, "s1", "d1/"),
        (Tier.COMMUNITY, "c1", "d1/s1/"),
        (Tier.GRID, "g1", samples.COMMUNITY),
        (Tier.GRID, "g2", samples.COMMUNITY),
        (Tier.GRID, "g4", samples.COMMUNITY),
    ):
        store.execute(
            territory.CreateTerritory(
                by=by, at=at, id=path, tier=tier, parent=parent, name=path, effective=new_year
            )
        )
    for path, worker in ((samples.GRID, "a"), (samples.GRID, "b"), (samples.SIBLING_GRID, "c")):
        store.execute(territory.AssignWorker(by=by, at=at, path=path, worker=worker))
    store.execute(
        territory.RecordHouseholds(
            by=by, at=at, path=samples.GRID, households=100, residents=280, as_of=new_year
        )
    )
    by_size(store, "s", "small")
    by_size(store, "b", "big", close=False)
    runner.catch_up()
    found = gateway.caseload(supervisor("d1/"), Window(until=samples.after(days=2)))
    loads = {
        grid.path: (grid.cases, grid.weighted, grid.workers, grid.load) for grid in found.grids
    }
    assert loads == {
        samples.GRID: (2, 4, 2, 2.0),
        samples.SIBLING_GRID: (0, 0, 1, 0.0),
        "d1/s1/c1/g4/": (0, 0, 0, None),
    }
    assert (found.without_cases, found.without_workers) == (2, 1)
    assert found.gini == pytest.approx(0.5)
    assert found.variation == pytest.approx(1.0)
    store.execute(
        territory.MergeGrids(
            by=by,
            at=at,
            paths=(samples.GRID, samples.SIBLING_GRID),
            id="g9",
            name="g9",
            effective=date(2026, 3, 4),
        )
    )
    runner.catch_up()
    later = gateway.caseload(supervisor("d1/"), Window(until=samples.after(days=5)))
    assert [grid.path for grid in later.grids] == ["d1/s1/c1/g4/", "d1/s1/c1/g9/"]
    assert later.excluded["outside_grids_in_force"] == 2
    assert later.gini is None


def test_staff_changes_stand_in_the_audit_trail(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    store.execute(
        staff.AddUser(
            by=samples.ADMINISTRATOR,
            at=local("2026-03-02 10:00"),
            id="li",
            name="李四",
            grants=(Grant(Role.HANDLER, samples.COMMUNITY),),
        )
    )
    runner.catch_up()
    (row,) = gateway.audit(supervisor(samples.COMMUNITY), AuditFilter(object="staff")).rows
    assert (row.action, row.territory) == ("staff.user_added", samples.COMMUNITY)
    assert "李四" not in repr(row)
