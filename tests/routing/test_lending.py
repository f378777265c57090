"""Plans of callers that bring a credential: one provider's address, however the draw falls, and nothing learnt."""

import random
from typing import Final

import pytest

from posthouse.core.errors import Forbidden, NotFound, UpstreamFailure
from posthouse.providers import openai, openai_compatible
from posthouse.providers.brought import Brought
from posthouse.providers.model import Provider, ProviderAccount
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import ModelName, ModelRoute, Offer, Strategy, Trace
from posthouse.routing.service import Router
from posthouse.settings import Secret
from posthouse.telemetry import Telemetry
from posthouse.upstream.memory import ScriptedTransport
from tests.routing.rig import OPTIONS, Deployed, Rig, asked, ids, now, refuses, run

HERE: Final = "https://llm.example.com/v1"
ELSEWHERE: Final = "https://other.example.com/v1"


def own(*accounts: str) -> Brought:
    return Brought(Secret("made-up-own"), frozenset(accounts), "key_1")


def offered(
    name: str, base_url: str, row: Provider = openai_compatible.ROW, weight: float = 1.0, priority: int = 0
) -> Offer:
    account = ProviderAccount(name=name, row=row, base_url=base_url, credential="made-up-1")
    transport = ScriptedTransport(refuses(500))
    return Offer(account, (ModelName("m", "m"), ModelName(name, name)), transport, priority, weight)


def routed(strategy: Strategy, *offers: Offer) -> Router:
    route = ModelRoute("r", ("m",), strategy)
    return Router(Catalog(offers, [route], 0), OPTIONS, Telemetry(), random.Random(11))


@pytest.mark.parametrize("strategy", ["priority", "weighted", "latency", "cheapest"])
def test_it_goes_to_the_address_of_the_first_by_rank_however_the_draw_falls(strategy: Strategy) -> None:
    """Not to that of a heavier one, not to another vendor at the same address, and to all that are there."""
    router = routed(
        strategy,
        offered("a", HERE, weight=0.5),
        offered("b", ELSEWHERE, weight=1_000),
        offered("c", f"{HERE}/", weight=1),
        offered("d", HERE, openai.ROW, weight=1_000),
        offered("e", HERE, weight=1_000, priority=9),
    )
    first: set[str] = set()
    for _ in range(50):
        trace = Trace(0.0)
        plan = router.planner.brought(asked("r"), own("a", "b", "c", "d"), trace)
        assert set(ids(plan)) == {"a/m", "c/m"}
        assert not trace.measured
        assert {one.deployment.account.credential for one in plan} == {"made-up-own"}
        first.add(plan[0].deployment.id)
    assert first == {"a/m", "c/m"}


def test_a_fallback_alone_leads_nowhere_and_follows_at_the_same_address_only() -> None:
    offers = [offered("a", HERE), offered("b", ELSEWHERE), offered("c", HERE)]
    route = ModelRoute("r", ("a",), fallbacks={"server": ("b", "c")})
    planner = Router(Catalog(offers, [route], 0), OPTIONS, Telemetry()).planner
    plan = planner.brought(asked("r"), own("a", "b", "c"), Trace(0.0))
    assert [(one.deployment.id, one.after) for one in plan] == [("a/a", None), ("c/c", "server")]
    with pytest.raises(Forbidden) as refused:
        planner.brought(asked("r"), own("b", "c"), Trace(0.0))
    assert refused.value.code == "own_credential_no_account"


def test_what_nobody_has_is_not_found_whoever_asks() -> None:
    planner = routed("priority", offered("a", HERE)).planner
    with pytest.raises(NotFound):
        planner.brought(asked("unheard-of"), own("a"), Trace(0.0))


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429, 500, 503])
def test_what_it_meets_is_learnt_by_nobody_and_what_others_met_is_not_believed(status: int) -> None:
    async def work() -> None:
        rig = Rig(Deployed("a", credentials=2), Deployed("b"))
        rig.fail("b/m", "rate", retry_after=60.0)
        rig.fail("a/m", "auth", credential=1)
        before = rig.router.health.report(now())
        rig.scripts = {"a/m": refuses(status), "b/m": refuses(status)}
        trace = Trace(now())
        plan = rig.router.planner.brought(asked(), own("a", "b"), trace)
        assert sorted(ids(plan)) == ["a/m", "b/m"]
        with pytest.raises(UpstreamFailure):
            await rig.router.apart().attempt(plan, asked(), trace)
        assert rig.router.health.report(now()).keys() == before.keys()
        assert {one.partition("#")[2] for one in rig.used} == {"own"}
        assert len(rig.used) == (1 if status in (401, 402, 403) else 2 if status == 404 else 4)
        assert [place.credential for place in before] == [0, 1]

    run(work())


def test_a_success_with_it_takes_no_trouble_back() -> None:
    async def work() -> None:
        rig = Rig(Deployed("a"))
        rig.fail("a/m", "auth")
        plan = rig.router.planner.brought(asked(), own("a"), Trace(now()))
        await rig.router.apart().attempt(plan, asked(), Trace(now()))
        assert rig.used == ["a/m#own"]
        assert [trouble.kind for trouble in rig.router.health.report(now()).values()] == ["auth"]

    run(work())
