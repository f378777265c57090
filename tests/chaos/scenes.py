"""What is played in a world: a round of faults under load, and a crowd that uses its budgets up."""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import Final

from msgspec import Struct

from tests.chaos.evidence import answering, given_up, judge, metrics, quiet
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.judge import rate_bound
from tests.chaos.wishes import INPUT_NANO, INPUTS, OUTPUT_NANO, OUTPUTS, Leaves
from tests.chaos.world import Account, Key, World

DOLLAR: Final = 10**9
MOST: Final = 2 * INPUTS * INPUT_NANO + OUTPUTS * OUTPUT_NANO
"""Nano-units: no request may cost more, by what is estimated of its body and by its cap."""
_PATIENT: Final = 50
_LEAVES: Final[tuple[Leaves, ...]] = ("early", "mid", "late")


class Load(Struct, frozen=True):
    """So many clients for so many seconds."""

    clients: int
    seconds: float


class Struck(Struct, frozen=True):
    """A fault, so many seconds after the beginning of its round; `seed` decides what it leaves open."""

    after: float
    fault: Fault
    seed: float


class Purses(Struct):
    """What a round spends from: `standing` lasts for the whole world and is never used up."""

    standing: Key
    free: Key
    poor: list[Key]
    shared: list[Key]
    paced: Key


async def new_purses(world: World, random: Random, standing: Key) -> Purses:
    account: Account = await world.make_account(int(random.uniform(0.2, 0.6) * DOLLAR))
    purses = Purses(
        standing=standing,
        free=await world.make_key(),
        # The one is gone within seconds; of the other a lease is worth something.
        poor=[
            await world.make_key(int(random.uniform(0.05, 0.2) * DOLLAR)),
            await world.make_key(int(random.uniform(0.6, 0.9) * DOLLAR)),
        ],
        shared=[await world.make_key(account=account.name), await world.make_key(account=account.name)],
        paced=await world.make_key(rpm=random.randint(5, 10)),
    )
    await world.known(purses.free, *purses.poor, *purses.shared, purses.paced)
    return purses


def drawn(random: Random, load: Load, count: int) -> list[Struck]:
    return [Struck(random.uniform(0, load.seconds * 0.7), random.choice(FAULTS), random.random()) for _ in range(count)]


async def fault_round(world: World, random: Random, load: Load, standing: Key, struck: Sequence[Struck]) -> list[str]:
    """Load and faults, then quiet and the judge: what does not hold."""
    purses = await new_purses(world, random, standing)
    forgot, starts = world.forgot, sum(server.starts for server in world.servers)
    began = time.monotonic()
    stop = asyncio.Event()
    clients = [asyncio.create_task(_client(world, Random(random.random()), purses, stop)) for _ in range(load.clients)]
    faults = [asyncio.create_task(_strike(world, one)) for one in struck]
    try:
        await asyncio.sleep(load.seconds)  # how long a round lasts is its plan
        await asyncio.gather(*faults)
    finally:
        stop.set()
        for fault in faults:
            fault.cancel()
        await asyncio.gather(*clients, *faults, return_exceptions=True)
    seconds = time.monotonic() - began
    return await settled(world, purses, rates=(seconds, forgot, starts))


async def settled(world: World, purses: Purses, rates: tuple[float, int, int]) -> list[str]:
    """What does not hold once everything is quiet. `rates`: how long it took, and how often Redis had forgotten and
    servers had started before it."""
    await quiet(world)
    for server in world.servers:
        if server.state == "gone":
            await given_up(world, server)
    wrong = await judge(world)
    seconds, forgot, starts = rates
    # Everybody who counts by itself while Redis is away or has forgotten has the whole limit once more.
    gates = 1 + world.forgot - forgot + len(world.servers) + sum(one.starts for one in world.servers) - starts
    assert purses.paced.rpm is not None
    passed = _passed(world, purses.paced)
    bound = rate_bound(purses.paced.rpm, seconds, gates)
    if passed > bound:
        wrong.append(f"{passed} requests of {purses.paced.name} passed; {bound} may at most")
    return wrong + await answering(world, [purses.free, purses.standing])


async def _strike(world: World, struck: Struck) -> None:
    await asyncio.sleep(struck.after)  # when it strikes is the plan
    said = await struck.fault(world, Random(struck.seed))
    world.say(f"    {said}")


async def _client(world: World, random: Random, purses: Purses, stop: asyncio.Event) -> None:
    keys = [purses.free, purses.standing, *purses.shared, purses.paced, purses.poor[0], *[purses.poor[1]] * 4]
    while not stop.is_set():
        if not world.up:
            await asyncio.sleep(0.05)  # until a server is back
            continue
        leaves: Leaves = random.choice(_LEAVES) if random.random() < 0.12 else ""
        act = random.choices(("plain", "resets early", "resets mid"), (92, 4, 4))[0]
        received = await world.ask(
            random.choice(world.up),
            random.choice(keys),
            leaves,
            stream=leaves in ("mid", "late") or act == "resets mid" or random.random() < 0.5,
            pieces=random.randint(1, 6),
            pause=random.choice((0.0, 0.01, 0.05, 0.2)),
            act=act,
        )
        if received.status != 200:
            await asyncio.sleep(random.uniform(0.02, 0.2))  # as clients do who were refused


class Crowd(Struct, frozen=True):
    """So many servers, each with so many clients; a budget of one account in nano-units, one of each of `keys`."""

    servers: int
    clients: int
    budget: int
    keys: int
    rpm: int


async def crowd(world: World, plan: Crowd) -> list[str]:
    """Everybody asks until everything is refused: nothing is overspent, nothing is left that one more request could
    have had, and the limit of one key over all servers held."""
    account = await world.make_account(plan.budget)
    shared = [await world.make_key(account=account.name) for _ in range(plan.keys)]
    own = [await world.make_key(plan.budget // plan.keys) for _ in range(plan.keys)]
    paced = await world.make_key(rpm=plan.rpm)
    await world.known(*shared, *own, paced)
    alone = await _alone(world)
    began = time.monotonic()
    budgets = [*shared, *own]
    await asyncio.gather(
        *(
            _greedy(world, server, budgets[(server + client) % len(budgets) :] + budgets, paced)
            for server in range(plan.servers)
            for client in range(plan.clients)
        )
    )
    seconds = time.monotonic() - began
    await quiet(world)
    wrong = await judge(world)
    # Who could not hear Redis in time on a machine that has too much to do has counted by itself meanwhile.
    gates = 1 + sum(now > before for now, before in zip(await _alone(world), alone, strict=True))
    passed, bound = _passed(world, paced), rate_bound(plan.rpm, seconds, gates)
    world.say(f"    rpm {plan.rpm}: {passed} passed in {seconds:.1f} s, {bound} may at most; {gates} counted")
    if not plan.rpm <= passed <= bound:
        wrong.append(f"{passed} requests of {paced.name} passed in {seconds:.1f} s; {bound} may at most")
    return wrong + await asyncio.to_thread(_left_over, world, [account, *own])


async def _greedy(world: World, server: int, keys: Sequence[Key], paced: Key) -> None:
    """Asks with each key until it is refused for good, with the paced one in between."""
    for key in dict.fromkeys(keys):
        refused = failed = 0
        while refused < 2:
            received = await world.ask(world.servers[server], key)
            # What others hold comes back: only who was refused again is refused for good.
            refused = refused + 1 if received.code == "insufficient_quota" else 0
            failed += received.status not in (200, 429)
            assert failed < _PATIENT, f"server {server} answers {received.status} {received.code!r} again and again"
        await world.ask(world.servers[server], paced)


async def _alone(world: World) -> list[float]:
    """Requests that were admitted without Redis, of each server."""
    return [(await metrics(server)).get("posthouse_gate_alone_requests", 0.0) for server in world.up]


def _passed(world: World, key: Key) -> int:
    """How many requests of a key the provider has seen. Blocks for a moment."""
    lines = world.provider_log.read_text().splitlines()
    return len({line.split(" ")[0] for line in lines if line.split(" ")[1:] == [key.name, "seen"]})


def _left_over(world: World, purses: Sequence[Key | Account]) -> list[str]:
    """Budgets that are not used up to what one more request would have held. Leases take what they took to the end:
    a hundredth part for each server."""
    wrong = []
    for purse in purses:
        assert purse.budget is not None
        query = "SELECT coalesce(sum(charged), 0) FROM holds WHERE key_id = %s OR account_id = %s"
        left = purse.budget - int(world.rows(query, purse.id, purse.id)[0][0])
        leased = len(world.servers) * (purse.budget // 100)
        if not 0 <= left <= MOST + leased:
            wrong.append(f"{purse.name} has {left} of {purse.budget} left, though everybody was refused")
    return wrong
