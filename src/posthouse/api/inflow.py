"""The body of one request on its way from the client's socket to a handler that reads it as it comes.

For routes that say `streams_body`. Above: `Exchange.read`. Below: the connection, which feeds it, and which does not
read its socket while more than `HIGH_WATER` waits here: a client sends no faster than the handler reads.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from posthouse.core.errors import PosthouseError

HIGH_WATER: Final = 256 << 10  # bytes; one segment more may come
_LOW_WATER: Final = 64 << 10
# What is left of a body that nobody wants, where it is read away so that the connection can be used again.
_LITTLE: Final = 64 << 10


class Valve(Protocol):
    """What a body needs of its connection."""

    def hold_body(self) -> None:
        """Read no more from the client for now. Said again for what comes nevertheless."""

    def want_body(self) -> None:
        """Read on."""

    def invite_body(self) -> None:
        """Tell the client, which waits for it, to send the body (100 Continue)."""


class Inflow:
    """`left` is how many bytes are still to come, None where only the end will tell. `invited`: the client does not
    wait to be asked for the body."""

    __slots__ = (
        "_dropped",
        "_failure",
        "_held",
        "_holding",
        "_pieces",
        "_valve",
        "_waiter",
        "ended",
        "invited",
        "left",
    )

    def __init__(self, valve: Valve, left: int | None, invited: bool) -> None:
        self.left = left
        self.invited = invited
        self.ended = False
        self._valve = valve
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._holding = False
        self._dropped = False
        self._failure: PosthouseError | None = None
        self._waiter: asyncio.Future[None] | None = None

    # What the handler calls

    async def read(self) -> bytes:
        """The next piece; b"" at the end, again and again. Raises why a body will not come whole."""
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self.ended:
                return b""
            if not self.invited:
                self.invited = True
                self._valve.invite_body()
            if self._waiter is not None:
                raise RuntimeError("a body has one reader")
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._holding and self._held <= _LOW_WATER:
            self._holding = False
            self._valve.want_body()
        return piece

    # What the connection calls

    @property
    def leaves_little(self) -> bool:
        """Whether so little is still to come that the connection can be kept for the next request."""
        if self.ended:
            return True
        return self._failure is None and self.invited and self.left is not None and self.left <= _LITTLE

    def feed(self, data: bytes) -> None:
        if self.left is not None:
            self.left -= len(data)
        if self._dropped:
            return
        self._pieces.append(data)
        self._held += len(data)
        if self._held > HIGH_WATER:
            self._holding = True
            self._valve.hold_body()
        self._wake()

    def end(self) -> None:
        self.ended = True
        if self._holding:  # what follows is another request
            self._holding = False
            self._valve.want_body()
        self._wake()

    def fail(self, error: PosthouseError) -> None:
        """The rest will not come: whoever reads is told at once, whatever still waits here."""
        self._failure = error
        self._pieces.clear()
        self._wake()

    def drop(self) -> None:
        """Nobody wants the rest."""
        self._dropped = True
        self._pieces.clear()
        if self._holding:
            self._holding = False
            self._valve.want_body()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
