"""Whole answers of the Messages API."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.items import (
    Choice,
    CompactionItem,
    InnerResponse,
    Item,
    MessageItem,
    OpaqueState,
    ReasoningItem,
    ToolCallItem,
)
from posthouse.core.parts import AudioPart, ImagePart, OpaquePart, RefusalPart, TextPart
from posthouse.core.usage import MOST_TOKENS, Usage
from posthouse.dialects.anthropic_messages import CODEC
from posthouse.dialects.codec import Addressed
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_errors import StreamError
from tests.dialects.inner import HEAD, MAKER, answers, usages
from tests.dialects.messages import Json, own

_DIALECT = "anthropic_messages"
_THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
_ANSWER: Json = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        _THINKING,
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Hello", "citations": None},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "text", "text": " there"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"b": 1.5, "a": []}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 15},
        "service_tier": "standard",
    },
}
_USAGE = Usage(input=10, cache_read=7, cache_write=30, cache_write_1h=20, output=25, reasoning=15, tier="standard")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _encode(*items: Item, finish: str | None = "stop", usage: Usage | None = None) -> Json:
    response = InnerResponse("x", "y", 1, (Choice(items, finish),), usage)
    body: Json = json.loads(CODEC.encode_response(response, HEAD))
    return body


@pytest.mark.req("MSG-WHOLE-001", "MSG-WHOLE-002", "MSG-STATE-001")
def test_an_answer_falls_into_its_items() -> None:
    response = CODEC.decode_response(_json(_ANSWER), MAKER)
    assert response == InnerResponse(
        "msg_01",
        "claude-x",
        0,
        (
            Choice(
                (
                    ReasoningItem("hm", own(_json(_THINKING))),
                    ReasoningItem("", own(_json(_ANSWER["content"][1]))),
                    MessageItem(
                        "assistant",
                        (TextPart("Hello"), OpaquePart(_DIALECT, _json(_ANSWER["content"][3])), TextPart(" there")),
                    ),
                    ToolCallItem("toolu_1", "look", '{"b": 1.5, "a": []}'),
                ),
                "tool_calls",
            ),
        ),
        _USAGE,
    )


@pytest.mark.req("MSG-WHOLE-001")
def test_the_spine_reads_what_it_needs() -> None:
    whole = CODEC.read_whole(_json(_ANSWER))
    assert (whole.usage, whole.finish_reason, whole.error, whole.id) == (_USAGE, "tool_calls", None, "msg_01")
    assert whole.text == ""


def test_what_was_said_is_known_where_nobody_counted() -> None:
    whole = CODEC.read_whole(_json({**_ANSWER, "usage": {"input_tokens": -1}}))
    assert whole.usage is None
    assert whole.text == 'hmHelloweb_search{"query": "x"} therelook{"b": 1.5, "a": []}'


def test_an_error_under_a_status_of_success_is_told() -> None:
    body = _json(
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy", "details": {"error_code": "x"}}}
    )
    assert CODEC.read_whole(body).error == StreamError("busy", "overloaded_error", "x")
    with pytest.raises(DialectError):
        CODEC.decode_response(body, MAKER)


@pytest.mark.parametrize(
    "body",
    [b"", b"junk", b"[]", b"{}", b'{"content":"x"}', b'{"content":null}', b'{"choices":[]}', b"\xff", b"[" * 9999],
)
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        CODEC.read_whole(body)
    with pytest.raises(DialectError):
        CODEC.decode_response(body, MAKER)


def test_a_call_whose_input_a_vendor_leaves_null_has_none() -> None:
    block = {"type": "tool_use", "id": "x", "name": "f", "input": None}
    answer = CODEC.decode_response(_json({**_ANSWER, "content": [block]}), MAKER)
    assert answer.choices[0].items == (ToolCallItem("x", "f", "{}"),)


@pytest.mark.parametrize("block", [5, {}, {"type": "text"}, {"type": "tool_use", "id": "x", "name": "f", "input": 5}])
def test_a_block_that_does_not_fit_is_an_error_of_the_dialect(block: Any) -> None:
    with pytest.raises(DialectError):
        CODEC.decode_response(_json({"content": [block]}), MAKER)


@given(
    st.binary(max_size=60) | st.sampled_from([b'{"content":[', b'{"content":[{"type":"tool_use","input":{"\xff":1}}]}'])
)
def test_no_bytes_do_anything_worse(body: bytes) -> None:
    with pytest.raises(DialectError):
        CODEC.decode_response(body, MAKER)


def test_an_answer_has_the_api_s_shape() -> None:
    assert _encode(MessageItem("assistant", (TextPart("hi"),)), usage=_USAGE) == {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {name: value for name, value in _ANSWER["usage"].items() if name != "service_tier"},
    }


def test_an_answer_without_a_choice_says_nothing() -> None:
    body = json.loads(CODEC.encode_response(InnerResponse("x", "y", 1, ()), HEAD))
    assert (body["content"], body["stop_reason"], body["usage"]["input_tokens"]) == ([], None, 0)


def test_the_first_choice_is_told_and_what_has_no_block_is_left_out() -> None:
    parts = (
        ImagePart("https://x"),
        OpaquePart("other", b"{}"),
        OpaquePart(_DIALECT, b'{"type":"new"}'),
        AudioPart(transcript="heard"),
        TextPart(""),
    )
    items = (CompactionItem(own(b"{}")), MessageItem("assistant", parts), ReasoningItem(""))
    other = Choice((MessageItem("assistant", (TextPart("not me"),)),), "stop")
    response = InnerResponse("x", "y", 1, (Choice(items, "stop"), other))
    assert json.loads(CODEC.encode_response(response, HEAD))["content"] == [
        {"type": "new"},
        {"type": "text", "text": "heard"},
    ]


@pytest.mark.req("MSG-WHOLE-002", "MSG-WHOLE-003")
@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        ("pause_turn", "pause_turn"),
        ("compaction", "compaction"),
        ("unheard_of", "end_turn"),
        (None, None),
    ],
)
def test_why_it_stopped(finish: str | None, reason: str | None) -> None:
    assert _encode(MessageItem("assistant", (TextPart("hi"),)), finish=finish)["stop_reason"] == reason


@pytest.mark.req("MSG-WHOLE-003")
def test_calls_and_refusals_are_told_by_the_reason_too() -> None:
    call, refusal = ToolCallItem("c", "f", "{}"), MessageItem("assistant", (RefusalPart("no"),))
    assert _encode(call, finish="stop")["stop_reason"] == "tool_use"
    assert _encode(call, finish="length")["stop_reason"] == "max_tokens"
    assert _encode(refusal, finish="stop")["stop_reason"] == "refusal"


@pytest.mark.req("MSG-WHOLE-002")
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("from_the_future", "from_the_future"),
        (None, None),
    ],
)
def test_why_a_provider_stopped(reason: str | None, finish: str | None) -> None:
    body = _json({"content": [], "stop_reason": reason})
    assert CODEC.decode_response(body, MAKER).choices[0].finish == finish
    assert CODEC.read_whole(body).finish_reason == finish


@pytest.mark.req("MSG-WHOLE-002", "MSG-STATE-002")
@given(answers(frozenset({"choices", "customs", "refusals"})))
def test_an_answer_survives_the_way_through_a_client(response: InnerResponse) -> None:
    body = json.loads(CODEC.encode_response(response, HEAD))
    (choice,) = response.choices
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": body["content"]}]}
    assert CODEC.decode_request(_json(request), Addressed("")).items == tuple(_spaced(item) for item in choice.items)


def _spaced(item: Item) -> Item:
    """Arguments as this test's own JSON has them: the order stays, blanks come."""
    if not isinstance(item, ToolCallItem):
        return item
    return ToolCallItem(item.call_id, item.name, json.dumps(json.loads(item.arguments)), item.kind)


@pytest.mark.req("MSG-WHOLE-002")
@given(answers(frozenset({"choices", "customs", "refusals", "states", "reasoning"})))
def test_an_answer_of_the_inner_form_survives_the_wire(response: InnerResponse) -> None:
    again = CODEC.decode_response(CODEC.encode_response(response, HEAD), MAKER)
    assert (again.choices, again.model, again.id) == (response.choices, "m", "msg_abc")
    assert again.usage == (response.usage or Usage())


@pytest.mark.req("MSG-WHOLE-001")
@given(usages(), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_usage_survives_the_wire(usage: Usage, write: int, write_1h: int, image: int) -> None:
    full = Usage(usage.input, usage.cache_read, write, write_1h, usage.output, usage.reasoning, image_input=image)
    body = CODEC.encode_response(InnerResponse("x", "y", 1, (), full), HEAD)
    again = CODEC.read_whole(body).usage
    assert again == Usage(usage.input + image, usage.cache_read, write, write_1h, usage.output, usage.reasoning)
    assert (again.total_input, again.total_output) == (full.total_input, full.total_output)


@pytest.mark.req("MSG-WHOLE-001")
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({}, None),
        ({"input_tokens": 1.5, "output_tokens": 2}, None),
        ({"input_tokens": 2**50}, None),
        ({"input_tokens": MOST_TOKENS + 1, "output_tokens": 2}, None),
        ({"input_tokens": None, "output_tokens": None, "service_tier": "standard"}, None),
        ({"input_tokens": 11, "cache_read_input_tokens": -1, "output_tokens": 7}, None),
        ({"output_tokens": 7, "output_tokens_details": {"thinking_tokens": -9}}, Usage(output=7)),
        ({"output_tokens": 7, "output_tokens_details": "all of it"}, Usage(output=7)),
        ({"output_tokens": 7, "server_tool_use": {"web_search_requests": 10**30}}, Usage(output=7)),
        ({"input_tokens": 3}, Usage(input=3)),
        ({"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 9}}, Usage(reasoning=3)),
        ({"cache_creation_input_tokens": 3}, Usage(cache_write=3)),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}}, Usage(0, 0, 1, 2)),
        (
            {"cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 2}},
            Usage(cache_write_1h=1),
        ),
    ],
)
def test_odd_usage_makes_sense_or_is_none(usage: Any, expected: Usage | None) -> None:
    assert CODEC.read_whole(_json({"content": [], "usage": usage})).usage == expected


@pytest.mark.req("MSG-STATE-002")
def test_thoughts_without_state_are_signed_as_such() -> None:
    content = _encode(ReasoningItem("hm"))["content"]
    assert content[0]["signature"]
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": content}]}
    assert CODEC.decode_request(_json(request), Addressed("")).items == (ReasoningItem("hm"),)


@pytest.mark.req("MSG-STATE-002")
def test_state_without_text_is_redacted_thinking() -> None:
    state = OpaqueState("p", "m", "a", b"\x00")
    (block,) = _encode(ReasoningItem("", state))["content"]
    assert block["type"] == "redacted_thinking" and block["data"].isascii()
