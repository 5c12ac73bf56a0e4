"""``/metrics``: what it says, and to whom."""

import re
import time
from dataclasses import replace

import psycopg
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from infra.postgres import EmbeddedPostgres
from tests.api.conftest import Served


def scrape(served: Served, client: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    """As somebody who comes from an address."""
    asking = TestClient(served.app, client=(client, 50_000))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = asking.get("/metrics", headers=named)
    return response.status_code, response.text


def test_it_tells_of_requests_by_route_and_of_every_read_model(served: Served) -> None:
    case = served.report()
    served.nobody.get("/health/live")
    status, text = scrape(served)
    assert status == 200
    assert 'wangge_requests_total{method="GET",route="/api/v1/health/live",status="200"}' in text
    assert 'route="/api/v1/cases"' in text
    assert re.search(r"wangge_group_commands_count [1-9]", text)
    assert re.search(r"wangge_group_commands_sum [1-9]", text)
    assert case not in text
    assert 'wangge_projection_lag_positions{projection="worklist"} 1.0' in text
    assert re.search(r'wangge_projection_lag_seconds{projection="worklist"} [\d.e-]+', text)
    assert 'wangge_projection_halted{projection="audit"} 0.0' in text
    assert "process_resident_memory_bytes" in text


def test_it_tells_how_far_the_log_was_carried_out(
    served: Served, postgres: EmbeddedPostgres
) -> None:
    assert served.nobody.get("/health")["relays"] == []
    assert "wangge_relay" not in scrape(served)[1]
    head = served.nobody.get("/health")["position"]
    with served.runner.connect() as connection:
        name = connection.info.dbname
    with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO relay.topic (topic, position, positions, offsets)"
            " VALUES ('a.log', %s, '{0}', '{-1}')",
            (head - 3,),
        )
    (relay,) = served.nobody.get("/health")["relays"]
    assert (relay["topic"], relay["position"], relay["lag"]) == ("a.log", head - 3, 3)
    assert relay["lag_seconds"] > 0
    text = scrape(served)[1]
    assert 'wangge_relay_lag_positions{topic="a.log"} 3.0' in text
    told = re.search(r'wangge_relay_lag_seconds{topic="a.log"} (\S+)', text)
    assert told
    assert float(told[1]) > 0


def test_a_clock_that_is_ahead_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.runner.catch_up()
    health = served.nobody.get("/health")
    assert (health["status"], abs(health["clock_ahead"]) < 5) == ("ok", True)
    monkeypatch.setattr("projections.standing._now", lambda: time.time() + 60)
    ill = served.nobody.get("/health")
    assert ill["status"] == "degraded"
    assert 55 < ill["clock_ahead"] < 65
    assert re.search(r"wangge_clock_ahead_seconds [56]\d", scrape(served)[1])


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "X_Real_IP"])
def test_behind_a_proxy_nobody_is_of_this_machine(served: Served, header: str) -> None:
    assert scrape(served, **{header: "127.0.0.1"})[0] == 403


def test_another_machine_is_let_in_by_the_token_alone(served: Served) -> None:
    assert scrape(served, client="10.0.0.7") == (403, "")
    assert scrape(served, client="10.0.0.7", Authorization="Bearer ")[0] == 403


def test_where_a_token_is_set_it_is_asked_of_everybody(served: Served) -> None:
    app = create_app(replace(served.app.state.services, metrics_token="a secret"))
    asking = TestClient(app, client=("127.0.0.1", 50_000))
    assert asking.get("/metrics").status_code == 403
    assert asking.get("/metrics", headers={"Authorization": "Bearer other"}).status_code == 403
    assert asking.get("/metrics", headers={"Authorization": "Bearer a secret"}).status_code == 200
