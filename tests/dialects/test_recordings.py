"""Recorded answers of real upstreams through the observer and the collector: everything out equals everything in."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from posthouse.dialects.openai_chat import (
    ChatStream,
    collect,
    decode_head,
    encode_body,
    to_events,
    usage_of,
    whole_text,
    whole_usage,
)
from posthouse.dialects.openai_usage import at_tier
from posthouse.dialects.sse import data_of, split_events
from tests.dialects.recordings import everything, excerpt, is_chat_stream, is_whole_chat, rendered


def _chunks(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data_of(event) or b"") for event in split_events(stream)]


def _check_stream(recording: dict[str, Any]) -> None:
    chunks: list[dict[str, Any]] = recording["response"]
    stream = rendered(chunks)
    for size in (len(stream), 1400, 97):
        asked = ChatStream(include_usage=True)
        out = b"".join(asked.feed(stream[start : start + size]) for start in range(0, len(stream), size))
        assert _chunks(out) == chunks  # unknown members too
        assert asked.done
        assert asked.error is None
        reported = [
            at_tier(usage_of(chunk["usage"]), chunk.get("service_tier")) for chunk in chunks if chunk.get("usage")
        ]
        assert asked.usage == (reported[-1] if reported else None)
        finishes = [
            choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]
        ]
        assert asked.finish_reason == (finishes[-1] if finishes else None)
        unasked = ChatStream(include_usage=False)
        assert _chunks(unasked.feed(stream)) == [
            chunk for chunk in chunks if chunk["choices"] or not chunk.get("usage")
        ]
        assert unasked.usage == asked.usage
        assert asked.emitted().text == unasked.emitted().text == _shown(chunks)


def _shown(chunks: Iterable[dict[str, Any]]) -> str:
    shown = []
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        delta = choice["delta"]
        shown += [delta.get("reasoning") or "", delta.get("content") or "", delta.get("refusal") or ""]
        for call in delta.get("tool_calls") or ():
            shown += [call["function"].get("name") or "", call["function"].get("arguments") or ""]
    return "".join(shown)


def _check_collected(recording: dict[str, Any]) -> None:
    """The choices of the joined answer say what the chunks said."""
    chunks = recording["response"]
    whole = json.loads(collect(rendered(chunks)))
    for choice in whole["choices"]:
        deltas = [c["delta"] for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert (choice["message"]["content"] or "") == "".join(delta.get("content") or "" for delta in deltas)
        arguments = [call for delta in deltas for call in delta.get("tool_calls") or ()]
        for index, call in enumerate(choice["message"].get("tool_calls") or ()):
            pieces = [piece["function"]["arguments"] or "" for piece in arguments if piece["index"] == index]
            assert call["function"]["arguments"] == "".join(pieces)


def _check_whole(recording: dict[str, Any]) -> None:
    answer = recording["response"]
    body = json.dumps(answer).encode()
    reply = whole_usage(body)
    assert reply.usage == at_tier(usage_of(answer["usage"]), answer.get("service_tier"))
    assert reply.finish_reason == answer["choices"][0]["finish_reason"]
    assert whole_text(body).text.endswith(answer["choices"][0]["message"]["content"] or "")
    assert _without_nulls(json.loads(collect(to_events(body, include_usage=True)))) == _without_nulls(answer)


def _without_nulls(value: Any) -> Any:
    """Recordings hold absent members as null, and one upstream numbers the calls of a whole answer."""
    if isinstance(value, dict):
        kept = {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
        if "function" in kept:
            kept.pop("index", None)
        return kept
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _check(recordings: Iterable[dict[str, Any]]) -> tuple[int, int]:
    streams = wholes = 0
    for recording in recordings:
        if is_chat_stream(recording):
            _check_stream(recording)
            _check_collected(recording)
            streams += 1
        elif is_whole_chat(recording):
            _check_whole(recording)
            wholes += 1
        request = recording["request"]
        if recording["endpoint"].endswith("/chat/completions") and request.get("messages"):
            assert json.loads(encode_body(decode_head(json.dumps(request).encode()).fields)) == request
    return streams, wholes


@pytest.mark.req("CHAT-STREAM-012", "CHAT-WHOLE-002", "CHAT-WHOLE-003")
def test_the_excerpt_comes_out_as_it_went_in() -> None:
    streams, wholes = _check(excerpt())
    assert streams >= 6
    assert wholes >= 3


@pytest.mark.req("CHAT-STREAM-012", "CHAT-WHOLE-002", "CHAT-WHOLE-003")
def test_all_recordings_come_out_as_they_went_in() -> None:
    streams, wholes = _check(everything())
    assert streams > 800
    assert wholes > 800
