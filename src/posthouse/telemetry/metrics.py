"""Metrics: cheap where requests pass, rendered where somebody looks.

On the path a figure is an attribute of a plain object, found by one dict lookup; `prometheus_client` sees it only when
`/metrics` is scraped. (Its own counters and histograms cost 1 to 3 us an update, and a request makes about ten.)
Nothing is labelled by key or caller, and the number of series is bounded.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from posthouse.core.money import NANO
from posthouse.core.requests import TEXTS
from posthouse.core.usage import Usage
from posthouse.telemetry.log import RequestLog
from posthouse.telemetry.model import Finished

DURATIONS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0)
OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
RATES: Final = (1.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 1000.0)
_MAX_SERIES: Final = 5_000
_MAX_ENDS: Final = 100

AbortedBy = Literal["client", "upstream", "deadline", "drain"]


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

    __slots__ = ("amounts", "cost", "count", "duration", "ends", "first_token", "overhead", "rate")

    def __init__(self, operation: str) -> None:
        self.ends: dict[tuple[int, str], int] = {}  # (status, error) -> requests
        self.duration = Histogram(DURATIONS)
        self.first_token = Histogram(FIRST_TOKEN)
        self.overhead = Histogram(OVERHEAD)
        self.rate = Histogram(RATES)
        self.amounts = [0] * (len(_CLASSES) + len(_UNITS))
        # Which of them a request can have is known by its operation: one of texts does not even look for units.
        self.count = _count_tokens if operation in _WITHOUT_UNITS else _count_all
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
# What is counted beside tokens: name, help, and how many of what is counted make one of it.
_UNITS: Final = (
    ("images", "Images made.", 1),
    ("audio_seconds", "Seconds of sound, heard or spoken.", 1000),
    ("characters", "Characters of text to be spoken.", 1),
    ("searches", "Searches of reranking.", 1),
)
_WITHOUT_UNITS: Final = frozenset([*TEXTS, "embeddings"])


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
        record = done.record
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
        duration, first = done.duration, done.first_token
        series.duration.observe(duration)
        if first is not None:
            series.first_token.observe(first)
            if record.stream and duration > first:
                series.rate.observe(done.usage.total_output / (duration - first))
            if done.overhead is not None:
                series.overhead.observe(done.overhead)
        series.count(series.amounts, done.usage)
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
        series = self._series[key] = _Series(key[0])
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
            for (direction, name), count in zip(_CLASSES, series.amounts, strict=False):
                if count:
                    place = (direction, name, model, provider)
                    sums[place] = sums.get(place, 0) + count
            for currency, nano in series.cost.items():
                at = (currency, model, provider)
                costs[at] = costs.get(at, 0) + nano
        for place, count in sums.items():
            tokens.add_metric(list(place), count)
        yield tokens
        yield from self._unit_families()
        families: dict[str, CounterMetricFamily] = {}
        for (currency, model, provider), nano in costs.items():
            name = f"posthouse_cost_{currency.lower()}"
            billed = families.setdefault(
                name, CounterMetricFamily(name, f"Billed, in {currency}.", labels=["model", "provider"])
            )
            billed.add_metric([model, provider], nano / NANO)
        yield from families.values()

    def _unit_families(self) -> Iterator[Metric]:
        for number, (name, help_text, size) in enumerate(_UNITS, len(_CLASSES)):
            family = CounterMetricFamily(f"posthouse_{name}", help_text, labels=["model", "provider"])
            sums: dict[tuple[str, str], int] = {}
            for (_, model, provider), series in self._series.items():
                if count := series.amounts[number]:
                    sums[model, provider] = sums.get((model, provider), 0) + count
            for place, count in sums.items():
                family.add_metric(list(place), count / size)
            yield family


def _count_tokens(amounts: list[int], usage: Usage) -> None:
    amounts[0] += usage.input
    amounts[5] += usage.output
    cached = usage.total_cache_read
    if cached or usage.reasoning or usage.cache_write or usage.cache_write_1h:
        amounts[1] += cached
        amounts[2] += usage.cache_write + usage.cache_write_1h
        amounts[6] += usage.reasoning
    if usage.audio_input or usage.audio_output or usage.image_input or usage.image_output:
        amounts[3] += usage.audio_input
        amounts[4] += usage.image_input
        amounts[7] += usage.audio_output
        amounts[8] += usage.image_output


def _count_all(amounts: list[int], usage: Usage) -> None:
    _count_tokens(amounts, usage)
    amounts[9] += usage.images
    amounts[10] += usage.audio_ms
    amounts[11] += usage.characters
    amounts[12] += usage.searches
