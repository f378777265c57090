"""Every asynchronous test of this room runs on both event loops: uvloop, which serves, and asyncio, the reference."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.upstream.uploads import Seen


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def seen() -> Seen:
    """The requests that a provider of a test has heard."""
    return []
