"""The client over real sockets: what is bounded, and what cancellation leaves behind."""

import asyncio

import pytest

from posthouse.upstream.client import ClientOptions
from posthouse.upstream.model import Timeouts
from posthouse.upstream.pool import PoolLimits
from tests.upstream.scripts import OK, STREAM, always_ok, cancelled, failing, finish, never, stream_without_end
from tests.upstream.server import Clock, Peer, body_of, client_with, request_to, serving, soon, until

# Bounds


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_connections_are_opened_than_the_limit_and_everyone_is_served(limit: int) -> None:
    served: list[bytes] = []
    busy = peak = 0

    async def count(peer: Peer) -> None:
        nonlocal busy, peak
        while True:
            _, body = await peer.request()
            busy += 1
            peak = max(peak, busy)
            served.append(body)
            await asyncio.sleep(0)
            busy -= 1
            await peer.send(OK)

    async def ask(number: int) -> None:
        await finish(await client.send(request_to(server, b"%02d" % number)))

    options = ClientOptions(limits=PoolLimits(connections=limit, waiters=100))
    async with serving(count) as server, client_with(options) as client:
        await soon(asyncio.gather(*(ask(number) for number in range(40))))
        stats = client.stats()
        assert peak <= limit
        assert (server.connections, stats.opened, stats.waited, stats.waiting) == (limit, limit, 40 - limit, 0)
        if limit == 1:
            assert served == sorted(served)  # first come, first served


async def test_a_full_queue_is_refused_at_once() -> None:
    options = ClientOptions(limits=PoolLimits(connections=1, waiters=1))
    async with serving(never) as server, client_with(options) as client:
        first, second = (asyncio.ensure_future(client.send(request_to(server))) for _ in range(2))
        await until(lambda: client.stats().waiting == 1)
        assert (await failing(asyncio.ensure_future(client.send(request_to(server))))).kind == "overloaded"
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])


async def test_waiting_for_a_connection_ends_with_the_time_for_connecting() -> None:
    clock = Clock()
    options = ClientOptions(clock=clock, limits=PoolLimits(connections=1))
    async with serving(stream_without_end) as server, client_with(options) as client:
        response = await soon(client.send(request_to(server)))
        waiting = asyncio.ensure_future(client.send(request_to(server, timeouts=Timeouts(connect=5))))
        await until(lambda: client.stats().waiting == 1)
        clock.now += 5
        client.sweep()
        assert (await failing(waiting)).kind == "overloaded"
        response.close()


async def test_who_waits_may_open_a_connection_when_another_breaks() -> None:
    async def break_off(peer: Peer) -> None:
        await peer.request()
        await soon(now.wait())

    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(break_off, always_ok) as server, client_with(options) as client:
        now = asyncio.Event()
        first, second = (asyncio.ensure_future(client.send(request_to(server))) for _ in range(2))
        await until(lambda: client.stats().waiting == 1 and server.connections == 1)
        now.set()
        assert (await failing(first)).kind == "connect"
        assert await finish(await soon(second)) == b"hi"


async def test_who_waits_gets_a_connection_whose_answer_is_whole_though_unread() -> None:
    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(always_ok) as server, client_with(options) as client:
        first, second = await soon(asyncio.gather(*(client.send(request_to(server)) for _ in range(2))))
        assert [await finish(second), await finish(first)] == [b"hi", b"hi"]


# Cancellation


async def test_cancelling_send_while_the_answer_is_awaited_closes_the_connection() -> None:
    gone = asyncio.Event()

    async def note(peer: Peer) -> None:
        await peer.request()
        await peer.gone()
        gone.set()

    async with serving(note) as server, client_with() as client:
        sending = asyncio.ensure_future(client.send(request_to(server)))
        await until(lambda: client.stats().open == 1)
        await cancelled(sending)
        await soon(gone.wait())
        assert client.stats().open == 0


async def test_cancelling_in_the_queue_leaves_the_place_to_the_next() -> None:
    async def held(peer: Peer) -> None:
        await soon(go_on.wait())
        await always_ok(peer)

    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(held) as server, client_with(options) as client:
        go_on = asyncio.Event()
        tasks = [asyncio.ensure_future(client.send(request_to(server))) for _ in range(4)]
        await until(lambda: client.stats().waiting == 3)
        await cancelled(tasks[1])
        go_on.set()
        for task in (tasks[0], tasks[2], tasks[3]):
            assert await finish(await soon(task)) == b"hi"
        assert client.stats().open == 1


@pytest.mark.parametrize("turns", range(30))
async def test_cancelling_at_any_turn_of_the_loop_leaks_no_connection_and_no_slot(turns: int) -> None:
    options = ClientOptions(limits=PoolLimits(connections=2))
    async with serving(always_ok) as server, client_with(options) as client:
        tasks = [asyncio.ensure_future(client.send(request_to(server))) for _ in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
        for _ in range(3):
            answers = await soon(asyncio.gather(*(client.send(request_to(server)) for _ in range(2))))
            assert [await finish(answer) for answer in answers] == [b"hi", b"hi"]
        stats = client.stats()
        assert (stats.open, stats.idle, stats.waiting) == (2, 2, 0)


async def test_cancelling_chunk_does_not_lose_what_comes_next() -> None:
    async def two(peer: Peer) -> None:
        await peer.answer(STREAM)
        await soon(go_on.wait())
        await peer.send(b"2\r\nhi\r\n0\r\n\r\n")
        await peer.gone()

    async with serving(two) as server, client_with() as client:
        go_on = asyncio.Event()
        response = await soon(client.send(request_to(server)))
        reading = asyncio.ensure_future(response.chunk())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        go_on.set()
        assert await body_of(response) == b"hi"
