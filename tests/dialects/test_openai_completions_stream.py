"""Streams of completions, from a provider and to a client."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.errors import UpstreamFailure
from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_completions import CODEC, CompletionEncoder
from posthouse.dialects.openai_completions_stream import CHOICE, STREAM
from posthouse.dialects.sse import split_events
from tests.dialects.chunks import DONE, USAGE, event
from tests.dialects.completions import decode as request_of
from tests.dialects.completions import follow, parse, payloads
from tests.dialects.inner import HEAD, MAKER, Without, meaning_of, streams
from tests.dialects.recordings import everything, rendered

_USAGE = Usage(input=5, output=3)
_ASKED = replace(HEAD, include_usage=True)
_ECHOING = replace(HEAD, request=request_of(prompt="Once ", echo=True))
_WORDS_ONLY: Without = frozenset({"audio", "reasoning", "refusals", "states", "tools"})


def encoded(events: Iterable[Event], head: ReplyHead = HEAD) -> bytes:
    encoder = CODEC.encoder(head)
    return b"".join([*(encoder.encode(one) for one in events), encoder.close(_USAGE)])


def decoded(*events: bytes) -> list[Event]:
    decoder = CODEC.decoder(MAKER)
    found = [one for each in events for one in decoder.decode(each)]
    return found + list(decoder.finish())


def chunk(text: str | None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return event({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **more})


# --- to a client -------------------------------------------------
@pytest.mark.req("COMP-STREAM-001")
@given(streams(), st.sampled_from([HEAD, _ASKED, _ECHOING]))
def test_every_stream_follows_the_table(events: list[Event], head: ReplyHead) -> None:
    assert follow(encoded(events, head)) == ("over", {"ended"})


@pytest.mark.req("COMP-STREAM-002")
@given(streams(), st.sampled_from([HEAD, _ASKED, _ECHOING]))
def test_every_chunk_is_what_the_sdk_describes(events: list[Event], head: ReplyHead) -> None:
    for one in payloads(encoded(events, head)):
        parse(one)


@pytest.mark.req("COMP-STREAM-003")
@given(streams(without=_WORDS_ONLY))
def test_a_stream_read_again_means_the_same(events: list[Event]) -> None:
    again = decoded(*split_events(encoded(events, _ASKED)))
    assert meaning_of(again) == meaning_of([*events, UsageReported(_USAGE)])


def test_an_answer_reads_as_the_api_s() -> None:
    events: list[Event] = [Started(), TextDelta("a"), Finished("tool_calls"), UsageReported(_USAGE)]
    head = {"id": "cmpl-abc", "object": "text_completion", "created": HEAD.created, "model": "m"}
    assert payloads(encoded(events)) == [
        {**head, "choices": [{"text": "a", "index": 0, "logprobs": None, "finish_reason": None}]},
        {**head, "choices": [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}]},
    ]
    *chunks, last = payloads(encoded(events, _ASKED))
    assert all(one["usage"] is None for one in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 8


@pytest.mark.req("COMP-WHOLE-003")
def test_the_prompt_is_repeated_before_each_choice() -> None:
    events: list[Event] = [Started(), Started(1), TextDelta("upon"), TextDelta("there", 1), Finished("stop")]
    texts = ["", ""]
    for one in payloads(encoded(events, _ECHOING)):
        texts[one["choices"][0]["index"]] += one["choices"][0]["text"]
    assert texts == ["Once upon", "Once there"]


def test_only_words_are_an_answer() -> None:
    events: list[Event] = [
        ReasoningDelta("hm"),
        RefusalDelta("a"),
        AudioDelta(transcript="b"),
        AudioDelta("UklGRg=="),
        ToolCallStarted("c", "f"),
    ]
    assert [one["choices"][0]["text"] for one in payloads(encoded(events))] == ["a", "b"]


@pytest.mark.req("COMP-SPLIT-003")
def test_streams_of_several_prompts_are_one() -> None:
    encoders = [CompletionEncoder(_ASKED, first) for first in (0, 2)]
    out = b"".join(
        [
            encoders[1].encode(TextDelta("c")),
            encoders[0].encode(TextDelta("b", 1)),
            encoders[0].encode(Finished("stop", 1)),
            encoders[1].encode(Finished("stop")),
            encoders[1].close(_USAGE),
        ]
    )
    *chunks, last = payloads(out)
    assert [one["choices"][0]["index"] for one in chunks] == [2, 1, 1, 2]
    assert last["usage"] is not None


def test_a_broken_stream_ends_with_an_error_and_nothing_more() -> None:
    encoder = CODEC.encoder(_ASKED)
    stream = encoder.encode(TextDelta("a")) + encoder.fail(UpstreamFailure("server", "It broke."))
    assert follow(stream) == ("over", {"open"})
    assert (
        encoder.encode(TextDelta("b")) == encoder.close(_USAGE) == encoder.fail(UpstreamFailure("server", "x")) == b""
    )


_ANY: list[Event] = [
    Started(),
    TextDelta("a"),
    TextDelta("a", 1),
    Finished("stop"),
    Finished("odd", 1),
    UsageReported(_USAGE),
    Failed("broke"),
]


@pytest.mark.req("COMP-STREAM-001")
@given(st.lists(st.sampled_from(_ANY), max_size=8))
def test_illegal_events_make_no_illegal_stream(events: list[Event]) -> None:
    assert follow(encoded(events))[0] == "over"


def test_the_table_is_closed() -> None:
    assert {after for kinds in CHOICE.values() for after in kinds.values()} <= CHOICE.keys()
    assert {after for kinds in STREAM.values() for after in kinds.values()} <= STREAM.keys()


# --- from a provider ---------------------------------------------
@pytest.mark.req("COMP-STREAM-004")
def test_a_provider_s_stream_is_read() -> None:
    decoder = CODEC.decoder(MAKER)
    stream = [chunk("a"), chunk("b", "eos_token"), event({"choices": [], "usage": USAGE}), DONE]
    events = [one for each in stream for one in decoder.decode(each)]
    assert events == [
        Started(),
        TextDelta("a"),
        TextDelta("b"),
        UsageReported(Usage(input=5, output=3)),
        Finished("stop"),
    ]
    assert decoder.done
    assert decoder.id == "cmpl-1"


def test_choices_are_told_apart() -> None:
    assert meaning_of(decoded(chunk("a", index=1), chunk("b"), chunk("", "length", 1), chunk(None, "stop"), DONE)) == (
        meaning_of([Started(1), TextDelta("a", 1), Started(), TextDelta("b"), Finished("stop"), Finished("length", 1)])
    )


def test_a_stream_without_its_mark_ends_with_its_reason_or_not_at_all() -> None:
    assert decoded(chunk("a", "stop")) == [Started(), TextDelta("a"), Finished("stop")]
    assert decoded(chunk("a")) == [Started(), TextDelta("a")]


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "broke"}},
        {"object": "error", "message": "broke"},
        {"choices": [{"text": "", "error": "broke"}]},
    ],
)
def test_an_error_ends_the_stream(value: Any) -> None:
    assert decoded(chunk("a"), event(value), chunk("b", "stop"), DONE)[2:] == [Failed("broke")]
    assert isinstance(decoded(chunk("a", "error"))[-1], Failed)


@pytest.mark.parametrize("data", [b"junk", b"[]", b"\xff", b'{"choices":[5]}'])
def test_what_is_no_chunk_is_an_error_of_the_dialect(data: bytes) -> None:
    with pytest.raises(DialectError):
        decoded(b"data: " + data + b"\n\n")


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "index", "error"]), inner),
    max_leaves=6,
)
_MEMBERS = ("text", "index", "finish_reason", "error", "logprobs")


@pytest.mark.req("COMP-STREAM-005")
@given(
    st.lists(
        st.dictionaries(st.sampled_from(_MEMBERS), _JUNK).map(lambda choice: {"choices": [choice]})
        | st.dictionaries(st.sampled_from(["id", "choices", "usage", "error", "object"]), _JUNK),
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
    found = 0
    for recording in everything():
        chunks = recording["response"]
        if recording["endpoint"].endswith("/v1/completions") and recording["streaming"] and chunks:
            if chunks[0]["object"] != "text_completion":
                continue  # a server that was asked for something else
            found += 1
            meant = meaning_of(decoded(*split_events(rendered(chunks))))
            text = "".join(one["text"] for each in chunks for one in each["choices"])
            assert meant[0]["said"] == [["TextDelta", text]]
    assert found
