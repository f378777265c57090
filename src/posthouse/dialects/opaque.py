"""Opaque state on its way through a client that speaks another dialect than the model that made it.

Each dialect has one place for a string that clients send back unread (a signature, encrypted content). Foreign state
travels there sealed, with its maker; what comes back and is not sealed is the dialect's own.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from posthouse.core.items import OpaqueState

_MARK: Final = "ph1."
_QUOTED_MARK: Final = b'"ph1.'
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(OpaqueState).decode


def seal(state: OpaqueState) -> str:
    """ASCII, of letters, digits and `-_.=` only."""
    return _MARK + urlsafe_b64encode(_encode(state)).decode()


def unseal(text: str) -> OpaqueState | None:
    """None where `text` was not sealed by us, or was damaged on its way."""
    if not text.startswith(_MARK):
        return None
    try:
        return _decode(urlsafe_b64decode(text[len(_MARK) :].encode("ascii", "replace")))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None


def has_sealed(body: bytes) -> bool:
    """Whether JSON may hold sealed state, told by a look at its bytes; a false alarm costs a closer look."""
    return _QUOTED_MARK in body
