"""The shared gate on a real Redis Cluster: budgets while slots move and nodes die."""

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from posthouse.core.errors import Unavailable
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import NotCovered
from posthouse.limits.service import Limiter
from posthouse.limits.shared import SharedGate
from posthouse.limits.wide import WideGate
from posthouse.storage.redis import Redis, slot_of
from tests.limits.shared_world import World
from tests.limits.test_shared_machine import Replicas
from tests.storage.cluster import Cluster, cluster_in

LIMIT: Final = 1_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as made:
        yield made


class Spenders:
    """Clients that ask for a budget again and again, at several servers, and what a perfect ledger would say."""

    def __init__(self, world: World, gates: list[SharedGate] | list[WideGate]) -> None:
        self.world = world
        self.gates = gates
        self.charged = 0
        self.held = 0
        self.answers = 0
        self.unanswered = 0
        self.stopped = False
        self._number = 0
        self._random = random.Random(7)

    @property
    def owed(self) -> int:
        return self.charged + self.held

    async def run(self, gate: SharedGate | WideGate) -> None:
        while not self.stopped:
            self._number += 1
            demand = self.world.demand(self._number, self._random.randrange(1, 40), limit=LIMIT)
            try:
                async with asyncio.timeout(10):  # nothing hangs
                    taken = await gate.take(demand)
            except NotCovered:
                self.answers += 1
                await asyncio.sleep(0.001)
                continue
            except Unavailable:
                self.unanswered += 1
                await asyncio.sleep(0.001)
                continue
            self.answers += 1
            self.held += taken.amount
            assert self.owed <= LIMIT
            self.world.books.write(demand.request, "b", taken.amount)
            await asyncio.sleep(0.001)
            charge = self._random.randrange(taken.amount // 8 + 1)
            self.held -= taken.amount
            self.charged += charge
            self.world.books.write(demand.request, "b", taken.amount, charge)
            taken.release(charge)

    async def quiet(self) -> None:
        async with asyncio.timeout(10):
            while any(gate.untold for gate in self.gates):
                await asyncio.sleep(0.001)


@pytest.mark.req("CLUSTER-001")
def test_budgets_over_replicas_on_a_cluster(cluster: Cluster) -> None:
    Replicas.url = cluster.url
    run_state_machine_as_test(Replicas, settings=settings(max_examples=8, stateful_step_count=25, deadline=None))


@pytest.mark.req("CLUSTER-001")
async def test_a_slot_moves_while_requests_run_and_nobody_notices(cluster: Cluster) -> None:
    world = World(cluster.url)
    gates = [await world.replica() for _ in range(3)]
    spenders = Spenders(world, gates)
    slot = slot_of(f"{{{world.root}}}".encode())
    tasks = [asyncio.create_task(spenders.run(gate)) for gate in gates for _ in range(4)]
    for _ in range(4):
        at = cluster.masters.index(await asyncio.to_thread(cluster.owner, slot))
        to = cluster.masters[(at + 1) % 3]
        await beyond(spenders, spenders.answers + 50)
        # A script whose keys are on the way waits for the end of that: no request can be waited for in between.
        await asyncio.to_thread(deque, cluster.migrating(slot, to), 0)
        await beyond(spenders, spenders.answers + 50)
    spenders.stopped = True
    await asyncio.gather(*tasks)
    await spenders.quiet()
    assert spenders.unanswered == 0
    assert await world.committed() == spenders.owed <= LIMIT
    assert sum(line.counts.unanswered for line in world.lines) == 0
    await world.forget()
    for line in world.lines:
        await line.close()


@pytest.mark.req("CLUSTER-002")
async def test_a_node_dies_and_another_has_its_slots_and_no_budget_is_overrun(tmp_path: Path) -> None:
    with cluster_in(tmp_path / "cluster") as cluster:
        world = World(cluster.url)
        slot = slot_of(f"{{{world.root}}}".encode())
        gates: list[WideGate] = []

        def changed(number: int, up: bool) -> None:
            if up and len(gates) > number:
                gates[number].returned()

        for number in range(3):
            line = Redis(cluster.url, 0.25, partial(changed, number))
            assert await line.open()
            world.lines.append(line)
            shared = SharedGate(line, world.books, Calendar(), drain=0.5)
            gates.append(WideGate(line, shared, Limiter(), f"replica{number}"))
        spenders = Spenders(world, gates)
        tasks = [asyncio.create_task(spenders.run(gate)) for gate in gates for _ in range(4)]
        await beyond(spenders, 200)
        dying = await asyncio.to_thread(cluster.owner, slot)
        heir = cluster.masters[(cluster.masters.index(dying) + 1) % 3]
        await asyncio.to_thread(dying.kill)
        await asyncio.to_thread(cluster.take_over, slot, heir)
        async with asyncio.timeout(20):
            while not all([line.up for line in world.lines]):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):  # until it is spent, but for less than a request may hold and two leases
            while spenders.charged < LIMIT - 60:
                await asyncio.sleep(0.001)
        spenders.stopped = True
        await asyncio.gather(*tasks)
        await spenders.quiet()
        assert spenders.owed <= LIMIT
        await world.forget()
        for line in world.lines:
            await line.close()


async def beyond(spenders: Spenders, answers: int) -> None:
    async with asyncio.timeout(20):
        while spenders.answers < answers:
            await asyncio.sleep(0.001)
