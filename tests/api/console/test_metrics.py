"""The metrics at the console: every part of the page, the cases behind a figure, any past."""

import html
import re
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.auth import CONSOLE
from api.console.metrics import _DEFINITIONS, _PARTS, Shown
from api.console.pages import fixed, percent
from api.schemas.metrics import RatioAnswer
from domain import territory
from domain.places import Tier
from tests import samples
from tests.api.conftest import Served


def page(served: Served, person: str, path: str, language: str = "zh") -> httpx.Response:
    """A page of the console as somebody sees it."""
    headers = {"Authorization": f"Bearer {served.token(person)}", "Accept": "text/html"}
    headers["Cookie"] = f"wangge_lang={language}"
    answer: httpx.Response = served.client.get(CONSOLE + path, headers=headers)
    return answer


def texts(answer: httpx.Response) -> str:
    """What stands on a page, without its markup."""
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def test_the_frame_names_what_is_counted_and_where_each_part_is(served: Served) -> None:
    answer = page(served, "supervisor", "/metrics")
    assert "<h1>指标</h1>" in answer.text
    for part in _PARTS:
        assert f'hx-get="{CONSOLE}/metrics/parts/{part}?' in answer.text
    assert "/api/v1/reports/monthly/" in answer.text


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_part_says_its_position_in_both_languages(
    shared: Served, part: str, language: str
) -> None:
    shared.in_hand()
    shared.runner.catch_up()
    answer = page(shared, "supervisor", f"/metrics/parts/{part}?window=year", language)
    assert ("日志位置" if language == "zh" else "Log position") in texts(answer)
    if language == "en":
        outside = re.sub(r'<span lang="zh-CN">[^<]*</span>', "", answer.text)
        assert not re.search(r"[一-鿿]", re.sub(r'data-label="[^"]*"', "", outside))


@pytest.mark.parametrize(("step", "rows"), [("week", 26), ("month", 12)])
def test_a_trend_says_of_each_period_what_was_said_of_it_alone(
    served: Served, step: str, rows: int
) -> None:
    served.in_hand()  # due on that day, never done
    served.clock.now = datetime.fromisoformat("2026-05-13T09:00:00+08:00")
    served.runner.catch_up()
    answer = page(served, "supervisor", f"/metrics/parts/trend?step={step}")
    first = [row.partition("</td>")[0] for row in answer.text.split('<th scope="row"')[1:]]
    assert len(first) == rows
    owed = [int(n) for row in first for n in re.findall(r"0/(\d+)<", row)]
    passed = 11 if step == "week" else 3  # it is owed at the end of each, until it is done
    assert owed == [0] * (rows - passed) + [1] * passed


def test_behind_a_figure_are_exactly_the_cases_that_it_counts(served: Served) -> None:
    cases = {served.in_hand() for _ in range(3)}
    served.runner.catch_up()
    part = page(served, "supervisor", "/metrics/parts/flow")
    (figure,) = re.findall(
        r'href="([^"]*/flow/reached_grid/cases\?part=numerator[^"]*)"', part.text
    )
    path = figure.replace("&amp;", "&").removeprefix(CONSOLE) + "&limit=2"
    first = page(served, "supervisor", path)
    assert 'data-total="3"' in first.text
    (following,) = re.findall(r'href="([^"]*after=[^"]*)"', first.text)
    second = page(served, "supervisor", following.replace("&amp;", "&").removeprefix(CONSOLE))
    found = re.findall(rf"{CONSOLE}/cases/([\w-]+)", first.text + second.text)
    assert sorted(found) == sorted(cases)


def test_a_list_behind_a_figure_stays_as_it_was_counted(served: Served) -> None:
    served.in_hand()
    served.runner.catch_up()
    part = page(served, "supervisor", "/metrics/parts/flow")
    (figure,) = re.findall(
        r'href="([^"]*/flow/reached_grid/cases\?part=numerator[^"]*)"', part.text
    )
    served.in_hand()
    served.runner.catch_up()
    then = page(served, "supervisor", figure.replace("&amp;", "&").removeprefix(CONSOLE))
    assert 'data-total="1"' in then.text


def test_the_past_is_marked_as_read_only_and_pins_every_part(served: Served) -> None:
    served.in_hand()
    served.runner.catch_up()
    position = head(served)
    served.in_hand()
    served.runner.catch_up()
    # The log says when it took a position by the real clock, which is not that of the tests.
    answer = page(served, "supervisor", f"/metrics?window=custom&as_of={position}")
    assert "历史时点，只读" in texts(answer)
    assert f"as_of={position}%40" in answer.text
    (path,) = re.findall(r'hx-get="([^"]*/parts/flow[^"]*)"', answer.text)
    part = page(served, "supervisor", path.replace("&amp;", "&").removeprefix(CONSOLE))
    assert re.findall(r"reached_grid/cases\?part=numerator[^>]*>(\d+)<", part.text) == ["1"]


def test_two_moments_stand_beside_each_other(served: Served) -> None:
    served.in_hand()
    served.runner.catch_up()
    said = texts(page(served, "supervisor", f"/metrics/compare?as_of={head(served)}"))
    assert "甲" in said
    assert "乙" in said
    assert "按期结案率" in said


def test_what_is_left_empty_in_the_form_was_not_asked(served: Served) -> None:
    query = "territory=&window=custom&since=2026-01-01&until=&category=&size=&source=&as_of="
    assert page(served, "supervisor", f"/metrics?{query}").status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"territory={samples.OTHER_COMMUNITY}", 403),
        ("territory=nowhere/", 404),
        ("as_of=yesterday", 422),
        ("as_of=2026-13-45", 422),
        ("window=decade", 422),
    ],
)
def test_what_may_not_or_cannot_be_asked_is_refused(
    shared: Served, query: str, status: int
) -> None:
    assert page(shared, "coordinator", f"/metrics?{query}").status_code == status


def test_a_part_that_does_not_exist_is_not_found(shared: Served) -> None:
    assert page(shared, "supervisor", "/metrics/parts/secret").status_code == 404


def test_without_the_right_to_metrics_there_is_no_page(shared: Served) -> None:
    assert page(shared, "li", "/metrics").status_code == 403


def head(served: Served) -> int:
    """The last position of the log."""
    found: Any = served.app.state.services.gateway.head()
    return int(found)


def test_all_tiers_have_a_step_of_the_funnel(shared: Served) -> None:
    answer = page(shared, "supervisor", "/metrics/parts/containment")
    assert answer.text.count('class="track"') == len(Tier)


@pytest.mark.parametrize("shade", ["open", "overdue", "grid_small", "on_time"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_each_grid_of_the_heat_map_leads_to_exactly_its_cases(
    shared: Served, shade: str, language: str
) -> None:
    shared.in_hand()
    shared.runner.catch_up()
    part = page(shared, "supervisor", f"/metrics/parts/grids?window=year&shade={shade}", language)
    assert part.status_code == 200
    table = part.text.partition("<table")[2]
    links = re.findall(r'<a href="/console(/metrics/[^"]+)">(\d+)</a>', table)
    for link, count in links:
        listed = page(shared, "supervisor", html.unescape(link), language)
        assert f'data-total="{count}"' in listed.text
    # What the table says, the map shades: each grid with a case is a way to its cases there too.
    drawn = part.text.partition("<table")[0]
    assert drawn.count('<a href="/console/metrics/') <= len(links)
    assert links or shade in ("overdue", "on_time", "grid_small")


@pytest.mark.parametrize(
    ("window", "earlier", "today"),
    [
        ("week", "2026-06-29", "2026-07-08"),
        ("month", "2026-06-01", "2026-07-08"),
        ("quarter", "2026-04-01", "2026-07-08"),
        ("year", "2026-03-02", "2027-03-08"),
    ],
)
def test_a_period_is_compared_with_the_beginning_of_the_one_before(
    served: Served, window: str, earlier: str, today: str
) -> None:
    """Not with its last days, as far back as this one has come."""
    for day in (earlier, today):
        served.clock.now = datetime.fromisoformat(f"{day}T09:00:00+08:00")
        served.in_hand()
    served.clock.pass_(minutes=30)
    served.runner.catch_up()
    part = page(served, "supervisor", f"/metrics/parts/quality?window={window}").text
    figure = part.partition('data-figure="response.dispatch_accuracy"')[2].partition("<details")[0]
    assert "与上期持平" in figure
    # The frame says as far as the window has come.
    assert "月8日 09:30" in texts(page(served, "supervisor", f"/metrics?window={window}"))


def test_a_moment_at_the_end_of_a_month_shows_that_month(served: Served) -> None:
    served.clock.now = datetime.fromisoformat("2026-07-08T09:00:00+08:00")
    said = texts(page(served, "supervisor", "/metrics?window=month&as_of=2026-06-30"))
    assert "6月1日 00:00 – 7月1日 00:00" in said


def test_the_reports_of_a_past_are_of_the_very_moment_that_is_shown(served: Served) -> None:
    served.in_hand()
    served.runner.catch_up()
    served.clock.pass_(days=9)
    for at in ("2026-03-03T00:00", "2026-03-04T11:30"):
        as_of = quote(f"{head(served)}@{at}:00+08:00")
        answer = page(served, "supervisor", f"/metrics?window=month&as_of={as_of}")
        links = re.findall(r'href="(/api/v1/reports/[^"]+format=csv[^"]*)"', answer.text)
        assert len(links) == 3
        for link in map(html.unescape, links):
            headers = {"Authorization": f"Bearer {served.token('supervisor')}"}
            report = served.client.get(link, headers=headers)
            assert report.status_code == 200, report.text
            (pinned,) = re.findall(r'name="as_of" value="(\d+@[^"]+)"', answer.text)
            assert report.headers["X-Wangge-As-Of"] == html.unescape(pinned)


def closed(served: Served, territory_: str) -> None:
    """A case of a territory that was closed there."""
    body = {"territory": territory_, "description": "楼下堆着垃圾"}
    case = served.as_("acceptor").post("/cases", body, expect=201)["case"]
    served.as_("acceptor").post(f"/cases/{case}/file", {"category": "exposed_garbage"})
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
    handler = "community_handler" if territory_ == samples.COMMUNITY else "grid_handler"
    served.as_(handler).post(f"/cases/{case}/accept")
    served.as_(handler).post(f"/cases/{case}/resolve", {"evidence": ["已清理"]})
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    served.as_("shift_lead").post(f"/cases/{case}/close", {"outcome": "resolved"})


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_rows_of_the_territories_add_up_though_a_grid_has_ended(
    served: Served, language: str
) -> None:
    for path in (samples.GRID, samples.GRID, samples.COMMUNITY):
        closed(served, path)
    served.store.execute(
        territory.SplitGrid(
            by=samples.ADMINISTRATOR,
            at=served.clock.now,
            path=samples.GRID,
            into=(
                territory.Part(id="g8", name="八", households=100, residents=300),
                territory.Part(id="g9", name="九", households=200, residents=500),
            ),
            effective=date(2026, 3, 4),
        )
    )
    served.clock.pass_(days=5)
    served.runner.catch_up()
    query = f"?territory={samples.COMMUNITY}"
    part = page(served, "supervisor", f"/metrics/parts/territories{query}", language).text
    rows = dict(re.findall(r'<tr data-territory="([^"]+)">(.*?)</tr>', part))
    assert rows.keys() == {
        samples.COMMUNITY,
        samples.GRID,
        samples.SIBLING_GRID,
        f"{samples.COMMUNITY}g8/",
        f"{samples.COMMUNITY}g9/",
    }
    itself, ended = ("本级", "已撤并") if language == "zh" else ("itself", "ended")
    assert [path for path, row in rows.items() if f">{itself}<" in row] == [samples.COMMUNITY]
    assert [path for path, row in rows.items() if f">{ended}<" in row] == [samples.GRID]
    on_time = [re.findall(r'small">(\d+)/(\d+)<', row)[:1] for row in rows.values()]
    made_of = [(int(n), int(of)) for found in on_time for n, of in found]
    figures = served.as_("supervisor").get("/metrics/timeliness", territory=samples.COMMUNITY)
    whole = figures["figures"]["on_time_rate"]
    assert whole["denominator"] == 3
    assert [sum(each) for each in zip(*made_of, strict=True)] == [
        whole["numerator"],
        whole["denominator"],
    ]


def test_of_a_grid_there_is_nothing_below(served: Served) -> None:
    closed(served, samples.GRID)
    served.runner.catch_up()
    part = page(served, "supervisor", f"/metrics/parts/territories?territory={samples.GRID}")
    assert "没有下级属地" in part.text


def test_rates_are_shown_with_halves_up_and_changes_as_they_are_shown() -> None:
    assert percent(0.0625) == "6.3 %"  # 6.25
    assert percent(0.125, 0) == "13 %"
    assert percent(None) == "—"
    assert fixed(0.0625, 3) == "0.063"
    assert fixed(None, 3) == "—"
    before = RatioAnswer(numerator=1, denominator=10, value=0.1)
    figure = Shown(
        metric="timeliness",
        name="on_time_rate",
        zh="按期结案率",
        en="On-time closure",
        value=0.1005,
        numerator=201,
        denominator=2000,
        excluded=(),
        before=before,
        links={},
        definition=_DEFINITIONS["timeliness", "on_time_rate"],
    )
    assert str(figure.change) == "0.100"  # 0.05 points
    assert replace(figure, numerator=200, value=0.1).change == 0
    assert replace(figure, before=None).change is None


def test_a_reason_that_a_figure_does_not_know_is_said_whatever_part_is_asked_for(
    served: Served,
) -> None:
    served.runner.catch_up()
    for part in ("numerator", "denominator", "excluded"):
        path = f"/metrics/containment/grid_small/cases?part={part}&reason=luck"
        assert page(served, "supervisor", path).status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01", "0002-03-01T10:00", "9999-12-31"])
@pytest.mark.parametrize("path", ["metrics/parts/flow?as_of=", "metrics/compare?against="])
def test_a_moment_of_a_year_that_cannot_be_is_refused(
    served: Served, path: str, moment: str
) -> None:
    served.runner.catch_up()
    assert page(served, "supervisor", f"/{path}{moment}").status_code == 422
