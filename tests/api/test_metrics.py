"""Figures over HTTP: with what they are made of, the cases behind them, and any past."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests import samples
from tests.api.conftest import Served


def closed(served: Served) -> int:
    """A case that was settled in its grid; the position of its closing."""
    case = served.in_hand()
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["照片"]})
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    done = served.as_("shift_lead").post(f"/cases/{case}/close", {"outcome": "resolved"})
    position: int = done["position"]
    return position


def test_figures_come_with_what_they_are_made_of(served: Served) -> None:
    position = closed(served)
    served.runner.catch_up()
    lead = served.as_("shift_lead")
    answer = lead.get("/metrics/containment", position=position, since="2026-03-01T00:00:00+08:00")
    figure = answer["figures"]["grid_small"]
    assert (figure["numerator"], figure["denominator"], figure["value"]) == (1, 1, 1.0)
    assert figure["excluded"] == {"void": 0, "merged": 0, "mandated_up": 0}
    assert figure["before"] == {"numerator": 0, "denominator": 0, "value": None}
    assert answer["position"] >= position
    assert answer["before"]["until"] == answer["window"]["since"]
    empty = lead.get("/metrics/containment", until="2026-01-01T00:00:00+08:00")["figures"]
    assert (empty["grid_small"]["denominator"], empty["grid_small"]["value"]) == (0, None)
    by_grid = lead.get("/metrics/timeliness", by="territory")["groups"]
    assert by_grid[0]["figures"]["on_time_rate"]["numerator"] == 1
    caseload = lead.get("/metrics/caseload", territory=samples.COMMUNITY)
    assert [grid["cases"] for grid in caseload["grids"]] == [1, 0]
    backlog = lead.get("/metrics/backlog")
    assert backlog["calendar"]["count"] == backlog["running"]["count"] == 0
    assert lead.get("/metrics/containment", 403, territory=samples.OTHER_DISTRICT)["code"] == (
        "query.not_permitted"
    )


def test_every_figure_is_defined_in_both_languages(served: Served) -> None:
    served.runner.catch_up()
    lead = served.as_("shift_lead")
    defined = {(row["metric"], row["figure"]): row for row in lead.get("/metrics")["rows"]}
    for metric in {metric for metric, _ in defined}:
        for name, figure in lead.get(f"/metrics/{metric}")["figures"].items():
            row = defined[metric, name]
            assert all(row[words] for words in ("zh", "en", "formula_zh", "formula_en"))
            assert [each["reason"] for each in row["excluded"]] == list(figure["excluded"])


def test_the_links_list_the_cases_as_they_stood(served: Served) -> None:
    for _ in range(3):
        closed(served)
    served.runner.catch_up()
    lead = served.as_("shift_lead")
    answer = lead.get("/metrics/containment", size="small")
    links = answer["figures"]["grid_small"]["cases"]
    closed(served)
    served.runner.catch_up()
    assert lead.get("/metrics/containment")["figures"]["grid_small"]["denominator"] == 4

    def listed(link: str) -> list[dict[str, Any]]:
        path, _, query = link.removeprefix("/api/v1").partition("?")
        rows: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = lead.get(path, limit=2, **dict(parse_qsl(query)), **after)
            rows += page["rows"]
            if page["next"] is None:
                return rows
            after = {"after": page["next"]}

    assert len(listed(links["denominator"])) == 3
    assert {row["case"] for row in listed(links["numerator"])} == {
        row["case"] for row in listed(links["denominator"])
    }
    assert listed(links["excluded"]) == []
    # And the answer itself can be had again.
    again = lead.get("/metrics/containment", size="small", as_of=answer["as_of"])
    assert again == answer


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("containment/luck/cases", {}, 404, "query.no_such_figure"),
        ("containment/grid_small/cases", {"part": "excluded", "reason": "luck"}, 422,
         "query.no_such_reason"),
        ("containment/grid_small/cases", {"part": "numerator", "reason": "luck"}, 422,
         "query.no_such_reason"),
        ("containment/grid_small/cases", {"after": "AAAA"}, 422, "request.bad_cursor"),
        ("luck", {}, 422, "request.invalid"),
        ("containment", {"as_of": "yesterday"}, 422, "request.invalid"),
        ("containment", {"as_of": "1@2026-02-31T00:00:00Z"}, 422, "request.invalid"),
        ("containment", {"as_of": "999999"}, 422, "request.position_ahead"),
        ("containment", {"by": "luck"}, 422, "request.invalid"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_named(
    served: Served, path: str, query: dict[str, str], status: int, code: str
) -> None:
    closed(served)
    served.runner.catch_up()
    problem = served.as_("shift_lead").get(f"/metrics/{path}", status, **query)
    assert problem["code"] == code
