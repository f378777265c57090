"""Streams on their way between two sides: bytes pass or are translated, what ends them comes last, all is bounded."""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.core.events import Event, Finished, Started, TextDelta, ToolCallDelta, ToolCallStarted
from posthouse.core.items import ToolCallItem
from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Codec, Maker, ReplyHead
from posthouse.dialects.codecs import CODECS, codec_of
from posthouse.dialects.errors import DialectError
from posthouse.dialects.inner import collected, text_of
from posthouse.dialects.openai_chat_stream import ChatStream
from posthouse.dialects.openai_chat_text import MAX_TEXT
from posthouse.dialects.sse import data_of, split_events
from posthouse.dialects.streams import MAX_EVENT, AnswerStream, Passing, Repaired, Translating
from tests.dialects.chunks import event as chat_event

RECORDINGS: Final = Path(__file__).parent.parent / "providers" / "recordings"
MAKER: Final = Maker("vendor", "model-1", "main")
HEAD: Final = ReplyHead("0193", "public-name", 1_700_000_000, include_usage=True)
FAILURE: Final = UpstreamFailure("overloaded", "It is too much.", code="overloaded")
STREAMS: Final[dict[Operation, bytes]] = {
    "messages": (RECORDINGS / "anthropic" / "stream.sse").read_bytes(),
    "generate_content": (RECORDINGS / "gemini" / "stream.sse").read_bytes(),
    "responses": (RECORDINGS / "wires" / "responses" / "stream.sse").read_bytes(),
}
TEXT: Final = "Sunny in Hangzhou, 杭州今天晴，微风。"
PAIRS: Final = [
    pytest.param(wire, client, id=f"{wire}-to-{client}") for wire in STREAMS for client in CODECS if client != wire
]


def passing(wire: Operation) -> Passing:
    return Passing(codec_of(wire), MAKER, HEAD)


def translating(wire: Operation, client: Operation, customs: frozenset[str] = frozenset()) -> Translating:
    return Translating(codec_of(wire).decoder(MAKER), codec_of(client), HEAD, customs)


def fed(stream: AnswerStream, *pieces: bytes) -> bytes:
    """What is forwarded of a stream that ends after these pieces."""
    return b"".join([*(stream.feed(piece) for piece in pieces), stream.finish()])


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# --- bytes pass --------------------------------------------------


@pytest.mark.req("XLATE-001")
@pytest.mark.parametrize("wire", STREAMS)
@pytest.mark.parametrize("size", [1, 2, 7, 100, 1_000_000])
def test_what_passes_comes_as_it_came_wherever_it_was_cut(wire: Operation, size: int) -> None:
    stream = passing(wire)
    out = fed(stream, *cut(STREAMS[wire], size))
    assert out + stream.end(Usage(), estimated=False) == STREAMS[wire]
    assert (stream.finish_reason, stream.error) == ("stop", None)
    assert stream.usage is not None
    assert stream.emitted().text.endswith(TEXT)


@pytest.mark.req("XLATE-002")
@pytest.mark.parametrize(
    ("wire", "last"),
    [("messages", b"message_stop"), ("responses", b"response.completed"), ("generate_content", b'"finishReason"')],
)
def test_what_ends_a_stream_is_held_back_until_the_end(wire: Operation, last: bytes) -> None:
    stream = passing(wire)
    out = fed(stream, STREAMS[wire])
    assert last not in out
    assert last in stream.end(Usage(), estimated=False)


@pytest.mark.req("XLATE-002")
def test_done_behind_the_end_is_held_too() -> None:
    stream = passing("responses")
    whole = STREAMS["responses"] + b"data: [DONE]\n\n"
    assert fed(stream, whole) + stream.end(Usage(), estimated=False) == whole


def test_several_choices_that_end_one_after_the_other_pass_in_order() -> None:
    def chunk(index: int, text: str, finish: str | None = None) -> bytes:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": index}
        return b"data: %b\r\n\r\n" % msgspec.json.encode(
            {"candidates": [candidate | ({"finishReason": finish} if finish else {})]}
        )

    events = [chunk(0, "a", "STOP"), chunk(1, "b"), chunk(1, "c", "STOP")]
    stream = passing("generate_content")
    assert stream.feed(events[0]) == b""
    assert stream.committed
    assert stream.feed(events[1]) == events[0] + events[1]
    assert stream.feed(events[2]) == b""
    assert stream.finish() + stream.end(Usage(), estimated=False) == events[2]


def test_comments_and_pings_pass_and_commit_nothing() -> None:
    stream = passing("messages")
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert stream.feed(b": waiting\n\n" + ping) == b": waiting\n\n" + ping
    assert not stream.committed


def test_an_answer_that_works_long_before_it_speaks_has_begun() -> None:
    stream = passing("responses")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
        {"type": "response.in_progress", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "ws_1", "type": "web_search_call"}},
        {"type": "response.web_search_call.in_progress", "output_index": 0, "item_id": "ws_1"},
        {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
    ]
    begun = []
    for one in events:
        stream.feed(b"event: %b\ndata: %b\n\n" % (str(one["type"]).encode(), msgspec.json.encode(one)))
        begun.append(stream.committed)
    assert begun == [False, False, False, False, True]


@pytest.mark.parametrize("wire", STREAMS)
def test_a_stream_that_passes_and_breaks_ends_with_its_dialects_error(wire: Operation) -> None:
    stream = passing(wire)
    stream.feed(STREAMS[wire][: len(STREAMS[wire]) // 2])
    last = stream.fail(FAILURE)
    assert b"It is too much." in last
    decoder = codec_of(wire).decoder(MAKER)
    assert collected(last, decoder).error is not None


def test_the_error_at_the_end_of_what_passed_is_the_answers_own_and_numbered_on() -> None:
    whole = STREAMS["responses"]
    cut_off = whole.find(b"event: response.output_text.done")
    stream = passing("responses")
    out = stream.feed(whole[:cut_off])
    before = [msgspec.json.decode(data_of(event) or b"") for event in split_events(out)]
    *told, done = [data_of(event) or b"" for event in split_events(stream.fail(FAILURE))]
    error, failed = map(msgspec.json.decode, told)
    assert done == b"[DONE]"
    assert failed["response"]["id"] == before[0]["response"]["id"]
    numbers = [event["sequence_number"] for event in (*before, error, failed)]
    assert numbers == list(range(len(numbers)))


# --- translated --------------------------------------------------


@pytest.mark.req("XLATE-003")
@pytest.mark.parametrize(("wire", "client"), PAIRS)
def test_what_is_translated_says_the_same_wherever_it_was_cut(wire: Operation, client: Operation) -> None:
    whole = translating(wire, client)
    expected = fed(whole, STREAMS[wire])
    for size in (1, 7, 100):
        stream = translating(wire, client)
        assert fed(stream, *cut(STREAMS[wire], size)) == expected
    usage = whole.usage
    assert usage is not None
    found = collected(expected + whole.end(usage, estimated=False), codec_of(client).decoder(MAKER))
    assert text_of(found.response).endswith(TEXT)
    assert [choice.finish for choice in found.response.choices] == ["stop"]
    assert found.response.usage is not None
    assert found.response.usage.total == usage.total


@pytest.mark.req("XLATE-002")
@pytest.mark.parametrize(("wire", "client"), PAIRS)
def test_a_client_is_told_the_usage_that_is_charged(wire: Operation, client: Operation) -> None:
    stream = translating(wire, client)
    out = fed(stream, STREAMS[wire])
    charged = Usage(input=5, output=3)
    found = collected(out + stream.end(charged, estimated=True), codec_of(client).decoder(MAKER))
    assert found.response.usage is not None
    assert found.response.usage.total == 8


@pytest.mark.req("XLATE-004")
@pytest.mark.parametrize(("wire", "client"), PAIRS)
def test_a_stream_that_is_cut_off_has_no_finish_reason_and_can_end_with_an_error(
    wire: Operation, client: Operation
) -> None:
    stream = translating(wire, client)
    out = fed(stream, STREAMS[wire][: len(STREAMS[wire]) * 2 // 3])
    assert (stream.finish_reason, stream.done, stream.error) == (None, False, None)
    assert collected(out + stream.fail(FAILURE), codec_of(client).decoder(MAKER)).error is not None


@pytest.mark.req("XLATE-004")
@pytest.mark.parametrize("client", [client for client in CODECS if client != "messages"])
def test_an_error_inside_a_stream_stops_it(client: Operation) -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    stream = translating("messages", client)
    half = STREAMS["messages"][: STREAMS["messages"].find(b"event: content_block_stop")]
    stream.feed(half + error + STREAMS["messages"])
    assert stream.error is not None
    assert (stream.error.message, stream.error.type) == ("Overloaded", "overloaded_error")
    assert stream.feed(STREAMS["messages"]) == b""
    assert stream.finish() == b""


@pytest.mark.parametrize(("wire", "client"), PAIRS)
def test_comments_of_a_provider_are_not_translated(wire: Operation, client: Operation) -> None:
    stream = translating(wire, client)
    assert stream.feed(b": waiting\n\n\n: still\n\n") == b""
    assert (stream.committed, stream.error) == (False, None)
    assert fed(stream, STREAMS[wire]) == fed(translating(wire, client), STREAMS[wire])


def test_a_last_event_without_its_blank_line_counts_and_half_an_event_does_not() -> None:
    whole = STREAMS["messages"]
    stream = translating("messages", "chat.completions")
    fed(stream, whole.removesuffix(b"\n\n"))
    assert stream.done
    stream = translating("messages", "chat.completions")
    fed(stream, whole[: whole.rfind(b"event: message_delta") + 40])
    assert (stream.done, stream.finish_reason, stream.error) == (False, None, None)
    assert stream.finish() == b""


def test_nothing_is_committed_before_something_that_a_client_waits_for() -> None:
    stream = translating("messages", "chat.completions")
    start = STREAMS["messages"].find(b"event: content_block_delta")
    stream.feed(STREAMS["messages"][:start])
    before = stream.committed
    stream.feed(STREAMS["messages"][start:])
    assert (before, stream.committed) == (False, True)
    assert stream.id == "msg_01XFDUDYJgAACzvnptvVoYEL"


def test_the_text_that_is_kept_for_counting_is_bounded() -> None:
    stream = translating("messages", "chat.completions")
    piece = "x" * (64 << 10)
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
    event = b"event: content_block_delta\ndata: %b\n\n" % msgspec.json.encode(delta)
    for _ in range(MAX_TEXT // len(piece) + 2):
        stream.feed(event)
    emitted = stream.emitted()
    assert (len(emitted.text), emitted.truncated) == (MAX_TEXT, True)


def test_an_event_without_end_fails_the_stream() -> None:
    for stream in (passing("messages"), translating("messages", "chat.completions")):
        with pytest.raises(DialectError):
            stream.feed(b"data: " + b"x" * MAX_EVENT)


def test_a_whole_answer_is_replayed_as_a_stream() -> None:
    stream = translating("messages", "responses")
    out = stream.replay([Started(), TextDelta("Hello"), Finished("stop")])
    assert (stream.done, stream.committed, stream.finish_reason) == (True, True, "stop")
    found = collected(out + stream.end(Usage(input=1, output=1), estimated=False), codec_of("responses").decoder(MAKER))
    assert text_of(found.response) == "Hello"


# --- custom tools ------------------------------------------------


def call_of_the_model(arguments: list[str]) -> bytes:
    """A call of the function `run`, as Anthropic streams it."""
    start: dict[str, Any] = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "run", "input": {}},
    }
    deltas: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
        for piece in arguments
    ]
    end: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), msgspec.json.encode(event))
        for event in (start, *deltas, *end)
    )


@pytest.mark.req("XLATE-005")
@pytest.mark.parametrize("client", ["chat.completions", "responses"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (['{"input"', ': "ls\\n', '-l"}'], "ls\n-l"),
        (['{"command": "ls"}'], '{"command": "ls"}'),
        (["not json"], "not json"),
        ([], "{}"),
    ],
)
def test_a_custom_tool_that_was_a_function_for_the_provider_is_called_with_its_text(
    client: Operation, arguments: list[str], said: str
) -> None:
    stream = translating("messages", client, frozenset({"run"}))
    out = fed(stream, call_of_the_model(arguments))
    found = collected(out + stream.end(Usage(), estimated=False), codec_of(client).decoder(MAKER))
    (call,) = [item for item in found.response.choices[0].items if isinstance(item, ToolCallItem)]
    assert (call.kind, call.name, call.arguments) == ("custom", "run", said)


@pytest.mark.req("XLATE-005")
def test_other_calls_stay_functions() -> None:
    stream = translating("messages", "responses", frozenset({"other"}))
    out = fed(stream, call_of_the_model(['{"input": "ls"}']))
    found = collected(out + stream.end(Usage(), estimated=False), codec_of("responses").decoder(MAKER))
    (call,) = found.response.choices[0].items
    assert isinstance(call, ToolCallItem)
    assert (call.kind, call.arguments) == ("function", '{"input": "ls"}')


# --- vendors' own forms ------------------------------------------


def test_events_are_brought_into_the_usual_form_before_they_are_read() -> None:
    decoder = Repaired(
        codec_of("chat.completions").decoder(MAKER),
        lambda chunk: {**chunk, "usage": chunk["x_own"]} if "x_own" in chunk else None,
        b'"x_own"',
    )
    stream = Translating(decoder, codec_of("messages"), HEAD, frozenset())
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    fed(
        stream,
        chat_event({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}),
        chat_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "x_own": usage}),
        b"data: [DONE]\n\n",
    )
    assert stream.usage == Usage(input=5, output=3)
    assert stream.done


# --- chat completions pass ---------------------------------------


def test_a_chat_stream_ends_with_the_usage_that_was_counted_for_who_asked() -> None:
    asked = ChatStream(include_usage=True, model="public-name", name="req_1")
    told = asked.end(Usage(input=5, output=3), estimated=True)
    first, last = told.split(b"\n\n")[:2]
    chunk = msgspec.json.decode(first.removeprefix(b"data: "))
    assert (chunk["id"], chunk["model"], chunk["usage"]["total_tokens"]) == ("req_1", "public-name", 8)
    assert last == b"data: [DONE]"
    assert asked.end(Usage(input=5, output=3), estimated=False) == b"data: [DONE]\n\n"
    silent = ChatStream(include_usage=False)
    assert silent.end(Usage(input=5, output=3), estimated=True) == b"data: [DONE]\n\n"


def test_a_chat_stream_that_breaks_ends_with_an_error() -> None:
    last = ChatStream(include_usage=False).fail(FAILURE)
    assert msgspec.json.decode(last.removeprefix(b"data: "))["error"]["message"] == "It is too much."


def test_every_codec_is_registered_under_its_own_name() -> None:
    names = {operation: codec.name for operation, codec in CODECS.items()}
    assert len(set(names.values())) == len(names)
    codecs: list[Codec] = list(CODECS.values())
    assert all(codec_of(operation) in codecs for operation in CODECS)


def test_a_call_that_is_under_way_is_closed_by_whatever_comes_next() -> None:
    stream = translating("messages", "chat.completions", frozenset({"run"}))
    events: list[Event] = [
        Started(),
        ToolCallStarted("c1", "run", call=0),
        ToolCallDelta('{"input": "a"}', call=0),
        ToolCallStarted("c2", "run", call=1),
        ToolCallDelta('{"input": "b"}', call=1),
        Finished("tool_calls"),
    ]
    out = stream.replay(events) + stream.end(Usage(), estimated=False)
    found = collected(out, codec_of("chat.completions").decoder(MAKER))
    calls = [item for item in found.response.choices[0].items if isinstance(item, ToolCallItem)]
    assert [(call.call_id, call.kind, call.arguments) for call in calls] == [
        ("c1", "custom", "a"),
        ("c2", "custom", "b"),
    ]
