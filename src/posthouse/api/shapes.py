"""How an error is said to a client: in the words of the dialect that its route speaks.

A whole answer carries `body`; a stream that has begun ends with `event`, where no stream of the spine stands behind it
that knows better (`Answer.stream.fail`).
"""

import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from posthouse.core.errors import PosthouseError
from posthouse.dialects.codec import Codec, ReplyHead
from posthouse.dialects.openai_errors import encode_error


class Shape(Struct, frozen=True, eq=False):
    """`body` and `event` take the error and the request's id; `lines` gives header lines for the latter."""

    body: Callable[[PosthouseError, str], bytes]
    event: Callable[[PosthouseError, str], bytes]
    lines: Callable[[str], bytes]


def no_lines(_request_id: str) -> bytes:
    return b""


def shape_of(codec: Codec, lines: Callable[[str], bytes] = no_lines) -> Shape:
    """The shape of a dialect's routes."""

    def event(error: PosthouseError, request_id: str) -> bytes:
        return codec.encoder(ReplyHead(request_id, "", int(time.time()))).fail(error)

    return Shape(codec.encode_error, event, lines)


def _openai_body(error: PosthouseError, _request_id: str) -> bytes:
    return encode_error(error)


def _openai_event(error: PosthouseError, _request_id: str) -> bytes:
    return b"data: " + encode_error(error) + b"\n\n"


OPENAI: Final = Shape(_openai_body, _openai_event, no_lines)
