"""Content codings, for an upstream that compresses though it was asked not to (`accept-encoding: identity`).

Sans I/O. What comes out is bounded per step, whatever went in: a small answer that unfolds into gigabytes costs its
reader time and nobody memory.
"""

import zlib
from typing import Final

_STEP: Final = 256 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Inflater:
    """One body in `coding`, one of CODINGS (lower case). Raises zlib.error where the bytes make no sense."""

    __slots__ = ("_gzip", "_inflate", "_pending", "_started")

    def __init__(self, coding: bytes) -> None:
        self._gzip = coding != b"deflate"
        self._inflate = zlib.decompressobj(_GZIP if self._gzip else zlib.MAX_WBITS)
        self._pending = b""
        self._started = False

    def feed(self, data: bytes) -> None:
        """Only once take() has said that there is no more."""
        if not self._started and not self._gzip and data[0] & 0x0F != 8:
            # "deflate" means zlib's wrapping (RFC 9110, 8.4.1.2), but some servers send the bare stream.
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._started = True
        self._pending = data

    def take(self) -> bytes:
        """The next part that can be had without more input, at most 256 KiB; `b""` where more input is needed."""
        while self._pending:
            if self._inflate.eof:
                self._next_member()
            out = self._inflate.decompress(self._pending, _STEP)
            self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if out:
                return out
        # All input is consumed, yet what it unfolds to may be longer than one step.
        return b"" if self._inflate.eof else self._inflate.decompress(b"", _STEP)

    @property
    def whole(self) -> bool:
        """Whether the input so far is a complete body (an empty one is)."""
        return not self._started or self._inflate.eof

    def _next_member(self) -> None:
        if not self._gzip:
            raise zlib.error("data after the end of the stream")
        self._inflate = zlib.decompressobj(_GZIP)
