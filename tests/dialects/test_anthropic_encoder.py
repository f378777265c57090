"""Inner events to a client's stream of the Messages API."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
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
from posthouse.dialects.anthropic_blocks import NO_STATE
from posthouse.dialects.anthropic_encoder import MAX_WAITING, MessagesEncoder
from posthouse.dialects.anthropic_messages import CODEC
from posthouse.dialects.opaque import seal, unseal
from posthouse.dialects.sse import split_events
from tests.dialects.inner import HEAD, MAKER, meaning_of, streams
from tests.dialects.messages import Json, judge_stream, tangled, told

_USAGE = Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, output=5, reasoning=6)
_STATE = OpaqueState("p", "m", "a", b"\x00state")


def _encode(*events: Event) -> bytes:
    encoder = MessagesEncoder(HEAD)
    return b"".join([encoder.encode(event) for event in events]) + encoder.close(_USAGE)


def _content(stream: bytes) -> list[Json]:
    """The blocks of a stream, put together as the SDKs do it."""
    blocks: list[Json] = []
    for value in told(stream):
        if value["type"] == "content_block_start":
            blocks.append(value["content_block"])
        elif value["type"] == "content_block_delta":
            delta = value["delta"]
            if delta["type"] == "input_json_delta":
                blocks[-1].setdefault("partial", "")
                blocks[-1]["partial"] += delta["partial_json"]
            else:
                (member,) = delta.keys() - {"type"}
                blocks[-1][member] += delta[member]
    return blocks


def _inputs(stream: bytes) -> list[Any]:
    return [json.loads(block.get("partial", "{}")) for block in _content(stream) if block["type"] == "tool_use"]


def test_a_stream_as_the_api_writes_it() -> None:
    stream = _encode(
        Started(),
        ReasoningDelta("hm"),
        ReasoningState(_STATE),
        TextDelta("he"),
        TextDelta("llo"),
        ToolCallStarted("c.1", "f"),
        ToolCallDelta('{"a":1}'),
        Finished("tool_calls"),
    )
    usage = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 11,
        "output_tokens_details": {"thinking_tokens": 6},
    }
    start, *middle, end, stop = told(stream)
    assert (start["message"]["id"], start["message"]["model"], start["message"]["content"]) == ("msg_abc", "m", [])
    assert middle == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": seal(_STATE)}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "he"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "llo"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "c_1", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_stop", "index": 2},
    ]
    assert end == {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": usage}
    assert stop == {"type": "message_stop"}


def test_nothing_waits_that_need_not() -> None:
    encoder = CODEC.encoder(HEAD)
    assert encoder.encode(Started()).startswith(b"event: message_start\n")
    assert b"text_delta" in encoder.encode(TextDelta("a"))
    assert b"tool_use" in encoder.encode(ToolCallStarted("c", "f"))
    assert b"partial_json" in encoder.encode(ToolCallDelta("{}"))
    assert b'"text":"b"' in encoder.encode(TextDelta("b"))
    assert encoder.encode(Finished("stop")).endswith(b'{"type":"content_block_stop","index":2}\n\n')


def test_an_answer_may_be_empty() -> None:
    assert [value["type"] for value in told(_encode())] == ["message_start", "message_delta", "message_stop"]
    assert [value["type"] for value in told(_encode(Started(), TextDelta(""), ReasoningDelta("")))][1:] == [
        "message_delta",
        "message_stop",
    ]


def test_usage_that_is_known_at_the_start_is_told_there() -> None:
    start = told(_encode(UsageReported(Usage(input=9)), TextDelta("a")))[0]
    assert start["message"]["usage"]["input_tokens"] == 9


def test_other_choices_are_left_out() -> None:
    stream = _encode(
        Started(1), TextDelta("no", 1), Started(), TextDelta("yes"), Finished("stop"), Finished("length", 1)
    )
    assert _content(stream) == [{"type": "text", "text": "yes"}]
    assert b"end_turn" in stream


@pytest.mark.req("MSG-STATE-002")
def test_state_signs_the_thoughts_before_it_or_stands_alone() -> None:
    stream = _encode(
        ReasoningDelta("a"),
        ReasoningState(_STATE),
        ReasoningDelta("b"),
        TextDelta("t"),
        ReasoningState(_STATE),
        ToolCallStarted("c", "f"),
    )
    assert _content(stream)[:-1] == [
        {"type": "thinking", "thinking": "a", "signature": seal(_STATE)},
        {"type": "thinking", "thinking": "b", "signature": seal(NO_STATE)},
        {"type": "text", "text": "t"},
        {"type": "redacted_thinking", "data": seal(_STATE)},
    ]


@pytest.mark.req("MSG-STREAM-004")
def test_interleaved_calls_come_one_after_the_other() -> None:
    stream = _encode(
        ToolCallStarted("a", "f", call=0),
        ToolCallStarted("b", "g", call=1),
        ToolCallDelta('{"x":"}\\', call=0),
        ToolCallDelta('{"y":', call=1),
        TextDelta("meanwhile"),
        ToolCallDelta('"]"}', call=0),
        ToolCallDelta("2}", call=1),
        Finished("tool_calls"),
    )
    judge_stream(stream)
    assert _inputs(stream) == [{"x": '}"]'}, {"y": 2}]
    assert [block["type"] for block in _content(stream)] == ["tool_use", "tool_use", "text"]


@pytest.mark.req("MSG-STREAM-004")
def test_a_call_goes_on_as_soon_as_the_one_before_is_whole() -> None:
    encoder = CODEC.encoder(HEAD)
    for event in (
        ToolCallStarted("a", "f", call=0),
        ToolCallStarted("b", "g", call=1),
        ToolCallDelta('{"y":1', call=1),
    ):
        encoder.encode(event)
    said = encoder.encode(ToolCallDelta("{}", call=0))
    assert b'"id":"b"' in said and b'{\\"y\\":1' in said
    assert b'"partial_json":"}"' in encoder.encode(ToolCallDelta("}", call=1))


@pytest.mark.req("MSG-STREAM-004")
def test_what_waits_is_bounded() -> None:
    encoder = CODEC.encoder(HEAD)
    said = encoder.encode(ToolCallStarted("a", "f", call=0)) + encoder.encode(ToolCallDelta('{"never":', call=0))
    piece = "x" * (1 << 20)
    for _ in range(MAX_WAITING // len(piece) + 1):
        said += encoder.encode(TextDelta(piece))
    assert said.count(b"xxxx") > MAX_WAITING // 8
    said += encoder.encode(ToolCallDelta("too late", call=0)) + encoder.close(_USAGE)
    judge_stream(said)
    assert b"too late" not in said


@pytest.mark.parametrize(
    ("events", "input"),
    [
        ([], {}),
        ([ToolCallDelta(" \n")], {}),
        ([ToolCallDelta(" \n"), ToolCallDelta(' {"a"'), ToolCallDelta(":1}")], {"a": 1}),
        ([ToolCallDelta("[1"), ToolCallDelta(', "ä"]')], {"_raw": '[1, "ä"]'}),
        ([ToolCallDelta('say "x"\n')], {"_raw": 'say "x"\n'}),
    ],
)
def test_input_is_an_object(events: list[Event], input: Json) -> None:
    stream = _encode(ToolCallStarted("c", "f"), *events, Finished("tool_calls"))
    judge_stream(stream)
    assert _inputs(stream) == [input]


def test_a_custom_tool_s_text_is_an_input() -> None:
    stream = _encode(
        ToolCallStarted("c", "sql", "custom"), ToolCallDelta('select "', "custom"), ToolCallDelta("\n😀", "custom")
    )
    assert _inputs(stream) == [{"input": 'select "\n😀'}]
    assert _inputs(_encode(ToolCallStarted("c", "sql", "custom"))) == [{"input": ""}]


@pytest.mark.req("MSG-WHOLE-003")
@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([Finished("stop")], "end_turn"),
        ([Finished("length")], "max_tokens"),
        ([ToolCallStarted("c", "f"), Finished("stop")], "tool_use"),
        ([RefusalDelta("no"), Finished("stop")], "refusal"),
        ([], "end_turn"),
    ],
)
def test_why_it_stopped(events: list[Event], reason: str) -> None:
    assert told(_encode(*events))[-2]["delta"]["stop_reason"] == reason


def test_what_is_spoken_is_told_as_text() -> None:
    stream = _encode(AudioDelta(id="a"), AudioDelta(data="UklGRg=="), AudioDelta(transcript="heard"))
    assert _content(stream) == [{"type": "text", "text": "heard"}]


@pytest.mark.req("MSG-STREAM-006")
def test_nothing_follows_an_error_or_the_end() -> None:
    encoder = CODEC.encoder(HEAD)
    encoder.encode(TextDelta("a"))
    assert encoder.fail(UpstreamFailure("server", "broke")).startswith(b"event: error\n")
    assert encoder.encode(TextDelta("b")) + encoder.close(_USAGE) == b""
    encoder = CODEC.encoder(HEAD)
    encoder.close(_USAGE)
    assert encoder.encode(TextDelta("b")) + encoder.encode(Started()) + encoder.encode(Failed("x")) == b""


@pytest.mark.req("MSG-STREAM-002")
@given(streams() | tangled())
def test_whatever_comes_the_stream_is_legal(events: list[Event]) -> None:
    judge_stream(_encode(*events))


@pytest.mark.req("MSG-STREAM-003", "MSG-STREAM-004")
@given(streams(frozenset({"choices", "customs"})) | tangled())
def test_events_that_were_told_say_the_same_again(events: list[Event]) -> None:
    decoder = CODEC.decoder(MAKER)
    again = [inner for event in split_events(_encode(*events)) for inner in decoder.decode(event)]
    assert decoder.done
    assert _said(again) == _said(events)


def _said(events: Iterable[Event]) -> Any:
    """What both can say of a stream: words by kind, thoughts with the state that was sealed, calls by their order."""
    meaning = meaning_of([said for event in events for said in _plain(event)])[0]
    thoughts = [said for said in meaning["said"] if said[0] in ("ReasoningDelta", "state")]
    texts = "".join(said[1] for said in meaning["said"] if said[0] == "TextDelta")
    calls = [[*call[:4], json.loads(call[4] or "{}")] for call in meaning["calls"].values()]
    return meaning["role"], [said for said in thoughts if said[1]], texts, calls


def _plain(event: Event) -> list[Event]:
    match event:
        case UsageReported() | Finished():
            return []
        case RefusalDelta(text=text) | AudioDelta(transcript=text) | TextDelta(text=text):
            return [TextDelta(text)] if text else []
        case ReasoningDelta(text=text):
            return [event] if text else []
        case ReasoningState(state=state):
            return [event for event in [ReasoningState(_opened(state))] if event.state != NO_STATE]
    return [event]


def _opened(state: OpaqueState) -> OpaqueState:
    """What a client would send back."""
    if not state.payload.startswith(b'{"type":'):
        return state
    block = json.loads(state.payload)
    found = unseal(block["signature"] if block["type"] == "thinking" else block["data"])
    assert found is not None
    return found


@given(st.text(max_size=9), st.integers(0, 9))
def test_text_is_cut_anywhere_and_stays_the_same(text: str, place: int) -> None:
    stream = _encode(TextDelta(text[:place]), TextDelta(text[place:]))
    assert "".join(block["text"] for block in _content(stream)) == text
