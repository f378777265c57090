"""What a connection and the house behind it know of each other: `protocol.py` calls, `server.FrontDoor` answers."""

from typing import Protocol

from msgspec import Struct

from posthouse.api.exchange import Exchange
from posthouse.api.heads import Heads
from posthouse.core.errors import PosthouseError
from posthouse.upstream.outbox import Outbox


class ProtocolOptions(Struct, frozen=True):
    """Bounds of a connection: seconds and bytes."""

    header_timeout: float = 10.0
    body_timeout: float = 30.0
    keep_alive: float = 75.0
    heartbeat: float = 15.0
    header_limit: int = 64 << 10
    max_headers: int = 200
    body_limit: int = 32 << 20


class House(Protocol):
    """What a connection asks of the house behind it."""

    options: ProtocolOptions
    outbox: Outbox
    heads: Heads
    date_line: bytes

    def admit(self, exchange: Exchange) -> None:
        """The head is in: finds the route and the caller. Raises to refuse at once, without reading the body."""

    async def answer(self, exchange: Exchange) -> None:
        """The request is whole, or its route reads the body. Never raises, but when cancelled."""

    def refused(self, exchange: Exchange, error: PosthouseError) -> None:
        """Told of requests that never became whole, for metrics and the log."""

    def fail(self, exchange: Exchange, error: PosthouseError) -> None:
        """Answers with the error."""

    def common_head(self, exchange: Exchange) -> bytes: ...

    def heartbeat_head(self, exchange: Exchange) -> bytes: ...
