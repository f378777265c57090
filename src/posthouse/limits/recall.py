"""Limits of a calendar day over a restart, and those that are given while the day runs.

The limiter counts in memory. What was used of a day before is read from the records: at the start for all at once,
before anything is admitted; and when a subject is limited that was not, for itself, while requests go on: until that
is read, less than a second as a rule, only what it used since counts.

What cannot be known: what an address used (no record has it), repetitions under an Idempotency-Key, and what was not
settled before the process ended.

Above: app. Below: service.py (the limiter), store.py. The event loop's; the database is asked in threads.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from posthouse.core.caller import Limits
from posthouse.core.errors import Unavailable
from posthouse.limits.calendar import Used
from posthouse.limits.service import Limiter, Unread
from posthouse.limits.store import any_daily, used_by, used_by_all
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal

logger = logging.getLogger("posthouse.limits")

MAX_WAITING: Final = 100_000
_AT_ONCE: Final = 100  # read in one transaction
_APPLIED: Final = 2.0  # seconds to wait for the journal
_PAUSE: Final = 1.0  # seconds, while the database is away


class DayReader:
    """Reads for one limiter. The journal's lines of a former life are in the database."""

    def __init__(self, limiter: Limiter, database: Database, journal: Journal) -> None:
        self._limiter = limiter
        self._database = database
        self._journal = journal
        self._waiting: list[Unread] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self, others: Iterable[Limits] = ()) -> None:
        """Before anything is admitted. `others`: limits that are in force besides those of keys and accounts."""
        daily = any(one.daily for one in others)
        moment = self._limiter.moment()
        # Of the whole day: where the clock has gone back within it, some of what was used lies ahead.
        starts, ends = int(moment.day.starts * 1000), int(moment.day.ends * 1000)

        def read() -> dict[str, Used]:
            with self._database.snapshot() as connection:
                return used_by_all(connection, starts, ends) if daily or any_daily(connection) else {}

        try:
            past = await asyncio.to_thread(read)
        except Unavailable:
            # Each subject is read by itself when it is first met.
            logger.warning("what was used of limits per day before this start is read later: the database is away")
            past = {}
        self._limiter.recall(moment.day, past, self._ask)

    def _ask(self, unread: Unread) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(unread)
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                some = self._waiting[:_AT_ONCE]
                try:
                    self._journal.flush()
                    found = await asyncio.to_thread(self._read, some)
                except Unavailable:
                    await asyncio.sleep(_PAUSE)
                    continue
                del self._waiting[: len(some)]
                for unread, used in zip(some, found, strict=True):
                    unread.read(used)
        except Exception:  # the top of a task: these begin at nothing, and the next are read again
            logger.exception("what was used of a limit per day could not be read")
            self._waiting.clear()
        finally:
            self._reading = None

    def _read(self, some: Sequence[Unread]) -> list[Used]:
        self._journal.wait_applied(_APPLIED)
        with self._database.snapshot() as connection:
            return [used_by(connection, one.subject, int(one.day.starts * 1000), int(one.since * 1000)) for one in some]
