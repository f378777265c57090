"""One server among several: what it does about its own former life."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from posthouse.gateway.replica import Replica
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import Demand, NotCovered, Purse
from posthouse.limits.service import Limiter
from posthouse.storage import replicas
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.redis import Redis
from posthouse.storage.tables import replicas as table

PURSE = Purse("key_1|USD|total|0", 10_000, 4_000)


class House:
    """The same data folder, started again and again; each start is a life."""

    def __init__(self, folder: Path, database: Database, redis: str) -> None:
        self.folder = folder
        self.database = database
        self.redis = redis
        self.lives: list[tuple[Replica, Journal]] = []

    async def start(self) -> Replica:
        journal = Journal(self.folder / "journal", self.database)
        journal.start()
        replica = Replica(self.redis, self.database, journal, Limiter(), Calendar())
        self.lives.append((replica, journal))
        await replica.open()
        await replica.start()
        return replica

    async def crash(self) -> None:
        """As far as others can see: nothing is given back, and nobody is told."""
        replica, journal = self.lives.pop()
        for task in replica._tasks:
            task.cancel()
        await replica._redis.close()
        journal.close(10.0)

    async def leave(self) -> None:
        replica, journal = self.lives.pop()
        await replica.close()
        assert journal.close(10.0)
        await replica.leave()


@pytest.fixture
async def house(tmp_path: Path, postgres_url: str, redis_server: str) -> AsyncIterator[House]:
    database = Database(postgres_url)
    database.upgrade()
    house = House(tmp_path, database, redis_server)
    yield house
    line = Redis(redis_server, patience=5.0)
    assert await line.open()
    root = (await house.start()).installation
    for key in await line.ask(b"k", "KEYS", f"ph:{{{root}}}:*"):
        await line.ask(key, "DEL", key)
    await line.close()
    await house.leave()
    database.close()


def demand(replica: Replica, number: int) -> Demand:
    return Demand(replica.installation, f"req_{number}", (), 0, 0, (PURSE,))


@pytest.mark.req("REPLICA-002")
async def test_after_a_crash_all_budgets_are_read_anew(house: House) -> None:
    """What the former life held was never written down, and it had a lease."""
    first = await house.start()
    for number in (1, 2):
        await first.gate.take(demand(first, number))
    with pytest.raises(NotCovered):
        await first.gate.take(demand(first, 3))
    await house.crash()
    second = await house.start()
    for number in (4, 5):
        await second.gate.take(demand(second, number))
    await house.leave()


@pytest.mark.req("REPLICA-002")
async def test_who_left_in_good_order_finds_budgets_as_they_were(house: House) -> None:
    first = await house.start()
    taken = await first.gate.take(demand(first, 1))
    await first.gate.take(demand(first, 2))
    taken.release(1)
    await house.leave()
    second = await house.start()
    await second.gate.take(demand(second, 3))
    with pytest.raises(NotCovered) as refused:
        await second.gate.take(demand(second, 4))
    assert refused.value.left == 10_000 - 1 - 4_000 - 4_000
    await house.leave()


@pytest.mark.req("REPLICA-002")
async def test_who_was_cut_off_and_taken_for_gone_has_budgets_read_anew(house: House) -> None:
    """Others may have read them without what it had not yet written down."""
    replica = await house.start()
    await replica.gate.take(demand(replica, 1))
    purse = f"ph:{{{replica.installation}}}:b:{PURSE.id}".encode()
    line = Redis(house.redis, patience=5.0)
    assert await line.open()
    assert await line.ask(purse, "EXISTS", purse) == 1
    with house.database.write() as connection:
        replicas.beat(connection, "another", 1)
        long_ago = table.c.seen_at - 2 * replicas.ALIVE_MS
        connection.execute(update(table).where(table.c.name == replica.name).values(seen_at=long_ago))
    async with asyncio.timeout(20):
        while await line.ask(purse, "EXISTS", purse):
            await asyncio.sleep(0.01)
    await line.close()
    await house.leave()
