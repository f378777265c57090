"""`serve` takes the open files that it may have."""

import resource
from collections.abc import Iterator

import pytest

from posthouse.cli.serve import allow_many_connections


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    allow_many_connections()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
