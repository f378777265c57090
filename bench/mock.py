"""The mock upstream: an OpenAI-compatible server that answers from bytes rendered beforehand.

Run as `python -m bench.mock`; it takes a free port of the loopback interface, prints `port N` and serves until its
standard input ends, so that it never outlives the runner. `GET /bench/stats` tells what it cost so far and
`POST /bench/release` lets every idle stream run to its end.
"""

import json
import socket
import sys
import time

from bench import bodies
from bench.reactor import Peer, Reactor, now

LIFETIME = 7_200.0
"""Seconds after which a forgotten mock ends by itself."""
BACKLOG = 4_096
BURST_ANSWER = bodies.STREAM_HEAD + b"".join(bodies.STREAM_CHUNKS)
WITH_USAGE = bodies.USAGE_CHUNK + bodies.STREAM_END


class Mock:
    """The server's state: how much it answered, and which streams wait to be released."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.requests = 0
        self.idle: dict[Session, bytes] = {}
        self.stopped = False

    def stats(self) -> bytes:
        """The answer to GET /bench/stats: requests and CPU seconds since the start, streams held idle."""
        figures = {"requests": self.requests, "cpu_seconds": time.process_time(), "idle": len(self.idle)}
        body = json.dumps(figures).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    def release(self) -> bytes:
        """The answer to POST /bench/release, after every idle stream got its rest."""
        for session, rest in list(self.idle.items()):
            session.send(rest)
        self.idle.clear()
        return b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


class Session(Peer):
    """One connection of the gateway: requests one after another, never pipelined."""

    __slots__ = ("buffer", "mock", "next_chunk", "rest", "started")

    def __init__(self, mock: Mock, sock: socket.socket) -> None:
        super().__init__(mock.reactor, sock)
        self.mock = mock
        self.buffer = b""
        self.rest = bodies.STREAM_END
        self.started = 0.0
        self.next_chunk = 0

    def received(self, data: bytes) -> None:
        """Collect one request and answer it."""
        if not data:
            self.mock.idle.pop(self, None)
            return
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = data
            return
        at = data[:end].lower().find(b"\r\ncontent-length:")
        length = int(data[at + 17 : data.find(b"\r\n", at + 2)]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self.buffer = data
            return
        self.buffer = b""
        self.mock.requests += 1
        self._answer(data, end)

    def _answer(self, data: bytes, end: int) -> None:
        if data.find(b"/chat/completions ", 0, 80) < 0:
            self._answer_other(data)
            return
        if data.find(b'"bench-chat"', end) >= 0:
            self.send(bodies.CHAT_ANSWER)
            return
        compact = data.find(b'"include_usage":true', end) >= 0
        asked = compact or data.find(b'"include_usage": true', end) >= 0
        self.rest = WITH_USAGE if asked else bodies.STREAM_END
        if data.find(b'"bench-burst"', end) >= 0:
            self.send(BURST_ANSWER + self.rest)
        elif data.find(b'"bench-paced"', end) >= 0:
            self.started = now()
            self.next_chunk = 1
            self.send(bodies.STREAM_HEAD + bodies.STREAM_CHUNKS[0])
            self.reactor.call_at(self.started + bodies.PACE, self._pace)
        elif data.find(b'"bench-idle"', end) >= 0:
            self.send(bodies.STREAM_HEAD + bodies.STREAM_CHUNKS[0] + bodies.STREAM_CHUNKS[1])
            self.mock.idle[self] = b"".join(bodies.STREAM_CHUNKS[2:]) + self.rest
        else:
            self.send(bodies.NOT_FOUND)

    def _pace(self) -> None:
        if self.fd < 0:
            return
        chunk = self.next_chunk
        if chunk == bodies.CHUNKS - 1:
            self.send(bodies.STREAM_CHUNKS[chunk] + self.rest)
            return
        self.next_chunk = chunk + 1
        self.send(bodies.STREAM_CHUNKS[chunk])
        self.reactor.call_at(self.started + bodies.PACE * (chunk + 1), self._pace)

    def _answer_other(self, data: bytes) -> None:
        line = data[: data.find(b"\r\n")]
        if b"/embeddings " in line:
            self.send(bodies.EMBEDDING_ANSWER)
        elif b"/messages " in line:
            self.send(bodies.MESSAGE_ANSWER)
        elif line.startswith(b"GET") and b"/models " in line:
            self.send(bodies.MODELS_ANSWER)
        elif b"/bench/stats" in line:
            self.send(self.mock.stats())
        elif b"/bench/release" in line:
            self.send(self.mock.release())
        else:
            self.send(bodies.NOT_FOUND)


class Door:
    """The listening socket."""

    def __init__(self, mock: Mock, sock: socket.socket) -> None:
        self.mock = mock
        self.sock = sock
        sock.setblocking(False)
        mock.reactor.add(sock.fileno(), self)

    def ready(self, events: int) -> None:
        """Take every connection that waits (at most a backlog of them at once)."""
        for _ in range(BACKLOG):
            try:
                sock, _address = self.sock.accept()
            except BlockingIOError:
                return
            Session(self.mock, sock)


class Leash:
    """Standard input: when it ends, the runner is gone."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        mock.reactor.add(sys.stdin.fileno(), self)

    def ready(self, events: int) -> None:
        """End of the file, or a word from the runner: stop."""
        self.mock.stopped = True


def main() -> None:
    """Serve until standard input ends."""
    mock = Mock(Reactor())
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    Door(mock, listener)
    Leash(mock)
    print("port", listener.getsockname()[1], flush=True)
    mock.reactor.run(lambda: mock.stopped, LIFETIME)


if __name__ == "__main__":
    main()
