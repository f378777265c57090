"""What is known of the gpt and o families holds where customers name the models, as far as the names tell."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.dialects import anthropic_messages
from posthouse.providers import azure
from posthouse.providers.call import call
from posthouse.providers.model import deployment
from posthouse.providers.prepare import prepare
from tests.providers.asking import account, chat
from tests.providers.vendor import Vendor

FAR: Final = 1e12
ASKED: Final = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
WISHES: Final = {"temperature": 0.5, "output_config": {"effort": "high"}}
TOOLS: Final = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("name", "upstream", "kept", "lost"),
    [
        ("m", "prod-gpt-4o-eu", {"temperature"}, {"output_config.effort"}),
        ("m", "prod-gpt-35-turbo", {"temperature"}, {"output_config.effort"}),
        ("gpt-4.1", "gpt-41", {"temperature"}, {"output_config.effort"}),
        ("m", "prod-o3-mini", {"reasoning_effort"}, {"temperature"}),
        ("gpt-5", "assistant", {"reasoning_effort"}, {"temperature"}),
        ("helper", "assistant", {"temperature", "reasoning_effort"}, set()),
    ],
)
async def test_a_deployment_is_told_what_its_model_takes_as_far_as_a_name_tells_the_model(
    name: str, upstream: str, kept: set[str], lost: set[str]
) -> None:
    vendor = Vendor(azure.ROW)
    where = deployment(account(azure.ROW), name, upstream)
    request = anthropic_messages.decode_head(msgspec.json.encode(ASKED | WISHES))
    reply = await call(prepare(where, "messages"), request, vendor, FAR, "req_1")
    assert vendor.body["model"] == upstream
    assert vendor.body.keys() & {"temperature", "reasoning_effort"} == kept
    assert set(reply.dropped) == lost


@pytest.mark.parametrize(("upstream", "asks"), [("gpt-4o", False), ("gpt-5", True), ("assistant", True)])
async def test_a_deployment_that_never_thinks_is_not_asked_for_its_thoughts(upstream: str, asks: bool) -> None:
    vendor = Vendor(azure.ROW)
    where = deployment(account(azure.ROW, wires=("responses",)), "m", upstream)
    await call(prepare(where, "chat.completions"), chat(), vendor, FAR, "req_1")
    assert ("include" in vendor.body) == asks


async def test_tools_that_go_over_responses_keep_an_effort_of_none() -> None:
    vendor = Vendor(azure.ROW)
    request: Any = chat(tools=TOOLS, reasoning_effort="none")
    ready = prepare(deployment(account(azure.ROW), "m", "gpt-5.6-luna"), "chat.completions")
    await call(ready, request, vendor, FAR, "req_1")
    assert vendor.seen is not None and b"/responses" in vendor.seen.target
    assert vendor.body["reasoning"]["effort"] == "none"
    assert vendor.body["tools"][0]["name"] == "get_weather"
