"""Queries: each person's scope and nothing more, whole pages, and figures that are right."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain import staff
from domain.case.states import Unknown
from domain.errors import Refused
from domain.places import Tier
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from projections.conditions import AuditFilter, CaseFilter, Order
from projections.gateway import Behind, Gateway
from projections.paging import BadCursor
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


def test_a_card_has_the_limits_of_another_category(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "assigned", "a")
    store.execute(samples.reclassify(case="a", terms=samples.terms("missing_manhole_cover")))
    runner.catch_up()
    card = gateway.card(supervisor("d1/"), "a")
    assert card.contact_due == samples.FILED_AT + timedelta(hours=2)
    _same(card, *store.case("a"))


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
        assert card.contact_due == clock.contact_due
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
    far = samples.actor(Role.HANDLER, samples.DISTRICT, "far")  # and has other rights since
    for case, command in (
        ("worker", samples.dispatch(worker=far)),
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


def test_who_has_no_reading_role_sees_the_own_reports_only(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    carry(store, "filed", "mine", reporter=samples.REPORTER)
    carry(store, "filed", "others", reporter=None)
    runner.catch_up()
    assert [row.case for row in gateway.worklist(samples.RESIDENT, CaseFilter()).rows] == ["mine"]
    assert not gateway.worklist(samples.NEIGHBOUR, CaseFilter()).rows
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
    carry(store, "filed", "a", description="三号楼No.7楼道堆物，堵了100%")
    runner.catch_up()
    if found is None:
        with pytest.raises(Refused) as refused:
            gateway.worklist(supervisor(""), CaseFilter(text=text))
        assert refused.value.code == "query.text_short"
    else:
        rows = gateway.worklist(supervisor(""), CaseFilter(text=text)).rows
        assert bool(rows) is found


def test_a_whole_number_finds_its_case_alone(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    for case in ("20261129-AB", "20261129-ABAB", "20261129-CD"):
        carry(store, "filed", case)
    runner.catch_up()

    def found(text: str) -> set[str]:
        return {row.case for row in gateway.worklist(supervisor(""), CaseFilter(text=text)).rows}

    assert found("20261129-AB") == found("20261129-ab") == {"20261129-AB"}
    assert found("1129-AB") == {"20261129-AB", "20261129-ABAB"}
    assert found("20261129") == {"20261129-AB", "20261129-ABAB", "20261129-CD"}
    assert not found("20261129-AB 20261130")


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
