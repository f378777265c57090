"""`posthouse prices set`, `unset`, `rows` and `update`, on a folder on which no server runs."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from posthouse.billing.seed import SEED_FILE
from tests.cli.conftest import Shell

TABLE: dict[str, Any] = {
    "dashscope/qwen-new": {
        "litellm_provider": "dashscope",
        "mode": "chat",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 4e-06,
    },
    # What the built-in seed has of models.dev, and says otherwise.
    "dashscope/qwen-plus": {
        "litellm_provider": "dashscope",
        "mode": "chat",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2.87e-07,
    },
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/prices.json?raw=1"
        body = json.dumps(TABLE).encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def price_of(shell: Shell, model: str) -> dict[str, Any]:
    (row,) = shell.rows("prices", "explain", model)
    return row


def test_a_price_that_is_set_is_listed_explained_and_taken_away(shell: Shell) -> None:
    made = shell.json(
        "prices", "set", "m", "currency=USD", "input=2", "effective-from=2026-01-01", "--provider", "main"
    )
    assert (made["model"], made["provider"], made["input"]) == ("m", "main", "2")
    assert [row["id"] for row in shell.rows("prices", "rows")] == [made["id"]]
    assert made["id"] in shell.run("prices", "rows").stdout
    found = price_of(shell, "m")
    assert (found["price"]["per_million"]["input"], found["price"]["source"]) == ("2", "set")
    assert [step["place"] for step in found["steps"] if step["taken"]] == ["set"]
    assert made["id"] in shell.run("prices", "explain", "m").stdout
    assert shell.rows("prices", "list", "--model", "m")[0]["price"]["source"] == "set"
    assert shell.json("prices", "unset", made["id"])["id"] == made["id"]
    assert price_of(shell, "m")["price"]["per_million"]["input"] == "1"
    assert "no price" in shell.run("prices", "unset", made["id"], code=1).stderr


def test_a_price_may_have_tiers_days_and_a_multiplier(shell: Shell) -> None:
    shell.json("prices", "set", "m", "currency=USD", "input=2", 'tiers=[{"above": 200000, "input": "3"}]')
    shell.json("prices", "set", "*", "multiplier=0.5", "service_tier=flex", "days=mon,tue,wed,thu,fri,sat,sun")
    price = price_of(shell, "m")["price"]
    assert [(tier["above"], tier["per_million"]["input"]) for tier in price["tiers"]] == [(200_000, "3")]
    assert price["service_tiers"]["flex"]["per_million"]["input"] == "1"
    shown = shell.run("prices", "explain", "m").stdout
    assert "above 200000 tokens of input: input=3" in shown
    assert "at the service tier flex: input=1" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["currency=USD"], "input"),
        (["currency=USD", "input"], "KEY=VALUE"),
        (["currency=USD", "inptu=1"], "inptu"),
        (["currency=USD", "input=1", "tiers=[{"], "JSON"),
        (["multiplier=2", "input=1"], "multiplier"),
    ],
)
def test_a_price_that_cannot_stand_is_bad_use(shell: Shell, words: list[str], told: str) -> None:
    assert told in shell.run("prices", "set", "m", *words, code=2).stderr
    assert shell.rows("prices", "rows") == []


def test_an_update_shows_what_changes_and_applies_it_with_yes_only(shell: Shell) -> None:
    table = shell.folder / "table.json"
    table.write_text(json.dumps(TABLE))
    shown = shell.run("prices", "update", str(table)).stdout
    assert "+ qwen/qwen-new: input - -> 2" in shown
    assert "! qwen/qwen-plus input: models.dev" in shown
    assert "Nothing was changed: --yes applies it." in shown
    told = shell.json("prices", "update", str(table), "--yes")
    assert told["applied"] is True
    assert {change["kind"] for change in told["changes"]} == {"new", "gone"}
    assert [doubt["of"] for doubt in told["doubts"] if doubt["model"] == "qwen-plus"] == ["input"]
    assert shell.json("prices", "update", str(table))["changes"] == []
    again = shell.json("prices", "update", "--reset", "--yes")
    assert ("gone", "qwen-new") in [(change["kind"], change["model"]) for change in again["changes"]]
    assert shell.json("prices", "update", str(SEED_FILE))["changes"] == []


def test_an_update_may_come_from_a_site(shell: Shell, site: str) -> None:
    assert "+ qwen/qwen-new" in shell.run("prices", "update", f"{site}/prices.json?raw=1").stdout
    assert "answers 404" in shell.run("prices", "update", f"{site}/nothing", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["/no/such/file"], 1, "No such file"),
        (["genai-prices"], 1, "pip install genai-prices"),
        (["http://"], 2, "expected https://HOST/PATH"),
        (["--reset", "x"], 2, "--reset takes no sources"),
    ],
)
def test_an_update_from_nowhere_says_what_is_wrong(shell: Shell, words: list[str], code: int, told: str) -> None:
    assert told in shell.run("prices", "update", *words, code=code).stderr


def test_an_update_of_what_is_no_price_list_is_refused(shell: Shell) -> None:
    other = shell.folder / "other.json"
    other.write_text('{"a": 1}')
    assert "no source of prices" in shell.run("prices", "update", str(other), code=2).stderr
