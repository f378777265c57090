"""Writes of one turn of the event loop, made together at its end.

A write to a socket is a system call, and where the reader sleeps it wakes it. Made one by one between other work, each
finds its reader asleep again; made together, most find it awake, and pieces for one socket go as one. Measured with 32
connections: 285 us instead of 333 for a chat request, a streamed head and its first events in one segment.

It is kept here, at the sockets' own floor, because the server's side above uses it too.

A turn more is time, though, and buys nothing where one request comes after the other. So after `_LONELY` turns that had
one write each, the next `_AT_ONCE` writes are made as they come.
"""

import asyncio
from typing import Final, Protocol

# What waits for one transport beyond this goes out at once, so that its flow control sees a writer without pause.
_MOST: Final = 64 * 1024
_LONELY: Final = 6
_AT_ONCE: Final = 60


class Sink(Protocol):
    """The part of an asyncio transport that is needed."""

    def is_closing(self) -> bool: ...
    def write(self, data: bytes, /) -> None: ...


class Outbox:
    """For one event loop. Whoever closes a transport that it has put something for flushes before."""

    __slots__ = ("_at_once", "_lonely", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Sink, bytes] = {}
        self._lonely = 0  # turns in a row that had one write
        self._at_once = 0  # writes still to be made as they come

    def put(self, sink: Sink, data: bytes) -> None:
        """Writes `data` to `sink`, in the order of the puts for it, at once or before the loop waits again."""
        waiting = self._waiting
        if not waiting:
            if self._at_once and not sink.is_closing():
                self._at_once -= 1
                sink.write(data)
                return
            asyncio.get_running_loop().call_soon(self.flush)
        before = waiting.get(sink)
        if before is None:
            waiting[sink] = data
        elif len(before) + len(data) <= _MOST:
            waiting[sink] = before + data
        else:
            if not sink.is_closing():
                sink.write(before)
            waiting[sink] = data

    def flush(self) -> None:
        """Writes what waits. What waits for a transport that has closed meanwhile is dropped, as its own buffer is."""
        waiting, self._waiting = self._waiting, {}
        if len(waiting) != 1:
            self._lonely = 0
        elif self._lonely < _LONELY:
            self._lonely += 1
        else:
            self._lonely = _LONELY // 2
            self._at_once = _AT_ONCE
        for sink, data in waiting.items():
            if not sink.is_closing():
                sink.write(data)
