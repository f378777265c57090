"""The floor plan is held by import-linter; its contract is in pyproject.toml."""

import tomllib
from typing import Any

import pytest
from importlinter import cli

from tests.architecture.source import PACKAGE, ROOT


def contract() -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = settings["tool"]["importlinter"]["contracts"]
    assert isinstance(found, dict)
    return found


def test_a_room_imports_only_from_the_floors_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(cache_dir=None, no_logo=True) == cli.EXIT_STATUS_SUCCESS


def test_the_contract_knows_every_room_and_no_other() -> None:
    floors = contract()
    assert floors["type"] == "layers"
    assert floors["exhaustive"] is True
    assert "ignore_imports" not in floors
    named = {room.strip(" ()") for layer in floors["layers"] for room in layer.split("|")}
    exempt = set(floors.get("exhaustive_ignores", ()))
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == named | exempt
