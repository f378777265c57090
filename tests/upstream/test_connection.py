"""What happens on one connection, segment by segment."""

import gzip
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest

from posthouse.core.errors import UpstreamFailure
from posthouse.upstream.connection import HIGH_WATER, JOIN_LIMIT, MAX_BARREN, MAX_HEAD, MAX_HEADERS
from posthouse.upstream.exchange import Exchange
from tests.upstream.server import body_of, soon
from tests.upstream.wire import Wire

BODY = b'data: {"a": 1}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
SIZED = HEAD + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = HEAD + b"Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (
    BODY[:3],
    len(BODY) - 3,
    BODY[3:],
)
INTERIM = b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + SIZED
UNTIL_CLOSE = HEAD + b"\r\n" + BODY
SMALL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


def at_once(coroutine: Coroutine[Any, Any, bytes]) -> bytes:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: bytes = stop.value
        return result
    coroutine.close()
    raise AssertionError("it suspended")


async def failure_of(exchange: Exchange) -> UpstreamFailure:
    """The failure in which the body ends."""
    with pytest.raises(UpstreamFailure) as caught:
        await body_of(exchange)
    return caught.value


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, INTERIM], ids=["sized", "chunked", "interim"])
async def test_an_answer_is_whole_wherever_it_is_cut(answer: bytes) -> None:
    wire = Wire()
    for cut in range(1, len(answer)):
        exchange = wire.ask()
        wire.feed(answer[:cut], answer[cut:])
        assert (exchange.status, exchange.headers[0]) == (200, (b"content-type", b"text/event-stream"))
        assert len(exchange.headers) == 2
        assert await body_of(exchange) == BODY
    assert (wire.kept, wire.gone) == (len(answer) - 1, 0)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, INTERIM], ids=["sized", "chunked", "interim"])
async def test_an_answer_is_whole_when_it_comes_byte_by_byte(answer: bytes) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(*(answer[at : at + 1] for at in range(len(answer))))
    assert await soon(exchange.read(len(BODY))) == BODY
    assert (wire.kept, wire.gone) == (1, 0)


async def test_a_body_that_ends_with_the_connection_ends_cleanly_and_the_connection_is_not_kept() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(UNTIL_CLOSE)
    assert await soon(exchange.chunk()) == BODY
    wire.connection.eof_received()
    assert await soon(exchange.chunk()) == b""
    assert (wire.kept, wire.gone) == (0, 1)


async def test_what_came_in_one_segment_is_read_without_suspending() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(SMALL)
    assert at_once(exchange.chunk()) == b"hi"
    assert at_once(exchange.chunk()) == b""
    exchange = wire.ask()
    wire.feed(SMALL)
    assert at_once(exchange.read(2)) == b"hi"
    exchange = wire.ask()
    wire.feed(CHUNKED[:-5])
    assert at_once(exchange.chunk()) == BODY


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_body_end_with_their_head(status: bytes) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\n\r\n")
    assert at_once(exchange.chunk()) == b""
    assert wire.kept == 1


async def test_the_answer_to_a_head_request_has_no_body_and_its_connection_is_not_kept() -> None:
    wire = Wire()
    exchange = wire.ask(head_only=True)
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
    assert at_once(exchange.chunk()) == b""
    assert (wire.kept, wire.gone) == (0, 1)


async def test_trailers_reach_neither_this_answer_nor_the_next() -> None:
    wire = Wire()
    first = wire.ask()
    wire.feed(CHUNKED)
    second = wire.ask()
    wire.feed(SMALL)
    assert [name for name, _ in first.headers] == [b"content-type", b"transfer-encoding"]
    assert second.headers == [(b"content-length", b"2")]


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"],
)
async def test_a_connection_is_not_kept_where_the_upstream_says_so(head: bytes) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(head + b"content-length: 2\r\n\r\nhi")
    assert await soon(exchange.read(2)) == b"hi"
    assert (wire.kept, wire.gone) == (0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_HEADERS + 1) + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * MAX_HEAD,
        b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD,
    ],
    ids=range(15),
)
@pytest.mark.parametrize("step", [1000, 10_000_000])
async def test_a_head_that_makes_no_sense_or_has_no_end_is_refused(answer: bytes, step: int) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(*(answer[at : at + step] for at in range(0, len(answer), step)))
    assert (await failure_of(exchange)).kind == "server"
    assert (wire.kept, wire.gone, wire.transport.aborted) == (0, 1, True)


async def test_a_large_first_segment_is_no_large_head() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + bytes(200000))
    assert len(await soon(exchange.read(200000))) == 200000


@pytest.mark.parametrize(
    "rest", [b"5;" + b"x" * (2 * MAX_BARREN), b"0\r\nt: " + b"x" * (2 * MAX_BARREN)], ids=["extension", "trailer"]
)
async def test_a_body_in_which_nothing_comes_for_long_is_refused(rest: bytes) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
    assert await soon(exchange.chunk()) == b"hi"
    wire.feed(*(rest[at : at + 1000] for at in range(0, len(rest), 1000)))
    assert (await failure_of(exchange)).kind == "server"


async def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    wire = Wire()
    wire.ask()
    wire.feed(SMALL)
    wire.feed(SMALL)
    assert (wire.kept, wire.gone, wire.transport.aborted) == (1, 1, True)


async def test_a_second_answer_behind_the_first_is_dropped_with_the_connection() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(SMALL + SMALL)
    assert await soon(exchange.read(100)) == b"hi"
    assert (wire.kept, wire.gone) == (0, 1)


@pytest.mark.parametrize("answer", [SIZED[:-1], CHUNKED[:-1]], ids=["sized", "chunked"])
@pytest.mark.parametrize("end", ["eof", "lost"])
async def test_a_body_that_breaks_off_fails_after_what_came(answer: bytes, end: str) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(answer)
    if end == "eof":
        wire.connection.eof_received()
    wire.connection.connection_lost(None if end == "eof" else ConnectionResetError("reset"))
    assert BODY.startswith(await soon(exchange.chunk()))
    assert (await failure_of(exchange)).kind == "connect"
    assert (await failure_of(exchange)).kind == "connect"
    assert (wire.kept, wire.gone) == (0, 1)


async def test_garbage_in_the_middle_of_a_body_fails_after_what_came() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\nnonsense\r\n")
    assert await soon(exchange.chunk()) == b"hi"
    assert (await failure_of(exchange)).kind == "server"


async def test_a_body_larger_than_the_limit_is_refused_and_its_connection_aborted() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-length: 1000\r\n\r\n" + bytes(600))
    with pytest.raises(UpstreamFailure) as caught:
        await soon(exchange.read(500))
    assert (caught.value.kind, wire.transport.aborted) == ("server", True)


async def test_a_whole_body_larger_than_the_limit_is_refused() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(SIZED)
    with pytest.raises(UpstreamFailure):
        await soon(exchange.read(len(BODY) - 1))


async def test_close_aborts_an_incomplete_answer_and_may_be_repeated() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(CHUNKED[:-1])
    exchange.close()
    assert (wire.kept, wire.gone, wire.transport.aborted) == (0, 1, True)
    exchange.close()
    assert wire.gone == 1
    with pytest.raises(UpstreamFailure):
        await soon(exchange.chunk())


async def test_close_of_a_whole_answer_does_nothing_to_the_next_one() -> None:
    wire = Wire()
    first = wire.ask()
    wire.feed(SMALL)
    second = wire.ask()
    first.close()
    wire.feed(SMALL)
    assert await soon(second.read(2)) == b"hi"
    assert not wire.transport.aborted


async def test_a_compressed_answer_is_decoded_and_looks_as_if_it_never_was() -> None:
    data = gzip.compress(BODY)
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-encoding: GZIP\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data))
    assert exchange.headers == [(b"content-type", b"text/event-stream")]
    assert await soon(exchange.read(len(BODY))) == BODY


async def test_a_compressed_stream_is_decoded_as_it_comes() -> None:
    data = gzip.compress(BODY)
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
    for at in range(len(data)):
        wire.feed(b"1\r\n" + data[at : at + 1] + b"\r\n")
    wire.feed(b"0\r\n\r\n")
    assert await body_of(exchange) == BODY


@pytest.mark.parametrize(
    ("data", "kind"), [(gzip.compress(BODY)[:-3], "connect"), (b"not gzip", "server")], ids=["short", "damaged"]
)
async def test_a_compressed_answer_that_is_short_or_damaged_fails(data: bytes, kind: str) -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data))
    assert (await failure_of(exchange)).kind == kind


async def test_a_compressed_bomb_stops_at_the_readers_limit() -> None:
    data = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=6)
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(data))
    wire.feed(data)
    tracemalloc.start()
    with pytest.raises(UpstreamFailure):
        await soon(exchange.read(4 * 1024 * 1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


async def test_reading_pauses_while_nobody_takes_what_came_and_resumes_when_somebody_does() -> None:
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    fed = 0
    while wire.transport.is_reading():
        wire.feed(piece)
        fed += 65536
    assert HIGH_WATER <= fed <= HIGH_WATER + 65536
    assert len(await soon(exchange.chunk())) == fed
    assert wire.transport.is_reading()
    wire.feed(b"0\r\n\r\n")
    assert at_once(exchange.chunk()) == b""


async def test_a_connection_that_was_paused_reads_again_once_its_answer_is_whole() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"content-length: 400000\r\n\r\n", bytes(300000))
    assert not wire.transport.is_reading()
    wire.feed(bytes(100000))  # what was on its way already
    assert wire.transport.is_reading()
    assert wire.kept == 1
    assert len(await soon(exchange.read(400000))) == 400000


async def test_a_small_request_is_one_write_and_a_large_one_is_not_copied_into_one() -> None:
    wire = Wire()
    wire.ask(body=bytes(JOIN_LIMIT))
    wire.feed(SMALL)
    wire.ask(body=bytes(JOIN_LIMIT + 1))
    assert [len(data) > JOIN_LIMIT for data in wire.transport.written] == [True, False, True]


async def test_a_connection_is_not_kept_when_the_answer_came_before_the_request_was_sent() -> None:
    wire = Wire()
    exchange = wire.ask(body=bytes(JOIN_LIMIT + 1))
    wire.transport.unsent = 1
    wire.feed(SMALL)
    assert await soon(exchange.read(2)) == b"hi"
    assert (wire.kept, wire.gone) == (0, 1)


async def test_the_upstreams_wish_for_keep_alive_is_noted_with_a_margin() -> None:
    wire = Wire()
    wire.ask()
    wire.feed(b"HTTP/1.1 200 OK\r\nkeep-alive: max=100, Timeout=10\r\ncontent-length: 2\r\n\r\nhi")
    assert wire.connection.keep_alive == 9.0


async def test_an_answer_has_one_reader() -> None:
    wire = Wire()
    exchange = wire.ask()
    wire.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    first = exchange.chunk()
    first.send(None)
    with pytest.raises(RuntimeError, match="one reader"):
        await exchange.chunk()
    first.close()
    wire.feed(b"2\r\nhi\r\n")
    assert await soon(exchange.chunk()) == b"hi"
