"""Heads of requests that came before.

A client sends the same head with every request of a connection, but for the length of the body. llhttp, a callback for
each of 17 headers and our checks take 11 us for it; comparing the bytes with those of last time takes 0.3 us. Only what
llhttp has taken for a whole request is remembered, and only the digits of its content-length may differ: so what is
skipped could not have come out otherwise. Who may do what (`FrontDoor.admit`) is asked again each time.
"""

import re
from typing import Final

from msgspec import Struct

from posthouse.api.exchange import Exchange, Wire

_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([1-9][0-9]{0,8})\r\n", re.IGNORECASE)
# Heads for which more than the body's length depends on the request, or on the state of the connection.
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_MOST_HEADS: Final = 512
_MOST_BYTES: Final = 4096


class KnownHead(Struct, frozen=True, eq=False):
    """The bytes around the digits of the content-length, and what came of them."""

    before: bytes
    after: bytes
    method: bytes
    target: bytes
    keep_alive: bool
    raw_headers: list[tuple[bytes, bytes]]
    headers: dict[bytes, bytes]

    def body_in(self, data: bytes) -> bytes | None:
        """The body, where `data` is exactly one request with this head; else None."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(b"\r", start, start + 10)
        if end < 0 or not data.startswith(self.after, end):
            return None
        digits = data[start:end]
        body = data[end + len(self.after) :]
        # b"%d": no sign, no space, no leading zero.
        return body if body and digits == b"%d" % len(body) else None

    def exchange(self, wire: Wire, now: float, body: bytes) -> Exchange:
        exchange = Exchange(wire, now)
        exchange.method = self.method
        exchange.target = self.target
        exchange.keep_alive = self.keep_alive
        exchange.body = body
        length = b"%d" % len(body)
        if self.headers[b"content-length"] == length:
            exchange.headers = self.headers
            exchange.raw_headers = self.raw_headers
        else:
            exchange.headers = {**self.headers, b"content-length": length}
            exchange.raw_headers = [(n, length if n == b"content-length" else v) for n, v in self.raw_headers]
        return exchange


class Heads:
    """Shared by all connections, since many have the same head; bounded in number and in size."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], KnownHead] = {}

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, exchange: Exchange, data: bytes) -> KnownHead | None:
        """What to compare the next request with, `exchange` having been made of `data`; None where that cannot be."""
        end = data.find(b"\r\n\r\n", 0, _MOST_BYTES) + 4
        head = data[:end]
        found = _LENGTH.search(head)
        if found is None or int(found[1]) != len(data) - end or exchange.body != data[end:]:
            return None
        # The first line too: a segment may begin in the middle of a head, whose beginning then would not be compared.
        if not head.startswith(b"%b %b HTTP/1.1\r\n" % (exchange.method, exchange.target)):
            return None
        if not exchange.keep_alive or not _NOT_PLAIN.isdisjoint(exchange.headers):
            return None
        if head.count(b"\n") != head.count(b"\r\n") or exchange.headers.get(b"content-length") != found[1]:
            return None
        key = (head[: found.start(1)], head[found.end(1) :])
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_HEADS:
                self._known.clear()
            known = self._known[key] = KnownHead(
                *key, exchange.method, exchange.target, exchange.keep_alive, exchange.raw_headers, exchange.headers
            )
        return known
