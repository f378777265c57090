"""How soon deployments begin to answer, and how many requests each has now: what the strategy `latency` chooses by.

The figure is a peak-EWMA, as Finagle's balancer has it: a slower answer than the average takes its place at once, a
faster one moves it only as far as time has passed, and what is not measured again fades, so that a deployment which was
slow once is tried again. What a request would meet is that average times the requests that are there before it.

Only requests of routes with that strategy are measured. Streams and whole answers are kept apart: the first byte of the
one comes when the model begins, of the other when it ends.
"""

from math import exp
from typing import Final

from posthouse.core.errors import UpstreamFailure
from posthouse.core.requests import Operation
from posthouse.upstream.model import UpstreamResponse

# An unmeasured deployment is tried before any other, but by one request at a time until that has been answered.
UNMEASURED: Final = 1e9


class Average:
    """Seconds, fading with the time constant `fade`. Times are the loop's."""

    __slots__ = ("_at", "_fade", "_value")

    def __init__(self, fade: float) -> None:
        self._fade = fade
        self._value: float | None = None
        self._at = 0.0

    def at(self, now: float) -> float | None:
        """None where nothing was measured yet."""
        return None if self._value is None else self._value * exp((self._at - now) / self._fade)

    def answered(self, seconds: float, now: float) -> None:
        value = self._value
        if value is None or seconds >= value:
            self._value = seconds
        else:
            kept = exp((self._at - now) / self._fade)
            self._value = value * kept + seconds * (1.0 - kept)
        self._at = now

    def failed(self, seconds: float, now: float) -> None:
        """Time spent in vain counts where it was long; a quick failure makes nobody look fast."""
        known = self.at(now)
        if known is not None and seconds > known:
            self._value, self._at = seconds, now


class Pace:
    """One deployment and operation. `inflight` counts requests until their answers have ended."""

    __slots__ = ("_averages", "inflight")

    def __init__(self, fade: float) -> None:
        self.inflight = 0
        self._averages = (Average(fade), Average(fade))

    def average(self, stream: bool) -> Average:
        return self._averages[stream]

    def score(self, stream: bool, now: float) -> float:
        """Lower is better: seconds until a request would begin to be answered, as far as that is known."""
        seconds = self._averages[stream].at(now)
        if seconds is None:
            return UNMEASURED + self.inflight if self.inflight else 0.0
        return seconds * (self.inflight + 1)


class Paces:
    """Bounded by the number of deployments (`forget`)."""

    def __init__(self, fade: float) -> None:
        self._fade = fade
        self._paces: dict[tuple[str, Operation], Pace] = {}

    def of(self, deployment: str, operation: Operation) -> Pace:
        key = (deployment, operation)
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(self._fade)
        return pace

    def forget(self, known: frozenset[str]) -> None:
        """Drops what was measured of deployments that are no more."""
        for key in [key for key in self._paces if key[0] not in known]:
            del self._paces[key]


class Visit:
    """One attempt at a deployment that is measured: begins when it is made, ends once."""

    __slots__ = ("_began", "_ended", "_pace", "_stream")

    def __init__(self, pace: Pace, stream: bool, began: float) -> None:
        self._pace = pace
        self._stream = stream
        self._began = began
        self._ended = False
        pace.inflight += 1

    def answered(self, first_at: float) -> None:
        self._pace.average(self._stream).answered(first_at - self._began, first_at)

    def failed(self, error: BaseException, now: float) -> None:
        """A caller who leaves, or asks for what cannot be, says nothing about the deployment."""
        if isinstance(error, UpstreamFailure):
            self._pace.average(self._stream).failed(now - self._began, now)
        self.end()

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._pace.inflight -= 1


class CountedResponse:
    """An answer that ends its visit when it is left, whoever leaves it and how. Reading it costs nothing more."""

    def __init__(self, response: UpstreamResponse, visit: Visit) -> None:
        self.status = response.status
        self.headers = response.headers
        self.read = response.read
        self.chunk = response.chunk
        self._response = response
        self._visit = visit

    def close(self) -> None:
        self._visit.end()
        self._response.close()

    def finish(self) -> None:
        self._visit.end()
        self._response.finish()
