"""What may go wrong, each a coroutine that does it to a world and mends it again, and says in a word what it did.

Which, when and for how long is drawn from the `Random` that it is given, so that a seed tells the whole plan.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.chaos.cables import State
from tests.chaos.world import Server, World

Fault = Callable[[World, Random], Awaitable[str]]


async def server_is_killed(world: World, random: Random) -> str:
    server = _one(world, random)
    if server is None:
        return "no server left to kill"
    away = random.choice((0.0, 0.5, 3.0))
    await asyncio.to_thread(server.end, signal.SIGKILL)
    await asyncio.sleep(away)
    await world.revive(server)
    return f"server {server.number} killed, back after {away:g} s"


async def server_is_killed_for_good(world: World, random: Random) -> str:
    """It comes back when the world ends, and finds that others have ended its holds."""
    server = _one(world, random)
    if server is None or len(world.up) < 3:
        return "too few servers to lose one"
    await asyncio.to_thread(server.end, signal.SIGKILL)
    server.state = "gone"
    return f"server {server.number} killed, and not started again"


async def server_is_told_to_end(world: World, random: Random) -> str:
    """In the midst of streams: it finishes what it can."""
    server = _one(world, random)
    if server is None:
        return "no server left to end"
    code = await asyncio.to_thread(server.end, signal.SIGTERM)
    await world.revive(server)
    if code != 0:
        raise AssertionError(f"server {server.number} ended with {code} when it was told to end")
    return f"server {server.number} told to end"


async def server_is_paused(world: World, random: Random) -> str:
    server = _one(world, random)
    if server is None or server.process is None:
        return "no server left to pause"
    process, seconds = server.process, random.choice((0.2, 1.0, 4.0))
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.signal(signal.SIGCONT)
    server.state = "up"
    return f"server {server.number} paused for {seconds:g} s"


async def redis_is_killed(world: World, random: Random) -> str:
    seconds = random.choice((0.0, 0.3, 2.0, 5.0))
    async with world.hands["redis"]:
        await asyncio.to_thread(world.redis.stop)
        await asyncio.sleep(seconds)
        world.forgot += 1
        await asyncio.to_thread(world.redis.start)
    return f"Redis killed, back and empty after {seconds:g} s"


async def redis_is_paused(world: World, random: Random) -> str:
    seconds = random.choice((0.1, 0.5, 2.0, 6.0))
    async with world.hands["redis"]:
        world.redis.pause()
        await asyncio.sleep(seconds)
        world.redis.resume()
    return f"Redis paused for {seconds:g} s"


async def redis_is_emptied(world: World, _: Random) -> str:
    """Without any connection breaking."""
    async with world.hands["redis"]:
        await asyncio.to_thread(world.redis.ask, "FLUSHALL")
    world.forgot += 1
    return "Redis emptied"


async def redis_becomes_a_copy(world: World, random: Random) -> str:
    """As after a failover that the address has not heard of: it is there, and takes nothing."""
    seconds = random.choice((0.5, 3.0))
    async with world.hands["redis"]:
        await asyncio.to_thread(world.redis.ask, "REPLICAOF", "127.0.0.1", "1")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(world.redis.ask, "REPLICAOF", "NO", "ONE")
    return f"Redis another's copy for {seconds:g} s"


async def postgres_is_stopped(world: World, random: Random) -> str:
    seconds = random.choice((0.0, 1.0, 5.0, 12.0))
    async with world.hands["postgres"]:
        await asyncio.to_thread(world.postgres.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(world.postgres.start)
    return f"PostgreSQL stopped at once, back after {seconds:g} s"


async def postgres_is_paused(world: World, random: Random) -> str:
    seconds = random.choice((0.5, 2.0, 6.0, 25.0))  # the longest is longer than any request may take
    async with world.hands["postgres"]:
        world.postgres.pause()
        await asyncio.sleep(seconds)
        world.postgres.resume()
    return f"PostgreSQL paused for {seconds:g} s"


async def lines_to_redis_break(world: World, random: Random) -> str:
    return _broken(world, random, 1)


async def lines_to_postgres_break(world: World, random: Random) -> str:
    return _broken(world, random, 0)


async def server_loses_redis(world: World, random: Random) -> str:
    return await _apart(world, random, 1)


async def server_loses_postgres(world: World, random: Random) -> str:
    return await _apart(world, random, 0)


async def redis_is_killed_beside_a_server(world: World, random: Random) -> str:
    """What both have forgotten is in PostgreSQL and in the server's journal only."""
    said = await asyncio.gather(server_is_killed(world, random), redis_is_killed(world, random))
    return " and ".join(said)


async def redis_forgets_while_a_server_is_apart(world: World, random: Random) -> str:
    """The server goes on inside leases of which Redis then knows nothing."""
    server = _one(world, random, lambda one: one.lines is not None)
    if server is None or server.lines is None:
        return "no server left to cut off"
    line = server.lines[1]
    server.state = "up"
    line.set("cut")
    await asyncio.sleep(0.5)
    await redis_is_emptied(world, random)
    await asyncio.sleep(random.choice((1.0, 4.0)))
    line.set("open")
    return f"Redis emptied while server {server.number} was cut off from it"


def _one(world: World, random: Random, fits: Callable[[Server], bool] = lambda _: True) -> Server | None:
    """One of the servers that are up, no more asked for anything; None where it would be the last."""
    found = [server for server in world.up if fits(server)]
    if len(found) < 2:
        return None
    server = random.choice(found)
    server.state = "down"
    return server


def _broken(world: World, random: Random, which: int) -> str:
    chosen = [server for server in world.servers if server.lines is not None and random.random() < 0.6]
    for server in chosen:
        assert server.lines is not None
        server.lines[which].reset()
    what = ("PostgreSQL", "Redis")[which]
    return f"connections to {what} reset of servers {[server.number for server in chosen]}"


async def _apart(world: World, random: Random, which: int) -> str:
    found = [server for server in world.up if server.lines is not None]
    if not found:
        return "no server has a line"
    server = random.choice(found)
    how: State = random.choice(("cut", "stalled"))
    seconds = random.choice((0.3, 2.0, 8.0))
    assert server.lines is not None
    line = server.lines[which]
    line.set(how)
    await asyncio.sleep(seconds)
    line.set("open")
    return f"line of server {server.number} to {('PostgreSQL', 'Redis')[which]} {how} for {seconds:g} s"


FAULTS: Final[tuple[Fault, ...]] = (
    server_is_killed,
    server_is_killed,
    server_is_killed_for_good,
    server_is_told_to_end,
    server_is_paused,
    redis_is_killed,
    redis_is_killed,
    redis_is_paused,
    redis_is_emptied,
    redis_becomes_a_copy,
    postgres_is_stopped,
    postgres_is_paused,
    lines_to_redis_break,
    lines_to_postgres_break,
    server_loses_redis,
    server_loses_postgres,
    redis_is_killed_beside_a_server,
    redis_forgets_while_a_server_is_apart,
)
"""What a round draws from; what is there twice is drawn twice as often."""
