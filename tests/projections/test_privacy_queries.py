"""Queries show masks, find without knowing the words, and say who was shown what."""

from dataclasses import replace
from typing import Any

import pytest

from domain import staff
from domain.case import commands as c
from domain.case.events import CaseReported
from domain.errors import Refused
from domain.history import LOG, Wanted
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonalField, Purpose
from domain.roles import Actor, Grant, Role
from infra.event_store import EventStore
from infra.vault import Vault
from projections import worklist
from projections.conditions import AccessFilter, AuditFilter, CaseFilter
from projections.gateway import Behind, Gateway
from projections.paging import BadCursor
from projections.runner import Runner
from tests import samples

WANG = c.Reporter(person="wang", name="王小明", phone="138 1234 5678", address="李家村五组12号")
PERSONAL: dict[str, Any] = {
    "description": "三号楼楼道里一直堆着旧家具，没人管",
    "spot": c.Spot(address="幸福路3号阳光小区2栋301"),
    "reporter": WANG,
}
CLEAR = ["小明", "5678", "五组", "旧家具", "2栋", "301"]
"""Parts of what is personal that no mask keeps, but for the last digits of the phone."""


def supervisor(path: str) -> Actor:
    return Actor("watcher", (Grant(Role.SUPERVISOR, path),))


def forget(store: EventStore, *cases: str, person: str = "wang") -> None:
    store.execute(samples.ask_forget(person=person))
    store.execute(samples.approve_forget(person=person, cases=cases))


def test_lists_and_cards_show_masks(store: EventStore, runner: Runner, gateway: Gateway) -> None:
    store.execute(samples.report(case="a", **PERSONAL), samples.file(case="a"))
    store.execute(samples.report(case="b", reporter=None))
    runner.catch_up()
    by = supervisor("d1/")
    card = gateway.card(by, "a")
    assert gateway.worklist(by, CaseFilter(text="楼道")).rows == [card]
    assert (card.description, card.address) == ("三号楼楼道里一直…", "幸福路*号阳光小区****")
    assert (card.reporter_name, card.reporter_phone) == ("王**", "138****5678")
    assert (card.reporter, card.reporter_address) == ("wang", "李家村****")
    assert not [word for word in CLEAR if word in repr(card).replace("138****5678", "")]
    nobody = gateway.card(by, "b")
    assert (nobody.reporter_name, nobody.reporter_phone, nobody.reporter_address) == ("", "", "")


def test_a_card_of_the_past_keeps_its_masks(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    store.execute(samples.report(case="a", **PERSONAL), samples.file(case="a"))
    runner.catch_up()
    card = gateway.card(supervisor("d1/"), "a")
    first = worklist.fold(None, store.history("case:a")[0])
    past = card.with_facts(first)
    assert (past.state, past.version) == ("reported", 1)
    assert (past.description, past.reporter_name) == (card.description, card.reporter_name)
    assert (card.state, card.version) == ("filed", 2)


@pytest.mark.parametrize("number", ["13812345678", "+86 138-1234-5678", "138 1234 5678"])
def test_a_whole_number_is_found_however_it_is_written(
    store: EventStore, runner: Runner, gateway: Gateway, number: str
) -> None:
    store.execute(samples.report(case="a", **PERSONAL))
    store.execute(samples.report(case="b"))
    runner.catch_up()
    by = supervisor("d1/")
    assert [r.case for r in gateway.worklist(by, CaseFilter(phone=number)).rows] == ["a"]
    assert not gateway.worklist(by, CaseFilter(phone=number[:-1])).rows
    assert not gateway.worklist(by, CaseFilter(text=number[-4:])).rows
    assert not gateway.worklist(supervisor(samples.SIBLING_GRID), CaseFilter(phone=number)).rows
    with pytest.raises(Refused) as refused:
        gateway.worklist(by, CaseFilter(phone="none"))
    assert refused.value.code == "query.bad_phone"


def test_while_search_of_the_version_before_is_there_words_wait_and_numbers_are_found(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    """Its tokens of pairs were others, in a column of another name; those of phones were these."""
    store.execute(samples.report(case="a", **PERSONAL))
    runner.catch_up()
    with runner.connect() as connection:
        connection.execute("ALTER TABLE search.cases RENAME pairs TO tokens")
    by = supervisor("d1/")
    with pytest.raises(Behind, match="search"):
        gateway.worklist(by, CaseFilter(text="旧家具"))
    assert [r.case for r in gateway.worklist(by, CaseFilter(phone="13812345678")).rows] == ["a"]


SEARCHES = {
    "旧家具": False,
    "阳光小区": False,
    "301": False,
    "第一网格": True,
    "暴露垃圾": True,
    "garbage": True,
}
"""Words of the case, and whether they are still found once its person is forgotten."""


def test_after_forgetting_nothing_of_the_person_is_found(
    store: EventStore, runner: Runner, gateway: Gateway, vault: Vault
) -> None:
    store.execute(samples.report(case="a", **PERSONAL), samples.file(case="a"))
    store.execute(samples.report(case="b", description="路灯不亮了", reporter=None))
    by = supervisor("d1/")

    def found(**wanted: Any) -> bool:
        return "a" in [row.case for row in gateway.worklist(by, CaseFilter(**wanted)).rows]

    runner.catch_up()
    assert all(found(text=text) for text in SEARCHES)
    assert found(phone="13812345678")
    store.execute(samples.ask_forget(), samples.approve_forget(cases=("a",)))
    runner.catch_up()
    for _ in range(2):
        assert {text: found(text=text) for text in SEARCHES} == SEARCHES
        assert not found(phone="13812345678")
        card = gateway.card(by, "a")
        assert (card.description, card.address) == (FORGOTTEN, FORGOTTEN)
        assert (card.reporter_name, card.reporter_phone) == (FORGOTTEN, FORGOTTEN)
        assert (card.reporter, card.reporter_address) == ("wang", FORGOTTEN)
        assert SEALED not in gateway.timeline(by, "a")[0].details
        assert FORGOTTEN in gateway.timeline(by, "a")[0].details
        assert gateway.card(by, "b").description == "路灯…"
        # The same again with the keys gone and everything built anew.
        vault.destroy(["person:wang", "case:a"])
        for projection in runner.projections:
            runner.rebuild(projection, verify=True)


def test_who_comes_back_is_known_again_by_the_new_case_only(
    store: EventStore, runner: Runner, gateway: Gateway, vault: Vault
) -> None:
    store.execute(samples.report(case="a", **PERSONAL))
    forget(store, "a")
    vault.destroy(["person:wang", "case:a"])
    store.execute(samples.report(case="b", **PERSONAL))
    reports = runner.source.read(
        LOG, 0, runner.source.head(LOG), Wanted((CaseReported,), opened=True)
    ).events
    assert [each.event.description for each in reports] == [FORGOTTEN, PERSONAL["description"]]
    runner.catch_up()
    by = supervisor("d1/")
    found = gateway.worklist(by, CaseFilter(phone="13812345678")).rows
    assert [row.case for row in found] == ["b"]
    assert gateway.card(by, "b").reporter_name == "王**"
    assert gateway.card(by, "a").reporter_name == FORGOTTEN
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)


def test_without_search_the_cards_are_there_and_hide_everything(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    runner.catch_up()
    receipt = store.execute(samples.report(case="a", **PERSONAL))
    known = [p for p in runner.projections if p.name != "search"]
    Runner(runner.source, runner.connect, known).catch_up()
    by = supervisor("d1/")
    card = gateway.card(by, "a")
    assert (card.description, card.reporter_phone, card.reporter) == (SEALED, SEALED, "wang")
    assert gateway.worklist(by, CaseFilter()).rows == [card]
    for ask in (
        lambda: gateway.card(by, "a", position=receipt.position),
        lambda: gateway.worklist(by, CaseFilter(), position=receipt.position),
    ):
        with pytest.raises(Behind, match="search"):
            ask()


# who looked


def looks(store: EventStore) -> None:
    """Four looks at two cases in two communities."""
    for case, place in (("a", samples.GRID), ("b", samples.OTHER_GRID)):
        reporter = WANG if case == "a" else replace(WANG, person="zhao")
        command = samples.report(
            by=samples.ACCEPTOR, case=case, place=samples.place(place), reporter=reporter
        )
        store.execute(command)
    at_b: dict[str, Any] = {
        "case": "b",
        "place": samples.OTHER_GRID,
        "holder": samples.OTHER_GRID,
        "reporter": "zhao",
    }
    store.execute(samples.show(case="a"))
    store.execute(samples.show(case="a"))
    store.execute(
        samples.show(
            by=samples.ACCEPTOR,
            at=samples.NEXT_DAY,
            purpose=Purpose.COMPLAINT,
            reason="居民投诉无人回电",
            **at_b,
        )
    )
    store.execute(samples.show(by=samples.NEIGHBOUR, purpose=Purpose.OWN, **at_b))


FILTERS: dict[str, tuple[AccessFilter, list[int]]] = {
    "all": (AccessFilter(), [6, 5, 4, 3]),
    "actor": (AccessFilter(actor="acceptor"), [5]),
    "case": (AccessFilter(case="a"), [4, 3]),
    "person": (AccessFilter(person="zhao"), [6, 5]),
    "nobody": (AccessFilter(person="li"), []),
    "purpose": (AccessFilter(purpose=Purpose.OWN), [6]),
    "territory": (AccessFilter(territory=samples.COMMUNITY), [4, 3]),
    "since": (AccessFilter(since=samples.NEXT_DAY), [5]),
    "until": (AccessFilter(until=samples.NEXT_DAY), [6, 4, 3]),
}


@pytest.fixture
def looked(store: EventStore, runner: Runner, gateway: Gateway) -> Gateway:
    looks(store)
    runner.catch_up()
    return gateway


def positions(gateway: Gateway, by: Actor, wanted: AccessFilter | None = None) -> list[int]:
    return [row.position for row in gateway.access(by, wanted or AccessFilter()).rows]


def test_every_look_is_listed_and_filtered(looked: Gateway) -> None:
    for name, (wanted, expected) in FILTERS.items():
        assert positions(looked, supervisor(""), wanted) == expected, name
    (row,) = looked.access(supervisor(""), AccessFilter(actor="acceptor")).rows
    assert (row.case, row.territory, row.purpose) == ("b", samples.OTHER_GRID, "complaint")
    assert (row.roles, row.fields) == ("acceptor", [PersonalField.REPORTER_PHONE.value])
    assert "投诉" not in repr(row)


def test_looks_come_in_pages(looked: Gateway) -> None:
    seen, cursor = [], None
    while True:
        page = looked.access(supervisor(""), AccessFilter(), after=cursor, limit=3)
        seen += [row.position for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [6, 5, 4, 3]
    audit = looked.audit(supervisor(""), AuditFilter(), limit=1).next
    with pytest.raises(BadCursor):
        looked.access(supervisor(""), AccessFilter(), after=audit)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (supervisor("d1/"), [6, 5, 4, 3]),
        (supervisor(samples.COMMUNITY), [4, 3]),
        (supervisor(samples.OTHER_COMMUNITY), [6, 5]),
        (supervisor(samples.SIBLING_GRID), []),
        (supervisor(samples.OTHER_DISTRICT), []),
        (samples.ADMINISTRATOR, [6, 5, 4, 3]),
        (samples.SHIFT_LEAD, []),
        (samples.GRID_WORKER, []),
        (samples.RESIDENT, [4, 3]),
        (samples.NEIGHBOUR, [6, 5]),
        (Actor("nobody", ()), []),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_looks_are_seen_by_who_audits_there_and_by_who_reported(
    looked: Gateway, by: Actor, expected: list[int]
) -> None:
    assert positions(looked, by) == expected
    # No filter widens what is seen.
    for wanted, _ in FILTERS.values():
        assert set(positions(looked, by, wanted)) <= set(expected)


def test_looks_and_forgetting_stand_in_the_audit_trail_of_their_territory(
    looked: Gateway, store: EventStore, runner: Runner
) -> None:
    forget(store, "a")
    runner.catch_up()
    actions = {
        path: [r.action for r in looked.audit(supervisor(path), AuditFilter()).rows]
        for path in (samples.COMMUNITY, samples.OTHER_COMMUNITY)
    }
    assert actions[samples.COMMUNITY][:2] == ["privacy.person_forgotten", "privacy.forget_asked"]
    assert actions[samples.COMMUNITY].count("privacy.personal_shown") == 2
    assert actions[samples.OTHER_COMMUNITY].count("privacy.personal_shown") == 2
    assert "privacy.person_forgotten" not in actions[samples.OTHER_COMMUNITY]
    (row,) = looked.audit(supervisor(""), AuditFilter(action="privacy.person_forgotten")).rows
    assert (row.object, row.actor) == ("person:wang", samples.ADMINISTRATOR.id)


# names and cases of a person


def hire(store: EventStore, user: str, name: str) -> None:
    grants = (Grant(Role.HANDLER, samples.COMMUNITY),)
    store.execute(
        staff.AddUser(by=samples.ADMINISTRATOR, at=samples.NOW, id=user, name=name, grants=grants)
    )


def test_colleagues_are_named_until_they_are_forgotten(
    store: EventStore, runner: Runner, gateway: Gateway, vault: Vault
) -> None:
    hire(store, "li", "李四")
    hire(store, "wang", "王五")
    runner.catch_up()
    users = ["li", "wang", "unknown"]
    by = supervisor(samples.OTHER_COMMUNITY)
    assert gateway.names(by, users) == {"li": "李四", "wang": "王五"}
    assert gateway.names(by, []) == {}
    assert gateway.names(samples.RESIDENT, users) == {"wang": "王五"}
    assert gateway.names(samples.NEIGHBOUR, users) == {}
    forget(store)
    runner.catch_up()
    assert gateway.names(by, users) == {"li": "李四", "wang": FORGOTTEN}
    vault.destroy(["person:wang"])
    for projection in runner.projections:
        runner.rebuild(projection, verify=True)
    assert gateway.names(by, users) == {"li": "李四", "wang": FORGOTTEN}


def test_all_cases_of_a_person_are_told_to_who_may_forget_them(
    looked: Gateway, store: EventStore, runner: Runner
) -> None:
    store.execute(samples.file(case="a"), samples.split(case="a"))
    runner.catch_up()
    for by in (samples.ADMINISTRATOR, samples.OFFICE_SUPERVISOR):
        assert looked.cases_of(by, "wang") == ["a", "child-1", "child-2"]
        assert looked.cases_of(by, "li") == []
    for by in (samples.SUPERVISOR, samples.SHIFT_LEAD, samples.RESIDENT, Actor("nobody", ())):
        with pytest.raises(Refused) as refused:
            looked.cases_of(by, "wang")
        assert refused.value.code == "query.not_permitted"
