"""Where a request comes from, and whom that is believed of."""

import pytest

from posthouse.api.exchange import Exchange
from posthouse.api.peers import Peers


class Wire:
    date = b""

    def __init__(self, peer: str) -> None:
        self.peer = peer

    def send(self, data: bytes) -> None:
        raise AssertionError

    def release(self, exchange: Exchange) -> None:
        raise AssertionError

    async def drained(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # whoever asks itself is not believed
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # what stood there before may be invented
        ("10.1.2.3", "198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.1.2.3", "198.51.100.1:4711", "198.51.100.1"),
        ("10.1.2.3", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.1.2.3", "unknown", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "10.9.9.9", "10.9.9.9"),
        ("::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_a_proxy_is_believed_where_it_is_trusted(peer: str, forwarded: str | None, address: str) -> None:
    exchange = Exchange(Wire(peer), 0.0)
    if forwarded is not None:
        exchange.headers = {b"x-forwarded-for": forwarded.encode()}
    assert Peers(["10.0.0.0/8"]).address_of(exchange) == address
    assert Peers().address_of(exchange) == peer
