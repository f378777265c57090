"""Requests through the inner form, and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    InnerRequest,
    MessageItem,
    OpaqueTool,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Thinking,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import ImagePart, OpaquePart, TextPart
from posthouse.core.requests import Operation
from posthouse.dialects import openai_responses
from posthouse.dialects.codec import INNER_NAMES, Addressed
from posthouse.dialects.codecs import CODECS
from posthouse.dialects.openai_chat import CODEC
from posthouse.dialects.openai_chat_codec import SHARED
from tests.dialects.chat import NOWHERE, asked, decode, dropped, encode, user
from tests.dialects.inner import ARGUMENTS, MAKER, PIXEL, requests
from tests.dialects.published import approve


# --- there and back ----------------------------------------------
@pytest.mark.req("CHAT-REQ-008")
@given(requests(without=frozenset({"failures", "rich_results"})))
def test_a_request_of_the_inner_form_survives_the_wire(request: InnerRequest) -> None:
    assert decode(CODEC.encode_request(request, MAKER).body) == request


@pytest.mark.req("CHAT-REQ-009")
@given(requests(dialect="anthropic_messages"))
def test_what_is_written_is_what_the_published_schema_describes(request: InnerRequest) -> None:
    body = encode(request)
    for message in body["messages"]:
        # Beside the schema, in the way of all compatible servers.
        message.pop("reasoning_content", None)
        message.pop("reasoning_details", None)
    approve(body, "CreateChatCompletionRequest")


@pytest.mark.req("CHAT-REQ-009")
@given(requests(dialect="anthropic_messages"))
def test_what_is_dropped_has_a_name_of_the_contract(request: InnerRequest) -> None:
    assert set(dropped(request)) <= set(INNER_NAMES) | set(request.extra)


_WIRE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "look"}, {"type": "new_part", "x": 1}]},
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "assistant", "content": "done"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "b": 1, "a": 2}}},
        {"type": "custom", "custom": {"name": "sql", "format": {"type": "grammar", "grammar": {}}}},
        {"type": "web_search", "x": [1, 2]},
    ],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    "max_completion_tokens": 5,
    "temperature": 0.5,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"k": "v"},
    "logit_bias": {"50256": -100},
    "reasoning_effort": {"future": "form"},
    "verbosity": "low",
    "user": "ann",
    "presence_penalty": 1.0,
    "frequency_penalty": -0.5,
}
_WIRE["tools"][1]["custom"]["format"]["grammar"] = {"syntax": "regex", "definition": "a+"}


@pytest.mark.req("CHAT-REQ-008")
def test_a_request_of_the_wire_says_the_same_afterwards() -> None:
    assert encode(decode(_WIRE)) == _WIRE


@pytest.mark.req("CHAT-REQ-008")
def test_a_request_read_twice_is_the_same() -> None:
    request = decode(_WIRE)
    again = decode(CODEC.encode_request(request, MAKER).body)
    assert replace(again, extra={}) == replace(request, extra={})
    assert again.extra.keys() == request.extra.keys()


def test_reasoning_words_and_calls_are_told_apart_in_their_order() -> None:
    assert decode(_WIRE).items[2:6] == (
        ReasoningItem("hm"),
        MessageItem("assistant", (TextPart("I look"),)),
        ToolCallItem("c1", "look", '{"a": 1}'),
        ToolResultItem("c1", (TextPart("seen"),)),
    )


def test_members_that_both_sides_name_are_read() -> None:
    request = decode(_WIRE)
    assert request.verbosity == "low"
    assert request.user == "ann"
    assert request.sampling.presence_penalty == 1
    assert request.sampling.frequency_penalty == -0.5
    assert {"verbosity", "user", "presence_penalty", "frequency_penalty"}.isdisjoint(request.extra)


@pytest.mark.parametrize(
    ("members", "user", "left"),
    [
        ({"user": "a"}, "a", set()),
        ({"safety_identifier": "b"}, "b", set()),
        ({"user": "a", "safety_identifier": "b"}, "a", {"safety_identifier"}),
        ({"user": ""}, "", set()),
        ({"user": 5}, None, {"user"}),
    ],
)
def test_whoever_asks_has_one_name(members: dict[str, Any], user: str | None, left: set[str]) -> None:
    request = decode({"model": "m", "messages": [{"role": "user", "content": "a"}], **members})
    assert (request.user or None) == (user or None)
    assert request.extra.keys() == left


def test_the_grammar_of_a_custom_tool_has_one_inner_form() -> None:
    tool = decode(_WIRE).tools[1]
    assert isinstance(tool, Tool)
    assert json.loads(tool.format or b"") == {"type": "grammar", "syntax": "regex", "definition": "a+"}


def test_what_is_said_outside_the_body_counts_where_the_body_says_nothing() -> None:
    body = b'{"messages":[{"role":"user","content":"a"}]}'
    request = CODEC.decode_request(body, Addressed("deployed", stream=True))
    assert (request.model, request.stream) == ("deployed", True)
    named = CODEC.decode_request(b'{"model":"m","stream":false,' + body[1:], Addressed("deployed", stream=True))
    assert (named.model, named.stream) == ("m", False)
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode_request(body, NOWHERE)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ({"stream": True, "stream_options": {"include_usage": True}}, set()),
        ({"response_format": {"type": "json_object"}, "tool_choice": "auto"}, set()),
        ({"response_format": {"type": "grammar"}}, {"response_format"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"response_format"}),
        ({"tool_choice": {"type": "function"}}, {"tool_choice"}),
        (
            {"presence_penalty": 10**400, "seed": "x", "parallel_tool_calls": 1},
            {"presence_penalty", "seed", "parallel_tool_calls"},
        ),
    ],
)
def test_what_the_inner_form_cannot_say_stays_with_the_request(members: dict[str, Any], left: set[str]) -> None:
    request = decode({"model": "m", "messages": [{"role": "user", "content": "a"}], **members})
    assert request.extra.keys() == left
    assert encode(request).items() >= {name: members[name] for name in left}.items()


@pytest.mark.parametrize("format", [{"type": "text"}, {"type": "grammar", "grammar": {"syntax": "lark"}}, 5])
def test_a_format_of_a_custom_tool_that_we_do_not_know_stays_as_it_is(format: Any) -> None:
    tool = {"type": "custom", "custom": {"name": "f", "format": format}}
    request = decode({"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [tool]})
    assert encode(request)["tools"] == [tool]


# --- what is lost ------------------------------------------------
@pytest.mark.req("CHAT-REQ-013")
@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1, "minimal"), (1024, "low"), (4000, "medium"), (10_000, "high"), (64_000, "high")],
)
def test_a_budget_of_thought_becomes_the_nearest_effort(budget: int, effort: str) -> None:
    request = asked(user(), thinking=Thinking(budget=budget))
    assert encode(request)["reasoning_effort"] == effort
    assert dropped(request) == (("thinking_budget",) if budget else ())
    both = asked(user(), thinking=Thinking("low", budget))
    assert (encode(both)["reasoning_effort"], dropped(both)) == ("low", ("thinking_budget",))


@pytest.mark.req("CHAT-REQ-009")
def test_what_has_no_place_is_told_once_and_in_order() -> None:
    request = asked(
        MessageItem("system", (ImagePart(PIXEL), OpaquePart("gemini", b"{}"), ImagePart(PIXEL))),
        tools=(OpaqueTool("gemini", b"{}"), Tool("f")),
        sampling=Sampling(top_k=5, stop=("a", "b", "c", "d", "e")),
        extra={"container": Raw(b'"x"'), "nothing": Raw(b"null")},
    )
    assert dropped(request) == ("part.image", "part.opaque", "tool.opaque", "stop", "top_k", "container")
    body = encode(request)
    assert body["stop"] == ["a", "b", "c", "d"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]


def test_what_belongs_to_tools_goes_with_them() -> None:
    request = asked(
        user(), tools=(OpaqueTool("gemini", b"{}"),), tool_choice=ToolChoice("required"), parallel_tools=False
    )
    assert encode(request).keys() == {"model", "messages"}
    assert dropped(request) == ("tool.opaque", "tool_choice")


def test_a_schema_without_a_name_gets_one() -> None:
    request = asked(user(), output_format=OutputFormat("json_schema", schema=b"{}"))
    assert encode(request)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": {}},
    }


# --- what means the same in the Responses API --------------------
_EXTRA = {
    "metadata": b'{"a":"b"}',
    "moderation": b'{"model":"x"}',
    "prompt_cache_key": b'"k"',
    "prompt_cache_retention": b'"24h"',
    "safety_identifier": b'"s"',
    "service_tier": b'"flex"',
}


def _response(**extra: bytes) -> InnerRequest:
    return replace(asked(user()), dialect="openai_responses", extra={name: Raw(value) for name, value in extra.items()})


@pytest.mark.req("CHAT-REQ-014")
def test_members_that_mean_the_same_in_the_responses_api_are_carried() -> None:
    request = _response(**_EXTRA)
    assert encode(request).items() >= {name: json.loads(raw) for name, raw in _EXTRA.items()}.items()
    assert dropped(request) == ()
    foreign = replace(request, dialect="gemini")
    assert dropped(foreign) == tuple(_EXTRA)


@pytest.mark.parametrize(
    ("options", "carried", "lost"),
    [
        (b'{"mode": "explicit","ttl":"30m"}', {"mode": "explicit", "ttl": "30m"}, False),
        (b'{"mode":"explicit","ttl":"12h"}', {"mode": "explicit"}, True),
        (b'{"mode":"explicit","prewarm":true}', {"mode": "explicit"}, True),
        (b'{"prewarm":true}', None, True),
        (b'"x"', None, True),
    ],
)
def test_of_the_options_of_a_cache_the_common_ones_are_carried(options: bytes, carried: Any, lost: bool) -> None:
    request = _response(prompt_cache_options=options)
    assert encode(request).get("prompt_cache_options") == carried
    assert dropped(request) == (("prompt_cache_options",) if lost else ())


def test_what_only_the_responses_api_means_is_not_carried() -> None:
    request = _response(service_tier=b'"ultrafast"', top_logprobs=b"5", store=b"true", truncation=b'"auto"')
    assert encode(request).keys() == {"model", "messages"}
    assert dropped(request) == ("service_tier", "top_logprobs", "store", "truncation")
    assert dropped(_response(store=b"false", include=b"null")) == ()


def test_both_dialects_carry_the_same_members() -> None:
    assert SHARED.keys() == openai_responses.SHARED


# --- what does not fit -------------------------------------------
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": 5}]}, "messages[0].content[0]"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": ["x"]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": 5}, "messages[0].tool_calls"),
        ({"role": "assistant", "function_call": 5}, "messages[0].function_call"),
        ({"role": "assistant", "audio": {"id": 5}}, "messages[0].audio"),
    ],
)
def test_a_message_that_does_not_fit_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({"model": "m", "messages": [message]})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("seed", rb'"\ud800"'),
        ("stop", rb'["\ud800"]'),
        ("stop", b"[5]"),
        ("messages", rb'[{"role":"user","content":"\ud800x"}]'),
        ("messages", rb'[{"role":"user","content":[{"type":"text","text":"\ud800x"}]}]'),
        ("messages", rb'[{"role":"user","x":1,"name":"\ud800x"}]'),
    ],
)
def test_text_that_is_none_is_refused(member: str, value: bytes) -> None:
    fields = {"model": b'"m"', "messages": b'[{"role":"user","content":"a"}]', member: value}
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), raw) for name, raw in fields.items()) + b"}"
    with pytest.raises(InvalidRequest) as caught:
        decode(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (5, "tools[0]"),
        ({"type": "function"}, "tools[0]"),
        ({"type": "custom", "function": {"name": "f"}}, "tools[0]"),
        ({"type": "function", "function": {"name": 5}}, "tools[0]"),
        ({"type": "function", "function": {"name": "f", "parameters": 5}}, "tools[0].function.parameters"),
    ],
)
def test_a_tool_that_does_not_fit_is_named(tool: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [tool]})
    assert caught.value.param == param


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | ARGUMENTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*_WIRE, "type", "id"]), inner),
    max_leaves=8,
)
_MEMBERS = ("role", "content", "tool_calls", "function_call", "audio", "reasoning_details", "refusal", "tool_call_id")


@pytest.mark.req("CHAT-REQ-015")
@given(
    st.dictionaries(st.sampled_from(list(_WIRE)), _JUNK),
    st.lists(st.dictionaries(st.sampled_from(_MEMBERS), _JUNK | st.just("assistant")), max_size=3),
)
def test_whatever_a_client_sends_is_read_or_refused(members: dict[str, Any], said: list[Any]) -> None:
    for body in ({**_WIRE, **members}, {**_WIRE, **members, "messages": said}):
        try:
            request = decode(body)
        except InvalidRequest:
            continue
        CODEC.encode_request(request, MAKER)
        CODEC.encode_request(replace(request, dialect="gemini"), MAKER)


@pytest.mark.req("CHAT-REQ-015")
@pytest.mark.parametrize("depth", [100, 990, 1200, 100_000])
@pytest.mark.parametrize("member", ["messages", "tools", "response_format", "stop", "reasoning_effort", "x"])
def test_deep_nesting_is_refused_or_carried(depth: int, member: str) -> None:
    value = b'[{"content":' + b"[" * depth + b"]" * depth + b',"role":"user"}]'
    body = (
        json.dumps({**_WIRE, member: 0}).encode().replace(f'"{member}": 0'.encode(), f'"{member}": '.encode() + value)
    )
    try:
        CODEC.encode_request(decode(body), MAKER)
    except InvalidRequest as error:
        assert error.status == 400


@pytest.mark.parametrize("client", ["chat.completions", "completions"])
@pytest.mark.parametrize("provider", ["responses", "messages", "generate_content"])
def test_what_asks_for_nothing_is_not_lost(client: Operation, provider: Operation) -> None:
    names = ["logit_bias", "user", "stop", "seed", "stream_options", "logprobs", "temperature", "suffix", "metadata"]
    idle: dict[str, Any] = {"model": "m", **dict.fromkeys(names)}
    if client == "chat.completions":
        idle["messages"] = [{"role": "user", "content": "hi"}]
        idle |= {"tools": None, "tool_choice": None, "response_format": None, "logit_bias": {}, "logprobs": False}
        idle |= {"modalities": ["text"], "store": False, "top_logprobs": 0}
        idle["stream_options"] = {"include_usage": True, "include_obfuscation": False}
    else:
        idle |= {"prompt": "hi", "suffix": "", "logprobs": False, "best_of": 1}
    request = CODECS[client].decode_request(json.dumps(idle).encode(), Addressed("m"))
    assert CODECS[provider].encode_request(request, MAKER).dropped == ()


def test_what_asks_for_something_is_told() -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}], "logprobs": True}
    body["stream_options"] = {"new": 1}
    lost = CODECS["messages"].encode_request(decode(body), MAKER).dropped
    assert lost == ("logprobs", "stream_options")
