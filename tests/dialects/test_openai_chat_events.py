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
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_events import ChunkHead, decode_event, encode_event
from tests.dialects.chunks import USAGE, chunk

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
    st.builds(ToolCallStarted, _WORD, st.text(max_size=8), _KIND, _SMALL, _SMALL),
    st.builds(ToolCallDelta, _WORD, _KIND, _SMALL, _SMALL),
    st.builds(AudioDelta, st.text(max_size=4), st.text(max_size=4), st.none() | _WORD, _SMALL),
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
