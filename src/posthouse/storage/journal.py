"""The journal: what the hot path records instead of waiting for the database.

    journal/lock               held (flock) by the one process that owns the folder
    journal/id                 this journal's name in the table journal_position
    journal/000000000001.journal ...   segments (segments.py)
    journal/rejected           lines that no database took, each with its reason

`append` and `flush` (writer.py) belong to the event loop's thread: one flush is one write into the page cache, which a
kill of the process does not lose. The apply thread (applying.py) syncs the file and moves its lines into the database,
every line exactly once: the position moves in the transaction of the lines themselves.

Above: billing, the gateway, the composition root. Below: appliers, the database.
"""

import asyncio
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy import select

from posthouse.core.errors import ConfigError, Unavailable
from posthouse.storage.appliers import APPLIERS, Applier
from posthouse.storage.applying import ApplyThread, Task
from posthouse.storage.database import Database
from posthouse.storage.paths import make_private_folder
from posthouse.storage.rows import JournalRow
from posthouse.storage.segments import START, Position, segment_path, segments, sync_folder
from posthouse.storage.tables import journal_position
from posthouse.storage.writer import JournalOptions, Writer

__all__ = ["Journal", "JournalOptions", "JournalStats"]

_SOON: Final = 0.005

Appliers = Mapping[str, Callable[[Database], Applier]]


class JournalStats(Struct, frozen=True):
    """For metrics. Pending: written, not yet in the database. Rejected: set aside, damaged lines included. Repeated:
    ends of holds that had ended. Dropped: records (never money) that found no room."""

    pending_bytes: int
    pending_lines: int
    applied_lines: int
    lag_seconds: float
    rejected: int
    repeated: int
    dropped: int


class Journal:
    """Made cheaply; `start` takes the folder, replays in the background and opens it for appending."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        appliers: Appliers = APPLIERS,
        options: JournalOptions | None = None,
    ) -> None:
        self._directory = directory
        self._database = database
        self._make_applier = appliers[database.kind]
        self._options = JournalOptions() if options is None else options
        self._lock: int | None = None
        self._writer: Writer | None = None
        self._thread: ApplyThread | None = None
        self._soon = False
        self.name = ""  # that of the folder, which no other server has; known from `start` on
        # The writer's own methods while there is one: the hot path saves a look at each call.
        self._append: Callable[[str, JournalRow], None] = _not_open
        self._flush: Callable[[], None] = _not_open

    # The hot path: the event loop's thread

    def append(self, kind: str, row: JournalRow, /) -> None:
        """Adds a line to the next flush. Raises Unavailable for a hold while nothing can be recorded, else never."""
        self._append(kind, row)

    def flush(self) -> None:
        """Writes what was appended: from here on a kill does not lose it. Unavailable where it cannot be written; it is
        then kept in memory and tried again (writer.py has the rules)."""
        self._flush()

    def flush_soon(self) -> None:
        """Flushes within 5 ms, unless somebody else does before: a hold whose answer takes its time is then on the
        disk, and one whose answer is quick goes there with its end, in one write. (A flush of its own for every hold
        took
        5 us.) A failure shows in `healthy` and in the next `flush`."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_later(_SOON, self._flush_now)

    def _flush_now(self) -> None:
        self._soon = False
        if self._writer is None:
            return  # closed meanwhile, and flushed by that
        try:
            self._writer.flush()
        except Unavailable:
            return  # kept, tried again; whoever needs it durable flushes for itself and is told

    # Any thread

    @property
    def healthy(self) -> bool:
        """Whether a request may be admitted: it can be recorded, and the database is not too far behind."""
        return self._writer is not None and self._writer.trouble is None

    def wait_applied(self, timeout: float) -> bool:
        """Waits until all that has been flushed so far is in the database; False after `timeout` seconds. Blocks."""
        if self._writer is None or self._thread is None:
            return False
        return self._thread.wait(self._writer.progress.end, timeout)

    def stats(self) -> JournalStats:
        writer, thread = self._writer, self._thread
        if writer is None or thread is None:
            return JournalStats(0, 0, 0, 0.0, 0, 0, 0)
        progress, counts = writer.progress, thread.counts
        return JournalStats(
            pending_bytes=max(0, progress.bytes + thread.left_bytes - counts.bytes),
            pending_lines=max(0, progress.lines + counts.replayed - counts.lines),
            applied_lines=counts.lines,
            lag_seconds=thread.lag(),
            rejected=counts.rejected,
            repeated=counts.repeated,
            dropped=writer.dropped,
        )

    # Life

    def start(self) -> None:
        """Takes the folder and begins to apply what a former life left. ConfigError where another process has it."""
        make_private_folder(self._directory)
        self._lock = _take(self._directory)
        try:
            name = self.name = _name_of(self._directory)
            position = self._position(name)
            former = segments(self._directory)
            first = max(position.segment, *former, 0) + 1
            wake = threading.Event()
            writer = Writer(self._directory, first, self._options, wake)
            sync_folder(self._directory)
        except OSError as error:
            self._release()
            raise ConfigError(f"cannot use the journal in {self._directory}: {error.strerror}") from error
        except BaseException:
            self._release()
            raise
        sizes = {number: segment_path(self._directory, number).stat().st_size for number in former}
        writer.found(sum(sizes.values()))
        left = sum(size for number, size in sizes.items() if number >= position.segment)
        applied = position.offset if position.segment in sizes else 0
        self._writer, self._append, self._flush = writer, writer.append, writer.flush
        task = Task(self._directory, name, position, left - applied, lambda: self._make_applier(self._database))
        self._thread = ApplyThread(task, writer, wake)
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """Flushes, applies everything, empties the folder; at most `timeout` seconds. False where lines are left on the
        disk: the next start applies them."""
        if self._writer is None or self._thread is None:
            return True
        try:
            self._writer.flush()
        except Unavailable:
            pass  # the apply thread tries until the time is over
        done = self._thread.stop(timeout)
        if self._thread.alive:
            return False  # still at it, so the folder stays ours until the process ends
        self._writer.close()
        self._writer = self._thread = None
        self._append = self._flush = _not_open
        self._release()
        return done

    @classmethod
    def recover(cls, directory: Path, database: Database, timeout: float = 60.0) -> bool:
        """Applies what a server that is gone left behind, for commands that run without one. False where a server is
        running (it applies by itself) or time was too short."""
        if not directory.is_dir():
            return True
        journal = cls(directory, database)
        try:
            journal.start()
        except FolderTaken:
            return False
        return journal.close(timeout)

    def _position(self, name: str) -> Position:
        query = select(journal_position.c.segment, journal_position.c.offset).where(journal_position.c.journal == name)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return START if row is None else Position(row.segment, row.offset)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class FolderTaken(ConfigError):
    """Another process has the journal's folder."""


def _not_open(*_: object) -> None:
    raise RuntimeError("the journal is not open")


def _take(directory: Path) -> int:
    try:
        descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the data folder {directory.parent}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FolderTaken(
            f"the data folder {directory.parent} is in use by another posthouse server; stop it, or give this one"
            " a folder of its own (--data)"
        ) from None
    return descriptor


def _name_of(directory: Path) -> str:
    """The journal's name: made once per folder, so that many servers can share one database."""
    path = directory / "id"
    try:
        name = path.read_text().strip()
    except FileNotFoundError:
        name = ""
    if not name:
        name = f"journal_{secrets.token_hex(8)}"
        part = path.with_name("id.part")
        part.write_text(name + "\n")
        part.replace(path)
    return name
