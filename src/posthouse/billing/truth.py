"""What PostgreSQL says of budgets, for the shared gate. (ADR 8; limits/demand.py has the other side.)

A purse is one budget in one period; its name says whose, in what currency, and since when: `key_1|USD|month|20261101`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, func, or_, select, text

from posthouse.billing.balances import Day, instant_of
from posthouse.core.caller import Budget, Subject
from posthouse.storage import replicas
from posthouse.storage.database import Database
from posthouse.storage.tables import holds, spend
from posthouse.storage.trees import subtree

T = TypeVar("T")
_LENGTH: Final = {"day": 1, "week": 7, "month": 31}
_AS_OF_NOW: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def purse_of(subject: Subject, budget: Budget, today: Day) -> str:
    """The name of a subject's budget in the period that `today` lies in."""
    return f"{subject.id}|{budget.currency}|{budget.period}|{today.first(budget.period)}"


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
    subject, currency, _, first = purse.rsplit("|", 3)
    since = instant_of(int(first))
    mine = or_(holds.c.key_id == subject, holds.c.account_id.in_(subtree(subject)))
    rows: Sequence[Any] = connection.execute(
        select(holds.c.id, holds.c.amount).where(
            holds.c.state == "held", holds.c.currency == currency, holds.c.created_at >= since, mine
        )
    ).all()
    total = select(func.sum(spend.c.amount)).where(
        or_(spend.c.subject_id == subject, spend.c.subject_id.in_(subtree(subject))),
        spend.c.currency == currency,
        spend.c.day >= int(first),
    )
    spent = int(connection.execute(total).scalar() or 0)
    return Committed(spent, [(row.id, int(row.amount)) for row in rows if row.amount])
