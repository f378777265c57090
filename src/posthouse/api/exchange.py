"""One HTTP request and its response, as a face sees them.

Above: the faces (`openai.py`, `pages.py`, and the control plane through `asgi.py`). Below: `protocol.py`, which parses,
sets deadlines and writes. An exchange is given to a face when its body is complete, or, where the route says
`streams_body`, when its head is; the face answers with `respond`, or with `start`, any number of `write` and `end`.
When the client leaves, `gone` is set and the face's task is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Protocol

from msgspec import Struct

from posthouse.api.inflow import Inflow
from posthouse.core.caller import Caller
from posthouse.core.errors import PosthouseError
from posthouse.providers.brought import Brought


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())


class _StatusLines(dict[int, bytes]):
    """Some providers have statuses of their own, which pass."""

    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d Unassigned\r\n" % status


STATUS_LINES: Final = _StatusLines({int(status): _status_line(int(status)) for status in HTTPStatus})
CLOSE: Final = b"connection: close\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
HEARTBEAT: Final = b": keep-alive\n\n"
WEBSOCKET: Final = b"WEBSOCKET"  # the method of a GET that wishes for a websocket, as routes name it


class Wire(Protocol):
    """What an exchange needs of its connection."""

    @property
    def date(self) -> bytes:
        """The `date` header line, renewed every second."""

    @property
    def peer(self) -> str:
        """The address at the other end of the connection; empty where it has none."""

    def send(self, data: bytes) -> None: ...
    def release(self, exchange: "Exchange") -> None:
        """The response is complete: the connection may go on to the next request, or close."""

    async def drained(self) -> None:
        """Returns when the client has read enough for more to be written."""


class Exchange:
    """`headers` has lower-case names; of a repeated header the last value stands. Times are the loop's. `refusal`
    is why it was not admitted, or the error that its answer ended with; `own` the credential that its caller brings."""

    __slots__ = (
        "accepted",
        "body",
        "caller",
        "chunked",
        "finished",
        "gone",
        "headers",
        "heartbeat",
        "inflow",
        "keep_alive",
        "last_write",
        "method",
        "opaque",
        "own",
        "path",
        "query",
        "raw_headers",
        "refusal",
        "request_id",
        "route",
        "started",
        "streaming",
        "target",
        "task",
        "wire",
        "write_paused",
    )

    def __init__(self, wire: Wire, accepted: float) -> None:
        self.wire = wire
        self.accepted = accepted
        self.method = b""
        self.target = b""
        self.path = ""
        self.query = b""
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.inflow: Inflow | None = None
        self.keep_alive = True
        self.chunked = True
        self.caller: Caller | None = None
        self.own: Brought | None = None
        self.route: Route | None = None
        self.refusal: PosthouseError | None = None
        self.request_id = ""
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self.finished = False
        self.streaming = False
        self.opaque = False  # its body is bytes in which nothing else can be said
        self.heartbeat = HEARTBEAT  # what an event stream says that has nothing to say
        self.gone = False
        self.write_paused = False
        self.last_write = accepted

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its end. PosthouseError where the rest will not come: too large, too slow,
        no HTTP. One task reads; on a route that does not stream bodies the first piece is the whole."""
        if self.inflow is not None:
            return await self.inflow.read()
        body, self.body = self.body, b""
        return body

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole response at once. `headers` is a block of complete lines, without content-length. Where a heartbeat
        has promised a stream, that breaks off."""
        if self.gone or self.started:
            self.cut()
            return
        self.started = True
        if self.inflow is not None and not self.inflow.leaves_little:
            self.keep_alive = False
        wire = self.wire
        length = b"" if status in (204, 304) else b"content-length: %d\r\n" % len(body)
        if self.method == b"HEAD":
            body = b""
        close = b"" if self.keep_alive else CLOSE
        wire.send(b"".join((STATUS_LINES[status], wire.date, headers, length, close, b"\r\n", body)))
        self.finished = True
        wire.release(self)

    def start(self, status: int, headers: bytes, now: float) -> None:
        """The head of a response whose length is not known. Does nothing where a heartbeat has sent a head before."""
        if self.gone or self.started:
            return
        self.started = True
        self.last_write = now
        if self.inflow is not None and not self.inflow.leaves_little:
            self.keep_alive = False
        framing = CHUNKED
        if not self.chunked:  # HTTP/1.0 knows no chunks: the end of the connection ends the body
            self.keep_alive = False
            framing = b""
        close = b"" if self.keep_alive else CLOSE
        wire = self.wire
        wire.send(b"".join((STATUS_LINES[status], wire.date, headers, framing, close, b"\r\n")))

    def write(self, data: bytes, now: float) -> None:
        """One piece of the body, flushed as it is. `data` is not empty and, in an event stream, ends an event."""
        if self.gone:
            return
        self.last_write = now
        self.wire.send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end(self, data: bytes = b"") -> None:
        """Ends a started response, with a last piece if there is one."""
        if self.gone or self.finished:
            return
        self.finished = True
        if not self.chunked:
            self.wire.send(data)
        elif data:
            self.wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        else:
            self.wire.send(b"0\r\n\r\n")
        self.wire.release(self)

    def cut(self) -> None:
        """Breaks a started response off, so that nobody takes it for whole."""
        if self.gone or self.finished:
            return
        self.finished = True
        self.keep_alive = False
        self.wire.release(self)

    async def drained(self) -> None:
        await self.wire.drained()

    def beat(self, now: float, interval: float, headers: bytes) -> None:
        """Called about once a second: sends a comment where the client of an event stream has heard nothing lately.

        A stream whose model is silent from the start gets its head here, so that proxies on the way do not give up;
        what goes wrong after that is told by an error event instead of a status.
        """
        if not self.streaming or self.finished or self.gone or now - self.last_write < interval:
            return
        if not self.started:
            self.start(200, headers, now)
        if not self.write_paused:
            self.write(self.heartbeat, now)


Handler = Callable[[Exchange], Awaitable[None]]


class Route(Struct, frozen=True):
    """What answers a method on a path. `authenticated` routes want a key; `name` is what metrics and logs call it.
    `streams_body`: the handler is called when the head is in, and reads the body itself. `once`: an `Idempotency-Key`
    is heeded."""

    name: str
    handler: Handler
    authenticated: bool = True
    streams_body: bool = False
    once: bool = False
