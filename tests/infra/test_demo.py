"""The sample district: made by the rules, the same from the same seed, with a bit of everything."""

from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from api.passwords import StoredPasswords
from domain.calendar import OFFICE_TIME
from domain.places import Tier
from domain.roles import Role
from infra import demo
from infra.codec import NAMES
from infra.event_store import EventStore
from infra.installation import seed
from projections.conditions import CaseFilter
from projections.gateway import Gateway
from projections.runner import Runner

NOW = datetime(2026, 6, 1, 10, tzinfo=UTC)


@pytest.fixture
def office(store: EventStore) -> EventStore:
    """A log with the catalogue and the calendar."""
    seed(store, NOW)
    return store


def events(pool: ConnectionPool) -> list[tuple[Any, ...]]:
    """All of the log but when it was written."""
    with pool.connection() as connection:
        return connection.execute(
            "SELECT position, stream, version, name, at, actor, data FROM log.event"
            " ORDER BY position"
        ).fetchall()


def test_a_year_of_casework_with_a_bit_of_everything(
    office: EventStore, pool: ConnectionPool, runner: Runner, gateway: Gateway
) -> None:
    assert not demo.is_loaded(office)
    assert demo.load(office, NOW, cases=1_500) == 0
    assert demo.is_loaded(office)

    rows = events(pool)
    names = {name for _, _, _, name, *_ in rows}
    unused = {name for name in NAMES if name.startswith("case.")} - names
    # Nothing is imported, no calendar is published while the year goes by, and nothing happens by
    # itself: the process of deadlines is not there.
    by_others = {"case.due_reminded", "case.reopening_ended"}
    assert unused == by_others | {
        "case.rule_waived",
        "case.due_recomputed",
        "case.child_reopened",
    }
    cases = [(at, data) for _, stream, _, _, at, _, data in rows if stream.startswith("case:")]
    assert max(at for at, _ in cases) <= NOW
    assert [at for at, _ in cases] == sorted(at for at, _ in cases)

    tree = office.office().territory
    assert [len(tree.grids(path, NOW.date())) for path in (demo.DISTRICT, demo.SUBDISTRICT)] == [
        48,
        48,
    ]
    assert len(tree.children(demo.SUBDISTRICT)) == 6
    assert len(tree.workers(demo.DISTRICT, NOW.date())) == 48
    assert all(node.count for node in tree.grids(demo.DISTRICT, NOW.date()))

    runner.catch_up()
    staff = office.office().staff
    lead = gateway.worklist(staff.actor("shift-lead"), CaseFilter(), limit=200)
    assert len(lead.rows) == 200
    open_ = CaseFilter(states=("assigned", "in_progress", "parked", "resolved"))
    assert gateway.worklist(staff.actor("supervisor"), open_).rows
    assert {row.tier for row in lead.rows} >= {Tier.GRID, Tier.COMMUNITY}


def test_the_same_seed_gives_the_same_district(
    office: EventStore, pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "GRIDS", 2)
    stored: list[list[tuple[Any, ...]]] = []
    for _ in range(2):
        sample = demo._Sample(office, NOW, 60)
        sample.set_up()
        sample.live(lambda *_: None)
        stored.append([(e.stream, e.event) for e in sample.batch.decided])
    assert stored[0] == stored[1]


@pytest.mark.parametrize("hour", [3, 9, 22])
def test_every_desk_has_work_at_any_hour(
    office: EventStore, runner: Runner, gateway: Gateway, hour: int
) -> None:
    demo.load(office, NOW.astimezone(OFFICE_TIME).replace(hour=hour), cases=1)
    runner.catch_up()
    supervisor = office.office().staff.actor("supervisor")
    for state in ("reported", "filed", "assigned", "in_progress", "parked", "resolved", "merged"):
        assert gateway.worklist(supervisor, CaseFilter(states=(state,))).rows, state


def test_every_role_of_people_can_sign_in(office: EventStore, pool: ConnectionPool) -> None:
    demo.load(office, NOW, cases=1)
    accounts = demo.let_in(pool)
    staff = office.office().staff
    roles = {grant.role for each in accounts for grant in staff.user(each.username).grants}
    assert roles == set(Role) - {Role.SYSTEM, Role.IMPORTER}
    passwords = StoredPasswords(pool)
    for each in (accounts[0], accounts[-1]):
        assert passwords.verify(each.username, each.password)
    passwords.set(accounts[0].username, "another one")
    demo.let_in(pool)  # a second start keeps what was changed
    assert passwords.verify(accounts[0].username, "another one")
