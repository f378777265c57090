"""Speech as events, and between events and bare sound.

Events are `speech.audio.delta` with base64 in `audio`, and `speech.audio.done` with usage. Vendors have forms of their
own for streams; these pass as they came, and end with `[DONE]` or with their body.

Sources: the openai package 3.52.0, OpenAI's published OpenAPI document, the together package 3.1.1 (`stream`).
Checked: 2026-11-21.
"""

import base64
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from posthouse.core.errors import PosthouseError
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_text import Emitted
from posthouse.dialects.openai_errors import StreamError, decode_error, encode_error
from posthouse.dialects.openai_media_streams import Raw, Step
from posthouse.dialects.openai_usage import Count, usage_of

_DELTA: Final = "speech.audio.delta"
_LAST: Final = "speech.audio.done"


class _Event(Struct, gc=False):
    type: Any = None
    usage: Any = None
    error: Any = None
    message: Any = None


class _Tokens(Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None


_decode_event: Final = Decoder(_Event).decode
_encode: Final = msgspec.json.Encoder().encode


def usage_of_speech(payload: Any, request: ModelRequest) -> Usage | None:
    """What was told of an answer, and the characters that it was asked to speak; None where nothing sensible was
    told."""
    if not isinstance(payload, dict):
        return None
    read, spoken = 0, 0
    if "input_tokens" in payload or "output_tokens" in payload:
        try:
            told = msgspec.convert(payload, _Tokens)
        except (msgspec.ValidationError, RecursionError):
            return None
        if told.input_tokens is None and told.output_tokens is None:
            return None
        read, spoken = told.input_tokens or 0, told.output_tokens or 0
    else:
        found = usage_of(payload)
        if found is None:
            return None
        read, spoken = found.total_input, found.total_output
    characters = 0 if request.expected is None else request.expected.characters
    return Usage(input=read, audio_output=spoken, characters=characters)


class SpeechEvents:
    """Reads a stream of speech, for `MediaEvents`."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._usage: Usage | None = None
        self._ours = False  # it speaks as OpenAI does, so that its end must come
        self._ended = False

    def read(self, data: bytes, *, failed: bool) -> Step:
        try:
            event = _decode_event(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise DialectError("an event of the stream is no event of speech") from None
        error = decode_error(event.error)
        if error is None and (failed or event.type == "error"):
            error = StreamError(event.message if isinstance(event.message, str) else "the upstream reported an error")
        if error is not None:
            return Step(error=error)
        self._ours = self._ours or event.type == _DELTA
        if event.usage is not None:
            self._usage = usage_of_speech(event.usage, self._request) or self._usage
        if event.type != _LAST:
            return Step(content=True)
        self._ended = True
        return Step(ends=True, last=True)

    def usage(self) -> Usage | None:
        return self._usage

    def complete(self) -> bool:
        return self._ended or not self._ours


class Spoken:
    """Bare sound as events, for a client that asked for them and a provider that knows none."""

    def __init__(self) -> None:
        self._raw = Raw()
        self.committed = False
        self.done = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: StreamError | None = None
        self.id: str | None = None

    def feed(self, data: bytes) -> bytes:
        sound = self._raw.feed(data)
        self.committed = self._raw.committed
        return _delta(sound) if sound else b""

    def finish(self) -> bytes:
        self._raw.finish()
        self.done, self.finish_reason = self._raw.done, self._raw.finish_reason
        return b""

    def end(self, usage: Usage, estimated: bool) -> bytes:
        rest = self._raw.end(usage, estimated)
        told = {
            "input_tokens": usage.total_input,
            "output_tokens": usage.total_output,
            "total_tokens": usage.total,
        }
        return (_delta(rest) if rest else b"") + _event(_LAST, {"usage": told})

    def fail(self, error: PosthouseError) -> bytes:
        return b"data: " + encode_error(error) + b"\n\n"

    def emitted(self) -> Emitted:
        return Emitted("")


def _delta(sound: bytes) -> bytes:
    return _event(_DELTA, {"audio": base64.b64encode(sound).decode()})


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members}))
