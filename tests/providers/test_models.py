"""How each model of a vendor is asked to think, and what it refuses, where a request is translated for it."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.core.requests import ModelRequest
from posthouse.providers import anthropic, gemini
from posthouse.providers.call import call
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import prepare
from posthouse.providers.reply import Reply
from tests.providers.asking import account, asked, chat
from tests.providers.vendor import Vendor

FAR: Final = 1e12


async def _asked_of(row: Provider, model: str, request: ModelRequest) -> tuple[dict[str, Any], Reply]:
    """What the vendor was asked, and the reply."""
    vendor = Vendor(row)
    way = prepare(deployment(account(row), "public-name", model), request.operation)
    reply = await call(way, request, vendor, FAR, "req_1")
    return vendor.body, reply


# --- Anthropic ---------------------------------------------------


def _thought(body: dict[str, Any]) -> tuple[Any, Any, Any]:
    thinking = body.get("thinking", {})
    return thinking.get("type"), thinking.get("budget_tokens"), body.get("output_config", {}).get("effort")


@pytest.mark.parametrize(
    ("model", "effort", "said", "lost"),
    [
        ("claude-3-5-haiku-20241022", "high", (None, None, None), {"reasoning_effort"}),
        ("claude-3-7-sonnet-20250219", "low", ("enabled", 1024, None), set()),
        ("claude-sonnet-4-5", "minimal", ("enabled", 1024, None), set()),
        ("claude-haiku-4-5-20251001", "medium", ("enabled", 4096, None), set()),
        ("claude-opus-4-20250514", "high", ("enabled", 16384, None), set()),
        ("claude-sonnet-4-5", "max", ("enabled", 16384, None), {"reasoning_effort"}),
        ("claude-sonnet-4-5", "utmost", (None, None, None), {"reasoning_effort"}),
        ("claude-sonnet-4-5", "none", ("disabled", None, None), set()),
        ("claude-opus-4.6", "max", ("adaptive", None, "max"), set()),
        ("claude-opus-4-6", "xhigh", ("adaptive", None, "high"), {"reasoning_effort"}),
        ("claude-sonnet-4-6", "max", ("adaptive", None, "high"), {"reasoning_effort"}),
        ("claude-opus-4-7", "xhigh", ("adaptive", None, "xhigh"), set()),
        ("claude-opus-5", "none", ("disabled", None, None), set()),
        ("claude-opus-5-5", "none", ("adaptive", None, "low"), {"reasoning_effort"}),
        ("claude-fable-5", "none", ("adaptive", None, "low"), {"reasoning_effort"}),
        ("claude-mythos-5-1", "none", ("adaptive", None, "low"), {"reasoning_effort"}),
        ("some-other-model", "max", ("adaptive", None, "max"), set()),
    ],
)
async def test_each_claude_model_thinks_in_its_own_way(
    model: str, effort: str, said: tuple[Any, Any, Any], lost: set[str]
) -> None:
    body, reply = await _asked_of(anthropic.ROW, model, chat(reasoning_effort=effort))
    assert _thought(body) == said
    assert set(reply.dropped) == lost


async def test_who_only_wants_to_see_thoughts_of_an_older_claude_model_is_shown_none() -> None:
    config: dict[str, Any] = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    body, _ = await _asked_of(anthropic.ROW, "claude-haiku-4-5", asked("generate_content", **config))
    assert "thinking" not in body


@pytest.mark.parametrize(
    ("model", "thinks", "forced"),
    [
        ("claude-haiku-4-5", (None, None, None), "any"),
        ("claude-sonnet-4-6", (None, None, None), "any"),
        ("claude-opus-4-7", (None, None, None), "any"),
        ("claude-opus-4-8", ("adaptive", None, "high"), "any"),
        ("claude-opus-5-5", ("adaptive", None, "high"), "auto"),
    ],
)
async def test_claude_models_that_cannot_think_and_be_forced_are_forced(
    model: str, thinks: tuple[Any, Any, Any], forced: str
) -> None:
    tools = msgspec.json.decode(asked("chat.completions", tools=True).fields["tools"])
    request = chat(tools=tools, tool_choice="required", reasoning_effort="high")
    body, reply = await _asked_of(anthropic.ROW, model, request)
    assert _thought(body) == thinks
    assert body["tool_choice"]["type"] == forced
    assert bool(reply.dropped) == (model != "claude-opus-4-8")


@pytest.mark.parametrize(
    ("model", "members", "cap"),
    [
        ("claude-sonnet-4", {}, 8192),
        ("claude-haiku-4-5", {}, 32_000),
        ("claude-haiku-4-5", {"reasoning_effort": "high"}, 8192 + 16384),
        ("claude-opus-5-5", {"reasoning_effort": "high"}, 32_000),
        ("claude-opus-5-5", {"max_completion_tokens": 100}, 100),
        ("some-other-model", {}, 8192),
    ],
)
async def test_a_client_that_sets_no_cap_gets_room_for_thoughts_too(
    model: str, members: dict[str, Any], cap: int
) -> None:
    body, _ = await _asked_of(anthropic.ROW, model, chat(**members))
    assert body["max_tokens"] == cap


# --- Gemini ------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "said", "lost"),
    [
        ("gemini-2.0-flash", "high", None, {"reasoning_effort"}),
        ("gemini-2.0-flash", "none", None, set()),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 512}, set()),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 16384}, set()),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}, set()),
        ("gemini-2.5-flash-lite", "max", {"thinkingBudget": 16384}, {"reasoning_effort"}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, {"reasoning_effort"}),
        ("gemini-2.5-pro", "utmost", None, {"reasoning_effort"}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL"}, set()),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "MINIMAL"}, {"reasoning_effort"}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW"}, {"reasoning_effort"}),
        ("gemini-3.5-flash-lite", "minimal", {"thinkingLevel": "MINIMAL"}, set()),
        ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW"}, {"reasoning_effort"}),
        ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW"}, {"reasoning_effort"}),
        ("gemini-3.8-flash", "medium", {"thinkingLevel": "MEDIUM"}, set()),
        ("gemini-flash-latest", "minimal", {"thinkingLevel": "LOW"}, {"reasoning_effort"}),
        ("gemma-4-27b-it", "none", {"thinkingBudget": 0}, set()),
    ],
)
async def test_each_gemini_model_thinks_in_its_own_way(
    model: str, effort: str, said: dict[str, Any] | None, lost: set[str]
) -> None:
    body, reply = await _asked_of(gemini.ROW, model, chat(reasoning_effort=effort))
    assert body.get("generationConfig", {}).get("thinkingConfig") == said
    assert set(reply.dropped) == lost


@pytest.mark.parametrize(
    ("model", "budget", "said", "lost"),
    [
        ("gemini-2.5-flash", 31999, {"thinkingBudget": 24576, "includeThoughts": True}, {"thinking.budget_tokens"}),
        ("gemini-2.5-pro", 31999, {"thinkingBudget": 31999, "includeThoughts": True}, set()),
        ("gemini-3.8-flash", 31999, {"thinkingBudget": 31999, "includeThoughts": True}, set()),
        ("gemini-2.0-flash", 31999, None, {"thinking.budget_tokens"}),
    ],
)
async def test_a_budget_is_brought_to_what_the_gemini_model_takes(
    model: str, budget: int, said: dict[str, Any] | None, lost: set[str]
) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    body, reply = await _asked_of(gemini.ROW, model, asked("messages", thinking=thinking, max_tokens=32000))
    assert body["generationConfig"].get("thinkingConfig") == said
    assert set(reply.dropped) == lost


@pytest.mark.parametrize(
    ("model", "kept"), [("gemini-2.0-flash", True), ("gemini-2.5-pro", False), ("gemini-3.8-flash", False)]
)
async def test_gemini_models_that_know_no_penalties_are_told_none(model: str, kept: bool) -> None:
    body, reply = await _asked_of(gemini.ROW, model, chat(presence_penalty=0.5, frequency_penalty=0))
    config = body.get("generationConfig", {})
    assert config.get("presencePenalty") == (0.5 if kept else None)
    assert set(reply.dropped) == (set() if kept else {"presence_penalty"})


@pytest.mark.parametrize(("model", "bound"), [("gemini-2.5-flash", False), ("gemini-3-flash-preview", True)])
async def test_gemini_models_that_cannot_call_and_be_bound_are_not_bound(model: str, bound: bool) -> None:
    tools = msgspec.json.decode(asked("chat.completions", tools=True).fields["tools"])
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    body, reply = await _asked_of(gemini.ROW, model, chat(tools=tools, response_format=form))
    assert ("responseMimeType" in body.get("generationConfig", {})) == bound
    assert set(reply.dropped) == (set() if bound else {"response_format"})
    plain, _ = await _asked_of(gemini.ROW, model, chat(response_format=form))
    assert plain["generationConfig"]["responseMimeType"] == "application/json"


async def test_a_request_that_passes_is_not_touched() -> None:
    config = {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}
    body, _ = await _asked_of(gemini.ROW, "gemini-3.8-flash", asked("generate_content", generationConfig=config))
    assert body["generationConfig"] == config
