"""A database of each kind, made once and emptied for each test, and a house that keeps its books in it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from posthouse.storage.database import Database
from tests.billing.stored import StoredHouse, empty, opened


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    name = f"posthouse_test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, query = server.partition("?")
    try:
        yield f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all tests of billing: making one on PostgreSQL takes half a second."""
    if request.param == "sqlite":
        with opened(f"sqlite:///{tmp_path_factory.mktemp('billing') / 'posthouse.db'}") as database:
            yield database
        return
    with postgres_database(request.getfixturevalue("postgres_server")) as url, opened(url) as database:
        yield database


@pytest.fixture
def database(shared_database: Database) -> Database:
    empty(shared_database)
    return shared_database


@pytest.fixture
def stored(database: Database) -> Iterator[StoredHouse]:
    house = StoredHouse(database)
    yield house
    house.close()
