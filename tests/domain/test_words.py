"""Every word of the field can be said, and every refusal can be read, in both languages."""

import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import pytest

import domain
from domain import words
from domain.case.commands import EscalationReason, Outcome, Source
from domain.case.states import Asked, Call, Case, Running
from domain.catalogue import Size
from domain.errors import REASONS, Refused
from domain.places import Tier
from domain.privacy import ForgetReason, PersonalField, Purpose
from domain.roles import PERMISSIONS, Reading, Role
from domain.sla import Unit
from domain.words import Word

RULES = Path(domain.__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def values(enumeration: type[Enum]) -> list[str]:
    return [member.value for member in enumeration]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (words.STATES, [state.name for state in get_args(Case)]),
        (words.TIERS, [tier.word for tier in Tier]),
        (words.ROLES, values(Role)),
        (words.SOURCES, values(Source)),
        (words.ESCALATION_REASONS, values(EscalationReason)),
        (words.OUTCOMES, values(Outcome)),
        (words.SIZES, values(Size)),
        (words.ASKED, values(Asked)),
        (words.CALLS, values(Call)),
        (words.PURPOSES, values(Purpose)),
        (words.PERSONAL_FIELDS, values(PersonalField)),
        (words.FORGET_REASONS, values(ForgetReason)),
        (words.CLOCKS, values(Running)),
        (words.LIMIT_UNITS, values(Unit)),
        (words.COMMANDS, list(PERMISSIONS)),
        (words.READINGS, values(Reading)),
    ],
)
def test_a_table_says_every_word_of_its_kind(table: dict[str, Word], said: list[str]) -> None:
    assert list(table) == said


@pytest.mark.parametrize(
    "table",
    [
        words.STATES, words.TIERS, words.ROLES, words.SOURCES, words.ESCALATION_REASONS,
        words.OUTCOMES, words.SIZES, words.ASKED, words.CALLS, words.CLOCKS, words.LIMIT_UNITS,
        words.PURPOSES, words.PERSONAL_FIELDS, words.FORGET_REASONS, words.COMMANDS, words.FIELDS,
    ],
)  # fmt: skip
def test_every_word_is_said_in_both_languages_and_stands_for_one_thing(
    table: dict[str, Word],
) -> None:
    for word in table.values():
        assert CHINESE.search(word.zh)
        assert word.en.isascii()
        assert word.en[0].islower() or word.en[0].isdigit()
    assert len({word.zh for word in table.values()}) == len(table)
    assert len({word.en for word in table.values()}) == len(table)


def test_a_refusal_speaks_the_words_of_the_field() -> None:
    refused = Refused("case.not_allowed", state="closed", command="EscalateCase")
    assert refused.zh == "事项处于“已结案”状态，不能执行“上报上级”。"
    assert refused.en == "A case that is closed does not allow this: escalate."
    assert str(refused) == refused.en
    assert refused.status == 409
    assert Refused("case.text_missing", field="reason").zh == "请填写“原因”。"


def test_a_refusal_leaves_ids_and_numbers_as_they_are() -> None:
    # A unit may be called what a state is called.
    assert "void" in Refused("case.not_your_unit", unit="void").zh
    assert "30" in Refused("case.reopen_window", days=30).zh
    assert "something" in Refused("case.already_asked", what="something").en
    assert "7" in Refused("case.already_asked", what=7).en


@pytest.mark.parametrize("code", REASONS)
def test_every_refusal_can_be_read_in_both_languages(code: str) -> None:
    reason = REASONS[code]
    facts: dict[str, Any] = dict.fromkeys(_named(reason.zh) | _named(reason.en), "x")
    refused = Refused(code, **facts)
    assert CHINESE.search(refused.zh)
    assert refused.en.isascii()
    assert 400 <= reason.status < 600


def test_every_refusal_belongs_to_a_rule_and_every_rule_of_a_case_to_a_test() -> None:
    raised = _quoted(p for p in RULES.rglob("*.py") if p.name not in ("errors.py", "words.py"))
    ours = {code.partition(".")[0] for code in raised}  # the rest is the outside world's
    assert {code for code in REASONS if code.partition(".")[0] in ours} == raised
    tested = _quoted(Path(__file__).parent.glob("test_case*.py"))
    assert not {code for code in REASONS if code.startswith("case.")} - tested


def test_every_field_that_a_refusal_names_has_a_word() -> None:
    source = "".join(path.read_text() for path in RULES.rglob("*.py"))
    fields = re.findall(r'field="(\w+)"', source)
    fields += re.findall(r'demand_text\([\w.]+, "(\w+)"\)', source)
    fields += re.findall(r'demand_later\([\w.]+, command, "(\w+)"\)', source)
    assert set(fields) <= set(words.FIELDS)
    assert len(set(fields)) == 8


def _named(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _quoted(paths: Iterable[Path]) -> set[str]:
    kinds = "|".join({code.partition(".")[0] for code in REASONS})
    pattern = re.compile(rf'"((?:{kinds})\.\w+)"')
    return {code for path in paths for code in pattern.findall(path.read_text())}
