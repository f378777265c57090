"""Hours, days and places: the limiter in memory and the one in Redis against one plain model, by the same rules.

Requests per hour, requests, tokens and images per calendar day, and requests at once, of a key and its account,
whatever is taken, settled and released while time passes and days change. Where the two differ, it is here:

- Places in memory are given back by whoever has them, as long as the process lives. In Redis they are leases: those of
  a server that died are free PLACE_MS after it renewed them last (`Shared.mortal`).
- Windows of a minute are not here: what was charged ahead and not used is given back exactly in memory, and never too
  much in Redis (test_bucket.py, test_shared.py).
"""

import asyncio
import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from posthouse.core.caller import Limits, Subject
from posthouse.limits.calendar import Calendar
from posthouse.limits.demand import Demand
from posthouse.limits.model import Grant, LimitReached
from posthouse.limits.service import Limiter
from posthouse.limits.shared import PLACE_MS, SharedGate
from posthouse.storage.redis import Redis, Script
from posthouse.storage.redis_wire import Waiter, Word
from tests.limits.shared_world import World

ZONE: Final = ZoneInfo("America/New_York")  # its clocks change on the second day of this
START: Final = dt.datetime(2026, 10, 31, 9, tzinfo=ZONE).timestamp()
HOUR: Final = 3600
PLACE: Final = PLACE_MS / 1000
SERVERS: Final = 2
# An hour divided by these is a whole number of quarters of a second, in which all time here is.
KINDS: Final = {
    "rph": st.sampled_from((2, 3, 4, 6)),
    "rpd": st.sampled_from((0, 2, 5, 12)),
    "tpd": st.sampled_from((0, 300, 1_000)),
    "ipd": st.sampled_from((0, 2, 5)),
    "concurrency": st.sampled_from((0, 1, 2)),
}
# Few limits at a time, for what one refuses no other is asked.
LIMITED: Final = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.builds(Limits, **{name: KINDS[name] for name in names})
)
IMAGES: Final = st.sampled_from((0, 0, 1, 3, 6))
TOKENS: Final = st.sampled_from((0, 50, 100, 250, 400, 1_001))


class Model:
    """What one subject has taken, as plainly as it can be said."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.empty = 0.0  # when all requests of the hour have leaked
        self.used: dict[dt.date, dict[str, int]] = {}
        self.places: dict[int, float] = {}  # requests, by when their place is given up

    def today(self, now: float) -> dict[str, int]:
        return self.used.setdefault(date_of(now), {"requests": 0, "tokens": 0, "images": 0})

    def wait(self, now: float, tokens: int, images: int) -> float:
        """Seconds until a request fits: 0 where it does now, infinite where it never will."""
        limits, waits, today = self.limits, [0.0], self.today(now)
        if limits.rph is not None:
            waits.append(max(self.empty, now) + HOUR / limits.rph - HOUR - now)
        for limit, kind, amount in (
            (limits.rpd, "requests", 1),
            (limits.tpd, "tokens", tokens),
            (limits.ipd, "images", images),
        ):
            if limit is not None and amount and today[kind] + amount > limit:
                waits.append(math.inf if amount > limit else ends_of(now) - now)
        if limits.concurrency is not None:
            self.places = {number: until for number, until in self.places.items() if until > now}
            if len(self.places) >= limits.concurrency:
                waits.append(1.0 if limits.concurrency else math.inf)
        return max(waits)

    def take(self, number: int, now: float, tokens: int, images: int) -> None:
        if self.limits.rph is not None:
            self.empty = max(self.empty, now) + HOUR / self.limits.rph
        for kind, amount in (("requests", 1), ("tokens", tokens), ("images", images)):
            self.today(now)[kind] += amount
        self.places[number] = math.inf

    def remaining(self, now: float) -> int | None:
        """Requests that would still be let in, by hour and day; None where there is no such limit."""
        left = []
        if self.limits.rph is not None:
            left.append(math.floor((HOUR - max(self.empty - now, 0.0)) * self.limits.rph / HOUR))
        if self.limits.rpd is not None:
            left.append(self.limits.rpd - self.today(now)["requests"])
        return min(left, default=None)


def date_of(now: float) -> dt.date:
    return dt.datetime.fromtimestamp(now, ZONE).date()


def ends_of(now: float) -> float:
    return dt.datetime.combine(date_of(now) + dt.timedelta(days=1), dt.time(), ZONE).timestamp()


class Backend(Protocol):
    """What takes. `mortal`: whether servers can die without it."""

    mortal: bool

    def take(self, server: int, number: int, tokens: int, images: int) -> Grant: ...
    def go(self, now: float) -> None:
        """Time has passed, and who lives has renewed what it has."""
        ...

    def told(self) -> None:
        """Waits until everything that was ended is known to have ended."""
        ...

    def die(self, server: int) -> None: ...
    def close(self) -> None: ...


class Memory:
    """The limiter of a server that stands alone."""

    mortal = False

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.now = START
        self.subjects = subjects
        self.limiter = Limiter(lambda: self.now - START, lambda: self.now, ZONE)

    def take(self, server: int, number: int, tokens: int, images: int) -> Grant:
        return self.limiter.admit_subjects(self.subjects, tokens, images)

    def go(self, now: float) -> None:
        self.now = now

    def told(self) -> None:
        pass

    def die(self, server: int) -> None:
        raise AssertionError("it would be another process")

    def close(self) -> None:
        pass


class Shared:
    """Gates of several servers on one Redis, whose clock is the test's."""

    mortal = True
    url: ClassVar = ""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.runner = asyncio.Runner()
        self.world = World(self.url)
        self.subjects = subjects
        self.line = TimedRedis(self.url, self.world.root)
        assert self.runner.run(self.line.open())
        self.world.lines.append(self.line)
        self.gates = [self.gate() for _ in range(SERVERS)]
        self.go(START)

    def gate(self) -> SharedGate:
        return SharedGate(self.line, self.world.books, Calendar(ZONE), clock=lambda: self.line.now - START)

    def take(self, server: int, number: int, tokens: int, images: int) -> Grant:
        demand = Demand(self.world.root, f"req_{number}", self.subjects, tokens, images)
        return self.runner.run(self.gates[server].take(demand))

    def go(self, now: float) -> None:
        async def gone() -> None:
            await self.line.set_clock(now)
            for gate in self.gates:
                await gate.renew()

        self.runner.run(gone())

    def told(self) -> None:
        async def waited() -> None:
            async with asyncio.timeout(10):
                while any(gate.untold for gate in self.gates):
                    await asyncio.sleep(0)

        self.runner.run(waited())

    def die(self, server: int) -> None:
        self.gates[server] = self.gate()

    def close(self) -> None:
        async def closed() -> None:
            await self.world.forget()
            await self.line.close()

        self.runner.run(closed())
        self.runner.close()


class TimedRedis(Redis):
    """A line on which scripts read the time from a key of the test's."""

    def __init__(self, url: str, root: str) -> None:
        super().__init__(url, patience=5.0)
        self.now = START
        self._clock_key = f"ph:{{{root}}}:now"
        self._timed: dict[bytes, Script] = {}

    async def set_clock(self, now: float) -> None:
        self.now = now
        seconds, micros = self._parts()
        await super().ask(self._clock_key.encode(), "HSET", self._clock_key, "s", seconds, "u", micros)

    def run(self, script: Script, keys: tuple[bytes, ...], arguments: tuple[Word, ...], waiter: Waiter) -> None:
        timed = self._timed.get(script.sha)
        if timed is None:
            clock = f"redis.call('HMGET', '{self._clock_key}', 's', 'u')"
            timed = self._timed[script.sha] = Script(script.body.decode().replace("redis.call('TIME')", clock))
        super().run(timed, keys, arguments, waiter)

    async def ask(self, key: bytes, *words: Word) -> Any:
        return self._parts() if words == ("TIME",) else await super().ask(key, *words)

    def _parts(self) -> tuple[int, int]:
        return int(self.now), round(self.now % 1 * 1_000_000)


class Windows(RuleBasedStateMachine):
    """`open`: requests that run, with their server, their day and what was charged ahead."""

    make: ClassVar[Any] = Memory

    def __init__(self) -> None:
        super().__init__()
        self.backend: Backend | None = None
        self.models: list[Model] = []
        self.now = START
        self.number = 0
        self.open: dict[int, tuple[int, float, int, int, Grant]] = {}

    @initialize(key=LIMITED, account=st.just(Limits()) | LIMITED)
    def begin(self, key: Limits, account: Limits) -> None:
        self.models = [Model(key), Model(account)]
        self.backend = self.make([Subject("key_1", "key", "k", key), Subject("acc_1", "account", "a", account)])

    @property
    def there(self) -> Backend:
        assert self.backend is not None
        return self.backend

    @rule(server=st.integers(0, SERVERS - 1), tokens=TOKENS, images=IMAGES)
    def take(self, server: int, tokens: int, images: int) -> None:
        self.asked(server, tokens, images)

    def asked(self, server: int, tokens: int, images: int) -> None:
        """One request, of which the model says what must come."""
        self.number += 1
        wait = max(model.wait(self.now, tokens, images) for model in self.models)
        try:
            grant = self.there.take(server, self.number, tokens, images)
        except LimitReached as error:
            assert wait > 0
            assert error.retry_after == wait or abs(error.retry_after - wait) < 0.001
            return
        assert wait <= 0
        for model in self.models:
            model.take(self.number, self.now, tokens, images)
        self.open[self.number] = (server, self.now, tokens, images, grant)
        left = [one for model in self.models if (one := model.remaining(self.now)) is not None]
        told = dict(grant.headers()).get(b"x-ratelimit-remaining-requests")
        assert told == (str(max(min(left), 0)).encode() if left else None)

    @rule(requests=st.lists(st.tuples(st.integers(0, SERVERS - 1), TOKENS, IMAGES), min_size=2, max_size=4))
    def take_several(self, requests: list[tuple[int, int, int]]) -> None:
        for server, tokens, images in requests:
            self.asked(server, tokens, images)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.none() | TOKENS, images=st.integers(0, 3), twice=st.booleans())
    def end(self, data: st.DataObject, tokens: int | None, images: int, twice: bool) -> None:
        """Settled at what it used, or released as it was charged."""
        number = data.draw(st.sampled_from(sorted(self.open)))
        _, began, ahead, images_ahead, grant = self.open.pop(number)
        if tokens is not None:
            grant.settle(tokens, images)
        grant.release()
        if twice:
            grant.release()
        self.there.told()
        for model in self.models:
            if tokens is not None:
                model.today(began)["tokens"] += tokens - ahead
                model.today(began)["images"] += images - images_ahead
            model.places.pop(number, None)

    @rule(quarters=st.integers(1, 400) | st.integers(1, 3).map(lambda hours: hours * HOUR * 4) | st.none())
    def time_passes(self, quarters: int | None) -> None:
        """None: until the day ends, or if it is about to, until it has."""
        ends = ends_of(self.now)
        before = ends - 0.25 if self.now < ends - 0.25 else ends
        self.go(before if quarters is None else self.now + quarters / 4)

    @precondition(lambda self: self.backend is not None and self.backend.mortal)
    @rule(server=st.integers(0, SERVERS - 1))
    def a_server_dies(self, server: int) -> None:
        """Nobody renews or ends what it had, and what it had charged ahead stands."""
        self.there.die(server)
        for number in [number for number, one in self.open.items() if one[0] == server]:
            del self.open[number]
            for model in self.models:
                model.places[number] = self.now + PLACE

    def go(self, now: float) -> None:
        self.now = now
        self.there.go(now)

    def teardown(self) -> None:
        if self.backend is not None:
            self.backend.close()
        super().teardown()


class SharedWindows(Windows):
    make = Shared


@pytest.mark.req("LIMIT-033")
def test_windows_and_places_in_memory() -> None:
    run_state_machine_as_test(Windows, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


@pytest.mark.req("LIMIT-033")
def test_windows_and_places_over_servers(redis_server: str) -> None:
    Shared.url = redis_server
    run_state_machine_as_test(SharedWindows, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
