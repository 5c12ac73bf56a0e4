"""Operations at the console: read models as they run, held and let go."""

import pytest

from projections.schemas import is_paused
from tests.api.conftest import Served
from tests.api.console.test_metrics import page, texts


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_read_model_stands_there(shared: Served, language: str) -> None:
    shared.runner.catch_up()
    said = texts(page(shared, "supervisor", "/operations", language))
    for projection in shared.runner.projections:
        assert projection.name in said
    assert ("跟进中" if language == "zh" else "following") in said


def test_only_who_answers_for_everything_holds_a_read_model(shared: Served) -> None:
    refused = shared.as_("supervisor").post("/projections/quality/pause", None, 403)
    assert refused["code"] == "role.not_permitted"
    assert "/projections/quality/pause" not in page(shared, "supervisor", "/operations").text


def test_a_read_model_is_held_and_let_go(served: Served) -> None:
    by = served.as_("administrator")
    with served.runner.connect() as connection:
        for _ in range(2):
            assert by.post("/projections/quality/pause")["paused"]
            assert is_paused(connection, "quality")
        row = connection.execute("SELECT by FROM projector.paused").fetchone()
        assert row == ("administrator",)
        (known,) = (r for r in by.get("/projections")["rows"] if r["name"] == "quality")
        assert known["paused"]
        assert "已暂停" in texts(page(served, "administrator", "/operations"))
        by.post("/projections/quality/resume")
        assert not is_paused(connection, "quality")


def test_what_is_no_read_model_is_not_found(shared: Served) -> None:
    answer = shared.as_("administrator").post("/projections/nothing/pause", None, 404)
    assert answer["code"] == "request.unknown_projection"


def test_nothing_is_skipped_of_what_goes_on(shared: Served) -> None:
    body = {"position": 1, "reason": "x"}
    answer = shared.as_("administrator").post("/projections/quality/skip", body, 409)
    assert answer["code"] == "projection.not_halted"


def test_without_the_right_there_is_no_page(shared: Served) -> None:
    assert page(shared, "li", "/operations").status_code == 403
