"""Clients that write down what they received. One connection for each request, as bare as it can be."""

import asyncio
import contextlib
import json
import time
from typing import Any, Final

from msgspec import Struct

from tests.chaos.wishes import Leaves, Wish

DEADLINE: Final = 20.0
"""Seconds within which every request has ended, whatever is away: no call waits long for Redis or PostgreSQL, and the
provider takes a second or two. It is what a hung request is told by, so it has room for a slow machine."""


class Received(Struct):
    """What came of one request. `status` is 0 where no head came; `whole`: all of the answer is here; `usage` as the
    answer tells it, `cost` as its head does (nano-units); `at` is the monotonic time at which it was sent."""

    wish: Wish
    server: int
    at: float
    status: int = 0
    id: str = ""
    whole: bool = False
    usage: tuple[int, int] | None = None
    cost: int | None = None
    code: str = ""
    seconds: float = 0.0
    hung: bool = False
    left: Leaves = ""


async def ask(port: int, secret: str, wish: Wish, server: int = 0, leaves: Leaves = "") -> Received:
    """Asks for a chat. Never raises for what a server does; `leaves` says when the client closes before the end."""
    received = Received(wish, server, time.monotonic(), left=leaves)
    try:
        async with asyncio.timeout(DEADLINE):
            await _asked(port, _request(secret, wish), received, leaves)
    except TimeoutError:
        received.hung = True
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the connection broke: that is what a fault looks like from here
    received.seconds = time.monotonic() - received.at
    return received


async def _asked(port: int, request: bytes, received: Received, leaves: Leaves) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        if leaves == "early":
            return
        await _head(reader, received)
        if received.status == 200 and received.wish.stream:
            await _events(reader, received, leaves)
            return
        body = json.loads(await reader.readexactly(int(received.code)))
        received.code = ""
        if received.status == 200:
            _told(received, body)
            received.whole = True
        else:
            received.code = str(body["error"]["code"])
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader, received: Received) -> None:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    head = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    received.status = int(first.split(" ")[1])
    received.id = head.get("x-request-id", "")
    received.code = head.get("content-length", "0")
    if "x-posthouse-cost" in head:
        whole, _, part = head["x-posthouse-cost"].partition(".")
        received.cost = int(whole) * 10**9 + int(part.ljust(9, "0"))


async def _events(reader: asyncio.StreamReader, received: Received, leaves: Leaves) -> None:
    """Chunks of a chunked stream; every event comes in one piece or more, so they are put together first."""
    received.code = ""
    contents, held = 0, b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        held += (await reader.readexactly(size + 2))[:-2]
        *events, held = held.split(b"\n\n")
        for event in events:
            if not event.startswith(b"data: "):
                continue
            data = event.removeprefix(b"data: ")
            if data == b"[DONE]":
                received.whole = received.usage is not None
                continue
            body = json.loads(data)
            if "error" in body:
                received.code = str(body["error"]["code"])
                continue
            _told(received, body)
            contents += 1
        if (leaves == "mid" and contents >= 2) or (leaves == "late" and received.usage is not None):
            received.whole = False
            return
    await reader.readexactly(2)


def _told(received: Received, body: dict[str, Any]) -> None:
    usage = body.get("usage")
    if usage:
        received.usage = usage["prompt_tokens"], usage["completion_tokens"]


def _request(secret: str, wish: Wish) -> bytes:
    body = wish.body("m" if wish.act == "plain" else "f")
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {secret}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode() + body


async def admin(port: int, secret: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON that the control plane answers with. RuntimeError where it refuses; OSError where nobody answers."""
    data = b"" if body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {secret}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        async with asyncio.timeout(DEADLINE):
            answer = await reader.read(-1)
    finally:
        writer.transport.abort()
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        rest = _unchunked(rest)
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"{method} {path}: {head[:40]!r} {rest[:300]!r}")
    return json.loads(rest) if rest.startswith((b"{", b"[")) else rest.decode()


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        whole, data = whole + data[:length], data[length + 2 :]
    return whole
