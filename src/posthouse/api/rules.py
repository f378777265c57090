"""What is asked of the head of every request, whatever its route. `protocol.py` applies it before anybody is asked who
the caller is."""

import re
from typing import Final

from posthouse.api.exchange import WEBSOCKET, Exchange
from posthouse.core.errors import InvalidRequest, MethodNotAllowed, PosthouseError

# A name or an address, and a port (RFC 9110, 7.2; RFC 3986, 3.2.2).
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")


class HeadTooLarge(PosthouseError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


def check_host(exchange: Exchange) -> None:
    host = exchange.headers.get(b"host")
    if exchange.chunked if host is None else _HOST.fullmatch(host) is None:  # HTTP/1.0 needs none
        raise InvalidRequest("The request's Host header is missing or not valid.", code="invalid_host")


def check_size(exchange: Exchange, limit: int) -> None:
    size = len(exchange.target) + sum([len(name) + len(value) + 4 for name, value in exchange.headers.items()])
    if size > limit:
        raise too_large_head(limit)


def too_large_head(limit: int) -> HeadTooLarge:
    return HeadTooLarge(f"The request's headers are larger than {limit} bytes.")


def check_encoding(exchange: Exchange) -> None:
    coding = exchange.headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"identity", b""):
        raise InvalidRequest("A request's body must not be compressed here.", code="unsupported_encoding")


def check_method(exchange: Exchange) -> None:
    if exchange.method == b"CONNECT":
        raise MethodNotAllowed("This server is no proxy.")


def upgrading_body(exchange: Exchange) -> int:
    """How many bytes of body follow a head that wishes for an upgrade; llhttp takes them for another protocol.

    A wish for a websocket becomes the method, for routes that have one. No other is heeded (RFC 9110, 7.8): some
    clients wish for h2c with every first request.
    """
    headers = exchange.headers
    if b"transfer-encoding" in headers:
        raise InvalidRequest("A request with an upgrade must have a content-length.", code="upgrade_refused")
    size = int(headers.get(b"content-length", b"0"))
    if headers[b"upgrade"].lower() == b"websocket" and exchange.method == b"GET" and exchange.chunked and not size:
        exchange.method = WEBSOCKET
    return size
