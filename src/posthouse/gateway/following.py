"""What other processes have changed, and holds here within a second: keys, accounts, prices, corrections, folds.

Above: app, which runs it in the event loop. Below: accounts and billing, asked in threads.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from posthouse.accounts.service import Directory
from posthouse.billing.corrections import CorrectionDesk
from posthouse.billing.folds import REBUILT
from posthouse.billing.ledger import Ledger
from posthouse.gateway.replica import Replica
from posthouse.storage import revisions
from posthouse.storage.database import Database

logger = logging.getLogger("posthouse.following")

REFRESH: Final = 0.5  # seconds


class Follower:
    """`replica` is None where there is but one server."""

    def __init__(self, database: Database, directory: Directory, ledger: Ledger, replica: Replica | None) -> None:
        self._database = database
        self._directory = directory
        self._corrections = CorrectionDesk(database)
        self._ledger = ledger
        self._replica = replica

    async def run(self, prices: Callable[[], Callable[[], None] | None]) -> None:
        """Until it is cancelled. `prices` is asked in a thread, and what it gives is done in the loop."""
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self.once()
                use = await asyncio.to_thread(prices)
                if use is not None:
                    use()
            except Exception:  # the top of a task: a database that is away must not end it
                logger.exception("keys, prices and corrections could not be read again")

    async def once(self) -> None:
        ledger = self._ledger
        await asyncio.to_thread(self._directory.refresh_if_changed)
        if moved := self._directory.take_moved():
            self._doubt(moved)
        ledger.heed(await asyncio.to_thread(self._corrections.after, ledger.corrected_to))
        rebuilt = await asyncio.to_thread(self._rebuilt)
        if rebuilt != ledger.rebuilt:
            ledger.rebuilt = rebuilt
            self._doubt(None)

    def _doubt(self, subjects: set[str] | None) -> None:
        if self._replica is None:
            self._ledger.doubt(subjects)
        else:
            self._replica.corrected(subjects)

    def _rebuilt(self) -> int:
        with self._database.read() as connection:
            return revisions.read(connection).get(REBUILT, 0)
