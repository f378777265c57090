"""Counters of change."""

from posthouse.storage import revisions
from posthouse.storage.database import Database


def test_a_bump_counts_up_and_leaves_the_other_rooms_alone(database: Database) -> None:
    with database.write() as connection:
        revisions.bump(connection, "accounts")
    with database.write() as connection:
        revisions.bump(connection, "accounts")
        revisions.bump(connection, "prices")
    with database.read() as connection:
        assert revisions.read(connection) == {"accounts": 2, "prices": 1}


def test_a_fresh_database_has_no_revisions(database: Database) -> None:
    with database.read() as connection:
        assert revisions.read(connection) == {}
