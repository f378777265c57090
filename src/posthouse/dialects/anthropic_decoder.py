"""A provider's stream of the Messages API to inner events.

An answer is a list of blocks, each begun, filled by deltas and ended, in turn. Usage is told at the start (input) and
at the end (all of it, as totals); only the end is reported, since a count of output from the start is no total of what
was streamed after it. What the API's own tools do has no inner event and is left out.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

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
from posthouse.core.items import OpaqueState
from posthouse.dialects.anthropic_errors import decode_error
from posthouse.dialects.anthropic_usage import UsageObject, finish_of, is_told, later, usage_object, usage_of
from posthouse.dialects.codec import Maker
from posthouse.dialects.errors import DialectError
from posthouse.dialects.sse import data_of, is_named_error

_MAX_OPEN: Final = 1024  # blocks at once; the API opens one at a time
_MAX_THOUGHT: Final = 16 << 20  # characters of one block of thinking
_NULL: Final = Raw(b"null")
_ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class _TextPiece(Struct, tag_field="type", tag="text_delta", gc=False):
    text: str


class _ThinkingPiece(Struct, tag_field="type", tag="thinking_delta", gc=False):
    thinking: str


class _SignaturePiece(Struct, tag_field="type", tag="signature_delta", gc=False):
    signature: str


class _InputPiece(Struct, tag_field="type", tag="input_json_delta", gc=False):
    partial_json: str


class _CitationPiece(Struct, tag_field="type", tag="citations_delta", gc=False):
    pass


class _CompactionPiece(Struct, tag_field="type", tag="compaction_delta", gc=False):
    pass


_Piece = _TextPiece | _ThinkingPiece | _SignaturePiece | _InputPiece | _CitationPiece | _CompactionPiece


class _Head(Struct, gc=False):
    id: str | None = None
    usage: Raw = _NULL


class _Start(Struct, tag_field="type", tag="message_start", gc=False):
    message: _Head


class _BlockStart(Struct, tag_field="type", tag="content_block_start", gc=False):
    index: int
    content_block: Raw


class _BlockDelta(Struct, tag_field="type", tag="content_block_delta", gc=False):
    index: int
    delta: _Piece


class _BlockStop(Struct, tag_field="type", tag="content_block_stop", gc=False):
    index: int


class _Outcome(Struct, gc=False):
    stop_reason: str | None = None


class _Delta(Struct, tag_field="type", tag="message_delta", gc=False):
    delta: _Outcome | None = None
    usage: Raw = _NULL


class _Stop(Struct, tag_field="type", tag="message_stop", gc=False):
    pass


class _Ping(Struct, tag_field="type", tag="ping", gc=False):
    pass


class _Error(Struct, tag_field="type", tag="error", gc=False):
    error: Any = None


_Known = _Start | _BlockStart | _BlockDelta | _BlockStop | _Delta | _Stop | _Ping | _Error


class _Block(Struct, gc=False):
    """The beginning of a block, of whatever type."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = _NULL


class _AnyDelta(Struct, gc=False):
    type: str


class _Any(Struct, gc=False):
    """An event of which only the type is known; `delta` where it is a piece of a block."""

    type: str
    delta: _AnyDelta | None = None


_decode_known: Final = Decoder(_Known).decode
_decode_any: Final = Decoder(_Any).decode
_decode_block: Final = Decoder(_Block).decode
_decode_value: Final = Decoder(Any).decode
_encode: Final = msgspec.json.Encoder().encode
_EVENTS: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    }
)
_PIECES: Final = frozenset(
    {"text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta", "compaction_delta"}
)


# Names under which something of ours is said; an event without a name may be anything.
_SAID: Final = _EVENTS - {"ping"} | {""}


class _Open:
    """A block that is not ended. `pieces` of thinking, None where they are too many; `call`: its number where it is a
    call of the client's tools; `whole`: input that stood at its beginning, until a delta comes."""

    __slots__ = ("call", "pieces", "room", "signature", "thinks", "whole")

    def __init__(self) -> None:
        self.thinks = False
        self.pieces: list[str] | None = []
        self.room = _MAX_THOUGHT
        self.signature = ""
        self.call: int | None = None
        self.whole: str | None = None

    def think(self, text: str) -> None:
        self.room -= len(text)
        if self.room < 0:
            self.pieces = None
        if self.pieces is not None:
            self.pieces.append(text)


class MessagesDecoder:
    """See `codec.StreamDecoder`."""

    __slots__ = ("_calls", "_failed", "_finished", "_maker", "_open", "_spoilt", "_started", "_usage", "done", "id")

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._open: dict[int, _Open] = {}
        self._calls = 0
        self._usage: UsageObject | None = None
        self._spoilt = False
        self._started = False
        self._finished = False
        self._failed = False
        self.done = False
        self.id: str | None = None

    def decode(self, event: bytes) -> Sequence[Event]:
        data = _data_of(event)
        if data is None or self.done or self._failed:
            return ()
        try:
            known = _decode_known(data)
        except _ERRORS:
            return self._odd(event, data)
        if type(known) is _BlockDelta:
            return self._piece(known.index, known.delta)
        return self._take(known)

    def finish(self) -> Sequence[Event]:
        return ()  # this dialect says its end itself

    def _take(self, known: _Known) -> Sequence[Event]:
        match known:
            case _Start(message=head):
                return self._begin(head)
            case _BlockStart(index=index, content_block=raw):
                return self._begin_block(index, raw)
            case _BlockStop(index=index):
                return self._end_block(index)
            case _Delta():
                return self._conclude(known)
            case _Stop():
                self.done = True
            case _Error(error=error):
                return self._fail(error)
            case _:
                pass
        return ()

    def _odd(self, event: bytes, data: bytes) -> Sequence[Event]:
        """An error that some proxy wrote, an event of a type that we do not know, or nothing of this dialect."""
        if is_named_error(event):
            return self._fail(_error_in(data))
        if data.lstrip().startswith(b"[DONE]") or _name_of(event) not in _SAID:
            return ()
        try:
            found = _decode_any(data)
        except _ERRORS:
            raise DialectError("an event of the stream is not of this dialect") from None
        unknown_piece = found.delta is not None and found.delta.type not in _PIECES
        if found.type not in _EVENTS or (found.type == "content_block_delta" and unknown_piece):
            return ()
        raise DialectError("an event of the stream is not what it calls itself")

    def _begin(self, head: _Head) -> Sequence[Event]:
        if self.id is None:
            self.id = head.id
            self._usage = usage_object(head.usage)
            self._spoilt = self._usage is None and is_told(head.usage)
        return self._with_start()

    def _with_start(self, *events: Event) -> Sequence[Event]:
        if self._started:
            return events
        self._started = True
        return (Started(), *events)

    def _begin_block(self, index: int, raw: Raw) -> Sequence[Event]:
        try:
            block = _decode_block(raw)
        except _ERRORS:
            raise DialectError("a block of the stream is not of this dialect") from None
        if len(self._open) >= _MAX_OPEN:
            raise DialectError("the stream does not end its blocks")
        opened = self._open[index] = _Open()
        match block.type:
            case "text":
                return self._with_start(TextDelta(block.text)) if block.text else ()
            case "thinking":
                opened.thinks = True
                opened.signature = block.signature or ""
                if not block.thinking:
                    return ()
                opened.think(block.thinking)
                return self._with_start(ReasoningDelta(block.thinking))
            case "redacted_thinking":
                return self._with_start(self._state(bytes(raw)))
            case "tool_use":
                opened.call = self._calls
                opened.whole = _text_of(block.input)
                self._calls += 1
                return self._with_start(ToolCallStarted(block.id or "", block.name or "", call=opened.call))
        return ()

    def _piece(self, index: int, piece: _Piece) -> Sequence[Event]:
        if type(piece) is _TextPiece:
            return self._with_start(TextDelta(piece.text)) if piece.text else ()
        opened = self._open.get(index)
        if opened is None:
            return ()
        match piece:
            case _ThinkingPiece(thinking=text) if text:
                opened.think(text)
                return self._with_start(ReasoningDelta(text))
            case _SignaturePiece(signature=signature):
                opened.signature = signature
            case _InputPiece(partial_json=text) if text and opened.call is not None:
                opened.whole = None
                return (ToolCallDelta(text, call=opened.call),)
            case _:
                pass
        return ()

    def _end_block(self, index: int) -> Sequence[Event]:
        opened = self._open.pop(index, None)
        if opened is None:
            return ()
        if opened.call is not None and opened.whole is not None:
            return (ToolCallDelta(opened.whole, call=opened.call),)
        if opened.thinks and opened.signature and opened.pieces is not None:
            text = "".join(opened.pieces)
            block = {"type": "thinking", "thinking": text, "signature": opened.signature}
            return self._with_start(self._state(_encode(block)))
        return ()

    def _state(self, payload: bytes) -> ReasoningState:
        maker = self._maker
        return ReasoningState(OpaqueState(maker.provider, maker.model, maker.account, payload))

    def _conclude(self, known: _Delta) -> Sequence[Event]:
        events: list[Event] = []
        reason = None if known.delta is None else known.delta.stop_reason
        if reason is not None and not self._finished:
            self._finished = True
            events.append(Finished(finish_of(reason)))
        reported = usage_object(known.usage)
        if reported is not None:
            self._usage = later(self._usage, reported)
            usage = usage_of(self._usage)
            # What was read is told at the start: where that is absurd, what was written is no half of a report.
            if usage is not None and not (self._spoilt and not reported.tells_input):
                events.append(UsageReported(usage))
        return self._with_start(*events)

    def _fail(self, error: Any) -> Sequence[Event]:
        self._failed = True
        found = decode_error(error)
        return (Failed(found.message, found.type, found.code, found.param),)


def _text_of(value: Raw) -> str:
    """The input at the beginning of a call; the API sends {} there, some vendors all of it."""
    return "{}" if value == _NULL else bytes(value).decode("utf-8", "replace")


def _name_of(event: bytes) -> str:
    names = [line[6:].strip() for line in event.splitlines() if line.startswith(b"event:")]
    return names[-1].decode("utf-8", "replace") if names else ""


def _error_in(data: bytes) -> Any:
    try:
        value = _decode_value(data)
    except _ERRORS:
        return None
    return (value.get("error") or value) if isinstance(value, dict) else value


def _data_of(event: bytes) -> bytes | None:
    """`data_of`, faster for what nearly every event is: one line with its name and one with its data."""
    if event.startswith(b"event: ") and event.endswith(b"\n\n") and b"\r" not in event:
        first = event.find(b"\n")
        if event.startswith(b"data: ", first + 1) and event.find(b"\n", first + 1) == len(event) - 2:
            return event[first + 7 : -2]
    return data_of(event)
