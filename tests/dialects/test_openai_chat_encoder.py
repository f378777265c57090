"""An answer on its way to a client, chunk by chunk."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types.chat import ChatCompletionChunk

from posthouse.core.errors import UpstreamFailure
from posthouse.core.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import OpaqueState, ReasoningItem
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Addressed, ReplyHead
from posthouse.dialects.opaque import seal
from posthouse.dialects.openai_chat import CODEC, DONE, collect
from posthouse.dialects.openai_chat_encoder import CHOICE, STREAM, ChoiceState, StreamState
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.inner import HEAD, MAKER, Without, meaning_of, streams
from tests.dialects.published import approve

_USAGE = Usage(input=5, cache_read=2, output=3, reasoning=1)
_ASKED = replace(HEAD, include_usage=True)
STATE = OpaqueState("p", "m", "a", b"secret")


def encoded(events: Iterable[Event], head: ReplyHead = HEAD) -> bytes:
    encoder = CODEC.encoder(head)
    return b"".join([*(encoder.encode(event) for event in events), encoder.close(_USAGE)])


def payloads(stream: bytes) -> list[Any]:
    """The data of a stream that ends with its mark, which is taken off."""
    *data, done = [data_of(one) or b"" for one in split_events(stream)]
    assert done == b"[DONE]"
    return [json.loads(one) for one in data]


def kind_of(chunk: Any) -> str:
    (choice,) = chunk["choices"]
    if choice["finish_reason"] is not None:
        assert choice["delta"] == {}
        return "finish"
    return "role" if "role" in choice["delta"] else "delta"


def follow(stream: bytes) -> tuple[StreamState, set[ChoiceState]]:
    """Walks a stream along the table of what may follow what; the states in which it and its choices end."""
    whole: StreamState = "choices"
    choices: dict[int, ChoiceState] = {}
    calls: dict[tuple[int, int], str] = {}
    for one in split_events(stream):
        data = data_of(one)
        assert data is not None
        if data == b"[DONE]":
            whole = STREAM[whole]["done"]
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            whole = STREAM[whole]["error"]
        elif not chunk["choices"]:
            assert chunk["usage"] is not None
            whole = STREAM[whole]["usage"]
        else:
            whole = STREAM[whole]["choice"]
            (choice,) = chunk["choices"]
            index = choice["index"]
            choices[index] = CHOICE[choices.get(index, "new")][kind_of(chunk)]
            for call in choice["delta"].get("tool_calls", ()):
                place = (index, call["index"])
                assert ("id" in call) == (place not in calls), "a call is named once, in its first piece"
                kind = call.get("type") or calls[place]
                calls[place] = kind
                assert kind in call
    return whole, set(choices.values())


# --- whatever legal events come ----------------------------------
@pytest.mark.req("CHAT-STREAM-020")
@given(streams(), st.booleans())
def test_every_stream_follows_the_table(events: list[Event], include_usage: bool) -> None:
    assert follow(encoded(events, _ASKED if include_usage else HEAD)) == ("over", {"ended"})


@pytest.mark.req("CHAT-STREAM-021")
@given(streams(), st.booleans())
def test_every_chunk_is_what_the_sdk_and_the_published_schema_describe(events: list[Event], asked: bool) -> None:
    for chunk in payloads(encoded(events, _ASKED if asked else HEAD)):
        for choice in chunk["choices"]:
            # Both know calls of functions only; the API sends those of custom tools the same way.
            calls = choice["delta"].get("tool_calls", [])
            choice["delta"]["tool_calls"] = [call for call in calls if "custom" not in call]
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
        approve(chunk, "CreateChatCompletionStreamResponse")


@pytest.mark.req("CHAT-STREAM-014", "CHAT-STATE-004")
@given(streams())
def test_a_stream_read_again_means_the_same(events: list[Event]) -> None:
    decoder = CODEC.decoder(MAKER)
    again = [one for each in split_events(encoded(events, _ASKED)) for one in decoder.decode(each)]
    assert decoder.done
    assert meaning_of(again) == meaning_of([*events, UsageReported(_USAGE)])


_ONE_ORDER: Without = frozenset({"audio", "choices"})


@pytest.mark.req("CHAT-STATE-005")
@given(streams(without=_ONE_ORDER))
def test_a_stream_that_a_client_has_collected_keeps_all_states_and_their_calls(events: list[Event]) -> None:
    message = json.loads(collect(encoded(events)))["choices"][0]["message"]
    body = json.dumps({"model": "m", "messages": [message]}, separators=(",", ":")).encode()
    items = CODEC.decode_request(body, Addressed("")).items
    meant = meaning_of(events)[0]["said"]
    found = [item.state for item in items if isinstance(item, ReasoningItem) and item.state is not None]
    assert Counter(found) == Counter(run[1] for run in meant if run[0] == "state")
    # What stood directly before a call stands there again; what is said takes the place of a call that has no id.
    told = [("state", item.state) if isinstance(item, ReasoningItem) else ("call", item) for item in items]
    assert not _before_calls(meant) - _before_calls([[kind, _name(one)] for kind, one in told])


def _name(one: Any) -> Any:
    return getattr(one, "call_id", one)


def _before_calls(runs: list[list[Any]]) -> Counter[Any]:
    """States and the ids of the calls that they stand before, with no more than other states between."""
    pairs: Counter[Any] = Counter()
    call = None
    for kind, one, *_ in reversed(runs):
        if kind == "call":
            call = one
        elif kind != "state":
            call = None
        elif call is not None:
            pairs[one, call] += 1
    return pairs


_ANY: list[Event] = [
    Started(),
    Started(1),
    TextDelta("a"),
    TextDelta("a", 1),
    ReasoningState(STATE),
    ReasoningDelta("h"),
    ToolCallStarted("c", "f"),
    ToolCallDelta("{"),
    ToolCallDelta("{", call=5),
    Finished("stop"),
    Finished("odd", 1),
    UsageReported(_USAGE),
    Failed("broke"),
]


@pytest.mark.req("CHAT-STREAM-020")
@given(st.lists(st.sampled_from(_ANY), max_size=12))
def test_illegal_events_make_no_illegal_stream(events: list[Event]) -> None:
    assert follow(encoded(events))[0] == "over"


# --- how it reads ------------------------------------------------
@pytest.mark.req("CHAT-STREAM-022")
def test_an_answer_reads_as_the_api_s() -> None:
    events: list[Event] = [Started(), TextDelta("a"), Finished("stop"), UsageReported(_USAGE)]
    head = {"id": "chatcmpl-abc", "object": "chat.completion.chunk", "created": HEAD.created, "model": "m"}

    def choice(delta: Any, finish: str | None = None) -> Any:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}

    assert payloads(encoded(events)) == [
        {**head, "choices": [choice({"role": "assistant", "content": ""})]},
        {**head, "choices": [choice({"content": "a"})]},
        {**head, "choices": [choice({}, "stop")]},
    ]
    *chunks, last = payloads(encoded(events, _ASKED))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11


def test_each_event_is_said_at_once_but_state() -> None:
    encoder = CODEC.encoder(HEAD)
    assert encoder.encode(Started())
    assert encoder.encode(TextDelta("a"))
    assert encoder.encode(ReasoningState(STATE)) == b""
    assert seal(STATE).encode() in encoder.encode(ToolCallStarted("c", "f"))
    assert encoder.encode(UsageReported(_USAGE)) == b""


@pytest.mark.req("CHAT-STATE-005")
def test_state_stands_with_its_text_and_its_call() -> None:
    events: list[Event] = [
        Started(),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningState(STATE),
        TextDelta("a"),
        ReasoningState(STATE),
        ToolCallStarted("c", "f"),
        Finished("tool_calls"),
    ]
    found = [chunk["choices"][0]["delta"].get("reasoning_details") for chunk in payloads(encoded(events))]
    sealed = {"type": "reasoning.encrypted", "data": seal(STATE), "format": "unknown"}
    assert [entries for entries in found if entries] == [
        [{"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}, {**sealed, "index": 1}],
        [{**sealed, "index": 2, "id": "c"}],
    ]


def test_reasons_and_roles_that_clients_do_not_know_become_those_that_they_do() -> None:
    events: list[Event] = [Started(0, "model"), Finished("pause_turn")]
    chunks = payloads(encoded(events))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"


def test_a_broken_stream_ends_with_an_error_and_nothing_more() -> None:
    encoder = CODEC.encoder(_ASKED)
    stream = encoder.encode(TextDelta("a")) + encoder.fail(UpstreamFailure("server", "It broke."))
    assert follow(stream) == ("over", {"open"})
    error = json.loads(data_of(split_events(stream)[-1]) or b"")
    assert error == {"error": {"message": "It broke.", "type": "upstream_error", "param": None, "code": None}}
    assert (
        encoder.encode(TextDelta("b")) == encoder.close(_USAGE) == encoder.fail(UpstreamFailure("server", "x")) == b""
    )


def test_an_answer_that_says_nothing_ends_all_the_same() -> None:
    assert encoded([]) == DONE
    encoder = CODEC.encoder(HEAD)
    assert encoder.close(_USAGE) == DONE
    assert encoder.close(_USAGE) == encoder.encode(TextDelta("a")) == b""


def test_the_table_is_closed() -> None:
    assert {after for kinds in CHOICE.values() for after in kinds.values()} <= CHOICE.keys()
    assert {after for kinds in STREAM.values() for after in kinds.values()} <= STREAM.keys()
    assert not CHOICE["ended"]
    assert not STREAM["over"]
