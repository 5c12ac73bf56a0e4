"""Administration at the console: who reads it, who changes it, and that names are only names."""

import re
from datetime import timedelta

import pytest

from api.auth import CONSOLE
from api.services import API
from domain.calendar import office_time
from tests import samples
from tests.api.conftest import Served

TABS = ("", "/catalogue", "/calendar", "/people")


def opened(served: Served, person: str, tab: str = "", expect: int = 200) -> str:
    """A page as somebody sees it."""
    answer = served.client.get(
        f"{CONSOLE}/administration{tab}",
        headers={"Authorization": f"Bearer {served.token(person)}", "Accept": "text/html"},
    )
    assert answer.status_code == expect, answer.text
    return str(answer.text)


@pytest.mark.parametrize("tab", TABS)
def test_staff_reads_what_only_administrators_change(served: Served, tab: str) -> None:
    assert "data-command" in opened(served, "administrator", tab)
    read_only = opened(served, "dispatcher", tab)
    assert "data-command" not in read_only
    assert "只读" in read_only
    assert "无权" in opened(served, samples.RESIDENT.id, tab, 403)


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_speaks_both_languages(served: Served, tab: str) -> None:
    assert "管理" in opened(served, "administrator", tab)
    served.client.cookies.set("wangge_lang", "en")
    assert "Administration" in opened(served, "administrator", tab)


def test_a_grid_shows_its_history_its_worker_and_its_households(served: Served) -> None:
    today = f"{served.clock():%Y-%m-%d}"
    ring = [[121.0, 31.0], [121.1, 31.0], [121.1, 31.1], [121.0, 31.0]]
    change = {"path": samples.GRID, "effective": today}
    served.as_("administrator").post("/territory/redraw", {**change, "boundary": [ring]})
    served.as_("administrator").post("/territory/rename", {**change, "name": "和平一格"})
    html = opened(served, "administrator", f"?path={samples.GRID}")
    assert html.count("和平一格") >= 2
    assert "第一网格" in html  # its former name, in the history
    assert "3 个顶点" in html
    assert "300 / 800" in html
    assert "[121.0, 31.0]" in html  # what the editor begins with


def test_a_planned_name_is_told_from_the_day_it_holds(served: Served) -> None:
    case = served.in_hand()
    served.clock.pass_(days=2)  # the report of a day that is over names the grid
    day = office_time(served.clock()).date()
    rename = {"path": samples.GRID, "name": "改了名的网格"}
    effective = {"effective": str(day + timedelta(days=10))}
    served.as_("administrator").post("/territory/rename", rename | effective)

    def told() -> set[str]:
        headers = {"Authorization": f"Bearer {served.token('supervisor')}", "Accept": "text/html"}
        served.runner.catch_up()
        found = set()
        for path in (
            f"{CONSOLE}/administration?path={samples.COMMUNITY}",
            f"{CONSOLE}/administration?path={samples.GRID}",
            f"{CONSOLE}/cases/{case}",
            f"{CONSOLE}/worklist/places?under={samples.COMMUNITY}",
            f"{CONSOLE}/metrics?territory={samples.GRID}",
            f"{CONSOLE}/metrics/parts/territories?territory={samples.COMMUNITY}&window=year",
            f"{CONSOLE}/metrics/parts/caseload?territory={samples.COMMUNITY}&window=year",
            f"{CONSOLE}/metrics/parts/grids?territory={samples.COMMUNITY}&window=year",
            f"{API}/reports/monthly/{samples.COMMUNITY}?format=csv&day={day}",
        ):
            answer = served.client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            text = answer.text.partition('id="history"')[0]  # where every name stands
            if rename["name"] in text:
                found.add(path)
            else:
                assert samples.NAMES[samples.GRID] in text, path
        return found

    assert told() == set()
    served.clock.pass_(days=10)
    assert len(told()) == 9


def test_who_is_assigned_to_a_grid_without_a_role_in_it_is_marked(served: Served) -> None:
    administrator, mark = served.as_("administrator"), "未授予本网格的角色"
    assert mark not in opened(served, "administrator", f"?path={samples.GRID}")
    administrator.post("/territory/assign", {"path": samples.GRID, "worker": "other_worker"})
    assert opened(served, "administrator", f"?path={samples.GRID}").count(mark) == 1
    role = {"role": "grid_worker", "territory": samples.GRID}
    administrator.post("/staff/users/other_worker/grant", role)
    assert mark not in opened(served, "administrator", f"?path={samples.GRID}")
    administrator.post("/staff/users/li/suspend", {"reason": "调离"})
    assert opened(served, "administrator", f"?path={samples.GRID}").count(mark) == 1


def test_a_grid_worker_records_households_and_changes_nothing_else(served: Served) -> None:
    html = opened(served, "li", f"?path={samples.GRID}")
    assert "/territory/households" in html
    assert "/territory/redraw" not in html
    # Who lives elsewhere is for those of the scope.
    assert "/territory/households" not in opened(served, "li", f"?path={samples.OTHER_GRID}")


def test_an_administrator_of_a_part_gets_no_forms_for_the_whole_office(served: Served) -> None:
    html = opened(served, "subdistrict_administrator", "/catalogue")
    assert "/catalogue/define" not in html
    assert "data-command" in opened(served, "subdistrict_administrator", "/people?user=li")


def test_a_second_district_can_be_created(served: Served) -> None:
    html = opened(served, "administrator", f"?path={samples.COMMUNITY}")
    assert html.count('data-command="/api/v1/territory/create"') == 2
    assert 'data-dialog="create-district"' in html
    # Not by whoever administers a part, who creates below that.
    html = opened(served, "subdistrict_administrator", f"?path={samples.COMMUNITY}")
    assert html.count('data-command="/api/v1/territory/create"') == 1
    assert "create-district" not in html


def test_an_unknown_territory_is_told_and_no_failure(served: Served) -> None:
    opened(served, "administrator", "?path=nowhere/", 404)


def test_the_year_says_which_days_differ_and_what_is_not_published(served: Served) -> None:
    day = {"day": "2026-03-04", "working": False, "reason": "停电"}
    served.as_("administrator").post("/calendar/declare", day)
    html = opened(served, "li", "/calendar?year=2026")
    assert 'class="declared off' in html
    assert "调休上班" in html
    assert "未公布" in opened(served, "li", "/calendar?year=2028")


def test_the_year_says_which_hours_hold_and_from_when(served: Served) -> None:
    def said(year: int) -> list[str]:
        legend = opened(served, "li", f"/calendar?year={year}").partition('legend">')[2]
        found = re.findall(r'<li class="quiet"><span>(.*?)</span>', legend.partition("</ul>")[0])
        return [re.sub(r"<[^>]*>", "", each) for each in found]

    assert said(2026) == ["工作时段 08:30–12:00、14:00–17:30"]
    by = served.as_("administrator")
    summer = [{"start": "08:30", "end": "12:00"}, {"start": "14:30", "end": "18:00"}]
    by.post("/calendar/hours", {"periods": [summer[0]], "since": "2026-10-01"})
    by.post("/calendar/hours", {"periods": summer, "since": "2026-05-01"})
    by.post("/calendar/hours", {"periods": [summer[1]], "since": "2027-01-01"})
    assert said(2025) == ["工作时段 08:30–12:00、14:00–17:30"]
    assert said(2026) == [
        "工作时段 08:30–12:00、14:00–17:30",
        "5月1日起 08:30–12:00、14:30–18:00",
        "10月1日起 08:30–12:00",
    ]
    assert said(2027) == said(2028) == ["工作时段 14:30–18:00"]
    html = opened(served, "administrator", "/calendar?year=2026")
    # The form begins with the hours of today, from today on, and may do without the day.
    form = html.partition('data-command="/api/v1/calendar/hours"')[2].partition("</form>")[0]
    assert "08:30-12:00\n14:00-17:30\n</textarea>" in form
    (day,) = re.findall(r'<input id="hours-since"[^>]*>', form)
    assert f'value="{served.clock():%Y-%m-%d}"' in day
    assert "required" not in day


def test_people_are_found_by_name_and_role(served: Served) -> None:
    html = opened(served, "administrator", "/people?text=LI&role=grid_worker&user=li")
    assert 'id="people"' in html
    assert "/staff/users/li/suspend" in html
    assert "没有找到人员" in opened(served, "administrator", "/people?text=nobody-at-all")


def test_whoever_looks_for_a_name_need_not_choose_a_role(served: Served) -> None:
    assert "user=li" in opened(served, "administrator", "/people?text=li&role=")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_markup_in_names_is_text(served: Served, language: str) -> None:
    markup = "<img src=x onerror=alert(1)>'\""
    by = served.as_("administrator")
    today = f"{served.clock():%Y-%m-%d}"
    by.post("/territory/rename", {"path": samples.GRID, "name": markup, "effective": today})
    named = {"code": "x", "name_zh": markup, "name_en": markup, "size": "small"}
    by.post("/catalogue/define", {**named, "limit": None, "contact": None})
    by.post("/staff/units", {"id": "x", "name": markup, "territory": samples.COMMUNITY}, 201)
    by.post("/staff/users", {"id": "x", "name": markup, "unit": "x"}, 201)
    served.runner.catch_up()
    served.client.cookies.set("wangge_lang", language)
    for tab in ("", f"?path={samples.GRID}", "/catalogue", "/people?user=x"):
        html = opened(served, "administrator", tab)
        assert "<img" not in html
        assert tab == "" or "&lt;img" in html


def asked_to_forget(served: Served, person: str) -> None:
    """By a supervisor of everywhere."""
    grant = {"role": "supervisor", "territory": ""}
    watcher = {"id": "watcher", "name": "督查", "grants": [grant]}
    served.as_("administrator").post("/staff/users", watcher, 201)
    body = {"territory": samples.DISTRICT, "reason": "request"}
    served.as_("watcher").post(f"/people/{person}/forget/ask", body)
    served.follow()


def test_another_person_decides_who_is_forgotten(served: Served) -> None:
    assert "没有删除申请" in opened(served, "administrator", "/forgetting")
    asked_to_forget(served, "p-ou")
    approves = 'data-command="/api/v1/people/p-ou/forget/approve" data-version="1"'
    declines = 'data-command="/api/v1/people/p-ou/forget/decline" data-version="1"'
    html = opened(served, "administrator", "/forgetting")
    assert approves in html
    assert declines in html
    # Who asked can only take it back, and who is not of everywhere can only say no.
    for person in ("watcher", "subdistrict_administrator"):
        assert approves not in opened(served, person, "/forgetting")
    assert "撤回" in opened(served, "watcher", "/forgetting")
    served.as_("administrator").post("/people/p-ou/forget/approve")
    served.follow()
    html = opened(served, "administrator", "/forgetting")
    assert approves not in html
    assert declines not in html
    assert "已删除" in html


def test_the_form_for_asking_is_filled_in_for_who_comes_from_a_case(served: Served) -> None:
    html = opened(served, "administrator", "/forgetting?person=p-ou")
    assert 'data-command="/api/v1/people/{person}/forget/ask"' in html
    assert 'name="person" type="text" value="p-ou"' in html
    assert "无权" in opened(served, "li", "/forgetting", 403)
