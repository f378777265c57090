"""OpenAI's error body: `{"error": {"message", "type", "param", "code"}}`, all four always present when we write it."""

from typing import Any

import msgspec
from msgspec import Struct

from posthouse.core.errors import PosthouseError


class StreamError(Struct, frozen=True):
    """An error that an upstream reported inside an answer; its words are not scrubbed yet."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


class _ErrorBody(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _Envelope(Struct):
    error: _ErrorBody


_encode = msgspec.json.Encoder().encode


def encode_error(error: PosthouseError) -> bytes:
    """The body of an error response; also the data of an error event in a stream."""
    return _encode(_Envelope(_ErrorBody(error.message, error.type, error.param, error.code)))


def decode_error(value: Any) -> StreamError | None:
    """What stands under `error` in an answer: an object, or a plain string. None where it is falsy: no error.

    Vendors put integers and null where OpenAI has strings; a code becomes text.
    """
    if not value:
        return None
    if not isinstance(value, dict):
        return StreamError(message=value if isinstance(value, str) else "the upstream reported an error")
    message = value.get("message") or value.get("msg") or value.get("detail")
    return StreamError(
        message=message if isinstance(message, str) else "the upstream reported an error",
        type=_text(value.get("type")),
        code=_text(value.get("code")),
        param=_text(value.get("param")),
    )


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None
