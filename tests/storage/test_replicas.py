"""Which servers live, as PostgreSQL knows it."""

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, select, update

from posthouse.storage import replicas
from posthouse.storage.database import Database
from posthouse.storage.tables import replicas as table


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    database.upgrade()
    yield database
    database.close()


def heard(database: Database, **ago_ms: int) -> None:
    """These were last heard of so long ago, when all up to 1 was in the database."""
    with database.write() as connection:
        for name, ms in ago_ms.items():
            connection.execute(insert(table).values(name=name, seen_at=0, applied_to=1))
            when = select(replicas._NOW - ms).scalar_subquery()
            connection.execute(update(table).where(table.c.name == name).values(seen_at=when))


def behind(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(replicas.behind(connection, 2))


def beat(database: Database, name: str, applied_to: int = 2) -> bool:
    with database.write() as connection:
        return replicas.beat(connection, name, applied_to)


def test_who_was_heard_of_lately_is_waited_for(database: Database) -> None:
    heard(database, near=1_000, far=12_000)
    assert behind(database) == ["near"]
    beat(database, "near")
    assert behind(database) == []
    beat(database, "far", 0)
    assert behind(database) == ["far"]


@pytest.mark.req("REPLICA-001")
def test_after_a_database_that_nobody_could_reach_those_who_lived_are_waited_for(database: Database) -> None:
    """The first who comes back cannot know how the others are; who was gone before stays gone."""
    heard(database, first=20_000, second=20_500, third=29_000, gone=40_000)
    assert behind(database) == []
    beat(database, "first")
    assert behind(database) == ["second", "third"]
    beat(database, "second")
    assert behind(database) == ["third"]


def test_a_server_that_never_was_there_waits_for_the_others_too(database: Database) -> None:
    heard(database, old=20_000)
    beat(database, "new")
    assert behind(database) == ["old"]


def test_who_has_left_is_not_known(database: Database) -> None:
    beat(database, "one")
    with database.write() as connection:
        assert replicas.known(connection, "one")
        assert not replicas.known(connection, "two")
        replicas.leave(connection, "one")
        assert not replicas.known(connection, "one")


def test_the_last_word_counts_and_none_is_no_word(database: Database) -> None:
    beat(database, "one", 5)
    assert behind(database) == []
    beat(database, "one", 0)
    assert behind(database) == []
    beat(database, "one", 1)
    assert behind(database) == ["one"]


@pytest.mark.req("REPLICA-002")
def test_who_was_taken_for_gone_hears_of_it(database: Database) -> None:
    """Not who is new, nor who was heard out since nobody could be heard."""
    heard(database, near=1_000, far=12_000)
    assert not beat(database, "new")
    assert not beat(database, "near")
    assert beat(database, "far")
    assert not beat(database, "far")


@pytest.mark.req("REPLICA-001")
def test_nobody_was_taken_for_gone_while_the_database_was_away(database: Database) -> None:
    heard(database, first=20_000, second=20_500)
    assert not beat(database, "first")
    assert not beat(database, "second")
