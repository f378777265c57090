"""Scripts of upstreams that several tests need, and what a test says of a send() that is to fail."""

import asyncio

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.exchange import Exchange
from posthouse.upstream.model import UpstreamResponse
from tests.upstream.server import Peer, soon

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.answer(OK)


async def never(peer: Peer) -> None:
    """Takes requests and says nothing."""
    await peer.gone()


async def stream_without_end(peer: Peer) -> None:
    await peer.answer(STREAM + b"2\r\nhi\r\n")  # in one piece, so that who has the head has the beginning too
    await peer.gone()


async def finish(response: UpstreamResponse) -> bytes:
    body = await soon(response.read(1 << 20))
    response.close()
    return body


async def failing(client_send: "asyncio.Task[Exchange]") -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await soon(client_send)
    return caught.value


async def cancelled(task: "asyncio.Task[Exchange]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
