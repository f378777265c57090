"""Our server protocol: llhttp in, exchanges out, with a deadline for everything that a client may be slow at.

uvicorn gives the process (sockets, TLS, signals, graceful shutdown) and makes one of these per connection; it asks of a
protocol only its constructor, `shutdown()` and the sets in `server_state`. uvicorn's own httptools protocol is not
used, because an ASGI scope, a cycle and two messages for each request cost more than all of our admission does
(figures in docs/adr/0004). The faces see `Exchange`; what wants ASGI (the control plane) gets it through `asgi.py`.

No timer is armed per request: each connection has one `deadline`, and a sweep once a second closes what is over it.
Sweeping 2,000 connections takes about 0.2 ms; arming and cancelling two timers per request took 4 us of every request.

    reading the head   header_timeout after the first byte (after accepting, on a new connection)   408, close
    reading the body   body_timeout after the last byte of it                                       408, close
    being answered     none here: the gateway's own deadlines hold
    idle               keep_alive                                                                   close
"""

import asyncio
import contextlib
import re
from collections import deque
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from posthouse.api.exchange import Exchange
from posthouse.api.heads import KnownHead
from posthouse.api.house import HeadTooLarge, House
from posthouse.core.errors import BodyTooLarge, InvalidRequest, MethodNotAllowed, PosthouseError, RequestTimeout
from posthouse.dialects.openai_errors import encode_error

NEVER: Final = float("inf")
_MAX_PIPELINED: Final = 16
_LINGER_SECONDS: Final = 5.0
_MOST_STRANGE: Final = 4  # a client whose heads always differ is not looked at for ever
_LINGER_BYTES: Final = 64 << 20
_JSON: Final = b"content-type: application/json\r\n"
# A name or an address, and a port (RFC 9110, 7.2; RFC 3986, 3.2.2).
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")


class ServerProtocol(asyncio.Protocol):
    """One client connection. Made by uvicorn; `config.loaded_app` is the house."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.house = cast(House, config.loaded_app)
        self.loop = _loop or asyncio.get_running_loop()
        self.state = server_state
        self.options = self.house.options
        self.outbox = self.house.outbox
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.current: Exchange | None = None  # being answered
        self.reading: Exchange | None = None  # its head or body is being read
        self.waiting: deque[Exchange] = deque()  # pipelined behind `current`
        self.deadline = NEVER
        self.closing = False
        self.draining = False
        self.write_paused = False
        self._lingered = 0
        self._drain_waiter: asyncio.Future[None] | None = None
        self._head_size = 0
        self._segment = 0
        self._host: bytes | None = None  # the last one that was found valid: most clients have one only
        self._unparsed = 0  # bytes of a body that llhttp leaves to us
        self._parts: list[bytes] = []
        self._body_size = 0
        self._in_body = False
        self._known: KnownHead | None = None
        self._strange = 0  # heads that were not the one before

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.state.connections.add(self)  # type: ignore[arg-type]  # uvicorn lists its own classes; any will do
        self.deadline = self.loop.time() + self.options.header_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.closing = True
        self.resume_writing()
        for exchange in (self.current, *self.waiting):
            if exchange is not None and not exchange.finished:
                exchange.gone = True
                if exchange.task is not None:
                    exchange.task.cancel()
        self.waiting.clear()
        self.parser = None  # a cycle of C objects that would keep the connection's buffers alive

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self._linger(len(data))
            return
        parser = self.parser
        if parser is None or (self._unparsed and not (data := self._take_unparsed(data))):
            return
        if self._known is not None and self._again(self._known, data):
            return
        self._segment = len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if rest := data[upgrade.args[0] :]:
                self.data_received(rest)
            return
        except httptools.HttpParserCallbackError as error:
            self._refuse_callback(error)
            return
        except httptools.HttpParserError:
            self.refuse(InvalidRequest("The request is not valid HTTP/1.1.", code="invalid_http"))
            return
        if self.reading is None:
            if self._strange < _MOST_STRANGE and self.current is not None:
                self._learn(self.current, data)
        elif not self._in_body:
            # Counted by segment while the head is unfinished, so that a header without an end is bounded too.
            self._head_size += len(data)
            if self._head_size > self.options.header_limit:
                self.refuse(HeadTooLarge(f"The request's headers are larger than {self.options.header_limit} bytes."))

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.current is not None:
            self.current.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.current is not None:
            self.current.write_paused = False
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What httptools calls

    def on_message_begin(self) -> None:
        now = self.loop.time()
        self.reading = Exchange(self, now)
        self.deadline = now + self.options.header_timeout
        self._head_size = 0
        self._body_size = 0
        self._in_body = False
        self._parts = []

    def on_url(self, url: bytes) -> None:
        assert self.reading is not None
        self.reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self.reading is not None
        self.reading.raw_headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self.reading
        assert exchange is not None
        self._in_body = True
        parser = self.parser
        assert parser is not None
        options = self.options
        raw = exchange.raw_headers
        if len(raw) > options.max_headers:
            raise HeadTooLarge(f"The request has more than {options.max_headers} headers.")
        exchange.headers = headers = dict(raw)
        exchange.method = parser.get_method()
        if parser.get_http_version() == "1.0":
            exchange.chunked = False
        self._check_head(exchange)
        exchange.keep_alive = parser.should_keep_alive() and not self.draining
        self.deadline = self.loop.time() + options.body_timeout
        length = headers.get(b"content-length")
        if length is not None and int(length) > options.body_limit:
            raise self._too_large()
        self.house.admit(exchange)  # route and key, before a body is read
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._body_size += len(body)
        self.deadline = self.loop.time() + self.options.body_timeout
        if self._body_size > self.options.body_limit:
            raise self._too_large()

    def on_message_complete(self) -> None:
        if self._unparsed:
            return
        exchange = self.reading
        assert exchange is not None
        self.reading = None
        self.deadline = NEVER
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        if self.current is None:
            self._run(exchange)
        elif len(self.waiting) < _MAX_PIPELINED:
            self.waiting.append(exchange)
            if self.transport is not None:
                self.transport.pause_reading()
        else:
            raise InvalidRequest("Too many pipelined requests.", code="too_many_pipelined")

    # What the exchange calls

    @property
    def date(self) -> bytes:
        return self.house.date_line

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.outbox.put(self.transport, data)

    def release(self, exchange: Exchange) -> None:
        self.state.total_requests += 1
        self.current = None
        if self.closing or self.transport is None:
            return
        if not exchange.keep_alive or self.draining:
            self.closing = True
            self._close(self.transport)
        elif self.waiting:
            self._run(self.waiting.popleft())
            if not self.waiting:
                self.transport.resume_reading()
        elif self.reading is None:
            self.deadline = self.loop.time() + self.options.keep_alive

    async def drained(self) -> None:
        while self.write_paused:
            if self._drain_waiter is None:
                self._drain_waiter = self.loop.create_future()
            await asyncio.shield(self._drain_waiter)

    # What the server calls

    def shutdown(self) -> None:
        """No new work: close when idle, else after the answer under way."""
        self.draining = True
        if self.current is not None:
            self.current.keep_alive = False
        elif self.reading is None and self.transport is not None:
            self._close(self.transport)

    def sweep(self, now: float) -> None:
        """Once a second: deadlines, and heartbeats for a silent stream."""
        if self.current is not None:
            self.current.beat(now, self.options.heartbeat, self.house.heartbeat_head(self.current))
        if now < self.deadline or self.transport is None:
            return
        self.deadline = NEVER
        if self.closing:
            self.transport.abort()
        elif self.reading is None:
            self._close(self.transport)
        else:
            what = "body" if self._in_body else "headers"
            self.refuse(RequestTimeout(f"The request's {what} did not arrive in time."), linger=False)

    def refuse(self, error: PosthouseError, *, linger: bool = True) -> None:
        """Answers an unfinished request with an error and closes.

        What the client is still sending is read and thrown away for a while: closing at once would reset the connection
        and take the answer from a client that is not yet reading.
        """
        self.closing = True
        if self.transport is None:
            return
        if self.current is not None:  # the answer under way would be torn by another one inside it
            self.outbox.flush()
            self.transport.abort()
            return
        exchange = self.reading or Exchange(self, self.loop.time())
        exchange.keep_alive = False
        self.reading = None
        self.house.refused(exchange, error)
        body = encode_error(error)
        extra = b"".join(b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in error.headers())
        head = _JSON + self.house.common_head(exchange) + extra
        self.current = exchange
        self.closing = False
        exchange.started = False
        self._answer_and_close(exchange, error.status, head, body, linger=linger)

    # Inside

    def _answer_and_close(self, exchange: Exchange, status: int, head: bytes, body: bytes, *, linger: bool) -> None:
        self.closing = True  # `release` then leaves the connection to us
        exchange.respond(status, head, body)
        assert self.transport is not None
        if linger:
            self.deadline = self.loop.time() + _LINGER_SECONDS
            self.outbox.flush()
            with contextlib.suppress(OSError, RuntimeError):  # the client may be gone already
                if self.transport.can_write_eof():
                    self.transport.write_eof()
        else:
            self._close(self.transport)

    def _close(self, transport: asyncio.Transport) -> None:
        self.outbox.flush()
        transport.close()

    def _linger(self, size: int) -> None:
        self._lingered += size
        if self._lingered > _LINGER_BYTES and self.transport is not None:
            self.transport.abort()

    def _check_head(self, exchange: Exchange) -> None:
        headers = exchange.headers
        host = headers.get(b"host")
        if host != self._host or host is None:
            if exchange.chunked if host is None else _HOST.fullmatch(host) is None:  # HTTP/1.0 needs none
                raise InvalidRequest("The request's Host header is missing or not valid.", code="invalid_host")
            self._host = host
        limit = self.options.header_limit
        if self._head_size + self._segment > limit:  # part of it may be body
            size = len(exchange.target) + sum([len(name) + len(value) + 4 for name, value in headers.items()])
            if size > limit:
                raise HeadTooLarge(f"The request's headers are larger than {limit} bytes.")
        if exchange.method == b"CONNECT":
            raise MethodNotAllowed("This server is no proxy.")
        if b"upgrade" in headers and self.parser is not None and self.parser.should_upgrade():
            # Not heeded (RFC 9110, 7.8): some clients wish for h2c with every first request. But llhttp takes what
            # follows for another protocol, and reads no body.
            if b"transfer-encoding" in headers:
                raise InvalidRequest("A request with an upgrade must have a content-length.", code="upgrade_refused")
            self._unparsed = int(headers.get(b"content-length", b"0"))

    def _learn(self, exchange: Exchange, data: bytes) -> None:
        """Remembers a head that came with its whole body in one segment: most clients send the same again."""
        self._strange += 1
        self._known = None if self.waiting else self.house.heads.learn(exchange, data)

    def _again(self, known: KnownHead, data: bytes) -> bool:
        """A whole request whose head llhttp has parsed before; False where it is another."""
        if self.current is not None or self.reading is not None:
            return False
        body = known.body_in(data)
        if body is None or len(body) > self.options.body_limit:
            return False
        self._strange = 0
        exchange = known.exchange(self, self.loop.time(), body)
        if self.draining:
            exchange.keep_alive = False
        try:
            self.house.admit(exchange)
        except PosthouseError as error:
            self.reading = exchange
            self.refuse(error)
            return True
        self.deadline = NEVER
        self._run(exchange)
        return True

    def _take_unparsed(self, data: bytes) -> bytes:
        """The body of a request that wished for an upgrade; gives what follows it."""
        piece, rest = data[: self._unparsed], data[self._unparsed :]
        self._unparsed -= len(piece)
        try:
            self.on_body(piece)
            self.on_message_complete()
        except PosthouseError as error:
            self.refuse(error)
            return b""
        return rest

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request's body is larger than {self.options.body_limit} bytes.")

    def _refuse_callback(self, error: BaseException) -> None:
        cause = error.__context__
        if isinstance(cause, PosthouseError):
            self.refuse(cause)
        elif isinstance(cause, ValueError):
            self.refuse(InvalidRequest("The request's head is not valid.", code="invalid_http"))
        else:
            raise error

    def _run(self, exchange: Exchange) -> None:
        self.current = exchange
        exchange.write_paused = self.write_paused
        exchange.task = task = self.loop.create_task(self._answer(exchange))
        self.state.tasks.add(task)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self.house.answer(exchange)
        finally:
            # uvicorn waits for this set at shutdown. A done-callback would do the same for 2 us more.
            task = exchange.task
            if task is not None:
                self.state.tasks.discard(task)
