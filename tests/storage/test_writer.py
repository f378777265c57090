"""The hot half: what is written when, and what a failing disk does to whom."""

import errno
import os
import threading
from pathlib import Path

import pytest

from posthouse.core.errors import Unavailable
from posthouse.storage.segments import intact, segment_path, segments
from posthouse.storage.writer import JournalOptions, Writer
from tests.storage.sample import end, hold, request, whole


class Disk:
    """os.pwrite that can be full. `room` bytes fit, then ENOSPC; None is no bound. `calls` counts the writes."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.calls = 0

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self.calls += 1
        if self.room is None:
            return os.pwrite(descriptor, data, offset)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = os.pwrite(descriptor, data[: self.room], offset)
        self.room -= done
        return done


class Bench:
    """A writer in a folder with a disk that can break."""

    def __init__(self, directory: Path, **bounds: int) -> None:
        self.disk = Disk()
        self.directory = directory
        self.wake = threading.Event()
        self.writer = Writer(directory, 1, JournalOptions(write=self.disk.write, **bounds), self.wake)

    def append(self, *numbers: int) -> None:
        for number in numbers:
            for kind, row in whole(number):
                self.writer.append(kind, row)

    def lines(self) -> list[bytes]:
        """All complete lines on the disk."""
        found: list[bytes] = []
        for number in segments(self.directory):
            found += segment_path(self.directory, number).read_bytes().split(b"\n")[:-1]
        assert all(intact(line) for line in found)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_flush_is_one_write_of_all_that_was_appended(bench: Bench) -> None:
    bench.append(1, 2)
    assert bench.lines() == []
    bench.writer.flush()
    assert bench.disk.calls == 1
    assert [chr(line[0]) for line in bench.lines()] == ["H", "E", "R"] * 2
    bench.writer.flush()
    assert bench.disk.calls == 1


def test_the_first_flush_wakes_the_other_half(bench: Bench) -> None:
    bench.append(1)
    assert not bench.wake.is_set()
    bench.writer.flush()
    assert bench.wake.is_set()
    assert bench.writer.progress.lines == 3


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, segment_bytes=500)
    for number in range(6):
        bench.append(number)
        bench.writer.flush()
    assert len(segments(tmp_path)) > 2
    assert len(bench.lines()) == 18
    assert len(bench.writer.sealed) == len(segments(tmp_path)) - 1


def test_a_full_disk_refuses_whoever_flushes_and_keeps_the_lines(bench: Bench) -> None:
    bench.disk.room = 0
    bench.append(1)
    with pytest.raises(Unavailable):
        bench.writer.flush()
    assert bench.writer.trouble is not None
    assert bench.writer.waiting
    bench.disk.room = None
    bench.writer.flush()
    assert len(bench.lines()) == 3
    assert bench.writer.trouble is None


@pytest.mark.parametrize("room", [1, 9, 60, 200, 300])
def test_half_a_write_is_taken_back_before_anything_else_is_written(bench: Bench, room: int) -> None:
    bench.append(1)
    bench.writer.flush()
    first = bench.lines()
    bench.disk.room = room
    bench.append(2)
    with pytest.raises(Unavailable):
        bench.writer.flush()
    bench.disk.room = None
    bench.writer.retry()
    assert bench.lines()[:3] == first
    assert len(bench.lines()) == 6
    assert segment_path(bench.directory, 1).stat().st_size == bench.writer.progress.end.offset


@pytest.mark.parametrize("room", [1, 50, 300])
def test_half_a_write_in_a_full_segment_is_taken_back_too(tmp_path: Path, room: int) -> None:
    bench = Bench(tmp_path, segment_bytes=700)
    for number in range(4):
        bench.append(number)
        bench.disk.room = room
        with pytest.raises(Unavailable):
            bench.writer.flush()
        bench.disk.room = None
        bench.writer.flush()
    assert len(bench.lines()) == 12


def test_short_writes_are_continued(tmp_path: Path) -> None:
    def short(descriptor: int, data: bytes, offset: int) -> int:
        return os.pwrite(descriptor, data[:7], offset)

    writer = Writer(tmp_path, 1, JournalOptions(write=short), threading.Event())
    for kind, row in whole(1):
        writer.append(kind, row)
    writer.flush()
    assert len(segment_path(tmp_path, 1).read_bytes().splitlines()) == 3


def test_while_the_disk_fails_holds_are_refused_and_ends_are_kept(bench: Bench) -> None:
    bench.disk.room = 0
    kind, row = hold(1)
    bench.writer.append(kind, row)
    with pytest.raises(Unavailable):
        bench.writer.flush()
    with pytest.raises(Unavailable):
        bench.writer.append(*hold(2))
    bench.writer.append(*end(1))
    bench.writer.append(*request(1))
    with pytest.raises(Unavailable):
        bench.writer.flush()
    bench.disk.room = None
    bench.writer.flush()
    assert [chr(line[0]) for line in bench.lines()] == ["H", "E", "R"]
    bench.writer.append(*hold(2))


def test_a_retry_that_fails_again_is_silent_and_loses_nothing(bench: Bench) -> None:
    bench.disk.room = 0
    bench.append(1)
    with pytest.raises(Unavailable):
        bench.writer.flush()
    bench.writer.retry()
    assert bench.writer.waiting
    bench.disk.room = None
    bench.writer.retry()
    assert len(bench.lines()) == 3


def test_a_full_journal_refuses_holds_but_has_room_for_the_ends_of_those_admitted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, total_bytes=3000, headroom_bytes=2000)
    number = 0
    while bench.writer.trouble is None:
        bench.writer.append(*hold(number))
        bench.writer.flush()
        number += 1
    assert number > 5
    with pytest.raises(Unavailable):
        bench.writer.append(*hold(number))
    for admitted in range(number):
        bench.writer.append(*end(admitted))
        bench.writer.flush()
    assert sum(line.startswith(b"E") for line in bench.lines()) == number


def test_beyond_the_head_room_records_are_dropped_and_counted_but_never_money(tmp_path: Path) -> None:
    bench = Bench(tmp_path, total_bytes=300, headroom_bytes=100)
    bench.append(1)
    bench.writer.flush()
    assert bench.writer.trouble is not None
    bench.writer.append(*request(2))
    bench.writer.append(*end(2))
    bench.writer.flush()
    assert bench.writer.dropped == 1
    assert bench.lines()[-1].startswith(b"E")


def test_what_waits_in_memory_is_bounded_for_records(tmp_path: Path) -> None:
    bench = Bench(tmp_path, waiting_bytes=1000)
    bench.disk.room = 0
    for number in range(50):
        bench.writer.append(*request(number))
        if bench.writer.dropped < number:
            with pytest.raises(Unavailable):
                bench.writer.flush()
    assert bench.writer.dropped > 30


def test_freed_room_opens_admission_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, total_bytes=400, headroom_bytes=100)
    bench.append(1)
    bench.writer.flush()
    assert bench.writer.trouble is not None
    bench.writer.freed(bench.writer.progress.end.offset)
    assert bench.writer.trouble is None


def test_a_small_bound_makes_small_segments_so_that_what_is_applied_can_be_deleted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, total_bytes=8_000)
    for number in range(10):
        bench.append(number)
        bench.writer.flush()
        assert bench.writer.trouble is None
    assert len(segments(tmp_path)) > 2


def test_a_disk_that_cannot_sync_closes_admission_until_it_can(bench: Bench) -> None:
    bench.writer.sync_failed()
    with pytest.raises(Unavailable):
        bench.writer.append(*hold(1))
    bench.writer.synced()
    bench.writer.append(*hold(1))
