"""The worklist: views and their counts, what narrows them, pages, the preview, and whose it is."""

import re
from datetime import UTC, date, datetime, time, timedelta

import httpx
import pytest

from api.auth import CONSOLE, COOKIE
from domain import territory
from domain.calendar import OFFICE_TIME
from tests import samples
from tests.api.conftest import Served

WORKLIST = f"{CONSOLE}/worklist"


def page(served: Served, person: str, part: str | None = None, /, **query: object) -> str:
    """The worklist as somebody sees it."""
    answer = get(served, person, WORKLIST, part, **query)
    assert answer.status_code == 200, answer.text
    return answer.text


def get(
    served: Served, person: str, path: str, part: str | None = None, /, **query: object
) -> httpx.Response:
    served.runner.catch_up()
    served.client.cookies.set(COOKIE, served.token(person))
    headers = {"Accept": "text/html"}
    if part is not None:
        headers |= {"HX-Request": "true", "HX-Target": part}
    answer: httpx.Response = served.client.get(path, headers=headers, params=query or None)
    return answer


def cases(html: str) -> list[str]:
    """The cases that are listed."""
    return re.findall(r'<li class="case" data-case="([^"]+)"', html)


def bars(html: str) -> list[str]:
    """How the cases that are listed stand with their limits."""
    return re.findall(r'<div class="due">(.*?)</div>', html, re.DOTALL)


def count(html: str, view: str) -> int:
    """What a tab says."""
    found = re.search(rf'data-view="{view}"[^>]*>[^<]*<span class="badge[^"]*">(\d+)', html)
    assert found is not None, html
    return int(found[1])


def test_what_waits_for_a_person_is_what_the_role_does_next(served: Served) -> None:
    """One case through its life: at each step it waits for those who take the next one."""
    case = served.report()
    people = ("acceptor", "dispatcher", "li", "supervisor", "shift_lead", "callback_desk")

    def waits() -> set[str]:
        return {person for person in people if case in cases(page(served, person, "work"))}

    assert waits() == {"acceptor", "li"}
    served.as_("acceptor").post(f"/cases/{case}/file", {"category": "exposed_garbage"})
    assert waits() == {"dispatcher"}
    served.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
    assert waits() == {"li"}
    served.as_("li").post(f"/cases/{case}/accept")
    assert waits() == {"li"}
    until = samples.after(days=2).isoformat()
    served.as_("li").post(f"/cases/{case}/ask-park", {"until": until, "reason": "等待配件"})
    assert waits() == {"li", "dispatcher"}
    served.as_("dispatcher").post(f"/cases/{case}/decline", {"reason": "无需等待"})
    served.as_("li").post(f"/cases/{case}/resolve", {"evidence": ["照片"]})
    assert waits() == {"supervisor"}
    served.as_("supervisor").post(f"/cases/{case}/check", {"passed": True})
    assert waits() == {"shift_lead"}
    served.as_("shift_lead").post(f"/cases/{case}/close", {"outcome": "resolved"})
    assert waits() == set()  # nobody is to be called back on what the grid worker saw


def test_the_views_count_what_they_list(served: Served) -> None:
    late, back = served.in_hand(), served.in_hand()
    served.as_("li").post(f"/cases/{back}/resolve", {"evidence": ["照片"]})
    served.as_("supervisor").post(f"/cases/{back}/check", {"passed": False, "note": "未清理"})
    checked = served.in_hand()
    served.as_("li").post(f"/cases/{checked}/resolve", {"evidence": ["照片"]})
    for view, expected in (
        ("sent_back", {back}),
        ("to_check", {checked}),
        ("due_soon", {late, back, checked}),  # what is closed late is late
        ("open", {late, back, checked}),
    ):
        html = page(served, "supervisor", "work", view=view)
        assert set(cases(html)) == expected, view
        assert count(html, view) == len(expected), view
    assert count(page(served, "supervisor", "work", view="open", tier="district"), "open") == 0


def test_who_may_not_hear_of_cases_is_not_made_to_listen(served: Served) -> None:
    """The feed refuses a resident, each time the page asks again."""
    assert "data-follow" in page(served, "li")
    assert "data-follow" not in page(served, "wang")


def test_a_list_goes_on_where_its_page_ends(served: Served) -> None:
    made = {served.report() for _ in range(5)}
    html = page(served, "acceptor", "work", view="open", limit=2)
    seen = cases(html)
    while following := re.search(r'hx-get="([^"]+after=[^"]+)"', html):
        html = get(served, "acceptor", following[1].replace("&amp;", "&"), "more").text
        assert "<html" not in html
        seen += cases(html)
    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize("found", ["楼下堆着", "13800000000"])
def test_words_and_numbers_are_found_in_one_field(served: Served, found: str) -> None:
    case = served.report(by="hotline", source="hotline", reporter={"phone": "13800000000"})
    served.report(description="别的事情")
    assert cases(page(served, "acceptor", "work", view="open", find=found)) == [case]
    assert not cases(page(served, "acceptor", "work", view="open", find="没有这句话"))


@pytest.mark.parametrize("found", ["20260302", "5-2-1001", "88001234", "+86 138 0000 0000"])
def test_digits_are_a_number_or_words(served: Served, found: str) -> None:
    """Of a case, of a house, of a telephone: whichever is there."""
    case = served.report(
        by="hotline",
        source="hotline",
        description="5-2-1001 门口漏水",
        reporter={"phone": "13800000000" if found.startswith("+") else "88001234"},
    )
    found = case[:8] if found == "20260302" else found
    html = page(served, "acceptor", view="open", find=found)
    assert cases(html) == [case]
    assert count(html, "open") == 1
    assert not cases(page(served, "acceptor", view="open", find="13999999999"))
    assert get(served, "acceptor", WORKLIST, find="(((((((").status_code == 200


def test_the_preview_shows_a_case_of_ones_scope(served: Served) -> None:
    case = served.in_hand()
    shown = get(served, "supervisor", f"{WORKLIST}/{case}/preview", "preview")
    assert case in shown.text
    assert "签收" in shown.text
    hidden = get(served, "other_worker", f"{WORKLIST}/{case}/preview", "preview")
    assert hidden.status_code == 404


def test_the_past_is_read_only(served: Served) -> None:
    case = served.report()
    position = served.store.history(f"case:{case}")[-1].position
    served.as_("acceptor").post(f"/cases/{case}/file", {"category": "exposed_garbage"})
    html = page(served, "acceptor", view="open", as_of=position)
    assert cases(html) == [case]
    assert "待受理" in html
    assert "只读" in html
    assert 'id="bulk"' not in html
    (link,) = re.findall(r'class="open" id="[^"]*" href="([^"]*)"', html)
    then = get(served, "acceptor", link)
    assert then.status_code == 200, then.text
    assert "历史快照" in then.text


def test_what_was_nearly_due_is_told_by_the_time_of_then(served: Served) -> None:
    soon, later = served.in_hand(), served.report()
    served.as_("acceptor").post(f"/cases/{later}/file", {"category": "illegal_construction"})
    position = served.store.history(f"case:{later}")[-1].position
    then = f"{position}@{served.clock.now.isoformat()}"
    now = page(served, "supervisor", "work", view="due_soon")
    assert cases(now) == [soon]
    served.clock.pass_(days=40)
    past = page(served, "supervisor", "work", view="due_soon", as_of=then)
    assert cases(past) == [soon]
    assert bars(past) == bars(now)
    assert bars(page(served, "supervisor", "work", view="due_soon")) != bars(now)


def test_the_tree_begins_with_ones_scope(served: Served) -> None:
    own = get(served, "acceptor", f"{WORKLIST}/places", "tree").text
    assert 'data-place="' in own
    below = get(served, "acceptor", f"{WORKLIST}/places", "tree", under=samples.COMMUNITY).text
    assert f'data-place="{samples.GRID}"' in below


def test_from_midnight_on_the_grids_of_the_new_day_are_offered(served: Served) -> None:
    new_day = date(2026, 3, 5)
    parts = (
        territory.Part(id="g8", name="新一网格", households=100, residents=300),
        territory.Part(id="g9", name="新二网格", households=200, residents=500),
    )
    served.store.execute(
        territory.SplitGrid(
            by=samples.ADMINISTRATOR,
            at=served.clock.now,
            path=samples.GRID,
            into=parts,
            effective=new_day,
        )
    )
    midnight = datetime.combine(new_day, time(), OFFICE_TIME)
    for passed, offered in ((-timedelta(minutes=1), False), (timedelta(hours=1), True)):
        served.clock.now = (midnight + passed).astimezone(UTC)
        below = get(served, "acceptor", f"{WORKLIST}/places", "tree", under=samples.COMMUNITY)
        assert ("新一网格" in below.text) is offered
        assert (samples.GRID in below.text) is not offered


def test_what_was_written_is_escaped_and_every_page_speaks_both_languages(served: Served) -> None:
    served.report(description="<script>alert(1)</script>垃圾")
    for language, said in (("zh", "全部在办"), ("en", "In hand")):
        served.client.cookies.set("wangge_lang", language)
        html = page(served, "acceptor", view="open")
        assert said in html
        assert "<script>alert" not in html
