"""What several rooms' tests share: databases to run against, and how Hypothesis behaves.

`database_url` runs a test once on SQLite, always, and once on PostgreSQL where one answers; each run has a database of
its own. With `CI=true` a PostgreSQL that does not answer is a failure, else a skip that says so.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

DEFAULT_POSTGRES: Final = "postgresql://postgres@127.0.0.1:5432/postgres"
DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"

# No deadlines: a slow machine is not a wrong program.
settings.register_profile("posthouse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("posthouse")


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a PostgreSQL server where tests may make databases."""
    url = os.environ.get("POSTHOUSE_TEST_POSTGRES", DEFAULT_POSTGRES)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        reason = f"no PostgreSQL answers (POSTHOUSE_TEST_POSTGRES names another): {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return url


@pytest.fixture(scope="session")
def redis_server() -> str:
    """The URL of a Redis or Valkey server where tests may make keys of their own."""
    url = os.environ.get("POSTHOUSE_TEST_REDIS", DEFAULT_REDIS)
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=5).close()
    except OSError as error:
        reason = f"no Redis answers (POSTHOUSE_TEST_REDIS names another): {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database, gone after the test."""
    name = f"posthouse_test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, query = postgres_server.partition("?")
    yield f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'posthouse.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind that Posthouse runs on."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return cast(str, request.getfixturevalue(fixture))
