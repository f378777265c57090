"""A small epoll loop: what the mock upstream and the load generator run on.

Above: mock.py, load.py. Below: the kernel. Linux only, standard library only.

Why not asyncio with uvloop: the harness must stay cheaper than what it measures and must know its own lateness. libuv's
timers tick in milliseconds, which would add up to one to every latency at a fixed rate and would bunch paced chunks of
different streams together; here a timer is kept to some 50 µs (select(2) takes microseconds, epoll_wait(2) does not).
"""

import heapq
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

READ = select.EPOLLIN
READ_AND_WRITE = select.EPOLLIN | select.EPOLLOUT
CHUNK = 65_536
"""Bytes asked of the kernel at once."""

now = time.perf_counter
"""The one clock of the harness, seconds."""


class BenchError(Exception):
    """The harness cannot go on: what it measured would not be true."""


class Watcher(Protocol):
    """What the reactor calls when its descriptor is ready."""

    def ready(self, events: int) -> None: ...


class Reactor:
    """Readiness and timers, run until a condition holds or a deadline passes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0

    def add(self, fd: int, watcher: Watcher) -> None:
        """Call `watcher` when `fd` is readable."""
        self._watchers[fd] = watcher
        self._epoll.register(fd, READ)

    def want(self, fd: int, events: int) -> None:
        """Change what `fd` is watched for."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`; once removed, a second call does nothing."""
        if self._watchers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` at `when` (perf_counter seconds) or as soon after as the loop comes round."""
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, action))

    def run(self, done: Callable[[], bool], seconds: float) -> None:
        """Serve events until `done()`; raises BenchError after `seconds`."""
        deadline = now() + seconds
        watchers, timers, poll = self._watchers, self._timers, self._epoll.poll
        while not done():
            at = now()
            if at >= deadline:
                raise BenchError(f"not finished within {seconds:.0f} s")
            while timers and timers[0][0] <= at:
                heapq.heappop(timers)[2]()
            if timers:
                events = poll(0)
                if not events:
                    self._sleep_until(min(timers[0][0], deadline))
                    events = poll(0)
            else:
                events = poll(min(1.0, deadline - at))
            for fd, ready in events:
                watcher = watchers.get(fd)  # an earlier event of this round may have removed it
                if watcher is not None:
                    watcher.ready(ready)

    def _sleep_until(self, when: float) -> None:
        pause = when - now()
        if pause > 0:
            select.select([self._epoll.fileno()], (), (), pause)

    def close(self) -> None:
        """Free the epoll descriptor; sockets belong to whoever added them."""
        self._epoll.close()


class Peer:
    """A non-blocking TCP connection in a reactor; subclasses read in `received`."""

    __slots__ = ("fd", "reactor", "sock", "unsent")

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reactor = reactor
        self.sock = sock
        self.fd = sock.fileno()
        self.unsent = b""
        reactor.add(self.fd, self)

    def received(self, data: bytes) -> None:
        """`data` arrived; empty: the other side closed, and the connection here is closed already."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send now; what the kernel does not take goes out when it can."""
        if self.unsent:
            self.unsent += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self.unsent = data[sent:]
            self.reactor.want(self.fd, READ_AND_WRITE)

    def ready(self, events: int) -> None:
        """The reactor's call."""
        if self.unsent and events & select.EPOLLOUT:
            waiting, self.unsent = self.unsent, b""
            self.reactor.want(self.fd, READ)
            self.send(waiting)
            if not events & ~select.EPOLLOUT:
                return
        if self.fd < 0:
            return
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        self.received(data)

    def close(self) -> None:
        """Close at once; a second call does nothing."""
        if self.fd >= 0:
            self.reactor.remove(self.fd)
            self.fd = -1
            self.sock.close()
