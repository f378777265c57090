"""A client's connection: what is the same whether HTTP or a websocket is spoken on it.

Above: `protocol.py` and `websocket.py`. Here are the exchange under way and its task, writing with back-pressure, and
closing so that the last words arrive. It is the `Wire` of the exchanges on it, but for `release`.
"""

import asyncio
import contextlib
from typing import Final

from uvicorn.server import ServerState

from posthouse.api.exchange import Exchange
from posthouse.api.house import House

NEVER: Final = float("inf")
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 64 << 20
_LAST_WORDS_SECONDS: Final = 60.0


class Line(asyncio.Protocol):
    """`current` is being answered. Past its `deadline` (the loop's time) the sweep ends the connection. `closing`:
    nothing that the client says matters any more. `draining`: the answer under way is the last."""

    def __init__(self, house: House, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self.house = house
        self.state = state
        self.loop = loop
        self.options = house.options
        self.outbox = house.outbox
        self.transport: asyncio.Transport | None = None
        self.current: Exchange | None = None
        self.deadline = NEVER
        self.closing = False
        self.draining = False
        self.write_paused = False
        self._lingered = 0
        self._last_words = NEVER  # bytes of them that were not sent when we looked last
        self._drain_waiter: asyncio.Future[None] | None = None

    # What asyncio calls

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

    # What an exchange calls

    @property
    def date(self) -> bytes:
        return self.house.date_line

    @property
    def peer(self) -> str:
        name = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.outbox.put(self.transport, data)

    async def drained(self) -> None:
        while self.write_paused:
            if self._drain_waiter is None:
                self._drain_waiter = self.loop.create_future()
            await asyncio.shield(self._drain_waiter)

    # The exchange under way

    def run(self, exchange: Exchange) -> None:
        self.current = exchange
        exchange.write_paused = self.write_paused
        exchange.task = task = self.loop.create_task(self.answer(exchange))
        self.state.tasks.add(task)

    async def answer(self, exchange: Exchange) -> None:
        try:
            await self.house.answer(exchange)
        finally:
            # uvicorn waits for this set at shutdown. A done-callback would do the same for 2 us more.
            task = exchange.task
            if task is not None:
                self.state.tasks.discard(task)

    def forsake(self, exchange: Exchange) -> None:
        """Its client has left, or wants no more of it."""
        task = exchange.task
        exchange.gone = True
        if task is not None:
            # Cancelled before its first step, it would never come to the end of `answer`.
            task.add_done_callback(self.state.tasks.discard)
            task.cancel()

    # The end

    def close(self, transport: asyncio.Transport) -> None:
        """Once everything is written."""
        self.closing = True
        self.deadline = self.loop.time() + _LINGER_SECONDS
        self.outbox.flush()
        transport.close()

    def part(self, transport: asyncio.Transport) -> None:
        """Nothing more is said. What the client is still saying is read and thrown away for a while: closing at once
        would reset the connection, and take the last words from a client that is not yet reading."""
        self.closing = True
        self.deadline = self.loop.time() + _LINGER_SECONDS
        self.outbox.flush()
        with contextlib.suppress(OSError, RuntimeError):  # the client may be gone already
            if transport.can_write_eof():
                transport.write_eof()
            transport.resume_reading()

    def discard(self, size: int) -> None:
        """So many bytes came after we had parted."""
        self._lingered += size
        if self._lingered > _LINGER_BYTES and self.transport is not None:
            self.transport.abort()

    def end_overdue(self, transport: asyncio.Transport) -> None:
        """A connection that closes has had its time: it ends, unless the client still reads what we said last."""
        unsent = transport.get_write_buffer_size()
        if 0 < unsent < self._last_words:
            self._last_words = unsent
            self.deadline = self.loop.time() + _LAST_WORDS_SECONDS
        else:
            transport.abort()
