"""Brings a database to the newest revision; cheap when it is there already, and quick when it is empty.

Importing any part of Alembic imports all of it (its package does), 75 to 110 ms of CPU on CPython 3.11, and a start has
one second for everything. So a server never imports it: it reads the version with one query, gives an empty database
the whole schema from the metadata and stamps it (a test holds that migrations arrive at the same), and leaves the rare
migration of an older one to a process of its own: `python -m posthouse.storage.migrations`.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text

from posthouse.core.errors import ConfigError
from posthouse.storage.migrations.revisions import HEAD, REVISIONS
from posthouse.storage.tables import metadata

# As Alembic itself makes it.
version_table: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_ADVISORY_LOCK: Final = 0x506F7374686F7573  # "Posthous"
_LOCK_SECONDS: Final = 60.0


def upgrade(engine: Engine, path: Path | None) -> None:
    """`path` is SQLite's file. ConfigError where the database is newer than this program or the migration fails."""
    with engine.connect() as connection:
        if recorded(connection) == HEAD:
            return
    with exclusively(path):
        with engine.connect() as connection:
            if path is not None:
                # Kept in the file; outside of any transaction, and not while another process does the same.
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql("BEGIN")
            found = _create_if_empty(connection)
            connection.commit()
    if found is not None and found != HEAD:
        if found not in REVISIONS:
            raise ConfigError(
                f"the database has schema {found}, this program knows up to {HEAD}: it was used by a newer version of"
                " posthouse; install that one, or restore a backup"
            )
        _migrate(engine.url.render_as_string(hide_password=False))


def recorded(connection: Connection) -> str | None:
    """The revision that the database says it has; None for an empty one."""
    if not inspect(connection).has_table(version_table.name):
        return None
    return connection.scalar(select(version_table.c.version_num))


def lock(connection: Connection) -> None:
    """One migration at a time over all machines, until the transaction ends. SQLite: `exclusively` does it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


@contextmanager
def exclusively(path: Path | None) -> Iterator[None]:
    """One process at a time for a SQLite file (`path`); nothing for PostgreSQL."""
    if path is None:
        yield
        return
    descriptor = os.open(path.with_name(path.name + ".upgrade"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(f"another process has been upgrading {path} for too long") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _create_if_empty(connection: Connection) -> str | None:
    """The revision found, None where the database was empty and now has everything."""
    lock(connection)
    found = recorded(connection)
    if found is None:
        metadata.create_all(connection, checkfirst=False)
        version_table.create(connection)
        connection.execute(version_table.insert().values(version_num=HEAD))
    return found


def _migrate(url: str) -> None:
    # The URL goes by standard input: it may carry a password, and arguments can be read by everybody.
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.storage.migrations"],
        input=url,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(f"the database could not be migrated: {done.stderr.strip()[-2000:]}")
