"""What the fault suite needs of the machine: the server programs of PostgreSQL and Redis."""

import os

import pytest

from tests.chaos.programs import missing


@pytest.fixture(scope="session")
def programs() -> None:
    """With `CI=true` a failure where they are missing, else a skip that says so."""
    lacking = missing()
    if lacking is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(lacking, pytrace=False)
    pytest.skip(lacking)
