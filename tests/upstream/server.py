"""A raw server whose connections follow scripts, and what else the tests of this room need from the network.

A script is a coroutine that is given the `Peer` of one connection; the n-th connection runs the n-th script, and the
last script serves all that come later.
"""

import asyncio
import contextlib
import math
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, TypeVar

from posthouse.upstream.client import ClientOptions, UpstreamClient
from posthouse.upstream.model import Origin, Timeouts, UpstreamRequest, UpstreamResponse

LIMIT = 10.0  # seconds: the bound of every wait in these tests; none should come near it

Result = TypeVar("Result")
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.sock: socket.socket = writer.get_extra_info("socket")

    async def request(self) -> tuple[bytes, bytes]:
        """Head (with its empty line) and body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
        return head, await self.reader.readexactly(length)

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own, as far as a socket lets us say so."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *pieces: bytes) -> tuple[bytes, bytes]:
        request = await self.request()
        await self.send(*pieces)
        return request

    def reset(self) -> None:
        """Close with RST, as a host does whose process has died."""
        raw = socket.socket(fileno=socket.dup(self.sock.fileno()))
        with raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed its end, however it did."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class RawServer:
    """`connections` counts those accepted so far; `requests` is for scripts to note what they saw."""

    def __init__(self, scripts: tuple[Script, ...], context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self.failures: list[BaseException] = []
        self._scripts = scripts
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def open(self) -> int:
        """Connections that are still being served."""
        return len(self._tasks)

    async def serve(self, peer: Peer) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone; what that means is for the test to say
        except AssertionError as error:
            self.failures.append(error)
        finally:
            peer.writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["RawServer"]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self.serve(Peer(reader, writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: writer.close())  # also where it was cancelled before it began

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()
        assert not self.failures, self.failures


def serving(
    *scripts: Script, context: ssl.SSLContext | None = None
) -> contextlib.AbstractAsyncContextManager[RawServer]:
    return RawServer(scripts, context).running()


def request_to(
    server: RawServer,
    body: bytes = b"{}",
    *,
    timeouts: Timeouts | None = None,
    proxy: str | None = None,
    scheme: Literal["http", "https"] = "http",
) -> UpstreamRequest:
    """A POST whose deadline is far away by any clock of these tests."""
    return UpstreamRequest(
        pool="deployment",
        origin=Origin(scheme, "127.0.0.1", server.port),
        method=b"POST",
        target=b"/v1/chat/completions",
        headers=b"content-type: application/json\r\n",
        body=body,
        timeouts=timeouts or Timeouts(),
        proxy=proxy,
        deadline=math.inf,
    )


class Clock:
    """The time, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def client_with(options: ClientOptions | None = None) -> AsyncIterator[UpstreamClient]:
    """A client that must have nothing open, idle or waiting once it is closed."""
    client = UpstreamClient(options)
    try:
        yield client
    finally:
        await soon(client.aclose())
    stats = client.stats()
    assert (stats.open, stats.idle, stats.waiting) == (0, 0, 0)


async def soon(awaitable: Awaitable[Result]) -> Result:
    """Its result, within LIMIT."""
    return await asyncio.wait_for(awaitable, LIMIT)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds; TimeoutError after LIMIT."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.001)


async def body_of(response: UpstreamResponse) -> bytes:
    pieces = []
    while piece := await soon(response.chunk()):
        pieces.append(piece)
    return b"".join(pieces)
