"""What will happen by itself, as its list over the API shows it."""

from datetime import timedelta

from tests import samples as s
from tests.api.conftest import Served


def test_what_waits_is_listed_by_its_time_page_by_page(served: Served) -> None:
    cases = [served.report(category=kind) for kind in ("noise", "muck", "exposed_garbage")]
    closed = served.in_hand()
    for step, by, body in (
        ("resolve", "li", {"evidence": ["照片"]}),
        ("check", "supervisor", {"passed": True}),
        ("close", "shift_lead", {"outcome": "resolved"}),
    ):
        served.as_(by).post(f"/cases/{closed}/{step}", body)
    served.runner.catch_up()
    coordinator = served.as_("coordinator")
    whole = coordinator.get("/deadlines")["rows"]
    kinds = {(row["case"], row["kind"]) for row in whole}
    assert kinds == {(case, kind) for case in cases for kind in ("breach", "reminder")} | {
        (closed, "reopening_end")
    }
    assert [row["at"] for row in whole] == sorted(row["at"] for row in whole)
    first = next(row for row in whole if row["kind"] == "breach")
    assert (first["zh"], first["en"]) == ("超期上报", "breach of the due")
    assert first["at"] == first["due"]
    found, after = [], None
    while True:
        page = coordinator.get("/deadlines", limit=2, **({"after": after} if after else {}))
        found += page["rows"]
        after = page["next"]
        if after is None:
            break
    assert found == whole
    breaches = coordinator.get("/deadlines", kind="breach", territory=s.GRID)["rows"]
    assert {row["case"] for row in breaches} == set(cases)


def test_a_forged_cursor_is_refused(served: Served) -> None:
    worklist = served.as_("coordinator").get("/cases", limit=1)
    for after in ("bm90aGluZw==", worklist["next"] or "AAAA"):
        no = served.as_("coordinator").get("/deadlines", 422, after=after)
        assert no["code"] == "request.bad_cursor"


def test_the_office_sets_how_long_ahead_it_reminds(served: Served) -> None:
    administrator = served.as_("administrator")
    assert administrator.get("/catalogue")["reminder_hours"] == 24
    administrator.post("/catalogue/reminder", {"hours": 0})
    assert administrator.get("/catalogue")["reminder_hours"] == 0
    served.report(category="noise")
    served.runner.catch_up()
    rows = served.as_("coordinator").get("/deadlines")["rows"]
    assert {row["kind"] for row in rows} == {"breach"}
    administrator.post("/catalogue/reminder", {"hours": 721}, 422)


def test_health_says_how_late_it_is(served: Served) -> None:
    served.report(category="missing_manhole_cover")
    served.runner.catch_up()
    assert served.nobody.get("/health")["deadlines"] == {"late": 0.0, "failing": 0}
    served.clock.pass_(hours=5)
    late = served.nobody.get("/health")["deadlines"]["late"]
    assert late == timedelta(hours=3).total_seconds()
