"""What was heard: what was consumed for it, whole answers as JSON and as plain text, and streams of it.

JSON is {text, ...}, with `duration` and segments where details were asked for; `usage` is of tokens, or of `seconds`.
Plain text and subtitles tell nothing, but the last time of subtitles is nearly that of the sound. A stream is events
`transcript.text.delta`, `.segment` and `.done`, the last with usage; some servers send chunks in a form of their own,
which pass as they came, and end with `[DONE]` or with their body.

Sources: the openai package 3.52.0, OpenAI's published OpenAPI document, docs.mistral.ai (`prompt_audio_seconds`),
openrouter.ai/docs (`seconds`), vLLM's protocol.py (`transcription.chunk`). Checked: 2026-11-21.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import StreamError, decode_error
from posthouse.dialects.openai_media_streams import Step
from posthouse.dialects.openai_usage import usage_of
from posthouse.dialects.sse import data_of, split_events

_DELTA: Final = "transcript.text.delta"
_SEGMENT: Final = "transcript.text.segment"
_DONE: Final = "transcript.text.done"
_MOST_SECONDS: Final = 10_000_000
_TIME: Final = re.compile(rb"--> *(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[.,](\d{3})")
_ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class _Heard(Struct, gc=False):
    text: Any = None
    duration: Any = None
    usage: Any = None
    error: Any = None


class _Event(Struct, gc=False):
    type: Any = None
    delta: Any = None
    text: Any = None
    usage: Any = None
    error: Any = None
    message: Any = None


_decode_heard: Final = Decoder(_Heard).decode
_decode_event: Final = Decoder(_Event).decode
_decode_members: Final = Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class Transcript(Struct, frozen=True):
    """A whole answer. `milliseconds` is the time of the sound, where it told that; `usage` whatever it told."""

    whole: WholeReply
    milliseconds: int | None


def read_json(body: bytes) -> Transcript:
    """DialectError where it is no answer of this kind."""
    try:
        heard = _decode_heard(body)
    except _ERRORS:
        raise DialectError("the answer holds no transcript") from None
    error = decode_error(heard.error)
    if not isinstance(heard.text, str):
        return Transcript(WholeReply(None, None, error), None)
    usage = usage_of_sound(heard.usage)
    milliseconds = _milliseconds(heard.duration)
    if milliseconds is None and usage is not None:
        milliseconds = usage.audio_ms or None
    if usage is None and milliseconds is not None:
        usage = Usage(audio_ms=milliseconds)
    return Transcript(WholeReply(usage, "stop", error), milliseconds)


def read_text(body: bytes) -> Transcript:
    """Of plain text, whatever it is, or subtitles."""
    last = 0
    for found in _TIME.finditer(body):
        hours, minutes, seconds, thousandths = (int(part or b"0") for part in found.groups())
        last = max(last, ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths)
    return Transcript(WholeReply(None, "stop", None), last or None)


def usage_of_sound(payload: Any) -> Usage | None:
    """Tokens, of sound and of text, and time; None where nothing sensible was told."""
    if not isinstance(payload, dict):
        return None
    seconds = payload.get("seconds")
    spoken = _milliseconds(payload.get("prompt_audio_seconds") if seconds is None else seconds)
    if "input_tokens" in payload or "output_tokens" in payload:
        payload = {
            "prompt_tokens": payload.get("input_tokens"),
            "completion_tokens": payload.get("output_tokens"),
            "total_tokens": payload.get("total_tokens"),
            "prompt_tokens_details": payload.get("input_token_details") or payload.get("input_tokens_details"),
        }
    tokens = usage_of(payload)
    if tokens is None:
        return None if spoken is None else Usage(audio_ms=spoken)
    return tokens if spoken is None else msgspec.structs.replace(tokens, audio_ms=spoken)


def to_events(body: bytes) -> bytes:
    """A whole answer as JSON, that has been read, as the events of a stream."""
    members = _decode_members(body)
    told: dict[str, Any] = {name: members[name] for name in ("languages", "usage") if name in members}
    events: list[tuple[str, dict[str, Any]]] = [
        (_DELTA, {"delta": members["text"]}),
        (_DONE, {"text": members["text"], **told}),
    ]
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **rest})) for name, rest in events
    )


def collect(events: bytes) -> bytes:
    """One whole answer of all events of a stream that nobody asked for. DialectError where there is none in it."""
    said: list[str] = []
    for event in split_events(events):
        data = data_of(event)
        try:
            found = _decode_event(data) if data is not None and data.startswith(b"{") else None
        except _ERRORS:
            continue
        if found is None:
            continue
        if found.error is not None:
            return _encode({"error": found.error})
        if found.type == _DELTA and isinstance(found.delta, str):
            said.append(found.delta)
        if found.type == _DONE and isinstance(found.text, str):
            told = {} if found.usage is None else {"usage": found.usage}
            return _encode({"text": found.text, **told})
    if not said:
        raise DialectError("the stream held no transcript")
    return _encode({"text": "".join(said)})


class TranscriptEvents:
    """Reads a stream of what is heard, for `MediaEvents`."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._ours = False  # it speaks as OpenAI does, so that its end must come
        self._ended = False

    def read(self, data: bytes, *, failed: bool) -> Step:
        try:
            event = _decode_event(data)
        except _ERRORS:
            raise DialectError("an event of the stream is no event of a transcript") from None
        error = decode_error(event.error)
        if error is None and (failed or event.type == "error"):
            error = StreamError(event.message if isinstance(event.message, str) else "the upstream reported an error")
        if error is not None:
            return Step(error=error)
        self._ours = self._ours or event.type in (_DELTA, _SEGMENT)
        self._usage = usage_of_sound(event.usage) or self._usage
        if event.type != _DONE:
            return Step(content=True)
        self._ended = True
        return Step(content=True, ends=True, last=True)

    def usage(self) -> Usage | None:
        return self._usage

    def complete(self) -> bool:
        return self._ended or not self._ours


def _milliseconds(seconds: Any) -> int | None:
    """Some write a number as text."""
    if isinstance(seconds, str) and len(seconds) < 32:
        try:
            seconds = float(seconds)
        except ValueError:
            return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < _MOST_SECONDS:
        return None
    return round(seconds * 1000)
