"""A directory over a real database of each kind, with a clock that the test moves."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from posthouse.accounts.service import Directory, Means
from posthouse.core.caller import Limits
from posthouse.core.errors import Unauthenticated
from posthouse.core.ids import IdMaker
from posthouse.storage.database import Database

START = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


Open = Callable[..., Directory]


def is_known(directory: Directory, secret: str) -> bool:
    try:
        directory.authenticate(secret)
    except Unauthenticated:
        return False
    return True


@pytest.fixture
def opened(database: Database, clock: Clock) -> Open:
    """Another directory over the same database, as another process would have one."""
    numbers = count()

    def make(defaults: Limits = Limits()) -> Directory:  # noqa: B008 - frozen
        nonce = f"{next(numbers):010x}"
        tokens = count()
        means = Means(clock, IdMaker(clock, nonce).make, lambda: f"{nonce}{next(tokens):033d}")
        return Directory(database, defaults, means)

    return make


@pytest.fixture
def directory(opened: Open) -> Directory:
    return opened()
