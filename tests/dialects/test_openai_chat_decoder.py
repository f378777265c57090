"""A provider's stream, event by event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.codec import StreamDecoder
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat import CODEC
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.chunks import DONE, ROLE, STOP, USAGE, chunk, event, text, usage_event
from tests.dialects.inner import MAKER, meaning_of
from tests.dialects.recordings import excerpt, is_chat_stream, rendered


def decoded(*events: bytes) -> tuple[list[Event], StreamDecoder]:
    decoder = CODEC.decoder(MAKER)
    found = [one for each in events for one in decoder.decode(each)]
    return found + list(decoder.finish()), decoder


def test_an_ordinary_stream_is_read() -> None:
    events, decoder = decoded(ROLE, text("hel"), text("lo"), STOP, usage_event(), DONE)
    assert events == [
        Started(),
        TextDelta("hel"),
        TextDelta("lo"),
        UsageReported(Usage(input=5, output=3)),
        Finished("stop"),
    ]
    assert decoder.done
    assert decoder.id == "chatcmpl-1"


def test_a_stream_without_its_mark_ends_with_its_reason_or_not_at_all() -> None:
    events, decoder = decoded(ROLE, text("a"), STOP)
    assert events[-1] == Finished("stop")
    assert not decoder.done
    assert decoded(ROLE, text("a"))[0] == [Started(), TextDelta("a")]


def test_nothing_counts_after_the_mark() -> None:
    events, _ = decoded(text("a"), STOP, DONE, text("b"), DONE)
    assert events == [Started(), TextDelta("a"), Finished("stop")]


@pytest.mark.parametrize("silent", [b": keep-alive\n\n", b"event: ping\n\n", b"id: 5\n\n", b"\n\n", b""])
def test_what_has_no_data_says_nothing(silent: bytes) -> None:
    assert decoded(silent, text("a"))[0] == [Started(), TextDelta("a")]


@pytest.mark.parametrize("form", [b"data: %s\r\n\r\n", b"data:%s\n\n", b"event: message\ndata: %s\n\n"])
def test_an_event_may_be_written_in_any_form(form: bytes) -> None:
    assert decoded(form % json.dumps(chunk({"content": "a"})).encode(), form % b"[DONE]")[0] == [
        Started(),
        TextDelta("a"),
        Finished("stop"),
    ]


@pytest.mark.req("CHAT-STREAM-016")
def test_a_careless_server_is_understood() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    events, _ = decoded(
        event(chunk({"role": "assistant", "reasoning": "h", "reasoning_content": "h"}, "")),
        event(chunk({"role": "assistant", "reasoning": "m"}, "")),
        event(
            {"choices": [{"delta": {"content": "a", "tool_calls": [call]}, "finish_reason": "stop"}], "usage": USAGE}
        ),
        event(chunk({"content": ""}, "stop", usage=USAGE)),
        DONE,
    )
    assert events == [
        Started(),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        TextDelta("a"),
        ToolCallStarted("c", "f"),
        ToolCallDelta("{}"),
        UsageReported(Usage(input=5, output=3)),
        UsageReported(Usage(input=5, output=3)),
        Finished("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (b'data: {"error":{"message":"broke","code":5}}\n\n', Failed("broke", None, "5")),
        (b'event: error\ndata: {"message":"broke"}\n\n', Failed("broke")),
        (b'event: error\ndata: {"error":{"message":"broke","type":"t"}}\n\n', Failed("broke", "t")),
        (b'event: error\ndata: "broke"\n\n', Failed("broke")),
        (b"event: error\ndata: {\n\n", Failed("the upstream reported an error")),
        (b"event: error\ndata: []\n\n", Failed("the upstream reported an error")),
    ],
)
def test_an_error_ends_the_stream(body: bytes, failure: Failed) -> None:
    assert decoded(text("a"), body, text("b"), STOP, DONE)[0] == [Started(), TextDelta("a"), failure]


@pytest.mark.parametrize("data", [b"junk", b"[]", b"\xff", b"{", b'{"choices":[5]}', b"[" * 10_000])
def test_what_is_no_chunk_is_an_error_of_the_dialect(data: bytes) -> None:
    with pytest.raises(DialectError):
        decoded(b"data: " + data + b"\n\n")


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "id", "index", "name", "arguments", "function"]), inner)
    ),
    max_leaves=8,
)
_DELTAS = ("role", "content", "refusal", "reasoning", "reasoning_details", "tool_calls", "function_call", "audio")
_CHOICES = ("index", "delta", "finish_reason", "error", "usage", "message")
_TOPS = ("id", "choices", "usage", "error", "object")


@pytest.mark.req("CHAT-STREAM-019")
@given(
    st.lists(
        st.dictionaries(st.sampled_from(_DELTAS), _JUNK).map(chunk)
        | st.dictionaries(st.sampled_from(_CHOICES), _JUNK).map(lambda choice: {"choices": [choice]})
        | st.dictionaries(st.sampled_from(_TOPS), _JUNK),
        max_size=4,
    )
)
def test_whatever_a_provider_sends_gives_a_legal_stream_or_an_error_of_the_dialect(values: list[Any]) -> None:
    decoder = CODEC.decoder(MAKER)
    events: list[Event] = []
    for value in values:
        try:
            events += decoder.decode(event(value))
        except DialectError:
            continue
    meaning_of([*events, *decoder.decode(DONE)])


def test_recorded_streams_mean_what_they_say() -> None:
    for recording in filter(is_chat_stream, excerpt()):
        chunks = recording["response"]
        decoder = CODEC.decoder(MAKER)
        events = [one for each in split_events(rendered(chunks)) for one in decoder.decode(each)]
        assert decoder.done
        meant = meaning_of(events)
        said = [choice for one in chunks for choice in one["choices"]]
        words = "".join(choice["delta"].get("content") or "" for choice in said)
        assert "".join(run[1] for run in meant[0]["said"] if run[0] == "TextDelta") == words
        assert meant[0]["finish"] == [choice["finish_reason"] for choice in said if choice["finish_reason"]][-1]
        assert all(data_of(each) for each in split_events(rendered(chunks)))


@pytest.mark.parametrize("number", [-1, 2**31, 10**30, True, 1.0, "1"])
def test_a_number_that_nobody_counts_to_is_none(number: Any) -> None:
    call = {"index": number, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    choice = {"index": number, "delta": {"content": "a", "tool_calls": [call]}, "finish_reason": "stop"}
    events = CODEC.decoder(MAKER).decode(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    assert {event.choice for event in events if not isinstance(event, UsageReported | Failed)} == {0}
    assert {event.call for event in events if isinstance(event, ToolCallStarted)} == {0}
