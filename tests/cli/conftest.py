"""The command line in this process, on a data folder of its own and with no configuration of the machine's."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from posthouse.cli import app

CONFIG = """
[[providers]]
name = "main"
type = "echo"
models = [{ name = "m", upstream = "echo" }, { name = "n", upstream = "echo" }]

[[prices]]
model = "m"
currency = "USD"
input = "1.00"
output = "10.00"
"""


class Shell:
    """`run` gives the result of a command; `json` what it printed, where it succeeded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "posthouse.toml"
        self.config.write_text(CONFIG)
        self._runner = CliRunner()

    def run(self, *words: str, code: int = 0, where: bool = True) -> Result:
        place = ["--config", str(self.config), "--data", str(self.data)] if where else []
        result = self._runner.invoke(app, [*words, *place])
        assert result.exit_code == code, (words, result.exit_code, result.output, result.exception)
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def rows(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        listing = self.json(*words, code=code)
        assert listing["next"] is None
        rows: list[dict[str, Any]] = listing["data"]
        return rows


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)
