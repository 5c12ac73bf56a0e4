"""A command sent again with its key is done once and answered the same."""

from datetime import timedelta
from typing import Any, Final

import pytest

from api.cases import STEPS
from tests import samples
from tests.api.conftest import PASSWORD, Served

REPORT: Final = {"territory": samples.GRID, "description": "垃圾", "category": "exposed_garbage"}
_PARTS: Final = {
    "children": [{"description": part, "required": False} for part in ("清运", "加桶")]
}


def positions(served: Served) -> int:
    return served.store.recorder.max_notification_id() or 0


def test_a_whole_life_sent_twice_happens_once(served: Served) -> None:
    soon = (served.clock.now + timedelta(days=1)).isoformat()
    minute = (served.clock.now + timedelta(minutes=1)).isoformat()
    other, third = served.in_hand(), served.report(category="exposed_garbage")
    unfiled, unfiled_too = served.report(by="acceptor"), served.report(by="acceptor")
    case = served.report(by="acceptor")
    steps: tuple[tuple[str, str, str, Any], ...] = (
        (unfiled, "acceptor", "verify", {"note": "属实"}),
        (unfiled_too, "acceptor", "reject", {"reason": "重复"}),
        (case, "acceptor", "file", {"category": "exposed_garbage"}),
        (case, "acceptor", "reclassify", {"category": "dirty_road", "reason": "看错"}),
        (third, "shift_lead", "ask-void", {"reason": "误报"}),
        (third, "supervisor", "approve-void", None),
        (case, "dispatcher", "dispatch", {"worker": "li"}),
        (case, "dispatcher", "transfer", {"worker": "li", "reason": "补充说明"}),
        (case, "li", "accept", None),
        (case, "li", "escalate", {"reason": "resources", "note": "缺车"}),
        (case, "community_handler", "accept", {}),
        (case, "coordinator", "return", {"directive": "请网格清理"}),
        (case, "li", "accept", {}),
        (case, "coordinator", "whistle",
            {"units": ["property", "cleaning"], "purpose": "联合", "reply_by": minute}),
        (case, "community_handler", "report-in", {"unit": "property"}),
        (case, "coordinator", "mark-absent", {"unit": "cleaning"}),
        (case, "coordinator", "split", _PARTS),
        (other, "dispatcher", "merge", {"into": case}),
        (case, "li", "ask-park", {"until": soon, "reason": "等配件"}),
        (case, "dispatcher", "approve-park", None),
        (case, "li", "resume", None),
        (case, "li", "ask-extension", {"more": {"amount": 2, "unit": "wd"}, "reason": "大雨"}),
        (case, "dispatcher", "approve-extension", None),
        (case, "li", "ask-extension", {"more": {"amount": 1, "unit": "wd"}, "reason": "又雨"}),
        (case, "dispatcher", "decline", {"reason": "够了"}),
        (case, "administrator", "recompute-due", None),
        (case, "li", "note", {"text": "已到现场"}),
        (case, "li", "resolve", {"evidence": ["照片"]}),
        (case, "supervisor", "check", {"passed": True}),
        (case, "shift_lead", "close", {"outcome": "resolved"}),
        (case, "callback_desk", "callback", {"reached": True, "solved": True}),
        (case, "callback_desk", "evaluate", {"solved": True, "satisfied": True}),
        (case, "supervisor", "reopen", {"reason": "又满了"}),
    )  # fmt: skip
    for number, (on, person, step, body) in enumerate(steps):
        if step == "mark-absent":
            served.clock.pass_(minutes=1)
        by, path, key = served.as_(person), f"/cases/{on}/{step}", f"k-{number}"
        first = by.post(path, body, Idempotency_Key=key)
        assert first["events"] or step == "recompute-due", step
        after = positions(served)
        assert by.post(path, body, Idempotency_Key=key) == first, step
        assert positions(served) == after, step
    # What is not here: issued by the system alone.
    tried = {step for _, _, step, _ in steps}
    assert {step.path for step in STEPS} - tried <= {"mark-breach"}


def test_a_key_stands_for_one_request_of_one_person(served: Served) -> None:
    li = served.as_("li")
    first = li.post("/cases", REPORT, 201, Idempotency_Key="k-1")
    served.as_("dispatcher").post(f"/cases/{first['case']}/dispatch", {})
    served.clock.pass_(hours=16)
    assert li.post("/cases", REPORT, 201, Idempotency_Key="k-1") == first
    assert li.post("/cases", REPORT, 201, Idempotency_Key="k-2")["case"] != first["case"]
    unfiled = {name: REPORT[name] for name in ("territory", "description")}
    for path, body in (
        ("/cases", REPORT | {"description": "别的"}),
        ("/cases", unfiled),
        (f"/cases/{first['case']}/note", {"text": "别的"}),
    ):
        assert li.post(path, body, 422, Idempotency_Key="k-1")["code"] == "request.key_reused"
    # The key is the client's own: somebody else's is another.
    assert served.as_("acceptor").post("/cases", REPORT, 201, Idempotency_Key="k-1") != first


def test_a_refusal_is_kept_too(served: Served) -> None:
    case, li = served.report(category="exposed_garbage"), served.as_("li")
    refused = li.post(f"/cases/{case}/accept", None, 409, Idempotency_Key="k")
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {"worker": "li"})
    again = li.post(f"/cases/{case}/accept", None, 409, Idempotency_Key="k")
    instance = {"instance": refused["instance"]}
    assert again | instance == refused
    assert li.post(f"/cases/{case}/accept", Idempotency_Key="k-2")["state"] == "in_progress"


def test_a_kept_refusal_tells_nothing_of_a_case_that_is_out_of_sight(served: Served) -> None:
    case = served.report(samples.OTHER_GRID, "other_worker", category="exposed_garbage")
    for _ in range(2):
        told = served.as_("li").post(f"/cases/{case}/accept", None, 404, Idempotency_Key="k")
        assert told["code"] == "case.unknown"


def test_headers_are_the_same_too(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.token('li')}", "Idempotency-Key": "k"}
    first, second = (
        served.client.post("/api/v1/cases", json=REPORT, headers=headers) for _ in range(2)
    )
    assert first.content == second.content
    for name in ("ETag", "Location", "X-Wangge-Position", "Content-Type"):
        assert first.headers[name] == second.headers[name], name


def test_configuration_takes_keys_as_well(served: Served) -> None:
    admin = served.as_("administrator")
    for path, body, status in (
        ("/territory/rename", {"path": samples.GRID, "name": "新", "effective": "2026-04-01"}, 200),
        ("/staff/units", {"id": "u-1", "name": "队", "territory": samples.COMMUNITY}, 201),
        ("/staff/users", {"id": "u.1", "name": "张三", "password": PASSWORD}, 201),
        ("/staff/users/u.1/suspend", {"reason": "离职"}, 200),
        ("/calendar/declare", {"day": "2026-04-02", "working": False, "reason": "停电"}, 200),
    ):  # fmt: skip
        first = admin.post(path, body, status, Idempotency_Key=path.replace("/", "-"))
        after = positions(served)
        assert admin.post(path, body, status, Idempotency_Key=path.replace("/", "-")) == first
        assert positions(served) == after, path


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 201, "键"])
def test_a_key_that_is_none_is_refused(served: Served, key: str) -> None:
    headers: dict[Any, Any] = {
        "Authorization": f"Bearer {served.token('li')}",
        b"Idempotency-Key": key.encode(),
    }
    response = served.client.post("/api/v1/cases", json=REPORT, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "request.bad_key")
    assert not served.store.history("case:none")
