"""What echo draws, says, hears, ranks and judges: pure functions of what it is asked, without a model behind them.

* `picture`: a PNG of the size that is asked for, a gradient with the prompt's words in it;
* `speech`: a tune, a tone for each character. Echo makes raw PCM where PCM is asked for and WAV otherwise, whatever
  the format that was asked for, and says so in its content type: encoders of MP3, Opus, AAC and FLAC are no part of it;
* `transcript`: a sentence that says which file was heard;
* `scores`: how many words a query and a document share;
* `flags`: nothing is flagged but a text with the word `echo-flag` (see `flags`).

Every result is bounded, and the same for the same input. Above: echo.py.
"""

import hashlib
import math
import re
import struct
import sys
import textwrap
import zlib
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from posthouse.core.errors import InvalidRequest

# --- Pictures ---------------------------------------------------------------------------------------------------------

LONGEST_SIDE: Final = 4_096
MOST_PIXELS: Final = 8_294_400  # 3840 x 2160
_SHOWN: Final = 400  # characters of the prompt
_MOST_LINES: Final = 16
_COLUMNS: Final = 24  # characters in a line
_SHADES: Final = 254  # entries of the palette for the gradient; the last two are for the text
_PANEL: Final = b"\xfe"
_INK: Final = b"\xff"
_NOTE: Final = "Echo: no model drew this"
# Three columns and five rows to a sign: a digit for each row from the top, its bits from left to right.
_GLYPHS: Final = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?-_+=/()'\"#%*<>[]@& ",
        (
            *("25755", "65656", "34443", "65556", "74647", "74644", "34553", "55755", "72227", "11152", "55655"),
            *("44447", "57755", "65555", "25552", "65644", "25563", "65655", "34216", "72222", "55557", "55552"),
            *("55775", "55255", "55222", "71247"),
            *("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717"),
            *("00002", "00024", "02020", "02024", "22202", "71202", "00700", "00007", "02720", "07070", "11244"),
            *("12221", "42224", "22000", "55000", "57575", "51245", "52500", "12421", "42124", "64446", "31113"),
            *("75747", "25256", "00000"),
        ),
        strict=True,
    )
)
_UNKNOWN: Final = "77777"  # a sign that there is no glyph for
_CELL: Final = 4  # columns of a sign with the gap behind it
_LINE: Final = 7  # rows of a line with the gaps around it


def picture(prompt: str, width: int, height: int, seed: int = 0) -> bytes:
    """A PNG of width x height pixels. InvalidRequest where a side is not 1 to 4,096 pixels, or all are more than
    8,294,400. `seed` changes the colours."""
    check_sides(width, height)
    packer = zlib.compressobj(6)
    data = [packer.compress(b"\0" + row) for row in _rows(prompt, width, height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits of a palette to a pixel
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _palette(prompt, seed)),
            _chunk(b"IDAT", b"".join(data) + packer.flush()),
            _chunk(b"IEND", b""),
        )
    )


def check_sides(width: int, height: int) -> None:
    """InvalidRequest where no picture of this size is drawn."""
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE and width * height <= MOST_PIXELS):
        raise InvalidRequest(
            f"'size' must be 1 to {LONGEST_SIDE} pixels wide and high, and {MOST_PIXELS} in all.", param="size"
        )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _palette(prompt: str, seed: int) -> bytes:
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest()
    start, end = digest[:3], digest[3:6]
    shades = [a + (b - a) * step // (_SHADES - 1) for step in range(_SHADES) for a, b in zip(start, end, strict=True)]
    return bytes(shades) + b"\x14\x14\x1c" + b"\xf4\xf4\xf0"


def _rows(prompt: str, width: int, height: int) -> Iterator[bytes]:
    """Every row of pixels, as entries of the palette: the same ramp one pixel further, and a panel of text over it."""
    ramp = bytes(step * _SHADES // (width + height) for step in range(width + height))
    scale = max(1, width // (_CELL * (_COLUMNS + 2)))
    lines = _lines(prompt, width // (_CELL * scale) - 3, height // (_LINE * scale) - 2)
    left = _CELL * scale
    top = (height - len(lines) * _LINE * scale) // 2
    panel = [row for line in lines for row in _drawn(line, width - 2 * left, scale)]
    for y in range(height):
        row = ramp[y : y + width]
        if 0 <= y - top < len(panel):
            row = row[:left] + panel[y - top] + row[width - left :]
        yield row


def _lines(prompt: str, columns: int, most: int) -> list[str]:
    """The text in lines, nothing where there is no room for a word."""
    if columns < _CELL or most < 1:
        return []
    shown = prompt if len(prompt) <= _SHOWN else prompt[:_SHOWN] + " ..."
    note = textwrap.wrap(_NOTE, columns)
    room = min(most, _MOST_LINES)
    return (textwrap.wrap(shown, columns)[: max(0, room - len(note))] + note)[:room]


def _drawn(line: str, width: int, scale: int) -> Iterator[bytes]:
    """The rows of a line of text on a panel of this width."""
    glyphs = [_GLYPHS.get(sign, _UNKNOWN) for sign in line.upper()]
    for number in range(-1, _LINE - 1):
        pixels = b""
        if 0 <= number < 5:
            bits = (int(glyph[number]) for glyph in glyphs)
            pixels = b"".join((_INK if row & bit else _PANEL) * scale for row in bits for bit in (4, 2, 1, 0))
        row = (_PANEL * (scale * _CELL // 2) + pixels).ljust(width, _PANEL)[:width]
        yield from (row for _ in range(scale))


# --- Speech -----------------------------------------------------------------------------------------------------------

SAMPLE_RATE: Final = 24_000
MOST_SOUND_MS: Final = 30_000
_LEAST_SOUND_MS: Final = 120
_SIGN_MS: Final = 60
_SIGN_SAMPLES: Final = SAMPLE_RATE * _SIGN_MS // 1000
_LOUD: Final = 6_000
_NOTES: Final = (262, 294, 330, 392, 440, 523, 587, 659)  # Hz: five notes to the octave
_SILENCE: Final = bytes(2 * _SIGN_SAMPLES)
_PCM: Final = ("pcm", "pcm16")


class Sound(Struct, frozen=True):
    """`milliseconds` of sound, as bytes of this content type."""

    data: bytes
    content_type: str
    milliseconds: int


def speech(text: str, response_format: str = "wav") -> Sound:
    """A tune whose length follows the text: 60 ms for each character, at most 30 seconds, 24 kHz, 16 bits, one channel.
    `pcm` gives bare samples, anything else a WAV file."""
    signs = max(_LEAST_SOUND_MS // _SIGN_MS, min(len(text), MOST_SOUND_MS // _SIGN_MS))
    tones = [_tone(frequency) for frequency in _NOTES]
    spoken = text[:signs].ljust(signs)
    samples = b"".join(_SILENCE if sign.isspace() else tones[ord(sign) % len(tones)] for sign in spoken)
    milliseconds = signs * _SIGN_MS
    if response_format in _PCM:
        return Sound(samples, "audio/pcm", milliseconds)
    return Sound(_wav(samples), "audio/wav", milliseconds)


def _tone(frequency: int) -> bytes:
    """Samples of one sign, with soft ends."""
    turn = 2 * math.pi * frequency / SAMPLE_RATE
    fade = _SIGN_SAMPLES // 8
    samples = array("h")
    for number in range(_SIGN_SAMPLES):
        soft = min(1.0, number / fade, (_SIGN_SAMPLES - 1 - number) / fade)
        samples.append(round(_LOUD * soft * math.sin(turn * number)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _wav(samples: bytes) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    rest = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


# --- Hearing ----------------------------------------------------------------------------------------------------------

_LONGEST_NAME: Final = 200


def transcript(size: int, name: str) -> str:
    """What is said of a file of sound: its name and its size in bytes."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in name[:_LONGEST_NAME]).split())
    return f'This is echo. It was given the file "{shown}" of {size:,} bytes; no model listens behind it.'


def heard_ms(size: int) -> int:
    """How long echo takes a file of this size to be, in milliseconds: as if it were sound that echo itself has made."""
    return max(1, size * 1000 // (SAMPLE_RATE * 2)) if size > 0 else 0


# --- Ranking and judging ----------------------------------------------------------------------------------------------

_WORD: Final = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_READ: Final = 20_000  # characters of a text that are ranked
CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_TRIGGER: Final = re.compile(r"\becho-flag(?::([a-z/-]{1,40}))?", re.IGNORECASE)


def scores(query: str, documents: Sequence[str]) -> list[float]:
    """0.0 to 1.0 for each document, in their order: the words it shares with the query, over the root of the product of
    both their numbers. A word is a Chinese, Japanese or Korean character, or a run of other letters and digits."""
    asked = _words(query)
    return [_overlap(asked, _words(document)) for document in documents]


class Flags(Struct, frozen=True):
    """Whether any category is flagged, which, and how surely (0.0 to 1.0)."""

    flagged: bool
    categories: dict[str, bool]
    scores: dict[str, float]


def flags(text: str) -> Flags:
    """Nothing is flagged, but what a test asks for: the word `echo-flag` flags `harassment`, `echo-flag:violence` the
    category that it names."""
    named = {match[1].lower() if match[1] else CATEGORIES[0] for match in _TRIGGER.finditer(text)}
    categories = {name: name in named for name in CATEGORIES}
    surely = {name: 0.99 if found else 0.0001 for name, found in categories.items()}
    return Flags(any(categories.values()), categories, surely)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text[:_READ].lower()))


def _overlap(asked: set[str], words: set[str]) -> float:
    return round(len(asked & words) / math.sqrt(len(asked) * len(words)), 6) if asked and words else 0.0
