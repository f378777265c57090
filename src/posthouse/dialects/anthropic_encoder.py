"""Inner events to a client's stream of the Messages API, in which one block stands open at a time.

A call of a tool may get arguments until its JSON is whole, also while other calls have begun. What comes meanwhile and
belongs elsewhere waits in blocks of its own, and goes out when the call is whole, or when the answer is finished.
"""

import re
from collections import deque
from typing import Final

import msgspec

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
from posthouse.core.usage import Usage
from posthouse.dialects.anthropic_blocks import NO_STATE
from posthouse.dialects.anthropic_errors import error_event
from posthouse.dialects.anthropic_fields import Json
from posthouse.dialects.anthropic_parts import ToolIds
from posthouse.dialects.anthropic_usage import stop_reason_of, usage_payload
from posthouse.dialects.anthropic_whole import message
from posthouse.dialects.codec import ReplyHead
from posthouse.dialects.opaque import seal

# What may follow what. A ping or an error may stand anywhere; nothing follows an error.
FOLLOWS: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"message_start"}),
    "message_start": frozenset({"content_block_start", "message_delta"}),
    "content_block_start": frozenset({"content_block_delta", "content_block_stop"}),
    "content_block_delta": frozenset({"content_block_delta", "content_block_stop"}),
    "content_block_stop": frozenset({"content_block_start", "message_delta"}),
    "message_delta": frozenset({"message_stop"}),
    "message_stop": frozenset(),
    "error": frozenset(),
}
# What a block of each type is made of: its deltas, each with the member that it fills. A signature is the last.
DELTAS: Final[dict[str, dict[str, str]]] = {
    "text": {"text_delta": "text"},
    "thinking": {"thinking_delta": "thinking", "signature_delta": "signature"},
    "redacted_thinking": {},
    "tool_use": {"input_json_delta": "partial_json"},
}
_PIECE_OF: Final = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}

MAX_WAITING: Final = 8 << 20  # characters that wait for a call to become whole
_MARKS: Final = re.compile(r'\\.|\\\Z|["{}\[\]]', re.DOTALL)
_encode: Final = msgspec.json.Encoder().encode


class _Arguments:
    """What a call was given so far, as text that makes up a JSON object: a custom tool's input becomes `input`, what
    does not begin as an object `_raw`. `whole`: the object has ended."""

    def __init__(self, custom: bool) -> None:
        self._wrapped = custom
        self._begun = custom
        self._depth = 0
        self._inside = False  # of a string
        self._escaped = False
        self.whole = False
        self.opening = '{"input":"' if custom else ""

    def add(self, text: str) -> str:
        if not self._begun:
            if not text.strip():
                return ""
            self._begun = True
            self._wrapped = not text.lstrip().startswith("{")
            if self._wrapped:
                self.opening = '{"_raw":"'
        if self._wrapped:
            return self._take_opening() + _encode(text).decode()[1:-1]
        self._scan(text)
        return text

    def end(self) -> str:
        return self._take_opening() + '"}' if self._wrapped else ""

    def _take_opening(self) -> str:
        opening, self.opening = self.opening, ""
        return opening

    def _scan(self, text: str) -> None:
        start = 1 if self._escaped else 0
        self._escaped = False
        for match in _MARKS.finditer(text, start):
            mark = match[0]
            if mark == "\\":
                self._escaped = True  # it is the last character: what it escapes is still to come
            elif mark == '"':
                self._inside = not self._inside
            elif not self._inside and len(mark) == 1:
                self._depth += 1 if mark in "{[" else -1
        self.whole = self._depth <= 0 and not self._inside


class _Block:
    """`start` as the client sees it; `pieces` that wait while another block is open; `done`: nothing may be added."""

    __slots__ = ("arguments", "call", "done", "kind", "pieces", "signature", "start")

    def __init__(self, start: Json, call: ToolCallStarted | None = None) -> None:
        self.kind: str = start["type"]
        self.start = start
        self.pieces: list[str] = []
        self.signature: str | None = None
        self.done = self.kind == "redacted_thinking"
        self.call = None if call is None else call.call
        self.arguments = None if call is None else _Arguments(call.kind == "custom")


class MessagesEncoder:
    """See `codec.StreamEncoder`. Of several choices the first is told. A call whose arguments never become whole keeps
    the rest waiting; where that is more than MAX_WAITING, it is ended as it stands."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._at = ""
        self._out: list[bytes] = []
        self._index = -1
        self._open: _Block | None = None
        self._prefix = b""
        self._waiting: deque[_Block] = deque()
        self._held = 0
        self._calls: dict[int, _Block] = {}
        self._ids = ToolIds()
        self._usage: Usage | None = None
        self._finish = "stop"
        self._called = False
        self._refused = False

    def encode(self, event: Event) -> bytes:
        if isinstance(event, UsageReported):
            self._usage = event.usage
        elif not isinstance(event, Failed) and event.choice == 0:
            self._take(event)
        return self._taken()

    def close(self, usage: Usage) -> bytes:
        self._begin()
        self._end_blocks()
        reason = stop_reason_of(self._finish, called=self._called, refused=self._refused)
        self._write(
            "message_delta",
            {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage_payload(usage)},
        )
        self._write("message_stop", {})
        return self._taken()

    def fail(self, error: PosthouseError) -> bytes:
        self._at = "error"
        return error_event(error)

    def _take(self, event: Event) -> None:
        self._begin()
        match event:
            case TextDelta(text=text) | AudioDelta(transcript=text):
                self._say("text", text)
            case RefusalDelta(text=text):
                self._refused = True
                self._say("text", text)
            case ReasoningDelta(text=text):
                self._say("thinking", text)
            case ReasoningState():
                self._sign(seal(event.state))
            case ToolCallStarted():
                self._called = True
                start = {"type": "tool_use", "id": self._ids.new(event.call_id), "name": event.name, "input": {}}
                block = self._calls[event.call] = _Block(start, event)
                self._add(block)
            case ToolCallDelta(arguments=text, call=call):
                self._argue(self._calls.get(call), text)
            case Finished(reason=reason):
                self._finish = reason
                self._end_blocks()
            case Started() | UsageReported() | Failed():
                pass

    def _begin(self) -> None:
        if self._at == "":
            start = message(self._head)
            self._write("message_start", {"message": {**start, "usage": usage_payload(self._usage)}})

    def _say(self, kind: str, text: str) -> None:
        if not text:
            return
        block = self._last()
        if block is None or block.kind != kind or block.done:
            empty = {"text": ""} if kind == "text" else {"thinking": "", "signature": ""}
            block = _Block({"type": kind, **empty})
            self._add(block)
        self._fill(block, text)

    def _sign(self, signature: str) -> None:
        block = self._last()
        if block is None or block.kind != "thinking" or block.done:
            self._add(_Block({"type": "redacted_thinking", "data": signature}))
            return
        block.done = True
        if block is self._open:
            self._piece("signature_delta", signature)
        else:
            block.signature = signature

    def _argue(self, block: _Block | None, text: str) -> None:
        if block is None or block.arguments is None:
            return
        self._fill(block, block.arguments.add(text))
        if block is self._open and self._is_whole():
            self._advance()

    def _last(self) -> _Block | None:
        return self._waiting[-1] if self._waiting else self._open

    def _add(self, block: _Block) -> None:
        self._waiting.append(block)
        self._hold(len(_encode(block.start)))
        if self._is_whole():
            self._advance()

    def _fill(self, block: _Block, text: str) -> None:
        if block is self._open:
            if text:
                self._piece(_PIECE_OF[block.kind], text)
        else:
            block.pieces.append(text)
            self._hold(len(text))

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > MAX_WAITING:
            self._advance(force=True)

    def _is_whole(self) -> bool:
        """Whether the open block may be ended."""
        return self._open is None or self._open.arguments is None or self._open.arguments.whole

    def _advance(self, force: bool = False) -> None:
        """Ends blocks and opens those that wait, up to a call that is not whole (or, by `force`, up to the last)."""
        while self._waiting and (force or self._is_whole()):
            self._end_block()
            self._open_block(self._waiting.popleft())
        if not self._waiting:
            self._held = 0

    def _open_block(self, block: _Block) -> None:
        self._index += 1
        self._open = block
        self._write("content_block_start", {"index": self._index, "content_block": block.start})
        piece = _PIECE_OF.get(block.kind)
        if piece is not None:
            self._prefix = self._prefix_of(block.kind, piece)
            text = "".join(block.pieces)
            if text:
                self._piece(piece, text)
        if block.signature is not None:
            self._piece("signature_delta", block.signature)
        block.pieces = []

    def _end_block(self) -> None:
        block = self._open
        if block is None:
            return
        if block.kind == "thinking" and not block.done:
            self._piece("signature_delta", seal(NO_STATE))
        if block.arguments is not None:
            rest = block.arguments.end()
            if rest:
                self._piece("input_json_delta", rest)
        if block.call is not None and self._calls.get(block.call) is block:
            del self._calls[block.call]
        self._write("content_block_stop", {"index": self._index})
        self._open = None

    def _end_blocks(self) -> None:
        self._advance(force=True)
        self._end_block()

    def _prefix_of(self, kind: str, piece: str) -> bytes:
        member = DELTAS[kind][piece]
        return (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{"type":"{piece}","{member}":'
        ).encode()

    def _piece(self, piece: str, text: str) -> None:
        """A delta of the open block."""
        block = self._open
        if block is None or "content_block_delta" not in FOLLOWS[self._at]:
            return
        self._at = "content_block_delta"
        prefix = self._prefix if piece != "signature_delta" else self._prefix_of(block.kind, piece)
        self._out.append(prefix + _encode(text) + b"}}\n\n")

    def _write(self, name: str, members: Json) -> None:
        if name in FOLLOWS[self._at]:
            self._at = name
            data = _encode({"type": name, **members})
            self._out.append(b"event: " + name.encode() + b"\ndata: " + data + b"\n\n")

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out
