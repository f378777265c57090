"""What is charged for at which service tier, over the wire: whole, streamed, and at a provider's own interface."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, asked, chunk, completion, frames
from tests.e2e.house import ADMIN_KEY, Place, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Response

PRICES: Final = """
[[prices]]
model = "m"
currency = "USD"
input = "1.00"
output = "1.00"

[[prices]]
model = "m"
service_tier = "priority"
currency = "USD"
input = "3.00"
output = "3.00"

[[prices]]
model = "*"
service_tier = "flex"
multiplier = "0.5"
"""
USAGE: Final = {"prompt_tokens": 700, "completion_tokens": 300, "total_tokens": 1000}
THOUSAND: Final = 1_000_000  # nano-units for a thousand tokens at the standard price
PATHS: Final = ("/v1/chat/completions", "/providers/main/chat/completions")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Upstream() as upstream:
        config = provider(upstream.base_url, '"m"', "passthrough = true") + PRICES
        with running(tmp_path_factory.mktemp("house"), config) as house:
            yield Place(house, upstream)
            house.verified()


def ask(here: Place, path: str, key: str = ADMIN_KEY, **members: Any) -> dict[str, Any]:
    """The record of a chat."""
    with here.house.wire() as wire:
        answer: Response = wire.ask(path, asked(max_tokens=400, **members), key)
    assert answer.status == 200, answer.body
    record: dict[str, Any] = here.house.stored(answer.headers["x-request-id"]).record
    return record


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        (None, None, THOUSAND),
        (None, "flex", THOUSAND // 2),
        ("priority", "priority", 3 * THOUSAND),
        ("priority", "default", THOUSAND),
        ("flex", None, THOUSAND // 2),
    ],
)
def test_what_was_served_is_charged_and_else_what_was_asked_for(
    here: Place, path: str, stream: bool, case: tuple[str | None, str | None, int]
) -> None:
    wanted, told, cost = case
    more: dict[str, Any] = {} if told is None else {"service_tier": told}
    whole = completion(usage=USAGE, **more)
    events = (chunk({"content": "a"}, **more), chunk(finish="stop", **more), chunk(usage=USAGE, **more), "[DONE]")
    here.upstream.scripts["*"] = frames(*events) if stream else answers(whole)
    members: dict[str, Any] = {} if wanted is None else {"service_tier": wanted}
    if stream:
        members |= {"stream": True, "stream_options": {"include_usage": True}}
    record = ask(here, path, **members)
    assert (record["cost"], record["service_tier"]) == (cost, told or wanted)


@pytest.mark.parametrize("path", PATHS)
def test_a_budget_is_held_at_the_dearest_tier_that_may_be_served(here: Place, path: str) -> None:
    here.upstream.scripts["*"] = answers(completion(usage=USAGE))
    key = here.house.new_key(budget={"amount": "1", "currency": "USD"})
    held = {tier: ask(here, path, key, service_tier=tier)["hold_amount"] for tier in ("default", "flexes", "priority")}
    assert held["default"] >= 400 * 1_000
    assert held["priority"] > 2 * held["default"]
    assert held["flexes"] < 2 * held["default"]
