"""Who is forgotten stands in no read model, and whenever it is rebuilt it has the same bytes."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain import staff
from domain.case import commands as c
from domain.personal import FORGOTTEN, SEALED
from domain.privacy import PersonForgotten
from domain.roles import Grant, Role
from projections.blind_index import index_key
from projections.catalog import read_models
from projections.projection import Log
from projections.runner import NotTheSame, Projection, Runner, Source
from tests import samples
from tests.projections.sealed_log import Paged, SealedLog, personal_texts

KEY = index_key(b"a secret for tests only, 32 bytes")
MODELS = read_models(KEY)
ALONE = [name for name in samples.PATHS if name not in ("unknown", "merged")]
PEOPLE = ["wang", "zhao", "p-1"]
METRICS = ("containment", "timeliness", "caseload", "evaluation", "quality")
TOLD = ("search", "audit")
"""The read models that hear of a forgetting."""

NAMES = ["王小明", "欧阳娜娜", "John Smith", ""]
PHONES = ["13812345678", "+86 139 8765 4321", "010-87654321", ""]
ADDRESSES = ["幸福路3号阳光小区2栋301", "李家村五组12号", ""]
TEXTS = [
    "三号楼楼道里一直堆着旧家具",
    "找王小明，电话13812345678，家里漏水很久了",
    "路灯不亮了已经三天",
]


def story(log: SealedLog, chance: random.Random) -> None:
    """One stretch of an office's life: reports, steps, looks, and now and then a forgetting."""
    for _ in range(chance.randint(1, 12)):
        case = f"case-{chance.randint(1, 9)}"
        who = chance.choice(PEOPLE)
        what = chance.random()
        if what < 0.5:
            for command in samples.PATHS[chance.choice(ALONE)]:
                log.attempt(_varied(replace(command, case=case), who, chance))
            log.attempt(samples.note(case=case, text=chance.choice(TEXTS)))
        elif what < 0.6:
            log.attempt(samples.show(by=samples.ACCEPTOR, case=case, reason="居民来电"))
        elif what < 0.7:
            grants = (Grant(Role.HANDLER, samples.COMMUNITY),)
            log.attempt(
                staff.AddUser(
                    by=samples.ADMINISTRATOR,
                    at=samples.NOW,
                    id=who,
                    name=chance.choice(NAMES[:3]),
                    grants=grants,
                )
            )
        else:
            named = tuple({f"case-{chance.randint(1, 9)}" for _ in range(chance.randint(0, 2))})
            log.attempt(samples.ask_forget(person=who, cases=named))
            log.attempt(samples.approve_forget(person=who, cases=tuple(_reported(log, who))))


def _varied(command: Any, who: str, chance: random.Random) -> Any:
    if not isinstance(command, c.ReportCase):
        return command
    reporter = c.Reporter(
        person=who,
        name=chance.choice(NAMES),
        phone=chance.choice(PHONES),
        address=chance.choice(ADDRESSES),
    )
    return replace(
        command,
        by=samples.ACCEPTOR,
        source=c.Source.WINDOW,
        description=chance.choice(TEXTS),
        spot=c.Spot(address=chance.choice(ADDRESSES)),
        reporter=chance.choice([reporter, reporter, None]),
    )


def _reported(log: SealedLog, person: str) -> list[str]:
    return [
        recorded.event.case
        for recorded in log.events
        if recorded.name == "case.reported"
        and recorded.event.reporter is not None
        and recorded.event.reporter.person == person
    ]


@pytest.fixture
def log() -> SealedLog:
    return SealedLog()


@pytest.fixture
def over(runner: Runner, log: SealedLog) -> Callable[..., Runner]:
    """A runner over the log in memory, in the database of this test.

    It rebuilds by streams, ``page`` events at a time, or ``paged`` in the order of the log.
    """
    assert isinstance(log, Log)  # else all of it would be by pages, unseen

    def made(*projections: Projection, page: int = 5000, paged: bool = False) -> Runner:
        source: Source = Paged(log) if paged else log
        return Runner(
            source, runner.connect, projections or tuple(MODELS.values()), page=page, stretch=page
        )

    return made


@pytest.mark.parametrize("round_", range(4))
def test_the_same_bytes_live_and_rebuilt_before_and_after_the_keys_are_gone(
    log: SealedLog, over: Callable[..., Runner], round_: int
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    while not any(isinstance(each.event, PersonForgotten) for each in log.events):
        story(log, chance)
    for _ in range(chance.randint(1, 4)):
        story(log, chance)
        over(page=chance.choice((1, 2, 3, 7, 50, 5000))).catch_up()
        if chance.random() < 0.4:
            log.destroy_keys()
    before = {name: over().rebuild(model, verify=True) for name, model in MODELS.items()}
    log.destroy_keys()
    after = {n: over().rebuild(model, verify=True) for n, model in MODELS.items()}
    assert after == before
    for name in TOLD:
        for page in (1, chance.randint(2, 20)):
            for paged in (False, True):
                made = over(page=page, paged=paged).rebuild(MODELS[name], verify=True)
                assert made == before[name]


@pytest.mark.parametrize("name", TOLD)
def test_a_read_model_that_does_not_hear_of_it_is_found_out(
    log: SealedLog, over: Callable[..., Runner], name: str
) -> None:
    """The negative control. A deaf audit trail is the same again, but says the wrong thing."""
    deaf = replace(
        MODELS[name], events=tuple(e for e in MODELS[name].events if e is not PersonForgotten)
    )
    forget_wang(log)
    over(deaf).catch_up()
    log.destroy_keys()
    if name == "search":
        with pytest.raises(NotTheSame, match="search"):
            over().rebuild(deaf, verify=True)
    else:
        over().rebuild(deaf, verify=True)
        assert FORGOTTEN not in contents(over(), "audit.entries")


def forget_wang(log: SealedLog) -> None:
    """Wang reported case-1, is named in case-2 of somebody else, and is forgotten."""
    for command in samples.PATHS["closed"]:
        log.execute(command)
    log.execute(
        samples.report(
            by=samples.ACCEPTOR,
            case="case-2",
            description="王女士又打电话来说漏水",
            spot=c.Spot(address="幸福路3号"),
            reporter=c.Reporter(person="zhao", name="赵先生", phone="13987654321"),
        )
    )
    log.execute(samples.ask_forget(cases=("case-2",)), samples.approve_forget())


def contents(runner: Runner, table: str) -> str:
    with runner.connect() as connection:
        rows = connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall()
    return "\n".join(row[0] for row in rows)


def all_contents(runner: Runner) -> str:
    tables = [f"{m.name}.{t.name}" for m in runner.projections for t in m.tables]
    return "\n".join(contents(runner, table) for table in tables)


def test_no_read_model_holds_a_clear_text(log: SealedLog, over: Callable[..., Runner]) -> None:
    """What masks keep (a surname, a road) is less than any of the texts."""
    chance = random.Random(4)
    for _ in range(30):
        story(log, chance)
    over().catch_up()
    held = all_contents(over(*(m for m in MODELS.values() if m.name != "search")))
    held += contents(over(), "search.cases")
    texts = personal_texts(log.events)
    assert {"王小明", "13812345678", "找王小明，电话13812345678，家里漏水很久了"} <= texts
    assert {text for text in texts if text in held} == set()
    assert "13812345678" not in all_contents(over())


def test_after_forgetting_the_timeline_says_so_up_to_there(
    log: SealedLog, over: Callable[..., Runner]
) -> None:
    forget_wang(log)
    log.execute(samples.reopen(at=samples.after(days=2)))
    over().catch_up()
    entries = contents(over(), "audit.entries").splitlines()
    steps = [entry for entry in entries if ",case:" in entry]
    assert 0 < len(steps) < len(entries)
    before = [step for step in steps if "case.reopened" not in step]
    (after,) = [step for step in steps if "case.reopened" in step]
    assert SEALED not in "".join(before)
    assert FORGOTTEN in "".join(before)
    assert SEALED in after
    assert FORGOTTEN not in after


def test_after_forgetting_the_masks_say_so_and_those_of_others_stay(
    log: SealedLog, over: Callable[..., Runner]
) -> None:
    forget_wang(log)
    over().catch_up()
    with over().connect() as connection:
        rows = connection.execute(
            "SELECT description, address, reporter_name, reporter_phone, reporter_address,"
            " personal_pairs = '{}', phone IS NULL FROM search.cases ORDER BY \"case\""
        ).fetchall()
    assert rows == [
        (FORGOTTEN, "", FORGOTTEN, FORGOTTEN, "", True, True),
        (FORGOTTEN, FORGOTTEN, "赵**", "139****4321", "", True, False),
    ]


def test_every_metric_is_the_same_before_and_after(
    log: SealedLog, over: Callable[..., Runner], gateway: Any
) -> None:
    chance = random.Random(8)
    for _ in range(12):
        story(log, chance)
    models = tuple(MODELS[name] for name in METRICS)
    over(*models).catch_up()
    before = all_contents(over(*models))
    for person in PEOPLE:
        log.attempt(samples.decline_forget(person=person))
        log.execute(samples.ask_forget(person=person, cases=("case-1", "case-2")))
        log.execute(samples.approve_forget(person=person, cases=tuple(_reported(log, person))))
    log.destroy_keys()
    over(*models).catch_up()
    assert before
    assert all_contents(over(*models)) == before
    for model in models:
        over().rebuild(model, verify=True)
        assert not model.opens
    assert all_contents(over(*models)) == before


def test_only_search_opens_anything() -> None:
    assert [model.name for model in MODELS.values() if model.opens] == ["search"]
