"""Bodies that a handler reads as they come: order, back-pressure, clients that are slow, cut off or send too much, and
what becomes of a connection whose body nobody read."""

import asyncio
from functools import partial
from typing import Final

import pytest

from posthouse.api.exchange import Exchange, Route
from posthouse.api.house import ProtocolOptions
from posthouse.api.inflow import HIGH_WATER
from posthouse.core.errors import InvalidRequest, PosthouseError
from tests.api.doorway import KEY, Client, Doorway, Handler, doorway, soon, until

TEXT: Final = b"content-type: text/plain\r\n"


def head(path: str = "/up", extra: str = "", key: str = KEY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: house\r\nauthorization: Bearer {key}\r\n{extra}\r\n".encode()


def sized(size: int, extra: str = "") -> bytes:
    return head(extra=f"content-length: {size}\r\n{extra}")


CHUNKED: Final = head(extra="transfer-encoding: chunked\r\n")


async def echo(exchange: Exchange) -> None:
    pieces = []
    while piece := await exchange.read():
        pieces.append(piece)
    exchange.respond(200, TEXT, b"".join(pieces))


class Reads:
    """A handler that reads when the test says so."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.error: PosthouseError | None = None
        self._more = asyncio.Event()

    def has(self, pieces: int) -> bool:
        return len(self.pieces) == pieces

    def go_on(self) -> None:
        self._more.set()

    async def handle(self, exchange: Exchange) -> None:
        self.called.set()
        try:
            await self._more.wait()
            while piece := await exchange.read():
                self.pieces.append(piece)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        except PosthouseError as error:
            self.error = error
            raise
        exchange.respond(200, TEXT, b"%d" % sum(map(len, self.pieces)))


def route(at: Doorway, handler: Handler) -> None:
    at.stream("/up", handler)


async def opened(at: Doorway, handler: Handler) -> Client:
    route(at, handler)
    return await at.client()


# --- whole bodies ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cut", [1, 7, 50, 10_000])
async def test_a_sized_body_comes_whole_and_the_connection_is_used_again(cut: int) -> None:
    async with doorway() as at:
        client = await opened(at, echo)
        for text in (b"x" * 300, b"", b"y" * 20):
            data = sized(len(text)) + text
            for start in range(0, len(data), cut):
                client.send(data[start : start + cut])
                await asyncio.sleep(0)
            status, headers, body = await client.answer()
            assert (status, body) == (200, text)
            assert "connection" not in headers
        await client.leave()


async def test_a_chunked_body_comes_whole_and_so_do_requests_pipelined_behind_it() -> None:
    async with doorway() as at:
        client = await opened(at, echo)
        client.send(CHUNKED + b"3\r\nabc\r\n" + b"2\r\nde\r\n0\r\n\r\n" + sized(2) + b"fg" + sized(2) + b"hi")
        assert [(await client.answer())[2] for _ in range(3)] == [b"abcde", b"fg", b"hi"]
        client.send(sized(2) + b"jk")
        assert (await client.answer())[2] == b"jk"
        await client.leave()


async def test_the_handler_is_called_when_the_head_is_in() -> None:
    async with doorway() as at:
        reads = Reads()
        client = await opened(at, reads.handle)
        client.send(sized(3))
        await soon(reads.called.wait())
        reads.go_on()
        for count, piece in enumerate((b"a", b"b", b"c"), 1):
            client.send(piece)
            await until(partial(reads.has, count))
        assert reads.pieces == [b"a", b"b", b"c"]
        assert (await client.answer())[2] == b"3"
        await client.leave()


async def test_on_an_ordinary_route_the_first_piece_is_the_whole_body() -> None:
    async def handle(exchange: Exchange) -> None:
        pieces = [await exchange.read() for _ in range(3)]
        exchange.respond(200, TEXT, b"|".join(pieces))

    async with doorway() as at:
        at.door.add("/up", {b"POST": Route("plain", handle)})
        client = await at.client()
        for _ in range(3):
            client.send(sized(4) + b"abcd")
            assert (await client.answer())[2] == b"abcd||"
        await client.leave()


async def test_a_body_after_a_wish_to_upgrade_comes_whole() -> None:
    extra = "connection: upgrade\r\nupgrade: h2c\r\n"
    async with doorway() as at:
        client = await opened(at, echo)
        client.send(sized(6, extra) + b"abc")
        client.send(b"def" + sized(1) + b"g")
        assert [(await client.answer())[2] for _ in range(2)] == [b"abcdef", b"g"]
        await client.leave()


async def test_a_key_that_is_unknown_is_refused_and_the_handler_never_called() -> None:
    async with doorway() as at:
        client = await opened(at, echo)
        client.send(head(extra="content-length: 3\r\n", key="nobody") + b"abc" + sized(1) + b"d")
        assert (await client.answer())[0] == 401
        assert (await client.answer())[2] == b"d"
        client.send(head(extra="content-length: 100000\r\n", key="nobody"))
        assert (await client.answer())[0] == 401
        assert await client.ended()
        await client.leave()


# --- 100-continue ----------------------------------------------------------------------------------------------------
async def test_a_client_that_expects_a_continue_gets_it_when_the_body_is_read() -> None:
    async with doorway() as at:
        reads = Reads()
        client = await opened(at, reads.handle)
        client.send(sized(2, "expect: 100-continue\r\n"))
        await soon(reads.called.wait())
        at.later(1000)  # it is we who keep the client waiting
        assert not reads.error
        reads.go_on()
        assert await soon(client.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ab")
        assert (await client.answer())[2] == b"2"
        client.send(sized(1) + b"c")
        assert (await client.answer())[2] == b"3"
        await client.leave()


async def test_a_client_that_expects_a_continue_and_is_refused_keeps_its_body() -> None:
    async def refuses(exchange: Exchange) -> None:
        raise InvalidRequest("Not this.")

    async with doorway() as at:
        client = await opened(at, refuses)
        client.send(sized(20, "expect: 100-continue\r\n"))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert await client.ended()
        await client.leave()


# --- back-pressure ---------------------------------------------------------------------------------------------------
async def test_a_client_is_read_no_faster_than_the_handler_reads() -> None:
    size = 24 << 20
    async with doorway() as at:
        reads = Reads()
        client = await opened(at, reads.handle)
        client.send(sized(size))
        await soon(reads.called.wait())
        line = at.line
        client.send(bytes(size))
        await until(lambda: not line.transport.is_reading())
        held = line.current.inflow.left
        assert size - held <= HIGH_WATER + (1 << 20)
        at.later(1000)  # the client is not late: we do not listen
        reads.go_on()
        assert (await client.answer())[2] == b"%d" % size
        assert reads.error is None
        await client.leave()


# --- slow, cut, too large, senseless ---------------------------------------------------------------------------------
async def test_a_body_that_stops_coming_is_a_408_for_its_reader() -> None:
    async with doorway() as at:
        reads = Reads()
        reads.go_on()
        client = await opened(at, reads.handle)
        client.send(sized(10) + b"abc")
        await until(lambda: reads.pieces == [b"abc"])
        at.later(29)
        assert reads.error is None
        at.later(31)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert await client.ended()
        await client.leave()


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_a_413_and_the_client_hears_it(announced: bool) -> None:
    async with doorway(ProtocolOptions(body_limit=1000)) as at:
        reads = Reads()
        reads.go_on()
        client = await opened(at, reads.handle)
        if announced:
            client.send(sized(1001) + bytes(1001))
        else:
            client.send(CHUNKED)
            await soon(reads.called.wait())
            for _ in range(40):
                client.send(b"100\r\n" + bytes(256) + b"\r\n")
            client.send(b"0\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await client.ended()
        assert sum(map(len, reads.pieces)) <= 1000
        await client.leave()


async def test_a_client_that_goes_on_sending_after_a_413_still_reads_it() -> None:
    async with doorway(ProtocolOptions(body_limit=1000)) as at:
        client = await opened(at, echo)
        client.send(CHUNKED)
        for _ in range(64):
            client.send(b"40000\r\n" + bytes(1 << 18) + b"\r\n")
        assert (await client.answer())[0] == 413
        await client.leave()


async def test_a_body_that_is_no_http_is_a_400_for_its_reader() -> None:
    async with doorway() as at:
        reads = Reads()
        reads.go_on()
        client = await opened(at, reads.handle)
        client.send(CHUNKED + b"3\r\nabc\r\n")
        await until(lambda: reads.pieces == [b"abc"])
        client.send(b"zz\r\n")
        assert (await client.answer())[0] == 400
        assert await client.ended()
        await client.leave()


async def test_a_client_that_leaves_in_the_middle_cancels_the_handler() -> None:
    async with doorway() as at:
        reads = Reads()
        reads.go_on()
        client = await opened(at, reads.handle)
        client.send(sized(10) + b"abc")
        await until(lambda: reads.pieces == [b"abc"])
        await client.leave()
        await soon(reads.cancelled.wait())
        assert at.refusals.errors == []


# --- bodies that nobody read -----------------------------------------------------------------------------------------
async def hears_nothing(exchange: Exchange) -> None:
    exchange.respond(200, TEXT, b"early")


async def test_a_little_that_was_not_read_is_read_away_and_the_connection_serves_again() -> None:
    async with doorway() as at:
        client = await opened(at, hears_nothing)
        client.send(sized(60_000) + bytes(10))
        status, headers, _ = await client.answer()
        assert status == 200
        assert "connection" not in headers
        at.later(20)
        client.send(bytes(59_990) + sized(0))
        assert (await client.answer())[2] == b"early"
        await client.leave()


async def test_a_little_that_never_comes_ends_the_connection_without_a_second_answer() -> None:
    async with doorway() as at:
        client = await opened(at, hears_nothing)
        client.send(sized(60_000) + bytes(10))
        assert (await client.answer())[0] == 200
        at.later(31)
        assert await client.ended()
        await client.leave()


@pytest.mark.parametrize("announced", [True, False])
async def test_from_a_body_that_was_not_read_and_is_large_we_part_but_the_answer_is_heard(announced: bool) -> None:
    async with doorway() as at:
        client = await opened(at, hears_nothing)
        if announced:
            client.send(sized(8 << 20) + bytes(8 << 20))
        else:
            client.send(CHUNKED + b"800000\r\n" + bytes(8 << 20) + b"\r\n0\r\n\r\n")
        status, headers, body = await client.answer()
        assert (status, body) == (200, b"early")
        assert headers["connection"] == "close"
        assert await client.ended()
        await client.leave()


async def test_who_goes_on_sending_for_ever_is_cut_off() -> None:
    async with doorway() as at:
        client = await opened(at, hears_nothing)
        client.send(sized(30 << 20) + bytes(10))
        assert (await client.answer())[0] == 200
        await client.ended()
        at.later(6)
        await until(lambda: not at.connections)
        await client.leave()


async def test_an_answer_that_begins_before_the_body_is_in_can_outlast_it() -> None:
    async def both(exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        exchange.start(200, TEXT, loop.time())
        while piece := await exchange.read():
            exchange.write(piece, loop.time())
        exchange.end()

    async with doorway() as at:
        client = await opened(at, both)
        client.send(sized(3) + b"a")
        status, headers = await client.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert await soon(client.reader.readexactly(6)) == b"1\r\na\r\n"
        client.send(b"bc")
        assert await soon(client.reader.readexactly(12)) == b"2\r\nbc\r\n0\r\n\r\n"
        client.send(sized(0))
        assert (await client.head())[0] == 200
        await client.leave()


# --- the end of the house --------------------------------------------------------------------------------------------
async def test_a_house_that_shuts_down_lets_an_upload_finish_and_then_closes() -> None:
    async with doorway() as at:
        reads = Reads()
        reads.go_on()
        client = await opened(at, reads.handle)
        client.send(sized(4) + b"ab")
        await until(lambda: reads.pieces == [b"ab"])
        at.line.shutdown()
        client.send(b"cd")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"4")
        assert await client.ended()
        await client.leave()
