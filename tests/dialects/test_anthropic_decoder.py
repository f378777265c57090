"""A provider's stream of the Messages API to inner events."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.anthropic_decoder import MessagesDecoder
from posthouse.dialects.anthropic_messages import CODEC
from posthouse.dialects.errors import DialectError
from posthouse.dialects.sse import split_events
from tests.dialects.inner import MAKER
from tests.dialects.messages import Json, own, sse

# As the API writes it; whatever would tell who asked is made up.
_STREAM: Final = (Path(__file__).parents[1] / "data" / "messages_stream.sse").read_bytes()

_SIGNED = b'{"type":"thinking","thinking":"Two cities, two calls.","signature":"RXhhbXBsZQ=="}'
_REDACTED = b'{"type":"redacted_thinking","data":"UmVkYWN0ZWQ="}'
_EVENTS: list[Event] = [
    Started(),
    ReasoningDelta("Two cities, "),
    ReasoningDelta("two calls."),
    ReasoningState(own(_SIGNED)),
    ReasoningState(own(_REDACTED)),
    TextDelta("I\u2019ll look "),
    TextDelta("at both."),
    ToolCallStarted("toolu_01", "get_weather"),
    ToolCallDelta('{"city": "Par'),
    ToolCallDelta('is"}'),
    ToolCallStarted("toolu_02", "get_time", call=1),
    ToolCallDelta("{}", call=1),
    Finished("tool_calls"),
    UsageReported(Usage(12, 2000, 60, 40, 59, 30, tier="standard")),
]


def _decode(*events: bytes) -> tuple[list[Event], MessagesDecoder]:
    decoder = MessagesDecoder(MAKER)
    found = [inner for event in events for inner in decoder.decode(event)]
    return [*found, *decoder.finish()], decoder


def _told(*values: Json) -> list[Event]:
    return _decode(*sse(*values))[0]


_START: Json = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 5, "output_tokens": 1}}}


def _block(index: int, block: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


@pytest.mark.req("MSG-STREAM-001", "MSG-STATE-001")
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_whole_stream_is_understood(ending: bytes) -> None:
    events, decoder = _decode(*split_events(_STREAM.replace(b"\n", ending)))
    assert events == _EVENTS
    assert (decoder.done, decoder.id) == (True, "msg_01AbCdEf")


@pytest.mark.req("MSG-STREAM-001")
def test_names_of_events_and_comments_are_not_needed() -> None:
    bare = b"".join(line + b"\n" for line in _STREAM.split(b"\n") if not line.startswith(b"event:"))
    assert _decode(*split_events(b": hello\n\n" + bare))[0] == _EVENTS


@pytest.mark.req("MSG-STREAM-001")
def test_an_answer_that_is_cut_has_no_end_and_no_usage() -> None:
    cut = split_events(_STREAM)[:9]
    events, decoder = _decode(*cut)
    assert events == _EVENTS[:5]
    assert not decoder.done


@pytest.mark.req("MSG-STREAM-001")
def test_totals_overwrite_and_an_input_that_is_told_once_stays() -> None:
    def usage_after(**usage: int) -> Event:
        return _told(_START, {"type": "message_delta", "delta": {}, "usage": usage})[-1]

    assert usage_after(output_tokens=7) == UsageReported(Usage(input=5, output=7))
    assert usage_after(output_tokens=7, input_tokens=0) == UsageReported(Usage(input=5, output=7))
    assert usage_after(output_tokens=7, input_tokens=2, cache_read_input_tokens=4) == UsageReported(
        Usage(2, 4, output=7)
    )


def test_a_count_may_come_alone() -> None:
    assert _told({"type": "message_delta", "usage": {"output_tokens": 2}}) == [
        Started(),
        UsageReported(Usage(output=2)),
    ]


@pytest.mark.parametrize("absurd", [{"input_tokens": -1}, {"input_tokens": "11"}, {"input_tokens": 10**30}, []])
def test_where_the_beginning_counts_absurdly_the_end_is_half_a_report(absurd: Any) -> None:
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": absurd}}
    half: Json = {"type": "message_delta", "usage": {"output_tokens": 2}}
    assert _told(start, half) == [Started()]
    whole: Json = {"type": "message_delta", "usage": {"input_tokens": 3, "output_tokens": 2}}
    assert _told(start, whole) == [Started(), UsageReported(Usage(3, output=2))]


def test_the_answer_ends_once() -> None:
    delta: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert _told(_START, delta, delta, {"type": "message_stop"}, _START, delta) == [Started(), Finished("stop")]


def test_vendors_may_begin_a_block_with_all_of_it() -> None:
    blocks = (
        *_block(0, {"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
        *_block(1, {"type": "text", "text": "a"}, {"type": "text_delta", "text": "b"}),
        *_block(2, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}),
        *_block(3, {"type": "tool_use", "id": "d", "name": "f"}, {"type": "input_json_delta", "partial_json": "{ }"}),
    )
    assert _told(*blocks) == [
        Started(),
        ReasoningDelta("hm"),
        ReasoningState(own(b'{"type":"thinking","thinking":"hm","signature":"c2ln"}')),
        TextDelta("a"),
        TextDelta("b"),
        ToolCallStarted("c", "f"),
        ToolCallDelta('{"a": 1}'),
        ToolCallStarted("d", "f", call=1),
        ToolCallDelta("{ }", call=1),
    ]


def test_thinking_that_is_not_shown_is_its_state_alone() -> None:
    block = _block(
        0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "s"}
    )
    assert _told(_START, *block) == [
        Started(),
        ReasoningState(own(b'{"type":"thinking","thinking":"","signature":"s"}')),
    ]


def test_unsigned_thinking_has_no_state() -> None:
    block = _block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "hm"})
    assert _told(_START, *block) == [Started(), ReasoningDelta("hm")]


@pytest.mark.req("MSG-STREAM-001")
def test_thoughts_beyond_all_measure_have_no_state() -> None:
    piece = {"type": "thinking_delta", "thinking": "x" * (9 << 20)}
    block = _block(0, {"type": "thinking"}, piece, piece, {"type": "signature_delta", "signature": "s"})
    assert [type(event) for event in _told(*block)] == [Started, ReasoningDelta, ReasoningDelta]


@pytest.mark.req("MSG-STREAM-006")
def test_an_error_ends_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    delta: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert _told(_START, error, delta) == [Started(), Failed("Overloaded", "overloaded_error")]


@pytest.mark.req("MSG-STREAM-006")
@pytest.mark.parametrize(
    ("data", "failed"),
    [
        (b'{"error":{"message":"busy","type":"t"}}', Failed("busy", "t")),
        (b'{"message":"busy"}', Failed("busy")),
        (b"busy", Failed("the upstream reported an error")),
    ],
)
def test_an_error_is_known_by_its_name_too(data: bytes, failed: Failed) -> None:
    assert _decode(b"event: error\ndata: " + data + b"\n\n")[0] == [failed]


@pytest.mark.req("MSG-STREAM-005")
@pytest.mark.parametrize(
    "event",
    [
        b": a comment\n\n",
        b"event: later\n\n",
        b'event: later\ndata: {"type":"later","index":"x"}\n\n',
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"later_delta","x":1}}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"later","text":null}}\n\n',
        b'data: {"type":"content_block_delta","index":9,"delta":{"type":"input_json_delta","partial_json":"x"}}\n\n',
        b'data: {"type":"content_block_stop","index":9}\n\n',
        b'data: {"type":"ping"}\n\n',
        b"event: ping\ndata: {}\n\n",
        b"event: heartbeat\ndata: 12:00\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_new_or_nothing_says_nothing(event: bytes) -> None:
    assert _decode(event)[0] == []


@pytest.mark.req("MSG-STREAM-005")
@pytest.mark.parametrize(
    "data",
    [
        b"junk",
        b"[]",
        b"{}",
        b'{"type":5}',
        b"\xff",
        b"[" * 9999,
        b'{"type":"message_start"}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":5}}',
        b'{"type":"content_block_start","index":0,"content_block":[]}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}',
        b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}',
        b'{"type":"content_block_stop","index":null}',
        b'{"type":"message_delta","delta":{"stop_reason":5}}',
        b'{"type":"message_delta","delta":[]}',
    ],
)
def test_what_is_no_event_of_this_dialect_is_an_error(data: bytes) -> None:
    for name in (b"", b"event: message_delta\n"):
        with pytest.raises(DialectError):
            _decode(name + b"data: " + data + b"\n\n")


@pytest.mark.req("MSG-STREAM-005")
def test_blocks_that_never_end_are_bounded() -> None:
    decoder = CODEC.decoder(MAKER)
    with pytest.raises(DialectError):
        for index in range(2000):
            decoder.decode(sse({"type": "content_block_start", "index": index, "content_block": {"type": "text"}})[0])


_NAMES = ["type", "index", "delta", "content_block", "message", "text", "thinking", "partial_json", "usage", "error"]
_KINDS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "message_delta",
    "text_delta",
    "tool_use",
    "error",
]
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.sampled_from(_KINDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.req("MSG-STREAM-005")
@given(st.lists(_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20), max_size=4))
def test_no_bytes_do_anything_worse(events: list[bytes]) -> None:
    decoder = CODEC.decoder(MAKER)
    for data in events:
        try:
            decoder.decode(b"data: " + data + b"\n\n")
        except DialectError:
            return
