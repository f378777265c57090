"""The client over real sockets: what is reused, what is tried again, what flows, how it ends."""

import asyncio

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.model import Origin
from posthouse.upstream.pool import PoolLimits
from tests.upstream.scripts import OK, STREAM, always_ok, failing, finish, never, stream_without_end
from tests.upstream.server import Clock, Peer, client_with, request_to, serving, soon, until

# Reuse


async def test_requests_one_after_another_share_a_connection() -> None:
    async with serving(always_ok) as server, client_with() as client:
        for _ in range(3):
            assert await finish(await soon(client.send(request_to(server)))) == b"hi"
        stats = client.stats()
        assert (server.connections, stats.opened, stats.reused, stats.open, stats.idle) == (1, 1, 2, 1, 1)


async def test_the_request_arrives_as_it_was_written() -> None:
    async def note(peer: Peer) -> None:
        server.requests.append(await peer.answer(OK))

    body = bytes(range(256)) * 8192  # 2 MiB: more than any socket buffer takes at once
    async with serving(note) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server, body))))
        head, received = server.requests[0]
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % server.port)
        assert received == body


async def test_the_connection_used_last_is_used_next() -> None:
    ports: list[int] = []

    async def note(peer: Peer) -> None:
        while True:
            await peer.request()
            ports.append(peer.sock.getpeername()[1])
            await asyncio.wait_for(both.wait(), 10)
            await peer.send(OK)

    async with serving(note) as server, client_with() as client:
        both = asyncio.Event()
        sending = [asyncio.ensure_future(client.send(request_to(server))) for _ in range(2)]
        await until(lambda: len(ports) == 2)
        both.set()
        for task in sending:
            await finish(await soon(task))
        for _ in range(3):
            await finish(await soon(client.send(request_to(server))))
        assert len(set(ports[2:])) == 1


async def test_two_requests_at_once_have_a_connection_each_and_their_own_answer() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)

    async def ask(number: int) -> bytes:
        return await finish(await client.send(request_to(server, b"%d" % number)))

    async with serving(echo) as server, client_with() as client:
        answers = await soon(asyncio.gather(*(ask(number) for number in range(50))))
        assert answers == [b"%d" % number for number in range(50)]


async def test_an_origin_never_gets_a_connection_of_another_under_the_same_pool_name() -> None:
    async with serving(always_ok) as one, serving(always_ok) as other, client_with() as client:
        for server in (one, other, one, other):
            await finish(await soon(client.send(request_to(server))))
        assert (one.connections, other.connections) == (1, 1)


async def test_an_idle_connection_expires_by_the_clock() -> None:
    clock = Clock()
    options = ClientOptions(clock=clock, limits=PoolLimits(keep_alive=30))
    async with serving(always_ok) as server, client_with(options) as client:
        await finish(await soon(client.send(request_to(server))))
        clock.now += 29
        client.sweep()
        await finish(await soon(client.send(request_to(server))))
        assert server.connections == 1
        clock.now += 30
        await finish(await soon(client.send(request_to(server))))  # even before a sweep has seen it
        assert server.connections == 2
        clock.now += 30
        client.sweep()
        assert client.stats().open == 0


async def test_the_upstreams_shorter_keep_alive_is_honoured() -> None:
    async def short(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=10\r\ncontent-length: 2\r\n\r\nhi")
        await peer.gone()

    clock = Clock()
    async with serving(short) as server, client_with(ClientOptions(clock=clock)) as client:
        await finish(await soon(client.send(request_to(server))))
        clock.now += 8.9
        client.sweep()
        assert client.stats().idle == 1
        clock.now += 0.2
        client.sweep()
        assert client.stats().open == 0


async def test_no_more_idle_connections_are_kept_than_the_limit() -> None:
    async with serving(always_ok) as server, client_with(ClientOptions(limits=PoolLimits(idle=2))) as client:
        responses = await soon(asyncio.gather(*(client.send(request_to(server)) for _ in range(5))))
        for response in responses:
            await finish(response)
        assert (client.stats().open, client.stats().idle) == (2, 2)


async def test_an_idle_connection_that_the_upstream_closes_is_noticed_at_once() -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(OK)

    async with serving(once) as server, client_with() as client:
        for _ in range(3):
            await finish(await soon(client.send(request_to(server))))
            await until(lambda: client.stats().open == 0)
        assert (server.connections, client.stats().retried) == (3, 0)


# The one retry


async def test_a_reused_connection_that_closes_before_any_answer_is_replaced_once() -> None:
    async def close_on_second(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()

    async with serving(close_on_second, always_ok) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        assert await finish(await soon(client.send(request_to(server)))) == b"hi"
        assert (server.connections, client.stats().retried) == (2, 1)


async def test_a_reused_connection_that_is_reset_before_any_answer_is_replaced_once() -> None:
    async def reset_on_second(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()
        peer.reset()

    async with serving(reset_on_second, always_ok) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        assert await finish(await soon(client.send(request_to(server)))) == b"hi"
        assert client.stats().retried == 1


async def test_the_retry_is_not_repeated() -> None:
    async def close_on_second(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()

    async def close_on_first(peer: Peer) -> None:
        await peer.request()

    async with serving(close_on_second, close_on_first) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        with pytest.raises(UpstreamFailure) as caught:
            await soon(client.send(request_to(server)))
        assert (caught.value.kind, server.connections) == ("connect", 2)


async def test_a_fresh_connection_that_closes_is_not_retried() -> None:
    async def close(peer: Peer) -> None:
        await peer.request()

    async with serving(close, always_ok) as server, client_with() as client:
        with pytest.raises(UpstreamFailure) as caught:
            await soon(client.send(request_to(server)))
        assert (caught.value.kind, server.connections, client.stats().retried) == ("connect", 1, 0)


async def test_a_reused_connection_that_breaks_inside_its_answer_is_not_retried() -> None:
    async def half_head(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.answer(b"H")

    async with serving(half_head, always_ok) as server, client_with() as client:
        await finish(await soon(client.send(request_to(server))))
        with pytest.raises(UpstreamFailure):
            await soon(client.send(request_to(server)))
        assert (server.connections, client.stats().retried) == (1, 0)


async def test_an_upstream_that_dies_over_a_request_is_not_sent_it_again() -> None:
    clock = Clock()

    async def die_later(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.request()
        clock.now += 2

    async with serving(die_later, always_ok) as server, client_with(ClientOptions(clock=clock)) as client:
        await finish(await soon(client.send(request_to(server))))
        with pytest.raises(UpstreamFailure):
            await soon(client.send(request_to(server)))
        assert (server.connections, client.stats().retried) == (1, 0)


async def test_a_redirect_is_refused_and_its_target_not_told() -> None:
    async def redirect(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 307 Go\r\nlocation: http://secret.example/path\r\ncontent-length: 0\r\n\r\n")

    async with serving(redirect) as server, client_with() as client:
        with pytest.raises(UpstreamFailure, match="redirects are refused") as caught:
            await soon(client.send(request_to(server)))
        assert (caught.value.kind, caught.value.upstream_status) == ("server", 307)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [304, 400, 401, 429, 500, 503])
async def test_other_answers_are_the_callers_to_judge(status: int) -> None:
    async def answer(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)

    async with serving(answer) as server, client_with() as client:
        response = await soon(client.send(request_to(server)))
        assert response.status == status
        response.close()


# Flow and the end


async def test_a_reader_who_does_not_read_stops_the_upstream_and_loses_nothing() -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(65536)
        while sent < size:
            peer.writer.write(piece)
            await peer.writer.drain()
            sent += len(piece)
        await peer.gone()

    async with serving(flood) as server, client_with() as client:
        response = await soon(client.send(request_to(server)))
        level = -1
        while level != sent:  # until the upstream has been held up for 50 turns of the loop
            level = sent
            for _ in range(50):
                await asyncio.sleep(0.001)
        assert sent < size  # what the kernel's buffers take, and a little of ours
        received = 0
        while piece := await soon(response.chunk()):
            assert len(piece) <= 1024 * 1024
            received += len(piece)
        assert received == size


async def test_closing_an_unfinished_answer_is_seen_by_the_upstream() -> None:
    gone = asyncio.Event()

    async def note(peer: Peer) -> None:
        await stream_without_end(peer)
        gone.set()

    async with serving(note) as server, client_with() as client:
        response = await soon(client.send(request_to(server)))
        assert await soon(response.chunk()) == b"hi"
        response.close()
        await soon(gone.wait())
        assert client.stats().open == 0


async def test_a_body_until_close_arrives_whole_over_a_socket() -> None:
    async def until_close(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n", b"one ", b"two")

    async with serving(until_close) as server, client_with() as client:
        assert await finish(await soon(client.send(request_to(server)))) == b"one two"


async def test_a_reset_inside_a_body_is_a_failure_to_connect() -> None:
    async def reset(peer: Peer) -> None:
        await peer.answer(STREAM)
        await soon(head_seen.wait())
        peer.reset()

    async with serving(reset) as server, client_with() as client:
        head_seen = asyncio.Event()
        response = await soon(client.send(request_to(server)))
        head_seen.set()
        with pytest.raises(UpstreamFailure) as caught:
            await soon(response.chunk())
        assert caught.value.kind == "connect"


async def test_nobody_listening_is_a_failure_that_names_no_host() -> None:
    async with serving(always_ok) as server, client_with() as client:
        request = request_to(server)
        request.origin = Origin("http", "127.0.0.1", 1)
        failure = await failing(asyncio.ensure_future(client.send(request)))
        assert failure.kind == "connect"
        assert "127.0.0.1" not in failure.message
        assert client.stats().open == 0


async def test_closing_the_client_ends_whoever_waits_and_refuses_whoever_comes() -> None:
    options = ClientOptions(limits=PoolLimits(connections=2))
    async with serving(stream_without_end, never) as server, client_with(options) as client:
        response = await soon(client.send(request_to(server)))
        assert await soon(response.chunk()) == b"hi"
        reading = asyncio.ensure_future(response.chunk())
        sending = asyncio.ensure_future(client.send(request_to(server)))
        queued = asyncio.ensure_future(client.send(request_to(server)))
        await until(lambda: client.stats().waiting == 1 and client.stats().open == 2)
        await soon(client.aclose())
        kinds = [(await failing(task)).kind for task in (sending, queued)]
        assert kinds == ["connect", "overloaded"]
        with pytest.raises(UpstreamFailure):
            await soon(reading)
        with pytest.raises(UpstreamFailure):
            await soon(client.send(request_to(server)))
