"""What one subject of limits has taken, in memory.

Limits per minute stand in fields of their own, since nearly every subject has no others; the rest are meters in a
tuple. Above: service.py. Below: bucket.py, calendar.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

from posthouse.core.caller import Limits, Subject
from posthouse.limits.bucket import HOUR_UNIT, UNIT, Bucket, Mark
from posthouse.limits.calendar import Day, Tally
from posthouse.limits.model import Refusal, Span, Standing, Window

# A place may be free at once or in ten minutes: how long a refused caller is told to wait for one.
_PLACE_WAIT: Final = 1.0

Kind = Literal["requests", "tokens", "images"]
Undo = Callable[[int], None]
"""Gives back so many that were charged ahead, or charges more when negative."""


class Moment:
    """When something is asked: `us` of the limiter's clock, `wall` in seconds since the epoch, and its day."""

    __slots__ = ("day", "us", "wall")

    def __init__(self, us: int, wall: float, day: Day) -> None:
        self.us = us
        self.wall = wall
        self.day = day


class Meter:
    """A limit of another window than the minute, or of images."""

    __slots__ = ("bucket", "kind", "span", "tally")

    def __init__(self, kind: Kind, span: Span, limit: int, moment: Moment) -> None:
        self.kind = kind
        self.span: Span = span
        self.bucket: Bucket | None = None
        self.tally: Tally | None = None
        if span == "day":
            self.tally = Tally(limit, moment.day)
        else:
            self.bucket = Bucket(limit, moment.us, HOUR_UNIT if span == "hour" else UNIT)

    @property
    def limit(self) -> int:
        return self.bucket.limit if self.bucket is not None else self._today.limit

    @property
    def _today(self) -> Tally:
        assert self.tally is not None  # it has no bucket
        return self.tally

    def change(self, limit: int, moment: Moment) -> None:
        if self.bucket is not None:
            self.bucket.advance(moment.us)
            self.bucket.change(limit)
        else:
            self._today.limit = limit

    def fits(self, amount: int, moment: Moment) -> bool:
        """Brings it up to the moment, too."""
        if self.bucket is not None:
            return self.bucket.fits(amount * self.bucket.unit, moment.us)
        if self._today.day is not moment.day:
            # A new object: what was charged to the old day is settled there.
            self.tally = Tally(self._today.limit, moment.day)
        return self._today.fits(amount)

    def charge(self, amount: int, now: Callable[[], int]) -> Undo:
        """Takes so many; `now` gives microseconds when it comes to the settlement."""
        if self.bucket is None:
            tally = self._today
            tally.used += amount
            return tally.settle
        bucket = self.bucket
        mark: Mark = bucket.charge_ahead(amount * bucket.unit)
        return lambda excess: bucket.settle(mark, excess * bucket.unit, now())

    def wait(self, amount: int, moment: Moment) -> float:
        """Seconds until so many fit, 0 when they do now, infinite when they never will."""
        if self.bucket is not None:
            return wait_of(self.bucket, amount)
        if self._today.fits(amount):
            return 0.0
        return self._today.day.ends - moment.wall if amount <= self._today.limit else math.inf

    def idle(self, moment: Moment) -> bool:
        if self.bucket is not None:
            self.bucket.advance(moment.us)
            return self.bucket.idle
        return not self._today.used or self._today.day is not moment.day

    def window(self, moment: Moment) -> Window:
        if self.bucket is not None:
            return window_of(self.bucket)
        left = max(self._today.limit - self._today.used, 0)
        return Window(self._today.limit, left, int((self._today.day.ends - moment.wall) * 1e6))


class State:
    """What one subject has taken. `limits` are those that the rest was made for."""

    __slots__ = ("limits", "meters", "places", "requests", "running", "tokens", "touched")

    def __init__(self) -> None:
        self.limits: Limits | None = None
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.meters: tuple[Meter, ...] = ()
        self.places: int | None = None
        self.running = 0
        self.touched = 0

    def change(self, limits: Limits, moment: Moment) -> list[Meter]:
        """Gives the meters of a day that are new: what was used of it before is not in them."""
        self.limits = limits
        self.requests = _bucket(self.requests, limits.rpm, moment.us)
        self.tokens = _bucket(self.tokens, limits.tpm, moment.us)
        self.places = limits.concurrency
        wanted: tuple[tuple[Kind, Span, int | None], ...] = (
            ("requests", "hour", limits.rph),
            ("requests", "day", limits.rpd),
            ("tokens", "day", limits.tpd),
            ("images", "minute", limits.ipm),
            ("images", "day", limits.ipd),
        )
        known = {(meter.kind, meter.span): meter for meter in self.meters}
        meters, new = [], []
        for kind, span, limit in wanted:
            if limit is not None:
                meter = known.get((kind, span))
                if meter is None:
                    meter = Meter(kind, span, limit, moment)
                    if meter.tally is not None:
                        new.append(meter)
                meter.change(limit, moment)
                meters.append(meter)
        self.meters = tuple(meters)
        return new

    def idle(self, moment: Moment) -> bool:
        for bucket in (self.requests, self.tokens):
            if bucket is not None:
                bucket.advance(moment.us)
                if not bucket.idle:
                    return False
        return not self.running and all([meter.idle(moment) for meter in self.meters])

    def refusal(self, subject: Subject, wanted: dict[Kind, int], moment: Moment) -> Refusal | None:
        """The limit that needs the longest wait; None where all allow it."""
        found: list[Refusal] = []
        limits = subject.limits
        tokens = wanted["tokens"]
        if limits.request_tokens is not None and tokens > limits.request_tokens:
            found.append(Refusal(subject.kind, "tokens", limits.request_tokens, tokens, math.inf, "request"))
        if self.places is not None and self.running >= self.places:
            wait = _PLACE_WAIT if self.places else math.inf
            found.append(Refusal(subject.kind, "concurrency", self.places, 1, wait))
        if self.requests is not None and (wait := wait_of(self.requests, 1)):
            found.append(Refusal(subject.kind, "requests", self.requests.limit, 1, wait))
        if self.tokens is not None and (wait := wait_of(self.tokens, tokens)):
            found.append(Refusal(subject.kind, "tokens", self.tokens.limit, tokens, wait))
        for meter in self.meters:
            amount = wanted[meter.kind]
            if amount and (wait := meter.wait(amount, moment)):
                found.append(Refusal(subject.kind, meter.kind, meter.limit, amount, wait, meter.span))
        return max(found, key=longest, default=None)


def _bucket(bucket: Bucket | None, limit: int | None, now: int) -> Bucket | None:
    """The bucket as of `now` under today's limit."""
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now)
    bucket.advance(now)
    bucket.change(limit)
    return bucket


def longest(refusal: Refusal) -> float:
    return refusal.retry_after


def wait_of(bucket: Bucket, amount: int) -> float:
    """Seconds until `amount` fits, 0 when it does now, infinite when it never will."""
    wait = bucket.wait(amount * bucket.unit)
    if wait is None:
        return math.inf
    # One more microsecond, which a clock of floats may round away.
    return (wait + 1) / 1_000_000 if wait else 0.0


def window_of(bucket: Bucket) -> Window:
    level, limit = bucket.level, bucket.limit
    remaining = limit - -(-level // bucket.unit)
    return Window(limit, max(remaining, 0), -(-level // limit) if limit else 0)


def standing_of(states: Sequence[State], moment: Moment) -> Standing:
    """The tightest window of requests, and of tokens, over all subjects."""
    requests: Window | None = None
    tokens: Window | None = None
    for state in states:
        if state.requests is not None:
            requests = _tighter(requests, window_of(state.requests))
        if state.tokens is not None:
            tokens = _tighter(tokens, window_of(state.tokens))
        for meter in state.meters:
            if meter.kind == "requests":
                requests = _tighter(requests, meter.window(moment))
            elif meter.kind == "tokens":
                tokens = _tighter(tokens, meter.window(moment))
    return Standing(requests, tokens)


def _tighter(found: Window | None, window: Window) -> Window:
    """Whichever has less left."""
    return found if found is not None and found.remaining <= window.remaining else window
