"""The text that a chat stream has shown so far, for counting tokens when an upstream reports none.

Kept lazily: whole blocks of events stay the bytes that were forwarded, and are decoded in bulk only when 128 pieces or
32 KiB have gathered, or when someone asks. A stream whose upstream reports usage is thus seldom decoded at all, and
2,000 open streams hold little.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from posthouse.dialects.sse import data_of, split_events

MAX_TEXT: Final = 4 << 20
_FOLD_PIECES: Final = 128
_FOLD_BYTES: Final = 32 << 10


class Emitted(Struct, frozen=True):
    """`text`: content, refusals, reasoning, names and arguments of tools, in order. `truncated`: there was more."""

    text: str
    truncated: bool = False


class Delta(Struct, gc=False):
    """What a client waits for in a delta. Vendors put lists and objects where OpenAI has text."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def has_content(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
            or self.reasoning_details
        )

    def text(self) -> str:
        content = self.content
        if type(content) is str and not (
            self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
            or self.audio
            or self.reasoning_details
        ):
            return content  # nearly every delta
        # Where a vendor sends the same reasoning twice, as text and as details, the details say nothing new.
        reasoning = self.reasoning_content or self.reasoning or self.reasoning_details
        parts = (reasoning, content, self.refusal, self.tool_calls, self.function_call, self.audio)
        return "".join([part if type(part) is str else text_of(part) for part in parts if part])


class _Choice(Struct, gc=False):
    delta: Delta | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None


_decode_chunks = Decoder(list[_Chunk]).decode
_decode_chunk = Decoder(_Chunk).decode
# Members of parts, tool calls and audio whose text costs tokens. Not `type`, `id`, `data` (base64 audio).
_TEXT_MEMBERS: Final = ("text", "thinking", "summary", "name", "arguments", "input", "transcript", "function", "custom")


def text_of(value: Any, depth: int = 4) -> str:
    """The text inside a part, a tool call or a list of them."""
    if isinstance(value, str):
        return value
    if depth == 0:
        return ""
    if isinstance(value, list):
        return "".join([text_of(item, depth - 1) for item in value])
    if isinstance(value, dict):
        return "".join([text_of(value[name], depth - 1) for name in _TEXT_MEMBERS if name in value])
    return ""


class EmittedText:
    """Gathers blocks of events and pieces of text in order, bounded by `MAX_TEXT` characters."""

    __slots__ = ("_folded", "_length", "_pending", "_pending_bytes", "_truncated")

    def __init__(self) -> None:
        self._pending: list[bytes | str] = []
        self._pending_bytes = 0
        self._folded: list[str] = []
        self._length = 0
        self._truncated = False

    def add(self, piece: bytes | str) -> None:
        """A block of whole events as bytes, or text that was decoded already."""
        if self._truncated or not piece:
            return
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes >= _FOLD_BYTES or len(self._pending) >= _FOLD_PIECES:
            self._fold()

    def get(self) -> Emitted:
        self._fold()
        return Emitted("".join(self._folded), self._truncated)

    def _fold(self) -> None:
        text = "".join([piece if isinstance(piece, str) else _text_of_block(piece) for piece in self._pending])
        self._pending.clear()
        self._pending_bytes = 0
        if self._length + len(text) > MAX_TEXT:
            text = text[: MAX_TEXT - self._length]
            self._truncated = True
        if text:
            self._folded.append(text)
            self._length += len(text)


def _text_of_block(block: bytes) -> str:
    # One decode for the whole block: 0.8 us an event instead of 2. A newline cannot stand inside JSON, so what is
    # replaced is never part of the data; whatever else the block holds (comments, CRLF) makes this fail, and the slow
    # way follows.
    if block.startswith(b"data: ") and block.endswith(b"\n\n"):
        try:
            chunks = _decode_chunks(b"[" + block[6:-2].replace(b"\n\ndata: ", b",") + b"]")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            chunks = None
        if chunks is not None:
            return "".join(
                [choice.delta.text() for chunk in chunks for choice in chunk.choices or () if choice.delta is not None]
            )
    return "".join([_text_of_event(event) for event in split_events(block)])


def _text_of_event(event: bytes) -> str:
    data = data_of(event)
    if data is None:
        return ""
    try:
        return _text_of_chunk(_decode_chunk(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""


def _text_of_chunk(chunk: _Chunk) -> str:
    return "".join([choice.delta.text() for choice in chunk.choices or () if choice.delta is not None])
