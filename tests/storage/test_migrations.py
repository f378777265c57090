"""Every way to the newest schema arrives at the same one."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from posthouse.core.errors import ConfigError
from posthouse.storage.database import Database
from posthouse.storage.migrations.revisions import HEAD, REVISIONS
from posthouse.storage.migrations.runner import migrate, scripts
from posthouse.storage.migrations.upgrade import recorded
from posthouse.storage.tables import metadata

# Alembic and SQLAlchemy do not read the index over an expression; `tables_of` compares its SQL.
pytestmark = pytest.mark.filterwarnings("ignore:Skip.*expression-based index")

# Between the parts of a definition, not between the names in their brackets. A column that was added later stands on
# the line of the one before it.
_ENDS = re.compile(r",(?![^()]*\))|\n")


@pytest.fixture
def fresh(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


def differences(connection: Connection) -> list[object]:
    def known(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        # Made by SQL of their own; `tables_of` sees them.
        own = ("ix_holds_open", "ix_requests_model", "ix_requests_own", "ix_requests_status")
        failed = ("ix_requests_failed_account", "ix_requests_failed_key", "ix_requests_failed_model")
        return kind != "index" or name not in (*own, *failed)

    options = {"compare_type": True, "compare_server_default": True, "include_object": known}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def tables_of(database: Database) -> dict[str, object]:
    """What the database itself says of its tables, further than Alembic compares."""
    with database.read() as connection:
        if database.kind == "sqlite":
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            return {name: sorted(filter(None, map(str.strip, _ENDS.split(sql)))) for name, sql in rows}
        found = inspect(connection)
        return {
            name: [
                [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)],
                sorted(str(check) for check in found.get_check_constraints(name)),
                sorted(str(index) for index in found.get_indexes(name)),
                str(found.get_pk_constraint(name)),
                sorted(str(key) for key in found.get_foreign_keys(name)),
                sorted(str(unique) for unique in found.get_unique_constraints(name)),
            ]
            for name in sorted(found.get_table_names())
        }


def test_the_revisions_are_those_of_the_scripts() -> None:
    found = [script.revision for script in scripts().walk_revisions()]
    assert list(REVISIONS) == list(reversed(found))
    assert scripts().get_current_head() == HEAD


def test_a_fresh_database_has_the_schema_of_the_metadata(fresh: Database) -> None:
    with fresh.read() as connection:
        assert differences(connection) == []
        assert recorded(connection) == HEAD


def test_migrations_from_nothing_arrive_at_the_schema_of_a_fresh_database(fresh: Database) -> None:
    at_first = tables_of(fresh)
    with fresh.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate(connection)
    with fresh.read() as connection:
        assert differences(connection) == []
        assert recorded(connection) == HEAD
    assert tables_of(fresh) == at_first


def test_open_holds_are_found_by_an_index_of_their_own(fresh: Database) -> None:
    with fresh.read() as connection:
        assert "ix_holds_open" in {index["name"] for index in inspect(connection).get_indexes("holds")}


def test_an_upgrade_of_what_is_newest_changes_nothing(fresh: Database) -> None:
    before = tables_of(fresh)
    fresh.upgrade()
    assert tables_of(fresh) == before


def test_a_database_of_a_newer_version_is_refused(fresh: Database) -> None:
    with fresh.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer version"):
        fresh.upgrade()


def test_an_empty_database_is_migrated_by_the_process_that_upgrades_start(database_url: str) -> None:
    database = Database(database_url)
    database.upgrade()
    fresh = tables_of(database)
    with database.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    command = [sys.executable, "-m", "posthouse.storage.migrations"]
    url = database.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(command, input=url, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert tables_of(database) == fresh
    database.close()


def test_many_starts_at_once_make_one_schema(database_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        database = Database(database_url)
        try:
            database.upgrade()
        except Exception as error:  # the top of a thread: the test reads it
            errors.append(error)
        database.close()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    database = Database(database_url)
    with database.read() as connection:
        assert differences(connection) == []
    database.close()


def test_a_start_on_sqlite_imports_neither_alembic_nor_postgresql(tmp_path: Path) -> None:
    program = (
        "import sys, posthouse.storage.journal, posthouse.storage.database as d\n"
        f"d.Database('sqlite:///{tmp_path}/posthouse.db').upgrade()\n"
        "print([name for name in ('alembic', 'psycopg', 'sqlalchemy.dialects.postgresql') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_records_of_before_there_were_units_and_decisions_have_none_of_them(fresh: Database) -> None:
    columns = {
        **{"id": "'req_1'", "created_at": "1", "key_id": "'k'", "account_id": "'a'", "operation": "'o'"},
        **{"model_asked": "'m'", "stream": "false", "status": "200", "attempts": "1", "priced": "false"},
        **{"duration_ms": "1", "ended_by": "'complete'", "input": "5"},
        **dict.fromkeys(("cache_read", "cache_write", "cache_write_1h", "output", "reasoning"), "0"),
        **dict.fromkeys(("audio_input", "audio_output", "image_input", "image_output"), "0"),
    }
    with fresh.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate(connection, "0001")
        names, values = ", ".join(columns), ", ".join(columns.values())
        connection.execute(text(f"INSERT INTO requests ({names}) VALUES ({values})"))  # noqa: S608  names of ours
    fresh.upgrade()
    with fresh.read() as connection:
        assert recorded(connection) == HEAD
        newer = "images, audio_ms, characters, searches, image_kind, decision"
        row = connection.execute(text(f"SELECT input, {newer} FROM requests")).one()  # noqa: S608  names of ours
    assert tuple(row) == (5, 0, 0, 0, 0, None, None)


def test_keys_of_before_they_had_wishes_have_none(fresh: Database) -> None:
    with fresh.write() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate(connection, "0003")
        connection.execute(text("INSERT INTO accounts (id, name, created_at) VALUES ('a', 'a', 1)"))
        columns = "id, hash, hint, name, account_id, created_at"
        insert = text(f"INSERT INTO keys ({columns}) VALUES ('k', :hash, 'h', 'n', 'a', 1)")  # noqa: S608  names of ours
        connection.execute(insert, {"hash": b"h"})
    fresh.upgrade()
    with fresh.read() as connection:
        assert recorded(connection) == HEAD
        row = connection.execute(text("SELECT defaults, aliases, strict FROM keys")).one()
    assert (row.defaults, row.aliases, bool(row.strict)) == (None, None, False)
