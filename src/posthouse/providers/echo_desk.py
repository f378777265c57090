"""Echo's pictures, speech, judgements and ranks as OpenAI's HTTP API would answer, and rerank as everybody does.

What they are made of is in echo_media.py. A picture counts as one token, as does sound; text as everywhere in echo. A
picture whose address is asked for has its data in it. Above: echo.py.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from posthouse.core.errors import InvalidRequest, NotFound, PosthouseError
from posthouse.providers.echo_media import check_sides, flags, picture, scores, speech
from posthouse.providers.echo_tokens import tokens_of
from posthouse.upstream.memory import MemoryResponse

IMAGE_MODEL: Final = "echo-image"
SPEECH_MODEL: Final = "echo-speech"
MODERATION_MODEL: Final = "echo-moderation"
RERANK_MODEL: Final = "echo-rerank"
MODELS: Final = (IMAGE_MODEL, SPEECH_MODEL, MODERATION_MODEL, RERANK_MODEL)
_USUAL_SIZE: Final = "1024x1024"
_QUALITIES: Final = ("low", "medium", "high")
_SOUND_PIECE: Final = 4_800  # bytes: a tenth of a second
_JSON: Final = [(b"content-type", b"application/json")]
_SSE: Final = [(b"content-type", b"text/event-stream")]
_encode: Final = msgspec.json.Encoder().encode
_Text = Annotated[str, Meta(min_length=1)]


class Drawing(Struct):
    """A request for pictures."""

    model: str
    prompt: _Text
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    quality: str | None = None
    response_format: str | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None


class Source(Struct, frozen=True):
    """What pictures are made from besides a prompt: how many others, and what they change of the colours. `event` is
    what a stream calls them."""

    given: int = 0
    seed: int = 0
    event: str = "image_generation"


class _Speech(Struct):
    model: str
    input: _Text
    response_format: str | None = None
    stream_format: str | None = None


class _Moderation(Struct):
    model: str
    input: str | list[str | dict[str, Any]]


class _Rerank(Struct):
    model: str
    query: _Text
    documents: Annotated[list[str | dict[str, Any]], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=0)] | None = None
    return_documents: bool | None = None


NOTHING: Final = Source()
_decode_images: Final = msgspec.json.Decoder(Drawing).decode
_decode_speech: Final = msgspec.json.Decoder(_Speech).decode
_decode_moderation: Final = msgspec.json.Decoder(_Moderation).decode
_decode_rerank: Final = msgspec.json.Decoder(_Rerank).decode


class Moment(Struct, frozen=True):
    """`now` in seconds since the epoch; `pace` is the pause in seconds before each piece of a stream."""

    now: int
    pace: float

    async def passed(self) -> None:
        """Even with no pause the loop gets its turn: other requests run, and a caller that left is noticed."""
        await asyncio.sleep(self.pace)


Desk = Callable[[bytes, Moment], Awaitable[MemoryResponse]]


def no_model(name: str) -> PosthouseError:
    """Which of echo's own models is asked is the client's choice; another is the operator's mistake."""
    if name.partition("-")[0] == "echo":
        return InvalidRequest(f"The model '{name[:100]}' is not for this.", param="model")
    return NotFound(f"The model '{name[:100]}' does not exist here.", param="model", code="model_not_found")


def _only(model: str, own: str) -> None:
    if model != own:
        raise no_model(model)


# --- Pictures ---------------------------------------------------------------------------------------------------------


async def _pictures(body: bytes, moment: Moment) -> MemoryResponse:
    asked = _decode_images(body)
    _only(asked.model, IMAGE_MODEL)
    return await pictures(asked, moment)


async def pictures(asked: Drawing, moment: Moment, source: Source = NOTHING) -> MemoryResponse:
    width, height = _sides(asked.size)
    about = {
        "size": f"{width}x{height}",
        "quality": asked.quality if asked.quality in _QUALITIES else _QUALITIES[0],
        "background": "opaque",
        "output_format": "png",
    }
    if asked.stream:
        check_sides(width, height)  # what cannot be drawn is refused before anything is sent
        return MemoryResponse(200, _SSE, _as_drawn(asked, about, moment, source))
    made = [await _drawn(asked, source.seed + number) for number in range(asked.n or 1)]
    data = [
        {"url": f"data:image/png;base64,{one}"} if asked.response_format == "url" else {"b64_json": one} for one in made
    ]
    usage = _drawing(asked, len(data), source.given)
    return MemoryResponse(200, _JSON, [_encode({"created": moment.now, "data": data, **about, "usage": usage})])


async def _as_drawn(asked: Drawing, about: dict[str, str], moment: Moment, source: Source) -> AsyncIterator[bytes]:
    for number in range(asked.n or 1):
        made = await _drawn(asked, source.seed + number)
        for part in range(asked.partial_images or 0):
            await asyncio.sleep(moment.pace)
            partial = {"b64_json": await _drawn(asked, source.seed + number + part + 1), "partial_image_index": part}
            yield _event(f"{source.event}.partial_image", {**partial, "created_at": moment.now, **about})
        await asyncio.sleep(moment.pace)
        whole = {"b64_json": made, "created_at": moment.now, **about, "usage": _drawing(asked, 1, source.given)}
        yield _event(f"{source.event}.completed", whole)


async def _drawn(asked: Drawing, seed: int) -> str:
    """In base64. Drawing takes tens of milliseconds: not on the loop."""
    width, height = _sides(asked.size)
    return base64.b64encode(await asyncio.to_thread(picture, asked.prompt, width, height, seed)).decode()


def _sides(size: str | None) -> tuple[int, int]:
    width, _, height = (_USUAL_SIZE if size in (None, "", "auto") else str(size)).partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit() and len(width + height) < 12):
        raise InvalidRequest("'size' must be WIDTHxHEIGHT, such as 1024x1024, or auto.", param="size")
    return int(width), int(height)


def _drawing(asked: Drawing, count: int, given: int) -> dict[str, Any]:
    read = len(tokens_of(asked.prompt))
    return {
        "input_tokens": read + given,
        "input_tokens_details": {"text_tokens": read, "image_tokens": given},
        "output_tokens": count,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": count},
        "total_tokens": read + given + count,
    }


# --- Speech -----------------------------------------------------------------------------------------------------------


async def _speech(body: bytes, moment: Moment) -> MemoryResponse:
    asked = _decode_speech(body)
    _only(asked.model, SPEECH_MODEL)
    sound = await asyncio.to_thread(speech, asked.input, asked.response_format or "wav")
    pieces = [sound.data[start : start + _SOUND_PIECE] for start in range(0, len(sound.data), _SOUND_PIECE)]
    if asked.stream_format == "sse":
        return MemoryResponse(200, _SSE, _as_spoken(asked, pieces, moment))
    return MemoryResponse(200, [(b"content-type", sound.content_type.encode())], _paced(pieces, moment.pace))


async def _paced(pieces: list[bytes], pace: float) -> AsyncIterator[bytes]:
    for piece in pieces:
        # Even with no pause the loop gets its turn: other requests run, and a caller that left is noticed.
        await asyncio.sleep(pace)
        yield piece


async def _as_spoken(asked: _Speech, pieces: list[bytes], moment: Moment) -> AsyncIterator[bytes]:
    async for piece in _paced(pieces, moment.pace):
        yield _event("speech.audio.delta", {"audio": base64.b64encode(piece).decode()})
    read = len(tokens_of(asked.input))
    usage = {"input_tokens": read, "output_tokens": 1, "total_tokens": read + 1}
    yield _event("speech.audio.done", {"usage": usage})


# --- Judging and ranking ----------------------------------------------------------------------------------------------


async def _moderation(body: bytes, _: Moment) -> MemoryResponse:
    asked = _decode_moderation(body)
    _only(asked.model, MODERATION_MODEL)
    results = []
    for number, text in enumerate(_judged(asked.input)):
        if number % 64 == 63:
            await asyncio.sleep(0)  # a batch is long work: the loop gets its turn
        found = flags(text)
        results.append(
            {
                "flagged": found.flagged,
                "categories": found.categories,
                "category_scores": found.scores,
                "category_applied_input_types": {name: ["text"] for name in found.categories},
            }
        )
    return MemoryResponse(200, _JSON, [_encode({"id": _id("modr", body), "model": asked.model, "results": results})])


def _judged(given: str | list[str | dict[str, Any]]) -> list[str]:
    """Each text by itself; the parts of one message together."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise InvalidRequest("'input' must not be empty.", param="input")
    parts = [one for one in given if isinstance(one, dict)]
    texts = [one for one in given if isinstance(one, str)]
    return [*texts, *(["\n".join(_text(part) for part in parts)] if parts else [])]


async def _ranks(body: bytes, _: Moment) -> MemoryResponse:
    asked = _decode_rerank(body)
    _only(asked.model, RERANK_MODEL)
    documents = [one if isinstance(one, str) else _text(one) for one in asked.documents]
    found = await asyncio.to_thread(scores, asked.query, documents)
    order = sorted(range(len(found)), key=lambda index: -found[index])[: asked.top_n or None]
    results = [
        {
            "index": index,
            "relevance_score": found[index],
            **({"document": {"text": documents[index]}} if asked.return_documents else {}),
        }
        for index in order
    ]
    read = sum(len(tokens_of(text)) for text in (asked.query, *documents))
    return MemoryResponse(
        200,
        _JSON,
        [
            _encode(
                {
                    "id": _id("rank", body),
                    "model": asked.model,
                    "results": results,
                    "usage": {"prompt_tokens": read, "total_tokens": read},
                    "meta": {"billed_units": {"search_units": -(-len(documents) // 100)}},
                }
            )
        ],
    )


def _text(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _id(prefix: str, body: bytes) -> str:
    return f"{prefix}-echo{hashlib.sha256(body).hexdigest()[:20]}"


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members}))


# The end of a path -> who answers there.
DESKS: Final[Mapping[bytes, Desk]] = {
    b"/images/generations": _pictures,
    b"/audio/speech": _speech,
    b"/moderations": _moderation,
    b"/rerank": _ranks,
}
