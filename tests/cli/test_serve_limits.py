"""`serve` takes the open files that it may have."""

import platform
import resource
from collections.abc import Iterator

import pytest

from posthouse.cli.serve import allow_many_connections, keep_freed_memory


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_glibc_keeps_freed_memory() -> None:
    assert keep_freed_memory()
