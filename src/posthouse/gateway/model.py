"""What goes into the spine and what comes out of it."""

from collections.abc import AsyncGenerator

from msgspec import Struct

from posthouse.core.caller import Caller
from posthouse.core.requests import ModelRequest
from posthouse.dialects.streams import AnswerStream
from posthouse.providers.brought import Brought


class Call(Struct, eq=False):
    """One request of one caller. `id` is the request's id; `accepted` the loop's time when its first byte came.

    `strict`: a request of which something cannot be said to the provider is refused, rather than said without it.
    `address`: of the client, empty where no limit wants to know it. `own`: the credential that its caller brings.
    """

    caller: Caller
    request: ModelRequest
    id: str
    accepted: float
    strict: bool = False
    address: str = ""
    own: Brought | None = None


class Answer(Struct, eq=False):
    """What came back. `headers` are complete header lines of our own (limits, deployment, attempts, cost, dropped).
    `kind` is the line of its content type, where it is neither JSON nor events of a dialect: such a body cannot say
    that it is not whole, and is broken off instead.

    Either `body` is the whole answer, or `events` yields blocks of whole events as they come. Whoever takes `events`
    must close it (`aclose`), finished or not: leaving it is what settles the hold. Where it raises a PosthouseError,
    `stream.fail(error)` is what tells the client.
    """

    headers: bytes
    body: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None
    stream: AnswerStream | None = None
    kind: bytes = b""


class GatewayOptions(Struct, frozen=True):
    """`default_output`: tokens to reserve where the caller set no cap. `drain_seconds`: how long a deployment with
    `on_disconnect = "drain"` is read on after its client has left."""

    default_output: int = 4096
    drain_seconds: float = 120.0
