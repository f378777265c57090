"""What a silent event stream says: a comment, or what the dialect's clients take instead."""

import pytest

from posthouse.api.exchange import HEARTBEAT, Exchange
from posthouse.dialects import gemini


class _Line:
    """A connection that keeps what is sent."""

    date = b"date: now\r\n"
    peer = ""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def release(self, exchange: Exchange) -> None: ...

    async def drained(self) -> None: ...


@pytest.mark.req("GEM-STREAM-011")
@pytest.mark.parametrize("said", [HEARTBEAT, gemini.HEARTBEAT])
def test_a_silent_stream_says_what_its_clients_take(said: bytes) -> None:
    line = _Line()
    exchange = Exchange(line, accepted=0.0)
    exchange.streaming = True
    exchange.heartbeat = said
    exchange.beat(now=1.0, interval=5.0, headers=b"")
    assert line.sent == []
    exchange.beat(now=6.0, interval=5.0, headers=b"")
    assert line.sent[-1] == b"%x\r\n%b\r\n" % (len(said), said)


@pytest.mark.req("GEM-STREAM-011")
def test_the_line_of_this_dialect_holds_nothing_that_could_be_read() -> None:
    assert not gemini.HEARTBEAT.strip()
