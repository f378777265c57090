"""Whole answers: what is read of them, and the way to and from a stream."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_whole import ChatCollector, collect, to_events, whole_text, whole_usage
from posthouse.dialects.openai_errors import StreamError
from posthouse.dialects.openai_finish import BROKEN
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.chunks import DONE, ROLE, STOP, USAGE, chunk, event, text, usage_event

_CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}},
    {"id": "call_2", "type": "custom", "custom": {"name": "run", "input": "ls"}},
]
_LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}


def _answer(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hello", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": USAGE, **more}


def _body(**more: Any) -> bytes:
    return json.dumps(_answer(**more)).encode()


@pytest.mark.req("CHAT-WHOLE-001")
def test_usage_and_finish_reason_are_read() -> None:
    reply = whole_usage(_body())
    assert (reply.usage, reply.finish_reason, reply.error) == (Usage(input=5, output=3), "stop", None)
    assert reply.id == "chatcmpl-1"


@pytest.mark.req("CHAT-WHOLE-001")
@pytest.mark.parametrize(
    "more",
    [
        {"error": {"message": "broke"}},
        {"error": "broke", "choices": None},
        {"choices": [{"finish_reason": "error", "error": {"message": "broke"}}]},
    ],
)
def test_an_error_under_a_status_of_success_is_read(more: dict[str, Any]) -> None:
    assert whole_usage(_body(**more)).error == StreamError("broke")


@pytest.mark.req("CHAT-WHOLE-001")
def test_usage_inside_a_choice_is_read() -> None:
    reply = whole_usage(_body(usage=None, choices=[{"finish_reason": "stop", "usage": USAGE}]))
    assert reply.usage == Usage(input=5, output=3)


@pytest.mark.req("CHAT-WHOLE-001")
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_answer_is_an_error_of_the_dialect(body: bytes) -> None:
    with pytest.raises(DialectError):
        whole_usage(body)
    with pytest.raises(DialectError):
        to_events(body, include_usage=True)
    assert whole_text(body).text == ""


def test_the_text_of_an_answer_is_known_for_counting() -> None:
    message = {"role": "assistant", "reasoning_content": "hm ", "content": "hello ", "tool_calls": _CALLS}
    assert whole_text(_body(choices=[{"message": message}])).text == 'hm hello find{"q": 1}runls'


@pytest.mark.req("CHAT-WHOLE-002")
def test_a_stream_is_joined_to_one_answer() -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "find", "arguments": ""}}
    stream = [
        ROLE,
        event(chunk({"reasoning_content": "h"}, service_tier=None, x_new={"a": 1})),
        event(chunk({"reasoning_content": "m"}, service_tier="default", obfuscation="xx")),
        text("hel"),
        text("lo"),
        event(chunk({"tool_calls": [first]})),
        event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]})),
        event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]})),
        event(chunk({"tool_calls": [{"index": 1, "id": "call_2", "type": "custom", "custom": {"name": "run"}}]})),
        event(chunk({"tool_calls": [{"index": 1, "custom": {"input": "ls"}}]})),
        b": ping\n\n",
        event(chunk(finish="tool_calls")),
        usage_event(),
        DONE,
    ]
    whole = json.loads(collect(b"".join(stream)))
    assert whole == {
        "id": "chatcmpl-1",
        "created": 1,
        "model": "m",
        "service_tier": "default",
        "x_new": {"a": 1},
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "hello",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": _CALLS,
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    }


@pytest.mark.req("CHAT-WHOLE-002")
def test_choices_that_come_mixed_are_kept_apart() -> None:
    pieces = [(1, "b"), (0, "a"), (1, "B"), (0, "A")]
    stream = [event({"choices": [{"index": n, "delta": {"content": word}}]}) for n, word in pieces]
    whole = json.loads(collect(b"".join(stream)))
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["aA", "bB"]


def test_content_in_parts_and_as_text_is_joined() -> None:
    thinking = [{"type": "thinking", "thinking": "hm"}]
    stream = event(chunk({"content": thinking})) + text("a") + event(chunk({"content": thinking}))
    content = json.loads(collect(stream))["choices"][0]["message"]["content"]
    assert content == [*thinking, {"type": "text", "text": "a"}, *thinking]


def test_the_order_text_before_parts_is_joined_too() -> None:
    parts = [{"type": "text", "text": "b"}]
    content = json.loads(collect(text("a") + event(chunk({"content": parts}))))["choices"][0]["message"]["content"]
    assert content == [{"type": "text", "text": "a"}, *parts]


def test_logprobs_are_appended() -> None:
    part = {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": _LOGPROBS}]}
    logprobs = json.loads(collect(event(part) * 2))["choices"][0]["logprobs"]
    assert logprobs == {"content": _LOGPROBS["content"] * 2, "refusal": None}  # type: ignore[operator]


def test_a_stream_without_a_chunk_is_no_answer() -> None:
    with pytest.raises(DialectError):
        collect(b": ping\n\ndata: junk\n\n" + DONE)


def test_an_answer_beyond_the_bound_is_refused() -> None:
    collector = ChatCollector(limit=len(STOP))
    collector.feed(STOP)
    with pytest.raises(DialectError):
        collector.feed(text("a"))


@pytest.mark.req("CHAT-WHOLE-003")
@pytest.mark.parametrize("include_usage", [True, False])
def test_a_whole_answer_becomes_a_stream(include_usage: bool) -> None:
    message = {"role": "assistant", "content": "hello", "tool_calls": _CALLS, "annotations": []}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _LOGPROBS,
        "finish_reason": "tool_calls",
        "x_filter": {"a": 1},
    }
    body = json.dumps(_answer(choices=[choice], x_new=1)).encode()
    events = split_events(to_events(body, include_usage))
    chunks = [json.loads(data_of(item) or b"") for item in events]
    assert {item["object"] for item in chunks} == {"chat.completion.chunk"}
    assert {item["x_new"] for item in chunks} == {1}
    [first] = chunks[0]["choices"]
    assert first["delta"]["tool_calls"] == [{"index": n, **call} for n, call in enumerate(_CALLS)]
    assert (first["finish_reason"], first["x_filter"], first["logprobs"]) == (None, {"a": 1}, _LOGPROBS)
    assert chunks[1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert [item["choices"] == [] and item["usage"] == USAGE for item in chunks[2:]] == [True] * include_usage


_MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | st.text(), "refusal": st.none() | st.text(min_size=1)},
    optional={
        "reasoning_content": st.text(),
        "tool_calls": st.lists(st.sampled_from(_CALLS), min_size=1),
        "annotations": st.lists(st.fixed_dictionaries({"type": st.just("url_citation")}), min_size=1),
    },
)


@pytest.mark.req("CHAT-WHOLE-003")
@given(st.lists(_MESSAGES, min_size=1, max_size=3), st.booleans())
def test_a_whole_answer_streamed_and_collected_is_the_same(messages: list[dict[str, Any]], logprobs: bool) -> None:
    choices = [
        {"index": n, "message": message, "logprobs": _LOGPROBS if logprobs else None, "finish_reason": "stop"}
        for n, message in enumerate(messages)
    ]
    answer = _answer(choices=choices)
    assert json.loads(collect(to_events(json.dumps(answer).encode(), include_usage=True))) == answer


@pytest.mark.parametrize("reason", sorted(BROKEN))
def test_an_answer_that_its_engine_broke_off_is_an_error(reason: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "ha"}, "finish_reason": reason}
    assert whole_usage(msgspec.json.encode({"choices": [choice]})).error is not None


def test_any_number_of_logprobs_and_calls_is_joined() -> None:
    count, events = 3_000, []
    for number in range(count):
        delta = {"tool_calls": [{"index": number % 7, "function": {"arguments": str(number % 10)}}]}
        choice = {"index": 0, "delta": delta, "logprobs": {"content": [{"token": str(number)}]}}
        events.append(b"data: " + msgspec.json.encode({"id": "x", "choices": [choice]}) + b"\n\n")
    (choice,) = msgspec.json.decode(collect(b"".join(events)))["choices"]
    assert [one["token"] for one in choice["logprobs"]["content"]] == [str(number) for number in range(count)]
    calls = choice["message"]["tool_calls"]
    assert "".join(calls[3]["function"]["arguments"]) == "".join(str(n % 10) for n in range(3, count, 7))
    assert len(calls) == 7
