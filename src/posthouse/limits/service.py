"""The limiter of one process: exact, in memory, without a lock because nothing in it waits."""

import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from posthouse.core.caller import Caller, Subject
from posthouse.limits.bucket import UNIT, Bucket, Mark
from posthouse.limits.calendar import NOTHING, Calendar, Day, Tally, Used
from posthouse.limits.model import Grant, LimitReached, duration
from posthouse.limits.state import Kind, Moment, State, Undo, longest, standing_of

# A bucket of a minute that nobody touched for one is empty, whatever its limit.
_FORGET_US: Final = 60_000_000


class Unread(Struct, eq=False):
    """Counters of a day whose subject is limited since `since` (seconds since the epoch). What it used of the day
    before is in the records; as much as `counted` of it is in the counters already."""

    subject: Subject
    day: Day
    since: float
    counted: Used
    tallies: Sequence[tuple[Kind, Tally]]

    def read(self, used: Used) -> None:
        """What the records say. It may be less than is counted where the clock has gone back: that stands."""
        for kind, tally in self.tallies:
            tally.used += max(getattr(used, kind) - getattr(self.counted, kind), 0)


class Limiter:
    """Admits requests. `clock` gives seconds from any origin; where it steps back, time has stood still for us. `wall`
    gives seconds since the epoch, and `zone` says when a day begins."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        zone: dt.tzinfo = dt.UTC,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._calendar = Calendar(zone)
        self._read = int(clock() * 1_000_000)
        self._now = 0  # microseconds that the clock has gone forward
        self._states: OrderedDict[str, State] = OrderedDict()  # the longest untouched first
        self._past: tuple[Day | None, Mapping[str, Used]] = (None, {})
        self._ask: Callable[[Unread], None] | None = None

    def __len__(self) -> int:
        """Subjects remembered: those that asked lately, and those with something open."""
        return len(self._states)

    def admit(self, caller: Caller, tokens: int, images: int = 0) -> Grant:
        """See `Limiting.admit`."""
        return self.admit_subjects(caller.subjects, tokens, images)

    def admit_subjects(self, subjects: Sequence[Subject], tokens: int, images: int = 0) -> Grant:
        """The same for any subjects."""
        limited = [subject for subject in subjects if subject.limits.rated]
        return self._admit(limited, tokens, images) if limited else NO_GRANT

    def recall(self, day: Day, past: Mapping[str, Used], ask: Callable[[Unread], None]) -> None:
        """What subjects, by their ids, have used of a day so far, before anything was admitted here. For more, `ask` is
        told of every subject that is counted by the day from now on, but not of addresses, which nobody knows of."""
        self._past = (day, past)
        self._ask = ask

    def now(self) -> int:
        """Microseconds; never less than the last time."""
        read = int(self._clock() * 1_000_000)
        if read > self._read:
            self._now += read - self._read
        self._read = read
        return self._now

    def moment(self) -> Moment:
        """Now, by both clocks."""
        wall = self._wall()
        return Moment(self.now(), wall, self._calendar.day(wall))

    def _admit(self, subjects: Sequence[Subject], tokens: int, images: int) -> Grant:
        now = self.now()
        known = self._states
        if known and now - next(iter(known.values())).touched > _FORGET_US:
            self._forget(now)
        states: list[State] = []
        units = tokens * UNIT
        fits = True
        more = False
        for subject in subjects:
            state = known.get(subject.id)
            if state is None:
                state = known[subject.id] = State()
            else:
                known.move_to_end(subject.id)
            state.touched = now
            states.append(state)
            limits = subject.limits
            if state.limits is not limits:
                self._change(state, subject)
            if state.meters:
                more = True
            if state.places is not None and state.running >= state.places:
                fits = False
            if limits.request_tokens is not None and tokens > limits.request_tokens:
                fits = False
            # Every bucket is brought up to now, also when another has said no: the headers tell of all.
            if state.requests is not None and not state.requests.fits(UNIT, now):
                fits = False
            if state.tokens is not None and not state.tokens.fits(units, now):
                fits = False
        if more or not fits:
            return self._look_closer(subjects, states, {"requests": 1, "tokens": tokens, "images": images}, fits)
        return self._take(states, tokens)

    def _change(self, state: State, subject: Subject) -> None:
        moment = self.moment()
        new = state.change(subject.limits, moment)
        if not new or self._ask is None or subject.kind == "address":
            return
        if self._past[0] is not moment.day:
            self._past = (None, {})
        counted = self._past[1].get(subject.id, NOTHING)
        tallies = [(meter.kind, meter.tally) for meter in new if meter.tally is not None]
        for kind, tally in tallies:
            tally.used = getattr(counted, kind)
        self._ask(Unread(subject, moment.day, moment.wall, counted, tallies))

    def _take(self, states: list[State], tokens: int) -> "_Taken":
        charges: list[tuple[Bucket, Mark]] = []
        for state in states:
            state.running += 1
            if state.requests is not None:
                state.requests.charge(UNIT)
            if state.tokens is not None:
                charges.append((state.tokens, state.tokens.charge_ahead(tokens * UNIT)))
        return _Taken(self, states, charges, tokens)

    def _look_closer(
        self, subjects: Sequence[Subject], states: list[State], wanted: dict[Kind, int], fits: bool
    ) -> Grant:
        """Where some subject has limits besides those of a minute, or one of all has refused."""
        moment = self.moment()
        for state in states:
            for meter in state.meters:
                amount = wanted[meter.kind]
                # What is asked of for nothing is no matter of a limit on it, even of one that is overdrawn.
                if not meter.fits(amount, moment) and amount:
                    fits = False
        if not fits:
            refusals = [state.refusal(subject, wanted, moment) for subject, state in zip(subjects, states, strict=True)]
            raise LimitReached(max(filter(None, refusals), key=longest), standing_of(states, moment))
        taken = self._take(states, wanted["tokens"])
        for state in states:
            for meter in state.meters:
                undo = meter.charge(wanted[meter.kind], self.now)
                if meter.kind != "requests":
                    taken.undo.append((meter.kind, undo))
        taken.images = wanted["images"]
        return taken

    def _forget(self, now: int) -> None:
        """Looks at the three longest untouched; one admission adds a few at most, so what is stale never piles up."""
        moment = self.moment()
        for _ in range(3):
            if not self._states:
                return
            oldest = next(iter(self._states))
            state = self._states[oldest]
            if now - state.touched <= _FORGET_US:
                return
            if state.idle(moment):
                del self._states[oldest]
            else:
                state.touched = now
                self._states.move_to_end(oldest)


class _Taken:
    """A grant of a limited caller. The bucket of a mark is kept beside it: the limit may go while a request runs.

    `undo` and `images` belong to the meters.
    """

    __slots__ = ("_charges", "_limiter", "_released", "_reserved", "_states", "images", "undo")

    def __init__(
        self, limiter: Limiter, states: list[State], charges: list[tuple[Bucket, Mark]], reserved: int
    ) -> None:
        self._limiter = limiter
        self._states = states
        self._released = False
        self._reserved = reserved
        self._charges = charges
        self.undo: list[tuple[Kind, Undo]] = []
        self.images = 0

    def settle(self, actual_tokens: int, actual_images: int = 0) -> None:
        if self._charges:
            now = self._limiter.now()
            excess = (self._reserved - actual_tokens) * UNIT
            for bucket, mark in self._charges:
                bucket.settle(mark, excess, now)
            self._charges = []
        if self.undo:
            for kind, undo in self.undo:
                undo(self._reserved - actual_tokens if kind == "tokens" else self.images - actual_images)
            self.undo = []

    def release(self, charged: int = 0) -> None:
        if self._released:
            return
        self._released = True
        if self._charges or self.undo:
            self.settle(self._reserved, self.images)
        for state in self._states:
            state.running -= 1

    def headers(self) -> list[tuple[bytes, bytes]]:
        return standing_of(self._states, self._limiter.moment()).headers()

    def head(self) -> bytes:
        states = self._states
        if len(states) == 1 and not states[0].meters:  # as usual: no need to look for the tightest
            state = states[0]
            lines = b"" if state.requests is None else _lines(_REQUESTS, state.requests)
            return lines if state.tokens is None else lines + _lines(_TOKENS, state.tokens)
        return standing_of(states, self._limiter.moment()).head()


class _Nothing:
    """The grant of an unlimited caller: one for all, since it holds nothing."""

    __slots__ = ()

    def settle(self, actual_tokens: int, actual_images: int = 0) -> None:
        pass

    def release(self, charged: int = 0) -> None:
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


def _lines(form: bytes, bucket: Bucket) -> bytes:
    """The three header lines of one bucket of a minute, as `Standing.head` writes them."""
    level, limit = bucket.level, bucket.limit
    remaining = limit - -(-level // UNIT)
    return form % (limit, remaining if remaining > 0 else 0, duration(-(-level // limit) if limit else 0))
