"""A real log of 7,554 cases: our figures of it, and what pm4py makes of our exports of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg_pool import ConnectionPool

from domain.metrics import Ratio
from infra.event_store import EventStore
from infra.importers import import_file
from infra.importers.bpic2013 import Bpic2013
from infra.installation import seed
from infra.log_export import FORMS, Chosen, export
from infra.log_source import LogSource
from projections.gateway import Gateway
from projections.runner import Runner
from tests.files import real
from tests.infra.test_importers import rates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_figures_are_right_and_pm4py_finds_the_original_in_both_exports(
    store: EventStore,
    pool: ConnectionPool,
    runner: Runner,
    gateway: Gateway,
    folder: Path,
    request: pytest.FixtureRequest,
) -> None:
    """W. Steeman, BPI Challenge 2013, DOI 10.4121/uuid:500573e6-accc-4b0c-9576-aa5468b10cee.

    The file is imported once for both. Where pm4py cannot be fetched the figures are still found.

    pm4py reads the original, our XES and our OCEL 2.0 (flattened by case). One row of the original
    is one or more events of ours, which name it as their causation; the last of them stands for it.
    Equal are, each as pm4py counts them:

    - the cases: 7,554 traces there, cases here;
    - the events: 65,533 there, different rows named here;
    - the variants by tier: every sequence of lines of support (1, 2 or 3, by ``org:group``) that is
      a case there is as often a case's sequence of tiers here.

    Our events outnumber the rows, for a row implies steps that the old system did not have; so the
    number of events as such, and the names of activities, are not compared.
    """
    path = real("bpic2013_incidents.xes.gz")
    seed(store, NOW)
    done = import_file(Bpic2013(), path, folder / "report.csv", store, pool, NOW)
    assert (done.cases, done.added, done.bad) == (7_554, 7_554, 0)
    asked = [each for each in runner.projections if each.name in ("flow", "containment")]
    Runner(runner.source, runner.connect, asked).catch_up()
    flow = rates(gateway, "flow")
    reached = ("grid", "community", "subdistrict", "district")
    assert [flow[f"reached_{tier}"].numerator for tier in reached] == [4_546, 2_468, 540, 0]
    assert flow["escalated"] == Ratio(numerator=2_299, denominator=7_554)
    assert flow["returned"] == Ratio(numerator=1_172, denominator=7_554)
    assert flow["return_rate"] == Ratio(numerator=1_755, denominator=3_245)
    assert (flow["ping_pong"].numerator, flow["reopened"].numerator) == (358, 386)
    found = rates(gateway, "containment")
    assert found["grid_all"] == Ratio(numerator=4_541, denominator=7_546)
    assert found["grid_small"] == Ratio(numerator=4_499, denominator=7_284)
    assert found["community_all"] == Ratio(numerator=7_008, denominator=7_546)
    again = import_file(Bpic2013(), path, folder / "report.csv", store, pool, NOW)
    assert (again.cases, again.events) == (7_554, 0)

    mining = request.getfixturevalue("mining")
    original = mining("original", path)
    with pool.connection() as connection:
        events = connection.execute(
            "SELECT count(*) FROM log.event WHERE name ^@ 'case.'"
        ).fetchone()
    assert isinstance(runner.source, LogSource)
    exports = {}
    for form in FORMS:
        chosen = Chosen(position=runner.source.head())
        written = export(FORMS[form], folder / form, runner.source, chosen)
        assert (written.cases, written.events) == (7_554, *(events or ()))
        exports[form] = mining(form, folder / form)
    figures = original()
    assert (figures["cases"], figures["steps"]) == (7_554, 65_533)
    for answer in exports.values():
        assert answer() == figures
