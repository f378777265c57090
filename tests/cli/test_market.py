"""`posthouse providers`, `models`, `prices`."""

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, Shell

DEAD = """
[[providers]]
name = "dead"
type = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
credential = "upstream-credential-1"
"""


def test_providers_are_listed_without_their_credentials(shell: Shell) -> None:
    shell.config.write_text(CONFIG + DEAD)
    rows = {row["name"]: row for row in shell.rows("providers", "list")}
    assert rows["main"]["models"] == ["m", "n"]
    assert rows["dead"]["credential"] == "set"
    for text in (shell.run("providers", "list").stdout, str(rows)):
        assert "upstream-credential-1" not in text


def test_every_type_of_provider_is_listed_with_its_variables(shell: Shell) -> None:
    types = {row["type"]: row for row in shell.rows("providers", "list", "--types")}
    assert types["openai"]["variables"] == ["OPENAI_API_KEY", "OPENAI_BASE_URL"]
    assert len(types) >= 28


def test_without_configuration_a_variable_makes_a_provider(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.config.write_text("")
    monkeypatch.setenv("OPENAI_API_KEY", "upstream-credential-1")
    assert [row["name"] for row in shell.rows("providers", "list")] == ["openai"]


def test_providers_are_tested_and_one_that_fails_makes_it_1(shell: Shell) -> None:
    assert shell.rows("providers", "test")[0]["ok"] is True
    shell.config.write_text(CONFIG + DEAD)
    rows = {row["name"]: row for row in shell.rows("providers", "test", code=1)}
    assert rows["main"]["ok"] is True
    assert (rows["dead"]["ok"], rows["dead"]["kind"]) == (False, "connect")
    assert rows["dead"]["remedy"] in shell.run("providers", "test", "dead", code=1).stdout
    shell.run("providers", "test", "main")
    assert "main, dead" in shell.run("providers", "test", "nobody", code=1).stderr


def test_models_are_listed_with_who_serves_them(shell: Shell) -> None:
    assert [row["id"] for row in shell.rows("models", "list")] == ["m", "n"]
    assert "main/m" in shell.run("models", "list").stdout


def test_prices_are_listed_and_explained(shell: Shell) -> None:
    prices = {row["deployment"]: row["price"] for row in shell.rows("prices", "list")}
    assert prices["main/m"]["per_million"]["output"] == "10"
    assert prices["main/n"]["source"] == "self-hosted"
    assert [row["deployment"] for row in shell.rows("prices", "list", "--model", "n")] == ["main/n"]
    assert "configuration" in shell.run("prices", "list").stdout
    explained = shell.json("prices", "explain", "m")
    assert [step["place"] for step in explained["data"][0]["steps"] if step["taken"]] == ["configuration"]
    assert "-> configuration" in shell.run("prices", "explain", "m").stdout
    assert "-> self-hosted" in shell.run("prices", "explain", "n").stdout
    shell.run("prices", "explain", "nothing", code=1)


def test_prices_by_other_units_are_listed_and_explained(shell: Shell) -> None:
    assert "units" not in shell.run("prices", "list").stdout
    units = 'image = "0.04"\nimage_kinds = { "1024x1024/high" = "0.17" }\naudio_second = "0.0001"\nrequest = "0.01"\n'
    shell.config.write_text(CONFIG + f'[[prices]]\nmodel = "n"\ncurrency = "USD"\n{units}')
    prices = {row["deployment"]: row["price"] for row in shell.rows("prices", "list")}
    assert prices["main/n"]["per_million"] == {}
    assert prices["main/n"]["units"]["image_kinds"] == {"1024x1024/high": "0.17"}
    assert "image=0.04 audio_second=0.0001 1024x1024/high=0.17 request=0.01" in shell.run("prices", "list").stdout
    explained = shell.run("prices", "explain", "n").stdout
    assert "per million tokens" not in explained
    for line in ("image           0.04", "audio_second    0.0001", "1024x1024/high  0.17", "request         0.01"):
        assert line in explained


def test_settings_that_contradict_each_other_fail(shell: Shell, tmp_path: Path) -> None:
    shell.config.write_text(CONFIG + CONFIG)
    assert "already" in shell.run("models", "list", code=1).stderr
