"""The short form of `make chaos`: one world, a crowd at its budgets, and one round of each kind of fault."""

from random import Random

import pytest

from tests.chaos import faults
from tests.chaos.evidence import judge, quiet
from tests.chaos.scenes import DOLLAR, Crowd, Load, Struck, crowd, fault_round
from tests.chaos.world import folder_of_world, made

SHORT = Load(clients=12, seconds=3.0)


@pytest.mark.req("CHAOS-001", "CHAOS-002", "CHAOS-003", "CHAOS-004")
async def test_whatever_is_killed_or_forgotten_no_budget_is_overrun_and_every_answer_is_billed_once(
    programs: None,
) -> None:
    """Each line of `plan` is a round of its own; how long a fault lasts is drawn with a fixed seed."""
    plan = (
        (faults.redis_is_killed, faults.server_is_killed),
        (faults.redis_forgets_while_a_server_is_apart, faults.lines_to_postgres_break),
        (faults.postgres_is_stopped, faults.server_is_told_to_end),
    )
    random = Random(4)
    with folder_of_world() as folder:
        async with made(folder, 3, print) as world:
            assert await crowd(world, Crowd(servers=3, clients=20, budget=DOLLAR // 2, keys=2, rpm=30)) == []
            standing = await world.make_key(1_000 * DOLLAR)
            await world.known(standing)
            for kinds in plan:
                struck = [Struck(0.3 * (1 + number), fault, 0.1) for number, fault in enumerate(kinds)]
                assert await fault_round(world, random, SHORT, standing, struck) == []
            await quiet(world)
            assert await judge(world) == []
            assert all(server.state == "up" for server in world.servers)
