"""What only some dialects have, at providers of others: custom tools, thoughts of earlier turns, labels."""

from typing import Any, Final

import msgspec
import pytest

from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects import openai_responses
from posthouse.providers import anthropic, azure, cerebras, deepseek, groq, mistral, openai, openai_compatible
from posthouse.providers.carriage import Carriage
from posthouse.providers.model import Provider, deployment
from posthouse.providers.prepare import Prepared, body_for, prepare
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest
from tests.providers.asking import account, chat
from tests.providers.carrying import SCHEMA, messages, way
from tests.providers.vendor import RECORDINGS, Vendor

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
