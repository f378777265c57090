"""`posthouse usage`, `ledger`, `db`."""

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import asdict

from posthouse.billing.folds import rebuild
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.migrations.revisions import HEAD
from posthouse.storage.rows import HOLD, REQUEST, HoldRow, RequestRow
from posthouse.storage.tables import holds, requests
from tests.cli.conftest import CONFIG, Shell
from tests.e2e.answers import asked
from tests.e2e.house import running
from tests.e2e.wire import eventually


@pytest.mark.parametrize("by", ["model", "key", "day", "deployment", "account"])
def test_usage_is_the_same_with_the_server_and_without(shell: Shell, by: str) -> None:
    with running(shell.folder, CONFIG) as house:
        with house.client() as client:
            for _ in range(2):
                assert client.post("/v1/chat/completions", json=asked()).status_code == 200
        over_http = house.admin("GET", f"/usage?group_by={by}")["data"]
        assert over_http[0]["requests"] == 2
        eventually(lambda: shell.rows("usage", "--by", by) == over_http, "the server's journal lags", 5.0)
    assert shell.rows("usage", "--by", by) == over_http
    assert shell.rows("usage", "--from", "2999-01-01") == []
    assert "USD" in shell.run("usage", "--by", by).stdout


def test_what_a_killed_server_left_is_counted(shell: Shell) -> None:
    shell.run("db", "upgrade")
    database = Database(f"sqlite:///{shell.data / 'posthouse.db'}")
    # A journal whose thread never gets to apply: what a kill leaves behind.
    journal = Journal(shell.data / "journal", database, options=JournalOptions(gather=3600.0))
    journal.start()
    row = RequestRow("req_1", 1_700_000_000_000, "key_1", "default", "chat.completions", "m", "m", input=11)
    journal.append(HOLD, HoldRow("req_1", "key_1", "default", "m", None, None, 1_700_000_000_000))
    journal.append(REQUEST, row)
    journal.flush()
    left = {path.name: path.read_bytes() for path in (shell.data / "journal").iterdir() if path.name != "lock"}
    journal.close(10.0)
    with database.write() as connection:
        for table in ("requests", "holds", "usage_hours", "usage_days", "journal_position"):
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  # names of ours
    database.close()
    for name, content in left.items():
        (shell.data / "journal" / name).write_bytes(content)
    (found,) = shell.rows("usage")
    assert (found["requests"], found["input_tokens"], found["cost"]) == (1, 11, "0")


def test_what_is_no_token_has_a_column_where_there_is_some(shell: Shell) -> None:
    shell.run("db", "upgrade")
    database = Database(f"sqlite:///{shell.data / 'posthouse.db'}")
    row = RequestRow("req_1", 1_700_000_000_000, "key_1", "default", "images.generations", "m", "m", images=2)
    with database.write() as connection:
        connection.execute(requests.insert().values(**asdict(row)))
    rebuild(database)
    database.close()
    (found,) = shell.rows("usage")
    assert [found[name] for name in ("images", "audio_ms", "characters", "searches")] == [2, 0, 0, 0]
    head = shell.run("usage").stdout.splitlines()[0]
    assert "images" in head
    assert "searches" not in head


def test_the_ledger_of_a_fresh_installation_verifies(shell: Shell) -> None:
    assert shell.json("ledger", "verify")["ok"] is True
    assert shell.run("ledger", "verify").stdout == "ok: 0 holds open, 0 problems\n"


def test_a_ledger_that_does_not_add_up_is_1(shell: Shell) -> None:
    shell.run("db", "upgrade")
    database = Database(f"sqlite:///{shell.data / 'posthouse.db'}")
    with database.write() as connection:
        values = {"id": "req_1", "key_id": "k", "account_id": "a", "model": "m", "state": "settled", "created_at": 1}
        connection.execute(holds.insert().values(**values, charged=5, ended_at=2))
    database.close()
    result = shell.json("ledger", "verify", code=1)
    assert result["ok"] is False
    assert result["problems"][0]["id"] == "req_1"
    assert "LEDGER-2" in shell.run("ledger", "verify", code=1).stdout


def test_the_database_is_made_and_copied_while_in_use(shell: Shell) -> None:
    assert shell.json("db", "upgrade")["schema"] == HEAD
    shell.run("keys", "create", "--name", "kept")
    copy = shell.folder / "copy.db"
    with running(shell.folder, CONFIG):
        assert shell.json("db", "backup", str(copy))["bytes"] > 0
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT name FROM keys").fetchall() == [("kept",)]
    assert "exists" in shell.run("db", "backup", str(copy), code=1).stderr


def test_usage_wants_a_grouping_and_times_that_there_are(shell: Shell) -> None:
    shell.run("usage", "--by", "colour", code=2)
    assert "from" in shell.run("usage", "--from", "yesterday", code=2).stderr
    shell.run("usage", "--from", "2026-02-01", "--to", "2026-01-01", code=2)
