"""Chunks of a chat stream to and from inner events.

A chunk may hold several events (a role, text and a finish reason at once), and an event becomes one chunk.
"""

from typing import Any, assert_never

import msgspec
from msgspec import Struct

from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_items import Json
from posthouse.dialects.openai_errors import decode_error
from posthouse.dialects.openai_usage import usage_of, usage_payload

_encode = msgspec.json.Encoder().encode


class ChunkHead(Struct, frozen=True):
    """What every chunk of one answer repeats. `created` in seconds since the epoch."""

    id: str
    model: str
    created: int


def decode_event(data: bytes) -> tuple[Event, ...]:
    """The events in the data of one SSE event; none for [DONE]. DialectError where it is no chunk."""
    if data.lstrip().startswith(b"[DONE]"):
        return ()
    try:
        chunk: Any = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("an event of the stream is not a chunk") from None
    error = decode_error(chunk.get("error"))
    if error is not None:
        return (Failed(error.message, error.type, error.code, error.param),)
    events: list[Event] = []
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            raise DialectError("a choice of the stream is not an object")
        index = choice.get("index")
        _decode_choice(events, choice, index if isinstance(index, int) else 0)
    usage = usage_of(chunk.get("usage"))
    if usage is not None:
        events.append(UsageReported(usage))
    return tuple(events)


def _decode_choice(events: list[Event], choice: Json, index: int) -> None:
    error = decode_error(choice.get("error"))
    if error is not None:
        events.append(Failed(error.message, error.type, error.code, error.param))
        return
    delta = choice.get("delta")
    if isinstance(delta, dict):
        _decode_delta(events, delta, index)
    finish = choice.get("finish_reason")
    if isinstance(finish, str) and finish:
        events.append(Finished(finish, index))


def _decode_delta(events: list[Event], delta: Json, index: int) -> None:
    if isinstance(role := delta.get("role"), str):
        events.append(Started(index, role))
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        events.append(ReasoningDelta(reasoning, index))
    if isinstance(text := delta.get("content"), str) and text:
        events.append(TextDelta(text, index))
    if isinstance(refusal := delta.get("refusal"), str) and refusal:
        events.append(RefusalDelta(refusal, index))
    if isinstance(audio := delta.get("audio"), dict):
        events.append(AudioDelta(audio.get("data") or "", audio.get("transcript") or "", audio.get("id"), index))
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            _decode_call(events, call, index)


def _decode_call(events: list[Event], call: Json, choice: int) -> None:
    number = call.get("index")
    number = number if isinstance(number, int) else 0
    custom = call.get("custom")
    kind: Any = "custom" if isinstance(custom, dict) else "function"
    inner = custom if isinstance(custom, dict) else call.get("function")
    inner = inner if isinstance(inner, dict) else {}
    if isinstance(call_id := call.get("id"), str) and call_id:
        events.append(ToolCallStarted(call_id, str(inner.get("name") or ""), kind, number, choice))
    arguments = inner.get("input" if kind == "custom" else "arguments")
    if isinstance(arguments, str) and arguments:
        events.append(ToolCallDelta(arguments, kind, number, choice))


def encode_event(event: Event, head: ChunkHead) -> bytes:
    """The data of one SSE event."""
    if isinstance(event, Failed):
        error = {"message": event.message, "type": event.type, "param": event.param, "code": event.code}
        return _encode({"error": error})
    chunk: Json = {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
    if isinstance(event, UsageReported):
        return _encode({**chunk, "choices": [], "usage": usage_payload(event.usage)})
    finish = event.reason if isinstance(event, Finished) else None
    choice = {"index": event.choice, "delta": _delta(event), "logprobs": None, "finish_reason": finish}
    return _encode({**chunk, "choices": [choice]})


def _delta(event: Event) -> Json:  # noqa: PLR0911 (one for each member of the union)
    match event:
        case Started():
            return {"role": event.role}
        case TextDelta():
            return {"content": event.text}
        case RefusalDelta():
            return {"refusal": event.text}
        case ReasoningDelta():
            return {"reasoning_content": event.text}
        case ToolCallStarted():
            inner = {"name": event.name, "input" if event.kind == "custom" else "arguments": ""}
            call = {"index": event.call, "id": event.call_id, "type": event.kind, event.kind: inner}
            return {"tool_calls": [call]}
        case ToolCallDelta():
            inner = {"input" if event.kind == "custom" else "arguments": event.arguments}
            return {"tool_calls": [{"index": event.call, event.kind: inner}]}
        case AudioDelta():
            audio = {"id": event.id, "data": event.data, "transcript": event.transcript}
            return {"audio": {name: value for name, value in audio.items() if value}}
        case Finished() | UsageReported() | Failed():
            return {}
        case _:
            assert_never(event)
