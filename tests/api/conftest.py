"""A small district behind the API, set up by real commands once and copied for every test."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from fastapi import FastAPI
from psycopg_pool import ConnectionPool
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from api.app import create_app
from api.passwords import StoredPasswords
from api.services import API, Services
from domain import calendar, catalogue, staff, territory
from domain.history import LOG
from domain.places import id_of, parent_of, tier_of
from domain.roles import Actor, Grant, Role
from infra.attachments import Attachments
from infra.codec import NAMES, Codec
from infra.event_store import EventStore, LogRecorder
from infra.feed import Feed
from infra.forgetting import Forgetting
from infra.group_commit import GroupCommit
from infra.log_source import LogSource
from infra.migrations import role_dsn
from infra.postgres import EmbeddedPostgres
from infra.reports import render
from infra.vault import KeyFile, Vault
from infra.webhooks import Receivers, secret_of
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.gateway import Gateway
from projections.runner import Runner
from tests import samples
from tests.databases import copied, copy_database
from tests.domain import schedules

with warnings.catch_warnings():
    # It asks for httpx2, which nothing else here needs.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

SET_UP_AT: Final = samples.START - timedelta(days=30)
BEGUN: Final = SET_UP_AT.date() - timedelta(days=365)

PASSWORD: Final = "a password for tests"
WITH_PASSWORD: Final = ("li", "wang", "administrator")

HASHER: Final = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
"""As weak as can be, for it is not what is tested."""

UNITS: Final = (samples.PROPERTY, samples.RESIDENTS_COMMITTEE, samples.CLEANING, samples.WORKS)

PEOPLE: Final = (
    *samples.STAFF,
    samples.RESIDENT,
    samples.NEIGHBOUR,
    samples.OTHER_SHIFT_LEAD,
    samples.actor(Role.GRID_WORKER, samples.OTHER_GRID, "other_worker"),
    samples.actor(Role.COORDINATOR, samples.OTHER_COMMUNITY, "other_coordinator"),
    samples.actor(Role.ADMINISTRATOR, samples.SUBDISTRICT, "subdistrict_administrator"),
)

WHERE: Final = {
    "own": samples.COMMUNITY,
    "child": samples.GRID,
    "parent": samples.SUBDISTRICT,
    "sibling": samples.OTHER_COMMUNITY,
}
"""Where somebody works, seen from the community that a matrix is about."""

MATRIX: Final = tuple(
    Actor(f"{role.value}.{name}", (Grant(role, path),))
    for role in Role
    for name, path in WHERE.items()
)
"""One person for each role in each of these territories."""

_numbers = count(1)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = samples.START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        """Let some time pass."""
        self.now += timedelta(**time)


@dataclass(frozen=True)
class Caller:
    """Somebody who is signed in, or nobody, and speaks JSON."""

    client: TestClient
    token: Callable[[], str] | None

    def get(self, path: str, expect: int = 200, /, **query: Any) -> Any:
        """The answer's body; its status must be the one expected."""
        return self.send("GET", path, expect, params=query)

    def post(self, path: str, body: Any = None, expect: int = 200, **headers: str) -> Any:
        """The answer's body; its status must be the one expected."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path, expect, json=body, headers=given)

    def send(self, method: str, path: str, expect: int, **request: Any) -> Any:
        """Send anything."""
        headers = dict(request.pop("headers", {}))
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token()}"
        response = self.client.request(method, API + path, headers=headers, **request)
        assert response.status_code == expect, (response.status_code, response.text)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        media_type = "application/problem+json" if expect >= 400 else "application/json"
        assert response.headers["Content-Type"].startswith(media_type)
        body = response.json()
        if expect >= 400:
            assert body["type"] == f"urn:wangge:problem:{body['code']}"
            assert body["zh"]
            assert body["en"]
        return body


@dataclass(frozen=True)
class Served:
    """The API with what stands behind it."""

    app: FastAPI
    client: TestClient
    clock: Clock
    store: EventStore
    runner: Runner
    vault: Vault
    files: Path
    followed: dict[str, int] = field(default_factory=dict)

    def follow(self) -> None:
        """Fold what is new, if anything is: a matrix asks thousands of times."""
        if (head := self.runner.source.head(LOG)) != self.followed.get(LOG):
            self.runner.catch_up()
            self.followed[LOG] = head

    def token(self, person: str) -> str:
        """A token as signing in gives it."""
        answered: str = self.app.state.tokens.issue(person).access_token
        return answered

    def as_(self, person: str | Actor) -> Caller:
        """Somebody who has signed in just before every request."""
        name = person if isinstance(person, str) else person.id
        return Caller(self.client, lambda: self.token(name))

    @property
    def nobody(self) -> Caller:
        """Somebody who has not."""
        return Caller(self.client, None)

    def report(self, grid: str = samples.GRID, by: str = "li", **fields: Any) -> str:
        """A new case; returns its id."""
        body = {"territory": grid, "description": "楼下堆着垃圾", **fields}
        case: str = self.as_(by).post("/cases", body, expect=201)["case"]
        return case

    def in_hand(self, grid: str = samples.GRID, by: str = "li") -> str:
        """A case that its grid worker has in hand; returns its id."""
        case = self.report(grid, by, category="exposed_garbage")
        self.as_("dispatcher").post(f"/cases/{case}/dispatch", {})
        self.as_(by).post(f"/cases/{case}/accept")
        return case


@dataclass(frozen=True)
class District:
    """A database with the district of ``samples``, and the file of the key to its vault."""

    name: str
    kek: Path


@pytest.fixture(scope="session")
def district(
    postgres: EmbeddedPostgres,
    template: str,
    secret: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> District:
    """The district, which every API has a copy of."""
    made = District("wangge_district", tmp_path_factory.mktemp("district") / "kek")
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        copy_database(connection, template, made.name)
    dsn = postgres.dsn(made.name)
    with (
        _pool(role_dsn(dsn, secret, "wangge_app")) as app,
        _pool(role_dsn(dsn, secret, "wangge_vault")) as keys,
        _pool(role_dsn(dsn, secret, "wangge_projector")) as reading,
    ):
        vault = Vault(keys, KeyFile(made.kek))
        store = EventStore(LogRecorder(app), Codec(), vault)
        for commands in _set_up():
            store.execute(*commands)
        passwords = StoredPasswords(app, HASHER)
        for person in WITH_PASSWORD:
            passwords.set(person, PASSWORD)
        _runner(dsn, secret, LogSource(reading, Codec(), vault)).catch_up()
    return made


@contextmanager
def serving(
    postgres: EmbeddedPostgres, district: District, secret: bytes, body_limit: int = 20_000
) -> Iterator[Served]:
    """The API on a copy of the district, which is dropped afterwards."""
    name = f"wangge_api_{next(_numbers)}"
    clock = Clock()
    with ExitStack() as on:
        dsn = on.enter_context(copied(postgres, district.name, name))
        app_dsn = role_dsn(dsn, secret, "wangge_app")
        pool = on.enter_context(_pool(app_dsn))
        keys = on.enter_context(_pool(role_dsn(dsn, secret, "wangge_vault")))
        reading = on.enter_context(_pool(role_dsn(dsn, secret, "wangge_projector")))
        vault = Vault(keys, KeyFile(district.kek))
        store = EventStore(LogRecorder(pool), Codec(), vault)
        files = Path(on.enter_context(tempfile.TemporaryDirectory(prefix="wangge-test-")))
        source = LogSource(reading, Codec(), vault)
        passwords = StoredPasswords(pool, HASHER)
        services = Services(
            store=store,
            commits=GroupCommit(store, app_dsn),
            feed=Feed(store, pool, app_dsn),
            gateway=Gateway(pool, index_key(secret), wait_seconds=0.5),
            passwords=passwords,
            receivers=Receivers(store, pool),
            vault=vault,
            webhook_secret=partial(secret_of, secret),
            attachments=Attachments(str(files / "store"), vault, files / "scratch", lambda: name),
            forget=Forgetting(store, source, vault, passwords.drop).finish,
            render=render,
            names={event: name for name, event in NAMES.items()},
            secret=secret,
            clock=clock,
            body_limit=body_limit,
            attachment_limit=2_000_000,
        )
        app = create_app(services)
        client = on.enter_context(TestClient(app, raise_server_exceptions=False))
        runner = _runner(dsn, secret, source)
        yield Served(app, client, clock, store, runner, vault, files / "store")


def _runner(dsn: str, secret: bytes, source: LogSource) -> Runner:
    projector = role_dsn(dsn, secret, "wangge_projector")
    return Runner(
        source,
        lambda: psycopg.connect(projector, autocommit=True),
        tuple(read_models(index_key(secret)).values()),
    )


@pytest.fixture
def served(postgres: EmbeddedPostgres, district: District, secret: bytes) -> Iterator[Served]:
    """The API, answering in this process."""
    with serving(postgres, district, secret) as made:
        yield made


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, district: District, secret: bytes) -> Iterator[Served]:
    """The API for all tests of a module, which do not mind one another."""
    with serving(postgres, district, secret, body_limit=1_000_000) as made:
        yield made


def description() -> FastAPI:
    """The application as it describes itself, with nothing behind it."""
    nothing: Any = None
    return create_app(
        Services(
            store=nothing,
            commits=nothing,
            feed=nothing,
            gateway=nothing,
            passwords=nothing,
            receivers=nothing,
            vault=nothing,
            webhook_secret=nothing,
            attachments=nothing,
            forget=nothing,
            render=nothing,
            names={},
            secret=b"a secret for nothing, of 32 bytes",
            clock=Clock(),
        )
    )


def _set_up() -> Iterator[tuple[Any, ...]]:
    """The commands that make the district, in bunches."""
    by: dict[str, Any] = {"by": samples.SYSTEM, "at": SET_UP_AT}
    for year in map(schedules.year, (2025, 2026)):
        yield (
            calendar.PublishYear(
                **by, year=year.year, holidays=year.holidays, makeup_days=year.makeup_days
            ),
        )
    yield catalogue.set_up(samples.SYSTEM, SET_UP_AT)
    yield tuple(
        territory.CreateTerritory(
            **by,
            id=id_of(path),
            tier=tier_of(path),
            parent=parent_of(path),
            name=name,
            effective=BEGUN,
        )
        for path, name in samples.NAMES.items()
    )
    units = tuple(
        staff.AddUnit(
            **by,
            id=unit.id,
            name=unit.name,
            territory=unit.territory,
            categories=unit.categories,
        )
        for unit in UNITS
    )
    people = tuple(
        staff.AddUser(**by, id=p.id, name=p.id, grants=p.grants, unit=p.unit)
        for p in (*PEOPLE, *MATRIX)
    )
    yield (*units, *people)
    yield (
        *(
            territory.AssignWorker(**by, path=path, worker=worker)
            for path, worker in ((samples.GRID, "li"), (samples.OTHER_GRID, "other_worker"))
        ),
        territory.RecordHouseholds(
            **(by | {"by": samples.ADMINISTRATOR}),
            path=samples.GRID,
            households=300,
            residents=800,
            as_of=BEGUN,
        ),
    )


def _pool(dsn: str) -> ConnectionPool:
    return ConnectionPool(dsn, kwargs={"autocommit": True}, min_size=1, max_size=4, open=False)
