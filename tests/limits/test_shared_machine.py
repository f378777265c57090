"""Budgets over several replicas, with whatever can happen between them, in any order: nothing is committed beyond a
limit, and no charge is lost or counted twice."""

import asyncio
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from posthouse.limits.demand import NotCovered
from posthouse.limits.shared import SharedGate, Taken
from tests.limits.shared_world import World

LIMIT: Final = 50
REPLICAS: Final = 3
PURSES: Final = ("b1", "b2")


class Replicas(RuleBasedStateMachine):
    """`owed`: what a perfect ledger would say; `open` are requests that run, with the replica that runs each."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(self.url)
        self.gates: list[SharedGate] = []
        self.open: dict[str, Taken] = {}
        self.charged = dict.fromkeys(PURSES, 0)
        self.number = 0

    def owed(self, purse: str) -> int:
        held = [taken.amount for taken in self.open.values() if purse in names_of(taken)]
        return self.charged[purse] + sum(held)

    @initialize()
    def begin(self) -> None:
        self.gates = [self.runner.run(self.world.replica()) for _ in range(REPLICAS)]

    @rule(
        replica=st.integers(0, REPLICAS - 1),
        purses=st.sampled_from((PURSES, PURSES[:1], PURSES[1:])),
        amount=st.integers(1, 40),
        least=st.none() | st.integers(1, 30),
    )
    def take(self, replica: int, purses: tuple[str, ...], amount: int, least: int | None) -> None:
        self.number += 1
        demand = self.world.demand(self.number, amount, purses=purses, limit=LIMIT, least=least)
        left = min(LIMIT - self.owed(purse) for purse in purses)
        try:
            taken = self.runner.run(self.gates[replica].take(demand))
        except NotCovered as error:
            assert amount > left and (least is None or least > left)
            assert error.left == LIMIT - self.owed(error.purse.id)
            return
        assert taken.amount == min(amount, left)
        assert least is None or taken.amount >= min(least, amount)
        self.open[demand.request] = taken
        for purse in purses:
            self.world.books.write(demand.request, purse, taken.amount)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.floats(0, 1), twice=st.booleans())
    def end(self, data: st.DataObject, share: float, twice: bool) -> None:
        request = data.draw(st.sampled_from(sorted(self.open)))
        taken = self.open.pop(request)
        charge = int(taken.amount * share)
        for purse in names_of(taken):
            self.charged[purse] += charge
            self.world.books.write(request, purse, taken.amount, charge)

        async def told() -> None:
            taken.release(charge)
            if twice:
                for gate in self.gates:
                    gate.tell(taken, 0, 0, charge)
            async with asyncio.timeout(10):
                while any(gate.untold for gate in self.gates):
                    await asyncio.sleep(0)

        self.runner.run(told())

    @rule(count=st.integers(1, 3))
    def postgresql_catches_up(self, count: int) -> None:
        self.world.books.apply(count)

    @rule()
    def redis_forgets_everything(self) -> None:
        self.runner.run(self.world.forget())

    @rule()
    def holds_are_renewed_and_looked_at(self) -> None:
        for gate in self.gates:
            self.runner.run(gate.renew())
        for purse in PURSES:
            assert self.runner.run(self.gates[0].judge(self.world.root, purse)) == 0

    @invariant()
    def redis_says_what_is_owed(self) -> None:
        for purse in PURSES if self.gates else ():
            committed = self.runner.run(self.world.committed(purse))
            assert committed is None or committed == self.owed(purse)

    def teardown(self) -> None:
        self.runner.run(self._closed())
        self.runner.close()
        super().teardown()

    async def _closed(self) -> None:
        if self.world.lines:
            await self.world.forget()
        for line in self.world.lines:
            await line.close()


def names_of(taken: Taken) -> list[str]:
    return [purse.id for purse in taken.demand.purses]


@pytest.mark.req("SHARED-012")
def test_budgets_over_replicas(redis_server: str) -> None:
    Replicas.url = redis_server
    run_state_machine_as_test(Replicas, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
