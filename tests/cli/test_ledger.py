"""`posthouse ledger rebuild`, `correct` and `statement`."""

import csv
import io
import sqlite3
from contextlib import closing

from tests.cli.conftest import CONFIG, Shell
from tests.e2e.answers import asked
from tests.e2e.house import running
from tests.e2e.wire import eventually

REASON = ("--reason", "cut off", "--author", "olga")


def test_a_correction_is_made_once_and_stands_in_the_statement(shell: Shell) -> None:
    command = ("ledger", "correct", "default", "-5.00", "USD", *REASON, "--idempotency-key", "t1")
    made = shell.json(*command)
    assert (made["amount"], made["currency"], made["author"]) == ("-5", "USD", "olga")
    assert shell.run(*command).stdout == f"{made['id']}: -5 USD for the account default.\n"
    month = made["created_at"][:7]
    found = shell.json("ledger", "statement", "default", month)
    assert [one["id"] for one in found["corrections"]] == [made["id"]]
    assert found["totals"][0]["closing"] == "-5"
    rows = list(csv.DictReader(io.StringIO(shell.run("ledger", "statement", "default", month, "--csv").stdout)))
    assert [row["kind"] for row in rows] == ["opening", "correction", "total", "closing"]
    assert "cut off" in shell.run("ledger", "statement", "default", month, "--zone", "Asia/Shanghai").stdout
    assert shell.json("ledger", "verify")["ok"] is True


def test_a_running_server_hears_of_a_correction(shell: Shell) -> None:
    with running(shell.folder, CONFIG) as house:
        budget = {"amount": "1", "currency": "USD"}
        key = house.admin("POST", "/keys", {"name": "k", "budget": budget})
        shell.run("ledger", "correct", "default", "1", "USD", *REASON, "--key", key["id"])

        def refused() -> bool:
            with house.client(key["key"]) as client:
                return client.post("/v1/chat/completions", json=asked()).status_code == 429

        eventually(refused, "the server has not heard of the correction", 5.0)


def test_bad_use_is_2_and_says_what_is_wrong(shell: Shell) -> None:
    assert "`amount`" in shell.run("ledger", "correct", "default", "much", "USD", *REASON, code=2).stderr
    assert "month" in shell.run("ledger", "statement", "default", "november", code=2).stderr


def test_what_was_spoilt_is_made_anew_and_told(shell: Shell) -> None:
    shell.run("ledger", "correct", "default", "1", "USD", *REASON)
    with closing(sqlite3.connect(shell.data / "posthouse.db")) as connection:
        connection.execute("UPDATE usage_hours SET cost = cost + 1")
        connection.commit()
    assert shell.run("ledger", "verify", code=1).stdout.startswith("NOT OK")
    done = shell.run("ledger", "rebuild").stdout
    assert "usage_hours" in done
    assert "1 were different" in done or "2 were different" in done
    assert shell.json("ledger", "rebuild")["differences"] == []
    assert shell.json("ledger", "verify")["ok"] is True


def test_an_export_is_compared_with_the_records(shell: Shell) -> None:
    file = shell.folder / "usage.csv"
    file.write_text("usage_date_utc,model_version,usage_output_tokens,holograms\n2026-11-20,m-20260101,7,1\n")
    command = ("ledger", "reconcile", str(file), "--provider", "main")
    (row,) = shell.rows(*command)
    assert (row["model"], row["matched"], row["output"]["difference"]) == ("m", False, 7)
    told = shell.run(*command, "--all").stdout
    assert "holograms" in told
    assert "1 are one side's" in told
    file.write_text("a,b\n1,2\n")
    assert "columns are a, b" in shell.run(*command, code=2).stderr
    assert shell.run("ledger", "reconcile", "nowhere.csv", "--provider", "main", code=1).stderr
