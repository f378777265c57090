"""What a server among several does besides serving: it tells Redis what PostgreSQL has learnt."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import insert, select

from posthouse.accounts.model import NewAccount, NewKey
from posthouse.accounts.service import Directory
from posthouse.billing.recovery import GONE_MS, expire_of
from posthouse.billing.verify import verify
from posthouse.gateway.replica import Replica
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import Demand, Purse
from posthouse.limits.service import Limiter
from posthouse.storage import late
from posthouse.storage.appliers import APPLIERS
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal, JournalOptions
from posthouse.storage.rows import END, HOLD, REQUEST, EndRow, HoldRow, RequestRow
from posthouse.storage.tables import holds, replicas
from tests.storage.test_appliers import encoded

DAY: Final = 20261121
AT: Final = 1_795_262_400_000 + 3_600_000  # an hour into that day


class Place:
    """A key in an account two levels down, on a PostgreSQL, and replicas there."""

    def __init__(self, folder: Path, postgres: str, redis: str) -> None:
        self.folder = folder
        self.redis = redis
        self.database = Database(postgres)
        self.database.upgrade()
        directory = Directory(self.database)
        self.root = directory.create_account(NewAccount(name="house")).id
        self.team = directory.create_account(NewAccount(name="team", parent="house")).id
        self.key = directory.create_key(NewKey(name="k", account="team")).key.id
        self.open: list[tuple[Replica, Journal]] = []
        self.number = 0

    async def replica(self, name: str) -> Replica:
        journal = Journal(self.folder / name, self.database, options=JournalOptions(gather=0.001, retry=0.01))
        await asyncio.to_thread(journal.start)
        replica = Replica(self.redis, self.database, journal, Limiter(), Calendar())
        await replica.open()
        await replica.start()
        self.open.append((replica, journal))
        return replica

    async def close(self, replica: Replica) -> None:
        journal = next(one for mine, one in self.open if mine is replica)
        self.open.remove((replica, journal))
        await replica.close()
        await asyncio.to_thread(journal.close, 10.0)
        await replica.leave()

    def purse(self, subject: str) -> str:
        return f"{subject}|USD|total|0"

    async def left(self, replica: Replica, subject: str, limit: int = 1_000) -> int:
        """What this replica gets of a budget, which it gives back."""
        self.number += 1
        wanted = Purse(self.purse(subject), limit, limit, least=1)
        demand = Demand(replica.installation, f"req_probe{self.number}", (), 0, 0, (wanted,))
        taken = await replica._shared.take(demand)  # not by the gate above it, which would take a lease as well
        taken.release(0)
        async with asyncio.timeout(10):
            while replica.gate.untold:
                await asyncio.sleep(0)
        return taken.amount

    async def eventually_left(self, replica: Replica, subject: str, wanted: int) -> None:
        async with asyncio.timeout(10):
            while await self.left(replica, subject) != wanted:
                await asyncio.sleep(0.01)


@pytest.fixture
async def place(tmp_path: Path, postgres_url: str, redis_server: str) -> AsyncIterator[Place]:
    place = Place(tmp_path, postgres_url, redis_server)
    yield place
    for replica, _ in list(place.open):
        line = replica._redis
        root = replica.installation.encode()
        for key in await line.ask(b"k", "KEYS", b"ph:{%b}:*" % root):
            await line.ask(key, "DEL", key)
        await place.close(replica)
    await asyncio.get_running_loop().shutdown_default_executor()  # a thread of what was cancelled may still ask
    place.database.close()


def lines_of(place: Place, owner: str) -> tuple[HoldRow, EndRow, RequestRow]:
    """One request of a server that is away: held 500, charged 300."""
    hold = HoldRow("req_late", place.key, place.team, "m", 500, "USD", AT, owner)
    end = EndRow("req_late", "settled", AT, 300, "USD", "provider", place.key, place.team, "main", DAY, None)
    record = RequestRow(
        id="req_late",
        created_at=AT,
        key_id=place.key,
        account_id=place.team,
        operation="chat.completions",
        model_asked="m",
        model="m",
        provider="main",
        deployment="main/m",
        status=200,
        output=20,
        usage_source="provider",
        cost=300,
        currency="USD",
        priced=True,
        hold_amount=500,
        hold_state="settled",
        stream=False,
    )
    return hold, end, record


def written_by(folder: Path, database: str, rows: tuple[EndRow, RequestRow]) -> None:
    """A journal in a folder as a server leaves it that is killed before it could apply these."""
    scratch = Database(database)
    scratch.upgrade()
    journal = Journal(folder.with_name("alive"), scratch, options=JournalOptions(gather=30.0))
    journal.start()
    journal.append(END, rows[0])
    journal.append(REQUEST, rows[1])
    journal.flush()
    shutil.copytree(folder.with_name("alive"), folder)
    assert journal.close(10)
    scratch.close()


@pytest.mark.req("LATE-004")
async def test_what_a_server_comes_back_with_counts_in_every_budget_and_the_books_are_sound(
    place: Place, sqlite_url: str
) -> None:
    hold, end, record = lines_of(place, "journal_gone")
    with closing(APPLIERS["postgresql"](place.database)) as applier:
        applier.begin()
        applier.apply(encoded([(HOLD, hold)]))
        applier.commit()
    here = await place.replica("here")
    with place.database.write() as connection:
        connection.execute(insert(replicas).values(name="journal_gone", seen_at=1, applied_to=0))
    assert [await place.left(here, one) for one in (place.key, place.team, place.root)] == [500] * 3
    assert expire_of(place.database, AT + GONE_MS) == 1
    root = here.installation.encode()
    for subject in (place.key, place.team, place.root):  # as when its overdue hold was judged
        purse = place.purse(subject).encode()
        await here._redis.ask(b"k", "HSET", b"ph:{%b}:h:%b" % (root, purse), "req_late", "500:1")
        assert await here._shared.judge(here.installation, place.purse(subject)) == 1
    assert [await place.left(here, one) for one in (place.key, place.team, place.root)] == [1_000] * 3

    folder = place.folder / "gone"
    await asyncio.to_thread(written_by, folder, sqlite_url, (end, record))
    assert await asyncio.to_thread(Journal.recover, folder, place.database)
    for subject in (place.key, place.team, place.root):
        await place.eventually_left(here, subject, 700)
    with place.database.read() as connection:
        found = connection.execute(select(holds).where(holds.c.id == "req_late")).one()
        assert (found.state, found.charged, found.reason) == ("settled", 300, None)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(_noted, place.database):
            await asyncio.sleep(0.01)
    result = await asyncio.to_thread(verify, place.database, AT / 1000)
    assert result.problems == ()
    assert result.holds_open == 0


@pytest.mark.req("LATE-005")
async def test_a_correction_reaches_the_purses_of_all_accounts_above_whoever_has_loaded_them(place: Place) -> None:
    other = await place.replica("other")
    for subject in (place.key, place.team, place.root):
        assert await place.left(other, subject) == 1_000
    here = await place.replica("here")
    await place.close(other)
    with closing(APPLIERS["postgresql"](place.database)) as applier:
        hold, end, _ = lines_of(place, "journal_x")
        applier.begin()
        applier.apply(encoded([(HOLD, hold), (END, end)]))
        applier.commit()
    assert [await place.left(here, one) for one in (place.key, place.team, place.root)] == [1_000] * 3
    here.corrected({place.key})
    for subject in (place.key, place.team, place.root):
        await place.eventually_left(here, subject, 700)


def _noted(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return late.noted(connection)
