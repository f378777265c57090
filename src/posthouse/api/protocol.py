"""Our server protocol: llhttp in, exchanges out, with a deadline for everything that a client may be slow at.

uvicorn gives the process (sockets, TLS, signals, graceful shutdown) and makes one of these per connection; it asks of a
protocol only its constructor, `shutdown()` and the sets in `server_state`. uvicorn's own httptools protocol is not
used, because an ASGI scope, a cycle and two messages for each request cost more than all of our admission does
(figures in docs/adr/0004). The faces see `Exchange`; what wants ASGI (the control plane) gets it through `asgi.py`.

No timer is armed per request: each connection has one `deadline`, and a sweep once a second closes what is over it.
Sweeping 2,000 connections takes about 0.2 ms; arming and cancelling two timers per request took 4 us of every request.

    reading the head   header_timeout after the first byte (after accepting, on a new connection)   408, close
    reading the body   body_timeout after the last byte of it, while we want more                   408, close
    being answered     none here: the gateway's own deadlines hold
    idle               keep_alive                                                                   close
"""

import asyncio
from collections import deque
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from posthouse.api import rules
from posthouse.api.exchange import Exchange
from posthouse.api.heads import KnownHead
from posthouse.api.house import House
from posthouse.api.inflow import Inflow
from posthouse.api.line import NEVER, Line
from posthouse.core.errors import BodyTooLarge, InvalidRequest, PosthouseError, RequestTimeout

_MAX_PIPELINED: Final = 16
_MOST_STRANGE: Final = 4  # a client whose heads always differ is not looked at for ever


class ServerProtocol(Line):
    """One client connection. Made by uvicorn; `config.loaded_app` is the house."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(cast(House, config.loaded_app), server_state, _loop or asyncio.get_running_loop())
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.reading: Exchange | None = None  # its head or body is being read
        self.waiting: deque[Exchange] = deque()  # pipelined behind `current`
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
                self.forsake(exchange)
        self.waiting.clear()
        self.parser = None  # a cycle of C objects that would keep the connection's buffers alive

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self.discard(len(data))
            return
        parser = self.parser
        if parser is None or (self._unparsed and not (data := self._take_unparsed(data))):
            return
        if self._known is not None and self._again(self._known, data):
            return
        self._segment = len(data)
        body_size = self._body_size
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
        elif self._body_size != body_size:
            self._head_size = 0
        else:
            # Counted by segment while no body comes, so that a header or a trailer without an end is bounded too.
            self._head_size += len(data)
            if self._head_size > self.options.header_limit:
                self.refuse(rules.too_large_head(self.options.header_limit))

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
        if not self._in_body:  # else it is a trailer, which says nothing to us
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
            raise rules.HeadTooLarge(f"The request has more than {options.max_headers} headers.")
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
        expects = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        route = exchange.route
        # Behind an answer under way a body is gathered as any other.
        if route is not None and route.streams_body and exchange.refusal is None and self.current is None:
            self._stream_body(exchange, expects)
        elif expects:
            self.invite_body()

    def on_body(self, body: bytes) -> None:
        exchange = self.reading
        assert exchange is not None
        self._body_size += len(body)
        self.deadline = self.loop.time() + self.options.body_timeout
        if self._body_size > self.options.body_limit:
            raise self._too_large()
        if exchange.inflow is None:
            self._parts.append(body)
        else:
            exchange.inflow.feed(body)

    def on_message_complete(self) -> None:
        if self._unparsed:
            return
        exchange = self.reading
        assert exchange is not None
        self.reading = None
        self.deadline = NEVER
        if exchange.inflow is not None:
            self._streamed(exchange, exchange.inflow)
            return
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        if self.current is None:
            self.run(exchange)
        elif len(self.waiting) < _MAX_PIPELINED:
            self.waiting.append(exchange)
            if self.transport is not None:
                self.transport.pause_reading()
        else:
            raise InvalidRequest("Too many pipelined requests.", code="too_many_pipelined")

    # What the exchange calls

    def release(self, exchange: Exchange) -> None:
        self.state.total_requests += 1
        self.current = None
        if self.closing or self.transport is None:
            return
        if exchange is self.reading:
            self._leave_body(exchange)
        else:
            self._go_on(self.transport, exchange.keep_alive)

    def _go_on(self, transport: asyncio.Transport, keep_alive: bool) -> None:
        """Request and answer are complete."""
        if not keep_alive or self.draining:
            self.close(transport)
        elif self.waiting:
            self.run(self.waiting.popleft())
            if not self.waiting:
                transport.resume_reading()
        elif self.reading is None:
            self.deadline = self.loop.time() + self.options.keep_alive

    def switch(self, line: Line, greeting: bytes) -> None:
        """Another protocol goes on with this connection; `greeting` is the last that is said in this one."""
        transport, exchange = self.transport, self.current
        if transport is None or exchange is None or transport.is_closing():
            return
        exchange.started = exchange.finished = True
        self.send(greeting)
        self.state.total_requests += 1
        self.state.connections.discard(self)
        self.transport = self.current = self.parser = None
        self.closing = True
        transport.set_protocol(line)
        line.connection_made(transport)

    # What a body that is streamed calls

    def hold_body(self) -> None:
        self.deadline = NEVER  # it is we who do not want more
        if self.transport is not None:
            self.transport.pause_reading()

    def want_body(self) -> None:
        self.deadline = self.loop.time() + self.options.body_timeout
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def invite_body(self) -> None:
        self.deadline = self.loop.time() + self.options.body_timeout
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # What the server calls

    def shutdown(self) -> None:
        """No new work: close when idle, else after the answer under way."""
        self.draining = True
        for exchange in (self.current, self.reading):
            if exchange is not None:
                exchange.keep_alive = False
        if self.current is None and self.reading is None and self.transport is not None:
            self.close(self.transport)

    def sweep(self, now: float) -> None:
        """Once a second: deadlines, and heartbeats for a silent stream."""
        if self.current is not None:
            self.current.beat(now, self.options.heartbeat, self.house.heartbeat_head(self.current))
        if now < self.deadline or self.transport is None:
            return
        self.deadline = NEVER
        if self.closing:
            self.end_overdue(self.transport)
        elif self.reading is None:
            self.close(self.transport)
        else:
            what = "body" if self._in_body else "headers"
            self.refuse(RequestTimeout(f"The request's {what} did not arrive in time."), linger=False)

    def refuse(self, error: PosthouseError, *, linger: bool = True) -> None:
        """Answers an unfinished request with an error and closes; with `linger`, as `part` does."""
        transport, exchange = self.transport, self.reading
        if exchange is not None and exchange.inflow is not None:
            self._cut_body(exchange, exchange.inflow, error)
            return
        self.closing = True  # `release` then leaves the connection to us
        if transport is None:
            return
        if self.current is not None:  # the answer under way would be torn by another one inside it
            self.outbox.flush()
            transport.abort()
            return
        exchange = exchange or Exchange(self, self.loop.time())
        exchange.keep_alive = False
        self.reading = None
        self.house.refused(exchange, error)
        self.current = exchange
        self.house.fail(exchange, error)
        if linger:
            self.part(transport)
        else:
            self.close(transport)

    # Bodies that are streamed

    def _stream_body(self, exchange: Exchange, expects: bool) -> None:
        length = exchange.headers.get(b"content-length")
        chunked = b"transfer-encoding" in exchange.headers
        exchange.inflow = Inflow(self, None if chunked else int(length or 0), invited=not expects)
        if expects:
            self.deadline = NEVER  # until it is asked to send
        self.run(exchange)

    def _streamed(self, exchange: Exchange, inflow: Inflow) -> None:
        """The body is in. Where the answer was complete before, the connection has waited for this."""
        inflow.end()
        self.deadline = NEVER
        if exchange.finished and self.transport is not None:
            self._go_on(self.transport, exchange.keep_alive)

    def _cut_body(self, exchange: Exchange, inflow: Inflow, error: PosthouseError) -> None:
        """The rest of the body is not wanted, or is no body: who reads it is told, and answers."""
        self.deadline = NEVER
        self.parser = None
        exchange.keep_alive = False
        inflow.fail(error)
        if self.transport is None:
            return
        if exchange.finished:
            self.part(self.transport)
        else:
            self.transport.pause_reading()

    def _leave_body(self, exchange: Exchange) -> None:
        """The answer is complete, the request is not. A little is read away; from more we part."""
        transport, inflow = self.transport, exchange.inflow
        assert transport is not None and inflow is not None
        inflow.drop()
        if not exchange.keep_alive or self.draining:
            self.part(transport)

    # Inside

    def _check_head(self, exchange: Exchange) -> None:
        headers = exchange.headers
        host = headers.get(b"host")
        if host != self._host or host is None:
            rules.check_host(exchange)
            self._host = host
        if self._head_size + self._segment > self.options.header_limit:  # part of it may be body
            rules.check_size(exchange, self.options.header_limit)
        rules.check_method(exchange)
        rules.check_encoding(exchange)
        if b"upgrade" in headers and self.parser is not None and self.parser.should_upgrade():
            self._unparsed = rules.upgrading_body(exchange)

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
        self.run(exchange)
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
