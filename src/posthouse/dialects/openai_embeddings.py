"""OpenAI's embeddings: the head of a request, usage of an answer, and floats as base64 for who asked for it."""

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.core.usage import Usage
from posthouse.dialects.errors import DialectError
from posthouse.dialects.fields import (
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
from posthouse.dialects.openai_chat_whole import WholeReply
from posthouse.dialects.openai_errors import decode_error
from posthouse.dialects.openai_usage import NO_USAGE, usage_in

_Token = Annotated[int, Meta(ge=0)]
_CHECKS: Final[dict[str, Check]] = {
    "encoding_format": STRING,
    "dimensions": (Decoder(Annotated[int, Meta(ge=1, le=2**31 - 1)] | None), "a positive integer"),
}
_decode_text = Decoder(str).decode
# A union of several kinds of arrays is more than one decoder can tell apart.
_ARRAYS: Final = (Decoder(list[str]), Decoder(list[_Token]), Decoder(list[list[_Token]]))


class _Reply(Struct, gc=False):
    usage: Raw = NO_USAGE
    error: Any = None


class _Vector(Struct, gc=False):
    embedding: list[float]
    index: int = 0


class _Vectors(Struct, gc=False):
    data: list[_Vector]


_decode_reply = Decoder(_Reply).decode
_decode_vectors = Decoder(_Vectors).decode
_decode_members = Decoder(dict[str, Raw]).decode
_decode_items = Decoder(list[dict[str, Raw]]).decode
_decode_floats = Decoder(list[float]).decode
_encode = msgspec.json.Encoder().encode


def decode_head(body: bytes) -> ModelRequest:
    """A request for embeddings of which every member is kept as it came. InvalidRequest naming what does not fit."""
    fields = decode_fields(body)
    model = model_of(fields)
    _check_input(fields)
    check_fields(fields, _CHECKS)
    return ModelRequest(
        operation="embeddings",
        dialect="openai_embeddings",
        model=model,
        fields=fields,
        body_size=len(body),
        max_output=0,
    )


def encode_request(
    model: str, texts: tuple[str, ...], dimensions: int | None, more: Mapping[str, object] | None = None
) -> bytes:
    """A body that asks for vectors as numbers; `dimensions` None: as the model likes. `more`: further members."""
    body: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    if dimensions is not None:
        body["dimensions"] = dimensions
    return _encode(body if more is None else {**body, **more})


def vectors(body: bytes) -> list[list[float]]:
    """The vectors of an answer in the order of what was asked. DialectError where the body is no list of vectors."""
    try:
        found = _decode_vectors(body).data
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no embeddings") from None
    return [each.embedding for each in sorted(found, key=_place)]


def encode_answer(model: str, vectors: Sequence[list[float]], usage: Usage | None) -> bytes:
    """An answer with numbers. Without `usage`, for one that is still to be counted."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    body: dict[str, Any] = {"object": "list", "data": data, "model": model}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage.total_input, "total_tokens": usage.total}
    return _encode(body)


def _place(vector: "_Vector") -> int:
    return vector.index


def wants_base64(request: ModelRequest) -> bool:
    raw = request.fields.get("encoding_format")
    return raw is not None and bytes(raw) == b'"base64"'


def _check_input(fields: Fields) -> None:
    """A string, or an array of strings, of tokens, or of arrays of tokens; not empty."""
    raw = fields.get("input")
    if raw is None:
        raise missing("input")
    kind = kind_of(raw)
    if kind == "a string":
        try:
            text: object = _decode_text(raw)
        except (msgspec.DecodeError, UnicodeError):
            raise wrong_type("input", "a string", raw) from None
    elif kind == "an array":
        text = _decode_array(raw)
    else:
        raise wrong_type("input", "a string or an array", raw)
    if not text:
        raise InvalidRequest(f"Invalid 'input': {kind} must not be empty.", param="input", code="invalid_value")


def _decode_array(raw: Raw) -> object:
    for decoder in _ARRAYS:
        try:
            return decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeError):
            continue
    raise InvalidRequest(
        "Invalid type for 'input': expected an array of strings, of tokens, or of arrays of tokens.",
        param="input",
        code="invalid_type",
    )


def whole_usage(body: bytes) -> WholeReply:
    """Usage and error of an answer. DialectError where the body is no JSON object."""
    try:
        reply = _decode_reply(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise DialectError("the answer holds no embeddings") from None
    return WholeReply(None if reply.usage is NO_USAGE else usage_in(reply.usage), None, decode_error(reply.error))


def to_base64(body: bytes) -> bytes:
    """The answer with arrays of floats as base64 of little-endian float32; what is base64 already stays.

    DialectError where the body is no list of embeddings.
    """
    try:
        members = _decode_members(body)
        items = _decode_items(members["data"])
        for item in items:
            embedding = item["embedding"]
            if kind_of(embedding) == "an array":
                item["embedding"] = Raw(b'"' + _packed(_decode_floats(embedding)) + b'"')
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError):
        raise DialectError("the answer holds no embeddings") from None
    members["data"] = Raw(_encode(items))
    return _encode(members)


def _packed(values: list[float]) -> bytes:
    floats = array("f", values)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes())
