"""A recording of one answer, made where it is written, and its replay.

Above: `repeats.py`, for requests that carry an `Idempotency-Key`; all others never meet it. A `Tape` stands between an
exchange and its connection as the exchange's `Wire`: whatever a face says, and however, passes through here as HTTP.
"""

from collections.abc import Callable
from typing import Final

from posthouse.api.exchange import Exchange, Wire
from posthouse.storage.claims import KeptAnswer

REPLAYED: Final = b"idempotency-replayed: true\r\n"
NOT_KEPT: Final = b"idempotency-kept: false\r\n"
# Of the connection or of the page that asks, not of the answer.
_NOT_ITS_OWN: Final = (
    b"date:",
    b"connection:",
    b"content-length:",
    b"transfer-encoding:",
    b"access-control-",
    b"vary:",
)
_CHUNKED: Final = b"transfer-encoding: chunked"


class Tape:
    """`answer` is what was said, once all of it was; None before, where it broke off, and where its body is larger than
    `most` bytes. `ended` is called when the exchange is through, before the connection goes on; from then on it is
    `over`."""

    def __init__(self, wire: Wire, most: int, ended: Callable[["Tape", Exchange], None]) -> None:
        self.answer: KeptAnswer | None = None
        self.over = False
        self._wire = wire
        self._most = most
        self._ended = ended
        self._status = 0
        self._head = b""
        self._chunked = False
        self._pieces: list[bytes] | None = []
        self._size = 0

    @property
    def date(self) -> bytes:
        return self._wire.date

    @property
    def peer(self) -> str:
        return self._wire.peer

    def send(self, data: bytes) -> None:
        if self._status == 0:
            data = self._begin(data)
        elif self._chunked:
            self._chunk(data)
        self._wire.send(data)

    def release(self, exchange: Exchange) -> None:
        exchange.wire = self._wire
        self.over = True
        self._ended(self, exchange)
        self._wire.release(exchange)

    async def drained(self) -> None:
        await self._wire.drained()

    def _begin(self, data: bytes) -> bytes:
        """The first piece has the whole head, and of an answer that is no stream the body."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self._status = int(first.split(b" ", 2)[1])
        self._head = b"".join(b"%b\r\n" % line for line in lines if not line.lower().startswith(_NOT_ITS_OWN))
        self._chunked = _CHUNKED in lines
        if self._chunked:
            return data
        if any(line.startswith(b"content-length:") for line in lines):  # else only the connection's end will end it
            if len(body) > self._most:
                return b"%b\r\n%b%b" % (first, NOT_KEPT, data[len(first) + 2 :])
            self.answer = KeptAnswer(self._status, self._head, body)
        return data

    def _chunk(self, data: bytes) -> None:
        """One chunk as `Exchange.write` and `end` make them: with the last one behind it, or that alone."""
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if self._pieces is not None and length:
            self._size += length
            if self._size > self._most:
                self._pieces = None
            else:
                self._pieces.append(rest[:length])
        if self._pieces is not None and (length == 0 or len(rest) > length + 2):
            self.answer = KeptAnswer(self._status, self._head, b"".join(self._pieces))


def replay(exchange: Exchange, answer: KeptAnswer, common: bytes) -> None:
    """Says it again, all at once. `common`: the lines that every answer to this client carries, of which the first
    answer's own stand instead."""
    names = {line.partition(b":")[0].lower() for line in answer.head.splitlines()}
    lines = [line for line in common.splitlines(keepends=True) if line.partition(b":")[0].lower() not in names]
    exchange.streaming = False
    exchange.respond(answer.status, answer.head + b"".join(lines) + REPLAYED, answer.body)
