"""The client over real sockets: what is reused, what is tried again, what is bounded, what time ends."""

import asyncio

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.client import ClientOptions
from posthouse.upstream.connection import Exchange
from posthouse.upstream.model import Origin, Timeouts, UpstreamResponse
from posthouse.upstream.pool import PoolLimits
from tests.upstream.server import Clock, Peer, body_of, client_with, request_to, serving, soon, until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


async def never(peer: Peer) -> None:
    """Takes requests and says nothing."""
    await peer.gone()


async def stream_without_end(peer: Peer) -> None:
    await peer.answer(STREAM, b"2\r\nhi\r\n")
    await peer.gone()


async def finish(response: UpstreamResponse) -> bytes:
    body = await soon(response.read(1 << 20))
    response.close()
    return body


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


# Time


async def failing(client_send: "asyncio.Task[Exchange]") -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await soon(client_send)
    return caught.value


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


async def cancelled(task: "asyncio.Task[Exchange]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


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
    options = ClientOptions(limits=PoolLimits(connections=1))
    async with serving(always_ok) as server, client_with(options) as client:
        tasks = [asyncio.ensure_future(client.send(request_to(server))) for _ in range(4)]
        await until(lambda: client.stats().waiting == 3)
        await cancelled(tasks[1])
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
        assert sent < 24 * 1024 * 1024  # what the kernel's buffers take, and a little of ours
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
