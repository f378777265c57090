"""`posthouse keys` and `posthouse accounts`, with and without a server."""

from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.output import width
from tests.cli.conftest import CONFIG, Shell
from tests.e2e.answers import asked
from tests.e2e.house import RunningHouse, running
from tests.e2e.wire import eventually


def test_a_key_is_printed_as_the_admin_api_gives_it(shell: Shell) -> None:
    made = shell.json("keys", "create", "--name", "n")
    with running(shell.folder, CONFIG) as house:
        over_http = house.admin("POST", "/keys", {"name": "n"})
        assert list(made) == list(over_http)
        differing = {name for name in made if made[name] != over_http[name]}
        assert differing <= {"id", "key", "hint", "created_at"}


def test_a_key_holds_what_the_options_say(shell: Shell) -> None:
    shell.run("accounts", "create", "--name", "acme")
    words = "--account acme --model m --model n --rpm 5 --tpm 6 --concurrency 7 --expires 2999-01-01".split()
    made = shell.json("keys", "create", "--name", "full", "--budget", "5.00 usd/month", *words)
    assert made["account_name"] == "acme"
    assert made["models"] == ["m", "n"]
    assert {name: value for name, value in made["limits"].items() if value} == {"rpm": 5, "tpm": 6, "concurrency": 7}
    assert made["budget"] == {"amount": "5", "currency": "USD", "period": "month"}
    assert made["expires_at"] == "2999-01-01T00:00:00Z"
    assert [row["id"] for row in shell.rows("keys", "list", "--account", "acme")] == [made["id"]]


def test_budgets_of_models_and_calendars_are_said_by_options_and_shown(shell: Shell) -> None:
    words = ["--budget", "20 cny/day zone=Asia/Shanghai model=gpt-5", "--budget", "100 CNY / month zone=+08:00"]
    made = shell.json("keys", "create", "--name", "n", *words, "--budget", "1000 CNY")
    assert [(one["amount"], one["period"], one["time_zone"], one["model"]) for one in made["budgets"]] == [
        ("20", "day", "Asia/Shanghai", "gpt-5"),
        ("100", "month", "+08:00", None),
        ("1000", "total", "UTC", None),
    ]
    assert made["budget"] == {"amount": "100", "currency": "CNY", "period": "month"}
    row = shell.run("keys", "list").stdout.splitlines()[1]
    assert "20 CNY/day zone=Asia/Shanghai model=gpt-5, 100 CNY/month zone=+08:00, 1000 CNY " in row
    assert shell.rows("keys", "list")[0]["budgets"] == made["budgets"]


def test_an_account_is_prepaid_and_its_budgets_are_replaced_and_taken_away(shell: Shell) -> None:
    made = shell.json("accounts", "create", "--name", "acme", "--budget", "prepaid cny", "--budget", "9 CNY/day")
    assert [(one["kind"], one["amount"], one["currency"]) for one in made["budgets"]] == [
        ("prepaid", "0", "CNY"),
        ("limit", "9", "CNY"),
    ]
    assert "prepaid 0 CNY, 9 CNY/day" in shell.run("accounts", "list").stdout
    changed = shell.json("accounts", "update", "acme", "--budget", "5 USD/week model=m")
    assert [(one["amount"], one["model"]) for one in changed["budgets"]] == [("5", "m")]
    assert changed["budget"] is None
    assert shell.json("accounts", "update", "acme", "--rpm", "5")["budgets"] == changed["budgets"]
    assert shell.json("accounts", "update", "acme", "--budget", "none")["budgets"] == []


def test_rights_are_said_by_options_and_shown_where_somebody_has_them(shell: Shell) -> None:
    shell.run("keys", "create", "--name", "plain")
    assert "scopes" not in shell.run("keys", "list").stdout
    words = "--scope chat --scope rerank --unpriced refuse --own-credential main --own-credential spare --own-fee 2.50"
    made = shell.json("keys", "create", "--name", "special", *words.split())
    assert (made["scopes"], made["unpriced"]) == (["chat", "rerank"], "refuse")
    assert made["own_credential"] == {"accounts": ["main", "spare"], "fee_percent": "2.5"}
    head, row, _ = shell.run("keys", "list").stdout.splitlines()
    assert head.endswith("scopes        unpriced  own credential")
    assert row.endswith("chat, rerank  refuse    accounts=main, spare fee_percent=2.5")
    team = shell.json("accounts", "create", "--name", "team", "--scope", "chat", "--unpriced", "allow")
    assert (team["scopes"], team["unpriced"]) == (["chat"], "allow")
    assert "chat" in shell.run("accounts", "list").stdout
    cleared = shell.json("accounts", "update", "team", "--scope", "none", "--unpriced", "none")
    assert (cleared["scopes"], cleared["unpriced"]) == (None, None)


def test_what_a_key_wants_is_said_by_options_and_shown_where_it_wants_something(shell: Shell) -> None:
    assert "wishes" not in shell.run("keys", "list").stdout
    words = "--default temperature=0.2 --default reasoning_effort=low --default stop=[1,2] --alias gpt-4=m --strict"
    made = shell.json("keys", "create", "--name", "wishful", *words.split())
    assert made["defaults"] == {"temperature": 0.2, "reasoning_effort": "low", "stop": [1, 2]}
    assert (made["aliases"], made["strict"]) == ({"gpt-4": "m"}, True)
    shell.run("keys", "create", "--name", "plain")
    head, _, row = shell.run("keys", "list").stdout.splitlines()
    assert head.endswith("wishes")
    assert row.endswith('temperature=0.2, reasoning_effort="low", stop=[1,2], gpt-4->m, strict')


@pytest.mark.parametrize("words", ["--default temperature", "--default =1", "--alias a=", "--alias a=m --alias a=n"])
def test_a_wish_that_is_no_pair_is_bad_use(shell: Shell, words: str) -> None:
    said = shell.run("keys", "create", "--name", "n", *words.split(), code=2).stderr
    assert "expected NAME=VALUE" in said


def test_a_wish_that_no_key_can_have_is_bad_use(shell: Shell) -> None:
    assert "only the client" in shell.run("keys", "create", "--name", "n", "--default", "stream=true", code=2).stderr


def test_people_read_the_secret_and_tables(shell: Shell) -> None:
    text = shell.run("keys", "create", "--name", "我的应用").stdout
    assert text.startswith("sk-ph-")
    head, row = shell.run("keys", "list").stdout.splitlines()
    assert width(row[: row.index(text.split()[0][-4:])]) == head.index("hint")
    assert text.split()[0] not in row
    assert shell.run("keys", "revoke", row.split()[0]).stdout.endswith("is revoked.\n")
    assert "revoked" in shell.run("keys", "list").stdout


def test_nothing_is_said_as_an_empty_list(shell: Shell) -> None:
    assert shell.rows("keys", "list") == []
    assert "keys create" in shell.run("keys", "list").stdout


def answers(house: RunningHouse, key: str) -> int:
    with house.client(key) as client:
        status: int = client.post("/v1/chat/completions", json=asked()).status_code
        return status


def test_a_running_server_knows_within_a_second_what_a_command_did(shell: Shell) -> None:
    with running(shell.folder, CONFIG) as house:
        made = shell.json("keys", "create", "--name", "live")
        eventually(lambda: answers(house, made["key"]) == 200, "the new key is not known", 5.0)
        shell.run("accounts", "update", "default", "--disable")
        eventually(lambda: answers(house, made["key"]) == 401, "the account is not disabled", 5.0)
        shell.run("accounts", "update", "default", "--enable")
        eventually(lambda: answers(house, made["key"]) == 200, "the account is not enabled", 5.0)
        shell.run("keys", "revoke", made["id"])
        eventually(lambda: answers(house, made["key"]) == 401, "the key is not revoked", 5.0)


def test_an_account_changes_only_what_is_given(shell: Shell) -> None:
    made = shell.json("accounts", "create", "--name", "acme", "--rpm", "5", "--budget", "1 USD")
    changed = shell.json("accounts", "update", "acme", "--tpm", "100", "--disable")
    assert {name: value for name, value in changed["limits"].items() if value} == {"rpm": 5, "tpm": 100}
    assert (changed["budget"], changed["status"]) == (made["budget"], "disabled")
    cleared = shell.json("accounts", "update", made["id"], "--budget", "none", "--rpm", "0", "--enable", "--name", "b")
    assert (cleared["budget"], cleared["limits"]["rpm"], cleared["status"], cleared["name"]) == (
        None,
        None,
        "active",
        "b",
    )
    assert {row["name"] for row in shell.rows("accounts", "list")} == {"default", "b"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "create"], 2, "--name"),
        (["keys", "create", "--name", ""], 2, "name"),
        (["keys", "create", "--name", "a", "--budget", "much"], 2, "--budget"),
        (["keys", "create", "--name", "a", "--budget", "1 USD/year"], 2, "budgets[0].period"),
        (["keys", "create", "--name", "a", "--budget", "1 USD/day zone=Mars"], 2, "budgets[0].time_zone"),
        (["keys", "create", "--name", "a", "--budget", "1 USD/day tz=UTC"], 2, "--budget"),
        (["keys", "create", "--name", "a", "--budget", "1 USD model=m model=n"], 2, "--budget"),
        (["keys", "create", "--name", "a", "--budget", "1 USD model="], 2, "--budget"),
        (["keys", "create", "--name", "a", "--budget", "1 USD", "--budget", "2 CNY/day"], 2, "budgets[1].currency"),
        (["keys", "create", "--name", "a", "--budget", "prepaid CNY"], 2, "budgets[0].kind"),
        (["accounts", "create", "--name", "a", "--budget", "prepaid CNY/day"], 2, "budgets[0].period"),
        (["keys", "create", "--name", "a", "--scope", "video"], 2, "scopes[0]"),
        (["keys", "create", "--name", "a", "--unpriced", "auto"], 2, "unpriced"),
        (["keys", "create", "--name", "a", "--own-fee", "1"], 2, "--own-credential"),
        (["keys", "create", "--name", "a", "--own-credential", "m", "--own-fee", "x"], 2, "fee_percent"),
        (["keys", "create", "--name", "a", "--rpm", "lots"], 2, "--rpm"),
        (["keys", "create", "--name", "a", "--rpm", "-1"], 2, "rpm"),
        (["keys", "create", "--name", "a", "--expires", "1999-01-01"], 2, "expires_at"),
        (["keys", "create", "--name", "a", "--account", "nobody"], 2, "account"),
        (["keys", "list", "--account", "nobody"], 1, "no account"),
        (["keys", "revoke", "key_0"], 1, "no key"),
        (["accounts", "update", "nobody", "--enable"], 1, "no account"),
        (["accounts", "update", "default"], 2, "what to change"),
        (["keys", "destroy"], 2, "destroy"),
    ],
)
def test_bad_use_is_2_and_what_cannot_be_done_is_1(shell: Shell, words: list[str], code: int, said: str) -> None:
    result = shell.run(*words, code=code)
    assert said in result.stderr
    assert result.stdout == ""


def test_a_name_that_is_taken_is_told(shell: Shell) -> None:
    shell.run("accounts", "create", "--name", "twin")
    assert "already" in shell.run("accounts", "create", "--name", "twin", code=2).stderr


def test_a_configuration_that_cannot_be_read_fails_with_its_line(shell: Shell) -> None:
    shell.config.write_text("[server]\nprot = 1\n")
    assert f"{shell.config}:2" in shell.run("keys", "list", code=1).stderr


def test_a_file_that_is_named_must_be_there(shell: Shell, tmp_path: Path) -> None:
    result: Any = shell.run("keys", "list", "--config", str(tmp_path / "none.toml"), code=1, where=False)
    assert "none.toml" in result.stderr


def test_any_limit_can_be_given_and_taken_away(shell: Shell) -> None:
    words = ("--limit", "rpd=9", "--limit", "request_spend=0.50 usd", "--limit", "gpt-5:rpm=5")
    made = shell.json("accounts", "create", "--name", "bound", *words)
    shown = {name: value for name, value in made["limits"].items() if value}
    spend = {"amount": "0.5", "currency": "USD"}
    assert shown == {"rpd": 9, "request_spend": spend, "models": {"gpt-5": {"rpm": 5}}}
    changed = shell.json("accounts", "update", "bound", "--limit", "request_spend=none", "--limit", "rpd=0")
    assert {name: value for name, value in changed["limits"].items() if value} == {"models": {"gpt-5": {"rpm": 5}}}


def test_accounts_stand_in_a_tree(shell: Shell) -> None:
    company = shell.json("accounts", "create", "--name", "company", "--model", "m")
    team = shell.json("accounts", "create", "--name", "team", "--parent", "company", "--kind", "person")
    assert (team["parent"], team["kind"], company["models"]) == (company["id"], "person", ["m"])
    key = shell.json("keys", "create", "--name", "k", "--account", "team", "--role", "member")
    assert key["role"] == "member"
    assert [row["id"] for row in shell.rows("accounts", "list", "--under", "company")] == [team["id"], company["id"]]
    assert [row["id"] for row in shell.rows("keys", "list", "--under", "company")] == [key["id"]]
    changed = shell.json("accounts", "update", "team", "--parent", "none", "--model", "n", "--kind", "app")
    assert (changed["parent"], changed["models"], changed["kind"]) == (None, ["n"], "app")
    assert shell.json("accounts", "update", "team", "--model", "none")["models"] is None
