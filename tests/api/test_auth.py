"""Signing in, and what ends it."""

import base64
import json
import logging
from typing import Any

import pytest
import structlog
from fastapi import Request
from joserfc import jwt
from joserfc.jwk import OctKey
from structlog.testing import capture_logs

from api.auth import Attempts, _address
from api.passwords import StoredPasswords
from domain import staff
from domain.roles import Grant, Role
from infra.group_commit import GroupCommit
from infra.logging import set_up
from infra.settings import Settings
from tests import samples
from tests.api.conftest import PASSWORD, Caller, Served


def sign_in(served: Served, username: str, password: str = PASSWORD, expect: int = 200) -> Any:
    return served.nobody.post(
        "/tokens", {"username": username, "password": password}, expect=expect
    )


def bearing(served: Served, token: str) -> Caller:
    return Caller(served.client, lambda: token)


def test_a_password_gives_a_token_that_is_good_for_half_an_hour(served: Served) -> None:
    answer = sign_in(served, "li")
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)
    li = bearing(served, answer["access_token"])
    assert li.get("/staff/me")["id"] == "li"
    served.clock.pass_(minutes=29, seconds=59)
    li.get("/staff/me")
    served.clock.pass_(seconds=1)
    for path in ("/staff/me", "/cases", "/cases/x", "/cases/x/timeline", "/audit", "/metrics"):
        assert li.get(path, 401)["code"] == "request.token_expired"
    assert li.post("/tokens/renew", expect=401)["code"] == "request.token_expired"
    assert li.post("/cases/x/accept", expect=401)["code"] == "request.token_expired"


def test_a_sign_in_can_be_renewed_for_a_shift(served: Served) -> None:
    answer = sign_in(served, "li")
    for _ in range(26):
        served.clock.pass_(minutes=27)
        answer = bearing(served, answer["access_token"]).post("/tokens/renew")
    token = answer["access_token"]
    assert answer["expires_in"] == 18 * 60  # 26 × 27 minutes are 11 h 42
    served.clock.pass_(minutes=18)
    assert bearing(served, token).get("/staff/me", 401)["code"] == "request.token_expired"


def test_who_fails_to_sign_in_is_not_told_why(served: Served) -> None:
    wrong = {"li": "wrong", "nobody": PASSWORD, "hotline": PASSWORD, "system:x": PASSWORD}
    for username, password in wrong.items():
        problem = sign_in(served, username, password, expect=401)
        assert problem["code"] == "request.bad_credentials"


def test_too_many_failures_close_an_account_for_a_while(served: Served) -> None:
    for _ in range(Attempts.PER_ACCOUNT):
        sign_in(served, "li", "wrong", expect=401)
        served.clock.pass_(seconds=1)
    response = served.client.post("/api/v1/tokens", json={"username": "li", "password": PASSWORD})
    assert (response.status_code, response.json()["code"]) == (429, "request.too_many_attempts")
    seconds = int(response.headers["Retry-After"])
    assert 0 < seconds <= Attempts.WINDOW.seconds
    sign_in(served, "wang")
    served.clock.pass_(seconds=seconds)
    sign_in(served, "li")


def test_too_many_failures_close_an_address_for_a_while(served: Served) -> None:
    for number in range(Attempts.PER_ADDRESS):
        served.app.state.attempts.begin(f"person{number}", "testclient", served.clock())
    assert sign_in(served, "li", expect=429)["code"] == "request.too_many_attempts"


def test_an_address_is_counted_without_its_port_and_of_ipv6_the_network() -> None:
    def address(host: str, port: int = 1) -> str:
        return _address(Request({"type": "http", "client": (host, port)}))

    assert address("192.0.2.7", 1) == address("192.0.2.7", 2) == "192.0.2.7"
    assert address("2001:db8::1") == address("2001:db8::2") == "2001:db8::/64"
    assert address("2001:db8:0:1::1") != address("2001:db8::1")
    assert _address(Request({"type": "http", "client": None})) == ""


def test_a_right_password_is_not_counted(served: Served) -> None:
    for _ in range(Attempts.PER_ACCOUNT + 1):
        sign_in(served, "li")


def test_what_is_remembered_of_failures_is_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attempts, "REMEMBERED", 20)
    attempts = Attempts()
    for number in range(100):
        attempts.begin(f"person{number}", f"address{number}", served.clock())
    assert len(attempts._failed) <= 20


def _tokens(served: Served) -> dict[str, str]:
    """Tokens that are not ours, by what is wrong with them."""
    good = served.token("li")
    header, payload, signature = good.split(".")

    def encoded(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    foreign = OctKey.import_key(b"another installation's secret, 32 bytes")
    none = encoded({"alg": "none", "typ": "JWT"})
    other = encoded(claims | {"sub": "administrator"})
    return {
        "nonsense": "nonsense",
        "empty": ".",
        "another's key": jwt.encode({"alg": "HS256"}, claims, foreign),
        "another person": f"{header}.{other}.{signature}",
        "alg none": f"{none}.{payload}.",
        "alg none, signed": f"{none}.{payload}.{signature}",
        "no signature": f"{header}.{payload}.",
        "tampered signature": f"{header}.{payload}.{signature[:-4]}AAAA",
        "no such person": served.token("nobody"),
    }


def test_a_token_that_is_not_ours_is_refused(served: Served) -> None:
    for wrong, token in _tokens(served).items():
        response = served.client.get(
            "/api/v1/staff/me", headers={"Authorization": f"Bearer {token}"}
        )
        assert (response.status_code, response.json()["code"]) == (401, "request.bad_token"), wrong
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_of_ours_must_say_all_it_has_to(served: Served) -> None:
    key = served.app.state.tokens._key
    now = served.clock().timestamp()
    whole = {"iss": "wangge", "sub": "li", "iat": now, "exp": now + 9, "auth_time": now}
    wrong: tuple[dict[str, Any], ...] = (
        {"sub": "li"},
        whole | {"iss": "other"},
        whole | {"exp": "soon"},
        whole | {"exp": 1e300},
        whole | {"sub": 1},
    )
    for claims in wrong:
        token = jwt.encode({"alg": "HS256"}, claims, key)
        assert bearing(served, token).get("/staff/me", 401)["code"] == "request.bad_token"


def test_without_a_token_nothing_is_answered(served: Served) -> None:
    for header in ("", "Basic bGk6eA==", "Bearer", "bearer "):
        response = served.client.get("/api/v1/staff/me", headers={"Authorization": header})
        assert response.status_code == 401
        assert response.json()["code"] in ("request.sign_in", "request.bad_token")


def test_a_suspended_account_can_do_nothing_from_then_on(served: Served) -> None:
    li = served.as_("li")
    served.as_("administrator").post("/staff/users/li/suspend", {"reason": "离职"})
    assert li.get("/cases", 403)["code"] == "staff.suspended"
    assert sign_in(served, "li", expect=403)["code"] == "staff.suspended"
    assert sign_in(served, "li", "wrong", expect=401)["code"] == "request.bad_credentials"
    served.as_("administrator").post("/staff/users/li/restore")
    li.get("/cases")


def test_a_revoked_role_counts_at_once(served: Served) -> None:
    li = bearing(served, served.token("li"))
    body = {"territory": samples.GRID, "description": "垃圾"}
    li.post("/cases", body, 201)
    grant = {"role": "grid_worker", "territory": samples.GRID}
    served.as_("administrator").post("/staff/users/li/revoke", grant)
    assert li.post("/cases", body, 403)["code"] == "role.not_permitted"
    served.as_("administrator").post("/staff/users/li/grant", grant)
    li.post("/cases", body, 201)


def test_a_changed_password_ends_every_earlier_sign_in(served: Served) -> None:
    before = bearing(served, sign_in(served, "li")["access_token"])
    served.clock.pass_(milliseconds=1)
    before.post("/staff/me/password", {"current": PASSWORD, "password": "a new password"})
    served.clock.pass_(milliseconds=1)
    assert before.get("/staff/me", 401)["code"] == "request.password_changed"
    assert sign_in(served, "li", expect=401)["code"] == "request.bad_credentials"
    bearing(served, sign_in(served, "li", "a new password")["access_token"]).get("/staff/me")
    # The log says who did it and in which role, and nothing of the password.
    last = served.store.history(staff.STREAM)[-1]
    assert (last.name, last.actor, last.event.user) == ("staff.password_changed", "li", "li")
    assert last.roles == "grid_worker"


def test_a_password_changed_while_it_is_compared_ends_that_sign_in_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = StoredPasswords.verify

    def slowly(stored: StoredPasswords, person: str, password: str) -> bool:
        matches = verify(stored, person, password)
        served.clock.pass_(seconds=1)
        new = {"password": "set by somebody"}
        served.as_("administrator").post("/staff/users/li/password", new)
        served.clock.pass_(seconds=1)
        return matches

    with monkeypatch.context() as on:
        on.setattr(StoredPasswords, "verify", slowly)
        late = bearing(served, sign_in(served, "li")["access_token"])
    assert late.get("/staff/me", 401)["code"] == "request.password_changed"
    assert late.post("/tokens/renew", expect=401)["code"] == "request.password_changed"


def test_a_renewal_does_not_outlive_a_change_of_the_password(served: Served) -> None:
    began = served.clock()
    served.clock.pass_(minutes=1)
    new = {"password": "set by somebody"}
    served.as_("administrator").post("/staff/users/li/password", new)
    served.clock.pass_(minutes=1)
    # As given out by a renewal that had looked at the account just before the change.
    renewed = bearing(served, served.app.state.tokens.issue("li", began).access_token)
    assert renewed.get("/staff/me", 401)["code"] == "request.password_changed"


def test_a_password_stays_when_its_change_cannot_be_recorded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"current": PASSWORD, "password": "a new password"}
    with monkeypatch.context() as on:
        on.setattr(GroupCommit, "execute", _break)
        served.as_("li").post("/staff/me/password", body, 500)
    sign_in(served, "li", "a new password", expect=401)
    sign_in(served, "li")


def test_a_sign_in_ends_even_if_the_new_password_cannot_be_set(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bearing(served, sign_in(served, "li")["access_token"])
    served.clock.pass_(seconds=1)
    with monkeypatch.context() as on:
        on.setattr(StoredPasswords, "set", _break)
        before.post("/staff/me/password", {"current": PASSWORD, "password": "a new one"}, 500)
    assert before.get("/staff/me", 401)["code"] == "request.password_changed"
    sign_in(served, "li")


def test_a_sign_in_while_the_new_password_is_set_does_not_outlive_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_password, between = StoredPasswords.set, list[str]()

    def slowly(stored: StoredPasswords, person: str, password: str) -> None:
        served.clock.pass_(seconds=1)
        between.append(sign_in(served, "li")["access_token"])
        served.clock.pass_(seconds=1)
        set_password(stored, person, password)

    with monkeypatch.context() as on:
        on.setattr(StoredPasswords, "set", slowly)
        body = {"current": PASSWORD, "password": "a new password"}
        served.as_("li").post("/staff/me/password", body)
    (token,) = between
    assert bearing(served, token).get("/staff/me", 401)["code"] == "request.password_changed"


def test_the_own_password_is_changed_by_who_knows_it(served: Served) -> None:
    body = {"current": "wrong", "password": "a new password"}
    problem = served.as_("li").post("/staff/me/password", body, 403)
    assert problem["code"] == "request.wrong_password"
    sign_in(served, "li")


def test_an_administrator_sets_passwords_within_the_own_territory(served: Served) -> None:
    new = {"password": "set by somebody"}
    served.as_("subdistrict_administrator").post("/staff/users/li/password", new)
    sign_in(served, "li", "set by somebody")
    refused = served.as_("subdistrict_administrator").post(
        "/staff/users/administrator/password", new, 403
    )
    assert refused["code"] == "role.not_permitted"
    sign_in(served, "administrator")


def test_a_password_that_could_not_be_set_is_when_it_is_sent_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    administrator, path = served.as_("administrator"), "/staff/users"
    grants = [{"role": "grid_worker", "territory": samples.SIBLING_GRID}]
    added = {"id": "chen", "name": "陈晨", "grants": grants, "password": "first password"}
    with monkeypatch.context() as on:
        on.setattr(StoredPasswords, "set", _break)
        administrator.post(path, added, 500, Idempotency_Key="k")
    sign_in(served, "chen", "first password", expect=401)
    done = administrator.post(path, added, 201, Idempotency_Key="k")
    assert done["events"] == ["staff.user_added"]
    sign_in(served, "chen", "first password")
    # Not once more: what somebody has chosen since stays.
    own = {"current": "first password", "password": "of her own"}
    served.as_("chen").post("/staff/me/password", own)
    assert administrator.post(path, added, 201, Idempotency_Key="k") == done
    sign_in(served, "chen", "of her own")
    other = added | {"password": "another"}
    assert administrator.post(path, other, 422, Idempotency_Key="k")["code"] == "request.key_reused"


def test_a_password_is_not_set_where_nobody_was_added_or_the_rights_are_gone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    chief, path = served.as_("subdistrict_administrator"), "/staff/users"
    grants = [{"role": "grid_worker", "territory": samples.SIBLING_GRID}]
    there = {"id": "other_worker", "name": "某人", "grants": grants, "password": "not to be set"}
    for _ in range(2):
        refused = chief.post(path, there, 409, Idempotency_Key="a")
        assert refused["code"] == "staff.user_exists"
    sign_in(served, "other_worker", "not to be set", expect=401)
    added = there | {"id": "chen"}
    with monkeypatch.context() as on:
        on.setattr(StoredPasswords, "set", _break)
        chief.post(path, added, 500, Idempotency_Key="b")
    right = {"role": "administrator", "territory": samples.SUBDISTRICT}
    served.as_("administrator").post("/staff/users/subdistrict_administrator/revoke", right)
    assert chief.post(path, added, 201, Idempotency_Key="b")["events"] == ["staff.user_added"]
    sign_in(served, "chen", "not to be set", expect=401)


def test_somebody_new_signs_in_with_the_password_given(served: Served) -> None:
    added = {
        "id": "chen",
        "name": "陈晨",
        "grants": [{"role": "grid_worker", "territory": samples.SIBLING_GRID}],
        "password": "first password",
    }
    served.as_("administrator").post("/staff/users", added, 201)
    token = sign_in(served, "chen", "first password")["access_token"]
    served.runner.catch_up()
    assert bearing(served, token).get("/staff/me")["name"] == "陈晨"


def test_nobody_hands_out_the_roles_of_processes(served: Served) -> None:
    grant = {"role": "importer", "territory": ""}
    problem = served.as_("administrator").post("/staff/users/li/grant", grant, 403)
    assert problem["code"] == "staff.role_reserved"


def test_no_secret_is_logged(served: Served) -> None:
    with capture_logs() as logs:
        token = sign_in(served, "li")["access_token"]
        sign_in(served, "li", "a wrong secret", expect=401)
        sign_in(served, "li", "\0 secret", expect=422)
        bearing(served, token).get("/cases", text="王女士")
    assert [entry["status"] for entry in logs] == [200, 401, 422, 200]
    written = json.dumps(logs, ensure_ascii=False)
    for secret in (PASSWORD, token, "a wrong secret", "王女士"):
        assert secret not in written
    assert logs[-1]["person"] == "li"


def _break(*_: object) -> None:
    raise RuntimeError("something is broken")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_no_secret_is_logged_with_an_unexpected_error(
    served: Served,
    secret: bytes,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, before = logging.getLogger(), structlog.get_config()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    token = served.token("li")
    set_up(Settings(log_json=as_json))
    try:
        with monkeypatch.context() as on:
            on.setattr(StoredPasswords, "verify", _break)
            sign_in(served, "li", expect=500)
        with monkeypatch.context() as on:
            on.setattr(GroupCommit, "look", _break)
            bearing(served, token).get("/cases", 500)
            bearing(served, token).post("/staff/me/password", {"current": PASSWORD}, 500)
    finally:
        structlog.configure(**before)
    written = capsys.readouterr().err
    assert written.count("RuntimeError: something is broken") == 3
    for private in (secret.decode(), PASSWORD, token, "Bearer"):
        assert private not in written
    assert len(written) < 60_000


def test_an_importer_signed_in_imports_nothing_over_http(served: Served) -> None:
    # What stands in the log as imported comes from an import alone.
    importer = samples.actor(Role.IMPORTER, "", "an_importer")
    served.store.execute(
        staff.AddUser(
            by=samples.SYSTEM, at=served.clock(), id=importer.id, name="x",
            grants=(Grant(Role.IMPORTER, ""),),
        )
    )  # fmt: skip
    body = {"territory": samples.GRID, "description": "旧案"}
    extra = {"imported": {"system": "old", "reference": "1"}}
    problem = served.as_(importer).post("/cases", body | extra, 422)
    assert problem["errors"][0]["code"] == "extra_forbidden"
