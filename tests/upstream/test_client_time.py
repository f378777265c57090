"""The client over real sockets: what time ends."""

import asyncio

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.model import Timeouts
from tests.upstream.scripts import failing, never, stream_without_end
from tests.upstream.server import Clock, Peer, client_with, request_to, serving, soon, until


async def test_a_deadline_that_has_passed_fails_before_anything_is_sent() -> None:
    async with serving(never) as server, client_with() as client:
        request = request_to(server)
        request.deadline = asyncio.get_running_loop().time() - 1
        failure = await failing(asyncio.ensure_future(client.send(request)))
        assert (failure.kind, server.connections) == ("timeout", 0)


async def test_an_upstream_that_does_not_begin_to_answer_times_out() -> None:
    clock = Clock()
    async with serving(never) as server, client_with(ClientOptions(clock=clock)) as client:
        sending = asyncio.ensure_future(client.send(request_to(server, timeouts=Timeouts(first_byte=120))))
        await until(lambda: client.stats().open == 1)
        await until(lambda: server.connections == 1)
        clock.now += 119
        client.sweep()
        await asyncio.sleep(0)
        assert not sending.done()
        clock.now += 1
        client.sweep()
        assert (await failing(sending)).kind == "timeout"
        assert client.stats().open == 0


async def test_half_a_head_is_no_beginning_of_an_answer() -> None:
    async def half(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n")
        sent.set()
        await peer.gone()

    clock = Clock()
    async with serving(half) as server, client_with(ClientOptions(clock=clock)) as client:
        sent = asyncio.Event()
        sending = asyncio.ensure_future(client.send(request_to(server, timeouts=Timeouts(first_byte=120))))
        await soon(sent.wait())
        clock.now += 121
        client.sweep()
        assert (await failing(sending)).kind == "timeout"


async def test_silence_inside_an_answer_times_out_and_the_upstream_is_cut_off() -> None:
    gone = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await stream_without_end(peer)
        gone.set()

    clock = Clock()
    async with serving(silent) as server, client_with(ClientOptions(clock=clock)) as client:
        response = await soon(client.send(request_to(server, timeouts=Timeouts(idle=60))))
        assert await soon(response.chunk()) == b"hi"
        reading = asyncio.ensure_future(response.chunk())
        await asyncio.sleep(0)
        client.sweep()
        clock.now += 59
        client.sweep()
        await asyncio.sleep(0)
        assert not reading.done()
        clock.now += 61
        client.sweep()
        with pytest.raises(UpstreamFailure, match="silent") as caught:
            await soon(reading)
        assert caught.value.kind == "timeout"
        await soon(gone.wait())


async def test_a_reader_who_is_away_does_not_make_the_upstream_late() -> None:
    clock = Clock()
    async with serving(stream_without_end) as server, client_with(ClientOptions(clock=clock)) as client:
        response = await soon(client.send(request_to(server, timeouts=Timeouts(idle=60, total=600))))
        clock.now += 300
        client.sweep()
        assert await soon(response.chunk()) == b"hi"
        response.close()


@pytest.mark.parametrize("by", ["total", "deadline"])
async def test_an_answer_that_never_ends_times_out_in_total(by: str) -> None:
    clock = Clock()
    async with serving(stream_without_end) as server, client_with(ClientOptions(clock=clock)) as client:
        request = request_to(server, timeouts=Timeouts(idle=10_000, total=600 if by == "total" else 10_000))
        if by == "deadline":
            request.deadline = clock.now + 600
        response = await soon(client.send(request))
        clock.now += 600
        client.sweep()
        assert await soon(response.chunk()) == b"hi"  # what came in time is handed out
        with pytest.raises(UpstreamFailure) as caught:
            await soon(response.chunk())
        assert caught.value.kind == "timeout"


async def test_the_ticker_sweeps_by_itself_and_stops_when_nothing_is_open() -> None:
    async with serving(never) as server, client_with(ClientOptions(tick=0.01)) as client:
        sending = asyncio.ensure_future(client.send(request_to(server, timeouts=Timeouts(first_byte=0.02))))
        assert (await failing(sending)).kind == "timeout"
        before = len(asyncio.all_tasks())
        await until(lambda: client._ticker is None)
        assert len(asyncio.all_tasks()) == before
