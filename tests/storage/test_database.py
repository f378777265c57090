"""Files, transactions, copies, and what becomes of a database that does not answer."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from posthouse.core.errors import ConfigError, Unavailable
from posthouse.storage.database import Database
from posthouse.storage.tables import keys, meta

FOREIGN = {"id": "key_1", "hash": b"h", "hint": "sk-ph-...", "name": "n", "account_id": "acc_none", "created_at": 1}


def values(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {row.name: row.value for row in connection.execute(select(meta))}


def test_a_write_commits_at_the_end_of_its_block(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(meta).values(name="a", value="1"))
    assert values(database) == {"a": "1"}


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(insert(meta).values(name="a", value="1"))
        raise ZeroDivisionError
    assert values(database) == {}


def test_one_server_at_a_time_has_a_postgresql_database(postgres_url: str) -> None:
    first, second = Database(postgres_url), Database(postgres_url)
    first.claim()
    with pytest.raises(ConfigError, match="in use by another posthouse server"):
        second.claim()
    first.close()
    second.claim()
    second.close()


def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(keys).values(FOREIGN))


def test_writers_on_many_threads_lose_nothing(database: Database) -> None:
    def count() -> None:
        for _ in range(10):
            with database.write() as connection:
                query = select(meta.c.value).where(meta.c.name == "n").with_for_update()
                number = int(connection.scalar(query) or 0)
                connection.execute(meta.update().values(value=str(number + 1)))

    with database.write() as connection:
        connection.execute(insert(meta).values(name="n", value="0"))
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert values(database) == {"n": "40"}


def test_sqlite_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data" / "posthouse.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    database.close()


def test_sqlite_runs_with_a_write_ahead_log(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    database.upgrade()
    with database.read() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert found == ["wal", 1, 1, 5000]
    database.close()


def test_a_copy_is_whole_and_private_while_the_database_is_in_use(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    database.upgrade()
    with database.write() as connection:
        connection.execute(insert(meta).values(name="a", value="1"))
    target = tmp_path / "copy.db"
    database.backup(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copy = sqlite3.connect(target)
    assert copy.execute("SELECT name, value FROM meta").fetchall() == [("a", "1")]
    copy.close()
    with pytest.raises(ConfigError, match="exists already"):
        database.backup(target)
    database.close()


def test_postgresql_is_copied_by_its_own_tools(postgres_url: str, tmp_path: Path) -> None:
    database = Database(postgres_url)
    with pytest.raises(ConfigError, match="pg_dump"):
        database.backup(tmp_path / "copy.db")
    database.close()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://root@localhost/x"])
def test_a_url_that_cannot_be_used_is_refused_with_what_can(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///"):
        Database(url)


def test_a_server_that_does_not_answer_is_a_clear_error_without_the_password() -> None:
    database = Database("postgresql://someone:a-made-up-word@127.0.0.1:1/nothing")
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        database.upgrade()
    assert "a-made-up-word" not in caught.value.message
    with pytest.raises(Unavailable), database.read():
        raise AssertionError("there is no connection")
    database.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path / 'file' / 'posthouse.db'}")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        database.upgrade()
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "posthouse.db"
    path.write_bytes(b"this is a letter, not a database" * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(ConfigError, match="cannot be used"):
        database.upgrade()
    database.close()
