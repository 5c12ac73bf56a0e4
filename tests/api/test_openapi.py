"""The OpenAPI description is true: whatever is sent, the answer is one that it describes."""

import asyncio
import random
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from domain import staff
from domain.roles import Grant, Role
from tests import samples
from tests.api.conftest import Served, description

# Hypothesis looks whether the state of ``random`` has changed while it made a request, and takes
# what another thread drew meanwhile for its own: those of a pool of connections do.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)

EXAMPLES = 5
"""Random requests to each operation, beside those that go systematically through its schema."""

_serving: list[Any] = []
_known: dict[str, list[str]] = {}
_chance = random.Random(0)


async def _forward(scope: Any, receive: Any, send: Any) -> None:
    """To the application of the test that runs: the description is needed before there is one.

    By its own client, for commands are stored in the one event loop that the application runs in.
    """
    if scope["type"] == "lifespan":
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    response = await asyncio.to_thread(
        _serving[-1].request,
        scope["method"],
        httpx.URL("http://testserver").copy_with(raw_path=target),
        headers=[(name, value) for name, value in scope["headers"] if name != b"content-length"],
        content=body,
    )
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.headers.raw,
        }
    )
    await send({"type": "http.response.body", "body": response.content})


STREAM = "/api/v1/feed"
"""It does not end; its answers are looked at in ``test_feed``."""


def _existing(_context: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Mostly what exists, so that requests get further than to a 404."""
    for name, existing in _known.items():
        # What was made wrong on purpose stays so.
        given = str((parameters or {}).get(name, ""))
        if re.fullmatch("[A-Za-z0-9._:-]{1,64}", given) and _chance.random() < 0.7:
            parameters = {**(parameters or {}), name: _chance.choice(existing)}
    return parameters


@pytest.fixture
def named(request: pytest.FixtureRequest) -> None:
    """schemathesis keeps the name of the test where pytest before 9.2 had it."""
    request.node._nodeid = request.node.nodeid


@pytest.fixture(scope="module")
def described() -> Any:
    """The description, read when the test begins: building its requests takes longer than all else
    that a worker collects, and only one worker needs them.
    """
    schema = schemathesis.openapi.from_dict(
        description().openapi(),
        config=SchemathesisConfig.from_dict(
            {
                "generation": {"with-security-parameters": False},
                "request-timeout": 60,  # a PDF takes a slow machine its time
                # What is wrong may also be too large, or name a version that was never there.
                "checks": {
                    "negative_data_rejection": {
                        "expected-statuses": [400, 401, 403, 404, 405, 409, 412, 413, 415, 422]
                    }
                },
            }
        ),
    )
    schema.app = _forward
    schema.hook("map_path_parameters")(_existing)
    return schema


@pytest.fixture(scope="module")
def everybody(shared: Served) -> Iterator[str]:
    """One person who may do everything, with cases to do it to."""
    grants = tuple(Grant(role, "") for role in Role)
    shared.store.execute(
        staff.AddUser(by=samples.SYSTEM, at=shared.clock(), id="all", name="All", grants=grants)
    )
    cases = [shared.report(category="exposed_garbage") for _ in range(20)]
    cases += [shared.in_hand() for _ in range(20)]
    _serving.append(shared.client)
    _known.update(case=cases, user=["li", "wang"], unit=["cleaning"])
    stop = threading.Event()
    projector = threading.Thread(target=shared.runner.follow, args=(stop,))
    projector.start()
    yield "all"
    stop.set()
    projector.join()


DESCRIBED = schemathesis.pytest.from_fixture("described").exclude(path=STREAM)
EACH = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@EACH
@DESCRIBED.include(method="GET").parametrize()
@pytest.mark.usefixtures("named")
def test_every_answer_to_a_question_is_described(
    case: schemathesis.Case[Any], shared: Served, everybody: str
) -> None:
    _look_at(case, shared, everybody)


@EACH
@DESCRIBED.exclude(method="GET").parametrize()
@pytest.mark.usefixtures("named")
def test_every_answer_to_a_command_is_described(
    case: schemathesis.Case[Any], shared: Served, everybody: str
) -> None:
    _look_at(case, shared, everybody)


def _look_at(case: schemathesis.Case[Any], shared: Served, person: str) -> None:
    # What fits the schema may still break a rule of the office, which is a 422 too; and a header
    # that nobody knows is no mistake.
    excluded: list[Any] = [positive_data_acceptance]
    if "x-schemathesis-unknown-property" in (case.headers or {}):
        excluded.append(negative_data_rejection)
    case.call_and_validate(
        headers={"Authorization": f"Bearer {shared.token(person)}"},
        excluded_checks=excluded,
    )
