"""The gate of many replicas, with and without Redis.

While Redis answers, everything is taken there (shared.py). While it does not, rate limits are those of this replica by
itself, and a budget goes on inside the replica's lease: an amount that was taken from it beforehand as a hold of the
replica's own. When the lease is used up, the budget is closed until Redis is back. Then what runs on is given to Redis
as holds, and the lease ends with what was charged under it.

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
from posthouse.limits.scripts import ADOPT
from posthouse.limits.service import Limiter
from posthouse.limits.shared import OVERDUE_MS, SharedGate, Taken
from posthouse.storage.redis import Redis
from posthouse.storage.redis_wire import RedisError, RedisLost, Word

logger = logging.getLogger("posthouse.limits")

SHARE: Final = 100
"""A lease is the hundredth part of a budget."""
KEPT_FREE: Final = 10
"""No lease is taken from the last tenth of a budget."""
MAX_LEASES: Final = 10_000
_AGAIN: Final = 60.0  # seconds after which a lease that was not to be had is asked for again


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._adopting: dict[tuple[bytes, str], tuple[tuple[bytes, ...], tuple[Word, ...]]] = {}
        self.counts = Counts()

    async def take(self, demand: Demand) -> "Taken | Alone":
        """All of it or nothing. LimitReached, NotCovered; Unavailable where a budget is closed."""
        try:
            taken = await self._shared.take(demand)
        except RedisLost:
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
        """Redis is back: gives it what runs on, ends the leases that were used, and tells what it did not hear. To be
        called in the same turn of the loop: what is sent later finds all of this done."""
        used = {purse: lease for purse, lease in self._leases.items() if lease.used}
        running = {alone.demand.request: alone for lease in used.values() for alone in lease.open.values()}
        for request, alone in running.items():
            for lease in alone.leases:
                keys = lease.taken.keys.purses[:2]
                self._adopting[keys[1], request] = (keys, (request, alone.amount, OVERDUE_MS))
            alone.taken = self._shared.adopted(alone.demand, alone.amount)
            alone.leases = []
        for hold in self._adopting:
            self._adopt(hold)
        for purse, lease in used.items():
            del self._leases[purse]
            lease.taken.release(lease.settled)
        self._shared.tell_again()

    async def close(self) -> None:
        """Gives the leases back; waits until Redis has heard, for a second at most."""
        for task in self._tasks:
            task.cancel()
        for lease in self._leases.values():
            lease.taken.release(lease.settled)
        self._leases.clear()
        until = self._clock() + 1.0
        while self._shared.untold and self._redis.up and self._clock() < until:
            await asyncio.sleep(0.005)

    def _alone(self, demand: Demand) -> Alone:
        leases: list[_Lease] = []
        amount = -1
        for purse in demand.purses:
            lease = self._leases.get(purse.id)
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
        if (asked is not None and now - asked < _AGAIN) or len(self._leases) >= MAX_LEASES:
            return
        if len(self._asked) >= MAX_LEASES:
            self._asked.clear()
        self._asked[purse.id] = now
        task = asyncio.get_running_loop().create_task(self._lease(root, purse))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lease(self, root: str, purse: Purse) -> None:
        """A hundredth of the budget, unless that would take from the last tenth."""
        amount = purse.limit // SHARE
        if amount <= 0:
            return
        wanted = Purse(purse.id, purse.limit - purse.limit // KEPT_FREE, amount, keep=purse.keep)
        demand = Demand(root, lease_of(self._replica, purse.id), (), 0, 0, (wanted,))
        try:
            taken = await self._shared.take(demand)
        except (NotCovered, RedisLost, Unavailable):
            return
        self._leases[purse.id] = _Lease(taken)
