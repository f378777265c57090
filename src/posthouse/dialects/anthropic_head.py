"""The hot door of the Messages API: a request body checked and read just as far as the spine needs.

A request to count tokens is the same body without what concerns the answer; `max_tokens` is then not asked for. Nor is
it at once where the house may know one that the client did not send: `decode_open_head`, and `check_limit` then.
"""

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from posthouse.core.errors import InvalidRequest
from posthouse.core.requests import ModelRequest
from posthouse.dialects.anthropic_fields import DIALECT, read, refusal
from posthouse.dialects.fields import (
    BOOL,
    TOKENS,
    Check,
    Fields,
    check_fields,
    decode_fields,
    missing,
    model_of,
    wrong_type,
)


class _Message(Struct, gc=False):
    role: str


class _Count(Struct):
    input_tokens: int


_CHECKS: Final[dict[str, Check]] = {"stream": BOOL, "max_tokens": TOKENS}
_messages: Final = Decoder(list[_Message])
_encode: Final = msgspec.json.Encoder().encode


def decode_head(body: bytes) -> ModelRequest:
    """A request of which every member is kept as it came. InvalidRequest naming the member that does not fit."""
    request = decode_open_head(body)
    check_limit(request)
    return request


def decode_open_head(body: bytes) -> ModelRequest:
    """The same, that may lack `max_tokens`."""
    fields = decode_fields(body)
    return head_of(fields, model_of(fields), len(body))


def check_limit(request: ModelRequest) -> None:
    """InvalidRequest where there is no `max_tokens`."""
    if request.max_output is None:
        raise _no_limit(request.fields)


def decode_count_head(body: bytes) -> ModelRequest:
    """The same for a request to count tokens, which has no `max_tokens` and no answer to stream."""
    request = decode_open_head(body)
    request.stream = False
    return request


def head_of(fields: Fields, model: str, body_size: int) -> ModelRequest:
    raw = fields.get("messages")
    if raw is None:
        raise missing("messages")
    if not read(_messages, raw, "messages"):
        raise refusal("messages", "at least one message is required", "empty_array")
    values = check_fields(fields, _CHECKS)
    return ModelRequest(
        operation="messages",
        dialect=DIALECT,
        model=model,
        fields=fields,
        body_size=body_size,
        stream=values.get("stream") is True,
        max_output=values.get("max_tokens"),
    )


def _no_limit(fields: Fields) -> InvalidRequest:
    raw = fields.get("max_tokens")
    return missing("max_tokens") if raw is None else wrong_type("max_tokens", "a non-negative integer", raw)


def encode_count(input_tokens: int) -> bytes:
    """The answer to a request to count tokens."""
    return _encode(_Count(input_tokens))
