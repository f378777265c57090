"""How a connection ends: the last words are heard, and nobody holds one open by not reading them."""

from typing import Final

from posthouse.api.exchange import Exchange, Route
from tests.api.doorway import Client, Doorway, doorway, until

SIZE: Final = 16 << 20  # more than the kernel takes for a client that does not read
CLOSING: Final = b"GET /large HTTP/1.1\r\nhost: house\r\nconnection: close\r\n\r\n"


async def large(exchange: Exchange) -> None:
    exchange.respond(200, b"content-type: text/plain\r\n", bytes(SIZE))


async def small(exchange: Exchange) -> None:
    exchange.respond(200, b"content-type: text/plain\r\n", exchange.body)


async def asked(at: Doorway) -> Client:
    at.door.add("/large", {b"GET": Route("large", large, authenticated=False)})
    client = await at.client()
    client.reader._limit = 1024  # type: ignore[attr-defined]  # how much a StreamReader reads ahead
    client.send(CLOSING)
    await until(lambda: at.connections and at.line.closing and at.line.transport.get_write_buffer_size())
    return client


async def test_a_client_that_reads_the_last_answer_slowly_gets_all_of_it() -> None:
    async with doorway() as at:
        client = await asked(at)
        at.later(6)
        read = 0
        for seconds in (70, 140, 210):
            before = at.line.transport.get_write_buffer_size()
            while at.line.transport.get_write_buffer_size() == before:
                read += len(await client.reader.read(65_536))
            at.later(seconds)
        while piece := await client.reader.read(65_536):
            read += len(piece)
        assert read > SIZE
        await client.leave()


async def test_a_client_that_leaves_before_its_request_has_begun_leaves_no_task_behind() -> None:
    """A house that shuts down waits for tasks."""
    async with doorway() as at:
        at.door.add("/large", {b"GET": Route("large", large, authenticated=False)})
        client = await at.client()
        await until(lambda: at.connections)
        line = at.line
        line.data_received(CLOSING)
        assert at.state.tasks
        line.connection_lost(None)
        await until(lambda: not at.state.tasks)
        line.transport.abort()
        await client.leave()


async def test_a_client_that_does_not_read_the_last_answer_is_cut_off() -> None:
    async with doorway() as at:
        client = await asked(at)
        at.later(6)
        at.later(60)
        assert at.connections
        at.later(67)
        await until(lambda: not at.connections)
        await client.leave()


async def test_a_request_that_is_still_coming_when_the_house_shuts_down_is_told_that_it_is_the_last() -> None:
    async with doorway() as at:
        at.door.add("/small", {b"POST": Route("small", small, authenticated=False)})
        client = await at.client()
        client.send(b"POST /small HTTP/1.1\r\nhost: house\r\ncontent-length: 2\r\n\r\na")
        await until(lambda: at.connections and at.line.reading is not None)
        at.line.shutdown()
        client.send(b"b")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"ab")
        assert await client.ended()
        await client.leave()
