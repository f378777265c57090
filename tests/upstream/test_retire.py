"""Pools that are used no more: their connections end, those of others stay."""

import asyncio

from msgspec.structs import replace

from posthouse.upstream.model import Origin
from tests.upstream.scripts import STREAM, always_ok, finish
from tests.upstream.server import Peer, client_with, request_to, serving, soon

NOBODY: frozenset[tuple[str, Origin, str | None]] = frozenset()


async def test_idle_connections_are_closed_at_once_and_those_of_live_pools_are_kept() -> None:
    async with serving(always_ok) as server, client_with() as client:
        gone, live = request_to(server), replace(request_to(server), pool="other")
        for request in (gone, live):
            await finish(await soon(client.send(request)))
        client.retire(frozenset({("other", live.origin, None)}))
        assert (client.stats().open, client.stats().idle) == (1, 1)
        await finish(await soon(client.send(live)))
        assert client.stats().opened == 2


class Slow:
    """The end of its answer comes once it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def answer(self, peer: Peer) -> None:
        await peer.answer(STREAM + b"2\r\nhi\r\n")
        await asyncio.wait_for(self.go.wait(), 10)
        await peer.send(b"2\r\nho\r\n0\r\n\r\n")
        await peer.gone()


async def test_an_answer_under_way_comes_whole_and_its_connection_is_closed_after_it() -> None:
    slow = Slow()
    async with serving(slow.answer) as server, client_with() as client:
        response = await soon(client.send(request_to(server)))
        client.retire(NOBODY)
        assert client.stats().open == 1
        slow.go.set()
        assert await finish(response) == b"hiho"
        assert client.stats().open == 0


async def test_who_still_holds_a_retired_deployment_is_served_with_a_connection_of_its_own() -> None:
    async with serving(always_ok) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        client.retire(NOBODY)
        for _ in range(2):
            assert await finish(await soon(client.send(request_to(server)))) == b"hi"
        client.sweep()
        assert (client.stats().open, client.stats().opened) == (0, 3)


async def test_a_pool_that_is_used_again_keeps_its_connections_again() -> None:
    slow = Slow()
    async with serving(slow.answer) as server, client_with() as client:
        request = request_to(server)
        busy = await soon(client.send(request))
        client.retire(NOBODY)
        client.retire(frozenset({(request.pool, request.origin, None)}))
        slow.go.set()
        await finish(busy)
        assert client.stats().idle == 1
