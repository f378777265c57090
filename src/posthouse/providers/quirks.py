"""Helpers for what vendors do otherwise; what each does is in its own file."""

from typing import Any, Final

import msgspec

from posthouse.providers.model import Provider

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


def repair_whole(row: Provider, body: bytes) -> bytes:
    """A whole answer put right as the events of a stream are; the same bytes where there is nothing to repair.

    A body is decoded only where the row's marker stands in it.
    """
    if row.repair is None or row.repair_marker not in body:
        return body
    try:
        repaired = row.repair(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body  # whoever reads it next says what is wrong with it
    return body if repaired is None else _encode(repaired)
