"""What goes through the seam: a request as bytes, an answer as a status, headers and bytes as they come.

The whole contract of this room is on this screen. `client.UpstreamClient` does it over sockets,
`memory.ScriptedTransport` without any. Everything that fails is a `core.errors.UpstreamFailure` whose message names no
host, path or credential.
"""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from msgspec import Struct


class Timeouts(Struct, frozen=True, gc=False):
    """Seconds. `first_byte`: from the request being written to the answer's head being in. `idle`: the longest silence
    inside a body while somebody waits for it. `total`: from send() to the last byte; of a request with a stream, from
    the end of that, which may itself take as long."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 60.0
    total: float = 600.0


class Origin(Struct, frozen=True, gc=False):
    """`host` without brackets, also where it is an IPv6 address."""

    scheme: Literal["http", "https"]
    host: str
    port: int


class BodyStream:
    """A body that is made while it is sent. `pieces` are taken once, one at a time, each when the provider has read
    those before; `length` is their sum in bytes, None where it is not known. Whoever has `taken` from it has made it
    unrepeatable: such a request goes to no second connection and no second provider. `ended`: all of them were."""

    __slots__ = ("ended", "length", "pieces", "taken")

    def __init__(self, pieces: AsyncGenerator[bytes, None], length: int | None) -> None:
        self.pieces = pieces
        self.length = length
        self.taken = False
        self.ended = False


class UpstreamRequest(Struct):
    """One call. `pool` names the deployment or provider account whose connections may be used.

    `target` is path and query in ASCII. `headers` are raw lines, each `b"name: value\\r\\n"`, without host,
    content-length, connection and accept-encoding, which the client adds. `proxy` is a URL (`http://` or `socks5://`).
    `deadline` is the time of the event loop at which everything must be over; what a stream took is added to it.

    `private`: the headers are of this request alone, so that nothing of them is kept when it has been sent.

    With a `stream`, `body` is empty. What its pieces raise, send() raises, or whoever reads the answer by then. The
    time for the first byte runs from the end of the body; the provider may be silent, and not read, for `idle`.
    """

    pool: str
    origin: Origin
    method: bytes
    target: bytes
    headers: bytes
    body: bytes
    timeouts: Timeouts
    proxy: str | None
    deadline: float
    stream: BodyStream | None = None
    private: bool = False

    def __repr__(self) -> str:
        # The generated one would print the credential in `headers` into whatever log meets it.
        return f"UpstreamRequest({self.pool!r}, {self.method!r})"


class UpstreamResponse(Protocol):
    """An answer whose head is in. Exactly one task reads it; whoever has it must close() it."""

    status: int
    headers: list[tuple[bytes, bytes]]  # names in lower case

    async def read(self, limit: int) -> bytes:
        """The whole body. UpstreamFailure `server` where it has more than `limit` bytes, else as chunk()."""

    async def chunk(self) -> bytes:
        """What arrived since last time, perhaps several reads joined; `b""` is the clean end.

        Raises UpstreamFailure: `timeout` (idle, total), `connect` (it broke off), `server` (it makes no sense). What
        came before the failure is handed out first.
        """

    def close(self) -> None:
        """Idempotent. Where the body is not complete the connection is aborted at once: the upstream notices."""

    def finish(self) -> None:
        """Instead of close(), where all that matters has come: the end of the body has a second to follow, so that the
        connection can serve again. (`[DONE]` and the last chunk, which is empty, are often two segments.)"""


class Transport(Protocol):
    """Sends requests. send() returns when the head of the answer is in and raises UpstreamFailure where none comes;
    `unsent` where nothing went out."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse: ...

    async def aclose(self) -> None: ...
