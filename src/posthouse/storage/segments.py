"""The journal's files: numbered segments of lines.

    line = kind (1 byte) + CRC-32 of kind and JSON (8 hex digits) + JSON array + "\\n"

JSON as msgspec writes it has no raw newline, so a line is complete exactly when its newline is there. A segment that
another life of the process wrote may end in a torn line, which nobody was told of: it is passed over. A complete line
whose sum is wrong is damage, and is set aside. A segment is never appended to by another life than the one that made
it.
"""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

HEAD_BYTES: Final = 9
_NAME: Final = re.compile(r"(\d{12})\.journal")
_READ_BYTES: Final = 512 * 1024


class Position(NamedTuple):
    """Everything before `offset` of `segment`, and all of the segments before it."""

    segment: int
    offset: int


START: Final = Position(0, 0)


def encode_line(kind: bytes, seed: int, payload: bytes) -> bytes:
    """`seed` is crc32(kind)."""
    return b"%b%08x%b\n" % (kind, crc32(payload, seed), payload)


def intact(line: bytes) -> bool:
    """Whether a line (without its newline) is as it was written."""
    if len(line) <= HEAD_BYTES:
        return False
    return b"%08x" % crc32(line[HEAD_BYTES:], crc32(line[:1])) == line[1:HEAD_BYTES]


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.journal"


def segments(directory: Path) -> list[int]:
    """Numbers of the segments there, oldest first."""
    return sorted(int(match[1]) for name in os.listdir(directory) if (match := _NAME.fullmatch(name)))


def create_segment(directory: Path, number: int) -> int:
    """A descriptor of a new, empty segment; OSError where that cannot be."""
    return os.open(segment_path(directory, number), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)


def sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SegmentReader:
    """Reads lines from where it is told up to where it is told, across segments."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: tuple[int, int] | None = None  # segment, descriptor

    def read(self, start: Position, end: Position, most: int) -> tuple[list[bytes], Position]:
        """Up to `most` complete lines (without newlines) from `start`, and the position after them.

        No lines means that there are none before `end`; the position then is `end`, or the torn tail's beginning moved
        past. A missing segment counts as empty.
        """
        position = start
        while position < end:
            last = position.segment == end.segment
            limit = end.offset if last else self._size(position.segment)
            if position.offset < limit:
                lines, after = self._lines(position, limit, most)
                if lines:
                    return lines, after
            if last:
                return [], end
            position = Position(self._following(position.segment, end.segment), 0)
        return [], end

    def close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _lines(self, position: Position, limit: int, most: int) -> tuple[list[bytes], Position]:
        segment, offset = position
        size = _READ_BYTES
        while True:
            data = os.pread(self._descriptor(segment), min(size, limit - offset), offset)
            cut = data.rfind(b"\n") + 1
            if cut or not data or offset + len(data) >= limit:
                break
            size *= 4  # one line longer than what was read
        if not cut:
            return [], Position(segment, limit)  # torn
        lines = data[: cut - 1].split(b"\n")
        if len(lines) > most:
            del lines[most:]
            cut = sum(map(len, lines)) + most
        return lines, Position(segment, offset + cut)

    def _size(self, segment: int) -> int:
        try:
            return segment_path(self._directory, segment).stat().st_size
        except FileNotFoundError:
            return 0

    def _following(self, segment: int, last: int) -> int:
        return min((number for number in segments(self._directory) if segment < number <= last), default=last)

    def _descriptor(self, segment: int) -> int:
        if self._open is None or self._open[0] != segment:
            self.close()
            path = segment_path(self._directory, segment)
            self._open = (segment, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return self._open[1]
