"""One server among several on one database: its line to Redis, and what it does besides serving.

- it says about once a second that it lives, and up to when all that it admitted is in PostgreSQL;
- it renews the holds and places of requests that run on;
- it looks after holds that nobody renews: their replica is gone, and PostgreSQL says what became of them.

Above: app. Below: limits, billing, storage. All in the event loop; PostgreSQL is asked in threads.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from posthouse.billing.recovery import expire_of
from posthouse.billing.truth import Truth
from posthouse.core.errors import PosthouseError
from posthouse.limits.calendar import Calendar
from posthouse.limits.purses import OVERDUE_MS
from posthouse.limits.service import Limiter
from posthouse.limits.shared import SharedGate
from posthouse.limits.wide import WideGate
from posthouse.storage import late, replicas
from posthouse.storage.database import Database
from posthouse.storage.journal import Journal
from posthouse.storage.redis import Redis
from posthouse.storage.redis_wire import RedisError, RedisLost
from posthouse.storage.trees import above

logger = logging.getLogger("posthouse.replica")

_EVERYBODY: Final = "*"
BEAT: Final = 0.5  # seconds
RENEWAL: Final = OVERDUE_MS / 1000 / 4
PATIENCE: Final = 0.25
_FLUSHED: Final = 2.0  # seconds to wait for the journal at each beat


class Replica:
    """`name` is that of the journal: no other server has it."""

    def __init__(self, url: str, database: Database, journal: Journal, limiter: Limiter, calendar: Calendar) -> None:
        self.name = journal.name
        self._database = database
        self._journal = journal
        self._redis = Redis(url, PATIENCE, self._changed)
        self._shared = SharedGate(self._redis, Truth(database), calendar)
        self.gate = WideGate(self._redis, self._shared, limiter, self.name)
        self._tasks: list[asyncio.Task[None]] = []
        self._stale: set[str] = set()
        self._late: Mapping[str, str] = {}
        self._to_judge: dict[tuple[str, str], None] = {}
        self._crashed = False
        self.installation = ""

    @property
    def up(self) -> bool:
        return self._redis.up

    def corrected(self, subjects: set[str] | None) -> None:
        """What these (None: all) have spent is not what Redis knows: it is read anew."""
        self._stale |= {_EVERYBODY} if subjects is None else subjects
        task = asyncio.get_running_loop().create_task(self._put_right())
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    def now(self) -> float:
        """Seconds since the epoch by Redis's clock, once it has been heard of."""
        return self._shared.now()

    async def open(self) -> None:
        """Connects. Without Redis the house opens all the same: rates are then its own, budgets are closed."""
        self.installation = await asyncio.to_thread(self._installation)
        if not await self._redis.open():
            logger.warning("Redis does not answer yet: rate limits are this server's own, and budgets are closed")
        else:
            await self._shared.meet_clock(self.installation)

    async def start(self) -> None:
        """Says that this server lives, before it admits anything."""
        self._crashed = await asyncio.to_thread(self._did_not_leave)
        await self._beat()
        self._tasks = [
            asyncio.create_task(self._again(BEAT, self._beat)),
            asyncio.create_task(self._again(BEAT, self._put_right)),
            asyncio.create_task(self._again(RENEWAL, self._shared.renew)),
            asyncio.create_task(self._again(RENEWAL, self._look_after)),
        ]

    async def close(self) -> None:
        """Gives back what the gate has, and tells the others not to wait for us. The journal is closed after this."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.gate.close()
        with contextlib.suppress(PosthouseError):
            await self._beat()
        await self._redis.close()

    async def leave(self) -> None:
        """The journal is closed, and all of it is in PostgreSQL."""

        def left() -> None:
            with self._database.write() as connection:
                replicas.leave(connection, self.name)

        with contextlib.suppress(PosthouseError):
            await asyncio.to_thread(left)

    async def _put_right(self) -> None:
        """Has Redis forget what has become wrong, until it has: the purses of those whose spending was corrected, or
        whose hold was given up and has ended after all (storage/late.py)."""
        subjects, notes = set(self._stale), self._late
        if not subjects and not notes:
            return

        def told() -> None:
            with self._database.write() as connection:
                late.told(connection, notes)

        try:
            await self._forget(await asyncio.to_thread(self._with_above, subjects | notes.keys()))
            await asyncio.to_thread(told)
        except (PosthouseError, RedisError, RedisLost) as error:
            logger.warning("what was corrected has not reached Redis yet: %s", error)
        else:
            self._stale -= subjects

    def _with_above(self, subjects: set[str]) -> set[str]:
        """What one spends, all accounts above have spent too."""
        with self._database.read() as connection:
            return above(connection, subjects)

    async def _forget(self, subjects: set[str]) -> None:
        await self._shared.purses.forget_all(
            self.installation, lambda purse: _EVERYBODY in subjects or purse.partition("|")[0] in subjects
        )

    def _installation(self) -> str:
        with self._database.write() as connection:
            return replicas.installation(connection)

    def _did_not_leave(self) -> bool:
        """Whether a former life of this server ended without a word."""
        with self._database.read() as connection:
            return replicas.known(connection, self.name)

    def _changed(self, up: bool) -> None:
        if not up:
            logger.warning("Redis is lost: rate limits are this server's own, budgets go on inside their leases")
            return
        logger.info("Redis is there")
        self.gate.returned()

    async def _again(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (PosthouseError, RedisError, RedisLost) as error:
                logger.info("put off: %s", error)
            except Exception:  # the top of a task: whatever it was, the next round tries again
                logger.exception("a round of work failed")

    async def _beat(self) -> None:
        anew = self._crashed
        if anew:
            await self._begin_anew()
        since = int(await self.gate.vouch(self.installation) * 1000)

        def beaten() -> tuple[bool, Mapping[str, str]]:
            done = self._journal.wait_applied(_FLUSHED)
            with self._database.write() as connection:
                missed = replicas.beat(connection, self.name, since if done else 0)
                return missed, late.noted(connection)

        self._journal.flush()
        missed, self._late = await asyncio.to_thread(beaten)
        self._crashed = self._crashed or (missed and not anew)

    async def _begin_anew(self) -> None:
        """After a crash, and when the others had taken us for gone: what our journal brought may be more than Redis was
        told of, and leases of a former life are nobody's, so all budgets are read from PostgreSQL again."""
        try:
            await self._shared.purses.forget_all(self.installation)
        except (RedisError, RedisLost):
            return  # at the next beat
        self._crashed = False

    async def _look_after(self) -> None:
        # First what needs no Redis: what is ended here, the judge below finds ended.
        await asyncio.to_thread(expire_of, self._database, int(self.now() * 1000))
        self._to_judge.update(dict.fromkeys(self._shared.touched()))
        stale: list[str] = []
        try:
            while self._to_judge:
                purse = next(iter(self._to_judge))
                del self._to_judge[purse]
                try:
                    await self._shared.judge(*purse, self.name, stale)
                except BaseException:
                    self._to_judge[purse] = None  # after all others, in the next round
                    raise
        finally:
            # Together: who is gone had leases of many budgets, and each time all the others let go of theirs.
            await self._shared.purses.forget(self.installation, *stale)
