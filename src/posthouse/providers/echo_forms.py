"""Echo's transcripts, edits and variations: forms with files, as OpenAI's HTTP API would answer them.

A file is counted, not kept, however large it is. A transcript says which file was heard; an edit is a picture of the
prompt, with other colours for other files. Above: echo.py.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from posthouse.core.errors import InvalidRequest
from posthouse.dialects.multipart import Field, FileData, FileHead, FormReader, boundary_of
from posthouse.providers.echo_desk import IMAGE_MODEL, Drawing, Moment, Source, no_model, pictures
from posthouse.providers.echo_media import heard_ms, transcript
from posthouse.providers.echo_tokens import tokens_of
from posthouse.upstream.memory import MemoryResponse
from posthouse.upstream.model import UpstreamRequest

HEARING_MODEL: Final = "echo-transcription"
_JSON: Final = [(b"content-type", b"application/json")]
_SSE: Final = [(b"content-type", b"text/event-stream")]
_TEXT: Final = [(b"content-type", b"text/plain; charset=utf-8")]
_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_TRANSLATED: Final = _FORMATS[:-1]
_MOST: Final = 64 << 20
_encode: Final = msgspec.json.Encoder().encode


class _File(Struct):
    """`part` is the name of its field, `name` its own."""

    part: str
    name: str
    size: int
    digest: str


class _Edit(Drawing, kw_only=True):
    """The same as JSON."""

    images: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    mask: dict[str, Any] | None = None


class _Form(Struct):
    fields: dict[str, list[str]]
    files: list[_File]

    def first(self, name: str) -> str | None:
        values = self.fields.get(name)
        return values[0] if values else None

    def must(self, name: str) -> str:
        value = self.first(name)
        if not value:
            raise InvalidRequest(f"Missing required parameter: '{name}'.", param=name)
        return value

    def only(self, model: str) -> None:
        if self.must("model") != model:
            raise no_model(self.must("model"))

    def wants_events(self) -> bool:
        return (self.first("stream") or "").lower() == "true"


_decode_edit: Final = msgspec.json.Decoder(_Edit).decode


async def body_of(request: UpstreamRequest) -> bytes:
    """The whole body of a request that is no form. InvalidRequest beyond 64 MiB."""
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > _MOST:
            raise InvalidRequest("The request is too large for echo.")
    return bytes(body)


async def _read(request: UpstreamRequest) -> _Form:
    """The form, with its files counted."""
    reader = FormReader(boundary_of(_type_of(request)))
    form = _Form({}, [])
    digest = hashlib.sha256()
    async for piece in _pieces(request):
        for event in reader.feed(piece):
            match event:
                case Field():
                    form.fields.setdefault(event.name, []).append(event.text)
                case FileHead():
                    digest = hashlib.sha256()
                    form.files.append(_File(event.name, event.filename, 0, ""))
                case FileData():
                    digest.update(event.data)
                    form.files[-1].size += len(event.data)
                    form.files[-1].digest = digest.hexdigest()
    reader.finish()
    return form


def _type_of(request: UpstreamRequest) -> bytes:
    lines = [line.partition(b":") for line in request.headers.split(b"\r\n")]
    return next((value.strip() for name, _, value in lines if name == b"content-type"), b"")


async def _pieces(request: UpstreamRequest) -> AsyncGenerator[bytes, None]:
    stream = request.stream
    if stream is None:
        yield request.body
        return
    stream.taken = True
    async for piece in stream.pieces:
        yield piece
    stream.ended = True


# --- Hearing ----------------------------------------------------------------------------------------------------------


async def _transcription(request: UpstreamRequest, moment: Moment) -> MemoryResponse:
    form = await _read(request)
    form.only(HEARING_MODEL)
    file = _sound_of(form)
    text = transcript(file.size, file.name)
    if form.wants_events():
        return MemoryResponse(200, _SSE, _as_written(text, file, moment))
    return _written(text, file, form.first("response_format") or "json", _FORMATS)


async def _translation(request: UpstreamRequest, _: Moment) -> MemoryResponse:
    form = await _read(request)
    form.only(HEARING_MODEL)
    file = _sound_of(form)
    return _written(transcript(file.size, file.name), file, form.first("response_format") or "json", _TRANSLATED)


def _sound_of(form: _Form) -> _File:
    found = [file for file in form.files if file.part == "file"]
    if len(found) != 1:
        raise InvalidRequest("A form needs one 'file'.", param="file")
    if not found[0].size:
        raise InvalidRequest("The file is empty.", param="file")
    return found[0]


def _written(text: str, file: _File, form: str, known: tuple[str, ...]) -> MemoryResponse:
    if form not in known:
        raise InvalidRequest(f"'response_format' must be one of {', '.join(known)}.", param="response_format")
    end = heard_ms(file.size)
    if form == "text":
        return MemoryResponse(200, _TEXT, [text.encode() + b"\n"])
    if form in ("srt", "vtt"):
        times = f"{_clock(0)} --> {_clock(end)}"
        said = f"1\n{times.replace('.', ',')}\n{text}\n\n" if form == "srt" else f"WEBVTT\n\n{times}\n{text}\n\n"
        return MemoryResponse(200, _TEXT, [said.encode()])
    body: dict[str, Any] = {"text": text, "usage": _usage(text, file)}
    if form != "json":
        segment: dict[str, Any] = {"id": 0, "start": 0.0, "end": end / 1000, "text": text}
        if form == "diarized_json":
            segment |= {"id": "seg_0", "type": "transcript.text.segment", "speaker": "A"}
        else:
            segment |= {"seek": 0, "tokens": [], "temperature": 0.0, "avg_logprob": 0.0}
            segment |= {"compression_ratio": 1.0, "no_speech_prob": 0.0}
            body["language"] = "english"
        body |= {"task": "transcribe", "duration": end / 1000, "segments": [segment]}
        body["usage"] = {"type": "duration", "seconds": -(-end // 1000)}
    return MemoryResponse(200, _JSON, [_encode(body)])


async def _as_written(text: str, file: _File, moment: Moment) -> AsyncIterator[bytes]:
    for piece in tokens_of(text):
        await moment.passed()
        yield _event("transcript.text.delta", {"delta": piece})
    yield _event("transcript.text.done", {"text": text, "usage": _usage(text, file)})
    yield b"data: [DONE]\n\n"


def _usage(text: str, file: _File) -> dict[str, Any]:
    """Sound counts ten tokens for a second."""
    heard, written = -(-heard_ms(file.size) // 100), len(tokens_of(text))
    return {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": heard + written,
    }


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"


# --- Pictures ---------------------------------------------------------------------------------------------------------


async def _edit(request: UpstreamRequest, moment: Moment) -> MemoryResponse:
    if _type_of(request).startswith(b"application/json"):
        asked = _decode_edit(await body_of(request))
        if asked.model != IMAGE_MODEL:
            raise no_model(asked.model)
        given = len(asked.images) + (asked.mask is not None)
        return await pictures(asked, moment, _source(given, repr(asked.images)))
    form = await _read(request)
    return await _picture(form, form.must("prompt"), moment)


async def _variation(request: UpstreamRequest, moment: Moment) -> MemoryResponse:
    form = await _read(request)
    names = [file.name for file in form.files if file.part == "image"]
    return await _picture(form, f"A variation of {names[0] if names else ''}", moment)


async def _picture(form: _Form, prompt: str, moment: Moment) -> MemoryResponse:
    form.only(IMAGE_MODEL)
    files = [file for file in form.files if file.part.partition("[")[0] in ("image", "mask")]
    if not any(file.part != "mask" for file in files):
        raise InvalidRequest("Missing required parameter: 'image'.", param="image")
    count, partials = _number(form, "n", 1), _number(form, "partial_images", 0)
    if not (1 <= count <= 10 and partials <= 3):
        raise InvalidRequest("'n' must be 1 to 10, and 'partial_images' 0 to 3.", param="n")
    asked = Drawing(
        model=IMAGE_MODEL,
        prompt=prompt,
        n=count,
        size=form.first("size"),
        quality=form.first("quality"),
        response_format=form.first("response_format"),
        stream=form.wants_events(),
        partial_images=partials,
    )
    return await pictures(asked, moment, _source(len(files), "".join(file.digest for file in files)))


def _number(form: _Form, name: str, usual: int) -> int:
    value = form.first(name) or str(usual)
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InvalidRequest(f"'{name}' must be a number.", param=name)
    return int(value)


def _source(given: int, what: str) -> Source:
    return Source(given, int(hashlib.sha256(what.encode()).hexdigest()[:8], 16), "image_edit")


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members}))


# The end of a path -> who answers there.
COUNTERS: Final[Mapping[bytes, Callable[[UpstreamRequest, Moment], Awaitable[MemoryResponse]]]] = {
    b"/audio/transcriptions": _transcription,
    b"/audio/translations": _translation,
    b"/images/edits": _edit,
    b"/images/variations": _variation,
}
