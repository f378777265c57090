"""The limiter of one process: exact, in memory, without a lock because nothing in it waits."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.caller import Caller, Limits, Subject
from posthouse.limits.bucket import UNIT, Bucket, Mark
from posthouse.limits.model import Grant, LimitReached, Refusal, Standing, Window, duration

# A bucket that nobody touched for a minute is empty, whatever its limit.
_FORGET_US: Final = 60_000_000

# A place may be free at once or in ten minutes: how long a refused caller is told to wait for one.
_PLACE_WAIT: Final = 1.0


class Limiter:
    """Admits requests. `clock` gives seconds from any origin; where it steps back, time has stood still for us."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read = int(clock() * 1_000_000)
        self._now = 0  # microseconds that the clock has gone forward
        self._states: OrderedDict[str, _State] = OrderedDict()  # the longest untouched first

    def __len__(self) -> int:
        """Subjects remembered: those that asked in the last minute, and those with something open."""
        return len(self._states)

    def admit(self, caller: Caller, tokens: int) -> Grant:
        """See `Limiting.admit`."""
        limited: list[Subject] = []
        for subject in caller.subjects:
            limits = subject.limits
            if limits.rpm is not None or limits.tpm is not None or limits.concurrency is not None:
                limited.append(subject)
        return self._admit(limited, tokens) if limited else NO_GRANT

    def now(self) -> int:
        """Microseconds; never less than the last time."""
        read = int(self._clock() * 1_000_000)
        if read > self._read:
            self._now += read - self._read
        self._read = read
        return self._now

    def _admit(self, subjects: Sequence[Subject], tokens: int) -> Grant:
        now = self.now()
        known = self._states
        if known and now - next(iter(known.values())).touched > _FORGET_US:
            self._forget(now)
        states: list[_State] = []
        units = tokens * UNIT
        fits = True
        for subject in subjects:
            state = known.get(subject.id)
            if state is None:
                state = known[subject.id] = _State()
            else:
                known.move_to_end(subject.id)
            state.touched = now
            states.append(state)
            if state.limits is not subject.limits:
                state.change(subject.limits, now)
            if not state.fits(now, units):
                fits = False
        if not fits:
            refusals = [state.refusal(subject, tokens) for subject, state in zip(subjects, states, strict=True)]
            raise LimitReached(max(filter(None, refusals), key=_longest), _standing(states))
        charges: list[tuple[Bucket, Mark]] = []
        for state in states:
            state.running += 1
            if state.requests is not None:
                state.requests.charge(UNIT)
            if state.tokens is not None:
                charges.append((state.tokens, state.tokens.charge_ahead(units)))
        return _Taken(self, states, charges, tokens)

    def _forget(self, now: int) -> None:
        """Looks at the three longest untouched; one admission adds two at most, so what is stale never piles up."""
        for _ in range(3):
            if not self._states:
                return
            oldest = next(iter(self._states))
            state = self._states[oldest]
            if now - state.touched <= _FORGET_US:
                return
            if state.idle(now):
                del self._states[oldest]
            else:
                state.touched = now
                self._states.move_to_end(oldest)


class _State:
    """What one subject has taken."""

    __slots__ = ("limits", "places", "requests", "running", "tokens", "touched")

    def __init__(self) -> None:
        self.limits: Limits | None = None  # those that the rest was made for
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.places: int | None = None
        self.running = 0
        self.touched = 0

    def change(self, limits: Limits, now: int) -> None:
        self.limits = limits
        self.requests = _bucket(self.requests, limits.rpm, now)
        self.tokens = _bucket(self.tokens, limits.tpm, now)
        self.places = limits.concurrency

    def idle(self, now: int) -> bool:
        for bucket in (self.requests, self.tokens):
            if bucket is not None:
                bucket.advance(now)
                if not bucket.idle:
                    return False
        return not self.running

    def fits(self, now: int, units: int) -> bool:
        """Brings the buckets up to `now` too, so every one of them must be asked."""
        fits = self.places is None or self.running < self.places
        if self.requests is not None:
            fits &= self.requests.fits(UNIT, now)
        if self.tokens is not None:
            fits &= self.tokens.fits(units, now)
        return fits

    def refusal(self, subject: Subject, tokens: int) -> Refusal | None:
        """The limit that needs the longest wait; None where all allow it."""
        found: list[Refusal] = []
        if self.places is not None and self.running >= self.places:
            wait = _PLACE_WAIT if self.places else math.inf
            found.append(Refusal(subject.kind, "concurrency", self.places, 1, wait))
        if self.requests is not None and (wait := _wait(self.requests, 1)):
            found.append(Refusal(subject.kind, "requests", self.requests.limit, 1, wait))
        if self.tokens is not None and (wait := _wait(self.tokens, tokens)):
            found.append(Refusal(subject.kind, "tokens", self.tokens.limit, tokens, wait))
        return max(found, key=_longest, default=None)


class _Taken:
    """A grant of a limited caller. The bucket of a mark is kept beside it: the limit may go while a request runs."""

    __slots__ = ("_charges", "_limiter", "_released", "_reserved", "_states")

    def __init__(
        self, limiter: Limiter, states: list[_State], charges: list[tuple[Bucket, Mark]], reserved: int
    ) -> None:
        self._limiter = limiter
        self._states = states
        self._released = False
        self._reserved = reserved
        self._charges = charges

    def settle(self, actual_tokens: int) -> None:
        if self._charges:
            now = self._limiter.now()
            excess = (self._reserved - actual_tokens) * UNIT
            for bucket, mark in self._charges:
                bucket.settle(mark, excess, now)
            self._charges = []

    def release(self) -> None:
        if self._released:
            return
        self._released = True
        if self._charges:
            self.settle(self._reserved)
        for state in self._states:
            state.running -= 1

    def headers(self) -> list[tuple[bytes, bytes]]:
        return _standing(self._states).headers()

    def head(self) -> bytes:
        states = self._states
        if len(states) == 1:  # one subject with limits, as usual: no need to look for the tightest
            state = states[0]
            lines = b"" if state.requests is None else _lines(_REQUESTS, state.requests)
            return lines if state.tokens is None else lines + _lines(_TOKENS, state.tokens)
        return _standing(states).head()


class _Nothing:
    """The grant of an unlimited caller: one for all, since it holds nothing."""

    __slots__ = ()

    def settle(self, actual_tokens: int) -> None:
        pass

    def release(self) -> None:
        pass

    def headers(self) -> list[tuple[bytes, bytes]]:
        return []

    def head(self) -> bytes:
        return b""


NO_GRANT: Final = _Nothing()
_REQUESTS: Final = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
)
_TOKENS: Final = _REQUESTS.replace(b"-requests:", b"-tokens:")


def _bucket(bucket: Bucket | None, limit: int | None, now: int) -> Bucket | None:
    """The bucket as of `now` under today's limit."""
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now)
    bucket.advance(now)
    bucket.change(limit)
    return bucket


def _wait(bucket: Bucket, amount: int) -> float:
    """Seconds until `amount` fits, 0 when it does now, infinite when it never will."""
    wait = bucket.wait(amount * UNIT)
    if wait is None:
        return math.inf
    # One more microsecond, which a clock of floats may round away.
    return (wait + 1) / 1_000_000 if wait else 0.0


def _longest(refusal: Refusal) -> float:
    return refusal.retry_after


def _standing(states: Sequence[_State]) -> Standing:
    requests: Window | None = None
    tokens: Window | None = None
    for state in states:
        if state.requests is not None:
            requests = _tighter(requests, state.requests)
        if state.tokens is not None:
            tokens = _tighter(tokens, state.tokens)
    return Standing(requests, tokens)


def _lines(form: bytes, bucket: Bucket) -> bytes:
    """The three header lines of one bucket, as `Standing.head` writes them."""
    level, limit = bucket.level, bucket.limit
    remaining = limit - -(-level // UNIT)
    return form % (limit, remaining if remaining > 0 else 0, duration(-(-level // limit) if limit else 0))


def _tighter(found: Window | None, bucket: Bucket) -> Window:
    """Whichever has less left."""
    level = bucket.level
    limit = bucket.limit
    remaining = limit - -(-level // UNIT)
    if found is not None and found.remaining <= remaining:
        return found
    return Window(limit, max(remaining, 0), -(-level // limit) if limit else 0)
