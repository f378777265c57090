"""Request bodies that are made while they are sent: flow control, providers that answer early or break off, and what a
body that can be sent only once forbids."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from posthouse.core.errors import InvalidRequest
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.model import BodyStream
from posthouse.upstream.pool import PoolLimits
from tests.upstream.scripts import OK, always_ok, cancelled, failing, finish
from tests.upstream.server import Peer, client_with, request_to, serving, soon, until
from tests.upstream.uploads import PIECE, REFUSED, Seen, Source, body_of, hears_out, upload_to


# --- bodies that arrive ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("pieces", [(), (b"abc",), (b"a", b"", b"b"), (PIECE, PIECE + b"x", b"y") * 20])
async def test_a_body_arrives_whole_and_its_connection_serves_again(
    seen: Seen, sized: bool, pieces: tuple[bytes, ...]
) -> None:
    whole = b"".join(pieces)
    async with serving(hears_out(seen)) as server, client_with() as client:
        for count in (1, 2):
            source = Source(*pieces)
            request = upload_to(server, source.stream(len(whole) if sized else None))
            assert await finish(await soon(client.send(request))) == b"hi"
            assert source.closed
            assert len(seen) == count
        assert await finish(await soon(client.send(request_to(server)))) == b"hi"
        assert client.stats().idle == 2
    assert [body for _, body in seen] == [whole, whole, b"{}"]
    assert (b"\r\ncontent-length: " in seen[0][0]) == sized
    assert (b"\r\ntransfer-encoding: chunked\r\n" in seen[0][0]) != sized


async def test_no_more_is_taken_than_the_provider_reads(seen: Seen) -> None:
    gate = asyncio.Event()

    async def reads_late(peer: Peer) -> None:
        peer.reader._limit = 1024  # type: ignore[attr-defined]  # how much a StreamReader reads ahead
        await gate.wait()
        await hears_out(seen)(peer)

    source = Source(*[PIECE] * 1000)
    async with serving(reads_late) as server, client_with() as client:
        sending = asyncio.create_task(client.send(upload_to(server, source.stream(1000 * len(PIECE)))))
        await source.settled()  # the kernel takes a few megabytes
        assert source.taken < 500
        gate.set()
        await finish(await soon(sending))
    assert source.taken == 1000
    assert [len(body) for _, body in seen] == [1000 * len(PIECE)]


async def test_an_upload_leaves_idle_connections_alone_for_they_may_be_closed_just_then() -> None:
    async with serving(always_ok) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        await finish(await soon(client.send(upload_to(server, Source().stream(0)))))
        assert (client.stats().opened, client.stats().idle) == (2, 2)


async def test_where_no_more_connections_are_allowed_an_idle_one_makes_room_for_an_upload(seen: Seen) -> None:
    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(hears_out(seen)) as server, client_with(options) as client:
        await finish(await soon(client.send(request_to(server))))
        await finish(await soon(client.send(upload_to(server, Source(b"ab").stream(2)))))
        assert (client.stats().opened, client.stats().open) == (2, 1)


# --- providers that do not hear it out -------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [None, 1 << 30])
async def test_a_provider_that_refuses_early_is_heard_and_the_upload_stops(length: int | None) -> None:
    async def refuses(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(REFUSED)
        await peer.gone()

    source = Source(PIECE, endless=True)
    async with serving(refuses) as server, client_with() as client:
        response = await soon(client.send(upload_to(server, source.stream(length))))
        assert (response.status, source.closed) == (413, True)
        assert await finish(response) == b"no"
        await until(lambda: not server.open)
        assert client.stats().idle == 0


async def test_a_provider_that_begins_its_answer_early_is_still_sent_the_rest() -> None:
    async def talks_first(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await peer.send(await peer.reader.readexactly(4))

    source = Source(b"ab", endless=True)
    async with serving(talks_first) as server, client_with() as client:
        response = await soon(client.send(upload_to(server, source.stream(None))))
        response.close()
        await until(lambda: source.closed)

    async def rest() -> AsyncGenerator[bytes, None]:
        yield b"ab"
        await gate.wait()
        yield b"cd"

    gate = asyncio.Event()
    async with serving(talks_first) as server, client_with() as client:
        response = await soon(client.send(upload_to(server, BodyStream(rest(), 4))))
        gate.set()
        assert await finish(response) == b"abcd"


async def test_an_answer_that_is_whole_before_the_body_is_out_ends_the_upload_and_the_connection() -> None:
    async def has_heard_enough(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await peer.gone()

    source = Source(b"ab", endless=True)
    async with serving(has_heard_enough) as server, client_with() as client:
        assert await finish(await soon(client.send(upload_to(server, source.stream(None))))) == b"hi"
        await until(lambda: source.closed)
        assert client.stats().open == 0


async def breaks_off(peer: Peer) -> None:
    await peer.reader.readexactly(100)
    peer.reset()


async def test_a_provider_that_breaks_off_is_a_failure_and_the_body_is_not_sent_twice(seen: Seen) -> None:
    source = Source(*[PIECE] * 200)
    async with serving(breaks_off, hears_out(seen)) as server, client_with() as client:
        request = upload_to(server, source.stream(200 * len(PIECE)))
        failure = await failing(asyncio.create_task(client.send(request)))
        assert (failure.kind, client.stats().retried, seen) == ("connect", 0, [])
    assert source.closed
    assert source.taken < 200


async def test_a_connection_that_had_served_and_breaks_off_is_no_reason_to_send_the_body_again(seen: Seen) -> None:
    gate = asyncio.Event()

    async def serves_once(peer: Peer) -> None:
        await peer.request()
        await gate.wait()
        await peer.send(OK)
        await breaks_off(peer)

    source = Source(*[PIECE] * 200)
    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(serves_once, hears_out(seen)) as server, client_with(options) as client:
        first = asyncio.create_task(client.send(request_to(server)))
        await until(lambda: server.connections == 1)
        second = asyncio.create_task(client.send(upload_to(server, source.stream(None))))
        await until(lambda: client.stats().waiting == 1)
        gate.set()
        await finish(await soon(first))
        failure = await failing(second)
        assert (failure.kind, client.stats().retried, seen) == ("connect", 0, [])
    assert source.closed


# --- sources that fail -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "length"),
    [
        (lambda: Source(b"ab", error=InvalidRequest("The form makes no sense.")), 4),
        (lambda: Source(b"ab"), 3),
        (lambda: Source(b"ab", b"cd"), 3),
        (lambda: Source(b"ab", error=OSError(5, "the disk")), None),
    ],
    ids=["its own error", "too short", "too long", "a fault"],
)
async def test_what_a_source_raises_is_raised_and_the_provider_sees_the_request_break_off(
    source: "type[Source]", length: int | None
) -> None:
    made = source()

    async def must_not_hear_it_out(peer: Peer) -> None:
        await body_of(peer)
        raise AssertionError("the body looked whole")

    async with serving(must_not_hear_it_out) as server, client_with() as client:
        with pytest.raises((InvalidRequest, ValueError, OSError)):
            await soon(client.send(upload_to(server, made.stream(length))))
        await until(lambda: not server.open)
    assert made.closed


async def test_a_source_that_fails_after_the_answer_began_fails_its_reader() -> None:
    async def talks_first(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        await peer.gone()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"ab"
        await gate.wait()
        raise InvalidRequest("The form makes no sense.")

    gate = asyncio.Event()
    async with serving(talks_first) as server, client_with() as client:
        response = await soon(client.send(upload_to(server, BodyStream(pieces(), None))))
        gate.set()
        with pytest.raises(InvalidRequest):
            await soon(response.read(100))


async def test_a_caller_that_is_cancelled_stops_its_source() -> None:
    source = Source(PIECE, endless=True)
    async with serving(lambda peer: peer.gone()) as server, client_with() as client:
        sending = asyncio.create_task(client.send(upload_to(server, source.stream(None))))
        await until(lambda: source.taken == 1)
        await cancelled(sending)
        await until(lambda: source.closed and not server.open)
