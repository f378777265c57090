"""`posthouse config`."""

import pytest

from tests.cli.conftest import CONFIG, Shell


def test_sound_settings_pass(shell: Shell) -> None:
    assert shell.json("config", "check") == {"ok": True, "file": str(shell.config), "problems": []}
    assert str(shell.config) in shell.run("config", "check").stdout


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[server]\nport = 'x'\n", 2, "port"),
        ("[[providers]]\nname = 'a'\ntype = 'opnai'\n", 3, "did you mean openai?"),
        ("\n[[providers]]\nname = 'a'\ntype = 'openai'\n", 2, "a credential is missing, such as env:OPENAI_API_KEY"),
        ("[[providers]]\nname = 'a'\ntype = 'openai-compatible'\n", 1, "needs a base_url"),
        (CONFIG + CONFIG, 16, "already"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_is_1(shell: Shell, text: str, line: int, said: str) -> None:
    shell.config.write_text(text)
    printed = shell.run("config", "check", code=1).stdout
    assert f"posthouse.toml:{line}" in printed or line == 16
    assert said in printed
    assert shell.json("config", "check", code=1)["ok"] is False


ROUTED = """
[[providers]]
name = "here"
type = "echo"

[[routes]]
name = "smart"
models = ["echo"]

[[prices]]
model = "smart"
currency = "USD"
input = "1"
"""


def test_a_warning_passes(shell: Shell) -> None:
    shell.config.write_text(ROUTED)
    assert [one["level"] for one in shell.json("config", "check")["problems"]] == ["warning"]


def test_an_alias_of_a_type_is_a_type(shell: Shell) -> None:
    shell.config.write_text("[[providers]]\nname = 'a'\ntype = 'volcengine'\ncredential = 'upstream-credential-1'\n")
    assert shell.json("config", "check")["ok"] is True


def test_a_setting_is_explained_with_its_source(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOUSE_PORT", "9000")
    (row,) = shell.rows("config", "explain", "server.port")
    assert (row["value"], row["layer"], row["where"]) == ("9000", "environment", "POSTHOUSE_PORT")
    assert "POSTHOUSE_PORT (environment)" in shell.run("config", "explain", "server.port").stdout
    assert "did you mean" in shell.run("config", "explain", "server.prt", code=1).stderr


def test_secrets_are_masked(shell: Shell) -> None:
    shell.config.write_text("[[providers]]\nname = 'a'\ntype = 'openai'\ncredential = 'upstream-credential-1'\n")
    printed = shell.run("config", "explain").stdout + shell.run("config", "explain", "--json").stdout
    assert "upstream-credential-1" not in printed
    assert "***" in printed
