"""The front door: from a parsed request to the face that answers it, and from an error to its response.

Above: `app.py`, which fills the table of routes. Below: `exchange.py`. This is the one place where an error of ours
becomes HTTP.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Final, Protocol
from urllib.parse import parse_qs

from posthouse.api.bringing import bringing
from posthouse.api.exchange import WEBSOCKET, Exchange, Route
from posthouse.api.heads import Heads
from posthouse.api.house import ProtocolOptions
from posthouse.api.peers import Peers
from posthouse.api.shapes import OPENAI, Shape
from posthouse.core.caller import Caller
from posthouse.core.errors import MethodNotAllowed, NotFound, PosthouseError, Unauthenticated, Unavailable
from posthouse.core.ids import IdMaker
from posthouse.upstream.outbox import Outbox

logger = logging.getLogger("posthouse.api")

JSON: Final = b"content-type: application/json\r\n"
# A request refused by its head is answered at once if its body is larger than this; a smaller one is read first, so
# that the connection can be used again.
_SMALL_BODY: Final = 64 << 10
_ABSOLUTE: Final = ("http://", "https://")  # how a proxy is asked, and every server must understand (RFC 9112, 3.2.2)
_ALLOW_METHODS: Final = b"access-control-allow-methods: GET, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
_ALLOW_HEADERS: Final = (
    "authorization, content-type, accept, x-api-key, api-key, x-goog-api-key, openai-organization, openai-project, "
    "openai-beta, user-agent, idempotency-key, x-posthouse-strict, anthropic-version, anthropic-beta, "
    "anthropic-dangerous-direct-browser-access, x-goog-api-client, x-request-id, x-client-request-id, "
    "x-stainless-lang, x-stainless-package-version, x-stainless-os, x-stainless-arch, x-stainless-runtime, "
    "x-stainless-runtime-version, "
    "x-stainless-async, x-stainless-retry-count, x-stainless-read-timeout, x-stainless-timeout, x-stainless-helper, "
    "x-stainless-helper-method, x-stainless-raw-response, x-stainless-custom-poll-interval, x-stainless-poll-helper"
)
_EXPOSE: Final = (
    b"access-control-expose-headers: x-request-id, request-id, openai-processing-ms, retry-after, retry-after-ms, "
    b"x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, x-posthouse-deployment, "
    b"x-posthouse-attempts, x-posthouse-cost, x-posthouse-currency, x-posthouse-dropped, "
    b"idempotency-replayed, idempotency-kept\r\n"
)


class InternalError(PosthouseError):
    """A fault of ours. Nothing of it is told to the caller but that, and the request's id."""

    status = 500
    code = "internal_error"


class Doorkeeper(Protocol):
    def authenticate(self, secret: str) -> Caller: ...


class Watcher(Protocol):
    """What wants to know of requests that the gateway never saw (refused at the door, pages, the control plane)."""

    def request_refused(self, route: str, error: PosthouseError) -> None: ...


class Once(Protocol):
    async def answer(self, exchange: Exchange, route: Route) -> None:
        """As the route's handler does, but only once for all requests that are the same."""


class FrontDoor:
    """Routes by exact path and method; `prefixes` are tried in order where no path fits (`/admin`, `/v1/models/`)."""

    def __init__(
        self,
        options: ProtocolOptions,
        doorkeeper: Doorkeeper,
        watcher: Watcher,
        ids: IdMaker,
        origins: tuple[str, ...] = ("*",),
    ) -> None:
        self.options = options
        self.outbox = Outbox()
        self.heads = Heads()
        self.date_line = b""
        self.draining = False
        self.once: Once | None = None  # what answers requests with an Idempotency-Key; None heeds none
        self.peers: Peers | None = None  # where there are limits of addresses
        self._doorkeeper = doorkeeper
        self._watcher = watcher
        self._make_id = ids.make
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any_origin = "*" in origins
        self._paths: dict[str, dict[bytes, Route]] = {}
        self._prefixes: list[tuple[str, dict[bytes, Route]]] = []
        self._shapes: list[tuple[str, bytes | None, bytes | None, Shape]] = []
        self._inner_shapes: list[tuple[re.Pattern[str], Shape]] = []
        self._query_keys: tuple[str, ...] = ()
        self.tick()

    def address_of(self, exchange: Exchange) -> str:
        """Of the client; empty where nothing is limited by it."""
        return "" if self.peers is None else self.peers.address_of(exchange)

    def add(self, path: str, methods: Mapping[bytes, Route]) -> None:
        self._paths.setdefault(path, {}).update(methods)

    def add_prefix(self, prefix: str, methods: Mapping[bytes, Route]) -> None:
        """Methods on all paths that begin so; a prefix that is there already gets these too."""
        for known, routes in self._prefixes:
            if known == prefix:
                routes.update(methods)
                return
        self._prefixes.append((prefix, dict(methods)))

    def take_key_from_query(self, prefix: str) -> None:
        """On paths that begin so, `?key=` may hold the key, since the clients of that dialect send it there."""
        self._query_keys = (*self._query_keys, prefix)

    def add_shape(self, prefix: str, shape: Shape, header: bytes | None = None, method: bytes | None = None) -> None:
        """Errors on paths that begin so have this shape, whether there is such a route or not; with `header`, only for
        clients that send one of this name, with `method`, only where it is this one. The first added that fits stands;
        OpenAI's where none does."""
        self._shapes.append((prefix, header, method, shape))

    def add_inner_shape(self, pattern: re.Pattern[str], shape: Shape) -> None:
        """The same for paths that are wholly so: some prefixes have no one dialect."""
        self._inner_shapes.append((pattern, shape))

    def paths(self) -> list[str]:
        return sorted([*self._paths, *(prefix + "*" for prefix, _ in self._prefixes)])

    def tick(self) -> None:
        """Once a second: the `date` header."""
        self.date_line = b"date: %b\r\n" % formatdate(usegmt=True).encode()

    # What the connection asks

    def admit(self, exchange: Exchange) -> None:
        exchange.request_id = self._make_id("req")
        path, _, exchange.query = exchange.target.partition(b"?")
        try:
            exchange.path = path.decode("ascii")
            exchange.route = route = self._route(exchange)
            if route is not None and route.authenticated:
                said = self._credential(exchange)
                if ":" in said:
                    exchange.caller, exchange.own = bringing(said, self._doorkeeper.authenticate)
                else:
                    exchange.caller = self._doorkeeper.authenticate(said)
        except UnicodeDecodeError:
            exchange.refusal = NotFound("The path is not ASCII.", code="unknown_url")
        except PosthouseError as error:
            exchange.refusal = error
        if exchange.refusal is not None and _large(exchange.headers):
            raise exchange.refusal

    async def answer(self, exchange: Exchange) -> None:
        try:
            if exchange.refusal is not None:
                raise exchange.refusal
            route = exchange.route
            if route is None:
                self._preflight(exchange)
            elif route.once and self.once is not None and b"idempotency-key" in exchange.headers:
                await self.once.answer(exchange, route)
            else:
                await route.handler(exchange)
        except PosthouseError as error:
            self._watcher.request_refused(exchange.route.name if exchange.route else "none", error)
            self.fail(exchange, error)
        except asyncio.CancelledError:
            if not exchange.gone:  # not the client but our own end: the drain's deadline is over
                self.fail(exchange, Unavailable("The server is shutting down."))
        except Exception:  # the top of a task: whatever is wrong with one request must not be silent, nor reach others
            logger.exception("unexpected error", extra={"request_id": exchange.request_id})
            self.fail(exchange, InternalError(f"Something is wrong on our side. Request: {exchange.request_id}"))

    def refused(self, exchange: Exchange, error: PosthouseError) -> None:
        if not exchange.request_id:
            exchange.request_id = self._make_id("req")
            exchange.path = exchange.target.partition(b"?")[0].decode("ascii", "replace")  # it has a dialect already
        self._watcher.request_refused(exchange.route.name if exchange.route else "none", error)

    def fail(self, exchange: Exchange, error: PosthouseError) -> None:
        """The error as a whole response, or as the last event of a stream that has begun. What is no stream of events
        breaks off."""
        shape = self.shape(exchange)
        exchange.refusal = error
        if exchange.started:
            if exchange.opaque:
                exchange.cut()
            else:
                exchange.end(shape.event(error, exchange.request_id))
            return
        body = shape.body(error, exchange.request_id)
        extra = b"".join(b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in error.headers())
        head = JSON + self.common_head(exchange) + shape.lines(exchange.request_id)
        exchange.respond(error.status, head + error.trail + extra, body)

    def shape(self, exchange: Exchange) -> Shape:
        """How the dialect of this path says errors; OpenAI's where the path is not known yet."""
        path = exchange.path
        for prefix, header, method, shape in self._shapes:
            if (
                path.startswith(prefix)
                and (header is None or header in exchange.headers)
                and method in (None, exchange.method)
            ):
                return shape
        return next((shape for pattern, shape in self._inner_shapes if pattern.fullmatch(path)), OPENAI)

    def common_head(self, exchange: Exchange) -> bytes:
        """Lines that every response carries."""
        origin = exchange.headers.get(b"origin")
        cors = b"" if origin is None else self._cors(origin)
        return b"x-request-id: %b\r\n%b" % (exchange.request_id.encode(), cors)

    def heartbeat_head(self, exchange: Exchange) -> bytes:
        return b"content-type: text/event-stream\r\ncache-control: no-cache\r\n" + self.common_head(exchange)

    # Inside

    def _route(self, exchange: Exchange) -> Route | None:
        """None for a preflight."""
        path = exchange.path
        methods = self._paths.get(path)
        if methods is None:
            methods = next((methods for prefix, methods in self._prefixes if path.startswith(prefix)), None)
        if methods is None and path.startswith(_ABSOLUTE):
            exchange.path = "/" + path.partition("://")[2].partition("/")[2]
            return self._route(exchange)
        if methods is None:
            raise NotFound(f"Unknown request URL: {_shown(exchange)}. See GET / for what there is.", code="unknown_url")
        method = exchange.method
        route = methods.get(method)
        if route is not None:
            return route
        if method == WEBSOCKET:  # there are none here: the wish is not heeded
            exchange.method = b"GET"
            return self._route(exchange)
        if method == b"OPTIONS":
            return None
        if method == b"HEAD" and b"GET" in methods:
            return methods[b"GET"]
        allowed = ", ".join(sorted(name.decode() for name in methods if name != WEBSOCKET))
        raise MethodNotAllowed(f"{_shown(exchange)} is not allowed; allowed: {allowed}.", allowed)

    def _credential(self, exchange: Exchange) -> str:
        try:
            return credential_of(exchange.headers)
        except Unauthenticated:
            if exchange.query and exchange.path.startswith(self._query_keys):
                for secret in parse_qs(exchange.query.decode("latin-1")).get("key", ()):
                    return secret
            raise

    def _preflight(self, exchange: Exchange) -> None:
        asked = exchange.headers.get(b"access-control-request-headers", b"")[:4096].decode("latin-1")
        names = [name.strip().lower() for name in asked.split(",")]
        fit = [name for name in names if name and name.replace("-", "").replace("_", "").isalnum() and name.isascii()]
        known = _ALLOW_HEADERS.split(", ")
        allow = ", ".join([*known, *(name for name in fit if name not in known)]).encode()
        head = b"%baccess-control-allow-headers: %b\r\naccess-control-max-age: 86400\r\n" % (_ALLOW_METHODS, allow)
        exchange.respond(204, self.common_head(exchange) + head, b"")

    def welcomes(self, origin: bytes) -> bool:
        """Whether pages of this origin may call the model routes."""
        return self._any_origin or origin in self._origins

    def _cors(self, origin: bytes) -> bytes:
        if self._any_origin:
            return b"access-control-allow-origin: *\r\n" + _EXPOSE
        if origin in self._origins:
            return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSE)
        return b""


def credential_of(headers: Mapping[bytes, bytes]) -> str:
    """The key, by the four names under which clients send one: one policy for all. Raises Unauthenticated without
    one."""
    value = headers.get(b"authorization")
    if value is not None:
        scheme, _, secret = value.partition(b" ")
        if scheme.lower() == b"bearer" and secret:
            return secret.strip().decode("latin-1")
    for name in (b"x-api-key", b"api-key", b"x-goog-api-key"):
        value = headers.get(name)
        if value:
            return value.decode("latin-1")
    raise Unauthenticated(
        "You did not provide an API key. Send it as `Authorization: Bearer YOUR_KEY`; "
        "an operator makes one with `posthouse keys create --name NAME`."
    )


def _large(headers: Mapping[bytes, bytes]) -> bool:
    length = headers.get(b"content-length")
    if length is not None:
        return int(length) > _SMALL_BODY
    return b"transfer-encoding" in headers


def _shown(exchange: Exchange) -> str:
    """Method and path for a message: bounded, and without the query, which may hold a secret."""
    method = b"GET" if exchange.method == WEBSOCKET else exchange.method
    return f"{method.decode('latin-1')} {exchange.path[:200]}"


async def keep_time(door: FrontDoor, connections: set[object]) -> None:
    """Sweeps all connections once a second until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1.0 - time.time() % 1.0)
        door.tick()
        now = loop.time()
        for connection in tuple(connections):
            try:
                connection.sweep(now)  # type: ignore[attr-defined]  # uvicorn's set is typed for its own classes
            except Exception:  # the top of a task: one connection's fault must not stop the deadlines of all others
                logger.exception("a connection could not be swept")
