"""Waiting until a world is quiet, and gathering what the judge looks at."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from tests.chaos.clients import admin
from tests.chaos.judge import Booked, Budget, Evidence, judged
from tests.chaos.world import SETTLED, Account, Key, Server, World
from tests.e2e.house import ADMIN_KEY

_HOUR_MS: Final = 3_700_000
_BOOKED: Final = """
SELECT coalesce(h.id, r.id), coalesce(h.key_id, r.key_id), coalesce(h.account_id, r.account_id),
       coalesce(h.state, 'none'), coalesce(h.charged, 0), coalesce(h.amount, 0), coalesce(h.owner, ''),
       coalesce(h.ended_at, 0), r.usage_source, r.input, r.output, r.cost
FROM holds h FULL OUTER JOIN requests r ON r.id = h.id
"""


async def until(condition: Callable[[], Awaitable[Any]], what: str, seconds: float = SETTLED) -> Any:
    """The first true value of `condition`; what it raises of the network counts as false. AssertionError with what was
    seen last."""
    ends = time.monotonic() + seconds
    while True:
        seen: Any = None
        try:
            if seen := await condition():
                return seen
        except (OSError, RuntimeError, ValueError) as error:
            seen = error
        assert time.monotonic() < ends, f"{what}: not within {seconds:g} s ({seen})"
        await asyncio.sleep(0.05)


async def metrics(server: Server) -> dict[str, float]:
    text = str(await admin(server.port, ADMIN_KEY, "GET", "/metrics"))
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("posthouse_") and "{" not in line]
    return {name: float(value) for name, _, value in lines}


async def quiet(world: World) -> None:
    """Mended, and at rest: every server that is not gone lives, has applied its journal and told Redis everything."""
    await asyncio.to_thread(mended, world)
    await world.start_servers()

    async def rests(server: Server) -> bool:
        now = await metrics(server)
        wanted = ("journal_pending_bytes", "redis_lost", "gate_untold_ends", "inflight_requests")
        busy = {name: now.get(f"posthouse_{name}", 0.0) for name in wanted if now.get(f"posthouse_{name}")}
        if busy:
            raise ValueError(str(busy))
        return True

    for server in world.up:
        await until(partial(rests, server), f"server {server.number} comes to rest")


def mended(world: World) -> None:
    """Every line open, everybody awake, PostgreSQL and Redis running."""
    for server in world.servers:
        for line in server.lines or ():
            line.set("open")
    for program in (world.postgres, world.redis):
        program.resume()
        if not program.running:
            program.start()
    world.redis.ask("REPLICAOF", "NO", "ONE")


async def given_up(world: World, server: Server) -> None:
    """An hour after its death: the others end its holds, which they look for every half minute."""
    owner = await asyncio.to_thread(lambda: server.journal)
    query = "UPDATE replicas SET seen_at = seen_at - %s WHERE name = %s RETURNING name"
    await asyncio.to_thread(world.rows, query, _HOUR_MS, owner)

    async def ended() -> bool:
        query = "SELECT count(*) FROM holds WHERE state = 'held' AND owner = %s"
        count = (await asyncio.to_thread(world.rows, query, owner))[0][0]
        if count:
            raise ValueError(f"{count} are held")
        return True

    await until(ended, f"the holds of server {server.number}, which is gone, are ended by others")


def evidence(world: World) -> Evidence:
    """Blocks."""
    rows = world.rows(_BOOKED)
    booked = [
        Booked(
            id=row[0],
            key=row[1],
            account=row[2],
            state=row[3],
            charged=row[4],
            held=row[5],
            owner=row[6],
            ended_at=row[7],
            source=row[8],
            usage=None if row[8] is None else (row[9], row[10]),
            cost=row[11],
        )
        for row in rows
    ]
    seen = {}
    for line in world.provider_log.read_text().splitlines():
        number, key, what = line.split(" ")
        if what == "seen":
            seen[int(number)] = key
    owners: list[Key | Account] = [*world.keys, *world.accounts]
    budgets = [Budget(one.id, one.name, one.budget) for one in owners if one.budget is not None]
    started = [server for server in world.servers if server.starts]
    for server in started:
        world.look_at_losses(server)
    return Evidence(
        received=world.received,
        booked=booked,
        seen=seen,
        names={key.id: key.name for key in world.keys},
        budgets=budgets,
        absences=[absence for one in started for absence in one.absences],
        servers={one.number: one.journal for one in started},
        forgot=bool(world.forgot),
    )


async def judge(world: World) -> list[str]:
    """What does not hold in a world that is quiet."""
    found = judged(await asyncio.to_thread(evidence, world))
    verdict = await asyncio.to_thread(world.verify)
    if verdict:
        found.append(f"ledger verify: {verdict}")
    return found


async def answering(world: World, keys: Sequence[Key]) -> list[str]:
    """Servers that are up and do not serve these keys."""
    dumb: list[str] = []

    async def serves(server: Server, key: Key) -> bool:
        received = await world.ask(server, key)
        if not received.whole:
            raise ValueError(f"{received.status} {received.code}")
        return True

    for server in world.up:
        for key in keys:
            try:
                await until(partial(serves, server, key), "it serves", 30.0)
            except AssertionError as error:
                dumb.append(f"server {server.number} does not serve {key.name}: {error}")
    return dumb


async def redis_agrees(world: World, keys: Sequence[Key], seconds: float) -> list[str]:
    """Budgets of which Redis, holds and leases aside, has committed something else than PostgreSQL says was spent.

    What a dead server held is judged two minutes after its death, and looked for every half minute; one request now and
    then keeps its budget in their minds."""
    wrong: list[str] = []

    async def equal(key: Key) -> bool:
        await world.ask(world.up[0], key)
        await quiet(world)
        differences = await asyncio.to_thread(_difference, world, key)
        if differences:
            raise ValueError(differences)
        return True

    ends = time.monotonic() + seconds
    for key in keys:
        try:
            await until(partial(equal, key), "Redis agrees", max(ends - time.monotonic(), 1.0))
        except AssertionError as error:
            wrong.append(f"what Redis knows of {key.name}: {error}")
    return wrong


def _difference(world: World, key: Key) -> str:
    """Blocks. Empty where both agree; keys of Redis are those of limits/scripts.py."""
    purses = world.redis.ask("KEYS", f"ph:*:b:{key.id}|*")
    if len(purses) != 1:
        return f"there are {len(purses)} purses"
    committed = int(world.redis.ask("HGET", purses[0], "n")[0])
    held = world.redis.ask("HGETALL", purses[0].replace(":b:", ":h:"))
    holds = dict(zip(held[::2], held[1::2], strict=True))
    others = [name for name in holds if not name.startswith("lease:")]
    spent = world.rows("SELECT coalesce(sum(charged), 0) FROM holds WHERE key_id = %s", key.id)[0][0]
    reserved = sum(int(value.partition(":")[0]) for value in holds.values())
    if others or committed - reserved != spent:
        return f"{committed} committed, {reserved} of it reserved, {spent} spent; held: {others[:5]}"
    return ""
