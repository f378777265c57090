"""Profiles of the gateway while it is measured: py-spy where it is installed, cProfile otherwise.

py-spy watches from outside and hardly slows what it watches; cProfile slows it two to three times, counts calls exactly
and sees the main thread only. Figures taken under either are for orientation, not for the table.
"""

import io
import pstats
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateways import Gateway
from bench.reactor import BenchError

LINES = 60


@contextmanager
def watching(profiler: str, gateway: Gateway, root: Path) -> Iterator[None]:
    """Run py-spy on `gateway` meanwhile when asked to; the flame graph's data goes to bench/results/."""
    if profiler != "py-spy":
        yield
        return
    executable = shutil.which("py-spy") or str(Path(sys.executable).parent / "py-spy")
    if not Path(executable).exists():
        raise BenchError("py-spy is not installed (pip install py-spy); --profile cprofile needs nothing")
    results = root / "bench" / "results"
    results.mkdir(exist_ok=True)
    output = results / "profile.txt"
    arguments = [executable, "record", "--pid", str(gateway.running.pid), "--format", "raw", "--rate", "500"]
    spy = subprocess.Popen([*arguments, "--threads", "--output", str(output)], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        spy.wait(30)
    print(hottest(output))


def hottest(collapsed: Path) -> str:
    """Functions by samples on top of the stack, and by samples anywhere in it, from py-spy's collapsed stacks."""
    own: dict[str, int] = {}
    whole: dict[str, int] = {}
    total = 0
    for line in collapsed.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        samples = int(count)
        total += samples
        own[frames[-1]] = own.get(frames[-1], 0) + samples
        for frame in set(frames):
            whole[frame] = whole.get(frame, 0) + samples
    lines = [f"{total} samples; own share, then share with everything called"]
    for title, table in (("own", own), ("with callees", whole)):
        lines.append(f"-- {title}")
        ranked = sorted(table.items(), key=lambda item: -item[1])[:LINES]
        lines.extend(f"{samples / max(total, 1):6.1%}  {frame}" for frame, samples in ranked)
    return "\n".join(lines)


def top(profile: Path) -> str:
    """The dearest functions of a cProfile run by own time."""
    if not profile.exists():
        raise BenchError("cProfile wrote nothing: the gateway did not end by itself")
    text = io.StringIO()
    pstats.Stats(str(profile), stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return text.getvalue()
