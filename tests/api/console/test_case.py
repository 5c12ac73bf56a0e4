"""The page of one case: as it stands, as it stood, two moments, and what can be done about it."""

import json
import re
from typing import Any

import httpx
import pytest

from api.auth import CONSOLE
from api.cases import STEPS as COMMANDS
from api.console import steps
from domain.aggregates import CASE
from domain.case.events import CaseResolved
from domain.case.options import Forms, options
from infra.codec import NAMES
from tests import samples
from tests.api.conftest import Served
from tests.files import picture


def page(
    served: Served, person: str, case: str, language: str = "zh", /, **query: Any
) -> httpx.Response:
    """The page of a case as somebody sees it."""
    headers = {"Authorization": f"Bearer {served.token(person)}", "Accept": "text/html"}
    headers["Cookie"] = f"wangge_lang={language}"
    served.runner.catch_up()
    answer: httpx.Response = served.client.get(
        f"{CONSOLE}/cases/{case}", headers=headers, params=query
    )
    return answer


def shown(answer: httpx.Response) -> str:
    """What stands on a page, without its markup."""
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def actions(answer: httpx.Response) -> list[str]:
    """The commands that a page offers as buttons."""
    return re.findall(r'data-action="([a-z-]+)"', answer.text)


def test_every_event_of_a_case_is_told_in_the_fields_words() -> None:
    names = {name for name, event in NAMES.items() if event in CASE.events}
    assert set(steps.STEPS) == names
    assert all(path in steps.FIELDS for paths in steps.STEPS.values() for path in paths.split())


def test_it_says_what_a_caseworker_wants_to_know(served: Served) -> None:
    case = served.in_hand()
    told = shown(page(served, "li", case))
    for words in ("暴露垃圾", "处置中", "小事", "第一网格", "和平社区", "春风街道", "签收", "剩"):
        assert words in told
    assert "楼下堆着垃圾" not in told  # a mask only, until somebody says what for


def test_the_size_at_first_filing_stands_beside_another_one(served: Served) -> None:
    case = served.in_hand()
    assert 'data-fact="filed_size"' not in page(served, "supervisor", case).text
    body = {"category": "illegal_construction", "reason": "实为违建"}
    served.as_("acceptor").post(f"/cases/{case}/reclassify", body)
    answer = page(served, "supervisor", case)
    assert "立案时大小" in shown(answer)
    assert re.search(r'data-fact="filed_size">[^/]*小事', answer.text)
    card = served.as_("supervisor").get(f"/cases/{case}")
    assert (card["size"], card["filed_size"]) == ("big", "small")


def test_in_english_every_chinese_word_is_marked_as_such(served: Served) -> None:
    case = served.in_hand()
    served.as_("li").post(f"/cases/{case}/escalate", {"reason": "safety", "note": "燃气"})
    for person in ("li", "dispatcher", "supervisor"):
        text = page(served, person, case, "en").text
        for element in ("span", "option", "title", "text"):
            text = re.sub(rf'<{element}\b[^>]*lang="?zh-CN"?[^>]*>[^<]*</{element}>', "", text)
        inside = re.sub(r"<[^>]+>", " ", text.partition("<body>")[2])
        assert re.findall(r"[一-鿿]+", inside) == []


@pytest.mark.parametrize("person", ["li", "acceptor", "dispatcher", "coordinator", "shift_lead"])
def test_it_offers_what_the_rules_allow_and_says_why_not_for_the_rest(
    served: Served, person: str
) -> None:
    case = served.in_hand()
    answer = page(served, person, case)
    state, version = served.store.case(case)
    office = served.store.office()
    forms = Forms(catalogue=office.catalogue, calendar=office.calendar, staff=office.staff)
    answers = options(state, office.staff.actor(person), served.clock(), forms)
    paths = {step.command.__name__: step.path for step in COMMANDS}
    possible = {paths[name] for name, no in answers.items() if no is None and name in paths}
    assert sorted(actions(answer)) == sorted(possible - {"note"})
    for path in possible - {"note"}:
        assert f'data-command="/api/v1/cases/{case}/{path}" data-version="{version}"' in answer.text
    for name, no in answers.items():
        listed = f'data-cannot="{name}"' in answer.text
        assert listed is (no is not None and no.code != "role.not_permitted")


def test_only_who_could_accept_a_case_is_offered_for_it(served: Served) -> None:
    case = served.report(category="exposed_garbage")

    def offered() -> list[str]:
        found = re.search(
            r'<select id="f-(?:dispatch|transfer)-worker".*?</select>',
            page(served, "dispatcher", case).text,
        )
        assert found is not None
        return re.findall(r'<option value="(\w+)"', found[0])

    assert offered() == ["li"]
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
    served.as_("li").post(f"/cases/{case}/accept")
    served.as_("li").post(f"/cases/{case}/escalate", {"reason": "resources"})
    assert offered() == []


def test_a_refusal_names_units_and_not_their_ids(served: Served) -> None:
    case = served.in_hand()
    why = re.search(r'data-cannot="ReportIn">(.*?)</dd>', page(served, "coordinator", case).text)
    assert why is not None
    assert "—" in why[1]


def test_the_past_is_shown_read_only(served: Served) -> None:
    case = served.in_hand()
    served.clock.pass_(hours=2)
    served.as_("li").post(f"/cases/{case}/escalate", {"reason": "safety"})
    answer = page(served, "li", case, version=3)
    told = shown(answer)
    assert "历史快照，只读" in told
    assert "待签收" in told
    assert "上报上级" not in re.sub(r"<datalist.*?</datalist>|<select.*?</select>", "", answer.text)
    assert actions(answer) == []
    assert "data-command" not in answer.text
    assert "data-follow" not in answer.text
    now = page(served, "li", case)
    assert "历史快照" not in now.text
    assert "data-follow" in now.text


def test_the_past_can_be_named_by_office_time(served: Served) -> None:
    served.clock.pass_(seconds=20)  # the field of a browser knows minutes alone
    case = served.in_hand()
    reported = samples.START.strftime("%Y-%m-%dT%H:%M")
    served.clock.pass_(hours=2)
    served.as_("li").post(f"/cases/{case}/escalate", {"reason": "safety"})
    assert "处置中" in shown(page(served, "li", case, at=reported))
    assert page(served, "li", case, at="2020-01-01T00:00").status_code == 404
    assert page(served, "li", case, version=99).status_code == 404
    assert page(served, "li", case, at="yesterday").status_code == 422


def test_two_moments_beside_each_other_with_what_changed(served: Served) -> None:
    case = served.in_hand()
    answer = page(served, "li", case, version=4, **{"with": 2})
    assert shown(answer).count("第 2 步") >= 1
    changed = set(re.findall(r'<tr class="changed" data-fact="([a-z_]+)"', answer.text))
    assert 'data-fact="territory"' in answer.text
    assert {"state", "handler", "contacted_at"} <= changed
    assert "territory" not in changed
    assert re.findall(r'id="step-(\d+)"', answer.text) == ["3", "4"]


def test_a_case_out_of_scope_is_as_unknown_as_none(served: Served) -> None:
    case = served.report()
    for person, wanted in (("other_worker", case), ("li", "20260302-AAAAAAAA")):
        answer = page(served, person, wanted)
        assert answer.status_code == 404
        assert "case.unknown" in answer.text


def test_possible_duplicates_are_named_and_others_only_related(served: Served) -> None:
    spot = {"longitude": 121.0, "latitude": 31.0}
    near = {"longitude": 121.0005, "latitude": 31.0}  # 48 m
    far = {"longitude": 121.002, "latitude": 31.001}  # 220 m
    by = "acceptor"
    case, twin, other = (
        served.report(grid, by, spot=where, category="exposed_garbage")
        for grid, where in (
            (samples.GRID, spot),
            (samples.SIBLING_GRID, near),
            (samples.SIBLING_GRID, far),
        )
    )
    served.report(samples.GRID, by, category="dirty_road", spot=spot)
    answer = page(served, by, case)
    rows = re.findall(r"<li><a href=\"/console/cases/([^\"]+)\">(.*?)</li>", answer.text, re.S)
    assert {row: "可能重复" in text for row, text in rows} == {twin: True, other: False}
    # Who may see one grid alone is told of nothing beyond it.
    mine = page(served, "li", case)
    assert twin not in mine.text


def test_the_parts_of_a_split_case_lead_to_each_other(served: Served) -> None:
    case = served.in_hand()
    parts = served.as_("coordinator").post(
        f"/cases/{case}/split", {"children": [{"description": "清运"}, {"description": "冲洗"}]}
    )["created"]
    answer = page(served, "coordinator", case)
    assert all(f'href="{CONSOLE}/cases/{part}"' in answer.text for part in parts)
    assert f'href="{CONSOLE}/cases/{case}"' in page(served, "coordinator", parts[0]).text


def test_files_are_listed_without_their_names_until_a_purpose_is_given(served: Served) -> None:
    case = served.in_hand()
    (attachment,) = served.as_("li").send(
        "POST", f"/cases/{case}/attachments?name=王家门口.png", 200, content=picture("PNG")
    )["created"]
    answer = page(served, "li", case)
    assert f'data-file="{attachment}"' in answer.text
    assert "王家门口" not in answer.text
    assert "thumbnail" not in answer.text  # each look at a picture is written down


def test_who_looked_is_told_to_those_who_may_know(served: Served) -> None:
    case = served.in_hand()
    served.runner.catch_up()
    served.as_("acceptor").post(f"/cases/{case}/personal", {"purpose": "check"})
    assert 'id="looks"' in page(served, "supervisor", case).text
    assert 'id="looks"' not in page(served, "li", case).text


def test_a_resident_is_asked_for_no_purpose_but_the_own(served: Served) -> None:
    case = served.report(by="wang")
    answer = page(served, "wang", case)
    assert re.findall(r'name="purpose" value="([a-z]+)"', answer.text) == ["own"]
    staff = re.findall(r'name="purpose" value="([a-z]+)"', page(served, "li", case).text)
    assert "own" not in staff
    assert "handling" in staff


def test_each_piece_of_evidence_is_hidden_until_somebody_says_what_for(served: Served) -> None:
    case = served.in_hand()
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["照片", "王家签收"]})
    answer = page(served, "supervisor", case)
    assert "王家" not in answer.text
    assert [f'data-path="evidence.{n}"' in answer.text for n in range(3)] == [True, True, False]


def test_markup_in_words_stays_text(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """In evidence that was stored before it was personal, which is shown as it is."""
    monkeypatch.delitem(served.store.codec._personal, CaseResolved)
    case = served.in_hand()
    evil = '<script>alert("x")</script>'
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": [evil], "note": evil})
    served.as_("shift_lead").post(f"/cases/{case}/note", {"text": evil})
    answer = page(served, "supervisor", case)
    assert evil not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert json.dumps(evil) not in answer.text
