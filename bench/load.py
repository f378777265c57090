"""The load generator: closed loop, fixed rate, paced and idle streams, all on one thread.

Above: scenarios. Below: reactor. Every answer is checked (status, length, number of events, the end mark), since a fast
wrong answer is worth nothing; the generator's own CPU is counted so that the report can state it.

The fixed-rate run is an open loop: requests are due at times set beforehand and a latency starts at the due time, not
when a connection happened to be free, so a stall of the gateway is charged to every request that it delayed
("coordinated omission").
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.reactor import BenchError, Peer, Reactor, now

HEAD_END = b"\r\n\r\n"
STREAM_END = b"\r\n0\r\n\r\n"
EVENT = b"data: "
DONE = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send: a port of the loopback interface, the whole request, and what a right answer has.

    `events` is the number of `data:` lines (0: no stream). `exact` is False for gateways that leave out or merge
    chunks: then only `[DONE]` is required.
    """

    port: int
    request: bytes
    events: int = 0
    exact: bool = True


@dataclass(slots=True)
class Outcome:
    """What one run saw: answers, seconds on the clock, the generator's own CPU seconds, latencies in seconds."""

    answers: int = 0
    seconds: float = 0.0
    own_cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    """Fixed rate only: how long after its due time each request was really sent."""

    def quantile(self, q: float) -> float:
        """The latency that a share `q` of the answers kept to, in seconds."""
        return quantile(self.latencies, q)


def quantile(values: list[float], q: float) -> float:
    """The nearest-rank quantile; 0.0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Client(Peer):
    """One connection: asks, collects the answer, checks it, reports it."""

    __slots__ = ("chunked", "got", "need", "on_answer", "pieces", "since", "target")

    def __init__(self, reactor: Reactor, target: Target, on_answer: Callable[["Client"], None]) -> None:
        sock = socket.socket()
        try:
            sock.connect(("127.0.0.1", target.port))
        except OSError as error:
            sock.close()
            raise BenchError(f"no connection to port {target.port}: {error}") from error
        super().__init__(reactor, sock)
        self.target = target
        self.on_answer = on_answer
        self.pieces: list[bytes] = []
        self.got = 0
        self.need = -1
        self.chunked = False
        self.since = 0.0

    def ask(self, since: float) -> None:
        """Send the request; its latency starts at `since`."""
        self.since = since
        self.pieces.clear()
        self.got = 0
        self.need = -1
        self.chunked = False
        self.send(self.target.request)

    def received(self, data: bytes) -> None:
        """Collect; when the answer is whole, check and report it."""
        if not data:
            raise BenchError(f"the connection closed within an answer: {b''.join(self.pieces)[-300:]!r}")
        self.pieces.append(data)
        self.got += len(data)
        if self.need < 0 and not self.chunked:
            self._read_head()
        if self.chunked:
            end = data if len(data) >= len(STREAM_END) else b"".join(self.pieces[-len(STREAM_END) :])
            if not end.endswith(STREAM_END):
                return
        elif self.need < 0 or self.got < self.need:
            return
        self._check()
        self.on_answer(self)

    def _read_head(self) -> None:
        if len(self.pieces) > 1:
            self.pieces[:] = [b"".join(self.pieces)]
        data = self.pieces[0]
        end = data.find(HEAD_END)
        if end < 0:
            return
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            self.need = end + 4 + int(head[at + 17 : (head + b"\r\n").find(b"\r\n", at + 2)])
        else:
            self.chunked = True

    def _check(self) -> None:
        first = self.pieces[0]
        whole = first if len(self.pieces) == 1 else b"".join(self.pieces)
        if not first.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"not answered well: {whole[:600]!r}")
        target = self.target
        if target.events:
            events = whole.count(EVENT)
            if DONE not in whole or (target.exact and events != target.events):
                raise BenchError(f"a stream of {events} events where {target.events} were due: {whole[-300:]!r}")
        elif not self.chunked and self.got != self.need:
            raise BenchError(f"{self.got - self.need} bytes too many: {whole[-300:]!r}")


@contextmanager
def _reactor() -> Iterator[Reactor]:
    reactor = Reactor()
    try:
        yield reactor
    finally:
        reactor.close()


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop: `connections` at once, each asks again as soon as it is answered, `count` requests in all.

    `stagger` spreads the first requests over so many seconds, so that paced streams do not tick together.
    """

    connections: int
    count: int
    seconds: float
    stagger: float = 0.0


def closed_loop(target: Target, plan: Closed) -> Outcome:
    """Run `plan`; raises BenchError at the first wrong answer or when `plan.seconds` are over."""
    outcome = Outcome()
    left = plan.count
    latencies = outcome.latencies

    def answered(client: Client) -> None:
        nonlocal left
        at = now()
        latencies.append(at - client.since)
        if left > 0:
            left -= 1
            client.ask(at)

    def begin(client: Client) -> None:
        client.ask(now())

    with _reactor() as reactor:
        clients = [Client(reactor, target, answered) for _ in range(min(plan.connections, plan.count))]
        cpu, started = time.process_time(), now()
        left -= len(clients)
        for index, client in enumerate(clients):
            if plan.stagger:
                when = started + plan.stagger * index / len(clients)
                reactor.call_at(when, lambda client=client: begin(client))  # type: ignore[misc]
            else:
                begin(client)
        try:
            reactor.run(lambda: len(latencies) >= plan.count, plan.seconds)
        finally:
            for client in clients:
                client.close()
        outcome.seconds = now() - started
        outcome.own_cpu = time.process_time() - cpu
    outcome.answers = len(latencies)
    return outcome


@dataclass(frozen=True, slots=True)
class Rate:
    """An open loop: `per_second` requests due at even distances, `count` in all, over at most `connections`."""

    per_second: float
    count: int
    connections: int
    seconds: float


def open_loop(target: Target, plan: Rate) -> Outcome:
    """Run `plan`; a request that finds no free connection waits, and the wait counts."""
    outcome = Outcome()
    waiting: deque[float] = deque()
    sent = 0

    def answered(client: Client) -> None:
        outcome.latencies.append(now() - client.since)
        if waiting:
            due = waiting.popleft()
            outcome.lateness.append(now() - due)
            client.ask(due)
        else:
            free.append(client)

    def tick() -> None:
        nonlocal sent
        due = started + sent / plan.per_second
        sent += 1
        if sent < plan.count:
            reactor.call_at(started + sent / plan.per_second, tick)
        if free:
            outcome.lateness.append(now() - due)
            free.pop().ask(due)
        else:
            waiting.append(due)

    with _reactor() as reactor:
        clients = [Client(reactor, target, answered) for _ in range(plan.connections)]
        free = list(clients)
        cpu, started = time.process_time(), now() + 0.01
        reactor.call_at(started, tick)
        try:
            reactor.run(lambda: len(outcome.latencies) >= plan.count, plan.seconds)
        finally:
            for client in clients:
                client.close()
        outcome.seconds = now() - started
        outcome.own_cpu = time.process_time() - cpu
    outcome.answers = len(outcome.latencies)
    return outcome


class Waiter(Client):
    """A connection whose stream stops in the middle: it tells when the first event came."""

    __slots__ = ("begun",)

    def __init__(self, reactor: Reactor, target: Target, on_answer: Callable[[Client], None]) -> None:
        super().__init__(reactor, target, on_answer)
        self.begun = False

    def received(self, data: bytes) -> None:
        """As a client's; notes the first event."""
        if not self.begun and EVENT in data:
            self.begun = True
        super().received(data)


class IdleStreams:
    """Many streams open at once that say something and then nothing."""

    AT_ONCE = 50
    """Connections opened between two looks at the answers, so that no backlog overflows."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._reactor = Reactor()
        self._clients: list[Waiter] = []
        self._ended = 0

    def open(self, count: int, seconds: float) -> None:
        """Open `count` streams and wait for the first event of each."""
        deadline = now() + seconds
        while len(self._clients) < count:
            for _ in range(min(self.AT_ONCE, count - len(self._clients))):
                client = Waiter(self._reactor, self._target, self._one_ended)
                self._clients.append(client)
                client.ask(now())
            self._reactor.run(lambda: all(client.begun for client in self._clients[-self.AT_ONCE :]), deadline - now())
        self._reactor.run(lambda: all(client.begun for client in self._clients), deadline - now())

    def _one_ended(self, client: Client) -> None:
        self._ended += 1

    def drain(self, seconds: float) -> int:
        """Read every stream to its end (the mock was told to release them); returns how many ended well."""
        self._reactor.run(lambda: self._ended >= len(self._clients), seconds)
        return self._ended

    def close(self) -> None:
        """Close what is open."""
        for client in self._clients:
            client.close()
        self._reactor.close()
