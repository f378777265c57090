"""Metrics and the log of requests: cheap where requests pass, rendered where somebody looks.

Above: every room that counts something. Below: core. On the path a figure is an attribute of a plain object, found by one
dict lookup; `prometheus_client` sees it only when `/metrics` is scraped. (Its own counters and histograms cost 1 to 3 us
an update, and a request makes about ten.) The log keeps the records of requests and encodes them in a thread.

Nothing is labelled by key or caller, and the number of series is bounded. Neither content nor secrets come here.
"""

import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TextIO

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from posthouse.core.money import NANO, format_nano
from posthouse.core.usage import Usage, UsageSource

DURATIONS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0)
OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
RATES: Final = (1.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 1000.0)
_MAX_SERIES: Final = 5_000
_MAX_ENDS: Final = 100
_MAX_LOG_LINES: Final = 50_000
_FLUSH_SECONDS: Final = 0.25

AbortedBy = Literal["client", "upstream", "deadline", "drain"]


class Figures(Protocol):
    """The record of a finished request, as far as it is counted and logged (storage.rows.RequestRow)."""

    @property
    def id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def account_id(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def deployment(self) -> str | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def status(self) -> int: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def cost(self) -> int | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def ended_by(self) -> str: ...
    @property
    def usage_source(self) -> UsageSource | None: ...


class Timing(Struct, frozen=True, gc=False):
    """Seconds. `overhead` is what the house itself added: everything but the wait for the provider; None, as
    `first_token`, where there was no answer. `at` is when it was over, since the epoch."""

    at: float
    duration: float
    first_token: float | None
    overhead: float | None


class Finished(Struct, frozen=True, gc=False):
    """A request that is over."""

    record: Figures
    usage: Usage
    timing: Timing
    key_name: str


class Histogram:
    """Counts per bucket, not cumulative; the last is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        running = 0
        out: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            out.append(("+Inf" if bound == float("inf") else repr(bound), running))
        return out


class _Series:
    """All figures of one (route, model, provider)."""

    __slots__ = ("classes", "cost", "duration", "ends", "first_token", "overhead", "rate")

    def __init__(self) -> None:
        self.ends: dict[tuple[int, str], int] = {}  # (status, error) -> requests
        self.duration = Histogram(DURATIONS)
        self.first_token = Histogram(FIRST_TOKEN)
        self.overhead = Histogram(OVERHEAD)
        self.rate = Histogram(RATES)
        self.classes = [0] * len(_CLASSES)
        self.cost: dict[str, int] = {}


_CLASSES: Final = (
    ("input", "fresh"),
    ("input", "cache_read"),
    ("input", "cache_write"),
    ("input", "audio"),
    ("input", "image"),
    ("output", "text"),
    ("output", "reasoning"),
    ("output", "audio"),
    ("output", "image"),
)


class Telemetry(Collector):
    """One per process. `gauges` are asked at each scrape: name -> (help, value)."""

    def __init__(self) -> None:
        self.inflight = 0
        self.log: RequestLog | None = None
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._rejections: dict[tuple[str, str], int] = {}
        self._refusals: dict[tuple[str, int, str], int] = {}
        self._aborts: dict[str, int] = {}
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []
        self._circuits: Callable[[], Iterable[tuple[str, str, float]]] = tuple
        self.registry = CollectorRegistry()
        self.registry.register(self)

    # On the path

    def request_done(self, done: Finished) -> None:
        record, timing = done.record, done.timing
        place = (record.operation, record.model or "", record.provider or "")
        series = self._series.get(place)
        if series is None:
            series = self._new_series(place)
        end = (record.status, record.error_code or "")
        ends = series.ends
        if end in ends:
            ends[end] += 1
        elif len(ends) < _MAX_ENDS:
            ends[end] = 1
        duration, first = timing.duration, timing.first_token
        series.duration.observe(duration)
        if first is not None:
            series.first_token.observe(first)
            if record.stream and duration > first:
                series.rate.observe(done.usage.total_output / (duration - first))
            if timing.overhead is not None:
                series.overhead.observe(timing.overhead)
        _count_tokens(series.classes, done.usage)
        if record.cost and record.currency is not None:
            series.cost[record.currency] = series.cost.get(record.currency, 0) + record.cost
        if self.log is not None:
            self.log.add(done)

    def attempt(self, provider: str, outcome: str) -> None:
        key = (provider, outcome)
        self._attempts[key] = self._attempts.get(key, 0) + 1

    def rejected(self, scope: str, dimension: str) -> None:
        key = (scope, dimension)
        self._rejections[key] = self._rejections.get(key, 0) + 1

    def refused(self, route: str, status: int, code: str) -> None:
        """A request that never came to the gateway, or was refused there before an attempt."""
        key = (route, status, code)
        if key in self._refusals or len(self._refusals) < _MAX_SERIES:
            self._refusals[key] = self._refusals.get(key, 0) + 1

    def aborted(self, by: AbortedBy) -> None:
        self._aborts[by] = self._aborts.get(by, 0) + 1

    # Beside it

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        self._gauges.append((name, help_text, value))

    def circuits(self, report: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        """`report` gives (deployment, operation, 1 while it cools) at each scrape."""
        self._circuits = report

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        return []  # the registry then does not collect at registration

    def collect(self) -> Iterator[Metric]:
        yield from self._request_families()
        yield from self._series_families()
        attempts = CounterMetricFamily(
            "posthouse_upstream_attempts", "Attempts at providers.", labels=["provider", "outcome"]
        )
        for (provider, outcome), count in self._attempts.items():
            attempts.add_metric([provider, outcome], count)
        yield attempts
        rejections = CounterMetricFamily(
            "posthouse_ratelimit_rejections", "Requests refused by a limit of ours.", labels=["scope", "dim"]
        )
        for (scope, dimension), count in self._rejections.items():
            rejections.add_metric([scope, dimension], count)
        yield rejections
        aborts = CounterMetricFamily("posthouse_stream_aborts", "Streams that did not end well.", labels=["by"])
        for by, count in self._aborts.items():
            aborts.add_metric([by], count)
        yield aborts
        yield GaugeMetricFamily("posthouse_inflight_requests", "Requests under way.", value=self.inflight)
        circuit = GaugeMetricFamily(
            "posthouse_circuit_state", "1 while a deployment cools.", labels=["deployment", "operation"]
        )
        for deployment, operation, state in self._circuits():
            circuit.add_metric([deployment, operation], state)
        yield circuit
        for name, help_text, value in self._gauges:
            yield GaugeMetricFamily(f"posthouse_{name}", help_text, value=value())

    # Inside

    def _new_series(self, key: tuple[str, str, str]) -> _Series:
        if len(self._series) >= _MAX_SERIES:
            key = ("other", "other", "other")
            if key in self._series:
                return self._series[key]
        series = self._series[key] = _Series()
        return series

    def _request_families(self) -> Iterator[Metric]:
        labels = ["route", "model", "provider", "status_class", "error_type"]
        requests = CounterMetricFamily("posthouse_requests", "Requests answered.", labels=labels)
        sums: dict[tuple[str, str, str, str, str], int] = {}
        for place, series in self._series.items():
            for (status, error), count in series.ends.items():
                key = (*place, f"{status // 100}xx", error)
                sums[key] = sums.get(key, 0) + count
        for key, count in sums.items():
            requests.add_metric(list(key), count)
        for (route, status, code), count in self._refusals.items():
            requests.add_metric([route, "", "", f"{status // 100}xx", code], count)
        yield requests

    def _series_families(self) -> Iterator[Metric]:
        labels = ["route", "model", "provider"]
        histograms = (
            ("request_duration_seconds", "From accepting a request to the end of its answer.", "duration"),
            ("time_to_first_token_seconds", "From accepting a request to the first content.", "first_token"),
            ("output_tokens_per_second", "Output tokens by the time after the first one, of streams.", "rate"),
            ("overhead_seconds", "What the house itself added to the time of an answer.", "overhead"),
        )
        for name, help_text, attribute in histograms:
            family = HistogramMetricFamily(f"posthouse_{name}", help_text, labels=labels)
            for key, series in self._series.items():
                histogram: Histogram = getattr(series, attribute)
                family.add_metric(list(key), histogram.cumulative(), sum_value=histogram.total)
            yield family
        tokens = CounterMetricFamily(
            "posthouse_tokens", "Tokens by disjoint class.", labels=["direction", "class", "model", "provider"]
        )
        sums: dict[tuple[str, str, str, str], int] = {}
        costs: dict[tuple[str, str, str], int] = {}
        for (_, model, provider), series in self._series.items():
            for (direction, name), count in zip(_CLASSES, series.classes, strict=True):
                if count:
                    place = (direction, name, model, provider)
                    sums[place] = sums.get(place, 0) + count
            for currency, nano in series.cost.items():
                at = (currency, model, provider)
                costs[at] = costs.get(at, 0) + nano
        for place, count in sums.items():
            tokens.add_metric(list(place), count)
        yield tokens
        families: dict[str, CounterMetricFamily] = {}
        for (currency, model, provider), nano in costs.items():
            name = f"posthouse_cost_{currency.lower()}"
            billed = families.setdefault(
                name, CounterMetricFamily(name, f"Billed, in {currency}.", labels=["model", "provider"])
            )
            billed.add_metric([model, provider], nano / NANO)
        yield from families.values()


def _count_tokens(classes: list[int], usage: Usage) -> None:
    classes[0] += usage.input
    classes[5] += usage.output
    if usage.cache_read or usage.reasoning or usage.cache_write or usage.cache_write_1h:
        classes[1] += usage.cache_read
        classes[2] += usage.cache_write + usage.cache_write_1h
        classes[6] += usage.reasoning
    if usage.audio_input or usage.audio_output or usage.image_input or usage.image_output:
        classes[3] += usage.audio_input
        classes[4] += usage.image_input
        classes[7] += usage.audio_output
        classes[8] += usage.image_output


class RequestLog:
    """One line a request, as JSON or as text, written by a thread. Lines that it cannot write in time are counted."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool = True) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._as_json = as_json
        self._waiting: list[Finished] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def add(self, done: Finished) -> None:
        if len(self._waiting) < _MAX_LOG_LINES:
            self._waiting.append(done)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Writes what is left."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.flush()

    def flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        show = json_line if self._as_json else text_line
        try:
            self._stream.write("".join([show(done) for done in lines]))
            self._stream.flush()
        except (OSError, ValueError):  # the reader of our log is gone: no reason to stop serving
            self.dropped += len(lines)

    def _run(self) -> None:
        while not self._stop.wait(_FLUSH_SECONDS):
            self.flush()


class _Line(Struct, omit_defaults=True):
    ts: str
    event: str
    id: str
    key: str
    account: str
    route: str
    model: str
    deployment: str
    stream: bool
    status: int
    attempts: int
    input_tokens: int
    output_tokens: int
    usage_source: str | None
    cost: str | None
    currency: str | None
    ms: float
    first_token_ms: float | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    error: str = ""
    ended_by: str = "complete"


_encode: Final = msgspec.json.Encoder().encode


def json_line(done: Finished) -> str:
    record, usage, timing = done.record, done.usage, done.timing
    first = timing.first_token
    line = _Line(
        ts=_iso(timing.at),
        event="request",
        id=record.id,
        key=record.key_id,
        account=record.account_id,
        route=record.operation,
        model=record.model or "",
        deployment=record.deployment or "",
        stream=record.stream,
        status=record.status,
        attempts=record.attempts,
        input_tokens=usage.total_input,
        output_tokens=usage.total_output,
        usage_source=record.usage_source,
        cost=None if record.cost is None else format_nano(record.cost),
        currency=record.currency,
        ms=round(timing.duration * 1000, 2),
        first_token_ms=None if first is None else round(first * 1000, 2),
        cached_tokens=usage.cache_read,
        reasoning_tokens=usage.reasoning,
        error=record.error_code or "",
        ended_by=record.ended_by,
    )
    return _encode(line).decode() + "\n"


def text_line(done: Finished) -> str:
    record, usage = done.record, done.usage
    cost = "unpriced" if record.cost is None else f"{format_nano(record.cost)} {record.currency}"
    tail = f" {record.error_code}" if record.error_code else ""
    return (
        f"{_iso(done.timing.at)} {record.status} {record.operation} {record.deployment or record.model or '-'} "
        f"{usage.total_input}+{usage.total_output} tokens {cost} {done.timing.duration * 1000:.0f} ms "
        f"key={done.key_name} {record.id}{tail}\n"
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
