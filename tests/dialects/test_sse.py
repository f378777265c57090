"""Server-sent events: where they end, and what they say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialects.errors import DialectError
from posthouse.dialects.sse import SseSplitter, data_of, is_named_error, split_events

_LINES = st.sampled_from([b"data: x", b"data:y", b": ping", b"event: z", b"id: 1", b"data", b""])
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
_STREAMS = st.lists(st.tuples(_LINES, _ENDS), max_size=30).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def _fed(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """What was passed on whole, and what is left."""
    splitter = SseSplitter()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    passed = b"".join(splitter.feed(stream[start:end]) for start, end in itertools.pairwise(places))
    return passed, splitter.rest


@pytest.mark.req("CHAT-STREAM-001", "CHAT-STREAM-002")
@given(_STREAMS, st.lists(st.integers(0, 1000), max_size=8))
def test_whole_events_pass_wherever_the_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    passed, rest = _fed(stream, cuts)
    assert passed + rest == stream
    assert (passed, rest) == _fed(stream, [])


@given(_STREAMS)
def test_the_events_of_a_block_joined_are_the_block(stream: bytes) -> None:
    assert b"".join(split_events(stream)) == stream


@given(_STREAMS, st.lists(st.integers(0, 1000), max_size=8))
def test_events_are_the_same_wherever_the_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    splitter = SseSplitter()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    blocks = [splitter.feed(stream[start:end]) for start, end in itertools.pairwise(places)]
    said = [data_of(event) for block in blocks for event in split_events(block)]
    whole = [data_of(event) for event in split_events(_fed(stream, [])[0])]
    assert [data for data in said if data is not None] == [data for data in whole if data is not None]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_newline_ends_an_event(newline: bytes) -> None:
    stream = newline.join([b"data: a", b"", b": note", b"event: e", b"data: b", b"data: c", b"", b""])
    # A lone CR at the very end may still become a CRLF, but two of them end an event.
    assert SseSplitter().feed(stream) == stream
    assert [data_of(event) for event in split_events(stream)] == [b"a", b"b\nc"]


def test_an_unfinished_event_is_held_back() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: a\n\ndata: b") == b"data: a\n\n"
    assert splitter.rest == b"data: b"
    assert splitter.feed(b"\n\n") == b"data: b\n\n"
    assert splitter.rest == b""


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_at_the_start_is_dropped(cut: int) -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"
    splitter = SseSplitter()
    assert splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) == b"data: a\n\n"


def test_a_blank_line_between_events_passes_at_once() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: a\n\n") == b"data: a\n\n"
    assert splitter.feed(b"\r\n") == b"\r\n"
    assert splitter.feed(b"\n") == b"\n"
    assert splitter.feed(b"\r") == b"\r"
    assert splitter.feed(b"\r\r") == b"\r\r"


@pytest.mark.req("CHAT-STREAM-010")
def test_an_event_larger_than_the_bound_is_an_error() -> None:
    splitter = SseSplitter(max_event=10)
    assert splitter.feed(b"data: a\n\ndata: b") == b"data: a\n\n"
    with pytest.raises(DialectError, match="larger than 10 bytes"):
        splitter.feed(b"0123456789")


def test_many_events_larger_than_the_bound_together_are_fine() -> None:
    assert SseSplitter(max_event=10).feed(b"data: a\n\n" * 100) == b"data: a\n\n" * 100


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data: a\r\n\r\n", b"a"),
        (b"data: a\r\r", b"a"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"event: x\nid: 1\ndata: a\nretry: 5\n\n", b"a"),
        (b": comment\n\n", None),
        (b"\n", None),
        (b"database: x\n\n", None),
        (b"", None),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


def test_an_event_may_call_itself_an_error() -> None:
    assert is_named_error(b"event: error\ndata: {}\n\n")
    assert is_named_error(b"event:error\r\ndata: {}\r\n\r\n")
    assert not is_named_error(b"event: message\ndata: event: error\n\n")
