"""Personal data over HTTP: masks, looks that leave a trace, and people who are forgotten."""

from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from domain.privacy import PersonalShown, PersonForgotten
from tests import samples
from tests.api.conftest import Caller, Served

NAME, PHONE, HOME = "欧阳晓燕", "13812345678", "和平路12号3单元502"
TEXT, SPOT, NOTE = "三号楼楼道里堆着旧家具，堵住消防通道", "和平路12号楼下", "晓燕家门口也有"
CLEAR = (NAME, PHONE, HOME, TEXT, SPOT, NOTE)
REPORT: dict[str, Any] = {
    "description": TEXT,
    "spot": {"address": SPOT},
    "reporter": {"person": "p-ou", "name": NAME, "phone": PHONE, "address": HOME},
}


@pytest.fixture
def case(served: Served) -> str:
    made = served.report(category="exposed_garbage", **REPORT)
    served.as_("li").post(f"/cases/{made}/note", {"text": NOTE})
    served.runner.catch_up()
    return made


def forget(served: Served, person: str = "p-ou", *cases: str) -> Any:
    asked = {"territory": "", "reason": "request", "cases": list(cases)}
    served.as_("supervisor_everywhere").post(f"/people/{person}/forget/ask", asked)
    served.runner.catch_up()
    done = served.as_("administrator").post(f"/people/{person}/forget/approve")
    served.runner.catch_up()
    return done


@pytest.fixture(autouse=True)
def second_person(served: Served) -> None:
    grant = {"role": "supervisor", "territory": ""}
    person = {"id": "supervisor_everywhere", "name": "督查", "grants": [grant]}
    served.as_("administrator").post("/staff/users", person, 201)


def test_what_is_read_is_masked(served: Served, case: str) -> None:
    li = served.as_("li")
    card = li.get(f"/cases/{case}")
    assert (card["description"], card["address"]) == ("三号楼楼道里堆着旧…", "和平路****")
    assert (card["reporter_name"], card["reporter_phone"]) == ("欧阳**", "138****5678")
    past = li.get(f"/cases/{case}", version=1)
    assert (past["state"], past["description"]) == ("reported", card["description"])
    answers = (
        card,
        past,
        li.get(f"/cases/{case}/timeline"),
        li.get("/cases", text="楼道"),
        li.get("/cases", phone="+86 138-1234-5678"),
    )
    for answered in answers:
        assert not [clear for clear in CLEAR if clear in str(answered)]
    assert [row["case"] for row in answers[-1]["rows"]] == [case]
    assert li.get("/cases", phone="13812345670")["rows"] == []
    assert li.get("/cases", 422, phone="电话号码？")["code"] == "query.bad_phone"


def test_a_look_shows_all_and_is_on_record(served: Served, case: str) -> None:
    response = served.client.post(
        f"/api/v1/cases/{case}/personal",
        json={"purpose": "complaint", "reason": "居民来电"},
        headers={"Authorization": f"Bearer {served.token('li')}"},
    )
    assert response.headers["Cache-Control"] == "no-store"
    shown = response.json()
    assert (shown["description"], shown["address"]) == (TEXT, SPOT)
    who = {"person": "p-ou", "name": NAME, "phone": PHONE, "address": HOME}
    assert shown["reporter"] == who
    assert [step["version"] for step in shown["steps"]] == [1, 2, 3]
    assert shown["steps"][2]["details"]["text"] == NOTE

    (look,) = served.store.history(f"privacy:{case}")
    assert (look.position, look.actor) == (shown["position"], "li")
    assert isinstance(look.event, PersonalShown)
    served.runner.catch_up()
    supervisor = served.as_("supervisor")
    (row,) = supervisor.get("/access", person="p-ou", position=shown["position"])["rows"]
    assert (row["actor"], row["purpose"], row["case"]) == ("li", "complaint", case)
    assert "reporter_phone" in row["fields"]
    assert "居民来电" not in str(row)
    (entry,) = supervisor.get("/audit", object=f"privacy:{case}")["rows"]
    assert (entry["action"], entry["actor"]) == ("privacy.personal_shown", "li")


def test_it_is_on_record_before_anything_is_opened(
    served: Served, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> Any:
        raise psycopg.OperationalError("the vault is away")

    monkeypatch.setattr(served.store.vault, "find", lost)
    served.as_("li").post(f"/cases/{case}/personal", {"purpose": "handling"}, 503)
    assert len(served.store.history(f"privacy:{case}")) == 1


def test_a_look_at_the_past_ends_there(served: Served, case: str) -> None:
    li, path = served.as_("li"), f"/cases/{case}/personal"
    shown = li.post(path, {"purpose": "handling", "version": 2})
    assert ([step["version"] for step in shown["steps"]], shown["description"]) == ([1, 2], TEXT)
    then = served.clock.now.isoformat()
    served.clock.pass_(minutes=1)
    li.post(f"/cases/{case}/note", {"text": "后来"})
    assert len(li.post(path, {"purpose": "handling", "at": then})["steps"]) == 3
    looks = len(served.store.history(f"privacy:{case}"))
    unknown = li.post(path, {"purpose": "handling", "version": 9}, 404)
    assert unknown["code"] == "request.no_such_version"
    assert len(served.store.history(f"privacy:{case}")) == looks


def test_a_look_that_is_refused_shows_nothing(served: Served, case: str) -> None:
    path = f"/cases/{case}/personal"
    for person, body, status, code in (
        ("li", {}, 422, "request.invalid"),
        ("li", {"purpose": "curiosity"}, 422, "request.invalid"),
        ("li", {"purpose": "audit"}, 422, "privacy.reason_missing"),
        ("li", {"purpose": "own"}, 403, "privacy.not_own"),
        ("wang", {"purpose": "own"}, 404, "case.unknown"),
        ("other_worker", {"purpose": "handling"}, 404, "case.unknown"),
    ):
        refused = served.as_(person).post(path, body, status)
        assert refused["code"] == code
        assert not [clear for clear in CLEAR if clear in str(refused)]
    assert served.as_("li").get(path, 405)["code"] == "request.bad_method"
    assert served.store.history(f"privacy:{case}") == []


def test_a_resident_sees_the_own_report_and_who_looked_at_it(served: Served, case: str) -> None:
    own = served.report(by="wang", description=TEXT, reporter={"phone": PHONE})
    served.runner.catch_up()
    wang, path = served.as_("wang"), f"/cases/{own}/personal"
    assert wang.post(path, {"purpose": "handling"}, 403)["code"] == "privacy.own_only"
    assert wang.post(path, {"purpose": "own"})["reporter"]["phone"] == PHONE
    for each in (own, case):
        served.as_("li").post(f"/cases/{each}/personal", {"purpose": "contact"})
    served.runner.catch_up()
    assert [row["actor"] for row in wang.get("/access")["rows"]] == ["li", "wang"]
    assert wang.get("/access", case=case)["rows"] == []


def test_a_resident_reads_no_note_that_the_staff_wrote_to_one_another(served: Served) -> None:
    own = served.report(by="wang", description=TEXT)
    served.as_("li").post(f"/cases/{own}/note", {"text": "投诉的是四楼赵家"})
    served.as_("wang").post(f"/cases/{own}/note", {"text": "晚上在家"})
    served.as_("acceptor").post(f"/cases/{own}/verify", {"note": "属实"})

    def read(person: str, purpose: str) -> list[str]:
        served.runner.catch_up()
        shown = served.as_(person).post(f"/cases/{own}/personal", {"purpose": purpose})
        told = [step["details"] for step in shown["steps"]]
        return [each.get("text") or each["note"] for each in told if {"text", "note"} & each.keys()]

    assert read("wang", "own") == ["晚上在家", "属实"]
    assert read("li", "handling") == ["投诉的是四楼赵家", "晚上在家", "属实"]


def test_looks_come_in_pages(served: Served, case: str) -> None:
    for _ in range(5):
        served.as_("li").post(f"/cases/{case}/personal", {"purpose": "handling"})
    served.runner.catch_up()
    supervisor, seen, after = served.as_("supervisor"), list[int](), dict[str, str]()
    while True:
        page = supervisor.get("/access", limit=2, **after)
        seen += [row["position"] for row in page["rows"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    assert supervisor.get("/access", 422, after="AAAA")["code"] == "request.bad_cursor"


def test_a_person_is_forgotten_by_two(served: Served, case: str) -> None:
    named = served.report(description="欧阳女士又来电话")
    served.runner.catch_up()
    asked = {"territory": samples.COMMUNITY, "reason": "request", "cases": [named]}
    supervisor, administrator = served.as_("supervisor"), served.as_("administrator")
    assert supervisor.post("/people/p-ou/forget/ask", asked)["events"] == ["privacy.forget_asked"]
    again = administrator.post("/people/p-ou/forget/ask", asked, 409)
    assert again["code"] == "privacy.already_asked"
    # A report that no read model knows yet is not missed: it is waited for.
    fresh = served.report(**REPORT)
    behind = administrator.post("/people/p-ou/forget/approve", expect=503)
    assert behind["code"] == "request.behind"
    served.runner.catch_up()
    done = administrator.post("/people/p-ou/forget/approve", Idempotency_Key="k")
    assert done["events"] == ["privacy.person_forgotten"]
    assert administrator.post("/people/p-ou/forget/approve", Idempotency_Key="k") == done
    forgotten = served.store.history("person:p-ou")[-1].event
    assert isinstance(forgotten, PersonForgotten)
    assert set(forgotten.cases) == {case, fresh, named}
    ids = ["person:p-ou#1", *(f"case:{each}#1" for each in forgotten.cases)]
    assert set(served.vault.find(ids).destroyed) == set(ids)

    served.runner.catch_up()
    li = served.as_("li")
    for each in (case, fresh):
        card = li.get(f"/cases/{each}")
        assert {card["description"], card["reporter_name"], card["reporter_phone"]} == {"已删除"}
        shown = li.post(f"/cases/{each}/personal", {"purpose": "handling"})
        assert {shown["description"], *list(shown["reporter"].values())[1:]} == {"已删除"}
        assert "***" not in str(li.get(f"/cases/{each}/timeline"))
    assert li.get("/cases", phone=PHONE)["rows"] == []
    assert li.get(f"/cases/{named}")["description"] == "已删除"
    # Somebody who comes back is known again.
    back = served.report(**REPORT)
    shown = li.post(f"/cases/{back}/personal", {"purpose": "handling"}, 404)
    served.runner.catch_up()
    shown = li.post(f"/cases/{back}/personal", {"purpose": "handling"})
    assert shown["reporter"]["name"] == NAME
    served.app.state.services.forget()
    assert li.get(f"/cases/{back}")["reporter_phone"] == "138****5678"


def test_who_approves_or_declines_decides_on_the_request_that_was_seen(
    served: Served, case: str
) -> None:
    """It cannot be undone, and another request may have taken its place meanwhile."""

    def seen_by(person: Caller) -> str:
        return f'"{person.get("/people/forget")["rows"][0]["version"]}"'

    supervisor, administrator = served.as_("supervisor"), served.as_("administrator")
    asked: dict[str, Any] = {"territory": samples.COMMUNITY, "reason": "request", "cases": []}
    supervisor.post("/people/p-ou/forget/ask", asked)
    served.runner.catch_up()
    seen = seen_by(administrator)
    supervisor.post("/people/p-ou/forget/decline", If_Match=seen)
    other = served.report(description="与此人无关")
    served.runner.catch_up()
    supervisor.post("/people/p-ou/forget/ask", asked | {"cases": [other]})
    served.runner.catch_up()
    for decision in ("approve", "decline"):
        refused = administrator.post(f"/people/p-ou/forget/{decision}", expect=412, If_Match=seen)
        assert refused["code"] == "request.version_mismatch"
    seen = seen_by(administrator)
    administrator.post("/people/p-ou/forget/approve", If_Match=seen)


def test_evidence_and_who_refused_are_hidden_shown_and_forgotten_like_a_note(
    served: Served,
) -> None:
    typed = [f"已与{NAME}当面核实", f"电话{PHONE}"]
    case = served.in_hand()
    li, lead = served.as_("li"), served.as_("shift_lead")
    li.post(f"/cases/{case}/resolve", {"evidence": typed, "note": NOTE})
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    lead.post(f"/cases/{case}/close", {"outcome": "not_ours", "refused_by": NAME})
    served.runner.catch_up()

    def told(steps: list[dict[str, Any]]) -> tuple[Any, Any]:
        said = {step["name"]: step["details"] for step in steps}
        return said["case.resolved"]["evidence"], said["case.closed"]["refused_by"]

    assert told(li.get(f"/cases/{case}/timeline")["steps"]) == (["***", "***"], "***")
    with served.store.recorder._connection() as connection:
        stored = connection.execute("SELECT convert_from(data, 'UTF8') FROM log.event")
        assert not [row for row in stored.fetchall() if NAME in row[0] or PHONE in row[0]]
    shown = li.post(f"/cases/{case}/personal", {"purpose": "handling"})
    assert told(shown["steps"]) == (typed, NAME)
    forget(served, "p-ou", case)
    gone = (["已删除", "已删除"], "已删除")
    assert told(li.get(f"/cases/{case}/timeline")["steps"]) == gone
    shown = li.post(f"/cases/{case}/personal", {"purpose": "handling"})
    assert told(shown["steps"]) == gone


def test_nobody_forgets_alone_or_what_is_out_of_scope(served: Served, case: str) -> None:
    administrator = served.as_("administrator")
    path = "/people/p-ou/forget"
    assert administrator.post(f"{path}/approve", expect=409)["code"] == "privacy.nothing_asked"
    far = served.report(samples.OTHER_GRID, "other_worker")
    served.runner.catch_up()
    asked: dict[str, Any] = {"territory": samples.COMMUNITY, "reason": "mistake", "cases": [far]}
    supervisor = served.as_("supervisor.own")
    assert supervisor.post(f"{path}/ask", asked, 404)["code"] == "case.unknown"
    assert supervisor.post(f"{path}/ask", asked | {"territory": ""}, 403)["code"] == (
        "role.not_permitted"
    )
    administrator.post(f"{path}/ask", asked)
    served.runner.catch_up()
    assert administrator.post(f"{path}/approve", expect=403)["code"] == "privacy.second_person"
    assert supervisor.post(f"{path}/approve", expect=403)["code"] == "role.not_permitted"
    declined = served.as_("supervisor_everywhere").post(f"{path}/decline")
    assert declined["events"] == ["privacy.forget_declined"]
    shown = served.as_("li").post(f"/cases/{case}/personal", {"purpose": "handling"})
    assert shown["reporter"]["name"] == NAME


def test_a_colleague_who_is_forgotten_can_no_longer_sign_in(served: Served) -> None:
    administrator = served.as_("administrator")
    grant = {"role": "grid_worker", "territory": samples.GRID}
    person = {"id": "zhou", "name": "周晓雪", "grants": [grant], "password": "long enough"}
    administrator.post("/staff/users", person, 201)
    served.runner.catch_up()
    assert served.as_("zhou").get("/staff/me")["name"] == "周晓雪"
    passwords = served.app.state.services.passwords
    assert passwords.verify("zhou", "long enough")
    done = forget(served, "zhou")
    assert done["events"] == ["privacy.person_forgotten", "staff.user_suspended"]
    assert not passwords.verify("zhou", "long enough")
    assert served.as_("zhou").get("/staff/me", 403)["code"] == "staff.suspended"
    rows = {row["id"]: row for row in administrator.get("/staff/users")["rows"]}
    assert (rows["zhou"]["name"], rows["zhou"]["suspended"]) == ("已删除", True)
    # What is given later is not taken away at the next look.
    passwords.set("zhou", "given anew")
    served.app.state.services.forget()
    assert passwords.verify("zhou", "given anew")


def test_whoever_may_approve_may_forget_somebody_with_an_account(served: Served) -> None:
    """A supervisor of everywhere cannot suspend anybody: that follows by itself."""
    asked = {"territory": "", "reason": "request"}
    served.as_("administrator").post("/people/wang/forget/ask", asked)
    served.runner.catch_up()
    watcher = served.as_("supervisor_everywhere")
    done = watcher.post("/people/wang/forget/approve")
    assert done["events"] == ["privacy.person_forgotten", "staff.user_suspended"]
    served.runner.catch_up()
    (row,) = watcher.get("/audit", action="staff.user_suspended")["rows"]
    (approved,) = watcher.get("/audit", action="privacy.person_forgotten")["rows"]
    assert (row["actor"], approved["actor"]) == ("system:forgetting", "supervisor_everywhere")
    assert row["correlation"] == approved["correlation"]


def test_the_vault_may_be_away_when_it_is_approved(
    served: Served, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> Any:
        raise psycopg.OperationalError("the vault is away")

    with monkeypatch.context() as broken:
        broken.setattr(served.vault, "destroy", lost)
        forget(served)
    assert set(served.vault.find([f"case:{case}#1"])) == {f"case:{case}#1"}
    served.app.state.services.forget()
    assert not served.vault.find([f"case:{case}#1"])


def test_neither_log_lines_nor_kept_answers_tell_of_anybody(served: Served, case: str) -> None:
    """What is personal stands in the log alone, and there it is encrypted."""
    li = served.as_("li")
    with capture_logs() as lines:
        made = li.post("/cases", REPORT | {"territory": samples.GRID}, 201, Idempotency_Key="k-1")[
            "case"
        ]
        li.post(f"/cases/{made}/note", {"text": NOTE}, Idempotency_Key="k-2")
        served.runner.catch_up()
        look = {"purpose": "complaint", "reason": NOTE}
        shown = li.post(f"/cases/{made}/personal", look, Idempotency_Key="k-3")
        li.post(f"/cases/{made}/personal", look, Idempotency_Key="k-3")
        li.get("/cases", text="楼道", phone=PHONE)
        li.get("/cases", 422, phone=NAME)
        forget(served)
    assert shown["reporter"]["name"] == NAME
    assert len(served.store.history(f"privacy:{made}")) == 2  # each a look of its own
    assert {line["event"] for line in lines} >= {"request"}
    with served.store.recorder._connection() as connection:
        answers = connection.execute("SELECT convert_from(answer, 'UTF8') FROM log.request")
        kept = [row[0] for row in answers.fetchall()]
        stored = connection.execute("SELECT convert_from(data, 'UTF8') FROM log.event")
        events = [row[0] for row in stored.fetchall()]
    assert len(kept) >= 2
    for clear in CLEAR:
        assert clear not in str(lines)
        assert not [answer for answer in kept if clear in answer]
        assert not [event for event in events if clear in event]


def test_who_is_asked_to_be_forgotten_is_listed_with_what_became_of_it(
    served: Served, case: str
) -> None:
    watcher, chief = served.as_("supervisor_everywhere"), served.as_("administrator")
    asked = {"territory": samples.DISTRICT, "reason": "request", "cases": [case]}
    for person in ("p-ou", "p-zhao"):
        watcher.post(f"/people/{person}/forget/ask", asked)
    served.clock.pass_(minutes=1)
    chief.post("/people/p-ou/forget/decline")
    served.follow()
    zhao, ou = chief.get("/people/forget")["rows"]
    assert (zhao["person"], zhao["outcome"], zhao["decided_by"]) == ("p-zhao", "waiting", None)
    assert (zhao["by"], zhao["reason"]) == ("supervisor_everywhere", "request")
    assert (zhao["cases"], zhao["territory"]) == ([case], samples.DISTRICT)
    assert (ou["person"], ou["outcome"], ou["decided_by"]) == ("p-ou", "declined", "administrator")
    assert (ou["at"][-6:], ou["decided_at"][-6:]) == ("+08:00", "+08:00")
    assert ou["at"] < ou["decided_at"]
    forget(served, "p-ou")
    first = chief.get("/people/forget", limit=1)
    assert [(row["person"], row["outcome"]) for row in first["rows"]] == [("p-ou", "forgotten")]
    rest = chief.get("/people/forget", limit=5, after=first["next"])["rows"]
    assert rest == [zhao, ou]
    assert chief.get("/people/forget", person="p-zhao")["rows"] == [zhao]
