"""The journal's other half: the thread that moves lines from the segments into the database.

One cycle: wait for the first line, gather more for `gather` seconds, sync the file (so that a power cut cannot take
back what the database will have), apply in bounded transactions, delete segments that are wholly applied. The thread
reads from the files even what was written a moment ago: what is pending is bounded by the disk, not held in memory, and
a replay after a kill is the same code.

Errors of the database are retried for ever, with a pause that grows to five seconds, from the position that the
database itself reports: a commit whose answer got lost is not applied twice. A line that the database refuses for what
it is goes to the file `rejected` and blocks nobody.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from posthouse.storage.appliers import Applier, Rejected, Repeated
from posthouse.storage.rows import END, HOLD, PRICE, REQUEST
from posthouse.storage.segments import HEAD_BYTES, Position, SegmentReader, intact, segment_path, segments
from posthouse.storage.writer import Writer

logger = logging.getLogger(__name__)

_KINDS: Final = frozenset({HOLD, END, REQUEST, PRICE})
_LONGEST_PAUSE: Final = 5.0
_REJECTED_BYTES: Final = 16 * 1024 * 1024  # beyond it, rejected lines are only counted


class Counts(Struct):
    """`lines` and `bytes` applied (or set aside), `replayed` of them left by a former life."""

    lines: int = 0
    bytes: int = 0
    replayed: int = 0
    rejected: int = 0
    repeated: int = 0


class Task(Struct, frozen=True):
    """What the thread works on. `start` is where the database says that this journal, `name`, has been applied to;
    `left_bytes` lie after it."""

    directory: Path
    name: str
    start: Position
    left_bytes: int
    make_applier: Callable[[], Applier]


class ApplyThread:
    """`wait`, `lag` and `stop` may be called from any thread."""

    def __init__(self, task: Task, writer: Writer, wake: threading.Event) -> None:
        self._task = task
        self._writer = writer
        self._wake = wake
        self._own = writer.progress.end.segment  # segments before it are a former life's
        self._position = task.start
        self._oldest = min(segments(task.directory))  # the oldest segment that is still there
        self._synced = writer.progress.end
        self._reader = SegmentReader(task.directory)
        self._applier: Applier | None = None
        self._pause = 0.0
        self._moved = threading.Condition()
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.left_bytes = task.left_bytes
        self.counts = Counts()

    def start(self) -> None:
        if self._position < self._writer.progress.end:
            self._hurry.set()
            self._wake.set()
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def lag(self) -> float:
        """Age in seconds of the oldest line that is not in the database, 0 where there is none."""
        oldest = self._writer.oldest
        return 0.0 if oldest is None else max(0.0, time.monotonic() - oldest)

    def wait(self, target: Position, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._moved:
            while self._position < target:
                self._hurry.set()
                left = deadline - time.monotonic()
                if left <= 0 or not self.alive:
                    return False
                self._moved.wait(min(left, 1.0))
        return True

    def stop(self, timeout: float) -> bool:
        """Applies the rest. False where that took longer than `timeout` seconds; what is left stays on the disk."""
        self._stopping.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout)
        if self.alive:
            self._gave_up.set()
            self._wake.set()
            self._thread.join(1.0)
        return not self.alive and not self._gave_up.is_set()

    # The thread

    def _run(self) -> None:
        while not self._gave_up.is_set():
            try:
                if self._finished():
                    break
                self._cycle()
                self._pause = 0.0
            except Exception as error:  # the top of a thread that must never die: whatever it was, try again
                self._recover(error)
        self._end()

    def _finished(self) -> bool:
        return self._stopping.is_set() and self._position >= self._writer.progress.end and not self._writer.waiting

    def _cycle(self) -> None:
        options = self._writer.options
        idle = self._writer.trouble is None and not self._undeleted()
        if self._position >= self._writer.progress.end:
            self._wake.wait(None if idle else options.retry)
        self._wake.clear()
        self._hurry.wait(options.gather)
        self._hurry.clear()
        if self._writer.waiting:
            self._writer.retry()
            if self._writer.waiting:
                self._gave_up.wait(options.retry)
        end = self._writer.progress.end
        self._sync(end)
        while self._position < end and not self._gave_up.is_set():
            self._chunk(end)
        self._writer.oldest = None
        if self._position < self._writer.progress.end:
            # Flushed between the two lines above: nobody has woken us for it.
            self._writer.oldest = time.monotonic()
        if self._undeleted():
            self._delete(self._position.segment)

    def _sync(self, end: Position) -> None:
        if end == self._synced:
            return
        try:
            while self._writer.sealed:
                descriptor = self._writer.sealed[0]
                os.fdatasync(descriptor)
                os.close(self._writer.sealed.pop(0))
            os.fdatasync(self._writer.descriptor)
        except OSError as error:
            # The lines are still in the page cache, so they are applied; but nothing new is promised on such a disk.
            logger.error("the journal cannot be synced: %s", error.strerror)
            self._writer.sync_failed()
            return
        self._synced = end
        self._writer.synced()

    def _chunk(self, end: Position) -> None:
        before = self._position
        lines, after = self._reader.read(before, end, self._writer.options.chunk_lines)
        if lines:
            applier = self._connected()
            if self._position != before:
                return  # the database was further than we knew
            aside: list[tuple[bytes, str]] = []
            if after.segment < self._own:
                aside = [(line, "damaged") for line in lines if not intact(line)]
            repeated = self._transaction(applier, lines, aside, after)
            self.counts.rejected += len(aside)
            self.counts.repeated += repeated
            self._count(lines, after)
        elif after.segment >= self._own:
            # All of a former life is done, torn tails (never counted as lines) included.
            self.left_bytes = min(self.left_bytes, self.counts.bytes)
        with self._moved:
            self._position = after
            self._moved.notify_all()

    def _transaction(
        self, applier: Applier, lines: list[bytes], aside: list[tuple[bytes, str]], after: Position
    ) -> int:
        """Applies the lines that are not `aside` already and adds to it those that cannot be. Returns the repeated
        ends."""
        if aside:
            damaged = {line for line, _ in aside}
            lines = [line for line in lines if line not in damaged]
        applier.begin()
        try:
            repeated = self._whole(applier, lines)
        except Rejected:
            applier.rollback()
            applier.begin()
            repeated = self._each(applier, lines, aside)
        if aside:
            self._set_aside(aside, after)
        applier.move(self._task.name, after)
        applier.commit()
        return repeated

    def _whole(self, applier: Applier, lines: list[bytes]) -> int:
        groups: dict[str, list[bytes]] = {HOLD: [], END: [], REQUEST: [], PRICE: []}
        for line in lines:
            kind = chr(line[0])
            if kind not in _KINDS:
                raise Rejected(f"unknown kind {kind!r}")
            groups[kind].append(line[HEAD_BYTES:])
        try:
            return applier.apply(groups)
        except Repeated:
            applier.rollback()
            applier.begin()
            return applier.apply(groups, careful=True)

    def _each(self, applier: Applier, lines: list[bytes], aside: list[tuple[bytes, str]]) -> int:
        """One line at a time, so that only those that cannot be applied are left out."""
        repeated = 0
        for line in lines:
            kind = chr(line[0])
            if kind not in _KINDS:
                aside.append((line, f"unknown kind {kind!r}"))
                continue
            applier.savepoint()
            try:
                repeated += applier.apply({kind: [line[HEAD_BYTES:]]}, careful=True)
            except Rejected as error:
                applier.undo()
                aside.append((line, str(error)))
        return repeated

    def _set_aside(self, aside: list[tuple[bytes, str]], after: Position) -> None:
        """Written before the commit: a kill between the two writes them twice, never not at all."""
        logger.error("%d lines of the journal were set aside; see %s", len(aside), self._task.directory / "rejected")
        path = self._task.directory / "rejected"
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _REJECTED_BYTES:
                for line, reason in aside:
                    record = {"before": after, "reason": reason, "line": line.decode(errors="replace")}
                    os.write(descriptor, msgspec.json.encode(record) + b"\n")
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _connected(self) -> Applier:
        if self._applier is None:
            self._applier = self._task.make_applier()
            known = self._applier.position(self._task.name)
            if known is not None and known > self._position:
                self._pass_over(known)
        return self._applier

    def _pass_over(self, known: Position) -> None:
        """A commit went through though its answer got lost: what it applied only has to be counted."""
        position = self._position
        while position < known:
            lines, position = self._reader.read(position, known, self._writer.options.chunk_lines)
            self._count(lines, position)
        with self._moved:
            self._position = known
            self._moved.notify_all()

    def _count(self, lines: list[bytes], after: Position) -> None:
        self.counts.lines += len(lines)
        self.counts.bytes += sum(map(len, lines)) + len(lines)
        if after.segment < self._own:
            self.counts.replayed += len(lines)

    def _recover(self, error: Exception) -> None:
        logger.warning("the journal cannot be applied, trying again: %s", str(error).partition("\n")[0])
        self._disconnect()
        self._pause = min(_LONGEST_PAUSE, max(0.05, self._pause * 2))
        self._gave_up.wait(self._pause)

    def _disconnect(self) -> None:
        if self._applier is not None:
            applier, self._applier = self._applier, None
            try:
                applier.close()
            except Exception:  # a broken connection may fail to close; a new one takes its place
                logger.debug("closing a broken connection failed", exc_info=True)

    def _undeleted(self) -> bool:
        return self._oldest < self._position.segment

    def _delete(self, before: int) -> None:
        """Deletes the segments before one, once the database has them for good."""
        if not self._connected().settle():
            return
        for number in segments(self._task.directory):
            if number < before:
                path = segment_path(self._task.directory, number)
                size = path.stat().st_size
                path.unlink()
                self._writer.freed(size)
        self._oldest = before

    def _end(self) -> None:
        self._reader.close()
        try:
            if not self._gave_up.is_set():
                self._delete(self._position.segment + 1)
        except Exception as error:  # all is applied; what could not be deleted is passed over by the next start
            logger.warning("the journal could not be emptied: %s", error)
        self._disconnect()
        with self._moved:
            self._moved.notify_all()
