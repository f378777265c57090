"""Lines in files: what is complete, what is torn, what is damaged."""

from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.storage.segments import Position, SegmentReader, encode_line, intact, segment_path, segments


def line(payload: bytes = b"[1]") -> bytes:
    return encode_line(b"H", crc32(b"H"), payload)


@given(st.binary(min_size=1).filter(lambda payload: b"\n" not in payload))
def test_a_line_as_written_is_intact(payload: bytes) -> None:
    assert intact(line(payload)[:-1])


@given(st.data())
def test_a_line_with_any_byte_changed_is_not_intact(data: st.DataObject) -> None:
    whole = bytearray(line(b'["req_1",12,null]')[:-1])
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    assert not intact(bytes(whole))


@pytest.mark.parametrize("piece", [b"", b"H", b"H00000000", b"\0" * 40])
def test_what_is_no_line_is_not_intact(piece: bytes) -> None:
    assert not intact(piece)


def read_all(directory: Path, end: Position, most: int = 100) -> list[bytes]:
    reader = SegmentReader(directory)
    position, found = Position(0, 0), list[bytes]()
    while position < end:
        lines, position = reader.read(position, end, most)
        assert len(lines) <= most
        found += lines
    reader.close()
    return found


def test_segments_are_read_in_order_over_gaps_and_empty_ones(tmp_path: Path) -> None:
    segment_path(tmp_path, 3).write_bytes(b"a\nb\n")
    segment_path(tmp_path, 4).write_bytes(b"")
    segment_path(tmp_path, 9).write_bytes(b"c\n")
    (tmp_path / "lock").touch()
    assert segments(tmp_path) == [3, 4, 9]
    assert read_all(tmp_path, Position(9, 2)) == [b"a", b"b", b"c"]


def test_a_torn_tail_is_passed_over(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).write_bytes(b"a\nb\nto")
    segment_path(tmp_path, 2).write_bytes(b"c\n")
    assert read_all(tmp_path, Position(2, 2)) == [b"a", b"b", b"c"]


def test_nothing_is_read_beyond_the_end_that_was_told(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).write_bytes(b"a\nb\nc\n")
    assert read_all(tmp_path, Position(1, 4)) == [b"a", b"b"]


def test_a_read_is_bounded_in_lines(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).write_bytes(b"a\n" * 10)
    assert read_all(tmp_path, Position(1, 20), most=3) == [b"a"] * 10


def test_a_line_longer_than_one_read_is_read_whole(tmp_path: Path) -> None:
    long = b"x" * 3_000_000
    segment_path(tmp_path, 1).write_bytes(b"a\n" + long + b"\nb\n")
    assert read_all(tmp_path, Position(1, 3_000_005)) == [b"a", long, b"b"]
