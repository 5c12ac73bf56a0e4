"""Reports over the API: what stands on them, for whom, and that they stay as they were."""

import csv
import io
from typing import Any

import httpx
import pytest

from api.services import API
from tests import samples
from tests.api.conftest import Served
from tests.files import demand_printer

DAY = str(samples.START.date())


def fetch(
    served: Served, path: str, by: str = "supervisor", /, *, held: str = "", **query: Any
) -> httpx.Response:
    """A report as somebody gets it."""
    headers = {"Authorization": f"Bearer {served.token(by)}"}
    if held:
        headers["If-None-Match"] = held
    asked = {"day": DAY, "format": "csv"} | query
    response: httpx.Response = served.client.get(
        f"{API}/reports/{path}",
        params={name: value for name, value in asked.items() if value is not None},
        headers=headers,
    )
    return response


def rows(response: httpx.Response) -> list[list[str]]:
    """The rows of a report as CSV."""
    assert response.status_code == 200, response.text
    return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


@pytest.fixture
def worked(served: Served) -> Served:
    """Two cases in hand, one of them up at the community, and one in another community."""
    served.in_hand()
    up = served.in_hand()
    served.as_("li").post(f"/cases/{up}/escalate", {"reason": "safety", "note": "王女士急"})
    served.report(samples.OTHER_GRID, "other_worker", category="dirty_road")
    served.runner.catch_up()
    served.clock.pass_(days=1)  # the day is over
    return served


def test_a_daily_report_says_what_happened(worked: Served) -> None:
    response = fetch(worked, f"daily/{samples.SUBDISTRICT}")
    found = rows(response)
    assert found[0] == ["春风街道社区治理日报", "Daily report of 春风街道"]
    assert ["属地 Territory", "示范区 / 春风街道（d1/s1/）"] in found
    assert ["本期 Period", f"{DAY} 00:00 — 2026-03-03 00:00"] in found
    assert ["立案 Filed", "3", "0", "+3"] in found
    assert ["上报上级（件） Went up", "1", "0", "+1"] in found
    assert ["在办 Open", "3", "–", "–"] in found
    assert ["网格员巡查 grid worker's patrol", "3", "0", "+3"] in found
    # Side by side what lies directly below, and each grid.
    found = [row for row in found if row]
    assert [row[:3] for row in found if row[0] in ("和平社区", "幸福社区")] == [
        ["和平社区", "2", "0"],
        ["幸福社区", "1", "0"],
    ]
    # Each community may have a grid of that name.
    assert ["和平社区 / 第一网格", "2", "2"] in [row[:3] for row in found]
    position = response.headers["X-Wangge-Position"]
    assert ["日志位置 Log position", position] in found
    assert ["时点 Moment", response.headers["X-Wangge-As-Of"]] in found
    assert response.headers["Content-Disposition"].startswith(
        f'attachment; filename="daily-d1-s1-{DAY}.csv"'
    )
    # By now the three of them are overdue.
    late = found.index(["超期未结 Open and overdue"])
    listed = [row[1] for row in found[late + 2 : late + 5] if row[0].startswith("2026")]
    assert sorted(listed) == ["和平社区 / 第一网格"] * 2 + ["幸福社区 / 第三网格"]
    assert "王女士" not in response.text
    assert "垃圾" not in "".join(row[0] for row in found[late:])


def test_a_grid_reports_of_itself(worked: Served) -> None:
    found = rows(fetch(worked, f"weekly/{samples.OTHER_GRID}"))
    assert found[0][0] == "第三网格社区治理周报"
    assert ["第三网格", "1"] in [row[:2] for row in found]
    # A week that is not over is reported as far as it has come.
    assert ["本期 Period", f"{DAY} 00:00 — 2026-03-03 09:00"] in found
    assert ["上期 Before", "2026-02-23 00:00 — 2026-02-24 09:00"] in found
    assert ["立案 Filed", "1", "0", "+1"] in found
    assert ["下级属地 Territories below"] not in found


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf"])
def test_a_moment_is_reported_the_same_for_ever(worked: Served, form: str) -> None:
    if form == "pdf":
        demand_printer()
    path = f"monthly/{samples.COMMUNITY}"
    first = fetch(worked, path, format=form)
    assert first.status_code == 200, first.text
    moment, position = (first.headers[f"X-Wangge-{name}"] for name in ("As-Of", "Position"))
    at_position = fetch(worked, path, format=form, position=position)
    for case in (worked.in_hand(), worked.in_hand()):
        worked.as_("li").post(f"/cases/{case}/escalate", {"reason": "safety"})
    worked.runner.catch_up()
    worked.clock.pass_(days=40)

    again = fetch(worked, path, format=form, position=moment)
    assert again.content == first.content
    assert again.headers["ETag"] == first.headers["ETag"]
    held = fetch(worked, path, format=form, position=moment, held=first.headers["ETag"])
    assert (held.status_code, held.content) == (304, b"")
    # A position alone is the time at which the log took it.
    assert fetch(worked, path, format=form, position=position).content == at_position.content
    now = fetch(worked, path, format=form)
    assert now.content != first.content
    assert now.headers["ETag"] != first.headers["ETag"]


def test_a_period_that_is_over_ends_at_its_end_though_nothing_happened_since(
    served: Served,
) -> None:
    case = served.report(category="missing_manhole_cover")  # to be contacted within two hours
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
    served.runner.catch_up()
    served.clock.pass_(days=3)
    found = rows(fetch(served, f"daily/{samples.GRID}"))
    assert ["本期 Period", f"{DAY} 00:00 — 2026-03-03 00:00"] in found
    assert ["截至 As of", "2026-03-05 09:00"] in found
    # That the limit passed is no event of the log.
    response = next(row for row in found if row and row[0].startswith("响应率"))
    assert response[1:4] == ["0", "1", "0.00%"]
    metric = served.as_("supervisor").get(
        "/metrics/response",
        territory=samples.GRID,
        since=f"{DAY}T00:00:00+08:00",
        until="2026-03-03T00:00:00+08:00",
    )
    assert metric["figures"]["response_rate"]["denominator"] == 1


def test_a_quiet_day_has_a_report(worked: Served) -> None:
    worked.clock.pass_(days=7)
    for query in ({"day": "2026-03-08"}, {"day": None}):
        found = rows(fetch(worked, f"daily/{samples.SUBDISTRICT}", **query))
        (period,) = (row[1] for row in found if row and row[0].startswith("本期"))
        day = query["day"] or "2026-03-09"
        assert period.startswith(f"{day} 00:00 — 2026-03-{int(day[-2:]) + 1:02} 00:00")
        assert ["立案 Filed", "0", "0", "0"] in found
        assert ["在办 Open", "3", "–", "–"] in found


def test_without_a_day_it_is_about_the_last_period_that_is_over(worked: Served) -> None:
    path = f"daily/{samples.GRID}"
    response = fetch(worked, path, day=None)
    assert ["本期 Period", f"{DAY} 00:00 — 2026-03-03 00:00"] in rows(response)
    worked.clock.pass_(days=9)
    then = response.headers["X-Wangge-As-Of"]
    assert fetch(worked, path, day=None, position=then).content == response.content


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("yearly/d1/s1/", {}, 422, "request.invalid"),
        ("daily/d1/s1", {}, 422, "request.invalid"),
        ("daily/d1/s1/", {"format": "docx"}, 422, "request.invalid"),
        ("daily/d1/s1/", {"day": "2026-02-30"}, 422, "request.invalid"),
        ("daily/d1/s1/", {"day": "2999-01-01"}, 422, "report.not_begun"),
        ("daily/d1/s1/", {"position": 10**9}, 422, "request.position_ahead"),
        ("daily/d1/s1/", {"position": "yesterday"}, 422, "request.invalid"),
        ("daily/d1/s9/", {}, 404, "territory.unknown"),
        ("daily/d2/", {}, 403, "query.not_permitted"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    served: Served, path: str, query: dict[str, Any], status: int, code: str
) -> None:
    served.runner.catch_up()
    response = fetch(served, path, **query)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_nobody_reads_of_another_territory(worked: Served) -> None:
    assert fetch(worked, f"daily/{samples.COMMUNITY}", "coordinator").status_code == 200
    for path in (samples.OTHER_COMMUNITY, samples.SUBDISTRICT):
        refused = fetch(worked, f"daily/{path}", "coordinator")
        assert refused.json()["code"] == "query.not_permitted"
    assert fetch(worked, f"daily/{samples.GRID}", "li").status_code == 403
