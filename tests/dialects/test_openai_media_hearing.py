"""What was heard, as vendors tell it: whole, as text, as events."""

import json
from typing import Any, Final

import pytest

from posthouse.core.usage import NO_USAGE, Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_media_hearing import (
    TranscriptEvents,
    collect,
    read_json,
    read_text,
    to_events,
    usage_of_sound,
)
from posthouse.dialects.openai_media_streams import MediaEvents

TOKENS: Final = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
    "output_tokens": 31,
    "total_tokens": 45,
}
HEARD: Final = Usage(input=10, audio_input=4, output=31)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (TOKENS, HEARD),
        ({"type": "duration", "seconds": 2.5}, Usage(audio_ms=2_500)),
        ({"seconds": 2, "cost": 0.1, "input_tokens": 5, "output_tokens": 1}, Usage(input=5, output=1, audio_ms=2_000)),
        (
            {"prompt_audio_seconds": 3, "prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
            Usage(input=4, output=5, audio_ms=3_000),
        ),
        ({"seconds": 0}, NO_USAGE),
        ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, NO_USAGE),
        ({"seconds": -1}, None),
        ({"seconds": True}, None),
        ({"seconds": "nan"}, None),
        ({"seconds": 1e12}, None),
        ({"input_tokens": -5, "output_tokens": 1}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_what_was_consumed_is_told_in_tokens_in_time_or_in_both(told: Any, usage: Usage | None) -> None:
    assert usage_of_sound(told) == usage


@pytest.mark.parametrize(
    ("body", "usage", "milliseconds"),
    [
        ({"text": "One", "usage": TOKENS}, HEARD, None),
        ({"text": ""}, None, None),
        ({"text": "One", "duration": 1.5}, Usage(audio_ms=1_500), 1_500),
        ({"text": "One", "duration": "1.5"}, Usage(audio_ms=1_500), 1_500),
        ({"text": "One", "duration": 1.5, "usage": {"type": "duration", "seconds": 2}}, Usage(audio_ms=2_000), 1_500),
        ({"text": "One", "duration": 1.5, "usage": TOKENS}, HEARD, 1_500),
        ({"text": "One", "usage": {"type": "duration", "seconds": 2}}, Usage(audio_ms=2_000), 2_000),
        ({"text": "One", "duration": "long"}, None, None),
    ],
)
def test_a_transcript_tells_what_it_took(body: dict[str, Any], usage: Usage | None, milliseconds: int | None) -> None:
    found = read_json(json.dumps(body).encode())
    assert (found.whole.usage, found.milliseconds) == (usage, milliseconds)
    assert (found.whole.finish_reason, found.whole.error) == ("stop", None)


def test_an_answer_without_a_text_is_not_whole() -> None:
    assert read_json(b'{"hello":1}').whole.finish_reason is None
    error = read_json(b'{"error":{"message":"No.","type":"server_error"}}').whole.error
    assert error is not None
    assert error.message == "No."


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"One", b'"One"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_no_transcript(body: bytes) -> None:
    with pytest.raises(DialectError):
        read_json(body)


@pytest.mark.parametrize(
    ("body", "milliseconds"),
    [
        (b"1\n00:00:00,000 --> 00:00:02,500\nOne\n\n2\n00:00:02,500 --> 01:00:03,250\ntwo\n", 3_603_250),
        (b"WEBVTT\n\n00:00.000 --> 00:02.500\nOne\n", 2_500),
        (b"WEBVTT\n\n00:00.000 --> 00:02.500 align:start\nOne\n\n00:01.000 --> 00:01.500\ntwo\n", 2_500),
        (b"One two three\n", None),
        (b"He said: 00:01 --> soon\n", None),
        (b"", None),
    ],
)
def test_subtitles_say_how_long_the_sound_was(body: bytes, milliseconds: int | None) -> None:
    found = read_text(body)
    assert (found.milliseconds, found.whole.usage, found.whole.finish_reason) == (milliseconds, None, "stop")


def events(*payloads: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(payload).encode() for payload in payloads)


DELTA: Final = {"type": "transcript.text.delta", "delta": "One"}
DONE: Final = {"type": "transcript.text.done", "text": "One", "usage": TOKENS}
LAST: Final = b"data: [DONE]\n\n"


def streamed(data: bytes, size: int = 1 << 20) -> tuple[MediaEvents, bytes]:
    stream = MediaEvents(TranscriptEvents())
    out = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size)) + stream.finish()
    return stream, out


@pytest.mark.parametrize(("size", "last"), [(1, b""), (20, b""), (10_000, b""), (10_000, LAST)])
def test_a_stream_passes_and_its_end_is_held_until_it_is_settled(size: int, last: bytes) -> None:
    whole = events(DELTA, {"type": "transcript.text.segment", "id": "s", "text": "One"}, DONE) + last
    stream, out = streamed(whole, size)
    assert (stream.done, stream.finish_reason, stream.usage) == (True, "stop", HEARD)
    assert out + stream.end(NO_USAGE, False) == whole
    assert out == events(DELTA, {"type": "transcript.text.segment", "id": "s", "text": "One"})


def test_silence_is_an_answer_too() -> None:
    stream, _ = streamed(events({"type": "transcript.text.done", "text": ""}))
    assert (stream.committed, stream.finish_reason, stream.usage) == (True, "stop", None)


def test_a_stream_that_ends_before_its_end_is_not_whole() -> None:
    stream, out = streamed(events(DELTA))
    assert (stream.finish_reason, out) == (None, events(DELTA))


def test_a_stream_in_another_form_passes_and_ends_as_it_does() -> None:
    chunk = {"object": "transcription.chunk", "choices": [{"delta": {"content": "One"}}]}
    whole = events(chunk, {**chunk, "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}) + LAST
    stream, out = streamed(whole)
    assert (stream.finish_reason, stream.usage) == ("stop", Usage(input=4, output=2))
    assert out + stream.end(NO_USAGE, False) == whole


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"No."}}\n\n',
        b'data: {"type":"error","message":"No."}\n\n',
        b'event: error\ndata: {"message":"No."}\n\n',
    ],
)
def test_an_error_in_a_stream_is_told(event: bytes) -> None:
    stream, out = streamed(events(DELTA) + event + events(DONE))
    assert stream.error is not None
    assert (stream.error.message, out) == ("No.", events(DELTA))


@pytest.mark.parametrize("data", [b"data: [1]\n\n", b"data: nonsense\n\n"])
def test_an_event_that_is_none_makes_no_sense(data: bytes) -> None:
    with pytest.raises(DialectError):
        streamed(data)


def test_a_whole_answer_and_its_events_are_one_thing() -> None:
    body = {"text": "One two", "languages": [{"code": "en"}], "usage": TOKENS}
    made = to_events(json.dumps(body).encode())
    assert json.loads(collect(made)) == {"text": "One two", "usage": TOKENS}
    stream, out = streamed(made)
    assert stream.usage == HEARD
    assert out + stream.end(NO_USAGE, False) == made


def test_a_stream_that_nobody_asked_for_is_collected() -> None:
    assert json.loads(collect(events(DELTA, DELTA))) == {"text": "OneOne"}
    assert json.loads(collect(events(DELTA, {"error": {"message": "No."}}))) == {"error": {"message": "No."}}
    assert json.loads(collect(b": x\n\ndata: nonsense\n\n" + events(DONE) + LAST)) == {"text": "One", "usage": TOKENS}
    with pytest.raises(DialectError):
        collect(LAST)
