"""What echo draws, says, hears, ranks and judges, read back by other means."""

import io
import struct
import wave
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from posthouse.core.errors import InvalidRequest
from posthouse.providers.echo_media import (
    CATEGORIES,
    MOST_SOUND_MS,
    SAMPLE_RATE,
    flags,
    heard_ms,
    picture,
    scores,
    speech,
    transcript,
)

INK, PANEL = 255, 254


class Image(Struct):
    width: int
    height: int
    palette: bytes
    rows: list[bytes]

    def count(self, entry: int) -> int:
        return sum(row.count(entry) for row in self.rows)


def read(png: bytes) -> Image:
    """A PNG of 8 bits of a palette without filters; every chunk and its sum are looked at."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(png):
        size, kind = struct.unpack(">I4s", png[place : place + 8])
        data = png[place + 8 : place + 8 + size]
        assert png[place + 8 + size : place + 12 + size] == struct.pack(">I", zlib.crc32(kind + data))
        chunks[kind] = data
        place += 12 + size
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert form == [8, 3, 0, 0, 0]
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert len(pixels) == (width + 1) * height
    rows = [pixels[start : start + width + 1] for start in range(0, len(pixels), width + 1)]
    assert {row[0] for row in rows} == {0}
    assert len(chunks[b"PLTE"]) == 3 * 256
    return Image(width, height, chunks[b"PLTE"], [row[1:] for row in rows])


@pytest.mark.parametrize("size", [(1024, 1024), (1792, 1024), (256, 256), (37, 91), (1, 1), (1, 4096)])
def test_a_picture_is_a_png_of_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    image = read(picture("a red fox", *size))
    assert (image.width, image.height) == size


def test_a_picture_shows_a_gradient_and_the_words_of_the_prompt() -> None:
    image = read(picture("a red fox", 512, 512))
    assert len({entry for row in image.rows for entry in row}) > 200
    assert image.rows[0][0] < image.rows[-1][-1]
    assert image.count(PANEL) > image.count(INK) > 0
    assert read(picture("a red fox and a hen", 512, 512)).count(INK) > image.count(INK)


def test_the_word_in_a_picture_can_be_read() -> None:
    image = read(picture("HI", 104, 104))
    drawn = ["".join("#" if entry == INK else "." for entry in row) for row in image.rows]
    start = next(number for number, row in enumerate(drawn) if "#" in row)
    first = drawn[start].index("#")
    assert [row[first : first + 7] for row in drawn[start : start + 5]] == [
        "#.#.###",
        "#.#..#.",
        "###..#.",
        "#.#..#.",
        "#.#.###",
    ]


def test_the_same_is_drawn_for_the_same_and_another_for_another_seed() -> None:
    assert picture("a fox", 64, 64, 1) == picture("a fox", 64, 64, 1)
    assert read(picture("a fox", 64, 64, 1)).palette != read(picture("a fox", 64, 64, 2)).palette


@pytest.mark.parametrize("size", [(0, 64), (64, 0), (-1, 64), (4097, 1), (4096, 4096), (10**9, 10**9)])
def test_a_picture_beyond_its_bounds_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        picture("a fox", *size)
    assert refused.value.param == "size"


@given(st.text(max_size=600), st.integers(1, 200), st.integers(1, 200), st.integers())
def test_whatever_is_asked_for_is_drawn(prompt: str, width: int, height: int, seed: int) -> None:
    image = read(picture(prompt, width, height, seed))
    assert (image.width, image.height) == (width, height)


def test_a_prompt_without_end_is_cut() -> None:
    assert len(picture("word " * 1_000_000, 256, 256)) < 20_000


@pytest.mark.parametrize("response_format", ["wav", "mp3", "opus", "aac", "flac", "anything"])
def test_speech_is_a_wav_file_whatever_compression_is_asked_for(response_format: str) -> None:
    sound = speech("Hello there.", response_format)
    assert sound.content_type == "audio/wav"
    with wave.open(io.BytesIO(sound.data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        assert file.getnframes() * 1000 == sound.milliseconds * SAMPLE_RATE
        samples = file.readframes(file.getnframes())
    assert samples == speech("Hello there.", "pcm").data


def test_speech_is_as_long_as_its_text_within_bounds() -> None:
    lengths = [speech(text).milliseconds for text in ("", "a", "Hello there.", "word " * 100_000)]
    assert lengths == [120, 120, 720, MOST_SOUND_MS]
    bare = speech("Hello there.", "pcm")
    assert (bare.content_type, len(bare.data)) == ("audio/pcm", 720 * SAMPLE_RATE * 2 // 1000)


def test_speech_is_heard_and_silent_between_words() -> None:
    samples = struct.unpack("<4320h", speech("a b", "pcm").data)
    letters = [samples[start : start + 1440] for start in range(0, 4320, 1440)]
    assert [max(letter) > 1_000 for letter in letters] == [True, False, True]
    assert max(map(abs, samples)) <= 6_000


def test_a_transcript_says_what_was_heard_and_that_nobody_listened() -> None:
    text = transcript(12_345, "talk\n of\x00today.mp3")
    assert '"talk of today.mp3" of 12,345 bytes' in text
    assert "no model" in text
    assert len(transcript(1, "x" * 10_000)) < 400


def test_what_echo_has_said_is_heard_as_long_as_it_was() -> None:
    sound = speech("Hello there.", "pcm")
    assert heard_ms(len(sound.data)) == sound.milliseconds
    assert [heard_ms(size) for size in (-1, 0, 1)] == [0, 0, 1]


def test_documents_are_ranked_by_the_words_that_they_share_with_the_query() -> None:
    found = scores("Red cats", ["cats, red ones", "red", "dogs", "", "RED CATS"])
    assert found[4] == 1.0
    assert found[4] > found[0] > found[1] > found[2] == found[3] == 0.0
    assert scores("红色的猫", ["一只红色的猫", "狗"])[0] > 0.5
    assert scores("", ["anything"]) == [0.0]
    assert scores("anything", []) == []


@given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=5))
def test_every_score_is_between_nothing_and_one(query: str, documents: list[str]) -> None:
    found = scores(query, documents)
    assert len(found) == len(documents)
    assert all(0.0 <= score <= 1.0 for score in found)
    assert found == scores(query, documents)


def test_nothing_is_flagged_but_what_a_test_asks_for() -> None:
    assert not flags("I will fight you").flagged
    assert not any(flags("").categories.values())
    found = flags("please echo-flag this")
    assert (found.flagged, [name for name, flagged in found.categories.items() if flagged]) == (True, ["harassment"])
    two = flags("ECHO-FLAG:violence/graphic and echo-flag:self-harm")
    assert [name for name, flagged in two.categories.items() if flagged] == ["self-harm", "violence/graphic"]
    assert not flags("echo-flag:unheard-of").flagged
    assert list(found.categories) == list(found.scores) == list(CATEGORIES)
    assert all((found.scores[name] > 0.5) == found.categories[name] for name in CATEGORIES)
