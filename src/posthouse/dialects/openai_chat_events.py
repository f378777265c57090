"""Chunks of a chat stream to and from inner events.

A chunk may hold several events (a role, text and a finish reason at once), and an event becomes one chunk. Vendors'
ways of saying the same are known here; what makes a legal sequence of what they say is in openai_sequence.
"""

from typing import Any, Final, assert_never

import msgspec
from msgspec import Struct

from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from posthouse.core.items import ToolKind
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_details import StatedRun, entries, states_of, text_of, thoughts_of
from posthouse.dialects.openai_chat_items import arguments_text
from posthouse.dialects.openai_chat_parts import Json, text_in
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_finish import BROKEN
from posthouse.dialects.openai_sequence import MAX_NUMBER, UNSAID
from posthouse.dialects.openai_usage import at_tier, usage_of, usage_payload

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ENDED: Final = StreamError("the upstream ended the answer with an error")


class ChunkHead(Struct, frozen=True):
    """What every chunk of one answer repeats. `created` in seconds since the epoch."""

    id: str
    model: str
    created: int


def decode_chunk(data: bytes) -> Json:
    """The data of one SSE event as an object. DialectError where it is none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("an event of the stream is not a chunk") from None


def decode_event(data: bytes) -> tuple[Event, ...]:
    """The events in the data of one SSE event; none for [DONE]. DialectError where it is no chunk."""
    return () if data.lstrip().startswith(b"[DONE]") else events_of(decode_chunk(data))


def events_of(chunk: Json) -> tuple[Event, ...]:
    """The events that a chunk says. The number of a call is `UNSAID` where it says none, and so are id and name."""
    error = decode_error(chunk.get("error") or (chunk if chunk.get("object") == "error" else None))
    if error is not None:
        return (failed(error),)
    events: list[Event] = []
    choices = chunk.get("choices")
    usage = usage_of(chunk.get("usage"))
    for position, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            raise DialectError("a choice of the stream is not an object")
        index = choice.get("index")
        _decode_choice(events, choice, index if type(index) is int and 0 <= index < MAX_NUMBER else position)
        usage = usage or usage_of(choice.get("usage"))
    usage = at_tier(usage, chunk.get("service_tier"))
    if usage is not None:
        events.append(UsageReported(usage))
    return tuple(events)


def failed(error: StreamError) -> Failed:
    return Failed(error.message, error.type, error.code, error.param)


def _decode_choice(events: list[Event], choice: Json, index: int) -> None:
    finish = choice.get("finish_reason")
    if choice.get("error") or (isinstance(finish, str) and finish in BROKEN):
        events.append(failed(decode_error(choice.get("error")) or _ENDED))
        return
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        delta = choice.get("message")  # a whole answer, sent as the only event
    if isinstance(delta, dict):
        _decode_delta(events, delta, index)
    if isinstance(finish, str) and finish:
        events.append(Finished(finish, index))


def _decode_delta(events: list[Event], delta: Json, index: int) -> None:
    if isinstance(role := delta.get("role"), str) and role:
        events.append(Started(index, role))
    content = delta.get("content")
    states = _decode_reasoning(events, delta, index)
    if isinstance(content, str):
        if content:
            events.append(TextDelta(content, index))
    elif isinstance(content, list):
        _decode_parts(events, content, index)
    if isinstance(refusal := delta.get("refusal"), str) and refusal:
        events.append(RefusalDelta(refusal, index))
    if isinstance(audio := delta.get("audio"), dict):
        _decode_audio(events, audio, index)
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            events += states.pop(call.get("id"), ())
            _decode_call(events, call, index)
    if isinstance(old := delta.get("function_call"), dict):
        _decode_call(events, {"function": old, "index": 0}, index)


def _decode_parts(events: list[Event], parts: list[Any], index: int) -> None:
    for part in parts:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "text" and isinstance(text := part.get("text"), str) and text:
            events.append(TextDelta(text, index))
        elif part.get("type") == "thinking" and (thought := text_in(part.get("thinking"))):
            events.append(ReasoningDelta(thought, index))


def _decode_reasoning(events: list[Event], delta: Json, index: int) -> dict[Any, list[Event]]:
    """Adds what is thought; what stands before a call of the same delta is returned by the call's id."""
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    reasoning = reasoning if isinstance(reasoning, str) else ""
    details = delta.get("reasoning_details")
    states = states_of(details) if details else []
    if not states:
        if text := reasoning or text_of(details):
            events.append(ReasoningDelta(text, index))
        return {}
    if not reasoning:
        # The text beside a state has come before, piece by piece.
        events += [ReasoningState(state, index) for state in states]
        return {}
    calls = delta.get("tool_calls")
    names = {call.get("id") for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
    later: dict[Any, list[Event]] = {}
    for thought in thoughts_of(reasoning, details):
        into = later.setdefault(thought.call_id, []) if thought.call_id in names else events
        if thought.item.text:
            into.append(ReasoningDelta(thought.item.text, index))
        if thought.item.state is not None:
            into.append(ReasoningState(thought.item.state, index))
    return later


def _decode_audio(events: list[Event], audio: Json, index: int) -> None:
    data, transcript, name = audio.get("data"), audio.get("transcript"), audio.get("id")
    event = AudioDelta(
        data if isinstance(data, str) else "",
        transcript if isinstance(transcript, str) else "",
        name if isinstance(name, str) else None,
        index,
    )
    if event != AudioDelta(choice=index):  # the last says only when it expires
        events.append(event)


def _decode_call(events: list[Event], call: Json, choice: int) -> None:
    number = call.get("index")
    number = number if type(number) is int and 0 <= number < MAX_NUMBER else UNSAID
    custom = call.get("custom")
    kind: ToolKind = "custom" if isinstance(custom, dict) else "function"
    inner = custom if isinstance(custom, dict) else call.get("function")
    inner = inner if isinstance(inner, dict) else {}
    call_id, name = call.get("id"), inner.get("name")
    call_id = call_id if isinstance(call_id, str) else ""
    name = name if isinstance(name, str) else ""
    if call_id or name:
        events.append(ToolCallStarted(call_id, name, kind, number, choice))
    arguments = arguments_text(inner.get("input" if kind == "custom" else "arguments"))
    if arguments:
        events.append(ToolCallDelta(arguments, kind, number, choice))


def encode_event(event: Event, head: ChunkHead) -> bytes:
    """The data of one SSE event."""
    if isinstance(event, Failed):
        error = {"message": event.message, "type": event.type, "param": event.param, "code": event.code}
        return _encode({"error": error})
    if isinstance(event, UsageReported):
        return encode_chunk(head, [], {"usage": usage_payload(event.usage)})
    finish = event.reason if isinstance(event, Finished) else None
    return encode_chunk(head, [encode_choice(event.choice, delta_of(event), finish)], {})


def encode_choice(index: int, delta: Json, finish: str | None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def encode_chunk(head: ChunkHead, choices: list[Json], more: Json) -> bytes:
    chunk: Json = {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
    return _encode({**chunk, "choices": choices, **more})


def delta_of(event: Event) -> Json:  # noqa: PLR0911 (one for each member of the union)
    match event:
        case Started():
            return {"role": event.role, "content": ""}
        case TextDelta():
            return {"content": event.text}
        case RefusalDelta():
            return {"refusal": event.text}
        case ReasoningDelta():
            return {"reasoning_content": event.text}
        case ReasoningState():
            return {"reasoning_details": entries([StatedRun("", event.state)])}
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
