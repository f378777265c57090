"""How a websocket is opened: on which paths, by whom, from where.

Above: `app.py`. Below: the door, which admits the caller as on any other route, and `websocket.py`, which goes on with
the connection. A client that cannot set headers, such as a page, names its key as a subprotocol: never in the address,
which ends up in logs. A subprotocol holds no colon: a credential before the key is percent-encoded.
"""

import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from websockets.exceptions import InvalidHeader
from websockets.http11 import Request
from websockets.server import ServerProtocol as Frames
from websockets.typing import Subprotocol

from posthouse.api.exchange import WEBSOCKET, Exchange, Handler, Route
from posthouse.api.messages import CHAT, RESPONSES, Form
from posthouse.api.openai import BASES
from posthouse.api.protocol import ServerProtocol
from posthouse.api.server import FrontDoor
from posthouse.api.websocket import Asked, SocketExchange, SocketLine
from posthouse.core.errors import Forbidden, InvalidRequest, Unavailable

_FORMS: Final[tuple[tuple[str, Form], ...]] = (("/chat/completions", CHAT), ("/responses", RESPONSES))
_KEYS: Final = ("posthouse.key.", "openai-insecure-api-key.")
# Chosen, where they are offered beside a key, so that the key is not repeated in the answer.
_SPOKEN: Final = ("posthouse", "realtime")
_ENCODED: Final = "%"
_OPENING: Final = frozenset({b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version"})
_PROTOCOL: Final = b"sec-websocket-protocol"
# Headers of the opening alone, of a body that it does not have, or of one request.
_NOT_THEIRS: Final = frozenset(
    {
        *_OPENING,
        _PROTOCOL,
        b"sec-websocket-extensions",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"idempotency-key",
    }
)
# At the level of debugging the library would log what is said, and with it the keys.
_QUIET: Final = logging.getLogger("posthouse.api.frames")
_QUIET.setLevel(logging.WARNING)


class HandshakeRefused(InvalidRequest):
    """The client wishes for a websocket in a way that is not RFC 6455's."""

    code = "invalid_handshake"

    def headers(self) -> list[tuple[str, str]]:
        return [("sec-websocket-version", "13")]


class Sockets:
    """`GET` with `Upgrade: websocket` on the paths of chat and responses."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door

    def mount(self) -> None:
        for path, form in _FORMS:
            route = Route("websocket", self._opener(form), authenticated=False)
            for base in BASES:
                self._door.add(base + path, {WEBSOCKET: route})

    def _opener(self, form: Form) -> Handler:
        async def handle(exchange: Exchange) -> None:
            self._open(exchange, form)

        return handle

    def _open(self, exchange: Exchange, form: Form) -> None:
        line = exchange.wire
        assert isinstance(line, ServerProtocol)
        if line.draining:
            raise Unavailable("The server is shutting down.")
        origin = exchange.headers.get(b"origin")
        if origin is not None and not self._door.welcomes(origin):
            raise Forbidden("Pages of this origin may not call this server.", code="origin_not_allowed")
        if line.waiting:
            raise HandshakeRefused("The websocket cannot be opened: other requests were sent behind it.")
        offered = _offered(exchange)
        frames = Frames(max_size=line.options.body_limit, select_subprotocol=_chosen, logger=_QUIET)
        asked = Asked(exchange.target, _headers_of_requests(exchange, offered), form)
        socket = SocketLine(line, frames, asked)
        first = SocketExchange(socket, exchange.accepted, asked)
        self._door.admit(first)
        if first.refusal is not None:
            raise first.refusal
        line.switch(socket, _handshake(frames, exchange))


def _handshake(frames: Frames, exchange: Exchange) -> bytes:
    """Our agreement. HandshakeRefused where the client's part is not as it should be."""
    lines = [b"%b: %b\r\n" % pair for pair in exchange.raw_headers if pair[0] in _OPENING or pair[0] == _PROTOCOL]
    frames.receive_data(b"GET / HTTP/1.1\r\n%b\r\n" % b"".join(lines))
    for request in frames.events_received():
        if isinstance(request, Request):
            response = frames.accept(request)
            if response.status_code == 101:
                response.headers["x-request-id"] = exchange.request_id
                frames.send_response(response)
                return b"".join(frames.data_to_send())
    why = frames.handshake_exc
    if isinstance(why, InvalidHeader) and why.name.lower().encode("latin-1") == _PROTOCOL:
        why = None  # it may repeat a key
    told = why or "a subprotocol holds characters that none may hold; percent-encode them"
    raise HandshakeRefused(f"The websocket cannot be opened: {told}.")


def _offered(exchange: Exchange) -> list[str]:
    values = [value.decode("latin-1") for name, value in exchange.raw_headers if name == _PROTOCOL]
    return [name for value in values for offer in value.split(",") if (name := offer.strip())]


def _chosen(_frames: Frames, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """One of those that the client offers, since browsers give up where none is chosen."""
    for offer in offered:
        if offer in _SPOKEN:
            return offer
    for offer in offered:
        if offer.startswith(_KEYS) and _ENCODED not in offer:  # a credential is not repeated, even to its owner
            return offer
    return None


def _headers_of_requests(exchange: Exchange, offered: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """What the opening says of every request that will come: the key above all."""
    headers = [pair for pair in exchange.raw_headers if pair[0] not in _NOT_THEIRS]
    headers.append((b"content-type", b"application/json"))
    if b"x-api-key" not in exchange.headers:
        for offer in offered:
            for prefix in _KEYS:
                if offer.startswith(prefix):
                    headers.append((b"x-api-key", unquote_to_bytes(offer.removeprefix(prefix).encode("latin-1"))))
                    return headers
    return headers
