"""A provider's Responses stream: what is read of it, event by event."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

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
from posthouse.dialects.openai_responses import CODEC
from posthouse.dialects.openai_responses_decoder import MAX_OPEN, ResponsesDecoder
from posthouse.dialects.sse import SseSplitter, split_events
from tests.dialects.published import parse_event
from tests.dialects.responses import MAKER, event, payloads

_TRANSCRIPT: Final = Path(__file__).parents[1] / "data" / "responses_stream.sse"


def _decoder() -> ResponsesDecoder:
    return ResponsesDecoder(MAKER)


def _decoded(*events: dict[str, Any]) -> list[Event]:
    decoder = _decoder()
    return [inner for one in events for inner in decoder.decode(event(one))]


def _state(item: str) -> OpaqueState:
    return OpaqueState(MAKER.provider, MAKER.model, MAKER.account, item.encode())


CREATED: Final = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "queued"}}
ENDED: Final = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}}


def _text(delta: str, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": index, "content_index": 0, "delta": delta}


def _item(step: str, item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": f"response.output_item.{step}", "output_index": index, "item": item}


# --- a transcript ------------------------------------------------
@pytest.mark.req("RESP-STREAM-001")
def test_a_stream_with_thoughts_a_text_and_two_calls_is_read_whole() -> None:
    """Made by hand after what the API sends; each event satisfies the published types."""
    stream = _TRANSCRIPT.read_bytes()
    data = payloads(stream + b"data: [DONE]\n\n")
    for one in data:
        parse_event(json.dumps(one).encode())
    reasoning = next(one["item"] for one in data if one["type"] == "response.output_item.done")
    decoder = _decoder()
    events = [inner for one in split_events(stream) for inner in decoder.decode(one)]
    assert events == [
        Started(),
        ReasoningDelta("**Looking up"),
        ReasoningDelta(" two places**"),
        ReasoningDelta("\n\nBoth at once."),
        ReasoningState(_state(json.dumps(reasoning, separators=(",", ":")))),
        TextDelta("I'll check"),
        TextDelta(" both."),
        ToolCallStarted("call_A", "get_weather", "function", 0),
        ToolCallDelta('{"city":', "function", 0),
        ToolCallDelta('"Ulm"}', "function", 0),
        ToolCallStarted("call_B", "get_weather", "function", 1),
        ToolCallDelta('{"city":"Bern"}', "function", 1),
        Finished("tool_calls"),
        UsageReported(Usage(input=43, cache_read=64, output=41, reasoning=32, tier="default")),
    ]
    assert (decoder.done, decoder.id, decoder.finish()) == (True, "resp_0c1d", ())


@pytest.mark.req("RESP-STREAM-001")
@given(st.lists(st.integers(1, 5999), max_size=4))
def test_however_a_stream_is_cut_it_says_the_same(cuts: list[int]) -> None:
    stream = _TRANSCRIPT.read_bytes()
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    splitter, decoder = SseSplitter(), _decoder()
    events: list[Event] = []
    for start, end in pairwise(places):
        for one in split_events(splitter.feed(stream[start:end])):
            events += decoder.decode(one)
    whole = _decoder()
    assert events == [inner for one in split_events(stream) for inner in whole.decode(one)]


@pytest.mark.req("RESP-STREAM-002")
def test_an_event_needs_no_name_and_its_type_need_not_come_first() -> None:
    decoder = _decoder()
    assert decoder.decode(b'data: {"delta":"a","output_index":0,"type":"response.output_text.delta"}\r\n\r\n') == [
        Started(),
        TextDelta("a"),
    ]
    assert decoder.decode(b": ping\n\n") == ()
    assert decoder.decode(b"data: [DONE]\n\n") == ()
    assert not decoder.done


@pytest.mark.req("RESP-STREAM-002")
@pytest.mark.parametrize(
    "form",
    [
        b"event: %b\ndata: %b\n\n",
        b"event:%b\ndata:%b\n\n",
        b"event: %b\r\ndata: %b\r\n\r\n",
        b"id: 7\nevent: %b\ndata: %b\n\n",
        b"event: %b\nid: 7\ndata: %b\n: ping\n\n",
    ],
)
def test_however_an_event_is_written_it_says_the_same(form: bytes) -> None:
    name = b"response.output_text.delta"
    data = b'{"type":"response.output_text.delta","delta":"a"}'
    assert _decoder().decode(form % (name, data)) == [Started(), TextDelta("a")]


@pytest.mark.req("RESP-STREAM-002")
@pytest.mark.parametrize(
    "one",
    [
        {"type": "response.queued", "response": {}},
        {"type": "response.web_search_call.searching", "item_id": "ws_1"},
        {"type": "response.output_text.annotation.added", "annotation": {}},
        {"type": "response.content_part.added", "part": {"type": "new"}},
        {"type": "gateway:custom_event"},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "web_search_call", "id": "ws_1"}},
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "web_search_call", "id": "ws_1"}},
    ],
)
def test_what_is_not_read_here_gives_nothing(one: dict[str, Any]) -> None:
    assert _decoded(one) == []


# --- what each event says ----------------------------------------
@pytest.mark.req("RESP-STREAM-003")
def test_each_kind_of_piece_is_told() -> None:
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "run", "input": ""}
    assert _decoded(
        CREATED,
        {"type": "response.in_progress", "response": {}},
        {"type": "response.refusal.delta", "output_index": 0, "delta": "no"},
        {"type": "response.reasoning_text.delta", "output_index": 1, "content_index": 0, "delta": "hm"},
        {"type": "response.audio.delta", "delta": "UklG"},
        {"type": "response.audio.transcript.delta", "delta": "la"},
        _item("added", custom, 2),
        {"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "ls"},
        _item("done", {**custom, "input": "ls"}, 2),
        ENDED,
    ) == [
        Started(),
        RefusalDelta("no"),
        ReasoningDelta("hm"),
        AudioDelta("UklG"),
        AudioDelta(transcript="la"),
        ToolCallStarted("c1", "run", "custom", 0),
        ToolCallDelta("ls", "custom", 0),
        Finished("tool_calls"),
    ]


@pytest.mark.req("RESP-STREAM-004")
@pytest.mark.parametrize(
    ("item", "events"),
    [
        (
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            [ToolCallStarted("c1", "f"), ToolCallDelta("{}")],
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            [TextDelta("a")],
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "a"}]},
            [RefusalDelta("a")],
        ),
        ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}, [ReasoningDelta("a")]),
    ],
)
def test_what_comes_whole_only_is_given_once(item: dict[str, Any], events: list[Event]) -> None:
    begun = {**item, "arguments": ""} if "arguments" in item else item
    assert _decoded(CREATED, _item("done", item))[1:] == events
    assert _decoded(CREATED, _item("added", begun), _item("done", item))[1:] == events
    whole = {**ENDED, "response": {"status": "completed", "output": [item]}}
    assert _decoded(CREATED, whole)[1:-1] == events
    assert _decoded(CREATED, _item("done", item), whole)[1:-1] == events


@pytest.mark.req("RESP-STREAM-004")
def test_what_came_in_pieces_is_not_given_again() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]}
    assert _decoded(CREATED, _text("a"), _text("b"), _item("done", said))[1:] == [TextDelta("a"), TextDelta("b")]


def test_pieces_of_a_call_that_was_not_begun_wait_for_its_end() -> None:
    piece = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    assert _decoded(piece, _item("done", call)) == [Started(), ToolCallStarted("c1", "f"), ToolCallDelta("{}")]


@pytest.mark.req("RESP-STREAM-005")
def test_state_that_shows_nothing_is_told() -> None:
    reasoning = '{"type": "reasoning", "id": "rs_1", "summary": []}'
    compaction = '{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}'
    for item in (reasoning, compaction):
        assert _decoded(_item("done", json.loads(item))) == [Started(), ReasoningState(_state(item))]


# --- the end -----------------------------------------------------
@pytest.mark.req("RESP-STREAM-006")
@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (ENDED, "stop"),
        ({"type": "response.completed", "response": {"status": "in_progress"}}, "stop"),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
            "length",
        ),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "content_filter",
        ),
        ({"type": "response.incomplete", "response": {}}, "length"),
    ],
)
def test_why_a_stream_ended_is_told(ended: dict[str, Any], reason: str) -> None:
    assert _decoded(CREATED, ended) == [Started(), Finished(reason)]


@pytest.mark.req("RESP-STREAM-006")
def test_nothing_comes_after_the_end() -> None:
    assert _decoded(CREATED, ENDED, _text("a"), ENDED) == [Started(), Finished("stop")]


@pytest.mark.req("RESP-STREAM-006")
def test_a_stream_that_breaks_off_is_not_done() -> None:
    decoder = _decoder()
    decoder.decode(event(CREATED))
    decoder.decode(event(_text("a")))
    assert (decoder.done, decoder.finish()) == (False, ())


@pytest.mark.req("RESP-STREAM-007")
@pytest.mark.parametrize(
    ("one", "failed"),
    [
        ({"type": "error", "code": "x", "message": "No.", "param": "p"}, Failed("No.", None, "x", "p")),
        (
            {"type": "error", "error": {"type": "t", "code": "x", "message": "No.", "param": None}},
            Failed("No.", "t", "x"),
        ),
        ({"type": "error"}, Failed("the upstream reported an error")),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "No."}}},
            Failed("No.", None, "server_error"),
        ),
        ({"type": "response.failed", "response": {}}, Failed("the upstream reported an error")),
        ({"error": {"message": "No."}}, Failed("No.")),
    ],
)
def test_an_error_ends_the_stream_in_whatever_form_it_comes(one: dict[str, Any], failed: Failed) -> None:
    decoder = _decoder()
    decoder.decode(event(CREATED))
    assert decoder.decode(event(one, named="type" in one)) == [failed]
    assert decoder.decode(event({"type": "response.failed", "response": {}})) == ()


@pytest.mark.req("RESP-STREAM-007")
def test_what_a_failed_answer_used_is_told_before() -> None:
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    failed = {"type": "response.failed", "response": {"usage": usage, "error": {"message": "No."}}}
    assert _decoded(failed) == [Started(), UsageReported(Usage(input=3, output=1)), Failed("No.")]


# --- what does not fit -------------------------------------------
@pytest.mark.req("RESP-STREAM-008")
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"5",
        b"{}",
        b'{"type":5}',
        b'{"type":"response.output_text.delta"}',
        b'{"type":"response.output_text.delta","delta":5}',
        b'{"type":"response.output_item.added","item":{}}',
        b'{"type":"response.output_item.done","item":[]}',
        b'{"type":"response.output_item.done","item":{"type":"function_call"}}',
        b'{"type":"response.completed"}',
        b'{"type":"response.completed","response":{"output":[5]}}',
        b'{"type":"response.completed","response":' + b"[" * 9999,
        b'{"type":"response.output_text.delta","delta":"\xff"}',
    ],
)
def test_what_is_no_event_is_an_error_of_the_dialect(data: bytes) -> None:
    with pytest.raises(DialectError):
        _decoder().decode(b"data: " + data + b"\n\n")


@pytest.mark.req("RESP-STREAM-008")
def test_items_that_never_end_are_bounded() -> None:
    decoder = _decoder()
    begin = [event(_item("added", {"type": "message"}, index), named=False) for index in range(MAX_OPEN + 1)]
    for one in begin[:-1]:
        decoder.decode(one)
    with pytest.raises(DialectError):
        decoder.decode(begin[-1])


@pytest.mark.req("RESP-STREAM-008")
def test_items_that_end_may_be_many() -> None:
    decoder = _decoder()
    done = {"type": "message", "role": "assistant", "content": []}
    for index in range(MAX_OPEN + 1):
        assert decoder.decode(event(_text("a", index)))[-1] == TextDelta("a")
        assert decoder.decode(event(_item("done", done, index))) == []


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "id", "content", "output", "error", "usage", "status"]), inner)
    ),
    max_leaves=6,
)
_LINES: Sequence[dict[str, Any]] = [
    json.loads(one.partition(b"data: ")[2]) for one in split_events(_TRANSCRIPT.read_bytes())
]


@pytest.mark.req("RESP-STREAM-008")
@given(st.lists(st.tuples(st.sampled_from(_LINES), st.data()), max_size=4))
def test_whatever_stands_in_an_event_it_is_read_or_an_error_of_the_dialect(
    changed: list[tuple[dict[str, Any], st.DataObject]],
) -> None:
    decoder = CODEC.decoder(MAKER)
    for one, data in changed:
        name = data.draw(st.sampled_from(sorted(one)))
        try:
            decoder.decode(event({**one, name: data.draw(_ODD)}, named=False))
        except DialectError:
            pass
