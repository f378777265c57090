"""One attempt at pictures, sound, a transcript, a judgement or ranks: what the provider's answer is, and what the
client is told.

Above: `call.py`. Below: the dialect's `openai_media_*`. The bytes pass; what they consumed is read beside them. What
providers do though they should not is put right: an error inside a 200, a whole answer where a stream was asked for, a
stream where none was, bare sound where events were asked for.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.sound import sound_ms
from posthouse.dialects import openai_media_hearing as hearing
from posthouse.dialects import openai_media_images as images
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_media_forms import HEARD, heard
from posthouse.dialects.openai_media_forms import wants_events as wants_transcript_events
from posthouse.dialects.openai_media_heads import wants_events
from posthouse.dialects.openai_media_ranks import read_moderation, read_ranks
from posthouse.dialects.openai_media_speech import SpeechEvents, Spoken
from posthouse.dialects.openai_media_streams import MediaEvents, Raw, Reader
from posthouse.dialects.streams import AnswerStream
from posthouse.providers.complaints import complaint_of
from posthouse.providers.prepare import Prepared
from posthouse.providers.reply import (
    ANSWER_LIMIT,
    Reply,
    content_type,
    failure_in,
    is_event_stream,
    is_json,
    opening_of,
)
from posthouse.upstream.model import UpstreamResponse

IMAGES: Final[tuple[Operation, ...]] = ("images.generations", "images.edits", "images.variations")
_READ: Final[Mapping[Operation, Callable[[bytes, ModelRequest], WholeReply]]] = {
    **dict.fromkeys(IMAGES, images.read_whole),
    "moderations": read_moderation,
    "rerank": read_ranks,
}
_NOTHING: Final = "The provider's answer holds nothing of what was asked for."
_NO_SOUND: Final = "The provider's answer is no sound."
_NO_TRANSCRIPT: Final = "The provider's answer is no transcript."
_PLAIN: Final = frozenset({"text", "srt", "vtt"})  # forms of a transcript that are no JSON
_TEXTS: Final = frozenset({b"text/plain", b"text/vtt", b"text/srt", b"application/x-subrip"})
_TEXT: Final = b"text/plain; charset=utf-8"
_COMPLAINT_LIMIT: Final = 1 << 20
_SOUND: Final = (b"audio/", b"video/", b"application/octet-stream", b"application/ogg")
_LONGEST_TYPE: Final = 100
_encode: Final = msgspec.json.Encoder().encode


class Medium:
    """The answer to a request of `core.requests.MEDIA`."""

    def __init__(self, prepared: Prepared, request: ModelRequest) -> None:
        self._account = prepared.deployment.account
        self._asked = request

    async def reply(self, response: UpstreamResponse) -> Reply:
        """Raises UpstreamFailure, DialectError. The status was a success."""
        if self._asked.operation == "audio.speech":
            return await self._speech(response)
        if self._asked.operation in HEARD:
            return await self._heard(response)
        if self._asked.operation in IMAGES and self._asked.stream:
            return await self._pictures(response)
        return await self._whole(response)

    async def _whole(self, response: UpstreamResponse) -> Reply:
        body = await response.read(ANSWER_LIMIT)
        response.close()
        if self._asked.operation in IMAGES and is_event_stream(response):
            body = images.collect(body, int(time.time()))
        whole = self._read(response, body)
        if self._asked.operation in IMAGES:
            body = images.put_right(body, int(time.time()))
        return Reply(_now(), body=body, whole=whole)

    def _read(self, response: UpstreamResponse, body: bytes) -> WholeReply:
        whole = _READ[self._asked.operation](body, self._asked)
        bare = whole.finish_reason is None
        if whole.error is not None or (bare and complaint_of(body) is not None):
            raise failure_in(self._account, response, body)
        if bare:
            raise UpstreamFailure("server", _NOTHING)
        return whole

    # Streams

    async def _pictures(self, response: UpstreamResponse) -> Reply:
        reader = images.PictureEvents(self._asked)
        if is_event_stream(response):
            return await self._events(reader, response)
        body = await response.read(ANSWER_LIMIT)
        response.close()
        self._read(response, body)
        stream = MediaEvents(reader)
        first = stream.feed(images.to_events(body, self._asked, int(time.time()))) + stream.finish()
        return Reply(_now(), stream=stream, first=first, response=response)

    async def _events(self, reader: Reader, response: UpstreamResponse) -> Reply:
        stream = MediaEvents(reader)
        first = await opening_of(stream, response, self._account)
        return Reply(_now(), stream=stream, first=first, response=response)

    async def _heard(self, response: UpstreamResponse) -> Reply:
        """All of a form has come by now, so that it is known what was asked for, and how large its file was."""
        asked, upload = self._asked, self._asked.upload
        assert upload is not None and asked.expected is not None
        asked.stream = wants_transcript_events(upload)
        asked.expected = heard(sound_ms(upload.opening, upload.file_bytes), asked.expected.input)
        if asked.stream and is_event_stream(response):
            return await self._events(hearing.TranscriptEvents(), response)
        kind = content_type(response)
        body = await response.read(ANSWER_LIMIT)
        response.close()
        plain = (upload.field("response_format") or "").strip().lower() in _PLAIN
        if is_event_stream(response):
            body = hearing.collect(body)
        elif kind.startswith(b"text/html"):
            raise UpstreamFailure("server", _NO_TRANSCRIPT)
        elif plain or not is_json(response):
            return self._as_text(response, body, kind)
        found = self._transcript(response, body)
        return self._written(response, body) if asked.stream else Reply(_now(), body=body, whole=found)

    def _written(self, response: UpstreamResponse, body: bytes) -> Reply:
        """A whole answer, that has been read, where a stream was asked for."""
        stream = MediaEvents(hearing.TranscriptEvents())
        first = stream.feed(hearing.to_events(body)) + stream.finish()
        return Reply(_now(), stream=stream, first=first, response=response)

    def _as_text(self, response: UpstreamResponse, body: bytes, kind: bytes) -> Reply:
        if body[:64].lstrip().startswith(b"{") and complaint_of(body) is not None:
            raise failure_in(self._account, response, body)
        found = hearing.read_text(body)
        self._note_time(found)
        if self._asked.stream:
            return self._written(response, _encode({"text": body.decode("utf-8", "replace")}))
        shown = kind if kind.partition(b";")[0].strip() in _TEXTS and len(kind) <= _LONGEST_TYPE else _TEXT
        return Reply(_now(), body=body, whole=found.whole, kind=b"content-type: %b\r\n" % shown)

    def _transcript(self, response: UpstreamResponse, body: bytes) -> WholeReply:
        found = hearing.read_json(body)
        bare = found.whole.finish_reason is None
        if found.whole.error is not None or (bare and complaint_of(body) is not None):
            raise failure_in(self._account, response, body)
        if bare:
            raise UpstreamFailure("server", _NO_TRANSCRIPT)
        self._note_time(found)
        return found.whole

    def _note_time(self, found: hearing.Transcript) -> None:
        """What is charged where no usage is told, or none that its price is for."""
        assert self._asked.expected is not None
        if found.milliseconds is not None:
            self._asked.expected = heard(found.milliseconds, self._asked.expected.input)

    async def _speech(self, response: UpstreamResponse) -> Reply:
        if is_event_stream(response):
            return await self._events(SpeechEvents(self._asked), response)
        kind = content_type(response)
        if is_json(response) or kind.startswith(b"text/"):
            body = await response.read(_COMPLAINT_LIMIT)
            raise failure_in(self._account, response, body) if complaint_of(body) else _no_sound()
        stream: AnswerStream = Spoken() if wants_events(self._asked) else Raw()
        first = await opening_of(stream, response, self._account)
        reply = Reply(_now(), stream=stream, first=first, response=response)
        if not wants_events(self._asked):
            reply.kind = _shown(kind)
        return reply


def _shown(kind: bytes) -> bytes:
    """The header line that says what the bytes are. What is no sound is not passed off as what it says it is: a client
    may be a browser."""
    fit = kind.startswith(_SOUND) and len(kind) <= _LONGEST_TYPE and kind.decode("latin-1").isprintable()
    return b"content-type: %b\r\n" % (kind if fit else b"application/octet-stream")


def _no_sound() -> UpstreamFailure:
    return UpstreamFailure("server", _NO_SOUND)


def _now() -> float:
    return asyncio.get_running_loop().time()
