"""The report form: who gets which places and categories, and what it needs to work alone."""

import json
import re
from typing import Any

from api.auth import CONSOLE
from api.console import static
from api.console.pinyin import syllables
from tests import samples
from tests.api.conftest import Served


def opened(served: Served, person: str, **cookies: str) -> str:
    """The page as somebody sees it."""
    served.client.cookies.update(cookies)
    answer = served.client.get(
        f"{CONSOLE}/report", headers={"Authorization": f"Bearer {served.token(person)}"}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def options(html: str) -> dict[str, str]:
    """The attributes of each place that can be chosen, by its path."""
    return dict(re.findall(r'<option value="([^"]+)"([^>]*)>', html))


def known(html: str) -> list[dict[str, Any]]:
    """The categories that the page brings along."""
    found = re.search(r'<script type="application/json" id="known">(.*?)</script>', html, re.S)
    assert found
    categories: list[dict[str, Any]] = json.loads(found[1])
    return categories


def test_a_grid_worker_stands_in_the_own_grid_and_may_file(served: Served) -> None:
    html = opened(served, "li")
    assert set(options(html)) == {samples.GRID}
    assert "selected" in options(html)[samples.GRID]
    assert "data-file" in options(html)[samples.GRID]
    light = next(each for each in known(html) if each["code"] == "street_light")
    assert [sounds[0][0] for sounds in light["sounds"]] == ["l", "d"]


def test_a_resident_reports_in_the_own_name_and_leaves_the_category_to_others(
    served: Served,
) -> None:
    html = opened(served, samples.RESIDENT.id)
    assert known(html) == []
    assert "以您本人名义上报" in html
    assert 'name="phone"' not in html
    assert "f-category" not in html


def test_who_takes_calls_sees_all_places_of_the_subdistrict(served: Served) -> None:
    places = options(opened(served, "acceptor"))
    assert {samples.GRID, samples.OTHER_GRID, samples.COMMUNITY} <= set(places)
    assert all("data-file" in attributes for attributes in places.values())


def test_who_may_not_report_is_told_so_in_both_languages(served: Served) -> None:
    assert "您的角色不能上报事项" in opened(served, "dispatcher")
    assert "Your role cannot report cases" in opened(served, "dispatcher", wangge_lang="en")


def test_what_waits_on_the_device_is_shown_when_the_grid_is_split_or_the_role_gone(
    served: Served,
) -> None:
    assert 'id="waiting"' in opened(served, "dispatcher")
    lived = {"households": 150, "residents": 400}  # half of the grid each
    into = [{"id": f"g{n}", "name": name, **lived} for n, name in enumerate("甲乙", 98)]
    split = {"path": samples.GRID, "into": into, "effective": f"{served.clock():%Y-%m-%d}"}
    served.as_("administrator").post("/territory/split", split)
    html = opened(served, "li")
    assert "您负责的网格已撤并" in html
    assert 'id="waiting"' in html
    assert static.address("report.js") in html


def test_names_with_markup_are_shown_as_they_are(served: Served) -> None:
    markup = "<script>alert(1)</script>"
    administrator = served.as_("administrator")
    administrator.post(
        "/territory/rename",
        {"path": samples.GRID, "name": markup, "effective": f"{served.clock():%Y-%m-%d}"},
    )
    named = {"code": "x", "name_zh": markup, "name_en": markup, "size": "small"}
    administrator.post("/catalogue/define", {**named, "limit": None, "contact": None})
    html = opened(served, "li")
    assert markup not in html
    assert markup in {each["zh"] for each in known(html)}


def test_what_is_kept_for_offline_use_is_files_and_the_form_alone(served: Served) -> None:
    answer = served.client.get(static.WORKER)
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cache-Control"] == "no-cache"
    kept = json.loads(re.search(r"FILES = (\[.*?\]);", answer.text)[1])  # type: ignore[index]
    assert static.address("report.js") in kept
    for address in kept:
        assert address.startswith(f"{CONSOLE}/static/")
        assert served.client.get(address).status_code == 200
    # All that the page itself asks for, or it would not look or work as it should.
    html = opened(served, "li")
    asked = set(re.findall(rf'(?:src|href)="({CONSOLE}/static/[^"#]+)', html))
    assert asked | {static.address("drafts.js")} == set(kept)


def test_a_point_is_found_in_the_grid_that_encloses_it(served: Served) -> None:
    ring = [[121.0, 31.0], [121.1, 31.0], [121.1, 31.1], [121.0, 31.0]]
    today = f"{served.clock():%Y-%m-%d}"
    served.as_("administrator").post(
        "/territory/redraw", {"path": samples.GRID, "boundary": [ring], "effective": today}
    )
    found = served.as_("li").get("/territory/at", longitude=121.08, latitude=31.02)
    assert found["grids"] == [
        {
            "path": samples.GRID,
            "version": 2,
            "names": [samples.NAMES[path] for path in ("d1/", "d1/s1/", "d1/s1/c1/", samples.GRID)],
        }
    ]
    assert served.as_("li").get("/territory/at", longitude=121.02, latitude=31.08)["grids"] == []
    served.as_("li").get("/territory/at", 422, longitude=181, latitude=31)


def test_every_reading_of_a_character_is_known() -> None:
    assert syllables("重A") == [["chong", "tong", "zhong"], ["a"]]
