"""The connections to one origin for one pool key: who may have one, who has to wait, which are kept.

Idle connections are used last in, first out, so that those which are not needed grow old and expire. Whoever waits is
served first come, first served. A slot (the right to have one connection open) and an idle connection are handed from
hand to hand without ever being free in between, so no newcomer can overtake.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from msgspec import Struct

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.connection import Connection
from posthouse.upstream.head import HeadWriter
from posthouse.upstream.model import Origin

_OVERLOADED: Final = "All connections to the provider are busy."


class PoolLimits(Struct, frozen=True):
    """`connections` open at once, `idle` of them kept, `waiters` in the queue for one; `keep_alive` in seconds, where
    the upstream wishes no less."""

    connections: int = 4096
    idle: int = 256
    waiters: int = 1024
    keep_alive: float = 30.0


class Waiter(Struct, eq=False):
    """Compared by identity. The future brings an idle connection, or None for a slot to open one."""

    future: asyncio.Future[Connection | None]
    deadline: float


class Pool:
    __slots__ = (
        "_clock",
        "_limits",
        "connections",
        "heads",
        "idle",
        "origin",
        "proxy",
        "retired",
        "slots",
        "waiters",
    )

    def __init__(self, origin: Origin, proxy: str | None, limits: PoolLimits, clock: Callable[[], float]) -> None:
        self.origin = origin
        self.proxy = proxy
        self.heads = HeadWriter(origin)
        self.idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self.waiters: deque[Waiter] = deque()
        self.slots = 0  # connections open or being opened
        self.retired = False  # keeps none
        self._limits = limits
        self._clock = clock

    async def claim(self, deadline: float) -> Connection | None:
        """An idle connection, or None: a slot to open one, which must be given up() where that fails.

        Raises UpstreamFailure `overloaded` where the queue is full or `deadline` passes (the sweep looks).
        """
        if not self.full:
            self.slots += 1
            return None
        if len(self.waiters) >= self._limits.waiters:
            raise UpstreamFailure("overloaded", _OVERLOADED)
        waiter = Waiter(asyncio.get_running_loop().create_future(), deadline)
        self.waiters.append(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            elif not waiter.future.cancelled() and waiter.future.exception() is None:
                self._pass_on(waiter.future.result())  # we were served and cancelled in the same moment
            raise

    @property
    def full(self) -> bool:
        return self.slots >= self._limits.connections

    def add(self, connection: Connection) -> None:
        """A connection was opened with a claimed slot."""
        connection.home = self
        self.connections.add(connection)

    def give_up(self) -> None:
        """A claimed slot was not used."""
        self._pass_on(None)

    def put_back(self, connection: Connection) -> None:
        if self.waiters:
            self._pass_on(connection)
        elif len(self.idle) < self._limits.idle:
            self._keep(connection)
        else:
            connection.abort()

    def lose(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection.expires != inf:
            self.idle.remove(connection)
        self._pass_on(None)

    def sweep(self, now: float) -> None:
        """What time brings: expired idle connections, overdue answers and waiters."""
        for connection in tuple(self.connections):
            exchange = connection.exchange
            if exchange is None:
                if connection.expires <= now:
                    connection.abort()
            elif (problem := exchange.overdue(now)) is not None:
                connection.fail("timeout", problem)
        for waiter in [waiter for waiter in self.waiters if waiter.deadline <= now]:
            self.waiters.remove(waiter)
            self._refuse(waiter)

    def retire(self, retired: bool) -> None:
        self.retired = retired
        while retired and self.idle:
            self.idle[-1].abort()  # takes it out of the list

    def close(self) -> None:
        while self.waiters:
            self._refuse(self.waiters.popleft())
        for connection in tuple(self.connections):
            connection.fail("connect", "The gateway is shutting down.")

    def _pass_on(self, what: Connection | None) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(what)
                return
        if what is None:
            self.slots -= 1
        elif what.home is not None:
            self._keep(what)

    def _keep(self, connection: Connection) -> None:
        if self.retired:
            connection.abort()
            return
        wish, ours = connection.keep_alive, self._limits.keep_alive
        connection.expires = self._clock() + (wish if wish < ours else ours)
        self.idle.append(connection)

    def _refuse(self, waiter: Waiter) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(UpstreamFailure("overloaded", _OVERLOADED))
