"""Streams of completions, from a provider and to a client.

`CHOICE` and `STREAM` say what may follow what, as in openai_chat_encoder: a choice says text, and last its reason; the
whole ends with usage, where the client asked for it, then [DONE]; or with an error at any point, and nothing more.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from posthouse.core.errors import PosthouseError
from posthouse.core.events import (
    AudioDelta,
    Event,
    Failed,
    Finished,
    RefusalDelta,
    TextDelta,
    UsageReported,
)
from posthouse.core.usage import Usage
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_decoder import ChatDecoder
from posthouse.dialects.openai_chat_events import failed
from posthouse.dialects.openai_chat_parts import Json
from posthouse.dialects.openai_completions_answers import ID_PREFIX, REASONS, echo_of
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error
from posthouse.dialects.openai_finish import BROKEN, written
from posthouse.dialects.openai_sequence import MAX_NUMBER
from posthouse.dialects.openai_usage import usage_of, usage_payload

ChoiceState = Literal["open", "ended"]
StreamState = Literal["choices", "counted", "over"]
CHOICE: Final[Mapping[ChoiceState, Mapping[str, ChoiceState]]] = {
    "open": {"text": "open", "finish": "ended"},
    "ended": {},
}
STREAM: Final[Mapping[StreamState, Mapping[str, StreamState]]] = {
    "choices": {"choice": "choices", "usage": "counted", "done": "over", "error": "over"},
    "counted": {"done": "over", "error": "over"},
    "over": {},
}
_DONE: Final = b"data: [DONE]\n\n"
_ENDED: Final = StreamError("the upstream ended the answer with an error")
_encode = msgspec.json.Encoder().encode


def events_of(chunk: Json) -> tuple[Event, ...]:
    """The events that a chunk says. DialectError where a choice is none."""
    error = decode_error(chunk.get("error") or (chunk if chunk.get("object") == "error" else None))
    if error is not None:
        return (failed(error),)
    events: list[Event] = []
    choices = chunk.get("choices")
    for position, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            raise DialectError("a choice of the stream is not an object")
        finish = choice.get("finish_reason")
        if choice.get("error") or (isinstance(finish, str) and finish in BROKEN):
            events.append(failed(decode_error(choice.get("error")) or _ENDED))
            break
        number = choice.get("index")
        number = number if type(number) is int and 0 <= number < MAX_NUMBER else position
        if isinstance(text := choice.get("text"), str) and text:
            events.append(TextDelta(text, number))
        if isinstance(finish, str) and finish:
            events.append(Finished(finish, number))
    usage = usage_of(chunk.get("usage"))
    if usage is not None:
        events.append(UsageReported(usage))
    return tuple(events)


class CompletionDecoder(ChatDecoder):
    """codec.StreamDecoder."""

    def events_of(self, chunk: Json) -> tuple[Event, ...]:
        return events_of(chunk)


class CompletionEncoder:
    """codec.StreamEncoder. `first` is the number of its first choice: where several prompts were asked one by one, each
    has an encoder, and only the last is closed, with the usage of all."""

    def __init__(self, head: ReplyHead, first: int = 0) -> None:
        self._head: Json = {
            "id": ID_PREFIX + head.id,
            "object": "text_completion",
            "created": head.created,
            "model": head.model,
        }
        # Where usage was asked for, every chunk before it says that it has none.
        self._more: Json = {"usage": None} if head.include_usage else {}
        self._include_usage = head.include_usage
        self._first = first
        self._echo = echo_of(head)
        self._state: StreamState = "choices"
        self._choices: dict[int, ChoiceState] = {}

    def encode(self, event: Event) -> bytes:
        if isinstance(event, UsageReported | Failed) or self._state != "choices":
            return b""
        chunks: list[bytes] = []
        if event.choice not in self._choices:
            self._choices[event.choice] = "open"
            if self._echo:
                self._say(chunks, "text", event.choice, self._echo, None)
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text) | AudioDelta(transcript=text):
                if text:
                    self._say(chunks, "text", event.choice, text, None)
            case Finished(reason=reason):
                self._say(chunks, "finish", event.choice, "", written(reason, REASONS))
            case _:
                pass  # thoughts and calls have no place
        return b"".join(chunks)

    def close(self, usage: Usage) -> bytes:
        if self._state == "over":
            return b""
        told = _event({**self._head, "choices": [], "usage": usage_payload(usage)}) if self._include_usage else b""
        self._state = "over"
        return told + _DONE

    def fail(self, error: PosthouseError) -> bytes:
        if self._state == "over":
            return b""
        self._state = "over"
        return b"data: " + encode_error(error) + b"\n\n"

    def _say(self, chunks: list[bytes], kind: str, choice: int, text: str, finish: str | None) -> None:
        """A chunk of this kind, where it is legal."""
        after = CHOICE[self._choices[choice]].get(kind)
        if after is None:
            return
        self._choices[choice] = after
        said = {"text": text, "index": self._first + choice, "logprobs": None, "finish_reason": finish}
        chunks.append(_event({**self._head, "choices": [said], **self._more}))


def usage_event(usage: Usage, head: ReplyHead, id: str | None) -> bytes:
    """What tells the usage of a stream that passes, where its provider does not. `id` is the provider's."""
    chunk = {"id": id or ID_PREFIX + head.id, "object": "text_completion", "created": head.created, "model": head.model}
    return _event({**chunk, "choices": [], "usage": usage_payload(usage)})


def _event(chunk: Json) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
