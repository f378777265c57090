"""A decoded request goes to the gateway, and what comes back to the client: the same for every face of texts.

Above: the faces, one for each dialect, which decode. Below: the gateway. The bytes of an answer are not looked at here.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from posthouse.api.exchange import Exchange
from posthouse.api.server import JSON, FrontDoor
from posthouse.api.wishes import heeded
from posthouse.core.errors import PosthouseError
from posthouse.core.requests import ModelRequest
from posthouse.gateway.model import Answer, Call
from posthouse.gateway.service import Gateway

EVENT_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Wrapping(Protocol):
    """Whole events into another outer form, for a client that does not take server-sent events."""

    def feed(self, block: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Manner(Struct, frozen=True, eq=False):
    """How a dialect answers, beyond its bytes. `lines` gives header lines of its own for a request's id; `wrapping`
    makes the outer form of a stream whose `kind` is no event stream. `beats`: a comment may be said where a stream is
    silent."""

    lines: Callable[[str], bytes] | None = None
    kind: bytes = EVENT_STREAM
    wrapping: Callable[[], Wrapping] | None = None
    beats: bool = True


PLAIN: Final = Manner()


class Asker:
    """Puts requests to the gateway. One for all faces."""

    def __init__(self, door: FrontDoor, gateway: Gateway) -> None:
        self._door = door
        self.gateway = gateway

    def call(self, exchange: Exchange, request: ModelRequest) -> Call:
        exchange.body = b""  # `request.fields` holds what is needed of it
        assert exchange.caller is not None  # the route is authenticated
        strict = exchange.headers.get(b"x-posthouse-strict") == b"1"
        wishes = exchange.caller.wishes
        if wishes is not None:
            request, strict = heeded(request, wishes), strict or wishes.strict
        address = self._door.address_of(exchange)
        return Call(exchange.caller, request, exchange.request_id, exchange.accepted, strict, address, exchange.own)

    async def ask(self, exchange: Exchange, request: ModelRequest, manner: Manner = PLAIN) -> None:
        """Asks, and answers. Raises PosthouseError as long as nothing was sent."""
        exchange.streaming = request.stream and manner.beats  # a comment would break another form
        answer = await self.gateway.run(self.call(exchange, request))
        if answer.events is None:
            exchange.respond(200, self.head(exchange, answer.kind or JSON, answer, manner), answer.body)
        else:
            await self._stream(exchange, answer, manner)

    async def whole(self, exchange: Exchange, request: ModelRequest) -> Answer:
        """The answer to a request that is not streamed, for a face that writes it in other words."""
        return await self.gateway.run(self.call(exchange, request))

    async def count(self, exchange: Exchange, request: ModelRequest) -> int:
        """The tokens of a request, counted by us; nothing is charged."""
        assert exchange.caller is not None
        return await self.gateway.count_tokens(exchange.caller, self.heeded(exchange, request))

    def heeded(self, exchange: Exchange, request: ModelRequest) -> ModelRequest:
        """The request as its key wishes it. `call` does the same."""
        assert exchange.caller is not None
        wishes = exchange.caller.wishes
        return request if wishes is None else heeded(request, wishes)

    def head(self, exchange: Exchange, kind: bytes, answer: Answer, manner: Manner = PLAIN) -> bytes:
        ms = int((asyncio.get_running_loop().time() - exchange.accepted) * 1000)
        lines = b"" if manner.lines is None else manner.lines(exchange.request_id)
        return b"%b%b%b%bopenai-processing-ms: %d\r\n" % (
            kind,
            self._door.common_head(exchange),
            lines,
            answer.headers,
            ms,
        )

    async def _stream(self, exchange: Exchange, answer: Answer, manner: Manner) -> None:
        loop = asyncio.get_running_loop()
        events = answer.events
        assert events is not None and answer.stream is not None
        wrapping = None if manner.wrapping is None else manner.wrapping()
        # Of another form only we know the end: who else ends it (a drain that is over) breaks it off.
        exchange.opaque = bool(answer.kind) or wrapping is not None
        exchange.streaming = not exchange.opaque  # also where nothing could be said before there was an answer
        try:
            exchange.start(200, self.head(exchange, answer.kind or manner.kind, answer, manner), loop.time())
            async for block in events:
                out = block if wrapping is None else wrapping.feed(block)
                if out:
                    exchange.write(out, loop.time())
                if exchange.write_paused:
                    await exchange.drained()
        except PosthouseError as error:
            # The gateway has settled already; all that is left is to say that this stream is not whole.
            exchange.refusal = error
            if answer.kind:
                exchange.cut()
                return
            last = answer.stream.fail(error)
            exchange.end(last if wrapping is None else wrapping.feed(last) + wrapping.end())
            return
        finally:
            # The client may have left while we waited for it to read: the generator does not know of it until told.
            await events.aclose()
        exchange.end(b"" if wrapping is None else wrapping.end())
