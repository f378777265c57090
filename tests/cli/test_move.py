"""`posthouse db move`: an installation leaves SQLite for PostgreSQL and serves on."""

from pathlib import Path

import pytest

from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.rows import HOLD, HoldRow
from posthouse.storage.tables import holds
from tests.cli.conftest import CONFIG, Shell
from tests.e2e.answers import asked
from tests.e2e.house import running


def served_once(shell: Shell, **environ: str) -> None:
    with running(shell.folder, CONFIG, environ) as house, house.client() as client:
        assert client.post("/v1/chat/completions", json=asked()).status_code == 200


def test_what_was_served_is_there_afterwards_and_serves_on(
    shell: Shell, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_once(shell)
    before = (shell.rows("usage"), shell.rows("keys", "list"))
    monkeypatch.setenv("MOVED_TO", postgres_url)
    looked = shell.json("db", "move", "--to", "env:MOVED_TO", "--dry-run")
    rows = {one["table"]: one["rows"] for one in looked["tables"]}
    assert (rows["requests"], rows["entries"], looked["journal_bytes"]) == (1, 2, 0)
    moved = shell.json("db", "move", "--to", "env:MOVED_TO")
    assert {one["table"]: one["rows"] for one in moved["tables"]} == rows
    assert moved["ledger"]["ok"] is True
    assert next(one["sums"]["amount"] for one in moved["tables"] if one["table"] == "entries") == "0"
    assert (shell.rows("usage"), shell.rows("keys", "list")) == before
    monkeypatch.setenv("POSTHOUSE_DATABASE_URL", postgres_url)
    assert (shell.rows("usage"), shell.rows("keys", "list")) == before
    assert shell.json("ledger", "verify")["ok"] is True
    served_once(shell, POSTHOUSE_DATABASE_URL=postgres_url)
    assert shell.rows("usage")[0]["requests"] == 2


def test_people_are_told_what_moved_and_what_to_do_next(shell: Shell, postgres_url: str) -> None:
    shell.run("keys", "create", "--name", "kept")
    looked = shell.run("db", "move", "--to", postgres_url, "--dry-run").stdout
    assert "Nothing was changed." in looked
    moved = shell.run("db", "move", "--to", postgres_url)
    assert "keys: 1 rows\n" in moved.stderr
    assert "Every row and every sum is the same" in moved.stdout
    assert "POSTHOUSE_DATABASE_URL" in moved.stdout
    again = shell.run("db", "move", "--to", postgres_url, code=1)
    assert "is not empty: there are rows in" in again.stderr


def test_the_journal_of_a_killed_server_moves_too(shell: Shell, postgres_url: str) -> None:
    shell.run("db", "upgrade")
    database = Database(f"sqlite:///{shell.data / 'posthouse.db'}")
    journal = Journal(shell.data / "journal", database, options=JournalOptions(gather=3600.0))
    journal.start()
    journal.append(HOLD, HoldRow("req_1", "key_1", "default", "m", None, None, 1_700_000_000_000))
    journal.flush()
    folder = shell.data / "journal"
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    journal.close(10.0)
    with database.write() as connection:
        connection.execute(holds.delete())
        connection.exec_driver_sql("DELETE FROM journal_position")
    database.close()
    for name, content in left.items():
        (folder / name).write_bytes(content)
    assert (
        "bytes of the journal would be applied first"
        in shell.run("db", "move", "--to", postgres_url, "--dry-run").stdout
    )
    moved = shell.json("db", "move", "--to", postgres_url)
    assert moved["ledger"]["holds_open"] == 1  # the next start ends it


def test_a_ledger_that_does_not_add_up_moves_as_it_is_and_is_1(shell: Shell, postgres_url: str) -> None:
    shell.run("db", "upgrade")
    database = Database(f"sqlite:///{shell.data / 'posthouse.db'}")
    with database.write() as connection:
        values = {"id": "req_1", "key_id": "k", "account_id": "a", "model": "m", "state": "settled", "created_at": 1}
        connection.execute(holds.insert().values(**values, charged=5, ended_at=2))
    database.close()
    assert "the ledger does not add up" in shell.run("db", "move", "--to", postgres_url, code=1).stderr


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_while_a_server_runs_nothing_moves(shell: Shell, postgres_url: str, extra: list[str]) -> None:
    with running(shell.folder, CONFIG):
        told = shell.run("db", "move", "--to", postgres_url, *extra, code=1).stderr
    assert "a server runs on" in told


def test_bad_targets_and_sources_are_told(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "--to: the environment variable NOPE is not set" in shell.run("db", "move", "--to", "env:NOPE", code=2).stderr
    )
    assert "there is no database at" in shell.run("db", "move", "--to", "postgresql://x@127.0.0.1:1/x", code=1).stderr
    assert not (shell.data / "journal").exists()
    shell.run("db", "upgrade")
    assert "is not PostgreSQL" in shell.run("db", "move", "--to", f"sqlite:///{tmp_path / 'b.db'}", code=1).stderr
    assert "cannot be used" in shell.run("db", "move", "--to", "postgresql://x:secret@127.0.0.1:1/x", code=1).stderr
    monkeypatch.setenv("POSTHOUSE_DATABASE_URL", "postgresql://x:secret@127.0.0.1:1/x")
    told = shell.run("db", "move", "--to", "postgresql://x@127.0.0.1:1/x", code=1).stderr
    assert "leave storage.database_url (POSTHOUSE_DATABASE_URL) out" in told
    assert "secret" not in told
