"""Reports, put together from the figures of a log: that what stands on them agrees."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from domain import territory
from domain.places import Tier
from domain.reports import Period, Report
from domain.words import Word
from infra.event_store import EventStore
from projections.catalog import FIGURES
from projections.daily import summed
from projections.gateway import Gateway
from projections.metrics import METRICS
from projections.past import Moment
from projections.reports import Asked, report
from projections.runner import Runner
from tests import samples
from tests.domain.schedules import local
from tests.projections.test_metrics import LATER, STRETCH, ask, finish, pair, supervisor

BELOW = "Territories below"


@pytest.fixture
def runner(runner: Runner) -> Runner:
    """Of the read models that metrics ask, and no others."""
    runner.projections = tuple(summed(each, METRICS.values(), STRETCH) for each in FIGURES)
    return runner


@pytest.fixture
def places(store: EventStore) -> None:
    """The territories that cases lie in."""
    for tier, path, parent in (
        (Tier.DISTRICT, "d1", ""),
        (Tier.SUBDISTRICT, "s1", "d1/"),
        (Tier.COMMUNITY, "c1", "d1/s1/"),
        (Tier.GRID, "g1", samples.COMMUNITY),
    ):
        store.execute(
            territory.CreateTerritory(
                by=samples.ADMINISTRATOR,
                at=samples.START,
                id=path,
                tier=tier,
                parent=parent,
                name=path,
                effective=date(2026, 1, 1),
            )
        )


def settled(store: EventStore, case: str, at: datetime, **file: Any) -> None:
    """A case that is closed within the hour."""
    filed = replace(samples.file(case=case, at=at), **file)
    store.execute(samples.report(case=case, at=at), filed, samples.dispatch(case=case, at=at))
    finish(store, case, at)


def made(store: EventStore, gateway: Gateway, day: date, path: str = "d1/") -> Report:
    """A monthly report, asked for long after."""
    position = store.recorder.max_notification_id() or 0
    as_of = Moment(LATER, position)
    asked = Asked(period=Period.MONTHLY, territory=path, day=day, as_of=as_of, now=LATER)
    return report(gateway.figures, supervisor(), asked, store.history)


def table(found: Report, en: str) -> dict[str, tuple[Any, ...]]:
    """The rows of a table, by what stands first in them."""
    (rows,) = (each.rows for each in found.tables if each.word.en == en)
    return {
        first.en if isinstance(first, Word) else str(first): tuple(others)
        for first, *others in rows
    }


@pytest.mark.usefixtures("places")
def test_a_report_and_the_metrics_compare_with_the_same_window(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    settled(store, "early", local("2026-03-02 09:00"))
    settled(store, "last", local("2026-03-31 09:00"))
    settled(store, "april", local("2026-04-15 09:00"))
    runner.catch_up()
    april: dict[str, Any] = {"since": local("2026-04-01 00:00"), "until": local("2026-05-01 00:00")}
    found = made(store, gateway, date(2026, 4, 10))
    # April has 30 days, March 31: what is over is compared with all of what is over.
    assert found.earlier == (local("2026-03-01 00:00"), local("2026-04-01 00:00"))
    assert table(found, "Work")["Closed"] == (1, 2, -1)
    before = ask(gateway, "timeliness", **april)["closure_rate"].before
    assert (before.numerator, before.denominator) == (2, 2)
    assert pair(ask(gateway, "timeliness", **april), "closure_rate") == (1, 1)
    # While April runs, with as much of March.
    now = local("2026-04-20 12:00")
    before = ask(gateway, "timeliness", now=now, **april)["closure_rate"].before
    assert (before.numerator, before.denominator) == (1, 1)
    # Any other window, with one as long just before.
    chosen: dict[str, Any] = {
        "since": local("2026-04-01 00:00"),
        "until": local("2026-04-03 00:00"),
    }
    before = ask(gateway, "timeliness", **chosen)["closure_rate"].before
    assert (before.numerator, before.denominator) == (1, 1)


@pytest.mark.usefixtures("places")
def test_what_was_closed_is_the_same_number_on_the_whole_and_by_territory(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    morning = local("2026-03-02 09:00")
    settled(store, "limited", morning)
    settled(store, "endless", morning, terms=samples.ENDLESS)
    runner.catch_up()
    found = made(store, gateway, date(2026, 3, 2))
    (heading,) = (each.columns for each in found.tables if each.word.en == BELOW)
    column = [each.word.en for each in heading].index("closed") - 1
    below = table(found, BELOW)
    assert table(found, "Work")["Closed"][0] == 2
    assert sum(row[column] for row in below.values()) == 2


@pytest.mark.usefixtures("places")
def test_a_grid_that_ended_stands_on_the_report_as_such(
    store: EventStore, runner: Runner, gateway: Gateway
) -> None:
    settled(store, "march", local("2026-03-02 09:00"))
    parts = (
        territory.Part(id="g8", name="g8", households=100, residents=300),
        territory.Part(id="g9", name="g9", households=200, residents=500),
    )
    store.execute(
        territory.SplitGrid(
            by=samples.ADMINISTRATOR,
            at=samples.START,
            path=samples.GRID,
            into=parts,
            effective=date(2026, 4, 2),
        )
    )
    settled(store, "april", local("2026-04-01 09:00"))
    runner.catch_up()
    for month, name in ((3, "g1"), (4, "g1, ended")):
        below = table(made(store, gateway, date(2026, month, 2), path=samples.COMMUNITY), BELOW)
        assert list(below) == [name]
        assert below[name][:2] == (1, 1)
