"""An empty database with its schema, of each kind.

PostgreSQL needs about a second to make a database, so these tests share one and empty it; what changes the schema asks
for `database_url` and has one of its own.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from posthouse.storage.database import Database
from posthouse.storage.tables import metadata


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: str) -> Iterator[Database]:
    name = f"posthouse_test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, query = postgres_server.partition("?")
    database = Database(f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else ""))
    database.upgrade()
    yield database
    database.close()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'posthouse.db'}")
        database.upgrade()
        yield database
        database.close()
        return
    shared: Database = request.getfixturevalue("shared_postgres")
    with shared.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    yield shared
