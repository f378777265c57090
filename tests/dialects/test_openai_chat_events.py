"""Chunks of a stream to and from inner events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import OpaqueState
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_chat_events import ChunkHead, decode_event, encode_event
from posthouse.dialects.openai_sequence import UNSAID
from tests.dialects.chunks import USAGE, chunk
from tests.dialects.inner import states

_HEAD = ChunkHead("chatcmpl-1", "m", 7)
_WORD = st.text(min_size=1, max_size=8)
_SMALL = st.integers(0, 5)
_COUNT = st.integers(0, 10**6)
_KIND = st.sampled_from(["function", "custom"])
_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, _SMALL, _WORD),
    st.builds(TextDelta, _WORD, _SMALL),
    st.builds(RefusalDelta, _WORD, _SMALL),
    st.builds(ReasoningDelta, _WORD, _SMALL),
    st.builds(ReasoningState, states(), _SMALL),
    st.builds(ToolCallStarted, _WORD, st.text(max_size=8), _KIND, _SMALL, _SMALL),
    st.builds(ToolCallDelta, _WORD, _KIND, _SMALL, _SMALL),
    st.builds(AudioDelta, _WORD, st.text(max_size=4), st.none() | _WORD, _SMALL),
    st.builds(Finished, _WORD, _SMALL),
    st.builds(UsageReported, st.builds(Usage, _COUNT, _COUNT, _COUNT, st.just(0), _COUNT, _COUNT)),
    st.builds(Failed, _WORD, st.none() | _WORD, st.none() | _WORD, st.none() | _WORD),
)


@pytest.mark.req("CHAT-STREAM-014")
@given(_EVENTS)
def test_an_event_survives_the_wire(event: Event) -> None:
    assert decode_event(encode_event(event, _HEAD)) == (event,)


def test_a_chunk_has_the_api_s_shape() -> None:
    assert json.loads(encode_event(TextDelta("a"), _HEAD)) == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}],
    }


def test_a_chunk_may_hold_several_events() -> None:
    call = {"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}
    value = chunk({"role": "assistant", "reasoning": "hm", "content": "a", "tool_calls": [call]}, "stop", usage=USAGE)
    assert decode_event(json.dumps(value).encode()) == (
        Started(),
        ReasoningDelta("hm"),
        TextDelta("a"),
        ToolCallStarted("c", "f", call=1),
        ToolCallDelta("{", call=1),
        Finished("stop"),
        UsageReported(Usage(input=5, output=3)),
    )


_STATE = OpaqueState("p", "m", "a", b"secret")
_SEALED = {"type": "reasoning.encrypted", "data": seal(_STATE)}
_FUNCTION = {"name": "f", "arguments": "{"}


@pytest.mark.req("CHAT-STREAM-016")
@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"reasoning": "hm", "reasoning_content": "hm"}, [ReasoningDelta("hm")]),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, [ReasoningDelta("hm")]),
        ({"reasoning_details": [_SEALED]}, [ReasoningState(_STATE)]),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}, _SEALED]}, [ReasoningState(_STATE)]),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "hm"}, 5, {"text": "x"}]},
            [TextDelta("a"), ReasoningDelta("hm")],
        ),
        ({"function_call": _FUNCTION}, [ToolCallStarted("", "f"), ToolCallDelta("{")]),
        ({"tool_calls": [{"function": _FUNCTION}]}, [ToolCallStarted("", "f", call=-1), ToolCallDelta("{", call=-1)]),
        ({"tool_calls": [{"index": -7, "id": "c"}]}, [ToolCallStarted("c", "", call=UNSAID)]),
        ({"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]}, [ToolCallDelta('{"a":1}')]),
        ({"tool_calls": [5, {"index": "x"}], "content": 5, "refusal": 5, "audio": 5, "role": 5}, []),
        ({"audio": {"expires_at": 5}}, []),
        ({"reasoning_details": [5, {"type": "reasoning.encrypted", "data": "ph1.junk"}]}, []),
    ],
)
def test_vendors_ways_of_saying_it_are_understood(delta: Any, events: list[Event]) -> None:
    assert decode_event(json.dumps(chunk(delta)).encode()) == tuple(events)


def test_a_whole_answer_as_one_chunk_keeps_the_place_of_state() -> None:
    text = {"type": "reasoning.text", "text": "hm", "index": 0}
    call = {"id": "c", "function": _FUNCTION}
    delta = {"reasoning_content": "hm", "reasoning_details": [text, {**_SEALED, "id": "c", "index": 1}]}
    events = decode_event(json.dumps(chunk({**delta, "content": "a", "tool_calls": [call]})).encode())
    assert events[:3] == (TextDelta("a"), ReasoningDelta("hm"), ReasoningState(_STATE))
    whole = {"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]}
    assert decode_event(json.dumps(whole).encode()) == (Started(), TextDelta("a"), Finished("stop"))


def test_usage_may_stand_in_a_choice() -> None:
    value = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}
    assert decode_event(json.dumps(value).encode()) == (Finished("stop"), UsageReported(Usage(input=5, output=3)))


def test_a_choice_that_is_not_numbered_is_so_by_its_place() -> None:
    value = {"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}
    assert decode_event(json.dumps(value).encode()) == (TextDelta("a"), TextDelta("b", 1))


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "broke"}},
        {"object": "error", "message": "broke", "code": None},
        {"choices": [{"error": "broke"}]},
    ],
)
def test_an_error_has_many_forms(value: Any) -> None:
    assert decode_event(json.dumps(value).encode()) == (Failed("broke"),)


@pytest.mark.parametrize("reason", ["error", "network_error"])
def test_a_reason_that_is_an_error_is_a_failure(reason: str) -> None:
    (event,) = decode_event(json.dumps(chunk({"content": "a"}, reason)).encode())
    assert isinstance(event, Failed)


@pytest.mark.parametrize(
    "value", [chunk(), {"choices": []}, {"choices": None}, {}, {"choices": [{"delta": {"content": ""}}]}]
)
def test_a_chunk_may_say_nothing(value: Any) -> None:
    assert decode_event(json.dumps(value).encode()) == ()


def test_done_says_nothing() -> None:
    assert decode_event(b"[DONE]") == ()


def test_an_error_of_a_choice_is_a_failure() -> None:
    value = {"choices": [{"index": 0, "delta": {"content": ""}, "error": {"message": "broke", "code": 5}}]}
    assert decode_event(json.dumps(value).encode()) == (Failed("broke", None, "5"),)


@pytest.mark.parametrize("data", [b"", b"junk", b"[]", b'{"choices":[5]}', b"\xff"])
def test_what_is_no_chunk_is_an_error_of_the_dialect(data: bytes) -> None:
    with pytest.raises(DialectError):
        decode_event(data)
