"""One server of a line to Redis, and the work of staying connected to it. Above: redis.py. Below: redis_wire.py."""

import asyncio
from typing import Final, Protocol

from posthouse.storage.redis_wire import Address, RedisError, RedisLost, Wire, asked, connect

PAUSES: Final = (0.05, 0.1, 0.25, 0.5, 1.0)  # seconds between attempts to connect; the last one again and again


class Line(Protocol):
    """What is told of a node, and what it asks."""

    @property
    def patience(self) -> float: ...
    @property
    def closed(self) -> bool: ...
    def connected(self) -> None: ...
    def unreached(self, error: Exception) -> None: ...
    def lost(self) -> None: ...


class Node:
    """One server, and the work of staying connected to it."""

    def __init__(self, address: Address, line: Line) -> None:
        self.address = address
        self.wire: Wire | None = None
        self.dialling: asyncio.Task[None] | None = None
        self._line = line
        self._retired = False
        self._unfit = False

    def give_up(self, error: RedisError) -> RedisLost:
        """It is there and cannot serve: sought anew until it can."""
        self._unfit = True
        if self.wire is not None:
            self.wire.close(f"the server cannot serve: {error}")
        return RedisLost(str(error))

    async def dial(self) -> bool:
        """One attempt now; where it fails, the next ones are made in the background."""
        if not await self._try():
            self.dial_on()
        return self.wire is not None

    def dial_on(self) -> None:
        if self.dialling is None and not self._line.closed and not self._retired:
            self.dialling = asyncio.get_running_loop().create_task(self._dial())

    async def settled(self) -> None:
        """Waits until the attempt that is under way has ended, if any."""
        if self.dialling is not None and self.wire is None:
            await asyncio.wait([self.dialling], timeout=self._line.patience)

    def retire(self) -> None:
        """The node is none of the cluster any more."""
        self._retired = True
        if self.dialling is not None:
            self.dialling.cancel()
        if self.wire is not None:
            self.wire.close("the node has left the cluster")

    async def _dial(self) -> None:
        tried = 0
        while self.wire is None:  # it may be lost again before we hear that it was made
            if not await self._try():
                await asyncio.sleep(PAUSES[min(tried, len(PAUSES) - 1)])
                tried += 1
        self.dialling = None

    async def _try(self) -> bool:
        try:
            wire = await connect(self.address, self._line.patience, self._gone)
            if self._unfit:
                await _serves(wire)
                self._unfit = False
            self.wire = wire
        except (RedisError, RedisLost) as error:
            self._line.unreached(error)
            return False
        self._line.connected()
        return True

    def _gone(self, wire: Wire) -> None:
        if self.wire is not wire:
            return  # it never was ours: it broke while it was introduced
        self.wire = None
        if not self._retired and not self._line.closed:
            self._line.lost()
            self.dial_on()


async def _serves(wire: Wire) -> None:
    """Whether a server that could not serve can now. RedisLost, RedisError where not; the connection is then closed."""
    try:
        await asked(wire, ("PING",))
        role = await asked(wire, ("ROLE",))
    except RedisError as error:
        if str(error).startswith("NOPERM "):
            return  # we may not ask; the next command will tell
        wire.close("the server cannot serve yet")
        raise
    if role[0] == b"slave":
        wire.close("the server is another's copy")
        raise RedisLost("the server is another's copy")
