"""The gate of many replicas, with and without Redis.

While Redis answers, everything is taken there (shared.py). While it does not, rate limits are those of this replica by
itself, and a budget goes on inside the replica's lease: an amount that was taken from it beforehand as a hold of the
replica's own. When the lease is used up, the budget is closed until Redis is back. Then what runs on is given to Redis
as holds, and the lease ends with what was charged under it.

A lease is worth something as long as Redis has not forgotten it. Who has leases therefore vouches for no moment at
which it has not seen that their epoch goes on; nothing is read anew before everybody has vouched (purses.py). After a
minute alone it uses them no more, so that nobody waits longer for it.

Above: gateway. Below: shared.py, service.py. Not for several threads: the event loop's.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from posthouse.core.errors import Unavailable
from posthouse.limits.demand import Demand, NotCovered, Purse, lease_of
from posthouse.limits.model import Grant
from posthouse.limits.purses import OVERDUE_MS
from posthouse.limits.scripts import ADOPT
from posthouse.limits.service import Limiter
from posthouse.limits.shared import SharedGate, Taken
from posthouse.storage.redis import Redis
from posthouse.storage.redis_wire import RedisError, RedisLost, Word

logger = logging.getLogger("posthouse.limits")

SHARE: Final = 100
"""A lease is the hundredth part of a budget."""
KEPT_FREE: Final = 10
"""No lease is taken from the last tenth of a budget."""
MAX_LEASES: Final = 10_000
ALONE: Final = 60.0
"""Seconds without Redis after which leases are worth nothing more."""
_AGAIN: Final = 60.0  # seconds after which a lease that was not to be had is asked for again
_COMPLAINT: Final = 10.0  # seconds between two lines about the same


class Counts(Struct):
    """Since the start: requests admitted without Redis, and those refused for a budget that was closed."""

    alone: int = 0
    closed: int = 0


class _Lease:
    """`left` of it, what was `settled` under it, and the holds that are `open`."""

    __slots__ = ("left", "open", "settled", "taken")

    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self.left = taken.amount
        self.settled = 0
        self.open: dict[str, Alone] = {}

    @property
    def used(self) -> bool:
        return bool(self.settled or self.open)


class Alone:
    """What was taken for one request without Redis. Ended once, by `release`. `leases` are those that it is under;
    `taken` is what Redis has of it since it is back."""

    __slots__ = ("_grant", "amount", "demand", "ended", "leases", "taken")

    def __init__(self, demand: Demand, grant: Grant, leases: list[_Lease], amount: int) -> None:
        self._grant = grant
        self.demand = demand
        self.leases = leases
        self.amount = amount
        self.taken: Taken | None = None
        self.ended = False

    def settle(self, actual_tokens: int, actual_images: int = 0) -> None:
        self._grant.settle(actual_tokens, actual_images)

    def release(self, charged: int = 0) -> None:
        if self.ended:
            return
        self.ended = True
        self._grant.release()
        if self.taken is not None:
            self.taken.release(charged)
        for lease in self.leases:
            del lease.open[self.demand.request]
            lease.settled += charged
            lease.left += self.amount - charged

    def head(self) -> bytes:
        return self._grant.head()

    def headers(self) -> list[tuple[bytes, bytes]]:
        return self._grant.headers()


class WideGate:
    """`replica`: this server's own name, that no other has. `clock` is monotonic seconds."""

    def __init__(
        self,
        redis: Redis,
        shared: SharedGate,
        limiter: Limiter,
        replica: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._shared = shared
        self._limiter = limiter
        self._replica = replica
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._asked: dict[str, float] = {}  # purses whose lease was asked for, and when
        self._taking: set[str] = set()  # purses whose lease is being asked for
        self._vouched = 0.0
        self._complained_at = -_COMPLAINT
        self._seen_at = clock()  # when the epoch of our leases was last seen to go on
        self._tasks: set[asyncio.Task[None]] = set()
        self._adopting: dict[tuple[bytes, str], tuple[tuple[bytes, ...], tuple[Word, ...]]] = {}
        self.counts = Counts()

    async def take(self, demand: Demand) -> "Taken | Alone":
        """All of it or nothing. LimitReached, NotCovered; Unavailable where a budget is closed."""
        try:
            taken = await self._shared.take(demand)
        except RedisLost:
            return self._alone(demand)
        except RedisError as error:
            # It is there and will not: no room, no disk, or a mistake of ours. For a caller it is the same as away.
            now = self._clock()
            if now - self._complained_at >= _COMPLAINT:
                self._complained_at = now
                logger.error("Redis refuses to take: %s", error)
            return self._alone(demand)
        for purse in demand.purses:
            if purse.id not in self._leases:
                self._ask_for_lease(demand.root, purse)
        return taken

    @property
    def leases(self) -> int:
        """Budgets that this replica has a lease of."""
        return len(self._leases)

    @property
    def untold(self) -> int:
        """Ends that Redis has not confirmed yet."""
        return self._shared.untold

    def now(self) -> float:
        """Seconds since the epoch by Redis's clock."""
        return self._shared.now()

    def returned(self) -> None:
        """Redis is back: gives it what runs on, ends the leases, and tells what it did not hear. To be called in the
        same turn of the loop: what is sent later finds all of this done."""
        running = {alone.demand.request: alone for lease in self._leases.values() for alone in lease.open.values()}
        for request, alone in running.items():
            for lease in alone.leases:
                keys = lease.taken.keys.purses[:2]
                self._adopting[keys[1], request] = (keys, (request, alone.amount, OVERDUE_MS))
            alone.taken = self._shared.adopted(alone.demand, alone.amount)
            alone.leases = []
        for hold in self._adopting:
            self._adopt(hold)
        # Those that were not used too: it may have forgotten them.
        self._end_leases(list(self._leases))
        self._shared.tell_again()

    async def vouch(self, root: str) -> float:
        """Redis's clock (seconds since the epoch) up to which all that was admitted here is in the journal, and since
        when nothing is admitted of which Redis knew in a former epoch only."""
        since = self._shared.asking_since()
        if self._leases:
            try:
                await self._look_at_leases(root)
            except (RedisLost, RedisError):
                if not self._alone_too_long():
                    return min(since, self._vouched)
        self._vouched = since
        return since

    def _alone_too_long(self) -> bool:
        return self._clock() - self._seen_at >= ALONE

    async def _look_at_leases(self, root: str) -> None:
        """Ends those of a former epoch."""
        asked_at = self._clock()
        epoch = await self._shared.purses.current(root)
        self._end_leases([purse for purse, lease in self._leases.items() if lease.taken.epoch != epoch])
        self._seen_at = asked_at

    def _end_leases(self, purses: list[str]) -> None:
        for purse in purses:
            lease = self._leases.pop(purse)
            self._asked.pop(purse, None)
            lease.taken.release(lease.settled)

    async def close(self) -> None:
        """Gives the leases back; waits until Redis has heard, for a second at most."""
        until = self._clock() + 1.0
        if self._tasks:  # what a lease has taken is known when it has come
            await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        for lease in self._leases.values():
            lease.taken.release(lease.settled)
        self._leases.clear()
        while self._shared.untold and self._redis.up and self._clock() < until:
            await asyncio.sleep(0.005)

    def _alone(self, demand: Demand) -> Alone:
        leases: list[_Lease] = []
        amount = -1
        worthless = self._alone_too_long()
        for purse in demand.purses:
            lease = None if worthless else self._leases.get(purse.id)
            left = 0 if lease is None else lease.left
            granted = purse.amount if purse.amount <= left else left
            if lease is None or (granted < purse.amount and (purse.least is None or not 0 < purse.least <= left)):
                self.counts.closed += 1
                raise Unavailable("The budgets of this key cannot be checked just now; try again in a few seconds.")
            amount = granted if amount < 0 else min(amount, granted)
            leases.append(lease)
        grant = self._limiter.admit_subjects(demand.subjects, demand.tokens, demand.images)
        alone = Alone(demand, grant, leases, max(amount, 0))
        for lease in leases:
            lease.left -= alone.amount
            lease.open[demand.request] = alone
        self.counts.alone += 1
        return alone

    def _adopt(self, hold: tuple[bytes, str]) -> None:
        keys, words = self._adopting[hold]

        def come(answer: Any) -> None:
            if isinstance(answer, RedisError):
                logger.error("Redis would not adopt %s: %s", hold[1], answer)
            if not isinstance(answer, RedisLost):
                self._adopting.pop(hold, None)

        self._redis.run(ADOPT, keys, words, come)

    def _ask_for_lease(self, root: str, purse: Purse) -> None:
        now = self._clock()
        asked = self._asked.get(purse.id)
        if (asked is not None and now - asked < _AGAIN) or len(self._leases) >= MAX_LEASES or purse.id in self._taking:
            return
        if len(self._asked) >= MAX_LEASES:
            self._asked.clear()
        self._asked[purse.id] = now
        self._taking.add(purse.id)
        task = asyncio.get_running_loop().create_task(self._lease(root, purse))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lease(self, root: str, purse: Purse) -> None:
        """A hundredth of the budget, unless that would take from the last tenth."""
        amount = purse.limit // SHARE
        wanted = Purse(purse.id, purse.limit - purse.limit // KEPT_FREE, amount, keep=purse.keep)
        demand = Demand(root, lease_of(self._replica, purse.id), (), 0, 0, (wanted,))
        try:
            if amount <= 0:
                return
            if await self._shared.purses.holds(root, purse.id, demand.request):
                # Of a former life: what was spent under it is only in PostgreSQL.
                await self._shared.purses.forget(root, purse.id)
            taken = await self._shared.take(demand)
        except (NotCovered, RedisLost, RedisError, Unavailable):
            return
        finally:
            self._taking.discard(purse.id)
        if not self._leases:
            self._seen_at = self._clock()
        self._leases[purse.id] = _Lease(taken)
