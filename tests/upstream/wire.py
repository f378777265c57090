"""A connection without a network: a transport that notes what is done to it, and a home that notes what comes back.

With it a test decides exactly which bytes arrive in which segment.
"""

import asyncio
from math import inf
from typing import Any

from posthouse.upstream.connection import Connection
from posthouse.upstream.exchange import Exchange
from posthouse.upstream.model import Timeouts
from posthouse.upstream.outbox import Outbox


class NotedTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent = 0
        self._reading = True
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Wire:
    """One connection, seen from below. `kept` and `gone` count how often it was put back and lost."""

    def __init__(self) -> None:
        self.transport = NotedTransport()
        self.outbox = Outbox()
        self.connection = Connection(asyncio.get_running_loop(), self.outbox)
        self.connection.connection_made(self.transport)
        self.connection.home = self
        self.kept = 0
        self.gone = 0

    def put_back(self, connection: Connection) -> None:
        self.kept += 1

    def lose(self, connection: Connection) -> None:
        self.gone += 1

    def ask(self, *, head_only: bool = False, body: bytes = b"") -> Exchange:
        exchange = Exchange(Timeouts(), 0.0, inf)
        exchange.head_only = head_only
        self.connection.start(exchange, b"POST / HTTP/1.1\r\n\r\n", body)
        self.outbox.flush()
        return exchange

    def feed(self, *segments: bytes) -> None:
        for segment in segments:
            if self.transport.aborted:
                return  # nothing is received after an abort
            self.connection.data_received(segment)
