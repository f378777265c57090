"""How long a file of sound is, by its first bytes and its size."""

import io
import struct
import wave
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.sound import sound_ms

SIZE: Final = 1_000_000


def wav(hertz: int, channels: int, width: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(hertz)
        sound.writeframes(bytes(100))
    return file.getvalue()


def flac(hertz: int, samples: int) -> bytes:
    packed = (hertz << 44) | (1 << 41) | (15 << 36) | samples
    return b"fLaC\x00\x00\x00\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16)


def mp3(rate: int, version: int = 3, step: int = 1, rest: bytes = b"") -> bytes:
    head = (0x7FF << 21) | (version << 19) | (1 << 17) | (1 << 16) | (rate << 12) | (step << 10)
    return head.to_bytes(4, "big") + rest + bytes(100)


def id3(size: int) -> bytes:
    return b"ID3\x04\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)


def xing(frames: int) -> bytes:
    return bytes(32) + b"Xing" + struct.pack(">II", 1, frames)


KNOWN: Final = [
    (wav(16_000, 1, 2), SIZE, 31_250),
    (wav(44_100, 2, 2), SIZE, 5_668),
    (flac(44_100, 441_000), SIZE, 10_000),
    (mp3(9), SIZE, 62_500),  # 128 kbit/s at 48 kHz
    (mp3(8, version=2), SIZE, 125_000),  # 64 kbit/s at 24 kHz
    (mp3(9, rest=xing(1_000)), SIZE, 24_000),  # 1,152 samples in each of a thousand frames
    (mp3(9, version=2, rest=xing(1_000)), SIZE, 24_000),
    (id3(300) + mp3(9), SIZE, (SIZE - 310) * 8 // 128),
    (b"OggS", SIZE, SIZE // 2),
    (b"", SIZE, SIZE // 2),
]


@pytest.mark.parametrize(("opening", "size", "milliseconds"), KNOWN)
def test_a_file_says_how_long_it_is_or_is_taken_for_speech(opening: bytes, size: int, milliseconds: int) -> None:
    assert sound_ms(opening, size) == milliseconds + 1


@pytest.mark.parametrize(
    "opening",
    [
        wav(16_000, 1, 2)[:30],
        wav(16_000, 1, 2).replace(struct.pack("<I", 32_000), bytes(4)),
        flac(0, 100),
        flac(44_100, 0),
        flac(44_100, 100)[:20],
        mp3(0),
        mp3(15),
        mp3(9, version=1),
        mp3(9, step=3),
        mp3(9)[:3],
        id3(100_000)[:4096],
        b"ID3",
    ],
)
def test_a_head_that_makes_no_sense_is_no_head(opening: bytes) -> None:
    assert sound_ms(opening, SIZE) == SIZE // 2 + 1


def test_what_no_sound_can_be_is_not_believed() -> None:
    assert (
        sound_ms(wav(16_000, 1, 2).replace(struct.pack("<I", 32_000), struct.pack("<I", 3_000_000)), SIZE)
        == SIZE // 2_000 + 1
    )
    assert sound_ms(flac(1, (1 << 36) - 1), SIZE) == SIZE + 1
    assert sound_ms(b"", 0) == 0


@given(opening=st.binary(max_size=80), start=st.sampled_from([b"", b"RIFF1234WAVE", b"fLaC", b"ID3", b"\xff\xfb"]))
def test_no_bytes_are_too_strange(opening: bytes, start: bytes) -> None:
    assert SIZE // 2_000 < sound_ms(start + opening, SIZE) <= SIZE + 1
