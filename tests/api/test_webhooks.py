"""Receivers over the API: added by administrators, with a secret that is shown once."""

from infra.webhooks import secret_of
from tests import samples as s
from tests.api.conftest import Served

CITY = {"id": "city", "territory": s.COMMUNITY, "url": "https://example.com/hook"}


def test_a_secret_is_shown_once(served: Served, secret: bytes) -> None:
    administrator = served.as_("administrator")
    done = administrator.post("/webhooks", CITY, 201, Idempotency_Key="k1")
    assert done["secret"] == secret_of(secret, "city", 1)
    assert done["events"] == ["webhook.receiver_added"]
    again = administrator.post("/webhooks", CITY, 201, Idempotency_Key="k1")
    assert "secret" not in again or again["secret"] == ""
    assert done["secret"] not in str(administrator.get("/webhooks"))
    rotated = administrator.post("/webhooks/city/rotate")
    assert rotated["secret"] == secret_of(secret, "city", 2)


def test_a_receiver_is_seen_with_how_it_goes(served: Served) -> None:
    administrator = served.as_("administrator")
    administrator.post("/webhooks", CITY | {"events": ["case.filed"]}, 201)
    (row,) = administrator.get("/webhooks")["rows"]
    assert (row["id"], row["by"], row["events"]) == ("city", "administrator", ["case.filed"])
    assert (row["delivered"], row["dead"], row["lag"]) == (0, 0, 0)
    assert administrator.get("/webhooks/city/dead") == {"rows": [], "next": None}
    administrator.post("/webhooks/city/change", {"url": "https://example.org/"})
    assert administrator.get("/webhooks")["rows"][0]["url"] == "https://example.org/"
    administrator.post("/webhooks/city/resend", {"positions": [7]})
    administrator.post("/webhooks/city/remove")
    assert administrator.get("/webhooks")["rows"] == []
    assert administrator.get("/webhooks/city/dead", 404)["code"] == "webhook.unknown"


def test_only_https_is_let_in(served: Served) -> None:
    administrator = served.as_("administrator")
    plain = CITY | {"url": "http://example.com/"}
    assert administrator.post("/webhooks", plain, 422)["code"] == "request.https_only"
    administrator.post("/webhooks", CITY, 201)
    change = {"url": "http://example.com/"}
    no = administrator.post("/webhooks/city/change", change, 422)
    assert no["code"] == "request.https_only"


def test_a_territory_must_be_there(served: Served) -> None:
    nowhere = CITY | {"territory": "d1/s9/"}
    no = served.as_("administrator").post("/webhooks", nowhere, 404)
    assert no["code"] == "territory.unknown"
