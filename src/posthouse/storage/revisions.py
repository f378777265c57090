"""One counter per room of the control plane, so that a running server learns of changes that another process made.

Every write of the control plane bumps its room's counter in its own transaction; the server reads all of them every
half second and reloads what moved.
"""

from typing import Final

from sqlalchemy import Connection, select, text

from posthouse.storage.tables import revisions

# What a server knows of keys and accounts, and of what was paid in for them: two rooms write it.
ACCOUNTS: Final = "accounts"

# Text, since Core has an upsert only per dialect, and PostgreSQL's would cost every start 45 ms of import.
_BUMP = text(
    "INSERT INTO revisions (name, value) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1"
)


def bump(connection: Connection, name: str) -> None:
    """Says, inside a write transaction, that the room `name` has changed."""
    connection.execute(_BUMP, {"name": name})


def bumped(connection: Connection, name: str) -> int:
    """The same, and gives the new number: no other transaction ever has it."""
    bump(connection, name)
    number: int = connection.execute(select(revisions.c.value).where(revisions.c.name == name)).scalar_one()
    return number


def read(connection: Connection) -> dict[str, int]:
    """All counters; a room that never changed is absent."""
    return {row.name: row.value for row in connection.execute(select(revisions.c.name, revisions.c.value))}
