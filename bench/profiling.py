"""Profiles of the gateway while it is measured: py-spy where it is installed, cProfile otherwise.

py-spy watches from outside and hardly slows what it watches; cProfile slows it two to three times, counts calls exactly
and sees the main thread only. Figures taken under either are for orientation, not for the table.
"""

import io
import pstats
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateways import Gateway
from bench.reactor import BenchError

SHOWN = 50
LINE = re.compile(r":\d+\)$")


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
    arguments = [executable, "record", "--pid", str(gateway.running.pid), "--format", "raw", "--rate", "500", "--gil"]
    spy = subprocess.Popen([*arguments, "--nonblocking", "--output", str(output)], stdout=subprocess.DEVNULL)
    gateway.running.watched = True
    try:
        yield
    finally:
        gateway.running.watched = False
        spy.send_signal(signal.SIGINT)
        spy.wait(30)
    print(hottest(output))


def hottest(collapsed: Path) -> str:
    """Lines and functions by samples on top of the stack, functions by samples anywhere in it (py-spy's raw format)."""
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    callers: Counter[str] = Counter()
    for sample in collapsed.read_text().splitlines():
        stack, _, count = sample.rpartition(" ")
        frames = stack.split(";")
        lines[frames[-1]] += int(count)
        functions[LINE.sub(")", frames[-1])] += int(count)
        for frame in {LINE.sub(")", frame) for frame in frames}:
            callers[frame] += int(count)
    total = max(lines.total(), 1)
    text = [f"{total} samples"]
    for title, table in (("own, by line", lines), ("own, by function", functions), ("with callees", callers)):
        text.append(f"-- {title}")
        text.extend(f"{samples / total:6.1%}  {frame}" for frame, samples in table.most_common(SHOWN))
    return "\n".join(text)


def top(profile: Path) -> str:
    """The dearest functions of a cProfile run by own time."""
    if not profile.exists():
        raise BenchError("cProfile wrote nothing: the gateway did not end by itself")
    text = io.StringIO()
    pstats.Stats(str(profile), stream=text).strip_dirs().sort_stats("tottime").print_stats(SHOWN)
    return text.getvalue()
