"""Websockets of clients that leave, are silent or do not read, and of a house that shuts down."""

import asyncio
import contextlib
import json
import logging

import pytest
from websockets.frames import Opcode

from posthouse.api.house import ProtocolOptions
from tests.api.doorway import KEY, Client, soon, until
from tests.api.sockets import Room, answers, closed, frame, rest, room, said


# --- who leaves, who is silent, who does not read --------------------------------------------------------------------
@pytest.mark.req("WS-006")
@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_a_client_that_leaves_cancels_its_request(how: str) -> None:
    async with room() as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, b'{"ask":"wait"}'))
        assert await said(client) == (1, b'{"n":0}')
        if how == "close":
            client.send(frame(Opcode.CLOSE, (1001).to_bytes(2)))
        elif how == "half":
            client.writer.write_eof()
        else:
            client.writer.transport.abort()
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-008")
async def test_a_client_is_pinged_and_cut_when_it_stays_silent() -> None:
    async with room(ProtocolOptions(heartbeat=15)) as here:
        client = await here.opened()
        client.send(frame(Opcode.TEXT, b'{"ask":"wait"}'))
        assert await said(client) == (1, b'{"n":0}')
        for seconds in (14, 16, 31, 46, 61):
            here.at.later(seconds)
            if seconds > 14:
                assert await said(client) == (9, b"")
                client.send(frame(Opcode.PONG) + frame(Opcode.PING))
                assert await said(client) == (10, b"")
        here.at.later(77)
        assert await said(client) == (9, b"")
        here.at.later(91)
        assert here.at.connections
        here.at.later(93)
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-008")
async def test_without_heartbeats_nobody_is_pinged() -> None:
    async with room(ProtocolOptions(heartbeat=float("inf"))) as here, here.connect() as socket:
        here.at.later(1_000_000)
        assert (await answers(socket))[-1] == "[DONE]"


async def pouring(here: Room) -> Client:
    """An answer that does not end, for a client that does not read."""
    client = await here.opened()
    client.reader._limit = 1024  # type: ignore[attr-defined]  # how much a StreamReader reads ahead
    client.send(frame(Opcode.TEXT, b'{"ask":"pour"}'))
    await until(lambda: here.at.line.write_paused)
    return client


async def reads(client: Client, size: int) -> None:
    read = 0
    while read < size:
        read += len(await soon(client.reader.read(65_536)))


@pytest.mark.req("WS-009")
async def test_no_more_is_written_than_the_client_reads() -> None:
    async with room() as here:
        client = await pouring(here)
        line = here.at.line
        assert line.transport.get_write_buffer_size() < 1 << 20
        await reads(client, 20 << 20)
        here.face.gate.set()
        tail = b""
        while not tail.endswith(b"[DONE]"):
            tail = tail[-10:] + await soon(client.reader.read(65_536))
        await client.leave()


@pytest.mark.req("WS-009")
async def test_a_client_that_reads_slowly_is_not_silent_and_one_that_reads_nothing_is() -> None:
    async with room(ProtocolOptions(heartbeat=15)) as here:
        client = await pouring(here)
        for seconds in (16, 32, 48, 64):
            here.at.later(seconds)
            await reads(client, 12 << 20)  # more than the kernel holds: some of it is written only now
            await until(lambda: here.at.line.write_paused)
        here.at.later(100)
        here.at.later(114)
        assert here.at.connections
        here.at.later(116)
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        await client.leave()


@pytest.mark.req("WS-009")
@pytest.mark.parametrize(
    "flood", [frame(Opcode.PING, b"x" * 100), frame(Opcode.TEXT, b'{"ask":"whole"}')], ids=["pings", "requests"]
)
async def test_a_client_that_asks_and_does_not_read_is_cut(flood: bytes) -> None:
    async with room() as here:
        client = await pouring(here)
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(200):
                client.send(flood * 100)
                await asyncio.sleep(0)
                if not here.at.connections:
                    break
        await until(lambda: here.face.cancelled == 1 and not here.at.connections)
        client.writer.transport.abort()
        await client.leave()


# --- the end of the house --------------------------------------------------------------------------------------------
@pytest.mark.req("WS-010")
async def test_a_house_that_shuts_down_says_goodbye_after_the_answer_under_way() -> None:
    async with room() as here, here.connect() as idle, here.connect() as busy:
        await busy.send('{"ask":"wait"}')
        assert json.loads(await soon(busy.recv())) == {"n": 0}
        for line in here.at.connections:
            line.shutdown()
        assert await closed(idle) == (1001, "the server is shutting down")
        await busy.send('{"ask":"whole"}')
        assert (await rest(busy))[0]["error"]["code"] == "request_in_progress"
        here.face.gate.set()
        assert await rest(busy) == ["[DONE]"]
        assert await closed(busy) == (1001, "the server is shutting down")
        await until(lambda: not here.at.connections)


@pytest.mark.req("WS-010")
async def test_an_answer_that_outlasts_the_drain_ends_with_an_error() -> None:
    async with room() as here, here.connect() as socket:
        await socket.send('{"ask":"wait"}')
        assert json.loads(await soon(socket.recv())) == {"n": 0}
        here.at.line.shutdown()
        for task in tuple(here.at.state.tasks):
            task.cancel()
        (end,) = await rest(socket)
        assert end["error"]["code"] == "unavailable"
        assert (await closed(socket))[0] == 1001


@pytest.mark.req("WS-010")
async def test_a_client_that_does_not_answer_a_goodbye_is_cut() -> None:
    async with room() as here:
        client = await here.opened()
        await until(lambda: here.at.state.total_requests == 1)
        here.at.line.shutdown()
        opcode, content = await said(client)
        assert (opcode, content[:2]) == (8, (1001).to_bytes(2))
        client.send(frame(Opcode.TEXT, b'{"ask":"whole"}'))
        here.at.later(4)
        assert here.at.connections
        here.at.later(6)
        await until(lambda: not here.at.connections)
        assert here.face.asked == []
        await client.leave()


async def test_nothing_is_logged_of_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with room() as here, here.connect() as socket:
            assert await answers(socket, of="whole") == [{"whole": True}]
    ours = [record for record in caplog.records if record.name.startswith("posthouse")]
    assert not [record for record in ours if KEY in record.getMessage() or "whole" in record.getMessage()]
