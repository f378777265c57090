"""The gate of many replicas while Redis is away, and when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from posthouse.core.caller import Limits
from posthouse.core.errors import Unavailable
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import NotCovered, lease_of
from posthouse.limits.model import LimitReached
from posthouse.limits.service import Limiter
from posthouse.limits.shared import SharedGate, Taken
from posthouse.limits.wide import ALONE, Alone, WideGate
from posthouse.storage.redis import Redis
from tests.limits.shared_world import Cable, World


class Replica:
    """A replica whose way to Redis can be cut."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.late = 0.0  # seconds by which its gate's clock is ahead
        self.cable = Cable(world.url)

    async def open(self, patience: float = 5.0) -> None:
        await self.cable.lay()
        self.line = Redis(self.cable.url, patience, changed=self._changed)
        assert await self.line.open()
        self.shared = SharedGate(self.line, self.world.books, Calendar())
        self.gate = WideGate(self.line, self.shared, Limiter(), self.name, lambda: time.monotonic() + self.late)

    def _changed(self, up: bool) -> None:
        if up and hasattr(self, "gate"):
            self.gate.returned()

    async def lose(self) -> None:
        self.cable.cut()
        await until(lambda: not self.line.up)

    async def find(self) -> None:
        self.cable.mend()
        await until(lambda: self.line.up and not self.shared.untold)

    async def close(self) -> None:
        await self.gate.close()
        await self.line.close()
        await self.cable.take_up()


@pytest.fixture
async def world(redis_server: str) -> AsyncIterator[World]:
    world = World(redis_server)
    await world.replica()
    yield world
    await world.forget()
    for line in world.lines:
        await line.close()


@pytest.fixture
async def one(world: World) -> AsyncIterator[Replica]:
    replica = Replica(world, "one")
    await replica.open()
    yield replica
    await replica.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def leased(replica: Replica, amount: int = 10, limit: int = 10_000) -> Taken | Alone:
    """A first request, and the lease that follows it: 100 of 10,000."""
    taken = await replica.gate.take(replica.world.demand(1, amount, limit=limit))
    await until(lambda: replica.gate.leases == 1)
    assert await replica.world.committed() == amount + limit // 100
    return taken


@pytest.mark.req("WIDE-001")
async def test_a_budget_goes_on_inside_its_lease_and_is_then_closed(world: World, one: Replica) -> None:
    first = await leased(one)
    await one.lose()
    second = await one.gate.take(world.demand(2, 60, limit=10_000))
    with pytest.raises(Unavailable):
        await one.gate.take(world.demand(3, 41, limit=10_000))
    third = await one.gate.take(world.demand(4, 500, limit=10_000, least=5))
    assert third.amount == 40
    second.release(50)
    fourth = await one.gate.take(world.demand(5, 10, limit=10_000))
    with pytest.raises(Unavailable):
        await one.gate.take(world.demand(6, 1, limit=10_000))
    with pytest.raises(Unavailable):
        await one.gate.take(world.demand(6, 1, purses=("other",)))
    assert (one.gate.counts.alone, one.gate.counts.closed) == (3, 3)
    first.release(10)
    third.release(40)
    await one.find()
    # 10 and 50 and 40 are charged, 10 are still held
    assert await world.committed() == 110
    fourth.release(3)
    fourth.release(3)
    await until(lambda: not one.shared.untold)
    assert await world.committed() == 103


@pytest.mark.req("WIDE-002")
async def test_rate_limits_are_those_of_one_replica_meanwhile(world: World, one: Replica) -> None:
    limits = Limits(rpm=3, concurrency=2)
    await one.lose()
    held = [await one.gate.take(world.demand(number, limits=limits)) for number in range(2)]
    with pytest.raises(LimitReached, match="at once"):
        await one.gate.take(world.demand(9, limits=limits))
    assert b"x-ratelimit-remaining-requests: 1" in held[-1].head()
    held[0].release()
    (await one.gate.take(world.demand(3, limits=limits))).release()
    with pytest.raises(LimitReached, match="per minute"):
        await one.gate.take(world.demand(4, limits=limits))


@pytest.mark.req("WIDE-003")
async def test_when_redis_comes_back_with_nothing_postgresql_says_it_all(world: World, one: Replica) -> None:
    books = world.books
    await leased(one)
    books.write("req_1", "b", 10)
    await one.lose()
    second = await one.gate.take(world.demand(2, 60, limit=10_000))
    books.write("req_2", "b", second.amount)
    third = await one.gate.take(world.demand(3, 30, limit=10_000))
    books.write("req_3", "b", third.amount)
    third.release(20)
    books.write("req_3", "b", 30, 20)
    await world.forget()
    await one.find()
    await one.gate.take(world.demand(4, 5, limit=10_000))
    assert await world.committed() in (95, 195)  # without or with a new lease
    second.release(50)
    await until(lambda: not one.shared.untold)
    assert await world.committed() in (85, 185)


@pytest.mark.req("WIDE-004")
async def test_no_lease_is_taken_from_the_last_tenth_and_a_lease_is_given_back(world: World, one: Replica) -> None:
    taken = await one.gate.take(world.demand(1, 8_950, limit=10_000))
    await until(lambda: not one.gate._tasks)
    assert not one.gate.leases
    assert await world.committed() == 8_950
    with pytest.raises(NotCovered):
        await one.gate.take(world.demand(2, 1_051, limit=10_000))
    taken.release(0)
    other = Replica(world, "other")
    await other.open()
    await leased(other)
    await other.close()
    assert await world.committed() == 10


@pytest.mark.req("WIDE-005")
async def test_the_lease_of_a_replica_that_is_gone_is_judged_by_postgresql(world: World, one: Replica) -> None:
    books = world.books
    await leased(one)
    books.write("req_1", "b", 10)
    await one.lose()
    alone = await one.gate.take(world.demand(2, 60, limit=10_000))
    books.write("req_2", "b", 60)
    alone.release(45)
    books.write("req_2", "b", 60, 45)
    holds = f"ph:{{{world.root}}}:h:b".encode()
    await world.lines[0].ask(holds, "HSET", holds, lease_of("one", "b"), "100:1")
    other = Replica(world, "other")
    await other.open()
    assert await other.shared.judge(world.root, "b") == 1
    assert await world.committed() == 110  # it lives: it may still come back
    books.dead.add("one")
    assert await other.shared.judge(world.root, "b") == 1
    assert await world.committed() is None
    await other.gate.take(world.demand(3, 1, limit=10_000))
    await until(lambda: other.gate.leases == 1)
    assert await world.committed() == 10 + 45 + 1 + 100
    await other.close()


@pytest.mark.req("WIDE-006")
async def test_a_lease_that_redis_has_forgotten_is_worth_nothing(world: World, one: Replica) -> None:
    await leased(one)
    await world.forget()
    other = Replica(world, "other")
    await other.open()
    await other.gate.take(world.demand(2, 10, limit=10_000))
    assert one.gate.leases == 1  # it has not heard of it
    assert await one.gate.vouch(world.root) > 0
    assert one.gate.leases == 0
    await one.lose()
    with pytest.raises(Unavailable):
        await one.gate.take(world.demand(3, 10, limit=10_000))
    await other.close()


@pytest.mark.req("WIDE-006")
async def test_who_has_leases_and_cannot_see_redis_vouches_for_nothing_new(world: World, one: Replica) -> None:
    """Until it has found it again, or has been alone for so long that it uses them no more."""
    await leased(one)
    vouched = await one.gate.vouch(world.root)
    await one.lose()
    assert await one.gate.vouch(world.root) == vouched
    under = await one.gate.take(world.demand(2, 10, limit=10_000))
    assert await one.gate.vouch(world.root) == vouched
    one.late = ALONE
    assert await one.gate.vouch(world.root) > vouched
    with pytest.raises(Unavailable):
        await one.gate.take(world.demand(3, 10, limit=10_000))
    under.release(7)
    await one.find()
    assert await world.committed() == 10 + 7
    later = await one.gate.vouch(world.root)
    assert await one.gate.vouch(world.root) >= later > vouched


@pytest.mark.req("WIDE-006")
async def test_no_lease_outlives_a_return_of_redis(world: World, one: Replica) -> None:
    """It may have come back with nothing; a new one is taken at the next request."""
    await leased(one)
    await one.lose()
    await one.find()
    assert one.gate.leases == 0
    assert await world.committed() == 10
    await one.gate.take(world.demand(2, 10, limit=10_000))
    await until(lambda: one.gate.leases == 1)


@pytest.mark.req("WIDE-007")
async def test_the_lease_of_a_former_life_is_not_taken_twice(world: World, one: Replica) -> None:
    books = world.books
    former = Replica(world, "one")
    await former.open()
    await leased(former)
    books.write("req_1", "b", 10, 10)  # what was spent under it too is in PostgreSQL only
    books.write("req_2", "b", 60, 45)
    await one.gate.take(world.demand(3, 5, limit=10_000))
    await until(lambda: one.gate.leases == 1)
    # The request that runs was admitted before the budget was read anew, and is not in these books.
    assert await world.committed() == 10 + 45 + 100
    await former.line.close()
    await former.cable.take_up()


@pytest.mark.req("WIDE-007")
async def test_an_overdue_lease_of_ones_own_former_life_has_the_budget_read_anew(world: World, one: Replica) -> None:
    other = Replica(world, "other")
    await other.open()
    await leased(other)
    world.books.write("req_1", "b", 10, 10)
    holds = f"ph:{{{world.root}}}:h:b".encode()
    await world.lines[0].ask(holds, "HSET", holds, lease_of("one", "b"), "100:1")
    assert await one.shared.judge(world.root, "b") == 1
    assert await world.committed() == 110
    assert await one.shared.judge(world.root, "b", "one") == 1
    assert await world.committed() is None
    await other.close()


@pytest.mark.req("WIDE-008")
async def test_what_was_taken_though_nobody_heard_of_it_is_given_back_or_goes_on(world: World) -> None:
    hasty = Replica(world, "hasty")
    await hasty.open(patience=0.1)
    await leased(hasty)
    hasty.cable.deaf = True
    asked = [(2, 500), (3, 20), (4, 30)]
    takes = [hasty.gate.take(world.demand(number, amount, limit=10_000)) for number, amount in asked]
    refused, ended, running = await asyncio.gather(*takes, return_exceptions=True)
    assert await world.committed() == 10 + 100 + 500 + 20 + 30
    assert isinstance(refused, Unavailable)
    assert isinstance(ended, Alone)
    assert isinstance(running, Alone)
    ended.release(15)
    hasty.cable.deaf = False
    await until(lambda: hasty.line.up and not hasty.shared.untold)
    assert await world.committed() == 10 + 15 + 30
    running.release(25)
    await until(lambda: not hasty.shared.untold)
    assert await world.committed() == 10 + 15 + 25
    await hasty.close()


@pytest.mark.req("WIDE-009")
async def test_a_redis_that_refuses_is_as_one_that_is_away(world: World, one: Replica) -> None:
    """Here a key is of another kind; elsewhere there is no room, or no disk."""
    await leased(one)
    limited = Limits(rpm=1)
    buckets = f"ph:{{{world.root}}}:s:key_1".encode()
    await world.lines[0].ask(buckets, "SET", buckets, "in the way")
    (await one.gate.take(world.demand(2, 60, limit=10_000, limits=limited))).release(50)
    with pytest.raises(LimitReached):
        await one.gate.take(world.demand(3, limits=limited))
    assert one.gate.counts.alone == 1
    assert await world.committed() == 10 + 100
    await world.lines[0].ask(buckets, "DEL", buckets)
    (await one.gate.take(world.demand(4, 60, limit=10_000, limits=limited))).release(50)
    await until(lambda: not one.shared.untold)
    assert await world.committed() == 10 + 100 + 50


@pytest.mark.req("WIDE-005")
async def test_who_is_gone_costs_one_epoch_whatever_it_had_leases_of(world: World, one: Replica) -> None:
    other = Replica(world, "other")
    await other.open()
    await other.gate.take(world.demand(1, 10, purses=("b", "c"), limit=10_000))
    await until(lambda: other.gate.leases == 2)
    world.books.dead.add("other")
    stale: list[str] = []
    for purse in ("b", "c"):
        holds = f"ph:{{{world.root}}}:h:{purse}".encode()
        await world.lines[0].ask(holds, "HSET", holds, lease_of("other", purse), "100:1")
        assert await one.shared.judge(world.root, purse, "one", stale) == 1
        assert await world.committed(purse) == 110
    epoch = await one.shared.purses.current(world.root)
    assert stale == ["b", "c"]
    await one.shared.purses.forget(world.root)
    assert await one.shared.purses.current(world.root) == epoch
    await one.shared.purses.forget(world.root, *stale)
    assert [await world.committed(purse) for purse in stale] == [None, None]
    assert await one.shared.purses.current(world.root) is None
    await other.close()
