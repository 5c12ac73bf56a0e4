"""The office sets itself up over HTTP: territory, catalogue, calendar, staff."""

from typing import Any

from tests import samples
from tests.api.conftest import Served

SQUARE = [[[121.4, 31.2], [121.5, 31.2], [121.5, 31.3], [121.4, 31.2]]]


def test_a_grid_is_created_redrawn_split_and_keeps_its_history(served: Served) -> None:
    administrator = served.as_("subdistrict_administrator")
    new = {
        "id": "g9",
        "tier": "grid",
        "parent": samples.COMMUNITY,
        "name": "第九网格",
        "effective": "2026-03-02",
        "boundary": SQUARE,
    }
    done = administrator.post("/territory/create", new)
    assert done["events"] == ["territory.created"]
    path = f"{samples.COMMUNITY}g9/"
    administrator.post("/territory/assign", {"path": path, "worker": "li"})
    day = {"effective": "2026-03-05"}
    administrator.post("/territory/rename", {"path": path, "name": "和平第九网格", **day})
    administrator.post("/territory/redraw", {"path": path, "boundary": "地图 9", **day})
    parts = [
        {"id": "g9a", "name": "九甲", "households": 10, "residents": 30},
        {"id": "g9b", "name": "九乙", "households": 20, "residents": 50, "boundary": SQUARE},
    ]
    split = {"path": path, "into": parts, "effective": "2026-04-01"}
    assert administrator.post("/territory/split", split)["events"] == ["territory.grid_split"]

    li = served.as_("li")
    history = li.get("/territory/versions", path=path)
    assert [version["name"] for version in history["versions"]] == [
        "第九网格",
        "和平第九网格",
        "和平第九网格",
    ]
    assert history["versions"][0]["boundary"] == SQUARE
    assert history["successors"] == [f"{samples.COMMUNITY}g9a/", f"{samples.COMMUNITY}g9b/"]

    def grids(**query: object) -> set[str]:
        nodes = li.get("/territory", path=samples.COMMUNITY, **query)["nodes"]
        return {node["name"] for node in nodes if node["tier"] == "grid"}

    assert grids() == {"第一网格", "第二网格", "第九网格"}
    assert grids(on="2026-03-06") == {"第一网格", "第二网格", "和平第九网格"}
    assert grids(on="2026-04-01") == {"第一网格", "第二网格", "九甲", "九乙"}
    assert grids(on="2025-01-01") == set()
    assert len(li.get("/territory", ever=True, path=samples.COMMUNITY)["nodes"]) == 6
    assert [node["path"] for node in li.get("/territory", levels=0, path="d1/")["nodes"]] == ["d1/"]
    ended = administrator.post("/territory/rename", {"path": path, "name": "x", **day}, 409)
    assert f"{samples.COMMUNITY}g9a/" in ended["zh"]


def test_grids_are_merged_and_counted(served: Served) -> None:
    administrator = served.as_("administrator")
    count = {"path": samples.GRID, "households": 310, "residents": 820, "as_of": "2026-03-01"}
    served.as_("li").post("/territory/households", count)
    merge = {
        "paths": [samples.GRID, samples.SIBLING_GRID],
        "id": "g12",
        "name": "第一二网格",
        "effective": "2026-03-02",
    }
    administrator.post("/territory/merge", merge)
    administrator.post("/territory/release", {"path": samples.GRID, "worker": "li"})
    report = {"territory": samples.GRID, "description": "垃圾"}
    problem = served.as_("li").post("/cases", report, 409)
    assert problem["code"] == "territory.not_in_force"
    unknown = {"path": samples.GRID, "worker": "nobody"}
    assert administrator.post("/territory/assign", unknown, 404)["code"] == "staff.unknown_user"


def test_a_category_is_defined_and_retired(served: Served) -> None:
    administrator = served.as_("administrator")
    shared_bikes = {
        "code": "shared_bikes",
        "name_zh": "共享单车乱停",
        "name_en": "Shared bikes in the way",
        "size": "small",
        "limit": {"amount": 4, "unit": "wh"},
        "contact": None,
        "start_tier": "grid",
    }
    assert administrator.post("/catalogue/define", shared_bikes)["events"] == [
        "catalogue.category_defined"
    ]
    again = administrator.post("/catalogue/define", shared_bikes)
    assert (again["events"], again["position"]) == ([], 0)
    served.report(category="shared_bikes")
    administrator.post("/catalogue/retire", {"code": "shared_bikes"})
    report = {"territory": samples.GRID, "description": "乱停", "category": "shared_bikes"}
    assert served.as_("li").post("/cases", report, 409)["code"] == "catalogue.retired"
    known = served.as_("wang").get("/catalogue")
    (bikes,) = (each for each in known["categories"] if each["code"] == "shared_bikes")
    assert (bikes["limit"], bikes["active"]) == ({"amount": 4, "unit": "wh"}, False)

    policy = {**known["policy"], "extensions": 0}
    administrator.post("/catalogue/policy", policy)
    assert served.as_("wang").get("/catalogue")["policy"] == policy
    same_day = shared_bikes | {"limit": {"amount": 2, "unit": "same_day"}}
    problem = administrator.post("/catalogue/define", same_day, 422)
    assert problem["errors"][0]["code"] == "limit"


def test_the_calendar_is_published_and_reckoned_with(served: Served) -> None:
    li, administrator = served.as_("li"), served.as_("administrator")

    def due(start: str, amount: int = 1, unit: str = "wd") -> tuple[str, bool]:
        answer = li.get("/calendar/reckon", start=start, amount=amount, unit=unit)
        return answer["at"], answer["provisional"]

    assert due("2026-03-02T09:00:00+08:00") == ("2026-03-03T09:00:00+08:00", False)
    assert due("2026-12-31T09:00:00+08:00")[1]
    holidays = {"year": 2027, "holidays": ["2027-01-01"], "makeup_days": []}
    administrator.post("/calendar/publish", holidays)
    assert due("2027-01-04T09:00:00+08:00") == ("2027-01-05T09:00:00+08:00", False)
    administrator.post(
        "/calendar/declare", {"day": "2026-03-03", "working": False, "reason": "台风"}
    )
    assert due("2026-03-02T09:00:00+08:00") == ("2026-03-04T09:00:00+08:00", False)
    administrator.post("/calendar/hours", {"periods": [{"start": "09:00", "end": "24:00"}]})
    calendar = li.get("/calendar")
    assert calendar["hours"] == [{"start": "09:00", "end": "24:00"}]
    assert calendar["declared"] == [{"day": "2026-03-03", "working": False}]
    assert calendar["years"][-1] == holidays


def test_hours_of_a_summer_are_set_ahead(served: Served) -> None:
    li, administrator = served.as_("li"), served.as_("administrator")

    def hours(*periods: str) -> dict[str, Any]:
        pairs = (period.split("-") for period in periods)
        return {"periods": [{"start": start, "end": end} for start, end in pairs]}

    def due(start: str) -> str:
        at: str = li.get("/calendar/reckon", start=f"{start}+08:00", amount=1, unit="wd")["at"]
        return at

    winter, summer = hours("08:30-12:00", "14:00-17:30"), hours("08:30-12:00", "14:30-18:00")
    always = {"since": None, **winter}
    assert li.get("/calendar")["eras"] == [always]
    # October first: nothing is changed by it yet, and it ends the summer that is set afterwards.
    october, may = winter | {"since": "2026-10-01"}, summer | {"since": "2026-05-01"}
    assert administrator.post("/calendar/hours", october)["position"] is not None
    administrator.post("/calendar/hours", may)
    calendar = li.get("/calendar")
    assert calendar["eras"] == [always, may, october]
    assert calendar["hours"] == winter["periods"], "those of today, which is in March"
    assert due("2026-04-30T15:00:00") == "2026-05-06T15:30:00+08:00"
    assert due("2026-09-30T18:00:00") == "2026-10-08T17:30:00+08:00"
    assert due("2026-03-02T15:00:00") == "2026-03-03T15:00:00+08:00"
    for wrong in ("2026-02-30", "1948-12-31", "5月1日", 20260501):
        problem = administrator.post("/calendar/hours", summer | {"since": wrong}, 422)
        assert [error["field"] for error in problem["errors"]] == ["body.since"]
    # Without a day: as if it had never been otherwise.
    administrator.post("/calendar/hours", summer)
    assert li.get("/calendar")["eras"] == [{"since": None, **summer}]
    assert due("2026-03-02T15:00:00") == "2026-03-03T15:00:00+08:00"
    assert due("2026-03-02T18:00:00") == "2026-03-03T18:00:00+08:00"


def test_units_come_and_go(served: Served) -> None:
    administrator = served.as_("subdistrict_administrator")
    unit = {"id": "parks", "name": "绿化所", "territory": samples.SUBDISTRICT}
    administrator.post("/staff/units", unit | {"categories": ["green_space_cleaning"]}, 201)
    administrator.post("/staff/units/parks/close")
    (parks,) = (
        each for each in served.as_("li").get("/staff/units")["rows"] if each["id"] == "parks"
    )
    assert (parks["categories"], parks["closed"]) == (["green_space_cleaning"], True)
    outside = unit | {"id": "x", "territory": samples.DISTRICT}
    assert administrator.post("/staff/units", outside, 403)["code"] == "role.not_permitted"


def test_one_sees_the_people_of_the_own_scope(served: Served) -> None:
    def seen(person: str) -> set[str]:
        return {row["id"] for row in served.as_(person).get("/staff/users")["rows"]}

    assert seen("wang") == {"wang"}
    assert {"other_worker", "other_coordinator"} <= seen("other_coordinator")
    assert "li" not in seen("other_coordinator")
    assert {"li", "other_worker", "administrator"} <= seen("administrator")
    assert "administrator" not in seen("subdistrict_administrator")
