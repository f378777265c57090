"""The journal's hot half: lines are appended in memory and flushed with one write. Called by the event loop's thread.

What a failing disk means, line by line:

- Nothing that was appended is ever dropped by a failed flush: it stays in memory and every later flush, and the apply
  thread twice a second, tries again. Whoever flushed is told (Unavailable) and refuses its request; billing then ends
  that request's hold, and both lines are written together later. If the process dies before, neither was ever there.
- A hold (H) is not even taken while the disk fails or the journal is full: admission is closed (`trouble`), so that
  what waits in memory is bounded by the requests that were already admitted.
- An end (E) is money that was earned: it is never refused. `headroom` keeps room for the ends of admitted requests
  below the journal's bound.
- A record (R) is lost, and counted, only beyond the hard bounds: a full journal, or too much waiting in memory.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from posthouse.core.errors import Unavailable
from posthouse.storage.rows import END, HOLD, PRICE, REQUEST, JournalRow
from posthouse.storage.segments import Position, create_segment, encode_line

_KINDS: Final = {kind: (kind.encode(), crc32(kind.encode())) for kind in (HOLD, END, REQUEST, PRICE)}


class JournalOptions(Struct, frozen=True):
    """Bounds of a journal. Sizes in bytes, times in seconds.

    `gather`: how long the apply thread waits for more after the first line: 25 requests to a batch cost 37 us each, 50
    cost 31, 200 cost 22; nobody waits for it but `Journal.wait_applied`, which cuts it short. `chunk_lines`: most lines
    per transaction. `write` has the signature of os.pwrite and is the seam where a test breaks the disk.
    """

    segment_bytes: int = 16 * 1024 * 1024
    total_bytes: int = 256 * 1024 * 1024
    headroom_bytes: int = 32 * 1024 * 1024
    waiting_bytes: int = 16 * 1024 * 1024
    gather: float = 0.1
    retry: float = 0.5
    chunk_lines: int = 2_000
    write: Callable[[int, bytes, int], int] = os.pwrite


class Progress(Struct):
    """Where the file ends, as the apply thread may read it; replaced as a whole, so never half of one."""

    end: Position
    bytes: int = 0
    lines: int = 0


class Writer:
    """One segment open for writing. `append` and `flush` by one thread; `retry` and `freed` by the apply thread."""

    def __init__(self, directory: Path, segment: int, options: JournalOptions, wake: threading.Event) -> None:
        self._directory = directory
        self.options = options
        self._write = options.write
        # However small an operator makes the whole: the segment being written is never deleted, so it must stay a small
        # part, or a journal that is wholly applied could count as full.
        self._segment_bytes = min(options.segment_bytes, options.total_bytes // 8)
        self._admit_bytes = options.total_bytes - min(options.headroom_bytes, options.total_bytes // 4)
        self._wake = wake
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()  # around the file: the apply thread writes too, when it retries
        self._buffer: list[bytes] = []
        self._waiting: list[bytes] = []  # what a failed flush left
        self._waiting_bytes = 0
        self._descriptor = create_segment(directory, segment)
        self._segment = segment
        self._offset = 0
        self._torn = False
        self._kept = 0  # bytes of all segments on the disk
        self.sealed: list[int] = []  # descriptors of finished segments: the apply thread syncs and closes them
        self.progress = Progress(Position(segment, 0))
        self.trouble: str | None = None
        self.oldest: float | None = None  # time.monotonic() of the oldest line that is not yet applied
        self.dropped = 0

    @property
    def descriptor(self) -> int:
        return self._descriptor

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def append(self, kind: str, row: JournalRow) -> None:
        if self.trouble is not None and kind != END and not self._may_append(kind):
            return
        head, seed = _KINDS[kind]
        self._buffer.append(encode_line(head, seed, self._encode(row)))

    def flush(self) -> None:
        lines = self._buffer
        if not lines and not self._waiting:
            return
        self._buffer = []
        with self._lock:
            self._put(lines)

    def retry(self) -> None:
        """Tries again to write what a failed flush left. Silent where it still fails."""
        with self._lock:
            if self._waiting:
                try:
                    self._put([])
                except Unavailable:
                    return

    def found(self, size: int) -> None:
        """Counts what a former life left on the disk, before anything is appended."""
        self._kept += size
        self._measure()

    def freed(self, size: int) -> None:
        """The apply thread deleted `size` bytes of segments."""
        with self._lock:
            self._kept -= size
            self._measure()

    def sync_failed(self) -> None:
        self.trouble = "the disk reports errors"

    def synced(self) -> None:
        if self.trouble is not None:
            with self._lock:
                self._measure()

    def close(self) -> None:
        os.close(self._descriptor)
        for descriptor in self.sealed:
            os.close(descriptor)
        self.sealed.clear()

    def _may_append(self, kind: str) -> bool:
        """While there is trouble: refuses a hold; drops a record where even the head-room is used up."""
        if kind == HOLD:
            raise Unavailable(f"Requests cannot be recorded just now: {self.trouble}.")
        if self._kept < self.options.total_bytes and self._waiting_bytes < self.options.waiting_bytes:
            return True
        self.dropped += 1
        return False

    def _put(self, lines: list[bytes]) -> None:
        """Under the lock: writes what waits and `lines` after it, all of it or (as far as anyone sees) nothing."""
        if self._waiting:
            lines = self._waiting + lines
        data = b"".join(lines)
        try:
            if self._torn:
                os.ftruncate(self._descriptor, self._offset)
                self._torn = False
            if self._offset >= self._segment_bytes:
                self._next_segment()
            self._write_all(data)
        except OSError as error:
            self._waiting, self._waiting_bytes = lines, len(data)
            self.trouble = f"the journal cannot be written ({error.strerror})"
            self._wake.set()
            raise Unavailable(f"Requests cannot be recorded just now: {self.trouble}.") from error
        self._offset += len(data)
        self._kept += len(data)
        before = self.progress
        end = Position(self._segment, self._offset)
        self.progress = Progress(end, before.bytes + len(data), before.lines + len(lines))
        if self._waiting:
            self._waiting, self._waiting_bytes = [], 0
        if self.trouble is not None or self._kept >= self._admit_bytes:
            self._measure()
        if self.oldest is None:
            # Only the first line wakes: setting an event costs 0.6 us, most flushes find the thread already awake.
            self.oldest = time.monotonic()
            self._wake.set()

    def _write_all(self, data: bytes) -> None:
        done = self._write(self._descriptor, data, self._offset)
        while done < len(data):
            self._torn = True
            done += self._write(self._descriptor, data[done:], self._offset + done)
        self._torn = False

    def _next_segment(self) -> None:
        descriptor = create_segment(self._directory, self._segment + 1)
        self.sealed.append(self._descriptor)
        self._descriptor, self._segment, self._offset = descriptor, self._segment + 1, 0

    def _measure(self) -> None:
        if self._waiting:
            return
        full = self._kept >= self._admit_bytes
        self.trouble = "the database is too far behind" if full else None
