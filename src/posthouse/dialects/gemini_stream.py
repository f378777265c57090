"""Streams of gemini to and from inner events.

Each event is a GenerateContentResponse with what is new. There is no end mark: a stream is whole where every candidate
came to a finishReason. It stands on the last chunk; where a model says more after it, as early ones did on every chunk,
the last word on the end is given by `finish`. A call comes whole, in one part.

What our own streams hold, as `FOLLOWS` and `PARTS` say, is what google-genai 3.4 reads: every chunk has candidates, and
every candidate a content with parts, or its chats keep nothing of the answer; the last one has finish reasons and
usage. Events have no names, and there are no comments: it takes a line that is no data for the beginning of an error,
so that `HEARTBEAT` is a blank line.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import PosthouseError
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
from posthouse.core.items import OpaqueState, ToolCallItem, ToolKind
from posthouse.core.usage import Usage
from posthouse.dialects.codec import Maker, ReplyHead
from posthouse.dialects.errors import DialectError
from posthouse.dialects.gemini_errors import encode_error, error_in
from posthouse.dialects.gemini_fields import ERRORS, NULL, Json
from posthouse.dialects.gemini_parts import encode_call, sealed
from posthouse.dialects.gemini_response import finish_of, made_up_ids, reason_of
from posthouse.dialects.gemini_usage import usage_in, usage_payload
from posthouse.dialects.sse import data_of

Kind = Literal["begin", "content", "last", "error"]
# What may follow what. `last` holds a finishReason for every candidate and the usage; nothing follows it, nor an error.
FOLLOWS: Final[dict[Kind, frozenset[Kind]]] = {
    "begin": frozenset({"content", "last", "error"}),
    "content": frozenset({"content", "last", "error"}),
    "last": frozenset(),
    "error": frozenset(),
}
# What a part may hold, besides `thoughtSignature`: exactly one of these sets of members.
PARTS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"text"}),
    frozenset({"text", "thought"}),
    frozenset({"functionCall"}),
    frozenset({"inlineData"}),
)

HEARTBEAT: Final = b"\n\n"
MAX_CHOICES: Final = 128
_OVERHEAD: Final = 64  # what a call counts for besides its text
MAX_HELD: Final = 8 << 20  # characters in the calls of one stream, which are kept until they are whole

_encode = msgspec.json.Encoder().encode


# --- from a provider ---------------------------------------------
class _Call(Struct, rename="camel", gc=False):
    id: str | None = None
    name: str | None = None
    args: Raw = NULL
    will_continue: bool | None = None


class _Blob(Struct, rename="camel", gc=False):
    mime_type: str | None = None
    data: str = ""


class _Part(Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None
    inline_data: _Blob | None = None


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Chunk(Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    usage_metadata: Raw = NULL
    response_id: str | None = None
    prompt_feedback: dict[str, Any] | None = None
    error: Any = None


_decode_chunk = Decoder(_Chunk).decode


class _Choice:
    """What is known of one candidate. `calls` so far; `reason`: its last finishReason; `told`: how it ended, as far as
    that was given out."""

    __slots__ = ("calls", "reason", "told")

    def __init__(self) -> None:
        self.calls = 0
        self.reason: str | None = None
        self.told: str | None = None


class GeminiDecoder:
    """See `codec.StreamDecoder`. `done` is never true: the end of the body ends the stream."""

    __slots__ = ("_choices", "_made_up", "_maker", "done", "id")

    def __init__(self, maker: Maker) -> None:
        self.done = False
        self.id: str | None = None
        self._maker = maker
        self._choices: dict[int, _Choice] = {}
        self._made_up = ""

    def decode(self, event: bytes) -> list[Event]:
        data = data_of(event)
        if data is None:
            return _stray(event)
        try:
            chunk = _decode_chunk(data)
        except ERRORS:
            return _odd(data)
        if chunk.error:
            return _odd(data)
        if self.id is None:
            self.id = chunk.response_id
        events: list[Event] = []
        for candidate in chunk.candidates or ():
            self._decode_candidate(events, candidate, data)
        if not self._choices and chunk.prompt_feedback and chunk.prompt_feedback.get("blockReason"):
            self._end(events, self._choice(events, 0), "SAFETY", 0)
        if chunk.usage_metadata is not NULL and (usage := usage_in(chunk.usage_metadata)) is not None:
            events.append(UsageReported(usage))
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = []
        for index, choice in self._choices.items():
            if choice.reason is not None:
                choice_reason, choice.reason = choice.reason, None
                self._end(events, choice, choice_reason, index)
        return events

    def _end(self, events: list[Event], choice: _Choice, reason: str, index: int) -> None:
        finish = finish_of(reason, choice.calls > 0)
        if finish is not None and finish != choice.told:
            choice.told = finish
            events.append(Finished(finish, index))

    def _choice(self, events: list[Event], index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            if len(self._choices) >= MAX_CHOICES or index < 0:
                raise DialectError("the stream has a candidate too many")
            self._choices[index] = choice = _Choice()
            events.append(Started(index))
        return choice

    def _decode_candidate(self, events: list[Event], candidate: _Candidate, data: bytes) -> None:
        index = candidate.index or 0
        choice = self._choice(events, index)
        content = candidate.content
        for part in (content.parts if content is not None else None) or ():
            if part.thought_signature:
                maker = self._maker
                payload = part.thought_signature.encode()
                state = OpaqueState(maker.provider, maker.model, maker.account, payload)
                events.append(ReasoningState(state, index))
            if part.text:
                events.append(ReasoningDelta(part.text, index) if part.thought else TextDelta(part.text, index))
            elif part.function_call is not None:
                self._decode_call(events, part.function_call, index, data)
            elif part.inline_data is not None and (part.inline_data.mime_type or "").startswith("audio/"):
                events.append(AudioDelta(data=part.inline_data.data, choice=index))
        if candidate.finish_reason:
            if choice.reason is None:
                self._end(events, choice, candidate.finish_reason, index)
            choice.reason = candidate.finish_reason

    def _decode_call(self, events: list[Event], call: _Call, index: int, data: bytes) -> None:
        if not call.name:
            return  # a piece of arguments, which only come where a request asked for them
        choice = self._choices[index]
        number = choice.calls
        choice.calls += 1
        call_id = call.id
        if not call_id:
            self._made_up = self._made_up or made_up_ids((self.id or "").encode() or data)
            call_id = f"{self._made_up}{index}_{number}" if index else f"{self._made_up}{number + 1}"
        events.append(ToolCallStarted(call_id, call.name, "function", number, index))
        if call.args != NULL:
            events.append(ToolCallDelta(_text_of(call.args), "function", number, index))
        elif not call.will_continue:
            events.append(ToolCallDelta("{}", "function", number, index))


def _text_of(arguments: Raw) -> str:
    try:
        return bytes(arguments).decode()
    except UnicodeError:
        raise DialectError("the arguments of a call are not UTF-8") from None


def _stray(event: bytes) -> list[Event]:
    """An error that was not wrapped in an event begins with a brace; whatever else is no data is a comment."""
    text = event.lstrip()
    error = error_in(text) if text.startswith((b"{", b"[")) else None
    return [] if error is None else [Failed(error.message, error.type, error.code)]


def _odd(data: bytes) -> list[Event]:
    if not data.strip() or data.lstrip().startswith(b"[DONE]"):
        return []  # what some proxies add
    if (error := error_in(data)) is not None:
        return [Failed(error.message, error.type, error.code)]
    raise DialectError("an event of the stream is no GenerateContentResponse")


# --- to a client -------------------------------------------------
class _Held(Struct, gc=False):
    """A call whose arguments are still coming, and the signature that its part will bear."""

    call_id: str
    name: str
    kind: ToolKind
    arguments: list[str]
    signature: str | None


class _Candidacy:
    """One choice on its way out. `signature` waits for the part that it goes on."""

    __slots__ = ("finish", "held", "signature")

    def __init__(self) -> None:
        self.finish: str | None = None
        self.held: dict[int, _Held] = {}
        self.signature: str | None = None


class GeminiEncoder:
    """See `codec.StreamEncoder`. DialectError where the calls of a stream come to more than `MAX_HELD` characters."""

    __slots__ = ("_choices", "_head", "_room")

    def __init__(self, head: ReplyHead) -> None:
        self._head = {"modelVersion": head.model, "responseId": head.id}
        self._choices: dict[int, _Candidacy] = {}
        self._room = MAX_HELD

    def encode(self, event: Event) -> bytes:
        if isinstance(event, UsageReported | Failed):
            return b""
        choice = self._choices.get(event.choice)
        if choice is None:
            if len(self._choices) >= MAX_CHOICES:
                raise DialectError("the stream has a choice too many")
            self._choices[event.choice] = choice = _Candidacy()
        if isinstance(event, ToolCallStarted):
            self._take(len(event.name) + len(event.call_id) + _OVERHEAD)
            held = choice.held.pop(event.call, None)
            signature, choice.signature = choice.signature, None
            choice.held[event.call] = _Held(event.call_id, event.name, event.kind, [], signature)
            return b"" if held is None else self._chunk(event.choice, [_call_part(held)])
        if isinstance(event, ToolCallDelta):
            self._take(len(event.arguments))
            if (held := choice.held.get(event.call)) is not None:
                held.arguments.append(event.arguments)
            return b""
        return self._encode_rest(event, choice)

    def close(self, usage: Usage) -> bytes:
        """One chunk with the calls that came last, every finish reason and the usage. google-genai 1 looks for calls in
        the last chunk only, where the API has them."""
        last: list[Json] = []
        for index, choice in sorted(self._choices.items()) or [(0, _Candidacy())]:
            parts = self._release(choice)
            if choice.signature is not None or not parts:
                parts.append(_signed({"text": ""}, choice))
            candidate: Json = {"content": {"parts": parts, "role": "model"}}
            if choice.finish is not None:
                candidate["finishReason"] = reason_of(choice.finish)
            last.append({**candidate, "index": index})
        body = {"candidates": last, "usageMetadata": usage_payload(usage), **self._head}
        return b"data: " + _encode(body) + b"\n\n"

    def fail(self, error: PosthouseError) -> bytes:
        return b"data: " + encode_error(error) + b"\n\n"

    def _encode_rest(
        self,
        event: Started | TextDelta | RefusalDelta | ReasoningDelta | ReasoningState | AudioDelta | Finished,
        choice: _Candidacy,
    ) -> bytes:
        parts = [] if isinstance(event, Finished) else self._release(choice)
        match event:
            case ReasoningState(state):
                if choice.signature is not None:  # two in a row: the first stands on an empty text
                    parts.append(_signed({"text": ""}, choice))
                choice.signature = sealed(state)
            case TextDelta(text) | RefusalDelta(text) if text:
                parts.append(_signed({"text": text}, choice))
            case ReasoningDelta(text) if text:
                parts.append(_signed({"text": text, "thought": True}, choice))
            case AudioDelta(data, transcript):
                if transcript:
                    parts.append(_signed({"text": transcript}, choice))
                if data:
                    parts.append(_signed({"inlineData": {"mimeType": _SPEECH, "data": data}}, choice))
            case Finished(reason):
                choice.finish = reason
            case _:
                pass  # a beginning, or nothing new
        return self._chunk(event.choice, parts) if parts else b""

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise DialectError("the arguments of a call are too large")

    def _release(self, choice: _Candidacy) -> list[Json]:
        """Calls that are whole, as nothing more comes of them once something else does."""
        if not choice.held:
            return []
        parts = [_call_part(held) for held in choice.held.values()]
        choice.held.clear()
        return parts

    def _chunk(self, index: int, parts: list[Json]) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": index}
        return b"data: " + _encode({"candidates": [candidate], **self._head}) + b"\n\n"


# Speech streams as 16-bit samples at 24 kHz in every dialect that has it; gemini's own answers call it so.
_SPEECH: Final = "audio/L16;codec=pcm;rate=24000"


def _signed(part: Json, choice: _Candidacy) -> Json:
    if choice.signature is not None:
        part["thoughtSignature"], choice.signature = choice.signature, None
    return part


def _call_part(held: _Held) -> Json:
    part = encode_call(ToolCallItem(held.call_id, held.name, "".join(held.arguments), held.kind))
    if held.signature is not None:
        part["thoughtSignature"] = held.signature
    return part
