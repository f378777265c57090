"""One connection to an upstream, which carries one exchange after another.

Above it: pool (who owns idle connections) and client (who starts exchanges). Below it: asyncio's transport and llhttp.
"""

import asyncio
import re
from math import inf
from typing import Final, NoReturn, Protocol, cast

import httptools

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.upstream.decoding import CODINGS, Inflater
from posthouse.upstream.exchange import BROKEN, Exchange
from posthouse.upstream.outbox import Outbox

HIGH_WATER: Final = 256 * 1024  # unread bytes at which we stop reading the socket
MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 200
# What may come between two bytes of body: chunk extensions, trailers. Nobody sends this much and means well.
MAX_BARREN: Final = 64 * 1024
# Below this a request is one write of one joined buffer; above it the body is handed over uncopied.
JOIN_LIMIT: Final = 64 * 1024

_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)
_SENSELESS: Final = "The provider's answer is not valid HTTP."


class Home(Protocol):
    """Where a connection belongs: the pool that opened it."""

    def put_back(self, connection: "Connection") -> None: ...

    def lose(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """The asyncio protocol, which is llhttp's set of callbacks too."""

    __slots__ = (
        "_barren",
        "_complete",
        "_head_bytes",
        "_headers",
        "_interim",
        "_large_request",
        "_outbox",
        "_parser",
        "_paused",
        "_problem",
        "_reusable",
        "_unread",
        "_until_close",
        "_writable",
        "chunks",
        "exchange",
        "expires",
        "home",
        "keep_alive",
        "loop",
        "lost",
        "on_body",
        "served",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self.loop = loop
        self._outbox = outbox
        self.home: Home | None = None  # until a pool takes it in, and after it is closed
        self.exchange: Exchange | None = None
        self.served = 0
        self.expires = inf  # in the client's clock, while idle
        self.keep_alive = inf  # seconds, as the upstream wishes
        self.lost = loop.create_future()
        self.chunks: list[bytes] = []
        # llhttp calls list.append itself: no Python frame per piece of body (0.15 µs each, 64 in a burst).
        self.on_body = self.chunks.append
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._problem: str | None = None
        self._complete = False
        self._interim = False
        self._reusable = False
        self._until_close = False
        self._large_request = False
        self._paused = False
        self._unread = 0
        self._barren = 0
        self._head_bytes = 0
        self.write_paused = False
        self._writable: asyncio.Future[None] | None = None

    # Called by the client, by exchanges and by uploads

    @property
    def usable(self) -> bool:
        """Whether it is open as far as we know. (An upstream's close may be on its way.)"""
        return not self.transport.is_closing()

    def start(self, exchange: Exchange, head: bytes, body: bytes, *, more: bool = False) -> None:
        """Send a request whose head ends with its empty line. The connection must be idle. `more`: the body follows."""
        self.exchange = exchange
        exchange.connection = self
        self._complete = False
        self._head_bytes = 0
        self._barren = 0
        if self._headers:
            self._headers = []  # trailers of the last answer
        if len(body) <= JOIN_LIMIT and not more:
            self._outbox.put(self.transport, head + body)
        else:
            self._large_request = True
            self.transport.write(head)
            self.transport.write(body)

    def take(self) -> bytes:
        """All body that has come and not been taken; there must be some."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._unread = 0
        if self._paused:
            self._resume()
        return data

    def fail(self, kind: FailureKind, message: str) -> None:
        """End the exchange with a failure, after what was received; then abort."""
        self.end_with(UpstreamFailure(kind, message))

    def end_with(self, failure: Exception) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.failure = failure
            self._cut_loose(exchange)
        self.abort()

    async def writable(self) -> None:
        """Returns when the upstream has read enough for more to be written. One waiter."""
        while self.write_paused:
            self._writable = self.loop.create_future()
            await self._writable

    def abort(self) -> None:
        """Close at once, without farewell. Idempotent."""
        home, self.home = self.home, None
        if home is not None:
            home.lose(self)
        self.transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are no subclasses.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Nobody has asked: it must not be taken for the answer to the next request.
            self.abort()
            return
        in_head = exchange.status == 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self.fail("server", self._problem or _SENSELESS)
                return
            self._reusable = False  # the answer is whole; what follows it is not our business
        if in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and self._head_too_large(exchange):
                self.fail("server", "The head of the provider's answer is too large.")
                return
        if self._complete:
            self._conclude(exchange)
        elif exchange.status:
            self._body_came(exchange, len(data), in_head)

    def eof_received(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.status and self._until_close:
            self._reusable = False
            self._conclude(exchange)
        else:
            self._broke_off()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._broke_off()
        del self._parser  # breaks the cycle between us; nothing is received any more
        if not self.lost.done():
            self.lost.set_result(None)

    # Called by the parser, from inside data_received

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Refused  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None:
            raise _Refused
        status = self._parser.get_status_code()
        headers = self._headers
        self._headers = []  # trailers go there and are dropped
        if status < 200:
            self._interim = True
            return
        if len(headers) > MAX_HEADERS:
            self._refuse("The provider's answer has too many headers.")
        fields = dict(headers)
        transfer = fields.get(b"transfer-encoding")
        if status > 599 or (transfer is not None and transfer.lower() != b"chunked"):
            self._refuse(_SENSELESS)
        coding = fields.get(b"content-encoding")
        if coding is not None:
            headers = self._decode(exchange, coding.strip().lower(), headers)
        wish = fields.get(b"keep-alive")
        if wish is not None and (match := _KEEP_ALIVE_TIMEOUT.search(wish)) is not None:
            # A little less than promised: the upstream's clock started before ours.
            self.keep_alive = int(match[1]) * 0.9
        self._until_close = transfer is None and b"content-length" not in fields
        exchange.headers = headers
        exchange.status = status
        if exchange.head_only:
            self._complete = True  # llhttp would wait for a body that will not come

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self._complete = True
        self._reusable = self._parser.should_keep_alive()

    # Inner steps

    def _body_came(self, exchange: Exchange, size: int, in_head: bool) -> None:
        exchange.stirred = True
        self._unread = unread = self._unread + size
        if unread > HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        if self.chunks:
            self._barren = 0
            exchange.wake()
            return
        if in_head:
            exchange.wake()
            return
        self._barren += size
        if self._barren > MAX_BARREN:
            self.fail("server", _SENSELESS)

    def _head_too_large(self, exchange: Exchange) -> bool:
        """Asked only where more than MAX_HEAD bytes came; part of them may be body."""
        return not exchange.status or sum(len(name) + len(value) for name, value in exchange.headers) > MAX_HEAD

    def _conclude(self, exchange: Exchange) -> None:
        if exchange.head_only:
            self._reusable = False
            self.chunks.clear()
        if exchange.sending is not None and not exchange.sending.done:
            self._reusable = False
        self._cut_loose(exchange)
        home = self.home
        if not self._reusable or home is None or self._request_unsent():
            self.abort()
            return
        self.served += 1
        home.put_back(self)

    def _cut_loose(self, exchange: Exchange) -> None:
        self.exchange = None
        exchange.connection = None
        if exchange.sending is not None:
            exchange.sending.stop()
        exchange.tail = self.take() if self.chunks else b""
        self._unread = 0
        if self._paused:
            self._resume()  # an idle connection must notice that it is closed
        exchange.wake()

    def _request_unsent(self) -> bool:
        """Whether part of the last request still waits to be sent: the upstream answered without hearing it out."""
        if not self._large_request:
            return False
        self._large_request = False
        return self.transport.get_write_buffer_size() > 0

    def _resume(self) -> None:
        self._paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _broke_off(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.status == 0 and self.served and not self._head_bytes:
            exchange.stale = True
        self.fail("connect", BROKEN)

    def _decode(
        self, exchange: Exchange, coding: bytes, headers: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Headers as if the body had not been encoded; the exchange decodes it."""
        if coding in (b"", b"identity"):
            return headers
        if coding not in CODINGS:
            self._refuse("The provider's answer is compressed in a way that was not asked for.")
        exchange.inflater = Inflater(coding)
        return [(name, value) for name, value in headers if name not in (b"content-encoding", b"content-length")]

    def _refuse(self, problem: str) -> NoReturn:
        self._problem = problem
        raise _Refused


class _Refused(Exception):
    """Stops the parser from within a callback; it never gets further than data_received."""
