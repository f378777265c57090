"""Twenty at once at the last cent: exactly as many pass as the budget covers, whoever's it is."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.chaos_embedded.crowd import LEVELS, WISHES, Level, Wish, answering, ask, budgeted, check, crowd
from tests.chaos_embedded.rounds import seeds
from tests.e2e.house import PRICE, Place, RunningHouse, place, provider, running
from tests.e2e.upstream import Upstream
from tests.e2e.wire import eventually


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("house")) as made:
        yield made
        made.house.verified()


def spent_since(house: RunningHouse, last_id: str) -> int:
    """Nano-units that were charged after a request, each once."""
    stored = house.stored_since(last_id)
    assert all(one.hold is not None for one in stored if one.record["status"] == 200)
    charged = [one.hold["charged"] for one in stored if one.hold is not None]
    entered = [leg["amount"] for one in stored for leg in one.entries if leg["leg"] == 0]
    assert sum(charged) == sum(entered)
    return sum(charged)


@pytest.mark.req("FAULT-007")
@pytest.mark.parametrize("seed", seeds(1))
@pytest.mark.parametrize("covered", [1, 7, 19])
@pytest.mark.parametrize("wish", WISHES, ids=str)
@pytest.mark.parametrize("level", LEVELS)
def test_exactly_as_many_pass_as_are_covered(here: Place, level: Level, wish: Wish, covered: int, seed: int) -> None:
    """What is left may be nothing, or a nano-unit less than one more would need."""
    rest = wish.least - 1 if (covered + seed) % 4 else 0
    who = budgeted(here.house, level, covered * wish.most + rest)
    before = here.house.last_id()
    check(crowd([here.house.port], here.upstream, wish, who, covered), wish, covered)
    assert spent_since(here.house, before) == covered * wish.cost <= who.amount


@pytest.mark.req("FAULT-007")
@pytest.mark.parametrize("wish", [wish for wish in WISHES if not wish.capped], ids=str)
@pytest.mark.parametrize("level", LEVELS)
def test_a_caller_without_a_cap_takes_the_rest_and_nobody_passes_beside_it(
    here: Place, level: Level, wish: Wish
) -> None:
    who = budgeted(here.house, level, 3 * wish.most + wish.least)
    before = here.house.last_id()
    check(crowd([here.house.port], here.upstream, wish, who, 4), wish, 4)
    assert spent_since(here.house, before) == 4 * wish.cost


@pytest.mark.req("FAULT-007")
@pytest.mark.parametrize("wish", [wish for wish in WISHES if not wish.capped], ids=str)
def test_what_a_crowd_leaves_is_spent_to_the_last_request_that_is_covered(here: Place, wish: Wish) -> None:
    who = budgeted(here.house, "above", wish.most + wish.least - 1)
    before = here.house.last_id()
    crowd([here.house.port], here.upstream, wish, who, 1)
    here.upstream.scripts["m"] = answering(wish, None)
    while ask(here.house.port, wish, who.keys[0]).status == 200:
        pass
    left = who.amount - spent_since(here.house, before)
    assert 0 <= left < wish.least


@pytest.mark.req("FAULT-008")
def test_over_several_servers_too(tmp_path: Path, postgres_url: str, redis_server: str) -> None:
    """Each server may have put a hundredth of the budget by for itself, which is less than one more would need."""
    environ = {"POSTHOUSE_DATABASE_URL": postgres_url, "POSTHOUSE_REDIS_URL": redis_server}
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        houses = []
        for name in ("one", "two", "three"):
            (tmp_path / name).mkdir()
            houses.append(stack.enter_context(running(tmp_path / name, provider(upstream.base_url) + PRICE, environ)))
        ports = [house.port for house in houses]
        cases = [(level, wish, seed) for level in LEVELS for wish in WISHES for seed in seeds(1)]
        budgets = [budgeted(houses[0], level, 7 * wish.most + wish.least - 1) for level, wish, _ in cases]
        for who in budgets:
            for key in who.keys:
                for house in houses:
                    eventually(partial(_known, house, key), "a key is not known everywhere")
        for (_, wish, _), who in zip(cases, budgets, strict=True):
            before = max(house.last_id() for house in houses)
            check(crowd(ports, upstream, wish, who, 7), wish, 7)
            assert all(house.house.journal.wait_applied(20) for house in houses)
            assert spent_since(houses[0], before) == 7 * wish.cost <= who.amount
        houses[0].verified()


def _known(house: RunningHouse, key: str) -> bool:
    with house.wire() as wire:
        return wire.ask("/v1/models", b"", key, method="GET").status == 200
