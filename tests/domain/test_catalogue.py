"""Categories and policy, and the terms a case takes from them."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain import catalogue
from domain.catalogue import (
    SEED,
    Category,
    CategoryDefined,
    CategoryRetired,
    DefineCategory,
    Policy,
    PolicySet,
    ReminderSet,
    RetireCategory,
    SetPolicy,
    SetReminder,
    Size,
    Terms,
    set_up,
)
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, is_id
from domain.roles import Actor, Grant, Role, system
from domain.sla import Limit, Sla, Unit
from tests.domain.schedules import local
from tests.specification import Specification

given = Specification(catalogue.decide, catalogue.evolve, catalogue.initial).given

AT = local("2026-01-05 09:00")
BY = system("set-up")
TWO_HOURS = Limit(2, Unit.HOUR)

COMMAND = DefineCategory(
    by=BY,
    at=AT,
    code="noise",
    name_zh="噪音",
    name_en="Noise",
    size=Size.SMALL,
    limit=Limit(1, Unit.DAY),
    contact=Limit(7, Unit.DAY),
)
NOISE = Category(
    code="noise",
    name_zh="噪音",
    name_en="Noise",
    size=Size.SMALL,
    limit=Limit(1, Unit.DAY),
    contact=Limit(7, Unit.DAY),
    urgent=False,
    mandated_up=False,
    start_tier=Tier.GRID,
    version=1,
    active=True,
)


def defined(category: Category = NOISE) -> CategoryDefined:
    return CategoryDefined(at=AT, category=category)


def retired(code: str = "noise") -> CategoryRetired:
    return CategoryRetired(at=AT, code=code)


def retire(code: str = "noise") -> RetireCategory:
    return RetireCategory(by=BY, at=AT, code=code)


def set_reminder(hours: int) -> SetReminder:
    return SetReminder(by=BY, at=AT, hours=hours)


def set_policy(policy: Policy) -> SetPolicy:
    return SetPolicy(by=BY, at=AT, policy=policy)


# categories


def test_a_category_begins_at_version_one() -> None:
    given().when(COMMAND).then(defined())


def test_names_are_taken_without_space_around_them() -> None:
    given().when(replace(COMMAND, name_zh=" 噪音 ", name_en="Noise ")).then(defined())


@pytest.mark.parametrize(
    ("size", "asked", "start"),
    [
        (Size.SMALL, None, Tier.GRID),
        (Size.BIG, None, Tier.COMMUNITY),
        (Size.BIG, Tier.SUBDISTRICT, Tier.SUBDISTRICT),
        (Size.BIG, Tier.GRID, Tier.GRID),
    ],
)
def test_where_a_matter_is_handled_first(size: Size, asked: Tier | None, start: Tier) -> None:
    given().when(replace(COMMAND, size=size, start_tier=asked)).then(
        defined(replace(NOISE, size=size, start_tier=start))
    )


def test_the_same_rules_again_change_nothing() -> None:
    given(defined()).when(COMMAND).then()


def test_changed_rules_are_a_new_version() -> None:
    second = replace(NOISE, urgent=True, limit=TWO_HOURS, version=2)
    command = replace(COMMAND, urgent=True, limit=TWO_HOURS)
    given(defined()).when(command).then(defined(second))
    given(defined(), defined(second)).when(command).then()
    given(defined(), defined(second)).when(COMMAND).then(defined(replace(NOISE, version=3)))


def test_a_retired_category_takes_no_cases_until_it_is_defined_again() -> None:
    given(defined()).when(retire()).then(retired())
    state = given(defined(), retired()).state
    with pytest.raises(Refused, match="retired: noise"):
        state.terms("noise")
    given(defined(), retired()).when(retire()).refused("catalogue.retired")
    back = defined(replace(NOISE, version=2))
    given(defined(), retired()).when(COMMAND).then(back)
    assert given(defined(), retired(), back).state.category("noise").active


def test_an_unknown_category_cannot_be_retired_or_filed_in() -> None:
    given(defined()).when(retire("nose")).refused("catalogue.unknown_category")
    with pytest.raises(Refused, match="no such category: nose"):
        given(defined()).state.terms("nose")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (replace(COMMAND, code="Noise"), "catalogue.bad_code"),
        (replace(COMMAND, code=""), "catalogue.bad_code"),
        (replace(COMMAND, name_zh=" "), "catalogue.name_missing"),
        (replace(COMMAND, name_en=""), "catalogue.name_missing"),
        (replace(COMMAND, limit=Limit(0, Unit.HOUR)), "catalogue.bad_limit"),
        (replace(COMMAND, limit=Limit(10_001, Unit.HOUR)), "catalogue.bad_limit"),
        (replace(COMMAND, limit=Limit(2, Unit.SAME_DAY)), "catalogue.bad_limit"),
        (replace(COMMAND, contact=Limit(-1, Unit.HOUR)), "catalogue.bad_limit"),
    ],
)
def test_what_cannot_be_a_category_is_refused(command: DefineCategory, code: str) -> None:
    given().when(command).refused(code)


# policy


def test_a_policy_is_set_whole_and_only_when_it_changes() -> None:
    stricter = Policy(extensions=0, park_cap_days=30)
    given().when(set_policy(stricter)).then(PolicySet(at=AT, policy=stricter))
    given(PolicySet(at=AT, policy=stricter)).when(set_policy(stricter)).then()
    given().when(set_policy(Policy())).then()


@pytest.mark.parametrize("name", [each.name for each in fields(Policy)])
def test_no_number_of_a_policy_is_negative(name: str) -> None:
    given().when(set_policy(replace(Policy(), **{name: -1}))).refused("catalogue.bad_policy")


def test_a_resident_is_called_at_least_once() -> None:
    given().when(set_policy(Policy(callback_attempts=0))).refused("catalogue.bad_policy")


def test_the_office_says_how_long_ahead_it_reminds() -> None:
    story = given(ReminderSet(at=AT, hours=48))
    assert (given().state.ahead, story.state.ahead) == (timedelta(days=1), timedelta(days=2))
    given().when(set_reminder(48)).then(ReminderSet(at=AT, hours=48))
    story.when(set_reminder(48)).then()
    story.when(set_reminder(0)).then(ReminderSet(at=AT, hours=0))
    for hours in (-1, 721):
        story.when(set_reminder(hours)).refused("catalogue.bad_reminder")


@pytest.mark.parametrize(
    "command", [COMMAND, retire(), set_policy(Policy(extensions=0)), set_reminder(1)]
)
def test_the_catalogue_is_for_the_administrator_of_the_whole_office(
    command: catalogue.Command,
) -> None:
    below = Actor("a", (Grant(Role.ADMINISTRATOR, "d1/"), Grant(Role.SHIFT_LEAD, EVERYWHERE)))
    given(defined()).when(replace(command, by=below)).refused("role.not_permitted")
    office = Actor("b", (Grant(Role.ADMINISTRATOR, EVERYWHERE),))
    assert isinstance(given(defined()).when(replace(command, by=office)).result, tuple)


# terms


def test_a_case_takes_the_rules_and_the_policy_in_force() -> None:
    policy = Policy(park_cap_days=30, extensions=1)
    second = replace(NOISE, version=2, mandated_up=True, urgent=True)
    history = (defined(), PolicySet(at=AT, policy=policy), defined(second))
    assert given(*history).state.terms("noise") == Terms(
        category="noise",
        name_zh="噪音",
        name_en="Noise",
        size=Size.SMALL,
        urgent=True,
        mandated_up=True,
        start_tier=Tier.GRID,
        sla=Sla(
            version=2, limit=NOISE.limit, contact=NOISE.contact, park_cap_days=30, extensions=1
        ),
        policy=policy,
    )


# the seed

WH, WD, H, D = Unit.WORKING_HOUR, Unit.WORKING_DAY, Unit.HOUR, Unit.DAY
ORDINARY, COMPLEX, UTILITY = Limit(7, D), Limit(15, D), Limit(24, H)


@pytest.mark.parametrize(
    ("name_zh", "size", "limit", "contact"),
    [
        ("暴露垃圾", Size.SMALL, Limit(4, WH), ORDINARY),
        ("道路不洁", Size.SMALL, Limit(5, WH), ORDINARY),
        ("建筑垃圾", Size.SMALL, Limit(4, WH), ORDINARY),
        ("渣土", Size.SMALL, Limit(2, WD), ORDINARY),
        ("绿地保洁", Size.SMALL, Limit(4, WH), ORDINARY),
        ("绿地养护", Size.SMALL, Limit(5, WD), ORDINARY),
        ("路面积水", Size.SMALL, Limit(4, WH), ORDINARY),
        ("邻里纠纷", Size.SMALL, Limit(7, D), ORDINARY),
        ("楼道堆物", Size.SMALL, Limit(1, D), ORDINARY),
        ("噪音", Size.SMALL, Limit(1, D), ORDINARY),
        ("路灯", Size.SMALL, Limit(2, WD), ORDINARY),
        ("井盖缺失", Size.SMALL, Limit(2, H), TWO_HOURS),
        ("代办", Size.SMALL, Limit(3, D), ORDINARY),
        ("咨询", Size.SMALL, Limit(1, Unit.SAME_DAY), ORDINARY),
        ("违法搭建", Size.BIG, Limit(15, WD), COMPLEX),
        ("水域不洁", Size.BIG, Limit(15, WD), COMPLEX),
        ("物业/业委会纠纷", Size.BIG, Limit(15, D), COMPLEX),
        ("电梯更新", Size.BIG, Limit(15, D), COMPLEX),
        ("停水停气", Size.BIG, Limit(24, H), UTILITY),
        ("消防隐患", Size.BIG, Limit(24, H), UTILITY),
        ("欠薪", Size.BIG, Limit(15, D), COMPLEX),
        ("油烟扰民", Size.BIG, Limit(7, D), ORDINARY),
        ("信访积案", Size.BIG, None, COMPLEX),
    ],
)
def test_the_seed_is_the_catalogue_of_the_field(
    name_zh: str, size: Size, limit: Limit | None, contact: Limit
) -> None:
    (category,) = (each for each in SEED if each.name_zh == name_zh)
    assert (category.size, category.limit, category.contact) == (size, limit, contact)
    assert category.urgent is (name_zh == "井盖缺失")


def test_setting_up_fills_the_catalogue_once() -> None:
    assert len({each.code for each in SEED}) == len(SEED) == 23
    assert all(is_id(each.code) for each in SEED)
    history: list[catalogue.Event] = []
    for command in set_up(BY, AT):
        history += given(*history).when(command).events
    filled = given(*history).state
    assert tuple(filled.categories.values()) == SEED
    for command in set_up(BY, AT):
        given(*history).when(command).then()


# random scripts

codes = st.sampled_from(["noise", "muck", "Bad"])
commands = st.one_of(
    st.builds(
        lambda code, size, amount, unit: replace(
            COMMAND, code=code, size=size, limit=Limit(amount, unit)
        ),
        codes,
        st.sampled_from(Size),
        st.integers(0, 3),
        st.sampled_from(Unit),
    ),
    st.builds(retire, codes),
    st.builds(set_reminder, st.integers(-1, 2)),
    st.builds(lambda extensions: set_policy(Policy(extensions=extensions)), st.integers(-1, 2)),
)


@settings(max_examples=60, deadline=None)
@for_all(st.lists(commands, max_size=12))
def test_versions_count_up_and_every_category_can_be_filed_in_or_is_retired(
    script: list[catalogue.Command],
) -> None:
    history: list[catalogue.Event] = []
    for command in script:
        result = given(*history).when(command).result
        history += result if isinstance(result, tuple) else ()
    state = given(*history).state
    for code, category in state.categories.items():
        versions = [
            event.category.version
            for event in history
            if isinstance(event, CategoryDefined) and event.category.code == code
        ]
        assert versions == list(range(1, category.version + 1))
        if category.active:
            assert state.terms(code).sla.version == category.version
