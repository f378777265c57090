"""A request in one dialect at a provider of another: what it is told, what comes back, what was lost on the way."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects import openai_chat_head
from posthouse.providers import anthropic, gemini, groq, openai, openai_compatible
from posthouse.providers.call import call
from posthouse.providers.carriage import Carriage, dropped_by
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, body_for, prepare
from tests.providers.asking import account, asked, chat, prepared
from tests.providers.carrying import FAR, SCHEMA, messages, told, way
from tests.providers.vendor import Vendor

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


# --- what a provider is told -------------------------------------


def with_image() -> ModelRequest:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    return chat(messages=[{"role": "user", "content": parts}])


@pytest.mark.req("XLATE-009")
async def test_an_image_is_shown_to_every_kind_of_provider() -> None:
    (block,) = [b for b in (await told(anthropic.ROW, with_image()))["messages"][0]["content"] if b["type"] == "image"]
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = (await told(gemini.ROW, with_image()))["contents"][0]["parts"]
    assert {"inlineData": {"mimeType": "image/png", "data": PIXEL}} in parts
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]
    body = await told(openai.ROW, messages(messages=[{"role": "user", "content": content}]), "gpt-4o")
    (image,) = [part for part in body["input"][0]["content"] if part["type"] == "input_image"]
    assert image["image_url"] == f"data:image/png;base64,{PIXEL}"


@pytest.mark.req("XLATE-009")
async def test_a_schema_for_the_output_binds_every_kind_of_provider() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    body = await told(anthropic.ROW, chat(response_format=schema))
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert body["output_config"]["format"]["schema"]["required"] == ["city"]
    config = (await told(gemini.ROW, chat(response_format=schema)))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "city" in msgspec.json.encode(config).decode()
    output = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    text = (await told(openai.ROW, messages(**output), "gpt-5.6-sol"))["text"]
    assert text["format"]["schema"]["required"] == ["city"]


@pytest.mark.req("XLATE-009")
@pytest.mark.parametrize("row", [anthropic.ROW, gemini.ROW], ids=lambda row: row.name)
async def test_calls_and_results_of_tools_go_along(row: Provider) -> None:
    call_ = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Hangzhou"}'},
    }
    turns = [
        {"role": "user", "content": "The weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call_]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    tools = asked("chat.completions", tools=True).fields["tools"]
    request = chat(messages=turns, tools=msgspec.json.decode(tools))
    sent = msgspec.json.encode(await told(row, request)).decode()
    for said in ("get_weather", '"city":"Hangzhou"', "Sunny.", "The weather of a city."):
        assert said in sent


async def test_the_model_is_the_providers_and_the_answer_names_the_clients() -> None:
    vendor = Vendor(anthropic.ROW)
    reply = await call(way(anthropic.ROW, "chat.completions", "claude-sonnet-5"), chat(), vendor, FAR, "req_0193")
    assert vendor.body["model"] == "claude-sonnet-5"
    answer = msgspec.json.decode(reply.body)
    assert (answer["model"], answer["id"]) == ("public-name", "chatcmpl-0193")


def test_a_rows_quirks_hold_for_what_is_translated() -> None:
    request = messages(max_tokens=7)
    renamed = msgspec.structs.replace(openai_compatible.ROW, rename={"max_completion_tokens": "max_tokens"})
    ready = way(renamed, "messages")
    body = msgspec.json.decode(body_for(ready, Carriage(ready, request, "req_1").request))
    assert (body["max_tokens"], "max_completion_tokens" in body) == (7, False)
    stream = messages(stream=True)
    ready = way(openai_compatible.ROW, "messages")
    sent = msgspec.json.decode(body_for(ready, Carriage(ready, stream, "req_1").request))
    assert sent["stream_options"] == {"include_usage": True}


async def test_usage_in_a_form_of_the_vendors_own_is_read_in_a_translated_stream_too() -> None:
    vendor = Vendor(groq.ROW)
    reply = await call(way(groq.ROW, "messages"), messages(stream=True), vendor, FAR, "req_1")
    assert reply.stream is not None and reply.response is not None
    while not reply.stream.done and (data := await reply.response.chunk()):
        reply.stream.feed(data)
    assert reply.stream.usage is not None


# --- reasoning ---------------------------------------------------


async def second_turn(row: Provider, first: dict[str, Any], again: Prepared) -> dict[str, Any]:
    """What is sent by `again` where a chat goes on after the answer `first`, as it came."""
    turns = [
        {"role": "user", "content": "Hi"},
        first["choices"][0]["message"],
        {"role": "user", "content": "And tomorrow?"},
    ]
    vendor = Vendor(row)
    await call(again, chat(messages=turns), vendor, FAR, "req_2")
    return vendor.body


@pytest.mark.req("XLATE-006")
@pytest.mark.parametrize(
    ("row", "signature"),
    [
        (anthropic.ROW, "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"),
        (gemini.ROW, "CpcBAdHtim9+q0PpGk1sHn0mQzT4bVYp"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_the_state_of_reasoning_goes_back_to_its_maker_and_to_nobody_else(row: Provider, signature: str) -> None:
    reply = await call(way(row, "chat.completions"), chat(), Vendor(row), FAR, "req_1")
    first = msgspec.json.decode(reply.body)
    assert signature not in reply.body.decode()  # sealed
    assert "ph1." in reply.body.decode()

    def holds(body: dict[str, Any]) -> tuple[bool, bool]:
        text = msgspec.json.encode(body).decode()
        return signature in text, "ph1." in text

    assert holds(await second_turn(row, first, way(row, "chat.completions"))) == (True, False)
    assert holds(await second_turn(row, first, way(row, "chat.completions", "another-model"))) == (False, False)
    assert holds(await second_turn(row, first, way(row, "chat.completions", name="other"))) == (False, False)
    elsewhere = gemini.ROW if row is anthropic.ROW else anthropic.ROW
    assert holds(await second_turn(elsewhere, first, way(elsewhere, "chat.completions"))) == (False, False)
    passing = prepared(openai_compatible.ROW)
    assert holds(await second_turn(openai_compatible.ROW, first, passing)) == (False, False)


@pytest.mark.req("XLATE-006")
async def test_where_nothing_is_translated_nobody_looks_for_sealed_state() -> None:
    ready = prepare(deployment(account(openai_compatible.ROW), "m"), "chat.completions", sealing=False)
    assert ready.own is None
    assert prepare(deployment(account(openai_compatible.ROW), "m"), "chat.completions").own is not None


# --- what is lost ------------------------------------------------


@pytest.mark.req("XLATE-007")
async def test_what_could_not_be_said_is_named_as_the_client_spells_it() -> None:
    request = chat(seed=7, logit_bias={"1": 2}, n=1)
    reply = await call(way(anthropic.ROW, "chat.completions"), request, Vendor(anthropic.ROW), FAR, "req_1")
    assert set(reply.dropped) == {"seed", "logit_bias"}
    reply = await call(way(anthropic.ROW, "chat.completions"), chat(), Vendor(anthropic.ROW), FAR, "req_1")
    assert reply.dropped == ()


def test_nothing_is_lost_where_bytes_pass() -> None:
    assert dropped_by(prepared(openai_compatible.ROW), chat(seed=7, x_unknown=1)) == ()
    assert dropped_by(prepared(anthropic.ROW, "messages"), messages(x_unknown=1)) == ()


@pytest.mark.req("XLATE-010")
async def test_a_request_is_decoded_once_however_many_deployments_are_tried() -> None:
    request = chat()
    for row in (anthropic.ROW, gemini.ROW):
        await call(way(row, "chat.completions"), request, Vendor(row), FAR, "req_1")
        decoded = request.inner
        assert decoded is not None
        await call(way(row, "chat.completions"), request, Vendor(row), FAR, "req_1")
        assert request.inner is decoded


async def test_a_request_that_makes_no_sense_is_refused_before_anybody_is_asked() -> None:
    vendor = Vendor(anthropic.ROW)
    request = chat(messages=[{"role": "user", "content": [{"type": "text"}]}])
    with pytest.raises(InvalidRequest):
        await call(way(anthropic.ROW, "chat.completions"), request, vendor, FAR, "req_1")
    assert vendor.seen is None


# --- what one model refuses --------------------------------------


@pytest.mark.parametrize(
    ("model", "kept", "lost"),
    [
        ("claude-sonnet-4-6", {"temperature": 0.5}, set()),
        ("claude-3-5-sonnet-20241022", {"temperature": 0.5}, set()),
        ("claude-haiku-4-5-20251001", {"temperature": 0.5}, set()),
        ("claude-opus-4-7", {}, {"temperature"}),
        ("claude-sonnet-5", {}, {"temperature"}),
        ("claude-opus-5-5", {}, {"temperature"}),
    ],
)
async def test_newer_claude_models_are_not_told_a_temperature(model: str, kept: dict[str, Any], lost: set[str]) -> None:
    vendor = Vendor(anthropic.ROW)
    reply = await call(way(anthropic.ROW, "chat.completions", model), chat(temperature=0.5), vendor, FAR, "req_1")
    assert {name: vendor.body[name] for name in ("temperature", "top_p", "top_k") if name in vendor.body} == kept
    assert set(reply.dropped) == lost


async def test_newer_claude_models_think_by_effort_instead_of_a_budget() -> None:
    config: dict[str, Any] = {"generationConfig": {"thinkingConfig": {"thinkingBudget": 4096}}}
    body = await told(anthropic.ROW, asked("generate_content", **config), "claude-opus-4-7")
    assert body["thinking"]["type"] == "adaptive"
    assert body["output_config"]["effort"] == "medium"
    older = await told(anthropic.ROW, asked("generate_content", **config), "claude-sonnet-4-5")
    assert older["thinking"] == {"type": "enabled", "budget_tokens": 4096}


async def test_the_newest_claude_models_are_not_forced_to_use_a_tool() -> None:
    tools = msgspec.json.decode(asked("chat.completions", tools=True).fields["tools"])
    forced = chat(tools=tools, tool_choice="required")
    vendor = Vendor(anthropic.ROW)
    reply = await call(way(anthropic.ROW, "chat.completions", "claude-opus-5-5"), forced, vendor, FAR, "req_1")
    assert vendor.body["tool_choice"]["type"] == "auto"
    assert reply.dropped == ("tool_choice",)
    assert (await told(anthropic.ROW, forced, "claude-sonnet-4-6"))["tool_choice"]["type"] == "any"


@pytest.mark.parametrize(
    ("model", "members", "told_it"),
    [
        ("gpt-4o", {}, True),
        ("gpt-5.6-sol", {}, False),
        ("gpt-5", {}, False),
        ("gpt-5.2", {}, True),
        ("gpt-5.2", {"output_config": {"effort": "low"}}, False),
        ("gpt-6.1-terra", {"thinking": {"type": "disabled"}}, True),
        ("gpt-5-chat-latest", {}, True),
        ("o3", {}, False),
        ("o4-mini-2025-04-16", {}, False),
    ],
)
async def test_models_that_think_are_not_told_a_temperature(model: str, members: dict[str, Any], told_it: bool) -> None:
    body = await told(openai.ROW, messages(temperature=0.5, **members), model)
    assert ("temperature" in body) == told_it


NEVER_THINK: Final = [
    "gpt-4o",
    "gpt-4.1-mini",
    "gpt-3.5-turbo",
    "chatgpt-4o-latest",
    "gpt-5-chat-latest",
    "ft:gpt-4o-mini-2024-07-18:org::abc",
]


@pytest.mark.parametrize("model", NEVER_THINK)
async def test_models_that_never_think_are_not_asked_to_nor_for_what_they_thought(model: str) -> None:
    vendor = Vendor(openai.ROW)
    asking = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"}}
    reply = await call(way(openai.ROW, "messages", model), messages(**asking), vendor, FAR, "req_1")
    assert vendor.body.keys() >= {"input", "store"}
    assert vendor.body.keys().isdisjoint({"include", "reasoning"})
    assert set(reply.dropped) == {"output_config.effort", "thinking.budget_tokens"}
    plain = await call(way(openai.ROW, "messages", model), messages(), Vendor(openai.ROW), FAR, "req_1")
    assert plain.dropped == ()


@pytest.mark.parametrize(
    "model", ["gpt-5", "gpt-5.6-sol", "gpt-6-astra", "o3", "codex-mini-latest", "model-of-tomorrow"]
)
async def test_all_others_are_asked_for_what_they_thought(model: str) -> None:
    body = await told(openai.ROW, messages(output_config={"effort": "high"}), model)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["reasoning"] == {"effort": "high"}


async def test_what_passes_asks_for_what_the_client_asks_for() -> None:
    wish = ["reasoning.encrypted_content"]
    body = await told(openai.ROW, asked("responses", include=wish), "gpt-4o")
    assert body["include"] == wish


def test_a_chat_request_may_hold_a_body_of_any_size() -> None:
    request = openai_chat_head.decode_head(
        msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x" * 1_000_000}]})
    )
    ready = way(anthropic.ROW, "chat.completions")
    assert Carriage(ready, request, "req_1").request.body_size > 1_000_000
