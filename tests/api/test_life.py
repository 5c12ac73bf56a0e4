"""The whole life of a case over HTTP, and what everybody sees of it."""

from datetime import timedelta
from typing import Any

from domain.calendar import office_time
from tests import samples
from tests.api.conftest import Served


def test_a_case_lives_from_report_to_evaluation(served: Served) -> None:
    wang, li = served.as_("wang"), served.as_("li")
    reported = wang.post(
        "/cases",
        {
            "territory": samples.GRID,
            "description": "楼下垃圾桶满溢",
            "reporter": {"name": "王女士", "phone": "13800000000"},
            "spot": {"address": "和平路 12 号", "longitude": 121.47, "latitude": 31.23},
        },
        expect=201,
    )
    case = reported["case"]
    assert case.startswith("20260302-")
    assert reported["events"] == ["case.reported"]
    steps: tuple[tuple[str, str, Any, str], ...] = (
        ("acceptor", "verify", {"note": "属实"}, "reported"),
        ("acceptor", "file", {"category": "exposed_garbage"}, "filed"),
        ("dispatcher", "dispatch", {"worker": "li"}, "assigned"),
        ("li", "accept", None, "in_progress"),
        ("li", "escalate", {"reason": "resources", "note": "缺车"}, "assigned"),
        ("community_handler", "accept", {}, "in_progress"),
        ("coordinator", "return", {"directive": "请网格清理"}, "assigned"),
        ("li", "accept", {}, "in_progress"),
        ("li", "resolve", {"evidence": ["照片"]}, "resolved"),
        ("supervisor", "check", {"passed": True}, "checked"),
        ("shift_lead", "close", {"outcome": "resolved"}, "closed"),
        ("callback_desk", "callback", {"reached": True, "solved": True}, "closed"),
        ("wang", "evaluate", {"solved": True, "satisfied": True}, "evaluated"),
        ("wang", "reopen", {"reason": "又满了"}, "assigned"),
    )
    version, done = 1, reported
    for person, step, body, state in steps:
        served.clock.pass_(minutes=5)
        done = served.as_(person).post(f"/cases/{case}/{step}", body, If_Match=f'"{version}"')
        version += 1
        assert (done["state"], done["version"]) == (state, version), step

    served.runner.catch_up()
    card = li.get(f"/cases/{case}", position=done["position"])
    assert (card["state"], card["tier"], card["highest"]) == ("assigned", "grid", "community")
    assert (card["episode"], card["reporter"], card["source"]) == (2, "wang", "resident")
    assert card["category_zh"] == "暴露垃圾"

    timeline = li.get(f"/cases/{case}/timeline")["steps"]
    assert [step["version"] for step in timeline] == list(range(1, version + 1))
    assert timeline[0]["details"]["reporter"]["name"] == "***"
    assert (card["reporter_name"], card["reporter_phone"]) == ("王**", "138****0000")
    shown = li.post(f"/cases/{case}/personal", {"purpose": "handling"})
    assert shown["reporter"]["name"] == "王女士"
    assert timeline[5]["details"]["reason"] == "resources"

    audit = served.as_("supervisor").get("/audit", object=f"case:{case}", action="case.escalated")
    assert [(row["actor"], row["roles"]) for row in audit["rows"]] == [("li", ["grid_worker"])]


def test_a_grid_worker_reports_and_files_in_one_go(served: Served) -> None:
    done = served.as_("li").post(
        "/cases",
        {"territory": samples.GRID, "description": "道路不洁", "category": "dirty_road"},
        expect=201,
    )
    assert done["events"] == ["case.reported", "case.filed"]
    assert (done["state"], done["version"]) == ("filed", 2)
    refused = served.as_("li").post(
        "/cases",
        {"territory": samples.GRID, "description": "违建", "category": "illegal_construction"},
        expect=403,
    )
    assert refused["code"] == "case.only_small"


def test_a_case_is_sent_to_nobody_who_could_not_accept_it(served: Served) -> None:
    case = served.report(category="exposed_garbage")
    dispatcher = served.as_("dispatcher")

    def refused(worker: str, path: str = "dispatch", expect: int = 422) -> str:
        body = {"worker": worker} | ({"reason": "换人"} if path == "transfer" else {})
        code: str = dispatcher.post(f"/cases/{case}/{path}", body, expect)["code"]
        return code

    assert refused("wang") == refused("other_worker") == "case.worker_cannot_accept"
    served.as_("administrator").post("/staff/users/grid_handler/suspend", {"reason": "调离"})
    assert refused("grid_handler", expect=403) == "staff.suspended"
    dispatcher.post(f"/cases/{case}/dispatch", {"worker": "li"})
    served.as_("li").post(f"/cases/{case}/escalate", {"reason": "resources"})
    assert refused("li", "transfer") == "case.worker_cannot_accept"


def test_a_case_is_split_merged_parked_and_called_together_for(served: Served) -> None:
    case, other = served.in_hand(), served.in_hand()
    whistle = {
        "units": ["property", "cleaning"],
        "purpose": "联合清理",
        "reply_by": (served.clock.now + timedelta(hours=1)).isoformat(),
    }
    served.as_("coordinator").post(f"/cases/{case}/whistle", whistle)
    served.as_("community_handler").post(f"/cases/{case}/report-in", {"unit": "property"})
    absent = {"unit": "cleaning"}
    early = served.as_("coordinator").post(f"/cases/{case}/mark-absent", absent, expect=409)
    assert early["code"] == "case.too_early"
    from_then = office_time(served.clock.now + timedelta(hours=1))
    assert f"{from_then:%Y-%m-%d %H:%M:%S}" in early["zh"]  # by the clock on the office's wall
    served.clock.pass_(hours=1)
    served.as_("coordinator").post(f"/cases/{case}/mark-absent", absent)

    parts = {"children": [{"description": "清运"}, {"description": "加桶", "required": False}]}
    split = served.as_("coordinator").post(f"/cases/{case}/split", parts)
    assert split["events"] == ["case.split", "case.reported", "case.reported"]
    served.runner.catch_up()
    children = served.as_("li").get("/cases", parent=case)["rows"]
    assert {child["case"] for child in children} == set(split["created"])

    until = (served.clock.now + timedelta(days=3)).isoformat()
    served.as_("li").post(f"/cases/{case}/ask-park", {"until": until, "reason": "等配件"})
    parked = served.as_("dispatcher").post(f"/cases/{case}/approve-park")
    assert parked["state"] == "parked"
    served.as_("li").post(
        f"/cases/{case}/ask-extension",
        {"more": {"amount": 2, "unit": "wd"}, "reason": "大雨"},
    )
    served.as_("dispatcher").post(f"/cases/{case}/decline", {"reason": "已挂账"})
    served.clock.pass_(hours=2)
    assert served.as_("li").post(f"/cases/{case}/resume")["state"] == "in_progress"

    merged = served.as_("dispatcher").post(f"/cases/{other}/merge", {"into": case})
    assert merged["state"] == "merged"
    attached = served.as_("li").send(
        "POST", f"/cases/{case}/attachments?name=现场.txt", 200, content="已清空".encode()
    )
    assert attached["created"][0].startswith("a-")


def test_a_resident_reports_as_nobody_else(served: Served) -> None:
    report = {"territory": samples.GRID, "description": "噪音"}
    wang = served.as_("wang")
    by_zhao = wang.post("/cases", report | {"reporter": {"person": "zhao"}}, 403)
    assert by_zhao["code"] == "request.resident_report"
    assert wang.post("/cases", report | {"territory": samples.OTHER_GRID}, 403)["code"] == (
        "role.not_permitted"
    )


def test_where_a_report_comes_from_follows_from_the_role(served: Served) -> None:
    expected = {
        "wang": "resident",
        "li": "grid_worker",
        "acceptor": "window",
        "hotline": "hotline",
        "coordinator": "window",
    }
    cases = {person: served.report(by=person) for person in expected}
    served.runner.catch_up()
    cards = {person: served.as_("acceptor").get(f"/cases/{case}") for person, case in cases.items()}
    assert {person: card["source"] for person, card in cards.items()} == expected
    for person, source in (("wang", "department"), ("li", "hotline"), ("hotline", "grid_worker")):
        report = {"territory": samples.GRID, "description": "噪音", "source": source}
        refused = served.as_(person).post("/cases", report, 403)
        assert refused["code"] == "case.source_not_yours"
        assert source not in refused["zh"]
