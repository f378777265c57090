"""Signed bodies of webhooks: HMAC-SHA256 over a time and the raw bytes, and what is read of them afterwards.

Nothing of a body is looked at before its signature has been found to be right. Every comparison takes the same time
whatever it finds. An empty secret signs nothing.

Above: the webhooks. Below: core.
"""

import hmac
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from msgspec import Struct

from posthouse.api.exchange import Exchange
from posthouse.core.errors import BodyTooLarge, InvalidRequest, PosthouseError

_TIME: Final = re.compile(rb"[0-9]{1,12}")
_MOST_SIGNATURES: Final = 16
_LONGEST_HEADER: Final = 4096


class BadSignature(PosthouseError):
    """Not signed with our secret: in the same words whatever is wrong with it."""

    status = 401
    type = "authentication_error"
    code = "signature_invalid"

    def __init__(self) -> None:
        super().__init__("The signature is missing, or it is not of this body.")


class Signed(Struct, frozen=True):
    """What a sender says of a body: when (seconds since the epoch, as it is written) and how it is signed (hex)."""

    time: bytes
    signatures: Sequence[bytes]


def pairs_of(header: bytes) -> list[tuple[bytes, bytes]]:
    """`t=1,v1=abc,v1=def` as pairs. BadSignature where it is too long."""
    if len(header) > _LONGEST_HEADER:
        raise BadSignature
    parts = [part.strip().partition(b"=") for part in header.split(b",")]
    return [(name, value) for name, equals, value in parts if equals]


def signed_by_pairs(header: bytes, time: bytes | None = None) -> Signed:
    """Of a header with `v1=` as often as there are secrets, and with `t=` once unless the time stands elsewhere."""
    pairs = pairs_of(header)
    times = [value for name, value in pairs if name == b"t"] if time is None else [time]
    signatures = [value for name, value in pairs if name == b"v1"]
    if len(times) != 1 or not 0 < len(signatures) <= _MOST_SIGNATURES:
        raise BadSignature
    return Signed(times[0], signatures)


class Seal(Struct, frozen=True):
    """`secret` is not empty; `tolerance` in seconds, either way."""

    secret: bytes
    tolerance: int

    def check(self, signed: Signed, body: bytes, now: float) -> None:
        """BadSignature; InvalidRequest where it is right, but of another time than `now` (seconds)."""
        if not self.secret or _TIME.fullmatch(signed.time) is None:
            raise BadSignature
        expected = hmac.new(self.secret, signed.time + b"." + body, sha256).hexdigest().encode()
        right = False
        for signature in signed.signatures:
            right |= hmac.compare_digest(expected, signature)
        if not right:
            raise BadSignature
        if abs(now - int(signed.time)) > self.tolerance:
            raise InvalidRequest(
                "The signature is too old, or of a clock that goes wrong; sign again.", code="signature_stale"
            )


async def body_of(exchange: Exchange, most: int) -> bytes:
    """The raw body of a route that streams it. BodyTooLarge beyond `most` bytes, before more is read."""
    if exchange.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise InvalidRequest("A request's body must not be compressed here.", code="unsupported_encoding")
    whole = bytearray()
    while piece := await exchange.read():
        if len(whole) + len(piece) > most:
            raise BodyTooLarge(f"The request's body is larger than {most} bytes.")
        whole += piece
    return bytes(whole)


def object_of(body: bytes) -> dict[str, Any]:
    """A JSON object in which no name is there twice, and no number that is none. InvalidRequest."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON in UTF-8, or it has a member twice.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no number")
