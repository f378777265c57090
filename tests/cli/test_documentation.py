"""docs/cli.md tells of every command and every option of its own, and of no command that is not."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from posthouse.cli import app

PAGE: Final = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS: Final = {part.split("`", 2)[1]: part for part in PAGE.split("\n### ")[1:]}
SHARED: Final = {"--config", "--data", "--json", "--help"}


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, inner in below.items():
        yield from commands(inner, f"{name} {word}")


COMMANDS: Final = dict(commands(typer.main.get_command(app), "posthouse"))


def test_every_command_is_documented_and_no_other() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    options = {word for parameter in COMMANDS[name].params for word in (*parameter.opts, *parameter.secondary_opts)}
    named = set(re.findall(r"--[a-z-]+", SECTIONS[name]))
    assert {word for word in options if word.startswith("--")} - SHARED <= named


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "posthouse serve"])
def test_every_command_takes_the_common_options(name: str) -> None:
    options = {word for parameter in COMMANDS[name].params for word in parameter.opts}
    assert {"--config", "--data", "--json"} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert text
    assert "Size:" not in text
