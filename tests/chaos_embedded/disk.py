"""A disk that can be full, and a house whose journal is written to it."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from posthouse.storage.journal import Journal, JournalOptions
from tests.e2e.house import RunningHouse


class Disk:
    """os.pwrite on a disk where `room` bytes are left; None is no bound."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.refused = 0

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        room = self.room
        if room is None:
            return os.pwrite(descriptor, data, offset)
        if room == 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = os.pwrite(descriptor, data[:room], offset)
        self.room = room - done
        return done


@contextmanager
def running_on(
    disk: Disk, folder: Path, config: str, environ: Mapping[str, str] | None = None
) -> Iterator[RunningHouse]:
    house = RunningHouse(folder, config, environ or {})
    storage = house.loaded.settings.storage
    options = JournalOptions(storage.journal_segment, storage.journal_limit, retry=0.05, write=disk.write)
    house.house.journal = Journal(storage.data / "journal", house.house.database, options=options)
    house.start()
    try:
        yield house
    finally:
        disk.room = None
        house.stop()
