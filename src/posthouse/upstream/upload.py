"""A body on its way to a provider, piece by piece, as fast as the provider reads.

It may take as long as everything behind it: what it took is no part of the time that the provider has for its answer.

Above it: client, which begins it with the request and stops it where the answer makes the rest useless. Below it:
connection, which writes.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from posthouse.upstream.connection import Connection
from posthouse.upstream.exchange import Exchange
from posthouse.upstream.model import BodyStream

_JOIN_LIMIT: Final = 64 * 1024


class Upload:
    """One task. `done`: all of the body was handed to the connection. `blocked`: the provider does not read. `clock` is
    the client's.

    An error of whoever makes the pieces becomes the failure of the exchange, as it is.
    """

    __slots__ = ("_began", "_clock", "_connection", "_exchange", "_over", "_stream", "_task", "blocked", "done")

    def __init__(
        self, connection: Connection, exchange: Exchange, stream: BodyStream, clock: Callable[[], float]
    ) -> None:
        self.done = False
        self.blocked = False
        self._connection = connection
        self._exchange = exchange
        self._stream = stream
        self._clock = clock
        self._began = clock()
        self._over = False
        self._task = connection.loop.create_task(self._run())

    def stop(self) -> None:
        """Take no more pieces. Idempotent."""
        if not self._over:
            self._over = True
            self._task.cancel()

    async def ended(self) -> None:
        """Returns once nothing more is taken from the stream."""
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        stream = self._stream
        try:
            async with contextlib.aclosing(stream.pieces):
                await self._write(stream)
        except Exception as error:  # the top of a task: it is handed to whoever waits for the answer
            self._over = True
            self._connection.end_with(error)
        else:
            self.done = not self._over
            self._over = True

    async def _write(self, stream: BodyStream) -> None:
        connection, exchange, length = self._connection, self._exchange, stream.length
        size = 0
        stream.taken = True
        async for piece in stream.pieces:
            if self._over:  # pieces that are there at once leave nobody the time to cancel us
                return
            size += len(piece)
            if length is not None and size > length:
                raise ValueError(f"a body of {length} bytes was announced, and more came")
            if not piece:
                continue
            if length is not None:
                connection.transport.write(piece)
            elif len(piece) <= _JOIN_LIMIT:
                connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                for part in (b"%x\r\n" % len(piece), piece, b"\r\n"):
                    connection.transport.write(part)
            exchange.stirred = True
            if connection.write_paused:
                self.blocked = True
                await connection.writable()
                self.blocked = False
                exchange.stirred = True
        if length is None:
            connection.transport.write(b"0\r\n\r\n")
        elif size < length:
            raise ValueError(f"a body of {length} bytes was announced, and {size} came")
        stream.ended = True
        exchange.stirred = True
        exchange.deadline += self._clock() - self._began
