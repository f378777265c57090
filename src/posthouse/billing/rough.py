"""Tokens of a JSON body that passes in pieces, by its size: rather too many than too few (docs/billing.md, COUNT-5).

What is long and in base64 is no text, but a picture, sound or a file; it is counted as a file, the dearest of them.
Above: the raw door. Where a body is there at once, `estimate.rough_input_tokens` looks closer.
"""

from typing import Final

_STEP: Final = 4096
_WINDOW: Final = 64
_FILE_BYTES: Final = 16  # of base64 for a token
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class RoughCount:
    """Looks at 64 bytes in every 4 KiB."""

    __slots__ = ("_media", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._media = 0

    def feed(self, data: bytes) -> None:
        at = -self._size % _STEP
        while at + _WINDOW <= len(data):
            if not data[at : at + _WINDOW].translate(None, _BASE64):
                self._media += _STEP
            at += _STEP
        self._size += len(data)

    @property
    def tokens(self) -> int:
        media = min(self._media, self._size)
        return (self._size - media) * 2 // 5 + media // _FILE_BYTES + 1
