"""A provider made of scripts, on a loopback socket in a thread of its own: it says exactly the bytes that a test wants.

A script is an async function of a `Visit`. The server runs the script of the model that the request names (in JSON or
in a form), else that of its path, else the one called `*`. Those in `early` are run by their path as soon as the head
of a request is in, and read its body themselves. Every visit is kept, with what was asked and when the gateway closed.
A `Gate` lets a test hold a script at a point and let it go on; the usual scripts are in `answers.py`.
"""

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

WAIT = 20.0  # seconds: the bound of every wait; none should come near it


class Gate:
    """A point at which scripts wait until the test opens it. `reached` is set once one waits there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = asyncio.Event()
        self.reached = threading.Event()

    def open(self) -> None:
        """From the test's thread."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def passed(self, visit: "Visit") -> None:
        """Raises ConnectionResetError where the gateway leaves first."""
        self.reached.set()
        opened = asyncio.ensure_future(self._open.wait())
        gone = asyncio.ensure_future(visit.gone.wait())
        try:
            done, _ = await asyncio.wait({opened, gone}, timeout=WAIT, return_when=asyncio.FIRST_COMPLETED)
            if opened not in done:
                raise ConnectionResetError("the gateway left" if gone in done else "nobody opened the gate")
        finally:
            opened.cancel()
            gone.cancel()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_MODEL_OF_FORM = re.compile(rb'name="model"\r\n\r\n(.*?)\r\n')


class Visit:
    """One request that came, and the means to answer it byte by byte.

    `left` is set, and `left_at` is the monotonic time, when the gateway has closed the connection; `sent` counts the
    bytes that the kernel has taken.
    """

    def __init__(self, head: str, streams: Streams, gone: asyncio.Event) -> None:
        self.head = head
        self.body = b""
        self.reader, self.writer = streams
        self.gone = gone
        self.left = threading.Event()
        self.left_at = 0.0
        self.sent = 0
        self.done = threading.Event()

    @property
    def path(self) -> str:
        return self.head.split(" ")[1]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def model(self) -> str:
        """The model that the body names; empty where it names none."""
        if self.headers.get("content-type", "").startswith("multipart/"):
            found = _MODEL_OF_FORM.search(self.body)
            return "" if found is None else found[1].decode()
        try:
            body = json.loads(self.body)
        except ValueError:
            return ""
        return str(body.get("model", "")) if isinstance(body, dict) else ""

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. IncompleteReadError where it is cut."""
        reader = self.reader
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
            return
        left = int(self.headers.get("content-length", "0"))
        while left:
            data = await reader.read(min(left, 1 << 16))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data

    def note_left(self) -> None:
        if not self.left.is_set():
            self.left_at = time.monotonic()
            self.left.set()

    async def until_left(self, timeout: float = WAIT) -> None:
        """Until the gateway closes, or for so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), timeout)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def whole(self, body: bytes | dict[str, Any], status: int = 200, extra: str = "") -> None:
        """A whole JSON answer. `extra` is complete header lines."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "" if "content-type" in extra else "content-type: application/json\r\n"
        head = f"HTTP/1.1 {status} X\r\n{kind}content-length: {len(data)}\r\n{extra}\r\n"
        await self.send(head.encode() + data)

    async def start_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def event(self, payload: dict[str, Any] | str) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        await self.frame(f"data: {text}\n\n".encode())

    async def frame(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        """Closes in good order, with whatever has been said until now."""
        self.writer.close()

    def reset(self) -> None:
        """Closes with RST."""
        sock = self.writer.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(sock.fileno())) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


class _Connection(asyncio.StreamReaderProtocol):
    """Notes the moment at which the gateway closes, whatever the script is doing then."""

    def __init__(self, serve: Callable[["_Connection"], Awaitable[None]]) -> None:
        self.reader = asyncio.StreamReader()
        self.gone = asyncio.Event()
        self.visit: Visit | None = None
        super().__init__(self.reader, self._connected)
        self._serve = serve
        self.writer: asyncio.StreamWriter | None = None

    async def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        await self._serve(self)

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)

    def _left(self) -> None:
        self.gone.set()
        if self.visit is not None:
            self.visit.note_left()


class Upstream:
    """Use as a context manager. `scripts` may be changed while it runs; `accepted` counts connections."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.early: dict[str, Script] = {}
        self.visits: list[Visit] = []
        self.accepted = 0
        self.port = 0
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def gate(self) -> Gate:
        return Gate(self._loop)

    def visit(self, number: int = -1) -> Visit:
        """A visit by its number since the last `forget`; waits until it has come."""
        needed = number + 1 if number >= 0 else 1
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.visits) >= needed, WAIT), "nobody came"
            return self.visits[number]

    def forget(self) -> None:
        with self._arrived:
            self.visits.clear()

    def __enter__(self) -> "Upstream":
        self._thread.start()
        assert self._ready.wait(WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        assert not self._faults, self._faults  # a script that is wrong must not pass for an upstream that is

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(lambda: _Connection(self._serve), "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(self._finish())
        loop.close()

    async def _finish(self) -> None:
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()

    async def _serve(self, connection: _Connection) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert connection.writer is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            while not connection.writer.is_closing():
                await self._answer_one(connection, connection.writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as fault:  # the top of a task: shown when the upstream is left
            self._faults.append(fault)
        finally:
            self._tasks.discard(task)
            connection.writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await connection.writer.wait_closed()

    async def _answer_one(self, connection: _Connection, writer: asyncio.StreamWriter) -> None:
        reader = connection.reader
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        visit = Visit(head, (reader, writer), connection.gone)
        script = self.early.get(visit.path.partition("?")[0])
        if script is None:
            visit.body = b"".join([piece async for piece in visit.pieces()])
        connection.visit = visit
        if connection.gone.is_set():
            visit.note_left()
        with self._arrived:
            self.visits.append(visit)
            self._arrived.notify_all()
        try:
            await (script or self.scripts.get(visit.model) or self.scripts.get(visit.path) or self.scripts["*"])(visit)
        finally:
            visit.done.set()
