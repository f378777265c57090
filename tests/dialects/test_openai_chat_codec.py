"""The full codec: round trips through the inner form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import (
    Choice,
    CompactionItem,
    InnerRequest,
    InnerResponse,
    Item,
    MessageItem,
    OpaqueState,
    OpaqueTool,
    OutputFormat,
    ReasoningItem,
    Sampling,
    Tool,
    ToolCallItem,
    ToolChoice,
    ToolResultItem,
)
from posthouse.core.parts import AudioPart, FilePart, ImagePart, OpaquePart, Part, RefusalPart, TextPart
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_codec import decode_request, decode_response, encode_request, encode_response
from posthouse.dialects.openai_chat_items import DIALECT

_WORD = st.text(min_size=1, max_size=8)
_MAYBE = st.none() | _WORD
_JSON = st.sampled_from([b'{"type":"object"}', b'{ "b": 1.50, "a":[null] }', b"{}"])
_KIND = st.sampled_from(["function", "custom"])
_PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.text(max_size=8)),
    st.builds(ImagePart, _WORD, st.none() | st.sampled_from(["low", "high"])),
    st.builds(FilePart, _MAYBE, _MAYBE, _MAYBE),
    st.builds(AudioPart, data=_WORD, format=st.just("wav")),
    st.builds(RefusalPart, _WORD),
    st.just(OpaquePart(DIALECT, b'{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}')),
)
_PART_LISTS = st.lists(_PARTS, max_size=3).map(tuple)
_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.builds(MessageItem, st.sampled_from(["system", "developer", "user", "assistant", "new"]), _PART_LISTS, _MAYBE),
    st.builds(ToolCallItem, _WORD, _WORD, st.text(max_size=8), _KIND),
    st.builds(ToolResultItem, _WORD, _PART_LISTS),
    st.builds(ReasoningItem, _WORD),
)
_TOOLS = st.one_of(
    st.builds(Tool, _WORD, st.just("function"), _MAYBE, schema=st.none() | _JSON, strict=st.none() | st.booleans()),
    st.builds(Tool, _WORD, st.just("custom"), _MAYBE, format=st.none() | _JSON),
    st.just(OpaqueTool(DIALECT, b'{"type":"web_search","x": [1 ,2]}')),
)
_CHOICES = st.one_of(
    st.none(),
    st.builds(ToolChoice, st.sampled_from(["none", "auto", "required"])),
    st.builds(ToolChoice, st.just("named"), _WORD, _KIND),
)
_FORMATS = st.one_of(
    st.none(),
    st.builds(OutputFormat, st.sampled_from(["text", "json_object"])),
    st.builds(OutputFormat, st.just("json_schema"), _WORD, _MAYBE, st.none() | _JSON, st.none() | st.booleans()),
)
_SAMPLING = st.builds(
    Sampling,
    max_output=st.none() | st.integers(0, 1000),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    stop=st.lists(_WORD, max_size=3).map(tuple),
    choices=st.none() | st.integers(1, 128),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
)


@st.composite
def _requests(draw: st.DrawFn) -> InnerRequest:
    return InnerRequest(
        dialect=DIALECT,
        model="m",
        items=tuple(draw(st.lists(_ITEMS, min_size=1, max_size=8))),
        tools=tuple(draw(st.lists(_TOOLS, max_size=3))),
        tool_choice=draw(_CHOICES),
        parallel_tools=draw(st.none() | st.booleans()),
        output_format=draw(_FORMATS),
        effort=draw(_MAYBE),
        sampling=draw(_SAMPLING),
        stream=draw(st.booleans()),
        include_usage=draw(st.booleans()),
    )


@pytest.mark.req("CHAT-REQ-008")
@given(_requests())
def test_a_request_of_the_inner_form_survives_the_wire(request: InnerRequest) -> None:
    assert decode_request(encode_request(request)) == request


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
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "b": 1, "a": 2}}}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    "max_completion_tokens": 5,
    "temperature": 0.5,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "metadata": {"k": "v"},
    "logit_bias": None,
    "reasoning_effort": {"future": "form"},
}


@pytest.mark.req("CHAT-REQ-008")
def test_a_request_of_the_wire_says_the_same_afterwards() -> None:
    assert json.loads(encode_request(decode_request(json.dumps(_WIRE).encode()))) == _WIRE


@pytest.mark.req("CHAT-REQ-008")
def test_a_request_read_twice_is_the_same() -> None:
    request = decode_request(json.dumps(_WIRE).encode())
    again = decode_request(encode_request(request))
    assert again.items == request.items
    assert {name: bytes(raw) for name, raw in again.extra.items()}.keys() == request.extra.keys()


def test_reasoning_words_and_calls_are_told_apart_in_their_order() -> None:
    items = decode_request(json.dumps(_WIRE).encode()).items
    assert items[2:6] == (
        ReasoningItem("hm"),
        MessageItem("assistant", (TextPart("I look"),)),
        ToolCallItem("c1", "look", '{"a": 1}'),
        ToolResultItem("c1", (TextPart("seen"),)),
    )


@pytest.mark.parametrize("parts", [(), (TextPart("a"),)])
def test_one_thought_belongs_to_one_message(parts: tuple[Part, ...]) -> None:
    said = MessageItem("assistant", parts)
    items = (ReasoningItem("hm"), said, said, ReasoningItem("so"), ToolCallItem("c", "f", ""), said)
    request = InnerRequest(dialect=DIALECT, model="m", items=items)
    assert decode_request(encode_request(request)).items == items
    assert len(json.loads(encode_request(request))["messages"]) == 4


def test_what_this_dialect_has_no_place_for_is_left_out() -> None:
    state = OpaqueState("p", "m", "a", b"secret")
    foreign = OpaquePart("other", b"{}")
    items = (CompactionItem(state), ReasoningItem("", state), MessageItem("user", (TextPart("a"), foreign)))
    request = InnerRequest(dialect="other", model="m", items=items, tools=(OpaqueTool("other", b"{}"),))
    assert json.loads(encode_request(request)) == {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    }


def test_an_earlier_spoken_answer_is_referred_to() -> None:
    message = {"role": "assistant", "audio": {"id": "audio_1"}}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    request = decode_request(body)
    assert request.items == (MessageItem("assistant", (AudioPart(id="audio_1"),)),)
    assert json.loads(encode_request(request))["messages"][0]["audio"] == {"id": "audio_1"}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": ["x"]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": 5}, "messages[0].tool_calls"),
    ],
)
def test_a_message_that_does_not_fit_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps({"model": "m", "messages": [message]}).encode())
    assert caught.value.param == param


# --- answers -----------------------------------------------------

_CALLS = st.builds(ToolCallItem, _WORD, _WORD, st.text(max_size=8), _KIND)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[Item, ...]:
    """What one message of this dialect can hold: reasoning, then text and a refusal, then calls."""
    reasoning = draw(st.lists(st.builds(ReasoningItem, _WORD), max_size=1))
    parts: list[Part] = draw(st.lists(st.builds(TextPart, _WORD), max_size=1))
    parts += draw(st.lists(st.builds(RefusalPart, _WORD), max_size=1))
    return (*reasoning, MessageItem("assistant", tuple(parts)), *draw(st.lists(_CALLS, max_size=3)))


@pytest.mark.req("CHAT-WHOLE-004")
@given(
    st.lists(st.builds(Choice, _answers(), st.none() | st.sampled_from(["stop", "length", "new"])), max_size=3),
    st.none() | st.builds(Usage, st.integers(0, 99), st.integers(0, 99), output=st.integers(0, 99)),
)
def test_an_answer_of_the_inner_form_survives_the_wire(choices: list[Choice], usage: Usage | None) -> None:
    response = InnerResponse("chatcmpl-1", "m", 7, tuple(choices), usage)
    assert decode_response(encode_response(response)) == response


@pytest.mark.req("CHAT-WHOLE-004")
def test_an_answer_of_the_wire_says_the_same_afterwards() -> None:
    message = {
        "role": "assistant",
        "content": "hello",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    answer = {**head, "choices": [choice]}
    assert json.loads(encode_response(decode_response(json.dumps(answer).encode()))) == answer


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[1]}', b'{"choices":[{"message":{"content":5}}]}'])
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        decode_response(body)
