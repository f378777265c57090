"""What is measured: CPU per request, latency, memory; each a function from a running gateway to figures.

Above: run.py. Below: load, gateways, processes. Targets are those the hot path was built to (docs/benchmarks.md).
"""

import os
import statistics
import time
from dataclasses import dataclass, field, replace

from bench import bodies
from bench.gateways import Gateway
from bench.load import Closed, IdleStreams, Outcome, Rate, Target, closed_loop, open_loop
from bench.processes import Cores, MockProcess, on_cores, queued_seconds

MICRO = 1e6
MIB = 1_048_576
LONGEST = 180.0
"""Seconds after which one measurement is given up."""


@dataclass(frozen=True, slots=True)
class CpuScenario:
    """A closed loop of one kind of request; the figure is the gateway's CPU, µs per request or per `per` chunks.

    `own`: only Posthouse is asked, since the others are not set up for it.
    """

    key: str
    title: str
    ask: bodies.Ask
    connections: int
    target: float | None
    per: int = 1
    stagger: float = 0.0
    own: bool = False


CPU_SCENARIOS = (
    CpuScenario("chat", "chat, 1 KB, CPU per request", bodies.CHAT, 32, 150.0),
    CpuScenario("burst", "stream, 64 chunks at once, CPU per request", bodies.BURST, 32, 280.0),
    CpuScenario(
        "paced", "stream, a chunk every 5 ms, CPU per chunk", bodies.PACED, 32, 95.0, bodies.CHUNKS, bodies.PACE
    ),
    CpuScenario(
        "foreign", "the burst of 64 from Messages, as chat, CPU per request", bodies.FOREIGN, 32, None, own=True
    ),
    CpuScenario("large", "chat, 64 KB, CPU per request", bodies.LARGE, 32, 450.0),
    CpuScenario("embeddings", "embeddings, 11 KB answer, CPU per request", bodies.EMBEDDING, 32, None),
    CpuScenario("single", "chat, 1 KB, one at a time, CPU per request", bodies.CHAT, 1, None),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    slice_seconds: float
    """About how long one CPU measurement loads the gateway."""
    paced_streams: int
    sequential: int
    rate_seconds: float
    slope_requests: int
    idle_streams: int
    cold_starts: int


FULL = Effort(7, 1.5, 128, 1_000, 4.0, 200_000, 2_000, 5)
QUICK = Effort(3, 0.5, 64, 300, 1.5, 20_000, 2_000, 3)


def with_rounds(effort: Effort, rounds: int) -> Effort:
    """The same with another number of rounds."""
    return replace(effort, rounds=rounds)


@dataclass(frozen=True, slots=True)
class Sample:
    """One CPU measurement. Microseconds per unit; `waited`: share of the time a thread of the gateway sought a core."""

    gateway: float
    mock: float
    generator: float
    per_second: float
    busy: float
    waited: float


def plan_of(scenario: CpuScenario, count: int) -> Closed:
    """`count` requests of `scenario`, given up after a bounded time."""
    return Closed(scenario.connections, count, LONGEST, scenario.stagger)


def warm_up(gateway: Gateway, scenario: CpuScenario, effort: Effort) -> int:
    """Ask until caches and pools are warm; returns how many requests fill the slice of time."""
    target = gateway.target(scenario.ask)
    if scenario.per > 1:
        plan = plan_of(scenario, scenario.connections)
        gateway.answered += closed_loop(target, plan).answers
        return effort.paced_streams
    first = closed_loop(target, plan_of(scenario, 2 * scenario.connections))
    count = max(2 * scenario.connections, int(first.answers / first.seconds * effort.slice_seconds / 2))
    second = closed_loop(target, plan_of(scenario, count))
    gateway.answered += first.answers + second.answers
    return max(2 * scenario.connections, int(second.answers / second.seconds * effort.slice_seconds))


def measure_cpu(gateway: Gateway, mock: MockProcess, scenario: CpuScenario, count: int) -> Sample:
    """One round: everything the gateway spends from the first request until it is quiet again is counted."""
    target = gateway.target(scenario.ask)
    running = gateway.running
    running.settle()
    cpu, mock_cpu, waited = running.cpu(), mock.cpu(), running.waited()
    outcome = closed_loop(target, plan_of(scenario, count))
    busy = (running.cpu() - cpu) / outcome.seconds
    waited = (running.waited() - waited) / outcome.seconds
    running.settle()
    gateway.answered += outcome.answers
    units = outcome.answers * scenario.per
    return Sample(
        gateway=(running.cpu() - cpu) / units * MICRO,
        mock=(mock.cpu() - mock_cpu) / units * MICRO,
        generator=outcome.own_cpu / units * MICRO,
        per_second=outcome.answers / outcome.seconds,
        busy=busy,
        waited=waited,
    )


@dataclass(slots=True)
class Latency:
    """Milliseconds, one figure per round: through the gateway, and the same straight to the mock upstream."""

    p50: list[float] = field(default_factory=list)
    p50_direct: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    p99_direct: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """p99 of the generator's own lateness at the fixed rate."""
    waited: list[float] = field(default_factory=list)
    own_waited: list[float] = field(default_factory=list)
    """Milliseconds of each second in which gateway and generator could have run but other work held the core."""


RATE = 500.0


def measure_latency(gateway: Gateway, direct: Target, effort: Effort, into: Latency) -> None:
    """One round of sequential requests and of 500 requests/s, direct and through in turn."""
    target = gateway.target(bodies.CHAT)
    one_by_one = Closed(1, effort.sequential, LONGEST)
    rate = Rate(RATE, int(RATE * effort.rate_seconds), 64, LONGEST)
    into.p50_direct.append(closed_loop(direct, one_by_one).quantile(0.5) * 1e3)
    through = closed_loop(target, one_by_one)
    into.p50.append(through.quantile(0.5) * 1e3)
    into.p99_direct.append(open_loop(direct, rate).quantile(0.99) * 1e3)
    waited, own_waited = gateway.running.waited(), queued_seconds(os.getpid())
    at_rate = open_loop(target, rate)
    into.waited.append((gateway.running.waited() - waited) / at_rate.seconds * 1e3)
    into.own_waited.append((queued_seconds(os.getpid()) - own_waited) / at_rate.seconds * 1e3)
    into.p99.append(at_rate.quantile(0.99) * 1e3)
    into.late.append(Outcome(latencies=at_rate.lateness).quantile(0.99) * 1e3)
    gateway.answered += through.answers + at_rate.answers


@dataclass(frozen=True, slots=True)
class StreamsOpen:
    """Resident MiB while streams stand open, and after they ended; how many ended whole."""

    streams: int
    open_mib: float
    after_mib: float
    ended: int


def measure_idle_streams(gateway: Gateway, mock: MockProcess, count: int) -> StreamsOpen:
    """Open `count` streams that stop after their first words, look at the memory, let them end."""
    streams = IdleStreams(gateway.target(bodies.IDLE))
    try:
        streams.open(count, LONGEST)
        gateway.running.settle()
        opened = gateway.running.memory()
        mock.release()
        ended = streams.drain(LONGEST)
    finally:
        streams.close()
    gateway.answered += ended
    gateway.running.settle()
    return StreamsOpen(count, opened / MIB, gateway.running.memory() / MIB, ended)


@dataclass(frozen=True, slots=True)
class Slope:
    """Memory over many requests: MiB at the start and the end, and bytes per request over the last three quarters."""

    requests: int
    first_mib: float
    last_mib: float
    bytes_per_request: float


def measure_slope(gateway: Gateway, requests: int) -> Slope:
    """Resident memory after each twentieth of `requests`; a straight line through all but the first quarter."""
    target = gateway.target(bodies.CHAT)
    step = requests // 20
    samples = [(0.0, float(gateway.running.memory()))]
    for part in range(1, 21):
        outcome = closed_loop(target, Closed(32, step, LONGEST))
        gateway.answered += outcome.answers
        gateway.running.settle(3.0)
        samples.append((float(part * step), float(gateway.running.memory())))
    xs, ys = zip(*samples[5:], strict=True)
    line = statistics.linear_regression(xs, ys)
    return Slope(requests, samples[0][1] / MIB, samples[-1][1] / MIB, line.slope)


def calibrate(cores: Cores) -> float:
    """CPU milliseconds of one fixed piece of Python on the gateway's core: how fast, and how disturbed, it is now."""
    with on_cores(cores.gateway):
        began = time.process_time()
        total = 0
        for number in range(400_000):
            total += number
        return (time.process_time() - began) * 1e3
