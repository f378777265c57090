from collections.abc import AsyncIterator

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.memory import MemoryResponse, ScriptedTransport
from posthouse.upstream.model import Origin, Timeouts, Transport, UpstreamRequest, UpstreamResponse


def a_request() -> UpstreamRequest:
    return UpstreamRequest(
        pool="p",
        origin=Origin("http", "localhost", 80),
        method=b"POST",
        target=b"/",
        headers=b"",
        body=b"question",
        timeouts=Timeouts(),
        proxy=None,
        deadline=0.0,
    )


async def test_a_memory_response_gives_its_chunks_in_order_and_then_ends() -> None:
    response: UpstreamResponse = MemoryResponse(200, [(b"a", b"b")], [b"one", b"", b"two"])
    assert [await response.chunk() for _ in range(4)] == [b"one", b"two", b"", b""]
    assert (response.status, response.headers) == (200, [(b"a", b"b")])


async def test_a_memory_response_can_be_made_of_an_async_iterator() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    assert await MemoryResponse(200, [], pieces()).read(100) == b"onetwo"


async def test_a_memory_response_fails_where_a_failure_stands_among_its_chunks() -> None:
    response = MemoryResponse(200, [], [b"one", UpstreamFailure("connect", "broke off")])
    assert await response.chunk() == b"one"
    with pytest.raises(UpstreamFailure, match="broke off"):
        await response.chunk()
    assert response.closed


async def test_a_memory_response_that_is_too_large_is_refused() -> None:
    response = MemoryResponse(200, [], [b"12345", b"6"])
    with pytest.raises(UpstreamFailure) as caught:
        await response.read(5)
    assert caught.value.kind == "server"
    assert response.closed


async def test_a_scripted_transport_answers_from_its_function() -> None:
    async def echo(request: UpstreamRequest) -> UpstreamResponse:
        return MemoryResponse(200, [], [request.body])

    transport: Transport = ScriptedTransport(echo)
    assert await (await transport.send(a_request())).read(100) == b"question"
    await transport.aclose()
