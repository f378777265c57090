"""A provider made of scripts, on a loopback socket in a thread of its own: it says exactly the bytes that a test wants.

A script is an async function of a `Visit`. The server runs the script of the model that the request names, else the one
called `*`. Every visit is kept, with what was asked and whether the client closed first.
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any


class Visit:
    """One request that came, and the means to answer it byte by byte."""

    def __init__(self, head: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self.body = body
        self.reader = reader
        self.writer = writer
        self.closed_by_client = asyncio.Event()
        self.left_at: float | None = None
        self.done = False

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

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def whole(self, body: bytes | dict[str, Any], status: int = 200, extra: str = "") -> None:
        """A whole JSON answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n{extra}\r\n"
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

    def reset(self) -> None:
        """Closes with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_client_leaves(self, timeout: float = 10.0) -> None:
        await asyncio.wait_for(self.closed_by_client.wait(), timeout)


Script = Callable[[Visit], Awaitable[None]]


class Upstream:
    """Use as a context manager. `scripts` may be changed while it runs."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.visits: list[Visit] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Upstream":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        visit = Visit(head, b"", reader, writer)
        length = int(visit.headers.get("content-length", "0"))
        visit.body = await reader.readexactly(length)
        self.visits.append(visit)
        model = str(visit.json.get("model", "*")) if visit.body else visit.path
        script = self.scripts.get(model) or self.scripts["*"]
        watcher = asyncio.ensure_future(self._watch(visit))
        try:
            await script(visit)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        visit.done = True
        return not writer.is_closing()

    async def _watch(self, visit: Visit) -> None:
        """The reader sees the end of file the moment the gateway closes."""
        while not visit.reader.at_eof():
            if not visit.writer.transport.is_closing() and not visit.reader._buffer:  # type: ignore[attr-defined]
                await visit.reader._wait_for_data("watch")  # type: ignore[attr-defined]
            else:
                break
        visit.left_at = asyncio.get_running_loop().time()
        visit.closed_by_client.set()


def completion(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    """A whole chat.completion; `usage=None` leaves the usage out."""
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }
    body.update(more)
    if body["usage"] is None:
        del body["usage"]
    return body


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat.completion.chunk with one choice; with `delta=None` and no finish, one without choices."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": choices,
    }
    body.update(more)
    return body


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def answers(body: dict[str, Any], status: int = 200, extra: str = "") -> Script:
    async def script(visit: Visit) -> None:
        await visit.whole(body, status, extra)

    return script


def streams(words: list[str], usage: dict[str, Any] | None = USAGE, *, finish: str | None = "stop", done: bool = True) -> Script:
    """A well-behaved stream of words; the usage chunk as the vendor's document says."""

    async def script(visit: Visit) -> None:
        await visit.start_stream()
        await visit.event(chunk({"role": "assistant", "content": ""}))
        for word in words:
            await visit.event(chunk({"content": word}))
        if finish is not None:
            await visit.event(chunk({}, finish))
        if usage is not None:
            await visit.event(chunk(None, usage=usage))
        if done:
            await visit.event("[DONE]")
        await visit.end_stream()

    return script
