"""SQLite into PostgreSQL: rows of every table arrive exactly, or nothing does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table, func, select

from posthouse.core.errors import ConfigError
from posthouse.storage.database import Database
from posthouse.storage.moving import check_target, count, in_order, move
from posthouse.storage.tables import accounts, keys, meta, requests, revisions
from tests.storage.sample import append, journal_at, whole

ODD: Final = "naïve 驿站 🏇 \t\\N \\x41 'quoted' \"\u0001\u2028\ufeff"
MOST: Final = 2**63 - 1


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def target(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.close()


def silent(name: str, done: int, rows: int) -> None:
    """Nobody looks on."""


def value(table: Table, column: Any, row: int) -> Any:
    """A value of the column's own kind, another in each row; some are null, some as large as they may be."""
    if column.nullable and row % 3 == 0:
        return None
    fixed: dict[tuple[str, str], Any] = {("holds", "state"): "held", ("code_batches", "amount"): MOST - row}
    if (table.name, column.name) in fixed:
        return fixed[table.name, column.name]
    if isinstance(column.type, Boolean):
        return row % 2 == 0
    if isinstance(column.type, BigInteger):
        return (MOST - row, row - MOST - 1, row)[row % 3]
    if isinstance(column.type, Integer):
        return row % 2  # as a leg may be
    return bytes([*range(256), row]) if isinstance(column.type, LargeBinary) else f"{row}-{ODD}"


def fill(database: Database, rows: int = 7) -> dict[str, list[tuple[Any, ...]]]:
    with database.write() as connection:
        for table in in_order():
            made = [{column.name: value(table, column, row) for column in table.columns} for row in range(rows)]
            connection.execute(table.insert(), made)
    return dump(database)


def dump(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    with database.read() as connection:
        return {table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in in_order()}


def test_every_table_arrives_as_it_was_and_the_source_stays(source: Database, target: Database) -> None:
    filled = fill(source)
    assert all(len(rows) == 7 for rows in filled.values())
    told: list[tuple[str, int, int]] = []
    done = move(source, target, lambda *words: told.append(words))
    assert dump(target) == filled
    assert dump(source) == filled
    assert [one.name for one in done] == [table.name for table in in_order()]
    assert all(one.rows == 7 and one.nuls == 0 for one in done)
    assert {name: rows for name, done_rows, rows in told if done_rows == rows} == dict.fromkeys(filled, 7)


def test_sums_are_exact_beyond_64_bits(source: Database) -> None:
    with source.write() as connection:
        rows = [{"name": str(number), "value": MOST} for number in range(5)] + [{"name": "-", "value": -MOST - 1}]
        connection.execute(revisions.insert(), rows)
    found = {one.name: one for one in count(source)}
    assert found["revisions"].sums == {"name": (6, 6), "value": (6, 5 * MOST - MOST - 1)}


def test_more_rows_than_a_batch_arrive_with_what_the_journal_wrote(
    source: Database, target: Database, tmp_path: Path
) -> None:
    with journal_at(tmp_path / "journal", source) as journal:
        append(journal, [line for number in range(2_500) for line in whole(number)])
    before = dump(source)
    move(source, target, silent)
    assert dump(target) == before
    # The server that follows on the same folder goes on where the journal was.
    with journal_at(tmp_path / "journal", target) as journal:
        append(journal, whole(2_500))
    with target.read() as connection:
        assert connection.execute(select(func.count()).select_from(requests)).scalar_one() == 2_501


def test_a_nul_which_postgresql_does_not_store_is_replaced_and_counted(source: Database, target: Database) -> None:
    with source.write() as connection:
        connection.execute(meta.insert().values(name="a", value="one\0two\0"))
    done = {one.name: one for one in move(source, target, silent)}
    assert done["meta"].nuls == 2
    with target.read() as connection:
        assert connection.execute(select(meta.c.value)).scalar_one() == "one\ufffdtwo\ufffd"


def test_an_interrupted_move_leaves_nothing_and_can_be_begun_again(source: Database, target: Database) -> None:
    filled = fill(source)

    def interrupt(name: str, done: int, rows: int) -> None:
        if name == "requests" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(source, target, interrupt)
    assert not any(dump(target).values())
    target.close()  # as the end of the process would
    move(source, target, silent)
    assert dump(target) == filled == dump(source)


def test_a_target_that_goes_away_is_told_and_nothing_is_left(
    source: Database, target: Database, postgres_url: str
) -> None:
    fill(source)
    killer = Database(postgres_url)

    def kill(name: str, done: int, rows: int) -> None:
        if name == "requests" and done:
            with killer.engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )

    with pytest.raises(ConfigError, match="Nothing was copied, and the source is as it was"):
        move(source, target, kill)
    assert not any(dump(killer).values())
    killer.close()


def test_a_commit_without_an_answer_is_told_as_what_it_is(source: Database, target: Database) -> None:
    filled = fill(source)
    target.upgrade()
    with target.write() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
        )
        connection.exec_driver_sql(  # runs at the commit
            "CREATE CONSTRAINT TRIGGER gone AFTER INSERT ON meta DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION gone()"
        )
    with pytest.raises(ConfigError, match="the answer to the commit is missing"):
        move(source, target, silent)
    assert not any(dump(target).values())
    assert dump(source) == filled


def test_a_row_that_postgresql_refuses_is_told_with_its_table(source: Database, target: Database) -> None:
    with source.write() as connection:
        connection.exec_driver_sql("INSERT INTO revisions VALUES ('keys', 'many')")  # SQLite takes any kind anywhere
    with pytest.raises(ConfigError, match=r"the table revisions cannot be copied: .*many.* Nothing was copied"):
        move(source, target, silent)
    assert not any(dump(target).values())


def test_what_came_out_otherwise_is_not_committed(source: Database, target: Database) -> None:
    fill(source)
    target.upgrade()
    with target.write() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.cost := NEW.cost - 1; RETURN NEW; END'"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER other BEFORE INSERT ON requests FOR EACH ROW WHEN (NEW.cost > 0) EXECUTE FUNCTION other()"
        )
    with pytest.raises(ConfigError, match=r"requests was not copied exactly: 7 rows there, 7 here; different: cost\."):
        move(source, target, silent)
    assert not any(dump(target).values())


def test_a_target_with_rows_is_refused_and_stays(source: Database, target: Database) -> None:
    fill(source)
    target.upgrade()
    with target.write() as connection:
        connection.execute(meta.insert().values(name="admin", value="theirs"))
    for attempt in (lambda: move(source, target, silent), lambda: check_target(target)):
        with pytest.raises(ConfigError, match="is not empty: there are rows in meta"):
            attempt()
    with target.read() as connection:
        assert connection.execute(select(meta.c.value)).scalars().all() == ["theirs"]


def test_a_target_that_a_server_serves_is_refused(source: Database, target: Database, postgres_url: str) -> None:
    server = Database(postgres_url)
    server.claim()
    with pytest.raises(ConfigError, match="in use by another posthouse server"):
        move(source, target, silent)
    server.close()


def test_nobody_writes_to_the_source_meanwhile(source: Database, target: Database) -> None:
    fill(source)
    tried: list[str] = []
    other = Database(f"sqlite:///{source.path}")

    def write(name: str, done: int, rows: int) -> None:
        if not tried:
            with other.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                try:
                    connection.execute(accounts.insert().values(id="acc_new", name="new", created_at=1))
                except Exception as error:
                    tried.append(str(error))

    move(source, target, write)
    other.close()
    assert "locked" in tried[0]


def test_what_cannot_be_a_source_or_a_target_is_told(source: Database, target: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not PostgreSQL"):
        move(source, source, silent)
    with pytest.raises(ConfigError, match="a move begins with SQLite"):
        move(target, target, silent)
    with pytest.raises(ConfigError, match="there is no database at"):
        move(Database(f"sqlite:///{tmp_path / 'none.db'}"), target, silent)
    with source.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    with pytest.raises(ConfigError, match="posthouse db upgrade"):
        move(source, target, silent)


def test_a_target_out_of_reach_is_told(source: Database) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        check_target(Database("postgresql://nobody@127.0.0.1:1/none"))


def test_keys_still_refer_to_their_accounts(source: Database, target: Database) -> None:
    fill(source)
    move(source, target, silent)
    with target.read() as connection:
        joined = select(func.count()).select_from(keys.join(accounts, keys.c.account_id == accounts.c.id))
        assert connection.execute(joined).scalar_one() == 7


def test_no_table_counts_by_a_sequence_which_a_copy_would_have_to_set(target: Database) -> None:
    target.upgrade()
    with target.read() as connection:
        assert connection.exec_driver_sql("SELECT sequencename FROM pg_sequences").fetchall() == []
