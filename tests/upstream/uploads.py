"""Request bodies that are made while they are sent, and providers that hear them out."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from posthouse.upstream.model import BodyStream, Timeouts, UpstreamRequest
from tests.upstream.scripts import OK
from tests.upstream.server import LIMIT, Peer, RawServer, Script, request_to

PIECE: Final = bytes(range(256)) * 256  # 64 KiB
REFUSED: Final = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"


class Source:
    """Pieces, with what was taken of them. After the last one it waits for `go_on` where `endless`."""

    def __init__(self, *pieces: bytes, endless: bool = False, error: Exception | None = None) -> None:
        self.taken = 0
        self.closed = False
        self._pieces = pieces
        self._endless = endless
        self._error = error
        self._more = asyncio.Event()

    def go_on(self) -> None:
        self._more.set()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                self.taken += 1
                yield piece
            if self._error is not None:
                raise self._error
            if self._endless:
                await self._more.wait()
        finally:
            self.closed = True

    async def settled(self) -> None:
        """Until the loop has turned for a while without a piece being taken."""
        seen, turns = -1, 0
        async with asyncio.timeout(LIMIT):
            while turns < 50:
                turns = turns + 1 if seen == self.taken else 0
                seen = self.taken
                await asyncio.sleep(0.001)

    def stream(self, length: int | None = None) -> BodyStream:
        return BodyStream(self.pieces(), length)


def upload_to(server: RawServer, stream: BodyStream, timeouts: Timeouts | None = None) -> UpstreamRequest:
    request = request_to(server, b"", timeouts=timeouts)
    request.stream = stream
    return request


async def body_of(peer: Peer) -> tuple[bytes, bytes]:
    """Head and body of the next request, sized or chunked."""
    head = await peer.reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked\r\n" not in head:
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, await peer.reader.readexactly(length)
    body = b""
    while True:
        size = int(await peer.reader.readuntil(b"\r\n"), 16)
        body += await peer.reader.readexactly(size)
        assert await peer.reader.readexactly(2) == b"\r\n"
        if not size:
            return head, body


Seen = list[tuple[bytes, bytes]]


def hears_out(seen: Seen) -> Script:
    """Notes every request whole, and agrees."""

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await body_of(peer))
            await peer.send(OK)

    return script
