"""A chat that a model refuses goes over responses, at a vendor whose customers name their models too."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.answers import answers, asked, completion
from tests.e2e.house import ADMIN_KEY, provider, running
from tests.e2e.upstream import Upstream

TOOLS: Final = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALLED: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "completed",
    "model": "upstream-model",
    "output": [
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "get_weather",
            "arguments": "{}",
            "status": "completed",
        }
    ],
    "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
}


@pytest.mark.parametrize(
    ("version", "path"),
    [("", "/openai/v1/responses"), ("2025-04-01-preview", "/openai/responses?api-version=2025-04-01-preview")],
)
def test_tools_of_a_deployment_whose_name_here_tells_its_model_go_over_responses(
    tmp_path: Path, version: str, path: str
) -> None:
    models = '{ name = "gpt-5.6-luna", upstream = "assistant" }, { name = "helper", upstream = "helper" }'
    more = f'api_version = "{version}"' if version else ""
    with Upstream() as upstream:
        config = provider(upstream.base_url.removesuffix("/v1"), models, more)
        config = config.replace("openai-compatible", "azure") + '[billing]\nunpriced = "allow"\n'
        upstream.scripts = {"assistant": answers(CALLED), "*": answers(completion("Hello"))}
        with running(tmp_path, config) as house, house.wire() as wire:
            answer = wire.ask("/v1/chat/completions", asked("gpt-5.6-luna", tools=TOOLS), ADMIN_KEY)
            assert answer.status == 200, answer.body
            (call,) = answer.json["choices"][0]["message"]["tool_calls"]
            assert (call["id"], call["function"]["name"]) == ("call_1", "get_weather")
            assert upstream.visit().path == path
            assert upstream.visit().json["model"] == "assistant"
            # Nothing tells what this one is: its chat stays a chat.
            assert wire.ask("/v1/chat/completions", asked("helper", tools=TOOLS), ADMIN_KEY).status == 200
            assert "/chat/completions" in upstream.visit().path
            house.verified()
