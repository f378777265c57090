"""`make chaos`: rounds of faults with several servers until the time is over, then twenty servers, a thousand clients.

CHAOS_SECONDS (900) says how long, CHAOS_SEED repeats a plan, CHAOS_SERVERS, CHAOS_CROWD (servers x clients, `0` leaves
it out). Ends with status 1 and keeps the folders where something does not hold.
"""

import asyncio
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.chaos.evidence import judge, quiet, redis_agrees
from tests.chaos.programs import missing
from tests.chaos.scenes import DOLLAR, Crowd, Load, crowd, drawn, fault_round
from tests.chaos.world import World, folder_of_world, made


class Broken(Exception):
    """Something does not hold."""


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _checked(wrong: list[str]) -> None:
    for line in wrong[:50]:
        say(f"  WRONG {line}")
    if wrong:
        raise Broken(f"{len(wrong)} things do not hold")


def _counted(world: World) -> str:
    ends = Counter("whole" if one.whole else str(one.status) if one.status else "no answer" for one in world.received)
    slowest = max((one.seconds for one in world.received), default=0.0)
    told = ", ".join(f"{count} {name}" for name, count in ends.most_common())
    return f"{len(world.received)} requests ({told}), the slowest {slowest:.1f} s"


async def _rounds(folder: Path, seed: int, seconds: float) -> str:
    random = Random(seed)
    servers = int(os.environ.get("CHAOS_SERVERS", random.randint(3, 5)))
    until = time.monotonic() + seconds
    async with made(folder, servers, say) as world:
        say(f"{servers} servers")
        standing = await world.make_key(1_000 * DOLLAR)
        await world.known(standing)
        number = 0
        while time.monotonic() < until:
            number += 1
            load = Load(clients=random.randint(10, 40), seconds=random.uniform(8, 20))
            struck = drawn(random, load, random.randint(1, 4))
            say(f"round {number}: {load.clients} clients, {load.seconds:.0f} s, {len(struck)} faults")
            _checked(await fault_round(world, random, load, standing, struck))
            say(f"  holds: {_counted(world)}")
            if len(world.up) < 2 or random.random() < 0.2:
                await _come_back(world)
        await _come_back(world)
        say("the last look: Redis and PostgreSQL know the same, once dead holds are judged")
        poor = [key for key in world.keys if key.budget is not None][-4:]
        _checked(await redis_agrees(world, [standing, *poor], 300.0))
        return f"{number} rounds, {_counted(world)}"


async def _come_back(world: World) -> None:
    """Those who were gone bring what they had settled."""
    gone = [server for server in world.servers if server.state == "gone"]
    for server in gone:
        server.state = "down"
        await world.start_servers()
        say(f"    server {server.number} is back")
    await quiet(world)
    _checked(await judge(world))


async def _crowd(folder: Path, wish: str) -> str:
    servers, clients = (int(one) for one in wish.split("x"))
    async with made(folder, servers, say, cabled=False) as world:
        say(f"a crowd: {servers} servers, {clients} clients each")
        _checked(await crowd(world, Crowd(servers, clients, budget=3 * DOLLAR, keys=5, rpm=60)))
        return _counted(world)


def main() -> int:
    lacking = missing()
    if lacking:
        say(f"error: {lacking}; on Debian and Ubuntu: apt-get install postgresql redis-server")
        return 1
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    seconds = float(os.environ.get("CHAOS_SECONDS") or 900)
    wish = os.environ.get("CHAOS_CROWD") or "20x50"
    say(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}")
    try:
        told = []
        with folder_of_world() as folder:
            told.append(asyncio.run(_rounds(folder, seed, seconds)))
        if wish != "0":
            with folder_of_world() as folder:
                told.append("a crowd of " + asyncio.run(_crowd(folder, wish)))
    except (Broken, AssertionError, RuntimeError) as error:
        say(f"FAILED with CHAOS_SEED={seed}: {error}")
        for note in getattr(error, "__notes__", ()):
            say(note)
        return 1
    say(f"all holds; CHAOS_SEED={seed}")
    for line in told:
        say(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
