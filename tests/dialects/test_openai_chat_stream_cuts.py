"""The observer of a chat stream, however the network cuts what it is fed."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialects.openai_chat_stream import ChatStream
from tests.dialects.chunks import DONE, HEAD, ROLE, STOP, USAGE, chunk, event, text, usage_event


def _long(count: int) -> bytes:
    """Calm events, more than the observer decodes one by one."""
    return b"".join(text(f"word {number} ") for number in range(count))


_EVENTS = st.sampled_from(
    [
        ROLE,
        text("a"),
        text('é漢字 "usage"'),
        _long(8),
        b": ping\n\n",
        b"\n",
        b"\r\n",
        b'event: e\nid: 1\ndata: {"choices":[{"delta":\ndata: {"content":"two lines"}}]}\n\n',
        event(chunk({"content": "crlf"}), b"\r\n"),
        event(chunk({"content": "cr"}), b"\r"),
        event({**HEAD, "choices": [], "prompt_filter_results": []}),
        event(chunk({"content": "x"}, usage=None)),
        event(chunk(finish="tool_calls"), b"\r\n"),
        STOP,
        usage_event(),
        event({**HEAD, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, b"\r\n"),
        event(chunk(finish="stop", usage=USAGE)),
        b"data: junk\n\n",
        b"data: [DONE]\r\n\r\n",
        DONE,
        event({"error": {"message": "broke"}}),
    ]
)


def _facts(stream: bytes, cuts: list[int], include_usage: bool) -> tuple[Any, ...]:
    observer = ChatStream(include_usage=include_usage)
    out = b""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        out += observer.feed(stream[start:end])
    out += observer.finish()
    seen = (observer.usage, observer.finish_reason, observer.done, observer.error, observer.committed, observer.id)
    return (out, *seen, observer.emitted())


@pytest.mark.req("CHAT-STREAM-002")
@settings(max_examples=400)
@given(st.lists(_EVENTS, max_size=12), st.lists(st.integers(0, 10_000), max_size=10), st.booleans(), st.integers(0, 9))
def test_however_a_stream_is_cut_the_same_is_forwarded_and_read(
    events: list[bytes], cuts: list[int], include_usage: bool, missing: int
) -> None:
    stream = b"".join(events)
    stream = stream[: len(stream) - missing]
    assert _facts(stream, cuts, include_usage) == _facts(stream, [], include_usage)


@pytest.mark.req("CHAT-STREAM-002")
def test_a_stream_cut_at_every_byte_is_the_same() -> None:
    stream = ROLE + text("é") + event(chunk(finish="stop"), b"\r\n") + usage_event() + b"data: [DONE]\r\n\r\n"
    whole = _facts(stream, [], False)
    for cut in range(len(stream)):
        assert _facts(stream, [cut], False) == whole
    assert _facts(stream, list(range(len(stream))), False) == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_of_an_upstream_raise(noise: bytes, cuts: list[int]) -> None:
    _facts(text("a") + noise, cuts, False)
