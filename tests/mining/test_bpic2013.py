"""What process-mining tools make of our exports, against the file that the cases came from."""

from datetime import UTC, datetime
from pathlib import Path

from psycopg_pool import ConnectionPool

from infra.event_store import EventStore
from infra.importers import import_file
from infra.importers.bpic2013 import Bpic2013
from infra.installation import seed
from infra.log_export import FORMS, Chosen, export
from infra.log_source import LogSource
from projections.runner import Runner
from tests.files import real
from tests.mining.conftest import Mining

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_pm4py_finds_the_original_in_both_exports(
    mining: Mining, store: EventStore, pool: ConnectionPool, runner: Runner, folder: Path
) -> None:
    """W. Steeman, BPI Challenge 2013, DOI 10.4121/uuid:500573e6-accc-4b0c-9576-aa5468b10cee.

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
    original = mining("original", path)
    seed(store, NOW)
    import_file(Bpic2013(), path, folder / "report.csv", store, pool, NOW)
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
    for found in exports.values():
        assert found() == figures
