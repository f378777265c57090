"""A database with its schema, of each kind."""

from collections.abc import Iterator

import pytest

from posthouse.storage.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()
