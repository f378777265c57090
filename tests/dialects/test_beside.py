"""What an answer that just passes tells of its usage, in the forms in which vendors tell it."""

import json
from typing import Any

import pytest
from msgspec import Raw

from posthouse.core.requests import Operation
from posthouse.core.usage import Usage
from posthouse.dialects.beside import Beside, any_usage, is_json
from posthouse.dialects.codecs import codec_of

USAGES: list[tuple[dict[str, Any], Usage | None]] = [
    ({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}, Usage(input=11, output=7)),
    (
        {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}},
        Usage(input=7, cache_read=4, output=7),
    ),
    (
        {"input_tokens": 11, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7, "total_tokens": 18},
        Usage(input=7, cache_read=4, output=7),
    ),
    ({"input_tokens": 11, "output_tokens": 7}, Usage(input=11, output=7)),
    ({"input_tokens": 11, "cache_read_input_tokens": 4, "output_tokens": 7}, Usage(input=11, cache_read=4, output=7)),
    ({"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}, Usage(input=11, output=7)),
    (
        {"input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}, "output_tokens": 90},
        Usage(input=10, image_input=40, image_output=90),
    ),
    (
        {"type": "tokens", "input_tokens": 14, "input_token_details": {"audio_tokens": 4}, "output_tokens": 31},
        Usage(input=10, audio_input=4, output=31),
    ),
    (
        {"input_tokens": 11, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 5}},
        Usage(input=11, output=2, reasoning=5),
    ),
    (
        {"prompt_tokens": 11, "completion_tokens": 7, "completion_tokens_details": {"thinking_tokens": 5}},
        Usage(input=11, output=7),
    ),
    ({"type": "duration", "seconds": 2.5}, Usage(audio_ms=2500)),
    ({"total_tokens": 5}, Usage(input=5)),
    ({"seconds": -1}, None),
    ({"seconds": True}, None),
    ({"seconds": 1e300}, None),
    ({"prompt_tokens": -1, "completion_tokens": 2}, None),
    ({"input_tokens": "many"}, None),
    ({"promptTokenCount": "many"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("told", "usage"), USAGES)
def test_a_usage_is_known_by_its_members(told: dict[str, Any], usage: Usage | None) -> None:
    assert any_usage(Raw(json.dumps(told).encode())) == usage


@pytest.mark.parametrize("raw", [b"null", b"[]", b"7", b'"x"', b"{", b'{"prompt_tokens":'])
def test_what_is_no_usage_is_none(raw: bytes) -> None:
    assert any_usage(Raw(raw)) is None


def fed(beside: Beside, data: bytes, size: int) -> Beside:
    for at in range(0, len(data), size):
        beside.feed(data[at : at + size])
    beside.finish()
    assert beside.size == len(data)
    return beside


@pytest.mark.parametrize("size", [1, 13, 10_000])
@pytest.mark.parametrize("name", ["usage", "usageMetadata"])
def test_a_whole_answer_tells_it_at_the_top(size: int, name: str) -> None:
    told = {"promptTokenCount": 11} if name == "usageMetadata" else {"prompt_tokens": 11}
    body = json.dumps({"data": [{"usage": {"prompt_tokens": 1}}], name: told, "id": "x"}).encode()
    beside = fed(Beside(None, b"application/json; charset=utf-8"), body, size)
    assert beside.usage == Usage(input=11)
    assert beside.readable
    assert beside.emitted() is None


def test_a_list_of_answers_tells_it_in_the_last() -> None:
    body = b'[{"usageMetadata":{"promptTokenCount":1}},{"usageMetadata":{"promptTokenCount":11}}]'
    assert fed(Beside(None, b"application/json"), body, 7).usage == Usage(input=11)


def test_bytes_tell_nothing() -> None:
    beside = fed(Beside(codec_of("responses"), b"audio/mpeg"), b'{"usage":{"prompt_tokens":11}}', 5)
    assert (beside.usage, beside.readable, beside.done) == (None, False, False)


def events(*payloads: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(payload).encode() for payload in payloads)


CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
SAID: dict[Operation, bytes] = {
    "chat.completions": events(
        {**CHUNK, "choices": [{"index": 0, "delta": {"content": "One"}, "finish_reason": None}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**CHUNK, "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}},
    )
    + b"data: [DONE]\n\n",
    "responses": events(
        {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "One"},
        {
            "type": "response.completed",
            "response": {
                "id": "r",
                "status": "completed",
                "model": "m",
                "output": [],
                "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
            },
        },
    ),
    "messages": events(
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 11, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "One"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ),
    "generate_content": events(
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "One"}]}, "index": 0}]},
        {
            "candidates": [{"content": {"parts": []}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18},
        },
    ),
}


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize("wire", SAID)
def test_a_stream_of_a_known_dialect_tells_usage_and_text(wire: Operation, size: int) -> None:
    beside = fed(Beside(codec_of(wire), b"text/event-stream"), SAID[wire], size)
    assert beside.usage == Usage(input=11, output=7)
    emitted = beside.emitted()
    assert emitted is not None
    assert emitted.text == "One"


@pytest.mark.parametrize("wire", ["chat.completions", "responses", "generate_content"])
def test_a_stream_of_an_unknown_dialect_tells_its_last_usage(wire: Operation) -> None:
    beside = fed(Beside(None, b"text/event-stream"), SAID[wire], 9)
    assert (beside.usage, beside.emitted()) == (Usage(input=11, output=7), None)


@pytest.mark.parametrize("last", [b"", b"data: nonsense\n\n", b"data: [1]\n\n", b": comment\n\n", b"data: half"])
def test_what_makes_no_sense_does_no_harm(last: bytes) -> None:
    told = events({"usage": {"prompt_tokens": 11}})
    for codec in (None, codec_of("chat.completions")):
        beside = fed(Beside(codec, b"text/event-stream"), last + b"\n\n" + told + last, 4)
        assert beside.usage == Usage(input=11)


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    beside = Beside(None, b"text/event-stream")
    for _ in range(40):
        beside.feed(b"x" * (1 << 20))
    beside.feed(b"\n\n" + events({"usage": {"prompt_tokens": 11}}))
    assert beside.usage is None
    assert not beside.readable


@pytest.mark.parametrize(
    ("content_type", "is_it"),
    [
        (b"application/json", True),
        (b"Application/JSON ; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"application/jsonl", False),
        (b"text/json", False),
        (b"", False),
    ],
)
def test_what_is_json(content_type: bytes, is_it: bool) -> None:
    assert is_json(content_type) == is_it
