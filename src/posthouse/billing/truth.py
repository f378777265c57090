"""What PostgreSQL says of budgets, for the shared gate. (ADR 8; limits/demand.py has the other side.)

A purse is one budget in one period; its name says whose, in what currency, and since when (spending.py).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, select, text

from posthouse.billing.spending import open_of, place_of, spent_in
from posthouse.core.caller import Budget
from posthouse.storage import replicas
from posthouse.storage.database import Database
from posthouse.storage.tables import holds

T = TypeVar("T")
_LENGTH: Final = {"day": 1, "week": 7, "month": 31}
_AS_OF_NOW: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def kept_for(budget: Budget) -> int:
    """Seconds for which a purse is kept after it was last touched: its period, and two days for what runs on."""
    return (_LENGTH.get(budget.period, 31) + 2) * 86_400


class Committed:
    """`spent` nano-units in the period, and the open holds with their amounts."""

    __slots__ = ("holds", "spent")

    def __init__(self, spent: int, open_holds: Sequence[tuple[str, int]]) -> None:
        self.spent = spent
        self.holds = open_holds


class Truth:
    """Asks in threads. Every verb raises Unavailable while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, purse: str) -> Committed:
        return await self._asked(lambda connection: committed(connection, purse))

    async def drained(self, since: float) -> bool:
        return not await self._asked(lambda connection: replicas.behind(connection, int(since * 1000) + 1))

    async def ends(self, requests: Sequence[str]) -> dict[str, int | None]:
        def found(connection: Connection) -> dict[str, int | None]:
            statement = select(holds.c.id, holds.c.state, holds.c.charged).where(holds.c.id.in_(requests))
            rows = connection.execute(statement)
            return {row.id: None if row.state == "held" else row.charged or 0 for row in rows}

        return await self._asked(found)

    async def alive(self, replica: str) -> bool:
        return await self._asked(lambda connection: replicas.alive(connection, replica))

    async def _asked(self, query: Callable[[Connection], T]) -> T:
        def work() -> T:
            with self._database.read() as connection:
                return query(connection)

        return await asyncio.to_thread(work)


def committed(connection: Connection, purse: str) -> Committed:
    """What a purse has spent and holds, both as of one moment. The first query of its transaction."""
    connection.execute(_AS_OF_NOW)
    place = place_of(purse)
    return Committed(spent_in(connection, place), open_of(connection, place))
