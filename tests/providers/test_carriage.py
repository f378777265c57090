"""A request in one dialect at a provider of another: what it is told, what comes back, what was lost on the way."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects import anthropic_messages, openai_chat_head, openai_responses
from posthouse.providers import anthropic, azure, cerebras, deepseek, gemini, groq, mistral, openai, openai_compatible
from posthouse.providers.call import call
from posthouse.providers.carriage import Carriage, dropped_by
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, body_for, prepare
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest
from tests.providers.asking import account, asked, chat, prepared
from tests.providers.vendor import RECORDINGS, Vendor

FAR: Final = 1e12
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def way(row: Provider, operation: Operation, model: str = "vendor/model-1", name: str = "main") -> Prepared:
    return prepare(deployment(account(row, name=name), "public-name", model), operation)


async def told(row: Provider, request: ModelRequest, model: str = "vendor/model-1") -> dict[str, Any]:
    """What the vendor was asked."""
    vendor = Vendor(row)
    await call(way(row, request.operation, model), request, vendor, FAR, "req_1")
    return vendor.body


def messages(**more: object) -> ModelRequest:
    body = {"model": "public-name", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}]}
    return anthropic_messages.decode_head(msgspec.json.encode(body | more))


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


# --- members that only some dialects have ------------------------


async def test_a_custom_tool_comes_back_as_one_from_a_whole_answer() -> None:
    answer = msgspec.json.decode((RECORDINGS / "anthropic" / "whole.json").read_bytes())
    answer["content"] = [{"type": "tool_use", "id": "toolu_1", "name": "run", "input": {"input": "ls -l"}}]
    answer["stop_reason"] = "tool_use"
    vendor = Vendor(anthropic.ROW)
    body = {
        "model": "public-name",
        "input": "List the files.",
        "tools": [{"type": "custom", "name": "run", "format": {"type": "text"}}],
    }
    request = openai_responses.decode_head(msgspec.json.encode(body))
    ready = way(anthropic.ROW, "responses")
    carriage = Carriage(ready, request, "req_1")
    sent = msgspec.json.decode(body_for(ready, carriage.request))
    assert sent["tools"][0]["input_schema"]["required"] == ["input"]
    assert "tools" in carriage.dropped
    await vendor.send(_request(ready))
    assert vendor.response is not None
    vendor.response = type(vendor.response)(
        200, [(b"content-type", b"application/json")], [msgspec.json.encode(answer)]
    )
    reply = await carriage.reply(vendor.response)
    (call_,) = msgspec.json.decode(reply.body)["output"]
    assert (call_["type"], call_["name"], call_["input"]) == ("custom_tool_call", "run", "ls -l")


THINKING: Final = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hello."}],
    },
    {"role": "user", "content": "Again"},
]


@pytest.mark.parametrize(
    ("row", "thoughts"),
    [
        (groq.ROW, {"reasoning": "Hm."}),
        (cerebras.ROW, {"reasoning": "Hm."}),
        (mistral.ROW, {}),
        (azure.ROW, {}),
        (deepseek.ROW, {"reasoning_content": "Hm."}),
        (openai_compatible.ROW, {"reasoning_content": "Hm."}),
    ],
)
def test_thoughts_of_earlier_turns_are_said_to_those_who_take_them(row: Provider, thoughts: dict[str, str]) -> None:
    place = msgspec.structs.replace(account(row), wires=("chat.completions",))
    ready = prepare(deployment(place, "public-name", "model"), "messages")
    carriage = Carriage(ready, messages(messages=THINKING), "req_1")
    said = msgspec.json.decode(body_for(ready, carriage.request))["messages"][1]
    assert said == {"role": "assistant", "content": "Hello.", **thoughts}
    assert carriage.dropped == ()


@pytest.mark.parametrize("row", [groq.ROW, cerebras.ROW, mistral.ROW])
def test_labels_that_a_closed_schema_refuses_are_left_out(row: Provider) -> None:
    place = msgspec.structs.replace(account(row), wires=("chat.completions",))
    ready = prepare(deployment(place, "public-name", "model"), "responses")
    more = {"prompt_cache_key": "k", "safety_identifier": "u", "prompt_cache_options": {"mode": "implicit"}}
    sent = msgspec.json.decode(body_for(ready, Carriage(ready, patching(**more), "req_1").request))
    assert sent.keys().isdisjoint({"safety_identifier", "prompt_cache_options"})
    assert ("prompt_cache_key" in sent) is (row is not groq.ROW)


GRAMMAR: Final = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}


def patching(**more: object) -> ModelRequest:
    """A coding agent's second turn: its tool takes text, and was called before."""
    turns = [
        {"role": "developer", "content": "You may read only."},
        {"role": "user", "content": "Mend it."},
        {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done."},
    ]
    tools = [
        {"type": "custom", "name": "apply_patch", "format": GRAMMAR},
        {"type": "function", "name": "shell", "parameters": SCHEMA, "strict": False},
    ]
    choice = {"type": "custom", "name": "apply_patch"}
    body = {"model": "public-name", "input": turns, "tools": tools, "tool_choice": choice}
    return openai_responses.decode_head(msgspec.json.encode(body | more))


def test_tools_that_may_not_be_called_are_not_told_of() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "shell"}]}
    ready = way(anthropic.ROW, "responses")
    carriage = Carriage(ready, patching(tool_choice=choice), "req_1")
    sent = msgspec.json.decode(body_for(ready, carriage.request))
    assert ([tool["name"] for tool in sent["tools"]], sent["tool_choice"]) == (["shell"], {"type": "any"})
    assert carriage.dropped == ()


async def test_a_server_that_only_speaks_as_openai_does_gets_functions_in_place_of_custom_tools() -> None:
    ready = way(openai_compatible.ROW, "responses")
    carriage = Carriage(ready, patching(), "req_1")
    sent = msgspec.json.decode(body_for(ready, carriage.request))
    assert [tool["type"] for tool in sent["tools"]] == ["function", "function"]
    member = sent["tools"][0]["function"]["parameters"]["properties"]["input"]
    assert member["description"].endswith(GRAMMAR["definition"])
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "apply_patch"}}
    (call_,) = sent["messages"][2]["tool_calls"]
    assert (call_["type"], call_["id"], call_["function"]["name"]) == ("function", "call_1", "apply_patch")
    assert msgspec.json.decode(call_["function"]["arguments"]) == {"input": "*** Begin"}
    assert sent["messages"][0] == {"role": "system", "content": "You may read only."}
    assert sent["messages"][3] == {"role": "tool", "tool_call_id": "call_1", "content": "Done."}
    assert carriage.dropped == ("tools",)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_it_calls_is_a_custom_call_for_the_client(stream: bool) -> None:
    function = {"name": "apply_patch", "arguments": '{"input": "*** Begin"}'}
    calls = [{"index": 0, "id": "call_2", "type": "function", "function": function}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    said = {"index": 0, "delta" if stream else "message": message, "finish_reason": "tool_calls"}
    answer = msgspec.json.encode({"id": "chatcmpl-1", "choices": [said]})
    kind = b"text/event-stream" if stream else b"application/json"
    body = b"data: %b\n\ndata: [DONE]\n\n" % answer if stream else answer
    carriage = Carriage(way(openai_compatible.ROW, "responses"), patching(stream=stream), "req_1")
    reply = await carriage.reply(MemoryResponse(200, [(b"content-type", kind)], [body]))
    if not stream:
        (call_,) = msgspec.json.decode(reply.body)["output"]
    else:
        assert reply.stream is not None
        end = reply.stream.end(Usage(), estimated=True).decode()
        (done,) = [line for line in end.splitlines() if line.startswith('data: {"type":"response.completed"')]
        (call_,) = msgspec.json.decode(done.removeprefix("data: "))["response"]["output"]
    assert (call_["type"], call_["name"], call_["input"]) == ("custom_tool_call", "apply_patch", "*** Begin")


RELAY: Final = "https://relay.example/v1"


@pytest.mark.parametrize(
    ("row", "settings", "kind"),
    [
        (openai.ROW, {"wires": ("chat.completions",)}, "custom"),
        (openai.ROW, {"wires": ("chat.completions",), "base_url": RELAY}, "custom"),
        (openai.ROW, {"base_url": RELAY}, "function"),
        (azure.ROW, {"wires": ("chat.completions",), "base_url": "https://mine.openai.azure.com"}, "custom"),
        (openai_compatible.ROW, {}, "function"),
        (mistral.ROW, {}, "function"),
    ],
)
def test_custom_tools_stay_where_the_vendor_takes_them(row: Provider, settings: dict[str, Any], kind: str) -> None:
    place = msgspec.structs.replace(account(row), **settings)
    ready = prepare(deployment(place, "public-name", "model"), "responses")
    sent = msgspec.json.decode(body_for(ready, Carriage(ready, patching(), "req_1").request))
    assert (sent["tools"][0]["type"], sent["messages"][2]["tool_calls"][0]["type"]) == (kind, kind)
    assert sent["messages"][0]["role"] == ("developer" if kind == "custom" else "system")


@pytest.mark.parametrize(("row", "kind"), [(openai.ROW, "custom"), (openai_compatible.ROW, "function")])
def test_they_do_over_responses_too(row: Provider, kind: str) -> None:
    place = msgspec.structs.replace(account(row), wires=("responses",))
    ready = prepare(deployment(place, "public-name", "model"), "chat.completions")
    request = chat(tools=[{"type": "custom", "custom": {"name": "run"}}])
    sent = msgspec.json.decode(body_for(ready, Carriage(ready, request, "req_1").request))
    assert sent["tools"][0]["type"] == kind


def _request(ready: Prepared) -> UpstreamRequest:
    account_ = ready.deployment.account
    return UpstreamRequest("p", ready.origin, b"POST", ready.target, b"", b"{}", account_.timeouts, None, 1.0)


def test_a_chat_request_may_hold_a_body_of_any_size() -> None:
    request = openai_chat_head.decode_head(
        msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x" * 1_000_000}]})
    )
    ready = way(anthropic.ROW, "chat.completions")
    assert Carriage(ready, request, "req_1").request.body_size > 1_000_000
