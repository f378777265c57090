"""The gate of many replicas: limits and budgets in Redis, taken by one script and ended by one. (ADR 8; scripts.py.)

Above: gateway. Below: the line to Redis, and through `Truth` what PostgreSQL knows, which is asked only for a purse
that Redis does not know. Not for several threads: the event loop's.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from posthouse.core.caller import Limits
from posthouse.core.errors import Unavailable
from posthouse.limits.calendar import Calendar, Day
from posthouse.limits.demand import Demand, NotCovered, Truth
from posthouse.limits.model import Dimension, LimitReached, Refusal, Span, Standing, Window
from posthouse.limits.purses import OVERDUE_MS, TOMBSTONE_MS, Purses, purse_keys
from posthouse.limits.scripts import (
    END,
    NOT_COVERED,
    OTHER_EPOCH,
    REFUSED,
    RENEW,
    TAKE,
    TAKEN,
    UNKNOWN_PURSE,
)
from posthouse.storage.redis import Redis
from posthouse.storage.redis_wire import RedisError, RedisLost, Word

logger = logging.getLogger("posthouse.limits")

PLACE_MS: Final = 2 * 60_000
"""How long a place is kept for a request that nobody renews."""
MAX_UNTOLD: Final = 100_000
MAX_TOUCHED: Final = 10_000
_ROUNDS: Final = 5  # how often a demand is repeated for what had to be loaded or met first
_DIMENSIONS: Final[tuple[Dimension, ...]] = ("requests", "requests", "tokens", "images", "concurrency")
_SPANS: Final[tuple[Span, ...]] = ("minute", "hour", "day")


class Taken:
    """What was taken for one request. `amount` is held by every purse. Ended once, by `release`."""

    __slots__ = ("_gate", "_images", "_tokens", "amount", "demand", "ended", "epoch", "keys", "since", "standing")

    def __init__(
        self, gate: "SharedGate", demand: Demand, keys: "_Keys", answer: Sequence[Any], epoch: bytes = b""
    ) -> None:
        self._gate = gate
        self.epoch = epoch
        self.demand = demand
        self.keys = keys
        self.since: int = answer[1]
        self.standing = standing_of(answer)
        self.amount = int(answer[8])
        self.ended = False
        self._tokens = demand.tokens
        self._images = demand.images

    def settle(self, actual_tokens: int, actual_images: int = 0) -> None:
        """What was really used, for `release` to tell."""
        self._tokens = actual_tokens
        self._images = actual_images

    def release(self, charged: int = 0) -> None:
        """Frees the place, corrects the windows, and puts the charge (nano-units) in the place of what was held."""
        if not self.ended:
            self.ended = True
            tokens = self.demand.tokens - self._tokens
            self._gate.tell(self, tokens, self.demand.images - self._images, charged)

    def head(self) -> bytes:
        """`x-ratelimit-*` as complete header lines."""
        return self.standing.head()

    def headers(self) -> list[tuple[bytes, bytes]]:
        return self.standing.headers()


class _Keys(Struct, frozen=True, gc=False):
    """The keys of one demand: three of each subject that has limits, three of each purse."""

    epoch: bytes
    subjects: tuple[bytes, ...]
    purses: tuple[bytes, ...]
    limits: tuple[Limits, ...]

    def to_take(self) -> tuple[bytes, ...]:
        purses = [key for index, key in enumerate(self.purses) if index % 3 != 2]
        return (self.epoch, *self.subjects, *purses)

    def to_end(self) -> tuple[bytes, ...]:
        return (*self.subjects, *self.purses)


class SharedGate:
    """`clock` is monotonic seconds; Redis's own clock is known from its answers. `drain`: seconds that a request waits
    at most until a purse can be read anew."""

    def __init__(
        self,
        redis: Redis,
        truth: Truth,
        calendar: Calendar,
        clock: Callable[[], float] = time.monotonic,
        drain: float = 3.0,
    ) -> None:
        self._redis = redis
        self._calendar = calendar
        self._clock = clock
        self.purses = Purses(redis, truth, drain, clock)
        self._ahead: float | None = None  # of Redis's clock before ours, in seconds
        self._open: dict[str, Taken] = {}
        self._asking: dict[str, float] = {}
        self._touched: dict[tuple[str, str], None] = {}
        self._untold: dict[str, tuple[tuple[bytes, ...], tuple[Word, ...]]] = {}
        self.dropped = 0

    @property
    def untold(self) -> int:
        """Ends that Redis has not confirmed yet."""
        return len(self._untold)

    async def take(self, demand: Demand) -> Taken:
        """All of it or nothing. LimitReached, NotCovered; Unavailable where a purse cannot be loaded; RedisLost."""
        if self._ahead is None:
            await self._meet(demand.root)
        for _ in range(_ROUNDS):
            epoch = self.purses.epoch(demand.root) or await self._meet(demand.root)
            keys, arguments = self._written(demand, epoch)
            answer = await self._asked(demand, keys, arguments)
            self._ahead = answer[1] / 1e6 - self._clock()
            outcome = answer[0]
            if outcome == TAKEN:
                taken = self._open[demand.request] = Taken(self, demand, keys, answer, epoch)
                self._touch(demand)
                return taken
            if outcome == REFUSED:
                raise _refusal(demand, answer)
            if outcome == NOT_COVERED:
                self._touch(demand)  # what takes all of it may be held by one who is gone
                raise NotCovered(demand.purses[answer[2]], int(answer[3]))
            if outcome == OTHER_EPOCH:
                self.purses.other_epoch(demand.root)
            elif outcome == UNKNOWN_PURSE:
                unknown = [demand.purses[index] for index in answer[2:]]
                await asyncio.gather(*(self.purses.loaded(demand.root, purse) for purse in unknown))
        raise Unavailable("The budgets of this key cannot be checked just now.")

    def _touch(self, demand: Demand) -> None:
        for purse in demand.purses:
            if len(self._touched) < MAX_TOUCHED:
                self._touched[demand.root, purse.id] = None

    async def _asked(self, demand: Demand, keys: "_Keys", arguments: tuple[Word, ...]) -> Any:
        """What TAKE says. Who stops waiting gives back what comes for it later."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        sent = self._redis.up

        def come(value: Any) -> None:
            if sent and isinstance(value, RedisLost):
                # It may have been taken all the same. Windows do not know by whom, so that they are left as they are.
                self._end_of(demand, keys, (0, 0, 0, 0))
            if not answer.done():
                answer.set_result(value)
            elif isinstance(value, list) and value[0] == TAKEN:
                Taken(self, demand, keys, value).release()

        began = self._clock()
        self._asking[demand.request] = began
        try:
            self._redis.run(TAKE, keys.to_take(), arguments, come)
            value = await answer
        finally:
            self._asking.pop(demand.request, None)
        if isinstance(value, Exception):
            raise value
        return value

    def asking_since(self) -> float:
        """Redis's clock (seconds since the epoch) when the oldest demand was sent of which we do not know yet what came
        of it; now, where there is none."""
        if not self._asking:
            return self.now()
        return self.now() - (self._clock() - next(iter(self._asking.values())))

    def adopted(self, demand: Demand, amount: int) -> Taken:
        """A request that was admitted without Redis, of which only the purses are held there now."""
        self._untold.pop(demand.request, None)  # what may have been taken for it is adopted with it
        demand = Demand(demand.root, demand.request, (), 0, 0, demand.purses)
        keys, _ = self._written(demand, b"")
        taken = Taken(self, demand, keys, (TAKEN, int(self.now() * 1e6), -1, 0, 0, -1, 0, 0, amount))
        self._open[demand.request] = taken
        return taken

    def tell(self, taken: Taken, tokens: int, images: int, charge: int) -> None:
        """Tells Redis of an end; again and again until it has heard."""
        self._open.pop(taken.demand.request, None)
        self._end_of(taken.demand, taken.keys, (taken.since, tokens, images, charge))

    def _end_of(self, demand: Demand, keys: "_Keys", how: tuple[int, int, int, int]) -> None:
        """`how`: when it was taken, tokens and images too many, charge."""
        rates: list[Word] = []
        for limits in keys.limits:
            rates += [_given(limits.tpm), _given(limits.tpd), _given(limits.ipm), _given(limits.ipd)]
        counts = (len(keys.limits), len(demand.purses), TOMBSTONE_MS)
        names = keys.to_end()
        if names:
            self._untold[demand.request] = (names, (demand.request, *how, *counts, *rates))
            if len(self._untold) > MAX_UNTOLD:
                self._untold.pop(next(iter(self._untold)))  # judged by PostgreSQL when it is overdue
                self.dropped += 1
            self._tell(demand.request)

    def tell_again(self) -> None:
        """After Redis was away. What had been told may have been done though no answer came: a purse knows that by its
        holds, a window does not, so that windows are left as they are."""
        for request, (keys, words) in list(self._untold.items()):
            self._untold[request] = (keys, (*words[:2], 0, 0, *words[4:]))
            self._tell(request)

    async def renew(self) -> None:
        """Keeps the places and holds of requests that run on. To be called well within OVERDUE_MS."""
        purses: dict[bytes, list[str]] = {}
        for request, taken in self._open.items():
            for key in taken.keys.purses[1::3]:
                purses.setdefault(key, []).append(request)
            due = int(self.now() * 1000) + PLACE_MS
            for key, limits in zip(taken.keys.subjects[2::3], taken.keys.limits, strict=True):
                if limits.concurrency is not None:
                    self._redis.call(key, ("ZADD", key, "XX", due, request), _nothing)
        for key, requests in purses.items():
            for start in range(0, len(requests), 1000):
                await self._redis.result(RENEW, (key,), OVERDUE_MS, *requests[start : start + 1000])

    async def meet_clock(self, root: str) -> None:
        """Learns Redis's clock, of a cluster that of the node that has these keys."""
        seconds, micros = await self._redis.ask(b"ph:{%b}:clock" % root.encode(), "TIME")
        self._ahead = int(seconds) + int(micros) / 1e6 - self._clock()

    def touched(self) -> list[tuple[str, str]]:
        """Root and name of the purses that were asked for since the last call."""
        touched, self._touched = self._touched, {}
        return list(touched)

    async def judge(self, root: str, purse: str, name: str = "", stale: list[str] | None = None) -> int:
        """Ends the overdue holds of a purse as PostgreSQL says, how many there were: holds whose replica is gone. Where
        a lease of one who is gone, or of a former life of ours (`name`), is among them, the purse is forgotten; or
        left to whoever gave `stale`, to forget many at once."""
        count, wrong = await self.purses.judge(root, purse, self.now() * 1000, self._open, name)
        if wrong and stale is None:
            await self.purses.forget(root, purse)
        elif wrong and stale is not None:
            stale.append(purse)
        return count

    def now(self) -> float:
        """Seconds since the epoch by Redis's clock, as far as we have heard of it; else by ours."""
        return time.time() if self._ahead is None else self._clock() + self._ahead

    def _tell(self, request: str) -> None:
        keys, words = self._untold[request]

        def come(answer: Any) -> None:
            if isinstance(answer, RedisError):
                logger.error("the end of %s was refused by Redis: %s", request, answer)
                self.dropped += 1
            if not isinstance(answer, RedisLost):
                self._untold.pop(request, None)

        self._redis.run(END, keys, words, come)

    def _written(self, demand: Demand, epoch: bytes) -> tuple[_Keys, tuple[Word, ...]]:
        limited = [subject for subject in demand.subjects if subject.limits.rated]
        day: Day = self._calendar.day(self.now())
        left = max(int((day.ends - self.now()) * 1000), 1)
        head = b"ph:{%b}:" % demand.root.encode()
        subjects: list[bytes] = []
        words: list[Word] = [epoch, demand.request, demand.tokens, demand.images, len(limited), len(demand.purses)]
        words += [PLACE_MS, OVERDUE_MS]
        for subject in limited:
            limits, name = subject.limits, subject.id.encode()
            subjects += [head + b"s:" + name, head + b"d:%b:%d" % (name, int(day.starts)), head + b"p:" + name]
            words += [_given(limits.rpm), _given(limits.rph), _given(limits.rpd), _given(limits.tpm)]
            words += [_given(limits.tpd), _given(limits.ipm), _given(limits.ipd), _given(limits.concurrency), left]
            most = limits.request_tokens
            if most is not None and demand.tokens > most:
                refusal = Refusal(subject.kind, "tokens", most, demand.tokens, float("inf"), "request")
                raise LimitReached(refusal, Standing(None, None))
        purses: list[bytes] = []
        for purse in demand.purses:
            purses += purse_keys(demand.root, purse.id)
            words += [purse.limit, purse.amount, _given(purse.least), purse.keep * 1000]
        limits_of = tuple(subject.limits for subject in limited)
        return _Keys(head + b"epoch", tuple(subjects), tuple(purses), limits_of), tuple(words)

    async def _meet(self, root: str) -> bytes:
        await self.meet_clock(root)
        return await self.purses.meet(root)


def standing_of(answer: Sequence[Any]) -> Standing:
    """The tightest windows in an answer of the TAKE script."""
    requests = Window(answer[2], answer[3], answer[4]) if answer[2] >= 0 else None
    tokens = Window(answer[5], answer[6], answer[7]) if answer[5] >= 0 else None
    return Standing(requests, tokens)


def _refusal(demand: Demand, answer: Sequence[Any]) -> LimitReached:
    limited = [subject for subject in demand.subjects if subject.limits.rated]
    subject, dimension, span, limit, wanted, wait = answer[8:14]
    seconds = float("inf") if wait < 0 else wait / 1e6
    refusal = Refusal(limited[subject].kind, _DIMENSIONS[dimension], limit, wanted, seconds, _SPANS[span])
    return LimitReached(refusal, standing_of(answer))


def _given(limit: int | None) -> int:
    return -1 if limit is None else limit


def _nothing(_: Any) -> None:
    pass
