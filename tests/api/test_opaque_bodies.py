"""A body that can hold nothing but its own bytes: what goes wrong breaks it off, and nobody takes it for whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from posthouse.api.exchange import Exchange, Route
from posthouse.api.server import JSON
from posthouse.core.errors import Unavailable
from tests.api.doorway import KEY, Client, Doorway, Handler, doorway, soon, until

HEAD = b"content-type: audio/mpeg\r\n"
ASK = b"POST /sound HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-length: 0\r\n\r\n" % KEY.encode()


def _begin(exchange: Exchange, *, opaque: bool = True) -> None:
    exchange.opaque = opaque
    exchange.start(200, HEAD, 0.0)
    exchange.write(b"four", 0.0)


@contextlib.asynccontextmanager
async def asking(handler: Handler, ask: bytes = ASK) -> AsyncIterator[tuple[Doorway, Client]]:
    async with doorway() as here:
        here.door.add("/sound", {b"POST": Route("sound", handler)})
        client = await here.client()
        client.send(ask)
        try:
            yield here, client
        finally:
            await client.leave()


@pytest.mark.req("MEDIA-015")
async def test_an_error_breaks_it_off_and_closes() -> None:
    async def handler(exchange: Exchange) -> None:
        _begin(exchange)
        raise Unavailable("No more.")

    async with asking(handler) as (_, client):
        assert (await client.head())[0] == 200
        assert await soon(client.reader.read()) == b"4\r\nfour\r\n"


@pytest.mark.req("MEDIA-015")
async def test_a_house_that_shuts_down_breaks_it_off() -> None:
    begun = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        _begin(exchange)
        begun.set()
        await asyncio.Event().wait()

    async with asking(handler) as (here, client):
        await soon(begun.wait())
        here.line.current.task.cancel()
        await client.head()
        assert await soon(client.reader.read()) == b"4\r\nfour\r\n"
        await until(lambda: not here.connections)


@pytest.mark.req("MEDIA-015")
async def test_of_a_client_that_knows_no_chunks_the_connection_ends() -> None:
    async def handler(exchange: Exchange) -> None:
        _begin(exchange)
        exchange.cut()
        exchange.cut()
        exchange.end(b"more")

    async with asking(handler, ASK.replace(b"HTTP/1.1", b"HTTP/1.0")) as (_, client):
        await client.head()
        assert await soon(client.reader.read()) == b"four"


async def test_a_stream_of_events_still_ends_with_the_error() -> None:
    async def handler(exchange: Exchange) -> None:
        _begin(exchange, opaque=False)
        raise Unavailable("No more.")

    async with asking(handler) as (_, client):
        await client.head()
        said = await soon(client.reader.readuntil(b"0\r\n\r\n"))
        assert b'"No more."' in said


async def test_what_was_never_begun_is_not_broken_off() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.opaque = True
        raise Unavailable("No more.")

    async with asking(handler) as (_, client):
        status, headers, _ = await client.answer()
        assert (status, headers["content-type"]) == (503, JSON.decode().strip().partition(" ")[2])
