"""The rules stay pure and of one shape: read from their source, so that nobody has to remember."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

import domain
from domain import calendar, catalogue, operations, privacy, staff, territory, webhooks
from domain.case import commands as case_commands
from domain.case import events as case_events
from domain.roles import PERMISSIONS, Actor

ROOT = Path(domain.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

AGGREGATES: dict[str, tuple[ModuleType, ModuleType]] = {
    "case": (case_commands, case_events),
    "territory": (territory, territory),
    "staff": (staff, staff),
    "privacy": (privacy, privacy),
    "catalogue": (catalogue, catalogue),
    "calendar": (calendar, calendar),
    "webhooks": (webhooks, webhooks),
    "operations": (operations, operations),
}


def _each(alias: Any) -> tuple[type, ...]:
    """The members of a union, or the one class that there is."""
    return get_args(alias) or (alias,)


COMMANDS = [c for commands, _ in AGGREGATES.values() for c in _each(commands.Command)]
EVENTS = [e for _, events in AGGREGATES.values() for e in _each(events.Event)]

PURE = {
    "__future__", "bisect", "collections", "dataclasses", "datetime", "decimal", "domain", "enum",
    "fractions", "functools", "hashlib", "ipaddress", "itertools", "math", "operator", "re",
    "string", "types", "typing", "unicodedata", "zoneinfo",
}  # fmt: skip
"""What the rules may import. There is no door here to a clock, a file, a network, or chance."""

BANNED_NAMES = {"open", "print", "input", "exec", "eval", "__import__"}
BANNED_ATTRIBUTES = {"now", "utcnow", "today", "fromtimestamp", "open"}
"""What they may not use, whatever it hangs on (``datetime.now``, ``date.today``)."""


def _impure(source: str) -> list[str]:
    return [f"line {line}: {what}" for line, what in _findings(ast.parse(source))]


def _findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, n.name) for n in names if _root(n.name) not in PURE)
            case ast.ImportFrom(module=module):
                if _root(module or "") not in PURE:
                    yield node.lineno, module or "."
            case ast.Name(id=name) if name in BANNED_NAMES:
                yield node.lineno, name
            case ast.Attribute(attr=name) if name in BANNED_ATTRIBUTES:
                yield node.lineno, name
            case _:
                pass


def _root(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_rules_know_no_clock_no_chance_and_no_outside_world(path: Path) -> None:
    assert _impure(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "import sys",
        "from random import choice",
        "from uuid import UUID",
        "from time import time",
        "from . import case",
        "datetime.now()",
        "datetime.utcnow()",
        "today = date.today",
        "open('log')",
        "f = open",
        "__import__('os')",
    ],
)
def test_the_test_itself_sees_what_is_impure(source: str) -> None:
    assert _impure(source)


def test_every_command_has_an_entry_in_the_table_of_roles_and_no_entry_is_left_over() -> None:
    assert sorted(command.__name__ for command in COMMANDS) == sorted(PERMISSIONS)


def test_no_aggregate_is_missing_here() -> None:
    deciders = {
        path.relative_to(ROOT).parts[0].removesuffix(".py")
        for path in SOURCES
        if "\ndef decide(" in path.read_text(encoding="utf-8")
    }
    assert deciders == set(AGGREGATES)
    for name in AGGREGATES:
        module = importlib.import_module(f"domain.{name}")
        assert all(hasattr(module, each) for each in ("initial", "decide", "evolve"))


@pytest.mark.parametrize("shape", [*COMMANDS, *EVENTS], ids=lambda shape: shape.__name__)
def test_commands_and_events_are_frozen_slotted_and_by_keyword(shape: type[Any]) -> None:
    assert is_dataclass(shape)
    assert "__slots__" in shape.__dict__
    assert all(field.kw_only for field in fields(shape))
    one: Any = shape(**dict.fromkeys(field.name for field in fields(shape)))
    assert not hasattr(one, "__dict__")
    with pytest.raises(FrozenInstanceError):
        one.at = None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_says_who_and_when(command: type[Any]) -> None:
    types = {field.name: field.type for field in fields(command)}
    assert types["by"] in (Actor, "Actor")
    assert "at" in types


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_every_event_says_when(event: type[Any]) -> None:
    assert "at" in {field.name for field in fields(event)}


def test_every_event_of_a_case_says_where_at_which_tier_and_in_which_episode() -> None:
    for event in get_args(case_events.Event):
        assert [field.name for field in fields(event)][:4] == ["at", "territory", "tier", "episode"]


def test_an_event_has_a_name_of_its_own() -> None:
    names = [event.__name__ for event in EVENTS]
    assert len(names) == len(set(names))
