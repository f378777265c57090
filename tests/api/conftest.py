"""Every asynchronous test of this room runs on both event loops: uvloop, which serves, and asyncio, the reference."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from posthouse.storage.database import Database
from tests.billing.conftest import postgres_database
from tests.billing.stored import empty, opened


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database of each kind for all tests that need no house."""
    if request.param == "sqlite":
        with opened(f"sqlite:///{tmp_path_factory.mktemp('books') / 'posthouse.db'}") as database:
            yield database
        return
    with postgres_database(request.getfixturevalue("postgres_server")) as url, opened(url) as database:
        yield database


@pytest.fixture
def books(shared_books: Database) -> Database:
    """It, without any money in it."""
    empty(shared_books)
    return shared_books
