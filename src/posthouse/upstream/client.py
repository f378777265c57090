"""The client: finds or opens a connection, sends, waits for the head of the answer.

Above it: providers. Below it: pool (who may have a connection), connect (opening one), connection (what happens on it).

Deadlines cost the hot path nothing: no timer is set per request or per chunk. One ticker per client looks at everything
that waits, so a deadline is kept to within `tick` seconds.
"""

import asyncio
import ssl
from collections.abc import Callable
from math import inf
from typing import Final

from msgspec import Struct

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.connect import Connector
from posthouse.upstream.connection import Connection
from posthouse.upstream.exchange import Exchange
from posthouse.upstream.model import Origin, UpstreamRequest
from posthouse.upstream.outbox import Outbox
from posthouse.upstream.pool import Pool, PoolLimits
from posthouse.upstream.upload import Upload

# A reused connection may have been closed by the upstream just as we wrote to it. Such a close was on its way when we
# wrote, so it comes at once; one that comes later is an upstream which died over our request, perhaps after it had done
# (and charged) the work, and that is not ours to repeat.
_CLOSE_RACE: Final = 1.0

_NO_TIME: Final = "The time allowed in total ended before the provider answered."


class ClientOptions(Struct, frozen=True, kw_only=True):
    """`limits` hold per pool. `tick` in seconds. `context`: None is the system's trust store. `clock`: None is the
    event loop's; a request's deadline is in its time."""

    limits: PoolLimits = PoolLimits()
    tick: float = 0.25
    context: ssl.SSLContext | None = None
    clock: Callable[[], float] | None = None


class Stats(Struct, frozen=True):
    """Now: `open`, `idle`, `waiting` (requests in the queue for a connection). Since the start: the rest."""

    open: int
    idle: int
    waiting: int
    opened: int
    reused: int
    waited: int
    retried: int


class UpstreamClient:
    """A Transport over sockets. Belongs to the event loop in which it is made."""

    def __init__(self, options: ClientOptions | None = None) -> None:
        self._options = options = options or ClientOptions()
        self._loop = asyncio.get_running_loop()
        self._clock = options.clock or self._loop.time
        self._connector = Connector(options.context)
        self._outbox = Outbox()
        self._pools: dict[tuple[str, Origin, str | None], Pool] = {}
        # By name alone: the hot path's shortcut, right as long as origin and proxy are the same.
        self._named: dict[str, Pool] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._closed = False
        self._opened = self._reused = self._waited = self._retried = 0

    async def send(self, request: UpstreamRequest) -> Exchange:
        pool = self._named.get(request.pool)
        if pool is None or pool.origin is not request.origin or pool.proxy != request.proxy:
            pool = self._pool_of(request)
        now = self._clock()
        deadline = min(request.deadline, now + request.timeouts.total)
        if now >= deadline:
            raise UpstreamFailure("timeout", _NO_TIME)
        head = pool.heads.write(request)
        try:
            if request.stream is None:
                connection = self._idle(pool, now) or await self._obtain(request, deadline)
            else:
                connection = await self._fresh(pool, request, deadline)
        except UpstreamFailure as unmade:
            unmade.unsent = True
            raise
        exchange = await self._exchange(connection, head, request, deadline)
        if exchange.stale and self._clock() - exchange.since < _CLOSE_RACE and not _taken(request):
            self._retried += 1
            if pool.idle:
                pool.idle[0].abort()  # makes room for a fresh one, should the pool be full
            connection = await self._obtain(request, deadline)
            exchange = await self._exchange(connection, head, request, deadline)
        status = exchange.status
        if status == 0:
            raise exchange.failure or UpstreamFailure("connect", "The provider did not answer.")
        if 300 <= status < 400 and status != 304:
            exchange.close()
            failure = UpstreamFailure("server", "The provider answered with a redirect, and redirects are refused.")
            failure.upstream_status = status
            raise failure
        return exchange

    async def aclose(self) -> None:
        """Ends everything at once. Whoever still waits gets an UpstreamFailure."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        connections = [connection for pool in self._pools.values() for connection in pool.connections]
        for pool in self._pools.values():
            pool.close()
        if connections:
            await asyncio.wait([connection.lost for connection in connections], timeout=1)

    def sweep(self) -> None:
        """Enforce every deadline now. The ticker calls it; so may a test with a clock of its own."""
        now = self._clock()
        for key, pool in list(self._pools.items()):
            pool.sweep(now)
            if not pool.slots:
                del self._pools[key]
                if self._named.get(key[0]) is pool:
                    del self._named[key[0]]

    def retire(self, live: frozenset[tuple[str, Origin, str | None]]) -> None:
        """Pools (name, origin, proxy) that are not among the `live` ones keep no connection any more: idle ones are
        closed now, the others when their answers have ended."""
        for key, pool in self._pools.items():
            pool.retire(key not in live)

    def stats(self) -> Stats:
        pools = self._pools.values()
        return Stats(
            open=sum(len(pool.connections) for pool in pools),
            idle=sum(len(pool.idle) for pool in pools),
            waiting=sum(len(pool.waiters) for pool in pools),
            opened=self._opened,
            reused=self._reused,
            waited=self._waited,
            retried=self._retried,
        )

    def _pool_of(self, request: UpstreamRequest) -> Pool:
        if self._closed:
            raise UpstreamFailure("connect", "The gateway is shutting down.")
        key = (request.pool, request.origin, request.proxy)
        pool = self._pools.get(key)
        if pool is None:
            try:
                pool = Pool(request.origin, request.proxy, self._options.limits, self._clock)
            except UnicodeError as error:
                raise UpstreamFailure("connect", "The provider could not be reached: its name is not valid.") from error
            self._pools[key] = pool
        self._named[request.pool] = pool
        return pool

    def _idle(self, pool: Pool, now: float) -> Connection | None:
        idle = pool.idle
        while idle:
            connection = idle[-1]
            if connection.expires <= now or not connection.usable:
                connection.abort()  # takes it out of the list
                continue
            del idle[-1]
            connection.expires = inf
            self._reused += 1
            return connection
        return None

    async def _fresh(self, pool: Pool, request: UpstreamRequest, deadline: float) -> Connection:
        """For a body that can be sent once: not one that has been idle, which may be closed just as we write to it."""
        if pool.full and pool.idle:
            pool.idle[0].abort()
        return await self._obtain(request, deadline)

    async def _obtain(self, request: UpstreamRequest, deadline: float) -> Connection:
        """A connection that may be used at once: from the queue, or opened."""
        pool = self._pool_of(request)  # not send()'s: the sweep drops pools that have become empty
        limit = min(self._clock() + request.timeouts.connect, deadline)
        self._start_ticker()
        while True:
            self._waited += pool.full
            connection = await pool.claim(limit)
            if connection is None:
                break
            if connection.usable:
                self._reused += 1
                return connection
            connection.abort()
        try:
            return await self._open(request, pool, limit)
        except TimeoutError as error:
            pool.give_up()
            if limit == deadline:
                raise UpstreamFailure("timeout", _NO_TIME) from error
            raise UpstreamFailure("connect", "The provider could not be reached in time.") from error
        except BaseException:
            pool.give_up()
            raise

    async def _open(self, request: UpstreamRequest, pool: Pool, limit: float) -> Connection:
        """Opens one for a slot of `pool`. TimeoutError after `limit`."""
        async with asyncio.timeout(limit - self._clock()):
            connection = await self._connector.open(request.origin, request.proxy, self._connection)
        if self._closed or not connection.usable:
            connection.abort()
            raise UpstreamFailure("connect", "The connection to the provider was closed as soon as it was made.")
        pool.add(connection)
        self._opened += 1
        return connection

    def _connection(self) -> Connection:
        return Connection(self._loop, self._outbox)

    async def _exchange(
        self, connection: Connection, head: bytes, request: UpstreamRequest, deadline: float
    ) -> Exchange:
        """Send, and wait until the head of the answer is in or nothing more will come."""
        exchange = Exchange(request.timeouts, self._clock(), deadline)
        exchange.head_only = request.method == b"HEAD"
        exchange.waiter = waiter = self._loop.create_future()
        stream = request.stream
        upload = None
        if stream is None:
            connection.start(exchange, head, request.body)
        else:
            connection.start(exchange, head, b"", more=True)
            exchange.sending = upload = Upload(connection, exchange, stream, self._clock)
        try:
            await waiter
            if upload is not None and not 200 <= exchange.status < 300:
                upload.stop()
                await upload.ended()
        except asyncio.CancelledError:
            exchange.close()
            raise
        exchange.waiter = None
        return exchange

    def _start_ticker(self) -> None:
        if self._ticker is None and not self._closed:
            self._ticker = self._loop.call_later(self._options.tick, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        self.sweep()
        if self._pools:
            self._start_ticker()


def _taken(request: UpstreamRequest) -> bool:
    """Whether part of the body is gone for good."""
    return request.stream is not None and request.stream.taken
