"""Reading: versions, the past, the own write, search, pages."""

from datetime import datetime, timedelta

import pytest

from domain.catalogue import Policy, SetPolicy
from tests import samples
from tests.api.conftest import District, Served


def test_the_version_is_the_etag_of_card_and_command(served: Served) -> None:
    case = served.report()
    served.runner.catch_up()
    response = served.client.get(
        f"/api/v1/cases/{case}", headers={"Authorization": f"Bearer {served.token('li')}"}
    )
    assert response.headers["ETag"] == '"1"'
    response = served.client.post(
        f"/api/v1/cases/{case}/note",
        json={"text": "已看"},
        headers={"Authorization": f"Bearer {served.token('li')}", "If-Match": '"1"'},
    )
    assert response.headers["ETag"] == '"2"'
    assert response.headers["X-Wangge-Position"] == str(response.json()["position"])


def test_what_has_changed_since_is_not_changed_blindly(served: Served) -> None:
    case, li = served.report(), served.as_("li")
    li.post(f"/cases/{case}/note", {"text": "一"}, If_Match='"1"')
    problem = li.post(f"/cases/{case}/note", {"text": "二"}, 412, If_Match='"1"')
    assert problem["code"] == "request.version_mismatch"
    assert "2" in problem["en"]
    li.post(f"/cases/{case}/note", {"text": "二"}, If_Match="*")
    assert li.post(f"/cases/{case}/note", {"text": "三"}, 422, If_Match="1")["code"] == (
        "request.invalid"
    )


def test_a_query_waits_for_the_write_it_names(served: Served) -> None:
    li = served.as_("li")
    done = li.post("/cases", {"territory": samples.GRID, "description": "井盖"}, 201)
    path, position = f"/cases/{done['case']}", done["position"]
    assert li.get(path, 503, position=position)["code"] == "request.behind"
    served.runner.catch_up()
    assert li.get(path, position=position)["version"] == 1
    for other in (f"{path}/timeline", "/cases"):
        li.get(other, position=position)
    response = served.client.get(
        f"/api/v1{path}",
        headers={
            "Authorization": f"Bearer {served.token('li')}",
            "X-Wangge-Position": str(position + 1),
        },
    )
    assert response.json()["code"] == "request.position_ahead"


def test_waiting_says_when_to_ask_again(served: Served) -> None:
    done = served.as_("li").post("/cases", {"territory": samples.GRID, "description": "井盖"}, 201)
    response = served.client.get(
        f"/api/v1/cases?position={done['position']}",
        headers={"Authorization": f"Bearer {served.token('li')}"},
    )
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_a_case_as_it_was(served: Served) -> None:
    began = served.clock.now
    case = served.report(category="exposed_garbage")
    served.clock.pass_(minutes=10)
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {"worker": "li"})
    served.clock.pass_(minutes=10)
    served.as_("li").post(f"/cases/{case}/accept")
    served.runner.catch_up()
    li = served.as_("li")
    states = {1: "reported", 2: "filed", 3: "assigned", 4: "in_progress"}
    for version, state in states.items():
        card = li.get(f"/cases/{case}", version=version)
        assert (card["version"], card["state"]) == (version, state)
    assert li.get(f"/cases/{case}", at=began.isoformat())["state"] == "filed"
    assert li.get(f"/cases/{case}", at="2026-03-02T09:12:00+08:00")["state"] == "assigned"
    assert li.get(f"/cases/{case}", at="2026-03-02T01:12:00Z", version=1)["state"] == "reported"
    assert li.get(f"/cases/{case}", version=4) == li.get(f"/cases/{case}")
    assert li.get(f"/cases/{case}")["filed_at"] == "2026-03-02T09:00:00+08:00"
    for when in ({"version": 5}, {"at": "2026-03-02T08:59:59+08:00"}):
        assert li.get(f"/cases/{case}", 404, **when)["code"] == "request.no_such_version"
    # Who may not see it now, sees nothing of its past.
    problem = served.as_("other_worker").get(f"/cases/{case}", 404, version=1)
    assert problem["code"] == "case.unknown"


def test_a_case_as_of_a_position_or_a_time_of_the_log(served: Served) -> None:
    case = served.report(category="exposed_garbage")
    dispatched = served.as_("dispatcher").post(f"/cases/{case}/dispatch", {"worker": "li"})
    served.as_("li").post(f"/cases/{case}/accept")
    served.runner.catch_up()
    li, then = served.as_("li"), dispatched["position"]
    assert li.get(f"/cases/{case}", as_of=then)["state"] == "assigned"
    assert li.get(f"/cases/{case}", as_of=then - 1)["state"] == "filed"
    steps = li.get(f"/cases/{case}/timeline", as_of=then)["steps"]
    assert [step["position"] for step in steps] == [then - 2, then - 1, then]
    recorded = f"{then}@{steps[-1]['recorded_at']}"
    assert li.get(f"/cases/{case}", as_of=recorded)["version"] == 3
    for as_of, status, code in (
        (then - 3, 404, "request.no_such_version"),
        (then + 2, 422, "request.position_ahead"),
        ("soon", 422, "request.invalid"),
    ):
        assert li.get(f"/cases/{case}", status, as_of=as_of)["code"] == code


def test_the_worklist_as_of_a_position_or_a_time_of_the_log(served: Served) -> None:
    first, second = (served.report(category="exposed_garbage") for _ in range(2))
    dispatched = served.as_("dispatcher").post(f"/cases/{first}/dispatch", {"worker": "li"})
    served.as_("li").post(f"/cases/{first}/accept")
    served.report(category="exposed_garbage")
    li, then = served.as_("li"), dispatched["position"]
    assert li.get("/cases", 503, as_of=then)["code"] == "request.behind"
    served.runner.catch_up()
    assert li.get("/cases")["as_of"] is None
    page = li.get("/cases", as_of=then)
    assert {row["case"]: row["state"] for row in page["rows"]} == {
        first: "assigned",
        second: "filed",
    }
    assert li.get("/cases", as_of=then, person="li", state="assigned")["rows"] == [
        li.get(f"/cases/{first}", as_of=then)
    ]
    assert not li.get("/cases", as_of=then, person="li", state="in_progress")["rows"]
    assert not li.get("/cases", as_of=then - 1, person="li")["rows"]
    # The next page is asked with the answer's own words for that past.
    assert li.get("/cases", as_of=page["as_of"]) == page
    one = li.get("/cases", as_of=page["as_of"], limit=1)
    two = li.get("/cases", as_of=one["as_of"], limit=1, after=one["next"])
    assert (one["rows"] + two["rows"], two["next"]) == (page["rows"], None)
    assert not li.get("/cases", as_of="2020-01-01T00:00:00+08:00")["rows"]
    for as_of, code in ((then + 99, "request.position_ahead"), ("soon", "request.invalid")):
        assert li.get("/cases", 422, as_of=as_of)["code"] == code


def test_a_take_over_answers_what_was_asked(served: Served) -> None:
    case, until = served.in_hand(), samples.after(days=5).isoformat()
    served.as_("li").post(f"/cases/{case}/ask-park", {"until": until, "reason": "等待配件"})
    dispatcher = served.as_("dispatcher")
    served.runner.catch_up()
    assert [row["case"] for row in dispatcher.get("/cases", todo=True)["rows"]] == [case]
    served.as_("grid_handler").post(f"/cases/{case}/accept")
    served.runner.catch_up()
    card = dispatcher.get(f"/cases/{case}")
    assert (card["handler"], card["asked"], card["asked_by"]) == ("grid_handler", None, None)
    assert dispatcher.get("/cases", todo=True)["rows"] == []


@pytest.mark.parametrize("state", ["filed", "in_progress", "parked", "resolved"])
def test_a_call_waits_for_its_unit_and_for_who_coordinates_whatever_the_case_waits_for(
    served: Served, state: str
) -> None:
    case = served.report(category="exposed_garbage") if state == "filed" else served.in_hand()
    until = served.clock.now + timedelta(hours=1)
    call = {"units": ["property"], "purpose": "联合清理", "reply_by": until.isoformat()}
    served.as_("coordinator").post(f"/cases/{case}/whistle", call)
    if state == "parked":
        asked = {"until": samples.after(days=5).isoformat(), "reason": "等待配件"}
        served.as_("li").post(f"/cases/{case}/ask-park", asked)
        served.as_("dispatcher").post(f"/cases/{case}/approve-park")
    if state == "resolved":
        served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["照片"]})

    def waits(person: str) -> bool:
        served.runner.catch_up()
        rows = served.as_(person).get("/cases", todo=True)["rows"]
        return case in [row["case"] for row in rows]

    people = ("community_handler", "coordinator", "subdistrict_coordinator")
    assert all(map(waits, people))
    assert not waits("other_coordinator")
    served.as_("community_handler").post(f"/cases/{case}/report-in", {"unit": "property"})
    assert not any(map(waits, people))


def test_who_is_responsible_is_said_before_filing_too(served: Served) -> None:
    body = {"territory": samples.GRID, "description": "楼下堆着垃圾"}
    case = served.as_("hotline").post("/cases", body, 201)["case"]
    served.runner.catch_up()
    card = served.as_("acceptor").get(f"/cases/{case}")
    assert (card["tier"], card["holder"]) == ("district", samples.DISTRICT)


def to_call_back(served: Served, **query: object) -> list[str]:
    """The cases whose callback waits."""
    served.runner.catch_up()
    rows = served.as_("callback_desk").get("/cases", todo=True, **query)["rows"]
    return [row["case"] for row in rows]


def test_a_callback_is_owed_for_as_long_as_it_was_when_the_case_was_filed(served: Served) -> None:
    case = closed_for_a_resident(served)
    policy = Policy(callback_window_days=7)
    served.store.execute(SetPolicy(by=samples.ADMINISTRATOR, at=served.clock.now, policy=policy))
    served.clock.pass_(days=30)
    assert to_call_back(served) == [case]
    until = served.as_("callback_desk").get(f"/cases/{case}")["callback_until"]
    assert datetime.fromisoformat(until) == served.clock.now
    served.clock.pass_(seconds=1)
    assert to_call_back(served) == []


@pytest.mark.parametrize(
    ("calls", "owed"),
    [
        ([False, False], True),
        ([False, False, False], False),  # as many attempts as there may be
        ([True], False),
    ],
)
def test_who_was_reached_or_called_often_enough_is_called_no_more(
    served: Served, calls: list[bool], owed: bool
) -> None:
    case = closed_for_a_resident(served)
    for reached in calls:
        body = {"reached": True, "solved": True} if reached else {"reached": False}
        served.as_("callback_desk").post(f"/cases/{case}/callback", body)
    assert to_call_back(served) == [case] * owed


def test_what_there_was_to_do_is_told_by_the_time_of_then(served: Served) -> None:
    case = closed_for_a_resident(served)
    assert to_call_back(served) == [case]
    position = served.store.history(f"case:{case}")[-1].position
    then = f"{position}@{served.clock.now.isoformat()}"
    served.clock.pass_(days=40)
    assert to_call_back(served, as_of=then) == [case]
    late = f"{position}@{served.clock.now.isoformat()}"
    assert to_call_back(served, as_of=late) == to_call_back(served) == []


def closed_for_a_resident(served: Served) -> str:
    """A resident's case that was resolved and closed."""
    case = served.report(by="wang")
    served.as_("acceptor").post(f"/cases/{case}/file", {"category": "exposed_garbage"})
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
    served.as_("li").post(f"/cases/{case}/accept")
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["照片"]})
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    served.as_("shift_lead").post(f"/cases/{case}/close", {"outcome": "resolved"})
    return case


def test_chinese_is_found_by_two_characters_and_more(served: Served) -> None:
    found = served.report(description="三单元楼道堆物，阻碍消防通道")
    served.report(description="垃圾桶满溢")
    served.report(grid=samples.OTHER_GRID, by="other_worker", description="楼道堆物")
    served.runner.catch_up()
    li = served.as_("li")
    for text in ("楼道", "楼道堆物", "消防 楼道", "道堆"):
        assert [row["case"] for row in li.get("/cases", text=text)["rows"]] == [found], text
    assert li.get("/cases", text="消防 垃圾")["rows"] == []
    assert len(served.as_("acceptor").get("/cases", text="楼道")["rows"]) == 2
    assert li.get("/cases", 422, text="楼")["code"] == "request.invalid"
    assert li.get("/cases", 422, text="楼 道 ")["code"] == "query.text_short"


def test_the_worklist_is_filtered(served: Served) -> None:
    mine, waiting = served.in_hand(), served.report(category="dirty_road")
    served.runner.catch_up()
    li = served.as_("li")

    def found(**query: object) -> set[str]:
        return {row["case"] for row in li.get("/cases", **query)["rows"]}

    assert found() == {mine, waiting}
    assert found(person="li") == {mine}
    assert found(state=["filed", "assigned"]) == {waiting}
    assert found(category="dirty_road", tier="grid", size="small") == {waiting}
    assert found(territory=samples.OTHER_GRID) == set()
    assert found(territory=samples.COMMUNITY) == {mine, waiting}
    assert found(due_before="2026-03-02T09:00:00+08:00") == set()
    assert found(due_before="2026-12-31T00:00:00+08:00") == {mine, waiting}


def test_the_worklist_shows_what_is_still_in_hand_unless_more_is_asked_for(served: Served) -> None:
    waiting, ended = served.report(category="dirty_road"), served.report(category=None)
    served.as_("acceptor").post(f"/cases/{ended}/reject", {"reason": "不属实"})
    served.runner.catch_up()
    li = served.as_("li")

    def found(**query: object) -> set[str]:
        return {row["case"] for row in li.get("/cases", **query)["rows"]}

    assert found() == found(open=True) == {waiting}
    assert found(open=False) == found(state="rejected") == {ended}
    assert found(text=ended) == {ended}
    assert found(asked="void") == set()


@pytest.mark.parametrize("order", ["due", "updated", "reported"])
def test_pages_are_complete_without_doubles_while_cases_change(served: Served, order: str) -> None:
    cases = []
    for number in range(13):
        served.clock.pass_(seconds=1)
        filed = {"category": "exposed_garbage"} if number % 3 else {}
        cases.append(served.report(description=f"事项 {number}", **filed))
    served.runner.catch_up()
    li, seen, after, pages = served.as_("li"), list[str](), dict[str, str](), 0
    while True:
        page = li.get("/cases", limit=4, order=order, **after)
        seen += [row["case"] for row in page["rows"]]
        pages += 1
        if page["next"] is None:
            break
        after = {"after": page["next"]}
        # One that has been shown changes, and a new one comes; neither disturbs the pages to come.
        served.clock.pass_(seconds=1)
        li.post(f"/cases/{seen[-1]}/note", {"text": "看过"})
        served.runner.catch_up()
    assert pages == 4
    assert sorted(seen) == sorted(cases)


def test_a_cursor_belongs_to_its_query(served: Served) -> None:
    for _ in range(3):
        served.report()
    served.runner.catch_up()
    li = served.as_("li")
    cursor = li.get("/cases", limit=1)["next"]
    assert li.get("/cases", 422, order="updated", after=cursor)["code"] == "request.bad_cursor"
    for wrong in ("AAAA", "W10=", "bnVsbA=="):
        assert li.get("/cases", 422, after=wrong)["code"] == "request.bad_cursor"


def test_the_audit_trail_is_filtered_and_paged(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    supervisor = served.as_("supervisor")
    whole = supervisor.get("/audit", object=f"case:{case}")["rows"]
    assert [row["action"] for row in whole] == [
        "case.accepted", "case.dispatched", "case.filed", "case.reported",
    ]  # fmt: skip
    assert all(row["correlation"] for row in whole)
    first = supervisor.get("/audit", object=f"case:{case}", limit=3)
    rest = supervisor.get("/audit", object=f"case:{case}", limit=3, after=first["next"])
    assert first["rows"] + rest["rows"] == whole
    assert rest["next"] is None
    day = {"since": "2026-03-02T00:00:00+08:00", "until": "2026-03-03T00:00:00+08:00"}
    assert {row["actor"] for row in supervisor.get("/audit", **day)["rows"]} == {"li", "dispatcher"}
    assert supervisor.get("/audit", actor="li", territory=samples.OTHER_COMMUNITY)["rows"] == []


def test_health_tells_how_far_every_read_model_is(served: Served) -> None:
    assert served.nobody.get("/health/live") == {"status": "ok"}
    before = served.nobody.get("/health")
    assert {projection["lag"] for projection in before["projections"]} == {0}
    served.report()
    after = served.nobody.get("/health")
    assert after["position"] == before["position"] + 1
    assert {projection["lag"] for projection in after["projections"]} == {1}


def test_without_the_file_of_the_kek_nothing_is_stored_and_health_says_so(
    served: Served, district: District
) -> None:
    """It went missing while the server runs: whoever operates it is to hear of it, and clients are
    to come back."""
    away = district.kek.rename(district.kek.with_name("away"))
    try:
        new = {"territory": samples.GRID, "description": "楼下堆着垃圾"}
        problem = served.as_("li").post("/cases", new, 503)
        assert problem["code"] == "request.unavailable"
        health = served.nobody.get("/health")
        assert (health["status"], health["failing"]) == ("degraded", ["keys"])
    finally:
        away.rename(district.kek)
    assert served.nobody.get("/health")["failing"] == []
    served.report()
