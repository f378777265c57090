"""The hot door of generateContent, and counting tokens: bodies checked and read as far as the spine needs.

A body that passes to a provider of this dialect is judged there; here only its shape must be right.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.items import InnerRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.codec import Addressed
from posthouse.dialects.fields import MAX_MODEL_NAME, MAX_TOKENS, Fields, decode_fields, kind_of, missing, wrong_type
from posthouse.dialects.gemini_fields import DIALECT, ERRORS, NULL, Members
from posthouse.dialects.gemini_request import MAX_CHOICES, decode_request


class _Part(Struct, gc=False):
    """Any object."""


class _Content(Struct, gc=False):
    role: str | None = None
    parts: list[_Part] | _Part | None = None


_decode_contents = Decoder(list[_Content] | _Content).decode
_decode_list = Decoder(list[Raw]).decode
_decode_content = Decoder(_Content).decode
_encode = msgspec.json.Encoder().encode


def decode_head(body: bytes, model: str, stream: bool) -> ModelRequest:
    """A request of which every member is kept as it came. InvalidRequest naming the field that does not fit.

    `model` and `stream` are what the path says, the model without `models/`.
    """
    check_model(model)
    fields = decode_fields(body)
    _check_contents(fields)
    raw = fields.get("generationConfig") or fields.get("generation_config")
    config = None if raw is None or raw == NULL else Members.of(raw, "generationConfig")
    return ModelRequest(
        operation="generate_content",
        dialect=DIALECT,
        model=model,
        fields=fields,
        body_size=len(body),
        stream=stream,
        max_output=None if config is None else config.whole("maxOutputTokens", 0, MAX_TOKENS),
        choices=(None if config is None else config.whole("candidateCount", 1, MAX_CHOICES)) or 1,
    )


def check_model(model: str) -> None:
    """Control characters are refused: the name goes to logs and to columns of text."""
    if not model or len(model) > MAX_MODEL_NAME or not model.isprintable():
        raise InvalidRequest(
            f"Invalid 'model': expected 1 to {MAX_MODEL_NAME} printable characters.",
            param="model",
            code="invalid_value",
        )


def _check_contents(fields: Fields) -> None:
    raw = fields.get("contents")
    if raw is None:
        raise missing("contents")
    try:
        if _decode_contents(raw):
            return
    except ERRORS:
        raise _wrong_content(raw) from None
    raise InvalidRequest("Invalid 'contents': expected at least one content.", param="contents", code="empty_array")


def _wrong_content(raw: Raw) -> InvalidRequest:
    """Names the first content that does not fit; only ever called for a body that is refused."""
    kind = kind_of(raw)
    if kind not in ("an array", "an object"):
        return wrong_type("contents", "an array of objects", raw)
    for index, content in enumerate(_decode_list(raw) if kind == "an array" else [raw]):
        name = f"contents[{index}]"
        try:
            _decode_content(content)
        except ERRORS:
            if kind_of(content) != "an object":
                return wrong_type(name, "an object", content)
            parts = Members.of(content, name)
            role = parts.rest().get("role")
            if role is not None and kind_of(role) != "a string":
                return wrong_type(f"{name}.role", "a string", role)
            return _wrong_part(parts)
    return InvalidRequest("Invalid 'contents'.", param="contents", code="invalid_value")


def _wrong_part(content: Members) -> InvalidRequest:
    try:
        content.objects("parts")
    except InvalidRequest as error:
        return error
    return InvalidRequest(f"Invalid '{content.path}'.", param=content.path, code="invalid_value")


# --- counting tokens ---------------------------------------------
def decode_count(body: bytes, model: str) -> InnerRequest:
    """A request to count the tokens of `contents`, or of a whole `generateContentRequest`."""
    fields = decode_fields(body)
    inner = fields.get("generateContentRequest") or fields.get("generate_content_request")
    if inner is None or inner == NULL:
        return decode_request(body, Addressed(model))
    try:
        return decode_request(bytes(inner), Addressed(model))
    except InvalidRequest as error:
        param = f"generateContentRequest.{error.param}" if error.param else "generateContentRequest"
        raise InvalidRequest(error.message, param=param, code=error.code) from None


def encode_count(tokens: int) -> bytes:
    return _encode({"totalTokens": tokens})


def count_in(body: bytes) -> int | None:
    """The tokens that a provider counted; None where its answer is no such count."""
    try:
        count: Any = msgspec.json.decode(body)["totalTokens"]
    except (*ERRORS, TypeError, KeyError, IndexError):
        return None
    return count if type(count) is int and count >= 0 else None
