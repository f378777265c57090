"""Who waits for the providers' own lists, and for how long."""

import asyncio

from posthouse.providers import openai_compatible
from posthouse.providers.model import ProviderAccount
from posthouse.routing.catalog import Catalog
from posthouse.routing.model import Offer
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


async def test_without_providers_that_keep_lists_nobody_waits() -> None:
    await Catalog([], [], 0).asked_once(30)
