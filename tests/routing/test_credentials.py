"""An account with several credentials: used in turn, skipped while they are of no use, never shown."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.providers import openai_compatible
from posthouse.providers.model import ProviderAccount
from posthouse.providers.registry import load as load_registry
from posthouse.routing.catalog import Catalog
from posthouse.routing.check import check_provider
from posthouse.routing.forms import model_to_json, offer_to_json, provider_to_json
from posthouse.routing.health import Place
from posthouse.routing.model import ModelRoute, Offer, RoutingOptions
from posthouse.routing.offers import offers_of
from posthouse.settings import ModelEntry, ProviderSettings, Secret
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse
from tests.routing.rig import OPTIONS, Deployed, Rig, answers, ids, now, refuses, run, shares


def rig(credentials: int = 3, *others: Deployed, **more: Any) -> Rig:
    return Rig(Deployed("main", priority=1, credentials=credentials), *others, **more)


def used(made: Rig) -> Counter[str]:
    return Counter(name.partition("#")[2] for name in made.used if name.startswith("main/"))


def test_credentials_are_used_in_turn() -> None:
    async def work() -> None:
        made = rig(3)
        for _ in range(9):
            await made.ask()
        assert made.used == [f"main/m#{number}" for number in (1, 2, 3)] * 3

    run(work())


@pytest.mark.parametrize("kind", ["auth", "quota", "rate", "not_found"])
def test_one_that_is_limited_or_refused_is_skipped_until_its_time_while_the_others_serve(kind: FailureKind) -> None:
    status = {"auth": 401, "quota": 402, "rate": 429, "not_found": 404}[kind]

    async def work() -> None:
        made = rig(3)
        made.scripts["main/m#2"] = refuses(status)
        for _ in range(12):
            reply, _ = await made.ask()
            assert reply.body
        assert used(made) == {"1": 6, "2": 1, "3": 6}  # with the one that stepped in for the second
        made.scripts.clear()
        await asyncio.sleep(60)
        made.used.clear()
        for _ in range(9):
            await made.ask()
        assert used(made) == {"1": 3, "2": 3, "3": 3}

    run(work())


def test_the_next_credential_is_tried_at_once_and_before_another_deployment() -> None:
    async def work() -> None:
        made = rig(2, Deployed("spare"))
        made.scripts["main/m#1"] = refuses(429, retry_after="30")
        began = now()
        _, trace = await made.ask()
        assert made.used == ["main/m#1", "main/m#2"]
        assert now() - began == pytest.approx(0.1)
        assert [(one.deployment, one.credential, one.kind) for one in trace.failed] == [("main/m", 1, "rate")]
        assert trace.candidate is not None
        assert trace.candidate.credential == 2

    run(work())


@pytest.mark.parametrize("status", [500, 503, 504])
def test_another_credential_does_not_help_a_deployment_that_is_down(status: int) -> None:
    async def work() -> None:
        made = rig(3, Deployed("spare"))
        made.scripts["main/m"] = refuses(status)
        await made.ask()
        assert made.visits == ["main/m", "spare/m"]

    run(work())


def test_where_there_is_nothing_else_a_deployment_that_is_down_is_asked_again_after_a_pause() -> None:
    async def work() -> None:
        made = rig(2)
        made.scripts["main/m"] = refuses(500)
        began = now()
        with pytest.raises(UpstreamFailure):
            await made.ask()
        assert made.used == ["main/m#1", "main/m#2", "main/m#1", "main/m#2"]
        assert now() - began >= OPTIONS.backoff * (1 + 2 + 4) * 0.5

    run(work())


def test_attempts_are_bounded_over_all_credentials() -> None:
    async def work() -> None:
        made = rig(9, options=RoutingOptions(max_attempts=3))
        made.scripts["main/m"] = refuses(401)
        with pytest.raises(UpstreamFailure):
            await made.ask()
        assert len(made.visits) == 3

    run(work())


def test_failures_of_the_deployment_count_over_all_credentials_and_those_of_one_for_it_alone() -> None:
    async def work() -> None:
        made = rig(3, Deployed("spare"))
        for credential in (1, 2, 3):
            made.fail("main/m", "server", credential=credential)
        assert ids(made.plan())[0] == "spare/m"
        assert list(made.router.health.report(now())) == [Place("main/m", "chat.completions")]
        made.fail("main/m", "auth", credential=2)  # whoever refuses a credential does answer
        assert {(one.deployment.id, one.credential) for one in made.plan()[:2]} == {("main/m", 1), ("main/m", 3)}
        assert list(made.router.health.report(now())) == [Place("main/m", "chat.completions", 2)]

    run(work())


def test_while_every_credential_is_limited_the_shortest_wish_is_told() -> None:
    async def work() -> None:
        made = rig(2)
        made.fail("main/m", "rate", retry_after=40.0, credential=1)
        assert [one.credential for one in made.plan()] == [2, 1]
        made.fail("main/m", "rate", retry_after=15.0, credential=2)
        with pytest.raises(UpstreamFailure) as caught:
            made.plan()
        assert caught.value.retry_after == 15.0

    run(work())


def test_a_share_by_weight_does_not_grow_with_the_number_of_credentials() -> None:
    async def work() -> None:
        made = Rig(Deployed("many", credentials=5), Deployed("one"))
        assert shares(made.firsts(3_000)) == pytest.approx({"many/m": 0.5, "one/m": 0.5}, abs=0.04)

    run(work())


def test_by_latency_a_deployment_stands_as_long_as_one_of_its_credentials_does() -> None:
    async def work() -> None:
        made = rig(2, Deployed("spare", ("n",)), routes=[ModelRoute("r", ("m", "n"), "latency")])
        made.scripts["spare/n"] = answers(9.0)
        for _ in range(2):
            await made.ask("r")
        made.fail("main/m", "quota", credential=1)
        assert {(ids(plan)[0], plan[0].credential) for plan in (made.plan("r") for _ in range(20))} == {("main/m", 2)}
        made.fail("main/m", "quota", credential=2)
        assert ids(made.plan("r"))[0] == "spare/n"

    run(work())


def test_each_credential_is_probed_by_itself() -> None:
    async def work() -> None:
        made = rig(2)
        made.scripts["main/m#1"] = answers(5.0)
        made.fail("main/m", "auth", credential=1)
        await asyncio.sleep(60)
        probe = asyncio.create_task(made.ask())
        await asyncio.sleep(0.1)
        for _ in range(4):
            await made.ask()
        assert used(made) == {"1": 1, "2": 4}
        await probe
        assert made.router.health.all_well

    run(work())


def test_a_fallback_has_its_credentials_in_turn_too() -> None:
    async def work() -> None:
        route = ModelRoute("r", ("n",), "priority", {"quota": ("m",)})
        made = rig(2, Deployed("own", ("n",)), routes=[route])
        made.scripts |= {"own/n": refuses(402), "main/m#1": refuses(401)}
        _, trace = await made.ask("r")
        assert made.used == ["own/n#1", "main/m#1", "main/m#2"]
        assert trace.attempts == 3

    run(work())


def test_turns_of_deployments_that_are_gone_are_forgotten() -> None:
    async def work() -> None:
        made = rig(2)
        await made.ask()
        made.router.forget(frozenset())
        await made.ask()
        assert made.used == ["main/m#1"] * 2

    run(work())


# What is shown


def test_models_and_providers_show_which_credential_has_which_trouble_and_never_the_credential() -> None:
    async def work() -> None:
        made = rig(2)
        made.fail("main/m", "auth", credential=2)
        report = made.router.health.report(now())
        catalog = made.router.catalog
        (listed,) = catalog.listed()
        first, second = model_to_json(listed, catalog, report)["candidates"]
        assert (first["credential"], first["troubles"]) == (1, {})
        assert second["troubles"]["chat.completions"]["kind"] == "auth"
        (offer,) = catalog.offers
        shown = provider_to_json(offer, catalog, report)
        assert (shown["credentials"], shown["state"], shown["deployments"]) == (2, "cooling", 1)
        assert [(one["deployment"], one["credential"]) for one in shown["cooling"]] == [("main/m", 2)]
        everything = f"{model_to_json(listed, catalog, report)}{shown}{offer_to_json(offer)}{offer!r}{made.plan()!r}"
        assert "made-up" not in everything

    run(work())


def test_the_circuit_of_a_deployment_is_open_while_every_credential_cools() -> None:
    async def work() -> None:
        made = rig(2)
        made.fail("main/m", "auth", credential=1)
        assert made.router.circuits(now()) == [("main/m", "chat.completions", False)]
        made.fail("main/m", "rate", credential=2)
        assert made.router.circuits(now()) == [("main/m", "chat.completions", True)]

    run(work())


def test_settings_with_several_credentials_make_one_offer_of_them_all() -> None:
    secrets = (Secret("made-up-1"), Secret("made-up-2"))
    settings = ProviderSettings(
        name="main",
        type="openai-compatible",
        base_url="https://llm.example.com/v1",  # type: ignore[arg-type]
        credentials=secrets,
        models=(ModelEntry(name="m"),),
    )

    async def nothing(_: UpstreamRequest) -> UpstreamResponse:
        raise AssertionError("nobody is asked")

    (offer,) = offers_of([settings], load_registry(), ScriptedTransport(nothing))
    assert [one.account.credential for one in offer.each()] == ["made-up-1", "made-up-2"]
    assert [one.credential for one in Catalog([offer], [], 0).candidates("m")] == [1, 2]


class Picky:
    """Takes only one credential."""

    def __init__(self, taken: bytes) -> None:
        self._taken = taken

    async def answer(self, request: UpstreamRequest) -> UpstreamResponse:
        if self._taken not in request.headers:
            return MemoryResponse(401, [], [b'{"error":{"message":"Incorrect API key."}}'])
        return MemoryResponse(200, [], [b'{"object":"list","data":[{"id":"m"}]}'])

    def offer(self) -> Offer:
        one, two = [
            ProviderAccount(
                name="main", row=openai_compatible.ROW, base_url="https://llm.example.com/v1", credential=credential
            )
            for credential in ("made-up-1", "made-up-2")
        ]
        return Offer(one, None, ScriptedTransport(self.answer), others=(two,))


async def test_a_list_of_models_is_asked_for_with_every_credential_until_one_is_taken() -> None:
    catalog = Catalog([Picky(b"made-up-2").offer()], [], 0)
    await catalog.refresh()
    assert [model.id for model in catalog.listed()] == ["m"]
    assert catalog.problems == {}
    refused = Catalog([Picky(b"made-up-3").offer()], [], 0)
    await refused.refresh()
    assert "refused" in refused.problems["main"]


async def test_a_check_names_the_credential_that_is_not_taken() -> None:
    check = await check_provider(Picky(b"made-up-1").offer())
    assert (check.ok, check.kind) == (False, "auth")
    assert (check.problem or "").startswith("credential 2 of 2: ")
    assert (await check_provider(Picky(b"made-up-").offer())).ok
