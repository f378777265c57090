"""The shared gate on a real Redis: what several replicas take together, and what is left when Redis forgets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from posthouse.core.caller import Limits
from posthouse.core.errors import Unavailable
from posthouse.limits.demand import NotCovered
from posthouse.limits.model import LimitReached
from posthouse.limits.shared import SharedGate, Taken
from posthouse.storage.redis import Redis
from tests.limits.shared_world import World


@pytest.fixture
async def world(redis_server: str) -> AsyncIterator[World]:
    world = World(redis_server)
    yield world
    if world.lines:
        await world.forget()
    for line in world.lines:
        await line.close()


async def told(*gates: SharedGate) -> None:
    """Waits until Redis has heard of every end."""
    async with asyncio.timeout(10):
        while any(gate.untold for gate in gates):
            await asyncio.sleep(0.001)


def is_up(line: Redis) -> bool:
    return line.up


@pytest.mark.req("SHARED-001")
async def test_twenty_at_the_last_cent_over_three_replicas(world: World) -> None:
    gates = [await world.replica() for _ in range(3)]
    demands = [world.demand(number, 7) for number in range(60)]
    results = await asyncio.gather(
        *(gates[number % 3].take(demand) for number, demand in enumerate(demands)), return_exceptions=True
    )
    taken = [one for one in results if isinstance(one, Taken)]
    refused = [one for one in results if isinstance(one, NotCovered)]
    assert (len(taken), len(refused)) == (14, 46)
    assert {one.left for one in refused} == {2}
    assert await world.committed() == 98
    for index, one in enumerate(taken):
        one.release(index % 8)
        one.release(5)  # a second end is none
    await told(*gates)
    assert await world.committed() == sum(index % 8 for index in range(14))


@pytest.mark.req("SHARED-002")
async def test_who_names_no_cap_takes_what_is_left(world: World) -> None:
    gate = await world.replica()
    first = await gate.take(world.demand(1, 60, least=5))
    second = await gate.take(world.demand(2, 60, least=5))
    assert (first.amount, second.amount) == (60, 40)
    with pytest.raises(NotCovered):
        await gate.take(world.demand(3, 60, least=5))
    second.release(12)
    await told(gate)
    with pytest.raises(NotCovered) as caught:
        await gate.take(world.demand(4, 60, least=29))
    assert caught.value.left == 28


@pytest.mark.req("SHARED-003")
async def test_what_is_refused_by_one_takes_nothing_of_another(world: World) -> None:
    gate = await world.replica()
    limits = Limits(rpm=10, rph=10, rpd=10, tpm=1000, tpd=1000, ipm=5, ipd=5, concurrency=2)
    for _ in range(5):
        with pytest.raises(NotCovered):
            await gate.take(world.demand(0, 101, limits=limits, tokens=10, images=1))
        with pytest.raises(LimitReached):
            await gate.take(world.demand(0, 1, limits=limits, tokens=1001))
        with pytest.raises(LimitReached):
            await gate.take(world.demand(0, 1, limits=limits, images=6))
    first = await gate.take(world.demand(1, 50, limits=limits, tokens=900, images=5))
    assert dict(first.headers())[b"x-ratelimit-remaining-requests"] == b"9"
    assert dict(first.headers())[b"x-ratelimit-remaining-tokens"] == b"100"
    assert await world.committed() == 50


@pytest.mark.req("SHARED-004")
@pytest.mark.parametrize(
    ("limits", "dimension", "words"),
    [
        (Limits(rpm=2), "requests", "per minute"),
        (Limits(rph=2), "requests", "per hour"),
        (Limits(rpd=2), "requests", "per day"),
        (Limits(tpm=250), "tokens", "per minute"),
        (Limits(tpd=250), "tokens", "per day"),
        (Limits(ipm=5), "images", "per minute"),
        (Limits(ipd=5), "images", "per day"),
        (Limits(concurrency=2), "concurrency", "at once"),
    ],
)
async def test_every_limit_refuses_the_third(world: World, limits: Limits, dimension: str, words: str) -> None:
    gates = [await world.replica() for _ in range(2)]
    for number in range(2):
        await gates[number].take(world.demand(number, limits=limits, tokens=100, images=2))
    with pytest.raises(LimitReached, match=words) as caught:
        await gates[0].take(world.demand(3, limits=limits, tokens=100, images=2))
    assert caught.value.dimension == dimension
    assert 0 < caught.value.retry_after <= 86_400


@pytest.mark.req("SHARED-005")
async def test_a_settlement_gives_back_to_the_same_windows_and_frees_the_place(world: World) -> None:
    gate = await world.replica()
    limits = Limits(tpm=1000, tpd=1000, ipm=4, ipd=4, concurrency=1)
    first = await gate.take(world.demand(1, limits=limits, tokens=1000, images=4))
    first.settle(100, 1)
    first.release()
    await told(gate)
    second = await gate.take(world.demand(2, limits=limits, tokens=880, images=3))
    second.settle(5000, 3)  # more than was charged ahead: it is charged now
    second.release()
    await told(gate)
    with pytest.raises(LimitReached, match=r"tokens per (minute|day)"):
        await gate.take(world.demand(3, limits=limits, tokens=1))
    with pytest.raises(LimitReached, match="per request: limit 5"):
        await gate.take(world.demand(4, limits=Limits(request_tokens=5), tokens=6))


@pytest.mark.req("SHARED-005")
async def test_who_asked_for_no_image_and_made_some_has_used_them(world: World) -> None:
    gate = await world.replica()
    first = await gate.take(world.demand(1, limits=Limits(ipd=2)))
    first.settle(0, 2)
    first.release()
    await told(gate)
    with pytest.raises(LimitReached, match="images per day"):
        await gate.take(world.demand(2, limits=Limits(ipd=2), images=1))
    (day,) = [key for key in await world.keys() if b":d:" in key]
    assert 25 * 3_600_000 < await world.lines[0].ask(day, "PTTL", day) < 27 * 3_600_000


@pytest.mark.req("SHARED-005")
async def test_a_day_that_is_overdrawn_is_no_matter_to_who_wants_nothing_of_it(world: World) -> None:
    gate = await world.replica()
    first = await gate.take(world.demand(1, limits=Limits(tpd=100), tokens=50))
    first.settle(500)
    first.release()
    await told(gate)
    await gate.take(world.demand(2, limits=Limits(tpd=100)))
    with pytest.raises(LimitReached, match="tokens per day"):
        await gate.take(world.demand(3, limits=Limits(tpd=100), tokens=1))


@pytest.mark.req("SHARED-006")
async def test_a_purse_that_redis_forgot_is_read_from_postgresql_with_its_open_holds(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    settled, open_hold = await one.take(world.demand(1, 40)), await one.take(world.demand(2, 30))
    for number, taken in ((1, settled), (2, open_hold)):
        world.books.write(f"req_{number}", "b", taken.amount)
    settled.release(25)
    world.books.write("req_1", "b", 40, 25)
    await told(one)
    await world.forget()
    with pytest.raises(NotCovered) as caught:
        await other.take(world.demand(3, 46))
    assert caught.value.left == 45
    assert await world.committed() == 55
    open_hold.release(10)
    await told(one)
    assert await world.committed() == 35
    assert (await one.take(world.demand(4, 65))).amount == 65


@pytest.mark.req("SHARED-007")
async def test_an_end_before_its_purse_is_loaded_is_found_by_the_load(world: World) -> None:
    gate = await world.replica()
    taken = await gate.take(world.demand(1, 40))
    world.books.write("req_1", "b", 40)
    world.books.apply()
    await world.forget(b":b:")
    await world.forget(b":h:")
    taken.release(15)  # PostgreSQL has not heard of it when the purse is loaded
    await told(gate)
    await gate.take(world.demand(2, 85))
    assert await world.committed() == 100
    await asyncio.gather(*(gate.take(world.demand(3, 1)) for _ in range(3)), return_exceptions=True)
    assert await world.committed() == 100


@pytest.mark.req("SHARED-008")
async def test_nothing_is_read_anew_before_every_replica_has_written_what_it_admitted(world: World) -> None:
    gate = await world.replica()
    await gate.take(world.demand(1, 90))
    world.books.write("req_1", "b", 90)
    world.books.lags = True
    await world.forget()
    with pytest.raises(Unavailable):
        await gate.take(world.demand(2, 90))
    world.books.lags = False
    with pytest.raises(NotCovered):
        await gate.take(world.demand(2, 90))


@pytest.mark.req("SHARED-009")
async def test_many_who_meet_an_unknown_purse_load_it_once(world: World) -> None:
    gate = await world.replica()
    await asyncio.gather(*(gate.take(world.demand(number, 1)) for number in range(50)))
    assert world.books.loads == 1
    assert await world.committed() == 50
    await world.forget(b":b:")
    await world.forget(b":h:")
    world.books.write("req_99", "b", 30, 30)
    world.books.apply()
    slow = await world.replica()
    world.books.pause = asyncio.Event()
    late = asyncio.ensure_future(slow.take(world.demand(100, 1)))
    async with asyncio.timeout(10):
        while world.books.loads < 2:
            await asyncio.sleep(0)
    pause, world.books.pause = world.books.pause, None
    await gate.take(world.demand(101, 20))
    pause.set()  # what the slow one has read is older than what was taken meanwhile
    await late
    assert await world.committed() == 51


@pytest.mark.req("SHARED-010")
async def test_overdue_holds_are_judged_by_postgresql(world: World) -> None:
    dead, alive = await world.replica(), await world.replica()
    for number in (1, 2, 3):
        await dead.take(world.demand(number, 20))
    kept = await alive.take(world.demand(4, 20))
    world.books.write("req_1", "b", 20, 7)  # settled, and Redis never heard of it
    world.books.write("req_2", "b", 20)  # still open
    world.books.apply()
    assert await alive.judge(world.root, "b") == 0
    holds = f"ph:{{{world.root}}}:h:b".encode()
    for number in (1, 2, 3, 4):
        await world.lines[0].ask(holds, "HSET", holds, f"req_{number}", "20:1")
    assert await alive.judge(world.root, "b") == 3
    # 7 charged, 20 open, 0 for what was never written, 20 of a request that runs here
    assert await world.committed() == 47
    await alive.renew()
    assert int((await world.lines[0].ask(holds, "HGET", holds, "req_4")).partition(b":")[2]) > 1_000_000
    kept.release(0)
    await told(alive)
    assert await world.committed() == 27


@pytest.mark.req("SHARED-011")
async def test_an_end_that_redis_did_not_hear_is_told_when_it_is_back(world: World) -> None:
    gate, other = await world.replica(), await world.replica()
    line = world.lines[0]
    taken = await gate.take(world.demand(1, 50))
    await world.lines[1].ask(b"k", "CLIENT", "KILL", "ID", await line.ask(b"k", "CLIENT", "ID"))
    async with asyncio.timeout(10):
        while is_up(line):
            await asyncio.sleep(0)
        taken.release(20)
        assert gate.untold == 1
        while not is_up(line):
            await asyncio.sleep(0.001)
    gate.tell_again()
    gate.tell_again()
    await told(gate, other)
    assert await world.committed() == 20


@pytest.mark.req("SHARED-013")
async def test_a_budget_that_the_dead_hold_wholly_is_looked_at_though_everybody_is_refused(world: World) -> None:
    dead, alive = await world.replica(), await world.replica()
    await dead.take(world.demand(1, 100))
    with pytest.raises(NotCovered):
        await alive.take(world.demand(2, 1))
    assert alive.touched() == [(world.root, "b")]
    assert alive.touched() == []


@pytest.mark.req("SHARED-014")
async def test_what_is_forgotten_on_purpose_is_not_read_before_all_have_written(world: World) -> None:
    """Also by those who have never asked for it; other budgets go on."""
    gate, other = await world.replica(), await world.replica()
    await gate.take(world.demand(1, 90, purses=("key_1|USD", "key_2|USD")))
    for purse in ("key_1|USD", "key_2|USD"):
        world.books.write("req_1", purse, 90)
    world.books.lags = True
    await other.purses.forget_all(world.root, lambda purse: purse.startswith("key_1|"))
    assert await world.committed("key_1|USD") is None
    assert await world.committed("key_2|USD") == 90
    with pytest.raises(Unavailable):
        await gate.take(world.demand(2, 90, purses=("key_1|USD",)))
    await other.take(world.demand(3, 10, purses=("key_2|USD",)))
    world.books.lags = False
    with pytest.raises(NotCovered):
        await gate.take(world.demand(2, 90, purses=("key_1|USD",)))


@pytest.mark.req("SHARED-015")
async def test_a_postgresql_that_stands_still_holds_no_request_up(world: World) -> None:
    gate = await world.replica()
    world.books.pause = asyncio.Event()
    with pytest.raises(Unavailable):
        await gate.take(world.demand(1, 10))
    world.books.pause.set()
    world.books.pause = None
    await gate.take(world.demand(2, 10))
    assert await world.committed() == 10


async def test_all_meet_in_one_epoch_which_says_when_it_began(world: World) -> None:
    gates = [await world.replica() for _ in range(3)]
    before = [int(part) for part in await world.lines[0].ask(b"k", "TIME")]
    found = await asyncio.gather(*(gate.purses.meet(world.root) for gate in gates))
    after = [int(part) for part in await world.lines[0].ask(b"k", "TIME")]
    assert len(set(found)) == 1
    assert before[0] + before[1] / 1e6 <= float(found[0].partition(b":")[2]) <= after[0] + after[1] / 1e6
    assert await gates[0].purses.current(world.root) == found[0]
