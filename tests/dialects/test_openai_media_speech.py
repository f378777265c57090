"""Speech on its way: bare bytes, events, and the one as the other."""

import base64
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_media_heads import decode_speech
from posthouse.dialects.openai_media_speech import SpeechEvents, Spoken, usage_of_speech
from posthouse.dialects.openai_media_streams import MediaEvents, Raw
from posthouse.dialects.sse import data_of, split_events
from posthouse.dialects.streams import AnswerStream

SOUND: Final = bytes(range(256)) * 30
FAILURE: Final = UpstreamFailure("server", "It broke.")
NOTHING: Final = Usage()


def asked() -> ModelRequest:
    return decode_speech(json.dumps({"model": "m", "input": "Hello.", "voice": "x", "stream_format": "sse"}).encode())


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


DELTA: Final = event("speech.audio.delta", audio=base64.b64encode(SOUND).decode())
DONE: Final = event("speech.audio.done", usage={"input_tokens": 14, "output_tokens": 101, "total_tokens": 115})


# --- bare bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-009")
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_bytes_pass_as_they_come_but_for_the_last_few(pieces: list[bytes]) -> None:
    raw = Raw()
    sent = b""
    seen = b""
    for piece in pieces:
        sent += piece
        seen += raw.feed(piece)
        assert seen == sent[: len(seen)]
        assert len(seen) % 4 == 0
        assert len(sent) - len(seen) <= 4
        assert not sent or len(seen) < len(sent)  # the last byte waits for the settlement
    assert raw.committed == bool(sent)
    assert raw.finish() == b""
    assert raw.finish_reason == ("stop" if sent else None)
    assert seen + raw.end(NOTHING, True) == sent
    assert raw.end(NOTHING, True) == b""


@pytest.mark.req("MEDIA-009", "MEDIA-015")
def test_bytes_cannot_say_that_they_are_not_whole() -> None:
    raw = Raw()
    raw.feed(SOUND)
    assert (raw.fail(FAILURE), raw.usage, raw.error, raw.emitted().text) == (b"", None, None, "")
    raw.finish()
    assert raw.feed(SOUND) == b""


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-008")
@pytest.mark.parametrize("size", [1, 3, 64, 1_000_000])
def test_events_pass_as_they_came_and_usage_comes_last(size: int) -> None:
    came = DELTA + DELTA + DONE
    made = MediaEvents(SpeechEvents(asked()))
    out = b"".join(made.feed(came[start : start + size]) for start in range(0, len(came), size))
    assert out == DELTA + DELTA
    assert (made.done, made.finish_reason) == (True, "stop")
    assert made.usage == Usage(input=14, audio_output=101, characters=6)
    assert made.end(NOTHING, False) == DONE


@pytest.mark.req("MEDIA-008")
@pytest.mark.parametrize("tail", [b"data: [DONE]\n\n", b""])
def test_a_form_of_a_vendors_own_ends_with_its_mark_or_its_body(tail: bytes) -> None:
    theirs = b'data: {"type":"conversation.item.audio_output.delta","delta":"AAAA"}\n\n'
    made = MediaEvents(SpeechEvents(asked()))
    assert made.feed(theirs + theirs + tail) == theirs + theirs
    made.finish()
    assert (made.committed, made.finish_reason, made.usage) == (True, "stop", None)
    assert made.end(NOTHING, True) == tail


@pytest.mark.req("MEDIA-008")
def test_openais_form_without_its_end_is_not_whole() -> None:
    made = MediaEvents(SpeechEvents(asked()))
    made.feed(DELTA)
    made.finish()
    assert made.finish_reason is None


@pytest.mark.req("MEDIA-008")
@pytest.mark.parametrize(
    "wrong", [b'data: {"error":{"message":"No."}}\n\n', b'event: error\ndata: {"message":"No."}\n\n']
)
def test_an_error_ends_it(wrong: bytes) -> None:
    made = MediaEvents(SpeechEvents(asked()))
    assert made.feed(DELTA + wrong + DELTA) == DELTA
    assert made.error is not None and made.error.message == "No."


def test_an_event_that_is_no_json_makes_no_sense() -> None:
    with pytest.raises(DialectError):
        MediaEvents(SpeechEvents(asked())).feed(b"data: nothing\n\n")


@pytest.mark.req("MEDIA-008")
@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input=1, audio_output=2, characters=6)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(input=1, audio_output=2, characters=6)),
        ({"input_tokens": -1}, None),
        ({"input_tokens": None, "output_tokens": None}, None),
        ({"characters": 3}, None),
        (None, None),
        ("many", None),
    ],
)
def test_usage_of_speech_is_sound_and_the_characters_that_were_asked_for(told: Any, usage: Usage | None) -> None:
    assert usage_of_speech(told, asked()) == usage


# --- the one as the other ---------------------------------------------------------------------------------------------


@pytest.mark.req("MEDIA-022")
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_bytes_become_the_events_that_were_asked_for(pieces: list[bytes]) -> None:
    spoken: AnswerStream = Spoken()
    out = b"".join([*(spoken.feed(piece) for piece in pieces), spoken.finish()])
    out += spoken.end(Usage(input=3, audio_output=9), True)
    found = [json.loads(data) for one in split_events(out) if (data := data_of(one)) is not None]
    *deltas, last = found
    assert b"".join(base64.b64decode(one["audio"]) for one in deltas) == b"".join(pieces)
    assert {one["type"] for one in deltas} <= {"speech.audio.delta"}
    usage = {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}
    assert last == {"type": "speech.audio.done", "usage": usage}
    assert spoken.committed == any(pieces)
    assert spoken.finish_reason == ("stop" if any(pieces) else None)


@pytest.mark.req("MEDIA-022")
def test_bytes_that_break_off_end_with_an_error_where_they_are_events() -> None:
    spoken = Spoken()
    spoken.feed(SOUND)
    assert b'"It broke."' in spoken.fail(FAILURE)
    assert (spoken.usage, spoken.emitted().text) == (None, "")
