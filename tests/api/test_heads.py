"""Heads that came before: what may be taken for the same again, and what never."""

import pytest

from posthouse.api.exchange import Exchange
from posthouse.api.heads import Heads, KnownHead

LINES = b"Host: a\r\nAuthorization: Bearer one\r\nContent-Length: %d\r\nX-Last: z\r\n\r\n"


class Nowhere:
    date = b""
    peer = ""

    def send(self, data: bytes) -> None: ...
    def release(self, exchange: Exchange) -> None: ...
    async def drained(self) -> None: ...


def request(body: bytes, first: bytes = b"POST /v1/x HTTP/1.1\r\n") -> bytes:
    return first + LINES % len(body) + body


def exchange_of(body: bytes) -> Exchange:
    """What the protocol makes of `request(body)`."""
    exchange = Exchange(Nowhere(), 0.0)
    exchange.method, exchange.target, exchange.body = b"POST", b"/v1/x", body
    exchange.raw_headers = [
        (b"host", b"a"),
        (b"authorization", b"Bearer one"),
        (b"content-length", b"%d" % len(body)),
        (b"x-last", b"z"),
    ]
    exchange.headers = dict(exchange.raw_headers)
    return exchange


def learned(heads: Heads, body: bytes = b"{}") -> KnownHead:
    known = heads.learn(exchange_of(body), request(body))
    assert known is not None
    return known


def test_the_same_head_with_a_body_of_any_length_gives_what_the_parser_gave() -> None:
    known = learned(Heads())
    for body in (b"{}", b"[]", b'{"model":"m"}', b"x" * 100_000):
        found = known.body_in(request(body))
        assert found == body
        exchange = known.exchange(Nowhere(), 5.0, body)
        expected = exchange_of(body)
        assert (exchange.method, exchange.target, exchange.body) == (b"POST", b"/v1/x", body)
        assert (exchange.headers, exchange.raw_headers) == (expected.headers, expected.raw_headers)
        assert exchange.accepted == 5.0


@pytest.mark.parametrize(
    "other",
    [
        request(b"{}").replace(b"Bearer one", b"Bearer two"),
        request(b"{}").replace(b"X-Last: z", b"X-Last: y"),
        request(b"{}").replace(b"X-Last: z\r\n", b"X-Last: z\r\nTransfer-Encoding: chunked\r\n"),
        request(b"{}").replace(b"Length: 2", b"Length: +2"),
        request(b"{}").replace(b"Length: 2", b"Length: 02"),
        request(b"{}").replace(b"Length: 2", b"Length: 2 "),
        request(b"{}").replace(b"Length: 2", b"Length: 3"),
        request(b"{}").replace(b"Length: 2", b"Length: 1"),
        request(b"{}").replace(b"Length: 2", b"Length: \xb2"),
        request(b"{}") + b"POST",
        request(b"{}")[:-1],
        request(b"")[:-4],
        b"\r\n" + request(b"{}"),
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(other: bytes) -> None:
    assert learned(Heads()).body_in(other) is None


def test_connections_with_the_same_head_share_what_is_known_of_it() -> None:
    heads = Heads()
    assert learned(heads) is learned(heads, b"[1]")


def test_the_end_of_a_head_that_came_in_two_segments_is_not_learned() -> None:
    """It lacks the lines before: another connection with other ones would be taken for this one."""
    segment = request(b"{}").partition(b"Bearer one\r\n")[2]
    assert Heads().learn(exchange_of(b"{}"), segment) is None


def test_a_body_that_looks_like_a_request_is_not_learned() -> None:
    inner = request(b"{}")
    exchange = exchange_of(inner)
    assert Heads().learn(exchange, inner) is None


@pytest.mark.parametrize("line", [b"Transfer-Encoding: identity", b"Expect: 100-continue", b"Upgrade: h2c"])
def test_a_head_that_asks_for_more_is_not_learned(line: bytes) -> None:
    exchange = exchange_of(b"{}")
    name, _, value = line.lower().partition(b": ")
    exchange.raw_headers.append((name, value))
    exchange.headers = dict(exchange.raw_headers)
    assert Heads().learn(exchange, request(b"{}").replace(b"X-Last: z", line)) is None


@pytest.mark.parametrize(
    "odd",
    [
        request(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"{}").replace(b"X-Last: z\r\n", b"X-Last: z\n"),
        b"\r\n" + request(b"{}"),
        request(b"{}").replace(b"Content-Length: 2", b"Content-Length : 2"),
    ],
)
def test_an_odd_head_is_not_learned(odd: bytes) -> None:
    assert Heads().learn(exchange_of(b"{}"), odd) is None


def test_a_connection_that_will_close_teaches_nothing() -> None:
    exchange = exchange_of(b"{}")
    exchange.keep_alive = False
    assert Heads().learn(exchange, request(b"{}")) is None


def test_the_number_of_heads_is_bounded() -> None:
    heads = Heads()
    for number in range(2_000):
        exchange = exchange_of(b"{}")
        exchange.target = b"/%d" % number
        assert heads.learn(exchange, request(b"{}", b"POST /%d HTTP/1.1\r\n" % number)) is not None
    assert len(heads) <= 512
