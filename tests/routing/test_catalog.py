"""Who waits for the providers' own lists, and what becomes of them where others take the providers' place."""

import asyncio

import pytest

from posthouse.core.errors import ConfigError
from posthouse.providers import openai_compatible
from posthouse.providers.model import ProviderAccount
from posthouse.routing.catalog import Catalog, candidates_of, models_at
from posthouse.routing.model import ModelName, ModelRoute, Offer
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import UpstreamRequest, UpstreamResponse


class Lister:
    """Gives its list once `ready` is set."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    async def answer(self, _: UpstreamRequest) -> UpstreamResponse:
        await self.ready.wait()
        return MemoryResponse(200, [], [b'{"object":"list","data":[{"id":"m"}]}'])

    def catalog(self) -> Catalog:
        account = ProviderAccount(name="main", row=openai_compatible.ROW, base_url="https://llm.example.com/v1")
        return Catalog([Offer(account, None, ScriptedTransport(self.answer))], [], 0)


async def test_who_waits_for_the_first_lists_sees_them() -> None:
    lister = Lister()
    catalog = lister.catalog()
    refresh, waiting = asyncio.create_task(catalog.refresh()), asyncio.create_task(catalog.asked_once(30))
    lister.ready.set()
    await waiting
    assert [model.id for model in catalog.listed()] == ["m"]
    await refresh


async def test_a_list_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    lister = Lister()
    catalog = lister.catalog()
    refresh = asyncio.create_task(catalog.refresh())
    await catalog.asked_once(0.001)
    assert catalog.listed() == ()
    lister.ready.set()
    await refresh


def pages(last: str) -> ScriptedTransport:
    """Two pages; the second says that `last` follows."""
    asked: list[bytes] = []

    async def answer(request: UpstreamRequest) -> UpstreamResponse:
        asked.append(request.target)
        if len(asked) == 1:
            return MemoryResponse(200, [], [b'{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}'])
        assert request.target.endswith(b"models?after_id=a")
        assert len(asked) == 2
        return MemoryResponse(200, [], [b'{"data":[{"id":"b"}],"has_more":true,"last_id":"%b"}' % last.encode()])

    return ScriptedTransport(answer)


@pytest.mark.parametrize("last", ["", "a"])
async def test_a_list_is_read_page_by_page_until_one_says_nothing_new(last: str) -> None:
    account = ProviderAccount(name="main", row=openai_compatible.ROW, base_url="https://llm.example.com/v1")
    assert await models_at(Offer(account, None, pages(last))) == ["a", "b"]


async def test_without_providers_that_keep_lists_nobody_waits() -> None:
    await Catalog([], [], 0).asked_once(30)


def named(name: str, *models: str, base_url: str = "https://llm.example.com/v1") -> Offer:
    """An account; without models it gives the list that `Lister` has."""
    account = ProviderAccount(name=name, row=openai_compatible.ROW, base_url=base_url)
    lister = Lister()
    lister.ready.set()
    return Offer(account, tuple(ModelName(one, one) for one in models) or None, ScriptedTransport(lister.answer))


def ids(catalog: Catalog) -> list[str]:
    return sorted(one.deployment.id for one in catalog.deployments())


async def test_other_providers_and_routes_take_the_place_of_the_old_ones_at_once() -> None:
    catalog = Catalog([named("a", "x", "y")], [ModelRoute("r", ("x",), "weighted")], 0)
    held = catalog.candidates("r")
    catalog.replace([named("b", "y", "z")], [ModelRoute("s", ("z",), "latency")])
    assert ids(catalog) == ["b/y", "b/z"]
    assert [model.id for model in catalog.listed()] == ["s", "y", "z"]
    assert catalog.candidates("r") == ()
    assert (catalog.strategy("r"), catalog.strategy("s")) == ("priority", "latency")
    assert [one.deployment.id for one in held] == ["a/x"]


async def test_a_list_is_kept_where_the_provider_is_at_the_same_address() -> None:
    catalog = Catalog([named("a"), named("b")], [], 0)
    await catalog.refresh()
    catalog.replace([named("a"), named("b", base_url="https://other.example.com/v1"), named("c")], [])
    assert ids(catalog) == ["a/m"]
    await catalog.refresh(unasked=True)
    assert ids(catalog) == ["a/m", "b/m", "c/m"]


async def test_a_model_of_a_new_provider_is_waited_for() -> None:
    catalog = Catalog([named("a", "x")], [], 0)
    catalog.replace([named("a", "x"), named("b")], [])
    resolving = asyncio.create_task(catalog.resolve("m"))
    await asyncio.sleep(0)
    await catalog.refresh(unasked=True)
    assert [one.deployment.id for one in await resolving] == ["b/m"]


async def test_a_list_that_comes_too_late_is_nobody_s() -> None:
    lister = Lister()
    catalog = lister.catalog()
    refresh = asyncio.create_task(catalog.refresh())
    await asyncio.sleep(0)
    catalog.replace([named("main", "x", base_url="https://other.example.com/v1")], [])
    lister.ready.set()
    await refresh
    assert ids(catalog) == ["main/x"]


async def test_an_account_that_cannot_stand_is_left_out_and_the_others_serve() -> None:
    broken = ProviderAccount(name="broken", row=openai_compatible.ROW, base_url="https://llm.example.com/v1#fragment")
    offer = Offer(broken, (ModelName("m", "m"),), named("a").transport)
    with pytest.raises(ConfigError, match="base_url"):
        candidates_of(offer, ModelName("m", "m"))
    assert ids(Catalog([offer, named("a", "x")], [], 0)) == ["a/x"]
