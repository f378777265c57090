"""Embeddings of gemini: embedContent and batchEmbedContents from clients, and the batch for providers.

One content gives one vector, whatever the number of its parts; the parts here are text.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.fields import Fields, decode_fields, missing, wrong_type
from posthouse.dialects.gemini_fields import ERRORS, NULL, Json, Members, invalid
from posthouse.dialects.gemini_usage import usage_in

MAX_DIMENSIONS: Final = 2**31 - 1
# What steers a vector and OpenAI's form has no word for.
_STEERING: Final = ("taskType", "title")

_encode = msgspec.json.Encoder().encode
_decode_input = Decoder(str | list[Any]).decode


class Embedding(Struct, frozen=True):
    """Texts to turn into vectors, one each. `dimensions` None: as the model likes. `dropped`: what only gemini says."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    dropped: tuple[str, ...] = ()


class Embedded(Struct, frozen=True):
    """Vectors in the order of the texts; `usage` where the provider counted."""

    vectors: list[list[float]]
    usage: Usage | None = None


# --- from and to a client ----------------------------------------
def decode_embed(body: bytes) -> Embedding:
    """The body of embedContent. InvalidRequest naming the member that does not fit."""
    text, dimensions, dropped = _read(Members(decode_fields(body)))
    return Embedding((text,), dimensions, dropped)


def decode_batch_embed(body: bytes) -> Embedding:
    """The body of batchEmbedContents; its requests must agree on the dimensions, as one call has one number of them."""
    requests = Members(decode_fields(body)).objects("requests")
    if not requests:
        raise missing("requests")
    read = [_read(request) for request in requests]
    dimensions = read[0][1]
    for request, (_, other, _) in zip(requests, read, strict=True):
        if other != dimensions:
            raise invalid(request.at("outputDimensionality"), "expected the same in every request")
    dropped = dict.fromkeys(name for _, _, names in read for name in names)
    return Embedding(tuple(text for text, _, _ in read), dimensions, tuple(dropped))


def _read(request: Members) -> tuple[str, int | None, tuple[str, ...]]:
    content = request.object("content")
    if content is None:
        raise missing(request.at("content"))
    texts: list[str] = []
    for part in content.objects("parts") or ():
        text = part.string("text")
        if text is None:
            raise invalid(part.path, "only text can be embedded")
        texts.append(text)
    if not any(texts):
        raise invalid(content.at("parts"), "expected text")
    config = request.object("embedContentConfig") or Members({}, request.at("embedContentConfig"))
    newer = config.whole("outputDimensionality", 1, MAX_DIMENSIONS)
    dimensions = request.whole("outputDimensionality", 1, MAX_DIMENSIONS)
    names = [name for name in _STEERING if name in config.rest() or name in request.rest()]
    return "\n".join(texts), dimensions if newer is None else newer, tuple(names)


def encode_embedding(vector: list[float]) -> bytes:
    """The answer to embedContent."""
    return _encode({"embedding": {"values": vector}})


def encode_embeddings(vectors: list[list[float]]) -> bytes:
    """The answer to batchEmbedContents."""
    return _encode({"embeddings": [{"values": vector} for vector in vectors]})


# --- to and from a provider --------------------------------------
def encode_batch(fields: Fields, model: str) -> bytes:
    """An OpenAI embeddings request, by its members, as the body of batchEmbedContents.

    InvalidRequest where the input is tokens, which are those of another model's vocabulary.
    """
    raw = fields.get("input")
    if raw is None:
        raise missing("input")
    try:
        value = _decode_input(raw)
    except ERRORS:
        raise wrong_type("input", "a string or an array", raw) from None
    texts = [value] if isinstance(value, str) else value
    if not texts or not all(isinstance(text, str) for text in texts):
        message = "Invalid 'input': this model takes a string or an array of strings, not tokens."
        raise InvalidRequest(message, param="input", code="invalid_value")
    dimensions = Members({name: fields[name] for name in fields if name == "dimensions"})
    size = dimensions.whole("dimensions", 1, MAX_DIMENSIONS)
    requests: list[Json] = []
    for text in texts:
        request: Json = {"model": f"models/{model.removeprefix('models/')}", "content": {"parts": [{"text": text}]}}
        if size is not None:
            request["outputDimensionality"] = size
        requests.append(request)
    return _encode({"requests": requests})


class _Vector(Struct, gc=False):
    values: list[float]


class _Batch(Struct, rename="camel", gc=False):
    embeddings: list[_Vector]
    usage_metadata: Raw = NULL


_decode_batch = Decoder(_Batch).decode


def decode_batch(body: bytes) -> Embedded:
    """The answer to batchEmbedContents. DialectError where the body is none."""
    try:
        batch = _decode_batch(body)
    except ERRORS:
        raise DialectError("the answer holds no embeddings") from None
    return Embedded([vector.values for vector in batch.embeddings], usage_in(batch.usage_metadata))
