"""Processes under measurement: starting them on chosen cores, their CPU time, memory and waiting time.

CPU comes from each process's own clock (clock_gettime on its process clock: user and system time of all threads, those
that ended too, in nanoseconds); /proc/<pid>/stat counts in ticks of 10 ms, which is 20 requests.
"""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.reactor import BenchError

KIB = 1_024


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the measured gateway and the harness run on; `shared` where there is only one."""

    gateway: frozenset[int]
    harness: frozenset[int]

    @property
    def shared(self) -> bool:
        """The harness had to run on the gateway's own core."""
        return self.gateway == self.harness


def choose_cores() -> Cores:
    """The last core for the gateway, all others for the harness."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        return Cores(frozenset(usable), frozenset(usable))
    return Cores(frozenset(usable[-1:]), frozenset(usable[:-1]))


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes started inside begin on `cores`: a child inherits the set, its threads too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Command:
    """What to start: the arguments, the whole environment, the folder to start in, where output goes."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path


class Running:
    """A started process and its descendants."""

    def __init__(self, command: Command, cores: frozenset[int]) -> None:
        self.command = command
        with on_cores(cores), command.log.open("ab") as log:
            self._process = subprocess.Popen(
                command.arguments,
                env=dict(command.environment),
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.watched = False
        """A profiler looks in from outside, so that the process is never quiet."""

    def alive(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """The process and all that descend from it."""
        found = [self.pid]
        for pid in found:
            found.extend(_children(pid))
        return found

    def cpu(self) -> float:
        """CPU seconds of all of them so far, user and system."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def memory(self) -> int:
        """Resident bytes of all of them (pages that several share count for each)."""
        return sum(_resident(pid) for pid in self.pids())

    def waited(self) -> float:
        """Seconds in which its threads could have run but no core was free: noise by other work."""
        return sum(queued_seconds(pid) for pid in self.pids())

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until it has next to nothing to do, so that work put off is charged to the requests that caused it."""
        if self.watched:
            return
        deadline = time.monotonic() + seconds
        quiet, before = 0, self.cpu()
        while quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            after = self.cpu()
            quiet = quiet + 1 if after - before < 0.002 else 0
            before = after

    def tail(self, lines: int = 25) -> str:
        """The end of what it printed."""
        return "\n".join(self.command.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, then SIGKILL to its group when it does not end in time; returns the exit status."""
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait(seconds)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.extend(int(child) for child in tasks.read_text().split())
        except OSError:  # the thread ended while we looked
            continue
    return found


def _cpu_seconds(pid: int) -> float:
    # The kernel's encoding of "the CPU clock of process pid" (CPUCLOCK_SCHED): bits of ~pid above a 3-bit kind.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _resident(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * KIB
    except OSError:
        pass
    return 0


def queued_seconds(pid: int) -> float:
    """How long the threads of `pid` could have run but waited for a core, seconds since they began."""
    total = 0
    for stats in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(stats.read_text().split()[1])
        except OSError:
            continue
    return total / 1e9


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look every few milliseconds until `condition()`; raises BenchError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.004)


class MockProcess:
    """The mock upstream in a process of its own; it ends when its standard input does."""

    def __init__(self, python: str, root: Path, cores: frozenset[int]) -> None:
        with on_cores(cores):
            self._process = subprocess.Popen(
                [python, "-m", "bench.mock"],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        output = self._process.stdout
        line = output.readline().split() if output else []
        if len(line) != 2:
            raise BenchError("the mock upstream did not start")
        self.port = int(line[1])

    def cpu(self) -> float:
        """Its CPU seconds so far."""
        return _cpu_seconds(self._process.pid)

    def release(self) -> None:
        """Let every idle stream run to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/bench/release")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 204:
            raise BenchError(f"the mock upstream did not release its streams: {status}")

    def stop(self) -> None:
        """Let it go."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(10)
        if self._process.stdout:
            self._process.stdout.close()
