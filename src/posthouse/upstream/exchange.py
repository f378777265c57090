"""One request and its answer: the UpstreamResponse that a caller reads.

It lives on its connection from start() until the last byte of the answer, a failure or close(), whichever comes first,
and is then cut loose with what nobody has read yet. So the connection can serve the next request while the last answer
is still read, and nothing that a caller does to an old answer can touch a new one.

Above it: the client and whoever called it. Below it: connection, of which it needs no more than `Carrier`.
"""

import asyncio
import zlib
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from posthouse.core.errors import FailureKind, UpstreamFailure
from posthouse.upstream.decoding import Inflater
from posthouse.upstream.model import Timeouts

_FINISH_SECONDS: Final = 1.0
_SENT_TOO_LONG: Final = "The request took longer to be sent than the time allowed in total."
BROKEN: Final = "The connection to the provider broke off."


class Sending(Protocol):
    """A request's body that is on its way."""

    done: bool
    blocked: bool

    def stop(self) -> None: ...


class Carrier(Protocol):
    """The connection, as its exchange sees it. `chunks` is the body that has come and not been taken."""

    loop: asyncio.AbstractEventLoop
    chunks: list[bytes]

    def take(self) -> bytes: ...

    def fail(self, kind: FailureKind, message: str) -> None: ...


class Exchange:
    """See the module. `deadline` is in the client's clock; `status` is 0 until the head of the answer is in.

    `tail` is the unread body once it is cut loose. `since` is when the current silence began, and `stirred` that a byte
    came since the last sweep: cheaper than reading the clock for each. `stale`: the connection had served before and
    closed before any byte of this answer. `sending`: the request's own body, where that is a stream.
    """

    __slots__ = (
        "connection",
        "deadline",
        "failure",
        "head_only",
        "headers",
        "inflater",
        "sending",
        "since",
        "stale",
        "status",
        "stirred",
        "tail",
        "timeouts",
        "waiter",
    )

    def __init__(self, timeouts: Timeouts, now: float, deadline: float) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.connection: Carrier | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.failure: Exception | None = None
        self.tail = b""
        self.inflater: Inflater | None = None
        self.sending: Sending | None = None
        self.timeouts = timeouts
        self.deadline = deadline
        self.since = now
        self.stirred = False
        self.stale = False
        self.head_only = False

    async def read(self, limit: int) -> bytes:
        if self.connection is None and self.inflater is None and self.failure is None and len(self.tail) <= limit:
            data, self.tail = self.tail, b""
            return data
        pieces: list[bytes] = []
        size = 0
        while piece := await self.chunk():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamFailure("server", "The provider's answer is larger than this gateway accepts.")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunk(self) -> Coroutine[Any, Any, bytes]:
        return self._raw_chunk() if self.inflater is None else self._inflated_chunk(self.inflater)

    async def _raw_chunk(self) -> bytes:
        while True:
            connection = self.connection
            if connection is None:
                if self.tail:
                    data, self.tail = self.tail, b""
                    return data
                if self.failure is not None:
                    raise self.failure
                return b""
            if connection.chunks:
                return connection.take()
            if self.waiter is not None:
                raise RuntimeError("an answer has one reader")
            self.waiter = waiter = connection.loop.create_future()
            try:
                await waiter
            finally:
                self.waiter = None

    async def _inflated_chunk(self, inflater: Inflater) -> bytes:
        try:
            while not (data := inflater.take()):
                raw = await self._raw_chunk()
                if not raw:
                    if inflater.whole:
                        return b""
                    raise UpstreamFailure("connect", BROKEN)
                inflater.feed(raw)
        except zlib.error as error:
            self.close()
            raise UpstreamFailure("server", "The provider's answer is compressed and damaged.") from error
        return data

    def close(self) -> None:
        connection = self.connection
        if connection is not None:
            connection.fail("connect", "The answer was given up before its end.")
        self.tail = b""
        self.inflater = None

    def finish(self) -> None:
        connection = self.connection
        if connection is not None:
            # The connection lets us loose at the end of the body; the sweep aborts it where none comes.
            self.deadline = min(self.deadline, connection.loop.time() + _FINISH_SECONDS)

    def overdue(self, now: float) -> str | None:
        """What to tell the caller where a deadline has passed, else None. Called by the sweep, so late by one tick."""
        sending = self.sending
        if now >= self.deadline:
            late = sending is not None and not sending.done
            return _SENT_TOO_LONG if late else "The provider's answer took longer than the time allowed in total."
        if sending is not None and not sending.done:
            return self._deaf(now, sending)
        if self.waiter is None or self.stirred:
            self.since = now  # nobody waits for the upstream, or it has just spoken
            self.stirred = False
            return None
        if self.status == 0:
            late = now - self.since >= self.timeouts.first_byte
            return "The provider did not begin to answer in time." if late else None
        late = now - self.since >= self.timeouts.idle
        return "The provider fell silent in the middle of its answer." if late else None

    def _deaf(self, now: float, sending: Sending) -> str | None:
        if self.stirred or not sending.blocked:
            self.since = now
            self.stirred = False
            return None
        late = now - self.since >= self.timeouts.idle
        return "The provider stopped reading in the middle of the request." if late else None

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
