"""What Redis knows of budgets, read from PostgreSQL where it knows nothing: epochs, loads, holds that nobody renews.

The epoch is a word that is gone when Redis has forgotten everything, and that whoever forgets a purse on purpose takes
away with it, in one command. Its second half is the moment at which it began, by Redis's clock. Nothing is loaded in an
epoch before every replica has vouched for that moment (`drained`): all that it admitted before is in PostgreSQL, and it
admits nothing that Redis knew of in a former epoch only.

Above: shared.py. Below: the line to Redis, and `Truth`. The event loop's.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Container, Sequence
from typing import Final

from posthouse.core.errors import Unavailable
from posthouse.limits.demand import LEASE, Purse, Truth
from posthouse.limits.scripts import END, LOAD, MEET
from posthouse.storage.redis import Redis

logger = logging.getLogger("posthouse.limits")

OVERDUE_MS: Final = 2 * 60_000
"""After how long a hold that nobody renews is judged by PostgreSQL."""
TOMBSTONE_MS: Final = 60 * 60_000
_LOOK_AGAIN: Final = 0.05  # seconds
_MANY: Final = 1_000
_BEING_READ: Final = "The budgets of this key are being read anew; try again in a second."


class Purses:
    """`drain`: seconds that a request waits at most until a purse is read anew; `clock` is monotonic seconds."""

    def __init__(
        self, redis: Redis, truth: Truth, drain: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._truth = truth
        self._drain = drain
        self._clock = clock
        self._epochs: dict[str, bytes] = {}
        self._loading: dict[bytes, asyncio.Task[None]] = {}

    # Epochs

    def epoch(self, root: str) -> bytes | None:
        """That of these keys, as far as we know."""
        return self._epochs.get(root)

    def other_epoch(self, root: str) -> None:
        self._epochs.pop(root, None)

    async def meet(self, root: str) -> bytes:
        """The epoch of these keys: Redis's, or a new one where it has none."""
        key = _epoch_key(root)
        epoch: bytes
        epoch, new = await self._redis.result(MEET, (key,), secrets.token_hex(8))
        if new:
            logger.warning("Redis knows nothing of %s: what its budgets have committed is read from PostgreSQL", root)
        self._epochs[root] = epoch
        return epoch

    async def current(self, root: str) -> bytes | None:
        """The epoch that Redis has now; None where it has forgotten it."""
        key = _epoch_key(root)
        found: bytes | None = await self._redis.ask(key, "GET", key)
        return found

    # Loads

    async def loaded(self, root: str, purse: Purse) -> None:
        """Once for all who wait for the same purse. Unavailable where it takes too long: PostgreSQL may stand still
        without breaking any connection."""
        keys = purse_keys(root, purse.id)
        task = self._loading.get(keys[0])
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(root, purse, keys))
            self._loading[keys[0]] = task
            task.add_done_callback(lambda done: self._has_loaded(keys[0], done))
        try:
            async with asyncio.timeout(self._drain):
                await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable(_BEING_READ) from None

    def _has_loaded(self, key: bytes, task: asyncio.Task[None]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to those who wait; where nobody does any more, it is nobody's

    async def _load(self, root: str, purse: Purse, keys: tuple[bytes, ...]) -> None:
        epoch = self._epochs.get(root)
        if epoch is None:
            return  # the next round finds out
        began = float(epoch.partition(b":")[2])
        until = self._clock() + self._drain
        while not await self._truth.drained(began):
            if self._clock() >= until:
                raise Unavailable(_BEING_READ)
            await asyncio.sleep(_LOOK_AGAIN)
        loaded = await self._truth.load(purse.id)
        holds = [word for request, amount in loaded.holds for word in (request, amount)]
        words = (epoch, loaded.spent, purse.keep * 1000, OVERDUE_MS, *holds)
        await self._redis.result(LOAD, (_epoch_key(root), *keys), *words)

    # Forgetting

    async def forget(self, root: str, *purses: str) -> None:
        """Has purses read anew, in a new epoch: one for all of them, as far as one command may hold them."""
        for start in range(0, len(purses), _MANY):
            await self._forget(root, purses[start : start + _MANY])

    async def forget_all(self, root: str, concerns: Callable[[str], bool] = lambda _: True) -> None:
        """The same for all purses that it `concerns`, whoever has taken from them."""
        head = b"ph:{%b}:b:" % root.encode()
        cursor: bytes | int = b"0"
        while True:
            cursor, found = await self._redis.ask(head, "SCAN", cursor, "MATCH", head + b"*", "COUNT", _MANY)
            purses = [purse for key in found if concerns(purse := key[len(head) :].decode())]
            if purses:
                await self._forget(root, purses)
            if cursor in (b"0", 0):
                return

    async def _forget(self, root: str, purses: Sequence[str]) -> None:
        """In one command with the epoch: nobody can load what is gone in the epoch in which it was there."""
        epoch = _epoch_key(root)
        keys = [key for purse in purses for key in purse_keys(root, purse)[:2]]
        await self._redis.ask(epoch, "DEL", epoch, *keys)

    # Holds that nobody renews

    async def judge(
        self, root: str, purse: str, now_ms: float, mine: Container[str], name: str = ""
    ) -> tuple[int, bool]:
        """Ends the overdue holds of a purse as PostgreSQL says: how many there were, and whether it is to be forgotten
        instead. `mine` are the requests that run here, `name` is this replica's."""
        overdue = await self._overdue(root, purse, now_ms, mine)
        requests: list[str] = []
        for request in overdue:
            if not request.startswith(LEASE):
                requests.append(request)
            elif (owner := request.split(":")[1]) == name or not await self._truth.alive(owner):
                # Of a former life of ours, or of one who is gone. What was spent under it is only in PostgreSQL.
                return len(overdue), True
        three = purse_keys(root, purse)
        ends = await self._truth.ends(requests) if requests else {}
        for request in requests:
            charge = ends.get(request, 0)
            if charge is not None:
                await self._redis.result(END, three, request, 0, 0, 0, charge, 0, 1, TOMBSTONE_MS)
        return len(overdue), False

    async def _overdue(self, root: str, purse: str, now_ms: float, mine: Container[str]) -> list[str]:
        key = purse_keys(root, purse)[1]
        cursor: bytes | int = b"0"
        overdue: list[str] = []
        while True:
            cursor, found = await self._redis.ask(key, "HSCAN", key, cursor, "COUNT", _MANY)
            for request, held in zip(found[::2], found[1::2], strict=True):
                if int(held.partition(b":")[2]) < now_ms and request.decode() not in mine:
                    overdue.append(request.decode())
            if cursor in (b"0", 0):
                return overdue

    async def holds(self, root: str, purse: str, request: str) -> bool:
        """Whether Redis has such a hold."""
        key = purse_keys(root, purse)[1]
        return bool(await self._redis.ask(key, "HEXISTS", key, request))


def purse_keys(root: str, purse: str) -> tuple[bytes, bytes, bytes]:
    """What is committed, the holds, and the ends that came while it was not loaded."""
    head, name = b"ph:{%b}:" % root.encode(), purse.encode()
    return head + b"b:" + name, head + b"h:" + name, head + b"t:" + name


def _epoch_key(root: str) -> bytes:
    return b"ph:{%b}:epoch" % root.encode()
