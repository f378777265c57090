"""Request bodies that are made while they are sent, and time: whose it is, and when it is over."""

import asyncio
import math

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.model import Timeouts
from tests.upstream.scripts import failing, finish
from tests.upstream.server import Clock, Peer, client_with, serving, soon, until
from tests.upstream.uploads import PIECE, Seen, Source, body_of, hears_out, upload_to


async def test_a_slow_source_costs_the_provider_none_of_its_time(seen: Seen) -> None:
    clock = Clock()
    source = Source(b"ab", endless=True)
    timeouts = Timeouts(first_byte=10, idle=5, total=10_000)
    async with serving(hears_out(seen)) as server, client_with(ClientOptions(clock=clock)) as client:
        sending = asyncio.create_task(client.send(upload_to(server, source.stream(None), timeouts)))
        await until(lambda: source.taken == 1)
        for _ in range(5):
            clock.now += 100
            client.sweep()
        source.go_on()
        assert await finish(await soon(sending)) == b"hi"


async def test_a_provider_that_does_not_read_is_given_up_after_the_idle_time() -> None:
    clock = Clock()
    source = Source(*[PIECE] * 1000)

    async def deaf(peer: Peer) -> None:
        peer.reader._limit = 1024  # type: ignore[attr-defined]
        await done.wait()

    done = asyncio.Event()
    timeouts = Timeouts(first_byte=10_000, idle=5, total=10_000)
    async with serving(deaf) as server, client_with(ClientOptions(clock=clock, tick=math.inf)) as client:
        sending = asyncio.create_task(client.send(upload_to(server, source.stream(None), timeouts)))
        await source.settled()
        client.sweep()
        clock.now += 4
        client.sweep()
        assert not sending.done()
        clock.now += 1
        client.sweep()
        failure = await failing(sending)
        done.set()
    assert failure.kind == "timeout"
    assert source.closed


async def test_the_provider_has_its_time_for_the_first_byte_once_the_body_is_out(seen: Seen) -> None:
    clock = Clock()
    timeouts = Timeouts(first_byte=10, idle=5, total=10_000)

    async def silent(peer: Peer) -> None:
        seen.append(await body_of(peer))
        await peer.gone()

    async with serving(silent) as server, client_with(ClientOptions(clock=clock, tick=math.inf)) as client:
        sending = asyncio.create_task(client.send(upload_to(server, Source(b"ab").stream(2), timeouts)))
        await until(lambda: len(seen) == 1)
        clock.now += 100
        client.sweep()
        clock.now += 9
        client.sweep()
        assert not sending.done()
        clock.now += 1
        client.sweep()
        assert (await failing(sending)).kind == "timeout"


@pytest.mark.parametrize("by", ["total", "deadline"])
async def test_what_the_body_took_is_no_part_of_the_time_for_the_answer(seen: Seen, by: str) -> None:
    clock = Clock()
    source = Source(b"ab", endless=True)
    timeouts = Timeouts(first_byte=10_000, idle=5, total=600 if by == "total" else 10_000)

    async def silent(peer: Peer) -> None:
        seen.append(await body_of(peer))
        await peer.gone()

    async with serving(silent) as server, client_with(ClientOptions(clock=clock, tick=math.inf)) as client:
        request = upload_to(server, source.stream(None), timeouts)
        if by == "deadline":
            request.deadline = clock.now + 600
        sending = asyncio.create_task(client.send(request))
        await until(lambda: source.taken == 1)
        clock.now += 599
        client.sweep()
        source.go_on()
        await until(lambda: len(seen) == 1)
        clock.now += 599
        client.sweep()
        assert not sending.done()
        clock.now += 1
        client.sweep()
        assert (await failing(sending)).message.startswith("The provider's answer took longer")


async def test_a_body_may_not_take_for_ever_by_itself() -> None:
    clock = Clock()
    source = Source(b"ab", endless=True)
    timeouts = Timeouts(first_byte=10, idle=5, total=600)
    async with serving(lambda peer: peer.gone()) as server, client_with(ClientOptions(clock=clock)) as client:
        sending = asyncio.create_task(client.send(upload_to(server, source.stream(None), timeouts)))
        await until(lambda: source.taken == 1)
        clock.now += 600
        client.sweep()
        failure = await failing(sending)
    assert (failure.kind, failure.message) == (
        "timeout",
        "The request took longer to be sent than the time allowed in total.",
    )
    assert source.closed


async def test_a_request_whose_time_is_over_does_not_touch_its_body(seen: Seen) -> None:
    source = Source(b"ab")
    async with serving(hears_out(seen)) as server, client_with() as client:
        request = upload_to(server, source.stream(2))
        request.deadline = 0.0
        with pytest.raises(UpstreamFailure):
            await soon(client.send(request))
        assert request.stream is not None
        assert (request.stream.taken, source.taken) == (False, 0)
