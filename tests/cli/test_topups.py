"""`posthouse accounts credit`, `posthouse codes` and `posthouse invitations`, with and without a server."""

import csv
import io

from posthouse.billing.tickets import new_ticket
from tests.cli.conftest import CONFIG, Shell
from tests.e2e.answers import asked
from tests.e2e.house import running
from tests.e2e.wire import eventually

POINTS = """
[points]
currency = "USD"
per_unit = 500_000
"""
BY = ("--reason", "by bank", "--author", "olga")


def prepaid(shell: Shell, name: str = "wang") -> str:
    account: str = shell.json("accounts", "create", "--name", name, "--budget", "prepaid USD")["id"]
    return account


def test_a_credit_is_made_listed_and_part_of_the_balance(shell: Shell) -> None:
    account = prepaid(shell)
    words = ("accounts", "credit", "wang", "5.00", "usd", *BY, "--idempotency-key", "t1")
    made = shell.json(*words)
    assert (made["account"], made["amount"], made["kind"], made["author"]) == (account, "5", "manual", "olga")
    assert shell.json(*words) == made
    back = shell.json("accounts", "credit", "wang", "-1.25", "USD", *BY)
    assert shell.rows("accounts", "credits", "wang") == [back, made]
    assert shell.rows("accounts", "balance", "wang") == [
        {"currency": "USD", "paid_in": "3.75", "spent": "0", "left": "3.75"}
    ]
    assert "3.75" in shell.run("accounts", "balance", "wang").stdout
    assert "by bank" in shell.run("accounts", "credits", "wang").stdout
    assert "points" not in shell.run("accounts", "credits", "wang").stdout
    statement = shell.json("ledger", "statement", "wang", made["created_at"][:7])
    assert [(one["paid_in"], one["closing"]) for one in statement["totals"]] == [("3.75", "-3.75")]
    assert shell.json("ledger", "verify")["ok"]


def test_money_may_be_said_in_points(shell: Shell) -> None:
    prepaid(shell)
    assert "no points are set up" in shell.run("accounts", "credit", "wang", "500", "points", *BY, code=2).stderr
    shell.config.write_text(CONFIG + POINTS)
    made = shell.json("accounts", "credit", "wang", "250000", "points", *BY)
    assert (made["amount"], made["currency"], made["points"]) == ("0.5", "USD", "250000")
    assert shell.json("codes", "create", "--name", "n", "--count", "1", "--amount", "500 points")["amount"] == "0.001"
    assert "250000" in shell.run("accounts", "balance", "wang").stdout


def test_codes_are_made_exported_redeemed_and_revoked(shell: Shell) -> None:
    account = prepaid(shell)
    wish = ("codes", "create", "--name", "spring", "--count", "3", "--amount", "2.50 usd", "--expires", "2999-01-01")
    made = shell.json(*wish)
    assert (len(made["codes"]), made["amount"], made["expires_at"][:10]) == (3, "2.5", "2999-01-01")
    exported = list(csv.DictReader(io.StringIO(shell.run(*wish, "--csv").stdout)))
    assert [(row["amount"], row["currency"]) for row in exported] == [("2.5", "USD")] * 3
    plain = shell.run(*wish).stdout.split()
    assert len(plain) == len(set(plain)) == 3
    first = exported[0]["code"]
    credit = shell.json("codes", "redeem", first, "--account", "wang")
    assert (credit["account"], credit["amount"]) == (account, "2.5")
    assert "redeemed by this account before" in shell.run("codes", "redeem", first, "--account", "wang", code=1).stderr
    assert "no such code" in shell.run("codes", "redeem", new_ticket(), "--account", "wang", code=1).stderr
    assert "no prepaid budget" in shell.run("codes", "redeem", plain[0], "--account", "default", code=1).stderr
    batch = exported[0]["batch"]
    revoked = shell.json("codes", "revoke", batch)
    assert revoked["states"] == {"open": 0, "redeemed": 1, "revoked": 2, "expired": 0}
    assert "2 codes are revoked, 1 were redeemed" in shell.run("codes", "revoke", batch).stdout
    assert len(shell.rows("codes", "list")) == 9
    (row,) = shell.rows("codes", "list", "--batch", batch, "--state", "redeemed")
    assert (row["redeemed_by"], row["hint"]) == (account, first[-4:])
    listed = list(csv.DictReader(io.StringIO(shell.run("codes", "list", "--batch", batch, "--csv").stdout)))
    assert sorted(row["state"] for row in listed) == ["redeemed", "revoked", "revoked"]
    assert [row["name"] for row in shell.rows("codes", "batches")] == ["spring"] * 3
    assert "open=3" in shell.run("codes", "batches").stdout
    assert not any(code in shell.run("codes", "list").stdout for code in (*plain, *made["codes"]))
    shell.run("codes", "list", "--state", "odd", code=2)
    shell.run("codes", "revoke", "cbt_none", code=1)
    shell.run("codes", "create", "--name", "n", "--count", "1", "--amount", "5", code=2)


def test_invitations_are_made_listed_and_revoked(shell: Shell) -> None:
    prepaid(shell)
    terms = ("--budget", "prepaid USD", "--model", "m", "--limit", "rpm=5", "--role", "member", "--bonus", "1 USD")
    more = ("--inviter", "wang", "--inviter-bonus", "0.5 USD", "--max-uses", "2", "--count", "2")
    made = shell.json("invitations", "create", "--name", "friends", "--parent", "wang", *terms, *more)["data"]
    assert len({one["code"] for one in made}) == 2
    assert made[0]["account"]["models"] == ["m"]
    assert (made[0]["bonus"]["amount"], made[0]["inviter_bonus"]["amount"], made[0]["max_uses"]) == ("1", "0.5", 2)
    assert shell.json("invitations", "revoke", made[0]["id"])["state"] == "revoked"
    assert "0 have come by it" in shell.run("invitations", "revoke", made[0]["id"]).stdout
    assert {row["state"] for row in shell.rows("invitations", "list")} == {"open", "revoked"}
    assert made[1]["code"] not in shell.run("invitations", "list").stdout
    plain = shell.run("invitations", "create", "--name", "plain", "--parent", "wang").stdout.split()
    assert len(plain) == 2
    refused = shell.run("invitations", "create", "--name", "n", "--parent", "wang", "--bonus", "1 USD", code=2)
    assert "no prepaid budget in USD" in refused.stderr


def test_a_running_server_hears_of_a_credit(shell: Shell) -> None:
    prepaid(shell)
    key = shell.json("keys", "create", "--name", "k", "--account", "wang")["key"]
    with running(shell.folder, CONFIG) as house, house.client(key) as client:
        assert client.post("/v1/chat/completions", json=asked(model="m")).status_code == 429
        shell.run("accounts", "credit", "wang", "5", "USD", *BY)

        def passes() -> bool:
            return client.post("/v1/chat/completions", json=asked(model="m")).status_code == 200

        eventually(passes, "the credit is not known")
