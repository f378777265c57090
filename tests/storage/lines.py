"""Lines of the journal, and a folder with them as a killed process leaves it."""

import shutil
from pathlib import Path

from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.segments import segment_path, segments
from tests.storage.sample import Line, append, whole

SLOW = JournalOptions(gather=30.0)  # applies nothing by itself while a test lasts


def many(count: int, first: int = 0) -> list[Line]:
    return [line for number in range(first, first + count) for line in whole(number)]


def written(directory: Path, database: Database, lines: list[Line]) -> bytes:
    """The bytes of a segment with these lines."""
    journal = Journal(directory, database, options=SLOW)
    journal.start()
    append(journal, lines)
    data = segment_path(directory, segments(directory)[0]).read_bytes()
    assert journal.close(30)
    return data


def left_behind(directory: Path, data: bytes, number: int = 1) -> None:
    """A folder as a killed process leaves it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    segment_path(directory, number).write_bytes(data)
