"""Embeddings of gemini: embedContent and batchEmbedContents from clients, and the batch for providers.

One content gives one vector, whatever the number of its parts; the parts here are text. What a text is embedded for
(`taskType`) and its `title` travel beside OpenAI's members, each one text for all or an array with one for each.
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
Steering = dict[str, str | list[str | None]]

_encode = msgspec.json.Encoder().encode
_decode_input = Decoder(str | list[Any]).decode
_decode_steering = Decoder(str | list[str | None]).decode


class Embedding(Struct, frozen=True):
    """Texts to turn into vectors, one each. `dimensions` None: as the model likes. `steering`: see above."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    steering: Steering = {}


class Embedded(Struct, frozen=True):
    """Vectors in the order of the texts; `usage` where the provider counted."""

    vectors: list[list[float]]
    usage: Usage | None = None


# --- from and to a client ----------------------------------------
def decode_embed(body: bytes) -> Embedding:
    """The body of embedContent. InvalidRequest naming the member that does not fit."""
    text, dimensions, steering = _read(Members(decode_fields(body)))
    return Embedding((text,), dimensions, {**steering})


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
    steering: Steering = {}
    for name in _STEERING:
        said = [steered.get(name) for _, _, steered in read]
        if any(said):
            steering[name] = said[0] if said[0] is not None and len(set(said)) == 1 else said
    return Embedding(tuple(text for text, _, _ in read), dimensions, steering)


def _read(request: Members) -> tuple[str, int | None, dict[str, str]]:
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
    steered = {name: config.string(name) or request.string(name) for name in _STEERING}
    said = {name: value for name, value in steered.items() if value}
    return "\n".join(texts), dimensions if newer is None else newer, said


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
    members = Members(fields)
    size = members.whole("dimensions", 1, MAX_DIMENSIONS)
    steered = {name: _each(members, name, len(texts)) for name in _STEERING}
    requests: list[Json] = []
    for number, text in enumerate(texts):
        request: Json = {"model": f"models/{model.removeprefix('models/')}", "content": {"parts": [{"text": text}]}}
        if size is not None:
            request["outputDimensionality"] = size
        request.update({name: said[number] for name, said in steered.items() if said[number]})
        requests.append(request)
    return _encode({"requests": requests})


def _each(members: Members, name: str, number: int) -> list[str | None]:
    """What a member says of each text."""
    raw = members.raw(name)
    if raw is None:
        return [None] * number
    try:
        said: str | list[str | None] = _decode_steering(raw)
    except ERRORS:
        raise wrong_type(name, "a string or an array of strings", raw) from None
    if isinstance(said, str):
        return [said] * number
    if len(said) != number:
        raise invalid(name, "expected one for each text")
    return said


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
