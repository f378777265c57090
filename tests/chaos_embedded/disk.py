"""A disk that can be full, and a house whose journal is written to it."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthouse.storage.journal import Journal, JournalOptions
from tests.e2e.house import RunningHouse


class Disk:
    """os.pwrite on a disk that may be full: `room` bytes are left, None is no bound. The house writes from threads of
    its own."""

    def __init__(self) -> None:
        self.refused = 0
        self._room: int | None = None
        self._lock = threading.Lock()

    def leave(self, room: int | None) -> None:
        with self._lock:
            self._room = room

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        with self._lock:
            if self._room is None:
                return os.pwrite(descriptor, data, offset)
            if not self._room:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = os.pwrite(descriptor, data[: self._room], offset)
            self._room -= done
            return done


@contextmanager
def running_on(disk: Disk, folder: Path, config: str, bound: int | None = None) -> Iterator[RunningHouse]:
    """`bound`: bytes that the journal may have, where that is less than any setting may say."""
    house = RunningHouse(folder, config, {})
    storage = house.loaded.settings.storage
    total = storage.journal_limit if bound is None else bound
    options = JournalOptions(storage.journal_segment, total, retry=0.05, write=disk.write)
    house.house.journal = Journal(storage.data / "journal", house.house.database, options=options)
    house.start()
    try:
        yield house
    finally:
        disk.leave(None)
        house.stop()
