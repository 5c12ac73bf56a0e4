"""What an operator can set or call stands in the README."""

from pathlib import Path

import pytest
import typer

from infra.cli import app
from infra.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_documented_with_its_own_description(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `WANGGE_{name.upper()}`"))
    assert field.description in row


def test_every_command_is_documented() -> None:
    command = typer.main.get_command(app)
    context = typer.Context(command)
    for name in command.list_commands(context):  # type: ignore[attr-defined]
        assert f"`wangge {name}" in README, name


def test_the_readme_has_no_place_left_to_fill() -> None:
    assert "@@" not in README
    assert "TODO" not in README
