"""Websockets for tests: a door behind which a face answers as the request asks, and frames as a client writes them."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from posthouse.api.exchange import Exchange, Route
from posthouse.api.house import ProtocolOptions
from posthouse.api.sockets import Sockets
from posthouse.core.errors import InvalidRequest
from tests.api.doorway import KEY, Client, Doorway, doorway, soon

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
SOUND: Final = {
    "host": "house",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": base64.b64encode(bytes(16)).decode(),
    "sec-websocket-version": "13",
    "authorization": f"Bearer {KEY}",
}


class Face:
    """Answers as the request's `ask` says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.exchanges: list[Exchange] = []
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def handle(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        self.asked.append(body)
        self.exchanges.append(exchange)
        try:
            await self._answer(exchange, body.get("ask", "stream"))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, exchange: Exchange, ask: str) -> None:
        now = asyncio.get_running_loop().time()
        if ask == "whole":
            exchange.respond(200, b"", b'{"whole":true}')
        elif ask == "refused":
            raise InvalidRequest("Not this.", param="ask")
        elif ask == "fault":
            raise RuntimeError("a mistake of ours")
        elif ask == "wait":
            exchange.start(200, b"", now)
            exchange.write(b'data: {"n":0}\n\n', now)
            await self.gate.wait()
            exchange.end(b"data: [DONE]\n\n")
        elif ask == "pour":
            exchange.start(200, b"", now)
            while not self.gate.is_set():
                exchange.write(b'data: "%b"\n\n' % (b"x" * 10_000), now)
                if exchange.write_paused:
                    await exchange.drained()
            exchange.end(b"data: [DONE]\n\n")
        else:
            exchange.start(200, b"", now)
            exchange.write(b': a comment\n\ndata: {"n":1}\n\nevent: a\ndata: {"n":2}\n\n', now)
            exchange.end(b"data: [DONE]\n\n")


class Room:
    def __init__(self, at: Doorway) -> None:
        self.at = at
        self.face = Face()
        for path in (CHAT, RESPONSES):
            at.door.add(path, {b"POST": Route("chat", self.face.handle)})
        Sockets(at.door).mount()

    def connect(self, path: str = CHAT, headers: dict[str, str] | None = None, **more: Any) -> Any:
        given = {"authorization": f"Bearer {KEY}"} if headers is None else headers
        return connect(
            f"ws://127.0.0.1:{self.at.port}{path}", additional_headers=given, proxy=None, compression=None, **more
        )

    async def raw(self, **headers: str | None) -> Client:
        """A connection that has asked to be opened, with other headers than the usual; None leaves one out."""
        client = await self.at.client()
        lines = {**SOUND, **{name.replace("_", "-"): value for name, value in headers.items()}}
        given = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        client.send(f"GET {CHAT} HTTP/1.1\r\n{given}\r\n".encode())
        return client

    async def opened(self) -> Client:
        client = await self.raw()
        assert (await client.head())[0] == 101
        return client


@contextlib.asynccontextmanager
async def room(options: ProtocolOptions | None = None, origins: tuple[str, ...] = ("*",)) -> AsyncIterator[Room]:
    async with doorway(options, origins) as at:
        yield Room(at)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """As a client writes it."""
    return Frame(opcode, data, fin).serialize(mask=True)


async def said(client: Client) -> tuple[int, bytes]:
    """Opcode and content of the next frame of ours; none is longer than 64 KiB here."""
    first, second = await soon(client.reader.readexactly(2))
    size = second & 127
    if size == 126:
        size = int.from_bytes(await soon(client.reader.readexactly(2)))
    return first & 15, await soon(client.reader.readexactly(size))


async def answers(socket: ClientConnection, *, of: str = "stream", end: str = "[DONE]") -> list[Any]:
    """All messages of the answer to one request."""
    await socket.send(json.dumps({"ask": of}))
    return await rest(socket, end)


async def rest(socket: ClientConnection, end: str = "[DONE]") -> list[Any]:
    found: list[Any] = []
    while True:
        message = await soon(socket.recv())
        found.append(message if message == "[DONE]" else json.loads(message))
        if found[-1] == end or "error" in found[-1] or "whole" in found[-1]:
            return found


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason."""
    with pytest.raises(ConnectionClosed):
        while True:
            await soon(socket.recv())
    return socket.close_code, socket.close_reason
