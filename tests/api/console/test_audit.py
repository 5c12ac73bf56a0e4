"""The audit trail at the console: filters, an entry with before and after, files, looks."""

import csv
import io
import re
import zipfile

import pytest

from api.auth import CONSOLE
from api.console.audit import FACTS, KINDS, changes
from api.services import API
from domain import words
from projections.worklist import CASES
from tests import samples
from tests.api.conftest import Served
from tests.api.console.test_metrics import page, texts


def entries(served: Served, **query: str) -> list[dict[str, str]]:
    """The trail as a supervisor sees it."""
    rows: list[dict[str, str]] = served.as_("supervisor").get("/audit", 200, **query)["rows"]
    return rows


def test_every_fact_of_a_case_and_every_kind_of_event_has_a_name() -> None:
    beside = {"case", "version", "updated_at", "updated_by"}
    assert set(FACTS) == set(CASES.columns) - beside
    assert set(KINDS) == {name.partition(".")[0] for name in words.EVENTS}


def test_the_trail_is_filtered_by_actor_object_action_time_and_territory(served: Served) -> None:
    case, other = served.in_hand(), served.in_hand()
    served.runner.catch_up()
    answer = page(
        served,
        "supervisor",
        f"/audit?actor=li&object={case}&action=case.accepted&territory={samples.GRID}"
        "&since=2026-01-01&until=2026-12-31",
    )
    rows = re.findall(rf'<td><a href="{CONSOLE}/audit/(\d+)"', answer.text)
    assert len(rows) == 1
    assert case in answer.text
    assert other not in answer.text
    assert "签收" in texts(answer)


def test_pages_of_the_trail_follow_one_another(served: Served) -> None:
    for _ in range(20):
        served.in_hand()
    served.runner.catch_up()
    first = page(served, "supervisor", "/audit?action=&actor=")
    (following,) = re.findall(r'href="([^"]*)" data-next', first.text)
    second = page(served, "supervisor", following.replace("&amp;", "&").removeprefix(CONSOLE))
    shown = [
        int(position)
        for answer in (first, second)
        for position in re.findall(rf'<td><a href="{CONSOLE}/audit/(\d+)"', answer.text)
    ]
    assert shown == sorted(set(shown), reverse=True)
    assert len(shown) > 50


@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_entry_says_what_changed_and_what_belongs_to_it(served: Served, language: str) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    (accepted,) = entries(served, action="case.accepted", object=f"case:{case}")
    answer = page(served, "supervisor", f"/audit/{accepted['position']}", language)
    said = texts(answer)
    assert ("待签收" if language == "zh" else "Assigned") in said
    assert ("处置中" if language == "zh" else "In progress") in said
    assert accepted["correlation"] in said
    if language == "en":
        outside = re.sub(r'<(\w+)[^>]*lang="zh-CN"[^>]*>.*?</\1>', "", answer.text, flags=re.DOTALL)
        assert not re.search(r"[一-鿿]", outside.partition("<main")[2])


def test_personal_data_stay_sealed_in_the_raw_event(served: Served) -> None:
    case = served.report(description="张三家门口堆着<b>垃圾</b>")
    served.runner.catch_up()
    (reported,) = entries(served, action="case.reported", object=f"case:{case}")
    answer = page(served, "supervisor", f"/audit/{reported['position']}")
    assert "张三" not in answer.text
    assert "***" in answer.text
    event = served.as_("supervisor").get(f"/audit/{reported['position']}")
    assert event["before"] is None
    assert event["after"]["state"] == "reported"
    assert event["event"]["description"] == "***"


def test_an_entry_out_of_scope_does_not_exist(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    (accepted,) = entries(served, action="case.accepted", object=f"case:{case}")
    position = accepted["position"]
    assert served.as_("li").get(f"/audit/{position}", 403)["code"] == "query.not_permitted"
    foreign = served.as_("supervisor").get("/audit/1", 404)
    assert foreign["code"] == "audit.unknown"


def test_entries_of_one_request_are_found_by_its_correlation(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    (reported,) = entries(served, action="case.reported", object=f"case:{case}")
    together = entries(served, correlation=reported["correlation"])
    assert {row["object"] for row in together} == {f"case:{case}"}
    assert len(together) < len(entries(served, object=f"case:{case}"))


def download(served: Served, person: str, query: str, expect: int = 200) -> bytes:
    """A file of the trail."""
    headers = {"Authorization": f"Bearer {served.token(person)}"}
    answer = served.client.get(f"{API}/audit/export?{query}", headers=headers)
    assert answer.status_code == expect, answer.text
    content: bytes = answer.content
    return content


def test_a_file_obeys_the_filter_and_says_it_and_the_position(served: Served) -> None:
    case = served.in_hand()
    served.in_hand()
    served.runner.catch_up()
    content = download(served, "supervisor", f"object=case:{case}&action=case.accepted")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    about = {row[0]: row[1] for row in rows if len(row) == 2}
    assert about["对象 Object"] == f"case:{case}"
    assert about["操作 Action"] == "签收 accepted"
    assert int(about["日志位置 Log position"]) > 0
    listed = [row for row in rows if len(row) == 12][1:]
    assert [row[7] for row in listed] == [f"case:{case}"]


def test_a_spreadsheet_of_the_trail_has_the_same_rows(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    content = download(served, "supervisor", f"object=case:{case}&format=xlsx")
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        sheet = book.read("xl/worksheets/sheet2.xml").decode()
    assert sheet.count("<row ") == 1 + len(entries(served, object=f"case:{case}"))


def test_a_file_is_for_those_who_may_read_the_trail(shared: Served) -> None:
    download(shared, "li", "", 403)


def test_looks_at_personal_data_stand_with_their_purpose(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    served.as_("li").post(f"/cases/{case}/personal", {"purpose": "handling"})
    served.runner.catch_up()
    answer = page(served, "supervisor", f"/audit/access?case={case}&purpose=handling")
    said = texts(answer)
    assert case in said
    assert "办理" in said
    assert "问题描述" in said
    assert page(served, "li", "/audit/access").status_code == 403


def test_what_is_no_id_is_refused_with_a_page(shared: Served) -> None:
    assert page(shared, "supervisor", "/audit?actor=<script>").status_code == 422
    assert page(shared, "supervisor", "/audit/0").status_code == 422


@pytest.mark.parametrize("tab", ["/audit", "/audit/access"])
def test_what_a_person_types_is_understood(shared: Served, tab: str) -> None:
    """A phone's keyboard begins with a capital, and what is pasted has spaces around it."""
    case = shared.in_hand()
    shared.runner.catch_up()
    shared.as_("li").post(f"/cases/{case}/personal", {"purpose": "handling"})
    shared.runner.catch_up()
    number = "object" if tab == "/audit" else "case"
    for typed in (f"actor=Li&{number}={case.lower()}", f"actor=%20LI%20&{number}=%20{case}%20"):
        assert case in texts(page(shared, "supervisor", f"{tab}?{typed}")), typed
    assert "没有" in texts(page(shared, "supervisor", f"{tab}?actor=Bob"))


@pytest.mark.parametrize("tab", ["/audit", "/audit/access"])
@pytest.mark.parametrize("asked", ["since=1949-01-01", "until=2999-12-31"])
def test_what_is_out_of_range_is_told_by_its_field(shared: Served, tab: str, asked: str) -> None:
    answer = page(shared, "supervisor", f"{tab}?{asked}")
    assert answer.status_code == 422
    field = asked.partition("=")[0]
    assert f"<li><code>{field}</code> 年份应在 1950 至 2998 之间</li>" in answer.text


def test_nothing_changed_of_what_was_never_there() -> None:
    assert changes(None, None) == []


def test_an_english_name_is_told_to_be_english() -> None:
    found = changes({}, {"category_zh": "楼道堆物", "category_en": "Clutter in the stairwell"})
    assert {now for _, _, now, _ in found} == {
        ("text", "楼道堆物"),
        ("english", "Clutter in the stairwell"),
    }
