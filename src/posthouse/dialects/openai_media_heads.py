"""Requests for pictures, speech, moderation and reranking, decoded just as far as admission, routing and billing need.

`decode_images`, `decode_speech`, `decode_moderation` and `decode_rerank` each take a body and give a request whose
members are kept as they came; InvalidRequest names the first that does not fit. What such a call may consume stands in
`expected`, by every measure that somebody sells it by:

    pictures      n of the kind that is asked for, and the most tokens that they take; 100 more for each partial one
    speech        characters; tokens of the text; the time that it takes to be spoken, in ms and in tokens of sound
    moderation    tokens of the input
    reranking     tokens of all documents, each with the query; searches

Reranking is nobody's standard, but one form of it is everybody's: `model`, `query`, `documents`, `top_n` (Cohere, Jina
and whoever follows them; Voyage calls the last one `top_k`).

Sources: the openai package 3.52.0 and OpenAI's published OpenAPI document; OpenAI's guides for images (100 tokens for
each partial picture) and audio (1,250 tokens of sound for a minute of speech); Cohere's page of prices (a search is a
query with up to 100 documents; a document of more than 500 tokens, counting the query, is several). Checked:
2026-11-21.
"""

import re
from typing import Annotated, Any, Final

from msgspec import DecodeError, Meta, Raw
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.media import image_tokens, kind_of_image
from posthouse.core.requests import ModelRequest, Operation
from posthouse.core.usage import Usage
from posthouse.dialects.fields import (
    ARRAY,
    BOOL,
    NUMBER,
    STRING,
    Check,
    Fields,
    check_fields,
    decode_fields,
    kind_of,
    missing,
    model_of,
    wrong_type,
)

DIALECT: Final = "openai_media"
MAX_DOCUMENTS: Final = 100_000
PARTIAL_TOKENS: Final = 100
_PICTURE_TOKENS: Final = 1_000  # of one that is to be judged, by the dear side of what vendors count
_SEARCH_DOCUMENTS: Final = 100
_CHUNK_TOKENS: Final = 500
# How long a character takes to be spoken, in ms, rather too long than too short: of an alphabet, and of writing in
# which one is a syllable, or a digit, which is a word.
_LETTER_MS: Final = 80
_SYLLABLE_MS: Final = 250
_SYLLABLES: Final = re.compile(r"[\d\u2e80-\U0010ffff]+")
_SOUND_TOKENS: Final = 25  # in a second
_SLOWEST, _FASTEST = 0.25, 4.0

_NUMBER_OF_PICTURES: Final[Check] = (Decoder(Annotated[int, Meta(ge=1, le=128)] | None), "an integer from 1 to 128")
_PARTIALS: Final[Check] = (Decoder(Annotated[int, Meta(ge=0, le=16)] | None), "a non-negative integer")
_TOP: Final[Check] = (Decoder(Annotated[int, Meta(ge=0, le=2**31 - 1)] | None), "a non-negative integer")
IMAGES: Final[dict[str, Check]] = {
    "prompt": STRING,
    "n": _NUMBER_OF_PICTURES,
    "size": STRING,
    "quality": STRING,
    "stream": BOOL,
    "partial_images": _PARTIALS,
    "response_format": STRING,
    "output_format": STRING,
}
_SPEECH: Final[dict[str, Check]] = {
    "input": STRING,
    "instructions": STRING,
    "response_format": STRING,
    "speed": NUMBER,
    "stream_format": STRING,
}
_RERANK: Final[dict[str, Check]] = {"documents": ARRAY, "top_n": _TOP, "top_k": _TOP, "return_documents": BOOL}
_decode_text: Final = Decoder(str).decode
_decode_items: Final = Decoder(list[Raw]).decode


def decode_images(body: bytes) -> ModelRequest:
    """A request for pictures made from a prompt."""
    fields = decode_fields(body)
    model = model_of(fields)
    values = check_fields(fields, IMAGES)
    _needed(values, "prompt")
    count = values.get("n") or 1
    size, quality = values.get("size"), values.get("quality")
    stream = bool(values.get("stream"))
    partials = (values.get("partial_images") or 0) if stream else 0
    expected = Usage(
        input=rough_tokens(fields["prompt"]),
        image_output=count * (image_tokens(size, quality) + partials * PARTIAL_TOKENS),
        images=count,
        image_kind=kind_of_image(size, quality),
    )
    request = _request("images.generations", model, fields, len(body), expected)
    request.stream, request.choices = stream, count
    return request


def decode_speech(body: bytes) -> ModelRequest:
    """A request for text to be spoken. It counts as a stream, whatever it asks for: sound passes as it comes."""
    fields = decode_fields(body)
    model = model_of(fields)
    values = check_fields(fields, _SPEECH)
    text = _needed(values, "input")
    voice = fields.get("voice")
    if voice is not None and kind_of(voice) not in ("a string", "an object"):
        raise wrong_type("voice", "a string or an object", voice)
    instructions = fields.get("instructions")
    milliseconds = _spoken_ms(text, values.get("speed"))
    expected = Usage(
        input=rough_tokens(fields["input"]) + (0 if instructions is None else rough_tokens(instructions)),
        audio_output=milliseconds * _SOUND_TOKENS // 1000 + 1,
        audio_ms=milliseconds,
        characters=len(text),
    )
    request = _request("audio.speech", model, fields, len(body), expected)
    request.stream = True
    return request


def wants_events(request: ModelRequest) -> bool:
    """Whether the speech is to come as events rather than as bare sound."""
    raw = request.fields.get("stream_format")
    return raw is not None and bytes(raw) == b'"sse"'


def decode_moderation(body: bytes) -> ModelRequest:
    """A request for texts and pictures to be judged."""
    fields = decode_fields(body)
    model = model_of(fields)
    raw = fields.get("input")
    if raw is None:
        raise missing("input")
    kind = kind_of(raw)
    if kind == "a string":
        pieces = [raw] if _string(raw, "input") else []
    elif kind == "an array":
        pieces = _items(raw, "input")
    else:
        raise wrong_type("input", "a string or an array", raw)
    if not pieces:
        raise InvalidRequest(f"Invalid 'input': {kind} must not be empty.", param="input", code="invalid_value")
    for piece in pieces:
        if kind_of(piece) not in ("a string", "an object"):
            raise wrong_type("input", "an array of strings or of objects", piece)
    expected = Usage(input=sum(_judged_tokens(piece) for piece in pieces))
    return _request("moderations", model, fields, len(body), expected)


def decode_rerank(body: bytes) -> ModelRequest:
    """A request for documents to be put in the order of a query."""
    fields = decode_fields(body)
    model = model_of(fields)
    query = fields.get("query")
    if query is None:
        raise missing("query")
    if kind_of(query) not in ("a string", "an object"):
        raise wrong_type("query", "a string", query)
    documents = check_fields(fields, _RERANK).get("documents")
    if documents is None:
        raise missing("documents")
    if not documents:
        raise InvalidRequest(
            "Invalid 'documents': an array must not be empty.", param="documents", code="invalid_value"
        )
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidRequest(
            f"Invalid 'documents': expected at most {MAX_DOCUMENTS}.", param="documents", code="invalid_value"
        )
    asked = rough_tokens(query)
    tokens = chunks = 0
    for document in documents:
        if kind_of(document) not in ("a string", "an object"):
            raise wrong_type("documents", "an array of strings or of objects", document)
        size = asked + rough_tokens(document)
        tokens += size
        chunks += -(-size // _CHUNK_TOKENS)
    expected = Usage(input=tokens, searches=-(-chunks // _SEARCH_DOCUMENTS))
    return _request("rerank", model, fields, len(body), expected)


def rough_tokens(raw: Raw) -> int:
    """Tokens of a JSON value that is text, rather too many than too few (docs/billing.md, COUNT-5)."""
    return len(memoryview(raw)) * 2 // 5 + 1


def _request(operation: Operation, model: str, fields: Fields, size: int, expected: Usage) -> ModelRequest:
    return ModelRequest(
        operation=operation, dialect=DIALECT, model=model, fields=fields, body_size=size, expected=expected
    )


def _needed(values: dict[str, Any], name: str) -> str:
    """A text that must be there, and not be empty."""
    text = values.get(name)
    if text is None:
        raise missing(name)
    if not text:
        raise InvalidRequest(f"Invalid '{name}': a string must not be empty.", param=name, code="invalid_value")
    assert isinstance(text, str)
    return text


def _string(raw: Raw, name: str) -> str:
    try:
        return _decode_text(raw)
    except (DecodeError, UnicodeError):
        raise wrong_type(name, "a string", raw) from None


def _items(raw: Raw, name: str) -> list[Raw]:
    try:
        return _decode_items(raw)
    except (DecodeError, UnicodeError, RecursionError):
        raise wrong_type(name, "an array", raw) from None


def _judged_tokens(piece: Raw) -> int:
    if kind_of(piece) == "an object" and b'"image_url"' in bytes(piece):
        return _PICTURE_TOKENS
    return rough_tokens(piece)


def _spoken_ms(text: str, speed: float | None) -> int:
    syllables = len(text) - len(_SYLLABLES.sub("", text))
    milliseconds = (len(text) - syllables) * _LETTER_MS + syllables * _SYLLABLE_MS
    pace = min(max(speed, _SLOWEST), _FASTEST) if speed is not None and speed > 0 else 1.0
    return int(milliseconds / pace) + 1
