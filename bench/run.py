"""`make bench`: run everything, print one table.

Environment: BENCH_QUICK=1 (some 40 s), BENCH_PEERS=1 (LiteLLM's proxy and nginx beside it), BENCH_WRITE=1 (the table
goes into docs/benchmarks.md), BENCH_STRICT=1 (exit status 1 when a target is missed).
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, profiling, report, scenarios
from bench.gateways import Gateway, Posthouse, Shared, World, direct, start_command
from bench.peers import start_litellm, start_nginx
from bench.processes import MockProcess, choose_cores
from bench.reactor import BenchError
from bench.report import Report, Row, Table
from bench.scenarios import CPU_SCENARIOS, CpuScenario, Effort, Latency, Sample
from bench.shared import shared_rows

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv-bench"
"""What the peers need is kept here for the next run (`.venv*` is ignored by git and removed by `make clean`)."""
RATIO_TARGET = 60.0
TRANSLATION_TARGET = 3.0
AFTER_START = 3.0
"""Seconds: gateways put off part of their start, Posthouse its control plane; none of it belongs to a request."""
MIB = 1_048_576


@dataclass(slots=True)
class Findings:
    """What was measured of one gateway."""

    gateway: Gateway
    cpu: dict[str, list[Sample]] = field(default_factory=dict)
    latency: Latency = field(default_factory=Latency)
    idle_mib: float = 0.0
    streams: scenarios.StreamsOpen | None = None
    slope: scenarios.Slope | None = None

    def median(self, key: str) -> float:
        """The gateway's CPU in µs per unit, median of the rounds; 0.0 when not measured."""
        samples = self.cpu.get(key, [])
        return statistics.median(sample.gateway for sample in samples) if samples else 0.0


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    world: World
    mock: MockProcess
    effort: Effort
    chosen: tuple[CpuScenario, ...]
    calibration: list[float] = field(default_factory=list)

    def rounds(self, findings: list[Findings]) -> None:
        """CPU: every scenario, gateways in turn within each round, so that a disturbance hits all of them alike."""
        counts: dict[tuple[str, str], int] = {}
        for number in range(1, self.effort.rounds + 1):
            say(f"round {number} of {self.effort.rounds}")
            self.calibration.append(scenarios.calibrate(self.world.cores))
            for scenario in self.chosen:
                for found in findings[:1] if scenario.own else findings:
                    which = (found.gateway.name, scenario.key)
                    if which not in counts:
                        counts[which] = scenarios.warm_up(found.gateway, scenario, self.effort)
                    sample = scenarios.measure_cpu(found.gateway, self.mock, scenario, counts[which])
                    found.cpu.setdefault(scenario.key, []).append(sample)

    def latencies(self, findings: list[Findings]) -> None:
        """Latency: direct and through, gateways in turn."""
        straight = direct(self.world.upstream)
        for number in range(1, self.effort.rounds + 1):
            say(f"latency, round {number} of {self.effort.rounds}")
            for found in findings:
                scenarios.measure_latency(found.gateway, straight, self.effort, found.latency)

    def memory(self, found: Findings) -> None:
        """Memory with many open streams, and over many requests."""
        say(f"{self.effort.idle_streams} open streams")
        found.streams = scenarios.measure_idle_streams(found.gateway, self.mock, self.effort.idle_streams)
        say(f"memory over {self.effort.slope_requests} requests")
        found.slope = scenarios.measure_slope(found.gateway, self.effort.slope_requests)


def say(text: str) -> None:
    """Progress, beside the table's own output."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def spread(values: list[float], digits: int) -> str:
    """The lowest and the highest round."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}" if values else ""


def cpu_rows(found: Findings, chosen: tuple[CpuScenario, ...]) -> list[Row]:
    """One row for each CPU scenario."""
    rows = []
    for scenario in chosen:
        values = [sample.gateway for sample in found.cpu.get(scenario.key, [])]
        if not values:
            continue
        middle = statistics.median(values)
        limit = scenario.target
        target = "" if limit is None else f"<= {limit:.0f} µs"
        ok = None if limit is None else middle <= limit
        rows.append(Row(scenario.title, target, f"{middle:.0f} µs", spread(values, 0), ok))
    return rows


def latency_rows(found: Findings) -> list[Row]:
    """Added latency one at a time, and the whole latency at a fixed rate."""
    seen = found.latency
    if not seen.p50:
        return []
    added = [through - straight for through, straight in zip(seen.p50, seen.p50_direct, strict=True)]
    p50, p99 = statistics.median(added), statistics.median(seen.p99)
    straight = f"{statistics.median(seen.p99_direct):.1f} ms"
    title = f"latency at {scenarios.RATE:.0f} requests/s, p99, whole (direct: {straight})"
    return [
        Row("latency added, one at a time, p50", "<= 0.3 ms", f"{p50:.2f} ms", spread(added, 2), p50 <= 0.3),
        Row(title, "<= 5 ms", f"{p99:.1f} ms", spread(seen.p99, 1), p99 <= 5.0),
    ]


def memory_rows(found: Findings) -> list[Row]:
    """Resident memory, and the cold start."""
    idle = found.idle_mib
    rows = [Row("memory, idle after the start", "<= 90 MB", f"{idle:.0f} MB", ok=idle <= 90)]
    streams, slope = found.streams, found.slope
    if streams:
        title = f"memory with {streams.streams:,} open streams"
        fine = streams.open_mib <= 160 and streams.ended == streams.streams
        rows.append(Row(title, "<= 160 MB", f"{streams.open_mib:.0f} MB", f"after: {streams.after_mib:.0f}", fine))
    if slope:
        title = f"memory over {slope.requests:,} requests, bytes per request"
        ends = f"{slope.first_mib:.1f} to {slope.last_mib:.1f} MB"
        # One forgotten object is 16 bytes at least; less than half of that is the allocator's noise.
        rows.append(Row(title, "0", f"{slope.bytes_per_request:.1f}", ends, slope.bytes_per_request < 8))
    starts = found.gateway.cold_starts
    cold = statistics.median(starts)
    rows.append(Row("cold start to first answer", "<= 1.0 s", f"{cold:.2f} s", spread(starts, 2), cold <= 1.0))
    return rows


def peer_table(all_found: list[Findings], chosen: tuple[CpuScenario, ...]) -> Table:
    """CPU per request of every gateway, and how many times the first one's."""
    own = all_found[0]
    header = ["CPU, µs", *(f"{found.gateway.name} {found.gateway.version}".strip() for found in all_found)]
    lines = [header]
    for scenario in chosen:
        if scenario.own:
            continue
        cells = [scenario.title.removesuffix(" per request")]
        for found in all_found:
            value, base = found.median(scenario.key), own.median(scenario.key)
            cells.append(f"{value:,.0f}" if found is own or not base else f"{value:,.0f} ({value / base:.1f}x)")
        lines.append(cells)
    if own.latency.p50:
        cells = ["added latency p50, ms"]
        for found in all_found:
            pairs = zip(found.latency.p50, found.latency.p50_direct, strict=True)
            cells.append(f"{statistics.median(a - b for a, b in pairs):.2f}" if found.latency.p50 else "")
        lines.append(cells)
    lines.append(["memory idle, MB", *(f"{found.idle_mib:.0f}" for found in all_found)])
    lines.append(["start to first answer, s", *(f"{min(found.gateway.cold_starts):.1f}" for found in all_found)])
    return Table("Beside others, in the same run, the gateways in turn within each round", lines)


def translation_rows(found: Findings) -> list[Row]:
    """A translated stream against one that passes; round by round, since rounds are comparable."""
    pairs = list(zip(found.cpu.get("foreign", []), found.cpu.get("burst", []), strict=False))
    if not pairs:
        return []
    ratios = [translated.gateway / passed.gateway for translated, passed in pairs]
    middle = statistics.median(ratios)
    title = "stream of 64 chunks: translated, times the CPU of one that passes"
    target = f"<= {TRANSLATION_TARGET:.0f}"
    return [Row(title, target, f"{middle:.1f}", spread(ratios, 1), middle <= TRANSLATION_TARGET)]


def ratio_rows(all_found: list[Findings]) -> list[Row]:
    """Against LiteLLM, where it was measured; round by round, since rounds are comparable."""
    own = all_found[0]
    for found in all_found[1:]:
        if found.gateway.name == "litellm" and own.cpu.get("chat"):
            pairs = zip(found.cpu["chat"], own.cpu["chat"], strict=True)
            ratios = [theirs.gateway / ours.gateway for theirs, ours in pairs]
            middle = statistics.median(ratios)
            title = "chat, 1 KB: LiteLLM's proxy needs this many times the CPU"
            return [Row(title, f">= {RATIO_TARGET:.0f}", f"{middle:.0f}", spread(ratios, 0), middle >= RATIO_TARGET)]
    return []


def cost_table(found: Findings, chosen: tuple[CpuScenario, ...]) -> Table:
    """How each CPU figure came about, and what the harness itself cost: it must not be the bottleneck."""
    header = ["scenario", "connections", "requests/s", "gateway busy", "waiting", "mock, µs", "generator, µs"]
    lines = [header]
    for scenario in chosen:
        samples = found.cpu.get(scenario.key, [])
        if samples:
            lines.append(
                [
                    scenario.title,
                    str(scenario.connections),
                    f"{statistics.median(sample.per_second for sample in samples):,.0f}",
                    f"{statistics.median(sample.busy for sample in samples):.0%}",
                    f"{statistics.median(sample.waited for sample in samples):.0%}",
                    f"{statistics.median(sample.mock for sample in samples):.0f}",
                    f"{statistics.median(sample.generator for sample in samples):.0f}",
                ]
            )
    title = f"The load on {found.gateway.name}, and the harness's own CPU (beside the gateway's, on another core)"
    return Table(title, lines)


def notes_of(bench: Bench, found: Findings, load: str) -> list[str]:
    """What a reader must know to judge the figures."""
    notes = [
        f"{bench.effort.rounds} rounds, medians; spread: the lowest and the highest round",
        f"load average before the run {load}; a fixed piece of Python took {spread(bench.calibration, 1)} ms of CPU",
    ]
    seen = found.latency
    if seen.late:
        late, waited = statistics.median(seen.late), statistics.median(seen.waited)
        notes.append(
            f"at the fixed rate the generator itself sent late by {late:.2f} ms (p99, in the latency); a thread "
            f"of the gateway waited {waited:.0f} ms a second for its core (held by another of its threads or by other "
            f"work), the generator {statistics.median(seen.own_waited):.0f} ms; the latter is near 0 on a quiet machine"
        )
    if bench.world.cores.shared:
        notes.append("one core only: gateway and harness shared it")
    return notes


def start_peers(bench: Bench, options: argparse.Namespace) -> list[Gateway]:
    """Everything else to measure; what cannot be had is left out, saying so."""
    gateways = []
    for given in options.gateway:
        name, _, line = given.partition("=")
        gateways.append(start_command(name, line, bench.world))
    if options.peers:
        for name, begin in (("litellm", start_litellm), ("nginx", start_nginx)):
            if name in options.skip:
                continue
            try:
                say(f"starting {name}")
                gateways.append(begin(bench.world, TOOLS))
            except BenchError as error:
                say(f"{name} is left out: {error}")
    return gateways


def start_houses(
    bench: Bench, options: argparse.Namespace, started: list[Gateway], leave: ExitStack
) -> list[Posthouse]:
    """Posthouse as it comes, and where asked for with PostgreSQL and Redis; what they leave behind goes to `leave`."""
    if options.without_posthouse:
        return []
    say("starting posthouse")
    houses = [Posthouse(bench.world)]
    started.append(houses[0].start(bench.effort.cold_starts))
    if options.shared:
        say("starting posthouse with PostgreSQL and Redis")
        shared = Shared(bench.world)
        leave.callback(shared.drop)
        houses.append(shared)
        started.append(shared.start(1))
    return houses


def measure(bench: Bench, options: argparse.Namespace, started: list[Gateway], leave: ExitStack) -> int:
    """Start everything, measure, print; `started` gets every gateway as it runs, so that the caller can end them."""
    load = f"{os.getloadavg()[0]:.2f}"
    houses = start_houses(bench, options, started, leave)
    posthouse = houses[0] if houses else None
    started.extend(start_peers(bench, options))
    if not started:
        raise BenchError("nothing to measure")
    all_found = [Findings(gateway) for gateway in started]
    time.sleep(AFTER_START)
    for found in all_found:
        found.gateway.running.settle()
        found.idle_mib = found.gateway.running.memory() / MIB
    own = all_found[0]
    with profiling.watching(options.profile, own.gateway, bench.world.root):
        bench.rounds(all_found)
    if not options.only:
        bench.latencies(all_found)
        bench.memory(own)
    audits = [(house.name, house.audit(gateway)) for house, gateway in zip(houses, started, strict=False)]
    problems = [f"{name}: {problem}" for name, found_wrong in audits for problem in found_wrong]
    rows = [
        *cpu_rows(own, bench.chosen),
        *translation_rows(own),
        *shared_rows(own, all_found[1:]),
        *ratio_rows(all_found),
    ]
    if not options.only:
        rows += [*latency_rows(own), *memory_rows(own)]
    if posthouse:
        rows.append(
            Row("every answer billed, ledger sums to zero", "yes", "no" if problems else "yes", ok=not problems)
        )
    tables = [peer_table(all_found, bench.chosen)] if len(all_found) > 1 else []
    tables.append(cost_table(own, bench.chosen))
    result = Report(machine.describe(), rows, tables, notes_of(bench, own, load))
    print(report.to_text(result))
    for problem in problems:
        say(problem)
    if options.write:
        report.write_into(ROOT / "docs" / "benchmarks.md", report.to_markdown(result))
    if posthouse and options.profile == "cprofile":
        own.gateway.stop()
        print(profiling.top(posthouse.profile))
    missed = any(row.ok is False for row in rows)
    return 1 if missed and options.strict else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; the environment sets the defaults."""
    on = {name: bool(os.environ.get(f"BENCH_{name}")) for name in ("QUICK", "PEERS", "SHARED", "WRITE", "STRICT")}
    parser = argparse.ArgumentParser(prog="bench", description="The benchmark of the hot path.")
    parser.add_argument("--quick", action="store_true", default=on["QUICK"], help="a short run")
    parser.add_argument("--peers", action="store_true", default=on["PEERS"], help="LiteLLM's proxy and nginx beside it")
    parser.add_argument(
        "--shared", action="store_true", default=on["SHARED"], help="Posthouse with PostgreSQL and Redis beside it"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="PEER", help="leave this peer out")
    parser.add_argument(
        "--write", action="store_true", default=on["WRITE"], help="put the table into the documentation"
    )
    parser.add_argument("--strict", action="store_true", default=on["STRICT"], help="fail when a target is missed")
    parser.add_argument("--profile", choices=("cprofile", "py-spy"), default="", help="profile Posthouse meanwhile")
    keys = [scenario.key for scenario in CPU_SCENARIOS]
    parser.add_argument("--only", action="append", default=[], choices=keys, help="only this CPU scenario (repeatable)")
    parser.add_argument("--rounds", type=int, default=0, help="another number of rounds")
    parser.add_argument("--without-posthouse", action="store_true", help="measure only the others")
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another gateway: {port}, {upstream} in it",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run; the exit status."""
    options = parse(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    effort = scenarios.QUICK if options.quick else scenarios.FULL
    if options.rounds:
        effort = scenarios.with_rounds(effort, options.rounds)
    chosen = tuple(scenario for scenario in CPU_SCENARIOS if not options.only or scenario.key in options.only)
    cores = choose_cores()
    os.sched_setaffinity(0, cores.harness)
    started: list[Gateway] = []
    leave = ExitStack()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mock = MockProcess(sys.executable, ROOT, cores.harness)
        try:
            world = World(ROOT, Path(folder), cores, mock.port, options.profile)
            return measure(Bench(world, mock, effort, chosen), options, started, leave)
        except BenchError as error:
            say(f"stopped: {error}")
            return 1
        finally:
            for gateway in started:
                gateway.stop()
            mock.stop()
            leave.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
