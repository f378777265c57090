"""How long a file of sound is, by its first bytes and its size: for reserving, and where nobody counts.

WAV, FLAC and MP3 say it, or what a second takes; of anything else two kilobytes are taken for a second, which is speech
at the least that people record it with. Nothing is believed that would make a second shorter than 1,000 bytes or longer
than 2,000,000.

Sources: RFC 9639 (FLAC), the ID3v2 and Xing headers as ffmpeg 7 reads them (libavformat/mp3dec.c), RIFF WAVE. Checked:
2026-11-21.
"""

import struct
from typing import Final

_USUAL: Final = 2_000  # bytes of a second
_LEAST, _MOST = 1_000, 2_000_000
# kbit/s of layer III by the four bits of a frame's header, for MPEG 1 and for 2 and 2.5.
_KBITS: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_HERTZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def sound_ms(opening: bytes, size: int) -> int:
    """Milliseconds of a file of `size` bytes that begins with `opening`; rather too many where it does not say."""
    ms = _wav(opening, size) or _flac(opening) or _mp3(opening, size) or size * 1000 // _USUAL
    return min(max(ms, size * 1000 // _MOST), size * 1000 // _LEAST) + 1 if size > 0 else 0


def _wav(opening: bytes, size: int) -> int:
    at = opening.find(b"fmt ", 12, 512)
    if not opening.startswith(b"RIFF") or opening[8:12] != b"WAVE" or at < 0 or len(opening) < at + 24:
        return 0
    second: int = struct.unpack_from("<I", opening, at + 16)[0]
    return size * 1000 // second if second else 0


def _flac(opening: bytes) -> int:
    if not opening.startswith(b"fLaC") or len(opening) < 26 or opening[4] & 0x7F:
        return 0
    packed = int.from_bytes(opening[18:26], "big")
    hertz, samples = packed >> 44, packed & ((1 << 36) - 1)
    return samples * 1000 // hertz if hertz else 0


def _mp3(opening: bytes, size: int) -> int:
    at = 0
    if opening.startswith(b"ID3") and len(opening) > 10:
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(opening[6:10], (21, 14, 7, 0), strict=True))
    head = int.from_bytes(opening[at : at + 4], "big")
    version, layer, rate, step = head >> 19 & 3, head >> 17 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer != 1 or step == 3:
        return 0
    hertz = _HERTZ[version][step]
    for mark in (b"Xing", b"Info"):
        found = opening.find(mark, at + 4, at + 44)
        if found >= 0 and len(opening) >= found + 12 and opening[found + 7] & 1:
            frames: int = struct.unpack_from(">I", opening, found + 8)[0]
            return frames * (1152 if version == 3 else 576) * 1000 // hertz
    kbits = _KBITS[0 if version == 3 else 1][rate]
    return (size - at) * 8 // kbits if kbits else 0
